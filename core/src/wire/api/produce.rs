//! Produce: append batches to partitions.

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::time::Timestamp;
use crate::wire::frame::Records;
use crate::wire::macros::message;

message! {
    /// Batches to append. Version 12 adds partitions to the transaction by itself (KIP-890); 13 names topics by id (KIP-516).
    ProduceRequest {
        transactional_id: Option<String> = ..,
        acks: i16 = ..,
        timeout_ms: i32 = ..,
        topic_data: Vec<TopicProduceData> = ..,
    }

    TopicProduceData {
        name: String = ..=12,
        topic_id: Uuid = 13..,
        partition_data: Vec<PartitionProduceData> = ..,
    }

    PartitionProduceData {
        index: PartitionIndex = ..,
        records: Option<Records> = ..,
    }
}

message! {
    /// Where the batches went. With acks=0 it is never sent. Version 10 says who leads now (KIP-951).
    ProduceResponse {
        responses: Vec<TopicProduceResponse> = ..,
        throttle_time_ms: i32 = ..,
        node_endpoints: Vec<NodeEndpoint> = 10..; tag 0,
    }

    TopicProduceResponse {
        name: String = ..=12,
        topic_id: Uuid = 13..,
        partition_responses: Vec<PartitionProduceResponse> = ..,
    }

    PartitionProduceResponse {
        index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        base_offset: Offset = ..,
        log_append_time_ms: Timestamp = ..; default Timestamp(-1),
        log_start_offset: Offset = 5..; default Offset(-1),
        record_errors: Vec<BatchIndexAndErrorMessage> = 8..,
        error_message: Option<String> = 8..,
        current_leader: LeaderIdAndEpoch = 10..; tag 0,
    }

    BatchIndexAndErrorMessage {
        batch_index: i32 = ..,
        batch_index_error_message: Option<String> = ..,
    }

    LeaderIdAndEpoch {
        leader_id: BrokerId = ..; default BrokerId(-1),
        leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
    }

    NodeEndpoint {
        node_id: BrokerId = ..,
        host: String = ..,
        port: i32 = ..,
        rack: Option<String> = ..,
    }
}
