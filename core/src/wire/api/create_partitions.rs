//! CreatePartitions: grow topics.

use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::wire::macros::message;

message! {
    /// The new total counts (KIP-195).
    CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> = ..,
        timeout_ms: i32 = ..,
        validate_only: bool = ..,
    }

    CreatePartitionsTopic {
        name: String = ..,
        count: i32 = ..,
        assignments: Option<Vec<CreatePartitionsAssignment>> = ..; default Some(Vec::new()),
    }

    CreatePartitionsAssignment {
        broker_ids: Vec<BrokerId> = ..,
    }
}

message! {
    /// One error code a topic.
    CreatePartitionsResponse {
        throttle_time_ms: i32 = ..,
        results: Vec<CreatePartitionsTopicResult> = ..,
    }

    CreatePartitionsTopicResult {
        name: String = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..,
    }
}
