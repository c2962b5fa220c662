//! A start: opens log directories, recovers their logs, and hands over what was found. And an end: closing, so that the next start need not scan.

use super::dir::Dir;
use super::log::Log;
use super::meta::{
    self, Identity, MetaProperties, SMALL_BYTES, is_log_folder, read_at_most, read_small, read_text, remove_if_there, replace, sync_dir,
};
use super::recover::{self, EPOCHS_FILE, How};
use super::shape::remove_folder;
use super::swap::{CLEANED, COMPACTED_FILE, SWAP};
use super::tasks::{Tasks, at_most, lock};
use super::{Desk, Files, Logs, Options, Shared, Store, dir, write};
use crate::fs::{Fs, is_full};
use bytes::Bytes;
use klamm_core::config::quorum::METADATA_FOLDER;
use klamm_core::id::{DirId, LogId, Offset, Uuid};
use klamm_core::log::checkpoint::{self, STARTS_FILE};
use klamm_core::log::snapshot::CHECKPOINT;
use klamm_core::log::{FoundDir, FoundLog};
use klamm_core::probe;
use klamm_core::store::StoreFault;
use klamm_core::wire::records::control::FIRST_CHECKPOINT;
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Poll;

/// The mark of a clean shutdown.
pub const CLEAN_FILE: &str = ".kafka_cleanshutdown";
const LOCK_FILE: &str = ".lock";
/// Snapshots of the metadata log are small files that may be large: a cluster's whole metadata.
const CHECKPOINT_BYTES_MAX: u64 = 1 << 30;

/// Why a log directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Another process uses it.
    Locked,
    /// It has no `meta.properties`.
    Unformatted,
    /// Its `meta.properties` cannot be read, or names another cluster or node.
    Foreign(String),
    /// The disk failed.
    Disk(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => write!(f, "another process holds its lock"),
            Self::Unformatted => write!(f, "it is not formatted: it has no {}", MetaProperties::FILE),
            Self::Foreign(why) | Self::Disk(why) => write!(f, "{why}"),
        }
    }
}

/// A store, and what it found.
pub struct Opened<F: Fs> {
    /// The store; directories that could not be opened are offline.
    pub store: Store<F>,
    /// What each directory held.
    pub dirs: Vec<(DirId, Result<FoundDir, OpenError>)>,
}

/// Makes a log directory: writes its `meta.properties`, replacing an old one.
///
/// # Errors
/// As the disk says.
pub async fn format<F: Fs>(fs: &F, properties: &MetaProperties) -> io::Result<()> {
    replace(fs, MetaProperties::FILE, properties.encode().into()).await
}

/// Puts the first snapshot of the metadata log into a directory that holds none of that log yet.
///
/// # Errors
/// `AlreadyExists` if it does; else as the disk says.
pub async fn put_checkpoint<F: Fs>(fs: &F, bytes: Bytes) -> io::Result<()> {
    match fs.create_dir(METADATA_FOLDER).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        outcome => outcome?,
    }
    let is_log = |name: &str| [".log", CHECKPOINT].iter().any(|end| name.ends_with(end)) && name != FIRST_CHECKPOINT;
    if let Some(entry) = fs.list(METADATA_FOLDER).await?.iter().find(|entry| is_log(&entry.name)) {
        let why = format!("{METADATA_FOLDER}/{} is left of another cluster", entry.name);
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    replace(fs, &format!("{METADATA_FOLDER}/{FIRST_CHECKPOINT}"), bytes).await?;
    sync_dir(fs, "").await
}

/// The properties of a log directory; `None` where it is not formatted.
///
/// # Errors
/// `Foreign` or `Disk`.
pub async fn properties<F: Fs>(fs: &F) -> Result<Option<MetaProperties>, OpenError> {
    let text = read_text(fs, MetaProperties::FILE).await.map_err(disk)?;
    text.map(|text| MetaProperties::decode(&text)).transpose().map_err(OpenError::Foreign)
}

fn disk(error: impl fmt::Display) -> OpenError {
    OpenError::Disk(error.to_string())
}

/// A directory that is open, its logs not yet recovered.
struct Ready<F: Fs> {
    dir: Arc<Dir<F>>,
    properties: MetaProperties,
    clean: Option<Bytes>,
    saved: BTreeMap<String, Bytes>,
    logs: Vec<String>,
    starts: BTreeMap<String, Offset>,
}

/// Opens the directories and recovers all of their logs.
pub async fn open<F: Fs>(dirs: Vec<(DirId, F)>, identity: &Identity, options: Options) -> Opened<F> {
    let mut ready = Vec::new();
    for (id, fs) in dirs {
        ready.push((id, enter(id, fs, identity).await));
    }
    let mut work = Vec::new();
    for (at, (_, ready)) in ready.iter().enumerate() {
        for folder in ready.iter().flat_map(|ready| &ready.logs) {
            work.push((at, LogId(work.len() as u64), folder.clone()));
        }
    }
    let recovering = work.into_iter().map(|(at, id, folder)| {
        let ready = ready[at].1.as_ref().expect("it has logs");
        async move { (at, recover_log(ready, id, folder, &options).await) }
    });
    let recovered = at_most(options.recoveries, recovering).await;
    let mut logs = Logs { by_id: BTreeMap::new(), by_name: BTreeMap::new(), leaving: BTreeMap::new() };
    let files = Files::new(options.open_files);
    let mut found: Vec<Vec<(Arc<Log<F>>, FoundLog)>> = ready.iter().map(|_| Vec::new()).collect();
    for (at, recovered) in recovered {
        found[at].push(recovered);
    }
    let mut store_dirs = BTreeMap::new();
    let mut reports = Vec::new();
    for ((id, ready), found) in ready.into_iter().zip(found) {
        let (opened, found): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let report = match ready {
            Ok(ready) => {
                store_dirs.insert(id, Arc::clone(&ready.dir));
                settle(ready, found).await
            }
            Err(why) => Err(why),
        };
        // Of a directory that fails now nobody hears of any log: their numbers are given anew.
        for log in opened.into_iter().filter(|_| report.is_ok()) {
            logs.by_name.insert((log.dir.id, log.folder.clone()), log.id);
            files.place(log.id, &log.dir.fs, &log.folder);
            logs.by_id.insert(log.id, log);
        }
        reports.push((id, report));
    }
    let tasks = Tasks::default();
    let spawner = tasks.spawner();
    let shared = Shared { dirs: store_dirs, logs: Mutex::new(logs), files, desk: Mutex::new(Desk::default()), spawner, options };
    Opened { store: Store { shared: Arc::new(shared), tasks }, dirs: reports }
}

/// Locks a directory and reads its small files.
async fn enter<F: Fs>(id: DirId, fs: F, identity: &Identity) -> Result<Ready<F>, OpenError> {
    let held = match fs.lock(LOCK_FILE).await {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(OpenError::Locked),
        outcome => outcome.map_err(disk)?,
    };
    let properties = properties(&fs).await?.ok_or(OpenError::Unformatted)?;
    check(&properties, identity)?;
    let clean = take_mark(&fs).await.map_err(disk)?;
    let mut ready_logs = Vec::new();
    let mut saved = BTreeMap::new();
    for entry in fs.list("").await.map_err(disk)? {
        if entry.is_dir && entry.name.ends_with("-delete") {
            probe!("recovery removed a folder that was half made or half removed");
            remove_folder(&fs, &entry.name).await.map_err(disk)?;
        } else if entry.is_dir && is_log_folder(&entry.name) {
            save_others(&fs, &entry.name, &mut saved).await.map_err(disk)?;
            ready_logs.push(entry.name);
        } else if !entry.is_dir && entry.name.ends_with(".tmp") {
            remove_if_there(&fs, &entry.name).await.map_err(disk)?;
        } else if !entry.is_dir && ![LOCK_FILE, MetaProperties::FILE, dir::POINTS_FILE].contains(&&*entry.name) {
            saved.extend(read_small(&fs, &entry.name).await.map_err(disk)?.map(|bytes| (entry.name, bytes)));
        }
    }
    let points = read_offsets(&fs, dir::POINTS_FILE).await.map_err(disk)?;
    let starts = read_offsets(&fs, STARTS_FILE).await.map_err(disk)?;
    let dir = Arc::new(Dir::new(id, Arc::new(fs), Some(held), points));
    Ok(Ready { dir, properties, clean, saved, logs: ready_logs, starts })
}

fn check(properties: &MetaProperties, identity: &Identity) -> Result<(), OpenError> {
    if properties.owner == *identity {
        return Ok(());
    }
    Err(OpenError::Foreign(format!("it belongs to {}, not to {identity}", properties.owner)))
}

/// The mark of a clean shutdown, which is gone before anything else is done: it must not outlive a crash.
async fn take_mark<F: Fs>(fs: &F) -> io::Result<Option<Bytes>> {
    let mark = read_small(fs, CLEAN_FILE).await?;
    if mark.is_some() {
        remove_if_there(fs, CLEAN_FILE).await?;
        sync_dir(fs, "").await?;
    }
    Ok(mark)
}

/// Small files in a log's folder that are not the store's own.
async fn save_others<F: Fs>(fs: &F, folder: &str, saved: &mut BTreeMap<String, Bytes>) -> io::Result<()> {
    // Kafka's `.part` is a snapshot that was not fetched to its end.
    const OWN: [&str; 9] = [".log", ".index", ".timeindex", ".snapshot", ".tmp", ".deleted", ".part", EPOCHS_FILE, "partition.metadata"];
    const COMPACTION: [&str; 3] = [SWAP, CLEANED, COMPACTED_FILE];
    for entry in fs.list(folder).await? {
        if entry.is_dir || OWN.iter().chain(&COMPACTION).any(|own| entry.name.ends_with(own)) {
            continue;
        }
        let path = format!("{folder}/{}", entry.name);
        let most = if path.ends_with(CHECKPOINT) { CHECKPOINT_BYTES_MAX } else { SMALL_BYTES };
        saved.extend(read_at_most(fs, &path, most).await?.map(|bytes| (path, bytes)));
    }
    Ok(())
}

async fn read_offsets<F: Fs>(fs: &F, name: &str) -> io::Result<BTreeMap<String, Offset>> {
    let Some(text) = read_text(fs, name).await? else { return Ok(BTreeMap::new()) };
    Ok(checkpoint::decode(&text).unwrap_or_else(|| {
        probe!("a checkpoint file was no good");
        BTreeMap::new()
    }))
}

async fn recover_log<F: Fs>(ready: &Ready<F>, id: LogId, folder: String, options: &Options) -> (Arc<Log<F>>, FoundLog) {
    let dir = &ready.dir;
    let point = dir.point(&folder).unwrap_or_default();
    let start = ready.starts.get(&folder).copied().unwrap_or_default();
    let how = if ready.clean.is_some() { How::Trust { point } } else { How::Scan { point } };
    let topic = read_text(&*dir.fs, &format!("{folder}/partition.metadata")).await.ok().flatten();
    let topic = topic.and_then(|text| meta::decode_topic(&text)).unwrap_or(Uuid::ZERO);
    let (body, fault, state) = match recover::load(dir, &folder, how, start, options).await {
        Ok(loaded) => (Some(loaded.body), None, Ok(loaded.recovered)),
        Err(fault) => (None, Some(fault.clone()), Err(fault)),
    };
    let log = Log::new(id, Arc::clone(dir), folder.clone(), body, fault);
    lock(&log.state).start = state.as_ref().map_or(start, |recovered| recovered.start);
    (Arc::new(log), FoundLog { log: id, name: folder, topic, state })
}

/// Writes the recovery points that were reached.
async fn settle<F: Fs>(ready: Ready<F>, logs: Vec<FoundLog>) -> Result<FoundDir, OpenError> {
    let dir = ready.dir;
    dir.keep_points(&ready.logs);
    for found in &logs {
        if let Ok(recovered) = &found.state {
            dir.set_point(&found.name, recovered.end);
        }
    }
    match dir.save_points().await {
        Ok(()) => {}
        Err(StoreFault::Full) => probe!("the recovery points could not be saved on a full disk"),
        Err(fault) => return Err(disk(why(fault))),
    }
    match dir.offline() {
        Some(fault) => Err(disk(why(fault))),
        None => Ok(FoundDir { dir: dir.id, id: ready.properties.directory, clean: ready.clean, logs, saved: ready.saved }),
    }
}

fn why(fault: StoreFault) -> String {
    match fault {
        StoreFault::Offline { why, .. } | StoreFault::Damaged { why, .. } => why,
        StoreFault::Full | StoreFault::Closed | StoreFault::Gone => format!("{fault:?}"),
    }
}

impl<F: Fs> Store<F> {
    /// Finishes what was submitted, makes everything durable and marks each directory as cleanly shut down, with `mark` as the file's content.
    /// Outcomes that nobody took are lost. A directory that is offline, or holds a damaged log, gets no mark.
    pub async fn close(mut self, mark: Bytes) -> Vec<(DirId, Result<(), StoreFault>)> {
        let outcomes = Arc::new(Mutex::new(None));
        let mut started = false;
        poll_fn(|cx| {
            self.tasks.turn(cx);
            if !started {
                self.end_cleanings();
            }
            if !started && self.outstanding().ops == 0 {
                started = true;
                let (shared, mark, slot) = (Arc::clone(&self.shared), mark.clone(), Arc::clone(&outcomes));
                self.shared.spawner.spawn(async move {
                    let mut done = Vec::new();
                    for (id, dir) in &shared.dirs {
                        done.push((*id, close_dir(&shared, dir, mark.clone()).await));
                    }
                    *lock(&slot) = Some(done);
                });
                self.tasks.turn(cx);
            }
            lock(&outcomes).take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl<F: Fs> Store<F> {
    /// Nobody waits for a cleaning: the next start takes it up again.
    fn end_cleanings(&self) {
        let logs: Vec<Arc<Log<F>>> = lock(&self.shared.logs).by_id.values().cloned().collect();
        logs.iter().filter(|log| lock(&log.state).cleaning.is_some()).for_each(|log| log.end_cleaning());
    }
}

async fn close_dir<F: Fs>(shared: &Arc<Shared<F>>, dir: &Arc<Dir<F>>, mark: Bytes) -> Result<(), StoreFault> {
    let logs: Vec<Arc<Log<F>>> = lock(&shared.logs).by_id.values().filter(|log| log.dir.id == dir.id).cloned().collect();
    let closed = at_most(shared.options.recoveries, logs.into_iter().map(|log| close_log(Arc::clone(shared), log))).await;
    if let Some(fault) = dir.offline() {
        return Err(fault);
    }
    dir.save_points().await?;
    if let Some(fault) = closed.into_iter().find_map(Result::err) {
        return Err(fault);
    }
    replace(&*dir.fs, CLEAN_FILE, mark)
        .await
        .map_err(|error| if is_full(&error) { StoreFault::Full } else { dir.fault("replacing", CLEAN_FILE, &error) })
}

async fn close_log<F: Fs>(shared: Arc<Shared<F>>, log: Arc<Log<F>>) -> Result<(), StoreFault> {
    log.alone().await;
    write::seal(&shared, &log).await.map_err(|fault| if fault == StoreFault::Gone { lock(&log.state).refusal() } else { fault })?;
    let Some(round) = lock(&log.state).begin_sync() else { return Err(StoreFault::Gone) };
    dir::make_durable(&shared, &log, &round).await?;
    log.dir.set_point(&log.folder, round.end);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use klamm_core::id::BrokerId;

    #[test]
    fn a_directory_of_another_node_or_cluster_is_refused() {
        let owner = |cluster: &str, node| Identity { cluster: cluster.to_owned(), node: BrokerId(node) };
        let properties = MetaProperties { owner: owner("c", 1), directory: Uuid::ZERO };
        assert_eq!(check(&properties, &owner("c", 1)), Ok(()));
        for other in [owner("d", 1), owner("c", 2)] {
            assert!(matches!(check(&properties, &other), Err(OpenError::Foreign(_))));
        }
    }
}
