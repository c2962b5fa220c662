//! A small world for tests of the client machines: virtual time, connections that lose what they are told to lose, and a pretended cluster.
//!
//! Every request and response goes through the codec in the version that was chosen, as it would on a socket.

use std::collections::BTreeMap;

use rand::Rng as _;

use super::io::{Effect, Input};
use crate::id::{CallId, ConnId, CorrelationId};
use crate::rng::{Rng, stream};
use crate::time::{Instant, Now, Timestamp};
use crate::wire::{RequestHeader, Response, decode_request, decode_response, encode_request, encode_response};

// A pretended broker answers what the client machines ask, and panics at anything else.
#[allow(clippy::wildcard_enum_match_arm)]
mod broker;
#[allow(clippy::wildcard_enum_match_arm)]
mod group;

pub(crate) use broker::{Fake, Served};

pub(crate) const MS: u64 = 1_000_000;

/// What every client machine can do.
pub(crate) trait Machine {
    type Command;
    type Event;
    fn handle(&mut self, now: Now, input: Input<Self::Command>);
    fn poll(&mut self) -> Option<Effect<Self::Event>>;
    fn deadline(&self) -> Option<(Instant, &'static str)>;
}

/// How often a request meets with misfortune, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The connection breaks before the broker sees it.
    pub(crate) lost_request: u32,
    /// The connection breaks after the broker has acted on it.
    pub(crate) lost_answer: u32,
    /// It takes up to a second.
    pub(crate) slow: u32,
}

/// One connection of one machine.
pub(crate) type Wire = (usize, ConnId);

/// A request that waits for its answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ticket {
    pub(crate) wire: Wire,
    pub(crate) call: CallId,
    pub(crate) header: RequestHeader,
}

enum Arrival {
    Connected(Wire),
    Closed(Wire),
    Answer {
        wire: Wire,
        call: CallId,
        response: Response,
    },
    /// The broker sees the request only now.
    Request {
        ticket: Ticket,
        frame: bytes::Bytes,
    },
}

pub(crate) struct World<M: Machine> {
    pub(crate) machines: Vec<M>,
    pub(crate) cluster: Fake,
    pub(crate) faults: Faults,
    pub(crate) at: u64,
    /// What each machine told its application.
    pub(crate) events: Vec<(usize, M::Event)>,
    /// Requests that the brokers have seen, by API name.
    pub(crate) seen: Vec<(&'static str, i16)>,
    rng: Rng,
    /// Open connections: to which broker, and when the last thing on it arrives, since TCP keeps order.
    conns: BTreeMap<Wire, (i32, u64)>,
    arrivals: BTreeMap<(u64, u64), Arrival>,
    next: u64,
}

impl<M: Machine> World<M> {
    pub(crate) fn new(machines: Vec<M>, cluster: Fake, seed: u64) -> Self {
        Self {
            machines,
            cluster,
            faults: Faults::default(),
            at: MS,
            events: Vec::new(),
            seen: Vec::new(),
            rng: stream(seed, "world"),
            conns: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { at: Instant(self.at), wall: Timestamp(1_000_000 + i64::try_from(self.at / MS).unwrap()) }
    }

    pub(crate) fn app(&mut self, command: M::Command) {
        self.app_of(0, command);
    }

    pub(crate) fn app_of(&mut self, machine: usize, command: M::Command) {
        self.input(machine, Input::App(command));
    }

    fn input(&mut self, machine: usize, input: Input<M::Command>) {
        let now = self.now();
        self.machines[machine].handle(now, input);
        while let Some(effect) = self.machines[machine].poll() {
            self.carry_out(machine, effect);
        }
    }

    /// Runs until `done`, for at most `ms` of virtual time. Says whether it was done.
    pub(crate) fn run_until(&mut self, ms: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.at + ms * MS;
        let mut stuck = 0;
        while !done(self) {
            let at = self.at;
            let due = self.machines.iter().enumerate().filter_map(|(i, m)| Some((m.deadline()?.0.0.max(at), i))).min();
            let arrival = self.arrivals.keys().next().map(|(at, _)| *at);
            let group = self.cluster.group.deadline().map(|due| due.max(at));
            let Some(next) = due.map(|(at, _)| at).into_iter().chain(arrival).chain(group).min().filter(|next| *next <= end) else {
                self.at = end;
                return done(self);
            };
            stuck = if next == self.at { stuck + 1 } else { 0 };
            assert!(stuck < 10_000, "time stands still: {:?}", self.machines.iter().map(M::deadline).collect::<Vec<_>>());
            self.at = next;
            if arrival == Some(next) {
                let (_, arrival) = self.arrivals.pop_first().unwrap();
                self.arrive(arrival);
            } else if group == Some(next) {
                self.cluster.group.tick(next);
                self.answer_parked();
            } else if let Some((_, machine)) = due {
                self.input(machine, Input::Tick);
            }
        }
        true
    }

    pub(crate) fn run(&mut self, ms: u64) {
        self.run_until(ms, |_| false);
    }

    /// Breaks every connection to a broker.
    pub(crate) fn cut(&mut self, broker: i32) {
        let gone: Vec<Wire> = self.conns.iter().filter(|(_, (to, _))| *to == broker).map(|(wire, _)| *wire).collect();
        gone.into_iter().for_each(|wire| self.arrive(Arrival::Closed(wire)));
    }

    fn schedule(&mut self, at: u64, arrival: Arrival) {
        self.next += 1;
        self.arrivals.insert((at, self.next), arrival);
    }

    fn carry_out(&mut self, machine: usize, effect: Effect<M::Event>) {
        match effect {
            Effect::Event(event) => self.events.push((machine, event)),
            Effect::Close { conn, .. } => {
                self.conns.remove(&(machine, conn));
            }
            Effect::Connect { conn, to } => {
                let broker = i32::from(to.port) - 9000;
                let up = self.cluster.is_up(broker);
                let wire = (machine, conn);
                if up {
                    self.conns.insert(wire, (broker, self.at));
                }
                self.schedule(self.at + MS, if up { Arrival::Connected(wire) } else { Arrival::Closed(wire) });
            }
            Effect::Send { conn, call, version, request, answered: _ } => {
                let correlation = CorrelationId(i32::try_from(call.0).expect("few calls"));
                let header = RequestHeader { api: request.api(), version, correlation, client_id: None };
                let frame = encode_request(&header, &request).bytes().expect("no regions in requests").slice(4..);
                let delay = if self.chance(self.faults.slow) { self.rng.random_range(1..1000) } else { 1 };
                let (_, last) = self.conns.get_mut(&(machine, conn)).expect("machines send on open connections only");
                *last = (*last).max(self.at + delay * MS);
                let at = *last;
                let ticket = Ticket { wire: (machine, conn), call, header };
                self.schedule(at, Arrival::Request { ticket, frame });
            }
        }
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        self.rng.random_range(0..1000) < thousandths
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Connected(wire) if self.conns.contains_key(&wire) => self.input(wire.0, Input::Connected { conn: wire.1 }),
            Arrival::Closed(wire) => {
                self.conns.remove(&wire);
                self.input(wire.0, Input::Closed { conn: wire.1 });
            }
            Arrival::Answer { wire, call, response } if self.conns.contains_key(&wire) => {
                self.input(wire.0, Input::Answer { call, response: Box::new(response) });
            }
            Arrival::Connected(_) | Arrival::Answer { .. } => {}
            Arrival::Request { ticket, frame } => self.request(ticket, frame),
        }
    }

    fn request(&mut self, ticket: Ticket, frame: bytes::Bytes) {
        let Some((broker, _)) = self.conns.get(&ticket.wire).copied() else { return };
        if self.chance(self.faults.lost_request) {
            return self.arrive(Arrival::Closed(ticket.wire));
        }
        let (_, request) = decode_request(frame).expect("a request of a known version");
        self.seen.push((ticket.header.api.name(), ticket.header.version));
        let served = self.cluster.serve(self.at, broker, &ticket, request);
        if self.chance(self.faults.lost_answer) {
            self.arrive(Arrival::Closed(ticket.wire));
        } else if let Served::Answer(response, after) = served {
            self.answer(&ticket, &response, after);
        }
        self.answer_parked();
    }

    /// Answers that waited for other requests.
    fn answer_parked(&mut self) {
        for (ticket, response) in std::mem::take(&mut self.cluster.group.ready) {
            self.answer(&ticket, &response, 0);
        }
    }

    fn answer(&mut self, ticket: &Ticket, response: &Response, after: u64) {
        let header = &ticket.header;
        let frame = encode_response(header.correlation, header.version, response).bytes().expect("no regions in tests").slice(4..);
        let (_, response) = decode_response(header.api, header.version, frame).expect("its own response");
        self.schedule(self.at + after * MS + MS, Arrival::Answer { wire: ticket.wire, call: ticket.call, response });
    }
}
