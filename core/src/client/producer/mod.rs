//! The producer: batches records, sends them to their leaders, retries without reordering, and says what became of each.
//!
//! With `idempotent` (the default) a record is written once however often it is sent, as long as its producer lives. The queues are in
//! `queue.rs`, the choice of partitions in `place.rs`, requests and answers in `send.rs`. Never blocks: a full buffer is a rejection.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::cluster::Cluster;
use super::io::{Common, Effect, Input};
use super::links::{LinkEffect, Outcome};
use super::{Topic, TopicPartition};
use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset, PartitionIndex, ProducerEpoch, ProducerId};
use crate::rng::stream;
use crate::time::{Instant, Now, Timestamp};
use crate::wire::batch::Compression;
use crate::wire::record::Payload;

mod place;
mod queue;
mod send;
#[cfg(test)]
mod tests;

use place::Chooser;
pub use queue::Token;
use queue::{BatchNo, Linger, Pending, Queue, Shape};

/// Requests in flight to one broker (`max.in.flight.requests.per.connection`), and batches from the oldest unsettled one of a partition to the
/// newest that was sent: as many as a broker remembers of one producer.
const IN_FLIGHT_MAX: usize = 5;

/// Who must have a record before it counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: it is sent once, and never heard of again.
    None,
    /// The leader.
    Leader,
    /// All in-sync replicas.
    #[default]
    All,
}

/// How the partition of a record is chosen that does not name one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Partitioner {
    /// By key; without one as KIP-794 has it. Kafka's default.
    #[default]
    BuiltIn,
    /// By key; without one in turn. Kafka's default up to 2.3.
    KeyHash,
    /// One partition until its batch is full, then another, whatever the key (KIP-480).
    UniformSticky,
    /// In turn, whatever the key.
    RoundRobin,
}

/// How a producer behaves. Names and defaults are Kafka's.
#[derive(Clone, Debug)]
pub struct Config {
    /// What producer and consumer have in common.
    pub common: Common,
    /// `acks`
    pub acks: Acks,
    /// `enable.idempotence`; only with acks=all. Without it one request at a time carries a partition's records, so that order is kept.
    pub idempotent: bool,
    /// `linger.ms`: how long a batch waits for more records.
    pub linger: Duration,
    /// `batch.size` in bytes before compression. A larger record travels alone.
    pub batch_size: usize,
    /// `compression.type`
    pub compression: Compression,
    /// `compression.*.level`; `None` for the codec's default.
    pub compression_level: Option<i32>,
    /// `buffer.memory` in bytes: what waits and is in flight, before compression.
    pub buffer_memory: usize,
    /// `max.request.size` in bytes.
    pub max_request_size: usize,
    /// `delivery.timeout.ms`: after it a record is given up (at its next failure, if it is in flight then).
    pub delivery_timeout: Duration,
    /// `partitioner.class`
    pub partitioner: Partitioner,
    /// `partitioner.availability.timeout.ms`: brokers that take nothing for so long are not chosen. Zero: they are.
    pub availability_timeout: Duration,
}

impl Config {
    /// Kafka's defaults.
    #[must_use]
    pub fn new(common: Common) -> Self {
        Self {
            common,
            acks: Acks::All,
            idempotent: true,
            linger: Duration::from_millis(5),
            batch_size: 16_384,
            compression: Compression::None,
            compression_level: None,
            buffer_memory: 32 << 20,
            max_request_size: 1 << 20,
            delivery_timeout: Duration::from_secs(120),
            partitioner: Partitioner::BuiltIn,
            availability_timeout: Duration::ZERO,
        }
    }
}

/// What an application asks of a producer.
#[derive(Clone, Debug)]
pub enum Command {
    /// Write a record. Its outcome is told under its token.
    Send(NewRecord),
    /// Let nothing linger until all records sent so far are settled; then `Flushed` is told.
    Flush {
        /// Its name.
        token: Token,
    },
    /// Give up what is not settled, and close all connections.
    Close,
}

/// A record to be written.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Its name, told with its outcome. Not looked at.
    pub token: Token,
    /// Where to.
    pub topic: Topic,
    /// Its partition; `None` to have one chosen.
    pub partition: Option<PartitionIndex>,
    /// Its time; `None` for now.
    pub timestamp: Option<Timestamp>,
    /// What it carries.
    pub payload: Payload,
}

/// What a producer tells its application. Each record is told of once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What became of one batch's records. The batches of one partition are told of in the order in which they were written.
    Settled {
        /// Their partition.
        part: TopicPartition,
        /// The records, in order.
        records: Vec<Token>,
        /// What became of all of them.
        outcome: Result<Written, Failure>,
    },
    /// A record that never got as far as a batch.
    Rejected {
        /// Which.
        record: Token,
        /// Why. It was certainly not written.
        why: Why,
    },
    /// Everything that was sent before this flush is settled.
    Flushed {
        /// Which.
        token: Token,
    },
}

/// Where a batch's records stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The first record's offset; the others follow it. `None` with acks=0, and for a duplicate too old for its broker to remember.
    pub base: Option<Offset>,
    /// When they were appended, if their topic counts time so.
    pub append_time: Option<Timestamp>,
}

/// Records that were not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub why: Why,
    /// Whether an attempt ended without a clear no: they may stand in the log all the same.
    pub maybe_written: bool,
}

/// Why a record was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time was up before its broker took it.
    TimedOut,
    /// The buffer is full. Send it again after the next `Settled`.
    BufferFull,
    /// It is larger than a request may be.
    TooLarge,
    /// A broker said so.
    Refused(ErrorCode),
    /// The producer was closed.
    Closed,
}

/// Where an idempotent producer's identity stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    NotNeeded,
    Wanted { from: Instant, failures: u32 },
    Asked { failures: u32 },
    Held { id: ProducerId, epoch: ProducerEpoch },
}

/// The parent's note on a call.
#[derive(Clone, Debug)]
enum Note {
    Produce { broker: BrokerId, batches: Vec<(TopicPartition, BatchNo)> },
    InitProducerId,
}

#[derive(Clone, Debug)]
struct Flush {
    token: Token,
    /// Everything admitted before this serial number must be settled.
    before: u64,
}

/// The sans-IO producer.
#[derive(Clone, Debug)]
pub struct Producer {
    config: Config,
    cluster: Cluster<Note>,
    queues: BTreeMap<TopicPartition, Queue>,
    topics: BTreeMap<Topic, Chooser>,
    identity: Identity,
    /// Bytes that count against the buffer.
    buffered: usize,
    in_flight: BTreeMap<BrokerId, usize>,
    /// Since when a broker with something to send to it has taken nothing.
    stalled: BTreeMap<BrokerId, Instant>,
    /// The partition after which to go on filling requests, so that none starves.
    turn: Option<TopicPartition>,
    flushes: VecDeque<Flush>,
    events: VecDeque<Event>,
    serial: u64,
    wake: Option<(Instant, &'static str)>,
    closed: bool,
}

impl Producer {
    /// A producer that has done nothing yet. The seed decides its random choices.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        assert!(!config.idempotent || config.acks == Acks::All, "an idempotent producer needs acks=all");
        let cluster = Cluster::new(config.common.clone(), stream(seed, "producer"));
        let identity = if config.idempotent { Identity::Wanted { from: Instant::default(), failures: 0 } } else { Identity::NotNeeded };
        Self {
            config,
            cluster,
            queues: BTreeMap::new(),
            topics: BTreeMap::new(),
            identity,
            buffered: 0,
            in_flight: BTreeMap::new(),
            stalled: BTreeMap::new(),
            turn: None,
            flushes: VecDeque::new(),
            events: VecDeque::new(),
            serial: 0,
            wake: None,
            closed: false,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Now, input: Input<Command>) {
        if self.closed {
            return;
        }
        match input {
            Input::App(Command::Send(record)) => {
                if !self.admit(now, record) {
                    return;
                }
            }
            Input::App(Command::Flush { token }) => self.flushes.push_back(Flush { token, before: self.serial }),
            Input::App(Command::Close) => return self.close(),
            Input::Tick | Input::Connected { .. } | Input::Closed { .. } | Input::Answer { .. } => {
                for outcome in self.cluster.absorb(now.at, input) {
                    match outcome {
                        Outcome::Answered { of, response } => self.answered(now.at, of, &response),
                        Outcome::Lost { of } => self.lost(now.at, of),
                    }
                }
            }
        }
        self.drive(now);
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll(&mut self) -> Option<Effect<Event>> {
        if let Some(event) = self.events.pop_front() {
            return Some(Effect::Event(event));
        }
        Some(match self.cluster.poll()? {
            LinkEffect::Connect { conn, to } => Effect::Connect { conn, to },
            LinkEffect::Send { conn, call, version, request, answered } => Effect::Send { conn, call, version, request, answered },
            LinkEffect::Close { conn, why } => Effect::Close { conn, why },
        })
    }

    /// When to send `Tick`, and what for.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        self.wake
    }

    /// How many more bytes of records fit the buffer: what an application that waits for room should look at.
    #[must_use]
    pub fn room(&self) -> usize {
        self.config.buffer_memory.saturating_sub(self.buffered)
    }

    /// How many bytes of records are not settled.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.buffered
    }

    fn shape(&self) -> Shape {
        Shape { codec: self.config.compression, level: self.config.compression_level, batch_size: self.config.batch_size }
    }

    fn linger(&self) -> Linger {
        // A full buffer waits for nobody: what lingers is what keeps it full.
        let hurry = !self.flushes.is_empty() || self.room() < self.config.batch_size;
        Linger(if hurry { Duration::ZERO } else { self.config.linger })
    }

    /// Does everything that can be done now.
    fn drive(&mut self, now: Now) {
        self.cluster.begin(now.at);
        self.place_waiting(now);
        self.expire(now.at);
        self.ask_for_identity(now.at);
        self.mend(now.at);
        self.send(now.at);
        self.tell_flushed();
        self.wake = self.next_deadline(now.at);
    }

    fn expire(&mut self, now: Instant) {
        let mut late = Vec::new();
        for (part, queue) in &mut self.queues {
            late.extend(queue.expire(now).into_iter().map(|batch| (part.clone(), batch)));
        }
        for (part, batch) in late {
            let maybe_written = batch.unsure;
            self.settle(part, batch, Err(Failure { why: Why::TimedOut, maybe_written }));
        }
    }

    fn settle(&mut self, part: TopicPartition, batch: Pending, outcome: Result<Written, Failure>) {
        self.buffered -= batch.bytes;
        self.events.push_back(Event::Settled { part, records: batch.tokens, outcome });
    }

    fn tell_flushed(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let waiting = self.topics.values().filter_map(Chooser::oldest_waiting);
        let oldest = self.queues.values().filter_map(Queue::oldest).chain(waiting).min().unwrap_or(u64::MAX);
        while let Some(flush) = self.flushes.front().filter(|flush| flush.before <= oldest) {
            self.events.push_back(Event::Flushed { token: flush.token });
            self.flushes.pop_front();
        }
    }

    /// What was due by `now` and was not done waits for something else, which will be an input of its own.
    fn next_deadline(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let linger = self.linger();
        let queues = self.queues.values().filter_map(|queue| queue.deadline(now, linger)).map(|at| (at, "a batch is due"));
        let waiting = self.topics.values().filter_map(Chooser::deadline).map(|at| (at, "a record is given up"));
        let identity = match self.identity {
            Identity::Wanted { from, .. } if from > now => Some((from, "ask for a producer id again")),
            Identity::Wanted { .. } | Identity::Asked { .. } | Identity::Held { .. } | Identity::NotNeeded => None,
        };
        queues.chain(waiting).chain(identity).chain(self.cluster.deadline(now)).min()
    }

    fn close(&mut self) {
        self.closed = true;
        self.wake = None;
        for (part, mut queue) in std::mem::take(&mut self.queues) {
            for batch in queue.drain() {
                let maybe_written = batch.unsure || batch.is_in_flight();
                self.settle(part.clone(), batch, Err(Failure { why: Why::Closed, maybe_written }));
            }
        }
        for mut chooser in std::mem::take(&mut self.topics).into_values() {
            for record in chooser.drain() {
                self.reject(record.token, Why::Closed);
            }
        }
        self.flushes.drain(..).for_each(|flush| self.events.push_back(Event::Flushed { token: flush.token }));
        self.cluster.close();
    }

    fn reject(&mut self, record: Token, why: Why) {
        self.events.push_back(Event::Rejected { record, why });
    }
}
