//! What must have come about when all is healed and has had its time.

use super::replica::Replica;
use super::{Oracle, Seen, is_at_hand};
use klamm_core::broker::View;
use klamm_core::controller::Controller;
use klamm_core::controller::image::{Partition as Decided, Topic};
use klamm_core::id::{BrokerId, Offset};
use klamm_core::partition::PartitionId;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};

/// How far all replicas have come towards where their logs ended at first. What is written meanwhile does not count, nor what a replica is given for a
/// second time: who waits as long as this grows is done at some time.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) goals: BTreeMap<PartitionId, Offset>,
    pub(super) reached: BTreeMap<(PartitionId, BrokerId), Offset>,
}

impl Progress {
    /// Looks how many records all of them have by now.
    pub fn look(&mut self, oracle: &Oracle) -> usize {
        for (id, node, end) in oracle.ends() {
            self.reach(id, node, end);
        }
        self.records()
    }

    pub(super) fn records(&self) -> usize {
        self.reached.values().map(|end| end.0 as usize).sum()
    }

    pub(super) fn reach(&mut self, id: PartitionId, node: BrokerId, end: Offset) {
        let goal = self.goals.get(&id).copied().unwrap_or_default();
        let reached = self.reached.entry((id, node)).or_default();
        *reached = end.min(goal).max(*reached);
    }
}

impl Oracle {
    /// Whether everything that is committed is elsewhere too, should this node lose its disk: on another one that may be elected.
    #[must_use]
    pub fn can_spare(&self, node: u32) -> bool {
        let image = &self.newest.1;
        // Who leaves at the end of a move keeps nothing.
        let keeps =
            |p: &Decided, member: BrokerId| member.0 as u32 != node && !p.removing.contains(&member) && is_at_hand(image, p, member);
        let partitions = image.topics().flat_map(|topic| topic.partitions.values());
        let has_lost = |id, seen: &Seen| (seen.has_lost || !seen.lost.is_empty()) && self.is_yet_to_tell(id, seen);
        let others_lost = self.nodes.iter().any(|(id, seen)| *id != node && has_lost(BrokerId(*id as i32), seen));
        let mut held = partitions.filter(|p| p.replicas.contains(&BrokerId(node as i32)));
        !others_lost && held.all(|p| p.isr.iter().chain(&p.elr).any(|member| keeps(p, *member)))
    }

    /// Partitions that nobody may lead until an operator says who: whoever was in sync or eligible may have lost something, and the last leader has
    /// another disk. With the names of their topics.
    #[must_use]
    pub fn stranded(&self) -> BTreeMap<PartitionId, String> {
        let has_lost =
            |id, member: &BrokerId| self.nodes.get(&(member.0 as u32)).is_some_and(|seen| seen.has_lost || seen.lost.contains(&id));
        let is_stranded = |id: PartitionId, p: &Decided| {
            let has_candidates = p.leader.is_some() || !p.isr.is_empty() || !p.elr.is_empty() || !p.last_known_elr.is_empty();
            !has_candidates && p.replicas.iter().any(|member| has_lost(id, member))
        };
        let of = |topic: &Topic| -> BTreeMap<PartitionId, String> {
            let ids = topic.partitions.iter().map(|(index, decided)| (PartitionId { topic: topic.id, index: *index }, decided));
            ids.filter(|(id, decided)| is_stranded(*id, decided)).map(|(id, _)| (id, topic.name.to_string())).collect()
        };
        self.newest.1.topics().flat_map(of).collect()
    }

    /// Whether nothing was ever committed of a partition, as where a topic was made while its only live replica had just died: whoever leads loses nothing.
    #[must_use]
    pub fn is_empty(&self, id: PartitionId) -> bool {
        self.truths.get(&id).is_none_or(|truth| truth.high == Offset::ZERO)
    }

    /// An operator takes what is left of a partition, whatever that is.
    pub fn give_up(&mut self, id: PartitionId) {
        self.given_up.insert(id);
    }

    /// Partitions that a broker holds while another one is in sync.
    #[must_use]
    pub fn held_with_others(&self, broker: BrokerId) -> Vec<PartitionId> {
        let is_meant = |p: &Decided| p.replicas.contains(&broker) && p.isr.iter().any(|member| *member != broker);
        let of = |topic: &Topic| -> Vec<PartitionId> {
            let meant = topic.partitions.iter().filter(|(_, decided)| is_meant(decided));
            meant.map(|(index, _)| PartitionId { topic: topic.id, index: *index }).collect()
        };
        self.newest.1.topics().flat_map(of).collect()
    }

    /// How far all replicas have come: to be looked at again and again.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for (id, _, end) in self.ends() {
            let goal = progress.goals.entry(id).or_default();
            *goal = end.max(*goal);
        }
        progress
    }

    /// Where the log of each replica ends.
    fn ends(&self) -> impl Iterator<Item = (PartitionId, BrokerId, Offset)> {
        let nodes = self.nodes.iter().map(|(node, seen)| (BrokerId(*node as i32), seen));
        nodes.flat_map(|(node, seen)| seen.replicas.iter().map(move |(id, replica)| (*id, node, replica.end)))
    }

    /// What is not yet as it must be in the end: everybody is in, in sync, and holds the same.
    #[must_use]
    pub fn unsettled(&self, brokers: &[u32]) -> Vec<String> {
        let mut found = self.incomplete(brokers);
        // What replicas hold is compared when all are there: that takes long, and is asked often.
        if !found.is_empty() {
            return found;
        }
        for topic in self.newest.1.topics() {
            for (index, decided) in topic.partitions.iter().filter(|(_, decided)| is_complete(decided)) {
                if let Err(what) = self.differs(PartitionId { topic: topic.id, index: *index }, &decided.replicas) {
                    found.push(format!("{}-{index}: {what}", topic.name));
                }
            }
        }
        found
    }

    /// Who is not in, or not in sync.
    #[must_use]
    pub fn incomplete(&self, brokers: &[u32]) -> Vec<String> {
        let image = &self.newest.1;
        let mut found = Vec::new();
        for id in brokers.iter().map(|node| BrokerId(*node as i32)).filter(|id| !image.is_active(*id)) {
            found.push(format!("broker {id} is not in the cluster"));
        }
        for topic in image.topics() {
            let partitions = topic.partitions.iter().filter(|(_, decided)| !is_complete(decided));
            found.extend(partitions.map(|(index, decided)| format!("{}-{index} is {decided:?}", topic.name)));
        }
        found
    }

    fn differs(&self, id: PartitionId, replicas: &[BrokerId]) -> Result<(), String> {
        let none = Replica::default();
        let of = |id_of: &BrokerId| self.nodes.get(&(id_of.0 as u32)).and_then(|seen| seen.replicas.get(&id)).unwrap_or(&none);
        let first = of(&replicas[0]);
        for other in &replicas[1..] {
            let replica = of(other);
            let start = first.known_from().max(replica.known_from());
            let (mut one, mut two) = (from(first, start), from(replica, start));
            let differing = loop {
                match (one.next(), two.next()) {
                    (None, None) => break None,
                    (one, two) if one != two => break Some((one, two)),
                    (Some(_), _) | (None, Some(_)) => {}
                }
            };
            if first.end != replica.end || differing.is_some() {
                return Err(format!(
                    "{} holds up to {}, {other} up to {}: the first that differs is {differing:?}",
                    replicas[0], first.end, replica.end
                ));
            }
        }
        match self.truths.get(&id).filter(|_| !self.may_lose(&self.newest.1, id)) {
            Some(truth) => truth.is_held_wholly_by(first),
            None => Ok(()),
        }
    }

    /// Whether a replay of the committed metadata log, by itself, gives the metadata that nodes act on.
    ///
    /// # Errors
    /// It does not.
    pub fn replayed(&self) -> Result<(), String> {
        let Some(truth) = self.truths.get(&View::METADATA) else { return Ok(()) };
        if truth.content.first_key_value().is_none_or(|(base, _)| *base > Offset::ZERO) {
            return Ok(());
        }
        let mut controller = Controller::default();
        for batch in truth.content.values().filter_map(|held| held.batch.as_ref()) {
            let header = batch.header();
            if header.is_control() {
                controller.pass(header);
            } else {
                controller.take_in(batch)?;
            }
            controller.commit(header.next_offset())?;
            if header.next_offset() == self.newest.0 {
                let hash = |image: &klamm_core::controller::Image| {
                    let mut hasher = crate::trace::Trace::default();
                    image.hash(&mut hasher);
                    hasher.finish()
                };
                if hash(controller.image()) != hash(&self.newest.1) {
                    return Err(format!("a replay of the metadata log up to {} gives other metadata than nodes have", self.newest.0));
                }
            }
        }
        Ok(())
    }
}

/// Whether everybody is in sync, somebody leads, and nobody moves.
/// The batches that a replica holds from there on.
fn from(replica: &Replica, start: Offset) -> impl Iterator<Item = (Offset, Offset, u32)> {
    replica.content.range(start..).map(|(base, held)| (*base, held.next, held.crc))
}

fn is_complete(decided: &Decided) -> bool {
    let is_full = decided.isr.iter().collect::<BTreeSet<_>>() == decided.replicas.iter().collect();
    decided.leader.is_some() && is_full && !decided.is_moving() && decided.elr.is_empty()
}
