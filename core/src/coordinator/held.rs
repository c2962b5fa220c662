//! Answers that wait until what they show is safe, and what becomes of them if that does not happen. Never computes an answer.

use super::group::{Answer, Joined, Refused};
use super::{Coordinator, Due, Mark};
use crate::error::ErrorCode;
use crate::id::{LeaderEpoch, Offset, PartitionIndex};
use crate::probe;
use crate::request::Token;
use crate::time::{Instant, Now};
use crate::wire::Response;
use crate::wire::api::consumer_group_describe::{ConsumerGroupDescribeResponse, DescribedGroup as DescribedConsumers};
use crate::wire::api::consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
use crate::wire::api::delete_groups::DeleteGroupsResponse;
use crate::wire::api::describe_groups::{DescribeGroupsResponse, DescribedGroup};
use crate::wire::api::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use crate::wire::api::leave_group::LeaveGroupResponse;
use crate::wire::api::offset_commit::OffsetCommitResponse;
use crate::wire::api::offset_delete::OffsetDeleteResponse;
use crate::wire::api::offset_fetch::OffsetFetchResponse;
use crate::wire::api::sync_group::SyncGroupResponse;
use std::collections::BTreeMap;

/// An answer that may have to wait.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Leave(LeaveGroupResponse),
    Commit(OffsetCommitResponse),
    /// With the version it was asked in: where its errors stand depends on it.
    Fetch(OffsetFetchResponse, i16),
    DeleteOffsets(OffsetDeleteResponse),
    Describe(DescribeGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
    Beat(ConsumerGroupHeartbeatResponse),
    DescribeConsumers(ConsumerGroupDescribeResponse),
}

/// An answer that waits.
#[derive(Clone, Debug)]
pub(super) struct Held {
    token: Token,
    body: Body,
    /// What is not safe yet.
    needs: BTreeMap<PartitionIndex, Mark>,
    until: Instant,
}

impl Coordinator {
    /// Answers when all of `needs` are safe.
    pub(super) fn hold(&mut self, now: Now, token: Token, body: Body, needs: impl IntoIterator<Item = (PartitionIndex, Mark)>) {
        let mut unmet: BTreeMap<PartitionIndex, Mark> = BTreeMap::new();
        for (at, mark) in needs {
            if !self.shard(at).is_safe(mark) {
                let most = unmet.entry(at).or_insert(mark);
                *most = mark.max(*most);
            }
        }
        if unmet.is_empty() {
            return self.reply(token, body.into());
        }
        let id = self.next_held;
        self.next_held += 1;
        for (at, mark) in &unmet {
            self.shard_mut(*at).waits.insert((*mark, id));
        }
        let until = now.at.after(self.config.commit_timeout);
        self.timers.insert((until, Due::Held(id)));
        self.held.insert(id, Held { token, body, needs: unmet, until });
    }

    /// What an answer waited for in this partition is safe.
    pub(super) fn met(&mut self, id: u64, partition: PartitionIndex) {
        let held = self.held.get_mut(&id).expect("who waits is held");
        held.needs.remove(&partition);
        if held.needs.is_empty() {
            let held = self.take(id);
            self.reply(held.token, held.body.into());
        }
    }

    /// The high watermark is stuck: the client shall try again.
    pub(super) fn timed_out(&mut self, id: u64) {
        probe!("an answer's records did not become safe in time");
        let error = match &self.held.get(&id).expect("a timer of what is held").body {
            // Old consumers know no other retriable error here (KAFKA-17267).
            Body::Fetch(..) => ErrorCode::NOT_COORDINATOR,
            Body::Join(_) | Body::Sync(_) | Body::Leave(_) | Body::Commit(_) => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            Body::DeleteOffsets(_) | Body::Describe(_) | Body::DeleteGroups(_) => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            Body::Beat(_) | Body::DescribeConsumers(_) => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        };
        self.spoil(id, error);
    }

    /// Answers with an error instead.
    pub(super) fn spoil(&mut self, id: u64, error: ErrorCode) {
        let mut held = self.take(id);
        held.body.spoil(error);
        self.reply(held.token, held.body.into());
    }

    fn take(&mut self, id: u64) -> Held {
        let held = self.held.remove(&id).expect("it is held");
        self.timers.remove(&(held.until, Due::Held(id)));
        for (at, mark) in &held.needs {
            // The partition may be the one that was just dropped.
            if let Some(super::Slot::Active(shard)) = self.slots.get_mut(at) {
                shard.waits.remove(&(*mark, id));
            }
        }
        held
    }

    /// Sends a group's answer on its way: bad news at once, for it promises nothing.
    pub(super) fn answer_member(&mut self, now: Now, token: Token, answer: Answer, shows: (PartitionIndex, Mark)) {
        let good = matches!(answer, Answer::Join(Ok(_)) | Answer::Sync(Ok(_)));
        let body = Body::member(answer);
        if good { self.hold(now, token, body, [shows]) } else { self.reply(token, body.into()) }
    }
}

impl Body {
    pub(super) fn member(answer: Answer) -> Self {
        match answer {
            Answer::Join(Ok(joined)) => Self::Join(accepted(joined)),
            Answer::Join(Err(refused)) => Self::Join(refusal(refused)),
            Answer::Sync(Ok(synced)) => Self::Sync(SyncGroupResponse {
                protocol_type: synced.protocol_type,
                protocol_name: synced.protocol,
                assignment: synced.assignment,
                ..SyncGroupResponse::default()
            }),
            Answer::Sync(Err(error_code)) => Self::Sync(SyncGroupResponse { error_code, ..SyncGroupResponse::default() }),
        }
    }

    /// Turns good news into `error`. What was refused already stays refused.
    fn spoil(&mut self, error: ErrorCode) {
        match self {
            Self::Join(body) => *body = refusal(Refused { error, member: std::mem::take(&mut body.member_id) }),
            Self::Sync(body) => *body = SyncGroupResponse { error_code: error, ..SyncGroupResponse::default() },
            Self::Leave(body) => *body = LeaveGroupResponse { error_code: error, ..LeaveGroupResponse::default() },
            Self::Commit(body) => {
                let partitions = body.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                partitions.for_each(|partition| instead(&mut partition.error_code, error));
            }
            Self::Fetch(body, version) => spoil_fetch(body, *version, error),
            Self::DeleteOffsets(body) => *body = OffsetDeleteResponse { error_code: error, ..OffsetDeleteResponse::default() },
            Self::Describe(body) => {
                for group in &mut body.groups {
                    let group_id = std::mem::take(&mut group.group_id);
                    *group = DescribedGroup { group_id, error_code: error, ..DescribedGroup::default() };
                }
            }
            Self::Beat(body) => *body = ConsumerGroupHeartbeatResponse { error_code: error, ..ConsumerGroupHeartbeatResponse::default() },
            Self::DescribeConsumers(body) => {
                for group in &mut body.groups {
                    let group_id = std::mem::take(&mut group.group_id);
                    *group = DescribedConsumers { group_id, error_code: error, ..DescribedConsumers::default() };
                }
            }
            Self::DeleteGroups(body) => body.results.iter_mut().for_each(|result| instead(&mut result.error_code, error)),
        }
    }
}

fn instead(code: &mut ErrorCode, error: ErrorCode) {
    if *code == ErrorCode::NONE {
        *code = error;
    }
}

/// Errors of a whole group stand beside it from version 8 on, at the top from 2 on, and before that in every partition.
pub(super) fn spoil_fetch(body: &mut OffsetFetchResponse, version: i16, error: ErrorCode) {
    if version >= 2 {
        body.error_code = error;
        body.topics.clear();
    }
    for group in &mut body.groups {
        group.error_code = error;
        group.topics.clear();
    }
    for partition in body.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = error;
        partition.committed_offset = Offset::UNKNOWN;
        partition.committed_leader_epoch = LeaderEpoch(-1);
        partition.metadata = Some(String::new());
    }
}

fn accepted(joined: Joined) -> JoinGroupResponse {
    let member = |member: super::group::JoinedMember| JoinGroupResponseMember {
        member_id: member.id.to_string(),
        group_instance_id: member.instance,
        metadata: member.metadata,
    };
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type,
        protocol_name: joined.protocol,
        leader: joined.leader.to_string(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member.to_string(),
        members: joined.members.into_iter().map(member).collect(),
        ..JoinGroupResponse::default()
    }
}

pub(super) fn refusal(refused: Refused) -> JoinGroupResponse {
    JoinGroupResponse { error_code: refused.error, member_id: refused.member, protocol_name: None, ..JoinGroupResponse::default() }
}

impl From<Body> for Response {
    fn from(body: Body) -> Self {
        match body {
            Body::Join(body) => body.into(),
            Body::Sync(body) => body.into(),
            Body::Leave(body) => body.into(),
            Body::Commit(body) => body.into(),
            Body::Fetch(body, _) => body.into(),
            Body::DeleteOffsets(body) => body.into(),
            Body::Describe(body) => body.into(),
            Body::DeleteGroups(body) => body.into(),
            Body::Beat(body) => body.into(),
            Body::DescribeConsumers(body) => body.into(),
        }
    }
}
