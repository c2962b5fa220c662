//! `ListOffsets` (KIP-79, KIP-734 and the special timestamps) and `OffsetForLeaderEpoch` (KIP-101, KIP-320).

use super::fetch::check_epoch;
use super::stored::Pending;
use super::{Broker, Token};
use crate::error::ErrorCode;
use crate::id::{LeaderEpoch, Offset, PartitionIndex};
use crate::partition::Role;
use crate::partition::leader::Leader;
use crate::probe;
use crate::store::{StoreFault, StoreOp, Stored};
use crate::time::Timestamp;
use crate::wire::Response;
use crate::wire::api::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse};
use crate::wire::api::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use std::collections::BTreeSet;

/// Special values of a `ListOffsets` timestamp.
mod special {
    pub(super) const LATEST: i64 = -1;
    pub(super) const EARLIEST: i64 = -2;
    pub(super) const MAX_TIMESTAMP: i64 = -3;
    pub(super) const EARLIEST_LOCAL: i64 = -4;
    pub(super) const LATEST_TIERED: i64 = -5;
    pub(super) const EARLIEST_PENDING_UPLOAD: i64 = -6;
}

/// A `ListOffsets` request whose look-ups are not all back.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    version: i16,
    topics: Vec<(String, usize)>,
    answers: Vec<ListOffsetsPartitionResponse>,
    open: usize,
}

/// What one partition is answered.
enum Listed {
    Now(LeaderEpoch, Timestamp, Offset),
    Ask(StoreOp),
}

impl Broker {
    pub(super) fn list_offsets(&mut self, token: Token, version: i16, body: ListOffsetsRequest) {
        let mut listing = Listing { version, topics: Vec::new(), answers: Vec::new(), open: 0 };
        let (mut seen, twice) = (BTreeSet::new(), named_twice(&body));
        let mut asks = Vec::new();
        for topic in &body.topics {
            let before = listing.answers.len();
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let mut answer = ListOffsetsPartitionResponse { partition_index: index, ..Default::default() };
                let named = (topic.name.as_str(), index);
                let outcome = if twice.contains(&named) {
                    if !seen.insert(named) {
                        continue;
                    }
                    Err(ErrorCode::INVALID_REQUEST)
                } else {
                    let (asked, time) = (partition.current_leader_epoch, partition.timestamp.0);
                    if body.replica_id.0 >= 0 {
                        self.list_for_replica(&topic.name, index, asked, time)
                    } else {
                        self.list_one(version, &topic.name, index, asked, time)
                    }
                };
                match outcome {
                    Ok(Listed::Now(epoch, time, offset)) => answer.found(epoch, time, offset),
                    Ok(Listed::Ask(op)) => {
                        let id = self.named(&topic.name, index).expect("its leader was found by that name");
                        asks.push((listing.answers.len(), id, op));
                    }
                    Err(code) => answer.error_code = code,
                }
                listing.answers.push(answer);
            }
            listing.topics.push((topic.name.clone(), listing.answers.len() - before));
        }
        if asks.is_empty() {
            return self.reply(token, listing.response());
        }
        listing.open = asks.len();
        self.listing.insert(token, listing);
        for (at, partition, op) in asks {
            self.store(op, Pending::FindTime { token, at, partition });
        }
    }

    fn led(&self, topic: &str, index: PartitionIndex, asked: LeaderEpoch) -> Result<&Leader, ErrorCode> {
        let partition = self.hosted(self.named(topic, index), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let leader = match &partition.role {
            Role::Leader(leader) => leader,
            Role::Opening | Role::Follower(_) => return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            Role::Offline { .. } => return Err(ErrorCode::KAFKA_STORAGE_ERROR),
        };
        check_epoch(asked, leader.epoch)?;
        Ok(leader)
    }

    /// A replica asks for the ends of the log, whatever is committed.
    fn list_for_replica(&self, topic: &str, index: PartitionIndex, asked: LeaderEpoch, time: i64) -> Result<Listed, ErrorCode> {
        let leader = self.led(topic, index, asked)?;
        let (start, end) = (leader.log.start(), leader.log.end());
        match time {
            special::LATEST => Ok(Listed::Now(leader.epoch, Timestamp::NONE, end)),
            special::EARLIEST => Ok(Listed::Now(leader.log.epochs().at(start).unwrap_or(leader.epoch), Timestamp::NONE, start)),
            _ => Err(ErrorCode::INVALID_REQUEST),
        }
    }

    fn list_one(&self, version: i16, topic: &str, index: PartitionIndex, asked: LeaderEpoch, time: i64) -> Result<Listed, ErrorCode> {
        let leader = self.led(topic, index, asked)?;
        if !leader.knows_its_end() {
            // KIP-207: an answer now could lie below what was told before.
            probe!("a new leader does not know yet where its log is committed");
            return Err(if version >= 5 { ErrorCode::OFFSET_NOT_AVAILABLE } else { ErrorCode::LEADER_NOT_AVAILABLE });
        }
        let start = leader.log.start();
        // A log without records is in its leader's epoch.
        let epoch_at = |offset| leader.log.epochs().at(offset).unwrap_or(leader.epoch);
        let none = Listed::Now(LeaderEpoch(-1), Timestamp::NONE, Offset::UNKNOWN);
        Ok(match time {
            special::LATEST => Listed::Now(leader.epoch, Timestamp::NONE, leader.high()),
            special::EARLIEST => Listed::Now(epoch_at(start), Timestamp::NONE, start),
            special::EARLIEST_LOCAL if version >= 8 => Listed::Now(epoch_at(start), Timestamp::NONE, start),
            special::LATEST_TIERED if version >= 9 => none,
            special::EARLIEST_PENDING_UPLOAD if version >= 11 => none,
            special::MAX_TIMESTAMP if version >= 7 => match leader.log.segments().youngest(start) {
                // Where the youngest record is not readable yet, or there is none, the answer is nothing.
                Some((time, offset)) if offset < leader.high() && offset >= start => {
                    Listed::Ask(StoreOp::FindTime { log: leader.log.id(), from: start, time, until: leader.high() })
                }
                Some(_) | None => none,
            },
            time if time < 0 => return Err(ErrorCode::UNSUPPORTED_VERSION),
            time => {
                let (log, until) = (leader.log.id(), leader.high());
                Listed::Ask(StoreOp::FindTime { log, from: start, time: Timestamp(time), until })
            }
        })
    }

    /// The store has looked for a time.
    pub(super) fn time_found(&mut self, token: Token, at: usize, outcome: Result<Stored, StoreFault>) {
        let Some(listing) = self.listing.get_mut(&token) else { return };
        listing.open -= 1;
        match outcome {
            Ok(Stored::Found(Some(found))) => listing.answers[at].found(found.epoch, found.time, found.offset),
            Ok(_) => listing.answers[at].found(LeaderEpoch(-1), Timestamp::NONE, Offset::UNKNOWN),
            Err(_) => listing.answers[at].error_code = ErrorCode::KAFKA_STORAGE_ERROR,
        }
        if listing.open == 0 {
            let listing = self.listing.remove(&token).expect("looked at above");
            self.reply(token, listing.response());
        }
    }

    pub(super) fn offset_for_leader_epoch(&mut self, token: Token, body: OffsetForLeaderEpochRequest) {
        let mut response = OffsetForLeaderEpochResponse::default();
        for topic in &body.topics {
            let mut result = OffsetForLeaderTopicResult { topic: topic.topic.clone(), ..Default::default() };
            for partition in &topic.partitions {
                let mut answer = EpochEndOffset { partition: partition.partition, ..Default::default() };
                match self.led(&topic.topic, partition.partition, partition.current_leader_epoch) {
                    Ok(leader) => answer.of(leader, partition.leader_epoch),
                    Err(code) => answer.error_code = code,
                }
                result.partitions.push(answer);
            }
            response.topics.push(result);
        }
        self.reply(token, Response::OffsetForLeaderEpoch(response));
    }
}

/// Partitions that a request names more than once: each is refused, and answered once.
fn named_twice(body: &ListOffsetsRequest) -> BTreeSet<(&str, PartitionIndex)> {
    let mut seen = BTreeSet::new();
    let named = body.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p.partition_index)));
    named.filter(|named| !seen.insert(*named)).collect()
}

impl EpochEndOffset {
    fn of(&mut self, leader: &Leader, asked: LeaderEpoch) {
        if asked == leader.epoch {
            // The current epoch ends where readers stop.
            (self.leader_epoch, self.end_offset) = (asked, leader.high());
        } else if asked.0 != -1 && asked < leader.epoch {
            (self.leader_epoch, self.end_offset) = leader.log.epochs().end_of(asked, leader.log.end());
        }
    }
}

impl ListOffsetsPartitionResponse {
    fn found(&mut self, epoch: LeaderEpoch, time: Timestamp, offset: Offset) {
        (self.leader_epoch, self.timestamp, self.offset) = (epoch, time, offset);
    }
}

impl Listing {
    fn response(self) -> Response {
        debug_assert!(self.version >= 1, "version 0 is not served");
        let mut answers = self.answers.into_iter();
        let topics = self
            .topics
            .into_iter()
            .map(|(name, count)| ListOffsetsTopicResponse {
                name,
                partitions: answers.by_ref().take(count).collect(),
                ..Default::default()
            })
            .collect();
        Response::ListOffsets(ListOffsetsResponse { topics, ..Default::default() })
    }
}
