//! A pretended cluster: topics with leaders, logs, producer state as a broker keeps it, and a group coordinator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Ticket;
use super::group::Group;
use crate::client::TopicPartition;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Uuid};
use crate::time::Timestamp;
use crate::wire::api::api_versions::{ApiVersion, ApiVersionsResponse};
use crate::wire::api::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use crate::wire::api::init_producer_id::InitProducerIdResponse;
use crate::wire::api::list_offsets::{ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse};
use crate::wire::api::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::api::produce::{self, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse};
use crate::wire::batch::{Batch, Compression};
use crate::wire::record::{BatchBuilder, Identity, Payload};
use crate::wire::{ApiKey, Records, Request, Response};

/// What a broker does with a request.
pub(crate) enum Served {
    Nothing,
    /// Answers, after so many milliseconds.
    Answer(Response, u64),
}

/// A batch's first sequence, records, and base offset.
type Remembered = (Sequence, i32, Offset);

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) leader: i32,
    pub(crate) epoch: i32,
    pub(crate) start: i64,
    pub(crate) batches: Vec<Batch>,
    /// A follower that clients with a rack are sent to, and how many batches it has.
    pub(crate) near: Option<(i32, usize)>,
    /// Fetches that were answered with records, by broker.
    pub(crate) read_from: BTreeMap<i32, u32>,
    /// By producer: its epoch, and its last five batches.
    producers: BTreeMap<ProducerId, (ProducerEpoch, VecDeque<Remembered>)>,
}

impl Log {
    pub(crate) fn end(&self) -> Offset {
        self.batches.last().map_or(Offset(self.start), |batch| batch.header().next_offset())
    }

    fn append(&mut self, batch: &Batch) -> (ErrorCode, Offset) {
        let header = *batch.header();
        let end = self.end();
        if header.is_idempotent() {
            let (epoch, recent) = self.producers.entry(header.producer_id).or_insert_with(|| (header.producer_epoch, VecDeque::new()));
            if header.producer_epoch < *epoch {
                return (ErrorCode::INVALID_PRODUCER_EPOCH, Offset(-1));
            }
            let same = recent.iter().find(|(first, n, _)| *first == header.base_sequence && *n == header.records);
            if let Some((_, _, base)) = same.filter(|_| header.producer_epoch == *epoch) {
                return (ErrorCode::NONE, *base);
            }
            let bumped = header.producer_epoch > *epoch;
            let expected = match recent.back() {
                Some((first, n, _)) if !bumped => Some(first.plus(*n)),
                Some(_) => Some(Sequence(0)),
                None => None,
            };
            if expected.is_some_and(|expected| expected != header.base_sequence) {
                return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, Offset(-1));
            }
            if bumped {
                (*epoch, *recent) = (header.producer_epoch, VecDeque::new());
            }
            recent.push_back((header.base_sequence, header.records, end));
            if recent.len() > 5 {
                recent.pop_front();
            }
        }
        self.batches.push(batch.stamp(end, LeaderEpoch(self.epoch)));
        (ErrorCode::NONE, end)
    }
}

pub(crate) struct Fake {
    up: BTreeSet<i32>,
    pub(crate) logs: BTreeMap<TopicPartition, Log>,
    /// What to answer to the next produced batches instead of appending them; `NOT_ENOUGH_REPLICAS_AFTER_APPEND`: after they are appended.
    pub(crate) refuse: VecDeque<ErrorCode>,
    /// APIs left out of what the brokers say they speak, or cut to a highest version.
    pub(crate) highest: BTreeMap<ApiKey, i16>,
    pub(crate) group: Group,
    next_producer: i64,
    /// How many producer ids were handed out.
    pub(crate) ids_given: i64,
    /// Requests are neither acted on nor answered.
    pub(crate) silent: bool,
    /// Who does not lead a partition names who does (KIP-951), and where to find it.
    pub(crate) names_leaders: bool,
}

impl Fake {
    /// Brokers 1 to `brokers`, and topics with so many partitions, led in turn.
    pub(crate) fn new(brokers: i32, topics: &[(&str, i32)]) -> Self {
        let mut logs = BTreeMap::new();
        for (topic, partitions) in topics {
            for partition in 0..*partitions {
                let log = Log { leader: partition % brokers + 1, ..Log::default() };
                logs.insert(TopicPartition::new(*topic, partition), log);
            }
        }
        let group = Group::new(1);
        let up = (1..=brokers).collect();
        let (refuse, highest) = (VecDeque::new(), BTreeMap::new());
        Self { up, logs, refuse, highest, group, next_producer: 100, ids_given: 0, silent: false, names_leaders: false }
    }

    pub(crate) fn is_up(&self, broker: i32) -> bool {
        self.up.contains(&broker)
    }

    pub(crate) fn down(&mut self, broker: i32) {
        self.up.remove(&broker);
    }

    pub(crate) fn up(&mut self, broker: i32) {
        self.up.insert(broker);
    }

    pub(crate) fn log(&mut self, topic: &str, partition: i32) -> &mut Log {
        self.logs.get_mut(&TopicPartition::new(topic, partition)).expect("a topic of the test")
    }

    /// Makes `broker` the leader of a partition, in a new epoch.
    pub(crate) fn elect(&mut self, topic: &str, partition: i32, broker: i32) {
        let log = self.log(topic, partition);
        (log.leader, log.epoch) = (broker, log.epoch + 1);
    }

    pub(crate) fn serve(&mut self, now: u64, broker: i32, ticket: &Ticket, request: Request) -> Served {
        if self.silent {
            return Served::Nothing;
        }
        let response = match request {
            Request::ApiVersions(_) => self.versions(),
            Request::Metadata(request) => self.metadata(&request),
            Request::InitProducerId(_) => {
                self.next_producer += 1;
                self.ids_given += 1;
                let producer_id = ProducerId(self.next_producer);
                Response::InitProducerId(InitProducerIdResponse { producer_id, producer_epoch: ProducerEpoch(0), ..Default::default() })
            }
            Request::Produce(request) => {
                let acks = request.acks;
                let response = self.produce(broker, request);
                if acks == 0 {
                    return Served::Nothing;
                }
                response
            }
            Request::Fetch(request) => {
                let response = self.fetch(broker, &request);
                let empty =
                    response.responses.iter().flat_map(|t| &t.partitions).all(|p| p.error_code == ErrorCode::NONE && p.records.is_none());
                let wait = if empty { u64::try_from(request.max_wait_ms).unwrap() } else { 0 };
                return Served::Answer(Response::Fetch(response), wait);
            }
            Request::ListOffsets(request) => self.list_offsets(broker, request),
            other => return self.group.serve(now, broker, ticket, other),
        };
        Served::Answer(response, 0)
    }

    fn versions(&self) -> Response {
        let range = |api: &ApiKey| {
            let (first, last) = (*api.versions().start(), *api.versions().end());
            ApiVersion { api_key: api.number(), min_version: first, max_version: self.highest.get(api).map_or(last, |n| (*n).min(last)) }
        };
        let keys = ApiKey::ALL.iter().filter(|api| self.highest.get(api) != Some(&-1));
        Response::ApiVersions(ApiVersionsResponse { api_keys: keys.map(range).collect(), ..Default::default() })
    }

    fn metadata(&self, request: &MetadataRequest) -> Response {
        let broker = |id: &i32| MetadataResponseBroker { node_id: BrokerId(*id), host: "b".into(), port: 9000 + id, rack: None };
        let names: Vec<String> = request.topics.iter().flatten().filter_map(|topic| topic.name.clone()).collect();
        let topics = names.into_iter().map(|name| {
            let partitions: Vec<MetadataResponsePartition> = self
                .logs
                .iter()
                .filter(|(part, _)| *part.topic == *name)
                .map(|(part, log)| MetadataResponsePartition {
                    partition_index: part.partition,
                    leader_id: BrokerId(if self.is_up(log.leader) { log.leader } else { -1 }),
                    leader_epoch: LeaderEpoch(log.epoch),
                    ..Default::default()
                })
                .collect();
            let error_code = match (&*name, partitions.is_empty()) {
                ("bad topic", _) => ErrorCode::INVALID_TOPIC_EXCEPTION,
                (_, true) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (_, false) => ErrorCode::NONE,
            };
            let topic_id = Uuid([name.len() as u8; 16]);
            MetadataResponseTopic { error_code, name: Some(name), topic_id, partitions, ..Default::default() }
        });
        let brokers = self.up.iter().map(broker).collect();
        Response::Metadata(MetadataResponse { brokers, topics: topics.collect(), ..Default::default() })
    }

    fn leads(&self, broker: i32, part: &TopicPartition) -> ErrorCode {
        match self.logs.get(part) {
            None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Some(log) if log.leader != broker => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            Some(_) => ErrorCode::NONE,
        }
    }

    /// Who leads, where that is told beside an error.
    fn named(&self, part: &TopicPartition, error: ErrorCode) -> Option<(BrokerId, LeaderEpoch)> {
        let is_told = self.names_leaders && matches!(error, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH);
        self.logs.get(part).filter(|_| is_told).map(|log| (BrokerId(log.leader), LeaderEpoch(log.epoch)))
    }

    fn produce(&mut self, broker: i32, request: ProduceRequest) -> Response {
        let (mut responses, mut node_endpoints) = (Vec::new(), Vec::new());
        for topic in request.topic_data {
            let mut partition_responses = Vec::new();
            for data in topic.partition_data {
                let part = TopicPartition::new(topic.name.clone(), data.index.0);
                let bytes = data.records.and_then(|records| records.bytes()).expect("records in memory");
                let batch = Batch::produced(&bytes).expect("one whole batch");
                let mut error_code = self.leads(broker, &part);
                let mut base_offset = Offset(-1);
                if error_code == ErrorCode::NONE {
                    let refused = self.refuse.pop_front().filter(|error| *error != ErrorCode::NONE);
                    (error_code, base_offset) = match refused {
                        Some(error) if error != ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND => (error, Offset(-1)),
                        _ => self.logs.get_mut(&part).expect("it leads it").append(&batch),
                    };
                    if let Some(error) = refused.filter(|_| error_code == ErrorCode::NONE) {
                        (error_code, base_offset) = (error, Offset(-1));
                    }
                }
                let mut answer = PartitionProduceResponse { index: data.index, error_code, base_offset, ..Default::default() };
                if let Some((leader_id, leader_epoch)) = self.named(&part, error_code) {
                    answer.current_leader = produce::LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
                    let port = 9000 + leader_id.0;
                    node_endpoints.push(produce::NodeEndpoint { node_id: leader_id, host: "b".into(), port, ..Default::default() });
                }
                partition_responses.push(answer);
            }
            responses.push(TopicProduceResponse { name: topic.name, partition_responses, ..Default::default() });
        }
        Response::Produce(ProduceResponse { responses, node_endpoints, ..Default::default() })
    }

    fn fetch(&mut self, broker: i32, request: &FetchRequest) -> FetchResponse {
        let mut responses = Vec::new();
        for topic in &request.topics {
            let partitions = topic.partitions.iter().map(|asked| {
                let part = TopicPartition::new(topic.topic.clone(), asked.partition.0);
                let near = self.logs.get(&part).and_then(|log| log.near);
                let sends_away = !request.rack_id.is_empty() && self.leads(broker, &part) == ErrorCode::NONE;
                if let Some((replica, _)) = near.filter(|_| sends_away) {
                    let replica = BrokerId(replica);
                    return PartitionData { partition_index: part.partition, preferred_read_replica: replica, ..Default::default() };
                }
                let held = near.filter(|(replica, _)| *replica == broker).map(|(_, batches)| batches);
                let mut data =
                    self.fetch_one(broker, &part, asked.fetch_offset, asked.current_leader_epoch, asked.partition_max_bytes, held);
                if let Some((leader, epoch)) = self.named(&part, data.error_code) {
                    (data.current_leader.leader_id, data.current_leader.leader_epoch) = (leader, epoch);
                }
                if data.records.is_some() {
                    *self.logs.get_mut(&part).expect("it has records").read_from.entry(broker).or_default() += 1;
                }
                data
            });
            responses.push(FetchableTopicResponse { topic: topic.topic.clone(), partitions: partitions.collect(), ..Default::default() });
        }
        FetchResponse { responses, ..Default::default() }
    }

    fn fetch_one(
        &self,
        broker: i32,
        part: &TopicPartition,
        from: Offset,
        epoch: LeaderEpoch,
        max_bytes: i32,
        held: Option<usize>,
    ) -> PartitionData {
        let error_code = if held.is_some() { ErrorCode::NONE } else { self.leads(broker, part) };
        let mut data = PartitionData { partition_index: part.partition, error_code, ..Default::default() };
        let Some(log) = self.logs.get(part).filter(|_| data.error_code == ErrorCode::NONE) else { return data };
        let batches = &log.batches[..held.unwrap_or(log.batches.len())];
        let end = batches.last().map_or(Offset(log.start), |batch| batch.header().next_offset());
        (data.high_watermark, data.last_stable_offset, data.log_start_offset) = (end, end, Offset(log.start));
        if epoch.0 >= 0 && epoch.0 != log.epoch {
            data.error_code = if epoch.0 < log.epoch { ErrorCode::FENCED_LEADER_EPOCH } else { ErrorCode::UNKNOWN_LEADER_EPOCH };
        } else if from < Offset(log.start) || from > end {
            data.error_code = ErrorCode::OFFSET_OUT_OF_RANGE;
        } else {
            let mut left = usize::try_from(max_bytes).unwrap_or(0);
            let mut pieces = Vec::new();
            for batch in batches.iter().filter(|batch| batch.header().next_offset() > from) {
                let bytes = batch.header().bytes as usize;
                if bytes > left && !pieces.is_empty() {
                    break;
                }
                left = left.saturating_sub(bytes);
                pieces.extend(batch.pieces().cloned());
            }
            data.records = (!pieces.is_empty()).then(|| pieces.into_iter().collect::<Records>());
        }
        data
    }

    fn list_offsets(&self, broker: i32, request: ListOffsetsRequest) -> Response {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let part = TopicPartition::new(topic.name.clone(), asked.partition_index.0);
                let error_code = self.leads(broker, &part);
                let partition_index = asked.partition_index;
                let none = ListOffsetsPartitionResponse { partition_index, error_code, ..Default::default() };
                let Some(log) = self.logs.get(&part).filter(|_| error_code == ErrorCode::NONE) else { return none };
                let offset = match asked.timestamp.0 {
                    -1 => log.end(),
                    -2 => Offset(log.start),
                    time => log
                        .batches
                        .iter()
                        .find(|batch| batch.header().max_timestamp >= Timestamp(time))
                        .map_or(Offset(-1), |batch| batch.header().base_offset),
                };
                ListOffsetsPartitionResponse { offset, leader_epoch: LeaderEpoch(log.epoch), ..none }
            });
            ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
        });
        Response::ListOffsets(ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
    }

    /// Every record's value in a partition, in order.
    pub(crate) fn values(&mut self, topic: &str, partition: i32) -> Vec<String> {
        let batches = &self.log(topic, partition).batches;
        let records = batches.iter().flat_map(|batch| crate::wire::record::Records::of(batch, 1 << 20).expect("our own records"));
        records
            .map(|record| String::from_utf8(record.expect("our own records").payload.value.expect("a value").to_vec()).unwrap())
            .collect()
    }

    /// Appends records with these values, as one batch.
    pub(crate) fn write(&mut self, topic: &str, partition: i32, time: i64, values: &[&str]) {
        let mut builder = BatchBuilder::new(Compression::Lz4, None);
        for value in values {
            let value = Some(bytes::Bytes::copy_from_slice(value.as_bytes()));
            builder.push(Timestamp(time), &Payload { key: None, value, headers: vec![] });
        }
        self.log(topic, partition).append(&builder.finish(Identity::NONE));
    }

    /// Adds a partition to a topic.
    pub(crate) fn grow(&mut self, topic: &str) {
        let next = self.logs.keys().filter(|part| &*part.topic == topic).map(|part| part.partition.0 + 1).max().unwrap_or(0);
        let part = TopicPartition { topic: topic.into(), partition: PartitionIndex(next) };
        self.logs.insert(part, Log { leader: 1, ..Log::default() });
    }
}
