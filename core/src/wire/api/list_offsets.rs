//! ListOffsets: find offsets by timestamp, or by one of the special timestamps.

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex};
use crate::time::Timestamp;
use crate::wire::macros::message;

message! {
    /// Which offsets are wanted. Special timestamps: −1 latest, −2 earliest, −3 of the largest timestamp (7), −4 earliest local (8), −5 last tiered (9), −6 pending upload (11).
    ListOffsetsRequest {
        replica_id: BrokerId = ..,
        isolation_level: i8 = 2..,
        topics: Vec<ListOffsetsTopic> = ..,
        timeout_ms: i32 = 10..,
    }

    ListOffsetsTopic {
        name: String = ..,
        partitions: Vec<ListOffsetsPartition> = ..,
    }

    ListOffsetsPartition {
        partition_index: PartitionIndex = ..,
        current_leader_epoch: LeaderEpoch = 4..; default LeaderEpoch(-1),
        timestamp: Timestamp = ..,
    }
}

message! {
    /// The offsets found; −1 where there is none.
    ListOffsetsResponse {
        throttle_time_ms: i32 = 2..,
        topics: Vec<ListOffsetsTopicResponse> = ..,
    }

    ListOffsetsTopicResponse {
        name: String = ..,
        partitions: Vec<ListOffsetsPartitionResponse> = ..,
    }

    ListOffsetsPartitionResponse {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        timestamp: Timestamp = ..; default Timestamp(-1),
        offset: Offset = ..; default Offset(-1),
        leader_epoch: LeaderEpoch = 4..; default LeaderEpoch(-1),
    }
}
