//! One broker in a cluster: the test plays the other nodes, by the listener of the quorum.

use crate::answer;
use crate::bench::{Bench, NODE};
use klamm_core::controller::features::SUPPORTED;
use klamm_core::error::ErrorCode as E;
use klamm_core::id::{BrokerId, ConnId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Uuid};
use klamm_core::time::Timestamp;
use klamm_core::wire::api::alter_partition::{AlterPartitionRequest, BrokerState, PartitionData, TopicData};
use klamm_core::wire::api::alter_replica_log_dirs::{AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest};
use klamm_core::wire::api::api_versions::ApiVersionsRequest;
use klamm_core::wire::api::broker_heartbeat::BrokerHeartbeatRequest;
use klamm_core::wire::api::broker_registration::{BrokerRegistrationRequest, Feature, Listener};
use klamm_core::wire::api::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use klamm_core::wire::api::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use klamm_core::wire::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use klamm_core::wire::api::describe_cluster::DescribeClusterRequest;
use klamm_core::wire::api::describe_log_dirs::DescribeLogDirsRequest;
use klamm_core::wire::api::describe_quorum::{DescribeQuorumRequest, PartitionData as QuorumPartition, TopicData as QuorumTopic};
use klamm_core::wire::api::describe_topic_partitions::{DescribeTopicPartitionsRequest, TopicRequest};
use klamm_core::wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic, ReplicaState};
use klamm_core::wire::api::find_coordinator::FindCoordinatorRequest;
use klamm_core::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponsePartition};
use klamm_core::wire::api::offset_for_leader_epoch::{OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic};
use klamm_core::wire::api::vote::VoteRequest;
use klamm_core::wire::record::Identity;
use std::time::Duration;

/// The other broker.
const OTHER: BrokerId = BrokerId(2);
const SESSION: Duration = Duration::from_secs(10);

/// A cluster of this broker and another one, which the test plays.
struct Pair {
    bench: Bench,
    epoch: i64,
}

impl Pair {
    fn new(fixed: &[(&str, &str)]) -> Self {
        let mut pair = Self { bench: Bench::among(fixed, |_| ()), epoch: -1 };
        pair.register(&[("PLAINTEXT", 9092)]);
        pair
    }

    fn register(&mut self, listeners: &[(&str, u16)]) {
        let listener =
            |(name, port): &(&str, u16)| Listener { name: (*name).to_owned(), host: "b2".to_owned(), port: *port, security_protocol: 0 };
        let feature = |(name, min, max): &(&str, i16, i16)| Feature {
            name: (*name).to_owned(),
            min_supported_version: *min,
            max_supported_version: *max,
        };
        let request = BrokerRegistrationRequest {
            broker_id: OTHER,
            cluster_id: "the-cluster".to_owned(),
            incarnation_id: Uuid([2; 16]),
            listeners: listeners.iter().map(listener).collect(),
            features: SUPPORTED.iter().map(feature).collect(),
            log_dirs: vec![Uuid([20; 16])],
            previous_broker_epoch: -1,
            ..Default::default()
        };
        let response = answer!(BrokerRegistration, self.bench.ask_by(NODE, 4, request));
        assert_eq!(response.error_code, E::NONE);
        self.epoch = response.broker_epoch;
        assert!(!self.beat());
    }

    /// A heartbeat of the other broker; whether it is fenced.
    fn beat(&mut self) -> bool {
        let request = BrokerHeartbeatRequest {
            broker_id: OTHER,
            broker_epoch: self.epoch,
            current_metadata_offset: Offset(1 << 40),
            ..Default::default()
        };
        answer!(BrokerHeartbeat, self.bench.ask_by(NODE, 1, request)).is_fenced
    }

    /// A topic `t` of one partition on these brokers; its id.
    fn create(&mut self, replicas: &[i32], configs: &[(&str, &str)]) -> Uuid {
        self.create_named("t", replicas, configs)
    }

    fn create_named(&mut self, name: &str, replicas: &[i32], configs: &[(&str, &str)]) -> Uuid {
        let assignments = vec![CreatableReplicaAssignment {
            partition_index: PartitionIndex(0),
            broker_ids: replicas.iter().copied().map(BrokerId).collect(),
        }];
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).to_owned(), value: Some((*value).to_owned()) };
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            assignments,
            configs: configs.iter().map(config).collect(),
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        let response = answer!(CreateTopics, self.bench.ask(7, request));
        assert_eq!(response.topics[0].error_code, E::NONE);
        response.topics[0].topic_id
    }

    fn partition(&mut self) -> MetadataResponsePartition {
        let topics = Some(vec![MetadataRequestTopic { name: Some("t".to_owned()), ..Default::default() }]);
        answer!(Metadata, self.bench.ask(12, MetadataRequest { topics, ..Default::default() })).topics[0].partitions[0].clone()
    }

    /// The other broker, in its part as leader, says who is in sync.
    fn other_sets_isr(&mut self, topic_id: Uuid, isr: &[i32]) -> E {
        let partition = self.partition();
        let state = |id: &i32| BrokerState { broker_id: BrokerId(*id), broker_epoch: -1 };
        let data = PartitionData {
            partition_index: PartitionIndex(0),
            leader_epoch: partition.leader_epoch,
            new_isr_with_epochs: isr.iter().map(state).collect(),
            // This broker has told in which directory its replica lies.
            partition_epoch: 1,
            ..Default::default()
        };
        let request = AlterPartitionRequest {
            broker_id: OTHER,
            broker_epoch: self.epoch,
            topics: vec![TopicData { topic_id, partitions: vec![data] }],
        };
        answer!(AlterPartition, self.bench.ask_by(NODE, 3, request)).topics[0].partitions[0].error_code
    }

    /// What the other broker fetches of `t` from an offset on, in bytes; at once.
    fn fetch(&mut self, topic_id: Uuid, from: i64, by: ConnId) -> Result<usize, E> {
        let partition = FetchPartition {
            current_leader_epoch: LeaderEpoch(-1),
            fetch_offset: Offset(from),
            log_start_offset: Offset(0),
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let request = FetchRequest {
            replica_state: ReplicaState { replica_id: OTHER, replica_epoch: self.epoch },
            max_bytes: 1 << 20,
            topics: vec![FetchTopic { topic_id, partitions: vec![partition], ..Default::default() }],
            ..Default::default()
        };
        let fetched = answer!(Fetch, self.bench.ask_by(by, 16, request));
        let partition = &fetched.responses[0].partitions[0];
        if partition.error_code == E::NONE { Ok(partition.records.as_ref().map_or(0, |r| r.len())) } else { Err(partition.error_code) }
    }

    fn set(&mut self, kind: i8, resource: &str, name: &str, value: &str) {
        let config = AlterableConfig { name: name.to_owned(), config_operation: 0, value: Some(value.to_owned()) };
        let resource = AlterConfigsResource { resource_type: kind, resource_name: resource.to_owned(), configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        assert_eq!(answer!(IncrementalAlterConfigs, self.bench.ask(1, request)).responses[0].error_code, E::NONE);
    }
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT: ConnId = ConnId(1);

/// How another node asks for the metadata log.
fn metadata_fetch(partition: FetchPartition) -> FetchRequest {
    let mut topic_id = Uuid([0; 16]);
    topic_id.0[15] = 1;
    FetchRequest {
        replica_state: ReplicaState { replica_id: OTHER, replica_epoch: -1 },
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic { topic_id, partitions: vec![partition], ..Default::default() }],
        ..Default::default()
    }
}

/// It may be in a later epoch there, and would depose a controller that is none of its own.
#[test]
fn a_node_of_another_cluster_gets_nothing_of_the_metadata_log() {
    let mut pair = Pair::new(&[]);
    let partition = FetchPartition { partition_max_bytes: 1 << 20, current_leader_epoch: LeaderEpoch(99), ..Default::default() };
    let foreign = FetchRequest { cluster_id: Some("another".to_owned()), ..metadata_fetch(partition) };
    let response = answer!(Fetch, pair.bench.ask_by(NODE, 17, foreign));
    assert_eq!((response.error_code, response.responses.len()), (E::INCONSISTENT_CLUSTER_ID, 0));
    pair.create(&[1], &[]);
}

#[test]
fn brokers_find_each_other_by_the_listener_that_is_meant_for_it() {
    let mut pair = Pair { bench: Bench::among(&[], |config| config.broker.inter_broker = "PLAINTEXT".to_owned()), epoch: -1 };
    pair.register(&[("EXTERNAL", 19092), ("PLAINTEXT", 9092)]);
    pair.create(&[2, 1], &[]);
    let asked: Vec<u16> = pair.bench.called.iter().filter(|to| to.id == OTHER).map(|to| to.address.port).collect();
    assert!(!asked.is_empty() && asked.iter().all(|port| *port == 9092), "{asked:?}");
}

#[test]
fn a_replica_of_the_metadata_log_is_told_who_leads_whatever_it_asks() {
    let mut pair = Pair::new(&[]);
    let request = metadata_fetch(FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() });
    let response = answer!(Fetch, pair.bench.ask_by(NODE, 17, request));
    let told = &response.responses[0].partitions[0];
    assert_eq!((told.error_code, told.current_leader.leader_id), (E::NONE, BrokerId(1)));
    assert_eq!(response.node_endpoints.first().map(|node| node.node_id), Some(BrokerId(1)));
}

#[test]
fn each_listener_serves_what_kafkas_serves() {
    let mut bench = Bench::among(&[], |_| ());
    bench.notes.clear();
    bench.send(CLIENT, 2, VoteRequest::default());
    bench.send(NODE, 12, MetadataRequest::default());
    assert_eq!(bench.notes, ["closed: an API that is not served on this listener"; 2]);
}

#[test]
fn each_listener_tells_what_it_serves() {
    let mut bench = Bench::among(&[], |_| ());
    let named = || ApiVersionsRequest { client_software_name: "a".to_owned(), client_software_version: "1".to_owned() };
    let of_clients = answer!(ApiVersions, bench.ask(4, named()));
    let of_nodes = answer!(ApiVersions, bench.ask_by(NODE, 4, named()));
    let has = |response: &klamm_core::wire::api::api_versions::ApiVersionsResponse| {
        let keys: Vec<i16> = response.api_keys.iter().map(|key| key.api_key).collect();
        [0, 1, 52, 55, 59, 62].map(|key| keys.contains(&key))
    };
    assert_eq!(has(&of_clients), [true, true, false, true, false, false]);
    assert_eq!(has(&of_nodes), [false, true, true, true, true, true]);
    let features: Vec<&str> = of_clients.supported_features.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(features, ["eligible.leader.replicas.version", "group.version", "metadata.version", "kraft.version"]);
    assert!(of_clients.finalized_features.iter().any(|f| f.name == "kraft.version" && f.max_version_level == 1));
}

#[test]
fn the_metadata_log_is_served_where_the_quorum_comes_in_and_nowhere_else() {
    let mut pair = Pair::new(&[]);
    let metadata = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(pair.fetch(metadata, 0, CLIENT), Err(E::UNKNOWN_TOPIC_ID));
    assert_ne!(pair.fetch(metadata, 0, NODE), Err(E::UNKNOWN_TOPIC_ID));
    let topic = pair.create(&[1], &[]);
    assert_eq!(pair.fetch(topic, 0, NODE), Err(E::UNKNOWN_TOPIC_ID));
}

/// What is said of one partition by each request that may name its topic: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords.
fn said_of(bench: &mut Bench, name: &str, index: i32) -> [E; 5] {
    let (topic, at) = (|| name.to_owned(), PartitionIndex(index));
    let partitions = vec![FetchPartition { partition: at, partition_max_bytes: 1 << 20, ..Default::default() }];
    let topics = vec![FetchTopic { topic: topic(), partitions, ..Default::default() }];
    let fetch = FetchRequest { session_epoch: -1, max_bytes: 1 << 20, topics, ..Default::default() };
    let partitions = vec![ListOffsetsPartition { partition_index: at, timestamp: Timestamp(-1), ..Default::default() }];
    let list = ListOffsetsRequest { topics: vec![ListOffsetsTopic { name: topic(), partitions }], ..Default::default() };
    let partitions = vec![OffsetForLeaderPartition { partition: at, ..Default::default() }];
    let epoch = OffsetForLeaderEpochRequest { topics: vec![OffsetForLeaderTopic { topic: topic(), partitions }], ..Default::default() };
    let partitions = vec![DeleteRecordsPartition { partition_index: at, offset: Offset(0) }];
    let delete = DeleteRecordsRequest { topics: vec![DeleteRecordsTopic { name: topic(), partitions }], timeout_ms: 1000 };
    [
        bench.produce(name, index, 1),
        answer!(Fetch, bench.ask(12, fetch)).responses[0].partitions[0].error_code,
        answer!(ListOffsets, bench.ask(7, list)).topics[0].partitions[0].error_code,
        answer!(OffsetForLeaderEpoch, bench.ask(4, epoch)).topics[0].partitions[0].error_code,
        answer!(DeleteRecords, bench.ask(2, delete)).topics[0].partitions[0].error_code,
    ]
}

/// A client goes where the new metadata sends it; of what is unknown it may believe that it was deleted.
#[test]
fn a_partition_that_lies_elsewhere_is_not_led_here_and_only_one_that_is_nowhere_is_unknown() {
    let mut pair = Pair::new(&[]);
    let topic = pair.create(&[2], &[]);
    let bench = &mut pair.bench;
    assert_eq!(said_of(bench, "t", 0), [E::NOT_LEADER_OR_FOLLOWER; 5]);
    assert_eq!([said_of(bench, "t", 1), said_of(bench, "t", -1), said_of(bench, "u", 0)], [[E::UNKNOWN_TOPIC_OR_PARTITION; 5]; 3]);
    let produced = [(topic, 0), (topic, 1), (Uuid([9; 16]), 0)].map(|(topic, index)| bench.produce_to(topic, index));
    assert_eq!(produced, [E::NOT_LEADER_OR_FOLLOWER, E::UNKNOWN_TOPIC_OR_PARTITION, E::UNKNOWN_TOPIC_ID]);
    let mut fetched = |topic_id, index| {
        let partition = FetchPartition { partition: PartitionIndex(index), partition_max_bytes: 1 << 20, ..Default::default() };
        let topics = vec![FetchTopic { topic_id, partitions: vec![partition], ..Default::default() }];
        let request = FetchRequest { session_epoch: -1, max_bytes: 1 << 20, topics, ..Default::default() };
        let partition = &answer!(Fetch, bench.ask(16, request)).responses[0].partitions[0];
        (partition.error_code, partition.current_leader.leader_id.0)
    };
    assert_eq!(fetched(topic, 0), (E::NOT_LEADER_OR_FOLLOWER, 2), "the leader is named");
    assert_eq!(fetched(topic, 1), (E::UNKNOWN_TOPIC_OR_PARTITION, -1));
    assert_eq!(fetched(Uuid([9; 16]), 0), (E::UNKNOWN_TOPIC_ID, -1));
}

#[test]
fn nobody_produces_to_the_offsets_topic_where_it_has_no_replica_either() {
    let mut pair = Pair::new(&[]);
    pair.create_named("__consumer_offsets", &[2], &[]);
    assert_eq!(pair.bench.produce("__consumer_offsets", 0, 1), E::INVALID_TOPIC_EXCEPTION);
    assert_eq!(pair.bench.produce("__consumer_offsets", 1, 1), E::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn a_controller_registers_and_is_described_where_controllers_are() {
    let mut bench = Bench::among(&[], |_| ());
    bench.pass(Duration::from_secs(1));
    let controllers = || DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let described = answer!(DescribeCluster, bench.ask_by(NODE, 2, controllers()));
    assert_eq!((described.error_code, described.controller_id), (E::NONE, BrokerId(1)));
    let nodes: Vec<_> = described.brokers.iter().map(|node| (node.broker_id.0, node.host.as_str(), node.port)).collect();
    assert_eq!(nodes, [(1, "localhost", 9093)]);
    let brokers = DescribeClusterRequest { endpoint_type: 1, ..Default::default() };
    assert_eq!(answer!(DescribeCluster, bench.ask_by(NODE, 2, brokers)).error_code, E::MISMATCHED_ENDPOINT_TYPE);
    assert_eq!(answer!(DescribeCluster, bench.ask(2, controllers())).error_code, E::MISMATCHED_ENDPOINT_TYPE);
}

#[test]
fn fenced_brokers_are_described_to_who_asks_for_them() {
    let mut pair = Pair::new(&[]);
    pair.bench.pass(SESSION);
    let mut count = |include_fenced_brokers| {
        let request = DescribeClusterRequest { endpoint_type: 1, include_fenced_brokers, ..Default::default() };
        let brokers = answer!(DescribeCluster, pair.bench.ask(2, request)).brokers;
        brokers.iter().map(|b| (b.broker_id.0, b.is_fenced)).collect::<Vec<_>>()
    };
    assert_eq!(count(false), [(1, false)]);
    assert_eq!(count(true), [(1, false), (2, true)]);
}

#[test]
fn a_voter_that_has_moved_tells_where_it_is() {
    let mut bench = Bench::among(&[], |config| config.quorum.initial.voters[0].endpoints[0].port = 1);
    let ports = |bench: &mut Bench| {
        let partitions = vec![QuorumPartition { partition_index: PartitionIndex(0) }];
        let topics = vec![QuorumTopic { topic_name: "__cluster_metadata".to_owned(), partitions }];
        let described = answer!(DescribeQuorum, bench.ask(2, DescribeQuorumRequest { topics }));
        described.nodes.iter().map(|node| node.listeners[0].port).collect::<Vec<_>>()
    };
    assert_eq!(ports(&mut bench), [1]);
    bench.pass(Duration::from_secs(4));
    assert_eq!(ports(&mut bench), [9093]);
}

#[test]
fn a_broker_tells_in_which_directory_a_replica_lies() {
    let mut pair = Pair::new(&[]);
    pair.create(&[1], &[]);
    let summary = pair.bench.broker.summary();
    let of_t = summary.lines().find(|line| line.contains("t-0")).expect("it is here");
    let lies = [7, 8].iter().filter(|id| of_t.contains(&format!("{:?}", [Uuid([**id; 16])])));
    assert_eq!(lies.count(), 1, "{of_t}");
}

/// KIP-827.
#[test]
fn the_size_of_a_directorys_file_system_is_told_and_what_is_free_of_it() {
    let mut pair = Pair::new(&[]);
    let dirs = answer!(DescribeLogDirs, pair.bench.ask(4, DescribeLogDirsRequest { topics: None })).results;
    assert!(!dirs.is_empty() && dirs.iter().all(|dir| (dir.total_bytes, dir.usable_bytes) == (1 << 41, 1 << 40)), "{dirs:?}");
}

#[test]
fn the_size_of_a_replica_is_told_whatever_its_role() {
    let mut pair = Pair::new(&[]);
    pair.create(&[1, 2], &[("min.insync.replicas", "1")]);
    pair.bench.pass(SESSION);
    assert_eq!(pair.bench.produce("t", 0, 3), E::NONE);
    let size = |pair: &mut Pair| {
        let dirs = answer!(DescribeLogDirs, pair.bench.ask(4, DescribeLogDirsRequest { topics: None })).results;
        dirs.iter().flat_map(|dir| &dir.topics).flat_map(|t| &t.partitions).map(|p| (p.partition_size, p.offset_lag)).collect::<Vec<_>>()
    };
    let [(led, 0)] = size(&mut pair)[..] else { panic!("one replica") };
    assert!(led > 0);
    pair.bench.ask(1, reassigned(&[2, 1]));
    assert_eq!(size(&mut pair), [(led, 0)]);
}

pub(crate) fn reassigned(replicas: &[i32]) -> klamm_core::wire::api::alter_partition_reassignments::AlterPartitionReassignmentsRequest {
    use klamm_core::wire::api::alter_partition_reassignments as api;
    let partition =
        api::ReassignablePartition { partition_index: PartitionIndex(0), replicas: Some(replicas.iter().copied().map(BrokerId).collect()) };
    let topic = api::ReassignableTopic { name: "t".to_owned(), partitions: vec![partition] };
    api::AlterPartitionReassignmentsRequest { timeout_ms: 1000, topics: vec![topic], ..Default::default() }
}

#[test]
fn leaders_move_back_to_the_preferred_replica_by_themselves() {
    let mut pair = Pair::new(&[("leader.imbalance.check.interval.seconds", "60")]);
    let topic = pair.create(&[2, 1], &[]);
    assert_eq!(pair.partition().leader_id, OTHER);
    pair.bench.pass(SESSION);
    assert_eq!(pair.partition().leader_id, BrokerId(1), "the other broker was silent");
    assert!(!pair.beat());
    assert_eq!(pair.fetch(topic, 0, CLIENT), Ok(0));
    assert_eq!((pair.partition().leader_id, pair.partition().isr_nodes.len()), (BrokerId(1), 2), "it is in sync again, and does not lead");
    for _ in 0..12 {
        pair.bench.pass(Duration::from_secs(5));
        pair.beat();
        assert_eq!(pair.fetch(topic, 0, CLIENT).is_ok(), pair.partition().leader_id == BrokerId(1));
    }
    assert_eq!(pair.partition().leader_id, OTHER);
}

#[test]
fn leaders_stay_where_they_are_if_nothing_is_to_balance_them() {
    let mut pair = Pair::new(&[("leader.imbalance.check.interval.seconds", "60"), ("auto.leader.rebalance.enable", "false")]);
    let topic = pair.create(&[2, 1], &[]);
    pair.bench.pass(SESSION);
    pair.beat();
    for _ in 0..30 {
        assert_eq!(pair.fetch(topic, 0, CLIENT), Ok(0));
        pair.bench.pass(Duration::from_secs(5));
        pair.beat();
    }
    assert_eq!(pair.partition().leader_id, BrokerId(1));
}

#[test]
fn an_unclean_leader_is_elected_as_soon_as_its_topic_allows_it() {
    let mut pair = Pair::new(&[]);
    let topic = pair.create(&[2, 1], &[("min.insync.replicas", "1")]);
    assert_eq!(pair.other_sets_isr(topic, &[2]), E::NONE);
    pair.bench.pass(SESSION);
    assert_eq!(pair.partition().leader_id, BrokerId(-1), "who is left was not in sync");
    pair.set(TOPIC, "t", "unclean.leader.election.enable", "true");
    pair.bench.pass(Duration::ZERO);
    assert_eq!(pair.partition().leader_id, BrokerId(1));
    let told = "t-0 is led here by an unclean election: what was committed beyond the end of this replica, at 0, is lost";
    assert!(pair.bench.notes.iter().any(|note| note == told), "{:?}", pair.bench.notes);
}

#[test]
fn a_client_is_told_of_a_coordinator_that_is_another_broker() {
    let mut pair = Pair::new(&[("offsets.topic.num.partitions", "8"), ("offsets.topic.replication.factor", "1")]);
    let mut find = |group: String| {
        let request = FindCoordinatorRequest { key_type: 0, coordinator_keys: vec![group], ..Default::default() };
        let found = answer!(FindCoordinator, pair.bench.ask(4, request));
        (found.coordinators[0].error_code, found.coordinators[0].host.clone())
    };
    find("g".to_owned());
    let found: Vec<_> = (0..20).map(|number| find(format!("g{number}"))).collect();
    assert!(found.iter().all(|(error, _)| *error == E::NONE), "{found:?}");
    assert!(found.iter().any(|(_, host)| host == "localhost") && found.iter().any(|(_, host)| host == "b2"), "{found:?}");
}

#[test]
fn a_throttled_follower_gets_no_more_than_its_share_until_it_is_in_sync() {
    let mut pair = Pair::new(&[]);
    let topic = pair.create(&[1, 2], &[("min.insync.replicas", "1"), ("leader.replication.throttled.replicas", "0:1")]);
    pair.bench.pass(SESSION);
    pair.set(BROKER, "1", "leader.replication.throttled.rate", "50");
    for _ in 0..4 {
        assert_eq!(pair.bench.produce("t", 0, 1), E::NONE);
    }
    pair.beat();
    let first = pair.fetch(topic, 0, CLIENT).expect("fetched");
    assert!(first > 200, "{first} bytes, which take four seconds and more");
    assert_eq!(pair.fetch(topic, 0, CLIENT), Ok(0), "it has had its share");
    pair.bench.pass(Duration::from_secs(8));
    pair.beat();
    assert_eq!(pair.fetch(topic, 0, CLIENT), Ok(first));
    assert_eq!(pair.fetch(topic, 4, CLIENT), Ok(0), "it has everything, and joins");
    assert_eq!(pair.partition().isr_nodes.len(), 2);
    pair.bench.send(CLIENT, 9, klamm_core::wire::api::produce::ProduceRequest::default());
    assert_eq!(pair.fetch(topic, 0, CLIENT), Ok(first), "who is in sync is not held up");
}

/// Asks that the replica of `t` lies in a directory, by its number.
fn moved(bench: &mut Bench, to: u16) -> E {
    answer!(AlterReplicaLogDirs, bench.ask(2, move_to(to))).results[0].partitions[0].error_code
}

fn move_to(dir: u16) -> AlterReplicaLogDirsRequest {
    let path = if dir == 0 { "/data" } else { "/more" }.to_owned();
    let topic = AlterReplicaLogDirTopic { name: "t".to_owned(), partitions: vec![PartitionIndex(0)] };
    AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path, topics: vec![topic] }] }
}

/// The directory of the one replica of `t`, and the other one.
fn lies(bench: &Bench) -> (u16, u16) {
    match bench.dirs_with("t-0")[..] {
        [dir] => (dir, 1 - dir),
        ref more => panic!("t-0 lies in {more:?}"),
    }
}

#[test]
fn a_replica_moves_to_another_directory_with_all_it_holds() {
    let mut pair = Pair::new(&[]);
    pair.create(&[1], &[]);
    (0..5).for_each(|_| assert_eq!(pair.bench.produce("t", 0, 3), E::NONE));
    let (from, to) = lies(&pair.bench);
    assert_eq!(moved(&mut pair.bench, to), E::NONE);
    assert_eq!(lies(&pair.bench), (to, from));
    assert_eq!(pair.partition().leader_id, BrokerId(1), "it leads as before");
    assert_eq!(pair.bench.produce("t", 0, 1), E::NONE);
    let summary = pair.bench.broker.summary();
    let of_t = summary.lines().find(|line| line.contains("t-0")).expect("it is here");
    assert!(
        of_t.contains(&format!("{:?}))", Offset(16)))
            && of_t.contains(&format!("{:?}", [Uuid([7 + u8::try_from(to).expect("small"); 16])])),
        "{of_t}"
    );
    assert_eq!(moved(&mut pair.bench, to), E::NONE, "it lies there already");
    assert_eq!(moved(&mut pair.bench, from), E::NONE);
    assert_eq!(lies(&pair.bench), (from, to));
}

#[test]
fn a_copy_that_is_not_whole_is_shown_as_such() {
    let mut pair = Pair::new(&[]);
    pair.create(&[1], &[]);
    (0..5).for_each(|_| assert_eq!(pair.bench.produce("t", 0, 3), E::NONE));
    let (from, to) = lies(&pair.bench);
    pair.bench.send(CLIENT, 2, move_to(to));
    (0..6).for_each(|_| assert!(pair.bench.step()));
    let id = pair.bench.send(CLIENT, 4, DescribeLogDirsRequest { topics: None });
    let dirs = answer!(DescribeLogDirs, pair.bench.answer(id).expect("told at once")).results;
    let shown = |dir: u16| {
        let partition = &dirs[usize::from(dir)].topics.iter().find(|t| t.name == "t").expect("in both").partitions[0];
        (partition.is_future_key, partition.offset_lag > 0)
    };
    assert_eq!((shown(from), shown(to)), ((false, false), (true, true)));
}

/// The one replica of `t`, with six records, after so many steps of its move to the other directory; and whether that is done.
fn moving(steps: usize) -> (Pair, bool) {
    let mut pair = Pair::new(&[]);
    pair.create(&[1], &[]);
    (0..3).for_each(|_| assert_eq!(pair.bench.produce("t", 0, 2), E::NONE));
    let to = lies(&pair.bench).1;
    pair.bench.send(CLIENT, 2, move_to(to));
    let is_done = !(0..steps).all(|_| pair.bench.step());
    (pair, is_done)
}

#[test]
fn a_crash_at_any_point_of_a_move_loses_nothing() {
    for steps in 0.. {
        let (mut pair, is_done) = moving(steps);
        pair.bench.crash();
        assert_eq!(pair.bench.produce("t", 0, 1), E::NONE, "after {steps} steps; {:?}", pair.bench.notes);
        pair.bench.crash();
        lies(&pair.bench);
        let of_t = pair.bench.broker.summary().lines().find(|line| line.contains("t-0")).map(str::to_owned).expect("it is here");
        assert!(of_t.contains(&format!("{:?}))", Offset(7))), "after {steps} steps: {of_t}");
        if is_done {
            assert!(steps > 10, "a move takes some steps");
            break;
        }
    }
}

/// The records of `t-0` that its one log holds, which must be open.
fn end_of_t(bench: &Bench) -> i64 {
    lies(bench);
    let summary = bench.broker.summary();
    let of_t = summary.lines().find(|line| line.contains("t-0")).expect("it is here");
    let ends = (0..100).find(|end| of_t.contains(&format!("{:?}))", Offset(*end))));
    ends.unwrap_or_else(|| panic!("{of_t}; {:?}", bench.notes))
}

/// The only way back is to repair it: what was acknowledged is there then, once.
#[test]
fn a_directory_that_breaks_at_any_point_of_a_move_loses_nothing() {
    for begins in [0, 1] {
        for steps in 0.. {
            let mut pair = Pair::new(&[]);
            pair.create(&[1], &[]);
            assert_eq!(moved(&mut pair.bench, begins), E::NONE);
            (0..3).for_each(|_| assert_eq!(pair.bench.produce("t", 0, 2), E::NONE));
            pair.bench.send(CLIENT, 2, move_to(1 - begins));
            let is_done = !(0..steps).all(|_| pair.bench.step());
            pair.bench.break_second(true);
            pair.bench.settle();
            let mut acknowledged = 6;
            for _ in 0..2 {
                acknowledged += i64::from(pair.bench.produce("t", 0, 1) == E::NONE);
                pair.bench.crash();
            }
            acknowledged += i64::from(pair.bench.produce("t", 0, 1) == E::NONE);
            pair.bench.break_second(false);
            for _ in 0..2 {
                pair.bench.crash();
                assert_eq!(end_of_t(&pair.bench), acknowledged, "from {begins}, after {steps} steps");
            }
            if is_done {
                break;
            }
        }
    }
}

/// A full disk keeps a replica where it is, or makes it wait; either way it plays on when there is room.
#[test]
fn a_disk_that_is_full_at_any_point_of_a_move_loses_nothing() {
    for full in [0, 1] {
        for begins in [0, 1] {
            for steps in 0.. {
                let mut pair = Pair::new(&[]);
                pair.create(&[1], &[]);
                assert_eq!(moved(&mut pair.bench, begins), E::NONE);
                (0..3).for_each(|_| assert_eq!(pair.bench.produce("t", 0, 2), E::NONE));
                pair.bench.send(CLIENT, 2, move_to(1 - begins));
                let is_done = !(0..steps).all(|_| pair.bench.step());
                pair.bench.fill(Some(full));
                pair.bench.settle();
                pair.bench.fill(None);
                pair.bench.pass(SESSION);
                assert_eq!(pair.bench.produce("t", 0, 1), E::NONE, "{full} full, from {begins}, after {steps} steps");
                pair.bench.crash();
                assert_eq!(end_of_t(&pair.bench), 7, "{full} full, from {begins}, after {steps} steps");
                if is_done {
                    break;
                }
            }
        }
    }
}

/// What a replica left behind in a directory that is offline is void once the replica comes back elsewhere: whenever the node crashes, one log is left.
#[test]
fn a_replica_that_comes_back_while_its_directory_is_offline_has_one_log() {
    for steps in 0.. {
        let mut pair = Pair::new(&[]);
        pair.create(&[1, 2], &[]);
        assert_eq!(moved(&mut pair.bench, 1), E::NONE);
        pair.bench.break_second(true);
        pair.bench.crash();
        let answer = answer!(AlterPartitionReassignments, pair.bench.ask(0, reassigned(&[2])));
        assert_eq!(answer.responses[0].partitions[0].error_code, E::NONE);
        pair.bench.send(CLIENT, 0, reassigned(&[2, 1]));
        let is_done = !(0..steps).all(|_| pair.bench.step());
        if is_done {
            assert_eq!(pair.bench.dirs_with("t-0"), [1, 0], "the one that nobody could delete, and a new one");
        }
        pair.bench.break_second(false);
        pair.bench.crash();
        // It may have been told away, and not yet back.
        answer!(AlterPartitionReassignments, pair.bench.ask(0, reassigned(&[2, 1])));
        let (dir, _) = lies(&pair.bench);
        assert!(!is_done || dir == 0, "the new one counts");
        let summary = pair.bench.broker.summary();
        assert!(!summary.contains("offline"), "after {steps} steps: {summary}");
        if is_done {
            break;
        }
    }
}

/// Where somebody has put back a second log of a replica, nothing tells which one counts: it is offline. If the replica moves away, both logs go, and it
/// may come back.
#[test]
fn a_replica_with_two_logs_is_offline_until_it_moves_away() {
    let mut pair = Pair::new(&[]);
    pair.create(&[1, 2], &[]);
    let (_, other) = lies(&pair.bench);
    pair.bench.double("t-0", other);
    pair.bench.crash();
    assert!(pair.bench.broker.summary().contains("each hold a log of it"));
    answer!(AlterPartitionReassignments, pair.bench.ask(0, reassigned(&[2])));
    assert!(pair.bench.dirs_with("t-0").is_empty());
    answer!(AlterPartitionReassignments, pair.bench.ask(0, reassigned(&[2, 1])));
    lies(&pair.bench);
    assert!(!pair.bench.broker.summary().contains("offline"));
}

/// A log that is opened anew is copied anew: the copy before goes, and the one in its place is void all the same.
#[test]
fn a_log_that_is_opened_anew_in_the_midst_of_a_move_is_copied_anew() {
    for steps in 0.. {
        let (mut pair, is_done) = moving(steps);
        pair.bench.refuse_append("t-0");
        let acknowledged = 6 + i64::from(pair.bench.produce("t", 0, 1) == E::NONE);
        pair.bench.crash();
        assert_eq!(end_of_t(&pair.bench), acknowledged, "after {steps} steps");
        if is_done {
            break;
        }
    }
}

/// What was deleted stays deleted, and is not copied; what is known of a producer comes along.
#[test]
fn a_log_whose_beginning_was_deleted_moves() {
    for steps in 0.. {
        let mut pair = Pair::new(&[]);
        pair.create(&[1], &[("segment.ms", "1")]);
        let identity = Identity { id: ProducerId(0), epoch: ProducerEpoch(0), sequence: Sequence(0) };
        assert_eq!(pair.bench.produce_as("t", 0, identity), E::NONE);
        for _ in 0..3 {
            pair.bench.pass(Duration::from_millis(10));
            assert_eq!(pair.bench.produce("t", 0, 2), E::NONE);
        }
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: "t".to_owned(),
                partitions: vec![DeleteRecordsPartition { partition_index: PartitionIndex(0), offset: Offset(4) }],
            }],
            timeout_ms: 1000,
        };
        pair.bench.ask(2, request);
        let (from, to) = lies(&pair.bench);
        pair.bench.send(CLIENT, 2, move_to(to));
        let is_done = !(0..steps).all(|_| pair.bench.step());
        if steps % 2 == 0 {
            pair.bench.crash();
        }
        pair.bench.settle();
        assert_eq!(pair.bench.produce_as("t", 0, identity), E::NONE);
        assert_eq!(end_of_t(&pair.bench), 7, "a batch that comes again is known, after {steps} steps");
        pair.bench.crash();
        assert_eq!(end_of_t(&pair.bench), 7);
        assert_eq!(pair.bench.start_of("t-0"), Offset(4), "after {steps} steps");
        if is_done {
            assert_eq!(lies(&pair.bench), (to, from));
            break;
        }
    }
}

#[test]
fn what_cannot_move_is_refused() {
    let mut pair = Pair::new(&[]);
    assert_eq!(moved(&mut pair.bench, 1), E::UNKNOWN_TOPIC_OR_PARTITION);
    let topic = AlterReplicaLogDirTopic { name: "t".to_owned(), partitions: vec![PartitionIndex(0)] };
    let nowhere = AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: "/nowhere".to_owned(), topics: vec![topic] }] };
    assert_eq!(answer!(AlterReplicaLogDirs, pair.bench.ask(2, nowhere)).results[0].partitions[0].error_code, E::LOG_DIR_NOT_FOUND);
    pair.create(&[2], &[]);
    assert_eq!(moved(&mut pair.bench, 0), E::REPLICA_NOT_AVAILABLE, "it is not here");
    pair.bench.ask(1, reassigned(&[2, 1]));
    assert_eq!(lies(&pair.bench).0, 0, "when it comes it lies where it was wanted");
}

#[test]
fn a_topic_that_is_deleted_takes_its_copy_along() {
    let mut pair = Pair::new(&[]);
    pair.create(&[1], &[]);
    assert_eq!(pair.bench.produce("t", 0, 2), E::NONE);
    let to = lies(&pair.bench).1;
    pair.bench.send(CLIENT, 2, move_to(to));
    (0..4).for_each(|_| assert!(pair.bench.step()));
    let topics = vec![DeleteTopicState { name: Some("t".to_owned()), ..Default::default() }];
    pair.bench.ask(6, DeleteTopicsRequest { topics, timeout_ms: 1000, ..Default::default() });
    assert_eq!(pair.bench.dirs_with("t-0"), [0; 0]);
}

/// A leader that is named and not among the brokers is one that no client can find.
#[test]
fn a_leader_without_the_listener_of_who_asks_is_not_named() {
    let mut pair = Pair::new(&[]);
    pair.create(&[2, 1], &[]);
    assert_eq!((pair.partition().error_code, pair.partition().leader_id), (E::NONE, OTHER));
    pair.register(&[("INTERNAL", 9092)]);
    for (version, code) in [(12, E::LISTENER_NOT_FOUND), (6, E::LISTENER_NOT_FOUND), (5, E::LEADER_NOT_AVAILABLE)] {
        let topics = Some(vec![MetadataRequestTopic { name: Some("t".to_owned()), ..Default::default() }]);
        let told = answer!(Metadata, pair.bench.ask(version, MetadataRequest { topics, ..Default::default() }));
        let partition = &told.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id), (code, BrokerId(-1)), "version {version}");
        assert_eq!(partition.offline_replicas, [OTHER], "version {version}");
        assert!(told.brokers.iter().all(|broker| broker.node_id != OTHER), "version {version}");
    }
    let topics = vec![TopicRequest { name: "t".to_owned() }];
    let request = DescribeTopicPartitionsRequest { topics, response_partition_limit: 10, cursor: None };
    let partition = answer!(DescribeTopicPartitions, pair.bench.ask(0, request)).topics[0].partitions[0].clone();
    assert_eq!((partition.leader_id, partition.offline_replicas), (BrokerId(-1), vec![OTHER]));
}
