//! One member of a classic group, and all members with what is counted over them. Never decides when a rebalance begins or ends.

use crate::coordinator::Client;
use crate::coordinator::group::SnapshotMember;
use crate::request::Token;
use bytes::{Buf as _, Bytes};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A member's name within its group, given by the coordinator. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub Arc<str>);

impl MemberId {
    /// The id `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for MemberId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One way of assigning that a member can take part in. What it carries is opaque here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// The member's subscription, for the leader.
    pub metadata: Bytes,
}

/// What a member brought with its last `JoinGroup`, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its `group.instance.id`, if it is static.
    pub instance: Option<String>,
    /// Who connected.
    pub client: Client,
    /// Without a sign of life for so long it is removed.
    pub session: Duration,
    /// How long a rebalance waits for it.
    pub rebalance: Duration,
    /// In its order of preference.
    pub protocols: Vec<Protocol>,
    /// What the leader gave it in the last generation.
    pub assignment: Bytes,
    /// Its `JoinGroup` waits for the end of the rebalance.
    pub joining: Option<Token>,
    /// Its `SyncGroup` waits for the leader's.
    pub syncing: Option<Token>,
    /// It was added in this rebalance, so its client may not know its id yet.
    pub new: bool,
}

impl Member {
    /// What it brought for `protocol`; empty if it does not know it.
    #[must_use]
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|p| p.name == protocol).map_or_else(Bytes::new, |p| p.metadata.clone())
    }

    /// Whether it needs no heartbeat now, because a request of it waits here.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        // A new member's client may have gone without ever hearing its id; so it can expire even while its join waits.
        !self.new && (self.joining.is_some() || self.syncing.is_some())
    }

    fn names(&self) -> BTreeSet<&str> {
        self.protocols.iter().map(|p| p.name.as_str()).collect()
    }
}

/// The members of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Members {
    all: BTreeMap<MemberId, Member>,
    /// By instance id.
    statics: BTreeMap<String, MemberId>,
    /// How many members support each protocol; none is zero.
    support: BTreeMap<String, usize>,
    /// How many have a join waiting.
    joining: usize,
}

impl Members {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many have a join waiting.
    #[must_use]
    pub fn joining(&self) -> usize {
        self.joining
    }

    /// The member of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Member> {
        self.all.get(id)
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&MemberId, &Member)> {
        self.all.iter()
    }

    /// All ids, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<MemberId> {
        self.all.keys().cloned().collect()
    }

    /// Who holds that instance id.
    #[must_use]
    pub fn holder(&self, instance: &str) -> Option<&MemberId> {
        self.statics.get(instance)
    }

    /// Adds a member.
    ///
    /// # Panics
    /// If its id or instance id is taken.
    pub fn insert(&mut self, id: MemberId, member: Member) {
        if let Some(instance) = &member.instance {
            let before = self.statics.insert(instance.clone(), id.clone());
            assert!(before.is_none(), "instance {instance} is held by {before:?}");
        }
        self.count(&member);
        let before = self.all.insert(id, member);
        assert!(before.is_none(), "a member is added once");
    }

    /// Takes a member away, with whatever waits for it.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.all.remove(id)?;
        if let Some(instance) = &member.instance {
            self.statics.remove(instance);
        }
        self.discount(&member);
        Some(member)
    }

    /// Changes a member in place, keeping the counts right. `None` if there is no such member.
    pub fn change<T>(&mut self, id: &str, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let mut member = self.all.remove_entry(id)?;
        self.discount(&member.1);
        let instance = member.1.instance.clone();
        let result = change(&mut member.1);
        assert!(member.1.instance == instance, "a member keeps its instance id");
        self.count(&member.1);
        self.all.insert(member.0, member.1);
        Some(result)
    }

    /// The longest time that a rebalance must give.
    #[must_use]
    pub fn longest_rebalance(&self) -> Duration {
        self.all.values().map(|m| m.rebalance).max().unwrap_or_default()
    }

    /// Whether all members support `protocol`.
    #[must_use]
    pub fn all_support(&self, protocol: &str) -> bool {
        self.support.get(protocol).copied().unwrap_or(0) == self.len()
    }

    /// The protocol with the most votes: each member votes for the first in its list that all members support.
    /// Ties go to the protocol whose name comes first.
    ///
    /// # Panics
    /// If the members have nothing in common: they would not have been accepted.
    #[must_use]
    pub fn elect_protocol(&self) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.all.values() {
            let vote = member.protocols.iter().find(|p| self.all_support(&p.name));
            *votes.entry(&vote.expect("each member was accepted for a protocol that all support").name).or_default() += 1;
        }
        let most = votes.values().copied().max().expect("a group that elects has members");
        let (winner, _) = votes.into_iter().find(|(_, count)| *count == most).expect("the largest is one of them");
        winner.to_owned()
    }

    fn count(&mut self, member: &Member) {
        self.joining += usize::from(member.joining.is_some());
        for name in member.names() {
            match self.support.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(self.support.insert(name.to_owned(), 1)),
            }
        }
    }

    fn discount(&mut self, member: &Member) {
        self.joining -= usize::from(member.joining.is_some());
        for name in member.names() {
            let count = self.support.get_mut(name).expect("counted when it was added");
            *count -= 1;
            if *count == 0 {
                self.support.remove(name);
            }
        }
    }
}

impl Member {
    pub(super) fn restore(member: &SnapshotMember, protocol: Option<&str>) -> Self {
        let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let rebalance_ms = if member.rebalance_ms < 0 { member.session_ms } else { member.rebalance_ms };
        let protocol = protocol.map(|name| Protocol { name: name.to_owned(), metadata: member.subscription.clone() });
        Self {
            instance: member.instance.clone(),
            client: member.client.clone(),
            session: ms(member.session_ms),
            rebalance: ms(rebalance_ms),
            protocols: protocol.into_iter().collect(),
            assignment: member.assignment.clone(),
            joining: None,
            syncing: None,
            new: false,
        }
    }

    pub(super) fn snapshot(&self, id: &MemberId, protocol: &str) -> SnapshotMember {
        let ms = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        SnapshotMember {
            id: id.to_string(),
            instance: self.instance.clone(),
            client: self.client.clone(),
            rebalance_ms: ms(self.rebalance),
            session_ms: ms(self.session),
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }
}

/// The topics in a consumer's subscription: version, then an array of strings (version 0, the prefix of all later ones). `None` if it is no such thing.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Option<BTreeSet<String>> {
    let mut rest = metadata;
    rest.try_get_i16().ok()?;
    let count = rest.try_get_i32().ok()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        let length = usize::try_from(rest.try_get_i16().ok()?).ok()?;
        let name = rest.get(..length)?;
        rest = &rest[length..];
        topics.insert(String::from_utf8(name.to_vec()).ok()?);
    }
    Some(topics)
}
