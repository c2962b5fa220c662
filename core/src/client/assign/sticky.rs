//! What both sticky assignors share: whose claim to a partition holds, which algorithm applies, and what must be withheld because its
//! last owner has yet to give it up.

use crate::mutant;
use std::collections::{BTreeMap, BTreeSet};

use super::{Assignment, Member, MemberId, Topic, TopicPartition, partition, sticky_equal, sticky_mixed};

/// A member by its position in the order of ids.
pub(super) type Who = usize;

/// A partition by its topic's position in the order of names, and its number. Ordered as Kafka orders partitions.
pub(super) type Part = (usize, u32);

/// The question, with names replaced by positions.
pub(super) struct Problem {
    /// How many partitions each topic has. Only topics that somebody wants.
    pub(super) counts: Vec<u32>,
    /// The topics each member wants.
    pub(super) wants: Vec<BTreeSet<usize>>,
    /// What each member had, after conflicting claims are settled. It may no longer want it.
    pub(super) owned: Vec<Vec<Part>>,
    /// Partitions that two members of one generation claim: nobody owns them.
    pub(super) disputed: BTreeSet<Part>,
    /// Claims of an older generation than the newest: where a partition should go back to if somebody must give.
    pub(super) previous: BTreeMap<Part, Who>,
}

/// The answer, before anything is withheld.
pub(super) struct Answer {
    pub(super) assignment: Assignment,
    /// The partitions that change hands, and to whom; `None` where the algorithm does not keep count.
    transferring: Option<BTreeMap<TopicPartition, MemberId>>,
}

/// What an algorithm finds: parts by member, and the parts that change hands, if it kept count.
pub(super) struct Solution {
    pub(super) parts: Vec<Vec<Part>>,
    pub(super) transferring: Option<BTreeMap<Part, Who>>,
}

pub(super) fn assign(topics: &BTreeMap<Topic, u32>, members: &BTreeMap<MemberId, Member>) -> Answer {
    let wanted: Vec<(&Topic, u32)> = topics
        .iter()
        .filter(|(topic, _)| members.values().any(|member| member.topics.contains(*topic)))
        .map(|(topic, count)| (topic, *count))
        .collect();
    let ids: Vec<&MemberId> = members.keys().collect();
    let problem = Problem::new(&wanted, members);
    let solution = if all_want_the_same(members) { sticky_equal::solve(&problem) } else { sticky_mixed::solve(&problem) };
    let name = |(topic, number): Part| partition(wanted[topic].0, number);
    Answer {
        assignment: ids.iter().zip(solution.parts).map(|(id, parts)| ((*id).clone(), parts.into_iter().map(name).collect())).collect(),
        transferring: solution.transferring.map(|moves| moves.into_iter().map(|(part, to)| (name(part), ids[to].clone())).collect()),
    }
}

fn all_want_the_same(members: &BTreeMap<MemberId, Member>) -> bool {
    let mut wanted = members.values().map(|member| &member.topics);
    let first = wanted.next();
    wanted.all(|topics| Some(topics) == first)
}

impl Problem {
    fn new(wanted: &[(&Topic, u32)], members: &BTreeMap<MemberId, Member>) -> Self {
        let position = |topic: &Topic| wanted.binary_search_by(|(name, _)| (*name).cmp(topic)).ok();
        let wants = members.values().map(|member| member.topics.iter().filter_map(position).collect()).collect();
        let exists = |owned: &TopicPartition| {
            let topic = position(&owned.topic)?;
            let number = u32::try_from(owned.partition.0).ok()?;
            (number < wanted[topic].1).then_some((topic, number))
        };
        let claims: Vec<(i32, Vec<Part>)> =
            members.values().map(|member| (member.generation, member.owned.iter().filter_map(exists).collect())).collect();
        let (owned, disputed) = settle(&claims);
        let previous = older_claims(&claims);
        Self { counts: wanted.iter().map(|(_, count)| *count).collect(), wants, owned, disputed, previous }
    }

    /// Every partition, in order.
    pub(super) fn all_parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.counts.iter().enumerate().flat_map(|(topic, count)| (0..*count).map(move |number| (topic, number)))
    }
}

/// Gives each partition to the newest generation that claims it. Two claims of one generation cancel each other.
fn settle(claims: &[(i32, Vec<Part>)]) -> (Vec<Vec<Part>>, BTreeSet<Part>) {
    let mut owner: BTreeMap<Part, Who> = BTreeMap::new();
    let mut owned: Vec<Vec<Part>> = vec![Vec::new(); claims.len()];
    let mut disputed = BTreeSet::new();
    for (who, (generation, parts)) in claims.iter().enumerate() {
        for part in parts {
            let Some(other) = owner.insert(*part, who) else {
                owned[who].push(*part);
                continue;
            };
            if other == who {
                continue;
            }
            let others = claims[other].0;
            if *generation < others && !mutant!(OwnedOfOldGeneration) {
                owner.insert(*part, other);
                continue;
            }
            owned[other].retain(|theirs| theirs != part);
            if *generation == others {
                disputed.insert(*part);
            } else {
                owned[who].push(*part);
            }
        }
    }
    (owned, disputed)
}

/// Who claimed what in the newest generation below the group's newest one.
fn older_claims(claims: &[(i32, Vec<Part>)]) -> BTreeMap<Part, Who> {
    let newest = claims.iter().map(|(generation, _)| *generation).max().unwrap_or(-1);
    let mut older: BTreeMap<Part, (i32, Who)> = BTreeMap::new();
    for (who, (generation, parts)) in claims.iter().enumerate().filter(|(_, (generation, _))| *generation < newest) {
        for part in parts {
            let seen = older.entry(*part).or_insert((*generation, who));
            if *generation > seen.0 {
                *seen = (*generation, who);
            }
        }
    }
    older.into_iter().map(|(part, (_, who))| (part, who)).collect()
}

impl Answer {
    /// Takes back what somebody else must give up first. Its loss makes that member rejoin, and then it is assigned (KIP-429).
    pub(super) fn withhold_moves(mut self, members: &BTreeMap<MemberId, Member>) -> Assignment {
        let moves = self.transferring.take().unwrap_or_else(|| self.moves(members));
        for (moved, to) in moves {
            self.assignment.get_mut(&to).expect("moves go to members").retain(|part| *part != moved);
        }
        self.assignment
    }

    /// The partitions that one member gains and another, by its own word, still holds.
    fn moves(&self, members: &BTreeMap<MemberId, Member>) -> BTreeMap<TopicPartition, MemberId> {
        let mut gained = BTreeMap::new();
        let mut lost = BTreeSet::new();
        for (id, member) in members {
            let before: BTreeSet<&TopicPartition> = member.owned.iter().collect();
            let after: BTreeSet<&TopicPartition> = self.assignment[id].iter().collect();
            gained.extend(after.difference(&before).map(|part| ((*part).clone(), id.clone())));
            lost.extend(before.difference(&after).copied());
        }
        gained.retain(|part, _| lost.contains(part));
        gained
    }
}
