//! The sticky algorithm where members want different topics: keep what can be kept, give the rest to the poorest who want it, then move
//! partitions from rich to poor while that improves the balance.

use std::collections::{BTreeMap, BTreeSet};

use super::sticky::{Part, Problem, Solution, Who};
use crate::probe;

struct Builder<'a> {
    problem: &'a Problem,
    /// Who wants each topic, in order.
    wanted_by: Vec<Vec<Who>>,
    parts: Vec<Vec<Part>>,
    owner: BTreeMap<Part, Who>,
    /// The members who take part in balancing, poorest first.
    poorest: BTreeSet<(usize, Who)>,
    moves: Moves,
}

pub(super) fn solve(problem: &Problem) -> Solution {
    let mut builder = Builder::new(problem);
    let must_revoke = builder.keep();
    let rest: Vec<Part> = builder.parts_scarcest_first().into_iter().filter(|part| !builder.owner.contains_key(part)).collect();
    builder.poorest = (0..builder.parts.len()).map(|who| (builder.parts[who].len(), who)).collect();
    let fresh = builder.poorest.last().is_some_and(|(richest, _)| *richest == 0);
    builder.fill(&rest);
    builder.balance(rest, must_revoke, fresh);
    Solution { parts: builder.parts, transferring: None }
}

impl<'a> Builder<'a> {
    fn new(problem: &'a Problem) -> Self {
        let subscribers = |topic: usize| (0..problem.wants.len()).filter(|who| problem.wants[*who].contains(&topic)).collect();
        Self {
            problem,
            wanted_by: (0..problem.counts.len()).map(subscribers).collect(),
            parts: vec![Vec::new(); problem.wants.len()],
            owner: BTreeMap::new(),
            poorest: BTreeSet::new(),
            moves: Moves::default(),
        }
    }

    /// Lets everyone keep what it still wants. Says whether something is no longer wanted by its owner.
    fn keep(&mut self) -> bool {
        let mut must_revoke = false;
        for (who, owned) in self.problem.owned.iter().enumerate() {
            for part in owned {
                if self.problem.wants[who].contains(&part.0) {
                    self.parts[who].push(*part);
                    self.owner.insert(*part, who);
                } else {
                    must_revoke = true;
                }
            }
        }
        must_revoke
    }

    /// All partitions, those of the topics with the fewest subscribers first.
    fn parts_scarcest_first(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = self.problem.all_parts().collect();
        parts.sort_by_key(|part| (self.wanted_by[part.0].len(), *part));
        parts
    }

    /// Gives each part to the poorest who wants its topic.
    fn fill(&mut self, rest: &[Part]) {
        for part in rest {
            let who = self.poorest_subscriber(part.0).expect("a topic in the problem is wanted by somebody");
            self.poorest.remove(&(self.parts[who].len(), who));
            self.parts[who].push(*part);
            self.owner.insert(*part, who);
            self.poorest.insert((self.parts[who].len(), who));
        }
    }

    fn poorest_subscriber(&self, topic: usize) -> Option<Who> {
        self.poorest.iter().map(|(_, who)| *who).find(|who| self.problem.wants[*who].contains(&topic))
    }

    /// Moves partitions while that helps; takes it all back if in the end it did not.
    fn balance(&mut self, mut rest: Vec<Part>, must_revoke: bool, fresh: bool) {
        let contested = |part: &Part| self.wanted_by[part.0].len() >= 2;
        let movable: Vec<Part> = self.parts_scarcest_first().into_iter().filter(contested).collect();
        rest.retain(contested);
        let fixed: Vec<Who> = (0..self.parts.len()).filter(|who| !self.can_take_part(*who)).collect();
        for who in fixed {
            self.poorest.remove(&(self.parts[who].len(), who));
        }
        let before = (self.parts.clone(), self.owner.clone(), self.score());
        // First only what is new, so that nobody loses what it had without need.
        if !must_revoke {
            self.reassign(&rest);
        }
        let moved = self.reassign(&movable);
        if !fresh && moved && self.score() >= before.2 {
            probe!("sticky: moves that did not improve the balance are taken back");
            (self.parts, self.owner, _) = before;
        }
    }

    /// Whether balancing may give this member something or take something from it.
    fn can_take_part(&self, who: Who) -> bool {
        self.parts[who].len() < self.could_have(who) || self.parts[who].iter().any(|part| self.wanted_by[part.0].len() >= 2)
    }

    fn could_have(&self, who: Who) -> usize {
        self.problem.wants[who].iter().map(|topic| self.problem.counts[*topic] as usize).sum()
    }

    /// The sum of the differences in size of all pairs of those who take part: lower is better.
    fn score(&self) -> usize {
        let sizes: Vec<usize> = self.poorest.iter().map(|(size, _)| *size).collect();
        // In ascending order the i-th is the larger in i pairs, the smaller in the others.
        let larger: usize = sizes.iter().enumerate().map(|(i, size)| i * size).sum();
        let smaller: usize = sizes.iter().rev().enumerate().map(|(i, size)| i * size).sum();
        larger - smaller
    }

    /// Passes over `movable` until a pass moves nothing. Says whether anything was moved.
    fn reassign(&mut self, movable: &[Part]) -> bool {
        let mut moved = false;
        // Each useful pass moves at least one partition to a poorer member, so that far fewer passes are needed than there are partitions;
        // the bound is there against moves that undo each other.
        for _ in 0..=movable.len() {
            let mut modified = false;
            for part in movable {
                if self.is_balanced() {
                    break;
                }
                if let Some(to) = self.better_owner(*part) {
                    self.move_part(*part, to);
                    modified = true;
                }
            }
            if !modified {
                break;
            }
            moved = true;
        }
        moved
    }

    /// Who should have the part instead: the one who had it in an older generation, else the poorest, if its owner has two more.
    fn better_owner(&self, part: Part) -> Option<Who> {
        let rich = self.parts[self.owner[&part]].len();
        // Kafka does not ask whether the former owner still wants the topic, and now and then assigns what nobody there reads.
        let may = |who: Who| self.poorest.contains(&(self.parts[who].len(), who)) && self.problem.wants[who].contains(&part.0);
        let previous = self.problem.previous.get(&part).copied().filter(|who| may(*who));
        let poorer = |who: &Who| rich > self.parts[*who].len() + 1;
        previous.filter(poorer).or_else(|| self.poorest_subscriber(part.0).filter(poorer))
    }

    fn move_part(&mut self, part: Part, to: Who) {
        let part = self.moves.instead_of(part, self.owner[&part], to);
        let from = self.owner.insert(part, to).expect("every part has an owner while balancing");
        for who in [from, to] {
            self.poorest.remove(&(self.parts[who].len(), who));
        }
        self.moves.record(part, from, to);
        self.parts[from].retain(|other| *other != part);
        self.parts[to].push(part);
        for who in [from, to] {
            self.poorest.insert((self.parts[who].len(), who));
        }
    }

    /// Whether nobody could get a partition from someone who has at least two more.
    fn is_balanced(&self) -> bool {
        let (Some((min, _)), Some((max, _))) = (self.poorest.first(), self.poorest.last()) else { return true };
        if *min + 1 >= *max {
            return true;
        }
        self.poorest.iter().all(|(size, who)| {
            let gains = |topic: &usize| {
                (0..self.problem.counts[*topic]).any(|number| {
                    let owner = self.owner[&(*topic, number)];
                    owner != *who && size + 1 < self.parts[owner].len()
                })
            };
            !self.problem.wants[*who].iter().any(gains)
        })
    }
}

/// Which partitions were moved from whom to whom, so that a move back undoes one of the same topic instead of adding a third.
#[derive(Default)]
struct Moves {
    of: BTreeMap<Part, (Who, Who)>,
    between: BTreeMap<(usize, Who, Who), BTreeSet<Part>>,
}

impl Moves {
    /// The part to move instead, if one of its topic went the other way before.
    fn instead_of(&self, part: Part, from: Who, to: Who) -> Part {
        let origin = self.of.get(&part).map_or(from, |(origin, _)| *origin);
        self.between.get(&(part.0, to, origin)).and_then(|parts| parts.first()).copied().unwrap_or(part)
    }

    fn record(&mut self, part: Part, from: Who, to: Who) {
        let origin = match self.of.remove(&part) {
            None => from,
            Some((origin, at)) => {
                let key = (part.0, origin, at);
                let parts = self.between.get_mut(&key).expect("both maps hold each move");
                parts.remove(&part);
                if parts.is_empty() {
                    self.between.remove(&key);
                }
                origin
            }
        };
        if origin != to {
            self.of.insert(part, (origin, to));
            self.between.entry((part.0, origin, to)).or_default().insert(part);
        }
    }
}
