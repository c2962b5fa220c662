//! The coordinator over a log in memory, whose high watermark moves when the test says so.

mod consumers;
mod offsets;
mod random;
mod shards;

use super::*;
use crate::id::{ConnId, LeaderEpoch};
use crate::time::Timestamp;
use crate::wire::api::delete_groups::DeleteGroupsRequest;
use crate::wire::api::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use crate::wire::api::heartbeat::HeartbeatRequest;
use crate::wire::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::wire::api::list_groups::ListGroupsRequest;
use crate::wire::api::offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::wire::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use bytes::Bytes;

/// Topics `t` (3 partitions) and `u` (1), and whatever a test adds.
#[derive(Clone, Debug)]
struct Catalog(BTreeMap<String, (Uuid, i32)>);

impl Catalog {
    fn new() -> Self {
        Self([("t", 1, 3), ("u", 2, 1)].into_iter().map(|(name, id, n)| (name.to_owned(), (Uuid([id; 16]), n))).collect())
    }
}

impl Topics for Catalog {
    fn by_name(&self, name: &str) -> Option<(Uuid, i32)> {
        self.0.get(name).copied()
    }

    fn by_id(&self, id: Uuid) -> Option<(&str, i32)> {
        self.0.iter().find(|(_, (of, _))| *of == id).map(|(name, (_, n))| (name.as_str(), *n))
    }
}

/// One partition of `__consumer_offsets`.
#[derive(Clone, Debug, Default)]
struct MemoryLog {
    batches: Vec<Batch>,
    high: Offset,
}

impl MemoryLog {
    fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |batch| batch.header().next_offset())
    }
}

struct Bench {
    coordinator: Coordinator,
    catalog: Catalog,
    now: Now,
    logs: BTreeMap<PartitionIndex, MemoryLog>,
    /// The high watermark follows the log at once.
    safe_at_once: bool,
    /// The next appends are refused by the log.
    refusing: bool,
    /// Loads are not answered until the test says so.
    loads_wait: bool,
    loads: VecDeque<(PartitionIndex, u64, Offset, Offset)>,
    asked: u64,
    answers: BTreeMap<Token, Response>,
    warnings: Vec<String>,
}

impl Bench {
    /// A coordinator of three partitions.
    fn new() -> Self {
        let config = GroupConfig { partitions: 3, initial_delay: Duration::ZERO, ..GroupConfig::default() };
        let mut bench = Self {
            coordinator: Coordinator::new(config, 7),
            catalog: Catalog::new(),
            now: Now { at: Instant(0), wall: Timestamp(1_000_000) },
            logs: (0..3).map(|index| (PartitionIndex(index), MemoryLog::default())).collect(),
            safe_at_once: true,
            refusing: false,
            loads_wait: false,
            loads: VecDeque::new(),
            asked: 0,
            answers: BTreeMap::new(),
            warnings: Vec::new(),
        };
        (0..3).for_each(|index| bench.elect(PartitionIndex(index)));
        bench
    }

    fn elect(&mut self, at: PartitionIndex) {
        let log = &self.logs[&at];
        self.coordinator.elected(self.now, at, Offset::ZERO, log.end(), log.high);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(decision) = self.coordinator.poll() {
            match decision {
                Decision::Reply { token, body } => {
                    assert!(self.answers.insert(token, body).is_none(), "{token:?} was answered twice");
                }
                Decision::Append { partition, mark, batch } => self.append(partition, mark, &batch),
                Decision::Load { partition, run, from, until } if self.loads_wait => self.loads.push_back((partition, run, from, until)),
                Decision::Load { partition, run, from, until } => self.load(partition, run, from, until),
                Decision::Warn(text) => self.warnings.push(text),
            }
        }
    }

    fn append(&mut self, at: PartitionIndex, mark: Mark, batch: &Batch) {
        if self.refusing {
            self.coordinator.lost(at);
            return self.elect(at);
        }
        let log = self.logs.get_mut(&at).unwrap();
        let stamped = batch.stamp(log.end(), LeaderEpoch(0));
        log.batches.push(stamped);
        let end = log.end();
        self.coordinator.placed(at, mark, end);
        if self.safe_at_once {
            self.make_safe(at);
        }
    }

    /// One batch at a time, so that loading takes steps.
    fn load(&mut self, at: PartitionIndex, run: u64, from: Offset, until: Offset) {
        let batch = self.logs[&at].batches.iter().find(|batch| batch.header().last_offset() >= from && batch.header().base_offset < until);
        let batches: Vec<Batch> = batch.cloned().into_iter().collect();
        self.coordinator.loaded(self.now, at, run, &batches);
    }

    fn make_safe(&mut self, at: PartitionIndex) {
        let log = self.logs.get_mut(&at).unwrap();
        log.high = log.end();
        self.coordinator.high(at, log.high);
        self.carry_out();
    }

    fn make_all_safe(&mut self) {
        (0..3).for_each(|index| self.make_safe(PartitionIndex(index)));
    }

    /// The process ends, and another begins: what is not safe may be gone.
    fn crash(&mut self, keep_unsafe: bool) {
        let config = self.coordinator.config.clone();
        self.asked += 1;
        self.coordinator = Coordinator::new(config, self.asked);
        for index in (0..3).map(PartitionIndex) {
            let log = self.logs.get_mut(&index).unwrap();
            if !keep_unsafe {
                let high = log.high;
                log.batches.retain(|batch| batch.header().last_offset() < high);
            }
            log.high = log.end();
            self.elect(index);
        }
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now.at.after(by);
        while let Some(at) = self.coordinator.deadline().filter(|at| *at <= end) {
            self.set_clock(at.max(self.now.at));
            self.coordinator.tick(self.now, &self.catalog);
            self.carry_out();
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, at: Instant) {
        self.now.wall.0 += i64::try_from(at.since(self.now.at).as_millis()).unwrap();
        self.now.at = at;
    }

    fn caller(&mut self, version: i16) -> Caller {
        self.asked += 1;
        let token = Token { conn: ConnId(1), seq: self.asked };
        Caller { token, version, client: Client { id: "app".into(), host: "/10.0.0.1".into() } }
    }

    /// Asks, and returns the token of the answer to come.
    fn ask(&mut self, version: i16, ask: impl FnOnce(&mut Coordinator, Now, Caller, &Catalog)) -> Token {
        let caller = self.caller(version);
        let token = caller.token;
        ask(&mut self.coordinator, self.now, caller, &self.catalog);
        self.carry_out();
        token
    }

    fn waits(&self, token: Token) -> bool {
        !self.answers.contains_key(&token)
    }

    fn answer(&self, token: Token) -> &Response {
        self.answers.get(&token).unwrap_or_else(|| panic!("{token:?} still waits"))
    }

    fn commit_request(group: &str, member: &str, generation: i32, offset: i64) -> OffsetCommitRequest {
        let partition = OffsetCommitRequestPartition { committed_offset: Offset(offset), ..OffsetCommitRequestPartition::default() };
        let topic = OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..OffsetCommitRequestTopic::default() };
        OffsetCommitRequest {
            group_id: group.to_owned(),
            member_id: member.to_owned(),
            generation_id_or_member_epoch: generation,
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        }
    }

    /// Commits an offset of t-0 without being a member.
    fn commit(&mut self, group: &str, offset: i64) -> Token {
        let body = Self::commit_request(group, "", -1, offset);
        self.ask(9, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog))
    }

    fn committed(&self, token: Token) -> ErrorCode {
        let Response::OffsetCommit(body) = self.answer(token) else { panic!("no commit: {:?}", self.answer(token)) };
        body.topics[0].partitions[0].error_code
    }

    /// Asks for t-0.
    fn fetch(&mut self, group: &str) -> Token {
        let topic = OffsetFetchRequestTopics {
            name: "t".into(),
            partition_indexes: vec![PartitionIndex(0)],
            ..OffsetFetchRequestTopics::default()
        };
        self.fetch_topics(9, group, Some(vec![topic]))
    }

    fn fetch_topics(&mut self, version: i16, group: &str, topics: Option<Vec<OffsetFetchRequestTopics>>) -> Token {
        let group = OffsetFetchRequestGroup { group_id: group.to_owned(), topics, ..OffsetFetchRequestGroup::default() };
        let body = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
        self.ask(version, |coordinator, now, caller, catalog| coordinator.fetch(now, &caller, body, catalog))
    }

    /// The offset of t-0, or why not.
    fn fetched(&self, token: Token) -> Result<i64, ErrorCode> {
        let Response::OffsetFetch(body) = self.answer(token) else { panic!("no fetch: {:?}", self.answer(token)) };
        let group = &body.groups[0];
        if group.error_code != ErrorCode::NONE {
            return Err(group.error_code);
        }
        Ok(group.topics[0].partitions[0].committed_offset.0)
    }

    fn offset(&mut self, group: &str) -> Result<i64, ErrorCode> {
        let token = self.fetch(group);
        self.fetched(token)
    }

    fn join(&mut self, group: &str, member: &str) -> Token {
        let mut metadata = vec![0, 1, 0, 0, 0, 1, 0, 1, b't'];
        metadata.extend_from_slice(&[0xff; 4]);
        let body = JoinGroupRequest {
            group_id: group.to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            member_id: member.to_owned(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: metadata.into() }],
            ..JoinGroupRequest::default()
        };
        self.ask(9, |coordinator, now, caller, _| coordinator.join(now, caller, body))
    }

    fn joined(&self, token: Token) -> &JoinGroupResponse {
        let Response::JoinGroup(body) = self.answer(token) else { panic!("no join: {:?}", self.answer(token)) };
        body
    }

    fn sync(&mut self, group: &str, member: &str, generation: i32) -> Token {
        let body = SyncGroupRequest {
            group_id: group.to_owned(),
            generation_id: generation,
            member_id: member.to_owned(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: vec![SyncGroupRequestAssignment { member_id: member.to_owned(), assignment: Bytes::from_static(b"mine") }],
            ..SyncGroupRequest::default()
        };
        self.ask(5, |coordinator, now, caller, _| coordinator.sync(now, caller, body))
    }

    fn synced(&self, token: Token) -> ErrorCode {
        let Response::SyncGroup(body) = self.answer(token) else { panic!("no sync: {:?}", self.answer(token)) };
        body.error_code
    }

    fn heartbeat(&mut self, group: &str, member: &str, generation: i32) -> ErrorCode {
        let body = HeartbeatRequest {
            group_id: group.to_owned(),
            generation_id: generation,
            member_id: member.to_owned(),
            ..HeartbeatRequest::default()
        };
        let token = self.ask(4, |coordinator, now, caller, _| coordinator.heartbeat(now, &caller, &body));
        let Response::Heartbeat(body) = self.answer(token) else { panic!("no heartbeat: {:?}", self.answer(token)) };
        body.error_code
    }

    /// A member id and its generation, in a group that is stable with it alone.
    fn stable(&mut self, group: &str) -> (String, i32) {
        let first = self.join(group, "");
        let member = self.joined(first).member_id.clone();
        let second = self.join(group, &member);
        self.pass(Duration::ZERO);
        let generation = self.joined(second).generation_id;
        let sync = self.sync(group, &member, generation);
        assert_eq!(self.synced(sync), ErrorCode::NONE);
        (member, generation)
    }

    fn describe(&mut self, version: i16, group: &str) -> DescribedGroup {
        let body = DescribeGroupsRequest { groups: vec![group.to_owned()], include_authorized_operations: true };
        let token = self.ask(version, |coordinator, now, caller, _| coordinator.describe(now, &caller, body));
        let Response::DescribeGroups(body) = self.answer(token) else { panic!("no description") };
        body.groups[0].clone()
    }

    fn delete(&mut self, group: &str) -> Token {
        let body = DeleteGroupsRequest { groups_names: vec![group.to_owned()] };
        self.ask(2, |coordinator, now, caller, _| coordinator.delete_groups(now, &caller, body))
    }

    fn deleted(&self, token: Token) -> ErrorCode {
        let Response::DeleteGroups(body) = self.answer(token) else { panic!("no deletion") };
        body.results[0].error_code
    }

    /// Group, protocol type, state.
    fn list(&mut self, states: &[&str], types: &[&str]) -> Result<Vec<(String, String, String)>, ErrorCode> {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let body = ListGroupsRequest { states_filter: own(states), types_filter: own(types) };
        let token = self.ask(5, |coordinator, _, caller, _| coordinator.list(&caller, &body));
        let Response::ListGroups(body) = self.answer(token) else { panic!("no list") };
        if body.error_code != ErrorCode::NONE {
            return Err(body.error_code);
        }
        let mut groups: Vec<_> = body.groups.iter().map(|g| (g.group_id.clone(), g.protocol_type.clone(), g.group_state.clone())).collect();
        groups.sort();
        Ok(groups)
    }
}
