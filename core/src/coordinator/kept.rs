//! A group with its offsets, of whichever type: what does not depend on the protocol that its members speak.

use super::consumer;
use super::group::{Age, CONSUMER, Group, State};
use super::offsets::Offsets;
use super::{Mark, Token};
use crate::coordinator::group::Answer;
use crate::time::{Instant, Timestamp};

/// A group with its offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) group: AnyGroup,
    pub(super) offsets: Offsets,
    /// The newest append that touched it.
    pub(super) touched: Mark,
    /// The group's deadline, as it stands in the coordinator's timers.
    pub(super) due: Option<Instant>,
}

/// A group, by the protocol of its members. One that only keeps offsets counts as classic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AnyGroup {
    Classic(Group),
    Consumer(consumer::Group),
}

impl Kept {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { group: AnyGroup::Classic(Group::new(now)), offsets: Offsets::default(), touched: Mark::LOADED, due: None }
    }

    pub(super) fn classic(&self) -> Option<&Group> {
        match &self.group {
            AnyGroup::Classic(group) => Some(group),
            AnyGroup::Consumer(_) => None,
        }
    }

    pub(super) fn consumer(&self) -> Option<&consumer::Group> {
        match &self.group {
            AnyGroup::Classic(_) => None,
            AnyGroup::Consumer(group) => Some(group),
        }
    }
}

impl AnyGroup {
    /// Kafka's name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    /// How far it is, as Kafka's tools print it.
    pub(super) fn state_name(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state().name(),
            Self::Consumer(group) => group.state().name(),
        }
    }

    /// What kind of members it has; empty where it only keeps offsets.
    pub(super) fn protocol_type(&self) -> &str {
        match self {
            Self::Classic(group) => group.protocol_type(),
            Self::Consumer(_) => CONSUMER,
        }
    }

    /// Whether it has no members.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => matches!(group.state(), State::Empty),
            Self::Consumer(group) => group.members().is_empty(),
        }
    }

    /// No members, and none that may be about to come.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_idle(),
            Self::Consumer(group) => group.members().is_empty(),
        }
    }

    /// Whether it is known what its members read, so that offsets of other topics may be deleted.
    pub(super) fn is_of_consumers(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_of_consumers(),
            Self::Consumer(_) => true,
        }
    }

    /// Whether it reads `topic` now, or may do so.
    pub(super) fn reads(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.reads(topic),
            Self::Consumer(group) => group.reads(topic),
        }
    }

    /// Since when offsets may expire: `None` while they may not at all.
    pub(super) fn offsets_age(&self) -> Option<Age> {
        match self {
            Self::Classic(group) => group.offsets_age(),
            Self::Consumer(_) => Some(Age::OfCommit),
        }
    }

    /// When it must be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Classic(group) => group.deadline(),
            Self::Consumer(group) => group.deadline(),
        }
    }

    /// Every request that waits in it. In a consumer group none does.
    pub(super) fn waiting(&self) -> Vec<(Token, Answer)> {
        match self {
            Self::Classic(group) => group.waiting(),
            Self::Consumer(_) => Vec::new(),
        }
    }
}
