//! The last phase: each thread reads everything with a fresh client, and starts over with another if it gets nowhere.

use std::collections::BTreeMap;

use super::polled_offsets;
use crate::history::{Action, Key, Offset, Op, Stage};

#[derive(Clone, Debug)]
pub(super) struct LastPhase {
    targets: BTreeMap<Key, Offset>,
    polls_max: u32,
    threads: BTreeMap<u32, Reader>,
}

#[derive(Clone, Debug)]
struct Reader {
    /// What it has not reached yet.
    missing: BTreeMap<Key, Offset>,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client of the main phase may be in any state, so it goes first.
    Crash,
    Assign,
    Poll {
        left: u32,
    },
}

impl LastPhase {
    pub(super) fn new(targets: BTreeMap<Key, Offset>, polls_max: u32) -> Self {
        Self { targets, polls_max, threads: BTreeMap::new() }
    }

    pub(super) fn next(&mut self, thread: u32) -> Option<Action> {
        let reader = self.threads.entry(thread).or_insert_with(|| Reader { missing: self.targets.clone(), step: Step::Crash });
        if reader.missing.is_empty() {
            return None;
        }
        Some(match &mut reader.step {
            Step::Crash | Step::Poll { left: 0 } => {
                reader.step = Step::Crash;
                Action::Crash
            }
            Step::Assign => Action::Assign { keys: self.targets.keys().copied().collect(), seek_to_beginning: true },
            Step::Poll { left } => {
                *left -= 1;
                Action::poll()
            }
        })
    }

    pub(super) fn completed(&mut self, thread: u32, op: &Op) {
        let Some(reader) = self.threads.get_mut(&thread) else { return };
        match (&op.action, op.stage) {
            // Whatever a client did when its outcome became unknown, another one follows, with no partitions.
            (_, Stage::Info) => reader.step = Step::Assign,
            (Action::Assign { .. }, Stage::Ok) => reader.step = Step::Poll { left: self.polls_max },
            (_, Stage::Ok) => {
                for (key, offset) in polled_offsets(op) {
                    if reader.missing.get(&key).is_some_and(|target| *target <= offset) {
                        reader.missing.remove(&key);
                    }
                }
            }
            (_, Stage::Fail | Stage::Invoke) => {}
        }
    }
}
