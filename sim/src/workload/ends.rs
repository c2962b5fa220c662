//! Asks every node where logs end, and names the leader epoch that it was told of (KIP-320). What may be answered follows from what was told before,
//! whoever leads by now: an end that was told never goes back in a later epoch (KIP-207), and nobody answers for an epoch that is not its own.

use super::line::Line;
use super::solo::Task;
use super::{Book, key_of, place};
use klamm_core::client::TopicPartition;
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, LeaderEpoch, PartitionIndex};
use klamm_core::rng::Rng;
use klamm_core::time::{Instant, Now, Timestamp};
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic};
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use klamm_core::wire::{Request, Response};
use klamm_jepsen::history::Key;
use rand::Rng as _;
use std::collections::BTreeMap;
use std::time::Duration;

/// The end, as `ListOffsets` names it.
const LATEST: i64 = -1;

/// A question, and what was known when it was sent.
#[derive(Clone, Debug)]
struct Asked {
    key: Key,
    /// The epoch it names; −1: none.
    named: LeaderEpoch,
    /// The ends that had been told, by the epoch of who told them.
    told: BTreeMap<LeaderEpoch, i64>,
}

/// Asks where logs end.
pub struct Ends {
    keys: Vec<Key>,
    think: Duration,
    book: Book,
    rng: Rng,
    next: Instant,
    /// The epochs that this node named in its metadata.
    epochs: BTreeMap<Key, LeaderEpoch>,
    asked: Option<Asked>,
}

impl Ends {
    /// Asks a node about `keys`, and pauses up to `think` between.
    #[must_use]
    pub fn new(keys: Vec<Key>, think: Duration, book: Book, rng: Rng) -> Self {
        Self { keys, think, book, rng, next: Instant::default(), epochs: BTreeMap::new(), asked: None }
    }

    /// None, the newest one heard of from any node, or this node's.
    fn some_epoch(&mut self, key: Key) -> LeaderEpoch {
        let newest = self.book.borrow().ends.get(&key).and_then(|told| told.keys().next_back().copied());
        let own = self.epochs.get(&key).copied();
        match self.rng.random_range(0..3) {
            0 => newest.max(own),
            1 => own,
            _ => None,
        }
        .unwrap_or(LeaderEpoch(-1))
    }

    fn learn(&mut self, response: &MetadataResponse) {
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            for partition in topic.partitions.iter().filter(|partition| partition.error_code == ErrorCode::NONE) {
                if let Some(key) = key_of(&TopicPartition::new(name.as_str(), partition.partition_index.0)) {
                    self.epochs.insert(key, partition.leader_epoch);
                }
            }
        }
    }

    fn answered(&self, asked: &Asked, answer: &ListOffsetsPartitionResponse) -> Result<(), String> {
        if answer.error_code != ErrorCode::NONE {
            return Ok(());
        }
        let (key, epoch, end) = (asked.key, answer.leader_epoch, answer.offset.0);
        if asked.named.0 >= 0 && asked.named != epoch {
            return Err(format!("{key:?}: asked in epoch {} where the log ends, and answered in epoch {epoch}", asked.named));
        }
        if let Some((before, told)) = asked.told.range(..=epoch).find(|(_, told)| **told > end) {
            return Err(format!("{key:?}: the leader of epoch {epoch} tells the end {end}, and {told} was told before in epoch {before}"));
        }
        let mut book = self.book.borrow_mut();
        let told = book.ends.entry(key).or_default().entry(epoch).or_insert(end);
        *told = end.max(*told);
        Ok(())
    }
}

impl Task for Ends {
    fn next(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(self.think.mul_f64(self.rng.random_range(0.1..1.0)));
        let key = self.keys[self.rng.random_range(0..self.keys.len())];
        let (name, partition) = place(key);
        if self.rng.random_ratio(1, 4) {
            let topic = MetadataRequestTopic { name: Some(name), ..Default::default() };
            let request = MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() };
            return line.ask(now, 9, Request::Metadata(request));
        }
        let named = self.some_epoch(key);
        let told = self.book.borrow().ends.get(&key).cloned().unwrap_or_default();
        self.asked = Some(Asked { key, named, told });
        let wanted = ListOffsetsPartition {
            partition_index: PartitionIndex(partition),
            current_leader_epoch: named,
            timestamp: Timestamp(LATEST),
            ..Default::default()
        };
        let topics = vec![ListOffsetsTopic { name, partitions: vec![wanted], ..Default::default() }];
        let request = ListOffsetsRequest { replica_id: BrokerId(-1), topics, ..Default::default() };
        line.ask(now, 7, Request::ListOffsets(request));
    }

    fn hear(&mut self, _: Now, _: &mut Line, response: &Response) {
        let asked = self.asked.take();
        match (response, asked) {
            (Response::Metadata(response), None) => self.learn(response),
            (Response::ListOffsets(response), Some(asked)) => {
                for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
                    if let Err(what) = self.answered(&asked, answer) {
                        self.book.borrow_mut().violations.push(what);
                    }
                }
            }
            _ => {}
        }
    }

    fn lost(&mut self) {
        self.asked = None;
    }
}
