//! A classic group: who is in it, in which generation, and how far its rebalance is. Source: Kafka's `ClassicGroup` and KIP-62, 134, 345, 394, 814.
//!
//! Pure: time and chance come with each call, answers and the wish to be written go out by `Outcome`. Never sees the wire, a log or an offset.
//!
//! ```text
//!            first join             all joined, or time is up       the leader's sync
//!  Empty ───────────────► Preparing ─────────────────────► Completing ────────────► Stable
//!    ▲                    │  ▲                                  │                     │
//!    └────────────────────┘  └──────────────────────────────────┴─────────────────────┘
//!       nobody is left          a member comes, goes, or changes what it supports
//! ```
//!
//! Only `Empty` and `Stable` are written, so only they survive a restart. What lies between promises nobody a partition:
//! assignments are handed out when the record of `Stable` is safe.

mod join;
mod leave;
mod member;
mod rebalance;
mod sync;
#[cfg(test)]
mod tests;
mod timers;

pub use join::Join;
pub use member::{Member, MemberId, Members, Protocol};
pub use sync::Sync;

use crate::coordinator::GroupConfig;
use crate::error::ErrorCode;
use crate::request::Token;
use crate::rng::Rng;
use crate::time::{Instant, Now, Timestamp};
use crate::{mutant, probe};
use bytes::Bytes;
use std::collections::BTreeSet;
pub(super) use timers::Sessions;

/// What the clients of Kafka call themselves; other types are free text, and their metadata is opaque.
pub const CONSUMER: &str = "consumer";

/// What every call on a group is given.
pub struct Turn<'a> {
    /// When.
    pub now: Now,
    /// The limits.
    pub config: &'a GroupConfig,
    /// For member ids.
    pub rng: &'a mut Rng,
    /// Filled by the call.
    pub out: &'a mut Outcome,
}

/// What a call decided.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests that can be answered now; what is good news waits until the group's last record is safe.
    pub answers: Vec<(Token, Answer)>,
    /// The group is to be written as it is now.
    pub store: bool,
}

/// The answer to a request that may have waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `JoinGroup`.
    Join(Result<Joined, Refused>),
    /// To `SyncGroup`.
    Sync(Result<Synced, ErrorCode>),
}

/// A member is in the generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub member: MemberId,
    /// Which generation.
    pub generation: i32,
    /// What kind of group.
    pub protocol_type: Option<String>,
    /// Which protocol won.
    pub protocol: Option<String>,
    /// Who assigns.
    pub leader: MemberId,
    /// The leader shall not assign: it came back as a static member and nothing changed (KIP-814).
    pub skip_assignment: bool,
    /// For the leader: everybody.
    pub members: Vec<JoinedMember>,
}

/// What the leader learns of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub id: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<String>,
    /// What it brought for the protocol that won.
    pub metadata: Bytes,
}

/// Not in, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub error: ErrorCode,
    /// The id to come back with; empty to come without.
    pub member: String,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What kind of group.
    pub protocol_type: Option<String>,
    /// Which protocol won.
    pub protocol: Option<String>,
    /// Opaque.
    pub assignment: Bytes,
}

/// How far the group is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No members. May hold offsets.
    Empty,
    /// Members are to join.
    Preparing(Preparing),
    /// All have joined; the leader's assignment is awaited.
    Completing(Unsynced),
    /// The assignment is there.
    Stable(Unsynced),
}

impl State {
    /// As Kafka's tools print it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing(_) => "PreparingRebalance",
            Self::Completing(_) => "CompletingRebalance",
            Self::Stable(_) => "Stable",
        }
    }
}

/// A rebalance whose members are to join.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Preparing {
    /// When those who have joined go on without the others.
    until: Instant,
    /// Set in the first rebalance of an empty group, which waits for more members to come.
    initial: Option<Initial>,
}

/// `group.initial.rebalance.delay.ms`, prolonged while members come, at most to the rebalance time-out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Initial {
    delay: std::time::Duration,
    remaining: std::time::Duration,
    /// Somebody came since the delay began.
    came: bool,
}

/// Who has joined this generation and not yet asked for its assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unsynced {
    members: BTreeSet<MemberId>,
    /// When they are removed.
    until: Instant,
}

/// A group as the log holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// Empty for a group that only keeps offsets.
    pub protocol_type: String,
    /// Which generation.
    pub generation: i32,
    /// Which protocol won, if there are members.
    pub protocol: Option<String>,
    /// Who assigns, if there are members.
    pub leader: Option<String>,
    /// Since when it is as it is; `Timestamp::NONE` in old records.
    pub since: Timestamp,
    /// By id.
    pub members: Vec<SnapshotMember>,
}

/// A member as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMember {
    /// Its id.
    pub id: String,
    /// Its instance id, if it is static.
    pub instance: Option<String>,
    /// Who connected.
    pub client: crate::coordinator::Client,
    /// How long a rebalance waits for it, in milliseconds.
    pub rebalance_ms: i32,
    /// Its session time-out, in milliseconds.
    pub session_ms: i32,
    /// What it brought for the protocol that won.
    pub subscription: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

/// One classic group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    state: State,
    /// When it came to this state.
    since: Timestamp,
    protocol_type: Option<String>,
    protocol: Option<String>,
    generation: i32,
    leader: Option<MemberId>,
    members: Members,
    /// Ids that were given out and have not come back (KIP-394).
    pending: BTreeSet<MemberId>,
    /// The topics that a group of consumers reads; `None` where that cannot be known.
    subscribed: Option<BTreeSet<String>>,
    sessions: Sessions,
}

impl Group {
    /// A group without members, as a first join or a bare offset commit makes it.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: State::Empty,
            since: now,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: Members::default(),
            pending: BTreeSet::new(),
            subscribed: None,
            sessions: Sessions::default(),
        }
    }

    /// The group that a record holds. Sessions begin with `resume`.
    #[must_use]
    pub fn restore(snapshot: &Snapshot) -> Self {
        let mut group = Self::new(snapshot.since);
        group.protocol_type = (!snapshot.protocol_type.is_empty()).then(|| snapshot.protocol_type.clone());
        group.protocol.clone_from(&snapshot.protocol);
        group.generation = snapshot.generation;
        for member in &snapshot.members {
            let id = MemberId::new(&member.id);
            if group.members.get(&id.0).is_some() || member.instance.as_deref().is_some_and(|i| group.members.holder(i).is_some()) {
                continue;
            }
            group.members.insert(id, Member::restore(member, snapshot.protocol.as_deref()));
        }
        group.leader = snapshot.leader.as_deref().filter(|id| group.members.get(id).is_some()).map(MemberId::new);
        if !group.members.is_empty() {
            group.state = State::Stable(Unsynced::default());
        }
        group.subscribed = group.subscriptions();
        group
    }

    /// The group as it is to be written. Meaningful in `Empty` and `Stable` only.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        Snapshot {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_ref().map(ToString::to_string),
            since: self.since,
            members: self.members.iter().map(|(id, member)| member.snapshot(id, protocol)).collect(),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Its generation: one more with each rebalance that ended.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// Its type; empty where it only keeps offsets.
    #[must_use]
    pub fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    /// The protocol that won the last rebalance.
    #[must_use]
    pub fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or_default()
    }

    /// Its members.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// No members, and no ids given out that may come back.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    /// Whether it reads `topic` now. A group of consumers whose subscriptions cannot be read may read anything.
    #[must_use]
    pub fn reads(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or_else(|| self.is_of_consumers(), |topics| topics.contains(topic))
    }

    /// Since when offsets may expire: `None` while they may not at all.
    #[must_use]
    pub fn offsets_age(&self) -> Option<Age> {
        if mutant!(OffsetsExpireLive) {
            return Some(Age::OfCommit);
        }
        if self.protocol_type.is_none() {
            return Some(Age::OfCommit);
        }
        match self.state {
            State::Empty if self.since == Timestamp::NONE => Some(Age::OfCommit),
            State::Empty => Some(Age::Since(self.since)),
            State::Stable(_) if self.is_of_consumers() && self.subscribed.is_some() => Some(Age::OfCommit),
            State::Preparing(_) | State::Completing(_) | State::Stable(_) => None,
        }
    }

    /// Whether its members are consumers, whose metadata can be read.
    #[must_use]
    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Every request that waits here, to be answered elsewhere because the group is given up.
    #[must_use]
    pub fn waiting(&self) -> Vec<(Token, Answer)> {
        let refuse = |member: &MemberId| Refused { error: ErrorCode::NOT_COORDINATOR, member: member.to_string() };
        let mut waiting = Vec::new();
        for (id, member) in self.members.iter() {
            waiting.extend(member.joining.map(|token| (token, Answer::Join(Err(refuse(id))))));
            waiting.extend(member.syncing.map(|token| (token, Answer::Sync(Err(ErrorCode::NOT_COORDINATOR)))));
        }
        waiting
    }

    /// What must hold between calls. Who is where is counted in tests and simulations only: groups may be large, and heartbeats many.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        let members = self.members.len();
        assert_eq!(self.leader.is_some(), members > 0, "a group with members has a leader");
        assert!(self.leader.as_ref().is_none_or(|id| self.members.get(&id.0).is_some()), "the leader is a member");
        match &self.state {
            State::Empty => assert_eq!(members, 0, "an empty group has no members"),
            State::Preparing(_) => {}
            State::Completing(_) | State::Stable(_) => {
                assert!(members > 0, "a generation has members");
                assert_eq!(self.members.joining(), 0, "nobody joins a complete generation");
            }
        }
        if cfg!(any(debug_assertions, feature = "sim")) {
            self.check_members();
        }
    }

    fn check_members(&self) {
        assert_eq!(self.members.iter().filter(|(_, m)| m.joining.is_some()).count(), self.members.joining(), "joins are counted");
        assert!(self.pending.iter().all(|id| self.members.get(&id.0).is_none()), "a member is not pending");
        let syncing = self.members.iter().any(|(_, m)| m.syncing.is_some());
        assert!(!syncing || matches!(self.state, State::Completing(_)), "syncs wait for the leader's only");
        if let State::Completing(unsynced) | State::Stable(unsynced) = &self.state {
            assert!(unsynced.members.iter().all(|id| self.members.get(&id.0).is_some()), "who is to sync is a member");
        }
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_ref().is_some_and(|id| &*id.0 == member)
    }

    fn enter(&mut self, state: State, now: Now) {
        self.state = state;
        self.since = now.wall;
    }

    /// Whether `member` may speak for itself, and for `instance` where it names one (KIP-345).
    ///
    /// # Errors
    /// `UnknownMemberId`, or `FencedInstanceId` where another member holds the instance.
    pub fn validate_member(&self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            let holder = self.members.holder(instance).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            if &*holder.0 != member {
                probe!("a static member was fenced by its successor");
                return Err(ErrorCode::FENCED_INSTANCE_ID);
            }
        }
        self.members.get(member).map(|_| ()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
    }

    /// Whether a commit by this member of this generation may be written.
    ///
    /// # Errors
    /// `UnknownMemberId`, `FencedInstanceId`, `IllegalGeneration`, or `RebalanceInProgress` between join and sync.
    pub fn validate_commit(&self, member: &str, instance: Option<&str>, generation: i32) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && member.is_empty() && instance.is_none() {
            // Admin tools and consumers without a group may only write where no member's progress can be overwritten.
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.validate_member(member, instance)?;
        if generation != self.generation && !mutant!(StaleGenerationCommit) {
            probe!("a commit of another generation was refused");
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        match self.state {
            // The member has heard of the new generation but owns nothing in it yet.
            State::Completing(_) => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Empty | State::Preparing(_) | State::Stable(_) => Ok(()),
        }
    }

    /// Reads the members' subscriptions, if they are consumers' and have chosen a protocol.
    fn subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for (_, member) in self.members.iter() {
            topics.extend(member::subscribed_topics(&member.metadata(protocol))?);
        }
        Some(topics)
    }
}

/// What the age of an offset is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Each offset's own commit.
    OfCommit,
    /// The moment at which the group became empty.
    Since(Timestamp),
}
