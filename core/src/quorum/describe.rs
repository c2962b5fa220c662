//! `DescribeQuorum`: how far each replica is, as the leader sees it.

use super::lead::{Leader, Progress};
use super::replies::TOPIC;
use super::role::Role;
use super::{Action, Quorum, Replica, Tail, Voter};
use crate::error::ErrorCode;
use crate::id::{Offset, PartitionIndex};
use crate::request::Token;
use crate::time::{Now, Timestamp};
use crate::wire::Response;
use crate::wire::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, PartitionResult, ReplicaState, TopicResult,
};

impl Quorum {
    /// Somebody wants to see the quorum.
    pub fn describe(&mut self, now: Now, token: Token, body: DescribeQuorumRequest, tail: Tail) {
        self.see(now.at, tail);
        let body = Response::DescribeQuorum(self.described(now, &body));
        self.emit(Action::Reply { token, body });
        self.advance(now.at);
    }

    fn described(&self, now: Now, body: &DescribeQuorumRequest) -> DescribeQuorumResponse {
        let only = super::replies::only(&body.topics, |topic| &topic.topic_name, |topic| &topic.partitions, |it| it.partition_index);
        if only.is_none() {
            return refused_each(body);
        }
        let Role::Leader(leader) = &self.role else {
            return with_partition(failed(PartitionIndex(0), ErrorCode::NOT_LEADER_OR_FOLLOWER));
        };
        let mut response = with_partition(self.seen_by(leader, now));
        response.nodes = self.voters().iter().map(|voter| self.node(voter)).collect();
        response
    }

    fn seen_by(&self, leader: &Leader, now: Now) -> PartitionResult {
        let state = |(replica_id, replica_directory_id): Replica, progress: Option<&Progress>| {
            let (last_fetch_timestamp, last_caught_up_timestamp) =
                progress.map_or((Timestamp::NONE, Timestamp::NONE), |progress| progress.wall());
            let log_end_offset = progress.map_or(Offset::UNKNOWN, |progress| progress.end);
            ReplicaState { replica_id, replica_directory_id, log_end_offset, last_fetch_timestamp, last_caught_up_timestamp }
        };
        let mine = ReplicaState {
            replica_id: self.config.me,
            replica_directory_id: self.config.directory,
            log_end_offset: self.tail.end,
            last_fetch_timestamp: now.wall,
            last_caught_up_timestamp: now.wall,
        };
        let voter = |voter: &Voter| if voter.is(self.me()) { mine.clone() } else { state(voter.replica(), leader.progress(voter)) };
        let observers = leader.replicas.iter().filter(|(replica, _)| !self.voters().contains(**replica));
        let removed = (!self.is_voter()).then(|| mine.clone());
        PartitionResult {
            partition_index: PartitionIndex(0),
            error_code: ErrorCode::NONE,
            error_message: None,
            leader_id: self.config.me,
            leader_epoch: self.election.epoch,
            high_watermark: leader.high.unwrap_or(Offset::UNKNOWN),
            current_voters: self.voters().iter().map(voter).collect(),
            observers: observers.map(|(replica, progress)| state(*replica, Some(progress))).chain(removed).collect(),
        }
    }

    fn node(&self, voter: &Voter) -> Node {
        let listener = Listener { name: self.config.listener.clone(), host: voter.address.host.clone(), port: voter.address.port };
        Node { node_id: voter.id, listeners: vec![listener] }
    }
}

fn failed(partition_index: PartitionIndex, error_code: ErrorCode) -> PartitionResult {
    PartitionResult { partition_index, error_code, error_message: Some(error_code.message().into()), ..Default::default() }
}

fn with_partition(partition: PartitionResult) -> DescribeQuorumResponse {
    let topic = TopicResult { topic_name: TOPIC.into(), partitions: vec![partition] };
    DescribeQuorumResponse { error_code: ErrorCode::NONE, error_message: None, topics: vec![topic], nodes: Vec::new() }
}

/// Of another topic nothing is known, partition by partition.
fn refused_each(body: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let topics = body.topics.iter().map(|topic| TopicResult {
        topic_name: topic.topic_name.clone(),
        partitions: topic.partitions.iter().map(|partition| failed(partition.partition_index, unknown)).collect(),
    });
    DescribeQuorumResponse { error_code: ErrorCode::NONE, error_message: None, topics: topics.collect(), nodes: Vec::new() }
}
