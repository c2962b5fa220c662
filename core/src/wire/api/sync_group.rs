//! SyncGroup: a classic group's assignments, from its leader to its members.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// The leader sends everyone's assignment; others send none.
    SyncGroupRequest {
        group_id: String = ..,
        generation_id: i32 = ..,
        member_id: String = ..,
        group_instance_id: Option<String> = 3..,
        protocol_type: Option<String> = 5..,
        protocol_name: Option<String> = 5..,
        assignments: Vec<SyncGroupRequestAssignment> = ..,
    }

    SyncGroupRequestAssignment {
        member_id: String = ..,
        assignment: Bytes = ..,
    }
}

message! {
    /// This member's assignment, opaque.
    SyncGroupResponse {
        throttle_time_ms: i32 = 1..,
        error_code: ErrorCode = ..,
        protocol_type: Option<String> = 5..,
        protocol_name: Option<String> = 5..,
        assignment: Bytes = ..,
    }
}
