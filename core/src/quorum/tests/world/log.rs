//! A metadata log as small as can be, and the disk under it.

use crate::id::{LeaderEpoch, Offset};
use crate::quorum::{Election, Tail, Voters};
use std::collections::VecDeque;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    LeaderChange,
    Voters(Voters),
    Data(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) epoch: LeaderEpoch,
    pub(super) value: Value,
}

/// What a node has written, and how much of it would survive a loss of power.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) log: Vec<Entry>,
    pub(super) durable: usize,
    /// Grows with each cut, so that a sync that began before it says nothing.
    pub(super) cuts: u64,
    pub(super) election: Election,
    /// Elections on their way to the disk.
    pub(super) saving: VecDeque<(u64, Election)>,
}

pub(super) fn offset(at: usize) -> Offset {
    Offset(i64::try_from(at).expect("short logs"))
}

pub(super) fn place(offset: Offset) -> usize {
    usize::try_from(offset.0).expect("offsets of a log")
}

impl Disk {
    pub(super) fn tail(&self) -> Tail {
        Tail { end: offset(self.log.len()), epoch: self.last_epoch(), durable: offset(self.durable) }
    }

    pub(super) fn last_epoch(&self) -> LeaderEpoch {
        self.log.last().map_or(LeaderEpoch(0), |entry| entry.epoch)
    }

    /// The largest epoch of the log that is at most `epoch`, and where it ends (KIP-279).
    pub(super) fn end_of(&self, epoch: LeaderEpoch) -> (LeaderEpoch, usize) {
        let end = self.log.iter().position(|entry| entry.epoch > epoch).unwrap_or(self.log.len());
        (if end == 0 { LeaderEpoch(0) } else { self.log[end - 1].epoch }, end)
    }

    pub(super) fn cut(&mut self, to: usize) {
        self.log.truncate(to);
        self.durable = self.durable.min(to);
        self.cuts += 1;
    }

    /// The voters records, and where they are.
    pub(super) fn voters(&self) -> Vec<(Offset, Voters)> {
        let voters = |(at, entry): (usize, &Entry)| match &entry.value {
            Value::Voters(voters) => Some((offset(at), voters.clone())),
            Value::LeaderChange | Value::Data(_) => None,
        };
        self.log.iter().enumerate().filter_map(voters).collect()
    }
}
