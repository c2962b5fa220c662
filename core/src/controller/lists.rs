//! Answers from the image alone: reassignments under way, and what can be configured.

use super::image::{Image, Partition, ResourceKind};
use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::wire::api::list_config_resources::{ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse};
use crate::wire::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, OngoingPartitionReassignment, OngoingTopicReassignment,
};
use std::collections::BTreeSet;

/// Moves under way (KIP-455).
#[must_use]
pub fn reassignments(image: &Image, request: &ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
    let under_way = |name: &str, wanted: Option<&[PartitionIndex]>| {
        let topic = image.topic(name)?;
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .filter(|(index, p)| p.is_moving() && wanted.is_none_or(|w| w.contains(index)))
            .map(|(index, p)| ongoing(*index, p))
            .collect();
        (!partitions.is_empty()).then(|| OngoingTopicReassignment { name: name.to_owned(), partitions })
    };
    let topics = match &request.topics {
        Some(asked) => asked.iter().filter_map(|t| under_way(&t.name, Some(&t.partition_indexes))).collect(),
        None => image.topics().filter_map(|t| under_way(&t.name, None)).collect(),
    };
    ListPartitionReassignmentsResponse { error_message: None, topics, ..Default::default() }
}

fn ongoing(index: PartitionIndex, partition: &Partition) -> OngoingPartitionReassignment {
    OngoingPartitionReassignment {
        partition_index: index,
        replicas: partition.replicas.clone(),
        adding_replicas: partition.adding.clone(),
        removing_replicas: partition.removing.clone(),
    }
}

/// What can be configured (KIP-1142): every topic and broker, and whatever else has settings. Version 0 knows client metrics only.
#[must_use]
pub fn config_resources(image: &Image, version: i16, request: &ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let all = [ResourceKind::Topic, ResourceKind::Broker, ResourceKind::BrokerLogger, ResourceKind::ClientMetrics, ResourceKind::Group];
    let mut kinds = BTreeSet::new();
    for number in &request.resource_types {
        let Some(kind) = ResourceKind::of(*number) else {
            return ListConfigResourcesResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, ..Default::default() };
        };
        kinds.insert(kind);
    }
    if version == 0 {
        kinds = BTreeSet::from([ResourceKind::ClientMetrics]);
    } else if kinds.is_empty() {
        kinds = BTreeSet::from(all);
    }
    let mut config_resources = Vec::new();
    for kind in kinds {
        let names: Vec<String> = match kind {
            ResourceKind::Topic => image.topics().map(|t| t.name.to_string()).collect(),
            ResourceKind::Broker | ResourceKind::BrokerLogger => image.brokers().keys().map(ToString::to_string).collect(),
            ResourceKind::ClientMetrics | ResourceKind::Group => {
                image.configured().filter(|r| r.kind == kind).map(|r| r.name.clone()).collect()
            }
        };
        config_resources.extend(names.into_iter().map(|resource_name| ConfigResource { resource_name, resource_type: kind.wire() }));
    }
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}
