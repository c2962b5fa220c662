//! A client as a machine of madsim: an actor of the workload on the production client driver, with real frames.

use super::{Party, SharedTrace};
use crate::cluster::client::{ClientId, FromClient, ToClient};
use crate::stage::Player;
use klamm::client::{Client, Machine};
use klamm::clock::Clock;
use klamm_core::client::io::{Effect, Input};
use klamm_core::time::{Instant, Now};
use madsim::runtime::Handle;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

// madsim wants `Send` of what starts a node, though all of it runs on this thread; actors share their book without locks.
thread_local! {
    static WINGS: RefCell<BTreeMap<ClientId, Player>> = const { RefCell::new(BTreeMap::new()) };
}

/// Makes the client's machine, and lets it begin.
pub(super) fn build(madsim: &Handle, id: ClientId, actor: Player, clock: &Clock, log: &SharedTrace) -> Party {
    WINGS.with_borrow_mut(|wings| wings.insert(id, actor));
    let (clock, log) = (clock.clone(), log.clone());
    let live = move || {
        let actor = WINGS.with_borrow_mut(|wings| wings.remove(&id)).expect("a client has one life");
        let puppet = Puppet { id, actor, log: log.clone(), now: Now::default() };
        let clock = clock.clone();
        async move {
            let mut client = Client::new(puppet, clock, &format!("client-{}", id.0));
            loop {
                client.turn().await;
            }
        }
    };
    let [high, low] = u16::try_from(id.0).expect("few clients").to_be_bytes();
    let ip = IpAddr::V4(Ipv4Addr::new(10, 1, high, low));
    let machine = madsim.create_node().name(format!("client-{}", id.0)).ip(ip).init(live).build().id();
    Party { machine, ip }
}

/// An actor as the client driver wants it.
struct Puppet {
    id: ClientId,
    actor: Player,
    log: SharedTrace,
    /// Of the last input.
    now: Now,
}

impl Puppet {
    fn note(&self, kind: &str, what: &impl std::hash::Hash) {
        let mut log = self.log.lock().expect("nothing panics holding it");
        log.trace.note(self.now.at.0, self.id.0, kind, what);
    }
}

impl Machine for Puppet {
    type Command = Infallible;
    type Event = Infallible;

    fn handle(&mut self, now: Now, input: Input<Infallible>) {
        self.now = now;
        let input = match input {
            Input::Tick => ToClient::Tick,
            Input::Connected { conn } => {
                self.note("connected", &conn);
                ToClient::Connected { conn }
            }
            Input::Closed { conn } => {
                self.note("closed", &conn);
                ToClient::Closed { conn }
            }
            Input::Answer { call, response } => {
                self.note("answer", &*response);
                ToClient::Answer { call, response }
            }
            Input::App(never) => match never {},
        };
        self.actor.handle(now, input);
    }

    fn poll(&mut self) -> Option<Effect<Infallible>> {
        Some(match self.actor.poll()? {
            FromClient::Connect { conn, to } => Effect::Connect { conn, to },
            FromClient::Send { conn, call, version, request, answered } => {
                self.note("send", &*request);
                self.log.lock().expect("nothing panics holding it").counts.inputs += 1;
                Effect::Send { conn, call, version, request, answered }
            }
            FromClient::Close { conn } => Effect::Close { conn, why: "the actor says so" },
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.actor.deadline()
    }
}
