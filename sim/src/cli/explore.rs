//! All ways through a small world.

use super::{mutant, switch};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use klamm_core::probe::Mutant;
use klamm_sim::model::explore::{self, Count, End, Limits, Model};
use klamm_sim::model::partition::{self, PartitionModel};
use klamm_sim::model::quorum::{self, QuorumModel};
use std::process::ExitCode;
use std::time::Instant;

/// Which world, and how far. What is not said is as in the model's usual bound, which takes about a minute.
#[derive(clap::Args)]
pub(super) struct Explore {
    /// What is explored.
    #[arg(long)]
    model: Which,
    /// Quorum: nodes that vote.
    #[arg(long)]
    voters: Option<usize>,
    /// Quorum: nodes that only fetch.
    #[arg(long)]
    observers: Option<usize>,
    /// Quorum: the newest epoch.
    #[arg(long)]
    epochs: Option<i32>,
    /// Quorum: most records in a log.
    #[arg(long)]
    log: Option<usize>,
    /// Most messages on their way at once.
    #[arg(long)]
    flight: Option<usize>,
    /// Timers that fire.
    #[arg(long)]
    timers: Option<u8>,
    /// Nodes that crash.
    #[arg(long)]
    crashes: Option<u8>,
    /// Messages that are lost.
    #[arg(long)]
    losses: Option<u8>,
    /// Records that a leader is given.
    #[arg(long)]
    writes: Option<u8>,
    /// Partition: elections by the controller.
    #[arg(long)]
    elections: Option<u8>,
    /// Partition: followers that the controller takes out of the ISR.
    #[arg(long)]
    shrinks: Option<u8>,
    /// Take one guard away.
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
    /// Stop after so many states.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    states: u64,
    /// Stop when so many MiB are in use.
    #[arg(long, value_name = "MIB", default_value_t = 8192)]
    memory: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// A metadata quorum: who leads, and what is committed.
    Quorum,
    /// One partition on three brokers, with a controller by a script.
    Partition,
}

impl Explore {
    fn quorum(&self) -> QuorumModel {
        let usual = quorum::Bounds::USUAL;
        QuorumModel {
            bounds: quorum::Bounds {
                voters: self.voters.unwrap_or(usual.voters),
                observers: self.observers.unwrap_or(usual.observers),
                epochs: self.epochs.unwrap_or(usual.epochs),
                log: self.log.unwrap_or(usual.log),
                flight: self.flight.unwrap_or(usual.flight),
                timers: self.timers.unwrap_or(usual.timers),
                crashes: self.crashes.unwrap_or(usual.crashes),
                losses: self.losses.unwrap_or(usual.losses),
                writes: self.writes.unwrap_or(usual.writes),
            },
        }
    }

    fn partition(&self) -> PartitionModel {
        let usual = partition::Bounds::USUAL;
        PartitionModel {
            bounds: partition::Bounds {
                flight: self.flight.unwrap_or(usual.flight),
                timers: self.timers.unwrap_or(usual.timers),
                crashes: self.crashes.unwrap_or(usual.crashes),
                losses: self.losses.unwrap_or(usual.losses),
                writes: self.writes.unwrap_or(usual.writes),
                elections: self.elections.unwrap_or(usual.elections),
                shrinks: self.shrinks.unwrap_or(usual.shrinks),
            },
        }
    }
}

pub(super) fn explore(how: &Explore) -> ExitCode {
    switch(how.mutant);
    let limits = Limits { states: how.states, bytes: how.memory << 20 };
    match how.model {
        Which::Quorum => {
            let model = how.quorum();
            println!("{:?}", model.bounds);
            walk(&model, limits)
        }
        Which::Partition => {
            let model = how.partition();
            println!("{:?}", model.bounds);
            walk(&model, limits)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the wall time is measured from outside")]
fn walk(model: &impl Model, limits: Limits) -> ExitCode {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{spinner} {pos} states {per_sec} {elapsed} {msg}").expect("a template of ours"));
    let before = Instant::now();
    let (count, end) = explore::explore(model, limits, |count| {
        bar.set_position(count.states);
        bar.set_message(format!("depth {}, {} to be looked at", count.depth, count.frontier));
    });
    bar.finish_and_clear();
    tell(&count, &end, before.elapsed().as_secs_f64());
    ExitCode::from(u8::from(end != End::Whole))
}

fn tell(count: &Count, end: &End, seconds: f64) {
    let verdict = match end {
        End::Whole => "whole".to_owned(),
        End::Short(limit) => format!("not whole: the limit of {limit} was reached, {} states are not looked at", count.frontier),
        End::Broken { what, steps } => {
            for (number, step) in steps.iter().enumerate() {
                println!("{:4}. {step}", number + 1);
            }
            println!("violation: {what}");
            "violation".to_owned()
        }
    };
    let Count { states, transitions, beyond, depth, widest, .. } = count;
    println!(
        "{states} states, {transitions} transitions, {beyond} of them beyond the bound, depth {depth}, at most {widest} states at one depth, \
         {seconds:.1} s: {verdict}"
    );
}
