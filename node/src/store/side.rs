//! Chores: small files that are saved or removed, and segments that are unlinked. In order per log (and per directory), beside the writes.

use super::dir::Dir;
use super::files::Kind;
use super::inventory::Inventory;
use super::log::Log;
use super::meta::{parent, remove_if_there, replace, sync_dir};
use super::recover::snapshot_path;
use super::tasks::lock;
use super::{Outcome, Shared, Slip};
use crate::fs::{File, Fs, Open};
use bytes::Bytes;
use klamm_core::id::Offset;
use klamm_core::probe;
use klamm_core::store::{StoreFault, Stored};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Something to be done beside the writes.
pub(crate) enum Chore {
    /// Replaces a small file.
    Save { slip: Slip, path: String, bytes: Bytes },
    /// Removes a small file.
    Remove { slip: Slip, path: String },
    /// Unlinks segments, oldest first, and the producer snapshots below the first one that stays.
    Unlink { slip: Slip, folder: String, bases: Vec<Offset>, first: Offset },
}

/// Whose chores.
enum Owner<F: Fs> {
    Dir(Arc<Dir<F>>),
    Log(Arc<Log<F>>),
}

/// Puts a chore of the directory itself behind its others.
pub(crate) fn enqueue_for_dir<F: Fs>(shared: &Arc<Shared<F>>, dir: &Arc<Dir<F>>, chore: Chore) {
    let start = {
        let mut state = lock(&dir.state);
        state.chores.push_back(chore);
        !std::mem::replace(&mut state.chores_running, true)
    };
    if start {
        spawn(shared, Owner::Dir(Arc::clone(dir)));
    }
}

/// Puts a chore of a log behind its others.
pub(crate) fn enqueue_for_log<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, chore: Chore) {
    let start = {
        let mut state = lock(&log.state);
        if !state.exists {
            drop(state);
            let (Chore::Save { slip, .. } | Chore::Remove { slip, .. } | Chore::Unlink { slip, .. }) = chore;
            return shared.finish(slip, &log.dir, Err(StoreFault::Gone));
        }
        state.chores.push_back(chore);
        !std::mem::replace(&mut state.chores_running, true)
    };
    if start {
        spawn(shared, Owner::Log(Arc::clone(log)));
    }
}

fn spawn<F: Fs>(shared: &Arc<Shared<F>>, owner: Owner<F>) {
    let shared = Arc::clone(shared);
    let spawner = shared.spawner.clone();
    spawner.spawn(async move {
        while let Some(chore) = owner.take() {
            run(&shared, owner.dir(), chore).await;
        }
        if let Owner::Log(log) = &owner {
            log.idle.ring();
        }
    });
}

impl<F: Fs> Owner<F> {
    fn dir(&self) -> &Arc<Dir<F>> {
        match self {
            Self::Dir(dir) => dir,
            Self::Log(log) => &log.dir,
        }
    }

    fn take(&self) -> Option<Chore> {
        fn pop(chores: &mut VecDeque<Chore>, running: &mut bool) -> Option<Chore> {
            let chore = chores.pop_front();
            *running = chore.is_some();
            chore
        }
        match self {
            Self::Dir(dir) => {
                let state = &mut *lock(&dir.state);
                pop(&mut state.chores, &mut state.chores_running)
            }
            Self::Log(log) => {
                let state = &mut *lock(&log.state);
                pop(&mut state.chores, &mut state.chores_running)
            }
        }
    }
}

async fn run<F: Fs>(shared: &Arc<Shared<F>>, dir: &Arc<Dir<F>>, chore: Chore) {
    let online = dir.offline().map_or(Ok(()), Err);
    match chore {
        Chore::Save { slip, path, bytes } => {
            let outcome = match online {
                Ok(()) => outcome(dir, "replacing", &path, replace(&*dir.fs, &path, bytes).await),
                Err(fault) => Err(fault),
            };
            shared.finish(slip, dir, outcome);
        }
        Chore::Remove { slip, path } => {
            let outcome = match online {
                Ok(()) => outcome(dir, "removing", &path, remove(&*dir.fs, &path).await),
                Err(fault) => Err(fault),
            };
            shared.finish(slip, dir, outcome);
        }
        Chore::Unlink { slip, folder, bases, first } => {
            let outcome = match online {
                Ok(()) => outcome(dir, "unlinking segments of", &folder, discard(&*dir.fs, &folder, &bases, first).await),
                Err(fault) => Err(fault),
            };
            shared.finish(slip, dir, outcome);
        }
    }
}

fn outcome<F: Fs>(dir: &Dir<F>, doing: &str, path: &str, result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Ok(Stored::Done),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            probe!("a small file's folder is gone");
            Err(StoreFault::Gone)
        }
        Err(error) => Err(dir.fault(doing, path, &error)),
    }
}

/// A part of a small file.
pub(crate) async fn read_part<F: Fs>(dir: &Dir<F>, path: &str, from: u64, max_bytes: u32) -> Outcome {
    let read = async {
        let file = dir.fs.open(path, Open::Existing).await?;
        let size = file.size().await?;
        let len = size.saturating_sub(from).min(max_bytes.into());
        let bytes = if len == 0 { Bytes::new() } else { file.read_at(from, usize::try_from(len).expect("32 bits")).await? };
        Ok(Stored::Read { size, bytes })
    };
    read.await.map_err(|error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound { StoreFault::Gone } else { dir.take_offline(format!("reading {path}: {error}")) }
    })
}

async fn remove<F: Fs>(fs: &F, path: &str) -> io::Result<()> {
    remove_if_there(fs, path).await?;
    sync_dir(fs, parent(path)).await
}

async fn discard<F: Fs>(fs: &F, folder: &str, bases: &[Offset], first: Offset) -> io::Result<()> {
    unlink(fs, folder, bases).await?;
    // Those of clean stops do not begin a segment.
    for snapshot in Inventory::of(fs.list(folder).await?).snapshots.range(..first) {
        remove_if_there(fs, &snapshot_path(folder, *snapshot)).await?;
    }
    Ok(())
}

/// Removes segments one by one, each durably before the next: a crash leaves no hole in the middle of a log.
pub(crate) async fn unlink<F: Fs>(fs: &F, folder: &str, bases: &[Offset]) -> io::Result<()> {
    for base in bases {
        for kind in Kind::ALL {
            remove_if_there(fs, &kind.path(folder, *base)).await?;
        }
        remove_if_there(fs, &format!("{folder}/{:020}.snapshot", base.0)).await?;
        sync_dir(fs, folder).await?;
    }
    Ok(())
}
