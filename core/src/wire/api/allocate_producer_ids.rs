//! AllocateProducerIds: a block of producer ids for a broker (KIP-730).

use crate::error::ErrorCode;
use crate::id::{BrokerId, ProducerId};
use crate::wire::macros::message;

message! {
    /// Who asks.
    AllocateProducerIdsRequest {
        broker_id: BrokerId = ..,
        broker_epoch: i64 = ..; default -1,
    }
}

message! {
    /// The block.
    AllocateProducerIdsResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        producer_id_start: ProducerId = ..,
        producer_id_len: i32 = ..,
    }
}
