//! Groups through a whole broker: who coordinates, what is acknowledged when, and what a restart finds.

use crate::answer;
use crate::bench::Bench;
use klamm_core::error::ErrorCode as E;
use klamm_core::id::{BrokerId, ConnId, LeaderEpoch, Offset, PartitionIndex, Uuid};
use klamm_core::store::StoreOp;
use klamm_core::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use klamm_core::wire::api::delete_topics::DeleteTopicsRequest;
use klamm_core::wire::api::describe_groups::DescribeGroupsRequest;
use klamm_core::wire::api::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use klamm_core::wire::api::heartbeat::HeartbeatRequest;
use klamm_core::wire::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use klamm_core::wire::api::offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use klamm_core::wire::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use klamm_core::wire::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use klamm_core::wire::{Request, Response};
use std::time::Duration;

fn find(bench: &mut Bench, version: i16, key_type: i8, keys: &[&str]) -> FindCoordinatorResponse {
    let body =
        FindCoordinatorRequest { key: keys[0].to_owned(), key_type, coordinator_keys: keys.iter().map(|key| (*key).to_owned()).collect() };
    answer!(FindCoordinator, bench.ask(version, body))
}

/// A broker with `__consumer_offsets` and a topic `t` of two partitions.
fn ready() -> Bench {
    let mut bench = Bench::new(&[("group.initial.rebalance.delay.ms", "0"), ("offsets.topic.num.partitions", "3")]);
    find(&mut bench, 4, 0, &["g"]);
    create(&mut bench);
    bench
}

fn create(bench: &mut Bench) {
    let topic = CreatableTopic { name: "t".to_owned(), num_partitions: 2, replication_factor: 1, ..Default::default() };
    let body = answer!(CreateTopics, bench.ask(7, CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: false }));
    assert_eq!(body.topics[0].error_code, E::NONE);
}

fn join(bench: &mut Bench, member: &str) -> JoinGroupResponse {
    let protocol = JoinGroupRequestProtocol { name: "range".to_owned(), metadata: b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff"[..].into() };
    let body = JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let correlation = bench.send(ConnId(1), 9, body);
    bench.settle();
    bench.pass(Duration::ZERO);
    bench.settle();
    answer!(JoinGroup, bench.answer(correlation).expect("nobody else is to come"))
}

fn sync_request(member: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id,
        member_id: member.to_owned(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: vec![SyncGroupRequestAssignment { member_id: member.to_owned(), assignment: b"mine"[..].into() }],
        ..Default::default()
    }
}

fn heartbeat(bench: &mut Bench, member: &str, generation_id: i32) -> E {
    let body = HeartbeatRequest { group_id: "g".to_owned(), generation_id, member_id: member.to_owned(), ..Default::default() };
    answer!(Heartbeat, bench.ask(4, body)).error_code
}

fn commit_request(member: &str, generation: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: PartitionIndex(1),
        committed_offset: Offset(offset),
        committed_leader_epoch: LeaderEpoch(0),
        committed_metadata: Some("note".to_owned()),
    };
    OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member.to_owned(),
        topics: vec![OffsetCommitRequestTopic { name: "t".to_owned(), topic_id: Uuid::ZERO, partitions: vec![partition] }],
        ..Default::default()
    }
}

fn committed(answer: Response) -> E {
    answer!(OffsetCommit, answer).topics[0].partitions[0].error_code
}

fn fetch(bench: &mut Bench) -> (i64, String) {
    let topic = OffsetFetchRequestTopics { name: "t".to_owned(), partition_indexes: vec![PartitionIndex(1)], ..Default::default() };
    let group = OffsetFetchRequestGroup { group_id: "g".to_owned(), topics: Some(vec![topic]), ..Default::default() };
    let body = answer!(OffsetFetch, bench.ask(8, OffsetFetchRequest { groups: vec![group], ..Default::default() }));
    assert_eq!(body.groups[0].error_code, E::NONE);
    let partition = &body.groups[0].topics[0].partitions[0];
    (partition.committed_offset.0, partition.metadata.clone().unwrap_or_default())
}

/// Joins and syncs; the member and its generation.
fn stable(bench: &mut Bench) -> (String, i32) {
    let member = join(bench, "").member_id;
    let generation = join(bench, &member).generation_id;
    let body = answer!(SyncGroup, bench.ask(5, sync_request(&member, generation)));
    assert_eq!((body.error_code, &*body.assignment), (E::NONE, &b"mine"[..]));
    (member, generation)
}

#[test]
fn the_first_question_for_a_coordinator_makes_its_topic() {
    let mut bench = Bench::new(&[]);
    let correlation = bench.send(ConnId(1), 4, FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() });
    let first = answer!(FindCoordinator, bench.answer(correlation).expect("at once"));
    assert_eq!(first.coordinators[0].error_code, E::COORDINATOR_NOT_AVAILABLE);
    bench.settle();
    assert_eq!(bench.folders().iter().filter(|name| name.starts_with("__consumer_offsets-")).count(), 50);
    let body = find(&mut bench, 4, 0, &["g", "h", "g"]);
    let told: Vec<_> =
        body.coordinators.iter().map(|c| (&*c.key, c.error_code, c.node_id, &*c.host, c.port, c.error_message.as_deref())).collect();
    let here = |key| (key, E::NONE, BrokerId(1), "localhost", 9092, Some(""));
    assert_eq!(told, [here("g"), here("h"), here("g")], "in the order of the question");
    let old = find(&mut bench, 3, 0, &["g"]);
    assert_eq!((old.error_code, old.node_id, old.port, old.error_message.as_deref()), (E::NONE, BrokerId(1), 9092, Some("NONE")));
}

#[test]
fn there_is_no_coordinator_of_transactions() {
    let mut bench = ready();
    let folders = bench.folders();
    let body = find(&mut bench, 4, 1, &["tx"]);
    assert_eq!((body.coordinators[0].error_code, body.coordinators[0].node_id), (E::INVALID_REQUEST, BrokerId(-1)));
    assert_eq!(find(&mut bench, 3, 7, &["x"]).error_code, E::INVALID_REQUEST);
    assert_eq!(bench.folders(), folders, "and nothing is made for it");
}

#[test]
fn an_assignment_is_told_when_it_is_on_disk() {
    let mut bench = ready();
    let member = join(&mut bench, "").member_id;
    let generation = join(&mut bench, &member).generation_id;
    let sync = bench.send(ConnId(1), 5, sync_request(&member, generation));
    bench.settle_until(|op| matches!(op, StoreOp::Sync { .. }));
    assert!(bench.answer(sync).is_none());
    bench.settle();
    assert_eq!(answer!(SyncGroup, bench.answer(sync).expect("it is safe")).error_code, E::NONE);
}

#[test]
fn a_commit_that_was_acknowledged_survives_a_crash_and_the_group_too() {
    let mut bench = ready();
    let (member, generation) = stable(&mut bench);
    let commit = bench.send(ConnId(1), 9, commit_request(&member, generation, 42));
    bench.settle_until(|op| matches!(op, StoreOp::Sync { .. }));
    assert!(bench.answer(commit).is_none(), "not before it is on disk");
    bench.settle();
    assert_eq!(committed(bench.answer(commit).expect("it is safe")), E::NONE);
    bench.crash();
    assert_eq!(fetch(&mut bench), (42, "note".to_owned()));
    assert_eq!(heartbeat(&mut bench, &member, generation), E::NONE);
    let body = DescribeGroupsRequest { groups: vec!["g".to_owned()], ..Default::default() };
    let described = answer!(DescribeGroups, bench.ask(5, body));
    assert_eq!((&*described.groups[0].group_state, &*described.groups[0].members[0].client_host), ("Stable", "/127.0.0.1"));
    assert_eq!(committed(bench.ask(9, commit_request(&member, generation - 1, 7))), E::ILLEGAL_GENERATION);
    bench.pass(Duration::from_secs(11));
    assert_eq!(heartbeat(&mut bench, &member, generation), E::UNKNOWN_MEMBER_ID);
    assert_eq!(fetch(&mut bench).0, 42);
}

#[test]
fn a_commit_that_was_not_acknowledged_may_be_gone() {
    let mut bench = ready();
    assert_eq!(committed(bench.ask(9, commit_request("", -1, 1))), E::NONE);
    bench.send(ConnId(1), 9, commit_request("", -1, 2));
    bench.settle_until(|op| matches!(op, StoreOp::Sync { .. }));
    bench.crash();
    assert_eq!(fetch(&mut bench).0, 1);
}

#[test]
fn a_fetch_does_not_show_what_a_crash_may_take_back() {
    let mut bench = ready();
    bench.open(ConnId(2));
    bench.send(ConnId(1), 9, commit_request("", -1, 2));
    let topic = OffsetFetchRequestTopics { name: "t".to_owned(), partition_indexes: vec![PartitionIndex(1)], ..Default::default() };
    let group = OffsetFetchRequestGroup { group_id: "g".to_owned(), topics: Some(vec![topic]), ..Default::default() };
    let asked = bench.send(ConnId(2), 8, Request::from(OffsetFetchRequest { groups: vec![group], ..Default::default() }));
    bench.settle_until(|op| matches!(op, StoreOp::Sync { .. }));
    assert!(bench.answer(asked).is_none());
    bench.settle();
    assert!(bench.answer(asked).is_some());
}

#[test]
fn offsets_go_with_their_topic() {
    let mut bench = ready();
    assert_eq!(committed(bench.ask(9, commit_request("", -1, 5))), E::NONE);
    bench.ask(5, DeleteTopicsRequest { topic_names: vec!["t".to_owned()], ..Default::default() });
    assert_eq!(committed(bench.ask(9, commit_request("", -1, 6))), E::UNKNOWN_TOPIC_OR_PARTITION);
    create(&mut bench);
    assert_eq!(fetch(&mut bench).0, -1);
    bench.crash();
    assert_eq!(fetch(&mut bench).0, -1);
}

#[test]
fn groups_begin_anew_when_their_topic_is_deleted() {
    let mut bench = ready();
    let (member, generation) = stable(&mut bench);
    bench.ask(5, DeleteTopicsRequest { topic_names: vec!["__consumer_offsets".to_owned()], ..Default::default() });
    assert_eq!(heartbeat(&mut bench, &member, generation), E::NOT_COORDINATOR);
    assert_eq!(find(&mut bench, 4, 0, &["g"]).coordinators[0].error_code, E::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(find(&mut bench, 4, 0, &["g"]).coordinators[0].error_code, E::NONE);
    assert_eq!(heartbeat(&mut bench, &member, generation), E::UNKNOWN_MEMBER_ID);
}
