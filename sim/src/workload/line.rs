//! A connection on which an actor asks one thing after the other, by itself: connects, gives up what takes too long, and connects again, to another
//! node if there are several.

use crate::cluster::client::{FromClient, ToClient};
use klamm_core::client::io::Address;
use klamm_core::error::ErrorCode;
use klamm_core::id::{CallId, ConnId};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::{Request, Response};
use std::collections::VecDeque;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle { until: Instant },
    Connecting { since: Instant },
    Ready,
    Asked { call: CallId, since: Instant },
    Closed,
}

/// Whether an error says that another node may know better, or the same one in a while.
#[must_use]
pub fn is_elsewhere(error: ErrorCode) -> bool {
    [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::KAFKA_STORAGE_ERROR,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    ]
    .contains(&error)
}

/// What has come of it.
#[derive(Debug)]
pub enum Heard {
    /// Nothing to act on.
    Nothing,
    /// It may be asked.
    Ready,
    /// The answer; it may be asked again.
    Answer(Box<Response>),
    /// The question that was open will have no answer.
    Broken,
}

/// The connection.
#[derive(Debug)]
pub struct Line {
    nodes: Vec<Address>,
    /// Which of them it speaks to.
    at: usize,
    state: State,
    conn: ConnId,
    calls: u64,
    out: VecDeque<FromClient>,
}

impl Line {
    /// A connection to the first of `nodes`, made when it is first ticked.
    #[must_use]
    pub fn new(nodes: Vec<Address>) -> Self {
        Self { nodes, at: 0, state: State::Idle { until: Instant::default() }, conn: ConnId(0), calls: 0, out: VecDeque::new() }
    }

    /// Whether it may be asked.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Asks, which it must be ready for.
    pub fn ask(&mut self, now: Now, version: i16, request: Request) {
        assert!(self.is_ready(), "one question at a time");
        self.calls += 1;
        let call = CallId(self.calls);
        self.state = State::Asked { call, since: now.at };
        self.out.push_back(FromClient::Send { conn: self.conn, call, version, request: Box::new(request), answered: true });
    }

    /// This node does not lead what was asked for, or not any more: goes on at the next one. Where there is one node only, it goes on there.
    pub fn elsewhere(&mut self, now: Now) {
        if self.nodes.len() > 1 && self.is_ready() {
            self.out.push_back(FromClient::Close { conn: self.conn });
            self.lose(now);
        }
    }

    /// How many nodes there are to ask.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Nothing more is asked.
    pub fn close(&mut self) {
        self.out.push_back(FromClient::Close { conn: self.conn });
        self.state = State::Closed;
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Now, input: ToClient) -> Heard {
        match (self.state, input) {
            (State::Idle { until }, ToClient::Tick) if until <= now.at => {
                self.conn = ConnId(self.conn.0 + 1);
                self.state = State::Connecting { since: now.at };
                self.out.push_back(FromClient::Connect { conn: self.conn, to: self.nodes[self.at].clone() });
                Heard::Nothing
            }
            (State::Connecting { .. }, ToClient::Connected { conn }) if conn == self.conn => {
                self.state = State::Ready;
                Heard::Ready
            }
            (State::Connecting { since } | State::Asked { since, .. }, ToClient::Tick) if since.after(TIMEOUT) <= now.at => {
                self.out.push_back(FromClient::Close { conn: self.conn });
                self.lose(now)
            }
            (State::Connecting { .. } | State::Ready | State::Asked { .. }, ToClient::Closed { conn }) if conn == self.conn => {
                self.lose(now)
            }
            (State::Asked { call, .. }, ToClient::Answer { call: answered, response }) if call == answered => {
                self.state = State::Ready;
                Heard::Answer(response)
            }
            (State::Idle { .. } | State::Connecting { .. } | State::Ready | State::Asked { .. } | State::Closed, _) => Heard::Nothing,
        }
    }

    fn lose(&mut self, now: Now) -> Heard {
        let was_asked = matches!(self.state, State::Asked { .. });
        self.state = State::Idle { until: now.at.after(BACKOFF) };
        self.at = (self.at + 1) % self.nodes.len();
        if was_asked { Heard::Broken } else { Heard::Nothing }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<FromClient> {
        self.out.pop_front()
    }

    /// When to tick it.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle { until } => Some(until),
            State::Connecting { since } | State::Asked { since, .. } => Some(since.after(TIMEOUT)),
            State::Ready | State::Closed => None,
        }
    }
}
