//! Makes a failing run smaller: what can be left out while the same rule is broken is left out – faults, clients, knobs, nodes, and what chance decides – by
//! delta debugging (Zeller and Hildebrandt, 2002). What is left is what the bug takes.

use crate::chance::Decisions;
use crate::plan::{Fault, Plan};
use crate::tape::Tape;
use std::collections::BTreeSet;

/// What one try came to.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The rule that was broken first.
    pub breaks: Option<String>,
    /// When the run ended, in virtual ns.
    pub virtual_ns: u64,
    /// How much the cores did.
    pub inputs: u64,
    /// What chance decided.
    pub decisions: Decisions,
}

/// What is told of the way down.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Runs so far.
    pub tries: u32,
    /// Faults that are left.
    pub faults: usize,
    /// Core inputs of the smallest run so far.
    pub inputs: u64,
}

/// What is usual of each kind of decision: nobody is late, and no disk is slow.
const USUAL: &[(&str, u64)] = &[("delay", 200_000), ("pace", 1_000_000), ("slow", 0), ("door", 0), ("last-words", 0)];

struct Shrinker<'a> {
    best: Tape,
    tried: Tried,
    rule: String,
    left: u32,
    tries: u32,
    run: &'a mut dyn FnMut(&Tape) -> Tried,
    tell: &'a mut dyn FnMut(Progress),
}

/// The smallest tape that was found within so many runs to break the same rule as `tape`, with everything written down that it decides.
/// `None` where `tape` breaks none.
pub fn shrink(tape: Tape, tries_max: u32, run: &mut dyn FnMut(&Tape) -> Tried, tell: &mut dyn FnMut(Progress)) -> Option<Tape> {
    let tried = run(&tape);
    let rule = tried.breaks.clone()?;
    let mut shrinker = Shrinker { best: tape, tried, rule, left: tries_max, tries: 1, run, tell };
    loop {
        let before = shrinker.best.clone();
        shrinker.round();
        if shrinker.left == 0 || shrinker.best == before {
            break;
        }
    }
    let Shrinker { best, tried, rule, .. } = shrinker;
    Some(Tape { breaks: Some(rule), ..best.with(tried.decisions) })
}

impl Shrinker<'_> {
    fn round(&mut self) {
        self.drop_what_comes_later();
        self.drop_faults();
        self.drop_knobs();
        self.drop_clients();
        self.make_usual();
        self.drop_nodes();
    }

    /// Keeps the candidate if it breaks the same rule.
    fn keeps(&mut self, candidate: Tape) -> bool {
        if self.left == 0 || candidate == self.best {
            return false;
        }
        (self.left, self.tries) = (self.left - 1, self.tries + 1);
        let tried = (self.run)(&candidate);
        let holds = tried.breaks.as_ref() == Some(&self.rule);
        if holds {
            (self.best, self.tried) = (candidate, tried);
        }
        (self.tell)(Progress { tries: self.tries, faults: self.best.plan.faults.len(), inputs: self.tried.inputs });
        holds
    }

    fn keeps_plan(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate.plan);
        self.keeps(candidate)
    }

    /// The run ends with the violation: what strikes later did not matter.
    fn drop_what_comes_later(&mut self) {
        let end = self.tried.virtual_ns;
        self.keeps_plan(|plan| plan.faults.retain(|(at, _)| *at <= end));
    }

    fn drop_faults(&mut self) {
        let all = self.best.plan.faults.clone();
        minimal(all, &mut |faults: &[(u64, Fault)]| self.keeps_plan(|plan| plan.faults = faults.to_vec()));
    }

    fn drop_clients(&mut self) {
        let all: Vec<u32> = crate::stage::players(&self.best.plan).into_iter().collect();
        let everybody: BTreeSet<u32> = all.iter().copied().chain(self.best.plan.absent.iter().copied()).collect();
        minimal(all, &mut |there: &[u32]| {
            let absent = everybody.iter().copied().filter(|client| !there.contains(client)).collect();
            self.keeps_plan(|plan| plan.absent = absent)
        });
    }

    /// Each knob is set to what needs least explanation.
    fn drop_knobs(&mut self) {
        const KNOBS: &[fn(&mut Plan)] = &[
            |plan| plan.groups.clear(),
            |plan| plan.idles = false,
            |plan| (plan.disks, plan.move_dirs) = (1, None),
            |plan| plan.quorum = None,
            |plan| plan.reassign = None,
            |plan| plan.minimum = None,
            |plan| plan.racks = 0,
            |plan| plan.relay = 0,
            |plan| plan.trim = None,
            |plan| plan.operator = None,
            |plan| plan.metadata = None,
            |plan| plan.fetch_sessions = None,
            |plan| plan.codec = false,
            |plan| plan.segment_bytes = 1 << 20,
            |plan| plan.tail_bytes = 16 << 20,
            |plan| (plan.index_interval, plan.index_run, plan.open_files) = (4_096, 64, 512),
            |plan| plan.producers.truncate(1),
            |plan| plan.readers = 1,
        ];
        for change in KNOBS {
            self.keeps_plan(change);
        }
    }

    fn make_usual(&mut self) {
        for (kind, value) in USUAL {
            let mut candidate = self.best.clone();
            candidate.usual.insert((*kind).to_owned(), *value);
            self.keeps(candidate);
        }
    }

    fn drop_nodes(&mut self) {
        while self.best.plan.brokers().count() > 1
            && self.keeps_plan(|plan| {
                plan.nodes -= 1;
                let most = i16::try_from(plan.brokers().count()).expect("few nodes");
                plan.replication = plan.replication.min(most);
                for topic in &mut plan.topics {
                    topic.replication = topic.replication.min(most);
                    topic.min_isr = topic.min_isr.min(most);
                }
                let nodes = plan.nodes;
                plan.faults.retain(|(_, fault)| !matches!(fault, Fault::Rot { node, .. } if *node > nodes));
            })
        {}
    }
}

/// The fewest of `all` that delta debugging finds to be enough: `is_enough` says so of a part of them.
fn minimal<T: Clone>(mut all: Vec<T>, is_enough: &mut dyn FnMut(&[T]) -> bool) {
    if all.is_empty() || is_enough(&[]) {
        return;
    }
    let mut parts = 2;
    while all.len() > 1 {
        let len = all.len().div_ceil(parts);
        let without = |at: usize| -> Vec<T> { all[..at].iter().chain(&all[(at + len).min(all.len())..]).cloned().collect() };
        let smaller = (0..all.len()).step_by(len).map(without).find(|rest| is_enough(rest));
        match smaller {
            Some(rest) => (all, parts) = (rest, (parts - 1).max(2)),
            None if len == 1 => return,
            None => parts = (2 * parts).min(all.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(breaks: bool) -> Tried {
        Tried { breaks: breaks.then(|| "a rule".to_owned()), virtual_ns: 40_000_000_000, inputs: 1, decisions: Decisions::new() }
    }

    #[test]
    fn what_is_not_needed_goes_and_what_is_needed_stays() {
        let mut found = Vec::new();
        minimal((0..20).collect(), &mut |part: &[u32]| {
            let is_enough = [3, 11].iter().all(|needed| part.contains(needed));
            if is_enough {
                found = part.to_vec();
            }
            is_enough
        });
        assert_eq!(found, [3, 11]);
    }

    #[test]
    fn a_run_is_made_as_small_as_its_bug_allows() {
        let tape = Tape::of((0..).map(|seed| Plan::general(seed).on(3)).find(|plan| plan.faults.len() > 8).expect("a seed"), None);
        let needed = [tape.plan.faults[2], tape.plan.faults[5]];
        let needs = |tape: &Tape| needed.iter().all(|fault| tape.plan.faults.contains(fault)) && tape.plan.nodes >= 2;
        let small = shrink(tape, 500, &mut |tape| tried(needs(tape)), &mut |_| {}).expect("it breaks a rule");
        assert_eq!((&small.plan.faults[..], small.plan.nodes, small.plan.groups.len()), (&needed[..], 2, 0));
        assert_eq!((small.breaks.as_deref(), small.usual.len()), (Some("a rule"), USUAL.len()));
        assert!(crate::stage::players(&small.plan).is_empty(), "nobody was needed");
    }

    #[test]
    fn a_run_that_breaks_nothing_is_not_made_smaller() {
        assert_eq!(shrink(Tape::of(Plan::general(1), None), 9, &mut |_| tried(false), &mut |_| {}), None);
    }

    #[test]
    fn the_tries_are_bounded() {
        let mut tries = 0;
        let tape = Tape::of(Plan::general(3).on(3), None);
        shrink(
            tape,
            7,
            &mut |_| {
                tries += 1;
                tried(true)
            },
            &mut |_| {},
        );
        assert_eq!(tries, 8, "the first one, and seven more");
    }
}
