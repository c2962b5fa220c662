//! InitProducerId: an identity for an idempotent or transactional producer.

use crate::error::ErrorCode;
use crate::id::{ProducerEpoch, ProducerId};
use crate::wire::macros::message;

message! {
    /// A transactional id, or null for an idempotent producer only. From version 3 a producer may present what it has (KIP-360).
    InitProducerIdRequest {
        transactional_id: Option<String> = ..; default Some(String::new()),
        transaction_timeout_ms: i32 = ..,
        producer_id: ProducerId = 3..; default ProducerId(-1),
        producer_epoch: ProducerEpoch = 3..; default ProducerEpoch(-1),
        enable2_pc: bool = 6..,
        keep_prepared_txn: bool = 6..,
    }
}

message! {
    /// The identity.
    InitProducerIdResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        producer_id: ProducerId = ..; default ProducerId(-1),
        producer_epoch: ProducerEpoch = ..,
        ongoing_txn_producer_id: ProducerId = 6..; default ProducerId(-1),
        ongoing_txn_producer_epoch: ProducerEpoch = 6..; default ProducerEpoch(-1),
    }
}
