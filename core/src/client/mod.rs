//! The client side of the protocol as sans-IO machines: producer, consumer, group member.
//!
//! Never touches a socket, clock or task: the same machines run under the command line, the simulator and the consistency tester.

use std::fmt;
use std::sync::Arc;

use crate::id::PartitionIndex;

pub mod assign;
mod cluster;
pub mod consumer;
#[cfg(test)]
mod fake;
pub mod io;
mod links;
mod metadata;
pub mod partitioner;
pub mod producer;
mod versions;

/// A topic's name, cheap to share.
pub type Topic = Arc<str>;

/// One partition of one topic. Ordered by topic, then by number, as Kafka orders them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Topic,
    /// The partition's number within it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<Topic>, partition: i32) -> Self {
        Self { topic: topic.into(), partition: PartitionIndex(partition) }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
