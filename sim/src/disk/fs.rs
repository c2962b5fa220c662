//! The `Fs` over the faulty state: each operation takes its time, then happens at once.

use super::{Bites, Cost, Faults, NameChange, Pace, State, below, folder_of};
use crate::chance::{Chance, Matter};
use crate::disk::inode::Inode;
use bytes::Bytes;
use klamm::fs::{Entry, File, Fs, Open, Space};
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a disk without a bound says of its size.
const UNBOUNDED_BYTES: u64 = 1 << 50;

/// A disk; clones are the same one, and it survives the node that uses it.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    pace: Arc<dyn Pace>,
    /// The life in which this handle of the disk was taken; after a crash it is dead.
    life: u64,
}

/// An open file.
#[derive(Clone)]
pub struct Handle {
    disk: Disk,
    ino: u64,
    /// Dropping the last clone gives the lock back.
    _lock: Option<Arc<Lock>>,
}

struct Lock {
    disk: Disk,
    path: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        if state.life == self.disk.life {
            state.locked.remove(&self.path);
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disk(life {})", self.life)
    }
}

impl Disk {
    /// The empty disk of that number of a node.
    pub fn new(chance: Chance, node: u32, disk: u32, pace: Arc<dyn Pace>) -> Self {
        let (loss, torn) = (chance.about(Matter::Loss { node, disk }), chance.about(Matter::Torn { node, disk }));
        Self { state: Arc::new(Mutex::new(State::new(loss, torn))), pace, life: 0 }
    }

    pub(super) fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no operation panics while it holds the disk")
    }

    /// The node dies; with `power` the machine loses power too, and everything unsynced is at chance's mercy.
    /// Handles of before are dead. Returns the disk for the next life.
    pub fn crash(&self, power: bool) -> Self {
        let mut state = self.lock_state();
        state.crash(!power);
        Self { life: state.life, ..self.clone() }
    }

    /// Switches faults on or off.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock_state().faults);
    }

    /// How often faults bit.
    pub fn bites(&self) -> Bites {
        self.lock_state().bites
    }

    /// Bytes that are in use.
    pub fn used(&self) -> u64 {
        self.lock_state().used
    }

    /// All files, with their sizes, in order of their paths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.lock_state();
        let file = |(path, ino): (&String, &Option<u64>)| Some((path.clone(), state.inodes[&(*ino)?].size()));
        state.names.iter().filter_map(file).collect()
    }

    /// Whether of the logs in that folder bytes are not durable yet.
    #[must_use]
    pub fn has_unsynced(&self, folder: &str) -> bool {
        let state = self.lock_state();
        let is_log = |path: &str| path.ends_with(".log") && path.rsplit_once('/').is_some_and(|(of, _)| of == folder);
        let mut logs = state.names.iter().filter(|(path, _)| is_log(path)).filter_map(|(_, ino)| state.inodes.get(&(*ino)?));
        logs.any(|log| log.dirty() > 0)
    }

    /// A file's bytes, as the running process sees them.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<Bytes> {
        let state = self.lock_state();
        let ino = (*state.names.get(path)?)?;
        Some(Bytes::copy_from_slice(state.inodes[&ino].bytes()))
    }

    /// One bit of the file flips, durably.
    pub fn rot(&self, path: &str, at: u64) {
        let mut state = self.lock_state();
        let Some(Some(ino)) = state.names.get(path).copied() else { return };
        state.inodes.get_mut(&ino).expect("a name has its inode").rot(at);
        state.bites.rotten += 1;
    }

    /// Whether a file still holds a bit that flipped.
    #[must_use]
    pub fn is_rotten(&self) -> bool {
        let state = self.lock_state();
        state.names.values().flatten().any(|ino| state.inodes[ino].is_rotten())
    }

    fn alive(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock_state();
        if state.life != self.life {
            return Err(Error::other("the node has crashed"));
        }
        if state.faults.broken { Err(io_error()) } else { Ok(state) }
    }

    fn handle(&self, ino: u64) -> Handle {
        Handle { disk: self.clone(), ino, _lock: None }
    }
}

impl State {
    fn file(&self, path: &str) -> Result<u64> {
        match self.names.get(path) {
            Some(Some(ino)) => Ok(*ino),
            Some(None) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn make(&mut self, path: &str) -> Result<u64> {
        let folder = folder_of(path);
        if !folder.is_empty() && self.names.get(folder) != Some(&None) {
            return Err(ErrorKind::NotFound.into());
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        self.inodes.insert(ino, Inode::default());
        self.change(NameChange::Add { path: path.to_owned(), ino: Some(ino) });
        Ok(ino)
    }

    /// Counts down a fault; true when it bites.
    fn bites(&mut self, which: fn(&mut Faults) -> &mut u32) -> bool {
        let left = which(&mut self.faults);
        let hit = *left > 0;
        *left -= u32::from(hit);
        self.bites.io_errors += u64::from(hit);
        hit
    }

    fn free(&self) -> u64 {
        self.faults.capacity.map_or(UNBOUNDED_BYTES, |capacity| capacity.saturating_sub(self.used))
    }
}

fn io_error() -> Error {
    Error::other("an injected I/O error")
}

impl Fs for Disk {
    type File = Handle;

    async fn open(&self, path: &str, how: Open) -> Result<Handle> {
        self.pace.pass(Cost::Meta).await;
        let mut state = self.alive()?;
        let there = state.file(path);
        let ino = match (how, there) {
            (Open::Existing | Open::Empty, Ok(ino)) => ino,
            (Open::New, Ok(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (Open::New | Open::Empty, Err(e)) if e.kind() == ErrorKind::NotFound => state.make(path)?,
            (_, Err(e)) => return Err(e),
        };
        if how == Open::Empty {
            state.change_file(ino, |inode| inode.set_len(0)).expect("a name has its inode");
        }
        Ok(self.handle(ino))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.pace.pass(Cost::Meta).await;
        let mut state = self.alive()?;
        if !state.names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        state.change(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    async fn remove_file(&self, path: &str) -> Result<()> {
        self.pace.pass(Cost::Meta).await;
        let mut state = self.alive()?;
        state.file(path)?;
        state.change(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    async fn create_dir(&self, path: &str) -> Result<()> {
        self.pace.pass(Cost::Meta).await;
        let mut state = self.alive()?;
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let folder = folder_of(path);
        if !folder.is_empty() && state.names.get(folder) != Some(&None) {
            return Err(ErrorKind::NotFound.into());
        }
        state.change(NameChange::Add { path: path.to_owned(), ino: None });
        Ok(())
    }

    async fn remove_dir(&self, path: &str) -> Result<()> {
        self.pace.pass(Cost::Meta).await;
        let mut state = self.alive()?;
        if state.names.get(path) != Some(&None) {
            return Err(ErrorKind::NotFound.into());
        }
        if below(&state.names, path).next().is_some() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        state.change(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    async fn list(&self, path: &str) -> Result<Vec<Entry>> {
        self.pace.pass(Cost::Meta).await;
        let state = self.alive()?;
        if !path.is_empty() && state.names.get(path) != Some(&None) {
            return Err(ErrorKind::NotFound.into());
        }
        let all: Box<dyn Iterator<Item = _> + Send> =
            if path.is_empty() { Box::new(state.names.iter()) } else { Box::new(below(&state.names, path)) };
        let inside = all.filter(|(other, _)| folder_of(other) == path);
        let entry = |(other, node): (&String, &Option<u64>)| Entry {
            name: other.rsplit('/').next().expect("a split has a last part").to_owned(),
            is_dir: node.is_none(),
            len: node.map_or(0, |ino| state.inodes[&ino].size()),
        };
        Ok(inside.map(entry).collect())
    }

    async fn sync_dir(&self, path: &str) -> Result<()> {
        let count = self.alive()?.changes.get(path).map_or(0, Vec::len);
        self.pace.pass(Cost::Sync(64 * count as u64)).await;
        let mut state = self.alive()?;
        if state.bites(|faults| &mut faults.failing_syncs) {
            state.poisoned = true;
            return Err(io_error());
        }
        state.sync_names(path);
        Ok(())
    }

    async fn space(&self) -> Result<Space> {
        self.pace.pass(Cost::Meta).await;
        let state = self.alive()?;
        Ok(Space { total: state.faults.capacity.unwrap_or(UNBOUNDED_BYTES), free: state.free() })
    }

    async fn lock(&self, path: &str) -> Result<Handle> {
        self.pace.pass(Cost::Meta).await;
        let mut state = self.alive()?;
        let ino = match state.file(path) {
            Ok(ino) => ino,
            Err(_) => state.make(path)?,
        };
        if !state.locked.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let lock = Lock { disk: self.clone(), path: path.to_owned() };
        Ok(Handle { disk: self.clone(), ino, _lock: Some(Arc::new(lock)) })
    }
}

impl Handle {
    fn change(&self, state: &mut State, change: impl FnOnce(&mut Inode)) -> Result<()> {
        state.change_file(self.ino, change).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn inode<'a>(&self, state: &'a mut State) -> Result<&'a mut Inode> {
        state.inodes.get_mut(&self.ino).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl File for Handle {
    async fn write_at(&self, at: u64, pieces: &[Bytes]) -> Result<()> {
        let mut bytes = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        self.disk.pace.pass(Cost::Write(bytes.len() as u64)).await;
        let mut state = self.disk.alive()?;
        let size = self.inode(&mut state)?.size();
        let growth = (at + bytes.len() as u64).saturating_sub(size);
        let free = state.free();
        if growth > free {
            state.bites.full += 1;
            // What fitted is there.
            bytes.truncate(bytes.len() - usize::try_from(growth - free).expect("fewer bytes than were given"));
            self.change(&mut state, |inode| inode.write(at, bytes))?;
            return Err(ErrorKind::StorageFull.into());
        }
        if state.bites(|faults| &mut faults.failing_writes) {
            let kept = state.torn.part_of(bytes.len());
            bytes.truncate(kept);
            self.change(&mut state, |inode| inode.write(at, bytes))?;
            return Err(io_error());
        }
        self.change(&mut state, |inode| inode.write(at, bytes))
    }

    async fn read_at(&self, at: u64, len: usize) -> Result<Bytes> {
        self.disk.pace.pass(Cost::Read(len as u64)).await;
        let mut state = self.disk.alive()?;
        if state.bites(|faults| &mut faults.failing_reads) {
            return Err(io_error());
        }
        let bytes = self.inode(&mut state)?.bytes();
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let to = from.saturating_add(len).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[from..to]))
    }

    async fn set_len(&self, len: u64) -> Result<()> {
        self.disk.pace.pass(Cost::Meta).await;
        let mut state = self.disk.alive()?;
        self.change(&mut state, |inode| inode.set_len(len))
    }

    async fn sync(&self) -> Result<()> {
        let (count, dirty) = {
            let mut state = self.disk.alive()?;
            let inode = self.inode(&mut state)?;
            (inode.changes(), inode.dirty())
        };
        self.disk.pace.pass(Cost::Sync(dirty)).await;
        let mut state = self.disk.alive()?;
        let failed = state.bites(|faults| &mut faults.failing_syncs);
        state.poisoned |= failed;
        self.inode(&mut state)?.synced(count, failed);
        if failed { Err(io_error()) } else { Ok(()) }
    }

    async fn size(&self) -> Result<u64> {
        self.disk.pace.pass(Cost::Meta).await;
        let mut state = self.disk.alive()?;
        Ok(self.inode(&mut state)?.size())
    }
}
