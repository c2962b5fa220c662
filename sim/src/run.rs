//! One run on the mesh: build what the plan says, let faults strike under load, heal, drain, read everything, and judge.

mod failover;
mod reboot;
mod strike;

use crate::chance::{Chance, Matter};
use crate::check::Oracle;
use crate::cluster::client::ClientId;
use crate::cluster::mesh::{Mesh, Step, Swaps, Weather};
use crate::cluster::node::{Node, Spec};
use crate::cluster::pace::DiskPace;
use crate::disk::Disk;
use crate::outcome::{Ending, Outcome};
use crate::plan::Plan;
use crate::report::Recorder;
use crate::stage::{self, CALM, DRAIN_LIMIT, GROUPS_LIMIT, HEALED_AFTER, Ledger, NODE, Patience, READ_LIMIT, REPLICAS_LIMIT, UP_LIMIT};
use crate::workload::Book;
use crate::workload::elect::Elect;
use crate::workload::solo::Soloist;
use klamm::store::MetaProperties;
use klamm_core::broker::io::Level;
use klamm_core::broker::{Broker, Config};
use klamm_core::client::io::Address;
use klamm_core::config::{BrokerConfig, Durability, Endpoint, LogDir, Properties};
use klamm_core::id::{BrokerId, Uuid};
use klamm_core::partition::PartitionId;
use klamm_core::quorum::Replica as Voter;
use klamm_core::rng;
use reboot::Reboot;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Something the runner set for later.
#[derive(Clone, Copy, Debug)]
enum Alarm {
    Strike(usize),
    Start(u32),
    Unslow(u32),
    Empty(u32),
    Mend(u32),
    Restart(u32, u64),
    Reboot,
    Look,
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
    /// Some partition has nobody left who may lead it, and that by right: what clients want of the healed cluster is not asked for.
    is_stranded: bool,
    chance: Chance,
    /// Of the fault that strikes.
    rng: rng::Rng,
    /// Until when a second disk may be lost with what has just moved there, and for how long its node is down then.
    second_disk_goes: Option<(u64, u64)>,
    /// A machine is to lose power as its broker is about to be in sync again, or just did.
    reboot: Option<Reboot>,
    /// Deaths in swaps that were counted.
    swaps: u64,
    /// Ambushes that were counted.
    ambushes: u64,
    /// How long it took until others led what a dead broker had led.
    failover_ns: Option<u64>,
    /// Copies are gone for good with a disk, or by rot.
    has_taken_copies: bool,
    /// Keeps what happens, if anybody wants a report.
    recorder: Recorder,
}

/// What the runner keeps of one node.
#[derive(Default)]
struct Station {
    start_is_set: bool,
    /// How long the node stays down when it goes down next.
    down: u64,
    /// How often its disk was formatted anew.
    formats: u32,
    /// How often it got another second disk.
    second_disks: u32,
    ledger: Ledger,
}

/// Runs a plan; what chance decides comes from its seed.
#[must_use]
pub fn run(plan: Plan) -> Outcome {
    let chance = Chance::of_seed(plan.seed);
    run_by(plan, &chance, &Recorder::default())
}

/// Runs a plan as chance decides, and keeps what happens. Nothing happens otherwise because it is kept.
#[must_use]
pub fn run_by(plan: Plan, chance: &Chance, recorder: &Recorder) -> Outcome {
    let mut runner = Runner::new(plan, chance.clone(), recorder);
    runner.load();
    runner.heal();
    runner.drain();
    if runner.is_stranded {
        runner.give_up();
    } else {
        runner.read_all();
        runner.settle_groups();
    }
    runner.settle_replicas();
    runner.compare_indexes();
    runner.fail_over();
    runner.judge()
}

impl Runner {
    fn new(plan: Plan, chance: Chance, recorder: &Recorder) -> Self {
        let weather = Weather { delay: plan.delay, bytes: plan.codec, ..Default::default() };
        let mut mesh = Mesh::new(chance.clone(), weather, Oracle::new(first_voters(&plan), plan.durability));
        let mut stations = BTreeMap::new();
        for node in plan.nodes() {
            mesh.oracle().formatted(node, stage::directory(node));
            mesh.add_node(node, formatted(&plan, &chance, node, 0));
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
            is_stranded: false,
            rng: chance.rng(Matter::Strike { at: 0 }),
            second_disk_goes: None,
            reboot: None,
            swaps: 0,
            ambushes: 0,
            failover_ns: None,
            has_taken_copies: false,
            recorder: recorder.clone(),
            plan,
            chance,
        };
        runner.mesh.record(recorder.clone());
        recorder.keep(|recording| recording.open_books([&runner.book, &runner.side]));
        if runner.plan.metadata.is_some_and(|metadata| metadata.deadly) {
            let power = runner.plan.durability == Durability::Fsync;
            runner.mesh.die_in_swaps(Some(Swaps::new(runner.chance.clone(), power)));
        }
        runner.plan.nodes().for_each(|node| runner.tell_disk(node, 0));
        runner.plan.nodes().for_each(|node| runner.mesh.start(node));
        runner.add_clients();
        let faults = runner.plan.faults.clone();
        for (at, (time, _)) in faults.iter().enumerate() {
            runner.alarm(*time, Alarm::Strike(at));
        }
        if let Some(at) = runner.plan.look_at {
            runner.alarm(at, Alarm::Look);
        }
        runner
    }

    fn add_clients(&mut self) {
        let cast = stage::cast(&self.plan, &self.addresses(), &self.book, &self.side, &self.chance);
        cast.into_iter().for_each(|(id, actor)| self.mesh.add_client(id, actor));
    }

    /// The operators know the disks of the nodes, as often as they formatted them.
    fn tell_disk(&mut self, node: u32, formats: u32) {
        let (mut book, id) = (self.book.borrow_mut(), BrokerId(node as i32));
        book.disks.insert(id, metadata_directory(node, formats));
        if formats > 0 {
            book.replaced.insert(id);
        }
    }

    /// Where clients find the nodes.
    fn addresses(&self) -> Vec<Address> {
        self.plan.brokers().map(Mesh::address).collect()
    }

    fn alarm(&mut self, at: u64, alarm: Alarm) {
        self.alarms.insert(self.next_alarm, alarm);
        self.mesh.call_at(at, self.next_alarm);
        self.next_alarm += 1;
    }

    // --- phases ---------------------------------------------------------------------------------------------------------------------------

    fn load(&mut self) {
        let until = self.plan.load;
        while self.mesh.now() < until && self.step(until) {}
    }

    fn heal(&mut self) {
        self.healed = true;
        self.mesh.die_in_swaps(None);
        let mut is_starting = Vec::new();
        for node in self.plan.nodes() {
            self.mesh.drift(node, 0);
            self.mesh.disarm(node);
            self.mesh.node(node).pace().slow_down(1.0);
            self.mesh.node(node).disks().iter().for_each(|disk| disk.faults(|faults| *faults = Default::default()));
            let station = self.station(node);
            station.ledger.is_filled = false;
            let wants_restart = station.ledger.wants_restart;
            if wants_restart && self.mesh.node(node).broker().is_some() {
                self.start_anew(node);
            } else if wants_restart && !self.mesh.node(node).is_down() {
                is_starting.push(node);
            }
        }
        // What is begun before all nodes are up need not end well.
        stage::calm([&self.book, &self.side], u64::MAX);
        let healed = self.mesh.now() + HEALED_AFTER;
        while self.step(healed) {}
        // Thousands of segments take their time to be closed, and to be looked at by the next life.
        let mut limit = healed + UP_LIMIT;
        while self.are_down() && self.step(limit) {}
        if !is_starting.is_empty() && !self.are_down() {
            // What its disk refused while it started is offline.
            is_starting.into_iter().for_each(|node| self.start_anew(node));
            limit = self.mesh.now() + UP_LIMIT;
            while self.are_down() && self.step(limit) {}
        }
        if self.are_down() {
            self.violations.push("liveness: a node is not up long after everything was healed".to_owned());
        }
        // As in Kafka a process is refused until the session of the one before it has ended, which a new controller grants anew.
        let limit = self.mesh.now() + 2 * self.plan.session_ms * 1_000_000 + HEALED_AFTER;
        while self.are_out() && self.step(limit) {}
        if self.are_out() {
            self.violations.push("liveness: a broker is not registered long after everything was healed".to_owned());
        }
        let oracle = self.mesh.oracle();
        let empty = oracle.stranded().into_iter().filter(|(id, _)| oracle.is_empty(*id)).collect();
        self.elect(ClientId(462), empty);
        self.fill_anew();
        self.is_stranded = self.has_stranded();
        if self.is_stranded {
            return;
        }
        let calm = self.mesh.now().max(healed);
        stage::calm([&self.book, &self.side], calm);
        let until = calm + CALM;
        while self.step(until) {}
    }

    /// Whether some partition has nobody left who may lead it, and that by right. It may be known only when the last session of a former life has ended.
    fn has_stranded(&mut self) -> bool {
        let oracle = self.mesh.oracle();
        self.plan.may_strand() && oracle.stranded().keys().any(|id| !oracle.is_empty(*id))
    }

    /// Stops a node, so that it starts with disks that work.
    fn start_anew(&mut self, node: u32) {
        self.station(node).down = 100_000_000;
        self.mesh.stop(node);
    }

    /// What was lost, or rots, is filled anew before all counts as healed: until then fewer may be in sync than a topic asks for. How much there is to fill
    /// nobody bounds, and what it does not come to is told in the end. Where it takes long, producers send less: of segments as small as those here a
    /// follower gets one with each fetch, and might come no nearer for thousands of seconds.
    fn fill_anew(&mut self) {
        if !self.plan.fills_anew() {
            return;
        }
        let brokers: Vec<u32> = self.plan.brokers().collect();
        let mut until = self.mesh.now();
        let full_speed_until = until + 10 * stage::SECOND;
        let (mut patience, mut progress) = (Patience::new(until, REPLICAS_LIMIT), self.mesh.oracle().progress());
        let mut reached = progress.look(self.mesh.oracle());
        while self.violations.is_empty() && !self.has_stranded() && self.is_damaged(&brokers) && until < patience.until(until, reached) {
            until += stage::SECOND / 10;
            while self.step(until) {}
            reached = progress.look(self.mesh.oracle());
            if until > full_speed_until {
                stage::rest([&self.book, &self.side], Duration::from_secs(1));
            }
        }
        stage::rest([&self.book, &self.side], Duration::ZERO);
    }

    fn is_damaged(&mut self, brokers: &[u32]) -> bool {
        let is_rotten = brokers.iter().any(|node| self.mesh.node(*node).disks().iter().any(Disk::is_rotten));
        is_rotten || !self.mesh.oracle().incomplete(brokers).is_empty()
    }

    fn are_down(&self) -> bool {
        self.violations.is_empty()
            && self.plan.nodes().any(|node| self.mesh.node(node).broker().is_none_or(|broker| broker.view().is_on_its_way_down()))
    }

    /// Whether a broker is not registered yet in this life.
    fn are_out(&self) -> bool {
        let is_out = |node| self.mesh.node(node).broker().is_none_or(|broker| broker.view().broker_epoch().is_none());
        self.violations.is_empty() && self.plan.brokers().any(is_out)
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
        let last = stage::last_readers(&self.plan, &self.addresses(), &self.book, &self.side);
        let all = self.finished() + last.len() as u32;
        for (id, actor) in last {
            self.mesh.add_client(id, actor);
        }
        let mut patience = Patience::new(self.mesh.now(), READ_LIMIT);
        while self.finished() < all {
            let limit = patience.until(self.mesh.now(), stage::shown(&self.book, &self.side));
            if !self.step(limit) {
                self.violations.push(stage::unshown(&self.book, &self.side));
                break;
            }
        }
    }

    fn finished(&self) -> u32 {
        self.book.borrow().finished + self.side.borrow().finished
    }

    /// An operator has leaders elected where nobody is known to hold everything. What clients were told of those partitions may not hold any more, and
    /// of groups whose offsets lie there: so all that is asked then is that the cluster becomes whole again.
    fn give_up(&mut self) {
        let judges: Vec<ClientId> = self.mesh.clients().filter(|client| !stage::is_operator(*client)).collect();
        judges.into_iter().for_each(|client| self.mesh.remove_client(client));
        let stranded = self.mesh.oracle().stranded();
        stranded.keys().for_each(|id| self.mesh.oracle().give_up(*id));
        self.elect(ClientId(461), stranded);
    }

    fn elect(&mut self, operator: ClientId, stranded: BTreeMap<PartitionId, String>) {
        if !stranded.is_empty() {
            let elect = Elect::new(stranded.into_iter().map(|(id, topic)| (topic, id.index)).collect());
            self.mesh.add_client(operator, Box::new(Soloist::new(self.addresses(), elect)));
        }
    }

    fn settle_groups(&mut self) {
        self.watch_groups(0);
        if self.plan.idles && self.violations.is_empty() {
            let until = self.mesh.now() + stage::IDLE;
            while self.step(until) {}
            self.watch_groups(1);
        }
    }

    fn watch_groups(&mut self, round: u32) {
        let Some((id, actor)) = stage::watch(&self.plan, round, &self.addresses(), &self.book) else { return };
        self.mesh.add_client(id, actor);
        let limit = self.mesh.now() + GROUPS_LIMIT;
        while !self.book.borrow().groups_settled && self.step(limit) {}
        self.violations.extend(stage::unsettled(&self.book));
    }

    fn settle_replicas(&mut self) {
        if !self.violations.is_empty() {
            return;
        }
        let whole = stage::whole(&self.plan, &self.addresses(), &self.book);
        whole.into_iter().for_each(|(id, actor)| self.mesh.add_client(id, actor));
        let mut until = self.mesh.now();
        let (mut patience, mut progress) = (Patience::new(until, REPLICAS_LIMIT), self.mesh.oracle().progress());
        let (mut reached, mut gets_on) = (progress.look(self.mesh.oracle()), false);
        // While a replica gets on it is not there yet: that need not be looked at.
        while self.violations.is_empty() && (gets_on || !self.unsettled().is_empty()) && until < patience.until(until, reached) {
            // Nothing may happen for a while: the clock is that of the last event.
            until += stage::SECOND / 10;
            while self.step(until) {}
            let before = std::mem::replace(&mut reached, progress.look(self.mesh.oracle()));
            gets_on = reached > before;
        }
        let unsettled = self.unsettled();
        self.violations.extend(unsettled.into_iter().map(|what| format!("liveness: long after everything was healed, {what}")));
        self.violations.extend(self.mesh.oracle().replayed().err());
    }

    /// What is not as it must be in the end: as the nodes are, and as they tell.
    fn unsettled(&mut self) -> Vec<String> {
        let brokers: Vec<u32> = self.plan.brokers().collect();
        let mut all = self.mesh.oracle().unsettled(&brokers);
        all.extend(self.book.borrow().missing.iter().cloned());
        all.extend(self.unsettled_voters());
        // That takes long, and is not asked before all else is well.
        if all.is_empty() {
            all.extend(brokers.into_iter().flat_map(|node| self.doubles(node)));
        }
        all
    }

    /// Where voters come and go, those are in the end who they are to be, and all nodes know it.
    fn unsettled_voters(&mut self) -> Vec<String> {
        // Who was not told of the first ones learns of them by a change.
        let may_be_unknown = !self.mesh.oracle().names_voters();
        if self.plan.quorum.is_none() {
            return Vec::new();
        }
        let Some(voters) = self.book.borrow().voters.clone() else { return vec!["the operator cannot put the quorum in order".to_owned()] };
        let known = |node: u32| -> Option<BTreeSet<Voter>> {
            let view = self.mesh.node(node).broker()?.view();
            Some(view.quorum_voters()?.iter().map(klamm_core::quorum::Voter::replica).collect())
        };
        let is_right = |known: &BTreeSet<Voter>| *known == voters || (known.is_empty() && may_be_unknown);
        let other = |node: u32| Some((node, known(node))).filter(|(_, known)| !known.as_ref().is_some_and(is_right));
        self.plan
            .nodes()
            .filter_map(other)
            .map(|(node, known)| format!("node {node} knows the voters {known:?}, and they are {voters:?}"))
            .collect()
    }

    /// Logs that lie on two disks of a node.
    fn doubles(&self, node: u32) -> Vec<String> {
        let [one, two] = self.mesh.node(node).disks() else { return Vec::new() };
        let folders = |disk: &Disk| -> BTreeSet<String> {
            let logs = disk.files().into_iter().filter(|(path, _)| path.ends_with(".log"));
            logs.filter_map(|(path, _)| Some(path.split_once('/')?.0.to_owned())).collect()
        };
        folders(one).intersection(&folders(two)).map(|folder| format!("{folder} lies on both disks of node {node}")).collect()
    }

    /// Of a batch that has rotted nobody knows what its indexes ought to say.
    fn compare_indexes(&mut self) {
        if self.plan.rots() {
            return;
        }
        for node in self.plan.brokers().filter(|node| self.mesh.node(*node).broker().is_some()).collect::<Vec<_>>() {
            let wrong: Vec<String> = self.mesh.node(node).disks().iter().flat_map(crate::indexes::wrong).collect();
            self.violations.extend(wrong.into_iter().map(|what| format!("node {node}: {what}")));
        }
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
            Step::Event => {}
            Step::Opened(node) => self.pass_on(node),
            Step::Due(number) => {
                if let Some(alarm) = self.alarms.remove(&number) {
                    self.ring(alarm);
                }
            }
            Step::Halted(node, why) => self.halted(node, &why),
        }
        self.recorder.keep(|recording| recording.hear(self.mesh.now()));
        self.lose_second_disk();
        self.look_for_joiner();
        self.look_at_nodes();
        self.violations.extend(self.mesh.oracle().found());
        self.violations.is_empty()
    }

    fn station(&mut self, node: u32) -> &mut Station {
        self.stations.get_mut(&node).expect("a node of this run")
    }

    /// Injected errors that a node's disks have made are counted, at the latest before they are replaced.
    fn count_bites(&mut self, node: u32) {
        let bites = self.mesh.node(node).bites();
        self.station(node).ledger.count(bites);
    }

    /// Who is down starts again in time; what bit is counted.
    fn look_at_nodes(&mut self) {
        let now = self.mesh.now();
        for _ in std::mem::replace(&mut self.swaps, self.mesh.counts().swaps)..self.swaps {
            let ledger = &mut self.station(NODE).ledger;
            ledger.planned("swap");
            ledger.bit("swap");
        }
        for _ in std::mem::replace(&mut self.ambushes, self.mesh.counts().ambushes)..self.ambushes {
            self.station(NODE).ledger.bit("ambush");
        }
        for node in self.plan.nodes() {
            let is_down = self.mesh.node(node).is_down();
            let station = self.station(node);
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
                    self.spare_start(node);
                    self.mesh.start(node);
                }
            }
            Alarm::Restart(node, down) => self.restart(node, down),
            Alarm::Reboot => self.go_on_to_reboot(),
            Alarm::Look => {
                let stands: Vec<(u32, String)> = self.plan.nodes().map(|node| (node, self.stands(node))).collect();
                stands.into_iter().for_each(|(node, text)| self.mesh.befell(node, text));
            }
            Alarm::Unslow(node) => self.mesh.node(node).pace().slow_down(1.0),
            Alarm::Mend(node) => self.mesh.node(node).disks().iter().for_each(|disk| disk.faults(|faults| faults.broken = false)),
            Alarm::Empty(node) => {
                self.station(node).ledger.is_filled = false;
                self.mesh.node(node).disks().iter().for_each(|disk| disk.faults(|faults| faults.capacity = None));
            }
        }
    }

    /// A node stopped itself: as it was asked to, or since a disk failed.
    fn halted(&mut self, node: u32, why: &str) {
        if why == "stopped" {
            return;
        }
        let bites = self.mesh.node(node).bites();
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

    // --- the end --------------------------------------------------------------------------------------------------------------------------

    /// Where a node stands.
    fn stands(&self, node: u32) -> String {
        let summary = self.mesh.node(node).broker().map_or_else(|| self.mesh.node(node).describe(), Broker::summary);
        let voters = self.mesh.node(node).broker().and_then(|broker| broker.view().quorum_voters());
        let voters: Vec<Voter> = voters.into_iter().flat_map(|all| all.iter().map(klamm_core::quorum::Voter::replica)).collect();
        format!("{summary}\n  of the quorum's voters {voters:?}")
    }

    fn judge(mut self) -> Outcome {
        self.plan.nodes().for_each(|node| self.count_bites(node));
        let mut notes = self.mesh.notes().to_vec();
        // For `--notes` of a run that went wrong: where the nodes stand.
        for node in self.plan.nodes().filter(|_| !self.violations.is_empty()) {
            notes.push((self.mesh.now(), node, Level::Info, self.stands(node)));
        }
        self.recorder.keep(crate::report::Recording::keep_histories);
        let book = std::mem::take(&mut *self.book.borrow_mut());
        let side = std::mem::take(&mut *self.side.borrow_mut());
        Outcome::of(Ending {
            seed: self.plan.seed,
            violations: self.violations,
            book,
            side,
            may_lose_unsynced: self.plan.nodes > 1 || self.plan.nodes().any(|node| self.mesh.node(node).bites().has_lost()),
            is_unread: self.is_stranded,
            trace: *self.mesh.trace(),
            virtual_ns: self.mesh.now(),
            failover_ns: self.failover_ns,
            counts: self.mesh.counts(),
            faults: stage::struck(self.stations.into_values().map(|station| station.ledger)),
            notes,
        })
    }
}

/// A node on disks that were formatted for the so manieth time.
fn formatted(plan: &Plan, chance: &Chance, node: u32, formats: u32) -> Node {
    let pace = DiskPace::new(chance.clone(), node);
    let disks: Vec<Disk> = (0..plan.disks).map(|disk| Disk::new(chance.clone(), node, disk, Arc::new(pace.clone()))).collect();
    let directories = directories(plan, node, formats, 0);
    // Later it is one that joins the quorum, if it is made a voter.
    let checkpoint = stage::first_checkpoint(plan, node).filter(|_| formats == 0);
    wait_for(&pace, async { if let Some(bytes) = checkpoint { klamm::store::put_checkpoint(&disks[0], bytes).await } else { Ok(()) } });
    disks.iter().zip(&directories).for_each(|(disk, directory)| format(node, *directory, disk, &pace));
    Node::new(spec(plan, node, &directories), disks, pace)
}

/// A node that has another second disk, for the so manieth time.
fn with_second(plan: &Plan, chance: &Chance, number: u32, node: &Node, formats: u32, seconds: u32) -> Node {
    let (pace, directories) = (node.pace().clone(), directories(plan, number, formats, seconds));
    let second = Disk::new(chance.clone(), number, 1, Arc::new(pace.clone()));
    format(number, directories[1], &second, &pace);
    Node::new(spec(plan, number, &directories), vec![node.disks()[0].clone(), second], pace)
}

/// The ids of a node's log directories: so often all of them were formatted, and so often the second one alone.
fn directories(plan: &Plan, node: u32, formats: u32, seconds: u32) -> Vec<Uuid> {
    (0..plan.disks).map(|disk| stage::directory(node + 100 * formats + disk * (20 + 1000 * seconds))).collect()
}

fn spec(plan: &Plan, node: u32, directories: &[Uuid]) -> Spec {
    let mut fixed: Properties = stage::properties(plan, node).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let is_broker = plan.brokers().any(|broker| broker == node);
    if plan.controllers > 0 {
        fixed.insert("process.roles".to_owned(), if is_broker { "broker" } else { "controller" }.to_owned());
    }
    let endpoint = |name: &str, port| Endpoint { name: name.to_owned(), host: format!("node-{node}"), port, security: 0 };
    let dirs = stage::LOG_DIRS.into_iter().zip(directories).map(|(path, id)| LogDir { path: path.to_owned(), id: *id }).collect();
    let clients = if is_broker { vec![endpoint("PLAINTEXT", 9092)] } else { Vec::new() };
    let id = BrokerId(node as i32);
    let mut broker = BrokerConfig::new(id, stage::CLUSTER, clients, dirs, fixed).expect("properties of ours");
    if plan.nodes > 1 && plan.voters().any(|voter| voter == node) {
        broker.controllers = vec![stage::controller_endpoint(node)];
    }
    Spec {
        config: Config { tail_bytes_max: plan.tail_bytes, reserve_bytes: stage::RESERVE_BYTES, ..Config::new(broker) },
        identity: stage::owner(node),
        options: stage::store_options(plan),
        seed: stage::seed_of(plan, node),
    }
}

/// Formats a disk, before time begins.
fn format(node: u32, directory: Uuid, disk: &Disk, pace: &DiskPace) {
    let properties = MetaProperties { directory, ..stage::meta(node) };
    wait_for(pace, klamm::store::format(disk, &properties));
}

/// Has a disk do something, in no time.
fn wait_for(pace: &DiskPace, work: impl Future<Output = std::io::Result<()>>) {
    let mut work = Box::pin(work);
    let mut cx = Context::from_waker(Waker::noop());
    let done = loop {
        match work.as_mut().poll(&mut cx) {
            Poll::Ready(done) => break done,
            Poll::Pending => pace.begun().into_iter().for_each(|(number, _)| pace.finish(number)),
        }
    };
    done.expect("a new disk takes what a format writes");
}

/// The directory of a node's metadata log, on the disk that was formatted for the so manieth time.
fn metadata_directory(node: u32, formats: u32) -> Uuid {
    stage::directory(node + 100 * formats)
}

fn first_voters(plan: &Plan) -> BTreeSet<Voter> {
    plan.first_voters().into_iter().map(|node| (BrokerId(node as i32), metadata_directory(node, 0))).collect()
}
