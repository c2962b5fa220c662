//! A replica moves to another log directory of its broker (AlterReplicaLogDirs, KIP-113): its log is copied beside it until both are the same.
//!
//! ```text
//!   the copy is void ─► create ─► load and append … sync ─► the same ─► save producers ─► the log is void instead ─► delete it
//! ```
//!
//! Which of both counts is always on the disk (`voids.rs`). The copy begins where the first segment does, so it has not seen all that its producers wrote:
//! the log tells it in the end what it knows of them. Source: Kafka's `ReplicaAlterLogDirsThread`.

use super::boot::Phase;
use super::checkpoints::Which;
use super::io::Level;
use super::stored::Pending;
use super::voids::{Then, Void};
use super::{Broker, Timer, Token};
use crate::error::ErrorCode;
use crate::id::{DirId, LeaderEpoch, LogId, Offset, PartitionIndex};
use crate::log::{Log, Ops, Recovered, SmallFile};
use crate::partition::follower::Follower;
use crate::partition::{Loss, Partition, PartitionId, Role};
use crate::probe;
use crate::store::{StoreFault, StoreOp, Stored};
use crate::wire::api::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
};
use crate::wire::batch::Batch;
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes that one copy reads at a time.
const STEP_BYTES: u32 = 1 << 20;
/// Copies that read at a time; the others wait for their turn.
const READING_MAX: usize = 4;
/// Void logs at a time, so that they fit into a small file; more moves are refused, and asked for again.
const VOIDS_MAX: usize = 10_000;
/// Wishes for replicas that are not here yet, at most.
const WISHES_MAX: usize = 10_000;
/// How long copies rest that went ahead of their rate.
pub(super) const REST: Duration = Duration::from_millis(100);

/// What a copy waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its log.
    Made,
    /// Its log, that begins where the other one does.
    Begun,
    /// Records of the log that it copies.
    Loaded,
    /// Records that it wrote.
    Written,
    /// Epochs or producers that it saved.
    Saved,
    /// All of them on the disk.
    Synced,
    /// What is known of the producers.
    Remembered,
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
    /// The log that it is about to replace.
    replaced: Option<Log>,
    /// It is whole, and knows the producers.
    is_whole: bool,
    /// The next start may take it for what counts.
    is_switching: bool,
    /// It waits for the store.
    is_busy: bool,
    is_reading: bool,
}

/// All moves of this broker.
#[derive(Clone, Debug, Default)]
pub(super) struct Moves {
    copies: BTreeMap<PartitionId, Copy>,
    /// Where replicas shall lie that are not here yet.
    wishes: BTreeMap<(String, PartitionIndex), DirId>,
    next: u64,
}

impl Broker {
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
        let partition = match self.hosted(self.named(topic, index), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
            Ok(partition) => partition,
            Err(code) => {
                if self.moves.wishes.len() < WISHES_MAX {
                    self.moves.wishes.insert((topic.to_owned(), index), to);
                }
                // Kafka keeps to the older code here.
                return Err(if code == ErrorCode::NOT_LEADER_OR_FOLLOWER { ErrorCode::REPLICA_NOT_AVAILABLE } else { code });
            }
        };
        let (id, lies, folder) = (partition.id, partition.dir, partition.folder());
        match (&partition.role, partition.open_log()) {
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
        // What a move before left there must be gone, and the controller know of that move: it may be told of one place at a time.
        if self.is_deleting(&folder)
            || self.is_untold(&folder, id.topic)
            || self.voids.contains(&self.void_of(&folder, id.topic, to))
            || self.voids.len() >= VOIDS_MAX
        {
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
        probe!("a replica begins to move to another directory");
        let void = self.void_of(&partition.folder(), id.topic, to);
        let number = self.moves.next;
        self.moves.next += 1;
        let log = self.new_log();
        let copy = Copy {
            number,
            to,
            id: log,
            is_asked: false,
            log: None,
            replaced: None,
            is_whole: false,
            is_switching: false,
            is_busy: true,
            is_reading: false,
        };
        self.moves.copies.insert(id, copy);
        self.voids.insert(void);
        self.save_voids(Some(Then::Begin { partition: id, number }));
    }

    /// A move is given up, or has become void.
    pub(super) fn end_copy(&mut self, id: PartitionId) {
        let Some(copy) = self.moves.copies.remove(&id) else { return };
        let Some(partition) = self.partitions.get(&id) else { return };
        let (folder, from) = (partition.folder(), partition.dir);
        let void = self.void_of(&folder, id.topic, copy.to);
        if copy.is_switching {
            probe!("a replica goes while its copy takes its place");
            let from = self.void_of(&folder, id.topic, from);
            self.voids.remove(&from);
            self.voids.insert(void.clone());
        }
        if copy.is_asked {
            probe!("a move to another directory is given up");
            self.delete_void(void, copy.id);
        } else {
            self.hold_folder(&folder);
            self.void_deleted(&void, true);
        }
    }

    /// The log was opened anew, maybe since it was cut: what was copied may not be a part of it.
    pub(super) fn copy_anew(&mut self, id: PartitionId) {
        let Some(to) = self.moves.copies.get(&id).map(|copy| copy.to) else { return };
        self.end_copy(id);
        self.begin_copy(id, to);
    }

    /// The store has done a step of a copy.
    pub(super) fn copied(&mut self, id: PartitionId, number: u64, step: Step, outcome: Result<Stored, StoreFault>) {
        let Some(copy) = self.moves.copies.get_mut(&id).filter(|copy| copy.number == number) else {
            return;
        };
        if let (Step::Saved, Ok(_)) = (step, &outcome) {
            return;
        }
        copy.is_busy = false;
        match (step, outcome) {
            (Step::Made, Ok(_)) => return self.copy_made(id),
            (Step::Begun, Ok(Stored::Reopened(found))) => self.copy_begun(id, *found),
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
            (Step::Remembered, Ok(_)) => return self.copy_whole(id),
            (_, Ok(_)) => {}
            (_, Err(fault)) => return self.copy_failed(id, number, &fault),
        }
        self.copy_on(id);
    }

    pub(super) fn make_copy(&mut self, id: PartitionId, number: u64) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let name = partition.folder();
        let Some(copy) = self.moves.copies.get_mut(&id).filter(|copy| copy.number == number) else { return };
        (copy.is_busy, copy.is_asked) = (true, true);
        let (log, dir) = (copy.id, copy.to);
        self.store(StoreOp::Create { log, dir, name, topic: id.topic }, Pending::Copy { partition: id, number, step: Step::Made });
    }

    /// It begins where the first segment does: what lies before is gone.
    fn copy_made(&mut self, id: PartitionId) {
        let Some(base) = self.partitions.get(&id).and_then(|p| p.open_log()).map(|log| log.segments().all()[0].base) else { return };
        if base == Offset::ZERO {
            self.copy_begun(id, Recovered::empty());
            return self.copy_on(id);
        }
        probe!("a log that does not begin at 0 moves to another directory");
        self.set_busy(id, false);
        let copy = &self.moves.copies[&id];
        let (log, number) = (copy.id, copy.number);
        self.store(StoreOp::Restart { log, at: base }, Pending::Copy { partition: id, number, step: Step::Begun });
    }

    fn copy_begun(&mut self, id: PartitionId, found: Recovered) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let (folder, durability) = (partition.folder(), partition.owner.durability(self.config.broker.durability));
        if let Some(copy) = self.moves.copies.get_mut(&id) {
            copy.log = Some(Log::new(copy.id, folder, durability, found));
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
        self.save_voids_again();
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
        let current = partition.open_log();
        let may_leave_gaps = current.is_some_and(Log::has_gaps);
        for batch in batches {
            let (base, end) = (batch.header().base_offset, log.end());
            let may_follow = base == end || (base > end && may_leave_gaps);
            if may_follow && current.is_none_or(|current| current.epochs().explain(batch.header())) {
                log.take_in(batch, &partition.config, wall, &mut ops);
            }
        }
        if log.end() == before {
            let first = partition.open_log().map(|current| current.segments().all()[0].base);
            if first.is_some_and(|first| first > before) {
                probe!("records were deleted before a copy had them");
                return self.copy_anew(id);
            }
            return self.copy_failed(id, number, &StoreFault::Gone);
        }
        let bytes = batches.iter().flat_map(Batch::pieces).map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum();
        for op in ops.writes {
            self.store(op, Pending::Copy { partition: id, number, step: Step::Written });
        }
        for SmallFile { name, bytes, .. } in ops.saves {
            self.store(StoreOp::Save { dir, name, bytes }, Pending::Copy { partition: id, number, step: Step::Saved });
        }
        self.moved_bytes(bytes);
        self.copy_on(id);
    }

    /// The copy is the same as the log: it takes its place when that is noted. Until then the replica plays no role.
    fn begin_switch(&mut self, id: PartitionId) {
        let Some((log, _)) = self.step_down(id) else { return };
        let partition = self.partitions.get_mut(&id).expect("its log was just taken");
        partition.life += 1;
        let copy = self.moves.copies.get_mut(&id).expect("looked at by the caller");
        copy.is_busy = true;
        let (to, number) = (copy.to, copy.number);
        let mut ops = Ops::default();
        let own = copy.log.as_mut().expect("only a copy that was made is the same");
        own.advance_start(log.start(), &mut ops);
        own.learn_producers(log.producers());
        let (name, bytes) = own.snapshot();
        copy.replaced = Some(log);
        for op in ops.writes {
            self.store(op, Pending::Copy { partition: id, number, step: Step::Written });
        }
        for SmallFile { name, bytes, .. } in ops.saves {
            self.store(StoreOp::Save { dir: to, name, bytes }, Pending::Copy { partition: id, number, step: Step::Saved });
        }
        self.store(StoreOp::Save { dir: to, name, bytes }, Pending::Copy { partition: id, number, step: Step::Remembered });
    }

    /// What is still to be on the disk is where it starts: else records that were deleted would come back.
    fn copy_whole(&mut self, id: PartitionId) {
        let Some(copy) = self.moves.copies.get_mut(&id) else { return };
        (copy.is_busy, copy.is_whole) = (true, true);
        let to = copy.to;
        self.save_checkpoint(to, Which::Starts);
        self.replace_logs(to, true);
    }

    /// The copies in a directory that are whole, and count soon.
    pub(super) fn whole_copies(&self, dir: DirId) -> impl Iterator<Item = (PartitionId, &Log)> {
        let copies = self.moves.copies.iter().filter(move |(_, copy)| copy.to == dir && copy.is_whole);
        copies.filter_map(|(id, copy)| Some((*id, copy.log.as_ref()?)))
    }

    /// The file of log starts of a directory was saved, or could not be: copies whose start it says take their logs' places.
    pub(super) fn replace_logs(&mut self, dir: DirId, is_saved: bool) {
        let whole: Vec<PartitionId> =
            self.whole_copies(dir).filter(|(_, log)| !is_saved || self.says_start(dir, log)).map(|(id, _)| id).collect();
        for id in whole {
            if is_saved {
                self.replace(id);
            } else {
                let number = self.moves.copies[&id].number;
                self.copy_failed(id, number, &StoreFault::Full);
            }
        }
    }

    /// From when that is durable, the copy counts.
    fn replace(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let (folder, from) = (partition.folder(), partition.dir);
        let copy = self.moves.copies.get_mut(&id).expect("looked at by the caller");
        if std::mem::replace(&mut copy.is_switching, true) {
            return;
        }
        let (to, number) = (copy.to, copy.number);
        let [from, to] = [from, to].map(|dir| self.void_of(&folder, id.topic, dir));
        self.voids.remove(&to);
        self.voids.insert(from);
        self.save_voids(Some(Then::Switch { partition: id, number }));
    }

    /// A copy failed: the replica stays where it is. Once the next start may take the copy for what counts, there is no way back.
    pub(super) fn copy_failed(&mut self, id: PartitionId, number: u64, fault: &StoreFault) {
        let Some(copy) = self.moves.copies.get_mut(&id).filter(|copy| copy.number == number && !copy.is_switching) else { return };
        let replaced = copy.replaced.take();
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (folder, high) = (partition.folder(), partition.high);
        let log = replaced.filter(|_| matches!(partition.role, Role::Opening));
        let plays_on = log.is_some();
        if let Some(log) = log {
            probe!("a move fails when the copy is whole");
            partition.role = Role::Follower(Box::new(Follower::new(LeaderEpoch(-1), None, log, high)));
        }
        self.note(Level::Warn, format!("{folder} stays where it is: its copy in another directory failed: {fault:?}"));
        self.end_copy(id);
        if plays_on {
            self.play(id);
        }
    }

    pub(super) fn switch(&mut self, id: PartitionId, number: u64) {
        let Some(copy) = self.moves.copies.get(&id).filter(|copy| copy.number == number) else { return };
        probe!("a replica has moved to another directory");
        let to = copy.to;
        let copy = self.moves.copies.remove(&id).expect("just looked at");
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (old, from, folder) = (partition.log, partition.dir, partition.folder());
        (partition.log, partition.dir) = (copy.id, to);
        let mut log = copy.log.expect("only a copy that was made becomes the log");
        log.forget_snapshots();
        log.producers_saved(log.end(), true);
        partition.role = Role::Follower(Box::new(Follower::new(LeaderEpoch(-1), None, log, partition.high)));
        self.tails.forget(old);
        self.note(Level::Info, format!("{folder} lies in {} now", self.config.broker.dirs[usize::from(to.0)].path));
        let void = self.void_of(&folder, id.topic, from);
        self.delete_void(void, old);
        self.save_checkpoint(from, Which::Starts);
        self.save_checkpoint(to, Which::Starts);
        if let Some(why) = self.dir_offline(to).map(str::to_owned) {
            probe!("a replica has moved to a directory that went offline meanwhile");
            self.take_offline(id, format!("its log directory is offline: {why}"), Loss::Directory);
        }
        self.play(id);
    }

    /// The log of a replica whose copy is about to take its place.
    pub(super) fn replaced_log(&self, id: PartitionId) -> Option<&Log> {
        self.moves.copies.get(&id)?.replaced.as_ref()
    }

    /// The replicas of which a copy is made.
    pub(super) fn moving(&self) -> impl Iterator<Item = &Partition> {
        self.moves.copies.keys().filter_map(|id| self.partitions.get(id))
    }

    /// The replicas whose copies there are about to take their logs' places.
    pub(super) fn switching_to(&self, dir: DirId) -> impl Iterator<Item = PartitionId> {
        self.moves.copies.iter().filter(move |(_, copy)| copy.is_switching && copy.to == dir).map(|(id, _)| *id)
    }

    /// Whether a copy is being made there.
    pub(super) fn is_copied_to(&self, void: &Void) -> bool {
        let mut copies = self.moves.copies.iter().filter(|(_, copy)| !copy.is_switching);
        copies.any(|(id, copy)| self.partitions.get(id).is_some_and(|p| self.void_of(&p.folder(), id.topic, copy.to) == *void))
    }

    /// Of a log and its copy one is void: the copy, until it takes the log's place.
    pub(super) fn check_voids(&self) {
        // The names below are dear, and this is asked at every step.
        if self.voids.is_empty() && self.moves.copies.is_empty() {
            return;
        }
        for (id, partition) in self.partitions.iter() {
            if self.has_no_log(partition) {
                continue;
            }
            let copy = self.moves.copies.get(id);
            let is_void = |dir| self.voids.contains(&self.void_of(&partition.folder(), id.topic, dir));
            let is_switching = copy.is_some_and(|copy| copy.is_switching);
            assert!(is_void(partition.dir) == is_switching, "{} is void, or its copy counts too soon", partition.folder());
            assert!(
                copy.is_none_or(|copy| is_void(copy.to) != is_switching),
                "the copy of {} counts too soon, or is void",
                partition.folder()
            );
        }
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
