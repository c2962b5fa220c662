//! Each rule that needs a past is shown a state that breaks it.

use super::Oracle;
use super::replica::{Held, Replica};
use super::settled::Progress;
use super::truth::Truth;
use klamm_core::broker::View;
use klamm_core::config::Durability;
use klamm_core::controller::{Image, Record};
use klamm_core::id::{BrokerId, LeaderEpoch, LogId, Offset, Uuid};
use klamm_core::log::{Log, Recovered};
use klamm_core::partition::isr::Isr;
use klamm_core::time::Instant;
use klamm_core::wire::records::metadata::RegisterBrokerRecord;
use std::collections::BTreeSet;

fn held(next: i64, crc: u32) -> Held {
    Held { next: Offset(next), epoch: LeaderEpoch(1), crc, batch: None }
}

/// A log of two batches, `0..2` and `2..5`.
fn replica() -> Replica {
    let content = [(Offset(0), held(2, 10)), (Offset(2), held(5, 11))].into();
    Replica { content, end: Offset(5), durable: Offset(5), ..Replica::default() }
}

fn log(end: i64) -> Log {
    let found = Recovered { end: Offset(end), ..Recovered::empty() };
    Log::new(LogId(0), "t-0".to_owned(), Durability::Fsync, found)
}

#[test]
fn a_log_holds_what_was_appended_and_keeps_what_was_durable() {
    replica().see(&log(5), false).unwrap();
    replica().see(&log(2), false).unwrap_err();
    replica().see(&log(2), true).unwrap();
    replica().see(&log(3), true).unwrap_err();
    replica().see(&log(6), false).unwrap_err();
    let mut cut = replica();
    cut.cut(Offset(2));
    cut.see(&log(2), false).unwrap();
}

/// Seed 249: all of a log was deleted, and its power went before that was durable.
#[test]
fn what_was_let_go_of_may_be_there_again() {
    let gone =
        Log::new(LogId(0), "t-0".to_owned(), Durability::Fsync, Recovered { start: Offset(5), end: Offset(5), ..Recovered::empty() });
    let mut replica = replica();
    replica.see(&gone, false).unwrap();
    replica.see(&log(5), false).unwrap();
    replica.see(&log(2), false).unwrap_err();
    replica.see(&log(2), true).unwrap();
}

/// Seed 93 of three nodes: a copy was to be filled anew, and its process died before the old one was gone.
#[test]
fn a_log_that_was_to_begin_anew_may_be_the_old_one_after_a_crash() {
    let mut begun = replica();
    begun.restart(Offset::ZERO);
    let (mut gone, mut there, mut done) = (begun.clone(), begun.clone(), begun);
    gone.see(&log(0), false).unwrap();
    there.see(&log(5), false).unwrap();
    there.see(&log(2), false).unwrap_err();
    done.former = None;
    done.see(&log(5), false).unwrap_err();
}

/// Seed 204 of three nodes: nothing of it was left, not even where it had begun.
#[test]
fn of_a_log_that_was_to_begin_anew_later_nothing_may_be_left() {
    let mut begun = replica();
    begun.forgotten = Offset(5);
    begun.content.clear();
    begun.restart(Offset(5));
    begun.see(&log(0), false).unwrap();
}

/// Seed 811 of three nodes: records were deleted up to 3, inside of the batch `2..5`, and then the machine lost its power.
#[test]
fn a_log_that_has_lost_everything_ends_where_it_starts() {
    let empty =
        Log::new(LogId(0), "t-0".to_owned(), Durability::Fsync, Recovered { start: Offset(3), end: Offset(3), ..Recovered::empty() });
    replica().see(&empty, true).unwrap();
    replica().see(&empty, false).unwrap_err();
}

#[test]
fn what_counts_as_committed_stays() {
    let mut replica = replica();
    replica.reach(Offset(3)).unwrap();
    replica.reach(Offset(3)).unwrap();
    replica.reach(Offset(2)).unwrap_err();
}

#[test]
fn what_is_committed_stays_and_is_the_same_everywhere() {
    let mut truth = Truth::default();
    truth.compare(&mut replica(), Offset(5), false).unwrap_err();
    truth.compare(&mut replica(), Offset(5), true).unwrap();
    truth.compare(&mut replica(), Offset(5), false).unwrap();
    let mut other = replica();
    other.content.insert(Offset(2), held(5, 12));
    truth.compare(&mut other, Offset(2), false).unwrap();
    truth.compare(&mut other, Offset(5), false).unwrap_err();
}

#[test]
fn whoever_may_lead_holds_everything_that_is_committed() {
    let mut truth = Truth::default();
    truth.compare(&mut replica(), Offset(5), true).unwrap();
    truth.is_held_by(&replica()).unwrap();
    truth.is_held_by(&Replica { durable: Offset(4), ..replica() }).unwrap_err();
    let mut other = replica();
    other.content.insert(Offset(2), held(5, 12));
    truth.is_held_by(&other).unwrap_err();
    let mut early = replica();
    early.content.insert(Offset(0), held(2, 9));
    truth.is_held_by(&early).unwrap();
    truth.is_held_wholly_by(&early).unwrap_err();
}

/// Seed 761 of three nodes: a voter's fetch had told its leader of records, and they became committed when its disk was gone.
#[test]
fn what_a_voter_had_on_a_disk_that_is_lost_counts() {
    let disk = |number| (BrokerId(3), Uuid([number; 16]));
    let mut oracle = Oracle::new([disk(1)].into(), Durability::Fsync);
    oracle.formatted(3, disk(1).1);
    oracle.seen(3).replicas.insert(View::METADATA, replica());
    assert_eq!(oracle.durable_of(&disk(1)), Some(Offset(5)));
    oracle.formatted(3, disk(2).1);
    assert_eq!(oracle.durable_of(&disk(1)), Some(Offset(5)));
    assert_eq!(oracle.durable_of(&disk(2)), None);
}

/// A process may die while its registration is on the way, and its disk be lost before that is decided.
#[test]
fn only_a_process_that_began_since_then_tells_of_a_loss() {
    let mut oracle = Oracle::new(BTreeSet::new(), Durability::Fsync);
    let registers = |oracle: &mut Oracle, process: u8, epoch| {
        let record =
            RegisterBrokerRecord { broker_id: BrokerId(2), incarnation_id: Uuid([process; 16]), broker_epoch: epoch, ..Default::default() };
        oracle.newest.1.replay(&Record::RegisterBroker(record)).unwrap();
    };
    let has_lost = |oracle: &Oracle| oracle.has_lost(BrokerId(2), &oracle.nodes[&2], View::METADATA);
    oracle.formatted(2, Uuid([8; 16]));
    registers(&mut oracle, 1, 10);
    assert!(!has_lost(&oracle));
    oracle.formatted(2, Uuid([9; 16]));
    assert!(has_lost(&oracle));
    registers(&mut oracle, 1, 20);
    assert!(has_lost(&oracle));
    oracle.seen(2).incarnations.insert(Uuid([3; 16]));
    registers(&mut oracle, 3, 30);
    assert!(!has_lost(&oracle));
}

/// Seed 104 of three nodes: a machine lost its power as its broker was about to be in sync, and the leader heard of that when it was back.
#[test]
fn whom_a_leader_proposes_in_a_former_life_does_not_count() {
    let [me, other] = [1, 2].map(BrokerId);
    let mut isr = Isr::new(me, &[me, other], &[me], 0, Instant(0));
    isr.fetched(Instant(1), other, 10, Offset(0)..Offset(5), Offset(5));
    isr.propose([me, other].into());
    let mut image = Image::default();
    let mut names_former_life = |epoch| {
        let record = RegisterBrokerRecord { broker_id: other, broker_epoch: epoch, ..Default::default() };
        image.replay(&Record::RegisterBroker(record)).unwrap();
        super::names_former_life(&image, &isr, other)
    };
    assert!(!names_former_life(10));
    assert!(names_former_life(20));
}

/// Seed 530 of three nodes: two replicas were to be filled anew with twenty thousand segments.
#[test]
fn replicas_get_on_until_they_have_what_there_was_once() {
    let mut progress = Progress { goals: [(View::METADATA, Offset(5))].into(), ..Progress::default() };
    for (node, end, records) in [(1, 3, 3), (2, 5, 8), (2, 9, 8), (1, 0, 8), (1, 4, 9), (1, 7, 10)] {
        progress.reach(View::METADATA, BrokerId(node), Offset(end));
        assert_eq!(progress.records(), records, "{node} ends at {end}");
    }
}
