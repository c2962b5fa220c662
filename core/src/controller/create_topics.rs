//! Plans CreateTopics: names, counts, assignments and settings are judged in Kafka's order and words.
//!
//! Source: Kafka's `ReplicationControlManager.createTopics` and `ControllerApis.createTopics`; messages confirmed on 4.3.1.

use super::draft::new_directory;
use super::image::{Image, Resource};
use super::plan::{Plan, Planner, Refusal};
use super::record::Record;
use super::{name, place};
use crate::config::topic::{self, TopicKey};
use crate::config::{Properties, Source};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, PartitionIndex, Uuid};
use crate::wire::api::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::wire::records::metadata::{ConfigRecord, PartitionRecord, TopicRecord};
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};

/// New partitions that one request may ask for (Kafka's `MAX_PARTITIONS_PER_BATCH`).
pub const PARTITIONS_MAX: i64 = 10_000;

impl Planner<'_> {
    /// Plans the topics that are sound; the others are refused one by one.
    pub fn create_topics(&mut self, request: &CreateTopicsRequest) -> Plan<CreateTopicsResponse> {
        let mut records = Vec::new();
        let mut topics = Vec::new();
        let too_many = wanted_partitions(request, self.config.num_partitions) > PARTITIONS_MAX;
        let (unique, twice) = split_duplicates(request);
        let mut taken = collisions(self.image);
        for asked in unique {
            let result = if too_many {
                Err(Refusal::new(ErrorCode::POLICY_VIOLATION, "Excessively large number of partitions per request."))
            } else {
                self.create_topic(asked, &mut taken, &mut records)
            };
            topics.push(result.unwrap_or_else(|refusal| refused(&asked.name, refusal)));
        }
        for name in twice {
            topics.push(refused(name, Refusal::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name.")));
        }
        if request.validate_only {
            records.clear();
        }
        Plan { records, response: CreateTopicsResponse { topics, ..Default::default() } }
    }

    fn create_topic(
        &mut self,
        asked: &CreatableTopic,
        taken: &mut BTreeMap<String, String>,
        records: &mut Vec<Record>,
    ) -> Result<CreatableTopicResult, Refusal> {
        self.judge_name(&asked.name, taken)?;
        let own = self.judge_settings(asked)?;
        let replicas = if asked.assignments.is_empty() { self.place_new(asked)? } else { self.judge_assignments(asked)? };
        let id = fresh_id(self.image, self.rng);
        taken.insert(name::unified(&asked.name), asked.name.clone());
        records.push(Record::Topic(TopicRecord { name: asked.name.clone(), topic_id: id }));
        records.extend(own.iter().map(|(key, value)| config_record(&asked.name, key, value)));
        for (index, assigned) in replicas.iter().enumerate() {
            records.push(partition_record(self.image, id, index, assigned));
        }
        Ok(CreatableTopicResult {
            name: asked.name.clone(),
            topic_id: id,
            error_code: ErrorCode::NONE,
            error_message: None,
            topic_config_error_code: ErrorCode::NONE,
            num_partitions: i32::try_from(replicas.len()).expect("bounded by the request"),
            replication_factor: i16::try_from(replicas[0].len()).expect("bounded by the brokers"),
            configs: Some(self.effective_settings(&own)),
        })
    }

    fn judge_name(&self, name: &str, taken: &BTreeMap<String, String>) -> Result<(), Refusal> {
        if name == name::CLUSTER_METADATA {
            let words = format!("Creation of internal topic {name} is prohibited.");
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, words));
        }
        name::validate(name).map_err(|why| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
        if self.image.topic(name).is_some() {
            return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists.")));
        }
        match taken.get(&name::unified(name)) {
            Some(other) if name.contains(['.', '_']) => {
                let words = format!("Topic '{name}' collides with existing topic: {other}");
                Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, words))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn judge_settings(&self, asked: &CreatableTopic) -> Result<Properties, Refusal> {
        let null: Vec<&str> = asked.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()).collect();
        if !null.is_empty() {
            let words = format!("Null value not supported for topic configs: {}", null.join(","));
            return Err(Refusal::new(ErrorCode::INVALID_CONFIG, words));
        }
        let own: Properties = asked.configs.iter().filter_map(|c| Some((c.name.clone(), c.value.clone()?))).collect();
        topic::validate(&own, self.image.layers(self.config)).map_err(|why| Refusal::new(ErrorCode::INVALID_CONFIG, why))?;
        Ok(own)
    }

    fn place_new(&mut self, asked: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        if asked.replication_factor < -1 || asked.replication_factor == 0 {
            let words = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, words));
        }
        if asked.num_partitions < -1 || asked.num_partitions == 0 {
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value."));
        }
        let partitions = if asked.num_partitions == -1 { self.config.num_partitions } else { asked.num_partitions };
        let factor = if asked.replication_factor == -1 { self.config.replication_factor } else { asked.replication_factor };
        let partitions = usize::try_from(partitions).expect("positive");
        place::place(self.image, partitions, factor, self.rng).map_err(|why| {
            let words = format!("Unable to replicate the partition {factor} time(s): {why}");
            Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, words)
        })
    }

    fn judge_assignments(&self, asked: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        let no = |what: &str| {
            let words = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            Err(Refusal::new(ErrorCode::INVALID_REQUEST, words))
        };
        if asked.replication_factor != -1 {
            return no("replication factor");
        }
        if asked.num_partitions != -1 {
            return no("numPartitions");
        }
        let mut assigned: BTreeMap<PartitionIndex, Vec<BrokerId>> = BTreeMap::new();
        let mut factor = None;
        for assignment in &asked.assignments {
            let index = assignment.partition_index;
            if assigned.contains_key(&index) {
                let words = format!("Found multiple manual partition assignments for partition {index}");
                return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, words));
            }
            place::judge(self.image, &assignment.broker_ids, factor)?;
            judge_active(self.image, index, &assignment.broker_ids)?;
            factor = Some(assignment.broker_ids.len());
            assigned.insert(index, assignment.broker_ids.clone());
        }
        if assigned.keys().enumerate().any(|(at, index)| i32::try_from(at) != Ok(index.0)) {
            let words = "partitions should be a consecutive 0-based integer sequence";
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, words));
        }
        Ok(assigned.into_values().collect())
    }

    /// What will hold for a topic with the settings `own`, as CreateTopics answers it.
    fn effective_settings(&self, own: &Properties) -> Vec<CreatableTopicConfigs> {
        let layers = self.image.layers(self.config);
        let entry = |topic_key: &TopicKey| {
            let (value, source) = topic_key.effective(own, layers);
            let shown = match source {
                // Kafka answers what was asked for as it was written.
                Source::Topic => own.get(topic_key.key.name).cloned(),
                Source::Broker | Source::Cluster | Source::Static | Source::Default => value.map(|v| v.to_string()),
            };
            CreatableTopicConfigs {
                name: topic_key.key.name.to_owned(),
                value: shown,
                read_only: false,
                config_source: source.wire(),
                is_sensitive: topic_key.key.is_sensitive(),
            }
        };
        topic::keys().iter().filter(|k| !k.is_internal).map(entry).collect()
    }
}

/// Refuses replicas of which nobody could lead.
pub(super) fn judge_active(image: &Image, index: PartitionIndex, replicas: &[BrokerId]) -> Result<(), Refusal> {
    if replicas.iter().any(|id| image.is_active(*id)) {
        return Ok(());
    }
    let words =
        format!("All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown.");
    Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, words))
}

/// A new partition: led by its first active replica, with all active ones in sync.
pub(super) fn partition_record(image: &Image, topic: Uuid, index: usize, replicas: &[BrokerId]) -> Record {
    let isr: Vec<BrokerId> = replicas.iter().copied().filter(|id| image.is_active(*id)).collect();
    let directory = |id: &BrokerId| new_directory(image.brokers().get(id));
    Record::Partition(PartitionRecord {
        partition_id: PartitionIndex(i32::try_from(index).expect("bounded by the request")),
        topic_id: topic,
        replicas: replicas.to_vec(),
        leader: *isr.first().expect("an active replica was asked for"),
        isr,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        directories: replicas.iter().map(directory).collect(),
        ..Default::default()
    })
}

fn config_record(topic: &str, key: &str, value: &str) -> Record {
    let resource = Resource::topic(topic);
    Record::Config(ConfigRecord {
        resource_type: resource.kind.wire(),
        resource_name: resource.name,
        name: key.to_owned(),
        value: Some(value.to_owned()),
    })
}

fn refused(name: &str, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: refusal.code,
        error_message: refusal.message,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

/// The topics that are asked for once, and the names of the others.
fn split_duplicates(request: &CreateTopicsRequest) -> (Vec<&CreatableTopic>, BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = request.topics.iter().map(|t| t.name.as_str()).filter(|name| !seen.insert(*name)).collect();
    let unique = request.topics.iter().filter(|t| !twice.contains(t.name.as_str())).collect();
    (unique, twice)
}

fn wanted_partitions(request: &CreateTopicsRequest, default: i32) -> i64 {
    let wanted = |t: &CreatableTopic| match (t.assignments.len(), t.num_partitions) {
        (0, -1) => i64::from(default),
        (0, count) => i64::from(count.max(0)),
        (assigned, _) => i64::try_from(assigned).unwrap_or(i64::MAX),
    };
    request.topics.iter().map(wanted).fold(0, i64::saturating_add)
}

/// The names in use, by what metrics make of them.
fn collisions(image: &Image) -> BTreeMap<String, String> {
    image.topics().filter(|t| t.name.contains(['.', '_'])).map(|t| (name::unified(&t.name), t.name.to_string())).collect()
}

/// An id that nobody has. Kafka keeps the first hundred and never prints one with a leading dash.
fn fresh_id(image: &Image, rng: &mut crate::rng::Rng) -> Uuid {
    loop {
        let id = Uuid(rng.random());
        let reserved = id.0[..15] == [0; 15] && id.0[15] < 100;
        if !reserved && !id.to_string().starts_with('-') && image.topic_by_id(id).is_none() {
            return id;
        }
    }
}
