//! The network of a mesh: how long a message takes, what is cut, slow, refused or reset.

use super::{Event, Mesh};
use crate::chance::{Chance, Matter, Message};
use crate::cluster::client::ClientId;
use crate::cluster::link::{self, Awaited, BackToClient, Link, LinkId, ToNode};
use crate::cluster::peers;
use crate::report::End;
use klamm_core::broker::io::{Input, Lane};
use klamm_core::client::io::Address;
use klamm_core::id::{CallId, ConnId, CorrelationId, ListenerId};
use klamm_core::rng::Rng;
use klamm_core::wire::{Request, RequestHeader};
use rand::Rng as _;
use std::collections::BTreeMap;

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

/// One way between two ends; a node is an end as the client it is to others.
type Way = (ClientId, ClientId);

/// What the network does to messages.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) weather: Weather,
    chance: Chance,
    /// Nothing passes this way before.
    cuts: BTreeMap<Way, u64>,
    /// Until when, and by how much at most, it takes longer.
    slow: BTreeMap<Way, (u64, u64)>,
    /// Until when a node refuses connections.
    refusing: BTreeMap<u32, u64>,
    /// Until when what a node fetches of the metadata log does not come.
    late: BTreeMap<u32, u64>,
}

impl Net {
    pub(super) fn new(chance: Chance, weather: Weather) -> Self {
        Self { weather, chance, cuts: BTreeMap::new(), slow: BTreeMap::new(), refusing: BTreeMap::new(), late: BTreeMap::new() }
    }

    fn delay(&self, (from, to): Way, what: Message, now: u64) -> u64 {
        let ((least, most), lost_one_in) = (self.weather.delay, self.weather.lost_one_in);
        let usual = self.chance.decide(Matter::Delay { from, to, what }, |rng| {
            let retransmitted = lost_one_in > 0 && rng.random_ratio(1, lost_one_in);
            rng.random_range(least..=most) + if retransmitted { 200_000_000 } else { 0 }
        });
        let longer = match self.slow.get(&(from, to)) {
            Some((until, by)) if *until > now => self.chance.decide(Matter::Slow { from, to }, |rng| rng.random_range(0..=*by)),
            Some(_) | None => 0,
        };
        usual.saturating_add(longer)
    }

    /// Until when nothing passes this way.
    pub(super) fn cut_until(&self, way: Way) -> u64 {
        self.cuts.get(&way).copied().unwrap_or(0)
    }

    /// For how long, in ns, a process that dies is still connected to: half of them some ms.
    pub(in crate::cluster) fn ajar(&self, node: u32) -> u64 {
        self.chance.decide(Matter::Door { node }, |rng| if rng.random_bool(0.5) { rng.random_range(0..20_000_000) } else { 0 })
    }

    /// Whether a node refuses who wants to connect.
    pub(super) fn is_refusing(&self, node: u32, now: u64) -> bool {
        self.refusing.get(&node).is_some_and(|until| *until > now)
    }
}

/// For the report.
fn end(client: ClientId) -> End {
    peers::node_of(client).map_or(End::Client(client.0), End::Node)
}

fn there(link: &Link) -> Way {
    (link.client, peers::as_client(link.node))
}

fn back(link: &Link) -> Way {
    (peers::as_client(link.node), link.client)
}

impl Mesh {
    /// Cuts a client from a node until then; what was sent comes when the cut heals.
    pub fn cut(&mut self, client: ClientId, node: u32, until: u64) {
        self.tell_way((client, peers::as_client(node)), until, "cut", "nothing passes either way");
        self.net.cuts.insert((client, peers::as_client(node)), until);
        self.net.cuts.insert((peers::as_client(node), client), until);
    }

    /// Cuts two nodes from each other until then.
    pub fn cut_nodes(&mut self, one: u32, other: u32, until: u64) {
        self.cut(peers::as_client(one), other, until);
    }

    /// What one node sends to another is held until then; what comes back is not.
    pub fn cut_one_way(&mut self, from: u32, to: u32, until: u64) {
        self.tell_way((peers::as_client(from), peers::as_client(to)), until, "one-way", "what it sends is held");
        self.net.cuts.insert((peers::as_client(from), peers::as_client(to)), until);
    }

    /// Messages between two nodes take up to so much longer until then.
    pub fn slow_link(&mut self, one: u32, other: u32, until: u64, by: u64) {
        self.tell_way((peers::as_client(one), peers::as_client(other)), until, "slow", "messages take longer");
        for way in [(one, other), (other, one)] {
            self.net.slow.insert((peers::as_client(way.0), peers::as_client(way.1)), (until, by));
        }
    }

    /// What the node fetches of the metadata log comes to it no sooner than then.
    pub fn hold_metadata(&mut self, node: u32, until: u64) {
        self.net.late.insert(node, until);
    }

    /// A node that lives breaks with the others, and refuses who wants to connect until then.
    pub fn refuse(&mut self, node: u32, until: u64) {
        self.net.refusing.insert(node, until);
        let of_nodes = |link: &Link| link.open && link.node == node && peers::node_of(link.client).is_some();
        let all: Vec<LinkId> = self.links.iter().filter(|(_, link)| of_nodes(link)).map(|(id, _)| *id).collect();
        self.counts.resets += all.len() as u64;
        all.into_iter().for_each(|id| self.end_link(id, true));
    }

    fn to_controllers(&self, node: u32) -> Vec<LinkId> {
        let is_meant = |link: &Link| link.open && link.client == peers::as_client(node) && link.listener.0 > 0;
        self.links.iter().filter(|(_, link)| is_meant(link)).map(|(id, _)| *id).collect()
    }

    /// A node's connections to the controllers break, with what is under way on them.
    pub fn hang_up_on_controllers(&mut self, node: u32) {
        let all = self.to_controllers(node);
        self.counts.resets += all.len() as u64;
        all.into_iter().for_each(|id| self.end_link(id, true));
    }

    /// Stalls one connection between two nodes until then, chosen by chance, most often one to the controllers' listener: whoever gives it up and makes
    /// another one is heard by that first, and what was sent before comes late. Says whether there was one.
    pub fn stall_one(&mut self, until: u64, rng: &mut Rng) -> bool {
        let to_controllers = rng.random_bool(0.75);
        let is_meant = |link: &Link| link.open && peers::node_of(link.client).is_some() && (link.listener.0 > 0) == to_controllers;
        let all: Vec<LinkId> = self.links.iter().filter(|(_, link)| is_meant(link)).map(|(id, _)| *id).collect();
        if all.is_empty() {
            return false;
        }
        let id = all[rng.random_range(0..all.len())];
        self.trace.note(self.timeline.now(), 0, "stall", &id);
        self.links.get_mut(&id).expect("chosen of them").stalled_until = until;
        true
    }

    /// Resets one connection of those that are open, chosen by chance; what is under way on it is lost.
    pub fn reset_one(&mut self, rng: &mut Rng) {
        let open: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.open).map(|(id, _)| *id).collect();
        if open.is_empty() {
            return;
        }
        let link = open[rng.random_range(0..open.len())];
        self.counts.resets += 1;
        self.trace.note(self.timeline.now(), 0, "reset", &link);
        self.end_link(link, true);
    }

    /// For the report: something is between two ends until then.
    fn tell_way(&self, (one, other): Way, until: u64, name: &'static str, text: &str) {
        let now = self.timeline.now();
        let (Some(node), other) =
            (peers::node_of(one).or_else(|| peers::node_of(other)), peers::node_of(one).and_then(|_| peers::node_of(other)))
        else {
            return;
        };
        let text = if other.is_some() { text.to_owned() } else { format!("client {} is cut off", one.0) };
        self.recorder.keep(|recording| recording.band((now, until), (node, other), name, text));
    }

    // --- on the way -----------------------------------------------------------------------------------------------------------------------

    pub(in crate::cluster) fn send_to_node(&mut self, id: LinkId, what: ToNode) {
        let now = self.timeline.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        if let ToNode::Request { body, .. } = &what {
            self.recorder.keep(|recording| recording.asks(now, id, (end(link.client), End::Node(link.node)), body));
        }
        let delay = self.net.delay(there(link), what.message(), now);
        link.last_to_node = link.last_to_node.max(now + delay);
        self.timeline.at(link.last_to_node, Event::ToNode { link: id, what });
    }

    pub(super) fn send_to_client(&mut self, id: LinkId, what: BackToClient) {
        let now = self.timeline.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        if let BackToClient::Response { body, .. } = &what {
            self.recorder.keep(|recording| recording.answers(now, id, (End::Node(link.node), end(link.client)), body));
        }
        let message = match &what {
            BackToClient::Connected => Message::Connect,
            BackToClient::Closed => Message::Close,
            BackToClient::Response { correlation, .. } => {
                link.awaited.get(correlation).map_or(Message::Close, |awaited| Message::Api(awaited.api))
            }
        };
        let delay = self.net.delay(back(link), message, now);
        link.last_to_client = link.last_to_client.max(now + delay);
        self.timeline.at(link.last_to_client, Event::ToClient { link: id, what });
    }

    /// Until when what has come to one end of a link is not taken in there.
    pub(super) fn held_until(&self, link: &Link, at_node: bool) -> u64 {
        let cut = self.net.cut_until(if at_node { there(link) } else { back(link) });
        let paused = if at_node { self.hosts[&link.node].paused_until } else { self.client_paused_until(link.client) };
        let late = if at_node { 0 } else { self.late_until(link) };
        cut.max(paused).max(link.stalled_until).max(late)
    }

    /// Until when what comes back on a link is old news.
    fn late_until(&self, link: &Link) -> u64 {
        let node = peers::node_of(link.client).filter(|_| link.lane == Some(Lane::Metadata));
        node.and_then(|node| self.net.late.get(&node)).copied().unwrap_or(0)
    }

    fn client_paused_until(&self, client: ClientId) -> u64 {
        match peers::node_of(client) {
            Some(node) => self.hosts.get(&node).map_or(0, |host| host.paused_until),
            None => self.guests.get(&client).map_or(0, |guest| guest.paused_until),
        }
    }

    // --- connections ----------------------------------------------------------------------------------------------------------------------

    /// A connection on its way to the node at that address.
    pub(in crate::cluster) fn make_link(&mut self, client: ClientId, local: ConnId, to: &Address, lane: Option<Lane>) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let node = to.host.strip_prefix("node-").and_then(|number| number.parse().ok()).expect("an address of this mesh");
        let (awaited, outgoing) = (BTreeMap::new(), std::collections::VecDeque::new());
        // A node has two: for clients, and for the metadata quorum.
        let listener = ListenerId(u16::from(to.port != Self::address(node).port));
        self.links.insert(
            id,
            Link {
                client,
                local,
                node,
                lane,
                listener,
                last_to_node: 0,
                last_to_client: 0,
                stalled_until: 0,
                open: false,
                awaited,
                outgoing,
            },
        );
        self.send_to_node(id, ToNode::Connect);
        id
    }

    pub(in crate::cluster) fn send(&mut self, id: LinkId, call: CallId, version: i16, request: Request, answered: bool) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let correlation = CorrelationId((call.0 & 0x7fff_ffff) as i32);
        if answered {
            link.awaited.insert(correlation, Awaited { call, api: request.api(), version });
        }
        let client_id = Some(format!("client-{}", link.client.0));
        let header = RequestHeader { api: request.api(), version, correlation, client_id };
        let what = link::departing(header, request, self.net.weather.bytes);
        self.send_to_node(id, what);
    }

    /// A node's connections to others end with it. Of a machine without power nobody hears.
    pub(super) fn end_calls_of(&mut self, node: u32, is_told: bool) {
        let links = self.peers_of(node).drain();
        if is_told {
            links.into_iter().for_each(|link| self.send_to_node(link, ToNode::Close));
        }
    }

    /// The process behind them is gone. What it had sent may still arrive: then clients hear of acknowledgements that were its last words.
    pub(super) fn end_links_of(&mut self, node: u32) {
        let arrives = self.net.chance.decide(Matter::LastWords { node }, |rng| u64::from(rng.random_bool(0.5))) > 0;
        let all: Vec<(LinkId, bool)> = self.links.iter().filter(|(_, link)| link.node == node).map(|(id, link)| (*id, link.open)).collect();
        for (id, open) in all {
            if open && arrives { self.close_link(id) } else { self.end_link(id, false) }
        }
    }

    /// The node's end is closed; the client learns of it behind what was sent before.
    pub(super) fn close_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.open = false;
        link.outgoing.clear();
        self.send_to_client(id, BackToClient::Closed);
    }

    /// The connection is gone: the client learns of it, and with `tell_node` the node too. What was under way is lost.
    pub(super) fn end_link(&mut self, id: LinkId, tell_node: bool) {
        let Some(link) = self.links.remove(&id) else { return };
        self.recorder.keep(|recording| recording.loses(id));
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
