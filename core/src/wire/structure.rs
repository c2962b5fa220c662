//! Whether a batch's records are what its header claims: they can be read, there are as many, and none is later.
//!
//! Runs at the edge, for every produced batch, as Kafka's `LogValidator` does. Records are walked field by field, out of the decompressor where they are
//! compressed, without keeping or copying a key or a value. So what no consumer could get past never enters a log, and no header says that its
//! records are older than they are.

use super::batch::{BadBatch, Batch, Compression};
use super::compress::{self, BadCompression};
use crate::time::Timestamp;
use std::io::{self, BufRead, BufReader};

/// Bytes that a batch's records may have when decompressed: a small batch must cost neither much memory nor much time.
pub const PLAIN_BYTES_MAX: usize = 128 << 20;
/// So much is decompressed at once.
const WINDOW_BYTES: usize = 16 << 10;

/// Passes on a batch whose records have the structure that its header claims, with the largest of their times in its header.
///
/// # Errors
/// `Records` if they have not, `Codec` for a codec that nobody assigned.
pub fn checked(batch: Batch) -> Result<Batch, BadBatch> {
    let header = batch.header();
    let codec = header.compression().ok_or(BadBatch::Codec)?;
    let bytes = batch.records();
    let latest = if codec == Compression::None {
        walk(&bytes[..], &batch)?
    } else {
        compress::unpacked(codec, &bytes, PLAIN_BYTES_MAX, |plain| walk(BufReader::with_capacity(WINDOW_BYTES, plain), &batch))?
    };
    Ok(batch.create_time(latest))
}

/// Why records are not walked to their end; all the same to the one who sent them.
struct Stuck;

impl From<io::Error> for Stuck {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<BadCompression> for Stuck {
    fn from(_: BadCompression) -> Self {
        Self
    }
}

impl From<Stuck> for BadBatch {
    fn from(_: Stuck) -> Self {
        Self::Records
    }
}

/// Walks all records; returns the largest of their times.
fn walk(mut from: impl BufRead, batch: &Batch) -> Result<Timestamp, Stuck> {
    let header = batch.header();
    let is_packed = header.compression() != Some(Compression::None);
    let mut latest = i64::MIN;
    for at in 0..i64::from(header.records) {
        let mut record = Fields { left: usize::MAX, from: &mut from };
        record.left = record.length()?;
        // Attributes, of which none is in use.
        record.byte()?;
        latest = latest.max(header.base_timestamp.0.wrapping_add(record.varint()?));
        // Whoever compresses counts anew; a plain record may lie anywhere within its batch.
        let first = if is_packed { at } else { 0 };
        let last = if is_packed { at } else { i64::from(header.last_offset_delta) };
        fits((first..=last).contains(&record.varint()?))?;
        record.rest()?;
    }
    fits(from.fill_buf()?.is_empty())?;
    let is_append_time = header.is_log_append_time();
    Ok(if is_append_time { header.max_timestamp } else { Timestamp(latest) })
}

fn fits(what: bool) -> Result<(), Stuck> {
    if what { Ok(()) } else { Err(Stuck) }
}

/// The fields of a record, of which `left` bytes have not been walked yet.
struct Fields<'a, R> {
    from: &'a mut R,
    left: usize,
}

impl<R: BufRead> Fields<'_, R> {
    #[inline]
    fn spend(&mut self, bytes: usize) -> Result<(), Stuck> {
        self.left = self.left.checked_sub(bytes).ok_or(Stuck)?;
        Ok(())
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Stuck> {
        self.spend(1)?;
        let byte = *self.from.fill_buf()?.first().ok_or(Stuck)?;
        self.from.consume(1);
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, mut bytes: usize) -> Result<(), Stuck> {
        self.spend(bytes)?;
        while bytes > 0 {
            let there = self.from.fill_buf()?.len().min(bytes);
            fits(there > 0)?;
            self.from.consume(there);
            bytes -= there;
        }
        Ok(())
    }

    /// Kafka's signed varint.
    #[inline]
    fn varint(&mut self) -> Result<i64, Stuck> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(Stuck)
    }

    #[inline]
    fn length(&mut self) -> Result<usize, Stuck> {
        usize::try_from(self.varint()?).map_err(|_| Stuck)
    }

    /// Bytes behind their own length.
    #[inline]
    fn sized(&mut self) -> Result<(), Stuck> {
        let length = self.length()?;
        self.skip(length)
    }

    /// As `sized`, but null is allowed.
    #[inline]
    fn nullable(&mut self) -> Result<(), Stuck> {
        match self.varint()? {
            -1 => Ok(()),
            length => self.skip(usize::try_from(length).map_err(|_| Stuck)?),
        }
    }

    /// Key, value, headers; and nothing behind them.
    fn rest(&mut self) -> Result<(), Stuck> {
        self.nullable()?;
        self.nullable()?;
        for _ in 0..self.length()? {
            self.sized()?;
            self.nullable()?;
        }
        fits(self.left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use crate::wire::batch::{self, BatchHeader};
    use crate::wire::record::{BatchBuilder, Header, Identity, Payload, Records};
    use bytes::Bytes;
    use proptest::prelude::*;

    const CODECS: [Compression; 5] = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn built(codec: Compression, records: usize, size: usize) -> Batch {
        let mut builder = BatchBuilder::new(codec, None);
        for n in 0..records {
            let value: Vec<u8> = (0..size).map(|at| ((at * n * 2_654_435_761) >> 7) as u8).collect();
            let headers = vec![Header { name: Bytes::from_static(b"h"), value: (n % 2 == 0).then(Bytes::new) }; n % 3];
            builder.push(Timestamp(1), &Payload { key: None, value: Some(value.into()), headers });
        }
        builder.finish(Identity::NONE)
    }

    fn with_records(batch: &Batch, records: &[u8]) -> Batch {
        batch::build(*batch.header(), records)
    }

    #[test]
    fn what_our_own_codecs_write_passes() {
        for codec in CODECS {
            for (records, size) in [(1, 0), (3, 10), (50, 4000), (2, 500_000)] {
                let batch = built(codec, records, size);
                assert_eq!(checked(batch).map(drop), Ok(()), "{codec:?}, {records} of {size} bytes");
            }
        }
    }

    #[test]
    fn another_codec_than_the_header_names_is_noticed() {
        for written in CODECS {
            for named in CODECS.into_iter().filter(|named| *named != written) {
                let batch = built(written, 40, 400);
                let header = BatchHeader { attributes: named.bits(), ..*batch.header() };
                let outcome = checked(batch::build(header, &batch.records())).map(drop);
                assert_eq!(outcome, Err(BadBatch::Records), "{written:?} as {named:?}");
            }
        }
    }

    #[test]
    fn a_cut_is_noticed_wherever_the_codec_tells_its_length() {
        for codec in [Compression::None, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let batch = built(codec, 40, 400);
            let bytes = batch.records();
            for at in 0..bytes.len() {
                assert_eq!(checked(with_records(&batch, &bytes[..at])).map(drop), Err(BadBatch::Records), "{codec:?} cut at {at}");
            }
        }
    }

    #[test]
    fn a_count_that_the_records_do_not_have_is_noticed() {
        for codec in CODECS {
            let batch = built(codec, 3, 10);
            for records in [1, 2, 4, i32::MAX] {
                let header = BatchHeader { records, last_offset_delta: records - 1, ..*batch.header() };
                assert_eq!(checked(batch::build(header, &batch.records())).map(drop), Err(BadBatch::Records), "{codec:?}: {records}");
            }
        }
    }

    #[test]
    fn a_header_gets_the_largest_time_of_the_records() {
        for codec in CODECS {
            let mut builder = BatchBuilder::new(codec, None);
            for time in [700, 900, 800] {
                builder.push(Timestamp(time), &Payload { key: None, value: Some(Bytes::from_static(b"v")), headers: Vec::new() });
            }
            let honest = builder.finish(Identity::NONE);
            for (attributes, max_timestamp) in [(0, Timestamp(700)), (0, Timestamp(5000)), (0, Timestamp::NONE)] {
                let header = BatchHeader { attributes: honest.header().attributes | attributes, max_timestamp, ..*honest.header() };
                let lying = batch::build(header, &honest.records());
                let mended = checked(lying).expect("its records can be read");
                assert_eq!(mended.header(), honest.header(), "{codec:?}");
            }
            let appended = checked(honest.append_time(Timestamp(4))).expect("its records can be read");
            assert_eq!((appended.header().max_timestamp, appended.header().is_log_append_time()), (Timestamp(4), false), "{codec:?}");
        }
    }

    #[test]
    fn offsets_within_a_compressed_batch_are_dense() {
        let plain = |deltas: [u8; 2]| deltas.iter().flat_map(|delta| [14, 0, 0, delta << 1, 1, 2, b'v', 0]).collect::<Vec<u8>>();
        for codec in CODECS {
            let header = BatchHeader { attributes: codec.bits(), records: 2, last_offset_delta: 1, ..*built(codec, 1, 0).header() };
            let batch = |deltas| batch::build(header, &compress::compress(codec, None, &plain(deltas).into()));
            assert_eq!(checked(batch([0, 1])).map(drop), Ok(()), "{codec:?}");
            let packed = codec != Compression::None;
            assert_eq!(checked(batch([1, 1])).is_err(), packed, "{codec:?}");
        }
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            // One record of 200 MB, in less than 1 MB.
            let mut plain = vec![0; 200_000_000];
            plain[..8].copy_from_slice(&[0xfe, 0xcf, 0xde, 0xbe, 0x01, 0, 0, 0]);
            let header = BatchHeader { attributes: codec.bits(), ..*built(codec, 1, 0).header() };
            let batch = batch::build(header, &compress::compress(codec, None, &plain.into()));
            assert_eq!(checked(batch).map(drop), Err(BadBatch::Records), "{codec:?}");
        }
    }

    proptest! {
        #[test]
        fn plain_records_pass_exactly_if_they_can_be_read(noise in prop::collection::vec(0..24u8, 0..120), records in 1..6i32) {
            let header = BatchHeader { records, last_offset_delta: records - 1, ..*built(Compression::None, 1, 0).header() };
            let batch = batch::build(header, &noise);
            let readable = Records::of(&batch, 1 << 20).is_ok_and(|records| records.into_iter().all(|record| record.is_ok()));
            prop_assert_eq!(checked(batch).is_ok(), readable);
        }

        #[test]
        fn damage_within_a_codec_passes_only_if_the_records_can_still_be_read(which in 1..5usize, at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let batch = built(CODECS[which], 40, 400);
            let mut bytes = batch.records().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let damaged = with_records(&batch, &bytes);
            let readable = Records::of(&damaged, 1 << 20).is_ok_and(|records| {
                (0..40).zip(records).all(|(at, record)| record.is_ok_and(|record| record.offset.0 == at))
            });
            prop_assert_eq!(checked(damaged).is_ok(), readable);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200), which in 0..5usize) {
            let header = BatchHeader { attributes: CODECS[which].bits(), ..*built(Compression::None, 1, 0).header() };
            drop(checked(batch::build(header, &noise)));
        }
    }
}
