//! DescribeLogDirs: what the log folders hold.

use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::wire::macros::message;

message! {
    /// Which partitions; null means all (KIP-113).
    DescribeLogDirsRequest {
        topics: Option<Vec<DescribableLogDirTopic>> = ..; default Some(Vec::new()),
    }

    DescribableLogDirTopic {
        topic: String = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// Sizes by folder. Version 4 tells the disk's size too (KIP-827).
    DescribeLogDirsResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = 3..,
        results: Vec<DescribeLogDirsResult> = ..,
    }

    DescribeLogDirsResult {
        error_code: ErrorCode = ..,
        log_dir: String = ..,
        topics: Vec<DescribeLogDirsTopic> = ..,
        total_bytes: i64 = 4..; default -1,
        usable_bytes: i64 = 4..; default -1,
        is_cordoned: bool = 5..,
    }

    DescribeLogDirsTopic {
        name: String = ..,
        partitions: Vec<DescribeLogDirsPartition> = ..,
    }

    DescribeLogDirsPartition {
        partition_index: PartitionIndex = ..,
        partition_size: i64 = ..,
        offset_lag: i64 = ..,
        is_future_key: bool = ..,
    }
}
