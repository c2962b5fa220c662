//! Calls to other nodes: one connection for each peer and lane, made when there is something to ask, kept, and made again with growing pauses.
//!
//! Lives beside the core, in the driver's task, and never waits: the connections have tasks of their own (`link.rs`). Calls on one connection are
//! answered in their order, whatever becomes of it. Decides nothing: how long to wait for an answer is the core's to say.

mod link;
#[cfg(test)]
mod tests;

use crate::asks::Ask;
use klamm_core::broker::io::{Input, Peer, Unreachable};
use klamm_core::client::io::Address;
use klamm_core::id::{BrokerId, CallId};
use klamm_core::time::Instant;
use klamm_core::wire::Request;
use link::{Way, What};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, info, warn};

/// Calls that may wait on one connection; one more, and it is given up: whoever answers so slowly does not answer.
const CALLS_MAX: usize = 1024;
/// Bytes of answers that may be on their way to the core, for all connections together.
const ANSWERS_BYTES_MAX: usize = 64 << 20;
/// The pause after a connection that brought no answer, and the longest after many.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(1);
/// A connection that is made within so long is made in time.
const SOON: Duration = Duration::from_millis(300);
/// A peer that was not asked for so long begins anew.
const FORGET: Duration = Duration::from_mins(1);

/// One connection, or the wish for one; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LinkId(u64);

/// What a connection tells.
#[derive(Debug)]
pub(crate) struct News {
    link: LinkId,
    what: What,
}

/// A connection as the driver sees it. Dropping it closes the connection, in whatever state that is.
struct Link {
    to: Peer,
    asks: mpsc::UnboundedSender<Ask>,
    _hold: oneshot::Sender<()>,
    /// Calls that have no answer yet, in their order.
    waiting: VecDeque<CallId>,
    /// Since when.
    wanted: Instant,
    is_made: bool,
    has_answered: bool,
}

/// Connections in a row that brought no answer.
struct Failures {
    count: u32,
    /// No connection is made before.
    until: Instant,
}

/// All calls to other nodes.
pub(crate) struct Peers {
    client_id: String,
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<Peer, LinkId>,
    calls: BTreeMap<CallId, LinkId>,
    failures: BTreeMap<Peer, Failures>,
    /// Where nobody was reached when it was last tried, as the log says once, until somebody answers there, on whatever lane.
    unreached: BTreeMap<Address, Instant>,
    next_link: u64,
    room: Arc<Semaphore>,
    news: mpsc::UnboundedSender<News>,
    answers: VecDeque<Input>,
}

impl Peers {
    /// For `node`; its connections tell their news to `news`, which has at most one answer for each call.
    pub(crate) fn new(node: BrokerId, news: mpsc::UnboundedSender<News>) -> Self {
        Self {
            client_id: format!("klamm-node-{node}"),
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            calls: BTreeMap::new(),
            failures: BTreeMap::new(),
            unreached: BTreeMap::new(),
            next_link: 0,
            room: Arc::new(Semaphore::new(ANSWERS_BYTES_MAX)),
            news,
            answers: VecDeque::new(),
        }
    }

    /// Asks a peer, behind everything that it was asked before on the same lane.
    pub(crate) fn call(&mut self, now: Instant, call: CallId, to: Peer, version: i16, body: Request) {
        let mut ask = Ask { call, version, request: Box::new(body), answered: true };
        if let Some(id) = self.by_peer.get(&to).copied() {
            let link = self.links.get_mut(&id).expect("it is listed by its peer");
            if link.waiting.len() >= CALLS_MAX {
                debug!(peer = ?link.to, "closed: {CALLS_MAX} calls have no answer");
                self.end(id, Unreachable::Lost);
            } else {
                match link.asks.send(ask) {
                    Ok(()) => return self.wait(call, id),
                    // It ended by itself, and its word is still on its way.
                    Err(back) => {
                        ask = back.0;
                        self.end(id, Unreachable::Lost);
                    }
                }
            }
        }
        let id = self.open(now, to);
        let link = self.links.get(&id).expect("just made");
        // Should it end at once, its news answers the call.
        drop(link.asks.send(ask));
        self.wait(call, id);
    }

    fn wait(&mut self, call: CallId, id: LinkId) {
        self.links.get_mut(&id).expect("it was just written to").waiting.push_back(call);
        let before = self.calls.insert(call, id);
        assert!(before.is_none(), "call {call} was made twice");
    }

    /// Gives up a call: closes the connection that it waits on. Nothing more is heard of it; the other calls there are lost.
    pub(crate) fn hang_up(&mut self, now: Instant, call: CallId) {
        let Some(id) = self.calls.remove(&call) else { return };
        let link = self.links.get_mut(&id).expect("a call waits on it");
        link.waiting.retain(|waiting| *waiting != call);
        if !link.is_made && now.since(link.wanted) >= SOON {
            let to = link.to.clone();
            self.not_reached(now, &to, "no connection was made in time");
        }
        self.end(id, Unreachable::Lost);
    }

    /// Takes in what a connection tells. One that was closed meanwhile has nothing to tell.
    pub(crate) fn news(&mut self, now: Instant, News { link: id, what }: News) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match what {
            What::Made => link.is_made = true,
            What::Answer { call, response, batches, _room: _ } => {
                let waiting = link.waiting.pop_front();
                assert_eq!(waiting, Some(call), "answers come in the order of their calls");
                if !std::mem::replace(&mut link.has_answered, true) {
                    self.failures.remove(&link.to);
                    if self.unreached.remove(&link.to.address).is_some() {
                        info!("{} answers", shown(&link.to));
                    }
                }
                self.calls.remove(&call);
                self.answers.push_back(Input::Answer { call, outcome: Ok(*response), batches });
            }
            What::Ended { why, words } => {
                if !link.has_answered {
                    let to = link.to.clone();
                    self.failed(now, to, &words);
                }
                self.end(id, why);
            }
        }
    }

    /// The next answer for the core.
    pub(crate) fn answer(&mut self) -> Option<Input> {
        self.answers.pop_front()
    }

    fn open(&mut self, now: Instant, to: Peer) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let pause = self.failures.get(&to).map_or(Duration::ZERO, |failures| failures.until.since(now));
        let way = Way { link: id, to: to.address.clone(), client_id: self.client_id.clone(), pause };
        let (asks, asked) = mpsc::unbounded_channel();
        let (hold, gone) = oneshot::channel();
        tokio::spawn(link::run(way, asked, gone, self.news.clone(), Arc::clone(&self.room)));
        self.by_peer.insert(to.clone(), id);
        self.links.insert(id, Link { to, asks, _hold: hold, waiting: VecDeque::new(), wanted: now, is_made: false, has_answered: false });
        id
    }

    /// Closes a connection; its calls have no answer, because of `why`.
    fn end(&mut self, id: LinkId, why: Unreachable) {
        let Some(link) = self.links.remove(&id) else { return };
        self.by_peer.remove(&link.to);
        for call in link.waiting {
            self.calls.remove(&call);
            self.answers.push_back(Input::Answer { call, outcome: Err(why), batches: Vec::new() });
        }
    }

    fn failed(&mut self, now: Instant, to: Peer, words: &str) {
        self.failures.retain(|_, failures| now.since(failures.until) < FORGET);
        self.not_reached(now, &to, words);
        let failures = self.failures.entry(to).or_insert(Failures { count: 0, until: now });
        failures.until = now.after(PAUSE_FIRST.saturating_mul(1 << failures.count.min(20)).min(PAUSE_MOST));
        failures.count += 1;
    }

    fn not_reached(&mut self, now: Instant, to: &Peer, words: &str) {
        self.unreached.retain(|_, tried| now.since(*tried) < FORGET);
        if self.unreached.insert(to.address.clone(), now).is_none() {
            warn!("cannot reach {}: {words}; it is tried again until it answers", shown(to));
        }
    }
}

/// A peer in words: its id is not known where only the configuration names it.
fn shown(peer: &Peer) -> String {
    if peer.id.0 < 0 { peer.address.to_string() } else { format!("node {} at {}", peer.id, peer.address) }
}
