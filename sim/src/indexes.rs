//! What a log's indexes say must follow from the log: compared on the disks, when a run has ended. Source: FAULTS, "derived state ≡ replay of the log".

use crate::disk::Disk;
use bytes::{Buf, Bytes};
use klamm_core::wire::batch::Batch;
use std::collections::BTreeSet;

const OFFSET_ENTRY: usize = 8;
const TIME_ENTRY: usize = 12;

/// What is wrong with the indexes of the segments on this disk.
#[must_use]
pub fn wrong(disk: &Disk) -> Vec<String> {
    let paths = disk.files().into_iter().map(|(path, _)| path);
    paths.filter(|path| path.ends_with(".log")).filter_map(|path| wrong_of(disk, &path)).collect()
}

fn wrong_of(disk: &Disk, path: &str) -> Option<String> {
    let stem = path.strip_suffix(".log")?;
    let base: i64 = stem.rsplit('/').next()?.parse().ok()?;
    let batches = Batch::all(&disk.content(path)?).ok()?;
    let (mut positions, mut times) = (BTreeSet::new(), BTreeSet::new());
    let (mut position, mut youngest) = (0, i64::MIN);
    for header in batches.iter().map(Batch::header) {
        let last = header.last_offset().0 - base;
        positions.insert((last, position));
        if header.max_timestamp.0 > youngest {
            youngest = header.max_timestamp.0;
            times.insert((last, youngest));
        }
        position += i64::from(header.bytes);
    }
    let offsets = disk.content(&format!("{stem}.index")).unwrap_or_default();
    let dates = disk.content(&format!("{stem}.timeindex")).unwrap_or_default();
    let offset = entries(&offsets, OFFSET_ENTRY, |entry| (entry.get_u32().into(), entry.get_u32().into()));
    let time = entries(&dates, TIME_ENTRY, |entry| {
        let time = entry.get_i64();
        (entry.get_u32().into(), time)
    });
    stray(path, "index", &offset, &positions).or_else(|| stray(path, "timeindex", &time, &times))
}

/// Offset, less the base, and what stands with it.
type Entry = (i64, i64);

fn entries(bytes: &Bytes, size: usize, decode: impl Fn(&mut &[u8]) -> Entry) -> Vec<Entry> {
    bytes.chunks_exact(size).map(|mut entry| decode(&mut entry)).collect()
}

/// An entry that no batch of the log explains, or that does not rise.
fn stray(path: &str, kind: &str, entries: &[Entry], explained: &BTreeSet<Entry>) -> Option<String> {
    let rises = entries.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
    let stray = entries.iter().find(|entry| !explained.contains(entry));
    match stray {
        Some((offset, what)) => {
            Some(format!("the {kind} of {path} says {what} of the offset {offset} behind its base, and the log does not"))
        }
        None if !rises => Some(format!("the {kind} of {path} does not rise")),
        None => None,
    }
}
