//! A follower's data: whom it follows, and what it knows to be committed. What it fetches is decided in the broker, for all of a leader's
//! partitions together.
//!
//! Holds: `high` ≤ the log's end; a tail that diverges is cut before a high watermark is taken up (KAFKA-14704).

use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::log::Log;

/// A follower's data.
#[derive(Clone, Debug)]
pub struct Follower {
    /// The leadership that it follows.
    pub epoch: LeaderEpoch,
    /// Who leads; `None` while nobody does.
    pub leader: Option<BrokerId>,
    /// Its log.
    pub log: Log,
    high: Offset,
}

impl Follower {
    /// Follows `leader` with this log, of which everything below `high` is known to be committed.
    #[must_use]
    pub fn new(epoch: LeaderEpoch, leader: Option<BrokerId>, log: Log, high: Offset) -> Self {
        let high = high.clamp(log.start(), log.end());
        Self { epoch, leader, log, high }
    }

    /// Up to where records are known to be committed.
    #[must_use]
    pub fn high(&self) -> Offset {
        self.high
    }

    /// The leader said that everything below `high` is committed. Returns whether that is news.
    pub fn told_high(&mut self, high: Offset) -> bool {
        let high = high.clamp(self.log.start(), self.log.end());
        let news = high > self.high;
        self.high = self.high.max(high);
        news
    }
}
