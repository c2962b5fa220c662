//! The one place where a partition's next state is computed: who leads, who is in sync, who is eligible, and when a move is complete.
//!
//! ```text
//!   ISR ──fenced, lagging──► ELR (only while |ISR| < min ISR) ──unclean shutdown──► nothing
//!    ▲ ▲                      │
//!    │ └──── caught up ───────┤
//!    └── elected, ISR empty ──┘
//! ```
//!
//! Pure: a partition, what is wanted of it, and the rules give a record or nothing.
//! Source: Kafka's `PartitionChangeBuilder` (KIP-455, KIP-704, KIP-966).

use super::draft::directory::LOST;
use super::image::Partition;
use crate::id::{BrokerId, Uuid};
use crate::partition::PartitionId;
use crate::wire::records::metadata::PartitionChangeRecord;
use crate::{mutant, probe};

/// How far an election may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The preferred replica takes over if it is eligible.
    Preferred,
    /// The leader stays if it is eligible, else another one is elected.
    Online,
    /// Another one takes over if one is eligible, else the leader stays.
    Another,
    /// As online; where nobody is eligible, any live replica leads, and records may be lost.
    Unclean,
}

/// What a change has to obey.
pub struct Rules<'a> {
    /// Who is alive and has the replica's directory.
    pub may_lead: &'a dyn Fn(BrokerId) -> bool,
    /// Where a new replica lies.
    pub directory: &'a dyn Fn(BrokerId) -> Uuid,
    /// `min.insync.replicas` as configured; see [`Partition::min_isr`].
    pub min_isr: usize,
    /// Whether the cluster keeps eligible leader replicas (KIP-966).
    pub has_elr: bool,
}

/// What is wanted of a partition.
#[derive(Clone, Debug)]
pub struct Target {
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// The assigned replicas.
    pub replicas: Vec<BrokerId>,
    /// Those on their way out.
    pub removing: Vec<BrokerId>,
    /// Those on their way in.
    pub adding: Vec<BrokerId>,
    /// Whether the leader has not recovered from an unclean election yet.
    pub is_recovering: bool,
    /// A replica that may have lost what it once held.
    pub lost: Option<BrokerId>,
    /// It begins with a new log, since it has no longer the disk of the old one.
    pub emptied: Option<BrokerId>,
    /// A replica that lies in another directory now.
    pub moved: Option<(BrokerId, Uuid)>,
    /// How far an election may go.
    pub election: Election,
    /// The partition's epoch moves, whatever else does.
    pub is_touched: bool,
}

impl Target {
    /// That nothing changes but what must.
    #[must_use]
    pub fn of(partition: &Partition) -> Self {
        Self {
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            removing: partition.removing.clone(),
            adding: partition.adding.clone(),
            is_recovering: partition.is_recovering,
            lost: None,
            emptied: None,
            moved: None,
            election: Election::Online,
            is_touched: false,
        }
    }

    /// That `broker` is not in sync.
    #[must_use]
    pub fn without(mut self, broker: BrokerId) -> Self {
        self.isr.retain(|member| *member != broker);
        self
    }
}

/// The record that brings `partition` as near to its target as the rules allow; `None` if nothing changes.
#[must_use]
pub fn change(id: PartitionId, partition: &Partition, target: Target, rules: &Rules<'_>) -> Option<PartitionChangeRecord> {
    let (lost, emptied) = (target.lost, target.emptied);
    let target = complete(target);
    let keeps_last = !rules.has_elr || mutant!(LastReplicaStanding);
    let (election, is_touched) = (target.election, target.is_touched);
    let mut next = Partition {
        directories: directories(partition, &target, rules),
        is_recovering: target.is_recovering,
        isr: target.isr,
        replicas: target.replicas,
        removing: target.removing,
        adding: target.adding,
        ..partition.clone()
    };
    next.elr = eligible(partition, &next, lost, rules);
    elect(partition, &mut next, election, emptied, rules);
    if next.isr.is_empty() && keeps_last {
        // Before KIP-966 the last member stays, whatever became of it: somebody must know who was in sync.
        next.isr = partition.isr.iter().copied().filter(|id| next.replicas.contains(id)).collect();
        next.elr.clear();
    }
    next.last_known_elr = last_known(partition, &next, rules);
    next.last_known_elr.retain(|id| Some(*id) != emptied);
    // KIP-455: who is no replica any more must learn that it is not, even if the leader stays. And whoever gives up its log may have asked for more
    // before: what it asked under the older epoch tells of records that it has no more, and is refused.
    let is_given_up = |replica: &BrokerId| next.directory(*replica) == Some(LOST) && partition.directory(*replica) != Some(LOST);
    let leaves = |replica: &BrokerId| !next.replicas.contains(replica);
    let is_bumped = partition.replicas.iter().any(|replica| leaves(replica) || is_given_up(replica));
    let touch = PartitionChangeRecord { partition_id: id.index, topic_id: id.topic, isr: Some(next.isr.clone()), ..Default::default() };
    difference(id, partition, &next, is_bumped).or(is_touched.then_some(touch))
}

/// A move is complete when every replica that stays is in sync. Else nothing leaves.
fn complete(mut target: Target) -> Target {
    if target.removing.is_empty() && target.adding.is_empty() {
        return target;
    }
    let stays = |all: &[BrokerId]| -> Vec<BrokerId> { all.iter().copied().filter(|id| !target.removing.contains(id)).collect() };
    let (isr, replicas) = (stays(&target.isr), stays(&target.replicas));
    let isr = if mutant!(PreferredNotInIsr) { replicas.clone() } else { isr };
    let is_in_sync = replicas.iter().all(|id| isr.contains(id));
    if isr.is_empty() || replicas.is_empty() || !is_in_sync {
        return target;
    }
    target.isr = isr;
    target.replicas = replicas;
    target.removing.clear();
    target.adding.clear();
    target
}

/// Who left an ISR that is below its minimum, yet holds all below the high watermark: that does not move then.
fn eligible(partition: &Partition, next: &Partition, lost: Option<BrokerId>, rules: &Rules<'_>) -> Vec<BrokerId> {
    if !rules.has_elr || next.isr.len() >= next.min_isr(rules.min_isr) {
        return Vec::new();
    }
    let mut elr: Vec<BrokerId> = partition.elr.iter().chain(&partition.isr).copied().collect();
    elr.retain(|id| !next.isr.contains(id) && Some(*id) != lost && next.replicas.contains(id));
    elr.sort_unstable();
    elr.dedup();
    elr
}

/// Sets the leader, and what follows from an election for ISR and ELR.
fn elect(partition: &Partition, next: &mut Partition, election: Election, emptied: Option<BrokerId>, rules: &Rules<'_>) {
    let is_eligible = |id: &BrokerId| next.isr.contains(id) || (next.isr.is_empty() && next.elr.contains(id));
    let is_valid = |id: &&BrokerId| is_eligible(id) && (rules.may_lead)(**id);
    let preferred = next.replicas.first().filter(|_| election == Election::Preferred);
    if mutant!(PreferredNotInIsr)
        && let Some(preferred) = preferred.copied().filter(|id| (rules.may_lead)(*id))
    {
        next.leader = Some(preferred);
        if !next.isr.contains(&preferred) {
            next.isr.push(preferred);
        }
        return;
    }
    let stays = partition.leader.as_ref().filter(is_valid);
    let another = || next.replicas.iter().find(|id| is_valid(id) && Some(**id) != partition.leader);
    let clean = match election {
        Election::Another => another().or(stays),
        Election::Preferred | Election::Online | Election::Unclean => preferred.filter(is_valid).or(stays).or_else(another),
    };
    let clean = clean.copied();
    if let Some(leader) = clean {
        if next.isr.is_empty() {
            probe!("a leader is elected from the ELR");
            next.isr = vec![leader];
            next.elr.retain(|id| *id != leader);
            if next.min_isr(rules.min_isr) <= 1 {
                // The minimum was lowered while nobody led: what is committed from here on the others do not have.
                next.elr.clear();
            }
        }
        next.leader = Some(leader);
        return;
    }
    let unclean =
        last_leader(partition, next, emptied, rules).or_else(|| if election == Election::Unclean { any_alive(next, rules) } else { None });
    next.leader = unclean;
    if let Some(leader) = unclean {
        probe!("an unclean leader is elected");
        next.isr = vec![leader];
        next.elr.clear();
        // KIP-704: nobody may join it before it has found out what its log holds.
        next.is_recovering = true;
    }
}

/// The last leader, where nobody is in sync or eligible: of all replicas it lost the least (KIP-966). Its directory must be the one it led with: a
/// disk that was replaced holds nothing, and everybody would be cut to nothing.
fn last_leader(partition: &Partition, next: &Partition, emptied: Option<BrokerId>, rules: &Rules<'_>) -> Option<BrokerId> {
    match partition.last_known_elr.as_slice() {
        [last] if next.isr.is_empty() && next.elr.is_empty() && next.replicas.contains(last) => {
            Some(*last).filter(|id| Some(*id) != emptied && (rules.may_lead)(*id))
        }
        _ => None,
    }
}

/// Any live replica, whatever it lost.
fn any_alive(next: &Partition, rules: &Rules<'_>) -> Option<BrokerId> {
    next.replicas.iter().copied().find(|id| (rules.may_lead)(*id))
}

/// The last leader, while nobody leads and nobody is in sync.
fn last_known(partition: &Partition, next: &Partition, rules: &Rules<'_>) -> Vec<BrokerId> {
    match (next.leader, partition.leader) {
        _ if !rules.has_elr => Vec::new(),
        (Some(_), _) => Vec::new(),
        (None, Some(last)) if next.isr.is_empty() && next.replicas.contains(&last) => vec![last],
        (None, _) => partition.last_known_elr.iter().copied().filter(|id| next.replicas.contains(id)).collect(),
    }
}

/// Where the replicas of `target` lie: as before, else where their broker puts new ones.
fn directories(partition: &Partition, target: &Target, rules: &Rules<'_>) -> Vec<Uuid> {
    let lies = |id: &BrokerId| match target.moved {
        Some((moved, to)) if moved == *id => to,
        Some(_) | None => partition.directory(*id).unwrap_or_else(|| (rules.directory)(*id)),
    };
    target.replicas.iter().map(lies).collect()
}

/// The record that makes `next` of `before`; none if they are the same and the leader epoch does not have to grow.
fn difference(id: PartitionId, before: &Partition, next: &Partition, is_bumped: bool) -> Option<PartitionChangeRecord> {
    let list = |was: &[BrokerId], is: &[BrokerId]| (was != is).then(|| is.to_vec());
    let nothing = PartitionChangeRecord { partition_id: id.index, topic_id: id.topic, ..Default::default() };
    let mut record = PartitionChangeRecord {
        isr: list(&before.isr, &next.isr),
        replicas: list(&before.replicas, &next.replicas),
        removing_replicas: list(&before.removing, &next.removing),
        adding_replicas: list(&before.adding, &next.adding),
        eligible_leader_replicas: list(&before.elr, &next.elr),
        last_known_elr: list(&before.last_known_elr, &next.last_known_elr),
        directories: (before.directories != next.directories).then(|| next.directories.clone()),
        ..nothing.clone()
    };
    if before.leader != next.leader || is_bumped {
        record.leader = next.leader.unwrap_or(BrokerId(-1));
    }
    if before.is_recovering != next.is_recovering {
        record.leader_recovery_state = i8::from(next.is_recovering);
    }
    (record != nothing).then_some(record)
}
