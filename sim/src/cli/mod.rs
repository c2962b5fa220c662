//! The command line of the simulator.

mod coverage;
mod explore;
mod mutants;
mod report;
mod sweep;
mod tapes;

use clap::{Parser, Subcommand, ValueEnum};
use klamm_core::probe::{self, Mutant};
use klamm_sim::chance::Chance;
use klamm_sim::outcome::{Outcome, rule_of};
use klamm_sim::plan::Plan;
use klamm_sim::report::Recorder;
use klamm_sim::run;
use klamm_sim::tape::Tape;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs whole klamm nodes deterministically: the same seed and commit give the same run, byte for byte.
#[derive(Parser)]
#[command(
    name = "cargo sim",
    version,
    after_help = "Examples:\n  cargo sim run --seed 7\n  cargo sim sweep --seeds 0..1000\n  cargo sim shrink --seed 7 --nodes 3 --mutant trunc-to-hw --out small.json\n  \
                  cargo sim replay small.json\n  cargo sim explore --model quorum\n  cargo sim mutants"
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
        #[command(flatten)]
        keep: Keep,
        /// Note where all nodes stand after so many virtual seconds, for `--notes`, and show the messages of then in the report. On the mesh.
        #[arg(long, value_name = "SECONDS")]
        look_at: Option<f64>,
    },
    /// Replay a tape: as `run`, of what is written there. What it lacks is drawn from its seed, and counted.
    Replay {
        /// The tape.
        file: PathBuf,
        /// Put no bug back, even if the tape names one.
        #[arg(long)]
        clean: bool,
        #[command(flatten)]
        keep: Keep,
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
    /// Walk every way through a small world, to the end. Exit 1 on a violation, with the shortest way to it, and where a limit came first.
    Explore(explore::Explore),
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

/// What is kept of a run.
#[derive(clap::Args, Clone)]
struct Keep {
    /// Write the history of the clients there, as JSON lines.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Print the plan, what the brokers said to their operators, and what befell them.
    #[arg(long)]
    notes: bool,
    /// Write a report of the run there, to look at: a page for a browser, or text where the name ends in `.txt`.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the plan and all that chance decided there, for `replay`. On the mesh.
    #[arg(long, value_name = "FILE")]
    tape: Option<PathBuf>,
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

/// The command that runs a seed again.
fn replay_line(seed: u64, how: How) -> String {
    let mutant = how.mutant.map(|mutant| format!(" --mutant {}", mutant.name())).unwrap_or_default();
    let nodes = if how.nodes == 1 { String::new() } else { format!(" --nodes {}", how.nodes) };
    format!("cargo sim run --seed {seed} --tier {}{nodes}{mutant}", how.tier.name())
}

impl Ran {
    /// The rule that was broken first.
    fn broken_rule(&self) -> Option<String> {
        self.violations().first().map(|violation| rule_of(violation))
    }

    fn violations(&self) -> Vec<String> {
        match &self.outcome {
            Ok(outcome) => outcome.violations.clone(),
            Err(panic) => vec![format!("panic: {panic}")],
        }
    }
}

/// A run as it is to be.
struct Job {
    tier: Tier,
    mutant: Option<Mutant>,
    tape: Tape,
    chance: Chance,
    /// The command that shows it again.
    replay: String,
}

impl Job {
    fn of_seed(seed: u64, how: How) -> Self {
        let plan = Plan { look_at: how.look_at, ..Plan::general(seed).on(how.nodes) };
        let tape = Tape::of(plan, how.mutant.map(|mutant| mutant.name().to_owned()));
        Self { tier: how.tier, mutant: how.mutant, tape, chance: Chance::of_seed(seed), replay: replay_line(seed, how) }
    }

    fn seed(&self) -> u64 {
        self.tape.plan.seed
    }

    /// Runs it in this thread. Of a run that panics the recorder holds what was kept before.
    fn run(&self, recorder: &Recorder) -> Ran {
        let cpu_before = cpu_time();
        let (outcome, wall) = timed(|| caught(self.mutant, || self.run_tier(recorder)));
        let cpu = cpu_time().zip(cpu_before).map_or(wall, |(after, before)| after.saturating_sub(before));
        Ran { outcome, wall, cpu }
    }

    fn run_tier(&self, recorder: &Recorder) -> Outcome {
        let plan = self.tape.plan.clone();
        match self.tier {
            Tier::Mesh => run::run_by(plan, &self.chance, recorder),
            Tier::Madsim => madsim_tier(plan, recorder),
        }
    }
}

/// Runs one seed in this thread.
fn run_one(seed: u64, how: How) -> Ran {
    Job::of_seed(seed, how).run(&Recorder::default())
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

#[cfg(madsim)]
fn madsim_tier(plan: Plan, recorder: &Recorder) -> Outcome {
    klamm_sim::cluster::madsim::record(plan, recorder)
}

#[cfg(not(madsim))]
fn madsim_tier(_: Plan, _: &Recorder) -> Outcome {
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
        Command::Run { seed, how, keep, look_at } => {
            let job = Job::of_seed(seed, How { look_at: look_at.map(|seconds| (seconds * 1e9) as u64), ..how });
            run_and_tell(&if keep.tape.is_some() { Job { chance: job.tape.chance(), ..job } } else { job }, &keep)
        }
        Command::Replay { file, clean, keep } => tapes::replay_and_tell(&file, clean, &keep),
        Command::Shrink { what, out, tries } => tapes::shrink_and_write(what, &out, tries),
        Command::Sweep { seeds, how, jobs, all } => sweep::sweep(seeds, how, jobs, all),
        // What only a cluster can pass is passed nowhere else.
        Command::Coverage { seeds, how, jobs } => {
            coverage::coverage(seeds, How { nodes: if how.tier == Tier::Mesh { 0 } else { how.nodes }, ..how }, jobs)
        }
        Command::Explore(how) => explore::explore(&how),
        Command::Mutants { seeds, trials, only, jobs } => mutants::mutants(seeds, trials, only, jobs),
    }
}

/// Runs, writes down what is to be kept, and tells what it came to; the last line is the verdict.
fn run_and_tell(job: &Job, keep: &Keep) -> ExitCode {
    let recorder = if keep.report.is_some() { Recorder::on() } else { Recorder::default() };
    let ran = job.run(&recorder);
    if let Err(why) = keep.write(job, &ran, &recorder) {
        eprintln!("{why}");
        return ExitCode::from(2);
    }
    tell(job, &ran)
}

impl Keep {
    fn write(&self, job: &Job, ran: &Ran, recorder: &Recorder) -> Result<(), String> {
        let cannot = |what: &str, path: &Path, error: std::io::Error| format!("cannot write the {what} to {}: {error}", path.display());
        if let Ok(outcome) = &ran.outcome {
            if self.notes {
                println!("{:?}", job.tape.plan);
                for (at, node, level, text) in &outcome.notes {
                    println!("{:10.6}s node {node} {level:?} {text}", *at as f64 / 1e9);
                }
            }
            if let Some(path) = &self.history {
                write_history(outcome, path).map_err(|error| cannot("history", path, error))?;
            }
        }
        if let Some(path) = &self.report {
            report::write(job, ran, recorder, path).map_err(|error| cannot("report", path, error))?;
        }
        match &self.tape {
            Some(_) if job.tier != Tier::Mesh => Err("only runs on the mesh have tapes; leave out --tier, or --tape".to_owned()),
            Some(path) => tapes::write(&job.written(ran), path),
            None => Ok(()),
        }
    }
}

/// Tells what a run came to; the last line is the verdict.
fn tell(job: &Job, ran: &Ran) -> ExitCode {
    let violations = ran.violations();
    violations.iter().for_each(|violation| println!("violation: {violation}"));
    let (trace, events, virtual_ns) = ran.outcome.as_ref().map_or((0, 0, 0), |outcome| (outcome.trace, outcome.events, outcome.virtual_ns));
    println!(
        "seed {} tier {} verdict {} trace {trace:016x} events {events} virtual {:.1}s wall {:.1}s",
        job.seed(),
        job.tier.name(),
        if violations.is_empty() { "clean" } else { "violation" },
        virtual_ns as f64 / 1e9,
        ran.wall.as_secs_f64(),
    );
    ExitCode::from(u8::from(!violations.is_empty()))
}

fn write_history(outcome: &Outcome, path: &Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for op in outcome.history.ops() {
        klamm_jepsen::history::write_json_line(op, &mut file)?;
    }
    file.flush()
}
