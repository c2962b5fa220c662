//! Fetch: read batches, for consumers and followers alike.

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId, Uuid};
use crate::wire::frame::Records;
use crate::wire::macros::message;

message! {
    /// What to read, as a change to a fetch session from version 7 (KIP-227). Version 12 detects divergence (KIP-595), 13 names topics by id (KIP-516),
    /// 15 moves the replica into a tag (KIP-903), 18 tells the follower's high watermark (KIP-1166).
    FetchRequest {
        cluster_id: Option<String> = 12..; tag 0,
        replica_id: BrokerId = ..=14; default BrokerId(-1),
        replica_state: ReplicaState = 15..; tag 1,
        max_wait_ms: i32 = ..,
        min_bytes: i32 = ..,
        max_bytes: i32 = ..; default i32::MAX,
        isolation_level: i8 = ..,
        session_id: i32 = 7..,
        session_epoch: i32 = 7..; default -1,
        topics: Vec<FetchTopic> = ..,
        forgotten_topics_data: Vec<ForgottenTopic> = 7..,
        rack_id: String = 11..,
    }

    ReplicaState {
        replica_id: BrokerId = ..; default BrokerId(-1),
        replica_epoch: i64 = ..; default -1,
    }

    FetchTopic {
        topic: String = ..=12,
        topic_id: Uuid = 13..,
        partitions: Vec<FetchPartition> = ..,
    }

    FetchPartition {
        partition: PartitionIndex = ..,
        current_leader_epoch: LeaderEpoch = 9..; default LeaderEpoch(-1),
        fetch_offset: Offset = ..,
        last_fetched_epoch: LeaderEpoch = 12..; default LeaderEpoch(-1),
        log_start_offset: Offset = 5..; default Offset(-1),
        partition_max_bytes: i32 = ..,
        replica_directory_id: Uuid = 17..; tag 0,
        high_watermark: Offset = 18..; tag 1; default Offset(i64::MAX),
    }

    ForgottenTopic {
        topic: String = ..=12,
        topic_id: Uuid = 13..,
        partitions: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// Batches, raw. In version 7 and above a partition may be missing: nothing changed there (KIP-227).
    FetchResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = 7..,
        session_id: i32 = 7..,
        responses: Vec<FetchableTopicResponse> = ..,
        node_endpoints: Vec<NodeEndpoint> = 16..; tag 0,
    }

    FetchableTopicResponse {
        topic: String = ..=12,
        topic_id: Uuid = 13..,
        partitions: Vec<PartitionData> = ..,
    }

    PartitionData {
        partition_index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        high_watermark: Offset = ..,
        last_stable_offset: Offset = ..; default Offset(-1),
        log_start_offset: Offset = 5..; default Offset(-1),
        diverging_epoch: EpochEndOffset = 12..; tag 0,
        current_leader: LeaderIdAndEpoch = 12..; tag 1,
        snapshot_id: SnapshotId = 12..; tag 2,
        aborted_transactions: Option<Vec<AbortedTransaction>> = ..; default Some(Vec::new()),
        preferred_read_replica: BrokerId = 11..; default BrokerId(-1),
        records: Option<Records> = ..,
    }

    EpochEndOffset {
        epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
        end_offset: Offset = ..; default Offset(-1),
    }

    LeaderIdAndEpoch {
        leader_id: BrokerId = ..; default BrokerId(-1),
        leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
    }

    SnapshotId {
        end_offset: Offset = ..; default Offset(-1),
        epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
    }

    AbortedTransaction {
        producer_id: ProducerId = ..,
        first_offset: Offset = ..,
    }

    NodeEndpoint {
        node_id: BrokerId = ..,
        host: String = ..,
        port: i32 = ..,
        rack: Option<String> = ..,
    }
}
