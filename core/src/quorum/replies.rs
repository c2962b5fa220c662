//! The answers' bodies. There is one topic, and one partition of it.

use super::role::Known;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex};
use crate::wire::Response;
use crate::wire::api::{begin_quorum_epoch as begin, end_quorum_epoch as end, vote};

/// The metadata log's topic.
pub(super) const TOPIC: &str = "__cluster_metadata";

/// What each answer tells of the epoch.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) epoch: LeaderEpoch,
    pub(super) leader: Option<Known>,
}

impl News {
    fn id(&self) -> BrokerId {
        self.leader.as_ref().map_or(BrokerId(-1), |leader| leader.id)
    }
}

/// The one partition of a request about the metadata log; `None` if it asks about something else.
pub(super) fn only<'a, T, P>(
    topics: &'a [T],
    name: impl Fn(&T) -> &str,
    partitions: impl Fn(&'a T) -> &'a [P],
    index: impl Fn(&P) -> PartitionIndex,
) -> Option<&'a P> {
    let [topic] = topics else { return None };
    let [partition] = partitions(topic) else { return None };
    (name(topic) == TOPIC && index(partition) == PartitionIndex(0)).then_some(partition)
}

pub(super) fn vote(news: &News, error: ErrorCode, granted: bool) -> Response {
    let partition = vote::PartitionResult {
        partition_index: PartitionIndex(0),
        error_code: error,
        leader_id: news.id(),
        leader_epoch: news.epoch,
        vote_granted: granted,
    };
    let endpoint = |known: &Known| vote::NodeEndpoint { node_id: known.id, host: known.address.host.clone(), port: known.address.port };
    Response::Vote(vote::VoteResponse {
        error_code: ErrorCode::NONE,
        topics: vec![vote::TopicResult { topic_name: TOPIC.into(), partitions: vec![partition] }],
        node_endpoints: news.leader.iter().map(endpoint).collect(),
    })
}

pub(super) fn vote_refused(error: ErrorCode) -> Response {
    Response::Vote(vote::VoteResponse { error_code: error, ..Default::default() })
}

pub(super) fn begin(news: &News, error: ErrorCode) -> Response {
    let partition =
        begin::PartitionResult { partition_index: PartitionIndex(0), error_code: error, leader_id: news.id(), leader_epoch: news.epoch };
    let endpoint = |known: &Known| begin::NodeEndpoint { node_id: known.id, host: known.address.host.clone(), port: known.address.port };
    Response::BeginQuorumEpoch(begin::BeginQuorumEpochResponse {
        error_code: ErrorCode::NONE,
        topics: vec![begin::TopicResult { topic_name: TOPIC.into(), partitions: vec![partition] }],
        node_endpoints: news.leader.iter().map(endpoint).collect(),
    })
}

pub(super) fn begin_refused(error: ErrorCode) -> Response {
    Response::BeginQuorumEpoch(begin::BeginQuorumEpochResponse { error_code: error, ..Default::default() })
}

pub(super) fn end(news: &News, error: ErrorCode) -> Response {
    let partition =
        end::PartitionResult { partition_index: PartitionIndex(0), error_code: error, leader_id: news.id(), leader_epoch: news.epoch };
    let endpoint = |known: &Known| end::NodeEndpoint { node_id: known.id, host: known.address.host.clone(), port: known.address.port };
    Response::EndQuorumEpoch(end::EndQuorumEpochResponse {
        error_code: ErrorCode::NONE,
        topics: vec![end::TopicResult { topic_name: TOPIC.into(), partitions: vec![partition] }],
        node_endpoints: news.leader.iter().map(endpoint).collect(),
    })
}

pub(super) fn end_refused(error: ErrorCode) -> Response {
    Response::EndQuorumEpoch(end::EndQuorumEpochResponse { error_code: error, ..Default::default() })
}
