//! The one way into a log: judge, stamp, hand to the store, and move watermarks when the store is done.

use super::boot::METADATA;
use super::stored::Pending;
use super::{Broker, Token};
use crate::config::topic::TimestampType;
use crate::error::ErrorCode;
use crate::id::Offset;
use crate::log::producers::Verdict;
use crate::log::{Holds, Ops, SmallFile};
use crate::mutant;
use crate::partition::PartitionId;
use crate::partition::leader::ProduceWait;
use crate::store::StoreOp;
use crate::time::Timestamp;
use crate::wire::batch::Batch;

/// Where a batch stands in the log, or stood already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) base: Offset,
    /// The offset behind it: what a watermark must reach before the batch may be acknowledged.
    pub(super) next: Offset,
    /// For append times, and a duplicate's original; else −1.
    pub(super) append_time: Timestamp,
}

impl Broker {
    /// Appends a checked batch to a partition that this broker leads.
    pub(super) fn append(&mut self, id: PartitionId, batch: &Batch) -> Result<Placed, ErrorCode> {
        let wall = self.now.wall;
        let partition = self.partitions.get_mut(&id).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let (config, dir) = (partition.config.clone(), partition.dir);
        let appends_time = config.timestamp_type == TimestampType::Append;
        let leader = partition.leader_mut().ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        if let Verdict::Duplicate { base, last, timestamp } = leader.log.producers().judge(batch.header())? {
            // As Kafka: with the original's time, whoever gave it.
            return Ok(Placed { base, next: last.plus(1), append_time: timestamp });
        }
        let append_time = if appends_time { wall } else { Timestamp::NONE };
        let timed = appends_time.then(|| batch.append_time(wall));
        let mut ops = Ops::default();
        let stamped = leader.log.append(timed.as_ref().unwrap_or(batch), leader.epoch, &config, wall, &mut ops);
        let (log, next) = (leader.log.id(), stamped.header().next_offset());
        let base = stamped.header().base_offset;
        self.tails.push(log, stamped);
        self.carry_out(id, dir, ops);
        if id == METADATA {
            let at = self.now.at;
            self.tell_quorum(|quorum, tail| quorum.appended(at, tail));
        }
        Ok(Placed { base, next, append_time })
    }

    /// Hands a log's operations to the store, and a sync where one is due.
    pub(super) fn carry_out(&mut self, id: PartitionId, dir: crate::id::DirId, ops: Ops) {
        let life = self.partitions.get(&id).map_or(0, |partition| partition.life);
        for op in ops.writes {
            self.store(op, Pending::Write { partition: id, life });
        }
        for SmallFile { name, bytes, holds } in ops.saves {
            let pending = match holds {
                Holds::Epochs => Pending::Epochs { partition: id, life },
                Holds::Producers(at) => Pending::Producers { partition: id, life, at },
            };
            self.store(StoreOp::Save { dir, name, bytes }, pending);
        }
        self.sync_if_due(id);
    }

    /// Under fsync every append is followed by a sync, whatever the acks: what came while one was under way goes with the next.
    pub(super) fn sync_if_due(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (log, life) = (partition.log, partition.life);
        if partition.open_log_mut().is_some_and(crate::log::Log::wants_sync) {
            self.store(StoreOp::Sync { log }, Pending::Sync { partition: id, life });
        }
    }

    /// The store has written up to `end`.
    pub(super) fn wrote(&mut self, id: PartitionId, end: Offset) {
        let Some(log) = self.partitions.get_mut(&id).and_then(|p| p.open_log_mut()) else { return };
        log.wrote(end);
        if mutant!(FlushAckNone) {
            log.synced_to(end);
        }
        if let Some(leader) = self.partitions.get_mut(&id).and_then(|p| p.leader_mut()) {
            let ready = leader.until_written.release(end);
            let fetches: Vec<Token> = leader.replica_fetches.iter().copied().collect();
            ready.into_iter().for_each(|wait| self.produced(wait, ErrorCode::NONE));
            fetches.into_iter().for_each(|token| self.look_again(token));
        }
        self.follower_moved(id);
        self.durable_moved(id);
    }

    /// The store has synced up to `end`.
    pub(super) fn synced(&mut self, id: PartitionId, end: Offset) {
        let Some(log) = self.partitions.get_mut(&id).and_then(|p| p.open_log_mut()) else { return };
        log.synced_to(end);
        self.durable_moved(id);
        self.sync_if_due(id);
    }

    /// The durable end of a log may have moved: it counts for the high watermark, here or at the leader.
    fn durable_moved(&mut self, id: PartitionId) {
        if id == METADATA {
            let at = self.now.at;
            return self.tell_quorum(|quorum, tail| quorum.durable(at, tail));
        }
        self.follower_durable(id);
        self.advance(id);
        self.copy_on(id);
    }

    /// Moves the high watermark as far as the in-sync replicas allow, and releases what waited for it.
    pub(super) fn advance(&mut self, id: PartitionId) {
        let tells_replicas = self.config.broker.is_rack_aware;
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let owner = partition.owner;
        let Some(leader) = partition.leader_mut() else { return };
        let advanced = leader.advance();
        let ready = leader.until_high.release(leader.acknowledged());
        let replicas = leader.replica_fetches.iter().filter(|_| tells_replicas);
        let fetches: Vec<Token> = leader.fetches.iter().chain(replicas).copied().filter(|_| advanced.is_some()).collect();
        ready.into_iter().for_each(|wait| self.produced(wait, ErrorCode::NONE));
        let Some(advanced) = advanced else { return };
        self.high_moved(id, owner, advanced.high);
        fetches.into_iter().for_each(|token| self.look_again(token));
    }

    /// Parks a produce wait until the watermark that its acks name has reached `next`. Returns whether it must wait at all.
    pub(super) fn park(&mut self, id: PartitionId, next: Offset, all: bool, wait: ProduceWait) -> bool {
        let all = all && !mutant!(AckBeforeHw);
        let leader = self.partitions.get_mut(&id).and_then(|p| p.leader_mut()).expect("it has just taken an append");
        let (reached, waits) =
            if all { (leader.acknowledged(), &mut leader.until_high) } else { (leader.log.written(), &mut leader.until_written) };
        if next <= reached {
            return false;
        }
        waits.park(next, wait);
        true
    }
}
