//! A connection on which an actor asks one thing after the other, by itself: connects, gives up what takes too long, and connects again.

use crate::cluster::client::{FromClient, ToClient};
use klamm_core::client::io::Address;
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
    at: Address,
    state: State,
    conn: ConnId,
    calls: u64,
    out: VecDeque<FromClient>,
}

impl Line {
    /// A connection to `at`, made when it is first ticked.
    #[must_use]
    pub fn new(at: Address) -> Self {
        Self { at, state: State::Idle { until: Instant::default() }, conn: ConnId(0), calls: 0, out: VecDeque::new() }
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
                self.out.push_back(FromClient::Connect { conn: self.conn, to: self.at.clone() });
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
