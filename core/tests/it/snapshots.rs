//! Snapshots of the metadata log (KIP-630): written by bytes and by time, started from, sent to who lacks them, and the only thing that is left of
//! old metadata.

use crate::answer;
use crate::bench::{Bench, NODE};
use crate::trio::Trio;
use klamm_core::error::ErrorCode;
use klamm_core::id::{LeaderEpoch, Offset, PartitionIndex};
use klamm_core::log::snapshot::SnapshotId;
use klamm_core::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use klamm_core::wire::api::fetch_snapshot::{self as api, FetchSnapshotRequest, PartitionSnapshot, PartitionSnapshotResult, TopicSnapshot};
use klamm_core::wire::api::metadata::MetadataRequest;
use std::time::Duration;

const TINY: &[(&str, &str)] = &[
    ("metadata.log.max.record.bytes.between.snapshots", "1"),
    ("metadata.max.retention.bytes", "0"),
    ("internal.metadata.log.segment.bytes", "100"),
];

fn create(bench: &mut Bench, name: &str) {
    let topic = CreatableTopic { name: name.to_owned(), num_partitions: 2, replication_factor: 1, ..Default::default() };
    let created = answer!(CreateTopics, bench.ask(7, CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() }));
    assert_eq!(created.topics[0].error_code, ErrorCode::NONE, "{name}");
}

fn topics(bench: &mut Bench) -> Vec<String> {
    let all = answer!(Metadata, bench.ask(12, MetadataRequest { topics: None, ..Default::default() }));
    all.topics.into_iter().filter_map(|topic| topic.name).collect()
}

fn snapshots(bench: &Bench) -> Vec<SnapshotId> {
    bench.files().filter_map(SnapshotId::of_file).collect()
}

#[test]
fn a_node_starts_from_its_snapshot_and_the_log_behind_it() {
    let mut bench = Bench::new(TINY);
    for name in ["a", "b", "c", "d"] {
        create(&mut bench, name);
    }
    let kept = snapshots(&bench);
    assert_eq!(kept.len(), 1, "the older ones are deleted, and what they stood for: {kept:?}");
    assert_eq!(bench.start_of("__cluster_metadata-0"), kept[0].end);
    let before = bench.broker.committed_metadata().1.clone();
    bench.crash();
    assert_eq!(topics(&mut bench), ["a", "b", "c", "d"]);
    assert_eq!(before.next_producer_id(), bench.broker.committed_metadata().1.next_producer_id());
    create(&mut bench, "e");
    assert_eq!(bench.produce("a", 1, 3), ErrorCode::NONE);
    bench.crash();
    assert_eq!(topics(&mut bench), ["a", "b", "c", "d", "e"]);
}

#[test]
fn a_damaged_snapshot_is_passed_over_while_the_log_is_whole() {
    let mut bench = Bench::new(&[("metadata.log.max.record.bytes.between.snapshots", "1")]);
    create(&mut bench, "a");
    let damaged = snapshots(&bench);
    for id in &damaged {
        bench.damage(&id.file());
    }
    bench.crash();
    assert_eq!(topics(&mut bench), ["a"]);
    assert!(!snapshots(&bench).iter().any(|id| damaged.contains(id)), "nothing needs the damaged ones any more");
    assert!(bench.notes.iter().any(|note| note.contains("is damaged and passed over")), "{:?}", bench.notes);
}

#[test]
fn a_node_that_has_only_damaged_snapshots_below_its_log_does_not_start() {
    let mut bench = Bench::new(TINY);
    create(&mut bench, "a");
    for id in snapshots(&bench) {
        bench.damage(&id.file());
    }
    bench.crash();
    assert!(bench.halted.as_ref().is_some_and(|why| why.contains("no whole snapshot")), "{:?}", bench.halted);
}

#[test]
fn a_snapshot_that_the_log_does_not_reach_takes_its_place() {
    let mut bench = Bench::new(&[("metadata.log.max.record.bytes.between.snapshots", "1")]);
    create(&mut bench, "a");
    // One for each change, unless the one before is still being written: then the next change makes it.
    create(&mut bench, "last");
    let newest = *snapshots(&bench).last().expect("there was more than one change");
    bench.cut("__cluster_metadata-0", 1);
    bench.crash();
    assert_eq!(topics(&mut bench)[0], "a");
    assert_eq!(bench.start_of("__cluster_metadata-0"), newest.end, "the log begins where the snapshot ends");
    create(&mut bench, "b");
}

#[test]
fn time_alone_makes_a_snapshot_if_there_is_something_new() {
    let mut bench = Bench::new(&[("metadata.log.max.snapshot.interval.ms", "5000")]);
    create(&mut bench, "a");
    assert!(snapshots(&bench).is_empty());
    // In steps: a broker that is silent for long is fenced, which is something new.
    let wait = |bench: &mut Bench, seconds| (0..seconds).for_each(|_| bench.later(Duration::from_secs(1)));
    // `log.retention.check.interval.ms` is five minutes.
    wait(&mut bench, 300);
    assert_eq!(snapshots(&bench).len(), 1);
    wait(&mut bench, 600);
    assert_eq!(snapshots(&bench).len(), 1, "there is nothing new");
}

fn piece(bench: &mut Bench, change: impl FnOnce(&mut FetchSnapshotRequest, &mut PartitionSnapshot)) -> PartitionSnapshotResult {
    let id = *snapshots(bench).last().expect("a snapshot");
    let mut partition = PartitionSnapshot {
        partition: PartitionIndex(0),
        current_leader_epoch: LeaderEpoch(1),
        snapshot_id: api::SnapshotId { end_offset: id.end, epoch: id.epoch },
        ..Default::default()
    };
    let mut request = FetchSnapshotRequest { max_bytes: 100, ..Default::default() };
    change(&mut request, &mut partition);
    request.topics = vec![TopicSnapshot { name: "__cluster_metadata".to_owned(), partitions: vec![partition] }];
    let mut response = answer!(FetchSnapshot, bench.ask_by(NODE, 1, request));
    assert_eq!(response.error_code, ErrorCode::NONE);
    response.topics.remove(0).partitions.remove(0)
}

/// Seed 183 of three nodes: whoever was far behind had to begin with a newer one each time.
#[test]
fn a_snapshot_that_somebody_fetches_stays_for_a_while() {
    let mut bench = Bench::among(TINY, |_| ());
    create(&mut bench, "a");
    let id = *snapshots(&bench).last().expect("a snapshot");
    assert_eq!(piece(&mut bench, |_, _| ()).error_code, ErrorCode::NONE);
    for name in ["b", "c"] {
        create(&mut bench, name);
    }
    assert!(snapshots(&bench).contains(&id), "its reader must come to its end");
    (0..61).for_each(|_| bench.later(Duration::from_secs(1)));
    create(&mut bench, "d");
    create(&mut bench, "e");
    assert!(!snapshots(&bench).contains(&id), "nobody reads it any more");
}

#[test]
fn pieces_are_bounded_and_their_bounds_are_checked() {
    let mut bench = Bench::among(&[("metadata.log.max.record.bytes.between.snapshots", "1")], |_| ());
    create(&mut bench, "a");
    let mut whole = Vec::new();
    loop {
        let got = piece(&mut bench, |_, asked| asked.position = whole.len() as i64);
        assert_eq!((got.error_code, got.position), (ErrorCode::NONE, whole.len() as i64));
        assert!(got.unaligned_records.len() <= 100);
        whole.extend_from_slice(&got.unaligned_records.bytes().expect("bytes"));
        if whole.len() as i64 == got.size {
            break;
        }
    }
    let id = *snapshots(&bench).last().expect("a snapshot");
    assert!(*bench.file(&id.file()) == whole, "the pieces are not the file");
    let size = whole.len() as i64;
    for position in [-1, size, size + 1] {
        assert_eq!(piece(&mut bench, |_, asked| asked.position = position).error_code, ErrorCode::POSITION_OUT_OF_RANGE, "{position}");
    }
    let other = |asked: &mut PartitionSnapshot| asked.snapshot_id.end_offset = Offset(asked.snapshot_id.end_offset.0 + 1);
    assert_eq!(piece(&mut bench, |_, asked| other(asked)).error_code, ErrorCode::SNAPSHOT_NOT_FOUND);
    for (epoch, code) in [(0, ErrorCode::FENCED_LEADER_EPOCH), (9, ErrorCode::UNKNOWN_LEADER_EPOCH)] {
        let refused = piece(&mut bench, |_, asked| asked.current_leader_epoch = LeaderEpoch(epoch));
        assert_eq!((refused.error_code, refused.current_leader.leader_epoch), (code, LeaderEpoch(1)));
    }
    let foreign = FetchSnapshotRequest { cluster_id: Some("another".to_owned()), ..Default::default() };
    assert_eq!(answer!(FetchSnapshot, bench.ask_by(NODE, 1, foreign)).error_code, ErrorCode::INCONSISTENT_CLUSTER_ID);
    assert_eq!(answer!(FetchSnapshot, bench.ask_by(NODE, 1, FetchSnapshotRequest::default())).error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn a_replica_that_was_away_for_too_long_takes_its_leaders_snapshot() {
    let in_pieces = [TINY, &[("controller.quorum.fetch.snapshot.max.bytes", "100")]].concat();
    let mut trio = Trio::new(&in_pieces);
    trio.kill(3);
    for name in ["a", "b", "c", "d"] {
        trio.create(name, 2, &[]);
    }
    let begun = trio.metadata_start(3);
    trio.start(3);
    trio.pass(Duration::from_secs(10));
    assert!(trio.metadata_start(3) > begun, "its log begins anew");
    assert!(trio.broker(3).committed_metadata().1 == trio.broker(1).committed_metadata().1, "it has other metadata than its leader");
    // From there on it follows the log, and starts from what it took.
    trio.create("e", 3, &[]);
    trio.kill(3);
    trio.start(3);
    trio.pass(Duration::from_secs(10));
    assert!(trio.broker(3).committed_metadata().1.topic("e").is_some());
}
