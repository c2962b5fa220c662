//! Walks the batches of a segment file forward, header by header, reading a chunk at a time and records only where a checksum is asked for.

use crate::fs::File;
use bytes::Bytes;
use klamm_core::id::Offset;
use klamm_core::wire::batch::{BadBatch, Batch, BatchHeader, CRC_FROM, HEADER_BYTES};
use std::fmt;
use std::io;

/// A checksum of a larger batch is taken piece by piece.
const PIECE_BYTES: usize = 1 << 20;

/// Why no batch can be read at some position.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// The disk says so.
    Io(io::Error),
    /// The bytes are no batch.
    Bad(BadBatch),
    /// The file ends before the batch does.
    Cut,
    /// A batch cannot stand where it is by the offsets that it names, which no checksum covers, or its last one: its own first, and those that may be.
    Astray { base: Offset, least: Offset, end: Offset },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Bad(bad) => write!(f, "no valid batch: {bad:?}"),
            Self::Cut => write!(f, "the file ends within a batch"),
            Self::Astray { base, least, end } => {
                write!(f, "a batch that begins at {base} by what it says stands between {least} and {end}, and does not fit there")
            }
        }
    }
}

/// A view of a file's bytes `0..limit` that moves forward.
pub(crate) struct Window<F> {
    file: F,
    chunk: usize,
    limit: u64,
    at: u64,
    bytes: Bytes,
}

impl<F: File> Window<F> {
    /// Over the first `limit` bytes, reading `chunk` bytes at a time.
    pub(crate) fn new(file: F, limit: u64, chunk: usize) -> Self {
        Self { file, chunk, limit, at: 0, bytes: Bytes::new() }
    }

    /// The header of the batch at `position`, which ends within the limit. Its checksum is not looked at.
    pub(crate) async fn header(&mut self, position: u64) -> Result<BatchHeader, Unreadable> {
        if position + HEADER_BYTES as u64 > self.limit {
            return Err(Unreadable::Cut);
        }
        let bytes = self.bytes(position, HEADER_BYTES).await?;
        let header = BatchHeader::read(&bytes).map_err(Unreadable::Bad)?;
        if position + u64::from(header.bytes) > self.limit {
            return Err(Unreadable::Cut);
        }
        if header.records < 0 || header.last_offset_delta < 0 {
            return Err(Unreadable::Bad(BadBatch::Count));
        }
        Ok(header)
    }

    /// The header of the batch at `position`, its checksum compared.
    pub(crate) async fn checked(&mut self, position: u64) -> Result<BatchHeader, Unreadable> {
        let header = self.header(position).await?;
        let end = position + u64::from(header.bytes);
        let mut at = position + CRC_FROM as u64;
        let mut actual = 0;
        while at < end {
            let want = usize::try_from(end - at).expect("a batch is below 4 GiB").min(PIECE_BYTES);
            let piece = self.bytes(at, want).await?;
            actual = crc32c::crc32c_append(actual, &piece);
            at += want as u64;
        }
        if actual != header.crc {
            return Err(Unreadable::Bad(BadBatch::Crc { stored: header.crc, actual }));
        }
        Ok(header)
    }

    /// The whole batch at `position`, its checksum compared.
    pub(crate) async fn batch(&mut self, position: u64) -> Result<Batch, Unreadable> {
        let header = self.header(position).await?;
        let bytes = self.bytes(position, header.bytes as usize).await?;
        Batch::first(&bytes).map_err(Unreadable::Bad)
    }

    /// Exactly `len` bytes from `position`.
    async fn bytes(&mut self, position: u64, len: usize) -> Result<Bytes, Unreadable> {
        let end = position + len as u64;
        if position < self.at || end > self.at + self.bytes.len() as u64 {
            let rest = usize::try_from(self.limit - position).unwrap_or(usize::MAX);
            self.bytes = self.file.read_at(position, self.chunk.max(len).min(rest)).await.map_err(Unreadable::Io)?;
            self.at = position;
        }
        let from = usize::try_from(position - self.at).expect("within the chunk");
        if self.bytes.len() < from + len {
            return Err(Unreadable::Cut);
        }
        Ok(self.bytes.slice(from..from + len))
    }
}
