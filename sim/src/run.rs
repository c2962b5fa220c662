//! One run on the mesh: build what the plan says, let faults strike under load, heal, drain, read everything, and judge.

use crate::cluster::mesh::{Mesh, Step, Weather};
use crate::cluster::node::{Node, Spec};
use crate::cluster::pace::DiskPace;
use crate::cluster::swap::Swaps;
use crate::disk::Disk;
use crate::outcome::{Ending, Outcome};
use crate::plan::{Fault, LOAD, Plan};
use crate::stage::{self, DRAIN_LIMIT, GROUPS_LIMIT, Ledger, NODE, READ_LIMIT};
use crate::workload::Book;
use klamm_core::broker::io::Level;
use klamm_core::broker::{Broker, Config};
use klamm_core::client::io::Address;
use klamm_core::config::{BrokerConfig, Durability, Endpoint, LogDir};
use klamm_core::id::BrokerId;
use klamm_core::rng;
use rand::Rng as _;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

/// Something the runner set for later.
#[derive(Clone, Copy, Debug)]
enum Alarm {
    Strike(usize),
    Start(u32),
    Unslow(u32),
    Empty(u32),
}

struct Runner {
    mesh: Mesh,
    plan: Plan,
    book: Book,
    /// What producers that are not idempotent do: judged by the broker's own invariants only.
    side: Book,
    alarms: BTreeMap<u64, Alarm>,
    next_alarm: u64,
    /// By node.
    stations: BTreeMap<u32, Station>,
    violations: Vec<String>,
    healed: bool,
    rng: rng::Rng,
    /// Deaths in swaps that were counted.
    swaps: u64,
}

/// What the runner keeps of one node.
#[derive(Default)]
struct Station {
    start_is_set: bool,
    /// How long the node stays down when it goes down next.
    down: u64,
    ledger: Ledger,
}

/// Runs a plan.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    let mut runner = Runner::new(plan);
    runner.load();
    runner.heal();
    runner.drain();
    runner.read_all();
    runner.settle_groups();
    runner.judge()
}

impl Runner {
    fn new(plan: Plan) -> Self {
        let weather = Weather { delay: plan.delay, bytes: plan.codec, ..Default::default() };
        let mut mesh = Mesh::new(plan.seed, weather);
        let mut stations = BTreeMap::new();
        for node in plan.nodes() {
            let pace = DiskPace::new(rng::stream(plan.seed, &stage::of_node("pace", node)));
            let disk = Disk::new(rng::stream(plan.seed, &stage::of_node("disk", node)), Arc::new(pace.clone()));
            format(node, &disk, &pace);
            mesh.add_node(node, Node::new(spec(&plan, node), disk, pace));
            stations.insert(node, Station::default());
        }
        let mut runner = Self {
            mesh,
            book: Book::default(),
            side: Book::default(),
            alarms: BTreeMap::new(),
            next_alarm: 0,
            stations,
            violations: Vec::new(),
            healed: false,
            rng: rng::stream(plan.seed, "runner"),
            swaps: 0,
            plan,
        };
        if runner.plan.metadata.is_some_and(|metadata| metadata.deadly) {
            let power = runner.plan.durability == Durability::Fsync;
            runner.mesh.die_in_swaps(Some(Swaps::new(rng::stream(runner.plan.seed, "swaps"), power)));
        }
        runner.plan.nodes().for_each(|node| runner.mesh.start(node));
        runner.add_clients();
        let faults = runner.plan.faults.clone();
        for (at, (time, _)) in faults.iter().enumerate() {
            runner.alarm(*time, Alarm::Strike(at));
        }
        runner
    }

    fn add_clients(&mut self) {
        let cast = stage::cast(&self.plan, &self.addresses(), &self.book, &self.side, &mut self.rng);
        cast.into_iter().for_each(|(id, actor)| self.mesh.add_client(id, actor));
    }

    /// Where clients find the nodes.
    fn addresses(&self) -> Vec<Address> {
        self.plan.nodes().map(Mesh::address).collect()
    }

    fn alarm(&mut self, at: u64, alarm: Alarm) {
        self.alarms.insert(self.next_alarm, alarm);
        self.mesh.call_at(at, self.next_alarm);
        self.next_alarm += 1;
    }

    // --- phases ---------------------------------------------------------------------------------------------------------------------------

    fn load(&mut self) {
        while self.mesh.now() < LOAD && self.step(LOAD) {}
    }

    fn heal(&mut self) {
        self.healed = true;
        self.mesh.die_in_swaps(None);
        for node in self.plan.nodes() {
            self.mesh.node(node).pace().slow_down(1.0);
            self.mesh.node(node).disk().faults(|faults| *faults = Default::default());
            let station = self.station(node);
            station.ledger.is_filled = false;
            if station.ledger.wants_restart && self.mesh.node(node).broker().is_some() {
                self.station(node).down = 100_000_000;
                self.mesh.stop(node);
            }
        }
        let until = stage::calm(self.mesh.now(), [&self.book, &self.side]);
        while self.step(until) {}
    }

    fn drain(&mut self) {
        stage::drain([&self.book, &self.side]);
        let limit = self.mesh.now() + DRAIN_LIMIT;
        while self.open() > 0 && self.step(limit) {}
        if self.open() > 0 {
            self.violations.push("liveness: sends are still open long after everything was healed".to_owned());
        }
    }

    fn open(&self) -> u32 {
        self.book.borrow().open + self.side.borrow().open
    }

    fn read_all(&mut self) {
        let all = self.book.borrow().finished + self.plan.last_readers();
        for (id, actor) in stage::last_readers(&self.plan, &self.addresses(), &self.book) {
            self.mesh.add_client(id, actor);
        }
        let limit = self.mesh.now() + READ_LIMIT;
        while self.book.borrow().finished < all && self.step(limit) {}
        if self.book.borrow().finished < all {
            let seen = self.book.borrow().last_seen.clone();
            self.violations.push(format!("liveness: a healed cluster does not show everything within a minute: {seen:?}"));
        }
    }

    fn settle_groups(&mut self) {
        let Some((id, actor)) = stage::watch(&self.plan, &Mesh::address(NODE), &self.book) else { return };
        self.mesh.add_client(id, actor);
        let limit = self.mesh.now() + GROUPS_LIMIT;
        while !self.book.borrow().groups_settled && self.step(limit) {}
        self.violations.extend(stage::unsettled(&self.book));
    }

    /// Goes on by one event; false when nothing more comes before `limit`, or a violation ends the run.
    fn step(&mut self, limit: u64) -> bool {
        match self.mesh.step(limit) {
            Step::Idle if self.mesh.is_dead() => {
                let nodes: Vec<String> = self.plan.nodes().map(|node| self.mesh.node(node).describe()).collect();
                self.violations.push(format!("nothing is to come any more: {nodes:?}"));
                return false;
            }
            Step::Idle => return false,
            Step::Event | Step::Opened(_) => {}
            Step::Due(number) => {
                if let Some(alarm) = self.alarms.remove(&number) {
                    self.ring(alarm);
                }
            }
            Step::Halted(node, why) => self.halted(node, &why),
        }
        self.look_at_nodes();
        self.violations.is_empty()
    }

    fn station(&mut self, node: u32) -> &mut Station {
        self.stations.get_mut(&node).expect("a node of this run")
    }

    /// Who is down starts again in time; what bit is counted.
    fn look_at_nodes(&mut self) {
        let now = self.mesh.now();
        for _ in std::mem::replace(&mut self.swaps, self.mesh.counts().swaps)..self.swaps {
            let ledger = &mut self.station(NODE).ledger;
            ledger.planned("swap");
            ledger.bit("swap");
        }
        for node in self.plan.nodes() {
            let (is_down, bites) = (self.mesh.node(node).is_down(), self.mesh.node(node).disk().bites());
            let station = self.station(node);
            station.ledger.count(bites);
            if is_down && !std::mem::replace(&mut station.start_is_set, is_down) {
                let at = now + station.down.max(1_000_000);
                self.alarm(at, Alarm::Start(node));
            }
        }
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Strike(at) => self.strike(at),
            Alarm::Start(node) => {
                self.station(node).start_is_set = false;
                if self.mesh.node(node).is_down() {
                    self.mesh.start(node);
                }
            }
            Alarm::Unslow(node) => self.mesh.node(node).pace().slow_down(1.0),
            Alarm::Empty(node) => {
                self.station(node).ledger.is_filled = false;
                self.mesh.node(node).disk().faults(|faults| faults.capacity = None);
            }
        }
    }

    /// A node stopped itself: as it was asked to, or since a disk failed.
    fn halted(&mut self, node: u32, why: &str) {
        if why == "stopped" {
            return;
        }
        let bites = self.mesh.node(node).disk().bites();
        match self.station(node).ledger.halted(why, bites) {
            Err(violation) => self.violations.push(format!("node {node}: {violation}")),
            Ok(power) => {
                self.station(node).down = stage::HALTED_DOWN;
                if power {
                    self.mesh.power_off(node);
                }
            }
        }
    }

    // --- faults ---------------------------------------------------------------------------------------------------------------------------

    fn strike(&mut self, at: usize) {
        let (_, fault) = self.plan.faults[at];
        let now = self.mesh.now();
        let node = if let Fault::Rot { node, .. } = fault { node } else { self.some_node() };
        self.station(node).ledger.planned(fault.name());
        if self.healed {
            return;
        }
        let up = self.mesh.node(node).broker().is_some();
        let client = stage::some_client(&self.plan, &mut self.rng);
        match fault {
            Fault::Kill { after, down } | Fault::PowerLoss { after, down } if up => {
                self.station(node).down = down;
                self.mesh.crash_after(node, after, matches!(fault, Fault::PowerLoss { .. }));
                self.station(node).ledger.bit(fault.name());
            }
            // While it recovers there are no effects to count: it dies at once.
            Fault::Kill { down, .. } | Fault::PowerLoss { down, .. } => {
                self.station(node).down = down;
                self.mesh.crash(node, matches!(fault, Fault::PowerLoss { .. }));
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Restart { down } if up => {
                self.station(node).down = down;
                self.mesh.stop(node);
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Restart { .. } => {}
            Fault::Pause(lasts) => {
                self.mesh.pause(node, now + lasts);
                self.station(node).ledger.bit(fault.name());
            }
            Fault::PauseClient(lasts) => {
                self.mesh.pause_client(client, now + lasts);
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Cut(lasts) => {
                match self.some_other(node) {
                    Some(other) => self.mesh.cut_nodes(node, other, now + lasts),
                    None => self.mesh.cut(client, node, now + lasts),
                }
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Reset(count) => {
                let before = self.mesh.counts().resets;
                (0..count).for_each(|_| self.mesh.reset_one());
                if self.mesh.counts().resets > before {
                    self.station(node).ledger.bit(fault.name());
                }
            }
            Fault::SlowDisk { factor, lasts } => {
                self.mesh.node(node).pace().slow_down(f64::from(factor));
                self.alarm(now + lasts, Alarm::Unslow(node));
                self.station(node).ledger.bit(fault.name());
            }
            Fault::FailSync => self.fail(node, true, |faults| faults.failing_syncs = 1),
            Fault::FailWrite => self.fail(node, false, |faults| faults.failing_writes = 1),
            Fault::FailReads(count) => {
                self.station(node).ledger.wants_restart = true;
                self.fail(node, false, |faults| faults.failing_reads = count);
            }
            Fault::FillDisk { left, lasts } => {
                let used = self.mesh.node(node).disk().used();
                self.mesh.node(node).disk().faults(|faults| faults.capacity = Some(used + left));
                self.station(node).ledger.is_filled = true;
                self.alarm(now + lasts, Alarm::Empty(node));
                self.station(node).ledger.bit(fault.name());
            }
            Fault::Rot { pick, .. } => {
                if self.rot(node, pick) {
                    self.station(node).ledger.bit(fault.name());
                }
            }
            Fault::ClockJump(by) => {
                self.mesh.jump_clock(node, by);
                self.station(node).ledger.bit(fault.name());
            }
        }
    }

    /// Flips a bit of an old segment of a topic under test. The newest three are spared: what may lie behind the recovery point that survives a
    /// crash is cut as a torn tail, and nobody can tell the two apart.
    fn rot(&self, node: u32, pick: u64) -> bool {
        let disk = self.mesh.node(node).disk();
        let mut old: Vec<(String, u64)> = Vec::new();
        let mut segments: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
        for (path, len) in disk.files() {
            let Some((folder, _)) = path.split_once('/').filter(|(_, name)| name.ends_with(".log")) else { continue };
            if !folder.starts_with("__") {
                segments.entry(folder.to_owned()).or_default().push((path, len));
            }
        }
        for (folder, mut files) in segments {
            if self.is_held_elsewhere(&folder, node) {
                files.truncate(files.len().saturating_sub(3));
                old.extend(files.into_iter().filter(|(_, len)| *len > 0));
            }
        }
        if old.is_empty() {
            return false;
        }
        let (path, len) = &old[(pick % old.len() as u64) as usize];
        disk.rot(path, (pick >> 16) % len);
        true
    }

    /// Whether every broker that is up knows of another holder of all that is committed: in ISR or ELR.
    fn is_held_elsewhere(&self, folder: &str, node: u32) -> bool {
        let mut up = self.plan.nodes().filter_map(|id| self.mesh.node(id).broker()).peekable();
        up.peek().is_some() && up.all(|broker| broker.holders(folder).iter().any(|holder| holder.0 != node as i32))
    }

    /// A node, by chance.
    fn some_node(&mut self) -> u32 {
        let nodes = self.plan.nodes;
        if nodes == 1 { NODE } else { self.rng.random_range(1..=nodes) }
    }

    /// In a cluster one cut in two is between nodes.
    fn some_other(&mut self, node: u32) -> Option<u32> {
        if self.plan.nodes == 1 || self.rng.random_bool(0.5) {
            return None;
        }
        Some(self.some_node()).filter(|other| *other != node)
    }

    fn fail(&mut self, node: u32, anew: bool, change: impl FnOnce(&mut crate::disk::Faults)) {
        self.station(node).ledger.disk_fault(anew);
        self.mesh.node(node).disk().faults(change);
    }

    // --- the end --------------------------------------------------------------------------------------------------------------------------

    fn judge(self) -> Outcome {
        let mut notes = self.mesh.notes().to_vec();
        // For `--notes` of a run that went wrong: where the nodes stand.
        for node in self.plan.nodes().filter(|_| !self.violations.is_empty()) {
            let summary = self.mesh.node(node).broker().map_or_else(|| self.mesh.node(node).describe(), Broker::summary);
            notes.push((self.mesh.now(), node, Level::Info, summary));
        }
        let book = std::mem::take(&mut *self.book.borrow_mut());
        Outcome::of(Ending {
            seed: self.plan.seed,
            violations: self.violations,
            book,
            trace: *self.mesh.trace(),
            virtual_ns: self.mesh.now(),
            counts: self.mesh.counts(),
            faults: stage::struck(self.stations.into_values().map(|station| station.ledger)),
            notes,
        })
    }
}

fn spec(plan: &Plan, node: u32) -> Spec {
    let fixed = stage::properties(plan, node).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let endpoint = |name: &str, port| Endpoint { name: name.to_owned(), host: format!("node-{node}"), port, security: 0 };
    let dir = LogDir { path: "data".to_owned(), id: stage::directory(node) };
    let (id, clients) = (BrokerId(node as i32), vec![endpoint("PLAINTEXT", 9092)]);
    let mut broker = BrokerConfig::new(id, stage::CLUSTER, clients, vec![dir], fixed).expect("properties of ours");
    if plan.nodes > 1 {
        broker.controllers = vec![endpoint("CONTROLLER", 9093)];
    }
    Spec {
        config: Config { tail_bytes_max: plan.tail_bytes, reserve_bytes: stage::RESERVE_BYTES, ..Config::new(broker) },
        identity: stage::owner(node),
        options: stage::store_options(plan),
        seed: stage::seed_of(plan, node),
    }
}

/// Formats a disk, before time begins.
fn format(node: u32, disk: &Disk, pace: &DiskPace) {
    let properties = stage::meta(node);
    let mut work = Box::pin(klamm::store::format(disk, &properties));
    let mut cx = Context::from_waker(Waker::noop());
    while work.as_mut().poll(&mut cx).is_pending() {
        pace.begun().into_iter().for_each(|(number, _)| pace.finish(number));
    }
}
