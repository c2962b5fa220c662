//! Partitions that hold our own records: their owner is told when records are committed, and when appended ones are lost.

use super::Broker;
use crate::id::Offset;
use crate::partition::{Owner, PartitionId};

impl Broker {
    /// The high watermark of a partition moved.
    pub(super) fn high_moved(&mut self, id: PartitionId, owner: Owner, high: Offset) {
        match owner {
            // What is committed of the metadata, the quorum says.
            Owner::Clients | Owner::Controller => {}
            Owner::Groups => self.groups_high(id, high),
        }
    }

    /// A partition begins to be led here, from its recovered log.
    pub(super) fn led_anew(&mut self, id: PartitionId, owner: Owner) {
        match owner {
            Owner::Clients | Owner::Controller => {}
            Owner::Groups => self.groups_led(id),
        }
    }

    /// What was appended and not committed is lost: state that was computed from it is void.
    pub(super) fn appends_lost(&mut self, id: PartitionId, owner: Owner) {
        match owner {
            Owner::Clients | Owner::Controller => {}
            Owner::Groups => self.groups_lost(id),
        }
    }
}
