//! How fast histories are written, read and judged: `cargo bench -p klamm-jepsen [-- operations]`. Figures to record, not a test.
#![allow(clippy::disallowed_methods)] // The one place here that needs a clock: it measures.

#[path = "../tests/it/model.rs"]
mod model;

use std::time::Instant;

use klamm_jepsen::check::{Options as Allowed, check};
use klamm_jepsen::edn::{EdnOps, write_edn_line};
use klamm_jepsen::history::{JsonLines, write_json_line};
use klamm_jepsen::workload::Options;

fn main() {
    // cargo passes `--bench`; a bare number is ours.
    let ops = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let options = Options { threads: 10, crash_one_in: 2000, ..Options::default() };
    let history = timed("make", || model::history(options.clone(), ops, 1));
    let mut text = Vec::new();
    timed("write JSON lines", || history.ops().iter().for_each(|op| write_json_line(op, &mut text).expect("a vector takes all")));
    println!("  {} entries, {} MB", history.ops().len(), text.len() >> 20);
    let read = timed("read JSON lines", || JsonLines::new(text.as_slice()).filter(|op| op.is_ok()).count());
    assert_eq!(read, history.ops().len());
    let mut text = Vec::new();
    timed("write EDN", || history.ops().iter().for_each(|op| write_edn_line(op, &mut text).expect("a vector takes all")));
    let text = String::from_utf8(text).expect("EDN is text");
    let read = timed("read EDN", || EdnOps::new(&text).filter(|op| op.is_ok()).count());
    assert_eq!(read, history.ops().len());
    let report = timed("judge", || check(&history, &Allowed::default()));
    println!("{report}");
    let report = timed("judge with write dependencies", || check(&history, &Allowed { ww_deps: true, ..Allowed::default() }));
    println!("{}", report.verdict);
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    println!("{what}: {:.2} s", began.elapsed().as_secs_f64());
    result
}
