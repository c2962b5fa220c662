//! Random schedules: crashes, cuts, pauses, lost and late messages, and changes of voters. The world checks itself after each event.

use super::world::{Seen, World};

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
    for seed in 0..seeds(400) {
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
}

#[test]
#[ignore = "for looking at one seed"]
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
