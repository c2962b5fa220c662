//! Cuts what a connection receives into frames, in either direction. Knows lengths, and nothing of what is in a frame.

use crate::net;
use crate::pool::Pool;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// How much of a frame is looked at before there is room for it: a request begins with its API's key.
const PEEK_BYTES: usize = 2;
/// The room that an idle connection keeps.
const ROOM_MIN: usize = 4 << 10;
/// A smaller rest of memory is not worth a read.
const REST_MIN: usize = 512;
/// The room that a busy connection reads into, unless a frame is longer.
const ROOM_MAX: usize = 64 << 10;

/// The receiving side of a connection, frame by frame.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    /// Counts the reads that brought something.
    moves: &'a AtomicU64,
    pool: Pool,
    reader: net::Reader,
    buf: BytesMut,
    /// How much is read at once: grows with traffic that fills it, shrinks with traffic that does not.
    room: usize,
}

impl<'a> Frames<'a> {
    pub(crate) fn new(reader: net::Reader, moves: &'a AtomicU64, pool: Pool) -> Self {
        Self { moves, pool, reader, buf: BytesMut::new(), room: ROOM_MIN }
    }

    /// The length of the next frame, whose body is not there yet; `None` where the peer has closed between two frames.
    pub(crate) async fn length(&mut self) -> io::Result<Option<i32>> {
        while self.buf.len() < LENGTH_BYTES {
            if self.fill(LENGTH_BYTES).await? == 0 {
                return if self.buf.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
        Ok(Some(i32::from_be_bytes(self.buf[..LENGTH_BYTES].try_into().expect("four bytes"))))
    }

    /// The first two bytes of the frame of `len` bytes that `length` announced; they stay a part of it. `None` where it is shorter.
    pub(crate) async fn peek(&mut self, len: usize) -> io::Result<Option<[u8; PEEK_BYTES]>> {
        if len < PEEK_BYTES {
            return Ok(None);
        }
        let begun = LENGTH_BYTES + PEEK_BYTES;
        while self.buf.len() < begun {
            if self.fill(begun).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buf[LENGTH_BYTES..].first_chunk().copied())
    }

    /// The frame of `len` bytes that `length` announced, without its length. It shares its memory with frames that came in with it.
    pub(crate) async fn body(&mut self, len: usize) -> io::Result<Bytes> {
        let whole = LENGTH_BYTES + len;
        if whole > ROOM_MAX {
            return self.long_body(len).await;
        }
        while self.buf.len() < whole {
            if self.fill(whole).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buf.split_to(whole).split_off(LENGTH_BYTES).freeze())
    }

    /// A long frame has memory of its own, into which nothing is read that follows it.
    async fn long_body(&mut self, len: usize) -> io::Result<Bytes> {
        let mut frame = self.pool.lend(len);
        self.buf.advance(LENGTH_BYTES);
        let begun = self.buf.split_to(self.buf.len().min(len));
        frame.buffer().extend_from_slice(&begun);
        // What is read of the next one before its length is known is copied as well.
        self.room = ROOM_MIN;
        while frame.as_ref().len() < len {
            let left = len - frame.as_ref().len();
            if self.reader.read(&mut frame.buffer().limit(left)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
        Ok(frame.freeze())
    }

    /// The reader, once the peer is known to have sent nothing more.
    pub(crate) fn into_reader(self) -> net::Reader {
        self.reader
    }

    /// Reads once, with room for `whole` bytes in all. Fills the memory it has before it takes more: what small frames are cut from stays as long
    /// as the last of them is kept.
    async fn fill(&mut self, whole: usize) -> io::Result<usize> {
        let missing = whole - self.buf.len();
        if self.buf.capacity() - self.buf.len() < missing.max(REST_MIN) {
            self.buf.reserve(missing.max(self.room));
        }
        let offered = self.buf.capacity() - self.buf.len();
        let got = self.reader.read(&mut self.buf).await?;
        self.moves.fetch_add(1, Ordering::Relaxed);
        if got == offered && offered >= self.room {
            self.room = (self.room * 2).min(ROOM_MAX);
        } else if got < self.room / 8 {
            self.room = (self.room / 2).max(ROOM_MIN);
        }
        Ok(got)
    }
}
