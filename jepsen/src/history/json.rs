//! Histories as JSON lines: one operation a line, with the names and nesting of Jepsen's EDN form. Never holds more than a line.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeTuple, Serializer};
use serde::{Deserialize, Serialize};

use super::{Action, Key, Micro, Mop, Offset, Op, Polled, Process, Stage, Value};

/// A line that is no operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// Reads operations line by line. Blank lines are skipped. Ends after the first error.
#[derive(Debug)]
pub struct JsonLines<R> {
    from: R,
    line: usize,
    buffer: String,
    failed: bool,
}

/// Writes one operation and a line feed.
///
/// # Errors
/// Those of the writer.
pub fn write_json_line(op: &Op, mut to: impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut to, op)?;
    to.write_all(b"\n")
}

impl<R: BufRead> JsonLines<R> {
    /// Reads from `from` until its end.
    pub fn new(from: R) -> Self {
        Self { from, line: 0, buffer: String::new(), failed: false }
    }

    fn read(&mut self) -> Result<Option<Op>, String> {
        loop {
            self.line += 1;
            self.buffer.clear();
            if self.from.read_line(&mut self.buffer).map_err(|e| e.to_string())? == 0 {
                return Ok(None);
            }
            let text = self.buffer.trim();
            if !text.is_empty() {
                return serde_json::from_str(text).map(Some).map_err(|e| e.to_string());
            }
        }
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<Op, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.read() {
            Ok(op) => op.map(Ok),
            Err(why) => {
                self.failed = true;
                Some(Err(Malformed { line: self.line, why }))
            }
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Malformed {}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("index", &self.index)?;
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("process", &self.process)?;
        map.serialize_entry("type", &self.stage)?;
        map.serialize_entry("f", self.action.name())?;
        map.serialize_entry("value", &ActionValue(&self.action))?;
        if let Action::Assign { seek_to_beginning: true, .. } = self.action {
            map.serialize_entry("seek-to-beginning?", &true)?;
        }
        if let Some(error) = &self.error {
            map.serialize_entry("error", error)?;
        }
        if !self.rebalances.is_empty() {
            let log: Vec<_> = self.rebalances.iter().map(|keys| BTreeMap::from([("keys", keys)])).collect();
            map.serialize_entry("rebalance-log", &log)?;
        }
        if !self.ends.is_empty() {
            map.serialize_entry("ends", &self.ends)?;
        }
        map.end()
    }
}

struct ActionValue<'a>(&'a Action);

impl Serialize for ActionValue<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Action::Micro { mops, .. } => mops.serialize(to),
            Action::Assign { keys, .. } | Action::Subscribe { keys } | Action::DebugTopicPartitions { keys } => keys.serialize(to),
            Action::Crash => to.serialize_unit(),
            Action::Other { value, .. } => to.serialize_str(value),
        }
    }
}

impl Serialize for Mop {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let len = match self {
            Self::Send { .. } => 3,
            Self::Poll(seen) => 1 + usize::from(seen.is_some()),
        };
        let mut tuple = to.serialize_tuple(len)?;
        match self {
            Self::Send { key, offset, value } => {
                tuple.serialize_element("send")?;
                tuple.serialize_element(key)?;
                match offset {
                    Some(offset) => tuple.serialize_element(&(offset, value))?,
                    None => tuple.serialize_element(value)?,
                }
            }
            Self::Poll(seen) => {
                tuple.serialize_element("poll")?;
                if let Some(seen) = seen {
                    tuple.serialize_element(seen)?;
                }
            }
        }
        tuple.end()
    }
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Client(number) => to.serialize_u32(*number),
            Self::Nemesis => to.serialize_str("nemesis"),
        }
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let line = Line::deserialize(from)?;
        let action = action(&line.f, line.value, line.seek_to_beginning).map_err(de::Error::custom)?;
        let rebalances = line.rebalance_log.into_iter().map(|change| change.keys).collect();
        let Line { index, time, process, stage, error, ends, .. } = line;
        Ok(Self { index, time, process, stage, action, error, rebalances, ends })
    }
}

#[derive(Deserialize)]
struct Line {
    index: u64,
    time: u64,
    process: Process,
    #[serde(rename = "type")]
    stage: Stage,
    f: String,
    #[serde(default)]
    value: Given,
    #[serde(default, rename = "seek-to-beginning?")]
    seek_to_beginning: bool,
    #[serde(default)]
    error: Option<String>,
    #[serde(default, rename = "rebalance-log")]
    rebalance_log: Vec<Change>,
    #[serde(default)]
    ends: BTreeMap<Key, Offset>,
}

#[derive(Deserialize)]
struct Change {
    keys: Vec<Key>,
}

/// What may stand under `value`: its shape is known before `f` is.
#[derive(Default)]
enum Given {
    #[default]
    Nothing,
    Items(Vec<Item>),
    Text(String),
}

enum Item {
    Mop(Mop),
    Key(Key),
}

fn action(f: &str, value: Given, seek_to_beginning: bool) -> Result<Action, String> {
    let micro = match f {
        "send" => Micro::Send,
        "poll" => Micro::Poll,
        "txn" => Micro::Txn,
        "assign" => return Ok(Action::Assign { keys: keys(value)?, seek_to_beginning }),
        "subscribe" => return Ok(Action::Subscribe { keys: keys(value)? }),
        "debug-topic-partitions" => return Ok(Action::DebugTopicPartitions { keys: keys(value)? }),
        "crash" => return Ok(Action::Crash),
        _ => return Ok(Action::Other { f: f.to_owned(), value: text(value)? }),
    };
    Ok(Action::Micro { f: micro, mops: mops(value)? })
}

fn mops(value: Given) -> Result<Vec<Mop>, String> {
    let Given::Items(items) = value else { return Err("value must be a list of sends and polls".to_owned()) };
    let mops = items.into_iter().map(|item| match item {
        Item::Mop(mop) => Ok(mop),
        Item::Key(_) => Err("value must be a list of sends and polls".to_owned()),
    });
    mops.collect()
}

fn keys(value: Given) -> Result<Vec<Key>, String> {
    let Given::Items(items) = value else { return Err("value must be a list of keys".to_owned()) };
    let keys = items.into_iter().map(|item| match item {
        Item::Key(key) => Ok(key),
        Item::Mop(_) => Err("value must be a list of keys".to_owned()),
    });
    keys.collect()
}

fn text(value: Given) -> Result<String, String> {
    match value {
        Given::Nothing => Ok(String::new()),
        Given::Text(text) => Ok(text),
        Given::Items(_) => Err("value must be text".to_owned()),
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sends and polls, a list of keys, text, or nothing")
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Nothing)
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Given, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Given::Items(items))
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[\"send\", key, value], [\"poll\", records], or a key")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Item, E> {
        u32::try_from(number).map(|key| Item::Key(Key(key))).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Item, A::Error> {
        let word: String = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let mop = match word.as_str() {
            "send" => {
                let key = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
                let Sent { offset, value } = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(2, &self))?;
                Mop::Send { key, offset, value }
            }
            "poll" => Mop::Poll(seq.next_element::<Option<Polled>>()?.flatten()),
            _ => return Err(de::Error::unknown_variant(&word, &["send", "poll"])),
        };
        Ok(Item::Mop(mop))
    }
}

/// A value alone or a pair of offset and value.
struct Sent {
    offset: Option<Offset>,
    value: Value,
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SentVisitor)
    }
}

struct SentVisitor;

impl<'de> Visitor<'de> for SentVisitor {
    type Value = Sent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or [offset, value]")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Sent, E> {
        let value = i64::try_from(number).map(Value).map_err(E::custom)?;
        Ok(Sent { offset: None, value })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Sent, E> {
        Ok(Sent { offset: None, value: Value(number) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sent, A::Error> {
        let offset = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let value = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
        Ok(Sent { offset, value })
    }
}

impl<'de> Deserialize<'de> for Process {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ProcessVisitor)
    }
}

struct ProcessVisitor;

impl<'de> Visitor<'de> for ProcessVisitor {
    type Value = Process;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or \"nemesis\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Process, E> {
        u32::try_from(number).map(Process::Client).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Process, E> {
        match text {
            "nemesis" => Ok(Process::Nemesis),
            _ => Err(E::unknown_variant(text, &["nemesis"])),
        }
    }
}
