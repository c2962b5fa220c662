//! How often subscribed processes consumed the same record: information, never part of a verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::index::{Event, Index};
use crate::history::{Action, Stage};

/// How often the same process, while subscribed, was delivered the same record by operations that ended well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Consumed {
    /// How many records were consumed once by their process, how many twice, and so on.
    pub distribution: BTreeMap<usize, usize>,
}

pub(super) fn count(index: &Index<'_>) -> Consumed {
    let mut subscribed = BTreeSet::new();
    let mut consumed = Vec::new();
    for (at, event) in index.events.iter().enumerate() {
        let op = &index.ops[at];
        match event {
            Event::Assigned if op.stage == Stage::Ok && matches!(op.action, Action::Subscribe { .. }) => {
                subscribed.insert(op.process);
            }
            Event::End(id) if op.stage == Stage::Ok && subscribed.contains(&op.process) => {
                let reads = index.runs_of(&index.done[*id]).iter().flat_map(|run| index.reads_of(run));
                consumed.extend(reads.map(|read| (op.process, read.value)));
            }
            Event::Begin(_) | Event::End(_) | Event::Assigned | Event::Other => {}
        }
    }
    consumed.sort_unstable();
    let mut distribution = BTreeMap::new();
    for same in consumed.chunk_by(|a, b| a == b) {
        *distribution.entry(same.len()).or_default() += 1;
    }
    Consumed { distribution }
}

impl fmt::Display for Consumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("records consumed by a subscribed process:")?;
        for (times, records) in &self.distribution {
            write!(f, " {records} × {times}")?;
        }
        if self.distribution.is_empty() { f.write_str(" none") } else { Ok(()) }
    }
}
