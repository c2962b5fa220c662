//! Reads Kafka's primitive types from one frame, under a budget. Never panics, whatever the bytes say, and never allocates more than [`BUDGET_PER_BYTE`]
//! bytes for each byte of the frame (plus one block of [`BUDGET_BASE`]).

use bytes::Bytes;

/// How many bytes of memory one byte of a frame can justify. An honest frame never needs more: the densest array is one of empty strings, which take
/// 24 bytes for 1. Arrays of tables are checked against it at their first use (see [`Reader::reserve`]).
pub const BUDGET_PER_BYTE: usize = 32;

/// What a frame may cost beyond its length: the smallest frames still carry a few vectors.
pub const BUDGET_BASE: usize = 1024;

/// The longest string of Kafka's protocol, in bytes.
pub const STRING_MAX: usize = i16::MAX as usize;

/// The peer broke the wire: the frame is not what its header says. The connection should be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Malformed {
    /// What is wrong.
    pub why: &'static str,
    /// Where, in bytes from the frame's start.
    pub at: usize,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at)
    }
}

impl std::error::Error for Malformed {}

/// Which of a message's forms is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The version of the message.
    pub version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// A cursor over one frame.
#[derive(Debug)]
pub struct Reader {
    frame: Bytes,
    at: usize,
    /// Where reading must stop: the frame's end, or that of a tagged field.
    end: usize,
    budget: usize,
    shape: Shape,
}

impl Reader {
    /// A reader at the frame's start.
    #[must_use]
    pub fn new(frame: Bytes, shape: Shape) -> Self {
        let end = frame.len();
        Self { budget: end.saturating_mul(BUDGET_PER_BYTE).saturating_add(BUDGET_BASE), frame, at: 0, end, shape }
    }

    /// The form that is read now.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Reads on in another form, as after a header.
    pub fn set_shape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// The error `why`, here.
    #[must_use]
    pub fn malformed(&self, why: &'static str) -> Malformed {
        Malformed { why, at: self.at }
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        if self.remaining() < N {
            return Err(self.malformed("the frame ends within a number"));
        }
        let mut out = [0; N];
        out.copy_from_slice(&self.frame[self.at..self.at + N]);
        self.at += N;
        Ok(out)
    }

    /// The next `len` bytes, shared with the frame.
    pub fn slice(&mut self, len: usize) -> Result<Bytes, Malformed> {
        if self.remaining() < len {
            return Err(self.malformed("a length passes the frame's end"));
        }
        let out = self.frame.slice(self.at..self.at + len);
        self.at += len;
        Ok(out)
    }

    /// The next `len` bytes as text. What is not UTF-8 becomes U+FFFD, as in Kafka.
    pub fn text(&mut self, len: usize) -> Result<String, Malformed> {
        if len > STRING_MAX {
            return Err(self.malformed("a string is longer than 32767 bytes"));
        }
        if self.remaining() < len {
            return Err(self.malformed("a string passes the frame's end"));
        }
        let text = String::from_utf8_lossy(&self.frame[self.at..self.at + len]).into_owned();
        if text.len() > STRING_MAX {
            return Err(self.malformed("a string is not UTF-8, and longer than 32767 bytes when mended"));
        }
        self.at += len;
        Ok(text)
    }

    /// An unsigned number of 7 bits a byte, the lowest first, below 2³².
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                return Err(self.malformed("a varint passes 32 bits"));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A length: `classic` reads it in old versions, flexible ones have a varint one larger. `None` is null.
    pub fn length(&mut self, classic: fn(&mut Self) -> Result<i32, Malformed>) -> Result<Option<usize>, Malformed> {
        if !self.shape.flexible {
            return Ok(usize::try_from(classic(self)?).ok());
        }
        let length = self.varint()?.checked_sub(1);
        Ok(length.map(|n| usize::try_from(n).expect("32 bits fit")))
    }

    /// Room for `count` values of `T`, each at least `least` bytes on the wire, if the rest of the frame and the budget justify it.
    pub fn reserve<T>(&mut self, count: usize, least: usize) -> Result<Vec<T>, Malformed> {
        let least = least.max(1);
        debug_assert!(
            size_of::<T>() <= BUDGET_PER_BYTE * least,
            "{} needs {} bytes for {least}",
            std::any::type_name::<T>(),
            size_of::<T>()
        );
        if count > self.remaining() / least {
            return Err(self.malformed("an array is longer than its frame"));
        }
        let bytes = count.saturating_mul(size_of::<T>());
        let Some(left) = self.budget.checked_sub(bytes) else { return Err(self.malformed("a frame asks for too much memory")) };
        self.budget = left;
        Ok(Vec::with_capacity(count))
    }

    /// Room for the one chunk of a field of records.
    pub fn reserve_one<T>(&mut self) -> Result<Vec<T>, Malformed> {
        let Some(left) = self.budget.checked_sub(size_of::<T>()) else { return Err(self.malformed("a frame asks for too much memory")) };
        self.budget = left;
        Ok(Vec::with_capacity(1))
    }

    /// A section of tagged fields. `known` reads the field of a tag, or says that it does not know it: such a field is skipped.
    /// (Kafka keeps unknown fields in its objects; nothing in klamm hands on a decoded message, so they are dropped.)
    pub fn tags(&mut self, mut known: impl FnMut(&mut Self, u32) -> Result<bool, Malformed>) -> Result<(), Malformed> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let size = usize::try_from(self.varint()?).expect("32 bits fit");
            if self.remaining() < size {
                return Err(self.malformed("a tagged field passes the frame's end"));
            }
            let outer = self.end;
            self.end = self.at + size;
            let read = known(self, tag)?;
            if read && self.at != self.end {
                return Err(self.malformed("a tagged field is shorter than its size"));
            }
            self.at = self.end;
            self.end = outer;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEXIBLE: Shape = Shape { version: 0, flexible: true };

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes), FLEXIBLE)
    }

    #[test]
    fn varints_end_at_32_bits() {
        for (bytes, value) in
            [(&[0][..], 0), (&[0x7f], 127), (&[0x80, 1], 128), (&[0xff, 0xff, 0xff, 0xff, 0x0f], u32::MAX), (&[0x80, 0], 0)]
        {
            assert_eq!(reader(bytes).varint(), Ok(value));
        }
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x10]).varint(), Err(Malformed { why: "a varint passes 32 bits", at: 5 }));
        assert!(reader(&[0x80]).varint().is_err());
    }

    #[test]
    fn an_array_must_fit_its_frame_and_the_budget() {
        let mut r = reader(&[0; 10]);
        assert!(r.reserve::<u32>(3, 4).is_err());
        assert_eq!(r.reserve::<u32>(2, 4).map(|v| v.capacity()), Ok(2));
        let mut granted = 0;
        while r.reserve::<[u8; 32]>(10, 1).is_ok() {
            granted += 320;
        }
        assert!(granted <= 10 * BUDGET_PER_BYTE + BUDGET_BASE, "{granted}");
    }

    #[test]
    fn unknown_tags_are_skipped_and_sizes_are_kept() {
        // Three fields: 7 unknown, 0 of one byte, 9 unknown and empty. Then one byte more.
        let mut r = reader(&[3, 7, 2, 0xaa, 0xbb, 0, 1, 42, 9, 0, 99]);
        let mut seen = None;
        let read = r.tags(|r, tag| {
            if tag == 0 {
                let [byte] = r.array()?;
                seen = Some(byte);
            }
            Ok(tag == 0)
        });
        assert_eq!((read, seen, r.remaining()), (Ok(()), Some(42), 1));

        let short = reader(&[1, 0, 2, 42, 43]).tags(|r, _| r.array::<1>().map(|_| true));
        assert_eq!(short.map_err(|e| e.why), Err("a tagged field is shorter than its size"));
        let within = reader(&[1, 0, 1, 42, 43]).tags(|r, _| r.array::<2>().map(|_| true));
        assert_eq!(within.map_err(|e| e.why), Err("the frame ends within a number"));
    }

    #[test]
    fn text_that_is_not_utf8_is_mended() {
        assert_eq!(reader(b"a\xffb").text(3), Ok("a\u{fffd}b".to_owned()));
        let long = vec![0xff; 20_000];
        assert!(reader(&long).text(20_000).is_err());
    }
}
