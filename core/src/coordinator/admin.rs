//! Requests of operators: describe, list and delete groups. Never changes a group that has members.

use super::consumers::tombstones;
use super::group::{Group, Member, MemberId, State};
use super::held::Body;
use super::kept::{AnyGroup, Kept};
use super::records::Event;
use super::{Caller, Coordinator, Mark, Slot};
use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::time::Now;
use crate::wire::api::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use crate::wire::api::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember};
use crate::wire::api::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use bytes::Bytes;
use std::collections::BTreeSet;

/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS: all that can be done to a group. Without an authorizer everybody may.
pub(super) const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

impl Coordinator {
    /// `DescribeGroups`
    pub fn describe(&mut self, now: Now, caller: &Caller, body: DescribeGroupsRequest) {
        let mut needs: Vec<(PartitionIndex, Mark)> = Vec::new();
        let mut groups = Vec::new();
        for group_id in body.groups {
            let found = self.ready(&group_id);
            needs.extend(found.ok().map(|at| (at, self.shard(at).touched(&group_id))));
            let mut described = match found.map(|at| self.kept(at, &group_id)) {
                Ok(Some(Kept { group: AnyGroup::Classic(group), .. })) => describe_group(group),
                Ok(Some(Kept { group: AnyGroup::Consumer(_), .. })) => {
                    describe_absent(format!("Group {group_id} is not a classic group."), caller.version)
                }
                Ok(None) => describe_absent(format!("Group {group_id} not found."), caller.version),
                Err(error_code) => DescribedGroup { error_code, ..DescribedGroup::default() },
            };
            if body.include_authorized_operations && described.error_code == ErrorCode::NONE {
                described.authorized_operations = ALL_OPERATIONS;
            }
            groups.push(DescribedGroup { group_id, ..described });
        }
        let answer = DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() };
        self.hold(now, caller.token, Body::Describe(answer), needs);
    }

    /// `ListGroups`. It is a look at a moment, and promises nothing: so it does not wait.
    pub fn list(&mut self, caller: &Caller, body: &ListGroupsRequest) {
        let states: BTreeSet<String> = body.states_filter.iter().map(|state| state.trim().to_lowercase()).collect();
        let types: BTreeSet<String> = body.types_filter.iter().map(|kind| kind.trim().to_lowercase()).collect();
        let mut answer = ListGroupsResponse::default();
        for slot in self.slots.values() {
            let Slot::Active(shard) = slot else {
                answer = ListGroupsResponse { error_code: ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ..ListGroupsResponse::default() };
                break;
            };
            let is_among = |words: &BTreeSet<String>, word: &str| words.is_empty() || words.contains(&word.to_lowercase());
            let wanted = |group: &AnyGroup| is_among(&types, group.type_name()) && is_among(&states, group.state_name());
            let listed = shard.groups.iter().filter(|(_, kept)| wanted(&kept.group));
            answer.groups.extend(listed.map(|(id, kept)| list_group(id, &kept.group)));
        }
        self.reply(caller.token, answer.into());
    }

    /// `DeleteGroups`
    pub fn delete_groups(&mut self, now: Now, caller: &Caller, body: DeleteGroupsRequest) {
        let mut needs: Vec<(PartitionIndex, Mark)> = Vec::new();
        let mut results = Vec::new();
        let mut seen = BTreeSet::new();
        for group_id in body.groups_names.into_iter().filter(|group| seen.insert(group.clone())) {
            let outcome = self.delete_group(now, &group_id);
            needs.extend(self.ready(&group_id).ok().map(|at| (at, self.shard(at).touched(&group_id))));
            results.push(DeletableGroupResult { group_id, error_code: outcome.err().unwrap_or(ErrorCode::NONE) });
        }
        let answer = DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() };
        self.hold(now, caller.token, Body::DeleteGroups(answer), needs);
    }

    fn delete_group(&mut self, now: Now, group: &str) -> Result<(), ErrorCode> {
        let at = self.ready(group)?;
        let kept = self.kept(at, group).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if !kept.group.is_empty() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let mut events = Vec::new();
        for (topic, partitions) in kept.offsets.iter() {
            for partition in partitions.keys() {
                events.push(Event::Offset { group: group.to_owned(), topic: topic.to_owned(), partition: *partition, value: None });
            }
        }
        events.extend(tombstones(group, kept));
        self.write(now, at, &events);
        Ok(())
    }
}

fn describe_group(group: &Group) -> DescribedGroup {
    let stable = matches!(group.state(), State::Stable(_));
    let member = |(id, member): (&MemberId, &Member)| DescribedGroupMember {
        member_id: id.to_string(),
        group_instance_id: member.instance.clone(),
        client_id: member.client.id.clone(),
        client_host: member.client.host.clone(),
        // Until all are in one generation there is no protocol whose metadata it could be.
        member_metadata: if stable { member.metadata(group.protocol()) } else { Bytes::new() },
        member_assignment: member.assignment.clone(),
    };
    DescribedGroup {
        group_state: group.state().name().to_owned(),
        protocol_type: group.protocol_type().to_owned(),
        protocol_data: if stable { group.protocol().to_owned() } else { String::new() },
        members: group.members().iter().map(member).collect(),
        ..DescribedGroup::default()
    }
}

/// Kafka calls a group dead that is not there; from version 6 on it says so by an error, too (KIP-1043).
fn describe_absent(words: String, version: i16) -> DescribedGroup {
    let dead = DescribedGroup { group_state: "Dead".to_owned(), ..DescribedGroup::default() };
    if version < 6 {
        return dead;
    }
    DescribedGroup { error_code: ErrorCode::GROUP_ID_NOT_FOUND, error_message: Some(words), ..dead }
}

fn list_group(id: &str, group: &AnyGroup) -> ListedGroup {
    ListedGroup {
        group_id: id.to_owned(),
        protocol_type: group.protocol_type().to_owned(),
        group_state: group.state_name().to_owned(),
        group_type: group.type_name().to_owned(),
    }
}
