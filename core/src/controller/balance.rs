//! Plans that nobody asks for: leaders move back to the preferred replica, and partitions without a leader get an unclean one where
//! that is allowed. Source: Kafka's `ReplicationControlManager`.

use super::change::{Election, Target};
use super::draft::Draft;
use super::plan::{Plan, Planner};
use crate::partition::PartitionId;

/// Elections in one plan (Kafka's `MAX_ELECTIONS_PER_IMBALANCE`): the others wait for the next, so that a batch stays small.
const ELECTIONS_MAX: usize = 1000;

impl Planner<'_> {
    /// Elects preferred replicas that are eligible and do not lead, a bounded number. Answers whether there may be more
    /// (`auto.leader.rebalance.enable`; every `leader.imbalance.check.interval.seconds`).
    pub fn balance_leaders(&mut self) -> Plan<bool> {
        let mut draft = Draft::new(self);
        for id in self.image.imbalanced() {
            if draft.len() >= ELECTIONS_MAX {
                break;
            }
            let Some(partition) = self.image.partition(*id) else { continue };
            if partition.replicas.first().is_some_and(|preferred| partition.isr.contains(preferred)) {
                draft.change(*id, Target { election: Election::Preferred, ..Target::of(partition) });
            }
        }
        Plan { response: draft.len() >= ELECTIONS_MAX, records: draft.finish() }
    }

    /// Elects any live replica where nobody leads and the topic allows it, a bounded number. Answers whether there may be more
    /// (every `unclean.leader.election.interval.ms`).
    pub fn elect_unclean_leaders(&mut self) -> Plan<bool> {
        let mut draft = Draft::new(self);
        let waiting: Vec<PartitionId> = self.image.leaderless().iter().copied().collect();
        for id in waiting {
            if draft.len() >= ELECTIONS_MAX {
                break;
            }
            if draft.election(id.topic) == Election::Unclean {
                draft.aim(vec![id], |_, target| target);
            }
        }
        Plan { response: draft.len() >= ELECTIONS_MAX, records: draft.finish() }
    }
}
