//! Plans that no client asks for: the first records of a cluster, a broker's registration, and blocks of producer ids.

use super::plan::{Plan, Planner};
use super::record::Record;
use crate::config::BrokerConfig;
use crate::id::{BrokerId, Offset, ProducerId, Uuid};
use crate::wire::records::metadata::{BrokerEndpoint, FeatureLevelRecord, ProducerIdsRecord, RegisterBrokerRecord};
use rand::Rng as _;

/// The metadata level that klamm's records have: Kafka's 4.3-IV0.
pub const METADATA_VERSION: i16 = 30;
/// The lowest metadata level that klamm reads: 3.3-IV3, as Kafka 4.
pub const METADATA_VERSION_MIN: i16 = 7;
/// Producer ids in a block (Kafka's `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_ID_BLOCK: i64 = 1000;

impl Planner<'_> {
    /// What a controller writes before anything else: the features, if nobody has, and its own broker's registration.
    /// `at` is where the records will stand: a registration's epoch is its offset.
    pub fn start(&mut self, at: Offset) -> Vec<Record> {
        let mut records = Vec::new();
        if self.image.features().is_empty() {
            let level = FeatureLevelRecord { name: "metadata.version".to_owned(), feature_level: METADATA_VERSION };
            records.push(Record::FeatureLevel(level));
        }
        let epoch = at.plus(i64::try_from(records.len()).expect("one at most"));
        records.push(Record::RegisterBroker(registration(self.config, Uuid(self.rng.random()), epoch.0)));
        records
    }

    /// The next block of producer ids, for `broker`: given out only when the record is committed, so never twice.
    pub fn producer_ids(&mut self, broker: BrokerId) -> Plan<(ProducerId, ProducerId)> {
        let first = self.image.next_producer_id();
        let next = ProducerId(first.0.checked_add(PRODUCER_ID_BLOCK).expect("2^63 producer ids are never used up"));
        let broker_epoch = self.image.brokers().get(&broker).map_or(-1, |b| b.epoch);
        let record = ProducerIdsRecord { broker_id: broker, broker_epoch, next_producer_id: next };
        Plan { records: vec![Record::ProducerIds(record)], response: (first, next) }
    }
}

fn registration(config: &BrokerConfig, incarnation: Uuid, epoch: i64) -> RegisterBrokerRecord {
    let endpoint = |e: &crate::config::Endpoint| BrokerEndpoint {
        name: e.name.clone(),
        host: e.host.clone(),
        port: e.port,
        security_protocol: e.security,
    };
    RegisterBrokerRecord {
        broker_id: config.id,
        incarnation_id: incarnation,
        broker_epoch: epoch,
        end_points: config.endpoints.iter().map(endpoint).collect(),
        rack: config.rack.clone(),
        // One node is its own controller: nobody has to hear from it first.
        fenced: false,
        log_dirs: config.dirs.iter().map(|dir| dir.id).filter(|id| *id != Uuid::ZERO).collect(),
        ..Default::default()
    }
}
