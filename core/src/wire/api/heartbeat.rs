//! Heartbeat: a classic group's member lives.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// A sign of life.
    HeartbeatRequest {
        group_id: String = ..,
        generation_id: i32 = ..,
        member_id: String = ..,
        group_instance_id: Option<String> = 3..,
    }
}

message! {
    /// Whether to rejoin.
    HeartbeatResponse {
        throttle_time_ms: i32 = 1..,
        error_code: ErrorCode = ..,
    }
}
