//! An operator who changes how many replicas of a topic must be in sync, while clients produce: up, so that fewer acknowledgements are given, and down,
//! so that what waited is let go and nobody is eligible any more beside the ISR (KIP-966).

use super::Book;
use super::line::Line;
use super::solo::Task;
use crate::plan::Plan;
use klamm_core::error::ErrorCode;
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use klamm_core::wire::{Request, Response};
use rand::Rng as _;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A topic, as the requests about settings number it.
const TOPIC: i8 = 2;

/// Changes `min.insync.replicas`.
pub struct Minimum {
    /// The topics, and how many may be asked for of each.
    topics: Vec<(String, RangeInclusive<i16>)>,
    every: Duration,
    book: Book,
    rng: Rng,
    next: Instant,
}

impl Minimum {
    /// Changes one about that often.
    #[must_use]
    pub fn new(plan: &Plan, every: Duration, book: Book) -> Self {
        // Where a node may lose what it had acknowledged, that is to be on another one.
        let least = if plan.loses_a_copy() { 2 } else { 1 };
        let topics = plan.topics.iter().enumerate().map(|(at, knobs)| (format!("t{at}"), least..=knobs.replication.max(least)));
        let (topics, next) = (topics.collect(), Instant::default().after(every));
        Self { topics, every, book, rng: rng::stream(plan.seed, "minimum in sync"), next }
    }
}

impl Task for Minimum {
    fn next(&self) -> Option<Instant> {
        Some(self.next).filter(|_| !self.book.borrow().draining)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(self.every.mul_f64(self.rng.random_range(0.2..1.8)));
        if !self.book.borrow().topics_made {
            return;
        }
        let (topic, range) = self.topics[self.rng.random_range(0..self.topics.len())].clone();
        let value = Some(self.rng.random_range(range).to_string());
        let configs = vec![AlterableConfig { name: "min.insync.replicas".to_owned(), config_operation: 0, value }];
        let resources = vec![AlterConfigsResource { resource_type: TOPIC, resource_name: topic, configs }];
        line.ask(now, 1, Request::IncrementalAlterConfigs(IncrementalAlterConfigsRequest { resources, ..Default::default() }));
    }

    fn hear(&mut self, _: Now, _: &mut Line, response: &Response) {
        let Response::IncrementalAlterConfigs(response) = response else { return };
        let refused = response.responses.iter().find(|answer| {
            matches!(answer.error_code, ErrorCode::INVALID_CONFIG | ErrorCode::INVALID_REQUEST | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        });
        if let Some(answer) = refused {
            self.book.borrow_mut().violations.push(format!("min.insync.replicas was refused: {answer:?}"));
        }
    }
}
