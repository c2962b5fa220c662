//! A history laid out for the checks: operations paired, keys and values numbered, sends and reads in flat arrays.
//! Decides nothing about consistency.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use crate::history::{Action, History, Key, Micro, Mop, Offset, Op, Process, Record, Stage, Value};

/// A key by number, in the order of first appearance.
pub(super) type KeyId = usize;
/// A value of one key by number, in the order of first appearance.
pub(super) type ValueId = usize;
/// A send, poll or transaction by number, in the order of ends; those never ended come last.
pub(super) type DoneId = usize;

pub(super) struct Index<'a> {
    pub(super) ops: &'a [Op],
    pub(super) keys: Vec<Key>,
    key_ids: HashMap<Key, KeyId>,
    pub(super) values: Vec<ValueInfo>,
    pub(super) done: Vec<Done>,
    pub(super) sends: Vec<Sent>,
    pub(super) runs: Vec<Run>,
    pub(super) reads: Vec<Read>,
    pub(super) events: Vec<Event>,
}

pub(super) struct ValueInfo {
    pub(super) key: KeyId,
    pub(super) value: Value,
    /// Who sent it, whatever came of it.
    pub(super) writer: Option<DoneId>,
    /// A poll that ended well delivered it.
    pub(super) read_ok: bool,
}

/// A send, poll or transaction with its end. One that never ended counts as unknown.
pub(super) struct Done {
    /// The entry that tells its outcome.
    pub(super) op: usize,
    pub(super) invoked: usize,
    pub(super) ended: bool,
    pub(super) stage: Stage,
    pub(super) process: Process,
    /// Into `sends`; of one key together, in order.
    pub(super) sends: Range<usize>,
    /// Into `runs`; at most one of each key.
    pub(super) runs: Range<usize>,
}

pub(super) struct Sent {
    pub(super) value: ValueId,
    pub(super) offset: Option<Offset>,
}

/// All that one operation read of one key, in order.
pub(super) struct Run {
    pub(super) key: KeyId,
    pub(super) reads: Range<usize>,
}

pub(super) struct Read {
    pub(super) value: ValueId,
    pub(super) offset: Option<Offset>,
}

/// What happens at one entry of the history.
#[derive(Clone, Copy)]
pub(super) enum Event {
    Begin(DoneId),
    End(DoneId),
    /// An assign or subscribe took effect, or may have.
    Assigned,
    /// Nothing that a check looks at.
    Other,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        Builder::default().build(history.ops())
    }

    pub(super) fn key_of(&self, value: ValueId) -> KeyId {
        self.values[value].key
    }

    pub(super) fn key_id(&self, key: Key) -> Option<KeyId> {
        self.key_ids.get(&key).copied()
    }

    pub(super) fn op_index(&self, done: &Done) -> u64 {
        self.ops[done.op].index
    }

    /// The entry that tells what came of the value's send: none, if nobody sent it.
    pub(super) fn writer_op(&self, value: ValueId) -> Vec<u64> {
        self.values[value].writer.map(|writer| self.op_index(&self.done[writer])).into_iter().collect()
    }

    /// The first operation that ended well and read the value. Looks through the whole history: for evidence only.
    pub(super) fn first_reader_op(&self, value: ValueId) -> Option<u64> {
        let mut readers = self.done.iter().filter(|done| done.stage == Stage::Ok);
        let reads = |done: &&Done| self.runs_of(done).iter().any(|run| self.reads_of(run).iter().any(|read| read.value == value));
        readers.find(reads).map(|done| self.op_index(done))
    }

    pub(super) fn reads_of(&self, run: &Run) -> &[Read] {
        &self.reads[run.reads.clone()]
    }

    pub(super) fn runs_of(&self, done: &Done) -> &[Run] {
        &self.runs[done.runs.clone()]
    }

    pub(super) fn sends_of(&self, done: &Done) -> &[Sent] {
        &self.sends[done.sends.clone()]
    }

    /// The sends of an operation, key by key.
    pub(super) fn send_runs<'i>(&'i self, done: &Done) -> impl Iterator<Item = (KeyId, &'i [Sent])> + use<'i, 'a> {
        let sends = &self.sends[done.sends.clone()];
        sends.chunk_by(|a, b| self.key_of(a.value) == self.key_of(b.value)).map(|run| (self.key_of(run[0].value), run))
    }

    /// Whether its sends certainly stand in the log: it ended well, or one of its values was read.
    pub(super) fn must_have_committed(&self, done: &Done) -> bool {
        match done.stage {
            Stage::Ok => true,
            Stage::Info | Stage::Invoke => self.sends_of(done).iter().any(|sent| self.values[sent.value].read_ok),
            Stage::Fail => false,
        }
    }
}

/// A fast hash of whole numbers. Its order reaches nothing: numbers are given out in the order of first appearance.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93_u128;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word.cast_unsigned());
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
}

#[derive(Default)]
struct Builder {
    key_ids: HashMap<Key, KeyId>,
    /// Histories are numbered thickly, and looked up once for each record read: this is the hottest place of a check.
    value_ids: HashMap<(KeyId, Value), ValueId, BuildHasherDefault<Mixer>>,
    keys: Vec<Key>,
    values: Vec<ValueInfo>,
    done: Vec<Done>,
    sends: Vec<Sent>,
    runs: Vec<Run>,
    reads: Vec<Read>,
}

impl Builder {
    fn build(mut self, ops: &[Op]) -> Index<'_> {
        let mut events = vec![Event::Other; ops.len()];
        let mut open: BTreeMap<Process, usize> = BTreeMap::new();
        for (at, op) in ops.iter().enumerate() {
            if op.process == Process::Nemesis {
                continue;
            }
            match op.stage {
                Stage::Invoke => {
                    open.insert(op.process, at);
                }
                Stage::Ok | Stage::Fail | Stage::Info => {
                    let invoked = open.remove(&op.process).expect("a history's rules: what ends has begun");
                    self.end(ops, invoked, at, &mut events);
                }
            }
        }
        for invoked in open.into_values() {
            self.end(ops, invoked, invoked, &mut events);
        }
        let Self { key_ids, value_ids: _, keys, values, done, sends, runs, reads } = self;
        Index { ops, keys, key_ids, values, done, sends, runs, reads, events }
    }

    /// `at` is `invoked` where the operation never ended.
    fn end(&mut self, ops: &[Op], invoked: usize, at: usize, events: &mut [Event]) {
        let op = &ops[at];
        match &op.action {
            Action::Micro { f, mops } => {
                let id = self.done.len();
                events[invoked] = Event::Begin(id);
                if at != invoked {
                    events[at] = Event::End(id);
                }
                self.add(op, *f, mops, invoked, at);
            }
            Action::Assign { .. } | Action::Subscribe { .. } if matches!(op.stage, Stage::Ok | Stage::Info) => events[at] = Event::Assigned,
            Action::Assign { .. }
            | Action::Subscribe { .. }
            | Action::Crash
            | Action::DebugTopicPartitions { .. }
            | Action::Other { .. } => {}
        }
    }

    fn add(&mut self, op: &Op, f: Micro, mops: &[Mop], invoked: usize, at: usize) {
        let id = self.done.len();
        let (sends, runs) = (self.sends.len(), self.runs.len());
        // As in Jepsen: a "send" polls nothing, and a "poll" sends nothing, whatever it holds.
        if f != Micro::Poll {
            self.add_sends(mops, id);
        }
        if f != Micro::Send {
            self.add_reads(mops, op.stage == Stage::Ok);
        }
        for key in op.ends.keys() {
            self.key(*key);
        }
        self.done.push(Done {
            op: at,
            invoked,
            ended: at != invoked,
            stage: op.stage,
            process: op.process,
            sends: sends..self.sends.len(),
            runs: runs..self.runs.len(),
        });
    }

    fn add_sends(&mut self, mops: &[Mop], writer: DoneId) {
        let first = self.sends.len();
        for mop in mops {
            let Mop::Send { key, offset, value } = mop else { continue };
            let key = self.key(*key);
            let value = self.value(key, *value);
            self.values[value].writer = Some(writer);
            self.sends.push(Sent { value, offset: *offset });
        }
        let values = &self.values;
        self.sends[first..].sort_by_key(|sent| values[sent.value].key);
    }

    fn add_reads(&mut self, mops: &[Mop], ok: bool) {
        let mut polled = mops.iter().filter_map(|mop| match mop {
            Mop::Poll(seen) => seen.as_ref(),
            Mop::Send { .. } => None,
        });
        let Some(first) = polled.next() else { return };
        let Some(second) = polled.next() else {
            for (key, records) in first {
                self.add_run(*key, records, ok);
            }
            return;
        };
        let mut joined = first.clone();
        for seen in std::iter::once(second).chain(polled) {
            for (key, records) in seen {
                joined.entry(*key).or_default().extend(records);
            }
        }
        for (key, records) in &joined {
            self.add_run(*key, records, ok);
        }
    }

    fn add_run(&mut self, key: Key, records: &[Record], ok: bool) {
        let key = self.key(key);
        let first = self.reads.len();
        for record in records {
            let value = self.value(key, record.value);
            self.values[value].read_ok |= ok;
            self.reads.push(Read { value, offset: record.offset });
        }
        self.runs.push(Run { key, reads: first..self.reads.len() });
    }

    fn key(&mut self, key: Key) -> KeyId {
        let next = self.keys.len();
        let id = *self.key_ids.entry(key).or_insert(next);
        if id == next {
            self.keys.push(key);
        }
        id
    }

    fn value(&mut self, key: KeyId, value: Value) -> ValueId {
        let next = self.values.len();
        let id = *self.value_ids.entry((key, value)).or_insert(next);
        if id == next {
            self.values.push(ValueInfo { key, value, writer: None, read_ok: false });
        }
        id
    }
}
