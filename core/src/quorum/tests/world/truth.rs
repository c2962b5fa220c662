//! What must hold of the whole, whoever looks.

use super::World;
use super::log::{Disk, Entry, offset, place};
use crate::id::{LeaderEpoch, Offset};
use crate::quorum::{Replica, Voters};
use std::collections::BTreeMap;

/// What was decided for ever.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Each epoch's leader, and which life of it.
    leaders: BTreeMap<LeaderEpoch, (usize, u64)>,
    /// Who gave which vote.
    votes: BTreeMap<(Replica, LeaderEpoch), Replica>,
    /// What any leader called committed.
    pub(super) committed: Vec<Entry>,
    /// How much of it the leaders up to each epoch had committed.
    by: BTreeMap<LeaderEpoch, usize>,
    /// A disk that is lost, and what was durable on it.
    pub(super) ghost: Option<(Replica, Vec<Entry>)>,
}

impl Truth {
    pub(super) fn leads(&mut self, epoch: LeaderEpoch, i: usize, life: u64, disk: &Disk) {
        let other = self.leaders.insert(epoch, (i, life));
        assert_eq!(other, None, "epoch {epoch} has a second leader, {i}");
        // A leader of an older epoch may hear of its election last, and lacks what the newer one has committed meanwhile.
        let before = self.by.range(..epoch).map(|(_, len)| *len).max();
        self.same_prefix(disk, before.unwrap_or(0), i);
    }

    pub(super) fn votes(&mut self, voter: Replica, epoch: LeaderEpoch, candidate: Replica) {
        let before = self.votes.insert((voter, epoch), candidate);
        assert!(before.is_none_or(|before| before == candidate), "{voter:?} voted for {before:?} and {candidate:?} in epoch {epoch}");
    }

    fn same_prefix(&self, disk: &Disk, len: usize, i: usize) {
        assert!(disk.log.len() >= len, "{i} has {} of {len} committed records", disk.log.len());
        for (at, entry) in self.committed.iter().enumerate().take(len) {
            assert_eq!(&disk.log[at], entry, "{i} has another committed record at {at}");
        }
    }

    /// A leader says that everything below `high` is committed.
    pub(super) fn commits(&mut self, i: usize, epoch: LeaderEpoch, high: Offset, disk: &Disk) -> u64 {
        let (high, known) = (place(high), self.committed.len());
        self.same_prefix(disk, high.min(known), i);
        self.by.insert(epoch, high);
        if high <= known {
            return 0;
        }
        self.committed.extend_from_slice(&disk.log[known..high]);
        u64::try_from(high - known).expect("few")
    }
}

impl World {
    /// Whether a majority of `voters` has everything below `high` on its disks, as the leader `i` has it.
    pub(super) fn majority_has(&self, i: usize, voters: &Voters, high: Offset) {
        let log = &self.nodes[i].disk.log[..place(high)];
        let has = |replica: Replica| {
            let node = &self.nodes[self.index(replica.0)];
            let ghost = self.truth.ghost.as_ref().is_some_and(|(other, had)| *other == replica && had.starts_with(log));
            ghost || (node.replica == replica && node.disk.durable >= log.len() && node.disk.log[..log.len()] == *log)
        };
        let count = voters.iter().filter(|voter| has(voter.replica())).count();
        assert!(count >= voters.majority(), "{i} called {high} committed, but only {count} of {voters:?} have it");
    }

    /// After peace and quiet: one leader, whom all know, and equal logs.
    pub(super) fn at_rest(&self) {
        let leaders: Vec<usize> = (0..self.nodes.len()).filter(|i| self.quorum(*i).is_leader()).collect();
        let &[leader] = &leaders[..] else { panic!("{} leaders: {leaders:?}", leaders.len()) };
        let (quorum, disk) = (self.quorum(leader), &self.nodes[leader].disk);
        assert_eq!(quorum.high(), Some(offset(disk.log.len())), "the leader {leader} did not commit everything");
        assert_eq!(self.truth.committed, disk.log);
        for (i, node) in self.nodes.iter().enumerate() {
            let other = self.quorum(i);
            assert_eq!(other.epoch(), quorum.epoch(), "{i} is in another epoch");
            assert_eq!(other.leader().map(|(id, _)| id), Some(self.nodes[leader].replica.0), "{i} follows somebody else");
            assert_eq!(node.disk.log, disk.log, "{i} has another log");
            assert_eq!(other.voters(), quorum.voters(), "{i} has other voters");
        }
    }
}
