//! What goes out: a frame as a list of pieces, of which the large ones are references. Bytes are not copied, and file regions not read, to build one.

use bytes::{Bytes, BytesMut};

use super::primitive::Shape;
use crate::store::Region;

/// Byte strings below this are copied into the frame's own buffer: a piece of its own costs more than the copy.
const COPY_BELOW: usize = 1024;

/// A piece of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Chunk {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A slice of a segment's file, which whoever sends it reads, or leaves to `sendfile`.
    Region(Region),
}

impl Chunk {
    /// How many bytes it stands for.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Region(region) => usize::try_from(region.len).expect("32 bits fit"),
        }
    }

    /// Whether it stands for no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Record batches as the wire carries them, end to end, unread. Decoding gives at most one chunk: a slice of the frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Records(pub Vec<Chunk>);

impl Records {
    /// How many bytes all chunks stand for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Chunk::len).sum()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Chunk::is_empty)
    }

    /// The bytes, if all of them are in memory; copied only if there are several chunks.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes> {
        gather(&self.0)
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Vec::new() } else { vec![Chunk::Bytes(bytes)] })
    }
}

impl From<Region> for Records {
    fn from(region: Region) -> Self {
        Self(vec![Chunk::Region(region)])
    }
}

impl FromIterator<Bytes> for Records {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        Self(pieces.into_iter().map(Chunk::Bytes).collect())
    }
}

fn gather(chunks: &[Chunk]) -> Option<Bytes> {
    let mut pieces = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(bytes) => pieces.push(bytes),
            Chunk::Region(_) => return None,
        }
    }
    if let [one] = pieces[..] {
        return Some(one.clone());
    }
    let mut out = BytesMut::with_capacity(pieces.iter().map(|p| p.len()).sum());
    pieces.iter().for_each(|p| out.extend_from_slice(p));
    Some(out.freeze())
}

/// A whole frame, ready to be sent in this order; its first four bytes are the length of the rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The pieces; none is empty.
    pub chunks: Vec<Chunk>,
}

impl Frame {
    /// How many bytes are sent, the length prefix included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Chunk::len).sum()
    }

    /// Never: a frame has its length prefix at least.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The bytes with their length prefix; `None` if some are still in files.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes> {
        gather(&self.chunks)
    }
}

/// Builds a frame, or bytes without a prefix.
#[derive(Debug)]
pub struct Writer {
    /// Everything that is not referenced, in one buffer.
    small: BytesMut,
    /// References, each with the place in `small` that it goes before.
    large: Vec<(usize, Chunk)>,
    /// Within a tagged field, whose size goes before it, everything is copied.
    in_tag: bool,
    shape: Shape,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self { small: BytesMut::with_capacity(256), large: Vec::new(), in_tag: false, shape }
    }

    /// The form that is written now.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Writes on in another form, as after a header.
    pub fn set_shape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Whether the value that is written now is a tagged field, or within one.
    pub(super) fn in_tag(&self) -> bool {
        self.in_tag
    }

    /// Bytes as they are.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    /// Bytes by reference, where that is cheaper.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < COPY_BELOW || self.in_tag {
            return self.put(bytes);
        }
        self.large.push((self.small.len(), Chunk::Bytes(bytes.clone())));
    }

    /// A chunk of records.
    pub fn put_chunk(&mut self, chunk: &Chunk) {
        match chunk {
            Chunk::Bytes(bytes) => self.put_shared(bytes),
            Chunk::Region(region) => {
                assert!(!self.in_tag, "no tagged field holds records");
                self.large.push((self.small.len(), Chunk::Region(*region)));
            }
        }
    }

    /// An unsigned number of 7 bits a byte, the lowest first.
    pub fn varint(&mut self, mut value: u32) {
        while value > 0x7f {
            self.put(&[value.to_le_bytes()[0] | 0x80]);
            value >>= 7;
        }
        self.put(&[value.to_le_bytes()[0]]);
    }

    /// A length: `classic` writes it in old versions, flexible ones have a varint one larger. `None` is null.
    pub fn length(&mut self, length: Option<usize>, classic: fn(&mut Self, i32)) {
        let length = length.map(|n| i32::try_from(n).expect("a frame is shorter than 2 GiB"));
        if !self.shape.flexible {
            return classic(self, length.unwrap_or(-1));
        }
        self.varint(length.map_or(0, |n| n.unsigned_abs() + 1));
    }

    /// One tagged field: `body` writes its value.
    pub fn tag(&mut self, tag: u32, body: impl FnOnce(&mut Self)) {
        self.varint(tag);
        let outer = std::mem::replace(&mut self.in_tag, true);
        let start = self.small.len();
        body(self);
        self.in_tag = outer;
        let middle = self.small.len();
        self.varint(u32::try_from(middle - start).expect("a frame is shorter than 2 GiB"));
        // The size goes before the value, but is known only after it.
        self.small[start..].rotate_left(middle - start);
    }

    /// What was written, as bytes without a length prefix; `None` if some are in files.
    #[must_use]
    pub fn bytes(self) -> Option<Bytes> {
        gather(&self.chunks())
    }

    /// What was written, as a frame. Its first four bytes must be there already, as zeros: they become the length.
    #[must_use]
    pub fn frame(mut self) -> Frame {
        let len = self.small.len() + self.large.iter().map(|(_, c)| c.len()).sum::<usize>() - 4;
        let len = i32::try_from(len).expect("a frame is shorter than 2 GiB");
        self.small[..4].copy_from_slice(&len.to_be_bytes());
        Frame { chunks: self.chunks() }
    }

    fn chunks(mut self) -> Vec<Chunk> {
        let mut out = Vec::with_capacity(2 * self.large.len() + 1);
        let mut done = 0;
        for (before, chunk) in self.large {
            if before > done {
                out.push(Chunk::Bytes(self.small.split_to(before - done).freeze()));
                done = before;
            }
            if !chunk.is_empty() {
                out.push(chunk);
            }
        }
        if !self.small.is_empty() {
            out.push(Chunk::Bytes(self.small.freeze()));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{LogId, Offset};

    const FLEXIBLE: Shape = Shape { version: 0, flexible: true };

    #[test]
    fn large_bytes_and_regions_are_referenced_in_their_place() {
        let big = Bytes::from(vec![7; 5000]);
        let region = Region { log: LogId(1), segment: Offset(0), version: 0, position: 9, len: 300 };
        let mut w = Writer::new(FLEXIBLE);
        w.put(&[0; 4]);
        w.put(b"head");
        w.put_shared(&big);
        w.put_chunk(&Chunk::Region(region));
        w.put_shared(&Bytes::from_static(b"small"));
        w.put(b"tail");
        let frame = w.frame();

        let [Chunk::Bytes(head), Chunk::Bytes(middle), Chunk::Region(r), Chunk::Bytes(tail)] = &frame.chunks[..] else {
            panic!("{frame:?}")
        };
        assert_eq!(middle.as_ptr(), big.as_ptr());
        assert_eq!((&head[4..], *r, &tail[..]), (&b"head"[..], region, &b"smalltail"[..]));
        assert_eq!(head[..4], (4 + 5000 + 300 + 9_i32).to_be_bytes());
        assert_eq!(frame.len(), 4 + 4 + 5000 + 300 + 9);
        assert_eq!(frame.bytes(), None);
    }

    #[test]
    fn a_tag_has_its_size_before_its_value() {
        let mut w = Writer::new(FLEXIBLE);
        w.tag(3, |w| w.put_shared(&Bytes::from(vec![1; 2000])));
        let bytes = w.bytes().expect("all in memory");
        assert_eq!(bytes[..4], [3, 0xd0, 0x0f, 1]);
        assert_eq!(bytes.len(), 2003);
    }

    #[test]
    fn varints_are_read_back() {
        for value in [0, 1, 127, 128, 300, 1 << 21, u32::MAX] {
            let mut w = Writer::new(FLEXIBLE);
            w.varint(value);
            let bytes = w.bytes().expect("all in memory");
            assert_eq!(super::super::primitive::Reader::new(bytes, FLEXIBLE).varint(), Ok(value));
        }
    }
}
