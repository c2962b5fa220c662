//! What simulated clients do, and the history they write down.

pub mod admin;
pub mod dir_moves;
pub mod elect;
pub mod ends;
pub mod fleeting;
pub mod gone;
pub mod group;
pub mod line;
pub mod minimum;
pub mod moves;
pub mod nearby;
pub mod operator;
pub mod producer;
pub mod reader;
pub mod sequence;
pub mod solo;
pub mod times;
pub mod trim;
pub mod voters;
pub mod whole;

use gone::Gone;
use group::Ledger;
use klamm_core::client::{Topic, TopicPartition};
use klamm_core::id::{BrokerId, LeaderEpoch, Uuid};
use klamm_core::quorum::Replica as Voter;
use klamm_core::time::Instant;
use klamm_jepsen::history::{Key, Offset, Process, Recorder, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Partitions of each topic, as Jepsen's kafka workload has it.
pub const PARTITIONS: u32 = 2;

/// What all clients of a run share: the history, and the values given out.
#[derive(Debug, Default)]
pub struct Shared {
    /// The history so far.
    pub recorder: Recorder,
    next_process: u32,
    next_value: BTreeMap<Key, i64>,
    /// Sends that were acknowledged under acks=all.
    pub acknowledged: u64,
    /// The highest offset acknowledged under acks=all, by key.
    pub reached: BTreeMap<Key, Offset>,
    /// What clients saw that no client may see.
    pub violations: Vec<String>,
    /// The topics are there.
    pub topics_made: bool,
    /// Sends that have begun and not ended.
    pub open: u32,
    /// No more sends are begun.
    pub draining: bool,
    /// What the last reader saw last, by key: for the report of a reader that is stuck.
    pub last_seen: BTreeMap<Key, String>,
    /// Readers that have reached the end of everything.
    pub finished: u32,
    /// Which records may have been deleted.
    pub gone: Gone,
    /// The times of the records that readers saw, by key and offset.
    pub times: BTreeMap<Key, BTreeMap<i64, i64>>,
    /// Where nodes said that logs end, by key, and by the epoch in which they led.
    pub ends: BTreeMap<Key, BTreeMap<LeaderEpoch, i64>>,
    /// Sends that begin from then on must end well: all is healed.
    pub calm_from: Option<u64>,
    /// How much longer producers rest between two sends.
    pub rest: Duration,
    /// The node's clock may be so wrong that it refuses records by right.
    pub misdates: bool,
    /// A disk rots: a batch may be damaged until its node finds out.
    pub rots: bool,
    /// The offsets that the last reader saw, by key.
    pub in_the_end: BTreeMap<Key, Vec<i64>>,
    /// What is known of each consumer group.
    pub groups: BTreeMap<String, Ledger>,
    /// Processes that read as members of a group.
    pub group_processes: BTreeSet<Process>,
    /// Every group is stable and has committed everything.
    pub groups_settled: bool,
    /// The id of the directory that each node has its metadata log in, as whoever formatted it last was told.
    pub disks: BTreeMap<BrokerId, Uuid>,
    /// The nodes that have lost a disk.
    pub replaced: BTreeSet<BrokerId>,
    /// Who votes in the end, by what the operator of the quorum achieved; `None` while it is at work.
    pub voters: Option<BTreeSet<Voter>>,
    /// What the cluster lacks, as a node told last.
    pub missing: Vec<String>,
    /// What was last heard of each group: for the report of one that does not settle.
    pub last_of_groups: BTreeMap<String, String>,
}

/// Shared by the clients of one run, which all live on one thread.
pub type Book = Rc<RefCell<Shared>>;

impl Shared {
    /// A process number that was never used.
    pub fn process(&mut self) -> Process {
        let process = Process::Client(self.next_process);
        self.next_process += 1;
        process
    }

    /// A value that was never sent to `key`.
    pub fn value(&mut self, key: Key) -> Value {
        let next = self.next_value.entry(key).or_default();
        *next += 1;
        Value(*next)
    }

    /// Lets `act` write into the ledger of a group; what it finds is a violation.
    pub fn with_group(&mut self, group: &str, act: impl FnOnce(&mut Ledger) -> Result<(), String>) {
        let ledger = self.groups.entry(group.to_owned()).or_default();
        if let Err(what) = act(ledger) {
            self.violations.push(format!("group {group}: {what}"));
        }
    }

    /// Whether the record may have been deleted by now: somebody asked for that, or retention may.
    #[must_use]
    pub fn may_be_gone(&self, key: Key, offset: i64) -> bool {
        let time = self.times.get(&key).and_then(|times| times.get(&offset)).copied();
        self.gone.may(key, offset, time)
    }

    /// Whether all is healed by then, and was for a while.
    #[must_use]
    pub fn is_calm(&self, at: Instant) -> bool {
        self.calm_from.is_some_and(|from| at.0 >= from)
    }

    /// Keys that values were given out for.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.next_value.keys().copied().collect()
    }
}

/// The topic and partition of a key.
#[must_use]
pub fn place(key: Key) -> (String, i32) {
    let (topic, partition) = key.topic_partition(PARTITIONS);
    (format!("t{topic}"), i32::try_from(partition).expect("few partitions"))
}

/// The key of a partition, if it is one that the history knows.
#[must_use]
pub fn key_of(part: &TopicPartition) -> Option<Key> {
    let topic: u32 = part.topic.strip_prefix('t')?.parse().ok()?;
    let partition = u32::try_from(part.partition.0).ok().filter(|partition| *partition < PARTITIONS)?;
    Some(Key(topic * PARTITIONS + partition))
}

/// The keys of whole topics.
#[must_use]
pub fn keys_of(topics: &BTreeSet<Topic>) -> Vec<Key> {
    let parts = topics.iter().flat_map(|topic| (0..PARTITIONS).map(|at| TopicPartition::new(Topic::clone(topic), at as i32)));
    parts.filter_map(|part| key_of(&part)).collect()
}

/// The value that a record carries, padded to `size`.
#[must_use]
pub fn encode(value: Value, size: usize) -> bytes::Bytes {
    let mut text = value.0.to_string().into_bytes();
    text.push(b' ');
    text.resize(text.len().max(size), b'.');
    text.into()
}

/// Reads it back.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.split(' ').next()?.parse().ok().map(Value)
}
