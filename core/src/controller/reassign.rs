//! Plans AlterPartitionReassignments (KIP-455). A move completes when all that stay are in the ISR: see `change.rs`.
//!
//! ```text
//!   [1,2,3] ──to [4,5,3]──► [4,5,3,1,2] adding 4,5 removing 1,2 ──ISR ⊇ 4,5,3──► [4,5,3]
//!      ▲                                │
//!      └────────── given up ────────────┘
//! ```
//!
//! Source: Kafka's `ReplicationControlManager.alterPartitionReassignments`.

use super::change::{Election, Target};
use super::draft::Draft;
use super::image::Partition;
use super::place;
use super::plan::{Plan, Planner, Refusal, outcome};
use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::partition::PartitionId;
use crate::probe;
use crate::wire::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition, ReassignablePartitionResponse,
    ReassignableTopic, ReassignableTopicResponse,
};

impl Planner<'_> {
    /// Plans the moves that can be made, and the end of those that are to be given up.
    pub fn alter_partition_reassignments(
        &mut self,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Plan<AlterPartitionReassignmentsResponse> {
        let mut draft = Draft::new(self);
        let keeps_factor = !request.allow_replication_factor_change;
        let responses = request.topics.iter().map(|topic| reassign_topic(&mut draft, topic, keeps_factor)).collect();
        let response = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            error_message: None,
            responses,
            ..Default::default()
        };
        Plan { records: draft.finish(), response }
    }
}

fn reassign_topic(draft: &mut Draft<'_>, topic: &ReassignableTopic, keeps_factor: bool) -> ReassignableTopicResponse {
    let result = |asked: &ReassignablePartition| {
        let (error_code, error_message) = outcome(reassign(draft, &topic.name, asked, keeps_factor));
        ReassignablePartitionResponse { partition_index: asked.partition_index, error_code, error_message }
    };
    ReassignableTopicResponse { name: topic.name.clone(), partitions: topic.partitions.iter().map(result).collect() }
}

fn reassign(draft: &mut Draft<'_>, name: &str, asked: &ReassignablePartition, keeps_factor: bool) -> Result<(), Refusal> {
    let unknown = |words: String| Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, words);
    let topic = draft.image().topic(name).ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let id = PartitionId { topic: topic.id, index: asked.partition_index };
    let partition = draft.partition(id).ok_or_else(|| unknown(format!("Unable to find partition {name}:{}.", asked.partition_index)))?;
    let target = match &asked.replicas {
        Some(replicas) => {
            if keeps_factor {
                judge_factor(partition, replicas.len())?;
            }
            place::judge(draft.image(), replicas, None)?;
            towards(partition, replicas)
        }
        None => {
            let partition = partition.clone();
            let election = draft.election(id.topic);
            give_up(&partition, name, id, election)?
        }
    };
    draft.change(id, target);
    Ok(())
}

/// How many replicas there are when the move under way is done, and when none is.
fn judge_factor(partition: &Partition, wanted: usize) -> Result<(), Refusal> {
    let now = partition.replicas.len() - partition.removing.len();
    if now == wanted {
        return Ok(());
    }
    let words = format!("The replication factor is changed from {now} to {wanted}");
    Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, words))
}

/// All that come and all that go are replicas until the move is complete; those that go are last, so that they are elected last.
fn towards(partition: &Partition, wanted: &[BrokerId]) -> Target {
    let original = original(partition);
    let mut removing: Vec<BrokerId> = partition.replicas.iter().copied().filter(|id| !wanted.contains(id)).collect();
    removing.sort_unstable();
    // A replica that comes by the move under way still has to come.
    let mut adding: Vec<BrokerId> = wanted.iter().copied().filter(|id| !original.contains(id)).collect();
    adding.sort_unstable();
    let replicas = wanted.iter().chain(&removing).copied().collect();
    Target { replicas, removing, adding, ..Target::of(partition) }
}

/// The replicas before the move began.
fn original(partition: &Partition) -> Vec<BrokerId> {
    partition.replicas.iter().copied().filter(|id| !partition.adding.contains(id)).collect()
}

/// Back to the replicas before the move. If only new ones are in sync, records may be lost: unless one of the old is still eligible.
fn give_up(partition: &Partition, name: &str, id: PartitionId, election: Election) -> Result<Target, Refusal> {
    if !partition.is_moving() {
        return Err(Refusal::new(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress."));
    }
    let replicas = original(partition);
    let isr: Vec<BrokerId> = partition.isr.iter().copied().filter(|id| replicas.contains(id)).collect();
    let is_eligible = partition.elr.iter().any(|id| replicas.contains(id));
    if isr.is_empty() && !is_eligible && election != Election::Unclean {
        let words =
            format!("Unable to revert partition assignment for {name}:{} because it would require an unclean leader election.", id.index);
        return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, words));
    }
    if isr.is_empty() {
        probe!("a move is given up and only new replicas are in sync");
    }
    Ok(Target { isr, replicas, removing: Vec::new(), adding: Vec::new(), election, ..Target::of(partition) })
}
