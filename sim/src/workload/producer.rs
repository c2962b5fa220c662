//! Producers: one machine shared by several processes, each with at most one send under way, so that several batches are in flight.

use super::{Book, encode, place};
use crate::cluster::client::{Actor, FromClient, ToClient};
use klamm_core::client::io::{Effect, Input};
use klamm_core::client::producer::{Acks, Command, Config, Event, Failure, NewRecord, Producer, Token, Why, Written};
use klamm_core::error::ErrorCode;
use klamm_core::id::PartitionIndex;
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now, Timestamp};
use klamm_core::wire::record::Payload;
use klamm_jepsen::history::{Action, Completion, Key, Offset, Process, Value};
use rand::Rng as _;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How a producer client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machine's configuration.
    pub config: Config,
    /// How many processes share it.
    pub processes: usize,
    /// The keys it sends to.
    pub keys: Vec<Key>,
    /// A process pauses up to so long between sends.
    pub think: Duration,
    /// Records are padded up to this size.
    pub record_bytes: usize,
    /// Records are dated up to so many ms before or after now; 0: the machine dates them.
    pub time_spread_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Sending {
    process: Process,
    key: Key,
    value: Value,
    begun: u64,
}

/// A producer client.
pub struct ProducerActor {
    machine: Producer,
    options: Options,
    book: Book,
    rng: Rng,
    idle: Vec<(Instant, Process)>,
    sending: BTreeMap<Token, Sending>,
    next_token: u64,
    out: VecDeque<FromClient>,
}

impl ProducerActor {
    /// A client that has done nothing yet.
    #[must_use]
    pub fn new(options: Options, book: Book, seed: u64) -> Self {
        let idle = (0..options.processes).map(|_| (Instant::default(), book.borrow_mut().process())).collect();
        Self {
            machine: Producer::new(options.config.clone(), seed),
            rng: rng::stream(seed, "producer actor"),
            options,
            book,
            idle,
            sending: BTreeMap::new(),
            next_token: 0,
            out: VecDeque::new(),
        }
    }

    /// Sends for every process whose pause is over.
    fn send(&mut self, now: Now) {
        if self.book.borrow().draining {
            return;
        }
        let (due, rest) = std::mem::take(&mut self.idle).into_iter().partition(|(at, _)| *at <= now.at);
        self.idle = rest;
        let due: Vec<(Instant, Process)> = due;
        for (_, process) in due {
            let key = self.options.keys[self.rng.random_range(0..self.options.keys.len())];
            let value = self.book.borrow_mut().value(key);
            {
                let mut book = self.book.borrow_mut();
                book.open += 1;
                book.recorder.invoke(now.at.0, process, Action::send(key, value));
            }
            let token = Token(self.next_token);
            self.next_token += 1;
            self.sending.insert(token, Sending { process, key, value, begun: now.at.0 });
            let size = self.rng.random_range(0..=self.options.record_bytes);
            let value = encode(value, size);
            self.book.borrow_mut().gone.sent(key, value.len());
            let (topic, partition) = place(key);
            let record = NewRecord {
                token,
                topic: topic.into(),
                partition: Some(PartitionIndex(partition)),
                timestamp: self.time(now),
                payload: Payload { key: None, value: Some(value), headers: Vec::new() },
            };
            self.machine.handle(now, Input::App(Command::Send(record)));
            self.drain(now);
        }
    }

    /// Applications may date their records as they like; most do not.
    fn time(&mut self, now: Now) -> Option<Timestamp> {
        let spread = self.options.time_spread_ms;
        (spread > 0).then(|| Timestamp(now.wall.0 + self.rng.random_range(-spread..=spread)))
    }

    fn drain(&mut self, now: Now) {
        while let Some(effect) = self.machine.poll() {
            match effect {
                Effect::Connect { conn, to } => self.out.push_back(FromClient::Connect { conn, to }),
                Effect::Send { conn, call, version, request, answered } => {
                    self.out.push_back(FromClient::Send { conn, call, version, request, answered });
                }
                Effect::Close { conn, .. } => self.out.push_back(FromClient::Close { conn }),
                Effect::Event(Event::Settled { records, outcome, .. }) => self.settled(now, &records, outcome),
                Effect::Event(Event::Rejected { record, why }) => self.end(now, record, Completion::fail(format!("{why:?}"))),
                Effect::Event(Event::Flushed { .. }) => {}
            }
        }
    }

    fn settled(&mut self, now: Now, records: &[Token], outcome: Result<Written, Failure>) {
        for (at, token) in records.iter().enumerate() {
            let Some(sending) = self.sending.get(token).copied() else { continue };
            if let Err(failure) = &outcome {
                self.must_not_fail(sending, failure);
            }
            let completion = match outcome {
                Ok(Written { base, .. }) => self.written(sending, base.map(|base| Offset(base.0 + at as i64))),
                Err(Failure { why, maybe_written: true }) => Completion::info(format!("{why:?}")),
                Err(Failure { why, maybe_written: false }) => Completion::fail(format!("{why:?}")),
            };
            self.end(now, *token, completion);
        }
    }

    /// What was begun when all was healed must be acknowledged, if the producer sees to its sends at all.
    fn must_not_fail(&self, sending: Sending, failure: &Failure) {
        let mut book = self.book.borrow_mut();
        if book.misdates && failure.why == Why::Refused(ErrorCode::INVALID_TIMESTAMP) {
            return;
        }
        if self.options.config.acks == Acks::All && book.calm_from.is_some_and(|from| sending.begun >= from) {
            let Sending { key, value, begun, .. } = sending;
            let what = format!("liveness: the send of {value:?} to {key:?}, begun at {begun} when all was healed, ended in {failure:?}");
            book.violations.push(what);
        }
    }

    fn written(&mut self, sending: Sending, offset: Option<Offset>) -> Completion {
        let seen = offset.map_or_else(|| Action::send(sending.key, sending.value), |at| Action::sent(sending.key, at, sending.value));
        if self.options.config.acks != Acks::All {
            // Nothing was promised: the record may be lost with the leader.
            return Completion::info("acknowledged without acks=all").seeing(seen);
        }
        let mut book = self.book.borrow_mut();
        book.acknowledged += 1;
        if let Some(offset) = offset {
            let reached = book.reached.entry(sending.key).or_insert(offset);
            *reached = offset.max(*reached);
        }
        Completion::ok(seen)
    }

    fn end(&mut self, now: Now, token: Token, completion: Completion) {
        let Some(sending) = self.sending.remove(&token) else { return };
        let mut book = self.book.borrow_mut();
        book.open -= 1;
        book.recorder.complete(now.at.0, sending.process, completion);
        // After an unknown outcome that process number never returns.
        let process = if book.recorder.is_retired(sending.process) { book.process() } else { sending.process };
        let think = self.options.think.mul_f64(self.rng.random_range(0.0..1.0));
        self.idle.push((now.at.after(think + book.rest), process));
    }
}

impl Actor for ProducerActor {
    fn handle(&mut self, now: Now, input: ToClient) {
        let input = match input {
            ToClient::Tick => Input::Tick,
            ToClient::Connected { conn } => Input::Connected { conn },
            ToClient::Closed { conn } => Input::Closed { conn },
            ToClient::Answer { call, response } => Input::Answer { call, response },
        };
        self.machine.handle(now, input);
        self.drain(now);
        self.send(now);
    }

    fn poll(&mut self) -> Option<FromClient> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let machine = self.machine.deadline().map(|(at, _)| at);
        let idle = if self.book.borrow().draining { None } else { self.idle.iter().map(|(at, _)| *at).min() };
        machine.into_iter().chain(idle).min()
    }
}
