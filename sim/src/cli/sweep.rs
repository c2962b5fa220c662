//! Many seeds at once.

use super::{How, Ran, replay_line, run_one};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

/// What many runs came to.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) seeds: u64,
    pub(super) failed: Vec<(u64, Vec<String>)>,
    small: u64,
    inputs: u64,
    virtual_ns: u64,
    failovers: Vec<u64>,
    cpu_ns: u64,
    acknowledged: Vec<u64>,
    bites: Vec<u64>,
    faults: BTreeMap<&'static str, (u64, u64)>,
    /// By probe, how many seeds passed it.
    pub(super) probes: BTreeMap<&'static str, u64>,
}

impl Summary {
    pub(super) fn add(&mut self, seed: u64, ran: &Ran) {
        self.seeds += 1;
        self.cpu_ns += u64::try_from(ran.cpu.as_nanos()).unwrap_or(u64::MAX);
        let violations = ran.violations();
        if !violations.is_empty() {
            self.failed.push((seed, violations));
        }
        let Ok(outcome) = &ran.outcome else { return };
        self.small += u64::from(!outcome.is_full_size());
        self.inputs += outcome.counts.inputs;
        self.virtual_ns += outcome.virtual_ns;
        self.failovers.extend(outcome.failover_ns);
        self.acknowledged.push(outcome.acknowledged);
        self.bites.push(outcome.bites());
        for (name, (planned, bit)) in &outcome.faults {
            let sum = self.faults.entry(name).or_default();
            (sum.0, sum.1) = (sum.0 + planned, sum.1 + bit);
        }
        outcome.probes.keys().for_each(|name| *self.probes.entry(name).or_default() += 1);
    }
}

fn median(of: &mut [u64]) -> u64 {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or(0)
}

/// Runs the seeds on `jobs` threads, telling each outcome as it comes; `tell` answers whether to go on.
pub(super) fn run_all(seeds: Range<u64>, how: How, jobs: Option<usize>, mut tell: impl FnMut(u64, &Ran) -> bool) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let (tx, rx) = mpsc::sync_channel(64);
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(cores).max(1) {
            let (tx, next, stop, end) = (tx.clone(), &next, &stop, seeds.end);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || tx.send((seed, fresh_thread(seed, how))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tx);
        for (seed, ran) in rx {
            if !tell(seed, &ran) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
}

/// Each run has a thread of its own, so that no thread-local leaks from one to the next.
fn fresh_thread(seed: u64, how: How) -> Ran {
    std::thread::spawn(move || run_one(seed, how)).join().expect("a run's panic is caught inside")
}

pub(super) fn sweep(seeds: Range<u64>, how: How, jobs: Option<usize>, all: bool) -> ExitCode {
    run_through(seeds, how, jobs, all).print(how)
}

/// Runs the seeds, showing how it goes.
pub(super) fn run_through(seeds: Range<u64>, how: How, jobs: Option<usize>, all: bool) -> Summary {
    let bar = ProgressBar::with_draw_target(Some(seeds.end - seeds.start), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds {per_sec} eta {eta} {msg}").expect("a template of ours");
    bar.set_style(style);
    let mut summary = Summary::default();
    run_all(seeds, how, jobs, |seed, ran| {
        summary.add(seed, ran);
        bar.inc(1);
        bar.set_message(format!("{:.1} virtual h, {} failed", summary.virtual_ns as f64 / 3.6e12, summary.failed.len()));
        all || summary.failed.is_empty()
    });
    bar.finish_and_clear();
    summary
}

/// So many violations of a seed are told in words.
const WORDS_MAX: usize = 3;

impl Summary {
    fn print(&mut self, how: How) -> ExitCode {
        for (name, seeds) in &self.probes {
            println!("probe {seeds:7} {name}");
        }
        for (name, (planned, bit)) in &self.faults {
            println!("fault {name:12} planned {planned:7} bit {bit:7}");
        }
        self.failed.sort();
        for (seed, violations) in self.failed.iter().take(20) {
            let more = violations.len().saturating_sub(WORDS_MAX);
            let and_more = if more > 0 { format!(" | and {more} more") } else { String::new() };
            println!("seed {seed}: {}{and_more}", violations[..violations.len() - more].join(" | "));
            println!("  replay: {}", replay_line(*seed, how));
        }
        if let Some(longest) = self.failovers.iter().max().copied() {
            let (count, median) = (self.failovers.len(), median(&mut self.failovers));
            println!("failover of a healed cluster: {count}, median {:.3} s, longest {:.3} s", median as f64 / 1e9, longest as f64 / 1e9);
        }
        let (acknowledged, bites) = (median(&mut self.acknowledged), median(&mut self.bites));
        let virtual_s = self.virtual_ns as f64 / 1e9;
        let cpu_s = (self.cpu_ns as f64 / 1e9).max(1e-9);
        println!(
            "swept {} seeds tier {}: {} failed, {} below full size, median {acknowledged} acknowledged and {bites} faults that bit, \
             {:.1} virtual h, {} inputs, {:.0} inputs and {:.0} virtual s per CPU-second",
            self.seeds,
            how.tier.name(),
            self.failed.len(),
            self.small,
            virtual_s / 3600.0,
            self.inputs,
            self.inputs as f64 / cpu_s,
            virtual_s / cpu_s,
        );
        ExitCode::from(u8::from(!self.failed.is_empty()))
    }
}
