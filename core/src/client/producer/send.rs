//! What goes out and what comes back: fills requests, one batch a partition, and decides what each answer means for its batches.

use std::collections::BTreeMap;
use std::time::Duration;

use super::queue::{BatchNo, Line, Pending};
use super::{Acks, Failure, IN_FLIGHT_MAX, Identity, Note, Producer, Why, Written};
use crate::client::TopicPartition;
use crate::client::io::Address;
use crate::client::links::Peer;
use crate::client::versions::Versions;
use crate::error::ErrorCode;
use crate::id::{BrokerId, ConnId, Offset, ProducerEpoch};
use crate::probe;
use crate::time::{Instant, Timestamp};
use crate::wire::api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::api::produce::{PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData};
use crate::wire::batch::{Batch, Compression};
use crate::wire::frame::Records;
use crate::wire::{Request, Response};

/// A batch on its way into a request.
type Chosen = (TopicPartition, BatchNo, Batch);

impl Producer {
    /// The identity to number batches under; `Err` while there is none yet.
    fn line(&self) -> Result<Line, ()> {
        match self.identity {
            Identity::NotNeeded => Ok(None),
            Identity::Held { id, epoch } => Ok(Some((id, epoch))),
            Identity::Wanted { .. } | Identity::Asked { .. } => Err(()),
        }
    }

    pub(super) fn ask_for_identity(&mut self, now: Instant) {
        let Identity::Wanted { from, failures } = self.identity else { return };
        if from > now || (self.topics.is_empty() && self.queues.is_empty()) {
            return;
        }
        let Some(peer) = self.cluster.anyone(now) else { return };
        let Some(Ok(version)) = self.cluster.ready(now, peer, Versions::INIT_PRODUCER_ID) else { return };
        let request = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: i32::MAX, ..Default::default() };
        self.cluster.send(now, peer, version, Request::InitProducerId(request), Duration::ZERO, Note::InitProducerId);
        self.identity = Identity::Asked { failures };
    }

    fn identified(&mut self, now: Instant, response: Option<&InitProducerIdResponse>) {
        let Identity::Asked { failures } = self.identity else { return };
        self.identity = match response {
            Some(given) if given.error_code == ErrorCode::NONE => Identity::Held { id: given.producer_id, epoch: given.producer_epoch },
            Some(_) | None => {
                let wait = self.config.common.retry_backoff.after(failures + 1, self.cluster.rng());
                Identity::Wanted { from: now.after(wait), failures: failures + 1 }
            }
        };
    }

    /// Gives partitions whose sequences have a gap a fresh epoch, one bump for all of them (KIP-360).
    pub(super) fn mend(&mut self, now: Instant) {
        let Identity::Held { id, epoch } = self.identity else { return };
        let broken = |current: Line| self.queues.values().any(|queue| queue.wants_mending() && queue.line() == current);
        if broken(Some((id, epoch))) {
            let Some(next) = epoch.0.checked_add(1).filter(|next| *next < i16::MAX) else {
                probe!("producer: epochs are used up, another id is asked for");
                self.identity = Identity::Wanted { from: now, failures: 0 };
                return self.ask_for_identity(now);
            };
            self.identity = Identity::Held { id, epoch: ProducerEpoch(next) };
        }
        let Identity::Held { id, epoch } = self.identity else { return };
        for queue in self.queues.values_mut().filter(|queue| queue.wants_mending()) {
            queue.mend((id, epoch));
        }
    }

    /// Sends whatever may be sent.
    pub(super) fn send(&mut self, now: Instant) {
        let Ok(line) = self.line() else { return };
        for (leader, parts) in self.sendable(now) {
            if self.send_to(now, leader, &parts, line) {
                self.stalled.remove(&leader);
            } else {
                self.stalled.entry(leader).or_insert(now);
            }
        }
    }

    /// The partitions that have a batch due, by leader.
    fn sendable(&mut self, now: Instant) -> BTreeMap<BrokerId, Vec<TopicPartition>> {
        let (linger, overlap) = (self.linger(), self.config.idempotent);
        let mut by_leader: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
        let mut leaderless = false;
        for (part, queue) in &self.queues {
            if queue.candidate(now, linger, overlap).is_none() {
                continue;
            }
            match self.cluster.metadata().leader(part) {
                Some((leader, _)) => by_leader.entry(leader).or_default().push(part.clone()),
                None => leaderless = true,
            }
        }
        if leaderless {
            self.cluster.invalidate();
        }
        by_leader
    }

    /// Sends to one leader. Answers whether it takes anything at all.
    fn send_to(&mut self, now: Instant, leader: BrokerId, parts: &[TopicPartition], line: Line) -> bool {
        let peer = Peer::Broker(leader);
        let Some(version) = self.cluster.ready(now, peer, Versions::PRODUCE) else { return false };
        let speaks_codec = |version: &i16| self.config.compression != Compression::Zstd || *version >= 7;
        let Some(version) = version.ok().filter(speaks_codec) else {
            self.refuse(parts, ErrorCode::UNSUPPORTED_VERSION);
            return false;
        };
        let conn = self.cluster.conn(peer).expect("a ready peer is connected");
        while self.in_flight.get(&leader).copied().unwrap_or(0) < IN_FLIGHT_MAX {
            let chosen = self.fill(now, parts, conn, line);
            if chosen.is_empty() {
                return true;
            }
            self.dispatch(now, leader, version, chosen);
        }
        false
    }

    fn refuse(&mut self, parts: &[TopicPartition], error: ErrorCode) {
        for part in parts {
            let batches = self.queues.get_mut(part).map(|queue| queue.drain()).unwrap_or_default();
            for batch in batches {
                let maybe_written = batch.unsure;
                self.settle(part.clone(), batch, Err(Failure { why: Why::Refused(error), maybe_written }));
            }
        }
    }

    /// Takes at most one batch from each partition, up to the size of a request, beginning behind where the last request ended.
    fn fill(&mut self, now: Instant, parts: &[TopicPartition], conn: ConnId, line: Line) -> Vec<Chosen> {
        let (linger, overlap) = (self.linger(), self.config.idempotent);
        let from = self.turn.as_ref().map_or(0, |turn| parts.partition_point(|part| part <= turn));
        let mut chosen = Vec::new();
        let mut bytes = 0;
        for part in parts[from..].iter().chain(&parts[..from]) {
            let queue = self.queues.get_mut(part).expect("sendable partitions have a queue");
            let Some(at) = queue.candidate(now, linger, overlap) else { continue };
            if !queue.is_bound_to(conn) || !queue.may_number(at, line) {
                continue;
            }
            bytes += queue.bytes_at(at);
            if bytes > self.config.max_request_size && !chosen.is_empty() {
                break;
            }
            let (no, batch) = queue.send(at, conn, line);
            chosen.push((part.clone(), no, batch));
            self.turn = Some(part.clone());
        }
        chosen
    }

    fn dispatch(&mut self, now: Instant, leader: BrokerId, version: i16, chosen: Vec<Chosen>) {
        let batches: Vec<(TopicPartition, BatchNo)> = chosen.iter().map(|(part, no, _)| (part.clone(), *no)).collect();
        let request = Request::Produce(self.request(chosen));
        let peer = Peer::Broker(leader);
        if self.config.acks == Acks::None {
            self.cluster.send_unanswered(peer, version, request);
            for (part, no) in batches {
                self.written(&part, no, Written { base: None, append_time: None });
            }
            return;
        }
        *self.in_flight.entry(leader).or_default() += 1;
        self.cluster.send(now, peer, version, request, Duration::ZERO, Note::Produce { broker: leader, batches });
    }

    fn request(&self, chosen: Vec<Chosen>) -> ProduceRequest {
        let mut topic_data: Vec<TopicProduceData> = Vec::new();
        let mut by_part: BTreeMap<TopicPartition, Batch> = chosen.into_iter().map(|(part, _, batch)| (part, batch)).collect();
        while let Some((part, batch)) = by_part.pop_first() {
            if topic_data.last().is_none_or(|topic| *topic.name != *part.topic) {
                topic_data.push(TopicProduceData { name: part.topic.to_string(), ..Default::default() });
            }
            let records = Some(batch.pieces().cloned().collect::<Records>());
            let topic = topic_data.last_mut().expect("one was just pushed");
            topic.partition_data.push(PartitionProduceData { index: part.partition, records });
        }
        let acks = match self.config.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let timeout_ms = i32::try_from(self.config.common.request_timeout.as_millis()).unwrap_or(i32::MAX);
        ProduceRequest { transactional_id: None, acks, timeout_ms, topic_data }
    }

    pub(super) fn answered(&mut self, now: Instant, of: Note, response: &Response) {
        match (of, response) {
            (Note::InitProducerId, Response::InitProducerId(response)) => self.identified(now, Some(response)),
            (Note::Produce { broker, batches }, Response::Produce(response)) => self.produced(now, broker, batches, response),
            (of, _) => self.lost(now, of),
        }
    }

    pub(super) fn lost(&mut self, now: Instant, of: Note) {
        match of {
            Note::InitProducerId => self.identified(now, None),
            Note::Produce { broker, batches } => {
                self.landed(broker);
                for (part, no) in batches {
                    probe!("producer: a request is lost and sent again");
                    self.retry(now, &part, no, true);
                }
            }
        }
    }

    fn landed(&mut self, broker: BrokerId) {
        let count = self.in_flight.get_mut(&broker).expect("requests in flight are counted");
        *count -= 1;
    }

    fn produced(&mut self, now: Instant, broker: BrokerId, batches: Vec<(TopicPartition, BatchNo)>, response: &ProduceResponse) {
        self.landed(broker);
        let mut answers: BTreeMap<(&str, i32), &PartitionProduceResponse> = BTreeMap::new();
        for topic in &response.responses {
            answers.extend(topic.partition_responses.iter().map(|answer| ((topic.name.as_str(), answer.index.0), answer)));
        }
        for (part, no) in batches {
            match answers.get(&(&*part.topic, part.partition.0)) {
                Some(answer) if self.hears_of_leader(&part, answer, response) => {
                    probe!("producer: a broker that leads no more names who does");
                    self.cluster.invalidate();
                    self.retry_at(now, &part, no, is_unsure(answer.error_code));
                }
                Some(answer) => self.judged(now, &part, no, answer),
                None => self.retry(now, &part, no, true),
            }
        }
    }

    /// Whether the answer names a leader that was not known.
    fn hears_of_leader(&mut self, part: &TopicPartition, answer: &PartitionProduceResponse, response: &ProduceResponse) -> bool {
        let PartitionProduceResponse { error_code, current_leader, .. } = answer;
        if *error_code != ErrorCode::NOT_LEADER_OR_FOLLOWER {
            return false;
        }
        let at = response.node_endpoints.iter().find(|node| node.node_id == current_leader.leader_id);
        let at = at.and_then(|node| Some(Address { host: node.host.clone(), port: u16::try_from(node.port).ok()? }));
        self.cluster.told(part, (current_leader.leader_id, current_leader.leader_epoch), at)
    }

    /// One batch's answer.
    fn judged(&mut self, now: Instant, part: &TopicPartition, no: BatchNo, answer: &PartitionProduceResponse) {
        let error = answer.error_code;
        if error == ErrorCode::NONE {
            let append_time = Some(answer.log_append_time_ms).filter(|time| *time != Timestamp::NONE);
            let base = Some(answer.base_offset).filter(|offset| *offset >= Offset::ZERO);
            return self.written(part, no, Written { base, append_time });
        }
        if error == ErrorCode::DUPLICATE_SEQUENCE_NUMBER {
            probe!("producer: written before, by a request whose answer was lost");
            return self.written(part, no, Written { base: None, append_time: None });
        }
        let sequence = matches!(error, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID) && self.config.idempotent;
        if sequence {
            let queue = self.queues.get_mut(part).expect("a queue outlives its batches");
            if queue.is_first(no) {
                // Nothing under way can fill the gap. What follows was not written either, since it is refused for the same reason.
                probe!("producer: a gap in the sequences that nothing can close");
                queue.break_line();
            }
        }
        if sequence || error.is_retriable() {
            self.cluster.invalidate();
            return self.retry(now, part, no, is_unsure(error));
        }
        self.failed(part, no, error);
    }

    fn written(&mut self, part: &TopicPartition, no: BatchNo, written: Written) {
        if let Some(batch) = self.queues.get_mut(part).and_then(|queue| queue.acknowledge(no)) {
            self.settle(part.clone(), batch, Ok(written));
        }
    }

    fn failed(&mut self, part: &TopicPartition, no: BatchNo, error: ErrorCode) {
        if let Some(batch) = self.take(part, no) {
            let maybe_written = batch.unsure || is_unsure(error);
            self.settle(part.clone(), batch, Err(Failure { why: Why::Refused(error), maybe_written }));
        }
        if self.config.idempotent
            && error == ErrorCode::INVALID_PRODUCER_EPOCH
            && let Some(queue) = self.queues.get_mut(part)
        {
            queue.break_line();
        }
    }

    fn take(&mut self, part: &TopicPartition, no: BatchNo) -> Option<Pending> {
        self.queues.get_mut(part)?.remove(no)
    }

    fn retry(&mut self, now: Instant, part: &TopicPartition, no: BatchNo, unsure: bool) {
        let Some(queue) = self.queues.get(part) else { return };
        let backoff = self.config.common.retry_backoff;
        let wait = backoff.after(queue.failures(no) + 1, self.cluster.rng());
        self.retry_at(now.after(wait), part, no, unsure);
    }

    fn retry_at(&mut self, at: Instant, part: &TopicPartition, no: BatchNo, unsure: bool) {
        if let Some(queue) = self.queues.get_mut(part) {
            queue.retry(no, at, unsure);
        }
    }
}

/// Whether a broker that answers so may have written the batch all the same, or may yet. Who had it in its log and waited for its replicas when the
/// partition went elsewhere answers as one does that never had it: not the leader, or, where the topic is deleted next, no such partition.
fn is_unsure(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::UNKNOWN_SERVER_ERROR
            | ErrorCode::REQUEST_TIMED_OUT
            | ErrorCode::NETWORK_EXCEPTION
            | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | ErrorCode::NOT_LEADER_OR_FOLLOWER
            | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::KAFKA_STORAGE_ERROR
    )
}
