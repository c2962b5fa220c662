//! An operator who moves replicas between the log directories of one broker (KIP-113), and looks where they lie.

use super::line::Line;
use super::sequence;
use super::solo::Task;
use super::{Book, PARTITIONS};
use crate::plan::Plan;
use crate::stage::LOG_DIRS;
use klamm_core::error::ErrorCode;
use klamm_core::id::PartitionIndex;
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::alter_replica_log_dirs::{AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest};
use klamm_core::wire::api::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use klamm_core::wire::{Request, Response};
use rand::Rng as _;
use std::collections::BTreeSet;
use std::time::Duration;

/// Moves replicas of one broker.
pub struct DirMoves {
    topics: Vec<String>,
    every: Duration,
    book: Book,
    rng: Rng,
    next: Instant,
}

impl DirMoves {
    /// Does something about that often, on the broker of that number.
    #[must_use]
    pub fn new(plan: &Plan, node: u32, every: Duration, book: Book) -> Self {
        let mut topics: Vec<String> = (0..plan.topics.len()).map(|at| format!("t{at}")).collect();
        topics.extend([sequence::TOPIC.to_owned(), "__consumer_offsets".to_owned()]);
        let rng = rng::stream(plan.seed, &format!("moves between disks of {node}"));
        Self { topics, every, book, rng, next: Instant::default().after(every) }
    }

    fn violation(&self, what: String) {
        self.book.borrow_mut().violations.push(what);
    }

    /// A replica lies in one directory; it may have a copy in another one.
    fn look(&self, response: &DescribeLogDirsResponse) {
        let mut seen = BTreeSet::new();
        for topic in response.results.iter().flat_map(|dir| &dir.topics) {
            for partition in &topic.partitions {
                if !seen.insert((&topic.name, partition.partition_index, partition.is_future_key)) {
                    self.violation(format!("{}-{} lies in two directories", topic.name, partition.partition_index));
                }
            }
        }
    }
}

impl Task for DirMoves {
    fn next(&self) -> Option<Instant> {
        Some(self.next).filter(|_| !self.book.borrow().draining)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(self.every.mul_f64(self.rng.random_range(0.2..1.8)));
        let is_late = self.book.borrow().calm_from.is_some();
        if !self.book.borrow().topics_made || is_late {
            return;
        }
        if self.rng.random_ratio(1, 4) {
            return line.ask(now, 4, Request::DescribeLogDirs(DescribeLogDirsRequest { topics: None }));
        }
        let name = self.topics[self.rng.random_range(0..self.topics.len())].clone();
        let partitions = vec![PartitionIndex(self.rng.random_range(0..PARTITIONS as i32))];
        let path = LOG_DIRS[self.rng.random_range(0..LOG_DIRS.len())].to_owned();
        let dirs = vec![AlterReplicaLogDir { path, topics: vec![AlterReplicaLogDirTopic { name, partitions }] }];
        line.ask(now, 2, Request::AlterReplicaLogDirs(AlterReplicaLogDirsRequest { dirs }));
    }

    fn hear(&mut self, _: Now, _: &mut Line, response: &Response) {
        if let Response::DescribeLogDirs(response) = response {
            self.look(response);
        }
        if let Response::AlterReplicaLogDirs(response) = response {
            let right =
                [ErrorCode::NONE, ErrorCode::REPLICA_NOT_AVAILABLE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::KAFKA_STORAGE_ERROR];
            let mut codes = response.results.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
            if let Some(code) = codes.find(|code| !right.contains(code)) {
                self.violation(format!("a move to another directory was answered {code:?}"));
            }
        }
    }
}
