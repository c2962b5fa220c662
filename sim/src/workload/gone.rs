//! Which records may be gone by right: those that an operator deleted, and those that retention may have deleted. All others must be there.

use klamm_core::time::Timestamp;
use klamm_jepsen::history::Key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the topics' retention allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retention {
    /// `retention.ms`
    Ms(i64),
    /// `retention.bytes`
    Bytes(u64),
}

/// What is known of deletions.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    retention: Option<Retention>,
    skew_ms: i64,
    wall: Timestamp,
    /// Below these somebody asked for deletion.
    asked: BTreeMap<Key, i64>,
    /// Bytes that were sent, counted generously.
    sent: BTreeMap<Key, u64>,
    /// Where each log began, as the last reader saw it.
    starts: BTreeMap<Key, i64>,
}

/// More than a record takes beside its value, as a batch of its own.
const OVERHEAD: u64 = 150;

impl Gone {
    /// With that retention, on a node whose wall clock may be so far ahead of the clients'.
    #[must_use]
    pub fn new(retention: Option<Retention>, skew_ms: i64) -> Self {
        Self { retention, skew_ms, ..Self::default() }
    }

    /// Whether anything may be gone at all.
    #[must_use]
    pub fn may_delete(&self) -> bool {
        self.retention.is_some() || !self.asked.is_empty()
    }

    /// The clients' wall clock.
    pub fn at(&mut self, wall: Timestamp) {
        self.wall = self.wall.max(wall);
    }

    /// Somebody asks for the deletion of all records below `offset`.
    pub fn ask(&mut self, key: Key, offset: i64) {
        let asked = self.asked.entry(key).or_default();
        *asked = offset.max(*asked);
    }

    /// A record of so many bytes is sent.
    pub fn sent(&mut self, key: Key, bytes: usize) {
        *self.sent.entry(key).or_default() += bytes as u64 + OVERHEAD;
    }

    /// Whether the record at `offset`, of this time as far as anybody knows, may be gone.
    #[must_use]
    pub fn may(&self, key: Key, offset: i64, time: Option<i64>) -> bool {
        let by_retention = match self.retention {
            None => false,
            Some(Retention::Ms(keep)) => time.is_none_or(|time| self.wall.0 + self.skew_ms - time >= keep),
            Some(Retention::Bytes(keep)) => self.sent.get(&key).is_some_and(|sent| *sent >= keep),
        };
        by_retention || self.asked.get(&key).is_some_and(|asked| offset < *asked)
    }

    /// The last reader saw the log begin there.
    pub fn begins(&mut self, key: Key, start: i64) {
        let begins = self.starts.entry(key).or_default();
        *begins = start.max(*begins);
    }

    /// Where the log begins in the end.
    #[must_use]
    pub fn start(&self, key: Key) -> i64 {
        self.starts.get(&key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_or_has_aged_may_be_gone() {
        let mut gone = Gone::default();
        gone.ask(Key(0), 5);
        assert!(gone.may(Key(0), 4, None) && !gone.may(Key(0), 5, None) && !gone.may(Key(1), 0, None));
        let mut gone = Gone::new(Some(Retention::Ms(100)), 10);
        gone.at(Timestamp(1_000));
        assert!(gone.may(Key(0), 0, Some(910)) && !gone.may(Key(0), 0, Some(911)));
        let mut gone = Gone::new(Some(Retention::Bytes(1_000)), 0);
        gone.sent(Key(0), 800);
        assert!(!gone.may(Key(0), 0, None));
        gone.sent(Key(0), 100);
        assert!(gone.may(Key(0), 0, None));
    }
}
