//! What members of a classic group tell each other: subscriptions and assignments, and what the sticky assignors put into their user data.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::client::assign::{Assignor, Member};
use crate::client::{Topic, TopicPartition};
use crate::id::PartitionIndex;
use crate::wire::records::consumer::{self, ConsumerProtocolAssignment, ConsumerProtocolSubscription};

/// The version that is written: the newest.
const VERSION: i16 = 3;

/// What the eager sticky assignor remembers of the last assignment, since its member gives everything up before it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sticky {
    pub(super) parts: Vec<TopicPartition>,
    pub(super) generation: i32,
}

/// The metadata of one protocol in a JoinGroup.
pub(super) fn encode(
    assignor: Assignor,
    topics: &BTreeSet<Topic>,
    owned: &BTreeSet<TopicPartition>,
    generation: i32,
    sticky: Option<&Sticky>,
) -> Bytes {
    let user_data = match assignor {
        Assignor::Range | Assignor::RoundRobin => None,
        Assignor::Sticky => sticky.map(encode_sticky),
        Assignor::CooperativeSticky => Some(Bytes::copy_from_slice(&generation.to_be_bytes())),
    };
    let subscription = ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| topic.to_string()).collect(),
        user_data,
        owned_partitions: by_topic(owned),
        generation_id: generation,
        rack_id: None,
    };
    subscription.encode(VERSION)
}

/// What an assignor is told of a member. A member whose metadata cannot be read wants nothing.
pub(super) fn decode(assignor: Assignor, metadata: Bytes, instance: Option<String>) -> Member {
    let Ok(subscription) = ConsumerProtocolSubscription::decode(metadata) else {
        return Member { instance, generation: -1, ..Member::default() };
    };
    let topics = subscription.topics.iter().map(|topic| Topic::from(topic.as_str())).collect();
    let user_data = subscription.user_data.unwrap_or_default();
    let (owned, generation) = match assignor {
        Assignor::Sticky => decode_sticky(user_data).map_or((Vec::new(), -1), |sticky| (sticky.parts, sticky.generation)),
        Assignor::CooperativeSticky => {
            // Before version 2 the generation was in the user data only.
            let told =
                if subscription.generation_id >= 0 { subscription.generation_id } else { read_i32(&mut user_data.clone()).unwrap_or(-1) };
            (flat(&subscription.owned_partitions), told)
        }
        Assignor::Range | Assignor::RoundRobin => (flat(&subscription.owned_partitions), subscription.generation_id),
    };
    Member { topics, instance, owned, generation }
}

pub(super) fn encode_assignment(parts: &[TopicPartition]) -> Bytes {
    let parts: BTreeSet<TopicPartition> = parts.iter().cloned().collect();
    ConsumerProtocolAssignment { assigned_partitions: by_topic(&parts), user_data: None }.encode(VERSION)
}

pub(super) fn decode_assignment(bytes: Bytes) -> Option<BTreeSet<TopicPartition>> {
    let assignment = ConsumerProtocolAssignment::decode(bytes).ok()?;
    Some(flat(&assignment.assigned_partitions).into_iter().collect())
}

fn by_topic(parts: &BTreeSet<TopicPartition>) -> Vec<consumer::TopicPartition> {
    let mut topics: BTreeMap<&Topic, Vec<PartitionIndex>> = BTreeMap::new();
    for part in parts {
        topics.entry(&part.topic).or_default().push(part.partition);
    }
    topics.into_iter().map(|(topic, partitions)| consumer::TopicPartition { topic: topic.to_string(), partitions }).collect()
}

fn flat(topics: &[consumer::TopicPartition]) -> Vec<TopicPartition> {
    let mut parts = Vec::new();
    for topic in topics {
        let name = Topic::from(topic.topic.as_str());
        parts.extend(topic.partitions.iter().map(|partition| TopicPartition { topic: Topic::clone(&name), partition: *partition }));
    }
    parts
}

/// Version 1 of Kafka's `StickyAssignor` user data: partitions by topic, then the generation.
fn encode_sticky(sticky: &Sticky) -> Bytes {
    let mut out = BytesMut::new();
    let topics = by_topic(&sticky.parts.iter().cloned().collect());
    out.put_i32(length(topics.len()));
    for topic in topics {
        out.put_i16(i16::try_from(topic.topic.len()).expect("topic names have at most 249 bytes"));
        out.put_slice(topic.topic.as_bytes());
        out.put_i32(length(topic.partitions.len()));
        topic.partitions.iter().for_each(|partition| out.put_i32(partition.0));
    }
    out.put_i32(sticky.generation);
    out.freeze()
}

fn length(n: usize) -> i32 {
    i32::try_from(n).expect("an assignment fits a frame")
}

/// Versions 0 and 1; `None` for anything else, as Kafka forgets what it cannot read.
fn decode_sticky(mut bytes: Bytes) -> Option<Sticky> {
    let mut parts = Vec::new();
    for _ in 0..read_i32(&mut bytes)? {
        let name = read_count(&mut bytes, |b| (b.len() >= 2).then(|| i32::from(b.get_i16())), 1)?;
        let topic = Topic::from(std::str::from_utf8(&bytes.split_to(name)).ok()?);
        for _ in 0..read_count(&mut bytes, read_i32, 4)? {
            parts.push(TopicPartition { topic: Topic::clone(&topic), partition: PartitionIndex(read_i32(&mut bytes)?) });
        }
    }
    Some(Sticky { parts, generation: read_i32(&mut bytes).unwrap_or(-1) })
}

fn read_i32(bytes: &mut Bytes) -> Option<i32> {
    (bytes.len() >= 4).then(|| bytes.get_i32())
}

/// A count of things of `each` bytes, which must be there.
fn read_count(bytes: &mut Bytes, read: impl Fn(&mut Bytes) -> Option<i32>, each: usize) -> Option<usize> {
    let count = usize::try_from(read(bytes)?).ok()?;
    (count.checked_mul(each)? <= bytes.len()).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts() -> Vec<TopicPartition> {
        vec![TopicPartition::new("a", 0), TopicPartition::new("a", 2), TopicPartition::new("b", 1)]
    }

    #[test]
    fn sticky_user_data_is_kafkas() {
        let sticky = Sticky { parts: vec![TopicPartition::new("t", 1)], generation: 7 };
        let bytes = encode_sticky(&sticky);
        assert_eq!(&bytes[..], b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01\0\0\0\x07");
        assert_eq!(decode_sticky(bytes.clone()), Some(sticky.clone()));
        let old = decode_sticky(bytes.slice(..bytes.len() - 4));
        assert_eq!(old, Some(Sticky { generation: -1, ..sticky }), "version 0 has no generation");
    }

    #[test]
    fn a_member_is_described_as_its_assignor_needs_it() {
        let topics = [Topic::from("a"), Topic::from("b")].into();
        let owned: BTreeSet<TopicPartition> = parts().into_iter().collect();
        let sticky = Sticky { parts: parts(), generation: 3 };
        for assignor in Assignor::ALL {
            let held = if assignor == Assignor::Sticky { BTreeSet::new() } else { owned.clone() };
            let bytes = encode(assignor, &topics, &held, 3, Some(&sticky));
            let expected = Member { topics: topics.clone(), instance: Some("i".into()), owned: parts(), generation: 3 };
            assert_eq!(decode(assignor, bytes, Some("i".into())), expected, "{assignor:?}");
        }
        assert_eq!(decode_assignment(encode_assignment(&parts())), Some(owned));
    }

    proptest! {
        #[test]
        fn noise_is_nothing_to_remember(noise in prop::collection::vec(0..4u8, 0..60)) {
            let _ = decode_sticky(noise.clone().into());
            for assignor in Assignor::ALL {
                let _ = decode(assignor, noise.clone().into(), None);
            }
        }
    }
}
