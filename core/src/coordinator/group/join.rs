//! `JoinGroup`: who is let in, under which id. Never ends a rebalance itself.

use super::{Answer, Group, Joined, Member, MemberId, Preparing, Protocol, Refused, State, Turn};
use crate::coordinator::Client;
use crate::error::ErrorCode;
use crate::id::Uuid;
use crate::request::Token;
use crate::{mutant, probe};
use bytes::Bytes;
use rand::Rng as _;
use std::collections::BTreeSet;
use std::time::Duration;

/// A request to join.
#[derive(Clone, Debug)]
pub struct Join {
    /// Gets the answer, now or when the rebalance is through.
    pub token: Token,
    /// The version of the request: what the client understands depends on it.
    pub version: i16,
    /// Who connected.
    pub client: Client,
    /// The id it was given; empty at first.
    pub member: String,
    /// Its instance id, if it is static.
    pub instance: Option<String>,
    /// Without a sign of life for so long it is removed.
    pub session: Duration,
    /// How long a rebalance waits for it.
    pub rebalance: Duration,
    /// What kind of group it wants.
    pub protocol_type: String,
    /// What it supports, in order of preference.
    pub protocols: Vec<Protocol>,
}

impl Join {
    /// KIP-394: a dynamic member first gets an id and comes back with it, so that a client that vanishes leaves no ghost.
    fn needs_id_first(&self) -> bool {
        self.version >= 4
    }

    /// KIP-814
    fn knows_skip_assignment(&self) -> bool {
        self.version >= 9
    }

    fn into_member(self) -> Member {
        Member {
            instance: self.instance,
            client: self.client,
            session: self.session,
            rebalance: self.rebalance,
            protocols: self.protocols,
            assignment: Bytes::new(),
            joining: Some(self.token),
            syncing: None,
            new: true,
        }
    }
}

impl Group {
    /// Decides a request to join.
    pub fn join(&mut self, join: Join, turn: &mut Turn<'_>) {
        if !self.has_room_for(&join.member, turn) {
            probe!("a member was refused for the group's size");
            self.remove_member(&join.member, turn);
            self.go_on_after_initial(turn);
            return refuse(&join, ErrorCode::GROUP_MAX_SIZE_REACHED, "", turn);
        }
        if !self.accepts(&join) {
            return refuse(&join, ErrorCode::INCONSISTENT_GROUP_PROTOCOL, &join.member, turn);
        }
        if join.member.is_empty() { self.join_new(join, turn) } else { self.join_known(join, turn) }
    }

    /// Whether one more fits. While members join, those count that have; so the last ones to come back are sent away.
    fn has_room_for(&self, member: &str, turn: &Turn<'_>) -> bool {
        let found = self.members.get(member);
        match self.state {
            State::Empty => true,
            State::Preparing(_) => found.is_some_and(|m| m.joining.is_some()) || self.members.joining() < turn.config.max_size,
            State::Completing(_) | State::Stable(_) => found.is_some() || self.members.len() < turn.config.max_size,
        }
    }

    /// Whether it wants the same kind of group, and knows a protocol that all members know.
    fn accepts(&self, join: &Join) -> bool {
        if self.state == State::Empty {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(&join.protocol_type) && join.protocols.iter().any(|p| self.members.all_support(&p.name))
    }

    fn join_new(&mut self, join: Join, turn: &mut Turn<'_>) {
        let id = new_id(join.instance.as_deref().unwrap_or(&join.client.id), turn);
        if let Some(instance) = &join.instance {
            return match self.members.holder(instance).cloned() {
                Some(old) if mutant!(StaticNotFenced) => self.replace_static(&old, old.clone(), join, turn),
                Some(old) => self.replace_static(&old, id, join, turn),
                None => self.add(id, join, turn),
            };
        }
        if !join.needs_id_first() {
            return self.add(id, join, turn);
        }
        self.pending.insert(id.clone());
        self.begin_pending_session(id.clone(), join.session, turn);
        refuse(&join, ErrorCode::MEMBER_ID_REQUIRED, &id.0, turn);
    }

    fn join_known(&mut self, join: Join, turn: &mut Turn<'_>) {
        let id = MemberId::new(&join.member);
        // Only dynamic members are given an id before they join.
        if join.instance.is_none() && self.pending.contains(&id) {
            return self.add(id, join, turn);
        }
        if let Err(error) = self.validate_member(&join.member, join.instance.as_deref()) {
            return refuse(&join, error, &join.member, turn);
        }
        let member = self.members.get(&id.0).expect("validated above");
        let changed = member.protocols != join.protocols;
        let goes_on = match self.state {
            State::Preparing(_) => false,
            // The answer to its join was lost.
            State::Completing(_) => !changed,
            // A leader that joins again wants to assign anew, because topics have changed.
            State::Stable(_) => !changed && !self.is_leader(&id.0),
            State::Empty => unreachable!("an empty group has no members, so validation failed"),
        };
        if goes_on {
            let joined = self.joined(&id);
            return turn.out.answers.push((join.token, Answer::Join(Ok(joined))));
        }
        self.update(&id, join, turn);
        self.rebalance(turn);
    }

    fn add(&mut self, id: MemberId, join: Join, turn: &mut Turn<'_>) {
        if let State::Preparing(Preparing { initial: Some(initial), .. }) = &mut self.state {
            initial.came = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.pending.remove(&id);
        self.begin_new_session(id.clone(), turn);
        self.members.insert(id, join.into_member());
        self.rebalance(turn);
    }

    /// Takes over what a member brought now, and lets its request wait.
    fn update(&mut self, id: &MemberId, join: Join, turn: &mut Turn<'_>) {
        let before = self.members.change(&id.0, |member| {
            member.session = join.session;
            member.rebalance = join.rebalance;
            member.protocols = join.protocols;
            member.joining.replace(join.token)
        });
        if let Some(token) = before.expect("the caller found it") {
            probe!("a member joined again while its join waited");
            let refused = Refused { error: ErrorCode::REBALANCE_IN_PROGRESS, member: id.to_string() };
            turn.out.answers.push((token, Answer::Join(Err(refused))));
        }
    }

    /// A static member came back without its id (KIP-345): it takes its own place under a new id, and the old id is fenced from now on.
    fn replace_static(&mut self, old: &MemberId, id: MemberId, join: Join, turn: &mut Turn<'_>) {
        probe!("a static member took its place under a new id");
        let led = self.leader.clone().expect("a group with members has a leader");
        self.rename_member(old, &id, &join.client, turn);
        let (token, skips) = (join.token, join.knows_skip_assignment());
        self.update(&id, join, turn);
        match self.state {
            State::Stable(_) if self.protocol == Some(self.members.elect_protocol()) => {}
            State::Stable(_) | State::Completing(_) => return self.prepare_rebalance(turn),
            State::Preparing(_) => return self.go_on_after_initial(turn),
            State::Empty => unreachable!("an empty group has no static members"),
        }
        // Nothing that matters to the others has changed: no rebalance.
        self.members.change(&id.0, |member| member.joining.take());
        self.subscribed = self.subscriptions();
        turn.out.store = true;
        let joined = self.joined(&id);
        let leads = joined.leader == id;
        // An old client that hears it leads would assign, and be refused; so it hears of the leader that was.
        let joined =
            if skips { Joined { skip_assignment: leads, ..joined } } else { Joined { leader: led, members: Vec::new(), ..joined } };
        turn.out.answers.push((token, Answer::Join(Ok(joined))));
    }

    fn rename_member(&mut self, old: &MemberId, new: &MemberId, client: &Client, turn: &mut Turn<'_>) {
        let mut member = self.members.remove(&old.0).expect("it holds its instance");
        let refused = Refused { error: ErrorCode::FENCED_INSTANCE_ID, member: old.to_string() };
        turn.out.answers.extend(member.joining.take().map(|token| (token, Answer::Join(Err(refused)))));
        turn.out.answers.extend(member.syncing.take().map(|token| (token, Answer::Sync(Err(ErrorCode::FENCED_INSTANCE_ID)))));
        member.client = client.clone();
        self.members.insert(new.clone(), member);
        if self.is_leader(&old.0) {
            self.leader = Some(new.clone());
        }
        if let State::Completing(unsynced) | State::Stable(unsynced) = &mut self.state
            && unsynced.members.remove(old)
        {
            unsynced.members.insert(new.clone());
        }
        self.sessions.cancel(&old.0);
        self.extend_session(new, turn);
    }

    /// Ids given out that have not come back.
    #[must_use]
    pub fn pending(&self) -> &BTreeSet<MemberId> {
        &self.pending
    }
}

fn refuse(join: &Join, error: ErrorCode, member: &str, turn: &mut Turn<'_>) {
    turn.out.answers.push((join.token, Answer::Join(Err(Refused { error, member: member.to_owned() }))));
}

/// Kafka's form: the client's or instance's name, a dash, and a random UUID (version 4) in hex.
fn new_id(prefix: &str, turn: &mut Turn<'_>) -> MemberId {
    let mut uuid = Uuid(turn.rng.random());
    uuid.0[6] = uuid.0[6] & 0x0f | 0x40;
    uuid.0[8] = uuid.0[8] & 0x3f | 0x80;
    let mut id = format!("{prefix}-");
    for (i, byte) in uuid.0.iter().enumerate() {
        let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
        id.push_str(&format!("{dash}{byte:02x}"));
    }
    MemberId::new(&id)
}
