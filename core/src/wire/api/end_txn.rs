//! EndTxn: commit or abort.

use crate::error::ErrorCode;
use crate::id::{ProducerEpoch, ProducerId};
use crate::wire::macros::message;

message! {
    /// Which way. Version 5 bumps the epoch with each transaction (KIP-890).
    EndTxnRequest {
        transactional_id: String = ..,
        producer_id: ProducerId = ..,
        producer_epoch: ProducerEpoch = ..,
        committed: bool = ..,
    }
}

message! {
    /// From version 5, the identity for the next transaction.
    EndTxnResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        producer_id: ProducerId = 5..; default ProducerId(-1),
        producer_epoch: ProducerEpoch = 5..; default ProducerEpoch(-1),
    }
}
