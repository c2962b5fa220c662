//! Records of `__consumer_offsets`.

use bytes::Bytes;

use crate::id::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::time::Timestamp;
use crate::wire::macros::message;

message! {
    /// Whose offset of which partition. Types 0 and 1 have the same form.
    OffsetCommitKey {
        group: String = ..,
        topic: String = ..,
        partition: PartitionIndex = ..,
    }
}

message! {
    /// A committed offset. Version 4 is flexible; write at most 3 while older readers matter.
    OffsetCommitValue {
        offset: Offset = ..,
        leader_epoch: LeaderEpoch = 3..; default LeaderEpoch(-1),
        metadata: String = ..,
        commit_timestamp: Timestamp = ..,
        expire_timestamp: Timestamp = 1..=1; default Timestamp(-1),
        topic_id: Uuid = 4..; tag 0,
    }
}

message! {
    /// Which classic group.
    GroupMetadataKey {
        group: String = ..,
    }
}

message! {
    /// A classic group's stable generation. Version 4 is flexible; write at most 3 while older readers matter.
    GroupMetadataValue {
        protocol_type: String = ..,
        generation: i32 = ..,
        protocol: Option<String> = ..; default Some(String::new()),
        leader: Option<String> = ..; default Some(String::new()),
        current_state_timestamp: Timestamp = 2..; default Timestamp(-1),
        members: Vec<MemberMetadata> = ..,
    }

    MemberMetadata {
        member_id: String = ..,
        group_instance_id: Option<String> = 3..,
        client_id: String = ..,
        client_host: String = ..,
        rebalance_timeout: i32 = 1..; default -1,
        session_timeout: i32 = ..,
        subscription: Bytes = ..,
        assignment: Bytes = ..,
    }
}

message! {
    /// Which group of the consumer protocol (KIP-848).
    ConsumerGroupMetadataKey {
        group_id: String = ..,
    }
}

message! {
    /// Its epoch.
    ConsumerGroupMetadataValue {
        epoch: i32 = ..,
        metadata_hash: i64 = ..; tag 0,
    }
}

message! {
    /// Which group's view of its topics; only ever deleted since Kafka 4.1.
    ConsumerGroupPartitionMetadataKey {
        group_id: String = ..,
    }
}

message! {
    /// The topics as that group saw them.
    ConsumerGroupPartitionMetadataValue {
        topics: Vec<TopicMetadata> = ..,
    }

    TopicMetadata {
        topic_id: Uuid = ..,
        topic_name: String = ..,
        num_partitions: i32 = ..,
        partition_metadata: Vec<PartitionMetadata> = ..,
    }

    PartitionMetadata {
        partition: PartitionIndex = ..,
        racks: Vec<String> = ..,
    }
}

message! {
    /// Which member.
    ConsumerGroupMemberMetadataKey {
        group_id: String = ..,
        member_id: String = ..,
    }
}

message! {
    /// What the member said of itself.
    ConsumerGroupMemberMetadataValue {
        instance_id: Option<String> = ..; default Some(String::new()),
        rack_id: Option<String> = ..; default Some(String::new()),
        client_id: String = ..,
        client_host: String = ..,
        subscribed_topic_names: Vec<String> = ..,
        subscribed_topic_regex: Option<String> = ..; default Some(String::new()),
        rebalance_timeout_ms: i32 = ..; default -1,
        server_assignor: Option<String> = ..; default Some(String::new()),
        classic_member_metadata: Option<ClassicMemberMetadata> = ..; tag 0,
    }

    ClassicMemberMetadata {
        session_timeout_ms: i32 = ..,
        supported_protocols: Vec<ClassicProtocol> = ..,
    }

    ClassicProtocol {
        name: String = ..,
        metadata: Bytes = ..,
    }
}

message! {
    /// Which group's target assignment.
    ConsumerGroupTargetAssignmentMetadataKey {
        group_id: String = ..,
    }
}

message! {
    /// Its epoch.
    ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: i32 = ..,
        assignment_timestamp: Timestamp = ..; tag 0,
    }
}

message! {
    /// Which member's target.
    ConsumerGroupTargetAssignmentMemberKey {
        group_id: String = ..,
        member_id: String = ..,
    }
}

message! {
    /// Its partitions.
    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: Vec<TopicPartition> = ..,
    }

    TopicPartition {
        topic_id: Uuid = ..,
        partitions: Vec<PartitionIndex> = ..,
    }
}

message! {
    /// Which member's current assignment.
    ConsumerGroupCurrentMemberAssignmentKey {
        group_id: String = ..,
        member_id: String = ..,
    }
}

message! {
    /// Its partitions and state.
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: i32 = ..,
        previous_member_epoch: i32 = ..,
        state: i8 = ..,
        assigned_partitions: Vec<TopicPartitions> = ..,
        partitions_pending_revocation: Vec<TopicPartitions> = ..,
    }

    TopicPartitions {
        topic_id: Uuid = ..,
        partitions: Vec<PartitionIndex> = ..,
        assignment_epochs: Option<Vec<i32>> = ..; tag 0,
    }
}

message! {
    /// Which group's regular expression.
    ConsumerGroupRegularExpressionKey {
        group_id: String = ..,
        regular_expression: String = ..,
    }
}

message! {
    /// The topics it resolved to.
    ConsumerGroupRegularExpressionValue {
        topics: Vec<String> = ..,
        version: i64 = ..,
        timestamp: Timestamp = ..,
    }
}
