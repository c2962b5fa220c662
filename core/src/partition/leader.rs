//! The leader of a partition decides when an append is committed. Never sees records or a disk.
//!
//! Holds: `high` ≤ the durable end of every ISR member, and `high` never goes back.

use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::log::Log;
use crate::partition::wait::Waits;
use crate::request::Token;
use std::collections::{BTreeMap, BTreeSet};

/// Who waits for a watermark of a partition: one partition's place in a produce request's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceWait {
    /// The request.
    pub token: Token,
    /// The partition's place in the request.
    pub at: usize,
}

/// A leader's data.
#[derive(Clone, Debug)]
pub struct Leader {
    /// The epoch of this leadership.
    pub epoch: LeaderEpoch,
    /// Its log.
    pub log: Log,
    /// Wait for the log to be written (acks=1).
    pub until_written: Waits<ProduceWait>,
    /// Wait for the high watermark (acks=all).
    pub until_high: Waits<ProduceWait>,
    /// Fetches to be looked at again when the high watermark moves.
    pub fetches: BTreeSet<Token>,
    isr: BTreeMap<BrokerId, Offset>,
    high: Offset,
}

/// The high watermark moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// To here.
    pub high: Offset,
}

impl Leader {
    /// Leads `log` as the only in-sync replica. All of a recovered log is durable.
    #[must_use]
    pub fn alone(me: BrokerId, epoch: LeaderEpoch, log: Log) -> Self {
        let high = log.durable();
        Self {
            epoch,
            until_written: Waits::default(),
            until_high: Waits::default(),
            fetches: BTreeSet::new(),
            isr: BTreeMap::from([(me, high)]),
            high,
            log,
        }
    }

    /// The high watermark: end of what all in-sync replicas have; readers stop here.
    #[must_use]
    pub fn high(&self) -> Offset {
        self.high
    }

    /// The last stable offset: the first offset of an open transaction, else the high watermark.
    #[must_use]
    pub fn stable(&self) -> Offset {
        self.high
    }

    /// The in-sync replicas.
    pub fn isr(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.isr.keys().copied()
    }

    /// `replica` has everything up to `end` durable.
    pub fn acked(&mut self, replica: BrokerId, end: Offset) -> Option<Advanced> {
        self.isr.insert(replica, end);
        let high = *self.isr.values().min().expect("the leader is in its own ISR");
        assert!(high >= self.high, "the high watermark of {} went back from {} to {high}", self.log.name(), self.high);
        if high == self.high {
            return None;
        }
        self.high = high;
        Some(Advanced { high })
    }
}
