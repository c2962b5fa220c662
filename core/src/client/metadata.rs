//! What a client knows of the cluster: brokers, topics, partition leaders and their epochs.
//!
//! Never asks: when to refresh is decided here, whom to ask in `cluster.rs`. Older news of a leader never replaces newer ones (KIP-320).

use std::collections::{BTreeMap, BTreeSet};

use super::io::{Address, Backoff};
use super::{Topic, TopicPartition};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::probe;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::api::metadata::{MetadataResponse, MetadataResponseTopic};

/// One partition, as last heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionInfo {
    /// Its leader, if it has one.
    pub(super) leader: Option<BrokerId>,
    /// The leadership that this is; −1 from brokers too old to say.
    pub(super) epoch: LeaderEpoch,
}

/// One topic, as last heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopicInfo {
    /// Its id; zero from brokers too old to say.
    pub(super) id: Uuid,
    /// Its partitions, from 0.
    pub(super) partitions: Vec<PartitionInfo>,
    /// Those with a leader, ascending.
    pub(super) available: Vec<PartitionIndex>,
}

/// Everything a client has heard of the cluster, and when it wants to hear again.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    brokers: BTreeMap<BrokerId, Address>,
    topics: BTreeMap<Topic, TopicInfo>,
    /// The topics asked for, and why there is no news of them, if there is none.
    wanted: BTreeMap<Topic, Option<ErrorCode>>,
    /// When to ask next.
    due: Instant,
    /// Not to be asked before, whatever happens.
    not_before: Instant,
    failures: u32,
}

impl Metadata {
    pub(super) fn new() -> Self {
        Self {
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            wanted: BTreeMap::new(),
            due: Instant::default(),
            not_before: Instant::default(),
            failures: 0,
        }
    }

    pub(super) fn brokers(&self) -> &BTreeMap<BrokerId, Address> {
        &self.brokers
    }

    pub(super) fn topic(&self, topic: &str) -> Option<&TopicInfo> {
        self.topics.get(topic)
    }

    pub(super) fn partition(&self, part: &TopicPartition) -> Option<PartitionInfo> {
        let number = usize::try_from(part.partition.0).ok()?;
        self.topics.get(&part.topic)?.partitions.get(number).copied()
    }

    /// Who leads a partition, if that is known and it has a leader whose address is known.
    pub(super) fn leader(&self, part: &TopicPartition) -> Option<(BrokerId, LeaderEpoch)> {
        let info = self.partition(part)?;
        let leader = info.leader.filter(|leader| self.brokers.contains_key(leader))?;
        Some((leader, info.epoch))
    }

    /// A broker that was not known.
    pub(super) fn add_broker(&mut self, id: BrokerId, address: Address) {
        self.brokers.insert(id, address);
    }

    /// Who leads a partition by the word of a broker that does not. Whether that is news of a broker that is known.
    pub(super) fn told(&mut self, part: &TopicPartition, (leader, epoch): (BrokerId, LeaderEpoch)) -> bool {
        let (Some(topic), Ok(number)) = (self.topics.get_mut(&part.topic), usize::try_from(part.partition.0)) else { return false };
        let Some(known) = topic.partitions.get_mut(number).filter(|known| epoch > known.epoch && self.brokers.contains_key(&leader)) else {
            return false;
        };
        *known = PartitionInfo { leader: Some(leader), epoch };
        topic.find_available();
        true
    }

    /// Why the last answer did not tell of a topic. `None` while there is an answer, or none was given yet.
    pub(super) fn trouble(&self, topic: &str) -> Option<ErrorCode> {
        self.wanted.get(topic).copied().flatten()
    }

    pub(super) fn wanted(&self) -> impl Iterator<Item = &Topic> {
        self.wanted.keys()
    }

    /// Asks for a topic from now on.
    pub(super) fn want(&mut self, topic: &Topic) {
        if !self.wanted.contains_key(topic) {
            self.wanted.insert(Topic::clone(topic), None);
            self.due = Instant::default();
        }
    }

    /// Asks for these topics and no others.
    pub(super) fn want_only(&mut self, topics: &BTreeSet<Topic>) {
        self.wanted.retain(|topic, _| topics.contains(topic));
        self.topics.retain(|topic, _| topics.contains(topic));
        for topic in topics {
            self.want(topic);
        }
    }

    /// Something turned out to be out of date: ask as soon as the back-off allows.
    pub(super) fn invalidate(&mut self) {
        self.due = Instant::default();
    }

    /// When to ask next.
    pub(super) fn due(&self) -> Instant {
        self.due.max(self.not_before)
    }

    /// The request failed.
    pub(super) fn failed(&mut self, now: Instant, backoff: Backoff, rng: &mut Rng) {
        self.failures += 1;
        self.due = Instant::default();
        self.not_before = now.after(backoff.after(self.failures, rng));
    }

    /// Takes in an answer. Topics that were asked for and are not in it stay as they were.
    pub(super) fn apply(&mut self, now: Instant, next: Instant, backoff: Backoff, rng: &mut Rng, response: &MetadataResponse) {
        if !response.brokers.is_empty() {
            let address = |host: &str, port: i32| Address { host: host.to_owned(), port: u16::try_from(port).unwrap_or(0) };
            self.brokers = response.brokers.iter().map(|b| (b.node_id, address(&b.host, b.port))).collect();
        }
        for topic in &response.topics {
            self.apply_topic(topic);
        }
        let leaderless = |topic: &TopicInfo| topic.available.len() < topic.partitions.len();
        let incomplete = self.wanted.keys().any(|topic| self.topics.get(topic).is_none_or(leaderless));
        if incomplete || self.brokers.is_empty() {
            probe!("client: metadata is incomplete and asked for again");
            self.failed(now, backoff, rng);
        } else {
            self.failures = 0;
            self.not_before = now.after(backoff.after(1, rng));
            self.due = next;
        }
    }

    fn apply_topic(&mut self, heard: &MetadataResponseTopic) {
        let Some(name) = heard.name.as_deref() else { return };
        let Some(topic) = self.wanted.get_key_value(name).map(|(topic, _)| Topic::clone(topic)) else { return };
        let trouble = Some(heard.error_code).filter(|error| *error != ErrorCode::NONE);
        self.wanted.insert(Topic::clone(&topic), trouble);
        match trouble {
            None => {
                let known = self.topics.entry(topic).or_default();
                known.hear(heard);
            }
            // Deleted, or not created yet, or not for us: what was known no longer holds.
            Some(_) => {
                self.topics.remove(&topic);
            }
        }
    }
}

impl TopicInfo {
    fn hear(&mut self, heard: &MetadataResponseTopic) {
        if self.id != heard.topic_id {
            probe!("client: a topic was made anew, or is first heard of");
            *self = Self { id: heard.topic_id, ..Self::default() };
        }
        for partition in &heard.partitions {
            let Ok(number) = usize::try_from(partition.partition_index.0) else { continue };
            // A broker's word does not make us allocate: partitions come in the response itself, so there are as many.
            if number >= heard.partitions.len().max(self.partitions.len()) {
                continue;
            }
            if number >= self.partitions.len() {
                self.partitions.resize(number + 1, PartitionInfo { leader: None, epoch: LeaderEpoch(-1) });
            }
            let news = PartitionInfo { leader: Some(partition.leader_id).filter(|leader| leader.0 >= 0), epoch: partition.leader_epoch };
            let known = &mut self.partitions[number];
            if news.epoch.0 < 0 || news.epoch >= known.epoch {
                *known = news;
            } else {
                probe!("client: metadata tells of an older leader than the one known");
            }
        }
        self.find_available();
    }

    fn find_available(&mut self) {
        self.available =
            (0..).map(PartitionIndex).zip(&self.partitions).filter(|(_, info)| info.leader.is_some()).map(|(p, _)| p).collect();
    }
}
