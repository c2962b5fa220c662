//! BeginQuorumEpoch: a new quorum leader tells the voters (KIP-595).

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// Who leads.
    BeginQuorumEpochRequest {
        cluster_id: Option<String> = ..,
        voter_id: BrokerId = 1..; default BrokerId(-1),
        topics: Vec<TopicData> = ..,
        leader_endpoints: Vec<LeaderEndpoint> = 1..,
    }

    TopicData {
        topic_name: String = ..,
        partitions: Vec<PartitionData> = ..,
    }

    PartitionData {
        partition_index: PartitionIndex = ..,
        voter_directory_id: Uuid = 1..,
        leader_id: BrokerId = ..,
        leader_epoch: LeaderEpoch = ..,
    }

    LeaderEndpoint {
        name: String = ..,
        host: String = ..,
        port: u16 = ..,
    }
}

message! {
    /// What the voter knows.
    BeginQuorumEpochResponse {
        error_code: ErrorCode = ..,
        topics: Vec<TopicResult> = ..,
        node_endpoints: Vec<NodeEndpoint> = 1..; tag 0,
    }

    TopicResult {
        topic_name: String = ..,
        partitions: Vec<PartitionResult> = ..,
    }

    PartitionResult {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        leader_id: BrokerId = ..,
        leader_epoch: LeaderEpoch = ..,
    }

    NodeEndpoint {
        node_id: BrokerId = ..,
        host: String = ..,
        port: u16 = ..,
    }
}
