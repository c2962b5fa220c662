//! What is committed, and for how long a leader leads.

use super::help::{Solo, TOKEN, replica, tail};
use super::world::ms;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::quorum::{Action, State, Tail};
use crate::time::{Now, Timestamp};
use crate::wire::api::describe_quorum::{DescribeQuorumRequest, PartitionData, TopicData};
use crate::wire::{Request, Response};

#[test]
fn what_a_majority_of_the_voters_has_durable_is_committed() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.grows(1, 10);
    solo.fetched(2, 4);
    solo.fetched(3, 7);
    assert_eq!(solo.highs(), [4, 7]);
    // Its own disk is done up to 5 only; the others are further, and a majority.
    solo.tail = Tail { end: Offset(12), epoch: LeaderEpoch(1), durable: Offset(10) };
    solo.q.appended(solo.now, solo.tail);
    solo.fetched(2, 12);
    solo.fetched(3, 11);
    assert_eq!(solo.highs(), [10, 11]);
    solo.q.durable(solo.now, tail(1, 12));
    solo.drain();
    assert_eq!(solo.highs(), [12]);
    // Whoever asks from further back does not take back what was committed.
    solo.fetched(2, 3);
    assert_eq!((solo.highs(), solo.q.high()), (vec![], Some(Offset(12))));
}

#[test]
fn observers_and_other_disks_do_not_count() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.grows(1, 5);
    solo.fetched(4, 5);
    solo.q.fetched(Now { at: solo.now, wall: Timestamp(5) }, (BrokerId(2), Uuid([9; 16])), Offset(5));
    solo.drain();
    assert_eq!((solo.highs(), solo.q.high()), (vec![], None));
    solo.fetched(2, 5);
    assert_eq!(solo.highs(), [5]);
}

#[test]
fn records_of_older_epochs_are_committed_by_one_of_this_epoch_only() {
    // Raft's figure 8: a leader of epoch 5 inherits five records.
    let mut solo = Solo::start(1, &[1, 2, 3], super::help::election(4, None, None), tail(3, 5));
    solo.wait(ms(50));
    solo.grant_all();
    solo.save();
    solo.grant_all();
    solo.save();
    assert!(solo.q.is_leader());
    solo.fetched(2, 5);
    assert_eq!(solo.q.high(), None, "nothing of this epoch is there yet");
    solo.grows(5, 6);
    solo.fetched(3, 5);
    assert_eq!(solo.q.high(), None);
    solo.fetched(2, 6);
    assert_eq!(solo.highs(), [6]);
}

#[test]
fn a_leader_resigns_when_a_majority_no_longer_fetches() {
    let mut solo = Solo::leading(&[1, 2, 3, 4, 5]);
    for _ in 0..5 {
        solo.wait(ms(1000));
        solo.fetched(2, 1);
        solo.fetched(3, 1);
    }
    assert!(solo.q.is_leader());
    for _ in 0..2 {
        solo.wait(ms(1000));
        solo.fetched(2, 1);
    }
    assert!(solo.q.is_leader());
    solo.calls.clear();
    solo.wait(ms(1000));
    assert_eq!((solo.q.role(), solo.q.epoch()), (State::Resigned, LeaderEpoch(1)));
    assert!(solo.others.contains(&Action::Follow { epoch: LeaderEpoch(1), leader: None }), "{:?}", solo.others);
    // The others are told, the most advanced first.
    let Some(Request::EndQuorumEpoch(body)) =
        solo.calls.iter().map(|(_, _, body)| body).rev().find(|body| matches!(body, Request::EndQuorumEpoch(_)))
    else {
        panic!("{:?}", solo.calls)
    };
    let successors: Vec<i32> = body.topics[0].partitions[0].preferred_candidates.iter().map(|it| it.candidate_id.0).collect();
    assert_eq!(successors, [2, 3, 4, 5]);
}

#[test]
fn a_voter_that_does_not_fetch_is_told_again_who_leads() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    let begins = |solo: &Solo, id| {
        solo.calls.iter().filter(|(_, to, body)| *to == BrokerId(id) && matches!(body, Request::BeginQuorumEpoch(_))).count()
    };
    assert_eq!((begins(&solo, 2), begins(&solo, 3)), (1, 1));
    let partition = crate::wire::api::begin_quorum_epoch::PartitionResult {
        leader_epoch: LeaderEpoch(1),
        leader_id: BrokerId(1),
        ..Default::default()
    };
    let topic = crate::wire::api::begin_quorum_epoch::TopicResult { topic_name: "__cluster_metadata".into(), partitions: vec![partition] };
    let body = crate::wire::api::begin_quorum_epoch::BeginQuorumEpochResponse { topics: vec![topic], ..Default::default() };
    for (call, _, _) in std::mem::take(&mut solo.calls) {
        solo.answer(call, Ok(Response::BeginQuorumEpoch(body.clone())));
    }
    solo.wait(ms(900));
    solo.fetched(2, 1);
    solo.wait(ms(200));
    assert_eq!((begins(&solo, 2), begins(&solo, 3)), (0, 1));
}

#[test]
fn a_node_that_stops_hands_over_and_stands_no_more() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.fetched(3, 1);
    solo.calls.clear();
    solo.q.resign(solo.now);
    solo.drain();
    assert_eq!((solo.q.role(), solo.calls.len()), (State::Resigned, 2));
    assert!(!solo.q.is_quiet());
    solo.wait(ms(10_000));
    assert_eq!(solo.q.role(), State::Resigned);
}

#[test]
fn a_leader_that_ends_its_epoch_is_succeeded_by_the_best_at_once() {
    let mut best = Solo::fresh(&[1, 2, 3]);
    best.follows_two(4);
    best.ends(2, 4, &[1, 3]);
    assert_eq!(best.q.role(), State::Prospective);
    let mut second = Solo::fresh(&[1, 2, 3]);
    second.follows_two(4);
    second.ends(2, 4, &[3, 1]);
    assert_eq!(second.q.role(), State::Follower);
    assert_eq!(second.ask(3, 4, (0, 0), true), Some(Ok(true)), "it helps the best");
    second.wait(ms(500));
    assert_eq!(second.q.role(), State::Prospective);
}

#[test]
fn the_leader_describes_the_quorum() {
    let partition = PartitionData { partition_index: PartitionIndex(0) };
    let body = DescribeQuorumRequest { topics: vec![TopicData { topic_name: "__cluster_metadata".into(), partitions: vec![partition] }] };
    let mut solo = Solo::leading(&[1, 2]);
    solo.fetched(2, 1);
    solo.fetched(4, 0);
    let ask = |solo: &mut Solo, body: &DescribeQuorumRequest| {
        solo.q.describe(Now { at: solo.now, wall: Timestamp(9) }, TOKEN, body.clone(), solo.tail);
        solo.drain();
        let Some(Response::DescribeQuorum(response)) = solo.replies.pop() else { panic!("no answer") };
        response.topics[0].partitions[0].clone()
    };
    let seen = ask(&mut solo, &body);
    assert_eq!(
        (seen.error_code, seen.leader_id, seen.leader_epoch, seen.high_watermark.0),
        (ErrorCode::NONE, BrokerId(1), LeaderEpoch(1), 1)
    );
    let ends = |states: &[crate::wire::api::describe_quorum::ReplicaState]| -> Vec<(i32, i64, i64, i64)> {
        states.iter().map(|it| (it.replica_id.0, it.log_end_offset.0, it.last_fetch_timestamp.0, it.last_caught_up_timestamp.0)).collect()
    };
    assert_eq!(ends(&seen.current_voters), [(1, 1, 9, 9), (2, 1, 5, 5)]);
    assert_eq!(ends(&seen.observers), [(4, 0, 5, -1)]);
    let mut follower = Solo::fresh(&[1, 2, 3]);
    assert_eq!(ask(&mut follower, &body).error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER);
    let mut other = body;
    other.topics[0].topic_name = "other".into();
    assert_eq!(ask(&mut solo, &other).error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(replica(2).0, BrokerId(2));
}
