//! Plans AssignReplicasToDirs (KIP-858): a broker says in which of its directories a replica lies.
//!
//! Source: Kafka's `ReplicationControlManager.handleAssignReplicasToDirs`.

use super::change::{Election, Target};
use super::draft::{Draft, directory};
use super::plan::{Plan, Planner};
use crate::error::ErrorCode;
use crate::id::{BrokerId, Uuid};
use crate::partition::PartitionId;
use crate::wire::api::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, DirectoryData, DirectoryResult, PartitionData, PartitionResult, TopicData,
    TopicResult,
};
use crate::{mutant, probe};

impl Planner<'_> {
    /// Plans where the broker's replicas lie. One that lies in a directory that failed leaves its ISR.
    pub fn assign_replicas_to_dirs(&mut self, request: &AssignReplicasToDirsRequest) -> Plan<AssignReplicasToDirsResponse> {
        let broker = request.broker_id;
        if let Err(error_code) = self.check_broker_epoch(broker, request.broker_epoch) {
            return Plan { records: Vec::new(), response: AssignReplicasToDirsResponse { error_code, ..Default::default() } };
        }
        let mut draft = Draft::new(self);
        let directories = request.directories.iter().map(|dir| assign_directory(&mut draft, broker, dir)).collect();
        Plan { records: draft.finish(), response: AssignReplicasToDirsResponse { directories, ..Default::default() } }
    }
}

fn assign_directory(draft: &mut Draft<'_>, broker: BrokerId, dir: &DirectoryData) -> DirectoryResult {
    let topics = dir.topics.iter().map(|topic| assign_topic(draft, broker, dir.id, topic)).collect();
    DirectoryResult { id: dir.id, topics }
}

fn assign_topic(draft: &mut Draft<'_>, broker: BrokerId, dir: Uuid, topic: &TopicData) -> TopicResult {
    let is_known = draft.image().topic_by_id(topic.topic_id).is_some();
    let result = |asked: &PartitionData| {
        let id = PartitionId { topic: topic.topic_id, index: asked.partition_index };
        let assigned = if is_known { assign(draft, broker, dir, id) } else { Err(ErrorCode::UNKNOWN_TOPIC_ID) };
        PartitionResult { partition_index: asked.partition_index, error_code: assigned.err().unwrap_or(ErrorCode::NONE) }
    };
    TopicResult { topic_id: topic.topic_id, partitions: topic.partitions.iter().map(result).collect() }
}

fn assign(draft: &mut Draft<'_>, broker: BrokerId, dir: Uuid, id: PartitionId) -> Result<(), ErrorCode> {
    let (election, min) = (draft.election(id.topic), draft.min_isr(id.topic));
    let partition = draft.partition(id).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if !partition.replicas.contains(&broker) {
        return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    let is_online = draft.broker(broker).is_some_and(|b| b.has_directory(dir));
    if dir == directory::LOST {
        // The broker gives up what it holds there: whoever holds everything too must be left, and able to lead.
        if !partition.can_spare(broker, draft.image().brokers()) {
            return Err(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE);
        }
        // As a follower it goes on counting for the minimum, and what is bad in it is read from another one. It decides so itself: a log that cannot
        // even be opened is given up.
        let is_needed = partition.leader == Some(broker) && partition.needs(broker, min) && !mutant!(GivenUpInNeed);
        let led_by_another = Target { election: Election::Another, ..Target::of(partition) };
        let given_up = Target { moved: Some((broker, dir)), lost: Some(broker), election, ..Target::of(partition) }.without(broker);
        if is_needed && draft.change(id, led_by_another) {
            probe!("a damaged log that the minimum needs is led by another replica");
            return Err(ErrorCode::NOT_ENOUGH_REPLICAS);
        }
        draft.change(id, given_up);
        return Ok(());
    }
    // Its log lies on another disk because the broker has no longer the one where it was: so it is a new log. A disk that is found again later may hold
    // the old one, which then counts for nothing.
    let is_new = |former| former != dir && !draft.broker(broker).is_some_and(|b| b.has_directory(former));
    let emptied = partition.directory(broker).filter(|former| is_new(*former) && !mutant!(EmptiedLeads)).map(|_| broker);
    let target = Target { moved: Some((broker, dir)), lost: emptied, emptied, election, ..Target::of(partition) };
    draft.change(id, if is_online { target } else { target.without(broker) });
    Ok(())
}
