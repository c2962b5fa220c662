//! The second tier: whole nodes (driver, connections, listeners, peer links, store task) and the client driver on madsim's runtime, network and
//! time, over the same faulty disks, plan, clients and checks as the mesh.
//!
//! Decides when the nodes live and what follows from their ends; what a node does is the node's. One thread for each run.

mod faults;
mod guest;
mod host;
mod notes;
mod pace;

use super::client::ClientId;
use super::mesh::Counts;
use crate::chance::Chance;
use crate::disk::Disk;
use crate::outcome::{Ending, Outcome};
use crate::plan::Plan;
use crate::report::{Recorder, Recording, State};
use crate::stage::{self, CALM, DRAIN_LIMIT, GROUPS_LIMIT, HEALED_AFTER, Ledger, Patience, READ_LIMIT, REPLICAS_LIMIT};
use crate::trace::Trace;
use crate::workload::Book;
use host::{Host, News};
use klamm::clock::Clock;
use klamm::net::weather;
use klamm_core::client::io::Address;
use klamm_core::rng::{self, Rng};
use klamm_core::time::Instant;
use madsim::runtime::{Handle, Runtime};
use madsim::task::NodeId;
use pace::Pace;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often the runner looks at what the clients have reached.
const LOOK: u64 = 50_000_000;
/// Between a kill and the next start, for what is left of the killed life to go.
const GONE: u64 = 1_000_000;
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
    record(plan, &Recorder::default())
}

/// The same, and what the runner sees is kept: lives, faults, and what clients did.
#[must_use]
pub fn record(plan: Plan, recorder: &Recorder) -> Outcome {
    let recorder = recorder.clone();
    let plan = plan.of_whole_nodes();
    let mut config = madsim::Config::default();
    config.net.send_latency = Duration::from_nanos(plan.delay.0)..Duration::from_nanos(plan.delay.1);
    config.net.packet_loss_rate = PACKET_LOSS;
    let runtime = Runtime::with_seed_and_config(plan.seed, config);
    let notes = notes::Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let outcome = runtime.block_on(async move {
        let mut runner = Runner::new(plan, &notes, recorder).await;
        runner.load().await;
        runner.heal();
        runner.calm().await;
        runner.drain().await;
        runner.read_all().await;
        runner.settle_groups().await;
        runner.settle_replicas().await;
        runner.judge(&notes)
    });
    weather::stop_tearing();
    outcome
}

/// Something the runner set for later.
#[derive(Clone, Copy, Debug)]
enum Alarm {
    Strike(usize),
    Start(u32),
    Resume(NodeId),
    /// What one machine sends reaches the other again.
    Mend(Party, Party),
    Unslow(u32),
    Empty(u32),
}

/// A machine, and its address.
#[derive(Clone, Copy, Debug)]
struct Party {
    machine: NodeId,
    ip: IpAddr,
}

struct Runner {
    plan: Plan,
    madsim: Handle,
    clock: Clock,
    log: SharedTrace,
    news: mpsc::UnboundedReceiver<News>,
    /// By node.
    stations: BTreeMap<u32, Station>,
    clients: BTreeMap<ClientId, Party>,
    book: Book,
    /// What producers that are not idempotent do: judged by the broker's own invariants only.
    side: Book,
    alarms: BTreeMap<(u64, u64), Alarm>,
    next_alarm: u64,
    /// Connections that were reset.
    torn: u64,
    violations: Vec<String>,
    rng: Rng,
    /// Decides of what kind cuts are.
    cuts: Rng,
    /// Keeps what happens, if anybody wants a report.
    recorder: Recorder,
}

/// What the runner keeps of one node.
struct Station {
    host: Arc<Host>,
    machine: NodeId,
    /// The life that is under way.
    alive: Option<u64>,
    /// How long the node stays down when it goes down next.
    down: u64,
    ledger: Ledger,
}

impl Runner {
    async fn new(plan: Plan, notes: &notes::Notes, recorder: Recorder) -> Self {
        let (clock, log) = (Clock::new(), SharedTrace::default());
        notes.begin(clock.clone());
        let (tell, news) = mpsc::unbounded_channel();
        let mut runner = Self {
            madsim: Handle::current(),
            clock,
            log,
            news,
            stations: BTreeMap::new(),
            clients: BTreeMap::new(),
            book: Book::default(),
            side: Book::default(),
            alarms: BTreeMap::new(),
            next_alarm: 0,
            torn: 0,
            violations: Vec::new(),
            rng: rng::stream(plan.seed, "runner"),
            cuts: rng::stream(plan.seed, "cuts"),
            recorder,
            plan,
        };
        runner.recorder.keep(|recording| recording.open_books([&runner.book, &runner.side]));
        for node in runner.plan.nodes() {
            let station = runner.station_of(node, &tell).await;
            notes.know(station.machine, node);
            runner.stations.insert(node, station);
            runner.note(node, "start", 1);
            runner.turns(node, State::Up, "starts");
        }
        let cast = stage::cast(&runner.plan, &runner.addresses(), &runner.book, &runner.side, &Chance::of_seed(runner.plan.seed));
        cast.into_iter().for_each(|(id, actor)| runner.add_client(id, actor));
        for at in 0..runner.plan.faults.len() {
            runner.alarm(runner.plan.faults[at].0, Alarm::Strike(at));
        }
        runner
    }

    /// Makes a node on a disk that was just formatted, and starts it.
    async fn station_of(&self, node: u32, tell: &mpsc::UnboundedSender<News>) -> Station {
        let chance = Chance::of_seed(self.plan.seed);
        let pace = Arc::new(Pace::new(node, chance.clone(), self.clock.clone(), self.log.clone(), tell.clone()));
        let disk = Disk::new(chance, node, 0, pace.clone());
        klamm::store::format(&disk, &stage::meta(node)).await.expect("an empty disk without faults");
        let host = Arc::new(Host::new(&self.plan, node, disk, pace, tell.clone()));
        let machine = host::build(&self.madsim, &host);
        Station { host, machine, alive: Some(1), down: 0, ledger: Ledger::default() }
    }

    fn add_client(&mut self, id: ClientId, actor: stage::Player) {
        let client = guest::build(&self.madsim, id, actor, &self.clock, &self.log);
        self.clients.insert(id, client);
    }

    /// Where clients find the nodes.
    fn addresses(&self) -> Vec<Address> {
        self.plan.nodes().map(host::address).collect()
    }

    fn station(&mut self, node: u32) -> &mut Station {
        self.stations.get_mut(&node).expect("a node of this run")
    }

    fn now(&self) -> u64 {
        self.clock.now().at.0
    }

    fn alarm(&mut self, at: u64, alarm: Alarm) {
        self.alarms.insert((at, self.next_alarm), alarm);
        self.next_alarm += 1;
    }

    fn note(&self, node: u32, kind: &str, what: u64) {
        self.log.lock().expect("nothing panics holding it").trace.note(self.now(), node, kind, &what);
    }

    /// A node does something else: for the report.
    fn turns(&self, node: u32, state: State, why: &str) {
        self.recorder.keep(|recording| recording.turn(self.now(), node, state, why));
    }

    // --- phases ---------------------------------------------------------------------------------------------------------------------------

    async fn load(&mut self) {
        let until = self.plan.load;
        while self.step(until).await {}
    }

    async fn calm(&mut self) {
        let healed = self.now() + HEALED_AFTER;
        stage::calm([&self.book, &self.side], healed);
        while self.step(healed + CALM).await {}
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
        let last = stage::last_readers(&self.plan, &self.addresses(), &self.book, &self.side);
        let all = self.finished() + last.len() as u32;
        for (id, actor) in last {
            self.add_client(id, actor);
        }
        let mut patience = Patience::new(self.now(), READ_LIMIT);
        while self.finished() < all {
            let limit = patience.until(self.now(), stage::shown(&self.book, &self.side));
            if !self.step(limit).await {
                self.violations.push(stage::unshown(&self.book, &self.side));
                break;
            }
        }
    }

    fn finished(&self) -> u32 {
        self.book.borrow().finished + self.side.borrow().finished
    }

    async fn settle_groups(&mut self) {
        let Some((id, actor)) = stage::watch(&self.plan, 0, &self.addresses(), &self.book) else { return };
        self.add_client(id, actor);
        let limit = self.now() + GROUPS_LIMIT;
        while !self.book.borrow().groups_settled && self.step(limit).await {}
        self.violations.extend(stage::unsettled(&self.book));
    }

    async fn settle_replicas(&mut self) {
        let Some((id, actor)) = stage::whole(&self.plan, &self.addresses(), &self.book) else { return };
        self.add_client(id, actor);
        let limit = self.now() + REPLICAS_LIMIT;
        while !self.book.borrow().missing.is_empty() && self.step(limit).await {}
        let missing = std::mem::take(&mut self.book.borrow_mut().missing);
        self.violations.extend(missing.into_iter().map(|what| format!("liveness: long after everything was healed, {what}")));
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
        self.recorder.keep(|recording| recording.hear(now));
        while let Some(entry) = self.alarms.first_entry()
            && entry.key().0 <= now
        {
            let alarm = entry.remove();
            self.ring(alarm);
        }
        for station in self.stations.values_mut() {
            station.ledger.count(station.host.disk().bites());
        }
        self.violations.is_empty() && now < limit
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Strike(at) => self.strike(at),
            Alarm::Start(node) => self.start(node),
            Alarm::Resume(machine) => self.madsim.resume(machine),
            Alarm::Mend(one, other) => Self::mend(one, other),
            Alarm::Unslow(node) => self.stations[&node].host.pace().slow_down(1.0),
            Alarm::Empty(node) => {
                let station = self.station(node);
                station.ledger.is_filled = false;
                station.host.disk().faults(|faults| faults.capacity = None);
            }
        }
    }

    // --- the nodes' lives -----------------------------------------------------------------------------------------------------------------

    fn start(&mut self, node: u32) {
        let station = self.station(node);
        assert!(station.alive.is_none(), "a node that is up is not started");
        let (life, machine) = (station.host.next_life(), station.machine);
        station.alive = Some(life);
        self.note(node, "start", life);
        self.turns(node, State::Up, "starts");
        weather::lighten(host::ip(node));
        self.madsim.restart(machine);
    }

    /// Ends a node's life, if it has not ended already.
    fn go_down(&mut self, node: u32, power: bool) {
        let station = self.station(node);
        if station.alive.take().is_none() {
            return;
        }
        station.host.pace().disarm();
        if power {
            weather::darken(host::ip(node));
        }
        let (machine, down) = (station.machine, station.down.max(GONE));
        // Closes its sockets too, of whichever death it died.
        self.madsim.kill(machine);
        self.stations[&node].host.crash(power);
        self.note(node, "down", u64::from(power));
        self.turns(node, State::Down, if power { "is down, without power" } else { "is down" });
        let at = self.now() + down;
        self.alarm(at, Alarm::Start(node));
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Crashed { node, power } => self.go_down(node, power),
            News::Ended { node, life, .. } if self.stations[&node].alive != Some(life) => {}
            News::Ended { node, outcome: Ok(()), .. } => self.go_down(node, false),
            News::Ended { node, outcome: Err(why), .. } => {
                let station = self.station(node);
                let bites = station.host.disk().bites();
                match station.ledger.halted(&why, bites) {
                    Ok(power) => {
                        station.down = stage::HALTED_DOWN;
                        self.go_down(node, power);
                    }
                    Err(violation) => self.violations.push(format!("node {node}: {violation}")),
                }
            }
        }
    }

    // --- the end --------------------------------------------------------------------------------------------------------------------------

    fn judge(self, notes: &notes::Notes) -> Outcome {
        let virtual_ns = self.now();
        let log = std::mem::take(&mut *self.log.lock().expect("nothing panics holding it"));
        let crashes = self.stations.values().map(|station| station.host.lives() - 1).sum();
        let may_lose_unsynced = self.plan.nodes > 1 || self.stations.values().any(|station| station.host.disk().bites().has_lost());
        let counts = Counts { resets: self.torn, crashes, ..log.counts };
        self.recorder.keep(Recording::keep_histories);
        let book = std::mem::take(&mut *self.book.borrow_mut());
        let side = std::mem::take(&mut *self.side.borrow_mut());
        Outcome::of(Ending {
            seed: self.plan.seed,
            violations: self.violations,
            book,
            side,
            may_lose_unsynced,
            is_unread: false,
            trace: log.trace,
            virtual_ns,
            failover_ns: None,
            counts,
            faults: stage::struck(self.stations.into_values().map(|station| station.ledger)),
            notes: notes.take(),
        })
    }
}
