//! Tapes: written, replayed, and made smaller.

use super::{How, Tier, caught, mutant, tell, timed};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use klamm_core::probe::Mutant;
use klamm_sim::plan::Plan;
use klamm_sim::shrink::{Tried, shrink};
use klamm_sim::tape::{Replayed, Tape};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is to be made smaller.
#[derive(clap::Args)]
pub(super) struct What {
    /// A tape.
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    file: Option<PathBuf>,
    /// Or a seed.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    how: How,
}

impl What {
    fn tape(self) -> Result<Tape, String> {
        if self.how.tier != Tier::Mesh {
            return Err("only runs on the mesh have tapes; leave out --tier".to_owned());
        }
        match (self.file, self.seed) {
            (Some(file), _) => read(&file),
            (None, seed) => Ok(of_seed(seed.unwrap_or_default(), self.how)),
        }
    }
}

pub(super) fn of_seed(seed: u64, how: How) -> Tape {
    Tape::of(Plan { look_at: how.look_at, ..Plan::general(seed).on(how.nodes) }, how.mutant.map(|mutant| mutant.name().to_owned()))
}

fn read(file: &Path) -> Result<Tape, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Tape::decode(&text).map_err(|why| format!("{}: {why}", file.display()))
}

pub(super) fn write(tape: &Tape, file: &Path) -> Result<(), String> {
    std::fs::write(file, tape.encode()).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

fn mutant_of(tape: &Tape) -> Result<Option<Mutant>, String> {
    tape.mutant.as_deref().map(mutant).transpose()
}

/// Replays a tape in a thread of its own; a panic is a broken rule.
pub(super) fn replay(tape: &Tape, mutant: Option<Mutant>) -> Result<Replayed, String> {
    let tape = tape.clone();
    std::thread::spawn(move || caught(mutant, || tape.replay())).join().expect("a run's panic is caught inside")
}

fn failed(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// Replays a tape, and tells what a run tells.
pub(super) fn replay_and_tell(file: &Path, without_mutant: bool) -> ExitCode {
    let (tape, mutant) = match read(file).and_then(|tape| Ok((mutant_of(&tape)?, tape))) {
        Ok((mutant, tape)) => (tape, mutant.filter(|_| !without_mutant)),
        Err(why) => return failed(&why),
    };
    let (replayed, wall) = timed(|| replay(&tape, mutant));
    if let Ok(replayed) = &replayed {
        println!("{} decisions were not on the tape, and drawn from the seed", replayed.missing);
    }
    let broken = replayed.as_ref().map_or_else(|panic| Some(rule_of_panic(panic)), |replayed| replayed.outcome.broken_rule());
    if tape.breaks.is_some() && mutant.is_some() == tape.mutant.is_some() {
        println!(
            "{}",
            if broken == tape.breaks { "it breaks the rule that it is kept for" } else { "it does not break the rule that it is kept for" }
        );
    }
    tell(tape.plan.seed, Tier::Mesh, replayed.map(|replayed| replayed.outcome).as_ref(), wall)
}

fn rule_of_panic(panic: &str) -> String {
    klamm_sim::outcome::rule_of(&format!("panic: {panic}"))
}

/// Makes a failing run smaller, and writes down what is left.
pub(super) fn shrink_and_write(what: What, out: &Path, tries: u32) -> ExitCode {
    let (tape, mutant) = match what.tape().and_then(|tape| Ok((mutant_of(&tape)?, tape))) {
        Ok((mutant, tape)) => (tape, mutant),
        Err(why) => return failed(&why),
    };
    let (seed, faults) = (tape.plan.seed, tape.plan.faults.len());
    let bar = ProgressBar::with_draw_target(Some(u64::from(tries)), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} runs {per_sec} {msg}").expect("a template of ours"));
    let mut run = |tape: &Tape| tried(replay(tape, mutant));
    let small = shrink(tape, tries, &mut run, &mut |progress| {
        bar.set_position(u64::from(progress.tries));
        bar.set_message(format!("{} faults, {} inputs", progress.faults, progress.inputs));
    });
    bar.finish_and_clear();
    let Some(small) = small else {
        println!("seed {seed} breaks no rule: there is nothing to make smaller");
        return ExitCode::from(1);
    };
    if let Err(why) = write(&small, out) {
        return failed(&why);
    }
    println!("it breaks: {}", small.breaks.as_deref().unwrap_or_default());
    println!("{} nodes, {} of {faults} faults:", small.plan.nodes, small.plan.faults.len());
    for (at, fault) in &small.plan.faults {
        println!("{:10.6}s {fault:?}", *at as f64 / 1e9);
    }
    println!("replay: cargo sim replay {}", out.display());
    ExitCode::SUCCESS
}

fn tried(replayed: Result<Replayed, String>) -> Tried {
    match replayed {
        Ok(Replayed { outcome, decisions, .. }) => {
            Tried { breaks: outcome.broken_rule(), virtual_ns: outcome.virtual_ns, inputs: outcome.counts.inputs, decisions }
        }
        // What was decided until then is lost with it: it is drawn anew.
        Err(panic) => Tried { breaks: Some(rule_of_panic(&panic)), virtual_ns: u64::MAX, inputs: 0, decisions: Default::default() },
    }
}
