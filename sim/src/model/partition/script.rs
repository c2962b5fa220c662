//! The controller by a script: it registers brokers, decides who leads and who is in sync, and writes that into a metadata log which each broker reads when
//! it is its turn.

use klamm_core::controller::Record;
use klamm_core::controller::record::batch;
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Uuid};
use klamm_core::time::Timestamp;
use klamm_core::wire::api::alter_partition::{AlterPartitionRequest, AlterPartitionResponse, PartitionData, PartitionResult, TopicResult};
use klamm_core::wire::api::broker_registration::BrokerRegistrationRequest;
use klamm_core::wire::batch::Batch;
use klamm_core::wire::records::metadata::{BrokerEndpoint, PartitionChangeRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const TOPIC: Uuid = Uuid([9; 16]);
pub(super) const NAME: &str = "t";
pub(super) const WALL: Timestamp = Timestamp(1_000_000);
/// The controller's epoch: there is one controller.
pub(super) const CONTROLLER_EPOCH: LeaderEpoch = LeaderEpoch(1);

#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) log: Vec<Batch>,
    end: Offset,
    pub(super) leader: BrokerId,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) isr: BTreeSet<BrokerId>,
    partition_epoch: i32,
    brokers: BTreeMap<BrokerId, i64>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            log: Vec::new(),
            end: Offset::ZERO,
            leader: BrokerId(1),
            leader_epoch: LeaderEpoch(0),
            isr: BTreeSet::new(),
            partition_epoch: 0,
            brokers: BTreeMap::new(),
        }
    }

    pub(super) fn end(&self) -> Offset {
        self.end
    }

    /// What the metadata log holds at `from`.
    pub(super) fn at(&self, from: Offset) -> Option<&Batch> {
        self.log.iter().find(|batch| batch.header().base_offset == from)
    }

    fn append(&mut self, records: &[Record]) {
        let batch = batch(records, WALL).stamp(self.end, CONTROLLER_EPOCH);
        self.end = batch.header().next_offset();
        self.log.push(batch);
    }

    /// A topic of one partition on all brokers, led by the first.
    pub(super) fn create(&mut self, directories: Vec<Uuid>) {
        let replicas: Vec<BrokerId> = self.brokers.keys().copied().collect();
        self.isr = replicas.iter().copied().collect();
        let partition = PartitionRecord {
            partition_id: PartitionIndex(0),
            topic_id: TOPIC,
            isr: replicas.clone(),
            replicas,
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: 0,
            directories,
            ..Default::default()
        };
        self.append(&[Record::Topic(TopicRecord { name: NAME.to_owned(), topic_id: TOPIC }), Record::Partition(partition)]);
    }

    /// Each decision: a new leadership, or only another ISR.
    fn change(&self, leader: Option<BrokerId>) -> Record {
        Record::PartitionChange(PartitionChangeRecord {
            partition_id: PartitionIndex(0),
            topic_id: TOPIC,
            isr: Some(self.isr.iter().copied().collect()),
            leader: leader.unwrap_or(BrokerId(-2)),
            ..Default::default()
        })
    }

    /// A process registers; its epoch. Whatever the one before was for the partition has ended: it is in sync no more, unless nobody else is, and leads
    /// anew if it does.
    pub(super) fn register(&mut self, request: &BrokerRegistrationRequest) -> i64 {
        let (id, epoch) = (request.broker_id, self.end.0);
        self.brokers.insert(id, epoch);
        let listener = |it: &klamm_core::wire::api::broker_registration::Listener| BrokerEndpoint {
            name: it.name.clone(),
            host: it.host.clone(),
            port: it.port,
            security_protocol: it.security_protocol,
        };
        let registered = Record::RegisterBroker(RegisterBrokerRecord {
            broker_id: id,
            incarnation_id: request.incarnation_id,
            broker_epoch: epoch,
            end_points: request.listeners.iter().map(listener).collect(),
            fenced: false,
            log_dirs: request.log_dirs.clone(),
            ..Default::default()
        });
        let was_in = self.isr.contains(&id);
        if was_in && self.isr.len() > 1 {
            self.isr.remove(&id);
        }
        let led = self.leader == id && was_in;
        if !was_in {
            self.append(&[registered]);
            return epoch;
        }
        let leader = led.then(|| *self.isr.first().expect("somebody is in sync"));
        self.move_on(leader);
        let change = self.change(leader);
        self.append(&[registered, change]);
        epoch
    }

    fn move_on(&mut self, leader: Option<BrokerId>) {
        self.partition_epoch += 1;
        if let Some(leader) = leader {
            self.leader = leader;
            self.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        }
    }

    /// Another member of the ISR leads from now on; the one that led stays in sync or does not.
    pub(super) fn elect(&mut self, leader: BrokerId, keeps: bool) {
        if !keeps {
            self.isr.remove(&self.leader);
        }
        self.move_on(Some(leader));
        let change = self.change(Some(leader));
        self.append(&[change]);
    }

    /// A follower is in sync no more.
    pub(super) fn shrink(&mut self, follower: BrokerId) {
        self.isr.remove(&follower);
        self.move_on(None);
        let change = self.change(None);
        self.append(&[change]);
    }

    /// A leader asks for another ISR (KIP-497).
    pub(super) fn alter(&mut self, request: &AlterPartitionRequest) -> AlterPartitionResponse {
        let judged = request.topics.iter().map(|topic| TopicResult {
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|ask| self.alter_one(request, ask)).collect(),
        });
        let topics = judged.collect();
        AlterPartitionResponse { topics, ..Default::default() }
    }

    fn alter_one(&mut self, request: &AlterPartitionRequest, ask: &PartitionData) -> PartitionResult {
        let code = self.judge(request, ask);
        if code.is_none() {
            self.isr = ask.new_isr_with_epochs.iter().map(|member| member.broker_id).collect();
            self.move_on(None);
            let change = self.change(None);
            self.append(&[change]);
        }
        PartitionResult {
            partition_index: ask.partition_index,
            error_code: code,
            leader_id: self.leader,
            leader_epoch: self.leader_epoch,
            isr: self.isr.iter().copied().collect(),
            partition_epoch: self.partition_epoch,
            ..Default::default()
        }
    }

    fn judge(&self, request: &AlterPartitionRequest, ask: &PartitionData) -> ErrorCode {
        let is_registered = |id: BrokerId, epoch: i64| self.brokers.get(&id) == Some(&epoch);
        if !is_registered(request.broker_id, request.broker_epoch) || request.broker_id != self.leader {
            return ErrorCode::INVALID_REQUEST;
        }
        if ask.leader_epoch != self.leader_epoch {
            return ErrorCode::FENCED_LEADER_EPOCH;
        }
        if ask.partition_epoch != self.partition_epoch {
            return ErrorCode::INVALID_UPDATE_VERSION;
        }
        if ask.new_isr_with_epochs.iter().all(|member| is_registered(member.broker_id, member.broker_epoch)) {
            ErrorCode::NONE
        } else {
            ErrorCode::INELIGIBLE_REPLICA
        }
    }
}
