//! The core's client machines on sockets: producer and consumer, as the command line, the benchmarks and the consistency tests run them.
//!
//! Holds sockets and a clock. Every time-out, retry and choice of a broker is the machine's.

pub mod admin;
mod link;

use crate::asks::Ask;
use crate::clock::Clock;
use klamm_core::client::consumer::{self, Consumer};
use klamm_core::client::io::{Effect, Input};
use klamm_core::client::producer::{self, Producer};
use klamm_core::id::ConnId;
use klamm_core::time::{Instant, Now};
use link::News;
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::mpsc;

/// Answers taken at once, before the clock is read again.
const NEWS_AT_ONCE: usize = 64;

/// A client machine of the core.
pub trait Machine {
    /// What an application may ask.
    type Command;
    /// What an application is told.
    type Event;

    /// Takes in what happened.
    fn handle(&mut self, now: Now, input: Input<Self::Command>);
    /// The next thing to do.
    fn poll(&mut self) -> Option<Effect<Self::Event>>;
    /// When to send `Input::Tick`.
    fn deadline(&self) -> Option<Instant>;
}

impl Machine for Producer {
    type Command = producer::Command;
    type Event = producer::Event;

    fn handle(&mut self, now: Now, input: Input<Self::Command>) {
        self.handle(now, input);
    }

    fn poll(&mut self) -> Option<Effect<Self::Event>> {
        self.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline().map(|(at, _)| at)
    }
}

impl Machine for Consumer {
    type Command = consumer::Command;
    type Event = consumer::Event;

    fn handle(&mut self, now: Now, input: Input<Self::Command>) {
        self.handle(now, input);
    }

    fn poll(&mut self) -> Option<Effect<Self::Event>> {
        self.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline().map(|(at, _)| at)
    }
}

/// A machine and its connections. Nothing happens but in `tell` and `event`: who holds it drives it.
#[derive(Debug)]
pub struct Client<M: Machine> {
    machine: M,
    clock: Clock,
    client_id: String,
    links: BTreeMap<ConnId, mpsc::UnboundedSender<Ask>>,
    news: mpsc::UnboundedReceiver<News>,
    teller: mpsc::UnboundedSender<News>,
    events: VecDeque<M::Event>,
}

impl<M: Machine> Client<M> {
    /// A machine that calls itself `client_id`. Must be used within a tokio runtime.
    #[must_use]
    pub fn new(machine: M, clock: Clock, client_id: &str) -> Self {
        let (teller, news) = mpsc::unbounded_channel();
        let client_id = client_id.to_owned();
        let mut client = Self { machine, clock, client_id, links: BTreeMap::new(), news, teller, events: VecDeque::new() };
        client.drain();
        client
    }

    /// Asks the machine for something.
    pub fn tell(&mut self, command: M::Command) {
        self.input(Input::App(command));
    }

    /// What the machine has told and nobody has taken yet.
    pub fn take_event(&mut self) -> Option<M::Event> {
        self.events.pop_front()
    }

    /// The next thing that the machine tells; works on everything meanwhile. May be dropped at any time.
    pub async fn event(&mut self) -> M::Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.turn().await;
        }
    }

    /// Works until something has happened, which need not be an event. May be dropped at any time.
    pub async fn turn(&mut self) {
        let mut news = Vec::new();
        let deadline = self.machine.deadline();
        tokio::select! {
            biased;
            _ = self.news.recv_many(&mut news, NEWS_AT_ONCE) => {}
            () = sleep(&self.clock, deadline) => self.input(Input::Tick),
        }
        for news in news {
            if let News::Closed { conn } = news {
                self.links.remove(&conn);
            }
            self.input(match news {
                News::Connected { conn } => Input::Connected { conn },
                News::Closed { conn } => Input::Closed { conn },
                News::Answer { call, response } => Input::Answer { call, response },
            });
        }
    }

    /// The machine, to look at.
    #[must_use]
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The time as this client sees it.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    fn input(&mut self, input: Input<M::Command>) {
        self.machine.handle(self.clock.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.machine.poll() {
            match effect {
                Effect::Connect { conn, to } => {
                    let (link, asks) = mpsc::unbounded_channel();
                    self.links.insert(conn, link);
                    tokio::spawn(link::run(conn, to, self.client_id.clone(), asks, self.teller.clone()));
                }
                Effect::Send { conn, call, version, request, answered } => {
                    // A link that broke meanwhile has said so, or will.
                    if let Some(link) = self.links.get(&conn) {
                        drop(link.send(Ask { call, version, request, answered }));
                    }
                }
                Effect::Close { conn, why: _ } => drop(self.links.remove(&conn)),
                Effect::Event(event) => self.events.push_back(event),
            }
        }
    }
}

async fn sleep(clock: &Clock, until: Option<Instant>) {
    match until {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
