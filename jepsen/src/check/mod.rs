//! Judges a history: Jepsen's anomalies for Kafka-like logs by their names and allowances, and the linearizability of each
//! partition, all in O(n log n). Offsets make the order of a log observed, so nothing has to be searched for.
//!
//! A history shows only what clients saw. So a valid one is no proof: it says that no client could tell that anything was wrong.

mod consumed;
mod cycles;
mod index;
mod kind;
mod lag;
mod linear;
mod orders;
mod report;
mod scc;
mod sessions;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Action, History, Stage};
use index::Index;
use orders::Orders;

pub use consumed::Consumed;
pub use kind::Kind;
pub use lag::Lag;
pub use report::{Case, Ended, Found, Report, Verdict};

/// What a test allows, and what its histories mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether consumers subscribed to groups, so that polls may skip and go back at a rebalance. `None`: the history tells,
    /// by any `subscribe` in it.
    pub subscribes: Option<bool>,
    /// Whether cycles are sought with write dependencies too. Kafka does not isolate writes, so most of what they find is allowed.
    pub ww_deps: bool,
    /// Whether cycles are told apart by process order. Jepsen's kafka workload does not, and calls them by real time.
    pub process_edges: bool,
    /// Whether each change of a subscribed consumer's assignment stands in [`Op::rebalances`](crate::history::Op::rebalances).
    /// Then the linearizability check follows subscribed consumers from poll to poll; otherwise only assigned ones.
    pub rebalances_logged: bool,
    /// Judge by Jepsen's anomalies alone; ours are still reported, as allowed.
    pub only_jepsens: bool,
    /// Further anomalies in spite of which the test is valid, as gaps are where retention may delete records.
    pub allow: BTreeSet<Kind>,
}

/// Judges `history`.
///
/// ```
/// use klamm_jepsen::check::{Kind, Options, Verdict, check};
/// use klamm_jepsen::history::{Action, Completion, Key, Offset, Process, Record, Recorder, Value};
/// let (a, b) = (Process::Client(0), Process::Client(1));
/// let mut recorder = Recorder::default();
/// recorder.invoke(0, a, Action::send(Key(0), Value(1)));
/// recorder.complete(1, a, Completion::fail("not the leader"));
/// recorder.invoke(2, b, Action::poll());
/// let seen = [(Key(0), vec![Record::at(Offset(0), Value(1))])];
/// recorder.complete(3, b, Completion::ok(Action::polled(seen.into())));
/// let report = check(recorder.history(), &Options::default());
/// assert_eq!(report.verdict, Verdict::Invalid);
/// assert_eq!(report.bad().collect::<Vec<_>>(), [Kind::G1a]);
/// ```
#[must_use]
pub fn check(history: &History, options: &Options) -> Report {
    let index = Index::new(history);
    let orders = Orders::new(&index);
    let mut findings = report::Findings::default();
    values::check(&index, &orders, &mut findings);
    sessions::check(&index, &orders, &mut findings);
    cycles::check(&index, &orders, options, &mut findings);
    linear::check(&index, &orders, options, &mut findings);
    let subscribes = options.subscribes.unwrap_or_else(|| subscribes(history));
    let found = findings.judged(|kind| kind.is_allowed(options, subscribes));
    let ended = ended(&index);
    let verdict = if found.values().any(|found| !found.allowed) {
        Verdict::Invalid
    } else if ended.ok == 0 {
        Verdict::Undecided
    } else {
        Verdict::Valid
    };
    Report {
        verdict,
        found,
        ended,
        worst_realtime_lag: lag::worst(&index),
        consume_counts: consumed::count(&index),
        info_causes: info_causes(&index),
    }
}

fn subscribes(history: &History) -> bool {
    history.ops().iter().any(|op| matches!(op.action, Action::Subscribe { .. }))
}

fn ended(index: &Index<'_>) -> Ended {
    let mut ended = Ended::default();
    for done in &index.done {
        match done.stage {
            Stage::Ok => ended.ok += 1,
            Stage::Fail => ended.fail += 1,
            Stage::Info | Stage::Invoke => ended.info += 1,
        }
    }
    ended
}

fn info_causes(index: &Index<'_>) -> BTreeMap<String, usize> {
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    for done in index.done.iter().filter(|done| done.stage == Stage::Info) {
        if let Some(error) = &index.ops[done.op].error {
            *causes.entry(error.clone()).or_default() += 1;
        }
    }
    causes
}
