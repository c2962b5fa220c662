//! What both tiers put on stage from a plan: the node's settings, its clients, and the ledger of the faults that struck.

use crate::chance::{Chance, Matter};
use crate::cluster::client::{Actor, ClientId};
use crate::disk::Bites;
use crate::plan::{DRIFT_MAX, Fault, GroupKnobs, Plan, ProducerKnobs, TopicKnobs};
use crate::workload::admin::{AdminActor, NewTopic};
use crate::workload::dir_moves::DirMoves;
use crate::workload::ends::Ends;
use crate::workload::fleeting::Fleeting;
use crate::workload::gone::{Gone, Retention};
use crate::workload::group::member::{MemberActor, Options as MemberOptions};
use crate::workload::group::watch::Watch;
use crate::workload::minimum::Minimum;
use crate::workload::moves::Moves;
use crate::workload::nearby::Racks;
use crate::workload::operator::Operator;
use crate::workload::producer::{Options as ProducerOptions, ProducerActor};
use crate::workload::reader::{Options as ReaderOptions, ReaderActor};
use crate::workload::sequence::{self, Sequences};
use crate::workload::solo::{Soloist, Task};
use crate::workload::times::Times;
use crate::workload::trim::Trim;
use crate::workload::voters::Voters;
use crate::workload::whole::Whole;
use crate::workload::{Book, PARTITIONS, place};
use bytes::Bytes;
use klamm::store::{Identity, MetaProperties, Options as StoreOptions};
use klamm_core::client::TopicPartition;
use klamm_core::client::consumer::GroupConfig;
use klamm_core::client::io::{Address, Common};
use klamm_core::client::producer::{Acks, Config as ProducerConfig};
use klamm_core::config::{Durability, Endpoint, quorum};
use klamm_core::id::{BrokerId, Uuid};
use klamm_core::rng::Rng;
use klamm_core::time::{Instant, Timestamp};
use klamm_core::wire::records::control::first_checkpoint as first_checkpoint_of;
use klamm_jepsen::history::Key;
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The node's number.
pub(crate) const NODE: u32 = 1;
/// The cluster's id.
pub(crate) const CLUSTER: &str = "klamm-simulation-00000";
/// Below so many free bytes a simulated broker takes no more records.
pub(crate) const RESERVE_BYTES: u64 = 8_000;
/// Kafka's selector that sends clients to replicas in their rack.
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
/// Members of groups that stand in a rack ask their leaders so often who is near.
const NEAR_FOR: Duration = Duration::from_secs(5);
/// Nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// So long after the last fault everything is taken to be healed: connections stand again, and cuts and pauses are over.
pub(crate) const HEALED_AFTER: u64 = 6 * SECOND;
/// All nodes must be up within this, once all is healed: a disk may hold more than a hundred thousand segments by then.
pub(crate) const UP_LIMIT: u64 = DRAIN_LIMIT;
/// Then clients go on for so long; what they begin must end well.
pub(crate) const CALM: u64 = 2 * SECOND;
/// After the load everything must have settled within this.
pub(crate) const DRAIN_LIMIT: u64 = 400 * SECOND;
/// Groups must be stable and have committed everything within this, once all is healed.
pub(crate) const GROUPS_LIMIT: u64 = 120 * SECOND;
/// So long groups that have settled are left alone where their offsets may be thought to have expired.
pub(crate) const IDLE: u64 = 75 * SECOND;
/// All replicas must be in sync and the same within this, once all is healed, and on the mesh once they get no further: how much there is to fill anew,
/// nobody bounds.
pub(crate) const REPLICAS_LIMIT: u64 = 60 * SECOND;
/// A healed cluster must show something more within this, until it has shown everything: how much there is to read, nobody bounds.
pub(crate) const READ_LIMIT: u64 = 60 * SECOND;
/// So long a node is down that stopped itself.
pub(crate) const HALTED_DOWN: u64 = SECOND / 5;

/// An actor on stage.
pub(crate) type Player = Box<dyn Actor>;

/// A node's properties.
pub(crate) fn properties(plan: &Plan, node: u32) -> Vec<(&'static str, String)> {
    let durability = match plan.durability {
        Durability::Fsync => "fsync",
        Durability::PageCache => "page-cache",
    };
    let mut all = vec![
        ("log.durability", durability.to_owned()),
        ("num.partitions", "2".to_owned()),
        ("offsets.topic.num.partitions", "2".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("group.min.session.timeout.ms", "500".to_owned()),
        ("log.retention.check.interval.ms", "1000".to_owned()),
        // A broker that starts in an outage is to see its end.
        ("initial.broker.registration.timeout.ms", i32::MAX.to_string()),
        // In a quarter of the runs some members are one too many.
        ("group.max.size", if plan.seed % 4 == 1 { "3" } else { "1000" }.to_owned()),
    ];
    // A node alone is never spared: there it would be all of them.
    if let Some(metadata) = plan.metadata.filter(|metadata| plan.nodes == 1 || metadata.spared != Some(node)) {
        all.push(("metadata.log.max.record.bytes.between.snapshots", metadata.snapshot_bytes.to_string()));
        all.push(("metadata.log.max.snapshot.interval.ms", metadata.snapshot_ms.to_string()));
        all.push(("metadata.max.retention.bytes", metadata.retention_bytes.to_string()));
        all.push(("internal.metadata.log.segment.bytes", metadata.segment_bytes.to_string()));
        all.push(("controller.quorum.fetch.snapshot.max.bytes", metadata.piece_bytes.to_string()));
    }
    if let Some(count) = plan.fetch_sessions {
        all.push(("max.incremental.fetch.session.cache.slots", count.to_string()));
    }
    if plan.idles {
        all.push(("offsets.retention.minutes", "1".to_owned()));
        all.push(("offsets.retention.check.interval.ms", "1000".to_owned()));
    }
    if let Some(rack) = plan.rack_of(node).filter(|_| node > plan.controllers) {
        all.push(("broker.rack", rack));
        all.push(("replica.selector.class", RACK_AWARE.to_owned()));
    }
    if plan.nodes > 1 {
        let of_voters = |named: &dyn Fn(u32) -> String| plan.voters().map(named).collect::<Vec<_>>().join(",");
        all.push(match plan.quorum {
            None => ("controller.quorum.voters", of_voters(&|node| format!("{node}@node-{node}:9093"))),
            Some(_) => ("controller.quorum.bootstrap.servers", of_voters(&|node| format!("node-{node}:9093"))),
        });
        all.push(("min.insync.replicas", plan.min_isr.to_string()));
        all.push(("default.replication.factor", plan.replication.to_string()));
        // Where it is not set, it is bounded by the brokers that there are when all voters have registered. That may be one, which must not be the
        // one that loses what it has.
        if plan.controllers > 0 || plan.loses_a_copy() {
            all.push(("offsets.topic.replication.factor", plan.replication.to_string()));
        }
        all.push(("broker.heartbeat.interval.ms", (plan.session_ms / 4).to_string()));
        all.push(("broker.session.timeout.ms", plan.session_ms.to_string()));
        all.push(("replica.lag.time.max.ms", plan.lag_ms.to_string()));
        all.push(("replica.high.watermark.checkpoint.interval.ms", "1000".to_owned()));
        all.push(("leader.imbalance.check.interval.seconds", plan.imbalance_s.to_string()));
    }
    all
}

/// The id of a node's log directory.
/// The log directories of a node, as far as it has so many.
pub(crate) const LOG_DIRS: [&str; 2] = ["data", "more"];

pub(crate) fn directory(node: u32) -> Uuid {
    Uuid([6u8.wrapping_add(node as u8); 16])
}

/// What feeds a node's own chance.
pub(crate) fn seed_of(plan: &Plan, node: u32) -> u64 {
    plan.seed ^ (u64::from(node - NODE) << 32)
}

/// How the node's store works.
pub(crate) fn store_options(plan: &Plan) -> StoreOptions {
    StoreOptions { index_interval_bytes: plan.index_interval, index_run: plan.index_run, open_files: plan.open_files, recoveries: 2 }
}

/// Whose disk it is.
pub(crate) fn owner(node: u32) -> Identity {
    Identity { cluster: CLUSTER.to_owned(), node: BrokerId(node as i32) }
}

/// What a format of the disk writes down.
pub(crate) fn meta(node: u32) -> MetaProperties {
    MetaProperties { owner: owner(node), directory: directory(node) }
}

/// A node's controller listener.
pub(crate) fn controller_endpoint(node: u32) -> Endpoint {
    Endpoint { name: "CONTROLLER".to_owned(), host: format!("node-{node}"), port: 9093, security: 0 }
}

/// What the first format of a controller writes down of the quorum, where voters can change: those that it lists. The others join later.
pub(crate) fn first_checkpoint(plan: &Plan, node: u32) -> Option<Bytes> {
    let first = plan.first_voters();
    if plan.quorum.is_none() || !first.contains(&node) {
        return None;
    }
    let voter = |node: &u32| quorum::voter(BrokerId(*node as i32), directory(*node), &[controller_endpoint(*node)]);
    Some(first_checkpoint_of(first.iter().map(voter).collect(), Timestamp(0)))
}

fn keys(plan: &Plan) -> Vec<Key> {
    (0..plan.keys).map(Key).collect()
}

/// Keys of producers that are not idempotent.
fn side_keys(plan: &Plan) -> Vec<Key> {
    let first = plan.keys.next_multiple_of(PARTITIONS);
    (first..first + PARTITIONS).map(Key).collect()
}

/// The clients of a run, who find the nodes `at` those addresses. What producers do that are not idempotent is written into `side`.
pub(crate) fn cast(plan: &Plan, at: &[Address], book: &Book, side: &Book, chance: &Chance) -> Vec<(ClientId, Player)> {
    for book in [book, side] {
        let book = &mut *book.borrow_mut();
        (book.gone, book.misdates, book.rots) = (gone(plan), is_misdating(plan), plan.rots());
    }
    let at = at.to_vec();
    let mut cast: Vec<(ClientId, Player)> = Vec::new();
    cast.push((ClientId(100), Box::new(AdminActor::new(at.clone(), new_topics(plan), book.clone()))));
    for (number, knobs) in plan.producers.iter().enumerate() {
        let (keys, book) = if knobs.idempotent { (keys(plan), book) } else { (side_keys(plan), side) };
        let options = producer_options(knobs, at.clone(), keys);
        let actor = ProducerActor::new(options, book.clone(), plan.seed ^ (number as u64 + 1));
        cast.push((ClientId(200 + number as u32), Box::new(actor)));
    }
    for number in 0..plan.readers {
        let mut rng = chance.rng(Matter::Reader { number });
        let max_wait = Duration::from_millis(rng.random_range(0..1_000));
        let think = Duration::from_millis(rng.random_range(1..300));
        for (part, keys) in reading(plan, keys(plan)).into_iter().enumerate() {
            let (retention, from_followers) = (plan.trim.is_some(), number % 2 == 1);
            let options =
                ReaderOptions { from: at.clone(), keys, think, max_wait, until_end: false, retention, from_followers, racks: None };
            cast.push((ClientId(300 + number + 10 * part as u32), Box::new(ReaderActor::new(options, book.clone()))));
        }
    }
    for (part, keys) in side_reading(plan).into_iter().enumerate() {
        let (think, max_wait) = (Duration::from_millis(50), Duration::from_millis(300));
        let options = ReaderOptions {
            from: at.clone(),
            keys,
            think,
            max_wait,
            until_end: false,
            retention: plan.trim.is_some(),
            from_followers: false,
            racks: None,
        };
        cast.push((ClientId(380 + part as u32), Box::new(ReaderActor::new(options, side.clone()))));
    }
    cast.extend(near_readers(plan, &at, book, (Duration::from_millis(100), Duration::from_millis(700)), false, 340));
    cast.extend(soloists(plan, &at, book));
    cast.extend(dir_movers(plan, &at, book));
    if plan.nodes > 1 {
        cast.extend(questioners(plan, &at, book));
    }
    for (number, knobs) in plan.groups.iter().enumerate() {
        let first = 500 + 20 * number as u32;
        let members = (0..knobs.members + u32::from(knobs.rival)).map(|member| (first + member, member));
        for (id, member) in members {
            let options = member_options(plan, knobs, number, member, at.clone());
            cast.push((ClientId(id), Box::new(MemberActor::new(options, book.clone(), plan.seed ^ u64::from(id)))));
        }
        let mut book = book.borrow_mut();
        let ledger = book.groups.entry(group_name(number)).or_default();
        (ledger.may_be_behind, ledger.may_begin_anew) = (plan.nodes > 1, plan.idles);
    }
    cast.retain(|(id, _)| !plan.absent.contains(&id.0));
    cast
}

/// The numbers of those who are on stage from the beginning.
pub(crate) fn players(plan: &Plan) -> BTreeSet<u32> {
    let (book, side) = (Book::default(), Book::default());
    let at: Vec<Address> = plan.brokers().map(crate::cluster::mesh::Mesh::address).collect();
    cast(plan, &at, &book, &side, &Chance::of_seed(plan.seed)).into_iter().map(|(id, _)| id.0).collect()
}

/// Who reads every key from the nearest replica, with these pauses and waits, where somebody stands in a rack.
fn near_readers(
    plan: &Plan,
    at: &[Address],
    book: &Book,
    (think, max_wait): (Duration, Duration),
    until_end: bool,
    first: u32,
) -> Vec<(ClientId, Player)> {
    let brokers: Vec<(BrokerId, String)> = plan.brokers().filter_map(|node| Some((BrokerId(node as i32), plan.rack_of(node)?))).collect();
    let reader = |key: Key| -> Option<(ClientId, Player)> {
        let racks = Some(Racks { own: plan.rack_of(key.0)?, brokers: brokers.clone() });
        let (from, keys, retention) = (at.to_vec(), vec![key], plan.trim.is_some());
        let options = ReaderOptions { from, keys, think, max_wait, until_end, retention, from_followers: false, racks };
        Some((ClientId(first + key.0), Box::new(ReaderActor::new(options, book.clone()))))
    };
    keys(plan).into_iter().filter_map(reader).collect()
}

fn new_topics(plan: &Plan) -> Vec<NewTopic> {
    let named = |(number, knobs): (usize, &TopicKnobs)| NewTopic {
        name: format!("t{number}"),
        replication: knobs.replication,
        configs: topic_configs(plan, knobs),
    };
    let mut all: Vec<NewTopic> = plan.topics.iter().enumerate().map(named).collect();
    // What a new replica is not sent any more it knows no producers of: what is known beforehand of a sequence holds as long as nothing is deleted.
    let kept = Plan { trim: plan.trim.filter(|_| plan.nodes == 1), ..plan.clone() };
    let knobs = TopicKnobs { replication: plan.replication, min_isr: i16::try_from(plan.min_isr).expect("few"), unclean: false };
    all.push(NewTopic { name: sequence::TOPIC.to_owned(), replication: plan.replication, configs: topic_configs(&kept, &knobs) });
    all
}

fn topic_configs(plan: &Plan, knobs: &TopicKnobs) -> Vec<(&'static str, String)> {
    let mut configs = vec![("internal.segment.bytes", plan.segment_bytes.to_string())];
    configs.extend(plan.trim.and_then(|trim| trim.retention).map(|retention| match retention {
        Retention::Ms(ms) => ("retention.ms", ms.to_string()),
        Retention::Bytes(bytes) => ("retention.bytes", bytes.to_string()),
    }));
    if plan.nodes > 1 {
        configs.push(("min.insync.replicas", knobs.min_isr.to_string()));
    }
    if knobs.unclean {
        configs.push(("unclean.leader.election.enable", "true".to_owned()));
    }
    configs
}

/// By how many ms the node's wall clock jumps, each time.
fn jumps(plan: &Plan) -> impl Iterator<Item = i64> {
    plan.faults.iter().map(|(_, fault)| if let Fault::ClockJump(by) = fault { *by } else { 0 })
}

/// The node's clock may fall so far behind that it refuses records as dated too far ahead.
fn is_misdating(plan: &Plan) -> bool {
    const AHEAD_MAX_MS: i64 = 3_600_000;
    let spread = plan.producers.iter().map(|knobs| knobs.time_spread_ms).max().unwrap_or(0);
    spread - jumps(plan).map(|by| by.min(0)).sum::<i64>() >= AHEAD_MAX_MS
}

fn gone(plan: &Plan) -> Gone {
    // A jump that was planned may not strike, so only those count that go forward.
    let drifts = plan.faults.iter().any(|(_, fault)| matches!(fault, Fault::Drift(by) if *by > 0));
    let drifted = if drifts { (plan.load / 1_000_000) as i64 * DRIFT_MAX / 1_000_000 } else { 0 };
    let skew_ms = jumps(plan).map(|by| by.max(0)).sum::<i64>() + drifted;
    Gone::new(plan.trim.and_then(|trim| trim.retention), skew_ms)
}

/// Clients that ask each node of a cluster the same.
fn questioners(plan: &Plan, at: &[Address], book: &Book) -> Vec<(ClientId, Player)> {
    let mut cast: Vec<(ClientId, Player)> = Vec::new();
    for (node, at) in (0..).zip(at) {
        let think = Duration::from_millis(300);
        let rng = klamm_core::rng::stream(plan.seed, &format!("ends of {node}"));
        cast.push((ClientId(700 + node), Box::new(Soloist::new(vec![at.clone()], Ends::new(keys(plan), think, book.clone(), rng)))));
    }
    cast
}

/// Clients that move replicas between the disks of each broker.
fn dir_movers(plan: &Plan, at: &[Address], book: &Book) -> Vec<(ClientId, Player)> {
    let Some(every) = plan.move_dirs.map(Duration::from_nanos) else { return Vec::new() };
    let mover = |(node, at): (u32, &Address)| -> (ClientId, Player) {
        (ClientId(720 + node), Box::new(Soloist::new(vec![at.clone()], DirMoves::new(plan, node, every, book.clone()))))
    };
    (0..).zip(at).map(mover).collect()
}

/// Clients that ask one thing after the other.
fn soloists(plan: &Plan, at: &[Address], book: &Book) -> Vec<(ClientId, Player)> {
    fn solo(at: &[Address], task: impl Task + 'static) -> Player {
        Box::new(Soloist::new(at.to_vec(), task))
    }
    let think = Duration::from_millis(400);
    let mut cast = vec![
        (ClientId(600), solo(at, Times::new(keys(plan), think, book.clone(), plan.seed))),
        (ClientId(604), solo(at, Sequences::new(think, book.clone(), plan.seed))),
    ];
    if let Some(every) = plan.trim.and_then(|trim| trim.every) {
        cast.push((ClientId(601), solo(at, Trim::new(keys(plan), Duration::from_nanos(every), book.clone(), plan.seed))));
    }
    if let Some(every) = plan.reassign.map(Duration::from_nanos) {
        cast.push((ClientId(605), solo(at, Moves::new(plan, every, book.clone()))));
    }
    if let Some(every) = plan.minimum.map(Duration::from_nanos) {
        cast.push((ClientId(608), solo(at, Minimum::new(plan, every, book.clone()))));
    }
    if let Some(knobs) = plan.quorum {
        let operators = if knobs.rival { 2 } else { 1 };
        cast.extend((0..operators).map(|number| (ClientId(606 + number), solo(at, Voters::new(plan, knobs, number, book.clone())))));
    }
    if let Some(every) = plan.operator.map(Duration::from_nanos) {
        let topics = (0..plan.keys.div_ceil(PARTITIONS)).map(|topic| format!("t{topic}")).collect();
        cast.push((ClientId(602), solo(at, Operator::new(topics, every, book.clone(), plan.seed))));
        let least = if plan.loses_a_copy() { 2 } else { 1 };
        cast.push((ClientId(603), solo(at, Fleeting::new(every, least..=plan.replication, book.clone(), plan.seed))));
    }
    cast
}

/// Whether a client puts things in order, where others produce, read, and compare what they are told.
pub(crate) fn is_operator(client: ClientId) -> bool {
    matches!(client.0, 602..=603 | 605..=608 | 720..)
}

fn group_name(number: usize) -> String {
    format!("g{number}")
}

fn member_options(plan: &Plan, knobs: &GroupKnobs, group: usize, member: u32, at: Vec<Address>) -> MemberOptions {
    let is_rival = member == knobs.members;
    let instance = if is_rival { Some(0) } else { Some(member).filter(|member| *member < knobs.statics || (*member == 0 && knobs.rival)) };
    let config = GroupConfig {
        instance: instance.map(|instance| format!("i{instance}")),
        session_timeout: knobs.session,
        heartbeat_interval: knobs.session / 4,
        max_poll_interval: knobs.max_poll_interval,
        assignors: knobs.assignors.clone(),
        auto_commit: knobs.auto_commit,
        ..GroupConfig::new(group_name(group))
    };
    // Every other member stands in a rack.
    let rack = plan.rack_of(group as u32 + member / 2).filter(|_| member.is_multiple_of(2));
    let common = Common { request_timeout: Duration::from_secs(3), auto_create_topics: false, ..Common::new(at) };
    MemberOptions {
        common: if rack.is_some() { Common { metadata_max_age: NEAR_FOR, ..common } } else { common },
        rack: rack.unwrap_or_default(),
        group: config,
        topics: (0..plan.keys.div_ceil(PARTITIONS)).map(|topic| format!("t{topic}").into()).collect(),
        max_records: knobs.max_records,
        think: knobs.think,
        mood: knobs.mood,
        begins: Instant(if is_rival { 8 * SECOND } else { u64::from(member) * SECOND }),
    }
}

/// Faults have ended: `from` then on what clients begin must end well.
pub(crate) fn calm(books: [&Book; 2], from: u64) {
    books.into_iter().for_each(|book| book.borrow_mut().calm_from = Some(from));
}

/// How much longer producers rest between two sends from now on.
pub(crate) fn rest(books: [&Book; 2], rest: Duration) {
    books.into_iter().for_each(|book| book.borrow_mut().rest = rest);
}

/// Nothing more is begun.
pub(crate) fn drain(books: [&Book; 2]) {
    for book in books {
        let mut book = book.borrow_mut();
        book.draining = true;
        // Whoever was deposed has heard of it by now.
        book.groups.values_mut().for_each(|ledger| ledger.may_be_behind = false);
    }
}

/// Who waits for all groups when all is healed; nobody if there is none.
pub(crate) fn watch(plan: &Plan, round: u32, at: &[Address], book: &Book) -> Option<(ClientId, Player)> {
    if plan.groups.is_empty() {
        return None;
    }
    let groups = (0..plan.groups.len()).map(group_name).collect();
    let keys = (0..plan.keys.next_multiple_of(PARTITIONS)).map(Key).collect();
    book.borrow_mut().groups_settled = false;
    Some((ClientId(450 + round), Box::new(Watch::new(at.to_vec(), groups, keys, book.clone()))))
}

/// Who waits until a cluster is whole; nobody if there is but one node.
pub(crate) fn whole(plan: &Plan, at: &[Address], book: &Book) -> Option<(ClientId, Player)> {
    if plan.nodes == 1 {
        return None;
    }
    book.borrow_mut().missing = vec!["no node tells of the cluster".to_owned()];
    let task = Whole::new(plan.brokers().count(), book.clone());
    Some((ClientId(460), Box::new(Soloist::new(at.to_vec(), task))))
}

/// Which keys one reader reads: it speaks to one node at a time, and so in a cluster to the leader of one key.
fn reading(plan: &Plan, keys: Vec<Key>) -> Vec<Vec<Key>> {
    if plan.nodes == 1 { vec![keys] } else { keys.into_iter().map(|key| vec![key]).collect() }
}

/// The same, of what producers write that are not idempotent.
fn side_reading(plan: &Plan) -> Vec<Vec<Key>> {
    // What an unclean election takes was readable before.
    let may_be_lost = plan.topics.last().is_some_and(|knobs| knobs.unclean);
    let is_written = plan.producers.iter().any(|knobs| !knobs.idempotent);
    if is_written && !may_be_lost { reading(plan, side_keys(plan)) } else { Vec::new() }
}

/// Who reads everything when all is healed.
pub(crate) fn last_readers(plan: &Plan, at: &[Address], book: &Book, side: &Book) -> Vec<(ClientId, Player)> {
    let (think, max_wait) = (Duration::from_millis(1), Duration::from_millis(100));
    let reader = |(part, (keys, book)): (usize, (Vec<Key>, &Book))| {
        let (retention, from_followers) = (plan.trim.is_some(), false);
        let options = ReaderOptions { from: at.to_vec(), keys, think, max_wait, until_end: true, retention, from_followers, racks: None };
        let actor: Player = Box::new(ReaderActor::new(options, book.clone()));
        (ClientId(400 + part as u32), actor)
    };
    let main = reading(plan, keys(plan)).into_iter().map(|keys| (keys, book));
    let mut last: Vec<(ClientId, Player)> =
        main.chain(side_reading(plan).into_iter().map(|keys| (keys, side))).enumerate().map(reader).collect();
    last.extend(near_readers(plan, at, book, (think, max_wait), true, 420));
    last
}

/// What readers have not reached, when the cluster shows nothing more.
pub(crate) fn unshown(book: &Book, side: &Book) -> String {
    let (seen, of_side) = (book.borrow().last_seen.clone(), side.borrow().last_seen.clone());
    format!("liveness: a healed cluster does not show everything, and nothing more within a minute: {seen:?} {of_side:?}")
}

/// How many records the last readers were shown.
pub(crate) fn shown(book: &Book, side: &Book) -> usize {
    [book, side].into_iter().map(|book| book.borrow().in_the_end.values().map(Vec::len).sum::<usize>()).sum()
}

/// Waits as long as something gets on, however slowly.
#[derive(Debug)]
pub(crate) struct Patience {
    lasts: u64,
    reached: usize,
    until: u64,
}

impl Patience {
    pub(crate) fn new(now: u64, lasts: u64) -> Self {
        Self { lasts, reached: 0, until: now + lasts }
    }

    /// Until when is waited, now that it has come so far.
    pub(crate) fn until(&mut self, now: u64, reached: usize) -> u64 {
        if reached > self.reached {
            (self.reached, self.until) = (reached, now + self.lasts);
        }
        self.until
    }
}

/// What is wrong with the groups in the end: they did not settle, or passed records over.
pub(crate) fn unsettled(book: &Book) -> Vec<String> {
    let book = book.borrow();
    if !book.groups_settled {
        return vec![format!("liveness: groups do not settle and commit everything, though all is healed: {:?}", book.last_of_groups)];
    }
    let mut found = Vec::new();
    for (group, ledger) in &book.groups {
        for (key, offsets) in &book.in_the_end {
            let (topic, partition) = place(*key);
            let part = TopicPartition::new(topic, partition);
            let must = offsets.iter().copied().filter(|offset| !book.may_be_gone(*key, *offset));
            if let Some(offset) = ledger.unprocessed(&part, must) {
                found.push(format!("group {group}: no member was ever given offset {offset} of {part}, though its commits lie behind"));
            }
        }
    }
    found
}

/// A producer, reader or member, by chance.
pub(crate) fn some_client(plan: &Plan, rng: &mut Rng) -> ClientId {
    let producers = (0..plan.producers.len() as u32).map(|at| 200 + at);
    let readers = (0..plan.readers).map(|at| 300 + at);
    let members = plan.groups.iter().enumerate().flat_map(|(group, knobs)| (0..knobs.members).map(move |at| 500 + 20 * group as u32 + at));
    let near = (0..plan.keys).filter(|_| plan.racks > 0).map(|at| 340 + at);
    let all: Vec<u32> = producers.chain(readers).chain(members).chain(near).collect();
    ClientId(all[rng.random_range(0..all.len())])
}

fn producer_options(knobs: &ProducerKnobs, at: Vec<Address>, keys: Vec<Key>) -> ProducerOptions {
    let common = Common { request_timeout: knobs.request_timeout, auto_create_topics: false, ..Common::new(at) };
    let acks = match knobs.acks {
        0 => Acks::None,
        1 => Acks::Leader,
        _ => Acks::All,
    };
    let config = ProducerConfig {
        acks,
        idempotent: knobs.idempotent,
        linger: knobs.linger,
        batch_size: knobs.batch_size,
        buffer_memory: knobs.buffer_memory,
        compression: knobs.compression,
        delivery_timeout: knobs.delivery_timeout,
        ..ProducerConfig::new(common)
    };
    ProducerOptions {
        config,
        processes: knobs.processes,
        keys,
        think: knobs.think,
        record_bytes: knobs.record_bytes,
        time_spread_ms: knobs.time_spread_ms,
    }
}

/// How often each fault was planned and bit, and whether a disk fault excuses that a node stops itself.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    struck: BTreeMap<&'static str, (u64, u64)>,
    /// A disk fault was injected, so that a halt is the right reaction; with true, the machine must be started anew.
    halt_is_due: Option<bool>,
    last_bites: Bites,
    /// Writes that found the disk full, when the node last stopped itself.
    full_excused: u64,
    /// The disk was made small.
    pub(crate) is_filled: bool,
    /// The disk would not read: what is offline since comes back with the next start.
    pub(crate) wants_restart: bool,
}

impl Ledger {
    /// A fault strikes.
    pub(crate) fn planned(&mut self, name: &'static str) {
        self.struck.entry(name).or_default().0 += 1;
    }

    /// A fault bites.
    pub(crate) fn bit(&mut self, name: &'static str) {
        self.struck.entry(name).or_default().1 += 1;
    }

    /// A disk fault strikes after which the node may stop itself; with `power`, what the operating system holds can then no longer be trusted.
    pub(crate) fn disk_fault(&mut self, power: bool) {
        self.halt_is_due = Some(power || self.halt_is_due == Some(true));
    }

    /// The node has another disk, on which nothing has happened; `left` is what happened on those that it keeps.
    pub(crate) fn another_disk(&mut self, left: Bites) {
        (self.last_bites, self.full_excused, self.is_filled) = (left, left.full, false);
    }

    /// The node has stopped itself. Says whether the machine must be started anew.
    ///
    /// # Errors
    /// It had no reason.
    pub(crate) fn halted(&mut self, why: &str, bites: Bites) -> Result<bool, String> {
        // A halt is heard of when the last answers have left, which may be after room was made.
        let was_full = self.is_filled || bites.full > self.full_excused;
        self.full_excused = bites.full;
        // Without room the metadata log takes nothing: the broker stops, as Kafka does, and starts again when the operator has made room.
        // Nor is there room for the mark of a clean end: the next start scans the logs.
        if was_full && (why.contains("metadata log") || why.ends_with("Full")) {
            return Ok(false);
        }
        // A fault that strikes while the node recovers, or closes, is seen by the store before the broker.
        if self.halt_is_due.is_none() && why.contains("injected") {
            return Ok(false);
        }
        self.halt_is_due.take().ok_or_else(|| format!("the node stopped itself without a disk fault: {why}"))
    }

    /// Injected I/O errors bite when the store runs into them.
    pub(crate) fn count(&mut self, bites: Bites) {
        let errors = bites.io_errors - self.last_bites.io_errors;
        if errors > 0 {
            self.struck.entry("io-error").or_default().1 += errors;
        }
        self.last_bites = bites;
    }

    /// By fault: how often it was planned, and how often it bit.
    pub(crate) fn into_struck(self) -> BTreeMap<&'static str, (u64, u64)> {
        self.struck
    }
}

/// What struck all nodes together.
pub(crate) fn struck(ledgers: impl Iterator<Item = Ledger>) -> BTreeMap<&'static str, (u64, u64)> {
    let mut all: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    for (name, (planned, bit)) in ledgers.flat_map(Ledger::into_struck) {
        let entry = all.entry(name).or_default();
        (entry.0, entry.1) = (entry.0 + planned, entry.1 + bit);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Patience, properties};
    use crate::plan::Plan;

    /// On three nodes, of which one votes at first.
    #[test]
    fn where_a_node_may_lose_its_copy_the_offsets_of_groups_are_on_others() {
        let plan = Plan::general(350).on(3);
        assert!(plan.loses_a_copy() && plan.first_voters() == [1]);
        assert!(properties(&plan, 1).contains(&("offsets.topic.replication.factor", "3".to_owned())));
    }

    #[test]
    fn who_gets_on_is_waited_for_and_who_stands_still_is_not() {
        let mut patience = Patience::new(100, 60);
        assert_eq!(patience.until(100, 0), 160);
        assert_eq!(patience.until(150, 1), 210);
        assert_eq!(patience.until(200, 1), 210);
        assert_eq!(patience.until(209, 0), 210);
        assert_eq!(patience.until(209, 2), 269);
    }
}
