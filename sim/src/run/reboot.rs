//! A machine loses power in the moment when a leader asks the controller to take its broker into an ISR, and is back before the controller hears of
//! that (KIP-903). What the former life had fetched is gone by then, and by the metadata nothing has changed but the broker's epoch: it was neither
//! in the ISR nor eligible, so the partition's epoch is still the one that was asked under.
//!
//! ```text
//!   leader ── take in broker, of epoch 7 ──┤ held ├──────────────────────────────► controller   must be refused
//!   broker  ✗ power    starts    registers, of epoch 9    is unfenced ┘
//! ```

use super::{Alarm, Runner};
use crate::cluster::mesh::Proposal;
use crate::plan::Fault;
use crate::stage::SECOND;
use klamm_core::id::{BrokerId, Offset};
use klamm_core::partition::PartitionId;
use klamm_core::partition::isr::Isr;
use klamm_core::partition::leader::Leader;
use klamm_core::wire::api::alter_partition::PartitionData;
use rand::Rng as _;

/// So often a broker stops and starts until such a moment comes, and so long it has for that.
const TRIES: u32 = 4;
const TRY_EVERY: u64 = 3 * SECOND;
/// So long the question is held at most: less than its leader waits for the answer.
const HELD_MAX: u64 = 3 * SECOND;
/// And so long it is waited for that the next life fetches, once it is unfenced.
const FETCHES_WITHIN: u64 = SECOND / 2;
/// How often it is looked whether the broker is back, and for how much longer everything is held then.
const LOOK_EVERY: u64 = SECOND / 1_000;
const HOLD_FOR: u64 = 3 * LOOK_EVERY;
/// So long the broker and the leader stay apart behind that: a question that is asked again takes a retry, a few messages and a commit.
const APART: u64 = SECOND / 2;

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reboot {
    /// Nobody was asked for yet.
    Awaited { away: u64, down: u64, is_lost: bool, first: u32, tries: u32 },
    /// The question is held, and the broker not in its next life.
    Held { joiner: Joiner, until: u64, is_lost: bool },
}

/// Who is asked for, and of whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joiner {
    leader: u32,
    controller: u32,
    broker: u32,
    /// The life that is asked for.
    epoch: i64,
    partition: PartitionId,
    /// What it has by what its leader knows.
    end: Offset,
}

impl Runner {
    /// A machine is to lose power as its broker joins: brokers stop and start, so that one will.
    pub(super) fn await_joiner(&mut self, away: u64, down: u64, is_lost: bool) {
        self.mesh.watch_proposals(true);
        self.reboot = Some(Reboot::Awaited { away, down, is_lost, first: self.rng.random_range(0..self.plan.nodes), tries: 0 });
        self.go_on_to_reboot();
    }

    /// Has another broker join, or holds what was asked for longer.
    pub(super) fn go_on_to_reboot(&mut self) {
        match self.reboot {
            Some(Reboot::Awaited { away, down, is_lost, first, tries }) if tries < TRIES => {
                self.reboot = Some(Reboot::Awaited { away, down, is_lost, first, tries: tries + 1 });
                self.have_one_join(first + tries, away);
                self.alarm(self.mesh.now() + away + TRY_EVERY, Alarm::Reboot);
            }
            Some(Reboot::Held { joiner, until, is_lost }) => self.hold_proposal(joiner, until, is_lost),
            Some(Reboot::Awaited { .. }) | None => {}
        }
    }

    /// A broker on another node than the active controller's stops and starts: each time another one, since who leads what it joins may be that node.
    fn have_one_join(&mut self, number: u32, away: u64) {
        let controller = self.active_controller();
        let others: Vec<u32> = self.plan.brokers().filter(|node| Some(*node) != controller).collect();
        self.restart(others[number as usize % others.len()], away);
    }

    fn active_controller(&self) -> Option<u32> {
        let led = |node: u32| Some((self.mesh.node(node).broker()?.view().quorum_led()?, node));
        self.plan.voters().filter_map(led).max().map(|(_, node)| node)
    }

    /// Looks whether a leader has asked for a broker that may lose its power.
    pub(super) fn look_for_joiner(&mut self) {
        let Some(Reboot::Awaited { down, is_lost, .. }) = self.reboot else { return };
        if self.healed {
            self.reboot = None;
            return self.mesh.watch_proposals(false);
        }
        let proposals = self.mesh.proposals();
        let Some(joiner) = proposals.iter().find_map(|proposal| self.joiner_of(proposal)) else { return };
        self.mesh.watch_proposals(false);
        self.mesh.befell(joiner.leader, format!("what it asks is held: {joiner:?}"));
        self.hold_proposal(joiner, self.mesh.now() + HELD_MAX, is_lost);
        self.station(joiner.broker).down = down;
        self.mesh.crash(joiner.broker, true);
        self.station(joiner.broker).ledger.bit(Fault::RebootInProposal { away: 0, down, is_lost }.name());
    }

    /// The broker that is asked for, if nothing but its epoch will tell that it has been away: who is in the ISR or eligible leaves it by registering
    /// anew, which moves the partition's epoch.
    fn joiner_of(&mut self, proposal: &Proposal) -> Option<Joiner> {
        let Proposal { leader, controller, ref asked } = *proposal;
        let all = asked.topics.iter().flat_map(|topic| topic.partitions.iter().map(|data| (topic.topic_id, data)));
        all.into_iter().find_map(|(topic, data)| {
            let id = PartitionId { topic, index: data.partition_index };
            let (broker, epoch) = self.joins(leader, id, data)?;
            let end = self.isr_of(leader, id)?.end_of(BrokerId(broker as i32))?;
            (broker != controller && self.may_lose(broker, id)).then_some(Joiner { leader, controller, broker, epoch, partition: id, end })
        })
    }

    fn joins(&mut self, leader: u32, id: PartitionId, data: &PartitionData) -> Option<(u32, i64)> {
        let image = self.mesh.oracle().image();
        let decided =
            image.partition(id).filter(|p| p.leader == Some(BrokerId(leader as i32)) && p.partition_epoch == data.partition_epoch)?;
        let is_outside = |broker: &BrokerId| !decided.isr.contains(broker) && !decided.elr.contains(broker);
        let is_present =
            |broker: &BrokerId, epoch| image.brokers().get(broker).is_some_and(|known| known.epoch == epoch && !known.is_fenced);
        let mut members = data.new_isr_with_epochs.iter();
        let joins = members.find(|member| is_outside(&member.broker_id) && is_present(&member.broker_id, member.broker_epoch))?;
        Some((joins.broker_id.0 as u32, joins.broker_epoch))
    }

    /// Whether a broker that is up would lose something of a replica with its power.
    fn may_lose(&self, broker: u32, id: PartitionId) -> bool {
        let node = self.mesh.node(broker);
        let folder = node.broker().and_then(|broker| Some(broker.view().partitions().find(|partition| partition.id == id)?.folder()));
        folder.is_some_and(|folder| node.disks().iter().any(|disk| disk.has_unsynced(&folder)))
    }

    fn isr_of(&self, leader: u32, id: PartitionId) -> Option<&Isr> {
        let mut partitions = self.mesh.node(leader).broker()?.view().partitions();
        partitions.find(|partition| partition.id == id)?.leader().and_then(Leader::isr)
    }

    /// Holds what was asked a little longer, until the broker is there in its next life, or that takes too long. Meanwhile it is not filled again.
    fn hold_proposal(&mut self, joiner: Joiner, mut until: u64, is_lost: bool) {
        let Joiner { leader, controller, broker, .. } = joiner;
        let now = self.mesh.now();
        let is_back = self.is_in_next_life(joiner);
        if is_back {
            until = until.min(now + FETCHES_WITHIN);
        }
        self.reboot = Some(Reboot::Held { joiner, until, is_lost });
        let is_over = self.healed || now > until || (is_back && (!is_lost || self.has_fetched_again(joiner)));
        // What the next life fetches may arrive where it is to be heard, and what it is answered may not.
        let apart_until = now + if is_over { APART } else { HOLD_FOR };
        self.mesh.cut_one_way(leader, broker, apart_until);
        if !is_lost {
            self.mesh.cut_one_way(broker, leader, apart_until);
        }
        if !is_over {
            self.mesh.stall_control(leader, controller, now + HOLD_FOR);
            return self.alarm(now + LOOK_EVERY, Alarm::Reboot);
        }
        self.reboot = None;
        self.mesh.befell(leader, format!("what it asked is {}", if is_lost { "lost" } else { "on its way again" }));
        if is_lost {
            self.mesh.break_control(leader, controller);
        }
    }

    /// Whether the broker is registered anew, and unfenced.
    fn is_in_next_life(&mut self, joiner: Joiner) -> bool {
        let registered = self.mesh.oracle().image().brokers().get(&BrokerId(joiner.broker as i32));
        registered.is_some_and(|known| known.epoch > joiner.epoch && !known.is_fenced)
    }

    /// Whether the leader knows that it has less.
    fn has_fetched_again(&self, joiner: Joiner) -> bool {
        let end = self.isr_of(joiner.leader, joiner.partition).and_then(|isr| isr.end_of(BrokerId(joiner.broker as i32)));
        end.is_none_or(|end| end < joiner.end)
    }
}
