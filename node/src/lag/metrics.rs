//! The monitor's metrics in Prometheus' text form: Burrow's names and labels, and klamm's own for what Burrow has not.

use super::watch::{Monitor, Seen};
use klamm_core::lag::GroupReport;
use klamm_core::time::Timestamp;
use std::fmt::{Display, Write as _};

/// What is measured, in the order in which it is shown: the name, and what it means.
const FAMILIES: [(&str, &str); 10] = [
    ("burrow_kafka_consumer_lag_total", "The sum of all partition current lag values for the group"),
    ("burrow_kafka_consumer_status", "The status of the consumer group: NOTFOUND 0, OK 1, WARN 2 or ERR 3"),
    ("burrow_kafka_topic_partition_status", "The status of the partition: OK 1, WARN 2, STOP 4, STALL 5 or REWIND 6"),
    ("burrow_kafka_consumer_current_offset", "The newest offset that the group has committed"),
    ("burrow_kafka_consumer_partition_lag", "How many messages the group is behind in the partition"),
    ("burrow_kafka_topic_partition_offset", "The newest end of the partition's log"),
    (
        "klamm_lag_consumer_partition_seconds",
        "How long ago the record was written that the group reads next; at least, where it is older than what was watched",
    ),
    ("klamm_lag_consumer_never_committed", "1 for a group that exists and has never committed"),
    ("klamm_lag_cluster_up", "Whether the cluster could be looked at as a whole the last time"),
    ("klamm_lag_cluster_seen_seconds_ago", "How long ago the cluster was last seen whole"),
];
const LAG_TOTAL: usize = 0;
const GROUP_STATUS: usize = 1;
const PARTITION_STATUS: usize = 2;
const CURRENT_OFFSET: usize = 3;
const PARTITION_LAG: usize = 4;
const TOPIC_OFFSET: usize = 5;
const TIME_LAG: usize = 6;
const NEVER_COMMITTED: usize = 7;
const CLUSTER_UP: usize = 8;
const SEEN_AGO: usize = 9;

/// The lines of each family.
#[derive(Default)]
struct Lines([String; FAMILIES.len()]);

/// All metrics of all clusters.
pub(super) fn text(monitor: &Monitor) -> String {
    let mut lines = Lines::default();
    let now = monitor.now();
    for name in monitor.names() {
        let seen = monitor.seen(name).expect("it is one of its names");
        lines.cluster(name, &seen, now);
    }
    let mut text = String::new();
    for ((name, help), lines) in FAMILIES.iter().zip(lines.0).filter(|(_, lines)| !lines.is_empty()) {
        write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{lines}").expect("a string takes all");
    }
    text
}

impl Lines {
    fn cluster(&mut self, name: &str, seen: &Seen, now: Timestamp) {
        let cluster = ("cluster", name);
        self.add(CLUSTER_UP, &[cluster], u8::from(seen.looked.is_some() && seen.failed.is_none()));
        if let Some(looked) = seen.looked {
            self.add(SEEN_AGO, &[cluster], seconds(now.0.saturating_sub(looked.0).max(0)));
        }
        for group in seen.cluster.groups() {
            if let Some(report) = seen.cluster.report(group, now) {
                self.group(name, group, &report);
            }
        }
        for group in seen.cluster.silent_groups() {
            self.add(NEVER_COMMITTED, &[cluster, ("consumer_group", group)], 1);
        }
        for topic in seen.cluster.topics() {
            for (partition, end) in seen.cluster.ends(topic).unwrap_or_default() {
                self.add(TOPIC_OFFSET, &[cluster, ("topic", topic), ("partition", &partition.to_string())], end);
            }
        }
    }

    fn group(&mut self, cluster: &str, group: &str, report: &GroupReport) {
        let of_group = [("cluster", cluster), ("consumer_group", group)];
        self.add(LAG_TOTAL, &of_group, report.total_lag);
        self.add(GROUP_STATUS, &of_group, report.status.number());
        for partition in &report.partitions {
            let number = partition.part.partition.to_string();
            let labels = [of_group[0], of_group[1], ("topic", &partition.part.topic), ("partition", &number)];
            self.add(PARTITION_LAG, &labels, partition.current_lag);
            if let Some(lag) = partition.time_lag {
                self.add(TIME_LAG, &labels, seconds(i64::try_from(lag.duration().as_millis()).unwrap_or(i64::MAX)));
            }
            // As Burrow does: not before its window is full.
            if let Some(newest) = partition.end().filter(|_| partition.complete >= 1.0) {
                self.add(CURRENT_OFFSET, &labels, newest.offset);
                self.add(PARTITION_STATUS, &labels, partition.status.number());
            }
        }
    }

    fn add(&mut self, family: usize, labels: &[(&str, &str)], value: impl Display) {
        let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect::<Vec<_>>().join(",");
        writeln!(self.0[family], "{}{{{labels}}} {value}", FAMILIES[family].0).expect("a string takes all");
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_calls_itself_cannot_break_the_form() {
        let mut lines = Lines::default();
        lines.add(LAG_TOTAL, &[("cluster", "a\"b\\c\nd")], 7);
        assert_eq!(lines.0[LAG_TOTAL], "burrow_kafka_consumer_lag_total{cluster=\"a\\\"b\\\\c\\nd\"} 7\n");
    }

    #[test]
    fn seconds_have_three_digits_behind_the_point() {
        assert_eq!([0, 7, 12_345].map(seconds), ["0.000", "0.007", "12.345"]);
    }
}
