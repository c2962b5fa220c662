//! The report of one run, as `--report` asks for it.

use super::{Job, Ran};
use klamm_sim::report::{self, Recorder, Told};
use std::path::Path;
use std::process::Command;

/// Writes down what was kept of a run, and what became of it.
pub(super) fn write(job: &Job, ran: &Ran, recorder: &Recorder, path: &Path) -> std::io::Result<()> {
    let plan = &job.tape.plan;
    let told = Told {
        seed: job.seed(),
        tier: job.tier.name(),
        nodes: plan.nodes,
        replay: job.replay.clone(),
        commit: commit(),
        plan: format!("{plan:#?}"),
        violations: ran.violations(),
        look_at: plan.look_at,
        ..Told::default()
    };
    let told = match &ran.outcome {
        Err(_) => told,
        Ok(outcome) => Told {
            witness: outcome.witness.clone(),
            trace: (outcome.trace, outcome.events),
            virtual_ns: outcome.virtual_ns,
            faults: outcome.faults.clone(),
            history: outcome.history.clone(),
            notes: outcome.notes.clone(),
            ..told
        },
    };
    report::write(&recorder.sheet(told), path)
}

/// The commit of the sources that the current folder holds, as git tells it.
fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let is_changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty());
    if is_changed { format!("{commit} with changes") } else { commit }
}
