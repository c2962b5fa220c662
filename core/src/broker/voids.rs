//! Of two logs of one replica, which one is void: a copy that is being made in another directory, the log that a copy has replaced, or what lies in a
//! directory that is offline while the replica gets a new log.
//!
//! One small file says so, replaced whole, and a log is void from when the file is durable until it says so no more. So no record is acknowledged by a
//! log that the next start would delete; and a new log gets the folder of a void one only when the file has forgotten that one, durably. A void log in a
//! directory that has gone offline stays void until the directory is back. (Kafka marks the copy by its folder's name instead.)
//!
//! Nor is a log forgotten that is gone, as long as the controller takes the replica to lie there: were the directory lost to which it has moved, nothing
//! else would tell the next start that a new log in its place is without the replica's records, and the controller would count on them.

use super::boot::Phase;
use super::move_dirs::REST;
use super::stored::Pending;
use super::{Broker, Timer};
use crate::id::{DirId, LogId, PartitionIndex, Uuid};
use crate::log::{FoundDir, FoundLog};
use crate::partition::{Loss, Partition, PartitionId, Role};
use crate::store::{StoreFault, StoreOp, Stored};
use crate::{mutant, probe};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The file, in the directory of the metadata log.
pub(super) const VOIDS_FILE: &str = "void-logs";

/// A log that does not count: its folder, its topic, and the id of the directory where it lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Void {
    pub(super) folder: String,
    pub(super) topic: Uuid,
    pub(super) dir: Uuid,
}

/// What happens when the file is durable as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// A copy is begun.
    Begin { partition: PartitionId, number: u64 },
    /// A copy takes its log's place.
    Switch { partition: PartitionId, number: u64 },
    /// A folder's name is free.
    Free { folder: String },
}

/// The logs that are void.
#[derive(Clone, Debug, Default)]
pub(super) struct Voids {
    known: BTreeSet<Void>,
    /// Those of them that are gone, and stay until the controller knows where the replicas lie.
    untold: BTreeSet<Void>,
    /// Who waits for the file that is being written.
    saving: Vec<Then>,
    is_saving: bool,
    /// Who waits for the next one.
    waiting: Vec<Then>,
}

impl Voids {
    /// What the process before left.
    pub(super) fn read(text: &str) -> Self {
        let uuid = |text: &str| Some(Uuid(u128::from_str_radix(text, 16).ok()?.to_be_bytes()));
        let void = |line: &str| {
            let mut parts = line.split(' ');
            let (folder, topic, dir) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Void { folder: folder.to_owned(), topic: uuid(topic)?, dir: uuid(dir)? })
        };
        Self { known: text.lines().filter_map(void).collect(), ..Self::default() }
    }

    fn text(&self) -> String {
        let hex = |uuid: Uuid| u128::from_be_bytes(uuid.0);
        self.known.iter().fold(String::new(), |mut text, Void { folder, topic, dir }| {
            let _ = writeln!(text, "{folder} {:032x} {:032x}", hex(*topic), hex(*dir));
            text
        })
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn contains(&self, void: &Void) -> bool {
        self.known.contains(void)
    }

    /// Counts from the next time that the file is saved.
    pub(super) fn insert(&mut self, void: Void) {
        self.untold.remove(&void);
        self.known.insert(void);
    }

    /// Counts from the next time that the file is saved.
    pub(super) fn remove(&mut self, void: &Void) {
        self.known.remove(void);
    }
}

impl Broker {
    /// The log of a replica in a directory, as the file would name it.
    pub(super) fn void_of(&self, folder: &str, topic: Uuid, dir: DirId) -> Void {
        Void { folder: folder.to_owned(), topic, dir: self.config.broker.dirs[usize::from(dir.0)].id }
    }

    /// Directories that are offline may hold a log of a replica that had left this broker, and is about to get a new one: such a log is void. Whether
    /// that is news. Where a directory has not told its id, since it never opened, two logs are found when it does, and the operator must choose.
    pub(super) fn void_elsewhere(&mut self, folder: &str, topic: Uuid) -> bool {
        if mutant!(OfflineLogCounts) {
            return false;
        }
        let before = self.voids.len();
        for dir in self.offline_dir_ids() {
            self.voids.insert(Void { folder: folder.to_owned(), topic, dir });
        }
        self.voids.len() > before
    }

    /// Of the logs that the store found, those that are void are deleted; the others, by folder.
    pub(super) fn sort_out(&mut self, dirs: Vec<FoundDir>) {
        let opened: BTreeSet<Uuid> = dirs.iter().map(|dir| dir.id).collect();
        let mut left: Vec<(Void, LogId)> = Vec::new();
        for dir in dirs {
            for found in dir.logs {
                let void = Void { folder: found.name.clone(), topic: found.topic, dir: dir.id };
                if self.voids.contains(&void) {
                    left.push((void, found.log));
                } else {
                    self.found.entry(found.name.clone()).or_default().push((dir.dir, found));
                }
            }
        }
        let all_opened = opened.len() == self.config.broker.dirs.len();
        let gone = |void: &&Void| opened.contains(&void.dir) && !left.iter().any(|(found, _)| found == *void);
        self.voids.untold = self.voids.known.iter().filter(gone).cloned().collect();
        let holds = |found: &[(DirId, FoundLog)], topic| found.iter().any(|(_, found)| found.topic == topic);
        for (void, log) in left {
            // Where a directory is missing, it may hold what counts, and this be all that is left of the replica.
            if all_opened || self.found.get(&void.folder).is_some_and(|found| holds(found, void.topic)) {
                probe!("a void log is deleted at the start");
                self.delete_void(void, log);
            }
        }
    }

    /// Has the file written as it is now.
    pub(super) fn save_voids(&mut self, then: Option<Then>) {
        self.voids.waiting.extend(then);
        if self.voids.is_saving {
            return;
        }
        self.voids.saving.append(&mut self.voids.waiting);
        self.voids.is_saving = true;
        let (dir, name) = (self.config.quorum.dir, VOIDS_FILE.to_owned());
        self.store(StoreOp::Save { dir, name, bytes: self.voids.text().into() }, Pending::Voids);
    }

    /// The file was written, or was not: then it is tried again, since what it holds may not be what counts.
    pub(super) fn voids_saved(&mut self, outcome: &Result<Stored, StoreFault>) {
        self.voids.is_saving = false;
        let thens = std::mem::take(&mut self.voids.saving);
        if let Err(fault) = outcome {
            probe!("the file of void logs could not be saved");
            for then in thens {
                match then {
                    Then::Begin { partition, number } => self.copy_failed(partition, number, fault),
                    Then::Switch { .. } | Then::Free { .. } => self.voids.waiting.push(then),
                }
            }
            self.timer(REST, Timer::Copies);
            return;
        }
        if !self.voids.waiting.is_empty() {
            self.save_voids(None);
        }
        for then in thens {
            match then {
                Then::Begin { partition, number } => self.make_copy(partition, number),
                Then::Switch { partition, number } => self.switch(partition, number),
                Then::Free { folder } => self.free_folder(&folder),
            }
        }
    }

    /// Tries again to save what could not be saved.
    pub(super) fn save_voids_again(&mut self) {
        if !self.voids.waiting.is_empty() {
            self.save_voids(None);
        }
    }

    /// Deletes a void log: the file forgets it then.
    pub(super) fn delete_void(&mut self, void: Void, log: LogId) {
        let folder = void.folder.clone();
        self.delete(folder, log, Some(void));
    }

    /// The store has deleted a void log, or cannot, since its directory is offline: then it stays void. So does a copy that is made anew in its place.
    pub(super) fn void_deleted(&mut self, void: &Void, is_gone: bool) {
        if self.is_copied_to(void) {
            probe!("a copy is made anew in the place of one that is gone");
        } else if is_gone && (self.phase < Phase::Running || self.is_told_there(void)) && !mutant!(MoveUntold) {
            self.voids.untold.insert(void.clone());
        } else if is_gone || mutant!(VoidForgotten) {
            self.voids.remove(void);
        } else {
            probe!("a void log stays in a directory that has gone offline");
        }
        self.save_voids(Some(Then::Free { folder: void.folder.clone() }));
    }

    /// Whether the controller takes the replica to lie where that log was.
    fn is_told_there(&self, void: &Void) -> bool {
        let index = void.folder.rsplit_once('-').and_then(|(_, index)| index.parse().ok());
        let id = index.map(|index| PartitionId { topic: void.topic, index: PartitionIndex(index) });
        id.and_then(|id| self.decided(id)?.directory(self.config.broker.id)) == Some(void.dir)
    }

    /// Whether a new log of that name has to wait until a log that is gone is forgotten.
    pub(super) fn is_untold(&self, folder: &str, topic: Uuid) -> bool {
        self.voids.untold.iter().any(|void| void.folder == folder && void.topic == topic)
    }

    /// Whether that replica has a void log, there or gone, in a directory that is open.
    pub(super) fn has_void(&self, folder: &str, topic: Uuid) -> bool {
        self.voids_of(folder, topic).next().is_some()
    }

    fn voids_of(&self, folder: &str, topic: Uuid) -> impl Iterator<Item = (DirId, Void)> {
        let dirs = self.config.broker.dirs().filter(|(dir, _)| self.dir_offline(*dir).is_none());
        let voids = dirs.map(move |(dir, known)| (dir, Void { folder: folder.to_owned(), topic, dir: known.id }));
        voids.filter(|(_, void)| self.voids.contains(void))
    }

    /// Where the controller takes a replica to lie that this start finds nowhere, if it had moved on from there. Asked when this node has read as much
    /// of the metadata as any process before it.
    pub(super) fn left_behind(&self, folder: &str, topic: Uuid) -> Option<DirId> {
        self.voids_of(folder, topic).find(|(_, void)| self.is_told_there(void)).map(|(dir, _)| dir)
    }

    /// Whether that replica lay there once, and has no log at all until it gets a new one.
    pub(super) fn has_no_log(&self, partition: &Partition) -> bool {
        matches!(partition.role, Role::Offline { loss: Loss::Log | Loss::Given, .. })
            && self.voids.contains(&self.void_of(&partition.folder(), partition.id.topic, partition.dir))
    }

    /// The committed metadata has moved: the controller may know by now where replicas lie.
    pub(super) fn forget_voids(&mut self) {
        if self.phase < Phase::Running {
            return;
        }
        // What has no log is known by its note alone, until it gets one.
        let is_needed = |void: &Void| {
            let mut of_topic = self.of_topic(void.topic).map(|id| &self.partitions[&id]);
            of_topic.any(|partition| partition.folder() == void.folder && self.has_no_log(partition))
        };
        let told: Vec<Void> = self.voids.untold.iter().filter(|void| !self.is_told_there(void) && !is_needed(void)).cloned().collect();
        for void in told {
            self.voids.untold.remove(&void);
            self.voids.remove(&void);
            self.hold_folder(&void.folder);
            self.save_voids(Some(Then::Free { folder: void.folder }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_tells_which_logs_are_void() {
        let void = |folder: &str, topic, dir| Void { folder: folder.to_owned(), topic: Uuid([topic; 16]), dir: Uuid([dir; 16]) };
        let mut voids = Voids::default();
        voids.insert(void("t-0", 9, 1));
        voids.insert(void("t-0", 9, 2));
        let read = Voids::read(&voids.text());
        assert_eq!(read.known, voids.known);
        assert!(read.contains(&void("t-0", 9, 1)));
        assert!(!read.contains(&void("t-0", 8, 1)), "another topic had that name");
    }
}
