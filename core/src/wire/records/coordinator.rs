//! Records of `__consumer_offsets`.

use bytes::Bytes;

use crate::id::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::time::Timestamp;
use crate::wire::macros::message;
use crate::wire::message::{decode_versioned, encode_versioned};
use crate::wire::primitive::Malformed;

macro_rules! coordinator_records {
    ($($kind:literal $name:ident: $key:ident, $value:ident, ..= $latest:literal, flexible $flexible:expr, $doc:literal;)*) => {
        /// One record of `__consumer_offsets`: a key with the value that replaces the one before, or with none, which deletes it.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum CoordinatorRecord {
            $(#[doc = $doc] $name($key, Option<$value>),)*
        }

        impl CoordinatorRecord {
            /// Reads a record's key and value. `None` is a kind that this version does not know: it must be kept, and not be interpreted.
            pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<Self>, Malformed> {
                match kind(&key)? {
                    $($kind => {
                        let (_, key) = decode_versioned(key, $kind, i16::MAX)?;
                        let value = value.map(|v| decode_versioned(v, $latest, $flexible)).transpose()?;
                        Ok(Some(Self::$name(key, value.map(|(_, v)| v))))
                    })*
                    _ => Ok(None),
                }
            }

            /// Writes the record's key and value.
            #[must_use]
            pub fn encode(&self) -> (Bytes, Option<Bytes>) {
                let version = self.written_version();
                match self {
                    $(Self::$name(key, value) => (
                        encode_versioned(key, $kind, i16::MAX),
                        value.as_ref().map(|v| encode_versioned(v, version, $flexible)),
                    ),)*
                }
            }
        }
    };
}

coordinator_records! {
    1 OffsetCommit: OffsetCommitKey, OffsetCommitValue, ..=4, flexible 4, "A committed offset.";
    2 GroupMetadata: GroupMetadataKey, GroupMetadataValue, ..=4, flexible 4, "A classic group.";
    3 ConsumerGroupMetadata: ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, ..=0, flexible 0, "A group's epoch.";
    4 ConsumerGroupPartitionMetadata: ConsumerGroupPartitionMetadataKey, ConsumerGroupPartitionMetadataValue, ..=0, flexible 0, "A group's topics.";
    5 ConsumerGroupMemberMetadata: ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue, ..=0, flexible 0, "A member.";
    6 ConsumerGroupTargetAssignmentMetadata: ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue, ..=0, flexible 0,
        "A target assignment's epoch.";
    7 ConsumerGroupTargetAssignmentMember: ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue, ..=0, flexible 0,
        "A member's target.";
    8 ConsumerGroupCurrentMemberAssignment: ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ..=0, flexible 0,
        "What a member holds.";
    16 ConsumerGroupRegularExpression: ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue, ..=0, flexible 0,
        "A resolved regular expression.";
}

/// A key begins with the record's kind. Kind 0 is the oldest form of an offset commit, alike in everything else.
fn kind(key: &Bytes) -> Result<i16, Malformed> {
    let Some((kind, _)) = key.split_first_chunk() else { return Err(Malformed { why: "a coordinator's key has no kind", at: 0 }) };
    Ok(i16::from_be_bytes(*kind).max(1))
}

impl CoordinatorRecord {
    /// The version in which the value is written, as Apache Kafka 4.3 chooses it: the newest without tagged fields, but 4 for an offset whose topic's id
    /// is known, and 1 for one that expires at a time of its own, which only that version can say. A group is never written in 4: Burrow could not read it.
    fn written_version(&self) -> i16 {
        match self {
            Self::OffsetCommit(_, Some(value)) if value.expire_timestamp != Timestamp::NONE => 1,
            Self::OffsetCommit(_, Some(value)) if value.topic_id != Uuid::ZERO => 4,
            Self::OffsetCommit(..) | Self::GroupMetadata(..) => 3,
            Self::ConsumerGroupMetadata(..)
            | Self::ConsumerGroupPartitionMetadata(..)
            | Self::ConsumerGroupMemberMetadata(..)
            | Self::ConsumerGroupTargetAssignmentMetadata(..)
            | Self::ConsumerGroupTargetAssignmentMember(..)
            | Self::ConsumerGroupCurrentMemberAssignment(..)
            | Self::ConsumerGroupRegularExpression(..) => 0,
        }
    }
}

message! {
    /// Whose offset of which partition. Types 0 and 1 have the same form.
    OffsetCommitKey {
        group: String = ..,
        topic: String = ..,
        partition: PartitionIndex = ..,
    }
}

message! {
    /// A committed offset. Version 4 is flexible.
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
        classic_member_metadata: Option<ClassicMemberMetadata> = ..; tag 0; default Some(ClassicMemberMetadata::default()),
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
        assignment_epochs: Option<Vec<i32>> = ..; tag 0; default Some(Vec::new()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> OffsetCommitKey {
        OffsetCommitKey { group: "g".to_owned(), topic: "t".to_owned(), partition: PartitionIndex(2) }
    }

    #[test]
    fn an_offset_commit_looks_as_kafkas() {
        let value = OffsetCommitValue { offset: Offset(5), metadata: "m".to_owned(), commit_timestamp: Timestamp(9), ..Default::default() };
        let record = CoordinatorRecord::OffsetCommit(key(), Some(value));
        let (k, v) = record.encode();
        assert_eq!(k[..], *b"\0\x01\0\x01g\0\x01t\0\0\0\x02");
        let v = v.expect("not a tombstone");
        assert_eq!(v[..], *b"\0\x03\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\0\x01m\0\0\0\0\0\0\0\x09");
        assert_eq!(CoordinatorRecord::decode(k, Some(v)), Ok(Some(record)));
    }

    #[test]
    fn an_offset_that_expires_by_itself_is_written_in_version_one() {
        let value = OffsetCommitValue { expire_timestamp: Timestamp(77), ..Default::default() };
        let record = CoordinatorRecord::OffsetCommit(key(), Some(value));
        let (k, v) = record.encode();
        assert_eq!(v.as_ref().map(|v| v[..2].to_vec()), Some(vec![0, 1]));
        assert_eq!(CoordinatorRecord::decode(k, v), Ok(Some(record)));
    }

    #[test]
    fn oldest_keys_tombstones_and_strangers_are_read() {
        let tombstone = CoordinatorRecord::OffsetCommit(key(), None);
        let oldest = Bytes::from_static(b"\0\0\0\x01g\0\x01t\0\0\0\x02");
        assert_eq!(CoordinatorRecord::decode(oldest, None), Ok(Some(tombstone)));
        assert_eq!(CoordinatorRecord::decode(Bytes::from_static(b"\0\x63what"), None), Ok(None));
        assert!(CoordinatorRecord::decode(Bytes::from_static(b"\0"), None).is_err());
        let (k, _) = CoordinatorRecord::OffsetCommit(key(), None).encode();
        assert!(CoordinatorRecord::decode(k, Some(Bytes::from_static(b"\0\x05"))).is_err());
    }
}
