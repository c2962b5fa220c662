//! What a broker is at, in a few lines: for the report of a run that is stuck.

use super::Broker;
use crate::controller::image;
use crate::id::{BrokerId, PartitionIndex};
use crate::partition::Role;
use std::fmt::Write as _;

impl Broker {
    /// Who holds everything that is committed of the log in `folder`, as far as this broker knows: its ISR and ELR, without who leaves
    /// at the end of a move.
    #[must_use]
    pub fn holders(&self, folder: &str) -> Vec<BrokerId> {
        let Some((topic, index)) = folder.rsplit_once('-') else { return Vec::new() };
        let partition = index.parse().ok().and_then(|index| self.image().topic(topic)?.partitions.get(&PartitionIndex(index)));
        let stay = |p: &image::Partition| p.isr.iter().chain(&p.elr).filter(|id| !p.removing.contains(id)).copied().collect();
        partition.map(stay).unwrap_or_default()
    }

    /// Phase, quorum, registration, every partition's role and watermarks, and what followers wait for.
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
                Role::Offline { why, .. } => format!("offline: {why}"),
            };
            let ends = partition.open_log().map(|log| (log.start(), partition.high(), log.durable(), log.end()));
            let decided = self.decided(partition.id).map(|p| (p.leader, p.leader_epoch, &p.isr, &p.elr, &p.directories));
            let _ = writeln!(text, "  {} {role}, start, high, durable and end {ends:?}; decided {decided:?}", partition.folder());
        }
        for (leader, fetcher) in &self.fetchers {
            let _ = writeln!(text, "  fetches from {leader}: {}", fetcher.summary());
        }
        text
    }
}
