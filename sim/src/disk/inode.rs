//! One file's bytes: what is durable, what the running process sees, and the writes between the two.

use klamm_core::rng::Rng;
use rand::Rng as _;
use rand::seq::SliceRandom as _;

/// A write is torn at multiples of this.
const SECTOR: usize = 512;

/// A change of a file's bytes that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    SetLen(u64),
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// The running process finds it by a name.
    pub(super) has_name: bool,
    durable: Vec<u8>,
    seen: Vec<u8>,
    /// Numbered in the order in which they were made.
    unsynced: Vec<(u64, Change)>,
    changes: u64,
    /// Where a bit flipped last.
    rotten: Option<u64>,
}

/// What a crash took from a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    pub(super) writes: u64,
    pub(super) torn: u64,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes: new } => {
            let (at, end) = (*at as usize, *at as usize + new.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(new);
        }
        Change::SetLen(len) => bytes.resize(*len as usize, 0),
    }
}

impl Inode {
    pub(super) fn size(&self) -> u64 {
        self.seen.len() as u64
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.seen
    }

    pub(super) fn write(&mut self, at: u64, bytes: Vec<u8>) {
        self.change(Change::Write { at, bytes });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.change(Change::SetLen(len));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.unsynced.push((self.changes, change));
        self.changes += 1;
    }

    /// How many changes were ever made: a sync that begins now covers all of them.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes that a sync that begins now must write.
    pub(super) fn dirty(&self) -> u64 {
        let size = |(_, change): &(u64, Change)| match change {
            Change::Write { bytes, .. } => bytes.len() as u64,
            Change::SetLen(_) => 0,
        };
        self.unsynced.iter().map(size).sum()
    }

    /// A sync that covered the first `count` changes has ended. Failed: they are readable, but will never be durable.
    pub(super) fn synced(&mut self, count: u64, failed: bool) {
        let covered = self.unsynced.partition_point(|(number, _)| *number < count);
        for (_, change) in self.unsynced.drain(..covered) {
            if !failed {
                apply(&mut self.durable, &change);
            }
        }
    }

    /// Leaves what is durable and any part of what is not.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> Lost {
        let mut changes: Vec<Change> = self.unsynced.drain(..).map(|(_, change)| change).collect();
        let mut lost = Lost::default();
        // A quarter of the crashes keep the order, as a disk without a cache would.
        if rng.random_ratio(3, 4) {
            changes.shuffle(rng);
        }
        let all = changes.len();
        changes.truncate(rng.random_range(0..=all));
        lost.writes = (all - changes.len()) as u64;
        if let Some(Change::Write { bytes, .. }) = changes.last_mut()
            && rng.random_bool(0.5)
        {
            let sectors = bytes.len().div_ceil(SECTOR);
            let kept = rng.random_range(0..=sectors) * SECTOR;
            lost.torn += u64::from(kept < bytes.len());
            bytes.truncate(kept);
        }
        changes.iter().for_each(|change| apply(&mut self.durable, change));
        self.seen = self.durable.clone();
        lost
    }

    /// Whether it still holds a bit that flipped.
    pub(super) fn is_rotten(&self) -> bool {
        self.rotten.is_some_and(|at| at < self.size())
    }

    /// One bit of the durable bytes flips.
    pub(super) fn rot(&mut self, at: u64) {
        self.rotten = Some(at);
        for bytes in [&mut self.durable, &mut self.seen] {
            if let Some(byte) = bytes.get_mut(at as usize) {
                *byte ^= 0x10;
            }
        }
    }
}
