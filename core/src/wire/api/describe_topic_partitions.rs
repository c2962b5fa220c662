//! DescribeTopicPartitions: topics page by page, with their ELR.

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// Which topics, and where to go on (KIP-966).
    DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest> = ..,
        response_partition_limit: i32 = ..; default 2000,
        cursor: Option<Cursor> = ..,
    }

    TopicRequest {
        name: String = ..,
    }

    Cursor {
        topic_name: String = ..,
        partition_index: PartitionIndex = ..,
    }
}

message! {
    /// One page, and where the next begins.
    DescribeTopicPartitionsResponse {
        throttle_time_ms: i32 = ..,
        topics: Vec<DescribeTopicPartitionsResponseTopic> = ..,
        next_cursor: Option<Cursor> = ..,
    }

    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode = ..,
        name: Option<String> = ..; default Some(String::new()),
        topic_id: Uuid = ..,
        is_internal: bool = ..,
        partitions: Vec<DescribeTopicPartitionsResponsePartition> = ..,
        topic_authorized_operations: i32 = ..; default i32::MIN,
    }

    DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode = ..,
        partition_index: PartitionIndex = ..,
        leader_id: BrokerId = ..,
        leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
        replica_nodes: Vec<BrokerId> = ..,
        isr_nodes: Vec<BrokerId> = ..,
        eligible_leader_replicas: Option<Vec<BrokerId>> = ..,
        last_known_elr: Option<Vec<BrokerId>> = ..,
        offline_replicas: Vec<BrokerId> = ..,
    }
}
