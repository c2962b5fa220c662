//! The version order of each key: what stands at which offset, by all that polls delivered and committed sends told.
//! Gaps between offsets mean nothing (markers stand there), so an *index* counts the offsets known, densely from 0.

use std::ops::Range;

use super::index::{Index, KeyId, ValueId};
use crate::history::Offset;

pub(super) struct Orders {
    slots: Vec<Slot>,
    /// The values of all slots, one slot after the other.
    held: Vec<ValueId>,
    by_key: Vec<Range<usize>>,
    placed: Vec<Option<Placed>>,
}

/// One offset known to hold a record.
pub(super) struct Slot {
    pub(super) offset: Offset,
    held: Range<usize>,
}

/// Where a value stands, as indexes into its key's slots.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub(super) first: usize,
    pub(super) last: usize,
    /// At how many offsets it stands.
    pub(super) times: usize,
    /// The last index at which it is the slot's chosen value. Where an offset holds several values, one is chosen (here the
    /// first ever seen), and the others have no place in the order.
    pub(super) chosen: Option<usize>,
}

impl Orders {
    pub(super) fn new(index: &Index<'_>) -> Self {
        let mut entries = entries(index);
        entries.sort_unstable();
        entries.dedup();
        let mut orders =
            Self { slots: Vec::new(), held: Vec::new(), by_key: vec![0..0; index.keys.len()], placed: vec![None; index.values.len()] };
        for of_key in entries.chunk_by(|a, b| a.0 == b.0) {
            orders.add_key(of_key);
        }
        orders
    }

    /// The offsets of a key known to hold a record, in order.
    pub(super) fn slots(&self, key: KeyId) -> &[Slot] {
        &self.slots[self.by_key[key].clone()]
    }

    /// The values seen at one offset: more than one only where the log contradicts itself.
    pub(super) fn held(&self, slot: &Slot) -> &[ValueId] {
        &self.held[slot.held.clone()]
    }

    /// Where a value stands, if that is known.
    pub(super) fn placed(&self, value: ValueId) -> Option<Placed> {
        self.placed[value]
    }

    /// The index of a value in its key's version order.
    pub(super) fn index_of(&self, value: ValueId) -> Option<usize> {
        self.placed[value].and_then(|placed| placed.chosen)
    }

    /// The value that stands for the slot in the version order.
    pub(super) fn chosen(&self, key: KeyId, index: usize) -> ValueId {
        self.held(&self.slots(key)[index])[0]
    }

    /// How far `to` stands behind `from` in the version order; 1, as if it were next, where one of them is unknown.
    pub(super) fn delta(&self, from: Option<ValueId>, to: Option<ValueId>) -> i64 {
        let place = |value: Option<ValueId>| value.and_then(|value| self.index_of(value));
        match (place(from), place(to)) {
            (Some(from), Some(to)) => i64::try_from(to).expect("fits") - i64::try_from(from).expect("fits"),
            (None, _) | (_, None) => 1,
        }
    }

    fn add_key(&mut self, entries: &[(KeyId, Offset, ValueId)]) {
        let first_slot = self.slots.len();
        for (at, of_offset) in entries.chunk_by(|a, b| a.1 == b.1).enumerate() {
            let first = self.held.len();
            for (nth, (_, _, value)) in of_offset.iter().enumerate() {
                self.held.push(*value);
                let placed = self.placed[*value].get_or_insert(Placed { first: at, last: at, times: 0, chosen: None });
                placed.last = at;
                placed.times += 1;
                if nth == 0 {
                    placed.chosen = Some(at);
                }
            }
            self.slots.push(Slot { offset: of_offset[0].1, held: first..self.held.len() });
        }
        self.by_key[entries[0].0] = first_slot..self.slots.len();
    }
}

/// Polls are believed whatever came of their operation, for a consumer must never be shown what is unsafe; sends only where
/// they certainly took effect.
fn entries(index: &Index<'_>) -> Vec<(KeyId, Offset, ValueId)> {
    // A record read many times stands at one offset, as a rule: only its first mention, and others that differ, are kept.
    let mut first: Vec<Option<Offset>> = vec![None; index.values.len()];
    let mut entries = Vec::with_capacity(index.values.len());
    let mut mention = |value: ValueId, offset: Offset| {
        if *first[value].get_or_insert(offset) != offset {
            entries.push((index.key_of(value), offset, value));
        }
    };
    for done in &index.done {
        for read in index.runs_of(done).iter().flat_map(|run| index.reads_of(run)) {
            read.offset.into_iter().for_each(|offset| mention(read.value, offset));
        }
        if index.must_have_committed(done) {
            index.sends_of(done).iter().for_each(|sent| sent.offset.into_iter().for_each(|offset| mention(sent.value, offset)));
        }
    }
    entries.extend(first.iter().enumerate().filter_map(|(value, offset)| Some((index.key_of(value), (*offset)?, value))));
    entries
}
