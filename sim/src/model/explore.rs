//! Every state that can be reached, the nearest first, each looked at once.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// What is explored.
pub trait Model {
    /// The whole of a small world.
    type State;
    /// What may happen next.
    type Choice;

    /// Where it begins.
    fn start(&self) -> Self::State;

    /// All that may happen in a state, always in the same order.
    fn choices(&self, state: &Self::State) -> Vec<Self::Choice>;

    /// What becomes of a state by a choice.
    fn take(&self, state: &Self::State, choice: &Self::Choice) -> Taken<Self::State>;

    /// The digest of what matters of a state: those of one key have the same future.
    fn key(&self, state: &Self::State) -> u128;

    /// A choice in words.
    fn tell(&self, state: &Self::State, choice: &Self::Choice) -> String;

    /// A state in words.
    fn show(&self, state: &Self::State) -> String;
}

/// What a choice leads to.
pub enum Taken<S> {
    /// Another state.
    To(S),
    /// One beyond the bound, which is not looked at.
    Beyond,
    /// Something that must not be.
    Broken(String),
}

/// When to stop before everything was seen.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After so many states.
    pub states: u64,
    /// When the process holds so many bytes.
    pub bytes: u64,
}

/// How far an exploration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Different states seen.
    pub states: u64,
    /// Choices taken in them.
    pub transitions: u64,
    /// Choices that led beyond the bound.
    pub beyond: u64,
    /// How many choices lead to the state that is farthest from the start.
    pub depth: u32,
    /// States that were seen and not looked at yet.
    pub frontier: u64,
    /// The most there were at one distance.
    pub widest: u64,
}

/// How an exploration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to be looked at.
    Whole,
    /// A limit was reached: which.
    Short(&'static str),
    /// Something that must not be: what, and the shortest way there, in words.
    Broken {
        /// The rule.
        what: String,
        /// Each step, and what it left.
        steps: Vec<String>,
    },
}

/// Digests are as good as random already.
#[derive(Clone, Copy, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = (self.0 << 8) | u64::from(*byte));
    }

    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }
}

/// How each state was reached: from which, by which of its choices.
#[derive(Default)]
struct Ways(Vec<(u32, u16)>);

impl Ways {
    fn add(&mut self, from: u32, choice: usize) -> u32 {
        self.0.push((from, u16::try_from(choice).expect("few choices")));
        u32::try_from(self.0.len() - 1).expect("as many states as fit in memory")
    }

    fn to(&self, mut state: u32) -> Vec<usize> {
        let mut way = Vec::new();
        while state != 0 {
            let (from, choice) = self.0[state as usize];
            way.push(usize::from(choice));
            state = from;
        }
        way.reverse();
        way
    }
}

/// So many states are looked at between two words of how far it is.
const TELL_EVERY: u64 = 4096;

/// Explores `model` to the end, or to a limit, or to the first thing that must not be. `tell` hears now and then how far it is.
pub fn explore<M: Model>(model: &M, limits: Limits, mut tell: impl FnMut(&Count)) -> (Count, End) {
    let start = model.start();
    let mut seen: HashSet<u128, BuildHasherDefault<AsIs>> = HashSet::default();
    seen.insert(model.key(&start));
    let mut ways = Ways::default();
    let mut level = vec![(ways.add(0, 0), start)];
    let mut count = Count { states: 1, frontier: 1, widest: 1, ..Count::default() };
    let mut looked_at: u64 = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        // A state is let go as soon as it was looked at.
        for (id, state) in level.drain(..) {
            for (at, choice) in model.choices(&state).iter().enumerate() {
                count.transitions += 1;
                match model.take(&state, choice) {
                    Taken::Beyond => count.beyond += 1,
                    Taken::To(new) if seen.insert(model.key(&new)) => next.push((ways.add(id, at), new)),
                    Taken::To(_) => {}
                    Taken::Broken(what) => {
                        let steps = steps(model, &ways.to(id), choice);
                        count.depth = u32::try_from(steps.len()).expect("a short way");
                        return (count, End::Broken { what, steps });
                    }
                }
            }
            looked_at += 1;
            (count.states, count.frontier) = (seen.len() as u64, seen.len() as u64 - looked_at);
            if looked_at.is_multiple_of(TELL_EVERY) {
                tell(&count);
                if resident().is_some_and(|bytes| bytes > limits.bytes) {
                    return (count, End::Short("memory"));
                }
            }
            if count.states >= limits.states {
                return (count, End::Short("states"));
            }
        }
        count.depth += u32::from(!next.is_empty());
        count.widest = count.widest.max(next.len() as u64);
        level = next;
    }
    (count, End::Whole)
}

/// A way in words.
fn steps<M: Model>(model: &M, way: &[usize], last: &M::Choice) -> Vec<String> {
    let mut state = model.start();
    let mut steps = Vec::new();
    for at in way {
        let choice = &model.choices(&state)[*at];
        let told = model.tell(&state, choice);
        let Taken::To(next) = model.take(&state, choice) else { break };
        steps.push(format!("{told}\n{}", model.show(&next)));
        state = next;
    }
    steps.push(model.tell(&state, last));
    steps
}

/// The bytes that this process holds, where the system tells.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two counters up to a bound; they must not be 2 and 3.
    struct Counters {
        bad: bool,
    }

    impl Model for Counters {
        type State = (u32, u32);
        type Choice = bool;

        fn start(&self) -> (u32, u32) {
            (0, 0)
        }

        fn choices(&self, _: &(u32, u32)) -> Vec<bool> {
            vec![false, true]
        }

        fn take(&self, (a, b): &(u32, u32), choice: &bool) -> Taken<(u32, u32)> {
            match if *choice { (a + 1, *b) } else { (*a, b + 1) } {
                (2, 3) if self.bad => Taken::Broken("2 and 3".to_owned()),
                (a, b) if a > 3 || b > 3 => Taken::Beyond,
                state => Taken::To(state),
            }
        }

        fn key(&self, (a, b): &(u32, u32)) -> u128 {
            u128::from(a * 16 + b)
        }

        fn tell(&self, _: &(u32, u32), choice: &bool) -> String {
            if *choice { "a".to_owned() } else { "b".to_owned() }
        }

        fn show(&self, (a, b): &(u32, u32)) -> String {
            format!("{a} {b}")
        }
    }

    const NO_LIMIT: Limits = Limits { states: u64::MAX, bytes: u64::MAX };

    #[test]
    fn each_state_is_looked_at_once() {
        let (count, end) = explore(&Counters { bad: false }, NO_LIMIT, |_| {});
        assert_eq!(end, End::Whole);
        assert_eq!(count, Count { states: 16, transitions: 32, beyond: 8, depth: 6, frontier: 0, widest: 4 });
    }

    #[test]
    fn the_shortest_way_is_told() {
        let (_, end) = explore(&Counters { bad: true }, NO_LIMIT, |_| {});
        let End::Broken { what, steps } = end else { panic!("it is found") };
        assert_eq!((what.as_str(), steps.len()), ("2 and 3", 5));
    }

    #[test]
    fn a_limit_ends_it() {
        let (count, end) = explore(&Counters { bad: false }, Limits { states: 5, ..NO_LIMIT }, |_| {});
        assert_eq!(end, End::Short("states"));
        assert!(count.frontier > 0);
    }
}
