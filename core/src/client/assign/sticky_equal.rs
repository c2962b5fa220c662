//! The sticky algorithm where all members want the same topics: everyone ends with `n / m` partitions or one more, and keeps as much of
//! what it had as that allows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::sticky::{Part, Problem, Solution, Who};
use crate::probe;

struct Builder<'a> {
    problem: &'a Problem,
    /// What everyone gets at least.
    least: usize,
    /// What everyone gets at most: `least`, or one more.
    most: usize,
    /// How many members may still get more than `least`.
    extras_left: usize,
    parts: Vec<Vec<Part>>,
    /// What a member had beyond its share.
    given_up: BTreeMap<Part, Who>,
    below_least: Vec<Who>,
    at_least: VecDeque<Who>,
    transferring: BTreeMap<Part, Who>,
}

pub(super) fn solve(problem: &Problem) -> Solution {
    let members = problem.wants.len();
    let total = problem.all_parts().count();
    let mut builder = Builder {
        problem,
        least: total / members,
        most: total.div_ceil(members),
        extras_left: total % members,
        parts: vec![Vec::new(); members],
        given_up: BTreeMap::new(),
        below_least: Vec::new(),
        at_least: VecDeque::new(),
        transferring: BTreeMap::new(),
    };
    for who in 0..members {
        builder.keep(who);
    }
    builder.deal();
    Solution { parts: builder.parts, transferring: Some(builder.transferring) }
}

impl Builder<'_> {
    /// Lets one member keep what it had, up to its share. Of a surplus it keeps low partition numbers.
    fn keep(&mut self, who: Who) {
        let mut owned = self.problem.owned[who].clone();
        owned.sort_by_key(|(topic, number)| (*number, *topic));
        owned.retain(|part| !self.problem.disputed.contains(part));
        let share = if owned.len() < self.least {
            self.below_least.push(who);
            owned.len()
        } else if owned.len() >= self.most && self.extras_left > 0 {
            self.extras_left -= 1;
            self.most
        } else {
            self.at_least.push_back(who);
            self.least
        };
        for surplus in owned.drain(share..) {
            probe!("sticky: a member gives up what is beyond its share");
            self.given_up.insert(surplus, who);
        }
        self.parts[who] = owned;
    }

    /// Deals what nobody kept: round and round to those below the least share, then one each to those at it.
    fn deal(&mut self) {
        if self.extras_left == 0 {
            self.at_least.clear();
        }
        let kept: BTreeSet<Part> = self.parts.iter().flatten().copied().collect();
        let rest: Vec<Part> = self.problem.all_parts().filter(|part| !kept.contains(part)).collect();
        let mut turn = 0;
        for part in rest {
            let Some(who) = self.below_least.get(turn).copied() else {
                let who = self.at_least.pop_front().expect("shares add up to all partitions");
                self.give(part, who);
                continue;
            };
            self.give(part, who);
            if self.parts[who].len() == self.least {
                self.below_least.remove(turn);
                self.at_least.push_back(who);
            } else {
                turn += 1;
            }
            if turn >= self.below_least.len() {
                turn = 0;
            }
        }
        let fair = |parts: &Vec<Part>| (self.least..=self.most).contains(&parts.len());
        assert!(self.parts.iter().all(fair), "a share is outside {}..={}", self.least, self.most);
    }

    fn give(&mut self, part: Part, who: Who) {
        self.parts[who].push(part);
        let from_another = self.given_up.get(&part).is_some_and(|giver| *giver != who);
        if from_another || self.problem.disputed.contains(&part) {
            self.transferring.insert(part, who);
        }
    }
}
