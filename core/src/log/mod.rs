//! One partition's log as the core knows it. Never sees records or a disk: it says what the store shall do, and is told what was done.
//!
//! ```text
//!        start ≤ high ≤ durable        durable = synced under fsync, written under page-cache
//!                high ≤ written ≤ end  end: accepted, given to the store
//! ```

pub mod checkpoint;
pub mod epochs;
pub mod producers;
pub mod segments;
pub mod snapshot;
pub mod tail;

use crate::config::{Durability, TopicConfig};
use crate::id::{DirId, LeaderEpoch, LogId, Offset, Uuid};
use crate::store::{StoreFault, StoreOp};
use crate::time::Timestamp;
use crate::wire::batch::Batch;
use bytes::Bytes;
use epochs::Epochs;
use producers::Producers;
use segments::{Segment, Segments};
use std::collections::BTreeMap;

/// A log as its files say, after recovery: everything in it is written and synced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovered {
    /// The log start offset.
    pub start: Offset,
    /// The log end offset.
    pub end: Offset,
    /// In order; the last one is the active one. Never empty.
    pub segments: Vec<Segment>,
    /// Cut to `start..end`.
    pub epochs: Epochs,
    /// Equal to a replay of the whole log.
    pub producers: Producers,
}

impl Recovered {
    /// A log that was just made.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            start: Offset::ZERO,
            end: Offset::ZERO,
            segments: vec![Segment::empty(Offset::ZERO)],
            epochs: Epochs::default(),
            producers: Producers::default(),
        }
    }
}

/// A log directory as the store found it at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FoundDir {
    /// Which of `log.dirs`.
    pub dir: DirId,
    /// Its `directory.id`: a new one at each format.
    pub id: Uuid,
    /// What was written when it was closed cleanly; `None` after a crash.
    pub clean: Option<Bytes>,
    /// Its logs, by name.
    pub logs: Vec<FoundLog>,
    /// Every small file that was saved there, by relative path; the store's own are left out.
    pub saved: BTreeMap<String, Bytes>,
}

/// A log that the store found at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FoundLog {
    /// The handle that the store gave it.
    pub log: LogId,
    /// Its folder: `topic-partition`.
    pub name: String,
    /// From `partition.metadata`; `Uuid::ZERO` where that file is missing.
    pub topic: Uuid,
    /// The log, or why it is offline.
    pub state: Result<Recovered, StoreFault>,
}

/// A live log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    id: LogId,
    name: String,
    durability: Durability,
    start: Offset,
    written: Offset,
    synced: Offset,
    end: Offset,
    syncing: bool,
    segments: Segments,
    epochs: Epochs,
    producers: Producers,
}

impl Log {
    /// The log as recovered, in folder `name`.
    #[must_use]
    pub fn new(id: LogId, name: String, durability: Durability, found: Recovered) -> Self {
        Self {
            id,
            name,
            durability,
            start: found.start,
            written: found.end,
            synced: found.end,
            end: found.end,
            syncing: false,
            segments: Segments::new(found.segments),
            epochs: found.epochs,
            producers: found.producers,
        }
    }

    /// Its handle.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// Its folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The log start offset.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// Whether it is empty, and `batch` holds its first offset, but not as the first one of its records.
    #[must_use]
    pub fn begins_within(&self, batch: &Batch) -> bool {
        let header = batch.header();
        self.start == self.end && header.base_offset < self.end && header.next_offset() > self.end
    }

    /// The log end offset: next offset to be assigned.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Up to where it is readable.
    #[must_use]
    pub fn written(&self) -> Offset {
        self.written
    }

    /// Up to where an acknowledgement may count on it.
    #[must_use]
    pub fn durable(&self) -> Offset {
        match self.durability {
            Durability::Fsync => self.synced,
            Durability::PageCache => self.written,
        }
    }

    /// Up to where it survives power loss.
    #[must_use]
    pub fn synced(&self) -> Offset {
        self.synced
    }

    /// Its segments.
    #[must_use]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Its leader epochs.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Its producers.
    #[must_use]
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Forgets producers that have been silent since `before`.
    pub fn expire_producers(&mut self, before: Timestamp) {
        self.producers.expire(before);
    }

    /// Takes `batch` in at the end, under `epoch`, rolling first where it must. What the store has to do is pushed to `ops`, in order.
    /// Returns the stamped batch.
    pub fn append(&mut self, batch: &Batch, epoch: LeaderEpoch, config: &TopicConfig, wall: Timestamp, ops: &mut Ops) -> Batch {
        let stamped = batch.stamp(self.end, epoch);
        self.take_in(&stamped, config, wall, ops);
        stamped
    }

    /// Takes in a batch as its leader stamped it: it must begin at the end.
    pub fn take_in(&mut self, stamped: &Batch, config: &TopicConfig, wall: Timestamp, ops: &mut Ops) {
        let header = *stamped.header();
        assert!(header.base_offset == self.end, "a batch at {} at the end {} of {}", header.base_offset, self.end, self.name);
        if self.segments.active().must_roll(&header, config, wall) {
            self.roll(ops);
        }
        let before = self.epochs.latest();
        self.epochs.assign(header.leader_epoch, self.end);
        if self.epochs.latest() != before {
            ops.saves.push((format!("{}/leader-epoch-checkpoint", self.name), self.epochs.encode().into()));
        }
        self.segments.append(&header);
        self.producers.replay(&header);
        ops.writes.push(StoreOp::Append { log: self.id, at: self.end, batches: vec![stamped.clone()] });
        self.end = header.next_offset();
    }

    /// Seals the active segment. The producers as of its end go to a snapshot.
    pub fn roll(&mut self, ops: &mut Ops) {
        self.segments.roll(self.end);
        ops.writes.push(StoreOp::Roll { log: self.id, at: self.end });
        ops.saves.push(self.snapshot());
    }

    /// The snapshot file of the producers as of the log's end.
    #[must_use]
    pub fn snapshot(&self) -> (String, Bytes) {
        (format!("{}/{:020}.snapshot", self.name, self.end.0), self.producers.encode())
    }

    /// Whether a sync is due; the caller must then issue it. At most one is under way: the next covers all that came meanwhile.
    pub fn wants_sync(&mut self) -> bool {
        let due = self.durability == Durability::Fsync && !self.syncing && self.synced < self.end;
        self.syncing |= due;
        due
    }

    /// The store has written up to `end`.
    pub fn wrote(&mut self, end: Offset) {
        assert!(self.written <= end && end <= self.end, "written up to {end}, between {} and {}", self.written, self.end);
        self.written = end;
    }

    /// The store has synced up to `end`.
    pub fn synced_to(&mut self, end: Offset) {
        assert!(end <= self.end, "synced up to {end}, past the end {}", self.end);
        self.syncing = false;
        self.synced = self.synced.max(end);
    }

    /// Moves the start up to `to` (retention, `DeleteRecords`): segments wholly below go.
    pub fn advance_start(&mut self, to: Offset, ops: &mut Ops) {
        if to <= self.start {
            return;
        }
        assert!(to <= self.end, "the start {to} would pass the end {}", self.end);
        self.start = to;
        let before = self.epochs.clone();
        self.epochs.cut_start(to);
        if self.epochs != before {
            ops.saves.push((format!("{}/leader-epoch-checkpoint", self.name), self.epochs.encode().into()));
        }
        if self.segments.discard(to) {
            ops.writes.push(StoreOp::Discard { log: self.id, below: to });
        }
    }

    /// What must hold of it after every step.
    pub fn check(&self, high: Offset) {
        assert!(self.start <= high, "start {} passed high {high} of {}", self.start, self.name);
        assert!(high <= self.end, "high {high} passed the end {} of {}", self.end, self.name);
        assert!(self.written <= self.end, "written {} passed end {} of {}", self.written, self.end, self.name);
        assert!(self.segments.active().base <= self.end, "the active segment begins behind the end of {}", self.name);
        let is_held = |(_, at): &(LeaderEpoch, Offset)| *at < self.end || *at == self.start;
        assert!(self.epochs.entries().last().is_none_or(is_held), "{} knows an epoch that begins behind its end {}", self.name, self.end);
    }
}

/// What the store shall do: writes in order, and small files of the log's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ops {
    /// In this order.
    pub writes: Vec<StoreOp>,
    /// Name and content; in any order.
    pub saves: Vec<(String, Bytes)>,
}
