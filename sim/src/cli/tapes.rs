//! Tapes: written, replayed, and made smaller.

use super::{How, Job, Keep, Ran, Tier, mutant, run_and_tell};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use klamm_sim::report::Recorder;
use klamm_sim::shrink::{Tried, shrink};
use klamm_sim::tape::Tape;
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
            (None, seed) => Ok(Job::of_seed(seed.unwrap_or_default(), self.how).tape),
        }
    }
}

fn read(file: &Path) -> Result<Tape, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Tape::decode(&text).map_err(|why| format!("{}: {why}", file.display()))
}

pub(super) fn write(tape: &Tape, file: &Path) -> Result<(), String> {
    std::fs::write(file, tape.encode()).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

impl Job {
    fn of_tape(tape: Tape, file: &Path) -> Result<Self, String> {
        let mutant = tape.mutant.as_deref().map(mutant).transpose()?;
        Ok(Self { tier: Tier::Mesh, mutant, chance: tape.chance(), replay: format!("cargo sim replay {}", file.display()), tape })
    }

    /// The tape with everything on it that was decided.
    pub(super) fn written(&self, ran: &Ran) -> Tape {
        Tape { breaks: ran.broken_rule(), ..self.tape.clone().with(self.chance.decisions()) }
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// Replays a tape, and tells what a run tells.
pub(super) fn replay_and_tell(file: &Path, clean: bool, keep: &Keep) -> ExitCode {
    let job = match read(file).and_then(|tape| Job::of_tape(tape, file)) {
        Ok(job) => Job { mutant: job.mutant.filter(|_| !clean), ..job },
        Err(why) => return failed(&why),
    };
    let ended = run_and_tell(&job, keep);
    println!("{} decisions were not on the tape, and drawn from the seed", job.chance.missing());
    ended
}

/// Runs a tape in a thread of its own.
fn tried(tape: &Tape, mutant: Option<klamm_core::probe::Mutant>) -> Tried {
    let job = Job { tier: Tier::Mesh, mutant, chance: tape.chance(), replay: String::new(), tape: tape.clone() };
    let run = move || {
        let ran = job.run(&Recorder::default());
        let (virtual_ns, inputs) = ran.outcome.as_ref().map_or((u64::MAX, 0), |outcome| (outcome.virtual_ns, outcome.counts.inputs));
        Tried { breaks: ran.broken_rule(), virtual_ns, inputs, decisions: job.chance.decisions() }
    };
    std::thread::spawn(run).join().expect("a run's panic is caught inside")
}

/// Makes a failing run smaller, and writes down what is left.
pub(super) fn shrink_and_write(what: What, out: &Path, tries: u32) -> ExitCode {
    let job = match what.tape().and_then(|tape| Job::of_tape(tape, out)) {
        Ok(job) => job,
        Err(why) => return failed(&why),
    };
    let Job { tape, mutant, .. } = job;
    let (seed, faults) = (tape.plan.seed, tape.plan.faults.len());
    let bar = ProgressBar::with_draw_target(Some(u64::from(tries)), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} runs {per_sec} {msg}").expect("a template of ours"));
    let small = shrink(tape, tries, &mut |tape| tried(tape, mutant), &mut |progress| {
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
