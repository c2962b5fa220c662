//! JoinGroup: enter a classic group's next generation.

use bytes::Bytes;

use crate::error::ErrorCode;
use crate::wire::macros::message;

message! {
    /// A member and the protocols it can speak. From version 4 a new member must first be given an id (KIP-394); 5 brings static members (KIP-345).
    JoinGroupRequest {
        group_id: String = ..,
        session_timeout_ms: i32 = ..,
        rebalance_timeout_ms: i32 = 1..; default -1,
        member_id: String = ..,
        group_instance_id: Option<String> = 5..,
        protocol_type: String = ..,
        protocols: Vec<JoinGroupRequestProtocol> = ..,
        reason: Option<String> = 8..,
    }

    JoinGroupRequestProtocol {
        name: String = ..,
        metadata: Bytes = ..,
    }
}

message! {
    /// The generation; for its leader, all members.
    JoinGroupResponse {
        throttle_time_ms: i32 = 2..,
        error_code: ErrorCode = ..,
        generation_id: i32 = ..; default -1,
        protocol_type: Option<String> = 7..,
        protocol_name: Option<String> = ..; null 7..; default Some(String::new()),
        leader: String = ..,
        skip_assignment: bool = 9..,
        member_id: String = ..,
        members: Vec<JoinGroupResponseMember> = ..,
    }

    JoinGroupResponseMember {
        member_id: String = ..,
        group_instance_id: Option<String> = 5..,
        metadata: Bytes = ..,
    }
}
