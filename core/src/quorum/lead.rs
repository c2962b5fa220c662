//! What a leader knows of the replicas, and what follows from it: the high watermark, and whether a majority still listens.

use super::change::Change;
use super::io::Tail;
use super::round::Round;
use super::voters::{Replica, Voter, Voters};
use crate::id::{BrokerId, Offset, Uuid};
use crate::mutant;
use crate::time::{Instant, Now, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most replicas that a leader remembers. More than this have not fetched for long, or are not real.
pub(super) const REPLICAS_MAX: usize = 1024;

/// An observer that has not fetched for this long is forgotten, as in Kafka.
pub(super) const OBSERVER_KEPT: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// The first offset of this epoch; known once `Action::Lead` was handed out.
    pub(super) start: Option<Offset>,
    pub(super) high: Option<Offset>,
    pub(super) replicas: BTreeMap<Replica, Progress>,
    /// The voters that do not know of this leadership yet.
    pub(super) telling: Round,
    pub(super) change: Change,
    /// Since when each voter could have fetched.
    pub(super) since: BTreeMap<BrokerId, Instant>,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// It has everything below durable.
    pub(super) end: Offset,
    /// When it last asked.
    pub(super) asked: Now,
    /// When it last had all that the leader had; `None` if it never did.
    pub(super) caught_up: Option<Now>,
    /// The leader's end when it last asked.
    leader_end: Offset,
}

impl Leader {
    pub(super) fn new(me: Replica, voters: &Voters, now: Instant) -> Self {
        let others: Vec<BrokerId> = voters.iter().map(|voter| voter.id).filter(|id| *id != me.0).collect();
        Self {
            start: None,
            high: None,
            replicas: BTreeMap::new(),
            telling: Round::new(others.iter().copied(), now),
            change: Change::None,
            since: others.into_iter().map(|id| (id, now)).collect(),
        }
    }

    /// A replica asked for what follows `offset`.
    pub(super) fn fetched(&mut self, now: Now, replica: Replica, offset: Offset, end: Offset) {
        let before = self.replicas.get(&replica);
        let caught_up = match before {
            _ if offset >= end => Some(now),
            // It has now what there was when it last asked: it was up to date then.
            Some(before) if offset >= before.leader_end => Some(before.asked),
            Some(before) => before.caught_up,
            None => None,
        };
        self.replicas.insert(replica, Progress { end: offset, asked: now, caught_up, leader_end: end });
        if self.replicas.len() > REPLICAS_MAX {
            let oldest = self.replicas.iter().min_by_key(|(_, progress)| progress.asked.at).map(|(replica, _)| *replica);
            self.replicas.remove(&oldest.expect("there is more than one replica"));
        }
    }

    /// Where the voter is. A voter whose directory nobody knows is whichever disk of that id asked last.
    pub(super) fn progress(&self, voter: &Voter) -> Option<&Progress> {
        if voter.directory != Uuid::ZERO {
            return self.replicas.get(&voter.replica());
        }
        let disks = self.replicas.range((voter.id, Uuid::ZERO)..=(voter.id, Uuid([255; 16])));
        disks.map(|(_, progress)| progress).max_by_key(|progress| progress.asked.at)
    }

    /// The end that a majority of the voters has durable. Neither observers nor removed voters count, and the leader only if it is a voter.
    pub(super) fn majority_end(&self, me: Replica, voters: &Voters, tail: Tail) -> Option<Offset> {
        let end = |voter: &Voter| {
            if voter.is(me) { tail.durable } else { self.progress(voter).map_or(Offset::ZERO, |progress| progress.end) }
        };
        let mut ends: Vec<Offset> = if mutant!(HwNotVoters) {
            self.replicas.values().map(|progress| progress.end).chain([tail.durable]).collect()
        } else {
            voters.iter().map(end).collect()
        };
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.get(voters.majority() - 1).copied()
    }

    /// What is newly committed, if anything.
    pub(super) fn advance(&mut self, me: Replica, voters: &Voters, tail: Tail) -> Option<Offset> {
        let start = self.start?;
        let end = self.majority_end(me, voters, tail)?;
        // KIP-595, Raft 5.4.2: what a majority has of older epochs may still be replaced by another leader, until a record of this epoch holds it.
        let settled = end > start || mutant!(CommitOldEpoch);
        // A replica may ask for more than this log has only if it is not a replica of it: it is answered with an error, and not told here.
        let high = end.min(tail.end);
        if !settled || self.high.is_some_and(|before| high <= before) {
            return None;
        }
        self.high = Some(high);
        Some(high)
    }

    /// When the last voter that is needed for a majority was heard of; `None` if the leader is a majority alone.
    pub(super) fn majority_heard(&self, me: Replica, voters: &Voters) -> Option<Instant> {
        let heard = |voter: &Voter| {
            let since = self.since.get(&voter.id).copied().unwrap_or_default();
            self.progress(voter).map_or(since, |progress| progress.asked.at.max(since))
        };
        let mut times: Vec<Instant> = voters.iter().filter(|voter| !voter.is(me)).map(heard).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        let needed = voters.majority() - usize::from(voters.contains(me));
        needed.checked_sub(1).and_then(|last| times.get(last).copied())
    }

    /// The voters changed while this node leads.
    pub(super) fn keep(&mut self, me: Replica, voters: &Voters, now: Instant) {
        let others: Vec<BrokerId> = voters.iter().map(|voter| voter.id).filter(|id| *id != me.0).collect();
        self.telling.keep(others.iter().copied(), now);
        self.since.retain(|id, _| others.contains(id));
        for id in others {
            self.since.entry(id).or_insert(now);
        }
    }

    /// Forgets observers that are gone.
    pub(super) fn prune(&mut self, voters: &Voters, now: Instant) {
        self.replicas.retain(|replica, progress| voters.contains(*replica) || now.since(progress.asked.at) < OBSERVER_KEPT);
    }

    /// The voters but for this node, the most advanced first: who should lead next.
    pub(super) fn successors(&self, me: Replica, voters: &Voters) -> Vec<Replica> {
        let mut others: Vec<&Voter> = voters.iter().filter(|voter| !voter.is(me)).collect();
        others.sort_by_key(|voter| std::cmp::Reverse(self.progress(voter).map(|progress| progress.end)));
        others.into_iter().map(Voter::replica).collect()
    }
}

impl Progress {
    /// For answers to operators.
    pub(super) fn wall(&self) -> (Timestamp, Timestamp) {
        (self.asked.wall, self.caught_up.map_or(Timestamp::NONE, |now| now.wall))
    }
}
