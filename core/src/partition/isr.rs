//! Who must have a record before it counts: the in-sync replicas, and the changes of them that are not confirmed yet.
//!
//! ```text
//!   maximal ISR = confirmed members ∪ those of the proposal: pending joiners count, leavers count until they are confirmed to be out (KIP-497)
//! ```
//!
//! Decides who may join and who must leave. Never speaks to the controller.

use crate::id::{BrokerId, Offset};
use crate::time::Instant;
use crate::{mutant, probe};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

/// What the leader knows of another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Replica {
    /// Its durable end: what it last asked from. `None` before its first fetch in this epoch.
    end: Option<Offset>,
    /// Where its log begins; `Offset::UNKNOWN` before its first fetch in this epoch.
    start: Offset,
    /// When it last had everything that the leader had.
    caught_up: Instant,
    /// When it last fetched, and the leader's end then.
    fetched: (Instant, Offset),
    /// The registration under which it fetches (KIP-903).
    broker_epoch: i64,
}

/// What follows when the controller refuses a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What is confirmed counts, and nothing else.
    ForGood,
    /// What is confirmed has to be asked for.
    TakesBack,
}

/// The in-sync replicas of a partition, as its leader sees them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Isr {
    me: BrokerId,
    replicas: BTreeMap<BrokerId, Replica>,
    confirmed: BTreeSet<BrokerId>,
    proposed: Option<BTreeSet<BrokerId>>,
    /// Who was proposed before, by a question that may yet be granted.
    doubted: BTreeSet<BrokerId>,
    /// Under which registrations those had fetched that were proposed, when they were.
    proposed_epochs: BTreeMap<BrokerId, i64>,
    partition_epoch: i32,
    min: usize,
}

impl Isr {
    /// The replicas that the controller assigned, none of them heard of yet. All get the time that a laggard gets.
    #[must_use]
    pub fn new(me: BrokerId, replicas: &[BrokerId], isr: &[BrokerId], partition_epoch: i32, now: Instant) -> Self {
        let mut new = Self {
            me,
            replicas: BTreeMap::new(),
            confirmed: isr.iter().copied().collect(),
            proposed: None,
            doubted: BTreeSet::new(),
            proposed_epochs: BTreeMap::new(),
            partition_epoch,
            min: 1,
        };
        new.assign(replicas, now);
        new
    }

    /// Only `me`.
    #[must_use]
    pub fn alone(me: BrokerId) -> Self {
        Self::new(me, &[me], &[me], 0, Instant::default())
    }

    fn assign(&mut self, replicas: &[BrokerId], now: Instant) {
        self.replicas.retain(|id, _| replicas.contains(id));
        for id in replicas.iter().filter(|id| **id != self.me) {
            let unheard = Replica { end: None, start: Offset::UNKNOWN, caught_up: now, fetched: (now, Offset(i64::MAX)), broker_epoch: -1 };
            self.replicas.entry(*id).or_insert(unheard);
        }
    }

    /// What the controller confirmed.
    #[must_use]
    pub fn confirmed(&self) -> &BTreeSet<BrokerId> {
        &self.confirmed
    }

    /// The change that the controller has not confirmed.
    #[must_use]
    pub fn proposed(&self) -> Option<&BTreeSet<BrokerId>> {
        self.proposed.as_ref()
    }

    /// The partition's epoch at the controller, as far as it is known here.
    #[must_use]
    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// `min.insync.replicas`
    pub fn set_min(&mut self, min: usize) {
        self.min = min;
    }

    /// How many must be in sync: what is configured, but no more than there are replicas, of which a reassignment may make more.
    fn least(&self) -> usize {
        self.min.clamp(1, self.replicas.len() + 1)
    }

    /// Whether too few are in sync: nothing more is committed then, and acks=all is refused.
    #[must_use]
    pub fn is_under_min(&self) -> bool {
        self.confirmed.len() < self.least()
    }

    fn is_maximal(&self, id: BrokerId) -> bool {
        let joins = |proposed: &BTreeSet<BrokerId>| proposed.contains(&id) && !mutant!(HwCommittedIsr);
        self.confirmed.contains(&id) || self.proposed.as_ref().is_some_and(joins) || joins(&self.doubted)
    }

    /// Who counts: the maximal ISR, in no order, and some more than once.
    pub fn counting(&self) -> impl Iterator<Item = &BrokerId> {
        self.confirmed.iter().chain(self.proposed.iter().flatten()).chain(&self.doubted)
    }

    /// Up to where every member of the maximal ISR has the log durable, the leader up to `own`; `None` while one of them has not been heard of,
    /// or too few are in sync (KIP-966: what is committed then could be lost with an election from the ELR).
    #[must_use]
    pub fn committed(&self, own: Offset) -> Option<Offset> {
        if self.is_under_min() && !mutant!(HwUnderMin) {
            return None;
        }
        let members = self.replicas.iter().filter(|(id, _)| self.is_maximal(**id));
        members.map(|(_, replica)| replica.end).try_fold(own, |least, end| Some(least.min(end?)))
    }

    /// The least log start of the leader, `own`, and of those replicas that live; `Offset::UNKNOWN` while one of them has not been heard of.
    #[must_use]
    pub fn low(&self, own: Offset, lives: impl Fn(BrokerId) -> bool) -> Offset {
        self.replicas.iter().filter(|(id, _)| lives(**id)).map(|(_, replica)| replica.start).fold(own, Offset::min)
    }

    /// Of the confirmed members that `may` and hold `offset`, or end there, the one that has most; then the one that had everything last. Who is not in sync
    /// may lag further and further behind (KAFKA-14372).
    #[must_use]
    pub fn fullest(&self, offset: Offset, may: impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
        let is_member = |id: &BrokerId| self.confirmed.contains(id) || mutant!(PreferredNotInSync);
        let holds = |replica: &Replica| replica.start <= offset && replica.end >= Some(offset);
        let members = self.replicas.iter().filter(|(id, replica)| is_member(id) && holds(replica) && may(**id));
        members.max_by_key(|(id, replica)| (replica.end, replica.caught_up, **id)).map(|(id, _)| *id)
    }

    /// Up to where as many members of the ISR as must be in sync have the log durable: where a broken leader acknowledges.
    pub(super) fn reached_by_min(&self, own: Offset) -> Option<Offset> {
        let members = self.replicas.iter().filter(|(id, _)| self.confirmed.contains(*id)).filter_map(|(_, replica)| replica.end);
        let mut ends: Vec<Offset> = members.chain([own]).collect();
        ends.sort_unstable_by(|one, other| other.cmp(one));
        ends.get(self.least() - 1).copied()
    }

    /// `id` fetches from the end of what it `has`: all of that is durable. `end` is the leader's.
    pub fn fetched(&mut self, now: Instant, id: BrokerId, broker_epoch: i64, has: Range<Offset>, end: Offset) {
        let Some(replica) = self.replicas.get_mut(&id) else { return };
        let offset = has.end;
        if offset >= end {
            replica.caught_up = now;
        } else if offset >= replica.fetched.1 {
            // What the leader had at the fetch before is there now: it was in sync then.
            replica.caught_up = replica.caught_up.max(replica.fetched.0);
        }
        replica.fetched = (now, end);
        (replica.start, replica.end) = (has.start, Some(offset));
        replica.broker_epoch = broker_epoch;
    }

    /// For so long nobody could fetch: that is not held against anyone.
    pub fn paused(&mut self, pause: Duration) {
        for replica in self.replicas.values_mut() {
            replica.caught_up = replica.caught_up.after(pause);
            replica.fetched.0 = replica.fetched.0.after(pause);
        }
    }

    /// The registration under which `id` had fetched when it was proposed; −1 where it had not. A later one may have come back with less (KIP-903).
    #[must_use]
    pub fn proposed_epoch(&self, id: BrokerId) -> i64 {
        if mutant!(ProposalNamesNewest) {
            return self.replicas.get(&id).map_or(-1, |replica| replica.broker_epoch);
        }
        self.proposed_epochs.get(&id).copied().unwrap_or(-1)
    }

    /// The durable end of `id`, if it is a replica that was heard of.
    #[must_use]
    pub fn end_of(&self, id: BrokerId) -> Option<Offset> {
        self.replicas.get(&id).and_then(|replica| replica.end)
    }

    /// The ISR to propose when those join that may, of all replicas that have everything up to `reached`: the high watermark, and the start of this
    /// leader's epoch (KAFKA-7128: the high watermark may lag right after an election).
    #[must_use]
    pub fn joined(&self, reached: Offset, may: impl Fn(BrokerId, i64) -> bool) -> Option<BTreeSet<BrokerId>> {
        if self.proposed.is_some() {
            return None;
        }
        let is_ready = |replica: &Replica| replica.end.is_some_and(|end| end >= reached);
        let outside = self.replicas.iter().filter(|(id, _)| !self.confirmed.contains(*id));
        let mut isr: BTreeSet<BrokerId> =
            outside.filter(|(id, replica)| is_ready(replica) && may(**id, replica.broker_epoch)).map(|(id, _)| *id).collect();
        if isr.is_empty() {
            return None;
        }
        isr.extend(&self.confirmed);
        Some(isr)
    }

    /// The ISR to propose without those that have not had everything for longer than `lag_max`. `end` is the leader's.
    #[must_use]
    pub fn shrunk(&self, now: Instant, lag_max: Duration, end: Offset) -> Option<BTreeSet<BrokerId>> {
        if self.proposed.is_some() {
            return None;
        }
        let lags = |replica: &Replica| replica.end != Some(end) && now.since(replica.caught_up) > lag_max;
        let isr: BTreeSet<BrokerId> =
            self.confirmed.iter().copied().filter(|id| *id == self.me || !self.replicas.get(id).is_some_and(lags)).collect();
        (isr.len() < self.confirmed.len()).then_some(isr)
    }

    /// When the next replica may have to leave.
    #[must_use]
    pub fn next_laggard(&self, lag_max: Duration) -> Option<Instant> {
        let members = self.replicas.iter().filter(|(id, _)| self.confirmed.contains(*id));
        members.map(|(_, replica)| replica.caught_up.after(lag_max)).min()
    }

    /// A change goes to the controller.
    pub fn propose(&mut self, isr: BTreeSet<BrokerId>) {
        assert!(self.proposed.is_none(), "one change of the ISR at a time");
        self.proposed_epochs = isr.iter().filter_map(|id| Some((*id, self.replicas.get(id)?.broker_epoch))).collect();
        self.proposed = Some(isr);
    }

    /// A copy of the proposal was refused, and an older one may yet be granted: what is confirmed is asked for, which moves the partition's epoch, so that
    /// no copy counts any more. Until then all of them do.
    fn take_back(&mut self) {
        self.doubted.extend(self.proposed.take().into_iter().flatten());
        self.propose(self.confirmed.clone());
    }

    /// The controller refused the proposal. Where no older copy of it may yet be granted, it was not and will not be carried out; but one that it takes
    /// back may.
    pub fn refused(&mut self, may_be_granted: bool) -> Refusal {
        if may_be_granted || !self.doubted.is_empty() {
            if !mutant!(ProposalNotTakenBack) {
                self.take_back();
            }
            return Refusal::TakesBack;
        }
        self.proposed = None;
        Refusal::ForGood
    }

    /// The controller's answer to the proposal, which may come before the metadata by which it was decided. Whoever is out by it counts until the metadata
    /// says so: a minimum that was raised before may have made it eligible (KIP-966), and what was committed without it would be lost with its election.
    pub fn granted(&mut self, replicas: &[BrokerId], isr: &[BrokerId], partition_epoch: i32, now: Instant) {
        let mut former = self.confirmed.iter().chain(&self.doubted);
        let is_smaller = partition_epoch > self.partition_epoch && !former.all(|member| isr.contains(member));
        if is_smaller && !mutant!(GrantedAhead) {
            probe!("a smaller ISR is granted ahead of the metadata");
            return;
        }
        self.decided(replicas, isr, partition_epoch, now);
    }

    /// What the controller has decided; an older decision than the last one changes nothing.
    pub fn decided(&mut self, replicas: &[BrokerId], isr: &[BrokerId], partition_epoch: i32, now: Instant) {
        if partition_epoch <= self.partition_epoch {
            return;
        }
        self.partition_epoch = partition_epoch;
        self.confirmed = isr.iter().copied().collect();
        // Whatever was proposed was made for an older epoch: it has been carried out, or will be refused.
        self.proposed = None;
        self.doubted.clear();
        self.assign(replicas, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_is_what_is_configured_as_soon_as_there_are_replicas_enough() {
        let [me, second, third] = [1, 2, 3].map(BrokerId);
        let mut isr = Isr::new(me, &[me], &[me], 0, Instant(0));
        isr.set_min(2);
        assert!(!isr.is_under_min(), "a topic with one replica takes records");
        isr.decided(&[me, second, third], &[me], 1, Instant(1));
        assert!(isr.is_under_min());
        assert_eq!(isr.committed(Offset(5)), None);
    }

    #[test]
    fn a_follower_does_not_lag_while_its_leader_opens_its_log() {
        let [me, other] = [1, 2].map(BrokerId);
        let lag_max = Duration::from_secs(30);
        let at = |seconds| Instant::default().after(Duration::from_secs(seconds));
        let mut isr = Isr::new(me, &[me, other], &[me, other], 0, at(0));
        isr.fetched(at(10), other, 7, Offset(0)..Offset(5), Offset(5));
        // From 20 on, for so long.
        isr.paused(Duration::from_secs(40));
        assert_eq!(isr.shrunk(at(60), lag_max, Offset(6)), None, "a record is appended before it could fetch");
        assert_eq!(isr.shrunk(at(80), lag_max, Offset(6)), None);
        assert_eq!(isr.shrunk(at(81), lag_max, Offset(6)), Some([me].into()));
    }

    #[test]
    fn whoever_may_yet_be_granted_to_join_counts_until_the_epoch_moves() {
        let [me, other] = [1, 2].map(BrokerId);
        let mut isr = Isr::new(me, &[me, other], &[me], 0, Instant(0));
        isr.fetched(Instant(1), other, 7, Offset(0)..Offset(5), Offset(5));
        isr.propose([me, other].into());
        assert_eq!(isr.refused(true), Refusal::TakesBack);
        assert_eq!((isr.proposed(), isr.committed(Offset(9))), (Some(&[me].into()), Some(Offset(5))));
        isr.decided(&[me, other], &[me], 1, Instant(2));
        assert_eq!((isr.proposed(), isr.committed(Offset(9))), (None, Some(Offset(9))));
    }

    #[test]
    fn who_is_in_doubt_is_taken_back_until_that_is_granted() {
        let [me, other, third] = [1, 2, 3].map(BrokerId);
        let mut isr = Isr::new(me, &[me, other, third], &[me, other], 0, Instant(0));
        isr.fetched(Instant(1), other, 7, Offset(0)..Offset(9), Offset(9));
        isr.fetched(Instant(1), third, 5, Offset(0)..Offset(9), Offset(9));
        isr.propose([me, other, third].into());
        assert_eq!(isr.refused(true), Refusal::TakesBack);
        // What takes it back names a life of `other` that is over, so no copy of that will be granted; `third` is gone and holds everything up else.
        isr.fetched(Instant(2), other, 8, Offset(0)..Offset(12), Offset(12));
        assert_eq!(isr.refused(false), Refusal::TakesBack);
        assert_eq!((isr.proposed(), isr.proposed_epoch(other), isr.committed(Offset(12))), (Some(&[me, other].into()), 8, Some(Offset(9))));
        isr.decided(&[me, other, third], &[me, other], 1, Instant(3));
        assert_eq!((isr.proposed(), isr.committed(Offset(12))), (None, Some(Offset(12))));
        isr.propose([me, other, third].into());
        assert_eq!((isr.refused(false), isr.proposed()), (Refusal::ForGood, None));
    }

    #[test]
    fn who_is_out_counts_until_the_metadata_says_so() {
        let [me, other] = [1, 2].map(BrokerId);
        let mut isr = Isr::new(me, &[me, other], &[me, other], 0, Instant(0));
        isr.fetched(Instant(1), other, 7, Offset(0)..Offset(5), Offset(9));
        isr.propose([me].into());
        isr.granted(&[me, other], &[me], 1, Instant(2));
        assert_eq!((isr.proposed(), isr.committed(Offset(9))), (Some(&[me].into()), Some(Offset(5))));
        isr.set_min(2);
        isr.decided(&[me, other], &[me], 1, Instant(3));
        assert_eq!((isr.proposed(), isr.committed(Offset(9))), (None, None), "the minimum was raised before");
        isr.propose([me, other].into());
        isr.granted(&[me, other], &[me, other], 2, Instant(4));
        assert_eq!((isr.proposed(), isr.committed(Offset(9))), (None, Some(Offset(5))));
    }

    #[test]
    fn a_member_is_proposed_as_it_was_when_it_had_caught_up() {
        let [me, other] = [1, 2].map(BrokerId);
        let mut isr = Isr::new(me, &[me, other], &[me], 0, Instant(0));
        isr.fetched(Instant(1), other, 7, Offset(0)..Offset(5), Offset(5));
        let joined = isr.joined(Offset(5), |_, _| true).expect("it has everything");
        isr.propose(joined);
        // On a new disk.
        isr.fetched(Instant(2), other, 8, Offset(0)..Offset(0), Offset(5));
        assert_eq!(isr.proposed_epoch(other), 7);
    }
}
