//! A pretended coordinator of one classic group.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::broker::Served;
use super::{MS, Ticket};
use crate::client::TopicPartition;
use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset};
use crate::wire::api::find_coordinator::FindCoordinatorResponse;
use crate::wire::api::heartbeat::HeartbeatResponse;
use crate::wire::api::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::wire::api::leave_group::LeaveGroupResponse;
use crate::wire::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::wire::api::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use crate::wire::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::{Request, Response};

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Empty,
    Preparing { until: u64 },
    Completing,
    Stable,
}

#[derive(Debug, Default)]
struct Member {
    instance: Option<String>,
    protocols: Vec<(String, Bytes)>,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
    assignment: Bytes,
    seen: u64,
}

pub(crate) struct Group {
    pub(crate) coordinator: i32,
    /// How long a member may be silent, in ms.
    pub(crate) session_ms: u64,
    pub(crate) generation: i32,
    pub(crate) offsets: BTreeMap<TopicPartition, Offset>,
    /// Parked requests that are answered now.
    pub(crate) ready: Vec<(Ticket, Response)>,
    state: State,
    leader: String,
    members: BTreeMap<String, Member>,
    promised: BTreeSet<String>,
    next_id: u32,
}

impl Group {
    pub(super) fn new(coordinator: i32) -> Self {
        Self {
            coordinator,
            session_ms: 45_000,
            generation: 0,
            offsets: BTreeMap::new(),
            ready: Vec::new(),
            state: State::Empty,
            leader: String::new(),
            members: BTreeMap::new(),
            promised: BTreeSet::new(),
            next_id: 0,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    /// Throws all members out, as after a coordinator lost its state.
    pub(crate) fn forget(&mut self) {
        self.members.clear();
        self.state = State::Empty;
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        let rebalance = match self.state {
            State::Preparing { until } => Some(until),
            State::Empty | State::Completing | State::Stable => None,
        };
        let silent = self.members.values().filter(|m| m.joining.is_none()).map(|m| m.seen + self.session_ms * MS).min();
        rebalance.into_iter().chain(silent).min()
    }

    pub(crate) fn tick(&mut self, now: u64) {
        let before = self.members.len();
        let session = self.session_ms * MS;
        self.members.retain(|_, member| member.joining.is_some() || member.seen + session > now);
        if self.members.len() != before {
            self.prepare(now);
        }
        if matches!(self.state, State::Preparing { until } if until <= now) {
            self.members.retain(|_, member| member.joining.is_some());
            self.complete(now);
        }
    }

    pub(super) fn serve(&mut self, now: u64, broker: i32, ticket: &Ticket, request: Request) -> Served {
        let here = broker == self.coordinator;
        let no = if here { ErrorCode::NONE } else { ErrorCode::NOT_COORDINATOR };
        let response = match request {
            Request::FindCoordinator(_) => {
                let (node_id, port) = (BrokerId(self.coordinator), 9000 + self.coordinator);
                Response::FindCoordinator(FindCoordinatorResponse { node_id, host: "b".into(), port, ..Default::default() })
            }
            Request::JoinGroup(_) if !here => Response::JoinGroup(JoinGroupResponse { error_code: no, ..Default::default() }),
            Request::JoinGroup(request) => match self.join(now, ticket, request) {
                Some(refused) => Response::JoinGroup(refused),
                None => return Served::Nothing,
            },
            Request::SyncGroup(_) if !here => Response::SyncGroup(SyncGroupResponse { error_code: no, ..Default::default() }),
            Request::SyncGroup(request) => match self.sync(now, ticket, request) {
                Some(answer) => Response::SyncGroup(answer),
                None => return Served::Nothing,
            },
            Request::Heartbeat(request) => {
                let error_code = if here { self.beat(now, &request.member_id, request.generation_id) } else { no };
                Response::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
            }
            Request::LeaveGroup(request) => {
                for member in request.members {
                    self.members.remove(&member.member_id);
                }
                self.prepare(now);
                Response::LeaveGroup(LeaveGroupResponse::default())
            }
            Request::OffsetCommit(request) => self.commit(now, no, request),
            Request::OffsetFetch(request) => self.fetch(no, request),
            other => panic!("{} is not expected here", other.api().name()),
        };
        Served::Answer(response, 0)
    }

    fn join(&mut self, now: u64, ticket: &Ticket, request: JoinGroupRequest) -> Option<JoinGroupResponse> {
        let refuse = |error_code, member_id| Some(JoinGroupResponse { error_code, member_id, ..Default::default() });
        let mut id = request.member_id;
        if id.is_empty() {
            let known = self.members.iter().find(|(_, m)| request.group_instance_id.is_some() && m.instance == request.group_instance_id);
            self.next_id += 1;
            id = format!("m-{}", self.next_id);
            if let Some((old, _)) = known {
                let old = old.clone();
                self.members.remove(&old);
            } else if request.group_instance_id.is_none() && ticket.header.version >= 4 {
                self.promised.insert(id.clone());
                return refuse(ErrorCode::MEMBER_ID_REQUIRED, id);
            }
        } else if !self.members.contains_key(&id) && !self.promised.remove(&id) {
            return refuse(ErrorCode::UNKNOWN_MEMBER_ID, id);
        }
        let member = self.members.entry(id).or_default();
        member.seen = now;
        member.instance = request.group_instance_id;
        member.protocols = request.protocols.into_iter().map(|p| (p.name, p.metadata)).collect();
        member.joining = Some(ticket.clone());
        self.prepare(now);
        None
    }

    /// Begins a rebalance, if none has begun; completes it if all are there.
    fn prepare(&mut self, now: u64) {
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        if !matches!(self.state, State::Preparing { .. }) {
            let wait = if self.state == State::Empty { 50 } else { 10_000 };
            self.state = State::Preparing { until: now + wait * MS };
            for member in self.members.values_mut() {
                if let Some(ticket) = member.syncing.take() {
                    let error_code = ErrorCode::REBALANCE_IN_PROGRESS;
                    self.ready.push((ticket, Response::SyncGroup(SyncGroupResponse { error_code, ..Default::default() })));
                }
            }
            if wait == 50 {
                return;
            }
        }
        if self.members.values().all(|member| member.joining.is_some()) && self.generation > 0 {
            self.complete(now);
        }
    }

    fn complete(&mut self, now: u64) {
        let Some(first) = self.members.keys().next().cloned() else {
            self.state = State::Empty;
            return;
        };
        if !self.members.contains_key(&self.leader) {
            self.leader = first;
        }
        self.generation += 1;
        self.state = State::Completing;
        let speaks = |member: &Member, name: &str| member.protocols.iter().any(|(p, _)| p == name);
        let offered = &self.members[&self.leader].protocols;
        let protocol = offered.iter().map(|(name, _)| name).find(|name| self.members.values().all(|m| speaks(m, name))).cloned();
        let protocol = protocol.expect("the tests' members have a protocol in common");
        let metadata = |member: &Member| member.protocols.iter().find(|(p, _)| *p == protocol).expect("all speak it").1.clone();
        let all: Vec<JoinGroupResponseMember> = self
            .members
            .iter()
            .map(|(id, m)| JoinGroupResponseMember { member_id: id.clone(), group_instance_id: m.instance.clone(), metadata: metadata(m) })
            .collect();
        for (id, member) in &mut self.members {
            member.seen = now;
            let response = JoinGroupResponse {
                generation_id: self.generation,
                protocol_type: Some("consumer".into()),
                protocol_name: Some(protocol.clone()),
                leader: self.leader.clone(),
                member_id: id.clone(),
                members: if *id == self.leader { all.clone() } else { Vec::new() },
                ..Default::default()
            };
            self.ready.extend(member.joining.take().map(|ticket| (ticket, Response::JoinGroup(response))));
        }
    }

    fn check(&mut self, now: u64, id: &str, generation: i32) -> ErrorCode {
        match self.members.get_mut(id) {
            None => ErrorCode::UNKNOWN_MEMBER_ID,
            Some(_) if generation != self.generation => ErrorCode::ILLEGAL_GENERATION,
            Some(member) => {
                member.seen = now;
                ErrorCode::NONE
            }
        }
    }

    fn beat(&mut self, now: u64, id: &str, generation: i32) -> ErrorCode {
        let error = self.check(now, id, generation);
        let rebalancing = matches!(self.state, State::Preparing { .. });
        if error == ErrorCode::NONE && rebalancing { ErrorCode::REBALANCE_IN_PROGRESS } else { error }
    }

    fn sync(&mut self, now: u64, ticket: &Ticket, request: SyncGroupRequest) -> Option<SyncGroupResponse> {
        let error_code = self.beat(now, &request.member_id, request.generation_id);
        if error_code != ErrorCode::NONE {
            return Some(SyncGroupResponse { error_code, ..Default::default() });
        }
        let answer = |assignment: &Bytes| SyncGroupResponse { assignment: assignment.clone(), ..Default::default() };
        if self.state == State::Stable {
            return Some(answer(&self.members[&request.member_id].assignment));
        }
        self.members.get_mut(&request.member_id).expect("it was checked").syncing = Some(ticket.clone());
        if request.member_id == self.leader {
            self.state = State::Stable;
            for given in request.assignments {
                self.members.get_mut(&given.member_id).expect("the leader assigns to members").assignment = given.assignment;
            }
            for member in self.members.values_mut() {
                let response = Response::SyncGroup(answer(&member.assignment));
                self.ready.extend(member.syncing.take().map(|ticket| (ticket, response)));
            }
        }
        None
    }

    fn commit(&mut self, now: u64, no: ErrorCode, request: OffsetCommitRequest) -> Response {
        let generation = request.generation_id_or_member_epoch;
        let mut error_code = no;
        if error_code == ErrorCode::NONE && generation >= 0 {
            error_code = self.check(now, &request.member_id, generation);
            if error_code == ErrorCode::NONE && self.state == State::Completing {
                error_code = ErrorCode::REBALANCE_IN_PROGRESS;
            }
        } else if error_code == ErrorCode::NONE && !self.members.is_empty() {
            error_code = ErrorCode::UNKNOWN_MEMBER_ID;
        }
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                if error_code == ErrorCode::NONE {
                    let part = TopicPartition::new(topic.name.clone(), partition.partition_index.0);
                    self.offsets.insert(part, partition.committed_offset);
                }
                OffsetCommitResponsePartition { partition_index: partition.partition_index, error_code }
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic { name: topic.name, partitions, ..Default::default() }
        });
        Response::OffsetCommit(OffsetCommitResponse { topics: topics.collect(), ..Default::default() })
    }

    fn fetch(&self, no: ErrorCode, request: OffsetFetchRequest) -> Response {
        let topics = request.topics.into_iter().flatten().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let part = TopicPartition::new(topic.name.clone(), index.0);
                let committed_offset = self.offsets.get(&part).copied().unwrap_or(Offset::UNKNOWN);
                OffsetFetchResponsePartition { partition_index: *index, committed_offset, ..Default::default() }
            });
            OffsetFetchResponseTopic { name: topic.name.clone(), partitions: partitions.collect() }
        });
        Response::OffsetFetch(OffsetFetchResponse { topics: topics.collect(), error_code: no, ..Default::default() })
    }
}
