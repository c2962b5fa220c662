//! Which role each partition plays here: what the metadata says, as soon as the log is open. A log changes hands only in `step_down`.

use super::boot::METADATA;
use super::checkpoints::Which;
use super::io::Level;
use super::{Broker, Token};
use crate::controller::{directory, image};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::log::{Log, Recovered};
use crate::partition::follower::Follower;
use crate::partition::isr::Isr;
use crate::partition::leader::{Commit, Leader, ProduceWait};
use crate::partition::{Led, Loss, Owner, PartitionId, Role, Shape};
use crate::{mutant, probe};

impl Broker {
    /// A partition's log is open: it plays its role from now on.
    pub(super) fn opened(&mut self, id: PartitionId, found: Recovered) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let durability = partition.owner.durability(self.config.broker.durability);
        let log = Log::new(partition.log, partition.folder(), durability, found);
        let high = partition.high;
        partition.role = Role::Follower(Box::new(Follower::new(LeaderEpoch(-1), None, log, high)));
        let was_refused = partition.refused.take().is_some();
        if partition.owner == Owner::Controller {
            return self.metadata_opened();
        }
        if let Some(first) = self.partitions.get_mut(&id).and_then(|partition| partition.first.take()) {
            self.replicate(id, &first, false);
        }
        if was_refused {
            probe!("what a full disk refused a log is done");
            let text = format!("{} is online: there was room for what had to be done with its log", self.partitions[&id].folder());
            self.note(Level::Info, text);
        }
        self.copy_anew(id);
        self.play(id);
        self.look_at_place(id);
    }

    /// What the committed metadata says of a partition.
    pub(super) fn decided(&self, id: PartitionId) -> Option<&image::Partition> {
        self.image().topic_by_id(id.topic)?.partitions.get(&id.index)
    }

    /// Whether the metadata knows of this process. What it says before was decided of one that has ended: had that one lost the tail of a log, this one
    /// would write other records of the same leader epoch there, which nobody could tell apart. Its registration ends all leadership (KIP-966).
    pub(super) fn has_come_in(&self) -> bool {
        let known = self.image().brokers().get(&self.config.broker.id);
        known.is_some_and(|known| known.incarnation == self.life.incarnation)
    }

    /// Takes up what the metadata says, as far as it is news.
    pub(super) fn play(&mut self, id: PartitionId) {
        let Some(mut decided) = self.decided(id).cloned() else { return };
        let me = self.config.broker.id;
        if decided.leader == Some(me) && !self.has_come_in() && !mutant!(FormerLifeLeads) {
            decided.leader = None;
        }
        let Some(partition) = self.partitions.get(&id) else { return };
        if decided.directory(me) == Some(directory::LOST) && partition.holds_damage() && !mutant!(GivenUpFollows) {
            // Before the answer that says so. Did it follow with the log that is to be emptied, it would count as in sync.
            return self.given_up(id);
        }
        let leads = decided.leader == Some(me);
        match &partition.role {
            Role::Offline { loss: Loss::Given, .. } => self.fill_anew(id, &decided),
            Role::Opening | Role::Offline { loss: Loss::Log | Loss::Room | Loss::Directory, .. } => {}
            Role::Leader(leader) if leads && leader.epoch == decided.leader_epoch => self.isr_decided(id, &decided),
            Role::Follower(follower) if !leads && (follower.epoch, follower.leader) == (decided.leader_epoch, decided.leader) => {}
            Role::Leader(_) | Role::Follower(_) if leads => self.lead(id, &decided),
            Role::Leader(_) | Role::Follower(_) => self.follow_partition(id, decided.leader_epoch, decided.leader),
        }
        self.look_at_place(id);
    }

    fn lead(&mut self, id: PartitionId, decided: &image::Partition) {
        let me = self.config.broker.id;
        let Some((log, high)) = self.step_down(id) else { return };
        let now = self.now.at;
        let partition = self.partitions.get_mut(&id).expect("its log was just taken");
        let mut isr = match partition.led.take() {
            Some(Led { epoch, mut isr, until }) if epoch == decided.leader_epoch => {
                probe!("a leader goes on with its ISR after its log was opened anew");
                isr.paused(now.since(until));
                isr.decided(&decided.replicas, &decided.isr, decided.partition_epoch, now);
                isr
            }
            Some(_) | None => Isr::new(me, &decided.replicas, &decided.isr, decided.partition_epoch, now),
        };
        let is_asking = isr.proposed().is_some();
        isr.set_min(usize::try_from(partition.config.min_insync_replicas).unwrap_or(usize::MAX));
        let (owner, end) = (partition.owner, log.end());
        partition.role = Role::Leader(Box::new(Leader::new(decided.leader_epoch, log, high, Commit::Isr(isr))));
        self.led_anew(id, owner);
        self.advance(id);
        if is_asking {
            self.ask_again(id);
        } else if decided.is_recovering {
            let folder = self.partitions[&id].folder();
            let text = format!(
                "{folder} is led here by an unclean election: what was committed beyond the end of this replica, at {end}, is lost"
            );
            self.note(Level::Warn, text);
            // KIP-704: what an unclean election left is what the log is from now on; the controller is told so.
            self.propose_isr(id, decided.isr.iter().copied().collect());
        }
    }

    fn follow_partition(&mut self, id: PartitionId, epoch: LeaderEpoch, leader: Option<BrokerId>) {
        let Some((log, high)) = self.step_down(id) else { return };
        let partition = self.partitions.get_mut(&id).expect("its log was just taken");
        let lags = high < log.end();
        partition.led = None;
        partition.role = Role::Follower(Box::new(Follower::new(epoch, leader, log, high)));
        if let Some(leader) = leader {
            self.fetch_from(leader, id);
            if mutant!(TruncToHw) && lags {
                self.cut(id, high);
            }
        }
    }

    /// The controller has decided anew who is in sync.
    fn isr_decided(&mut self, id: PartitionId, decided: &image::Partition) {
        let now = self.now.at;
        let Some(isr) = self.partitions.get_mut(&id).and_then(|p| p.leader_mut()).and_then(Leader::isr_mut) else { return };
        let before = isr.confirmed().clone();
        isr.decided(&decided.replicas, &decided.isr, decided.partition_epoch, now);
        self.tell_isr(id, &before);
        // KAFKA-13091: who has left holds the high watermark back no longer, and nobody may fetch again to say so.
        if !mutant!(HwStuckAfterShrink) {
            self.advance(id);
        }
    }

    /// Ends the role that a partition plays, and hands over its log: waits fail, fetches look again, what was computed from the log is void.
    /// The partition has no role then; the caller gives it one. `None` where its log is not open.
    pub(super) fn step_down(&mut self, id: PartitionId) -> Option<(Log, Offset)> {
        let partition = self.partitions.get_mut(&id)?;
        let (owner, high) = (partition.owner, partition.high());
        partition.high = high;
        partition.led = partition.role.led(self.now.at).or(partition.led.take());
        match std::mem::replace(&mut partition.role, Role::Opening) {
            Role::Leader(leader) => {
                let log = self.end_leadership(id, owner, *leader, ErrorCode::NOT_LEADER_OR_FOLLOWER);
                Some((log, high))
            }
            Role::Follower(follower) => {
                self.fetch_no_more(id);
                follower.fetches.into_iter().for_each(|token| self.look_again(token));
                Some((follower.log, high))
            }
            offline @ Role::Offline { .. } => {
                self.partitions.get_mut(&id).expect("looked at above").role = offline;
                None
            }
            Role::Opening => None,
        }
    }

    /// Whoever waits for this leader is told so by `code`.
    pub(super) fn end_leadership(&mut self, id: PartitionId, owner: Owner, leader: Leader, code: ErrorCode) -> Log {
        let Leader { mut until_written, mut until_high, fetches, replica_fetches, log, .. } = leader;
        let waits: Vec<ProduceWait> = until_written.fail().into_iter().chain(until_high.fail()).collect();
        if !waits.is_empty() {
            probe!("a leader steps down while produce requests wait");
        }
        self.appends_lost(id, owner);
        let code = if mutant!(AckAfterStepdown) { ErrorCode::NONE } else { code };
        waits.into_iter().for_each(|wait| self.produced(wait, code));
        self.look_at_deletions(|wanted| wanted == id);
        let fetches: Vec<Token> = fetches.into_iter().chain(replica_fetches).collect();
        fetches.into_iter().for_each(|token| self.look_again(token));
        log
    }

    /// The leader's log parts from ours within `epoch`, which ended there at `end`: what lies behind is cut (KIP-101, KIP-279).
    pub(super) fn cut_diverged(&mut self, id: PartitionId, epoch: LeaderEpoch, end: Offset) {
        let Some(follower) = self.partitions.get(&id).and_then(|p| p.follower()) else { return };
        let (_, ours) = follower.log.epochs().end_of(epoch, follower.log.end());
        let (to, start) = (ours.min(end), follower.log.start());
        match follower.leader.filter(|_| to < start && id != METADATA && !mutant!(DivergedCutToStart)) {
            // An unclean leader has nothing of what this log begins with: where its own begins and ends says where to go on.
            Some(leader) => self.out_of_range(leader, id),
            None => self.cut(id, to.clamp(start, follower.log.end())),
        }
    }

    /// Cuts a follower's log so that it ends at `to`; it plays on when the store is done.
    pub(super) fn cut(&mut self, id: PartitionId, to: Offset) {
        probe!("a follower cuts its log");
        let Some(partition) = self.partitions.get(&id) else { return };
        let log = partition.log;
        if id == METADATA {
            assert!(to >= self.admin.controller.applied(), "committed metadata would be cut at {to}");
        }
        self.tell_cut(id, to);
        if self.step_down(id).is_none() {
            return;
        }
        let partition = self.partitions.get_mut(&id).expect("looked at above");
        let is_lower = to < partition.high;
        if is_lower {
            probe!("a follower cuts what it believed to be committed");
            partition.high = to;
        }
        partition.life += 1;
        self.tails.forget(log);
        if is_lower {
            self.save_checkpoints(Which::Highs);
        }
        self.shape(id, Shape::Truncate { to });
    }
}

#[cfg(test)]
mod tests {
    use super::super::isr::tests::{T, asking};
    use super::*;
    use crate::id::Uuid;
    use crate::time::Now;
    use std::time::Duration;

    #[test]
    fn the_time_in_which_a_leader_opens_its_log_is_not_held_against_its_followers() {
        let mut broker = asking();
        let (log, high) = broker.step_down(T).expect("its log is open");
        let partition = broker.partitions.get_mut(&T).expect("it is here");
        partition.role = Role::Follower(Box::new(Follower::new(LeaderEpoch(0), None, log, high)));
        broker.now = Now { at: broker.now.at.after(Duration::from_secs(40)), ..broker.now };
        let [me, other] = [1, 2].map(BrokerId);
        let decided = image::Partition {
            replicas: vec![me, other],
            isr: vec![me, other],
            removing: Vec::new(),
            adding: Vec::new(),
            leader: Some(me),
            is_recovering: false,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 1,
            directories: vec![Uuid::ZERO; 2],
            elr: Vec::new(),
            last_known_elr: Vec::new(),
        };
        broker.lead(T, &decided);
        let isr = broker.partitions[&T].leader().and_then(Leader::isr).expect("it leads");
        assert_eq!((isr.proposed(), isr.confirmed()), (None, &[me, other].into()));
        assert_eq!(isr.shrunk(broker.now.at, Duration::from_secs(30), Offset(1)), None);
    }
}
