//! The command line of the simulator.

mod coverage;
mod mutants;
mod sweep;
mod tapes;

use clap::{Parser, Subcommand, ValueEnum};
use klamm_core::probe::{self, Mutant};
use klamm_sim::outcome::Outcome;
use klamm_sim::plan::Plan;
use klamm_sim::run;
use klamm_sim::tape::Tape;
use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs whole klamm nodes deterministically: the same seed and commit give the same run, byte for byte.
#[derive(Parser)]
#[command(
    name = "cargo sim",
    version,
    after_help = "Examples:\n  cargo sim run --seed 7\n  cargo sim sweep --seeds 0..1000\n  cargo sim shrink --seed 7 --nodes 3 --mutant trunc-to-hw --out small.json\n  cargo sim replay small.json\n  cargo sim mutants"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed. The last line tells verdict and trace hash; exit 1 on a violation.
    Run {
        /// Which seed.
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        how: How,
        /// Write the history of the clients there, as JSON lines.
        #[arg(long)]
        history: Option<PathBuf>,
        /// Print the plan, what the brokers said to their operators, and what befell them.
        #[arg(long)]
        notes: bool,
        /// Note where all nodes stand after so many virtual seconds, for `--notes`. On the mesh.
        #[arg(long, value_name = "SECONDS")]
        look_at: Option<f64>,
        /// Write the plan and all that chance decided there, for `replay`. On the mesh.
        #[arg(long, value_name = "FILE")]
        tape: Option<PathBuf>,
    },
    /// Replay a tape: as `run`, of what is written there. What it lacks is drawn from its seed, and counted.
    Replay {
        /// The tape.
        file: PathBuf,
        /// Put no bug back, even if the tape names one.
        #[arg(long)]
        clean: bool,
    },
    /// Make a failing run smaller: fewer faults, clients and nodes, simpler knobs, nobody late – as long as the same rule is broken.
    Shrink {
        #[command(flatten)]
        what: tapes::What,
        /// Where the tape of the smallest run goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Runs to try, at most.
        #[arg(long, default_value_t = 400)]
        tries: u32,
    },
    /// Run many seeds on all cores. The last line is a summary; exit 1 on any violation.
    Sweep {
        /// From the first up to, not including, the last: `0..1000`.
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        #[command(flatten)]
        how: How,
        /// How many at once; all cores without it.
        #[arg(long)]
        jobs: Option<usize>,
        /// Go on after a violation, and list all.
        #[arg(long)]
        all: bool,
    },
    /// Run many seeds, and list every probe of core and node with how many of them passed it. Exit 1 on a cold one, unless a reason is known.
    Coverage {
        /// From the first up to, not including, the last.
        #[arg(long, value_parser = seeds, default_value = "0..300")]
        seeds: Range<u64>,
        #[command(flatten)]
        how: How,
        /// How many at once; all cores without it.
        #[arg(long)]
        jobs: Option<usize>,
    },
    /// Put each historic bug back, and count the seeds until it is found. Exit 1 where one is missed.
    Mutants {
        /// Seeds to try for each, in each trial.
        #[arg(long, default_value_t = 20_000)]
        seeds: u64,
        /// How often to try each, from other first seeds.
        #[arg(long, default_value_t = 5)]
        trials: u64,
        /// Only this one.
        #[arg(long, value_parser = mutant)]
        only: Option<Mutant>,
        /// How many seeds at once; all cores without it.
        #[arg(long)]
        jobs: Option<usize>,
    },
}

/// What is simulated, and with which bug put back.
#[derive(clap::Args, Clone, Copy)]
struct How {
    /// Cores and stores on an event loop of our own, or whole nodes on madsim.
    #[arg(long, default_value = "mesh")]
    tier: Tier,
    /// Take one guard away.
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
    /// How many nodes; on 0, the seed says how many.
    #[arg(long, default_value_t = 1)]
    nodes: u32,
    #[arg(skip)]
    look_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tier {
    Mesh,
    Madsim,
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Madsim => "madsim",
        }
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("`{text}` is not a range of seeds; write it as 0..1000");
    let (first, last) = text.split_once("..").ok_or_else(wrong)?;
    let range = first.parse().map_err(|_| wrong())?..last.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

fn mutant(text: &str) -> Result<Mutant, String> {
    let names = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
    Mutant::ALL
        .iter()
        .copied()
        .find(|mutant| mutant.name() == text)
        .ok_or_else(|| format!("no mutant is called `{text}`; there are {}", names()))
}

/// One seed's outcome, or the panic it ended in.
struct Ran {
    outcome: Result<Outcome, String>,
    wall: Duration,
    /// CPU time of the run's thread.
    cpu: Duration,
}

impl Ran {
    fn violations(&self) -> Vec<String> {
        match &self.outcome {
            Ok(outcome) => outcome.violations.clone(),
            Err(panic) => vec![format!("panic: {panic}")],
        }
    }
}

/// Runs one seed in this thread.
fn run_one(seed: u64, how: How) -> Ran {
    let cpu_before = cpu_time();
    let (outcome, wall) = timed(|| caught(how.mutant, || run_tier(seed, how)));
    let cpu = cpu_time().zip(cpu_before).map_or(wall, |(after, before)| after.saturating_sub(before));
    Ran { outcome, wall, cpu }
}

/// Does something, and says how long that took by the wall's clock.
#[expect(clippy::disallowed_methods, reason = "the wall time of a run is measured from outside")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = Instant::now();
    let done = work();
    (done, before.elapsed())
}

/// Does something with a guard taken away, in this thread; a panic in words.
fn caught<T>(mutant: Option<Mutant>, work: impl FnOnce() -> T) -> Result<T, String> {
    switch(mutant);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    switch(None);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// How long this thread has been on a CPU, where the system tells.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn run_tier(seed: u64, how: How) -> Outcome {
    match how.tier {
        Tier::Mesh => run::run(Plan { look_at: how.look_at, ..Plan::general(seed).on(how.nodes) }),
        Tier::Madsim => madsim_tier(Plan::general(seed).on(how.nodes)),
    }
}

#[cfg(madsim)]
fn madsim_tier(plan: Plan) -> Outcome {
    klamm_sim::cluster::madsim::run(plan)
}

#[cfg(not(madsim))]
fn madsim_tier(_: Plan) -> Outcome {
    eprintln!("this build has no madsim tier: run it by `cargo sim`, with no RUSTFLAGS in the environment");
    std::process::exit(2)
}

#[cfg(feature = "sim")]
fn switch(mutant: Option<Mutant>) {
    probe::switch(mutant);
}

#[cfg(not(feature = "sim"))]
fn switch(mutant: Option<Mutant>) {
    let _ = probe::is_on;
    if mutant.is_some() {
        eprintln!("this build has no mutants: run it by `cargo sim`, or with `--features sim`");
        std::process::exit(2);
    }
}

pub(super) fn main() -> ExitCode {
    // Panics are verdicts here; the report names them.
    std::panic::set_hook(Box::new(|_| {}));
    match Cli::parse().command {
        Command::Run { seed, how, history, notes, look_at, tape } => {
            run_and_tell(seed, How { look_at: look_at.map(|seconds| (seconds * 1e9) as u64), ..how }, history, notes, tape)
        }
        Command::Replay { file, clean } => tapes::replay_and_tell(&file, clean),
        Command::Shrink { what, out, tries } => tapes::shrink_and_write(what, &out, tries),
        Command::Sweep { seeds, how, jobs, all } => sweep::sweep(seeds, how, jobs, all),
        // What only a cluster can pass is passed nowhere else.
        Command::Coverage { seeds, how, jobs } => {
            coverage::coverage(seeds, How { nodes: if how.tier == Tier::Mesh { 0 } else { how.nodes }, ..how }, jobs)
        }
        Command::Mutants { seeds, trials, only, jobs } => mutants::mutants(seeds, trials, only, jobs),
    }
}

fn run_and_tell(seed: u64, how: How, history: Option<PathBuf>, notes: bool, tape: Option<PathBuf>) -> ExitCode {
    if let Some(file) = tape {
        if how.tier != Tier::Mesh {
            eprintln!("only runs on the mesh have tapes; leave out --tier, or --tape");
            return ExitCode::from(2);
        }
        let tape = tapes::of_seed(seed, how);
        let (replayed, wall) = timed(|| tapes::replay(&tape, how.mutant));
        if let Ok(replayed) = &replayed
            && let Err(why) = tapes::write(&Tape { breaks: replayed.outcome.broken_rule(), ..tape.with(replayed.decisions.clone()) }, &file)
        {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
        return tell(seed, how.tier, replayed.map(|replayed| replayed.outcome).as_ref(), wall);
    }
    let ran = run_one(seed, how);
    if let Ok(outcome) = &ran.outcome {
        if notes {
            println!("{:?}", Plan::general(seed).on(how.nodes));
            for (at, node, level, text) in &outcome.notes {
                println!("{:10.6}s node {node} {level:?} {text}", *at as f64 / 1e9);
            }
        }
        if let Some(path) = history
            && let Err(error) = write_history(outcome, &path)
        {
            eprintln!("cannot write the history to {}: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    tell(seed, how.tier, ran.outcome.as_ref(), ran.wall)
}

/// Tells what a run came to; the last line is the verdict.
fn tell(seed: u64, tier: Tier, outcome: Result<&Outcome, &String>, wall: Duration) -> ExitCode {
    let violations = outcome.map_or_else(|panic| vec![format!("panic: {panic}")], |outcome| outcome.violations.clone());
    violations.iter().for_each(|violation| println!("violation: {violation}"));
    let (trace, events, virtual_ns) = outcome.map_or((0, 0, 0), |outcome| (outcome.trace, outcome.events, outcome.virtual_ns));
    println!(
        "seed {seed} tier {} verdict {} trace {trace:016x} events {events} virtual {:.1}s wall {:.1}s",
        tier.name(),
        if violations.is_empty() { "clean" } else { "violation" },
        virtual_ns as f64 / 1e9,
        wall.as_secs_f64(),
    );
    ExitCode::from(u8::from(!violations.is_empty()))
}

fn write_history(outcome: &Outcome, path: &std::path::Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for op in outcome.history.ops() {
        klamm_jepsen::history::write_json_line(op, &mut file)?;
    }
    file.flush()
}
