//! The group coordinator's place in the broker: requests go in, decisions come out, and `__consumer_offsets` is an ordinary topic.
//!
//! Decides only who coordinates. What a request means is decided in `coordinator`.

use super::io::Level;
use super::stored::Pending;
use super::{Broker, Token};
use crate::config::BrokerConfig;
use crate::controller::image::Image;
use crate::controller::name;
use crate::coordinator::consumer::Assignor;
use crate::coordinator::{Caller, Client, Coordinator, Decision, GroupConfig, Topics};
use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset, PartitionIndex, Uuid};
use crate::partition::PartitionId;
use crate::store::{StoreFault, StoreOp, Stored};
use crate::time::Now;
use crate::wire::RequestHeader;
use crate::wire::api::consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup};
use crate::wire::api::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::wire::api::find_coordinator::{Coordinator as Found, FindCoordinatorRequest, FindCoordinatorResponse};
use std::time::Duration;

/// Bytes of `__consumer_offsets` replayed at a time.
const STEP_BYTES: u32 = 1 << 20;

/// What a request wants a coordinator for.
const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;
const KEY_SHARE: i8 = 2;

/// Kafka's words for a key type that it does not know.
const BAD_REQUEST: &str = "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.";

impl GroupConfig {
    /// The limits that a broker's configuration gives.
    #[must_use]
    pub fn of(config: &BrokerConfig) -> Self {
        let ms = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let size = |size: i32| usize::try_from(size).unwrap_or(0);
        Self {
            partitions: config.offsets_partitions,
            initial_delay: ms(config.group_initial_rebalance_delay_ms.into()),
            max_size: size(config.group_max_size),
            consumer_session: ms(config.consumer_groups.session_ms.into()),
            consumer_heartbeat_ms: config.consumer_groups.heartbeat_ms,
            consumer_max_size: size(config.consumer_groups.max_size),
            assignors: config.consumer_groups.assignors.iter().filter_map(|name| Assignor::named(name)).collect(),
            session_min_ms: config.group_min_session_ms,
            session_max_ms: config.group_max_session_ms,
            metadata_max: size(config.offset_metadata_max_bytes),
            retention: ms(config.offsets_retention_ms),
            retention_check: ms(config.offsets_retention_check_ms),
            ..Self::default()
        }
    }
}

impl Topics for Image {
    fn by_name(&self, name: &str) -> Option<(Uuid, i32)> {
        self.topic(name).map(|topic| (topic.id, count(topic.partitions.len())))
    }

    fn by_id(&self, id: Uuid) -> Option<(&str, i32)> {
        self.topic_by_id(id).map(|topic| (&*topic.name, count(topic.partitions.len())))
    }
}

fn count(partitions: usize) -> i32 {
    i32::try_from(partitions).expect("partitions are numbered by 32 bits")
}

impl Broker {
    /// Asks the coordinator, and carries out what it decides.
    pub(super) fn ask_groups(&mut self, token: Token, header: RequestHeader, ask: impl FnOnce(&mut Coordinator, Now, Caller, &dyn Topics)) {
        let peer = self.conns.get(&token.conn).map(|conn| conn.peer.ip().to_canonical());
        let host = peer.map_or_else(String::new, |ip| format!("/{ip}"));
        let client = Client { id: header.client_id.unwrap_or_default(), host };
        let caller = Caller { token, version: header.version, client };
        ask(&mut self.groups, self.now, caller, self.admin.controller.image());
        self.carry_out_groups();
    }

    /// `ConsumerGroupHeartbeat`, where the cluster has that protocol.
    pub(super) fn consumer_heartbeat(&mut self, token: Token, header: RequestHeader, body: ConsumerGroupHeartbeatRequest) {
        if !self.image().has_consumer_groups() {
            let error_code = ErrorCode::UNSUPPORTED_VERSION;
            return self.reply(token, ConsumerGroupHeartbeatResponse { error_code, ..Default::default() }.into());
        }
        self.ask_groups(token, header, |groups, now, caller, topics| groups.consumer_heartbeat(now, caller, body, topics));
    }

    /// `ConsumerGroupDescribe`, where the cluster has that protocol.
    pub(super) fn describe_consumers(&mut self, token: Token, header: RequestHeader, body: ConsumerGroupDescribeRequest) {
        if !self.image().has_consumer_groups() {
            let refuse = |group_id| DescribedGroup { group_id, error_code: ErrorCode::UNSUPPORTED_VERSION, ..Default::default() };
            let groups = body.group_ids.into_iter().map(refuse).collect();
            return self.reply(token, ConsumerGroupDescribeResponse { groups, ..Default::default() }.into());
        }
        self.ask_groups(token, header, |groups, now, caller, topics| groups.describe_consumers(now, &caller, body, topics));
    }

    fn carry_out_groups(&mut self) {
        while let Some(decision) = self.groups.poll() {
            match decision {
                Decision::Reply { token, body } => self.reply(token, body),
                Decision::Append { partition, mark, batch } => {
                    let placed = self.offsets_partition(partition).and_then(|id| self.append(id, &batch).ok());
                    match placed {
                        Some(placed) => self.groups.placed(partition, mark, placed.next),
                        // Whoever took the leadership away says when it is back.
                        None => self.groups.lost(partition),
                    }
                }
                Decision::Load { partition, run, from, until } => self.load_groups(partition, run, from, until),
                Decision::Warn(text) => self.note(Level::Warn, text),
            }
        }
    }

    fn load_groups(&mut self, index: PartitionIndex, run: u64, from: Offset, until: Offset) {
        let Some(id) = self.offsets_partition(index) else { return };
        let Some(leader) = self.partitions.get(&id).and_then(|p| p.leader()) else { return };
        let op = StoreOp::Load { log: leader.log.id(), from, until, max_bytes: STEP_BYTES };
        self.store(op, Pending::Groups { partition: id, run });
    }

    /// Some records of a partition were read.
    pub(super) fn groups_loaded(&mut self, id: PartitionId, run: u64, outcome: Result<Stored, StoreFault>) {
        match outcome {
            Ok(Stored::Loaded(batches)) => self.groups.loaded(self.now, id.index, run, &batches),
            Ok(other) => unreachable!("a load is answered by batches, not by {other:?}"),
            // A fault of the directory, or a reopened log, has been or will be heard of: then it is loaded anew.
            Err(StoreFault::Offline { .. } | StoreFault::Closed | StoreFault::Gone | StoreFault::Full) => {}
            Err(StoreFault::Damaged { at, why }) => {
                self.note(Level::Error, format!("groups on __consumer_offsets-{} cannot be served: offset {at}: {why}", id.index));
            }
        }
        self.carry_out_groups();
    }

    /// A partition of `__consumer_offsets` begins to be led here.
    pub(super) fn groups_led(&mut self, id: PartitionId) {
        let Some(topic) = self.image().topic(name::CONSUMER_OFFSETS).filter(|topic| topic.id == id.topic) else { return };
        let partitions = count(topic.partitions.len());
        let Some(leader) = self.partitions.get(&id).and_then(|p| p.leader()) else { return };
        let (start, end, high) = (leader.log.start(), leader.log.end(), leader.high());
        self.groups.set_partitions(partitions);
        self.groups.elected(self.now, id.index, start, end, high);
        self.carry_out_groups();
    }

    /// The high watermark of a partition of `__consumer_offsets` moved.
    pub(super) fn groups_high(&mut self, id: PartitionId, high: Offset) {
        self.groups.high(id.index, high);
        self.carry_out_groups();
    }

    /// What was appended to a partition of `__consumer_offsets` may be lost.
    pub(super) fn groups_lost(&mut self, id: PartitionId) {
        self.groups.lost(id.index);
        self.carry_out_groups();
    }

    /// A topic is gone.
    pub(super) fn groups_forget(&mut self, topic: &str) {
        self.groups.topic_deleted(self.now, topic);
        self.carry_out_groups();
    }

    /// Does what is due in groups.
    pub(super) fn tick_groups(&mut self) {
        if self.groups.deadline().is_some_and(|at| at <= self.now.at) {
            self.groups.tick(self.now, self.admin.controller.image());
            self.carry_out_groups();
        }
    }

    fn offsets_partition(&self, index: PartitionIndex) -> Option<PartitionId> {
        self.image().topic(name::CONSUMER_OFFSETS).map(|topic| PartitionId { topic: topic.id, index })
    }

    /// `FindCoordinator`: whoever leads the group's partition.
    pub(super) fn find_coordinator(&mut self, token: Token, version: i16, body: FindCoordinatorRequest) {
        let kind = if version == 0 { KEY_GROUP } else { body.key_type };
        let keys = if version < 4 { vec![body.key] } else { body.coordinator_keys };
        let mut found: Vec<Found> = keys.into_iter().map(|key| self.coordinator_of(token, kind, key)).collect();
        let answer = if version < 4 {
            let Found { node_id, host, port, error_code, error_message, .. } = found.remove(0);
            // Old clients are told even of success in words.
            let error_message = if error_code == ErrorCode::NONE { Some("NONE".to_owned()) } else { error_message };
            FindCoordinatorResponse { error_code, error_message, node_id, host, port, ..FindCoordinatorResponse::default() }
        } else {
            FindCoordinatorResponse { coordinators: found, ..FindCoordinatorResponse::default() }
        };
        self.reply(token, answer.into());
    }

    fn coordinator_of(&mut self, token: Token, kind: i8, key: String) -> Found {
        let none = |error_code, words: &str| Found {
            key: String::new(),
            node_id: BrokerId(-1),
            host: String::new(),
            port: -1,
            error_code,
            error_message: Some(words.to_owned()),
        };
        let found = match kind {
            KEY_GROUP if self.image().topic(name::CONSUMER_OFFSETS).is_none() => {
                self.want_topics([name::CONSUMER_OFFSETS].into_iter());
                none(ErrorCode::COORDINATOR_NOT_AVAILABLE, "The coordinator is not available.")
            }
            KEY_GROUP => match self.group_leader(&key).and_then(|leader| self.address_of(token, leader)) {
                Some((node_id, host, port)) => Found { node_id, host, port, ..none(ErrorCode::NONE, "") },
                None => none(ErrorCode::COORDINATOR_NOT_AVAILABLE, "The coordinator is not available."),
            },
            // An error that clients do not retry: there will be no coordinator.
            KEY_TRANSACTION => none(ErrorCode::INVALID_REQUEST, "Transactions are not supported by this broker."),
            KEY_SHARE => none(ErrorCode::INVALID_REQUEST, ""),
            _ => none(ErrorCode::INVALID_REQUEST, BAD_REQUEST),
        };
        Found { key, ..found }
    }

    /// Who leads the group's partition. This broker names itself only when it does: what the metadata gives it may not have begun yet.
    fn group_leader(&mut self, group: &str) -> Option<BrokerId> {
        let partitions = count(self.image().topic(name::CONSUMER_OFFSETS)?.partitions.len());
        self.groups.set_partitions(partitions);
        let id = self.offsets_partition(self.groups.partition_of(group))?;
        let leader = self.decided(id)?.leader?;
        let is_ready = leader != self.config.broker.id || self.partitions.get(&id).is_some_and(|p| p.leader().is_some());
        is_ready.then_some(leader)
    }
}
