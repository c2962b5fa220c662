//! The metadata quorum: who votes by which log, who was elected by whom, and whether a voter's disk can be spared.

use super::replica::{Replica, Voters};
use super::{Oracle, Seen};
use klamm_core::broker::View;
use klamm_core::id::{BrokerId, LeaderEpoch, Offset};
use klamm_core::invariant::{self, Verdict};
use klamm_core::partition::Partition;
use klamm_core::partition::leader::Leader;
use klamm_core::quorum::Replica as Voter;
use std::collections::BTreeSet;

impl Oracle {
    /// Who votes by a replica's log below `to`: what it does not hold any more, or never did, is committed.
    fn voters_below<'a>(&'a self, replica: &'a Replica, to: Offset) -> &'a Voters {
        self.named_below(replica, to).unwrap_or(&self.first_voters)
    }

    /// The same; `None` if that is nowhere said in a log.
    fn named_below<'a>(&'a self, replica: &'a Replica, to: Offset) -> Option<&'a Voters> {
        let of_truth = || self.truths.get(&View::METADATA)?.voters.range(..to.min(replica.known_from())).next_back();
        replica.voters(..to).next_back().map(|(_, voters)| voters).or_else(|| of_truth().map(|(_, voters)| voters))
    }

    /// Whether the log of the metadata says who votes, as far as it is committed.
    #[must_use]
    pub fn names_voters(&self) -> bool {
        self.truths.get(&View::METADATA).is_some_and(|truth| !truth.voters.is_empty())
    }

    fn metadata_of(&self, node: u32) -> Option<&Replica> {
        self.nodes.get(&node)?.replicas.get(&View::METADATA)
    }

    /// A node has appended to its metadata log from `from` on.
    pub(super) fn see_changes(&self, node: u32, partition: &Partition, from: Offset) -> Verdict {
        let Some(replica) = self.metadata_of(node) else { return Ok(()) };
        for (at, voters) in replica.voters(from..) {
            invariant::voter_change(self.voters_below(replica, at), voters)?;
            let Some(leader) = partition.leader() else { continue };
            let before = replica.voters(..at).next_back().map_or(Offset::UNKNOWN, |(before, _)| before);
            if leader.high() <= leader.epoch_start.max(before) {
                return Err(format!(
                    "voters change at {at}, and committed is what is below {}: the leader's epoch began at {}, the last change was at {before}",
                    leader.high(),
                    leader.epoch_start
                ));
            }
        }
        Ok(())
    }

    /// A leader counts everything below its high watermark as committed. When that rises, a majority of those who vote then has it durable: by the
    /// newest change in its log, or by an earlier one if that came with the same event. `known` is where its log ended before.
    pub(super) fn see_quorum_high(&self, node: u32, leader: &Leader, known: Offset, rose: bool) -> Verdict {
        let Some(replica) = self.metadata_of(node) else { return Ok(()) };
        let at_last = self.voters_below(replica, Offset(i64::MAX));
        // What was committed by other voters a majority of these need not have yet; and some of those who had it may have lost their disks since.
        let is_as_at_first =
            self.named_below(replica, Offset(i64::MAX)).is_none() && at_last.iter().all(|voter| self.on_its_disk(voter).is_some());
        if !rose && !is_as_at_first {
            return Ok(());
        }
        if rose {
            invariant::committed_in_own_epoch(leader.high(), leader.epoch_start)?;
        }
        let ends = |voters: &Voters| voters.iter().filter_map(|voter| self.durable_of(voter)).collect::<Vec<_>>();
        let judge = |voters: &Voters| invariant::committed_by_majority(leader.high(), voters.len(), ends(voters));
        let before = self.voters_below(replica, known);
        let words = |what: String| format!("{what}: {at_last:?} by its log, {before:?} by what it held below {known}");
        judge(at_last).or_else(|what| if before == at_last { Err(what) } else { judge(before) }).map_err(words)
    }

    /// A node leads the quorum: a majority of the voters has elected it, and it holds all that is committed.
    pub(super) fn see_elected(&self, node: u32, epoch: LeaderEpoch) -> Verdict {
        let (Some(seen), Some(replica)) = (self.nodes.get(&node), self.metadata_of(node)) else { return Ok(()) };
        let me = (BrokerId(node as i32), seen.directory);
        let vote = |voter: &Voter| self.votes.get(&(voter.1, epoch)).copied();
        invariant::elected(me, self.voters_below(replica, Offset(i64::MAX)), vote).map_err(|what| format!("in epoch {epoch} {what}"))?;
        // What later leaders committed this one need not know.
        if self.quorum_leaders.keys().next_back() > Some(&epoch) {
            return Ok(());
        }
        let truth = self.truths.get(&View::METADATA);
        truth
            .map_or(Ok(()), |truth| truth.is_known_to(replica))
            .map_err(|what| format!("it leads the metadata quorum in epoch {epoch}: {what}"))
    }

    /// A node takes those for the voters that its log names.
    pub(super) fn see_voters(&self, node: u32, view: View<'_>) -> Verdict {
        let (Some(known), Some(replica)) = (view.quorum_voters(), self.metadata_of(node)) else { return Ok(()) };
        let is_named = |voter: &klamm_core::quorum::Voter| voter.directory != klamm_core::id::Uuid::ZERO;
        let named = self.named_below(replica, Offset(i64::MAX));
        // Whoever was not told of the first voters learns of them by a change only; and fixed voters are in no log.
        if (known.is_empty() && named.is_none()) || !known.iter().all(is_named) {
            return Ok(());
        }
        let known: BTreeSet<Voter> = known.iter().map(klamm_core::quorum::Voter::replica).collect();
        let voters = named.unwrap_or(&self.first_voters);
        if known == *voters {
            Ok(())
        } else {
            Err(format!("it takes {known:?} for the voters, and by its metadata log they are {voters:?}"))
        }
    }

    /// What a voter has durable, or had on a disk that is lost: a leader may hear of that only then, and counts it rightly. A majority keeps its
    /// disks (`can_spare_voter`), and cannot elect one of them that lacks what another one holds.
    pub(super) fn durable_of(&self, voter: &Voter) -> Option<Offset> {
        match self.on_its_disk(voter) {
            Some(seen) => seen.replicas.get(&View::METADATA).map(|replica| replica.durable),
            None => self.lost_disks.get(voter).copied(),
        }
    }

    /// The node of a voter, if it has the disk that votes.
    fn on_its_disk(&self, voter: &Voter) -> Option<&Seen> {
        self.nodes.get(&u32::try_from(voter.0.0).ok()?).filter(|seen| seen.directory == voter.1)
    }

    /// Whether a node votes, and the quorum goes on without its disk and loses nothing: of those who vote by what is committed, and of those who may
    /// come to by what some log holds, nobody has lost a disk yet, and a majority keeps theirs.
    #[must_use]
    pub fn can_spare_voter(&self, node: u32) -> bool {
        let truth = self.truths.get(&View::METADATA);
        let high = truth.map_or(Offset::ZERO, |truth| truth.high);
        let committed = truth.and_then(|truth| truth.voters.last_key_value()).map_or(&self.first_voters, |(_, voters)| voters);
        let replicas = self.nodes.values().filter_map(|seen| seen.replicas.get(&View::METADATA));
        let planned = replicas.flat_map(|replica| replica.voters(high..)).map(|(_, voters)| voters);
        let mut all = std::iter::once(committed).chain(planned);
        let id = BrokerId(node as i32);
        let votes = committed.iter().any(|voter| voter.0 == id);
        votes
            && all.all(|voters| {
                let left = voters.iter().filter(|voter| voter.0 != id).count();
                voters.iter().all(|voter| self.on_its_disk(voter).is_some()) && left > voters.len() / 2
            })
    }
}
