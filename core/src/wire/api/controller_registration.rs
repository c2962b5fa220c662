//! ControllerRegistration: a controller enters the cluster (KIP-919).

use crate::error::ErrorCode;
use crate::id::{BrokerId, Uuid};
use crate::wire::macros::message;

message! {
    /// Who it is and what it speaks.
    ControllerRegistrationRequest {
        controller_id: BrokerId = ..,
        incarnation_id: Uuid = ..,
        zk_migration_ready: bool = ..,
        listeners: Vec<Listener> = ..,
        features: Vec<Feature> = ..,
    }

    Listener {
        name: String = ..,
        host: String = ..,
        port: u16 = ..,
        security_protocol: i16 = ..,
    }

    Feature {
        name: String = ..,
        min_supported_version: i16 = ..,
        max_supported_version: i16 = ..,
    }
}

message! {
    /// An error code.
    ControllerRegistrationResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..; default Some(String::new()),
    }
}
