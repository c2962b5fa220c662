//! A plan under way: the image with what the plan has decided so far, so that its later parts see the earlier ones.

use super::change::{self, Election, Rules, Target};
use super::image::{Image, Partition, Registration, Resource};
use super::plan::Planner;
use super::record::Record;
use crate::config::{BrokerConfig, Value, topic};
use crate::id::{BrokerId, Uuid};
use crate::partition::PartitionId;
use std::collections::BTreeMap;

/// Directories that mean something else than a directory (Kafka's `DirectoryId`).
pub mod directory {
    use crate::id::Uuid;

    /// The replica lies in a directory that nobody has told.
    pub const MIGRATING: Uuid = Uuid::ZERO;
    /// The replica's broker has not chosen one yet.
    pub const UNASSIGNED: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    /// The replica lies in a directory that failed.
    pub const LOST: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

    /// Whether no directory may have this identity.
    #[must_use]
    pub fn is_reserved(id: Uuid) -> bool {
        id.0[..15] == [0; 15] && id.0[15] < 100
    }
}

/// What holds for the partitions of one topic.
#[derive(Clone, Copy, Debug)]
struct TopicRules {
    min_isr: usize,
    is_unclean: bool,
}

/// Records, and what they make of the image.
pub(super) struct Draft<'a> {
    image: &'a Image,
    config: &'a BrokerConfig,
    records: Vec<Record>,
    partitions: BTreeMap<PartitionId, Partition>,
    brokers: BTreeMap<BrokerId, Registration>,
    rules: BTreeMap<Uuid, TopicRules>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(planner: &Planner<'a>) -> Self {
        let (partitions, brokers, rules) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { image: planner.image, config: planner.config, records: Vec::new(), partitions, brokers, rules }
    }

    pub(super) fn image(&self) -> &'a Image {
        self.image
    }

    /// A partition as the plan leaves it.
    pub(super) fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(&id).or_else(|| self.image.partition(id))
    }

    /// A broker as the plan leaves it.
    pub(super) fn broker(&self, id: BrokerId) -> Option<&Registration> {
        self.brokers.get(&id).or_else(|| self.image.brokers().get(&id))
    }

    /// From here on `broker` counts as `registration`. Its own record is pushed by the caller, where the log needs it.
    pub(super) fn count_as(&mut self, broker: BrokerId, registration: Registration) {
        self.brokers.insert(broker, registration);
    }

    /// Adds a record that changes no partition.
    pub(super) fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn finish(self) -> Vec<Record> {
        self.records
    }

    /// How far an election may go that nobody asked for.
    pub(super) fn election(&mut self, topic: Uuid) -> Election {
        if self.rules_of(topic).is_unclean { Election::Unclean } else { Election::Online }
    }

    /// Brings a partition nearer to its target. Answers whether anything changed.
    pub(super) fn change(&mut self, id: PartitionId, target: Target) -> bool {
        let rules = self.rules_of(id.topic);
        let Some(partition) = self.partition(id) else { return false };
        let may_lead = |broker| self.may_lead(partition, &target, broker);
        let directory = |broker| self.directory(broker);
        let rules = Rules { may_lead: &may_lead, directory: &directory, min_isr: rules.min_isr, has_elr: self.image.has_elr() };
        let Some(record) = change::change(id, partition, target.clone(), &rules) else { return false };
        let after = partition.changed(&record);
        self.partitions.insert(id, after);
        self.records.push(Record::PartitionChange(record));
        true
    }

    /// Whether `broker` is alive, not on its way down, and has the directory where its replica lies.
    fn may_lead(&self, partition: &Partition, target: &Target, broker: BrokerId) -> bool {
        let Some(registration) = self.broker(broker) else { return false };
        let lies = match target.moved {
            Some((moved, to)) if moved == broker => Some(to),
            Some(_) | None => partition.directory(broker),
        };
        registration.may_lead(lies)
    }

    /// Where a new replica lies: a broker with one directory has no choice, one with several says later what it chose.
    pub(super) fn directory(&self, broker: BrokerId) -> Uuid {
        new_directory(self.broker(broker))
    }

    /// `min.insync.replicas` of a topic, as configured.
    pub(super) fn min_isr(&mut self, topic: Uuid) -> usize {
        self.rules_of(topic).min_isr
    }

    fn rules_of(&mut self, topic: Uuid) -> TopicRules {
        if let Some(known) = self.rules.get(&topic) {
            return *known;
        }
        let rules = topic_rules(self.image, self.config, topic);
        self.rules.insert(topic, rules);
        rules
    }
}

/// Where a new replica on the broker lies.
pub(super) fn new_directory(broker: Option<&Registration>) -> Uuid {
    match broker.map(|b| b.directories.as_slice()) {
        Some([only]) => *only,
        Some([]) => directory::MIGRATING,
        Some(_) | None => directory::UNASSIGNED,
    }
}

fn topic_rules(image: &Image, config: &BrokerConfig, topic: Uuid) -> TopicRules {
    let none = crate::config::Properties::new();
    let own = image.topic_by_id(topic).map_or(&none, |topic| image.properties(&Resource::topic(&topic.name)));
    let effective = |name| topic::key(name).and_then(|key| key.effective(own, image.layers(config)).0);
    let min_isr = match effective("min.insync.replicas") {
        Some(Value::Number(min)) => usize::try_from(min).unwrap_or(1),
        Some(Value::Flag(_) | Value::Ratio(_) | Value::Text(_) | Value::List(_)) | None => 1,
    };
    TopicRules { min_isr, is_unclean: effective("unclean.leader.election.enable") == Some(Value::Flag(true)) }
}
