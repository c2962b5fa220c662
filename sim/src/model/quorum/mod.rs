//! A metadata quorum, explored to the end: three voters, what they say to each other, and their disks.
//!
//! The step function is core's `Quorum`, which the node's broker drives in the same way. The whole broker is not taken: of it only the log matters
//! here, and a state must be small, for there are millions of them. So the log and the fetches are the model's, as small as can be.
//!
//! Time is each node's own and passes only by choice, a timer at a time. So every order of time-outs and messages is walked, also those that
//! no clock would show. Chance decides only how far apart a node's own timers are, and is the same in each step.

mod net;
mod node;
mod step;
mod truth;

use super::canon::{Digest, Form, Word};
use super::explore::{Model, Taken};
use klamm_core::invariant::Verdict;
use net::{Caller, Message};
use node::{Entry, Node, TOKEN, Value, offset};
use std::cell::RefCell;
use std::hash::Hash as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use truth::Truth;

/// How far is explored. What leads beyond is not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Nodes that vote.
    pub voters: usize,
    /// Nodes that only fetch.
    pub observers: usize,
    /// The newest epoch.
    pub epochs: i32,
    /// Records in a log.
    pub log: usize,
    /// Messages on their way.
    pub flight: usize,
    /// Timers that fire.
    pub timers: u8,
    /// Crashes of nodes.
    pub crashes: u8,
    /// Messages that are lost.
    pub losses: u8,
    /// Records that a leader is given.
    pub writes: u8,
}

impl Bounds {
    /// One that takes a minute on a busy machine.
    pub const USUAL: Self = Self { voters: 3, observers: 0, epochs: 1, log: 2, flight: 3, timers: 1, crashes: 1, losses: 0, writes: 0 };
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    timers: u8,
    crashes: u8,
    losses: u8,
    writes: u8,
}

/// All nodes, and what is on its way between them.
#[derive(Clone)]
pub struct State {
    nodes: Vec<Arc<Node>>,
    forms: Vec<Arc<Form>>,
    net: Vec<Arc<Message>>,
    truth: Arc<Truth>,
    left: Left,
    voters: usize,
    /// The nodes that the step under way has touched, as bits.
    touched: u32,
}

/// What happens next. Nodes and messages by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A message arrives.
    Deliver(usize),
    /// A message is lost with its connection.
    Lose(usize),
    /// A node's next timer fires.
    Tick(usize),
    /// The store is done with a node's oldest election.
    Saved(usize),
    /// The store has synced a node's log.
    Synced(usize),
    /// A leader appends a record.
    Write(usize),
    /// A node loses power and starts again.
    Crash {
        /// Which.
        node: usize,
        /// Records that are left.
        kept: usize,
        /// Elections on their way to the disk that have reached it.
        landed: usize,
    },
}

/// The quorum within bounds.
#[derive(Clone, Copy, Debug)]
pub struct QuorumModel {
    /// How far.
    pub bounds: Bounds,
}

thread_local! {
    /// Room for the text of a machine: each state needs it for a moment.
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

impl State {
    fn form_anew(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        TEXT.with_borrow_mut(|text| {
            for i in (0..self.nodes.len()).filter(|i| touched >> i & 1 == 1) {
                self.forms[i] = Arc::new(self.nodes[i].form(text));
            }
        });
    }

    fn step(&mut self, choice: Choice) -> Verdict {
        match choice {
            Choice::Deliver(at) => {
                let message = self.net.remove(at);
                self.arrive(&message)?;
            }
            Choice::Lose(at) => {
                self.left.losses -= 1;
                let message = self.net.remove(at);
                self.lose(&message)?;
            }
            Choice::Tick(i) => {
                self.left.timers -= 1;
                let node = self.node(i);
                node.clock = node.quorum.deadline().map_or(node.clock, |due| due.max(node.clock));
                self.with(i, |quorum, now, tail| quorum.tick(now, tail))?;
            }
            Choice::Saved(i) => self.save_ends(i)?,
            Choice::Synced(i) => self.sync_ends(i)?,
            Choice::Write(i) => {
                self.left.writes -= 1;
                let (epoch, value) = (self.nodes[i].quorum.epoch(), Value::Data(u32::from(self.left.writes)));
                self.append(i, &[Entry { epoch, value }]);
                self.drain(i)?;
            }
            Choice::Crash { node, kept, landed } => {
                self.left.crashes -= 1;
                self.crash(node, kept, landed)?;
            }
        }
        self.judge()
    }

    /// Whether each message of the same kind, from and to the same, comes once in the choices.
    fn is_first(&self, at: usize) -> bool {
        let key = self.net[at].key(&self.nodes);
        self.net[..at].iter().all(|message| message.key(&self.nodes) != key)
    }
}

impl Model for QuorumModel {
    type State = State;
    type Choice = Choice;

    fn start(&self) -> State {
        let Bounds { voters, observers, timers, crashes, losses, writes, .. } = self.bounds;
        let count = voters + observers;
        let mut state = State {
            nodes: (0..count).map(|i| Arc::new(Node::new(i, voters))).collect(),
            forms: vec![Arc::default(); count],
            net: Vec::new(),
            truth: Arc::new(Truth::new()),
            left: Left { timers, crashes, losses, writes },
            voters,
            touched: 0,
        };
        for i in 0..count {
            state.drain(i).expect("nothing has happened yet");
        }
        state.form_anew();
        state
    }

    fn choices(&self, state: &State) -> Vec<Choice> {
        let mut all = Vec::new();
        let left = &state.left;
        for at in (0..state.net.len()).filter(|at| state.is_first(*at)) {
            all.push(Choice::Deliver(at));
            all.extend((left.losses > 0).then_some(Choice::Lose(at)));
        }
        // Voters are all alike before anything has happened, so that the first one's timer fires first.
        let is_fresh = left.timers == self.bounds.timers && left.crashes == self.bounds.crashes;
        for (i, node) in state.nodes.iter().enumerate() {
            let disk = &node.disk;
            let may_tick = left.timers > 0 && node.quorum.deadline().is_some() && (!is_fresh || i == 0 || i >= state.voters);
            all.extend(may_tick.then_some(Choice::Tick(i)));
            all.extend((!disk.saving.is_empty()).then_some(Choice::Saved(i)));
            all.extend((disk.durable < disk.log.len()).then_some(Choice::Synced(i)));
            all.extend((left.writes > 0 && node.quorum.is_leader()).then_some(Choice::Write(i)));
            if left.crashes > 0 && !is_fresh {
                // Of the log what was synced is left, or all.
                let kept = if disk.durable < disk.log.len() { vec![disk.durable, disk.log.len()] } else { vec![disk.durable] };
                let landed = 0..=disk.saving.len();
                all.extend(kept.iter().flat_map(|kept| landed.clone().map(|landed| Choice::Crash { node: i, kept: *kept, landed })));
            }
        }
        all
    }

    fn take(&self, state: &State, choice: &Choice) -> Taken<State> {
        let mut next = state.clone();
        match catch_unwind(AssertUnwindSafe(|| next.step(*choice))) {
            Ok(Ok(())) => {}
            Ok(Err(what)) => return Taken::Broken(what),
            Err(panic) => return Taken::Broken(super::words_of(&*panic)),
        }
        let Bounds { epochs, log, flight, .. } = self.bounds;
        let is_beyond = |node: &Arc<Node>| node.quorum.epoch().0 > epochs || node.disk.log.len() > log;
        if next.net.len() > flight || next.nodes.iter().any(is_beyond) {
            return Taken::Beyond;
        }
        next.form_anew();
        Taken::To(next)
    }

    fn key(&self, state: &State) -> u128 {
        let mut digest = Digest::default();
        for word in state.forms.iter().flat_map(|form| form.iter()) {
            match *word {
                Word::Text(text) => digest.wide(text),
                Word::Open(TOKEN, seq) => {
                    let caller = Caller::of(seq);
                    (caller.node, caller.votes, caller.rank(&state.nodes)).hash(&mut digest);
                }
                Word::Open(_, number) => digest.word(number),
            }
        }
        let mut messages: Vec<u128> = state.net.iter().map(|message| message.key(&state.nodes)).collect();
        messages.sort_unstable();
        messages.into_iter().for_each(|message| digest.wide(message));
        (&*state.truth, state.left).hash(&mut digest);
        digest.end()
    }

    fn tell(&self, state: &State, choice: &Choice) -> String {
        match *choice {
            Choice::Deliver(at) => format!("arrives   {}", state.net[at].tell()),
            Choice::Lose(at) => format!("is lost   {}", state.net[at].tell()),
            Choice::Tick(i) => format!("timer     of {}", i + 1),
            Choice::Saved(i) => format!("saved     {}: {:?}", i + 1, state.nodes[i].disk.saving.front()),
            Choice::Synced(i) => format!("synced    {}, up to {}", i + 1, state.nodes[i].disk.log.len()),
            Choice::Write(i) => format!("write     to {}", i + 1),
            Choice::Crash { node, kept, landed } => {
                let disk = &state.nodes[node].disk;
                format!(
                    "crash     of {}: {kept} of {} records left, {landed} of {} elections saved",
                    node + 1,
                    disk.log.len(),
                    disk.saving.len()
                )
            }
        }
    }

    fn show(&self, state: &State) -> String {
        let line = |node: &Arc<Node>| {
            let records: Vec<String> = node.disk.log.iter().map(|entry| entry.epoch.to_string()).collect();
            format!(
                "            {}: {:?} in epoch {}, log of epochs [{}] durable below {}, committed below {}",
                node.replica.0,
                node.quorum.role(),
                node.quorum.epoch(),
                records.join(" "),
                offset(node.disk.durable),
                node.quorum.high().unwrap_or(node.high),
            )
        };
        state.nodes.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
