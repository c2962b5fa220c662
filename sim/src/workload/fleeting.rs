//! A topic that is made, filled, read and deleted over and over under one name: nothing of one incarnation may be seen in the next.

use super::Book;
use super::line::{Line, is_elsewhere};
use super::solo::Task;
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, Offset, PartitionIndex, Uuid};
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use klamm_core::wire::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use klamm_core::wire::api::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataRequestTopic};
use klamm_core::wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use klamm_core::wire::batch::{Batch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity, Payload, Records};
use klamm_core::wire::{Request, Response};
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

const NAME: &str = "fleeting";
const PAUSE: Duration = Duration::from_millis(200);

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Create,
    /// By its name its id is asked for.
    Name,
    Produce {
        left: u32,
    },
    Read,
    Delete,
}

/// Makes and deletes a topic.
pub struct Fleeting {
    every: Duration,
    /// How many replicas each incarnation has.
    replicas: RangeInclusive<i16>,
    book: Book,
    rng: Rng,
    next: Instant,
    act: Act,
    incarnation: u64,
    id: Uuid,
    /// Those of the incarnations before: a node that is behind may show one of them.
    former: BTreeSet<Uuid>,
    values: u64,
    /// What was acknowledged in this incarnation, by offset.
    acknowledged: BTreeMap<i64, String>,
}

impl Fleeting {
    /// Goes once around in about that time.
    #[must_use]
    pub fn new(every: Duration, replicas: RangeInclusive<i16>, book: Book, seed: u64) -> Self {
        Self {
            every,
            replicas,
            book,
            rng: rng::stream(seed, "fleeting actor"),
            next: Instant::default(),
            act: Act::Create,
            incarnation: 0,
            id: Uuid::ZERO,
            former: BTreeSet::new(),
            values: 0,
            acknowledged: BTreeMap::new(),
        }
    }

    fn value(&self) -> String {
        format!("{}:{}", self.incarnation, self.values)
    }

    fn batch(&mut self, now: Now) -> ProduceRequest {
        self.values += 1;
        let mut builder = BatchBuilder::new(Compression::None, None);
        // Every value is its own key, so that compaction leaves them all.
        let value = self.value();
        builder.push(now.wall, &Payload { key: Some(value.clone().into()), value: Some(value.into()), headers: Vec::new() });
        let records = Some(builder.finish(Identity::NONE).pieces().cloned().collect());
        let partition_data = vec![PartitionProduceData { index: PartitionIndex(0), records }];
        let topic_data = vec![TopicProduceData { topic_id: self.id, partition_data, ..Default::default() }];
        ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 3_000, topic_data }
    }

    fn fetch(&mut self) -> FetchRequest {
        if self.rng.random_ratio(1, 8) {
            // Of a session that nobody opened.
            return FetchRequest { replica_id: BrokerId(-1), session_id: 77, session_epoch: 5, ..Default::default() };
        }
        let partition = FetchPartition { partition: PartitionIndex(0), partition_max_bytes: 1 << 20, ..Default::default() };
        let topics = vec![FetchTopic { topic_id: self.id, partitions: vec![partition], ..Default::default() }];
        FetchRequest { replica_id: BrokerId(-1), max_bytes: 1 << 20, session_epoch: -1, topics, ..Default::default() }
    }

    /// Everything that was acknowledged, and nothing of an incarnation before.
    fn read(&self, response: &FetchResponse) {
        let Some(answer) = response.responses.first().and_then(|topic| topic.partitions.first()) else { return };
        if answer.error_code != ErrorCode::NONE || answer.high_watermark == Offset::UNKNOWN {
            return;
        }
        let bytes = answer.records.as_ref().and_then(|records| records.bytes()).unwrap_or_default();
        let batches = Batch::all(&bytes).unwrap_or_default();
        let records = batches.iter().flat_map(|batch| Records::of(batch, 1 << 20).into_iter().flatten().flatten());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let seen: BTreeMap<i64, String> =
            records.map(|record| (record.offset.0, text(record.payload.value.as_deref().unwrap_or_default()))).collect();
        // Whoever was deposed and has not heard of it shows what it knows to be committed.
        let high = answer.high_watermark.0;
        let own = format!("{}:", self.incarnation);
        if let Some((offset, value)) = seen.iter().find(|(_, value)| !value.starts_with(&own)) {
            self.violation(format!("incarnation {} of a topic shows {value} of another one at offset {offset}", self.incarnation));
        }
        let mut missing = self.acknowledged.iter().filter(|(offset, value)| seen.get(*offset) != Some(*value));
        if let Some((offset, value)) = missing.find(|(offset, _)| *self.replicas.end() == 1 || **offset < high) {
            self.violation(format!("{value} was acknowledged at offset {offset} of a topic that shows {:?} there", seen.get(offset)));
        }
    }

    fn violation(&self, what: String) {
        self.book.borrow_mut().violations.push(what);
    }
}

/// Whether an answer says that another node leads, or that this one has not heard of the topic yet.
fn is_sent_away(response: &Response) -> bool {
    if let Response::Produce(response) = response {
        return response.responses.iter().flat_map(|topic| &topic.partition_responses).any(|answer| is_elsewhere(answer.error_code));
    }
    let Response::Fetch(response) = response else { return false };
    is_elsewhere(response.error_code)
        || response.responses.iter().flat_map(|topic| &topic.partitions).any(|answer| is_elsewhere(answer.error_code))
}

fn compacted() -> CreatableTopicConfig {
    CreatableTopicConfig { name: "cleanup.policy".to_owned(), value: Some("compact".to_owned()) }
}

impl Task for Fleeting {
    fn next(&self) -> Option<Instant> {
        Some(self.next).filter(|_| !self.book.borrow().draining)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(PAUSE);
        let (version, request) = match self.act {
            Act::Create => {
                let configs = if self.rng.random_ratio(1, 4) { vec![compacted()] } else { Vec::new() };
                let replication_factor = if *self.replicas.end() > 1 { self.rng.random_range(self.replicas.clone()) } else { 1 };
                let topic = CreatableTopic { name: NAME.to_owned(), num_partitions: 1, replication_factor, configs, ..Default::default() };
                (7, Request::CreateTopics(CreateTopicsRequest { topics: vec![topic], timeout_ms: 5_000, ..Default::default() }))
            }
            Act::Name => {
                let topic = MetadataRequestTopic { name: Some(NAME.to_owned()), ..Default::default() };
                let request = MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() };
                (12, Request::Metadata(request))
            }
            // By its id as well: whoever has not heard that the topic is gone takes nothing for the next one.
            Act::Produce { .. } => (13, Request::Produce(self.batch(now))),
            Act::Read => (13, Request::Fetch(self.fetch())),
            Act::Delete => {
                // By its id, so that a request that comes late does not hit the next incarnation.
                let topic = DeleteTopicState { name: None, topic_id: self.id };
                (6, Request::DeleteTopics(DeleteTopicsRequest { topics: vec![topic], timeout_ms: 5_000, ..Default::default() }))
            }
        };
        line.ask(now, version, request);
    }

    fn hear(&mut self, now: Now, line: &mut Line, response: &Response) {
        if line.nodes() > 1 && is_sent_away(response) {
            return line.elsewhere(now);
        }
        self.act = match (self.act, response) {
            (Act::Create, Response::CreateTopics(response)) => match response.topics.first().map(|topic| topic.error_code) {
                Some(ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS) => Act::Name,
                Some(_) | None => Act::Create,
            },
            (Act::Name, Response::Metadata(response)) => match response.topics.first() {
                Some(topic) if topic.topic_id != Uuid::ZERO && !self.former.contains(&topic.topic_id) => {
                    self.id = topic.topic_id;
                    Act::Produce { left: self.rng.random_range(1..6) }
                }
                Some(_) | None => Act::Create,
            },
            (Act::Produce { left }, Response::Produce(response)) => {
                let answers = response.responses.iter().flat_map(|topic| &topic.partition_responses);
                let value = self.value();
                let taken = answers.filter(|answer| answer.error_code == ErrorCode::NONE);
                self.acknowledged.extend(taken.map(|answer| (answer.base_offset.0, value.clone())));
                if left > 1 { Act::Produce { left: left - 1 } } else { Act::Read }
            }
            (Act::Read, Response::Fetch(response)) => {
                self.read(response);
                self.next = now.at.after(self.every);
                Act::Delete
            }
            (Act::Delete, Response::DeleteTopics(response)) => match response.responses.first().map(|topic| topic.error_code) {
                // An answer that was lost may have said that it is gone.
                Some(ErrorCode::NONE | ErrorCode::UNKNOWN_TOPIC_ID) => {
                    self.former.insert(self.id);
                    self.incarnation += 1;
                    self.acknowledged.clear();
                    self.next = now.at;
                    Act::Create
                }
                Some(_) | None => Act::Delete,
            },
            (act, _) => act,
        };
    }
}
