//! Who leads the metadata quorum, and what is committed there (KRaft: KIP-595, pre-votes KIP-996, voters with directories KIP-853).
//!
//! A pure leaf. It never sees the log, a socket or a disk: the broker tells it facts about the log, and does what it asks for.
//!
//! ```text
//! after each input of the broker's:  facts and requests in;  while let Some(action) = quorum.poll() { … };  tick at quorum.deadline()
//! ```
//!
//! Whatever leaves (an answer, a call, a leadership) waits inside until the epoch and the vote that it depends on are durable.
//!
//! What the broker owes it:
//!
//! - a fetch under way ends with its answer dealt with (cut, appended) before `fetch_target` is asked again;
//! - a fetch is sent in `epoch()`, and its answer is of use only if it comes from `leader()` in that same epoch;
//! - a fetch in a newer epoch than this node's is told by `heard` (without a leader), by whomever: else its sender could never fetch again;
//! - `fetch_failed` comes before the `heard` of the same answer, since a leader that is named there is asked at once;
//! - a snapshot takes the log's place by `restored` alone, while this node follows;
//! - after a cut first `appended`, then `truncated`; after an append first `appended`, then `voters_changed` for each voters record in it.

mod ballot;
mod calls;
mod change;
mod describe;
mod election;
mod epoch;
mod facts;
mod io;
mod json;
mod lead;
mod replies;
mod role;
mod round;
mod turn;
mod voters;

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "of all the wire's messages, the quorum's are looked at")]
mod tests;

pub use election::{BadElection, Election};
pub use io::{Action, Config, Tail};
pub use role::State;
pub use voters::{Replica, Voter, Voters};

use crate::client::io::Address;
use crate::id::{BrokerId, CallId, LeaderEpoch, Offset};
use crate::mutant;
use crate::rng::Rng;
use crate::time::Instant;
use calls::{Called, Pace};
use rand::Rng as _;
use role::{Follower, Known, Role, Unattached};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A node that has just started, or lost its leader to a vacancy, stands after at most this long: enough to let another be first.
const SOON: Duration = Duration::from_millis(50);

/// No epoch follows this one, so nobody is believed to be in it.
const NO_EPOCH: LeaderEpoch = LeaderEpoch(i32::MAX);

/// One node's part in the metadata quorum.
#[derive(Clone, Debug)]
pub struct Quorum {
    config: Config,
    election: Election,
    role: Role,
    /// The voters from each voters record on; those that the node started with stand before the log.
    voters: BTreeMap<Offset, Voters>,
    tail: Tail,
    /// What this node knows to be committed.
    committed: Offset,
    rng: Rng,
    /// The node is about to stop, and stands for nothing.
    stopping: bool,
    /// What `Action::Follow` or `Action::Lead` told last.
    told: (LeaderEpoch, Option<BrokerId>),
    calls: BTreeMap<CallId, Called>,
    next_call: u64,
    /// Whom to fetch from, and when.
    pace: Pace,
    last_save: u64,
    saved: u64,
    /// What waits for a `Save`, in order.
    held: VecDeque<(u64, Action)>,
    actions: VecDeque<Action>,
}

impl Quorum {
    /// A node that has just started. `voters` are those that it was formatted or configured with, or those of its snapshot; for each voters record
    /// that the log holds, `voters_changed` follows.
    #[must_use]
    pub fn new(config: Config, election: Election, voters: Voters, tail: Tail, now: Instant, mut rng: Rng) -> Self {
        // Nobody can be waited for where there is only one voter.
        let patience = if voters.len() == 1 { 0.0 } else { rng.random_range(0.0..1.0) };
        let until = now.after(SOON.mul_f64(patience));
        let mut quorum = Self {
            election,
            role: Role::Unattached(Unattached { until, lost: 0 }),
            voters: BTreeMap::from([(Offset::UNKNOWN, voters)]),
            tail,
            committed: Offset::ZERO,
            rng,
            stopping: false,
            told: (election.epoch, None),
            calls: BTreeMap::new(),
            next_call: 1,
            pace: Pace::new(now),
            last_save: 0,
            saved: 0,
            held: VecDeque::new(),
            actions: VecDeque::new(),
            config,
        };
        quorum.start(now, until);
        quorum
    }

    fn start(&mut self, now: Instant, until: Instant) {
        if self.tail.epoch > self.election.epoch {
            // The file was lost or is older than the log: whoever wrote that epoch's records was elected in it.
            self.save(Election { epoch: self.tail.epoch, leader: None, voted: None });
        }
        let Some(leader) = self.election.leader else { return };
        if leader == self.config.me {
            // KAFKA-10527: this node's log may have lost what it acknowledged as leader of this epoch. It never leads it again.
            self.role = if mutant!(SameEpochLeader) { self.led_before(now) } else { self.resigned(now, Vec::new(), until) };
        } else if let Some(voter) = self.voters().get(leader) {
            let known = Known { id: leader, address: voter.address.clone() };
            self.role = Role::Follower(Follower { leader: known, until: now.after(self.config.fetch_timeout), hears: false });
        }
        self.tell();
    }

    /// When `tick` is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.timers().into_iter().flatten().min()
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Chance goes on from `rng`: for exhaustive exploration, where equal states must have equal futures.
    pub fn reseed(&mut self, rng: Rng) {
        self.rng = rng;
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> State {
        self.role.state()
    }

    /// The newest epoch known.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.election.epoch
    }

    /// The leader of that epoch, if known: its id and its controller listener.
    #[must_use]
    pub fn leader(&self) -> Option<(BrokerId, Address)> {
        if self.is_leader() {
            return Some((self.config.me, self.config.address.clone()));
        }
        self.role.leader().map(|known| (known.id, known.address.clone()))
    }

    /// Leader only: what is committed; `None` until an entry of its epoch is.
    #[must_use]
    pub fn high(&self) -> Option<Offset> {
        match &self.role {
            Role::Leader(leader) => leader.high,
            Role::Unattached(_) | Role::Prospective(_) | Role::Candidate(_) | Role::Follower(_) | Role::Resigned(_) => None,
        }
    }

    /// Whether this node leads, and `Action::Lead` was handed out.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.start.is_some())
    }

    /// Whether this node has a vote.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.config.may_vote && self.voters().contains(self.me())
    }

    /// The voters as this node's log has them.
    #[must_use]
    pub fn voters(&self) -> &Voters {
        self.voters.values().next_back().expect("the first voters are never cut")
    }

    /// The voters by what is below `end`, where that is committed; `None` if it is no longer known.
    #[must_use]
    pub fn voters_below(&self, end: Offset) -> Option<&Voters> {
        self.voters.range(..end).next_back().map(|(_, voters)| voters)
    }

    /// Whether no call is outstanding: a node that resigned may stop now.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.calls.is_empty() && self.held.is_empty()
    }

    /// Panics if something that must hold does not.
    pub fn check(&self) {
        let Election { epoch, leader, voted } = self.election;
        assert!(self.tail.durable <= self.tail.end, "durable end {} passed the end {}", self.tail.durable, self.tail.end);
        assert!(self.tail.epoch <= epoch, "the log is at epoch {}, the quorum at {epoch}", self.tail.epoch);
        assert!(self.saved <= self.last_save, "save {} is durable, but the last was {}", self.saved, self.last_save);
        assert!(self.held.iter().all(|(number, _)| *number > self.saved), "something waits for a durable save: {:?}", self.held);
        match &self.role {
            Role::Leader(it) => {
                assert_eq!(leader, Some(self.config.me), "leads epoch {epoch}");
                assert!(it.high <= Some(self.tail.end), "high {:?} passed the end {}", it.high, self.tail.end);
            }
            Role::Follower(it) => assert_eq!(leader, Some(it.leader.id), "follows in epoch {epoch}"),
            Role::Candidate(_) => assert_eq!((leader, voted), (None, Some(self.me())), "stands in epoch {epoch}"),
            Role::Resigned(_) => assert_eq!(leader, Some(self.config.me), "resigned from epoch {epoch}"),
            Role::Unattached(_) | Role::Prospective(_) => {}
        }
    }

    fn me(&self) -> Replica {
        (self.config.me, self.config.directory)
    }

    /// Whether this node may stand for election.
    fn may_stand(&self) -> bool {
        (self.is_voter() || self.may_be_needed()) && !self.stopping
    }

    /// Whether this node was removed by a record that may not be committed. If only this node has it, the voters left lack its vote, which it
    /// cannot give, being ahead of them; so it must be able to lead until the record is committed (Ongaro's dissertation, 4.2.2).
    fn may_be_needed(&self) -> bool {
        let mut newest = self.voters.iter().rev();
        let removed = newest.next().is_some_and(|(at, voters)| *at >= self.committed && !voters.contains(self.me()));
        removed && self.config.may_vote && newest.next().is_some_and(|(_, voters)| voters.contains(self.me()))
    }

    fn is_only_voter(&self) -> bool {
        self.is_voter() && self.voters().len() == 1
    }

    /// The ids of the other voters.
    fn others(&self) -> Vec<BrokerId> {
        self.voters().iter().map(|voter| voter.id).filter(|id| *id != self.config.me).collect()
    }

    fn save(&mut self, election: Election) {
        assert!(election.epoch >= self.election.epoch, "epoch {} after {}", election.epoch, self.election.epoch);
        if election == self.election {
            return;
        }
        self.election = election;
        self.last_save += 1;
        self.actions.push_back(Action::Save { number: self.last_save, election });
    }

    /// Lets something leave, once what it depends on is durable.
    fn emit(&mut self, action: Action) {
        if self.saved < self.last_save { self.held.push_back((self.last_save, action)) } else { self.actions.push_back(action) }
    }
}
