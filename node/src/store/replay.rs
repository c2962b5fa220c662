//! What is derived from a log's headers: leader epochs and producers, rebuilt from checkpoint and snapshots and what stands behind them.

use klamm_core::id::Offset;
use klamm_core::log::epochs::Epochs;
use klamm_core::log::producers::Producers;
use klamm_core::mutant;
use klamm_core::wire::batch::BatchHeader;
use std::collections::BTreeMap;

/// A replay that goes forward through a log.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The producers up to where the replay is.
    pub(crate) producers: Producers,
    /// The epochs up to where the replay is, and what the checkpoint says of later ones.
    pub(crate) epochs: Epochs,
    /// Valid snapshots ahead: each takes over where it was made, since it also knows producers of segments that were discarded.
    pub(crate) snapshots: BTreeMap<Offset, Producers>,
    /// The last one that took over.
    pub(crate) taken: Option<Offset>,
}

impl Replay {
    /// Takes in the next batch.
    pub(crate) fn visit(&mut self, header: &BatchHeader) {
        self.reach(header.base_offset);
        self.epochs.assign(header.leader_epoch, header.base_offset);
        if !mutant!(SnapshotLostNoReplay) {
            self.producers.replay(header);
        }
    }

    /// Takes over the snapshots made at or before `offset`.
    pub(crate) fn reach(&mut self, offset: Offset) {
        while let Some(entry) = self.snapshots.first_entry()
            && *entry.key() <= offset
        {
            self.taken = Some(*entry.key());
            self.producers = entry.remove();
        }
    }
}
