//! CreateTopics.

use crate::error::ErrorCode;
use crate::id::{BrokerId, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// What to create. From version 4 counts of −1 mean the broker's defaults (KIP-464).
    CreateTopicsRequest {
        topics: Vec<CreatableTopic> = ..,
        timeout_ms: i32 = ..; default 60000,
        validate_only: bool = ..,
    }

    CreatableTopic {
        name: String = ..,
        num_partitions: i32 = ..,
        replication_factor: i16 = ..,
        assignments: Vec<CreatableReplicaAssignment> = ..,
        configs: Vec<CreatableTopicConfig> = ..,
    }

    CreatableReplicaAssignment {
        partition_index: PartitionIndex = ..,
        broker_ids: Vec<BrokerId> = ..,
    }

    CreatableTopicConfig {
        name: String = ..,
        value: Option<String> = ..; default Some(String::new()),
    }
}

message! {
    /// One result a topic.
    CreateTopicsResponse {
        throttle_time_ms: i32 = ..,
        topics: Vec<CreatableTopicResult> = ..,
    }

    CreatableTopicResult {
        name: String = ..,
        topic_id: Uuid = 7..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
        topic_config_error_code: ErrorCode = 5..; tag 0,
        num_partitions: i32 = 5..; default -1,
        replication_factor: i16 = 5..; default -1,
        configs: Option<Vec<CreatableTopicConfigs>> = 5..; default Some(Vec::new()),
    }

    CreatableTopicConfigs {
        name: String = ..,
        value: Option<String> = ..; default Some(String::new()),
        read_only: bool = ..,
        config_source: i8 = ..; default -1,
        is_sensitive: bool = ..,
    }
}
