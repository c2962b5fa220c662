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

mod broker;
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

enum Arrival {
    Connected(ConnId),
    Closed(ConnId),
    Answer {
        conn: ConnId,
        call: CallId,
        response: Response,
    },
    /// The broker sees the request only now.
    Request {
        conn: ConnId,
        call: CallId,
        header: RequestHeader,
        frame: bytes::Bytes,
    },
}

pub(crate) struct World<M: Machine> {
    pub(crate) machine: M,
    pub(crate) cluster: Fake,
    pub(crate) faults: Faults,
    pub(crate) at: u64,
    pub(crate) events: Vec<M::Event>,
    /// Requests that the brokers have seen, by API name.
    pub(crate) seen: Vec<(&'static str, i16)>,
    rng: Rng,
    /// Open connections: to which broker, and when the last thing on it arrives, since TCP keeps order.
    conns: BTreeMap<ConnId, (i32, u64)>,
    arrivals: BTreeMap<(u64, u64), Arrival>,
    next: u64,
}

impl<M: Machine> World<M> {
    pub(crate) fn new(machine: M, cluster: Fake, seed: u64) -> Self {
        Self {
            machine,
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
        self.input(Input::App(command));
    }

    fn input(&mut self, input: Input<M::Command>) {
        self.machine.handle(self.now(), input);
        while let Some(effect) = self.machine.poll() {
            self.carry_out(effect);
        }
    }

    /// Runs until `done`, for at most `ms` of virtual time. Says whether it was done.
    pub(crate) fn run_until(&mut self, ms: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.at + ms * MS;
        let mut stuck = 0;
        while !done(self) {
            let deadline = self.machine.deadline().map(|(at, _)| at.0.max(self.at));
            let arrival = self.arrivals.keys().next().map(|(at, _)| *at);
            let Some(next) = deadline.into_iter().chain(arrival).min().filter(|next| *next <= end) else {
                self.at = end;
                return done(self);
            };
            stuck = if next == self.at { stuck + 1 } else { 0 };
            assert!(stuck < 10_000, "time stands still: {:?}", self.machine.deadline());
            self.at = next;
            if arrival == Some(next) {
                let (_, arrival) = self.arrivals.pop_first().unwrap();
                self.arrive(arrival);
            } else {
                self.input(Input::Tick);
            }
        }
        true
    }

    pub(crate) fn run(&mut self, ms: u64) {
        self.run_until(ms, |_| false);
    }

    /// Breaks every connection to a broker.
    pub(crate) fn cut(&mut self, broker: i32) {
        let gone: Vec<ConnId> = self.conns.iter().filter(|(_, (to, _))| *to == broker).map(|(conn, _)| *conn).collect();
        for conn in gone {
            self.arrive(Arrival::Closed(conn));
        }
    }

    fn schedule(&mut self, at: u64, arrival: Arrival) {
        self.next += 1;
        self.arrivals.insert((at, self.next), arrival);
    }

    fn carry_out(&mut self, effect: Effect<M::Event>) {
        match effect {
            Effect::Event(event) => self.events.push(event),
            Effect::Close { conn, .. } => {
                self.conns.remove(&conn);
            }
            Effect::Connect { conn, to } => {
                let broker = i32::from(to.port) - 9000;
                let up = self.cluster.is_up(broker);
                if up {
                    self.conns.insert(conn, (broker, self.at));
                }
                self.schedule(self.at + MS, if up { Arrival::Connected(conn) } else { Arrival::Closed(conn) });
            }
            Effect::Send { conn, call, version, request, answered: _ } => {
                let header = RequestHeader { api: request.api(), version, correlation: CorrelationId(call.0 as i32), client_id: None };
                let frame = encode_request(&header, &request).bytes().expect("no regions in requests").slice(4..);
                let delay = if self.chance(self.faults.slow) { self.rng.random_range(1..1000) } else { 1 };
                let (_, last) = self.conns.get_mut(&conn).expect("machines send on open connections only");
                *last = (*last).max(self.at + delay * MS);
                let at = *last;
                self.schedule(at, Arrival::Request { conn, call, header, frame });
            }
        }
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        self.rng.random_range(0..1000) < thousandths
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Connected(conn) if self.conns.contains_key(&conn) => self.input(Input::Connected { conn }),
            Arrival::Closed(conn) => {
                self.conns.remove(&conn);
                self.input(Input::Closed { conn });
            }
            Arrival::Answer { conn, call, response } if self.conns.contains_key(&conn) => {
                self.input(Input::Answer { call, response: Box::new(response) });
            }
            Arrival::Connected(_) | Arrival::Answer { .. } => {}
            Arrival::Request { conn, call, header, frame } => self.request(conn, call, header, frame),
        }
    }

    fn request(&mut self, conn: ConnId, call: CallId, header: RequestHeader, frame: bytes::Bytes) {
        // A request that is on its way when its connection is closed still arrives.
        let broker = self.conns.get(&conn).map(|(broker, _)| *broker);
        if self.chance(self.faults.lost_request) {
            return self.arrive(Arrival::Closed(conn));
        }
        let Some(broker) = broker else { return };
        let (_, request) = decode_request(frame).expect("a request of a known version");
        self.seen.push((header.api.name(), header.version));
        let now = self.at;
        let served = self.cluster.serve(now, broker, &header, request);
        if self.chance(self.faults.lost_answer) {
            return self.arrive(Arrival::Closed(conn));
        }
        match served {
            Served::Nothing => {}
            Served::Answer(response, after) => {
                let frame = encode_response(header.correlation, header.version, &response).bytes().expect("no regions in tests").slice(4..);
                let (_, response) = decode_response(header.api, header.version, frame).expect("its own response");
                self.schedule(now + after * MS + MS, Arrival::Answer { conn, call, response });
            }
        }
    }
}
