//! Configuration as Kafka names it: which keys there are, which values they take, and which of several layers decides.
//!
//! Never reads a file or the environment: the node does that, and gives the broker a [`BrokerConfig`].

pub mod broker;
mod broker_keys;
pub mod consumer_groups;
pub mod dynamic;
pub mod key;
pub mod known;
pub mod layers;
pub mod quorum;
pub mod topic;
mod topic_keys;

pub use broker::{BrokerConfig, Durability, Endpoint, LogDir};
pub use consumer_groups::ConsumerGroups;
pub use key::{Key, Kind, Valid, Value};
pub use known::{Class, class};
pub use layers::{Layers, Source, Synonym};
pub use quorum::{QuorumConfig, Roles};
pub use topic::TopicConfig;

/// The properties of one resource that somebody set, by name.
pub type Properties = std::collections::BTreeMap<String, String>;
