//! One run on the mesh: build what the plan says, let faults strike under load, heal, drain, read everything, and judge.

use crate::cluster::mesh::{Mesh, Step, Weather};
use crate::cluster::node::{Node, Spec};
use crate::cluster::pace::DiskPace;
use crate::disk::Disk;
use crate::outcome::{Ending, Outcome};
use crate::plan::{Fault, LOAD, Plan};
use crate::stage::{self, DRAIN_LIMIT, GROUPS_LIMIT, Ledger, NODE, READ_LIMIT};
use crate::workload::Book;
use klamm::store::Identity;
use klamm_core::broker::Config;
use klamm_core::config::{BrokerConfig, Endpoint, LogDir};
use klamm_core::id::BrokerId;
use klamm_core::rng;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

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
    ledger: Ledger,
    violations: Vec<String>,
    healed: bool,
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
    runner.settle_groups();
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
            ledger: Ledger::default(),
            violations: Vec::new(),
            healed: false,
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

    fn add_clients(&mut self) {
        let cast = stage::cast(&self.plan, &Mesh::address(NODE), &self.book, &self.side, &mut self.rng);
        cast.into_iter().for_each(|(id, actor)| self.mesh.add_client(id, actor));
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
        if self.ledger.wants_restart && self.mesh.node(NODE).broker().is_some() {
            self.down = 100_000_000;
            self.mesh.stop(NODE);
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
        let before = self.book.borrow().finished;
        let (id, actor) = stage::last_reader(&self.plan, &Mesh::address(NODE), &self.book);
        self.mesh.add_client(id, actor);
        let limit = self.mesh.now() + READ_LIMIT;
        while self.book.borrow().finished == before && self.step(limit) {}
        if self.book.borrow().finished == before {
            let seen = self.book.borrow().last_seen.clone();
            self.violations.push(format!("liveness: a healed node does not show everything within a minute: {seen:?}"));
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
        self.ledger.count(self.mesh.node(NODE).disk().bites());
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
                self.ledger.is_filled = false;
                self.mesh.node(NODE).disk().faults(|faults| faults.capacity = None);
            }
        }
    }

    /// The node stopped itself: as it was asked to, or since a disk failed.
    fn halted(&mut self, why: &str) {
        if why == "stopped" {
            return;
        }
        match self.ledger.halted(why, self.mesh.node(NODE).disk().bites()) {
            Err(violation) => self.violations.push(violation),
            Ok(power) => {
                self.down = stage::HALTED_DOWN;
                if power {
                    self.mesh.power_off(NODE);
                }
            }
        }
    }

    // --- faults ---------------------------------------------------------------------------------------------------------------------------

    fn strike(&mut self, at: usize) {
        let (_, fault) = self.plan.faults[at];
        let now = self.mesh.now();
        self.ledger.planned(fault.name());
        if self.healed {
            return;
        }
        let up = self.mesh.node(NODE).broker().is_some();
        let client = stage::some_client(&self.plan, &mut self.rng);
        match fault {
            Fault::Kill { after, down } | Fault::PowerLoss { after, down } if up => {
                self.down = down;
                self.mesh.crash_after(NODE, after, matches!(fault, Fault::PowerLoss { .. }));
                self.ledger.bit(fault.name());
            }
            // While it recovers there are no effects to count: it dies at once.
            Fault::Kill { down, .. } | Fault::PowerLoss { down, .. } => {
                self.down = down;
                self.mesh.crash(NODE, matches!(fault, Fault::PowerLoss { .. }));
                self.ledger.bit(fault.name());
            }
            Fault::Restart { down } if up => {
                self.down = down;
                self.mesh.stop(NODE);
                self.ledger.bit(fault.name());
            }
            Fault::Restart { .. } => {}
            Fault::Pause(lasts) => {
                self.mesh.pause(NODE, now + lasts);
                self.ledger.bit(fault.name());
            }
            Fault::PauseClient(lasts) => {
                self.mesh.pause_client(client, now + lasts);
                self.ledger.bit(fault.name());
            }
            Fault::Cut(lasts) => {
                self.mesh.cut(client, NODE, now + lasts);
                self.ledger.bit(fault.name());
            }
            Fault::Reset(count) => {
                let before = self.mesh.counts().resets;
                (0..count).for_each(|_| self.mesh.reset_one());
                if self.mesh.counts().resets > before {
                    self.ledger.bit(fault.name());
                }
            }
            Fault::SlowDisk { factor, lasts } => {
                self.mesh.node(NODE).pace().slow_down(f64::from(factor));
                self.alarm(now + lasts, Alarm::Unslow);
                self.ledger.bit(fault.name());
            }
            Fault::FailSync => self.fail(true, |faults| faults.failing_syncs = 1),
            Fault::FailWrite => self.fail(false, |faults| faults.failing_writes = 1),
            Fault::FailReads(count) => {
                self.ledger.wants_restart = true;
                self.fail(false, |faults| faults.failing_reads = count);
            }
            Fault::FillDisk { left, lasts } => {
                let used = self.mesh.node(NODE).disk().used();
                self.mesh.node(NODE).disk().faults(|faults| faults.capacity = Some(used + left));
                self.ledger.is_filled = true;
                self.alarm(now + lasts, Alarm::Empty);
                self.ledger.bit(fault.name());
            }
            Fault::ClockJump(by) => {
                self.mesh.jump_clock(NODE, by);
                self.ledger.bit(fault.name());
            }
        }
    }

    fn fail(&mut self, anew: bool, change: impl FnOnce(&mut crate::disk::Faults)) {
        self.ledger.disk_fault(anew);
        self.mesh.node(NODE).disk().faults(change);
    }

    // --- the end --------------------------------------------------------------------------------------------------------------------------

    fn judge(self) -> Outcome {
        let book = std::mem::take(&mut *self.book.borrow_mut());
        Outcome::of(Ending {
            seed: self.plan.seed,
            violations: self.violations,
            book,
            trace: *self.mesh.trace(),
            virtual_ns: self.mesh.now(),
            counts: self.mesh.counts(),
            faults: self.ledger.into_struck(),
            notes: self.mesh.notes().to_vec(),
        })
    }
}

fn spec(plan: &Plan) -> Spec {
    let fixed = stage::properties(plan).map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let endpoint = Endpoint { name: "PLAINTEXT".to_owned(), host: format!("node-{NODE}"), port: 9092, security: 0 };
    let dir = LogDir { path: "data".to_owned(), id: stage::DIRECTORY };
    let broker = BrokerConfig::new(BrokerId(NODE as i32), stage::CLUSTER, vec![endpoint], vec![dir], fixed).expect("properties of ours");
    Spec {
        config: Config { tail_bytes_max: plan.tail_bytes, reserve_bytes: stage::RESERVE_BYTES, ..Config::new(broker) },
        identity: Identity { cluster_id: Some(stage::CLUSTER.to_owned()), node_id: NODE as i32 },
        options: stage::store_options(plan),
        seed: plan.seed,
    }
}

/// Formats the disk, before time begins.
fn format(disk: &Disk, pace: &DiskPace) {
    let properties = stage::meta();
    let mut work = Box::pin(klamm::store::format(disk, &properties));
    let mut cx = Context::from_waker(Waker::noop());
    while work.as_mut().poll(&mut cx).is_pending() {
        pace.begun().into_iter().for_each(|(number, _)| pace.finish(number));
    }
}
