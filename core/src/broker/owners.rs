//! Partitions that hold our own records: their owner is told when records are committed, and when appended ones are lost.

use super::Broker;
use crate::id::Offset;
use crate::partition::{Owner, PartitionId};

impl Broker {
    /// The high watermark of a partition moved.
    pub(super) fn high_moved(&mut self, id: PartitionId, owner: Owner, high: Offset) {
        match owner {
            Owner::Clients => {}
            Owner::Groups => self.groups_high(id, high),
            Owner::Controller => self.metadata_high(high),
        }
    }

    /// A partition begins to be led here, from its recovered log.
    pub(super) fn led_anew(&mut self, id: PartitionId, owner: Owner) {
        match owner {
            Owner::Clients => {}
            Owner::Groups => self.groups_led(id),
            Owner::Controller => self.metadata_led(),
        }
    }

    /// What was appended and not committed is lost: state that was computed from it is void.
    pub(super) fn appends_lost(&mut self, id: PartitionId, owner: Owner) {
        match owner {
            Owner::Clients => {}
            Owner::Groups => self.groups_lost(id),
            Owner::Controller => self.metadata_lost(),
        }
    }
}
