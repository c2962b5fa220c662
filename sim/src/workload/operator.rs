//! An operator at work while clients are: changes the settings of topics and looks whether they took, and gives a topic more partitions.

use super::line::Line;
use super::solo::Task;
use super::{Book, PARTITIONS};
use klamm_core::error::ErrorCode;
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use klamm_core::wire::api::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse};
use klamm_core::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use klamm_core::wire::{Request, Response};
use rand::Rng as _;
use std::time::Duration;

/// A topic, as the requests about settings number it.
const TOPIC: i8 = 2;
/// A topic grows up to so many partitions.
const PARTITIONS_MAX: i32 = PARTITIONS as i32 + 3;
/// Settings that may change at any time, with some of their values.
const SETTINGS: &[(&str, &[&str])] = &[
    ("compression.type", &["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
    ("message.timestamp.type", &["CreateTime", "LogAppendTime"]),
    ("segment.ms", &["1000", "4000", "604800000"]),
];

#[derive(Clone, Debug)]
enum Asked {
    Change { topic: String, name: &'static str, value: &'static str },
    Look { name: &'static str, value: &'static str },
    Grow { count: i32 },
}

/// The operator.
pub struct Operator {
    topics: Vec<String>,
    every: Duration,
    book: Book,
    rng: Rng,
    next: Instant,
    asked: Option<Asked>,
    /// How many partitions the first topic has for certain.
    count: i32,
}

impl Operator {
    /// Changes something of `topics` about that often.
    #[must_use]
    pub fn new(topics: Vec<String>, every: Duration, book: Book, seed: u64) -> Self {
        let rng = rng::stream(seed, "operator actor");
        let next = Instant::default().after(every);
        Self { topics, every, book, rng, next, asked: None, count: PARTITIONS as i32 }
    }

    fn grow(&mut self, now: Now, line: &mut Line) {
        let count = self.count + 1;
        let topics = vec![CreatePartitionsTopic { name: self.topics[0].clone(), count, assignments: None }];
        self.asked = Some(Asked::Grow { count });
        line.ask(now, 3, Request::CreatePartitions(CreatePartitionsRequest { topics, timeout_ms: 5_000, ..Default::default() }));
    }

    /// What was said to be set must be shown, at once; in a cluster, another node may be behind.
    fn look(&mut self, now: Now, line: &mut Line, topic: String, name: &'static str, value: &'static str) {
        let configuration_keys = Some(vec![name.to_owned()]);
        let resources = vec![DescribeConfigsResource { resource_type: TOPIC, resource_name: topic, configuration_keys }];
        self.asked = Some(Asked::Look { name, value });
        line.ask(now, 4, Request::DescribeConfigs(DescribeConfigsRequest { resources, ..Default::default() }));
    }

    fn looked(&self, name: &str, value: &str, response: &DescribeConfigsResponse) {
        let shown = response.results.iter().filter(|result| result.error_code == ErrorCode::NONE).flat_map(|result| &result.configs);
        if let Some(other) = shown.filter(|config| config.name == name).find(|config| config.value.as_deref() != Some(value)) {
            self.violation(format!("{name} was set to {value}, and is shown as {:?}", other.value));
        }
    }

    fn violation(&self, what: String) {
        self.book.borrow_mut().violations.push(what);
    }
}

impl Task for Operator {
    fn next(&self) -> Option<Instant> {
        Some(self.next).filter(|_| !self.book.borrow().draining)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(self.every.mul_f64(self.rng.random_range(0.5..1.5)));
        if !self.book.borrow().topics_made {
            return;
        }
        if self.rng.random_ratio(1, 5) && self.count < PARTITIONS_MAX {
            return self.grow(now, line);
        }
        let topic = self.topics[self.rng.random_range(0..self.topics.len())].clone();
        let (name, values) = SETTINGS[self.rng.random_range(0..SETTINGS.len())];
        let value = values[self.rng.random_range(0..values.len())];
        let configs = vec![AlterableConfig { name: name.to_owned(), config_operation: 0, value: Some(value.to_owned()) }];
        let resources = vec![AlterConfigsResource { resource_type: TOPIC, resource_name: topic.clone(), configs }];
        self.asked = Some(Asked::Change { topic, name, value });
        line.ask(now, 1, Request::IncrementalAlterConfigs(IncrementalAlterConfigsRequest { resources, ..Default::default() }));
    }

    fn hear(&mut self, now: Now, line: &mut Line, response: &Response) {
        match (self.asked.take(), response) {
            (Some(Asked::Change { topic, name, value }), Response::IncrementalAlterConfigs(response)) => {
                let code = response.responses.first().map_or(ErrorCode::NONE, |answer| answer.error_code);
                match code {
                    ErrorCode::NONE if line.nodes() == 1 => self.look(now, line, topic, name, value),
                    ErrorCode::INVALID_CONFIG | ErrorCode::INVALID_REQUEST | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                        self.violation(format!("{name}={value} of {topic} was refused: {code:?}"));
                    }
                    _ => {}
                }
            }
            (Some(Asked::Look { name, value }), Response::DescribeConfigs(response)) => self.looked(name, value, response),
            (Some(Asked::Grow { count }), Response::CreatePartitions(response)) => {
                let code = response.results.first().map_or(ErrorCode::NONE, |answer| answer.error_code);
                // A request whose answer was lost may have made them.
                if matches!(code, ErrorCode::NONE | ErrorCode::INVALID_PARTITIONS) {
                    self.count = count;
                }
            }
            (Some(_) | None, _) => {}
        }
    }

    fn lost(&mut self) {
        self.asked = None;
    }
}
