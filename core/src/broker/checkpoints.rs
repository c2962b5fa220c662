//! Offsets of logs that outlive the process, in two files of each log directory: up to where a log was known to be committed (Kafka's
//! `replication-offset-checkpoint`) and where it begins (`log-start-offset-checkpoint`).
//!
//! High watermarks are written about every `replica.high.watermark.checkpoint.interval.ms` where one has moved. What the file says was committed when it
//! was written: a log may have been cut since, so it is bounded by the log's ends, and where a cut goes below it, the file is written at once. The
//! metadata log is not in it: its quorum says what is committed. Log starts are written when one moves.

use super::boot::METADATA;
use super::stored::Pending;
use super::{Broker, Timer, ms};
use crate::id::{DirId, Offset};
use crate::log::checkpoint::{self, HIGHS_FILE, STARTS_FILE};
use crate::log::{FoundDir, Log};
use crate::probe;
use crate::store::StoreOp;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Highs,
    Starts,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Highs => HIGHS_FILE,
            Self::Starts => STARTS_FILE,
        }
    }
}

/// One of the files, by log folder: it is written whole, once at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct OffsetsFile {
    saved: BTreeMap<String, Offset>,
    /// The last save failed, so that it may hold that instead, or neither.
    is_unsure: bool,
    saving: Option<BTreeMap<String, Offset>>,
    /// Something moved meanwhile.
    moved: bool,
}

impl OffsetsFile {
    /// A file as it was found.
    fn new(saved: BTreeMap<String, Offset>) -> Self {
        Self { saved, ..Self::default() }
    }

    /// What it says, or is about to.
    fn newest(&self) -> &BTreeMap<String, Offset> {
        self.saving.as_ref().unwrap_or(&self.saved)
    }

    /// Whether it may name the log of that folder.
    fn may_name(&self, folder: &str) -> bool {
        self.is_unsure || self.saved.contains_key(folder) || self.saving.as_ref().is_some_and(|saving| saving.contains_key(folder))
    }

    /// Whether it says that of a folder, and nothing else is being written.
    fn says(&self, folder: &str, offset: Option<Offset>) -> bool {
        let says = |offsets: &BTreeMap<String, Offset>| offsets.get(folder).copied() == offset;
        !self.is_unsure && says(&self.saved) && self.saving.as_ref().is_none_or(says)
    }

    /// What is to be written so that it says `offsets`; nothing where it does, or is being written: then it is asked for again.
    fn save(&mut self, offsets: BTreeMap<String, Offset>) -> Option<Bytes> {
        self.moved = self.saving.is_some();
        if self.moved || (self.saved == offsets && !self.is_unsure) {
            return None;
        }
        let bytes = checkpoint::encode(&offsets).into();
        self.saving = Some(offsets);
        Some(bytes)
    }

    /// It was written, or was not: then the next time it will be, whether anything moves or not. Tells whether to save again now.
    fn saved(&mut self, is_saved: bool) -> bool {
        self.is_unsure = !is_saved;
        if let Some(offsets) = self.saving.take().filter(|_| is_saved) {
            self.saved = offsets;
        }
        self.moved
    }
}

/// What the file has to say of a log: nothing where the log begins with its first segment.
fn start_to_save(log: &Log) -> Option<Offset> {
    (log.start() > log.segments().all()[0].base).then(|| log.start())
}

/// What a directory's file says; nothing where there is none, or it is no good.
fn offsets_of(found: &FoundDir, which: Which) -> BTreeMap<String, Offset> {
    let text = found.saved.get(which.name()).map(|bytes| String::from_utf8_lossy(bytes));
    text.and_then(|text| checkpoint::decode(&text)).unwrap_or_default()
}

/// What a directory's files say of its logs.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkpoints {
    /// What was known to be committed, as far as no partition has taken it up.
    known: BTreeMap<String, Offset>,
    highs: OffsetsFile,
    starts: OffsetsFile,
}

impl Checkpoints {
    pub(super) fn found(found: &FoundDir) -> Self {
        let highs = offsets_of(found, Which::Highs);
        Self { known: highs.clone(), highs: OffsetsFile::new(highs), starts: OffsetsFile::new(offsets_of(found, Which::Starts)) }
    }

    fn file(&mut self, which: Which) -> &mut OffsetsFile {
        match which {
            Which::Highs => &mut self.highs,
            Which::Starts => &mut self.starts,
        }
    }
}

impl Broker {
    /// Up to where the log of that folder was known to be committed when it was last used.
    pub(super) fn known_high(&mut self, folder: &str, dir: DirId) -> Offset {
        let known = self.dirs.get_mut(usize::from(dir.0)).and_then(|dir| dir.checkpoints.known.remove(folder));
        if known.is_some() {
            probe!("a high watermark is known from the life before");
        }
        known.unwrap_or(Offset::ZERO)
    }

    /// Logs that no partition took up are not ours to remember.
    pub(super) fn forget_highs(&mut self) {
        self.dirs.iter_mut().for_each(|dir| dir.checkpoints.known.clear());
    }

    /// It is time to save what has moved, and what could not be saved.
    pub(super) fn checkpoint(&mut self) {
        let interval = ms(self.config.broker.high_watermark_checkpoint_ms).max(Duration::from_millis(1));
        self.timer(interval, Timer::Checkpoint);
        self.save_checkpoints(Which::Highs);
        self.save_checkpoints(Which::Starts);
        self.save_epochs_again();
        // Of a directory that went offline nothing is remembered any more.
        self.free_names();
    }

    /// Saves that file of each directory where an offset has moved.
    pub(super) fn save_checkpoints(&mut self, which: Which) {
        (0..self.dirs.len()).for_each(|at| self.save_checkpoint(DirId(u16::try_from(at).expect("few directories")), which));
    }

    /// Saves that file of a directory where an offset has moved.
    pub(super) fn save_checkpoint(&mut self, dir: DirId, which: Which) {
        let offsets = match which {
            Which::Highs => self.highs_of(dir),
            Which::Starts => self.starts_of(dir),
        };
        let known = &mut self.dirs[usize::from(dir.0)];
        if known.offline.is_none()
            && let Some(bytes) = known.checkpoints.file(which).save(offsets)
        {
            self.store(StoreOp::Save { dir, name: which.name().to_owned(), bytes }, Pending::Checkpoint { dir, which });
        }
    }

    fn highs_of(&self, dir: DirId) -> BTreeMap<String, Offset> {
        let here = self.partitions.values().filter(|p| p.dir == dir && p.id != METADATA).map(|p| (p.folder(), p.high()));
        self.dirs[usize::from(dir.0)].checkpoints.known.clone().into_iter().chain(here).collect()
    }

    /// The starts of logs that do not begin where their first segment does. Of one that is not open the file keeps what it says.
    fn starts_of(&self, dir: DirId) -> BTreeMap<String, Offset> {
        let before = self.dirs[usize::from(dir.0)].checkpoints.starts.newest();
        let here = self.partitions.values().filter(|p| p.dir == dir);
        let known = here.filter_map(|p| {
            let folder = p.folder();
            let at = p.open_log().map_or_else(|| before.get(&folder).copied(), start_to_save);
            Some((folder, at?))
        });
        let copies = self.whole_copies(dir).filter_map(|(_, log)| Some((log.name().to_owned(), start_to_save(log)?)));
        known.chain(copies).collect()
    }

    /// Whether the file of a directory says where a log begins.
    pub(super) fn says_start(&self, dir: DirId, log: &Log) -> bool {
        self.dirs[usize::from(dir.0)].checkpoints.starts.says(log.name(), start_to_save(log))
    }

    /// A file was replaced, or was not.
    pub(super) fn checkpoint_saved(&mut self, dir: DirId, which: Which, is_saved: bool) {
        if self.dirs[usize::from(dir.0)].checkpoints.file(which).saved(is_saved) {
            self.save_checkpoint(dir, which);
        }
        if which == Which::Starts {
            self.replace_logs(dir, is_saved);
        }
        self.free_names();
    }

    /// Whether the next start may take a log of that name for one that was there before, for as far committed, and for beginning where that did.
    pub(super) fn is_remembered(&self, folder: &str) -> bool {
        let mut online = self.dirs.iter().filter(|dir| dir.offline.is_none()).map(|dir| &dir.checkpoints);
        online.any(|known| known.highs.may_name(folder) || known.starts.may_name(folder))
    }

    /// Has the files forget the log of a folder that is gone, so that a new one may have its name; `free_names` is called then.
    pub(super) fn forget_folder(&mut self, folder: &str) {
        self.dirs.iter_mut().for_each(|dir| _ = dir.checkpoints.known.remove(folder));
        self.save_checkpoints(Which::Highs);
        self.save_checkpoints(Which::Starts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(at: i64) -> BTreeMap<String, Offset> {
        [("t-0".to_owned(), Offset(at))].into()
    }

    #[test]
    fn a_file_is_written_once_at_a_time_and_only_where_something_moved() {
        let mut file = OffsetsFile::new(offsets(1));
        assert_eq!(file.save(offsets(1)), None);
        assert_eq!(file.save(offsets(2)), Some("0\n1\nt 0 2\n".into()));
        assert_eq!(file.save(offsets(3)), None, "one write is under way");
        assert!(file.saved(true), "what moved meanwhile is to be saved");
        assert!(file.save(offsets(3)).is_some());
        assert!(!file.saved(true));
        assert_eq!(file.save(offsets(3)), None);
    }

    #[test]
    fn a_file_that_could_not_be_written_may_hold_anything_until_it_is() {
        let mut file = OffsetsFile::new(BTreeMap::new());
        assert!(!file.may_name("t-0"));
        assert!(file.save(offsets(1)).is_some());
        assert!(file.may_name("t-0"), "a crash may find it written");
        file.saved(false);
        assert!(file.may_name("t-0") && file.may_name("u-0"));
        assert!(file.save(BTreeMap::new()).is_some(), "though that is what it held before");
        file.saved(true);
        assert!(!file.may_name("t-0"));
    }
}
