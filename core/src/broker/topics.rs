//! Admin requests about topics: they become proposals to the controller.

use super::admin::After;
use super::calls::Asker;
use super::io::{Lane, Level, Unreachable};
use super::{Broker, Token};
use crate::controller::{Plan, lists, name};
use crate::error::ErrorCode;
use crate::time::Instant;
use crate::wire::Response;
use crate::wire::api::create_partitions::CreatePartitionsRequest;
use crate::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest};
use crate::wire::api::delete_topics::DeleteTopicsRequest;
use crate::wire::api::elect_leaders::ElectLeadersRequest;
use crate::wire::api::list_partition_reassignments::ListPartitionReassignmentsRequest;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many topics that cannot be created are told of; clients make up their names.
const UNMADE_MAX: usize = 100;
/// After so long those that filled the list are forgotten.
const UNMADE_FORGOTTEN: Duration = Duration::from_secs(600);

/// Topics that were wanted and could not be created, and why: told once.
#[derive(Clone, Debug, Default)]
pub(super) struct Unmade {
    told: BTreeMap<String, ErrorCode>,
    since: Instant,
}

impl Unmade {
    /// Whether it is news that this topic cannot be created for that reason.
    fn is_news(&mut self, now: Instant, name: &str, why: ErrorCode) -> bool {
        if self.told.len() >= UNMADE_MAX && now.since(self.since) > UNMADE_FORGOTTEN {
            self.told.clear();
        }
        if self.told.is_empty() {
            self.since = now;
        }
        let has_room = self.told.len() < UNMADE_MAX || self.told.contains_key(name);
        has_room && self.told.insert(name.to_owned(), why) != Some(why)
    }

    /// It is there after all.
    pub(super) fn forget(&mut self, name: &str) {
        self.told.remove(name);
    }
}

impl Broker {
    pub(super) fn create_topics(&mut self, token: Token, body: &CreateTopicsRequest) {
        self.propose_reply(token, |planner| planner.create_topics(body));
    }

    pub(super) fn delete_topics(&mut self, token: Token, version: i16, body: &DeleteTopicsRequest) {
        self.propose_reply(token, |planner| planner.delete_topics(version, body));
    }

    pub(super) fn create_partitions(&mut self, token: Token, body: &CreatePartitionsRequest) {
        self.propose_reply(token, |planner| planner.create_partitions(body));
    }

    pub(super) fn elect_leaders(&mut self, token: Token, body: &ElectLeadersRequest) {
        self.propose_reply(token, |planner| planner.elect_leaders(body));
    }

    pub(super) fn list_partition_reassignments(&mut self, token: Token, body: &ListPartitionReassignmentsRequest) {
        let response = lists::reassignments(self.image(), body);
        self.reply(token, response.into());
    }

    /// Creates topics that clients or coordinators want, if they are not there or on their way.
    /// Whoever wants one asks again: nobody is told when it is there.
    pub(super) fn want_topics<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let missing: Vec<&str> = names.filter(|name| self.planned().topic(name).is_none() && name::validate(name).is_ok()).collect();
        if missing.is_empty() {
            return;
        }
        let topics = missing.into_iter().map(|name| self.wanted_topic(name)).collect();
        let request = CreateTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() };
        if self.admin.controller.is_active() {
            let Plan { records, response } = self.plan(|planner| planner.create_topics(&request));
            self.tell_unmade(&response.topics);
            return self.propose(records, After::Nothing);
        }
        // Whoever wants them asks again, and so do we.
        if !self.admin.wants_topics {
            self.admin.wants_topics = self.call_controller(Lane::Forward, request.into(), Asker::Topics);
        }
    }

    /// The active controller has answered a wish for topics, or did not.
    pub(super) fn topics_answered(&mut self, outcome: Result<Response, Unreachable>) {
        self.admin.wants_topics = false;
        // That no controller answers is said elsewhere.
        if let Ok(Response::CreateTopics(response)) = outcome {
            self.tell_unmade(&response.topics);
        }
    }

    /// Says which wanted topics cannot be created: clients learn only that they are not there.
    fn tell_unmade(&mut self, results: &[CreatableTopicResult]) {
        for result in results {
            let (name, code) = (&result.name, result.error_code);
            // Another broker was quicker, or an election came between: whoever wants it asks again.
            let passes = [ErrorCode::NONE, ErrorCode::TOPIC_ALREADY_EXISTS, ErrorCode::NOT_CONTROLLER, ErrorCode::REQUEST_TIMED_OUT];
            if passes.contains(&code) || !self.admin.unmade.is_news(self.now.at, name, code) {
                continue;
            }
            let why = result.error_message.as_deref().unwrap_or("no reason was given").trim_end_matches('.');
            let key = if *name == name::CONSUMER_OFFSETS { "offsets.topic.replication.factor" } else { "default.replication.factor" };
            let hint = if code == ErrorCode::INVALID_REPLICATION_FACTOR {
                format!(". More brokers must live, or {key} be smaller")
            } else {
                String::new()
            };
            self.note(Level::Warn, format!("auto topic creation failed for {name} with error {code}: {why}{hint}"));
        }
    }

    /// Kafka's default of three replicas would keep groups from ever working on one node, or on two. Where it is not set, it is bounded by the number of
    /// brokers, as soon as all are known: each voter is a broker that has registered. A cluster that has just begun would else have one replica for good.
    fn offsets_replication(&self) -> i16 {
        let config = &self.config.broker;
        let is_set = config.fixed.contains_key("offsets.topic.replication.factor");
        let brokers = self.planned().brokers();
        let are_known = self.quorum.as_ref().is_some_and(|quorum| quorum.voters().iter().all(|voter| brokers.contains_key(&voter.id)));
        if is_set || !are_known {
            return config.offsets_replication_factor;
        }
        config.offsets_replication_factor.min(i16::try_from(brokers.len()).unwrap_or(i16::MAX))
    }

    /// A topic as the broker itself creates it.
    fn wanted_topic(&self, name: &str) -> CreatableTopic {
        let config = &self.config.broker;
        if name != name::CONSUMER_OFFSETS {
            // What this broker's operator has set, else what the controller's has (KAFKA-19655).
            let is_set = |key| config.fixed.contains_key(key);
            let num_partitions = if is_set("num.partitions") { config.num_partitions } else { -1 };
            let replication_factor = if is_set("default.replication.factor") { config.replication_factor } else { -1 };
            return CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, ..Default::default() };
        }
        let replication_factor = self.offsets_replication();
        let setting = |(name, value): (&str, String)| CreatableTopicConfig { name: name.to_owned(), value: Some(value) };
        let settings = [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", config.offsets_segment_bytes.max(1 << 20).to_string()),
        ];
        CreatableTopic {
            name: name.to_owned(),
            num_partitions: config.offsets_partitions,
            replication_factor,
            configs: settings.into_iter().map(setting).collect(),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_a_client_wants_has_what_the_asked_broker_says() {
        let mut broker = Broker::for_tests();
        let topic = broker.wanted_topic("t");
        assert_eq!((topic.num_partitions, topic.replication_factor), (-1, -1), "the controller knows");
        for (key, value) in [("num.partitions", "4"), ("default.replication.factor", "2")] {
            broker.config.broker.fixed.insert(key.to_owned(), value.to_owned());
        }
        (broker.config.broker.num_partitions, broker.config.broker.replication_factor) = (4, 2);
        let topic = broker.wanted_topic("t");
        assert_eq!((topic.num_partitions, topic.replication_factor), (4, 2));
        let offsets = broker.wanted_topic(name::CONSUMER_OFFSETS);
        assert_eq!((offsets.num_partitions, offsets.replication_factor), (50, 3));
    }

    #[test]
    fn topics_that_cannot_be_created_are_told_of_within_bounds() {
        let (mut unmade, start) = (Unmade::default(), Instant::default());
        let why = ErrorCode::INVALID_REPLICATION_FACTOR;
        assert!(unmade.is_news(start, "t", why) && !unmade.is_news(start, "t", why));
        assert!(unmade.is_news(start, "t", ErrorCode::POLICY_VIOLATION), "another reason");
        unmade.forget("t");
        assert!(unmade.is_news(start, "t", why), "it was there meanwhile");
        let told = (0..1000).filter(|n| unmade.is_news(start, &format!("t{n}"), why)).count();
        assert_eq!(told, UNMADE_MAX - 1);
        let later = start.after(UNMADE_FORGOTTEN + Duration::from_secs(1));
        assert!(unmade.is_news(later, "another", why));
    }
}
