//! The last that happens to a cluster that is whole: one of its brokers dies, for good, and others must serve soon what it held.
//! Looks at the nodes from within; never produces.

use super::Runner;
use crate::chance::Matter;
use crate::stage::SECOND;
use klamm_core::id::BrokerId;
use klamm_core::partition::isr::Isr;
use klamm_core::partition::leader::Leader;
use klamm_core::partition::{Partition, PartitionId};
use rand::Rng as _;

/// Whoever is in sync must lead within this, and know everything to be committed. Who dies is known by its connections, and the controller may have to be
/// elected first: that takes less than the `broker.session.timeout.ms` of most plans.
const LIMIT: u64 = 3 * SECOND / 2;
/// A broker that stops and comes back is asked for by some leader within this, unless it has no replica that another one leads.
const COMING_BACK: u64 = 10 * SECOND;
/// The dead one stays away for longer than anything is looked at.
const FOR_GOOD: u64 = 1_000 * SECOND;

impl Runner {
    /// Kills some broker, unless too few voters would be left, and waits until whatever it held is served by others. In half of the runs it dies as it is
    /// about to be in sync again, and nobody knows yet whether it is.
    pub(super) fn fail_over(&mut self) {
        let victims: Vec<u32> = self.plan.brokers().filter(|node| self.voters_are_enough_without(*node)).collect();
        if !self.violations.is_empty() || victims.is_empty() {
            return;
        }
        let mut rng = self.chance.rng(Matter::FailOver);
        let victim = victims[rng.random_range(0..victims.len())];
        let is_joining = rng.random_bool(0.5);
        if is_joining && !self.come_back(victim) {
            return;
        }
        let held = self.mesh.oracle().held_with_others(BrokerId(victim as i32));
        self.station(victim).down = FOR_GOOD;
        self.mesh.crash(victim, false);
        let (since, limit) = (self.mesh.now(), self.mesh.now() + LIMIT);
        while held.iter().any(|id| !self.is_served_by_others(*id, victim)) && self.step(limit) {}
        let (left, after) = (held.iter().filter(|id| !self.is_served_by_others(**id, victim)).count(), self.mesh.now() - since);
        if left > 0 && self.violations.is_empty() {
            let ms = LIMIT / 1_000_000;
            self.violations.push(format!("liveness: {left} partitions are not served {ms} ms after node {victim} of a whole cluster died"));
        }
        self.failover_ns = (!held.is_empty() && !is_joining).then_some(after);
    }

    /// Has a broker stop and start again, up to the moment when a leader asks the controllers to take it in. That one's connections to them break then.
    /// Says whether it came to that.
    fn come_back(&mut self, victim: u32) -> bool {
        self.station(victim).down = SECOND / 10;
        self.mesh.stop(victim);
        let limit = self.mesh.now() + COMING_BACK;
        while self.step(limit) {
            if let Some(leader) = self.asks_for(victim) {
                self.mesh.hang_up_on_controllers(leader);
                return true;
            }
        }
        false
    }

    /// Who asks the controllers to take this broker into an ISR.
    fn asks_for(&self, broker: u32) -> Option<u32> {
        let broker = BrokerId(broker as i32);
        let joins = |isr: &Isr| isr.proposed().is_some_and(|proposed| proposed.contains(&broker)) && !isr.confirmed().contains(&broker);
        let leads = |partition: &Partition| partition.leader().and_then(Leader::isr).is_some_and(joins);
        self.plan.brokers().find(|node| self.mesh.node(*node).broker().is_some_and(|broker| broker.view().partitions().any(leads)))
    }

    fn voters_are_enough_without(&self, node: u32) -> bool {
        let views = self.plan.nodes().filter(|other| *other != node).filter_map(|other| Some(self.mesh.node(other).broker()?.view()));
        let voters = views.filter_map(|view| view.quorum_voters()).max_by_key(|voters| voters.iter().count());
        voters.is_some_and(|voters| {
            let left = voters.iter().filter(|voter| voter.id != BrokerId(node as i32)).count();
            left > voters.iter().count() / 2
        })
    }

    /// Whether another broker plays the part of the leader, not only by the metadata, waits no more for the dead one, and knows everything to be committed,
    /// if enough are in sync for that.
    fn is_served_by_others(&self, id: PartitionId, victim: u32) -> bool {
        let mut others = self.plan.brokers().filter(|node| *node != victim).filter_map(|node| Some(self.mesh.node(node).broker()?.view()));
        let is_served = |partition: &Partition| {
            let Some((leader, isr)) = partition.leader().and_then(|leader| Some((leader, leader.isr()?))) else { return false };
            !isr.counting().any(|member| *member == BrokerId(victim as i32)) && (isr.is_under_min() || leader.high() == leader.log.end())
        };
        others.any(|view| view.partitions().any(|partition| partition.id == id && is_served(partition)))
    }
}
