//! Newtypes for everything that is counted or named. No bare integer crosses a function boundary.

use std::cmp::Ordering;
use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty)),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

ids! {
    /// The position of a record in a partition's log, from 0.
    Offset(i64),
    /// One leadership of one partition; grows by one with each election. −1 where unknown.
    LeaderEpoch(i32),
    /// A node's id, as `node.id` gives it; not negative.
    BrokerId(i32),
    /// A partition's number within its topic, from 0.
    PartitionIndex(i32),
    /// An idempotent producer's identity, given by `InitProducerId`. −1 where there is none.
    ProducerId(i64),
    /// One incarnation of a producer id; a higher one fences the lower. −1 where there is none.
    ProducerEpoch(i16),
    /// A record's number within one producer, epoch and partition. Wraps from `i32::MAX` to 0. −1 where there is none.
    Sequence(i32),
    /// One client connection of a broker, from its opening to its close; never used twice by one process.
    ConnId(u64),
    /// Which listener a connection came in by.
    ListenerId(u16),
    /// A request's number within its connection, as its client chose it.
    CorrelationId(i32),
    /// One incarnation of one log: a topic that is deleted and created again gets a new one. Never used twice by one process.
    LogId(u64),
    /// One of the folders of `log.dirs`, in their order, from 0.
    DirId(u16),
    /// One operation given to the store; never used twice by one process.
    Ticket(u64),
    /// One call to another broker; never used twice by one process.
    CallId(u64),
}

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);
    /// What the wire says where an offset is unknown.
    pub const UNKNOWN: Self = Self(-1);

    /// The offset `records` further on.
    #[must_use]
    pub fn plus(self, records: i64) -> Self {
        Self(self.0 + records)
    }

    /// How many offsets lie between `earlier` and this one.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl ProducerId {
    /// A batch that is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// The sequence `records` further on, with Kafka's wrap from `i32::MAX` to 0.
    #[must_use]
    pub fn plus(self, records: i32) -> Self {
        Self(i32::try_from((i64::from(self.0) + i64::from(records)) % (i64::from(i32::MAX) + 1)).expect("a remainder below 2^31"))
    }
}

/// A 16-byte identity: topic, cluster or directory. Written as Kafka does: URL-safe base64 without padding.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Ord for Uuid {
    // As the bytes are ordered, in two comparisons of words: partitions are looked up by it a hundred thousand times a second in a large cluster.
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for Uuid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Uuid {
    /// All zero: no id.
    pub const ZERO: Self = Self([0; 16]);

    /// The identity that Kafka's text form names: 22 characters of URL-safe base64. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        for (i, c) in text.bytes().enumerate() {
            let digit = u128::from(BASE64.iter().position(|d| *d == c)? as u8);
            // 22 digits hold 132 bits; the last digit's low four are padding.
            bits = if i == 21 { (bits << 2) | (digit >> 4) } else { (bits << 6) | digit };
        }
        Some(Self(bits.to_be_bytes()))
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        for i in 0..22 {
            let digit = if i == 21 { (bits << 4) & 63 } else { (bits >> (122 - 6 * i)) & 63 };
            write!(f, "{}", char::from(BASE64[usize::try_from(digit).expect("six bits")]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_back_what_it_prints() {
        for id in [Uuid::ZERO, Uuid([255; 16]), Uuid(*b"0123456789abcdef")] {
            assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        }
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::parse("too short"), None);
        assert_eq!(Uuid::parse("******************eeee"), None);
    }

    #[test]
    fn a_sequence_wraps_to_zero() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
    }
}
