//! DescribeQuorum: the metadata quorum's state (KIP-595).

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::time::Timestamp;
use crate::wire::macros::message;

message! {
    /// Which quorum; there is one.
    DescribeQuorumRequest {
        topics: Vec<TopicData> = ..,
    }

    TopicData {
        topic_name: String = ..,
        partitions: Vec<PartitionData> = ..,
    }

    PartitionData {
        partition_index: PartitionIndex = ..,
    }
}

message! {
    /// Voters and observers with their progress.
    DescribeQuorumResponse {
        error_code: ErrorCode = ..,
        error_message: Option<String> = 2..; default Some(String::new()),
        topics: Vec<TopicResult> = ..,
        nodes: Vec<Node> = 2..,
    }

    TopicResult {
        topic_name: String = ..,
        partitions: Vec<PartitionResult> = ..,
    }

    PartitionResult {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        error_message: Option<String> = 2..; default Some(String::new()),
        leader_id: BrokerId = ..,
        leader_epoch: LeaderEpoch = ..,
        high_watermark: Offset = ..,
        current_voters: Vec<ReplicaState> = ..,
        observers: Vec<ReplicaState> = ..,
    }

    ReplicaState {
        replica_id: BrokerId = ..,
        replica_directory_id: Uuid = 2..,
        log_end_offset: Offset = ..,
        last_fetch_timestamp: Timestamp = 1..; default Timestamp(-1),
        last_caught_up_timestamp: Timestamp = 1..; default Timestamp(-1),
    }

    Node {
        node_id: BrokerId = ..,
        listeners: Vec<Listener> = ..,
    }

    Listener {
        name: String = ..,
        host: String = ..,
        port: u16 = ..,
    }
}
