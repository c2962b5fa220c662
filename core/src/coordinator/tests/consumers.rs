//! Consumer groups by their requests: what is answered, when, and what the log holds.

use super::*;
use crate::wire::api::consumer_group_describe::{ConsumerGroupDescribeRequest, DescribedGroup as Described};
use crate::wire::api::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest as Request, ConsumerGroupHeartbeatResponse as Answer, TopicPartitions,
};
use crate::wire::api::offset_delete::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};

fn joining(group: &str, member: &str) -> Request {
    Request {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Request::default()
    }
}

fn at_epoch(group: &str, member: &str, member_epoch: i32) -> Request {
    Request { group_id: group.to_owned(), member_id: member.to_owned(), member_epoch, rebalance_timeout_ms: -1, ..Request::default() }
}

impl Bench {
    fn beat(&mut self, body: Request) -> Token {
        self.ask(1, |coordinator, now, caller, catalog| coordinator.consumer_heartbeat(now, caller, body, catalog))
    }

    fn beaten(&self, token: Token) -> &Answer {
        let Response::ConsumerGroupHeartbeat(body) = self.answer(token) else { panic!("no heartbeat: {:?}", self.answer(token)) };
        body
    }

    fn beat_now(&mut self, body: Request) -> Answer {
        let token = self.beat(body);
        self.beaten(token).clone()
    }

    fn describe_consumers(&mut self, group: &str) -> Described {
        let body = ConsumerGroupDescribeRequest { group_ids: vec![group.to_owned()], include_authorized_operations: true };
        let token = self.ask(1, |coordinator, now, caller, catalog| coordinator.describe_consumers(now, &caller, body, catalog));
        let Response::ConsumerGroupDescribe(body) = self.answer(token) else { panic!("no description") };
        body.groups[0].clone()
    }

    fn commit_of(&mut self, group: &str, member: &str, epoch: i32, offset: i64) -> ErrorCode {
        let body = Self::commit_request(group, member, epoch, offset);
        let token = self.ask(9, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog));
        self.committed(token)
    }

    fn delete_offset(&mut self, group: &str, topic: &str) -> ErrorCode {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: PartitionIndex(0) }];
        let topics = vec![OffsetDeleteRequestTopic { name: topic.to_owned(), partitions }];
        let body = OffsetDeleteRequest { group_id: group.to_owned(), topics };
        let token = self.ask(0, |coordinator, now, caller, catalog| coordinator.delete_offsets(now, &caller, &body, catalog));
        let Response::OffsetDelete(body) = self.answer(token) else { panic!("no deletion") };
        body.topics[0].partitions[0].error_code
    }
}

#[test]
fn one_member_joins_commits_and_leaves() {
    let mut bench = Bench::new();
    let joined = bench.beat_now(joining("g", "m"));
    assert_eq!((joined.error_code, joined.member_epoch, joined.heartbeat_interval_ms), (ErrorCode::NONE, 1, 5_000));
    assert_eq!(joined.member_id.as_deref(), Some("m"));
    let partitions = (0..3).map(PartitionIndex).collect();
    let expected = vec![TopicPartitions { topic_id: Uuid([1; 16]), partitions }];
    assert_eq!(joined.assignment.expect("it has joined").topic_partitions, expected);
    assert_eq!(bench.beat_now(at_epoch("g", "m", 1)).assignment, None);
    assert_eq!(bench.commit_of("g", "m", 1, 7), ErrorCode::NONE);
    assert_eq!(bench.commit_of("g", "m", 2, 8), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(bench.commit_of("g", "x", 1, 8), ErrorCode::UNKNOWN_MEMBER_ID);
    let left = bench.beat_now(at_epoch("g", "m", -1));
    assert_eq!((left.error_code, left.member_epoch), (ErrorCode::NONE, -1));
    assert_eq!(bench.offset("g"), Ok(7));
    assert_eq!(bench.describe_consumers("g").group_state, "Empty");
}

#[test]
fn an_assignment_is_told_when_its_records_are_safe() {
    let mut bench = Bench::new();
    bench.safe_at_once = false;
    let joined = bench.beat(joining("g", "m"));
    let quiet = bench.beat(at_epoch("g", "m", 1));
    assert!(bench.waits(joined) && bench.waits(quiet), "the second shows what the first has planned");
    let refused = bench.beat_now(at_epoch("g", "m", 9));
    assert_eq!(refused.error_code, ErrorCode::FENCED_MEMBER_EPOCH, "bad news promises nothing");
    bench.make_all_safe();
    assert_eq!((bench.beaten(joined).member_epoch, bench.beaten(quiet).member_epoch), (1, 1));
}

#[test]
fn what_was_not_safe_is_not_told_and_not_kept() {
    let mut bench = Bench::new();
    bench.safe_at_once = false;
    let waits = bench.beat(joining("g", "m"));
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.beaten(waits).error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let waits = bench.beat(joining("g", "m"));
    bench.elect(bench.coordinator.partition_of("g"));
    assert_eq!(bench.beaten(waits).error_code, ErrorCode::NOT_COORDINATOR);
    bench.crash(false);
    bench.safe_at_once = true;
    assert_eq!(bench.beat_now(at_epoch("g", "m", 1)).error_code, ErrorCode::GROUP_ID_NOT_FOUND);
}

#[test]
fn a_group_survives_a_restart_and_its_silent_members_do_not() {
    let mut bench = Bench::new();
    bench.beat(joining("g", "a"));
    bench.beat(joining("g", "b"));
    bench.crash(true);
    let before = bench.describe_consumers("g");
    assert_eq!((before.group_epoch, before.assignment_epoch, before.members.len()), (2, 2, 2));
    bench.pass(Duration::from_secs(30));
    assert_eq!(bench.beat_now(at_epoch("g", "b", 2)).error_code, ErrorCode::NONE);
    bench.pass(Duration::from_secs(20));
    let after = bench.describe_consumers("g");
    assert_eq!((after.group_state.as_str(), after.group_epoch, after.members.len()), ("Assigning", 3, 1));
    bench.crash(true);
    assert_eq!(bench.describe_consumers("g"), after, "who was taken out stays out");
}

#[test]
fn tools_see_members_states_and_types() {
    let mut bench = Bench::new();
    bench.beat(joining("new", "m"));
    bench.stable("old");
    let name = |group: &str, state: &str| (group.to_owned(), "consumer".to_owned(), state.to_owned());
    assert_eq!(bench.list(&[], &[]), Ok(vec![name("new", "Stable"), name("old", "Stable")]));
    assert_eq!(bench.list(&[], &["Consumer"]), Ok(vec![name("new", "Stable")]));
    assert_eq!(bench.list(&["stable"], &["classic"]), Ok(vec![name("old", "Stable")]));
    assert_eq!(bench.list(&["reconciling"], &[]), Ok(vec![]));
    let described = bench.describe_consumers("new");
    let member = &described.members[0];
    assert_eq!((described.group_state.as_str(), described.assignor_name.as_str()), ("Stable", "uniform"));
    assert_eq!(
        (member.client_id.as_str(), member.client_host.as_str(), member.member_epoch, member.member_type),
        ("app", "/10.0.0.1", 1, 1)
    );
    assert_eq!(member.subscribed_topic_names, ["t"]);
    assert_eq!((member.assignment.topic_partitions[0].topic_name.as_str(), &member.assignment), ("t", &member.target_assignment));
    assert!(described.authorized_operations > 0);
    let wrong = bench.describe_consumers("old");
    assert_eq!(
        (wrong.error_code, wrong.error_message.as_deref()),
        (ErrorCode::GROUP_ID_NOT_FOUND, Some("Group old is not a consumer group."))
    );
    assert_eq!(bench.describe_consumers("none").error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    let wrong = bench.describe(6, "new");
    assert_eq!((wrong.group_state.as_str(), wrong.error_message.as_deref()), ("Dead", Some("Group new is not a classic group.")));
}

#[test]
fn a_group_is_deleted_when_its_members_are_gone() {
    let mut bench = Bench::new();
    bench.beat(joining("g", "m"));
    bench.commit_of("g", "m", 1, 7);
    let token = bench.delete("g");
    assert_eq!(bench.deleted(token), ErrorCode::NON_EMPTY_GROUP);
    assert_eq!(bench.delete_offset("g", "t"), ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
    assert_eq!(bench.delete_offset("g", "u"), ErrorCode::NONE);
    bench.beat(at_epoch("g", "m", -1));
    assert_eq!(bench.delete_offset("g", "t"), ErrorCode::NONE);
    let token = bench.delete("g");
    assert_eq!(bench.deleted(token), ErrorCode::NONE);
    assert_eq!(bench.list(&[], &[]), Ok(vec![]));
    bench.crash(true);
    assert_eq!(bench.list(&[], &[]), Ok(vec![]));
}

#[test]
fn offsets_of_what_nobody_reads_expire_and_then_the_group() {
    let mut bench = Bench::new();
    bench.coordinator.config.retention = Duration::from_secs(60);
    bench.coordinator.config.retention_check = Duration::from_secs(10);
    bench.crash(true);
    bench.beat(joining("g", "m"));
    bench.commit_of("g", "m", 1, 7);
    for _ in 0..5 {
        bench.pass(Duration::from_secs(30));
        bench.beat(at_epoch("g", "m", 1));
    }
    assert_eq!(bench.offset("g"), Ok(7), "it is read");
    bench.beat(at_epoch("g", "m", -1));
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.list(&[], &[]), Ok(vec![]));
}

#[test]
fn a_group_without_members_is_of_whichever_protocol_comes_next() {
    let mut bench = Bench::new();
    let (member, generation) = bench.stable("g");
    bench.commit_of("g", &member, generation, 3);
    assert_eq!(bench.beat_now(joining("g", "m")).error_code, ErrorCode::GROUP_ID_NOT_FOUND, "classic members are in it");
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.beat_now(joining("g", "m")).error_code, ErrorCode::NONE);
    assert_eq!((bench.offset("g"), bench.describe_consumers("g").group_state.as_str()), (Ok(3), "Stable"));
    let refused = bench.join("g", "");
    assert_eq!(bench.joined(refused).error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(bench.heartbeat("g", &member, generation), ErrorCode::UNKNOWN_MEMBER_ID);
    bench.crash(true);
    assert_eq!((bench.offset("g"), bench.describe_consumers("g").group_state.as_str()), (Ok(3), "Stable"));
    bench.beat(at_epoch("g", "m", -1));
    bench.stable("g");
    assert_eq!((bench.offset("g"), bench.describe(5, "g").group_state.as_str()), (Ok(3), "Stable"));
    bench.crash(true);
    assert_eq!((bench.offset("g"), bench.describe(5, "g").group_state.as_str()), (Ok(3), "Stable"));
}

#[test]
fn offsets_kept_by_a_tool_are_there_for_the_first_member() {
    let mut bench = Bench::new();
    bench.commit("g", 5);
    assert_eq!(bench.beat_now(joining("g", "m")).error_code, ErrorCode::NONE);
    assert_eq!(bench.offset("g"), Ok(5));
    bench.crash(true);
    assert_eq!((bench.offset("g"), bench.describe_consumers("g").members.len()), (Ok(5), 1));
}

#[test]
fn a_request_that_makes_no_sense_is_refused_in_kafkas_words() {
    let mut bench = Bench::new();
    let mut refused = |body: Request| {
        let answer = bench.beat_now(body);
        (answer.error_code, answer.error_message.unwrap_or_default())
    };
    let invalid = |words: &str| (ErrorCode::INVALID_REQUEST, words.to_owned());
    assert_eq!(refused(joining("", "m")), invalid("GroupId can't be empty."));
    assert_eq!(refused(joining("g", "")), invalid("MemberId can't be empty."));
    assert_eq!(refused(Request { instance_id: Some(String::new()), ..joining("g", "m") }), invalid("InstanceId can't be empty."));
    assert_eq!(refused(at_epoch("g", "m", -3)), invalid("MemberEpoch is invalid."));
    assert_eq!(refused(at_epoch("g", "m", -2)), invalid("InstanceId can't be null."));
    let regex = Request { subscribed_topic_regex: Some("t.*".to_owned()), ..joining("g", "m") };
    assert_eq!(refused(regex), invalid("SubscribedTopicRegex is not supported yet."));
    let timeless = Request { rebalance_timeout_ms: -1, ..joining("g", "m") };
    assert_eq!(refused(timeless), invalid("RebalanceTimeoutMs must be provided in first request."));
    let owning = Request { topic_partitions: None, ..joining("g", "m") };
    assert_eq!(refused(owning), invalid("TopicPartitions must be empty when (re-)joining."));
    let assignor = Request { server_assignor: Some("mine".to_owned()), ..joining("g", "m") };
    let words = "ServerAssignor mine is not supported. Supported assignors: uniform, range.";
    assert_eq!(refused(assignor), (ErrorCode::UNSUPPORTED_ASSIGNOR, words.to_owned()));
    assert_eq!(refused(at_epoch("g", "m", 1)).0, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(refused(at_epoch("g", "m", -1)).0, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(bench.list(&[], &[]), Ok(vec![]), "none of them made a group");
}

#[test]
fn the_oldest_version_is_given_an_id() {
    let mut bench = Bench::new();
    let body = joining("g", "");
    let token = bench.ask(0, |coordinator, now, caller, catalog| coordinator.consumer_heartbeat(now, caller, body, catalog));
    let id = bench.beaten(token).member_id.clone().expect("it was let in");
    assert_eq!((id.len(), bench.beat_now(at_epoch("g", &id, 1)).error_code), (22, ErrorCode::NONE));
}

#[test]
fn a_member_that_asks_for_offsets_must_be_of_its_epoch() {
    let mut bench = Bench::new();
    bench.beat(joining("g", "m"));
    let mut fetch = |member: &str, member_epoch: i32| {
        let group =
            OffsetFetchRequestGroup { group_id: "g".into(), member_id: Some(member.to_owned()), member_epoch, ..Default::default() };
        let body = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        let token = bench.ask(9, |coordinator, now, caller, catalog| coordinator.fetch(now, &caller, body, catalog));
        let Response::OffsetFetch(body) = bench.answer(token) else { panic!("no fetch") };
        body.groups[0].error_code
    };
    assert_eq!(
        (fetch("m", 1), fetch("m", 0), fetch("x", 1)),
        (ErrorCode::NONE, ErrorCode::STALE_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID)
    );
}
