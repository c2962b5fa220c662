//! High watermarks outlive the process: each log directory has a file of them (Kafka's `replication-offset-checkpoint`), written anew about every
//! `replica.high.watermark.checkpoint.interval.ms` where one has moved.
//!
//! What the file says was committed when it was written. A log may have been cut since, so it is bounded by the log's ends; and where a cut goes below
//! it, the file is written at once. The metadata log is not in it: its quorum says what is committed.

use super::boot::METADATA;
use super::stored::Pending;
use super::{Broker, Timer, ms};
use crate::id::{DirId, Offset};
use crate::log::FoundDir;
use crate::log::checkpoint::{self, HIGHS_FILE};
use crate::probe;
use crate::store::StoreOp;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a directory's file says; nothing where there is none, or it is no good.
pub(super) fn offsets_of(found: &FoundDir, file: &str) -> BTreeMap<String, Offset> {
    let text = found.saved.get(file).map(|bytes| String::from_utf8_lossy(bytes));
    text.and_then(|text| checkpoint::decode(&text)).unwrap_or_default()
}

impl Broker {
    /// Up to where the log of that folder was known to be committed when it was last used.
    pub(super) fn known_high(&mut self, folder: &str, dir: DirId) -> Offset {
        let known = self.dirs.get_mut(usize::from(dir.0)).and_then(|dir| dir.highs.remove(folder));
        if known.is_some() {
            probe!("a high watermark is known from the life before");
        }
        known.unwrap_or(Offset::ZERO)
    }

    /// Logs that no partition took up are not ours to remember.
    pub(super) fn forget_highs(&mut self) {
        self.dirs.iter_mut().for_each(|dir| dir.highs.clear());
    }

    /// It is time to save what has moved.
    pub(super) fn checkpoint_highs(&mut self) {
        let interval = ms(self.config.broker.high_watermark_checkpoint_ms).max(Duration::from_millis(1));
        self.timer(interval, Timer::Highs);
        self.save_highs();
        self.save_starts_where(|dir| dir.starts_unsaved);
        // Of a directory that went offline nothing is remembered any more.
        self.free_names();
    }

    /// Saves the high watermarks of each directory where one has moved.
    pub(super) fn save_highs(&mut self) {
        (0..self.dirs.len()).for_each(|at| self.save_highs_of(DirId(u16::try_from(at).expect("few directories"))));
    }

    fn save_highs_of(&mut self, dir: DirId) {
        let here = self.partitions.values().filter(|p| p.dir == dir && p.id != METADATA).map(|p| (p.folder(), p.high()));
        let known = &mut self.dirs[usize::from(dir.0)];
        let highs: BTreeMap<String, Offset> = known.highs.clone().into_iter().chain(here).collect();
        known.highs_moved = known.highs_saving.is_some();
        if known.highs_moved || known.offline.is_some() || known.highs_saved.as_ref() == Some(&highs) {
            return;
        }
        let bytes = Bytes::from(checkpoint::encode(&highs));
        known.highs_saving = Some(highs);
        self.store(StoreOp::Save { dir, name: HIGHS_FILE.to_owned(), bytes }, Pending::Highs { dir });
    }

    /// The file was replaced, or was not: then the next time will, whether anything moves or not.
    pub(super) fn highs_saved(&mut self, dir: DirId, is_saved: bool) {
        let known = &mut self.dirs[usize::from(dir.0)];
        known.highs_saved = known.highs_saving.take().filter(|_| is_saved);
        if known.highs_moved {
            self.save_highs_of(dir);
        }
        self.free_names();
    }

    /// Whether the next start may take a log of that name for one that was there before, for as far committed, and for beginning where that did.
    pub(super) fn is_remembered(&self, folder: &str) -> bool {
        let holds = |highs: &Option<BTreeMap<String, Offset>>| highs.as_ref().is_some_and(|highs| highs.contains_key(folder));
        let mut online = self.dirs.iter().filter(|dir| dir.offline.is_none());
        online.any(|dir| {
            let has_start = dir.starts_unsaved || dir.starts_saved.contains_key(folder) || holds(&dir.starts_saving);
            has_start || dir.highs_saved.is_none() || holds(&dir.highs_saved) || holds(&dir.highs_saving)
        })
    }

    /// Has the files forget the log of a folder that is gone, so that a new one may have its name; `free_names` is called then.
    pub(super) fn forget_folder(&mut self, folder: &str) {
        for dir in &mut self.dirs {
            dir.highs.remove(folder);
        }
        self.save_highs();
        self.save_starts_where(|_| true);
    }

    fn save_starts_where(&mut self, is_due: impl Fn(&super::local::Dir) -> bool) {
        let due = (0..).map(DirId).zip(&self.dirs).filter(|(_, dir)| is_due(dir)).map(|(id, _)| id);
        due.collect::<Vec<_>>().into_iter().for_each(|dir| self.save_starts(dir));
    }
}
