//! An operator who says that somebody shall lead partitions of which nobody is known to hold everything (KIP-460).

use super::line::Line;
use super::solo::Task;
use klamm_core::error::ErrorCode;
use klamm_core::id::PartitionIndex;
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse, TopicPartitions};
use klamm_core::wire::{Request, Response};
use std::time::Duration;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(300);
const UNCLEAN: i8 = 1;

/// Elects unclean leaders.
pub struct Elect {
    partitions: Vec<(String, PartitionIndex)>,
    next: Option<Instant>,
}

impl Elect {
    /// Asks until each of these partitions has a leader.
    #[must_use]
    pub fn new(partitions: Vec<(String, PartitionIndex)>) -> Self {
        Self { partitions, next: Some(Instant::default()) }
    }
}

impl Task for Elect {
    fn next(&self) -> Option<Instant> {
        self.next
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = Some(now.at.after(PAUSE));
        let named = |(topic, index): &(String, PartitionIndex)| TopicPartitions { topic: topic.clone(), partitions: vec![*index] };
        let topic_partitions = Some(self.partitions.iter().map(named).collect());
        line.ask(now, 2, Request::ElectLeaders(ElectLeadersRequest { election_type: UNCLEAN, topic_partitions, timeout_ms: 5_000 }));
    }

    fn hear(&mut self, _: Now, _: &mut Line, response: &Response) {
        let Response::ElectLeaders(response) = response else { return };
        if have_leaders(self.partitions.len(), response) {
            self.next = None;
        }
    }
}

fn have_leaders(asked: usize, response: &ElectLeadersResponse) -> bool {
    let mut all = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
    let has_leader = |code: ErrorCode| [ErrorCode::NONE, ErrorCode::ELECTION_NOT_NEEDED].contains(&code);
    response.error_code.is_none() && all.clone().count() == asked && all.all(|result| has_leader(result.error_code))
}
