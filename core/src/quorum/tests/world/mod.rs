//! Quorums with toy logs on a network and disks that fail, all in virtual time and from one seed.

mod fetch;
mod log;
mod node;
mod truth;

use crate::client::io::Address;
use crate::id::{BrokerId, Uuid};
use crate::quorum::{Config, Replica, Voter, Voters};
use crate::rng::{Rng, stream};
use crate::time::Instant;
use fetch::{Fetch, Fetched};
use node::Node;
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use truth::Truth;

use crate::broker::io::Unreachable;
use crate::id::CallId;
use crate::wire::{Request, Response};

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What goes over the network. `from` and `to` are nodes.
#[derive(Clone, Debug)]
enum Message {
    Ask { call: CallId, body: Request },
    Answer { call: CallId, outcome: Result<Response, Unreachable> },
    Fetch(Fetch),
    Fetched(Fetched),
}

#[derive(Clone, Debug)]
enum Event {
    Tick,
    Saved(u64),
    /// The log is durable up to here, unless it was cut meanwhile: the second number tells.
    Synced(usize, u64),
    Arrive {
        from: usize,
        message: Message,
    },
    /// The wait for a fetch's answer, or a parked fetch's patience, is over.
    FetchLate(u64),
    Unpark(u64),
    Restart,
}

/// How unkind the world is.
#[derive(Clone, Debug)]
pub(super) struct Unkind {
    drop: f64,
    slow: f64,
    twice: f64,
    /// Whether voters come and go.
    changes: bool,
    /// Whether a voter may lose its disk, once.
    wipe: bool,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    seq: u64,
    queue: BTreeMap<(Instant, u64), (usize, u64, Event)>,
    pub(super) nodes: Vec<Node>,
    cut: BTreeSet<(usize, usize)>,
    unkind: Unkind,
    calm: bool,
    truth: Truth,
    pub(super) seen: Seen,
    pub(super) trace: Option<Vec<String>>,
    next_value: u64,
    next_token: u64,
    pub(super) initial: Voters,
}

/// What happened, so that a test can tell whether it tested anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) elections: u64,
    pub(super) committed: u64,
    pub(super) crashes: u64,
    pub(super) lost_records: u64,
    pub(super) lost_elections: u64,
    pub(super) truncations: u64,
    pub(super) changes: u64,
    pub(super) wipes: u64,
    pub(super) events: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = stream(seed, "world");
        let (voters, observers) = (rng.random_range(1..=5), rng.random_range(0..=2));
        let count = voters + observers;
        let replica = |i: usize| (BrokerId(i32::try_from(i).expect("few") + 1), Uuid([u8::try_from(i).expect("few") + 1; 16]));
        let initial: Voters = (0..voters).map(|i| voter(replica(i))).collect();
        let changes = rng.random_bool(0.4);
        let unkind = Unkind {
            drop: if rng.random_bool(0.5) { rng.random_range(0.0..0.2) } else { 0.0 },
            slow: if rng.random_bool(0.5) { rng.random_range(0.0..0.2) } else { 0.01 },
            twice: if rng.random_bool(0.2) { 0.1 } else { 0.0 },
            changes,
            wipe: !changes && voters >= 3 && rng.random_bool(0.2),
        };
        let nodes = (0..count).map(|i| Node::new(replica(i))).collect();
        let mut world = Self {
            now: Instant(0),
            seq: 0,
            queue: BTreeMap::new(),
            nodes,
            cut: BTreeSet::new(),
            unkind,
            calm: false,
            truth: Truth::default(),
            seen: Seen::default(),
            trace: None,
            next_value: 0,
            next_token: 0,
            initial,
            rng,
        };
        for i in 0..count {
            world.start(i, seed);
        }
        world
    }

    pub(super) fn config(&self, i: usize) -> Config {
        let (me, directory) = self.nodes[i].replica;
        Config {
            me,
            directory,
            cluster: "cluster".into(),
            address: address(me),
            listener: "CONTROLLER".into(),
            may_vote: true,
            bootstrap: self.nodes.iter().map(|node| address(node.replica.0)).collect(),
            election_timeout: ms(100),
            fetch_timeout: ms(200),
            request_timeout: ms(150),
            backoff_max: ms(100),
        }
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now.0 / 1000;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>9} {}", text()));
        }
    }

    fn after(&mut self, delay: Duration, i: usize, event: Event) {
        let life = self.nodes[i].life;
        self.seq += 1;
        self.queue.insert((self.now.after(delay), self.seq), (i, life, event));
    }

    /// One event.
    fn step(&mut self) -> bool {
        let Some(((at, _), (i, life, event))) = self.queue.pop_first() else { return false };
        self.now = self.now.max(at);
        let node = &self.nodes[i];
        if node.paused > self.now {
            let delay = node.paused.since(self.now);
            self.seq += 1;
            self.queue.insert((self.now.after(delay), self.seq), (i, life, event));
            return true;
        }
        // What a process asked of its disk and its clock ends with it; what is on the network does not.
        let stale = life != node.life && !matches!(event, Event::Arrive { .. });
        if !stale {
            self.seen.events += 1;
            self.handle(i, event);
        }
        true
    }

    fn run_until(&mut self, end: Instant) {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Faults and work for a while, then peace: the cluster must come to rest, with everything that was committed.
    pub(super) fn run(&mut self, seed: u64) {
        let end = Instant(0).after(ms(self.rng.random_range(1500..4000)));
        while self.now < end {
            let pause = ms(self.rng.random_range(1..60));
            self.run_until(self.now.after(pause));
            self.trouble();
            self.work();
        }
        self.heal(seed);
        let (busy, rest) = (self.now.after(ms(3000)), ms(600));
        while self.now < busy {
            self.run_until(self.now.after(ms(50)));
            self.propose();
        }
        self.run_until(busy.after(rest));
        self.at_rest();
    }

    fn trouble(&mut self) {
        let i = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..40) {
            0..4 => self.crash(i),
            4..6 => (0..self.nodes.len()).for_each(|i| self.crash(i)),
            6..9 => self.nodes[i].paused = self.now.after(ms(self.rng.random_range(10..600))),
            9..13 => self.cut_some(),
            13..17 => self.cut.clear(),
            17 if self.unkind.wipe => self.wipe(i),
            // A refusal that is no proof: the process lives, and is merely unreachable.
            18 => self.suspect(i),
            19 => self.resign(i),
            _ => {}
        }
    }

    fn cut_some(&mut self) {
        let n = self.nodes.len();
        let (one_way, lonely) = (self.rng.random_bool(0.3), self.rng.random_range(0..n));
        for j in 0..n {
            if j == lonely || self.rng.random_bool(0.3) {
                continue;
            }
            self.cut.insert((lonely, j));
            if !one_way {
                self.cut.insert((j, lonely));
            }
        }
    }

    fn work(&mut self) {
        if self.rng.random_bool(0.6) {
            self.propose();
        }
        if self.unkind.changes && self.rng.random_bool(0.15) {
            self.change_voters();
        }
    }

    fn heal(&mut self, seed: u64) {
        self.calm = true;
        self.cut.clear();
        self.note(|| "healed".into());
        for i in 0..self.nodes.len() {
            self.nodes[i].paused = self.now;
            if self.nodes[i].quorum.is_none() || self.nodes[i].stopping {
                self.crash(i);
                self.start(i, seed);
            }
        }
    }

    /// Sends, or loses.
    fn send(&mut self, from: usize, to: usize, message: Message) {
        let cut = self.cut.contains(&(from, to)) || (!self.calm && self.rng.random_bool(self.unkind.drop));
        let down = self.nodes[to].quorum.is_none();
        if let Message::Ask { call, .. } = &message
            && (cut || down)
            && self.rng.random_bool(0.5)
        {
            let why = if down { Unreachable::Refused } else { Unreachable::Lost };
            let answer = Message::Answer { call: *call, outcome: Err(why) };
            self.after(ms(2), from, Event::Arrive { from: to, message: answer });
        }
        if cut || down {
            return;
        }
        let copies = 1 + u32::from(!self.calm && self.rng.random_bool(self.unkind.twice));
        for _ in 0..copies {
            let slow = !self.calm && self.rng.random_bool(self.unkind.slow);
            let delay = ms(if slow { self.rng.random_range(20..600) } else { self.rng.random_range(1..8) });
            self.after(delay, to, Event::Arrive { from, message: message.clone() });
        }
    }

    pub(super) fn index(&self, id: BrokerId) -> usize {
        usize::try_from(id.0 - 1).expect("ids count from 1")
    }

    pub(super) fn index_of(&self, to: &Address) -> usize {
        usize::from(to.port) - 1
    }
}

pub(super) fn address(id: BrokerId) -> Address {
    Address { host: "node".into(), port: u16::try_from(id.0).expect("small") }
}

pub(super) fn voter((id, directory): Replica) -> Voter {
    Voter { id, directory, address: address(id) }
}
