//! Faults that wait for their moment.

use super::{Fault, LOAD, MS, SECOND, TopicKnobs};
use klamm_core::config::Durability;
use klamm_core::rng::Rng;
use rand::Rng as _;

/// In half of the runs one to four ambushes more.
pub(super) fn with(mut faults: Vec<(u64, Fault)>, durability: Durability, rng: &mut Rng) -> Vec<(u64, Fault)> {
    if rng.random_bool(0.5) {
        return faults;
    }
    for _ in 0..rng.random_range(1..=4) {
        let salt: Option<u64> = rng.random_bool(0.5).then(|| rng.random());
        // What was acknowledged a moment ago is what only its leader has.
        let within: u32 = rng.random_range(0..if salt.is_some() { 10 } else { 4 });
        let ambush = Fault::Ambush {
            salt,
            after: rng.random_range(0..1 << within),
            down: rng.random_range(10 * MS..3 * SECOND),
            power: durability == Durability::Fsync && rng.random_bool(0.5),
        };
        faults.push((rng.random_range(2 * SECOND..LOAD - 2 * SECOND), ambush));
    }
    faults.sort_unstable();
    faults
}

/// In page-cache mode a machine may lose its power as long as it is the only one that loses anything (KIP-966: fewer than `min.insync.replicas`): all
/// other faults that end a process without a clean stop are left out.
pub(super) fn losing_one(mut faults: Vec<(u64, Fault)>, rng: &mut Rng) -> Vec<(u64, Fault)> {
    faults.retain(|(_, fault)| !fault.may_end_badly());
    let (after, down) = (rng.random_range(0..200), rng.random_range(MS..SECOND));
    faults.push((rng.random_range(4 * SECOND..LOAD - 2 * SECOND), Fault::PowerLoss { after, down }));
    faults.sort_unstable();
    faults
}

/// In three of four of those runs in which enough are in sync without it, the machine loses its power as its broker is about to be in sync again.
/// Else the broker would be eligible, and leave the ELR by its next registration: then the question is void whatever it names.
pub(super) fn as_it_joins(faults: &mut [(u64, Fault)], topics: &[TopicKnobs], rng: &mut Rng) {
    let is_spared = |topic: &TopicKnobs| i32::from(topic.replication) > i32::from(topic.min_isr);
    if !topics.iter().any(is_spared) || rng.random_ratio(1, 4) {
        return;
    }
    for (_, fault) in faults {
        if let Fault::PowerLoss { .. } = fault {
            let (away, down) = (rng.random_range(100 * MS..2 * SECOND), rng.random_range(MS..20 * MS));
            *fault = Fault::RebootInProposal { away, down, is_lost: rng.random_bool(0.5) };
        }
    }
}

impl Fault {
    /// Whether it takes the power of one machine.
    pub(super) fn takes_power(self) -> bool {
        matches!(self, Self::PowerLoss { .. } | Self::RebootInProposal { .. })
    }

    /// Whether the process may end by it without a clean stop.
    pub(super) fn may_end_badly(self) -> bool {
        match self {
            Self::Kill { .. } | Self::PowerLoss { .. } | Self::Ambush { .. } | Self::KillMany { .. } => true,
            Self::Wipe { .. } | Self::WipeVoter { .. } | Self::LoseSecondDisk { .. } | Self::RebootInProposal { .. } => true,
            Self::FailSync | Self::FailWrite | Self::FailReads(_) => true,
            Self::FillDisk { .. } | Self::FillSecondDisk { .. } | Self::BreakDisk { .. } => true,
            Self::Restart { .. } | Self::Pause(_) | Self::PauseClient(_) | Self::Cut(_) => false,
            Self::OneWay(_)
            | Self::Ring(_)
            | Self::SlowLink { .. }
            | Self::Stall(_)
            | Self::LateMetadata(_)
            | Self::Refuse(_)
            | Self::Drift(_)
            | Self::Rolling { .. } => false,
            Self::Reset(_) | Self::SlowDisk { .. } | Self::ClockJump(_) | Self::Rot { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Fault, Plan};
    use klamm_core::config::Durability;

    #[test]
    fn the_machine_that_loses_its_power_as_it_joins_is_the_only_one_that_loses_anything() {
        let is_meant = |fault: &Fault| matches!(fault, Fault::RebootInProposal { .. });
        let plans = (0..400).map(|seed| Plan::general(seed).on(3));
        let meant: Vec<Plan> = plans.filter(|plan| plan.faults.iter().any(|(_, fault)| is_meant(fault))).collect();
        assert!(meant.len() > 10, "{} of them", meant.len());
        for plan in meant {
            let ends_badly = plan.faults.iter().filter(|(_, fault)| fault.may_end_badly()).count();
            assert_eq!((ends_badly, plan.durability, plan.relay), (1, Durability::PageCache, 0), "seed {}", plan.seed);
            assert!(plan.loses_a_copy() && plan.topics.iter().all(|topic| topic.min_isr > 1));
        }
    }
}
