//! The table of every topic configuration of Kafka 4.3: names, types, defaults and valid values as its own broker tells them.
//!
//! `server` names the broker properties that stand in where a topic sets nothing, the strongest first.

use super::key::{Key, Kind, Valid};
use super::topic::{TopicKey, Unit};

/// Every topic configuration, by name.
pub(super) const KEYS: &[TopicKey] = &[
    TopicKey {
        key: Key {
            name: "cleanup.policy",
            kind: Kind::List,
            default: Some("delete"),
            valid: Valid::Words(&["compact", "delete"]),
            doc: "What happens to old segments: `delete` them, `compact` them to the newest record of each key, both, or (empty) neither.",
        },
        server: &[("log.cleanup.policy", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "compression.gzip.level",
            kind: Kind::Int,
            default: Some("-1"),
            valid: Valid::BetweenOr(1, 9, -1),
            doc: "How hard gzip compresses, where the broker recompresses.",
        },
        server: &[("compression.gzip.level", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "compression.lz4.level",
            kind: Kind::Int,
            default: Some("9"),
            valid: Valid::Between(1, 17),
            doc: "How hard lz4 compresses, where the broker recompresses.",
        },
        server: &[("compression.lz4.level", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "compression.type",
            kind: Kind::String,
            default: Some("producer"),
            valid: Valid::Words(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
            doc: "The codec of stored batches; `producer` keeps the one each batch came with.",
        },
        server: &[("compression.type", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "compression.zstd.level",
            kind: Kind::Int,
            default: Some("3"),
            valid: Valid::Between(-131072, 22),
            doc: "How hard zstd compresses, where the broker recompresses.",
        },
        server: &[("compression.zstd.level", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "delete.retention.ms",
            kind: Kind::Long,
            default: Some("86400000"),
            valid: Valid::AtLeast(0),
            doc: "How long the tombstones of a compacted topic stay readable.",
        },
        server: &[("log.cleaner.delete.retention.ms", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "file.delete.delay.ms",
            kind: Kind::Long,
            default: Some("60000"),
            valid: Valid::AtLeast(0),
            doc: "How long a deleted file stays on disk before it is unlinked.",
        },
        server: &[("log.segment.delete.delay.ms", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "flush.messages",
            kind: Kind::Long,
            default: Some("9223372036854775807"),
            valid: Valid::AtLeast(1),
            doc: "After how many records the log is synced, whatever its durability.",
        },
        server: &[("log.flush.interval.messages", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "flush.ms",
            kind: Kind::Long,
            default: Some("9223372036854775807"),
            valid: Valid::AtLeast(0),
            doc: "After how long written records are synced, whatever the durability.",
        },
        server: &[("log.flush.interval.ms", Unit::Same), ("log.flush.scheduler.interval.ms", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "follower.replication.throttled.replicas",
            kind: Kind::List,
            default: Some(""),
            valid: Valid::Throttled,
            doc: "Followers whose replication is throttled: `partition:broker` pairs, or `*` for all.",
        },
        server: &[],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "index.interval.bytes",
            kind: Kind::Int,
            default: Some("4096"),
            valid: Valid::AtLeast(0),
            doc: "About how many bytes of log lie between two index entries.",
        },
        server: &[("log.index.interval.bytes", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "internal.segment.bytes",
            kind: Kind::Int,
            default: None,
            valid: Valid::Any,
            doc: "The size of a segment, without a lower bound: for tests only.",
        },
        server: &[],
        is_internal: true,
    },
    TopicKey {
        key: Key {
            name: "leader.replication.throttled.replicas",
            kind: Kind::List,
            default: Some(""),
            valid: Valid::Throttled,
            doc: "Leaders whose replication is throttled: `partition:broker` pairs, or `*` for all.",
        },
        server: &[],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "local.retention.bytes",
            kind: Kind::Long,
            default: Some("-2"),
            valid: Valid::AtLeast(-2),
            doc: "How many bytes of a tiered log stay on local disk; -2 means as `retention.bytes`.",
        },
        server: &[("log.local.retention.bytes", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "local.retention.ms",
            kind: Kind::Long,
            default: Some("-2"),
            valid: Valid::AtLeast(-2),
            doc: "How long a tiered log stays on local disk; -2 means as `retention.ms`.",
        },
        server: &[("log.local.retention.ms", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "max.compaction.lag.ms",
            kind: Kind::Long,
            default: Some("9223372036854775807"),
            valid: Valid::AtLeast(1),
            doc: "A record is compacted at the latest after this time.",
        },
        server: &[("log.cleaner.max.compaction.lag.ms", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "max.message.bytes",
            kind: Kind::Int,
            default: Some("1048588"),
            valid: Valid::AtLeast(0),
            doc: "The largest batch that is accepted, as compressed.",
        },
        server: &[("message.max.bytes", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "message.timestamp.after.max.ms",
            kind: Kind::Long,
            default: Some("3600000"),
            valid: Valid::AtLeast(0),
            doc: "How far a record's own time may lie ahead of the broker's clock.",
        },
        server: &[("log.message.timestamp.after.max.ms", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "message.timestamp.before.max.ms",
            kind: Kind::Long,
            default: Some("9223372036854775807"),
            valid: Valid::AtLeast(0),
            doc: "How far a record's own time may lie behind the broker's clock.",
        },
        server: &[("log.message.timestamp.before.max.ms", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "message.timestamp.type",
            kind: Kind::String,
            default: Some("CreateTime"),
            valid: Valid::Words(&["CreateTime", "LogAppendTime"]),
            doc: "Whose time a record has: its creator's, or that of its append.",
        },
        server: &[("log.message.timestamp.type", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "min.cleanable.dirty.ratio",
            kind: Kind::Double,
            default: Some("0.5"),
            valid: Valid::Between(0, 1),
            doc: "The share of a log that must be uncompacted before compaction takes it up.",
        },
        server: &[("log.cleaner.min.cleanable.ratio", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "min.compaction.lag.ms",
            kind: Kind::Long,
            default: Some("0"),
            valid: Valid::AtLeast(0),
            doc: "A record is not compacted before this time.",
        },
        server: &[("log.cleaner.min.compaction.lag.ms", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "min.insync.replicas",
            kind: Kind::Int,
            default: Some("1"),
            valid: Valid::AtLeast(1),
            doc: "How many in-sync replicas an acks=all write needs.",
        },
        server: &[("min.insync.replicas", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "preallocate",
            kind: Kind::Boolean,
            default: Some("false"),
            valid: Valid::Any,
            doc: "Whether the space of a new segment is taken at once.",
        },
        server: &[("log.preallocate", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "remote.log.copy.disable",
            kind: Kind::Boolean,
            default: Some("false"),
            valid: Valid::Any,
            doc: "Whether a tiered topic stops uploading.",
        },
        server: &[],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "remote.log.delete.on.disable",
            kind: Kind::Boolean,
            default: Some("false"),
            valid: Valid::Any,
            doc: "Whether turning tiering off deletes what was uploaded.",
        },
        server: &[],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "remote.storage.enable",
            kind: Kind::Boolean,
            default: Some("false"),
            valid: Valid::Any,
            doc: "Whether the topic is tiered; this broker has no tiered storage.",
        },
        server: &[],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "retention.bytes",
            kind: Kind::Long,
            default: Some("-1"),
            valid: Valid::Any,
            doc: "How large a partition may grow before its oldest segments are deleted; -1 is without limit.",
        },
        server: &[("log.retention.bytes", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "retention.ms",
            kind: Kind::Long,
            default: Some("604800000"),
            valid: Valid::AtLeast(-1),
            doc: "How long records stay before their segments are deleted; -1 is for ever.",
        },
        server: &[("log.retention.ms", Unit::Same), ("log.retention.minutes", Unit::Minutes), ("log.retention.hours", Unit::Hours)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "segment.bytes",
            kind: Kind::Int,
            default: Some("1073741824"),
            valid: Valid::AtLeast(1048576),
            doc: "How large a segment grows before the next one begins.",
        },
        server: &[("log.segment.bytes", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "segment.index.bytes",
            kind: Kind::Int,
            default: Some("10485760"),
            valid: Valid::AtLeast(4),
            doc: "How large a segment's index may grow.",
        },
        server: &[("log.index.size.max.bytes", Unit::Same)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "segment.jitter.ms",
            kind: Kind::Long,
            default: Some("0"),
            valid: Valid::AtLeast(0),
            doc: "By how much at most a segment rolls earlier than `segment.ms`, so that not all roll at once.",
        },
        server: &[("log.roll.jitter.ms", Unit::Same), ("log.roll.jitter.hours", Unit::Hours)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "segment.ms",
            kind: Kind::Long,
            default: Some("604800000"),
            valid: Valid::AtLeast(1),
            doc: "After how long a segment is closed even if it is not full.",
        },
        server: &[("log.roll.ms", Unit::Same), ("log.roll.hours", Unit::Hours)],
        is_internal: false,
    },
    TopicKey {
        key: Key {
            name: "unclean.leader.election.enable",
            kind: Kind::Boolean,
            default: Some("false"),
            valid: Valid::Any,
            doc: "Whether a replica outside of the ISR may lead as a last resort, losing records.",
        },
        server: &[("unclean.leader.election.enable", Unit::Same)],
        is_internal: false,
    },
];
