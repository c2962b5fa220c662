//! Writes operations as Jepsen's EDN. Decides nothing: what the history holds is what is written.

use std::fmt::{self, Display};
use std::io::{self, Write};

use super::form::quoted;
use crate::history::{Action, Key, Mop, Op, Process, Record};

/// Writes one operation as a map, and a line feed.
///
/// # Errors
/// Those of the writer.
pub fn write_edn_line(op: &Op, mut to: impl Write) -> io::Result<()> {
    writeln!(to, "{}", Line(op))
}

struct Line<'a>(&'a Op);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = self.0;
        write!(f, "{{:index {}, :time {}, :process ", op.index, op.time)?;
        match op.process {
            Process::Client(number) => write!(f, "{number}")?,
            Process::Nemesis => f.write_str(":nemesis")?,
        }
        write!(f, ", :type :{}, :f {}, :value ", op.stage.name(), word(op.action.name()))?;
        value(&op.action, f)?;
        if let Action::Assign { seek_to_beginning: true, .. } = op.action {
            f.write_str(", :seek-to-beginning? true")?;
        }
        if let Some(error) = &op.error {
            write!(f, ", :error {}", quoted(error))?;
        }
        if !op.rebalances.is_empty() {
            f.write_str(", :rebalance-log ")?;
            vector(f, &op.rebalances, |keys, f| {
                f.write_str("{:keys ")?;
                vector(f, keys, key)?;
                f.write_str("}")
            })?;
        }
        if !op.ends.is_empty() {
            f.write_str(", :ends {")?;
            for (nth, (key, end)) in op.ends.iter().enumerate() {
                write!(f, "{}{} {}", comma(nth), key.0, end.0)?;
            }
            f.write_str("}")?;
        }
        f.write_str("}")
    }
}

/// A name as a keyword, where it can be one.
fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_?!*+./".contains(c);
    if !name.is_empty() && name.chars().all(plain) { format!(":{name}") } else { quoted(name) }
}

fn value(action: &Action, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match action {
        Action::Micro { mops, .. } => vector(f, mops, mop),
        Action::Assign { keys, .. } | Action::Subscribe { keys } | Action::DebugTopicPartitions { keys } => vector(f, keys, key),
        Action::Crash => f.write_str("nil"),
        Action::Other { value, .. } if value.is_empty() => f.write_str("nil"),
        Action::Other { value, .. } => f.write_str(&quoted(value)),
    }
}

fn mop(mop: &Mop, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match mop {
        Mop::Send { key, offset: None, value } => write!(f, "[:send {} {}]", key.0, value.0),
        Mop::Send { key, offset: Some(offset), value } => write!(f, "[:send {} [{} {}]]", key.0, offset.0, value.0),
        Mop::Poll(None) => f.write_str("[:poll]"),
        Mop::Poll(Some(seen)) => {
            f.write_str("[:poll {")?;
            for (nth, (key, records)) in seen.iter().enumerate() {
                write!(f, "{}{} ", comma(nth), key.0)?;
                vector(f, records, record)?;
            }
            f.write_str("}]")
        }
    }
}

fn record(record: &Record, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match record.offset {
        Some(offset) => write!(f, "[{} {}]", offset.0, record.value.0),
        None => write!(f, "[nil {}]", record.value.0),
    }
}

fn key(key: &Key, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", key.0)
}

fn vector<T>(f: &mut fmt::Formatter<'_>, items: &[T], one: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result) -> fmt::Result {
    f.write_str("[")?;
    for (nth, item) in items.iter().enumerate() {
        f.write_str(if nth == 0 { "" } else { " " })?;
        one(item, f)?;
    }
    f.write_str("]")
}

fn comma(nth: usize) -> &'static str {
    if nth == 0 { "" } else { ", " }
}
