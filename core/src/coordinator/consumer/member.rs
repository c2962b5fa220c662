//! One member of a consumer group: what it said of itself, and what it holds. Never decides what it shall hold.

use crate::coordinator::Client;
use crate::id::{PartitionIndex, Uuid};
use std::collections::{BTreeMap, BTreeSet};

/// Partitions by the id of their topic. No topic is there without any.
pub type Parts = BTreeMap<Uuid, BTreeSet<PartitionIndex>>;

/// Partitions that a member holds, each with the member epoch in which it was given them (KIP-1251).
pub type Holding = BTreeMap<Uuid, BTreeMap<PartitionIndex, i32>>;

/// The epoch of a member that was taken out.
pub(super) const GONE: i32 = -1;
/// The epoch of a static member that left for a while and may come back.
pub(super) const AWAY: i32 = -2;

/// What a member said of itself, as its record holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// Its `group.instance.id`, if it is static.
    pub instance: Option<String>,
    /// Where it runs.
    pub rack: Option<String>,
    /// Who connected.
    pub client: Client,
    /// The topics it wants, whether they exist or not.
    pub topics: BTreeSet<String>,
    /// How long it may take to give partitions up, in milliseconds.
    pub rebalance_ms: i32,
    /// The assignor it would like.
    pub assignor: Option<String>,
}

/// How far a member is on the way to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Progress {
    /// It holds its target of its epoch.
    #[default]
    Stable,
    /// It is to give partitions up before it can go on to the next epoch.
    Unrevoked,
    /// Partitions of its target are held by others still.
    Unreleased,
    /// A newer version wrote a state that this one does not know.
    Unknown,
}

/// What a member holds, as its record says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Current {
    /// The member epoch: the assignment epoch that it has come to.
    pub epoch: i32,
    /// The one before: a member that comes with it may not have heard of its epoch yet.
    pub previous: i32,
    /// How far it is.
    pub progress: Progress,
    /// What it may read.
    pub assigned: Holding,
    /// What it was told to give up, and may still hold.
    pub revoking: Holding,
}

impl Default for Current {
    fn default() -> Self {
        Self { epoch: 0, previous: GONE, progress: Progress::Stable, assigned: Holding::new(), revoking: Holding::new() }
    }
}

impl Current {
    /// Whether it holds its target of that epoch.
    #[must_use]
    pub fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.progress == Progress::Stable && self.epoch == assignment_epoch
    }

    /// Everything that nobody else may have: what it may read, and what it has not given up yet.
    pub(super) fn held(&self) -> impl Iterator<Item = (Uuid, PartitionIndex)> + '_ {
        let all = self.assigned.iter().chain(&self.revoking);
        all.flat_map(|(topic, partitions)| partitions.keys().map(|index| (*topic, *index)))
    }

    /// The epoch in which it was given a partition that it still holds.
    pub(super) fn given(&self, topic: Uuid, index: PartitionIndex) -> Option<i32> {
        let of = |holding: &Holding| holding.get(&topic)?.get(&index).copied();
        of(&self.assigned).or_else(|| of(&self.revoking))
    }
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Member {
    /// What it said of itself.
    pub subscription: Subscription,
    /// What it holds.
    pub current: Current,
}

/// The partitions of a holding, without their epochs.
#[must_use]
pub fn parts(holding: &Holding) -> Parts {
    holding.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}

/// Whether all of `some` are among the partitions held.
pub(super) fn is_within(some: &Parts, holding: &Holding) -> bool {
    some.iter().all(|(topic, indexes)| {
        let of_topic = holding.get(topic);
        indexes.iter().all(|index| of_topic.is_some_and(|partitions| partitions.contains_key(index)))
    })
}

/// Whether any of `some` is among the partitions held.
pub(super) fn overlaps(some: &Parts, holding: &Holding) -> bool {
    some.iter()
        .any(|(topic, indexes)| holding.get(topic).is_some_and(|partitions| indexes.iter().any(|index| partitions.contains_key(index))))
}
