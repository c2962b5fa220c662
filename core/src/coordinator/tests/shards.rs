//! Plan, append, replay, reply; loading, loss, and the answers that wait.

use super::*;

#[test]
fn a_group_lies_where_kafka_puts_it() {
    let coordinator = Coordinator::new(GroupConfig::default(), 0);
    // Computed with Kafka's own class.
    let rows = [("", 0), ("a", 47), ("abc", 4), ("21", 49), ("foobar", 13), ("key-0", 12), ("key-1", 13), ("kafka", 10), ("한글", 14)];
    for (group, partition) in rows {
        assert_eq!(coordinator.partition_of(group), PartitionIndex(partition), "{group}");
    }
}

#[test]
fn an_answer_waits_until_what_it_shows_is_safe() {
    let mut bench = Bench::new();
    bench.safe_at_once = false;
    let commit = bench.commit("g", 5);
    let fetch = bench.fetch("g");
    assert!(bench.waits(commit) && bench.waits(fetch));
    let at = bench.coordinator.partition_of("g");
    bench.make_safe(at);
    assert_eq!(bench.committed(commit), ErrorCode::NONE);
    assert_eq!(bench.fetched(fetch), Ok(5));
}

#[test]
fn an_answer_about_one_group_does_not_wait_for_another() {
    let mut bench = Bench::new();
    let commit = bench.commit("g", 5);
    assert_eq!(bench.committed(commit), ErrorCode::NONE);
    let same_shard =
        (0..).map(|i| format!("x{i}")).find(|g| bench.coordinator.partition_of(g) == bench.coordinator.partition_of("g")).unwrap();
    bench.safe_at_once = false;
    bench.commit(&same_shard, 1);
    assert_eq!(bench.offset("g"), Ok(5));
}

#[test]
fn the_assignment_is_told_when_its_record_is_safe_and_heartbeats_never_wait() {
    let mut bench = Bench::new();
    let first = bench.join("g", "");
    let member = bench.joined(first).member_id.clone();
    let second = bench.join("g", &member);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.joined(second).generation_id, 1);
    bench.safe_at_once = false;
    let sync = bench.sync("g", &member, 1);
    assert!(bench.waits(sync));
    assert_eq!(bench.heartbeat("g", &member, 1), ErrorCode::NONE);
    bench.make_all_safe();
    assert_eq!(bench.synced(sync), ErrorCode::NONE);
}

#[test]
fn a_wait_ends_with_an_error_that_makes_clients_try_again() {
    let mut bench = Bench::new();
    let (member, generation) = bench.stable("m");
    bench.safe_at_once = false;
    let (commit, fetch, delete) = (bench.commit("g", 5), bench.fetch("g"), bench.delete("g"));
    let of_member = Bench::commit_request("m", &member, generation, 3);
    let of_member = bench.ask(9, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &of_member, catalog));
    bench.pass(Duration::from_secs(4));
    assert!(bench.waits(commit) && bench.waits(fetch) && bench.waits(of_member));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.committed(commit), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(bench.committed(of_member), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(bench.fetched(fetch), Err(ErrorCode::NOT_COORDINATOR));
    assert_eq!(bench.deleted(delete), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    bench.make_all_safe();
}

#[test]
fn an_answer_about_two_shards_waits_for_both() {
    let mut bench = Bench::new();
    let groups: Vec<String> =
        (0..3).map(|at| (0..).map(|i| format!("g{i}")).find(|g| bench.coordinator.partition_of(g).0 == at).unwrap()).collect();
    bench.safe_at_once = false;
    bench.commit(&groups[0], 10);
    bench.commit(&groups[1], 11);
    let group = |id: &String| OffsetFetchRequestGroup { group_id: id.clone(), topics: None, ..OffsetFetchRequestGroup::default() };
    let body = OffsetFetchRequest { groups: groups.iter().map(group).collect(), ..OffsetFetchRequest::default() };
    let fetch = bench.ask(8, |coordinator, now, caller, catalog| coordinator.fetch(now, &caller, body, catalog));
    bench.make_safe(PartitionIndex(0));
    assert!(bench.waits(fetch));
    bench.make_safe(PartitionIndex(1));
    let Response::OffsetFetch(body) = bench.answer(fetch) else { panic!("no fetch") };
    assert_eq!(body.groups.iter().map(|group| group.topics.len()).collect::<Vec<_>>(), [1, 1, 0]);
}

#[test]
fn a_deletion_that_is_not_safe_is_not_shown_either() {
    let mut bench = Bench::new();
    bench.commit("g", 5);
    bench.safe_at_once = false;
    let delete = bench.delete("g");
    let again = bench.delete("g");
    let fetch = bench.fetch("g");
    assert!(bench.waits(delete) && bench.waits(again) && bench.waits(fetch));
    bench.make_all_safe();
    assert_eq!((bench.deleted(delete), bench.deleted(again)), (ErrorCode::NONE, ErrorCode::GROUP_ID_NOT_FOUND));
    assert_eq!(bench.fetched(fetch), Ok(-1));
}

#[test]
fn what_was_written_comes_back_after_a_crash() {
    let mut bench = Bench::new();
    let (member, generation) = bench.stable("g");
    bench.commit("h", 7);
    bench.crash(false);
    assert_eq!(bench.heartbeat("g", &member, generation), ErrorCode::NONE);
    let again = bench.sync("g", &member, generation);
    assert_eq!(bench.synced(again), ErrorCode::NONE);
    assert_eq!(bench.offset("h"), Ok(7));
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.heartbeat("g", &member, generation), ErrorCode::UNKNOWN_MEMBER_ID, "its session began again, and ended");
}

#[test]
fn nothing_is_answered_from_a_shard_that_is_loading() {
    let mut bench = Bench::new();
    let (member, generation) = bench.stable("g");
    bench.commit("g2", 5);
    bench.loads_wait = true;
    bench.crash(false);
    let (commit, join, fetch, delete) = (bench.commit("g", 6), bench.join("g", ""), bench.fetch("g"), bench.delete("g"));
    assert_eq!(bench.committed(commit), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(bench.joined(join).error_code, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(bench.fetched(fetch), Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    assert_eq!(bench.deleted(delete), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(bench.describe(5, "g").error_code, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert_eq!(bench.list(&[], &[]), Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    assert_eq!(bench.heartbeat("g", &member, generation), ErrorCode::NONE, "a member is not sent away for that");
    while let Some((at, run, from, until)) = bench.loads.pop_front() {
        bench.load(at, run, from, until);
        bench.carry_out();
    }
    assert_eq!(bench.heartbeat("g", &member, generation), ErrorCode::NONE);
    assert_eq!(bench.offset("g2"), Ok(5));
}

#[test]
fn a_load_of_an_earlier_life_is_ignored() {
    let mut bench = Bench::new();
    bench.commit("g", 5);
    let at = bench.coordinator.partition_of("g");
    bench.loads_wait = true;
    bench.elect(at);
    let (_, stale, from, until) = bench.loads.pop_front().unwrap();
    bench.elect(at);
    bench.load(at, stale, from, until);
    bench.carry_out();
    let fetch = bench.fetch("g");
    assert_eq!(bench.fetched(fetch), Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    let (_, run, from, until) = bench.loads.pop_front().unwrap();
    bench.load(at, run, from, until);
    bench.carry_out();
    assert_eq!(bench.offset("g"), Ok(5));
}

#[test]
fn a_lost_append_takes_back_what_was_computed_from_it() {
    let mut bench = Bench::new();
    bench.commit("g", 5);
    bench.refusing = true;
    let refused = bench.commit("g", 6);
    assert_eq!(bench.committed(refused), ErrorCode::NOT_COORDINATOR);
    bench.refusing = false;
    assert_eq!(bench.offset("g"), Ok(5));
}

#[test]
fn whoever_waits_looks_elsewhere_when_the_leadership_ends() {
    let mut bench = Bench::new();
    let (leader, _) = bench.stable("g");
    bench.safe_at_once = false;
    let commit = bench.commit("h", 5);
    let newcomer = bench.join("g", "");
    let newcomer = bench.joined(newcomer).member_id.clone();
    let waiting = bench.join("g", &newcomer);
    assert!(bench.waits(waiting));
    (0..3).for_each(|at| bench.coordinator.lost(PartitionIndex(at)));
    bench.carry_out();
    assert_eq!(bench.committed(commit), ErrorCode::NOT_COORDINATOR);
    assert_eq!(bench.joined(waiting).error_code, ErrorCode::NOT_COORDINATOR);
    assert_eq!(bench.heartbeat("g", &leader, 1), ErrorCode::NOT_COORDINATOR);
    assert_eq!(bench.list(&[], &[]), Ok(Vec::new()));
    assert_eq!(bench.coordinator.deadline(), None, "nothing is left to be done");
}

#[test]
fn a_loaded_tail_is_shown_when_it_is_safe() {
    let mut bench = Bench::new();
    bench.safe_at_once = false;
    bench.commit("g", 5);
    let at = bench.coordinator.partition_of("g");
    bench.elect(at);
    let fetch = bench.fetch("g");
    assert!(bench.waits(fetch), "the new leader has the record, but not every replica may have it");
    bench.make_safe(at);
    assert_eq!(bench.fetched(fetch), Ok(5));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut bench = Bench::new();
    bench.stable("a");
    bench.commit("b", 1);
    let row = |group: &str, kind: &str, state: &str| (group.to_owned(), kind.to_owned(), state.to_owned());
    let both = vec![row("a", "consumer", "Stable"), row("b", "", "Empty")];
    assert_eq!(bench.list(&[], &[]), Ok(both.clone()));
    assert_eq!(bench.list(&["stable"], &[]), Ok(vec![both[0].clone()]));
    assert_eq!(bench.list(&["Stable", " Empty "], &["Classic"]), Ok(both));
    assert_eq!(bench.list(&["Nonsense"], &[]), Ok(Vec::new()));
    assert_eq!(bench.list(&[], &["consumer"]), Ok(Vec::new()));
}

#[test]
fn groups_are_described_as_kafka_describes_them() {
    let mut bench = Bench::new();
    let (member, _) = bench.stable("g");
    let described = bench.describe(5, "g");
    assert_eq!((&*described.group_state, &*described.protocol_data, described.authorized_operations), ("Stable", "range", 3400));
    let one = &described.members[0];
    assert_eq!((&*one.member_id, &*one.client_host, &*one.member_assignment), (&*member, "/10.0.0.1", &b"mine"[..]));
    let absent = bench.describe(5, "x");
    assert_eq!((&*absent.group_state, absent.error_code), ("Dead", ErrorCode::NONE));
    let absent = bench.describe(6, "x");
    assert_eq!((&*absent.group_state, absent.error_code), ("Dead", ErrorCode::GROUP_ID_NOT_FOUND));
    assert_eq!(absent.error_message.as_deref(), Some("Group x not found."));
}

#[test]
fn only_groups_without_members_are_deleted() {
    let mut bench = Bench::new();
    bench.stable("live");
    bench.commit("idle", 1);
    let tokens = [bench.delete("live"), bench.delete("idle"), bench.delete("absent")];
    let outcomes = tokens.map(|token| bench.deleted(token));
    assert_eq!(outcomes, [ErrorCode::NON_EMPTY_GROUP, ErrorCode::NONE, ErrorCode::GROUP_ID_NOT_FOUND]);
    bench.crash(false);
    assert_eq!(bench.offset("idle"), Ok(-1));
    assert_eq!(bench.list(&[], &[]).unwrap().len(), 1);
}

#[test]
fn requests_that_name_nothing_sensible_are_refused() {
    let mut bench = Bench::new();
    let no_group = bench.join("", "");
    assert_eq!(bench.joined(no_group).error_code, ErrorCode::INVALID_GROUP_ID);
    let unknown = bench.join("g", "me");
    assert_eq!((bench.joined(unknown).error_code, &*bench.joined(unknown).member_id), (ErrorCode::UNKNOWN_MEMBER_ID, "me"));
    for session_timeout_ms in [1, 1_860_000] {
        let body = JoinGroupRequest { group_id: "g".into(), session_timeout_ms, ..JoinGroupRequest::default() };
        let token = bench.ask(9, |coordinator, now, caller, _| coordinator.join(now, caller, body));
        assert_eq!(bench.joined(token).error_code, ErrorCode::INVALID_SESSION_TIMEOUT);
    }
    assert_eq!(bench.heartbeat("", "x", 1), ErrorCode::INVALID_GROUP_ID);
    assert_eq!(bench.heartbeat("g", "x", 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let unnamed = SyncGroupRequest { group_id: "g".into(), ..SyncGroupRequest::default() };
    let token = bench.ask(5, |coordinator, now, caller, _| coordinator.sync(now, caller, unnamed));
    assert_eq!(bench.synced(token), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(bench.list(&[], &[]), Ok(Vec::new()), "none of these made a group");
}

#[test]
fn broken_records_are_skipped_and_said() {
    let mut bench = Bench::new();
    bench.commit("g", 5);
    let at = bench.coordinator.partition_of("g");
    let mut builder = BatchBuilder::new(Compression::None, None);
    let broken = crate::wire::record::Payload { key: Some(Bytes::from_static(&[0, 2, 0, 9])), value: None, headers: Vec::new() };
    builder.push(bench.now.wall, &broken);
    let log = bench.logs.get_mut(&at).unwrap();
    let stamped = builder.finish(Identity::NONE).stamp(log.end(), LeaderEpoch(0));
    log.batches.push(stamped);
    bench.crash(true);
    assert_eq!(bench.offset("g"), Ok(5));
    assert_eq!(bench.warnings.len(), 1);
}
