//! ListGroups: the groups that a broker coordinates.

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// Filters by state (4) and by type (5).
    ListGroupsRequest {
        states_filter: Vec<String> = 4..,
        types_filter: Vec<String> = 5..,
    }
}

message! {
    /// One line a group.
    ListGroupsResponse {
        throttle_time_ms: i32 = 1..,
        error_code: ErrorCode = ..,
        groups: Vec<ListedGroup> = ..,
    }

    ListedGroup {
        group_id: String = ..,
        protocol_type: String = ..,
        group_state: String = 4..,
        group_type: String = 5..,
    }
}
