//! What a seed decides: the shape of a run, its knobs, and which faults strike when. Every concern draws from a stream of its own, so that a new one
//! does not shift the others.

mod ambush;
mod fault;
mod group;
mod quorum;
mod topics;
mod words;

use crate::workload::gone::Retention;
use klamm_core::config::Durability;
use klamm_core::rng::{self, Rng};
use klamm_core::wire::batch::Compression;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

pub use fault::{DRIFT_MAX, Fault};
pub use group::GroupKnobs;
pub use quorum::QuorumKnobs;
pub use topics::TopicKnobs;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// How long clients are at work in general before the run heals and drains.
pub const LOAD: u64 = 32 * SECOND;

/// A producer client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerKnobs {
    /// 0, 1 or −1.
    pub acks: i16,
    /// Whether it is idempotent: always with acks −1. The others retry too, so their duplicates are no anomaly: they keep to keys of their own.
    pub idempotent: bool,
    /// Processes that share it.
    pub processes: usize,
    /// `linger.ms`
    #[serde(with = "words::ns")]
    pub linger: Duration,
    /// `batch.size`
    pub batch_size: usize,
    /// `compression.type`
    #[serde(with = "words::compression")]
    pub compression: Compression,
    /// `request.timeout.ms`
    #[serde(with = "words::ns")]
    pub request_timeout: Duration,
    /// `delivery.timeout.ms`
    #[serde(with = "words::ns")]
    pub delivery_timeout: Duration,
    /// Pause between sends, at most.
    #[serde(with = "words::ns")]
    pub think: Duration,
    /// Records are padded up to this.
    pub record_bytes: usize,
    /// Records are dated up to so many ms before or after now.
    pub time_spread_ms: i64,
    /// `buffer.memory`
    pub buffer_memory: usize,
}

impl ProducerKnobs {
    /// What is not acknowledged within a second or two is given up: sooner than it is deleted.
    fn be_brief(&mut self) {
        self.request_timeout = self.request_timeout.min(Duration::from_millis(500));
        self.delivery_timeout = self.delivery_timeout.min(3 * self.request_timeout);
    }
}

/// Everything a seed decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: u32,
    /// The first so many are controllers only, and the others brokers only; 0: each is both.
    pub controllers: u32,
    /// Replicas of a partition for which nothing else is said.
    pub replication: i16,
    /// `min.insync.replicas`, the same.
    pub min_isr: u32,
    /// The topics under test, and behind them the one of producers that are not idempotent.
    pub topics: Vec<TopicKnobs>,
    /// Voters of the metadata quorum come and go, if they do.
    pub quorum: Option<QuorumKnobs>,
    /// About so often somebody moves replicas between nodes, in ns.
    pub reassign: Option<u64>,
    /// About so often somebody changes `min.insync.replicas` of a topic, in ns.
    pub minimum: Option<u64>,
    /// Brokers stand in so many racks, and some clients read from the replica in theirs (KIP-392); 0: nobody says where it stands.
    pub racks: u32,
    /// Log directories of a broker, each on a disk of its own.
    pub disks: u32,
    /// About so often somebody moves replicas between those of a broker, in ns.
    pub move_dirs: Option<u64>,
    /// `broker.session.timeout.ms`
    pub session_ms: u64,
    /// `replica.lag.time.max.ms`
    pub lag_ms: u64,
    /// `leader.imbalance.check.interval.seconds`
    pub imbalance_s: u64,
    /// In so many of a hundred cases, another node dies soon after one came back.
    pub relay: u32,
    /// How many keys there are; two share a topic.
    pub keys: u32,
    /// When an append counts as done.
    #[serde(with = "words::durability")]
    pub durability: Durability,
    /// `internal.segment.bytes` of the topics.
    pub segment_bytes: u32,
    /// Bytes the broker holds of the newest batches.
    pub tail_bytes: u64,
    /// Bytes between index entries.
    pub index_interval: u64,
    /// Index entries are written in runs of so many.
    pub index_run: usize,
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
    /// Offsets expire after a minute, and in the end groups are left alone for longer than that: they live, and so must keep theirs.
    pub idles: bool,
    /// For how many fetch sessions a broker has room, if not for all.
    pub fetch_sessions: Option<u32>,
    /// When it is noted where all nodes stand.
    pub look_at: Option<u64>,
    /// How long clients are at work before the run heals and drains, in ns.
    pub load: u64,
    /// Clients, by their numbers, that are not there.
    pub absent: BTreeSet<u32>,
    /// When which fault strikes, in order.
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    /// What `seed` decides, in general: a swarm of knobs and a random subset of the faults.
    #[must_use]
    pub fn general(seed: u64) -> Self {
        let plan = Self::drawn(seed);
        // A clock that jumps by an hour lets offsets expire of groups that were empty for a moment.
        let jumps = plan.faults.iter().any(|(_, fault)| matches!(fault, Fault::ClockJump(by) if *by > 5_000));
        let idles = rng::stream(seed, "idle").random_ratio(1, 4) && !plan.groups.is_empty() && !jumps;
        let plan = Self { idles, ..plan };
        if rng::stream(seed, "disks").random_ratio(1, 4) { plan.with_two_disks() } else { plan }
    }

    /// Brokers have two log directories, each on a disk of its own.
    fn with_two_disks(self) -> Self {
        let mut rng = rng::stream(self.seed, "two disks");
        let move_dirs = *pick(&mut rng, &[None, Some(SECOND), Some(3 * SECOND)]);
        let faults = fault::with_broken_disks(self.faults, self.durability, &mut rng);
        let faults = fault::with_full_second_disks(faults, &mut rng::stream(self.seed, "full second disk"));
        Self { disks: 2, move_dirs, faults, ..self }
    }

    fn drawn(seed: u64) -> Self {
        let mut rng = rng::stream(seed, "plan");
        let rng = &mut rng;
        let durability = if rng.random_ratio(3, 4) { Durability::Fsync } else { Durability::PageCache };
        let mut more = rng::stream(seed, "producers");
        let producers = (0..rng.random_range(1..=3)).map(|at| refine(producer(at == 0, rng), &mut more)).collect();
        Self {
            seed,
            nodes: 1,
            controllers: 0,
            replication: 1,
            min_isr: 1,
            topics: Vec::new(),
            quorum: None,
            reassign: None,
            minimum: None,
            racks: 0,
            disks: 1,
            move_dirs: None,
            session_ms: 9_000,
            lag_ms: 30_000,
            imbalance_s: 300,
            relay: 0,
            keys: rng.random_range(1..=4),
            durability,
            segment_bytes: *pick(rng, &[1_000, 4_000, 20_000, 1 << 20]),
            tail_bytes: *pick(rng, &[0, 2_000, 50_000, 16 << 20]),
            index_interval: *pick(rng, &[1, 200, 4_096]),
            index_run: *pick(&mut rng::stream(seed, "index"), &[1, 4, 64]),
            open_files: *pick(rng, &[2, 8, 512]),
            codec: rng.random_ratio(1, 4),
            delay: *pick(rng, &[(20_000, 100_000), (50_000, 500_000), (200_000, 5_000_000), (1_000, 40_000_000)]),
            producers,
            readers: rng.random_range(1..=2),
            trim: trim(&mut rng::stream(seed, "trim")),
            operator: operator(&mut rng::stream(seed, "operator")),
            metadata: metadata(&mut rng::stream(seed, "metadata")),
            groups: group::groups(&mut rng::stream(seed, "groups")),
            idles: false,
            fetch_sessions: *pick(&mut rng::stream(seed, "fetch sessions"), &[None, None, None, None, None, None, Some(0), Some(3)]),
            look_at: None,
            load: LOAD,
            absent: BTreeSet::new(),
            faults: ambush::with(fault::faults(durability, &mut rng::stream(seed, "faults")), durability, &mut rng::stream(seed, "ambush")),
        }
        .with_topics()
    }
}

impl Plan {
    /// Whether clients may be sent batches that have rotted.
    #[must_use]
    pub fn rots(&self) -> bool {
        self.faults.iter().any(|(_, fault)| matches!(fault, Fault::Rot { .. }))
    }

    /// Whether copies may be gone, or bad, that are then filled anew.
    #[must_use]
    pub fn fills_anew(&self) -> bool {
        let takes = |fault: &Fault| matches!(fault, Fault::FailReads(_) | Fault::Rot { .. }) || fault.takes_a_disk();
        self.nodes > 1 && self.faults.iter().any(|(_, fault)| takes(fault))
    }

    /// Whether a node may lose what it has acknowledged, so that another one must have it.
    #[must_use]
    pub fn loses_a_copy(&self) -> bool {
        let is_cached = self.durability == Durability::PageCache;
        let takes = |fault: &Fault| fault.takes_a_disk() || (is_cached && fault.takes_power());
        self.faults.iter().any(|(_, fault)| takes(fault))
    }

    /// Whether a partition may be left with nobody who is known to hold everything. In page-cache mode a process that ends without a clean stop
    /// counts as unclean, and leaves ISR and ELR as who lost its disk does (KIP-966): then an operator has to say who leads.
    #[must_use]
    pub fn may_strand(&self) -> bool {
        let any = |is_meant: fn(Fault) -> bool| self.faults.iter().any(|(_, fault)| is_meant(*fault));
        let wipes = any(|fault| matches!(fault, Fault::Wipe { .. }));
        let ends_others = any(|fault| fault.may_end_badly() && !matches!(fault, Fault::Wipe { .. } | Fault::WipeVoter { .. }));
        let is_deadly = self.relay > 0 || self.metadata.is_some_and(|knobs| knobs.deadly);
        self.durability == Durability::PageCache && wipes && (ends_others || is_deadly)
    }

    /// What whole nodes on madsim carry of it: one disk each; of clusters, produce and reads on nodes that are all alike.
    #[must_use]
    pub fn of_whole_nodes(mut self) -> Self {
        (self.disks, self.move_dirs, self.racks) = (1, None, 0);
        let is_of_second_disks =
            |fault: &Fault| matches!(fault, Fault::BreakDisk { .. } | Fault::FillSecondDisk { .. } | Fault::LoseSecondDisk { .. });
        self.faults.retain(|(_, fault)| !is_of_second_disks(fault) && !matches!(fault, Fault::WipeVoter { .. }));
        for (_, fault) in &mut self.faults {
            // Nobody sees there what a leader asks.
            if let Fault::RebootInProposal { down, .. } = *fault {
                *fault = Fault::PowerLoss { after: 0, down };
            }
        }
        if self.nodes == 1 {
            return self;
        }
        Self { controllers: 0, groups: Vec::new(), trim: None, operator: None, quorum: None, reassign: None, minimum: None, ..self }
    }

    /// The rack of whoever has this number: the racks take turns.
    #[must_use]
    pub fn rack_of(&self, number: u32) -> Option<String> {
        Some(format!("r{}", number.checked_rem(self.racks)?))
    }

    /// The numbers of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.nodes
    }

    /// Those of them that hold topics and serve clients.
    pub fn brokers(&self) -> impl Iterator<Item = u32> + use<> {
        self.controllers + 1..=self.nodes
    }

    /// Those of them that vote in the metadata quorum, or may.
    pub fn voters(&self) -> impl Iterator<Item = u32> + use<> {
        1..=if self.controllers == 0 { self.nodes } else { self.controllers }
    }

    /// Those of them that vote at first.
    #[must_use]
    pub fn first_voters(&self) -> Vec<u32> {
        let count = self.quorum.map_or(u32::MAX, |knobs| knobs.first);
        self.voters().take(count as usize).collect()
    }

    fn with_topics(mut self) -> Self {
        self.topics = vec![TopicKnobs::default(); self.keys.div_ceil(crate::workload::PARTITIONS) as usize + 1];
        self
    }

    /// The same on so many nodes; on 0, the seed says on how many.
    #[must_use]
    pub fn on(self, nodes: u32) -> Self {
        let mut rng = rng::stream(self.seed, "cluster");
        let nodes = if nodes == 0 { *pick(&mut rng::stream(self.seed, "nodes"), &[1, 2, 3, 3, 3, 4, 5]) } else { nodes };
        if nodes == 1 {
            return self;
        }
        let mut roles = rng::stream(self.seed, "roles");
        let controllers = if nodes >= 3 && roles.random_ratio(1, 3) { if nodes >= 5 { 3 } else { 1 } } else { 0 };
        let brokers = nodes - controllers;
        let mut topics = topics::topics(self.topics.len(), brokers, &mut rng::stream(self.seed, "topics"));
        let candidates: Vec<u32> = (controllers + 1..=nodes).collect();
        let mut faults = self.faults.clone();
        faults.extend(fault::of_clusters(self.durability, &mut rng::stream(self.seed, "cluster faults")));
        if controllers > 0 && roles.random_bool(0.5) {
            faults = fault::with_wipes(faults, &mut roles);
            topics.iter_mut().for_each(TopicKnobs::survive_a_wipe);
        } else {
            // The bad copy must not be the last one.
            faults = fault::with_rot(faults, self.durability, &candidates, &mut rng::stream(self.seed, "rot"));
        }
        let voters = if controllers == 0 { nodes } else { controllers };
        let mut rng_of_quorum = rng::stream(self.seed, "voters");
        let mut quorum = quorum::quorum(voters, &mut rng_of_quorum);
        // A node that is both loses topics with its votes, and in page-cache mode whoever else has them all counts as unclean once it is killed.
        let may_wipe = quorum.is_some() && (controllers > 0 || self.durability == Durability::Fsync);
        let voter_wipes = if may_wipe { quorum::wipes(voters, &mut rng_of_quorum) } else { Vec::new() };
        if let Some(quorum) = &mut quorum {
            quorum.wipes_until = voter_wipes.iter().map(|(at, _)| *at).max().unwrap_or(0);
        }
        if controllers == 0 && !voter_wipes.is_empty() {
            fault::beside_wipes(&mut faults);
            topics.iter_mut().for_each(TopicKnobs::survive_a_wipe);
        }
        faults.extend(voter_wipes);
        let moves_dirs = self.move_dirs.is_some() && self.durability == Durability::Fsync;
        if moves_dirs && rng::stream(self.seed, "lost second disk").random_ratio(1, 3) {
            faults = fault::with_lost_second_disks(faults, &mut rng::stream(self.seed, "lost second disks"));
            topics.iter_mut().for_each(TopicKnobs::survive_a_wipe);
        }
        // One machine loses what page-cache durability does not keep: whatever it had acknowledged is on another one.
        let loses_one = self.durability == Durability::PageCache && rng::stream(self.seed, "loss").random_bool(0.5);
        if loses_one {
            faults = ambush::losing_one(faults, &mut rng::stream(self.seed, "loss"));
            topics.iter_mut().for_each(TopicKnobs::survive_a_wipe);
            ambush::as_it_joins(&mut faults, &topics, &mut rng::stream(self.seed, "reboot in proposal"));
        }
        // In page-cache mode a broker that starts without one of its disks may have lost something, and leaves ISR and ELR: there might be nobody left.
        let is_cached = self.durability == Durability::PageCache;
        if is_cached && faults.iter().any(|(_, fault)| matches!(fault, Fault::Wipe { .. } | Fault::WipeVoter { .. } | Fault::Rot { .. })) {
            faults.retain(|(_, fault)| !matches!(fault, Fault::BreakDisk { .. } | Fault::FillSecondDisk { .. }));
        }
        faults = fault::with_stalls(faults, &mut rng::stream(self.seed, "stalls"));
        faults = fault::with_late_metadata(faults, &mut rng::stream(self.seed, "late metadata"));
        faults.sort_unstable();
        let metadata = self.metadata.map(|knobs| MetadataKnobs { deadly: knobs.deadly && !loses_one, ..knobs });
        let mut producers = self.producers;
        if self.trim.is_some() {
            // A follower that begins where its leader's log does knows nothing of producers before: as in Kafka, what is deleted may be written again.
            producers.iter_mut().for_each(ProducerKnobs::be_brief);
        }
        let moves = *pick(&mut rng::stream(self.seed, "reassign"), &[None, Some(2 * SECOND), Some(5 * SECOND)]);
        Self {
            nodes,
            controllers,
            replication: i16::try_from(brokers.min(3)).expect("three at most"),
            min_isr: 2,
            session_ms: *pick(&mut rng, &[1_000, 2_000, 9_000]),
            lag_ms: *pick(&mut rng, &[1_000, 5_000, 30_000]),
            topics,
            racks: *pick(&mut rng::stream(self.seed, "near"), &[2, 3, 0, 0]),
            metadata,
            imbalance_s: *pick(&mut rng, &[300, 300, 1, 4]),
            quorum,
            relay: if loses_one { 0 } else { *pick(&mut rng, &[0, 0, 60]) },
            reassign: moves.filter(|_| !loses_one),
            minimum: *pick(&mut rng::stream(self.seed, "minimum"), &[None, Some(SECOND), Some(4 * SECOND)]),
            idles: false,
            producers,
            faults,
            ..self
        }
    }
}

/// When the metadata log gets snapshots, and what is kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
