//! Anomalies of one process, or of one operation, against the version order: skips and steps back.

use std::collections::BTreeMap;

use super::Kind;
use super::index::{Done, Event, Index, KeyId, ValueId};
use super::orders::Orders;
use super::report::{Case, Findings};
use crate::history::{Action, Key, Process, Stage};

/// Per key, the operation that last touched it and its last value there.
type Last = BTreeMap<KeyId, (usize, Option<ValueId>)>;

pub(super) fn check(index: &Index<'_>, orders: &Orders, findings: &mut Findings) {
    for done in &index.done {
        inside_polls(index, orders, done, findings);
        inside_sends(index, orders, done, findings);
    }
    across(index, orders, findings);
}

fn inside_polls(index: &Index<'_>, orders: &Orders, done: &Done, findings: &mut Findings) {
    for run in index.runs_of(done) {
        // While an assignment changes, a consumer may lose its place.
        if index.ops[done.op].rebalanced().any(|key| key == index.keys[run.key]) {
            continue;
        }
        for pair in index.reads_of(run).windows(2) {
            let step = Step { index, orders, key: run.key, from: Some(pair[0].value), to: Some(pair[1].value), ops: [done.op, done.op] };
            step.judge(Some(Kind::IntPollSkip), Kind::IntNonmonotonicPoll, findings);
        }
    }
}

fn inside_sends(index: &Index<'_>, orders: &Orders, done: &Done, findings: &mut Findings) {
    if done.sends.len() < 2 || !done.ended {
        return;
    }
    for (key, run) in index.send_runs(done) {
        for pair in run.windows(2) {
            let step = Step { index, orders, key, from: Some(pair[0].value), to: Some(pair[1].value), ops: [done.op, done.op] };
            step.judge(Some(Kind::IntSendSkip), Kind::IntNonmonotonicSend, findings);
        }
    }
}

fn across(index: &Index<'_>, orders: &Orders, findings: &mut Findings) {
    let mut polled: BTreeMap<Process, Last> = BTreeMap::new();
    let mut sent: BTreeMap<Process, Last> = BTreeMap::new();
    for (at, event) in index.events.iter().enumerate() {
        match event {
            Event::End(id) => {
                let done = &index.done[*id];
                if !done.runs.is_empty() {
                    polls(index, orders, done, polled.entry(done.process).or_default(), findings);
                }
                if !done.sends.is_empty() && done.stage != Stage::Fail {
                    sends(index, orders, done, sent.entry(done.process).or_default(), findings);
                }
            }
            Event::Assigned => {
                let op = &index.ops[at];
                for last in [polled.get_mut(&op.process), sent.get_mut(&op.process)].into_iter().flatten() {
                    keep_only(index, last, &op.action);
                }
            }
            Event::Begin(_) | Event::Other => {}
        }
    }
}

fn polls(index: &Index<'_>, orders: &Orders, done: &Done, last: &mut Last, findings: &mut Findings) {
    for run in index.runs_of(done) {
        let reads = index.reads_of(run);
        if let Some((op, from)) = last.get(&run.key) {
            let step = Step { index, orders, key: run.key, from: *from, to: reads.first().map(|read| read.value), ops: [*op, done.op] };
            step.judge(Some(Kind::PollSkip), Kind::NonmonotonicPoll, findings);
        }
        // An aborted or unknown poll leaves the consumer where it was.
        if done.stage == Stage::Ok {
            last.insert(run.key, (done.op, reads.last().map(|read| read.value)));
        }
    }
}

fn sends(index: &Index<'_>, orders: &Orders, done: &Done, last: &mut Last, findings: &mut Findings) {
    for (key, run) in index.send_runs(done) {
        if let Some((op, from)) = last.get(&key) {
            let step = Step { index, orders, key, from: *from, to: Some(run[0].value), ops: [*op, done.op] };
            step.judge(None, Kind::NonmonotonicSend, findings);
        }
        last.insert(key, (done.op, run.last().map(|sent| sent.value)));
    }
}

/// What a process still remembers after an assign or subscribe: the keys it keeps.
fn keep_only(index: &Index<'_>, last: &mut Last, action: &Action) {
    let kept: &[Key] = match action {
        Action::Assign { keys, .. } | Action::Subscribe { keys } => keys,
        Action::Micro { .. } | Action::Crash | Action::DebugTopicPartitions { .. } | Action::Other { .. } => return,
    };
    last.retain(|key, _| kept.contains(&index.keys[*key]));
}

/// One step of a reader or writer through the version order of a key.
struct Step<'i, 'h> {
    index: &'i Index<'h>,
    orders: &'i Orders,
    key: KeyId,
    from: Option<ValueId>,
    to: Option<ValueId>,
    ops: [usize; 2],
}

impl Step<'_, '_> {
    fn judge(&self, skip: Option<Kind>, back: Kind, findings: &mut Findings) {
        let delta = self.orders.delta(self.from, self.to);
        if delta < 1 {
            findings.add(back, || self.case(format!("went back by {} in the log", -delta)));
        } else if delta > 1
            && let Some(skip) = skip
        {
            findings
                .add(skip, || self.case(format!("went on past {} records, the first of them value {}", delta - 1, self.first_skipped())));
        }
    }

    fn first_skipped(&self) -> i64 {
        let from = self.from.and_then(|from| self.orders.index_of(from)).expect("a skip starts at a known index");
        self.index.values[self.orders.chosen(self.key, from + 1)].value.0
    }

    fn case(&self, what: String) -> Case {
        let [before, at] = self.ops.map(|op| self.index.ops[op].index);
        Case {
            key: Some(self.index.keys[self.key]),
            values: [self.from, self.to].into_iter().flatten().map(|value| self.index.values[value].value).collect(),
            offsets: Vec::new(),
            ops: if before == at { vec![at] } else { vec![before, at] },
            what,
        }
    }
}
