//! A replica moves to another log directory of its broker (AlterReplicaLogDirs, KIP-113): its log is copied beside it until both are the same.
//!
//! ```text
//!   note "copying" ─► create ─► load and append … sync ─► the same ─► note "moved" ─► the copy is the log ─► delete the old one ─► no note
//! ```
//!
//! The notes are one small file, replaced whole. A crash leaves two logs of one name, and the note says which one counts: so no record is acknowledged
//! by a log that the next start would delete. Source: Kafka's `ReplicaAlterLogDirsThread`, which marks the copy by its folder's name instead.

use super::boot::Phase;
use super::io::Level;
use super::stored::Pending;
use super::{Broker, Timer, Token};
use crate::error::ErrorCode;
use crate::id::{DirId, LeaderEpoch, LogId, Offset, PartitionIndex, Uuid};
use crate::log::{FoundDir, FoundLog, Log, Ops, Recovered, SmallFile};
use crate::partition::follower::Follower;
use crate::partition::{PartitionId, Role};
use crate::probe;
use crate::store::{StoreFault, StoreOp, Stored};
use crate::wire::api::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
};
use crate::wire::batch::Batch;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The file of the notes, in the directory of the metadata log.
pub(super) const MOVES_FILE: &str = "replica-moves";
/// Bytes that one copy reads at a time.
const STEP_BYTES: u32 = 1 << 20;
/// Copies that read at a time; the others wait for their turn.
const READING_MAX: usize = 4;
/// Moves at a time, so that the notes fit into a small file; more are refused, and asked for again.
const MOVES_MAX: usize = 10_000;
/// Wishes for replicas that are not here yet, at most.
const WISHES_MAX: usize = 10_000;
/// How long copies rest that went ahead of their rate.
const REST: Duration = Duration::from_millis(100);

/// How far a move is, as the next process has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What lies in the new directory is not whole.
    Copying,
    /// What lies anywhere else does not count any more.
    Moved,
}

/// What a copy waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The note that it begins.
    Noted,
    /// Its log.
    Made,
    /// Records of the log that it copies.
    Loaded,
    /// Records that it wrote.
    Written,
    /// All of them on the disk.
    Synced,
    /// The note that it counts from now on.
    Switched,
}

/// A copy that is being made.
#[derive(Clone, Debug)]
struct Copy {
    /// No answer to an earlier copy is taken for one to this.
    number: u64,
    to: DirId,
    id: LogId,
    /// The store was asked to make its log.
    is_asked: bool,
    /// None before it is made.
    log: Option<Log>,
    /// It waits for the store.
    is_busy: bool,
    is_reading: bool,
}

/// All moves of this broker.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    notes: BTreeMap<String, (Uuid, Stage)>,
    copies: BTreeMap<PartitionId, Copy>,
    /// Where replicas shall lie that are not here yet.
    wishes: BTreeMap<(String, PartitionIndex), DirId>,
    next: u64,
}

impl Moves {
    /// The notes that the process before left.
    pub(super) fn read(text: &str) -> Self {
        let note = |line: &str| {
            let mut parts = line.split(' ');
            let (folder, to, stage) = (parts.next()?, parts.next()?, parts.next()?);
            let stage = if stage == "moved" { Stage::Moved } else { Stage::Copying };
            Some((folder.to_owned(), (Uuid(u128::from_str_radix(to, 16).ok()?.to_be_bytes()), stage)))
        };
        Self { notes: text.lines().filter_map(note).collect(), ..Self::default() }
    }

    fn text(&self) -> String {
        self.notes.iter().fold(String::new(), |mut text, (folder, (to, stage))| {
            let stage = if *stage == Stage::Moved { "moved" } else { "copying" };
            let _ = writeln!(text, "{folder} {:032x} {stage}", u128::from_be_bytes(to.0));
            text
        })
    }

    /// Whether a log that was found in a directory is what a move left behind.
    fn is_left_behind(&self, folder: &str, dir: Uuid) -> bool {
        match self.notes.get(folder) {
            Some((to, Stage::Copying)) => *to == dir,
            Some((to, Stage::Moved)) => *to != dir,
            None => false,
        }
    }
}

impl Broker {
    /// Of the logs that the store found, those that a move left behind are deleted; the others, by folder.
    pub(super) fn sort_out(&mut self, dirs: Vec<FoundDir>) {
        let opened: Vec<Uuid> = dirs.iter().map(|dir| dir.id).collect();
        let mut left = Vec::new();
        for dir in dirs {
            for found in dir.logs {
                if self.moves.is_left_behind(&found.name, dir.id) {
                    // Where the directory is missing that holds what counts, this is kept: it may be all that is left of the replica.
                    left.extend(self.moves.notes.get(&found.name).is_some_and(|(to, _)| opened.contains(to)).then_some(found));
                } else {
                    self.found.insert(found.name.clone(), (dir.dir, found));
                }
            }
        }
        let before = self.moves.notes.len();
        self.moves.notes.retain(|folder, (to, _)| !opened.contains(to) || left.iter().any(|found| found.name == *folder));
        if self.moves.notes.len() < before {
            let dir = self.config.quorum.dir;
            self.save_moves(Pending::Small { dir });
        }
        for FoundLog { name, log, .. } in left {
            probe!("what a move left behind is deleted at the start");
            self.delete_log(name, log);
        }
    }

    pub(super) fn alter_replica_log_dirs(&mut self, token: Token, body: AlterReplicaLogDirsRequest) {
        let mut results: BTreeMap<String, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
        for dir in body.dirs {
            let to = self.config.broker.dirs().find(|(_, known)| known.path == dir.path).map(|(id, _)| id);
            for topic in dir.topics {
                for partition_index in topic.partitions {
                    let altered = match to {
                        Some(to) => self.move_replica(&topic.name, partition_index, to),
                        None => Err(ErrorCode::LOG_DIR_NOT_FOUND),
                    };
                    let error_code = altered.err().unwrap_or(ErrorCode::NONE);
                    let result = AlterReplicaLogDirPartitionResult { partition_index, error_code };
                    results.entry(topic.name.clone()).or_default().push(result);
                }
            }
        }
        let result = |(topic_name, partitions)| AlterReplicaLogDirTopicResult { topic_name, partitions };
        let results = results.into_iter().map(result).collect();
        self.reply(token, AlterReplicaLogDirsResponse { results, ..Default::default() }.into());
    }

    fn move_replica(&mut self, topic: &str, index: PartitionIndex, to: DirId) -> Result<(), ErrorCode> {
        if self.dir_offline(to).is_some() {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        let id = self.names.get(topic).map(|topic| PartitionId { topic: *topic, index });
        let Some(partition) = id.and_then(|id| self.partitions.get(&id)) else {
            let is_known = self.image().topic(topic).is_some_and(|topic| topic.partitions.contains_key(&index));
            if self.moves.wishes.len() < WISHES_MAX {
                self.moves.wishes.insert((topic.to_owned(), index), to);
            }
            return Err(if is_known { ErrorCode::REPLICA_NOT_AVAILABLE } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION });
        };
        let (id, lies, start, folder) = (partition.id, partition.dir, partition.open_log().map(Log::start), partition.folder());
        match (&partition.role, start) {
            (Role::Offline { .. }, _) => return Err(ErrorCode::KAFKA_STORAGE_ERROR),
            // A log that is being made or cut, or switched over, is asked for again.
            (_, None) => return Err(ErrorCode::REPLICA_NOT_AVAILABLE),
            (_, Some(_)) => {}
        }
        if self.moves.copies.get(&id).is_some_and(|copy| copy.to == to) {
            return Ok(());
        }
        self.end_copy(id);
        if lies == to {
            return Ok(());
        }
        // There is one note for each replica: what the move before left must be gone, durably. A log that does not begin at 0 cannot be copied yet.
        if self.is_deleting(&folder) || start > Some(Offset::ZERO) || self.moves.notes.len() >= MOVES_MAX {
            return Err(ErrorCode::REPLICA_NOT_AVAILABLE);
        }
        self.begin_copy(id, to);
        Ok(())
    }

    /// Where a new replica shall lie, if somebody has said.
    pub(super) fn wished_dir(&mut self, topic: &str, index: PartitionIndex) -> Option<DirId> {
        let dir = self.moves.wishes.remove(&(topic.to_owned(), index))?;
        self.dir_offline(dir).is_none().then_some(dir)
    }

    fn begin_copy(&mut self, id: PartitionId, to: DirId) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let folder = partition.folder();
        probe!("a replica begins to move to another directory");
        let number = self.moves.next;
        self.moves.next += 1;
        let log = self.new_log();
        self.moves.copies.insert(id, Copy { number, to, id: log, is_asked: false, log: None, is_busy: true, is_reading: false });
        self.note_move(folder, to, Stage::Copying, Pending::Copy { partition: id, number, step: Step::Noted });
    }

    fn note_move(&mut self, folder: String, to: DirId, stage: Stage, pending: Pending) {
        let id = self.config.broker.dirs[usize::from(to.0)].id;
        self.moves.notes.insert(folder, (id, stage));
        self.save_moves(pending);
    }

    fn save_moves(&mut self, pending: Pending) {
        let (dir, name) = (self.config.quorum.dir, MOVES_FILE.to_owned());
        self.store(StoreOp::Save { dir, name, bytes: self.moves.text().into() }, pending);
    }

    /// A move is given up, or has become void.
    pub(super) fn end_copy(&mut self, id: PartitionId) {
        let Some(copy) = self.moves.copies.remove(&id) else { return };
        let Some(folder) = self.partitions.get(&id).map(crate::partition::Partition::folder) else { return };
        if copy.is_asked {
            probe!("a move to another directory is given up");
            self.delete_log(folder, copy.id);
        } else {
            self.move_is_over(&folder);
        }
    }

    /// The log was cut, or begins anew: what was copied may not be a part of it.
    pub(super) fn copy_anew(&mut self, id: PartitionId) {
        let Some(to) = self.moves.copies.get(&id).map(|copy| copy.to) else { return };
        self.end_copy(id);
        self.begin_copy(id, to);
    }

    /// A log of that name is deleted: the note of its move, if there was one, has served.
    pub(super) fn move_is_over(&mut self, folder: &str) {
        let is_open = |(id, _): (&PartitionId, &Copy)| self.partitions.get(id).is_some_and(|p| p.folder() == folder);
        if self.moves.copies.iter().any(is_open) || self.moves.notes.remove(folder).is_none() {
            return;
        }
        let dir = self.config.quorum.dir;
        self.save_moves(Pending::Small { dir });
    }

    /// The store has done a step of a copy.
    pub(super) fn copied(&mut self, id: PartitionId, number: u64, step: Step, outcome: Result<Stored, StoreFault>) {
        let Some(copy) = self.moves.copies.get_mut(&id).filter(|copy| copy.number == number) else {
            return;
        };
        copy.is_busy = false;
        match (step, outcome) {
            (Step::Noted, Ok(_)) => return self.make_copy(id),
            (Step::Made, Ok(_)) => self.copy_made(id),
            (Step::Loaded, Ok(Stored::Loaded(batches))) => return self.take_in_copy(id, &batches),
            (Step::Written, Ok(Stored::Appended { end })) => {
                if let Some(log) = &mut copy.log {
                    log.wrote(end);
                }
            }
            (Step::Synced, Ok(Stored::Synced { end })) => {
                if let Some(log) = &mut copy.log {
                    log.synced_to(end);
                }
            }
            (Step::Switched, Ok(_)) => return self.switch(id),
            (_, Ok(_)) => {}
            (_, Err(fault)) => {
                let name = self.partitions.get(&id).map(crate::partition::Partition::folder).unwrap_or_default();
                self.note(Level::Warn, format!("{name} stays where it is: its copy in another directory failed: {fault:?}"));
                return self.end_copy(id);
            }
        }
        self.copy_on(id);
    }

    fn make_copy(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let name = partition.folder();
        let Some(copy) = self.moves.copies.get_mut(&id) else { return };
        (copy.is_busy, copy.is_asked) = (true, true);
        let (log, dir, number) = (copy.id, copy.to, copy.number);
        self.store(StoreOp::Create { log, dir, name, topic: id.topic }, Pending::Copy { partition: id, number, step: Step::Made });
    }

    fn copy_made(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let (folder, durability) = (partition.folder(), partition.owner.durability(self.config.broker.durability));
        if let Some(copy) = self.moves.copies.get_mut(&id) {
            copy.log = Some(Log::new(copy.id, folder, durability, Recovered::empty()));
        }
    }

    /// Brings a copy on, as far as nothing has to be waited for.
    pub(super) fn copy_on(&mut self, id: PartitionId) {
        let Some(copy) = self.moves.copies.get(&id).filter(|copy| !copy.is_busy) else { return };
        let (Some(log), number) = (&copy.log, copy.number) else { return };
        // While the log is cut nothing can be said of it; the copy begins anew then.
        let Some(current) = self.partitions.get(&id).and_then(|p| p.open_log()) else { return };
        if self.phase == Phase::Stopping || log.written() < log.end() {
            return;
        }
        let pending = |step| Pending::Copy { partition: id, number, step };
        if log.end() < current.written() {
            let reading = self.moves.copies.values().filter(|copy| copy.is_reading).count();
            if reading >= READING_MAX || self.holds_back_moves() {
                self.timer(REST, Timer::Copies);
                return;
            }
            let (from, until) = (log.end(), current.written());
            let op = StoreOp::Load { log: current.id(), from, until, max_bytes: STEP_BYTES };
            self.set_busy(id, true);
            self.store(op, pending(Step::Loaded));
        } else if log.synced() < log.end() {
            let op = StoreOp::Sync { log: log.id() };
            self.set_busy(id, false);
            self.store(op, pending(Step::Synced));
        } else if log.end() == current.end() && current.durable() == current.end() {
            self.begin_switch(id);
        }
    }

    fn set_busy(&mut self, id: PartitionId, reads: bool) {
        let copy = self.moves.copies.get_mut(&id).expect("looked at by the caller");
        (copy.is_busy, copy.is_reading) = (true, reads);
    }

    /// All copies may have their turn.
    pub(super) fn copy_on_all(&mut self) {
        let ids: Vec<PartitionId> = self.moves.copies.keys().copied().collect();
        ids.into_iter().for_each(|id| self.copy_on(id));
    }

    fn take_in_copy(&mut self, id: PartitionId, batches: &[Batch]) {
        let wall = self.now.wall;
        let (Some(partition), Some(copy)) = (self.partitions.get(&id), self.moves.copies.get_mut(&id)) else { return };
        copy.is_reading = false;
        let (number, dir) = (copy.number, copy.to);
        let Some(log) = &mut copy.log else { return };
        let mut ops = Ops::default();
        let before = log.end();
        for batch in batches {
            if batch.header().base_offset == log.end() {
                log.take_in(batch, &partition.config, wall, &mut ops);
            }
        }
        if log.end() == before {
            probe!("records were deleted before a copy had them");
            return self.end_copy(id);
        }
        let bytes = batches.iter().flat_map(Batch::pieces).map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum();
        for op in ops.writes {
            self.store(op, Pending::Copy { partition: id, number, step: Step::Written });
        }
        for SmallFile { name, bytes, .. } in ops.saves {
            self.store(StoreOp::Save { dir, name, bytes }, Pending::Small { dir });
        }
        self.moved_bytes(bytes);
        self.copy_on(id);
    }

    /// The copy is the same as the log: it takes its place when that is noted. Until then the replica plays no role.
    fn begin_switch(&mut self, id: PartitionId) {
        let Some((log, _)) = self.step_down(id) else { return };
        let partition = self.partitions.get_mut(&id).expect("its log was just taken");
        partition.life += 1;
        let folder = partition.folder();
        let copy = self.moves.copies.get_mut(&id).expect("looked at by the caller");
        copy.is_busy = true;
        let (to, number) = (copy.to, copy.number);
        let mut ops = Ops::default();
        if let Some(own) = &mut copy.log {
            own.advance_start(log.start(), &mut ops);
        }
        for op in ops.writes {
            self.store(op, Pending::Copy { partition: id, number, step: Step::Written });
        }
        for SmallFile { name, bytes, .. } in ops.saves {
            self.store(StoreOp::Save { dir: to, name, bytes }, Pending::Small { dir: to });
        }
        self.note_move(folder, to, Stage::Moved, Pending::Copy { partition: id, number, step: Step::Switched });
    }

    fn switch(&mut self, id: PartitionId) {
        probe!("a replica has moved to another directory");
        let Some(copy) = self.moves.copies.remove(&id) else { return };
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (old, from, folder) = (partition.log, partition.dir, partition.folder());
        (partition.log, partition.dir) = (copy.id, copy.to);
        let mut log = copy.log.expect("only a copy that was made becomes the log");
        log.forget_snapshots();
        partition.role = Role::Follower(Box::new(Follower::new(LeaderEpoch(-1), None, log, partition.high)));
        self.tails.forget(old);
        self.note(Level::Info, format!("{folder} lies in {} now", self.config.broker.dirs[usize::from(copy.to.0)].path));
        self.delete_log(folder, old);
        self.save_starts(from);
        self.save_starts(copy.to);
        self.play(id);
    }

    /// The copies in a directory: topic, partition, size, and how far each is behind.
    pub(super) fn copies_in(&self, dir: DirId) -> impl Iterator<Item = (&str, PartitionIndex, u64, i64)> {
        let copies = self.moves.copies.iter().filter(move |(_, copy)| copy.to == dir);
        copies.filter_map(|(id, copy)| {
            let (partition, log) = (self.partitions.get(id)?, copy.log.as_ref()?);
            let lag = partition.open_log().map_or(0, |current| current.end().0 - log.end().0);
            Some((&*partition.topic, id.index, log.segments().bytes(), lag))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_tell_which_of_two_logs_counts() {
        let (here, there) = (Uuid([1; 16]), Uuid([2; 16]));
        let notes = [("t-0".to_owned(), (there, Stage::Copying)), ("t-1".to_owned(), (there, Stage::Moved))];
        let moves = Moves { notes: notes.into(), ..Moves::default() };
        let read = Moves::read(&moves.text());
        assert_eq!(read.notes, moves.notes);
        let left = |folder| (read.is_left_behind(folder, here), read.is_left_behind(folder, there));
        assert_eq!((left("t-0"), left("t-1"), left("t-2")), ((false, true), (true, false), (false, false)));
    }
}
