//! Voters that come, go and move (KIP-853).

use super::help::{Solo, TOKEN, replica, voters};
use super::world::{address, ms, voter};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::quorum::{Action, State, Voters};
use crate::wire::Response;
use crate::wire::api::add_raft_voter::{AddRaftVoterRequest, Listener};
use crate::wire::api::remove_raft_voter::RemoveRaftVoterRequest;
use crate::wire::api::update_raft_voter::{self as update, UpdateRaftVoterRequest};

fn add(solo: &mut Solo, id: i32) {
    let (voter_id, voter_directory_id) = replica(id);
    let listeners = vec![Listener { name: "CONTROLLER".into(), host: "node".into(), port: address(voter_id).port }];
    let body =
        AddRaftVoterRequest { cluster_id: None, timeout_ms: 1000, voter_id, voter_directory_id, listeners, ack_when_committed: true };
    solo.q.add_voter(solo.now, TOKEN, body, solo.tail);
    solo.drain();
}

fn remove(solo: &mut Solo, id: i32) {
    let (voter_id, voter_directory_id) = replica(id);
    solo.q.remove_voter(solo.now, TOKEN, RemoveRaftVoterRequest { cluster_id: None, voter_id, voter_directory_id }, solo.tail);
    solo.drain();
}

fn code(solo: &mut Solo) -> Option<ErrorCode> {
    match solo.replies.pop()? {
        Response::AddRaftVoter(body) => Some(body.error_code),
        Response::RemoveRaftVoter(body) => Some(body.error_code),
        Response::UpdateRaftVoter(body) => Some(body.error_code),
        other => panic!("{other:?}"),
    }
}

/// The voters that the broker is asked to append.
fn change(solo: &mut Solo) -> Option<Voters> {
    let change = |action| if let Action::Change { voters, .. } = action { Some(voters) } else { None };
    std::mem::take(&mut solo.others).into_iter().find_map(change)
}

/// The broker appends them as the log's next record.
fn append(solo: &mut Solo, voters: Voters) {
    let at = solo.tail.end;
    solo.grows(1, at.0 + 1);
    solo.q.voters_changed(solo.now, at, voters);
    solo.drain();
}

#[test]
fn a_voter_that_has_caught_up_is_added_and_counts_from_the_append_on() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    add(&mut solo, 4);
    assert_eq!(code(&mut solo), Some(ErrorCode::REQUEST_TIMED_OUT), "nothing of this epoch is committed");
    solo.fetched(2, 1);
    add(&mut solo, 4);
    assert_eq!(code(&mut solo), Some(ErrorCode::REQUEST_TIMED_OUT), "it has not caught up");
    solo.fetched(4, 1);
    add(&mut solo, 2);
    assert_eq!(code(&mut solo), Some(ErrorCode::DUPLICATE_VOTER));
    add(&mut solo, 4);
    assert_eq!(code(&mut solo), None);
    let added = change(&mut solo).expect("a change");
    assert_eq!(added, voters(&[1, 2, 3, 4]));
    remove(&mut solo, 2);
    assert_eq!(code(&mut solo), Some(ErrorCode::REQUEST_TIMED_OUT), "one change at a time");
    append(&mut solo, added);
    remove(&mut solo, 2);
    assert_eq!(code(&mut solo), Some(ErrorCode::REQUEST_TIMED_OUT), "one change at a time");
    solo.fetched(2, 2);
    assert_eq!(solo.q.high(), Some(Offset(1)), "three of four are needed now");
    solo.fetched(4, 2);
    assert_eq!((solo.q.high(), code(&mut solo)), (Some(Offset(2)), Some(ErrorCode::NONE)));
}

#[test]
fn a_leader_that_removes_itself_is_not_counted_and_resigns_when_that_is_committed() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.fetched(2, 1);
    remove(&mut solo, 4);
    assert_eq!(code(&mut solo), Some(ErrorCode::VOTER_NOT_FOUND));
    remove(&mut solo, 1);
    let left = change(&mut solo).expect("a change");
    append(&mut solo, left);
    solo.fetched(2, 2);
    assert_eq!((solo.q.high(), solo.q.is_leader()), (Some(Offset(1)), true), "KAFKA-16530: it counts no more");
    solo.fetched(3, 2);
    assert_eq!((solo.q.role(), code(&mut solo)), (State::Resigned, Some(ErrorCode::NONE)));
    assert_eq!(solo.highs(), [2], "what it committed last is told");
    solo.wait(ms(10_000));
    assert_eq!(solo.q.role(), State::Resigned, "it stands no more");
}

#[test]
fn a_change_that_takes_too_long_or_loses_its_leader_is_answered() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.fetched(2, 1);
    solo.fetched(4, 1);
    add(&mut solo, 4);
    let added = change(&mut solo).expect("a change");
    append(&mut solo, added);
    solo.wait(ms(1000));
    assert_eq!(code(&mut solo), Some(ErrorCode::REQUEST_TIMED_OUT));
    remove(&mut solo, 2);
    assert_eq!(code(&mut solo), Some(ErrorCode::REQUEST_TIMED_OUT), "the first may still be committed");
    solo.fetched(2, 2);
    solo.fetched(3, 2);
    remove(&mut solo, 2);
    solo.q.heard(solo.now, LeaderEpoch(9), None, None);
    solo.drain();
    solo.save();
    assert_eq!((change(&mut solo), code(&mut solo)), (Some(voters(&[1, 3, 4])), Some(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
}

#[test]
fn voters_that_were_cut_never_were() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.follows_two(1);
    solo.grows(1, 5);
    solo.q.voters_changed(solo.now, Offset(3), voters(&[2, 3]));
    assert!(!solo.q.is_voter());
    solo.q.truncated(solo.now, Offset(4));
    assert!(!solo.q.is_voter());
    solo.q.truncated(solo.now, Offset(3));
    assert_eq!((solo.q.is_voter(), solo.q.voters()), (true, &voters(&[1, 2, 3])));
}

#[test]
fn a_removed_node_stands_only_while_its_removal_may_be_cut() {
    let mut solo = Solo::fresh(&[1, 2]);
    solo.follows_two(1);
    solo.grows(1, 5);
    solo.q.voters_changed(solo.now, Offset(3), voters(&[2]));
    solo.wait(ms(2000));
    assert_eq!(solo.q.role(), State::Prospective);
    solo.grant_all();
    assert_eq!(solo.q.role(), State::Candidate, "elected by the voter that is left");
    let mut solo = Solo::fresh(&[1, 2]);
    solo.follows_two(1);
    solo.grows(1, 5);
    solo.q.voters_changed(solo.now, Offset(3), voters(&[2]));
    solo.q.committed(solo.now, Offset(4));
    solo.wait(ms(2000));
    assert_eq!(solo.q.role(), State::Unattached);
}

#[test]
fn a_voter_that_moved_is_updated() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    solo.fetched(2, 1);
    let body = |epoch: i32, directory: Uuid, most: i16| UpdateRaftVoterRequest {
        cluster_id: None,
        current_leader_epoch: LeaderEpoch(epoch),
        voter_id: BrokerId(2),
        voter_directory_id: directory,
        listeners: vec![update::Listener { name: "CONTROLLER".into(), host: "elsewhere".into(), port: 7 }],
        k_raft_version_feature: update::KRaftVersionFeature { min_supported_version: 0, max_supported_version: most },
    };
    let mut ask = |epoch, directory, most| {
        solo.q.update_voter(solo.now, TOKEN, body(epoch, directory, most), solo.tail);
        solo.drain();
        (code(&mut solo), change(&mut solo))
    };
    assert_eq!(ask(0, replica(2).1, 1).0, Some(ErrorCode::FENCED_LEADER_EPOCH));
    assert_eq!(ask(2, replica(2).1, 1).0, Some(ErrorCode::UNKNOWN_LEADER_EPOCH));
    assert_eq!(ask(1, Uuid([9; 16]), 1).0, Some(ErrorCode::VOTER_NOT_FOUND));
    assert_eq!(ask(1, replica(2).1, 0).0, Some(ErrorCode::INVALID_REQUEST));
    let (error, changed) = ask(1, replica(2).1, 1);
    let mut moved = voter(replica(2));
    (moved.address.host, moved.address.port) = ("elsewhere".into(), 7);
    assert_eq!((error, changed), (Some(ErrorCode::NONE), Some(voters(&[1, 2, 3]).with(moved))));
}
