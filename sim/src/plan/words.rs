//! How the parts of a plan that are not the simulator's own are written on a tape: by the names that Kafka gives them, and times in nanoseconds.

/// Writes the values of a type by their names.
macro_rules! by_name {
    ($module:ident: $type:ty { $($value:path = $name:literal),* $(,)? }) => {
        pub(crate) mod $module {
            use serde::{Deserialize as _, Deserializer, Serializer};

            pub(crate) fn name(value: $type) -> &'static str {
                match value { $($value => $name),* }
            }

            pub(crate) fn named<E: serde::de::Error>(name: &str) -> Result<$type, E> {
                match name {
                    $($name => Ok($value),)*
                    other => Err(E::unknown_variant(other, &[$($name),*])),
                }
            }

            pub(crate) fn serialize<S: Serializer>(value: &$type, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(name(*value))
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                named(&String::deserialize(from)?)
            }
        }
    };
}

by_name! { durability: klamm_core::config::Durability {
    klamm_core::config::Durability::Fsync = "fsync",
    klamm_core::config::Durability::PageCache = "page-cache",
} }

by_name! { compression: klamm_core::wire::batch::Compression {
    klamm_core::wire::batch::Compression::None = "none",
    klamm_core::wire::batch::Compression::Gzip = "gzip",
    klamm_core::wire::batch::Compression::Snappy = "snappy",
    klamm_core::wire::batch::Compression::Lz4 = "lz4",
    klamm_core::wire::batch::Compression::Zstd = "zstd",
} }

/// Assignors, in the order of a member's wishes.
pub(crate) mod assignors {
    use klamm_core::client::assign::Assignor;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(all: &[Assignor], to: S) -> Result<S::Ok, S::Error> {
        all.iter().map(|assignor| assignor.name()).collect::<Vec<_>>().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Assignor>, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        let named = |name: &String| Assignor::named(name).ok_or_else(|| D::Error::custom(format!("no assignor is called {name}")));
        names.iter().map(named).collect()
    }
}

/// A duration in ns.
pub(crate) mod ns {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

/// A duration in ns, if there is one.
pub(crate) mod maybe_ns {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        value.map(|value| u64::try_from(value.as_nanos()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_nanos))
    }
}
