//! The linearizability check against a complete search, which tries every order of instants on small histories of one key.

use std::collections::{BTreeMap, BTreeSet};

use klamm_jepsen::check::{Kind, Options, check};
use klamm_jepsen::edn::write_edn_line;
use klamm_jepsen::history::{Action, History, Key, Mop, Offset, Op, Polled, Process, Record, Stage, Value};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The anomalies that say that no order of instants explains a history.
const LINEAR: [Kind; 6] =
    [Kind::LinearOffset, Kind::LinearAppend, Kind::LinearFuture, Kind::LinearGap, Kind::LinearRegress, Kind::LinearStale];

/// How many histories.
const SEEDS: u64 = 6_000;

const KEY: Key = Key(0);

#[test]
fn the_check_agrees_with_a_complete_search() {
    let (mut explained, mut not) = (0, 0);
    let mut kinds = BTreeSet::new();
    for seed in 0..SEEDS {
        let history = History::new(random(&mut ChaCha8Rng::seed_from_u64(seed))).expect("a history");
        let report = check(&history, &Options::default());
        let found: Vec<Kind> = report.found.keys().copied().filter(|kind| LINEAR.contains(kind)).collect();
        let clean = found.is_empty();
        kinds.extend(found);
        let possible = Search::new(history.ops()).explains();
        assert_eq!(clean, possible, "seed {seed}\n{}\n{report}", text(&history));
        *(if possible { &mut explained } else { &mut not }) += 1;
    }
    assert!(explained > SEEDS / 8 && not > SEEDS / 8, "{explained} explained, {not} not");
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), LINEAR);
}

fn text(history: &History) -> String {
    let mut text = Vec::new();
    history.ops().iter().for_each(|op| write_edn_line(op, &mut text).expect("a vector takes all"));
    String::from_utf8(text).expect("EDN is text")
}

/// Something that takes effect at one instant, after entry `after` and before entry `before` of the history.
#[derive(Debug)]
struct Instant {
    after: usize,
    before: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Append {
        value: Value,
        told: Option<Offset>,
    },
    /// May happen at any time before its end: polls may be stale.
    Read {
        position: Option<Offset>,
        records: Vec<(Offset, Value)>,
    },
    End(Offset),
}

struct Search {
    instants: Vec<Instant>,
    /// Where polls show a value, for appends that were told nothing.
    shown: BTreeMap<Value, BTreeSet<Offset>>,
    failed: BTreeSet<State>,
}

/// The instants left, the log so far, and its end.
type State = (u64, Vec<(Offset, Value)>, Offset);

impl Search {
    fn new(ops: &[Op]) -> Self {
        let mut search = Self { instants: Vec::new(), shown: BTreeMap::new(), failed: BTreeSet::new() };
        for op in ops.iter().filter(|op| op.stage != Stage::Invoke) {
            for record in records(op) {
                search.shown.entry(record.1).or_default().insert(record.0);
            }
        }
        let mut open: BTreeMap<Process, usize> = BTreeMap::new();
        let mut positions: BTreeMap<Process, Offset> = BTreeMap::new();
        for (at, op) in ops.iter().enumerate() {
            if op.stage == Stage::Invoke {
                open.insert(op.process, at);
                continue;
            }
            let begun = open.remove(&op.process).expect("begun");
            search.add(op, begun, at, &mut positions);
        }
        search
    }

    fn add(&mut self, op: &Op, begun: usize, at: usize, positions: &mut BTreeMap<Process, Offset>) {
        if let Action::Assign { seek_to_beginning: true, .. } = op.action {
            positions.insert(op.process, Offset(0));
        }
        if let [Mop::Send { value, offset, .. }] = op.action.mops() {
            // An append that nobody was told of and nobody saw may have happened or not: it explains nothing and spoils nothing.
            let known = self.shown.contains_key(value) || (op.stage == Stage::Ok && offset.is_some());
            let before = if op.stage == Stage::Ok { at } else { usize::MAX };
            if known {
                self.instants.push(Instant { after: begun, before, what: What::Append { value: *value, told: *offset } });
            }
        }
        let records = records(op);
        if let Some((last, _)) = records.last().copied() {
            let position = positions.insert(op.process, Offset(last.0 + 1));
            self.instants.push(Instant { after: 0, before: at, what: What::Read { position, records } });
        }
        if let Some(end) = op.ends.get(&KEY) {
            self.instants.push(Instant { after: begun, before: at, what: What::End(*end) });
        }
    }

    fn explains(&mut self) -> bool {
        let all = (1_u64 << self.instants.len()) - 1;
        self.rest(all, &mut Vec::new(), Offset(0))
    }

    /// Whether the instants left can follow a log that holds `log`, and ends at `end` or beyond.
    fn rest(&mut self, left: u64, log: &mut Vec<(Offset, Value)>, end: Offset) -> bool {
        if left == 0 {
            return true;
        }
        let state = (left, log.clone(), end);
        if self.failed.contains(&state) {
            return false;
        }
        let deadline = self.each(left).map(|at| self.instants[at].before).min().expect("something is left");
        let next: Vec<usize> = self.each(left).filter(|at| self.instants[*at].after < deadline).collect();
        let found = next.into_iter().any(|at| self.take(at, left & !(1 << at), log, end));
        if !found {
            self.failed.insert(state);
        }
        found
    }

    fn each(&self, left: u64) -> impl Iterator<Item = usize> + use<> {
        (0..self.instants.len()).filter(move |at| left & (1 << at) != 0)
    }

    fn take(&mut self, at: usize, left: u64, log: &mut Vec<(Offset, Value)>, end: Offset) -> bool {
        match &self.instants[at].what {
            What::End(told) => *told >= end && self.rest(left, log, *told),
            What::Read { position, records } => {
                let from = position.unwrap_or(records[0].0);
                let to = records.last().expect("not empty").0;
                let slice: Vec<_> = log.iter().copied().filter(|(offset, _)| (from..=to).contains(offset)).collect();
                slice == *records && self.rest(left, log, end)
            }
            What::Append { value, told } => {
                let value = *value;
                let offsets = told.map_or_else(|| self.shown[&value].clone(), |told| [told].into());
                offsets.into_iter().filter(|offset| *offset >= end).any(|offset| {
                    log.push((offset, value));
                    let found = self.rest(left, log, Offset(offset.0 + 1));
                    log.pop();
                    found
                })
            }
        }
    }
}

fn records(op: &Op) -> Vec<(Offset, Value)> {
    let polled = op.action.mops().iter().filter_map(|mop| match mop {
        Mop::Poll(Some(seen)) => seen.get(&KEY),
        Mop::Poll(None) | Mop::Send { .. } => None,
    });
    polled.flatten().map(|record| (record.offset.expect("told"), record.value)).collect()
}

/// A run of three clients against a correct log, spoilt now and then.
fn random(rng: &mut ChaCha8Rng) -> Vec<Op> {
    let mut run = Run::default();
    let clients = [Process::Client(0), Process::Client(1), Process::Client(2)];
    if rng.random() {
        run.push(clients[0], Stage::Invoke, Action::Assign { keys: vec![KEY], seek_to_beginning: true });
        run.push(clients[0], Stage::Ok, Action::Assign { keys: vec![KEY], seek_to_beginning: true });
    }
    let steps = rng.random_range(8..30);
    for _ in 0..steps {
        run.step(clients[rng.random_range(0..3)], rng);
    }
    for client in clients {
        run.end(client, rng);
    }
    let mut ops = run.ops;
    for _ in 0..rng.random_range(0..4) {
        spoil(&mut ops, rng);
    }
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(1..ops.len().max(2));
        if at < ops.len() && ops[at - 1].process != ops[at].process {
            ops.swap(at - 1, at);
        }
    }
    for (index, op) in (0..).zip(&mut ops) {
        (op.index, op.time) = (index, index);
    }
    ops
}

#[derive(Default)]
struct Run {
    ops: Vec<Op>,
    log: Vec<(Offset, Value)>,
    end: i64,
    values: i64,
    open: BTreeMap<Process, Pending>,
    positions: BTreeMap<Process, i64>,
    retired: BTreeSet<Process>,
}

struct Pending {
    action: Action,
    end: Option<Offset>,
    effected: bool,
}

impl Run {
    fn push(&mut self, process: Process, stage: Stage, action: Action) -> &mut Op {
        self.ops.push(Op { index: 0, time: 0, process, stage, action, error: None, rebalances: Vec::new(), ends: BTreeMap::new() });
        self.ops.last_mut().expect("just pushed")
    }

    fn step(&mut self, process: Process, rng: &mut ChaCha8Rng) {
        if self.retired.contains(&process) {
            return;
        }
        match self.open.get(&process) {
            None => self.begin(process, rng),
            Some(Pending { effected: false, .. }) => self.effect(process, rng),
            Some(Pending { effected: true, .. }) => self.end(process, rng),
        }
    }

    fn begin(&mut self, process: Process, rng: &mut ChaCha8Rng) {
        self.values += 1;
        let action = if rng.random() { Action::send(KEY, Value(self.values)) } else { Action::poll() };
        self.push(process, Stage::Invoke, action.clone());
        self.open.insert(process, Pending { action, end: None, effected: false });
    }

    fn effect(&mut self, process: Process, rng: &mut ChaCha8Rng) {
        let mut pending = self.open.remove(&process).expect("open");
        pending.effected = true;
        if let [Mop::Send { value, .. }] = pending.action.mops() {
            self.end += i64::from(rng.random_ratio(1, 5));
            self.log.push((Offset(self.end), *value));
            pending.action = if rng.random_ratio(1, 5) { Action::send(KEY, *value) } else { Action::sent(KEY, Offset(self.end), *value) };
            self.end += 1;
        } else {
            let position = self.positions.entry(process).or_default();
            let records = self.log.iter().filter(|(offset, _)| offset.0 >= *position).take(rng.random_range(0..4));
            let records: Vec<Record> = records.map(|(offset, value)| Record::at(*offset, *value)).collect();
            if let Some(last) = records.last() {
                *position = last.offset.expect("told").0 + 1;
            }
            pending.action = Action::polled(Polled::from([(KEY, records)]));
            pending.end = rng.random_bool(0.4).then_some(Offset(self.end));
        }
        self.open.insert(process, pending);
    }

    fn end(&mut self, process: Process, rng: &mut ChaCha8Rng) {
        let Some(pending) = self.open.remove(&process) else { return };
        if pending.effected && !rng.random_ratio(1, 8) {
            self.push(process, Stage::Ok, pending.action).ends = pending.end.into_iter().map(|end| (KEY, end)).collect();
            return;
        }
        let asked = match pending.action.mops() {
            [Mop::Send { value, .. }] => Action::send(KEY, *value),
            _ => Action::poll(),
        };
        self.push(process, Stage::Info, asked);
        self.retired.insert(process);
    }
}

/// One thing that a correct log would not have done; sometimes nobody can tell.
fn spoil(ops: &mut [Op], rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..ops.len());
    let nudge = if rng.random() { 1 } else { -1 };
    let op = &mut ops[at];
    if let Some(end) = op.ends.get_mut(&KEY)
        && rng.random()
    {
        end.0 += nudge;
        return;
    }
    let Action::Micro { mops, .. } = &mut op.action else { return };
    match &mut mops[0] {
        Mop::Send { offset: Some(offset), .. } => offset.0 += nudge,
        Mop::Poll(Some(seen)) => {
            let Some(records) = seen.get_mut(&KEY) else { return };
            let which = rng.random_range(0..records.len());
            match rng.random_range(0..4) {
                0 => drop(records.remove(which)),
                1 => records.swap(0, which),
                2 => records.insert(0, records[which]),
                _ => records[which].offset = records[which].offset.map(|offset| Offset(offset.0 + nudge)),
            }
            seen.retain(|_, records| !records.is_empty());
        }
        Mop::Send { .. } | Mop::Poll(None) => {}
    }
}
