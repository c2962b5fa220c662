//! One log directory: whether it is online, its rounds of group commit, and its recovery points.

use super::files::Kind;
use super::log::Log;
use super::meta::{replace, sync_dir, sync_file};
use super::tasks::{Signal, at_most, lock};
use super::{Shared, Slip};
use crate::fs::{Fs, is_full};
use klamm_core::id::{DirId, LogId, Offset};
use klamm_core::log::checkpoint;
use klamm_core::probe;
use klamm_core::store::{StoreFault, Stored};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// The file of the recovery points.
pub(crate) const POINTS_FILE: &str = "recovery-point-offset-checkpoint";
/// So many logs are synced at once within a round.
const SYNCS_AT_ONCE: usize = 16;
/// So many files of one log are: a clean stop may find thousands of segments that page-cache durability never synced.
const FILES_AT_ONCE: usize = 8;
/// So many folders are made at once: a topic of ten thousand partitions must not take all file descriptors of the process.
const FOLDERS_AT_ONCE: usize = 16;

/// One log directory.
pub(crate) struct Dir<F: Fs> {
    pub(crate) id: DirId,
    pub(crate) fs: Arc<F>,
    pub(crate) state: Mutex<DirState<F>>,
    saved: Signal,
    named: Signal,
    /// Turns to make a folder.
    pub(crate) turns: Semaphore,
}

pub(crate) struct DirState<F: Fs> {
    /// Why the directory is offline.
    offline: Option<String>,
    /// Held as long as the store lives.
    held: Option<F::File>,
    /// Logs that the next round shall sync.
    waiting: BTreeMap<LogId, Arc<Log<F>>>,
    in_round: bool,
    /// Logs with sealed segments that are to be synced beside the rounds.
    sealed: BTreeMap<LogId, Arc<Log<F>>>,
    sealed_running: bool,
    /// Up to where each log is known to be durable and whole, as far as the checkpoint shall tell.
    points: BTreeMap<String, Offset>,
    points_saving: bool,
    /// Logs that are gone, whose recovery points the checkpoint may tell yet: it may be written late, or not at all on a full disk.
    forgotten: BTreeSet<String>,
    /// Small files of the directory itself that wait to be saved or removed, in order.
    pub(crate) chores: VecDeque<super::side::Chore>,
    pub(crate) chores_running: bool,
    /// Logs that keep unsynced files open.
    pub(crate) pinned: BTreeMap<LogId, Arc<Log<F>>>,
    names: Names,
}

/// Rounds in which the names of folders become durable: who asks while one runs shares the next. A topic of a thousand partitions is as many new names.
#[derive(Default)]
struct Names {
    /// Who asks takes the next number, when its name is changed.
    asked: u64,
    durable: u64,
    running: bool,
    /// What the last round that failed ended with, for the numbers after the first and up to the second. All of them see it before another round ends:
    /// tasks that were woken are polled before any that are woken later.
    failed: Option<(u64, u64, io::ErrorKind, String)>,
}

impl Names {
    fn outcome_of(&self, number: u64) -> Option<io::Result<()>> {
        match &self.failed {
            Some((after, until, kind, why)) if *after < number && number <= *until => Some(Err(io::Error::new(*kind, why.clone()))),
            _ => (number <= self.durable).then_some(Ok(())),
        }
    }
}

impl<F: Fs> Dir<F> {
    pub(crate) fn new(id: DirId, fs: Arc<F>, held: Option<F::File>, points: BTreeMap<String, Offset>) -> Self {
        let state = DirState {
            offline: None,
            held,
            waiting: BTreeMap::new(),
            in_round: false,
            sealed: BTreeMap::new(),
            sealed_running: false,
            points,
            points_saving: false,
            forgotten: BTreeSet::new(),
            chores: VecDeque::new(),
            chores_running: false,
            pinned: BTreeMap::new(),
            names: Names::default(),
        };
        let (saved, named) = (Signal::default(), Signal::default());
        Self { id, fs, state: Mutex::new(state), saved, named, turns: Semaphore::new(FOLDERS_AT_ONCE) }
    }

    /// Lets go of the logs that hold on to it, and of the lock.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        let logs = [std::mem::take(&mut state.waiting), std::mem::take(&mut state.sealed), std::mem::take(&mut state.pinned)];
        state.held = None;
        drop(state);
        drop(logs);
    }

    /// The fault that everything here ends with, once the directory is offline.
    pub(crate) fn offline(&self) -> Option<StoreFault> {
        lock(&self.state).offline.clone().map(|why| StoreFault::Offline { dir: self.id, why })
    }

    /// Takes the directory offline, for good: the first reason stays.
    pub(crate) fn take_offline(&self, why: String) -> StoreFault {
        probe!("a log directory went offline");
        let why = lock(&self.state).offline.get_or_insert(why).clone();
        StoreFault::Offline { dir: self.id, why }
    }

    /// What a failed change means: a full disk is an ordinary fault, anything else takes the directory offline.
    pub(crate) fn fault(&self, doing: &str, path: &str, error: &io::Error) -> StoreFault {
        if is_full(error) {
            return StoreFault::Full;
        }
        self.take_offline(format!("{doing} {path}: {error}"))
    }

    /// The recovery point of a log, as the next checkpoint will tell it.
    pub(crate) fn point(&self, folder: &str) -> Option<Offset> {
        lock(&self.state).points.get(folder).copied()
    }

    pub(crate) fn set_point(&self, folder: &str, point: Offset) {
        lock(&self.state).points.insert(folder.to_owned(), point);
    }

    /// Forgets the point of a log that is gone, or is about to be.
    pub(crate) fn forget_point(&self, folder: &str) {
        let state = &mut *lock(&self.state);
        state.forgotten.extend(state.points.remove_entry(folder).map(|(folder, _)| folder));
    }

    /// Forgets the points of logs that are not there.
    pub(crate) fn keep_points(&self, folders: &[String]) {
        let state = &mut *lock(&self.state);
        state.forgotten.extend(state.points.extract_if(.., |folder, _| !folders.contains(folder)).map(|(folder, _)| folder));
    }

    /// Has the checkpoint tell nothing of a log that is gone: a new one gets its folder, and would count as damaged where it ends below that point.
    pub(crate) async fn free_point(&self, folder: &str) -> Result<(), StoreFault> {
        if lock(&self.state).forgotten.contains(folder) {
            self.save_points().await?;
        }
        Ok(())
    }

    /// Makes every change of a folder's name durable that was made before.
    pub(crate) async fn sync_names(&self) -> io::Result<()> {
        let number = {
            let names = &mut lock(&self.state).names;
            names.asked += 1;
            names.asked
        };
        let mut outcome = None;
        let ready = || {
            let names = &mut lock(&self.state).names;
            outcome = names.outcome_of(number);
            outcome.is_some() || !std::mem::replace(&mut names.running, true)
        };
        self.named.until(ready).await;
        if let Some(outcome) = outcome {
            return outcome;
        }
        let (before, until) = {
            let names = &lock(&self.state).names;
            (names.durable, names.asked)
        };
        let outcome = sync_dir(&*self.fs, "").await;
        {
            let names = &mut lock(&self.state).names;
            names.running = false;
            match &outcome {
                Ok(()) => names.durable = until,
                Err(error) => names.failed = Some((before, until, error.kind(), error.to_string())),
            }
        }
        self.named.ring();
        outcome
    }

    /// Writes the recovery points as they are now.
    pub(crate) async fn save_points(&self) -> Result<(), StoreFault> {
        self.saved.until(|| !std::mem::replace(&mut lock(&self.state).points_saving, true)).await;
        let (text, untold) = {
            let state = lock(&self.state);
            (checkpoint::encode(&state.points), state.forgotten.clone())
        };
        let outcome = replace(&*self.fs, POINTS_FILE, text.into()).await;
        {
            let state = &mut *lock(&self.state);
            state.points_saving = false;
            if outcome.is_ok() {
                state.forgotten.retain(|folder| !untold.contains(folder));
            }
        }
        self.saved.ring();
        outcome.map_err(|error| self.fault("replacing", POINTS_FILE, &error))
    }
}

/// Asks that everything written to `log` so far becomes durable; `slip` is answered then.
pub(crate) fn request_sync<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, slip: Slip) {
    {
        let mut state = lock(&log.state);
        state.syncs += 1;
        state.sync_slips.push(slip);
    }
    let start = {
        let mut dir = lock(&log.dir.state);
        dir.waiting.insert(log.id, Arc::clone(log));
        !std::mem::replace(&mut dir.in_round, true)
    };
    if start {
        let (again, dir) = (Arc::clone(shared), Arc::clone(&log.dir));
        shared.spawner.spawn(async move { rounds(&again, &dir).await });
    }
}

/// Group commit: one round after the other, each syncing all logs that asked before it began.
async fn rounds<F: Fs>(shared: &Arc<Shared<F>>, dir: &Arc<Dir<F>>) {
    loop {
        let logs = {
            let mut state = lock(&dir.state);
            if state.waiting.is_empty() {
                state.in_round = false;
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        let moved = at_most(SYNCS_AT_ONCE, logs.into_values().map(|log| sync_log(shared, log))).await;
        if moved.contains(&true) && dir.offline().is_none() {
            // Not awaited: the next round's acknowledgements do not wait for a checkpoint that only shortens recovery.
            let dir = Arc::clone(dir);
            shared.spawner.spawn(async move { save_moved(&dir).await });
        }
    }
}

async fn save_moved<F: Fs>(dir: &Dir<F>) {
    if dir.save_points().await.is_err() {
        probe!("the recovery points could not be saved");
    }
}

/// Has the sealed segments of `log` synced and its recovery point moved, beside the rounds: nobody's acknowledgement waits for a whole segment.
pub(crate) fn request_sealed<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>) {
    let start = {
        let mut dir = lock(&log.dir.state);
        if dir.sealed.insert(log.id, Arc::clone(log)).is_none() {
            lock(&log.state).syncs += 1;
        }
        !std::mem::replace(&mut dir.sealed_running, true)
    };
    if !start {
        return;
    }
    let (again, dir) = (Arc::clone(shared), Arc::clone(&log.dir));
    shared.spawner.spawn(async move {
        while let Some(log) = next_sealed(&dir) {
            let moved = sync_sealed(&again, &log).await;
            lock(&log.state).syncs -= 1;
            log.idle.ring();
            if moved && dir.offline().is_none() {
                save_moved(&dir).await;
            }
        }
    });
}

fn next_sealed<F: Fs>(dir: &Dir<F>) -> Option<Arc<Log<F>>> {
    let mut state = lock(&dir.state);
    let next = state.sealed.pop_first();
    state.sealed_running = next.is_some();
    next.map(|(_, log)| log)
}

/// Syncs the sealed segments of one log; tells whether its recovery point moved.
async fn sync_sealed<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>) -> bool {
    // A round that has taken some of them moves the recovery point itself, when it ends.
    log.idle.until(|| !lock(&log.state).in_round).await;
    let Some(round) = lock(&log.state).begin_sealed() else { return false };
    let outcome = make_durable(shared, log, &round).await;
    lock(&log.state).is_sealing = false;
    log.idle.ring();
    outcome.is_ok() && advance_point(log, &round)
}

/// Moves the recovery point to the active segment, when all sealed ones are durable; tells whether it moved.
fn advance_point<F: Fs>(log: &Log<F>, round: &Round<F>) -> bool {
    let moves = round.sealed && log.dir.point(&log.folder).is_none_or(|point| point < round.active);
    if moves {
        log.dir.set_point(&log.folder, round.active);
    }
    moves
}

/// Syncs one log and answers those who asked; tells whether its recovery point moved.
async fn sync_log<F: Fs>(shared: &Arc<Shared<F>>, log: Arc<Log<F>>) -> bool {
    let (slips, round) = {
        let mut state = lock(&log.state);
        (std::mem::take(&mut state.sync_slips), state.begin_sync())
    };
    lock(&log.dir.state).pinned.remove(&log.id);
    let asked = slips.len();
    let outcome = match &round {
        Some(round) => {
            let outcome = make_durable(shared, &log, round).await;
            // What was written may lie in segments that were sealed meanwhile, and are synced beside the round.
            log.idle.until(|| !lock(&log.state).is_sealing).await;
            outcome.and(log.dir.offline().map_or(Ok(()), Err))
        }
        None => Ok(()),
    };
    let moved = matches!((&round, &outcome), (Some(round), Ok(())) if advance_point(&log, round));
    for slip in slips {
        let answer = match (&outcome, &round) {
            (Err(fault), _) => Err(fault.clone()),
            (Ok(()), Some(round)) => Ok(Stored::Synced { end: round.end }),
            (Ok(()), None) => Err(lock(&log.state).refusal()),
        };
        shared.finish(slip, &log.dir, answer);
    }
    {
        let mut state = lock(&log.state);
        state.syncs -= asked;
        state.in_round = false;
    }
    log.idle.ring();
    moved
}

/// What one sync of a log covers.
pub(crate) struct Round<F: Fs> {
    /// The written end when it began.
    pub(crate) end: Offset,
    /// The active segment when it began.
    pub(crate) active: Offset,
    /// Whether files of sealed segments are among them.
    pub(crate) sealed: bool,
    /// What is to be synced.
    pub(crate) files: BTreeMap<(Offset, Kind), Option<F::File>>,
    /// Whether names in the folder changed.
    pub(crate) names: bool,
}

pub(crate) async fn make_durable<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, round: &Round<F>) -> Result<(), StoreFault> {
    if let Some(fault) = log.dir.offline() {
        return Err(fault);
    }
    let files: Vec<_> = round.files.iter().map(|((base, kind), file)| (*base, *kind, file.clone())).collect();
    let syncing = files.into_iter().map(|(base, kind, file)| sync_one(Arc::clone(shared), Arc::clone(log), base, kind, file));
    at_most(FILES_AT_ONCE, syncing).await.into_iter().collect::<Result<Vec<()>, StoreFault>>()?;
    if round.names
        && let Err(error) = sync_dir(&*log.dir.fs, &log.folder).await
    {
        return Err(log.dir.take_offline(format!("syncing folder {}: {error}", log.folder)));
    }
    Ok(())
}

/// Syncs one file of a log. Once that has failed nothing may count on a later one: the kernel forgets what it could not write.
async fn sync_one<F: Fs>(
    shared: Arc<Shared<F>>,
    log: Arc<Log<F>>,
    base: Offset,
    kind: Kind,
    file: Option<F::File>,
) -> Result<(), StoreFault> {
    let synced = match file {
        Some(file) => sync_file(&file).await,
        None => match shared.files.get(log.id, base, kind).await {
            Ok(file) => sync_file(&file).await,
            Err(error) => Err(error),
        },
    };
    match synced {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !lock(&log.state).holds(base) => {
            probe!("a segment was deleted before its sync");
            Ok(())
        }
        Err(error) => {
            probe!("a sync failed");
            Err(log.dir.take_offline(format!("syncing {}: {error}", kind.path(&log.folder, base))))
        }
        Ok(()) => Ok(()),
    }
}
