//! DeleteGroups: forget empty groups.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// Which groups.
    DeleteGroupsRequest {
        groups_names: Vec<String> = ..,
    }
}

message! {
    /// One error code a group.
    DeleteGroupsResponse {
        throttle_time_ms: i32 = ..,
        results: Vec<DeletableGroupResult> = ..,
    }

    DeletableGroupResult {
        group_id: String = ..,
        error_code: ErrorCode = ..,
    }
}
