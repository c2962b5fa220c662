//! DeleteRecords: raise a partition's log start offset.

use crate::error::ErrorCode;
use crate::id::{Offset, PartitionIndex};
use crate::wire::macros::message;

message! {
    /// Up to which offset; −1 means the high watermark (KIP-107).
    DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic> = ..,
        timeout_ms: i32 = ..,
    }

    DeleteRecordsTopic {
        name: String = ..,
        partitions: Vec<DeleteRecordsPartition> = ..,
    }

    DeleteRecordsPartition {
        partition_index: PartitionIndex = ..,
        offset: Offset = ..,
    }
}

message! {
    /// The log start offsets now.
    DeleteRecordsResponse {
        throttle_time_ms: i32 = ..,
        topics: Vec<DeleteRecordsTopicResult> = ..,
    }

    DeleteRecordsTopicResult {
        name: String = ..,
        partitions: Vec<DeleteRecordsPartitionResult> = ..,
    }

    DeleteRecordsPartitionResult {
        partition_index: PartitionIndex = ..,
        low_watermark: Offset = ..,
        error_code: ErrorCode = ..,
    }
}
