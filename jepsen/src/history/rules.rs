//! Decides whether one more entry may join a history. Holds one small entry per process, never the history itself, so that it
//! can watch a history being streamed to a file.

use std::collections::BTreeMap;
use std::fmt;

use super::{Action, Op, Process, Stage};

/// The rules of a history, entry by entry: the index is dense, time never goes back, a process has at most one open
/// operation, an end names what began, and a process whose operation ended as `Info` never returns.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    next: u64,
    time: u64,
    processes: BTreeMap<Process, State>,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    Open { f: String },
    Retired,
}

/// The rule that an entry broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The index is not the next one.
    Index {
        /// The next one.
        want: u64,
        /// What it was.
        got: u64,
    },
    /// Time went back.
    Time {
        /// At which entry.
        index: u64,
    },
    /// The process began an operation before its last one ended.
    AlreadyOpen {
        /// At which entry.
        index: u64,
        /// Whose.
        process: Process,
    },
    /// The process ended what it had not begun.
    NothingOpen {
        /// At which entry.
        index: u64,
        /// Whose.
        process: Process,
    },
    /// The process ended another kind of operation than it had begun.
    OtherEnd {
        /// At which entry.
        index: u64,
        /// Whose.
        process: Process,
    },
    /// The process returned although the outcome of an earlier operation is unknown.
    Retired {
        /// At which entry.
        index: u64,
        /// Which.
        process: Process,
    },
    /// A crash ended in another way than as `Info`.
    CrashSurvived {
        /// At which entry.
        index: u64,
    },
}

impl Rules {
    /// Takes `op` as the next entry.
    ///
    /// # Errors
    /// The rule it breaks; it has then not joined.
    pub fn admit(&mut self, op: &Op) -> Result<(), Broken> {
        let index = op.index;
        if index != self.next {
            return Err(Broken::Index { want: self.next, got: index });
        }
        if op.time < self.time {
            return Err(Broken::Time { index });
        }
        if let Process::Client(_) = op.process {
            self.step(op)?;
        }
        self.next += 1;
        self.time = op.time;
        Ok(())
    }

    /// The index that the next entry must have.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.next
    }

    /// Whether this process ended an operation as `Info`, so that it may not be used again.
    #[must_use]
    pub fn is_retired(&self, process: Process) -> bool {
        matches!(self.processes.get(&process), Some(State::Retired))
    }

    fn step(&mut self, op: &Op) -> Result<(), Broken> {
        let Op { index, process, .. } = *op;
        let state = self.processes.entry(process).or_insert(State::Idle);
        *state = match (&*state, op.stage) {
            (State::Retired, _) => return Err(Broken::Retired { index, process }),
            (State::Idle, Stage::Invoke) => State::Open { f: op.action.name().to_owned() },
            (State::Open { .. }, Stage::Invoke) => return Err(Broken::AlreadyOpen { index, process }),
            (State::Idle, Stage::Ok | Stage::Fail | Stage::Info) => return Err(Broken::NothingOpen { index, process }),
            (State::Open { f }, Stage::Ok | Stage::Fail | Stage::Info) if f != op.action.name() => {
                return Err(Broken::OtherEnd { index, process });
            }
            (State::Open { .. }, Stage::Ok | Stage::Fail) if op.action == Action::Crash => return Err(Broken::CrashSurvived { index }),
            (State::Open { .. }, Stage::Ok | Stage::Fail) => State::Idle,
            (State::Open { .. }, Stage::Info) => State::Retired,
        };
        Ok(())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { want, got } => write!(f, "index {got} stands where {want} must stand"),
            Self::Time { index } => write!(f, "time goes back at index {index}"),
            Self::AlreadyOpen { index, process } => write!(f, "{process} begins at index {index} before its last operation ended"),
            Self::NothingOpen { index, process } => write!(f, "{process} ends at index {index} what it never began"),
            Self::OtherEnd { index, process } => write!(f, "{process} ends at index {index} another operation than it began"),
            Self::Retired { index, process } => write!(f, "{process} returns at index {index} after an operation of unknown outcome"),
            Self::CrashSurvived { index } => write!(f, "the crash at index {index} ends otherwise than as info"),
        }
    }
}

impl std::error::Error for Broken {}
