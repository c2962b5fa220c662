//! ListTransactions: the transactions that a broker coordinates.

use crate::error::ErrorCode;
use crate::id::ProducerId;
use crate::wire::macros::message;

message! {
    /// Filters (KIP-664; by duration KIP-994, by pattern KIP-1152).
    ListTransactionsRequest {
        state_filters: Vec<String> = ..,
        producer_id_filters: Vec<ProducerId> = ..,
        duration_filter: i64 = 1..; default -1,
        transactional_id_pattern: Option<String> = 2..,
    }
}

message! {
    /// One line a transaction.
    ListTransactionsResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        unknown_state_filters: Vec<String> = ..,
        transaction_states: Vec<TransactionState> = ..,
    }

    TransactionState {
        transactional_id: String = ..,
        producer_id: ProducerId = ..,
        transaction_state: String = ..,
    }
}
