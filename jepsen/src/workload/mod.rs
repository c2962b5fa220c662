//! What clients do: pure generators, which the simulator steps and the process runner steps alike.
//!
//! A workload has two phases. In the main one every client sends, polls, changes its assignment, and sometimes crashes. In the
//! last one each thread starts a fresh client which reads all keys from the beginning, until it has reached the highest offset
//! that anybody saw: only then may a checker call a record lost.
//!
//! Never waits, and never speaks to a broker: the caller runs each action and tells what came of it.

mod keys;
mod last;
mod mix;
mod unseen;

use std::collections::BTreeMap;

use rand::Rng;

use crate::history::{Action, Key, Mop, Offset, Op, Process, Stage};
use last::LastPhase;
use mix::Mix;

/// How consumers get their partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubVia {
    /// They take them by themselves.
    Assign,
    /// They join a group.
    Subscribe,
}

/// What a workload is made of. The defaults are those of Jepsen's kafka workload, without transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many threads run clients. Thread t runs process t, and after an unknown outcome t + `threads`, and so on.
    pub threads: u32,
    /// How many keys are in use at a time; later ones are hotter, each twice as hot as the one before.
    pub keys: usize,
    /// A key is retired after at most so many sends; how many is drawn for each, fewer being likelier.
    pub sends_per_key_max: i64,
    /// How many sends and polls one operation has at most. More than one means transactions.
    pub mops_max: usize,
    /// The ways to get partitions, at least one, drawn anew each time.
    pub sub_via: Vec<SubVia>,
    /// One in so many operations changes the client's assignment.
    pub assign_one_in: u32,
    /// One in so many operations crashes its client; 0 for never.
    pub crash_one_in: u32,
    /// How often a client of the last phase polls before its thread gives it up and starts over.
    pub last_polls_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 5,
            keys: 10,
            sends_per_key_max: 256,
            mops_max: 1,
            sub_via: vec![SubVia::Assign],
            assign_one_in: 64,
            crash_one_in: 0,
            last_polls_max: 1000,
        }
    }
}

/// A workload in progress.
///
/// ```
/// use klamm_jepsen::history::{Action, Process};
/// use klamm_jepsen::workload::{Options, Workload};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// let mut rng = ChaCha8Rng::seed_from_u64(7);
/// let mut workload = Workload::new(Options::default());
/// let first = workload.next(Process::Client(0), &mut rng);
/// assert!(matches!(first, Some(Action::Assign { .. })), "a fresh client needs partitions");
/// workload.begin_last_phase();
/// assert_eq!(workload.next(Process::Client(0), &mut rng), None, "nothing was sent, so there is nothing to read");
/// ```
#[derive(Clone, Debug)]
pub struct Workload {
    threads: u32,
    mix: Mix,
    last_polls_max: u32,
    last: Option<LastPhase>,
    /// The highest offset that anybody is known to have sent or read.
    reached: BTreeMap<Key, Offset>,
}

impl Workload {
    /// A workload in its main phase.
    ///
    /// # Panics
    /// If there are no threads, no keys, no steps in an operation, or no way to get partitions.
    #[must_use]
    pub fn new(options: Options) -> Self {
        assert!(options.threads > 0, "a workload needs a thread");
        let (threads, last_polls_max) = (options.threads, options.last_polls_max);
        Self { threads, mix: Mix::new(options), last_polls_max, last: None, reached: BTreeMap::new() }
    }

    /// What this client does next; `None` once its thread has read everything in the last phase. The client must be idle.
    pub fn next<R: Rng + ?Sized>(&mut self, process: Process, rng: &mut R) -> Option<Action> {
        let thread = self.thread(process);
        match &mut self.last {
            Some(last) => last.next(thread),
            None => Some(self.mix.next(process, rng)),
        }
    }

    /// Takes note of an operation's end.
    pub fn completed(&mut self, op: &Op) {
        if op.stage == Stage::Ok {
            for (key, offset) in sent_offsets(op).into_iter().chain(polled_offsets(op)) {
                raise(&mut self.reached, key, offset);
            }
        }
        self.mix.completed(op);
        let thread = self.thread(op.process);
        if let Some(last) = &mut self.last {
            last.completed(thread, op);
        }
    }

    /// Goes over to the last phase: call it once faults have stopped and the cluster has healed.
    pub fn begin_last_phase(&mut self) {
        self.last = Some(LastPhase::new(self.reached.clone(), self.last_polls_max));
    }

    /// The process under which a thread goes on after an operation of `process` ended as unknown.
    #[must_use]
    pub fn successor(&self, process: Process) -> Process {
        match process {
            Process::Client(number) => Process::Client(number + self.threads),
            Process::Nemesis => Process::Nemesis,
        }
    }

    /// Every key that anybody is known to have sent to or read from, with the highest offset.
    #[must_use]
    pub fn reached(&self) -> &BTreeMap<Key, Offset> {
        &self.reached
    }

    fn thread(&self, process: Process) -> u32 {
        match process {
            Process::Client(number) => number % self.threads,
            Process::Nemesis => panic!("the nemesis takes no part in a workload"),
        }
    }
}

/// The highest offset per key that an operation sent.
fn sent_offsets(op: &Op) -> BTreeMap<Key, Offset> {
    let mut offsets = BTreeMap::new();
    for mop in op.action.mops() {
        if let Mop::Send { key, offset: Some(offset), .. } = mop {
            raise(&mut offsets, *key, *offset);
        }
    }
    offsets
}

/// The highest offset per key that an operation polled.
fn polled_offsets(op: &Op) -> BTreeMap<Key, Offset> {
    let mut offsets = BTreeMap::new();
    for mop in op.action.mops() {
        let Mop::Poll(Some(seen)) = mop else { continue };
        for (key, records) in seen {
            for offset in records.iter().filter_map(|record| record.offset) {
                raise(&mut offsets, *key, offset);
            }
        }
    }
    offsets
}

fn raise(offsets: &mut BTreeMap<Key, Offset>, key: Key, offset: Offset) {
    let highest = offsets.entry(key).or_insert(offset);
    *highest = offset.max(*highest);
}
