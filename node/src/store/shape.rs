//! What changes a log's files other than at their end: create, delete, truncate, restart, discard, reopen.

use super::clean::note_compacted;
use super::dir::Dir;
use super::files::Kind;
use super::index::{OFFSET_ENTRY, OffsetEntry, TIME_ENTRY, Tail, TimeEntry, search};
use super::inventory::Inventory;
use super::log::{Body, Log};
use super::meta::{encode_topic, remove_if_there, sync_dir, sync_file};
use super::recover::{self, EPOCHS_FILE, How, snapshot_path};
use super::side::{self, Chore};
use super::swap::{Compacted, read_compacted, save_compacted};
use super::tasks::lock;
use super::{Outcome, Shared, Slip};
use crate::fs::{File, Fs, Open};
use klamm_core::id::{Offset, Uuid};
use klamm_core::log::segments::Segment;
use klamm_core::store::{StoreFault, Stored};
use klamm_core::{mutant, probe};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The longest name of a folder.
const NAME_BYTES_MAX: usize = 255;

/// The name under which a folder is made or unmade: Kafka too removes it when it starts.
fn hidden_name(folder: &str, mark: &str) -> String {
    let suffix = format!(".{mark}-delete");
    let room = NAME_BYTES_MAX - suffix.len();
    if folder.len() <= room {
        return format!("{folder}{suffix}");
    }
    let (topic, partition) = folder.rsplit_once('-').expect("a log's folder is topic-partition");
    format!("{}-{partition}{suffix}", &topic[..room - partition.len() - 1])
}

/// Makes the folder, complete under another name before it gets its own.
pub(crate) async fn create<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip, topic: Uuid) {
    let predecessor = lock(&log.state).predecessor.take();
    if let Some(predecessor) = predecessor {
        predecessor.idle.until(|| lock(&predecessor.state).gone).await;
    }
    let hidden = hidden_name(&log.folder, &format!("{:032x}", log.id.0));
    let turn = log.dir.turns.acquire().await;
    let made = match log.dir.offline() {
        None => make_folder(&log.dir, &log.folder, &hidden, topic).await,
        Some(fault) => Err(fault),
    };
    drop(turn);
    if let Err(fault) = made {
        if fault == StoreFault::Full {
            probe!("there was no room for a new log");
            // What stays behind is removed by the next recovery.
            let _ = remove_folder(&*log.dir.fs, &hidden).await;
        }
        let mut logs = lock(&shared.logs);
        logs.by_id.remove(&log.id);
        let name = (log.dir.id, log.folder.clone());
        // A log of the same name may have been issued behind this one's deletion.
        if logs.by_name.get(&name) == Some(&log.id) {
            logs.by_name.remove(&name);
        }
        drop(logs);
        return shared.finish(slip, &log.dir, Err(fault));
    }
    shared.files.place(log.id, &log.dir.fs, &log.folder);
    {
        let mut state = lock(&log.state);
        state.exists = true;
        state.body = Some(Body {
            sealed: BTreeMap::new(),
            active: Segment::empty(Offset::ZERO),
            tail: Tail::new(Offset::ZERO),
            end: Offset::ZERO,
            dirty: BTreeMap::new(),
            pinned: false,
            names_dirty: false,
            compacted: None,
        });
    }
    shared.finish(slip, &log.dir, Ok(Stored::Done));
}

async fn make_folder<F: Fs>(dir: &Dir<F>, folder: &str, hidden: &str, topic: Uuid) -> Result<(), StoreFault> {
    dir.free_point(folder).await?;
    let (name, hidden) = (folder.to_owned(), hidden.to_owned());
    let made = dir.fs.together(move |fs| async move { fill_folder(&fs, &name, &hidden, topic).await });
    made.await.map_err(|error| dir.fault("making", folder, &error))?;
    // From here on the folder is there: a log that is made another time would be in its way.
    dir.sync_names().await.map_err(|error| dir.take_offline(format!("making {folder}: {error}")))
}

async fn fill_folder<F: Fs>(fs: &F, folder: &str, hidden: &str, topic: Uuid) -> io::Result<()> {
    fs.create_dir(hidden).await?;
    let metadata = fs.open(&format!("{hidden}/partition.metadata"), Open::New).await?;
    metadata.write_at(0, &[encode_topic(topic).into()]).await?;
    sync_file(&metadata).await?;
    // It is empty: its name is all there is to be durable.
    fs.open(&Kind::Log.path(hidden, Offset::ZERO), Open::New).await?;
    sync_dir(fs, hidden).await?;
    fs.rename(hidden, folder).await
}

/// Removes a folder of files.
pub(crate) async fn remove_folder<F: Fs>(fs: &F, folder: &str) -> io::Result<()> {
    let folder = folder.to_owned();
    fs.together(|fs| async move { empty_folder(&fs, &folder).await }).await
}

async fn empty_folder<F: Fs>(fs: &F, folder: &str) -> io::Result<()> {
    for entry in fs.list(folder).await? {
        remove_if_there(fs, &format!("{folder}/{}", entry.name)).await?;
    }
    fs.remove_dir(folder).await
}

/// Takes the folder's name away, durably; then unlinks what is in it.
pub(crate) async fn delete<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip) {
    log.alone().await;
    let hidden = hidden_name(&log.folder, &format!("{:032x}", log.id.0));
    let outcome = match log.dir.offline() {
        Some(fault) => Err(fault),
        None if !lock(&log.state).exists => Err(StoreFault::Gone),
        None => take_name(log, &hidden).await,
    };
    shared.forget(log);
    {
        let mut state = lock(&log.state);
        (state.body, state.gone) = (None, true);
    }
    log.idle.ring();
    let renamed = outcome.is_ok();
    shared.finish(slip, &log.dir, outcome);
    if renamed && let Err(error) = remove_folder(&*log.dir.fs, &hidden).await {
        log.dir.take_offline(format!("removing {hidden}: {error}"));
    }
}

async fn take_name<F: Fs>(log: &Arc<Log<F>>, hidden: &str) -> Outcome {
    let fs = &*log.dir.fs;
    let renamed = async {
        fs.rename(&log.folder, hidden).await?;
        log.dir.sync_names().await
    };
    renamed.await.map_err(|error| log.dir.take_offline(format!("renaming {}: {error}", log.folder)))?;
    log.dir.forget_point(&log.folder);
    Ok(Stored::Done)
}

/// Takes segments out of the log; their files are unlinked beside later writes.
pub(crate) fn discard<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip, start: Offset, below: Offset) {
    let (bases, first) = {
        let mut state = lock(&log.state);
        let refusal = state.refusal();
        state.start = state.start.max(start);
        let Some(body) = state.body.as_mut() else {
            drop(state);
            return shared.finish(slip, &log.dir, Err(refusal));
        };
        let ends: Vec<Offset> = body.sealed.keys().skip(1).copied().chain([body.active.base]).collect();
        let bases: Vec<Offset> = body.sealed.keys().copied().zip(ends).take_while(|(_, end)| *end <= below).map(|(base, _)| base).collect();
        body.sealed.retain(|base, _| !bases.contains(base));
        body.dirty.retain(|(base, _), _| !bases.contains(base));
        for base in &bases {
            shared.files.retire(log.id, *base);
        }
        let first = body.sealed.keys().next().copied().unwrap_or(body.active.base);
        (bases, first)
    };
    if bases.is_empty() {
        return shared.finish(slip, &log.dir, Ok(Stored::Done));
    }
    side::enqueue_for_log(shared, log, Chore::Unlink { slip, folder: log.folder.clone(), bases, first });
}

/// Recovers the log from its files.
pub(crate) async fn reopen<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip) {
    log.alone().await;
    let outcome = reshape(shared, log, async {
        let point = log.dir.point(&log.folder).unwrap_or(Offset::ZERO);
        recovered(shared, log, How::Scan { point }).await
    })
    .await;
    shared.finish(slip, &log.dir, outcome);
}

/// Cuts the log so that it ends at `to`.
pub(crate) async fn truncate<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip, to: Offset) {
    let refused = {
        let state = lock(&log.state);
        match &state.fault {
            Some(StoreFault::Full) => Some(StoreFault::Closed),
            Some(fault) => Some(fault.clone()),
            None => state.body.is_none().then_some(StoreFault::Gone),
        }
    };
    if let Some(fault) = refused {
        return shared.finish(slip, &log.dir, Err(fault));
    }
    log.alone().await;
    let outcome = reshape(shared, log, async {
        cut(shared, log, to).await?;
        recovered(shared, log, How::Trust { point: Offset::ZERO }).await
    })
    .await;
    shared.finish(slip, &log.dir, outcome);
}

/// Drops everything, and begins at `at`.
pub(crate) async fn restart<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip, at: Offset) {
    log.alone().await;
    let refused = {
        let state = lock(&log.state);
        match &state.fault {
            Some(StoreFault::Full | StoreFault::Damaged { .. }) => None,
            Some(fault) => Some(fault.clone()),
            None => state.body.is_none().then_some(StoreFault::Gone),
        }
    };
    if let Some(fault) = refused {
        return shared.finish(slip, &log.dir, Err(fault));
    }
    let outcome = reshape(shared, log, async {
        {
            let mut state = lock(&log.state);
            (state.body, state.start) = (None, at);
        }
        shared.files.forget_files(log.id);
        empty(log, at).await?;
        recovered(shared, log, How::Trust { point: Offset::ZERO }).await
    })
    .await;
    shared.finish(slip, &log.dir, outcome);
}

/// Takes the files of a log away, newest first, and makes an empty segment at `at`. A crash in between leaves the beginning of the old log.
async fn empty<F: Fs>(log: &Log<F>, at: Offset) -> Result<(), StoreFault> {
    // Else the next recovery would take what is missing for damage.
    save_point(log, None).await?;
    let (fs, folder) = (&*log.dir.fs, &log.folder);
    let failed = |error: io::Error| log.dir.take_offline(format!("emptying {folder}: {error}"));
    let inventory = Inventory::of(fs.list(folder).await.map_err(failed)?);
    let is_plain = read_compacted(fs, folder).await.is_ok_and(|known| known.is_none_or(|known| known == Compacted::default()));
    if !is_plain {
        save_compacted(fs, folder, Compacted::default()).await.map_err(|error| log.dir.fault("emptying", folder, &error))?;
    }
    // First, so that no epoch of records that are gone is taken for one of those to come.
    remove_if_there(fs, &format!("{folder}/{EPOCHS_FILE}")).await.map_err(failed)?;
    for snapshot in &inventory.snapshots {
        remove_if_there(fs, &snapshot_path(folder, *snapshot)).await.map_err(failed)?;
    }
    sync_dir(fs, folder).await.map_err(failed)?;
    let bases: Vec<Offset> = inventory.logs.keys().rev().copied().collect();
    side::unlink(fs, folder, &bases).await.map_err(failed)?;
    let path = Kind::Log.path(folder, at);
    let segment = fs.open(&path, Open::New).await.map_err(|error| log.dir.fault("making", &path, &error))?;
    sync_file(&segment).await.map_err(failed)?;
    sync_dir(fs, folder).await.map_err(failed)
}

/// Holds reads back while `work` changes the files, and takes over what it finds.
async fn reshape<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, work: impl Future<Output = Outcome> + Send) -> Outcome {
    {
        let mut state = lock(&log.state);
        state.reshaping = true;
        state.cuts += 1;
    }
    let outcome = match log.dir.offline() {
        None => work.await,
        Some(fault) => Err(fault),
    };
    let mut state = lock(&log.state);
    state.cuts += 1;
    state.reshaping = false;
    if let Err(fault) = &outcome {
        state.fault = Some(fault.clone());
    }
    drop(state);
    shared.files.forget_files(log.id);
    log.idle.ring();
    outcome
}

/// Reads the log from its files into memory.
async fn recovered<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, how: How) -> Outcome {
    shared.files.forget_files(log.id);
    let start = lock(&log.state).start;
    let loaded = recover::load(&log.dir, &log.folder, how, start, &shared.options).await;
    let mut state = lock(&log.state);
    match loaded {
        Ok(loaded) => {
            state.fault = None;
            state.body = Some(loaded.body);
            Ok(Stored::Reopened(Box::new(loaded.recovered)))
        }
        Err(fault) => {
            state.body = None;
            Err(fault)
        }
    }
}

/// Cuts the files, newest first, each durably before the next: a crash leaves a log that is too long, never one with a hole.
async fn cut<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, to: Offset) -> Result<(), StoreFault> {
    let (segments, dirty, end) = {
        let mut state = lock(&log.state);
        state.start = state.start.min(to);
        let body = state.body.as_mut().expect("looked at before");
        let segments: Vec<Segment> = body.sealed.values().copied().chain([body.active]).collect();
        (segments, std::mem::take(&mut body.dirty), body.end)
    };
    let fs = &*log.dir.fs;
    let failed = |doing: &str, error: &io::Error| log.dir.take_offline(format!("{doing} {}: {error}", log.folder));
    let mut kept = segments[0].base;
    if to < end {
        lower_point(log, to).await?;
        lower_compacted(log, to).await?;
        let keep = segments.iter().rev().find(|segment| segment.base <= to);
        for segment in segments.iter().rev().take_while(|segment| segment.base > to) {
            probe!("a truncation removed a segment");
            side::unlink(fs, &log.folder, &[segment.base]).await.map_err(|error| failed("unlinking segments of", &error))?;
        }
        match keep {
            Some(segment) => {
                kept = segment.base;
                cut_segment(shared, log, segment, to).await?;
            }
            None => {
                probe!("a truncation removed the whole log");
                fs.open(&Kind::Log.path(&log.folder, to), Open::New).await.map_err(|error| log.dir.fault("making", &log.folder, &error))?;
                kept = to;
            }
        }
    } else {
        kept = segments.last().map_or(kept, |segment| segment.base);
    }
    for ((base, kind), file) in dirty {
        if base <= kept {
            let failed = |error: io::Error| failed(&format!("syncing {} of", kind.path(&log.folder, base)), &error);
            let file = match file {
                Some(file) => file,
                None => shared.files.get(log.id, base, kind).await.map_err(failed)?,
            };
            sync_file(&file).await.map_err(failed)?;
        }
    }
    sync_dir(fs, &log.folder).await.map_err(|error| failed("syncing folder", &error))
}

/// The recovery point goes back before the log does: else the next recovery would take the cut for damage.
async fn lower_point<F: Fs>(log: &Arc<Log<F>>, to: Offset) -> Result<(), StoreFault> {
    if log.dir.point(&log.folder).is_some_and(|point| point > to) {
        probe!("a truncation went below the recovery point");
        // The batch that holds `to` goes whole, so the end may come to lie anywhere in its segment.
        let point = lock(&log.state).base_of(to);
        save_point(log, Some(point)).await?;
    }
    Ok(())
}

/// What compaction is said to have done goes back before the log does: what is appended then it has not seen.
async fn lower_compacted<F: Fs>(log: &Arc<Log<F>>, to: Offset) -> Result<(), StoreFault> {
    let (base, before) = {
        let state = lock(&log.state);
        (state.base_of(to), state.body.as_ref().and_then(|body| body.compacted))
    };
    let Some(before) = before.filter(|before| before.cut(base) != *before) else { return Ok(()) };
    probe!("a truncation went below what was cleaned");
    note_compacted(log, before.cut(base)).await
}

/// Durably moves a recovery point back. Where that cannot be saved it stays where it is, as the log does: else nobody would save it the next time.
async fn save_point<F: Fs>(log: &Log<F>, point: Option<Offset>) -> Result<(), StoreFault> {
    let Some(former) = log.dir.point(&log.folder) else { return Ok(()) };
    match point {
        Some(point) => log.dir.set_point(&log.folder, point),
        None => log.dir.forget_point(&log.folder),
    }
    let saved = log.dir.save_points().await;
    if saved.is_err() {
        log.dir.set_point(&log.folder, former);
    }
    saved
}

async fn cut_segment<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, segment: &Segment, to: Offset) -> Result<(), StoreFault> {
    let position = super::read::position_of(shared, log, segment, to).await?;
    let path = Kind::Log.path(&log.folder, segment.base);
    let failed = |error: io::Error| log.dir.take_offline(format!("cutting {path}: {error}"));
    for (kind, size) in [(Kind::Times, TIME_ENTRY), (Kind::Offsets, OFFSET_ENTRY)] {
        if kind == Kind::Times && mutant!(TimeIndexStale) {
            continue;
        }
        let file = match shared.files.get(log.id, segment.base, kind).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            outcome => outcome.map_err(failed)?,
        };
        let (entries, _) = search(&file, size, |entry| match kind {
            Kind::Times => segment.base.plus(TimeEntry::decode(entry).relative.into()) < to,
            Kind::Offsets | Kind::Log => u64::from(OffsetEntry::decode(entry).position) < position,
        })
        .await
        .map_err(failed)?;
        file.set_len(entries * size as u64).await.map_err(failed)?;
    }
    let file = shared.files.get(log.id, segment.base, Kind::Log).await.map_err(failed)?;
    file.set_len(position).await.map_err(failed)?;
    sync_file(&file).await.map_err(failed)
}
