//! A member's heartbeat: it joins, says what is new, and is told the next step towards its target. Plans only.

use super::assign::metadata_hash;
use super::member::{AWAY, Current, Member, Parts, Progress, Subscription, is_within, parts};
use super::reconcile::{MustRejoin, Target, reconcile};
use super::{Change, Epoch, Group, Refused, Turn, preferred, topics_of};
use crate::coordinator::Client;
use crate::coordinator::group::MemberId;
use crate::error::ErrorCode;
use crate::probe;
use std::collections::BTreeSet;

/// A heartbeat. What is `None` has not changed since the last one.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Who.
    pub member: MemberId,
    /// Its epoch as it knows it; 0 to join.
    pub epoch: i32,
    /// Its instance id, if it is static.
    pub instance: Option<String>,
    /// Where it runs.
    pub rack: Option<String>,
    /// How long it may take to give partitions up.
    pub rebalance_ms: Option<i32>,
    /// The topics that it wants.
    pub topics: Option<BTreeSet<String>>,
    /// The assignor it would like.
    pub assignor: Option<String>,
    /// What it has.
    pub owned: Option<Parts>,
    /// Who connected.
    pub client: Client,
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// Its id.
    pub member: MemberId,
    /// Its epoch from now on.
    pub epoch: i32,
    /// What it may read, where that is news to it.
    pub assignment: Option<Parts>,
}

/// The member that a heartbeat speaks for, as it was; and how it comes to be here.
struct Subject {
    member: Member,
    /// Whose place it takes: a static member under its former id.
    replaces: Option<MemberId>,
    /// The records of that.
    changes: Vec<Change>,
}

impl Beat {
    /// A heartbeat that says everything: its sender has joined, or does not know what has been heard of it.
    fn is_full(&self) -> bool {
        self.epoch == 0 || (self.rebalance_ms.is_some() && self.topics.is_some() && self.owned.is_some())
    }

    fn update(&self, before: &Subscription) -> Subscription {
        Subscription {
            instance: self.instance.clone().or_else(|| before.instance.clone()),
            rack: self.rack.clone().or_else(|| before.rack.clone()),
            client: self.client.clone(),
            topics: self.topics.clone().unwrap_or_else(|| before.topics.clone()),
            rebalance_ms: self.rebalance_ms.unwrap_or(before.rebalance_ms),
            assignor: self.assignor.clone().or_else(|| before.assignor.clone()),
        }
    }
}

impl Group {
    /// What a heartbeat changes, and what its sender is told when that is safe.
    ///
    /// # Errors
    /// Where it is not let in, or fenced.
    pub fn plan_heartbeat(&self, beat: &Beat, turn: Turn<'_>) -> Result<(Vec<Change>, Beaten), Refused> {
        let Subject { member, replaces, mut changes } = self.subject(beat)?;
        let is_new = replaces.is_none() && !self.members.contains_key(&beat.member);
        if is_new && self.members.len() >= turn.config.consumer_max_size {
            let words = format!("The consumer group has reached its maximum capacity of {} members.", turn.config.consumer_max_size);
            return Err(Refused::new(ErrorCode::GROUP_MAX_SIZE_REACHED, words));
        }
        let subscription = beat.update(&member.subscription);
        if is_new || subscription != member.subscription {
            changes.push(Change::Member(beat.member.clone(), Some(subscription.clone())));
        }
        let has_changed = is_new || subscription.topics != member.subscription.topics;
        let as_updated = Updated { id: &beat.member, subscription: &subscription, replaces: replaces.as_ref() };
        let epoch = self.plan_epoch(has_changed, &as_updated, turn, &mut changes);
        let target = self.plan_targets(epoch, &as_updated, turn, &mut changes);
        let current = self.plan_step(beat, &member.current, epoch.max(self.assignment_epoch), &target)?;
        if current != member.current {
            changes.push(Change::Current(beat.member.clone(), Some(current.clone())));
        }
        let is_news = beat.is_full() || current.assigned != member.current.assigned;
        let assignment = is_news.then(|| parts(&current.assigned));
        Ok((changes, Beaten { member: beat.member.clone(), epoch: current.epoch, assignment }))
    }

    fn subject(&self, beat: &Beat) -> Result<Subject, Refused> {
        let Some(instance) = beat.instance.as_deref() else { return self.dynamic_subject(beat) };
        let plain = |member: &Member| Subject { member: member.clone(), replaces: None, changes: Vec::new() };
        let Some((holder, held)) = self.statics.get(instance).and_then(|id| self.members.get_key_value(id)) else {
            if beat.epoch != 0 {
                return Err(Refused::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Instance id {instance} is unknown.")));
            }
            return Ok(plain(&Member::default()));
        };
        if beat.epoch != 0 {
            self.validate_instance(holder, &beat.member, instance)?;
            validate_epoch(held, beat)?;
            return Ok(plain(held));
        }
        if held.current.epoch == AWAY {
            return Ok(self.replace(holder, held, &beat.member));
        }
        if *holder == beat.member {
            // The answer to its join was lost, or it was fenced.
            return Ok(plain(held));
        }
        probe!("a static consumer's place was not free yet");
        let words = format!(
            "Static member {} with instance id {instance} cannot join the group because the instance id is owned by {holder} member.",
            beat.member
        );
        Err(Refused::new(ErrorCode::UNRELEASED_INSTANCE_ID, words))
    }

    fn dynamic_subject(&self, beat: &Beat) -> Result<Subject, Refused> {
        let member = match self.members.get(&beat.member) {
            // Who joins has given up everything; an id that is known already is that of a member that was fenced, or did not hear the answer to its join.
            Some(known) if beat.epoch == 0 => known.clone(),
            Some(known) => {
                validate_epoch(known, beat)?;
                known.clone()
            }
            None if beat.epoch == 0 => Member::default(),
            None => {
                return Err(Refused::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Member {} is not a member of the group.", beat.member)));
            }
        };
        Ok(Subject { member, replaces: None, changes: Vec::new() })
    }

    /// A static member is back: it takes over what its former self had, under a new id, and nobody else notices.
    fn replace(&self, former: &MemberId, held: &Member, id: &MemberId) -> Subject {
        probe!("a static consumer came back to its place");
        let current = Current { epoch: 0, previous: 0, ..held.current.clone() };
        let mut changes = removal(former);
        changes.push(Change::Member(id.clone(), Some(held.subscription.clone())));
        changes.push(Change::Target(id.clone(), Some(self.targets.get(former).cloned().unwrap_or_default())));
        changes.push(Change::Current(id.clone(), Some(current.clone())));
        Subject { member: Member { subscription: held.subscription.clone(), current }, replaces: Some(former.clone()), changes }
    }

    /// The group epoch: one more where members or subscriptions have changed, or the topics that are wanted.
    fn plan_epoch(&self, has_changed: bool, updated: &Updated<'_>, turn: Turn<'_>, changes: &mut Vec<Change>) -> i32 {
        if !has_changed && self.topics_seen == Some(turn.topics_version) {
            return self.epoch.epoch;
        }
        let metadata_hash = metadata_hash(topics_of(self.subscriptions(updated.own(), updated.without())), turn.topics);
        if !has_changed && metadata_hash == self.epoch.metadata_hash {
            return self.epoch.epoch;
        }
        let epoch = self.epoch.epoch.saturating_add(1);
        changes.extend(self.has_topics_record.then_some(Change::Topics(None)));
        changes.push(Change::Epoch(Some(Epoch { epoch, metadata_hash })));
        epoch
    }

    /// The targets of a new group epoch. Returns that of the member.
    fn plan_targets(&self, epoch: i32, updated: &Updated<'_>, turn: Turn<'_>, changes: &mut Vec<Change>) -> Parts {
        let before = |id: &MemberId| match updated.replaces {
            Some(former) if id == updated.id => self.targets.get(former),
            _ => self.targets.get(id),
        };
        if epoch <= self.assignment_epoch {
            return before(updated.id).cloned().unwrap_or_default();
        }
        let members = self.subscriptions(updated.own(), updated.without());
        let assignor = preferred(members.clone().map(|(_, subscription)| subscription), turn.config);
        let targets = assignor.assign(members.map(|(id, subscription)| (id, subscription, before(id))), turn.topics);
        for (id, parts) in &targets {
            if before(id) != Some(parts) {
                changes.push(Change::Target(id.clone(), Some(parts.clone())));
            }
        }
        changes.push(Change::AssignmentEpoch(Some(epoch)));
        targets.get(updated.id).cloned().unwrap_or_default()
    }

    fn plan_step(&self, beat: &Beat, current: &Current, epoch: i32, parts: &Parts) -> Result<Current, Refused> {
        let none = Parts::new();
        // Who joins has nothing, whatever it forgot to say.
        let owned = if beat.epoch == 0 { Some(&none) } else { beat.owned.as_ref() };
        let is_free = |topic, index| self.holders.is_free(topic, index);
        reconcile(current, &Target { epoch, parts }, owned, is_free).map_err(|MustRejoin| {
            let words = "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.";
            Refused::new(ErrorCode::FENCED_MEMBER_EPOCH, words)
        })
    }

    /// Only who holds the instance may speak for it.
    pub(super) fn validate_instance(&self, holder: &MemberId, member: &MemberId, instance: &str) -> Result<(), Refused> {
        if holder == member {
            return Ok(());
        }
        probe!("a static consumer was fenced by its successor");
        let words = format!("Static member {member} with instance id {instance} was fenced by member {holder}.");
        Err(Refused::new(ErrorCode::FENCED_INSTANCE_ID, words))
    }

    /// Takes note of a heartbeat whose plan was replayed: its sender lives, and has its time to give up what it must.
    pub fn beaten(&mut self, id: &MemberId, has_moved: bool, turn: Turn<'_>) {
        self.topics_seen = Some(turn.topics_version);
        self.extend_session(id, turn.now.at, turn.config);
        let Some(member) = self.members.get(id) else { return };
        match member.current.progress {
            Progress::Unrevoked if has_moved => self.begin_revocation(id, turn.now.at),
            Progress::Unrevoked => {}
            Progress::Stable | Progress::Unreleased | Progress::Unknown => self.revocations.cancel(&id.0),
        }
    }
}

/// A member as it will be.
struct Updated<'a> {
    id: &'a MemberId,
    subscription: &'a Subscription,
    replaces: Option<&'a MemberId>,
}

impl<'a> Updated<'a> {
    fn own(&self) -> Option<(&'a MemberId, &'a Subscription)> {
        Some((self.id, self.subscription))
    }

    fn without(&self) -> Option<&'a MemberId> {
        self.replaces
    }
}

/// The records that take a member out.
pub(super) fn removal(id: &MemberId) -> Vec<Change> {
    vec![Change::Current(id.clone(), None), Change::Target(id.clone(), None), Change::Member(id.clone(), None)]
}

fn validate_epoch(member: &Member, beat: &Beat) -> Result<(), Refused> {
    let known = member.current.epoch;
    if beat.epoch == known {
        return Ok(());
    }
    // Who comes with the epoch before, and has no more than it was given, has not heard the answer that told it of its own.
    let is_behind =
        beat.epoch == member.current.previous && beat.owned.as_ref().is_some_and(|owned| is_within(owned, &member.current.assigned));
    if is_behind && beat.epoch < known {
        probe!("a consumer came with its former epoch, because an answer was lost");
        return Ok(());
    }
    probe!("a consumer was fenced by its epoch");
    let than = if beat.epoch > known { "greater" } else { "smaller" };
    let words = format!(
        "The consumer group member has a {than} member epoch ({}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin.",
        beat.epoch
    );
    Err(Refused::new(ErrorCode::FENCED_MEMBER_EPOCH, words))
}
