//! Where this broker's replicas lie, as the controller must know it to elect nobody whose records cannot be read (KIP-858). A replica whose log is
//! found bad is reported as lost: it leaves ISR and ELR, another one leads, and it is filled anew from there.
//!
//! ```text
//!   bad batch found ──► told: lost, only if others hold everything ──► granted ──► emptied, follows ──► told: in its directory
//! ```
//!
//! The last copy is never given up: neither is it told here, nor granted by a controller who knows better. What is bad in it cannot be read; the rest can.
//! So a log that can be opened plays its role until that is granted: whoever was to lead instead may be gone by then.
//! Nor is a copy given up that the minimum needs, while another replica is not in sync anyway: one after the other. It counts as a follower meanwhile.
//! Of the others one must be there to lead: one that is away may come back without what it had (KIP-966), and then this copy was the last.

use super::boot::{METADATA, Phase};
use super::calls::Asker;
use super::io::{Lane, Level, Unreachable};
use super::{Broker, Timer};
use crate::controller::{directory, image};
use crate::error::ErrorCode;
use crate::id::{Offset, Uuid};
use crate::partition::{Damage, Loss, Partition, PartitionId, Role, Shape};
use crate::wire::Response;
use crate::wire::api::assign_replicas_to_dirs::{AssignReplicasToDirsRequest, DirectoryData, PartitionData, TopicData};
use crate::{mutant, probe};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What came to nothing is told again after so long.
const RETRY: Duration = Duration::from_millis(500);
/// The leadership of a damaged log that is needed is offered to another replica again after so long: that one may have found itself damaged as well.
/// Then they lead by turns, each time for twice as long.
const OFFER_AGAIN: Duration = Duration::from_secs(10);
/// So often it doubles.
const DOUBLINGS_MAX: u32 = 5;
/// So many replicas are told of at a time (Kafka's `AssignmentsManager`).
const REPLICAS_MAX: usize = 2250;

/// What the controller is being told.
#[derive(Clone, Debug, Default)]
pub(super) struct Assigning {
    waiting: BTreeSet<PartitionId>,
    sent: BTreeMap<PartitionId, Uuid>,
    /// Damaged logs that the minimum needs, whose leadership was offered to another replica.
    offered: BTreeMap<PartitionId, Offered>,
}

/// What was offered already.
#[derive(Clone, Copy, Debug, Default)]
struct Offered {
    times: u32,
    /// It is not to be offered yet.
    rests: bool,
}

impl Broker {
    /// The controller may know another place of a replica than where it lies.
    pub(super) fn look_at_place(&mut self, id: PartitionId) {
        if self.place_to_tell(id).is_some() && self.assigning.waiting.insert(id) {
            self.assign_replicas();
        }
    }

    /// Where the controller does not know that a replica lies.
    fn place_to_tell(&self, id: PartitionId) -> Option<Uuid> {
        let me = self.config.broker.id;
        let partition = self.partitions.get(&id).filter(|_| id != METADATA)?;
        let decided = self.decided(id)?;
        let told = decided.directory(me)?;
        let lies = self.config.broker.dirs().find(|(dir, _)| *dir == partition.dir).map(|(_, dir)| dir.id)?;
        match &partition.role {
            // Even where that is told already: what counts is that it was heard since.
            Role::Leader(_) | Role::Follower(_)
                if partition.holds_damage()
                    && decided.can_spare(me, self.image().brokers())
                    && (!self.is_needed(id) || self.is_to_offer(id)) =>
            {
                Some(directory::LOST)
            }
            Role::Opening | Role::Offline { loss: Loss::Room, .. } => None,
            Role::Offline { loss: Loss::Log, .. } => decided.is_held_by_others(me).then_some(directory::LOST),
            Role::Offline { loss: Loss::Given, .. } => None,
            // The controller hears only of directories that have told their ids, and that fail as a whole: it would have this replica lead.
            Role::Offline { loss: Loss::Directory, .. } if lies == Uuid::ZERO || self.dir_offline(partition.dir).is_none() => {
                let counts = self.image().brokers().get(&me).is_some_and(|known| known.has_directory(told));
                (counts && decided.is_held_by_others(me)).then_some(directory::LOST)
            }
            Role::Offline { loss: Loss::Directory, .. } | Role::Leader(_) | Role::Follower(_) => {
                (lies != told && lies != Uuid::ZERO).then_some(lies)
            }
        }
    }

    /// Whether records could not be acknowledged without this replica, while another one is on its way back. It is given up after that.
    fn is_needed(&self, id: PartitionId) -> bool {
        let Some((decided, partition)) = self.decided(id).zip(self.partitions.get(&id)) else { return false };
        let min = usize::try_from(partition.config.min_insync_replicas).unwrap_or(usize::MAX);
        decided.needs(self.config.broker.id, min) && !mutant!(GivenUpInNeed)
    }

    /// Whether another replica is to be asked to lead what this one is needed for.
    fn is_to_offer(&self, id: PartitionId) -> bool {
        self.partitions.get(&id).is_some_and(|p| matches!(p.role, Role::Leader(_)))
            && !self.assigning.offered.get(&id).is_some_and(|o| o.rests)
    }

    /// Offers leadership again, where it came back.
    pub(super) fn offer_again(&mut self, id: PartitionId) {
        let is_bad = self.partitions.get(&id).is_some_and(Partition::holds_damage) && self.is_needed(id);
        match self.assigning.offered.get_mut(&id) {
            Some(offered) if is_bad => offered.rests = false,
            Some(_) | None => _ = self.assigning.offered.remove(&id),
        }
        self.look_at_place(id);
    }

    /// Tells what waits, one request at a time.
    pub(super) fn assign_replicas(&mut self) {
        let Some(broker_epoch) = self.life.epoch else { return };
        if !self.assigning.sent.is_empty() || self.assigning.waiting.is_empty() || self.phase != Phase::Running {
            return;
        }
        let waiting = std::mem::take(&mut self.assigning.waiting);
        let told: BTreeMap<PartitionId, Uuid> =
            waiting.iter().filter_map(|id| Some((*id, self.place_to_tell(*id)?))).take(REPLICAS_MAX).collect();
        let last = told.last_key_value().map(|(id, _)| *id).filter(|_| told.len() == REPLICAS_MAX);
        self.assigning.waiting = waiting.into_iter().filter(|id| last.is_some_and(|last| *id > last)).collect();
        if told.is_empty() {
            return;
        }
        let mut dirs: BTreeMap<Uuid, BTreeMap<Uuid, Vec<PartitionData>>> = BTreeMap::new();
        for (id, dir) in &told {
            dirs.entry(*dir).or_default().entry(id.topic).or_default().push(PartitionData { partition_index: id.index });
        }
        let of_topic = |(topic_id, partitions)| TopicData { topic_id, partitions };
        let directories =
            dirs.into_iter().map(|(id, topics)| DirectoryData { id, topics: topics.into_iter().map(of_topic).collect() }).collect();
        let request = AssignReplicasToDirsRequest { broker_id: self.config.broker.id, broker_epoch, directories };
        if self.call_controller(Lane::Control, request.into(), Asker::Places) {
            let offered = told.iter().filter(|(id, dir)| **dir == directory::LOST && self.is_needed(**id) && self.is_to_offer(**id));
            let offered: Vec<PartitionId> = offered.map(|(id, _)| *id).collect();
            self.assigning.offered.retain(|id, _| self.partitions.get(id).is_some_and(Partition::holds_damage));
            for id in offered {
                let offered = self.assigning.offered.entry(id).or_default();
                let wait = OFFER_AGAIN * 2_u32.pow(offered.times.min(DOUBLINGS_MAX));
                *offered = Offered { times: offered.times + 1, rests: true };
                self.timer(wait, Timer::Offer(id));
            }
            self.assigning.sent = told;
        } else {
            self.assigning.waiting.extend(told.into_keys());
            self.timer(RETRY, Timer::Places);
        }
    }

    /// The controller has taken note, or not.
    pub(super) fn places_answered(&mut self, outcome: Result<Response, Unreachable>) {
        let sent = std::mem::take(&mut self.assigning.sent);
        let granted: BTreeSet<PartitionId> = match outcome {
            Ok(Response::AssignReplicasToDirs(response)) if response.error_code == ErrorCode::NONE => {
                let topics = response.directories.into_iter().flat_map(|dir| dir.topics);
                let partitions = topics.flat_map(|topic| topic.partitions.into_iter().map(move |p| (topic.topic_id, p)));
                let granted = partitions.filter(|(_, p)| p.error_code == ErrorCode::NONE);
                granted.map(|(topic, p)| PartitionId { topic, index: p.partition_index }).collect()
            }
            Ok(_) | Err(_) => BTreeSet::new(),
        };
        let (granted, refused): (Vec<_>, Vec<_>) = sent.into_iter().partition(|(id, _)| granted.contains(id));
        let lost = granted.into_iter().filter(|(_, dir)| *dir == directory::LOST);
        lost.for_each(|(id, _)| self.given_up(id));
        if refused.is_empty() {
            probe!("a broker has told in which directory a replica lies");
            return self.assign_replicas();
        }
        let refused: Vec<PartitionId> = refused.into_iter().map(|(id, _)| id).filter(|id| self.place_to_tell(*id).is_some()).collect();
        self.assigning.waiting.extend(refused);
        self.timer(RETRY, Timer::Places);
    }

    /// A bad batch was found in a log, by a read or a scrub. Where another live one holds everything the replica is to be given up, and filled anew.
    pub(super) fn found_damaged(&mut self, id: PartitionId, at: Offset, why: &str) {
        let me = self.config.broker.id;
        let is_last = self.decided(id).is_none_or(|decided| !decided.can_spare(me, self.image().brokers()));
        let is_needed = self.is_needed(id);
        let Some(partition) = self.partitions.get_mut(&id).filter(|p| id != METADATA && p.open_log().is_some()) else { return };
        let damage = Damage { at, is_last };
        if partition.damage.replace(damage) != Some(damage) {
            let fate = if is_last {
                probe!("the last copy of a log is found damaged");
                "No other live replica has all of it, so it stays in use"
            } else if is_needed {
                probe!("a log that the minimum needs is found damaged");
                "It stays in use, as a follower, until another replica is in sync, and is then filled anew"
            } else {
                probe!("a log is found damaged while it is in use");
                "It is to be filled anew from another replica"
            };
            let text = format!("{} is damaged at offset {at}: {why}. {fate}", partition.folder());
            self.note(Level::Error, text);
        }
        self.look_at_place(id);
    }

    /// The controller counts on this replica no longer.
    pub(super) fn given_up(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        match (&mut partition.role, partition.damage) {
            (Role::Offline { loss, .. }, _) if *loss == Loss::Log => *loss = Loss::Given,
            (Role::Leader(_) | Role::Follower(_), Some(Damage { at, .. })) => {
                self.take_offline(id, format!("it is damaged at offset {at}"), Loss::Given);
            }
            // A log that is being cut is told of again when it is open.
            (Role::Opening | Role::Leader(_) | Role::Follower(_) | Role::Offline { .. }, _) => return,
        }
        self.play(id);
    }

    /// A replica that was given up is emptied, and follows a leader that has everything.
    pub(super) fn fill_anew(&mut self, id: PartitionId, decided: &image::Partition) {
        let me = self.config.broker.id;
        if decided.leader.is_none_or(|leader| leader == me) || decided.isr.contains(&me) {
            return;
        }
        let Some(partition) = self.partitions.get(&id) else { return };
        let name = partition.folder();
        if self.has_no_log(partition) {
            probe!("a replica whose log is gone gets a new one");
            let Partition { topic, config, .. } = self.partitions.remove(&id).expect("looked at above");
            self.make_partition(&topic, id, &config);
            return self.forget_voids();
        }
        probe!("a damaged log is filled anew from another replica");
        let partition = self.partitions.get_mut(&id).expect("looked at above");
        partition.role = Role::Opening;
        partition.life += 1;
        partition.high = Offset::ZERO;
        self.note(Level::Warn, format!("{name} is dropped here, and filled anew from its leader"));
        self.shape(id, Shape::Restart { at: Offset::ZERO });
    }
}
