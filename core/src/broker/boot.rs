//! From recovered logs to a running broker: replay the metadata log, then take up the partitions it names.
//!
//! Connections are accepted meanwhile; their requests wait.

use super::io::Halt;
use super::stored::Pending;
use super::{Broker, Timer};
use crate::config::topic::{Cleanup, TimestampType};
use crate::config::{BrokerConfig, TopicConfig};
use crate::id::{Offset, PartitionIndex, Uuid};
use crate::partition::{METADATA_TOPIC, PartitionId};
use crate::store::{StoreFault, StoreOp, Stored};
use std::sync::Arc;
use std::time::Duration;

/// The metadata log, by the topic id that Kafka gives it.
pub(super) const METADATA: PartitionId =
    PartitionId { topic: Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), index: PartitionIndex(0) };

/// Bytes of the metadata log in one segment (`metadata.log.segment.bytes`).
const METADATA_SEGMENT_BYTES: u32 = 1 << 30;
/// Bytes of the metadata log replayed at a time.
const STEP_BYTES: u32 = 1 << 20;

/// How far a broker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    /// The metadata log is being made or replayed.
    Booting,
    /// Requests are decided.
    Running,
    /// What is outstanding is finished.
    Stopping,
}

impl Broker {
    /// Takes up, or makes, the metadata log.
    pub(super) fn boot(&mut self) {
        let topic: Arc<str> = METADATA_TOPIC.into();
        let config = Arc::new(metadata_config(&self.config.broker));
        match self.found.remove("__cluster_metadata-0") {
            Some((dir, found)) => self.adopt_partition(&topic, METADATA, &config, dir, found),
            None => self.create_partition(&topic, METADATA, &config),
        }
    }

    /// The metadata log is led: replay it.
    pub(super) fn metadata_led(&mut self) {
        let start = self.partitions[&METADATA].leader().expect("it has just begun to lead").log.start();
        self.replay_from(start);
    }

    fn replay_from(&mut self, from: Offset) {
        let leader = self.partitions[&METADATA].leader().expect("it leads until the broker halts");
        let (log, until) = (leader.log.id(), leader.log.end());
        if from >= until {
            return self.booted();
        }
        self.store(StoreOp::Load { log, from, until, max_bytes: STEP_BYTES }, Pending::Metadata);
    }

    /// A part of the metadata log was read.
    pub(super) fn metadata_loaded(&mut self, outcome: Result<Stored, StoreFault>) {
        let batches = match outcome {
            Ok(Stored::Loaded(batches)) if !batches.is_empty() => batches,
            other => return self.halt(Halt::Metadata { why: format!("the metadata log cannot be read: {other:?}") }),
        };
        let next = batches.last().expect("not empty").header().next_offset();
        if let Err(why) = self.replay_metadata(&batches) {
            return self.halt(Halt::Metadata { why });
        }
        self.replay_from(next);
    }

    /// The image is complete: take up the logs it names, make those that are missing, and register.
    fn booted(&mut self) {
        if self.phase != Phase::Booting {
            return;
        }
        self.metadata_ready();
        for (folder, (_, found)) in std::mem::take(&mut self.found) {
            self.leave_stray(&folder, &found);
        }
    }

    /// This broker's registration is committed: decide the requests that waited.
    pub(super) fn serve(&mut self) {
        if self.phase != Phase::Booting {
            return;
        }
        self.phase = Phase::Running;
        self.timer(self.retention_check(), Timer::Retention);
        self.timer(Duration::ZERO, Timer::Space);
        let waiting: Vec<_> = self.conns.keys().copied().collect();
        self.to_pump.extend(waiting);
    }
}

/// What holds for the metadata log, whatever the broker's defaults for topics: nothing of it is ever cleaned away or changed.
fn metadata_config(broker: &BrokerConfig) -> TopicConfig {
    TopicConfig {
        cleanup: Cleanup::default(),
        compression: None,
        timestamp_type: TimestampType::Create,
        segment_bytes: METADATA_SEGMENT_BYTES,
        ..broker.topic_defaults()
    }
}
