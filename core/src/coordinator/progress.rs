//! Requests about offsets: commit, fetch, delete. Says which may be written and what is known; never who is a member, the group does.

use super::held::{Body, spoil_fetch};
use super::kept::{AnyGroup, Kept};
use super::offsets::Committed;
use super::records::Event;
use super::{Caller, Coordinator, Mark, Topics};
use crate::error::ErrorCode;
use crate::id::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::mutant;
use crate::time::{Now, Timestamp};
use crate::wire::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::wire::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::wire::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

impl Coordinator {
    /// `OffsetCommit`
    pub fn commit(&mut self, now: Now, caller: &Caller, body: &OffsetCommitRequest, topics: &dyn Topics) {
        let may = self.may_commit(caller.version, body);
        let mut events = Vec::new();
        let mut answer = OffsetCommitResponse::default();
        let mut written = false;
        for topic in &body.topics {
            let known = if caller.version >= 10 {
                topics.by_id(topic.topic_id).map(|(name, partitions)| (name, topic.topic_id, partitions)).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
            } else {
                let found = topics.by_name(&topic.name);
                found.map(|(id, partitions)| (&*topic.name, id, partitions)).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            };
            let decide = |partition: &OffsetCommitRequestPartition| {
                let event = known.and_then(|known| self.plan_commit(now, body, known, partition));
                let covered = |at| self.covers(at, body, known.ok().map(|(_, id, _)| id), partition.partition_index);
                let outcome = event.and_then(|event| may.and_then(covered).map(|()| events.push(event)));
                written |= outcome.is_ok();
                OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: outcome.err().unwrap_or(ErrorCode::NONE),
                }
            };
            let partitions = topic.partitions.iter().map(decide).collect();
            let OffsetCommitRequestTopic { name, topic_id, .. } = topic.clone();
            answer.topics.push(OffsetCommitResponseTopic { name, topic_id, partitions });
        }
        let shows = may.ok().filter(|_| written).map(|at| {
            self.write(now, at, &events);
            if self.kept(at, &body.group_id).and_then(Kept::classic).is_some() {
                self.on_group(now, at, &body.group_id, |group, turn| group.committed(&body.member_id, turn));
            }
            (at, self.shard(at).touched(&body.group_id))
        });
        self.hold(now, caller.token, Body::Commit(answer), shows);
    }

    fn may_commit(&self, version: i16, body: &OffsetCommitRequest) -> Result<PartitionIndex, ErrorCode> {
        // The empty group id is Kafka's oldest: offsets may be kept for it, members not.
        let at = self.ready(&body.group_id)?;
        let generation = body.generation_id_or_member_epoch;
        let Some(kept) = self.kept(at, &body.group_id) else {
            return match version {
                // Whoever is in no group keeps its offsets in one without members.
                _ if generation < 0 => Ok(at),
                9.. => Err(ErrorCode::GROUP_ID_NOT_FOUND),
                _ => Err(ErrorCode::ILLEGAL_GENERATION),
            };
        };
        match &kept.group {
            AnyGroup::Classic(group) => group.validate_commit(&body.member_id, body.group_instance_id.as_deref(), generation)?,
            AnyGroup::Consumer(group) => group.validate_commit(&body.member_id, generation, version)?,
        }
        Ok(at)
    }

    /// Whether a consumer group's member may commit this partition; everybody else who may commit at all may.
    fn covers(&self, at: PartitionIndex, body: &OffsetCommitRequest, topic: Option<Uuid>, index: PartitionIndex) -> Result<(), ErrorCode> {
        let (Some(group), Some(topic)) = (self.kept(at, &body.group_id).and_then(Kept::consumer), topic) else { return Ok(()) };
        group.may_commit_of(&body.member_id, body.generation_id_or_member_epoch, topic, index)
    }

    fn plan_commit(
        &self,
        now: Now,
        body: &OffsetCommitRequest,
        (name, id, partitions): (&str, Uuid, i32),
        partition: &OffsetCommitRequestPartition,
    ) -> Result<Event, ErrorCode> {
        if !(0..partitions).contains(&partition.partition_index.0) {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let metadata = partition.committed_metadata.clone().unwrap_or_default();
        if metadata.encode_utf16().count() > self.config.metadata_max {
            return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        }
        let expires =
            if body.retention_time_ms < 0 { Timestamp::NONE } else { Timestamp(now.wall.0.saturating_add(body.retention_time_ms)) };
        let value = Committed {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata,
            at: now.wall,
            expires,
            topic: id,
        };
        let (group, topic) = (body.group_id.clone(), name.to_owned());
        Ok(Event::Offset { group, topic, partition: partition.partition_index, value: Some(value) })
    }

    /// `OffsetFetch`
    pub fn fetch(&mut self, now: Now, caller: &Caller, body: OffsetFetchRequest, topics: &dyn Topics) {
        let version = caller.version;
        let asked = if version >= 8 { body.groups } else { vec![widen(body.group_id, body.topics)] };
        let mut needs: Vec<(PartitionIndex, Mark)> = Vec::new();
        let mut groups = Vec::new();
        for group in asked {
            let found = self.ready(&group.group_id);
            needs.extend(found.ok().map(|at| (at, self.shard(at).touched(&group.group_id))));
            groups.push(match found {
                Ok(at) => self.fetch_group(at, version, group, topics),
                Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) if mutant!(LoadNotFinished) => {
                    OffsetFetchResponseGroup { group_id: group.group_id, error_code: ErrorCode::NONE, topics: refuse_all(group.topics) }
                }
                Err(error_code) => OffsetFetchResponseGroup { group_id: group.group_id, error_code, topics: refuse_all(group.topics) },
            });
        }
        let answer = if version >= 8 { wide(groups) } else { narrow(version, groups.remove(0)) };
        self.hold(now, caller.token, Body::Fetch(answer, version), needs);
    }

    fn fetch_group(
        &self,
        at: PartitionIndex,
        version: i16,
        asked: OffsetFetchRequestGroup,
        topics: &dyn Topics,
    ) -> OffsetFetchResponseGroup {
        let OffsetFetchRequestGroup { group_id, topics: wanted, member_id, member_epoch } = asked;
        if let Some(group) = self.kept(at, &group_id).and_then(Kept::consumer)
            && let Err(error_code) = group.validate_fetch(member_id.as_deref(), member_epoch)
        {
            return OffsetFetchResponseGroup { group_id, topics: Vec::new(), error_code };
        }
        let topics = match wanted {
            Some(wanted) => wanted.into_iter().map(|topic| self.fetch_topic(at, version, &group_id, topic, topics)).collect(),
            None => self.fetch_all(at, version, &group_id, topics),
        };
        OffsetFetchResponseGroup { group_id, topics, error_code: ErrorCode::NONE }
    }

    fn fetch_topic(
        &self,
        at: PartitionIndex,
        version: i16,
        group: &str,
        asked: OffsetFetchRequestTopics,
        topics: &dyn Topics,
    ) -> OffsetFetchResponseTopics {
        let OffsetFetchRequestTopics { name, topic_id, partition_indexes } = asked;
        let known = if version >= 10 {
            topics.by_id(topic_id).map(|(name, _)| (name.to_owned(), topic_id)).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            Ok((name.clone(), topics.by_name(&name).map_or(Uuid::ZERO, |(id, _)| id)))
        };
        let look = |index: PartitionIndex| {
            let (name, id) = match &known {
                Ok(known) => known,
                Err(error) => return OffsetFetchResponsePartitions { error_code: *error, ..none(index) },
            };
            let committed = self.kept(at, group).and_then(|kept| kept.offsets.get(name, index));
            committed.filter(|committed| committed.is_of(*id)).map_or_else(|| none(index), |committed| some(index, committed))
        };
        let partitions = partition_indexes.into_iter().map(look).collect();
        OffsetFetchResponseTopics { name, topic_id, partitions }
    }

    fn fetch_all(&self, at: PartitionIndex, version: i16, group: &str, topics: &dyn Topics) -> Vec<OffsetFetchResponseTopics> {
        let Some(kept) = self.kept(at, group) else { return Vec::new() };
        let mut all = Vec::new();
        for (name, partitions) in kept.offsets.iter() {
            let topic_id = topics.by_name(name).map_or(Uuid::ZERO, |(id, _)| id);
            let of_this = partitions.iter().filter(|(_, committed)| committed.is_of(topic_id));
            let partitions: Vec<_> = of_this.map(|(index, committed)| some(*index, committed)).collect();
            // A topic that is gone has no id to be named by.
            if partitions.is_empty() || (version >= 10 && topic_id == Uuid::ZERO) {
                continue;
            }
            all.push(OffsetFetchResponseTopics { name: name.to_owned(), topic_id, partitions });
        }
        all
    }

    /// `OffsetDelete`
    pub fn delete_offsets(&mut self, now: Now, caller: &Caller, body: &OffsetDeleteRequest, topics: &dyn Topics) {
        let found = self.find(&body.group_id, ErrorCode::GROUP_ID_NOT_FOUND).and_then(|at| {
            let group = &self.kept(at, &body.group_id).expect("found above").group;
            // Only of consumers is it known what they read.
            if group.is_empty() || group.is_of_consumers() { Ok(at) } else { Err(ErrorCode::NON_EMPTY_GROUP) }
        });
        let at = match found {
            Ok(at) => at,
            Err(error_code) => {
                return self.reply(caller.token, OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() }.into());
            }
        };
        let mut events = Vec::new();
        let delete = |topic: &OffsetDeleteRequestTopic| self.plan_delete(at, &body.group_id, topic, topics, &mut events);
        let answer = OffsetDeleteResponse { topics: body.topics.iter().map(delete).collect(), ..OffsetDeleteResponse::default() };
        self.write(now, at, &events);
        let touched = self.shard(at).touched(&body.group_id);
        self.hold(now, caller.token, Body::DeleteOffsets(answer), [(at, touched)]);
    }

    fn plan_delete(
        &self,
        at: PartitionIndex,
        group: &str,
        asked: &OffsetDeleteRequestTopic,
        topics: &dyn Topics,
        events: &mut Vec<Event>,
    ) -> OffsetDeleteResponseTopic {
        let kept = self.kept(at, group).expect("the caller found it");
        let known = topics.by_name(&asked.name).map_or(0, |(_, partitions)| partitions);
        let mut answer = OffsetDeleteResponseTopic { name: asked.name.clone(), partitions: Vec::new() };
        for partition in asked.partitions.iter().map(|partition| partition.partition_index) {
            let error_code = if !(0..known).contains(&partition.0) {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else if kept.group.reads(&asked.name) {
                ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
            } else {
                ErrorCode::NONE
            };
            if error_code == ErrorCode::NONE && kept.offsets.get(&asked.name, partition).is_some() {
                events.push(Event::Offset { group: group.to_owned(), topic: asked.name.clone(), partition, value: None });
            }
            answer.partitions.push(OffsetDeleteResponsePartition { partition_index: partition, error_code });
        }
        answer
    }
}

fn none(partition_index: PartitionIndex) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: Offset::UNKNOWN,
        committed_leader_epoch: LeaderEpoch(-1),
        metadata: Some(String::new()),
        error_code: ErrorCode::NONE,
    }
}

fn some(partition_index: PartitionIndex, committed: &Committed) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.offset,
        committed_leader_epoch: committed.leader_epoch,
        metadata: Some(committed.metadata.clone()),
        error_code: ErrorCode::NONE,
    }
}

/// A request before version 8 asks for one group, as the later ones do for several. Version 1 knows no null: there the empty list is empty.
fn widen(group_id: String, topics: Option<Vec<crate::wire::api::offset_fetch::OffsetFetchRequestTopic>>) -> OffsetFetchRequestGroup {
    let topic = |topic: crate::wire::api::offset_fetch::OffsetFetchRequestTopic| OffsetFetchRequestTopics {
        name: topic.name,
        topic_id: Uuid::ZERO,
        partition_indexes: topic.partition_indexes,
    };
    let topics = topics.map(|topics| topics.into_iter().map(topic).collect());
    OffsetFetchRequestGroup { group_id, topics, ..OffsetFetchRequestGroup::default() }
}

/// What was asked for, unanswered: version 1 wants its errors there.
fn refuse_all(topics: Option<Vec<OffsetFetchRequestTopics>>) -> Vec<OffsetFetchResponseTopics> {
    let topic = |topic: OffsetFetchRequestTopics| OffsetFetchResponseTopics {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.into_iter().map(none).collect(),
    };
    topics.unwrap_or_default().into_iter().map(topic).collect()
}

fn wide(mut groups: Vec<OffsetFetchResponseGroup>) -> OffsetFetchResponse {
    for group in groups.iter_mut().filter(|group| group.error_code != ErrorCode::NONE) {
        group.topics.clear();
    }
    OffsetFetchResponse { groups, ..OffsetFetchResponse::default() }
}

fn narrow(version: i16, group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    };
    let topics = group.topics.into_iter().map(topic).collect();
    let mut answer = OffsetFetchResponse { topics, ..OffsetFetchResponse::default() };
    if group.error_code != ErrorCode::NONE {
        spoil_fetch(&mut answer, version, group.error_code);
    }
    answer
}
