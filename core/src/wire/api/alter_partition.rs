//! AlterPartition: a leader asks the controller to change an ISR (KIP-497).

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// The new ISR with broker epochs (KIP-903).
    AlterPartitionRequest {
        broker_id: BrokerId = ..,
        broker_epoch: i64 = ..; default -1,
        topics: Vec<TopicData> = ..,
    }

    TopicData {
        topic_id: Uuid = ..,
        partitions: Vec<PartitionData> = ..,
    }

    PartitionData {
        partition_index: PartitionIndex = ..,
        leader_epoch: LeaderEpoch = ..,
        new_isr: Vec<BrokerId> = ..=2,
        new_isr_with_epochs: Vec<BrokerState> = 3..,
        leader_recovery_state: i8 = ..,
        partition_epoch: i32 = ..,
    }

    BrokerState {
        broker_id: BrokerId = ..,
        broker_epoch: i64 = ..; default -1,
    }
}

message! {
    /// The partition as it is now.
    AlterPartitionResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        topics: Vec<TopicResult> = ..,
    }

    TopicResult {
        topic_id: Uuid = ..,
        partitions: Vec<PartitionResult> = ..,
    }

    PartitionResult {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        leader_id: BrokerId = ..,
        leader_epoch: LeaderEpoch = ..,
        isr: Vec<BrokerId> = ..,
        leader_recovery_state: i8 = ..,
        partition_epoch: i32 = ..,
    }
}
