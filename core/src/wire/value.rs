//! How each Rust type of a `message!` table looks on the wire, in every form. Tables add themselves by the macro.

use bytes::Bytes;

use super::frame::{Chunk, Records, Writer};
use super::primitive::{Malformed, Reader, STRING_MAX, Shape};
use crate::error::ErrorCode;
use crate::id::{BrokerId, CorrelationId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Uuid};
use crate::time::Timestamp;

/// A value that Kafka's protocol can carry.
pub trait Wire: Sized {
    /// The fewest bytes that any value takes.
    fn least(shape: Shape) -> usize;

    /// Reads one, in the reader's form.
    fn read(r: &mut Reader) -> Result<Self, Malformed>;

    /// Writes this one, in the writer's form.
    fn write(&self, w: &mut Writer);
}

/// A value that can be null. A table is null as one byte, −1 instead of 1 (KIP-893), or 0 where it is a
/// tagged field; what has a length is null as length −1.
pub trait Nullable: Wire + Default {
    /// The fewest bytes that null or a value takes.
    fn least_nullable(_: Shape) -> usize {
        1
    }

    /// Reads one, or null.
    fn read_nullable(r: &mut Reader) -> Result<Option<Self>, Malformed> {
        if i8::read(r)? <= 0 { Ok(None) } else { Self::read(r).map(Some) }
    }

    /// Writes null, or what goes before a value that is not null.
    fn write_presence(present: bool, w: &mut Writer) {
        let null = if w.in_tag() { 0 } else { -1 };
        if present { 1_i8 } else { null }.write(w);
    }

    /// Writes null, where its form has a way to.
    fn write_null(w: &mut Writer) {
        Self::write_presence(false, w);
    }
}

impl<T: Nullable> Wire for Option<T> {
    fn least(shape: Shape) -> usize {
        T::least_nullable(shape)
    }

    fn read(r: &mut Reader) -> Result<Self, Malformed> {
        T::read_nullable(r)
    }

    fn write(&self, w: &mut Writer) {
        let Some(value) = self else { return T::write_null(w) };
        T::write_presence(true, w);
        value.write(w);
    }
}

/// Reads a field that only some versions allow to be null.
pub(crate) fn read_maybe_null<T: Nullable>(r: &mut Reader, allowed: bool) -> Result<Option<T>, Malformed> {
    if allowed { T::read_nullable(r) } else { T::read(r).map(Some) }
}

/// Writes a field that only some versions allow to be null; in the others null becomes the empty value.
pub(crate) fn write_maybe_null<T: Nullable>(value: &Option<T>, w: &mut Writer, allowed: bool) {
    match value {
        None if !allowed => T::default().write(w),
        Some(value) if !allowed => value.write(w),
        None | Some(_) => value.write(w),
    }
}

macro_rules! numbers {
    ($($type:ident),*) => {$(
        impl Wire for $type {
            #[inline]
            fn least(_: Shape) -> usize {
                size_of::<Self>()
            }

            #[inline]
            fn read(r: &mut Reader) -> Result<Self, Malformed> {
                r.array().map(Self::from_be_bytes)
            }

            #[inline]
            fn write(&self, w: &mut Writer) {
                w.put(&self.to_be_bytes());
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64, u16, u32);

macro_rules! newtypes {
    ($($type:ident($inner:ty)),*) => {$(
        impl Wire for $type {
            #[inline]
            fn least(shape: Shape) -> usize {
                <$inner as Wire>::least(shape)
            }

            #[inline]
            fn read(r: &mut Reader) -> Result<Self, Malformed> {
                Wire::read(r).map(Self)
            }

            #[inline]
            fn write(&self, w: &mut Writer) {
                self.0.write(w);
            }
        }
    )*};
}

newtypes!(BrokerId(i32), CorrelationId(i32), ErrorCode(i16), LeaderEpoch(i32), Offset(i64), PartitionIndex(i32));
newtypes!(ProducerEpoch(i16), ProducerId(i64), Sequence(i32), Timestamp(i64));

impl Wire for bool {
    fn least(_: Shape) -> usize {
        1
    }

    fn read(r: &mut Reader) -> Result<Self, Malformed> {
        Ok(i8::read(r)? != 0)
    }

    fn write(&self, w: &mut Writer) {
        w.put(&[u8::from(*self)]);
    }
}

impl Wire for Uuid {
    fn least(_: Shape) -> usize {
        16
    }

    fn read(r: &mut Reader) -> Result<Self, Malformed> {
        r.array().map(Self)
    }

    fn write(&self, w: &mut Writer) {
        w.put(&self.0);
    }
}

/// What has a length before it: null is a length.
macro_rules! with_length {
    ($type:ty $(, $t:ident)?; $classic:ident, $shape:ident) => {
        impl$(<$t: Wire>)? Wire for $type {
            fn least(shape: Shape) -> usize {
                <Self as Nullable>::least_nullable(shape)
            }

            fn read(r: &mut Reader) -> Result<Self, Malformed> {
                Self::read_nullable(r)?.ok_or_else(|| r.malformed("null where there must be a value"))
            }

            fn write(&self, w: &mut Writer) {
                w.length(Some(self.len()), $classic::put);
                self.write_content(w);
            }
        }

        impl$(<$t: Wire>)? Nullable for $type {
            fn least_nullable(shape: Shape) -> usize {
                if shape.flexible { 1 } else { size_of::<$shape>() }
            }

            fn read_nullable(r: &mut Reader) -> Result<Option<Self>, Malformed> {
                match r.length($classic::get)? {
                    None => Ok(None),
                    Some(len) => Self::read_content(r, len).map(Some),
                }
            }

            fn write_presence(_: bool, _: &mut Writer) {}

            fn write_null(w: &mut Writer) {
                w.length(None, $classic::put);
            }
        }
    };
}

with_length!(String; short, i16);
with_length!(Bytes; long, i32);
with_length!(Records; long, i32);
with_length!(Vec<T>, T; long, i32);

/// Lengths of strings in old versions.
mod short {
    use super::{Malformed, Reader, Wire, Writer};

    pub(super) fn get(r: &mut Reader) -> Result<i32, Malformed> {
        i16::read(r).map(i32::from)
    }

    pub(super) fn put(w: &mut Writer, length: i32) {
        i16::try_from(length).expect("a string is shorter than 32 KiB").write(w);
    }
}

/// Lengths of everything else in old versions.
mod long {
    use super::{Malformed, Reader, Wire, Writer};

    pub(super) fn get(r: &mut Reader) -> Result<i32, Malformed> {
        i32::read(r)
    }

    pub(super) fn put(w: &mut Writer, length: i32) {
        length.write(w);
    }
}

/// What follows a length.
trait Content: Sized {
    fn read_content(r: &mut Reader, len: usize) -> Result<Self, Malformed>;
    fn write_content(&self, w: &mut Writer);
}

impl Content for String {
    fn read_content(r: &mut Reader, len: usize) -> Result<Self, Malformed> {
        r.text(len)
    }

    fn write_content(&self, w: &mut Writer) {
        assert!(self.len() <= STRING_MAX, "a string of {} bytes cannot be sent", self.len());
        w.put(self.as_bytes());
    }
}

impl Content for Bytes {
    fn read_content(r: &mut Reader, len: usize) -> Result<Self, Malformed> {
        r.slice(len)
    }

    fn write_content(&self, w: &mut Writer) {
        w.put_shared(self);
    }
}

impl Content for Records {
    fn read_content(r: &mut Reader, len: usize) -> Result<Self, Malformed> {
        let bytes = r.slice(len)?;
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut chunks = r.reserve_one()?;
        chunks.push(Chunk::Bytes(bytes));
        Ok(Self(chunks))
    }

    fn write_content(&self, w: &mut Writer) {
        self.0.iter().for_each(|chunk| w.put_chunk(chunk));
    }
}

impl<T: Wire> Content for Vec<T> {
    fn read_content(r: &mut Reader, len: usize) -> Result<Self, Malformed> {
        let least = T::least(r.shape());
        let mut out = r.reserve(len, least)?;
        for _ in 0..len {
            out.push(T::read(r)?);
        }
        Ok(out)
    }

    fn write_content(&self, w: &mut Writer) {
        self.iter().for_each(|value| value.write(w));
    }
}
