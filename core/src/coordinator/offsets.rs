//! The offsets that one group has committed. Never decides who may commit.

use super::group::Age;
use super::kept::AnyGroup;
use crate::id::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::mutant;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the last record read; −1 where unknown.
    pub leader_epoch: LeaderEpoch,
    /// Whatever the client wrote with it.
    pub metadata: String,
    /// When.
    pub at: Timestamp,
    /// When it ends, where an old client asked for a time of its own; else `Timestamp::NONE`.
    pub expires: Timestamp,
    /// Which topic of that name; `Uuid::ZERO` in old records.
    pub topic: Uuid,
}

impl Committed {
    /// Whether it was committed for the topic that has this id now. A topic that was deleted and created again is another one.
    #[must_use]
    pub fn is_of(&self, topic: Uuid) -> bool {
        self.topic == topic || self.topic == Uuid::ZERO || topic == Uuid::ZERO
    }

    /// Kafka's `OffsetExpirationCondition`: an old client's own time counts first, then the retention from `age`.
    fn has_expired(&self, age: Age, retention: Duration, now: Timestamp) -> bool {
        if self.expires != Timestamp::NONE {
            return now >= self.expires;
        }
        let from = match age {
            Age::OfCommit => self.at,
            Age::Since(at) => at,
        };
        now.0.saturating_sub(from.0) >= i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)
    }
}

/// All offsets of a group, by topic and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offsets {
    topics: BTreeMap<String, BTreeMap<PartitionIndex, Committed>>,
}

impl Offsets {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.values().map(BTreeMap::len).sum()
    }

    /// The offset of one partition.
    #[must_use]
    pub fn get(&self, topic: &str, partition: PartitionIndex) -> Option<&Committed> {
        self.topics.get(topic)?.get(&partition)
    }

    /// All, by topic.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeMap<PartitionIndex, Committed>)> {
        self.topics.iter().map(|(topic, partitions)| (topic.as_str(), partitions))
    }

    /// The partitions of one topic.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Vec<PartitionIndex> {
        self.topics.get(topic).map(|partitions| partitions.keys().copied().collect()).unwrap_or_default()
    }

    /// Takes a commit over, or a deletion (`None`).
    pub fn set(&mut self, topic: &str, partition: PartitionIndex, committed: Option<Committed>) {
        match (committed, self.topics.get_mut(topic)) {
            (Some(committed), Some(partitions)) => drop(partitions.insert(partition, committed)),
            (Some(committed), None) => drop(self.topics.insert(topic.to_owned(), BTreeMap::from([(partition, committed)]))),
            (None, Some(partitions)) => {
                partitions.remove(&partition);
                if partitions.is_empty() {
                    self.topics.remove(topic);
                }
            }
            (None, None) => {}
        }
    }

    /// Which of them nobody can want any more.
    #[must_use]
    pub(super) fn expired(&self, group: &AnyGroup, retention: Duration, now: Timestamp) -> Vec<(String, PartitionIndex)> {
        // A group that rebalances, or whose members may read anything, keeps all (KAFKA-8069, KAFKA-13636).
        let Some(age) = group.offsets_age() else { return Vec::new() };
        let mut expired = Vec::new();
        for (topic, partitions) in self.topics.iter().filter(|(topic, _)| mutant!(OffsetsExpireLive) || !group.reads(topic)) {
            let gone = partitions.iter().filter(|(_, committed)| committed.has_expired(age, retention, now));
            expired.extend(gone.map(|(partition, _)| (topic.clone(), *partition)));
        }
        expired
    }
}
