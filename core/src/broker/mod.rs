//! The broker: one state machine. `handle` takes an input, `poll` drains the effects, `deadline` says when to come back.
//!
//! Parts return decisions; only `Broker` turns them into effects. This file routes; what a request means is decided in the file of its noun.

mod active;
mod admin;
pub mod apis;
mod append;
mod assign;
mod boot;
mod calls;
mod checkpoints;
mod clean;
mod configs;
mod conn;
mod delete_records;
mod describe;
mod describe_topics;
mod doubts;
mod elections;
mod fetch;
mod fetch_session;
mod forward;
mod groups;
mod hosted;
mod introduce;
pub mod io;
mod isr;
mod leaders;
mod life;
mod lists;
mod local;
mod move_dirs;
mod news;
mod owners;
mod produce;
mod producer_ids;
mod quorum;
mod range;
mod refusals;
mod replicas;
mod replicate;
mod roles;
mod scrub;
mod snapshot_fetch;
mod snapshots;
mod source;
mod stored;
mod summary;
mod throttle;
mod topics;
mod validate;
mod view;
mod voids;

pub use view::View;

use crate::config::{BrokerConfig, QuorumConfig};
use crate::controller::CommitId;
use crate::coordinator::{Coordinator, GroupConfig};
use crate::id::{BrokerId, CallId, ConnId, CorrelationId, DirId, LeaderEpoch, LogId, Offset, Ticket, Uuid};
use crate::log::tail::Tails;
use crate::log::{FoundDir, FoundLog};
use crate::partition::PartitionId;
use crate::quorum::{Quorum, Voters};
use crate::request::Token;
use crate::rng::{self, Rng};
use crate::store::StoreOp;
use crate::time::{Instant, Now};
use crate::wire::{Request, RequestHeader, Response};
use bytes::Bytes;
use conn::{Conn, Undecided};
use io::{Effect, Halt, Input, Level};
use rand::Rng as _;
use replicas::Replicas;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use stored::Pending;

/// Bytes of the newest batches that a broker holds in memory, unless it is told otherwise.
pub const TAIL_BYTES_DEFAULT: u64 = 16 << 20;
/// The room that a log directory keeps free of clients' records, unless it is told otherwise.
pub const RESERVE_BYTES_DEFAULT: u64 = 64 << 20;

/// What a broker is told at its start, and keeps.
#[derive(Clone, Debug)]
pub struct Config {
    /// Kafka's properties, and the node's identity.
    pub broker: BrokerConfig,
    /// Its part in the metadata quorum.
    pub quorum: QuorumConfig,
    /// Bytes of the newest batches held in memory, for all logs together.
    pub tail_bytes_max: u64,
    /// Below so many free bytes a log directory takes no more records of clients.
    pub reserve_bytes: u64,
}

impl Config {
    /// The properties and what was found of the quorum, with everything else at its default. A metadata log that is not there yet goes into `dir`.
    ///
    /// # Errors
    /// One line: a property of the quorum makes no sense, or its newest snapshot is damaged.
    pub fn of(broker: BrokerConfig, dir: DirId, found: &[FoundDir]) -> Result<Self, String> {
        let quorum = QuorumConfig::new(&broker, dir, found)?;
        Ok(Self { quorum, ..Self::new(broker) })
    }

    /// The properties with everything else at its default, for a node whose folders are empty.
    ///
    /// # Panics
    /// If a property of the quorum makes no sense.
    #[must_use]
    pub fn new(broker: BrokerConfig) -> Self {
        Self {
            quorum: QuorumConfig::new(&broker, DirId(0), &[]).expect("judged before"),
            broker,
            tail_bytes_max: TAIL_BYTES_DEFAULT,
            reserve_bytes: RESERVE_BYTES_DEFAULT,
        }
    }
}

/// A property in milliseconds; one that is negative means none.
fn ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// What the store found at its start.
#[derive(Clone, Debug, Default)]
pub struct RecoveredNode {
    /// The log directories that could be opened.
    pub dirs: Vec<FoundDir>,
    /// The others, and why: what lies there is offline. The first directory, with the metadata log, is never among them.
    pub offline: Vec<(DirId, String)>,
}

/// What is due at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    Produce(Token),
    Fetch(Token),
    Retention,
    Clean,
    CleanOn,
    Producers,
    Space,
    Call(CallId),
    Fetcher(BrokerId),
    Heartbeat,
    Brokers,
    Dial(BrokerId),
    Isr,
    Laggards,
    Deletion(Token),
    Doubting(Token),
    InDoubt { last: CommitId },
    Checkpoint,
    Places,
    Offer(PartitionId),
    Scrub,
    Forward(Token),
    Ids,
    Leave,
    Balance,
    Unclean,
    Introduction,
    Copies,
    Registration,
    Silence,
}

impl Timer {
    fn reason(self) -> &'static str {
        match self {
            Self::Produce(_) => "a produce request's time-out",
            Self::Fetch(_) => "a fetch request's max wait",
            Self::Retention => "retention",
            Self::Clean => "a look for dirty logs",
            Self::CleanOn => "the cleaner's rest",
            Self::Producers => "producers that are silent",
            Self::Space => "free space",
            Self::Call(_) => "a call's time-out",
            Self::Fetcher(_) => "a rest from fetching",
            Self::Heartbeat => "a heartbeat",
            Self::Brokers => "a broker's session",
            Self::Dial(_) => "a broker whose connection closed",
            Self::Isr => "a change of an ISR",
            Self::Laggards => "a look for lagging followers",
            Self::Deletion(_) => "a deletion's time-out",
            Self::InDoubt { .. } => "proposals whose fate nobody tells",
            Self::Doubting(_) => "a metadata request that waits for a leader",
            Self::Places => "what the controller is told of replicas' places",
            Self::Offer(_) => "the leadership of a damaged log",
            Self::Scrub => "a look for rot",
            Self::Checkpoint => "the checkpoints of high watermarks and log starts",
            Self::Forward(_) => "a request that waits for a controller",
            Self::Ids => "a block of producer ids",
            Self::Leave => "the end of a controlled shutdown",
            Self::Balance => "a look for leaders that are not preferred",
            Self::Unclean => "a look for partitions that may have an unclean leader",
            Self::Introduction => "what is known of a controller",
            Self::Copies => "replicas on their way to another directory",
            Self::Silence => "a look for a controller that is silent",
            Self::Registration => "the last moment to register",
        }
    }
}

/// One broker.
#[derive(Clone, Debug)]
pub struct Broker {
    config: Config,
    now: Now,
    rng: Rng,
    effects: VecDeque<Effect>,
    conns: BTreeMap<ConnId, Conn>,
    /// Connections on which something may have become decidable; a work list, so that a long queue needs no deep stack.
    to_pump: BTreeSet<ConnId>,
    timers: BTreeSet<(Instant, Timer)>,
    next_ticket: u64,
    next_log: u64,
    pending: BTreeMap<Ticket, Pending>,
    partitions: Replicas,
    names: BTreeMap<Arc<str>, Uuid>,
    admin: admin::Admin,
    groups: Coordinator,
    dirs: Vec<local::Dir>,
    tails: Tails,
    producing: BTreeMap<Token, produce::Producing>,
    fetching: BTreeMap<Token, fetch::Fetching>,
    /// Fetches that may have something to read now. They look when the step is over: in the midst of it, what was committed is taken up in part only.
    stirred: BTreeSet<Token>,
    sessions: fetch_session::Sessions,
    listing: BTreeMap<Token, lists::Listing>,
    deleting: BTreeMap<Token, delete_records::Deleting>,
    doubting: BTreeMap<Token, doubts::Doubting>,
    phase: boot::Phase,
    /// Logs the store found, by folder, that no partition has taken up yet.
    found: BTreeMap<String, Vec<(DirId, FoundLog)>>,
    /// Small files of the first directory, as the store found them.
    saved: BTreeMap<String, Bytes>,
    calls: calls::Calls,
    /// None before the metadata log is read.
    quorum: Option<Quorum>,
    /// The voters that the metadata log names, as it is read.
    log_voters: Vec<(Offset, Voters)>,
    /// And those that the snapshot names from which this node started.
    first_voters: Option<Voters>,
    snapshots: snapshots::Snapshots,
    metadata_fetch_open: bool,
    /// In which epoch whom.
    metadata_asked: Option<(LeaderEpoch, BrokerId)>,
    /// From where on what was sent of the metadata log was damaged, as it was last told.
    bad_metadata: Option<Offset>,
    fetchers: BTreeMap<BrokerId, replicate::Fetcher>,
    life: life::Life,
    duties: Option<active::Duties>,
    altering: isr::Altering,
    assigning: assign::Assigning,
    scrub: scrub::Scrub,
    cleaner: clean::Cleaner,
    forwarding: BTreeMap<Token, forward::Forwarding>,
    wrapped: BTreeMap<Token, forward::Wrapped>,
    throttles: throttle::Throttles,
    elections: elections::Elections,
    moves: move_dirs::Moves,
    voids: voids::Voids,
    news: news::News,
    /// The active controller is told of this one.
    is_introducing: bool,
}

impl Broker {
    /// A broker over what the store found. `seed` feeds all of its chance.
    #[must_use]
    pub fn new(config: Config, seed: u64, recovered: RecoveredNode) -> Self {
        let next_log = recovered.dirs.iter().flat_map(|dir| &dir.logs).map(|found| found.log.0 + 1).max().unwrap_or(0);
        let mut rng = rng::stream(seed, "broker");
        let saved = recovered.dirs.iter().find(|dir| dir.dir == config.quorum.dir).map(|dir| dir.saved.clone()).unwrap_or_default();
        let mut dirs: Vec<local::Dir> = config.broker.dirs.iter().map(|_| local::Dir::default()).collect();
        for found in &recovered.dirs {
            if let Some(dir) = dirs.get_mut(usize::from(found.dir.0)) {
                dir.checkpoints = checkpoints::Checkpoints::found(found);
            }
        }
        let life = life::Life::new(Uuid(rng.random()), boot::previous_epoch(&config, &saved, &recovered));
        let voids = saved.get(voids::VOIDS_FILE).map(|bytes| voids::Voids::read(&String::from_utf8_lossy(bytes))).unwrap_or_default();
        let mut broker = Self {
            now: Now::default(),
            rng,
            effects: VecDeque::new(),
            conns: BTreeMap::new(),
            to_pump: BTreeSet::new(),
            timers: BTreeSet::new(),
            next_ticket: 0,
            next_log,
            pending: BTreeMap::new(),
            partitions: Replicas::default(),
            names: BTreeMap::new(),
            admin: admin::Admin::default(),
            groups: Coordinator::new(GroupConfig::of(&config.broker), seed),
            dirs,
            tails: Tails::new(config.tail_bytes_max),
            producing: BTreeMap::new(),
            fetching: BTreeMap::new(),
            stirred: BTreeSet::new(),
            sessions: fetch_session::Sessions::new(usize::try_from(config.broker.fetch_sessions_max).unwrap_or(0)),
            listing: BTreeMap::new(),
            deleting: BTreeMap::new(),
            doubting: BTreeMap::new(),
            phase: boot::Phase::Loading,
            saved,
            calls: calls::Calls::default(),
            quorum: None,
            log_voters: Vec::new(),
            first_voters: None,
            snapshots: snapshots::Snapshots::default(),
            metadata_fetch_open: false,
            metadata_asked: None,
            bad_metadata: None,
            fetchers: BTreeMap::new(),
            life,
            duties: None,
            altering: isr::Altering::default(),
            assigning: assign::Assigning::default(),
            scrub: scrub::Scrub::default(),
            cleaner: clean::Cleaner::default(),
            forwarding: BTreeMap::new(),
            wrapped: BTreeMap::new(),
            throttles: throttle::Throttles::default(),
            elections: elections::Elections::default(),
            moves: move_dirs::Moves::default(),
            voids,
            news: news::News::default(),
            is_introducing: false,
            found: BTreeMap::new(),
            config,
        };
        broker.sort_out(recovered.dirs);
        recovered.offline.into_iter().for_each(|(dir, why)| broker.miss_dir(dir, why));
        broker.boot();
        broker
    }

    /// Takes in what happened. Infallible: a bad request is a reply, a bad disk is an effect.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Tick => {}
            Input::Opened { conn, listener, peer } => {
                let before = self.conns.insert(conn, Conn::new(listener, peer));
                assert!(before.is_none(), "connection {conn} was opened twice");
            }
            Input::Request { conn, header, body, batches } => {
                // A request may cross our own Close on its way in.
                let Some(known) = self.conns.get_mut(&conn) else { return };
                known.push(Undecided { header, body, batches });
                self.to_pump.insert(conn);
            }
            Input::Closed { conn } => self.closed(conn),
            Input::Answer { call, outcome, batches } => self.answered(call, outcome, batches),
            Input::Stored { ticket, outcome } => self.stored(ticket, outcome),
            Input::Stop => self.stop(),
        }
        while self.settle_once() {}
    }

    /// Does what an input left to do here; says whether that may have left more.
    fn settle_once(&mut self) -> bool {
        let mut any = self.fire_timers();
        self.tick_groups();
        any |= self.carry_out_quorum();
        while let Some((call, body)) = self.next_local() {
            any = true;
            let version = *body.api().versions().end();
            let header = RequestHeader { api: body.api(), version, correlation: CorrelationId(0), client_id: None };
            self.decide(Token { conn: calls::LOCAL, seq: call.0 }, Undecided { header, body, batches: Vec::new() });
        }
        while let Some((call, body)) = self.next_local_answer() {
            any = true;
            self.answered(call, Ok(body), Vec::new());
        }
        while let Some(token) = self.stirred.pop_first() {
            any = true;
            self.look(token);
        }
        while let Some(conn) = self.to_pump.pop_first() {
            any = true;
            self.pump(conn);
        }
        any
    }

    /// The next thing to do; drain to `None`, then wait.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Chance goes on from `rng`: for exhaustive exploration, where equal states must have equal futures.
    pub fn reseed(&mut self, rng: Rng) {
        if let Some(quorum) = &mut self.quorum {
            quorum.reseed(rng.clone());
        }
        self.rng = rng;
    }

    /// When to send `Input::Tick`, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let timer = self.timers.first().map(|(at, timer)| (*at, timer.reason()));
        let groups = self.groups.deadline().map(|at| (at, "a group's session, rebalance or answer"));
        // While its log is being cut the quorum is told nothing, not even the time.
        let is_told = self.partitions.get(&boot::METADATA).is_some_and(|metadata| metadata.open_log().is_some());
        let quorum = self.quorum.as_ref().filter(|_| is_told).and_then(Quorum::deadline).map(|at| (at, "the metadata quorum"));
        [timer, groups, quorum].into_iter().flatten().min()
    }

    /// Decides what stands next on a connection, as far as its turn has come.
    fn pump(&mut self, conn: ConnId) {
        let phase = self.phase;
        // Whoever goes on asking would keep a node that stops from ever being done: the end of its connection is the answer.
        if [boot::Phase::Loading, boot::Phase::Stopping].contains(&phase) {
            return;
        }
        // The quorum's listeners serve controllers, which need not be brokers too.
        let is_of_quorum = self.is_of_quorum(Token { conn, seq: 0 });
        let may = |request: &Undecided| phase != boot::Phase::Joining || is_of_quorum || boot::is_of_cluster(&request.body);
        while let Some((token, request)) = self.conns.get_mut(&conn).and_then(|known| known.next(conn, may)) {
            self.decide(token, request);
        }
    }

    fn decide(&mut self, token: Token, request: Undecided) {
        if token.conn != calls::LOCAL && !apis::is_open(request.header.api, self.is_of_quorum(token)) {
            return self.close(token.conn, "an API that is not served on this listener");
        }
        if !self.admin.controller.is_active() {
            if Self::is_for_controller(&request.body) {
                return self.forward(token, request);
            }
            if Self::is_of_nodes(&request.body)
                && let Some(body) = forward::not_controller(request.header.api)
            {
                return self.reply(token, body);
            }
        }
        let Undecided { header, body, batches } = request;
        let at = self.now.at;
        match body {
            Request::Produce(body) => self.produce(token, header.version, body, batches),
            Request::Fetch(body) => self.fetch(token, header.version, body),
            Request::ListOffsets(body) => self.list_offsets(token, header.version, body),
            Request::OffsetForLeaderEpoch(body) => self.offset_for_leader_epoch(token, body),
            Request::ApiVersions(body) => self.api_versions(token, header.version, &body),
            Request::Metadata(body) => self.metadata(token, header.version, body),
            Request::DescribeCluster(body) => self.describe_cluster(token, header.version, &body),
            Request::DescribeTopicPartitions(body) => self.describe_topic_partitions(token, &body),
            Request::DescribeLogDirs(body) => self.describe_log_dirs(token, &body),
            Request::CreateTopics(body) => self.create_topics(token, &body),
            Request::DeleteTopics(body) => self.delete_topics(token, header.version, &body),
            Request::CreatePartitions(body) => self.create_partitions(token, &body),
            Request::DeleteRecords(body) => self.delete_records(token, &body),
            Request::ElectLeaders(body) => self.elect_leaders(token, &body),
            Request::ListPartitionReassignments(body) => self.list_partition_reassignments(token, &body),
            Request::DescribeConfigs(body) => self.describe_configs(token, &body),
            Request::AlterConfigs(body) => self.alter_configs(token, &body),
            Request::IncrementalAlterConfigs(body) => self.incremental_alter_configs(token, &body),
            Request::ListConfigResources(body) => self.list_config_resources(token, header.version, &body),
            Request::InitProducerId(body) => self.init_producer_id(token, &body),
            Request::FindCoordinator(body) => self.find_coordinator(token, header.version, body),
            Request::JoinGroup(body) => self.ask_groups(token, header, |groups, now, caller, _| groups.join(now, caller, body)),
            Request::SyncGroup(body) => self.ask_groups(token, header, |groups, now, caller, _| groups.sync(now, caller, body)),
            Request::Heartbeat(body) => self.ask_groups(token, header, |groups, now, caller, _| groups.heartbeat(now, &caller, &body)),
            Request::LeaveGroup(body) => self.ask_groups(token, header, |groups, now, caller, _| groups.leave(now, &caller, body)),
            Request::DescribeGroups(body) => self.ask_groups(token, header, |groups, now, caller, _| groups.describe(now, &caller, body)),
            Request::ListGroups(body) => self.ask_groups(token, header, |groups, _, caller, _| groups.list(&caller, &body)),
            Request::DeleteGroups(body) => {
                self.ask_groups(token, header, |groups, now, caller, _| groups.delete_groups(now, &caller, body))
            }
            Request::OffsetCommit(body) => {
                self.ask_groups(token, header, |groups, now, caller, topics| groups.commit(now, &caller, &body, topics));
            }
            Request::OffsetFetch(body) => {
                self.ask_groups(token, header, |groups, now, caller, topics| groups.fetch(now, &caller, body, topics));
            }
            Request::ConsumerGroupHeartbeat(body) => self.consumer_heartbeat(token, header, body),
            Request::ConsumerGroupDescribe(body) => self.describe_consumers(token, header, body),
            Request::OffsetDelete(body) => {
                self.ask_groups(token, header, |groups, now, caller, topics| groups.delete_offsets(now, &caller, &body, topics));
            }
            Request::Vote(body) => self.tell_quorum(|quorum, tail| quorum.vote(at, token, body, tail)),
            Request::BeginQuorumEpoch(body) => self.tell_quorum(|quorum, tail| quorum.begin_epoch(at, token, body, tail)),
            Request::EndQuorumEpoch(body) => self.tell_quorum(|quorum, tail| quorum.end_epoch(at, token, body, tail)),
            Request::DescribeQuorum(body) => {
                let now = self.now;
                self.tell_quorum(|quorum, tail| quorum.describe(now, token, body, tail));
            }
            Request::AddRaftVoter(body) => self.tell_quorum(|quorum, tail| quorum.add_voter(at, token, body, tail)),
            Request::RemoveRaftVoter(body) => self.tell_quorum(|quorum, tail| quorum.remove_voter(at, token, body, tail)),
            Request::UpdateRaftVoter(body) => self.tell_quorum(|quorum, tail| quorum.update_voter(at, token, body, tail)),
            Request::Envelope(body) => self.unwrap_envelope(token, body),
            Request::BrokerRegistration(body) => self.register_broker(token, &body),
            Request::BrokerHeartbeat(body) => self.heartbeat_of(token, &body),
            Request::AlterPartition(body) => self.propose_reply(token, |planner| planner.alter_partition(&body)),
            Request::AllocateProducerIds(body) => self.propose_reply(token, |planner| planner.allocate_producer_ids(&body)),
            Request::UnregisterBroker(body) => self.propose_reply(token, |planner| planner.unregister_broker(&body)),
            Request::ControllerRegistration(body) => self.propose_reply(token, |planner| planner.register_controller(&body)),
            Request::AssignReplicasToDirs(body) => self.propose_reply(token, |planner| planner.assign_replicas_to_dirs(&body)),
            Request::UpdateFeatures(body) => self.propose_reply(token, |planner| planner.update_features(header.version, &body)),
            Request::AlterPartitionReassignments(body) => {
                self.propose_reply(token, |planner| planner.alter_partition_reassignments(&body));
            }
            Request::AlterReplicaLogDirs(body) => self.alter_replica_log_dirs(token, body),
            Request::FetchSnapshot(body) => self.fetch_snapshot(token, &body),
        }
    }

    /// Answers a request; what stood behind it is decided before `handle` returns.
    fn reply(&mut self, token: Token, body: Response) {
        self.answer(token, Some(body));
    }

    fn answer(&mut self, token: Token, body: Option<Response>) {
        if token.conn == calls::LOCAL {
            let body = body.expect("every call is answered");
            return self.answer_local(CallId(token.seq), body);
        }
        let body = match self.wrapped.remove(&token) {
            Some(wrapped) => body.map(|body| wrapped.wrap(&body)),
            None => body,
        };
        let Some(conn) = self.conns.get_mut(&token.conn) else { return };
        conn.answer(token, body, &mut self.effects);
        self.to_pump.insert(token.conn);
    }

    /// Closes a connection for `why`; nothing more is sent there.
    fn close(&mut self, conn: ConnId, why: &'static str) {
        if self.conns.contains_key(&conn) {
            self.effects.push_back(Effect::Close { conn, why });
            self.closed(conn);
        }
    }

    /// The connection is gone: its parked fetches go with it; its appends stay, only their answers have nowhere to go.
    fn closed(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        self.voice_gone(conn);
        let tokens = Token { conn, seq: 0 }..=Token { conn, seq: u64::MAX };
        let fetches: Vec<Token> = self.fetching.range(tokens.clone()).map(|(token, _)| *token).collect();
        fetches.into_iter().for_each(|token| self.drop_fetch(token));
        let lists: Vec<Token> = self.listing.range(tokens.clone()).map(|(token, _)| *token).collect();
        lists.into_iter().for_each(|token| drop(self.listing.remove(&token)));
        let deletions: Vec<Token> = self.deleting.range(tokens.clone()).map(|(token, _)| *token).collect();
        deletions.into_iter().for_each(|token| drop(self.drop_deletion(token)));
        let doubts: Vec<Token> = self.doubting.range(tokens.clone()).map(|(token, _)| *token).collect();
        doubts.into_iter().for_each(|token| drop(self.drop_doubt(token)));
        self.forwarding.retain(|token, _| token.conn != conn);
        self.wrapped.retain(|token, _| token.conn != conn);
        let produces: Vec<Token> = self.producing.range(tokens).map(|(token, _)| *token).collect();
        produces.into_iter().for_each(|token| self.drop_produce(token));
    }

    /// Does what is due; says whether anything was.
    fn fire_timers(&mut self) -> bool {
        let mut any = false;
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > self.now.at {
                break;
            }
            any = true;
            self.timers.pop_first();
            match timer {
                Timer::Produce(token) => self.produce_timed_out(token),
                Timer::Fetch(token) => self.look_again(token),
                Timer::Retention => self.retain(),
                Timer::Clean => self.clean(),
                Timer::CleanOn => self.clean_on(),
                Timer::Producers => self.expire_producers(),
                Timer::Space => self.ask_space(),
                Timer::Call(call) => self.call_timed_out(call),
                Timer::Fetcher(leader) => self.fetcher_rested(leader),
                Timer::Heartbeat => self.beat(),
                Timer::Brokers => self.watch_brokers(),
                Timer::Dial(broker) => self.dial_again(broker),
                Timer::Isr => self.alter_partitions(),
                Timer::Laggards => self.look_at_laggards(),
                Timer::Deletion(token) => self.end_deletion(token),
                Timer::Doubting(token) => self.end_doubt(token),
                Timer::InDoubt { last } => self.doubt_no_more(last),
                Timer::Places => self.assign_replicas(),
                Timer::Offer(id) => self.offer_again(id),
                Timer::Scrub => self.scrub(),
                Timer::Checkpoint => self.checkpoint(),
                Timer::Forward(token) => self.try_forward(token),
                Timer::Ids => self.give_producer_ids(),
                Timer::Leave => self.leave_late(),
                Timer::Balance => self.balance_leaders(),
                Timer::Unclean => self.elect_unclean_leaders(),
                Timer::Introduction => self.introduce(),
                Timer::Copies => self.copy_on_all(),
                Timer::Silence => self.look_for_silence(),
                Timer::Registration => self.give_up_registration(),
            }
        }
        any
    }

    fn timer(&mut self, after: Duration, timer: Timer) -> Instant {
        let at = self.now.at.after(after);
        self.timers.insert((at, timer));
        at
    }

    fn store(&mut self, op: StoreOp, pending: Pending) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.pending.insert(ticket, pending);
        self.effects.push_back(Effect::Store { ticket, op });
        ticket
    }

    fn note(&mut self, level: Level, text: String) {
        self.effects.push_back(Effect::Note { level, text });
    }

    fn halt(&mut self, why: Halt) {
        self.effects.push_back(Effect::Halt { why });
    }

    fn new_log(&mut self) -> LogId {
        let log = LogId(self.next_log);
        self.next_log += 1;
        log
    }

    fn dir_offline(&self, dir: DirId) -> Option<&str> {
        self.dirs.get(usize::from(dir.0)).and_then(|d| d.offline.as_deref())
    }
}

#[cfg(test)]
impl Broker {
    /// Broker 1, which has one directory and has found nothing there.
    fn for_tests() -> Self {
        Self::that_found(RecoveredNode::default())
    }

    /// Broker 1, which has one directory and has found that there.
    fn that_found(recovered: RecoveredNode) -> Self {
        let endpoint = crate::config::Endpoint { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092, security: 0 };
        let dir = crate::config::LogDir { path: "/data".to_owned(), id: Uuid([7; 16]) };
        let config = BrokerConfig::new(BrokerId(1), "c", vec![endpoint], vec![dir], crate::config::Properties::new());
        Self::new(Config::new(config.expect("valid")), 7, recovered)
    }
}
