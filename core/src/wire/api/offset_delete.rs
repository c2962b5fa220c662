//! OffsetDelete: forget committed offsets of topics to which no member is subscribed.

use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::wire::macros::message;

message! {
    /// Which offsets (KIP-496).
    OffsetDeleteRequest {
        group_id: String = ..,
        topics: Vec<OffsetDeleteRequestTopic> = ..,
    }

    OffsetDeleteRequestTopic {
        name: String = ..,
        partitions: Vec<OffsetDeleteRequestPartition> = ..,
    }

    OffsetDeleteRequestPartition {
        partition_index: PartitionIndex = ..,
    }
}

message! {
    /// One error code a partition.
    OffsetDeleteResponse {
        error_code: ErrorCode = ..,
        throttle_time_ms: i32 = ..,
        topics: Vec<OffsetDeleteResponseTopic> = ..,
    }

    OffsetDeleteResponseTopic {
        name: String = ..,
        partitions: Vec<OffsetDeleteResponsePartition> = ..,
    }

    OffsetDeleteResponsePartition {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
    }
}
