//! One log from its files: scans what may be torn, cuts the tail, rebuilds indexes, epochs and producers, and syncs what it reports.
//!
//! What lies below the recovery point was whole and durable: damage there is never cut, it makes the log `Damaged`.

use super::Options;
use super::dir::Dir;
use super::files::Kind;
use super::index::{OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, Tail, TimeEntry, note_times, search};
use super::inventory::Inventory;
use super::log::Body;
use super::meta::{read_small, read_text, remove_if_there, replace, sync_dir, sync_file};
use super::replay::Replay;
use super::side::unlink;
use super::swap::{self, COMPACTED_FILE, Compacted};
use super::walk::{Rules, Walk, walk};
use super::window::Window;
use crate::fs::{File, Fs, Open};
use bytes::Bytes;
use klamm_core::id::Offset;
use klamm_core::log::Recovered;
use klamm_core::log::epochs::Epochs;
use klamm_core::log::producers::Producers;
use klamm_core::log::segments::Segment;
use klamm_core::store::StoreFault;
use klamm_core::wire::batch::HEADER_BYTES;
use klamm_core::{mutant, probe};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;

/// The leader epochs' file within a log's folder.
pub(crate) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";
/// A scan reads so much at a time.
const SCAN_BYTES: usize = 1 << 20;
/// A walk over headers reads so much at a time.
const WALK_BYTES: usize = 64 << 10;

/// How far the files are believed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// They were closed cleanly, with at least `point` in them, or just cut by us.
    Trust {
        /// The log does not end below.
        point: Offset,
    },
    /// Anything from the segment that holds `point` on may be torn.
    Scan {
        /// The recovery point.
        point: Offset,
    },
}

/// A log as it was found.
pub(crate) struct Loaded<F: Fs> {
    /// For the store.
    pub(crate) body: Body<F>,
    /// For the core.
    pub(crate) recovered: Recovered,
}

/// Reads a log from its folder. `start` is the log start offset, as far as it is known.
///
/// # Errors
/// `Damaged`; `Offline` where the directory cannot be worked with; `Full` where the log has no segment, and there is no room for one.
pub(crate) async fn load<F: Fs>(dir: &Dir<F>, folder: &str, how: How, start: Offset, options: &Options) -> Result<Loaded<F>, StoreFault> {
    let how = match how {
        How::Scan { .. } if mutant!(TornTailKept) => How::Trust { point: Offset::ZERO },
        how @ (How::Scan { .. } | How::Trust { .. }) => how,
    };
    let interval = options.index_interval_bytes;
    let mut loader = Loader { dir, folder, how, interval, compacted: None, unsynced: Vec::new(), changed: false };
    loader.run(start).await
}

struct Loader<'a, F: Fs> {
    dir: &'a Dir<F>,
    folder: &'a str,
    how: How,
    interval: u64,
    /// What compaction has done to the log.
    compacted: Option<Compacted>,
    /// Files that must be synced before the log is reported.
    unsynced: Vec<F::File>,
    /// Whether names in the folder changed.
    changed: bool,
}

impl<F: Fs> Loader<'_, F> {
    async fn run(&mut self, start: Offset) -> Result<Loaded<F>, StoreFault> {
        self.compacted = self.read_compacted(start).await?;
        let mut inventory = self.inventory().await?;
        if inventory.logs.is_empty() {
            self.begin(&mut inventory, start).await?;
        }
        let (mut walks, mut replay) = match self.how {
            How::Trust { .. } => (self.trust(&inventory).await?, None),
            How::Scan { point } => {
                let (walks, replay) = self.scan(&mut inventory, point).await?;
                // The crash may have come before its name was durable.
                self.changed |= replay.taken.is_some();
                (walks, Some(replay))
            }
        };
        let (How::Trust { point } | How::Scan { point }) = self.how;
        let mut end = walks.last().expect("a log has a segment").next;
        if end < point {
            probe!("a log ended below its recovery point");
            return Err(damaged(end, format!("the log ends there, below its recovery point {point}")));
        }
        if end < start {
            probe!("a log ended below its start");
            (walks, replay) = (self.restart(&mut inventory, start).await?, None);
            end = start;
        }
        let replay = match replay {
            Some(replay) => replay,
            None => self.replay_all(&inventory, &walks, end).await?,
        };
        self.finish(&inventory, walks, replay, start, end).await
    }

    async fn inventory(&mut self) -> Result<Inventory, StoreFault> {
        let mut inventory = self.list().await?;
        if !inventory.swaps.is_empty() {
            self.finish_swaps(&inventory).await?;
            inventory = self.list().await?;
        }
        let orphans = inventory.indexes.iter().filter(|(base, _)| !inventory.logs.contains_key(base));
        let orphans: Vec<String> = orphans.map(|(base, kind)| kind.path(self.folder, *base)).collect();
        let junk: Vec<String> = inventory.junk.drain(..).map(|name| format!("{}/{name}", self.folder)).collect();
        for path in orphans.into_iter().chain(junk) {
            probe!("recovery removed what an interrupted operation had left");
            self.remove(&path).await?;
        }
        Ok(inventory)
    }

    async fn list(&self) -> Result<Inventory, StoreFault> {
        let entries = self.dir.fs.list(self.folder).await;
        Ok(Inventory::of(entries.map_err(|error| self.offline("listing", self.folder, &error))?))
    }

    async fn read_compacted(&self, start: Offset) -> Result<Option<Compacted>, StoreFault> {
        swap::read_compacted(&*self.dir.fs, self.folder).await.map_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                // Without it nobody can tell a gap from what a crash has taken.
                return damaged(start, format!("its {COMPACTED_FILE} cannot be read"));
            }
            self.offline("reading", COMPACTED_FILE, &error)
        })
    }

    /// Cleaned segments take the place that was decided for them before a crash.
    async fn finish_swaps(&mut self, inventory: &Inventory) -> Result<(), StoreFault> {
        for (base, end) in &inventory.swaps {
            probe!("recovery finished the swap of a cleaned segment");
            let logs = inventory.logs.range(*base..*end).map(|(base, _)| *base);
            let indexes = inventory.indexes.range((*base, Kind::Log)..(*end, Kind::Log)).map(|(base, _)| *base);
            let sources: BTreeSet<Offset> = logs.chain(indexes).collect();
            let sources: Vec<Offset> = sources.into_iter().collect();
            let done = swap::carry_out(&*self.dir.fs, self.folder, *base, *end, &sources).await;
            done.map_err(|error| self.offline("replacing segments of", self.folder, &error))?;
        }
        Ok(())
    }

    /// How a walk goes.
    fn rules(&self, check: bool) -> Rules {
        Rules { interval: self.interval, check, gaps: self.compacted.is_some() }
    }

    /// An empty segment at `base`.
    async fn begin(&mut self, inventory: &mut Inventory, base: Offset) -> Result<(), StoreFault> {
        let path = Kind::Log.path(self.folder, base);
        let file = self.dir.fs.open(&path, Open::New).await.map_err(|error| self.dir.fault("making", &path, &error))?;
        self.unsynced.push(file);
        self.changed = true;
        inventory.logs.insert(base, 0);
        Ok(())
    }

    /// Begins the log anew at `start`: everything in it lies below.
    async fn restart(&mut self, inventory: &mut Inventory, start: Offset) -> Result<Vec<Walk>, StoreFault> {
        let bases: Vec<Offset> = inventory.logs.keys().rev().copied().collect();
        for base in bases {
            self.unlink(inventory, base).await?;
        }
        self.begin(inventory, start).await?;
        Ok(vec![Walk { segment: Segment::empty(start), tail: Tail::new(start), next: start, stopped: None }])
    }

    /// Believes the files: sealed segments by their indexes, the active one by a walk from its last index entry.
    async fn trust(&mut self, inventory: &Inventory) -> Result<Vec<Walk>, StoreFault> {
        let (active, bytes) = inventory.logs.last_key_value().expect("a log has a segment");
        let mut walks = self.sealed(inventory, ..*active).await?;
        let mut walk = self.open_active(*active, *bytes).await?;
        if let Some(stop) = &walk.stopped {
            let (How::Trust { point } | How::Scan { point }) = self.how;
            if walk.next < point || stop.unreadable {
                return Err(damaged(walk.next, &stop.why));
            }
            if mutant!(TornTailKept) {
                walk.segment.bytes = *bytes;
            } else {
                probe!("a tail was cut that had not been scanned");
                self.cut(&walk).await?;
            }
        }
        walks.push(walk);
        Ok(walks)
    }

    async fn sealed(&mut self, inventory: &Inventory, range: impl std::ops::RangeBounds<Offset>) -> Result<Vec<Walk>, StoreFault> {
        let mut walks = Vec::new();
        for (base, bytes) in inventory.logs.range(range) {
            walks.push(self.open_sealed(*base, *bytes).await?);
        }
        Ok(walks)
    }

    /// Checks every batch from the segment that holds `point` on, and cuts the log before the first bad one.
    async fn scan(&mut self, inventory: &mut Inventory, point: Offset) -> Result<(Vec<Walk>, Replay), StoreFault> {
        let first = *inventory.logs.keys().next().expect("a log has a segment");
        let from = inventory.logs.range(..=point).next_back().map_or(first, |(base, _)| *base);
        let mut walks = self.sealed(inventory, ..from).await?;
        let mut replay = self.replay_below(inventory, from).await?;
        let mut next = from;
        let scanned: Vec<(Offset, u64)> = inventory.logs.range(from..).map(|(base, bytes)| (*base, *bytes)).collect();
        for (at, (base, bytes)) in scanned.iter().copied().enumerate() {
            let file = self.open(Kind::Log, base).await?;
            let window = Window::new(file.clone(), bytes, SCAN_BYTES);
            let mut walk = walk(Segment::empty(base), Tail::new(base), next, window, bytes, self.rules(true), Some(&mut replay)).await;
            self.unsynced.push(file);
            next = walk.next;
            if let Some(stop) = &walk.stopped {
                if next < point || stop.unreadable {
                    probe!("recovery found damage below the recovery point");
                    return Err(damaged(next, &stop.why));
                }
                probe!("recovery cut a torn tail");
                self.cut(&walk).await?;
            }
            // A crash may take a sealed segment's end at the border of a batch.
            let following = scanned.get(at + 1).map_or(next, |(following, _)| *following);
            let is_compacted = self.compacted.is_some_and(|compacted| following <= compacted.gaps_below);
            let broken = walk.stopped.is_some() || following < next || (following > next && !is_compacted);
            if !broken {
                next = following;
            }
            self.write_indexes(&mut walk).await?;
            walks.push(walk);
            if broken {
                self.drop_above(inventory, base).await?;
                break;
            }
        }
        replay.reach(next);
        Ok((walks, replay))
    }

    /// Removes the segments behind `base`, newest first.
    async fn drop_above(&mut self, inventory: &mut Inventory, base: Offset) -> Result<(), StoreFault> {
        let above: Vec<Offset> = inventory.logs.range(base.plus(1)..).rev().map(|(base, _)| *base).collect();
        for base in above {
            probe!("recovery removed a segment behind a torn one");
            self.unlink(inventory, base).await?;
        }
        Ok(())
    }

    async fn cut(&mut self, walk: &Walk) -> Result<(), StoreFault> {
        let path = Kind::Log.path(self.folder, walk.segment.base);
        let file = self.open(Kind::Log, walk.segment.base).await?;
        file.set_len(walk.segment.bytes).await.map_err(|error| self.offline("cutting", &path, &error))?;
        self.unsynced.push(file);
        Ok(())
    }

    /// Writes both index files of a segment whole. A full disk leaves them empty: that makes reads slow, not wrong.
    async fn write_indexes(&mut self, walk: &mut Walk) -> Result<(), StoreFault> {
        walk.tail.note_time(&walk.segment);
        if mutant!(TimeIndexStale) {
            self.keep_stale_times(walk).await;
        }
        (walk.tail.times_written, walk.tail.offsets_written) = (0, 0);
        for (kind, bytes) in [(Kind::Times, walk.tail.unwritten_times().1), (Kind::Offsets, walk.tail.unwritten_offsets().1)] {
            let path = kind.path(self.folder, walk.segment.base);
            let made = async {
                let file = self.dir.fs.open(&path, Open::Empty).await?;
                let written = file.write_at(0, &[bytes]).await;
                if written.is_err() {
                    file.set_len(0).await?;
                }
                written.map(|()| file)
            };
            self.changed = true;
            match made.await {
                Ok(file) => self.unsynced.push(file),
                Err(error) if crate::fs::is_full(&error) => {
                    probe!("an index could not be rebuilt on a full disk");
                    return Ok(());
                }
                Err(error) => return Err(self.offline("writing", &path, &error)),
            }
            if kind == Kind::Times {
                walk.tail.times_written = walk.tail.times.len();
            } else {
                walk.tail.offsets_written = walk.tail.offsets.len();
            }
        }
        Ok(())
    }

    /// The historic bug: what the time index says of batches that were cut stays.
    async fn keep_stale_times(&self, walk: &mut Walk) {
        let path = Kind::Times.path(self.folder, walk.segment.base);
        let read = async {
            let file = self.dir.fs.open(&path, Open::Existing).await?;
            let bytes = usize::try_from(file.size().await?).unwrap_or(0);
            file.read_at(0, bytes).await
        };
        let old = read.await.unwrap_or_default();
        let entries: Vec<TimeEntry> = old.chunks_exact(TIME_ENTRY).map(TimeEntry::decode).collect();
        if entries.len() > walk.tail.times.len() {
            walk.tail.times = entries;
        }
    }

    /// A sealed segment by its first header and its indexes' last entries, or by a walk where those are no good.
    async fn open_sealed(&mut self, base: Offset, bytes: u64) -> Result<Walk, StoreFault> {
        let mut walk = Walk { segment: Segment::empty(base), tail: Tail::new(base), next: base, stopped: None };
        if bytes == 0 {
            return Ok(walk);
        }
        let file = self.open(Kind::Log, base).await?;
        let header = Window::new(file.clone(), bytes, HEADER_BYTES).header(0).await.map_err(|why| damaged(base, why))?;
        if let Some(last) = self.last_time(base, bytes).await? {
            walk.segment = Segment {
                base,
                bytes,
                first_timestamp: header.max_timestamp,
                max_timestamp: last.time,
                max_timestamp_offset: base.plus(last.relative.into()),
            };
            return Ok(walk);
        }
        probe!("the indexes of a sealed segment were rebuilt");
        walk = super::walk::walk(walk.segment, walk.tail, base, Window::new(file, bytes, WALK_BYTES), bytes, self.rules(false), None).await;
        if let Some(stop) = &walk.stopped {
            return Err(damaged(walk.next, &stop.why));
        }
        self.write_indexes(&mut walk).await?;
        Ok(walk)
    }

    /// The last time entry of a sealed segment; `None` where one of its indexes is no good.
    async fn last_time(&mut self, base: Offset, bytes: u64) -> Result<Option<TimeEntry>, StoreFault> {
        let Some(entry) = self.last_entry(Kind::Offsets, base, OFFSET_ENTRY).await? else { return Ok(None) };
        if !entry.is_empty() && u64::from(OffsetEntry::decode(&entry).position) >= bytes {
            return Ok(None);
        }
        let entry = self.last_entry(Kind::Times, base, TIME_ENTRY).await?;
        Ok(entry.filter(|entry| !entry.is_empty()).map(|entry| TimeEntry::decode(&entry)))
    }

    /// The last entry of an index file, empty where it has none; `None` where the file is missing or has half an entry.
    async fn last_entry(&mut self, kind: Kind, base: Offset, size: usize) -> Result<Option<Bytes>, StoreFault> {
        let path = kind.path(self.folder, base);
        let read = async {
            let file = self.dir.fs.open(&path, Open::Existing).await?;
            let len = file.size().await?;
            if len % size as u64 != 0 {
                return Ok(None);
            }
            io::Result::Ok(Some(if len == 0 { Bytes::new() } else { file.read_at(len - size as u64, size).await? }))
        };
        match read.await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            outcome => outcome.map_err(|error| self.offline("reading", &path, &error)),
        }
    }

    /// The active segment by its index files, and a walk from their last entry.
    async fn open_active(&mut self, base: Offset, bytes: u64) -> Result<Walk, StoreFault> {
        let file = self.open(Kind::Log, base).await?;
        let mut segment = Segment::empty(base);
        let mut tail = self.read_tail(base, bytes).await?.unwrap_or_else(|| {
            probe!("the indexes of the active segment were rebuilt");
            Tail::new(base)
        });
        let mut window = Window::new(file, bytes, WALK_BYTES);
        let mut next = base;
        if let Some(entry) = tail.offsets.last().copied() {
            let position = u64::from(entry.position);
            let first = window.header(0).await.map_err(|why| damaged(base, why))?;
            let header = window.header(position).await.map_err(|why| damaged(base.plus(entry.relative.into()), why))?;
            tail.resume(&header);
            note_times(&mut segment, &first, 0);
            if let Some(time) = tail.times.last() {
                (segment.max_timestamp, segment.max_timestamp_offset) = (time.time, base.plus(time.relative.into()));
            }
            note_times(&mut segment, &header, position);
            segment.bytes = position + u64::from(header.bytes);
            next = header.next_offset();
        }
        Ok(walk(segment, tail, next, window, bytes, self.rules(false), None).await)
    }

    async fn read_tail(&mut self, base: Offset, bytes: u64) -> Result<Option<Tail>, StoreFault> {
        let mut read = Vec::new();
        for kind in [Kind::Offsets, Kind::Times] {
            let path = kind.path(self.folder, base);
            let index = read_small(&*self.dir.fs, &path).await.map_err(|error| self.offline("reading", &path, &error))?;
            read.push(index.unwrap_or_default());
        }
        let times = read.pop().expect("two files");
        let tail = Tail::decode(base, read.pop().expect("two files"), times, bytes);
        if tail.is_none() {
            for kind in [Kind::Offsets, Kind::Times] {
                self.remove(&kind.path(self.folder, base)).await?;
            }
        }
        Ok(tail)
    }

    /// The replay up to where a scan begins.
    async fn replay_below(&mut self, inventory: &mut Inventory, from: Offset) -> Result<Replay, StoreFault> {
        let first = *inventory.logs.keys().next().expect("a log has a segment");
        let (mut replay, begin) = self.prepare(inventory, from, first).await?;
        let segments: Vec<(Offset, u64)> = inventory.logs.range(..from).map(|(base, bytes)| (*base, *bytes)).collect();
        self.replay_headers(&mut replay, &segments, begin, from).await?;
        Ok(replay)
    }

    /// The replay of a log that was not scanned.
    async fn replay_all(&mut self, inventory: &Inventory, walks: &[Walk], end: Offset) -> Result<Replay, StoreFault> {
        let first = walks[0].segment.base;
        let (mut replay, begin) = self.prepare(inventory, end, first).await?;
        let segments: Vec<(Offset, u64)> = walks.iter().map(|walk| (walk.segment.base, walk.segment.bytes)).collect();
        self.replay_headers(&mut replay, &segments, begin, end).await?;
        replay.reach(end);
        Ok(replay)
    }

    /// What checkpoint and snapshots say, and where a replay up to `until` must begin.
    async fn prepare(&mut self, inventory: &Inventory, until: Offset, first: Offset) -> Result<(Replay, Offset), StoreFault> {
        let path = format!("{}/{EPOCHS_FILE}", self.folder);
        let text = read_text(&*self.dir.fs, &path).await.map_err(|error| self.offline("reading", &path, &error))?;
        let mut epochs = text.and_then(|text| Epochs::decode(&text));
        // What the checkpoint says of batches that are scanned anyway may be newer, or older, than what is there.
        if !mutant!(EpochCacheNotCut) {
            epochs.iter_mut().for_each(|epochs| epochs.cut_end(until));
        }
        let mut snapshots = BTreeMap::new();
        // What is older than the log knows nothing of producers of segments that are gone.
        for offset in inventory.snapshots.range(first..).rev() {
            if let Some(producers) = self.read_snapshot(*offset).await? {
                snapshots.insert(*offset, producers);
                if *offset <= until {
                    break;
                }
            }
        }
        let snapshot = snapshots.keys().next().copied().filter(|offset| *offset <= until);
        let begin = match (&epochs, snapshot) {
            (Some(_), Some(snapshot)) => snapshot,
            (Some(_) | None, _) => {
                probe!("a log was replayed from its beginning");
                first
            }
        };
        Ok((Replay { producers: Producers::default(), epochs: epochs.unwrap_or_default(), snapshots, taken: None }, begin))
    }

    async fn read_snapshot(&mut self, offset: Offset) -> Result<Option<Producers>, StoreFault> {
        let path = snapshot_path(self.folder, offset);
        let bytes = read_small(&*self.dir.fs, &path).await.map_err(|error| self.offline("reading", &path, &error))?;
        if let Some(Ok(producers)) = bytes.map(Producers::decode) {
            return Ok(Some(producers));
        }
        probe!("a producer snapshot was no good");
        self.remove(&path).await?;
        Ok(None)
    }

    /// Takes the headers of `begin..until` into the replay.
    async fn replay_headers(
        &mut self,
        replay: &mut Replay,
        segments: &[(Offset, u64)],
        begin: Offset,
        until: Offset,
    ) -> Result<(), StoreFault> {
        let skip = segments.partition_point(|(base, _)| *base <= begin).saturating_sub(1);
        for (base, bytes) in segments[skip..].iter().copied().filter(|(base, _)| *base < until && begin < until) {
            let mut position = if base < begin { self.floor(base, begin).await? } else { 0 };
            let mut window = Window::new(self.open(Kind::Log, base).await?, bytes, WALK_BYTES);
            while position < bytes {
                let header = match window.header(position).await {
                    Err(_) if mutant!(TornTailKept) => return Ok(()),
                    header => header.map_err(|why| damaged(base, why))?,
                };
                position += u64::from(header.bytes);
                if header.base_offset >= begin && header.base_offset < until {
                    replay.visit(&header);
                }
            }
        }
        Ok(())
    }

    /// Where in a segment to begin to look for `offset`.
    async fn floor(&mut self, base: Offset, offset: Offset) -> Result<u64, StoreFault> {
        let path = Kind::Offsets.path(self.folder, base);
        let search = async {
            let file = self.dir.fs.open(&path, Open::Existing).await?;
            search(&file, OFFSET_ENTRY, |entry| base.plus(OffsetEntry::decode(entry).relative.into()) <= offset).await
        };
        match search.await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(self.offline("reading", &path, &error)),
            Ok((_, last)) => Ok(last.map_or(0, |entry| OffsetEntry::decode(&entry).position.into())),
        }
    }

    /// Corrects what goes beyond the log's end, syncs everything, and reports.
    async fn finish(
        &mut self,
        inventory: &Inventory,
        walks: Vec<Walk>,
        replay: Replay,
        start: Offset,
        end: Offset,
    ) -> Result<Loaded<F>, StoreFault> {
        let start = start.max(walks[0].segment.base);
        for offset in inventory.snapshots.iter().filter(|offset| **offset > end) {
            probe!("a producer snapshot lay beyond the log's end");
            self.remove(&snapshot_path(self.folder, *offset)).await?;
        }
        let mut epochs = replay.epochs;
        if !mutant!(EpochCacheNotCut) {
            epochs.cut_end(end);
        }
        // The file covers all segments that are there: until its checkpoint is saved, the log start may still go back.
        epochs.cut_start(walks[0].segment.base);
        let epochs_saved = self.save_epochs(&epochs).await?;
        epochs.cut_start(start);
        for file in std::mem::take(&mut self.unsynced) {
            sync_file(&file).await.map_err(|error| self.offline("syncing a file of", self.folder, &error))?;
        }
        if self.changed {
            sync_dir(&*self.dir.fs, self.folder).await.map_err(|error| self.offline("syncing folder", self.folder, &error))?;
        }
        let segments: Vec<Segment> = walks.iter().map(|walk| walk.segment).collect();
        let tail = walks.into_iter().next_back().expect("a log has a segment").tail;
        let (active, sealed) = segments.split_last().expect("a log has a segment");
        let body = Body {
            sealed: sealed.iter().map(|segment| (segment.base, *segment)).collect(),
            active: *active,
            tail,
            end,
            dirty: BTreeMap::new(),
            pinned: false,
            names_dirty: false,
            compacted: self.compacted,
        };
        let Replay { producers, taken: snapshot, .. } = replay;
        let (has_gaps, cleaned) = self.compacted.map_or((false, Offset::ZERO), |compacted| (true, compacted.clean_below));
        let recovered = Recovered { start, end, segments, epochs, epochs_saved, producers, has_gaps, cleaned, snapshot };
        Ok(Loaded { body, recovered })
    }

    /// Saves the epochs, if their file says something else. Answers whether there was room for it.
    async fn save_epochs(&mut self, epochs: &Epochs) -> Result<bool, StoreFault> {
        let path = format!("{}/{EPOCHS_FILE}", self.folder);
        let text = epochs.encode();
        let old = read_text(&*self.dir.fs, &path).await.map_err(|error| self.offline("reading", &path, &error))?;
        if old.as_ref() == Some(&text) || (old.is_none() && epochs.entries().is_empty()) {
            return Ok(true);
        }
        match replace(&*self.dir.fs, &path, text.into()).await {
            Err(error) if crate::fs::is_full(&error) => {
                probe!("the epochs could not be saved on a full disk");
                Ok(false)
            }
            outcome => outcome.map(|_| true).map_err(|error| self.offline("replacing", &path, &error)),
        }
    }

    async fn open(&self, kind: Kind, base: Offset) -> Result<F::File, StoreFault> {
        let path = kind.path(self.folder, base);
        self.dir.fs.open(&path, Open::Existing).await.map_err(|error| self.offline("opening", &path, &error))
    }

    async fn remove(&mut self, path: &str) -> Result<(), StoreFault> {
        self.changed = true;
        remove_if_there(&*self.dir.fs, path).await.map_err(|error| self.offline("removing", path, &error))
    }

    async fn unlink(&mut self, inventory: &mut Inventory, base: Offset) -> Result<(), StoreFault> {
        inventory.logs.remove(&base);
        inventory.snapshots.remove(&base);
        unlink(&*self.dir.fs, self.folder, &[base]).await.map_err(|error| self.offline("unlinking segments of", self.folder, &error))
    }

    fn offline(&self, doing: &str, path: &str, error: &io::Error) -> StoreFault {
        self.dir.take_offline(format!("{doing} {path}: {error}"))
    }
}

fn damaged(at: Offset, why: impl Display) -> StoreFault {
    StoreFault::Damaged { at, why: why.to_string() }
}

/// Where the producers as of `offset` are kept.
pub(crate) fn snapshot_path(folder: &str, offset: Offset) -> String {
    format!("{folder}/{:020}.snapshot", offset.0)
}
