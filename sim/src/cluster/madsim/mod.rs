//! The second tier: a whole node (driver, connections, listeners, store task) and the client driver on madsim's runtime, network and time, over
//! the same faulty disk, plan, clients and checks as the mesh.
//!
//! Decides when which fault of the plan strikes and what follows from it; what the node does is the node's. One thread for each run.

mod guest;
mod host;
mod notes;
mod pace;

use super::client::ClientId;
use super::mesh::Counts;
use crate::disk::Disk;
use crate::outcome::{Ending, Outcome};
use crate::plan::{Fault, LOAD, Plan};
use crate::stage::{self, DRAIN_LIMIT, GROUPS_LIMIT, Ledger, READ_LIMIT};
use crate::trace::Trace;
use crate::workload::Book;
use host::{Host, News};
use klamm::clock::Clock;
use klamm::net;
use klamm_core::client::io::Address;
use klamm_core::rng::{self, Rng};
use klamm_core::time::Instant;
use madsim::net::NetSim;
use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId;
use pace::Pace;
use rand::Rng as _;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// The node's address.
const NODE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const PORT: u16 = 9092;
/// How often the runner looks at what the clients have reached.
const LOOK: u64 = 50_000_000;
/// Between a kill and the next start, for what is left of the killed life to go.
const GONE: u64 = 1_000_000;
/// A crash in the midst of work comes with one of so many disk operations.
const CRASH_WITHIN: u64 = 50;
/// A reset strikes within so many bytes, of all that are sent.
const RESET_WITHIN: u64 = 20_000;
/// Of each message, this part is lost once and sent again.
const PACKET_LOSS: f64 = 0.0005;

/// The trace, which clients, disk and runner write together.
pub(super) type SharedTrace = Arc<Mutex<Log>>;

/// The trace, and counts of what is in it.
#[derive(Debug, Default)]
pub(super) struct Log {
    trace: Trace,
    counts: Counts,
}

/// Runs a plan. The calling thread should be a fresh one: what libraries keep in it would leak into the run.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    let mut config = madsim::Config::default();
    config.net.send_latency = Duration::from_nanos(plan.delay.0)..Duration::from_nanos(plan.delay.1);
    config.net.packet_loss_rate = PACKET_LOSS;
    let runtime = Runtime::with_seed_and_config(plan.seed, config);
    let notes = notes::Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let outcome = runtime.block_on(async move {
        let mut runner = Runner::new(plan, &notes).await;
        runner.load().await;
        runner.heal();
        runner.calm().await;
        runner.drain().await;
        runner.read_all().await;
        runner.settle_groups().await;
        runner.judge(&notes)
    });
    net::stop_tearing();
    outcome
}

/// Something the runner set for later.
#[derive(Clone, Copy, Debug)]
enum Alarm {
    Strike(usize),
    Start,
    Resume(NodeId),
    Mend(NodeId),
    Unslow,
    Empty,
}

struct Runner {
    plan: Plan,
    madsim: Handle,
    clock: Clock,
    log: SharedTrace,
    host: Arc<Host>,
    node: NodeId,
    /// The node's life that is under way.
    alive: Option<u64>,
    news: mpsc::UnboundedReceiver<News>,
    /// How the node goes down when the disk operation has come that was chosen for it.
    crash: Option<bool>,
    down: u64,
    clients: BTreeMap<ClientId, NodeId>,
    book: Book,
    /// What producers that are not idempotent do: judged by the broker's own invariants only.
    side: Book,
    alarms: BTreeMap<(u64, u64), Alarm>,
    next_alarm: u64,
    ledger: Ledger,
    /// Connections that were reset.
    torn: u64,
    violations: Vec<String>,
    healed: bool,
    rng: Rng,
}

impl Runner {
    async fn new(plan: Plan, notes: &notes::Notes) -> Self {
        let (clock, log) = (Clock::new(), SharedTrace::default());
        notes.begin(clock.clone());
        let (tell, news) = mpsc::unbounded_channel();
        let pace = Arc::new(Pace::new(rng::stream(plan.seed, "pace"), clock.clone(), log.clone(), tell.clone()));
        let disk = Disk::new(rng::stream(plan.seed, "disk"), pace.clone());
        klamm::store::format(&disk, &stage::meta(stage::NODE)).await.expect("an empty disk without faults");
        let host = Arc::new(Host::new(&plan, disk, pace, tell));
        let madsim = Handle::current();
        let node = host::build(&madsim, &host);
        let mut runner = Self {
            madsim,
            clock,
            log,
            host,
            node,
            alive: Some(1),
            news,
            crash: None,
            down: 0,
            clients: BTreeMap::new(),
            book: Book::default(),
            side: Book::default(),
            alarms: BTreeMap::new(),
            next_alarm: 0,
            ledger: Ledger::default(),
            torn: 0,
            violations: Vec::new(),
            healed: false,
            rng: rng::stream(plan.seed, "runner"),
            plan,
        };
        runner.note("start", 1);
        let cast = stage::cast(&runner.plan, &[address()], &runner.book, &runner.side, &mut runner.rng);
        cast.into_iter().for_each(|(id, actor)| runner.add_client(id, actor));
        for at in 0..runner.plan.faults.len() {
            runner.alarm(runner.plan.faults[at].0, Alarm::Strike(at));
        }
        runner
    }

    fn add_client(&mut self, id: ClientId, actor: stage::Player) {
        let node = guest::build(&self.madsim, id, actor, &self.clock, &self.log);
        self.clients.insert(id, node);
    }

    fn now(&self) -> u64 {
        self.clock.now().at.0
    }

    fn alarm(&mut self, at: u64, alarm: Alarm) {
        self.alarms.insert((at, self.next_alarm), alarm);
        self.next_alarm += 1;
    }

    fn note(&self, kind: &str, what: u64) {
        self.log.lock().expect("nothing panics holding it").trace.note(self.now(), stage::NODE, kind, &what);
    }

    // --- phases ---------------------------------------------------------------------------------------------------------------------------

    async fn load(&mut self) {
        while self.step(LOAD).await {}
    }

    fn heal(&mut self) {
        self.healed = true;
        self.crash = None;
        self.host.pace().calm();
        self.host.disk().faults(|faults| *faults = Default::default());
        self.torn = net::stop_tearing();
        (0..self.torn).for_each(|_| self.ledger.bit("reset"));
        let held = std::mem::take(&mut self.alarms);
        for (at, alarm) in held {
            match alarm {
                Alarm::Resume(_) | Alarm::Mend(_) => self.ring(alarm),
                Alarm::Start => drop(self.alarms.insert(at, alarm)),
                Alarm::Strike(_) | Alarm::Unslow | Alarm::Empty => {}
            }
        }
        if let Some(life) = self.alive.filter(|_| self.ledger.wants_restart) {
            self.down = stage::HALTED_DOWN;
            self.host.stop(life);
        }
    }

    async fn calm(&mut self) {
        let until = stage::calm(self.now(), [&self.book, &self.side]);
        while self.step(until).await {}
    }

    async fn drain(&mut self) {
        stage::drain([&self.book, &self.side]);
        let limit = self.now() + DRAIN_LIMIT;
        while self.open() > 0 && self.step(limit).await {}
        if self.open() > 0 {
            self.violations.push("liveness: sends are still open long after everything was healed".to_owned());
        }
    }

    fn open(&self) -> u32 {
        self.book.borrow().open + self.side.borrow().open
    }

    async fn read_all(&mut self) {
        let before = self.book.borrow().finished;
        for (id, actor) in stage::last_readers(&self.plan, &[address()], &self.book) {
            self.add_client(id, actor);
        }
        let limit = self.now() + READ_LIMIT;
        while self.book.borrow().finished == before && self.step(limit).await {}
        if self.book.borrow().finished == before {
            let seen = self.book.borrow().last_seen.clone();
            self.violations.push(format!("liveness: a healed node does not show everything within a minute: {seen:?}"));
        }
    }

    async fn settle_groups(&mut self) {
        let Some((id, actor)) = stage::watch(&self.plan, &address(), &self.book) else { return };
        self.add_client(id, actor);
        let limit = self.now() + GROUPS_LIMIT;
        while !self.book.borrow().groups_settled && self.step(limit).await {}
        self.violations.extend(stage::unsettled(&self.book));
    }

    /// Goes on until something has happened; false when `limit` is reached, or a violation ends the run.
    async fn step(&mut self, limit: u64) -> bool {
        let due = self.alarms.first_key_value().map_or(limit, |((at, _), _)| *at);
        let until = due.min(limit).min(self.now() + LOOK);
        tokio::select! {
            biased;
            Some(news) = self.news.recv() => self.hear(news),
            () = self.clock.sleep_until(Instant(until)) => {}
        }
        let now = self.now();
        while let Some(entry) = self.alarms.first_entry()
            && entry.key().0 <= now
        {
            let alarm = entry.remove();
            self.ring(alarm);
        }
        self.ledger.count(self.host.disk().bites());
        self.violations.is_empty() && now < limit
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Strike(at) => self.strike(at),
            Alarm::Start => self.start(),
            Alarm::Resume(node) => self.madsim.resume(node),
            Alarm::Mend(client) => {
                NetSim::current().unclog_link(client, self.node);
                NetSim::current().unclog_link(self.node, client);
            }
            Alarm::Unslow => self.host.pace().slow_down(1.0),
            Alarm::Empty => {
                self.ledger.is_filled = false;
                self.host.disk().faults(|faults| faults.capacity = None);
            }
        }
    }

    // --- the node's lives -----------------------------------------------------------------------------------------------------------------

    fn start(&mut self) {
        assert!(self.alive.is_none(), "a node that is up is not started");
        let life = self.host.next_life();
        self.alive = Some(life);
        self.note("start", life);
        self.madsim.restart(self.node);
    }

    /// Ends the node's life, if it has not ended already.
    fn go_down(&mut self, power: bool) {
        if self.alive.take().is_none() {
            return;
        }
        self.crash = None;
        self.host.pace().disarm();
        // Closes its sockets too, of whichever death it died.
        self.madsim.kill(self.node);
        self.host.crash(power);
        self.note("down", u64::from(power));
        let at = self.now() + self.down.max(GONE);
        self.alarm(at, Alarm::Start);
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Crashed => {
                let power = self.crash.take().expect("who arms the pace says how");
                self.go_down(power);
            }
            News::Ended { life, .. } if self.alive != Some(life) => {}
            News::Ended { outcome: Ok(()), .. } => self.go_down(false),
            News::Ended { outcome: Err(why), .. } => match self.ledger.halted(&why, self.host.disk().bites()) {
                Ok(power) => {
                    self.down = stage::HALTED_DOWN;
                    self.go_down(power);
                }
                Err(violation) => self.violations.push(violation),
            },
        }
    }

    // --- faults ---------------------------------------------------------------------------------------------------------------------------

    fn strike(&mut self, at: usize) {
        let (_, fault) = self.plan.faults[at];
        self.ledger.planned(fault.name());
        let client = self.clients[&stage::some_client(&self.plan, &mut self.rng)];
        if self.act(fault, client) {
            self.ledger.bit(fault.name());
        }
    }

    /// Lets a fault strike; says whether it is known by now to bite.
    fn act(&mut self, fault: Fault, client: NodeId) -> bool {
        let now = self.now();
        let disk = self.host.disk();
        match fault {
            Fault::Kill { after, down } | Fault::PowerLoss { after, down } => {
                if self.alive.is_none() {
                    return false;
                }
                self.down = down;
                self.crash = Some(matches!(fault, Fault::PowerLoss { .. }));
                self.host.pace().arm(after % CRASH_WITHIN, self.node);
            }
            Fault::Restart { down } => {
                let Some(life) = self.alive else { return false };
                self.down = down;
                self.host.stop(life);
            }
            Fault::Pause(lasts) => {
                self.madsim.pause(self.node);
                self.alarm(now + lasts, Alarm::Resume(self.node));
            }
            Fault::PauseClient(lasts) => {
                self.madsim.pause(client);
                self.alarm(now + lasts, Alarm::Resume(client));
            }
            Fault::Cut(lasts) => {
                NetSim::current().clog_link(client, self.node);
                NetSim::current().clog_link(self.node, client);
                self.alarm(now + lasts, Alarm::Mend(client));
            }
            Fault::Reset(count) => {
                (0..count).for_each(|_| net::tear_after(self.rng.random_range(0..RESET_WITHIN)));
                return false;
            }
            Fault::SlowDisk { factor, lasts } => {
                self.host.pace().slow_down(f64::from(factor));
                self.alarm(now + lasts, Alarm::Unslow);
            }
            Fault::FailSync => {
                self.ledger.disk_fault(true);
                disk.faults(|faults| faults.failing_syncs = 1);
                return false;
            }
            Fault::FailWrite => {
                self.ledger.disk_fault(false);
                disk.faults(|faults| faults.failing_writes = 1);
                return false;
            }
            Fault::FailReads(count) => {
                self.ledger.disk_fault(false);
                self.ledger.wants_restart = true;
                disk.faults(|faults| faults.failing_reads = count);
                return false;
            }
            Fault::FillDisk { left, lasts } => {
                let used = disk.used();
                disk.faults(|faults| faults.capacity = Some(used + left));
                self.ledger.is_filled = true;
                self.alarm(now + lasts, Alarm::Empty);
            }
            Fault::ClockJump(by) => self.host.jump_clock(by),
            // A node alone has no good copy.
            Fault::Rot { .. } => return false,
        }
        true
    }

    // --- the end --------------------------------------------------------------------------------------------------------------------------

    fn judge(self, notes: &notes::Notes) -> Outcome {
        let virtual_ns = self.now();
        let log = std::mem::take(&mut *self.log.lock().expect("nothing panics holding it"));
        let counts = Counts { resets: self.torn, crashes: self.host.lives() - 1, ..log.counts };
        let book = std::mem::take(&mut *self.book.borrow_mut());
        Outcome::of(Ending {
            seed: self.plan.seed,
            violations: self.violations,
            book,
            trace: log.trace,
            virtual_ns,
            counts,
            faults: self.ledger.into_struck(),
            notes: notes.take(),
        })
    }
}

fn address() -> Address {
    Address { host: NODE_IP.to_string(), port: PORT }
}
