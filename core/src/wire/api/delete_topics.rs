//! DeleteTopics.

use crate::error::ErrorCode;
use crate::id::Uuid;
use crate::wire::macros::message;

message! {
    /// Names up to version 5, names or ids from version 6 (KIP-516).
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> = 6..,
        topic_names: Vec<String> = ..=5,
        timeout_ms: i32 = ..,
    }

    DeleteTopicState {
        name: Option<String> = ..,
        topic_id: Uuid = ..,
    }
}

message! {
    /// One error code a topic.
    DeleteTopicsResponse {
        throttle_time_ms: i32 = ..,
        responses: Vec<DeletableTopicResult> = ..,
    }

    DeletableTopicResult {
        name: Option<String> = ..; null 6..; default Some(String::new()),
        topic_id: Uuid = 6..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = 5..,
    }
}
