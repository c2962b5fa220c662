//! Decides which member of a classic group reads which partition: the assignors of Kafka's consumers, with the same results.
//!
//! Pure: the group's leader asks once per generation. Racks (KIP-881) are not looked at. Where Kafka's result hangs on the order of a
//! Java hash map, members and topics are taken in the order of their names here.

use std::collections::{BTreeMap, BTreeSet};

use super::{Topic, TopicPartition};
use crate::id::PartitionIndex;

mod ranges;
mod sticky;
mod sticky_equal;
mod sticky_mixed;
#[cfg(test)]
mod tests;

/// A member's id, as its coordinator gave it.
pub type MemberId = String;

/// Who reads what. Every member has an entry, be it empty.
pub type Assignment = BTreeMap<MemberId, Vec<TopicPartition>>;

/// The assignors that a member can offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assignor {
    /// Per topic, a contiguous range for each member.
    Range,
    /// All partitions dealt out in turn.
    RoundRobin,
    /// Balanced, and then as few moves as possible; everything is given up before each rebalance.
    Sticky,
    /// As sticky, but what is not moved is never given up: a move takes two rebalances (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// Every assignor.
    pub const ALL: [Self; 4] = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// Its name on the wire and in `partition.assignment.strategy`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor that `name` means on the wire.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Whether a member keeps what it owns while a rebalance runs.
    #[must_use]
    pub fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// Assigns the partitions of `topics` (name and count) to `members`. Topics that nobody wants are left out.
    #[must_use]
    pub fn assign(self, topics: &BTreeMap<Topic, u32>, members: &BTreeMap<MemberId, Member>) -> Assignment {
        if members.is_empty() {
            return Assignment::new();
        }
        match self {
            Self::Range => ranges::range(topics, members),
            Self::RoundRobin => ranges::round_robin(topics, members),
            Self::Sticky => sticky::assign(topics, members).assignment,
            Self::CooperativeSticky => sticky::assign(topics, members).withhold_moves(members),
        }
    }
}

/// What an assignor is told of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The topics it wants.
    pub topics: BTreeSet<Topic>,
    /// Its `group.instance.id`, if it is a static member.
    pub instance: Option<String>,
    /// What it says it had, in the generation below. Only the sticky assignors look at it.
    pub owned: Vec<TopicPartition>,
    /// The generation of `owned`; −1 if it has none. The newest claim to a partition wins.
    pub generation: i32,
}

/// The members in Kafka's order: static ones by instance id, then the others by member id.
fn in_order(members: &BTreeMap<MemberId, Member>) -> Vec<(&MemberId, &Member)> {
    let mut ordered: Vec<(&MemberId, &Member)> = members.iter().collect();
    ordered.sort_by_key(|(id, member)| (member.instance.is_none(), member.instance.as_deref(), *id));
    ordered
}

fn nobody_has_anything(members: &BTreeMap<MemberId, Member>) -> Assignment {
    members.keys().map(|id| (id.clone(), Vec::new())).collect()
}

fn partition(topic: &Topic, number: u32) -> TopicPartition {
    TopicPartition {
        topic: Topic::clone(topic),
        partition: PartitionIndex(i32::try_from(number).expect("a partition number fits the wire's i32")),
    }
}
