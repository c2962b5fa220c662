//! Keyed records, cleanings and crashes at any disk completion, on one log: the newest record of each key is there, a tombstone for as long as it must be, every
//! record where it was, and of segments that were being replaced the old ones or the new one, whole.

use super::pace::Slow;
use bytes::Bytes;
use klamm::store::{Identity, MetaProperties, Opened, Options, Store, format, open};
use klamm_core::id::{BrokerId, DirId, LeaderEpoch, LogId, Offset, ProducerEpoch, ProducerId, Sequence, Ticket, Uuid};
use klamm_core::log::Recovered;
use klamm_core::log::clean::Terms;
use klamm_core::log::producers::Producers;
use klamm_core::rng::{Rng, stream};
use klamm_core::store::{Cleaned, StoreOp, Stored};
use klamm_core::time::Timestamp;
use klamm_core::wire::batch::{Batch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity as Producer, Payload, Record, Records};
use klamm_sim::chance::Chance;
use klamm_sim::disk::Disk;
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};

const DIR: DirId = DirId(0);
const ALL: Offset = Offset(i64::MAX);
const RETENTION: i64 = 300;
const OPTIONS: Options = Options { index_interval_bytes: 150, index_run: 64, open_files: 4, recoveries: 1 };

/// What a run went through.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cleanings: u64,
    pub(crate) crashes: u64,
    /// Crashes while a cleaning was under way.
    pub(crate) cut_short: u64,
    pub(crate) records_gone: u64,
    pub(crate) tombstones_gone: u64,
    pub(crate) empty_batches: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.cleanings += other.cleanings;
        self.crashes += other.crashes;
        self.cut_short += other.cut_short;
        self.records_gone += other.records_gone;
        self.tombstones_gone += other.tombstones_gone;
        self.empty_batches += other.empty_batches;
    }
}

struct World {
    rng: Rng,
    disk: Disk,
    store: Option<Store<Disk>>,
    log: LogId,
    tickets: u64,
    /// Every batch as it was appended, by its first offset.
    history: BTreeMap<i64, Batch>,
    end: i64,
    /// A crash of the power leaves at least this.
    synced: i64,
    /// And the last one this.
    kept: i64,
    /// Where the active segment begins.
    active: i64,
    /// What was cleaned before, as the store said.
    dirty: Offset,
    /// When a cleaning first saw the tombstone at an offset: from then on, plus the retention, it may go.
    marked: BTreeMap<i64, i64>,
    /// Tombstones that may have gone.
    may_go: BTreeSet<i64>,
    time: i64,
    sequence: i32,
    seen: Seen,
}

/// Runs a seed; the first thing that is wrong, if any is.
pub(crate) fn run(seed: u64) -> Result<Seen, String> {
    let slow = Slow::new(seed);
    let disk = Disk::new(Chance::of_seed(seed), 1, 0, slow.pace());
    let owner = Identity { cluster: String::new(), node: BrokerId(1) };
    slow.block_on(format(&disk, &MetaProperties { owner: owner.clone(), directory: Uuid([1; 16]) })).map_err(|error| error.to_string())?;
    let mut world = World {
        rng: stream(seed, "world"),
        disk,
        store: None,
        log: LogId(7),
        tickets: 0,
        history: BTreeMap::new(),
        end: 0,
        synced: 0,
        kept: 0,
        active: 0,
        dirty: Offset::ZERO,
        marked: BTreeMap::new(),
        may_go: BTreeSet::new(),
        time: 1000,
        sequence: 0,
        seen: Seen::default(),
    };
    for life in 0..6 {
        world.life(&slow, &owner, life)?;
    }
    Ok(world.seen)
}

impl World {
    fn life(&mut self, slow: &Slow, owner: &Identity, life: u32) -> Result<(), String> {
        // Recovery, too, may be cut short.
        while life > 0 && self.rng.random_bool(0.3) {
            let most = self.rng.random_range(0..60);
            let _ = slow.run(open(vec![(DIR, self.disk.clone())], owner, OPTIONS), most);
            self.disk = self.disk.crash(true);
            self.kept = self.synced;
        }
        let Opened { store, mut dirs } = slow.block_on(open(vec![(DIR, self.disk.clone())], owner, OPTIONS));
        self.store = Some(store);
        let found = dirs.remove(0).1.map_err(|why| why.to_string())?;
        match found.logs.first() {
            None if life == 0 => {
                let create = StoreOp::Create { log: self.log, dir: DIR, name: "t-0".to_owned(), topic: Uuid([2; 16]) };
                self.ask(slow, create)?;
            }
            None => return Err("the log is gone".to_owned()),
            Some(log) => {
                self.log = log.log;
                let recovered = log.state.clone().map_err(|fault| format!("{fault:?}"))?;
                self.adopt(&recovered)?;
                self.compare(slow, Some(&recovered))?;
            }
        }
        for _ in 0..self.rng.random_range(4..14) {
            self.append(slow)?;
            if self.rng.random_bool(0.5) {
                self.roll(slow)?;
            }
            if self.rng.random_bool(0.3) {
                self.clean(slow, u64::MAX)?;
                self.compare(slow, None)?;
            }
        }
        self.fail(slow)
    }

    /// Ends the life: most of the time while a cleaning is under way.
    fn fail(&mut self, slow: &Slow) -> Result<(), String> {
        let power = self.rng.random_bool(0.8);
        if self.rng.random_bool(0.9) {
            self.sync(slow)?;
            self.roll(slow)?;
            self.sync(slow)?;
            let most = self.rng.random_range(0..60);
            self.clean(slow, most)?;
        }
        self.store = None;
        self.disk = self.disk.crash(power);
        self.seen.crashes += 1;
        self.kept = if power { self.synced } else { self.end };
        Ok(())
    }

    fn ask(&mut self, slow: &Slow, op: StoreOp) -> Result<Stored, String> {
        self.ask_within(slow, op, u64::MAX)?.ok_or_else(|| "no answer".to_owned())
    }

    fn ask_within(&mut self, slow: &Slow, op: StoreOp, completions: u64) -> Result<Option<Stored>, String> {
        self.tickets += 1;
        let store = self.store.as_mut().expect("a store is open");
        let text = format!("{op:?}");
        store.submit(Ticket(self.tickets), op);
        let done = slow.run(store.done(), completions).map(|(_, outcome)| outcome);
        done.transpose().map_err(|fault| format!("{text}: {fault:?}"))
    }

    fn append(&mut self, slow: &Slow) -> Result<(), String> {
        let mut batches = Vec::new();
        let at = Offset(self.end);
        for _ in 0..self.rng.random_range(1..4) {
            let batch = self.batch();
            self.end = batch.header().next_offset().0;
            self.history.insert(batch.header().base_offset.0, batch.clone());
            batches.push(batch);
        }
        self.ask(slow, StoreOp::Append { log: self.log, at, batches })?;
        if self.rng.random_bool(0.5) {
            self.sync(slow)?;
        }
        Ok(())
    }

    fn batch(&mut self) -> Batch {
        let codec = if self.rng.random_bool(0.5) { Compression::Lz4 } else { Compression::None };
        let mut builder = BatchBuilder::new(codec, None);
        let records = self.rng.random_range(1..5);
        for record in 0..records {
            self.time += self.rng.random_range(0..20);
            let key = Bytes::from(format!("key {}", self.rng.random_range(0..9)));
            let value = Bytes::from(format!("{} {record} {}", self.end, "x".repeat(self.rng.random_range(0..60))));
            let payload = Payload { key: Some(key), value: self.rng.random_bool(0.75).then_some(value), headers: Vec::new() };
            builder.push(Timestamp(self.time), &payload);
        }
        let mut producer = Producer::NONE;
        if self.rng.random_bool(0.3) {
            producer = Producer { id: ProducerId(1), epoch: ProducerEpoch(0), sequence: Sequence(self.sequence) };
            self.sequence += records;
        }
        builder.finish(producer).stamp(Offset(self.end), LeaderEpoch(1))
    }

    fn sync(&mut self, slow: &Slow) -> Result<(), String> {
        let Stored::Synced { end } = self.ask(slow, StoreOp::Sync { log: self.log })? else { return Err("no sync".to_owned()) };
        self.synced = self.synced.max(end.0);
        Ok(())
    }

    fn roll(&mut self, slow: &Slow) -> Result<(), String> {
        if self.active < self.end {
            self.active = self.end;
            self.ask(slow, StoreOp::Roll { log: self.log, at: Offset(self.end) })?;
        }
        Ok(())
    }

    fn producers(&self) -> Producers {
        let mut producers = Producers::default();
        self.history.values().for_each(|batch| producers.replay(batch.header()));
        producers
    }

    /// Has the log cleaned, as long as the disk completes something.
    fn clean(&mut self, slow: &Slow, completions: u64) -> Result<(), String> {
        self.time += self.rng.random_range(0..RETENTION);
        let until = Offset(self.active.min(self.synced));
        let terms = Terms {
            wall: Timestamp(self.time),
            delete_retention_ms: RETENTION,
            producers: BTreeSet::from([ProducerId(1)]),
            segment_bytes: [1, 600, 1 << 20][self.rng.random_range(0..3)],
            key_bytes: if self.rng.random_bool(0.2) { 200 } else { 1 << 20 },
        };
        for record in self.records().into_iter().filter(|record| record.offset < until && record.payload.value.is_none()) {
            let marked = *self.marked.entry(record.offset.0).or_insert(self.time);
            if self.time >= marked + RETENTION {
                self.may_go.insert(record.offset.0);
            }
        }
        let op = StoreOp::Clean { log: self.log, dirty: self.dirty, until, terms: Box::new(terms) };
        match self.ask_within(slow, op, completions)? {
            Some(Stored::Cleaned(cleaned)) => self.cleaned(slow, &cleaned),
            Some(other) => Err(format!("{other:?}")),
            None => {
                self.seen.cut_short += 1;
                Ok(())
            }
        }
    }

    fn cleaned(&mut self, slow: &Slow, cleaned: &Cleaned) -> Result<(), String> {
        if cleaned.fault.is_some() || cleaned.dirty < self.dirty {
            return Err(format!("{cleaned:?} after {}", self.dirty));
        }
        self.seen.cleanings += 1;
        self.dirty = cleaned.dirty;
        let mut keys = BTreeSet::new();
        let left = self.read(slow)?;
        let twice = left.iter().filter(|record| record.offset < cleaned.dirty).find(|record| !keys.insert(record.payload.key.clone()));
        match twice {
            Some(record) => Err(format!("{record:?} is not the only one of its key below {}", cleaned.dirty)),
            None => Ok(()),
        }
    }

    fn records(&self) -> Vec<Record> {
        self.history.values().flat_map(records_of).collect()
    }

    /// What a start found is what there is.
    fn adopt(&mut self, recovered: &Recovered) -> Result<(), String> {
        if recovered.end.0 < self.kept || recovered.end.0 > self.end {
            return Err(format!("it ends at {}, and {}..={} was synced and written", recovered.end, self.kept, self.end));
        }
        if recovered.cleaned < self.dirty {
            return Err(format!("it is said to be clean below {}, and was below {}", recovered.cleaned, self.dirty));
        }
        self.end = recovered.end.0;
        self.synced = self.end;
        self.dirty = recovered.cleaned;
        self.history.split_off(&self.end);
        self.active = recovered.segments.last().ok_or("no segment")?.base.0;
        let last = self.producers().get(ProducerId(1)).and_then(|producer| producer.batches.back().map(|batch| batch.last_sequence));
        self.sequence = last.map_or(0, |last| last.plus(1).0);
        if recovered.producers != self.producers() {
            return Err(format!("producers {:?} instead of {:?}", recovered.producers, self.producers()));
        }
        Ok(())
    }

    fn read_batches(&mut self, slow: &Slow) -> Result<Vec<Batch>, String> {
        let mut read: Vec<Batch> = Vec::new();
        let mut next = Offset::ZERO;
        loop {
            let max_bytes = self.rng.random_range(1..2000);
            let Stored::Loaded(batches) = self.ask(slow, StoreOp::Load { log: self.log, from: next, until: ALL, max_bytes })? else {
                return Err("nothing was loaded".to_owned());
            };
            if batches.is_empty() {
                return Ok(read);
            }
            for batch in batches {
                if batch.header().base_offset < next {
                    return Err(format!("a batch at {} instead of {next}", batch.header().base_offset));
                }
                next = batch.header().next_offset();
                read.push(batch);
            }
        }
    }

    fn read(&mut self, slow: &Slow) -> Result<Vec<Record>, String> {
        Ok(self.read_batches(slow)?.iter().flat_map(records_of).collect())
    }

    /// Compares the whole log with what was written.
    fn compare(&mut self, slow: &Slow, recovered: Option<&Recovered>) -> Result<(), String> {
        let batches = self.read_batches(slow)?;
        self.seen.empty_batches += batches.iter().filter(|batch| batch.header().records == 0).count() as u64;
        let read: BTreeMap<i64, Record> = batches.iter().flat_map(records_of).map(|record| (record.offset.0, record)).collect();
        let mut newest: BTreeMap<Option<Bytes>, Record> = BTreeMap::new();
        let (mut gone, mut tombstones_gone) = (0, 0);
        for record in self.records() {
            match read.get(&record.offset.0) {
                Some(held) if *held != record => return Err(format!("{held:?} stands where {record:?} was written")),
                Some(_) => {}
                None => gone += 1,
            }
            newest.insert(record.payload.key.clone(), record);
        }
        if let Some(stray) = read.values().find(|record| self.history.range(..=record.offset.0).next_back().is_none()) {
            return Err(format!("{stray:?} was never written"));
        }
        for record in newest.values() {
            if read.contains_key(&record.offset.0) {
                continue;
            }
            if record.payload.value.is_some() || !self.may_go.contains(&record.offset.0) {
                return Err(format!("{record:?} is the newest of its key, and gone"));
            }
            tombstones_gone += 1;
            if let Some(older) = read.values().find(|older| older.payload.key == record.payload.key) {
                return Err(format!("{older:?} is back: {record:?} is gone"));
            }
        }
        (self.seen.records_gone, self.seen.tombstones_gone) = (gone, self.seen.tombstones_gone.max(tombstones_gone));
        recovered.map_or(Ok(()), |recovered| segments_are(&batches, recovered))?;
        self.search(slow, &read)
    }

    /// Searches the log by time.
    fn search(&mut self, slow: &Slow, read: &BTreeMap<i64, Record>) -> Result<(), String> {
        for _ in 0..3 {
            let time = Timestamp(self.rng.random_range(1000..=self.time + 1));
            let from = Offset(self.rng.random_range(0..=self.end));
            let expected = read.range(from.0..).map(|(_, record)| record).find(|record| record.timestamp >= time);
            let Stored::Found(found) = self.ask(slow, StoreOp::FindTime { log: self.log, time, from, until: ALL })? else {
                return Err("a search failed".to_owned());
            };
            if found.map(|found| (found.offset, found.time)) != expected.map(|record| (record.offset, record.timestamp)) {
                return Err(format!("{time:?} from {from} is found at {found:?}"));
            }
        }
        Ok(())
    }
}

fn records_of(batch: &Batch) -> Vec<Record> {
    Records::of(batch, 1 << 20).expect("readable").map(|record| record.expect("readable")).collect()
}

/// Each segment has the bytes of the batches that stand in it.
fn segments_are(batches: &[Batch], recovered: &Recovered) -> Result<(), String> {
    let ends = recovered.segments.iter().skip(1).map(|segment| segment.base).chain([ALL]);
    for (segment, end) in recovered.segments.iter().zip(ends) {
        let inside = batches.iter().map(Batch::header).filter(|header| (segment.base..end).contains(&header.base_offset));
        let bytes: u64 = inside.map(|header| u64::from(header.bytes)).sum();
        if bytes != segment.bytes {
            return Err(format!("{segment:?} holds {bytes} bytes"));
        }
    }
    Ok(())
}
