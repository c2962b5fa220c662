//! ElectLeaders: elect preferred leaders, or unclean ones.

use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::wire::macros::message;

message! {
    /// Which partitions; null means all (KIP-183, KIP-460).
    ElectLeadersRequest {
        election_type: i8 = 1..,
        topic_partitions: Option<Vec<TopicPartitions>> = ..; default Some(Vec::new()),
        timeout_ms: i32 = ..; default 60000,
    }

    TopicPartitions {
        topic: String = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// One error code a partition.
    ElectLeadersResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = 1..,
        replica_election_results: Vec<ReplicaElectionResult> = ..,
    }

    ReplicaElectionResult {
        topic: String = ..,
        partition_result: Vec<PartitionResult> = ..,
    }

    PartitionResult {
        partition_id: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
    }
}
