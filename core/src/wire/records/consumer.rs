//! What consumers of the classic protocol put into JoinGroup and SyncGroup: opaque to the broker, read by the group's leader.

use bytes::Bytes;

use crate::id::PartitionIndex;
use crate::wire::macros::message;

message! {
    /// What a member wants. Version 1 says what it holds (KIP-429), 2 since which generation, 3 in which rack (KIP-881).
    ConsumerProtocolSubscription {
        topics: Vec<String> = ..,
        user_data: Option<Bytes> = ..,
        owned_partitions: Vec<TopicPartition> = 1..,
        generation_id: i32 = 2..; default -1,
        rack_id: Option<String> = 3..,
    }

    TopicPartition {
        topic: String = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// What a member is given.
    ConsumerProtocolAssignment {
        assigned_partitions: Vec<TopicPartition> = ..,
        user_data: Option<Bytes> = ..,
    }
}
