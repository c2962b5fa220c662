//! What a run came to, on either tier, and the verdict over what its clients saw.

use crate::cluster::mesh::Counts;
use crate::report::Witness;
use crate::stage::SECOND;
use crate::trace::Trace;
use crate::workload::Shared;
use crate::workload::gone::Gone;
use klamm_core::broker::io::Level;
use klamm_jepsen::check::{self, Report, Verdict as Judgement};
use klamm_jepsen::history::{Action, History, Mop, Op, Process, Stage};
use std::collections::{BTreeMap, BTreeSet};

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What no run may show; empty if it is clean.
    pub violations: Vec<String>,
    /// What shows the first of them, where only the whole history of the clients does.
    pub witness: Option<Witness>,
    /// The trace's hash.
    pub trace: u64,
    /// How many events the trace holds.
    pub events: u64,
    /// Virtual nanoseconds.
    pub virtual_ns: u64,
    /// How long a healed cluster took to lead what a dead broker had led, in virtual nanoseconds. `None` where nothing was to be taken over.
    pub failover_ns: Option<u64>,
    /// How much was done.
    pub counts: Counts,
    /// Sends acknowledged under acks=all.
    pub acknowledged: u64,
    /// By fault: how often it was planned, and how often it bit.
    pub faults: BTreeMap<&'static str, (u64, u64)>,
    /// By probe: how often the run passed it. Empty without the feature `sim`.
    pub probes: BTreeMap<&'static str, u64>,
    /// What clients did and saw.
    pub history: History,
    /// What the broker said to its operator.
    pub notes: Vec<(u64, u32, Level, String)>,
}

/// What is left when the curtain falls.
pub(crate) struct Ending {
    /// The seed.
    pub(crate) seed: u64,
    /// What the runner found.
    pub(crate) violations: Vec<String>,
    /// What the clients found, and their history.
    pub(crate) book: Shared,
    /// The same of clients whose sends may be lost or doubled.
    pub(crate) side: Shared,
    /// What was acknowledged without acks=all may be lost: with its leader where there are others, or with a machine's power before it was synced.
    pub(crate) may_lose_unsynced: bool,
    /// Nobody read everything in the end.
    pub(crate) is_unread: bool,
    pub(crate) trace: Trace,
    pub(crate) virtual_ns: u64,
    pub(crate) failover_ns: Option<u64>,
    pub(crate) counts: Counts,
    pub(crate) faults: BTreeMap<&'static str, (u64, u64)>,
    pub(crate) notes: Vec<(u64, u32, Level, String)>,
}

impl Outcome {
    /// Judges what the clients saw, unless worse was found already.
    pub(crate) fn of(ending: Ending) -> Self {
        let Ending {
            seed,
            mut violations,
            book,
            side,
            may_lose_unsynced,
            is_unread,
            trace,
            virtual_ns,
            failover_ns,
            counts,
            faults,
            notes,
        } = ending;
        let history = book.recorder.finish();
        violations.extend(book.violations);
        violations.extend(side.violations);
        let mut witness = None;
        if violations.is_empty() {
            let mut allow: BTreeSet<check::Kind> = is_unread.then_some(check::Kind::Unseen).into_iter().collect();
            // Nor does anybody say then how much of a log is deleted.
            allow.extend(Some(check::Kind::LostWrite).filter(|_| is_unread && book.gone.may_delete()));
            let mut found = judge(&without_gone(&history, &book.gone), &book.group_processes, allow);
            found.extend(judge_reads(&side.recorder.finish(), may_lose_unsynced));
            witness = found.first().map(|(_, witness)| witness.clone());
            violations.extend(found.into_iter().map(|(what, _)| what));
        }
        let (acknowledged, trace, events) = (book.acknowledged, trace.digest(), trace.events());
        let probes = probes();
        Self { seed, violations, witness, trace, events, virtual_ns, failover_ns, counts, acknowledged, faults, probes, history, notes }
    }

    /// The rule that was broken first.
    #[must_use]
    pub fn broken_rule(&self) -> Option<String> {
        self.violations.first().map(|violation| rule_of(violation))
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Faults that bit.
    #[must_use]
    pub fn bites(&self) -> u64 {
        self.faults.values().map(|(_, bit)| bit).sum()
    }

    /// Whether the run is of the size that a seed must have: 30 virtual seconds under load, 200 acknowledged records, two faults that bit.
    #[must_use]
    pub fn is_full_size(&self) -> bool {
        self.virtual_ns >= 30 * SECOND && self.acknowledged >= 200 && self.bites() >= 2
    }
}

/// The rule that a violation names, without what differs from seed to seed.
#[must_use]
pub fn rule_of(violation: &str) -> String {
    let words: String = violation.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(90).collect();
    let mut shown = String::new();
    for c in words.chars() {
        if c != '#' || !shown.ends_with('#') {
            shown.push(c);
        }
    }
    shown
}

#[cfg(feature = "sim")]
fn probes() -> BTreeMap<&'static str, u64> {
    klamm_core::probe::take_hits()
}

#[cfg(not(feature = "sim"))]
fn probes() -> BTreeMap<&'static str, u64> {
    BTreeMap::new()
}

/// A record that was deleted by right need not have been read by anyone: its send counts as if nobody knew what became of it.
fn without_gone(history: &History, gone: &Gone) -> History {
    let is_gone = |op: &Op| {
        let sent = |mop: &Mop| matches!(mop, Mop::Send { key, offset: Some(offset), .. } if offset.0 < gone.start(*key));
        op.stage == Stage::Ok && op.action.mops().iter().any(sent)
    };
    if !history.ops().iter().any(is_gone) {
        return history.clone();
    }
    let mut retired = BTreeMap::new();
    let mut next = history.ops().iter().filter_map(|op| number(op.process)).max().map_or(0, |last| last + 1);
    let mut ops = Vec::with_capacity(history.ops().len());
    for op in history.ops() {
        let process = *retired.get(&op.process).unwrap_or(&op.process);
        let stage = if is_gone(op) { Stage::Info } else { op.stage };
        if is_gone(op) {
            // A process of which an outcome is unknown goes on as another one.
            retired.insert(op.process, Process::Client(next));
            next += 1;
        }
        ops.push(Op { stage, process, ..op.clone() });
    }
    History::new(ops).expect("what is left of a history is one")
}

fn number(process: Process) -> Option<u32> {
    match process {
        Process::Client(number) => Some(number),
        Process::Nemesis => None,
    }
}

/// What is wrong, and what shows it.
type Found = (String, Witness);

/// The clients that belong to no group are judged by themselves: a rebalance excuses nothing of what they saw.
fn judge(history: &History, members: &BTreeSet<Process>, allow: BTreeSet<check::Kind>) -> Vec<Found> {
    let options = check::Options { allow, ..Default::default() };
    let ops = history.ops();
    let is_member = |op: &&Op| members.contains(&op.process);
    if !ops.iter().any(|op| is_member(&op)) {
        return words(history, &check::check(history, &options));
    }
    let others = ops.iter().filter(|op| !is_member(op)).zip(0..).map(|(op, index)| Op { index, ..op.clone() }).collect();
    let others = History::new(others).expect("what is left of a history is one");
    let mut found = words(&others, &check::check(&others, &options));
    let options = check::Options { rebalances_logged: true, ..options };
    found.extend(words(history, &check::check(history, &options)));
    found
}

/// Of records that may be lost or doubled on their way in: once they were read, all see the same. Where they `may_be_lost` after they
/// were acknowledged, their offsets are given anew: then only what was read counts.
fn judge_reads(history: &History, may_be_lost: bool) -> Vec<Found> {
    let report = if may_be_lost {
        check::check(&without_places(history), &check::Options::default())
    } else {
        check::check(history, &check::Options::default())
    };
    let bad = report.bad().filter(|kind| *kind == check::Kind::InconsistentOffsets);
    let found = bad.map(|kind| (kind, first_of(history, &report, kind)));
    found.map(|(kind, (what, witness))| (format!("without acks=all: {}: {what}", kind.name()), witness)).collect()
}

/// The same, and no send knows where its record went.
fn without_places(history: &History) -> History {
    let mut ops = history.ops().to_vec();
    for op in &mut ops {
        let Action::Micro { mops, .. } = &mut op.action else { continue };
        for mop in mops {
            if let Mop::Send { offset, .. } = mop {
                *offset = None;
            }
        }
    }
    History::new(ops).expect("what is left of a history is one")
}

/// The first case of an anomaly, with the entries of the history that show it.
fn first_of(history: &History, report: &Report, kind: check::Kind) -> Found {
    let Some(case) = report.found[&kind].cases.first() else { return Found::default() };
    let ops = case.ops.iter().filter_map(|index| history.ops().get(usize::try_from(*index).ok()?)).cloned().collect();
    (case.what.clone(), Witness { key: case.key, offsets: case.offsets.clone(), values: case.values.clone(), ops })
}

fn words(history: &History, report: &Report) -> Vec<Found> {
    if report.verdict == Judgement::Undecided {
        return vec![("undecided: no send and no poll ended well".to_owned(), Witness::default())];
    }
    let found = report.bad().map(|kind| (kind, first_of(history, report, kind)));
    found.map(|(kind, (what, witness))| (format!("{}: {what}", kind.name()), witness)).collect()
}

#[cfg(test)]
mod tests {
    use super::judge_reads;
    use klamm_jepsen::history::{Action, Completion, History, Key, Offset, Polled, Process, Record, Recorder, Value};

    const KEY: Key = Key(0);

    /// One sends and is acknowledged at offset 5, when an attempt before, of which it heard nothing, has put the record at 4 already. The others read
    /// both, each by a process of its own.
    fn history(sent: Option<i64>, read: &[i64]) -> History {
        let mut recorder = Recorder::default();
        if let Some(value) = sent.map(Value) {
            recorder.invoke(1, Process::Client(0), Action::send(KEY, value));
            let seen = Action::sent(KEY, Offset(5), value);
            recorder.complete(2, Process::Client(0), Completion::info("acknowledged without acks=all").seeing(seen));
        }
        for (value, number) in read.iter().map(|value| Value(*value)).zip(1..) {
            recorder.invoke(u64::from(2 * number), Process::Client(number), Action::poll());
            let polled = Polled::from([(KEY, vec![Record::at(Offset(4), Value(1)), Record::at(Offset(5), value)])]);
            recorder.complete(u64::from(2 * number + 1), Process::Client(number), Completion::ok(Action::polled(polled)));
        }
        recorder.finish()
    }

    #[test]
    fn what_was_read_stays_whoever_leads() {
        assert!(judge_reads(&history(Some(1), &[1, 1]), true).is_empty());
        assert_eq!(judge_reads(&history(None, &[1, 2]), true).len(), 1);
        assert_eq!(judge_reads(&history(None, &[1, 2]), false).len(), 1);
    }

    #[test]
    fn what_was_acknowledged_before_it_was_synced_may_be_lost_only_where_something_was() {
        assert!(judge_reads(&history(Some(1), &[2, 2]), true).is_empty());
        assert_eq!(judge_reads(&history(Some(1), &[2, 2]), false).len(), 1);
    }
}
