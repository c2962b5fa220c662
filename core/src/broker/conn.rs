//! One client connection: requests are decided in the order they came, and answered in that order.
//!
//! Only `Produce` overlaps: several may wait for their acks at once. Whatever else stands next is decided when everything before it is answered.

use crate::broker::io::Effect;
use crate::id::{ConnId, CorrelationId, ListenerId};
use crate::request::Token;
use crate::wire::batch::{BadBatch, Batch};
use crate::wire::{Request, RequestHeader, Response};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Produce requests of one connection that may wait at once; more stay undecided.
pub(super) const OVERLAP_MAX: usize = 64;

/// A request that is not decided yet.
#[derive(Clone, Debug)]
pub(super) struct Undecided {
    pub(super) header: RequestHeader,
    pub(super) body: Request,
    pub(super) batches: Vec<Result<Batch, BadBatch>>,
}

#[derive(Clone, Debug)]
enum Answer {
    Open,
    Ready(Box<Response>),
    Silent,
}

#[derive(Clone, Debug)]
struct Slot {
    correlation: CorrelationId,
    version: i16,
    produce: bool,
    answer: Answer,
}

/// A connection's requests.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) listener: ListenerId,
    pub(super) peer: SocketAddr,
    undecided: VecDeque<Undecided>,
    /// Decided, unanswered; the first one's number is `answered`.
    slots: VecDeque<Slot>,
    answered: u64,
}

impl Conn {
    pub(super) fn new(listener: ListenerId, peer: SocketAddr) -> Self {
        Self { listener, peer, undecided: VecDeque::new(), slots: VecDeque::new(), answered: 0 }
    }

    pub(super) fn push(&mut self, request: Undecided) {
        self.undecided.push_back(request);
    }

    /// The next request to decide, if its turn has come.
    pub(super) fn next(&mut self, conn: ConnId, may: impl Fn(&Undecided) -> bool) -> Option<(Token, Undecided)> {
        let produce = matches!(self.undecided.front()?.body, Request::Produce(_));
        let is_due = self.slots.is_empty() || (produce && self.slots.len() < OVERLAP_MAX && self.slots.iter().all(|slot| slot.produce));
        if !is_due || !self.undecided.front().is_some_and(may) {
            return None;
        }
        let request = self.undecided.pop_front().expect("looked at above");
        let token = Token { conn, seq: self.answered + self.slots.len() as u64 };
        self.slots.push_back(Slot {
            correlation: request.header.correlation,
            version: request.header.version,
            produce,
            answer: Answer::Open,
        });
        Some((token, request))
    }

    /// Answers a request (`None`: without a response), and sends what is now at the front.
    pub(super) fn answer(&mut self, token: Token, response: Option<Response>, effects: &mut VecDeque<Effect>) {
        let at = usize::try_from(token.seq - self.answered).expect("fewer slots than usize");
        let slot = self.slots.get_mut(at).expect("a request is answered once, after it was decided");
        assert!(matches!(slot.answer, Answer::Open), "{token:?} is answered twice");
        slot.answer = response.map_or(Answer::Silent, |body| Answer::Ready(Box::new(body)));
        while self.slots.front().is_some_and(|slot| !matches!(slot.answer, Answer::Open)) {
            let slot = self.slots.pop_front().expect("looked at above");
            self.answered += 1;
            effects.push_back(match slot.answer {
                Answer::Ready(body) => {
                    Effect::Reply { conn: token.conn, correlation: slot.correlation, version: slot.version, body: *body }
                }
                Answer::Silent | Answer::Open => Effect::Done { conn: token.conn, correlation: slot.correlation },
            });
        }
    }
}
