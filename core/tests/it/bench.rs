//! One broker over a store in memory that does what it is told, when it is told: what the core decides is seen effect by effect.

use bytes::Bytes;
use klamm_core::broker::io::{Effect, Input, Peer};
use klamm_core::broker::{Broker, Config, RecoveredNode};
use klamm_core::config::{BrokerConfig, Endpoint, LogDir, Properties};
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, ConnId, CorrelationId, DirId, ListenerId, LogId, Offset, PartitionIndex, Ticket, Uuid};
use klamm_core::log::producers::Producers;
use klamm_core::log::{FoundDir, FoundLog, Recovered};
use klamm_core::store::{Cleaned, StoreFault, StoreOp, Stored};
use klamm_core::time::{Instant, Now, Timestamp};
use klamm_core::wire::api::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use klamm_core::wire::batch::{BadBatch, Batch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity, Payload};
use klamm_core::wire::{Request, RequestHeader, Response};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

struct MemoryLog {
    dir: DirId,
    name: String,
    topic: Uuid,
    batches: Vec<Batch>,
    /// Batches that survive a crash.
    synced: usize,
    /// Where it begins: what is below was deleted.
    start: Offset,
}

impl MemoryLog {
    fn end(&self) -> Offset {
        self.batches.last().map_or(self.start, |b| b.header().next_offset())
    }

    fn recovered(&self, snapshot: Option<(Offset, Producers)>) -> Recovered {
        let mut found = Recovered { start: self.start, snapshot: snapshot.as_ref().map(|(at, _)| *at), ..Recovered::empty() };
        let (known, producers) = snapshot.unwrap_or_default();
        found.producers = producers;
        found.segments[0].base = self.batches.first().map_or(self.start, |batch| batch.header().base_offset.min(self.start));
        for batch in &self.batches {
            let header = batch.header();
            found.epochs.assign(header.leader_epoch, header.base_offset);
            if header.base_offset >= known {
                found.producers.replay(header);
            }
            found.segments[0].append(header);
        }
        found.epochs.cut_start(self.start);
        found.end = self.end();
        found
    }
}

/// A broker, its store, and one client.
pub(crate) struct Bench {
    pub(crate) broker: Broker,
    config: BrokerConfig,
    logs: BTreeMap<LogId, MemoryLog>,
    ops: VecDeque<(Ticket, StoreOp)>,
    saved: BTreeMap<(DirId, String), Bytes>,
    /// Where each log was to be made.
    homes: BTreeMap<LogId, DirId>,
    /// The directory that is broken.
    broken: Option<DirId>,
    /// The directory where no small file can be saved.
    full: Option<DirId>,
    /// The folder whose next append finds no room.
    refuses_append: Option<String>,
    /// Each process has a seed of its own.
    seed: u64,
    pub(crate) replies: Vec<(ConnId, CorrelationId, Response)>,
    pub(crate) notes: Vec<String>,
    pub(crate) halted: Option<String>,
    /// Whom it has asked something.
    pub(crate) called: Vec<Peer>,
    now: Now,
    next: i32,
}

pub(crate) const CLIENT: ConnId = ConnId(1);
/// Where another node comes in.
pub(crate) const NODE: ConnId = ConnId(2);

fn endpoint(name: &str, port: u16) -> Endpoint {
    Endpoint { name: name.to_owned(), host: "localhost".to_owned(), port, security: 0 }
}

impl Bench {
    /// A broker on empty disks, booted.
    pub(crate) fn new(fixed: &[(&str, &str)]) -> Self {
        let mut bench = Self::cold(fixed);
        bench.settle();
        bench
    }

    /// The same, with nothing done by the store yet.
    pub(crate) fn cold(fixed: &[(&str, &str)]) -> Self {
        let config = Self::config(fixed, &["/data"]);
        Self::of(Config::new(config))
    }

    /// A node that others join by its second listener, with two log directories, booted. `change` may alter what it is told.
    pub(crate) fn among(fixed: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Self::config(fixed, &["/data", "/more"]);
        config.controllers = vec![endpoint("CONTROLLER", 9093)];
        let mut config = Config::new(config);
        change(&mut config);
        let mut bench = Self::of(config);
        bench.node_comes_in();
        bench.settle();
        bench
    }

    fn config(fixed: &[(&str, &str)], dirs: &[&str]) -> BrokerConfig {
        let fixed: Properties = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let dir = |(path, id): (&&str, u8)| LogDir { path: (*path).to_owned(), id: Uuid([id; 16]) };
        let dirs = dirs.iter().zip(7..).map(dir).collect();
        BrokerConfig::new(BrokerId(1), "the-cluster", vec![endpoint("PLAINTEXT", 9092)], dirs, fixed).expect("a valid file")
    }

    fn of(config: Config) -> Self {
        let mut bench = Self {
            broker: Broker::new(config.clone(), 7, RecoveredNode::default()),
            config: config.broker,
            logs: BTreeMap::new(),
            ops: VecDeque::new(),
            saved: BTreeMap::new(),
            homes: BTreeMap::new(),
            broken: None,
            full: None,
            refuses_append: None,
            seed: 7,
            replies: Vec::new(),
            notes: Vec::new(),
            halted: None,
            called: Vec::new(),
            now: Now { at: Instant(1), wall: Timestamp(1_000_000) },
            next: 0,
        };
        bench.open(CLIENT);
        bench
    }

    /// Another node connects to the quorum's listener.
    fn node_comes_in(&mut self) {
        self.input(Input::Opened { conn: NODE, listener: ListenerId(1), peer: ([127, 0, 0, 1], 6).into() });
    }

    pub(crate) fn open(&mut self, conn: ConnId) {
        self.input(Input::Opened { conn, listener: ListenerId(0), peer: ([127, 0, 0, 1], 5).into() });
    }

    fn input(&mut self, input: Input) {
        self.broker.handle(self.now, input);
        while let Some(effect) = self.broker.poll() {
            match effect {
                Effect::Reply { conn, correlation, body, .. } => self.replies.push((conn, correlation, body)),
                Effect::Store { ticket, op } => self.ops.push_back((ticket, op)),
                Effect::Note { text, .. } => self.notes.push(text),
                Effect::Halt { why } => self.halted = Some(format!("{why:?}")),
                Effect::Close { why, .. } => self.notes.push(format!("closed: {why}")),
                Effect::Call { to, .. } => self.called.push(to),
                Effect::Done { .. } | Effect::Mute { .. } | Effect::Unmute { .. } | Effect::HangUp { .. } => {}
            }
        }
        self.broker.check();
    }

    /// Lets the store do one operation; `false` where there is none.
    pub(crate) fn step(&mut self) -> bool {
        let Some((ticket, op)) = self.ops.pop_front() else { return false };
        if let StoreOp::Create { log, dir, .. } = &op {
            self.homes.insert(*log, *dir);
        }
        let dir = self.dir_of(&op);
        let outcome = if self.broken == Some(dir) {
            Err(StoreFault::Offline { dir, why: "broken".to_owned() })
        } else if self.full == Some(dir) && matches!(op, StoreOp::Save { .. }) {
            Err(StoreFault::Full)
        } else if matches!(&op, StoreOp::Append { log, .. } if Some(&self.logs[log].name) == self.refuses_append.as_ref()) {
            self.refuses_append = None;
            Err(StoreFault::Full)
        } else {
            Ok(self.execute(op))
        };
        self.input(Input::Stored { ticket, outcome });
        true
    }

    /// Lets the store do everything.
    pub(crate) fn settle(&mut self) {
        while self.step() {}
    }

    /// Lets the store do what comes before the first operation that `stop` names.
    pub(crate) fn settle_until(&mut self, stop: impl Fn(&StoreOp) -> bool) {
        while self.ops.front().is_some_and(|(_, op)| !stop(op)) {
            self.step();
        }
        assert!(!self.ops.is_empty(), "the store was never asked for that");
    }

    /// Lets time pass, deadline by deadline; the store is quick.
    pub(crate) fn pass(&mut self, by: Duration) {
        let end = self.now.at.after(by);
        while let Some((at, _)) = self.broker.deadline().filter(|(at, _)| *at <= end) {
            self.set_clock(at.max(self.now.at));
            self.input(Input::Tick);
            self.settle();
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, at: Instant) {
        self.now.wall.0 += i64::try_from(at.since(self.now.at).as_millis()).expect("short tests");
        self.now.at = at;
    }

    fn dir_of(&self, op: &StoreOp) -> DirId {
        match op {
            StoreOp::Create { dir, .. } | StoreOp::Save { dir, .. } | StoreOp::Remove { dir, .. } | StoreOp::Read { dir, .. } => *dir,
            StoreOp::Space { dir } => *dir,
            StoreOp::Append { log, .. }
            | StoreOp::Sync { log }
            | StoreOp::Load { log, .. }
            | StoreOp::Discard { log, .. }
            | StoreOp::Clean { log, .. }
            | StoreOp::Restart { log, .. }
            | StoreOp::Roll { log, .. }
            | StoreOp::Locate { log, .. }
            | StoreOp::FindTime { log, .. }
            | StoreOp::Truncate { log, .. }
            | StoreOp::Reopen { log }
            | StoreOp::Delete { log } => self.homes[log],
        }
    }

    fn execute(&mut self, op: StoreOp) -> Stored {
        match op {
            StoreOp::Create { log, dir, name, topic } => {
                assert!(self.logs.values().all(|l| (l.dir, &l.name) != (dir, &name)), "{name} is there already");
                self.logs.insert(log, MemoryLog { dir, name, topic, batches: Vec::new(), synced: 0, start: Offset::ZERO });
                Stored::Done
            }
            StoreOp::Delete { log } => {
                self.logs.remove(&log).expect("deleted once");
                Stored::Done
            }
            StoreOp::Append { log, at, batches } => {
                let log = self.logs.get_mut(&log).expect("made before");
                assert_eq!(at, log.end());
                log.batches.extend(batches);
                Stored::Appended { end: log.end() }
            }
            StoreOp::Sync { log } => {
                let log = self.logs.get_mut(&log).expect("made before");
                log.synced = log.batches.len();
                Stored::Synced { end: log.end() }
            }
            StoreOp::Load { log, from, until, .. } => {
                let inside = |b: &&Batch| b.header().next_offset() > from && b.header().base_offset < until;
                // One at a time, so that whoever loads must go on.
                Stored::Loaded(self.logs[&log].batches.iter().filter(inside).take(1).cloned().collect())
            }
            StoreOp::Discard { log, start, below } => {
                let log = self.logs.get_mut(&log).expect("made before");
                let gone = log.batches.iter().take_while(|b| b.header().next_offset() <= below).count();
                log.batches.drain(..gone);
                log.synced = log.synced.saturating_sub(gone);
                log.start = start;
                Stored::Done
            }
            StoreOp::Restart { log, at } => {
                let log = self.logs.get_mut(&log).expect("made before");
                (log.start, log.synced) = (at, 0);
                log.batches.clear();
                Stored::Reopened(Box::new(log.recovered(None)))
            }
            StoreOp::Remove { dir, name } => {
                self.saved.remove(&(dir, name));
                Stored::Done
            }
            StoreOp::Read { dir, name, from, max_bytes } => {
                let bytes = &self.saved[&(dir, name)];
                let (size, from) = (bytes.len(), usize::try_from(from).expect("small").min(bytes.len()));
                let until = size.min(from + max_bytes as usize);
                Stored::Read { size: size as u64, bytes: bytes.slice(from..until) }
            }
            StoreOp::Save { dir, name, bytes } => {
                self.saved.insert((dir, name), bytes);
                Stored::Done
            }
            StoreOp::Roll { .. } => Stored::Done,
            StoreOp::Clean { dirty, .. } => {
                let fault = Some(StoreFault::Gone);
                Stored::Cleaned(Box::new(Cleaned { dirty, until: Offset::ZERO, segments: Vec::new(), has_gaps: false, bytes: 0, fault }))
            }
            StoreOp::Locate { .. } => Stored::Located(None),
            StoreOp::FindTime { .. } => Stored::Found(None),
            StoreOp::Space { .. } => Stored::Space { total: 1 << 41, free: 1 << 40 },
            StoreOp::Truncate { log, .. } | StoreOp::Reopen { log } => Stored::Reopened(Box::new(self.logs[&log].recovered(None))),
        }
    }

    /// Sends a request; the store does nothing yet.
    pub(crate) fn send(&mut self, conn: ConnId, version: i16, body: impl Into<Request>) -> CorrelationId {
        let body = body.into();
        self.next += 1;
        let correlation = CorrelationId(self.next);
        let header = RequestHeader { api: body.api(), version, correlation, client_id: None };
        self.input(Input::Request { conn, header, body, batches: Vec::new() });
        correlation
    }

    /// Sends a request and lets the store do everything; the answer.
    pub(crate) fn ask(&mut self, version: i16, body: impl Into<Request>) -> Response {
        self.ask_by(CLIENT, version, body)
    }

    /// The same by another connection.
    pub(crate) fn ask_by(&mut self, conn: ConnId, version: i16, body: impl Into<Request>) -> Response {
        let correlation = self.send(conn, version, body);
        self.settle();
        self.answer(correlation).unwrap_or_else(|| panic!("no answer; notes: {:?}, halted: {:?}", self.notes, self.halted))
    }

    /// Lets the wall clock and the other one go on, and the store do everything.
    pub(crate) fn later(&mut self, by: Duration) {
        let wall = Timestamp(self.now.wall.0 + i64::try_from(by.as_millis()).expect("not that long"));
        self.now = Now { at: self.now.at.after(by), wall };
        self.input(Input::Tick);
        self.settle();
    }

    /// Produces one batch of `records` records to a partition with acks=all; its error code.
    pub(crate) fn produce(&mut self, topic: &str, index: i32, records: i32) -> ErrorCode {
        self.produce_all(&[(topic, index, records)]).responses[0].partition_responses[0].error_code
    }

    /// Produces one record of a producer with acks=all; the error code.
    pub(crate) fn produce_as(&mut self, topic: &str, index: i32, identity: Identity) -> ErrorCode {
        self.produce_by(identity, &[(topic, index, 1)]).responses[0].partition_responses[0].error_code
    }

    /// Produces a batch for each topic, partition and number of records, with one request and acks=all.
    pub(crate) fn produce_all(&mut self, named: &[(&str, i32, i32)]) -> ProduceResponse {
        self.produce_by(Identity::NONE, named)
    }

    fn produce_by(&mut self, identity: Identity, named: &[(&str, i32, i32)]) -> ProduceResponse {
        let mut request = ProduceRequest { acks: -1, timeout_ms: 1000, ..Default::default() };
        let mut batches = Vec::new();
        for (topic, index, records) in named {
            let mut builder = BatchBuilder::new(Compression::None, None);
            (0..*records).for_each(|_| builder.push(self.now.wall, &Payload { key: None, value: Some("x".into()), headers: vec![] }));
            batches.push(Ok(builder.finish(identity)));
            let partition = PartitionProduceData { index: PartitionIndex(*index), ..Default::default() };
            request.topic_data.push(TopicProduceData { name: (*topic).to_owned(), partition_data: vec![partition], ..Default::default() });
        }
        self.carried(9, request, batches)
    }

    /// Produces one record to a topic by its id, with acks=all; the error code.
    pub(crate) fn produce_to(&mut self, topic_id: Uuid, index: i32) -> ErrorCode {
        let mut builder = BatchBuilder::new(Compression::None, None);
        builder.push(self.now.wall, &Payload { key: None, value: Some("x".into()), headers: vec![] });
        let partition = PartitionProduceData { index: PartitionIndex(index), ..Default::default() };
        let topic = TopicProduceData { topic_id, partition_data: vec![partition], ..Default::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() };
        self.carried(13, request, vec![Ok(builder.finish(Identity::NONE))]).responses[0].partition_responses[0].error_code
    }

    fn carried(&mut self, version: i16, request: ProduceRequest, batches: Vec<Result<Batch, BadBatch>>) -> ProduceResponse {
        self.next += 1;
        let (correlation, body) = (CorrelationId(self.next), Request::from(request));
        let header = RequestHeader { api: body.api(), version, correlation, client_id: None };
        self.input(Input::Request { conn: CLIENT, header, body, batches });
        self.settle();
        match self.answer(correlation) {
            Some(Response::Produce(body)) => body,
            other => panic!("another answer: {other:?}"),
        }
    }

    /// The operator wants the node to stop.
    pub(crate) fn stop(&mut self) {
        self.input(Input::Stop);
    }

    /// Why it has ended, if it has.
    pub(crate) fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// The answer to a request, if it has come.
    pub(crate) fn answer(&mut self, correlation: CorrelationId) -> Option<Response> {
        let at = self.replies.iter().position(|(_, c, _)| *c == correlation)?;
        Some(self.replies.remove(at).2)
    }

    /// The directories that have a folder of that name, by their numbers.
    pub(crate) fn dirs_with(&self, name: &str) -> Vec<u16> {
        self.logs.values().filter(|log| log.name == name).map(|log| log.dir.0).collect()
    }

    /// A folder turns out to be of another topic.
    pub(crate) fn disown(&mut self, name: &str) {
        self.logs.values_mut().find(|log| log.name == name).expect("its log").topic = Uuid([0xee; 16]);
    }

    /// Somebody copies a log, without records, to another directory.
    pub(crate) fn double(&mut self, name: &str, dir: u16) {
        let topic = self.logs.values().find(|log| log.name == name).expect("its log").topic;
        let copy = MemoryLog { dir: DirId(dir), name: name.to_owned(), topic, batches: Vec::new(), synced: 0, start: Offset(0) };
        self.logs.insert(LogId(u64::MAX), copy);
    }

    /// The second directory cannot be used any more, or can again: the next start sees that.
    pub(crate) fn break_second(&mut self, is_broken: bool) {
        self.broken = is_broken.then_some(DirId(1));
    }

    /// No small file can be saved in a directory, or they can again.
    pub(crate) fn fill(&mut self, dir: Option<u16>) {
        self.full = dir.map(DirId);
    }

    /// The next append to a log of that folder finds no room.
    pub(crate) fn refuse_append(&mut self, folder: &str) {
        self.refuses_append = Some(folder.to_owned());
    }

    /// The folders on disk.
    pub(crate) fn folders(&self) -> Vec<String> {
        let mut names: Vec<String> = self.logs.values().map(|l| l.name.clone()).collect();
        names.sort();
        names
    }

    /// The paths of the small files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.saved.keys().map(|(_, path)| path.as_str())
    }

    /// What a small file of the first directory holds.
    pub(crate) fn file(&self, path: &str) -> &Bytes {
        &self.saved[&(DirId(0), path.to_owned())]
    }

    /// A byte in the midst of a small file rots.
    pub(crate) fn damage(&mut self, path: &str) {
        let mut bytes = self.file(path).to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.saved.insert((DirId(0), path.to_owned()), bytes.into());
    }

    fn named(&mut self, folder: &str) -> &mut MemoryLog {
        self.logs.values_mut().find(|log| log.name == folder).expect("a log of that name")
    }

    /// The newest producer snapshot that is not beyond the log's end.
    fn snapshot_of(&self, log: &MemoryLog) -> Option<(Offset, Producers)> {
        let offset = |path: &str| path.strip_prefix(&format!("{}/", log.name))?.strip_suffix(".snapshot")?.parse().ok().map(Offset);
        let saved = self.saved.iter().filter(|((dir, _), _)| *dir == log.dir);
        let known = saved.filter_map(|((_, path), bytes)| Some((offset(path)?, bytes))).filter(|(at, _)| *at <= log.end());
        known.max_by_key(|(at, _)| *at).map(|(at, bytes)| (at, Producers::decode(bytes.clone()).expect("whole")))
    }

    /// Where a log begins.
    pub(crate) fn start_of(&mut self, folder: &str) -> Offset {
        self.named(folder).start
    }

    /// Only so many batches of a log were on the disk.
    pub(crate) fn cut(&mut self, folder: &str, batches: usize) {
        self.named(folder).synced = batches;
    }

    /// The process dies and starts again; what was not synced is gone, and operations under way never happen.
    pub(crate) fn crash(&mut self) {
        self.ops.clear();
        self.replies.clear();
        let found = |(at, dir): (usize, &LogDir)| FoundDir {
            dir: DirId(u16::try_from(at).expect("few directories")),
            id: dir.id,
            clean: None,
            logs: Vec::new(),
            saved: self
                .saved
                .iter()
                .filter(|((dir, _), _)| usize::from(dir.0) == at)
                .map(|((_, name), bytes)| (name.clone(), bytes.clone()))
                .collect(),
        };
        let mut dirs: Vec<FoundDir> = self.config.dirs.iter().enumerate().map(found).collect();
        for (at, mut log) in std::mem::take(&mut self.logs).into_values().enumerate() {
            log.batches.truncate(log.synced);
            let snapshot = self.snapshot_of(&log);
            let id = LogId(u64::try_from(at).expect("few logs"));
            let found = FoundLog { log: id, name: log.name.clone(), topic: log.topic, state: Ok(log.recovered(snapshot)) };
            dirs[usize::from(log.dir.0)].logs.push(found);
            self.homes.insert(id, log.dir);
            self.logs.insert(id, log);
        }
        self.seed += 1;
        dirs.retain(|dir| Some(dir.dir) != self.broken);
        let offline = self.broken.iter().map(|dir| (*dir, "broken".to_owned())).collect();
        self.broker = Broker::new(Config::new(self.config.clone()), self.seed, RecoveredNode { dirs, offline });
        self.open(CLIENT);
        self.settle();
    }
}

/// The body of an answer, which must be of that kind.
#[macro_export]
macro_rules! answer {
    ($kind:ident, $answer:expr) => {
        match $answer {
            klamm_core::wire::Response::$kind(body) => body,
            other => panic!("another answer: {other:?}"),
        }
    };
}
