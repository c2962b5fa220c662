//! The faulty disk: an `Fs` that forgets what was not synced, tears and reorders what was being written, fails, fills up and is slow.
//!
//! A write is readable when its future ends, and durable when a sync that began later has ended. A name is durable when its folder was synced.
//! What a crash leaves is drawn from the disk's own stream: of each file any subset of the unsynced writes, in any order, the last of them torn at a
//! sector; of each folder any prefix of the unsynced changes of its names. After a failed sync the bytes it covered stay readable but never become
//! durable, as Linux does it: who syncs again and believes it loses them.
//!
//! Never knows what a log is.

mod fs;
mod inode;

pub use fs::{Disk, Handle};

use crate::chance::Lot;
use inode::Inode;
use klamm_core::rng;
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

/// What an operation costs the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cost {
    /// A look at names or sizes.
    Meta,
    /// So many bytes read.
    Read(u64),
    /// So many bytes written to the cache.
    Write(u64),
    /// A sync of so many bytes.
    Sync(u64),
}

/// Lets virtual time pass while the disk works; one for each tier.
pub trait Pace: Send + Sync + 'static {
    /// Ends when an operation of that cost is done.
    fn pass(&self, cost: Cost) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Faults that are switched on. All off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// So many of the next syncs fail, and lose what they covered.
    pub failing_syncs: u32,
    /// So many of the next writes fail after a part of them was written.
    pub failing_writes: u32,
    /// So many of the next reads fail.
    pub failing_reads: u32,
    /// Bytes of the whole disk; `None`: without end.
    pub capacity: Option<u64>,
    /// Nothing can be done with it.
    pub broken: bool,
}

/// How often each fault bit, and what was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bites {
    /// Crashes that lost at least one unsynced write.
    pub lost_writes: u64,
    /// Writes that a crash tore.
    pub torn_writes: u64,
    /// Names that a crash lost.
    pub lost_names: u64,
    /// Syncs, writes and reads that failed.
    pub io_errors: u64,
    /// Writes that found the disk full.
    pub full: u64,
    /// Bytes that rotted.
    pub rotten: u64,
}

impl Bites {
    /// Those of two disks together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            lost_writes: self.lost_writes + other.lost_writes,
            torn_writes: self.torn_writes + other.torn_writes,
            lost_names: self.lost_names + other.lost_names,
            io_errors: self.io_errors + other.io_errors,
            full: self.full + other.full,
            rotten: self.rotten + other.rotten,
        }
    }

    /// Whether a crash took something with it that was not synced.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.lost_writes > 0 || self.torn_writes > 0 || self.lost_names > 0
    }
}

type Ino = u64;

/// A change of a folder's names that is not durable yet.
#[derive(Clone, Debug)]
enum NameChange {
    Add { path: String, ino: Option<Ino> },
    Remove { path: String },
    Rename { from: String, to: String },
}

/// Everything on the disk.
#[derive(Debug)]
struct State {
    /// What a loss of power leaves.
    loss: Lot,
    /// What a write leaves that fails.
    torn: Lot,
    /// Grows with each crash: handles of before it are dead.
    life: u64,
    next_ino: Ino,
    inodes: BTreeMap<Ino, Inode>,
    /// Path → inode; folders have none. As the running process sees it.
    names: BTreeMap<String, Option<Ino>>,
    /// As a crash would leave it at the least.
    durable: BTreeMap<String, Option<Ino>>,
    /// Unsynced changes in order, by folder.
    changes: BTreeMap<String, Vec<NameChange>>,
    locked: BTreeSet<String>,
    /// A sync has failed in this life: what the operating system shows is no longer what the disk holds, so that no process may start on it again
    /// before the machine has.
    poisoned: bool,
    faults: Faults,
    bites: Bites,
    /// Bytes of all files that have a name: asked for at every write to a disk that is filling up.
    used: u64,
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Everything below `folder`; without looking at the rest, since a run may have thousands of files.
fn below<'a, T>(names: &'a BTreeMap<String, T>, folder: &str) -> impl Iterator<Item = (&'a String, &'a T)> {
    // `0` follows `/`.
    names.range(format!("{folder}/")..format!("{folder}0"))
}

/// `path`, if it is there, and everything below it.
fn from_path<T>(names: &BTreeMap<String, T>, path: &str) -> Vec<String> {
    let itself = names.get_key_value(path);
    itself.into_iter().chain(below(names, path)).map(|(path, _)| path.clone()).collect()
}

/// Moves `from`, and everything below it, to `to`.
fn rename_in(names: &mut BTreeMap<String, Option<Ino>>, from: &str, to: &str) {
    for path in from_path(names, from) {
        let node = names.remove(&path).expect("listed above");
        names.insert(format!("{to}{}", &path[from.len()..]), node);
    }
}

impl State {
    fn new(loss: Lot, torn: Lot) -> Self {
        Self {
            loss,
            torn,
            life: 0,
            next_ino: 0,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            changes: BTreeMap::new(),
            locked: BTreeSet::new(),
            poisoned: false,
            faults: Faults::default(),
            bites: Bites::default(),
            used: 0,
        }
    }

    /// Bytes of all files that have a name, counted one by one.
    fn count_used(&self) -> u64 {
        self.names.values().flatten().map(|ino| self.inodes[ino].size()).sum()
    }

    /// Changes a file's bytes.
    fn change_file(&mut self, ino: Ino, change: impl FnOnce(&mut Inode)) -> Option<()> {
        let inode = self.inodes.get_mut(&ino)?;
        let before = inode.size();
        change(inode);
        if inode.has_name {
            self.used = self.used - before + inode.size();
        }
        Some(())
    }

    /// A file loses its name; who holds it open still sees it.
    fn unlink(&mut self, path: &str) {
        let Some(Some(ino)) = self.names.remove(path) else { return };
        let inode = self.inodes.get_mut(&ino).expect("a name has its inode");
        inode.has_name = false;
        self.used -= inode.size();
    }

    /// Notes a change of names in the folder that holds it, and makes it for the running process.
    fn change(&mut self, change: NameChange) {
        let folder = match &change {
            NameChange::Add { path, ino } => {
                self.names.insert(path.clone(), *ino);
                if let Some(ino) = ino {
                    self.inodes.get_mut(ino).expect("it was made before its name").has_name = true;
                }
                folder_of(path)
            }
            NameChange::Remove { path } => {
                self.unlink(path);
                folder_of(path)
            }
            NameChange::Rename { from, to } => {
                self.unlink(to);
                rename_in(&mut self.names, from, to);
                rename_in_keys(&mut self.changes, from, to);
                folder_of(to)
            }
        };
        self.changes.entry(folder.to_owned()).or_default().push(change);
    }

    /// A folder's changes so far become durable.
    fn sync_names(&mut self, folder: &str) {
        for change in self.changes.remove(folder).unwrap_or_default() {
            self.settle(change);
        }
    }

    fn settle(&mut self, change: NameChange) {
        match change {
            NameChange::Add { path, ino } => drop(self.durable.insert(path, ino)),
            NameChange::Remove { path } => drop(self.durable.remove(&path)),
            NameChange::Rename { from, to } => {
                self.durable.remove(&to);
                rename_in(&mut self.durable, &from, &to);
            }
        }
    }

    /// Power is lost: only what was durable is left, and of the rest what chance allows. With `keep_all` only the process dies: nothing is lost.
    fn crash(&mut self, keep_all: bool) {
        self.life += 1;
        self.locked.clear();
        // The machine starts anew either way, so that the next process that dies alone loses nothing again.
        let poisoned = std::mem::take(&mut self.poisoned);
        if keep_all && !poisoned {
            // The page cache outlives the process; nothing becomes durable by its death either.
            return;
        }
        // What becomes of one file or folder does not shift what becomes of another.
        let salt = self.loss.rng().random();
        let paths: BTreeMap<Ino, String> =
            self.durable.iter().chain(&self.names).filter_map(|(path, ino)| Some(((*ino)?, path.clone()))).collect();
        let folders: Vec<String> = self.changes.keys().cloned().collect();
        for folder in folders {
            let mut changes = self.changes.remove(&folder).expect("listed above");
            let kept = rng::stream(salt, &format!("{folder}/")).random_range(0..=changes.len());
            self.bites.lost_names += (changes.len() - kept) as u64;
            changes.truncate(kept);
            changes.into_iter().for_each(|change| self.settle(change));
        }
        for (ino, inode) in &mut self.inodes {
            let lost = inode.crash(&mut rng::stream(salt, paths.get(ino).map_or("", String::as_str)));
            self.bites.lost_writes += u64::from(lost.writes > 0);
            self.bites.torn_writes += lost.torn;
        }
        // A name whose folder is gone is gone.
        let names = std::mem::take(&mut self.durable);
        self.durable = names.iter().filter(|(path, _)| has_folders(path, &names)).map(|(path, node)| (path.clone(), *node)).collect();
        self.names = self.durable.clone();
        let alive: BTreeSet<Ino> = self.names.values().flatten().copied().collect();
        self.inodes.retain(|ino, _| alive.contains(ino));
        self.inodes.values_mut().for_each(|inode| inode.has_name = true);
        self.used = self.count_used();
    }
}

fn has_folders(path: &str, names: &BTreeMap<String, Option<Ino>>) -> bool {
    let folder = folder_of(path);
    folder.is_empty() || (names.contains_key(folder) && has_folders(folder, names))
}

/// The unsynced changes of a renamed folder go with it.
fn rename_in_keys(changes: &mut BTreeMap<String, Vec<NameChange>>, from: &str, to: &str) {
    for folder in from_path(changes, from) {
        let list = changes.remove(&folder).expect("listed above");
        let renamed =
            |path: &str| if path == from || is_below(path, from) { format!("{to}{}", &path[from.len()..]) } else { path.to_owned() };
        let list = list.into_iter().map(|change| match change {
            NameChange::Add { path, ino } => NameChange::Add { path: renamed(&path), ino },
            NameChange::Remove { path } => NameChange::Remove { path: renamed(&path) },
            NameChange::Rename { from, to } => NameChange::Rename { from: renamed(&from), to: renamed(&to) },
        });
        changes.insert(renamed(&folder), list.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use bytes::Bytes;
    use klamm::fs::{File as _, Fs as _, Open};
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    struct AtOnce;

    impl Pace for AtOnce {
        fn pass(&self, _: Cost) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::ready(()))
        }
    }

    fn now<T>(work: impl Future<Output = T>) -> T {
        match std::pin::pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("nothing takes time here"),
        }
    }

    fn disk(seed: u64) -> Disk {
        Disk::new(Chance::of_seed(seed), 1, 0, Arc::new(AtOnce))
    }

    /// A file `a` with `synced` durable, then `unsynced` written behind.
    async fn written(disk: &Disk, fail: bool) -> Handle {
        let file = disk.open("a", Open::New).await.unwrap();
        disk.sync_dir("").await.unwrap();
        file.write_at(0, &[Bytes::from_static(b"synced ")]).await.unwrap();
        file.sync().await.unwrap();
        file.write_at(7, &[Bytes::from_static(b"unsynced")]).await.unwrap();
        if fail {
            disk.faults(|faults| faults.failing_syncs = 1);
            file.sync().await.unwrap_err();
        }
        file
    }

    async fn content(disk: &Disk) -> Bytes {
        disk.open("a", Open::Existing).await.unwrap().read_at(0, 100).await.unwrap()
    }

    #[test]
    fn a_power_loss_keeps_what_was_synced_and_may_lose_the_rest() {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let disk = disk(seed);
            now(written(&disk, false));
            let after = now(content(&disk.crash(true)));
            assert!(after.starts_with(b"synced "));
            seen.insert(after);
        }
        assert!(seen.contains(&Bytes::from_static(b"synced unsynced")) && seen.contains(&Bytes::from_static(b"synced ")));
    }

    #[test]
    fn what_is_in_use_is_counted_as_it_changes() {
        let disk = disk(1);
        let used = |disk: &Disk| {
            let state = disk.lock_state();
            assert_eq!(state.used, state.count_used());
            state.used
        };
        let file = now(written(&disk, false));
        assert_eq!(used(&disk), 15);
        now(disk.rename("a", "b")).unwrap();
        now(file.set_len(9)).unwrap();
        assert_eq!(used(&disk), 9);
        let other = now(disk.open("c", Open::New)).unwrap();
        now(other.write_at(0, &[Bytes::from_static(b"four")])).unwrap();
        now(disk.rename("c", "b")).unwrap();
        now(file.write_at(0, &[Bytes::from_static(b"nobody has a name for this")])).unwrap();
        assert_eq!(used(&disk), 4);
        now(disk.remove_file("b")).unwrap();
        assert_eq!(used(&disk), 0);
        used(&disk.crash(true));
    }

    #[test]
    fn a_process_that_dies_loses_nothing() {
        let disk = disk(1);
        now(written(&disk, false));
        assert_eq!(now(content(&disk.crash(false))), "synced unsynced");
    }

    #[test]
    fn what_a_failed_sync_covered_never_becomes_durable() {
        for seed in 0..40 {
            let disk = disk(seed);
            let file = now(written(&disk, true));
            assert_eq!(now(content(&disk)), "synced unsynced", "still readable");
            now(file.sync()).unwrap();
            // With the process the machine is started anew.
            assert_eq!(now(content(&disk.crash(false))), "synced ");
        }
    }

    #[test]
    fn a_machine_that_started_anew_has_forgotten_the_failed_sync() {
        for seed in 0..40 {
            let disk = disk(seed);
            let file = now(written(&disk, true));
            drop(file);
            let disk = disk.crash(true);
            let file = now(disk.open("a", Open::Existing)).unwrap();
            now(file.write_at(7, &[Bytes::from_static(b"again")])).unwrap();
            assert_eq!(now(content(&disk.crash(false))), "synced again");
        }
    }

    #[test]
    fn a_name_is_durable_when_its_folder_is_synced() {
        let mut lost = 0;
        for seed in 0..40 {
            let loser = disk(seed);
            now(written(&loser, false));
            now(loser.rename("a", "b")).unwrap();
            let names: Vec<String> = loser.crash(true).files().into_iter().map(|(name, _)| name).collect();
            assert!(names == ["a"] || names == ["b"], "{names:?}");
            lost += usize::from(names == ["a"]);
            let disk = disk(seed);
            now(written(&disk, false));
            now(disk.rename("a", "b")).unwrap();
            now(disk.sync_dir("")).unwrap();
            assert_eq!(disk.crash(true).files()[0].0, "b");
        }
        assert!(lost > 0 && lost < 40);
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_a_dead_handle_takes_nothing() {
        let disk = disk(1);
        disk.faults(|faults| faults.capacity = Some(10));
        let file = now(disk.open("a", Open::New)).unwrap();
        let error = now(file.write_at(0, &[Bytes::from_static(b"twelve bytes")])).unwrap_err();
        assert!(klamm::fs::is_full(&error));
        assert_eq!(disk.used(), 10);
        disk.crash(false);
        now(file.write_at(0, &[Bytes::new()])).unwrap_err();
    }
}
