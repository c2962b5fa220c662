//! What simulated clients do, and the history they write down.

pub mod admin;
pub mod producer;
pub mod reader;

use klamm_jepsen::history::{Key, Offset, Process, Recorder, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

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
