//! Which replica a request means, and what it is told where that does not lie here (Kafka's `ReplicaManager.getPartitionOrError`).

use super::Broker;
use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::partition::{Partition, PartitionId};

impl Broker {
    /// The partition of a topic that a client names, if there is such a topic. Most have a replica here.
    pub(super) fn named(&self, topic: &str, index: PartitionIndex) -> Option<PartitionId> {
        let here = self.names.get(topic).copied();
        let topic = here.or_else(|| self.image().topic(topic).map(|known| known.id))?;
        Some(PartitionId { topic, index })
    }

    /// The replica that lies here. `unknown` is what the request calls a topic that is not there: that depends on whether it names topics or ids.
    ///
    /// # Errors
    /// A partition that lies elsewhere has a leader, which the client finds by new metadata; only one that is nowhere is unknown.
    pub(super) fn hosted(&self, id: Option<PartitionId>, unknown: ErrorCode) -> Result<&Partition, ErrorCode> {
        let id = id.ok_or(unknown)?;
        if let Some(partition) = self.partitions.get(&id) {
            return Ok(partition);
        }
        let topic = self.image().topic_by_id(id.topic).ok_or(unknown)?;
        let is_elsewhere = topic.partitions.contains_key(&id.index);
        Err(if is_elsewhere { ErrorCode::NOT_LEADER_OR_FOLLOWER } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION })
    }
}
