//! Executes `StoreOp`s on files: per-log order, group commit per disk, reads that overtake. The contract stands above `klamm_core::store`.
//!
//! Async but runtime-free: no tokio, no threads, no timers, only `Fs`. Who drives it calls `submit` and polls `done`; all of the store's work happens
//! within that poll. The node does so in a task, the mesh in an executor whose wake-ups are disk completions. Decides nothing about offsets: what to
//! truncate, roll or retain is the core's to say. The recovery points and the mark of a clean shutdown are the store's own.
//!
//! | File | Holds |
//! |---|---|
//! | `tasks` | the executor within the store |
//! | `dir` | one log directory: offline or not, rounds of group commit, recovery points |
//! | `log` | one log in memory, its queue of writes |
//! | `write` `shape` `side` `read` | appends and rolls · create, truncate, delete · small files and unlinking · locate, load, find by time |
//! | `clean` `swap` | compaction: copying what is left · putting it in the place of what was there |
//! | `index` `window` `files` | offset and time index · walking batches · the cache of open files |
//! | `open` `recover` `inventory` `walk` `replay` | a start: directories · one log from its files · their names · their batches · epochs and producers |
//! | `meta` | small text files, and how one is replaced |

mod clean;
#[doc(hidden)]
pub mod contract;
mod dir;
mod files;
mod index;
mod inventory;
mod log;
mod meta;
mod open;
mod read;
mod recover;
mod replay;
mod shape;
mod side;
mod swap;
mod tasks;
mod walk;
mod window;
mod write;

pub use files::Files;
pub use meta::{Identity, MetaProperties};
pub use open::{CLEAN_FILE, OpenError, Opened, format, open, properties, put_checkpoint};

use crate::fs::{Fs, Space};
use clean::Order;
use dir::Dir;
use klamm_core::id::{DirId, LogId, Ticket, Uuid};
use klamm_core::store::{StoreFault, StoreOp, Stored};
use log::{Append, Job, Log};
use read::Query;
use side::Chore;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tasks::{Spawner, Tasks, lock};

/// How an operation ended.
pub type Outcome = Result<Stored, StoreFault>;

/// What an operator may set.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes between two index entries (`index.interval.bytes`).
    pub index_interval_bytes: u64,
    /// The index files of the active segment are written when so many entries wait: a reader of the files lags behind, nothing else does.
    pub index_run: usize,
    /// How many files are kept open without need. Unsynced files come on top, at most half as many logs.
    pub open_files: usize,
    /// How many logs are recovered at once.
    pub recoveries: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { index_interval_bytes: 4096, index_run: 64, open_files: 512, recoveries: 4 }
    }
}

/// What was submitted and has not been answered yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// Operations.
    pub ops: usize,
    /// Bytes to be appended or saved.
    pub bytes: u64,
}

/// An operation that must be answered.
pub(crate) struct Slip {
    ticket: Ticket,
    bytes: u64,
}

#[derive(Default)]
struct Desk {
    done: VecDeque<(Ticket, Outcome)>,
    outstanding: Outstanding,
}

/// What all tasks of the store share.
pub(crate) struct Shared<F: Fs> {
    dirs: BTreeMap<DirId, Arc<Dir<F>>>,
    logs: Mutex<Logs<F>>,
    files: Files<F>,
    desk: Mutex<Desk>,
    spawner: Spawner,
    options: Options,
}

struct Logs<F: Fs> {
    by_id: BTreeMap<LogId, Arc<Log<F>>>,
    by_name: BTreeMap<(DirId, String), LogId>,
    /// Logs whose deletion was issued and has not yet given their names free.
    leaving: BTreeMap<(DirId, String), Arc<Log<F>>>,
}

impl<F: Fs> Shared<F> {
    /// Answers an operation. Nothing ends well any more once its directory is offline.
    fn finish(&self, slip: Slip, dir: &Dir<F>, outcome: Outcome) {
        let outcome = dir.offline().map_or(outcome, Err);
        self.answer(slip, outcome);
    }

    fn answer(&self, slip: Slip, outcome: Outcome) {
        let mut desk = lock(&self.desk);
        desk.outstanding.ops -= 1;
        desk.outstanding.bytes -= slip.bytes;
        desk.done.push_back((slip.ticket, outcome));
    }

    fn log(&self, id: LogId) -> Option<Arc<Log<F>>> {
        lock(&self.logs).by_id.get(&id).cloned()
    }

    fn forget(&self, log: &Log<F>) {
        {
            let mut logs = lock(&self.logs);
            logs.by_id.remove(&log.id);
            logs.leaving.retain(|_, leaving| leaving.id != log.id);
        }
        self.files.forget_log(log.id);
        lock(&log.dir.state).pinned.remove(&log.id);
    }
}

/// A store over one or more log directories; see the file header.
pub struct Store<F: Fs> {
    shared: Arc<Shared<F>>,
    tasks: Tasks,
}

impl<F: Fs> Store<F> {
    /// Begins an operation. Its outcome comes from `done`, once, whatever happens.
    pub fn submit(&mut self, ticket: Ticket, op: StoreOp) {
        let bytes = bytes_of(&op);
        {
            let outstanding = &mut lock(&self.shared.desk).outstanding;
            outstanding.ops += 1;
            outstanding.bytes += bytes;
        }
        route(&self.shared, Slip { ticket, bytes }, op);
    }

    /// The next operation that has ended. Works on all of them while it is polled; pending for ever when nothing is outstanding.
    pub fn done(&mut self) -> impl Future<Output = (Ticket, Outcome)> + Send {
        poll_fn(|cx| self.poll(cx))
    }

    /// As `done`.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Ticket, Outcome)> {
        if let Some(done) = self.take_done() {
            return Poll::Ready(done);
        }
        self.tasks.turn(cx);
        self.take_done().map_or(Poll::Pending, Poll::Ready)
    }

    fn take_done(&self) -> Option<(Ticket, Outcome)> {
        lock(&self.shared.desk).done.pop_front()
    }

    /// What has been submitted and has not ended; outcomes that wait to be taken do not count. A driver holds back when it is too much.
    #[must_use]
    pub fn outstanding(&self) -> Outstanding {
        lock(&self.shared.desk).outstanding
    }

    /// Resolves regions to files; connections hold a clone.
    #[must_use]
    pub fn files(&self) -> Files<F> {
        self.shared.files.clone()
    }
}

impl<F: Fs> Drop for Store<F> {
    /// Parts the circles of references, so that files and locks are freed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The panic may have left a lock behind that nobody can take any more; a second one would end the process without a word.
            return;
        }
        self.tasks.clear();
        for dir in self.shared.dirs.values() {
            dir.clear();
        }
        lock(&self.shared.logs).leaving.clear();
    }
}

fn bytes_of(op: &StoreOp) -> u64 {
    match op {
        StoreOp::Append { batches, .. } => batches.iter().map(|batch| u64::from(batch.header().bytes)).sum(),
        StoreOp::Save { bytes, .. } => bytes.len() as u64,
        StoreOp::Create { .. }
        | StoreOp::Delete { .. }
        | StoreOp::Roll { .. }
        | StoreOp::Sync { .. }
        | StoreOp::Truncate { .. }
        | StoreOp::Restart { .. }
        | StoreOp::Clean { .. }
        | StoreOp::Read { .. }
        | StoreOp::Discard { .. }
        | StoreOp::Reopen { .. }
        | StoreOp::Locate { .. }
        | StoreOp::Load { .. }
        | StoreOp::FindTime { .. }
        | StoreOp::Remove { .. }
        | StoreOp::Space { .. } => 0,
    }
}

fn route<F: Fs>(shared: &Arc<Shared<F>>, slip: Slip, op: StoreOp) {
    match op {
        StoreOp::Create { log, dir, name, topic } => create(shared, slip, log, dir, name, topic),
        StoreOp::Append { log, at, batches } => write(shared, log, slip, |slip| Job::Append(Append { slip, at, batches })),
        StoreOp::Roll { log, at } => write(shared, log, slip, |slip| Job::Roll { slip, at }),
        StoreOp::Sync { log } => write(shared, log, slip, |slip| Job::Sync { slip }),
        StoreOp::Truncate { log, to } => write(shared, log, slip, |slip| Job::Truncate { slip, to }),
        StoreOp::Restart { log, at } => write(shared, log, slip, |slip| Job::Restart { slip, at }),
        StoreOp::Discard { log, start, below } => write(shared, log, slip, |slip| Job::Discard { slip, start, below }),
        StoreOp::Clean { log, dirty, until, terms } => {
            write(shared, log, slip, |slip| Job::Clean { slip, order: Order { dirty, until, terms } });
        }
        StoreOp::Reopen { log } => write(shared, log, slip, |slip| Job::Reopen { slip }),
        StoreOp::Delete { log } => delete(shared, log, slip),
        StoreOp::Locate { log, from, until, max_bytes } => read(shared, log, slip, Query::Locate { from, until, max_bytes }),
        StoreOp::Load { log, from, until, max_bytes } => read(shared, log, slip, Query::Load { from, until, max_bytes }),
        StoreOp::FindTime { log, time, from, until } => read(shared, log, slip, Query::FindTime { time, from, until }),
        StoreOp::Save { dir, name, bytes } => chore(shared, slip, dir, &name.clone(), |slip| Chore::Save { slip, path: name, bytes }),
        StoreOp::Remove { dir, name } => chore(shared, slip, dir, &name.clone(), |slip| Chore::Remove { slip, path: name }),
        StoreOp::Read { dir, name, from, max_bytes } => read_file(shared, slip, dir, name, from, max_bytes),
        StoreOp::Space { dir } => space(shared, slip, dir),
    }
}

fn write<F: Fs>(shared: &Arc<Shared<F>>, log: LogId, slip: Slip, job: impl FnOnce(Slip) -> Job) {
    match shared.log(log) {
        Some(log) if lock(&shared.logs).by_name.get(&(log.dir.id, log.folder.clone())) == Some(&log.id) => {
            log::enqueue(shared, &log, job(slip))
        }
        // Its deletion was issued before.
        Some(_) | None => shared.answer(slip, Err(StoreFault::Gone)),
    }
}

fn create<F: Fs>(shared: &Arc<Shared<F>>, slip: Slip, id: LogId, dir: DirId, name: String, topic: Uuid) {
    let Some(dir) = shared.dirs.get(&dir) else { return shared.answer(slip, Err(no_dir(dir))) };
    assert!(meta::is_log_folder(&name), "{name:?} is not topic-partition");
    let log = Arc::new(Log::new(id, Arc::clone(dir), name.clone(), None, None));
    {
        let mut logs = lock(&shared.logs);
        assert!(logs.by_id.insert(id, Arc::clone(&log)).is_none(), "log {id} is created twice");
        let name = (dir.id, name);
        lock(&log.state).predecessor = logs.leaving.get(&name).cloned();
        assert!(logs.by_name.insert(name, id).is_none(), "folder {} is created twice", log.folder);
    }
    log::enqueue(shared, &log, Job::Create { slip, topic });
}

fn delete<F: Fs>(shared: &Arc<Shared<F>>, id: LogId, slip: Slip) {
    let Some(log) = shared.log(id) else { return shared.answer(slip, Err(StoreFault::Gone)) };
    // From now on the name is free, and everything else that is issued for the old log finds it gone.
    let name = (log.dir.id, log.folder.clone());
    let mut logs = lock(&shared.logs);
    if logs.by_name.get(&name) != Some(&id) {
        drop(logs);
        return shared.answer(slip, Err(StoreFault::Gone));
    }
    logs.by_name.remove(&name);
    logs.leaving.insert(name, Arc::clone(&log));
    drop(logs);
    log::enqueue(shared, &log, Job::Delete { slip });
}

fn read<F: Fs>(shared: &Arc<Shared<F>>, log: LogId, slip: Slip, query: Query) {
    let Some(log) = shared.log(log) else { return shared.answer(slip, Err(StoreFault::Gone)) };
    let shared = Arc::clone(shared);
    let spawner = shared.spawner.clone();
    spawner.spawn(async move {
        let outcome = read::read(&shared, &log, query).await;
        shared.finish(slip, &log.dir, outcome);
    });
}

fn chore<F: Fs>(shared: &Arc<Shared<F>>, slip: Slip, dir: DirId, path: &str, chore: impl FnOnce(Slip) -> Chore) {
    let Some(dir) = shared.dirs.get(&dir) else { return shared.answer(slip, Err(no_dir(dir))) };
    let Some((folder, _)) = path.split_once('/') else { return side::enqueue_for_dir(shared, dir, chore(slip)) };
    let log = {
        let logs = lock(&shared.logs);
        logs.by_name.get(&(dir.id, folder.to_owned())).and_then(|id| logs.by_id.get(id)).cloned()
    };
    match log {
        // Behind the writes issued before, so that a folder is there and a truncation is done; beside those that follow.
        Some(log) => log::enqueue(shared, &log, Job::Chore(chore(slip))),
        None => shared.answer(slip, Err(StoreFault::Gone)),
    }
}

fn read_file<F: Fs>(shared: &Arc<Shared<F>>, slip: Slip, dir: DirId, path: String, from: u64, max_bytes: u32) {
    let Some(dir) = shared.dirs.get(&dir).cloned() else { return shared.answer(slip, Err(no_dir(dir))) };
    let shared = Arc::clone(shared);
    let spawner = shared.spawner.clone();
    spawner.spawn(async move {
        let outcome = side::read_part(&dir, &path, from, max_bytes).await;
        shared.finish(slip, &dir, outcome);
    });
}

fn space<F: Fs>(shared: &Arc<Shared<F>>, slip: Slip, dir: DirId) {
    let Some(dir) = shared.dirs.get(&dir).cloned() else { return shared.answer(slip, Err(no_dir(dir))) };
    let shared = Arc::clone(shared);
    let spawner = shared.spawner.clone();
    spawner.spawn(async move {
        let space = dir.fs.space().await.map_err(|error| dir.take_offline(format!("asking for free space: {error}")));
        shared.finish(slip, &dir, space.map(|Space { total, free }| Stored::Space { total, free }));
    });
}

fn no_dir(dir: DirId) -> StoreFault {
    StoreFault::Offline { dir, why: "it could not be opened at start".into() }
}
