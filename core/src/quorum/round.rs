//! Asking each of several peers the same thing, again where no answer came.

use crate::id::{BrokerId, CallId};
use crate::time::Instant;
use std::collections::BTreeMap;

/// Where one peer's asking stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// To be asked from `at` on; it was asked `tries` times in vain.
    Due { at: Instant, tries: u32 },
    /// Asked, and not yet answered.
    Out { call: CallId, tries: u32 },
    /// It said yes.
    Yes,
    /// It said no.
    No,
}

/// The peers that are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Round(BTreeMap<BrokerId, Ask>);

impl Round {
    /// All of them are to be asked at once.
    pub(super) fn new(peers: impl IntoIterator<Item = BrokerId>, now: Instant) -> Self {
        Self(peers.into_iter().map(|id| (id, Ask::Due { at: now, tries: 0 })).collect())
    }

    /// From now on these are the peers; of those that stay, nothing changes.
    pub(super) fn keep(&mut self, peers: impl IntoIterator<Item = BrokerId>, now: Instant) {
        let mut new = Self::new(peers, now);
        for (id, ask) in &mut new.0 {
            if let Some(old) = self.0.get(id) {
                *ask = *old;
            }
        }
        *self = new;
    }

    pub(super) fn get(&self, id: BrokerId) -> Option<Ask> {
        self.0.get(&id).copied()
    }

    pub(super) fn set(&mut self, id: BrokerId, ask: Ask) {
        self.0.insert(id, ask);
    }

    /// Whether `call` is what `id` was last asked by.
    pub(super) fn tries(&self, id: BrokerId, call: CallId) -> Option<u32> {
        match self.get(id) {
            Some(Ask::Out { call: out, tries }) if out == call => Some(tries),
            Some(Ask::Out { .. } | Ask::Due { .. } | Ask::Yes | Ask::No) | None => None,
        }
    }

    /// Who is to be asked now, and how often that was done in vain.
    pub(super) fn due(&self, now: Instant) -> Vec<(BrokerId, u32)> {
        let due = |(id, ask): (&BrokerId, &Ask)| match ask {
            Ask::Due { at, tries } if *at <= now => Some((*id, *tries)),
            Ask::Due { .. } | Ask::Out { .. } | Ask::Yes | Ask::No => None,
        };
        self.0.iter().filter_map(due).collect()
    }

    /// When somebody is to be asked.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let at = |ask: &Ask| match ask {
            Ask::Due { at, .. } => Some(*at),
            Ask::Out { .. } | Ask::Yes | Ask::No => None,
        };
        self.0.values().filter_map(at).min()
    }

    /// Who said yes.
    pub(super) fn yes(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.0.iter().filter(|(_, ask)| **ask == Ask::Yes).map(|(id, _)| *id)
    }

    /// Who said yes, or may: it has not been asked, or has not answered yet.
    pub(super) fn hopes(&self) -> impl Iterator<Item = BrokerId> + '_ {
        let may = |ask: &Ask| matches!(ask, Ask::Yes | Ask::Out { .. } | Ask::Due { tries: 0, .. });
        self.0.iter().filter(move |(_, ask)| may(ask)).map(|(id, _)| *id)
    }
}
