//! Connections to brokers: makes them, negotiates versions on each, matches answers to calls, and gives up on what takes too long.
//!
//! Knows nothing of topics or groups. A parent asks `ready` for a peer it has something for, each time it looks; what it does not ask for
//! is not connected. `P` is the parent's note on a call, handed back with its outcome.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::io::{Address, Common};
use super::versions::Versions;
use crate::id::{BrokerId, CallId, ConnId};
use crate::probe;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{Request, Response};

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Peer {
    /// An entry of `bootstrap.servers`, by position.
    Bootstrap(usize),
    /// A broker, for metadata and records.
    Broker(BrokerId),
    /// A broker as a coordinator: a connection of its own, since a broker answers in order, and a fetch that waits for records must not hold
    /// up a heartbeat.
    Coordinator(BrokerId),
}

/// What a driver must do about connections.
#[derive(Clone, Debug)]
pub(super) enum LinkEffect {
    Connect { conn: ConnId, to: Address },
    Send { conn: ConnId, call: CallId, version: i16, request: Box<Request>, answered: bool },
    Close { conn: ConnId, why: &'static str },
}

/// What became of a call.
#[derive(Clone, Debug)]
pub(super) enum Outcome<P> {
    Answered {
        of: P,
        response: Box<Response>,
    },
    /// The connection went away, or the answer took too long: whether it was carried out is unknown.
    Lost {
        of: P,
    },
}

#[derive(Clone, Debug)]
enum Link {
    Down {
        failures: u32,
        retry_at: Instant,
    },
    Connecting {
        conn: ConnId,
        failures: u32,
        until: Instant,
    },
    /// Waiting for the broker's versions.
    Asking {
        conn: ConnId,
        failures: u32,
    },
    Up {
        conn: ConnId,
        versions: Versions,
        calls: usize,
    },
}

#[derive(Clone, Debug)]
struct Call<P> {
    peer: Peer,
    conn: ConnId,
    until: Instant,
    /// `None`: the negotiation of versions, which is ours.
    of: Option<P>,
}

#[derive(Clone, Debug)]
pub(super) struct Links<P> {
    common: Common,
    rng: Rng,
    links: BTreeMap<Peer, Link>,
    addresses: BTreeMap<Peer, Address>,
    conns: BTreeMap<ConnId, Peer>,
    calls: BTreeMap<CallId, Call<P>>,
    wanted: BTreeSet<Peer>,
    next: u64,
    effects: VecDeque<LinkEffect>,
}

impl<P> Links<P> {
    pub(super) fn new(common: Common, rng: Rng) -> Self {
        let addresses = common.bootstrap.iter().enumerate().map(|(i, address)| (Peer::Bootstrap(i), address.clone())).collect();
        Self {
            common,
            rng,
            links: BTreeMap::new(),
            addresses,
            conns: BTreeMap::new(),
            calls: BTreeMap::new(),
            wanted: BTreeSet::new(),
            next: 0,
            effects: VecDeque::new(),
        }
    }

    pub(super) fn poll(&mut self) -> Option<LinkEffect> {
        self.effects.pop_front()
    }

    /// Where a peer is to be found from now on. A connection to its old address is closed.
    pub(super) fn address(&mut self, peer: Peer, address: &Address) -> Vec<Outcome<P>> {
        match self.addresses.insert(peer, address.clone()) {
            Some(old) if old != *address => {
                probe!("client: a broker has moved to another address");
                self.hang_up(peer, "the broker has moved")
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Whether it was ever told where a peer is to be found.
    pub(super) fn is_known(&self, peer: Peer) -> bool {
        self.addresses.contains_key(&peer)
    }

    /// The parent is about to look at everything it has to send: peers that it does not ask for are no longer wanted.
    pub(super) fn begin(&mut self) {
        self.wanted.clear();
    }

    /// The versions of a peer that requests can be sent to now. Otherwise sees to it that there is a connection as soon as may be.
    pub(super) fn ready(&mut self, now: Instant, peer: Peer) -> Option<&Versions> {
        let address = self.addresses.get(&peer)?;
        self.wanted.insert(peer);
        let link = self.links.entry(peer).or_insert(Link::Down { failures: 0, retry_at: Instant::default() });
        if let Link::Down { failures, retry_at } = link
            && *retry_at <= now
        {
            let conn = ConnId(self.next);
            self.next += 1;
            self.effects.push_back(LinkEffect::Connect { conn, to: address.clone() });
            self.conns.insert(conn, peer);
            *link = Link::Connecting { conn, failures: *failures, until: now.after(self.common.connect_timeout) };
        }
        match link {
            Link::Up { versions, .. } => Some(versions),
            Link::Down { .. } | Link::Connecting { .. } | Link::Asking { .. } => None,
        }
    }

    /// Whether a peer is connected, without asking for it.
    pub(super) fn is_up(&self, peer: Peer) -> bool {
        matches!(self.links.get(&peer), Some(Link::Up { .. }))
    }

    /// Until when a peer is left alone after a failure; `None` if it may be tried now.
    pub(super) fn resting_until(&self, now: Instant, peer: Peer) -> Option<Instant> {
        match self.links.get(&peer) {
            Some(Link::Down { retry_at, .. }) if *retry_at > now => Some(*retry_at),
            Some(Link::Down { .. } | Link::Connecting { .. } | Link::Asking { .. } | Link::Up { .. }) | None => None,
        }
    }

    /// How many answers are due from a peer.
    pub(super) fn outstanding(&self, peer: Peer) -> usize {
        match self.links.get(&peer) {
            Some(Link::Up { calls, .. }) => *calls,
            Some(Link::Down { .. } | Link::Connecting { .. } | Link::Asking { .. }) | None => 0,
        }
    }

    /// The connection to a peer, if it is up.
    pub(super) fn conn(&self, peer: Peer) -> Option<ConnId> {
        match self.links.get(&peer) {
            Some(Link::Up { conn, .. }) => Some(*conn),
            Some(Link::Down { .. } | Link::Connecting { .. } | Link::Asking { .. }) | None => None,
        }
    }

    /// Sends a request whose answer must come until `until`.
    ///
    /// # Panics
    /// If the peer is not ready.
    pub(super) fn send(&mut self, peer: Peer, version: i16, request: Request, until: Instant, of: P) {
        let Some(Link::Up { conn, calls, .. }) = self.links.get_mut(&peer) else { panic!("{peer:?} is not ready") };
        *calls += 1;
        let conn = *conn;
        self.call(peer, conn, version, request, until, Some(of));
    }

    /// Sends a request that has no answer.
    ///
    /// # Panics
    /// If the peer is not ready.
    pub(super) fn send_unanswered(&mut self, peer: Peer, version: i16, request: Request) {
        let conn = self.conn(peer).expect("the peer is ready");
        let call = CallId(self.next);
        self.next += 1;
        self.effects.push_back(LinkEffect::Send { conn, call, version, request: Box::new(request), answered: false });
    }

    fn call(&mut self, peer: Peer, conn: ConnId, version: i16, request: Request, until: Instant, of: Option<P>) {
        let call = CallId(self.next);
        self.next += 1;
        self.calls.insert(call, Call { peer, conn, until, of });
        self.effects.push_back(LinkEffect::Send { conn, call, version, request: Box::new(request), answered: true });
    }

    pub(super) fn connected(&mut self, now: Instant, conn: ConnId) {
        let Some(peer) = self.conns.get(&conn).copied() else { return };
        let Some(Link::Connecting { failures, .. }) = self.links.get(&peer) else { return };
        self.links.insert(peer, Link::Asking { conn, failures: *failures });
        let (version, request) = Versions::question();
        self.call(peer, conn, version, request, now.after(self.common.request_timeout), None);
    }

    pub(super) fn closed(&mut self, now: Instant, conn: ConnId) -> Vec<Outcome<P>> {
        let Some(peer) = self.conns.remove(&conn) else { return Vec::new() };
        let failures = match self.links.get(&peer) {
            Some(Link::Connecting { failures, .. } | Link::Asking { failures, .. } | Link::Down { failures, .. }) => failures + 1,
            Some(Link::Up { .. }) | None => 1,
        };
        let retry_at = now.after(self.common.reconnect_backoff.after(failures, &mut self.rng));
        self.links.insert(peer, Link::Down { failures, retry_at });
        let lost: Vec<CallId> = self.calls.iter().filter(|(_, call)| call.conn == conn).map(|(id, _)| *id).collect();
        lost.into_iter().filter_map(|id| self.calls.remove(&id)?.of).map(|of| Outcome::Lost { of }).collect()
    }

    pub(super) fn answered(&mut self, now: Instant, call: CallId, response: Box<Response>) -> Vec<Outcome<P>> {
        let Some(Call { peer, conn, of, .. }) = self.calls.remove(&call) else { return Vec::new() };
        match of {
            Some(of) => {
                if let Some(Link::Up { calls, .. }) = self.links.get_mut(&peer) {
                    *calls -= 1;
                }
                vec![Outcome::Answered { of, response }]
            }
            None => match Versions::read(&response) {
                Some(versions) => {
                    self.links.insert(peer, Link::Up { conn, versions, calls: 0 });
                    Vec::new()
                }
                None => self.abandon(now, conn, "no common language"),
            },
        }
    }

    /// Gives up on connections and answers that took too long.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Outcome<P>> {
        let mut late: BTreeSet<ConnId> = self.calls.values().filter(|call| call.until <= now).map(|call| call.conn).collect();
        for link in self.links.values() {
            if let Link::Connecting { conn, until, .. } = link
                && *until <= now
            {
                late.insert(*conn);
            }
        }
        late.into_iter().flat_map(|conn| self.abandon(now, conn, "no answer in time")).collect()
    }

    fn abandon(&mut self, now: Instant, conn: ConnId, why: &'static str) -> Vec<Outcome<P>> {
        self.effects.push_back(LinkEffect::Close { conn, why });
        self.closed(now, conn)
    }

    fn hang_up(&mut self, peer: Peer, why: &'static str) -> Vec<Outcome<P>> {
        let conn = match self.links.remove(&peer) {
            Some(Link::Connecting { conn, .. } | Link::Asking { conn, .. } | Link::Up { conn, .. }) => conn,
            Some(Link::Down { .. }) | None => return Vec::new(),
        };
        let lost = self.abandon(Instant::default(), conn, why);
        self.links.remove(&peer);
        lost
    }

    /// Closes everything.
    pub(super) fn close(&mut self) {
        let conns: Vec<ConnId> = std::mem::take(&mut self.conns).into_keys().collect();
        self.effects.extend(conns.into_iter().map(|conn| LinkEffect::Close { conn, why: "the client is closed" }));
        self.links.clear();
        self.calls.clear();
        self.wanted.clear();
        self.addresses.clear();
    }

    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let answers = self.calls.values().map(|call| (call.until, "an answer is late"));
        let links = self.links.iter().filter_map(|(peer, link)| match link {
            Link::Connecting { until, .. } => Some((*until, "a connection is late")),
            Link::Down { retry_at, .. } if self.wanted.contains(peer) => Some((*retry_at, "connect again")),
            Link::Down { .. } | Link::Asking { .. } | Link::Up { .. } => None,
        });
        answers.chain(links).min()
    }
}
