//! What clients invoked and saw, in the form that Jepsen's kafka workload uses: the shapes only. What makes a list of them
//! a history is in `rules`, how one is written down while a test runs in `record`, and its text forms in `json` and `crate::edn`.

mod json;
mod record;
mod rules;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use json::{JsonLines, Malformed, write_json_line};
pub use record::{Completion, Recorder};
pub use rules::{Broken, Rules};

/// A partition under test, numbered by the test. See [`Key::topic_partition`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub u32);

/// What a record holds: a number never sent twice to one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value(pub i64);

/// Where a record stands in its partition's log, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub i64);

/// One logical, single-threaded client, or the nemesis. A client process that got an unknown outcome is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Process {
    /// A client process by its number.
    Client(u32),
    /// Whoever brings the faults; its operations are notes that no check judges.
    Nemesis,
}

/// What an entry says of its operation; Jepsen's `:type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It begins.
    Invoke,
    /// It certainly took effect. A send is `Ok` only where the system promised to keep the record, so an acks=0 or acks=1
    /// send whose loss would be no fault ends as `Info`.
    Ok,
    /// It certainly had no effect.
    Fail,
    /// Nobody knows whether it took effect, or ever will.
    Info,
}

/// One record as a poll delivered it: a pair of offset and value. A foreign history may lack the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(Option<Offset>, Value)", into = "(Option<Offset>, Value)")]
pub struct Record {
    /// Where it stood, if known.
    pub offset: Option<Offset>,
    /// What it held.
    pub value: Value,
}

/// What a poll delivered, per key in the order of delivery.
pub type Polled = BTreeMap<Key, Vec<Record>>;

/// One step inside a send, poll or transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mop {
    /// Appends `value` to `key`.
    Send {
        /// The partition.
        key: Key,
        /// Where the record was put, if the answer said so.
        offset: Option<Offset>,
        /// The record.
        value: Value,
    },
    /// One call of the consumer's poll. `None` where nothing is known of its outcome, as in every invocation.
    Poll(Option<Polled>),
}

/// Which of the three names an operation made of micro-operations bears; Jepsen's `:f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Micro {
    /// Only sends.
    Send,
    /// Only polls.
    Poll,
    /// A mix of both, or whatever ran in a transaction.
    Txn,
}

/// What an operation asks for, and in its completion what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends and polls, several of them only in a transaction.
    Micro {
        /// The name it goes by.
        f: Micro,
        /// Its steps in order.
        mops: Vec<Mop>,
    },
    /// The consumer takes exactly these keys by itself.
    Assign {
        /// The partitions.
        keys: Vec<Key>,
        /// Whether it then goes to the log start of each of them.
        seek_to_beginning: bool,
    },
    /// The consumer joins a group for the topics of these keys.
    Subscribe {
        /// The partitions whose topics are meant.
        keys: Vec<Key>,
    },
    /// The client is torn down; always ends as `Info`.
    Crash,
    /// The state of these partitions was asked for, for people to read.
    DebugTopicPartitions {
        /// The partitions.
        keys: Vec<Key>,
    },
    /// Anything else, kept as text: the nemesis' doings, or what a foreign test did beside.
    Other {
        /// Its name.
        f: String,
        /// Its value as text.
        value: String,
    },
}

/// One entry of a history: an operation begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Its place in the history: 0, 1, 2 and on.
    pub index: u64,
    /// When, in nanoseconds since the test began.
    pub time: u64,
    /// Who.
    pub process: Process,
    /// Beginning, or one of three ends.
    pub stage: Stage,
    /// What.
    pub action: Action,
    /// Why it failed or is unknown, in words.
    pub error: Option<String>,
    /// The keys of each change of assignment that fell into a poll or transaction.
    pub rebalances: Vec<Vec<Key>>,
    /// Ours, not Jepsen's: for keys whose answer came from the leader of the newest epoch, the high watermark that answer
    /// told. Only of these may a checker demand that the read is fresh.
    pub ends: BTreeMap<Key, Offset>,
}

/// A list of operations which keeps the rules of [`Rules`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    ops: Vec<Op>,
}

impl History {
    /// Takes a list of operations in file order.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn new(ops: Vec<Op>) -> Result<Self, Broken> {
        let mut rules = Rules::default();
        for op in &ops {
            rules.admit(op)?;
        }
        Ok(Self { ops })
    }

    /// The operations in file order; each stands at its own index.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}

impl Key {
    /// The topic number and the partition this key stands for, when each topic has `partitions` of them.
    #[must_use]
    pub fn topic_partition(self, partitions: u32) -> (u32, u32) {
        (self.0 / partitions, self.0 % partitions)
    }
}

impl Action {
    /// A single send.
    #[must_use]
    pub fn send(key: Key, value: Value) -> Self {
        Self::Micro { f: Micro::Send, mops: vec![Mop::Send { key, offset: None, value }] }
    }

    /// A single send, answered with the record's offset.
    #[must_use]
    pub fn sent(key: Key, offset: Offset, value: Value) -> Self {
        Self::Micro { f: Micro::Send, mops: vec![Mop::Send { key, offset: Some(offset), value }] }
    }

    /// A single poll.
    #[must_use]
    pub fn poll() -> Self {
        Self::Micro { f: Micro::Poll, mops: vec![Mop::Poll(None)] }
    }

    /// A single poll, answered. Keys without records are left out, as a real consumer leaves them out.
    #[must_use]
    pub fn polled(mut seen: Polled) -> Self {
        seen.retain(|_, records| !records.is_empty());
        Self::Micro { f: Micro::Poll, mops: vec![Mop::Poll(Some(seen))] }
    }

    /// Several steps, named by what they are.
    #[must_use]
    pub fn micro(mops: Vec<Mop>) -> Self {
        let sends = mops.iter().filter(|mop| matches!(mop, Mop::Send { .. })).count();
        let f = if sends == mops.len() {
            Micro::Send
        } else if sends == 0 {
            Micro::Poll
        } else {
            Micro::Txn
        };
        Self::Micro { f, mops }
    }

    /// Jepsen's `:f`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Micro { f: Micro::Send, .. } => "send",
            Self::Micro { f: Micro::Poll, .. } => "poll",
            Self::Micro { f: Micro::Txn, .. } => "txn",
            Self::Assign { .. } => "assign",
            Self::Subscribe { .. } => "subscribe",
            Self::Crash => "crash",
            Self::DebugTopicPartitions { .. } => "debug-topic-partitions",
            Self::Other { f, .. } => f,
        }
    }

    /// Its sends and polls; empty for every other action.
    #[must_use]
    pub fn mops(&self) -> &[Mop] {
        match self {
            Self::Micro { mops, .. } => mops,
            Self::Assign { .. } | Self::Subscribe { .. } | Self::Crash | Self::DebugTopicPartitions { .. } | Self::Other { .. } => &[],
        }
    }
}

impl Op {
    /// The keys for which the assignment changed while this ran.
    pub fn rebalanced(&self) -> impl Iterator<Item = Key> + '_ {
        self.rebalances.iter().flatten().copied()
    }
}

impl Record {
    /// A record of known offset.
    #[must_use]
    pub fn at(offset: Offset, value: Value) -> Self {
        Self { offset: Some(offset), value }
    }
}

impl Stage {
    /// Jepsen's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

impl From<(Option<Offset>, Value)> for Record {
    fn from((offset, value): (Option<Offset>, Value)) -> Self {
        Self { offset, value }
    }
}

impl From<Record> for (Option<Offset>, Value) {
    fn from(record: Record) -> Self {
        (record.offset, record.value)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => write!(f, "process {number}"),
            Self::Nemesis => write!(f, "the nemesis"),
        }
    }
}
