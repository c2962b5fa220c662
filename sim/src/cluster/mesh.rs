//! The mesh: nodes, clients and connections in one thread and in virtual time. Everything that happens is one event; the order is decided by
//! time, then by the order in which events were made. All chance comes from named streams of the run's seed.

use super::agree::Metadata;
use super::client::{Actor, ClientId, FromClient, ToClient};
use super::link::{self, Awaited, BackToClient, Link, LinkId, Outgoing, ToNode};
use super::node::{Done, Node};
use super::pace::Timeline;
use super::peers::{self, Peers};
use super::swap::Swaps;
use crate::trace::Trace;
use klamm_core::broker::io::{Effect, Halt, Input, Level, Unreachable};
use klamm_core::client::io::Address;
use klamm_core::id::{CallId, ConnId, CorrelationId, ListenerId};
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now, Timestamp};
use klamm_core::wire::{Chunk, Records, Request, RequestHeader, Response};
use rand::Rng as _;
use std::collections::BTreeMap;

/// The wall clock when a run begins: 2026-01-01T00:00:00Z.
const WALL_START_MS: i64 = 1_767_225_600_000;

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
    /// Its wall clock is off by so many ms.
    skew_ms: i64,
    /// It crashes, with or without power, when so many more effects have been carried out.
    crash_after: Option<(u64, bool)>,
    tick: Option<u64>,
    /// Its connections to other nodes.
    peers: Peers,
}

struct Guest {
    actor: Box<dyn Actor>,
    paused_until: u64,
    tick: Option<u64>,
    links: BTreeMap<ConnId, LinkId>,
}

/// How the network behaves.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// A message takes between these, in ns.
    pub delay: (u64, u64),
    /// One message in so many is lost once and comes 200 ms later.
    pub lost_one_in: u32,
    /// Requests and answers go through the codec and back.
    pub bytes: bool,
}

impl Default for Weather {
    fn default() -> Self {
        Self { delay: (50_000, 500_000), lost_one_in: 2_000, bytes: false }
    }
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
    /// No message passes between client and node before.
    cuts: BTreeMap<(ClientId, u32), u64>,
    weather: Weather,
    net: Rng,
    trace: Trace,
    counts: Counts,
    notes: Vec<(u64, u32, Level, String)>,
    metadata: Metadata,
    swaps: Option<Swaps>,
}

impl Mesh {
    /// An empty cluster; network chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self {
            timeline: Timeline::default(),
            hosts: BTreeMap::new(),
            guests: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            cuts: BTreeMap::new(),
            weather,
            net: rng::stream(seed, "net"),
            trace: Trace::default(),
            counts: Counts::default(),
            notes: Vec::new(),
            metadata: Metadata::default(),
            swaps: None,
        }
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

    /// What the brokers said to their operators: when, who, how bad, what.
    #[must_use]
    pub fn notes(&self) -> &[(u64, u32, Level, String)] {
        &self.notes
    }

    /// Adds a node, not started.
    pub fn add_node(&mut self, id: u32, node: Node) {
        self.hosts.insert(id, Host { node, paused_until: 0, skew_ms: 0, crash_after: None, tick: None, peers: Peers::default() });
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
        self.trace.note(self.timeline.now(), id, "start", &());
        self.settle(id);
    }

    /// Crashes a node now; what the broker has decided and not carried out is lost.
    pub fn crash(&mut self, id: u32, power: bool) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        if host.node.is_down() {
            return;
        }
        host.node.crash(power);
        host.crash_after = None;
        self.counts.crashes += 1;
        self.trace.note(self.timeline.now(), id, "crash", &power);
        self.end_links_of(id);
        self.end_calls_of(id, !power);
    }

    /// A node that is down loses its power too.
    pub fn power_off(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        assert!(host.node.is_down(), "a running node crashes");
        host.node.crash(true);
        self.trace.note(self.timeline.now(), id, "power off", &());
    }

    /// Crashes a node in the middle of what it does: after so many more effects.
    pub fn crash_after(&mut self, id: u32, effects: u64, power: bool) {
        self.hosts.get_mut(&id).expect("a node of this mesh").crash_after = Some((effects, power));
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
        self.hosts.get_mut(&id).expect("a node of this mesh").skew_ms += by_ms;
    }

    /// Cuts a client from a node until then; what was sent comes when the cut heals.
    pub fn cut(&mut self, client: ClientId, node: u32, until: u64) {
        self.cuts.insert((client, node), until);
    }

    /// Cuts two nodes from each other until then.
    pub fn cut_nodes(&mut self, one: u32, other: u32, until: u64) {
        self.cuts.insert((peers::as_client(one), other), until);
        self.cuts.insert((peers::as_client(other), one), until);
    }

    /// Resets one connection of those that are open, chosen by chance; what is under way on it is lost.
    pub fn reset_one(&mut self) {
        let open: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.open).map(|(id, _)| *id).collect();
        if open.is_empty() {
            return;
        }
        let link = open[self.net.random_range(0..open.len())];
        self.counts.resets += 1;
        self.trace.note(self.timeline.now(), 0, "reset", &link);
        self.end_link(link, true);
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

    fn now_at(&self, id: u32) -> Now {
        let now = self.timeline.now();
        let skew = self.hosts[&id].skew_ms;
        Now { at: Instant(now), wall: Timestamp(WALL_START_MS + (now / 1_000_000) as i64 + skew) }
    }

    fn client_now(&self) -> Now {
        let now = self.timeline.now();
        Now { at: Instant(now), wall: Timestamp(WALL_START_MS + (now / 1_000_000) as i64) }
    }

    fn delay(&mut self) -> u64 {
        let (least, most) = self.weather.delay;
        let retransmitted = self.weather.lost_one_in > 0 && self.net.random_ratio(1, self.weather.lost_one_in);
        self.net.random_range(least..=most) + if retransmitted { 200_000_000 } else { 0 }
    }

    // --- to nodes -------------------------------------------------------------------------------------------------------------------------

    pub(super) fn send_to_node(&mut self, id: LinkId, what: ToNode) {
        let delay = self.delay();
        let now = self.timeline.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last_to_node = link.last_to_node.max(now + delay);
        self.timeline.at(link.last_to_node, Event::ToNode { link: id, what });
    }

    /// Until when nothing passes between the two ends of a link.
    fn held_until(&self, link: &Link, at_node: bool) -> u64 {
        let cut = self.cuts.get(&(link.client, link.node)).copied().unwrap_or(0);
        let paused = if at_node { self.hosts[&link.node].paused_until } else { self.client_paused_until(link.client) };
        cut.max(paused)
    }

    fn client_paused_until(&self, client: ClientId) -> u64 {
        match peers::node_of(client) {
            Some(node) => self.hosts.get(&node).map_or(0, |host| host.paused_until),
            None => self.guests.get(&client).map_or(0, |guest| guest.paused_until),
        }
    }

    pub(super) fn peers_of(&mut self, node: u32) -> &mut Peers {
        &mut self.hosts.get_mut(&node).expect("a node of this mesh").peers
    }

    /// The calls come back as lost, a moment later.
    pub(super) fn lose_later(&mut self, node: u32, calls: Vec<CallId>) {
        let life = self.hosts[&node].node.lives();
        if !calls.is_empty() {
            self.timeline.after(0, Event::Lost { node, life, calls });
        }
    }

    fn calls_lost(&mut self, node: u32, life: u64, calls: Vec<CallId>) -> Step {
        let mut step = Step::Event;
        for call in calls {
            if self.hosts[&node].node.lives() == life
                && let halted @ Step::Halted(..) = self.answer_node(node, call, Err(Unreachable::Lost))
            {
                step = halted;
            }
        }
        step
    }

    fn arrive(&mut self, id: LinkId, what: ToNode) -> Step {
        let Some(link) = self.links.get(&id) else { return Step::Event };
        let (now, until, node, listener) = (self.timeline.now(), self.held_until(link, true), link.node, link.listener);
        if until > now {
            let link = self.links.get_mut(&id).expect("looked at above");
            link.last_to_node = link.last_to_node.max(until);
            self.timeline.at(until, Event::ToNode { link: id, what });
            return Step::Event;
        }
        let conn = ConnId(id.0);
        match what {
            ToNode::Connect if self.hosts[&node].node.broker().is_none() => self.end_link(id, true),
            ToNode::Connect => {
                self.links.get_mut(&id).expect("looked at above").open = true;
                self.send_to_client(id, BackToClient::Connected);
                let peer = std::net::SocketAddr::from(([10, 0, 0, 1], 40_000));
                return self.input(node, Input::Opened { conn, listener, peer });
            }
            ToNode::Request { header, body, batches } if link.open => {
                self.trace.note(now, node, "request", &*body);
                return self.input(node, Input::Request { conn, header, body: *body, batches });
            }
            ToNode::Close if link.open => {
                self.links.remove(&id);
                return self.input(node, Input::Closed { conn });
            }
            ToNode::Request { .. } | ToNode::Close => {}
        }
        Step::Event
    }

    pub(super) fn input(&mut self, id: u32, input: Input) -> Step {
        let now = self.now_at(id);
        self.counts.inputs += 1;
        self.hosts.get_mut(&id).expect("a node of this mesh").node.handle(now, input);
        self.settle(id)
    }

    fn disk_done(&mut self, id: u32, life: u64, number: u64) -> Step {
        let now = self.timeline.now();
        let host = &self.hosts[&id];
        if host.node.lives() != life {
            return Step::Event;
        }
        if host.paused_until > now {
            self.timeline.at(host.paused_until, Event::Disk { node: id, life, number });
            return Step::Event;
        }
        host.node.pace().finish(number);
        self.settle(id)
    }

    fn node_tick(&mut self, id: u32, life: u64) -> Step {
        let now = self.timeline.now();
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        if host.node.lives() != life || host.tick.is_none_or(|at| at > now) {
            return Step::Event;
        }
        host.tick = None;
        if host.paused_until > now {
            let until = host.paused_until;
            host.tick = Some(until);
            self.timeline.at(until, Event::NodeTick { node: id, life });
            return Step::Event;
        }
        let at = self.now_at(id);
        self.hosts.get_mut(&id).expect("a node of this mesh").node.handle(at, Input::Tick);
        self.settle(id)
    }

    /// Carries out what a node decides, and lets its store go on, until time must pass.
    fn settle(&mut self, id: u32) -> Step {
        let mut step = Step::Event;
        loop {
            while let Some(effect) = self.hosts.get_mut(&id).expect("a node of this mesh").node.effect() {
                if let Some(halted) = self.carry_out(id, effect) {
                    return halted;
                }
                if self.crash_is_due(id) {
                    return step;
                }
            }
            let now = self.now_at(id);
            let host = self.hosts.get_mut(&id).expect("a node of this mesh");
            if let Some(broker) = host.node.broker() {
                broker.check();
                self.metadata.look(id, broker);
            }
            match host.node.turn(now) {
                None => break,
                Some(Done::Effects) => self.counts.inputs += 1,
                Some(Done::Opened) => step = Step::Opened(id),
                Some(Done::Failed(why)) => return Step::Halted(id, why),
                Some(Done::Closed) => return Step::Halted(id, "stopped".to_owned()),
                Some(Done::Read { read, bytes }) => self.read_done(id, read, bytes),
            }
        }
        self.plan_disk(id);
        self.plan_tick(id);
        step
    }

    fn plan_disk(&mut self, id: u32) {
        let host = &self.hosts[&id];
        let life = host.node.lives();
        for (number, duration) in host.node.pace().begun() {
            self.timeline.after(duration, Event::Disk { node: id, life, number });
        }
    }

    fn plan_tick(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        let Some(deadline) = host.node.deadline() else { return };
        if host.tick.is_some_and(|at| at <= deadline) {
            return;
        }
        host.tick = Some(deadline);
        let life = host.node.lives();
        self.timeline.at(deadline, Event::NodeTick { node: id, life });
    }

    fn crash_is_due(&mut self, id: u32) -> bool {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        let Some((left, power)) = &mut host.crash_after else { return false };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        let power = *power;
        self.crash(id, power);
        true
    }

    fn carry_out(&mut self, id: u32, effect: Effect) -> Option<Step> {
        self.counts.effects += 1;
        let now = self.timeline.now();
        match effect {
            Effect::Reply { conn, correlation, version: _, body } => {
                self.trace.note(now, id, "reply", &body);
                self.reply(id, LinkId(conn.0), correlation, body);
            }
            Effect::Store { ticket, op } => {
                self.trace.note(now, id, "store", &op);
                let host = self.hosts.get_mut(&id).expect("a node of this mesh");
                if let Some(death) = self.swaps.as_mut().and_then(|swaps| swaps.strikes(&op)) {
                    host.crash_after = Some(death);
                    self.counts.swaps += 1;
                }
                host.node.store(ticket, op);
            }
            Effect::Close { conn, why } => {
                self.trace.note(now, id, "close", &why);
                self.end_link(LinkId(conn.0), false);
            }
            Effect::Note { level, text } => {
                self.trace.note(now, id, "note", &text);
                self.notes.push((now, id, level, text));
            }
            Effect::Halt { why } => {
                self.trace.note(now, id, "halt", &why);
                return self.halt(id, why);
            }
            Effect::Call { call, to, version, body } => {
                self.trace.note(now, id, "call", &body);
                self.call(id, call, to, version, body);
            }
            Effect::HangUp { call } => {
                self.trace.note(now, id, "hang up", &call);
                self.hang_up(id, call);
            }
            // Flow control is the business of the driver, which the madsim tier runs.
            Effect::Done { .. } | Effect::Mute { .. } | Effect::Unmute { .. } => {}
        }
        None
    }

    fn halt(&mut self, id: u32, why: Halt) -> Option<Step> {
        self.end_links_of(id);
        self.end_calls_of(id, true);
        let node = &mut self.hosts.get_mut(&id).expect("a node of this mesh").node;
        match why {
            Halt::Stopped => {
                node.close();
                None
            }
            Halt::DirsOffline { why } | Halt::Metadata { why } => {
                node.crash(false);
                Some(Step::Halted(id, why))
            }
        }
    }

    // --- to clients -----------------------------------------------------------------------------------------------------------------------

    fn reply(&mut self, node: u32, id: LinkId, correlation: CorrelationId, mut body: Response) {
        let regions = link::regions_of(&mut body);
        let host = self.hosts.get_mut(&node).expect("a node of this mesh");
        let read = (!regions.is_empty()).then(|| host.node.read(regions));
        let Some(link) = self.links.get_mut(&id) else { return };
        link.outgoing.push_back(Outgoing { correlation, body, read });
        self.flush(id);
    }

    fn read_done(&mut self, node: u32, read: u64, bytes: Option<bytes::Bytes>) {
        let waits = |link: &Link| link.node == node && link.outgoing.iter().any(|out| out.read == Some(read));
        let Some(id) = self.links.iter().find(|(_, link)| waits(link)).map(|(id, _)| *id) else { return };
        let Some(bytes) = bytes else {
            // As a driver must when a file is shorter than promised.
            let conn = ConnId(id.0);
            self.end_link(id, false);
            let now = self.now_at(node);
            self.hosts.get_mut(&node).expect("a node of this mesh").node.handle(now, Input::Closed { conn });
            return;
        };
        let link = self.links.get_mut(&id).expect("found above");
        let out = link.outgoing.iter_mut().find(|out| out.read == Some(read)).expect("found above");
        link::fill(&mut out.body, bytes);
        out.read = None;
        self.flush(id);
    }

    fn flush(&mut self, id: LinkId) {
        loop {
            let Some(link) = self.links.get_mut(&id) else { return };
            if link.outgoing.front().is_none_or(|out| out.read.is_some()) {
                return;
            }
            let out = link.outgoing.pop_front().expect("looked at above");
            let mut body = out.body;
            in_one_piece(&mut body);
            if let Some(awaited) = link.awaited.get(&out.correlation) {
                body = link::answering(awaited, out.correlation, body, self.weather.bytes);
            }
            self.send_to_client(id, BackToClient::Response { correlation: out.correlation, body: Box::new(body) });
        }
    }

    fn send_to_client(&mut self, id: LinkId, what: BackToClient) {
        let delay = self.delay();
        let now = self.timeline.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last_to_client = link.last_to_client.max(now + delay);
        self.timeline.at(link.last_to_client, Event::ToClient { link: id, what });
    }

    fn come_back(&mut self, id: LinkId, what: BackToClient) -> Step {
        let Some(link) = self.links.get(&id) else { return Step::Event };
        let (now, until) = (self.timeline.now(), self.held_until(link, false));
        if until > now {
            let link = self.links.get_mut(&id).expect("looked at above");
            link.last_to_client = link.last_to_client.max(until);
            self.timeline.at(until, Event::ToClient { link: id, what });
            return Step::Event;
        }
        let link = self.links.get_mut(&id).expect("looked at above");
        let (client, conn) = (link.client, link.local);
        if let Some(node) = peers::node_of(client) {
            match &what {
                BackToClient::Response { correlation, .. } => drop(link.awaited.remove(correlation)),
                BackToClient::Closed => drop(self.links.remove(&id)),
                BackToClient::Connected => {}
            }
            return self.back_to_node(node, conn, what);
        }
        let input = match what {
            BackToClient::Connected => ToClient::Connected { conn },
            BackToClient::Response { correlation, body } => {
                let Some(awaited) = link.awaited.remove(&correlation) else { return Step::Event };
                self.trace.note(now, client.0, "answer", &*body);
                ToClient::Answer { call: awaited.call, response: body }
            }
            BackToClient::Closed => {
                self.links.remove(&id);
                if let Some(guest) = self.guests.get_mut(&client) {
                    guest.links.remove(&conn);
                }
                ToClient::Closed { conn }
            }
        };
        self.tell(client, input);
        Step::Event
    }

    fn client_tick(&mut self, id: ClientId, at: u64) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let now = self.timeline.now();
        if guest.paused_until > now {
            let at = guest.paused_until;
            guest.tick = Some(at);
            self.timeline.at(at, Event::ClientTick { client: id, at });
            return;
        }
        if guest.tick == Some(at) {
            guest.tick = None;
        }
        self.tell(id, ToClient::Tick);
    }

    fn tell(&mut self, id: ClientId, input: ToClient) {
        let now = self.client_now();
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.actor.handle(now, input);
        while let Some(effect) = self.guests.get_mut(&id).and_then(|guest| guest.actor.poll()) {
            self.do_for_client(id, effect);
        }
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if let Some(deadline) = guest.actor.deadline()
            && guest.tick.is_none_or(|at| at > deadline.0)
        {
            let at = deadline.0.max(self.timeline.now());
            guest.tick = Some(at);
            self.timeline.at(at, Event::ClientTick { client: id, at });
        }
    }

    fn do_for_client(&mut self, id: ClientId, effect: FromClient) {
        let now = self.timeline.now();
        match effect {
            FromClient::Connect { conn, to } => self.connect(id, conn, &to),
            FromClient::Close { conn } => {
                let Some(link) = self.guests.get_mut(&id).and_then(|guest| guest.links.remove(&conn)) else { return };
                self.send_to_node(link, ToNode::Close);
            }
            FromClient::Send { conn, call, version, request, answered } => {
                self.trace.note(now, id.0, "send", &*request);
                let Some(link) = self.guests.get(&id).and_then(|guest| guest.links.get(&conn)).copied() else { return };
                self.send(link, call, version, *request, answered);
            }
        }
    }

    fn connect(&mut self, client: ClientId, local: ConnId, to: &Address) {
        let id = self.make_link(client, local, to);
        self.guests.get_mut(&client).expect("it has just spoken").links.insert(local, id);
    }

    /// A connection on its way to the node at that address.
    pub(super) fn make_link(&mut self, client: ClientId, local: ConnId, to: &Address) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let node = to.host.strip_prefix("node-").and_then(|number| number.parse().ok()).expect("an address of this mesh");
        let (awaited, outgoing) = (BTreeMap::new(), std::collections::VecDeque::new());
        // A node has two: for clients, and for the metadata quorum.
        let listener = ListenerId(u16::from(to.port != Self::address(node).port));
        self.links.insert(id, Link { client, local, node, listener, last_to_node: 0, last_to_client: 0, open: false, awaited, outgoing });
        self.send_to_node(id, ToNode::Connect);
        id
    }

    pub(super) fn send(&mut self, id: LinkId, call: CallId, version: i16, request: Request, answered: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let correlation = CorrelationId((call.0 & 0x7fff_ffff) as i32);
        if answered {
            link.awaited.insert(correlation, Awaited { call, api: request.api(), version });
        }
        let client_id = Some(format!("client-{}", link.client.0));
        let header = RequestHeader { api: request.api(), version, correlation, client_id };
        let what = link::departing(header, request, self.weather.bytes);
        self.send_to_node(id, what);
    }

    // --- ends -----------------------------------------------------------------------------------------------------------------------------

    /// A node's connections to others end with it. Of a machine without power nobody hears.
    fn end_calls_of(&mut self, node: u32, is_told: bool) {
        let links = self.peers_of(node).drain();
        if is_told {
            links.into_iter().for_each(|link| self.send_to_node(link, ToNode::Close));
        }
    }

    fn end_links_of(&mut self, node: u32) {
        let all: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.node == node).map(|(id, _)| *id).collect();
        all.into_iter().for_each(|id| self.end_link(id, false));
    }

    /// The connection is gone: the client learns of it, and with `tell_node` the node too. What was under way is lost.
    fn end_link(&mut self, id: LinkId, tell_node: bool) {
        let Some(link) = self.links.remove(&id) else { return };
        let (client, conn, node, was_open) = (link.client, link.local, link.node, link.open);
        if let Some(guest) = self.guests.get_mut(&client) {
            guest.links.remove(&conn);
        }
        // The client's end stays as a link of its own, so that the news takes its time.
        let ended = LinkId(self.next_link);
        self.next_link += 1;
        self.links.insert(ended, Link { open: false, outgoing: std::collections::VecDeque::new(), awaited: BTreeMap::new(), ..link });
        self.send_to_client(ended, BackToClient::Closed);
        if tell_node && was_open {
            let now = self.now_at(node);
            self.hosts.get_mut(&node).expect("a node of this mesh").node.handle(now, Input::Closed { conn: ConnId(id.0) });
            self.settle(node);
        }
    }
}

/// Consumers read one run of bytes in each partition, as it comes off a socket.
fn in_one_piece(body: &mut Response) {
    let Response::Fetch(fetch) = body else { return };
    for partition in fetch.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if let Some(records) = &mut partition.records
            && let Some(whole) = records.bytes()
            && !matches!(records.0.as_slice(), [Chunk::Bytes(_)])
        {
            *records = if whole.is_empty() { Records::default() } else { Records(vec![Chunk::Bytes(whole)]) };
        }
    }
}
