//! What a snapshot that takes the log's place means for the quorum (KIP-630).

use super::help::{Solo, replica, tail, voters};
use super::world::ms;
use crate::id::{LeaderEpoch, Offset};
use crate::quorum::State;

#[test]
fn a_voter_that_takes_a_snapshot_listens_and_does_not_count() {
    let mut solo = Solo::leading(&[1, 2, 3]);
    for _ in 0..6 {
        solo.wait(ms(1000));
        solo.q.listens(solo.now, replica(2));
        solo.drain();
    }
    assert!(solo.q.is_leader(), "a majority listens");
    assert!(solo.highs().is_empty(), "nobody else has anything");
    for _ in 0..4 {
        solo.wait(ms(1000));
        solo.q.listens(solo.now, replica(9));
        solo.drain();
    }
    assert_eq!(solo.q.role(), State::Resigned, "an observer is no majority");
}

#[test]
fn a_snapshot_names_the_voters_in_the_place_of_all_records_below() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.follows_two(4);
    solo.grows(3, 10);
    solo.q.voters_changed(solo.now, Offset(5), voters(&[1, 2]));
    solo.tail = tail(4, 100);
    solo.q.restored(solo.now, Offset(100), Some(voters(&[1, 2, 4])), solo.tail);
    solo.drain();
    assert_eq!(solo.q.voters(), &voters(&[1, 2, 4]));
    assert_eq!(solo.q.voters_below(Offset(100)), Some(&voters(&[1, 2, 4])));
    // A vote is asked for with what the snapshot stands for, and a cut to its end takes none of its voters away.
    solo.q.truncated(solo.now, Offset(100));
    assert_eq!(solo.q.voters(), &voters(&[1, 2, 4]));
    solo.save();
    // The answer waits for the disk.
    assert_eq!(solo.ask(2, 5, (4, 99), false), None);
    solo.save();
    assert_eq!(solo.vote_given(), Some(Ok(false)), "it has less than the snapshot");
    assert_eq!(solo.ask(4, 6, (4, 100), false), None);
    solo.save();
    assert_eq!(solo.vote_given(), Some(Ok(true)));
}

#[test]
fn a_snapshot_without_voters_leaves_those_of_the_configuration() {
    let mut solo = Solo::fresh(&[1, 2, 3]);
    solo.follows_two(4);
    solo.tail = tail(4, 100);
    solo.q.restored(solo.now, Offset(100), None, solo.tail);
    assert_eq!(solo.q.voters(), &voters(&[1, 2, 3]));
    assert_eq!((solo.q.role(), solo.q.epoch()), (State::Follower, LeaderEpoch(4)));
}
