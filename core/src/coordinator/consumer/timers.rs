//! When a consumer group must be looked at again. Never reads a clock.

use super::{Group, Progress};
use crate::coordinator::GroupConfig;
use crate::coordinator::group::MemberId;
use crate::probe;
use crate::time::Instant;
use std::time::Duration;

impl Group {
    /// When to ask `overdue` next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        [self.sessions.first(), self.revocations.first()].into_iter().flatten().min()
    }

    /// Begins the sessions of a loaded group, and the time in which its members are to give up what they must.
    pub fn resume(&mut self, now: Instant, config: &GroupConfig) {
        let ids: Vec<(MemberId, Progress)> = self.members.iter().map(|(id, member)| (id.clone(), member.current.progress)).collect();
        for (id, progress) in ids {
            self.extend_session(&id, now, config);
            if progress == Progress::Unrevoked {
                self.begin_revocation(&id, now);
            }
        }
    }

    /// The members whose time is over.
    pub fn overdue(&mut self, now: Instant) -> Vec<MemberId> {
        let mut over = Vec::new();
        while let Some(id) = self.sessions.pop(now) {
            probe!("a consumer's session ended");
            over.push(id);
        }
        while let Some(id) = self.revocations.pop(now) {
            if !over.contains(&id) {
                probe!("a consumer did not give up its partitions in time");
                over.push(id);
            }
        }
        over
    }

    pub(super) fn extend_session(&mut self, id: &MemberId, now: Instant, config: &GroupConfig) {
        if self.members.contains_key(id) {
            self.sessions.set(id.clone(), now.after(config.consumer_session));
        }
    }

    pub(super) fn begin_revocation(&mut self, id: &MemberId, now: Instant) {
        let Some(member) = self.members.get(id) else { return };
        let time = Duration::from_millis(u64::try_from(member.subscription.rebalance_ms).unwrap_or(0));
        self.revocations.set(id.clone(), now.after(time));
    }
}
