//! ListPartitionReassignments: moves under way.

use crate::error::ErrorCode;
use crate::id::{BrokerId, PartitionIndex};
use crate::wire::macros::message;

message! {
    /// Which partitions; null means all (KIP-455).
    ListPartitionReassignmentsRequest {
        timeout_ms: i32 = ..; default 60000,
        topics: Option<Vec<ListPartitionReassignmentsTopics>> = ..,
    }

    ListPartitionReassignmentsTopics {
        name: String = ..,
        partition_indexes: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// The moves.
    ListPartitionReassignmentsResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
        topics: Vec<OngoingTopicReassignment> = ..,
    }

    OngoingTopicReassignment {
        name: String = ..,
        partitions: Vec<OngoingPartitionReassignment> = ..,
    }

    OngoingPartitionReassignment {
        partition_index: PartitionIndex = ..,
        replicas: Vec<BrokerId> = ..,
        adding_replicas: Vec<BrokerId> = ..,
        removing_replicas: Vec<BrokerId> = ..,
    }
}
