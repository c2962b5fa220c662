//! One node of the model: the quorum that the node runs, with a metadata log and a disk as small as can be around it.

use crate::model::canon::{self, Digest, Form, Take, Word};
use klamm_core::client::io::Address;
use klamm_core::id::{BrokerId, CallId, LeaderEpoch, Offset, Uuid};
use klamm_core::quorum::{Config, Election, Quorum, Replica, Tail, Voter, Voters};
use klamm_core::rng;
use klamm_core::time::Instant;
use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash as _;
use std::time::Duration;

/// A record: nobody but the leader of an epoch writes in it, and what is written has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) epoch: LeaderEpoch,
    pub(super) value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    LeaderChange(BrokerId),
    Data(u32),
}

/// What is written, and how much of it would survive a loss of power.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Disk {
    pub(super) log: Vec<Entry>,
    pub(super) durable: usize,
    pub(super) election: Election,
    /// On their way to the disk.
    pub(super) saving: VecDeque<Election>,
}

pub(super) fn offset(at: usize) -> Offset {
    Offset(i64::try_from(at).expect("short logs"))
}

pub(super) fn place(offset: Offset) -> usize {
    usize::try_from(offset.0).expect("offsets of a log")
}

impl Disk {
    pub(super) fn tail(&self) -> Tail {
        Tail { end: offset(self.log.len()), epoch: self.last_epoch(), durable: offset(self.durable) }
    }

    pub(super) fn last_epoch(&self) -> LeaderEpoch {
        self.log.last().map_or(LeaderEpoch(0), |entry| entry.epoch)
    }

    /// The largest epoch of the log that is at most `epoch`, and where it ends (KIP-279).
    pub(super) fn end_of(&self, epoch: LeaderEpoch) -> (LeaderEpoch, usize) {
        let end = self.log.iter().position(|entry| entry.epoch > epoch).unwrap_or(self.log.len());
        (if end == 0 { LeaderEpoch(0) } else { self.log[end - 1].epoch }, end)
    }
}

/// What a fetch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) epoch: LeaderEpoch,
    pub(super) offset: Offset,
    /// Of the record before.
    pub(super) last_epoch: LeaderEpoch,
    /// What it knows to be committed.
    pub(super) high: Offset,
}

/// A fetch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Waiting {
    /// For an answer of that node.
    Asked(usize),
    /// For its answer to be dealt with.
    Answered,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) replica: Replica,
    pub(super) disk: Disk,
    pub(super) quorum: Quorum,
    /// The save that was asked for last.
    pub(super) last_save: u64,
    /// Each node has a time of its own. It passes only as its timers fire: so they fire early or late against everything else, as all ways are walked.
    pub(super) clock: Instant,
    /// How often it crashed, so that what was meant for a former life is known.
    pub(super) life: u64,
    /// Its calls that nobody has answered.
    pub(super) open: BTreeSet<CallId>,
    /// Its fetch.
    pub(super) waiting: Option<Waiting>,
    /// Fetches of others that wait for something to be told.
    pub(super) parked: Vec<(usize, Asked)>,
    /// What it knows to be committed.
    pub(super) high: Offset,
    /// Where its newest leadership began.
    pub(super) led_from: Offset,
}

/// What is left open in a node's form.
pub(super) const TOKEN: u8 = 1;
const CALL: u8 = 0;

const PATIENCE: Duration = Duration::from_millis(200);

fn config((me, directory): Replica) -> Config {
    Config {
        me,
        directory,
        cluster: "model".into(),
        address: address(me),
        listener: "CONTROLLER".into(),
        may_vote: true,
        bootstrap: Vec::new(),
        election_timeout: PATIENCE / 2,
        fetch_timeout: PATIENCE,
        request_timeout: PATIENCE,
        backoff_max: PATIENCE / 2,
    }
}

fn address(id: BrokerId) -> Address {
    Address { host: "node".into(), port: u16::try_from(id.0).expect("few") }
}

pub(super) fn replica(i: usize) -> Replica {
    let id = u8::try_from(i + 1).expect("few");
    (BrokerId(i32::from(id)), Uuid([id; 16]))
}

pub(super) fn voters(count: usize) -> Voters {
    (0..count).map(replica).map(|(id, directory)| Voter { id, directory, address: address(id) }).collect()
}

impl Node {
    pub(super) fn new(i: usize, voters: usize) -> Self {
        let disk = Disk::default();
        let clock = Instant(0);
        let quorum = born(i, &disk, voters, clock);
        Self {
            replica: replica(i),
            disk,
            quorum,
            last_save: 0,
            clock,
            life: 0,
            open: BTreeSet::new(),
            waiting: None,
            parked: Vec::new(),
            high: Offset::ZERO,
            led_from: Offset::ZERO,
        }
    }

    /// A new process on the same disk.
    pub(super) fn restart(&mut self, i: usize, voters: usize) {
        self.quorum = born(i, &self.disk, voters, self.clock);
        (self.last_save, self.waiting, self.high) = (0, None, Offset::ZERO);
        self.life += 1;
        self.open.clear();
        self.parked.clear();
    }

    /// What matters of it, but for what is known of others only.
    pub(super) fn form(&self, text: &mut String) -> Form {
        let mut digest = Digest::default();
        let form = canon::form(&self.quorum, self.clock.0, take, text);
        let mut rest: Vec<Word> = Vec::new();
        for word in form {
            match word {
                Word::Text(text) => digest.wide(text),
                Word::Open(CALL, call) => digest.word(self.rank(CallId(call)).map_or(u64::MAX, |rank| rank as u64)),
                Word::Open(..) => rest.push(word),
            }
        }
        (&self.disk, self.waiting, &self.parked, self.high, self.led_from).hash(&mut digest);
        rest.insert(0, Word::Text(digest.end()));
        rest
    }

    /// Which of its open calls this is.
    pub(super) fn rank(&self, call: CallId) -> Option<usize> {
        self.open.iter().position(|open| *open == call)
    }
}

fn born(i: usize, disk: &Disk, count: usize, now: Instant) -> Quorum {
    Quorum::new(config(replica(i)), disk.election, voters(count), disk.tail(), now, chance())
}

/// Chance is the same in each step, so that equal states have equal futures: what it decides is by how much a node's own timers are apart.
pub(super) fn chance() -> rng::Rng {
    rng::stream(0, "model")
}

/// How the words of a quorum are taken.
fn take(word: &str) -> Take {
    match word {
        // The model names no voters, and nobody describes the quorum.
        "config" | "rng" | "next_call" | "caught_up" => Take::Skip,
        "Instant" => Take::Instant,
        "next" => Take::Due,
        "CallId" => Take::Open(CALL),
        "seq" => Take::Open(TOKEN),
        // Numbers of saves. The bare bracket is that of what waits for one.
        "own" | "last_save" | "saved" | "number" | "(" => Take::Name(0),
        _ => Take::Plain,
    }
}
