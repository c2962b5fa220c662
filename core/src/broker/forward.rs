//! Requests that only the active controller decides: every broker takes them and forwards them in an Envelope (KIP-590), and asks again while no
//! controller is there.

use super::calls::Asker;
use super::conn::Undecided;
use super::io::{Lane, Unreachable};
use super::{Broker, Timer, Token};
use crate::error::ErrorCode;
use crate::id::{CorrelationId, Uuid};
use crate::probe;
use crate::time::Instant;
use crate::wire::api::envelope::{EnvelopeRequest, EnvelopeResponse};
use crate::wire::{ApiKey, Request, RequestHeader, Response, decode_request, decode_response, encode_request, encode_response};
use bytes::Bytes;
use std::time::Duration;

/// So long a controller is looked for, whatever time-out a request names: that bounds how long it may stand in Kafka's controller before it is decided, and
/// here it is decided as it comes. Kafka's brokers look for 60 s (`BrokerServer`); by then most clients have hung up.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_millis(50);

/// A request that waits for the active controller.
#[derive(Clone, Debug)]
pub(super) struct Forwarding {
    request: Undecided,
    until: Instant,
    is_open: bool,
}

/// A request that came in an envelope: its answer goes back in one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrapped {
    correlation: CorrelationId,
    version: i16,
}

impl Broker {
    /// Whether only the active controller decides this.
    pub(super) fn is_for_controller(body: &Request) -> bool {
        matches!(
            body.api(),
            ApiKey::CreateTopics
                | ApiKey::DeleteTopics
                | ApiKey::CreatePartitions
                | ApiKey::AlterConfigs
                | ApiKey::IncrementalAlterConfigs
                | ApiKey::ElectLeaders
                | ApiKey::AlterPartitionReassignments
                | ApiKey::ListPartitionReassignments
                | ApiKey::UnregisterBroker
                | ApiKey::UpdateFeatures
                | ApiKey::DescribeQuorum
                | ApiKey::AddRaftVoter
                | ApiKey::RemoveRaftVoter
        )
    }

    /// Whether a node of the cluster asks this of the active controller: it looks for another one when it is told so.
    pub(super) fn is_of_nodes(body: &Request) -> bool {
        matches!(
            body.api(),
            ApiKey::BrokerRegistration
                | ApiKey::BrokerHeartbeat
                | ApiKey::AlterPartition
                | ApiKey::AllocateProducerIds
                | ApiKey::ControllerRegistration
                | ApiKey::AssignReplicasToDirs
        )
    }

    /// Takes a client's request to the active controller, wherever it is.
    pub(super) fn forward(&mut self, token: Token, request: Undecided) {
        let until = self.now.at.after(PATIENCE);
        self.forwarding.insert(token, Forwarding { request, until, is_open: false });
        self.try_forward(token);
    }

    pub(super) fn try_forward(&mut self, token: Token) {
        let Some(forwarding) = self.forwarding.get_mut(&token) else { return };
        if forwarding.is_open {
            return;
        }
        if self.admin.controller.is_active() {
            let Forwarding { request, .. } = self.forwarding.remove(&token).expect("looked at above");
            return self.decide(token, request);
        }
        if forwarding.until <= self.now.at {
            probe!("no controller was found for a forwarded request");
            let Forwarding { request, .. } = self.forwarding.remove(&token).expect("looked at above");
            return match refused(&request.body, ErrorCode::REQUEST_TIMED_OUT) {
                Some(body) => self.reply(token, body),
                None => self.close(token.conn, "no active controller was found for a request in time"),
            };
        }
        let envelope = wrap(&forwarding.request);
        let is_open = self.call_controller(Lane::Forward, envelope.into(), Asker::Forward(token));
        match self.forwarding.get_mut(&token) {
            Some(forwarding) if is_open => forwarding.is_open = true,
            Some(_) | None => drop(self.timer(RETRY, Timer::Forward(token))),
        }
    }

    /// This node has become the active controller: what waits for one is decided here.
    pub(super) fn retry_forwards(&mut self) {
        let tokens: Vec<Token> = self.forwarding.keys().copied().collect();
        tokens.into_iter().for_each(|token| self.try_forward(token));
    }

    pub(super) fn forward_answered(&mut self, token: Token, outcome: Result<Response, Unreachable>) {
        let Some(forwarding) = self.forwarding.get_mut(&token) else { return };
        forwarding.is_open = false;
        let header = &forwarding.request.header;
        let answer = match outcome {
            Ok(Response::Envelope(envelope)) if envelope.error_code == ErrorCode::NONE => {
                envelope.response_data.and_then(|data| decode_response(header.api, header.version, data).ok())
            }
            Ok(_) | Err(_) => None,
        };
        match answer {
            Some((_, body)) => {
                self.forwarding.remove(&token);
                self.reply(token, body);
            }
            None => drop(self.timer(RETRY, Timer::Forward(token))),
        }
    }

    /// This node is not the one to answer any more: who asked is to find the active controller.
    pub(super) fn refer(&mut self, token: Token, planned: ApiKey) {
        if self.wrapped.remove(&token).is_some() {
            return self.reply(token, EnvelopeResponse { response_data: None, error_code: ErrorCode::NOT_CONTROLLER }.into());
        }
        match not_controller(planned) {
            Some(body) => self.reply(token, body),
            None => self.close(token.conn, "the controller that was deciding a request is active no more"),
        }
    }

    /// A broker forwards a request of its client.
    pub(super) fn unwrap_envelope(&mut self, token: Token, envelope: EnvelopeRequest) {
        let refuse = |error_code| EnvelopeResponse { response_data: None, error_code };
        if !self.admin.controller.is_active() {
            return self.reply(token, refuse(ErrorCode::NOT_CONTROLLER).into());
        }
        match decode_request(envelope.request_data) {
            Ok((header, body)) if Self::is_for_controller(&body) => {
                self.wrapped.insert(token, Wrapped { correlation: header.correlation, version: header.version });
                self.decide(token, Undecided { header, body, batches: Vec::new() });
            }
            Ok(_) | Err(_) => self.reply(token, refuse(ErrorCode::INVALID_REQUEST).into()),
        }
    }
}

impl Wrapped {
    /// Puts an answer into its envelope.
    pub(super) fn wrap(self, body: &Response) -> Response {
        let frame = encode_response(self.correlation, self.version, body).bytes().expect("the controller's answers are in memory");
        EnvelopeResponse { response_data: Some(frame.slice(4..)), error_code: ErrorCode::NONE }.into()
    }
}

fn wrap(request: &Undecided) -> EnvelopeRequest {
    let header = RequestHeader { client_id: request.header.client_id.clone(), ..request.header };
    let frame = encode_request(&header, &request.body).bytes().expect("admin requests are in memory");
    EnvelopeRequest { request_data: frame.slice(4..), request_principal: None, client_host_address: Bytes::from_static(&[127, 0, 0, 1]) }
}

/// A refusal of everything that an admin request asks for. `None` for what is not forwarded.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not forwarded is not refused here")]
fn refused(request: &Request, error_code: ErrorCode) -> Option<Response> {
    use crate::wire::api as a;
    Some(match request {
        Request::CreateTopics(body) => {
            let result = |t: &a::create_topics::CreatableTopic| a::create_topics::CreatableTopicResult {
                name: t.name.clone(),
                error_code,
                ..Default::default()
            };
            a::create_topics::CreateTopicsResponse { topics: body.topics.iter().map(result).collect(), ..Default::default() }.into()
        }
        Request::DeleteTopics(body) => {
            let named = body.topic_names.iter().map(|name| (Some(name.clone()), Uuid::ZERO));
            let all = named.chain(body.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id)));
            let result = |(name, topic_id)| a::delete_topics::DeletableTopicResult { name, topic_id, error_code, ..Default::default() };
            a::delete_topics::DeleteTopicsResponse { responses: all.map(result).collect(), ..Default::default() }.into()
        }
        Request::CreatePartitions(body) => {
            let result = |t: &a::create_partitions::CreatePartitionsTopic| a::create_partitions::CreatePartitionsTopicResult {
                name: t.name.clone(),
                error_code,
                ..Default::default()
            };
            a::create_partitions::CreatePartitionsResponse { results: body.topics.iter().map(result).collect(), ..Default::default() }
                .into()
        }
        Request::AlterConfigs(body) => {
            let result = |r: &a::alter_configs::AlterConfigsResource| a::alter_configs::AlterConfigsResourceResponse {
                error_code,
                resource_type: r.resource_type,
                resource_name: r.resource_name.clone(),
                ..Default::default()
            };
            a::alter_configs::AlterConfigsResponse { responses: body.resources.iter().map(result).collect(), ..Default::default() }.into()
        }
        Request::IncrementalAlterConfigs(body) => {
            let result =
                |r: &a::incremental_alter_configs::AlterConfigsResource| a::incremental_alter_configs::AlterConfigsResourceResponse {
                    error_code,
                    resource_type: r.resource_type,
                    resource_name: r.resource_name.clone(),
                    ..Default::default()
                };
            let responses = body.resources.iter().map(result).collect();
            a::incremental_alter_configs::IncrementalAlterConfigsResponse { responses, ..Default::default() }.into()
        }
        Request::ElectLeaders(_) => a::elect_leaders::ElectLeadersResponse { error_code, ..Default::default() }.into(),
        Request::UpdateFeatures(_) => a::update_features::UpdateFeaturesResponse { error_code, ..Default::default() }.into(),
        Request::UnregisterBroker(_) => a::unregister_broker::UnregisterBrokerResponse { error_code, ..Default::default() }.into(),
        Request::AlterPartitionReassignments(_) => {
            a::alter_partition_reassignments::AlterPartitionReassignmentsResponse { error_code, ..Default::default() }.into()
        }
        Request::ListPartitionReassignments(_) => {
            a::list_partition_reassignments::ListPartitionReassignmentsResponse { error_code, ..Default::default() }.into()
        }
        Request::DescribeQuorum(_) => a::describe_quorum::DescribeQuorumResponse { error_code, ..Default::default() }.into(),
        Request::AddRaftVoter(_) => a::add_raft_voter::AddRaftVoterResponse { error_code, ..Default::default() }.into(),
        Request::RemoveRaftVoter(_) => a::remove_raft_voter::RemoveRaftVoterResponse { error_code, ..Default::default() }.into(),
        _ => return None,
    })
}

/// What a node of the cluster is told that asks a node which is not the active controller; `None` for what nodes do not ask.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not asked by nodes is not answered here")]
pub(super) fn not_controller(api: ApiKey) -> Option<Response> {
    use crate::wire::api as a;
    let error_code = ErrorCode::NOT_CONTROLLER;
    Some(match api {
        ApiKey::BrokerRegistration => a::broker_registration::BrokerRegistrationResponse { error_code, ..Default::default() }.into(),
        ApiKey::BrokerHeartbeat => a::broker_heartbeat::BrokerHeartbeatResponse { error_code, ..Default::default() }.into(),
        ApiKey::AlterPartition => a::alter_partition::AlterPartitionResponse { error_code, ..Default::default() }.into(),
        ApiKey::AllocateProducerIds => a::allocate_producer_ids::AllocateProducerIdsResponse { error_code, ..Default::default() }.into(),
        ApiKey::ControllerRegistration => {
            a::controller_registration::ControllerRegistrationResponse { error_code, ..Default::default() }.into()
        }
        ApiKey::AssignReplicasToDirs => {
            a::assign_replicas_to_dirs::AssignReplicasToDirsResponse { error_code, ..Default::default() }.into()
        }
        _ => return None,
    })
}
