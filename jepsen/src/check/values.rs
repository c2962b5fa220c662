//! Anomalies of single values: lost, unseen, aborted, phantom, precommitted, at two places, or two at one place.

use super::Kind;
use super::index::{Done, Index, KeyId, ValueId};
use super::orders::{Orders, Placed};
use super::report::{Case, Findings};
use crate::history::{Offset, Stage};

pub(super) fn check(index: &Index<'_>, orders: &Orders, findings: &mut Findings) {
    duplicates(index, orders, findings);
    inconsistent_offsets(index, orders, findings);
    lost_writes(index, orders, findings);
    unseen(index, findings);
    reads(index, findings);
    precommitted(index, findings);
}

fn duplicates(index: &Index<'_>, orders: &Orders, findings: &mut Findings) {
    for (value, info) in index.values.iter().enumerate() {
        let Some(placed) = orders.placed(value).filter(|placed| placed.times > 1) else { continue };
        findings.add(Kind::Duplicate, || Case {
            key: Some(index.keys[info.key]),
            values: vec![info.value],
            offsets: offsets_of(orders, info.key, value, placed),
            ops: index.writer_op(value),
            what: format!("value {} stands at {} offsets", info.value.0, placed.times),
        });
    }
}

fn inconsistent_offsets(index: &Index<'_>, orders: &Orders, findings: &mut Findings) {
    for (key, name) in index.keys.iter().enumerate() {
        for slot in orders.slots(key) {
            let held = orders.held(slot);
            if held.len() < 2 {
                continue;
            }
            findings.add(Kind::InconsistentOffsets, || Case {
                key: Some(*name),
                values: held.iter().map(|value| index.values[*value].value).collect(),
                offsets: vec![slot.offset],
                ops: held.iter().flat_map(|value| index.writer_op(*value)).collect(),
                what: format!("offset {} holds {} values", slot.offset.0, held.len()),
            });
        }
    }
}

/// A value is lost that certainly stands in the log, and last no later than the highest index anybody read, and was never read.
fn lost_writes(index: &Index<'_>, orders: &Orders, findings: &mut Findings) {
    // For each key, the highest index that polls reached for certain: a value at several places counts by its first.
    let mut reached: Vec<Option<(usize, ValueId)>> = vec![None; index.keys.len()];
    for (value, info) in index.values.iter().enumerate().filter(|(_, info)| info.read_ok) {
        let Some(placed) = orders.placed(value) else { continue };
        let reached = &mut reached[info.key];
        if reached.is_none_or(|(highest, _)| highest < placed.first) {
            *reached = Some((placed.first, value));
        }
    }
    for (value, info) in index.values.iter().enumerate().filter(|(_, info)| !info.read_ok) {
        let Some((highest, read)) = reached[info.key] else { continue };
        let Some(placed) = orders.placed(value).filter(|placed| placed.last <= highest) else { continue };
        let committed = info.writer.is_some_and(|writer| index.must_have_committed(&index.done[writer]));
        if !committed {
            continue;
        }
        findings.add(Kind::LostWrite, || Case {
            key: Some(index.keys[info.key]),
            values: vec![info.value],
            offsets: offsets_of(orders, info.key, value, placed),
            ops: index.writer_op(value).into_iter().chain(index.first_reader_op(read)).collect(),
            what: format!("value {} was committed and never read, though value {} behind it was", info.value.0, index.values[read].value.0),
        });
    }
}

fn unseen(index: &Index<'_>, findings: &mut Findings) {
    for done in index.done.iter().filter(|done| done.stage == Stage::Ok) {
        for sent in index.sends_of(done) {
            let info = &index.values[sent.value];
            if info.read_ok {
                continue;
            }
            findings.add(Kind::Unseen, || Case {
                key: Some(index.keys[info.key]),
                values: vec![info.value],
                offsets: sent.offset.into_iter().collect(),
                ops: vec![index.op_index(done)],
                what: format!("value {} was acknowledged, and no poll had delivered it by the end", info.value.0),
            });
        }
    }
}

/// What polls must not deliver: a value whose send failed (to one that ended well), or which nobody sent (to any).
fn reads(index: &Index<'_>, findings: &mut Findings) {
    for done in &index.done {
        for read in index.runs_of(done).iter().flat_map(|run| index.reads_of(run)) {
            let info = &index.values[read.value];
            let Some(writer) = info.writer else {
                findings.add(Kind::Phantom, || read_case(index, done, read.value, read.offset, "was read, and nobody sent it"));
                continue;
            };
            if done.stage == Stage::Ok && index.done[writer].stage == Stage::Fail {
                findings.add(Kind::G1a, || read_case(index, done, read.value, read.offset, "was read although its send failed"));
            }
        }
    }
}

fn precommitted(index: &Index<'_>, findings: &mut Findings) {
    for (id, done) in index.done.iter().enumerate() {
        if done.sends.is_empty() {
            continue;
        }
        // Values are unique, so who wrote what it read is told by the value alone.
        let reads = index.runs_of(done).iter().flat_map(|run| index.reads_of(run));
        if let Some(own) = reads.filter(|read| index.values[read.value].writer == Some(id)).min_by_key(|read| index.key_of(read.value)) {
            findings
                .add(Kind::PrecommittedRead, || read_case(index, done, own.value, own.offset, "was read by the transaction that sent it"));
        }
    }
}

fn read_case(index: &Index<'_>, reader: &Done, value: ValueId, offset: Option<Offset>, what: &str) -> Case {
    let info = &index.values[value];
    let mut ops = index.writer_op(value);
    if !ops.contains(&index.op_index(reader)) {
        ops.push(index.op_index(reader));
    }
    Case {
        key: Some(index.keys[info.key]),
        values: vec![info.value],
        offsets: offset.into_iter().collect(),
        ops,
        what: format!("value {} {what}", info.value.0),
    }
}

fn offsets_of(orders: &Orders, key: KeyId, value: ValueId, placed: Placed) -> Vec<Offset> {
    let slots = orders.slots(key)[placed.first..=placed.last].iter();
    slots.filter(|slot| orders.held(slot).contains(&value)).map(|slot| slot.offset).collect()
}
