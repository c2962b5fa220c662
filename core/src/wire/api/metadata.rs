//! Metadata: brokers, topics, and who leads what.

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// The topics asked for. In version 0 an empty list means all, later null does. Version 10 adds topic ids (KIP-516).
    MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> = ..; null 1..; default Some(Vec::new()),
        allow_auto_topic_creation: bool = 4..; default true,
        include_cluster_authorized_operations: bool = 8..=10,
        include_topic_authorized_operations: bool = 8..,
    }

    MetadataRequestTopic {
        topic_id: Uuid = 10..,
        name: Option<String> = ..; null 10..; default Some(String::new()),
    }
}

message! {
    /// The cluster as this broker knows it.
    MetadataResponse {
        throttle_time_ms: i32 = 3..,
        brokers: Vec<MetadataResponseBroker> = ..,
        cluster_id: Option<String> = 2..,
        controller_id: BrokerId = 1..; default BrokerId(-1),
        topics: Vec<MetadataResponseTopic> = ..,
        cluster_authorized_operations: i32 = 8..=10; default i32::MIN,
        error_code: ErrorCode = 13..,
    }

    MetadataResponseBroker {
        node_id: BrokerId = ..,
        host: String = ..,
        port: i32 = ..,
        rack: Option<String> = 1..,
    }

    MetadataResponseTopic {
        error_code: ErrorCode = ..,
        name: Option<String> = ..; null 12..; default Some(String::new()),
        topic_id: Uuid = 10..,
        is_internal: bool = 1..,
        partitions: Vec<MetadataResponsePartition> = ..,
        topic_authorized_operations: i32 = 8..; default i32::MIN,
    }

    MetadataResponsePartition {
        error_code: ErrorCode = ..,
        partition_index: PartitionIndex = ..,
        leader_id: BrokerId = ..,
        leader_epoch: LeaderEpoch = 7..; default LeaderEpoch(-1),
        replica_nodes: Vec<BrokerId> = ..,
        isr_nodes: Vec<BrokerId> = ..,
        offline_replicas: Vec<BrokerId> = 5..,
    }
}
