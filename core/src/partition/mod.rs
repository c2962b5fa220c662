//! One replica of one partition on this broker: what role it plays, and the data of that role.

pub mod follower;
pub mod isr;
pub mod leader;
pub mod wait;

use crate::config::Durability;
use crate::config::TopicConfig;
use crate::id::{DirId, LeaderEpoch, LogId, Offset, PartitionIndex, Uuid};
use crate::log::Log;
use crate::mutant;
use crate::time::Instant;
use crate::wire::batch::Batch;
use follower::Follower;
use isr::Isr;
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
    /// Grows when what was given to the store before no longer counts: the log was cut, or is recovered anew.
    pub life: u32,
    /// What was known to be committed when it last played a role.
    pub high: Offset,
    /// A bad batch that was found in its log, which is used nevertheless until another replica is to lead.
    pub damage: Option<Damage>,
    /// How it led last: while its log is opened anew it does not lead, but what it asked the controller for may be granted.
    pub led: Option<Led>,
    /// The batch with which its log is to begin, as soon as that is open.
    pub first: Option<Batch>,
    /// What of its log a full disk refused to do, until that is done.
    pub refused: Option<Shape>,
    /// What it does now.
    pub role: Role,
}

/// A bad batch in a log that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it was found.
    pub at: Offset,
    /// No other live replica had everything then.
    pub is_last: bool,
}

/// What is done to a log as a whole; meanwhile its replica plays no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It is made, empty.
    Create,
    /// It is recovered from its files.
    Reopen,
    /// It is cut.
    Truncate {
        /// Its end is there, or below.
        to: Offset,
    },
    /// All that it holds is dropped.
    Restart {
        /// It begins and ends there.
        at: Offset,
    },
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
    /// Its log is being made, cut or recovered.
    Opening,
    /// It takes appends and serves reads.
    Leader(Box<Leader>),
    /// It fetches what its leader has.
    Follower(Box<Follower>),
    /// Its log cannot be used.
    Offline {
        /// What happened.
        why: String,
        /// What is lost.
        loss: Loss,
    },
}

/// Why a replica is offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// Its log directory, until the operator has done something.
    Directory,
    /// Only its log: a bad batch lies below the recovery point.
    Log,
    /// Nothing: there was no room to do with its log what had to be done. As soon as there is, it is done.
    Room,
    /// Its log, and the controller counts on this replica no longer: it may be filled anew.
    Given,
}

/// What a leader leaves for the time when it leads on in the same epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Led {
    /// In which it led.
    pub epoch: LeaderEpoch,
    /// Who was in sync, and what was proposed of that.
    pub isr: Isr,
    /// When it ceased to.
    pub until: Instant,
}

impl Role {
    /// What is left of it if it ends now.
    #[must_use]
    pub fn led(&self, now: Instant) -> Option<Led> {
        match self {
            Self::Leader(_) if mutant!(LedForgotten) => None,
            Self::Leader(leader) => leader.isr().map(|isr| Led { epoch: leader.epoch, isr: isr.clone(), until: now }),
            Self::Opening | Self::Follower(_) | Self::Offline { .. } => None,
        }
    }
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
            Role::Opening | Role::Follower(_) | Role::Offline { .. } => None,
        }
    }

    /// The leader's data, if this replica leads.
    pub fn leader_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            Role::Opening | Role::Follower(_) | Role::Offline { .. } => None,
        }
    }

    /// The follower's data, if this replica follows.
    #[must_use]
    pub fn follower(&self) -> Option<&Follower> {
        match &self.role {
            Role::Follower(follower) => Some(follower),
            Role::Opening | Role::Leader(_) | Role::Offline { .. } => None,
        }
    }

    /// The follower's data, if this replica follows.
    pub fn follower_mut(&mut self) -> Option<&mut Follower> {
        match &mut self.role {
            Role::Follower(follower) => Some(follower),
            Role::Opening | Role::Leader(_) | Role::Offline { .. } => None,
        }
    }

    /// Its log, while it is open.
    #[must_use]
    pub fn open_log(&self) -> Option<&Log> {
        match &self.role {
            Role::Leader(leader) => Some(&leader.log),
            Role::Follower(follower) => Some(&follower.log),
            Role::Opening | Role::Offline { .. } => None,
        }
    }

    /// Its log, while it is open.
    pub fn open_log_mut(&mut self) -> Option<&mut Log> {
        match &mut self.role {
            Role::Leader(leader) => Some(&mut leader.log),
            Role::Follower(follower) => Some(&mut follower.log),
            Role::Opening | Role::Offline { .. } => None,
        }
    }

    /// Whether its log, which is open, still holds a bad batch that was found in it.
    #[must_use]
    pub fn holds_damage(&self) -> bool {
        self.damage.zip(self.open_log()).is_some_and(|(damage, log)| damage.at >= log.start())
    }

    /// Up to where records are known to be committed.
    #[must_use]
    pub fn high(&self) -> Offset {
        match &self.role {
            Role::Leader(leader) => leader.high(),
            Role::Follower(follower) => follower.high(),
            Role::Opening | Role::Offline { .. } => self.high,
        }
    }
}
