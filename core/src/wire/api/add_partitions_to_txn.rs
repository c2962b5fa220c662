//! AddPartitionsToTxn: partitions that a transaction will write to.

use crate::error::ErrorCode;
use crate::id::{PartitionIndex, ProducerEpoch, ProducerId};
use crate::wire::macros::message;

message! {
    /// One transaction up to version 3, a batch of them between brokers from version 4 (KIP-890).
    AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnTransaction> = 4..,
        v3_and_below_transactional_id: String = ..=3,
        v3_and_below_producer_id: ProducerId = ..=3,
        v3_and_below_producer_epoch: ProducerEpoch = ..=3,
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> = ..=3,
    }

    AddPartitionsToTxnTransaction {
        transactional_id: String = ..,
        producer_id: ProducerId = ..,
        producer_epoch: ProducerEpoch = ..,
        verify_only: bool = ..,
        topics: Vec<AddPartitionsToTxnTopic> = ..,
    }

    AddPartitionsToTxnTopic {
        name: String = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// One error code a partition.
    AddPartitionsToTxnResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = 4..,
        results_by_transaction: Vec<AddPartitionsToTxnResult> = 4..,
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> = ..=3,
    }

    AddPartitionsToTxnResult {
        transactional_id: String = ..,
        topic_results: Vec<AddPartitionsToTxnTopicResult> = ..,
    }

    AddPartitionsToTxnTopicResult {
        name: String = ..,
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> = ..,
    }

    AddPartitionsToTxnPartitionResult {
        partition_index: PartitionIndex = ..,
        partition_error_code: ErrorCode = ..,
    }
}
