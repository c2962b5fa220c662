//! The metadata quorum of a cluster's run: who votes at first, and what operators make of it.

use super::{Fault, LOAD, MS, SECOND, pick};
use klamm_core::rng::Rng;
use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// A quorum whose voters are named with their directories, and so can change (KIP-853). Without it they are those of `controller.quorum.voters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuorumKnobs {
    /// So many of the controllers vote at first; the others may be added.
    pub first: u32,
    /// An operator leaves so many, as far as it knows.
    pub least: usize,
    /// About so often an operator does something, in ns.
    pub every: u64,
    /// There is another operator, and they do not speak to each other.
    pub rival: bool,
    /// Until then voters lose their disks, and operators remove no other ones: of three voters two would be gone.
    pub wipes_until: u64,
    /// In the end all controllers are to vote.
    pub restores: bool,
}

/// In half of the clusters voters come and go.
pub(super) fn quorum(controllers: u32, rng: &mut Rng) -> Option<QuorumKnobs> {
    let knobs = QuorumKnobs {
        first: if rng.random_bool(0.5) { controllers } else { rng.random_range(1..=controllers) },
        least: *pick(rng, &[1, 2, 2, 3]),
        every: *pick(rng, &[SECOND / 4, SECOND, 3 * SECOND]),
        rival: rng.random_bool(0.5),
        restores: rng.random_bool(0.5),
        wipes_until: 0,
    };
    rng.random_bool(0.5).then_some(knobs)
}

/// In half of the quorums that can spare one, voters lose their disks.
pub(super) fn wipes(controllers: u32, rng: &mut Rng) -> Vec<(u64, Fault)> {
    if controllers < 3 || rng.random_bool(0.5) {
        return Vec::new();
    }
    let wipe = |rng: &mut Rng| Fault::WipeVoter { down: rng.random_range(10 * MS..3 * SECOND) };
    (0..rng.random_range(1..=3)).map(|_| (rng.random_range(3 * SECOND..LOAD - 4 * SECOND), wipe(rng))).collect()
}
