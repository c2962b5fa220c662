//! A slow look at everything that lies on the disks: cold segments are read so seldom that rot would be found when the other copies have rotted too.
//! At most `log.scrub.max.bytes.per.second` are read, log by log and over again, and each batch's checksum is checked, and what none covers.

use super::boot::Phase;
use super::stored::Pending;
use super::{Broker, Timer};
use crate::id::Offset;
use crate::partition::PartitionId;
use crate::probe;
use crate::store::{StoreFault, StoreOp, Stored};
use crate::time::Instant;
use crate::wire::batch::Batch;
use std::ops::Bound;
use std::time::Duration;

/// How often it reads.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between the beginnings of two looks at everything lies at least this: little data is not read over and over.
const PASS_MIN: Duration = Duration::from_secs(10);
/// Bytes of one read.
const READ_BYTES_MAX: u64 = 1 << 20;

/// How far it has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrub {
    /// The log, and the offset in it to go on from.
    at: Option<(PartitionId, Offset)>,
    /// Bytes that may still be read in this interval.
    left: u64,
    is_reading: bool,
    /// When the next look at everything may begin.
    next_pass: Instant,
}

impl Broker {
    /// Another interval begins.
    pub(super) fn scrub(&mut self) {
        let rate = u64::try_from(self.config.broker.scrub_bytes_per_second).unwrap_or(0);
        if rate == 0 {
            return;
        }
        self.timer(INTERVAL, Timer::Scrub);
        self.scrub.left = rate;
        if self.scrub.at.is_none() && !self.scrub.is_reading && self.scrub.next_pass <= self.now.at {
            self.scrub.at = self.next_log_to_scrub(None);
            self.scrub.next_pass = self.now.at.after(PASS_MIN);
        }
        if !self.scrub.is_reading {
            self.scrub_on(self.partitions.len());
        }
    }

    /// Reads what comes next; passes over at most `logs` that have nothing.
    fn scrub_on(&mut self, logs: usize) {
        if self.scrub.left == 0 || self.phase == Phase::Stopping {
            return;
        }
        for _ in 0..=logs {
            let Some((id, from)) = self.scrub.at else { return };
            if let Some((log, from, until)) = self.to_scrub(id, from) {
                let bytes = self.scrub.left.min(READ_BYTES_MAX);
                let max_bytes = u32::try_from(bytes).expect("bounded above");
                self.scrub.at = Some((id, from));
                self.scrub.is_reading = true;
                let life = self.partitions[&id].life;
                self.store(StoreOp::Load { log, from, until, max_bytes }, Pending::Scrub { partition: id, life });
                return;
            }
            self.scrub.at = self.next_log_to_scrub(Some(id));
        }
    }

    /// What of a log is durable from an offset on.
    fn to_scrub(&self, id: PartitionId, from: Offset) -> Option<(crate::id::LogId, Offset, Offset)> {
        let log = self.partitions.get(&id)?.open_log()?;
        let from = from.max(log.start());
        (from < log.durable()).then(|| (log.id(), from, log.durable()))
    }

    fn next_log_to_scrub(&self, after: Option<PartitionId>) -> Option<(PartitionId, Offset)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.partitions.range((from, Bound::Unbounded)).next().map(|(id, _)| (*id, Offset::ZERO))
    }

    /// The first batch that does not go on where the one before ends, or names another epoch than that in which its offset was written. No checksum covers
    /// either, since leaders write them anew. Only compaction leaves gaps.
    fn astray(&self, id: PartitionId, from: Offset, batches: &[Batch]) -> Option<(Offset, String)> {
        let partition = self.partitions.get(&id)?;
        let log = partition.open_log()?;
        let (may_have_gaps, epochs) = (log.has_gaps(), log.epochs());
        let mut next = from;
        for (at, header) in batches.iter().map(Batch::header).enumerate() {
            // A read begins within a batch.
            let is_early = header.base_offset < next && (at > 0 || header.next_offset() <= from);
            if is_early || (header.base_offset > next && !may_have_gaps) {
                return Some((next, format!("a batch that says to begin at {} stands there", header.base_offset)));
            }
            if !epochs.explain(header) {
                return Some((next, format!("a batch that says to be of epoch {} stands there", header.leader_epoch)));
            }
            next = header.next_offset();
        }
        None
    }

    /// A piece was read.
    pub(super) fn scrubbed(&mut self, id: PartitionId, is_current: bool, outcome: Result<Stored, StoreFault>) {
        self.scrub.is_reading = false;
        let next = match outcome {
            Ok(Stored::Loaded(batches)) => {
                let read: u64 = batches.iter().map(|batch| u64::from(batch.header().bytes)).sum();
                self.scrub.left = self.scrub.left.saturating_sub(read);
                let astray = self.scrub.at.filter(|_| is_current).and_then(|(_, from)| self.astray(id, from, &batches));
                if let Some((at, why)) = astray {
                    probe!("a scrub finds a batch with another offset or epoch");
                    self.found_damaged(id, at, &why);
                }
                batches.last().map(|batch| batch.header().next_offset())
            }
            Err(StoreFault::Damaged { at, why }) => {
                if is_current {
                    probe!("a scrub finds damage");
                    self.found_damaged(id, at, &why);
                }
                None
            }
            Ok(_) | Err(_) => None,
        };
        // A log that cannot be read, or was cut meanwhile, has its turn again when all others had theirs.
        self.scrub.at = match next {
            Some(next) => Some((id, next)),
            None => self.next_log_to_scrub(Some(id)),
        };
        self.scrub_on(self.partitions.len());
    }
}
