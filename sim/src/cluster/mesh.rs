//! The mesh: nodes, clients and connections in one thread and in virtual time. Everything that happens is one event; the order is decided by
//! time, then by the order in which events were made. All chance comes from named streams of the run's seed.

mod ambush;
mod clients;
mod clock;
mod net;
mod nodes;
mod proposals;
mod swap;

pub use ambush::Ambush;
pub use net::Weather;
pub use proposals::Proposal;
pub use swap::Swaps;

use super::client::{Actor, ClientId};
use super::link::{BackToClient, Link, LinkId, ToNode};
use super::node::Node;
use super::pace::Timeline;
use super::peers::Peers;
use crate::chance::Chance;
use crate::check::Oracle;
use crate::report::{Recorder, State};
use crate::trace::Trace;
use clock::Clock;
use klamm_core::broker::io::{Input, Level};
use klamm_core::client::io::Address;
use klamm_core::id::{CallId, ConnId};
use klamm_core::time::Now;
use net::Net;
use std::collections::BTreeMap;

/// Something that is to come.
#[derive(Debug)]
enum Event {
    ToNode {
        link: LinkId,
        what: ToNode,
    },
    ToClient {
        link: LinkId,
        what: BackToClient,
    },
    Disk {
        node: u32,
        life: u64,
        number: u64,
    },
    NodeTick {
        node: u32,
        life: u64,
    },
    ClientTick {
        client: ClientId,
        at: u64,
    },
    Due {
        number: u64,
    },
    /// Calls whose connection the node itself gave up.
    Lost {
        node: u32,
        life: u64,
        calls: Vec<CallId>,
    },
}

/// What the mesh tells the one who runs it.
#[derive(Debug)]
pub enum Step {
    /// Something happened; go on.
    Event,
    /// An alarm that `call_at` set.
    Due(u64),
    /// A node is up.
    Opened(u32),
    /// A node cannot start, or stopped itself.
    Halted(u32, String),
    /// Nothing is to come before the limit.
    Idle,
}

struct Host {
    node: Node,
    /// Nothing reaches it before.
    paused_until: u64,
    /// Its process is being torn down until then: it is still connected to, and closes without a word.
    ajar_until: u64,
    clock: Clock,
    /// It crashes, with or without power, when so many more effects have been carried out.
    crash_after: Option<(u64, bool)>,
    ambush: Option<Ambush>,
    tick: Option<u64>,
    /// How often it was looked at.
    looks: u64,
    /// Its connections to other nodes.
    peers: Peers,
}

struct Guest {
    actor: Box<dyn Actor>,
    paused_until: u64,
    tick: Option<u64>,
    links: BTreeMap<ConnId, LinkId>,
}

/// Counts of a run, for the proof that a seed has a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Core inputs, ticks not counted.
    pub inputs: u64,
    /// Effects carried out.
    pub effects: u64,
    /// Crashes that hit a running or recovering node.
    pub crashes: u64,
    /// Connections reset by the network.
    pub resets: u64,
    /// Ambushes that found what they waited for.
    pub ambushes: u64,
    /// Deaths in the midst of a swap.
    pub swaps: u64,
}

/// A simulated cluster.
pub struct Mesh {
    timeline: Timeline<Event>,
    hosts: BTreeMap<u32, Host>,
    guests: BTreeMap<ClientId, Guest>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    net: Net,
    trace: Trace,
    counts: Counts,
    notes: Vec<(u64, u32, Level, String)>,
    /// Keeps what happens, if anybody wants a report.
    recorder: Recorder,
    oracle: Oracle,
    swaps: Option<Swaps>,
    /// What leaders asked of the controller, while somebody wants to know.
    proposals: Option<Vec<Proposal>>,
}

impl Mesh {
    /// An empty cluster.
    #[must_use]
    pub fn new(chance: Chance, weather: Weather, oracle: Oracle) -> Self {
        Self {
            timeline: Timeline::default(),
            hosts: BTreeMap::new(),
            guests: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            net: Net::new(chance, weather),
            trace: Trace::default(),
            counts: Counts::default(),
            notes: Vec::new(),
            recorder: Recorder::default(),
            oracle,
            swaps: None,
            proposals: None,
        }
    }

    /// From now on all that happens is kept there.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = recorder;
    }

    /// Nanoseconds since the run began.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.timeline.now()
    }

    /// The trace so far.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Who watches the nodes from within.
    pub fn oracle(&mut self) -> &mut Oracle {
        &mut self.oracle
    }

    /// What the brokers said to their operators: when, who, how bad, what.
    #[must_use]
    pub fn notes(&self) -> &[(u64, u32, Level, String)] {
        &self.notes
    }

    /// What befell a node, for whoever reads a run: beside what its broker said of itself.
    pub fn befell(&mut self, id: u32, text: String) {
        self.recorder.keep(|recording| recording.note(self.timeline.now(), id, Level::Info, &text));
        self.notes.push((self.timeline.now(), id, Level::Info, text));
    }

    /// Adds a node, not started.
    pub fn add_node(&mut self, id: u32, node: Node) {
        self.hosts.insert(
            id,
            Host {
                node,
                paused_until: 0,
                ajar_until: 0,
                clock: Clock::default(),
                crash_after: None,
                ambush: None,
                tick: None,
                looks: 0,
                peers: Peers::default(),
            },
        );
    }

    /// Puts another machine in the place of a node that is down.
    pub fn replace(&mut self, id: u32, node: Node) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        assert!(host.node.is_down(), "a running node is not replaced");
        let lives = host.node.lives();
        host.node = node.after(lives);
    }

    /// The address clients reach a node by.
    #[must_use]
    pub fn address(id: u32) -> Address {
        Address { host: format!("node-{id}"), port: 9092 }
    }

    /// A node.
    #[must_use]
    pub fn node(&self, id: u32) -> &Node {
        &self.hosts[&id].node
    }

    /// Adds a client, and ticks it at once.
    pub fn add_client(&mut self, id: ClientId, actor: Box<dyn Actor>) {
        self.guests.insert(id, Guest { actor, paused_until: 0, tick: None, links: BTreeMap::new() });
        let at = self.now();
        self.timeline.at(at, Event::ClientTick { client: id, at });
    }

    /// The clients that are there.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> {
        self.guests.keys().copied()
    }

    /// Takes a client away; its connections end.
    pub fn remove_client(&mut self, id: ClientId) {
        let Some(guest) = self.guests.remove(&id) else { return };
        guest.links.into_values().for_each(|link| self.send_to_node(link, ToNode::Close));
    }

    /// Gives a client something from outside: `change` may alter it, after that it is ticked.
    pub fn poke(&mut self, id: ClientId) {
        let at = self.now();
        self.timeline.at(at, Event::ClientTick { client: id, at });
    }

    /// Sets an alarm: `Step::Due(number)` at that time.
    pub fn call_at(&mut self, at: u64, number: u64) {
        self.timeline.at(at, Event::Due { number });
    }

    /// Starts a node that is down.
    pub fn start(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        host.node.start();
        host.tick = None;
        self.befell(id, "starts".to_owned());
        self.turns(id, State::Recovering, "starts");
        self.trace.note(self.timeline.now(), id, "start", &());
        self.settle(id);
    }

    /// Crashes a node now; what the broker has decided and not carried out is lost.
    pub fn crash(&mut self, id: u32, power: bool) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        if host.node.is_down() {
            return;
        }
        host.crash_after = None;
        self.befell(id, format!("dies{}", if power { " with its power" } else { "" }));
        self.look_at_last(id);
        self.turns(id, State::Down, if power { "dies with its power" } else { "dies" });
        self.hosts.get_mut(&id).expect("a node of this mesh").node.crash(power);
        self.counts.crashes += 1;
        if power {
            self.oracle.without_power(id);
        }
        self.trace.note(self.timeline.now(), id, "crash", &power);
        self.hosts.get_mut(&id).expect("a node of this mesh").ajar_until = self.timeline.now() + self.net.ajar(id);
        self.end_links_of(id);
        self.end_calls_of(id, !power);
    }

    /// A node that is down loses its power too.
    pub fn power_off(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        assert!(host.node.is_down(), "a running node crashes");
        host.node.crash(true);
        self.turns(id, State::Down, "loses its power");
        self.trace.note(self.timeline.now(), id, "power off", &());
    }

    /// Crashes a node in the middle of what it does: after so many more effects.
    pub fn crash_after(&mut self, id: u32, effects: u64, power: bool) {
        self.hosts.get_mut(&id).expect("a node of this mesh").crash_after = Some((effects, power));
    }

    /// Nothing lies in wait for a node any more.
    pub fn disarm(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        (host.ambush, host.crash_after) = (None, None);
    }

    /// From now on nodes die, or do not die any more, in the midst of swaps.
    pub fn die_in_swaps(&mut self, swaps: Option<Swaps>) {
        self.swaps = swaps;
    }

    /// Asks a node to stop cleanly; `Step::Halted` follows.
    pub fn stop(&mut self, id: u32) {
        self.input(id, Input::Stop);
    }

    /// Lets nothing reach a node before `until`.
    pub fn pause(&mut self, id: u32, until: u64) {
        let now = self.timeline.now();
        self.recorder.keep(|recording| recording.band((now, until), (id, None), "paused", "nothing reaches it".to_owned()));
        self.hosts.get_mut(&id).expect("a node of this mesh").paused_until = until;
    }

    /// Lets nothing reach a client before `until`.
    pub fn pause_client(&mut self, id: ClientId, until: u64) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.paused_until = until;
        }
    }

    /// Moves a node's wall clock by so many ms.
    pub fn jump_clock(&mut self, id: u32, by_ms: i64) {
        self.hosts.get_mut(&id).expect("a node of this mesh").clock.jump(by_ms);
    }

    /// A node's clocks run faster from now on by so many millionths, or slower.
    pub fn drift(&mut self, id: u32, millionths: i64) {
        let now = self.timeline.now();
        self.hosts.get_mut(&id).expect("a node of this mesh").clock.drift(now, millionths);
        // What it waits for comes at another time now.
        self.hosts.get_mut(&id).expect("a node of this mesh").tick = None;
        self.plan_tick(id);
    }

    /// Whether nothing is to come, ever.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.timeline.is_empty()
    }

    /// Goes on by one event that comes no later than `until`.
    pub fn step(&mut self, until: u64) -> Step {
        let Some(event) = self.timeline.next(until) else { return Step::Idle };
        match event {
            Event::ToNode { link, what } => self.arrive(link, what),
            Event::ToClient { link, what } => self.come_back(link, what),
            Event::Disk { node, life, number } => self.disk_done(node, life, number),
            Event::NodeTick { node, life } => self.node_tick(node, life),
            Event::ClientTick { client, at } => {
                self.client_tick(client, at);
                Step::Event
            }
            Event::Due { number } => Step::Due(number),
            Event::Lost { node, life, calls } => self.calls_lost(node, life, calls),
        }
    }

    /// A node does something else: for the report.
    fn turns(&self, id: u32, state: State, why: &str) {
        self.recorder.keep(|recording| recording.turn(self.timeline.now(), id, state, why));
    }

    fn now_at(&self, id: u32) -> Now {
        self.hosts[&id].clock.now(self.timeline.now())
    }

    fn client_now(&self) -> Now {
        Clock::default().now(self.timeline.now())
    }
}
