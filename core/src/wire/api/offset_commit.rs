//! OffsetCommit: remember how far a group has read.

use crate::error::ErrorCode;
use crate::id::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// Offsets to remember. Version 9 takes a member epoch (KIP-848); 10 names topics by id.
    OffsetCommitRequest {
        group_id: String = ..,
        generation_id_or_member_epoch: i32 = ..; default -1,
        member_id: String = ..,
        group_instance_id: Option<String> = 7..,
        retention_time_ms: i64 = ..=4; default -1,
        topics: Vec<OffsetCommitRequestTopic> = ..,
    }

    OffsetCommitRequestTopic {
        name: String = ..=9,
        topic_id: Uuid = 10..,
        partitions: Vec<OffsetCommitRequestPartition> = ..,
    }

    OffsetCommitRequestPartition {
        partition_index: PartitionIndex = ..,
        committed_offset: Offset = ..,
        committed_leader_epoch: LeaderEpoch = 6..; default LeaderEpoch(-1),
        committed_metadata: Option<String> = ..; default Some(String::new()),
    }
}

message! {
    /// One error code a partition.
    OffsetCommitResponse {
        throttle_time_ms: i32 = 3..,
        topics: Vec<OffsetCommitResponseTopic> = ..,
    }

    OffsetCommitResponseTopic {
        name: String = ..=9,
        topic_id: Uuid = 10..,
        partitions: Vec<OffsetCommitResponsePartition> = ..,
    }

    OffsetCommitResponsePartition {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
    }
}
