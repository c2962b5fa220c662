//! The monitor's configuration: Burrow's file (TOML), with its names and defaults.
//!
//! What Burrow knows and klamm does without is accepted and named; what would be missed (TLS, SASL, notifications) is refused.

use klamm_core::client::io::Address;
use klamm_core::lag::Settings;
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Table;

/// Where it listens unless told: on this machine only, since nothing guards it.
const ADDRESS: &str = "127.0.0.1:8000";

/// What to watch, how to judge, where to listen.
#[derive(Clone, Debug)]
pub struct Config {
    /// The clusters, by name.
    pub clusters: BTreeMap<String, Watched>,
    /// How consumers are judged.
    pub settings: Settings,
    /// Where to listen: host:port.
    pub listen: Vec<String>,
    /// Whose pages may ask.
    pub allowed_origin: Option<String>,
    /// Keys that were given and do nothing here.
    pub ignored: Vec<String>,
}

/// A cluster to watch.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Whom to ask first.
    pub servers: Vec<Address>,
    /// How often to look.
    pub offset_refresh: Duration,
    /// Which groups to look at.
    pub groups: Groups,
}

/// Which groups are looked at: those that match every `allow` and no `deny`.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    allow: Vec<Regex>,
    deny: Vec<Regex>,
}

impl Groups {
    /// Whether it is one of them.
    #[must_use]
    pub fn has(&self, group: &str) -> bool {
        self.allow.iter().all(|pattern| pattern.is_match(group)) && !self.deny.iter().any(|pattern| pattern.is_match(group))
    }

    fn add(&mut self, allow: &str, deny: &str) -> Result<(), String> {
        let compile = |pattern: &str| Regex::new(pattern).map_err(|e| format!("`{pattern}`: {e}"));
        if !allow.is_empty() {
            self.allow.push(compile(allow)?);
        }
        if !deny.is_empty() {
            self.deny.push(compile(deny)?);
        }
        Ok(())
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    general: General,
    logging: Table,
    zookeeper: Table,
    client_profile: BTreeMap<String, Table>,
    tls: Table,
    sasl: Table,
    cluster: BTreeMap<String, ClusterSection>,
    consumer: BTreeMap<String, ConsumerSection>,
    httpserver: BTreeMap<String, HttpSection>,
    storage: BTreeMap<String, StorageSection>,
    evaluator: BTreeMap<String, EvaluatorSection>,
    notifier: Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct General {
    pidfile: String,
    stdout_logfile: String,
    access_control_allow_origin: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ClusterSection {
    #[serde(default)]
    class_name: String,
    servers: Vec<String>,
    client_profile: Option<String>,
    offset_refresh: Option<u64>,
    topic_refresh: Option<u64>,
    groups_reaper_refresh: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct ConsumerSection {
    class_name: String,
    cluster: String,
    servers: Option<Vec<String>>,
    client_profile: Option<String>,
    group_allowlist: String,
    group_denylist: String,
    offsets_topic: Option<String>,
    start_latest: Option<bool>,
    backfill_earliest: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct HttpSection {
    address: String,
    timeout: Option<u64>,
    tls: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct StorageSection {
    class_name: String,
    intervals: Option<usize>,
    min_distance: Option<u64>,
    expire_group: Option<u64>,
    group_allowlist: String,
    group_denylist: String,
    workers: Option<u64>,
    queue_depth: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct EvaluatorSection {
    class_name: String,
    expire_cache: Option<u64>,
    allowed_lag: Option<u64>,
    minimum_complete: Option<f32>,
}

/// The largest window: more would only cost memory.
const INTERVALS_MAX: usize = 1000;

impl Config {
    /// Reads a file's text.
    ///
    /// # Errors
    /// One or more lines: what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        file.refuse_what_would_be_missed()?;
        file.check_names()?;
        let settings = file.settings()?;
        let mut config = Self {
            clusters: BTreeMap::new(),
            settings,
            listen: file.httpserver.values().map(|section| listen_at(&section.address)).collect(),
            allowed_origin: Some(file.general.access_control_allow_origin.clone()).filter(|origin| !origin.is_empty()),
            ignored: file.ignored(),
        };
        if config.listen.is_empty() {
            config.listen.push(ADDRESS.to_owned());
        }
        for (name, section) in &file.cluster {
            let watched = file.watched(name, section).map_err(|why| format!("cluster.{name}: {why}"))?;
            config.clusters.insert(name.clone(), watched);
        }
        if config.clusters.is_empty() {
            return Err("there is no cluster to watch: add `[cluster.NAME]` with `servers = [\"HOST:9092\"]`".to_owned());
        }
        Ok(config)
    }
}

impl File {
    fn refuse_what_would_be_missed(&self) -> Result<(), String> {
        let secured = self.client_profile.iter().find(|(_, profile)| profile.contains_key("tls") || profile.contains_key("sasl"));
        let served = self.httpserver.iter().find(|(_, section)| section.tls.is_some());
        let zookeeper = self.consumer.iter().find(|(_, section)| section.class_name == "kafka_zk");
        let refused = [
            secured.map(|(name, _)| format!("client-profile.{name}: TLS and SASL are not there yet")),
            served.map(|(name, _)| format!("httpserver.{name}: TLS is not there yet; put a proxy before it")),
            zookeeper.map(|(name, _)| format!("consumer.{name}: offsets in ZooKeeper are not read")),
            self.notifier.keys().next().map(|name| format!("notifier.{name}: notifications are not there yet; alert on /metrics")),
        ];
        refused.into_iter().flatten().next().map_or(Ok(()), Err)
    }

    /// What a section names must be there.
    fn check_names(&self) -> Result<(), String> {
        let in_clusters = self.cluster.iter().map(|(name, section)| ("cluster", name, &section.client_profile));
        let in_consumers = self.consumer.iter().map(|(name, section)| ("consumer", name, &section.client_profile));
        for (kind, name, profile) in in_clusters.chain(in_consumers) {
            if let Some(profile) = profile.as_ref().filter(|profile| !self.client_profile.contains_key(*profile)) {
                return Err(format!("{kind}.{name}: there is no client-profile `{profile}`"));
            }
        }
        let lost = self.consumer.iter().find(|(_, section)| !self.cluster.contains_key(&section.cluster));
        lost.map_or(Ok(()), |(name, section)| Err(format!("consumer.{name}: there is no cluster `{}`", section.cluster)))
    }

    fn settings(&self) -> Result<Settings, String> {
        if self.storage.len() > 1 || self.evaluator.len() > 1 {
            return Err("want one `[storage.NAME]` and one `[evaluator.NAME]` at most".to_owned());
        }
        let mut settings = Settings::default();
        for storage in self.storage.values() {
            settings.intervals = storage.intervals.unwrap_or(settings.intervals);
            settings.min_distance = storage.min_distance.map_or(settings.min_distance, Duration::from_secs);
            settings.expire = storage.expire_group.map_or(settings.expire, Duration::from_secs);
        }
        for evaluator in self.evaluator.values() {
            settings.allowed_lag = evaluator.allowed_lag.unwrap_or(settings.allowed_lag);
            settings.minimum_complete = evaluator.minimum_complete.unwrap_or(settings.minimum_complete);
        }
        if !(1..=INTERVALS_MAX).contains(&settings.intervals) {
            return Err(format!("storage: `intervals = {}`: want 1 to {INTERVALS_MAX}", settings.intervals));
        }
        Ok(settings)
    }

    fn watched(&self, name: &str, section: &ClusterSection) -> Result<Watched, String> {
        let servers = section.servers.iter().map(|server| address(server)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err("`servers` is empty".to_owned());
        }
        let offset_refresh = Duration::from_secs(section.offset_refresh.unwrap_or(10));
        if offset_refresh.is_zero() {
            return Err("`offset-refresh = 0`: want seconds".to_owned());
        }
        let mut groups = Groups::default();
        for consumer in self.consumer.values().filter(|consumer| consumer.cluster == name) {
            groups.add(&consumer.group_allowlist, &consumer.group_denylist)?;
        }
        for storage in self.storage.values() {
            groups.add(&storage.group_allowlist, &storage.group_denylist)?;
        }
        Ok(Watched { servers, offset_refresh, groups })
    }

    /// What was given and does nothing here.
    fn ignored(&self) -> Vec<String> {
        let mut ignored = Vec::new();
        let mut note = |is_given: bool, name: &str| {
            if is_given && !ignored.iter().any(|known| known == name) {
                ignored.push(name.to_owned());
            }
        };
        note(!self.general.pidfile.is_empty(), "general.pidfile");
        note(!self.general.stdout_logfile.is_empty(), "general.stdout-logfile");
        note(!self.logging.is_empty(), "logging");
        note(!self.zookeeper.is_empty(), "zookeeper");
        note(!self.client_profile.is_empty(), "client-profile");
        note(!self.tls.is_empty(), "tls");
        note(!self.sasl.is_empty(), "sasl");
        for section in self.cluster.values() {
            note(!matches!(section.class_name.as_str(), "" | "kafka"), "cluster.class-name");
            note(section.topic_refresh.is_some(), "cluster.topic-refresh");
            note(section.groups_reaper_refresh.is_some(), "cluster.groups-reaper-refresh");
        }
        for section in self.consumer.values() {
            note(section.servers.is_some(), "consumer.servers");
            note(section.offsets_topic.is_some(), "consumer.offsets-topic");
            note(section.start_latest.is_some(), "consumer.start-latest");
            note(section.backfill_earliest.is_some(), "consumer.backfill-earliest");
        }
        for section in self.storage.values() {
            note(!matches!(section.class_name.as_str(), "" | "inmemory"), "storage.class-name");
            note(section.workers.is_some(), "storage.workers");
            note(section.queue_depth.is_some(), "storage.queue-depth");
        }
        for section in self.evaluator.values() {
            note(!matches!(section.class_name.as_str(), "" | "caching"), "evaluator.class-name");
            note(section.expire_cache.is_some(), "evaluator.expire-cache");
        }
        for section in self.httpserver.values() {
            note(section.timeout.is_some(), "httpserver.timeout");
        }
        ignored
    }
}

/// `:8000` is Go's way to say every address.
fn listen_at(address: &str) -> String {
    if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() }
}

fn address(server: &str) -> Result<Address, String> {
    let wrong = || format!("`{server}`: want HOST:PORT, like localhost:9092");
    let (host, port) = server.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Address { host, port: port.parse().map_err(|_| wrong())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[cluster.local]\nservers = ['127.0.0.1:9092']\n";

    fn refused(more: &str) -> String {
        Config::parse(&format!("{LEAST}{more}")).expect_err("it is refused")
    }

    #[test]
    fn defaults_are_burrows() {
        let config = Config::parse(LEAST).expect("enough");
        assert_eq!(config.settings, Settings::default());
        assert_eq!(config.clusters["local"].offset_refresh, Duration::from_secs(10));
        assert_eq!(config.clusters["local"].servers, [Address { host: "127.0.0.1".into(), port: 9092 }]);
        assert_eq!(config.listen, [ADDRESS]);
        assert!(config.ignored.is_empty());
    }

    #[test]
    fn burrows_own_file_is_understood() {
        let text = r#"
            [general]
            pidfile = "burrow.pid"
            access-control-allow-origin = "pages.example.org"
            [logging]
            level = "info"
            [zookeeper]
            servers = ["zk.example.org:2181"]
            [client-profile.test]
            client-id = "burrow-test"
            kafka-version = "2.8.0"
            [cluster.local]
            class-name = "kafka"
            servers = ["a.example.org:9092", "b.example.org:9092"]
            client-profile = "test"
            topic-refresh = 120
            offset-refresh = 30
            [consumer.local]
            class-name = "kafka"
            cluster = "local"
            servers = ["a.example.org:9092"]
            group-denylist = "^(console-consumer-|python-kafka-consumer-).*$"
            group-allowlist = ""
            [httpserver.default]
            address = ":8000"
            [storage.default]
            class-name = "inmemory"
            workers = 20
            intervals = 15
            expire-group = 604800
            min-distance = 1
            [evaluator.default]
            class-name = "caching"
            allowed-lag = 2
            minimum-complete = 0.5
        "#;
        let config = Config::parse(text).expect("it is Burrow's");
        assert_eq!((config.settings.intervals, config.settings.min_distance), (15, Duration::from_secs(1)));
        assert_eq!((config.settings.allowed_lag, config.settings.minimum_complete), (2, 0.5));
        assert_eq!((config.listen, config.allowed_origin.as_deref()), (vec!["0.0.0.0:8000".to_owned()], Some("pages.example.org")));
        let local = &config.clusters["local"];
        assert_eq!((local.servers.len(), local.offset_refresh), (2, Duration::from_secs(30)));
        assert!(local.groups.has("billing") && !local.groups.has("console-consumer-7"));
        let ignored =
            ["general.pidfile", "logging", "zookeeper", "client-profile", "cluster.topic-refresh", "consumer.servers", "storage.workers"];
        assert_eq!(config.ignored, ignored);
    }

    #[test]
    fn a_group_must_match_the_allowed_and_not_the_denied() {
        let more =
            "[consumer.x]\ncluster = 'local'\ngroup-allowlist = '^team-'\ngroup-denylist = 'test$'\n[storage.x]\ngroup-denylist = 'old'";
        let config = Config::parse(&format!("{LEAST}{more}")).expect("good");
        let seen = ["team-a", "team-a-test", "a", "team-old"].map(|group| config.clusters["local"].groups.has(group));
        assert_eq!(seen, [true, false, false, false]);
    }

    #[test]
    fn what_would_be_missed_is_refused() {
        assert!(refused("[client-profile.x]\ntls = 'y'").contains("TLS and SASL"));
        assert!(refused("[httpserver.x]\naddress = ':1'\ntls = 'y'").contains("TLS"));
        assert!(refused("[notifier.x]\nclass-name = 'http'").contains("notifications"));
        assert!(refused("[consumer.x]\nclass-name = 'kafka_zk'\ncluster = 'local'").contains("ZooKeeper"));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(refused("[storage.x]\ninterval = 3").contains("unknown field `interval`"));
        assert!(refused("[storage.x]\nintervals = 0").contains("want 1 to"));
        assert!(refused("[consumer.x]\ncluster = 'lcoal'").contains("no cluster `lcoal`"));
        assert!(refused("[consumer.x]\ncluster = 'local'\nclient-profile = 'y'").contains("no client-profile `y`"));
        assert!(refused("[consumer.x]\ncluster = 'local'\ngroup-denylist = '('").contains("cluster.local: `(`"));
        assert!(refused("[storage.a]\n[storage.b]").contains("one `[storage.NAME]`"));
        assert!(Config::parse("").expect_err("nothing to do").contains("no cluster"));
        assert!(Config::parse("[cluster.x]\nservers = ['localhost']").expect_err("no port").contains("want HOST:PORT"));
    }
}
