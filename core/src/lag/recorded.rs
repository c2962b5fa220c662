//! The same series of commits through Burrow's own code and through ours: window, lag, completeness and status must be the same.

use super::{Cluster, Commit, NewCommit, PartitionReport, Settings};
use crate::client::TopicPartition;
use crate::id::Offset;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

const RECORDED: &str = include_str!("testdata/burrow.txt");

fn number<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

/// The cluster after the events, and the time at which it is judged.
fn replay(settings: &str, events: &str) -> (Cluster, Timestamp) {
    let settings = settings.split(' ').collect::<Vec<_>>();
    let [intervals, distance, allowed, complete, now] = settings[..] else { panic!("{settings:?}") };
    let now = Timestamp(number(now));
    let settings = Settings {
        intervals: number(intervals),
        min_distance: Duration::from_secs(number(distance)),
        allowed_lag: number(allowed),
        minimum_complete: number(complete),
        ..Settings::default()
    };
    let (mut cluster, part) = (Cluster::new(settings), TopicPartition::new("t", 0));
    cluster.saw_topics(&[("t".into(), Some(1))].into());
    for event in events.split(' ') {
        if let Some(end) = event.strip_prefix('e') {
            cluster.saw_end(now, &part, Offset(number(end)));
            continue;
        }
        let (order, rest) = event[1..].split_once(':').expect("order:offset");
        let (offset, at) = rest.split_once('@').expect("offset@time");
        let commit = NewCommit { offset: Offset(number(offset)), order: number(order), at: Timestamp(number(at)) };
        cluster.saw_commit(now, "g", &part, commit);
    }
    (cluster, now)
}

fn shown(report: &PartitionReport) -> String {
    let lag = |commit: &Commit| commit.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string());
    let commits =
        report.commits.iter().map(|commit| format!("{}@{}-{}", commit.offset, commit.at.0, lag(commit))).collect::<Vec<_>>().join(" ");
    format!("{} {} {:.3} {commits}", report.status.name(), report.current_lag, report.complete)
}

/// Replays a series; says what became of it.
fn judged(line: &str) -> &'static str {
    let [settings, events, expected] = line.split(" | ").collect::<Vec<_>>()[..] else { panic!("{line}") };
    let (cluster, now) = replay(settings, events);
    let report = cluster.report("g", now).unwrap_or_else(|| panic!("nothing is known after {line}"));
    assert_eq!(shown(&report.partitions[0]), expected, "{line}");
    report.partitions[0].status.name()
}

#[test]
fn burrow_judges_alike() {
    let mut count = BTreeMap::<&str, u32>::new();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        *count.entry(judged(line)).or_default() += 1;
    }
    assert_eq!(count, ["OK", "REWIND", "STALL", "STOP", "WARN"].map(|name| (name, 20)).into());
}
