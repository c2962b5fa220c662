//! The store on the faulty disk: its contract, and random operations with crashes against a model of what must survive.

mod clean;
mod crash;
mod full;
mod names;
mod opening;
mod pace;
mod restart;

use full::Full;
use klamm::store::contract;
use klamm_core::id::{LogId, Offset};
use klamm_core::store::{StoreFault, StoreOp, Stored};
use klamm_sim::chance::Chance;
use klamm_sim::disk::Disk;
use pace::Slow;
use rand::Rng as _;

#[test]
fn the_contract_holds_on_the_faulty_disk() {
    for seed in 0..8 {
        let slow = Slow::new(seed);
        slow.block_on(contract::suite(|name| Disk::new(Chance::of_seed(klamm_core::rng::stream(seed, name).random()), 1, 0, slow.pace())));
    }
}

#[test]
fn what_was_acknowledged_survives_crashes() {
    let mut total = crash::Seen::default();
    // `KLAMM_STORE_SEEDS=5000` runs more of them.
    let seeds = std::env::var("KLAMM_STORE_SEEDS").map_or(100, |seeds| seeds.parse().expect("a number of seeds"));
    for seed in 0..seeds {
        total.add(&crash::run(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}")));
    }
    // A test that never tears, loses or cuts anything proves nothing.
    assert!(total.crashes > 200, "{total:?}");
    assert!(total.lost_writes > 100 && total.torn_writes > 30 && total.lost_names > 30, "{total:?}");
    assert!(total.truncations > 50 && total.rolls > 100 && total.synced_records > 2000, "{total:?}");
}

#[test]
fn cleaning_keeps_the_newest_of_each_key_whatever_crashes() {
    let mut total = clean::Seen::default();
    let seeds = std::env::var("KLAMM_STORE_SEEDS").map_or(60, |seeds| seeds.parse().expect("a number of seeds"));
    for seed in 0..seeds {
        total.add(&clean::run(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}")));
    }
    assert!(total.cleanings > 300 && total.crashes > 300 && total.cut_short > 100, "{total:?}");
    assert!(total.records_gone > 1000 && total.tombstones_gone > 20 && total.empty_batches > 20, "{total:?}");
}

/// Each guard of a cleaning, when it is taken away, is missed.
#[cfg(feature = "sim")]
#[test]
fn each_missing_guard_of_a_cleaning_is_noticed() {
    use klamm_core::probe::{Mutant, switch};
    for mutant in [Mutant::TombstoneEarly, Mutant::SwapUnsure] {
        switch(Some(mutant));
        let caught = (0..400).find(|seed| std::panic::catch_unwind(|| clean::run(*seed)).map_or(true, |outcome| outcome.is_err()));
        switch(None);
        assert!(caught.is_some(), "{} went unnoticed", mutant.name());
    }
}

#[test]
fn a_restart_that_is_cut_short_leaves_no_damage() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..20 {
        for power in [false, true] {
            for completions in 0.. {
                let (left, acknowledged) = restart::run(seed, completions, power);
                seen.insert(left);
                if acknowledged {
                    assert_eq!(left, restart::Left::New, "seed {seed}");
                    break;
                }
            }
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

/// Each guard that belongs to the store, when it is taken away, is missed.
#[cfg(feature = "sim")]
#[test]
fn each_missing_guard_is_noticed() {
    use klamm_core::probe::{Mutant, switch};
    for mutant in
        [Mutant::TornTailKept, Mutant::FsyncErrorIgnored, Mutant::RenameNoDirsync, Mutant::SnapshotLostNoReplay, Mutant::TimeIndexStale]
    {
        switch(Some(mutant));
        let caught = (0..400).find(|seed| std::panic::catch_unwind(|| crash::run(*seed)).map_or(true, |outcome| outcome.is_err()));
        switch(None);
        assert!(caught.is_some(), "{} went unnoticed", mutant.name());
    }
}

#[test]
fn what_a_full_disk_refused_a_log_is_done_when_there_is_room_and_survives_a_crash() {
    let log = LogId(1);
    for (seed, power) in (0..8).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut made = Full::new(seed);
        made.refuses(full::create(log));
        assert_eq!(made.ask(StoreOp::Reopen { log }), Err(StoreFault::Gone), "it is unknown");
        made.done(full::create(LogId(2)));
        assert_eq!(made.found(power).state.expect("it is whole").end, Offset(0));

        let mut cut = Full::new(seed);
        cut.fill();
        let op = StoreOp::Truncate { log, to: Offset(20) };
        cut.refuses(op.clone());
        assert_eq!(cut.ask(op.clone()), Err(StoreFault::Closed), "it wants to be opened first");
        cut.done(StoreOp::Reopen { log });
        cut.done(op);
        assert_eq!(cut.found(power).state.expect("a cut is no damage").end, Offset(20));

        let mut emptied = Full::new(seed);
        emptied.fill();
        let op = StoreOp::Restart { log, at: Offset(0) };
        emptied.refuses(op.clone());
        emptied.done(op);
        assert_eq!(emptied.found(power).state.expect("a restart is no damage").end, Offset(0));
    }
}

#[test]
fn a_log_that_was_deleted_on_a_full_disk_leaves_no_recovery_point_to_a_new_one_of_its_name() {
    for (seed, power) in (0..8).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut anew = Full::new(seed);
        anew.fill();
        assert_eq!(anew.ask_full(StoreOp::Delete { log: LogId(1) }), Ok(Stored::Done));
        anew.refuses(full::create(LogId(2)));
        anew.done(full::create(LogId(3)));
        assert_eq!(anew.found(power).state.expect("nothing of it was lost").end, Offset(0));
    }
}

#[test]
fn names_that_share_a_sync_are_there_once_acknowledged() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..6 {
        for completions in 0.. {
            let (acknowledged, is_done) = names::run(seed, completions);
            seen.insert(acknowledged);
            if is_done {
                break;
            }
        }
    }
    assert!(seen.len() > 4, "crashes fell between acknowledgements: {seen:?}");
}
