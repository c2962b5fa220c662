//! Random values of every type that a `message!` table can hold, for tests.

use bytes::Bytes;
use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::frame::Records;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Uuid};
use crate::time::Timestamp;

/// Where random values come from.
pub(crate) struct Gen(ChaCha8Rng);

impl Gen {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    /// Mostly short, now and then past the border of one-byte varints, rarely past that of copying.
    fn len(&mut self) -> usize {
        match self.below(40) {
            0 => 1100 + self.below(900),
            1 | 2 => 120 + self.below(20),
            _ => self.below(6),
        }
    }
}

pub(crate) trait Arbitrary: Sized {
    fn arbitrary(g: &mut Gen) -> Self;
}

macro_rules! numbers {
    ($($type:ident),*) => {$(
        impl Arbitrary for $type {
            fn arbitrary(g: &mut Gen) -> Self {
                [0, 1, Self::MAX, Self::MIN, g.0.random(), g.0.random()][g.below(6)]
            }
        }
    )*};
}

numbers!(i8, i16, i32, i64, u16, u32);

macro_rules! newtypes {
    ($($type:ident),*) => {$(
        impl Arbitrary for $type {
            fn arbitrary(g: &mut Gen) -> Self {
                Self(Arbitrary::arbitrary(g))
            }
        }
    )*};
}

newtypes!(BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp);

impl Arbitrary for bool {
    fn arbitrary(g: &mut Gen) -> Self {
        g.0.random()
    }
}

impl Arbitrary for Uuid {
    fn arbitrary(g: &mut Gen) -> Self {
        if g.below(4) == 0 { Self::ZERO } else { Self(g.0.random()) }
    }
}

impl Arbitrary for String {
    fn arbitrary(g: &mut Gen) -> Self {
        (0..g.len()).map(|_| ['a', 'Z', '0', '-', '\0', 'é', '한', '🦀'][g.below(8)]).collect()
    }
}

impl Arbitrary for Bytes {
    fn arbitrary(g: &mut Gen) -> Self {
        (0..g.len()).map(|_| g.0.random::<u8>()).collect()
    }
}

impl Arbitrary for Records {
    fn arbitrary(g: &mut Gen) -> Self {
        Bytes::arbitrary(g).into()
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(g: &mut Gen) -> Self {
        (0..g.below(4)).map(|_| T::arbitrary(g)).collect()
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(g: &mut Gen) -> Self {
        (g.below(4) != 0).then(|| T::arbitrary(g))
    }
}
