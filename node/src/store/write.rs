//! Appends, syncs and rolls: what changes the end of a log.

use super::clean::note_compacted;
use super::dir::{request_sealed, request_sync};
use super::files::Kind;
use super::index::Tail;
use super::log::{Append, Log};
use super::swap::Compacted;
use super::tasks::lock;
use super::{Shared, Slip};
use crate::fs::{File, Fs, Open, is_full};
use bytes::Bytes;
use klamm_core::id::Offset;
use klamm_core::log::segments::Segment;
use klamm_core::probe;
use klamm_core::store::{StoreFault, Stored};
use std::io;
use std::sync::Arc;

/// Appends that wait are written together up to so many batches.
pub(crate) const RUN_BATCHES: usize = 512;
/// And so many bytes.
pub(crate) const RUN_BYTES: u64 = 4 << 20;

/// Writes a run of appends, at once if it can be.
pub(crate) async fn append<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, run: Vec<Append>) {
    match write_run(shared, log, &run).await {
        Ok(ends) => {
            for (append, end) in run.into_iter().zip(ends) {
                shared.finish(append.slip, &log.dir, Ok(Stored::Appended { end }));
            }
        }
        Err(StoreFault::Full) if run.len() > 1 => {
            // Together they do not fit; some of them may.
            probe!("a run of appends did not fit the disk");
            for append in run {
                let outcome = write_run(shared, log, std::slice::from_ref(&append)).await;
                let end = outcome.map_err(|fault| close(log, fault)).map(|ends| ends[0]);
                shared.finish(append.slip, &log.dir, end.map(|end| Stored::Appended { end }));
            }
        }
        Err(fault) => {
            let fault = close(log, fault);
            for append in run {
                shared.finish(append.slip, &log.dir, Err(fault.clone()));
            }
        }
    }
    if lock(&log.state).body.as_ref().is_some_and(|body| body.tail.unwritten() >= shared.options.index_run) {
        // A full disk only delays it.
        let _ = write_indexes(shared, log).await;
    }
}

/// Refuses later appends with the same fault.
fn close<F: Fs>(log: &Log<F>, fault: StoreFault) -> StoreFault {
    lock(&log.state).fault.get_or_insert(fault).clone()
}

/// Writes the run with one call; the ends of its appends. After a failure nothing of it is there.
async fn write_run<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, run: &[Append]) -> Result<Vec<Offset>, StoreFault> {
    let (base, position, ends, is_first_gap) = {
        let state = lock(&log.state);
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        let body = state.body.as_ref().ok_or(StoreFault::Gone)?;
        let (ends, has_gap) = ends(body.end, run)?;
        (body.active.base, body.active.bytes, ends, has_gap && body.compacted.is_none())
    };
    if let Some(fault) = log.dir.offline() {
        return Err(fault);
    }
    if is_first_gap {
        probe!("a log gets its first gap from its leader");
        note_compacted(log, Compacted::default()).await?;
    }
    let path = || Kind::Log.path(&log.folder, base);
    let file = shared.files.get(log.id, base, Kind::Log).await.map_err(|error| log.dir.fault("opening", &path(), &error))?;
    let pieces: Vec<Bytes> = run.iter().flat_map(|append| &append.batches).flat_map(|batch| batch.pieces().cloned()).collect();
    if let Err(error) = file.write_at(position, &pieces).await {
        let fault = log.dir.fault("writing", &path(), &error);
        if fault == StoreFault::Full {
            probe!("a half written append was cut back");
            file.set_len(position).await.map_err(|error| log.dir.take_offline(format!("cutting {}: {error}", path())))?;
            soil(shared, log, base, Kind::Log, file);
        }
        return Err(fault);
    }
    note(shared, log, run, *ends.last().expect("a run is not empty"));
    soil(shared, log, base, Kind::Log, file);
    Ok(ends)
}

/// Where each append of the run ends, and whether a batch leaves a gap; `Gone` where one does not begin where the one before ended.
fn ends(mut end: Offset, run: &[Append]) -> Result<(Vec<Offset>, bool), StoreFault> {
    let mut ends = Vec::with_capacity(run.len());
    let mut has_gap = false;
    for append in run {
        if append.at != end {
            return Err(StoreFault::Gone);
        }
        for batch in &append.batches {
            if batch.header().base_offset < end {
                return Err(StoreFault::Gone);
            }
            has_gap |= batch.header().base_offset > end;
            end = batch.header().next_offset();
        }
        ends.push(end);
    }
    Ok((ends, has_gap))
}

/// Takes what was written into segment and indexes: from now on it is readable.
fn note<F: Fs>(shared: &Shared<F>, log: &Log<F>, run: &[Append], end: Offset) {
    let mut state = lock(&log.state);
    let body = state.body.as_mut().expect("only the writer takes it away");
    for batch in run.iter().flat_map(|append| &append.batches) {
        let position = body.active.bytes;
        body.tail.note(&mut body.active, batch.header(), position, shared.options.index_interval_bytes);
    }
    body.end = end;
}

/// Notes that a file has bytes which no sync has covered.
fn soil<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, base: Offset, kind: Kind, file: F::File) {
    let pinned = {
        let mut state = lock(&log.state);
        let body = state.body.as_mut().expect("only the writer takes it away");
        body.dirty.insert((base, kind), Some(file));
        std::mem::replace(&mut body.pinned, true)
    };
    if !pinned {
        pin(shared, log);
    }
}

/// Notes that a log keeps unsynced files open. When too many logs do, they are closed.
fn pin<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>) {
    let crowd = {
        let mut dir = lock(&log.dir.state);
        dir.pinned.insert(log.id, Arc::clone(log));
        if dir.pinned.len() <= shared.options.open_files / 2 {
            return;
        }
        std::mem::take(&mut dir.pinned)
    };
    probe!("so many logs were dirty that their files were closed");
    for log in crowd.into_values() {
        if let Some(body) = &mut lock(&log.state).body {
            body.dirty.values_mut().for_each(|file| *file = None);
            body.pinned = false;
        }
    }
}

/// Hands a sync to the directory's next round.
pub(crate) fn sync<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip) {
    let refused = {
        let state = lock(&log.state);
        match &state.fault {
            // An append that this sync would have covered has failed.
            Some(StoreFault::Full) => Some(StoreFault::Closed),
            Some(fault) => Some(fault.clone()),
            None => state.body.is_none().then_some(StoreFault::Gone),
        }
    };
    match refused {
        Some(fault) => shared.finish(slip, &log.dir, Err(fault)),
        None => request_sync(shared, log, slip),
    }
}

/// Seals the active segment and begins the next.
pub(crate) async fn roll<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip, at: Offset) {
    let outcome = begin_segment(shared, log, at).await;
    if let Err(fault) = &outcome {
        close(log, fault.clone());
    }
    shared.finish(slip, &log.dir, outcome.map(|()| Stored::Done));
}

async fn begin_segment<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, at: Offset) -> Result<(), StoreFault> {
    {
        let state = lock(&log.state);
        if let Some(fault) = &state.fault {
            return Err(if *fault == StoreFault::Full { StoreFault::Closed } else { fault.clone() });
        }
        let body = state.body.as_ref().ok_or(StoreFault::Gone)?;
        if body.end != at {
            return Err(StoreFault::Gone);
        }
        if body.active.base == at {
            return Ok(());
        }
    }
    seal(shared, log).await?;
    let path = Kind::Log.path(&log.folder, at);
    let file = log.dir.fs.open(&path, Open::New).await.map_err(|error| log.dir.fault("making", &path, &error))?;
    shared.files.keep(log.id, at, Kind::Log, &file);
    {
        let mut state = lock(&log.state);
        let body = state.body.as_mut().expect("only the writer takes it away");
        let sealed = std::mem::replace(&mut body.active, Segment::empty(at));
        body.sealed.insert(sealed.base, sealed);
        body.tail = Tail::new(at);
        body.names_dirty = true;
    }
    soil(shared, log, at, Kind::Log, file);
    request_sealed(shared, log);
    Ok(())
}

/// Completes the active segment's index files, and has all its files covered by the next sync.
pub(crate) async fn seal<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>) -> Result<(), StoreFault> {
    let base = {
        let mut state = lock(&log.state);
        let body = state.body.as_mut().ok_or(StoreFault::Gone)?;
        body.tail.note_time(&body.active);
        body.active.base
    };
    write_indexes(shared, log).await?;
    for kind in Kind::ALL {
        let file =
            open_index(shared, log, base, kind).await.map_err(|error| log.dir.fault("opening", &kind.path(&log.folder, base), &error))?;
        soil(shared, log, base, kind, file);
    }
    Ok(())
}

/// Writes the index entries that are not yet in the files. Times first: a walk from the last offset entry then misses none of them.
async fn write_indexes<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>) -> Result<(), StoreFault> {
    let (base, times, offsets) = {
        let state = lock(&log.state);
        let body = state.body.as_ref().ok_or(StoreFault::Gone)?;
        (body.active.base, body.tail.unwritten_times(), body.tail.unwritten_offsets())
    };
    for (kind, (at, bytes)) in [(Kind::Times, times), (Kind::Offsets, offsets)] {
        let path = kind.path(&log.folder, base);
        // An index without entries is made as well: Kafka's tools want both.
        let file = open_index(shared, log, base, kind).await.map_err(|error| log.dir.fault("opening", &path, &error))?;
        if bytes.is_empty() {
            continue;
        }
        if let Err(error) = file.write_at(at, &[bytes]).await {
            if is_full(&error) {
                probe!("an index did not fit the disk");
                file.set_len(at).await.map_err(|error| log.dir.take_offline(format!("cutting {path}: {error}")))?;
            }
            return Err(log.dir.fault("writing", &path, &error));
        }
        let mut state = lock(&log.state);
        let tail = &mut state.body.as_mut().expect("only the writer takes it away").tail;
        if kind == Kind::Times {
            tail.times_written = tail.times.len();
        } else {
            tail.offsets_written = tail.offsets.len();
        }
    }
    Ok(())
}

/// Opens one of the active segment's files; an index is made if it is not there yet.
async fn open_index<F: Fs>(shared: &Shared<F>, log: &Log<F>, base: Offset, kind: Kind) -> io::Result<F::File> {
    match shared.files.get(log.id, base, kind).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound && kind != Kind::Log => {
            let file = log.dir.fs.open(&kind.path(&log.folder, base), Open::New).await?;
            shared.files.keep(log.id, base, kind, &file);
            if let Some(body) = &mut lock(&log.state).body {
                body.names_dirty = true;
            }
            Ok(file)
        }
        outcome => outcome,
    }
}
