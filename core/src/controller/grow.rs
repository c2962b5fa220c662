//! Plans CreatePartitions: topics only grow. Source: Kafka's `ReplicationControlManager.createPartitions`; messages confirmed on 4.3.1.

use super::create_topics::{PARTITIONS_MAX, judge_active, partition_record};
use super::image::Topic;
use super::place;
use super::plan::{Plan, Planner, Refusal, outcome};
use super::record::Record;
use crate::error::ErrorCode;
use crate::id::{BrokerId, PartitionIndex};
use crate::wire::api::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Plans the topics that can grow as asked; the others are refused one by one.
    pub fn create_partitions(&mut self, request: &CreatePartitionsRequest) -> Plan<CreatePartitionsResponse> {
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<&str> = request.topics.iter().map(|t| t.name.as_str()).filter(|name| !seen.insert(*name)).collect();
        let mut records = Vec::new();
        let mut results = Vec::new();
        for asked in request.topics.iter().filter(|t| !twice.contains(t.name.as_str())) {
            let grown = self.grow(asked, &mut records);
            results.push(result(&asked.name, grown));
        }
        for name in twice {
            results.push(result(name, Err(Refusal::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))));
        }
        if request.validate_only {
            records.clear();
        }
        Plan { records, response: CreatePartitionsResponse { results, ..Default::default() } }
    }

    fn grow(&mut self, asked: &CreatePartitionsTopic, records: &mut Vec<Record>) -> Result<(), Refusal> {
        let Some(topic) = self.image.topic(&asked.name) else {
            return Err(Refusal::plain(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        };
        let more = judge_count(topic, asked.count)?;
        let planned = i64::try_from(records.len()).expect("bounded by the request");
        if planned + i64::try_from(more).expect("from an i32") > PARTITIONS_MAX {
            let words = "Excessively large number of partitions per request.";
            return Err(Refusal::new(ErrorCode::POLICY_VIOLATION, words));
        }
        let replicas = match &asked.assignments {
            Some(assignments) => {
                let assigned: Vec<&[BrokerId]> = assignments.iter().map(|a| a.broker_ids.as_slice()).collect();
                self.judge_more(topic, more, &assigned)?
            }
            None => self.place_more(topic, more)?,
        };
        for (at, assigned) in replicas.iter().enumerate() {
            records.push(partition_record(self.image, topic.id, topic.partitions.len() + at, assigned));
        }
        Ok(())
    }

    fn judge_more(&self, topic: &Topic, more: usize, assigned: &[&[BrokerId]]) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        if assigned.len() != more {
            let words =
                format!("Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.", assigned.len());
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, words));
        }
        for (at, replicas) in assigned.iter().enumerate() {
            place::judge(self.image, replicas, Some(factor(topic)))?;
            let index = i32::try_from(topic.partitions.len() + at).expect("bounded by the request");
            judge_active(self.image, PartitionIndex(index), replicas)?;
        }
        Ok(assigned.iter().map(|replicas| replicas.to_vec()).collect())
    }

    fn place_more(&mut self, topic: &Topic, more: usize) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        let factor = i16::try_from(factor(topic)).expect("bounded at its creation");
        place::place(self.image, more, factor, self.rng).map_err(|why| {
            let words = format!("Unable to replicate the partition {factor} time(s): {why}");
            Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, words)
        })
    }
}

/// How many partitions are missing to `count`.
fn judge_count(topic: &Topic, count: i32) -> Result<usize, Refusal> {
    let now = topic.partitions.len();
    let words = match usize::try_from(count) {
        Ok(count) if count > now => return Ok(count - now),
        Ok(count) if count == now => format!("Topic already has {now} partition(s)."),
        Ok(_) | Err(_) => format!("The topic {} currently has {now} partition(s); {count} would not be an increase.", topic.name),
    };
    Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, words))
}

fn factor(topic: &Topic) -> usize {
    topic.partitions.values().next().map_or(1, |p| p.replicas.len())
}

fn result(name: &str, grown: Result<(), Refusal>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = outcome(grown);
    CreatePartitionsTopicResult { name: name.to_owned(), error_code, error_message }
}
