//! Listens in on what a member says to its coordinator and hears from it, and writes it into the group's ledger: the verdict does not depend on what
//! the member's machine makes of it.

use super::ledger::{CommitNo, Fate, Ledger, Who};
use klamm_core::client::{Topic, TopicPartition};
use klamm_core::error::ErrorCode;
use klamm_core::id::{CallId, PartitionIndex};
use klamm_core::wire::api::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use klamm_core::wire::api::offset_fetch::OffsetFetchResponse;
use klamm_core::wire::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use klamm_core::wire::records::consumer::ConsumerProtocolAssignment;
use klamm_core::wire::{Request, Response};
use std::collections::BTreeMap;

/// A question whose answer is of interest.
#[derive(Clone, Debug)]
enum Asked {
    Sync { who: Who, sent: u64 },
    Commit(CommitNo),
    Committed { sent: u64 },
}

/// One member's line to the coordinator.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    process: u64,
    asked: BTreeMap<CallId, Asked>,
}

fn part(topic: &str, partition: PartitionIndex) -> TopicPartition {
    TopicPartition { topic: Topic::from(topic), partition }
}

impl Tap {
    /// The line of the process of that number.
    #[must_use]
    pub fn of(process: u64) -> Self {
        Self { process, asked: BTreeMap::new() }
    }

    /// The member sends `request`.
    pub fn sent(&mut self, now: u64, call: CallId, request: &Request, ledger: &mut Ledger) {
        if let Request::SyncGroup(request) = request {
            self.asked.insert(call, Asked::Sync { who: syncing(request, self.process), sent: now });
        } else if let Request::OffsetCommit(request) = request {
            self.asked.insert(call, Asked::Commit(commit(now, request, self.process, ledger)));
        } else if let Request::OffsetFetch(_) = request {
            self.asked.insert(call, Asked::Committed { sent: now });
        }
    }

    /// The member hears an answer.
    ///
    /// # Errors
    /// What no member may hear.
    pub fn heard(&mut self, now: u64, call: CallId, response: &Response, ledger: &mut Ledger) -> Result<(), String> {
        match (self.asked.remove(&call), response) {
            (Some(Asked::Sync { who, sent }), Response::SyncGroup(response)) => synced(now, sent, &who, response, ledger),
            (Some(Asked::Commit(no)), Response::OffsetCommit(response)) => committed(now, no, response, ledger),
            (Some(Asked::Committed { sent }), Response::OffsetFetch(response)) => fetched(now, sent, response, ledger),
            (Some(_) | None, _) => Ok(()),
        }
    }
}

fn syncing(request: &SyncGroupRequest, process: u64) -> Who {
    Who { member: request.member_id.clone(), instance: request.group_instance_id.clone(), generation: request.generation_id, process }
}

fn synced(now: u64, sent: u64, who: &Who, response: &SyncGroupResponse, ledger: &mut Ledger) -> Result<(), String> {
    if response.error_code != ErrorCode::NONE || response.assignment.is_empty() {
        return Ok(());
    }
    let assignment = ConsumerProtocolAssignment::decode(response.assignment.clone())
        .map_err(|bad| format!("{who:?} was sent an assignment that cannot be read: {bad:?}"))?;
    let topics = assignment.assigned_partitions.iter();
    let parts = topics.flat_map(|topic| topic.partitions.iter().map(|partition| part(&topic.topic, *partition)));
    ledger.assigned(now, sent, who, parts)
}

fn commit(now: u64, request: &OffsetCommitRequest, process: u64, ledger: &mut Ledger) -> CommitNo {
    let who = Who {
        member: request.member_id.clone(),
        instance: request.group_instance_id.clone(),
        generation: request.generation_id_or_member_epoch,
        process,
    };
    let offsets = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|asked| (part(&topic.name, asked.partition_index), asked.committed_offset.0)));
    ledger.commit(now, who, offsets)
}

fn committed(now: u64, no: CommitNo, response: &OffsetCommitResponse, ledger: &mut Ledger) -> Result<(), String> {
    for topic in &response.topics {
        for answer in &topic.partitions {
            ledger.answered(now, no, &part(&topic.name, answer.partition_index), fate(answer.error_code))?;
        }
    }
    Ok(())
}

/// Errors of the coordinator's own check say that nothing was written; after all others it may have been.
fn fate(error: ErrorCode) -> Fate {
    match error {
        ErrorCode::NONE => Fate::Taken,
        ErrorCode::ILLEGAL_GENERATION
        | ErrorCode::UNKNOWN_MEMBER_ID
        | ErrorCode::FENCED_INSTANCE_ID
        | ErrorCode::REBALANCE_IN_PROGRESS
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => Fate::Refused,
        _ => Fate::Unknown,
    }
}

fn fetched(now: u64, sent: u64, response: &OffsetFetchResponse, ledger: &mut Ledger) -> Result<(), String> {
    if response.error_code != ErrorCode::NONE {
        return Ok(());
    }
    for topic in &response.topics {
        for answer in topic.partitions.iter().filter(|answer| answer.error_code == ErrorCode::NONE) {
            ledger.fetched(now, sent, &part(&topic.name, answer.partition_index), answer.committed_offset.0)?;
        }
    }
    Ok(())
}
