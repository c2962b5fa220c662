//! What the store says goes to whom it concerns; what it cannot do any more takes logs or directories offline.

use super::boot::Phase;
use super::io::{Halt, Level};
use super::{Broker, Token};
use crate::error::ErrorCode;
use crate::id::{DirId, Ticket};
use crate::log::Recovered;
use crate::partition::leader::ProduceWait;
use crate::partition::{PartitionId, Role};
use crate::probe;
use crate::store::{StoreFault, StoreOp, Stored};

/// Whom the outcome of a store operation concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// A log is being made.
    Create { partition: PartitionId },
    /// A log was deleted: its folder's name is free.
    Delete { folder: String },
    /// Append, roll, discard.
    Write { partition: PartitionId },
    /// A sync of a partition's log.
    Sync { partition: PartitionId },
    /// A log is recovered anew after a failed append.
    Reopen { partition: PartitionId },
    /// One partition of a fetch.
    Locate { token: Token, at: usize },
    /// One partition of a `ListOffsets`.
    FindTime { token: Token, at: usize },
    /// A small file; nobody waits, but a fault takes the directory offline.
    Small { dir: DirId },
    /// A part of the metadata log.
    Metadata,
    /// A part of a partition of `__consumer_offsets`, for the load `run`.
    Groups { partition: PartitionId, run: u64 },
    /// Free space of a directory.
    Space { dir: DirId },
}

impl Broker {
    pub(super) fn stored(&mut self, ticket: Ticket, outcome: Result<Stored, StoreFault>) {
        let pending = self.pending.remove(&ticket).expect("the store answers each ticket once");
        if let Err(StoreFault::Offline { dir, why }) = &outcome {
            self.take_dir_offline(*dir, why);
        }
        match (pending, outcome) {
            (Pending::Create { partition }, outcome) => self.created(partition, outcome),
            (Pending::Write { partition }, Ok(Stored::Appended { end })) => self.wrote(partition, end),
            (Pending::Sync { partition }, Ok(Stored::Synced { end })) => self.synced(partition, end),
            (Pending::Write { partition } | Pending::Sync { partition }, Err(fault)) => self.write_failed(partition, &fault),
            (Pending::Reopen { partition }, outcome) => self.reopened(partition, outcome),
            (Pending::Locate { token, at }, outcome) => self.located(token, at, outcome),
            (Pending::FindTime { token, at }, outcome) => self.time_found(token, at, outcome),
            (Pending::Metadata, outcome) => self.metadata_loaded(outcome),
            (Pending::Groups { partition, run }, outcome) => self.groups_loaded(partition, run, outcome),
            (Pending::Delete { folder }, _) => self.log_deleted(&folder),
            (Pending::Space { dir }, Ok(Stored::Space { free })) => self.space(dir, free),
            (Pending::Write { .. } | Pending::Sync { .. } | Pending::Small { .. } | Pending::Space { .. }, _) => {}
        }
        if self.phase == Phase::Stopping {
            self.stop_when_quiet();
        }
    }

    /// An append did not reach the disk. What was accepted behind it is void too; nothing of it was acknowledged.
    fn write_failed(&mut self, id: PartitionId, fault: &StoreFault) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (dir, owner) = (partition.dir, partition.owner);
        let Role::Leader(leader) = &mut partition.role else { return };
        let log = leader.log.id();
        let waits: Vec<ProduceWait> = leader.until_written.fail().into_iter().chain(leader.until_high.fail()).collect();
        let fetches: Vec<Token> = leader.fetches.iter().copied().collect();
        let name = leader.log.name().to_owned();
        self.tails.forget(log);
        match fault {
            StoreFault::Full => {
                probe!("an append finds the disk full");
                partition.role = Role::Creating;
                self.mark_full(dir);
                self.store(StoreOp::Reopen { log }, Pending::Reopen { partition: id });
            }
            StoreFault::Damaged { at, why } => {
                probe!("a log is found damaged while it is in use");
                let why = format!("{name} is damaged at offset {at}: {why}");
                partition.role = Role::Offline { why: why.clone() };
                self.note(Level::Error, format!("{why}. The partition is offline and nothing of it was cut."));
            }
            // The directory's fault has already taken the role; `Gone` and `Closed` follow a delete or a fault that was handled.
            StoreFault::Offline { .. } | StoreFault::Closed | StoreFault::Gone => {}
        }
        self.appends_lost(id, owner);
        waits.into_iter().for_each(|wait| self.produced(wait, ErrorCode::KAFKA_STORAGE_ERROR));
        fetches.into_iter().for_each(|token| self.look_again(token));
    }

    fn reopened(&mut self, id: PartitionId, outcome: Result<Stored, StoreFault>) {
        match outcome {
            Ok(Stored::Reopened(found)) => self.lead(id, *found),
            Ok(other) => unreachable!("a reopen is answered by the log, not by {other:?}"),
            Err(fault) => self.cannot_open(id, &fault),
        }
    }

    fn created(&mut self, id: PartitionId, outcome: Result<Stored, StoreFault>) {
        match outcome {
            Ok(_) => self.lead(id, Recovered::empty()),
            Err(fault) => self.cannot_open(id, &fault),
        }
        self.partition_made(id);
    }

    pub(super) fn cannot_open(&mut self, id: PartitionId, fault: &StoreFault) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let why = match fault {
            StoreFault::Offline { why, .. } => format!("its log directory is offline: {why}"),
            StoreFault::Damaged { at, why } => format!("it is damaged at offset {at}: {why}"),
            StoreFault::Full => "the disk is full".to_owned(),
            StoreFault::Closed | StoreFault::Gone => "its log is gone".to_owned(),
        };
        let text = format!("{} is offline: {why}", partition.folder());
        partition.role = Role::Offline { why };
        self.note(Level::Error, text);
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
        let hit: Vec<PartitionId> = self.partitions.values().filter(|p| p.dir == dir).map(|p| p.id).collect();
        for id in hit {
            self.take_offline(id, format!("its log directory is offline: {why}"));
        }
        // The metadata log lies in the first directory.
        if dir == DirId(0) || self.dirs.iter().all(|d| d.offline.is_some()) {
            self.halt(Halt::DirsOffline { why: why.to_owned() });
        }
    }

    fn take_offline(&mut self, id: PartitionId, why: String) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let owner = partition.owner;
        let before = std::mem::replace(&mut partition.role, Role::Offline { why });
        let Role::Leader(mut leader) = before else { return };
        self.appends_lost(id, owner);
        self.tails.forget(leader.log.id());
        let waits: Vec<ProduceWait> = leader.until_written.fail().into_iter().chain(leader.until_high.fail()).collect();
        waits.into_iter().for_each(|wait| self.produced(wait, ErrorCode::KAFKA_STORAGE_ERROR));
        leader.fetches.into_iter().for_each(|token| self.look_again(token));
    }
}
