//! RemoveRaftVoter (KIP-853).

use crate::error::ErrorCode;
use crate::id::{BrokerId, Uuid};
use crate::wire::macros::message;

message! {
    /// The voter to remove.
    RemoveRaftVoterRequest {
        cluster_id: Option<String> = ..; default Some(String::new()),
        voter_id: BrokerId = ..,
        voter_directory_id: Uuid = ..,
    }
}

message! {
    /// An error code.
    RemoveRaftVoterResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
    }
}
