//! One partition on three brokers, explored to the end, with a controller by a script.
//!
//! The step function is the whole of core's `Broker`: what replication does is decided in many of its files, and the seams between them are where it was
//! wrong before. Its metadata comes from the script, a batch at a time, as the real controller's would. Of the store only the syncs of the partition's log take
//! time; registrations and heartbeats are answered at once.
//!
//! Time is each broker's own and passes only by choice, a timer at a time, but for tries to do again what failed.

mod net;
mod node;
mod script;
mod step;
mod truth;

use super::canon::{Digest, Form, Word};
use super::explore::{Model, Taken};
use klamm_core::id::BrokerId;
use klamm_core::invariant::Verdict;
use net::Message;
use node::{Node, directory, id};
use script::Script;
use std::cell::RefCell;
use std::hash::Hash as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use truth::Truth;

const BROKERS: usize = 3;
/// The controller's place.
const CONTROLLER: usize = 3;

/// How far is explored. What leads beyond is not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Messages on their way.
    pub flight: usize,
    /// Timers that fire.
    pub timers: u8,
    /// Crashes of brokers.
    pub crashes: u8,
    /// Messages that are lost.
    pub losses: u8,
    /// Records that clients send.
    pub writes: u8,
    /// Elections by the controller.
    pub elections: u8,
    /// Followers that the controller takes out of the ISR.
    pub shrinks: u8,
}

impl Bounds {
    /// One that takes less than a minute on a busy machine.
    pub const USUAL: Self = Self { flight: 3, timers: 0, crashes: 0, losses: 0, writes: 1, elections: 0, shrinks: 1 };
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    timers: u8,
    crashes: u8,
    losses: u8,
    writes: u8,
    elections: u8,
    shrinks: u8,
}

/// All brokers, the controller, and what is on its way between them.
#[derive(Clone)]
pub struct State {
    nodes: Vec<Arc<Node>>,
    forms: Vec<Arc<Form>>,
    net: Vec<Arc<Message>>,
    script: Arc<Script>,
    truth: Arc<Truth>,
    left: Left,
    /// The brokers that the step under way has touched, as bits.
    touched: u32,
    /// What it has acknowledged: the record's number, and where it is.
    acknowledged: Vec<(u8, klamm_core::id::Offset)>,
}

/// What happens next. Brokers and messages by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A message arrives.
    Deliver(usize),
    /// A message is lost with its connection.
    Lose(usize),
    /// A broker reads one more batch of the metadata.
    Inform(usize),
    /// The store has synced a broker's log.
    Synced(usize),
    /// A client sends a record to a broker that takes itself for the leader.
    Write(usize),
    /// Another member of the ISR leads; the one that led stays in sync, or does not.
    Elect {
        /// Who.
        leader: BrokerId,
        /// Whether the former leader stays in sync.
        keeps: bool,
    },
    /// The controller takes a follower out of the ISR.
    Shrink(BrokerId),
    /// A broker's next timer fires.
    Tick(usize),
    /// A broker loses power and starts again, with so many batches left.
    Crash {
        /// Which.
        node: usize,
        /// Batches that are left.
        kept: usize,
    },
}

/// The partition within bounds.
#[derive(Clone, Copy, Debug)]
pub struct PartitionModel {
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
            for i in (0..BROKERS).filter(|i| touched >> i & 1 == 1) {
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
            Choice::Inform(i) => self.inform(i)?,
            Choice::Synced(i) => {
                if let Some(input) = self.node(i).sync() {
                    self.feed(i, input)?;
                }
            }
            Choice::Write(i) => {
                self.left.writes -= 1;
                let number = self.left.writes;
                self.produce(i, number)?;
            }
            Choice::Elect { leader, keeps } => {
                self.left.elections -= 1;
                Arc::make_mut(&mut self.script).elect(leader, keeps);
            }
            Choice::Shrink(follower) => {
                self.left.shrinks -= 1;
                Arc::make_mut(&mut self.script).shrink(follower);
            }
            Choice::Tick(i) => {
                self.left.timers -= 1;
                self.pass(i)?;
            }
            Choice::Crash { node, kept } => {
                self.left.crashes -= 1;
                self.crash(node, kept)?;
            }
        }
        self.judge()
    }

    /// Lets all happen that is under way, in whatever order.
    fn settle(&mut self) -> Verdict {
        loop {
            if let Some(i) = (0..BROKERS).find(|i| self.lags(*i)) {
                self.inform(i)?;
            } else if !self.net.is_empty() {
                let message = self.net.remove(0);
                self.arrive(&message)?;
            } else if let Some(i) = (0..BROKERS).find(|i| !self.nodes[*i].syncs.is_empty()) {
                self.step(Choice::Synced(i))?;
            } else {
                return Ok(());
            }
        }
    }

    fn begin(left: Left) -> Result<Self, String> {
        let mut state = Self {
            nodes: (0..BROKERS).map(|i| Arc::new(Node::new(i))).collect(),
            forms: vec![Arc::default(); BROKERS],
            net: Vec::new(),
            script: Arc::new(Script::new()),
            truth: Arc::new(Truth::new()),
            left,
            touched: 0,
            acknowledged: Vec::new(),
        };
        (0..BROKERS).try_for_each(|i| state.boot(i))?;
        Arc::make_mut(&mut state.script).create((0..BROKERS).map(directory).collect());
        state.settle()?;
        state.form_anew();
        Ok(state)
    }
}

impl Model for PartitionModel {
    type State = State;
    type Choice = Choice;

    /// All have the partition, with nothing in it, and the two followers wait for their leader to have something.
    fn start(&self) -> State {
        let Bounds { timers, crashes, losses, writes, elections, shrinks, .. } = self.bounds;
        State::begin(Left { timers, crashes, losses, writes, elections, shrinks }).expect("nothing goes wrong at the start")
    }

    fn choices(&self, state: &State) -> Vec<Choice> {
        let mut all = Vec::new();
        let (left, script) = (&state.left, &state.script);
        for (at, message) in state.net.iter().enumerate() {
            all.push(Choice::Deliver(at));
            all.extend((left.losses > 0 && message.call.is_some()).then_some(Choice::Lose(at)));
        }
        for (i, node) in state.nodes.iter().enumerate() {
            all.extend(state.lags(i).then_some(Choice::Inform(i)));
            all.extend((!node.syncs.is_empty()).then_some(Choice::Synced(i)));
            all.extend((left.writes > 0 && state.leads(i)).then_some(Choice::Write(i)));
            all.extend((left.timers > 0).then_some(Choice::Tick(i)));
            if let Some(log) = node.log().filter(|_| left.crashes > 0) {
                let all_left = (log.synced < log.batches.len()).then_some(log.batches.len());
                all.extend([log.synced].into_iter().chain(all_left).map(|kept| Choice::Crash { node: i, kept }));
            }
        }
        for member in script.isr.iter().copied().filter(|member| *member != script.leader) {
            if left.elections > 0 {
                all.extend([true, false].map(|keeps| Choice::Elect { leader: member, keeps }));
            }
            all.extend((left.shrinks > 0).then_some(Choice::Shrink(member)));
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
        if next.net.len() > self.bounds.flight {
            return Taken::Beyond;
        }
        next.form_anew();
        Taken::To(next)
    }

    fn key(&self, state: &State) -> u128 {
        let mut digest = Digest::default();
        for word in state.forms.iter().flat_map(|form| form.iter()) {
            if let Word::Text(text) = word {
                digest.wide(*text);
            }
        }
        let mut messages: Vec<u128> = state.net.iter().map(|message| message.key(&state.nodes)).collect();
        messages.sort_unstable();
        messages.into_iter().for_each(|message| digest.wide(message));
        for batch in &state.script.log {
            digest.word(batch.header().crc.into());
        }
        (&*state.truth, state.left).hash(&mut digest);
        digest.end()
    }

    fn tell(&self, state: &State, choice: &Choice) -> String {
        match *choice {
            Choice::Deliver(at) => format!("arrives   {}", state.net[at].tell()),
            Choice::Lose(at) => format!("is lost   {}", state.net[at].tell()),
            Choice::Inform(i) => format!("metadata  {} reads on", i + 1),
            Choice::Synced(i) => format!("synced    {}", i + 1),
            Choice::Write(i) => format!("write     to {}", i + 1),
            Choice::Elect { leader, keeps } => {
                format!("elected   {leader}; {} {}", state.script.leader, if keeps { "stays in sync" } else { "is in sync no more" })
            }
            Choice::Shrink(follower) => format!("shrunk    {follower} is in sync no more"),
            Choice::Tick(i) => format!("timer     of {}: {}", i + 1, state.nodes[i].broker.deadline().map_or("none", |(_, why)| why)),
            Choice::Crash { node, kept } => format!("crash     of {}: {kept} batches left", node + 1),
        }
    }

    fn show(&self, state: &State) -> String {
        let line = |(i, node): (usize, &Arc<Node>)| {
            let log = node.log();
            let records =
                log.map(|log| log.batches.iter().map(|batch| batch.header().leader_epoch.to_string()).collect::<Vec<_>>().join(" "));
            let view = node.broker.view();
            let partition = view.partitions().find(|partition| partition.id.topic == script::TOPIC);
            let role = partition.map_or("nothing".to_owned(), |partition| match (partition.leader(), partition.follower()) {
                (Some(leader), _) => {
                    format!("leads epoch {}, {:?}", leader.epoch, leader.isr().map(|isr| (isr.confirmed(), isr.proposed())))
                }
                (_, Some(follower)) => format!("follows {:?} in epoch {}", follower.leader, follower.epoch),
                _ => "opens its log".to_owned(),
            });
            let synced = log.map_or(0, |log| log.synced);
            let high = partition.map_or(0, |partition| partition.high().0);
            format!(
                "            {}: log of epochs [{}] durable below {synced}, committed below {high}, {role}",
                id(i),
                records.unwrap_or_default()
            )
        };
        state.nodes.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    }
}
