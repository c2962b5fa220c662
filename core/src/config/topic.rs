//! What holds for one topic: its own settings over the broker's. Judges new settings as Kafka does.
//!
//! Source: Kafka's `LogConfig`. The table is in `topic_keys.rs`.

use super::key::{Key, Value};
use super::layers::{Layers, Source, Synonym};
use super::topic_keys::KEYS;
use super::{Properties, broker};
use crate::id::{BrokerId, PartitionIndex};
use crate::wire::batch::Compression;
use std::collections::BTreeSet;

/// One topic configuration and the broker properties beneath it.
#[derive(Clone, Copy, Debug)]
pub struct TopicKey {
    /// The configuration itself.
    pub key: Key,
    /// The broker properties that hold where the topic sets nothing, the strongest first.
    pub server: &'static [(&'static str, Unit)],
    /// Whether it is hidden from listings.
    pub is_internal: bool,
}

/// In what a broker property counts what its topic configuration counts in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// In the same.
    Same,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

/// Every topic configuration, by name, hidden ones included.
#[must_use]
pub fn keys() -> &'static [TopicKey] {
    KEYS
}

/// The topic configuration `name`.
#[must_use]
pub fn key(name: &str) -> Option<&'static TopicKey> {
    KEYS.binary_search_by(|k| k.key.name.cmp(name)).ok().map(|at| &KEYS[at])
}

impl TopicKey {
    /// What holds for a topic with the settings `own`, and why. `None` is Kafka's null.
    #[must_use]
    pub fn effective(&self, own: &Properties, layers: Layers<'_>) -> (Option<Value>, Source) {
        if let Some(value) = own.get(self.key.name).and_then(|text| self.key.parse(text).ok()) {
            return (Some(value), Source::Topic);
        }
        for (source, properties) in layers.each() {
            for (name, unit) in self.server {
                if let Some(value) = properties.get(*name).and_then(|text| self.convert(text, *unit)) {
                    return (Some(value), source);
                }
            }
        }
        (self.key.default_value(), Source::Default)
    }

    /// What bears on it, as Kafka lists it, the strongest first.
    #[must_use]
    pub fn synonyms(&self, own: &Properties, layers: Layers<'_>) -> Vec<Synonym> {
        let mut all = Vec::new();
        if let Some(text) = own.get(self.key.name) {
            let shown = self.key.parse(text).map_or_else(|_| text.clone(), |value| value.to_string());
            all.push(Synonym { name: self.key.name.to_owned(), value: Some(shown), source: Source::Topic });
        }
        let family: Vec<&Key> = self.server.iter().filter_map(|(name, _)| broker::key(name)).collect();
        if let Some((first, _)) = self.server.first() {
            all.extend(layers.synonyms(first, &family));
        }
        all
    }

    fn convert(&self, text: &str, unit: Unit) -> Option<Value> {
        let by = match unit {
            Unit::Same => return self.key.parse(text).ok(),
            Unit::Minutes => 60_000,
            Unit::Hours => 3_600_000,
        };
        // A negative time is "for ever" in any unit.
        let count: i64 = text.trim().parse().ok()?;
        Some(Value::Number(if count < 0 { -1 } else { count.checked_mul(by)? }))
    }
}

/// Judges the settings `own` that a topic would have.
///
/// # Errors
/// What is wrong, in Kafka's words; answered as INVALID_CONFIG.
pub fn validate(own: &Properties, layers: Layers<'_>) -> Result<(), String> {
    if let Some(unknown) = own.keys().find(|name| key(name).is_none()) {
        return Err(format!("Unknown topic config name: {unknown}"));
    }
    for topic_key in KEYS {
        if let Some(text) = own.get(topic_key.key.name) {
            topic_key.key.parse(text)?;
        }
    }
    let number = |name| number_of(name, own, layers);
    let (min, max) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
    if min > max {
        return Err(format!("conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"));
    }
    if flag_of("remote.storage.enable", own, layers) {
        return Err(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.".to_owned()
        );
    }
    Ok(())
}

/// What happens to old segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cleanup {
    /// They are deleted by time and size.
    pub delete: bool,
    /// They are reduced to the newest record of each key.
    pub compact: bool,
}

/// Whose time a stored record has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimestampType {
    /// Its creator's.
    #[default]
    Create,
    /// That of its append.
    Append,
}

/// Which replicas are throttled while they are not in sync (KIP-73).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Throttled {
    /// Every replica of the topic.
    All,
    /// These.
    #[default]
    None,
    /// Partitions and brokers.
    Some(BTreeSet<(PartitionIndex, BrokerId)>),
}

impl Throttled {
    /// Whether the replica of `partition` on `broker` is.
    #[must_use]
    pub fn has(&self, partition: PartitionIndex, broker: BrokerId) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(pairs) => pairs.contains(&(partition, broker)),
        }
    }

    fn of(items: &[String]) -> Self {
        let pair = |item: &String| {
            let (partition, broker) = item.split_once(':')?;
            Some((PartitionIndex(partition.parse().ok()?), BrokerId(broker.parse().ok()?)))
        };
        match items {
            [] => Self::None,
            [only] if only == "*" => Self::All,
            items => Self::Some(items.iter().filter_map(pair).collect()),
        }
    }
}

/// What holds for one topic, typed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicConfig {
    /// What happens to old segments.
    pub cleanup: Cleanup,
    /// The codec to store batches in; `None` keeps each batch's own.
    pub compression: Option<Compression>,
    /// How hard gzip compresses; −1 is its own default.
    pub gzip_level: i32,
    /// How hard lz4 compresses.
    pub lz4_level: i32,
    /// How hard zstd compresses.
    pub zstd_level: i32,
    /// How long tombstones stay, in ms.
    pub delete_retention_ms: i64,
    /// How long a deleted file stays before it is unlinked, in ms.
    pub file_delete_delay_ms: i64,
    /// Whose fetching is throttled.
    pub throttled_followers: Throttled,
    /// Whose serving of followers is throttled.
    pub throttled_leaders: Throttled,
    /// Sync after so many records, whatever the durability.
    pub flush_messages: i64,
    /// Sync after so many ms, whatever the durability.
    pub flush_ms: i64,
    /// Bytes of log between two index entries.
    pub index_interval_bytes: u32,
    /// The largest batch accepted, in bytes.
    pub max_message_bytes: u32,
    /// How far a record's time may lie ahead of the clock, in ms.
    pub timestamp_after_max_ms: i64,
    /// How far a record's time may lie behind the clock, in ms.
    pub timestamp_before_max_ms: i64,
    /// Whose time records have.
    pub timestamp_type: TimestampType,
    /// A record is compacted at the latest after this time, in ms.
    pub max_compaction_lag_ms: i64,
    /// A record is not compacted before this time, in ms.
    pub min_compaction_lag_ms: i64,
    /// The uncompacted share that wakes compaction, in millionths.
    pub min_cleanable_dirty_ppm: u32,
    /// In-sync replicas that an acks=all write needs.
    pub min_insync_replicas: u32,
    /// Whether the space of a segment is taken at once.
    pub preallocate: bool,
    /// How large a partition may grow; `None` is without limit.
    pub retention_bytes: Option<u64>,
    /// How long records stay, in ms; `None` is for ever.
    pub retention_ms: Option<i64>,
    /// How large a segment grows.
    pub segment_bytes: u32,
    /// How large an index grows.
    pub segment_index_bytes: u32,
    /// By how much at most a roll comes earlier, in ms.
    pub segment_jitter_ms: i64,
    /// When a segment is closed even if it is not full, in ms.
    pub segment_ms: i64,
    /// Whether a replica outside of the ISR may lead.
    pub unclean_election: bool,
}

impl TopicConfig {
    /// What holds for a topic with the settings `own`. What does not parse any more is passed over.
    #[must_use]
    pub fn new(own: &Properties, layers: Layers<'_>) -> Self {
        let long = |name| number_of(name, own, layers);
        let int = |name| i32::try_from(long(name)).expect("the table makes it an INT");
        let size = |name| u32::try_from(long(name)).expect("the table makes it an INT that is not negative");
        let flag = |name| flag_of(name, own, layers);
        let limit = |name| Some(long(name)).filter(|n| *n >= 0);
        let internal = key("internal.segment.bytes").and_then(|k| k.effective(own, layers).0);
        Self {
            cleanup: cleanup(own, layers),
            compression: compression(own, layers),
            gzip_level: int("compression.gzip.level"),
            lz4_level: int("compression.lz4.level"),
            zstd_level: int("compression.zstd.level"),
            delete_retention_ms: long("delete.retention.ms"),
            file_delete_delay_ms: long("file.delete.delay.ms"),
            throttled_followers: throttled("follower.replication.throttled.replicas", own, layers),
            throttled_leaders: throttled("leader.replication.throttled.replicas", own, layers),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            index_interval_bytes: size("index.interval.bytes"),
            max_message_bytes: size("max.message.bytes"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            timestamp_type: timestamp_type(own, layers),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            min_cleanable_dirty_ppm: dirty_ppm(own, layers),
            min_insync_replicas: size("min.insync.replicas"),
            preallocate: flag("preallocate"),
            retention_bytes: limit("retention.bytes").map(i64::unsigned_abs),
            retention_ms: limit("retention.ms"),
            segment_bytes: match internal {
                Some(Value::Number(bytes)) => u32::try_from(bytes).unwrap_or(1),
                Some(_) | None => size("segment.bytes"),
            },
            segment_index_bytes: size("segment.index.bytes"),
            segment_jitter_ms: long("segment.jitter.ms"),
            segment_ms: match long("max.compaction.lag.ms") {
                // What is to be compacted in time must be in a sealed segment by then (Kafka's `LogConfig.maxSegmentMs`).
                lag if lag > 0 && cleanup(own, layers).compact => long("segment.ms").min(lag),
                _ => long("segment.ms"),
            },
            unclean_election: flag("unclean.leader.election.enable"),
        }
    }
}

fn value_of(name: &str, own: &Properties, layers: Layers<'_>) -> Value {
    let key = key(name).expect("a name of our own table");
    key.effective(own, layers).0.expect("every key asked for by type has a default")
}

fn number_of(name: &str, own: &Properties, layers: Layers<'_>) -> i64 {
    match value_of(name, own, layers) {
        Value::Number(number) => number,
        other @ (Value::Flag(_) | Value::Ratio(_) | Value::Text(_) | Value::List(_)) => panic!("{name} is no number: {other}"),
    }
}

fn flag_of(name: &str, own: &Properties, layers: Layers<'_>) -> bool {
    value_of(name, own, layers) == Value::Flag(true)
}

fn throttled(name: &str, own: &Properties, layers: Layers<'_>) -> Throttled {
    let Value::List(items) = value_of(name, own, layers) else { panic!("{name} is no list") };
    Throttled::of(&items)
}

fn cleanup(own: &Properties, layers: Layers<'_>) -> Cleanup {
    let Value::List(policies) = value_of("cleanup.policy", own, layers) else { panic!("cleanup.policy is no list") };
    let has = |policy: &str| policies.iter().any(|p| p == policy);
    Cleanup { delete: has("delete"), compact: has("compact") }
}

fn compression(own: &Properties, layers: Layers<'_>) -> Option<Compression> {
    match value_of("compression.type", own, layers).to_string().as_str() {
        "uncompressed" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        "snappy" => Some(Compression::Snappy),
        "lz4" => Some(Compression::Lz4),
        "zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

fn timestamp_type(own: &Properties, layers: Layers<'_>) -> TimestampType {
    match value_of("message.timestamp.type", own, layers).to_string().as_str() {
        "LogAppendTime" => TimestampType::Append,
        _ => TimestampType::Create,
    }
}

fn dirty_ppm(own: &Properties, layers: Layers<'_>) -> u32 {
    // The table bounds it to 0..=1, but Kafka takes NaN too: then nothing is ever dirty enough.
    match value_of("min.cleanable.dirty.ratio", own, layers) {
        Value::Ratio(ratio) if ratio.is_finite() => (ratio * 1_000_000.0) as u32,
        Value::Ratio(_) | Value::Flag(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn with<T>(fixed: &[(&str, &str)], check: impl FnOnce(Layers<'_>) -> T) -> T {
        let (none, fixed) = (Properties::new(), properties(fixed));
        check(Layers { broker: &none, cluster: &none, fixed: &fixed })
    }

    #[test]
    fn the_table_is_in_order_and_its_defaults_are_valid() {
        assert!(KEYS.is_sorted_by(|a, b| a.key.name < b.key.name));
        assert_eq!(KEYS.iter().filter(|k| !k.is_internal).count(), 33);
        for topic_key in KEYS {
            if let Some(default) = topic_key.key.default {
                assert!(topic_key.key.parse(default).is_ok(), "{}", topic_key.key.name);
            }
        }
    }

    #[test]
    fn kafkas_defaults_hold_where_nobody_sets_anything() {
        let config = with(&[], |layers| TopicConfig::new(&Properties::new(), layers));
        assert_eq!(config.retention_ms, Some(604_800_000));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.cleanup, Cleanup { delete: true, compact: false });
        assert_eq!(config.compression, None);
        assert_eq!(config.timestamp_after_max_ms, 3_600_000);
        assert_eq!(config.min_cleanable_dirty_ppm, 500_000);
    }

    #[test]
    fn the_strongest_layer_and_the_finest_unit_decide() {
        let topic_key = key("retention.ms").expect("a key");
        let retention = |own: &[(&str, &str)], fixed: &[(&str, &str)]| with(fixed, |layers| topic_key.effective(&properties(own), layers));
        assert_eq!(retention(&[], &[("log.retention.hours", "2")]), (Some(Value::Number(7_200_000)), Source::Static));
        assert_eq!(
            retention(&[], &[("log.retention.hours", "2"), ("log.retention.minutes", "3")]),
            (Some(Value::Number(180_000)), Source::Static)
        );
        assert_eq!(retention(&[], &[("log.retention.hours", "-1")]), (Some(Value::Number(-1)), Source::Static));
        assert_eq!(retention(&[("retention.ms", "5")], &[("log.retention.ms", "6")]), (Some(Value::Number(5)), Source::Topic));
        let (cluster, broker, none) =
            (properties(&[("log.retention.ms", "7")]), properties(&[("log.retention.ms", "8")]), Properties::new());
        let layers = Layers { broker: &broker, cluster: &cluster, fixed: &none };
        assert_eq!(topic_key.effective(&none, layers), (Some(Value::Number(8)), Source::Broker));
    }

    #[test]
    fn synonyms_begin_at_the_strongest_name_as_kafka_shows_them() {
        let own = properties(&[("retention.ms", "5")]);
        // Confirmed on Kafka 4.3: hours in the file are no synonym of the milliseconds.
        assert_eq!(with(&[("log.retention.hours", "2")], |l| key("retention.ms").expect("a key").synonyms(&Properties::new(), l)), vec![]);
        let shown = with(&[("log.retention.ms", "6")], |l| key("retention.ms").expect("a key").synonyms(&own, l));
        let named: Vec<_> = shown.iter().map(|s| (s.name.as_str(), s.value.as_deref(), s.source)).collect();
        assert_eq!(
            named,
            [
                ("retention.ms", Some("5"), Source::Topic),
                ("log.retention.ms", Some("6"), Source::Static),
                ("log.retention.hours", Some("168"), Source::Default)
            ]
        );
    }

    #[test]
    fn bad_settings_are_refused_in_kafkas_words() {
        let refuse = |own: &[(&str, &str)]| with(&[], |layers| validate(&properties(own), layers).expect_err("refused"));
        assert_eq!(refuse(&[("nope", "1")]), "Unknown topic config name: nope");
        assert_eq!(refuse(&[("retention.ms", "x")]), "Invalid value x for configuration retention.ms: Not a number of type LONG");
        assert_eq!(
            refuse(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]),
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
        );
        assert!(refuse(&[("remote.storage.enable", "true")]).starts_with("Tiered Storage"));
        assert_eq!(with(&[], |layers| validate(&properties(&[("cleanup.policy", "")]), layers)), Ok(()));
    }
}
