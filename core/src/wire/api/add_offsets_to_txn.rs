//! AddOffsetsToTxn: a transaction will commit a group's offsets.

use crate::error::ErrorCode;
use crate::id::{ProducerEpoch, ProducerId};
use crate::wire::macros::message;

message! {
    /// Which group (KIP-98).
    AddOffsetsToTxnRequest {
        transactional_id: String = ..,
        producer_id: ProducerId = ..,
        producer_epoch: ProducerEpoch = ..,
        group_id: String = ..,
    }
}

message! {
    /// An error code.
    AddOffsetsToTxnResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
    }
}
