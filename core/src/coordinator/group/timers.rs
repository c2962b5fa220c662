//! When a group must be looked at again: sessions by member, and the one deadline of its state. Never reads a clock.

use super::rebalance::NEW_MEMBER_JOIN;
use super::{Group, MemberId, State, Turn};
use crate::probe;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// When each member, or pending member id, is given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::coordinator) struct Sessions {
    by_member: BTreeMap<MemberId, Instant>,
    by_time: BTreeSet<(Instant, MemberId)>,
}

impl Sessions {
    pub(in crate::coordinator) fn set(&mut self, member: MemberId, until: Instant) {
        if let Some(before) = self.by_member.insert(member.clone(), until) {
            self.by_time.remove(&(before, member.clone()));
        }
        self.by_time.insert((until, member));
    }

    pub(in crate::coordinator) fn cancel(&mut self, member: &str) {
        if let Some((member, until)) = self.by_member.remove_entry(member) {
            self.by_time.remove(&(until, member));
        }
    }

    pub(in crate::coordinator) fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }

    pub(in crate::coordinator) fn pop(&mut self, now: Instant) -> Option<MemberId> {
        if self.first()? > now {
            return None;
        }
        let (_, member) = self.by_time.pop_first().expect("looked at above");
        self.by_member.remove(&member);
        Some(member)
    }
}

impl Group {
    /// When to call `tick` next.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Empty => None,
            State::Preparing(preparing) => Some(preparing.until),
            State::Completing(unsynced) | State::Stable(unsynced) => (!unsynced.members.is_empty()).then_some(unsynced.until),
        };
        [state, self.sessions.first()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(member) = self.sessions.pop(turn.now.at) {
            self.session_over(&member, turn);
        }
        match &self.state {
            State::Preparing(preparing) if preparing.until <= turn.now.at => self.joining_over(turn),
            State::Completing(unsynced) | State::Stable(unsynced) if !unsynced.members.is_empty() && unsynced.until <= turn.now.at => {
                self.syncing_over(turn);
            }
            State::Empty | State::Preparing(_) | State::Completing(_) | State::Stable(_) => {}
        }
    }

    /// Begins the sessions of a restored group. One that has outgrown its limit rebalances, so that members can commit before they are sent away.
    pub fn resume(&mut self, turn: &mut Turn<'_>) {
        for id in self.members.ids() {
            self.extend_session(&id, turn);
        }
        if self.members.len() > turn.config.max_size {
            probe!("a loaded group was over its limit");
            self.prepare_rebalance(turn);
        }
    }

    /// A sign of life.
    pub fn extend_session(&mut self, member: &MemberId, turn: &Turn<'_>) {
        let Some(found) = self.members.get(&member.0) else { return };
        self.sessions.set(member.clone(), turn.now.at.after(found.session));
    }

    /// A new member cannot send heartbeats before it knows its id; so its join may wait long, but not for ever.
    pub(super) fn begin_new_session(&mut self, member: MemberId, turn: &Turn<'_>) {
        self.sessions.set(member, turn.now.at.after(NEW_MEMBER_JOIN));
    }

    pub(super) fn begin_pending_session(&mut self, member: MemberId, session: Duration, turn: &Turn<'_>) {
        self.sessions.set(member, turn.now.at.after(session));
    }

    fn session_over(&mut self, member: &MemberId, turn: &mut Turn<'_>) {
        if self.pending.remove(member) {
            probe!("a pending member never came");
            return self.go_on_if_all_joined(turn);
        }
        let Some(found) = self.members.get(&member.0) else { return };
        // It counts again from when its request is answered.
        if found.is_waiting() {
            return;
        }
        probe!("a member's session ended");
        self.remove_member(&member.0, turn);
        self.after_removal(turn);
    }
}
