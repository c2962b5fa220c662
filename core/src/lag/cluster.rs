//! What was seen of one cluster: topics and their ends, groups, their commits and members.
//!
//! Holds: a group has partitions only of topics that are known, none beyond their partitions; who has not committed for `expire` is forgotten.

use super::curve::{Curve, TimeLag};
use super::window::{Commit, NewCommit, Place, Window};
use crate::client::{Topic, TopicPartition};
use crate::id::{Offset, PartitionIndex};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A group that so many looks have missed is gone.
const MISSED_MAX: u32 = 3;

/// How consumers are judged, in Burrow's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `intervals`: how many commits a window holds, and how many ends are remembered.
    pub intervals: usize,
    /// `min-distance`: commits closer than this count as one.
    pub min_distance: Duration,
    /// `expire-group`: older commits, and groups without a younger one, are forgotten.
    pub expire: Duration,
    /// `allowed-lag`: so many messages behind is not behind.
    pub allowed_lag: u64,
    /// `minimum-complete`: below this share of a full window a partition is not judged.
    pub minimum_complete: f32,
}

impl Default for Settings {
    /// Burrow's own.
    fn default() -> Self {
        Self { intervals: 10, min_distance: Duration::ZERO, expire: Duration::from_secs(604_800), allowed_lag: 0, minimum_complete: 0.0 }
    }
}

/// Which member of a group has a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its host.
    pub host: String,
    /// What its client calls itself.
    pub client_id: String,
}

/// What was seen of one cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    settings: Settings,
    topics: BTreeMap<Topic, Watched>,
    groups: BTreeMap<String, Group>,
    /// Gives commits an order that have none of their own.
    pub(super) looks: i64,
}

/// A topic.
#[derive(Clone, Debug, Default)]
struct Watched {
    partitions: usize,
    ends: BTreeMap<PartitionIndex, Ends>,
}

/// Where a partition's log ended.
#[derive(Clone, Debug, Default)]
struct Ends {
    /// The last ones, the newest last; Burrow's ring.
    recent: Vec<Offset>,
    curve: Curve,
}

/// A group.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) parts: BTreeMap<Topic, BTreeMap<PartitionIndex, Consumed>>,
    /// When the newest commit was made; `None` before the first.
    pub(super) last_commit: Option<Timestamp>,
    /// How often in a row it was not told of.
    missed: u32,
}

/// A partition as one group consumes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumed {
    pub(super) window: Option<Window>,
    pub(super) owner: Option<Owner>,
}

impl Consumed {
    /// The commits in its window.
    pub(super) fn commits(&self) -> &[Commit] {
        self.window.as_ref().map_or(&[], Window::commits)
    }
}

impl Cluster {
    /// A cluster of which nothing has been seen.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, topics: BTreeMap::new(), groups: BTreeMap::new(), looks: 0 }
    }

    /// These are all topics there are, and how many partitions each has (`None` where that is not told now). What is known of others is
    /// forgotten, their commits too.
    pub fn saw_topics(&mut self, topics: &BTreeMap<Topic, Option<usize>>) {
        self.topics.retain(|topic, _| topics.contains_key(topic));
        for (topic, partitions) in topics.iter().filter_map(|(topic, partitions)| Some((topic, (*partitions)?))) {
            let watched = self.topics.entry(topic.clone()).or_default();
            // A topic that was deleted and made anew may have fewer.
            watched.partitions = partitions;
            watched.ends.retain(|partition, _| is_within(*partition, partitions));
        }
        for group in self.groups.values_mut() {
            group.parts.retain(|topic, _| topics.contains_key(topic));
            for (topic, parts) in &mut group.parts {
                parts.retain(|partition, _| topics[topic].is_none_or(|partitions| is_within(*partition, partitions)));
            }
        }
    }

    /// A partition's log ends at `end`.
    pub fn saw_end(&mut self, now: Timestamp, part: &TopicPartition, end: Offset) {
        let Some(watched) = self.topics.get_mut(&part.topic) else { return };
        if end < Offset::ZERO || !is_within(part.partition, watched.partitions) {
            return;
        }
        let ends = watched.ends.entry(part.partition).or_default();
        if ends.recent.len() >= self.settings.intervals.max(1) {
            ends.recent.remove(0);
        }
        ends.recent.push(end);
        ends.curve.add(now, end);
    }

    /// A group committed. Nothing is made of it when it is too old, or the partition's end is not known yet.
    pub fn saw_commit(&mut self, now: Timestamp, group: &str, part: &TopicPartition, new: NewCommit) {
        let Some(watched) = self.topics.get(&part.topic) else { return };
        let Some(end) = watched.ends.get(&part.partition).and_then(|ends| ends.recent.last()).copied() else { return };
        if self.is_expired(new.at, now) || new.offset < Offset::ZERO {
            return;
        }
        let group = self.groups.entry(group.to_owned()).or_default();
        let parts = group.parts.entry(part.topic.clone()).or_default();
        if !parts.contains_key(&part.partition) {
            // As in Burrow, who commits one partition of a topic is expected to commit all.
            for n in (0_i32..).take(watched.partitions) {
                parts.entry(PartitionIndex(n)).or_default();
            }
        }
        let consumed = parts.entry(part.partition).or_default();
        let window = consumed.window.get_or_insert_with(|| Window::new(self.settings.intervals));
        if window.add(new, end, now, self.settings.min_distance) == Place::Newest {
            group.last_commit = Some(new.at);
        }
    }

    /// Which members a group has now, and what they own. Partitions of topics that are not known yet are left out.
    pub fn saw_owners(&mut self, group: &str, owners: &BTreeMap<TopicPartition, Owner>) {
        let group = self.groups.entry(group.to_owned()).or_default();
        group.parts.values_mut().flat_map(BTreeMap::values_mut).for_each(|consumed| consumed.owner = None);
        for (part, owner) in owners {
            if self.topics.get(&part.topic).is_some_and(|watched| is_within(part.partition, watched.partitions)) {
                group.parts.entry(part.topic.clone()).or_default().entry(part.partition).or_default().owner = Some(owner.clone());
            }
        }
    }

    /// These are all groups there are, as far as anybody tells. What is not told of several times in a row is forgotten: once is not enough,
    /// for a group whose coordinator is moving is told of by none.
    pub(super) fn saw_groups<T>(&mut self, groups: &BTreeMap<String, T>) {
        for (name, group) in &mut self.groups {
            group.missed = if groups.contains_key(name) { 0 } else { group.missed + 1 };
        }
        self.groups.retain(|_, group| group.missed < MISSED_MAX);
    }

    /// Forgets a group, or what it does with one topic; with its last topic the group.
    pub fn forget_group(&mut self, name: &str, topic: Option<&str>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if let Some(topic) = topic {
            group.parts.remove(topic);
        }
        if topic.is_none() || group.parts.is_empty() {
            self.groups.remove(name);
        }
    }

    /// Forgets groups that have not committed for long. Those that never did stay while they exist.
    pub fn expire(&mut self, now: Timestamp) {
        let settings = self.settings.clone();
        self.groups.retain(|_, group| group.last_commit.is_none_or(|at| !is_older(at, now, settings.expire)));
    }

    /// The topics.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.keys()
    }

    /// The newest ends of a topic's partitions, in order; of those that are known. `None` for a topic that is not.
    #[must_use]
    pub fn ends(&self, topic: &str) -> Option<Vec<(PartitionIndex, Offset)>> {
        let newest = |(partition, ends): (&PartitionIndex, &Ends)| Some((*partition, *ends.recent.last()?));
        Some(self.topics.get(topic)?.ends.iter().filter_map(newest).collect())
    }

    /// The groups that have committed.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().filter(|(_, group)| group.last_commit.is_some()).map(|(name, _)| name.as_str())
    }

    /// The groups that exist and have never committed: their lag is what their consumers will make of it.
    pub fn silent_groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().filter(|(_, group)| group.last_commit.is_none()).map(|(name, _)| name.as_str())
    }

    /// The groups that consume a topic.
    pub fn groups_of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a str> {
        let consumes = |group: &Group| group.last_commit.is_some() && group.parts.contains_key(topic);
        self.groups.iter().filter(move |(_, group)| consumes(group)).map(|(name, _)| name.as_str())
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    pub(super) fn group_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// A group that has committed and has not expired.
    pub(super) fn live_group(&self, name: &str, now: Timestamp) -> Option<&Group> {
        self.group(name).filter(|group| group.last_commit.is_some_and(|at| !self.is_expired(at, now)))
    }

    /// The last ends of a partition, the newest last.
    pub(super) fn recent_ends(&self, part: &TopicPartition) -> &[Offset] {
        self.ends_of(part).map_or(&[], |ends| &ends.recent)
    }

    /// How far behind in time who has committed `offset` is.
    pub(super) fn time_lag(&self, part: &TopicPartition, offset: Offset, now: Timestamp) -> Option<TimeLag> {
        self.ends_of(part)?.curve.time_lag(offset, now)
    }

    fn ends_of(&self, part: &TopicPartition) -> Option<&Ends> {
        self.topics.get(&part.topic)?.ends.get(&part.partition)
    }

    fn is_expired(&self, at: Timestamp, now: Timestamp) -> bool {
        is_older(at, now, self.settings.expire)
    }
}

impl Group {
    /// Its partitions, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = (TopicPartition, &Consumed)> {
        let part = |topic: &Topic, partition: &PartitionIndex| TopicPartition { topic: topic.clone(), partition: *partition };
        self.parts.iter().flat_map(move |(topic, parts)| parts.iter().map(move |(n, consumed)| (part(topic, n), consumed)))
    }
}

fn is_within(partition: PartitionIndex, partitions: usize) -> bool {
    usize::try_from(partition.0).is_ok_and(|n| n < partitions)
}

/// Burrow counts the present in whole seconds.
fn is_older(at: Timestamp, now: Timestamp, expire: Duration) -> bool {
    let expire = i64::try_from(expire.as_millis()).unwrap_or(i64::MAX);
    at.0 < now.0.div_euclid(1000).saturating_mul(1000).saturating_sub(expire)
}
