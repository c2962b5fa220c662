//! The offset index and the time index of a segment, in Kafka's formats: sparse, rising, one entry about every `index.interval.bytes`.
//!
//! An offset entry is (last offset of a batch, position where that batch begins); a time entry is (largest time so far, last offset of the batch that brought it).
//! The active segment's indexes live in memory and are written in steps; those of sealed segments are searched in their files.

use crate::fs::File;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use klamm_core::id::Offset;
use klamm_core::log::segments::Segment;
use klamm_core::time::Timestamp;
use klamm_core::wire::batch::BatchHeader;
use std::io;

/// Bytes of an offset entry.
pub(crate) const OFFSET_ENTRY: usize = 8;
/// Bytes of a time entry.
pub(crate) const TIME_ENTRY: usize = 12;
/// A search reads single entries until so few are left, and then those at once.
const BLOCK_ENTRIES: u64 = 512;

/// Where a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// The batch's last offset, less the segment's base.
    pub(crate) relative: u32,
    /// Its first byte.
    pub(crate) position: u32,
}

/// No record up to `relative` is younger than `time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// The largest time so far.
    pub(crate) time: Timestamp,
    /// The last offset of the batch that has it, less the segment's base.
    pub(crate) relative: u32,
}

impl OffsetEntry {
    /// Reads one.
    pub(crate) fn decode(mut bytes: &[u8]) -> Self {
        Self { relative: bytes.get_u32(), position: bytes.get_u32() }
    }
}

impl TimeEntry {
    /// Reads one.
    pub(crate) fn decode(mut bytes: &[u8]) -> Self {
        Self { time: Timestamp(bytes.get_i64()), relative: bytes.get_u32() }
    }
}

/// The offset as an index writes it. The core rolls before it would not fit (as Kafka does).
pub(crate) fn relative(base: Offset, offset: Offset) -> u32 {
    let relative = offset.since(base);
    assert!((0..=i64::from(i32::MAX)).contains(&relative), "offset {offset} does not fit the index of segment {base}");
    u32::try_from(relative).expect("checked above")
}

/// The indexes of one segment in memory.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    base: Offset,
    /// All offset entries.
    pub(crate) offsets: Vec<OffsetEntry>,
    /// All time entries.
    pub(crate) times: Vec<TimeEntry>,
    /// How many of `offsets` are in the file.
    pub(crate) offsets_written: usize,
    /// How many of `times` are in the file.
    pub(crate) times_written: usize,
    bytes_since_entry: u64,
}

impl Tail {
    /// Of an empty segment.
    pub(crate) fn new(base: Offset) -> Self {
        Self { base, offsets: Vec::new(), times: Vec::new(), offsets_written: 0, times_written: 0, bytes_since_entry: 0 }
    }

    /// As the files have it. `None` where they contradict themselves or a segment of `bytes` bytes.
    pub(crate) fn decode(base: Offset, mut offsets: Bytes, mut times: Bytes, bytes: u64) -> Option<Self> {
        if !offsets.len().is_multiple_of(OFFSET_ENTRY) || !times.len().is_multiple_of(TIME_ENTRY) || offsets.is_empty() != times.is_empty()
        {
            return None;
        }
        let mut tail = Self::new(base);
        while !offsets.is_empty() {
            let entry = OffsetEntry::decode(&offsets.split_to(OFFSET_ENTRY));
            let rises = tail.offsets.last().is_none_or(|last| last.relative < entry.relative && last.position < entry.position);
            if !rises || u64::from(entry.position) >= bytes {
                return None;
            }
            tail.offsets.push(entry);
        }
        while !times.is_empty() {
            let entry = TimeEntry::decode(&times.split_to(TIME_ENTRY));
            if tail.times.last().is_some_and(|last| last.time >= entry.time || last.relative >= entry.relative) {
                return None;
            }
            tail.times.push(entry);
        }
        (tail.offsets_written, tail.times_written) = (tail.offsets.len(), tail.times.len());
        Some(tail)
    }

    /// Takes in the batch at `position`: its segment's times and size, and an entry when one is due.
    pub(crate) fn note(&mut self, segment: &mut Segment, header: &BatchHeader, position: u64, interval: u64) {
        assert_eq!(segment.bytes, position, "a batch is noted where the segment ends");
        note_times(segment, header, position);
        if self.bytes_since_entry > interval {
            let position = u32::try_from(position).expect("a segment is below 4 GiB");
            self.offsets.push(OffsetEntry { relative: relative(self.base, header.last_offset()), position });
            self.note_time(segment);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += u64::from(header.bytes);
        segment.bytes = position + u64::from(header.bytes);
    }

    /// Counts the batch that the last entry stands for, when the segment is walked from there.
    pub(crate) fn resume(&mut self, header: &BatchHeader) {
        self.bytes_since_entry = u64::from(header.bytes);
    }

    /// Adds the largest time, if no entry has it yet. A sealed segment ends with it, so that its largest time need not be searched.
    pub(crate) fn note_time(&mut self, segment: &Segment) {
        let newest = self.times.last().map_or(Timestamp::NONE, |last| last.time);
        if segment.max_timestamp > newest {
            self.times.push(TimeEntry { time: segment.max_timestamp, relative: relative(self.base, segment.max_timestamp_offset) });
        }
    }

    /// How many entries are not yet in the files.
    pub(crate) fn unwritten(&self) -> usize {
        self.offsets.len() - self.offsets_written + self.times.len() - self.times_written
    }

    /// The bytes of the time entries that are not yet written, and where they go.
    pub(crate) fn unwritten_times(&self) -> (u64, Bytes) {
        let mut bytes = BytesMut::new();
        for entry in &self.times[self.times_written..] {
            bytes.put_i64(entry.time.0);
            bytes.put_u32(entry.relative);
        }
        ((self.times_written * TIME_ENTRY) as u64, bytes.freeze())
    }

    /// The bytes of the offset entries that are not yet written, and where they go.
    pub(crate) fn unwritten_offsets(&self) -> (u64, Bytes) {
        let mut bytes = BytesMut::new();
        for entry in &self.offsets[self.offsets_written..] {
            bytes.put_u32(entry.relative);
            bytes.put_u32(entry.position);
        }
        ((self.offsets_written * OFFSET_ENTRY) as u64, bytes.freeze())
    }

    /// Where to begin to look for the batch that holds `offset`.
    pub(crate) fn floor(&self, offset: Offset) -> u64 {
        let next = self.offsets.partition_point(|entry| self.base.plus(entry.relative.into()) <= offset);
        next.checked_sub(1).map_or(0, |at| self.offsets[at].position.into())
    }

    /// Where the last batch with an entry begins, of those that begin before `limit` and end below `until`.
    pub(crate) fn ceiling(&self, limit: u64, until: Offset) -> u64 {
        let next = self.offsets.partition_point(|entry| fits(self.base, *entry, limit, until));
        next.checked_sub(1).map_or(0, |at| self.offsets[at].position.into())
    }

    /// An offset up to which every record is older than `time`, or whose batch is the first that is not.
    pub(crate) fn floor_time(&self, time: Timestamp) -> Offset {
        let next = self.times.partition_point(|entry| entry.time <= time);
        next.checked_sub(1).map_or(self.base, |at| self.base.plus(self.times[at].relative.into()))
    }
}

/// Whether the batch of `entry` begins before `limit` and ends below `until`.
pub(crate) fn fits(base: Offset, entry: OffsetEntry, limit: u64, until: Offset) -> bool {
    u64::from(entry.position) < limit && base.plus(entry.relative.into()) < until
}

/// Takes a batch at `position` into its segment's times.
pub(crate) fn note_times(segment: &mut Segment, header: &BatchHeader, position: u64) {
    if position == 0 {
        segment.first_timestamp = header.max_timestamp;
    }
    if header.max_timestamp > segment.max_timestamp {
        segment.max_timestamp = header.max_timestamp;
        segment.max_timestamp_offset = header.last_offset();
    }
}

/// How many entries of `size` bytes at the beginning of an index file satisfy `holds`, which holds up to some entry and not behind it; and the last that does.
pub(crate) async fn search<F: File>(file: &F, size: usize, holds: impl Fn(&[u8]) -> bool) -> io::Result<(u64, Option<Bytes>)> {
    let (mut low, mut high) = (0, file.size().await? / size as u64);
    let mut last = None;
    while high - low > BLOCK_ENTRIES {
        let middle = low.midpoint(high);
        let entry = file.read_at(middle * size as u64, size).await?;
        if entry.len() == size && holds(&entry) {
            (low, last) = (middle + 1, Some(entry));
        } else {
            high = middle;
        }
    }
    let block = file.read_at(low * size as u64, usize::try_from(high - low).expect("a block") * size).await?;
    for entry in block.chunks_exact(size) {
        if !holds(entry) {
            break;
        }
        (low, last) = (low + 1, Some(block.slice_ref(entry)));
    }
    Ok((low, last))
}
