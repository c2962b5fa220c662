//! DescribeTransactions.

use crate::error::ErrorCode;
use crate::id::{PartitionIndex, ProducerEpoch, ProducerId};
use crate::time::Timestamp;
use crate::wire::macros::message;

message! {
    /// Which transactional ids (KIP-664).
    DescribeTransactionsRequest {
        transactional_ids: Vec<String> = ..,
    }
}

message! {
    /// Their state.
    DescribeTransactionsResponse {
        throttle_time_ms: i32 = ..,
        transaction_states: Vec<TransactionState> = ..,
    }

    TransactionState {
        error_code: ErrorCode = ..,
        transactional_id: String = ..,
        transaction_state: String = ..,
        transaction_timeout_ms: i32 = ..,
        transaction_start_time_ms: Timestamp = ..,
        producer_id: ProducerId = ..,
        producer_epoch: ProducerEpoch = ..,
        topics: Vec<TopicData> = ..,
    }

    TopicData {
        topic: String = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}
