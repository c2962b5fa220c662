//! Produce: check what a client sent, append it, and answer when its acks are met.

use super::boot::METADATA;
use super::validate::{self, Faults, Refused, refused};
use super::{Broker, Timer, Token};
use crate::error::ErrorCode;
use crate::id::{Offset, PartitionIndex, Uuid};
use crate::partition::leader::ProduceWait;
use crate::partition::{Owner, Partition, PartitionId};
use crate::probe;
use crate::time::{Instant, Timestamp};
use crate::wire::Response;
use crate::wire::api::produce::{PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use crate::wire::batch::{BadBatch, Batch};
use std::collections::BTreeSet;
use std::time::Duration;

/// A produce request that waits for its acks.
#[derive(Clone, Debug)]
pub(super) struct Producing {
    /// Answers in the order of the request, an error code set only where one is known.
    answers: Vec<PartitionProduceResponse>,
    /// Topic and number of partitions, in the order of the request.
    topics: Vec<(String, Uuid, usize)>,
    open: Vec<bool>,
    deadline: Instant,
    acks: i16,
}

impl Broker {
    pub(super) fn produce(&mut self, token: Token, version: i16, mut body: ProduceRequest, mut batches: Vec<Result<Batch, BadBatch>>) {
        keep_last(&mut body, &mut batches);
        let acks = body.acks;
        let mut producing = Producing { answers: Vec::new(), topics: Vec::new(), open: Vec::new(), deadline: self.now.at, acks };
        let mut batches = batches.into_iter();
        let mut parked = Vec::new();
        for topic in &body.topic_data {
            producing.topics.push((topic.name.clone(), topic.topic_id, topic.partition_data.len()));
            for partition in &topic.partition_data {
                let at = producing.answers.len();
                let batch = batches.next().expect("the edge checks one batch for each partition");
                let by_id = PartitionId { topic: topic.topic_id, index: partition.index };
                let id = if version >= 13 { Some(by_id) } else { self.named(&topic.name, partition.index) };
                let outcome = self.produce_one(acks, version, id, batch);
                let (answer, wait) = self.placed(partition.index, outcome);
                producing.answers.push(answer);
                producing.open.push(wait.is_some());
                parked.extend(wait.map(|(id, next)| (at, id, next)));
            }
        }
        if acks == 0 {
            return self.unanswered(token, &producing);
        }
        for (at, id, next) in parked {
            producing.open[at] = self.park(id, next, acks == -1, ProduceWait { token, at });
        }
        if producing.open.contains(&true) {
            let wait = Duration::from_millis(u64::try_from(body.timeout_ms).unwrap_or(0));
            producing.deadline = self.timer(wait, Timer::Produce(token));
            self.producing.insert(token, producing);
        } else {
            self.answer_produce(token, producing);
        }
    }

    /// acks=0: nothing is sent; an error closes the connection, so that the client learns of it.
    fn unanswered(&mut self, token: Token, producing: &Producing) {
        if producing.answers.iter().any(|answer| answer.error_code != ErrorCode::NONE) {
            probe!("an error under acks=0 closes the connection");
            return self.close(token.conn, "a produce request without acks was refused");
        }
        self.answer(token, None);
    }

    fn produce_one(
        &mut self,
        acks: i16,
        version: i16,
        id: Option<PartitionId>,
        batch: Result<Batch, BadBatch>,
    ) -> Result<(PartitionId, super::append::Placed, Offset), Refused> {
        if !(-1..=1).contains(&acks) {
            return Err(ErrorCode::INVALID_REQUIRED_ACKS.into());
        }
        let unknown = if version >= 13 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        let partition = self.open_to_clients(id.filter(|id| *id != METADATA), unknown)?;
        let id = partition.id;
        let batch = batch.map_err(of_bad_batch)?;
        let leader = partition.leader().ok_or_else(|| not_led(partition))?;
        let start = leader.log.start();
        if acks == -1 && leader.isr().is_some_and(crate::partition::isr::Isr::is_under_min) {
            probe!("too few replicas are in sync for acks=all");
            return Err(ErrorCode::NOT_ENOUGH_REPLICAS.into());
        }
        self.check_batch(partition, &batch)?;
        let at_start = |refused: Refused| Refused { start, ..refused };
        validate::records(&batch, &partition.config, self.now.wall).map_err(at_start)?;
        let batch = validate::recompressed(batch, &partition.config).map_err(at_start)?;
        let placed = self.append(id, &batch).map_err(|code| at_start(code.into()))?;
        Ok((id, placed, start))
    }

    /// Coordinators alone write what they read back: that is said wherever their partitions lie.
    fn open_to_clients(&self, id: Option<PartitionId>, unknown: ErrorCode) -> Result<&Partition, ErrorCode> {
        let topic = id.and_then(|id| self.image().topic_by_id(id.topic));
        let is_open = topic.is_none_or(|topic| Owner::of(&topic.name) == Owner::Clients);
        match self.hosted(id, unknown) {
            Ok(_) | Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) if !is_open => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
            found => found,
        }
    }

    /// What Kafka asks of a batch before it looks into it (`UnifiedLog.analyzeAndValidateRecords`), and what our disk allows.
    fn check_batch(&self, partition: &Partition, batch: &Batch) -> Result<(), Refused> {
        let (header, config) = (batch.header(), &partition.config);
        if header.is_transactional() {
            // Without transactions nobody has the right to a transactional id.
            return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED.into());
        }
        if header.bytes > config.max_message_bytes {
            let why = format!("the batch has {} bytes, `max.message.bytes` is {}", header.bytes, config.max_message_bytes);
            return Err(refused(ErrorCode::MESSAGE_TOO_LARGE, why));
        }
        if self.is_full(partition.dir) {
            probe!("produce is refused at the disk's reserve");
            return Err(refused(ErrorCode::KAFKA_STORAGE_ERROR, "the disk is nearly full: free space, or delete topics or records"));
        }
        Ok(())
    }

    /// The answer as far as it is known, and the offset which a watermark must reach.
    fn placed(
        &self,
        index: PartitionIndex,
        outcome: Result<(PartitionId, super::append::Placed, Offset), Refused>,
    ) -> (PartitionProduceResponse, Option<(PartitionId, Offset)>) {
        let mut answer = PartitionProduceResponse { index, ..Default::default() };
        match outcome {
            Ok((id, placed, start)) => {
                answer.base_offset = placed.base;
                answer.log_append_time_ms = placed.append_time;
                answer.log_start_offset = start;
                (answer, Some((id, placed.next)))
            }
            Err(refused) => {
                answer.refuse(refused.code);
                answer.error_message = refused.why;
                answer.log_start_offset = refused.start;
                answer.record_errors = refused.faults.map(Faults::into_errors).unwrap_or_default();
                (answer, None)
            }
        }
    }

    /// One partition of a waiting request has its outcome.
    pub(super) fn produced(&mut self, wait: ProduceWait, code: ErrorCode) {
        let Some(producing) = self.producing.get_mut(&wait.token) else { return };
        if !std::mem::take(&mut producing.open[wait.at]) {
            return;
        }
        if code != ErrorCode::NONE {
            producing.answers[wait.at].refuse(code);
        }
        if producing.open.contains(&true) {
            return;
        }
        let producing = self.producing.remove(&wait.token).expect("looked at above");
        self.timers.remove(&(producing.deadline, Timer::Produce(wait.token)));
        self.answer_produce(wait.token, producing);
    }

    fn answer_produce(&mut self, token: Token, producing: Producing) {
        let mut response = producing.response();
        self.name_leaders(token, &mut response);
        self.reply(token, Response::Produce(response));
    }

    /// The acks did not come in time: the records may yet be committed.
    pub(super) fn produce_timed_out(&mut self, token: Token) {
        let Some(mut producing) = self.producing.remove(&token) else { return };
        probe!("a produce request times out");
        for (answer, open) in producing.answers.iter_mut().zip(&producing.open) {
            if *open {
                answer.refuse(ErrorCode::REQUEST_TIMED_OUT);
            }
        }
        self.answer_produce(token, producing);
    }

    /// The connection is gone; the waits find no request any more.
    pub(super) fn drop_produce(&mut self, token: Token) {
        let Some(producing) = self.producing.remove(&token) else { return };
        self.timers.remove(&(producing.deadline, Timer::Produce(token)));
    }
}

/// Of a partition that a request names more than once the last batch counts, and it is answered once (Kafka keeps them in a map).
fn keep_last(body: &mut ProduceRequest, batches: &mut Vec<Result<Batch, BadBatch>>) {
    if batches.len() < 2 {
        return;
    }
    let mut seen = BTreeSet::new();
    let mut last = Vec::with_capacity(batches.len());
    for topic in body.topic_data.iter().rev() {
        last.extend(topic.partition_data.iter().rev().map(|partition| seen.insert((topic.topic_id, &*topic.name, partition.index))));
    }
    last.reverse();
    if last.iter().all(|last| *last) {
        return;
    }
    probe!("a produce request names a partition twice");
    let mut kept = last.iter();
    for topic in &mut body.topic_data {
        topic.partition_data.retain(|_| kept.next() == Some(&true));
    }
    body.topic_data.retain(|topic| !topic.partition_data.is_empty());
    let mut kept = last.iter();
    batches.retain(|_| kept.next() == Some(&true));
}

fn not_led(partition: &Partition) -> Refused {
    match &partition.role {
        crate::partition::Role::Offline { why, .. } => refused(ErrorCode::KAFKA_STORAGE_ERROR, why.clone()),
        crate::partition::Role::Opening | crate::partition::Role::Leader(_) | crate::partition::Role::Follower(_) => {
            ErrorCode::NOT_LEADER_OR_FOLLOWER.into()
        }
    }
}

/// The codes are Kafka's, which tells what it cannot delimit from what it delimits and finds wrong.
fn of_bad_batch(bad: BadBatch) -> Refused {
    match bad {
        BadBatch::Crc { stored, actual } => {
            refused(ErrorCode::CORRUPT_MESSAGE, format!("the checksum is {actual:#x}, the batch says {stored:#x}"))
        }
        BadBatch::Length(length) => refused(ErrorCode::CORRUPT_MESSAGE, format!("no batch has a length of {length}")),
        BadBatch::Short => refused(ErrorCode::INVALID_RECORD, "the batch is cut off"),
        BadBatch::Magic(magic) => {
            let code = if (0..2).contains(&magic) { ErrorCode::INVALID_RECORD } else { ErrorCode::CORRUPT_MESSAGE };
            refused(code, format!("record batches must have magic 2, this one has {magic}"))
        }
        BadBatch::NotOne => refused(ErrorCode::INVALID_RECORD, "exactly one record batch is sent for a partition"),
        BadBatch::Count => refused(ErrorCode::INVALID_RECORD, "the record count does not fit the batch"),
        BadBatch::Codec => refused(ErrorCode::INVALID_RECORD, "an unknown compression codec"),
        BadBatch::Records => {
            refused(ErrorCode::INVALID_RECORD, "the records are not what the batch's header says: another codec, cut, or miscounted")
        }
    }
}

impl PartitionProduceResponse {
    fn refuse(&mut self, code: ErrorCode) {
        self.error_code = code;
        self.base_offset = Offset::UNKNOWN;
        self.log_append_time_ms = Timestamp::NONE;
        self.log_start_offset = Offset::UNKNOWN;
    }
}

impl Producing {
    fn response(self) -> ProduceResponse {
        let mut answers = self.answers.into_iter();
        let responses = self
            .topics
            .into_iter()
            .map(|(name, topic_id, count)| TopicProduceResponse {
                name,
                topic_id,
                partition_responses: answers.by_ref().take(count).collect(),
                ..Default::default()
            })
            .collect();
        debug_assert!(self.acks != 0, "acks=0 has no response");
        ProduceResponse { responses, ..Default::default() }
    }
}
