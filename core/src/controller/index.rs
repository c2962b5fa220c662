//! Which partitions a broker has to do with: kept by the fold, so that a broker's fencing needs no look at the other partitions.
//!
//! Holds nothing that the partitions do not say: a recount gives the same.

use super::image::{Partition, Topic};
use crate::id::{BrokerId, Uuid};
use crate::partition::PartitionId;
use std::collections::{BTreeMap, BTreeSet};

/// Partitions by what a controller asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Index {
    assigned: BTreeMap<BrokerId, BTreeSet<PartitionId>>,
    led: BTreeMap<BrokerId, BTreeSet<PartitionId>>,
    leaderless: BTreeSet<PartitionId>,
    imbalanced: BTreeSet<PartitionId>,
}

impl Index {
    /// Every partition that has a replica on `broker`.
    pub(super) fn assigned(&self, broker: BrokerId) -> impl Iterator<Item = PartitionId> + '_ {
        self.assigned.get(&broker).into_iter().flatten().copied()
    }

    /// Whether `broker` leads anything.
    pub(super) fn leads(&self, broker: BrokerId) -> bool {
        self.led.contains_key(&broker)
    }

    /// Every partition that nobody leads.
    pub(super) fn leaderless(&self) -> &BTreeSet<PartitionId> {
        &self.leaderless
    }

    /// Every partition whose preferred replica does not lead.
    pub(super) fn imbalanced(&self) -> &BTreeSet<PartitionId> {
        &self.imbalanced
    }

    /// A partition was `before` and is `after`.
    pub(super) fn update(&mut self, id: PartitionId, before: Option<&Partition>, after: Option<&Partition>) {
        if let Some(before) = before {
            before.replicas.iter().for_each(|broker| remove(&mut self.assigned, *broker, id));
            if let Some(leader) = before.leader {
                remove(&mut self.led, leader, id);
            }
            self.leaderless.remove(&id);
            self.imbalanced.remove(&id);
        }
        if let Some(after) = after {
            for broker in &after.replicas {
                self.assigned.entry(*broker).or_default().insert(id);
            }
            match after.leader {
                Some(leader) => self.led.entry(leader).or_default().insert(id),
                None => self.leaderless.insert(id),
            };
            if after.leader != after.replicas.first().copied() {
                self.imbalanced.insert(id);
            }
        }
    }

    /// The same, counted anew.
    pub(super) fn recount(topics: &BTreeMap<Uuid, Topic>) -> Self {
        let mut index = Self::default();
        for topic in topics.values() {
            for (at, partition) in &topic.partitions {
                index.update(PartitionId { topic: topic.id, index: *at }, None, Some(partition));
            }
        }
        index
    }
}

fn remove(of: &mut BTreeMap<BrokerId, BTreeSet<PartitionId>>, broker: BrokerId, id: PartitionId) {
    if let Some(ids) = of.get_mut(&broker) {
        ids.remove(&id);
        if ids.is_empty() {
            of.remove(&broker);
        }
    }
}
