//! The newest batches, still in memory: a consumer at the end of a log is answered from here, without the disk.
//!
//! Bounded for all logs together, oldest append first out. A batch shares the buffer it came in by.

use crate::id::{LogId, Offset};
use crate::wire::batch::Batch;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// The newest batches of all logs.
#[derive(Clone, Debug)]
pub struct Tails {
    limit: u64,
    held: u64,
    order: VecDeque<LogId>,
    logs: BTreeMap<LogId, VecDeque<Batch>>,
}

/// Batches found in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InMemory {
    /// Their bytes in order.
    pub pieces: Vec<Bytes>,
    /// How many bytes.
    pub bytes: u64,
}

impl Tails {
    /// Holds at most `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, held: 0, order: VecDeque::new(), logs: BTreeMap::new() }
    }

    /// Remembers a batch that was appended at the end of `log`.
    pub fn push(&mut self, log: LogId, batch: Batch) {
        self.held += u64::from(batch.header().bytes);
        self.order.push_back(log);
        self.logs.entry(log).or_default().push_back(batch);
        while self.held > self.limit {
            let Some(oldest) = self.order.pop_front() else { break };
            let Some(batches) = self.logs.get_mut(&oldest) else { continue };
            let Some(batch) = batches.pop_front() else { continue };
            self.held -= u64::from(batch.header().bytes);
            if batches.is_empty() {
                self.logs.remove(&oldest);
            }
        }
    }

    /// Forgets a log: it was deleted, or cut.
    pub fn forget(&mut self, log: LogId) {
        let Some(batches) = self.logs.remove(&log) else { return };
        self.held -= batches.iter().map(|b| u64::from(b.header().bytes)).sum::<u64>();
        self.order.retain(|other| *other != log);
    }

    /// Whole batches from the one that holds `from`, all below `until`, at most `max_bytes` but at least one. `None` where `from` is not in memory.
    #[must_use]
    pub fn read(&self, log: LogId, from: Offset, until: Offset, max_bytes: u64) -> Option<InMemory> {
        let batches = self.logs.get(&log)?;
        let at = batches.partition_point(|b| b.header().next_offset() <= from);
        if batches.get(at)?.header().base_offset > from {
            return None;
        }
        let mut found = InMemory { pieces: Vec::new(), bytes: 0 };
        for batch in batches.iter().skip(at) {
            let size = u64::from(batch.header().bytes);
            if batch.header().next_offset() > until || (found.bytes > 0 && found.bytes + size > max_bytes) {
                break;
            }
            found.bytes += size;
            found.pieces.extend(batch.pieces().cloned());
        }
        Some(found)
    }
}
