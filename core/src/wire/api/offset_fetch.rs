//! OffsetFetch: what a group has committed.

use crate::error::ErrorCode;
use crate::id::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::wire::macros::message;

message! {
    /// Which groups and partitions. Version 7 can wait for stable offsets (KIP-447); 8 asks for several groups (KIP-709); 10 names topics by id.
    OffsetFetchRequest {
        group_id: String = ..=7,
        topics: Option<Vec<OffsetFetchRequestTopic>> = ..=7; null 2..=7; default Some(Vec::new()),
        groups: Vec<OffsetFetchRequestGroup> = 8..,
        require_stable: bool = 7..,
    }

    OffsetFetchRequestTopic {
        name: String = ..,
        partition_indexes: Vec<PartitionIndex> = ..,
    }

    OffsetFetchRequestGroup {
        group_id: String = ..,
        member_id: Option<String> = 9..,
        member_epoch: i32 = 9..; default -1,
        topics: Option<Vec<OffsetFetchRequestTopics>> = ..; default Some(Vec::new()),
    }

    OffsetFetchRequestTopics {
        name: String = ..=9,
        topic_id: Uuid = 10..,
        partition_indexes: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// What was committed; offset −1 where nothing was.
    OffsetFetchResponse {
        throttle_time_ms: i32 = 3..,
        topics: Vec<OffsetFetchResponseTopic> = ..=7,
        error_code: ErrorCode = 2..=7,
        groups: Vec<OffsetFetchResponseGroup> = 8..,
    }

    OffsetFetchResponseTopic {
        name: String = ..,
        partitions: Vec<OffsetFetchResponsePartition> = ..,
    }

    OffsetFetchResponsePartition {
        partition_index: PartitionIndex = ..,
        committed_offset: Offset = ..,
        committed_leader_epoch: LeaderEpoch = 5..; default LeaderEpoch(-1),
        metadata: Option<String> = ..; default Some(String::new()),
        error_code: ErrorCode = ..,
    }

    OffsetFetchResponseGroup {
        group_id: String = ..,
        topics: Vec<OffsetFetchResponseTopics> = ..,
        error_code: ErrorCode = ..,
    }

    OffsetFetchResponseTopics {
        name: String = ..=9,
        topic_id: Uuid = 10..,
        partitions: Vec<OffsetFetchResponsePartitions> = ..,
    }

    OffsetFetchResponsePartitions {
        partition_index: PartitionIndex = ..,
        committed_offset: Offset = ..,
        committed_leader_epoch: LeaderEpoch = ..; default LeaderEpoch(-1),
        metadata: Option<String> = ..; default Some(String::new()),
        error_code: ErrorCode = ..,
    }
}
