//! Valid histories, broken in one systematic way after the other: each must be caught, by the right name.

use std::collections::{BTreeMap, BTreeSet};

use klamm_jepsen::check::{Kind, Options as Allowed, Verdict, check};
use klamm_jepsen::history::{Action, History, Key, Micro, Mop, Offset, Op, Process, Record, Stage, Value};
use klamm_jepsen::workload::{Options, SubVia};
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::model;

/// How many histories each mutation breaks.
const SEEDS: u64 = 12;

/// Which workload a mutation needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mix {
    Assigned,
    Subscribed,
    Transactions,
}

/// Breaks the history at a place of its choice; `false` where there is none.
type Break = fn(&mut Broken) -> bool;

/// Name, workload, what to do, and the anomaly that must be found.
const MUTATIONS: &[(&str, Mix, Break, Kind)] = &[
    ("a poll shows a record a second time, further on", Mix::Assigned, shown_again, Kind::Duplicate),
    ("a subscribed poll shows a record a second time, further on", Mix::Subscribed, shown_again, Kind::Duplicate),
    ("a send is told another offset than it got", Mix::Assigned, told_elsewhere, Kind::LinearOffset),
    ("the same, by Jepsen's name", Mix::Assigned, told_elsewhere, Kind::Duplicate),
    ("a send is told the offset of another", Mix::Assigned, told_anothers_offset, Kind::InconsistentOffsets),
    ("a poll shows another value than was sent", Mix::Assigned, value_changed, Kind::InconsistentOffsets),
    ("and nobody sent that value", Mix::Assigned, value_changed, Kind::Phantom),
    ("a record is seen by nobody, though a later one is", Mix::Assigned, record_lost, Kind::LostWrite),
    ("a record is seen by no subscriber, though a later one is", Mix::Subscribed, record_lost, Kind::LostWrite),
    ("all of a transaction's records are seen by nobody", Mix::Transactions, record_lost, Kind::LostWrite),
    ("the last record of a key is seen by nobody", Mix::Assigned, last_record_lost, Kind::Unseen),
    ("the tail of a log is cut and written anew", Mix::Assigned, tail_rewritten, Kind::InconsistentOffsets),
    ("a send that was seen claims to have failed", Mix::Assigned, send_failed, Kind::G1a),
    ("a transaction that was seen claims to have failed", Mix::Transactions, send_failed, Kind::G1a),
    ("an unknown send that was seen claims to have failed", Mix::Assigned, unknown_send_failed, Kind::G1a),
    ("a transaction polls what it sends", Mix::Transactions, polls_its_own, Kind::PrecommittedRead),
    ("a consumer's poll begins one record late", Mix::Assigned, first_record_skipped, Kind::PollSkip),
    ("a consumer's poll ends with a record left out", Mix::Assigned, last_record_skipped, Kind::PollSkip),
    ("a poll that skips, as the log has it", Mix::Assigned, first_record_skipped, Kind::LinearGap),
    ("a subscriber's poll begins one record late without a rebalance", Mix::Subscribed, first_record_skipped, Kind::LinearGap),
    ("the first poll after a seek begins one record late", Mix::Assigned, seek_skipped, Kind::LinearGap),
    ("a consumer's poll begins with the last record once more", Mix::Assigned, last_record_again, Kind::NonmonotonicPoll),
    ("a subscriber's poll begins with the last record once more", Mix::Subscribed, last_record_again, Kind::LinearRegress),
    ("a poll leaves out a record in its middle", Mix::Assigned, middle_record_skipped, Kind::IntPollSkip),
    ("a subscriber's poll leaves out a record in its middle", Mix::Subscribed, middle_record_skipped, Kind::IntPollSkip),
    ("a transaction's polls leave out a record in between", Mix::Transactions, middle_record_skipped, Kind::IntPollSkip),
    ("a poll swaps two records", Mix::Assigned, records_swapped, Kind::IntNonmonotonicPoll),
    ("a poll delivers a record twice", Mix::Subscribed, record_twice, Kind::IntNonmonotonicPoll),
    ("two sends of a process change places in the log", Mix::Assigned, sends_of_process_swapped, Kind::NonmonotonicSend),
    ("two sends, one after the other, change places in the log", Mix::Assigned, sends_in_time_swapped, Kind::LinearAppend),
    ("two sends of a transaction change places in the log", Mix::Transactions, sends_of_transaction_swapped, Kind::IntNonmonotonicSend),
    ("two transactions see each other's sends", Mix::Transactions, circular, Kind::G1c),
    ("a send happens only after it was seen", Mix::Assigned, sent_too_late, Kind::G1cRealtime),
    ("a record is delivered before its send", Mix::Assigned, sent_too_late, Kind::LinearFuture),
    ("the newest leader tells an old end", Mix::Assigned, old_end, Kind::LinearStale),
    ("all operations but one are forgotten", Mix::Assigned, one_left, Kind::EmptyTransactionGraph),
];

#[test]
fn each_mutation_is_caught_by_its_name() {
    let mut histories: BTreeMap<(Mix, u64), History> = BTreeMap::new();
    for (name, mix, mutate, kind) in MUTATIONS {
        let mut applied = 0;
        for seed in 0..SEEDS {
            let history = histories.entry((*mix, seed)).or_insert_with(|| valid(*mix, seed));
            let mut broken = Broken { ops: history.ops().to_vec(), rng: ChaCha8Rng::seed_from_u64(seed) };
            if !mutate(&mut broken) {
                continue;
            }
            applied += 1;
            let history = History::new(broken.ops).expect("what is broken is the log, not the form");
            let report = check(&history, &allowed());
            assert!(report.bad().any(|bad| bad == *kind), "{name}, seed {seed}: no {kind} in\n{report}");
        }
        assert!(applied * 2 >= SEEDS, "{name}: applied to {applied} histories only");
    }
}

#[test]
fn there_are_enough_of_them() {
    let ways: BTreeSet<usize> = MUTATIONS.iter().map(|(_, _, mutate, _)| *mutate as usize).collect();
    assert!(ways.len() >= 20, "{}", ways.len());
}

fn allowed() -> Allowed {
    Allowed { rebalances_logged: true, ..Allowed::default() }
}

fn valid(mix: Mix, seed: u64) -> History {
    let options = Options { threads: 4, keys: 3, sends_per_key_max: 64, assign_one_in: 20, crash_one_in: 60, ..Options::default() };
    let options = match mix {
        Mix::Assigned => options,
        Mix::Subscribed => Options { sub_via: vec![SubVia::Subscribe], ..options },
        Mix::Transactions => Options { mops_max: 4, ..options },
    };
    let history = model::history(options, 300, seed);
    let report = check(&history, &allowed());
    assert_eq!(report.verdict, Verdict::Valid, "{report}");
    history
}

struct Broken {
    ops: Vec<Op>,
    rng: ChaCha8Rng,
}

/// A record of a poll, by where it stands in the history.
#[derive(Clone, Copy)]
struct Seen {
    op: usize,
    mop: usize,
    key: Key,
    at: usize,
    record: Record,
}

/// A send that ended well, by where it stands in the history.
#[derive(Clone, Copy)]
struct Sent {
    invoked: usize,
    op: usize,
    mop: usize,
    key: Key,
    offset: Offset,
    value: Value,
}

impl Broken {
    fn invocation(&self, op: usize) -> usize {
        let process = self.ops[op].process;
        (0..op).rev().find(|at| self.ops[*at].process == process).expect("what ends has begun")
    }

    fn seen(&self) -> Vec<Seen> {
        let mut all = Vec::new();
        for (op, entry) in self.ops.iter().enumerate().filter(|(_, entry)| entry.stage == Stage::Ok) {
            for (mop, step) in entry.action.mops().iter().enumerate() {
                let Mop::Poll(Some(seen)) = step else { continue };
                for (key, records) in seen {
                    all.extend(records.iter().enumerate().map(|(at, record)| Seen { op, mop, key: *key, at, record: *record }));
                }
            }
        }
        all
    }

    fn sent(&self) -> Vec<Sent> {
        let mut all = Vec::new();
        for (op, entry) in self.ops.iter().enumerate().filter(|(_, entry)| entry.stage == Stage::Ok) {
            for (mop, step) in entry.action.mops().iter().enumerate() {
                let Mop::Send { key, offset: Some(offset), value } = step else { continue };
                all.push(Sent { invoked: self.invocation(op), op, mop, key: *key, offset: *offset, value: *value });
            }
        }
        all
    }

    fn records(&mut self, op: usize, mop: usize, key: Key) -> &mut Vec<Record> {
        let Mop::Poll(Some(seen)) = self.mop(op, mop) else { panic!("no poll") };
        seen.get_mut(&key).expect("a key of the poll")
    }

    fn mop(&mut self, op: usize, mop: usize) -> &mut Mop {
        let Action::Micro { mops, .. } = &mut self.ops[op].action else { panic!("no send or poll") };
        &mut mops[mop]
    }

    /// Takes a record out of every poll, whatever came of it.
    fn unsee(&mut self, key: Key, value: Value) {
        for op in &mut self.ops {
            let Action::Micro { mops, .. } = &mut op.action else { continue };
            for mop in mops {
                let Mop::Poll(Some(seen)) = mop else { continue };
                if let Some(records) = seen.get_mut(&key) {
                    records.retain(|record| record.value != value);
                }
                seen.retain(|_, records| !records.is_empty());
            }
        }
    }

    fn one<T>(&mut self, of: Vec<T>) -> Option<T> {
        let at = if of.is_empty() { None } else { Some(self.rng.random_range(0..of.len())) };
        at.and_then(|at| of.into_iter().nth(at))
    }

    fn rebalanced(&self, op: usize, key: Key) -> bool {
        self.ops[op].rebalanced().any(|rebalanced| rebalanced == key)
    }

    /// Pairs of what one process read last of a key, and what it read first of it in its next operation that did, with no
    /// change of assignment in between.
    fn successive(&self) -> Vec<(Seen, Seen)> {
        let mut last: BTreeMap<(Process, Key), Seen> = BTreeMap::new();
        let mut pairs = Vec::new();
        let mut seen = self.seen().into_iter().peekable();
        for (op, entry) in self.ops.iter().enumerate() {
            if matches!(entry.action, Action::Assign { .. } | Action::Subscribe { .. }) || !entry.rebalances.is_empty() {
                last.retain(|(process, _), _| *process != entry.process);
            }
            while let Some(next) = seen.next_if(|seen| seen.op == op) {
                let before = last.insert((entry.process, next.key), next);
                if let Some(before) = before.filter(|before| before.op != op) {
                    pairs.push((before, next));
                }
            }
        }
        pairs
    }

    /// Swaps which of two operations sent which of two values.
    fn swap_sends(&mut self, a: Sent, b: Sent) {
        for (from, to) in [(a, b), (b, a)] {
            *self.mop(from.op, from.mop) = Mop::Send { key: to.key, offset: Some(to.offset), value: to.value };
            *self.mop(from.invoked, from.mop) = Mop::Send { key: to.key, offset: None, value: to.value };
        }
    }

    fn send_pairs(&mut self, fits: impl Fn(&Sent, &Sent) -> bool) -> Option<(Sent, Sent)> {
        let sent = self.sent();
        let pairs = sent.iter().enumerate().flat_map(|(i, a)| sent[i + 1..].iter().map(move |b| (*a, *b)));
        let pairs = pairs.filter(|(a, b)| a.key == b.key && fits(a, b)).collect();
        self.one(pairs)
    }

    fn reindex(&mut self) {
        for (index, op) in (0..).zip(&mut self.ops) {
            op.index = index;
        }
    }
}

fn shown_again(b: &mut Broken) -> bool {
    let seen = b.seen();
    let Some(first) = b.one(seen) else { return false };
    let records = b.records(first.op, first.mop, first.key);
    let last = records.last().and_then(|record| record.offset).expect("a model's polls tell offsets");
    records.push(Record::at(Offset(last.0 + 1000), first.record.value));
    true
}

fn told_elsewhere(b: &mut Broken) -> bool {
    let read: BTreeSet<(Key, Value)> = b.seen().iter().map(|seen| (seen.key, seen.record.value)).collect();
    let sent = b.sent().into_iter().filter(|sent| read.contains(&(sent.key, sent.value))).collect();
    let Some(sent) = b.one(sent) else { return false };
    *b.mop(sent.op, sent.mop) = Mop::Send { key: sent.key, offset: Some(Offset(sent.offset.0 + 1000)), value: sent.value };
    true
}

fn told_anothers_offset(b: &mut Broken) -> bool {
    let Some((one, other)) = b.send_pairs(|a, b| a.offset != b.offset) else { return false };
    *b.mop(one.op, one.mop) = Mop::Send { key: one.key, offset: Some(other.offset), value: one.value };
    true
}

fn value_changed(b: &mut Broken) -> bool {
    // The first of an operation, seen by the last phase's other clients too.
    let seen = b.seen();
    let Some(seen) = b.one(seen) else { return false };
    b.records(seen.op, seen.mop, seen.key)[seen.at].value = Value(-7);
    true
}

fn record_lost(b: &mut Broken) -> bool {
    let mut highest: BTreeMap<Key, Offset> = BTreeMap::new();
    for seen in b.seen() {
        let highest = highest.entry(seen.key).or_default();
        *highest = seen.record.offset.expect("told").max(*highest);
    }
    let below = b.sent().into_iter().filter(|sent| highest.get(&sent.key).is_some_and(|highest| sent.offset < *highest)).collect();
    let Some(lost) = b.one(below) else { return false };
    b.unsee(lost.key, lost.value);
    true
}

fn last_record_lost(b: &mut Broken) -> bool {
    let sent = b.sent();
    let Some(any) = b.one(sent.clone()) else { return false };
    let last = sent.into_iter().filter(|sent| sent.key == any.key).max_by_key(|sent| sent.offset).expect("at least the one");
    b.unsee(last.key, last.value);
    true
}

/// From one acknowledged record on, the log's values take the places of the ones before them, for all who read later.
fn tail_rewritten(b: &mut Broken) -> bool {
    let Some((cut, after)) = b.send_pairs(|a, b| a.op < b.invoked && a.offset < b.offset) else { return false };
    b.unsee(cut.key, cut.value);
    for seen in b.seen() {
        if (seen.key, seen.record.value) == (after.key, after.value) {
            b.records(seen.op, seen.mop, seen.key)[seen.at].offset = Some(cut.offset);
        }
    }
    *b.mop(after.op, after.mop) = Mop::Send { key: after.key, offset: Some(cut.offset), value: after.value };
    true
}

fn send_failed(b: &mut Broken) -> bool {
    let read: BTreeSet<(Key, Value)> = b.seen().iter().map(|seen| (seen.key, seen.record.value)).collect();
    let sent = b.sent().into_iter().filter(|sent| read.contains(&(sent.key, sent.value))).collect();
    let Some(sent) = b.one(sent) else { return false };
    b.ops[sent.op].stage = Stage::Fail;
    true
}

fn unknown_send_failed(b: &mut Broken) -> bool {
    let read: BTreeSet<(Key, Value)> = b.seen().iter().map(|seen| (seen.key, seen.record.value)).collect();
    let was_read = |mop: &Mop| matches!(mop, Mop::Send { key, value, .. } if read.contains(&(*key, *value)));
    let unknown = (0..b.ops.len()).filter(|op| b.ops[*op].stage == Stage::Info && b.ops[*op].action.mops().iter().any(was_read)).collect();
    let Some(op) = b.one(unknown) else { return false };
    b.ops[op].stage = Stage::Fail;
    true
}

fn polls_its_own(b: &mut Broken) -> bool {
    let sent = b.sent();
    let Some(own) = b.one(sent) else { return false };
    let (invoked, op) = (own.invoked, own.op);
    for (at, polled) in [(invoked, None), (op, Some([(own.key, vec![Record::at(own.offset, own.value)])].into()))] {
        let Action::Micro { f, mops } = &mut b.ops[at].action else { panic!("a send") };
        *f = Micro::Txn;
        mops.push(Mop::Poll(polled));
    }
    true
}

fn first_record_skipped(b: &mut Broken) -> bool {
    let pairs = b.successive().into_iter().filter(|(_, next)| next.at == 0).map(|(_, next)| next);
    let long = pairs.filter(|next| b.run_length(next) > 1).collect();
    let Some(next) = b.one(long) else { return false };
    b.records(next.op, next.mop, next.key).remove(0);
    true
}

fn last_record_skipped(b: &mut Broken) -> bool {
    let pairs = b.successive().into_iter().map(|(before, _)| before);
    let long = pairs.filter(|before| b.run_length(before) > 1).collect();
    let Some(before) = b.one(long) else { return false };
    b.records(before.op, before.mop, before.key).pop();
    true
}

/// In the last phase every client seeks to the beginning; one of them misses the first record of a key.
fn seek_skipped(b: &mut Broken) -> bool {
    let seeks: BTreeSet<Process> =
        b.ops.iter().filter(|op| matches!(op.action, Action::Assign { seek_to_beginning: true, .. })).map(|op| op.process).collect();
    let mut first: BTreeMap<(Process, Key), Seen> = BTreeMap::new();
    for seen in b.seen() {
        let process = b.ops[seen.op].process;
        if seeks.contains(&process) {
            first.entry((process, seen.key)).or_insert(seen);
        }
    }
    let long = first.into_values().filter(|seen| b.run_length(seen) > 1).collect();
    let Some(first) = b.one(long) else { return false };
    b.records(first.op, first.mop, first.key).remove(0);
    true
}

fn last_record_again(b: &mut Broken) -> bool {
    let pairs = b.successive().into_iter().filter(|(_, next)| next.at == 0).collect();
    let Some((before, next)) = b.one(pairs) else { return false };
    b.records(next.op, next.mop, next.key).insert(0, before.record);
    true
}

fn middle_record_skipped(b: &mut Broken) -> bool {
    let inner =
        b.seen().into_iter().filter(|seen| seen.at > 0 && seen.at + 1 < b.run_length(seen) && !b.rebalanced(seen.op, seen.key)).collect();
    let Some(seen) = b.one(inner) else { return false };
    b.records(seen.op, seen.mop, seen.key).remove(seen.at);
    true
}

fn records_swapped(b: &mut Broken) -> bool {
    let second = b.seen().into_iter().filter(|seen| seen.at > 0 && !b.rebalanced(seen.op, seen.key)).collect();
    let Some(seen) = b.one(second) else { return false };
    b.records(seen.op, seen.mop, seen.key).swap(seen.at - 1, seen.at);
    true
}

fn record_twice(b: &mut Broken) -> bool {
    let any = b.seen().into_iter().filter(|seen| !b.rebalanced(seen.op, seen.key)).collect();
    let Some(seen) = b.one(any) else { return false };
    b.records(seen.op, seen.mop, seen.key).insert(seen.at, seen.record);
    true
}

fn sends_of_process_swapped(b: &mut Broken) -> bool {
    // Neighbours of one process and key, with no change of assignment in between, which makes Jepsen forget.
    let mut last: BTreeMap<(Process, Key), Sent> = BTreeMap::new();
    let mut pairs = Vec::new();
    for sent in b.sent() {
        let process = b.ops[sent.op].process;
        let Some(before) = last.insert((process, sent.key), sent) else { continue };
        let between = &b.ops[before.op..sent.op];
        if !between.iter().any(|op| op.process == process && matches!(op.action, Action::Assign { .. })) {
            pairs.push((before, sent));
        }
    }
    let Some((one, other)) = b.one(pairs) else { return false };
    b.swap_sends(one, other);
    true
}

fn sends_in_time_swapped(b: &mut Broken) -> bool {
    let Some((one, other)) = b.send_pairs(|a, b| a.op < b.invoked && a.offset < b.offset) else { return false };
    b.swap_sends(one, other);
    true
}

fn sends_of_transaction_swapped(b: &mut Broken) -> bool {
    let Some((one, other)) = b.send_pairs(|a, b| a.op == b.op) else { return false };
    b.swap_sends(one, other);
    true
}

fn circular(b: &mut Broken) -> bool {
    let mut sent = b.sent();
    sent.shuffle(&mut b.rng);
    let by_value: BTreeMap<(Key, Value), Sent> = sent.iter().map(|sent| ((sent.key, sent.value), *sent)).collect();
    let mut pairs = Vec::new();
    for seen in b.seen() {
        let Some(early) = by_value.get(&(seen.key, seen.record.value)) else { continue };
        let late = sent.iter().find(|late| late.op == seen.op);
        pairs.extend(late.filter(|late| late.op != early.op).map(|late| (*early, *late)));
    }
    let Some((early, late)) = pairs.choose(&mut b.rng).copied() else { return false };
    for (at, polled) in [(early.invoked, None), (early.op, Some([(late.key, vec![Record::at(late.offset, late.value)])].into()))] {
        let Action::Micro { f, mops } = &mut b.ops[at].action else { panic!("a send") };
        *f = Micro::Txn;
        mops.push(Mop::Poll(polled));
    }
    true
}

/// The send moves to the history's end, as some other process's.
fn sent_too_late(b: &mut Broken) -> bool {
    let read: BTreeSet<(Key, Value)> = b.seen().iter().map(|seen| (seen.key, seen.record.value)).collect();
    let sent = b.sent().into_iter().filter(|sent| read.contains(&(sent.key, sent.value))).collect();
    let Some(sent) = b.one(sent) else { return false };
    let time = b.ops.last().expect("a history").time;
    let end = b.ops.remove(sent.op);
    let begin = b.ops.remove(sent.invoked);
    b.ops.extend([begin, end].map(|op| Op { process: Process::Client(1_000_000), time, ..op }));
    b.reindex();
    true
}

fn old_end(b: &mut Broken) -> bool {
    let sent = b.sent();
    let mut stale = Vec::new();
    for (op, entry) in b.ops.iter().enumerate().filter(|(_, entry)| entry.stage == Stage::Ok && !entry.ends.is_empty()) {
        let begun = b.invocation(op);
        let before = sent.iter().filter(|sent| sent.op < begun && entry.ends.contains_key(&sent.key));
        stale.extend(before.map(|sent| (op, sent.key, sent.offset)));
    }
    let Some((op, key, offset)) = b.one(stale) else { return false };
    b.ops[op].ends.insert(key, offset);
    true
}

fn one_left(b: &mut Broken) -> bool {
    let Some(op) = b.ops.iter().position(|op| op.stage == Stage::Ok && !op.action.mops().is_empty()) else { return false };
    let begun = b.invocation(op);
    b.ops = vec![b.ops[begun].clone(), b.ops[op].clone()];
    b.reindex();
    true
}

impl Broken {
    fn run_length(&self, seen: &Seen) -> usize {
        match &self.ops[seen.op].action.mops()[seen.mop] {
            Mop::Poll(Some(polled)) => polled[&seen.key].len(),
            Mop::Poll(None) | Mop::Send { .. } => 0,
        }
    }
}
