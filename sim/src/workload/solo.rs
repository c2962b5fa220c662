//! Clients that ask one thing after the other: the connection is a `Line`, what is asked and what is made of the answers is a `Task`.

use super::line::{Heard, Line};
use crate::cluster::client::{Actor, FromClient, ToClient};
use klamm_core::client::io::Address;
use klamm_core::time::{Instant, Now};
use klamm_core::wire::Response;

/// What a client does by a line of its own.
pub trait Task {
    /// When it wants to ask something; `None`: not any more.
    fn next(&self) -> Option<Instant>;
    /// The line is ready, and it is time: asks something, or moves `next`.
    fn ask(&mut self, now: Now, line: &mut Line);
    /// The answer; the line is ready again.
    fn hear(&mut self, now: Now, line: &mut Line, response: &Response);
    /// What was asked will have no answer.
    fn lost(&mut self) {}
}

/// A task with its line.
pub struct Soloist<T> {
    line: Line,
    task: T,
}

impl<T: Task> Soloist<T> {
    /// Does `task` at one of these addresses after the other: where it is sent away, it goes on at the next.
    #[must_use]
    pub fn new(at: Vec<Address>, task: T) -> Self {
        Self { line: Line::new(at), task }
    }

    fn is_due(&self, now: Now) -> bool {
        self.line.is_ready() && self.task.next().is_some_and(|at| at <= now.at)
    }
}

impl<T: Task> Actor for Soloist<T> {
    fn handle(&mut self, now: Now, input: ToClient) {
        match self.line.handle(now, input) {
            Heard::Answer(response) => self.task.hear(now, &mut self.line, &response),
            Heard::Broken => self.task.lost(),
            Heard::Nothing | Heard::Ready => {}
        }
        if self.is_due(now) {
            self.task.ask(now, &mut self.line);
        }
    }

    fn poll(&mut self) -> Option<FromClient> {
        self.line.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        if self.line.is_ready() { self.task.next() } else { self.line.deadline() }
    }
}
