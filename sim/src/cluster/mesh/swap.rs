//! Deaths in the midst of what must not be half done: while a snapshot of the metadata is written, and while one takes a log's place.

use crate::chance::{Chance, Matter};
use klamm_core::log::snapshot::CHECKPOINT;
use klamm_core::store::StoreOp;
use rand::Rng as _;

/// Chooses which of these moments a node does not survive.
#[derive(Debug)]
pub struct Swaps {
    chance: Chance,
    power: bool,
}

impl Swaps {
    /// With `power`, some machines lose it.
    #[must_use]
    pub fn new(chance: Chance, power: bool) -> Self {
        Self { chance, power }
    }

    /// Whether a node dies that has just asked its store for `op`: after so many more effects, and perhaps with its machine's power.
    pub(super) fn strikes(&self, node: u32, op: &StoreOp) -> Option<(u64, bool)> {
        let is_restart = matches!(op, StoreOp::Restart { .. });
        if !is_restart && !matches!(op, StoreOp::Save { name, .. } if name.ends_with(CHECKPOINT)) {
            return None;
        }
        let mut rng = self.chance.rng(Matter::Swap { node });
        let strikes = rng.random_ratio(1, if is_restart { 2 } else { 30 });
        strikes.then(|| (rng.random_range(0..12), self.power && rng.random_bool(0.5)))
    }
}
