//! The four codecs of record batches, in the framings that Kafka's clients write and read.
//!
//! Decompression is bounded by its caller: hostile bytes never cost more than the limit. Never knows what a record is.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::batch::Compression;

/// Why bytes cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCompression {
    /// They are not what the codec writes.
    Corrupt,
    /// They hold more than the limit.
    TooLarge,
}

/// What `org.xerial.snappy` (the Java clients' library) writes before its blocks: a magic, version 1, compatible with version 1.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
const XERIAL_MAGIC_BYTES: usize = 8;
/// The plain bytes in one of its blocks.
const XERIAL_BLOCK: usize = 32 * 1024;
/// No snappy element yields more plain bytes than this per compressed byte.
const SNAPPY_MAX_RATIO: usize = 32;

/// Compresses a batch's records; `level` where the codec has levels, otherwise Kafka's default (gzip −1, zstd 3; lz4 knows only its fast
/// level here).
#[must_use]
pub fn compress(codec: Compression, level: Option<i32>, plain: &Bytes) -> Bytes {
    match codec {
        Compression::None => plain.clone(),
        Compression::Gzip => gzip(level, plain),
        Compression::Snappy => snappy(plain),
        Compression::Lz4 => lz4(plain),
        Compression::Zstd => zstd(level.unwrap_or(3), plain),
    }
}

// To make a context costs more than a small batch; what a context was used for before does not show in what it gives.
thread_local! {
    static PACKER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<zstd::zstd_safe::DCtx<'static>> = RefCell::new(zstd::zstd_safe::DCtx::create());
}

fn zstd(level: i32, plain: &[u8]) -> Bytes {
    PACKER.with_borrow_mut(|kept| {
        let packer = kept.get_or_insert_with(|| zstd::bulk::Compressor::new(level).expect("zstd takes every level"));
        packer.set_compression_level(level).expect("zstd takes every level");
        packer.compress(plain).expect("zstd compresses anything into memory").into()
    })
}

fn gzip(level: Option<i32>, plain: &[u8]) -> Bytes {
    let level =
        level.and_then(|level| u32::try_from(level).ok()).map_or(flate2::Compression::default(), |l| flate2::Compression::new(l.min(9)));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("a vector takes all bytes").into()
}

fn snappy(plain: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(XERIAL_HEADER.len() + plain.len() / 2);
    out.put_slice(XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK) {
        let compressed = encoder.compress_vec(block).expect("a block is far below snappy's 4 GiB");
        out.put_u32(u32::try_from(compressed.len()).expect("a compressed block is small"));
        out.put_slice(&compressed);
    }
    out.freeze()
}

fn lz4(plain: &[u8]) -> Bytes {
    // As Kafka: blocks of 64 KiB, independent of each other, without block or content checksums.
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(plain).expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes").into()
}

/// Decompresses a batch's records into at most `limit` bytes.
///
/// # Errors
/// `TooLarge` if there is more in them; `Corrupt` if the codec cannot read them.
pub fn decompress(codec: Compression, packed: &Bytes, limit: usize) -> Result<Bytes, BadCompression> {
    match codec {
        Compression::None if packed.len() > limit => Err(BadCompression::TooLarge),
        Compression::None => Ok(packed.clone()),
        Compression::Snappy => unsnappy(packed, limit),
        Compression::Gzip | Compression::Lz4 | Compression::Zstd => unpacked(codec, packed, limit, |plain| {
            let mut all = Vec::new();
            plain.read_to_end(&mut all).map_err(|_| BadCompression::Corrupt)?;
            if all.len() > limit { Err(BadCompression::TooLarge) } else { Ok(all.into()) }
        }),
    }
}

/// Lets `with` read what is in a batch's records, to the end, but never more than one byte beyond the limit.
///
/// # Errors
/// What `with` says; `TooLarge` or `Corrupt` where that is known before there is anything to read.
pub fn unpacked<T, E: From<BadCompression>>(
    codec: Compression,
    packed: &[u8],
    limit: usize,
    with: impl FnOnce(&mut dyn std::io::Read) -> Result<T, E>,
) -> Result<T, E> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    match codec {
        Compression::None => with(&mut packed.take(most)),
        Compression::Gzip => with(&mut flate2::read::MultiGzDecoder::new(packed).take(most)),
        Compression::Snappy => with(&mut &unsnappy(packed, limit)?[..]),
        Compression::Lz4 => with(&mut lz4_flex::frame::FrameDecoder::new(packed.chain(Beyond)).take(most)),
        Compression::Zstd => UNPACKER.with_borrow_mut(|context| with(&mut unzstd(context, packed, limit)?.take(most))),
    }
}

/// What lies behind the bytes that were sent: a decoder of lz4 takes their end for that of the frame, with or without its mark.
struct Beyond;

impl std::io::Read for Beyond {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}

fn unzstd<'a>(
    context: &'a mut zstd::zstd_safe::DCtx<'static>,
    packed: &'a [u8],
    limit: usize,
) -> Result<impl std::io::Read + use<'a>, BadCompression> {
    context.reset(zstd::zstd_safe::ResetDirective::SessionAndParameters).map_err(|_| BadCompression::Corrupt)?;
    let mut decoder = zstd::stream::read::Decoder::with_context(packed, context);
    // A frame may ask for a window of up to 128 MiB in a few bytes. No window need be larger than what it unpacks to; 8 MiB is what the
    // ordinary levels use, whatever the size.
    let window = limit.max(1).next_power_of_two().ilog2().clamp(23, 27);
    decoder.window_log_max(window).map_err(|_| BadCompression::Corrupt)?;
    Ok(decoder)
}

/// Both framings in use: the Java clients' blocks, and one raw block as librdkafka and others write.
fn unsnappy(packed: &[u8], limit: usize) -> Result<Bytes, BadCompression> {
    if !packed.starts_with(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
        let mut plain = Vec::new();
        unsnappy_block(packed, limit, &mut plain)?;
        return Ok(plain.into());
    }
    let mut rest = packed.get(XERIAL_HEADER.len()..).ok_or(BadCompression::Corrupt)?;
    let mut plain = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let block = after.get(..length).ok_or(BadCompression::Corrupt)?;
        unsnappy_block(block, limit, &mut plain)?;
        rest = &after[length..];
    }
    if rest.is_empty() { Ok(plain.into()) } else { Err(BadCompression::Corrupt) }
}

fn unsnappy_block(block: &[u8], limit: usize, plain: &mut Vec<u8>) -> Result<(), BadCompression> {
    let length = snap::raw::decompress_len(block).map_err(|_| BadCompression::Corrupt)?;
    if length > limit - plain.len() {
        return Err(BadCompression::TooLarge);
    }
    // The length is the sender's word; do not allocate what so few bytes cannot hold.
    if length > block.len().saturating_mul(SNAPPY_MAX_RATIO) {
        return Err(BadCompression::Corrupt);
    }
    let from = plain.len();
    plain.resize(from + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut plain[from..]).map_err(|_| BadCompression::Corrupt)?;
    if written == length { Ok(()) } else { Err(BadCompression::Corrupt) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACKED: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn text(bytes: usize) -> Bytes {
        b"every good log deserves a reader; ".iter().copied().cycle().take(bytes).collect::<Vec<u8>>().into()
    }

    #[test]
    fn what_goes_in_comes_out() {
        for codec in PACKED {
            for bytes in [0, 1, 100, XERIAL_BLOCK, XERIAL_BLOCK + 1, 300_000] {
                let packed = compress(codec, None, &text(bytes));
                assert_eq!(decompress(codec, &packed, bytes), Ok(text(bytes)), "{codec:?} {bytes}");
                assert!(bytes < 100 || packed.len() < bytes, "{codec:?} {bytes}");
            }
        }
    }

    #[test]
    fn levels_are_obeyed_where_there_are_any() {
        let plain: Bytes = (0..200_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect::<Vec<u8>>().into();
        for codec in [Compression::Gzip, Compression::Zstd] {
            let [fast, best] = [1, 9].map(|level| compress(codec, Some(level), &plain));
            assert!(best.len() < fast.len(), "{codec:?}");
            assert_eq!(decompress(codec, &best, plain.len()), Ok(plain.clone()));
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        for codec in PACKED {
            let packed = compress(codec, None, &Bytes::from(vec![0; 1 << 20]));
            assert_eq!(decompress(codec, &packed, 1 << 16), Err(BadCompression::TooLarge), "{codec:?}");
        }
    }

    #[test]
    fn a_raw_snappy_block_is_read_too() {
        let plain = text(100_000);
        let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(decompress(Compression::Snappy, &raw.into(), 1 << 20), Ok(plain));
        // Five bytes that claim 4 GiB.
        let boast = Bytes::from_static(b"\xff\xff\xff\xff\x0f");
        assert_eq!(decompress(Compression::Snappy, &boast, usize::MAX), Err(BadCompression::Corrupt));
        let zeros = snap::raw::Encoder::new().compress_vec(&[0; 1 << 20]).unwrap();
        assert_eq!(
            decompress(Compression::Snappy, &zeros.into(), 1 << 20).map(|b| b.len()),
            Ok(1 << 20),
            "the ratio bound admits the densest block"
        );
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_an_error_or_stay_within_the_limit(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>(), which in 0..4usize) {
            let mut packed = compress(PACKED[which], None, &text(5000)).to_vec();
            for (at, value) in flips {
                let at = at.index(packed.len());
                packed[at] = value;
            }
            packed.truncate(cut.index(packed.len()) + 1);
            if let Ok(plain) = decompress(PACKED[which], &packed.into(), 6000) {
                prop_assert!(plain.len() <= 6000);
            }
        }

        #[test]
        fn noise_is_an_error_or_stays_within_the_limit(noise in prop::collection::vec(any::<u8>(), 0..200), which in 0..4usize) {
            if let Ok(plain) = decompress(PACKED[which], &noise.into(), 1000) {
                prop_assert!(plain.len() <= 1000);
            }
        }
    }
}
