//! Random operations on a few logs, with crashes at any disk completion, against a model of what must and what may be there afterwards.

use super::pace::Slow;
use bytes::Bytes;
use klamm::store::{Identity, MetaProperties, Opened, Options, Outcome, Store, format, open};
use klamm_core::id::{BrokerId, DirId, LeaderEpoch, LogId, Offset, ProducerEpoch, ProducerId, Sequence, Ticket, Uuid};
use klamm_core::log::epochs::Epochs;
use klamm_core::log::producers::Producers;
use klamm_core::log::segments::Segment;
use klamm_core::log::{FoundDir, FoundLog, Recovered};
use klamm_core::rng::{Rng, stream};
use klamm_core::store::{StoreFault, StoreOp, Stored};
use klamm_core::time::Timestamp;
use klamm_core::wire::batch::{Batch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity as Producer, Payload, Records};
use klamm_sim::chance::Chance;
use klamm_sim::disk::Disk;
use rand::Rng as _;
use std::collections::BTreeMap;

const DIR: DirId = DirId(0);
const ALL: Offset = Offset(i64::MAX);

/// What a run went through.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) crashes: u64,
    pub(crate) lost_writes: u64,
    pub(crate) torn_writes: u64,
    pub(crate) lost_names: u64,
    pub(crate) truncations: u64,
    pub(crate) rolls: u64,
    pub(crate) synced_records: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.lost_writes += other.lost_writes;
        self.torn_writes += other.torn_writes;
        self.lost_names += other.lost_names;
        self.truncations += other.truncations;
        self.rolls += other.rolls;
        self.synced_records += other.synced_records;
    }
}

/// One log as the core would know it.
#[derive(Clone, Default)]
struct Model {
    name: String,
    id: LogId,
    /// Tells logs of one name apart.
    topic: Uuid,
    /// Everything that was issued and not cut by an issued truncation, by base offset.
    batches: BTreeMap<i64, Batch>,
    end: i64,
    /// Base of the active segment.
    active: i64,
    /// What a crash must leave.
    synced: i64,
    /// What a process that dies must leave.
    written: i64,
    start: i64,
    /// Batches that an issued truncation cut, but which a crash before its end may leave.
    ghosts: Vec<Batch>,
    /// Where the truncations issued in this life cut.
    cuts: Vec<i64>,
    epoch: i32,
    /// Whether the epoch began without a batch so far.
    unsaved: bool,
    sequence: i32,
    created: bool,
    deleting: bool,
    /// Whether its deletion was acknowledged.
    deleted: bool,
}

enum Pending {
    Create(usize),
    Delete(usize),
    Append { at: usize, cuts: usize },
    Sync { at: usize, cuts: usize },
    Truncate { at: usize, cut: i64 },
    Save { name: String, bytes: Bytes },
    Other,
}

struct World {
    rng: Rng,
    disk: Disk,
    store: Option<Store<Disk>>,
    tickets: u64,
    next_log: u64,
    pending: BTreeMap<Ticket, Pending>,
    logs: Vec<Model>,
    /// Names and what they may hold: the last acknowledged content first, then what was issued behind it.
    saved: BTreeMap<String, Vec<Option<Bytes>>>,
    time: i64,
    seen: Seen,
    /// Whether a sync was made to fail in this life.
    failing: bool,
}

/// Runs a seed; the first thing that is wrong, if any is.
pub(crate) fn run(seed: u64) -> Result<Seen, String> {
    let slow = Slow::new(seed);
    let disk = Disk::new(Chance::of_seed(seed), 1, 0, slow.pace());
    let mut world = World {
        rng: stream(seed, "world"),
        disk,
        store: None,
        tickets: 0,
        next_log: 0,
        pending: BTreeMap::new(),
        logs: Vec::new(),
        saved: BTreeMap::new(),
        time: 1_000_000,
        seen: Seen::default(),
        failing: false,
    };
    let properties = MetaProperties { owner: identity().clone(), directory: Uuid([1; 16]) };
    slow.block_on(format(&world.disk, &properties)).map_err(|error| error.to_string())?;
    for _ in 0..5 {
        world.life(&slow)?;
    }
    let bites = world.disk.bites();
    world.seen.lost_writes = bites.lost_writes;
    world.seen.torn_writes = bites.torn_writes;
    world.seen.lost_names = bites.lost_names;
    Ok(world.seen)
}

impl World {
    /// A start, some operations, and an end of one kind or another.
    fn life(&mut self, slow: &Slow) -> Result<(), String> {
        // Now and then the power fails while the store recovers, as often as chance likes.
        while self.rng.random_bool(0.2) {
            let most = self.rng.random_range(0..200);
            let opening = open(vec![(DIR, self.disk.clone())], identity(), options());
            let interrupted = slow.run(opening, most).is_none();
            self.crash(true);
            if !interrupted {
                break;
            }
        }
        let Opened { store, mut dirs } = slow.block_on(open(vec![(DIR, self.disk.clone())], identity(), options()));
        self.store = Some(store);
        let found = dirs.remove(0).1.map_err(|why| format!("the directory does not open: {why}"))?;
        self.compare(slow, found)?;
        for log in 0..self.logs.len() {
            self.search(slow, log)?;
        }
        for _ in 0..self.rng.random_range(5..120) {
            let op = self.rng.random_range(0..100);
            self.issue(op);
            if self.rng.random_bool(0.5) {
                let most = self.rng.random_range(0..40);
                self.advance(slow, most)?;
            }
        }
        self.end(slow)
    }

    fn end(&mut self, slow: &Slow) -> Result<(), String> {
        match self.rng.random_range(0..10) {
            0..7 => {
                let most = self.rng.random_range(0..300);
                self.advance(slow, most)?;
                self.crash(true);
            }
            7 => {
                self.crash(false);
            }
            8 => {
                self.advance(slow, u64::MAX)?;
                let store = self.store.take().expect("a store is open");
                let closed = slow.block_on(store.close(Bytes::from_static(b"{}")));
                if closed.iter().any(|(_, outcome)| outcome.is_err()) {
                    return Err(format!("it does not close: {closed:?}"));
                }
                for log in &mut self.logs {
                    log.synced = log.written;
                }
            }
            _ => {
                self.disk.faults(|faults| faults.failing_syncs = 1);
                self.failing = true;
                for _ in 0..3 {
                    self.issue(10);
                    self.issue(60);
                }
                self.advance(slow, u64::MAX)?;
                self.disk.faults(|faults| faults.failing_syncs = 0);
                self.crash(true);
            }
        }
        Ok(())
    }

    fn crash(&mut self, power: bool) {
        self.store = None;
        self.failing = false;
        self.pending.clear();
        self.disk = self.disk.crash(power);
        self.seen.crashes += 1;
        for log in &mut self.logs {
            if power {
                log.written = log.synced;
            }
        }
    }

    fn submit(&mut self, op: StoreOp, pending: Pending) {
        self.tickets += 1;
        self.pending.insert(Ticket(self.tickets), pending);
        self.store.as_mut().expect("a store is open").submit(Ticket(self.tickets), op);
    }

    fn issue(&mut self, op: u32) {
        if self.logs.iter().filter(|log| !log.deleting).count() < 2 && op < 30 {
            return self.create();
        }
        let alive: Vec<usize> = (0..self.logs.len()).filter(|at| !self.logs[*at].deleting).collect();
        if alive.is_empty() {
            return;
        }
        let at = alive[self.rng.random_range(0..alive.len())];
        match op {
            0..50 => self.append(at),
            50..75 => self.submit(StoreOp::Sync { log: self.logs[at].id }, Pending::Sync { at, cuts: self.logs[at].cuts.len() }),
            75..83 => self.roll(at),
            83..90 => self.truncate(at),
            90..92 => {
                let log = &mut self.logs[at];
                let within: Vec<i64> = log.batches.range(log.start..log.active).map(|(base, _)| *base).collect();
                let Some(below) = within.get(within.len() / 2).copied() else { return };
                log.start = below;
                self.submit(StoreOp::Discard { log: self.logs[at].id, start: Offset(below), below: Offset(below) }, Pending::Other);
            }
            92..98 => self.save(at),
            _ => {
                self.logs[at].deleting = true;
                self.submit(StoreOp::Delete { log: self.logs[at].id }, Pending::Delete(at));
            }
        }
    }

    fn create(&mut self) {
        let taken = |name: &String| self.logs.iter().any(|log| !log.deleting && log.name == *name);
        let name = (0..).map(|n| format!("t-{n}")).find(|name| !taken(name)).expect("names do not end");
        // A topic that is deleted and made again: the model keeps the old one until it is known to be gone.
        let at = self.logs.len();
        self.next_log += 1;
        let id = LogId(1000 + self.next_log);
        let topic = Uuid(u128::from(self.next_log).to_be_bytes());
        self.logs.push(Model { name: name.clone(), id, topic, ..Model::default() });
        self.submit(StoreOp::Create { log: id, dir: DIR, name, topic }, Pending::Create(at));
    }

    fn append(&mut self, at: usize) {
        let mut batches = Vec::new();
        let before = self.logs[at].epoch;
        for _ in 0..self.rng.random_range(1..4) {
            let records = self.rng.random_range(1..5);
            let bytes = if self.rng.random_bool(0.1) { 3000 } else { self.rng.random_range(0..60) };
            self.time += self.rng.random_range(-3..10);
            if self.rng.random_bool(0.1) {
                self.logs[at].epoch += 1;
            }
            let idempotent = self.rng.random_bool(0.5);
            let log = &mut self.logs[at];
            let batch = make(log, records, bytes, self.time, idempotent);
            log.end = batch.header().next_offset().0;
            log.batches.insert(batch.header().base_offset.0, batch.clone());
            batches.push(batch);
        }
        let log = &self.logs[at];
        let first = batches[0].header().base_offset;
        let pending = Pending::Append { at, cuts: log.cuts.len() };
        let checkpoint =
            (before != log.epoch || log.unsaved).then(|| (format!("{}/leader-epoch-checkpoint", log.name), epochs(&log.batches)));
        self.submit(StoreOp::Append { log: log.id, at: first, batches }, pending);
        if let Some((name, epochs)) = checkpoint {
            self.logs[at].unsaved = false;
            self.submit(StoreOp::Save { dir: DIR, name, bytes: epochs.encode().into() }, Pending::Other);
        }
    }

    fn roll(&mut self, at: usize) {
        let log = &mut self.logs[at];
        log.active = log.end;
        let (id, end) = (log.id, log.end);
        let bytes = producers(&log.batches).encode();
        let name = format!("{}/{end:020}.snapshot", log.name);
        self.seen.rolls += 1;
        self.submit(StoreOp::Save { dir: DIR, name, bytes }, Pending::Other);
        self.submit(StoreOp::Roll { log: id, at: Offset(end) }, Pending::Other);
    }

    fn truncate(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let to = self.rng.random_range(log.start..=log.end);
        let cut =
            log.batches.range(..=to).next_back().filter(|(_, batch)| batch.header().next_offset().0 > to).map_or(to, |(base, _)| *base);
        let gone = log.batches.split_off(&cut);
        log.ghosts.extend(gone.into_values());
        log.cuts.push(cut);
        log.end = cut;
        log.synced = log.synced.min(cut);
        log.written = log.written.min(cut);
        log.active = log.active.min(cut);
        // The next leader has a new epoch, so that no offset ever holds two batches of one epoch.
        log.epoch += 1;
        log.unsaved = true;
        log.sequence = next_sequence(&log.batches);
        let id = log.id;
        self.seen.truncations += 1;
        self.submit(StoreOp::Truncate { log: id, to: Offset(to) }, Pending::Truncate { at, cut });
    }

    fn save(&mut self, at: usize) {
        let n = self.rng.random_range(0..2);
        // The name of a log that is deleted and made again would hold less than what was saved.
        let name = if self.rng.random_bool(0.2) && !self.logs[at].name.is_empty() { format!("other-{n}") } else { format!("small-{n}") };
        let bytes = Bytes::from(format!("content {}", self.tickets));
        self.saved.entry(name.clone()).or_insert_with(|| vec![None]).push(Some(bytes.clone()));
        self.submit(StoreOp::Save { dir: DIR, name: name.clone(), bytes: bytes.clone() }, Pending::Save { name, bytes });
    }

    /// Lets the store work for at most so many disk completions.
    fn advance(&mut self, slow: &Slow, most: u64) -> Result<(), String> {
        let mut store = self.store.take().expect("a store is open");
        let mut done = Vec::new();
        slow.run(
            async {
                while store.outstanding().ops > 0 {
                    done.push(store.done().await);
                }
            },
            most,
        );
        while let std::task::Poll::Ready(more) = store.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            done.push(more);
        }
        self.store = Some(store);
        done.into_iter().try_for_each(|(ticket, outcome)| self.settle(ticket, outcome))
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) -> Result<(), String> {
        let pending = self.pending.remove(&ticket).ok_or("answered twice")?;
        match (pending, outcome) {
            (Pending::Create(at), Ok(Stored::Done)) => self.logs[at].created = true,
            (Pending::Delete(at), Ok(Stored::Done)) => self.logs[at].deleted = true,
            (Pending::Append { at, cuts }, Ok(Stored::Appended { end })) => {
                let log = &mut self.logs[at];
                log.written = log.written.max(log.uncut(end.0, cuts));
            }
            (Pending::Sync { at, cuts }, Ok(Stored::Synced { end })) => {
                let log = &mut self.logs[at];
                let synced = log.uncut(end.0, cuts);
                self.seen.synced_records += u64::try_from(synced - log.synced).unwrap_or(0);
                log.synced = log.synced.max(synced);
                log.written = log.written.max(synced);
            }
            (Pending::Truncate { at, cut }, Ok(Stored::Reopened(recovered))) => {
                if recovered.end.0 != cut {
                    return Err(format!("{} was cut to {} instead of {cut}", self.logs[at].name, recovered.end));
                }
            }
            (Pending::Save { name, bytes }, Ok(Stored::Done)) => {
                let may = self.saved.get_mut(&name).expect("it was issued");
                let at = may.iter().position(|held| held.as_ref() == Some(&bytes)).ok_or("an older save ended behind a newer one")?;
                may.drain(..at);
            }
            (Pending::Other, Ok(_)) => {}
            (_, Err(StoreFault::Offline { .. })) if self.failing => {}
            (_, other) => return Err(format!("{other:?}")),
        }
        Ok(())
    }

    /// Compares what a start found with what must and may be there, and goes on with that.
    fn compare(&mut self, slow: &Slow, found: FoundDir) -> Result<(), String> {
        for (name, may) in &mut self.saved {
            let held = found.saved.get(name).cloned();
            if !may.contains(&held) {
                return Err(format!("{name} holds {held:?}, not one of {may:?}"));
            }
            *may = vec![held];
        }
        let mut models = Vec::new();
        for FoundLog { log: id, name, topic, state } in found.logs {
            let position = self.logs.iter().position(|log| log.topic == topic).ok_or_else(|| format!("{name} is not known"))?;
            let model = self.logs.remove(position);
            if model.deleted {
                return Err(format!("{name} was deleted and is back"));
            }
            let recovered = state.map_err(|fault| format!("{name}, synced to {}: {fault:?}", model.synced))?;
            models.push((Model { id, name, deleting: false, created: true, cuts: Vec::new(), ..model }, recovered));
        }
        if let Some(lost) = self.logs.iter().find(|log| log.created && !log.deleting) {
            return Err(format!("{} was made and is gone", lost.name));
        }
        self.logs.clear();
        for (mut model, recovered) in models {
            self.adopt(slow, &mut model, &recovered).map_err(|why| format!("{}: {why}", model.name))?;
            self.logs.push(model);
        }
        Ok(())
    }

    /// Reads the whole log, compares it with what must and may be there, and makes it the model's.
    fn adopt(&mut self, slow: &Slow, model: &mut Model, recovered: &Recovered) -> Result<(), String> {
        if recovered.end.0 < model.written {
            return Err(format!("ends at {}, but {} was durable", recovered.end, model.written));
        }
        if recovered.start.0 > model.start {
            return Err(format!("starts at {}, but was asked to start at {}", recovered.start, model.start));
        }
        let read = self.read_all(slow, model.id, recovered)?;
        let must = model.written;
        for batch in &read {
            let base = batch.header().base_offset.0;
            let known = model.batches.get(&base).is_some_and(|known| whole(known) == whole(batch));
            let ghost = base >= must && model.ghosts.iter().any(|ghost| whole(ghost) == whole(batch));
            if !known && !ghost {
                return Err(format!("the batch at {base} was never written there"));
            }
        }
        model.batches.retain(|base, _| *base < recovered.start.0);
        model.batches.extend(read.into_iter().map(|batch| (batch.header().base_offset.0, batch)));
        (model.start, model.end) = (recovered.start.0, recovered.end.0);
        (model.written, model.synced) = (model.end, model.end);
        model.active = recovered.segments.last().ok_or("no segment")?.base.0;
        model.ghosts.clear();
        // A new process is a new leader.
        model.epoch += 1;
        model.unsaved = true;
        model.sequence = next_sequence(&model.batches);
        derived(model, recovered)
    }

    fn read_all(&mut self, slow: &Slow, log: LogId, recovered: &Recovered) -> Result<Vec<Batch>, String> {
        let store = self.store.as_mut().expect("a store is open");
        let mut read = Vec::new();
        let mut next = recovered.start;
        while next < recovered.end {
            store.submit(Ticket(u64::MAX), StoreOp::Load { log, from: next, until: ALL, max_bytes: 500 });
            match slow.block_on(store.done()).1 {
                Ok(Stored::Loaded(batches)) if !batches.is_empty() => {
                    for batch in batches {
                        if batch.header().base_offset != next {
                            return Err(format!("a batch at {} instead of {next}", batch.header().base_offset));
                        }
                        next = batch.header().next_offset();
                        read.push(batch);
                    }
                }
                other => return Err(format!("load from {next}: {other:?} in {recovered:?}")),
            }
        }
        if next != recovered.end {
            return Err(format!("its last batch ends at {next}, it at {}", recovered.end));
        }
        Ok(read)
    }

    /// Searches the log by time.
    fn search(&mut self, slow: &Slow, at: usize) -> Result<(), String> {
        let log = self.logs[at].clone();
        let store = self.store.as_mut().expect("a store is open");
        let there: Vec<&Batch> = log.batches.range(log.start..).map(|(_, batch)| batch).collect();
        for _ in 0..6.min(there.len()) {
            let some = there[self.rng.random_range(0..there.len())];
            let time = Timestamp(some.header().max_timestamp.0 + self.rng.random_range(-2..3));
            let from = Offset(self.rng.random_range(log.start..log.end));
            store.submit(Ticket(u64::MAX), StoreOp::FindTime { log: log.id, time, from, until: ALL });
            let Ok(Stored::Found(found)) = slow.block_on(store.done()).1 else { return Err("a search failed".into()) };
            let records = there.iter().flat_map(|batch| Records::of(batch, 1 << 20).expect("readable"));
            let expected = records.map(|record| record.expect("readable")).find(|record| record.offset >= from && record.timestamp >= time);
            if found.map(|found| (found.offset, found.time)) != expected.map(|record| (record.offset, record.timestamp)) {
                return Err(format!("{}: {time:?} from {from} is found at {found:?}", log.name));
            }
        }
        Ok(())
    }
}

impl Model {
    /// How far an end that was reported still holds, when `cuts` truncations had been issued before the operation.
    fn uncut(&self, end: i64, cuts: usize) -> i64 {
        self.cuts[cuts..].iter().copied().fold(end, i64::min)
    }
}

/// What is derived from a log must equal a replay of it.
fn derived(model: &Model, recovered: &Recovered) -> Result<(), String> {
    let mut expected = epochs(&model.batches);
    expected.cut_end(recovered.end);
    expected.cut_start(recovered.start);
    // Where nothing is left of what was discarded, only a checkpoint could tell, which may not have been saved in time.
    let bare = recovered.start == recovered.end && recovered.epochs.entries().is_empty();
    if expected != recovered.epochs && !bare {
        return Err(format!("epochs {:?} instead of {expected:?}", recovered.epochs));
    }
    // Of what was discarded a lost snapshot could tell more than a replay.
    if recovered.start.0 == 0 && producers(&model.batches) != recovered.producers {
        return Err(format!("producers {:?} instead of {:?}", recovered.producers, producers(&model.batches)));
    }
    for (at, segment) in recovered.segments.iter().enumerate() {
        let end = recovered.segments.get(at + 1).map_or(i64::MAX, |next| next.base.0);
        let mut expected = Segment::empty(segment.base);
        for (_, batch) in model.batches.range(segment.base.0..end) {
            let header = batch.header();
            if expected.bytes == 0 {
                expected.first_timestamp = header.max_timestamp;
            }
            if header.max_timestamp > expected.max_timestamp {
                (expected.max_timestamp, expected.max_timestamp_offset) = (header.max_timestamp, header.last_offset());
            }
            expected.bytes += u64::from(header.bytes);
        }
        if expected != *segment {
            return Err(format!("{segment:?} instead of {expected:?}"));
        }
    }
    Ok(())
}

fn identity() -> &'static Identity {
    static IDENTITY: Identity = Identity { cluster: String::new(), node: BrokerId(1) };
    &IDENTITY
}

/// Small, so that indexes have entries and files are closed and opened again.
fn options() -> Options {
    Options { index_interval_bytes: 150, index_run: 64, open_files: 4, recoveries: 2 }
}

fn whole(batch: &Batch) -> Vec<u8> {
    batch.pieces().flat_map(|piece| piece.to_vec()).collect()
}

fn make(log: &mut Model, records: i32, bytes: usize, time: i64, idempotent: bool) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, None);
    for record in 0..records {
        let value = Bytes::from(format!("{} {} {record} {}", log.name, log.end, "x".repeat(bytes)));
        builder.push(Timestamp(time + i64::from(record % 3)), &Payload { key: None, value: Some(value), headers: Vec::new() });
    }
    let mut producer = Producer::NONE;
    if idempotent {
        producer = Producer { id: ProducerId(1), epoch: ProducerEpoch(0), sequence: Sequence(log.sequence) };
        log.sequence += records;
    }
    builder.finish(producer).stamp(Offset(log.end), LeaderEpoch(log.epoch))
}

fn producers(batches: &BTreeMap<i64, Batch>) -> Producers {
    let mut producers = Producers::default();
    batches.values().for_each(|batch| producers.replay(batch.header()));
    producers
}

fn next_sequence(batches: &BTreeMap<i64, Batch>) -> i32 {
    let producers = producers(batches);
    producers.get(ProducerId(1)).and_then(|producer| producer.batches.back()).map_or(0, |last| last.last_sequence.plus(1).0)
}

fn epochs(batches: &BTreeMap<i64, Batch>) -> Epochs {
    let mut epochs = Epochs::default();
    batches.values().for_each(|batch| epochs.assign(batch.header().leader_epoch, batch.header().base_offset));
    epochs
}
