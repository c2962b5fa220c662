//! BrokerRegistration: a broker enters the cluster (KIP-631).

use crate::error::ErrorCode;
use crate::id::{BrokerId, Uuid};
use crate::wire::macros::message;

message! {
    /// Who it is, what it speaks, and the epoch under which it last stopped cleanly (KIP-966).
    BrokerRegistrationRequest {
        broker_id: BrokerId = ..,
        cluster_id: String = ..,
        incarnation_id: Uuid = ..,
        listeners: Vec<Listener> = ..,
        features: Vec<Feature> = ..,
        rack: Option<String> = ..; default Some(String::new()),
        is_migrating_zk_broker: bool = 1..,
        log_dirs: Vec<Uuid> = 2..,
        previous_broker_epoch: i64 = 3..; default -1,
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
    /// Its broker epoch.
    BrokerRegistrationResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        broker_epoch: i64 = ..; default -1,
    }
}
