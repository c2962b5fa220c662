//! The broker: one state machine. `handle` takes an input, `poll` drains the effects, `deadline` says when to come back.
//!
//! Parts return decisions; only `Broker` turns them into effects. This file routes; what a request means is decided in the file of its noun.

mod admin;
pub mod apis;
mod append;
mod boot;
mod configs;
mod conn;
mod describe;
mod describe_topics;
mod fetch;
mod fetch_session;
mod groups;
pub mod io;
mod lists;
mod local;
mod owners;
mod produce;
mod producer_ids;
mod stored;
mod topics;
mod validate;

use crate::config::BrokerConfig;
use crate::coordinator::{Coordinator, GroupConfig};
use crate::id::{ConnId, DirId, LogId, Ticket, Uuid};
use crate::log::tail::Tails;
use crate::log::{FoundDir, FoundLog};
use crate::partition::{Partition, PartitionId};
use crate::request::Token;
use crate::rng::{self, Rng};
use crate::store::StoreOp;
use crate::time::{Instant, Now};
use crate::wire::{Request, Response};
use conn::{Conn, Undecided};
use io::{Effect, Halt, Input, Level};
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
    /// Bytes of the newest batches held in memory, for all logs together.
    pub tail_bytes_max: u64,
    /// Below so many free bytes a log directory takes no more records of clients.
    pub reserve_bytes: u64,
    /// Producers that are silent for so long are forgotten (`producer.id.expiration.ms`).
    pub producer_expiration: Duration,
}

impl Config {
    /// The properties with everything else at its default.
    #[must_use]
    pub fn new(broker: BrokerConfig) -> Self {
        Self {
            broker,
            tail_bytes_max: TAIL_BYTES_DEFAULT,
            reserve_bytes: RESERVE_BYTES_DEFAULT,
            producer_expiration: Duration::from_secs(24 * 3600),
        }
    }
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
    Space,
}

impl Timer {
    fn reason(self) -> &'static str {
        match self {
            Self::Produce(_) => "a produce request's time-out",
            Self::Fetch(_) => "a fetch request's max wait",
            Self::Retention => "retention",
            Self::Space => "free space",
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
    partitions: BTreeMap<PartitionId, Partition>,
    names: BTreeMap<Arc<str>, Uuid>,
    admin: admin::Admin,
    groups: Coordinator,
    dirs: Vec<local::Dir>,
    tails: Tails,
    producing: BTreeMap<Token, produce::Producing>,
    fetching: BTreeMap<Token, fetch::Fetching>,
    sessions: fetch_session::Sessions,
    listing: BTreeMap<Token, lists::Listing>,
    phase: boot::Phase,
    /// Logs the store found, by folder, that no partition has taken up yet.
    found: BTreeMap<String, (DirId, FoundLog)>,
}

impl Broker {
    /// A broker over what the store found. `seed` feeds all of its chance.
    #[must_use]
    pub fn new(config: Config, seed: u64, recovered: RecoveredNode) -> Self {
        let next_log = recovered.dirs.iter().flat_map(|dir| &dir.logs).map(|found| found.log.0 + 1).max().unwrap_or(0);
        let mut broker = Self {
            now: Now::default(),
            rng: rng::stream(seed, "broker"),
            effects: VecDeque::new(),
            conns: BTreeMap::new(),
            to_pump: BTreeSet::new(),
            timers: BTreeSet::new(),
            next_ticket: 0,
            next_log,
            pending: BTreeMap::new(),
            partitions: BTreeMap::new(),
            names: BTreeMap::new(),
            admin: admin::Admin::default(),
            groups: Coordinator::new(GroupConfig::of(&config.broker), seed),
            dirs: config.broker.dirs.iter().map(|_| local::Dir::default()).collect(),
            tails: Tails::new(config.tail_bytes_max),
            producing: BTreeMap::new(),
            fetching: BTreeMap::new(),
            sessions: fetch_session::Sessions::new(usize::try_from(config.broker.fetch_sessions_max).unwrap_or(0)),
            listing: BTreeMap::new(),
            phase: boot::Phase::Booting,
            found: recovered
                .dirs
                .into_iter()
                .flat_map(|dir| dir.logs.into_iter().map(move |found| (found.name.clone(), (dir.dir, found))))
                .collect(),
            config,
        };
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
            Input::Answer { .. } => {}
            Input::Stored { ticket, outcome } => self.stored(ticket, outcome),
            Input::Stop => self.stop(),
        }
        self.fire_timers();
        self.tick_groups();
        while let Some(conn) = self.to_pump.pop_first() {
            self.pump(conn);
        }
    }

    /// The next thing to do; drain to `None`, then wait.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to send `Input::Tick`, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        let timer = self.timers.first().map(|(at, timer)| (*at, timer.reason()));
        let groups = self.groups.deadline().map(|at| (at, "a group's session, rebalance or answer"));
        [timer, groups].into_iter().flatten().min()
    }

    /// Decides what stands next on a connection, as far as its turn has come.
    fn pump(&mut self, conn: ConnId) {
        if self.phase == boot::Phase::Booting {
            return;
        }
        while let Some((token, request)) = self.conns.get_mut(&conn).and_then(|known| known.next(conn)) {
            self.decide(token, request);
        }
    }

    fn decide(&mut self, token: Token, request: Undecided) {
        let Undecided { header, body, batches } = request;
        match body {
            Request::Produce(body) => self.produce(token, header.version, body, batches),
            Request::Fetch(body) => self.fetch(token, header.version, body),
            Request::ListOffsets(body) => self.list_offsets(token, header.version, body),
            Request::OffsetForLeaderEpoch(body) => self.offset_for_leader_epoch(token, body),
            Request::ApiVersions(body) => self.api_versions(token, header.version, &body),
            Request::Metadata(body) => self.metadata(token, header.version, &body),
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
            Request::OffsetDelete(body) => {
                self.ask_groups(token, header, |groups, now, caller, topics| groups.delete_offsets(now, &caller, &body, topics));
            }
        }
    }

    /// Answers a request; what stood behind it is decided before `handle` returns.
    fn reply(&mut self, token: Token, body: Response) {
        self.answer(token, Some(body));
    }

    fn answer(&mut self, token: Token, body: Option<Response>) {
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
        let tokens = Token { conn, seq: 0 }..=Token { conn, seq: u64::MAX };
        let fetches: Vec<Token> = self.fetching.range(tokens.clone()).map(|(token, _)| *token).collect();
        fetches.into_iter().for_each(|token| self.drop_fetch(token));
        let lists: Vec<Token> = self.listing.range(tokens.clone()).map(|(token, _)| *token).collect();
        lists.into_iter().for_each(|token| drop(self.listing.remove(&token)));
        let produces: Vec<Token> = self.producing.range(tokens).map(|(token, _)| *token).collect();
        produces.into_iter().for_each(|token| self.drop_produce(token));
    }

    fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > self.now.at {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Produce(token) => self.produce_timed_out(token),
                Timer::Fetch(token) => self.fetch_waited(token),
                Timer::Retention => self.retain(),
                Timer::Space => self.ask_space(),
            }
        }
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
