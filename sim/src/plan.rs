//! What a seed decides: the shape of a run, its knobs, and which faults strike when. Every concern draws from a stream of its own, so that a new one
//! does not shift the others.

mod group;

use crate::workload::gone::Retention;
use klamm_core::config::Durability;
use klamm_core::rng::{self, Rng};
use klamm_core::wire::batch::Compression;
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use std::time::Duration;

pub use group::GroupKnobs;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// How long clients are at work before the run heals and drains.
pub const LOAD: u64 = 32 * SECOND;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The node's wall clock jumps by so many ms.
    ClockJump(i64),
    /// A bit of an old segment rots on that node: `pick` says which.
    Rot {
        /// Always the same in a run: everything has a good copy on the other nodes.
        node: u32,
        /// Chance.
        pick: u64,
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
            Self::ClockJump(_) => "clock-jump",
            Self::Rot { .. } => "rot",
        }
    }
}

/// A producer client.
#[derive(Clone, Debug)]
pub struct ProducerKnobs {
    /// 0, 1 or −1.
    pub acks: i16,
    /// Whether it is idempotent: always with acks −1. The others retry too, so their duplicates are no anomaly: they keep to keys of their own.
    pub idempotent: bool,
    /// Processes that share it.
    pub processes: usize,
    /// `linger.ms`
    pub linger: Duration,
    /// `batch.size`
    pub batch_size: usize,
    /// `compression.type`
    pub compression: Compression,
    /// `request.timeout.ms`
    pub request_timeout: Duration,
    /// `delivery.timeout.ms`
    pub delivery_timeout: Duration,
    /// Pause between sends, at most.
    pub think: Duration,
    /// Records are padded up to this.
    pub record_bytes: usize,
    /// Records are dated up to so many ms before or after now.
    pub time_spread_ms: i64,
    /// `buffer.memory`
    pub buffer_memory: usize,
}

/// Everything a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many nodes there are, each broker and controller.
    pub nodes: u32,
    /// Replicas of each partition.
    pub replication: i16,
    /// `min.insync.replicas`
    pub min_isr: u32,
    /// `broker.session.timeout.ms`
    pub session_ms: u64,
    /// `replica.lag.time.max.ms`
    pub lag_ms: u64,
    /// How many keys there are; two share a topic.
    pub keys: u32,
    /// When an append counts as done.
    pub durability: Durability,
    /// `internal.segment.bytes` of the topics.
    pub segment_bytes: u32,
    /// Bytes the broker holds of the newest batches.
    pub tail_bytes: u64,
    /// Bytes between index entries.
    pub index_interval: u64,
    /// Files kept open.
    pub open_files: usize,
    /// Requests and answers pass through the codec.
    pub codec: bool,
    /// Network delay between these, in ns.
    pub delay: (u64, u64),
    /// Producers.
    pub producers: Vec<ProducerKnobs>,
    /// How many readers read along.
    pub readers: u32,
    /// What deletes records of the topics under test, if anything.
    pub trim: Option<Trim>,
    /// About so often an operator changes something, in ns.
    pub operator: Option<u64>,
    /// How small the metadata log is kept, if it is.
    pub metadata: Option<MetadataKnobs>,
    /// Consumer groups.
    pub groups: Vec<GroupKnobs>,
    /// When which fault strikes, in order.
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    /// What `seed` decides, in general: a swarm of knobs and a random subset of the faults.
    #[must_use]
    pub fn general(seed: u64) -> Self {
        let mut rng = rng::stream(seed, "plan");
        let rng = &mut rng;
        let durability = if rng.random_ratio(3, 4) { Durability::Fsync } else { Durability::PageCache };
        let mut more = rng::stream(seed, "producers");
        let producers = (0..rng.random_range(1..=3)).map(|at| refine(producer(at == 0, rng), &mut more)).collect();
        Self {
            seed,
            nodes: 1,
            replication: 1,
            min_isr: 1,
            session_ms: 9_000,
            lag_ms: 30_000,
            keys: rng.random_range(1..=4),
            durability,
            segment_bytes: *pick(rng, &[1_000, 4_000, 20_000, 1 << 20]),
            tail_bytes: *pick(rng, &[0, 2_000, 50_000, 16 << 20]),
            index_interval: *pick(rng, &[1, 200, 4_096]),
            open_files: *pick(rng, &[2, 8, 512]),
            codec: rng.random_ratio(1, 4),
            delay: *pick(rng, &[(20_000, 100_000), (50_000, 500_000), (200_000, 5_000_000), (1_000, 40_000_000)]),
            producers,
            readers: rng.random_range(1..=2),
            trim: trim(&mut rng::stream(seed, "trim")),
            operator: operator(&mut rng::stream(seed, "operator")),
            metadata: metadata(&mut rng::stream(seed, "metadata")),
            groups: group::groups(&mut rng::stream(seed, "groups")),
            faults: faults(durability, &mut rng::stream(seed, "faults")),
        }
    }
}

impl Plan {
    /// Whether clients may be sent batches that have rotted.
    #[must_use]
    pub fn rots(&self) -> bool {
        self.faults.iter().any(|(_, fault)| matches!(fault, Fault::Rot { .. }))
    }

    /// The numbers of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.nodes
    }

    /// How many readers read everything in the end.
    #[must_use]
    pub fn last_readers(&self) -> u32 {
        if self.nodes == 1 { 1 } else { self.keys }
    }

    /// The same on `nodes` nodes; groups, and what deletes and alters topics, are for clusters of one so far.
    #[must_use]
    pub fn on(self, nodes: u32) -> Self {
        if nodes == 1 {
            return self;
        }
        let mut rng = rng::stream(self.seed, "cluster");
        let faults = with_rot(self.faults, self.durability, nodes, &mut rng::stream(self.seed, "rot"));
        let replication = i16::try_from(nodes.min(3)).expect("three at most");
        Self {
            nodes,
            replication,
            min_isr: 2,
            session_ms: *pick(&mut rng, &[1_000, 2_000, 9_000]),
            lag_ms: *pick(&mut rng, &[1_000, 5_000, 30_000]),
            groups: Vec::new(),
            trim: None,
            operator: None,
            faults,
            ..self
        }
    }
}

/// When the metadata log gets snapshots, and what is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataKnobs {
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`
    pub snapshot_ms: u64,
    /// `metadata.max.retention.bytes`
    pub retention_bytes: u64,
    /// `internal.metadata.log.segment.bytes`
    pub segment_bytes: u64,
    /// `controller.quorum.fetch.snapshot.max.bytes`
    pub piece_bytes: u64,
    /// The node that has none of this: its log stays whole.
    pub spared: Option<u32>,
    /// Nodes die while a snapshot is written, or takes a log's place.
    pub deadly: bool,
}

/// In half of the runs snapshots are many and logs short.
fn metadata(rng: &mut Rng) -> Option<MetadataKnobs> {
    let knobs = MetadataKnobs {
        snapshot_bytes: *pick(rng, &[1, 200, 1_000, 1 << 20]),
        snapshot_ms: *pick(rng, &[0, 500, 5_000]),
        retention_bytes: *pick(rng, &[0, 0, 2_000, 1 << 20]),
        segment_bytes: *pick(rng, &[200, 1_000, 1 << 20]),
        piece_bytes: *pick(rng, &[50, 500, 1 << 20]),
        spared: *pick(rng, &[None, Some(1), Some(2)]),
        deadly: rng.random_bool(0.5),
    };
    rng.random_bool(0.5).then_some(knobs)
}

/// What deletes records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The topics' retention.
    pub retention: Option<Retention>,
    /// An operator deletes records about so often, in ns.
    pub every: Option<u64>,
}

/// In a third of the runs something deletes records.
fn trim(rng: &mut Rng) -> Option<Trim> {
    let retention = *pick(rng, &[None, Some(Retention::Ms(3_000)), Some(Retention::Ms(12_000)), Some(Retention::Bytes(8_000))]);
    let every = *pick(rng, &[None, Some(SECOND), Some(4 * SECOND)]);
    (rng.random_ratio(1, 3) && (retention.is_some() || every.is_some())).then_some(Trim { retention, every })
}

fn operator(rng: &mut Rng) -> Option<u64> {
    *pick(rng, &[None, Some(SECOND), Some(4 * SECOND)])
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.random_range(0..from.len())]
}

/// The first producer of a run is always one whose records must not be lost.
fn producer(first: bool, rng: &mut Rng) -> ProducerKnobs {
    let acks = if first { -1 } else { *pick(rng, &[-1, -1, 1, 0]) };
    let request_timeout = Duration::from_millis(*pick(rng, &[500, 1_000, 3_000, 10_000]));
    ProducerKnobs {
        acks,
        idempotent: acks == -1,
        processes: rng.random_range(2..=8),
        linger: Duration::from_millis(*pick(rng, &[0, 0, 1, 5, 20])),
        batch_size: *pick(rng, &[1, 200, 2_000, 16_384]),
        compression: *pick(
            rng,
            &[Compression::None, Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd],
        ),
        request_timeout,
        delivery_timeout: request_timeout * rng.random_range(3..20),
        think: Duration::from_millis(*pick(rng, &[5, 30, 100])),
        record_bytes: *pick(rng, &[0, 20, 200, 2_000]),
        time_spread_ms: 0,
        buffer_memory: 32 << 20,
    }
}

/// What was not thought of at first: of a stream of its own, so that a seed keeps its producers.
fn refine(mut knobs: ProducerKnobs, rng: &mut Rng) -> ProducerKnobs {
    knobs.time_spread_ms = *pick(rng, &[0, 0, 2, 1_000]);
    knobs.buffer_memory = *pick(rng, &[32 << 20, 32 << 20, 32 << 20, 20_000]);
    // Codecs cost more than everything else, and faults do not care what a batch holds.
    if rng.random_ratio(2, 3) {
        knobs.compression = Compression::None;
    }
    knobs
}

/// A random subset of the faults the atlas allows: with a single replica in page-cache mode no power may be lost.
fn faults(durability: Durability, rng: &mut Rng) -> Vec<(u64, Fault)> {
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

/// In half of the clusters the disk of one node rots. Where a power loss takes what was acknowledged, or a read that fails has another node give up its
/// copy, the bad one might be the last: the atlas does not allow both.
fn with_rot(mut faults: Vec<(u64, Fault)>, durability: Durability, nodes: u32, rng: &mut Rng) -> Vec<(u64, Fault)> {
    let node = rng.random_range(1..=nodes);
    if durability == Durability::PageCache || rng.random_ratio(1, 2) {
        return faults;
    }
    faults.retain(|(_, fault)| !matches!(fault, Fault::FailReads(_)));
    for _ in 0..rng.random_range(1..=4) {
        faults.push((rng.random_range(8 * SECOND..LOAD - 2 * SECOND), Fault::Rot { node, pick: rng.random() }));
    }
    faults.sort_unstable();
    faults
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
