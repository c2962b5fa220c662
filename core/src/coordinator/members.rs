//! Requests of members: join, sync, heartbeat, leave. Translates, finds the group, and says what must be safe; the group decides.

use super::consumers::consumer_events;
use super::group::{Join, Protocol, Refused, Snapshot, Sync};
use super::held::{Body, refusal};
use super::kept::Kept;
use super::records::Event;
use super::{Caller, Coordinator};
use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::probe;
use crate::time::Now;
use crate::wire::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use crate::wire::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use crate::wire::api::sync_group::{SyncGroupRequest, SyncGroupResponse};
use std::time::Duration;

impl Coordinator {
    /// `JoinGroup`
    pub fn join(&mut self, now: Now, caller: Caller, body: JoinGroupRequest) {
        let token = caller.token;
        let member = body.member_id.clone();
        match self.validate_join(&body) {
            Ok(at) => self.join_at(now, at, caller, body),
            Err(error) => self.reply(token, refusal(Refused { error, member }).into()),
        }
    }

    fn validate_join(&self, body: &JoinGroupRequest) -> Result<PartitionIndex, ErrorCode> {
        if body.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if !(self.config.session_min_ms..=self.config.session_max_ms).contains(&body.session_timeout_ms) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        let at = self.ready(&body.group_id)?;
        let kept = self.kept(at, &body.group_id);
        if kept.is_some_and(|kept| kept.classic().is_none() && !kept.group.is_empty()) {
            probe!("a classic member was refused by a consumer group");
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if kept.is_none_or(|kept| kept.classic().is_none()) {
            if !body.member_id.is_empty() {
                return Err(ErrorCode::UNKNOWN_MEMBER_ID);
            }
            // A group begins with a member that it can take.
            if body.protocol_type.is_empty() || body.protocols.is_empty() {
                return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
            }
        }
        Ok(at)
    }

    fn join_at(&mut self, now: Now, at: PartitionIndex, caller: Caller, body: JoinGroupRequest) {
        let group = body.group_id.clone();
        if let Some(consumers) = self.kept(at, &group).and_then(Kept::consumer) {
            // Its members have gone: now it is of whoever comes.
            let events = consumer_events(&group, consumers.tombstones());
            self.write(now, at, &events);
        }
        if self.kept(at, &group).is_none() {
            self.shard_mut(at).group_or_new(&group, now.wall);
            let value = Some(Snapshot { since: now.wall, ..Snapshot::default() });
            self.write(now, at, &[Event::Group { group: group.clone(), value }]);
        }
        let join = to_join(caller, body);
        self.on_group(now, at, &group, |group, turn| group.join(join, turn));
    }

    /// `SyncGroup`
    pub fn sync(&mut self, now: Now, caller: Caller, body: SyncGroupRequest) {
        let group = body.group_id.clone();
        let nameless = body.protocol_type.is_none() || body.protocol_name.is_none();
        let found = if caller.version >= 5 && nameless {
            Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
        } else {
            self.find_classic(&group, ErrorCode::UNKNOWN_MEMBER_ID)
        };
        match found {
            Ok(at) => {
                let sync = to_sync(&caller, body);
                self.on_group(now, at, &group, |group, turn| group.sync(sync, turn));
            }
            Err(error_code) => self.reply(caller.token, SyncGroupResponse { error_code, ..SyncGroupResponse::default() }.into()),
        }
    }

    /// `Heartbeat`
    pub fn heartbeat(&mut self, now: Now, caller: &Caller, body: &HeartbeatRequest) {
        let outcome = self.find_classic(&body.group_id, ErrorCode::UNKNOWN_MEMBER_ID).and_then(|at| {
            let instance = body.group_instance_id.as_deref();
            self.on_group(now, at, &body.group_id, |group, turn| group.heartbeat(&body.member_id, instance, body.generation_id, turn))
        });
        let error_code = match outcome {
            // Its session begins anew when the shard is loaded.
            Ok(()) | Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => ErrorCode::NONE,
            Err(error) => error,
        };
        self.reply(caller.token, HeartbeatResponse { error_code, ..HeartbeatResponse::default() }.into());
    }

    /// `LeaveGroup`
    pub fn leave(&mut self, now: Now, caller: &Caller, body: LeaveGroupRequest) {
        let leavers: Vec<_> = if caller.version < 3 {
            vec![(body.member_id, None)]
        } else {
            body.members.into_iter().map(|member| (member.member_id, member.group_instance_id)).collect()
        };
        let found = self.find_classic(&body.group_id, ErrorCode::UNKNOWN_MEMBER_ID);
        let outcomes = match found {
            Ok(at) => self.on_group(now, at, &body.group_id, |group, turn| group.leave(&leavers, turn)),
            Err(ErrorCode::UNKNOWN_MEMBER_ID) => vec![Err(ErrorCode::UNKNOWN_MEMBER_ID); leavers.len()],
            Err(error_code) => return self.reply(caller.token, LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() }.into()),
        };
        let member = |((member_id, group_instance_id), outcome): (_, Result<(), ErrorCode>)| MemberResponse {
            member_id,
            group_instance_id,
            error_code: outcome.err().unwrap_or(ErrorCode::NONE),
        };
        let members: Vec<_> = leavers.into_iter().zip(outcomes).map(member).collect();
        let error_code = if caller.version < 3 { members[0].error_code } else { ErrorCode::NONE };
        let answer = Body::Leave(LeaveGroupResponse { error_code, members, ..LeaveGroupResponse::default() });
        let shows = found.ok().map(|at| (at, self.shard(at).touched(&body.group_id)));
        self.hold(now, caller.token, answer, shows);
    }

    /// The partition of a classic group that is there; `missing` if it is not, or is of another type.
    fn find_classic(&self, group: &str, missing: ErrorCode) -> Result<PartitionIndex, ErrorCode> {
        let at = self.find(group, missing)?;
        self.kept(at, group).and_then(Kept::classic).map(|_| at).ok_or(missing)
    }

    /// The partition of a group that is there; `missing` if it is not.
    pub(super) fn find(&self, group: &str, missing: ErrorCode) -> Result<PartitionIndex, ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let at = self.ready(group)?;
        self.kept(at, group).map(|_| at).ok_or(missing)
    }
}

fn to_join(caller: Caller, body: JoinGroupRequest) -> Join {
    let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let rebalance_ms = if caller.version == 0 { body.session_timeout_ms } else { body.rebalance_timeout_ms };
    let protocol = |JoinGroupRequestProtocol { name, metadata }| Protocol { name, metadata };
    Join {
        token: caller.token,
        version: caller.version,
        client: caller.client,
        member: body.member_id,
        instance: body.group_instance_id,
        session: ms(body.session_timeout_ms),
        rebalance: ms(rebalance_ms),
        protocol_type: body.protocol_type,
        protocols: body.protocols.into_iter().map(protocol).collect(),
    }
}

fn to_sync(caller: &Caller, body: SyncGroupRequest) -> Sync {
    Sync {
        token: caller.token,
        member: body.member_id,
        instance: body.group_instance_id,
        generation: body.generation_id,
        protocol_type: body.protocol_type,
        protocol: body.protocol_name,
        assignments: body.assignments.into_iter().map(|one| (one.member_id, one.assignment)).collect(),
    }
}
