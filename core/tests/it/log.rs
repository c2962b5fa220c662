//! Produce and the requests that ask about a log's ends: what they do with repetitions and odd epochs.

use crate::answer;
use crate::bench::{Bench, CLIENT};
use klamm_core::error::ErrorCode as E;
use klamm_core::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex};
use klamm_core::time::Timestamp;
use klamm_core::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic};
use klamm_core::wire::api::metadata::MetadataRequest;

fn with_topic(name: &str) -> Bench {
    let mut bench = Bench::new(&[]);
    let topic = CreatableTopic { name: name.to_owned(), num_partitions: 2, replication_factor: 1, ..Default::default() };
    let made = answer!(CreateTopics, bench.ask(7, CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() }));
    assert_eq!(made.topics[0].error_code, E::NONE);
    bench
}

fn latest(bench: &mut Bench, indexes: &[i32], epoch: i32) -> Vec<ListOffsetsPartitionResponse> {
    let of = |index: &i32| ListOffsetsPartition {
        partition_index: PartitionIndex(*index),
        current_leader_epoch: LeaderEpoch(epoch),
        timestamp: Timestamp(-1),
        ..Default::default()
    };
    let topic = ListOffsetsTopic { name: "t".to_owned(), partitions: indexes.iter().map(of).collect() };
    answer!(ListOffsets, bench.ask(5, ListOffsetsRequest { replica_id: BrokerId(-1), topics: vec![topic], ..Default::default() }))
        .topics
        .remove(0)
        .partitions
}

#[test]
fn of_a_partition_named_twice_the_last_batch_counts_and_is_answered_once() {
    let mut bench = with_topic("t");
    let answer = bench.produce_all(&[("t", 0, 3), ("t", 1, 1), ("t", 0, 5)]);
    let answers: Vec<_> = answer.responses.iter().flat_map(|t| &t.partition_responses).map(|p| (p.index.0, p.error_code)).collect();
    assert_eq!(answers, [(1, E::NONE), (0, E::NONE)]);
    let ends: Vec<_> = latest(&mut bench, &[0, 1], -1).iter().map(|p| p.offset).collect();
    assert_eq!(ends, [Offset(5), Offset(1)]);
}

#[test]
fn a_partition_listed_twice_is_refused_once() {
    let mut bench = with_topic("t");
    let answers: Vec<_> = latest(&mut bench, &[0, 1, 0], -1).iter().map(|p| (p.partition_index.0, p.error_code)).collect();
    assert_eq!(answers, [(0, E::INVALID_REQUEST), (1, E::NONE)]);
}

#[test]
fn only_minus_one_says_nothing_of_the_epoch() {
    let mut bench = with_topic("t");
    for (epoch, code) in [(-1, E::NONE), (0, E::NONE), (1, E::UNKNOWN_LEADER_EPOCH), (-2, E::FENCED_LEADER_EPOCH)] {
        assert_eq!(latest(&mut bench, &[0], epoch)[0].error_code, code, "epoch {epoch}");
    }
}

/// Seed 3: clients that went on kept a node from ever stopping.
#[test]
fn a_node_that_stops_decides_nothing_more() {
    let mut bench = with_topic("t");
    bench.stop();
    assert_eq!(bench.halted(), None, "it has something to write first");
    let asked = bench.send(CLIENT, 12, MetadataRequest::default());
    bench.settle();
    assert_eq!(bench.halted(), Some("Stopped"));
    assert!(bench.answer(asked).is_none());
}

/// Recovery takes the epochs before the newest producer snapshot from their file.
#[test]
fn epochs_that_a_full_disk_refused_are_saved_later_and_no_snapshot_comes_before_them() {
    const EPOCHS: &str = "t-0/leader-epoch-checkpoint";
    let mut bench = with_topic("t");
    bench.fill(Some(0));
    assert_eq!(bench.produce("t", 0, 1), E::NONE);
    assert!(bench.files().all(|path| path != EPOCHS));
    let mut stopped = with_topic("t");
    stopped.fill(Some(0));
    assert_eq!(stopped.produce("t", 0, 1), E::NONE);
    stopped.fill(None);
    stopped.stop();
    stopped.settle();
    assert_eq!(&stopped.file(EPOCHS)[..], b"0\n1\n0 0\n");
    assert!(stopped.files().all(|path| path != "t-0/00000000000000000001.snapshot"));
    bench.fill(None);
    bench.pass(std::time::Duration::from_secs(10));
    assert_eq!(&bench.file(EPOCHS)[..], b"0\n1\n0 0\n");
    bench.stop();
    bench.settle();
    assert!(bench.files().any(|path| path == "t-0/00000000000000000001.snapshot"));
}
