//! What follows for partitions when a broker is fenced, unfenced, stops, loses its tail or a directory.
//!
//! Source: Kafka's `ReplicationControlManager` (KIP-631, KIP-841, KIP-858, KIP-966).

use super::change::Target;
use super::draft::{Draft, directory};
use super::image::{Partition, Registration};
use super::plan::Planner;
use super::record::Record;
use crate::id::{BrokerId, Uuid};
use crate::partition::PartitionId;
use crate::wire::records::metadata::BrokerRegistrationChangeRecord;

impl Planner<'_> {
    /// The broker leaves every ISR, leads nothing, and is fenced.
    pub fn fence_broker(&mut self, broker: BrokerId) -> Vec<Record> {
        let mut draft = Draft::new(self);
        draft.fence(broker);
        draft.finish()
    }

    /// The broker may lead: it is elected where nobody leads and it is eligible.
    pub fn unfence_broker(&mut self, broker: BrokerId) -> Vec<Record> {
        let mut draft = Draft::new(self);
        draft.unfence(broker);
        draft.finish()
    }
}

impl Draft<'_> {
    /// Fences a broker that is not: first nobody counts on it, then it is told.
    pub(super) fn fence(&mut self, broker: BrokerId) {
        let Some(registration) = self.broker(broker).filter(|b| !b.is_fenced).cloned() else { return };
        let change = BrokerRegistrationChangeRecord { fenced: 1, ..of(broker, &registration) };
        self.count_as(broker, Registration { is_fenced: true, ..registration });
        self.leave(broker);
        self.push(Record::BrokerRegistrationChange(change));
    }

    /// Unfences a broker that is fenced, and holds the elections that waited for one more.
    pub(super) fn unfence(&mut self, broker: BrokerId) {
        let Some(registration) = self.broker(broker).filter(|b| b.is_fenced).cloned() else { return };
        let change = BrokerRegistrationChangeRecord { fenced: -1, ..of(broker, &registration) };
        self.count_as(broker, Registration { is_fenced: false, ..registration });
        self.push(Record::BrokerRegistrationChange(change));
        let waiting: Vec<PartitionId> = self.image().leaderless().iter().copied().collect();
        self.aim(waiting, |_, target| target);
    }

    /// Begins a broker's controlled shutdown: others lead from here on.
    pub(super) fn stop(&mut self, broker: BrokerId) {
        let Some(registration) = self.broker(broker).filter(|b| !b.is_stopping).cloned() else { return };
        let change = BrokerRegistrationChangeRecord { in_controlled_shutdown: 1, ..of(broker, &registration) };
        self.count_as(broker, Registration { is_stopping: true, ..registration });
        self.push(Record::BrokerRegistrationChange(change));
        self.leave(broker);
    }

    /// A broker that does not count any more leaves every ISR. Where that makes it too small it stays eligible.
    pub(super) fn leave(&mut self, broker: BrokerId) {
        let in_sync = self.assigned(broker, |partition| partition.isr.contains(&broker));
        self.aim(in_sync, |_, target| target.without(broker));
    }

    /// A broker that may have lost records leaves every ISR and ELR.
    pub(super) fn lose(&mut self, broker: BrokerId) {
        self.lose_what(broker, |_| true);
    }

    /// A broker comes with other directories than before: a replica that lies nobody knows where may have been in one that is gone.
    pub(super) fn lose_untold(&mut self, broker: BrokerId) {
        self.lose_what(broker, |partition| partition.directory(broker).is_some_and(directory::is_reserved));
    }

    fn lose_what(&mut self, broker: BrokerId, is_lost: impl Fn(&Partition) -> bool) {
        let is_trusted = |partition: &Partition| partition.isr.contains(&broker) || partition.elr.contains(&broker);
        let trusted = self.assigned(broker, |partition| is_trusted(partition) && is_lost(partition));
        self.aim(trusted, |_, target| Target { lost: Some(broker), ..target.without(broker) });
    }

    /// Log directories failed: the replicas there leave their ISRs.
    pub(super) fn fail_directories(&mut self, broker: BrokerId, offline: &[Uuid]) {
        let Some(registration) = self.broker(broker).cloned() else { return };
        let (failed, online): (Vec<Uuid>, Vec<Uuid>) = registration.directories.iter().partition(|dir| offline.contains(dir));
        if failed.is_empty() {
            return;
        }
        let change = BrokerRegistrationChangeRecord { log_dirs: online.clone(), ..of(broker, &registration) };
        self.count_as(broker, Registration { directories: online, ..registration });
        let lay_there = self.assigned(broker, |partition| partition.directory(broker).is_some_and(|dir| failed.contains(&dir)));
        self.aim(lay_there, |_, target| target.without(broker));
        self.push(Record::BrokerRegistrationChange(change));
    }

    /// The partitions on `broker` for which `is_meant` holds as the plan leaves them.
    fn assigned(&self, broker: BrokerId, is_meant: impl Fn(&Partition) -> bool) -> Vec<PartitionId> {
        self.image().assigned(broker).filter(|id| self.partition(*id).is_some_and(&is_meant)).collect()
    }

    /// Changes each partition to what `towards` makes of it as it is, with the elections that its topic allows.
    pub(super) fn aim(&mut self, ids: Vec<PartitionId>, towards: impl Fn(&Partition, Target) -> Target) {
        for id in ids {
            let election = self.election(id.topic);
            let Some(partition) = self.partition(id) else { continue };
            let target = towards(partition, Target { election, ..Target::of(partition) });
            self.change(id, target);
        }
    }
}

fn of(broker: BrokerId, registration: &Registration) -> BrokerRegistrationChangeRecord {
    BrokerRegistrationChangeRecord { broker_id: broker, broker_epoch: registration.epoch, ..Default::default() }
}
