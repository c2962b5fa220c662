//! The server-side assignors: who shall read what. Pure; the algorithms are those of the client's assignors, which work alike.

use super::member::{Parts, Subscription};
use crate::client::assign::{Assignor as Algorithm, Member};
use crate::client::{Topic, TopicPartition};
use crate::coordinator::Topics;
use crate::coordinator::group::MemberId;
use crate::id::Uuid;
use std::collections::{BTreeMap, BTreeSet};

/// A server-side assignor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assignor {
    /// As many for each as for the others, and then as few moves as possible.
    Uniform,
    /// Per topic a range for each member, so that topics of one size are split alike.
    Range,
}

impl Assignor {
    /// All, in Kafka's order.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Its name on the wire and in `group.consumer.assignors`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Assigns all partitions of the topics that are there and wanted. `before` is the last target of each member.
    #[must_use]
    pub fn assign<'a>(
        self,
        members: impl IntoIterator<Item = (&'a MemberId, &'a Subscription, Option<&'a Parts>)>,
        topics: &dyn Topics,
    ) -> BTreeMap<MemberId, Parts> {
        let members: Vec<_> = members.into_iter().collect();
        let known = Known::of(members.iter().flat_map(|(_, subscription, _)| &subscription.topics), topics);
        let asked = members.iter().map(|(id, subscription, before)| (id.to_string(), known.member(subscription, *before))).collect();
        let algorithm = match self {
            // Balance above all, then stickiness, also where subscriptions differ.
            Self::Uniform => Algorithm::Sticky,
            Self::Range => Algorithm::Range,
        };
        let mut found = algorithm.assign(&known.counts, &asked);
        members.iter().map(|(id, _, _)| ((*id).clone(), known.parts(found.remove(&*id.0).unwrap_or_default()))).collect()
    }
}

/// The topics that members want and that are there.
struct Known {
    counts: BTreeMap<Topic, u32>,
    ids: BTreeMap<Topic, Uuid>,
    names: BTreeMap<Uuid, Topic>,
}

impl Known {
    fn of<'a>(wanted: impl Iterator<Item = &'a String>, topics: &dyn Topics) -> Self {
        let mut known = Self { counts: BTreeMap::new(), ids: BTreeMap::new(), names: BTreeMap::new() };
        for name in wanted.collect::<BTreeSet<_>>() {
            let Some((id, count)) = topics.by_name(name) else { continue };
            let topic = Topic::from(name.as_str());
            known.counts.insert(Topic::clone(&topic), u32::try_from(count).unwrap_or(0));
            known.ids.insert(Topic::clone(&topic), id);
            known.names.insert(id, topic);
        }
        known
    }

    fn member(&self, subscription: &Subscription, before: Option<&Parts>) -> Member {
        let wanted = subscription.topics.iter().filter_map(|name| self.ids.get_key_value(name.as_str()));
        // A topic that was deleted and made again is another one: nobody has had anything of it.
        let had = before.into_iter().flatten().filter_map(|(id, indexes)| self.names.get(id).map(|topic| (topic, indexes)));
        let part = |topic: &Topic, partition| TopicPartition { topic: Topic::clone(topic), partition };
        Member {
            topics: wanted.map(|(topic, _)| Topic::clone(topic)).collect(),
            instance: subscription.instance.clone(),
            owned: had.flat_map(|(topic, indexes)| indexes.iter().map(move |index| part(topic, *index))).collect(),
            // Their last targets are of one assignment, so no claim is older than another.
            generation: 0,
        }
    }

    fn parts(&self, assigned: Vec<TopicPartition>) -> Parts {
        let mut parts = Parts::new();
        for TopicPartition { topic, partition } in assigned {
            parts.entry(self.ids[&topic]).or_default().insert(partition);
        }
        parts
    }
}

/// A number that differs, most likely, when one of these topics comes, goes, grows or is made anew: FNV-1a over their names, ids and sizes, and 0 for
/// none. Kafka has another function here; all that counts is that it changes when they do.
#[must_use]
pub(super) fn metadata_hash<'a>(wanted: impl IntoIterator<Item = &'a str>, topics: &dyn Topics) -> i64 {
    let wanted: BTreeSet<&str> = wanted.into_iter().collect();
    let found: Vec<_> = wanted.into_iter().filter_map(|name| topics.by_name(name).map(|topic| (name, topic))).collect();
    if found.is_empty() {
        return 0;
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (name, (id, count)) in found {
        let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
        for byte in length.iter().chain(name.as_bytes()).chain(&id.0).chain(&count.to_be_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash.cast_signed()
}
