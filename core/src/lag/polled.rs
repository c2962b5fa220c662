//! What can be made of asking a coordinator for offsets now and then, where the log of commits is not read.
//!
//! An offset that changed was committed. One that did not may have been committed again or not, and nobody tells: while a live member owns the
//! partition it is taken as committed again, as consumers do at an interval (so who hangs is seen as stalled); otherwise as not (so who is gone is
//! seen as stopped).

use super::cluster::{Cluster, Group, Owner};
use super::window::NewCommit;
use crate::client::{Topic, TopicPartition};
use crate::id::Offset;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// What was seen in one look at a cluster. What could not be seen is absent, and stays as it was.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// All topics, and how many partitions each has where that is told.
    pub topics: Option<BTreeMap<Topic, Option<usize>>>,
    /// Where logs end.
    pub ends: BTreeMap<TopicPartition, Offset>,
    /// The groups.
    pub groups: BTreeMap<String, GroupLook>,
    /// Whether those are all groups.
    pub has_all_groups: bool,
}

/// What was seen of one group.
#[derive(Clone, Debug, Default)]
pub struct GroupLook {
    /// Which members own what.
    pub owners: Option<BTreeMap<TopicPartition, Owner>>,
    /// All that it has committed.
    pub offsets: Option<BTreeMap<TopicPartition, Offset>>,
}

impl Cluster {
    /// Takes in a look.
    pub fn saw(&mut self, now: Timestamp, look: &Look) {
        if let Some(topics) = &look.topics {
            self.saw_topics(topics);
        }
        for (part, end) in &look.ends {
            self.saw_end(now, part, *end);
        }
        for (name, group) in &look.groups {
            // Owners first: they tell what an unchanged offset means.
            if let Some(owners) = &group.owners {
                self.saw_owners(name, owners);
            }
            if let Some(offsets) = &group.offsets {
                self.saw_offsets(now, name, offsets);
            }
        }
        if look.has_all_groups {
            self.saw_groups(&look.groups);
        }
        self.expire(now);
    }

    /// These are all offsets that a group has committed, as its coordinator tells at `now`. What it does not tell of is forgotten: offsets were
    /// deleted, or have expired.
    pub fn saw_offsets(&mut self, now: Timestamp, group: &str, offsets: &BTreeMap<TopicPartition, Offset>) {
        self.looks += 1;
        let order = self.looks;
        if let Some(group) = self.group_mut(group) {
            group.forget_others(offsets);
        }
        for (part, offset) in offsets {
            if self.group(group).is_none_or(|group| group.has_committed(part, *offset)) {
                self.saw_commit(now, group, part, NewCommit { offset: *offset, order, at: now });
            }
        }
    }
}

impl Group {
    fn has_committed(&self, part: &TopicPartition, offset: Offset) -> bool {
        let Some(consumed) = self.parts.get(&part.topic).and_then(|parts| parts.get(&part.partition)) else { return true };
        consumed.owner.is_some() || consumed.commits().last().is_none_or(|newest| newest.offset != offset)
    }

    fn forget_others(&mut self, offsets: &BTreeMap<TopicPartition, Offset>) {
        for (topic, parts) in &mut self.parts {
            for (partition, consumed) in parts.iter_mut() {
                let part = TopicPartition { topic: topic.clone(), partition: *partition };
                if !offsets.contains_key(&part) {
                    consumed.window = None;
                }
            }
        }
        self.parts.retain(|_, parts| parts.values().any(|consumed| consumed.window.is_some() || consumed.owner.is_some()));
        if self.parts.values().flat_map(BTreeMap::values).all(|consumed| consumed.window.is_none()) {
            self.last_commit = None;
        }
    }
}
