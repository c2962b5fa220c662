//! The loop around the core: the one task that decides. Takes inputs in batches, and starts the effects in the order they come.
//!
//! Never waits for an effect: connections, calls to other nodes and the store have tasks of their own, and say when they are done.

use crate::clock::Clock;
use crate::peer::{News, Peers};
use bytes::Bytes;
use klamm_core::broker::Broker;
use klamm_core::broker::io::{Effect, Halt, Input, Level};
use klamm_core::id::{ConnId, CorrelationId, ListenerId, Ticket};
use klamm_core::store::{StoreFault, StoreOp, Stored};
use klamm_core::time::Instant;
use klamm_core::wire::Response;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

/// Inputs that wait for their turn; whoever has more waits.
pub(crate) const EVENTS_MAX: usize = 1024;
/// Inputs taken at once, before the clock is read again.
const AT_ONCE: usize = 256;

/// What connections tell the driver.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most events are inputs, and a box for each would cost more than the room in the queue")]
pub(crate) enum Event {
    /// A connection is there; `out` takes what is for it.
    Opened { conn: ConnId, listener: ListenerId, peer: SocketAddr, out: mpsc::UnboundedSender<Out> },
    /// Something for the core.
    Input(Input),
}

/// What goes to a connection. Bounded by the requests that it has under way.
#[derive(Debug)]
pub(crate) enum Out {
    /// An answer.
    Reply { correlation: CorrelationId, version: i16, body: Box<Response> },
    /// The place of a request without an answer is free.
    Done,
    /// An answer that the connection itself made.
    Aside { frame: Bytes },
    /// Stop reading, or go on.
    Mute { muted: bool },
    /// Close, after what is before this.
    Close { why: &'static str },
}

/// What the store says.
pub(crate) type StoreDone = (Ticket, Result<Stored, StoreFault>);

/// The queues of a driver.
pub(crate) struct Inbox {
    /// Keeps the queue open when there is no connection and no listener any more.
    pub(crate) _events: mpsc::Sender<Event>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) stored: mpsc::UnboundedReceiver<StoreDone>,
    pub(crate) news: mpsc::UnboundedReceiver<News>,
    pub(crate) stop: watch::Receiver<bool>,
}

pub(crate) struct Driver {
    broker: Broker,
    clock: Clock,
    conns: BTreeMap<ConnId, mpsc::UnboundedSender<Out>>,
    peers: Peers,
    store: mpsc::UnboundedSender<(Ticket, StoreOp)>,
}

/// What made the driver turn.
enum Turn {
    Stored,
    News,
    Events,
    Deadline,
    Stop,
}

impl Driver {
    pub(crate) fn new(broker: Broker, clock: Clock, peers: Peers, store: mpsc::UnboundedSender<(Ticket, StoreOp)>) -> Self {
        Self { broker, clock, conns: BTreeMap::new(), peers, store }
    }

    /// Runs until the core says halt; says why.
    pub(crate) async fn run(&mut self, mut inbox: Inbox) -> Halt {
        let mut alarm = Alarm::default();
        let mut stored = Vec::with_capacity(AT_ONCE);
        let mut news = Vec::with_capacity(AT_ONCE);
        let mut events = Vec::with_capacity(AT_ONCE);
        if let Some(halt) = self.settle() {
            return halt;
        }
        loop {
            alarm.set(&self.clock, self.broker.deadline().map(|(at, _)| at));
            let turn = wait(&mut inbox, &mut alarm, &mut stored, &mut news, &mut events).await;
            let halt = match turn {
                Turn::Stored => stored.drain(..).find_map(|(ticket, outcome)| self.input(Input::Stored { ticket, outcome })),
                Turn::News => news.drain(..).find_map(|news| self.news(news)),
                Turn::Events => events.drain(..).find_map(|event| self.event(event)),
                Turn::Deadline => self.input(Input::Tick),
                Turn::Stop => self.input(Input::Stop),
            };
            if let Some(halt) = halt {
                return halt;
            }
        }
    }

    fn event(&mut self, event: Event) -> Option<Halt> {
        match event {
            Event::Opened { conn, listener, peer, out } => {
                self.conns.insert(conn, out);
                self.input(Input::Opened { conn, listener, peer })
            }
            Event::Input(input) => {
                if let Input::Closed { conn } = input {
                    self.conns.remove(&conn);
                }
                self.input(input)
            }
        }
    }

    fn news(&mut self, news: News) -> Option<Halt> {
        self.peers.news(self.clock.now().at, news);
        self.answers()
    }

    fn input(&mut self, input: Input) -> Option<Halt> {
        self.decide(input);
        self.settle()
    }

    fn decide(&mut self, input: Input) {
        self.broker.handle(self.clock.now(), input);
        if cfg!(feature = "sim") {
            self.broker.check();
            self.broker.forget_touched();
        }
    }

    /// Starts all effects, and those of the answers that follow at once: a call that is given up takes others with it.
    fn settle(&mut self) -> Option<Halt> {
        self.drain().or_else(|| self.answers())
    }

    fn answers(&mut self) -> Option<Halt> {
        while let Some(answer) = self.peers.answer() {
            self.decide(answer);
            if let Some(halt) = self.drain() {
                return Some(halt);
            }
        }
        None
    }

    fn drain(&mut self) -> Option<Halt> {
        while let Some(effect) = self.broker.poll() {
            match effect {
                Effect::Reply { conn, correlation, version, body } => {
                    self.tell(conn, Out::Reply { correlation, version, body: Box::new(body) })
                }
                Effect::Done { conn, correlation: _ } => self.tell(conn, Out::Done),
                Effect::Mute { conn } => self.tell(conn, Out::Mute { muted: true }),
                Effect::Unmute { conn } => self.tell(conn, Out::Mute { muted: false }),
                Effect::Close { conn, why } => self.tell(conn, Out::Close { why }),
                Effect::Store { ticket, op } => self.store.send((ticket, op)).expect("the store outlives the driver"),
                Effect::Call { call, to, version, body } => self.peers.call(self.clock.now().at, call, to, version, body),
                Effect::HangUp { call } => self.peers.hang_up(self.clock.now().at, call),
                Effect::Note { level: Level::Info, text } => info!("{text}"),
                Effect::Note { level: Level::Warn, text } => warn!("{text}"),
                Effect::Note { level: Level::Error, text } => error!("{text}"),
                Effect::Halt { why } => return Some(why),
            }
        }
        None
    }

    /// A connection that is gone meanwhile misses it.
    fn tell(&self, conn: ConnId, out: Out) {
        if let Some(to) = self.conns.get(&conn) {
            drop(to.send(out));
        }
    }
}

async fn wait(inbox: &mut Inbox, alarm: &mut Alarm, stored: &mut Vec<StoreDone>, news: &mut Vec<News>, events: &mut Vec<Event>) -> Turn {
    tokio::select! {
        biased;
        n = inbox.stored.recv_many(stored, AT_ONCE) => {
            assert!(n > 0, "the store outlives the driver");
            Turn::Stored
        }
        // Before the clients, who may never pause: what other nodes answer is awaited by all of them.
        n = inbox.news.recv_many(news, AT_ONCE) => {
            assert!(n > 0, "the driver itself holds a sender");
            Turn::News
        }
        Ok(()) = inbox.stop.changed() => Turn::Stop,
        n = inbox.events.recv_many(events, AT_ONCE) => {
            assert!(n > 0, "the inbox itself holds a sender");
            Turn::Events
        }
        () = alarm.rings() => Turn::Deadline,
    }
}

/// Wakes the driver at the core's deadline, or before: most deadlines are put off before they come, and a timer that is set anew for each input costs
/// more than one that rings once in vain.
#[derive(Default)]
struct Alarm(Option<(Instant, Sleep)>);

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Alarm {
    fn set(&mut self, clock: &Clock, deadline: Option<Instant>) {
        let Some(at) = deadline else { return self.0 = None };
        if self.0.as_ref().is_none_or(|(set, _)| at < *set) {
            let clock = clock.clone();
            self.0 = Some((at, Box::pin(async move { clock.sleep_until(at).await })));
        }
    }

    async fn rings(&mut self) {
        match &mut self.0 {
            Some((_, sleep)) => sleep.await,
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}
