//! Elections that nobody asks for: the active controller moves leaders back to the preferred replicas, and elects unclean ones where that has become
//! allowed (`auto.leader.rebalance.enable`, `unclean.leader.election.enable`). Source: the periodic tasks of Kafka's `QuorumController`.

use super::admin::After;
use super::{Broker, Timer, ms};
use crate::controller::Plan;
use crate::probe;
use crate::time::Instant;
use std::time::Duration;

/// What is left over by one plan's bound follows after so long.
const NEXT: Duration = Duration::from_millis(10);

/// When they are due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Elections {
    balance: Option<Instant>,
    unclean: Option<Instant>,
}

impl Broker {
    /// This node has become the active controller.
    pub(super) fn watch_leaders(&mut self) {
        if self.config.broker.auto_leader_rebalance {
            self.balance_in(ms(self.config.broker.leader_imbalance_check_ms));
        }
        // What was allowed under another controller may not be carried out yet.
        self.elect_unclean_in(Duration::ZERO);
    }

    fn balance_in(&mut self, after: Duration) {
        self.elections.balance = Some(self.timer(after, Timer::Balance));
    }

    /// Settings have changed, or time has passed.
    pub(super) fn elect_unclean_in(&mut self, after: Duration) {
        if self.admin.controller.is_active() {
            self.elections.unclean = Some(self.timer(after, Timer::Unclean));
        }
    }

    /// Whether that is the newest of its timers, on an active controller.
    fn is_due(&self, at: Option<Instant>) -> bool {
        self.admin.controller.is_active() && at.is_some_and(|at| at <= self.now.at)
    }

    pub(super) fn balance_leaders(&mut self) {
        if !self.is_due(self.elections.balance) {
            return;
        }
        let Plan { records, response: has_more } = self.plan(|planner| planner.balance_leaders());
        if !records.is_empty() {
            probe!("leaders move back to their preferred replicas by themselves");
            self.propose(records, After::Nothing);
        }
        self.balance_in(if has_more { NEXT } else { ms(self.config.broker.leader_imbalance_check_ms) });
    }

    pub(super) fn elect_unclean_leaders(&mut self) {
        if !self.is_due(self.elections.unclean) {
            return;
        }
        let Plan { records, response: has_more } = self.plan(|planner| planner.elect_unclean_leaders());
        if !records.is_empty() {
            probe!("a partition that nobody led gets an unclean leader, since its topic allows it now");
            self.propose(records, After::Nothing);
        }
        self.elect_unclean_in(if has_more { NEXT } else { ms(self.config.broker.unclean_election_interval_ms) });
    }
}
