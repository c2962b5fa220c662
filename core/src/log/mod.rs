//! One partition's log as the core knows it. Never sees records or a disk: it says what the store shall do, and is told what was done.
//!
//! ```text
//!        start ≤ high ≤ durable        durable = synced under fsync, written under page-cache
//!                high ≤ written ≤ end  end: accepted, given to the store
//! ```

pub mod checkpoint;
pub mod clean;
pub mod epochs;
pub mod producers;
pub mod segments;
pub mod snapshot;
pub mod tail;

use crate::config::{Durability, TopicConfig};
use crate::id::{DirId, LeaderEpoch, LogId, Offset, Uuid};
use crate::store::{Cleaned, StoreFault, StoreOp};
use crate::time::Timestamp;
use crate::wire::batch::Batch;
use crate::{mutant, probe};
use bytes::Bytes;
use clean::{Dirt, Terms};
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
    /// Whether the file of the epochs has all of them; on a full disk it may lack some.
    pub epochs_saved: bool,
    /// Equal to a replay of the whole log.
    pub producers: Producers,
    /// Whether compaction may have left gaps between its batches.
    pub has_gaps: bool,
    /// Below here it was cleaned.
    pub cleaned: Offset,
    /// As of where the newest producer snapshot is that was found whole, and is durable.
    pub snapshot: Option<Offset>,
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
            epochs_saved: true,
            producers: Producers::default(),
            has_gaps: false,
            cleaned: Offset::ZERO,
            snapshot: None,
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
    has_gaps: bool,
    cleaned: Offset,
    /// The producer snapshots that were recovered or saved, or (`false`) given to the store to be saved.
    snapshots: BTreeMap<Offset, bool>,
    /// The file of the epochs could not be saved, and lacks some.
    epochs_unsaved: bool,
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
            has_gaps: found.has_gaps,
            cleaned: found.cleaned,
            snapshots: found.snapshot.map(|at| (at, true)).into_iter().collect(),
            epochs_unsaved: !found.epochs_saved && !mutant!(EpochsTakenForSaved),
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

    /// Whether a batch need not begin where the one before ended: compaction has taken some away.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        self.has_gaps
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

    /// Takes in a batch as its leader stamped it: it begins at the end, or behind it, where compaction has taken away what stood between.
    pub fn take_in(&mut self, stamped: &Batch, config: &TopicConfig, wall: Timestamp, ops: &mut Ops) {
        let header = *stamped.header();
        assert!(header.base_offset >= self.end, "a batch at {} at the end {} of {}", header.base_offset, self.end, self.name);
        if header.base_offset > self.end {
            probe!("a follower takes in a batch behind a gap");
            self.has_gaps = true;
        }
        if self.segments.active().must_roll(&header, config, wall) {
            self.roll(ops);
        }
        let before = self.epochs.latest();
        self.epochs.assign(header.leader_epoch, self.end);
        if self.epochs.latest() != before {
            ops.saves.push(self.epoch_checkpoint());
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
        self.save_producers(ops);
    }

    /// Recovery reads only what stands behind the newest snapshot: none is taken while the file of the epochs lacks some of those before.
    fn save_producers(&mut self, ops: &mut Ops) {
        if mutant!(DiscardUnremembered) || self.epochs_unsaved {
            return;
        }
        self.snapshots.insert(self.end, false);
        let (name, bytes) = self.snapshot();
        ops.saves.push(SmallFile { name, bytes, holds: Holds::Producers(self.end) });
    }

    /// Whether the store has saved the epochs.
    pub fn epochs_saved(&mut self, is_saved: bool) {
        if !is_saved {
            probe!("the epochs of a log could not be saved");
        }
        self.epochs_unsaved = !is_saved;
    }

    /// Saves the epochs, if they could not be saved before.
    pub fn save_epochs_again(&mut self, ops: &mut Ops) {
        if self.epochs_unsaved {
            ops.saves.push(self.epoch_checkpoint());
        }
    }

    /// What a clean stop leaves of it.
    #[must_use]
    pub fn last_words(&self) -> (String, Bytes) {
        if self.epochs_unsaved {
            let SmallFile { name, bytes, .. } = self.epoch_checkpoint();
            return (name, bytes);
        }
        self.snapshot()
    }

    /// Whether the store has saved the producers as of `at`.
    pub fn producers_saved(&mut self, at: Offset, is_saved: bool) {
        if is_saved {
            self.snapshots.insert(at, true);
        } else {
            probe!("a producer snapshot could not be saved");
            self.snapshots.remove(&at);
        }
    }

    /// Takes over what another copy of this log, of the same end, knows of the producers: it may have seen more.
    pub fn learn_producers(&mut self, producers: &Producers) {
        self.producers = producers.clone();
    }

    /// Whether the snapshots that were given to the store have become durable is not known, and nobody will say so.
    pub fn forget_snapshots(&mut self) {
        self.snapshots.clear();
    }

    /// The snapshot file of the producers as of the log's end.
    #[must_use]
    pub fn snapshot(&self) -> (String, Bytes) {
        (self.snapshot_name(self.end), self.producers.encode())
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

    /// Moves the start up to `to` (retention, `DeleteRecords`). The segments below stay until they are discarded.
    pub fn advance_start(&mut self, to: Offset, ops: &mut Ops) {
        if to <= self.start {
            return;
        }
        assert!(to <= self.end, "the start {to} would pass the end {}", self.end);
        self.start = to;
        // Should the store recover the log anew, it shall begin there.
        ops.writes.push(StoreOp::Discard { log: self.id, start: to, below: Offset::ZERO });
        let before = self.epochs.clone();
        self.epochs.cut_start(to);
        if self.epochs != before {
            ops.saves.push(self.epoch_checkpoint());
        }
    }

    /// Discards the segments below the start whose producers a durable snapshot holds: after a crash nothing else would tell what a producer's next
    /// batch is. Where none does, one is taken now, and the segments go another time. A snapshot that is not committed, or lies above what is durable
    /// here, may be cut off, and does not count.
    pub fn discard(&mut self, high: Offset, ops: &mut Ops) {
        let saved = self.snapshots.range(..=high.min(self.durable())).rev().find(|(_, is_saved)| **is_saved).map(|(at, _)| *at);
        if let Some(at) = saved {
            self.discard_below(at, ops);
        }
        if mutant!(DiscardUnremembered) {
            return self.discard_below(self.end, ops);
        }
        let Some(base) = self.segments.all().get(1).map(|next| next.base).filter(|base| *base <= self.start) else { return };
        if self.snapshots.range(base..).next().is_none() {
            probe!("a producer snapshot is taken so that segments can go");
            self.save_producers(ops);
        }
    }

    /// Discards the segments below the start that end at or below `limit`.
    pub fn discard_below(&mut self, limit: Offset, ops: &mut Ops) {
        let below = self.start.min(limit);
        if self.segments.discard(below) {
            ops.writes.push(StoreOp::Discard { log: self.id, start: self.start, below });
            self.snapshots = self.snapshots.split_off(&below);
        }
    }

    /// What a cleaning needs to know of it.
    #[must_use]
    pub fn terms(&self, config: &TopicConfig, wall: Timestamp, key_bytes: u64) -> Terms {
        Terms {
            wall,
            delete_retention_ms: config.delete_retention_ms,
            producers: self.producers.ids().collect(),
            segment_bytes: config.segment_bytes,
            key_bytes,
        }
    }

    /// What of it may be cleaned, where it is committed below `limit`.
    #[must_use]
    pub fn dirt(&self, limit: Offset, config: &TopicConfig, wall: Timestamp) -> Option<Dirt> {
        Dirt::of(&self.segments, self.start, self.cleaned, limit, config, wall)
    }

    /// The store has cleaned it, or a part. The producer snapshots of segments that were joined to others go, below the newest one that is durable.
    /// Returns their names.
    pub fn take_over_cleaned(&mut self, cleaned: &Cleaned) -> Vec<String> {
        self.has_gaps |= cleaned.has_gaps;
        self.cleaned = cleaned.dirty;
        let joined = self.segments.replace(&cleaned.segments, cleaned.until);
        let newest = self.snapshots.iter().rev().find(|(_, is_saved)| **is_saved).map_or(Offset::ZERO, |(at, _)| *at);
        let gone: Vec<Offset> = joined.into_iter().filter(|base| *base < newest && self.snapshots.remove(base).is_some()).collect();
        gone.into_iter().map(|at| self.snapshot_name(at)).collect()
    }

    fn snapshot_name(&self, at: Offset) -> String {
        format!("{}/{:020}.snapshot", self.name, at.0)
    }

    fn epoch_checkpoint(&self) -> SmallFile {
        SmallFile { name: format!("{}/leader-epoch-checkpoint", self.name), bytes: self.epochs.encode().into(), holds: Holds::Epochs }
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
    /// In any order.
    pub saves: Vec<SmallFile>,
}

/// A small file of a log's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallFile {
    /// Its path below the log directory.
    pub name: String,
    /// What it shall hold.
    pub bytes: Bytes,
    /// What that is.
    pub holds: Holds,
}

/// What a small file of a log's folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The leader epochs.
    Epochs,
    /// The producers as of an offset.
    Producers(Offset),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::Properties;
    use crate::config::layers::Layers;
    use crate::id::{ProducerEpoch, ProducerId, Sequence};
    use crate::log::segments::Segment;
    use crate::wire::batch::{BatchHeader, build};

    /// A batch of one record of a producer, with that sequence.
    pub(crate) fn numbered(sequence: i32) -> Batch {
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            bytes: 0,
            leader_epoch: LeaderEpoch(0),
            crc: 0,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp: Timestamp(1000),
            max_timestamp: Timestamp(1000),
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(0),
            base_sequence: Sequence(sequence),
            records: 1,
        };
        build(header, b"one")
    }

    /// A log that ends at 1, where it was rolled, durable up to there. All of it may go.
    fn rolled() -> Log {
        let mut log = Log::new(LogId(1), "t-0".to_owned(), Durability::Fsync, Recovered::empty());
        let none = Properties::new();
        let config = TopicConfig::new(&none, Layers { broker: &none, cluster: &none, fixed: &none });
        let mut ops = Ops::default();
        log.append(&numbered(0), LeaderEpoch(0), &config, Timestamp(1000), &mut ops);
        log.roll(&mut ops);
        log.wrote(Offset(1));
        log.synced_to(Offset(1));
        log.advance_start(Offset(1), &mut ops);
        log
    }

    #[test]
    fn segments_of_one_age_roll_at_different_times() {
        let none = Properties::new();
        let rolling = |jitter: &str, age: i64| {
            let own = [("segment.ms", "1000"), ("segment.jitter.ms", jitter)].map(|(name, value)| (name.to_owned(), value.to_owned()));
            let config = TopicConfig::new(&Properties::from(own), Layers { broker: &none, cluster: &none, fixed: &none });
            let rolls = |base: &i64| {
                let mut segment = Segment::empty(Offset(*base));
                segment.append(numbered(0).header());
                let next = BatchHeader { base_offset: Offset(base + 1), max_timestamp: Timestamp(1000 + age), ..*numbered(1).header() };
                segment.must_roll(&next, &config, Timestamp(1000 + age))
            };
            (0..100).filter(rolls).count()
        };
        assert_eq!([rolling("0", 1000), rolling("0", 1001), rolling("1000", 1001)], [0, 100, 100]);
        assert!((30..70).contains(&rolling("1000", 500)), "about half of them: {}", rolling("1000", 500));
        assert!((1..20).contains(&rolling("100", 910)), "and none long before: {}", rolling("100", 910));
        assert_eq!(rolling("100", 900), 0);
    }

    fn discard(log: &mut Log, high: i64) -> Ops {
        let mut ops = Ops::default();
        log.discard(Offset(high), &mut ops);
        ops
    }

    const GOES: StoreOp = StoreOp::Discard { log: LogId(1), start: Offset(1), below: Offset(1) };

    #[test]
    fn segments_go_when_a_snapshot_holds_their_producers() {
        let mut log = rolled();
        assert_eq!(discard(&mut log, 1), Ops::default(), "the snapshot of the roll is on its way");
        log.producers_saved(Offset(1), true);
        assert_eq!(discard(&mut log, 0), Ops::default(), "it may be cut off yet");
        assert_eq!(discard(&mut log, 1).writes, [GOES]);
        assert_eq!(log.segments().all().len(), 1);
    }

    /// Else a disk that was full at a crash could stay full: no new snapshot can be saved there.
    #[test]
    fn a_snapshot_that_was_recovered_counts() {
        let segments = vec![Segment::empty(Offset(0)), Segment::empty(Offset(1))];
        let found = Recovered { start: Offset(1), end: Offset(1), segments, snapshot: Some(Offset(1)), ..Recovered::empty() };
        let mut log = Log::new(LogId(1), "t-0".to_owned(), Durability::Fsync, found);
        assert_eq!(discard(&mut log, 0), Ops::default(), "it may be cut off yet");
        assert_eq!(discard(&mut log, 1).writes, [GOES]);
    }

    /// Seed 30369 of two nodes: recovery found an epoch, had no room to save it, and a snapshot told the next one to pass it over.
    #[test]
    fn epochs_that_recovery_could_not_save_are_saved_before_any_snapshot() {
        let mut epochs = Epochs::default();
        epochs.assign(LeaderEpoch(4), Offset(0));
        let found = Recovered { end: Offset(3), epochs, epochs_saved: false, ..Recovered::empty() };
        let mut log = Log::new(LogId(1), "t-0".to_owned(), Durability::Fsync, found);
        let mut ops = Ops::default();
        log.roll(&mut ops);
        assert!(ops.saves.is_empty(), "{ops:?}");
        assert_eq!(log.last_words().0, "t-0/leader-epoch-checkpoint");
        log.save_epochs_again(&mut ops);
        assert!(matches!(&ops.saves[..], [SmallFile { holds: Holds::Epochs, .. }]), "{ops:?}");
        log.epochs_saved(true);
        assert_eq!(log.last_words().0, "t-0/00000000000000000003.snapshot");
    }

    /// Seed 2159: the disk was full.
    #[test]
    fn a_snapshot_that_could_not_be_saved_is_taken_again() {
        let mut log = rolled();
        log.producers_saved(Offset(1), false);
        let again = discard(&mut log, 1);
        assert!(again.writes.is_empty(), "{again:?}");
        let [SmallFile { name, holds: Holds::Producers(Offset(1)), .. }] = &again.saves[..] else { panic!("{again:?}") };
        assert_eq!(name, "t-0/00000000000000000001.snapshot");
        assert_eq!(discard(&mut log, 1), Ops::default(), "once at a time");
        log.producers_saved(Offset(1), true);
        assert_eq!(discard(&mut log, 1).writes, [GOES]);
    }
}
