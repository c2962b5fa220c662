//! What a partition remembers of idempotent producers: the last five batches of each, so that a retry is known as a duplicate.
//!
//! Derived state: always equal to a replay of the log. The snapshot file is Kafka's (`ProducerStateManager`), with one entry for each remembered batch,
//! oldest first: Kafka's reader keeps the last entry of a producer, ours keeps them all.

use crate::error::ErrorCode;
use crate::id::{Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Timestamp;
use crate::wire::batch::BatchHeader;
use crate::{mutant, probe};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

/// How many batches of a producer are remembered; a client has at most so many in flight.
pub const BATCHES_REMEMBERED: usize = 5;

const VERSION: i16 = 1;
const ENTRY_BYTES: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// Its last sequence.
    pub last_sequence: Sequence,
    /// Its last offset.
    pub last_offset: Offset,
    /// Last less first offset; the same for sequences.
    pub offset_delta: i32,
    /// Its largest time.
    pub timestamp: Timestamp,
}

/// One producer's newest incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Producer {
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Its newest batches, oldest first; at most `BATCHES_REMEMBERED`.
    pub batches: VecDeque<Remembered>,
}

/// All producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Producers(BTreeMap<ProducerId, Producer>);

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: append it.
    Accept,
    /// It stands in the log: answer as its original was answered, no earlier.
    Duplicate {
        /// The original's first offset.
        base: Offset,
        /// The original's last offset.
        last: Offset,
        /// The original's largest time.
        timestamp: Timestamp,
    },
}

/// A snapshot file that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSnapshot;

impl Producers {
    /// Takes in a batch that is in the log. Batches without a producer id change nothing.
    pub fn replay(&mut self, header: &BatchHeader) {
        if !header.is_idempotent() || header.is_control() {
            return;
        }
        let producer = self.0.entry(header.producer_id).or_insert(Producer { epoch: header.producer_epoch, batches: VecDeque::new() });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Remembered {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
    }

    /// What to do with a batch that a producer sends (Kafka's `ProducerAppendInfo`). Batches without a producer id are always accepted.
    ///
    /// # Errors
    /// `INVALID_PRODUCER_EPOCH` for a fenced incarnation, `OUT_OF_ORDER_SEQUENCE_NUMBER` where a batch is missing before this one, or this one is
    /// older than what is remembered.
    pub fn judge(&self, header: &BatchHeader) -> Result<Verdict, ErrorCode> {
        if !header.is_idempotent() {
            return Ok(Verdict::Accept);
        }
        // KIP-360: a producer whose state has expired goes on where it was.
        let Some(producer) = self.0.get(&header.producer_id) else { return Ok(Verdict::Accept) };
        if header.producer_epoch < producer.epoch {
            probe!("a fenced producer epoch is refused");
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if header.producer_epoch > producer.epoch {
            let fresh = header.base_sequence == Sequence(0);
            return if fresh { Ok(Verdict::Accept) } else { Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER) };
        }
        let window = if mutant!(WindowOne) { 1 } else { BATCHES_REMEMBERED };
        let known = producer
            .batches
            .iter()
            .rev()
            .take(window)
            .find(|batch| batch.last_sequence == header.last_sequence() && batch.offset_delta == header.last_offset_delta);
        let newest = producer.batches.back().expect("a producer is known by a batch");
        if let Some(batch) = known {
            probe!("a duplicate is answered with its own offset");
            let batch = if mutant!(DupWrongOffset) { newest } else { batch };
            let last = batch.last_offset;
            return Ok(Verdict::Duplicate { base: last.plus(-i64::from(batch.offset_delta)), last, timestamp: batch.timestamp });
        }
        if header.base_sequence == newest.last_sequence.plus(1) {
            return Ok(Verdict::Accept);
        }
        probe!("a sequence out of order is refused");
        Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    }

    /// The producer with that id, if it is remembered.
    #[must_use]
    pub fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.0.get(&id)
    }

    /// Which producers are remembered.
    pub fn ids(&self) -> impl Iterator<Item = ProducerId> {
        self.0.keys().copied()
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets producers whose newest batch is older than `before` (`producer.id.expiration.ms`).
    pub fn expire(&mut self, before: Timestamp) {
        self.0.retain(|_, producer| producer.batches.back().is_some_and(|batch| batch.timestamp >= before));
    }

    /// The snapshot file's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let count: usize = self.0.values().map(|producer| producer.batches.len()).sum();
        let mut body = BytesMut::with_capacity(4 + count * ENTRY_BYTES);
        body.put_u32(u32::try_from(count).expect("fewer than 2^32 batches are remembered"));
        for (id, producer) in &self.0 {
            for batch in &producer.batches {
                body.put_i64(id.0);
                body.put_i16(producer.epoch.0);
                body.put_i32(batch.last_sequence.0);
                body.put_i64(batch.last_offset.0);
                body.put_i32(batch.offset_delta);
                body.put_i64(batch.timestamp.0);
                body.put_i32(-1); // coordinator epoch
                body.put_i64(-1); // first offset of the open transaction
            }
        }
        let mut file = BytesMut::with_capacity(6 + body.len());
        file.put_i16(VERSION);
        file.put_u32(crc32c::crc32c(&body));
        file.put_slice(&body);
        file.freeze()
    }

    /// Reads a snapshot file.
    ///
    /// # Errors
    /// `BadSnapshot` where version, checksum or length is wrong.
    pub fn decode(mut file: Bytes) -> Result<Self, BadSnapshot> {
        if file.len() < 10 || file.get_i16() != VERSION || file.get_u32() != crc32c::crc32c(&file) {
            return Err(BadSnapshot);
        }
        let count = file.get_u32() as usize;
        if file.len() != count.saturating_mul(ENTRY_BYTES) {
            return Err(BadSnapshot);
        }
        let mut producers = Self::default();
        for _ in 0..count {
            let id = ProducerId(file.get_i64());
            let epoch = ProducerEpoch(file.get_i16());
            let batch = Remembered {
                last_sequence: Sequence(file.get_i32()),
                last_offset: Offset(file.get_i64()),
                offset_delta: file.get_i32(),
                timestamp: Timestamp(file.get_i64()),
            };
            file.advance(12);
            let producer = producers.0.entry(id).or_insert(Producer { epoch, batches: VecDeque::new() });
            if producer.epoch != epoch {
                return Err(BadSnapshot);
            }
            producer.batches.push_back(batch);
            if producer.batches.len() > BATCHES_REMEMBERED {
                producer.batches.pop_front();
            }
        }
        Ok(producers)
    }
}
