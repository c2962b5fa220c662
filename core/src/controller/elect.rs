//! Plans ElectLeaders: the preferred replica, or any one that lives where none is in sync. Source: Kafka's `ReplicationControlManager.electLeaders`.

use super::image::{Partition, Topic};
use super::plan::{Plan, Planner, Refusal, outcome};
use super::record::Record;
use crate::error::ErrorCode;
use crate::id::{BrokerId, PartitionIndex};
use crate::wire::api::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult};
use crate::wire::records::metadata::PartitionChangeRecord;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Election {
    Preferred,
    Unclean,
}

impl Planner<'_> {
    /// Plans the elections that can be held; in a request for all partitions those that need none are not mentioned.
    pub fn elect_leaders(&mut self, request: &ElectLeadersRequest) -> Plan<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            other => return Plan { records: Vec::new(), response: unknown_election(other, request) },
        };
        let mut records = Vec::new();
        let mut results = Vec::new();
        match &request.topic_partitions {
            Some(asked) => {
                for topic in asked {
                    let outcomes = topic.partitions.iter().map(|index| (*index, self.elect(&topic.topic, *index, election, &mut records)));
                    results.push(result(&topic.topic, outcomes.collect()));
                }
            }
            None => {
                for topic in self.image.topics() {
                    let outcomes = topic.partitions.keys().map(|index| (*index, self.elect(&topic.name, *index, election, &mut records)));
                    let told = outcomes.filter(|(_, o)| !matches!(o, Err(no) if no.code == ErrorCode::ELECTION_NOT_NEEDED)).collect();
                    results.push(result(&topic.name, told));
                }
            }
        }
        Plan { records, response: ElectLeadersResponse { replica_election_results: results, ..Default::default() } }
    }

    fn elect(&self, topic: &str, index: PartitionIndex, election: Election, records: &mut Vec<Record>) -> Result<(), Refusal> {
        let unknown = |words: String| Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, words));
        let Some(found) = self.image.topic(topic) else { return unknown(format!("No such topic as {topic}")) };
        let Some(partition) = found.partitions.get(&index) else { return unknown(format!("No such partition as {topic}-{index}")) };
        let record = match election {
            Election::Preferred => self.elect_preferred(found, index, partition)?,
            Election::Unclean => self.elect_unclean(found, index, partition)?,
        };
        records.push(Record::PartitionChange(record));
        Ok(())
    }

    fn elect_preferred(&self, topic: &Topic, index: PartitionIndex, partition: &Partition) -> Result<PartitionChangeRecord, Refusal> {
        let preferred = partition.replicas[0];
        if partition.leader == Some(preferred) {
            return Err(not_needed());
        }
        if !partition.isr.contains(&preferred) || !self.image.is_active(preferred) {
            return Err(Refusal::plain(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE));
        }
        Ok(leads(topic, index, preferred))
    }

    fn elect_unclean(&self, topic: &Topic, index: PartitionIndex, partition: &Partition) -> Result<PartitionChangeRecord, Refusal> {
        if partition.leader.is_some() {
            return Err(not_needed());
        }
        let active = |id: &&BrokerId| self.image.is_active(**id);
        if let Some(clean) = partition.isr.iter().find(active) {
            return Ok(leads(topic, index, *clean));
        }
        let Some(any) = partition.replicas.iter().find(active) else {
            return Err(Refusal::plain(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE));
        };
        Ok(PartitionChangeRecord { isr: Some(vec![*any]), leader_recovery_state: 1, ..leads(topic, index, *any) })
    }
}

fn not_needed() -> Refusal {
    Refusal::new(ErrorCode::ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")
}

fn unknown_election(kind: i8, request: &ElectLeadersRequest) -> ElectLeadersResponse {
    let refused = || Err(Refusal::new(ErrorCode::INVALID_REQUEST, format!("Unknown election type {kind}")));
    let topics = request.topic_partitions.iter().flatten();
    let results = topics.map(|t| result(&t.topic, t.partitions.iter().map(|index| (*index, refused())).collect()));
    ElectLeadersResponse { error_code: ErrorCode::INVALID_REQUEST, replica_election_results: results.collect(), ..Default::default() }
}

fn leads(topic: &Topic, index: PartitionIndex, leader: BrokerId) -> PartitionChangeRecord {
    PartitionChangeRecord { partition_id: index, topic_id: topic.id, leader, ..Default::default() }
}

fn result(topic: &str, outcomes: Vec<(PartitionIndex, Result<(), Refusal>)>) -> ReplicaElectionResult {
    let partition = |(partition_id, elected)| {
        let (error_code, error_message) = outcome(elected);
        PartitionResult { partition_id, error_code, error_message }
    };
    ReplicaElectionResult { topic: topic.to_owned(), partition_result: outcomes.into_iter().map(partition).collect() }
}
