//! Plans AlterPartition: a leader asks for another ISR. Source: Kafka's `ReplicationControlManager.alterPartition` (KIP-497, 841, 903).

use super::change::Target;
use super::draft::Draft;
use super::image::Partition;
use super::plan::{Plan, Planner};
use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::mutant;
use crate::partition::PartitionId;
use crate::wire::api::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, BrokerState, PartitionData, PartitionResult, TopicData, TopicResult,
};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Plans what leaders may have; the others are refused one by one. The answer shows each partition as it will be.
    pub fn alter_partition(&mut self, request: &AlterPartitionRequest) -> Plan<AlterPartitionResponse> {
        let leader = request.broker_id;
        if self.check_broker_epoch(leader, request.broker_epoch).is_err() {
            let error_code = ErrorCode::STALE_BROKER_EPOCH;
            return Plan { records: Vec::new(), response: AlterPartitionResponse { error_code, ..Default::default() } };
        }
        let mut draft = Draft::new(self);
        let topics = request.topics.iter().map(|topic| alter_topic(&mut draft, leader, topic)).collect();
        Plan { records: draft.finish(), response: AlterPartitionResponse { topics, ..Default::default() } }
    }

    /// Refuses whoever asks under another registration than its last one.
    pub(super) fn check_broker_epoch(&self, broker: BrokerId, epoch: i64) -> Result<(), ErrorCode> {
        match self.image.brokers().get(&broker) {
            Some(registration) if registration.epoch == epoch => Ok(()),
            Some(_) | None => Err(ErrorCode::STALE_BROKER_EPOCH),
        }
    }
}

fn alter_topic(draft: &mut Draft<'_>, leader: BrokerId, topic: &TopicData) -> TopicResult {
    let is_known = draft.image().topic_by_id(topic.topic_id).is_some();
    let result = |asked: &PartitionData| {
        let altered = if is_known {
            alter(draft, leader, PartitionId { topic: topic.topic_id, index: asked.partition_index }, asked)
        } else {
            Err(ErrorCode::UNKNOWN_TOPIC_ID)
        };
        altered.unwrap_or_else(|error_code| PartitionResult { partition_index: asked.partition_index, error_code, ..Default::default() })
    };
    TopicResult { topic_id: topic.topic_id, partitions: topic.partitions.iter().map(result).collect() }
}

fn alter(draft: &mut Draft<'_>, leader: BrokerId, id: PartitionId, asked: &PartitionData) -> Result<PartitionResult, ErrorCode> {
    let election = draft.election(id.topic);
    let partition = draft.partition(id).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let wanted = wanted(asked);
    judge_version(partition, leader, asked)?;
    judge_isr(partition, leader, &wanted, asked.leader_recovery_state)?;
    if !wanted.iter().all(|member| is_eligible(draft, partition, member)) {
        return Err(ErrorCode::INELIGIBLE_REPLICA);
    }
    // Who asks for what is decided already takes back what it asked before: no copy of that may be granted any more.
    let is_touched = wanted.iter().map(|member| member.broker_id).collect::<BTreeSet<_>>() == partition.isr.iter().copied().collect();
    let target = Target {
        is_touched,
        isr: wanted.iter().map(|member| member.broker_id).collect(),
        is_recovering: asked.leader_recovery_state == 1,
        election,
        ..Target::of(partition)
    };
    draft.change(id, target);
    let after = draft.partition(id).expect("looked at above");
    if after.leader != Some(leader) {
        // The end of a move took the lead from who asked: it finds the new leader in the metadata.
        return Err(ErrorCode::NEW_LEADER_ELECTED);
    }
    Ok(PartitionResult {
        partition_index: id.index,
        error_code: ErrorCode::NONE,
        leader_id: leader,
        leader_epoch: after.leader_epoch,
        isr: after.isr.clone(),
        leader_recovery_state: i8::from(after.is_recovering),
        partition_epoch: after.partition_epoch,
    })
}

/// The ISR that is asked for; before version 3 without broker epochs.
fn wanted(asked: &PartitionData) -> Vec<BrokerState> {
    if asked.new_isr_with_epochs.is_empty() {
        asked.new_isr.iter().map(|id| BrokerState { broker_id: *id, broker_epoch: -1 }).collect()
    } else {
        asked.new_isr_with_epochs.clone()
    }
}

/// Whether the leader speaks of the partition as it is.
fn judge_version(partition: &Partition, leader: BrokerId, asked: &PartitionData) -> Result<(), ErrorCode> {
    let compares_epochs = !mutant!(AlterpartNoEpoch);
    // Who knows of a later change than this controller has found another one: this one is deposed, and does not know it yet.
    if asked.leader_epoch > partition.leader_epoch || (compares_epochs && asked.partition_epoch > partition.partition_epoch) {
        return Err(ErrorCode::NOT_CONTROLLER);
    }
    if asked.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FENCED_LEADER_EPOCH);
    }
    if partition.leader != Some(leader) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if compares_epochs && asked.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::INVALID_UPDATE_VERSION);
    }
    Ok(())
}

/// Whether the ISR is one that a leader may ask for.
fn judge_isr(partition: &Partition, leader: BrokerId, wanted: &[BrokerState], recovery: i8) -> Result<(), ErrorCode> {
    let is_replica = |member: &BrokerState| partition.replicas.contains(&member.broker_id);
    let is_twice = |(at, member): (usize, &BrokerState)| wanted[..at].iter().any(|one| one.broker_id == member.broker_id);
    let has_leader = wanted.iter().any(|member| member.broker_id == leader);
    if !wanted.iter().all(is_replica) || wanted.iter().enumerate().any(is_twice) || !has_leader {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    // KIP-704: a leader that came by an unclean election is alone until it has recovered, and never goes back.
    match recovery {
        0 => Ok(()),
        1 if partition.is_recovering && wanted.len() == 1 => Ok(()),
        _ => Err(ErrorCode::INVALID_REQUEST),
    }
}

/// Whether a broker may be in an ISR: it is here, stays, has the disk where its replica lies, and is the one that the leader saw catch up.
fn is_eligible(draft: &Draft<'_>, partition: &Partition, member: &BrokerState) -> bool {
    let Some(broker) = draft.broker(member.broker_id) else { return false };
    // KIP-841: whoever is fenced or stops would be removed at once, and leads nothing.
    let counts = broker.is_active() || mutant!(FencedInIsr);
    // KIP-903: a broker that restarted with an empty disk must not join by what its former life had fetched.
    let is_same = member.broker_epoch == -1 || member.broker_epoch == broker.epoch || mutant!(IsrStaleBroker);
    let has_replica = partition.directory(member.broker_id).is_none_or(|dir| broker.has_directory(dir));
    counts && has_replica && is_same
}
