//! The image in a snapshot (KIP-630): as records that make it anew, and back. And what one image changes in another.
//!
//! Source: Kafka's `MetadataImage.write`, in its order.

use super::image::{Change, Contradiction, Image, Registration, Resource, Topic};
use super::record::{self, Record};
use super::registration::ControllerRegistration;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex};
use crate::mutant;
use crate::time::Timestamp;
use crate::wire::batch::Batch;
use crate::wire::records::control::{self, ControlRecord, QuorumOf};
use crate::wire::records::metadata::{
    BrokerEndpoint, BrokerFeature, ConfigRecord, ControllerEndpoint, ControllerFeature, FeatureLevelRecord, PartitionRecord,
    ProducerIdsRecord, RegisterBrokerRecord, RegisterControllerRecord, TopicRecord,
};
use bytes::Bytes;

/// So many records go into one batch.
const BATCH_RECORDS: usize = 500;

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contents {
    /// The time of the last record that it stands for.
    pub time: Timestamp,
    /// What it says of the quorum.
    pub quorum: QuorumOf,
    /// What it says of the cluster.
    pub image: Image,
}

/// A snapshot's bytes; `epoch` is that of the last record that it stands for.
#[must_use]
pub fn encode(image: &Image, quorum: &QuorumOf, epoch: LeaderEpoch, time: Timestamp) -> Bytes {
    let mut records = image.records();
    if mutant!(SnapshotForgetsIds) {
        records.retain(|record| !matches!(record, Record::ProducerIds(_)));
    }
    control::checkpoint(quorum, epoch, time, records.chunks(BATCH_RECORDS).map(|records| record::batch(records, time)))
}

/// Reads a snapshot.
///
/// # Errors
/// It is damaged or cut short, or its records contradict each other.
pub fn decode(snapshot: &Bytes) -> Result<Contents, String> {
    let quorum = control::quorum_of(snapshot).map_err(|why| format!("{why:?}"))?;
    let mut contents = Contents { quorum, ..Contents::default() };
    for batch in Batch::all(snapshot).map_err(|why| format!("{why:?}"))? {
        if batch.header().is_control() {
            for known in ControlRecord::all(&batch).map_err(|why| format!("{why:?}"))? {
                if let ControlRecord::SnapshotHeader(header) = known {
                    contents.time = header.last_contained_log_timestamp;
                }
            }
        }
        for (at, record) in record::read(&batch)? {
            contents.image.replay(&record).map_err(|Contradiction(why)| format!("at offset {at}: {why}"))?;
        }
    }
    Ok(contents)
}

impl Image {
    /// Records whose replay makes this image.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let level = |(name, level): (&String, &i16)| FeatureLevelRecord { name: name.clone(), feature_level: *level };
        let features = self.features().iter().map(level).map(Record::FeatureLevel);
        let brokers = self.brokers().iter().flat_map(|(id, broker)| broker_records(*id, broker)).map(Record::RegisterBroker);
        let controllers = self.controllers().iter().map(|(id, known)| Record::RegisterController(controller_record(*id, known)));
        let topics = self.topics().flat_map(topic_records);
        let configs = self.configured().flat_map(|resource| self.config_records(resource));
        let next_producer_id = self.next_producer_id();
        let ids = ProducerIdsRecord { broker_id: BrokerId(-1), broker_epoch: -1, next_producer_id };
        let ids = (next_producer_id.0 > 0).then_some(Record::ProducerIds(ids));
        features.chain(brokers).chain(controllers).chain(topics).chain(configs).chain(ids).collect()
    }

    fn config_records<'a>(&'a self, resource: &'a Resource) -> impl Iterator<Item = Record> + 'a {
        self.properties(resource).iter().map(|(name, value)| {
            Record::Config(ConfigRecord {
                resource_type: resource.kind.wire(),
                resource_name: resource.name.clone(),
                name: name.clone(),
                value: Some(value.clone()),
            })
        })
    }

    /// What changes for who acts on this image, when `next` takes its place.
    #[must_use]
    pub fn changes_to(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for topic in self.topics().filter(|topic| next.topic_by_id(topic.id).is_none()) {
            changes.push(Change::TopicDeleted { topic: topic.id, name: topic.name.clone() });
        }
        for topic in next.topics() {
            let before = self.topic_by_id(topic.id);
            if before.is_none() {
                changes.push(Change::TopicCreated { topic: topic.id });
            }
            changes.extend(topic.partitions.iter().filter_map(|(index, partition)| match before.and_then(|t| t.partitions.get(index)) {
                None => Some(Change::PartitionCreated { topic: topic.id, index: *index }),
                Some(known) => (known != partition).then_some(Change::PartitionChanged { topic: topic.id, index: *index }),
            }));
        }
        let unlike = |resource: &&Resource| self.properties(resource) != next.properties(resource);
        let mut unlike: Vec<&Resource> = self.configured().chain(next.configured()).filter(unlike).collect();
        unlike.sort_unstable();
        unlike.dedup();
        changes.extend(unlike.into_iter().map(|resource| Change::Configured { resource: resource.clone() }));
        // Something else may differ, for which it is enough to know that.
        changes.push(Change::Other);
        changes
    }
}

/// A fenced broker may have served under an earlier registration, which must not be forgotten: it is told first.
fn broker_records(id: BrokerId, broker: &Registration) -> impl Iterator<Item = RegisterBrokerRecord> {
    let record = broker_record(id, broker);
    let served = broker.last_served.filter(|_| broker.is_fenced);
    let served = served.map(|epoch| RegisterBrokerRecord { broker_epoch: epoch, fenced: false, ..record.clone() });
    served.into_iter().chain([record])
}

fn broker_record(id: BrokerId, broker: &Registration) -> RegisterBrokerRecord {
    let endpoint = |(name, host, port, security): &(String, String, u16, i16)| BrokerEndpoint {
        name: name.clone(),
        host: host.clone(),
        port: *port,
        security_protocol: *security,
    };
    let feature = |(name, (min, max)): (&String, &(i16, i16))| BrokerFeature {
        name: name.clone(),
        min_supported_version: *min,
        max_supported_version: *max,
    };
    RegisterBrokerRecord {
        broker_id: id,
        incarnation_id: broker.incarnation,
        broker_epoch: broker.epoch,
        end_points: broker.endpoints.iter().map(endpoint).collect(),
        features: broker.features.iter().map(feature).collect(),
        rack: broker.rack.clone(),
        fenced: broker.is_fenced,
        in_controlled_shutdown: broker.is_stopping,
        log_dirs: broker.directories.clone(),
        ..Default::default()
    }
}

fn controller_record(id: BrokerId, controller: &ControllerRegistration) -> RegisterControllerRecord {
    let endpoint = |(name, host, port, security): &(String, String, u16, i16)| ControllerEndpoint {
        name: name.clone(),
        host: host.clone(),
        port: *port,
        security_protocol: *security,
    };
    let feature = |(name, (min, max)): (&String, &(i16, i16))| ControllerFeature {
        name: name.clone(),
        min_supported_version: *min,
        max_supported_version: *max,
    };
    RegisterControllerRecord {
        controller_id: id,
        incarnation_id: controller.incarnation,
        zk_migration_ready: false,
        end_points: controller.endpoints.iter().map(endpoint).collect(),
        features: controller.features.iter().map(feature).collect(),
    }
}

fn topic_records(topic: &Topic) -> impl Iterator<Item = Record> + '_ {
    let first = Record::Topic(TopicRecord { name: topic.name.to_string(), topic_id: topic.id });
    let partition =
        |(index, partition): (&PartitionIndex, &super::image::Partition)| Record::Partition(partition_record(topic, *index, partition));
    std::iter::once(first).chain(topic.partitions.iter().map(partition))
}

fn partition_record(topic: &Topic, index: PartitionIndex, partition: &super::image::Partition) -> PartitionRecord {
    let some = |brokers: &Vec<BrokerId>| (!brokers.is_empty()).then(|| brokers.clone());
    PartitionRecord {
        partition_id: index,
        topic_id: topic.id,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        removing_replicas: partition.removing.clone(),
        adding_replicas: partition.adding.clone(),
        leader: partition.leader.unwrap_or(BrokerId(-1)),
        leader_recovery_state: i8::from(partition.is_recovering),
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        directories: partition.directories.clone(),
        eligible_leader_replicas: some(&partition.elr),
        last_known_elr: some(&partition.last_known_elr),
    }
}
