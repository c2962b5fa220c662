//! One run on the mesh: build what the plan says, let faults strike under load, heal, drain, read everything, and judge.

use crate::cluster::client::ClientId;
use crate::cluster::mesh::{Counts, Mesh, Step, Weather};
use crate::cluster::node::{Node, Spec};
use crate::cluster::pace::DiskPace;
use crate::disk::{Bites, Disk};
use crate::plan::{Fault, LOAD, Plan, ProducerKnobs};
use crate::workload::admin::AdminActor;
use crate::workload::producer::{Options as ProducerOptions, ProducerActor};
use crate::workload::reader::{Options as ReaderOptions, ReaderActor};
use crate::workload::{Book, PARTITIONS};
use klamm::store::{Identity, MetaProperties, Options as StoreOptions};
use klamm_core::broker::Config;
use klamm_core::broker::io::Level;
use klamm_core::client::io::Common;
use klamm_core::client::producer::{Acks, Config as ProducerConfig};
use klamm_core::config::{BrokerConfig, Durability, Endpoint, LogDir};
use klamm_core::id::{BrokerId, Uuid};
use klamm_core::rng;
use klamm_jepsen::check::{self, Report, Verdict as Judgement};
use klamm_jepsen::history::{History, Key};
use rand::Rng as _;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

const NODE: u32 = 1;
const SECOND: u64 = 1_000_000_000;
/// After the load everything must have settled within this.
const DRAIN_LIMIT: u64 = 400 * SECOND;
/// A healed node must show everything within this.
const READ_LIMIT: u64 = 60 * SECOND;
const CLUSTER: &str = "klamm-simulation-00000";
/// Below so many free bytes a simulated broker takes no more records.
const RESERVE_BYTES: u64 = 8_000;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What no run may show; empty if it is clean.
    pub violations: Vec<String>,
    /// The trace's hash.
    pub trace: u64,
    /// How many events the trace holds.
    pub events: u64,
    /// Virtual nanoseconds.
    pub virtual_ns: u64,
    /// Counts of the mesh.
    pub counts: Counts,
    /// Sends acknowledged under acks=all.
    pub acknowledged: u64,
    /// By fault: how often it was planned, and how often it bit.
    pub faults: BTreeMap<&'static str, (u64, u64)>,
    /// What clients did and saw.
    pub history: History,
    /// What the broker said to its operator.
    pub notes: Vec<(u64, u32, Level, String)>,
}

impl Outcome {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Faults that bit.
    #[must_use]
    pub fn bites(&self) -> u64 {
        self.faults.values().map(|(_, bit)| bit).sum()
    }

    /// Whether the run is of the size that a seed must have: 30 virtual seconds under load, 200 acknowledged records, two faults that bit.
    #[must_use]
    pub fn is_full_size(&self) -> bool {
        self.virtual_ns >= 30 * SECOND && self.acknowledged >= 200 && self.bites() >= 2
    }
}

/// Something the runner set for later.
#[derive(Clone, Copy, Debug)]
enum Alarm {
    Strike(usize),
    Start,
    Unslow,
    Empty,
}

struct Runner {
    mesh: Mesh,
    plan: Plan,
    book: Book,
    /// What producers that are not idempotent do: judged by the broker's own invariants only.
    side: Book,
    alarms: BTreeMap<u64, Alarm>,
    next_alarm: u64,
    start_is_set: bool,
    /// How long the node stays down when it goes down next.
    down: u64,
    /// A disk fault was injected, so that a halt is the right reaction; with true, the machine must be started anew.
    halt_is_due: Option<bool>,
    struck: BTreeMap<&'static str, (u64, u64)>,
    last_bites: Bites,
    violations: Vec<String>,
    healed: bool,
    /// The disk was made small, or will not read: what is offline since comes back with the next start.
    is_filled: bool,
    wants_restart: bool,
    rng: rng::Rng,
}

/// Runs a plan.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    let mut runner = Runner::new(plan);
    runner.load();
    runner.heal();
    runner.drain();
    runner.read_all();
    runner.judge()
}

impl Runner {
    fn new(plan: Plan) -> Self {
        let weather = Weather { delay: plan.delay, bytes: plan.codec, ..Default::default() };
        let mut mesh = Mesh::new(plan.seed, weather);
        let pace = DiskPace::new(rng::stream(plan.seed, "pace"));
        let disk = Disk::new(rng::stream(plan.seed, "disk"), Arc::new(pace.clone()));
        format(&disk, &pace);
        mesh.add_node(NODE, Node::new(spec(&plan), disk, pace));
        let mut runner = Self {
            mesh,
            book: Book::default(),
            side: Book::default(),
            alarms: BTreeMap::new(),
            next_alarm: 0,
            start_is_set: false,
            down: 0,
            halt_is_due: None,
            struck: BTreeMap::new(),
            last_bites: Bites::default(),
            violations: Vec::new(),
            healed: false,
            is_filled: false,
            wants_restart: false,
            rng: rng::stream(plan.seed, "runner"),
            plan,
        };
        runner.mesh.start(NODE);
        runner.add_clients();
        let faults = runner.plan.faults.clone();
        for (at, (time, _)) in faults.iter().enumerate() {
            runner.alarm(*time, Alarm::Strike(at));
        }
        runner
    }

    fn keys(&self) -> Vec<Key> {
        (0..self.plan.keys).map(Key).collect()
    }

    /// Keys of producers that are not idempotent.
    fn side_keys(&self) -> Vec<Key> {
        let first = self.plan.keys.next_multiple_of(PARTITIONS);
        (first..first + PARTITIONS).map(Key).collect()
    }

    fn add_clients(&mut self) {
        let topics = (0..=self.plan.keys.div_ceil(PARTITIONS)).map(|topic| format!("t{topic}")).collect();
        let configs = vec![("internal.segment.bytes".to_owned(), self.plan.segment_bytes.to_string())];
        let admin = AdminActor::new(Mesh::address(NODE), topics, configs, self.book.clone());
        self.mesh.add_client(ClientId(100), Box::new(admin));
        for (at, knobs) in self.plan.producers.clone().iter().enumerate() {
            let (keys, book) = if knobs.idempotent { (self.keys(), &self.book) } else { (self.side_keys(), &self.side) };
            let actor = ProducerActor::new(producer_options(knobs, keys), book.clone(), self.plan.seed ^ (at as u64 + 1));
            self.mesh.add_client(ClientId(200 + at as u32), Box::new(actor));
        }
        for at in 0..self.plan.readers {
            let max_wait = Duration::from_millis(self.rng.random_range(0..1_000));
            let think = Duration::from_millis(self.rng.random_range(1..300));
            self.add_reader(300 + at, max_wait, think, false);
        }
    }

    fn add_reader(&mut self, id: u32, max_wait: Duration, think: Duration, until_end: bool) {
        let options = ReaderOptions { from: Mesh::address(NODE), keys: self.keys(), think, max_wait, until_end, retention: false };
        self.mesh.add_client(ClientId(id), Box::new(ReaderActor::new(options, self.book.clone())));
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
        self.mesh.node(NODE).pace().slow_down(1.0);
        self.mesh.node(NODE).disk().faults(|faults| *faults = Default::default());
        if self.wants_restart && self.mesh.node(NODE).broker().is_some() {
            self.down = 100_000_000;
            self.mesh.stop(NODE);
        }
        self.book.borrow_mut().draining = true;
        self.side.borrow_mut().draining = true;
    }

    fn drain(&mut self) {
        let limit = LOAD + DRAIN_LIMIT;
        while self.open() > 0 && self.step(limit) {}
        if self.open() > 0 {
            self.violations.push("liveness: sends are still open long after everything was healed".to_owned());
        }
    }

    fn open(&self) -> u32 {
        self.book.borrow().open + self.side.borrow().open
    }

    fn read_all(&mut self) {
        let before = self.book.borrow().finished;
        self.add_reader(400, Duration::from_millis(100), Duration::from_millis(1), true);
        let limit = self.mesh.now() + READ_LIMIT;
        while self.book.borrow().finished == before && self.step(limit) {}
        if self.book.borrow().finished == before {
            let seen = self.book.borrow().last_seen.clone();
            self.violations.push(format!("liveness: a healed node does not show everything within a minute: {seen:?}"));
        }
    }

    /// Goes on by one event; false when nothing more comes before `limit`, or a violation ends the run.
    fn step(&mut self, limit: u64) -> bool {
        match self.mesh.step(limit) {
            Step::Idle if self.mesh.is_dead() => {
                self.violations.push(format!("nothing is to come any more: {}", self.mesh.node(NODE).describe()));
                return false;
            }
            Step::Idle => return false,
            Step::Event | Step::Opened(_) => {}
            Step::Due(number) => {
                if let Some(alarm) = self.alarms.remove(&number) {
                    self.ring(alarm);
                }
            }
            Step::Halted(_, why) => self.halted(&why),
        }
        if self.mesh.node(NODE).is_down() && !self.start_is_set {
            self.start_is_set = true;
            let at = self.mesh.now() + self.down.max(1_000_000);
            self.alarm(at, Alarm::Start);
        }
        self.count_bites();
        self.violations.is_empty()
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Strike(at) => self.strike(at),
            Alarm::Start => {
                self.start_is_set = false;
                if self.mesh.node(NODE).is_down() {
                    self.mesh.start(NODE);
                }
            }
            Alarm::Unslow => self.mesh.node(NODE).pace().slow_down(1.0),
            Alarm::Empty => {
                self.is_filled = false;
                self.mesh.node(NODE).disk().faults(|faults| faults.capacity = None);
            }
        }
    }

    /// The node stopped itself: as it was asked to, or since a disk failed.
    fn halted(&mut self, why: &str) {
        if why == "stopped" {
            return;
        }
        // Without room the metadata log takes nothing: the broker stops, as Kafka does, and starts again when the operator has made room.
        if self.is_filled && why.contains("metadata log") {
            self.down = 200_000_000;
            return;
        }
        // A fault that strikes while the node recovers, or closes, is seen by the store before the broker.
        if self.halt_is_due.is_none() && why.contains("injected") {
            self.down = 200_000_000;
            return;
        }
        let Some(anew) = self.halt_is_due.take() else {
            self.violations.push(format!("the node stopped itself without a disk fault: {why}"));
            return;
        };
        self.down = 200_000_000;
        if anew {
            self.mesh.power_off(NODE);
        }
    }

    // --- faults ---------------------------------------------------------------------------------------------------------------------------

    fn bit(&mut self, name: &'static str) {
        self.struck.entry(name).or_default().1 += 1;
    }

    fn strike(&mut self, at: usize) {
        let (_, fault) = self.plan.faults[at];
        let now = self.mesh.now();
        self.struck.entry(fault.name()).or_default().0 += 1;
        if self.healed {
            return;
        }
        let up = self.mesh.node(NODE).broker().is_some();
        let client = self.some_client();
        match fault {
            Fault::Kill { after, down } | Fault::PowerLoss { after, down } if up => {
                self.down = down;
                self.mesh.crash_after(NODE, after, matches!(fault, Fault::PowerLoss { .. }));
                self.bit(fault.name());
            }
            // While it recovers there are no effects to count: it dies at once.
            Fault::Kill { down, .. } | Fault::PowerLoss { down, .. } => {
                self.down = down;
                self.mesh.crash(NODE, matches!(fault, Fault::PowerLoss { .. }));
                self.bit(fault.name());
            }
            Fault::Restart { down } if up => {
                self.down = down;
                self.mesh.stop(NODE);
                self.bit(fault.name());
            }
            Fault::Restart { .. } => {}
            Fault::Pause(lasts) => {
                self.mesh.pause(NODE, now + lasts);
                self.bit(fault.name());
            }
            Fault::PauseClient(lasts) => {
                self.mesh.pause_client(client, now + lasts);
                self.bit(fault.name());
            }
            Fault::Cut(lasts) => {
                self.mesh.cut(client, NODE, now + lasts);
                self.bit(fault.name());
            }
            Fault::Reset(count) => {
                let before = self.mesh.counts().resets;
                (0..count).for_each(|_| self.mesh.reset_one());
                if self.mesh.counts().resets > before {
                    self.bit(fault.name());
                }
            }
            Fault::SlowDisk { factor, lasts } => {
                self.mesh.node(NODE).pace().slow_down(f64::from(factor));
                self.alarm(now + lasts, Alarm::Unslow);
                self.bit(fault.name());
            }
            Fault::FailSync => self.fail(true, |faults| faults.failing_syncs = 1),
            Fault::FailWrite => self.fail(false, |faults| faults.failing_writes = 1),
            Fault::FailReads(count) => {
                self.wants_restart = true;
                self.fail(false, |faults| faults.failing_reads = count);
            }
            Fault::FillDisk { left, lasts } => {
                let used = self.mesh.node(NODE).disk().used();
                self.mesh.node(NODE).disk().faults(|faults| faults.capacity = Some(used + left));
                self.is_filled = true;
                self.alarm(now + lasts, Alarm::Empty);
                self.bit(fault.name());
            }
            Fault::ClockJump(by) => {
                self.mesh.jump_clock(NODE, by);
                self.bit(fault.name());
            }
        }
    }

    fn fail(&mut self, anew: bool, change: impl FnOnce(&mut crate::disk::Faults)) {
        self.halt_is_due = Some(anew || self.halt_is_due == Some(true));
        self.mesh.node(NODE).disk().faults(change);
    }

    /// Injected I/O errors bite when the store runs into them.
    fn count_bites(&mut self) {
        let bites = self.mesh.node(NODE).disk().bites();
        let errors = bites.io_errors - self.last_bites.io_errors;
        if errors > 0 {
            self.struck.entry("io-error").or_default().1 += errors;
        }
        self.last_bites = bites;
    }

    fn some_client(&mut self) -> ClientId {
        let producers = self.plan.producers.len() as u32;
        let at = self.rng.random_range(0..producers + self.plan.readers);
        ClientId(if at < producers { 200 + at } else { 300 + at - producers })
    }

    // --- the end --------------------------------------------------------------------------------------------------------------------------

    fn judge(mut self) -> Outcome {
        let book = std::mem::take(&mut *self.book.borrow_mut());
        let history = book.recorder.finish();
        self.violations.extend(book.violations);
        if self.violations.is_empty() {
            let report = check::check(&history, &check::Options::default());
            self.violations.extend(words(&report));
        }
        let trace = *self.mesh.trace();
        Outcome {
            seed: self.plan.seed,
            violations: self.violations,
            trace: trace.digest(),
            events: trace.events(),
            virtual_ns: self.mesh.now(),
            counts: self.mesh.counts(),
            acknowledged: book.acknowledged,
            faults: self.struck,
            history,
            notes: self.mesh.notes().to_vec(),
        }
    }
}

fn words(report: &Report) -> Vec<String> {
    if report.verdict == Judgement::Undecided {
        return vec!["undecided: no send and no poll ended well".to_owned()];
    }
    let first = |kind: check::Kind| report.found[&kind].cases.first().map(|case| case.what.clone()).unwrap_or_default();
    report.bad().map(|kind| format!("{}: {}", kind.name(), first(kind))).collect()
}

fn spec(plan: &Plan) -> Spec {
    let durability = match plan.durability {
        Durability::Fsync => "fsync",
        Durability::PageCache => "page-cache",
    };
    let properties = [
        ("log.durability", durability),
        ("num.partitions", "2"),
        ("offsets.topic.num.partitions", "2"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let fixed = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let endpoint = Endpoint { name: "PLAINTEXT".to_owned(), host: format!("node-{NODE}"), port: 9092, security: 0 };
    let dir = LogDir { path: "data".to_owned(), id: Uuid([7; 16]) };
    let broker = BrokerConfig::new(BrokerId(NODE as i32), CLUSTER, vec![endpoint], vec![dir], fixed).expect("properties of ours");
    Spec {
        config: Config { tail_bytes_max: plan.tail_bytes, reserve_bytes: RESERVE_BYTES, ..Config::new(broker) },
        identity: Identity { cluster_id: Some(CLUSTER.to_owned()), node_id: NODE as i32 },
        options: StoreOptions { index_interval_bytes: plan.index_interval, open_files: plan.open_files, recoveries: 2 },
        seed: plan.seed,
    }
}

fn producer_options(knobs: &ProducerKnobs, keys: Vec<Key>) -> ProducerOptions {
    let common = Common { request_timeout: knobs.request_timeout, auto_create_topics: false, ..Common::new(vec![Mesh::address(NODE)]) };
    let acks = match knobs.acks {
        0 => Acks::None,
        1 => Acks::Leader,
        _ => Acks::All,
    };
    let config = ProducerConfig {
        acks,
        idempotent: knobs.idempotent,
        linger: knobs.linger,
        batch_size: knobs.batch_size,
        compression: knobs.compression,
        delivery_timeout: knobs.delivery_timeout,
        ..ProducerConfig::new(common)
    };
    ProducerOptions { config, processes: knobs.processes, keys, think: knobs.think, record_bytes: knobs.record_bytes }
}

/// Formats the disk, before time begins.
fn format(disk: &Disk, pace: &DiskPace) {
    let properties = MetaProperties { cluster_id: CLUSTER.to_owned(), node_id: NODE as i32, directory_id: Uuid([7; 16]) };
    let mut work = Box::pin(klamm::store::format(disk, &properties));
    let mut cx = Context::from_waker(Waker::noop());
    while work.as_mut().poll(&mut cx).is_pending() {
        pace.begun().into_iter().for_each(|(number, _)| pace.finish(number));
    }
}
