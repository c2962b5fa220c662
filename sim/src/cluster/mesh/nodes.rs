//! The nodes of a mesh: what comes to them, and what they decide.

use super::{Event, Mesh, Step};
use crate::cluster::link::{self, BackToClient, Link, LinkId, Outgoing, ToNode};
use crate::cluster::node::Done;
use crate::cluster::peers::Peers;
use crate::report::State;
use klamm_core::broker::io::{Effect, Halt, Input, Unreachable};
use klamm_core::id::{CallId, ConnId, CorrelationId};
use klamm_core::probe;
use klamm_core::wire::{Chunk, Records, Response};

/// One look at a node in so many is at everything.
const LOOKS: u64 = 256;

impl Mesh {
    pub(super) fn arrive(&mut self, id: LinkId, what: ToNode) -> Step {
        let Some(link) = self.links.get(&id) else { return Step::Event };
        let (now, until, node, listener) = (self.timeline.now(), self.held_until(link, true), link.node, link.listener);
        let is_down = self.hosts[&node].node.broker().is_none();
        if until > now {
            let link = self.links.get_mut(&id).expect("looked at above");
            link.last_to_node = link.last_to_node.max(until);
            self.timeline.at(until, Event::ToNode { link: id, what });
            return Step::Event;
        }
        let conn = ConnId(id.0);
        match what {
            ToNode::Connect if is_down && now < self.hosts[&node].ajar_until => {
                self.send_to_client(id, BackToClient::Connected);
                self.close_link(id);
            }
            ToNode::Connect if is_down || self.net.is_refusing(node, now) => self.end_link(id, true),
            ToNode::Connect => {
                self.links.get_mut(&id).expect("looked at above").open = true;
                self.send_to_client(id, BackToClient::Connected);
                let peer = std::net::SocketAddr::from(([10, 0, 0, 1], 40_000));
                return self.input(node, Input::Opened { conn, listener, peer });
            }
            ToNode::Request { header, body, batches } if link.open => {
                self.recorder.keep(|recording| recording.comes(now, id, true));
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

    pub(in crate::cluster) fn input(&mut self, id: u32, input: Input) -> Step {
        let now = self.now_at(id);
        self.counts.inputs += 1;
        // What clients passed is not this node's.
        probe::drain_recent(drop);
        self.hosts.get_mut(&id).expect("a node of this mesh").node.handle(now, input);
        self.settle(id)
    }

    pub(super) fn disk_done(&mut self, id: u32, life: u64, number: u64) -> Step {
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

    pub(super) fn node_tick(&mut self, id: u32, life: u64) -> Step {
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
        probe::drain_recent(drop);
        self.hosts.get_mut(&id).expect("a node of this mesh").node.handle(at, Input::Tick);
        self.settle(id)
    }

    /// Carries out what a node decides, and lets its store go on, until time must pass.
    pub(super) fn settle(&mut self, id: u32) -> Step {
        let mut step = Step::Event;
        loop {
            self.look_for_ambush(id);
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
            }
            match host.node.turn(now) {
                None => break,
                Some(Done::Stored { ticket, is_ok }) => {
                    self.oracle.stored(id, ticket, is_ok);
                    self.counts.inputs += 1;
                }
                Some(Done::Opened) => {
                    self.turns(id, State::Up, "has recovered");
                    step = Step::Opened(id);
                }
                Some(Done::Failed(why)) => {
                    self.turns(id, State::Down, &why);
                    return Step::Halted(id, why);
                }
                Some(Done::Closed) => {
                    self.turns(id, State::Down, "has stopped");
                    return Step::Halted(id, "stopped".to_owned());
                }
                Some(Done::Read { read, bytes }) => self.read_done(id, read, bytes),
            }
        }
        self.look_at(id);
        self.plan_disk(id);
        self.plan_tick(id);
        step
    }

    /// A node is about to die in the midst of what it does: what it has decided counts, since others may have heard of it.
    pub(super) fn look_at_last(&mut self, id: u32) {
        while let Some(effect) = self.hosts.get_mut(&id).expect("a node of this mesh").node.effect() {
            if let Some(broker) = self.hosts[&id].node.broker() {
                self.oracle.effect(id, self.hosts[&id].node.lives(), broker.view(), &effect);
            }
        }
        self.look_at(id);
    }

    /// What has changed is looked at, and everything once in so many looks: what changes and is not told so must not go unseen.
    fn look_at(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        host.looks += 1;
        let (oracle, recorder, life, now) = (&mut self.oracle, &self.recorder, host.node.lives(), self.timeline.now());
        host.node.look(host.looks.is_multiple_of(LOOKS), |view| {
            oracle.look(id, life, view);
            recorder.keep(|recording| recording.look(now, id, view, oracle));
        });
    }

    fn plan_disk(&mut self, id: u32) {
        let host = &self.hosts[&id];
        let life = host.node.lives();
        for (number, duration) in host.node.pace().begun() {
            self.timeline.after(duration, Event::Disk { node: id, life, number });
        }
    }

    pub(super) fn plan_tick(&mut self, id: u32) {
        let host = self.hosts.get_mut(&id).expect("a node of this mesh");
        let Some(deadline) = host.node.deadline().map(|at| host.clock.when(at)) else { return };
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
        if let Some(broker) = self.hosts[&id].node.broker() {
            self.oracle.effect(id, self.hosts[&id].node.lives(), broker.view(), &effect);
        }
        match effect {
            Effect::Reply { conn, correlation, version: _, body } => {
                self.trace.note(now, id, "reply", &body);
                self.look_for_acknowledgement(id, &body);
                self.reply(id, LinkId(conn.0), correlation, body);
            }
            Effect::Store { ticket, op } => {
                self.trace.note(now, id, "store", &op);
                let host = self.hosts.get_mut(&id).expect("a node of this mesh");
                if let Some(death) = self.swaps.as_ref().and_then(|swaps| swaps.strikes(id, &op)) {
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
                self.recorder.keep(|recording| recording.note(now, id, level, &text));
                self.notes.push((now, id, level, text));
            }
            Effect::Halt { why } => {
                self.trace.note(now, id, "halt", &why);
                return self.halt(id, why);
            }
            Effect::Call { call, to, version, body } => {
                self.trace.note(now, id, "call", &body);
                self.look_for_proposal(id, &to, &body);
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
        self.look_at_last(id);
        self.end_links_of(id);
        self.end_calls_of(id, true);
        match &why {
            Halt::Stopped => self.turns(id, State::Closing, "stops, as it was asked to"),
            Halt::Unregistered { why } | Halt::DirsOffline { why } | Halt::Metadata { why } => self.turns(id, State::Down, why),
        }
        let node = &mut self.hosts.get_mut(&id).expect("a node of this mesh").node;
        match why {
            Halt::Stopped => {
                node.close();
                None
            }
            Halt::Unregistered { why } | Halt::DirsOffline { why } | Halt::Metadata { why } => {
                node.crash(false);
                Some(Step::Halted(id, why))
            }
        }
    }

    // --- answers --------------------------------------------------------------------------------------------------------------------------

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
                body = link::answering(awaited, out.correlation, body, self.net.weather.bytes);
            }
            self.send_to_client(id, BackToClient::Response { correlation: out.correlation, body: Box::new(body) });
        }
    }

    // --- calls to other nodes -------------------------------------------------------------------------------------------------------------

    pub(in crate::cluster) fn peers_of(&mut self, node: u32) -> &mut Peers {
        &mut self.hosts.get_mut(&node).expect("a node of this mesh").peers
    }

    /// The calls come back as lost, a moment later.
    pub(in crate::cluster) fn lose_later(&mut self, node: u32, calls: Vec<CallId>) {
        let life = self.hosts[&node].node.lives();
        if !calls.is_empty() {
            self.timeline.after(0, Event::Lost { node, life, calls });
        }
    }

    pub(super) fn calls_lost(&mut self, node: u32, life: u64, calls: Vec<CallId>) -> Step {
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
