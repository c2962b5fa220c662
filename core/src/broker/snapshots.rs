//! Snapshots of the metadata log on this node (KIP-630): when one is written, what of the log and of older ones is deleted, and the start from one.
//!
//! ```text
//!   deleted │ kept snapshots, the oldest at or behind the log's start … the newest │ what it does not hold
//!           start ≤ ends of all snapshots ≤ applied
//! ```

use super::Broker;
use super::boot::{METADATA, Phase};
use super::io::{Halt, Level};
use super::stored::Pending;
use crate::config::quorum::MetadataLog;
use crate::controller::snapshot::{self, Contents};
use crate::id::{LeaderEpoch, Offset, Uuid};
use crate::log::Log;
use crate::log::snapshot::SnapshotId;
use crate::probe;
use crate::quorum::Voters;
use crate::store::{StoreFault, StoreOp, Stored};
use crate::time::{Instant, Timestamp};
use crate::wire::records::control::QuorumOf;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// So long a snapshot stays after somebody has fetched a piece of it: whoever is far behind would else have to begin with a newer one each time. (Kafka
/// keeps the file of every snapshot for a minute: `file.delete.delay.ms`.)
const LEASE: Duration = Duration::from_secs(60);

/// A snapshot that is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kept {
    bytes: u64,
    /// The time of the last record in it.
    time: Timestamp,
    /// When a piece of it was last fetched.
    fetched: Option<Instant>,
}

impl Kept {
    pub(super) fn new(bytes: &Bytes, time: Timestamp) -> Self {
        Self { bytes: bytes.len() as u64, time, fetched: None }
    }
}

/// The snapshots on this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshots {
    kept: BTreeMap<SnapshotId, Kept>,
    /// Files that were found damaged, until it is clear that nothing is lost with them.
    damaged: Vec<String>,
    is_writing: bool,
    /// Bytes of the log that were committed and are in no snapshot.
    grown: u64,
    /// When the last one was begun, or the node.
    last: Instant,
    /// The newest one, until it has taken the log's place.
    pub(super) restoring: Option<(SnapshotId, Box<Contents>)>,
    /// One that comes from the leader.
    pub(super) receiving: Option<super::snapshot_fetch::Receiving>,
}

impl Snapshots {
    /// The snapshots, oldest first.
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = SnapshotId> + Clone + '_ {
        self.kept.keys().copied()
    }

    pub(super) fn keep(&mut self, id: SnapshotId, kept: Kept) {
        self.kept.insert(id, kept);
    }

    pub(super) fn has(&self, id: SnapshotId) -> bool {
        self.kept.contains_key(&id)
    }

    /// A piece of it is fetched.
    pub(super) fn lease(&mut self, id: SnapshotId, now: Instant) {
        if let Some(kept) = self.kept.get_mut(&id) {
            kept.fetched = Some(now);
        }
    }

    fn newest(&self) -> Option<SnapshotId> {
        self.ids().next_back()
    }

    fn bytes(&self) -> u64 {
        self.kept.values().map(|kept| kept.bytes).sum()
    }
}

impl Broker {
    /// The epoch of the last record of the metadata log, or of the snapshot below it; `None` while there is neither.
    pub(super) fn metadata_epoch_of(&self, log: &Log) -> Option<LeaderEpoch> {
        log.epochs().latest().or_else(|| self.snapshots.ids().rev().find(|id| id.end == log.end()).map(|id| id.epoch))
    }

    // --- the start ------------------------------------------------------------------------------------------------------------------------

    /// Takes in the snapshots that the store found. The newest whole one is to be restored; a damaged one is passed over.
    pub(super) fn find_snapshots(&mut self) {
        let found: Vec<(String, SnapshotId)> =
            self.saved.keys().filter_map(|name| Some((name.clone(), SnapshotId::of_file(name)?))).collect();
        for (name, id) in found.into_iter().rev() {
            let bytes = self.saved.remove(&name).expect("listed above");
            match snapshot::decode(&bytes) {
                // What a format writes down: voters, and no metadata. It is never sent to anybody.
                Ok(contents) if id.end == Offset::ZERO => {
                    self.snapshots.restoring.get_or_insert((id, Box::new(Contents { image: Default::default(), ..contents })));
                }
                Ok(contents) => {
                    self.snapshots.keep(id, Kept::new(&bytes, contents.time));
                    self.snapshots.restoring.get_or_insert((id, Box::new(contents)));
                }
                Err(why) => {
                    probe!("a snapshot of the metadata was no good");
                    self.note(Level::Warn, format!("{name} is damaged and passed over: {why}"));
                    self.snapshots.damaged.push(name);
                }
            }
        }
    }

    /// The metadata log is open, at the start: the newest snapshot stands for what is below its end.
    pub(super) fn load_metadata(&mut self) {
        let log = self.partitions[&METADATA].open_log().expect("it has just been opened");
        let (start, end) = (log.start(), log.end());
        let place = (self.metadata_epoch_of(log).unwrap_or_default(), end);
        let Some((id, _)) = self.snapshots.restoring else {
            if start > Offset::ZERO {
                let why = format!("the metadata log begins at {start}, and there is no whole snapshot of what was before");
                return self.halt(Halt::Metadata { why });
            }
            self.drop_damaged();
            return self.load_from(start);
        };
        if (id.epoch, id.end) > place {
            // A crash came after a leader's snapshot was stored, or this log has not become durable as far.
            probe!("a node starts with a snapshot that its log does not reach");
            return self.restart(METADATA, id.end);
        }
        if start > id.end {
            let why = format!("the metadata log begins at {start}, behind the newest whole snapshot, which ends at {}", id.end);
            return self.halt(Halt::Metadata { why });
        }
        self.restore();
        self.drop_damaged();
        self.load_from(id.end);
    }

    /// An older snapshot, or the log alone, tells what the damaged ones did.
    fn drop_damaged(&mut self) {
        for name in std::mem::take(&mut self.snapshots.damaged) {
            self.remove_snapshot(name);
        }
    }

    /// The snapshot takes the place of everything below its end. Returns the voters that it names.
    pub(super) fn restore(&mut self) -> Option<Voters> {
        let (id, contents) = self.snapshots.restoring.take()?;
        let Contents { time, quorum, image } = *contents;
        let voters = (!quorum.voters.is_empty()).then(|| quorum.voters.iter().map(|voter| self.voter_of(voter)).collect::<Voters>());
        if id.end > Offset::ZERO {
            if self.phase == Phase::Loading {
                probe!("a node starts from a snapshot");
            }
            let unknown = self.admin.controller.restore(image, id.end, time);
            self.turn_away(unknown);
            if let Some(follower) = self.partitions.get_mut(&METADATA).and_then(|p| p.follower_mut()) {
                follower.told_high(id.end);
            }
        }
        self.drop_below_start();
        (self.snapshots.grown, self.snapshots.last) = (0, self.now.at);
        if self.phase == Phase::Loading {
            self.first_voters.clone_from(&voters);
        }
        voters
    }

    // --- writing --------------------------------------------------------------------------------------------------------------------------

    /// More of the metadata is committed: perhaps enough for a snapshot (Kafka's `SnapshotGenerator`).
    pub(super) fn metadata_grew(&mut self, bytes: u64) {
        self.snapshots.grown += bytes;
        let MetadataLog { snapshot_bytes, snapshot_interval, .. } = self.config.quorum.log;
        let grown = self.snapshots.grown;
        let is_old = snapshot_interval.is_some_and(|interval| self.now.at >= self.snapshots.last.after(interval));
        // A log that is being deleted must not be forgotten: after a crash only the record of its deletion tells that it is to go.
        let is_free = !self.snapshots.is_writing && !self.admin.is_deleting() && matches!(self.phase, Phase::Joining | Phase::Running);
        if is_free && (grown >= snapshot_bytes || (is_old && grown > 0)) {
            self.write_snapshot();
        }
    }

    fn write_snapshot(&mut self) {
        let (image, end) = self.admin.controller.snapshot();
        let Some(log) = self.partitions.get(&METADATA).and_then(|p| p.open_log()) else { return };
        // Below the log's start stands another snapshot.
        if end <= log.start() || self.snapshots.newest().is_some_and(|newest| newest.end >= end) {
            return;
        }
        let Some(epoch) = log.epochs().at(end.plus(-1)) else { return };
        let Some(quorum) = self.quorum_below(end) else { return };
        let (id, time) = (SnapshotId { end, epoch }, self.admin.controller.applied_time());
        let bytes = snapshot::encode(image, &quorum, epoch, time);
        (self.snapshots.grown, self.snapshots.last, self.snapshots.is_writing) = (0, self.now.at, true);
        let kept = Kept::new(&bytes, time);
        self.store(StoreOp::Save { dir: self.config.quorum.dir, name: id.file(), bytes }, Pending::Snapshot { id, kept });
    }

    /// What a snapshot of the log below `end` says of the quorum.
    fn quorum_below(&self, end: Offset) -> Option<QuorumOf> {
        let voters = self.quorum.as_ref()?.voters_below(end)?;
        // Voters without directories are those of `controller.quorum.voters`: they are no part of the log.
        if voters.is_empty() || voters.iter().any(|voter| voter.directory == Uuid::ZERO) {
            return Some(QuorumOf::default());
        }
        Some(QuorumOf { version: 1, voters: voters.to_record(self.controller_listener()).voters })
    }

    /// The store has written a snapshot, or could not.
    pub(super) fn snapshot_written(&mut self, id: SnapshotId, kept: Kept, outcome: &Result<Stored, StoreFault>) {
        self.snapshots.is_writing = false;
        if outcome.is_err() {
            // It is tried again when as much has been written anew; a directory that fails is dealt with elsewhere.
            return probe!("a snapshot could not be written");
        }
        probe!("a snapshot of the metadata is written");
        self.snapshots.keep(id, kept);
        self.clean_metadata();
    }

    // --- deleting -------------------------------------------------------------------------------------------------------------------------

    /// Deletes the oldest snapshot, and the log up to the next one, while they are too old or too much (Kafka's `KafkaRaftLog.maybeClean`).
    pub(super) fn clean_metadata(&mut self) {
        let MetadataLog { retention_bytes, retention_ms, .. } = self.config.quorum.log;
        loop {
            let mut oldest = self.snapshots.kept.iter();
            let (Some((_, kept)), Some((next, _))) = (oldest.next(), oldest.next()) else { return };
            let Some(partition) = self.partitions.get(&METADATA) else { return };
            let Some(log) = partition.open_log() else { return };
            let is_old = retention_ms.is_some_and(|keep| self.now.wall.0.saturating_sub(kept.time.0) > keep);
            let is_much = retention_bytes.is_some_and(|keep| log.segments().bytes() + self.snapshots.bytes() > keep);
            let is_leased = kept.fetched.is_some_and(|at| self.now.at.since(at) < LEASE);
            if !(is_old || is_much) || is_leased || next.end > partition.high() {
                return;
            }
            let next = next.end;
            probe!("the metadata log before a snapshot is deleted");
            self.advance_start(METADATA, next);
            self.drop_below_start();
        }
    }

    /// Deletes the snapshots that end below the log's start.
    fn drop_below_start(&mut self) {
        let Some(start) = self.partitions.get(&METADATA).and_then(|p| p.open_log()).map(Log::start) else { return };
        while let Some((id, _)) = self.snapshots.kept.first_key_value().filter(|(id, _)| id.end < start) {
            let id = *id;
            self.snapshots.kept.remove(&id);
            self.remove_snapshot(id.file());
        }
    }

    fn remove_snapshot(&mut self, name: String) {
        let dir = self.config.quorum.dir;
        self.store(StoreOp::Remove { dir, name }, Pending::Small { dir });
    }

    /// What must hold of the snapshots after every step.
    pub(super) fn check_snapshots(&self) {
        let Some(log) = self.partitions.get(&METADATA).and_then(|p| p.open_log()).filter(|_| self.phase != Phase::Loading) else { return };
        let (start, applied) = (log.start(), self.admin.controller.applied());
        let ends = self.snapshots.ids().map(|id| id.end);
        let newest = ends.clone().next_back().unwrap_or_default();
        assert!(start <= newest, "the metadata log begins at {start}, and the newest snapshot ends at {newest}");
        assert!(ends.clone().all(|end| start <= end), "a snapshot ends below {start}, where the metadata log begins");
        assert!(start <= applied && applied <= log.end(), "metadata is applied up to {applied}, of a log from {start} to {}", log.end());
    }
}
