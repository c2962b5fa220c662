//! WriteTxnMarkers: a coordinator tells leaders how transactions ended.

use crate::error::ErrorCode;
use crate::id::{PartitionIndex, ProducerEpoch, ProducerId};
use crate::wire::macros::message;

message! {
    /// The markers to append (KIP-98).
    WriteTxnMarkersRequest {
        markers: Vec<WritableTxnMarker> = ..,
    }

    WritableTxnMarker {
        producer_id: ProducerId = ..,
        producer_epoch: ProducerEpoch = ..,
        transaction_result: bool = ..,
        topics: Vec<WritableTxnMarkerTopic> = ..,
        coordinator_epoch: i32 = ..,
        transaction_version: i8 = 2..,
    }

    WritableTxnMarkerTopic {
        name: String = ..,
        partition_indexes: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// One error code a partition.
    WriteTxnMarkersResponse {
        markers: Vec<WritableTxnMarkerResult> = ..,
    }

    WritableTxnMarkerResult {
        producer_id: ProducerId = ..,
        topics: Vec<WritableTxnMarkerTopicResult> = ..,
    }

    WritableTxnMarkerTopicResult {
        name: String = ..,
        partitions: Vec<WritableTxnMarkerPartitionResult> = ..,
    }

    WritableTxnMarkerPartitionResult {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
    }
}
