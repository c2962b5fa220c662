//! What may be committed, what is fetched, and when offsets go.

use super::*;
use crate::wire::api::offset_delete::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::wire::api::offset_fetch::OffsetFetchRequestTopic;

fn part(index: i32, offset: i64, metadata: &str) -> OffsetCommitRequestPartition {
    OffsetCommitRequestPartition {
        partition_index: PartitionIndex(index),
        committed_offset: Offset(offset),
        committed_metadata: Some(metadata.to_owned()),
        ..OffsetCommitRequestPartition::default()
    }
}

/// Commits by admin; the codes in order.
fn commit_topics(bench: &mut Bench, version: i16, topics: Vec<OffsetCommitRequestTopic>) -> Vec<ErrorCode> {
    let body = OffsetCommitRequest { group_id: "g".into(), topics, ..OffsetCommitRequest::default() };
    let token = bench.ask(version, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog));
    let Response::OffsetCommit(body) = bench.answer(token) else { panic!("no commit") };
    body.topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| partition.error_code)).collect()
}

fn named(name: &str, partitions: Vec<OffsetCommitRequestPartition>) -> OffsetCommitRequestTopic {
    OffsetCommitRequestTopic { name: name.to_owned(), partitions, ..OffsetCommitRequestTopic::default() }
}

fn by_id(id: u8, partitions: Vec<OffsetCommitRequestPartition>) -> OffsetCommitRequestTopic {
    OffsetCommitRequestTopic { topic_id: Uuid([id; 16]), partitions, ..OffsetCommitRequestTopic::default() }
}

#[test]
fn each_partition_is_judged_for_itself() {
    let mut bench = Bench::new();
    let topics = vec![
        named("t", vec![part(0, 5, "hello ☃"), part(9, 5, ""), part(1, -7, "")]),
        named("absent", vec![part(0, 5, "")]),
        named("u", vec![part(0, 1, &"m".repeat(4097))]),
    ];
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let expected = [ErrorCode::NONE, unknown, ErrorCode::NONE, unknown, ErrorCode::OFFSET_METADATA_TOO_LARGE];
    assert_eq!(commit_topics(&mut bench, 9, topics), expected);
    bench.crash(false);
    let fetch = bench.fetch_topics(8, "g", None);
    let Response::OffsetFetch(body) = bench.answer(fetch) else { panic!("no fetch") };
    let [topic] = &body.groups[0].topics[..] else { panic!("one topic") };
    let kept: Vec<_> =
        topic.partitions.iter().map(|p| (p.partition_index.0, p.committed_offset.0, p.metadata.as_deref().unwrap())).collect();
    assert_eq!(kept, [(0, 5, "hello ☃"), (1, -7, "")]);
}

#[test]
fn metadata_is_limited_in_characters_of_java() {
    let mut bench = Bench::new();
    bench.coordinator.config.metadata_max = 4;
    // A snowman is one UTF-16 unit, an emoji two.
    let codes = commit_topics(&mut bench, 9, vec![named("t", vec![part(0, 1, "☃☃☃☃"), part(1, 1, "🦀🦀"), part(2, 1, "🦀🦀🦀")])]);
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::NONE, ErrorCode::OFFSET_METADATA_TOO_LARGE]);
}

#[test]
fn who_is_in_no_group_commits_where_there_are_no_members() {
    let mut bench = Bench::new();
    let bare = bench.commit("g", 5);
    assert_eq!(bench.committed(bare), ErrorCode::NONE);
    let nobodys = bench.commit("", 5);
    assert_eq!(bench.committed(nobodys), ErrorCode::NONE, "the empty group id is for offsets");
    let (member, generation) = bench.stable("live");
    let bare = bench.commit("live", 5);
    assert_eq!(bench.committed(bare), ErrorCode::UNKNOWN_MEMBER_ID);
    for (member, generation, expected) in [
        (&*member, generation, ErrorCode::NONE),
        (&*member, generation - 1, ErrorCode::ILLEGAL_GENERATION),
        ("x", generation, ErrorCode::UNKNOWN_MEMBER_ID),
    ] {
        let body = Bench::commit_request("live", member, generation, 9);
        let token = bench.ask(9, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog));
        assert_eq!(bench.committed(token), expected);
    }
    for (version, expected) in [(8, ErrorCode::ILLEGAL_GENERATION), (9, ErrorCode::GROUP_ID_NOT_FOUND)] {
        let body = Bench::commit_request("absent", "x", 1, 9);
        let token = bench.ask(version, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog));
        assert_eq!(bench.committed(token), expected);
    }
}

#[test]
fn a_commit_keeps_the_session_alive() {
    let mut bench = Bench::new();
    let (member, generation) = bench.stable("g");
    for offset in 0..5 {
        bench.pass(Duration::from_secs(9));
        let body = Bench::commit_request("g", &member, generation, offset);
        let token = bench.ask(9, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog));
        assert_eq!(bench.committed(token), ErrorCode::NONE);
    }
    assert_eq!(bench.heartbeat("g", &member, generation), ErrorCode::NONE);
}

#[test]
fn topics_go_by_id_from_version_10_on() {
    let mut bench = Bench::new();
    let codes = commit_topics(&mut bench, 10, vec![by_id(1, vec![part(0, 5, "")]), by_id(9, vec![part(0, 5, ""), part(1, 5, "")])]);
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_ID, ErrorCode::UNKNOWN_TOPIC_ID]);
    let asked = |id: u8| OffsetFetchRequestTopics {
        topic_id: Uuid([id; 16]),
        partition_indexes: vec![PartitionIndex(0)],
        ..OffsetFetchRequestTopics::default()
    };
    let fetch = bench.fetch_topics(10, "g", Some(vec![asked(1), asked(9)]));
    let Response::OffsetFetch(body) = bench.answer(fetch) else { panic!("no fetch") };
    let found: Vec<_> =
        body.groups[0].topics.iter().map(|t| (t.topic_id, t.partitions[0].committed_offset.0, t.partitions[0].error_code)).collect();
    assert_eq!(found, [(Uuid([1; 16]), 5, ErrorCode::NONE), (Uuid([9; 16]), -1, ErrorCode::UNKNOWN_TOPIC_ID)]);
    let all = bench.fetch_topics(10, "g", None);
    let Response::OffsetFetch(body) = bench.answer(all) else { panic!("no fetch") };
    assert_eq!(body.groups[0].topics[0].topic_id, Uuid([1; 16]));
}

#[test]
fn a_topic_that_is_deleted_takes_its_offsets_along() {
    let mut bench = Bench::new();
    commit_topics(&mut bench, 9, vec![named("t", vec![part(0, 5, ""), part(1, 6, "")]), named("u", vec![part(0, 7, "")])]);
    bench.catalog.0.remove("t");
    bench.coordinator.topic_deleted(bench.now, "t");
    bench.carry_out();
    bench.crash(false);
    let all = bench.fetch_topics(8, "g", None);
    let Response::OffsetFetch(body) = bench.answer(all) else { panic!("no fetch") };
    assert_eq!(body.groups[0].topics.iter().map(|t| &*t.name).collect::<Vec<_>>(), ["u"]);
}

#[test]
fn a_topic_that_is_deleted_while_a_shard_loads_is_not_forgotten_to_be_forgotten() {
    let mut bench = Bench::new();
    bench.commit("g", 5);
    bench.loads_wait = true;
    bench.crash(false);
    bench.coordinator.topic_deleted(bench.now, "t");
    while let Some((at, run, from, until)) = bench.loads.pop_front() {
        bench.load(at, run, from, until);
        bench.carry_out();
    }
    assert_eq!(bench.offset("g"), Ok(-1));
}

#[test]
fn offsets_of_a_topic_that_was_deleted_are_not_those_of_its_successor() {
    let mut bench = Bench::new();
    bench.commit("g", 5);
    bench.catalog.0.insert("t".into(), (Uuid([77; 16]), 3));
    assert_eq!(bench.offset("g"), Ok(-1), "though nobody said that the first one was deleted");
    bench.commit("g", 1);
    assert_eq!(bench.offset("g"), Ok(1));
}

#[test]
fn old_fetches_say_their_errors_where_their_clients_look() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, version| {
        let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![PartitionIndex(0)] };
        let body = OffsetFetchRequest { group_id: "g".into(), topics: Some(vec![topic]), ..OffsetFetchRequest::default() };
        let token = bench.ask(version, |coordinator, now, caller, catalog| coordinator.fetch(now, &caller, body, catalog));
        let Response::OffsetFetch(body) = bench.answer(token) else { panic!("no fetch") };
        (body.error_code, body.topics.first().map(|t| (t.partitions[0].error_code, t.partitions[0].committed_offset.0)))
    };
    assert_eq!(ask(&mut bench, 7), (ErrorCode::NONE, Some((ErrorCode::NONE, -1))));
    (0..3).for_each(|at| bench.coordinator.lost(PartitionIndex(at)));
    assert_eq!(ask(&mut bench, 1), (ErrorCode::NONE, Some((ErrorCode::NOT_COORDINATOR, -1))));
    assert_eq!(ask(&mut bench, 2), (ErrorCode::NOT_COORDINATOR, None));
}

#[test]
fn offsets_are_deleted_unless_somebody_reads_there() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, group: &str, topic: &str, index: i32| {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: PartitionIndex(index) }];
        let topics = vec![OffsetDeleteRequestTopic { name: topic.to_owned(), partitions }];
        let body = OffsetDeleteRequest { group_id: group.to_owned(), topics };
        let token = bench.ask(0, |coordinator, now, caller, catalog| coordinator.delete_offsets(now, &caller, &body, catalog));
        let Response::OffsetDelete(body) = bench.answer(token) else { panic!("no deletion") };
        body.topics.first().map_or(body.error_code, |topic| topic.partitions[0].error_code)
    };
    bench.commit("g", 5);
    assert_eq!(ask(&mut bench, "g", "t", 0), ErrorCode::NONE);
    assert_eq!(ask(&mut bench, "g", "t", 0), ErrorCode::NONE);
    assert_eq!(bench.offset("g"), Ok(-1));
    bench.stable("live");
    assert_eq!(ask(&mut bench, "live", "t", 0), ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
    assert_eq!(ask(&mut bench, "live", "u", 0), ErrorCode::NONE);
    assert_eq!(ask(&mut bench, "g", "t", 9), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(ask(&mut bench, "g", "absent", 0), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(ask(&mut bench, "absent", "t", 0), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(ask(&mut bench, "", "t", 0), ErrorCode::INVALID_GROUP_ID);
}

#[test]
fn offsets_expire_when_nobody_has_needed_them_for_long() {
    let mut bench = Bench::new();
    let day = Duration::from_secs(24 * 3600);
    bench.commit("bare", 5);
    bench.pass(6 * day);
    assert_eq!(bench.offset("bare"), Ok(5));
    bench.commit("bare", 6);
    bench.pass(6 * day);
    assert_eq!(bench.offset("bare"), Ok(6), "counted from the last commit");
    bench.pass(day + Duration::from_secs(700));
    assert_eq!(bench.offset("bare"), Ok(-1));
    assert_eq!(bench.list(&[], &[]), Ok(Vec::new()), "and the group with them");
    bench.crash(false);
    assert_eq!(bench.list(&[], &[]), Ok(Vec::new()));
}

#[test]
fn the_offsets_of_members_expire_only_where_they_do_not_read_any_more() {
    let mut bench = Bench::new();
    let (member, generation) = bench.stable("g");
    let mut body = Bench::commit_request("g", &member, generation, 5);
    body.topics.push(named("u", vec![part(0, 7, "")]));
    bench.ask(9, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog));
    for _ in 0..8 * 24 * 3600 / 9 {
        bench.pass(Duration::from_secs(9));
        assert_eq!(bench.heartbeat("g", &member, generation), ErrorCode::NONE);
    }
    assert_eq!(bench.offset("g"), Ok(5));
    let all = bench.fetch_topics(8, "g", None);
    let Response::OffsetFetch(fetched) = bench.answer(all) else { panic!("no fetch") };
    assert_eq!(fetched.groups[0].topics.len(), 1, "u is read no more");
    // Its members gone, the group keeps its offsets for the whole retention.
    bench.pass(Duration::from_secs(6 * 24 * 3600));
    assert_eq!(bench.offset("g"), Ok(5));
    bench.pass(Duration::from_secs(24 * 3600 + 700));
    assert_eq!(bench.offset("g"), Ok(-1));
}

#[test]
fn an_old_client_says_itself_how_long_its_offsets_live() {
    let mut bench = Bench::new();
    let body = OffsetCommitRequest { retention_time_ms: 60_000, ..Bench::commit_request("g", "", -1, 5) };
    bench.ask(4, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog));
    bench.crash(false);
    assert_eq!(bench.offset("g"), Ok(5));
    bench.pass(Duration::from_secs(660));
    assert_eq!(bench.offset("g"), Ok(-1));
}
