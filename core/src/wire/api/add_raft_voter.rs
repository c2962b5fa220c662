//! AddRaftVoter (KIP-853).

use crate::error::ErrorCode;
use crate::id::{BrokerId, Uuid};
use crate::wire::macros::message;

message! {
    /// The voter to add.
    AddRaftVoterRequest {
        cluster_id: Option<String> = ..; default Some(String::new()),
        timeout_ms: i32 = ..,
        voter_id: BrokerId = ..,
        voter_directory_id: Uuid = ..,
        listeners: Vec<Listener> = ..,
        ack_when_committed: bool = 1..; default true,
    }

    Listener {
        name: String = ..,
        host: String = ..,
        port: u16 = ..,
    }
}

message! {
    /// An error code.
    AddRaftVoterResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
    }
}
