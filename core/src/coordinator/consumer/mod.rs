//! A consumer group (KIP-848): its members, what each shall read, and what each holds. Source: Kafka's `ConsumerGroup` and `GroupMetadataManager`.
//!
//! Three epochs follow each other. The **group epoch** grows when members, subscriptions or topics change; the **assignment epoch** is the group epoch
//! for which targets were last computed; each **member epoch** is the assignment epoch that the member has come to. Each member goes its way to its target
//! alone, by its own heartbeats: no barrier stops the others.
//!
//! ```text
//!   group epoch ──assignor──► assignment epoch ──reconcile, member by member──► member epochs
//! ```
//!
//! Pure, and everything but timers is what the records say: a plan is made against the state, and changes it only when it is replayed.
//! Never sees the wire, a log or an offset.

mod assign;
mod change;
mod heartbeat;
mod leave;
mod member;
mod reconcile;
pub mod records;
#[cfg(test)]
mod tests;
mod timers;

pub use assign::Assignor;
pub use change::{Change, Epoch};
pub use heartbeat::{Beat, Beaten};
pub use leave::Leave;
pub use member::{Current, Holding, Member, Parts, Progress, Subscription, parts};

use super::group::{MemberId, Sessions};
use super::{GroupConfig, Topics};
use crate::error::ErrorCode;
use crate::id::{PartitionIndex, Uuid};
use crate::probe;
use crate::time::Now;
use change::Holders;
use std::collections::BTreeMap;

/// What every call on a group is given.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// When.
    pub now: Now,
    /// The limits.
    pub config: &'a GroupConfig,
    /// What topics there are.
    pub topics: &'a dyn Topics,
    /// Grows whenever topics change.
    pub topics_version: u64,
}

/// Not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub error: ErrorCode,
    /// For people.
    pub words: String,
}

impl Refused {
    /// Refuses with words of one's own.
    pub fn new(error: ErrorCode, words: impl Into<String>) -> Self {
        Self { error, words: words.into() }
    }
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No members. May hold offsets.
    Empty,
    /// Targets are to be computed by the next heartbeat.
    Assigning,
    /// Some members are on the way to their targets.
    Reconciling,
    /// All have come to them.
    Stable,
}

impl State {
    /// As Kafka's tools print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// One consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Group {
    epoch: Epoch,
    assignment_epoch: i32,
    members: BTreeMap<MemberId, Member>,
    /// By instance id.
    statics: BTreeMap<String, MemberId>,
    targets: BTreeMap<MemberId, Parts>,
    holders: Holders,
    /// Kafka before 4.1 has written what the topics were.
    has_topics_record: bool,
    /// The version of the topics that the epoch's hash was last compared with; `None` after loading.
    topics_seen: Option<u64>,
    /// When members that are not heard of are taken out.
    sessions: Sessions,
    /// When members that do not give up what they must are taken out.
    revocations: Sessions,
}

impl Group {
    /// The group epoch.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.epoch.epoch
    }

    /// The group epoch that the targets are of.
    #[must_use]
    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    /// Its members, by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    /// A member's share in the target assignment.
    #[must_use]
    pub fn target(&self, member: &str) -> Option<&Parts> {
        self.targets.get(member)
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> State {
        if self.members.is_empty() {
            State::Empty
        } else if self.epoch.epoch > self.assignment_epoch {
            State::Assigning
        } else if self.members.values().all(|member| member.current.is_reconciled_to(self.assignment_epoch)) {
            State::Stable
        } else {
            State::Reconciling
        }
    }

    /// The assignor that most members would like; the first configured one where nobody has a wish.
    #[must_use]
    pub fn assignor(&self, config: &GroupConfig) -> Assignor {
        preferred(self.members.values().map(|member| &member.subscription), config)
    }

    /// Whether a member wants `topic`.
    #[must_use]
    pub fn reads(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.subscription.topics.contains(topic))
    }

    /// Whether a member may commit at all. Where its epoch is an older one, `may_commit_of` says of which partitions.
    ///
    /// # Errors
    /// `UnknownMemberId`, `StaleMemberEpoch`, or `UnsupportedVersion` for a client that cannot know the latter.
    pub fn validate_commit(&self, member: &str, epoch: i32, version: i16) -> Result<(), ErrorCode> {
        // Admin tools may write where no member's progress can be overwritten.
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let known = self.members.get(member).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if version < 9 {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        if epoch > known.current.epoch { Err(ErrorCode::STALE_MEMBER_EPOCH) } else { Ok(()) }
    }

    /// Whether a commit that may be made covers this partition. Who has gone on to a newer epoch since, and held the partition all the time, still speaks
    /// for it: nobody else can have read it (KIP-1251).
    ///
    /// # Errors
    /// `StaleMemberEpoch` where it has not.
    pub fn may_commit_of(&self, member: &str, epoch: i32, topic: Uuid, index: PartitionIndex) -> Result<(), ErrorCode> {
        let Some(member) = self.members.get(member) else { return Ok(()) };
        if epoch == member.current.epoch || member.current.given(topic, index).is_some_and(|given| given <= epoch) {
            return Ok(());
        }
        probe!("a commit of a partition that a consumer no longer holds was refused");
        Err(ErrorCode::STALE_MEMBER_EPOCH)
    }

    /// Whether offsets may be told to whoever asks: a member must be of its epoch; an admin tool names none.
    ///
    /// # Errors
    /// `UnknownMemberId` or `StaleMemberEpoch`.
    pub fn validate_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let known = self.members.get(member.unwrap_or_default()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if known.current.epoch == epoch { Ok(()) } else { Err(ErrorCode::STALE_MEMBER_EPOCH) }
    }

    /// The records that end a group without members.
    #[must_use]
    pub fn tombstones(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.targets.keys().map(|id| Change::Target(id.clone(), None)).collect();
        changes.push(Change::AssignmentEpoch(None));
        changes.extend(self.has_topics_record.then_some(Change::Topics(None)));
        changes.push(Change::Epoch(None));
        changes
    }

    /// What must hold between calls. It reads every member, so tests and simulations only ask: groups may be large, and heartbeats many.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        if !cfg!(any(debug_assertions, feature = "sim")) {
            return;
        }
        assert!(self.assignment_epoch <= self.epoch.epoch, "targets are of an epoch that has been");
        assert!(self.holders.most() <= 1, "a partition has two owners");
        for (id, member) in &self.members {
            let current = &member.current;
            assert!(current.epoch <= self.assignment_epoch, "{id} is ahead of the targets");
            let may_revoke = matches!(current.progress, Progress::Unrevoked | Progress::Unknown);
            assert!(may_revoke || current.revoking.is_empty(), "{id} gives up partitions, and nobody waits for it");
            let instance = member.subscription.instance.as_ref();
            assert!(instance.is_none_or(|instance| self.statics.get(instance) == Some(id)), "{id} holds its instance");
        }
        assert!(self.statics.values().all(|id| self.members.contains_key(id)), "an instance is held by a member");
        assert!(self.targets.keys().all(|id| self.members.contains_key(id)), "a target is a member's");
    }

    /// The subscriptions as they will be when `updated` is the member's, and `without` is gone.
    fn subscriptions<'a>(
        &'a self,
        updated: Option<(&'a MemberId, &'a Subscription)>,
        without: Option<&'a MemberId>,
    ) -> impl Iterator<Item = (&'a MemberId, &'a Subscription)> + Clone {
        let is_as_it_was = move |id: &MemberId| Some(id) != without && updated.is_none_or(|(of, _)| of != id);
        let others = self.members.iter().filter(move |(id, _)| is_as_it_was(id)).map(|(id, member)| (id, &member.subscription));
        others.chain(updated)
    }
}

fn topics_of<'a>(subscriptions: impl Iterator<Item = (&'a MemberId, &'a Subscription)>) -> impl Iterator<Item = &'a str> {
    subscriptions.flat_map(|(_, subscription)| subscription.topics.iter().map(String::as_str))
}

fn preferred<'a>(subscriptions: impl Iterator<Item = &'a Subscription>, config: &GroupConfig) -> Assignor {
    let mut wishes: BTreeMap<Assignor, usize> = BTreeMap::new();
    for wish in subscriptions.filter_map(|subscription| Assignor::named(subscription.assignor.as_deref()?)) {
        *wishes.entry(wish).or_default() += 1;
    }
    let wanted = |assignor: &Assignor| wishes.get(assignor).copied().unwrap_or(0);
    let most = config.assignors.iter().map(wanted).max().unwrap_or(0);
    config.assignors.iter().copied().find(|assignor| wanted(assignor) == most).unwrap_or(Assignor::Uniform)
}
