//! The records that wait for one partition: batches in order, which of them may be sent, and the sequences they carry.
//!
//! Order is kept through every retry: a batch is sent only when each batch before it is in flight, on the same connection. Never sends, and
//! never decides whether an error is worth a retry: that is `producer.rs`.
//!
//! ```text
//!   append ► open ─(full, lingered, flushed)► sent ─ok► gone
//!                                              │ ▲
//!                                      retriable│ │ each batch before it is in flight again
//!                                              ▼ │
//!                                             retry ─(time is up)► gone
//! ```

use std::collections::VecDeque;

use crate::id::{ConnId, ProducerEpoch, ProducerId, Sequence};
use crate::mutant;
use crate::probe;
use crate::time::{Instant, Timestamp};
use crate::wire::batch::{Batch, Compression};
use crate::wire::record::{BatchBuilder, Identity, Payload, reidentify};

/// The application's name for one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One batch's name within its producer: the serial number of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BatchNo(pub(super) u64);

/// The id and epoch under which sequences are given. `None`: not idempotent.
pub(super) type Line = Option<(ProducerId, ProducerEpoch)>;

#[derive(Clone, Debug)]
enum Body {
    Open(BatchBuilder),
    Closed(Batch),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not sent yet.
    Fresh,
    InFlight(ConnId),
    /// Sent before; may be sent again from then on.
    Retry(Instant),
}

/// A batch on its way.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) no: BatchNo,
    /// Its records' names, in order.
    pub(super) tokens: Vec<Token>,
    /// What it counts against the buffer.
    pub(super) bytes: usize,
    /// How many attempts have failed.
    pub(super) failures: u32,
    /// Whether an attempt ended without a clear no, so that it may have been written.
    pub(super) unsure: bool,
    /// When its records are given up.
    pub(super) deadline: Instant,
    opened: Instant,
    body: Body,
    state: State,
    /// How many batches were given a sequence under this identity before it; `None`: it was given none.
    numbered: Option<usize>,
}

/// When a batch is full, and how the batch is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) codec: Compression,
    pub(super) level: Option<i32>,
    /// `batch.size`
    pub(super) batch_size: usize,
}

/// One partition's batches, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    batches: VecDeque<Pending>,
    /// Under which identity `next` counts.
    line: Line,
    /// The next batch's first sequence.
    next: Sequence,
    /// How many batches were given a sequence under this identity.
    count: usize,
    /// Whether a broker has acknowledged a batch of this identity. Until then it takes any sequence for the first one, so that a second batch
    /// could be taken where the first was refused: nothing may overlap.
    known: bool,
    /// Sequences must start anew under another epoch, since a gap in them cannot be closed.
    broken: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { batches: VecDeque::new(), line: None, next: Sequence(0), count: 0, known: false, broken: false }
    }

    /// Whether a record fits the batch that is open.
    pub(super) fn has_room(&self, shape: Shape, payload: &Payload) -> bool {
        let Some(Pending { body: Body::Open(builder), .. }) = self.batches.back() else { return false };
        builder.bytes_with(payload) <= shape.batch_size
    }

    /// Adds a record to the open batch, or to a new one named `no` if it does not fit. Answers what it counts against the buffer.
    pub(super) fn append(
        &mut self,
        now: Instant,
        deadline: Instant,
        shape: Shape,
        no: BatchNo,
        record: (Token, Timestamp, &Payload),
    ) -> usize {
        let (token, timestamp, payload) = record;
        if !self.has_room(shape, payload) {
            self.close_last();
            let body = Body::Open(BatchBuilder::new(shape.codec, shape.level));
            let state = State::Fresh;
            let batch = Pending {
                no,
                tokens: Vec::new(),
                bytes: 0,
                failures: 0,
                unsure: false,
                deadline,
                opened: now,
                body,
                state,
                numbered: None,
            };
            self.batches.push_back(batch);
        }
        let batch = self.batches.back_mut().expect("one was just opened");
        let Body::Open(builder) = &mut batch.body else { unreachable!("a batch with room is open") };
        builder.push(timestamp, payload);
        let grown = builder.bytes() - batch.bytes;
        batch.bytes = builder.bytes();
        batch.tokens.push(token);
        grown
    }

    fn close_last(&mut self) {
        if let Some(batch) = self.batches.back_mut() {
            batch.close();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many batches wait or are in flight.
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether the newest batch takes no more records, so that a sticky partitioner may move on without leaving a small one behind.
    pub(super) fn is_at_a_boundary(&self, shape: Shape) -> bool {
        match self.batches.back() {
            Some(Pending { body: Body::Open(builder), .. }) => builder.bytes() >= shape.batch_size,
            Some(Pending { body: Body::Closed(_), .. }) | None => true,
        }
    }

    /// The position of the batch to send next, if its time has come. `overlap`: whether others may be in flight before it.
    pub(super) fn candidate(&self, now: Instant, linger: Linger, overlap: bool) -> Option<usize> {
        let at = self.batches.iter().position(|batch| !matches!(batch.state, State::InFlight(_)))?;
        let may = !self.broken && (at == 0 || (overlap && self.known && self.is_remembered_beside(at)));
        (may && self.due(at, linger) <= now).then_some(at)
    }

    /// Whether a broker that takes the batch at a position still knows the oldest one that is not settled. Its answer may be lost, and whoever
    /// repeats it later than that gets it refused, or written twice.
    fn is_remembered_beside(&self, at: usize) -> bool {
        let oldest = self.batches[0].numbered.unwrap_or(self.count);
        let span = self.batches[at].numbered.unwrap_or(self.count) - oldest;
        mutant!(SpanUnbounded) || span < super::IN_FLIGHT_MAX
    }

    /// Whether everything in flight is on `conn`. Elsewhere it might yet fail, while what follows would be taken here.
    pub(super) fn is_bound_to(&self, conn: ConnId) -> bool {
        !self.sent().any(|batch| matches!(batch.state, State::InFlight(other) if other != conn))
    }

    /// Bytes of the batch at a position, before compression.
    pub(super) fn bytes_at(&self, at: usize) -> usize {
        self.batches[at].bytes
    }

    /// The serial number of the oldest record that is not settled.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.batches.front().map(|batch| batch.no.0)
    }

    /// When the batch at a position may be sent, as far as its own age is concerned.
    fn due(&self, at: usize, linger: Linger) -> Instant {
        let batch = &self.batches[at];
        match (batch.state, &batch.body) {
            (State::Retry(from), _) => from,
            (State::Fresh, Body::Open(_)) if linger.0.is_zero() || at + 1 < self.batches.len() => batch.opened,
            (State::Fresh, Body::Open(_)) => batch.opened.after(linger.0),
            (State::Fresh | State::InFlight(_), _) => batch.opened,
        }
    }

    /// When to look again: something may be sent, or must be given up. What was due by `now` and was not sent waits for something else.
    pub(super) fn deadline(&self, now: Instant, linger: Linger) -> Option<Instant> {
        let at = self.batches.iter().position(|batch| !matches!(batch.state, State::InFlight(_)))?;
        [self.batches[at].deadline, self.due(at, linger)].into_iter().filter(|at| *at > now).min()
    }

    /// The batches that were sent at least once: the first ones, and few.
    fn sent(&self) -> impl Iterator<Item = &Pending> {
        self.batches.iter().take_while(|batch| batch.state != State::Fresh)
    }

    /// Whether the next batch may be given a sequence under `line`: not while others are under way that were numbered under another.
    pub(super) fn may_number(&self, at: usize, line: Line) -> bool {
        self.batches[at].numbered.is_some() || self.line == line || !self.batches.iter().any(|batch| batch.numbered.is_some())
    }

    /// Takes the batch at a position for sending on `conn`.
    pub(super) fn send(&mut self, at: usize, conn: ConnId, line: Line) -> (BatchNo, Batch) {
        if self.batches[at].numbered.is_none() {
            self.number(at, line);
        }
        let batch = &mut self.batches[at];
        batch.state = State::InFlight(conn);
        (batch.no, batch.close())
    }

    fn number(&mut self, at: usize, line: Line) {
        let Some((id, epoch)) = line else { return };
        if self.line != line {
            assert!(!self.batches.iter().any(|batch| batch.numbered.is_some()), "two identities under way for one partition");
            self.line = line;
            self.restart();
        }
        let sequence = self.next;
        let batch = &mut self.batches[at];
        batch.identify(Identity { id, epoch, sequence }, self.count);
        self.next = sequence.plus(batch.records());
        self.count += 1;
    }

    /// A new identity counts from zero (KIP-360).
    fn restart(&mut self) {
        (self.known, self.count) = (false, 0);
        if !mutant!(EpochBumpKeepsSeq) {
            self.next = Sequence(0);
        }
    }

    /// Whether anything is in flight.
    pub(super) fn is_in_flight(&self) -> bool {
        self.sent().any(Pending::is_in_flight)
    }

    /// Whether `no` is the oldest batch that is still under way: none before it can explain a gap in the sequences.
    pub(super) fn is_first(&self, no: BatchNo) -> bool {
        self.batches.front().is_some_and(|batch| batch.no == no)
    }

    /// Takes a batch out that was written.
    pub(super) fn acknowledge(&mut self, no: BatchNo) -> Option<Pending> {
        self.known = true;
        self.remove(no)
    }

    /// Takes a batch out: it was written, or given up.
    pub(super) fn remove(&mut self, no: BatchNo) -> Option<Pending> {
        let at = self.batches.iter().position(|batch| batch.no == no)?;
        self.batches.remove(at)
    }

    /// How often a batch has failed.
    pub(super) fn failures(&self, no: BatchNo) -> u32 {
        self.batches.iter().find(|batch| batch.no == no).map_or(0, |batch| batch.failures)
    }

    /// A batch came back and is to be sent again from `at` on.
    pub(super) fn retry(&mut self, no: BatchNo, at: Instant, unsure: bool) {
        if let Some(batch) = self.batches.iter_mut().find(|batch| batch.no == no) {
            batch.failures += 1;
            batch.unsure |= unsure;
            batch.state = State::Retry(at);
        }
    }

    /// Takes out what waits beyond its time.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Pending> {
        let mut gone = Vec::new();
        // Batches stand in the order of their deadlines.
        while let Some(at) = self.batches.iter().position(|batch| !batch.is_in_flight())
            && self.batches[at].deadline <= now
        {
            gone.extend(self.batches.remove(at));
        }
        gone
    }

    /// Everything that waits or is in flight is given up.
    pub(super) fn drain(&mut self) -> Vec<Pending> {
        std::mem::take(&mut self.batches).into()
    }

    /// A sequence is missing for good: nothing more is sent until `mend`.
    pub(super) fn break_line(&mut self) {
        self.broken = true;
    }

    /// Whether it waits for a new identity, and nothing is in flight any more that carries the old one.
    pub(super) fn wants_mending(&self) -> bool {
        self.broken && !self.is_in_flight()
    }

    /// The identity under which its sequences count.
    pub(super) fn line(&self) -> Line {
        self.line
    }

    /// Starts anew under `line`: what was numbered is numbered again, from zero.
    pub(super) fn mend(&mut self, line: (ProducerId, ProducerEpoch)) {
        assert!(self.wants_mending(), "mended while something is in flight");
        probe!("producer: sequences start anew under another epoch");
        (self.broken, self.line) = (false, Some(line));
        self.restart();
        for at in 0..self.batches.len() {
            if self.batches[at].numbered.take().is_some() {
                self.number(at, Some(line));
            }
        }
    }
}

/// `linger.ms`, or zero where everything is to go out at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linger(pub(super) std::time::Duration);

impl Pending {
    fn records(&self) -> i32 {
        i32::try_from(self.tokens.len()).expect("a batch has fewer than 2^31 records")
    }

    /// Closes the batch, if it is open.
    fn close(&mut self) -> Batch {
        let closed = match &mut self.body {
            Body::Closed(batch) => return batch.clone(),
            Body::Open(builder) => std::mem::replace(builder, BatchBuilder::new(Compression::None, None)).finish(Identity::NONE),
        };
        self.body = Body::Closed(closed.clone());
        closed
    }

    fn identify(&mut self, identity: Identity, ordinal: usize) {
        self.numbered = Some(ordinal);
        self.body = Body::Closed(match &mut self.body {
            Body::Closed(batch) => reidentify(batch, identity),
            Body::Open(builder) => std::mem::replace(builder, BatchBuilder::new(Compression::None, None)).finish(identity),
        });
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight(_))
    }
}
