//! The records of consumer groups in `__consumer_offsets`, as changes. Never decides anything.

use super::{Change, Current, Epoch, Holding, Parts, Progress, Subscription};
use crate::coordinator::Client;
use crate::coordinator::group::MemberId;
use crate::id::PartitionIndex;
use crate::wire::records::coordinator as wire;
use wire::CoordinatorRecord as Record;

/// Kafka's `MemberState`.
const STABLE: i8 = 0;
const UNREVOKED: i8 = 1;
const UNRELEASED: i8 = 2;
const UNKNOWN: i8 = 127;

/// The record for a change.
#[must_use]
pub fn encode(group_id: String, change: Change) -> Record {
    match change {
        Change::Epoch(epoch) => Record::ConsumerGroupMetadata(wire::ConsumerGroupMetadataKey { group_id }, epoch.map(epoch_value)),
        Change::Topics(topics) => {
            let value = topics.map(|()| wire::ConsumerGroupPartitionMetadataValue::default());
            Record::ConsumerGroupPartitionMetadata(wire::ConsumerGroupPartitionMetadataKey { group_id }, value)
        }
        Change::Member(id, subscription) => {
            let key = wire::ConsumerGroupMemberMetadataKey { group_id, member_id: id.to_string() };
            Record::ConsumerGroupMemberMetadata(key, subscription.map(member_value))
        }
        Change::AssignmentEpoch(epoch) => {
            let value = |assignment_epoch| wire::ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, ..Default::default() };
            Record::ConsumerGroupTargetAssignmentMetadata(wire::ConsumerGroupTargetAssignmentMetadataKey { group_id }, epoch.map(value))
        }
        Change::Target(id, parts) => {
            let key = wire::ConsumerGroupTargetAssignmentMemberKey { group_id, member_id: id.to_string() };
            Record::ConsumerGroupTargetAssignmentMember(key, parts.map(target_value))
        }
        Change::Current(id, current) => {
            let key = wire::ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id: id.to_string() };
            Record::ConsumerGroupCurrentMemberAssignment(key, current.map(current_value))
        }
    }
}

/// The group and the change that a record tells; `None` where it is not of a consumer group, or of no use here.
#[must_use]
pub fn decode(record: Record) -> Option<(String, Change)> {
    Some(match record {
        Record::ConsumerGroupMetadata(key, value) => (key.group_id, Change::Epoch(value.map(read_epoch))),
        Record::ConsumerGroupPartitionMetadata(key, value) => (key.group_id, Change::Topics(value.map(drop))),
        Record::ConsumerGroupMemberMetadata(key, value) => {
            (key.group_id, Change::Member(MemberId::new(&key.member_id), value.map(read_member)))
        }
        Record::ConsumerGroupTargetAssignmentMetadata(key, value) => {
            (key.group_id, Change::AssignmentEpoch(value.map(|value| value.assignment_epoch)))
        }
        Record::ConsumerGroupTargetAssignmentMember(key, value) => {
            (key.group_id, Change::Target(MemberId::new(&key.member_id), value.map(read_target)))
        }
        Record::ConsumerGroupCurrentMemberAssignment(key, value) => {
            (key.group_id, Change::Current(MemberId::new(&key.member_id), value.map(read_current)))
        }
        Record::OffsetCommit(..) | Record::GroupMetadata(..) | Record::ConsumerGroupRegularExpression(..) => return None,
    })
}

fn epoch_value(Epoch { epoch, metadata_hash }: Epoch) -> wire::ConsumerGroupMetadataValue {
    wire::ConsumerGroupMetadataValue { epoch, metadata_hash }
}

fn read_epoch(value: wire::ConsumerGroupMetadataValue) -> Epoch {
    Epoch { epoch: value.epoch, metadata_hash: value.metadata_hash }
}

fn member_value(subscription: Subscription) -> wire::ConsumerGroupMemberMetadataValue {
    wire::ConsumerGroupMemberMetadataValue {
        instance_id: subscription.instance,
        rack_id: subscription.rack,
        client_id: subscription.client.id,
        client_host: subscription.client.host,
        subscribed_topic_names: subscription.topics.into_iter().collect(),
        subscribed_topic_regex: None,
        rebalance_timeout_ms: subscription.rebalance_ms,
        server_assignor: subscription.assignor,
        classic_member_metadata: None,
    }
}

fn read_member(value: wire::ConsumerGroupMemberMetadataValue) -> Subscription {
    Subscription {
        instance: value.instance_id,
        rack: value.rack_id,
        client: Client { id: value.client_id, host: value.client_host },
        topics: value.subscribed_topic_names.into_iter().collect(),
        rebalance_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor,
    }
}

fn target_value(parts: Parts) -> wire::ConsumerGroupTargetAssignmentMemberValue {
    let topic = |(topic_id, partitions): (_, std::collections::BTreeSet<PartitionIndex>)| wire::TopicPartition {
        topic_id,
        partitions: partitions.into_iter().collect(),
    };
    wire::ConsumerGroupTargetAssignmentMemberValue { topic_partitions: parts.into_iter().map(topic).collect() }
}

fn read_target(value: wire::ConsumerGroupTargetAssignmentMemberValue) -> Parts {
    let mut parts = Parts::new();
    for topic in value.topic_partitions.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        parts.entry(topic.topic_id).or_default().extend(topic.partitions);
    }
    parts
}

fn current_value(current: Current) -> wire::ConsumerGroupCurrentMemberAssignmentValue {
    let state = match current.progress {
        Progress::Stable => STABLE,
        Progress::Unrevoked => UNREVOKED,
        Progress::Unreleased => UNRELEASED,
        Progress::Unknown => UNKNOWN,
    };
    wire::ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous,
        state,
        assigned_partitions: holding_value(current.assigned),
        partitions_pending_revocation: holding_value(current.revoking),
    }
}

fn holding_value(holding: Holding) -> Vec<wire::TopicPartitions> {
    let topic = |(topic_id, partitions): (_, std::collections::BTreeMap<PartitionIndex, i32>)| wire::TopicPartitions {
        topic_id,
        partitions: partitions.keys().copied().collect(),
        assignment_epochs: Some(partitions.into_values().collect()),
    };
    holding.into_iter().map(topic).collect()
}

fn read_current(value: wire::ConsumerGroupCurrentMemberAssignmentValue) -> Current {
    let progress = match value.state {
        STABLE => Progress::Stable,
        UNREVOKED => Progress::Unrevoked,
        UNRELEASED => Progress::Unreleased,
        _ => Progress::Unknown,
    };
    Current {
        epoch: value.member_epoch,
        previous: value.previous_member_epoch,
        progress,
        assigned: read_holding(value.assigned_partitions, value.member_epoch),
        revoking: read_holding(value.partitions_pending_revocation, value.member_epoch),
    }
}

/// Kafka before KIP-1251 does not say when a partition was given: then it counts from the member's epoch, so that older commits are refused as there.
fn read_holding(topics: Vec<wire::TopicPartitions>, member_epoch: i32) -> Holding {
    let mut holding = Holding::new();
    for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let epochs = topic.assignment_epochs.filter(|epochs| epochs.len() == topic.partitions.len());
        let epochs = epochs.unwrap_or_else(|| vec![member_epoch; topic.partitions.len()]);
        holding.entry(topic.topic_id).or_default().extend(topic.partitions.into_iter().zip(epochs));
    }
    holding
}
