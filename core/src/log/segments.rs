//! When to roll and what to retain. Knows sizes and times of segments, never their files.

use crate::config::TopicConfig;
use crate::id::Offset;
use crate::time::Timestamp;
use crate::wire::batch::BatchHeader;

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

    /// Takes in a batch that was appended to it.
    pub fn append(&mut self, header: &BatchHeader) {
        if self.bytes == 0 {
            self.first_timestamp = header.max_timestamp;
        }
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = header.last_offset();
        }
        self.bytes += u64::from(header.bytes);
    }

    /// Whether `header` must go to a new segment (Kafka's `LogSegment.shouldRoll`): by size, by the age of the first record, or because a file's
    /// relative offsets would not reach.
    #[must_use]
    pub fn must_roll(&self, header: &BatchHeader, config: &TopicConfig, wall: Timestamp) -> bool {
        if self.bytes == 0 {
            return false;
        }
        let full = self.bytes + u64::from(header.bytes) > u64::from(config.segment_bytes);
        let newest = if header.max_timestamp == Timestamp::NONE { wall } else { header.max_timestamp };
        let ages_until = config.segment_ms - self.jitter(config);
        let old = self.first_timestamp != Timestamp::NONE && newest.0.saturating_sub(self.first_timestamp.0) > ages_until;
        // An index entry takes 8 bytes and is due once in `index_interval_bytes`.
        let index_full = self.bytes / u64::from(config.index_interval_bytes.max(1)) >= u64::from(config.segment_index_bytes / 8);
        let far = header.last_offset().since(self.base) > i64::from(i32::MAX);
        full || old || index_full || far
    }
}

impl Segment {
    /// By how many ms it rolls earlier than its age asks for (`segment.jitter.ms`), so that logs that began at once do not roll at once. Drawn from what
    /// tells segments apart, so that a log that is opened again rolls where it would have (Kafka draws anew).
    fn jitter(&self, config: &TopicConfig) -> i64 {
        let most = config.segment_jitter_ms.min(config.segment_ms);
        if most <= 0 {
            return 0;
        }
        let told_apart = crc32c::crc32c_append(crc32c::crc32c(&self.base.0.to_be_bytes()), &self.first_timestamp.0.to_be_bytes());
        i64::from(told_apart) % most
    }
}

/// The segments of one log, the last one active. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segments {
    all: Vec<Segment>,
    /// Segments that end at or below here are forgotten, whoever may still know of them.
    gone: Offset,
}

impl Segments {
    /// As recovered.
    #[must_use]
    pub fn new(segments: Vec<Segment>) -> Self {
        assert!(!segments.is_empty(), "a log has at least its active segment");
        Self { all: segments, gone: Offset::ZERO }
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn all(&self) -> &[Segment] {
        &self.all
    }

    /// The one that is appended to.
    #[must_use]
    pub fn active(&self) -> &Segment {
        self.all.last().expect("never empty")
    }

    /// Takes in a batch at the end of the active segment.
    pub fn append(&mut self, header: &BatchHeader) {
        self.all.last_mut().expect("never empty").append(header);
    }

    /// Begins a new segment at `base`.
    pub fn roll(&mut self, base: Offset) {
        assert!(self.active().base < base, "a roll at {base} does not pass {}", self.active().base);
        self.all.push(Segment::empty(base));
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.all.iter().map(|s| s.bytes).sum()
    }

    /// The largest time, and an offset that has it; among equals the oldest. Segments that end at or below `start` are left out.
    #[must_use]
    pub fn youngest(&self, start: Offset) -> Option<(Timestamp, Offset)> {
        let below = self.all.windows(2).take_while(|pair| pair[1].base <= start).count();
        let best = self.all[below..].iter().rev().filter(|s| s.max_timestamp != Timestamp::NONE).max_by_key(|s| s.max_timestamp)?;
        Some((best.max_timestamp, best.max_timestamp_offset))
    }

    /// The log start offset that retention asks for: segments go whole, oldest first, by age and by size, none that reaches above `limit`
    /// (the high watermark). The active one counts too if it has aged; its records then lie below the returned offset.
    #[must_use]
    pub fn retained_from(&self, start: Offset, limit: Offset, config: &TopicConfig, wall: Timestamp) -> Offset {
        let mut excess = match config.retention_bytes {
            Some(keep) => i128::from(self.bytes()) - i128::from(keep),
            None => i128::MIN,
        };
        let mut from = start;
        for (at, segment) in self.all.iter().enumerate() {
            let Some(next) = self.all.get(at + 1).map(|s| s.base) else { break };
            let aged = config
                .retention_ms
                .is_some_and(|keep| segment.max_timestamp != Timestamp::NONE && wall.0.saturating_sub(segment.max_timestamp.0) > keep);
            let too_big = excess >= i128::from(segment.bytes);
            if next > limit || !(aged || too_big || next <= start) {
                break;
            }
            excess = excess.saturating_sub(i128::from(segment.bytes));
            from = from.max(next);
        }
        from
    }

    /// Whether the active segment holds only records older than retention allows: it is rolled, so that it can go.
    #[must_use]
    pub fn active_aged(&self, config: &TopicConfig, wall: Timestamp) -> bool {
        let active = self.active();
        active.bytes > 0
            && active.max_timestamp != Timestamp::NONE
            && config.retention_ms.is_some_and(|keep| wall.0.saturating_sub(active.max_timestamp.0) > keep)
    }

    /// Forgets the segments that end at or below `below`. Returns whether any did.
    pub fn discard(&mut self, below: Offset) -> bool {
        self.gone = self.gone.max(below);
        let gone = self.all.windows(2).take_while(|pair| pair[1].base <= below).count();
        self.all.drain(..gone);
        gone > 0
    }

    /// Puts what a cleaning has made in the place of the segments below `until`. Returns the bases of those that were joined to others. What was forgotten
    /// meanwhile stays so.
    pub fn replace(&mut self, cleaned: &[Segment], until: Offset) -> Vec<Offset> {
        let kept = self.all.partition_point(|segment| segment.base < until).min(self.all.len() - 1);
        let old: Vec<Segment> = self.all.splice(..kept, cleaned.iter().copied().filter(|segment| segment.base < until)).collect();
        self.discard(self.gone);
        let is_there = |base: Offset| self.all.binary_search_by_key(&base, |segment| segment.base).is_ok();
        old.into_iter().map(|segment| segment.base).filter(|base| !is_there(*base)).collect()
    }
}
