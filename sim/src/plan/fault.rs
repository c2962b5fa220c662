//! What goes wrong in a run, and when.

use super::{LOAD, MS, SECOND, pick};
use klamm_core::config::Durability;
use klamm_core::rng::Rng;
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use serde::{Deserialize, Serialize};

/// A clock is off by so many millionths at most.
pub const DRIFT_MAX: i64 = 50_000;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The process dies after so many more effects; it starts again after `down`.
    Kill {
        /// Effects carried out before.
        after: u64,
        /// How long it stays down, in ns.
        down: u64,
    },
    /// The machine loses power after so many more effects.
    PowerLoss {
        /// Effects carried out before.
        after: u64,
        /// How long it stays down, in ns.
        down: u64,
    },
    /// A clean stop, and a start after `down`.
    Restart {
        /// How long it stays down, in ns.
        down: u64,
    },
    /// Nothing reaches the node for so long, in ns.
    Pause(u64),
    /// Nothing reaches one client for so long, in ns.
    PauseClient(u64),
    /// One client is cut from the node for so long, in ns.
    Cut(u64),
    /// So many connections are reset.
    Reset(u32),
    /// The disk is so many times as slow for so long, in ns.
    SlowDisk {
        /// How many times.
        factor: u32,
        /// For how long, in ns.
        lasts: u64,
    },
    /// The next sync fails; the machine is then started anew, since what the operating system holds can no longer be trusted.
    FailSync,
    /// The next write fails.
    FailWrite,
    /// The next reads fail.
    FailReads(u32),
    /// The disk has only so many bytes left, for so long, in ns.
    FillDisk {
        /// Bytes left.
        left: u64,
        /// For how long, in ns.
        lasts: u64,
    },
    /// The second disk takes nothing more for so long, in ns, whatever is deleted there. The node goes on, since its metadata lies on the first.
    FillSecondDisk {
        /// For how long, in ns.
        lasts: u64,
    },
    /// Nothing can be done with the second disk for so long: what lies there is offline until the next start behind that.
    BreakDisk {
        /// For how long, in ns.
        lasts: u64,
    },
    /// The node's wall clock jumps by so many ms.
    ClockJump(i64),
    /// A bit of an old segment rots on that node: `pick` says which.
    Rot {
        /// Always the same in a run: everything has a good copy on the other nodes.
        node: u32,
        /// Chance.
        pick: u64,
    },
    /// When the node next passes one of some rare branches of the code, or acknowledges records, it dies, or another node does, after so many more
    /// effects.
    Ambush {
        /// Chooses the branches; without it, the acknowledgement is waited for.
        salt: Option<u64>,
        /// Effects carried out before.
        after: u64,
        /// How long it stays down, in ns.
        down: u64,
        /// It is the machine that loses power.
        power: bool,
    },
    /// What one node sends to another is held for so long, in ns; not what comes back.
    OneWay(u64),
    /// Each node reaches only its neighbours in a ring for so long, in ns.
    Ring(u64),
    /// What two nodes send each other takes up to so much longer, in ns.
    SlowLink {
        /// Up to so much longer.
        by: u64,
        /// For how long.
        lasts: u64,
    },
    /// One connection between two nodes stalls for so long, in ns: nothing is lost on it, and others pass it by.
    Stall(u64),
    /// What a node fetches of the metadata log comes to it only after so long, in ns; whatever else it is sent comes as ever.
    LateMetadata(u64),
    /// The node lives, and whoever wants to connect to it is refused for so long, in ns.
    Refuse(u64),
    /// The node's clocks run faster, or slower, by so many millionths.
    Drift(i64),
    /// Several nodes die at once.
    KillMany {
        /// All of them.
        all: bool,
        /// With their machines.
        power: bool,
        /// How long they stay down, in ns: each for another part of it.
        down: u64,
    },
    /// A broker loses its disk, and starts on another one that is formatted anew: it is no voter, so that no vote is forgotten with it.
    Wipe {
        /// How long it stays down, in ns.
        down: u64,
    },
    /// A voter of the metadata quorum loses its disk, and starts on another one that is formatted anew: as an observer, since it has forgotten its votes.
    WipeVoter {
        /// How long it stays down, in ns.
        down: u64,
    },
    /// A broker loses its second disk for good, in the moment when a replica has moved there and the controller does not know yet.
    LoseSecondDisk {
        /// How long such a moment is waited for, in ns.
        within: u64,
        /// How long it stays down, in ns.
        down: u64,
    },
    /// A clean stop and a start of one node after the other.
    Rolling {
        /// How long each stays down, in ns.
        down: u64,
    },
    /// A broker stops and starts, and in the moment when a leader asks the controller to take it in again its machine loses power. The controller hears
    /// of the question only when the broker is there in its next life, and until then that one gets nothing back of what it has lost.
    RebootInProposal {
        /// How long the broker that stops stays down, in ns.
        away: u64,
        /// How long the machine stays down, in ns.
        down: u64,
        /// What was asked is lost, and asked again when the next life has fetched. Else it comes late.
        is_lost: bool,
    },
}

impl Fault {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::PowerLoss { .. } => "power-loss",
            Self::Restart { .. } => "restart",
            Self::Pause(_) => "pause",
            Self::PauseClient(_) => "pause-client",
            Self::Cut(_) => "cut",
            Self::Reset(_) => "reset",
            Self::SlowDisk { .. } => "slow-disk",
            Self::FailSync => "fail-sync",
            Self::FailWrite => "fail-write",
            Self::FailReads(_) => "fail-reads",
            Self::FillDisk { .. } => "fill-disk",
            Self::FillSecondDisk { .. } => "fill-second-disk",
            Self::BreakDisk { .. } => "break-disk",
            Self::ClockJump(_) => "clock-jump",
            Self::Rot { .. } => "rot",
            Self::Ambush { .. } => "ambush",
            Self::OneWay(_) => "one-way",
            Self::Ring(_) => "ring",
            Self::SlowLink { .. } => "slow-link",
            Self::Stall(_) => "stall",
            Self::LateMetadata(_) => "late-metadata",
            Self::Refuse(_) => "refuse",
            Self::Drift(_) => "drift",
            Self::KillMany { .. } => "kill-many",
            Self::Wipe { .. } => "wipe",
            Self::WipeVoter { .. } => "wipe-voter",
            Self::LoseSecondDisk { .. } => "lose-second-disk",
            Self::Rolling { .. } => "rolling-restart",
            Self::RebootInProposal { .. } => "reboot-in-proposal",
        }
    }
}

impl Fault {
    /// What it does, in words for a report.
    #[must_use]
    pub fn words(self) -> String {
        let name = self.name();
        let s = |ns: u64| ns as f64 / SECOND as f64;
        match (self, self.lasts()) {
            (Self::SlowDisk { factor, .. }, Some(lasts)) => format!("{name}, {factor} times as slow for {:.3} s", s(lasts)),
            (Self::FillDisk { left, .. }, Some(lasts)) => format!("{name} but for {left} bytes, for {:.3} s", s(lasts)),
            (Self::SlowLink { by, .. }, Some(lasts)) => format!("{name} by up to {:.3} s, for {:.3} s", s(by), s(lasts)),
            (_, Some(lasts)) => format!("{name} for {:.3} s", s(lasts)),
            (Self::Kill { after, .. } | Self::PowerLoss { after, .. } | Self::Ambush { after, .. }, None) => {
                format!("{name}, after {after} more effects")
            }
            (Self::Reset(count), None) => format!("{name} of {count} connections"),
            (Self::FailReads(count), None) => format!("{name}, the next {count}"),
            (Self::ClockJump(by), None) => format!("{name} by {by} ms"),
            (Self::Drift(by), None) => format!("{name} by {by} millionths"),
            (Self::KillMany { all, power, .. }, None) => {
                format!("{name}: {}{}", if all { "all" } else { "two" }, if power { ", with their power" } else { "" })
            }
            _ => name.to_owned(),
        }
    }

    /// How long it lasts by itself, in ns; `None` where it is a moment, however long what follows from it lasts.
    #[must_use]
    pub fn lasts(self) -> Option<u64> {
        match self {
            Self::Pause(lasts)
            | Self::PauseClient(lasts)
            | Self::Cut(lasts)
            | Self::OneWay(lasts)
            | Self::Ring(lasts)
            | Self::Stall(lasts)
            | Self::LateMetadata(lasts)
            | Self::Refuse(lasts)
            | Self::SlowDisk { lasts, .. }
            | Self::FillDisk { lasts, .. }
            | Self::FillSecondDisk { lasts }
            | Self::BreakDisk { lasts }
            | Self::SlowLink { lasts, .. } => Some(lasts),
            Self::Kill { .. }
            | Self::PowerLoss { .. }
            | Self::Restart { .. }
            | Self::Reset(_)
            | Self::FailSync
            | Self::FailWrite
            | Self::FailReads(_)
            | Self::ClockJump(_)
            | Self::Rot { .. }
            | Self::Ambush { .. }
            | Self::Drift(_)
            | Self::KillMany { .. }
            | Self::Wipe { .. }
            | Self::WipeVoter { .. }
            | Self::LoseSecondDisk { .. }
            | Self::Rolling { .. }
            | Self::RebootInProposal { .. } => None,
        }
    }

    /// Whether copies go with it for good.
    pub(super) fn takes_a_disk(self) -> bool {
        matches!(self, Self::Wipe { .. } | Self::WipeVoter { .. } | Self::LoseSecondDisk { .. })
    }
}

/// A random subset of the faults the atlas allows: with a single replica in page-cache mode no power may be lost.
pub(super) fn faults(durability: Durability, rng: &mut Rng) -> Vec<(u64, Fault)> {
    let mut kinds: Vec<u32> = (0..13).filter(|kind| durability == Durability::Fsync || ![1, 8].contains(kind)).collect();
    kinds.shuffle(rng);
    kinds.truncate(rng.random_range(2..=6));
    let mut all = Vec::new();
    for kind in kinds {
        for _ in 0..rng.random_range(1..=4) {
            all.push((rng.random_range(2 * SECOND..LOAD - 2 * SECOND), fault(kind, rng)));
        }
    }
    all.sort_unstable();
    all
}

/// In two of three runs with a second disk that one breaks. What was acknowledged must be durable then.
pub(super) fn with_broken_disks(mut faults: Vec<(u64, Fault)>, durability: Durability, rng: &mut Rng) -> Vec<(u64, Fault)> {
    if durability == Durability::PageCache || rng.random_ratio(1, 3) {
        return faults;
    }
    for _ in 0..rng.random_range(1..=4) {
        faults.push((rng.random_range(2 * SECOND..LOAD - 2 * SECOND), Fault::BreakDisk { lasts: rng.random_range(50 * MS..6 * SECOND) }));
    }
    faults.sort_unstable();
    faults
}

/// In half of the runs with a second disk that one fills up.
pub(super) fn with_full_second_disks(mut faults: Vec<(u64, Fault)>, rng: &mut Rng) -> Vec<(u64, Fault)> {
    if rng.random_bool(0.5) {
        for _ in 0..rng.random_range(1..=4) {
            // Long enough for topics to be made meanwhile.
            let lasts = rng.random_range(SECOND..10 * SECOND);
            faults.push((rng.random_range(2 * SECOND..LOAD - 2 * SECOND), Fault::FillSecondDisk { lasts }));
        }
        faults.sort_unstable();
    }
    faults
}

/// In half of the clusters the disk of one of `nodes` rots. Where a power loss takes what was acknowledged, or a read that fails has another node give up
/// its copy, the bad one might be the last: the atlas does not allow both.
pub(super) fn with_rot(mut faults: Vec<(u64, Fault)>, durability: Durability, nodes: &[u32], rng: &mut Rng) -> Vec<(u64, Fault)> {
    let node = *pick(rng, nodes);
    if durability == Durability::PageCache || rng.random_ratio(1, 2) {
        return faults;
    }
    faults.retain(|(_, fault)| !matches!(fault, Fault::FailReads(_)));
    for _ in 0..rng.random_range(1..=4) {
        faults.push((rng.random_range(8 * SECOND..LOAD - 2 * SECOND), Fault::Rot { node, pick: rng.random() }));
    }
    faults
}

/// What strikes only where there are several nodes. With page-cache durability the machines keep their power: see the atlas.
pub(super) fn of_clusters(durability: Durability, rng: &mut Rng) -> Vec<(u64, Fault)> {
    let mut kinds: Vec<u32> = (0..7).collect();
    kinds.shuffle(rng);
    kinds.truncate(rng.random_range(1..=3));
    let mut all = Vec::new();
    for kind in kinds {
        for _ in 0..rng.random_range(1..=3) {
            all.push((rng.random_range(2 * SECOND..LOAD - 2 * SECOND), of_cluster(kind, durability, rng)));
        }
    }
    all
}

/// In half of the clusters some connections stall, for longer than anybody waits for an answer. All have moved on when everything is healed.
pub(super) fn with_stalls(mut faults: Vec<(u64, Fault)>, rng: &mut Rng) -> Vec<(u64, Fault)> {
    if rng.random_bool(0.5) {
        return faults;
    }
    for _ in 0..rng.random_range(1..=8) {
        let (at, lasts) = (rng.random_range(2 * SECOND..LOAD - 2 * SECOND), rng.random_range(SECOND..16 * SECOND));
        faults.push((at, Fault::Stall(lasts.min(LOAD + 2 * SECOND - at))));
    }
    faults
}

/// In half of the clusters nodes go on for a while by metadata that is no longer true.
pub(super) fn with_late_metadata(mut faults: Vec<(u64, Fault)>, rng: &mut Rng) -> Vec<(u64, Fault)> {
    if rng.random_bool(0.5) {
        return faults;
    }
    for _ in 0..rng.random_range(1..=8) {
        let (at, lasts) = (rng.random_range(2 * SECOND..LOAD - 2 * SECOND), rng.random_range(50 * MS..3 * SECOND));
        faults.push((at, Fault::LateMetadata(lasts)));
    }
    faults
}

/// One or two disks are lost.
pub(super) fn with_wipes(mut faults: Vec<(u64, Fault)>, rng: &mut Rng) -> Vec<(u64, Fault)> {
    beside_wipes(&mut faults);
    for _ in 0..rng.random_range(1..=2) {
        faults.push((rng.random_range(4 * SECOND..LOAD - 4 * SECOND), Fault::Wipe { down: rng.random_range(10 * MS..3 * SECOND) }));
    }
    faults
}

/// Second disks are lost, each with what has just moved there.
pub(super) fn with_lost_second_disks(mut faults: Vec<(u64, Fault)>, rng: &mut Rng) -> Vec<(u64, Fault)> {
    beside_wipes(&mut faults);
    for _ in 0..rng.random_range(1..=3) {
        let (within, down) = (rng.random_range(2 * SECOND..10 * SECOND), rng.random_range(10 * MS..3 * SECOND));
        faults.push((rng.random_range(4 * SECOND..LOAD - 4 * SECOND), Fault::LoseSecondDisk { within, down }));
    }
    faults
}

/// What remains of the faults beside those that take the disk of a broker. A broker that starts on a full disk cannot write down under which epoch it is
/// registered, so that its next start counts as unclean, and it leaves ISR and ELR (KIP-966): while another one's disk is lost, it might be the last. One
/// that cannot read a replica gives it up, to have it filled anew from one that the controller may not know to be lost yet; and of a batch that rots the
/// good copy may go. The atlas allows none of them beside a wipe.
pub(super) fn beside_wipes(faults: &mut Vec<(u64, Fault)>) {
    faults.retain(|(_, fault)| {
        !matches!(fault, Fault::FillDisk { .. } | Fault::FillSecondDisk { .. } | Fault::FailReads(_) | Fault::Rot { .. })
    });
}

fn of_cluster(kind: u32, durability: Durability, rng: &mut Rng) -> Fault {
    let lasts = rng.random_range(50 * MS..4 * SECOND);
    let down = rng.random_range(10 * MS..3 * SECOND);
    match kind {
        0 => Fault::OneWay(lasts),
        1 => Fault::Ring(lasts),
        2 => Fault::SlowLink { by: *pick(rng, &[20 * MS, 200 * MS, SECOND]), lasts },
        3 => Fault::Refuse(lasts),
        4 => Fault::Drift(*pick(rng, &[-DRIFT_MAX, -1_000, 1_000, DRIFT_MAX])),
        5 => Fault::KillMany { all: rng.random_bool(0.5), power: durability == Durability::Fsync && rng.random_bool(0.5), down },
        6 => Fault::Rolling { down: rng.random_range(10 * MS..SECOND) },
        _ => unreachable!("seven kinds"),
    }
}

fn fault(kind: u32, rng: &mut Rng) -> Fault {
    let after = rng.random_range(0..200);
    let down = rng.random_range(10 * MS..3 * SECOND);
    let lasts = rng.random_range(50 * MS..4 * SECOND);
    match kind {
        0 => Fault::Kill { after, down },
        1 => Fault::PowerLoss { after, down },
        2 => Fault::Restart { down },
        3 => Fault::Pause(lasts),
        4 => Fault::PauseClient(lasts),
        5 => Fault::Cut(lasts),
        6 => Fault::Reset(rng.random_range(1..=3)),
        7 => Fault::SlowDisk { factor: rng.random_range(3..60), lasts },
        8 => Fault::FailSync,
        9 => Fault::FailWrite,
        10 => Fault::FailReads(rng.random_range(1..=3)),
        11 => Fault::FillDisk { left: rng.random_range(0..20_000), lasts },
        12 => Fault::ClockJump(*pick(rng, &[-3_600_000, -5_000, -50, 50, 5_000, 3_000_000])),
        _ => unreachable!("thirteen kinds"),
    }
}
