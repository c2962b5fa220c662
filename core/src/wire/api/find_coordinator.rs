//! FindCoordinator: which broker coordinates a group or a transactional id.

use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::wire::macros::message;

message! {
    /// One key up to version 3, several from version 4 (KIP-699).
    FindCoordinatorRequest {
        key: String = ..=3,
        key_type: i8 = 1..,
        coordinator_keys: Vec<String> = 4..,
    }
}

message! {
    /// Where the coordinator is.
    FindCoordinatorResponse {
        throttle_time_ms: i32 = 1..,
        error_code: ErrorCode = ..=3,
        error_message: Option<String> = 1..=3; default Some(String::new()),
        node_id: BrokerId = ..=3,
        host: String = ..=3,
        port: i32 = ..=3,
        coordinators: Vec<Coordinator> = 4..,
    }

    Coordinator {
        key: String = ..,
        node_id: BrokerId = ..,
        host: String = ..,
        port: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
    }
}
