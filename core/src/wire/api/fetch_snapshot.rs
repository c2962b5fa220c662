//! FetchSnapshot: a slice of a metadata snapshot (KIP-630).

use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::wire::frame::Records;
use crate::wire::macros::message;

message! {
    /// Which snapshot, from where.
    FetchSnapshotRequest {
        cluster_id: Option<String> = ..; tag 0,
        replica_id: BrokerId = ..; default BrokerId(-1),
        max_bytes: i32 = ..; default i32::MAX,
        topics: Vec<TopicSnapshot> = ..,
    }

    TopicSnapshot {
        name: String = ..,
        partitions: Vec<PartitionSnapshot> = ..,
    }

    PartitionSnapshot {
        partition: PartitionIndex = ..,
        current_leader_epoch: LeaderEpoch = ..,
        snapshot_id: SnapshotId = ..,
        position: i64 = ..,
        replica_directory_id: Uuid = 1..; tag 0,
    }

    SnapshotId {
        end_offset: Offset = ..,
        epoch: LeaderEpoch = ..,
    }
}

message! {
    /// Bytes of the snapshot.
    FetchSnapshotResponse {
        throttle_time_ms: i32 = ..,
        error_code: ErrorCode = ..,
        topics: Vec<TopicSnapshotResult> = ..,
        node_endpoints: Vec<NodeEndpoint> = 1..; tag 0,
    }

    TopicSnapshotResult {
        name: String = ..,
        partitions: Vec<PartitionSnapshotResult> = ..,
    }

    PartitionSnapshotResult {
        index: PartitionIndex = ..,
        error_code: ErrorCode = ..,
        snapshot_id: SnapshotId = ..,
        current_leader: LeaderIdAndEpoch = ..; tag 0,
        size: i64 = ..,
        position: i64 = ..,
        unaligned_records: Records = ..,
    }

    LeaderIdAndEpoch {
        leader_id: BrokerId = ..,
        leader_epoch: LeaderEpoch = ..,
    }

    NodeEndpoint {
        node_id: BrokerId = ..,
        host: String = ..,
        port: u16 = ..,
    }
}
