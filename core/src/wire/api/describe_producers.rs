//! DescribeProducers: the producers that a partition remembers.

use crate::error::ErrorCode;
use crate::id::{Offset, PartitionIndex, ProducerId, Sequence};
use crate::time::Timestamp;
use crate::wire::macros::message;

message! {
    /// Which partitions (KIP-664).
    DescribeProducersRequest {
        topics: Vec<TopicRequest> = ..,
    }

    TopicRequest {
        name: String = ..,
        partition_indexes: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// Their state.
    DescribeProducersResponse {
        throttle_time_ms: i32 = ..,
        topics: Vec<TopicResponse> = ..,
    }

    TopicResponse {
        name: String = ..,
        partitions: Vec<PartitionResponse> = ..,
    }

    PartitionResponse {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = ..,
        active_producers: Vec<ProducerState> = ..,
    }

    ProducerState {
        producer_id: ProducerId = ..,
        producer_epoch: i32 = ..,
        last_sequence: Sequence = ..; default Sequence(-1),
        last_timestamp: Timestamp = ..; default Timestamp(-1),
        coordinator_epoch: i32 = ..,
        current_txn_start_offset: Offset = ..; default Offset(-1),
    }
}
