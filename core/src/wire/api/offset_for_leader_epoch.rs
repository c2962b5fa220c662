//! OffsetForLeaderEpoch: where a leader epoch ended.

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex};
use crate::wire::macros::message;

message! {
    /// Which epochs (KIP-101, KIP-320).
    OffsetForLeaderEpochRequest {
        replica_id: BrokerId = 3..; default BrokerId(-2),
        topics: Vec<OffsetForLeaderTopic> = ..,
    }

    OffsetForLeaderTopic {
        topic: String = ..,
        partitions: Vec<OffsetForLeaderPartition> = ..,
    }

    OffsetForLeaderPartition {
        partition: PartitionIndex = ..,
        current_leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
        leader_epoch: LeaderEpoch = ..,
    }
}

message! {
    /// The largest epoch not above the one asked for, and its end offset.
    OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 = ..,
        topics: Vec<OffsetForLeaderTopicResult> = ..,
    }

    OffsetForLeaderTopicResult {
        topic: String = ..,
        partitions: Vec<EpochEndOffset> = ..,
    }

    EpochEndOffset {
        error_code: ErrorCode = ..,
        partition: PartitionIndex = ..,
        leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
        end_offset: Offset = ..; default Offset(-1),
    }
}
