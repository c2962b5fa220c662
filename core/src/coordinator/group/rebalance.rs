//! A rebalance from its beginning to the new generation. Never reads a request.

use super::{Answer, Group, Initial, Joined, JoinedMember, Member, MemberId, Preparing, Refused, State, Synced, Turn, Unsynced};
use crate::error::ErrorCode;
use crate::probe;
use bytes::Bytes;
use std::time::Duration;

/// How long a new member's join may wait (Kafka's `classicGroupNewMemberJoinTimeoutMs`).
pub(super) const NEW_MEMBER_JOIN: Duration = Duration::from_secs(5 * 60);

impl Group {
    /// Something changed that a rebalance must take up: begins one, or goes on with the one under way.
    pub(super) fn rebalance(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Preparing(_) => self.go_on_after_initial(turn),
            State::Empty | State::Completing(_) | State::Stable(_) => self.prepare_rebalance(turn),
        }
    }

    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, State::Completing(_)) {
            self.send_back_to_join(turn);
        }
        let longest = self.members.longest_rebalance();
        let initial = matches!(self.state, State::Empty).then(|| {
            let delay = turn.config.initial_delay;
            Initial { delay, remaining: longest.saturating_sub(delay), came: false }
        });
        let until = turn.now.at.after(initial.as_ref().map_or(longest, |initial| initial.delay));
        let first = initial.is_some();
        self.enter(State::Preparing(Preparing { until, initial }), turn.now);
        if !first && self.all_joined() {
            self.complete_join(turn);
        }
    }

    /// Who waits for an assignment of a generation that will not get one joins again.
    fn send_back_to_join(&mut self, turn: &mut Turn<'_>) {
        for id in self.members.ids() {
            let token = self.members.change(&id.0, |member| {
                member.assignment = Bytes::new();
                member.syncing.take()
            });
            if let Some(token) = token.flatten() {
                turn.out.answers.push((token, Answer::Sync(Err(ErrorCode::REBALANCE_IN_PROGRESS))));
                self.extend_session(&id, turn);
            }
        }
    }

    fn all_joined(&self) -> bool {
        self.members.len() == self.members.joining() && self.pending.is_empty()
    }

    /// Completes the join if everybody is there, the initial delay excepted.
    pub(super) fn go_on_after_initial(&mut self, turn: &mut Turn<'_>) {
        let State::Preparing(Preparing { initial: None, .. }) = self.state else { return };
        if self.all_joined() {
            self.complete_join(turn);
        }
    }

    /// Completes the join if everybody is there, even in the initial delay: somebody was given up.
    pub(super) fn go_on_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, State::Preparing(_)) && self.all_joined() {
            self.complete_join(turn);
        }
    }

    /// The time of `Preparing` is up.
    pub(super) fn joining_over(&mut self, turn: &mut Turn<'_>) {
        let State::Preparing(Preparing { until, initial }) = &mut self.state else { return };
        if let Some(initial) = initial
            && initial.came
            && !initial.remaining.is_zero()
        {
            initial.came = false;
            let delay = turn.config.initial_delay.min(initial.remaining);
            initial.remaining = initial.remaining.saturating_sub(initial.delay);
            initial.delay = delay;
            *until = turn.now.at.after(delay);
            return;
        }
        self.complete_join(turn);
    }

    /// The time to sync is up: those who have not are removed.
    pub(super) fn syncing_over(&mut self, turn: &mut Turn<'_>) {
        let (State::Completing(unsynced) | State::Stable(unsynced)) = &mut self.state else { return };
        probe!("members that never synced were removed");
        for id in std::mem::take(&mut unsynced.members) {
            self.remove_member(&id.0, turn);
        }
        self.prepare_rebalance(turn);
    }

    /// Ends `Preparing`: who has not joined is out (static members stay), and a new generation begins.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        let late = self.members.iter().filter(|(_, m)| m.joining.is_none() && m.instance.is_none());
        for id in late.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove_member(&id.0, turn);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            probe!("nobody joined but absent static members");
            // Their sessions will end, or they come: the rebalance stays open until then.
            let until = turn.now.at.after(self.members.longest_rebalance().max(Duration::from_millis(1)));
            self.state = State::Preparing(Preparing { until, initial: None });
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        if self.members.is_empty() {
            self.protocol = None;
            self.subscribed = self.subscriptions();
            self.enter(State::Empty, turn.now);
            turn.out.store = true;
            return;
        }
        self.begin_generation(turn);
    }

    /// A leader that did not join leads no more, if anybody did. Whether there is a leader that joined.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: Option<&Member>| member.is_some_and(|m| m.joining.is_some());
        if self.leader.as_ref().is_some_and(|id| joined(self.members.get(&id.0))) {
            return true;
        }
        let Some((next, _)) = self.members.iter().find(|(_, m)| m.joining.is_some()) else { return false };
        self.leader = Some(next.clone());
        true
    }

    fn begin_generation(&mut self, turn: &mut Turn<'_>) {
        self.protocol = Some(self.members.elect_protocol());
        self.subscribed = self.subscriptions();
        let ids = self.members.ids();
        let until = turn.now.at.after(self.members.longest_rebalance());
        self.enter(State::Completing(Unsynced { members: ids.iter().cloned().collect(), until }), turn.now);
        for id in &ids {
            let token = self.members.change(&id.0, |member| {
                member.new = false;
                member.joining.take()
            });
            if let Some(token) = token.flatten() {
                turn.out.answers.push((token, Answer::Join(Ok(self.joined(id)))));
            }
            self.extend_session(id, turn);
        }
    }

    /// What `member` is told of the generation.
    pub(super) fn joined(&self, member: &MemberId) -> Joined {
        let leader = self.leader.clone().expect("a generation has a leader");
        let members = if leader == *member { self.joined_members() } else { Vec::new() };
        Joined {
            member: member.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            skip_assignment: false,
            members,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol();
        let member =
            |(id, m): (&MemberId, &Member)| JoinedMember { id: id.clone(), instance: m.instance.clone(), metadata: m.metadata(protocol) };
        self.members.iter().map(member).collect()
    }

    pub(super) fn synced(&self, member: &Member) -> Synced {
        Synced { protocol_type: self.protocol_type.clone(), protocol: self.protocol.clone(), assignment: member.assignment.clone() }
    }

    /// Takes a member or pending id away, answers what waits for it, and passes on the lead. Begins no rebalance.
    pub(super) fn remove_member(&mut self, id: &str, turn: &mut Turn<'_>) {
        self.sessions.cancel(id);
        self.pending.remove(id);
        if let State::Completing(unsynced) | State::Stable(unsynced) = &mut self.state {
            unsynced.members.remove(id);
        }
        let Some(member) = self.members.remove(id) else { return };
        // If its client is still there, it begins again.
        let refused = Refused { error: ErrorCode::UNKNOWN_MEMBER_ID, member: String::new() };
        turn.out.answers.extend(member.joining.map(|token| (token, Answer::Join(Err(refused)))));
        turn.out.answers.extend(member.syncing.map(|token| (token, Answer::Sync(Err(ErrorCode::UNKNOWN_MEMBER_ID)))));
        if self.is_leader(id) {
            self.leader = self.members.iter().next().map(|(next, _)| next.clone());
        }
    }

    /// Goes on after a member was removed because its session ended.
    pub(super) fn after_removal(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            State::Completing(_) | State::Stable(_) => self.prepare_rebalance(turn),
            State::Preparing(_) => self.go_on_if_all_joined(turn),
            State::Empty => {}
        }
    }
}
