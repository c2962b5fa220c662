//! `DeleteRecords` (KIP-107): moves a log's start, and answers when the logs of all replicas that live begin there: the least start among them is the
//! answer's low watermark (Kafka's `DelayedDeleteRecords`). Followers hear of the new start by their fetches.

use super::{Broker, Timer, Token, ms};
use crate::controller::name;
use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset, PartitionIndex};
use crate::partition::{PartitionId, Role};
use crate::probe;
use crate::time::Instant;
use crate::wire::api::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};

/// A request that waits for followers.
#[derive(Clone, Debug)]
pub(super) struct Deleting {
    topics: Vec<DeleteRecordsTopicResult>,
    waits: Vec<Wait>,
    deadline: Instant,
}

/// One partition that it waits for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    id: PartitionId,
    /// Where all logs must begin.
    to: Offset,
    /// Its topic's place in the answer, and its own within that.
    at: (usize, usize),
}

impl Deleting {
    fn settle(&mut self, (topic, partition): (usize, usize), outcome: Result<Offset, ErrorCode>) {
        let answer = &mut self.topics[topic].partitions[partition];
        (answer.low_watermark, answer.error_code) = match outcome {
            Ok(low) => (low, ErrorCode::NONE),
            Err(code) => (Offset::UNKNOWN, code),
        };
    }
}

impl Broker {
    pub(super) fn delete_records(&mut self, token: Token, body: &DeleteRecordsRequest) {
        let deadline = self.now.at.after(ms(body.timeout_ms.into()));
        let mut deleting = Deleting { topics: Vec::new(), waits: Vec::new(), deadline };
        for (topic, asked) in body.topics.iter().enumerate() {
            let answer = |index| DeleteRecordsPartitionResult { partition_index: index, ..Default::default() };
            let partitions = asked.partitions.iter().map(|p| answer(p.partition_index)).collect();
            deleting.topics.push(DeleteRecordsTopicResult { name: asked.name.clone(), partitions });
            for (partition, wanted) in asked.partitions.iter().enumerate() {
                let (at, moved) = ((topic, partition), self.move_start(&asked.name, wanted.partition_index, wanted.offset));
                match moved.and_then(|(id, to)| Ok((id, to, self.low_watermark(id)?))) {
                    Ok((_, to, low)) if low >= to => deleting.settle(at, Ok(low)),
                    Ok((id, to, _)) => {
                        deleting.settle(at, Err(ErrorCode::REQUEST_TIMED_OUT));
                        deleting.waits.push(Wait { id, to, at });
                    }
                    Err(code) => deleting.settle(at, Err(code)),
                }
            }
        }
        if deleting.waits.is_empty() {
            return self.reply(token, DeleteRecordsResponse { topics: deleting.topics, ..Default::default() }.into());
        }
        probe!("deleted records wait for the followers");
        self.timers.insert((deadline, Timer::Deletion(token)));
        self.deleting.insert(token, deleting);
    }

    /// Moves the start of one log to `to` (−1: the high watermark), unless it lies there or behind. Returns where that is.
    fn move_start(&mut self, topic: &str, index: PartitionIndex, to: Offset) -> Result<(PartitionId, Offset), ErrorCode> {
        let known = self.image().topic(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if name::is_internal(topic) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        let id = PartitionId { topic: known.id, index };
        let partition = self.hosted(Some(id), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let leader = match &partition.role {
            Role::Leader(leader) => leader,
            Role::Opening | Role::Follower(_) => return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            Role::Offline { .. } => return Err(ErrorCode::KAFKA_STORAGE_ERROR),
        };
        if !partition.config.cleanup.delete {
            return Err(ErrorCode::POLICY_VIOLATION);
        }
        let to = if to == Offset::UNKNOWN { leader.high() } else { to };
        if to < Offset::ZERO || to > leader.high() {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        self.advance_start(id, to);
        Ok((id, to))
    }

    /// The least log start of all replicas that live.
    fn low_watermark(&self, id: PartitionId) -> Result<Offset, ErrorCode> {
        let partition = self.hosted(Some(id), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let leader = match &partition.role {
            Role::Leader(leader) => leader,
            Role::Opening | Role::Follower(_) => return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            Role::Offline { .. } => return Err(ErrorCode::KAFKA_STORAGE_ERROR),
        };
        let lives = |id: BrokerId| self.image().brokers().get(&id).is_some_and(|broker| !broker.is_fenced);
        Ok(leader.isr().map_or(leader.log.start(), |isr| isr.low(leader.log.start(), lives)))
    }

    /// Something has changed that a deletion in one of `ids` may wait for.
    pub(super) fn look_at_deletions(&mut self, concerns: impl Fn(PartitionId) -> bool) {
        let tokens: Vec<Token> =
            self.deleting.iter().filter(|(_, d)| d.waits.iter().any(|wait| concerns(wait.id))).map(|(token, _)| *token).collect();
        for token in tokens {
            let mut deleting = self.deleting.remove(&token).expect("listed above");
            let mut waits = Vec::new();
            for wait in std::mem::take(&mut deleting.waits) {
                match self.low_watermark(wait.id) {
                    Ok(low) if low < wait.to => waits.push(wait),
                    outcome => deleting.settle(wait.at, outcome),
                }
            }
            let is_done = waits.is_empty();
            deleting.waits = waits;
            self.deleting.insert(token, deleting);
            if is_done {
                self.end_deletion(token);
            }
        }
    }

    /// Answers; where followers did not come as far in time, that is said.
    pub(super) fn end_deletion(&mut self, token: Token) {
        let Some(deleting) = self.drop_deletion(token) else { return };
        self.reply(token, DeleteRecordsResponse { topics: deleting.topics, ..Default::default() }.into());
    }

    /// Nobody waits for it any more.
    pub(super) fn drop_deletion(&mut self, token: Token) -> Option<Deleting> {
        let deleting = self.deleting.remove(&token)?;
        self.timers.remove(&(deleting.deadline, Timer::Deletion(token)));
        Some(deleting)
    }
}
