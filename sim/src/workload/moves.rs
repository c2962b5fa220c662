//! An operator who moves replicas between nodes (KIP-455), gives moves up, has preferred leaders elected, and looks at what is under way.

use super::line::Line;
use super::sequence;
use super::solo::Task;
use super::{Book, PARTITIONS};
use crate::plan::Plan;
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, PartitionIndex};
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::alter_partition_reassignments::{AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic};
use klamm_core::wire::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use klamm_core::wire::api::list_partition_reassignments::{ListPartitionReassignmentsRequest, OngoingPartitionReassignment};
use klamm_core::wire::{Request, Response};
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use std::time::Duration;

/// Moves replicas.
pub struct Moves {
    /// The topics, with how many replicas each was made.
    topics: Vec<(String, usize)>,
    nodes: Vec<BrokerId>,
    /// A partition is left with so many replicas at least.
    least: usize,
    every: Duration,
    book: Book,
    rng: Rng,
    next: Instant,
}

impl Moves {
    /// Does something about that often.
    #[must_use]
    pub fn new(plan: &Plan, every: Duration, book: Book) -> Self {
        let sized = |at: &dyn std::fmt::Display, replication: i16| (at.to_string(), usize::try_from(replication).expect("positive"));
        let mut topics: Vec<_> =
            plan.topics.iter().enumerate().map(|(at, knobs)| sized(&format_args!("t{at}"), knobs.replication)).collect();
        topics.push(sized(&sequence::TOPIC, plan.replication));
        topics.push(sized(&"__consumer_offsets", plan.replication));
        let nodes: Vec<BrokerId> = plan.brokers().map(|node| BrokerId(node as i32)).collect();
        // Where the only copy may be the one that is gone, or rots.
        let least = if plan.loses_a_copy() || plan.rots() { nodes.len().min(2) } else { 1 };
        Self { topics, nodes, least, every, book, rng: rng::stream(plan.seed, "moves"), next: Instant::default().after(every) }
    }

    /// The new replicas of a topic that was made with so many: sometimes one more or less.
    fn replicas(&mut self, made: usize) -> Vec<BrokerId> {
        let count = if self.rng.random_ratio(1, 5) { self.rng.random_range(self.least..=self.nodes.len()) } else { made.max(self.least) };
        let mut all = self.nodes.clone();
        all.shuffle(&mut self.rng);
        all.truncate(count);
        all
    }

    fn violation(&self, what: String) {
        self.book.borrow_mut().violations.push(what);
    }

    /// A move that is under way is told as it is.
    fn look(&self, topic: &str, moving: &OngoingPartitionReassignment) {
        let holds = |all: &[BrokerId]| all.iter().all(|id| moving.replicas.contains(id));
        let is_moving = !moving.adding_replicas.is_empty() || !moving.removing_replicas.is_empty();
        let is_both = moving.adding_replicas.iter().any(|id| moving.removing_replicas.contains(id));
        if !is_moving || is_both || !holds(&moving.adding_replicas) || !holds(&moving.removing_replicas) {
            self.violation(format!("a move of {topic}-{} is told as {moving:?}", moving.partition_index));
        }
    }
}

/// What no such request may be answered.
fn is_wrong(error: ErrorCode) -> bool {
    [ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::INVALID_REQUEST, ErrorCode::UNSUPPORTED_VERSION].contains(&error)
}

impl Task for Moves {
    fn next(&self) -> Option<Instant> {
        Some(self.next).filter(|_| !self.book.borrow().draining)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(self.every.mul_f64(self.rng.random_range(0.2..1.8)));
        // When all is healed, what is under way is to come to its end.
        let is_late = self.book.borrow().calm_from.is_some();
        if !self.book.borrow().topics_made || is_late {
            return;
        }
        let (name, made) = self.topics[self.rng.random_range(0..self.topics.len())].clone();
        let partition_index = PartitionIndex(self.rng.random_range(0..PARTITIONS as i32));
        match self.rng.random_range(0..8) {
            act @ 0..=4 => {
                let replicas = if act == 0 { None } else { Some(self.replicas(made)) };
                let partitions = vec![ReassignablePartition { partition_index, replicas }];
                let topics = vec![ReassignableTopic { name, partitions }];
                let request = AlterPartitionReassignmentsRequest { timeout_ms: 5_000, topics, ..Default::default() };
                line.ask(now, 1, Request::AlterPartitionReassignments(request));
            }
            5 => {
                let request = ListPartitionReassignmentsRequest { timeout_ms: 5_000, topics: None };
                line.ask(now, 0, Request::ListPartitionReassignments(request));
            }
            act => {
                let asked = vec![TopicPartitions { topic: name, partitions: vec![partition_index] }];
                let topic_partitions = Some(asked).filter(|_| act == 6);
                line.ask(now, 2, Request::ElectLeaders(ElectLeadersRequest { election_type: 0, topic_partitions, timeout_ms: 5_000 }));
            }
        }
    }

    fn hear(&mut self, _: Now, _: &mut Line, response: &Response) {
        if let Response::ListPartitionReassignments(response) = response {
            let moving = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (&topic.name, partition)));
            moving.for_each(|(topic, partition)| self.look(topic, partition));
        }
        let mut codes = Vec::new();
        if let Response::AlterPartitionReassignments(response) = response {
            codes.extend(response.responses.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code));
        } else if let Response::ElectLeaders(response) = response {
            codes
                .extend(response.replica_election_results.iter().flat_map(|topic| &topic.partition_result).map(|result| result.error_code));
        }
        if let Some(code) = codes.into_iter().find(|code| is_wrong(*code)) {
            self.violation(format!("a move or an election was answered {code:?}"));
        }
    }
}
