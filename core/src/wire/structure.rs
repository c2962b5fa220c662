//! Whether a batch's records have the structure that its header claims, found without decompressing them or touching a key or a value.
//!
//! Runs at the edge, for every produced batch. Plain records are walked field by field; of compressed ones the codec's own frame is walked, block by
//! block. So a wrong codec, a cut, or a wrong count never reaches a consumer, which could not get past it. Never finds damage inside a compressed
//! block: on the way the checksum does, and a producer that makes such blocks must be cured at its place.

use super::batch::{BadBatch, Batch, Compression};

/// The largest plain block of an lz4 frame, by its code 4 to 7.
const LZ4_BLOCK_BYTES: [usize; 4] = [64 << 10, 256 << 10, 1 << 20, 4 << 20];
const LZ4_MAGIC: u32 = 0x184d_2204;
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
/// Frames that a reader of lz4 or zstd passes over, but for their low four bits.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const ZSTD_BLOCK_BYTES_MAX: usize = 128 << 10;
/// What `org.xerial.snappy` writes before its blocks.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\x00";
const XERIAL_HEADER_BYTES: usize = 16;
/// A gzip header without options and a trailer.
const GZIP_BYTES_MIN: usize = 10 + 8;

/// Passes on a batch whose records have the structure that its header claims.
///
/// # Errors
/// `Records` if they have not, `Codec` for a codec that nobody assigned.
pub fn checked(batch: Batch) -> Result<Batch, BadBatch> {
    let header = batch.header();
    let codec = header.compression().ok_or(BadBatch::Codec)?;
    let bytes = batch.records();
    let rest = Rest(&bytes);
    let stands = match codec {
        Compression::None => plain(rest, header.records, header.last_offset_delta),
        Compression::Gzip => gzip(rest),
        Compression::Snappy => snappy(rest),
        Compression::Lz4 => lz4(rest),
        Compression::Zstd => zstd(rest),
    };
    stands.map(|()| batch).ok_or(BadBatch::Records)
}

/// What has not been walked yet; every step is `None` where the bytes do not hold it.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    #[inline]
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*number)
    }

    /// Kafka's signed varint.
    #[inline]
    fn varint(&mut self) -> Option<i64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        None
    }

    /// Bytes behind their own length.
    #[inline]
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// As `sized`, but null is allowed.
    #[inline]
    fn nullable(&mut self) -> Option<()> {
        match self.varint()? {
            -1 => Some(()),
            length => self.take(usize::try_from(length).ok()?).map(drop),
        }
    }

    fn ends(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

fn plain(mut rest: Rest<'_>, records: i32, last_delta: i32) -> Option<()> {
    for _ in 0..records {
        record(Rest(rest.sized()?), last_delta)?;
    }
    rest.ends()
}

#[inline]
fn record(mut rest: Rest<'_>, last_delta: i32) -> Option<()> {
    // Attributes, of which none is in use, and the time.
    rest.byte()?;
    rest.varint()?;
    if !(0..=i64::from(last_delta)).contains(&rest.varint()?) {
        return None;
    }
    rest.nullable()?;
    rest.nullable()?;
    for _ in 0..u32::try_from(rest.varint()?).ok()? {
        rest.sized()?;
        rest.nullable()?;
    }
    rest.ends()
}

/// Nothing but the decompressor knows where deflated bytes end, so only the header is looked at.
fn gzip(rest: Rest<'_>) -> Option<()> {
    let reserved_flags = rest.0.get(3)? & 0xe0;
    (rest.0.len() >= GZIP_BYTES_MIN && rest.0.starts_with(&[0x1f, 0x8b, 8]) && reserved_flags == 0).then_some(())
}

/// Blocks behind their lengths, as the Java clients write; or one block, as librdkafka and others do.
fn snappy(mut rest: Rest<'_>) -> Option<()> {
    if !rest.0.starts_with(XERIAL_MAGIC) {
        return snappy_block(rest.0);
    }
    rest.take(XERIAL_HEADER_BYTES)?;
    loop {
        let length = u32::from_be_bytes(rest.number()?);
        snappy_block(rest.take(length as usize)?)?;
        if rest.0.is_empty() {
            return Some(());
        }
    }
}

/// The plain length, then literals and copies that must make up exactly so much.
fn snappy_block(block: &[u8]) -> Option<()> {
    let mut left = snap::raw::decompress_len(block).ok()?;
    let mut rest = Rest(block);
    while rest.byte()? >= 0x80 {}
    while let Some(tag) = rest.byte() {
        let upper = usize::from(tag >> 2);
        let plain = match tag & 3 {
            0 => snappy_literal(&mut rest, upper)?,
            1 => rest.take(1).map(|_| 4 + (upper & 7))?,
            2 => rest.take(2).map(|_| 1 + upper)?,
            _ => rest.take(4).map(|_| 1 + upper)?,
        };
        left = left.checked_sub(plain)?;
    }
    (left == 0).then_some(())
}

fn snappy_literal(rest: &mut Rest<'_>, upper: usize) -> Option<usize> {
    let less_one = match upper.checked_sub(59).filter(|extra| *extra > 0) {
        None => upper,
        Some(extra) => rest.take(extra)?.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte)),
    };
    rest.take(less_one + 1).map(<[u8]>::len)
}

fn lz4(mut rest: Rest<'_>) -> Option<()> {
    loop {
        let magic = u32::from_le_bytes(rest.number()?);
        if magic & !0xf == SKIPPABLE_MAGIC {
            skip_frame(&mut rest)?;
        } else if magic == LZ4_MAGIC {
            // Kafka's readers stop behind the first frame.
            return lz4_frame(&mut rest);
        } else {
            return None;
        }
    }
}

fn lz4_frame(rest: &mut Rest<'_>) -> Option<()> {
    let (flags, descriptor) = (rest.byte()?, rest.byte()?);
    let (version, block_checksums, content_size) = (flags >> 6, flags & 0x10 != 0, flags & 0x08 != 0);
    let (content_checksum, dictionary) = (flags & 0x04 != 0, flags & 0x01 != 0);
    let block_max = *LZ4_BLOCK_BYTES.get(usize::from(descriptor >> 4 & 7).checked_sub(4)?)?;
    if version != 1 {
        return None;
    }
    // Content size, dictionary, and the header's own checksum.
    rest.take(8 * usize::from(content_size) + 4 * usize::from(dictionary) + 1)?;
    loop {
        let length = u32::from_le_bytes(rest.number()?) & 0x7fff_ffff;
        if length == 0 {
            return rest.take(4 * usize::from(content_checksum)).map(drop);
        }
        // A block that does not get smaller is stored as it is.
        if length as usize > block_max {
            return None;
        }
        rest.take(length as usize + 4 * usize::from(block_checksums))?;
    }
}

fn zstd(mut rest: Rest<'_>) -> Option<()> {
    loop {
        let magic = u32::from_le_bytes(rest.number()?);
        if magic & !0xf == SKIPPABLE_MAGIC {
            skip_frame(&mut rest)?;
        } else if magic == ZSTD_MAGIC {
            zstd_frame(&mut rest)?;
        } else {
            return None;
        }
        if rest.0.is_empty() {
            return Some(());
        }
    }
}

fn zstd_frame(rest: &mut Rest<'_>) -> Option<()> {
    let descriptor = rest.byte()?;
    let (single_segment, reserved, checksum) = (descriptor & 0x20 != 0, descriptor & 0x08 != 0, descriptor & 0x04 != 0);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = [usize::from(single_segment), 2, 4, 8][usize::from(descriptor >> 6)];
    if reserved {
        return None;
    }
    rest.take(usize::from(!single_segment) + dictionary + content_size)?;
    loop {
        let [a, b, c] = rest.number()?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let (last, kind, length) = (header & 1 == 1, header >> 1 & 3, (header >> 3) as usize);
        let stored = match kind {
            0 | 2 => length,
            // One byte, `length` times.
            1 => 1,
            _ => return None,
        };
        if stored > ZSTD_BLOCK_BYTES_MAX {
            return None;
        }
        rest.take(stored)?;
        if last {
            return rest.take(4 * usize::from(checksum)).map(drop);
        }
    }
}

fn skip_frame(rest: &mut Rest<'_>) -> Option<()> {
    let length = u32::from_le_bytes(rest.number()?);
    rest.take(length as usize).map(drop)
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
    fn a_count_that_plain_records_do_not_have_is_noticed() {
        let batch = built(Compression::None, 3, 10);
        for records in [1, 2, 4, i32::MAX] {
            let header = BatchHeader { records, last_offset_delta: records - 1, ..*batch.header() };
            assert_eq!(checked(batch::build(header, &batch.records())).map(drop), Err(BadBatch::Records), "{records}");
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
        fn raw_snappy_passes_exactly_if_its_lengths_add_up(plain in prop::collection::vec(0..4u8, 1..3000), cut in any::<prop::sample::Index>()) {
            let raw = snap::raw::Encoder::new().compress_vec(&plain).expect("far below 4 GiB");
            prop_assert_eq!(snappy_block(&raw), Some(()));
            prop_assert_eq!(snappy_block(&raw[..cut.index(raw.len())]), None);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200), which in 0..5usize) {
            let header = BatchHeader { attributes: CODECS[which].bits(), ..*built(Compression::None, 1, 0).header() };
            drop(checked(batch::build(header, &noise)));
        }
    }
}
