//! ConsumerGroupHeartbeat: all of a member's life in the consumer protocol (KIP-848).

use crate::error::ErrorCode;
use crate::id::{PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// What changed since the last one. Member epoch 0 joins, −1 leaves, −2 leaves for a while as a static member.
    ConsumerGroupHeartbeatRequest {
        group_id: String = ..,
        member_id: String = ..,
        member_epoch: i32 = ..,
        instance_id: Option<String> = ..,
        rack_id: Option<String> = ..,
        rebalance_timeout_ms: i32 = ..; default -1,
        subscribed_topic_names: Option<Vec<String>> = ..,
        subscribed_topic_regex: Option<String> = 1..,
        server_assignor: Option<String> = ..,
        topic_partitions: Option<Vec<TopicPartitions>> = ..,
    }

    TopicPartitions {
        topic_id: Uuid = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// The assignment, if it changed.
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..,
        member_id: Option<String> = ..,
        member_epoch: i32 = ..,
        heartbeat_interval_ms: i32 = ..,
        assignment: Option<Assignment> = ..,
    }

    Assignment {
        topic_partitions: Vec<TopicPartitions> = ..,
    }
}
