//! What a broker is at, in a few lines: for the report of a run that is stuck.

use super::Broker;
use crate::partition::Role;
use std::fmt::Write as _;

impl Broker {
    /// Phase, quorum, registration, calls under way, and every partition's role and watermarks.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let quorum = self.quorum.as_ref().map(|q| (q.role(), q.epoch(), q.leader().map(|(id, _)| id)));
        let controller = &self.admin.controller;
        let metadata = (controller.applied(), controller.end(), controller.is_active());
        let _ = writeln!(text, "{:?}, quorum {quorum:?}, metadata {metadata:?}, registered {:?}", self.phase, self.life.epoch);
        for partition in self.partitions.values() {
            let role = match &partition.role {
                Role::Opening => "opening".to_owned(),
                Role::Leader(leader) => {
                    format!("leads in {} {:?}", leader.epoch, leader.isr().map(|isr| (isr.confirmed(), isr.proposed())))
                }
                Role::Follower(follower) => format!("follows {:?} in {}", follower.leader, follower.epoch),
                Role::Offline { why } => format!("offline: {why}"),
            };
            let ends = partition.open_log().map(|log| (log.start(), partition.high(), log.durable(), log.end()));
            let decided = self.decided(partition.id).map(|p| (p.leader, p.leader_epoch, &p.isr, &p.elr, &p.directories));
            let _ = writeln!(text, "  {} {role}, start, high, durable and end {ends:?}; decided {decided:?}", partition.folder());
        }
        text
    }
}
