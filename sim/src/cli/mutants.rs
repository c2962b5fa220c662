//! Each historic bug is put back, and must be found: how many seeds that takes, over several trials from different first seeds.

use super::sweep::run_all;
use super::{How, Tier};
use klamm_core::probe::Mutant;
use klamm_sim::outcome::rule_of;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Trials begin so many seeds apart.
const APART: u64 = 1_000_000;

/// What one trial came to: after how many seeds the bug was found, and as what.
struct Trial {
    found: Option<(u64, String)>,
    virtual_ns: u64,
}

pub(super) fn mutants(seeds: u64, trials: u64, only: Option<Mutant>, jobs: Option<usize>) -> ExitCode {
    let mut missed = 0;
    println!("{:24} {:>5} {:>7} {:>7} {:>7} {:>10}  found as", "mutant", "nodes", "found", "median", "95th", "virtual s");
    let chosen: Vec<Mutant> = Mutant::ALL.iter().copied().filter(|mutant| only.is_none_or(|only| only == *mutant)).collect();
    for mutant in &chosen {
        let all: Vec<Trial> = (0..trials).map(|trial| try_once(*mutant, trial * APART, seeds, jobs)).collect();
        let virtual_s = all.iter().map(|trial| trial.virtual_ns).sum::<u64>() as f64 / 1e9 / trials.max(1) as f64;
        let mut counts: Vec<u64> = all.iter().filter_map(|trial| trial.found.as_ref().map(|(count, _)| *count)).collect();
        counts.sort_unstable();
        missed += u64::from(counts.len() < all.len());
        println!(
            "{:24} {:>5} {:>3} / {trials} {:>7} {:>7} {virtual_s:>10.0}  {}",
            mutant.name(),
            nodes_of(*mutant),
            counts.len(),
            quantile(&counts, 50),
            quantile(&counts, 95),
            causes(&all),
        );
    }
    println!("{} of {} mutants found in each of {trials} trials of {seeds} seeds", chosen.len() as u64 - missed, chosen.len());
    ExitCode::from(u8::from(missed > 0))
}

/// How many nodes it takes to show the bug.
fn nodes_of(mutant: Mutant) -> u32 {
    use Mutant as M;
    match mutant {
        M::TornTailKept | M::FlushAckNone | M::WindowOne | M::SnapshotLostNoReplay | M::FsyncErrorIgnored | M::RenameNoDirsync => 1,
        M::DupWrongOffset | M::FetchMixedState | M::TimeIndexStale | M::EpochBumpKeepsSeq | M::RetentionPastHw => 1,
        M::StaleGenerationCommit | M::StaticNotFenced | M::OwnedOfOldGeneration | M::OffsetsExpireLive | M::LoadNotFinished => 1,
        M::RenameNoSync | M::DiscardUnremembered | M::VoidForgotten => 1,
        M::TombstoneEarly | M::SwapUnsure => 1,
        M::VoteForgotten | M::SameEpochLeader | M::CommitOldEpoch | M::HwNotVoters | M::ActBeforeCommit => 3,
        M::WipedVotesTwice | M::TwoChangesAtOnce | M::OfflineLogCounts | M::EmptiedLeads | M::MoveUntold => 3,
        M::AlterpartNoEpoch
        | M::IsrStaleBroker
        | M::LastReplicaStanding
        | M::UncleanKeepsIsr
        | M::FencedInIsr
        | M::FormerLifeLeads
        | M::LossForgotten
        | M::DialOnce
        | M::GivenUpInNeed
        | M::GivenUpFollows
        | M::EpochsTakenForSaved => 3,
        M::PreferredNotInIsr | M::TruncToHw | M::EpochUnknownFallback | M::EpochCacheNotCut | M::FetchWithoutEpoch => 3,
        M::SessionlessForgotten
        | M::DivergingMovesLeo
        | M::HwCommittedIsr
        | M::HwStuckAfterShrink
        | M::IsrJoinBelowEpochStart
        | M::AckMinIsrOnly => 3,
        M::SpanUnbounded => 3,
        M::HwUnderMin | M::ElrClearedUntold | M::GrantedAhead | M::LedForgotten | M::ProposalNotTakenBack | M::ProposalNamesNewest => 3,
        M::DivergedCutToStart | M::RottenEpochTaken => 3,
        M::AckBeforeHw | M::AckAfterStepdown | M::ElectServesLowHw | M::ReadAboveHw => 3,
        M::HwBeforeTrunc | M::FollowerServesEnd | M::FollowerAnyEpoch | M::PreferredNotInSync => 3,
        M::RenounceNoSnapshot | M::SnapshotAboveHigh | M::SnapshotForgetsIds | M::SnapshotKeepsLog => 3,
    }
}

fn try_once(mutant: Mutant, first: u64, seeds: u64, jobs: Option<usize>) -> Trial {
    let how = How { tier: Tier::Mesh, mutant: Some(mutant), nodes: nodes_of(mutant), look_at: None };
    let mut trial = Trial { found: None, virtual_ns: 0 };
    run_all(first..first + seeds, how, jobs, |seed, ran| {
        trial.virtual_ns += ran.outcome.as_ref().map_or(0, |outcome| outcome.virtual_ns);
        let count = seed - first + 1;
        if let Some(what) = ran.violations().first()
            && trial.found.as_ref().is_none_or(|(at, _)| count < *at)
        {
            trial.found = Some((count, rule_of(what)));
        }
        trial.found.is_none()
    });
    trial
}

/// The value below which so many of a hundred lie; `-` of none.
fn quantile(sorted: &[u64], percent: usize) -> String {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or_else(|| "-".to_owned(), u64::to_string)
}

/// As what the bug was found, and how often.
fn causes(trials: &[Trial]) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, what) in trials.iter().filter_map(|trial| trial.found.as_ref()) {
        *counts.entry(what).or_default() += 1;
    }
    let told = counts.into_iter().map(|(what, count)| format!("{count}x {what}"));
    told.collect::<Vec<_>>().join("; ")
}
