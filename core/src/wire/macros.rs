//! `message!`: one table is one message of Kafka's protocol. It becomes plain structs, and their reading and writing in every version.
//!
//! ```text
//! message! {
//!     /// What it is for.
//!     FetchPartition {
//!         partition: PartitionIndex = ..,                                 in every version
//!         current_leader_epoch: LeaderEpoch = 9..; default LeaderEpoch(-1),   from version 9; what a reader of older ones sees
//!         replica_directory_id: Uuid = 17..; tag 0,                       a tagged field (KIP-482), written unless it has its default
//!         topics: Option<Vec<Topic>> = ..; null 1..,                      null is allowed from version 1 (without `null`: always)
//!     }
//! }
//! ```
//!
//! Names, versions and defaults are those of Kafka's schemas; `null`, `tag` and `default` stand in this order. Without `default` it is Rust's:
//! zero, empty, or null (where Kafka's schema has an empty value instead, the table says `default Some(…)`).
//! A table knows neither its range of versions nor which are flexible: that is said once, in `apis!`.
//!
//! **A field that a version lacks is not written, whatever it holds.** Kafka refuses to write some of those (its fields that are not "ignorable").
//! Here the decision to speak a version is its author's, so that a test asks instead: `assert_eq!(decode(encode(m, v)), m)` fails where something was lost.

macro_rules! message {
    ($(
        $(#[$doc:meta])*
        $name:ident {$(
            $field:ident : $type:ty = $versions:expr $(; null $null:expr)? $(; tag $tag:literal)? $(; default $default:expr)?
        ),* $(,)?}
    )+) => {$(
        $(#[$doc])*
        // Fields are named and explained by Kafka's schemas.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name {
            $(pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::wire::macros::default_of!($($default)?),)* }
            }
        }

        impl $crate::wire::value::Wire for $name {
            #[allow(unused_mut)]
            fn least(shape: $crate::wire::primitive::Shape) -> usize {
                let mut least = usize::from(shape.flexible);
                $($crate::wire::macros::untagged!([$($tag)?] {
                    if std::ops::RangeBounds::contains(&($versions), &shape.version) {
                        least += <$type as $crate::wire::value::Wire>::least(shape);
                    }
                });)*
                least
            }

            #[allow(unused_variables, unused_mut)]
            fn read(r: &mut $crate::wire::primitive::Reader) -> Result<Self, $crate::wire::primitive::Malformed> {
                let shape = r.shape();
                let mut it = Self::default();
                $($crate::wire::macros::untagged!([$($tag)?] {
                    if std::ops::RangeBounds::contains(&($versions), &shape.version) {
                        it.$field = $crate::wire::macros::read_field!(r, shape, [$($null)?]);
                    }
                });)*
                if shape.flexible {
                    r.tags(|r, tag| Ok(match tag {
                        $($($tag if std::ops::RangeBounds::contains(&($versions), &shape.version) => {
                            it.$field = $crate::wire::value::Wire::read(r)?;
                            true
                        })?)*
                        _ => false,
                    }))?;
                }
                Ok(it)
            }

            #[allow(unused_variables, unused_mut)]
            fn write(&self, w: &mut $crate::wire::frame::Writer) {
                let shape = w.shape();
                $($crate::wire::macros::untagged!([$($tag)?] {
                    if std::ops::RangeBounds::contains(&($versions), &shape.version) {
                        $crate::wire::macros::write_field!(w, shape, &self.$field, [$($null)?]);
                    }
                });)*
                if shape.flexible {
                    let mut tags = 0;
                    $($crate::wire::macros::tagged!([$($tag)?] {
                        tags += u32::from($crate::wire::macros::is_set!(self.$field, shape, $versions, $type $(, $default)?));
                    });)*
                    w.varint(tags);
                    $($crate::wire::macros::tagged!([$($tag)?] {
                        if $crate::wire::macros::is_set!(self.$field, shape, $versions, $type $(, $default)?) {
                            w.tag([$($tag)?][0], |w| $crate::wire::value::Wire::write(&self.$field, w));
                        }
                    });)*
                }
            }
        }

        impl $crate::wire::value::Nullable for $name {}

        #[cfg(test)]
        impl $crate::wire::arbitrary::Arbitrary for $name {
            #[allow(unused_variables)]
            fn arbitrary(g: &mut $crate::wire::arbitrary::Gen) -> Self {
                Self { $($field: $crate::wire::arbitrary::Arbitrary::arbitrary(g),)* }
            }
        }
    )+};
}

macro_rules! default_of {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

/// Whether a tagged field is written.
macro_rules! is_set {
    ($field:expr, $shape:ident, $versions:expr, $type:ty) => {
        std::ops::RangeBounds::contains(&($versions), &$shape.version) && $field != <$type>::default()
    };
    ($field:expr, $shape:ident, $versions:expr, $type:ty, $default:expr) => {
        std::ops::RangeBounds::contains(&($versions), &$shape.version) && $field != $default
    };
}

macro_rules! untagged {
    ([] $body:block) => {
        $body
    };
    ([$tag:literal] $body:block) => {};
}

macro_rules! tagged {
    ([] $body:block) => {};
    ([$tag:literal] $body:block) => {
        $body
    };
}

macro_rules! read_field {
    ($r:ident, $shape:ident, []) => {
        $crate::wire::value::Wire::read($r)?
    };
    ($r:ident, $shape:ident, [$null:expr]) => {
        $crate::wire::value::read_maybe_null($r, std::ops::RangeBounds::contains(&($null), &$shape.version))?
    };
}

macro_rules! write_field {
    ($w:ident, $shape:ident, $value:expr, []) => {
        $crate::wire::value::Wire::write($value, $w)
    };
    ($w:ident, $shape:ident, $value:expr, [$null:expr]) => {
        $crate::wire::value::write_maybe_null($value, $w, std::ops::RangeBounds::contains(&($null), &$shape.version))
    };
}

pub(crate) use {default_of, is_set, message, read_field, tagged, untagged, write_field};
