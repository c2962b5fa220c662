//! One partition as the controller decided it, and what a record makes of it.

use super::draft::directory;
use super::image::{Contradiction, Registration, refuse};
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::wire::records::metadata::{PartitionChangeRecord, PartitionRecord};
use std::collections::BTreeMap;

/// One partition, as the controller decided it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    /// Assigned replicas; the first one is the preferred leader.
    pub replicas: Vec<BrokerId>,
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Replicas that are on their way out.
    pub removing: Vec<BrokerId>,
    /// Replicas that are on their way in.
    pub adding: Vec<BrokerId>,
    /// Who leads.
    pub leader: Option<BrokerId>,
    /// Whether the leader came by an unclean election and has not recovered yet.
    pub is_recovering: bool,
    /// Grows with each election.
    pub leader_epoch: LeaderEpoch,
    /// Grows with each change.
    pub partition_epoch: i32,
    /// Where each replica lies, in the order of `replicas`.
    pub directories: Vec<Uuid>,
    /// Eligible leader replicas.
    pub elr: Vec<BrokerId>,
    /// The last leader, when nobody is eligible any more.
    pub last_known_elr: Vec<BrokerId>,
}

impl Partition {
    pub(super) fn of(record: &PartitionRecord) -> Self {
        Self {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing: record.removing_replicas.clone(),
            adding: record.adding_replicas.clone(),
            leader: Some(record.leader).filter(|leader| leader.0 >= 0),
            is_recovering: record.leader_recovery_state == 1,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            directories: record.directories.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
        }
    }

    /// How many members the ISR must have before records count as acknowledged: `min.insync.replicas`, but no more than there are replicas.
    #[must_use]
    pub fn min_isr(&self, configured: usize) -> usize {
        configured.min(self.replicas.len())
    }

    /// Where the replica on `broker` lies; `None` if there is none.
    #[must_use]
    pub fn directory(&self, broker: BrokerId) -> Option<Uuid> {
        let at = self.replicas.iter().position(|id| *id == broker)?;
        Some(self.directories.get(at).copied().unwrap_or(directory::MIGRATING))
    }

    /// Whether another replica than the one on `broker` holds all that is committed.
    #[must_use]
    pub fn is_held_by_others(&self, broker: BrokerId) -> bool {
        self.isr.iter().chain(&self.elr).any(|member| *member != broker)
    }

    /// Whether the replica on `broker` can be given up: another one that holds all that is committed can lead at once. Whoever is away may have
    /// lost something, and says so only when it comes back.
    #[must_use]
    pub fn can_spare(&self, broker: BrokerId, brokers: &BTreeMap<BrokerId, Registration>) -> bool {
        let can_lead = |member: &BrokerId| brokers.get(member).is_some_and(|other| other.may_lead(self.directory(*member)));
        self.isr.iter().chain(&self.elr).any(|member| *member != broker && can_lead(member))
    }

    /// Whether records could not be acknowledged without the replica on `broker`, while another one is on its way back already. `min`: what is
    /// configured, as in [`Self::min_isr`].
    #[must_use]
    pub fn needs(&self, broker: BrokerId, min: usize) -> bool {
        self.isr.contains(&broker) && self.isr.len() == self.min_isr(min) && self.isr.len() < self.replicas.len()
    }

    /// Whether replicas are on their way in or out.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The partition after `record`. A leader in the record means an election, even if it is the same one.
    pub(super) fn changed(&self, record: &PartitionChangeRecord) -> Self {
        let mut next = self.clone();
        let set = |field: &mut Vec<BrokerId>, value: &Option<Vec<BrokerId>>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        set(&mut next.isr, &record.isr);
        set(&mut next.replicas, &record.replicas);
        set(&mut next.removing, &record.removing_replicas);
        set(&mut next.adding, &record.adding_replicas);
        set(&mut next.elr, &record.eligible_leader_replicas);
        set(&mut next.last_known_elr, &record.last_known_elr);
        if let Some(directories) = &record.directories {
            next.directories.clone_from(directories);
        }
        if record.leader.0 != -2 {
            next.leader = Some(record.leader).filter(|leader| leader.0 >= 0);
            next.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        }
        if record.leader_recovery_state != -1 {
            next.is_recovering = record.leader_recovery_state == 1;
        }
        next.partition_epoch += 1;
        next
    }

    pub(super) fn check(&self, topic: &str, index: PartitionIndex) -> Result<(), Contradiction> {
        if self.replicas.is_empty() {
            return refuse(format!("{topic}-{index} has no replicas"));
        }
        if let Some(stranger) = self.isr.iter().find(|member| !self.replicas.contains(member)) {
            return refuse(format!("{topic}-{index}: {stranger} is in the ISR and no replica"));
        }
        if let Some(both) = self.isr.iter().find(|member| self.elr.contains(member)) {
            return refuse(format!("{topic}-{index}: {both} is in the ISR and the ELR"));
        }
        match self.leader {
            Some(leader) if !self.isr.contains(&leader) => refuse(format!("{topic}-{index}: {leader} leads and is not in the ISR")),
            Some(_) | None => Ok(()),
        }
    }
}
