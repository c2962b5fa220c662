//! What a broker is told at its start: who it is, where its clients find it, where its logs are, and its properties by Kafka's names.
//!
//! The table of properties is in `broker_keys.rs`.

use super::broker_keys::KEYS;
use super::key::{Key, Value};
use super::{ConsumerGroups, Layers, Properties, TopicConfig};
use crate::id::{BrokerId, DirId, ListenerId, Uuid};
use std::collections::BTreeSet;

/// The broker property `name`, if klamm acts on it.
#[must_use]
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.binary_search_by(|k| k.name.cmp(name)).ok().map(|at| &KEYS[at])
}

/// Every broker property that klamm acts on, by name.
#[must_use]
pub fn keys() -> &'static [Key] {
    KEYS
}

/// Where clients find a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Its name in `listeners`.
    pub name: String,
    /// The host that clients are told.
    pub host: String,
    /// The port that clients are told.
    pub port: u16,
    /// Kafka's number of its security protocol: 0 is plain text.
    pub security: i16,
}

/// The selector that sends clients to replicas in their rack (KIP-392).
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// One of the folders of `log.dirs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogDir {
    /// As the operator wrote it.
    pub path: String,
    /// As its `meta.properties` says.
    pub id: Uuid,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// On the disk of every in-sync replica.
    #[default]
    Fsync,
    /// In the page cache of every in-sync replica.
    PageCache,
}

/// What a broker is told at its start. What may change while it runs is in the controller's image, over this.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerConfig {
    /// `node.id`
    pub id: BrokerId,
    /// The cluster's identity, as its folders were formatted.
    pub cluster: String,
    /// `broker.rack`
    pub rack: Option<String>,
    /// Where clients and brokers come in, by `ListenerId`. Empty if the node is no broker.
    pub endpoints: Vec<Endpoint>,
    /// Names in `endpoints` that nobody is told (`advertised.listeners` leaves them out).
    pub unadvertised: BTreeSet<String>,
    /// Where the metadata quorum comes in; their `ListenerId`s follow those of `endpoints`. Empty if the node is no controller, or the only one.
    pub controllers: Vec<Endpoint>,
    /// The listener that brokers use among themselves, by its name in `endpoints` (`inter.broker.listener.name`).
    pub inter_broker: String,
    /// By `DirId`.
    pub dirs: Vec<LogDir>,
    /// `log.durability`
    pub durability: Durability,
    /// The properties that were set in the file, on the command line or in the environment, with Kafka's names; defaults are not in it.
    pub fixed: Properties,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub replication_factor: i16,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `delete.topic.enable`
    pub delete_topics: bool,
    /// `log.retention.check.interval.ms`
    pub retention_check_ms: i64,
    /// `offsets.topic.num.partitions`
    pub offsets_partitions: i32,
    /// `offsets.topic.replication.factor`
    pub offsets_replication_factor: i16,
    /// `offsets.topic.segment.bytes`
    pub offsets_segment_bytes: i32,
    /// `offsets.retention.minutes`, in ms
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_ms: i64,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: i32,
    /// `group.min.session.timeout.ms`
    pub group_min_session_ms: i32,
    /// `group.max.session.timeout.ms`
    pub group_max_session_ms: i32,
    /// `group.max.size`
    pub group_max_size: i32,
    /// `group.initial.rebalance.delay.ms`
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.consumer.…`
    pub consumer_groups: ConsumerGroups,
    /// `fetch.max.bytes`
    pub fetch_max_bytes: i32,
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_sessions_max: i32,
    /// `max.request.partition.size.limit`
    pub describe_partitions_max: i32,
    /// `auto.leader.rebalance.enable`
    pub auto_leader_rebalance: bool,
    /// `broker.heartbeat.interval.ms`
    pub heartbeat_interval_ms: i32,
    /// `broker.session.timeout.ms`
    pub session_timeout_ms: i32,
    /// `controlled.shutdown.enable`
    pub controlled_shutdown: bool,
    /// `initial.broker.registration.timeout.ms`
    pub registration_timeout_ms: i32,
    /// `leader.imbalance.check.interval.seconds`, in ms
    pub leader_imbalance_check_ms: i64,
    /// `unclean.leader.election.interval.ms`
    pub unclean_election_interval_ms: i64,
    /// `replica.lag.time.max.ms`
    pub replica_lag_max_ms: i64,
    /// `replica.fetch.max.bytes`
    pub replica_fetch_max_bytes: i32,
    /// `replica.fetch.min.bytes`
    pub replica_fetch_min_bytes: i32,
    /// `replica.fetch.response.max.bytes`
    pub replica_fetch_response_max_bytes: i32,
    /// `replica.fetch.wait.max.ms`
    pub replica_fetch_wait_max_ms: i32,
    /// Whether `replica.selector.class` sends clients to replicas in their rack.
    pub is_rack_aware: bool,
    /// `log.scrub.max.bytes.per.second`
    pub scrub_bytes_per_second: i64,
    /// `replica.high.watermark.checkpoint.interval.ms`
    pub high_watermark_checkpoint_ms: i64,
}

impl BrokerConfig {
    /// A broker `id` of `cluster`, that has the file's properties `fixed`.
    ///
    /// # Errors
    /// What is wrong with a property, in Kafka's words: it names key and value.
    pub fn new(id: BrokerId, cluster: &str, endpoints: Vec<Endpoint>, dirs: Vec<LogDir>, fixed: Properties) -> Result<Self, String> {
        for (name, text) in &fixed {
            if let Some(key) = key(name) {
                key.parse(text)?;
            }
        }
        let long = |name: &str| number(&fixed, name);
        let int = |name: &str| i32::try_from(long(name)).expect("the table makes it an INT");
        let short = |name: &str| {
            i16::try_from(long(name))
                .map_err(|_| format!("Invalid value {} for configuration {name}: Value must be no more than 32767", long(name)))
        };
        let config = Self {
            id,
            cluster: cluster.to_owned(),
            rack: fixed.get("broker.rack").cloned(),
            unadvertised: BTreeSet::new(),
            controllers: Vec::new(),
            inter_broker: endpoints.first().map_or_else(String::new, |endpoint| endpoint.name.clone()),
            endpoints,
            dirs,
            durability: if text(&fixed, "log.durability") == "page-cache" { Durability::PageCache } else { Durability::Fsync },
            num_partitions: int("num.partitions"),
            replication_factor: short("default.replication.factor")?,
            auto_create_topics: text(&fixed, "auto.create.topics.enable") == "true",
            delete_topics: text(&fixed, "delete.topic.enable") == "true",
            retention_check_ms: long("log.retention.check.interval.ms"),
            offsets_partitions: int("offsets.topic.num.partitions"),
            offsets_replication_factor: short("offsets.topic.replication.factor")?,
            offsets_segment_bytes: int("offsets.topic.segment.bytes"),
            offsets_retention_ms: long("offsets.retention.minutes") * 60_000,
            offsets_retention_check_ms: long("offsets.retention.check.interval.ms"),
            offset_metadata_max_bytes: int("offset.metadata.max.bytes"),
            group_min_session_ms: int("group.min.session.timeout.ms"),
            group_max_session_ms: int("group.max.session.timeout.ms"),
            group_max_size: int("group.max.size"),
            group_initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms"),
            consumer_groups: ConsumerGroups::new(&fixed)?,
            fetch_max_bytes: int("fetch.max.bytes"),
            fetch_sessions_max: int("max.incremental.fetch.session.cache.slots"),
            describe_partitions_max: int("max.request.partition.size.limit"),
            auto_leader_rebalance: text(&fixed, "auto.leader.rebalance.enable") == "true",
            heartbeat_interval_ms: int("broker.heartbeat.interval.ms"),
            session_timeout_ms: int("broker.session.timeout.ms"),
            controlled_shutdown: text(&fixed, "controlled.shutdown.enable") == "true",
            registration_timeout_ms: int("initial.broker.registration.timeout.ms"),
            leader_imbalance_check_ms: long("leader.imbalance.check.interval.seconds").saturating_mul(1000),
            unclean_election_interval_ms: long("unclean.leader.election.interval.ms"),
            replica_lag_max_ms: long("replica.lag.time.max.ms"),
            replica_fetch_max_bytes: int("replica.fetch.max.bytes"),
            replica_fetch_min_bytes: int("replica.fetch.min.bytes"),
            replica_fetch_response_max_bytes: int("replica.fetch.response.max.bytes"),
            replica_fetch_wait_max_ms: int("replica.fetch.wait.max.ms"),
            is_rack_aware: fixed.get("replica.selector.class").is_some_and(|class| class.trim() == RACK_AWARE),
            scrub_bytes_per_second: long("log.scrub.max.bytes.per.second"),
            high_watermark_checkpoint_ms: long("replica.high.watermark.checkpoint.interval.ms"),
            fixed,
        };
        if i64::from(config.replica_fetch_wait_max_ms) > config.replica_lag_max_ms {
            let words = "replica.fetch.wait.max.ms should always be <= replica.lag.time.max.ms to prevent frequent changes in ISR";
            return Err(words.to_owned());
        }
        let none = Properties::new();
        super::topic::validate(&none, Layers { broker: &none, cluster: &none, fixed: &config.fixed })?;
        Ok(config)
    }

    /// The endpoint that those who come in by `listener` are told.
    #[must_use]
    pub fn endpoint(&self, listener: ListenerId) -> &Endpoint {
        let mut all = self.endpoints.iter().chain(&self.controllers);
        all.nth(usize::from(listener.0)).expect("connections come in by listeners that the configuration names")
    }

    /// Where clients and brokers are told to come in.
    pub fn advertised(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| !self.unadvertised.contains(&endpoint.name))
    }

    /// Whether the metadata quorum comes in by `listener`, and clients do not.
    #[must_use]
    pub fn is_controller(&self, listener: ListenerId) -> bool {
        usize::from(listener.0) >= self.endpoints.len()
    }

    /// The log directories and their numbers.
    pub fn dirs(&self) -> impl Iterator<Item = (DirId, &LogDir)> {
        self.dirs.iter().enumerate().map(|(at, dir)| (DirId(u16::try_from(at).expect("fewer than 2^16 folders")), dir))
    }

    /// What holds for a topic that sets nothing, before anything was changed while running.
    #[must_use]
    pub fn topic_defaults(&self) -> TopicConfig {
        let none = Properties::new();
        TopicConfig::new(&none, Layers { broker: &none, cluster: &none, fixed: &self.fixed })
    }
}

fn value(fixed: &Properties, name: &str) -> Value {
    let key = key(name).expect("a name of our own table");
    let own = fixed.get(name).map(|text| key.parse(text).expect("judged before"));
    own.or_else(|| key.default_value()).expect("every key asked for by type has a default")
}

pub(super) fn number(fixed: &Properties, name: &str) -> i64 {
    match value(fixed, name) {
        Value::Number(number) => number,
        other @ (Value::Flag(_) | Value::Ratio(_) | Value::Text(_) | Value::List(_)) => panic!("{name} is no number: {other}"),
    }
}

pub(super) fn text(fixed: &Properties, name: &str) -> String {
    value(fixed, name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::known::{Class, class};

    fn config(fixed: &[(&str, &str)]) -> Result<BrokerConfig, String> {
        let fixed = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        BrokerConfig::new(BrokerId(1), "c", vec![], vec![], fixed)
    }

    #[test]
    fn the_table_is_in_order_valid_and_known() {
        assert!(KEYS.is_sorted_by(|a, b| a.name < b.name));
        for key in KEYS {
            assert_eq!(class(key.name), Some(Class::Used), "{}", key.name);
            if let Some(default) = key.default {
                assert!(key.parse(default).is_ok(), "{}", key.name);
            }
        }
    }

    #[test]
    fn properties_become_fields() {
        let config =
            config(&[("num.partitions", "3"), ("offsets.retention.minutes", "2"), ("log.durability", "page-cache")]).expect("valid");
        assert_eq!((config.num_partitions, config.offsets_retention_ms, config.durability), (3, 120_000, Durability::PageCache));
        assert_eq!(config.offsets_partitions, 50);
        assert_eq!(config.topic_defaults().max_message_bytes, 1_048_588);
        assert_eq!((config.session_timeout_ms, config.leader_imbalance_check_ms), (9000, 300_000));
    }

    #[test]
    fn the_listeners_of_the_quorum_follow_those_of_clients() {
        let endpoint = |name: &str| Endpoint { name: name.to_owned(), host: "h".to_owned(), port: 1, security: 0 };
        let config =
            BrokerConfig { endpoints: vec![endpoint("A"), endpoint("B")], controllers: vec![endpoint("C")], ..config(&[]).expect("valid") };
        let told = [0, 1, 2].map(ListenerId).map(|id| (config.endpoint(id).name.as_str(), config.is_controller(id)));
        assert_eq!(told, [("A", false), ("B", false), ("C", true)]);
    }

    #[test]
    fn a_bad_property_is_named() {
        assert_eq!(
            config(&[("num.partitions", "0")]).expect_err("too few"),
            "Invalid value 0 for configuration num.partitions: Value must be at least 1"
        );
        assert_eq!(
            config(&[("log.durability", "maybe")]).expect_err("no such word"),
            "Invalid value maybe for configuration log.durability: String must be one of: fsync, page-cache"
        );
        let lagging = config(&[("replica.lag.time.max.ms", "400")]).expect_err("a fetch waits for longer");
        assert!(lagging.starts_with("replica.fetch.wait.max.ms should always be <="), "{lagging}");
        assert!(config(&[("log.cleaner.min.compaction.lag.ms", "9"), ("log.cleaner.max.compaction.lag.ms", "5")]).is_err());
    }
}
