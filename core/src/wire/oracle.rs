//! Every table against `kafka-protocol`, whose code comes from the same schemas by another way: random values of ours, written by us, must be read by it,
//! written again to the same bytes, and read back by us. Versions that it does not know are named here, and are only read back by us.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use bytes::Bytes;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message};

use super::api;
use super::arbitrary::{Arbitrary, Gen};
use super::message::{decode_body, encode_body};
use super::primitive::Shape;
use super::records::{consumer, raft};
use super::value::Wire;

/// Values of each version. A developer may ask for more.
fn rounds() -> u64 {
    std::env::var("KLAMM_ORACLE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

/// Compares one table in all its versions; returns those that the other side does not know.
fn compare<O, T>(name: &str, versions: RangeInclusive<i16>, first_flexible: i16) -> Vec<String>
where
    O: Wire + Default + Arbitrary + PartialEq + Debug,
    T: Encodable + Decodable + Message + Default,
{
    let mut unknown = Vec::new();
    for version in versions {
        let shape = Shape { version, flexible: version >= first_flexible };
        let known = (T::VERSIONS.min..=T::VERSIONS.max).contains(&version);
        if known {
            assert_eq!(encode_body(&O::default(), shape), encode_theirs(&T::default(), version), "the default of {name} version {version}");
        } else {
            unknown.push(format!("{name} {version}"));
        }
        for seed in 0..rounds() {
            let bytes = encode_body(&O::arbitrary(&mut Gen::new(seed)), shape);
            if known {
                let mut rest = bytes.clone();
                let value = T::decode(&mut rest, version).unwrap_or_else(|e| panic!("{name} version {version} seed {seed}: {e}"));
                assert!(rest.is_empty(), "{name} version {version} seed {seed}: {} bytes left", rest.len());
                assert_eq!(bytes, encode_theirs(&value, version), "{name} version {version} seed {seed}");
            }
            let back: O = decode_body(bytes.clone(), shape).unwrap_or_else(|e| panic!("{name} version {version} seed {seed}: {e}"));
            assert_eq!(encode_body(&back, shape), bytes, "{name} version {version} seed {seed}");
        }
    }
    unknown
}

fn encode_theirs<T: Encodable>(value: &T, version: i16) -> Bytes {
    let mut out = bytes::BytesMut::new();
    value.encode(&mut out, version).unwrap_or_else(|e| panic!("version {version}: {e}"));
    out.freeze()
}

macro_rules! compare_all {
    ($($module:ident::$request:ident, $response:ident: $versions:expr, flexible $flexible:expr;)*) => {
        fn requests() -> Vec<String> {
            let mut unknown = Vec::new();
            $(unknown.extend(compare::<api::$module::$request, theirs::$request>(stringify!($request), $versions, $flexible));)*
            unknown
        }

        fn responses() -> Vec<String> {
            let mut unknown = Vec::new();
            $(unknown.extend(compare::<api::$module::$response, theirs::$response>(stringify!($response), $versions, $flexible));)*
            unknown
        }
    };
}

// Those of `apis!`, and those that it will have.
compare_all! {
    produce::ProduceRequest, ProduceResponse: 3..=13, flexible 9;
    fetch::FetchRequest, FetchResponse: 4..=18, flexible 12;
    list_offsets::ListOffsetsRequest, ListOffsetsResponse: 1..=11, flexible 6;
    metadata::MetadataRequest, MetadataResponse: 0..=13, flexible 9;
    offset_commit::OffsetCommitRequest, OffsetCommitResponse: 2..=10, flexible 8;
    offset_fetch::OffsetFetchRequest, OffsetFetchResponse: 1..=10, flexible 6;
    find_coordinator::FindCoordinatorRequest, FindCoordinatorResponse: 0..=6, flexible 3;
    join_group::JoinGroupRequest, JoinGroupResponse: 0..=9, flexible 6;
    heartbeat::HeartbeatRequest, HeartbeatResponse: 0..=4, flexible 4;
    leave_group::LeaveGroupRequest, LeaveGroupResponse: 0..=5, flexible 4;
    sync_group::SyncGroupRequest, SyncGroupResponse: 0..=5, flexible 4;
    describe_groups::DescribeGroupsRequest, DescribeGroupsResponse: 0..=6, flexible 5;
    list_groups::ListGroupsRequest, ListGroupsResponse: 0..=5, flexible 3;
    api_versions::ApiVersionsRequest, ApiVersionsResponse: 0..=4, flexible 3;
    create_topics::CreateTopicsRequest, CreateTopicsResponse: 2..=7, flexible 5;
    delete_topics::DeleteTopicsRequest, DeleteTopicsResponse: 1..=6, flexible 4;
    delete_records::DeleteRecordsRequest, DeleteRecordsResponse: 0..=2, flexible 2;
    init_producer_id::InitProducerIdRequest, InitProducerIdResponse: 0..=5, flexible 2;
    offset_for_leader_epoch::OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse: 2..=4, flexible 4;
    add_partitions_to_txn::AddPartitionsToTxnRequest, AddPartitionsToTxnResponse: 0..=5, flexible 3;
    add_offsets_to_txn::AddOffsetsToTxnRequest, AddOffsetsToTxnResponse: 0..=4, flexible 3;
    end_txn::EndTxnRequest, EndTxnResponse: 0..=5, flexible 3;
    write_txn_markers::WriteTxnMarkersRequest, WriteTxnMarkersResponse: 1..=2, flexible 1;
    txn_offset_commit::TxnOffsetCommitRequest, TxnOffsetCommitResponse: 0..=5, flexible 3;
    describe_configs::DescribeConfigsRequest, DescribeConfigsResponse: 1..=4, flexible 4;
    alter_configs::AlterConfigsRequest, AlterConfigsResponse: 0..=2, flexible 2;
    alter_replica_log_dirs::AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse: 1..=2, flexible 2;
    describe_log_dirs::DescribeLogDirsRequest, DescribeLogDirsResponse: 1..=5, flexible 2;
    create_partitions::CreatePartitionsRequest, CreatePartitionsResponse: 0..=3, flexible 2;
    delete_groups::DeleteGroupsRequest, DeleteGroupsResponse: 0..=2, flexible 2;
    elect_leaders::ElectLeadersRequest, ElectLeadersResponse: 0..=2, flexible 2;
    incremental_alter_configs::IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse: 0..=1, flexible 1;
    alter_partition_reassignments::AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse: 0..=1, flexible 0;
    list_partition_reassignments::ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse: 0..=0, flexible 0;
    offset_delete::OffsetDeleteRequest, OffsetDeleteResponse: 0..=0, flexible i16::MAX;
    vote::VoteRequest, VoteResponse: 0..=2, flexible 0;
    begin_quorum_epoch::BeginQuorumEpochRequest, BeginQuorumEpochResponse: 0..=1, flexible 1;
    end_quorum_epoch::EndQuorumEpochRequest, EndQuorumEpochResponse: 0..=1, flexible 1;
    describe_quorum::DescribeQuorumRequest, DescribeQuorumResponse: 0..=2, flexible 0;
    alter_partition::AlterPartitionRequest, AlterPartitionResponse: 2..=3, flexible 0;
    update_features::UpdateFeaturesRequest, UpdateFeaturesResponse: 0..=2, flexible 0;
    envelope::EnvelopeRequest, EnvelopeResponse: 0..=0, flexible 0;
    fetch_snapshot::FetchSnapshotRequest, FetchSnapshotResponse: 0..=1, flexible 0;
    describe_cluster::DescribeClusterRequest, DescribeClusterResponse: 0..=2, flexible 0;
    describe_producers::DescribeProducersRequest, DescribeProducersResponse: 0..=0, flexible 0;
    broker_registration::BrokerRegistrationRequest, BrokerRegistrationResponse: 0..=4, flexible 0;
    broker_heartbeat::BrokerHeartbeatRequest, BrokerHeartbeatResponse: 0..=2, flexible 0;
    unregister_broker::UnregisterBrokerRequest, UnregisterBrokerResponse: 0..=0, flexible 0;
    describe_transactions::DescribeTransactionsRequest, DescribeTransactionsResponse: 0..=0, flexible 0;
    list_transactions::ListTransactionsRequest, ListTransactionsResponse: 0..=2, flexible 0;
    allocate_producer_ids::AllocateProducerIdsRequest, AllocateProducerIdsResponse: 0..=0, flexible 0;
    consumer_group_heartbeat::ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse: 0..=1, flexible 0;
    consumer_group_describe::ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse: 0..=1, flexible 0;
    controller_registration::ControllerRegistrationRequest, ControllerRegistrationResponse: 0..=0, flexible 0;
    assign_replicas_to_dirs::AssignReplicasToDirsRequest, AssignReplicasToDirsResponse: 0..=0, flexible 0;
    list_config_resources::ListConfigResourcesRequest, ListConfigResourcesResponse: 0..=1, flexible 0;
    describe_topic_partitions::DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse: 0..=0, flexible 0;
    add_raft_voter::AddRaftVoterRequest, AddRaftVoterResponse: 0..=1, flexible 0;
    remove_raft_voter::RemoveRaftVoterRequest, RemoveRaftVoterResponse: 0..=0, flexible 0;
    update_raft_voter::UpdateRaftVoterRequest, UpdateRaftVoterResponse: 0..=0, flexible 0;
}

/// What `kafka-protocol` 0.18 does not know, since its schemas end at Kafka 4.1.
const NEWER_REQUESTS: [&str; 7] = [
    "ListOffsetsRequest 11",
    "OffsetCommitRequest 10",
    "OffsetFetchRequest 10",
    "WriteTxnMarkersRequest 2",
    "DescribeLogDirsRequest 5",
    "BrokerHeartbeatRequest 2",
    "AddRaftVoterRequest 1",
];
const NEWER_RESPONSES: [&str; 5] = [
    "ListOffsetsResponse 11",
    "WriteTxnMarkersResponse 2",
    "DescribeLogDirsResponse 5",
    "BrokerHeartbeatResponse 2",
    "AddRaftVoterResponse 1",
];

#[test]
fn requests_agree_with_kafka_protocol() {
    assert_eq!(requests(), NEWER_REQUESTS);
}

#[test]
fn responses_agree_with_kafka_protocol() {
    assert_eq!(responses(), NEWER_RESPONSES);
}

#[test]
fn records_agree_with_kafka_protocol() {
    let never = i16::MAX;
    let mut unknown = compare::<consumer::ConsumerProtocolSubscription, theirs::ConsumerProtocolSubscription>(
        "ConsumerProtocolSubscription",
        0..=3,
        never,
    );
    unknown.extend(compare::<consumer::ConsumerProtocolAssignment, theirs::ConsumerProtocolAssignment>(
        "ConsumerProtocolAssignment",
        0..=3,
        never,
    ));
    unknown.extend(compare::<raft::SnapshotHeaderRecord, theirs::SnapshotHeaderRecord>("SnapshotHeaderRecord", 0..=0, 0));
    unknown.extend(compare::<raft::SnapshotFooterRecord, theirs::SnapshotFooterRecord>("SnapshotFooterRecord", 0..=0, 0));
    unknown.extend(compare::<raft::KRaftVersionRecord, theirs::KRaftVersionRecord>("KRaftVersionRecord", 0..=0, 0));
    assert_eq!(unknown, [""; 0]);
}
