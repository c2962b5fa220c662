//! DescribeGroups: classic groups and their members.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// Which groups.
    DescribeGroupsRequest {
        groups: Vec<String> = ..,
        include_authorized_operations: bool = 3..,
    }
}

message! {
    /// What they are. From version 6 a group that does not exist is an error (KIP-1043).
    DescribeGroupsResponse {
        throttle_time_ms: i32 = 1..,
        groups: Vec<DescribedGroup> = ..,
    }

    DescribedGroup {
        error_code: ErrorCode = ..,
        error_message: Option<String> = 6..,
        group_id: String = ..,
        group_state: String = ..,
        protocol_type: String = ..,
        protocol_data: String = ..,
        members: Vec<DescribedGroupMember> = ..,
        authorized_operations: i32 = 3..; default i32::MIN,
    }

    DescribedGroupMember {
        member_id: String = ..,
        group_instance_id: Option<String> = 4..,
        client_id: String = ..,
        client_host: String = ..,
        member_metadata: Bytes = ..,
        member_assignment: Bytes = ..,
    }
}
