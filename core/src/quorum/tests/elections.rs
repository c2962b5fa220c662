//! Votes, pre-votes, and how a leader is found.

use super::help::{Solo, election, replica, tail, vote_request};
use super::world::ms;
use crate::broker::io::Unreachable;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::quorum::{Action, State, Tail};
use crate::wire::Request;

fn pre_votes(solo: &Solo) -> Vec<(i32, i32, bool)> {
    let ask = |(_, to, body): &(_, BrokerId, Request)| match body {
        Request::Vote(body) => {
            let ask = &body.topics[0].partitions[0];
            Some((to.0, ask.replica_epoch.0, ask.pre_vote))
        }
        _ => None,
    };
    solo.calls.iter().filter_map(ask).collect()
}

#[test]
fn a_fresh_voter_soon_asks_whether_it_would_be_elected_then_stands_then_leads() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    assert_eq!(solo.q.role(), State::Unattached);
    solo.wait(ms(50));
    assert_eq!(solo.q.role(), State::Prospective);
    assert_eq!(pre_votes(&solo), [(2, 0, true), (3, 0, true)]);
    // Nothing durable came of it.
    assert_eq!((solo.unsaved.len(), solo.q.epoch()), (0, LeaderEpoch(0)));

    solo.grant_all();
    assert_eq!((solo.q.role(), solo.q.epoch()), (State::Candidate, LeaderEpoch(1)));
    assert_eq!(solo.unsaved[0].1, election(1, None, Some(1)));
    assert_eq!(pre_votes(&solo), [], "asked before its own vote is durable");
    solo.save();
    assert_eq!(pre_votes(&solo), [(2, 1, false), (3, 1, false)]);

    solo.grant_all();
    assert_eq!((solo.q.role(), solo.q.is_leader()), (State::Leader, false));
    assert_eq!(solo.unsaved[0].1, election(1, Some(1), Some(1)));
    assert!(!solo.others.iter().any(|action| matches!(action, Action::Lead { .. })), "leads before that is durable");
    solo.save();
    assert!(solo.q.is_leader());
    let Some(Action::Lead { epoch: LeaderEpoch(1), granting }) = solo.others.last() else { panic!("{:?}", solo.others) };
    assert!(granting.len() >= 2 && granting.iter().any(|voter| voter.id == BrokerId(1)), "{granting:?}");
}

#[test]
fn a_single_voter_elects_itself_at_once_and_after_a_restart_in_a_new_epoch() {
    let mut solo = Solo::fresh(&[1]);
    solo.wait(ms(0));
    solo.save();
    assert!(solo.q.is_leader());
    // KAFKA-10527
    let mut again = Solo::start(1, &[1], election(1, Some(1), Some(1)), tail(1, 1));
    assert_eq!(again.q.role(), State::Resigned);
    again.wait(ms(0));
    again.save();
    assert_eq!((again.q.is_leader(), again.q.epoch()), (true, LeaderEpoch(2)));
}

#[test]
fn a_vote_is_given_once_in_an_epoch_and_only_when_it_is_durable() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    assert_eq!(solo.ask(2, 5, (0, 0), false), None, "answered before the vote is durable");
    assert_eq!(solo.unsaved.last().map(|(_, election)| *election), Some(election(5, None, Some(2))));
    solo.save();
    assert_eq!(solo.vote_given(), Some(Ok(true)));
    assert_eq!(solo.ask(3, 5, (0, 0), false), Some(Ok(false)));
    assert_eq!(solo.ask(2, 5, (0, 0), false), Some(Ok(true)), "the same vote again");
    let other_disk = (BrokerId(2), Uuid([9; 16]));
    assert_eq!(solo.ask_with(vote_request(other_disk, 5, (0, 0), false)), Some(Ok(false)), "another disk is another voter");
    assert_eq!(solo.ask(3, 4, (0, 0), false), Some(Err(ErrorCode::FENCED_LEADER_EPOCH)));

    let mut again = Solo::start(1, &[1, 2, 3], election(5, None, Some(2)), tail(0, 0));
    assert_eq!(again.ask(3, 5, (0, 0), false), Some(Ok(false)), "after a restart");
}

#[test]
fn a_candidate_whose_log_is_behind_gets_no_vote() {
    let mut solo = Solo::start(1, &[1, 2, 3], election(3, None, None), tail(3, 10));
    for (last, good) in [((3, 9), false), ((2, 20), false), ((3, 10), true), ((4, 1), true)] {
        let mut given = solo.ask(2, 5, last, true);
        if given.is_none() {
            // The newer epoch was taken up.
            solo.save();
            given = solo.vote_given();
        }
        assert_eq!(given, Some(Ok(good)), "pre-vote, with {last:?}");
    }
    assert_eq!(solo.ask(2, 6, (3, 9), false), None);
    solo.save();
    assert_eq!(solo.vote_given(), Some(Ok(false)));
    assert_eq!(solo.ask(3, 6, (3, 10), false), None, "the other may still be elected in this epoch");
}

#[test]
fn what_is_not_a_vote_request_to_this_node_is_refused() {
    let mut solo = Solo::start(1, &[1, 2, 3], election(3, None, None), tail(3, 10));
    let good = || vote_request(replica(2), 3, (3, 10), true);
    let mut body = good();
    body.cluster_id = Some("another".into());
    assert_eq!(solo.ask_with(body), Some(Err(ErrorCode::INCONSISTENT_CLUSTER_ID)));
    let mut body = good();
    body.topics.clear();
    assert_eq!(solo.ask_with(body), Some(Err(ErrorCode::INVALID_REQUEST)));
    let mut body = good();
    body.topics[0].topic_name = "other".into();
    assert_eq!(solo.ask_with(body), Some(Err(ErrorCode::INVALID_REQUEST)));
    let mut body = good();
    body.topics[0].partitions[0].replica_id = BrokerId(-1);
    assert_eq!(solo.ask_with(body), Some(Err(ErrorCode::INVALID_REQUEST)));
    assert_eq!(solo.ask(2, 3, (3, 10), false), Some(Err(ErrorCode::INVALID_REQUEST)), "stands in the epoch of its own last record");
    let mut body = good();
    body.voter_id = BrokerId(2);
    assert_eq!(solo.ask_with(body), Some(Err(ErrorCode::INVALID_VOTER_KEY)));
    // A wiped disk has forgotten what it voted.
    let mut body = good();
    (body.voter_id, body.topics[0].partitions[0].voter_directory_id) = (BrokerId(1), Uuid([9; 16]));
    assert_eq!(solo.ask_with(body), Some(Err(ErrorCode::INVALID_VOTER_KEY)));
    assert_eq!(solo.ask_with(good()), Some(Ok(true)));
}

#[test]
fn a_follower_that_hears_its_leader_refuses_pre_votes_until_it_doubts_it() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.begins(2, 4);
    assert_eq!(solo.ask(3, 4, (0, 0), true), Some(Ok(true)), "it has heard nothing of its leader yet");
    solo.follows_two(4);
    assert_eq!(solo.ask(3, 4, (0, 0), true), Some(Ok(false)));
    assert_eq!(solo.ask(3, 4, (0, 0), false), Some(Ok(false)), "the epoch has its leader");
    solo.wait(ms(1999));
    assert_eq!(solo.q.role(), State::Follower);
    solo.wait(ms(1));
    assert_eq!((solo.q.role(), solo.q.leader().map(|(id, _)| id)), (State::Prospective, Some(BrokerId(2))));
    assert_eq!(solo.ask(3, 4, (0, 0), true), Some(Ok(true)));
    // The leader was only slow.
    solo.q.fetch_answered(solo.now, LeaderEpoch(4));
    assert_eq!(solo.q.role(), State::Follower);
}

#[test]
fn a_leader_is_not_silent_while_a_followers_own_disk_is_behind() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.follows_two(4);
    let behind = Tail { end: Offset(1), epoch: LeaderEpoch(4), durable: Offset(0) };
    solo.tail = behind;
    solo.q.appended(solo.now, behind);
    solo.wait(ms(10_000));
    assert_eq!((solo.q.role(), solo.ask(3, 4, (4, 1), true)), (State::Follower, Some(Ok(false))));
    // It can ask now, and gives the leader as long as ever.
    solo.tail = Tail { durable: Offset(1), ..behind };
    solo.q.durable(solo.now, solo.tail);
    solo.wait(ms(1999));
    assert_eq!(solo.q.role(), State::Follower);
    solo.wait(ms(1));
    assert_eq!(solo.q.role(), State::Prospective);
}

#[test]
fn a_leader_whose_process_is_gone_is_doubted_however_slow_the_disk_is() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.follows_two(4);
    solo.tail = Tail { end: Offset(1), epoch: LeaderEpoch(4), durable: Offset(0) };
    solo.q.appended(solo.now, solo.tail);
    solo.q.gone(solo.now, BrokerId(2));
    assert_eq!(solo.q.role(), State::Prospective);
}

#[test]
fn a_voter_whose_leader_is_gone_sounds_out_the_others_at_once_and_again_soon() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.follows_two(4);
    solo.q.gone(solo.now, BrokerId(3));
    assert_eq!(solo.q.role(), State::Follower, "another one is gone");
    solo.q.gone(solo.now, BrokerId(2));
    solo.drain();
    assert_eq!((solo.q.role(), pre_votes(&solo)), (State::Prospective, vec![(2, 4, true), (3, 4, true)]));
    let calls = std::mem::take(&mut solo.calls);
    solo.answer(calls[0].0, Err(Unreachable::Refused));
    solo.answer(calls[1].0, Ok(super::help::voted(LeaderEpoch(4), ErrorCode::NONE, false)));
    assert_eq!(solo.q.role(), State::Prospective, "a refused pre-vote binds nobody");
    solo.wait(ms(100));
    assert!(pre_votes(&solo).contains(&(3, 4, true)));
    solo.grant_all();
    assert_eq!((solo.q.role(), solo.q.epoch()), (State::Candidate, LeaderEpoch(5)));
}

#[test]
fn a_lost_election_is_followed_by_a_pause_and_another_pre_vote() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.wait(ms(50));
    solo.grant_all();
    solo.save();
    for (call, _, _) in std::mem::take(&mut solo.calls) {
        solo.answer(call, Ok(super::help::voted(LeaderEpoch(1), ErrorCode::NONE, false)));
    }
    assert_eq!((solo.q.role(), solo.q.epoch()), (State::Unattached, LeaderEpoch(1)));
    solo.wait(ms(100));
    assert_eq!((solo.q.role(), solo.q.epoch()), (State::Prospective, LeaderEpoch(1)));
}

#[test]
fn an_election_is_lost_when_the_living_have_shared_their_votes() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.wait(ms(50));
    solo.grant_all();
    solo.save();
    let calls = std::mem::take(&mut solo.calls);
    solo.answer(calls[0].0, Err(Unreachable::Refused));
    assert_eq!(solo.q.role(), State::Candidate, "the other one may say yes");
    solo.answer(calls[1].0, Ok(super::help::voted(LeaderEpoch(1), ErrorCode::NONE, false)));
    assert_eq!((solo.q.role(), solo.q.epoch()), (State::Unattached, LeaderEpoch(1)), "it waits for the dead");
    solo.wait(ms(100));
    assert_eq!((solo.q.role(), solo.q.epoch()), (State::Prospective, LeaderEpoch(1)));
}

#[test]
fn a_call_without_an_answer_is_hung_up_and_made_again() {
    let mut solo = Solo::fresh(&[1, 2]);
    solo.wait(ms(50));
    let first = solo.calls[0].0;
    solo.wait(ms(2000));
    assert!(solo.others.contains(&Action::HangUp { call: first }), "{:?}", solo.others);
    assert!(solo.calls.len() >= 2);
    // Its answer comes too late to count.
    let answer = super::help::voted(LeaderEpoch(0), ErrorCode::NONE, true);
    solo.answer(first, Ok(answer));
    assert_eq!(solo.q.role(), State::Prospective);
}

#[test]
fn a_newer_epoch_ends_whatever_a_node_was() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.q.heard(solo.now, LeaderEpoch(3), None, None);
    solo.drain();
    assert_eq!((solo.q.role(), solo.q.epoch(), solo.q.high()), (State::Unattached, LeaderEpoch(3), None));
    assert_eq!(solo.others, [Action::Follow { epoch: LeaderEpoch(3), leader: None }]);
    assert_eq!(solo.q.fetch_target(solo.now), None, "the epoch is not durable yet");
    solo.save();
    assert!(solo.q.fetch_target(solo.now).is_some());
    solo.begins(3, 3);
    assert_eq!(solo.q.leader().map(|(id, _)| id), Some(BrokerId(3)));
    solo.begins(2, 3);
    assert_eq!(solo.q.leader().map(|(id, _)| id), Some(BrokerId(3)), "an epoch has one leader");
}

#[test]
fn a_log_that_is_ahead_of_the_saved_epoch_is_believed() {
    let solo = Solo::start(1, &[1, 2, 3], election(2, Some(1), Some(1)), tail(5, 10));
    assert_eq!((solo.q.epoch(), solo.q.role()), (LeaderEpoch(5), State::Unattached));
}

#[test]
fn a_node_without_a_vote_stands_for_nothing_and_still_votes() {
    let mut solo = Solo::start(4, &[1, 2, 3], election(0, None, None), tail(0, 0));
    solo.wait(ms(10_000));
    assert_eq!((solo.q.role(), solo.q.is_voter(), solo.calls.len()), (State::Unattached, false, 0));
    // KIP-853: the candidate may have voters of a log that this node has not seen yet.
    assert_eq!(solo.ask(2, 1, (0, 0), false), None);
    solo.save();
    assert_eq!(solo.vote_given(), Some(Ok(true)));
    // The right id on another disk is no voter either.
    let mut config = Solo::fresh(&[1, 2, 3]).q.config;
    config.directory = Uuid([9; 16]);
    let q = crate::quorum::Quorum::new(
        config,
        election(0, None, None),
        super::help::voters(&[1, 2, 3]),
        tail(0, 0),
        solo.now,
        crate::rng::stream(1, "q"),
    );
    assert!(!q.is_voter());
}

#[test]
fn an_observer_whose_leader_is_silent_asks_around() {
    let mut solo = Solo::start(4, &[1, 2, 3], election(0, None, None), tail(0, 0));
    assert!(solo.q.fetch_target(solo.now).is_some());
    solo.follows_two(1);
    let target = solo.q.fetch_target(solo.now).map(|peer| peer.id);
    assert_eq!(target, Some(BrokerId(2)));
    solo.q.fetch_failed(solo.now);
    assert_eq!(solo.q.fetch_target(solo.now), None, "it does not ask at once again");
    assert!(solo.q.deadline().is_some_and(|at| at <= solo.now.after(ms(50))));
    solo.wait(ms(2000));
    assert_eq!((solo.q.role(), solo.q.leader()), (State::Unattached, None));
    assert!(solo.q.fetch_target(solo.now).is_some());
}
