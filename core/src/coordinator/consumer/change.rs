//! What can happen to a consumer group, one record each, and how it changes the state. Decides nothing, and believes what the log says.

use super::Group;
use super::member::{Current, Parts, Subscription};
use crate::coordinator::group::MemberId;
use crate::id::{PartitionIndex, Uuid};
use std::collections::BTreeMap;

/// One record of a consumer group. `None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The group has a new epoch; or is gone.
    Epoch(Option<Epoch>),
    /// The topics as groups of Kafka before 4.1 saw them: only whether there is such a record, so that it can be deleted.
    Topics(Option<()>),
    /// A member said something new of itself; or is gone.
    Member(MemberId, Option<Subscription>),
    /// The target assignment is that of this group epoch.
    AssignmentEpoch(Option<i32>),
    /// A member's share in the target assignment.
    Target(MemberId, Option<Parts>),
    /// What a member holds now.
    Current(MemberId, Option<Current>),
}

/// A group's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// One more with each change of the members, their subscriptions, or the topics.
    pub epoch: i32,
    /// Of the topics that the members want, as they were when the epoch began.
    pub metadata_hash: i64,
}

impl Change {
    /// Whether it takes something away: of a group that is no more it tells nothing.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        match self {
            Self::Epoch(value) => value.is_none(),
            Self::Topics(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::AssignmentEpoch(value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
        }
    }
}

impl Group {
    /// Takes over what a record says. In a compacted log a member's records may come in any order.
    pub fn replay(&mut self, change: &Change) {
        match change {
            Change::Epoch(epoch) => self.epoch = epoch.unwrap_or_default(),
            Change::Topics(topics) => self.has_topics_record = topics.is_some(),
            Change::Member(id, Some(subscription)) => self.set_subscription(id, subscription),
            Change::Member(id, None) => self.remove(id),
            Change::AssignmentEpoch(epoch) => self.assignment_epoch = epoch.unwrap_or_default(),
            Change::Target(id, Some(parts)) => drop(self.targets.insert(id.clone(), parts.clone())),
            Change::Target(id, None) => drop(self.targets.remove(id)),
            Change::Current(id, Some(current)) => self.set_current(id, current.clone()),
            Change::Current(id, None) => {
                if self.members.contains_key(id) {
                    self.set_current(id, Current { epoch: super::member::GONE, ..Current::default() });
                }
            }
        }
    }

    fn set_subscription(&mut self, id: &MemberId, subscription: &Subscription) {
        let member = self.members.entry(id.clone()).or_default();
        if let Some(instance) = &member.subscription.instance
            && self.statics.get(instance) == Some(id)
        {
            self.statics.remove(instance);
        }
        member.subscription.clone_from(subscription);
        if let Some(instance) = &subscription.instance {
            self.statics.insert(instance.clone(), id.clone());
        }
    }

    fn set_current(&mut self, id: &MemberId, current: Current) {
        let member = self.members.entry(id.clone()).or_default();
        let before = std::mem::replace(&mut member.current, current);
        self.holders.release(&before);
        self.holders.take(&self.members[id].current);
    }

    fn remove(&mut self, id: &MemberId) {
        self.sessions.cancel(&id.0);
        self.revocations.cancel(&id.0);
        let Some(member) = self.members.remove(id) else { return };
        self.holders.release(&member.current);
        // A static member's successor may have taken the instance over already.
        if let Some(instance) = member.subscription.instance
            && self.statics.get(&instance) == Some(id)
        {
            self.statics.remove(&instance);
        }
    }
}

/// How many members hold each partition. More than one is a mistake of whoever wrote the log; it must not make the partition free too early.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Holders(BTreeMap<(Uuid, PartitionIndex), usize>);

impl Holders {
    /// Whether nobody holds it.
    pub(super) fn is_free(&self, topic: Uuid, index: PartitionIndex) -> bool {
        !self.0.contains_key(&(topic, index))
    }

    pub(super) fn most(&self) -> usize {
        self.0.values().copied().max().unwrap_or(0)
    }

    fn take(&mut self, current: &Current) {
        for part in current.held() {
            *self.0.entry(part).or_default() += 1;
        }
    }

    fn release(&mut self, current: &Current) {
        for part in current.held() {
            let count = self.0.get_mut(&part).expect("it was counted when it was taken");
            *count -= 1;
            if *count == 0 {
                self.0.remove(&part);
            }
        }
    }
}
