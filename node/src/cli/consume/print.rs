//! How a record is printed.

use klamm_core::client::TopicPartition;
use klamm_core::wire::record::Record;
use std::io::{self, BufWriter, Stdout, Write};

/// What a printed record looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The value and a line break.
    Value,
    /// One JSON object a line.
    Json,
    /// Parts in order.
    Pattern(Vec<Part>),
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Topic,
    Partition,
    Offset,
    Time,
    Key,
    Value,
}

impl Shape {
    /// `value`, `json`, or a pattern. A pattern without a line break at its end gets one.
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "value" => Self::Value,
            "json" => Self::Json,
            pattern => Self::Pattern(parts(pattern)),
        }
    }
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let part = match (c, if c == '%' || c == '\\' { chars.clone().next() } else { None }) {
            ('%', Some('t')) => Part::Topic,
            ('%', Some('p')) => Part::Partition,
            ('%', Some('o')) => Part::Offset,
            ('%', Some('T')) => Part::Time,
            ('%', Some('k')) => Part::Key,
            ('%', Some('v')) => Part::Value,
            ('\\', Some(escaped @ ('n' | 't' | '\\'))) => {
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                });
                chars.next();
                continue;
            }
            (other, _) => {
                text.push(other);
                continue;
            }
        };
        chars.next();
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(part);
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    parts.push(Part::Text(text));
    parts
}

/// Prints records to standard output.
#[derive(Debug)]
pub(super) struct Printer {
    shape: Shape,
    out: BufWriter<Stdout>,
    printed: u64,
}

impl Printer {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, out: BufWriter::with_capacity(64 << 10, io::stdout()), printed: 0 }
    }

    pub(super) fn printed(&self) -> u64 {
        self.printed
    }

    pub(super) fn print(&mut self, part: &TopicPartition, record: &Record) -> Result<(), String> {
        self.printed += 1;
        write(&mut self.out, &self.shape, part, record).map_err(failed)
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        self.out.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> String {
    format!("cannot write to standard output: {error}")
}

fn write(out: &mut impl Write, shape: &Shape, part: &TopicPartition, record: &Record) -> io::Result<()> {
    let key = record.payload.key.as_deref();
    let value = record.payload.value.as_deref();
    match shape {
        Shape::Value => {
            out.write_all(value.unwrap_or_default())?;
            out.write_all(b"\n")
        }
        Shape::Json => {
            let object = serde_json::json!({
                "topic": &*part.topic, "partition": part.partition.0, "offset": record.offset.0, "timestamp": record.timestamp.0,
                "key": key.map(String::from_utf8_lossy), "value": value.map(String::from_utf8_lossy),
            });
            writeln!(out, "{object}")
        }
        Shape::Pattern(parts) => parts.iter().try_for_each(|piece| match piece {
            Part::Text(text) => out.write_all(text.as_bytes()),
            Part::Topic => out.write_all(part.topic.as_bytes()),
            Part::Partition => write!(out, "{}", part.partition),
            Part::Offset => write!(out, "{}", record.offset),
            Part::Time => write!(out, "{}", record.timestamp.0),
            Part::Key => out.write_all(key.unwrap_or_default()),
            Part::Value => out.write_all(value.unwrap_or_default()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use klamm_core::id::Offset;
    use klamm_core::time::Timestamp;
    use klamm_core::wire::record::Payload;

    fn check(format: &str, want: &str) {
        let payload = Payload { key: Some(Bytes::from_static(b"k")), value: Some(Bytes::from_static(b"a \"b\"")), headers: Vec::new() };
        let record = Record { offset: Offset(7), timestamp: Timestamp(1000), payload };
        let mut out = Vec::new();
        write(&mut out, &Shape::parse(format), &TopicPartition::new("words", 3), &record).expect("memory takes everything");
        assert_eq!(String::from_utf8_lossy(&out), want, "{format}");
    }

    #[test]
    fn a_record_in_every_shape() {
        check("value", "a \"b\"\n");
        check("json", "{\"key\":\"k\",\"offset\":7,\"partition\":3,\"timestamp\":1000,\"topic\":\"words\",\"value\":\"a \\\"b\\\"\"}\n");
        check("%t[%p]@%o %T %k=%v", "words[3]@7 1000 k=a \"b\"\n");
        check("%k\\t%v\\n", "k\ta \"b\"\n");
        check("100%", "100%\n");
    }
}
