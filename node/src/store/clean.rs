//! Cleans a log beside its writes: reads the keys of what is dirty, then copies what is left of each group of sealed segments, and swaps it in.
//!
//! Sealed segments never change, so that nothing has to wait; only the swap is a write like the others. What cuts or closes a log, or takes segments away, ends
//! the cleaning. Which record stays is the core's to say (`klamm_core::log::clean`).

use super::files::Kind;
use super::index::Tail;
use super::log::{Job, Log, enqueue};
use super::meta::{remove_if_there, sync_file};
use super::swap::{self, Compacted, cleaned_path};
use super::tasks::lock;
use super::window::{Unreadable, Window};
use super::{Outcome, Shared, Slip};
use crate::fs::{File, Fs, Open, is_full};
use bytes::Bytes;
use klamm_core::id::Offset;
use klamm_core::log::clean::{Left, Newest, Terms, left_of};
use klamm_core::log::segments::Segment;
use klamm_core::probe;
use klamm_core::store::{Cleaned, StoreFault, Stored};
use klamm_core::wire::batch::Batch;
use std::io;
use std::sync::{Arc, Mutex};

/// A cleaning reads and writes so much at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What is asked for.
pub(crate) struct Order {
    pub(crate) dirty: Offset,
    pub(crate) until: Offset,
    pub(crate) terms: Box<Terms>,
}

/// A cleaning that is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    /// Somebody waits for its end.
    pub(crate) is_over: bool,
}

/// A swap, as the one who copied and the one who writes know it.
pub(crate) struct Swap {
    group: Group,
    made: Segment,
    state: Mutex<State>,
}

enum State {
    Waiting,
    Running,
    /// The cleaning has ended before its turn came.
    Withdrawn,
    Done(Result<(), StoreFault>),
}

/// Segments that become one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    segments: Vec<Segment>,
    /// Where the last one ends.
    end: Offset,
}

impl Group {
    fn base(&self) -> Offset {
        self.segments[0].base
    }

    fn bases(&self) -> Vec<Offset> {
        self.segments.iter().map(|segment| segment.base).collect()
    }
}

/// Begins a cleaning, unless one is under way.
pub(crate) fn clean<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip, order: Order) {
    let refused = {
        let mut state = lock(&log.state);
        if state.body.is_none() {
            Some(state.refusal())
        } else if state.cleaning.is_some() {
            Some(StoreFault::Gone)
        } else {
            state.cleaning = Some(Running::default());
            None
        }
    };
    if let Some(fault) = refused {
        return shared.finish(slip, &log.dir, Err(fault));
    }
    let (shared, log) = (Arc::clone(shared), Arc::clone(log));
    let spawner = shared.spawner.clone();
    spawner.spawn(async move {
        let outcome = Cleaner { shared: &shared, log: &log, order: &order, bytes: 0 }.run().await;
        lock(&log.state).cleaning = None;
        log.idle.ring();
        shared.finish(slip, &log.dir, outcome);
    });
}

struct Cleaner<'a, F: Fs> {
    shared: &'a Arc<Shared<F>>,
    log: &'a Arc<Log<F>>,
    order: &'a Order,
    /// Read and written so far.
    bytes: u64,
}

impl<F: Fs> Cleaner<'_, F> {
    /// What was done is told whatever ends it: the core must know its segments.
    async fn run(&mut self) -> Outcome {
        let segments = self.durable();
        let until = segments.last().map_or(self.order.dirty, |(_, end)| *end);
        let done = self.clean(segments).await;
        let state = lock(&self.log.state);
        let body = state.body.as_ref().ok_or(StoreFault::Gone)?;
        let (dirty, fault) = done.map_or_else(|fault| (self.order.dirty, Some(fault)), |dirty| (dirty, None));
        let segments = body.sealed.range(..until).map(|(_, segment)| *segment).collect();
        let has_gaps = body.compacted.is_some();
        Ok(Stored::Cleaned(Box::new(Cleaned { dirty, until, segments, has_gaps, bytes: self.bytes, fault })))
    }

    /// Cleans as far as there is memory for keys; answers up to where.
    async fn clean(&mut self, segments: Vec<(Segment, Offset)>) -> Result<Offset, StoreFault> {
        let mut newest = Newest::new(self.order.terms.key_bytes);
        let dirty = self.read_keys(&segments, &mut newest).await?;
        let segments: Vec<_> = segments.into_iter().filter(|(segment, _)| segment.base < dirty).collect();
        let end = segments.last().map_or(Offset::ZERO, |(_, end)| *end);
        for group in groups(segments, u64::from(self.order.terms.segment_bytes)) {
            self.replace(group, &newest, end).await?;
        }
        if dirty > self.order.dirty && !is_over(self.log) {
            let before = self.compacted().unwrap_or_default();
            note_compacted(self.log, Compacted { clean_below: dirty, ..before }).await?;
        }
        Ok(dirty)
    }

    fn compacted(&self) -> Option<Compacted> {
        lock(&self.log.state).body.as_ref().and_then(|body| body.compacted)
    }

    /// The sealed segments below `until` that are known to be durable, and where each ends.
    fn durable(&self) -> Vec<(Segment, Offset)> {
        let limit = self.order.until.min(self.log.dir.point(&self.log.folder).unwrap_or(Offset::ZERO));
        let state = lock(&self.log.state);
        let Some(body) = &state.body else { return Vec::new() };
        let ends = body.sealed.keys().skip(1).copied().chain([body.active.base]);
        body.sealed.values().copied().zip(ends).take_while(|(_, end)| *end <= limit).collect()
    }

    /// Takes in the producers of what is clean, and the keys of what is dirty, as far as there is memory. Answers up to where.
    async fn read_keys(&mut self, segments: &[(Segment, Offset)], newest: &mut Newest) -> Result<Offset, StoreFault> {
        let mut reached = self.order.dirty;
        for (segment, end) in segments {
            let mut source = self.source(segment, *end).await?;
            while let Some(batch) = source.next(self).await? {
                let next = batch.header().next_offset();
                if next <= self.order.dirty {
                    newest.pass(batch.header());
                    continue;
                }
                if !newest.has_room() {
                    probe!("a cleaning has no memory for all that is dirty");
                    return Ok(reached);
                }
                newest.take_in(&batch);
                reached = next;
            }
            reached = reached.max(*end);
        }
        Ok(reached)
    }

    /// Copies what is left of a group, and puts it in the group's place.
    async fn replace(&mut self, group: Group, newest: &Newest, end: Offset) -> Result<(), StoreFault> {
        let copied = self.copy(&group, newest).await;
        let outcome = match copied {
            Ok(Some(made)) => self.swap_in(&group, made, end).await,
            Ok(None) => Err(None),
            Err(fault) => Err(Some(fault)),
        };
        let Err(fault) = outcome else { return Ok(()) };
        for kind in Kind::ALL {
            let path = cleaned_path(kind, &self.log.folder, group.base());
            remove_if_there(&*self.log.dir.fs, &path).await.map_err(|error| self.failed("removing", &path, &error))?;
        }
        fault.map_or(Ok(()), Err)
    }

    /// The copy, durable under names that say that it is one; `None` where it would be the same.
    async fn copy(&mut self, group: &Group, newest: &Newest) -> Result<Option<Segment>, StoreFault> {
        let base = group.base();
        let mut output = Output::begin(self, base).await?;
        let mut is_same = group.segments.len() == 1;
        let ends = group.segments.iter().skip(1).map(|segment| segment.base).chain([group.end]);
        for (segment, end) in group.segments.iter().zip(ends) {
            let mut source = self.source(segment, end).await?;
            while let Some(batch) = source.next(self).await? {
                match left_of(&batch, newest, &self.order.terms) {
                    Left::Whole => output.push(self, batch).await?,
                    Left::Nothing => is_same = false,
                    Left::Some(reduced) => {
                        is_same = false;
                        output.push(self, reduced).await?;
                    }
                }
            }
        }
        if is_same {
            return Ok(None);
        }
        output.finish(self).await.map(Some)
    }

    /// Has the writer put the copy in its place. The fault of a copy that is not needed is `None`.
    async fn swap_in(&self, group: &Group, made: Segment, end: Offset) -> Result<(), Option<StoreFault>> {
        let swap = Arc::new(Swap { group: group.clone(), made, state: Mutex::new(State::Waiting) });
        // Else it would be read anew where a reader needs it, which is when its name is another's.
        for base in group.bases() {
            self.open(base).await?;
        }
        let before = self.compacted();
        if before.is_none_or(|before| before.gaps_below < end) {
            note_compacted(self.log, Compacted { gaps_below: end, ..before.unwrap_or_default() }).await?;
        }
        enqueue(self.shared, self.log, Job::Swap(Arc::clone(&swap)));
        let mut outcome = None;
        let log = self.log;
        log.idle
            .until(|| {
                let state = &mut *lock(&swap.state);
                match state {
                    State::Done(done) => outcome = Some(done.clone()),
                    State::Waiting if is_over(log) => {
                        *state = State::Withdrawn;
                        outcome = Some(Err(StoreFault::Gone));
                    }
                    State::Waiting | State::Running | State::Withdrawn => {}
                }
                outcome.is_some()
            })
            .await;
        outcome.unwrap_or(Ok(())).map_err(Some)
    }

    async fn source(&self, segment: &Segment, end: Offset) -> Result<Source<F>, StoreFault> {
        let file = self.open(segment.base).await?;
        let window = Window::new(file, segment.bytes, CHUNK_BYTES);
        let has_gaps = self.compacted().is_some();
        Ok(Source { window, position: 0, bytes: segment.bytes, least: segment.base, end, has_gaps })
    }

    async fn open(&self, base: Offset) -> Result<F::File, StoreFault> {
        let outcome = self.shared.files.get(self.log.id, base, Kind::Log).await;
        outcome.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound && !lock(&self.log.state).holds(base) {
                probe!("a segment goes while it is cleaned");
                return StoreFault::Gone;
            }
            self.failed("opening", &Kind::Log.path(&self.log.folder, base), &error)
        })
    }

    fn failed(&self, doing: &str, path: &str, error: &io::Error) -> StoreFault {
        self.log.dir.fault(doing, path, error)
    }
}

/// Whether a cleaning shall end.
fn is_over<F: Fs>(log: &Log<F>) -> bool {
    lock(&log.state).cleaning.as_ref().is_none_or(|running| running.is_over)
}

/// Notes durably what compaction has done, or is about to do.
pub(crate) async fn note_compacted<F: Fs>(log: &Log<F>, compacted: Compacted) -> Result<(), StoreFault> {
    let saved = swap::save_compacted(&*log.dir.fs, &log.folder, compacted).await;
    saved.map_err(|error| log.dir.fault("noting the gaps of", &log.folder, &error))?;
    if let Some(body) = &mut lock(&log.state).body {
        body.compacted = Some(compacted);
    }
    Ok(())
}

/// Joins neighbours as long as they fit into one segment, by bytes and by offsets.
fn groups(segments: impl IntoIterator<Item = (Segment, Offset)>, segment_bytes: u64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (segment, end) in segments {
        let joins = |group: &&mut Group| {
            let bytes: u64 = group.segments.iter().map(|segment| segment.bytes).sum();
            bytes + segment.bytes <= segment_bytes && end.since(group.base()) <= i64::from(i32::MAX)
        };
        match groups.last_mut().filter(joins) {
            Some(group) => {
                group.segments.push(segment);
                group.end = end;
            }
            None => groups.push(Group { segments: vec![segment], end }),
        }
    }
    groups
}

/// The batches of one segment.
struct Source<F: Fs> {
    window: Window<F::File>,
    position: u64,
    bytes: u64,
    least: Offset,
    end: Offset,
    has_gaps: bool,
}

impl<F: Fs> Source<F> {
    /// The next batch. Looks at its checksum, and at its offsets, which that does not cover: what is bad is not copied.
    async fn next(&mut self, cleaner: &mut Cleaner<'_, F>) -> Result<Option<Batch>, StoreFault> {
        if self.position >= self.bytes {
            return Ok(None);
        }
        if is_over(cleaner.log) {
            probe!("a cleaning is ended early");
            return Err(StoreFault::Gone);
        }
        let damaged = |at: Offset, why: Unreadable| StoreFault::Damaged { at, why: why.to_string() };
        let batch = self.window.batch(self.position).await.map_err(|why| damaged(self.least, why))?;
        let header = batch.header();
        let begins = header.base_offset == self.least || (header.base_offset > self.least && self.has_gaps);
        if !begins || header.next_offset() > self.end {
            return Err(damaged(self.least, Unreadable::Astray { base: header.base_offset, least: self.least, end: self.end }));
        }
        cleaner.bytes += u64::from(header.bytes);
        self.position += u64::from(header.bytes);
        self.least = header.next_offset();
        Ok(Some(batch))
    }
}

/// A segment that is being made.
struct Output<F: Fs> {
    base: Offset,
    file: F::File,
    segment: Segment,
    tail: Tail,
    written: u64,
    pieces: Vec<Bytes>,
}

impl<F: Fs> Output<F> {
    async fn begin(cleaner: &Cleaner<'_, F>, base: Offset) -> Result<Self, StoreFault> {
        let path = cleaned_path(Kind::Log, &cleaner.log.folder, base);
        let file = cleaner.log.dir.fs.open(&path, Open::Empty).await.map_err(|error| cleaner.failed("making", &path, &error))?;
        Ok(Self { base, file, segment: Segment::empty(base), tail: Tail::new(base), written: 0, pieces: Vec::new() })
    }

    async fn push(&mut self, cleaner: &mut Cleaner<'_, F>, batch: Batch) -> Result<(), StoreFault> {
        let position = self.segment.bytes;
        self.tail.note(&mut self.segment, batch.header(), position, cleaner.shared.options.index_interval_bytes);
        cleaner.bytes += u64::from(batch.header().bytes);
        self.pieces.extend(batch.pieces().cloned());
        if self.segment.bytes - self.written >= CHUNK_BYTES as u64 {
            self.flush(cleaner).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, cleaner: &Cleaner<'_, F>) -> Result<(), StoreFault> {
        let pieces = std::mem::take(&mut self.pieces);
        if !pieces.is_empty() {
            let written = self.file.write_at(self.written, &pieces).await;
            written.map_err(|error| cleaner.failed("writing", &cleaned_path(Kind::Log, &cleaner.log.folder, self.base), &error))?;
            self.written = self.segment.bytes;
        }
        Ok(())
    }

    /// Makes it durable, and its indexes.
    async fn finish(mut self, cleaner: &Cleaner<'_, F>) -> Result<Segment, StoreFault> {
        self.flush(cleaner).await?;
        self.tail.note_time(&self.segment);
        let mut files = vec![(Kind::Log, self.file.clone())];
        for (kind, bytes) in [(Kind::Times, self.tail.unwritten_times().1), (Kind::Offsets, self.tail.unwritten_offsets().1)] {
            let path = cleaned_path(kind, &cleaner.log.folder, self.base);
            let made = async {
                let file = cleaner.log.dir.fs.open(&path, Open::Empty).await?;
                file.write_at(0, &[bytes]).await?;
                Ok(file)
            };
            files.push((kind, made.await.map_err(|error| cleaner.failed("writing", &path, &error))?));
        }
        for (kind, file) in files {
            let path = cleaned_path(kind, &cleaner.log.folder, self.base);
            sync_file(&file).await.map_err(|error| cleaner.log.dir.take_offline(format!("syncing {path}: {error}")))?;
        }
        Ok(self.segment)
    }
}

/// The writer's part: puts a copy in the place of what it was made of, unless that has changed since.
pub(crate) async fn swap_in<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, swap: &Swap) {
    {
        let state = &mut *lock(&swap.state);
        if matches!(state, State::Withdrawn) {
            return;
        }
        *state = State::Running;
    }
    let outcome = match may_swap(log, &swap.group) {
        Ok(()) => put_in_place(shared, log, swap).await,
        Err(fault) => Err(fault),
    };
    *lock(&swap.state) = State::Done(outcome);
    log.idle.ring();
}

/// Whether all that is replaced is there yet. If so, reads wait from now on.
fn may_swap<F: Fs>(log: &Log<F>, group: &Group) -> Result<(), StoreFault> {
    log.dir.offline().map_or(Ok(()), Err)?;
    let mut state = lock(&log.state);
    let body = state.body.as_ref().ok_or(StoreFault::Gone)?;
    if !group.segments.iter().all(|segment| body.sealed.get(&segment.base) == Some(segment)) {
        probe!("a segment goes before a cleaning has replaced it");
        return Err(StoreFault::Gone);
    }
    state.reshaping = true;
    state.cuts += 1;
    Ok(())
}

async fn put_in_place<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, swap: &Swap) -> Result<(), StoreFault> {
    let group = &swap.group;
    let (base, end, bases) = (group.base(), group.end, group.bases());
    let (fs, folder) = (&*log.dir.fs, &log.folder);
    let decided = swap::decide(fs, folder, base, end).await;
    let done = match decided {
        // Nothing was done, and nothing is wrong.
        Err(error) if is_full(&error) => Err(StoreFault::Full),
        Ok(()) => swap::carry_out(fs, folder, base, end, &bases).await.map_err(|error| lost(log, &error)),
        Err(error) => Err(lost(log, &error)),
    };
    let mut state = lock(&log.state);
    if done.is_ok() {
        bases[1..].iter().for_each(|joined| shared.files.retire(log.id, *joined));
        shared.files.replaced(log.id, base);
        if let Some(body) = &mut state.body {
            body.sealed.retain(|base, _| !bases.contains(base));
            body.sealed.insert(base, swap.made);
        }
        probe!("a cleaned segment took the place of others");
    }
    state.cuts += 1;
    state.swaps += 1;
    state.reshaping = false;
    done
}

/// Nobody knows how far it got: the next recovery finds out.
fn lost<F: Fs>(log: &Log<F>, error: &io::Error) -> StoreFault {
    log.dir.take_offline(format!("replacing segments of {}: {error}", log.folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_as_far_as_they_fit() {
        let segment = |base: i64, bytes: u64| Segment { bytes, ..Segment::empty(Offset(base)) };
        let far = i64::from(i32::MAX);
        let segments = [
            (segment(0, 40), Offset(10)),
            (segment(10, 0), Offset(20)),
            (segment(20, 60), Offset(30)),
            (segment(30, 1), Offset(40)),
            (segment(40, 500), Offset(50)),
            (segment(50, 1), Offset(60)),
            (segment(60, 1), Offset(51 + far)),
        ];
        let bases: Vec<Vec<i64>> = groups(segments, 100).iter().map(|group| group.bases().iter().map(|base| base.0).collect()).collect();
        assert_eq!(bases, [vec![0, 10, 20], vec![30], vec![40], vec![50], vec![60]]);
    }
}
