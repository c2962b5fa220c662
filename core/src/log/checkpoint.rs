//! Kafka's checkpoint files: one offset for each log of a directory (`OffsetCheckpointFile`).

use crate::id::Offset;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Up to where each log was known to be committed.
pub const HIGHS_FILE: &str = "replication-offset-checkpoint";
/// Where each log begins, unless that is where its first segment does.
pub const STARTS_FILE: &str = "log-start-offset-checkpoint";

/// The text of a file that names an offset for each log's folder: version, count, one `topic partition offset` a line.
///
/// # Panics
/// If a folder is not named `topic-partition`.
#[must_use]
pub fn encode(offsets: &BTreeMap<String, Offset>) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for (folder, offset) in offsets {
        let (topic, partition) = folder.rsplit_once('-').expect("a log's folder is topic-partition");
        writeln!(text, "{topic} {partition} {offset}").expect("a string takes everything");
    }
    text
}

/// Reads that text; `None` where it is not of that form.
#[must_use]
pub fn decode(text: &str) -> Option<BTreeMap<String, Offset>> {
    let mut lines = text.lines();
    if lines.next()? != "0" {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut offsets = BTreeMap::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        offsets.insert(format!("{topic}-{partition}"), Offset(offset.parse().ok()?));
    }
    (offsets.len() == count).then_some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_read_back_and_refuse_nonsense() {
        let offsets = BTreeMap::from([("a-b-0".to_owned(), Offset(7)), ("t-12".to_owned(), Offset(1 << 40))]);
        assert_eq!(decode(&encode(&offsets)), Some(offsets));
        for text in ["", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na 0 x\n"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
