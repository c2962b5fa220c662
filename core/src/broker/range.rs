//! A follower whose end its leader does not hold (`OFFSET_OUT_OF_RANGE`): the leader has deleted what it lacks, or was elected without it. It asks
//! where the leader's log begins and ends, and goes on from there (Kafka's `AbstractFetcherThread.fetchOffsetAndTruncate`).
//!
//! Begin and end are asked for one after the other by one connection. Within one leadership both only grow, and the leader refuses those who ask in
//! another one: so "below the begin" and "behind the end" stay true, though other records were written or deleted between the two answers.

use super::calls::Asker;
use super::io::{Lane, Unreachable};
use super::{Broker, ms};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::partition::follower::Astray;
use crate::partition::{PartitionId, Shape};
use crate::probe;
use crate::time::Timestamp;
use crate::wire::Response;
use crate::wire::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use crate::wire::batch::Batch;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long an answer may take beyond that of the fetch before it.
const TIMEOUT: Duration = Duration::from_secs(5);
const EARLIEST: Timestamp = Timestamp(-2);
const LATEST: Timestamp = Timestamp(-1);

/// Partitions of one leader that lost their way there.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    waiting: BTreeSet<PartitionId>,
    /// Those asked for: in which leadership, and where the leader's log begins, once that is told.
    asked: BTreeMap<PartitionId, (LeaderEpoch, Option<Offset>)>,
    /// Answers that are not back.
    open: u8,
}

impl Lost {
    /// Not fetched meanwhile.
    pub(super) fn holds(&self, id: &PartitionId) -> bool {
        self.waiting.contains(id) || self.asked.contains_key(id)
    }

    pub(super) fn forget(&mut self, id: &PartitionId) {
        self.waiting.remove(id);
        self.asked.remove(id);
    }
}

impl Broker {
    /// The leader does not hold our end.
    pub(super) fn out_of_range(&mut self, leader: BrokerId, id: PartitionId) {
        probe!("a follower's offset is out of its leader's range");
        if let Some(fetcher) = self.fetchers.get_mut(&leader) {
            fetcher.unsay(id);
            fetcher.lost.waiting.insert(id);
        }
    }

    /// Asks for both ends of all partitions that lost their way, unless an answer is still out.
    pub(super) fn ask_ends(&mut self, leader: BrokerId) {
        let Some(fetcher) = self.fetchers.get_mut(&leader) else { return };
        if fetcher.lost.open > 0 || fetcher.lost.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut fetcher.lost.waiting);
        let asked: Vec<(PartitionId, LeaderEpoch)> =
            waiting.into_iter().filter_map(|id| Some((id, self.partitions.get(&id)?.follower()?.epoch))).collect();
        let Some(peer) = self.replica_peer(leader, Lane::Replica) else {
            return asked.into_iter().for_each(|(id, _)| self.rest(leader, id));
        };
        let questions = [(EARLIEST, Asker::Begins(leader)), (LATEST, Asker::Ends(leader))];
        let lost = &mut self.fetchers.get_mut(&leader).expect("looked at above").lost;
        lost.asked = asked.iter().map(|(id, epoch)| (*id, (*epoch, None))).collect();
        lost.open = 2;
        let within = ms(self.config.broker.replica_fetch_wait_max_ms.into()) + TIMEOUT;
        for (time, asker) in questions {
            let request = self.ends_wanted(&asked, time);
            self.call(peer.clone(), request.into(), asker, within);
        }
    }

    fn ends_wanted(&self, asked: &[(PartitionId, LeaderEpoch)], timestamp: Timestamp) -> ListOffsetsRequest {
        let mut topics: BTreeMap<String, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (id, epoch) in asked {
            let Some(partition) = self.partitions.get(id) else { continue };
            let wanted = ListOffsetsPartition { partition_index: id.index, current_leader_epoch: *epoch, timestamp };
            topics.entry(partition.topic.to_string()).or_default().push(wanted);
        }
        ListOffsetsRequest {
            replica_id: self.config.broker.id,
            topics: topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name, partitions }).collect(),
            ..Default::default()
        }
    }

    /// The leader said where its logs begin, or did not.
    pub(super) fn begins_told(&mut self, leader: BrokerId, outcome: Result<Response, Unreachable>) {
        let told = self.told(outcome);
        let Some(fetcher) = self.fetchers.get_mut(&leader) else { return };
        fetcher.lost.open -= 1;
        for (id, begin) in told {
            if let Some((_, known)) = fetcher.lost.asked.get_mut(&id) {
                *known = Some(begin);
            }
        }
    }

    /// The leader said where its logs end, or did not: those of which both ends are known find their way.
    pub(super) fn ends_told(&mut self, leader: BrokerId, outcome: Result<Response, Unreachable>) {
        let told = self.told(outcome);
        let Some(fetcher) = self.fetchers.get_mut(&leader) else { return };
        fetcher.lost.open -= 1;
        let asked = std::mem::take(&mut fetcher.lost.asked);
        for (id, (epoch, begin)) in asked {
            match begin.zip(told.get(&id)) {
                Some((begin, end)) => self.find_way(leader, id, epoch, begin..*end),
                None => self.rest(leader, id),
            }
        }
        self.ask_ends(leader);
        self.fetch_next(leader);
    }

    /// What was told of which partition; what was refused is left out.
    fn told(&self, outcome: Result<Response, Unreachable>) -> BTreeMap<PartitionId, Offset> {
        let Ok(Response::ListOffsets(ListOffsetsResponse { topics, .. })) = outcome else { return BTreeMap::new() };
        let is_told = |p: &&ListOffsetsPartitionResponse| p.error_code == ErrorCode::NONE && p.offset >= Offset::ZERO;
        let of_topic = |name: &str| self.names.get(name).copied();
        let topics = topics.iter().filter_map(|topic| Some((of_topic(&topic.name)?, &topic.partitions)));
        let all = topics.flat_map(|(topic, partitions)| {
            partitions.iter().filter(is_told).map(move |p| (PartitionId { topic, index: p.partition_index }, p.offset))
        });
        all.collect()
    }

    fn find_way(&mut self, leader: BrokerId, id: PartitionId, epoch: LeaderEpoch, held: std::ops::Range<Offset>) {
        let Some(follower) = self.partitions.get(&id).and_then(|p| p.follower()) else { return };
        if (follower.leader, follower.epoch) != (Some(leader), epoch) {
            return;
        }
        match follower.astray(&held) {
            Astray::Begin(at) => {
                probe!("a follower begins anew where its leader's log begins");
                self.restart(id, at);
            }
            Astray::Cut(to) => {
                probe!("a follower's log ends behind its leader's");
                self.cut(id, to);
            }
            Astray::Fetch => {
                probe!("a leader's log has reached its follower's end");
                self.rest(leader, id);
            }
        }
    }

    /// The leader's log begins within `first`, of which the follower has nothing: its own must begin with that batch as a whole. It is kept until there is a
    /// log that takes it, since the leader gives nothing to whoever asks for offsets below its start. (Kafka: `UnexpectedAppendOffsetException`.)
    pub(super) fn begin_with(&mut self, id: PartitionId, first: &Batch) {
        probe!("a follower begins with a batch in which its leader's log begins");
        if let Some(partition) = self.partitions.get_mut(&id) {
            partition.first = Some(first.clone());
            self.restart(id, first.header().base_offset);
        }
    }

    /// Drops a follower's whole log: it begins where the leader's does. Everything below was committed, and then deleted.
    pub(super) fn restart(&mut self, id: PartitionId, at: Offset) {
        let Some(log) = self.partitions.get(&id).map(|p| p.log) else { return };
        self.tell_restart(id, at);
        if self.step_down(id).is_none() {
            return;
        }
        let partition = self.partitions.get_mut(&id).expect("looked at above");
        partition.high = at;
        partition.life += 1;
        self.tails.forget(log);
        self.shape(id, Shape::Restart { at });
    }
}
