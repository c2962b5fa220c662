//! The records of `__consumer_offsets` that this coordinator writes and reads, as events of its own. Never decides anything.

use super::Client;
use super::consumer::{self, Change};
use super::group::{Snapshot, SnapshotMember};
use super::offsets::Committed;
use crate::id::PartitionIndex;
use crate::wire::Malformed;
use crate::wire::record::Payload;
use crate::wire::records::coordinator::{
    CoordinatorRecord, GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};

/// One thing that happened to a group, as its record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The group is so now; `None`: it is gone.
    Group {
        /// Which.
        group: String,
        /// How.
        value: Option<Snapshot>,
    },
    /// Something happened to a consumer group.
    Consumer {
        /// Which.
        group: String,
        /// What.
        change: Change,
    },
    /// An offset was committed; `None`: it is gone.
    Offset {
        /// Whose.
        group: String,
        /// Of which topic.
        topic: String,
        /// Of which partition.
        partition: PartitionIndex,
        /// What.
        value: Option<Committed>,
    },
}

impl Event {
    /// Whose record it is.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Group { group, .. } | Self::Consumer { group, .. } | Self::Offset { group, .. } => group,
        }
    }
}

/// The record for an event.
#[must_use]
pub fn encode(event: &Event) -> Payload {
    let record = match event.clone() {
        Event::Group { group, value } => CoordinatorRecord::GroupMetadata(GroupMetadataKey { group }, value.map(group_value)),
        Event::Consumer { group, change } => consumer::records::encode(group, change),
        Event::Offset { group, topic, partition, value } => {
            CoordinatorRecord::OffsetCommit(OffsetCommitKey { group, topic, partition }, value.map(offset_value))
        }
    };
    let (key, value) = record.encode();
    Payload { key: Some(key), value, headers: Vec::new() }
}

/// The event that a record tells; `None` where it is of a kind for others.
///
/// # Errors
/// `Malformed` where it has one of the known kinds, but not its form.
pub fn decode(payload: &Payload) -> Result<Option<Event>, Malformed> {
    let Some(key) = &payload.key else { return Ok(None) };
    let Some(record) = CoordinatorRecord::decode(key.clone(), payload.value.clone())? else { return Ok(None) };
    Ok(match record {
        CoordinatorRecord::OffsetCommit(OffsetCommitKey { group, topic, partition }, value) => {
            Some(Event::Offset { group, topic, partition, value: value.map(read_offset) })
        }
        CoordinatorRecord::GroupMetadata(GroupMetadataKey { group }, value) => Some(Event::Group { group, value: value.map(read_group) }),
        record @ (CoordinatorRecord::ConsumerGroupMetadata(..)
        | CoordinatorRecord::ConsumerGroupPartitionMetadata(..)
        | CoordinatorRecord::ConsumerGroupMemberMetadata(..)
        | CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(..)
        | CoordinatorRecord::ConsumerGroupTargetAssignmentMember(..)
        | CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(..)
        | CoordinatorRecord::ConsumerGroupRegularExpression(..)) => {
            consumer::records::decode(record).map(|(group, change)| Event::Consumer { group, change })
        }
    })
}

fn offset_value(committed: Committed) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata,
        commit_timestamp: committed.at,
        expire_timestamp: committed.expires,
        topic_id: committed.topic,
    }
}

fn read_offset(value: OffsetCommitValue) -> Committed {
    Committed {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata,
        at: value.commit_timestamp,
        expires: value.expire_timestamp,
        topic: value.topic_id,
    }
}

fn group_value(snapshot: Snapshot) -> GroupMetadataValue {
    let member = |member: SnapshotMember| MemberMetadata {
        member_id: member.id,
        group_instance_id: member.instance,
        client_id: member.client.id,
        client_host: member.client.host,
        rebalance_timeout: member.rebalance_ms,
        session_timeout: member.session_ms,
        subscription: member.subscription,
        assignment: member.assignment,
    };
    GroupMetadataValue {
        protocol_type: snapshot.protocol_type,
        generation: snapshot.generation,
        protocol: snapshot.protocol,
        leader: snapshot.leader,
        current_state_timestamp: snapshot.since,
        members: snapshot.members.into_iter().map(member).collect(),
    }
}

fn read_group(value: GroupMetadataValue) -> Snapshot {
    let member = |member: MemberMetadata| SnapshotMember {
        id: member.member_id,
        instance: member.group_instance_id,
        client: Client { id: member.client_id, host: member.client_host },
        rebalance_ms: member.rebalance_timeout,
        session_ms: member.session_timeout,
        subscription: member.subscription,
        assignment: member.assignment,
    };
    Snapshot {
        protocol_type: value.protocol_type,
        generation: value.generation,
        protocol: value.protocol,
        leader: value.leader,
        since: value.current_state_timestamp,
        members: value.members.into_iter().map(member).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{LeaderEpoch, Offset, Uuid};
    use crate::time::Timestamp;
    use bytes::Bytes;

    fn bytes(hex: &str) -> Bytes {
        let digits: Vec<u8> =
            hex.bytes().filter(u8::is_ascii_hexdigit).map(|d| u8::try_from(char::from(d).to_digit(16).unwrap()).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// As Apache Kafka 4.3.1 wrote it for a reset by its own tool.
    #[test]
    fn a_commit_is_written_as_kafka_writes_it() {
        let event = Event::Offset {
            group: "g1".into(),
            topic: "tt".into(),
            partition: PartitionIndex(1),
            value: Some(Committed {
                offset: Offset(0),
                leader_epoch: LeaderEpoch(-1),
                metadata: String::new(),
                at: Timestamp(0x01a2_06a7_9726),
                expires: Timestamp::NONE,
                topic: Uuid(*b"\x26\x4e\xef\x2a\xd1\xab\x41\x2f\x93\xe6\x0a\xe7\xbd\x62\x66\xbb"),
            }),
        };
        let payload = encode(&event);
        assert_eq!(payload.key, Some(bytes("0001 0002 6731 0002 7474 00000001")));
        let value = "0004 0000000000000000 ffffffff 01 000001a206a79726 01 00 10 264eef2ad1ab412f93e60ae7bd6266bb";
        assert_eq!(payload.value, Some(bytes(value)));
        assert_eq!(decode(&payload), Ok(Some(event)));
    }

    #[test]
    fn older_commits_are_read_and_written_where_they_say_more() {
        let old = Payload {
            key: Some(bytes("0000 0001 67 0001 74 00000002")),
            value: Some(bytes("0001 0000000000000007 0001 6d 0000000000000010 0000000000000020")),
            headers: Vec::new(),
        };
        let Ok(Some(Event::Offset { value: Some(committed), partition, .. })) = decode(&old) else { panic!("an offset") };
        assert_eq!((partition, committed.offset, committed.expires), (PartitionIndex(2), Offset(7), Timestamp(0x20)));
        assert_eq!((&*committed.metadata, committed.topic, committed.leader_epoch), ("m", Uuid::ZERO, LeaderEpoch(-1)));
        let event = |committed| Event::Offset { group: "g".into(), topic: "t".into(), partition, value: Some(committed) };
        assert_eq!(encode(&event(committed.clone())).value, old.value, "only version 1 can say when it expires");
        let plain = encode(&event(Committed { expires: Timestamp::NONE, ..committed }));
        assert_eq!(plain.value, Some(bytes("0003 0000000000000007 ffffffff 0001 6d 0000000000000010")));
    }

    #[test]
    fn a_group_comes_back_as_it_was_written() {
        let member = SnapshotMember {
            id: "m".into(),
            instance: Some("i".into()),
            client: Client { id: "c".into(), host: "/h".into() },
            rebalance_ms: 60_000,
            session_ms: 10_000,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::from_static(b"a"),
        };
        let snapshot = Snapshot {
            protocol_type: "consumer".into(),
            generation: 4,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            since: Timestamp(5),
            members: vec![member],
        };
        for value in [Some(snapshot), Some(Snapshot::default()), None] {
            let event = Event::Group { group: "g".into(), value };
            let payload = encode(&event);
            assert_eq!(payload.key, Some(bytes("0002 0001 67")));
            assert!(payload.value.as_ref().is_none_or(|value| value.starts_with(&[0, 3])));
            assert_eq!(decode(&payload), Ok(Some(event)));
        }
    }

    #[test]
    fn records_of_others_are_left_alone_and_broken_ones_are_said_to_be_broken() {
        let payload = |key: &str, value: &str| Payload { key: Some(bytes(key)), value: Some(bytes(value)), headers: Vec::new() };
        assert_eq!(decode(&payload("0063 0001 67", "0000")), Ok(None));
        assert_eq!(decode(&Payload::default()), Ok(None));
        assert!(decode(&payload("00", "")).is_err());
        assert!(decode(&payload("0002 0005 67", "0003")).is_err());
        assert!(decode(&payload("0002 0001 67", "0003 00")).is_err());
        assert!(decode(&payload("0001 0001 67 0001 74 00000002", "")).is_err());
    }
}
