//! What the store says goes to whom it concerns; what it cannot do any more takes logs or directories offline.

use super::boot::{METADATA, Phase};
use super::io::{Halt, Level};
use super::snapshots::Kept;
use super::{Broker, Token};
use crate::controller::snapshot::Contents;
use crate::error::ErrorCode;
use crate::id::{DirId, LeaderEpoch, Offset, Ticket};
use crate::log::Recovered;
use crate::log::snapshot::SnapshotId;
use crate::partition::{Loss, Owner, Partition, PartitionId, Role, Shape};
use crate::probe;
use crate::store::{StoreFault, StoreOp, Stored};

/// Whom the outcome of a store operation concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// A log is being made, cut, or recovered anew.
    Shape { partition: PartitionId, shape: Shape },
    /// A log was deleted: its folder's name is free.
    Delete { folder: String, void: Option<super::voids::Void> },
    /// Which logs are void.
    Voids,
    /// Append, roll, discard.
    Write { partition: PartitionId, life: u32 },
    /// A sync of a partition's log.
    Sync { partition: PartitionId, life: u32 },
    /// One partition of a fetch.
    Locate { token: Token, at: usize, partition: PartitionId },
    /// One partition of a `ListOffsets`.
    FindTime { token: Token, at: usize, partition: PartitionId },
    /// A piece of a log that is read only to see whether it still can be.
    Scrub { partition: PartitionId, life: u32 },
    /// A cleaning of a log, which was dirty from there on.
    Clean { partition: PartitionId, life: u32, dirty: Offset },
    /// A small file; nobody waits, but a fault takes the directory offline.
    Small { dir: DirId },
    /// The producers of a log as of an offset.
    Producers { partition: PartitionId, life: u32, at: Offset },
    /// The leader epochs of a log.
    Epochs { partition: PartitionId, life: u32 },
    /// The epoch of this broker's registration.
    Epoch,
    /// The high watermarks or the log starts of a directory.
    Checkpoint { dir: DirId, which: super::checkpoints::Which },
    /// A part of the metadata log.
    Metadata,
    /// A part of a partition of `__consumer_offsets`, for the load `run`.
    Groups { partition: PartitionId, run: u64 },
    /// A step of a replica's move to another directory.
    Copy { partition: PartitionId, number: u64, step: super::move_dirs::Step },
    /// Free space of a directory.
    Space { dir: DirId },
    /// An election of the metadata quorum.
    Election { number: u64 },
    /// A snapshot that this node made.
    Snapshot { id: SnapshotId, kept: Kept },
    /// A snapshot of the leader of `epoch`.
    Arrived { id: SnapshotId, epoch: LeaderEpoch, kept: Kept, contents: Box<Contents> },
    /// A piece of a snapshot, for a replica.
    Piece { token: Token, id: SnapshotId, from: u64 },
}

impl Broker {
    pub(super) fn stored(&mut self, ticket: Ticket, outcome: Result<Stored, StoreFault>) {
        let pending = self.pending.remove(&ticket).expect("the store answers each ticket once");
        if let Err(StoreFault::Offline { dir, why }) = &outcome {
            self.take_dir_offline(*dir, why);
        }
        if let (Pending::Locate { partition, .. } | Pending::FindTime { partition, .. } | Pending::Groups { partition, .. }, Err(fault)) =
            (&pending, &outcome)
            && let StoreFault::Damaged { at, why } = fault
        {
            self.found_damaged(*partition, *at, why);
        }
        match (pending, outcome) {
            (Pending::Shape { partition, shape }, outcome) => self.shaped(partition, shape, outcome),
            (Pending::Write { partition, life }, Ok(Stored::Appended { end })) if self.lives(partition, life) => self.wrote(partition, end),
            (Pending::Sync { partition, life }, Ok(Stored::Synced { end })) if self.lives(partition, life) => self.synced(partition, end),
            (Pending::Write { partition, life } | Pending::Sync { partition, life }, Err(fault)) if self.lives(partition, life) => {
                self.write_failed(partition, &fault);
            }
            (Pending::Producers { partition, life, at }, outcome) if self.lives(partition, life) => {
                self.producers_saved(partition, at, outcome.is_ok());
            }
            (Pending::Epochs { partition, life }, outcome) if self.lives(partition, life) => self.epochs_saved(partition, outcome.is_ok()),
            (Pending::Epoch, outcome) => self.epoch_kept(&outcome),
            (Pending::Election { number }, Ok(_)) => {
                let at = self.now.at;
                if let Some(quorum) = &mut self.quorum {
                    quorum.saved(at, number);
                }
            }
            (Pending::Election { .. }, Err(fault)) => {
                self.halt(Halt::Metadata { why: format!("the election that goes with the metadata log cannot be saved: {fault:?}") });
            }
            (Pending::Scrub { partition, life }, outcome) => self.scrubbed(partition, self.lives(partition, life), outcome),
            (Pending::Clean { partition, life, dirty }, outcome) => {
                self.log_cleaned(partition, dirty, self.lives(partition, life), outcome);
            }
            (Pending::Locate { token, at, .. }, outcome) => self.located(token, at, outcome),
            (Pending::FindTime { token, at, .. }, outcome) => self.time_found(token, at, outcome),
            (Pending::Snapshot { id, kept }, outcome) => self.snapshot_written(id, kept, &outcome),
            (Pending::Arrived { id, epoch, kept, contents }, outcome) => {
                self.snapshot_arrived(id, epoch, outcome.map(|_| (kept, contents)));
            }
            (Pending::Piece { token, id, from }, outcome) => self.piece_read(token, id, from, outcome),
            (Pending::Metadata, outcome) => self.metadata_loaded(outcome),
            (Pending::Groups { partition, run }, outcome) => self.groups_loaded(partition, run, outcome),
            (Pending::Delete { folder, void }, outcome) => self.log_deleted(&folder, void.as_ref(), &outcome),
            (Pending::Voids, outcome) => self.voids_saved(&outcome),
            (Pending::Checkpoint { dir, which }, outcome) => self.checkpoint_saved(dir, which, outcome.is_ok()),
            (Pending::Copy { partition, number, step }, outcome) => self.copied(partition, number, step, outcome),
            (Pending::Space { dir }, Ok(Stored::Space { total, free })) => {
                self.sized(dir, total);
                self.space(dir, free);
            }
            (
                Pending::Write { .. }
                | Pending::Sync { .. }
                | Pending::Producers { .. }
                | Pending::Epochs { .. }
                | Pending::Small { .. }
                | Pending::Space { .. },
                _,
            ) => {}
        }
        if self.phase == Phase::Stopping {
            self.stop_when_quiet();
        }
    }

    /// Whether what was given to the store in that life of the log still counts.
    fn lives(&self, id: PartitionId, life: u32) -> bool {
        self.partitions.get(&id).is_some_and(|partition| partition.life == life)
    }

    /// An append did not reach the disk. What was accepted behind it is void too; nothing of it was acknowledged.
    fn write_failed(&mut self, id: PartitionId, fault: &StoreFault) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (dir, owner, name) = (partition.dir, partition.owner, partition.folder());
        match fault {
            StoreFault::Full => {
                probe!("an append finds the disk full");
                partition.high = partition.high();
                let role = std::mem::replace(&mut partition.role, Role::Opening);
                partition.led = role.led(self.now.at);
                partition.life += 1;
                self.role_lost(id, role, ErrorCode::KAFKA_STORAGE_ERROR);
                self.mark_full(dir);
                self.shape(id, Shape::Reopen);
            }
            StoreFault::Damaged { at, why } => {
                let why = format!("{name} is damaged at offset {at}: {why}");
                self.note(Level::Error, format!("{why}. The partition is offline and nothing of it was cut."));
                self.take_offline(id, why, Loss::Log);
                self.look_at_place(id);
            }
            // The directory's fault has already taken the role; `Gone` and `Closed` follow a delete or a fault that was handled.
            StoreFault::Offline { .. } | StoreFault::Closed | StoreFault::Gone => {}
        }
        if owner == Owner::Controller {
            self.halt(Halt::Metadata { why: "an append to the metadata log failed".to_owned() });
        }
    }

    /// A role ended since its log cannot be used: whoever waits for it is told so.
    fn role_lost(&mut self, id: PartitionId, role: Role, code: ErrorCode) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let (owner, log) = (partition.owner, partition.log);
        self.tails.forget(log);
        match role {
            Role::Leader(leader) => drop(self.end_leadership(id, owner, *leader, code)),
            Role::Follower(follower) => {
                self.fetch_no_more(id);
                follower.fetches.into_iter().for_each(|token| self.look_again(token));
            }
            Role::Opening | Role::Offline { .. } => {}
        }
    }

    /// Has the store do something with a partition's log as a whole: the partition plays on when that is done.
    pub(super) fn shape(&mut self, id: PartitionId, shape: Shape) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.damage = partition.damage.filter(|damage| match shape {
            Shape::Truncate { to } => damage.at < to,
            Shape::Create | Shape::Restart { .. } => false,
            Shape::Reopen => true,
        });
        let (log, dir) = (partition.log, partition.dir);
        let op = match shape {
            Shape::Create => StoreOp::Create { log, dir, name: partition.folder(), topic: id.topic },
            Shape::Reopen => StoreOp::Reopen { log },
            Shape::Truncate { to } => StoreOp::Truncate { log, to },
            Shape::Restart { at } => StoreOp::Restart { log, at },
        };
        self.store(op, Pending::Shape { partition: id, shape });
    }

    fn shaped(&mut self, id: PartitionId, shape: Shape, outcome: Result<Stored, StoreFault>) {
        match (shape, outcome) {
            (Shape::Create, Ok(_)) => self.opened(id, Recovered::empty()),
            // The disk was full, and so the log had to be opened first.
            (Shape::Truncate { to }, Ok(Stored::Reopened(found))) if found.end > to => self.shape(id, shape),
            (_, Ok(Stored::Reopened(found))) => self.opened(id, *found),
            (_, Ok(other)) => unreachable!("what is done to a whole log is answered by the log, not by {other:?}"),
            (_, Err(fault)) if id == METADATA => {
                self.halt(Halt::Metadata { why: format!("the metadata log cannot be made or cut: {fault:?}") })
            }
            (_, Err(StoreFault::Full | StoreFault::Closed)) => self.no_room(id, shape),
            (_, Err(fault)) => self.cannot_open(id, &fault),
        }
        if shape == Shape::Create {
            self.partition_made(id);
        }
    }

    /// A full disk refuses what must be done with a log. To all others it is as if the disk took so long; and whatever else the log holds is not touched.
    fn no_room(&mut self, id: PartitionId, shape: Shape) {
        if id == METADATA {
            return self.halt(Halt::Metadata { why: "there is no room to open the metadata log".to_owned() });
        }
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        probe!("a full disk refuses to make, open or cut a log");
        partition.role = Role::Offline { why: "the disk is full".to_owned(), loss: Loss::Room };
        let (name, dir) = (partition.folder(), partition.dir.0);
        if partition.refused.replace(shape).is_none() {
            let text = format!(
                "{name} is offline: log directory {dir} has no room for what must be done with its log. Make room: then it is done"
            );
            self.note(Level::Error, text);
        }
    }

    /// There is room in a directory, maybe enough for what was refused there.
    pub(super) fn shape_again(&mut self, dir: DirId) {
        if self.phase != Phase::Running {
            return;
        }
        let is_refused = |p: &&Partition| p.dir == dir && matches!(p.role, Role::Offline { loss: Loss::Room, .. });
        let refused = self.partitions.values().filter(is_refused).filter_map(|p| Some((p.id, p.refused?)));
        for (id, shape) in refused.collect::<Vec<_>>() {
            // The store has forgotten a log that it could not make.
            let fresh = (shape == Shape::Create).then(|| self.new_log());
            let partition = self.partitions.get_mut(&id).expect("looked at above");
            partition.role = Role::Opening;
            let log = fresh.unwrap_or(partition.log);
            partition.log = log;
            match shape {
                // It has closed a log that it could not cut.
                Shape::Truncate { .. } => drop(self.store(StoreOp::Reopen { log }, Pending::Shape { partition: id, shape })),
                Shape::Create | Shape::Reopen | Shape::Restart { .. } => self.shape(id, shape),
            }
        }
    }

    pub(super) fn cannot_open(&mut self, id: PartitionId, fault: &StoreFault) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let why = match fault {
            StoreFault::Offline { why, .. } => format!("its log directory is offline: {why}"),
            StoreFault::Damaged { at, why } => format!("it is damaged at offset {at}: {why}"),
            StoreFault::Full | StoreFault::Closed => return self.no_room(id, Shape::Reopen),
            StoreFault::Gone => "its log is gone".to_owned(),
        };
        let text = format!("{} is offline: {why}", partition.folder());
        if id == METADATA {
            probe!("a node finds its metadata log damaged");
            return self.halt(Halt::Metadata { why: text });
        }
        let loss = if matches!(fault, StoreFault::Damaged { .. }) { Loss::Log } else { Loss::Directory };
        partition.role = Role::Offline { why, loss };
        self.note(Level::Error, text);
        self.look_at_place(id);
    }

    /// A directory can no longer be trusted: all its partitions go offline; without any directory the broker stops.
    fn take_dir_offline(&mut self, dir: DirId, why: &str) {
        let Some(known) = self.dirs.get_mut(usize::from(dir.0)) else { return };
        if known.offline.is_some() {
            return;
        }
        probe!("a log directory goes offline");
        known.offline = Some(why.to_owned());
        self.note(Level::Error, format!("log directory {} is offline: {why}", dir.0));
        let hit: Vec<PartitionId> = self.partitions.values().filter(|p| p.dir == dir && !self.has_no_log(p)).map(|p| p.id).collect();
        for id in hit {
            self.take_offline(id, format!("its log directory is offline: {why}"), Loss::Directory);
        }
        // Without the metadata log nothing can be decided.
        if dir == self.config.quorum.dir || self.dirs.iter().all(|d| d.offline.is_some()) {
            self.halt(Halt::DirsOffline { why: why.to_owned() });
        }
    }

    pub(super) fn take_offline(&mut self, id: PartitionId, why: String, loss: Loss) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.high = partition.high();
        let role = std::mem::replace(&mut partition.role, Role::Offline { why, loss });
        partition.life += 1;
        self.role_lost(id, role, ErrorCode::KAFKA_STORAGE_ERROR);
    }
}
