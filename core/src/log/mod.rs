//! One partition's log as the core knows it: `start ≤ stable ≤ high ≤ end`, its segments, epochs and producers. Never sees records or a disk.

pub mod epochs;
pub mod producers;
pub mod segments;

use crate::id::{LogId, Offset, Uuid};
use crate::store::StoreFault;
use epochs::Epochs;
use producers::Producers;
use segments::Segment;

/// A log as its files say, after recovery: everything in it is written and synced.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovered {
    /// The log start offset.
    pub start: Offset,
    /// The log end offset.
    pub end: Offset,
    /// In order; the last one is the active one. Never empty.
    pub segments: Vec<Segment>,
    /// Cut to `start..end`.
    pub epochs: Epochs,
    /// Equal to a replay of the whole log.
    pub producers: Producers,
}

/// A log that the store found at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FoundLog {
    /// The handle that the store gave it.
    pub log: LogId,
    /// Its folder: `topic-partition`.
    pub name: String,
    /// From `partition.metadata`; `Uuid::ZERO` where that file is missing.
    pub topic: Uuid,
    /// The log, or why it is offline.
    pub state: Result<Recovered, StoreFault>,
}
