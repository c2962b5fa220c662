//! The group coordinator: groups and their offsets, as what the records of `__consumer_offsets` rebuild. One shard for each of its partitions.
//!
//! **Plan → append → replay → reply.** A request plans records against the current state; they are handed out to be appended, and replayed at once;
//! the answer is held until the high watermark has passed the last append that touched what it shows. If an append is lost, or the leadership ends,
//! the shard's state is dropped and loaded from the log before it answers again. A heartbeat promises nothing new, so it never waits.
//!
//! Pure: decisions come out of `poll`, and nothing happens but by a call. Never touches a log: it does not even know offsets but those it is told.

mod admin;
pub mod consumer;
mod consumers;
pub mod group;
mod held;
mod kept;
mod life;
mod members;
pub mod offsets;
mod progress;
pub mod records;
mod shard;
#[cfg(test)]
mod tests;

pub use shard::Mark;

use crate::error::ErrorCode;
use crate::id::{Offset, PartitionIndex, Uuid};
use crate::probe;
use crate::request::Token;
use crate::rng::{self, Rng};
use crate::time::{Instant, Now};
use crate::wire::Response;
use crate::wire::batch::{Batch, Compression};
use crate::wire::record::{BatchBuilder, Identity};
use consumer::Assignor;
use group::{Outcome, Turn};
use held::Held;
use kept::{AnyGroup, Kept};
use life::Loading;
use records::Event;
use shard::Shard;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Who connected, as tools show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// Its `client.id`.
    pub id: String,
    /// Where it came from, as Kafka prints it: a slash and the address.
    pub host: String,
}

/// Who asks, and how the answer finds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Comes back with the answer.
    pub token: Token,
    /// The version of the request.
    pub version: i16,
    /// Who.
    pub client: Client,
}

/// What the coordinator must know of topics.
pub trait Topics {
    /// Id and number of partitions of the topic of that name.
    fn by_name(&self, name: &str) -> Option<(Uuid, i32)>;
    /// Name and number of partitions of the topic of that id.
    fn by_id(&self, id: Uuid) -> Option<(&str, i32)>;
}

/// Something to be done for the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send the answer.
    Reply {
        /// To whom.
        token: Token,
        /// What.
        body: Response,
    },
    /// Append to this partition of `__consumer_offsets`, then say `placed` with the end; or `lost`.
    Append {
        /// Which.
        partition: PartitionIndex,
        /// Comes back with `placed`.
        mark: Mark,
        /// What.
        batch: Batch,
    },
    /// Read some batches, then say `loaded`.
    Load {
        /// Of which partition.
        partition: PartitionIndex,
        /// Comes back with `loaded`.
        run: u64,
        /// From here.
        from: Offset,
        /// Exclusive.
        until: Offset,
    },
    /// The operator should read this.
    Warn(String),
}

/// The limits of groups and offsets, by Kafka's property names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `offsets.topic.num.partitions`, or what `__consumer_offsets` has.
    pub partitions: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_delay: Duration,
    /// `group.max.size`
    pub max_size: usize,
    /// `group.min.session.timeout.ms`
    pub session_min_ms: i32,
    /// `group.max.session.timeout.ms`
    pub session_max_ms: i32,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session: Duration,
    /// `group.consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_ms: i32,
    /// `group.consumer.max.size`
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`: the first is taken where members have no wish.
    pub assignors: Vec<Assignor>,
    /// `offset.metadata.max.bytes`; counted as Kafka does, in UTF-16 units
    pub metadata_max: usize,
    /// `offsets.retention.minutes`
    pub retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub retention_check: Duration,
    /// `offsets.commit.timeout.ms`: how long an answer waits for what it shows to be safe.
    pub commit_timeout: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            partitions: 50,
            initial_delay: Duration::from_secs(3),
            max_size: usize::try_from(i32::MAX).expect("32 bits fit"),
            session_min_ms: 6_000,
            session_max_ms: 1_800_000,
            consumer_session: Duration::from_secs(45),
            consumer_heartbeat_ms: 5_000,
            consumer_max_size: usize::try_from(i32::MAX).expect("32 bits fit"),
            assignors: Assignor::ALL.to_vec(),
            metadata_max: 4096,
            retention: Duration::from_secs(7 * 24 * 3600),
            retention_check: Duration::from_secs(600),
            commit_timeout: Duration::from_secs(5),
        }
    }
}

/// What is due at an instant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A group's sessions or rebalance.
    Group(PartitionIndex, String),
    /// A look for expired offsets.
    Expiry(PartitionIndex),
    /// An answer that has waited too long.
    Held(u64),
}

/// A partition of `__consumer_offsets` that is led here.
#[derive(Clone, Debug)]
enum Slot {
    Loading(Loading),
    Active(Box<Shard>),
}

/// The coordinator of all groups whose partitions are led here.
#[derive(Clone, Debug)]
pub struct Coordinator {
    config: GroupConfig,
    rng: Rng,
    slots: BTreeMap<PartitionIndex, Slot>,
    /// Grows whenever topics change.
    topics_version: u64,
    held: BTreeMap<u64, Held>,
    next_held: u64,
    next_run: u64,
    timers: BTreeSet<(Instant, Due)>,
    decisions: VecDeque<Decision>,
}

impl Coordinator {
    /// A coordinator of nothing yet.
    #[must_use]
    pub fn new(config: GroupConfig, seed: u64) -> Self {
        Self {
            config,
            rng: rng::stream(seed, "groups"),
            slots: BTreeMap::new(),
            topics_version: 0,
            held: BTreeMap::new(),
            next_held: 0,
            next_run: 0,
            timers: BTreeSet::new(),
            decisions: VecDeque::new(),
        }
    }

    /// The next thing to do; drain to `None` after each call.
    pub fn poll(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    /// When to call `tick`.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// How many partitions `__consumer_offsets` has. While any of them is led here the number stays: groups would be looked for elsewhere.
    pub fn set_partitions(&mut self, partitions: i32) {
        if self.slots.is_empty() {
            self.config.partitions = partitions;
        }
    }

    /// Which partition of `__consumer_offsets` holds the group: |Java's hash| mod their number.
    #[must_use]
    pub fn partition_of(&self, group: &str) -> PartitionIndex {
        let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        // Kafka's `Utils.abs`: the one number without a positive counterpart is 0.
        let positive = if hash == i32::MIN { 0 } else { hash.abs() };
        PartitionIndex(positive % self.config.partitions.max(1))
    }

    /// The group's partition, if it can answer.
    fn ready(&self, group: &str) -> Result<PartitionIndex, ErrorCode> {
        let at = self.partition_of(group);
        match self.slots.get(&at) {
            Some(Slot::Active(_)) => Ok(at),
            Some(Slot::Loading(_)) => {
                probe!("a group was asked for while its shard loads");
                Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
            }
            None => Err(ErrorCode::NOT_COORDINATOR),
        }
    }

    fn shard(&self, at: PartitionIndex) -> &Shard {
        match self.slots.get(&at) {
            Some(Slot::Active(shard)) => shard,
            Some(Slot::Loading(_)) | None => unreachable!("asked only after `ready`"),
        }
    }

    fn shard_mut(&mut self, at: PartitionIndex) -> &mut Shard {
        match self.slots.get_mut(&at) {
            Some(Slot::Active(shard)) => shard,
            Some(Slot::Loading(_)) | None => unreachable!("asked only after `ready`"),
        }
    }

    fn kept(&self, at: PartitionIndex, group: &str) -> Option<&Kept> {
        self.shard(at).groups.get(group)
    }

    /// Calls a classic group that is there, writes it if it wants to, and sends its answers on their way.
    fn on_group<T>(&mut self, now: Now, at: PartitionIndex, group: &str, call: impl FnOnce(&mut group::Group, &mut Turn<'_>) -> T) -> T {
        let mut out = Outcome::default();
        let Some(Slot::Active(shard)) = self.slots.get_mut(&at) else { unreachable!("asked only after `ready`") };
        let kept = shard.groups.get_mut(group).expect("the caller found it");
        let AnyGroup::Classic(called) = &mut kept.group else { unreachable!("the caller found a classic one") };
        let mut turn = Turn { now, config: &self.config, rng: &mut self.rng, out: &mut out };
        let result = call(called, &mut turn);
        called.check();
        if out.store {
            let value = Some(called.snapshot());
            self.write(now, at, &[Event::Group { group: group.to_owned(), value }]);
        }
        self.schedule(at, group);
        let touched = self.shard(at).touched(group);
        for (token, answer) in out.answers {
            self.answer_member(now, token, answer, (at, touched));
        }
        result
    }

    /// Replays what was planned, and hands it out to be appended.
    fn write(&mut self, now: Now, at: PartitionIndex, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mark = self.shard_mut(at).replay_planned(events, now.wall);
        let mut builder = BatchBuilder::new(Compression::None, None);
        for event in events {
            builder.push(now.wall, &records::encode(event));
        }
        self.decisions.push_back(Decision::Append { partition: at, mark, batch: builder.finish(Identity::NONE) });
    }

    /// Puts the group's deadline among the timers.
    fn schedule(&mut self, at: PartitionIndex, group: &str) {
        let Some(Slot::Active(shard)) = self.slots.get_mut(&at) else { return };
        let Some(kept) = shard.groups.get_mut(group) else { return };
        let due = kept.group.deadline();
        if due == kept.due {
            return;
        }
        let before = std::mem::replace(&mut kept.due, due);
        if let Some(before) = before {
            self.timers.remove(&(before, Due::Group(at, group.to_owned())));
        }
        if let Some(due) = due {
            self.timers.insert((due, Due::Group(at, group.to_owned())));
        }
    }

    fn reply(&mut self, token: Token, body: Response) {
        self.decisions.push_back(Decision::Reply { token, body });
    }
}
