//! How far polls lagged behind acknowledged sends: a lower bound, for information. Never part of a verdict.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::index::{Done, Event, Index, KeyId};
use crate::history::{Action, Key, Process, Stage};

/// The longest lag known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// How long what the poll saw had been out of date when it began, in nanoseconds.
    pub lag: u64,
    /// When that poll began, in nanoseconds since the test began.
    pub time: u64,
    /// Of which key.
    pub key: Option<Key>,
}

/// For one key, times at which ever higher offsets were known to exist: both grow.
type Known = Vec<(i64, u64)>;

pub(super) fn worst(index: &Index<'_>) -> Lag {
    let known = known_offsets(index);
    let mut readers: BTreeMap<Process, Reader> = BTreeMap::new();
    let mut worst = Lag::default();
    for (at, event) in index.events.iter().enumerate() {
        let op = &index.ops[at];
        if op.stage != Stage::Ok {
            continue;
        }
        let reader = readers.entry(op.process).or_default();
        match event {
            Event::Assigned => reader.assign(index, &known, &op.action, &mut worst),
            Event::End(id) => reader.poll(index, &known, &index.done[*id], &mut worst),
            Event::Begin(_) | Event::Other => {}
        }
    }
    for reader in readers.into_values() {
        reader.leave(index, &known, &mut worst);
    }
    worst
}

fn known_offsets(index: &Index<'_>) -> Vec<Known> {
    let mut known: Vec<Known> = vec![Vec::new(); index.keys.len()];
    for event in &index.events {
        let Event::End(id) = event else { continue };
        let done = &index.done[*id];
        if done.stage == Stage::Fail {
            continue;
        }
        let time = index.ops[done.op].time;
        for (key, offset) in highest(index, done) {
            if known[key].last().is_none_or(|(before, _)| *before < offset) {
                known[key].push((offset, time));
            }
        }
    }
    known
}

/// The highest offset of each key that an operation touched.
fn highest(index: &Index<'_>, done: &Done) -> BTreeMap<KeyId, i64> {
    let mut highest: BTreeMap<KeyId, i64> = BTreeMap::new();
    let mut seen = |key, offset: i64| {
        let highest = highest.entry(key).or_insert(-1);
        *highest = offset.max(*highest);
    };
    for run in index.runs_of(done) {
        seen(run.key, index.reads_of(run).iter().filter_map(|read| read.offset).map(|offset| offset.0).max().unwrap_or(-1));
    }
    for sent in index.sends_of(done) {
        if let Some(offset) = sent.offset {
            seen(index.key_of(sent.value), offset.0);
        }
    }
    highest
}

/// Where one process stands in each of its keys, −1 at the start. A key's lag only grows while its place stays the same, so it
/// is taken when the place changes: then for the last poll before.
#[derive(Default)]
struct Reader {
    places: BTreeMap<KeyId, i64>,
    last_poll: u64,
}

impl Reader {
    fn assign(&mut self, index: &Index<'_>, known: &[Known], action: &Action, worst: &mut Lag) {
        let before = std::mem::take(&mut self.places);
        for (key, place) in &before {
            self.measure(index, known, *key, *place, worst);
        }
        if let Action::Assign { keys, .. } = action {
            let ids = keys.iter().filter_map(|key| index.key_id(*key));
            self.places = ids.map(|key| (key, before.get(&key).copied().unwrap_or(-1))).collect();
        }
        self.last_poll = 0;
    }

    fn poll(&mut self, index: &Index<'_>, known: &[Known], done: &Done, worst: &mut Lag) {
        if done.runs.is_empty() && !done.sends.is_empty() {
            return;
        }
        for (key, place) in highest(index, done) {
            let before = self.places.get(&key).copied();
            if let Some(before) = before.filter(|before| *before < place) {
                self.measure(index, known, key, before, worst);
            }
            self.places.insert(key, place.max(before.unwrap_or(-1)));
        }
        self.last_poll = index.ops[done.invoked].time;
    }

    fn leave(self, index: &Index<'_>, known: &[Known], worst: &mut Lag) {
        for (key, place) in &self.places {
            self.measure(index, known, *key, *place, worst);
        }
    }

    fn measure(&self, index: &Index<'_>, known: &[Known], key: KeyId, place: i64, worst: &mut Lag) {
        let next = known[key].partition_point(|(offset, _)| *offset <= place);
        let Some((_, expired)) = known[key].get(next) else { return };
        let lag = self.last_poll.saturating_sub(*expired);
        if lag > worst.lag {
            *worst = Lag { lag, time: self.last_poll, key: Some(index.keys[key]) };
        }
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worst real-time lag: {:.3} s", self.lag as f64 / 1e9)?;
        match self.key {
            Some(key) => write!(f, " on key {}, at {:.3} s", key.0, self.time as f64 / 1e9),
            None => Ok(()),
        }
    }
}
