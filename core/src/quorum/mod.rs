//! Who leads the metadata quorum, and what is committed there (KRaft: KIP-595, pre-votes KIP-996, voters with directories KIP-853).
//!
//! A pure leaf. It never sees the log, a socket or a disk: the broker tells it facts about the log, and does what it asks for.
//!
//! ```text
//! after each input of the broker's:  facts and requests in;  while let Some(action) = quorum.poll() { … };  tick at quorum.deadline()
//! ```

mod election;
mod io;
mod json;
mod voters;

pub use election::{BadElection, Election};
pub use io::{Action, Config, Tail};
pub use voters::{Replica, Voter, Voters};

use crate::broker::io::{Peer, Unreachable};
use crate::client::io::Address;
use crate::id::{BrokerId, CallId, LeaderEpoch, Offset};
use crate::request::Token;
use crate::rng::Rng;
use crate::time::{Instant, Now};
use crate::wire::Response;
use crate::wire::api::add_raft_voter::AddRaftVoterRequest;
use crate::wire::api::begin_quorum_epoch::BeginQuorumEpochRequest;
use crate::wire::api::describe_quorum::DescribeQuorumRequest;
use crate::wire::api::end_quorum_epoch::EndQuorumEpochRequest;
use crate::wire::api::remove_raft_voter::RemoveRaftVoterRequest;
use crate::wire::api::update_raft_voter::UpdateRaftVoterRequest;
use crate::wire::api::vote::VoteRequest;
use std::collections::VecDeque;

/// What this node is in the quorum, for views and metrics. A node without a vote is `Unattached` or a `Follower`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Knows no leader, and waits for one.
    Unattached,
    /// Asks whether it would be elected.
    Prospective,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Fetches from a leader.
    Follower,
    /// Led, and leads no more.
    Resigned,
}

/// One node's part in the metadata quorum.
#[derive(Debug)]
pub struct Quorum {
    config: Config,
    election: Election,
    voters: Voters,
    tail: Tail,
    rng: Rng,
    actions: VecDeque<Action>,
}

impl Quorum {
    /// A node that has just started. `voters` are those of the log's last voters record, else those that the node was formatted or configured with.
    #[must_use]
    pub fn new(config: Config, election: Election, voters: Voters, tail: Tail, now: Instant, rng: Rng) -> Self {
        let _ = now;
        Self { config, election, voters, tail, rng, actions: VecDeque::new() }
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant, tail: Tail) {
        let _ = (now, tail);
    }

    /// When `tick` is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A peer asks for a vote.
    pub fn vote(&mut self, now: Instant, token: Token, body: VoteRequest, tail: Tail) {
        let _ = (now, token, body, tail);
    }

    /// A peer says that it leads.
    pub fn begin_epoch(&mut self, now: Instant, token: Token, body: BeginQuorumEpochRequest, tail: Tail) {
        let _ = (now, token, body, tail);
    }

    /// A peer says that it leads no more.
    pub fn end_epoch(&mut self, now: Instant, token: Token, body: EndQuorumEpochRequest, tail: Tail) {
        let _ = (now, token, body, tail);
    }

    /// Somebody wants to see the quorum.
    pub fn describe(&mut self, now: Now, token: Token, body: DescribeQuorumRequest, tail: Tail) {
        let _ = (now, token, body, tail);
    }

    /// An operator adds a voter (KIP-853).
    pub fn add_voter(&mut self, now: Instant, token: Token, body: AddRaftVoterRequest, tail: Tail) {
        let _ = (now, token, body, tail);
    }

    /// An operator removes a voter (KIP-853).
    pub fn remove_voter(&mut self, now: Instant, token: Token, body: RemoveRaftVoterRequest, tail: Tail) {
        let _ = (now, token, body, tail);
    }

    /// A voter tells its endpoint (KIP-853).
    pub fn update_voter(&mut self, now: Instant, token: Token, body: UpdateRaftVoterRequest, tail: Tail) {
        let _ = (now, token, body, tail);
    }

    /// A call came back, or did not. Calls that nobody waits for any more are passed over.
    pub fn answered(&mut self, now: Instant, call: CallId, outcome: Result<Response, Unreachable>, tail: Tail) {
        let _ = (now, call, outcome, tail);
    }

    /// The election of `Action::Save { number }` is durable, and so is each before it.
    pub fn saved(&mut self, now: Instant, number: u64) {
        let _ = (now, number);
    }

    /// The log grew or was cut.
    pub fn appended(&mut self, now: Instant, tail: Tail) {
        let _ = (now, tail);
    }

    /// The durable end moved.
    pub fn durable(&mut self, now: Instant, tail: Tail) {
        let _ = (now, tail);
    }

    /// Leader only: a replica asked, in this node's epoch, for what follows `offset`, so it has everything below durable. Not told of a fetch that
    /// was answered with a diverging epoch or an error.
    pub fn fetched(&mut self, now: Now, replica: Replica, offset: Offset) {
        let _ = (now, replica, offset);
    }

    /// An answer or a request tells an epoch and its leader. A newer epoch is taken up.
    pub fn heard(&mut self, now: Instant, epoch: LeaderEpoch, leader: Option<BrokerId>, address: Option<Address>) {
        let _ = (now, epoch, leader, address);
    }

    /// The leader of `epoch` answered a fetch without an error, a diverging epoch included: it is alive.
    pub fn fetch_answered(&mut self, now: Instant, epoch: LeaderEpoch) {
        let _ = (now, epoch);
    }

    /// A fetch from `fetch_target` came to nothing: the next one waits a little.
    pub fn fetch_failed(&mut self, now: Instant) {
        let _ = now;
    }

    /// A voters record was appended at `at` (by this node or by its leader): it holds from now on.
    pub fn voters_changed(&mut self, now: Instant, at: Offset, voters: Voters) {
        let _ = (now, at, voters);
    }

    /// The log was cut to end at `to`: voters records from there on never were.
    pub fn truncated(&mut self, now: Instant, to: Offset) {
        let _ = (now, to);
    }

    /// The connection to `peer` closed and a new one was refused: its process is gone. A voter that follows it pre-votes at once.
    pub fn gone(&mut self, now: Instant, peer: BrokerId) {
        let _ = (now, peer);
    }

    /// The node wants to stop: a leader hands over, and nobody stands for election any more.
    pub fn resign(&mut self, now: Instant) {
        let _ = now;
    }

    /// Whether no call is outstanding: a node that resigned may stop now.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        true
    }

    /// Whom a node that does not lead should fetch from: the leader, or, while none is known, one of the voters and bootstrap servers by chance.
    /// `None` while there is nobody, while it is too early (`deadline` says when to ask again), and while an election is not yet durable.
    pub fn fetch_target(&mut self, now: Instant) -> Option<Peer> {
        let _ = now;
        None
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> State {
        State::Unattached
    }

    /// The newest epoch known.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.election.epoch
    }

    /// The leader of that epoch, if known: its id and its controller listener.
    #[must_use]
    pub fn leader(&self) -> Option<(BrokerId, Address)> {
        None
    }

    /// Leader only: what is committed; `None` until an entry of its epoch is.
    #[must_use]
    pub fn high(&self) -> Option<Offset> {
        None
    }

    /// Whether this node leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        false
    }

    /// Whether this node has a vote.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.config.may_vote && self.voters.contains((self.config.me, self.config.directory))
    }

    /// The voters as this node's log has them.
    #[must_use]
    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    /// Panics if something that must hold does not.
    pub fn check(&self) {
        assert!(self.tail.durable <= self.tail.end, "durable end {} passed the end {}", self.tail.durable, self.tail.end);
    }
}
