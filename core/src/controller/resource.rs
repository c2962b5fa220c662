//! What can be configured: topics, brokers and what else has settings.

use crate::id::BrokerId;

/// What can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// A topic, by its name.
    Topic,
    /// A broker, by its number; with an empty name all brokers.
    Broker,
    /// The log levels of a broker.
    BrokerLogger,
    /// A subscription to clients' metrics.
    ClientMetrics,
    /// A group, by its id.
    Group,
}

impl ResourceKind {
    /// The kind that the wire numbers `number` (Kafka's `ConfigResource.Type`).
    #[must_use]
    pub fn of(number: i8) -> Option<Self> {
        Some(match number {
            2 => Self::Topic,
            4 => Self::Broker,
            8 => Self::BrokerLogger,
            16 => Self::ClientMetrics,
            32 => Self::Group,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub fn wire(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }
}

/// Something that can be configured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// Of which kind.
    pub kind: ResourceKind,
    /// Which; empty for the default of all brokers.
    pub name: String,
}

impl Resource {
    /// The topic `name`.
    #[must_use]
    pub fn topic(name: &str) -> Self {
        Self { kind: ResourceKind::Topic, name: name.to_owned() }
    }

    /// The broker `id`.
    #[must_use]
    pub fn broker(id: BrokerId) -> Self {
        Self { kind: ResourceKind::Broker, name: id.to_string() }
    }

    /// What holds for all brokers.
    #[must_use]
    pub fn all_brokers() -> Self {
        Self { kind: ResourceKind::Broker, name: String::new() }
    }
}
