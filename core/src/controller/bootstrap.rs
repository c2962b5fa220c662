//! Plans that no client asks for: the first records of a cluster, a broker's registration, and blocks of producer ids.

use super::features::SUPPORTED;
use super::plan::{Plan, Planner};
use super::record::Record;
use crate::config::BrokerConfig;
use crate::id::{BrokerId, Offset, ProducerId, Uuid};
use crate::wire::api::allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use crate::wire::records::metadata::{BrokerEndpoint, BrokerFeature, FeatureLevelRecord, ProducerIdsRecord, RegisterBrokerRecord};
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

    /// Answers AllocateProducerIds (KIP-730): the next block, for the broker that asks under its last registration.
    pub fn allocate_producer_ids(&mut self, request: &AllocateProducerIdsRequest) -> Plan<AllocateProducerIdsResponse> {
        if let Err(error_code) = self.check_broker_epoch(request.broker_id, request.broker_epoch) {
            return Plan { records: Vec::new(), response: AllocateProducerIdsResponse { error_code, ..Default::default() } };
        }
        let Plan { records, response: (first, next) } = self.producer_ids(request.broker_id);
        let producer_id_len = i32::try_from(next.0 - first.0).expect("a block is small");
        Plan { records, response: AllocateProducerIdsResponse { producer_id_start: first, producer_id_len, ..Default::default() } }
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

fn supported((name, min, max): &(&str, i16, i16)) -> BrokerFeature {
    BrokerFeature { name: (*name).to_owned(), min_supported_version: *min, max_supported_version: *max }
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
        end_points: config.advertised().map(endpoint).collect(),
        features: SUPPORTED.iter().map(supported).collect(),
        rack: config.rack.clone(),
        // One node is its own controller: nobody has to hear from it first.
        fenced: false,
        log_dirs: config.dirs.iter().map(|dir| dir.id).filter(|id| *id != Uuid::ZERO).collect(),
        ..Default::default()
    }
}
