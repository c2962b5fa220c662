//! One look at a cluster: asks each leader for its logs' ends, and each coordinator for its groups' members and offsets.
//!
//! Ends come first: what is committed meanwhile is then ahead of them, which is no lag, and not behind ends that moved on.

use super::config::{Groups, Watched};
use super::owners::{self, Owners};
use crate::client::admin::{Admin, unexpected};
use klamm_core::client::io::Address;
use klamm_core::client::{Topic, TopicPartition};
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, Offset, PartitionIndex};
use klamm_core::lag::Look;
use klamm_core::time::Timestamp;
use klamm_core::wire::api::describe_groups::DescribeGroupsRequest;
use klamm_core::wire::api::list_groups::{ListGroupsRequest, ListedGroup};
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use klamm_core::wire::api::metadata::{MetadataResponse, MetadataResponseBroker};
use klamm_core::wire::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use klamm_core::wire::{ApiKey, Request, Response};
use std::collections::BTreeMap;

/// Partitions asked for in one request.
const PARTITIONS_AT_ONCE: usize = 1000;
/// Groups asked for in one request.
const GROUPS_AT_ONCE: usize = 100;
/// The first version of OffsetFetch that asks for several groups.
const MANY_GROUPS: i16 = 8;
/// Asks for the end of a log.
const LATEST: Timestamp = Timestamp(-1);

/// What was seen, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) look: Look,
    pub(super) failures: Vec<String>,
}

/// Looks at one cluster.
#[derive(Debug)]
pub(super) struct Looker {
    admin: Admin,
    groups: Groups,
}

impl Looker {
    pub(super) fn new(watched: &Watched) -> Self {
        Self { admin: Admin::new(watched.servers.clone()), groups: watched.groups.clone() }
    }

    /// Looks once. Whom it cannot ask hides what is there, not what is elsewhere.
    pub(super) async fn look(&mut self) -> Looked {
        let mut looked = Looked::default();
        let metadata = match self.admin.metadata(None).await {
            Ok(metadata) => metadata,
            Err(why) => {
                looked.failures.push(why);
                return looked;
            }
        };
        looked.look.topics = Some(topics(&metadata));
        for (leader, parts) in parts_by_leader(&metadata) {
            for parts in parts.chunks(PARTITIONS_AT_ONCE) {
                match self.ends(&leader, parts).await {
                    Ok(ends) => looked.look.ends.extend(ends),
                    Err(why) => looked.failures.push(why),
                }
            }
        }
        let mut has_all_groups = true;
        for broker in &metadata.brokers {
            if let Err(why) = self.groups(&address(broker), &mut looked.look).await {
                has_all_groups = false;
                looked.failures.push(why);
            }
        }
        looked.look.has_all_groups = has_all_groups;
        looked
    }

    async fn ends(&mut self, leader: &Address, parts: &[TopicPartition]) -> Result<Vec<(TopicPartition, Offset)>, String> {
        let mut topics = BTreeMap::<&Topic, Vec<ListOffsetsPartition>>::new();
        for part in parts {
            let partition = ListOffsetsPartition { partition_index: part.partition, timestamp: LATEST, ..ListOffsetsPartition::default() };
            topics.entry(&part.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name: name.to_string(), partitions }).collect();
        let request = ListOffsetsRequest { replica_id: BrokerId(-1), topics, ..ListOffsetsRequest::default() };
        let response = self.admin.ask_at(leader, Request::ListOffsets(request), 7).await?;
        let Response::ListOffsets(response) = response else { return Err(unexpected(&response)) };
        let mut ends = Vec::new();
        for topic in &response.topics {
            // What has an error has just moved, or is not for our eyes.
            let told = topic.partitions.iter().filter(|answer| answer.error_code.is_none());
            ends.extend(told.map(|answer| (part(&topic.name, answer.partition_index), answer.offset)));
        }
        Ok(ends)
    }

    /// Looks at the groups that a broker coordinates.
    async fn groups(&mut self, at: &Address, look: &mut Look) -> Result<(), String> {
        let listed = self.list(at).await?;
        for group in &listed {
            look.groups.entry(group.group_id.clone()).or_default();
        }
        for listed in listed.chunks(GROUPS_AT_ONCE) {
            let names = listed.iter().map(|group| group.group_id.clone()).collect::<Vec<_>>();
            for (name, owners) in self.owners(at, &names).await? {
                look.groups.entry(name).or_default().owners = Some(owners);
            }
            for (name, offsets) in self.offsets(at, &names).await? {
                look.groups.entry(name).or_default().offsets = Some(offsets);
            }
        }
        Ok(())
    }

    async fn list(&mut self, at: &Address) -> Result<Vec<ListedGroup>, String> {
        let response = self.admin.ask_at(at, Request::ListGroups(ListGroupsRequest::default()), 5).await?;
        let Response::ListGroups(response) = response else { return Err(unexpected(&response)) };
        if !response.error_code.is_none() {
            return Err(format!("{at}: it cannot list groups: {}", response.error_code.name()));
        }
        // Groups of other protocols (Connect's workers, say) commit no offsets.
        let is_ours = |group: &ListedGroup| matches!(group.protocol_type.as_str(), "" | "consumer") && self.groups.has(&group.group_id);
        Ok(response.groups.into_iter().filter(is_ours).collect())
    }

    async fn owners(&mut self, at: &Address, groups: &[String]) -> Result<Vec<(String, Owners)>, String> {
        let request = DescribeGroupsRequest { groups: groups.to_vec(), include_authorized_operations: false };
        let response = self.admin.ask_at(at, Request::DescribeGroups(request), 6).await?;
        let Response::DescribeGroups(response) = response else { return Err(unexpected(&response)) };
        let told = response.groups.iter().filter(|group| group.error_code.is_none());
        Ok(told.map(|group| (group.group_id.clone(), owners::classic(group))).collect())
    }

    async fn offsets(&mut self, at: &Address, groups: &[String]) -> Result<Vec<(String, Offsets)>, String> {
        let many = self.admin.version_at(at, ApiKey::OffsetFetch, 9).await? >= MANY_GROUPS;
        let mut found = Vec::new();
        for groups in groups.chunks(if many { GROUPS_AT_ONCE } else { 1 }) {
            let of =
                |group: &String| OffsetFetchRequestGroup { group_id: group.clone(), topics: None, ..OffsetFetchRequestGroup::default() };
            // Each version reads its own of the two forms.
            let request = OffsetFetchRequest {
                group_id: groups[0].clone(),
                topics: None,
                groups: groups.iter().map(of).collect(),
                ..OffsetFetchRequest::default()
            };
            let response = self.admin.ask_at(at, Request::OffsetFetch(request), 9).await?;
            let Response::OffsetFetch(response) = response else { return Err(unexpected(&response)) };
            for group in &response.groups {
                let told = group.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p)));
                let offsets = told.map(|(topic, p)| (topic, p.partition_index, p.committed_offset, p.error_code));
                found.extend(committed(group.error_code, offsets).map(|offsets| (group.group_id.clone(), offsets)));
            }
            if !many {
                let told = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p)));
                let offsets = told.map(|(topic, p)| (topic, p.partition_index, p.committed_offset, p.error_code));
                found.extend(committed(response.error_code, offsets).map(|offsets| (groups[0].clone(), offsets)));
            }
        }
        Ok(found)
    }
}

/// What a group has committed.
type Offsets = BTreeMap<TopicPartition, Offset>;

/// All offsets of a group; `None` unless all are told.
fn committed<'a>(error: ErrorCode, offsets: impl Iterator<Item = (&'a str, PartitionIndex, Offset, ErrorCode)>) -> Option<Offsets> {
    let offsets = offsets.map(|(topic, partition, offset, error)| error.is_none().then(|| (part(topic, partition), offset)));
    let offsets = offsets.collect::<Option<Offsets>>()?;
    error.is_none().then(|| offsets.into_iter().filter(|(_, offset)| *offset >= Offset::ZERO).collect())
}

fn part(topic: &str, partition: PartitionIndex) -> TopicPartition {
    TopicPartition::new(topic, partition.0)
}

fn address(broker: &MetadataResponseBroker) -> Address {
    Address { host: broker.host.clone(), port: u16::try_from(broker.port).unwrap_or(0) }
}

/// The topics, and how many partitions each has; `None` for one of which nothing is told now.
fn topics(metadata: &MetadataResponse) -> BTreeMap<Topic, Option<usize>> {
    let topic = |topic: &klamm_core::wire::api::metadata::MetadataResponseTopic| {
        Some((topic.name.as_deref()?.into(), topic.error_code.is_none().then_some(topic.partitions.len())))
    };
    metadata.topics.iter().filter_map(topic).collect()
}

fn parts_by_leader(metadata: &MetadataResponse) -> BTreeMap<Address, Vec<TopicPartition>> {
    let brokers = metadata.brokers.iter().map(|broker| (broker.node_id, address(broker))).collect::<BTreeMap<_, _>>();
    let mut by_leader = BTreeMap::<Address, Vec<TopicPartition>>::new();
    for topic in &metadata.topics {
        let Some(name) = topic.name.as_deref() else { continue };
        for partition in &topic.partitions {
            if let Some(leader) = brokers.get(&partition.leader_id) {
                by_leader.entry(leader.clone()).or_default().push(part(name, partition.partition_index));
            }
        }
    }
    by_leader
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_told_whole_or_not_at_all() {
        let told = |error, second| committed(error, [("a", PartitionIndex(0), Offset(5), ErrorCode::NONE), second].into_iter());
        let good = ("a", PartitionIndex(1), Offset(-1), ErrorCode::NONE);
        assert_eq!(told(ErrorCode::NONE, good), Some([(TopicPartition::new("a", 0), Offset(5))].into()), "-1 is none");
        assert_eq!(told(ErrorCode::NOT_COORDINATOR, good), None);
        assert_eq!(told(ErrorCode::NONE, ("a", PartitionIndex(1), Offset(-1), ErrorCode::UNSTABLE_OFFSET_COMMIT)), None);
    }
}
