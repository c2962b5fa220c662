//! Each historic bug is put back, and must be found.

use super::sweep::run_all;
use super::{How, Tier};
use klamm_core::probe::Mutant;
use std::process::ExitCode;

pub(super) fn mutants(seeds: u64, only: Option<Mutant>, jobs: Option<usize>) -> ExitCode {
    let mut missed = 0;
    println!("{:24} {:>8} {:>14}  found as", "mutant", "seeds", "virtual s");
    for mutant in Mutant::ALL.iter().copied().filter(|mutant| only.is_none_or(|only| only == *mutant)) {
        let how = How { tier: Tier::Mesh, mutant: Some(mutant) };
        let (mut first, mut virtual_ns): (Option<(u64, String)>, u64) = (None, 0);
        run_all(0..seeds, how, jobs, |seed, ran| {
            virtual_ns += ran.outcome.as_ref().map_or(0, |outcome| outcome.virtual_ns);
            let violations = ran.violations();
            if let Some(what) = violations.first()
                && first.as_ref().is_none_or(|(at, _)| seed < *at)
            {
                first = Some((seed, what.clone()));
            }
            first.is_none()
        });
        match first {
            Some((seed, what)) => println!("{:24} {:>8} {:>14.0}  {what}", mutant.name(), seed + 1, virtual_ns as f64 / 1e9),
            None => {
                missed += 1;
                println!("{:24} {:>8} {:>14.0}  MISSED", mutant.name(), seeds, virtual_ns as f64 / 1e9);
            }
        }
    }
    println!("{} of {} mutants found within {seeds} seeds", Mutant::ALL.len() - missed, Mutant::ALL.len());
    ExitCode::from(u8::from(missed > 0))
}
