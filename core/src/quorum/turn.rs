//! What a state turns into, of itself: by time, by a majority, by a disk that is done.

use super::calls::Kind;
use super::lead::Leader;
use super::role::{Candidate, Follower, Known, Prospective, Resigned, Role, Unattached};
use super::round::{Ask, Round};
use super::{Action, Election, Quorum, Replica, SOON};
use crate::id::{BrokerId, LeaderEpoch};
use crate::probe;
use crate::time::Instant;
use rand::Rng as _;
use std::time::Duration;

/// The least upper bound of the wait after a lost election; it doubles up to `backoff_max`.
const LOST_FIRST: Duration = Duration::from_millis(100);

impl Quorum {
    /// Goes on for as long as something changes, and then asks whom it must.
    pub(super) fn advance(&mut self, now: Instant) {
        self.excuse_leader(now);
        // From no role is the way further than by way of Unattached, Prospective and Candidate to Leader.
        for _ in 0..8 {
            if !self.turn(now) {
                break;
            }
        }
        self.expire_calls(now);
        self.ask(now);
        self.check();
    }

    fn turn(&mut self, now: Instant) -> bool {
        match &self.role {
            Role::Unattached(it) if self.may_stand() && (it.until <= now || self.is_only_voter()) => self.sound_out(now, None, it.lost),
            Role::Resigned(it) if self.may_stand() && (it.until <= now || self.is_only_voter()) => self.sound_out(now, None, 0),
            Role::Unattached(_) | Role::Resigned(_) => false,
            Role::Prospective(_) | Role::Candidate(_) if !self.may_stand() => self.wait(now, 0),
            Role::Prospective(it) if self.elects(&it.ballots, true) => self.stand(now, it.lost),
            Role::Prospective(it) if it.until <= now => self.sound_out(now, it.leader.clone(), it.lost),
            Role::Candidate(it) if self.saved >= it.own && self.elects(&it.ballots, true) => self.lead(now),
            Role::Candidate(it) if it.until <= now || !self.may_elect(&it.ballots) => {
                probe!("an election was lost");
                let (lost, wait) = (it.lost + 1, self.lost(it.lost));
                self.turn_into(Role::Unattached(Unattached { until: now.after(wait), lost }))
            }
            Role::Follower(it) if it.until <= now => {
                probe!("a leader fell silent");
                self.doubt(now)
            }
            Role::Prospective(_) | Role::Candidate(_) | Role::Follower(_) => false,
            Role::Leader(_) => self.turn_leader(now),
        }
    }

    /// Whether these voters and, with its own vote, this node are a majority of the voters.
    fn elects(&self, ballots: &Round, own: bool) -> bool {
        let others = ballots.yes().filter(|id| self.voters().get(*id).is_some()).count();
        others + usize::from(own && self.is_voter()) >= self.voters().majority()
    }

    /// Whether they may yet become that: of who said no, or cannot be reached, nothing is hoped. So two candidates that share the votes of the living find
    /// out at once, and need not wait for the dead.
    fn may_elect(&self, ballots: &Round) -> bool {
        let others = ballots.hopes().filter(|id| self.voters().get(*id).is_some()).count();
        others + usize::from(self.is_voter()) >= self.voters().majority()
    }

    /// The leader of this node is silent, or gone: stop waiting for it. A voter sees whether the others think so too (KIP-996).
    pub(super) fn doubt(&mut self, now: Instant) -> bool {
        let leader = self.role.leader().cloned();
        if self.may_stand() { self.sound_out(now, leader, 0) } else { self.wait(now, 0) }
    }

    fn sound_out(&mut self, now: Instant, leader: Option<Known>, lost: u32) -> bool {
        let ballots = Round::new(self.others(), now);
        let until = now.after(self.election_timeout());
        self.turn_into(Role::Prospective(Prospective { ballots, until, leader, lost }))
    }

    fn stand(&mut self, now: Instant, lost: u32) -> bool {
        let epoch = LeaderEpoch(self.election.epoch.0 + 1);
        self.save(Election { epoch, leader: None, voted: Some(self.me()) });
        let ballots = Round::new(self.others(), now);
        let until = now.after(self.election_timeout());
        let own = self.last_save;
        self.turn_into(Role::Candidate(Candidate { ballots, until, lost, own }))
    }

    fn lead(&mut self, now: Instant) -> bool {
        let Role::Candidate(candidate) = &self.role else { return false };
        let mut granting: Vec<BrokerId> = candidate.ballots.yes().chain([self.config.me]).collect();
        granting.sort_unstable();
        let granting = granting.into_iter().filter_map(|id| self.voters().get(id).cloned()).collect();
        // On the disk before the first record is: so that a restart knows that this epoch was led (KAFKA-10527).
        self.save(Election { leader: Some(self.config.me), ..self.election });
        let leader = Leader::new(self.me(), self.voters(), now);
        self.turn_into(Role::Leader(Box::new(leader)));
        self.emit(Action::Lead { epoch: self.election.epoch, granting });
        true
    }

    /// The mutant's way: as if it had never been away.
    pub(super) fn led_before(&mut self, now: Instant) -> Role {
        let mut leader = Leader::new(self.me(), self.voters(), now);
        leader.start = Some(self.tail.end);
        self.actions.push_back(Action::Lead { epoch: self.election.epoch, granting: Vec::new() });
        Role::Leader(Box::new(leader))
    }

    fn turn_leader(&mut self, now: Instant) -> bool {
        if self.quorum_deadline().is_some_and(|at| at <= now) {
            probe!("a leader resigned, for a majority no longer fetched");
            return self.step_down(now);
        }
        let (me, tail) = (self.me(), self.tail);
        let voters = self.voters().clone();
        let Role::Leader(leader) = &mut self.role else { return false };
        leader.prune(&voters, now);
        if let Some(high) = leader.advance(me, &voters, tail) {
            self.settle(high);
            self.actions.push_back(Action::High(high));
        }
        self.tell_again(now);
        self.turn_change(now);
        if !self.is_voter() && self.voters_at() < self.high().unwrap_or_default() {
            // KIP-853: a leader that removed itself leads until that is committed, and is not counted for it.
            probe!("a leader that was removed resigned");
            return self.step_down(now);
        }
        false
    }

    /// A voter that knows of this leader but does not fetch is told again: it may have lost it meanwhile.
    fn tell_again(&mut self, now: Instant) {
        let pause = self.config.fetch_timeout / 2;
        let voters = self.voters().clone();
        let Role::Leader(leader) = &mut self.role else { return };
        for (id, _) in leader.telling.due(now) {
            let heard = voters.get(id).and_then(|voter| leader.progress(voter)).map(|progress| progress.asked.at.after(pause));
            if let Some(at) = heard.filter(|at| *at > now) {
                leader.telling.set(id, Ask::Due { at, tries: 0 });
            }
        }
    }

    /// When a leader has not heard from a majority for too long: somebody else leads, perhaps.
    pub(super) fn quorum_deadline(&self) -> Option<Instant> {
        let Role::Leader(leader) = &self.role else { return None };
        let heard = leader.majority_heard(self.me(), self.voters())?;
        Some(heard.after(self.config.fetch_timeout + self.config.fetch_timeout / 2))
    }

    pub(super) fn step_down(&mut self, now: Instant) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let successors = leader.successors(self.me(), self.voters());
        let until = now.after(self.election_timeout());
        let role = self.resigned(now, successors, until);
        self.turn_into(role)
    }

    pub(super) fn resigned(&self, now: Instant, successors: Vec<Replica>, until: Instant) -> Role {
        Role::Resigned(Resigned { telling: Round::new(self.others(), now), successors, until })
    }

    /// Knows no leader, and waits for one.
    pub(super) fn wait(&mut self, now: Instant, lost: u32) -> bool {
        let until = now.after(self.election_timeout());
        self.turn_into(Role::Unattached(Unattached { until, lost }))
    }

    pub(super) fn follow(&mut self, now: Instant, leader: Known) -> bool {
        let until = now.after(self.config.fetch_timeout);
        self.turn_into(Role::Follower(Follower { leader, until, hears: false }))
    }

    /// The one place where the role changes.
    pub(super) fn turn_into(&mut self, role: Role) -> bool {
        if matches!(self.role, Role::Leader(_)) {
            self.give_up_change();
            // It must not begin to lead after it stopped to: a record that it appends now could be counted although this node votes for another.
            self.held.retain(|(_, action)| !matches!(action, Action::Lead { .. } | Action::Change { .. }));
            self.actions.retain(|action| !matches!(action, Action::Lead { .. } | Action::Change { .. }));
        }
        self.role = role;
        self.tell();
        true
    }

    /// Tells the broker whom to follow. At once: nothing that was promised depends on it.
    pub(super) fn tell(&mut self) {
        let epoch = self.election.epoch;
        if matches!(self.role, Role::Leader(_)) {
            self.told = (epoch, Some(self.config.me));
            return;
        }
        let leader = self.role.leader().map(|known| known.id);
        if self.told != (epoch, leader) {
            self.told = (epoch, leader);
            self.actions.push_back(Action::Follow { epoch, leader });
        }
    }

    /// Random in [t, 2t), so that the voters do not stand at the same time.
    pub(super) fn election_timeout(&mut self) -> Duration {
        self.config.election_timeout.mul_f64(self.rng.random_range(1.0..2.0))
    }

    /// How long to wait after an election was lost, the `lost`th in a row: by chance, below a bound that doubles.
    fn lost(&mut self, lost: u32) -> Duration {
        let bound = LOST_FIRST.saturating_mul(1 << lost.min(20)).min(self.config.backoff_max);
        bound.mul_f64(self.rng.random_range(0.1..1.0))
    }

    /// A little while, so that not all voters stand at once.
    pub(super) fn soon(&mut self) -> Duration {
        SOON.mul_f64(self.rng.random_range(0.0..1.0))
    }

    /// Everything that `tick` may be due for.
    pub(super) fn timers(&self) -> [Option<Instant>; 6] {
        let waits = match &self.role {
            Role::Unattached(_) | Role::Resigned(_) => self.may_stand(),
            Role::Prospective(_) | Role::Candidate(_) | Role::Leader(_) | Role::Follower(_) => true,
        };
        let round = match &self.role {
            Role::Prospective(it) => it.ballots.deadline(),
            Role::Candidate(it) => it.ballots.deadline(),
            Role::Leader(it) => it.telling.deadline(),
            Role::Resigned(it) => it.telling.deadline(),
            Role::Unattached(_) | Role::Follower(_) => None,
        };
        [
            self.role.until().filter(|_| waits),
            round,
            self.calls.values().map(|called| called.until).min(),
            self.quorum_deadline(),
            self.change_deadline(),
            self.pace.asked.then_some(self.pace.next),
        ]
    }

    /// What is to be noted of an answer that was not refused.
    pub(super) fn noted(&mut self, now: Instant, id: BrokerId, kind: Kind, yes: bool) {
        let later = now.after(self.config.fetch_timeout / 2);
        let again = now.after(self.retry(0));
        let ask = match (kind, yes) {
            (Kind::Begin, true) => Ask::Due { at: later, tries: 0 },
            (_, true) => Ask::Yes,
            // A pre-vote binds nobody: what is refused now, since the leader was just heard of, may be granted soon.
            (Kind::Vote { pre: true } | Kind::Begin | Kind::End, false) => Ask::Due { at: again, tries: 1 },
            (Kind::Vote { pre: false }, false) => Ask::No,
        };
        if let Some(round) = self.role.round() {
            round.set(id, ask);
        }
    }
}
