//! Watches the nodes of a mesh from within: what they give to their stores, what they answer, and what they show after every event. The rules are
//! those of `klamm_core::invariant`; here is what they need to know of the past and of the other nodes.

mod clients;
mod quorum;
mod replica;
mod settled;
#[cfg(test)]
mod tests;
mod truth;

use klamm_core::broker::View;
use klamm_core::broker::io::Effect;
use klamm_core::config::Durability;
use klamm_core::controller::image::Partition as Decided;
use klamm_core::controller::{Image, directory, image::Resource};
use klamm_core::id::{BrokerId, LeaderEpoch, LogId, Offset, Ticket, Uuid};
use klamm_core::invariant::{self, Given, Rising, Verdict};
use klamm_core::partition::isr::Isr;
use klamm_core::partition::leader::Leader;
use klamm_core::partition::{Owner, Partition, PartitionId};
use klamm_core::quorum::{Election, Replica as Voter};
use klamm_core::store::StoreOp;
use klamm_core::wire::Response;
use replica::{Replica, Voters};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};
use truth::Truth;

/// The file with a voter's vote.
const ELECTION_FILE: &str = "__cluster_metadata-0/quorum-state";

/// What was last seen of a replica: while that stays the same, there is nothing to look at.
type Glance = (Offset, Offset, Offset, Offset, Option<(LeaderEpoch, i32, u64)>);

/// What is known of one node.
#[derive(Debug, Default)]
struct Seen {
    directory: Uuid,
    life: u64,
    logs: BTreeMap<LogId, PartitionId>,
    replicas: BTreeMap<PartitionId, Replica>,
    glances: BTreeMap<PartitionId, Glance>,
    /// Who counts for it where it leads, and in which epoch.
    counted: BTreeMap<PartitionId, (LeaderEpoch, BTreeSet<BrokerId>)>,
    /// Elections on their way to the disk.
    saving: BTreeMap<Ticket, Election>,
    /// Logs that are on their way to begin anew.
    restarting: BTreeMap<Ticket, PartitionId>,
    /// Logs that are being deleted.
    deleting: BTreeMap<Ticket, (PartitionId, Replica)>,
    applied: Offset,
    /// It lost what was durable. The registration of a process that began since then says so; one of a process before may still be decided.
    has_lost: bool,
    /// What it lost with its second disk, the same way.
    lost: BTreeSet<PartitionId>,
    /// Its processes since then; all of them, if it lost nothing.
    incarnations: BTreeSet<Uuid>,
}

/// Sees everything.
#[derive(Debug)]
pub struct Oracle {
    nodes: BTreeMap<u32, Seen>,
    durability: Durability,
    /// Who votes in the metadata quorum before its log says anything of that.
    first_voters: Voters,
    truths: BTreeMap<PartitionId, Truth>,
    /// Partitions whose committed records may be lost, for an operator has said so.
    given_up: BTreeSet<PartitionId>,
    leaders: Given<(PartitionId, LeaderEpoch), u32>,
    quorum_leaders: Given<LeaderEpoch, u32>,
    votes: Given<(Uuid, LeaderEpoch), Voter>,
    voter_epochs: Rising<Uuid, LeaderEpoch>,
    /// What was durable of the metadata log on disks that are lost.
    lost_disks: BTreeMap<Voter, Offset>,
    producer_ids: Given<i64, u32>,
    /// By partition, epoch and first offset, the checksum of a batch that is durable.
    batches: Given<(PartitionId, LeaderEpoch, Offset), u32>,
    registrations: Rising<BrokerId, i64>,
    /// By offset, the hash of the metadata up to there.
    images: Given<Offset, u64>,
    newest: (Offset, Image),
    found: Vec<String>,
}

impl Oracle {
    /// Nothing was seen yet of a cluster with these voters at first, whose brokers count appends as done by `durability`.
    #[must_use]
    pub fn new(first_voters: BTreeSet<Voter>, durability: Durability) -> Self {
        Self {
            durability,
            nodes: BTreeMap::new(),
            first_voters,
            truths: BTreeMap::new(),
            given_up: BTreeSet::new(),
            leaders: Given::new("leadership"),
            quorum_leaders: Given::new("leadership of the metadata quorum"),
            votes: Given::new("the vote"),
            voter_epochs: Rising::new("the voter's epoch"),
            lost_disks: BTreeMap::new(),
            producer_ids: Given::new("producer id"),
            batches: Given::new("the batch"),
            registrations: Rising::new("broker epoch"),
            images: Given::new("metadata of offset"),
            newest: (Offset(-1), Image::default()),
            found: Vec::new(),
        }
    }

    /// A node whose disk is formatted as `directory`; nothing is left of what was there before.
    pub fn formatted(&mut self, node: u32, directory: Uuid) {
        let has_lost = self.newest.1.brokers().contains_key(&BrokerId(node as i32));
        let before = self.nodes.insert(node, Seen { directory, has_lost, ..Seen::default() });
        let metadata = before.as_ref().and_then(|seen| Some((seen.directory, seen.replicas.get(&View::METADATA)?)));
        self.lost_disks.extend(metadata.map(|(lost, replica)| ((BrokerId(node as i32), lost), replica.durable)));
    }

    /// A node has lost these replicas, with the disk on which they lay.
    pub fn lost(&mut self, node: u32, replicas: BTreeSet<PartitionId>) {
        let seen = self.seen(node);
        seen.lost.extend(replicas);
        seen.incarnations.clear();
    }

    /// A machine has lost its power, and with it what page-cache durability does not keep.
    pub fn without_power(&mut self, node: u32) {
        if self.durability == Durability::Fsync {
            return;
        }
        let has_lost = self.newest.1.brokers().contains_key(&BrokerId(node as i32));
        let seen = self.seen(node);
        seen.has_lost = has_lost;
        seen.incarnations.clear();
    }

    /// The newest metadata that any node has applied.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.newest.1
    }

    /// Up to where that comes.
    #[must_use]
    pub fn applied(&self) -> Offset {
        self.newest.0
    }

    /// What is wrong, since the last time.
    pub fn found(&mut self) -> Vec<String> {
        std::mem::take(&mut self.found)
    }

    fn seen(&mut self, node: u32) -> &mut Seen {
        self.nodes.entry(node).or_default()
    }

    fn judge(&mut self, node: u32, verdict: Verdict) {
        if let Err(what) = verdict {
            self.found.push(format!("invariant: node {node}: {what}"));
        }
    }

    // --- what a node does -----------------------------------------------------------------------------------------------------------------

    /// A node does something.
    #[expect(clippy::wildcard_enum_match_arm, reason = "of all effects, those that say something of what must hold across nodes")]
    pub fn effect(&mut self, node: u32, life: u64, view: View<'_>, effect: &Effect) {
        self.enter(node, life, view);
        match effect {
            Effect::Store { ticket, op } => self.store(node, view, *ticket, op),
            Effect::Reply { body: Response::Fetch(fetch), .. } => {
                let verdicts: Vec<Verdict> = clients::fetched(view, fetch).collect();
                verdicts.into_iter().for_each(|verdict| self.judge(node, verdict));
            }
            Effect::Reply { body: Response::InitProducerId(given), .. } if given.error_code.is_none() => {
                let verdict = self.producer_ids.give_once(given.producer_id.0, node);
                self.judge(node, verdict);
            }
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "of all operations, those that change what a log holds")]
    fn store(&mut self, node: u32, view: View<'_>, ticket: Ticket, op: &StoreOp) {
        let seen = self.seen(node);
        match op {
            StoreOp::Create { log, .. } => {
                if let Some(partition) = view.by_log(*log) {
                    seen.logs.insert(*log, partition.id);
                    seen.replicas.insert(partition.id, Replica::default());
                    seen.glances.remove(&partition.id);
                }
            }
            StoreOp::Append { log, batches, .. } => {
                if let Some(partition) = view.by_log(*log) {
                    let replica = seen.replicas.entry(partition.id).or_default();
                    let is_metadata = partition.owner == Owner::Controller;
                    replica.append(batches, is_metadata);
                    if let Some(first) = batches.first().filter(|_| is_metadata) {
                        let verdict = self.see_changes(node, partition, first.header().base_offset);
                        self.judge(node, verdict);
                    }
                }
            }
            StoreOp::Truncate { log, to } => {
                if let Some(replica) = view.by_log(*log).and_then(|partition| seen.replicas.get_mut(&partition.id)) {
                    replica.cut(*to);
                }
            }
            StoreOp::Restart { log, at } => {
                if let Some(replica) = view.by_log(*log).and_then(|partition| seen.replicas.get_mut(&partition.id)) {
                    replica.restart(*at);
                    let id = view.by_log(*log).expect("found above").id;
                    seen.restarting.insert(ticket, id);
                }
            }
            StoreOp::Delete { log } => {
                // Of a replica that has moved to another directory the old log goes.
                let has_moved = |id: &PartitionId| view.partitions().any(|partition| partition.id == *id && partition.log != *log);
                if let Some(id) = seen.logs.remove(log).filter(|id| !has_moved(id)) {
                    seen.glances.remove(&id);
                    if let Some(replica) = seen.replicas.remove(&id) {
                        seen.deleting.insert(ticket, (id, replica));
                    }
                }
            }
            StoreOp::Save { name, bytes, .. } if name == ELECTION_FILE => {
                if let Ok(election) = Election::decode(&String::from_utf8_lossy(bytes)) {
                    seen.saving.insert(ticket, election);
                }
            }
            _ => {}
        }
    }

    /// A node's store has done something.
    pub fn stored(&mut self, node: u32, ticket: Ticket, is_ok: bool) {
        let seen = self.seen(node);
        if is_ok {
            seen.deleting.remove(&ticket);
        }
        if let Some(replica) = seen.restarting.remove(&ticket).filter(|_| is_ok).and_then(|id| seen.replicas.get_mut(&id)) {
            replica.former = None;
        }
        let Some(election) = seen.saving.remove(&ticket).filter(|_| is_ok) else { return };
        let directory = seen.directory;
        let risen = self.voter_epochs.reach(directory, election.epoch);
        self.judge(node, risen);
        if let Some(voted) = election.voted {
            let verdict = self.votes.give((directory, election.epoch), voted);
            self.judge(node, verdict);
        }
    }

    // --- what a node shows ----------------------------------------------------------------------------------------------------------------

    /// A new process numbers its logs anew, and does something before it shows anything.
    fn enter(&mut self, node: u32, life: u64, view: View<'_>) {
        let seen = self.seen(node);
        if std::mem::replace(&mut seen.life, life) != life {
            seen.incarnations.insert(view.incarnation());
            seen.logs.clear();
            seen.glances.clear();
            seen.counted.clear();
            seen.saving.clear();
            seen.restarting.clear();
            seen.applied = Offset(-1);
            // It died before they were gone. It finds them, and takes them up until it has read again that they are to go.
            for (id, replica) in std::mem::take(&mut seen.deleting).into_values() {
                seen.replicas.entry(id).or_insert(replica);
            }
            seen.replicas.values_mut().for_each(|replica| replica.high = Offset::ZERO);
        }
    }

    /// An event of a node is over: what it shows now, of the replicas that it may have changed.
    pub fn look(&mut self, node: u32, life: u64, view: View<'_>) {
        self.enter(node, life, view);
        // What it leads may follow from metadata that it has just applied.
        let applied = view.applied();
        if std::mem::replace(&mut self.seen(node).applied, applied) != applied {
            let verdict = self.see_image(applied, view.image());
            self.judge(node, verdict);
        }
        for partition in view.touched() {
            let seen = self.seen(node);
            if partition.leader().is_none() {
                seen.counted.remove(&partition.id);
            }
            let Some(glance) = glance(view, partition) else { continue };
            let before = seen.glances.insert(partition.id, glance);
            if before != Some(glance) {
                seen.logs.insert(partition.log, partition.id);
                // It may have led, learned what is committed, and stepped down within one event.
                let led = partition.leader().is_some() || before.is_some_and(|(.., leads)| leads.is_some());
                let verdict = self.see(node, view, partition, led);
                self.judge(node, verdict.map_err(|what| format!("{}: {what}", partition.folder())));
            }
        }
        if let Some(epoch) = view.quorum_led() {
            let is_new = self.quorum_leaders.get(&epoch).is_none();
            let verdict = self.quorum_leaders.give(epoch, node);
            self.judge(node, verdict);
            if is_new {
                let verdict = self.see_elected(node, epoch);
                self.judge(node, verdict);
            }
        }
    }

    /// Of a topic that allows an unclean election, committed records may be lost with its leader; and where an operator had one.
    fn may_lose(&self, image: &Image, id: PartitionId) -> bool {
        if self.given_up.contains(&id) {
            return true;
        }
        let topic = image.topic_by_id(id.topic);
        let setting = topic.and_then(|topic| image.properties(&Resource::topic(&topic.name)).get("unclean.leader.election.enable"));
        setting.is_some_and(|value| value == "true")
    }

    fn see<'a>(&mut self, node: u32, view: View<'a>, partition: &'a Partition, led: bool) -> Verdict {
        let (id, high) = (partition.id, partition.high());
        let log = view.log(partition).expect("looked at above");
        let seen = self.seen(node);
        let has_lost = seen.has_lost;
        let replica = seen.replicas.entry(id).or_default();
        let (before, known, high_before) = (replica.durable, replica.end, replica.high);
        replica.see(log, has_lost)?;
        // What could not be written is taken back, and its offsets are given anew.
        let replica = &self.nodes[&node].replicas[&id];
        for (base, held) in replica.content.range(before..).take_while(|(_, held)| held.next <= replica.durable) {
            self.batches.give((id, held.epoch, *base), held.crc)?;
        }
        let is_metadata = id == View::METADATA;
        if !is_metadata && self.may_lose(view.image(), id) {
            return Ok(());
        }
        let replica = self.nodes.get_mut(&node).expect("just seen").replicas.get_mut(&id).expect("just seen");
        replica.reach(high)?;
        let truth = self.truths.entry(id).or_default();
        let before = truth.high;
        truth.compare(replica, high, led)?;
        if let Some(leader) = partition.leader() {
            match leader.isr() {
                None => self.see_quorum_high(node, leader, known, high > high_before)?,
                Some(isr) => self.see_leader(node, partition, leader, isr)?,
            }
        }
        if is_metadata {
            self.see_voters(node, view)?;
        }
        if high > before && !is_metadata { self.see_candidates(id) } else { Ok(()) }
    }

    fn see_leader(&mut self, node: u32, partition: &Partition, leader: &Leader, isr: &Isr) -> Verdict {
        let id = partition.id;
        self.leaders.give((id, leader.epoch), node)?;
        self.seen(node).counted.insert(id, (leader.epoch, isr.counting().copied().collect()));
        self.see_counted(id)?;
        // Whoever the controller has put out meanwhile does not count any more.
        let decided = self.newest.1.partition(id);
        let members = isr.confirmed().iter().filter(|member| decided.is_some_and(|decided| decided.isr.contains(member)));
        // Nor does who has given up its log, by leave of the controller, which refuses now what its leader proposed before.
        let gives_up = |member: &&BrokerId| decided.and_then(|decided| decided.directory(**member)) == Some(directory::LOST);
        // And what a leader proposes that is none any more is refused.
        let proposed = isr.proposed().filter(|_| decided.is_some_and(|decided| decided.leader_epoch == leader.epoch));
        // Nor can a leader know at once that whom it proposes has come back with less: the controller refuses what names the former life (KIP-903).
        let is_void = |member: &BrokerId| names_former_life(&self.newest.1, isr, *member);
        let is_out = |member: &BrokerId| isr.confirmed().contains(member) || gives_up(&member) || is_void(member);
        let joining = proposed.into_iter().flatten().filter(|member| !is_out(member));
        let all = members.chain(joining).copied();
        let ends: Vec<(BrokerId, Offset)> = all.filter_map(|member| Some((member, self.end_of(member, id)?))).collect();
        invariant::committed_by_all(leader.high(), ends)
    }

    /// Whom the controller has in sync, as far as anybody knows, counts for the leader.
    fn see_counted(&self, id: PartitionId) -> Verdict {
        let Some(decided) = self.newest.1.partition(id) else { return Ok(()) };
        let leader = decided.leader.and_then(|leader| self.nodes.get(&u32::try_from(leader.0).ok()?));
        match leader.and_then(|seen| seen.counted.get(&id)) {
            Some((epoch, counts)) if *epoch == decided.leader_epoch => invariant::counts_for_leader(&decided.isr, counts),
            Some(_) | None => Ok(()),
        }
    }

    /// The durable end of a replica of which something may be expected.
    fn end_of(&self, member: BrokerId, id: PartitionId) -> Option<Offset> {
        let is_replica = self.newest.1.partition(id).is_some_and(|decided| decided.replicas.contains(&member));
        let seen = self.nodes.get(&u32::try_from(member.0).ok()?)?;
        let replica = seen.replicas.get(&id).filter(|_| is_replica && !self.has_lost(member, seen, id))?;
        Some(replica.durable)
    }

    /// Whether it has lost something that its next registration will say.
    fn has_lost(&self, member: BrokerId, seen: &Seen, id: PartitionId) -> bool {
        (seen.has_lost || seen.lost.contains(&id)) && self.is_yet_to_tell(member, seen)
    }

    fn is_yet_to_tell(&self, member: BrokerId, seen: &Seen) -> bool {
        let registered = self.newest.1.brokers().get(&member);
        registered.is_none_or(|broker| !seen.incarnations.contains(&broker.incarnation))
    }

    fn see_image(&mut self, applied: Offset, image: &Image) -> Verdict {
        let mut hasher = crate::trace::Trace::default();
        image.hash(&mut hasher);
        self.images.give(applied, hasher.finish())?;
        if applied <= self.newest.0 {
            return Ok(());
        }
        for (id, broker) in image.brokers() {
            self.registrations.reach(*id, broker.epoch)?;
        }
        let before = std::mem::replace(&mut self.newest, (applied, image.clone())).1;
        for topic in image.topics() {
            let min = min_isr(image, &topic.name);
            for (index, decided) in &topic.partitions {
                let id = PartitionId { topic: topic.id, index: *index };
                let former = before.partition(id);
                if former == Some(decided) {
                    continue;
                }
                let words = |what| format!("{}-{index}: {what}", topic.name);
                former.map_or(Ok(()), |former| invariant::succession(former, decided)).map_err(words)?;
                invariant::partition(decided, min, |id| image.is_active(id)).map_err(words)?;
                self.see_candidates(id).map_err(words)?;
                self.see_counted(id).map_err(words)?;
            }
        }
        Ok(())
    }

    /// Whoever may be elected holds everything that is committed.
    fn see_candidates(&self, id: PartitionId) -> Verdict {
        let image = &self.newest.1;
        let Some(decided) = image.partition(id).filter(|_| !self.may_lose(image, id)) else { return Ok(()) };
        let Decided { isr, elr, .. } = decided;
        let Some(truth) = self.truths.get(&id) else { return Ok(()) };
        let none = Replica::default();
        for member in isr.iter().chain(elr) {
            let Some(seen) = u32::try_from(member.0).ok().and_then(|node| self.nodes.get(&node)) else { continue };
            // What lay in a directory that its broker has no more cannot be elected.
            if self.has_lost(*member, seen, id) || (seen.lost.contains(&id) && !is_at_hand(image, decided, *member)) {
                continue;
            }
            let replica = seen.replicas.get(&id).unwrap_or(&none);
            truth.is_held_by(replica).map_err(|what| format!("{member} may be elected (ISR {isr:?}, ELR {elr:?}): {what}"))?;
        }
        Ok(())
    }
}

/// Whether a leader proposes a broker by a registration that is not its last one.
fn names_former_life(image: &Image, isr: &Isr, member: BrokerId) -> bool {
    image.brokers().get(&member).is_some_and(|broker| (0..broker.epoch).contains(&isr.proposed_epoch(member)))
}

/// Whether a replica lies in a directory that its broker has, as far as the metadata know.
fn is_at_hand(image: &Image, decided: &Decided, member: BrokerId) -> bool {
    let known = image.brokers().get(&member).zip(decided.directory(member));
    known.is_none_or(|(broker, told)| broker.has_directory(told))
}

/// `min.insync.replicas` of a topic as it is set there, if it is.
fn min_isr(image: &Image, topic: &str) -> Option<usize> {
    image.properties(&Resource::topic(topic)).get("min.insync.replicas")?.parse().ok().filter(|_| image.has_elr())
}

fn glance<'a>(view: View<'a>, partition: &'a Partition) -> Option<Glance> {
    let log = view.log(partition)?;
    let leads = partition.leader().map(|leader| {
        let with = |all: u64, member: &BrokerId| all | 1 << (member.0 % 32);
        let asks = |isr: &Isr| isr.counting().fold(0, with) << 32 | isr.proposed().into_iter().flatten().fold(0, with);
        let isr = leader.isr().map_or((0, 0), |isr| (isr.partition_epoch(), asks(isr)));
        (leader.epoch, isr.0, isr.1)
    });
    Some((log.start(), log.end(), log.durable(), partition.high(), leads))
}
