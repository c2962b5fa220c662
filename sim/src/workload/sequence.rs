//! An idempotent producer by hand: one batch at a time, sent again although it was acknowledged, under an old epoch, or with a gap before it. Each
//! answer is known beforehand, whatever the node has been through.

use super::Book;
use super::line::{Line, is_elsewhere};
use super::solo::Task;
use klamm_core::error::ErrorCode;
use klamm_core::id::{PartitionIndex, ProducerEpoch, ProducerId, Sequence};
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::init_producer_id::InitProducerIdRequest;
use klamm_core::wire::api::produce::{PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData};
use klamm_core::wire::batch::Compression;
use klamm_core::wire::record::{BatchBuilder, Identity, Payload};
use klamm_core::wire::{Request, Response};
use rand::Rng as _;
use std::collections::VecDeque;
use std::time::Duration;

/// The topic that is its own.
pub const TOPIC: &str = "sequences";
/// So many batches of a producer are remembered (KAFKA-5494).
const REMEMBERED: usize = 5;

/// A batch: where it stands in its producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    epoch: i16,
    sequence: i32,
    records: i32,
}

/// What is asked, and so what must be answered.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Id,
    /// A new batch, or one of unknown outcome again.
    Next(Sent),
    /// One that was acknowledged at this offset.
    Again(Sent, i64),
    /// One of an epoch before.
    Zombie(Sent),
    /// One behind a gap.
    Gap(Sent),
}

/// The producer.
pub struct Sequences {
    think: Duration,
    book: Book,
    rng: Rng,
    next: Instant,
    id: Option<ProducerId>,
    epoch: i16,
    sequence: i32,
    /// Not known to be written yet: it is sent until it is.
    open: Option<Sent>,
    /// The newest batches of this epoch, with their offsets.
    acknowledged: VecDeque<(Sent, i64)>,
    asked: Option<Asked>,
}

impl Sequences {
    /// Pauses up to `think` between two batches.
    #[must_use]
    pub fn new(think: Duration, book: Book, seed: u64) -> Self {
        Self {
            think,
            book,
            rng: rng::stream(seed, "sequence actor"),
            next: Instant::default(),
            id: None,
            epoch: 0,
            sequence: 0,
            open: None,
            acknowledged: VecDeque::new(),
            asked: None,
        }
    }

    fn choose(&mut self) -> Asked {
        if let Some(open) = self.open {
            return Asked::Next(open);
        }
        let fresh = Sent { epoch: self.epoch, sequence: self.sequence, records: self.rng.random_range(1..4) };
        // What is to be refused must follow something that the node knows this epoch by.
        let Some((newest, _)) = self.acknowledged.back().copied() else { return self.begin(fresh) };
        match self.rng.random_range(0..20) {
            0..6 => {
                let (sent, offset) = self.acknowledged[self.rng.random_range(0..self.acknowledged.len())];
                Asked::Again(sent, offset)
            }
            6 if self.epoch > 0 => Asked::Zombie(Sent { epoch: self.epoch - 1, ..newest }),
            7 => Asked::Gap(Sent { sequence: self.sequence + 7, ..fresh }),
            8 => {
                (self.epoch, self.sequence) = (self.epoch + 1, 0);
                self.acknowledged.clear();
                self.begin(Sent { epoch: self.epoch, sequence: 0, ..fresh })
            }
            _ => self.begin(fresh),
        }
    }

    fn begin(&mut self, sent: Sent) -> Asked {
        self.open = Some(sent);
        Asked::Next(sent)
    }

    /// What is wrong with an answer. Errors that say nothing of sequences are no business of ours.
    fn judge(&mut self, asked: Asked, answer: &PartitionProduceResponse) -> Option<String> {
        let (code, base) = (answer.error_code, answer.base_offset.0);
        let speaks = [ErrorCode::NONE, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, ErrorCode::INVALID_PRODUCER_EPOCH].contains(&code);
        if !speaks {
            return None;
        }
        match asked {
            Asked::Id => None,
            Asked::Next(sent) if code == ErrorCode::NONE => self.written(sent, base),
            Asked::Next(sent) => Some(format!("{sent:?} was next, and was refused: {code:?}")),
            Asked::Again(_, offset) if code == ErrorCode::NONE && base == offset => None,
            Asked::Again(sent, offset) => Some(format!("{sent:?} was acknowledged at {offset}, and again: {code:?} at {base}")),
            Asked::Zombie(sent) if code == ErrorCode::NONE => Some(format!("{sent:?} was taken, though epoch {} was in use", self.epoch)),
            Asked::Gap(sent) if code == ErrorCode::NONE => Some(format!("{sent:?} was taken, though {} was next", self.sequence)),
            Asked::Zombie(_) | Asked::Gap(_) => None,
        }
    }

    fn written(&mut self, sent: Sent, base: i64) -> Option<String> {
        let before = self.acknowledged.back().map(|(before, at)| at + i64::from(before.records));
        self.open = None;
        self.sequence = sent.sequence + sent.records;
        self.acknowledged.push_back((sent, base));
        if self.acknowledged.len() > REMEMBERED {
            self.acknowledged.pop_front();
        }
        before.filter(|end| base < *end).map(|end| format!("{sent:?} was written at {base}, and what was written before ends at {end}"))
    }
}

fn request(now: Now, id: ProducerId, sent: Sent) -> ProduceRequest {
    let mut builder = BatchBuilder::new(Compression::None, None);
    for at in 0..sent.records {
        let value = format!("{}:{}", sent.epoch, sent.sequence + at);
        builder.push(now.wall, &Payload { key: None, value: Some(value.into()), headers: Vec::new() });
    }
    let identity = Identity { id, epoch: ProducerEpoch(sent.epoch), sequence: Sequence(sent.sequence) };
    let records = Some(builder.finish(identity).pieces().cloned().collect());
    let partition_data = vec![PartitionProduceData { index: PartitionIndex(0), records }];
    let topic_data = vec![TopicProduceData { name: TOPIC.to_owned(), partition_data, ..Default::default() }];
    ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 3_000, topic_data }
}

impl Task for Sequences {
    fn next(&self) -> Option<Instant> {
        Some(self.next).filter(|_| !self.book.borrow().draining)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(self.think.mul_f64(self.rng.random_range(0.1..1.0)));
        if !self.book.borrow().topics_made {
            return;
        }
        let Some(id) = self.id else {
            self.asked = Some(Asked::Id);
            let request = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: i32::MAX, ..Default::default() };
            return line.ask(now, 4, Request::InitProducerId(request));
        };
        let asked = self.choose();
        self.asked = Some(asked);
        let (Asked::Next(sent) | Asked::Again(sent, _) | Asked::Zombie(sent) | Asked::Gap(sent)) = asked else { return };
        line.ask(now, 11, Request::Produce(request(now, id, sent)));
    }

    fn hear(&mut self, now: Now, line: &mut Line, response: &Response) {
        match (self.asked.take(), response) {
            (Some(Asked::Id), Response::InitProducerId(answer)) if answer.error_code == ErrorCode::NONE => {
                self.id = Some(answer.producer_id)
            }
            (Some(asked), Response::Produce(answer)) => {
                let mut answers = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
                if answers.clone().any(|answer| is_elsewhere(answer.error_code)) {
                    return line.elsewhere(now);
                }
                // Whoever was deposed and has not heard of it knows too little; nothing that it takes is acknowledged.
                let is_behind = line.nodes() > 1 && !self.book.borrow().is_calm(now.at);
                let found =
                    answers.find_map(|answer| self.judge(asked, answer).filter(|_| answer.error_code == ErrorCode::NONE || !is_behind));
                if let Some(what) = found {
                    self.book.borrow_mut().violations.push(format!("an idempotent producer: {what}"));
                }
            }
            (Some(_) | None, _) => {}
        }
    }

    fn lost(&mut self) {
        self.asked = None;
    }
}
