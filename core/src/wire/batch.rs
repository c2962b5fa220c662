//! The record batch (magic 2): read its header, check it once at the edge, stamp it without touching its records.
//!
//! The checksum starts at byte 21, so base offset, length and leader epoch are rewritten in 16 fresh bytes before the untouched network buffer.
//! Source: Kafka's `DefaultRecordBatch`. Never decodes a record: that is `record.rs`.

use crate::id::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Timestamp;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes of base offset and length: what must be read to know how long a batch is.
pub const PREFIX_BYTES: usize = 12;
/// The bytes that a stamp replaces: base offset, length, leader epoch.
const STAMP_BYTES: usize = 16;
/// The attributes that name the codec.
const CODEC_BITS: i16 = 7;
/// The attribute of a batch whose records have the time of its append (`LogAppendTime`).
const APPEND_TIME: i16 = 0x08;
/// The attribute of a batch whose records are markers, or another matter of the log's own.
pub(super) const CONTROL: i16 = 0x20;
/// The attribute of a batch whose base timestamp is its delete horizon (KIP-534).
const HORIZON: i16 = 0x40;
/// Where the checksummed part begins.
pub const CRC_FROM: usize = 21;

/// How a batch's records are compressed: the low three bits of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip
    Gzip,
    /// snappy
    Snappy,
    /// lz4 (frame format)
    Lz4,
    /// zstd
    Zstd,
}

impl Compression {
    /// The codec that the attributes name; `None` for a number nobody assigned.
    #[must_use]
    pub fn of(attributes: i16) -> Option<Self> {
        Some(match attributes & CODEC_BITS {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }

    /// Its number in the attributes.
    #[must_use]
    pub fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

/// A batch's fields before its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchHeader {
    /// The first record's offset.
    pub base_offset: Offset,
    /// Bytes of the whole batch, its prefix included.
    pub bytes: u32,
    /// The leader epoch in which it was appended.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type, transactional, control, delete horizon.
    pub attributes: i16,
    /// The last record's offset, less the base offset.
    pub last_offset_delta: i32,
    /// The first record's time (or the delete horizon, where the attributes say so).
    pub base_timestamp: Timestamp,
    /// The largest time of its records, or the append time.
    pub max_timestamp: Timestamp,
    /// Who produced it; `ProducerId::NONE` if not idempotent.
    pub producer_id: ProducerId,
    /// The producer's incarnation.
    pub producer_epoch: ProducerEpoch,
    /// The first record's sequence; −1 if not idempotent.
    pub base_sequence: Sequence,
    /// How many records it holds; compaction may leave fewer than the offsets it spans.
    pub records: i32,
}

/// Why bytes are not a batch. Whose fault it is depends on where they came from: a client, or our disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBatch {
    /// Fewer bytes than the batch, or its header, needs.
    Short,
    /// A length that no batch can have.
    Length(i32),
    /// Not magic 2.
    Magic(i8),
    /// The checksum does not match.
    Crc {
        /// As the header says.
        stored: u32,
        /// Of the bytes that are there.
        actual: u32,
    },
    /// More than one batch where exactly one must stand, or bytes behind it.
    NotOne,
    /// No records, or a count or last offset delta that does not fit them.
    Count,
    /// Compression codec that nobody assigned.
    Codec,
    /// Records that do not have the structure which the header claims.
    Records,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, which may end anywhere behind it. Does not check the checksum.
    ///
    /// # Errors
    /// `Short`, `Length` or `Magic`.
    pub fn read(mut bytes: &[u8]) -> Result<Self, BadBatch> {
        if bytes.len() < CRC_FROM - 4 {
            return Err(BadBatch::Short);
        }
        let base_offset = Offset(bytes.get_i64());
        let length = bytes.get_i32();
        let leader_epoch = LeaderEpoch(bytes.get_i32());
        let magic = bytes.get_i8();
        if magic != 2 {
            return Err(BadBatch::Magic(magic));
        }
        if length < (HEADER_BYTES - PREFIX_BYTES) as i32 {
            return Err(BadBatch::Length(length));
        }
        if bytes.len() < HEADER_BYTES - 17 {
            return Err(BadBatch::Short);
        }
        Ok(Self {
            base_offset,
            bytes: length as u32 + PREFIX_BYTES as u32,
            leader_epoch,
            crc: bytes.get_u32(),
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: Timestamp(bytes.get_i64()),
            max_timestamp: Timestamp(bytes.get_i64()),
            producer_id: ProducerId(bytes.get_i64()),
            producer_epoch: ProducerEpoch(bytes.get_i16()),
            base_sequence: Sequence(bytes.get_i32()),
            records: bytes.get_i32(),
        })
    }

    /// The last record's offset.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// The offset behind the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// The last record's sequence.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.plus(self.last_offset_delta)
    }

    /// The codec of its records; `None` for a number nobody assigned.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::of(self.attributes)
    }

    /// Whether its times are append times.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & APPEND_TIME != 0
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether it holds a marker or another control record, which consumers are not shown.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// When its tombstones may go, where a cleaning has said so (KIP-534).
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.attributes & HORIZON != 0).then_some(self.base_timestamp)
    }

    /// The same with that delete horizon. The times of the records count from there.
    #[must_use]
    pub(super) fn with_delete_horizon(self, horizon: Timestamp) -> Self {
        Self { attributes: self.attributes | HORIZON, base_timestamp: horizon, ..self }
    }

    /// The same for no records at all: without a codec, and without a delete horizon.
    #[must_use]
    pub(super) fn without_records(self) -> Self {
        let attributes = self.attributes & !(HORIZON | CODEC_BITS);
        Self { attributes, base_timestamp: self.max_timestamp, records: 0, ..self }
    }

    /// Whether an idempotent producer made it.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.producer_id != ProducerId::NONE
    }
}

/// A whole batch whose checksum held when it was made. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    header: BatchHeader,
    /// The fresh bytes of a stamp; empty while the original ones stand.
    head: Bytes,
    /// The rest, as it came.
    body: Bytes,
}

impl Batch {
    /// Takes the batch at the start of `bytes`, checking its checksum; what follows it is left alone.
    ///
    /// # Errors
    /// Any `BadBatch` but `NotOne`.
    pub fn first(bytes: &Bytes) -> Result<Self, BadBatch> {
        let header = BatchHeader::read(bytes)?;
        let length = header.bytes as usize;
        if bytes.len() < length {
            return Err(BadBatch::Short);
        }
        let actual = crc32c::crc32c(&bytes[CRC_FROM..length]);
        if actual != header.crc {
            return Err(BadBatch::Crc { stored: header.crc, actual });
        }
        if header.records < 0 || header.last_offset_delta < 0 {
            return Err(BadBatch::Count);
        }
        Ok(Self { header, head: Bytes::new(), body: bytes.slice(..length) })
    }

    /// Takes all batches of `bytes`; a batch cut off at the end is left out, as a fetch may cut one.
    ///
    /// # Errors
    /// Any `BadBatch` but `NotOne`.
    pub fn all(bytes: &Bytes) -> Result<Vec<Self>, BadBatch> {
        let mut rest = bytes.clone();
        let mut batches = Vec::new();
        loop {
            match Self::first(&rest) {
                Ok(batch) => {
                    rest.advance(batch.header.bytes as usize);
                    batches.push(batch);
                }
                Err(BadBatch::Short) => return Ok(batches),
                Err(bad) => return Err(bad),
            }
        }
    }

    /// What a producer sent for one partition: exactly one batch of at least one record, its deltas dense (Kafka's `LogValidator`).
    ///
    /// # Errors
    /// Any `BadBatch`.
    pub fn produced(bytes: &Bytes) -> Result<Self, BadBatch> {
        let batch = Self::first(bytes)?;
        if batch.header.bytes as usize != bytes.len() {
            return Err(BadBatch::NotOne);
        }
        if batch.header.records == 0 || batch.header.last_offset_delta != batch.header.records - 1 {
            return Err(BadBatch::Count);
        }
        if batch.header.compression().is_none() {
            return Err(BadBatch::Codec);
        }
        Ok(batch)
    }

    /// Its header, as stamped.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The same batch at another offset and leader epoch: 16 fresh bytes, the rest shared.
    #[must_use]
    pub fn stamp(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        let header = BatchHeader { base_offset, leader_epoch, ..self.header };
        let mut head = BytesMut::with_capacity(self.head.len().max(STAMP_BYTES));
        head.put_i64(base_offset.0);
        head.put_u32(header.bytes - PREFIX_BYTES as u32);
        head.put_i32(leader_epoch.0);
        if self.head.len() > STAMP_BYTES {
            head.put_slice(&self.head[STAMP_BYTES..]);
        }
        let body = if self.head.is_empty() { self.body.slice(STAMP_BYTES..) } else { self.body.clone() };
        Self { header, head: head.freeze(), body }
    }

    /// The same batch with `time` as the time of all its records (`LogAppendTime`): a fresh header and a new checksum.
    #[must_use]
    pub fn append_time(&self, time: Timestamp) -> Self {
        self.with_header(BatchHeader { attributes: self.header.attributes | APPEND_TIME, max_timestamp: time, ..self.header })
    }

    /// The same batch, whose records' own times count and are `latest` at most; itself, if its header says so already.
    #[must_use]
    pub fn create_time(self, latest: Timestamp) -> Self {
        if self.header.max_timestamp == latest && !self.header.is_log_append_time() {
            return self;
        }
        self.with_header(BatchHeader { attributes: self.header.attributes & !APPEND_TIME, max_timestamp: latest, ..self.header })
    }

    fn with_header(&self, mut header: BatchHeader) -> Self {
        let old = self.head.len();
        let records = if old >= HEADER_BYTES { self.body.clone() } else { self.body.slice(HEADER_BYTES - old..) };
        let mut checked = BytesMut::with_capacity(HEADER_BYTES - CRC_FROM);
        header.put_checked(&mut checked);
        header.crc = crc32c::crc32c_append(crc32c::crc32c(&checked), &records);
        let mut head = BytesMut::with_capacity(HEADER_BYTES);
        header.put_unchecked(&mut head);
        head.put_slice(&checked);
        Self { header, head: head.freeze(), body: records }
    }

    /// Its bytes in order, in at most two pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        [&self.head, &self.body].into_iter().filter(|piece| !piece.is_empty())
    }

    /// The bytes of its records (compressed, where the header says so), without the header.
    #[must_use]
    pub fn records(&self) -> Bytes {
        self.body.slice(HEADER_BYTES - self.head.len()..)
    }
}

impl BatchHeader {
    fn put_unchecked(&self, out: &mut BytesMut) {
        out.put_i64(self.base_offset.0);
        out.put_u32(self.bytes - PREFIX_BYTES as u32);
        out.put_i32(self.leader_epoch.0);
        out.put_i8(2);
        out.put_u32(self.crc);
    }

    fn put_checked(&self, out: &mut BytesMut) {
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp.0);
        out.put_i64(self.max_timestamp.0);
        out.put_i64(self.producer_id.0);
        out.put_i16(self.producer_epoch.0);
        out.put_i32(self.base_sequence.0);
        out.put_i32(self.records);
    }
}

/// Builds a batch of `records` (already encoded, and compressed as the attributes say): fills in length and checksum.
#[must_use]
pub fn build(header: BatchHeader, records: &[u8]) -> Batch {
    let mut header = BatchHeader { bytes: u32::try_from(HEADER_BYTES + records.len()).expect("a batch is below 4 GiB"), ..header };
    let mut checked = BytesMut::with_capacity(HEADER_BYTES - CRC_FROM + records.len());
    header.put_checked(&mut checked);
    checked.put_slice(records);
    header.crc = crc32c::crc32c(&checked);
    let mut whole = BytesMut::with_capacity(HEADER_BYTES + records.len());
    header.put_unchecked(&mut whole);
    whole.put_slice(&checked);
    Batch { header, head: Bytes::new(), body: whole.freeze() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        build(
            BatchHeader {
                base_offset: Offset(0),
                bytes: 0,
                leader_epoch: LeaderEpoch(-1),
                crc: 0,
                attributes: 0,
                last_offset_delta: 1,
                base_timestamp: Timestamp(1000),
                max_timestamp: Timestamp(1001),
                producer_id: ProducerId(7),
                producer_epoch: ProducerEpoch(0),
                base_sequence: Sequence(i32::MAX),
                records: 2,
            },
            b"two records",
        )
    }

    fn whole(batch: &Batch) -> Bytes {
        batch.pieces().flat_map(|p| p.to_vec()).collect::<Vec<u8>>().into()
    }

    #[test]
    fn a_stamp_changes_place_and_nothing_else() {
        let stamped = sample().stamp(Offset(40), LeaderEpoch(3)).stamp(Offset(42), LeaderEpoch(5));
        let read = Batch::produced(&whole(&stamped)).expect("still a batch");
        assert_eq!(read.header().base_offset, Offset(42));
        assert_eq!(read.header().next_offset(), Offset(44));
        assert_eq!(read.header().last_sequence(), Sequence(0));
        assert_eq!(read.records(), Bytes::from_static(b"two records"));
        assert_eq!(stamped.records(), Bytes::from_static(b"two records"));
    }

    #[test]
    fn append_time_makes_a_new_checksum() {
        for batch in [sample().append_time(Timestamp(5)), sample().stamp(Offset(9), LeaderEpoch(1)).append_time(Timestamp(5))] {
            let stamped = batch.stamp(Offset(10), LeaderEpoch(2));
            let read = Batch::produced(&whole(&stamped)).expect("a valid checksum");
            assert!(read.header().is_log_append_time());
            assert_eq!(read.header().max_timestamp, Timestamp(5));
            assert_eq!(read.header().base_offset, Offset(10));
            assert_eq!(stamped.records(), read.records());
        }
    }

    #[test]
    fn every_damaged_or_cut_byte_is_noticed() {
        let good = whole(&sample());
        for at in 0..good.len() {
            assert_eq!(Batch::first(&good.slice(..at)), Err(BadBatch::Short), "cut at {at}");
            let mut bad = good.to_vec();
            bad[at] ^= 0x40;
            // Base offset and leader epoch are outside of the checksum, and are the broker's to write.
            assert_eq!(Batch::produced(&bad.into()).is_ok(), at < 8 || (12..16).contains(&at), "flip at {at}");
        }
        let mut two = good.to_vec();
        two.extend_from_slice(&good);
        assert_eq!(Batch::produced(&two.clone().into()), Err(BadBatch::NotOne));
        two.truncate(two.len() - 1);
        assert_eq!(Batch::all(&two.into()).expect("one whole batch").len(), 1);
    }
}
