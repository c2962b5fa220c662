//! What chance decides in a run: each decision has a matter – whom it concerns, and in what – and is the how-manieth of that matter. Without a tape
//! it is drawn from the seed, from a stream of that matter alone, so that what becomes of one thing does not shift the draws of another. With a tape it
//! is as written there; what is missing there is drawn as ever, and counted.

use crate::cluster::client::ClientId;
use crate::cluster::peers;
use klamm_core::rng::{self, Rng};
use klamm_core::wire::ApiKey;
use rand::Rng as _;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// Whom a decision concerns, and in what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matter {
    /// How long a message takes, in ns.
    Delay {
        /// Who sent it.
        from: ClientId,
        /// To whom.
        to: ClientId,
        /// What it is.
        what: Message,
    },
    /// By how many ns longer it takes on a way that is slow.
    Slow {
        /// Who sent it.
        from: ClientId,
        /// To whom.
        to: ClientId,
    },
    /// How long an operation of a node's disk takes, in millionths of what is usual.
    Pace {
        /// Whose.
        node: u32,
        /// What is done.
        operation: &'static str,
    },
    /// What a loss of power leaves of what was not synced.
    Loss {
        /// Whose disk.
        node: u32,
        /// Which of them.
        disk: u32,
    },
    /// How much of a write was done that failed, in millionths.
    Torn {
        /// Whose disk.
        node: u32,
        /// Which of them.
        disk: u32,
    },
    /// Whom the fault of that time strikes, and how.
    Strike {
        /// When it was planned, in ns.
        at: u64,
    },
    /// For how many ns a process that dies is still connected to.
    Door {
        /// Whose.
        node: u32,
    },
    /// Whether what a process had sent arrives after its death: 1 if so.
    LastWords {
        /// Whose.
        node: u32,
    },
    /// Who dies soon after that node came back, and when.
    Relay {
        /// Who came back.
        node: u32,
    },
    /// Whether a node dies in the midst of a swap.
    Swap {
        /// Who.
        node: u32,
    },
    /// How a reader reads.
    Reader {
        /// Which.
        number: u32,
    },
    /// Who dies for good when all is healed, and how.
    FailOver,
}

/// A message, as far as its way is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Message {
    /// A connection is wished for, or stands.
    Connect,
    /// A connection ends.
    Close,
    /// A request, or its answer.
    Api(ApiKey),
}

/// A client, or a node in its part as one.
struct Party(ClientId);

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match peers::node_of(self.0) {
            Some(node) => write!(f, "node-{node}"),
            None => write!(f, "client-{}", self.0.0),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Close => f.write_str("close"),
            Self::Api(api) => write!(f, "{api:?}"),
        }
    }
}

/// Its name on a tape.
impl fmt::Display for Matter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Delay { from, to, what } => write!(f, "delay {} {} {what}", Party(from), Party(to)),
            Self::Slow { from, to } => write!(f, "slow {} {}", Party(from), Party(to)),
            Self::Pace { node, operation } => write!(f, "pace node-{node} {operation}"),
            Self::Loss { node, disk } => write!(f, "loss node-{node} disk-{disk}"),
            Self::Torn { node, disk } => write!(f, "torn node-{node} disk-{disk}"),
            Self::Strike { at } => write!(f, "strike {at}"),
            Self::Door { node } => write!(f, "door node-{node}"),
            Self::LastWords { node } => write!(f, "last-words node-{node}"),
            Self::Relay { node } => write!(f, "relay node-{node}"),
            Self::Swap { node } => write!(f, "swap node-{node}"),
            Self::Reader { number } => write!(f, "reader {number}"),
            Self::FailOver => f.write_str("fail-over"),
        }
    }
}

/// Decisions by the names of their matters, in order. `None`: to be drawn.
pub type Decisions = BTreeMap<String, Vec<Option<u64>>>;

struct Track {
    rng: Rng,
    usual: Option<u64>,
    /// How many were decided.
    count: usize,
    given: Vec<Option<u64>>,
    made: Vec<Option<u64>>,
}

struct State {
    seed: u64,
    tracks: BTreeMap<Matter, Track>,
    given: Option<Decisions>,
    /// By the first word of a matter's name, what is decided where nothing is written.
    usual: BTreeMap<String, u64>,
    records: bool,
    missing: u64,
}

/// All that chance decides in one run; clones are the same one.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<State>>);

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chance of seed {}", self.state().seed)
    }
}

impl Chance {
    fn new(seed: u64, given: Option<Decisions>, usual: BTreeMap<String, u64>, records: bool) -> Self {
        Self(Arc::new(Mutex::new(State { seed, tracks: BTreeMap::new(), given, usual, records, missing: 0 })))
    }

    /// Everything is drawn from the seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self::new(seed, None, BTreeMap::new(), false)
    }

    /// As written; what is missing is as `usual`, by the first word of the matter's name, or drawn from the seed. What was decided can be asked for in
    /// the end.
    #[must_use]
    pub fn of_tape(seed: u64, given: Decisions, usual: BTreeMap<String, u64>) -> Self {
        Self::new(seed, Some(given), usual, true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it decides")
    }

    /// The next decision of that matter, as `draw` makes it, or as it is written.
    pub fn decide(&self, matter: Matter, draw: impl FnOnce(&mut Rng) -> u64) -> u64 {
        self.state().decide(matter, draw)
    }

    /// Feeds a generator: for what takes many draws, and is decided as a whole.
    pub fn rng(&self, matter: Matter) -> Rng {
        rng::stream(self.decide(matter, |rng| rng.random()), "of one decision")
    }

    /// The decisions of one matter.
    #[must_use]
    pub fn about(&self, matter: Matter) -> Lot {
        Lot { chance: self.clone(), matter }
    }

    /// What was decided, where it was recorded.
    #[must_use]
    pub fn decisions(&self) -> Decisions {
        self.state().tracks.iter().map(|(matter, track)| (matter.to_string(), track.made.clone())).collect()
    }

    /// How many decisions the tape did not have.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.state().missing
    }
}

impl State {
    fn decide(&mut self, matter: Matter, draw: impl FnOnce(&mut Rng) -> u64) -> u64 {
        let (seed, given, usual) = (self.seed, &mut self.given, &self.usual);
        let track = self.tracks.entry(matter).or_insert_with(|| {
            let name = matter.to_string();
            let given = given.as_mut().and_then(|given| given.remove(&name)).unwrap_or_default();
            let usual = name.split(' ').next().and_then(|kind| usual.get(kind)).copied();
            Track { rng: rng::stream(seed, &name), usual, count: 0, given, made: Vec::new() }
        });
        // Drawn even where it is written, so that those that are missing do not depend on what is written.
        let drawn = draw(&mut track.rng);
        let written = track.given.get(track.count).copied().flatten().or(track.usual);
        track.count += 1;
        self.missing += u64::from(given.is_some() && written.is_none());
        let decided = written.unwrap_or(drawn);
        if self.records {
            track.made.push(Some(decided));
        }
        decided
    }
}

/// The decisions of one matter.
#[derive(Clone, Debug)]
pub struct Lot {
    chance: Chance,
    matter: Matter,
}

impl Lot {
    /// The next one, as a whole.
    pub fn rng(&self) -> Rng {
        self.chance.rng(self.matter)
    }

    /// How many of `all` the next one leaves: it is so many millionths of them.
    pub fn part_of(&self, all: usize) -> usize {
        let millionths = self.chance.decide(self.matter, |rng| rng.random_range(0..=1_000_000));
        usize::try_from(all as u128 * u128::from(millionths.min(1_000_000)) / 1_000_000).expect("a part of them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Matter = Matter::Door { node: 1 };
    const OTHER: Matter = Matter::Door { node: 2 };

    fn draws(chance: &Chance, matter: Matter, count: usize) -> Vec<u64> {
        (0..count).map(|_| chance.decide(matter, |rng| rng.random_range(0..1000))).collect()
    }

    #[test]
    fn one_matter_does_not_shift_another() {
        let (alone, beside) = (Chance::of_seed(7), Chance::of_seed(7));
        draws(&beside, OTHER, 3);
        assert_eq!(draws(&alone, ONE, 5), draws(&beside, ONE, 5));
        assert_ne!(draws(&alone, OTHER, 5), draws(&Chance::of_seed(8), OTHER, 5));
    }

    #[test]
    fn what_is_usual_stands_for_what_is_not_written() {
        let written = Decisions::from([("door node-1".to_owned(), vec![None, Some(5)])]);
        let chance = Chance::of_tape(7, written, BTreeMap::from([("door".to_owned(), 9)]));
        assert_eq!((draws(&chance, ONE, 3), draws(&chance, OTHER, 1), chance.missing()), (vec![9, 5, 9], vec![9], 0));
    }

    #[test]
    fn a_tape_is_followed_and_what_it_lacks_is_drawn_and_counted() {
        let first = Chance::of_tape(7, Decisions::new(), BTreeMap::new());
        let (made, of_other) = (draws(&first, ONE, 4), draws(&first, OTHER, 2));
        let mut tape = first.decisions();
        assert_eq!(tape["door node-1"], made.iter().map(|value| Some(*value)).collect::<Vec<_>>());
        let again = Chance::of_tape(8, tape.clone(), BTreeMap::new());
        assert_eq!((draws(&again, OTHER, 2), draws(&again, ONE, 4), again.missing()), (of_other, made.clone(), 0));
        tape.get_mut("door node-1").expect("recorded")[1] = None;
        let edited = Chance::of_tape(7, tape, BTreeMap::new());
        assert_eq!((draws(&edited, ONE, 5)[..4].to_vec(), edited.missing()), (made, 2), "drawn from the same seed it is the same");
    }
}
