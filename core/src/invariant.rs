//! What must hold across nodes, as rules over what they show. Each says in words what is wrong.
//!
//! What must hold of one broker is asserted by itself (`Broker::check`). Sources: Kafka's KRaft simulation and its TLA+ models of replication.

use crate::controller::image::Partition;
use crate::id::{BrokerId, Offset};
use crate::quorum::Replica;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// What a rule says of what it was shown.
pub type Verdict = Result<(), String>;

fn ensure(holds: bool, words: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(words()) }
}

/// To whom each thing was given: leaders by epoch, votes by voter and epoch, producer ids. What was given once is never given to another.
#[derive(Clone, Debug, Hash)]
pub struct Given<K, V> {
    what: &'static str,
    all: BTreeMap<K, V>,
}

impl<K: Ord + Debug, V: PartialEq + Debug> Given<K, V> {
    /// Nothing is given yet; `what` is for the report.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, all: BTreeMap::new() }
    }

    /// `key` is given to `to`.
    ///
    /// # Errors
    /// It was given to another one before.
    pub fn give(&mut self, key: K, to: V) -> Verdict {
        match self.all.get(&key) {
            Some(before) if *before != to => Err(format!("{} {key:?} was given to {before:?}, and then to {to:?}", self.what)),
            Some(_) => Ok(()),
            None => {
                self.all.insert(key, to);
                Ok(())
            }
        }
    }

    /// To whom `key` was given.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.all.get(key)
    }

    /// What was given, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.all.keys()
    }

    /// `key` is given, for the first time.
    ///
    /// # Errors
    /// It was given before, to whomever.
    pub fn give_once(&mut self, key: K, to: V) -> Verdict {
        match self.all.get(&key) {
            Some(before) => Err(format!("{} {key:?} was given to {before:?}, and again to {to:?}", self.what)),
            None => self.give(key, to),
        }
    }
}

/// What grows, and by what it is told apart: epochs by voter, the high watermark by leadership.
#[derive(Clone, Debug)]
pub struct Rising<K, V> {
    what: &'static str,
    all: BTreeMap<K, V>,
}

impl<K: Ord + Debug, V: PartialOrd + Debug> Rising<K, V> {
    /// Nothing is known yet; `what` is for the report.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, all: BTreeMap::new() }
    }

    /// It is at `value` now.
    ///
    /// # Errors
    /// It went back.
    pub fn reach(&mut self, key: K, value: V) -> Verdict {
        if let Some(before) = self.all.get(&key).filter(|before| **before > value) {
            return Err(format!("{} of {key:?} went back from {before:?} to {value:?}", self.what));
        }
        self.all.insert(key, value);
        Ok(())
    }
}

/// One partition of committed metadata by itself. `min` is its topic's `min.insync.replicas`, `None` where that does not bind the ELR; `may_lead`
/// says who is neither fenced nor on its way down.
///
/// # Errors
/// What is wrong with it.
pub fn partition(p: &Partition, min: Option<usize>, may_lead: impl Fn(BrokerId) -> bool) -> Verdict {
    let is_within = |all: &[BrokerId]| all.iter().all(|id| p.replicas.contains(id));
    ensure(is_within(&p.isr), || format!("the ISR holds a broker without a replica: {p:?}"))?;
    ensure(is_within(&p.elr) && is_within(&p.last_known_elr), || format!("the ELR holds a broker without a replica: {p:?}"))?;
    ensure(is_within(&p.adding) && is_within(&p.removing), || format!("a broker without a replica comes or goes: {p:?}"))?;
    ensure(!p.isr.iter().any(|id| p.elr.contains(id)), || format!("a broker is in ISR and ELR: {p:?}"))?;
    ensure(p.leader.is_none_or(|leader| p.isr.contains(&leader)), || format!("the leader is not in the ISR: {p:?}"))?;
    ensure(p.leader.is_some() || p.isr.is_empty(), || format!("nobody leads, and the ISR is not empty: {p:?}"))?;
    ensure(p.isr.iter().all(|id| may_lead(*id)), || format!("the ISR holds a broker that is fenced or stops: {p:?}"))?;
    let is_full = min.is_some_and(|min| p.isr.len() >= p.min_isr(min));
    ensure(!is_full || p.elr.is_empty(), || format!("an ELR beside an ISR of at least {min:?}: {p:?}"))
}

/// One partition of committed metadata, and what a later one says of it.
///
/// # Errors
/// An epoch went back, or did not move with what it counts.
pub fn succession(before: &Partition, after: &Partition) -> Verdict {
    let words = |what: &str| format!("{what}: {before:?}, then {after:?}");
    ensure(before.partition_epoch <= after.partition_epoch, || words("the partition epoch went back"))?;
    ensure(before.leader_epoch <= after.leader_epoch, || words("the leader epoch went back"))?;
    ensure(before == after || before.partition_epoch < after.partition_epoch, || words("a change within a partition epoch"))?;
    ensure(before.leader == after.leader || before.leader_epoch < after.leader_epoch, || words("another leader within an epoch"))
}

/// A leader counts everything below `high` as committed: so all who count have it durable. `ends` are their durable ends.
///
/// # Errors
/// One of them has not.
pub fn committed_by_all(high: Offset, ends: impl IntoIterator<Item = (BrokerId, Offset)>) -> Verdict {
    for (id, end) in ends {
        ensure(high <= end, || format!("committed up to {high}, and {id}, which counts, has it durable up to {end}"))?;
    }
    Ok(())
}

/// Whoever the controller has in the ISR of a partition counts for its leader too, who proposed it; the controller alone only takes members out
/// (KIP-497).
///
/// # Errors
/// Somebody is in sync whom the leader does not wait for.
pub fn counts_for_leader(isr: &[BrokerId], counts: &BTreeSet<BrokerId>) -> Verdict {
    let unknown = isr.iter().find(|member| !counts.contains(member));
    ensure(unknown.is_none(), || format!("in sync are {isr:?}, and for the leader only {counts:?} count"))
}

/// A leader of the metadata quorum whose epoch begins at `start` has come to count everything below `high` as committed: with it a record of its own
/// epoch, since what a majority has of older ones may still be replaced (KIP-595; Raft 5.4.2).
///
/// # Errors
/// It is of older epochs only.
pub fn committed_in_own_epoch(high: Offset, start: Offset) -> Verdict {
    ensure(high > start, || format!("metadata is committed up to {high} by a leader whose own epoch begins at {start}"))
}

/// Everything below `high` counts as committed in the metadata quorum: so a majority of `voters` has it durable.
///
/// # Errors
/// None has.
pub fn committed_by_majority(high: Offset, voters: usize, ends: impl IntoIterator<Item = Offset>) -> Verdict {
    let holders = ends.into_iter().filter(|end| high <= *end).count();
    ensure(holders > voters / 2, || format!("metadata is committed up to {high}, and {holders} of {voters} voters have it durable"))
}

/// One set of voters, and the next one in the same log: at most one voter comes or goes, so that any two majorities of both have a voter in common
/// (Ongaro's dissertation, 4.1). A node on another disk is another voter.
///
/// # Errors
/// Several do, or none are left.
pub fn voter_change(before: &BTreeSet<Replica>, after: &BTreeSet<Replica>) -> Verdict {
    ensure(!after.is_empty(), || format!("nobody votes any more, after {before:?}"))?;
    let changed = before.symmetric_difference(after).count();
    ensure(changed <= 1, || format!("{changed} voters come or go at once: {before:?}, then {after:?}"))
}

/// Who leads the quorum was elected: a majority of the voters gave it their votes. `votes` says for whom each of them voted in that epoch, as far as
/// its disk has it.
///
/// # Errors
/// No majority did.
pub fn elected(leader: Replica, voters: &BTreeSet<Replica>, votes: impl Fn(&Replica) -> Option<Replica>) -> Verdict {
    let granted = voters.iter().filter(|voter| votes(voter) == Some(leader)).count();
    ensure(granted > voters.len() / 2, || format!("{leader:?} leads, and of the voters {voters:?} only {granted} have voted for it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{LeaderEpoch, Uuid};

    fn ids(all: &[i32]) -> Vec<BrokerId> {
        all.iter().copied().map(BrokerId).collect()
    }

    fn good() -> Partition {
        Partition {
            replicas: ids(&[1, 2, 3]),
            isr: ids(&[1, 2]),
            removing: ids(&[]),
            adding: ids(&[]),
            leader: Some(BrokerId(1)),
            is_recovering: false,
            leader_epoch: LeaderEpoch(4),
            partition_epoch: 7,
            directories: vec![Uuid::ZERO; 3],
            elr: ids(&[]),
            last_known_elr: ids(&[]),
        }
    }

    fn judged(change: impl FnOnce(&mut Partition)) -> Verdict {
        let mut bad = good();
        change(&mut bad);
        partition(&bad, Some(2), |id| id != BrokerId(3))
    }

    #[test]
    fn whoever_is_in_sync_counts_for_the_leader() {
        let counts = [1, 2].map(BrokerId).into();
        counts_for_leader(&ids(&[2]), &counts).unwrap();
        counts_for_leader(&ids(&[2, 3]), &counts).unwrap_err();
    }

    #[test]
    fn a_partition_by_itself() {
        judged(|_| {}).unwrap();
        judged(|p| (p.isr, p.elr) = (ids(&[1]), ids(&[2]))).unwrap();
        judged(|p| p.isr.push(BrokerId(9))).unwrap_err();
        judged(|p| p.elr.push(BrokerId(9))).unwrap_err();
        judged(|p| p.last_known_elr.push(BrokerId(9))).unwrap_err();
        judged(|p| p.adding.push(BrokerId(9))).unwrap_err();
        judged(|p| (p.isr, p.elr) = (ids(&[1]), ids(&[1]))).unwrap_err();
        judged(|p| p.leader = Some(BrokerId(3))).unwrap_err();
        judged(|p| p.leader = None).unwrap_err();
        judged(|p| p.isr.push(BrokerId(3))).unwrap_err();
        judged(|p| p.elr.push(BrokerId(3))).unwrap_err();
        partition(&Partition { elr: ids(&[3]), ..good() }, None, |_| true).unwrap();
    }

    #[test]
    fn a_partition_and_what_follows() {
        let next = Partition { partition_epoch: 8, isr: ids(&[1]), ..good() };
        succession(&good(), &good()).unwrap();
        succession(&good(), &next).unwrap();
        succession(&next, &good()).unwrap_err();
        succession(&good(), &Partition { leader_epoch: LeaderEpoch(3), ..next.clone() }).unwrap_err();
        succession(&good(), &Partition { isr: ids(&[1]), ..good() }).unwrap_err();
        succession(&good(), &Partition { leader: Some(BrokerId(2)), ..next.clone() }).unwrap_err();
        succession(&good(), &Partition { leader: Some(BrokerId(2)), leader_epoch: LeaderEpoch(5), ..next }).unwrap();
    }

    #[test]
    fn what_was_given_is_given_to_nobody_else() {
        let mut leaders = Given::new("leadership");
        leaders.give(1, "a").unwrap();
        leaders.give(1, "a").unwrap();
        leaders.give(2, "b").unwrap();
        leaders.give(1, "b").unwrap_err();
        leaders.give_once(3, "a").unwrap();
        leaders.give_once(3, "a").unwrap_err();
    }

    #[test]
    fn what_rises_never_goes_back() {
        let mut high = Rising::new("high watermark");
        high.reach("p", 3).unwrap();
        high.reach("p", 3).unwrap();
        high.reach("q", 1).unwrap();
        high.reach("p", 2).unwrap_err();
    }

    #[test]
    fn one_voter_comes_or_goes_at_a_time() {
        let set = |all: &[(i32, u8)]| all.iter().map(|(id, disk)| (BrokerId(*id), Uuid([*disk; 16]))).collect::<BTreeSet<Replica>>();
        let three = set(&[(1, 1), (2, 2), (3, 3)]);
        voter_change(&three, &three).unwrap();
        voter_change(&three, &set(&[(1, 1), (2, 2)])).unwrap();
        voter_change(&set(&[(1, 1), (2, 2)]), &three).unwrap();
        voter_change(&three, &set(&[(1, 1), (2, 2), (3, 4)])).unwrap_err();
        voter_change(&three, &set(&[(1, 1)])).unwrap_err();
        voter_change(&set(&[(1, 1)]), &set(&[])).unwrap_err();
    }

    #[test]
    fn a_leader_was_elected_by_voters_on_their_disks() {
        let voter = |id: i32, disk: u8| (BrokerId(id), Uuid([disk; 16]));
        let voters = [voter(1, 1), voter(2, 2), voter(3, 3)].into();
        let by = |granting: Vec<Replica>| {
            elected(voter(1, 1), &voters, |voter| granting.contains(voter).then_some((BrokerId(1), Uuid([1; 16]))))
        };
        by(vec![voter(1, 1), voter(2, 2)]).unwrap();
        by(vec![voter(1, 1), voter(2, 9)]).unwrap_err();
        by(vec![voter(1, 1)]).unwrap_err();
        elected(voter(1, 1), &voters, |_| Some(voter(2, 2))).unwrap_err();
    }

    #[test]
    fn what_counts_as_committed_is_where_it_must_be() {
        let end = |id: i32, end: i64| (BrokerId(id), Offset(end));
        committed_by_all(Offset(5), [end(1, 5), end(2, 9)]).unwrap();
        committed_by_all(Offset(6), [end(1, 5), end(2, 9)]).unwrap_err();
        committed_by_majority(Offset(5), 3, [Offset(5), Offset(0), Offset(7)]).unwrap();
        committed_by_majority(Offset(6), 3, [Offset(5), Offset(0), Offset(7)]).unwrap_err();
        committed_by_majority(Offset(5), 4, [Offset(5), Offset(0), Offset(7)]).unwrap_err();
        committed_in_own_epoch(Offset(6), Offset(5)).unwrap();
        committed_in_own_epoch(Offset(5), Offset(5)).unwrap_err();
    }
}
