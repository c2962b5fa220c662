//! What lies in a log's folder.

use super::files::Kind;
use super::swap::SWAP;
use crate::fs::Entry;
use klamm_core::id::Offset;
use std::collections::{BTreeMap, BTreeSet};

/// The files of a log's folder.
#[derive(Default)]
pub(crate) struct Inventory {
    /// Segments and their sizes in bytes.
    pub(crate) logs: BTreeMap<Offset, u64>,
    /// Index files.
    pub(crate) indexes: BTreeSet<(Offset, Kind)>,
    /// Cleaned segments that are to take the place of those from their base up to an end (`clean.rs`).
    pub(crate) swaps: BTreeMap<Offset, Offset>,
    /// Producer snapshots.
    pub(crate) snapshots: BTreeSet<Offset>,
    /// Left by operations that were interrupted.
    pub(crate) junk: Vec<String>,
}

impl Inventory {
    /// Sorts the names of a folder.
    pub(crate) fn of(entries: Vec<Entry>) -> Self {
        let mut inventory = Self::default();
        for Entry { name, is_dir, len } in entries {
            if is_dir {
                continue;
            }
            let Some((stem, suffix)) = name.split_once('.') else { continue };
            let base = (stem.len() == 20).then(|| stem.parse().ok().map(Offset)).flatten();
            match (base, suffix) {
                (Some(base), "log") => drop(inventory.logs.insert(base, len)),
                (Some(base), "index") => drop(inventory.indexes.insert((base, Kind::Offsets))),
                (Some(base), "timeindex") => drop(inventory.indexes.insert((base, Kind::Times))),
                (Some(base), swap) if swap.ends_with(SWAP) => {
                    let end = swap.strip_suffix(SWAP).and_then(|end| end.parse().ok());
                    inventory.swaps.extend(end.map(|end| (base, Offset(end))));
                }
                (Some(base), "snapshot") => drop(inventory.snapshots.insert(base)),
                _ if [".tmp", ".deleted", ".cleaned"].iter().any(|end| name.ends_with(end)) => inventory.junk.push(name),
                _ => {}
            }
        }
        inventory
    }
}
