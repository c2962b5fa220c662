//! A cluster as a monitor sees it: ends, commits and members go in, reports come out.

use super::{Cluster, GroupLook, Look, NewCommit, Owner, PartitionReport, Settings, Status, TimeLag};
use crate::client::TopicPartition;
use crate::id::Offset;
use crate::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

const GROUP: &str = "billing";

fn at(second: i64) -> Timestamp {
    Timestamp(second * 1000)
}

fn words(partition: i32) -> TopicPartition {
    TopicPartition::new("words", partition)
}

fn commit(order: i64, offset: i64, second: i64) -> NewCommit {
    NewCommit { offset: Offset(offset), order, at: at(second) }
}

/// The topic `words` with partitions whose logs end at `ends`.
fn cluster_with(settings: Settings, ends: &[i64]) -> Cluster {
    let mut cluster = Cluster::new(settings);
    cluster.saw_topics(&[("words".into(), Some(ends.len()))].into());
    for (partition, end) in (0..).zip(ends) {
        cluster.saw_end(at(0), &words(partition), Offset(*end));
    }
    cluster
}

fn cluster(ends: &[i64]) -> Cluster {
    cluster_with(Settings { intervals: 3, ..Settings::default() }, ends)
}

/// A member has partition 0.
fn own(cluster: &mut Cluster) {
    let owner = Owner { host: "/10.0.0.1".into(), client_id: "bill".into() };
    cluster.saw_owners(GROUP, &[(words(0), owner)].into());
}

fn disown(cluster: &mut Cluster) {
    cluster.saw_owners(GROUP, &[].into());
}

/// One look at a partition: its log's end, and what is committed.
fn look(cluster: &mut Cluster, second: i64, end: i64, committed: i64) {
    cluster.saw_end(at(second), &words(0), Offset(end));
    cluster.saw_offsets(at(second), GROUP, &[(words(0), Offset(committed))].into());
}

fn only(cluster: &Cluster, second: i64) -> PartitionReport {
    let report = cluster.report(GROUP, at(second)).expect("it has committed");
    assert_eq!(report.partitions.len(), 1);
    report.partitions.into_iter().next().expect("one")
}

#[test]
fn a_group_is_its_partitions_and_the_worst_comes_first() {
    let mut cluster = cluster(&[100, 100, 100, 100]);
    for n in 1..=3 {
        cluster.saw_commit(at(n), GROUP, &words(0), commit(n, 100, n));
        cluster.saw_commit(at(n), GROUP, &words(1), commit(n, n, n));
        cluster.saw_commit(at(n), GROUP, &words(2), commit(n, 50, n));
    }
    let report = cluster.report(GROUP, at(3)).expect("it has committed");
    let seen = report.partitions.iter().map(|p| (p.part.partition.0, p.status, p.current_lag, p.complete)).collect::<Vec<_>>();
    assert_eq!(
        seen,
        [(2, Status::Stall, 50, 1.0), (1, Status::Ok, 97, 1.0), (0, Status::Ok, 0, 1.0), (3, Status::Ok, 0, 0.0)],
        "partition 3 is expected to be committed too"
    );
    assert_eq!(report.status, Status::Err, "a group is no worse");
    assert_eq!(report.complete, 0.75);
    assert_eq!(report.total_lag, 147);
    assert_eq!(report.max_lag().expect("there are partitions").part, words(1));
}

#[test]
fn a_group_is_as_warned_of_as_its_partitions() {
    let mut cluster = cluster(&[100]);
    for n in 1..=3 {
        cluster.saw_end(at(n), &words(0), Offset(100 + 20 * n));
        cluster.saw_commit(at(n), GROUP, &words(0), commit(n, 10 * n, n));
    }
    assert_eq!(cluster.report(GROUP, at(3)).expect("it has committed").status, Status::Warn);
}

#[test]
fn below_the_minimum_of_its_window_a_partition_is_not_judged() {
    let settings = Settings { intervals: 4, minimum_complete: 0.5, ..Settings::default() };
    let mut cluster = cluster_with(settings, &[100]);
    cluster.saw_commit(at(1), GROUP, &words(0), commit(1, 10, 1));
    assert_eq!(only(&cluster, 99).status, Status::Ok);
    cluster.saw_commit(at(2), GROUP, &words(0), commit(2, 10, 2));
    assert_eq!(only(&cluster, 99).status, Status::Stop);
}

#[test]
fn commits_without_an_end_or_too_old_are_dropped() {
    let mut cluster = cluster(&[100]);
    cluster.saw_commit(at(9), GROUP, &TopicPartition::new("unknown", 0), commit(1, 10, 9));
    cluster.saw_commit(at(9), GROUP, &words(1), commit(1, 10, 9));
    cluster.saw_commit(at(700_000), GROUP, &words(0), commit(1, 10, 95_199));
    assert_eq!(cluster.groups().count(), 0);
    cluster.saw_commit(at(700_000), GROUP, &words(0), commit(1, 10, 95_200));
    assert_eq!(cluster.groups().collect::<Vec<_>>(), [GROUP]);
}

#[test]
fn who_has_not_committed_for_long_is_forgotten() {
    let mut cluster = cluster(&[100]);
    cluster.saw_commit(at(5), GROUP, &words(0), commit(1, 10, 5));
    assert!(cluster.report(GROUP, at(604_805)).is_some());
    assert_eq!(cluster.report(GROUP, at(604_806)), None);
    cluster.expire(at(604_805));
    assert_eq!(cluster.groups().count(), 1);
    cluster.expire(at(604_806));
    assert_eq!(cluster.groups().count(), 0);
}

#[test]
fn a_topic_that_is_gone_takes_its_commits_along() {
    let mut cluster = cluster(&[100, 100]);
    cluster.saw_commit(at(1), GROUP, &words(1), commit(1, 10, 1));
    cluster.saw_topics(&[("words".into(), Some(1))].into());
    assert_eq!(cluster.report(GROUP, at(1)).expect("it stays").partitions.len(), 1, "made anew with one partition");
    cluster.saw_topics(&[].into());
    let report = cluster.report(GROUP, at(1)).expect("as in Burrow, it stays");
    assert_eq!((report.status, report.complete, report.partitions.len()), (Status::Ok, 0.0, 0));
    assert_eq!(cluster.ends("words"), None);
}

#[test]
fn a_group_is_forgotten_whole_or_by_topic() {
    let mut cluster = cluster(&[100]);
    cluster.saw_topics(&[("words".into(), Some(1)), ("deeds".into(), Some(1))].into());
    let deeds = TopicPartition::new("deeds", 0);
    cluster.saw_end(at(0), &deeds, Offset(5));
    cluster.saw_commit(at(1), GROUP, &words(0), commit(1, 10, 1));
    cluster.saw_commit(at(1), GROUP, &deeds, commit(2, 5, 1));
    assert_eq!(cluster.groups_of("deeds").collect::<Vec<_>>(), [GROUP]);
    cluster.forget_group(GROUP, Some("deeds"));
    assert_eq!((cluster.groups_of("deeds").count(), cluster.groups_of("words").count()), (0, 1));
    cluster.forget_group(GROUP, Some("words"));
    assert_eq!(cluster.groups().count(), 0);
}

#[test]
fn a_group_that_three_looks_in_a_row_miss_is_forgotten() {
    let mut cluster = cluster(&[100]);
    look(&mut cluster, 1, 100, 10);
    let (there, gone) = (
        Look { has_all_groups: true, groups: [(GROUP.to_owned(), GroupLook::default())].into(), ..Look::default() },
        Look { has_all_groups: true, ..Look::default() },
    );
    for look in [&gone, &gone, &there, &gone, &gone, &Look::default()] {
        cluster.saw(at(2), look);
        assert_eq!(cluster.groups().count(), 1, "it may be on its way to another coordinator");
    }
    cluster.saw(at(2), &gone);
    assert_eq!(cluster.groups().count(), 0);
}

#[test]
fn a_look_is_taken_in_whole() {
    let mut cluster = Cluster::new(Settings::default());
    let group = GroupLook { owners: Some([(words(0), Owner::default())].into()), offsets: Some([(words(0), Offset(40))].into()) };
    let look = Look {
        topics: Some([("words".into(), Some(1)), ("hidden".into(), None)].into()),
        ends: [(words(0), Offset(100))].into(),
        groups: [(GROUP.to_owned(), group)].into(),
        has_all_groups: true,
    };
    cluster.saw(at(10), &look);
    cluster.saw(at(20), &look);
    let seen = only(&cluster, 20);
    assert_eq!((seen.status, seen.current_lag, seen.complete), (Status::Stall, 60, 0.2), "a member owns it, so it was committed again");
    assert!(seen.owner.is_some());
    let hidden = Look { topics: Some([("words".into(), None)].into()), ..Look::default() };
    cluster.saw(at(30), &hidden);
    assert_eq!(only(&cluster, 30).current_lag, 60, "of what nothing is told, nothing is forgotten");
}

#[test]
fn a_group_that_never_committed_is_seen_but_not_judged() {
    let mut cluster = cluster(&[100]);
    own(&mut cluster);
    assert_eq!((cluster.groups().count(), cluster.report(GROUP, at(1))), (0, None), "to Burrow it is none");
    assert_eq!(cluster.silent_groups().collect::<Vec<_>>(), [GROUP]);
    let report = cluster.silent_report(GROUP, at(1)).expect("it exists");
    let only = &report.partitions[0];
    assert_eq!((&only.part, only.status, only.end(), only.time_lag), (&words(0), Status::Ok, None, None));
    assert_eq!(only.owner.as_ref().map(|owner| owner.client_id.as_str()), Some("bill"));
    look(&mut cluster, 2, 100, 0);
    assert_eq!((cluster.groups().count(), cluster.silent_groups().count()), (1, 0));
}

#[test]
fn owners_are_those_of_now() {
    let mut cluster = cluster(&[100]);
    own(&mut cluster);
    look(&mut cluster, 1, 100, 90);
    assert!(only(&cluster, 1).owner.is_some());
    disown(&mut cluster);
    assert_eq!(only(&cluster, 1).owner, None);
    cluster.saw_owners(GROUP, &[(words(1), Owner::default()), (TopicPartition::new("new", 0), Owner::default())].into());
    assert_eq!(cluster.report(GROUP, at(1)).expect("it has committed").partitions.len(), 1, "what does not exist is not owned");
}

#[test]
fn polled_who_keeps_up_is_well() {
    let mut cluster = cluster(&[0]);
    own(&mut cluster);
    for n in 1..=5 {
        look(&mut cluster, n * 10, n * 100, n * 100);
    }
    // More has come since.
    cluster.saw_end(at(55), &words(0), Offset(550));
    let seen = only(&cluster, 55);
    assert_eq!((seen.status, seen.current_lag, seen.time_lag), (Status::Ok, 50, Some(TimeLag::About(Duration::from_secs(5)))));
}

#[test]
fn polled_who_is_slow_is_warned_of() {
    let mut cluster = cluster(&[0]);
    own(&mut cluster);
    for n in 1..=5 {
        look(&mut cluster, n * 10, n * 100, n * 50);
    }
    let seen = only(&cluster, 55);
    // What is read next was written half-way.
    assert_eq!((seen.status, seen.current_lag, seen.time_lag), (Status::Warn, 250, Some(TimeLag::About(Duration::from_secs(30)))));
}

#[test]
fn polled_who_hangs_is_stalled_and_who_is_gone_is_stopped() {
    let mut cluster = cluster(&[0]);
    own(&mut cluster);
    for n in 1..=5 {
        look(&mut cluster, n * 10, n * 100, 70);
    }
    assert_eq!(only(&cluster, 55).status, Status::Stall);
    disown(&mut cluster);
    for n in 6..=9 {
        look(&mut cluster, n * 10, n * 100, 70);
    }
    assert_eq!(only(&cluster, 95).status, Status::Stop);
    assert_eq!(only(&cluster, 95).end().expect("it has committed").at, at(50), "what did not change was not committed");
}

#[test]
fn polled_who_goes_back_is_rewound() {
    let mut cluster = cluster(&[0]);
    own(&mut cluster);
    for (n, committed) in (1..).zip([100, 200, 50]) {
        look(&mut cluster, n * 10, 500, committed);
    }
    assert_eq!(only(&cluster, 35).status, Status::Rewind);
}

#[test]
fn polled_who_is_gone_but_has_all_there_is_is_well() {
    let mut cluster = cluster(&[0]);
    for n in 1..=5 {
        look(&mut cluster, n * 10, 100, 100);
    }
    assert_eq!(only(&cluster, 9999).status, Status::Ok);
}

#[test]
fn polled_offsets_that_are_gone_are_forgotten() {
    let mut cluster = cluster(&[100, 100]);
    let both = [(words(0), Offset(5)), (words(1), Offset(5))];
    cluster.saw_offsets(at(1), GROUP, &both.into());
    cluster.saw_offsets(at(2), GROUP, &[(words(1), Offset(5))].into());
    let report = cluster.report(GROUP, at(2)).expect("it has committed");
    assert_eq!(report.partitions.iter().filter(|partition| partition.end().is_some()).count(), 1);
    cluster.saw_offsets(at(3), GROUP, &[].into());
    assert_eq!((cluster.groups().count(), cluster.silent_groups().count()), (0, 1));
}

#[test]
fn an_offset_from_nowhere_does_no_harm() {
    let mut cluster = cluster(&[100]);
    for (order, (offset, second)) in (1..).zip([(i64::MIN, 1), (-1, 1), (i64::MAX, 1), (0, i64::MAX / 1000), (5, 2)]) {
        cluster.saw_commit(at(1), GROUP, &words(0), commit(order, offset, second));
    }
    cluster.saw_end(at(1), &words(0), Offset(i64::MIN));
    cluster.saw_end(at(1), &words(i32::MAX), Offset(1));
    cluster.saw_end(at(1), &words(i32::MIN), Offset(1));
    assert_eq!(only(&cluster, 1).part, words(0));
}

#[derive(Clone, Debug)]
enum Event {
    End(i32, i64),
    Commit(i32, i64, i64),
    Offsets(Vec<(i32, i64)>),
    Owners(Vec<i32>),
    Topics(usize),
    Expire,
}

fn event() -> impl Strategy<Value = Event> {
    let (partition, offset) = (0_i32..5, 0_i64..50);
    prop_oneof![
        (partition.clone(), offset.clone()).prop_map(|(p, o)| Event::End(p, o)),
        (partition.clone(), offset.clone(), 0_i64..40).prop_map(|(p, o, n)| Event::Commit(p, o, n)),
        vec((partition.clone(), offset), 0..4).prop_map(Event::Offsets),
        vec(partition, 0..4).prop_map(Event::Owners),
        (0_usize..5).prop_map(Event::Topics),
        Just(Event::Expire),
    ]
}

proptest! {
    /// Whatever happens in whatever order: sums are sums, the worst is first, and nothing is told of partitions that do not exist.
    #[test]
    fn reports_are_consistent(events in vec(event(), 1..60)) {
        let settings = Settings { intervals: 3, expire: Duration::from_secs(30), ..Settings::default() };
        let mut cluster = cluster_with(settings, &[10, 10, 10]);
        let mut partitions = 3;
        for (second, event) in (1_i64..).zip(events) {
            match event {
                Event::End(p, end) => cluster.saw_end(at(second), &words(p), Offset(end)),
                Event::Commit(p, offset, order) => cluster.saw_commit(at(second), GROUP, &words(p), commit(order, offset, second)),
                Event::Offsets(all) => cluster.saw_offsets(at(second), GROUP, &all.into_iter().map(|(p, o)| (words(p), Offset(o))).collect()),
                Event::Owners(all) => cluster.saw_owners(GROUP, &all.into_iter().map(|p| (words(p), Owner::default())).collect()),
                Event::Topics(n) => { partitions = n; cluster.saw_topics(&[("words".into(), Some(n))].into()) }
                Event::Expire => cluster.expire(at(second)),
            }
            prop_assert!(cluster.report(GROUP, at(second)).is_none() || cluster.silent_report(GROUP, at(second)).is_none());
            let Some(report) = cluster.report(GROUP, at(second)).or_else(|| cluster.silent_report(GROUP, at(second))) else { continue };
            prop_assert!(report.partitions.is_sorted_by_key(|p| std::cmp::Reverse((p.status, p.current_lag))));
            prop_assert_eq!(report.total_lag, report.partitions.iter().map(|p| p.current_lag).sum::<u64>());
            prop_assert_eq!(report.status, report.partitions.iter().map(|p| p.status.min(Status::Err)).max().unwrap_or(Status::Ok));
            prop_assert_eq!(report.max_lag().map_or(0, |p| p.current_lag), report.partitions.iter().map(|p| p.current_lag).max().unwrap_or(0));
            prop_assert!((0.0..=1.0).contains(&report.complete));
            for p in &report.partitions {
                prop_assert!(usize::try_from(p.part.partition.0).expect("not negative") < partitions);
                prop_assert!(p.status != Status::NotFound && p.status != Status::Err);
                prop_assert!(p.current_lag > 0 || p.status == Status::Ok, "no lag, yet {:?}", p.status);
                prop_assert_eq!(p.start().is_some(), p.end().is_some());
                prop_assert_eq!(p.complete > 0.0, p.end().is_some());
            }
        }
    }
}
