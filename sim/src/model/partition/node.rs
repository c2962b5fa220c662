//! One broker of the model, the whole of it, over a store in memory: of what it asks of the store, only the syncs of the partition's log take time.

use crate::model::canon::{self, Digest, Form, Take, Word};
use bytes::Bytes;
use klamm_core::broker::io::Input;
use klamm_core::broker::{Broker, Config, RecoveredNode};
use klamm_core::config::{BrokerConfig, Endpoint, LogDir, Properties};
use klamm_core::id::{BrokerId, CallId, ConnId, CorrelationId, DirId, ListenerId, LogId, Offset, Ticket, Uuid};
use klamm_core::log::segments::Segment;
use klamm_core::log::{FoundDir, FoundLog, Recovered};
use klamm_core::rng;
use klamm_core::store::{Located, Region, StoreFault, StoreOp, Stored};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::batch::Batch;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hash as _;

const DIR: DirId = DirId(0);
/// Clients produce by this connection.
pub(super) const CLIENT: ConnId = ConnId(1);
/// Brokers ask by these, by their place.
const PEERS: u64 = 10;
/// What they have given up to ask for comes by these.
const GHOSTS: u64 = 20;

pub(super) fn peer(i: usize) -> ConnId {
    ConnId(PEERS + i as u64)
}

pub(super) fn ghost(i: usize) -> ConnId {
    ConnId(GHOSTS + i as u64)
}

pub(super) fn id(i: usize) -> BrokerId {
    BrokerId(i32::try_from(i + 1).expect("few"))
}

pub(super) fn directory(i: usize) -> Uuid {
    Uuid([u8::try_from(i + 1).expect("few"); 16])
}

/// A log, by its batches.
#[derive(Clone, Debug, Hash)]
pub(super) struct Log {
    pub(super) name: String,
    topic: Uuid,
    pub(super) batches: Vec<Batch>,
    /// Batches that survive a loss of power.
    pub(super) synced: usize,
}

impl Log {
    fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |batch| batch.header().next_offset())
    }

    fn recovered(&self) -> Recovered {
        let mut found = Recovered { segments: vec![Segment::empty(Offset::ZERO)], ..Recovered::empty() };
        for batch in &self.batches {
            let header = batch.header();
            found.epochs.assign(header.leader_epoch, header.base_offset);
            found.producers.replay(header);
            found.segments[0].append(header);
        }
        found.end = self.end();
        found
    }

    fn inside(&self, from: Offset, until: Offset) -> impl Iterator<Item = &Batch> {
        self.batches.iter().filter(move |batch| batch.header().next_offset() > from && batch.header().next_offset() <= until)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) broker: Broker,
    /// Each node has a time of its own, which passes only by choice.
    pub(super) clock: Instant,
    pub(super) life: u64,
    pub(super) logs: BTreeMap<LogId, Log>,
    saved: BTreeMap<String, Bytes>,
    /// Syncs of the partition's log under way, and how many batches each covers.
    pub(super) syncs: VecDeque<(Ticket, LogId, usize)>,
    /// Its calls that nobody has answered.
    pub(super) open: BTreeSet<CallId>,
    /// Its fetch of the metadata log, and from where.
    pub(super) metadata: Option<(CallId, Offset)>,
    /// Calls of others that it owes an answer: by whom, in which of its lives.
    pub(super) owed: BTreeMap<(ConnId, CorrelationId), (usize, u64, CallId)>,
    /// What it counted as committed last in this life.
    pub(super) high: Offset,
}

fn config(i: usize) -> BrokerConfig {
    let all = [
        ("process.roles", "broker"),
        ("controller.quorum.voters", "4@n4:9093"),
        // Sessions only save bytes here, and their numbers would make states differ.
        ("max.incremental.fetch.session.cache.slots", "0"),
    ];
    let fixed: Properties = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let endpoint = Endpoint { name: "PLAINTEXT".to_owned(), host: format!("n{}", i + 1), port: 9092, security: 0 };
    let dir = LogDir { path: "/data".to_owned(), id: directory(i) };
    BrokerConfig::new(id(i), "model", vec![endpoint], vec![dir], fixed).expect("valid")
}

fn born(i: usize, life: u64, dirs: Vec<FoundDir>) -> Broker {
    let config = Config::of(config(i), DIR, &dirs).expect("valid");
    // Each process has an id of its own, drawn by chance.
    Broker::new(config, life * 8 + i as u64, RecoveredNode { dirs, offline: Vec::new() })
}

impl Node {
    pub(super) fn new(i: usize) -> Self {
        Self {
            broker: born(i, 0, vec![found(i, Vec::new(), BTreeMap::new())]),
            clock: Instant(1),
            life: 0,
            logs: BTreeMap::new(),
            saved: BTreeMap::new(),
            syncs: VecDeque::new(),
            open: BTreeSet::new(),
            metadata: None,
            owed: BTreeMap::new(),
            high: Offset::ZERO,
        }
    }

    /// A new process on the same disk, of whose partition's log so many batches are left.
    pub(super) fn restart(&mut self, i: usize, kept: usize) {
        self.life += 1;
        for log in self.logs.values_mut().filter(|log| is_timed(&log.name)) {
            log.batches.truncate(kept);
        }
        self.logs.values_mut().for_each(|log| log.synced = log.batches.len());
        let logs =
            self.logs.iter().map(|(id, log)| FoundLog { log: *id, name: log.name.clone(), topic: log.topic, state: Ok(log.recovered()) });
        self.broker = born(i, self.life, vec![found(i, logs.collect(), self.saved.clone())]);
        (self.metadata, self.high) = (None, Offset::ZERO);
        self.syncs.clear();
        self.open.clear();
        self.owed.clear();
    }

    /// What tells a new process of its connections.
    pub(super) fn openings(&self, count: usize) -> Vec<Input> {
        let conns = [CLIENT].into_iter().chain((0..count).flat_map(|j| [peer(j), ghost(j)]));
        conns.map(opening).collect()
    }

    pub(super) fn now(&self) -> Now {
        Now { at: self.clock, wall: super::script::WALL }
    }

    /// The partition's log on the disk.
    pub(super) fn log(&self) -> Option<&Log> {
        self.logs.values().find(|log| is_timed(&log.name))
    }

    /// Does what the store is asked to; a sync of the partition's log ends later.
    pub(super) fn execute(&mut self, ticket: Ticket, op: StoreOp) -> Option<Result<Stored, StoreFault>> {
        if let StoreOp::Sync { log } = op
            && let Some(held) = self.logs.get(&log).filter(|held| is_timed(&held.name))
        {
            self.syncs.push_back((ticket, log, held.batches.len()));
            return None;
        }
        Some(self.execute_now(op))
    }

    /// The oldest sync ends.
    pub(super) fn sync(&mut self) -> Option<Input> {
        let (ticket, log, covered) = self.syncs.pop_front()?;
        let held = self.logs.get_mut(&log)?;
        held.synced = held.synced.max(covered.min(held.batches.len()));
        let end = held.batches[..held.synced].last().map_or(Offset::ZERO, |batch| batch.header().next_offset());
        Some(Input::Stored { ticket, outcome: Ok(Stored::Synced { end }) })
    }

    fn execute_now(&mut self, op: StoreOp) -> Result<Stored, StoreFault> {
        Ok(match op {
            StoreOp::Create { log, name, topic, .. } => {
                self.logs.insert(log, Log { name, topic, batches: Vec::new(), synced: 0 });
                Stored::Done
            }
            StoreOp::Delete { log } => {
                self.logs.remove(&log);
                Stored::Done
            }
            StoreOp::Append { log, batches, .. } => {
                let log = self.logs.get_mut(&log).ok_or(StoreFault::Gone)?;
                log.batches.extend(batches);
                Stored::Appended { end: log.end() }
            }
            StoreOp::Sync { log } => {
                let log = self.logs.get_mut(&log).ok_or(StoreFault::Gone)?;
                log.synced = log.batches.len();
                Stored::Synced { end: log.end() }
            }
            StoreOp::Truncate { log, to } => {
                let log = self.logs.get_mut(&log).ok_or(StoreFault::Gone)?;
                log.batches.retain(|batch| batch.header().next_offset() <= to);
                // A cut is durable, and what is left with it.
                log.synced = log.batches.len();
                Stored::Reopened(Box::new(log.recovered()))
            }
            StoreOp::Restart { .. } | StoreOp::Clean { .. } => return Err(StoreFault::Gone),
            StoreOp::Reopen { log } => Stored::Reopened(Box::new(self.logs.get(&log).ok_or(StoreFault::Gone)?.recovered())),
            StoreOp::Locate { log, from, until, .. } => Stored::Located(self.locate(log, from, until)),
            StoreOp::Load { log, from, until, .. } => {
                Stored::Loaded(self.logs.get(&log).ok_or(StoreFault::Gone)?.inside(from, until).cloned().collect())
            }
            StoreOp::FindTime { .. } => Stored::Found(None),
            StoreOp::Save { name, bytes, .. } => {
                self.saved.insert(name, bytes);
                Stored::Done
            }
            StoreOp::Remove { name, .. } => {
                self.saved.remove(&name);
                Stored::Done
            }
            StoreOp::Read { name, .. } => {
                let bytes = self.saved.get(&name).ok_or(StoreFault::Gone)?.clone();
                Stored::Read { size: bytes.len() as u64, bytes }
            }
            StoreOp::Discard { .. } | StoreOp::Roll { .. } => Stored::Done,
            StoreOp::Space { .. } => Stored::Space { total: 1 << 41, free: 1 << 40 },
        })
    }

    /// A region names batches: the first one's offset, and how many.
    fn locate(&self, log: LogId, from: Offset, until: Offset) -> Option<Located> {
        let batches: Vec<&Batch> = self.logs.get(&log)?.inside(from, until).collect();
        let (first, last) = batches.first().zip(batches.last())?;
        let base = first.header().base_offset;
        let region =
            Region { log, segment: base, version: 0, position: base.0.unsigned_abs(), len: u32::try_from(batches.len()).expect("few") };
        Some(Located { region, first: base, next: last.header().next_offset() })
    }

    /// The bytes of a region.
    pub(super) fn read(&self, region: &Region) -> Vec<Bytes> {
        let Some(log) = self.logs.get(&region.log) else { return Vec::new() };
        let first = Offset(i64::try_from(region.position).expect("small"));
        log.inside(first, Offset(i64::MAX)).take(region.len as usize).flat_map(Batch::pieces).cloned().collect()
    }

    /// What matters of it.
    pub(super) fn form(&self, text: &mut String) -> Form {
        let mut digest = Digest::default();
        for word in canon::form(&self.broker, self.clock.0, take, text) {
            match word {
                Word::Text(text) => digest.wide(text),
                Word::Open(_, call) => self.rank(CallId(call)).hash(&mut digest),
            }
        }
        for log in self.logs.values().filter(|log| is_timed(&log.name)) {
            log.hash(&mut digest);
        }
        let syncs: Vec<usize> = self.syncs.iter().map(|(_, _, covered)| *covered).collect();
        let owed: Vec<ConnId> = self.owed.keys().map(|(conn, _)| *conn).collect();
        let metadata = self.metadata.map(|(_, from)| from);
        (&self.saved, syncs, owed, metadata, self.high).hash(&mut digest);
        vec![Word::Text(digest.end())]
    }

    /// Which of its open calls this is.
    pub(super) fn rank(&self, call: CallId) -> Option<usize> {
        self.open.iter().position(|open| *open == call)
    }
}

/// Whether a log is the partition's, whose syncs take time.
fn is_timed(name: &str) -> bool {
    name == "t-0"
}

fn found(i: usize, logs: Vec<FoundLog>, saved: BTreeMap<String, Bytes>) -> FoundDir {
    FoundDir { dir: DIR, id: directory(i), clean: None, logs, saved }
}

pub(super) fn opening(conn: ConnId) -> Input {
    Input::Opened { conn, listener: ListenerId(0), peer: ([127, 0, 0, 1], 5).into() }
}

/// Chance is the same in each step, so that equal states have equal futures.
pub(super) fn chance() -> rng::Rng {
    rng::stream(0, "model")
}

/// How the words of a broker are taken.
fn take(word: &str) -> Take {
    match word {
        // What is applied of the metadata log says the rest of `admin`; nobody is in a group; and what only counts up, or is the same for all.
        "config" | "rng" | "now" | "admin" | "groups" | "next_ticket" | "next_call" | "correlation" | "next" | "caught_up_wall" => {
            Take::Skip
        }
        "Instant" => Take::Instant,
        "CallId" => Take::Open(0),
        "ConnId" => Take::Scope,
        "seq" | "answered" => Take::Scoped,
        "Ticket" => Take::Name(1),
        "own" | "last_save" | "saved" | "number" => Take::Name(2),
        _ => Take::Plain,
    }
}
