//! Faults that wait for their moment.

use super::{Fault, LOAD, MS, SECOND};
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

impl Fault {
    /// Whether the process may end by it without a clean stop.
    pub(super) fn may_end_badly(self) -> bool {
        match self {
            Self::Kill { .. } | Self::PowerLoss { .. } | Self::Ambush { .. } | Self::KillMany { .. } => true,
            Self::Wipe { .. } | Self::WipeVoter { .. } | Self::LoseSecondDisk { .. } => true,
            Self::FailSync | Self::FailWrite | Self::FailReads(_) => true,
            Self::FillDisk { .. } | Self::FillSecondDisk { .. } | Self::BreakDisk { .. } => true,
            Self::Restart { .. } | Self::Pause(_) | Self::PauseClient(_) | Self::Cut(_) => false,
            Self::OneWay(_)
            | Self::Ring(_)
            | Self::SlowLink { .. }
            | Self::Stall(_)
            | Self::Refuse(_)
            | Self::Drift(_)
            | Self::Rolling { .. } => false,
            Self::Reset(_) | Self::SlowDisk { .. } | Self::ClockJump(_) | Self::Rot { .. } => false,
        }
    }
}
