//! Which replica answers a fetch: the leader everyone, a follower those clients that can be told of it (KIP-392). And which one a client is sent to:
//! with `replica.selector.class` set to Kafka's `RackAwareReplicaSelector`, the in-sync replica in the client's rack that has the most, unless the leader
//! is there itself.

use super::Broker;
use super::fetch_session::Want;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::log::Log;
use crate::partition::leader::Leader;
use crate::partition::{Partition, PartitionId, Role};
use crate::{mutant, probe};

/// A replica that is read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) epoch: LeaderEpoch,
    pub(super) log: &'a Log,
    /// Where clients stop.
    pub(super) high: Offset,
    pub(super) stable: Offset,
    /// It is not the leader's.
    pub(super) is_followers: bool,
}

impl<'a> Source<'a> {
    /// What answers a fetch; `from_followers` says whether a follower may.
    pub(super) fn of(partition: &'a Partition, from_followers: bool) -> Result<Self, ErrorCode> {
        match &partition.role {
            Role::Leader(leader) => {
                Ok(Self { epoch: leader.epoch, log: &leader.log, high: leader.high(), stable: leader.stable(), is_followers: false })
            }
            Role::Follower(follower) if from_followers => {
                probe!("a follower answers a client");
                // What is committed is below the end; nothing is read before it is written.
                let committed = if mutant!(FollowerServesEnd) { follower.log.end() } else { follower.high() };
                let high = committed.min(follower.log.written()).max(follower.log.start());
                Ok(Self { epoch: follower.epoch, log: &follower.log, high, stable: high, is_followers: true })
            }
            Role::Opening | Role::Follower(_) => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            Role::Offline { .. } => Err(ErrorCode::KAFKA_STORAGE_ERROR),
        }
    }
}

impl Broker {
    /// The follower that a client in `rack` had better read from.
    pub(super) fn preferred(&self, id: PartitionId, leader: &Leader, want: &Want, rack: &str) -> Option<BrokerId> {
        if rack.is_empty() || !self.config.broker.is_rack_aware {
            return None;
        }
        let brokers = self.image().brokers();
        let is_there = |is_fenced: bool| !is_fenced || mutant!(PreferredNotInSync);
        let is_near = |id: BrokerId| brokers.get(&id).is_some_and(|b| is_there(b.is_fenced) && b.rack.as_deref() == Some(rack));
        if id == super::boot::METADATA || is_near(self.config.broker.id) {
            return None;
        }
        leader.isr()?.fullest(want.offset, is_near)
    }

    /// A follower's clients look again: more is committed, or it follows no longer.
    pub(super) fn follower_moved(&mut self, id: PartitionId) {
        let Some(follower) = self.partitions.get(&id).and_then(|p| p.follower()) else { return };
        let fetches: Vec<super::Token> = follower.fetches.iter().copied().collect();
        fetches.into_iter().for_each(|token| self.look_again(token));
    }
}
