//! A follower's data: whom it follows, and what it knows to be committed. What it fetches is decided in the broker, for all of a leader's
//! partitions together.
//!
//! Holds: `high` ≤ the log's end; a tail that diverges is cut before a high watermark is taken up (KAFKA-14704).

use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::log::Log;
use crate::mutant;
use crate::request::Token;
use std::collections::BTreeSet;
use std::ops::Range;

/// A follower's data.
#[derive(Clone, Debug)]
pub struct Follower {
    /// The leadership that it follows.
    pub epoch: LeaderEpoch,
    /// Who leads; `None` while nobody does.
    pub leader: Option<BrokerId>,
    /// Its log.
    pub log: Log,
    /// Fetches of clients, to be looked at again when more is committed.
    pub fetches: BTreeSet<Token>,
    high: Offset,
    leader_start: Offset,
}

/// What a follower does whose end its leader does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Astray {
    /// The leader has deleted what it lacks, or has nothing of what it holds: drop the whole log, and begin here.
    Begin(Offset),
    /// The leader never had all of it: cut the log so that it ends here; what else differs, the epochs tell.
    Cut(Offset),
    /// The leader holds it by now: fetch again.
    Fetch,
}

impl Follower {
    /// Follows `leader` with this log, of which everything below `high` is known to be committed.
    #[must_use]
    pub fn new(epoch: LeaderEpoch, leader: Option<BrokerId>, log: Log, high: Offset) -> Self {
        let high = high.clamp(log.start(), log.end());
        let leader_start = log.start();
        Self { epoch, leader, log, fetches: BTreeSet::new(), high, leader_start }
    }

    /// Up to where records are known to be committed.
    #[must_use]
    pub fn high(&self) -> Offset {
        self.high
    }

    /// Where to go on, when the leader's log holds `held`.
    #[must_use]
    pub fn astray(&self, held: &Range<Offset>) -> Astray {
        let end = self.log.end();
        // KAFKA-2143: an end behind the leader's was taken for one below its begin. A log that begins behind the leader's end has nothing in common with it.
        if end < held.start || (self.log.start() > held.end && !mutant!(DivergedCutToStart)) {
            Astray::Begin(held.start)
        } else if end > held.end {
            Astray::Cut(held.end)
        } else {
            Astray::Fetch
        }
    }

    /// The leader said that everything below `high` is committed. Returns whether that is news.
    pub fn told_high(&mut self, high: Offset) -> bool {
        let high = high.clamp(self.log.start(), self.log.end());
        let news = high > self.high;
        self.high = self.high.max(high);
        news
    }

    /// The leader said that its log starts at `start`. It says so once: what cannot be followed yet is followed later.
    pub fn told_start(&mut self, start: Offset) {
        self.leader_start = self.leader_start.max(start);
    }

    /// Where this log may start. Behind what is durable here a crash would leave an empty log that remembers no producer.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.leader_start.min(self.high).min(self.log.durable())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::config::layers::Layers;
    use crate::config::{Properties, TopicConfig};
    use crate::id::LogId;
    use crate::log::segments::Segment;
    use crate::log::tests::numbered;
    use crate::log::{Ops, Recovered};
    use crate::time::Timestamp;

    fn astray(log: Range<i64>, held: Range<i64>) -> Astray {
        let (start, end) = (Offset(log.start), Offset(log.end));
        let found = Recovered { start, end, segments: vec![Segment::empty(start)], ..Recovered::empty() };
        let log = Log::new(LogId(1), "t-0".to_owned(), Durability::Fsync, found);
        Follower::new(LeaderEpoch(1), Some(BrokerId(2)), log, end).astray(&(Offset(held.start)..Offset(held.end)))
    }

    #[test]
    fn a_start_waits_for_what_is_durable() {
        let mut log = Log::new(LogId(1), "t-0".to_owned(), Durability::Fsync, Recovered::empty());
        let none = Properties::new();
        let config = TopicConfig::new(&none, Layers { broker: &none, cluster: &none, fixed: &none });
        log.append(&numbered(0), LeaderEpoch(1), &config, Timestamp(1000), &mut Ops::default());
        let mut follower = Follower::new(LeaderEpoch(1), Some(BrokerId(2)), log, Offset(0));
        follower.told_high(Offset(1));
        follower.told_start(Offset(1));
        assert_eq!(follower.start(), Offset(0));
        follower.log.wrote(Offset(1));
        follower.log.synced_to(Offset(1));
        assert_eq!(follower.start(), Offset(1), "though the leader says nothing more of it");
    }

    #[test]
    fn only_a_log_that_has_nothing_in_common_with_the_leaders_is_dropped() {
        assert_eq!(astray(0..9, 10..20), Astray::Begin(Offset(10)));
        assert_eq!(astray(9..9, 10..10), Astray::Begin(Offset(10)), "the leader has deleted everything");
        assert_eq!(astray(15..21, 10..20), Astray::Cut(Offset(20)));
        assert_eq!(astray(0..21, 0..0), Astray::Cut(Offset(0)));
        assert_eq!(astray(21..21, 0..0), Astray::Begin(Offset(0)), "an unclean leader has nothing, and this replica deleted everything");
        assert_eq!(astray(21..25, 10..20), Astray::Begin(Offset(10)));
        for end in [10, 15, 20] {
            assert_eq!(astray(0..end, 10..20), Astray::Fetch, "the leader wrote on meanwhile");
        }
    }
}
