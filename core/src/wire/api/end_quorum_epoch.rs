//! EndQuorumEpoch: a quorum leader resigns (KIP-595).

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// Who resigns, and who should stand next.
    EndQuorumEpochRequest {
        cluster_id: Option<String> = ..,
        topics: Vec<TopicData> = ..,
        leader_endpoints: Vec<LeaderEndpoint> = 1..,
    }

    TopicData {
        topic_name: String = ..,
        partitions: Vec<PartitionData> = ..,
    }

    PartitionData {
        partition_index: PartitionIndex = ..,
        leader_id: BrokerId = ..,
        leader_epoch: LeaderEpoch = ..,
        preferred_successors: Vec<BrokerId> = ..=0,
        preferred_candidates: Vec<ReplicaInfo> = 1..,
    }

    ReplicaInfo {
        candidate_id: BrokerId = ..,
        candidate_directory_id: Uuid = ..,
    }

    LeaderEndpoint {
        name: String = ..,
        host: String = ..,
        port: u16 = ..,
    }
}

message! {
    /// What the voter knows.
    EndQuorumEpochResponse {
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
