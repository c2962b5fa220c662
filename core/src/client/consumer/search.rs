//! Looking offsets up by time, or at the ends of a log: each leader is asked for all its partitions at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Consumer, Isolation, Note, Place, Target};
use crate::client::TopicPartition;
use crate::client::links::Peer;
use crate::client::versions::Versions;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::probe;
use crate::time::{Instant, Timestamp};
use crate::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic};
use crate::wire::{Request, Response};

impl Consumer {
    pub(super) fn search(&mut self, now: Instant) {
        let mut by_leader: BTreeMap<BrokerId, BTreeMap<TopicPartition, (Target, LeaderEpoch)>> = BTreeMap::new();
        let mut leaderless = false;
        for (part, state) in &self.parts {
            let Place::Search { target, asked: false, from, .. } = state.place else { continue };
            if from > now {
                continue;
            }
            match self.cluster.metadata().leader(part) {
                Some((leader, epoch)) => {
                    by_leader.entry(leader).or_default().insert(part.clone(), (target, epoch));
                }
                None => leaderless = true,
            }
        }
        if leaderless {
            self.cluster.invalidate();
        }
        for (leader, wanted) in by_leader {
            self.search_at(now, leader, &wanted);
        }
    }

    fn search_at(&mut self, now: Instant, leader: BrokerId, wanted: &BTreeMap<TopicPartition, (Target, LeaderEpoch)>) {
        let peer = Peer::Broker(leader);
        let Some(Ok(version)) = self.cluster.ready(now, peer, Versions::LIST_OFFSETS) else { return };
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for (part, (target, epoch)) in wanted {
            if topics.last().is_none_or(|topic| *topic.name != *part.topic) {
                topics.push(ListOffsetsTopic { name: part.topic.to_string(), ..Default::default() });
            }
            let timestamp = match target {
                Target::Earliest => Timestamp(-2),
                Target::Latest => Timestamp(-1),
                Target::At(time) => *time,
                Target::Offset(_) => unreachable!("an offset need not be looked up"),
            };
            let partition = ListOffsetsPartition { partition_index: part.partition, current_leader_epoch: *epoch, timestamp };
            topics.last_mut().expect("one was just pushed").partitions.push(partition);
            if let Some(Place::Search { asked, .. }) = self.parts.get_mut(part).map(|state| &mut state.place) {
                *asked = true;
            }
        }
        let isolation_level = i8::from(self.config.isolation == Isolation::ReadCommitted);
        let request = ListOffsetsRequest { replica_id: BrokerId(-1), isolation_level, topics, ..Default::default() };
        let asked = wanted.iter().map(|(part, (target, _))| (part.clone(), *target)).collect();
        self.cluster.send(now, peer, version, Request::ListOffsets(request), Duration::ZERO, Note::Search { asked });
    }

    pub(super) fn found(&mut self, now: Instant, asked: &BTreeMap<TopicPartition, Target>, response: Option<&Response>) {
        let mut answers: BTreeMap<TopicPartition, &ListOffsetsPartitionResponse> = BTreeMap::new();
        if let Some(Response::ListOffsets(response)) = response {
            for topic in &response.topics {
                let part =
                    |p: &ListOffsetsPartitionResponse| TopicPartition { topic: topic.name.as_str().into(), partition: p.partition_index };
                answers.extend(topic.partitions.iter().map(|answer| (part(answer), answer)));
            }
        }
        for (part, target) in asked {
            let answer = answers.get(part).filter(|answer| answer.error_code == ErrorCode::NONE).map(|answer| answer.offset);
            self.found_one(now, part, *target, answer);
        }
    }

    fn found_one(&mut self, now: Instant, part: &TopicPartition, asked: Target, answer: Option<Offset>) {
        let Some(state) = self.parts.get_mut(part) else { return };
        // It may have been sent elsewhere in the meantime.
        let Place::Search { target, failures, .. } = state.place else { return };
        if target != asked {
            return;
        }
        match (answer, target) {
            (Some(offset), _) if offset >= Offset::ZERO => state.go(Place::At { next: offset }),
            (Some(_), Target::At(_)) => {
                probe!("consumer: no record is as young as the time sought");
                state.go(super::place(Target::Latest));
            }
            (Some(_) | None, _) => {
                let from = now.after(self.config.common.retry_backoff.after(failures + 1, self.cluster.rng()));
                state.place = Place::Search { target, asked: false, from, failures: failures + 1 };
                self.cluster.invalidate();
            }
        }
    }
}
