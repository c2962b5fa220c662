//! Admin requests through a whole broker: what is answered, when, and what a restart finds.

use crate::answer;
use crate::bench::{Bench, CLIENT};
use klamm_core::error::ErrorCode as E;
use klamm_core::id::{BrokerId, ConnId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Uuid};
use klamm_core::store::StoreOp;
use klamm_core::wire::api::api_versions::ApiVersionsRequest;
use klamm_core::wire::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use klamm_core::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse};
use klamm_core::wire::api::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use klamm_core::wire::api::delete_topics::DeleteTopicsRequest;
use klamm_core::wire::api::describe_cluster::DescribeClusterRequest;
use klamm_core::wire::api::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult};
use klamm_core::wire::api::describe_log_dirs::DescribeLogDirsRequest;
use klamm_core::wire::api::describe_topic_partitions::{Cursor, DescribeTopicPartitionsRequest, TopicRequest};
use klamm_core::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use klamm_core::wire::api::init_producer_id::InitProducerIdRequest;
use klamm_core::wire::api::list_config_resources::ListConfigResourcesRequest;
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use std::time::Duration;

fn create_request(name: &str, partitions: i32) -> CreateTopicsRequest {
    let topic = CreatableTopic { name: name.to_owned(), num_partitions: partitions, replication_factor: 1, ..Default::default() };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: false }
}

fn create(bench: &mut Bench, name: &str, partitions: i32) -> Uuid {
    let response: CreateTopicsResponse = answer!(CreateTopics, bench.ask(7, create_request(name, partitions)));
    assert_eq!(response.topics[0].error_code, E::NONE, "{response:?}");
    response.topics[0].topic_id
}

fn delete_request(name: &str) -> DeleteTopicsRequest {
    DeleteTopicsRequest { topic_names: vec![name.to_owned()], ..Default::default() }
}

fn named(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), allow_auto_topic_creation: false, ..Default::default() }
}

fn metadata(bench: &mut Bench, version: i16, request: MetadataRequest) -> MetadataResponse {
    answer!(Metadata, bench.ask(version, request))
}

fn all() -> MetadataRequest {
    MetadataRequest { topics: None, ..Default::default() }
}

#[test]
fn requests_wait_until_the_broker_is_registered() {
    let mut bench = Bench::cold(&[]);
    let early = bench.send(ConnId(1), 12, all());
    assert!(bench.answer(early).is_none());
    bench.settle();
    let body = answer!(Metadata, bench.answer(early).expect("answered when booted"));
    assert_eq!(body.brokers.iter().map(|b| (b.node_id, b.host.as_str(), b.port)).collect::<Vec<_>>(), [(BrokerId(1), "localhost", 9092)]);
    assert_eq!((body.cluster_id.as_deref(), body.controller_id), (Some("the-cluster"), BrokerId(1)));
    assert!(body.topics.is_empty(), "the metadata log is no topic");
    assert_eq!(bench.folders(), ["__cluster_metadata-0"]);
}

#[test]
fn a_topic_is_answered_when_its_logs_are_there_and_its_metadata_is_on_disk() {
    let mut bench = Bench::new(&[]);
    let asked = bench.send(ConnId(1), 7, create_request("t", 2));
    bench.settle_until(|op| matches!(op, StoreOp::Sync { .. }));
    bench.open(ConnId(2));
    let early = bench.send(ConnId(2), 12, all());
    assert!(answer!(Metadata, bench.answer(early).expect("never waits")).topics.is_empty(), "nothing uncommitted is shown");
    bench.settle_until(|op| matches!(op, StoreOp::Create { name, .. } if name == "t-1"));
    assert!(bench.answer(asked).is_none(), "not all of its logs are there");
    bench.settle();
    assert!(bench.answer(asked).is_some());
    assert_eq!(bench.folders(), ["__cluster_metadata-0", "t-0", "t-1"]);
}

#[test]
fn metadata_is_answered_as_each_version_wants_it() {
    let mut bench = Bench::new(&[]);
    let id = create(&mut bench, "t", 2);
    let none = MetadataRequest { topics: Some(vec![]), ..Default::default() };
    assert_eq!(metadata(&mut bench, 0, none.clone()).topics.len(), 1, "in version 0 an empty list means all");
    assert_eq!(metadata(&mut bench, 1, none).topics.len(), 0);
    assert_eq!(metadata(&mut bench, 1, all()).topics.len(), 1);
    let response = metadata(&mut bench, 12, named(&["t", "missing", "not valid", "t"]));
    let told: Vec<_> = response.topics.iter().map(|t| (t.name.as_deref().unwrap_or_default(), t.error_code)).collect();
    assert_eq!(told, [("t", E::NONE), ("missing", E::UNKNOWN_TOPIC_OR_PARTITION), ("not valid", E::INVALID_TOPIC_EXCEPTION)]);
    let topic = &response.topics[0];
    assert_eq!((topic.topic_id, topic.is_internal, topic.topic_authorized_operations), (id, false, i32::MIN));
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
    let partition = &topic.partitions[1];
    assert_eq!((partition.partition_index, partition.leader_id, partition.leader_epoch.0), (PartitionIndex(1), BrokerId(1), 0));
    assert_eq!((partition.replica_nodes.as_slice(), partition.isr_nodes.as_slice()), (&[BrokerId(1)][..], &[BrokerId(1)][..]));
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None };
    let unknown = Uuid([9; 16]);
    let request = MetadataRequest { topics: Some(vec![by_id(id), by_id(unknown)]), ..Default::default() };
    let told: Vec<_> = metadata(&mut bench, 12, request.clone()).topics.into_iter().map(|t| (t.name, t.topic_id, t.error_code)).collect();
    assert!(told.contains(&(Some("t".to_owned()), id, E::NONE)), "{told:?}");
    assert!(told.contains(&(None, unknown, E::UNKNOWN_TOPIC_ID)), "{told:?}");
    assert!(metadata(&mut bench, 11, request).topics.iter().all(|t| t.error_code == E::INVALID_REQUEST));
    let asked = MetadataRequest { include_topic_authorized_operations: true, include_cluster_authorized_operations: true, ..named(&["t"]) };
    let response = metadata(&mut bench, 9, asked);
    // Kafka 4.3.1 without an authorizer answers these.
    assert_eq!((response.topics[0].topic_authorized_operations, response.cluster_authorized_operations), (3576, 8096));
}

#[test]
fn a_topic_that_is_asked_for_is_created_and_told_next_time() {
    let mut bench = Bench::new(&[("num.partitions", "3")]);
    let auto = |name: &str| MetadataRequest { allow_auto_topic_creation: true, ..named(&[name]) };
    let first = metadata(&mut bench, 12, auto("new"));
    assert_eq!(first.topics[0].error_code, E::UNKNOWN_TOPIC_OR_PARTITION);
    let second = metadata(&mut bench, 12, auto("new"));
    assert_eq!((second.topics[0].error_code, second.topics[0].partitions.len()), (E::NONE, 3));
    let internal = metadata(&mut bench, 12, auto("__consumer_offsets"));
    assert!(internal.topics[0].is_internal);
    let internal = metadata(&mut bench, 12, auto("__consumer_offsets"));
    assert_eq!((internal.topics[0].is_internal, internal.topics[0].partitions.len()), (true, 50));
    assert_eq!(setting(&mut bench, "__consumer_offsets", "cleanup.policy"), ("compact".to_owned(), 1));
    assert_eq!(setting(&mut bench, "__consumer_offsets", "segment.bytes"), ("104857600".to_owned(), 1));
    assert_eq!(metadata(&mut bench, 12, auto("not valid")).topics[0].error_code, E::INVALID_TOPIC_EXCEPTION);

    let mut strict = Bench::new(&[("auto.create.topics.enable", "false")]);
    metadata(&mut strict, 12, auto("new"));
    assert_eq!(metadata(&mut strict, 12, auto("new")).topics[0].error_code, E::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn topics_survive_a_crash_once_they_were_answered() {
    let mut bench = Bench::new(&[]);
    let id = create(&mut bench, "t", 2);
    create(&mut bench, "gone", 1);
    bench.ask(5, delete_request("gone"));
    bench.crash();
    let response = metadata(&mut bench, 12, all());
    assert_eq!(
        response.topics.iter().map(|t| (t.name.as_deref(), t.topic_id, t.partitions.len())).collect::<Vec<_>>(),
        [(Some("t"), id, 2)]
    );
    assert_eq!(bench.folders(), ["__cluster_metadata-0", "t-0", "t-1"]);
}

#[test]
fn what_a_crash_left_half_done_is_finished() {
    let mut bench = Bench::new(&[]);
    create(&mut bench, "old", 1);
    // Committed, but its log was not made.
    bench.send(ConnId(1), 7, create_request("t", 1));
    bench.settle_until(|op| matches!(op, StoreOp::Create { .. }));
    bench.crash();
    assert_eq!(bench.folders(), ["__cluster_metadata-0", "old-0", "t-0"]);
    // Committed, but its log was not deleted.
    bench.send(ConnId(1), 5, delete_request("old"));
    bench.settle_until(|op| matches!(op, StoreOp::Delete { .. }));
    bench.crash();
    assert_eq!(bench.folders(), ["__cluster_metadata-0", "t-0"]);
    // Planned and not committed: it never was.
    bench.send(ConnId(1), 7, create_request("never", 1));
    bench.crash();
    assert_eq!(metadata(&mut bench, 12, all()).topics.len(), 1);
}

#[test]
fn a_partition_whose_folder_holds_another_topics_log_is_offline_and_the_log_stays() {
    let mut bench = Bench::new(&[]);
    create(&mut bench, "t", 2);
    assert_eq!(bench.produce("t", 0, 3), E::NONE);
    bench.disown("t-0");
    bench.crash();
    assert!(bench.notes.iter().any(|note| note.contains("t-0 is offline")), "{:?}", bench.notes);
    assert_eq!(bench.produce("t", 0, 1), E::KAFKA_STORAGE_ERROR);
    assert_eq!(bench.produce("t", 1, 1), E::NONE);
    assert_eq!(bench.folders().iter().filter(|name| *name == "t-0").count(), 1);
}

#[test]
fn a_topic_created_again_waits_until_its_old_logs_are_gone() {
    let mut bench = Bench::new(&[]);
    let old = create(&mut bench, "t", 1);
    bench.open(ConnId(2));
    let deleted = bench.send(ConnId(1), 5, delete_request("t"));
    let created = bench.send(ConnId(2), 7, create_request("t", 1));
    bench.settle();
    assert!(bench.answer(deleted).is_some());
    let id = answer!(CreateTopics, bench.answer(created).expect("answered")).topics[0].topic_id;
    assert_ne!(id, old);
    assert_eq!(bench.folders(), ["__cluster_metadata-0", "t-0"]);
}

#[test]
fn a_topic_deleted_before_its_logs_are_made_keeps_nobody_waiting() {
    let mut bench = Bench::new(&[]);
    create(&mut bench, "t", 1);
    for (conn, id) in [(2, ConnId(2)), (3, ConnId(3)), (4, ConnId(4))] {
        assert_eq!(ConnId(conn), id);
        bench.open(id);
    }
    let requests = [
        bench.send(ConnId(1), 5, delete_request("t")),
        bench.send(ConnId(2), 7, create_request("t", 1)),
        bench.send(ConnId(3), 5, delete_request("t")),
        bench.send(ConnId(4), 7, create_request("t", 3)),
    ];
    bench.settle();
    for request in requests {
        assert!(bench.answer(request).is_some());
    }
    assert_eq!(bench.folders(), ["__cluster_metadata-0", "t-0", "t-1", "t-2"]);
}

#[test]
fn a_topic_that_grows_is_led_at_once() {
    let mut bench = Bench::new(&[]);
    create(&mut bench, "t", 1);
    let topics = vec![CreatePartitionsTopic { name: "t".to_owned(), count: 3, assignments: None }];
    let response = answer!(CreatePartitions, bench.ask(3, CreatePartitionsRequest { topics, ..Default::default() }));
    assert_eq!(response.results[0].error_code, E::NONE);
    assert_eq!(bench.folders(), ["__cluster_metadata-0", "t-0", "t-1", "t-2"]);
}

#[test]
fn producer_ids_never_repeat_whatever_happens() {
    let mut bench = Bench::new(&[]);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4 {
        for _ in 0..if round == 1 { 1001 } else { 3 } {
            let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
            let response = answer!(InitProducerId, bench.ask(4, request));
            assert_eq!((response.error_code, response.producer_epoch.0), (E::NONE, 0));
            assert!(seen.insert(response.producer_id), "{} was given twice", response.producer_id);
        }
        bench.crash();
    }
    assert!(seen.contains(&ProducerId(0)));
    let transactional = InitProducerIdRequest { transactional_id: Some("t".to_owned()), ..Default::default() };
    assert_eq!(answer!(InitProducerId, bench.ask(4, transactional)).error_code, E::INVALID_REQUEST);
    let half = InitProducerIdRequest { transactional_id: None, producer_id: ProducerId(5), ..Default::default() };
    assert_eq!(answer!(InitProducerId, bench.ask(4, half.clone())).error_code, E::INVALID_REQUEST);
    let whole = InitProducerIdRequest { producer_epoch: ProducerEpoch(3), ..half };
    assert!(seen.insert(answer!(InitProducerId, bench.ask(4, whole)).producer_id), "what was presented does not count");
}

#[test]
fn a_producer_id_is_given_only_when_its_block_is_on_disk() {
    let mut bench = Bench::new(&[]);
    let asked = bench.send(ConnId(1), 4, InitProducerIdRequest { transactional_id: None, ..Default::default() });
    bench.settle_until(|op| matches!(op, StoreOp::Sync { .. }));
    assert!(bench.answer(asked).is_none());
    bench.settle();
    assert!(bench.answer(asked).is_some());
}

fn describe(bench: &mut Bench, kind: i8, name: &str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource { resource_type: kind, resource_name: name.to_owned(), configuration_keys: None };
    let request = DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: false };
    answer!(DescribeConfigs, bench.ask(4, request)).results.remove(0)
}

fn setting(bench: &mut Bench, topic: &str, name: &str) -> (String, i8) {
    let result = describe(bench, 2, topic);
    let found = result.configs.into_iter().find(|c| c.name == name).expect("every setting is listed");
    (found.value.unwrap_or_default(), found.config_source)
}

fn alter(bench: &mut Bench, kind: i8, resource: &str, name: &str, value: &str) -> E {
    let config = AlterableConfig { name: name.to_owned(), config_operation: 0, value: Some(value.to_owned()) };
    let resource = AlterConfigsResource { resource_type: kind, resource_name: resource.to_owned(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    answer!(IncrementalAlterConfigs, bench.ask(1, request)).responses[0].error_code
}

#[test]
fn settings_are_told_with_their_sources() {
    let mut bench = Bench::new(&[("log.segment.bytes", "1073741824"), ("log.retention.hours", "168"), ("num.io.threads", "8")]);
    create(&mut bench, "t", 1);
    assert_eq!(describe(&mut bench, 2, "t").configs.len(), 33);
    assert_eq!(setting(&mut bench, "t", "segment.bytes"), ("1073741824".to_owned(), 4));
    // Kafka 4.3.1 shows hours of the file so: by their value, and as nobody's.
    assert_eq!(setting(&mut bench, "t", "retention.ms"), ("604800000".to_owned(), 5));
    assert_eq!(alter(&mut bench, 4, "", "log.retention.ms", "7"), E::NONE);
    assert_eq!(setting(&mut bench, "t", "retention.ms"), ("7".to_owned(), 3));
    assert_eq!(alter(&mut bench, 4, "1", "log.retention.ms", "8"), E::NONE);
    assert_eq!(setting(&mut bench, "t", "retention.ms"), ("8".to_owned(), 2));
    assert_eq!(alter(&mut bench, 2, "t", "retention.ms", "9"), E::NONE);
    assert_eq!(setting(&mut bench, "t", "retention.ms"), ("9".to_owned(), 1));
    bench.crash();
    assert_eq!(setting(&mut bench, "t", "retention.ms"), ("9".to_owned(), 1));
    let synonyms = describe(&mut bench, 2, "t").configs.into_iter().find(|c| c.name == "retention.ms").expect("listed").synonyms;
    let told: Vec<_> = synonyms.iter().map(|s| (s.name.as_str(), s.value.as_deref().unwrap_or_default(), s.source)).collect();
    assert_eq!(
        told,
        [
            ("retention.ms", "9", 1),
            ("log.retention.ms", "8", 2),
            ("log.retention.ms", "7", 3),
            ("log.retention.hours", "168", 4),
            ("log.retention.hours", "168", 5)
        ]
    );
    let defaults = describe(&mut bench, 4, "");
    assert_eq!(
        defaults.configs.iter().map(|c| (c.name.as_str(), c.config_source)).collect::<Vec<_>>(),
        [("log.retention.ms", 3), ("min.insync.replicas", 3)]
    );
    let broker = describe(&mut bench, 4, "1");
    let told = |name: &str| {
        broker.configs.iter().find(|c| c.name == name).map(|c| (c.value.as_deref().unwrap_or_default(), c.config_source, c.read_only))
    };
    assert_eq!(told("log.retention.ms"), Some(("8", 2, false)));
    assert_eq!(told("num.partitions"), Some(("1", 5, true)));
    assert_eq!(told("num.io.threads"), Some(("8", 4, false)));
    assert_eq!(told("node.id"), Some(("1", 5, true)));
    // What has no effect may be set all the same, and is told.
    assert_eq!(alter(&mut bench, 4, "1", "num.io.threads", "16"), E::NONE);
    let threads = describe(&mut bench, 4, "1").configs.into_iter().find(|c| c.name == "num.io.threads").expect("it was set");
    assert_eq!((threads.value.as_deref(), threads.config_source), (Some("16"), 2));
    assert_eq!(describe(&mut bench, 4, "2").error_code, E::INVALID_REQUEST);
    assert_eq!(describe(&mut bench, 2, "missing").error_code, E::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(describe(&mut bench, 2, "not valid").error_code, E::INVALID_TOPIC_EXCEPTION);
}

#[test]
fn what_can_be_configured_is_listed() {
    let mut bench = Bench::new(&[]);
    create(&mut bench, "t", 1);
    let mut list = |types: &[i8]| {
        let response = answer!(ListConfigResources, bench.ask(1, ListConfigResourcesRequest { resource_types: types.to_vec() }));
        response.config_resources.into_iter().map(|r| (r.resource_type, r.resource_name)).collect::<Vec<_>>()
    };
    assert_eq!(list(&[2]), [(2, "t".to_owned())]);
    assert_eq!(list(&[]), [(2, "t".to_owned()), (4, "1".to_owned()), (8, "1".to_owned())]);
}

#[test]
fn pages_of_partitions_go_on_where_the_last_one_ended() {
    let mut bench = Bench::new(&[]);
    for (name, partitions) in [("a", 2), ("b", 3), ("c", 1)] {
        create(&mut bench, name, partitions);
    }
    let mut cursor = None;
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let request = DescribeTopicPartitionsRequest { topics: vec![], response_partition_limit: 2, cursor };
        let response = answer!(DescribeTopicPartitions, bench.ask(0, request));
        for topic in &response.topics {
            seen.extend(topic.partitions.iter().map(|p| (topic.name.clone().unwrap_or_default(), p.partition_index.0)));
        }
        pages += 1;
        cursor = response.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let expected = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2), ("c", 0)];
    assert_eq!(seen, expected.map(|(name, index)| (name.to_owned(), index)));
    assert!(pages >= 3);
    let topics = vec![TopicRequest { name: "a".to_owned() }];
    let astray = Some(Cursor { topic_name: "b".to_owned(), partition_index: PartitionIndex(0) });
    let request = DescribeTopicPartitionsRequest { topics, response_partition_limit: 2, cursor: astray };
    assert_eq!(answer!(DescribeTopicPartitions, bench.ask(0, request)).topics[0].error_code, E::INVALID_REQUEST);
}

#[test]
fn the_cluster_and_its_folders_are_described() {
    let mut bench = Bench::new(&[("broker.rack", "r1")]);
    create(&mut bench, "t", 2);
    let cluster = answer!(DescribeCluster, bench.ask(2, DescribeClusterRequest { endpoint_type: 1, ..Default::default() }));
    assert_eq!((cluster.error_code, cluster.cluster_id.as_str(), cluster.controller_id), (E::NONE, "the-cluster", BrokerId(1)));
    assert_eq!(cluster.brokers[0].rack.as_deref(), Some("r1"));
    assert_eq!(cluster.cluster_authorized_operations, i32::MIN);
    let wrong = answer!(DescribeCluster, bench.ask(2, DescribeClusterRequest { endpoint_type: 2, ..Default::default() }));
    assert_eq!(wrong.error_code, E::MISMATCHED_ENDPOINT_TYPE);
    let dirs = answer!(DescribeLogDirs, bench.ask(4, DescribeLogDirsRequest { topics: None }));
    assert_eq!(dirs.results[0].log_dir, "/data");
    assert_eq!(dirs.results[0].topics.iter().map(|t| (t.name.as_str(), t.partitions.len())).collect::<Vec<_>>(), [("t", 2)]);
}

#[test]
fn versions_and_features_are_advertised() {
    let mut bench = Bench::new(&[]);
    let named = |name: &str| ApiVersionsRequest { client_software_name: name.to_owned(), client_software_version: "1.0".to_owned() };
    let response = answer!(ApiVersions, bench.ask(3, named("a-client")));
    let range = |key| response.api_keys.iter().find(|k| k.api_key == key).map(|k| (k.min_version, k.max_version));
    assert_eq!((range(0), range(1), range(3)), (Some((0, 13)), Some((4, 18)), Some((0, 13))));
    let features: Vec<_> = response.finalized_features.iter().map(|f| (f.name.as_str(), f.max_version_level)).collect();
    assert_eq!(features, [("eligible.leader.replicas.version", 1), ("group.version", 1), ("metadata.version", 30), ("kraft.version", 1)]);
    assert!(response.finalized_features_epoch >= 0);
    assert_eq!(answer!(ApiVersions, bench.ask(3, named("not valid!"))).error_code, E::INVALID_REQUEST);
    assert_eq!(answer!(ApiVersions, bench.ask(0, ApiVersionsRequest::default())).error_code, E::NONE);
}

#[test]
fn metadata_outlives_every_retention() {
    let mut bench = Bench::new(&[("log.retention.ms", "1"), ("log.roll.ms", "1"), ("log.retention.check.interval.ms", "10")]);
    for name in ["a", "b", "c"] {
        create(&mut bench, name, 1);
        bench.later(Duration::from_secs(60));
    }
    bench.crash();
    assert_eq!(metadata(&mut bench, 12, all()).topics.len(), 3);
}

#[test]
fn records_are_deleted_up_to_the_high_watermark_and_no_further() {
    let mut bench = Bench::new(&[]);
    create(&mut bench, "t", 1);
    let compacted = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            configs: vec![CreatableTopicConfig { name: "cleanup.policy".to_owned(), value: Some("compact".to_owned()) }],
            ..create_request("compacted", 1).topics.remove(0)
        }],
        ..Default::default()
    };
    bench.ask(7, compacted);
    assert_eq!(bench.produce("t", 0, 5), E::NONE);
    let mut delete = |topic: &str, index: i32, offset: i64| {
        let partitions = vec![DeleteRecordsPartition { partition_index: PartitionIndex(index), offset: Offset(offset) }];
        let topics = vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }];
        let body = answer!(DeleteRecords, bench.ask(2, DeleteRecordsRequest { topics, timeout_ms: 1000 }));
        let partition = &body.topics[0].partitions[0];
        (partition.low_watermark.0, partition.error_code)
    };
    assert_eq!(delete("t", 0, 3), (3, E::NONE));
    assert_eq!(delete("t", 0, 2), (3, E::NONE), "below the start is no error");
    assert_eq!(delete("t", 0, 6), (-1, E::OFFSET_OUT_OF_RANGE));
    assert_eq!(delete("t", 0, -2), (-1, E::OFFSET_OUT_OF_RANGE));
    assert_eq!(delete("t", 0, -1), (5, E::NONE));
    assert_eq!(delete("t", 1, 0), (-1, E::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(delete("missing", 0, 0), (-1, E::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(delete("compacted", 0, 0), (-1, E::POLICY_VIOLATION));
}

#[test]
fn nobody_produces_to_what_is_not_theirs() {
    let mut bench = Bench::new(&[]);
    metadata(&mut bench, 12, MetadataRequest { allow_auto_topic_creation: true, ..named(&["__consumer_offsets"]) });
    assert_eq!(bench.produce("__consumer_offsets", 0, 1), E::INVALID_TOPIC_EXCEPTION);
    assert_eq!(bench.produce("__cluster_metadata", 0, 1), E::UNKNOWN_TOPIC_OR_PARTITION);
}

/// Else, after a crash, the new log would begin where the old one did, without the records below.
#[test]
fn where_a_log_began_is_forgotten_before_a_new_one_has_its_name() {
    let mut bench = Bench::new(&[]);
    bench.ask(7, create_request("t", 1));
    assert_eq!(bench.produce("t", 0, 5), E::NONE);
    let partitions = vec![DeleteRecordsPartition { partition_index: PartitionIndex(0), offset: Offset(3) }];
    let topics = vec![DeleteRecordsTopic { name: "t".to_owned(), partitions }];
    bench.ask(2, DeleteRecordsRequest { topics, timeout_ms: 1000 });
    let starts = |bench: &Bench| String::from_utf8_lossy(bench.file("log-start-offset-checkpoint")).into_owned();
    assert!(starts(&bench).contains("t 0 3"), "{}", starts(&bench));
    bench.ask(5, delete_request("t"));
    bench.send(CLIENT, 7, create_request("t", 1));
    bench.settle_until(|op| matches!(op, StoreOp::Create { name, .. } if name == "t-0"));
    assert!(!starts(&bench).contains("t 0 3"), "{}", starts(&bench));
}
