//! What the cluster looks like: `Metadata`, `DescribeCluster`, `DescribeTopicPartitions`, `DescribeLogDirs`.
//!
//! Shows committed metadata only. Source: Kafka's `KafkaApis` and `KRaftMetadataCache`.

use super::{Broker, Token};
use crate::controller::image::{ControllerRegistration, Partition, Registration, Topic};
use crate::controller::name;
use crate::error::ErrorCode;
use crate::id::{BrokerId, DirId, PartitionIndex, Uuid};
use crate::partition::{METADATA_TOPIC, PartitionId, Role};
use crate::wire::api::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
use crate::wire::api::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::wire::api::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that may be done to the cluster, as bits of Kafka's `AclOperation`: no authorizer, so all.
const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Everything that may be done to a topic.
pub(super) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// `DescribeCluster`'s number for brokers.
const ENDPOINT_BROKER: i8 = 1;
/// `DescribeCluster`'s number for controllers.
const ENDPOINT_CONTROLLER: i8 = 2;

/// Which topics a `Metadata` request asks for.
enum Asked {
    All,
    Ids(BTreeSet<Uuid>),
    Names(Vec<String>),
}

/// To whom partitions are described.
#[derive(Clone, Copy)]
struct Audience<'a> {
    /// The listener that they came in by.
    listener: &'a str,
    /// Whether they speak a version that tells a missing listener from a missing leader.
    knows_listeners: bool,
}

impl Broker {
    pub(super) fn metadata(&mut self, token: Token, version: i16, body: MetadataRequest) {
        let doubted = if self.doubts_any() { self.doubted_of(version, &body) } else { Vec::new() };
        if doubted.is_empty() { self.tell_metadata(token, version, &body) } else { self.wait_for_leaders(token, version, body, doubted) }
    }

    /// Answers with what is known.
    pub(super) fn tell_metadata(&mut self, token: Token, version: i16, body: &MetadataRequest) {
        let listener = self.listener_of(token);
        let view = Audience { listener: &listener, knows_listeners: version >= 6 };
        let topics = match asked(version, body) {
            Ok(asked) => self.describe_asked(view, asked, body),
            // Kafka then tells nothing of the cluster either.
            Err(topics) => return self.reply(token, MetadataResponse { topics, ..Default::default() }.into()),
        };
        let controller_id = self.some_broker(&listener);
        let brokers = self.reachable(&listener).map(|(id, broker, host, port)| MetadataResponseBroker {
            node_id: id,
            host,
            port,
            rack: broker.rack.clone(),
        });
        let mut response = MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some(self.config.broker.cluster.clone()),
            controller_id,
            topics,
            ..Default::default()
        };
        if body.include_cluster_authorized_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        self.reply(token, response.into());
    }

    /// What is asked for whose leader is in doubt.
    fn doubted_of(&self, version: i16, body: &MetadataRequest) -> Vec<(PartitionId, BrokerId)> {
        let Ok(asked) = asked(version, body) else { return Vec::new() };
        let topics: Vec<&Topic> = match asked {
            Asked::All => self.image().topics().collect(),
            Asked::Ids(ids) => ids.into_iter().filter_map(|id| self.image().topic_by_id(id)).collect(),
            Asked::Names(names) => names.iter().filter_map(|name| self.image().topic(name)).collect(),
        };
        let doubted = |topic: &Topic, index: &PartitionIndex, partition: &Partition| {
            let leader = partition.leader.filter(|leader| self.is_doubted(*leader))?;
            Some((PartitionId { topic: topic.id, index: *index }, leader))
        };
        topics.iter().flat_map(|topic| topic.partitions.iter().filter_map(|(index, p)| doubted(topic, index, p))).collect()
    }

    fn describe_asked(&mut self, view: Audience<'_>, asked: Asked, body: &MetadataRequest) -> Vec<MetadataResponseTopic> {
        let mut topics: Vec<MetadataResponseTopic> = match asked {
            Asked::All => self.image().topics().map(|t| self.describe_topic(view, t)).collect(),
            Asked::Ids(ids) => ids.into_iter().map(|id| self.describe_id(view, id)).collect(),
            Asked::Names(names) => {
                let told = names.iter().map(|name| self.describe_name(view, name)).collect();
                if body.allow_auto_topic_creation && self.config.broker.auto_create_topics {
                    self.want_topics(names.iter().map(String::as_str));
                }
                told
            }
        };
        if body.include_topic_authorized_operations {
            topics.iter_mut().filter(|t| t.name.is_some()).for_each(|t| t.topic_authorized_operations = TOPIC_OPERATIONS);
        }
        topics
    }

    fn describe_id(&self, view: Audience<'_>, id: Uuid) -> MetadataResponseTopic {
        match self.image().topic_by_id(id) {
            Some(topic) => self.describe_topic(view, topic),
            None => MetadataResponseTopic { error_code: ErrorCode::UNKNOWN_TOPIC_ID, name: None, topic_id: id, ..Default::default() },
        }
    }

    fn describe_name(&self, view: Audience<'_>, name: &str) -> MetadataResponseTopic {
        match self.image().topic(name) {
            Some(topic) => self.describe_topic(view, topic),
            None => MetadataResponseTopic {
                error_code: unknown(name),
                name: Some(name.to_owned()),
                is_internal: name::is_internal(name),
                ..Default::default()
            },
        }
    }

    fn describe_topic(&self, view: Audience<'_>, topic: &Topic) -> MetadataResponseTopic {
        let partitions = topic.partitions.iter().map(|(index, p)| self.describe_partition(view, topic.id, *index, p)).collect();
        MetadataResponseTopic {
            error_code: ErrorCode::NONE,
            name: Some(topic.name.to_string()),
            topic_id: topic.id,
            is_internal: name::is_internal(&topic.name),
            partitions,
            ..Default::default()
        }
    }

    fn describe_partition(
        &self,
        view: Audience<'_>,
        topic: Uuid,
        index: PartitionIndex,
        partition: &Partition,
    ) -> MetadataResponsePartition {
        let id = PartitionId { topic, index };
        let leader = self.told_leader(view.listener, id, partition);
        let error_code = match leader {
            Ok(_) => ErrorCode::NONE,
            Err(ErrorCode::LISTENER_NOT_FOUND) if !view.knows_listeners => ErrorCode::LEADER_NOT_AVAILABLE,
            Err(code) => code,
        };
        MetadataResponsePartition {
            error_code,
            partition_index: index,
            leader_id: leader.unwrap_or(BrokerId(-1)),
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            offline_replicas: self.offline_replicas(view.listener, id, partition),
        }
    }

    /// Who leads, as far as clients of the listener may be told: they reach it by the same listener only.
    ///
    /// Source: Kafka's `KRaftMetadataCache.getPartitionMetadata`.
    pub(super) fn told_leader(&self, listener: &str, id: PartitionId, partition: &Partition) -> Result<BrokerId, ErrorCode> {
        let may_be_told = |leader: &BrokerId| !self.is_offline(id, partition, *leader) && !self.is_doubted(*leader);
        let leader = partition.leader.filter(may_be_told).ok_or(ErrorCode::LEADER_NOT_AVAILABLE)?;
        if self.has_listener(leader, listener) { Ok(leader) } else { Err(ErrorCode::LISTENER_NOT_FOUND) }
    }

    /// Replicas that clients of the listener cannot read: Kafka's `KRaftMetadataCache.isReplicaOffline`.
    pub(super) fn offline_replicas(&self, listener: &str, id: PartitionId, partition: &Partition) -> Vec<BrokerId> {
        let is_away = |broker: &&BrokerId| self.is_offline(id, partition, **broker) || !self.has_listener(**broker, listener);
        partition.replicas.iter().filter(is_away).copied().collect()
    }

    fn has_listener(&self, broker: BrokerId, listener: &str) -> bool {
        self.image().brokers().get(&broker).is_some_and(|broker| broker.endpoints.iter().any(|(name, ..)| name == listener))
    }

    /// Whether a replica's broker is away, or its log directory has failed: each broker's registration names those that it has. Of its own this one knows
    /// before the controller does.
    fn is_offline(&self, id: PartitionId, partition: &Partition, broker: BrokerId) -> bool {
        let has = |known: &Registration| partition.directory(broker).is_none_or(|dir| known.has_directory(dir));
        let is_away = self.image().brokers().get(&broker).is_none_or(|known| known.is_fenced || !has(known));
        let is_dead = |p: &crate::partition::Partition| matches!(p.role, Role::Offline { .. });
        is_away || (broker == self.config.broker.id && self.partitions.get(&id).is_some_and(is_dead))
    }

    /// The name of the listener that a request came in by: its clients are told the addresses of that listener.
    pub(super) fn listener_of(&self, token: Token) -> String {
        let listener = self.conns.get(&token.conn).map(|conn| conn.listener);
        listener.map_or_else(String::new, |id| self.config.broker.endpoint(id).name.clone())
    }

    /// The brokers that live and have the listener, with its host and port.
    fn reachable(&self, listener: &str) -> impl Iterator<Item = (BrokerId, &Registration, String, i32)> {
        self.listening(listener).filter(|(_, broker, ..)| !broker.is_fenced)
    }

    /// The brokers that have the listener, with its host and port.
    fn listening(&self, listener: &str) -> impl Iterator<Item = (BrokerId, &Registration, String, i32)> {
        let address = move |broker: &Registration| {
            let found = broker.endpoints.iter().find(|(name, ..)| name == listener);
            found.map(|(_, host, port, _)| (host.clone(), i32::from(*port)))
        };
        self.image().brokers().iter().filter_map(move |(id, broker)| address(broker).map(|(host, port)| (*id, broker, host, port)))
    }

    /// Where clients of the listener that a request came in by find a broker that lives.
    pub(super) fn address_of(&self, token: Token, broker: BrokerId) -> Option<(BrokerId, String, i32)> {
        let listener = self.listener_of(token);
        self.reachable(&listener).find(|(id, ..)| *id == broker).map(|(id, _, host, port)| (id, host, port))
    }

    /// A broker that clients of the listener may take for the controller: any one that lives forwards what it must (KIP-590). While this one is fenced or
    /// stops, that is another one, by chance; Kafka takes one by chance in any case.
    fn some_broker(&mut self, listener: &str) -> BrokerId {
        let me = self.config.broker.id;
        let all: Vec<BrokerId> = self.reachable(listener).filter(|(_, broker, ..)| broker.is_active()).map(|(id, ..)| id).collect();
        if all.contains(&me) {
            return me;
        }
        if all.is_empty() { BrokerId(-1) } else { all[self.rng.random_range(0..all.len())] }
    }

    pub(super) fn describe_cluster(&mut self, token: Token, version: i16, body: &DescribeClusterRequest) {
        let here = if self.is_of_quorum(token) { ENDPOINT_CONTROLLER } else { ENDPOINT_BROKER };
        let response = match (body.endpoint_type, here) {
            (ENDPOINT_BROKER, ENDPOINT_BROKER) => self.describe_brokers(token, body.include_fenced_brokers),
            (ENDPOINT_CONTROLLER, ENDPOINT_CONTROLLER) => self.describe_controllers(token),
            (ENDPOINT_BROKER | ENDPOINT_CONTROLLER, _) => {
                let (here, wanted) = if here == ENDPOINT_BROKER { ("BROKER", "CONTROLLER") } else { ("CONTROLLER", "BROKER") };
                let words = format!("The request was sent to an endpoint of type {here}, but we wanted an endpoint of type {wanted}");
                undescribed(ErrorCode::MISMATCHED_ENDPOINT_TYPE, words)
            }
            _ if version == 0 => undescribed(ErrorCode::INVALID_REQUEST, "Unsupported endpoint type".to_owned()),
            (other, _) => undescribed(ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, format!("Unsupported endpoint type {other}")),
        };
        let operations = if body.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
        let cluster_authorized_operations = if response.error_code.is_none() { operations } else { i32::MIN };
        self.reply(token, DescribeClusterResponse { cluster_authorized_operations, ..response }.into());
    }

    fn describe_brokers(&mut self, token: Token, with_fenced: bool) -> DescribeClusterResponse {
        let listener = self.listener_of(token);
        let controller_id = self.some_broker(&listener);
        let node = |(id, broker, host, port): (BrokerId, &Registration, String, i32)| DescribeClusterBroker {
            broker_id: id,
            host,
            port,
            rack: broker.rack.clone(),
            is_fenced: broker.is_fenced,
        };
        let brokers = self.listening(&listener).filter(|(_, broker, ..)| with_fenced || !broker.is_fenced);
        DescribeClusterResponse {
            endpoint_type: ENDPOINT_BROKER,
            cluster_id: self.config.broker.cluster.clone(),
            controller_id,
            brokers: brokers.map(node).collect(),
            ..Default::default()
        }
    }

    /// The controllers that registered, and who of them is active (KIP-919).
    fn describe_controllers(&self, token: Token) -> DescribeClusterResponse {
        let listener = self.listener_of(token);
        let node = |(id, controller): (&BrokerId, &ControllerRegistration)| {
            let (_, host, port, _) = controller.endpoints.iter().find(|(name, ..)| *name == listener)?;
            Some(DescribeClusterBroker { broker_id: *id, host: host.clone(), port: i32::from(*port), ..Default::default() })
        };
        let active = self.quorum.as_ref().and_then(|quorum| quorum.leader()).map_or(BrokerId(-1), |(id, _)| id);
        DescribeClusterResponse {
            endpoint_type: ENDPOINT_CONTROLLER,
            cluster_id: self.config.broker.cluster.clone(),
            controller_id: active,
            brokers: self.image().controllers().iter().filter_map(node).collect(),
            ..Default::default()
        }
    }

    pub(super) fn describe_log_dirs(&mut self, token: Token, body: &DescribeLogDirsRequest) {
        let results = self.config.broker.dirs().map(|(dir, known)| self.describe_dir(dir, &known.path, body)).collect();
        self.reply(token, DescribeLogDirsResponse { results, ..Default::default() }.into());
    }

    fn describe_dir(&self, dir: DirId, path: &str, body: &DescribeLogDirsRequest) -> DescribeLogDirsResult {
        let log_dir = path.to_owned();
        if self.dir_offline(dir).is_some() {
            return DescribeLogDirsResult { error_code: ErrorCode::KAFKA_STORAGE_ERROR, log_dir, ..Default::default() };
        }
        let is_asked = |topic: &str, index: PartitionIndex| match &body.topics {
            Some(topics) => topics.iter().any(|t| t.topic == topic && t.partitions.contains(&index)),
            None => true,
        };
        let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for partition in self.partitions.values().filter(|p| p.dir == dir && &*p.topic != METADATA_TOPIC) {
            if is_asked(&partition.topic, partition.id.index) {
                let log = partition.open_log();
                let bytes = log.map_or(0, |log| log.segments().bytes());
                let described = DescribeLogDirsPartition {
                    partition_index: partition.id.index,
                    partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
                    // How far the log's end lies behind what is known to be committed.
                    offset_lag: log.map_or(0, |log| (partition.high().0 - log.end().0).max(0)),
                    is_future_key: false,
                };
                topics.entry(&partition.topic).or_default().push(described);
            }
        }
        for (topic, partition_index, bytes, offset_lag) in self.copies_in(dir).filter(|(topic, index, ..)| is_asked(topic, *index)) {
            let partition_size = i64::try_from(bytes).unwrap_or(i64::MAX);
            let described = DescribeLogDirsPartition { partition_index, partition_size, offset_lag, is_future_key: true };
            topics.entry(topic).or_default().push(described);
        }
        let topics = topics.into_iter().map(|(name, partitions)| DescribeLogDirsTopic { name: name.to_owned(), partitions }).collect();
        // KIP-827; what no `long` holds is its largest, as in Kafka.
        let told = |bytes: Option<u64>| bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let (total_bytes, usable_bytes) = (told(self.total_bytes(dir)), told(self.free_bytes(dir)));
        DescribeLogDirsResult { log_dir, topics, total_bytes, usable_bytes, ..Default::default() }
    }
}

fn undescribed(error_code: ErrorCode, words: String) -> DescribeClusterResponse {
    DescribeClusterResponse { error_code, error_message: Some(words), ..Default::default() }
}

/// What is said of a topic that does not exist.
pub(super) fn unknown(name: &str) -> ErrorCode {
    match name::validate(name) {
        Ok(()) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
    }
}

/// What the request asks for, or the refusal of each of its topics.
fn asked(version: i16, body: &MetadataRequest) -> Result<Asked, Vec<MetadataResponseTopic>> {
    let topics = match &body.topics {
        None => return Ok(Asked::All),
        Some(topics) if topics.is_empty() && version == 0 => return Ok(Asked::All),
        Some(topics) => topics,
    };
    // Ids came with version 12; in 10 and 11 their field exists and must be empty (KAFKA-10774).
    if version < 12 && topics.iter().any(|t| t.name.is_none() || t.topic_id != Uuid::ZERO) {
        return Err(refused(topics, ErrorCode::INVALID_REQUEST));
    }
    let ids: BTreeSet<Uuid> = topics.iter().map(|t| t.topic_id).filter(|id| *id != Uuid::ZERO).collect();
    if !ids.is_empty() {
        return Ok(Asked::Ids(ids));
    }
    if topics.iter().any(|t| t.name.is_none()) {
        return Err(refused(topics, ErrorCode::UNKNOWN_SERVER_ERROR));
    }
    let mut seen = BTreeSet::new();
    let names = topics.iter().filter_map(|t| t.name.clone()).filter(|name| seen.insert(name.clone()));
    Ok(Asked::Names(names.collect()))
}

fn refused(topics: &[MetadataRequestTopic], error_code: ErrorCode) -> Vec<MetadataResponseTopic> {
    let refused = |t: &MetadataRequestTopic| MetadataResponseTopic {
        error_code,
        name: Some(t.name.clone().unwrap_or_default()),
        topic_id: t.topic_id,
        ..Default::default()
    };
    topics.iter().map(refused).collect()
}
