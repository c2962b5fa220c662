//! The leader of a partition decides when an append is committed. Never sees records or a disk.
//!
//! Holds: `high` ≤ the durable end of every member of the maximal ISR that was heard of, and `high` never goes back.

use crate::id::{LeaderEpoch, Offset};
use crate::log::Log;
use crate::mutant;
use crate::partition::isr::Isr;
use crate::partition::wait::Waits;
use crate::request::Token;
use std::collections::BTreeSet;

/// Who waits for a watermark of a partition: one partition's place in a produce request's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceWait {
    /// The request.
    pub token: Token,
    /// The partition's place in the request.
    pub at: usize,
}

/// Who says what is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Everything that all in-sync replicas have.
    Isr(Isr),
    /// The metadata quorum: a majority of its voters.
    Quorum,
}

/// A leader's data.
#[derive(Clone, Debug)]
pub struct Leader {
    /// The epoch of this leadership.
    pub epoch: LeaderEpoch,
    /// The log's end when it began. Before `high` has reached it, what is committed is not fully known (KIP-207).
    pub epoch_start: Offset,
    /// Its log.
    pub log: Log,
    /// Wait for the log to be written (acks=1).
    pub until_written: Waits<ProduceWait>,
    /// Wait for the high watermark (acks=all).
    pub until_high: Waits<ProduceWait>,
    /// Fetches of clients, to be looked at again when the high watermark moves.
    pub fetches: BTreeSet<Token>,
    /// Fetches of replicas, to be looked at again when something was written.
    pub replica_fetches: BTreeSet<Token>,
    /// Who says what is committed.
    pub commit: Commit,
    high: Offset,
}

/// The high watermark moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// To here.
    pub high: Offset,
}

impl Leader {
    /// Leads `log`, of which everything below `high` is known to be committed.
    #[must_use]
    pub fn new(epoch: LeaderEpoch, log: Log, high: Offset, commit: Commit) -> Self {
        let high = high.clamp(log.start(), log.durable().max(log.start()));
        Self {
            epoch,
            epoch_start: log.end(),
            until_written: Waits::default(),
            until_high: Waits::default(),
            fetches: BTreeSet::new(),
            replica_fetches: BTreeSet::new(),
            commit,
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

    /// The in-sync replicas, where they decide.
    #[must_use]
    pub fn isr(&self) -> Option<&Isr> {
        match &self.commit {
            Commit::Isr(isr) => Some(isr),
            Commit::Quorum => None,
        }
    }

    /// The in-sync replicas, where they decide.
    pub fn isr_mut(&mut self) -> Option<&mut Isr> {
        match &mut self.commit {
            Commit::Isr(isr) => Some(isr),
            Commit::Quorum => None,
        }
    }

    /// Whether what was committed before this leadership is known: until then nobody may be told where the log ends (KIP-207).
    #[must_use]
    pub fn knows_its_end(&self) -> bool {
        self.high >= self.epoch_start || mutant!(ElectServesLowHw)
    }

    /// Up to where acks=all is met: what is committed.
    pub fn acknowledged(&self) -> Offset {
        let by_min = if mutant!(AckMinIsrOnly) { self.isr().and_then(|isr| isr.reached_by_min(self.log.durable())) } else { None };
        by_min.unwrap_or_default().max(self.high)
    }

    /// Moves the high watermark as far as the in-sync replicas allow.
    pub fn advance(&mut self) -> Option<Advanced> {
        let committed = self.isr()?.committed(self.log.durable())?;
        self.advance_to(committed)
    }

    /// Moves the high watermark to `high`, if that lies further on.
    pub fn advance_to(&mut self, high: Offset) -> Option<Advanced> {
        if high <= self.high {
            return None;
        }
        // A majority of voters may have what this leader's own disk has not.
        let limit = if matches!(self.commit, Commit::Quorum) { self.log.end() } else { self.log.durable() };
        assert!(high <= limit, "the high watermark {high} of {} would pass {limit}", self.log.name());
        self.high = high;
        Some(Advanced { high })
    }
}
