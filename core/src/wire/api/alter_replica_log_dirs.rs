//! AlterReplicaLogDirs: move replicas between the folders of a broker.

use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::wire::macros::message;

message! {
    /// Which replica goes where (KIP-113).
    AlterReplicaLogDirsRequest {
        dirs: Vec<AlterReplicaLogDir> = ..,
    }

    AlterReplicaLogDir {
        path: String = ..,
        topics: Vec<AlterReplicaLogDirTopic> = ..,
    }

    AlterReplicaLogDirTopic {
        name: String = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// One error code a partition.
    AlterReplicaLogDirsResponse {
        throttle_time_ms: i32 = ..,
        results: Vec<AlterReplicaLogDirTopicResult> = ..,
    }

    AlterReplicaLogDirTopicResult {
        topic_name: String = ..,
        partitions: Vec<AlterReplicaLogDirPartitionResult> = ..,
    }

    AlterReplicaLogDirPartitionResult {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
    }
}
