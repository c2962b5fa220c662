//! How far consumers are behind, judged from outside: by Burrow's sliding window of commits, and by the clock.
//!
//! [`Cluster`] holds what was seen of one cluster: log end offsets, commits, owners. It never asks anybody; time is an argument. The rules are
//! those of Burrow 1.9 (`core/internal/evaluator/caching.go`, `core/internal/storage/inmemory.go`), to the edge cases; lag in time is ours.

mod cluster;
mod curve;
mod judge;
mod polled;
#[cfg(test)]
mod recorded;
mod report;
#[cfg(test)]
mod tests;
mod window;

pub use cluster::{Cluster, Owner, Settings};
pub use curve::TimeLag;
pub use polled::{GroupLook, Look};
pub use report::{GroupReport, PartitionReport};
pub use window::{Commit, NewCommit};

use crate::id::Offset;

/// How a partition or a group does, as Burrow numbers it: the greater, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Of a group: nobody knows it.
    NotFound = 0,
    /// All is well.
    Ok = 1,
    /// Commits go forward, but the lag never falls.
    Warn = 2,
    /// Of a group: at least one partition is stopped, stalled or rewound.
    Err = 3,
    /// Of a partition: nothing has been committed for longer than the window is wide.
    Stop = 4,
    /// Of a partition: the same offset is committed again and again.
    Stall = 5,
    /// Of a partition: the committed offset went back and has not come back since.
    Rewind = 6,
}

impl Status {
    /// The number that Burrow's metrics show.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The word that Burrow's answers show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "NOTFOUND",
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Err => "ERR",
            Self::Stop => "STOP",
            Self::Stall => "STALL",
            Self::Rewind => "REWIND",
        }
    }
}

/// How many records lie between. Ends are asked for now and then only, so a commit may be ahead of the newest one known: that is no lag.
fn lag(end: Offset, committed: Offset) -> u64 {
    u64::try_from(end.0.saturating_sub(committed.0)).unwrap_or(0)
}
