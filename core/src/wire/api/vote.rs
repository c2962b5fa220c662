//! Vote: a candidate asks a voter (KIP-595; pre-vote KIP-996; directory ids KIP-853).

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// Who stands, in which epoch, and how long its log is.
    VoteRequest {
        cluster_id: Option<String> = ..,
        voter_id: BrokerId = 1..; default BrokerId(-1),
        topics: Vec<TopicData> = ..,
    }

    TopicData {
        topic_name: String = ..,
        partitions: Vec<PartitionData> = ..,
    }

    PartitionData {
        partition_index: PartitionIndex = ..,
        replica_epoch: LeaderEpoch = ..,
        replica_id: BrokerId = ..,
        replica_directory_id: Uuid = 1..,
        voter_directory_id: Uuid = 1..,
        last_offset_epoch: LeaderEpoch = ..,
        last_offset: Offset = ..,
        pre_vote: bool = 2..,
    }
}

message! {
    /// Whether the vote is given.
    VoteResponse {
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
        vote_granted: bool = ..,
    }

    NodeEndpoint {
        node_id: BrokerId = ..,
        host: String = ..,
        port: u16 = ..,
    }
}
