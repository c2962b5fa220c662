//! A cluster as its controller sees it: brokers that register, speak up, ask and fall silent.

use super::Bench;
use crate::config::Properties;
use crate::controller::image::{Partition, Registration};
use crate::controller::{Liveness, Plan, Record};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::partition::PartitionId;
use crate::time::Instant;
use crate::wire::api::alter_partition::{AlterPartitionRequest, AlterPartitionResponse, BrokerState, PartitionData, TopicData};
use crate::wire::api::alter_partition_reassignments::{AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic};
use crate::wire::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use crate::wire::api::broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse, Feature, Listener};
use crate::wire::api::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use crate::wire::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use std::time::Duration;

pub(super) const SESSION: Duration = Duration::from_secs(9);

/// A bench with a new cluster's first records, and the active controller's soft state.
pub(super) struct Cluster {
    pub(super) bench: Bench,
    pub(super) liveness: Liveness,
    pub(super) now: Instant,
}

pub(super) fn ids(numbers: &[i32]) -> Vec<BrokerId> {
    numbers.iter().copied().map(BrokerId).collect()
}

/// The directory of a broker.
pub(super) fn dir(broker: i32) -> Uuid {
    Uuid([u8::try_from(broker).expect("small"); 16])
}

impl Cluster {
    /// Brokers 1 to `count` have registered, and are unfenced.
    pub(super) fn of(count: i32) -> Self {
        let mut cluster = Self::empty();
        for id in 1..=count {
            assert_eq!(cluster.start(id, 1, -1).error_code, ErrorCode::NONE);
            assert!(!cluster.beat(id).is_fenced);
        }
        cluster
    }

    /// Nobody has registered.
    pub(super) fn empty() -> Self {
        Self::with_first(|planner| planner.activate())
    }

    /// A cluster that keeps no eligible leader replicas.
    pub(super) fn without_elr(count: i32) -> Self {
        let metadata_only = |planner: &mut crate::controller::Planner<'_>| {
            let mut records = planner.activate();
            records.truncate(1);
            records
        };
        let mut cluster = Self::with_first(metadata_only);
        for id in 1..=count {
            cluster.start(id, 1, -1);
            cluster.beat(id);
        }
        cluster
    }

    fn with_first(first: impl FnOnce(&mut crate::controller::Planner<'_>) -> Vec<Record>) -> Self {
        let mut bench = Bench::bare(Properties::new());
        let records = first(&mut bench.planner());
        bench.propose(records);
        bench.commit();
        Self { bench, liveness: Liveness::new(Instant(0), SESSION), now: Instant(0) }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Plans with the soft state, appends and commits. Answers the records too.
    pub(super) fn carry_out<R>(
        &mut self,
        plan: impl FnOnce(&mut Liveness, Instant, &mut crate::controller::Planner<'_>, crate::id::Offset) -> Plan<R>,
    ) -> Plan<R>
    where
        R: Clone,
    {
        let (now, at) = (self.now, self.bench.controller.end());
        let plan = plan(&mut self.liveness, now, &mut self.bench.planner(), at);
        self.bench.propose(plan.records.clone());
        self.bench.commit();
        plan
    }

    pub(super) fn registration(id: i32, life: u8, previous: i64) -> BrokerRegistrationRequest {
        let feature = |(name, min, max): &(&str, i16, i16)| Feature {
            name: (*name).to_owned(),
            min_supported_version: *min,
            max_supported_version: *max,
        };
        BrokerRegistrationRequest {
            broker_id: BrokerId(id),
            cluster_id: "cluster".to_owned(),
            incarnation_id: Uuid([life, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, u8::try_from(id).expect("small")]),
            listeners: vec![Listener { name: "PLAINTEXT".to_owned(), host: format!("b{id}"), port: 9092, security_protocol: 0 }],
            features: crate::controller::features::SUPPORTED.iter().map(feature).collect(),
            rack: None,
            log_dirs: vec![dir(id)],
            previous_broker_epoch: previous,
            ..Default::default()
        }
    }

    /// A process starts and registers; `previous` is the epoch that it stored.
    pub(super) fn start(&mut self, id: i32, life: u8, previous: i64) -> BrokerRegistrationResponse {
        self.register(&Self::registration(id, life, previous))
    }

    pub(super) fn register(&mut self, request: &BrokerRegistrationRequest) -> BrokerRegistrationResponse {
        self.carry_out(|liveness, now, planner, at| liveness.register(now, planner, request, at)).response
    }

    /// What broker `id` says when all is well.
    pub(super) fn well(&self, id: i32) -> BrokerHeartbeatRequest {
        BrokerHeartbeatRequest {
            broker_id: BrokerId(id),
            broker_epoch: self.broker(id).epoch,
            current_metadata_offset: self.bench.controller.end().plus(-1),
            ..Default::default()
        }
    }

    pub(super) fn beat(&mut self, id: i32) -> BrokerHeartbeatResponse {
        let request = self.well(id);
        self.heartbeat(&request)
    }

    pub(super) fn heartbeat(&mut self, request: &BrokerHeartbeatRequest) -> BrokerHeartbeatResponse {
        self.carry_out(|liveness, now, planner, at| liveness.heartbeat(now, planner, request, at)).response
    }

    /// The broker wants to be fenced.
    pub(super) fn fence(&mut self, id: i32) {
        let request = BrokerHeartbeatRequest { want_fence: true, ..self.well(id) };
        assert!(self.heartbeat(&request).is_fenced);
    }

    pub(super) fn suspect(&mut self, id: i32) -> bool {
        self.carry_out(|liveness, now, planner, _| liveness.suspect(now, planner, BrokerId(id))).response
    }

    pub(super) fn expire(&mut self) -> Option<BrokerId> {
        self.carry_out(|liveness, now, planner, _| liveness.expire(now, planner)).response
    }

    pub(super) fn broker(&self, id: i32) -> &Registration {
        &self.bench.controller.image().brokers()[&BrokerId(id)]
    }

    /// One partition with these replicas and settings.
    pub(super) fn topic(&mut self, name: &str, replicas: &[i32], configs: &[(&str, &str)]) -> PartitionId {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).to_owned(), value: Some((*value).to_owned()) };
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![CreatableReplicaAssignment { partition_index: PartitionIndex(0), broker_ids: ids(replicas) }],
            configs: configs.iter().map(config).collect(),
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: false };
        let result = self.bench.run(|p| p.create_topics(&request)).topics.remove(0);
        assert_eq!(result.error_code, ErrorCode::NONE, "{:?}", result.error_message);
        PartitionId { topic: result.topic_id, index: PartitionIndex(0) }
    }

    pub(super) fn partition(&self, id: PartitionId) -> &Partition {
        self.bench.controller.image().partition(id).expect("it was created")
    }

    /// Leader, ISR and ELR.
    pub(super) fn state(&self, id: PartitionId) -> (Option<i32>, Vec<i32>, Vec<i32>) {
        let partition = self.partition(id);
        let numbers = |all: &[BrokerId]| all.iter().map(|id| id.0).collect();
        (partition.leader.map(|id| id.0), numbers(&partition.isr), numbers(&partition.elr))
    }

    /// What the leader sends that wants the ISR `isr`.
    pub(super) fn wish(&self, id: PartitionId, isr: &[i32]) -> AlterPartitionRequest {
        let partition = self.partition(id);
        let leader = partition.leader.expect("somebody leads");
        let member = |id: &i32| BrokerState { broker_id: BrokerId(*id), broker_epoch: self.broker(*id).epoch };
        let asked = PartitionData {
            partition_index: id.index,
            leader_epoch: partition.leader_epoch,
            new_isr_with_epochs: isr.iter().map(member).collect(),
            partition_epoch: partition.partition_epoch,
            ..Default::default()
        };
        let topics = vec![TopicData { topic_id: id.topic, partitions: vec![asked] }];
        AlterPartitionRequest { broker_id: leader, broker_epoch: self.broker(leader.0).epoch, topics }
    }

    pub(super) fn alter(&mut self, request: &AlterPartitionRequest) -> AlterPartitionResponse {
        self.bench.run(|p| p.alter_partition(request))
    }

    /// The leader gets the ISR `isr`, or an error.
    pub(super) fn isr(&mut self, id: PartitionId, isr: &[i32]) -> ErrorCode {
        let request = self.wish(id, isr);
        let response = self.alter(&request);
        assert_eq!(response.error_code, ErrorCode::NONE);
        response.topics[0].partitions[0].error_code
    }

    /// Moves topic `name`'s first partition; `None` gives the move up.
    pub(super) fn reassign(&mut self, name: &str, replicas: Option<&[i32]>) -> (ErrorCode, Option<String>) {
        let partitions = vec![ReassignablePartition { partition_index: PartitionIndex(0), replicas: replicas.map(ids) }];
        let topics = vec![ReassignableTopic { name: name.to_owned(), partitions }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let mut response = self.bench.run(|p| p.alter_partition_reassignments(&request));
        let result = response.responses.remove(0).partitions.remove(0);
        (result.error_code, result.error_message)
    }

    pub(super) fn elect(&mut self, name: &str, election_type: i8) -> ErrorCode {
        let topic_partitions = Some(vec![TopicPartitions { topic: name.to_owned(), partitions: vec![PartitionIndex(0)] }]);
        let request = ElectLeadersRequest { election_type, topic_partitions, ..Default::default() };
        self.bench.run(|p| p.elect_leaders(&request)).replica_election_results[0].partition_result[0].error_code
    }

    pub(super) fn epoch(&self, id: PartitionId) -> (LeaderEpoch, i32) {
        let partition = self.partition(id);
        (partition.leader_epoch, partition.partition_epoch)
    }
}
