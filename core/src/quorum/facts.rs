//! What the broker tells: time, the disk, the log, and news of other leaders.

use super::role::{Follower, Known, Role, Unattached};
use super::{Action, Election, NO_EPOCH, Quorum, Replica, Tail, Voters};
use crate::client::io::Address;
use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::probe;
use crate::time::{Instant, Now};
use std::collections::BTreeMap;

impl Quorum {
    /// Time passed.
    pub fn tick(&mut self, now: Instant, tail: Tail) {
        self.see(now, tail);
        if self.pace.next <= now {
            self.pace.asked = false;
        }
        self.advance(now);
    }

    /// The election of `Action::Save { number }` is durable, and so is each before it.
    pub fn saved(&mut self, now: Instant, number: u64) {
        assert!(number <= self.last_save, "save {number} is durable, but the last was {}", self.last_save);
        self.excuse_leader(now);
        self.saved = self.saved.max(number);
        while let Some((_, action)) = self.held.pop_front_if(|(needs, _)| *needs <= self.saved) {
            if let (Action::Lead { .. }, Role::Leader(leader)) = (&action, &mut self.role) {
                leader.start = Some(self.tail.end);
            }
            self.actions.push_back(action);
        }
        self.advance(now);
    }

    /// The log grew or was cut.
    pub fn appended(&mut self, now: Instant, tail: Tail) {
        self.see(now, tail);
        self.advance(now);
    }

    /// The durable end moved.
    pub fn durable(&mut self, now: Instant, tail: Tail) {
        self.see(now, tail);
        self.advance(now);
    }

    /// Leader only: a replica asked, in this node's epoch, for what follows `offset`, so it has everything below durable. Not told of a fetch that
    /// was answered with a diverging epoch or an error (KAFKA-13141).
    pub fn fetched(&mut self, now: Now, replica: Replica, offset: Offset) {
        let (me, end) = (self.me(), self.tail.end);
        if let Role::Leader(leader) = &mut self.role
            && leader.start.is_some()
            && replica != me
        {
            leader.fetched(now, replica, offset, end);
        }
        self.advance(now.at);
    }

    /// Leader only: a replica asked in this node's epoch, and what it has does not count: it is to cut its log, or takes a snapshot. It listens.
    pub fn listens(&mut self, now: Instant, replica: Replica) {
        let is_voter = self.voters().contains(replica);
        if let Role::Leader(leader) = &mut self.role
            && is_voter
        {
            leader.since.insert(replica.0, now);
        }
        self.advance(now);
    }

    /// An answer or a request tells an epoch and its leader. A newer epoch is taken up.
    pub fn heard(&mut self, now: Instant, epoch: LeaderEpoch, leader: Option<BrokerId>, address: Option<Address>) {
        self.learn(now, epoch, leader, address);
        self.advance(now);
    }

    /// The leader of `epoch` answered a fetch without an error, a diverging epoch included: it is alive.
    pub fn fetch_answered(&mut self, now: Instant, epoch: LeaderEpoch) {
        if epoch == self.election.epoch
            && let Some(leader) = self.role.leader().cloned()
        {
            self.fetch_went_well(now);
            let until = now.after(self.config.fetch_timeout);
            self.turn_into(Role::Follower(Follower { leader, until, hears: true }));
        }
        self.advance(now);
    }

    /// The leader told its high watermark, and this node has everything below it: so it knows whether the voters it knows are settled.
    pub fn committed(&mut self, now: Instant, high: Offset) {
        self.settle(high.min(self.tail.end));
        self.advance(now);
    }

    pub(super) fn settle(&mut self, high: Offset) {
        self.committed = self.committed.max(high);
        let settled = self.voters.range(..self.committed).next_back().map(|(at, _)| *at);
        self.voters.retain(|at, _| Some(*at) >= settled);
    }

    /// A voters record was appended at `at` (by this node or by its leader): it holds from now on.
    pub fn voters_changed(&mut self, now: Instant, at: Offset, voters: Voters) {
        self.voters.retain(|other, _| *other < at);
        self.voters.insert(at, voters);
        self.change_appended(now, at);
        self.count_anew(now);
    }

    /// The log was cut to end at `to`: voters records from there on never were.
    pub fn truncated(&mut self, now: Instant, to: Offset) {
        if self.voters_at() < to {
            return;
        }
        probe!("a voters record was cut");
        self.voters.retain(|at, _| *at < to);
        self.count_anew(now);
    }

    /// A leader's snapshot stands for the log below `to`, which begins there without a record; it names the voters, if they can change.
    pub fn restored(&mut self, now: Instant, to: Offset, voters: Option<Voters>, tail: Tail) {
        self.see(now, tail);
        self.committed = self.committed.max(to);
        let voters = voters.unwrap_or_else(|| self.voters().clone());
        self.voters = BTreeMap::from([(Offset::UNKNOWN, voters)]);
        self.count_anew(now);
    }

    /// The connection to `peer` closed and a new one was refused: its process is gone. A voter that follows it pre-votes at once.
    pub fn gone(&mut self, now: Instant, peer: BrokerId) {
        if matches!(&self.role, Role::Follower(follower) if follower.leader.id == peer) {
            probe!("a leader's process is gone");
            self.doubt(now);
        }
        self.advance(now);
    }

    /// The node wants to stop: a leader hands over, and this node stands for nothing any more.
    pub fn resign(&mut self, now: Instant) {
        self.stopping = true;
        self.step_down(now);
        self.advance(now);
    }

    /// Where the voters record that holds now is.
    pub(super) fn voters_at(&self) -> Offset {
        *self.voters.keys().next_back().expect("the first voters are never cut")
    }

    fn count_anew(&mut self, now: Instant) {
        let (me, others, voters) = (self.me(), self.others(), self.voters().clone());
        match &mut self.role {
            Role::Prospective(it) => it.ballots.keep(others, now),
            Role::Candidate(it) => it.ballots.keep(others, now),
            Role::Resigned(it) => it.telling.keep(others, now),
            Role::Leader(it) => it.keep(me, &voters, now),
            Role::Unattached(_) | Role::Follower(_) => {}
        }
        self.advance(now);
    }

    pub(super) fn see(&mut self, now: Instant, tail: Tail) {
        self.excuse_leader(now);
        if matches!(self.role, Role::Leader(_)) {
            assert!(tail.end >= self.tail.end, "a leader's log was cut from {} to {}", self.tail.end, tail.end);
        }
        self.tail = tail;
    }

    /// A follower does not fetch while its own disk is behind, so a leader's silence tells nothing then. Else disks that are slow at the same time, as on
    /// one machine, would depose a leader that is well; it resigns by itself if that lasts half as long again. One that has said that it leads no more is
    /// not excused.
    pub(super) fn excuse_leader(&mut self, now: Instant) {
        let is_behind = self.tail.durable < self.tail.end || self.saved < self.last_save;
        let until = now.after(self.config.fetch_timeout);
        if let Role::Follower(follower) = &mut self.role
            && is_behind
            && follower.hears
        {
            if follower.until <= now {
                probe!("a follower's own disk is why it has not heard from its leader");
            }
            follower.until = until;
        }
    }

    pub(super) fn learn(&mut self, now: Instant, epoch: LeaderEpoch, leader: Option<BrokerId>, address: Option<Address>) {
        if epoch < self.election.epoch || epoch == NO_EPOCH {
            return;
        }
        let known = leader.and_then(|id| self.known(id, address));
        if epoch > self.election.epoch {
            self.take_up(now, epoch, leader, known);
        } else if let Some(known) = known {
            self.learn_leader(now, known);
        }
    }

    fn known(&self, id: BrokerId, address: Option<Address>) -> Option<Known> {
        let address = address.or_else(|| self.voters().get(id).map(|voter| voter.address.clone()))?;
        Some(Known { id, address })
    }

    pub(super) fn take_up(&mut self, now: Instant, epoch: LeaderEpoch, leader: Option<BrokerId>, known: Option<Known>) {
        let until = self.role.until();
        self.save(Election { epoch, leader, voted: None });
        if leader == Some(self.config.me) {
            // The others know that this node led an epoch that it has forgotten. It does not lead it again.
            probe!("a leader was told of its own forgotten epoch");
            let until = now.after(self.election_timeout());
            let role = self.resigned(now, Vec::new(), until);
            self.turn_into(role);
        } else if let Some(known) = known {
            self.fetch_went_well(now);
            self.follow(now, known);
        } else {
            // A newer epoch alone is no reason to wait anew: whoever began it may be unable to win.
            let until = until.unwrap_or(now.after(self.election_timeout()));
            self.turn_into(Role::Unattached(Unattached { until, lost: 0 }));
        }
    }

    /// The leader of this very epoch.
    fn learn_leader(&mut self, now: Instant, known: Known) {
        if known.id == self.config.me || self.election.leader.is_some_and(|id| id != known.id) {
            return;
        }
        match &mut self.role {
            Role::Leader(_) | Role::Resigned(_) => return,
            Role::Follower(follower) => {
                follower.leader = known;
                return;
            }
            // It asks because it doubts that very leader.
            Role::Prospective(it) if it.leader.is_some() => return,
            Role::Prospective(_) | Role::Candidate(_) | Role::Unattached(_) => {}
        }
        self.save(Election { leader: Some(known.id), ..self.election });
        self.pace.next = now;
        self.follow(now, known);
    }
}
