//! Plans that nobody asks for: leaders move back to the preferred replica, and leaderless partitions get an unclean leader where that is allowed.

use super::plan::{Plan, Planner};

impl Planner<'_> {
    /// Elects preferred leaders where they do not lead, a bounded number. Answers whether there may be more
    /// (`auto.leader.rebalance.enable`; every `leader.imbalance.check.interval.seconds`).
    pub fn balance_leaders(&mut self) -> Plan<bool> {
        Plan { records: Vec::new(), response: false }
    }

    /// Elects any live replica where nobody leads and the topic allows it, a bounded number. Answers whether there may be more
    /// (every `unclean.leader.election.interval.ms`).
    pub fn elect_unclean_leaders(&mut self) -> Plan<bool> {
        Plan { records: Vec::new(), response: false }
    }
}
