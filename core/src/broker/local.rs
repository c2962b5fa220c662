//! What lives on this broker: its log directories and its partitions' logs; retention, free space, stop.

use super::boot::Phase;
use super::checkpoints::{Checkpoints, Which};
use super::io::{Halt, Level};
use super::stored::Pending;
use super::{Broker, Timer};
use crate::config::TopicConfig;
use crate::error::ErrorCode;
use crate::id::{DirId, Offset, PartitionIndex, Uuid};
use crate::log::{FoundLog, Ops};
use crate::partition::{Loss, Owner, Partition, PartitionId, Role, Shape};
use crate::store::StoreOp;
use crate::time::Timestamp;
use crate::{mutant, probe};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often free space is looked at; oftener while a directory is full.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a broker that wants to stop waits for others to take over.
const LEAVE_MAX: Duration = Duration::from_secs(10);

/// One log directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    /// Why it cannot be used any more.
    pub(super) offline: Option<String>,
    /// Bytes of its file system, when it was last looked at.
    total: Option<u64>,
    free: Option<u64>,
    full: bool,
    pub(super) checkpoints: Checkpoints,
}

impl Broker {
    /// Makes a partition's log in the directory with the fewest logs; it leads as soon as the log is there.
    pub(super) fn create_partition(&mut self, topic: &Arc<str>, id: PartitionId, config: &Arc<TopicConfig>) {
        let home = (id == super::boot::METADATA).then_some(self.config.quorum.dir);
        let home = home.or_else(|| self.wished_dir(topic, id.index));
        let Some(dir) = home.or_else(|| self.emptiest_dir()) else { return };
        let log = self.new_log();
        self.add_partition(topic, id, config, dir, log);
        self.shape(id, Shape::Create);
    }

    /// A log directory could not be opened.
    pub(super) fn miss_dir(&mut self, dir: DirId, why: String) {
        assert!(dir != DirId(0), "without the metadata log there is nothing to start");
        probe!("a log directory is missing at the start");
        let path = self.config.broker.dirs().find(|(id, _)| *id == dir).map_or_else(String::new, |(_, known)| known.path.clone());
        let text = format!("log directory {path} is offline, and so is every partition in it: {why}. Mend it, then start the node again");
        self.note(Level::Error, text);
        self.dirs[usize::from(dir.0)].offline = Some(why);
    }

    /// A partition that the metadata gives to this broker, and none of the directories that opened holds: it lies in one that did not, since a new
    /// log in its place would be without its records. (Kafka's `LogManager.getOrCreateLog` refuses alike.) `None` where all directories opened, or what
    /// the others hold of it is void.
    pub(super) fn miss_partition(&mut self, topic: &Arc<str>, id: PartitionId, config: &Arc<TopicConfig>) -> Option<()> {
        let folder = format!("{topic}-{}", id.index);
        let dir = self.offline_dirs().find(|dir| !self.voids.contains(&self.void_of(&folder, id.topic, *dir)))?;
        let why = format!("its log directory is offline: {}", self.dir_offline(dir)?);
        self.lack_partition(topic, id, config, dir, why, Loss::Directory);
        Some(())
    }

    /// A partition that the metadata gives to this broker, and that has no log for now.
    pub(super) fn lack_partition(
        &mut self,
        topic: &Arc<str>,
        id: PartitionId,
        config: &Arc<TopicConfig>,
        dir: DirId,
        why: String,
        loss: Loss,
    ) {
        let log = self.new_log();
        self.add_partition(topic, id, config, dir, log);
        self.partitions.get_mut(&id).expect("just added").role = Role::Offline { why, loss };
    }

    /// Takes up a partition whose log the store has found.
    pub(super) fn adopt_partition(&mut self, topic: &Arc<str>, id: PartitionId, config: &Arc<TopicConfig>, dir: DirId, found: FoundLog) {
        self.add_partition(topic, id, config, dir, found.log);
        match found.state {
            Ok(recovered) => self.opened(id, recovered),
            Err(fault) => self.cannot_open(id, &fault),
        }
    }

    fn add_partition(&mut self, topic: &Arc<str>, id: PartitionId, config: &Arc<TopicConfig>, dir: DirId, log: crate::id::LogId) {
        let owner = Owner::of(topic);
        // Clients name topics; the metadata log is none.
        if owner != Owner::Controller {
            self.names.insert(topic.clone(), id.topic);
        }
        let role = Role::Opening;
        let high = self.known_high(&format!("{topic}-{}", id.index), dir);
        let partition = Partition {
            id,
            topic: topic.clone(),
            config: config.clone(),
            dir,
            log,
            owner,
            life: 0,
            high,
            damage: None,
            led: None,
            first: None,
            refused: None,
            role,
        };
        let before = self.partitions.insert(id, partition);
        assert!(before.is_none(), "{topic}-{} was made twice", id.index);
    }

    /// The directories that cannot be used.
    pub(super) fn offline_dirs(&self) -> impl Iterator<Item = DirId> + '_ {
        (0..).map(DirId).zip(&self.dirs).filter(|(_, known)| known.offline.is_some()).map(|(dir, _)| dir)
    }

    fn emptiest_dir(&self) -> Option<DirId> {
        if self.dirs.len() == 1 {
            return self.dirs[0].offline.is_none().then_some(DirId(0));
        }
        let mut counts: Vec<usize> = vec![0; self.dirs.len()];
        self.partitions.values().for_each(|p| counts[usize::from(p.dir.0)] += 1);
        let usable = (0..self.dirs.len()).filter(|at| self.dirs[*at].offline.is_none());
        usable.min_by_key(|at| counts[*at]).map(|at| DirId(u16::try_from(at).expect("few directories")))
    }

    /// The partitions of a topic that have a replica here.
    pub(super) fn of_topic(&self, topic: Uuid) -> impl Iterator<Item = PartitionId> + '_ {
        let first = PartitionId { topic, index: PartitionIndex(0) };
        self.partitions.range(first..).map(|(id, _)| *id).take_while(move |id| id.topic == topic)
    }

    /// Removes all partitions of a topic, and their logs.
    pub(super) fn delete_topic(&mut self, topic: Uuid) {
        for id in self.of_topic(topic).collect::<Vec<_>>() {
            self.delete_partition(id);
        }
    }

    pub(super) fn delete_partition(&mut self, id: PartitionId) {
        if self.partitions.get(&id).is_some_and(|p| p.follower().is_some()) {
            self.fetch_no_more(id);
        }
        self.end_copy(id);
        let Some(partition) = self.partitions.remove(&id) else { return };
        // Another replica of the topic may stay.
        let is_last = self.of_topic(id.topic).next().is_none();
        if is_last && self.names.get(&partition.topic) == Some(&id.topic) {
            self.names.remove(&partition.topic);
        }
        self.tails.forget(partition.log);
        match self.admin.doubles.remove(&id) {
            Some(logs) => logs.into_iter().for_each(|log| self.delete_log(partition.folder(), log)),
            None => self.delete_log(partition.folder(), partition.log),
        }
        self.partition_made(id);
        match partition.role {
            Role::Leader(leader) => {
                // As Kafka: what has only moved away is led elsewhere, where it may well be committed.
                let code = self.hosted(Some(id), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).expect_err("it was just removed");
                self.end_leadership(id, partition.owner, *leader, code);
            }
            Role::Follower(follower) => follower.fetches.into_iter().for_each(|token| self.look_again(token)),
            Role::Opening | Role::Offline { .. } => {}
        }
    }

    /// Gives all partitions of a topic another configuration. They are played as the metadata has them by then: who leads one counts members and minimum
    /// of the same moment, and leads no more if another one does.
    pub(super) fn configure_topic(&mut self, topic: Uuid, config: &Arc<TopicConfig>) {
        let first = PartitionId { topic, index: PartitionIndex(0) };
        let all: Vec<PartitionId> = self.partitions.range(first..).map(|(id, _)| *id).take_while(|id| id.topic == topic).collect();
        for id in all {
            self.configure_partition(id, config);
            if !mutant!(ElrClearedUntold) {
                self.play(id);
            }
            // A lower minimum may let go what waited for more members.
            self.advance(id);
        }
    }

    /// Gives a partition another configuration.
    pub(super) fn configure_partition(&mut self, id: PartitionId, config: &Arc<TopicConfig>) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        partition.config = config.clone();
        if let Some(isr) = partition.leader_mut().and_then(crate::partition::leader::Leader::isr_mut) {
            isr.set_min(usize::try_from(config.min_insync_replicas).unwrap_or(usize::MAX));
        }
    }

    /// Moves a log's start up to `to` (`DeleteRecords`, retention), and says so durably.
    pub(super) fn advance_start(&mut self, id: PartitionId, to: Offset) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let dir = partition.dir;
        let high = partition.high();
        let Some(log) = partition.open_log_mut() else { return };
        assert!(to <= high, "the start {to} would pass the high watermark {high}");
        let mut ops = Ops::default();
        log.advance_start(to, &mut ops);
        self.carry_out(id, dir, ops);
        self.discard(id);
        self.save_checkpoint(dir, Which::Starts);
    }

    /// Discards what lies below a log's start, as far as its producers are saved.
    fn discard(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (dir, high) = (partition.dir, partition.high());
        let Some(log) = partition.open_log_mut() else { return };
        let mut ops = Ops::default();
        if id == super::boot::METADATA {
            // No producer writes to it.
            log.discard_below(log.start(), &mut ops);
        } else {
            log.discard(high, &mut ops);
        }
        self.carry_out(id, dir, ops);
    }

    /// The store has saved a log's producers as of `at`, or could not: retention comes back to what waits for that.
    pub(super) fn producers_saved(&mut self, id: PartitionId, at: Offset, is_saved: bool) {
        let Some(log) = self.partitions.get_mut(&id).and_then(|p| p.open_log_mut()) else { return };
        log.producers_saved(at, is_saved);
        if is_saved {
            self.discard(id);
        }
    }

    pub(super) fn epochs_saved(&mut self, id: PartitionId, is_saved: bool) {
        if let Some(log) = self.partitions.get_mut(&id).and_then(|p| p.open_log_mut()) {
            log.epochs_saved(is_saved);
        }
    }

    /// Saves what could not be saved of the logs' epochs.
    pub(super) fn save_epochs_again(&mut self) {
        let mut due = Vec::new();
        for partition in self.partitions.values_mut() {
            let (id, dir, mut ops) = (partition.id, partition.dir, Ops::default());
            if let Some(log) = partition.open_log_mut() {
                log.save_epochs_again(&mut ops);
            }
            due.extend(Some((id, dir, ops)).filter(|(.., ops)| !ops.saves.is_empty()));
        }
        due.into_iter().for_each(|(id, dir, ops)| self.carry_out(id, dir, ops));
    }

    /// A follower's log starts where its leader's does.
    pub(super) fn follow_start(&mut self, id: PartitionId) {
        let Some(follower) = self.partitions.get(&id).and_then(|p| p.follower()) else { return };
        let start = follower.start();
        if start > follower.log.start() {
            self.advance_start(id, start);
        }
    }

    /// Looks at every log: what is too old or too much goes, whole segments at a time.
    pub(super) fn retain(&mut self) {
        self.timer(self.retention_check(), Timer::Retention);
        let wall = self.now.wall;
        let ids: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for id in ids {
            self.retain_one(id, wall);
            self.discard(id);
        }
        self.metadata_grew(0);
        self.clean_metadata();
    }

    /// Forgets producers that have been silent for too long. Followers do as well: who leads next would else refuse what this leader would take.
    pub(super) fn expire_producers(&mut self) {
        self.timer(self.property_ms("producer.id.expiration.check.interval.ms"), Timer::Producers);
        let expiration = self.property_ms("producer.id.expiration.ms");
        let silent = Timestamp(self.now.wall.0.saturating_sub(i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX)));
        for log in self.partitions.values_mut().filter_map(Partition::open_log_mut) {
            log.expire_producers(silent);
        }
    }

    pub(super) fn retention_check(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.config.broker.retention_check_ms).unwrap_or(1).max(1))
    }

    fn retain_one(&mut self, id: PartitionId, wall: Timestamp) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (config, dir) = (partition.config.clone(), partition.dir);
        let Role::Leader(leader) = &mut partition.role else { return };
        if !config.cleanup.delete {
            return;
        }
        let mut ops = Ops::default();
        if leader.log.segments().active_aged(&config, wall) {
            leader.log.roll(&mut ops);
        }
        let (start, high) = (leader.log.start(), leader.high());
        let limit = if mutant!(RetentionPastHw) { leader.log.end() } else { high };
        let from = leader.log.segments().retained_from(start, limit, &config, wall);
        self.carry_out(id, dir, ops);
        if from > start {
            probe!("retention moves a log's start");
            self.advance_start(id, from);
        }
    }

    pub(super) fn is_full(&self, dir: DirId) -> bool {
        self.dirs.get(usize::from(dir.0)).is_some_and(|d| d.full)
    }

    /// Free bytes, when the directory was last looked at.
    pub(super) fn free_bytes(&self, dir: DirId) -> Option<u64> {
        self.dirs.get(usize::from(dir.0)).and_then(|d| d.free)
    }

    /// All bytes of its file system, when the directory was last looked at.
    pub(super) fn total_bytes(&self, dir: DirId) -> Option<u64> {
        self.dirs.get(usize::from(dir.0)).and_then(|d| d.total)
    }

    pub(super) fn sized(&mut self, dir: DirId, total: u64) {
        if let Some(known) = self.dirs.get_mut(usize::from(dir.0)) {
            known.total = Some(total);
        }
    }

    pub(super) fn mark_full(&mut self, dir: DirId) {
        self.space(dir, 0);
    }

    pub(super) fn ask_space(&mut self) {
        self.timer(SPACE_INTERVAL, Timer::Space);
        for at in 0..self.dirs.len() {
            let dir = DirId(u16::try_from(at).expect("few directories"));
            if self.dir_offline(dir).is_none() {
                self.store(StoreOp::Space { dir }, Pending::Space { dir });
            }
        }
    }

    pub(super) fn space(&mut self, dir: DirId, free: u64) {
        let reserve = self.config.reserve_bytes;
        let Some(known) = self.dirs.get_mut(usize::from(dir.0)) else { return };
        known.free = Some(free);
        let full = free < reserve;
        let was_full = std::mem::replace(&mut known.full, full);
        // Replicas take little, and clients' records none of the reserve.
        if free > 0 {
            self.shape_again(dir);
        }
        if full == was_full {
            return;
        }
        if full {
            let text = format!("log directory {} has {free} bytes free, fewer than its reserve of {reserve}: produce is refused", dir.0);
            self.note(Level::Error, text);
        } else {
            probe!("produce resumes when the disk has room again");
            self.note(Level::Info, format!("log directory {} has room again: produce resumes", dir.0));
            self.keep_epoch_at_last();
        }
    }

    /// The operator wants this node to stop. A broker whose replicas others have hands over first (KIP-841's controlled shutdown).
    pub(super) fn stop(&mut self) {
        if self.phase == Phase::Stopping || self.life.is_leaving {
            return;
        }
        let hands_over = self.config.broker.controlled_shutdown && self.image().brokers().len() > 1;
        if self.phase == Phase::Running && hands_over && self.life.epoch.is_some() {
            self.life.is_leaving = true;
            self.timer(LEAVE_MAX, Timer::Leave);
            return self.beat_now();
        }
        self.leave();
    }

    /// The controller has not let this broker go in time.
    pub(super) fn leave_late(&mut self) {
        if self.life.is_leaving && self.phase != Phase::Stopping {
            let led = self.partitions.values().filter(|partition| partition.leader().is_some_and(|leader| leader.isr().is_some())).count();
            let text = format!(
                "the controller has not released this broker within {} s, and it stops: {led} partitions that it leads have no leader \
                 until it is fenced, or started again",
                LEAVE_MAX.as_secs()
            );
            self.note(Level::Warn, text);
        }
        self.leave();
    }

    /// Finishes what is outstanding, saves what makes the next start quick, then halts.
    pub(super) fn leave(&mut self) {
        if self.phase == Phase::Stopping {
            return;
        }
        self.phase = Phase::Stopping;
        self.life.is_leaving = false;
        let at = self.now.at;
        self.tell_quorum(|quorum, _| quorum.resign(at));
        let snapshots: Vec<_> = self.partitions.values().filter_map(|p| p.open_log().map(|log| (p.dir, log.last_words()))).collect();
        for (dir, (name, bytes)) in snapshots {
            self.store(StoreOp::Save { dir, name, bytes }, Pending::Small { dir });
        }
        let dirs: BTreeSet<DirId> = self.partitions.values().map(|p| p.dir).collect();
        dirs.into_iter().for_each(|dir| self.save_checkpoint(dir, Which::Starts));
        self.save_checkpoints(Which::Highs);
        self.stop_when_quiet();
    }

    pub(super) fn stop_when_quiet(&mut self) {
        // A cleaning ends with the store, and is taken up by the next process.
        let is_quiet = self.pending.values().all(|pending| matches!(pending, Pending::Space { .. } | Pending::Clean { .. }));
        if is_quiet {
            let halt = self.life.refusals.gave_up.clone().map_or(Halt::Stopped, |why| Halt::Unregistered { why });
            self.halt(halt);
        }
    }

    /// What must hold after every step, of everything that it may have changed (see `forget_touched`).
    pub fn check(&self) {
        self.check_metadata();
        self.check_voids();
        for partition in self.partitions.touched() {
            if let Some(log) = partition.open_log() {
                log.check(partition.high());
                // Only the quorum may commit what this disk has not: a majority has it.
                if let Some(isr_leader) = partition.leader().filter(|leader| leader.isr().is_some()) {
                    assert!(self.has_come_in(), "{} is led for a process that has ended", log.name());
                    assert!(isr_leader.high() <= log.durable(), "high {} passed the durable end of {}", isr_leader.high(), log.name());
                    let is_due = isr_leader.isr().and_then(|isr| isr.committed(log.durable())).filter(|due| *due > isr_leader.high());
                    assert!(is_due.is_none(), "high {} of {} lags behind what its ISR has: {is_due:?}", isr_leader.high(), log.name());
                }
            }
        }
    }
}

/// For whoever looks at a broker after each input.
impl Broker {
    /// What it has changed so far has been looked at.
    pub fn forget_touched(&mut self) {
        self.partitions.forget_touched();
    }

    /// All replicas are looked at anew, whether they have changed or not.
    pub fn touch_all(&mut self) {
        self.partitions.touch_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_known_by_its_name_until_its_last_replica_has_moved_away() {
        let mut broker = Broker::for_tests();
        let (topic, name): (Uuid, Arc<str>) = (Uuid([9; 16]), "t".into());
        let config = Arc::new(broker.config.broker.topic_defaults());
        let ids = [0, 1].map(|index| PartitionId { topic, index: PartitionIndex(index) });
        ids.iter().for_each(|id| broker.create_partition(&name, *id, &config));
        broker.delete_partition(ids[1]);
        assert_eq!(broker.names.get("t"), Some(&topic));
        broker.delete_partition(ids[0]);
        assert_eq!(broker.names.get("t"), None);
    }
}
