//! Reads: they overtake writes, find batches by index and headers, and never look at records (but for a search by time).
//!
//! A read that saw a file while it was cut begins again.

use super::files::Kind;
use super::index::{OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, TimeEntry, fits, search};
use super::log::{Body, Log};
use super::tasks::lock;
use super::window::{Unreadable, Window};
use super::{Outcome, Shared};
use crate::fs::{File, Fs};
use bytes::Bytes;
use klamm_core::id::Offset;
use klamm_core::log::segments::Segment;
use klamm_core::probe;
use klamm_core::store::{FoundTime, Located, Region, StoreFault, Stored};
use klamm_core::time::Timestamp;
use klamm_core::wire::batch::{Batch, BatchHeader};
use klamm_core::wire::record::{BadRecords, Records};
use std::io;
use std::sync::Arc;

/// A walk over headers reads so much at a time: an index interval and a bit.
const WALK_BYTES: usize = 8 << 10;
/// A search by time decompresses at most so much of one batch.
const RECORDS_BYTES_MAX: usize = 1 << 30;

/// A read that did not succeed.
enum Failed {
    /// For good.
    Fault(StoreFault),
    /// The bytes at some offset are not what they should be, unless the log was cut meanwhile.
    Unreadable { at: Offset, why: Unreadable },
}

impl From<StoreFault> for Failed {
    fn from(fault: StoreFault) -> Self {
        Self::Fault(fault)
    }
}

/// One segment as a read sees it: what is written behind `bytes` later does not concern it.
#[derive(Clone, Copy)]
struct View {
    segment: Segment,
    /// Which version of its files.
    version: u32,
    /// The offset behind its last one.
    end: Offset,
    active: bool,
    /// Compaction may have taken batches away.
    has_gaps: bool,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Query {
    /// The bytes of whole batches from the one that holds `from` up to `until`.
    Locate { from: Offset, until: Offset, max_bytes: u32 },
    /// Those batches, checked.
    Load { from: Offset, until: Offset, max_bytes: u32 },
    /// The first record from `from` on, below `until`, whose time is at or after `time`.
    FindTime { time: Timestamp, from: Offset, until: Offset },
}

/// Answers a query; begins again while what it finds unreadable may be the work of a cut.
pub(crate) async fn read<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, query: Query) -> Outcome {
    loop {
        log.idle.until(|| !lock(&log.state).reshaping).await;
        let (cuts, swaps) = {
            let state = lock(&log.state);
            (state.cuts, state.swaps)
        };
        let (at, why) = match read_once(shared, log, query).await {
            Ok(_) if lock(&log.state).swaps != swaps => {
                probe!("a read began before a cleaning and ended behind it");
                continue;
            }
            Ok(found) => return Ok(found),
            Err(Failed::Fault(fault)) => return Err(fault),
            Err(Failed::Unreadable { at, why }) => (at, why),
        };
        if lock(&log.state).cuts == cuts {
            probe!("a read found damage");
            return Err(StoreFault::Damaged { at, why: why.to_string() });
        }
        probe!("a read saw both sides of a cut");
    }
}

async fn read_once<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, query: Query) -> Result<Stored, Failed> {
    match query {
        Query::Locate { from, until, max_bytes } => Ok(Stored::Located(locate(shared, log, from, until, max_bytes).await?)),
        Query::Load { from, until, max_bytes } => match locate(shared, log, from, until, max_bytes).await? {
            Some(located) => Ok(Stored::Loaded(load_region(shared, &located).await?)),
            None => Ok(Stored::Loaded(Vec::new())),
        },
        Query::FindTime { time, from, until } => Ok(Stored::Found(find_time(shared, log, time, from, until).await?)),
    }
}

async fn find_time<F: Fs>(
    shared: &Arc<Shared<F>>,
    log: &Arc<Log<F>>,
    time: Timestamp,
    from: Offset,
    until: Offset,
) -> Result<Option<FoundTime>, Failed> {
    for view in views(shared, log)? {
        if view.end <= from || view.segment.base >= until || view.segment.max_timestamp < time {
            continue;
        }
        if let Some(found) = find_time_in(shared, log, &view, time, from, until).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn views<F: Fs>(shared: &Shared<F>, log: &Log<F>) -> Result<Vec<View>, StoreFault> {
    let state = lock(&log.state);
    let body = state.body.as_ref().ok_or_else(|| state.refusal())?;
    let bases = body.sealed.keys().chain([&body.active.base]);
    Ok(bases.filter_map(|base| view_of(shared, log, body, *base)).collect())
}

/// The segment that may hold `offset`: the last one that begins at or below it.
fn view_of<F: Fs>(shared: &Shared<F>, log: &Log<F>, body: &Body<F>, offset: Offset) -> Option<View> {
    let (segment, end, active) = if offset >= body.active.base {
        (body.active, body.end, true)
    } else {
        let (_, segment) = body.sealed.range(..=offset).next_back()?;
        let end = body.sealed.range(offset.plus(1)..).next().map_or(body.active.base, |(base, _)| *base);
        (*segment, end, false)
    };
    let version = shared.files.version(log.id, segment.base);
    Some(View { segment, version, end, active, has_gaps: body.compacted.is_some() })
}

async fn locate<F: Fs>(
    shared: &Arc<Shared<F>>,
    log: &Arc<Log<F>>,
    from: Offset,
    until: Offset,
    max_bytes: u32,
) -> Result<Option<Located>, Failed> {
    let mut want = from;
    loop {
        let view = {
            let state = lock(&log.state);
            let body = state.body.as_ref().ok_or_else(|| state.refusal())?;
            if want > body.end {
                return Err(StoreFault::Gone.into());
            }
            if want >= until || want == body.end {
                return Ok(None);
            }
            view_of(shared, log, body, want).ok_or(StoreFault::Gone)?
        };
        let start = floor(shared, log, &view, want).await?;
        let mut window = open(shared, log, &view).await?;
        let Some((position, header)) = first(&mut window, &view, start, want).await? else {
            if view.active {
                return Ok(None);
            }
            // Compaction may leave the end of a segment empty.
            want = view.end;
            continue;
        };
        if header.next_offset() > until {
            return Ok(None);
        }
        let (end, next) = extend(shared, log, &view, &mut window, (position, &header), until, max_bytes).await?;
        let len = u32::try_from(end - position).expect("bounded by u32, or by one batch");
        let region = Region { log: log.id, segment: view.segment.base, version: view.version, position, len };
        return Ok(Some(Located { region, first: header.base_offset, next }));
    }
}

async fn open<F: Fs>(shared: &Shared<F>, log: &Log<F>, view: &View) -> Result<Window<F::File>, Failed> {
    let at = view.segment.base;
    let file = shared.files.get(log.id, at, Kind::Log).await.map_err(|error| Failed::Unreadable { at, why: Unreadable::Io(error) })?;
    Ok(Window::new(file, view.segment.bytes, WALK_BYTES))
}

/// Where the first batch begins that ends behind `offset`; the segment's end if none does. For the writer, which nobody cuts under.
pub(crate) async fn position_of<F: Fs>(
    shared: &Arc<Shared<F>>,
    log: &Arc<Log<F>>,
    segment: &Segment,
    offset: Offset,
) -> Result<u64, StoreFault> {
    let view = View { segment: *segment, version: 0, end: Offset(i64::MAX), active: false, has_gaps: true };
    let find = async {
        let start = floor(shared, log, &view, offset).await?;
        let mut window = open(shared, log, &view).await?;
        first(&mut window, &view, start, offset).await
    };
    match find.await {
        Ok(found) => Ok(found.map_or(segment.bytes, |(position, _)| position)),
        Err(Failed::Fault(fault)) => Err(fault),
        Err(Failed::Unreadable { at, why }) => Err(StoreFault::Damaged { at, why: why.to_string() }),
    }
}

/// The first batch at or behind `position` that ends behind `offset`, and where it is. One that says to end behind its segment would else count as yet
/// to be committed, for ever, and one that says to begin earlier would be passed over; one that says to begin later is right only where there are gaps.
async fn first<F: File>(
    window: &mut Window<F>,
    view: &View,
    mut position: u64,
    offset: Offset,
) -> Result<Option<(u64, BatchHeader)>, Failed> {
    let mut least = view.segment.base;
    while position < view.segment.bytes {
        let header = window.header(position).await.map_err(|why| Failed::Unreadable { at: offset, why })?;
        if header.base_offset < least || header.next_offset() > view.end {
            let why = Unreadable::Astray { base: header.base_offset, least, end: view.end };
            return Err(Failed::Unreadable { at: offset, why });
        }
        if header.next_offset() > offset {
            if header.base_offset > offset.max(view.segment.base) && !view.has_gaps {
                let why = Unreadable::Astray { base: header.base_offset, least, end: view.end };
                return Err(Failed::Unreadable { at: offset, why });
            }
            return Ok(Some((position, header)));
        }
        least = header.next_offset();
        position += u64::from(header.bytes);
    }
    Ok(None)
}

/// How far a region that begins with the batch `header` at `position` goes: its last byte's successor, and the next offset.
async fn extend<F: Fs>(
    shared: &Arc<Shared<F>>,
    log: &Arc<Log<F>>,
    view: &View,
    window: &mut Window<F::File>,
    (position, header): (u64, &BatchHeader),
    until: Offset,
    max_bytes: u32,
) -> Result<(u64, Offset), Failed> {
    let mut end = position + u64::from(header.bytes);
    let mut next = header.next_offset();
    let limit = end.max(position + u64::from(max_bytes)).min(view.segment.bytes);
    if limit == view.segment.bytes && until >= view.end {
        return Ok((limit, view.end));
    }
    let jump = ceiling(shared, log, view, limit, until).await?;
    if jump > end {
        end = jump;
    }
    while end < limit {
        let header = window.header(end).await.map_err(|why| Failed::Unreadable { at: next, why })?;
        // Behind a jump the batches before are known to end at or below this one.
        next = next.max(header.base_offset);
        if end + u64::from(header.bytes) > limit || header.next_offset() > until {
            break;
        }
        end += u64::from(header.bytes);
        next = header.next_offset();
    }
    Ok((end, next))
}

/// Where to begin to look for the batch that holds `offset`.
async fn floor<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, view: &View, offset: Offset) -> Result<u64, Failed> {
    let base = view.segment.base;
    if let Some(position) = in_tail(log, view, |body| body.tail.floor(offset)) {
        return Ok(position);
    }
    last_entry(shared, log, view, |entry| base.plus(entry.relative.into()) <= offset).await
}

/// Where the last batch with an index entry begins, of those that begin before `limit` and end below `until`.
async fn ceiling<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, view: &View, limit: u64, until: Offset) -> Result<u64, Failed> {
    let base = view.segment.base;
    if let Some(position) = in_tail(log, view, |body| body.tail.ceiling(limit, until)) {
        return Ok(position);
    }
    last_entry(shared, log, view, |entry| fits(base, entry, limit, until)).await
}

/// Asks the indexes in memory, if the segment is still the active one.
fn in_tail<F: Fs, T>(log: &Log<F>, view: &View, ask: impl FnOnce(&Body<F>) -> T) -> Option<T> {
    let state = lock(&log.state);
    let body = state.body.as_ref()?;
    (body.active.base == view.segment.base).then(|| ask(body))
}

async fn last_entry<F: Fs>(shared: &Shared<F>, log: &Log<F>, view: &View, holds: impl Fn(OffsetEntry) -> bool) -> Result<u64, Failed> {
    let last = search_index(shared, log, view, Kind::Offsets, OFFSET_ENTRY, |entry| holds(OffsetEntry::decode(entry))).await?;
    Ok(last.map_or(0, |entry| OffsetEntry::decode(&entry).position.into()))
}

/// The last entry of a sealed segment's index that `holds`. A missing index, left out on a full disk, has none.
async fn search_index<F: Fs>(
    shared: &Shared<F>,
    log: &Log<F>,
    view: &View,
    kind: Kind,
    size: usize,
    holds: impl Fn(&[u8]) -> bool,
) -> Result<Option<Bytes>, Failed> {
    let searched = async {
        let file = shared.files.get(log.id, view.segment.base, kind).await?;
        search(&file, size, holds).await
    };
    match searched.await {
        Ok((_, last)) => Ok(last),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failed::Unreadable { at: view.segment.base, why: Unreadable::Io(error) }),
    }
}

async fn load_region<F: Fs>(shared: &Shared<F>, located: &Located) -> Result<Vec<Batch>, Failed> {
    let at = located.first;
    let io = |error| Failed::Unreadable { at, why: Unreadable::Io(error) };
    let file = shared.files.resolve(&located.region).await.map_err(io)?;
    let bytes = file.read_at(located.region.position, located.region.len as usize).await.map_err(io)?;
    if bytes.len() < located.region.len as usize {
        return Err(Failed::Unreadable { at, why: Unreadable::Cut });
    }
    let batches = Batch::all(&bytes).map_err(|bad| Failed::Unreadable { at, why: Unreadable::Bad(bad) })?;
    let read: u64 = batches.iter().map(|batch| u64::from(batch.header().bytes)).sum();
    if read != u64::from(located.region.len) {
        return Err(Failed::Unreadable { at, why: Unreadable::Cut });
    }
    Ok(batches)
}

async fn find_time_in<F: Fs>(
    shared: &Arc<Shared<F>>,
    log: &Arc<Log<F>>,
    view: &View,
    time: Timestamp,
    from: Offset,
    until: Offset,
) -> Result<Option<FoundTime>, Failed> {
    let older = floor_time(shared, log, view, time).await?;
    let offset = older.max(from);
    let mut position = floor(shared, log, view, offset).await?;
    let mut window = open(shared, log, view).await?;
    while position < view.segment.bytes {
        let header = window.header(position).await.map_err(|why| Failed::Unreadable { at: offset, why })?;
        if header.base_offset >= until {
            return Ok(None);
        }
        if header.max_timestamp >= time && header.next_offset() > from {
            let region = Region { log: log.id, segment: view.segment.base, version: view.version, position, len: header.bytes };
            let batches = load_region(shared, &Located { region, first: header.base_offset, next: header.next_offset() }).await?;
            let found = find_in_batch(batches.first().ok_or(StoreFault::Gone)?, time, from).map_err(|why| unreadable(&header, why))?;
            if let Some(found) = found {
                return Ok((found.offset < until).then_some(found));
            }
        }
        position += u64::from(header.bytes);
    }
    Ok(None)
}

/// An offset below which no record is as young as `time`.
async fn floor_time<F: Fs>(shared: &Shared<F>, log: &Log<F>, view: &View, time: Timestamp) -> Result<Offset, Failed> {
    if let Some(offset) = in_tail(log, view, |body| body.tail.floor_time(time)) {
        return Ok(offset);
    }
    let base = view.segment.base;
    let last = search_index(shared, log, view, Kind::Times, TIME_ENTRY, |entry| TimeEntry::decode(entry).time <= time).await?;
    Ok(last.map_or(base, |entry| base.plus(TimeEntry::decode(&entry).relative.into())))
}

fn unreadable(header: &BatchHeader, why: BadRecords) -> Failed {
    StoreFault::Damaged { at: header.base_offset, why: format!("its records cannot be decoded: {why:?}") }.into()
}

/// The batch's first record from `from` on that is young enough.
fn find_in_batch(batch: &Batch, time: Timestamp, from: Offset) -> Result<Option<FoundTime>, BadRecords> {
    for record in Records::of(batch, RECORDS_BYTES_MAX)? {
        let record = record?;
        if record.timestamp >= time && record.offset >= from {
            return Ok(Some(FoundTime { offset: record.offset, time: record.timestamp, epoch: batch.header().leader_epoch }));
        }
    }
    Ok(None)
}
