//! Random schedules: crashes, cuts, pauses, lost and late messages, and changes of voters. The world checks itself after each event.

use super::world::{Seen, World};

const DEFAULT_SEEDS: u64 = 300;

fn run(seed: u64) -> Seen {
    let mut world = World::new(seed);
    world.run(seed);
    world.seen
}

/// `KLAMM_QUORUM_SEEDS=20000` runs more of them, `KLAMM_QUORUM_SEED=7` shows one.
fn seeds(default: u64) -> u64 {
    std::env::var("KLAMM_QUORUM_SEEDS").map_or(default, |seeds| seeds.parse().expect("a number of seeds"))
}

#[test]
fn nothing_that_was_committed_is_lost_on_any_schedule() {
    let (mut total, mut failed) = (Seen::default(), Vec::new());
    let run_seeds = seeds(DEFAULT_SEEDS);
    for seed in 0..run_seeds {
        let Ok(seen) = std::panic::catch_unwind(|| run(seed)) else {
            failed.push(seed);
            continue;
        };
        total.elections += seen.elections;
        total.committed += seen.committed;
        total.crashes += seen.crashes;
        total.lost_records += seen.lost_records;
        total.lost_elections += seen.lost_elections;
        total.truncations += seen.truncations;
        total.changes += seen.changes;
        total.wipes += seen.wipes;
        total.events += seen.events;
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed");
    println!("{total:?}");
    if run_seeds < DEFAULT_SEEDS {
        return;
    }
    // A test in which nothing goes wrong proves nothing.
    assert!(total.elections > 700 && total.committed > 12_000 && total.crashes > 3000, "{total:?}");
    assert!(total.lost_records > 50 && total.lost_elections > 20 && total.truncations > 60, "{total:?}");
    assert!(total.changes > 50 && total.wipes > 5, "{total:?}");
}

/// Each guard of the quorum's, when it is taken away, is missed.
#[cfg(feature = "sim")]
#[test]
fn each_missing_guard_is_noticed() {
    use crate::probe::{Mutant, switch};
    for mutant in [Mutant::VoteForgotten, Mutant::SameEpochLeader, Mutant::CommitOldEpoch, Mutant::HwNotVoters] {
        switch(Some(mutant));
        let caught = (0..seeds(2000)).find(|seed| std::panic::catch_unwind(|| run(*seed)).is_err());
        switch(None);
        println!("{}: {caught:?}", mutant.name());
        assert!(caught.is_some(), "{} went unnoticed", mutant.name());
    }
}

/// One seed with everything that happens in it: `KLAMM_QUORUM_SEED=n cargo test -p klamm-core show -- --nocapture`.
#[test]
fn show() {
    let seed = std::env::var("KLAMM_QUORUM_SEED").map_or(0, |seed| seed.parse().expect("a seed"));
    let mut world = World::new(seed);
    world.trace = Some(Vec::new());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(seed)));
    for line in world.trace.unwrap_or_default() {
        println!("{line}");
    }
    assert!(outcome.is_ok(), "seed {seed} failed");
}
