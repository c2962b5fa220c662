//! Linearizability of each partition: whether its sends and polls can be put in one order, each at an instant within its
//! operation, so that the log explains them all.
//!
//! ```text
//!   log of a key       0    1    2    3         offsets give the order of the appends, so nothing is searched:
//!   send a   |--------x|    :    :    :         an append's instant lies after its begin, and before its good end and
//!   send b       |----:----x-----:----|         before the end of every poll that shows it; the order of instants is
//!   poll            |-:----:-|   :    :         that of offsets. That can be met exactly if no append begins after a
//!   send c                    |--x--| :         later offset was already known to exist.
//! ```
//!
//! A poll may be stale, since Kafka's leaders hold no lease and followers serve reads, but it delivers exactly the log's slice
//! from its position on. Freshness is demanded where [`Op::ends`](crate::history::Op::ends) claims it.

use std::collections::BTreeMap;

use super::index::{Done, DoneId, Event, Index, KeyId, Run, Sent, ValueId};
use super::orders::Orders;
use super::report::{Case, Findings};
use super::{Kind, Options};
use crate::history::{Action, Key, Offset, Process, Stage};

pub(super) fn check(index: &Index<'_>, orders: &Orders, options: &Options, findings: &mut Findings) {
    places(index, orders, findings);
    let mut sweep = Sweep {
        index,
        orders,
        rebalances_logged: options.rebalances_logged,
        known: vec![None; index.keys.len()],
        delivered: vec![false; index.values.len()],
        floors: BTreeMap::new(),
        readers: BTreeMap::new(),
    };
    for (at, event) in index.events.iter().enumerate() {
        match event {
            Event::Begin(id) => sweep.begin(*id, findings),
            Event::End(id) => sweep.end(*id, findings),
            Event::Assigned => sweep.assigned(at),
            Event::Other => {}
        }
    }
}

/// Each offset from 0 on holds one value, and each value stands at one offset.
fn places(index: &Index<'_>, orders: &Orders, findings: &mut Findings) {
    for (key, name) in index.keys.iter().enumerate() {
        for (at, slot) in orders.slots(key).iter().enumerate() {
            let held = orders.held(slot);
            let elsewhere = |value: &ValueId| orders.placed(*value).is_some_and(|placed| placed.first != at);
            if slot.offset.0 >= 0 && held.len() < 2 && !held.iter().any(elsewhere) {
                continue;
            }
            findings.add(Kind::LinearOffset, || Case {
                key: Some(*name),
                values: held.iter().map(|value| index.values[*value].value).collect(),
                offsets: vec![slot.offset],
                ops: held.iter().flat_map(|value| index.writer_op(*value)).collect(),
                what: format!("offset {} is none of a log, or does not hold one value that stands nowhere else", slot.offset.0),
            });
        }
    }
}

/// Where a log that holds nothing ends is behind this.
const BEFORE_ALL: Offset = Offset(-1);

/// The highest offset known to exist, and the entry that showed it.
type Known = Option<(Offset, usize)>;

/// One walk through the history in real time.
struct Sweep<'i, 'h> {
    index: &'i Index<'h>,
    orders: &'i Orders,
    rebalances_logged: bool,
    known: Vec<Known>,
    /// Of each value, whether a poll has delivered it.
    delivered: Vec<bool>,
    /// For open operations that tell ends: what was known of those keys when they began.
    floors: BTreeMap<DoneId, Vec<(KeyId, Known)>>,
    readers: BTreeMap<Process, Reader>,
}

/// One consumer.
#[derive(Default)]
struct Reader {
    subscribed: bool,
    /// The offset from which it reads on, where that is known.
    positions: BTreeMap<KeyId, Offset>,
}

impl Sweep<'_, '_> {
    fn begin(&mut self, id: DoneId, findings: &mut Findings) {
        let done = &self.index.done[id];
        for sent in self.index.sends_of(done) {
            self.append(done, sent, findings);
        }
        let ends = &self.index.ops[done.op].ends;
        if !ends.is_empty() {
            let keys = ends.keys().map(|key| self.index.key_id(*key).expect("the index knows each key that an end is told of"));
            self.floors.insert(id, keys.map(|key| (key, self.known[key])).collect());
        }
    }

    /// A send that begins now lands behind all that is known now.
    fn append(&self, done: &Done, sent: &Sent, findings: &mut Findings) {
        let value = sent.value;
        let key = self.index.key_of(value);
        let (Some(offset), Some((known, shown))) = (self.landed(done, sent), self.known[key]) else { return };
        // Of a record delivered before its send, that is said already.
        if offset > known || done.stage == Stage::Fail || self.delivered[value] {
            return;
        }
        findings.add(Kind::LinearAppend, || Case {
            key: Some(self.index.keys[key]),
            values: vec![self.index.values[value].value],
            offsets: vec![offset, known],
            ops: vec![self.index.ops[shown].index, self.index.op_index(done)],
            what: format!("a send that began when offset {} existed landed at offset {}", known.0, offset.0),
        });
    }

    /// Where a send landed: where it was told, or else where polls show it.
    fn landed(&self, done: &Done, sent: &Sent) -> Option<Offset> {
        let told = sent.offset.filter(|_| done.stage == Stage::Ok);
        let key = self.index.key_of(sent.value);
        told.or_else(|| self.orders.placed(sent.value).map(|placed| self.orders.slots(key)[placed.first].offset))
    }

    fn end(&mut self, id: DoneId, findings: &mut Findings) {
        let done = &self.index.done[id];
        self.fresh(id, findings);
        for run in self.index.runs_of(done) {
            self.not_from_the_future(done, run, findings);
            self.slice(done, run, findings);
            let highest = self.index.reads_of(run).iter().filter_map(|read| read.offset).max();
            self.learn(run.key, highest, done.op);
        }
        if done.stage == Stage::Ok {
            for sent in self.index.sends_of(done) {
                self.learn(self.index.key_of(sent.value), self.landed(done, sent), done.op);
            }
        }
        self.rebalanced(done);
    }

    fn learn(&mut self, key: KeyId, offset: Option<Offset>, op: usize) {
        let Some(offset) = offset else { return };
        if self.known[key].is_none_or(|(known, _)| known < offset) {
            self.known[key] = Some((offset, op));
        }
    }

    /// The end told by the leader of the newest epoch lies behind all that was known when it was asked.
    fn fresh(&mut self, id: DoneId, findings: &mut Findings) {
        let done = &self.index.done[id];
        for (key, floor) in self.floors.remove(&id).unwrap_or_default() {
            let end = self.index.ops[done.op].ends[&self.index.keys[key]];
            let (known, shown) = floor.unwrap_or((BEFORE_ALL, done.invoked));
            if end <= known {
                findings.add(Kind::LinearStale, || Case {
                    key: Some(self.index.keys[key]),
                    values: Vec::new(),
                    offsets: vec![known, end],
                    ops: vec![self.index.ops[shown].index, self.index.op_index(done)],
                    what: format!("the newest leader was asked when offset {} existed, and told the end {}", known.0, end.0),
                });
            }
            self.learn(key, end.0.checked_sub(1).filter(|last| *last >= 0).map(Offset), done.op);
        }
    }

    fn not_from_the_future(&mut self, done: &Done, run: &Run, findings: &mut Findings) {
        for read in self.index.reads_of(run) {
            self.delivered[read.value] = true;
            let Some(writer) = self.index.values[read.value].writer.map(|writer| &self.index.done[writer]) else { continue };
            if writer.invoked < done.op {
                continue;
            }
            findings.add(Kind::LinearFuture, || Case {
                key: Some(self.index.keys[run.key]),
                values: vec![self.index.values[read.value].value],
                offsets: read.offset.into_iter().collect(),
                ops: vec![self.index.op_index(done), self.index.ops[writer.invoked].index],
                what: format!("value {} was delivered before its send began", self.index.values[read.value].value.0),
            });
        }
    }

    /// A poll delivers the records from its position on, every one, in order.
    fn slice(&mut self, done: &Done, run: &Run, findings: &mut Findings) {
        let rebalanced = self.index.ops[done.op].rebalanced().any(|key| key == self.index.keys[run.key]);
        let reader = self.readers.entry(done.process).or_default();
        let follows = !reader.subscribed || self.rebalances_logged;
        let mut position = reader.positions.get(&run.key).copied().filter(|_| follows && !rebalanced);
        for read in self.index.reads_of(run) {
            let Some(offset) = read.offset else {
                position = None;
                continue;
            };
            if let Some(position) = position.filter(|_| !rebalanced) {
                step(self.index, self.orders, done, run.key, position, offset, findings);
            }
            position = Some(Offset(offset.0.saturating_add(1)));
        }
        // An aborted poll is read again from where it began.
        if done.stage == Stage::Ok
            && let Some(position) = position
        {
            reader.positions.insert(run.key, position);
        }
    }

    fn rebalanced(&mut self, done: &Done) {
        let Some(reader) = self.readers.get_mut(&done.process) else { return };
        for key in self.index.ops[done.op].rebalanced() {
            if let Some(key) = self.index.key_id(key) {
                reader.positions.remove(&key);
            }
        }
    }

    fn assigned(&mut self, at: usize) {
        let op = &self.index.ops[at];
        let reader = self.readers.entry(op.process).or_default();
        match &op.action {
            Action::Assign { keys, seek_to_beginning } if op.stage == Stage::Ok => reader.assign(self.index, keys, *seek_to_beginning),
            Action::Subscribe { .. } => *reader = Reader { subscribed: true, positions: BTreeMap::new() },
            Action::Assign { .. } => *reader = Reader::default(),
            Action::Micro { .. } | Action::Crash | Action::DebugTopicPartitions { .. } | Action::Other { .. } => {}
        }
    }
}

impl Reader {
    /// A consumer that assigns itself keys keeps its place in those it had; others begin where its group once committed, or
    /// where its reset policy says, which nobody told us.
    fn assign(&mut self, index: &Index<'_>, keys: &[Key], seek_to_beginning: bool) {
        let ids = keys.iter().filter_map(|key| index.key_id(*key));
        let held = std::mem::take(&mut self.positions);
        self.positions = match seek_to_beginning {
            true => ids.map(|key| (key, Offset(0))).collect(),
            false if self.subscribed => BTreeMap::new(),
            false => ids.filter_map(|key| Some((key, *held.get(&key)?))).collect(),
        };
        self.subscribed = false;
    }
}

/// The next record from `position` on is the one at `offset`.
fn step(index: &Index<'_>, orders: &Orders, done: &Done, key: KeyId, position: Offset, offset: Offset, findings: &mut Findings) {
    let case = |offsets: Vec<Offset>, what: String| Case {
        key: Some(index.keys[key]),
        values: Vec::new(),
        offsets,
        ops: vec![index.op_index(done)],
        what,
    };
    if offset < position {
        findings.add(Kind::LinearRegress, || {
            case(vec![position, offset], format!("the position was {}, and offset {} was delivered", position.0, offset.0))
        });
        return;
    }
    if offset == position {
        return;
    }
    let slots = orders.slots(key);
    let next = &slots[slots.partition_point(|slot| slot.offset < position)];
    if next.offset < offset {
        let left_out = next.offset;
        findings.add(Kind::LinearGap, || {
            case(vec![left_out, offset], format!("the record at offset {} was left out before that at {}", left_out.0, offset.0))
        });
    }
}
