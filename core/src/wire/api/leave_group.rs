//! LeaveGroup: members leave a classic group.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// One member up to version 2, several from version 3 (KIP-345).
    LeaveGroupRequest {
        group_id: String = ..,
        member_id: String = ..=2,
        members: Vec<MemberIdentity> = 3..,
    }

    MemberIdentity {
        member_id: String = ..,
        group_instance_id: Option<String> = ..,
        reason: Option<String> = 5..,
    }
}

message! {
    /// One error code a member from version 3.
    LeaveGroupResponse {
        throttle_time_ms: i32 = 1..,
        error_code: ErrorCode = ..,
        members: Vec<MemberResponse> = 3..,
    }

    MemberResponse {
        member_id: String = ..,
        group_instance_id: Option<String> = ..; default Some(String::new()),
        error_code: ErrorCode = ..,
    }
}
