//! AlterPartitionReassignments: move replicas between brokers.

use crate::error::ErrorCode;
use crate::id::{BrokerId, PartitionIndex};
use crate::wire::macros::message;

message! {
    /// The target replicas; null cancels (KIP-455).
    AlterPartitionReassignmentsRequest {
        timeout_ms: i32 = ..; default 60000,
        allow_replication_factor_change: bool = 1..; default true,
        topics: Vec<ReassignableTopic> = ..,
    }

    ReassignableTopic {
        name: String = ..,
        partitions: Vec<ReassignablePartition> = ..,
    }

    ReassignablePartition {
        partition_index: PartitionIndex = ..,
        replicas: Option<Vec<BrokerId>> = ..,
    }
}

message! {
    /// One error code a partition.
    AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32 = ..,
        allow_replication_factor_change: bool = 1..; default true,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
        responses: Vec<ReassignableTopicResponse> = ..,
    }

    ReassignableTopicResponse {
        name: String = ..,
        partitions: Vec<ReassignablePartitionResponse> = ..,
    }

    ReassignablePartitionResponse {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
    }
}
