//! Three brokers, each a voter, over stores in memory: what one asks of another arrives at once, and time passes from deadline to deadline.

use bytes::Bytes;
use klamm_core::broker::io::{Effect, Halt, Input, Unreachable, fetched_of};
use klamm_core::broker::{Broker, Config, RecoveredNode};
use klamm_core::config::{BrokerConfig, Endpoint, LogDir, Properties};
use klamm_core::error::ErrorCode;
use klamm_core::id::{
    BrokerId, CallId, ConnId, CorrelationId, DirId, LeaderEpoch, ListenerId, LogId, Offset, PartitionIndex, Ticket, Uuid,
};
use klamm_core::log::segments::Segment;
use klamm_core::log::{FoundDir, FoundLog, Recovered};
use klamm_core::store::{Located, Region, StoreFault, StoreOp, Stored};
use klamm_core::time::{Instant, Now, Timestamp};
use klamm_core::wire::api::broker_heartbeat::BrokerHeartbeatRequest;
use klamm_core::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use klamm_core::wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use klamm_core::wire::batch::{Batch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity, Payload};
use klamm_core::wire::{ApiKey, Chunk, Records, Request, RequestHeader, Response};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A log: what of it is appended is durable.
#[derive(Clone, Debug)]
struct MemoryLog {
    dir: DirId,
    name: String,
    topic: Uuid,
    base: Offset,
    batches: Vec<Batch>,
    /// A bad batch that was found in it.
    damage: Option<Offset>,
}

impl MemoryLog {
    fn end(&self) -> Offset {
        self.batches.last().map_or(self.base, |b| b.header().next_offset())
    }

    fn state(&self) -> Result<Recovered, StoreFault> {
        if let Some(at) = self.damage {
            return Err(StoreFault::Damaged { at, why: "a bit has rotted".to_owned() });
        }
        let mut found = Recovered { start: self.base, segments: vec![Segment::empty(self.base)], ..Recovered::empty() };
        for batch in &self.batches {
            let header = batch.header();
            found.epochs.assign(header.leader_epoch, header.base_offset);
            found.producers.replay(header);
            found.segments[0].append(header);
        }
        found.end = self.end();
        Ok(found)
    }

    fn inside(&self, from: Offset, until: Offset) -> impl Iterator<Item = &Batch> {
        self.batches.iter().filter(move |b| b.header().next_offset() > from && b.header().next_offset() <= until)
    }
}

/// One broker and its disk.
struct Member {
    config: BrokerConfig,
    broker: Option<Broker>,
    logs: BTreeMap<LogId, MemoryLog>,
    saved: BTreeMap<(DirId, String), Bytes>,
    /// Directories whose disk has failed.
    failed: BTreeSet<DirId>,
    /// Directories whose disk is full.
    full: BTreeSet<DirId>,
    /// Logs that must be opened anew before they are cut or take appends, since a full disk has refused something.
    closed: BTreeSet<LogId>,
    seed: u64,
    /// Calls that others made and await, by connection and request.
    owed: BTreeMap<(ConnId, CorrelationId), (i32, CallId)>,
    /// Reads that fail, by log.
    rotten: BTreeMap<LogId, Offset>,
}

/// The cluster and one client.
pub(crate) struct Trio {
    members: BTreeMap<i32, Member>,
    inputs: VecDeque<(i32, Input)>,
    /// Nodes whose processes stand still, and what has come for them.
    frozen: BTreeMap<i32, Vec<Input>>,
    /// What the client was answered.
    replies: BTreeMap<CorrelationId, Response>,
    pub(crate) notes: Vec<(i32, String)>,
    /// What a node asks of others by these APIs is lost.
    lost: BTreeSet<(i32, ApiKey)>,
    /// How often the next dead node's door still opens, and closes without a word.
    ajar: usize,
    now: Now,
    next: i32,
}

const CLIENTS: std::ops::RangeInclusive<u64> = 1..=3;
const NODES: [i32; 3] = [1, 2, 3];
/// The first has the metadata log, so that the first topic goes into the second.
const DIRS: [DirId; 2] = [DirId(0), DirId(1)];

fn config(node: i32, fixed: &[(&str, &str)]) -> BrokerConfig {
    let mut all: Properties = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.entry("controller.quorum.voters".to_owned()).or_insert("1@n1:9093,2@n2:9093,3@n3:9093".to_owned());
    all.entry("min.insync.replicas".to_owned()).or_insert("2".to_owned());
    all.entry("broker.rack".to_owned()).or_insert(format!("r{node}"));
    let endpoint = |name: &str, port| Endpoint { name: name.to_owned(), host: format!("n{node}"), port, security: 0 };
    let dirs = DIRS.iter().map(|dir| LogDir { path: format!("/data-{}", dir.0), id: directory(node, *dir) }).collect();
    let mut config = BrokerConfig::new(BrokerId(node), "the-cluster", vec![endpoint("PLAINTEXT", 9092)], dirs, all).expect("valid");
    config.controllers = vec![endpoint("CONTROLLER", 9093)];
    config
}

fn directory(node: i32, dir: DirId) -> Uuid {
    Uuid([u8::try_from(node + 16 * i32::from(dir.0)).expect("few nodes"); 16])
}

/// Connections to the listener of the quorum begin here.
const QUORUM: ConnId = ConnId(20_000);

impl Trio {
    /// Three brokers that serve.
    pub(crate) fn new(fixed: &[(&str, &str)]) -> Self {
        let member = |node: i32| Member {
            config: config(node, fixed),
            broker: None,
            logs: BTreeMap::new(),
            saved: BTreeMap::new(),
            failed: BTreeSet::new(),
            full: BTreeSet::new(),
            closed: BTreeSet::new(),
            seed: u64::try_from(node).expect("positive"),
            owed: BTreeMap::new(),
            rotten: BTreeMap::new(),
        };
        let mut trio = Self {
            members: NODES.iter().map(|node| (*node, member(*node))).collect(),
            inputs: VecDeque::new(),
            frozen: BTreeMap::new(),
            replies: BTreeMap::new(),
            notes: Vec::new(),
            lost: BTreeSet::new(),
            ajar: 0,
            now: Now { at: Instant(1), wall: Timestamp(1_000_000) },
            next: 0,
        };
        NODES.iter().for_each(|node| trio.start(*node));
        trio.pass(Duration::from_secs(10));
        trio
    }

    fn member(&mut self, node: i32) -> &mut Member {
        self.members.get_mut(&node).expect("a node of three")
    }

    pub(crate) fn broker(&self, node: i32) -> &Broker {
        self.members[&node].broker.as_ref().expect("it is up")
    }

    /// The process starts over what lies on its disk.
    pub(crate) fn start(&mut self, node: i32) {
        self.start_with(node, &DIRS);
    }

    /// The process starts, and the directory of its topics cannot be opened.
    pub(crate) fn start_without_topics(&mut self, node: i32) {
        self.start_with(node, &DIRS[..1]);
    }

    fn start_with(&mut self, node: i32, opened: &[DirId]) {
        let member = self.member(node);
        member.seed += 100;
        let dirs: Vec<FoundDir> = opened.iter().map(|dir| member.found(*dir, directory(node, *dir))).collect();
        let missing = DIRS.iter().filter(|dir| !opened.contains(dir));
        let offline: Vec<(DirId, String)> = missing.map(|dir| (*dir, "no such folder".to_owned())).collect();
        let mut config = member.config.clone();
        // Such a directory has not told its id.
        offline.iter().for_each(|(dir, _)| config.dirs[usize::from(dir.0)].id = Uuid::ZERO);
        let config = Config::of(config, DIRS[0], &dirs).expect("valid");
        let mut broker = Broker::new(config, member.seed, RecoveredNode { dirs, offline });
        let peer = ([127, 0, 0, 1], 5).into();
        for conn in CLIENTS.map(ConnId).chain((0..1000).map(|at| ConnId(10_000 + at))) {
            broker.handle(self.now, Input::Opened { conn, listener: ListenerId(0), peer });
        }
        for conn in (0..1000).map(|at| ConnId(QUORUM.0 + at)) {
            broker.handle(self.now, Input::Opened { conn, listener: ListenerId(1), peer });
        }
        self.member(node).broker = Some(broker);
        self.inputs.push_back((node, Input::Tick));
        self.settle();
    }

    /// The process dies.
    pub(crate) fn kill(&mut self, node: i32) {
        let member = self.member(node);
        member.broker = None;
        let lost = std::mem::take(&mut member.owed);
        self.inputs.retain(|(to, _)| *to != node);
        self.frozen.remove(&node);
        for other in NODES.iter().filter(|other| **other != node) {
            self.member(*other).owed.retain(|_, (from, _)| *from != node);
        }
        for (from, call) in lost.into_values() {
            self.inputs.push_back((from, Input::Answer { call, outcome: Err(Unreachable::Lost), batches: Vec::new() }));
        }
        // Its connections close; those of its next process have the same numbers.
        let first = u64::try_from(node).expect("positive") * 100;
        let conns = (first..first + 100).flat_map(|at| [(ListenerId(0), ConnId(10_000 + at)), (ListenerId(1), ConnId(QUORUM.0 + at))]);
        for ((listener, conn), other) in conns.flat_map(|conn| NODES.iter().map(move |other| (conn, *other))) {
            self.inputs.push_back((other, Input::Closed { conn }));
            self.inputs.push_back((other, Input::Opened { conn, listener, peer: ([127, 0, 0, 1], 5).into() }));
        }
        self.settle();
    }

    /// The process dies, while so many new connections to it are still made, and then lost.
    pub(crate) fn kill_ajar(&mut self, node: i32, connections: usize) {
        self.ajar = connections;
        self.kill(node);
    }

    /// A heartbeat of `from` comes to `to` by a connection of whose end `to` never hears.
    pub(crate) fn beat_half_open(&mut self, from: i32, to: i32) {
        let broker_epoch = self.broker(from).view().broker_epoch().expect("it is registered");
        let body = BrokerHeartbeatRequest {
            broker_id: BrokerId(from),
            broker_epoch,
            current_metadata_offset: Offset(1 << 40),
            ..Default::default()
        };
        self.next += 1;
        let header = RequestHeader { api: ApiKey::BrokerHeartbeat, version: 1, correlation: CorrelationId(self.next), client_id: None };
        self.inputs.push_back((to, Input::Request { conn: QUORUM, header, body: body.into(), batches: Vec::new() }));
        self.settle();
    }

    /// The process is asked to stop.
    pub(crate) fn stop(&mut self, node: i32) {
        self.inputs.push_back((node, Input::Stop));
        self.settle();
    }

    /// The process stands still: nothing is lost, nor answered.
    pub(crate) fn freeze(&mut self, node: i32) {
        self.frozen.insert(node, Vec::new());
    }

    /// It goes on with what has come in the meantime.
    pub(crate) fn thaw(&mut self, node: i32) {
        let later = self.frozen.remove(&node).expect("it stands still");
        self.inputs.extend(later.into_iter().map(|input| (node, input)));
        self.settle();
    }

    /// What a node asks of others by an API is lost from now on, on its way.
    pub(crate) fn lose(&mut self, node: i32, api: ApiKey) {
        self.lost.insert((node, api));
    }

    /// Nothing is lost any more.
    pub(crate) fn lose_nothing(&mut self) {
        self.lost.clear();
    }

    /// Everything that can happen now, happens.
    pub(crate) fn settle(&mut self) {
        while let Some((node, input)) = self.inputs.pop_front() {
            let now = self.now;
            if let Some(later) = self.frozen.get_mut(&node) {
                later.push(input);
                continue;
            }
            let Some(broker) = &mut self.member(node).broker else { continue };
            broker.handle(now, input);
            broker.check();
            let mut effects = Vec::new();
            while let Some(effect) = broker.poll() {
                effects.push(effect);
            }
            effects.into_iter().for_each(|effect| self.carry_out(node, effect));
        }
    }

    fn carry_out(&mut self, node: i32, effect: Effect) {
        match effect {
            Effect::Reply { conn: ConnId(1..=3), correlation, body, .. } => drop(self.replies.insert(correlation, body)),
            Effect::Reply { conn, correlation, body, .. } => {
                let Some((from, call)) = self.member(node).owed.remove(&(conn, correlation)) else { return };
                let body = self.read_regions(node, body);
                let batches = fetched_of(&body);
                self.inputs.push_back((from, Input::Answer { call, outcome: Ok(body), batches }));
            }
            Effect::Call { call, to, version, body } => {
                let target = if to.id.0 > 0 { to.id.0 } else { NODES[usize::from(to.address.host.as_bytes()[1] - b'1')] };
                if self.lost.contains(&(node, body.api())) {
                    return self.inputs.push_back((node, Input::Answer { call, outcome: Err(Unreachable::Lost), batches: Vec::new() }));
                }
                if self.members[&target].broker.is_none() {
                    let why = if self.ajar > 0 { Unreachable::Lost } else { Unreachable::Refused };
                    self.ajar = self.ajar.saturating_sub(1);
                    return self.inputs.push_back((node, Input::Answer { call, outcome: Err(why), batches: Vec::new() }));
                }
                self.next += 1;
                let (lane, correlation) = (to.lane as u64, CorrelationId(self.next));
                let base = if to.address.port == 9093 { QUORUM.0 } else { 10_000 };
                let conn = ConnId(base + u64::try_from(node).expect("positive") * 100 + lane);
                self.member(target).owed.insert((conn, correlation), (node, call));
                let header = RequestHeader { api: body.api(), version, correlation, client_id: None };
                self.inputs.push_back((target, Input::Request { conn, header, body, batches: Vec::new() }));
            }
            Effect::HangUp { call } => {
                for member in self.members.values_mut() {
                    member.owed.retain(|_, owed| *owed != (node, call));
                }
            }
            Effect::Store { ticket, op } => self.execute(node, ticket, op),
            Effect::Note { text, .. } => self.notes.push((node, text)),
            Effect::Halt { why: Halt::Stopped } => {
                self.notes.push((node, "stopped".to_owned()));
                self.kill(node);
            }
            Effect::Halt { why } => panic!("node {node} halts: {why:?}"),
            Effect::Close { why, .. } => self.notes.push((node, format!("closed: {why}"))),
            Effect::Done { .. } | Effect::Mute { .. } | Effect::Unmute { .. } => {}
        }
    }

    /// What a region stands for: its position is the base offset of its first batch, its length how many batches there are.
    fn read_regions(&self, node: i32, mut body: Response) -> Response {
        let Response::Fetch(fetch) = &mut body else { return body };
        for answer in fetch.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
            let Some(records) = &mut answer.records else { continue };
            let mut pieces = Vec::new();
            for chunk in &records.0 {
                match chunk {
                    Chunk::Bytes(bytes) => pieces.push(Chunk::Bytes(bytes.clone())),
                    Chunk::Region(region) => {
                        let first = Offset(i64::try_from(region.position).expect("small"));
                        let batches = self.members[&node].logs[&region.log].inside(first, Offset(i64::MAX)).take(region.len as usize);
                        pieces.extend(batches.flat_map(Batch::pieces).cloned().map(Chunk::Bytes));
                    }
                }
            }
            *records = Records(pieces);
        }
        body
    }

    fn execute(&mut self, node: i32, ticket: Ticket, op: StoreOp) {
        let outcome = self.member(node).execute(op);
        self.inputs.push_back((node, Input::Stored { ticket, outcome }));
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn pass(&mut self, by: Duration) {
        self.settle();
        let end = self.now.at.after(by);
        let due = |trio: &Self| {
            let going = trio.members.iter().filter(|(node, _)| !trio.frozen.contains_key(node));
            let all = going.filter_map(|(node, member)| Some((member.broker.as_ref()?.deadline()?.0, *node)));
            all.min().filter(|(at, _)| *at <= end)
        };
        while let Some((at, node)) = due(self) {
            self.set_clock(at.max(self.now.at));
            self.inputs.push_back((node, Input::Tick));
            self.settle();
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, at: Instant) {
        self.now.wall.0 += i64::try_from(at.since(self.now.at).as_millis()).expect("short tests");
        self.now.at = at;
    }

    /// Sends a request of the client to one node.
    pub(crate) fn send(&mut self, node: i32, version: i16, body: impl Into<Request>, batches: Vec<Batch>) -> CorrelationId {
        self.send_by(1, node, version, body, batches)
    }

    /// Sends a request of one of the clients: each is answered in its own order.
    pub(crate) fn send_by(&mut self, client: u64, node: i32, version: i16, body: impl Into<Request>, batches: Vec<Batch>) -> CorrelationId {
        let body = body.into();
        self.next += 1;
        let correlation = CorrelationId(self.next);
        let header = RequestHeader { api: body.api(), version, correlation, client_id: None };
        let batches = batches.into_iter().map(Ok).collect();
        self.inputs.push_back((node, Input::Request { conn: ConnId(client), header, body, batches }));
        self.settle();
        correlation
    }

    /// The answer to a request, if it has come.
    pub(crate) fn answer(&mut self, correlation: CorrelationId) -> Option<Response> {
        self.replies.remove(&correlation)
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, node: i32, version: i16, body: impl Into<Request>) -> Response {
        let correlation = self.send(node, version, body, Vec::new());
        for _ in 0..300 {
            if let Some(answer) = self.answer(correlation) {
                return answer;
            }
            self.pass(Duration::from_millis(100));
        }
        panic!("no answer; notes: {:?}", self.notes)
    }

    /// A topic of one partition on so many of the nodes.
    pub(crate) fn create(&mut self, name: &str, replicas: i16, configs: &[(&str, &str)]) {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).to_owned(), value: Some((*value).to_owned()) };
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: 1,
            replication_factor: replicas,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        let Response::CreateTopics(made) = self.ask(1, 7, request) else { panic!("another answer") };
        assert_eq!(made.topics[0].error_code, ErrorCode::NONE);
        self.pass(Duration::from_secs(2));
    }

    /// Who leads the topic's partition, by what the nodes themselves say.
    pub(crate) fn leader(&self, topic: &str) -> i32 {
        let leads = |node: &&i32| self.members[node].broker.is_some() && self.state(**node, topic).starts_with("leads");
        *NODES.iter().find(leads).unwrap_or_else(|| panic!("{topic} has no leader"))
    }

    /// The others.
    pub(crate) fn followers(&self, topic: &str) -> Vec<i32> {
        let leader = self.leader(topic);
        NODES.iter().copied().filter(|node| *node != leader).collect()
    }

    /// Where a node's metadata log begins.
    pub(crate) fn metadata_start(&self, node: i32) -> Offset {
        self.members[&node].logs.values().find(|log| log.name == "__cluster_metadata-0").expect("it has one").base
    }

    /// What a node says of its replica.
    pub(crate) fn state(&self, node: i32, topic: &str) -> String {
        let summary = self.broker(node).summary();
        let line = summary.lines().find_map(|line| line.trim().strip_prefix(&format!("{topic}-0 ")).map(str::to_owned));
        line.unwrap_or_else(|| panic!("node {node} has no {topic}: {summary}"))
    }

    /// Where a node's replica begins, is committed, is durable, and ends.
    pub(crate) fn ends(&self, node: i32, topic: &str) -> [i64; 4] {
        let state = self.state(node, topic);
        let text = state.split("end Some((").nth(1).unwrap_or_else(|| panic!("it is not open: {state}"));
        let numbers = text.split("))").next().expect("a piece").split(|c: char| !c.is_ascii_digit()).filter(|piece| !piece.is_empty());
        let numbers: Vec<i64> = numbers.map(|piece| piece.parse().expect("a number")).collect();
        numbers.try_into().expect("four numbers")
    }

    /// Produces `batches` batches of one record each with these acks; the error code.
    pub(crate) fn produce(&mut self, topic: &str, batches: usize, acks: i16) -> ErrorCode {
        self.produce_many(topic, batches, 1, acks)
    }

    /// The same with so many records in each batch.
    pub(crate) fn produce_many(&mut self, topic: &str, batches: usize, records: usize, acks: i16) -> ErrorCode {
        let leader = self.leader(topic);
        for _ in 0..batches {
            let correlation = self.begin_produce(leader, topic, records, acks);
            self.pass(Duration::from_millis(20));
            let code = match self.answer(correlation) {
                Some(Response::Produce(body)) => body.responses[0].partition_responses[0].error_code,
                other => panic!("another answer: {other:?}"),
            };
            if code != ErrorCode::NONE {
                return code;
            }
        }
        ErrorCode::NONE
    }

    /// Produces one record of a producer with acks=all; the error code.
    pub(crate) fn produce_as(&mut self, topic: &str, identity: Identity) -> ErrorCode {
        let leader = self.leader(topic);
        let correlation = self.begin_produce_as(leader, topic, 1, -1, identity);
        self.pass(Duration::from_millis(20));
        match self.answer(correlation) {
            Some(Response::Produce(body)) => body.responses[0].partition_responses[0].error_code,
            other => panic!("another answer: {other:?}"),
        }
    }

    /// Sends one batch of so many records to a node, and does not wait for the answer.
    pub(crate) fn begin_produce(&mut self, node: i32, topic: &str, records: usize, acks: i16) -> CorrelationId {
        self.begin_produce_as(node, topic, records, acks, Identity::NONE)
    }

    fn begin_produce_as(&mut self, node: i32, topic: &str, records: usize, acks: i16, identity: Identity) -> CorrelationId {
        let mut builder = BatchBuilder::new(Compression::None, None);
        (0..records).for_each(|_| builder.push(self.now.wall, &Payload { key: None, value: Some("x".into()), headers: vec![] }));
        let data = PartitionProduceData { index: PartitionIndex(0), ..Default::default() };
        let data = TopicProduceData { name: topic.to_owned(), partition_data: vec![data], ..Default::default() };
        let request = ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![data], ..Default::default() };
        self.send(node, 9, request, vec![builder.finish(identity)])
    }

    /// A batch of a node's replica rots; reads, or the next start, will find it.
    pub(crate) fn rot(&mut self, node: i32, topic: &str, at: i64, is_found_at_start: bool) {
        let member = self.member(node);
        let (id, log) = member.logs.iter_mut().find(|(_, log)| log.name == format!("{topic}-0")).expect("its log");
        if is_found_at_start {
            log.damage = Some(Offset(at));
        }
        member.rotten.insert(*id, Offset(at));
    }

    /// The offset of a batch of a node's replica rots, which no checksum covers.
    pub(crate) fn displace(&mut self, node: i32, topic: &str, at: i64, to: i64) {
        let log = self.member(node).logs.values_mut().find(|log| log.name == format!("{topic}-0")).expect("its log");
        let batch = log.batches.iter_mut().find(|batch| batch.header().base_offset == Offset(at)).expect("the batch");
        *batch = batch.stamp(Offset(to), batch.header().leader_epoch);
    }

    /// The epoch of a batch of a node's replica rots, which no checksum covers either.
    pub(crate) fn misname(&mut self, node: i32, topic: &str, at: i64, epoch: i32) {
        let log = self.member(node).logs.values_mut().find(|log| log.name == format!("{topic}-0")).expect("its log");
        let batch = log.batches.iter_mut().find(|batch| batch.header().base_offset == Offset(at)).expect("the batch");
        *batch = batch.stamp(Offset(at), LeaderEpoch(epoch));
    }

    /// How many logs of a partition lie on a node's disk.
    pub(crate) fn copies(&self, node: i32, topic: &str) -> usize {
        self.members[&node].logs.values().filter(|log| log.name == format!("{topic}-0")).count()
    }

    /// Where the batches of a node's replica begin.
    pub(crate) fn bases(&self, node: i32, topic: &str) -> Vec<i64> {
        let log = self.members[&node].logs.values().find(|log| log.name == format!("{topic}-0")).expect("its log");
        log.batches.iter().map(|batch| batch.header().base_offset.0).collect()
    }

    /// Where a node's replica lies.
    fn home(&self, node: i32, topic: &str) -> DirId {
        self.members[&node].logs.values().find(|log| log.name == format!("{topic}-0")).expect("its log").dir
    }

    /// The disk under a node's replica fails.
    pub(crate) fn fail_disk(&mut self, node: i32, topic: &str) {
        let dir = self.home(node, topic);
        self.member(node).failed.insert(dir);
    }

    /// The disk of a node's topics fills up: the metadata has another one.
    pub(crate) fn fill_disk(&mut self, node: i32) {
        self.member(node).full.insert(DIRS[1]);
    }

    /// Somebody makes room there.
    pub(crate) fn make_room(&mut self, node: i32) {
        self.member(node).full.clear();
    }

    /// Writes a small file beside a node's replica, while the node is down.
    pub(crate) fn write(&mut self, node: i32, topic: &str, name: &str, text: &str) {
        let dir = self.home(node, topic);
        self.member(node).saved.insert((dir, name.to_owned()), Bytes::copy_from_slice(text.as_bytes()));
    }

    /// A small file beside a node's replica.
    pub(crate) fn saved(&self, node: i32, topic: &str, name: &str) -> Option<String> {
        let bytes = self.members[&node].saved.get(&(self.home(node, topic), name.to_owned()));
        bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Member {
    fn found(&self, dir: DirId, id: Uuid) -> FoundDir {
        let logs = self.logs.iter().filter(|(_, log)| log.dir == dir);
        let logs = logs.map(|(id, log)| FoundLog { log: *id, name: log.name.clone(), topic: log.topic, state: log.state() }).collect();
        let saved = self.saved.iter().filter(|((of, _), _)| *of == dir).map(|((_, name), bytes)| (name.clone(), bytes.clone())).collect();
        FoundDir { dir, id, clean: None, logs, saved }
    }

    /// The directory that an operation works in.
    fn dir_of(&self, op: &StoreOp) -> Option<DirId> {
        match op {
            StoreOp::Create { dir, .. }
            | StoreOp::Save { dir, .. }
            | StoreOp::Read { dir, .. }
            | StoreOp::Remove { dir, .. }
            | StoreOp::Space { dir } => Some(*dir),
            StoreOp::Delete { log }
            | StoreOp::Append { log, .. }
            | StoreOp::Roll { log, .. }
            | StoreOp::Sync { log }
            | StoreOp::Truncate { log, .. }
            | StoreOp::Restart { log, .. }
            | StoreOp::Clean { log, .. }
            | StoreOp::Discard { log, .. }
            | StoreOp::Reopen { log }
            | StoreOp::Locate { log, .. }
            | StoreOp::Load { log, .. }
            | StoreOp::FindTime { log, .. } => self.logs.get(log).map(|log| log.dir),
        }
    }

    fn execute(&mut self, op: StoreOp) -> Result<Stored, StoreFault> {
        if let Some(dir) = self.dir_of(&op).filter(|dir| self.failed.contains(dir)) {
            return Err(StoreFault::Offline { dir, why: "the disk has failed".to_owned() });
        }
        let is_full = self.dir_of(&op).is_some_and(|dir| self.full.contains(&dir));
        self.refuse(&op, is_full)?;
        let of = |log: LogId| self.logs.get(&log).ok_or(StoreFault::Gone);
        Ok(match op {
            StoreOp::Create { log, name, topic, dir } => {
                self.logs.insert(log, MemoryLog { dir, name, topic, base: Offset::ZERO, batches: Vec::new(), damage: None });
                Stored::Done
            }
            StoreOp::Delete { log } => {
                self.logs.remove(&log);
                Stored::Done
            }
            StoreOp::Append { log, at, batches } => {
                let log = self.logs.get_mut(&log).ok_or(StoreFault::Gone)?;
                assert_eq!(at, log.end(), "{}", log.name);
                log.batches.extend(batches);
                Stored::Appended { end: log.end() }
            }
            StoreOp::Sync { log } => Stored::Synced { end: of(log)?.end() },
            StoreOp::Truncate { log, to } => {
                let log = self.logs.get_mut(&log).ok_or(StoreFault::Gone)?;
                log.batches.retain(|batch| batch.header().next_offset() <= to);
                log.base = log.base.min(to);
                Stored::Reopened(Box::new(log.state()?))
            }
            StoreOp::Restart { log: id, at } => {
                self.rotten.remove(&id);
                let log = self.logs.get_mut(&id).ok_or(StoreFault::Gone)?;
                (log.base, log.damage) = (at, None);
                log.batches.clear();
                Stored::Reopened(Box::new(log.state()?))
            }
            StoreOp::Discard { .. } | StoreOp::Roll { .. } => Stored::Done,
            StoreOp::Clean { .. } => return Err(StoreFault::Gone),
            StoreOp::Reopen { log } => Stored::Reopened(Box::new(of(log)?.state()?)),
            StoreOp::Locate { log, from, until, .. } => {
                if let Some(at) = self.rotten.get(&log).filter(|at| (from..until).contains(*at)) {
                    return Err(StoreFault::Damaged { at: *at, why: "a bit has rotted".to_owned() });
                }
                let held = of(log)?;
                let batches: Vec<&Batch> = held.inside(from, until).collect();
                let Some((first, last)) = batches.first().zip(batches.last()) else { return Ok(Stored::Located(None)) };
                let first = first.header().base_offset;
                let position = u64::try_from(first.0).expect("not negative");
                let region = Region { log, segment: first, version: 0, position, len: u32::try_from(batches.len()).expect("few") };
                Stored::Located(Some(Located { region, first, next: last.header().next_offset() }))
            }
            StoreOp::Load { log, from, until, .. } => {
                let batches: Vec<Batch> = of(log)?.inside(from, until).take(20).cloned().collect();
                if let Some(at) = self.rotten.get(&log).filter(|at| batches.iter().any(|batch| batch.header().base_offset == **at)) {
                    return Err(StoreFault::Damaged { at: *at, why: "a bit has rotted".to_owned() });
                }
                Stored::Loaded(batches)
            }
            StoreOp::FindTime { .. } => Stored::Found(None),
            StoreOp::Save { dir, name, bytes } => {
                self.saved.insert((dir, name), bytes);
                Stored::Done
            }
            StoreOp::Remove { dir, name } => {
                self.saved.remove(&(dir, name));
                Stored::Done
            }
            StoreOp::Read { dir, name, from, max_bytes } => {
                let bytes = self.saved.get(&(dir, name)).ok_or(StoreFault::Gone)?;
                let (size, from) = (bytes.len(), usize::try_from(from).expect("small").min(bytes.len()));
                Stored::Read { size: size as u64, bytes: bytes.slice(from..size.min(from + max_bytes as usize)) }
            }
            StoreOp::Space { .. } => Stored::Space { total: 1 << 41, free: if is_full { 0 } else { 1 << 40 } },
        })
    }

    /// What a full disk refuses, and a log that it has closed.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of all operations, those that take room, or open what is closed")]
    fn refuse(&mut self, op: &StoreOp, is_full: bool) -> Result<(), StoreFault> {
        match op {
            StoreOp::Create { .. } | StoreOp::Save { .. } if is_full => Err(StoreFault::Full),
            StoreOp::Append { log, .. } | StoreOp::Truncate { log, .. } if self.closed.contains(log) => Err(StoreFault::Closed),
            StoreOp::Append { log, .. } | StoreOp::Truncate { log, .. } | StoreOp::Restart { log, .. } if is_full => {
                self.closed.insert(*log);
                Err(StoreFault::Full)
            }
            StoreOp::Restart { log, .. } | StoreOp::Reopen { log } => {
                self.closed.remove(log);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
