//! Votes, asked for by others and by this node.

use super::calls::{Called, Kind};
use super::replies::{self, News};
use super::role::{Known, Role, Unattached};
use super::{Action, Election, NO_EPOCH, Quorum, Replica, Tail};
use crate::broker::io::Unreachable;
use crate::client::io::Address;
use crate::error::ErrorCode;
use crate::id::{BrokerId, CallId, LeaderEpoch};
use crate::request::Token;
use crate::time::Instant;
use crate::wire::Response;
use crate::wire::api::vote::{PartitionData, VoteRequest};
use crate::{mutant, probe};

/// What an answer tells, whichever it is.
struct Told {
    error: ErrorCode,
    epoch: LeaderEpoch,
    leader: Option<BrokerId>,
    address: Option<Address>,
    granted: bool,
}

impl Quorum {
    /// A peer asks for a vote, or whether it would get one.
    pub fn vote(&mut self, now: Instant, token: Token, body: VoteRequest, tail: Tail) {
        self.see(now, tail);
        let (body, granted) = self.judge_vote(now, &body);
        let reply = Action::Reply { token, body };
        if granted && mutant!(VoteForgotten) {
            self.actions.push_back(reply)
        } else {
            self.emit(reply)
        }
        self.advance(now);
    }

    fn judge_vote(&mut self, now: Instant, body: &VoteRequest) -> (Response, bool) {
        if !self.is_my_cluster(body.cluster_id.as_deref()) {
            return (replies::vote_refused(ErrorCode::INCONSISTENT_CLUSTER_ID), false);
        }
        let only = replies::only(&body.topics, |topic| &topic.topic_name, |topic| &topic.partitions, |partition| partition.partition_index);
        let Some(ask) = only else { return (replies::vote_refused(ErrorCode::INVALID_REQUEST), false) };
        let verdict = self.judge_candidate(now, body.voter_id, ask);
        let news = self.news();
        match verdict {
            Ok(granted) => (replies::vote(&news, ErrorCode::NONE, granted), granted),
            Err(error) => (replies::vote(&news, error, false), false),
        }
    }

    fn judge_candidate(&mut self, now: Instant, voter: BrokerId, ask: &PartitionData) -> Result<bool, ErrorCode> {
        // Who stands does so in a newer epoch than any record's; who only sounds out does so in an epoch that may have records.
        let newest = LeaderEpoch(ask.replica_epoch.0.saturating_sub(i32::from(!ask.pre_vote)));
        if ask.replica_epoch == NO_EPOCH
            || ask.last_offset.0 < 0
            || ask.last_offset_epoch.0 < 0
            || ask.last_offset_epoch > newest
            || ask.replica_id.0 < 0
        {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if ask.replica_epoch < self.election.epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if ask.replica_epoch > self.election.epoch {
            // Even for a pre-vote: its epoch has begun, and whoever is in it can fetch from no leader of an older one.
            self.take_up(now, ask.replica_epoch, None, None);
        }
        if !self.is_me(voter, ask.voter_directory_id) {
            probe!("a vote was asked of another voter than this one");
            return Err(ErrorCode::INVALID_VOTER_KEY);
        }
        let up_to_date = (ask.last_offset_epoch, ask.last_offset) >= (self.tail.epoch, self.tail.end);
        if ask.pre_vote {
            return Ok(up_to_date && !self.hears_a_leader());
        }
        Ok(self.give_vote(now, (ask.replica_id, ask.replica_directory_id), up_to_date))
    }

    /// KIP-996: who hears its leader helps nobody to disturb it.
    fn hears_a_leader(&self) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => follower.hears,
            Role::Unattached(_) | Role::Prospective(_) | Role::Candidate(_) | Role::Resigned(_) => false,
        }
    }

    fn give_vote(&mut self, now: Instant, candidate: Replica, up_to_date: bool) -> bool {
        match self.election {
            Election { voted: Some(voted), .. } => voted == candidate,
            Election { leader: Some(_), .. } => false,
            Election { leader: None, voted: None, .. } if !up_to_date => false,
            Election { leader: None, voted: None, epoch } => {
                self.save(Election { epoch, leader: None, voted: Some(candidate) });
                // It may take as long as an election takes until the winner tells.
                let until = now.after(self.election_timeout());
                self.turn_into(Role::Unattached(Unattached { until, lost: 0 }))
            }
        }
    }

    /// A call came back, or did not. Calls that nobody waits for any more are passed over.
    pub fn answered(&mut self, now: Instant, call: CallId, outcome: Result<Response, Unreachable>, tail: Tail) {
        self.see(now, tail);
        if let Some(called) = self.calls.remove(&call) {
            match outcome.ok().and_then(|response| told(&response)) {
                Some(told) => self.take_answer(now, call, called, told),
                None => self.ask_again(now, call, called.to),
            }
        }
        self.advance(now);
    }

    fn take_answer(&mut self, now: Instant, call: CallId, called: Called, told: Told) {
        self.learn(now, told.epoch, told.leader, told.address);
        // The role may be another by now, even another round of the same.
        let asked = self.role.round().is_some_and(|round| round.tries(called.to, call).is_some());
        if !asked || called.epoch != self.election.epoch {
            return;
        }
        let fits = told.epoch == called.epoch;
        match (called.kind, told.error) {
            (kind, ErrorCode::NONE) if fits => {
                let yes = told.granted || matches!(kind, Kind::Begin | Kind::End);
                self.noted(now, called.to, kind, yes);
            }
            // Whoever is in a newer epoch needs no farewell.
            (Kind::End, ErrorCode::FENCED_LEADER_EPOCH) => self.noted(now, called.to, Kind::End, true),
            _ => self.ask_again(now, call, called.to),
        }
    }

    pub(super) fn news(&self) -> News {
        let me = || Known { id: self.config.me, address: self.config.address.clone() };
        let leader = if matches!(self.role, Role::Leader(_)) { Some(me()) } else { self.role.leader().cloned() };
        News { epoch: self.election.epoch, leader }
    }

    pub(super) fn is_my_cluster(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| id == self.config.cluster)
    }

    /// Whether a request's voter is this node on this disk (KIP-853); older versions name neither.
    pub(super) fn is_me(&self, voter: BrokerId, directory: crate::id::Uuid) -> bool {
        let wildcard = directory == crate::id::Uuid::ZERO || mutant!(WipedVotesTwice);
        voter.0 < 0 || (voter == self.config.me && (wildcard || directory == self.config.directory))
    }
}

/// What an answer tells; `None` for a refusal as a whole.
fn told(response: &Response) -> Option<Told> {
    let id = |id: BrokerId| (id.0 >= 0).then_some(id);
    macro_rules! told {
        ($body:ident, $granted:expr) => {{
            let partition = $body.topics.first()?.partitions.first()?;
            let leader = id(partition.leader_id);
            let endpoint = $body.node_endpoints.iter().find(|endpoint| Some(endpoint.node_id) == leader);
            let address = endpoint.map(|endpoint| Address { host: endpoint.host.clone(), port: endpoint.port });
            let granted: fn(&_) -> bool = $granted;
            Some(Told { error: partition.error_code, epoch: partition.leader_epoch, leader, address, granted: granted(partition) })
        }};
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "of all answers these three are the quorum's")]
    match response {
        Response::Vote(body) if body.error_code.is_none() => {
            told!(body, |partition: &crate::wire::api::vote::PartitionResult| partition.vote_granted)
        }
        Response::BeginQuorumEpoch(body) if body.error_code.is_none() => told!(body, |_| false),
        Response::EndQuorumEpoch(body) if body.error_code.is_none() => told!(body, |_| false),
        _ => None,
    }
}
