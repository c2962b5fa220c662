//! Compaction: what of a log goes, and which log is due. Sees records, which only the store reads; never a file.
//!
//! A record stays while no newer one has its key. A tombstone stays until its batch's delete horizon, which the first cleaning that finds it sets (KIP-534).
//! A batch without records stays while its producer is remembered by it. What belongs to a transaction, and what cannot be decoded, stays as it is.
//! Source: Kafka's `LogCleaner`, `Cleaner` and `LogCleanerManager`.

use super::producers::Producers;
use super::segments::Segments;
use crate::config::TopicConfig;
use crate::id::{Offset, ProducerId};
use crate::mutant;
use crate::time::Timestamp;
use crate::wire::batch::{Batch, BatchHeader};
use crate::wire::record::{BadRecords, Record, Records};
use crate::wire::reduce::reduce;
use std::collections::{BTreeMap, BTreeSet};

/// A cleaning decompresses at most so much of one batch.
const RECORDS_BYTES_MAX: usize = 1 << 30;
/// Memory that a key takes beside its own bytes: offset, length, pointer, its share of a node and of the allocator's book-keeping.
const KEY_OVERHEAD: u64 = 64;

/// What decides about records beside the records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// What time it is.
    pub wall: Timestamp,
    /// How long tombstones stay that are found now.
    pub delete_retention_ms: i64,
    /// The producers that are remembered.
    pub producers: BTreeSet<ProducerId>,
    /// Segments are joined up to so many bytes.
    pub segment_bytes: u32,
    /// Memory for keys: what does not fit is cleaned the next time.
    pub key_bytes: u64,
}

/// What a cleaning has read: the newest offset of each key in what is dirty, and the producers as of its end.
#[derive(Clone, Debug)]
pub struct Newest {
    offsets: BTreeMap<Box<[u8]>, Offset>,
    /// Not as of the log's end: what stands behind may be lost or cut, and those before must be known then.
    producers: Producers,
    /// Behind the last batch that was taken in.
    end: Offset,
    room: u64,
}

impl Newest {
    /// Of nothing so far, with so much memory for keys.
    #[must_use]
    pub fn new(room: u64) -> Self {
        Self { offsets: BTreeMap::new(), producers: Producers::default(), end: Offset::ZERO, room }
    }

    /// Whether another batch may be taken in. The last one may take more than there is: a log whose batches are larger is cleaned all the same.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room > 0
    }

    /// Takes in the batch that follows, which was cleaned before: only its producer matters.
    pub fn pass(&mut self, header: &BatchHeader) {
        self.producers.replay(header);
        self.end = header.next_offset();
    }

    /// Takes in the batch that follows, with its keys.
    pub fn take_in(&mut self, batch: &Batch) {
        self.pass(batch.header());
        if is_exempt(batch.header()) {
            return;
        }
        for record in records_of(batch).unwrap_or_default() {
            let Some(key) = record.payload.key else { continue };
            match self.offsets.get_mut(&key[..]) {
                Some(offset) => *offset = record.offset,
                None => {
                    self.room = self.room.saturating_sub(key.len() as u64 + KEY_OVERHEAD);
                    self.offsets.insert(key[..].into(), record.offset);
                }
            }
        }
    }

    /// Whether a producer is remembered by this batch.
    fn needs(&self, header: &BatchHeader, terms: &Terms) -> bool {
        let producer = self.producers.get(header.producer_id).filter(|_| terms.producers.contains(&header.producer_id));
        producer.is_some_and(|producer| producer.batches.iter().any(|batch| batch.last_offset == header.last_offset()))
    }

    fn has_newer(&self, key: &[u8], offset: Offset) -> bool {
        self.offsets.get(key).is_some_and(|newest| *newest > offset)
    }
}

/// What a cleaning leaves of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    Whole,
    /// Nothing.
    Nothing,
    /// This instead.
    Some(Batch),
}

/// What is left of a batch in a log that holds `newest`.
#[must_use]
pub fn left_of(batch: &Batch, newest: &Newest, terms: &Terms) -> Left {
    let header = batch.header();
    // Of what stands behind the keys that were read no older record has gone, so that no tombstone may.
    if is_exempt(header) || header.base_offset >= newest.end {
        return Left::Whole;
    }
    let Ok(records) = records_of(batch) else { return Left::Whole };
    let is_remembered = newest.needs(header, terms);
    let found = records.len();
    let horizon = header.delete_horizon();
    let is_over = horizon.is_some_and(|horizon| terms.wall >= horizon) || mutant!(TombstoneEarly);
    let stays = |record: &Record| {
        // Compacted topics take none without a key; this one was not always compacted.
        let Some(key) = &record.payload.key else { return false };
        !newest.has_newer(key, record.offset) && (record.payload.value.is_some() || !is_over)
    };
    let kept: Vec<Record> = records.into_iter().filter(stays).collect();
    let has_tombstone = kept.iter().any(|record| record.payload.value.is_none());
    let fresh = (has_tombstone && horizon.is_none()).then(|| Timestamp(terms.wall.0.saturating_add(terms.delete_retention_ms)));
    if kept.is_empty() && !is_remembered {
        return Left::Nothing;
    }
    if kept.len() == found && fresh.is_none() {
        return Left::Whole;
    }
    Left::Some(reduce(batch, &kept, fresh, is_remembered))
}

fn is_exempt(header: &BatchHeader) -> bool {
    header.is_control() || header.is_transactional()
}

fn records_of(batch: &Batch) -> Result<Vec<Record>, BadRecords> {
    Records::of(batch, RECORDS_BYTES_MAX)?.collect()
}

/// What of a log may be cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirt {
    /// From here on nothing was cleaned.
    pub from: Offset,
    /// Exclusive: the base offset of the first segment that may not be cleaned.
    pub until: Offset,
    /// Bytes that were cleaned before.
    pub clean_bytes: u64,
    /// Bytes that were not, and may be.
    pub dirty_bytes: u64,
    /// Some of it has waited for `max.compaction.lag.ms`.
    pub is_overdue: bool,
}

impl Dirt {
    /// Looks at a log that begins at `start`, was cleaned up to `cleaned`, and is committed below `limit`. `None` where nothing may be cleaned.
    #[must_use]
    pub fn of(segments: &Segments, start: Offset, cleaned: Offset, limit: Offset, config: &TopicConfig, wall: Timestamp) -> Option<Self> {
        let from = cleaned.max(start);
        let mut dirt = Self { from, until: from, clean_bytes: 0, dirty_bytes: 0, is_overdue: false };
        // The last batch stays, lest a follower that fetches it all ends below its leader: it may stand before an active segment that is empty.
        let last = segments.all().iter().rposition(|segment| segment.bytes > 0).unwrap_or(0);
        for pair in segments.all()[..=last].windows(2) {
            let (segment, end) = (&pair[0], pair[1].base);
            if end <= from {
                dirt.clean_bytes += segment.bytes;
                continue;
            }
            let age = |time: Timestamp| if time == Timestamp::NONE { 0 } else { wall.0.saturating_sub(time.0) };
            let is_young = config.min_compaction_lag_ms > 0 && age(segment.max_timestamp) < config.min_compaction_lag_ms;
            if end > limit || (segment.bytes > 0 && is_young) {
                break;
            }
            dirt.is_overdue |= age(segment.first_timestamp) > config.max_compaction_lag_ms;
            dirt.dirty_bytes += segment.bytes;
            dirt.until = end;
        }
        (dirt.dirty_bytes > 0).then_some(dirt)
    }

    /// The share that is dirty, in millionths.
    #[must_use]
    pub fn ppm(&self) -> u32 {
        let ppm = u128::from(self.dirty_bytes) * 1_000_000 / u128::from(self.dirty_bytes + self.clean_bytes).max(1);
        u32::try_from(ppm).expect("a share")
    }

    /// Whether it is time to clean it.
    #[must_use]
    pub fn is_due(&self, config: &TopicConfig) -> bool {
        self.is_overdue || self.ppm() > config.min_cleanable_dirty_ppm
    }
}

#[cfg(test)]
mod tests;
