//! Plans ElectLeaders: the preferred replica, or any one that lives where none is in sync. Source: Kafka's `ReplicationControlManager.electLeaders`.

use super::change::{Election, Target};
use super::draft::Draft;
use super::plan::{Plan, Planner, Refusal, outcome};
use crate::error::ErrorCode;
use crate::id::PartitionIndex;
use crate::partition::PartitionId;
use crate::wire::api::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult};

impl Planner<'_> {
    /// Plans the elections that can be held; in a request for all partitions those that need none are not mentioned.
    pub fn elect_leaders(&mut self, request: &ElectLeadersRequest) -> Plan<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            other => return Plan { records: Vec::new(), response: unknown_election(other, request) },
        };
        let mut draft = Draft::new(self);
        let mut results = Vec::new();
        match &request.topic_partitions {
            Some(asked) => {
                for topic in asked {
                    let outcomes = topic.partitions.iter().map(|index| (*index, elect(&mut draft, &topic.topic, *index, election)));
                    results.push(result(&topic.topic, outcomes.collect()));
                }
            }
            None => {
                for topic in self.image.topics() {
                    let outcomes = topic.partitions.keys().map(|index| (*index, elect(&mut draft, &topic.name, *index, election)));
                    let told = outcomes.filter(|(_, o)| !matches!(o, Err(no) if no.code == ErrorCode::ELECTION_NOT_NEEDED)).collect();
                    results.push(result(&topic.name, told));
                }
            }
        }
        let response = ElectLeadersResponse { replica_election_results: results, ..Default::default() };
        Plan { records: draft.finish(), response }
    }
}

fn elect(draft: &mut Draft<'_>, topic: &str, index: PartitionIndex, election: Election) -> Result<(), Refusal> {
    let unknown = |words: String| Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, words));
    let Some(found) = draft.image().topic(topic) else { return unknown(format!("No such topic as {topic}")) };
    let id = PartitionId { topic: found.id, index };
    let Some(partition) = draft.partition(id) else { return unknown(format!("No such partition as {topic}-{index}")) };
    let (preferred, leader) = (partition.replicas.first().copied(), partition.leader);
    let (is_needed, refusal) = match election {
        Election::Preferred => (leader != preferred, Refusal::plain(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE)),
        Election::Online | Election::Another | Election::Unclean => {
            (leader.is_none(), Refusal::plain(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE))
        }
    };
    if !is_needed {
        return Err(Refusal::new(ErrorCode::ELECTION_NOT_NEEDED, "Leader election not needed for topic partition."));
    }
    let target = Target { election, ..Target::of(partition) };
    draft.change(id, target);
    let elected = draft.partition(id).and_then(|partition| partition.leader);
    let is_done = match election {
        Election::Preferred => elected == preferred,
        Election::Online | Election::Another | Election::Unclean => elected.is_some(),
    };
    if is_done { Ok(()) } else { Err(refusal) }
}

fn unknown_election(kind: i8, request: &ElectLeadersRequest) -> ElectLeadersResponse {
    let refused = || Err(Refusal::new(ErrorCode::INVALID_REQUEST, format!("Unknown election type {kind}")));
    let topics = request.topic_partitions.iter().flatten();
    let results = topics.map(|t| result(&t.topic, t.partitions.iter().map(|index| (*index, refused())).collect()));
    ElectLeadersResponse { error_code: ErrorCode::INVALID_REQUEST, replica_election_results: results.collect(), ..Default::default() }
}

fn result(topic: &str, outcomes: Vec<(PartitionIndex, Result<(), Refusal>)>) -> ReplicaElectionResult {
    let partition = |(partition_id, elected)| {
        let (error_code, error_message) = outcome(elected);
        PartitionResult { partition_id, error_code, error_message }
    };
    ReplicaElectionResult { topic: topic.to_owned(), partition_result: outcomes.into_iter().map(partition).collect() }
}
