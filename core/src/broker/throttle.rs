//! Replication throttles (KIP-73): the bytes a second that this broker serves to, or fetches as, throttled replicas which are not in sync.
//!
//! Who is throttled is a setting of topics, how much one of brokers. Source: Kafka's `ReplicationQuotaManager`.

use super::{Broker, Timer};
use crate::config::broker;
use crate::config::topic::Throttled;
use crate::id::BrokerId;
use crate::partition::{Partition, PartitionId};
use crate::probe;
use crate::time::Instant;
use std::time::Duration;

/// Whose rate is not set has none.
const UNLIMITED: u64 = i64::MAX as u64;
/// What may be ahead of the rate.
const BURST: Duration = Duration::from_secs(1);
/// How long a partition that is held back rests.
const REST: Duration = Duration::from_millis(100);

/// A rate, and when everything that was let through is paid off by it.
#[derive(Clone, Copy, Debug)]
struct Quota {
    rate: u64,
    paid_off: Instant,
}

impl Default for Quota {
    fn default() -> Self {
        Self { rate: UNLIMITED, paid_off: Instant(0) }
    }
}

impl Quota {
    fn set(&mut self, rate: u64) {
        if rate != self.rate {
            *self = Self { rate, paid_off: Instant(0) };
        }
    }

    fn is_exceeded(&self, now: Instant) -> bool {
        self.paid_off > now.after(BURST)
    }

    fn spend(&mut self, now: Instant, bytes: u64) {
        if self.rate < UNLIMITED {
            let takes = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.max(1));
            let takes = Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX / 4));
            self.paid_off = self.paid_off.max(now).after(takes);
        }
    }
}

/// What this broker keeps to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Throttles {
    leading: Quota,
    following: Quota,
    moving: Quota,
}

impl Broker {
    /// Reads the rates anew.
    pub(super) fn configure_throttles(&mut self) {
        let rate = |name: &str| {
            let key = broker::key(name).expect("a name of our own table");
            self.layers().of(key).0.and_then(|text| text.parse().ok()).unwrap_or(UNLIMITED)
        };
        let moving = rate("replica.alter.log.dirs.io.max.bytes.per.second");
        let (leading, following) = (rate("leader.replication.throttled.rate"), rate("follower.replication.throttled.rate"));
        self.throttles.leading.set(leading);
        self.throttles.following.set(following);
        self.throttles.moving.set(moving);
    }

    /// Whether what this leader serves to `replica` counts: who is in sync is never held up.
    fn throttles_leader(&self, partition: &Partition, replica: BrokerId) -> bool {
        partition.config.throttled_leaders != Throttled::None
            && partition.config.throttled_leaders.has(partition.id.index, self.config.broker.id)
            && partition.leader().and_then(|leader| leader.isr()).is_some_and(|isr| !isr.confirmed().contains(&replica))
    }

    /// Whether this leader has nothing for `replica` now, since it has served enough.
    pub(super) fn holds_back(&self, partition: &Partition, replica: BrokerId) -> bool {
        self.throttles.leading.is_exceeded(self.now.at) && self.throttles_leader(partition, replica)
    }

    /// Bytes of a partition are on their way to a replica.
    pub(super) fn served(&mut self, id: PartitionId, replica: BrokerId, bytes: u64) {
        if self.partitions.get(&id).is_some_and(|partition| self.throttles_leader(partition, replica)) {
            probe!("a leader counts what it serves to a throttled follower");
            self.throttles.leading.spend(self.now.at, bytes);
        }
    }

    fn throttles_follower(&self, id: PartitionId) -> bool {
        let me = self.config.broker.id;
        self.partitions.get(&id).is_some_and(|partition| {
            partition.config.throttled_followers != Throttled::None
                && partition.config.throttled_followers.has(id.index, me)
                && self.decided(id).is_some_and(|decided| !decided.isr.contains(&me))
        })
    }

    /// Bytes of a partition came from its leader.
    pub(super) fn fetched_of_throttled(&mut self, id: PartitionId, bytes: u64) {
        if self.throttles_follower(id) {
            self.throttles.following.spend(self.now.at, bytes);
        }
    }

    /// Whether moves between directories have had their share (KIP-113).
    pub(super) fn holds_back_moves(&self) -> bool {
        self.throttles.moving.is_exceeded(self.now.at)
    }

    /// Bytes were copied from one directory to another.
    pub(super) fn moved_bytes(&mut self, bytes: u64) {
        self.throttles.moving.spend(self.now.at, bytes);
    }

    /// Partitions of which this follower has fetched enough rest for a while.
    pub(super) fn hold_back_followers(&mut self, leader: BrokerId) {
        if !self.throttles.following.is_exceeded(self.now.at) {
            return;
        }
        let Some(fetcher) = self.fetchers.get(&leader) else { return };
        let held: Vec<PartitionId> = fetcher.wanted().filter(|id| self.throttles_follower(*id)).collect();
        if held.is_empty() {
            return;
        }
        probe!("a throttled follower holds itself back");
        let fetcher = self.fetchers.get_mut(&leader).expect("looked at above");
        held.into_iter().for_each(|id| fetcher.let_rest(id));
        self.timer(REST, Timer::Fetcher(leader));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_lets_a_second_through_and_then_keeps_to_its_rate() {
        let mut quota = Quota::default();
        quota.spend(Instant(0), u64::MAX);
        assert!(!quota.is_exceeded(Instant(0)), "nothing is set");
        quota.set(1000);
        quota.spend(Instant(0), 1000);
        assert!(!quota.is_exceeded(Instant(0)));
        quota.spend(Instant(0), 4000);
        assert!(quota.is_exceeded(Instant(0)));
        let after = |seconds| Instant(0).after(Duration::from_millis(seconds));
        assert!(quota.is_exceeded(after(3900)) && !quota.is_exceeded(after(4000)), "5000 bytes take five seconds, one of them ahead");
        quota.set(1_000_000);
        assert!(!quota.is_exceeded(Instant(0)), "another rate forgets what was owed");
    }
}
