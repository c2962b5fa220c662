//! The records inside a batch: encode them, and decode them without trusting a byte.
//!
//! Never checks a batch's checksum or places it in a log: that is `batch.rs`. Source: Kafka's `DefaultRecord`.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::batch::{self, Batch, BatchHeader, Compression, HEADER_BYTES};
use super::compress::{self, BadCompression};
use crate::id::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Timestamp;

/// One header of a record. Kafka wants names to be UTF-8; nothing here depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Its name.
    pub name: Bytes,
    /// Its value; `None` is not the same as empty.
    pub value: Option<Bytes>,
}

/// What an application writes and reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Payload {
    /// The key; `None` is not the same as empty.
    pub key: Option<Bytes>,
    /// The value; `None` marks a deletion in compacted topics.
    pub value: Option<Bytes>,
    /// Its headers, in order; a name may occur more than once.
    pub headers: Vec<Header>,
}

/// A record at its place in a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Where it stands.
    pub offset: Offset,
    /// When it was made, or appended, as its topic wants it.
    pub timestamp: Timestamp,
    /// What it carries.
    pub payload: Payload,
}

/// Why a batch's records cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecords {
    /// The header names a codec that nobody assigned.
    Codec,
    /// The codec cannot read them, or they are larger than the limit.
    Compression(BadCompression),
    /// A length, count or varint that its bytes do not hold.
    Malformed,
}

/// Who stands in the header of a batch: an idempotent producer, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `ProducerId::NONE` for nobody.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record.
    pub sequence: Sequence,
}

impl Identity {
    /// Not idempotent.
    pub const NONE: Self = Self { id: ProducerId::NONE, epoch: ProducerEpoch(-1), sequence: Sequence(-1) };
}

/// Collects records into one batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BatchBuilder {
    codec: Compression,
    level: Option<i32>,
    plain: BytesMut,
    records: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(codec: Compression, level: Option<i32>) -> Self {
        let none = Timestamp::NONE;
        Self { codec, level, plain: BytesMut::new(), records: 0, base_timestamp: none, max_timestamp: none }
    }

    /// Adds a record behind the others.
    pub fn push(&mut self, timestamp: Timestamp, payload: &Payload) {
        if self.records == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        // A clock set by hand can be anything; the delta wraps back when it is added again.
        let delta = timestamp.0.wrapping_sub(self.base_timestamp.0);
        put_record(&mut self.plain, delta, self.records, payload);
        self.records += 1;
    }

    /// How many records it holds.
    #[must_use]
    pub fn records(&self) -> i32 {
        self.records
    }

    /// Bytes of the batch before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEADER_BYTES + self.plain.len()
    }

    /// Bytes of the batch before compression if `payload` were added: exact but for a few bytes of varints.
    #[must_use]
    pub fn bytes_with(&self, payload: &Payload) -> usize {
        self.bytes() + record_bytes(payload)
    }

    /// Compresses the records and closes the batch.
    ///
    /// # Panics
    /// If it is empty: no such batch may be sent.
    #[must_use]
    pub fn finish(self, identity: Identity) -> Batch {
        self.close(identity, 0)
    }

    /// The same as a control batch: consumers are not shown its records.
    ///
    /// # Panics
    /// If it is empty.
    #[must_use]
    pub fn finish_control(self) -> Batch {
        self.close(Identity::NONE, batch::CONTROL)
    }

    fn close(self, identity: Identity, attributes: i16) -> Batch {
        assert!(self.records > 0, "a batch without records");
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            bytes: 0,
            leader_epoch: LeaderEpoch(-1),
            crc: 0,
            attributes: self.codec.bits() | attributes,
            last_offset_delta: self.records - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            base_sequence: identity.sequence,
            records: self.records,
        };
        batch::build(header, &compress::compress(self.codec, self.level, &self.plain.freeze()))
    }
}

/// The same records under another identity, as after an epoch bump (KIP-360). Copies the batch.
#[must_use]
pub fn reidentify(batch: &Batch, identity: Identity) -> Batch {
    let header =
        BatchHeader { producer_id: identity.id, producer_epoch: identity.epoch, base_sequence: identity.sequence, ..*batch.header() };
    batch::build(header, &batch.records())
}

pub(super) fn put_record(out: &mut BytesMut, timestamp_delta: i64, offset_delta: i32, payload: &Payload) {
    let mut body = BytesMut::with_capacity(record_bytes(payload));
    body.put_i8(0);
    put_varint(&mut body, timestamp_delta);
    put_varint(&mut body, i64::from(offset_delta));
    put_nullable(&mut body, payload.key.as_ref());
    put_nullable(&mut body, payload.value.as_ref());
    put_varint(&mut body, signed(payload.headers.len()));
    for header in &payload.headers {
        put_nullable(&mut body, Some(&header.name));
        put_nullable(&mut body, header.value.as_ref());
    }
    put_varint(out, signed(body.len()));
    out.put_slice(&body);
}

/// An upper bound of a record's size: every varint that may be long is counted as long.
fn record_bytes(payload: &Payload) -> usize {
    let nullable = |bytes: Option<&Bytes>| 5 + bytes.map_or(0, Bytes::len);
    let headers: usize = payload.headers.iter().map(|h| 5 + h.name.len() + nullable(h.value.as_ref())).sum();
    5 + 1 + 10 + 5 + nullable(payload.key.as_ref()) + nullable(payload.value.as_ref()) + 5 + headers
}

fn put_nullable(out: &mut BytesMut, bytes: Option<&Bytes>) {
    let Some(bytes) = bytes else { return put_varint(out, -1) };
    put_varint(out, signed(bytes.len()));
    out.put_slice(bytes);
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).expect("lengths in memory fit i64")
}

/// Kafka's signed varint: zigzag, seven bits a byte, lowest first.
fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// The records of a batch, decoded one by one. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    rest: Bytes,
    left: i32,
}

impl Records {
    /// Decompresses a batch's records, to at most `limit` bytes. The count in the header is believed only as far as the bytes reach.
    ///
    /// # Errors
    /// `Codec` or `Compression`.
    pub fn of(batch: &Batch, limit: usize) -> Result<Self, BadRecords> {
        let header = *batch.header();
        let codec = header.compression().ok_or(BadRecords::Codec)?;
        let rest = compress::decompress(codec, &batch.records(), limit).map_err(BadRecords::Compression)?;
        Ok(Self { header, rest, left: header.records })
    }

    /// Whether nothing follows, not even an error.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.left < 0 || (self.left == 0 && self.rest.is_empty())
    }

    fn read(&mut self) -> Result<Record, BadRecords> {
        let length = varint(&mut self.rest)?;
        let mut body = take(&mut self.rest, length)?;
        // The record's attributes: none is in use.
        take(&mut body, 1)?;
        let timestamp_delta = varint(&mut body)?;
        let offset_delta = i32::try_from(varint(&mut body)?).map_err(|_| BadRecords::Malformed)?;
        if !(0..=self.header.last_offset_delta).contains(&offset_delta) {
            return Err(BadRecords::Malformed);
        }
        let payload = Payload { key: nullable(&mut body)?, value: nullable(&mut body)?, headers: headers(&mut body)? };
        if !body.is_empty() {
            return Err(BadRecords::Malformed);
        }
        let timestamp = if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            Timestamp(self.header.base_timestamp.0.wrapping_add(timestamp_delta))
        };
        Ok(Record { offset: self.header.base_offset.plus(i64::from(offset_delta)), timestamp, payload })
    }
}

impl Iterator for Records {
    type Item = Result<Record, BadRecords>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            // As Kafka: a batch whose bytes hold more than it counts is not read past its count, but not accepted either.
            let surplus = !std::mem::take(&mut self.rest).is_empty() && self.left == 0;
            return surplus.then_some(Err(BadRecords::Malformed));
        }
        self.left -= 1;
        let record = self.read();
        if record.is_err() {
            self.left = -1;
        }
        Some(record)
    }
}

fn headers(body: &mut Bytes) -> Result<Vec<Header>, BadRecords> {
    let count = usize::try_from(varint(body)?).map_err(|_| BadRecords::Malformed)?;
    // A header takes two bytes at least, so that a count is never an excuse for a large allocation.
    if count > body.len() / 2 {
        return Err(BadRecords::Malformed);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = nullable(body)?.ok_or(BadRecords::Malformed)?;
        headers.push(Header { name, value: nullable(body)? });
    }
    Ok(headers)
}

fn nullable(body: &mut Bytes) -> Result<Option<Bytes>, BadRecords> {
    match varint(body)? {
        -1 => Ok(None),
        length => take(body, length).map(Some),
    }
}

fn take(from: &mut Bytes, length: i64) -> Result<Bytes, BadRecords> {
    let length = usize::try_from(length).ok().filter(|length| *length <= from.len()).ok_or(BadRecords::Malformed)?;
    Ok(from.split_to(length))
}

fn varint(from: &mut Bytes) -> Result<i64, BadRecords> {
    let mut value: u64 = 0;
    for (at, byte) in from.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            from.advance(at + 1);
            return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    Err(BadRecords::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    fn header(name: &'static str, value: Option<Bytes>) -> Header {
        Header { name: Bytes::from_static(name.as_bytes()), value }
    }

    fn read(batch: &Batch) -> Result<Vec<Record>, BadRecords> {
        Records::of(batch, 1 << 20)?.collect()
    }

    #[test]
    fn records_come_back_with_places_and_times() {
        let payloads = [
            Payload { key: some("k"), value: some("v"), headers: vec![header("a", some("1")), header("a", None)] },
            Payload { key: None, value: None, headers: vec![] },
            Payload { key: some(""), value: some(""), headers: vec![header("", some(""))] },
        ];
        let times = [1000, 990, -1].map(Timestamp);
        for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut builder = BatchBuilder::new(codec, None);
            for (time, payload) in times.iter().zip(&payloads) {
                let bound = builder.bytes_with(payload);
                builder.push(*time, payload);
                assert!(builder.bytes() <= bound);
            }
            let batch = builder.finish(Identity { id: ProducerId(9), epoch: ProducerEpoch(1), sequence: Sequence(4) });
            assert_eq!(batch.header().max_timestamp, Timestamp(1000));
            assert_eq!(batch.header().last_sequence(), Sequence(6));
            let whole: Bytes = batch.pieces().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>().into();
            let stamped = Batch::produced(&whole).expect("a batch as producers send them").stamp(Offset(70), LeaderEpoch(2));
            let records = read(&stamped).expect("its own records");
            assert_eq!(records.iter().map(|r| r.offset.0).collect::<Vec<_>>(), [70, 71, 72]);
            assert_eq!(records.iter().map(|r| r.timestamp).collect::<Vec<_>>(), times);
            assert_eq!(records.into_iter().map(|r| r.payload).collect::<Vec<_>>(), payloads);
            let appended = read(&stamped.append_time(Timestamp(5))).expect("its own records");
            assert!(appended.iter().all(|r| r.timestamp == Timestamp(5)));
        }
    }

    #[test]
    fn another_identity_leaves_the_records_alone() {
        let mut builder = BatchBuilder::new(Compression::Gzip, None);
        builder.push(Timestamp(1), &Payload { key: some("k"), ..Payload::default() });
        let batch = builder.finish(Identity::NONE);
        assert!(!batch.header().is_idempotent());
        let renamed = reidentify(&batch, Identity { id: ProducerId(3), epoch: ProducerEpoch(2), sequence: Sequence(0) });
        assert_eq!(renamed.header().producer_epoch, ProducerEpoch(2));
        assert_eq!(read(&renamed), read(&batch));
    }

    #[test]
    fn varints_are_kafkas() {
        for (value, bytes) in [(0, &[0][..]), (-1, &[1]), (1, &[2]), (63, &[126]), (-64, &[127]), (64, &[128, 1]), (300, &[216, 4])] {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(varint(&mut out.freeze()), Ok(value));
        }
        for value in [i64::MIN, i64::MAX] {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(varint(&mut out.freeze()), Ok(value));
        }
        assert_eq!(varint(&mut Bytes::from_static(&[0xff; 11])), Err(BadRecords::Malformed));
    }

    fn batch_of(bytes: Vec<u8>, records: i32) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None, None);
        builder.push(Timestamp(1), &Payload::default());
        let header = BatchHeader { records, last_offset_delta: records - 1, ..*builder.finish(Identity::NONE).header() };
        batch::build(header, &bytes)
    }

    #[test]
    fn counts_that_the_bytes_do_not_hold_are_refused() {
        let one = vec![14, 0, 0, 0, 1, 1, 0, 0];
        assert_eq!(read(&batch_of(one[..7].to_vec(), 1)), Err(BadRecords::Malformed), "cut short");
        assert_eq!(read(&batch_of(one.clone(), 2)), Err(BadRecords::Malformed), "fewer records than counted");
        let good = vec![12, 0, 0, 0, 1, 1, 0];
        assert_eq!(read(&batch_of(good.clone(), 1)).map(|r| r.len()), Ok(1));
        assert_eq!(read(&batch_of([good.clone(), good.clone()].concat(), 1)), Err(BadRecords::Malformed), "more records than counted");
        assert_eq!(read(&batch_of(one, 1)), Err(BadRecords::Malformed), "a byte too many in a record");
        let mut boast = vec![22, 0, 0, 0, 1, 1];
        boast.extend([0xfe, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert_eq!(read(&batch_of(boast, 1)), Err(BadRecords::Malformed), "two thousand million headers");
        assert_eq!(read(&batch_of(vec![], i32::MAX)), Err(BadRecords::Malformed));
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300), records in 1..20i32) {
            let _ = read(&batch_of(noise, records));
        }

        #[test]
        fn small_numbers_as_noise_never_panic(noise in prop::collection::vec(0..24u8, 0..300), records in 1..20i32) {
            if let Ok(found) = read(&batch_of(noise, records)) {
                prop_assert_eq!(found.len(), records as usize);
            }
        }
    }
}
