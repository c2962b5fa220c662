//! The tables that `kafka-protocol` does not have, or not in their newest versions, against bytes as Kafka 4.3.1's own classes write them:
//! random values, which those classes read and wrote again unchanged.

use super::api;
use super::arbitrary::{Arbitrary, Gen};
use super::message::{decode_body, encode_body};
use super::primitive::Shape;
use super::records::{coordinator, metadata, raft};
use super::value::Wire;
use bytes::Bytes;

const RECORDED: &str = include_str!("testdata/kafka-4.3.1.txt");

/// One version of a table: reads what Kafka wrote, and random values of our own.
fn reads_back<T: Wire + Arbitrary>(name: &str, shape: Shape) {
    let bytes = recorded(name, shape.version);
    assert_eq!(bytes.len(), 2, "{name} {}", shape.version);
    for bytes in bytes {
        let value: T = decode_body(bytes.clone(), shape).unwrap_or_else(|e| panic!("{name} {}: {e}", shape.version));
        assert_eq!(encode_body(&value, shape), bytes, "{name} {}", shape.version);
    }
    for seed in 0..20 {
        let bytes = encode_body(&T::arbitrary(&mut Gen::new(seed)), shape);
        let value: T = decode_body(bytes.clone(), shape).unwrap_or_else(|e| panic!("{name} {} seed {seed}: {e}", shape.version));
        assert_eq!(encode_body(&value, shape), bytes, "{name} {} seed {seed}", shape.version);
    }
}

/// The lines of `name` and `version`; each is name, version, bytes in hexadecimal.
fn recorded(name: &str, version: i16) -> Vec<Bytes> {
    let lines = RECORDED.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines.filter(|line| line[0] == name && line[1] == version.to_string()).map(|line| unhex(line[2])).collect()
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("two digits of hexadecimal")).collect()
}

macro_rules! tables {
    ($($name:ident: $type:ty, $versions:expr, flexible $flexible:expr;)*) => {
        #[test]
        fn what_kafka_wrote_reads_back() {
            $(for version in $versions {
                reads_back::<$type>(stringify!($name), Shape { version, flexible: version >= $flexible });
            })*
        }
    };
}

tables! {
    ListOffsetsRequest: api::list_offsets::ListOffsetsRequest, 11..=11, flexible 6;
    OffsetCommitRequest: api::offset_commit::OffsetCommitRequest, 10..=10, flexible 8;
    OffsetFetchRequest: api::offset_fetch::OffsetFetchRequest, 10..=10, flexible 6;
    WriteTxnMarkersRequest: api::write_txn_markers::WriteTxnMarkersRequest, 2..=2, flexible 1;
    DescribeLogDirsRequest: api::describe_log_dirs::DescribeLogDirsRequest, 5..=5, flexible 2;
    BrokerHeartbeatRequest: api::broker_heartbeat::BrokerHeartbeatRequest, 2..=2, flexible 0;
    AddRaftVoterRequest: api::add_raft_voter::AddRaftVoterRequest, 1..=1, flexible 0;
    ListOffsetsResponse: api::list_offsets::ListOffsetsResponse, 11..=11, flexible 6;
    WriteTxnMarkersResponse: api::write_txn_markers::WriteTxnMarkersResponse, 2..=2, flexible 1;
    DescribeLogDirsResponse: api::describe_log_dirs::DescribeLogDirsResponse, 5..=5, flexible 2;
    BrokerHeartbeatResponse: api::broker_heartbeat::BrokerHeartbeatResponse, 2..=2, flexible 0;
    AddRaftVoterResponse: api::add_raft_voter::AddRaftVoterResponse, 1..=1, flexible 0;
    OffsetCommitKey: coordinator::OffsetCommitKey, 0..=0, flexible i16::MAX;
    OffsetCommitValue: coordinator::OffsetCommitValue, 0..=4, flexible 4;
    GroupMetadataKey: coordinator::GroupMetadataKey, 0..=0, flexible i16::MAX;
    GroupMetadataValue: coordinator::GroupMetadataValue, 0..=4, flexible 4;
    ConsumerGroupMetadataKey: coordinator::ConsumerGroupMetadataKey, 0..=0, flexible i16::MAX;
    ConsumerGroupMetadataValue: coordinator::ConsumerGroupMetadataValue, 0..=0, flexible 0;
    ConsumerGroupPartitionMetadataKey: coordinator::ConsumerGroupPartitionMetadataKey, 0..=0, flexible i16::MAX;
    ConsumerGroupPartitionMetadataValue: coordinator::ConsumerGroupPartitionMetadataValue, 0..=0, flexible 0;
    ConsumerGroupMemberMetadataKey: coordinator::ConsumerGroupMemberMetadataKey, 0..=0, flexible i16::MAX;
    ConsumerGroupMemberMetadataValue: coordinator::ConsumerGroupMemberMetadataValue, 0..=0, flexible 0;
    ConsumerGroupTargetAssignmentMetadataKey: coordinator::ConsumerGroupTargetAssignmentMetadataKey, 0..=0, flexible i16::MAX;
    ConsumerGroupTargetAssignmentMetadataValue: coordinator::ConsumerGroupTargetAssignmentMetadataValue, 0..=0, flexible 0;
    ConsumerGroupTargetAssignmentMemberKey: coordinator::ConsumerGroupTargetAssignmentMemberKey, 0..=0, flexible i16::MAX;
    ConsumerGroupTargetAssignmentMemberValue: coordinator::ConsumerGroupTargetAssignmentMemberValue, 0..=0, flexible 0;
    ConsumerGroupCurrentMemberAssignmentKey: coordinator::ConsumerGroupCurrentMemberAssignmentKey, 0..=0, flexible i16::MAX;
    ConsumerGroupCurrentMemberAssignmentValue: coordinator::ConsumerGroupCurrentMemberAssignmentValue, 0..=0, flexible 0;
    ConsumerGroupRegularExpressionKey: coordinator::ConsumerGroupRegularExpressionKey, 0..=0, flexible i16::MAX;
    ConsumerGroupRegularExpressionValue: coordinator::ConsumerGroupRegularExpressionValue, 0..=0, flexible 0;
    RegisterBrokerRecord: metadata::RegisterBrokerRecord, 0..=4, flexible 0;
    UnregisterBrokerRecord: metadata::UnregisterBrokerRecord, 0..=0, flexible 0;
    TopicRecord: metadata::TopicRecord, 0..=0, flexible 0;
    PartitionRecord: metadata::PartitionRecord, 0..=2, flexible 0;
    ConfigRecord: metadata::ConfigRecord, 0..=0, flexible 0;
    PartitionChangeRecord: metadata::PartitionChangeRecord, 0..=2, flexible 0;
    FenceBrokerRecord: metadata::FenceBrokerRecord, 0..=0, flexible 0;
    UnfenceBrokerRecord: metadata::UnfenceBrokerRecord, 0..=0, flexible 0;
    RemoveTopicRecord: metadata::RemoveTopicRecord, 0..=0, flexible 0;
    FeatureLevelRecord: metadata::FeatureLevelRecord, 0..=0, flexible 0;
    ProducerIdsRecord: metadata::ProducerIdsRecord, 0..=0, flexible 0;
    BrokerRegistrationChangeRecord: metadata::BrokerRegistrationChangeRecord, 0..=3, flexible 0;
    NoOpRecord: metadata::NoOpRecord, 0..=0, flexible 0;
    BeginTransactionRecord: metadata::BeginTransactionRecord, 0..=0, flexible 0;
    EndTransactionRecord: metadata::EndTransactionRecord, 0..=0, flexible 0;
    AbortTransactionRecord: metadata::AbortTransactionRecord, 0..=0, flexible 0;
    RegisterControllerRecord: metadata::RegisterControllerRecord, 0..=0, flexible 0;
    ClearElrRecord: metadata::ClearElrRecord, 0..=0, flexible 0;
    LeaderChangeMessage: raft::LeaderChangeMessage, 0..=1, flexible 0;
    SnapshotHeaderRecord: raft::SnapshotHeaderRecord, 0..=0, flexible 0;
    SnapshotFooterRecord: raft::SnapshotFooterRecord, 0..=0, flexible 0;
    KRaftVersionRecord: raft::KRaftVersionRecord, 0..=0, flexible 0;
    VotersRecord: raft::VotersRecord, 0..=0, flexible 0;
    QuorumStateData: raft::QuorumStateData, 0..=1, flexible 0;
}
