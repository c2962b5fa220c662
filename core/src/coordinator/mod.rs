//! Groups and their offsets, on one partition of `__consumer_offsets` each.
pub mod group;
pub mod offsets;
pub mod records;
use std::time::Duration;

/// Who connected, as tools show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// Its `client.id`.
    pub id: String,
    /// Where it came from, as Kafka prints it: a slash and the address.
    pub host: String,
}

/// The limits of groups and offsets, by Kafka's property names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`
    pub initial_delay: Duration,
    /// `group.max.size`
    pub max_size: usize,
    /// `group.min.session.timeout.ms`
    pub session_min: Duration,
    /// `group.max.session.timeout.ms`
    pub session_max: Duration,
    /// `offset.metadata.max.bytes`, counted as Kafka does: in UTF-16 units
    pub metadata_max: usize,
    /// `offsets.retention.minutes`
    pub retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub retention_check: Duration,
    /// `offsets.commit.timeout.ms`: how long an answer waits for its records to be safe
    pub commit_timeout: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_secs(3),
            max_size: i32::MAX as usize,
            session_min: Duration::from_secs(6),
            session_max: Duration::from_secs(30 * 60),
            metadata_max: 4096,
            retention: Duration::from_secs(7 * 24 * 3600),
            retention_check: Duration::from_secs(600),
            commit_timeout: Duration::from_secs(5),
        }
    }
}
