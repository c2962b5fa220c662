//! Memory for long frames, used again when nobody refers to it any more.
//!
//! Fresh memory costs a page fault and a zeroed page for every 4 KiB, which is a good part of what receiving into it costs.

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard};

/// Memory that lies idle at most, for all connections together.
const IDLE_BYTES_MAX: usize = 8 << 20;
/// Lengths are rounded up to a multiple of this, so that frames of about one length fit each other's memory.
const GRAIN_BYTES: usize = 64 << 10;

/// Buffers that are not in use. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer in use; it goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    buffer: Vec<u8>,
    pool: Pool,
}

impl Pool {
    /// An empty buffer with room for `len` bytes.
    pub(crate) fn lend(&self, len: usize) -> Lent {
        let room = len.next_multiple_of(GRAIN_BYTES);
        let idle = self.idle().take(room);
        Lent { buffer: idle.unwrap_or_else(|| Vec::with_capacity(room)), pool: self.clone() }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

impl Idle {
    /// The newest buffer that fits, which is the likeliest to be in a cache; none of twice the room or more, which a longer frame may want.
    fn take(&mut self, room: usize) -> Option<Vec<u8>> {
        let at = self.buffers.iter().rposition(|buffer| (room..room.saturating_mul(2)).contains(&buffer.capacity()))?;
        let buffer = self.buffers.remove(at);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Takes a buffer back; the oldest ones go to the system when there are too many.
    fn put(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.bytes += buffer.capacity();
        self.buffers.push(buffer);
        let mut surplus = 0;
        while self.bytes > IDLE_BYTES_MAX {
            self.bytes -= self.buffers[surplus].capacity();
            surplus += 1;
        }
        self.buffers.drain(..surplus);
    }
}

impl Lent {
    /// The buffer, to be filled up to the length that was asked for.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// What was filled in, to be shared.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.pool.idle().put(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &Pool, len: usize) -> Bytes {
        let mut lent = pool.lend(len);
        assert!(lent.buffer().is_empty() && lent.buffer().capacity() >= len);
        lent.buffer().resize(len, 7);
        lent.freeze()
    }

    #[test]
    fn memory_is_used_again_once_the_last_slice_is_gone() {
        let pool = Pool::default();
        let frame = filled(&pool, 100_000);
        let (place, slice) = (frame.as_ptr(), frame.slice(500..600));
        drop(frame);
        assert_ne!(filled(&pool, 100_000).as_ptr(), place, "a slice is still in use");
        drop(slice);
        assert_eq!(filled(&pool, 90_000).as_ptr(), place);
    }

    #[test]
    fn idle_memory_is_bounded() {
        let pool = Pool::default();
        let frames: Vec<Bytes> = (0..40).map(|_| filled(&pool, 1 << 20)).collect();
        drop(frames);
        let idle = pool.idle();
        assert_eq!((idle.bytes, idle.buffers.len()), (IDLE_BYTES_MAX, 8));
        drop(idle);
        drop(filled(&pool, 64 << 20));
        assert!(pool.idle().buffers.is_empty(), "one buffer above the bound is not kept");
    }
}
