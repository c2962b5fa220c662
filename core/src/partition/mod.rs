//! One replica of one partition on this broker: what role it plays, and the data of that role.

pub mod leader;
pub mod wait;

use crate::config::Durability;
use crate::config::TopicConfig;
use crate::id::{DirId, LogId, PartitionIndex, Uuid};
use leader::Leader;
use std::sync::Arc;

/// A partition by its topic's identity: a topic that is deleted and created again has other partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// Which topic.
    pub topic: Uuid,
    /// Which of its partitions.
    pub index: PartitionIndex,
}

/// A replica of a partition on this broker.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Which.
    pub id: PartitionId,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's configuration.
    pub config: Arc<TopicConfig>,
    /// Where its log lies.
    pub dir: DirId,
    /// Its log's handle.
    pub log: LogId,
    /// Whose records it holds.
    pub owner: Owner,
    /// What it does now.
    pub role: Role,
}

/// Whose records a partition holds: who is told when its high watermark moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Clients produce to it.
    Clients,
    /// The group coordinator: `__consumer_offsets`.
    Groups,
    /// The controller: `__cluster_metadata`.
    Controller,
}

/// The topic that holds the cluster's metadata; it is not listed among the topics.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
/// The topic that holds groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

impl Owner {
    /// Whose the topic of that name is.
    #[must_use]
    pub fn of(topic: &str) -> Self {
        match topic {
            METADATA_TOPIC => Self::Controller,
            OFFSETS_TOPIC => Self::Groups,
            _ => Self::Clients,
        }
    }

    /// The metadata log is always synced; all others follow `log.durability`.
    #[must_use]
    pub fn durability(self, configured: Durability) -> Durability {
        match self {
            Self::Controller => Durability::Fsync,
            Self::Groups | Self::Clients => configured,
        }
    }
}

/// What a replica does.
#[derive(Clone, Debug)]
pub enum Role {
    /// Its log is being made.
    Creating,
    /// It takes appends and serves reads.
    Leader(Box<Leader>),
    /// Its log cannot be used until the operator has done something.
    Offline {
        /// What happened.
        why: String,
    },
}

impl Partition {
    /// The log's folder.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{}-{}", self.topic, self.id.index)
    }

    /// The leader's data, if this replica leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Creating | Role::Offline { .. } => None,
        }
    }

    /// The leader's data, if this replica leads.
    pub fn leader_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            Role::Creating | Role::Offline { .. } => None,
        }
    }
}
