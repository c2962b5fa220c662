//! What a broker shows of itself: for invariants over several nodes, and whoever else only looks.

use super::Broker;
use super::boot::{METADATA, Phase};
use crate::controller::Image;
use crate::id::{BrokerId, DirId, LeaderEpoch, LogId, Offset, Uuid};
use crate::log::Log;
use crate::partition::{Partition, PartitionId};
use crate::quorum::{Quorum, Voters};

/// A look at a broker.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    broker: &'a Broker,
}

impl Broker {
    /// A look at everything that may be seen from outside.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { broker: self }
    }
}

impl<'a> View<'a> {
    /// The metadata log's name among the partitions.
    pub const METADATA: PartitionId = METADATA;

    /// Which broker it is.
    #[must_use]
    pub fn id(&self) -> BrokerId {
        self.broker.config.broker.id
    }

    /// Every replica that lies here, that of the metadata log among them.
    pub fn partitions(&self) -> impl Iterator<Item = &'a Partition> + use<'a> {
        self.broker.partitions.values()
    }

    /// The replicas that may have changed since all that had were looked at (`Broker::forget_touched`), and those that are about to lie elsewhere.
    #[must_use]
    pub fn touched(&self) -> Vec<&'a Partition> {
        let mut all = self.broker.partitions.touched();
        all.extend(self.broker.moving().filter(|partition| !all.iter().any(|known| known.id == partition.id)).collect::<Vec<_>>());
        all
    }

    /// The replica whose log has this handle.
    #[must_use]
    pub fn by_log(&self, log: LogId) -> Option<&'a Partition> {
        self.partitions().find(|partition| partition.log == log)
    }

    /// The log of a replica, while it is open, or about to be replaced by its copy in another directory.
    #[must_use]
    pub fn log(&self, partition: &'a Partition) -> Option<&'a Log> {
        partition.open_log().or_else(|| self.broker.replaced_log(partition.id))
    }

    /// The metadata that counts here.
    #[must_use]
    pub fn image(&self) -> &'a Image {
        self.broker.image()
    }

    /// Up to where it holds the metadata log.
    #[must_use]
    pub fn applied(&self) -> Offset {
        self.broker.admin.controller.applied()
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn is_on_its_way_down(&self) -> bool {
        self.broker.phase == Phase::Stopping || self.broker.life.is_leaving
    }

    /// Which process it is, as it registers.
    #[must_use]
    pub fn incarnation(&self) -> Uuid {
        self.broker.life.incarnation
    }

    /// Its registration, once it knows it.
    #[must_use]
    pub fn broker_epoch(&self) -> Option<i64> {
        self.broker.life.epoch
    }

    /// Whether a replica has moved to that directory, and lies elsewhere as far as the metadata tell here.
    #[must_use]
    pub fn has_moved_untold(&self, dir: DirId) -> bool {
        let dirs = &self.broker.config.broker.dirs;
        let told = |id| self.image().partition(id).and_then(|decided| decided.directory(self.id()));
        let is_elsewhere = |told| dirs[usize::from(dir.0)].id != told && dirs.iter().any(|known| known.id == told);
        self.partitions().any(|p| p.dir == dir && p.open_log().is_some() && told(p.id).is_some_and(is_elsewhere))
    }

    /// The replicas whose logs lie in that directory, or may do so when the next process starts.
    pub fn held_in(&self, dir: DirId) -> impl Iterator<Item = PartitionId> + use<'a> {
        let (broker, lies) = (self.broker, move |p: &&Partition| p.dir == dir);
        broker.partitions.values().filter(lies).map(|p| p.id).chain(broker.switching_to(dir))
    }

    /// The voters of the metadata quorum, as its log has them.
    #[must_use]
    pub fn quorum_voters(&self) -> Option<&'a Voters> {
        self.broker.quorum.as_ref().map(Quorum::voters)
    }

    /// The epoch in which it leads the metadata quorum, if it does.
    #[must_use]
    pub fn quorum_led(&self) -> Option<LeaderEpoch> {
        self.broker.quorum.as_ref().filter(|quorum| quorum.is_leader()).map(Quorum::epoch)
    }
}
