//! A bounded number of seeds on the mesh, in this process: the first of a sweep. Clean, of full size, and the same twice.

use klamm_sim::outcome::Outcome;
use klamm_sim::plan::Plan;
use klamm_sim::run;

/// How many seeds of a sweep are run here; `cargo sim sweep` is for more.
const SEEDS: u64 = 12;
/// And on a cluster of three.
const CLUSTER_SEEDS: u64 = 4;

/// The seeds that are kept for `tier` on so many nodes, with the reason.
pub(crate) fn kept(tier: &str, nodes: u32) -> Vec<(u64, &'static str)> {
    let mut seeds = Vec::new();
    for line in include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        let seed = words.next().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| panic!("no seed in `{line}`"));
        let of = words.next().filter(|tier| ["mesh", "madsim"].contains(tier)).unwrap_or_else(|| panic!("no tier in `{line}`"));
        let on: u32 = words.next().and_then(|nodes| nodes.parse().ok()).unwrap_or_else(|| panic!("no number of nodes in `{line}`"));
        let why = words.next().unwrap_or_else(|| panic!("no reason in `{line}`"));
        if of == tier && on == nodes {
            seeds.push((seed, why));
        }
    }
    seeds
}

/// Runs a seed in a thread of its own, as every run wants it.
fn run_seed(seed: u64, nodes: u32) -> Outcome {
    std::thread::spawn(move || run::run(Plan::general(seed).on(nodes))).join().unwrap_or_else(|_| panic!("seed {seed} panicked"))
}

/// Runs all of `seeds`, as many at once as there are cores, and gives the outcomes in their order.
fn run_all(seeds: Vec<u64>, nodes: u32) -> Vec<Outcome> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = Vec::new();
    for group in seeds.chunks(cores) {
        let running: Vec<_> = group
            .iter()
            .map(|seed| {
                std::thread::spawn({
                    let seed = *seed;
                    move || run_seed(seed, nodes)
                })
            })
            .collect();
        outcomes.extend(running.into_iter().map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))));
    }
    outcomes
}

#[test]
fn the_first_seeds_are_clean() {
    judge(&run_all((0..SEEDS).collect(), 1), "");
}

#[test]
fn clusters_of_three_are_clean() {
    judge(&run_all((0..CLUSTER_SEEDS).collect(), 3), " --nodes 3");
}

fn judge(outcomes: &[Outcome], how: &str) {
    for outcome in outcomes {
        let seed = outcome.seed;
        assert!(outcome.is_clean(), "seed {seed}: {:#?}\nreplay: cargo sim run --seed {seed}{how}", outcome.violations);
    }
    // A seed that nothing happened in proves nothing; a few may be small.
    let small: Vec<u64> = outcomes.iter().filter(|outcome| !outcome.is_full_size()).map(|outcome| outcome.seed).collect();
    assert!(small.len() * 4 < outcomes.len(), "too many seeds below full size: {small:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [7, 8] {
        for nodes in [1, 3] {
            let (one, other) = (run_seed(seed, nodes), run_seed(seed, nodes));
            assert_eq!((one.trace, one.events, one.virtual_ns), (other.trace, other.events, other.virtual_ns), "seed {seed}");
            assert_eq!(one.history.ops(), other.history.ops(), "seed {seed}");
        }
    }
    assert_ne!(run_seed(7, 1).trace, run_seed(8, 1).trace);
}
