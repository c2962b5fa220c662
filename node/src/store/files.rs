//! The open files of all logs, bounded: thousands of partitions do not need thousands of descriptors.

use super::tasks::lock;
use crate::fs::{Fs, Open};
use klamm_core::id::{LogId, Offset};
use klamm_core::probe;
use klamm_core::store::Region;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

/// How many unlinked segments stay open.
const RETIRED_FILES: usize = 16;

/// Which of a segment's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The batches.
    Log,
    /// The offset index.
    Offsets,
    /// The time index.
    Times,
}

impl Kind {
    /// Of every segment.
    pub(crate) const ALL: [Self; 3] = [Self::Log, Self::Offsets, Self::Times];

    /// What the file's name ends with.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Offsets => "index",
            Self::Times => "timeindex",
        }
    }

    /// The file's path within its log directory.
    pub(crate) fn path(self, folder: &str, base: Offset) -> String {
        format!("{folder}/{:020}.{}", base.0, self.suffix())
    }
}

type Key = (LogId, Offset, Kind);

struct Place<F: Fs> {
    fs: Arc<F>,
    folder: String,
}

struct Inner<F: Fs> {
    places: BTreeMap<LogId, Place<F>>,
    open: BTreeMap<Key, (F::File, u64)>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    limit: usize,
    /// How often the files of a segment were replaced by others of the same names, where they were.
    versions: BTreeMap<(LogId, Offset), u32>,
    /// The newest unlinked segments: so much disk space is freed only later.
    retired: VecDeque<(Former, F::File)>,
}

/// Which segment, and which version of it.
type Former = (LogId, Offset, u32);

/// Resolves segments to open files; the least recently used are closed beyond the limit. A file that is not yet synced is kept open by its log.
/// Handles are cheap clones of one cache; connections hold one to send regions.
pub struct Files<F: Fs>(Arc<Mutex<Inner<F>>>);

impl<F: Fs> Clone for Files<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Fs> Files<F> {
    pub(crate) fn new(limit: usize) -> Self {
        let inner = Inner {
            places: BTreeMap::new(),
            open: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            limit,
            versions: BTreeMap::new(),
            retired: VecDeque::new(),
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The file that holds a region. Stays readable while the handle lives, even when the segment is removed.
    ///
    /// # Errors
    /// `NotFound` where log or segment is gone; what the disk says.
    pub async fn resolve(&self, region: &Region) -> io::Result<F::File> {
        let former = (region.log, region.segment, region.version);
        if let Some(file) = lock(&self.0).former(former) {
            return Ok(file);
        }
        let file = self.get(region.log, region.segment, Kind::Log).await?;
        let inner = lock(&self.0);
        if inner.version(region.log, region.segment) == region.version {
            return Ok(file);
        }
        // It was replaced before, or while it was being opened.
        inner.former(former).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Which version of a segment's files is the current one.
    pub(crate) fn version(&self, log: LogId, base: Offset) -> u32 {
        lock(&self.0).version(log, base)
    }

    /// Closes the files of a segment whose names others have taken.
    pub(crate) fn replaced(&self, log: LogId, base: Offset) {
        self.retire(log, base);
        *lock(&self.0).versions.entry((log, base)).or_default() += 1;
    }

    pub(crate) fn place(&self, log: LogId, fs: &Arc<F>, folder: &str) {
        lock(&self.0).places.insert(log, Place { fs: Arc::clone(fs), folder: folder.to_owned() });
    }

    /// Opens an existing file, or takes it from the cache.
    pub(crate) async fn get(&self, log: LogId, base: Offset, kind: Kind) -> io::Result<F::File> {
        loop {
            let (fs, path, version) = {
                let mut inner = lock(&self.0);
                if let Some(file) = inner.touch((log, base, kind)) {
                    return Ok(file);
                }
                let place = inner.places.get(&log).ok_or(io::ErrorKind::NotFound)?;
                (Arc::clone(&place.fs), kind.path(&place.folder, base), inner.version(log, base))
            };
            let file = fs.open(&path, Open::Existing).await?;
            let mut inner = lock(&self.0);
            // Else it may be the one that was replaced meanwhile.
            if inner.version(log, base) == version {
                inner.insert((log, base, kind), file.clone());
                return Ok(file);
            }
        }
    }

    /// Takes in a file that was just opened.
    pub(crate) fn keep(&self, log: LogId, base: Offset, kind: Kind, file: &F::File) {
        lock(&self.0).insert((log, base, kind), file.clone());
    }

    /// Closes the files of a segment that is being unlinked; its batches stay readable for a while, for regions that were located before.
    pub(crate) fn retire(&self, log: LogId, base: Offset) {
        let mut inner = lock(&self.0);
        if let Some(file) = inner.touch((log, base, Kind::Log)) {
            let version = inner.version(log, base);
            inner.retired.push_back(((log, base, version), file));
        }
        if inner.retired.len() > RETIRED_FILES {
            inner.retired.pop_front();
        }
        for kind in Kind::ALL {
            inner.remove((log, base, kind));
        }
    }

    /// Forgets the files of a log, but not where they are.
    pub(crate) fn forget_files(&self, log: LogId) {
        let mut inner = lock(&self.0);
        let keys = inner.keys_of(log);
        for key in keys {
            inner.remove(key);
        }
    }

    /// Forgets a log that is being deleted.
    pub(crate) fn forget_log(&self, log: LogId) {
        let bases: Vec<Offset> = lock(&self.0).keys_of(log).into_iter().filter(|key| key.2 == Kind::Log).map(|key| key.1).collect();
        for base in bases {
            self.retire(log, base);
        }
        self.forget_files(log);
        let inner = &mut *lock(&self.0);
        inner.places.remove(&log);
        inner.versions.retain(|(of, _), _| *of != log);
    }

    /// How many files the cache holds open.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.0).open.len()
    }
}

impl<F: Fs> Inner<F> {
    fn keys_of(&self, log: LogId) -> Vec<Key> {
        self.open.range((log, Offset(i64::MIN), Kind::Log)..).map(|(key, _)| *key).take_while(|key| key.0 == log).collect()
    }

    fn version(&self, log: LogId, base: Offset) -> u32 {
        self.versions.get(&(log, base)).copied().unwrap_or_default()
    }

    fn former(&self, former: Former) -> Option<F::File> {
        self.retired.iter().rev().find(|(retired, _)| *retired == former).map(|(_, file)| file.clone())
    }

    fn touch(&mut self, key: Key) -> Option<F::File> {
        let (file, used) = self.open.get_mut(&key)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(file.clone())
    }

    fn insert(&mut self, key: Key, file: F::File) {
        self.remove(key);
        self.uses += 1;
        self.open.insert(key, (file, self.uses));
        self.by_use.insert(self.uses, key);
        while self.open.len() > self.limit {
            probe!("the cache of open files closed one");
            let (_, oldest) = self.by_use.pop_first().expect("each open file has a last use");
            self.open.remove(&oldest);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some((_, used)) = self.open.remove(&key) {
            self.by_use.remove(&used);
        }
    }
}
