//! The consumer: reads partitions in order, from where it was told or its group left off, and hands records on when asked.
//!
//! Assigned by hand or by its group. Parts: `part.rs` one partition, `fetch.rs` reading, `search.rs` offsets by time, `group.rs` the group's
//! coordinator and commits, `member.rs` the classic membership protocol. Never blocks, and never hands on what was not asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::assign::Assignor;
use super::cluster::Cluster;
use super::io::{Common, Effect, Input};
use super::links::{LinkEffect, Outcome};
use super::producer::Token;
use super::{Topic, TopicPartition};
use crate::error::ErrorCode;
use crate::id::{BrokerId, Offset};
use crate::rng::stream;
use crate::time::{Instant, Now, Timestamp};
use crate::wire::record::Record;

mod fetch;
mod group;
mod member;
mod part;
mod search;
mod subscription;
#[cfg(test)]
mod tests;

use group::Group;
use part::{Part, Place};

/// Where to start, or to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// At this offset.
    Offset(Offset),
    /// At the log start.
    Earliest,
    /// At the end.
    Latest,
    /// At the first record of this time or later; at the end if there is none.
    At(Timestamp),
}

/// `auto.offset.reset`: what to do where nothing is committed, or the position is outside of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reset {
    /// Start at the log start.
    Earliest,
    /// Start at the end.
    #[default]
    Latest,
    /// Tell the application, and wait for it to seek.
    None,
}

/// `isolation.level`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Everything below the high watermark.
    #[default]
    ReadUncommitted,
    /// Nothing of open or aborted transactions.
    ReadCommitted,
}

/// How a consumer behaves. Names and defaults are Kafka's.
#[derive(Clone, Debug)]
pub struct Config {
    /// What producer and consumer have in common.
    pub common: Common,
    /// The group to commit offsets to, and to be a member of if topics are subscribed.
    pub group: Option<GroupConfig>,
    /// `auto.offset.reset`
    pub reset: Reset,
    /// `isolation.level`
    pub isolation: Isolation,
    /// `client.rack`: where this client stands, so that it may be sent to a replica nearby (KIP-392).
    pub rack: String,
    /// `fetch.min.bytes`
    pub fetch_min_bytes: i32,
    /// `fetch.max.wait.ms`
    pub fetch_max_wait: Duration,
    /// `fetch.max.bytes`
    pub fetch_max_bytes: i32,
    /// `max.partition.fetch.bytes`; as much again may be fetched ahead while it waits to be asked for.
    pub partition_max_bytes: i32,
    /// The most that one batch may take after decompression, in bytes.
    pub decompressed_max_bytes: usize,
}

/// How a consumer takes part in its group. Names and defaults are Kafka's.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// `group.id`
    pub id: String,
    /// `group.instance.id`: makes it a static member, which keeps its partitions over a restart.
    pub instance: Option<String>,
    /// `session.timeout.ms`
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`
    pub heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: how long the application may keep records without asking for more, and how long a rebalance waits for it.
    pub max_poll_interval: Duration,
    /// `partition.assignment.strategy`, best first. Cooperative only if all are.
    pub assignors: Vec<Assignor>,
    /// `auto.commit.interval.ms`, or `None` with `enable.auto.commit=false`.
    pub auto_commit: Option<Duration>,
}

impl GroupConfig {
    /// Kafka's defaults.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            instance: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            auto_commit: Some(Duration::from_secs(5)),
        }
    }
}

impl Config {
    /// Kafka's defaults, without a group.
    #[must_use]
    pub fn new(common: Common) -> Self {
        Self {
            common: Common { auto_create_topics: false, ..common },
            group: None,
            reset: Reset::Latest,
            isolation: Isolation::ReadUncommitted,
            rack: String::new(),
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            decompressed_max_bytes: 64 << 20,
        }
    }
}

/// What an application asks of a consumer.
#[derive(Clone, Debug)]
pub enum Command {
    /// Read these partitions and no others, and be no member of a group.
    Assign {
        /// Which.
        parts: BTreeSet<TopicPartition>,
    },
    /// Read what the group assigns of these topics. An empty set leaves the group. Needs a group.
    Subscribe {
        /// Which.
        topics: BTreeSet<Topic>,
    },
    /// The application is done with all records it has, and takes up to `max_records` more: one `Records` follows as soon as there are any.
    Poll {
        /// At least one.
        max_records: usize,
    },
    /// Go on elsewhere. Ignored for partitions that are not assigned.
    Seek {
        /// Which partition.
        part: TopicPartition,
        /// Where.
        to: Target,
    },
    /// Do not read these partitions for now.
    Pause {
        /// Which.
        parts: BTreeSet<TopicPartition>,
    },
    /// Read them again.
    Resume {
        /// Which.
        parts: BTreeSet<TopicPartition>,
    },
    /// Commit these offsets, or, without any, everything that was handed on; `Committed` follows. Needs a group.
    Commit {
        /// Its name.
        token: Token,
        /// Where the group would go on, by partition.
        offsets: Option<BTreeMap<TopicPartition, Offset>>,
    },
    /// Commit if that is automatic, leave the group, close all connections; then `Closed` is told.
    Close,
}

/// What a consumer tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What a `Poll` asked for, at least one record. In order within each partition.
    Records {
        /// By partition.
        records: Vec<(TopicPartition, Vec<Record>)>,
    },
    /// The group gave these partitions to this member, in addition to what it has.
    Assigned {
        /// Which.
        parts: BTreeSet<TopicPartition>,
    },
    /// The group took these partitions back, after a commit if that is automatic.
    Revoked {
        /// Which.
        parts: BTreeSet<TopicPartition>,
    },
    /// This member was thrown out of its group: others may read these partitions already.
    Lost {
        /// Which.
        parts: BTreeSet<TopicPartition>,
    },
    /// What became of a commit.
    Committed {
        /// Which.
        token: Token,
        /// `Err`: its coordinator refused it, or could not be reached in time.
        outcome: Result<(), ErrorCode>,
    },
    /// There is no position: nothing is committed, or it is outside of the log, and `auto.offset.reset` is none. Seek to go on.
    NoPosition {
        /// Where.
        part: TopicPartition,
    },
    /// What the log holds here cannot be read. Seek to go on.
    Corrupt {
        /// Where.
        part: TopicPartition,
        /// The offset that would have been next.
        at: Offset,
    },
    /// The group will not have this member. Subscribe to try again.
    Refused {
        /// Why.
        error: ErrorCode,
    },
    /// The consumer is closed.
    Closed,
}

/// The parent's note on a call.
#[derive(Clone, Debug)]
enum Note {
    Fetch { broker: BrokerId, asked: BTreeMap<TopicPartition, Offset> },
    Search { asked: BTreeMap<TopicPartition, Target> },
    Group(group::Ask),
}

/// The sans-IO consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    config: Config,
    cluster: Cluster<Note>,
    parts: BTreeMap<TopicPartition, Part>,
    /// Brokers with a fetch under way.
    fetching: BTreeSet<BrokerId>,
    /// How many records the application waits for.
    demand: Option<usize>,
    /// Since when the application has records that it is not done with.
    busy: Option<Instant>,
    /// The partition after which to go on handing out records, so that none starves.
    turn: Option<TopicPartition>,
    group: Option<Group>,
    events: VecDeque<Event>,
    wake: Option<(Instant, &'static str)>,
    closing: bool,
    closed: bool,
}

impl Consumer {
    /// A consumer that has done nothing yet. The seed decides its random choices.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let cluster = Cluster::new(config.common.clone(), stream(seed, "consumer"));
        let group = config.group.clone().map(Group::new);
        Self {
            config,
            cluster,
            parts: BTreeMap::new(),
            fetching: BTreeSet::new(),
            demand: None,
            busy: None,
            turn: None,
            group,
            events: VecDeque::new(),
            wake: None,
            closing: false,
            closed: false,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Now, input: Input<Command>) {
        if self.closed {
            return;
        }
        let now = now.at;
        match input {
            Input::App(command) => self.command(now, command),
            Input::Tick | Input::Connected { .. } | Input::Closed { .. } | Input::Answer { .. } => {
                for outcome in self.cluster.absorb(now, input) {
                    self.outcome(now, outcome);
                }
            }
        }
        self.drive(now);
    }

    /// The next thing to do; `None` until the next input.
    pub fn poll(&mut self) -> Option<Effect<Event>> {
        if let Some(event) = self.events.pop_front() {
            return Some(Effect::Event(event));
        }
        Some(match self.cluster.poll()? {
            LinkEffect::Connect { conn, to } => Effect::Connect { conn, to },
            LinkEffect::Send { conn, call, version, request, answered } => Effect::Send { conn, call, version, request, answered },
            LinkEffect::Close { conn, why } => Effect::Close { conn, why },
        })
    }

    /// When to send `Tick`, and what for.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        self.wake
    }

    /// The next offset that will be handed on, by partition, as far as it is known.
    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Option<Offset>)> {
        self.parts.iter().map(|(part, state)| (part, state.delivered))
    }

    /// The end of a partition that consumers see, as last heard.
    #[must_use]
    pub fn high(&self, part: &TopicPartition) -> Option<Offset> {
        self.parts.get(part)?.high
    }

    /// The member's id and generation, while it has them.
    #[must_use]
    pub fn membership(&self) -> Option<(&str, i32)> {
        self.group.as_ref()?.membership()
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Assign { parts } => self.assign(now, parts),
            Command::Subscribe { topics } => self.subscribe(now, topics),
            Command::Poll { max_records } => {
                self.done_with_records();
                self.demand = Some(max_records.max(1));
            }
            Command::Seek { part, to } => {
                if let Some(state) = self.parts.get_mut(&part) {
                    state.go(place(to));
                }
            }
            Command::Pause { parts } => self.pause(&parts, true),
            Command::Resume { parts } => self.pause(&parts, false),
            Command::Commit { token, offsets } => self.commit(now, token, offsets),
            Command::Close => {
                self.done_with_records();
                self.demand = None;
                self.closing = true;
                self.leave(now);
            }
        }
    }

    fn done_with_records(&mut self) {
        self.busy = None;
        for state in self.parts.values_mut() {
            state.processed = state.delivered;
        }
    }

    fn assign(&mut self, now: Instant, parts: BTreeSet<TopicPartition>) {
        let topics = parts.iter().map(|part| Topic::clone(&part.topic)).collect();
        self.cluster.want_only(&topics);
        self.forget_subscription(now);
        self.parts.retain(|part, _| parts.contains(part));
        for part in parts {
            self.add_part(part);
        }
    }

    fn add_part(&mut self, part: TopicPartition) {
        let start = if self.group.is_some() { Place::Committed { asked: false, from: Instant::default() } } else { self.reset_place() };
        self.parts.entry(part).or_insert_with(|| Part::new(start));
    }

    /// Where `auto.offset.reset` says to go.
    fn reset_place(&self) -> Place {
        match self.config.reset {
            Reset::Earliest => place(Target::Earliest),
            Reset::Latest => place(Target::Latest),
            Reset::None => Place::Nowhere,
        }
    }

    /// Goes where `auto.offset.reset` says, or tells that there is nowhere to go.
    fn reset(&mut self, part: &TopicPartition) {
        let to = self.reset_place();
        let Some(state) = self.parts.get_mut(part) else { return };
        state.go(to);
        if to == Place::Nowhere {
            self.events.push_back(Event::NoPosition { part: part.clone() });
        }
    }

    fn pause(&mut self, parts: &BTreeSet<TopicPartition>, paused: bool) {
        for (_, state) in self.parts.iter_mut().filter(|(part, _)| parts.contains(*part)) {
            state.paused = paused;
        }
    }

    fn outcome(&mut self, now: Instant, outcome: Outcome<Note>) {
        match outcome {
            Outcome::Answered { of: Note::Fetch { broker, asked }, response } => self.fetched(now, broker, &asked, &response),
            Outcome::Lost { of: Note::Fetch { broker, asked } } => {
                self.fetching.remove(&broker);
                for part in asked.keys() {
                    self.back_to_leader(part);
                }
            }
            Outcome::Answered { of: Note::Search { asked }, response } => self.found(now, &asked, Some(&response)),
            Outcome::Lost { of: Note::Search { asked } } => self.found(now, &asked, None),
            Outcome::Answered { of: Note::Group(ask), response } => self.group_answered(now, ask, Some(&response)),
            Outcome::Lost { of: Note::Group(ask) } => self.group_answered(now, ask, None),
        }
    }

    /// Does everything that can be done now.
    fn drive(&mut self, now: Instant) {
        self.cluster.begin(now);
        self.drive_group(now);
        if self.closing {
            return self.finish_closing(now);
        }
        self.search(now);
        self.hand_out(now);
        self.fetch(now);
        self.wake = self.next_deadline(now);
    }

    fn finish_closing(&mut self, now: Instant) {
        if self.group.as_ref().is_some_and(|group| !group.is_gone()) {
            self.wake = self.next_deadline(now);
            return;
        }
        self.closed = true;
        self.wake = None;
        self.cluster.close();
        self.events.push_back(Event::Closed);
    }

    /// What was due by `now` and was not done waits for something else, which will be an input of its own.
    fn next_deadline(&self, now: Instant) -> Option<(Instant, &'static str)> {
        let parts = self.parts.values().filter_map(|state| match state.place {
            Place::Search { from, .. } => Some((from, "look an offset up again")),
            Place::Committed { from, .. } => Some((from, "ask for a committed offset again")),
            Place::At { .. } => Some((state.resting, "fetch again")),
            Place::Nowhere => None,
        });
        let group = self.group.iter().flat_map(|group| group.deadlines(self.busy, self.demand.is_some()));
        parts.chain(group).filter(|(at, _)| *at > now).chain(self.cluster.deadline(now)).min()
    }
}

fn place(to: Target) -> Place {
    match to {
        Target::Offset(next) => Place::At { next },
        target @ (Target::Earliest | Target::Latest | Target::At(_)) => {
            Place::Search { target, asked: false, from: Instant::default(), failures: 0 }
        }
    }
}
