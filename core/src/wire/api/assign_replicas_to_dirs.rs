//! AssignReplicasToDirs: in which folders a broker keeps its replicas (KIP-858).

use crate::error::ErrorCode;
use crate::id::{BrokerId, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// The folders.
    AssignReplicasToDirsRequest {
        broker_id: BrokerId = ..,
        broker_epoch: i64 = ..; default -1,
        directories: Vec<DirectoryData> = ..,
    }

    DirectoryData {
        id: Uuid = ..,
        topics: Vec<TopicData> = ..,
    }

    TopicData {
        topic_id: Uuid = ..,
        partitions: Vec<PartitionData> = ..,
    }

    PartitionData {
        partition_index: PartitionIndex = ..,
    }
}

message! {
    /// One error code a partition.
    AssignReplicasToDirsResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        directories: Vec<DirectoryResult> = ..,
    }

    DirectoryResult {
        id: Uuid = ..,
        topics: Vec<TopicResult> = ..,
    }

    TopicResult {
        topic_id: Uuid = ..,
        partitions: Vec<PartitionResult> = ..,
    }

    PartitionResult {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
    }
}
