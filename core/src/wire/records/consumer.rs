//! What consumers of the classic protocol put into JoinGroup and SyncGroup: opaque to the broker, read by the group's leader.

use bytes::Bytes;

use crate::id::PartitionIndex;
use crate::wire::macros::message;
use crate::wire::message::encode_versioned;
use crate::wire::primitive::{Malformed, Reader, Shape};
use crate::wire::value::Wire;

/// The newest version of both; a newer one is read as this one, since later versions only append.
const LATEST: i16 = 3;

impl ConsumerProtocolSubscription {
    /// The metadata of a JoinGroup protocol: a version and a subscription.
    #[must_use]
    pub fn encode(&self, version: i16) -> Bytes {
        encode_versioned(self, version, i16::MAX)
    }

    /// Reads what [`Self::encode`] of any member wrote.
    pub fn decode(metadata: Bytes) -> Result<Self, Malformed> {
        decode_appended(metadata)
    }
}

impl ConsumerProtocolAssignment {
    /// The assignment of a SyncGroup: a version and an assignment.
    #[must_use]
    pub fn encode(&self, version: i16) -> Bytes {
        encode_versioned(self, version, i16::MAX)
    }

    /// Reads what [`Self::encode`] of any leader wrote.
    pub fn decode(assignment: Bytes) -> Result<Self, Malformed> {
        decode_appended(assignment)
    }
}

fn decode_appended<T: Wire>(bytes: Bytes) -> Result<T, Malformed> {
    let mut r = Reader::new(bytes, Shape { version: 0, flexible: false });
    let version = i16::read(&mut r)?;
    if version < 0 {
        return Err(r.malformed("a negative version"));
    }
    r.set_shape(Shape { version: version.min(LATEST), flexible: false });
    T::read(&mut r)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_read_in_older_and_newer_versions() {
        let full = ConsumerProtocolSubscription {
            topics: vec!["t".to_owned()],
            owned_partitions: vec![TopicPartition { topic: "t".to_owned(), partitions: vec![PartitionIndex(1)] }],
            generation_id: 4,
            rack_id: Some("r".to_owned()),
            ..Default::default()
        };
        let oldest = ConsumerProtocolSubscription { topics: full.topics.clone(), ..Default::default() };
        assert_eq!(full.encode(0)[..], *b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
        assert_eq!(ConsumerProtocolSubscription::decode(full.encode(0)), Ok(oldest));
        assert_eq!(ConsumerProtocolSubscription::decode(full.encode(3)), Ok(full.clone()));
        let mut future = full.encode(3).to_vec();
        future[1] = 9;
        future.extend_from_slice(b"news");
        assert_eq!(ConsumerProtocolSubscription::decode(future.into()), Ok(full));
        assert!(ConsumerProtocolSubscription::decode(Bytes::from_static(&[0xff, 0xff])).is_err());
    }

    #[test]
    fn an_assignment_reads_back() {
        let partitions = vec![TopicPartition { topic: "t".to_owned(), partitions: vec![PartitionIndex(0), PartitionIndex(2)] }];
        let assignment = ConsumerProtocolAssignment { assigned_partitions: partitions, user_data: None };
        assert_eq!(ConsumerProtocolAssignment::decode(assignment.encode(1)), Ok(assignment));
    }
}
