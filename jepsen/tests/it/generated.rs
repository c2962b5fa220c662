//! Histories of a correct log are valid, whatever the workload.

use klamm_jepsen::check::{Options as Allowed, Verdict, check};
use klamm_jepsen::history::{Stage, write_json_line};
use klamm_jepsen::workload::{Options, SubVia};
use proptest::prelude::*;

use crate::model;

fn options() -> impl Strategy<Value = Options> {
    let sub_via = prop_oneof![Just(vec![SubVia::Assign]), Just(vec![SubVia::Subscribe]), Just(vec![SubVia::Assign, SubVia::Subscribe])];
    (1..8_u32, 1..12_usize, 1..300_i64, 1..5_usize, sub_via, 2..64_u32, prop_oneof![Just(0), 4..64_u32]).prop_map(
        |(threads, keys, sends_per_key_max, mops_max, sub_via, assign_one_in, crash_one_in)| Options {
            threads,
            keys,
            sends_per_key_max,
            mops_max,
            sub_via,
            assign_one_in,
            crash_one_in,
            ..Options::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_correct_log_is_judged_valid(options in options(), ops in 20..800_usize, seed: u64, ww_deps: bool, process_edges: bool) {
        let history = model::history(options, ops, seed);
        let allowed = Allowed { rebalances_logged: true, ww_deps, process_edges, ..Allowed::default() };
        let report = check(&history, &allowed);
        prop_assert!(report.verdict == Verdict::Valid, "{report}");
    }
}

#[test]
fn a_seed_means_one_history() {
    let text = |seed| {
        let history = model::history(Options { mops_max: 4, crash_one_in: 50, ..Options::default() }, 500, seed);
        let mut text = Vec::new();
        history.ops().iter().for_each(|op| write_json_line(op, &mut text).expect("a vector takes all"));
        text
    };
    assert!(text(1) == text(1));
    assert!(text(1) != text(2));
}

/// A workload that never polls what it sent, or never fails, would prove little.
#[test]
fn a_generated_history_has_something_of_everything() {
    let options = Options { mops_max: 3, crash_one_in: 100, sub_via: vec![SubVia::Assign, SubVia::Subscribe], ..Options::default() };
    let history = model::history(options, 3000, 5);
    for name in ["send", "poll", "txn", "assign", "subscribe", "crash"] {
        let count = history.ops().iter().filter(|op| op.stage == Stage::Invoke && op.action.name() == name).count();
        assert!(count >= 10, "only {count} of {name}");
    }
    let report = check(&history, &Allowed::default());
    assert!(report.ended.ok > 1000 && report.ended.fail > 20 && report.ended.info > 20, "{report}");
    assert!(report.worst_realtime_lag.lag > 0, "{report}");
    assert!(report.consume_counts.distribution.values().sum::<usize>() > 100, "{report}");
}
