//! A leader's first and last words: `BeginQuorumEpoch` and `EndQuorumEpoch`.

use super::replies;
use super::role::Role;
use super::{Action, NO_EPOCH, Quorum, Replica, Tail};
use crate::client::io::Address;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Uuid};
use crate::probe;
use crate::request::Token;
use crate::time::Instant;
use crate::wire::Response;
use crate::wire::api::begin_quorum_epoch::BeginQuorumEpochRequest;
use crate::wire::api::end_quorum_epoch::{EndQuorumEpochRequest, PartitionData};
use std::time::Duration;

impl Quorum {
    /// A peer says that it leads.
    pub fn begin_epoch(&mut self, now: Instant, token: Token, body: BeginQuorumEpochRequest, tail: Tail) {
        self.see(now, tail);
        let body = self.judge_begin(now, &body);
        self.emit(Action::Reply { token, body });
        self.advance(now);
    }

    fn judge_begin(&mut self, now: Instant, body: &BeginQuorumEpochRequest) -> Response {
        if !self.is_my_cluster(body.cluster_id.as_deref()) {
            return replies::begin_refused(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let only = replies::only(&body.topics, |topic| &topic.topic_name, |topic| &topic.partitions, |partition| partition.partition_index);
        let Some(ask) = only else { return replies::begin_refused(ErrorCode::INVALID_REQUEST) };
        let endpoint =
            body.leader_endpoints.iter().find(|endpoint| endpoint.name == self.config.listener).or(body.leader_endpoints.first());
        let address = endpoint.map(|endpoint| Address { host: endpoint.host.clone(), port: endpoint.port });
        let error = match self.leader_speaks(now, ask.leader_id, ask.leader_epoch, address) {
            Err(error) => error,
            Ok(()) if self.is_me(body.voter_id, ask.voter_directory_id) => ErrorCode::NONE,
            Ok(()) => ErrorCode::INVALID_VOTER_KEY,
        };
        replies::begin(&self.news(), error)
    }

    /// A peer says that it leads no more.
    pub fn end_epoch(&mut self, now: Instant, token: Token, body: EndQuorumEpochRequest, tail: Tail) {
        self.see(now, tail);
        let body = self.judge_end(now, &body);
        self.emit(Action::Reply { token, body });
        self.advance(now);
    }

    fn judge_end(&mut self, now: Instant, body: &EndQuorumEpochRequest) -> Response {
        if !self.is_my_cluster(body.cluster_id.as_deref()) {
            return replies::end_refused(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        let only = replies::only(&body.topics, |topic| &topic.topic_name, |topic| &topic.partitions, |partition| partition.partition_index);
        let Some(ask) = only else { return replies::end_refused(ErrorCode::INVALID_REQUEST) };
        let endpoint =
            body.leader_endpoints.iter().find(|endpoint| endpoint.name == self.config.listener).or(body.leader_endpoints.first());
        let address = endpoint.map(|endpoint| Address { host: endpoint.host.clone(), port: endpoint.port });
        if let Err(error) = self.leader_speaks(now, ask.leader_id, ask.leader_epoch, address) {
            return replies::end(&self.news(), error);
        }
        let wait = self.wait_for_successor(&successors(ask));
        if let Role::Follower(follower) = &mut self.role
            && follower.leader.id == ask.leader_id
        {
            // So the others' pre-votes are granted from now on.
            follower.hears = false;
            follower.until = follower.until.min(now.after(wait));
        }
        replies::end(&self.news(), ErrorCode::NONE)
    }

    /// The leader of an epoch says something: its epoch is taken up if it is news.
    fn leader_speaks(&mut self, now: Instant, leader: BrokerId, epoch: LeaderEpoch, address: Option<Address>) -> Result<(), ErrorCode> {
        if epoch < self.election.epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        let other = epoch == self.election.epoch && self.election.leader.is_some_and(|known| known != leader);
        if leader.0 < 0 || leader == self.config.me || other || epoch == NO_EPOCH {
            probe!("a second leader of an epoch spoke, or none");
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.learn(now, epoch, Some(leader), address);
        Ok(())
    }

    /// How long to let better successors go first: none at all for the best, then ever longer (KIP-595).
    fn wait_for_successor(&mut self, successors: &[Replica]) -> Duration {
        if successors.is_empty() {
            return self.soon();
        }
        let (id, directory) = self.me();
        let is_me = |other: &Replica| other.0 == id && (other.1 == Uuid::ZERO || other.1 == directory);
        let Some(place) = successors.iter().position(is_me) else { return self.config.backoff_max };
        let Some(halvings) = place.checked_sub(1) else { return Duration::ZERO };
        let first = self.config.backoff_max / (1 << (successors.len() - 1).min(20));
        first.saturating_mul(1 << halvings.min(20)).min(self.config.backoff_max)
    }
}

fn successors(ask: &PartitionData) -> Vec<Replica> {
    if ask.preferred_candidates.is_empty() {
        return ask.preferred_successors.iter().map(|id| (*id, Uuid::ZERO)).collect();
    }
    ask.preferred_candidates.iter().map(|it| (it.candidate_id, it.candidate_directory_id)).collect()
}
