//! BrokerHeartbeat: a broker lives (KIP-631).

use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset, Uuid};
use crate::wire::macros::message;

message! {
    /// How far it has read the metadata, and what it wants.
    BrokerHeartbeatRequest {
        broker_id: BrokerId = ..,
        broker_epoch: i64 = ..; default -1,
        current_metadata_offset: Offset = ..,
        want_fence: bool = ..,
        want_shut_down: bool = ..,
        offline_log_dirs: Vec<Uuid> = 1..; tag 0,
        cordoned_log_dirs: Option<Vec<Uuid>> = 2..; tag 1,
    }
}

message! {
    /// Whether it is fenced, caught up, or may stop.
    BrokerHeartbeatResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        is_caught_up: bool = ..,
        is_fenced: bool = ..; default true,
        should_shut_down: bool = ..,
    }
}
