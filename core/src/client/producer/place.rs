//! Where records go: admits them to the buffer, keeps those whose topic is not known yet, and chooses partitions for the others.

use std::collections::VecDeque;

use super::queue::{BatchNo, Queue, Shape};
use super::{NewRecord, Partitioner, Producer, Token, Why};
use crate::client::partitioner::{BuiltIn, Partitions, RoundRobin, UniformSticky, by_key};
use crate::client::{Topic, TopicPartition};
use crate::id::PartitionIndex;
use crate::probe;
use crate::rng::Rng;
use crate::time::{Instant, Now, Timestamp};
use crate::wire::record::{BatchBuilder, Payload};

/// One topic's rule, and the records that wait for news of the topic.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    rule: Rule,
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Debug)]
enum Rule {
    BuiltIn(BuiltIn),
    KeyHash(RoundRobin),
    UniformSticky(UniformSticky),
    RoundRobin(RoundRobin),
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) token: Token,
    serial: u64,
    deadline: Instant,
    partition: Option<PartitionIndex>,
    timestamp: Timestamp,
    payload: Payload,
    bytes: usize,
}

impl Chooser {
    fn new(partitioner: Partitioner, batch_size: usize) -> Self {
        let rule = match partitioner {
            Partitioner::BuiltIn => Rule::BuiltIn(BuiltIn::new(u32::try_from(batch_size).unwrap_or(u32::MAX))),
            Partitioner::KeyHash => Rule::KeyHash(RoundRobin::default()),
            Partitioner::UniformSticky => Rule::UniformSticky(UniformSticky::default()),
            Partitioner::RoundRobin => Rule::RoundRobin(RoundRobin::default()),
        };
        Self { rule, waiting: VecDeque::new() }
    }

    pub(super) fn oldest_waiting(&self) -> Option<u64> {
        self.waiting.front().map(|record| record.serial)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        // Records come in the order of their deadlines.
        self.waiting.front().map(|record| record.deadline)
    }

    pub(super) fn drain(&mut self) -> VecDeque<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    fn choose(&mut self, key: Option<&[u8]>, partitions: Partitions<'_>, rng: &mut Rng) -> PartitionIndex {
        match (&mut self.rule, key) {
            (Rule::BuiltIn(_) | Rule::KeyHash(_), Some(key)) => by_key(key, partitions.count),
            (Rule::BuiltIn(rule), None) => rule.current(partitions, rng),
            (Rule::KeyHash(rule), None) | (Rule::RoundRobin(rule), _) => rule.next(partitions),
            (Rule::UniformSticky(rule), _) => rule.current(partitions, rng),
        }
    }
}

impl Producer {
    /// Takes a record into the buffer. Answers whether there may be something to do now.
    pub(super) fn admit(&mut self, now: Now, record: NewRecord) -> bool {
        let bytes = BatchBuilder::new(self.config.compression, None).bytes_with(&record.payload);
        if bytes > self.config.max_request_size {
            self.reject(record.token, Why::TooLarge);
            return false;
        }
        if bytes > self.room() {
            probe!("producer: the buffer is full");
            self.reject(record.token, Why::BufferFull);
            return false;
        }
        let serial = self.serial;
        self.serial += 1;
        let waiting = Waiting {
            token: record.token,
            serial,
            deadline: now.at.after(self.config.delivery_timeout),
            partition: record.partition,
            timestamp: record.timestamp.unwrap_or(now.wall),
            payload: record.payload,
            bytes,
        };
        self.cluster.want(&record.topic);
        let queue_up = self.topics.get(&record.topic).is_some_and(|chooser| !chooser.waiting.is_empty());
        if queue_up {
            self.wait(&record.topic, waiting);
            return false;
        }
        match self.place(now.at, &record.topic, waiting) {
            Ok(opened) => opened,
            Err(unplaced) => {
                self.wait(&record.topic, *unplaced);
                true
            }
        }
    }

    fn chooser(&mut self, topic: &Topic) -> &mut Chooser {
        let (partitioner, batch_size) = (self.config.partitioner, self.config.batch_size);
        self.topics.entry(Topic::clone(topic)).or_insert_with(|| Chooser::new(partitioner, batch_size))
    }

    fn wait(&mut self, topic: &Topic, record: Waiting) {
        self.buffered += record.bytes;
        self.chooser(topic).waiting.push_back(record);
    }

    /// Metadata may have come, or time may have passed: looks at everything that waits for a topic.
    pub(super) fn place_waiting(&mut self, now: Now) {
        let waiting: Vec<Topic> = self.topics.iter().filter(|(_, c)| !c.waiting.is_empty()).map(|(topic, _)| Topic::clone(topic)).collect();
        for topic in waiting {
            let fatal = self.cluster.metadata().trouble(&topic).filter(|error| !error.is_retriable());
            let late = self.topics.get(&topic).and_then(Chooser::deadline).is_some_and(|deadline| deadline <= now.at);
            if fatal.is_none() && !late && self.cluster.metadata().topic(&topic).is_none() {
                continue;
            }
            for record in self.chooser(&topic).drain() {
                self.buffered -= record.bytes;
                if let Some(error) = fatal {
                    self.reject(record.token, Why::Refused(error));
                } else if record.deadline <= now.at {
                    self.reject(record.token, Why::TimedOut);
                } else if let Err(unplaced) = self.place(now.at, &topic, record) {
                    self.wait(&topic, *unplaced);
                }
            }
        }
    }

    /// Puts a record into its partition's queue. Answers whether that may be sent now; hands the record back if its partition is not known.
    fn place(&mut self, now: Instant, topic: &Topic, record: Waiting) -> Result<bool, Box<Waiting>> {
        let shape = self.shape();
        let Some(partition) = self.choose(topic, &record, shape) else {
            self.cluster.invalidate();
            return Err(Box::new(record));
        };
        let no = BatchNo(record.serial);
        let part = TopicPartition { topic: Topic::clone(topic), partition };
        let queue = self.queues.entry(part).or_insert_with(Queue::new);
        let opens = !queue.has_room(shape, &record.payload);
        let grown = queue.append(now, record.deadline, shape, no, (record.token, record.timestamp, &record.payload));
        self.buffered += grown;
        let ready = queue.len() > 1;
        if record.partition.is_none() && record.payload.key.is_none() {
            self.note_append(topic, partition, grown, shape);
        }
        if opens {
            self.observe(now, topic);
            let due = now.after(self.linger().0);
            if due > now && self.wake.is_none_or(|(at, _)| due < at) {
                self.wake = Some((due, "a batch is due"));
            }
        }
        Ok(opens && (ready || self.linger().0.is_zero()))
    }

    /// The record's partition, if its topic is known and has it.
    fn choose(&mut self, topic: &Topic, record: &Waiting, shape: Shape) -> Option<PartitionIndex> {
        let chooser =
            self.topics.entry(Topic::clone(topic)).or_insert_with(|| Chooser::new(self.config.partitioner, self.config.batch_size));
        let (metadata, rng) = self.cluster.metadata_and_rng();
        let info = metadata.topic(topic)?;
        let partitions = Partitions { count: u32::try_from(info.partitions.len()).ok().filter(|n| *n > 0)?, available: &info.available };
        if let Some(named) = record.partition {
            return (named.0 >= 0 && named.0.unsigned_abs() < partitions.count).then_some(named);
        }
        let chosen = chooser.choose(record.payload.key.as_deref(), partitions, rng);
        let Rule::UniformSticky(rule) = &mut chooser.rule else { return Some(chosen) };
        // KIP-480: where this record would open a batch behind another, it goes elsewhere instead.
        let part = TopicPartition { topic: Topic::clone(topic), partition: chosen };
        let moves_on = self.queues.get(&part).is_some_and(|queue| !queue.is_empty() && !queue.has_room(shape, &record.payload));
        Some(if moves_on { rule.new_batch(chosen, partitions, rng) } else { chosen })
    }

    /// Tells a sticky rule how much went to its partition.
    fn note_append(&mut self, topic: &Topic, partition: PartitionIndex, bytes: usize, shape: Shape) {
        let Some(Chooser { rule: Rule::BuiltIn(rule), .. }) = self.topics.get_mut(topic) else { return };
        let (metadata, rng) = self.cluster.metadata_and_rng();
        let Some(info) = metadata.topic(topic) else { return };
        let partitions = Partitions { count: u32::try_from(info.partitions.len()).unwrap_or(u32::MAX), available: &info.available };
        let part = TopicPartition { topic: Topic::clone(topic), partition };
        let at_a_boundary = self.queues.get(&part).is_none_or(|queue| queue.is_at_a_boundary(shape));
        rule.appended(u32::try_from(bytes).unwrap_or(u32::MAX), at_a_boundary, partitions, rng);
    }

    /// Tells the built-in rule how long the topic's queues are, and which brokers take nothing.
    fn observe(&mut self, now: Instant, topic: &Topic) {
        let Some(Chooser { rule: Rule::BuiltIn(rule), .. }) = self.topics.get_mut(topic) else { return };
        let Some(info) = self.cluster.metadata().topic(topic) else { return };
        let timeout = self.config.availability_timeout;
        let slow = |partition: PartitionIndex| {
            let leader = info.partitions.get(usize::try_from(partition.0).ok()?)?.leader?;
            self.stalled.get(&leader).filter(|since| !timeout.is_zero() && now.since(**since) > timeout)
        };
        let length = |partition: PartitionIndex| {
            let part = TopicPartition { topic: Topic::clone(topic), partition };
            self.queues.get(&part).map_or(0, |queue| u32::try_from(queue.len()).unwrap_or(u32::MAX - 1))
        };
        let chosen = info.available.iter().copied().filter(|partition| slow(*partition).is_none());
        let queues: Vec<(PartitionIndex, u32)> = chosen.map(|partition| (partition, length(partition))).collect();
        rule.observe(&queues, queues.len() < info.available.len());
    }
}
