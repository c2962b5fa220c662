//! The main phase: a mix of sends and polls, with changes of assignment and crashes in between.

use std::collections::BTreeSet;

use rand::Rng;

use super::keys::KeyPool;
use super::unseen::Unseen;
use super::{Options, SubVia};
use crate::history::{Action, Key, Mop, Op, Process, Stage};

/// How many keys a change of assignment draws at most, before those with unread records.
const ASSIGNED_MAX: usize = 4;
/// One in so many changes of assignment also takes the keys with unread records.
const UNSEEN_ONE_IN: u32 = 3;

#[derive(Clone, Debug)]
pub(super) struct Mix {
    options: Options,
    keys: KeyPool,
    unseen: Unseen,
    /// Clients that were given partitions.
    placed: BTreeSet<Process>,
}

impl Mix {
    pub(super) fn new(options: Options) -> Self {
        assert!(options.mops_max > 0, "an operation has at least one step");
        assert!(!options.sub_via.is_empty(), "consumers need a way to get partitions");
        assert!(options.assign_one_in > 0, "clients must change their assignment now and then");
        let keys = KeyPool::new(options.keys, options.sends_per_key_max);
        Self { options, keys, unseen: Unseen::default(), placed: BTreeSet::new() }
    }

    pub(super) fn next<R: Rng + ?Sized>(&mut self, process: Process, rng: &mut R) -> Action {
        if self.placed.insert(process) || rng.random_ratio(1, self.options.assign_one_in) {
            return self.assignment(rng);
        }
        if self.options.crash_one_in > 0 && rng.random_ratio(1, self.options.crash_one_in) {
            return Action::Crash;
        }
        let steps = rng.random_range(1..=self.options.mops_max);
        Action::micro((0..steps).map(|_| self.step(rng)).collect())
    }

    pub(super) fn completed(&mut self, op: &Op) {
        match op.stage {
            Stage::Ok => self.unseen.completed(op),
            // Such a process never returns.
            Stage::Info => {
                self.placed.remove(&op.process);
            }
            // A client whose first assignment failed still needs one.
            Stage::Fail if matches!(op.action, Action::Assign { .. } | Action::Subscribe { .. }) => {
                self.placed.remove(&op.process);
            }
            Stage::Fail | Stage::Invoke => {}
        }
    }

    fn step<R: Rng + ?Sized>(&mut self, rng: &mut R) -> Mop {
        if rng.random() {
            return Mop::Poll(None);
        }
        let (key, value) = self.keys.send(rng);
        Mop::Send { key, offset: None, value }
    }

    fn assignment<R: Rng + ?Sized>(&self, rng: &mut R) -> Action {
        let drawn = rng.random_range(1..=ASSIGNED_MAX);
        let mut keys: BTreeSet<Key> = (0..drawn).map(|_| self.keys.pick(rng)).collect();
        if rng.random_ratio(1, UNSEEN_ONE_IN) {
            keys.extend(self.unseen.keys());
        }
        let keys = keys.into_iter().collect();
        match self.options.sub_via[rng.random_range(0..self.options.sub_via.len())] {
            SubVia::Assign => Action::Assign { keys, seek_to_beginning: false },
            SubVia::Subscribe => Action::Subscribe { keys },
        }
    }
}
