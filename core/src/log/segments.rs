//! What the core knows of a segment, and (with `Segments`) when to roll and what to retain.

use crate::id::Offset;
use crate::time::Timestamp;

/// One segment of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// The offset in its file's name: no record in it lies below.
    pub base: Offset,
    /// Bytes in its log file.
    pub bytes: u64,
    /// The time of its first batch (that batch's largest time); `Timestamp::NONE` while it is empty.
    pub first_timestamp: Timestamp,
    /// The largest time of its records; `Timestamp::NONE` while it is empty.
    pub max_timestamp: Timestamp,
    /// The last offset of the first batch that has that time: a time-index entry.
    pub max_timestamp_offset: Offset,
}

impl Segment {
    /// An empty segment.
    #[must_use]
    pub fn empty(base: Offset) -> Self {
        Self { base, bytes: 0, first_timestamp: Timestamp::NONE, max_timestamp: Timestamp::NONE, max_timestamp_offset: Offset::UNKNOWN }
    }
}
