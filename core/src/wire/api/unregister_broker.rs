//! UnregisterBroker: a broker leaves for good (KIP-631).

use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::wire::macros::message;

message! {
    /// Which broker.
    UnregisterBrokerRequest {
        broker_id: BrokerId = ..,
    }
}

message! {
    /// An error code.
    UnregisterBrokerResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
    }
}
