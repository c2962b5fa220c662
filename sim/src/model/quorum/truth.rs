//! What must hold of the whole, whoever looks: the rules of core's `invariant`, and what they need to know of the past.

use super::State;
use super::node::{Disk, Entry, offset, place};
use klamm_core::id::{BrokerId, LeaderEpoch, Offset};
use klamm_core::invariant::{self, Given, Verdict};
use klamm_core::quorum::Replica;
use std::collections::{BTreeMap, BTreeSet};

/// What was decided for ever.
#[derive(Clone, Debug, Hash)]
pub(super) struct Truth {
    leaders: Given<LeaderEpoch, BrokerId>,
    votes: Given<(Replica, LeaderEpoch), Replica>,
    committed: Vec<Entry>,
    /// How much of it the leader of each epoch has committed.
    by: BTreeMap<LeaderEpoch, usize>,
}

impl Truth {
    pub(super) fn new() -> Self {
        Self { leaders: Given::new("the leadership of epoch"), votes: Given::new("the vote"), committed: Vec::new(), by: BTreeMap::new() }
    }

    /// `voter` tells that it votes, or has it on its disk.
    pub(super) fn votes(&mut self, voter: Replica, epoch: LeaderEpoch, candidate: Replica) -> Verdict {
        self.votes.give((voter, epoch), candidate)
    }

    /// `leader` begins to lead.
    pub(super) fn leads(&mut self, leader: Replica, epoch: LeaderEpoch, disk: &Disk, voters: &BTreeSet<Replica>) -> Verdict {
        self.leaders.give_once(epoch, leader.0)?;
        invariant::elected(leader, voters, |voter| self.votes.get(&(*voter, epoch)).copied())?;
        // Who hears late of an election that a newer one has overtaken lacks what was committed since.
        let before = self.by.range(..epoch).map(|(_, len)| *len).max().unwrap_or(0);
        self.holds(leader, disk, before)
    }

    /// Below `len`, a log holds what is committed.
    fn holds(&self, who: Replica, disk: &Disk, len: usize) -> Verdict {
        if disk.log.get(..len) == self.committed.get(..len) {
            return Ok(());
        }
        Err(format!("{} holds {:?} below {len}, and committed is {:?}", who.0, disk.log, self.committed))
    }

    /// A follower was told that what it holds below `high` is committed.
    pub(super) fn knows(&self, who: Replica, disk: &Disk, high: Offset) -> Verdict {
        if place(high) > self.committed.len() {
            return Err(format!("{} takes for committed what is below {high}, and leaders have committed {:?}", who.0, self.committed));
        }
        self.holds(who, disk, place(high))
    }
}

impl State {
    /// `i`, which leads, counts everything below `high` as committed.
    pub(super) fn commits(&mut self, i: usize, high: Offset) -> Verdict {
        let node = &self.nodes[i];
        if high < node.high {
            return Err(format!("the high watermark of {} went back from {} to {high}", node.replica.0, node.high));
        }
        invariant::committed_in_own_epoch(high, node.led_from)?;
        let log = &node.disk.log[..place(high)];
        let holds = |disk: &Disk| disk.durable >= log.len() && disk.log.starts_with(log);
        let ends = self.nodes[..self.voters].iter().map(|other| if holds(&other.disk) { high } else { Offset::ZERO });
        invariant::committed_by_majority(high, self.voters, ends)?;
        let (epoch, known) = (node.quorum.epoch(), self.truth.committed.len());
        self.truth.holds(node.replica, &node.disk, place(high).min(known))?;
        let new = log.get(known..).unwrap_or_default().to_vec();
        let truth = std::sync::Arc::make_mut(&mut self.truth);
        truth.committed.extend(new);
        truth.by.insert(epoch, place(high));
        Ok(())
    }

    /// What must hold of every state, of the nodes that the last step touched and all others.
    pub(super) fn judge(&self) -> Verdict {
        self.logs_match()?;
        let committed = &self.truth.committed;
        let ends = self.nodes[..self.voters].iter().map(|node| {
            let agrees = node.disk.log.iter().zip(committed).take(node.disk.durable).take_while(|(a, b)| a == b).count();
            offset(agrees)
        });
        invariant::committed_by_majority(offset(committed.len()), self.voters, ends).map_err(|what| format!("lost: {what}"))?;
        self.nodes.iter().try_for_each(|node| self.truth.knows(node.replica, &node.disk, node.high))
    }

    /// Raft 5.3: logs that have a record of the same epoch at the same offset are the same up to there.
    fn logs_match(&self) -> Verdict {
        for (i, a) in self.nodes.iter().enumerate() {
            for b in &self.nodes[i + 1..] {
                let (a, b) = (&a.disk.log, &b.disk.log);
                let last = a.iter().zip(b).rposition(|(a, b)| a.epoch == b.epoch);
                if let Some(last) = last
                    && a[..=last] != b[..=last]
                {
                    return Err(format!("two logs have a record of the same epoch at {last} and differ before it: {a:?} and {b:?}"));
                }
            }
        }
        Ok(())
    }
}
