//! `DescribeTopicPartitions`: topics in the order of their names, page by page (KIP-966).

use super::describe::{TOPIC_OPERATIONS, unknown};
use super::{Broker, Token};
use crate::controller::image::{Partition, Topic};
use crate::controller::name;
use crate::error::ErrorCode;
use crate::id::{BrokerId, PartitionIndex, Uuid};
use crate::partition::PartitionId;
use crate::wire::api::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};
use std::collections::BTreeSet;

impl Broker {
    pub(super) fn describe_topic_partitions(&mut self, token: Token, body: &DescribeTopicPartitionsRequest) {
        let listener = self.listener_of(token);
        let response = if is_sound(body) { self.page(&listener, body) } else { refused(body) };
        self.reply(token, response.into());
    }

    fn page(&self, listener: &str, body: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
        let all = body.topics.is_empty();
        let from = body.cursor.as_ref().map_or("", |c| c.topic_name.as_str());
        let names: BTreeSet<&str> = if all {
            self.image().topics_from(from).map(|t| &*t.name).collect()
        } else {
            body.topics.iter().map(|t| t.name.as_str()).filter(|name| *name >= from).collect()
        };
        let mut left = self.config.broker.describe_partitions_max.min(body.response_partition_limit).max(1);
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names {
            if left == 0 {
                response.next_cursor = Some(Cursor { topic_name: name.to_owned(), partition_index: PartitionIndex(0) });
                break;
            }
            let Some(topic) = self.image().topic(name) else {
                response.topics.push(missing(name));
                continue;
            };
            let first = body.cursor.as_ref().filter(|c| c.topic_name == name).map_or(PartitionIndex(0), |c| c.partition_index);
            let wanted = usize::try_from(left).expect("positive");
            let shown: Vec<_> =
                topic.partitions.range(first..).take(wanted).map(|(i, p)| self.page_partition(listener, topic.id, *i, p)).collect();
            let count = i32::try_from(shown.len()).expect("no more than wanted");
            response.topics.push(described(topic, shown));
            let next = PartitionIndex(first.0.saturating_add(count));
            if topic.partitions.contains_key(&next) {
                response.next_cursor = Some(Cursor { topic_name: name.to_owned(), partition_index: next });
                break;
            }
            left -= count;
        }
        response
    }

    fn page_partition(
        &self,
        listener: &str,
        topic: Uuid,
        index: PartitionIndex,
        partition: &Partition,
    ) -> DescribeTopicPartitionsResponsePartition {
        let id = PartitionId { topic, index };
        DescribeTopicPartitionsResponsePartition {
            error_code: ErrorCode::NONE,
            partition_index: index,
            leader_id: self.told_leader(listener, id, partition).unwrap_or(BrokerId(-1)),
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            eligible_leader_replicas: Some(partition.elr.clone()),
            last_known_elr: Some(partition.last_known_elr.clone()),
            offline_replicas: self.offline_replicas(listener, id, partition),
        }
    }
}

/// A cursor must stand on a partition that could be, of a topic that is asked for.
fn is_sound(body: &DescribeTopicPartitionsRequest) -> bool {
    let Some(cursor) = &body.cursor else { return true };
    let is_named = body.topics.is_empty() || body.topics.iter().any(|t| t.name == cursor.topic_name);
    is_named && cursor.partition_index.0 >= 0
}

fn refused(body: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topic = |name: &String| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        name: Some(name.clone()),
        ..Default::default()
    };
    DescribeTopicPartitionsResponse { topics: body.topics.iter().map(|t| topic(&t.name)).collect(), ..Default::default() }
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: unknown(name),
        name: Some(name.to_owned()),
        is_internal: name::is_internal(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

fn described(topic: &Topic, partitions: Vec<DescribeTopicPartitionsResponsePartition>) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: name::is_internal(&topic.name),
        partitions,
        topic_authorized_operations: TOPIC_OPERATIONS,
    }
}
