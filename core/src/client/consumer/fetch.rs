//! Reading: one fetch at a time to each leader, or replica nearby that the leader named (KIP-392), for all partitions that have room, and handing out what an application asked for.
//!
//! Every fetch is a full one (no fetch session, KIP-227): what it asks for is in it.

use std::collections::BTreeMap;

use super::{Consumer, Event, Isolation, Note, Place};
use crate::client::TopicPartition;
use crate::client::links::Peer;
use crate::client::versions::Versions;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, ProducerId};
use crate::probe;
use crate::time::Instant;
use crate::wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use crate::wire::batch::Batch;
use crate::wire::record::Record;
use crate::wire::{Request, Response};

/// What to ask one replica for.
type Asked = BTreeMap<TopicPartition, (Offset, LeaderEpoch)>;

impl Consumer {
    /// Sends a fetch to each leader, or preferred replica, that has something we want and is not answering one already.
    pub(super) fn fetch(&mut self, now: Instant) {
        let enough = usize::try_from(self.config.partition_max_bytes).unwrap_or(0) / 2;
        let mut by_replica: BTreeMap<BrokerId, Asked> = BTreeMap::new();
        // Somebody leads nothing, or a preferred replica is not known any more: look again.
        let (mut leaderless, mut strayed) = (false, false);
        for (part, state) in &self.parts {
            let Some(next) = state.wants(now, enough.max(1)) else { continue };
            match self.cluster.metadata().leader(part) {
                Some((leader, epoch)) => {
                    let nearer = state.preferred.filter(|(_, until)| now < *until).map(|(replica, _)| replica);
                    let known = nearer.filter(|replica| self.cluster.metadata().brokers().contains_key(replica));
                    strayed |= nearer.is_some() && known.is_none();
                    by_replica.entry(known.unwrap_or(leader)).or_default().insert(part.clone(), (next, epoch));
                }
                None => leaderless = true,
            }
        }
        if leaderless || strayed {
            self.cluster.invalidate();
        }
        for (replica, asked) in by_replica {
            if !self.fetching.contains(&replica) {
                self.fetch_from(now, replica, &asked);
            }
        }
    }

    fn fetch_from(&mut self, now: Instant, replica: BrokerId, asked: &Asked) {
        let peer = Peer::Broker(replica);
        let Some(Ok(version)) = self.cluster.ready(now, peer, Versions::FETCH) else { return };
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (part, (offset, epoch)) in asked {
            if topics.last().is_none_or(|topic| *topic.topic != *part.topic) {
                topics.push(FetchTopic { topic: part.topic.to_string(), ..Default::default() });
            }
            let partition = FetchPartition {
                partition: part.partition,
                current_leader_epoch: *epoch,
                fetch_offset: *offset,
                partition_max_bytes: self.config.partition_max_bytes,
                ..Default::default()
            };
            topics.last_mut().expect("one was just pushed").partitions.push(partition);
        }
        let request = FetchRequest {
            max_wait_ms: i32::try_from(self.config.fetch_max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: self.config.fetch_min_bytes,
            max_bytes: self.config.fetch_max_bytes,
            isolation_level: i8::from(self.config.isolation == Isolation::ReadCommitted),
            rack_id: self.config.rack.clone(),
            topics,
            ..Default::default()
        };
        self.fetching.insert(replica);
        let asked = asked.iter().map(|(part, (offset, _))| (part.clone(), *offset)).collect();
        self.cluster.send(now, peer, version, Request::Fetch(request), self.config.fetch_max_wait, Note::Fetch { broker: replica, asked });
    }

    pub(super) fn fetched(&mut self, now: Instant, broker: BrokerId, asked: &BTreeMap<TopicPartition, Offset>, response: &Response) {
        self.fetching.remove(&broker);
        let Response::Fetch(response) = response else { return };
        if response.error_code != ErrorCode::NONE {
            for part in asked.keys() {
                self.back_to_leader(part);
                self.rest(now, part);
            }
            return;
        }
        for topic in &response.responses {
            for data in &topic.partitions {
                let part = TopicPartition { topic: topic.topic.as_str().into(), partition: data.partition_index };
                let Some((part, from)) = asked.get_key_value(&part) else { continue };
                self.fetched_part(now, part, *from, data);
            }
        }
    }

    fn fetched_part(&mut self, now: Instant, part: &TopicPartition, from: Offset, data: &PartitionData) {
        let Some(state) = self.parts.get_mut(part) else { return };
        if data.error_code == ErrorCode::OFFSET_OUT_OF_RANGE {
            if state.place != (Place::At { next: from }) {
                return;
            }
            // A follower may lag, or have begun anew: what the log holds, its leader says.
            if self.back_to_leader(part) {
                probe!("consumer: a follower does not hold the position, its leader is asked");
                return;
            }
            let Some(state) = self.parts.get_mut(part) else { return };
            if state.has_records() {
                // What was fetched before can still be handed on; it will be asked for again after that.
                return self.rest(now, part);
            }
            probe!("consumer: the position is outside of the log");
            return self.reset(part);
        }
        if data.error_code != ErrorCode::NONE {
            // Another leader, or another epoch, or a broker in trouble: look again, after a pause, or at once at the leader that is named (KIP-951).
            self.cluster.invalidate();
            self.back_to_leader(part);
            let leader = (data.current_leader.leader_id, data.current_leader.leader_epoch);
            let is_led_elsewhere = matches!(data.error_code, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH);
            if is_led_elsewhere && self.cluster.told(part, leader, None) {
                probe!("consumer: a broker that leads no more names who does");
                return;
            }
            return self.rest(now, part);
        }
        if data.preferred_read_replica.0 >= 0 {
            probe!("consumer: a replica nearby is read from");
            state.preferred = Some((data.preferred_read_replica, now.after(self.config.common.metadata_max_age)));
        }
        state.high = Some(data.high_watermark);
        let bytes = data.records.as_ref().and_then(|records| records.bytes()).unwrap_or_default();
        let aborted = data.aborted_transactions.iter().flatten().map(|aborted| (aborted.first_offset, aborted.producer_id));
        let mut aborted: Vec<(Offset, ProducerId)> = aborted.collect();
        aborted.sort_unstable();
        match Batch::all(&bytes) {
            Ok(batches) if batches.is_empty() && !bytes.is_empty() => self.corrupt(part),
            Ok(batches) if !follow_each_other(&batches, data.high_watermark) => self.corrupt(part),
            Ok(batches) => state.fetched(from, batches, aborted),
            Err(_) if state.has_records() => self.rest(now, part),
            Err(_) => self.corrupt(part),
        }
    }

    /// Reads from the leader again. Answers whether it read from another replica.
    pub(super) fn back_to_leader(&mut self, part: &TopicPartition) -> bool {
        let was_away = self.parts.get_mut(part).is_some_and(|state| state.preferred.take().is_some());
        if was_away {
            probe!("consumer: a replica nearby is left for its leader");
        }
        was_away
    }

    /// Leaves a partition alone for a while.
    fn rest(&mut self, now: Instant, part: &TopicPartition) {
        let Some(state) = self.parts.get_mut(part) else { return };
        state.failures += 1;
        state.resting = now.after(self.config.common.retry_backoff.after(state.failures, self.cluster.rng()));
    }

    fn corrupt(&mut self, part: &TopicPartition) {
        probe!("consumer: records that cannot be read");
        let Some(state) = self.parts.get_mut(part) else { return };
        let at = state.delivered.unwrap_or(Offset::UNKNOWN);
        state.go(Place::Nowhere);
        self.events.push_back(Event::Corrupt { part: part.clone(), at });
    }

    /// Answers a `Poll`, if it can be answered.
    pub(super) fn hand_out(&mut self, now: Instant) {
        let Some(max) = self.demand else { return };
        let ready: Vec<TopicPartition> = self.parts.iter().filter(|(_, state)| state.has_records()).map(|(part, _)| part.clone()).collect();
        let from = self.turn.as_ref().map_or(0, |turn| ready.partition_point(|part| part <= turn));
        let mut records: Vec<(TopicPartition, Vec<Record>)> = Vec::new();
        let mut left = max;
        for part in ready[from..].iter().chain(&ready[..from]) {
            if left == 0 {
                break;
            }
            let state = self.parts.get_mut(part).expect("it is ready");
            match state.read(left, self.config.decompressed_max_bytes, self.config.isolation) {
                Ok(some) if some.is_empty() => {}
                Ok(some) => {
                    left -= some.len();
                    records.push((part.clone(), some));
                    self.turn = Some(part.clone());
                }
                Err(_) => self.corrupt(part),
            }
        }
        if !records.is_empty() {
            self.demand = None;
            self.busy = Some(now);
            self.events.push_back(Event::Records { records });
        }
    }
}

/// Whether each batch begins behind the one before, and all end below the high watermark that came with them. No checksum covers where a batch says to
/// begin, and a position that was taken from one that rotted would be committed.
fn follow_each_other(batches: &[Batch], high: Offset) -> bool {
    let headers = || batches.iter().map(Batch::header);
    let ascends = headers().zip(headers().skip(1)).all(|(one, next)| one.next_offset() <= next.base_offset);
    ascends && headers().all(|header| header.base_offset < header.next_offset() && header.next_offset() <= high)
}
