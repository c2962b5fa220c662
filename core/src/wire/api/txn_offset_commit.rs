//! TxnOffsetCommit: offsets that count if the transaction commits.

use crate::error::ErrorCode;
use crate::id::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId};
use crate::wire::macros::message;

message! {
    /// The offsets. From version 3 with the member that holds them (KIP-447); 5 adds the group to the transaction by itself (KIP-890).
    TxnOffsetCommitRequest {
        transactional_id: String = ..,
        group_id: String = ..,
        producer_id: ProducerId = ..,
        producer_epoch: ProducerEpoch = ..,
        generation_id: i32 = 3..; default -1,
        member_id: String = 3..,
        group_instance_id: Option<String> = 3..,
        topics: Vec<TxnOffsetCommitRequestTopic> = ..,
    }

    TxnOffsetCommitRequestTopic {
        name: String = ..,
        partitions: Vec<TxnOffsetCommitRequestPartition> = ..,
    }

    TxnOffsetCommitRequestPartition {
        partition_index: PartitionIndex = ..,
        committed_offset: Offset = ..,
        committed_leader_epoch: LeaderEpoch = 2..; default LeaderEpoch(-1),
        committed_metadata: Option<String> = ..; default Some(String::new()),
    }
}

message! {
    /// One error code a partition.
    TxnOffsetCommitResponse {
        throttle_time_ms: i32 = ..,
        topics: Vec<TxnOffsetCommitResponseTopic> = ..,
    }

    TxnOffsetCommitResponseTopic {
        name: String = ..,
        partitions: Vec<TxnOffsetCommitResponsePartition> = ..,
    }

    TxnOffsetCommitResponsePartition {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
    }
}
