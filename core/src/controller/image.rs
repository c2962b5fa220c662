//! The metadata image: the fold of the metadata log's records. Who holds the same records holds the same image.
//!
//! Decides nothing, and trusts nothing: a record that does not fit what came before it is a contradiction, not a guess.
//! Source: Kafka's `MetadataImage` and its delta (KIP-631, KIP-966).

use super::features::MIN_ISR;
use super::index::Index;
use super::record::Record;
use crate::config::{BrokerConfig, Layers, Properties, TopicConfig};
use crate::id::{BrokerId, PartitionIndex, ProducerId, Uuid};
use crate::partition::PartitionId;
use crate::wire::records::metadata::{
    BrokerRegistrationChangeRecord, ConfigRecord, PartitionChangeRecord, PartitionRecord, RegisterBrokerRecord, RegisterControllerRecord,
    TopicRecord, UnregisterBrokerRecord,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use super::partition::Partition;
pub use super::registration::{ControllerRegistration, Registration};
pub use super::resource::{Resource, ResourceKind};

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Its identity.
    pub id: Uuid,
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions; numbered from 0 without a gap.
    pub partitions: BTreeMap<PartitionIndex, Partition>,
}

/// The feature that says whether a cluster keeps eligible leader replicas.
pub const ELR_FEATURE: &str = "eligible.leader.replicas.version";

/// The feature that says whether a cluster has consumer groups (KIP-848).
pub const GROUP_FEATURE: &str = "group.version";

/// All metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Image {
    topics: BTreeMap<Uuid, Topic>,
    names: BTreeMap<Arc<str>, Uuid>,
    configs: BTreeMap<Resource, Properties>,
    brokers: BTreeMap<BrokerId, Registration>,
    controllers: BTreeMap<BrokerId, ControllerRegistration>,
    features: BTreeMap<String, i16>,
    next_producer_id: i64,
    index: Index,
}

/// What a record changed, for who acts on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A topic is there; its partitions follow.
    TopicCreated {
        /// Which.
        topic: Uuid,
    },
    /// A topic is gone, with its partitions and configuration.
    TopicDeleted {
        /// Which.
        topic: Uuid,
        /// What it was called.
        name: Arc<str>,
    },
    /// A partition is there.
    PartitionCreated {
        /// Of which topic.
        topic: Uuid,
        /// Which.
        index: PartitionIndex,
    },
    /// A partition's leader, ISR or replicas changed.
    PartitionChanged {
        /// Of which topic.
        topic: Uuid,
        /// Which.
        index: PartitionIndex,
    },
    /// Nobody is eligible any more beside the ISRs of these partitions, whose epochs have moved.
    ElrCleared {
        /// Which, by the ids of their topics.
        partitions: Vec<(Uuid, PartitionIndex)>,
    },
    /// A setting changed.
    Configured {
        /// Of what.
        resource: Resource,
    },
    /// Something else: brokers, features, producer ids.
    Other,
}

/// A record that does not fit what came before it: the log is not one that a controller wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction(pub String);

impl Image {
    /// The topic called `name`.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.names.get(name).and_then(|id| self.topics.get(id))
    }

    /// The topic `id`.
    #[must_use]
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.names.values().map(|id| self.topics.get(id).expect("each name has its topic"))
    }

    /// Every topic from `name` on, by name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Topic> {
        let from = (std::ops::Bound::Included(name), std::ops::Bound::Unbounded);
        self.names.range::<str, _>(from).map(|(_, id)| self.topics.get(id).expect("each name has its topic"))
    }

    /// How many topics, configured resources and brokers there are, and the next producer id: a quick look whether two images may be the same.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize, i64) {
        (self.topics.len(), self.configs.len(), self.brokers.len(), self.next_producer_id)
    }

    /// What was set for `resource`.
    #[must_use]
    pub fn properties(&self, resource: &Resource) -> &Properties {
        static NONE: Properties = Properties::new();
        self.configs.get(resource).unwrap_or(&NONE)
    }

    /// Everything that has settings.
    pub fn configured(&self) -> impl Iterator<Item = &Resource> {
        self.configs.keys()
    }

    /// Every broker that ever registered and did not unregister.
    #[must_use]
    pub fn brokers(&self) -> &BTreeMap<BrokerId, Registration> {
        &self.brokers
    }

    /// Whether `broker` may lead and be given replicas.
    #[must_use]
    pub fn is_active(&self, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_some_and(Registration::is_active)
    }

    /// Every controller that registered.
    #[must_use]
    pub fn controllers(&self) -> &BTreeMap<BrokerId, ControllerRegistration> {
        &self.controllers
    }

    /// The partition `id`.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.topics.get(&id.topic).and_then(|topic| topic.partitions.get(&id.index))
    }

    /// Every partition that has a replica on `broker`.
    pub fn assigned(&self, broker: BrokerId) -> impl Iterator<Item = PartitionId> + '_ {
        self.index.assigned(broker)
    }

    /// Whether `broker` leads anything.
    #[must_use]
    pub fn leads(&self, broker: BrokerId) -> bool {
        self.index.leads(broker)
    }

    /// Every partition that nobody leads.
    #[must_use]
    pub fn leaderless(&self) -> &BTreeSet<PartitionId> {
        self.index.leaderless()
    }

    /// Every partition whose preferred replica does not lead.
    #[must_use]
    pub fn imbalanced(&self) -> &BTreeSet<PartitionId> {
        self.index.imbalanced()
    }

    /// Whether the cluster keeps eligible leader replicas (KIP-966).
    #[must_use]
    pub fn has_elr(&self) -> bool {
        self.features.get(ELR_FEATURE).is_some_and(|level| *level >= 1)
    }

    /// Whether the cluster has consumer groups (KIP-848).
    #[must_use]
    pub fn has_consumer_groups(&self) -> bool {
        self.features.get(GROUP_FEATURE).is_some_and(|level| *level >= 1)
    }

    /// What must hold of all metadata: for tests, since it reads everything.
    pub fn check_all(&self) {
        assert!(self.index == Index::recount(&self.topics), "the index and the partitions differ");
    }

    /// The finalized features and their levels.
    #[must_use]
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The first producer id that was never given out.
    #[must_use]
    pub fn next_producer_id(&self) -> ProducerId {
        ProducerId(self.next_producer_id)
    }

    /// The layers beneath a topic on the broker that `config` describes.
    #[must_use]
    pub fn layers<'a>(&'a self, config: &'a BrokerConfig) -> Layers<'a> {
        Layers {
            broker: self.properties(&Resource::broker(config.id)),
            cluster: self.properties(&Resource::all_brokers()),
            fixed: &config.fixed,
        }
    }

    /// What holds for the topic called `name` on the broker that `config` describes.
    #[must_use]
    pub fn topic_config(&self, name: &str, config: &BrokerConfig) -> TopicConfig {
        TopicConfig::new(self.properties(&Resource::topic(name)), self.layers(config))
    }

    /// Takes in one record.
    ///
    /// # Errors
    /// It does not fit; the image is as before.
    pub fn replay(&mut self, record: &Record) -> Result<Change, Contradiction> {
        match record {
            Record::RegisterBroker(record) => Ok(self.register(record)),
            Record::UnregisterBroker(record) => self.unregister(record),
            Record::BrokerRegistrationChange(record) => self.change_registration(record),
            Record::Topic(record) => self.create_topic(record),
            Record::RemoveTopic(record) => self.remove_topic(record.topic_id),
            Record::Partition(record) => self.create_partition(record),
            Record::PartitionChange(record) => self.change_partition(record),
            Record::Config(record) => self.configure(record),
            Record::ProducerIds(record) => self.give_producer_ids(record.next_producer_id),
            Record::FeatureLevel(record) => {
                match record.feature_level {
                    0 => drop(self.features.remove(&record.name)),
                    level => drop(self.features.insert(record.name.clone(), level)),
                }
                Ok(Change::Other)
            }
            Record::FenceBroker(record) => self.fence(record.id, record.epoch, true),
            Record::UnfenceBroker(record) => self.fence(record.id, record.epoch, false),
            Record::ClearElr(record) => Ok(self.clear_elr(&record.topic_name)),
            Record::BeginTransaction(_) | Record::EndTransaction(_) | Record::AbortTransaction(_) => {
                refuse("a transaction of metadata records, which klamm does not write".to_owned())
            }
            Record::RegisterController(record) => Ok(self.register_controller(record)),
            Record::NoOp(_) => Ok(Change::Other),
        }
    }

    fn register(&mut self, record: &RegisterBrokerRecord) -> Change {
        let endpoints = record.end_points.iter().map(|e| (e.name.clone(), e.host.clone(), e.port, e.security_protocol)).collect();
        let former = self.brokers.get(&record.broker_id).and_then(|former| former.last_served);
        let registration = Registration {
            incarnation: record.incarnation_id,
            epoch: record.broker_epoch,
            last_served: if record.fenced { former } else { Some(record.broker_epoch) },
            is_fenced: record.fenced,
            is_stopping: record.in_controlled_shutdown,
            rack: record.rack.clone(),
            endpoints,
            directories: record.log_dirs.clone(),
            features: record.features.iter().map(|f| (f.name.clone(), (f.min_supported_version, f.max_supported_version))).collect(),
        };
        self.brokers.insert(record.broker_id, registration);
        Change::Other
    }

    fn unregister(&mut self, record: &UnregisterBrokerRecord) -> Result<Change, Contradiction> {
        let id = record.broker_id;
        match self.brokers.get(&id).map(|b| b.epoch) {
            None => refuse(format!("broker {id} unregisters and was not registered")),
            Some(epoch) if epoch != record.broker_epoch => {
                refuse(format!("broker {id} unregisters under epoch {}, not {epoch}", record.broker_epoch))
            }
            Some(_) => {
                self.brokers.remove(&id);
                Ok(Change::Other)
            }
        }
    }

    fn register_controller(&mut self, record: &RegisterControllerRecord) -> Change {
        let registration = ControllerRegistration {
            incarnation: record.incarnation_id,
            endpoints: record.end_points.iter().map(|e| (e.name.clone(), e.host.clone(), e.port, e.security_protocol)).collect(),
            features: record.features.iter().map(|f| (f.name.clone(), (f.min_supported_version, f.max_supported_version))).collect(),
        };
        self.controllers.insert(record.controller_id, registration);
        Change::Other
    }

    fn change_registration(&mut self, record: &BrokerRegistrationChangeRecord) -> Result<Change, Contradiction> {
        let Some(broker) = self.brokers.get_mut(&record.broker_id) else {
            return refuse(format!("broker {} changes and is not registered", record.broker_id));
        };
        if broker.epoch != record.broker_epoch {
            return refuse(format!("broker {} changes under epoch {}, not {}", record.broker_id, record.broker_epoch, broker.epoch));
        }
        match record.fenced {
            -1 => (broker.is_fenced, broker.last_served) = (false, Some(broker.epoch)),
            1 => broker.is_fenced = true,
            _ => {}
        }
        broker.is_stopping |= record.in_controlled_shutdown == 1;
        if !record.log_dirs.is_empty() {
            broker.directories = record.log_dirs.clone();
        }
        Ok(Change::Other)
    }

    fn fence(&mut self, id: BrokerId, epoch: i64, fenced: bool) -> Result<Change, Contradiction> {
        let fenced = if fenced { 1 } else { -1 };
        self.change_registration(&BrokerRegistrationChangeRecord { broker_id: id, broker_epoch: epoch, fenced, ..Default::default() })
    }

    /// An empty name means every topic. Where too few are in sync by the minimum of now, or nobody, nothing is committed, so whoever is eligible still
    /// holds everything: should the others be lost, nobody else may lead.
    fn clear_elr(&mut self, name: &str) -> Change {
        let (mut partitions, has_elr) = (Vec::new(), self.has_elr());
        let of_all = self.configs.get(&Resource::all_brokers()).and_then(|properties| properties.get(MIN_ISR));
        for topic in self.topics.values_mut().filter(|t| name.is_empty() || &*t.name == name) {
            let own = self.configs.get(&Resource::topic(&topic.name)).and_then(|properties| properties.get(MIN_ISR));
            // Without ELR nobody keeps it.
            let min = own.or(of_all).and_then(|text| text.parse().ok()).filter(|_| has_elr).map(|min: usize| min.max(1));
            let is_frozen = |p: &Partition| min.is_some_and(|min| p.isr.len() < p.min_isr(min));
            let moving = topic.partitions.iter_mut().filter(|(_, p)| !is_frozen(p));
            for (index, partition) in moving.filter(|(_, p)| !p.elr.is_empty() || !p.last_known_elr.is_empty()) {
                partition.elr.clear();
                partition.last_known_elr.clear();
                // As if each had its own record: a leader that asks from before is out of date.
                partition.partition_epoch += 1;
                partitions.push((topic.id, *index));
            }
        }
        Change::ElrCleared { partitions }
    }

    fn create_topic(&mut self, record: &TopicRecord) -> Result<Change, Contradiction> {
        if self.names.contains_key(record.name.as_str()) || self.topics.contains_key(&record.topic_id) {
            return refuse(format!("topic {} ({}) is created and exists", record.name, record.topic_id));
        }
        let name: Arc<str> = record.name.as_str().into();
        self.names.insert(name.clone(), record.topic_id);
        self.topics.insert(record.topic_id, Topic { id: record.topic_id, name, partitions: BTreeMap::new() });
        Ok(Change::TopicCreated { topic: record.topic_id })
    }

    fn remove_topic(&mut self, id: Uuid) -> Result<Change, Contradiction> {
        let Some(topic) = self.topics.remove(&id) else {
            return refuse(format!("topic {id} is removed and does not exist"));
        };
        for (index, partition) in &topic.partitions {
            self.index.update(PartitionId { topic: id, index: *index }, Some(partition), None);
        }
        self.names.remove(&topic.name);
        self.configs.remove(&Resource::topic(&topic.name));
        Ok(Change::TopicDeleted { topic: id, name: topic.name })
    }

    fn create_partition(&mut self, record: &PartitionRecord) -> Result<Change, Contradiction> {
        let (id, index) = (record.topic_id, record.partition_id);
        let Some(topic) = self.topics.get_mut(&id) else {
            return refuse(format!("partition {index} of topic {id}, which does not exist"));
        };
        let partition = Partition::of(record);
        partition.check(&topic.name, index)?;
        self.index.update(PartitionId { topic: id, index }, topic.partitions.get(&index), Some(&partition));
        topic.partitions.insert(index, partition);
        Ok(Change::PartitionCreated { topic: id, index })
    }

    fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<Change, Contradiction> {
        let (id, index) = (record.topic_id, record.partition_id);
        let known = self.topics.get_mut(&id).and_then(|topic| topic.partitions.get_mut(&index).map(|p| (topic.name.clone(), p)));
        let Some((name, partition)) = known else {
            return refuse(format!("partition {index} of topic {id} changes and does not exist"));
        };
        let changed = partition.changed(record);
        changed.check(&name, index)?;
        self.index.update(PartitionId { topic: id, index }, Some(partition), Some(&changed));
        *partition = changed;
        Ok(Change::PartitionChanged { topic: id, index })
    }

    fn configure(&mut self, record: &ConfigRecord) -> Result<Change, Contradiction> {
        let Some(kind) = ResourceKind::of(record.resource_type) else {
            return refuse(format!("a setting of an unknown kind of resource, {}", record.resource_type));
        };
        let resource = Resource { kind, name: record.resource_name.clone() };
        let properties = self.configs.entry(resource.clone()).or_default();
        match &record.value {
            Some(value) => drop(properties.insert(record.name.clone(), value.clone())),
            None => drop(properties.remove(&record.name)),
        }
        if properties.is_empty() {
            self.configs.remove(&resource);
        }
        Ok(Change::Configured { resource })
    }

    fn give_producer_ids(&mut self, next: ProducerId) -> Result<Change, Contradiction> {
        if next.0 < self.next_producer_id {
            return refuse(format!("producer ids from {next} on, where {} was reached", self.next_producer_id));
        }
        self.next_producer_id = next.0;
        Ok(Change::Other)
    }
}

pub(super) fn refuse<T>(why: String) -> Result<T, Contradiction> {
    Err(Contradiction(why))
}
