//! One member of a classic group, as a state machine over the group protocol's messages: joins, syncs, gives up what it must, lives.
//!
//! Pure: `group.rs` carries its requests, and holds it back while the application is busy with records or a commit is under way.
//!
//! ```text
//!            subscribe              JoinGroup           leader: metadata of all topics        SyncGroup
//!   Out ────────────────► Unjoined ───────────► Joining ──────────────────────► Leading ────────────────► Syncing
//!    ▲                       ▲ ▲                                                                             │
//!    │ left                  │ └── a rebalance, or something to give up ── Stable ◄── applied ── Given ◄─────┘
//!   Leaving                  └── thrown out: everything is lost
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::GroupConfig;
use super::subscription::{self, Sticky};
use crate::client::assign::{Assignor, Member as Described, MemberId};
use crate::client::{Topic, TopicPartition};
use crate::error::ErrorCode;
use crate::probe;
use crate::time::Instant;
use crate::wire::api::heartbeat::HeartbeatRequest;
use crate::wire::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::wire::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::wire::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

/// The protocol type of consumer groups.
const CONSUMER: &str = "consumer";

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// No member, and not to be one.
    Out,
    /// To join (again), not before this instant.
    Unjoined {
        from: Instant,
    },
    Joining,
    /// It waits until it knows every topic that any of `members` wants. Only the leader is told who is in the group.
    Leading {
        assignor: Assignor,
        members: BTreeMap<MemberId, Described>,
        /// It takes a static leader's place: the group has its assignment already, and it is only to watch the topics (KIP-814).
        assigned: bool,
    },
    Syncing,
    /// Assigned, and not told to the application yet.
    Given {
        parts: BTreeSet<TopicPartition>,
    },
    Stable,
    /// To leave, at the latest at this instant.
    Leaving {
        until: Instant,
        asked: bool,
    },
}

/// What an answer means for the parts that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// The coordinator has moved, or is gone.
    Lookup,
    /// It is no member any more: others may own its partitions already.
    ThrownOut,
    /// It will never be one.
    Refused(ErrorCode),
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) config: GroupConfig,
    pub(super) phase: Phase,
    pub(super) topics: BTreeSet<Topic>,
    /// Empty until its coordinator gave it one.
    pub(super) id: MemberId,
    /// −1 outside of any.
    pub(super) generation: i32,
    /// What it owns by the last assignment that was applied.
    pub(super) owned: BTreeSet<TopicPartition>,
    protocol: Option<Assignor>,
    /// What the eager sticky assignor remembers.
    sticky: Option<Sticky>,
    /// The partition counts that its assignment was computed from, if it is the leader.
    counted: Option<BTreeMap<Topic, u32>>,
    /// It is the leader, and has withheld partitions until those who had them give them up.
    withholds: bool,
    /// When it joins again, should nobody else have done so for what is withheld.
    pub(super) ask_again: Option<Instant>,
    pub(super) heartbeat_at: Instant,
    pub(super) beating: bool,
    failures: u32,
    /// Its topics have changed while it was joining.
    again: bool,
}

impl Member {
    pub(super) fn new(config: GroupConfig) -> Self {
        assert!(!config.assignors.is_empty(), "a member needs an assignor");
        Self {
            config,
            phase: Phase::Out,
            topics: BTreeSet::new(),
            id: MemberId::new(),
            generation: -1,
            owned: BTreeSet::new(),
            protocol: None,
            sticky: None,
            counted: None,
            withholds: false,
            ask_again: None,
            heartbeat_at: Instant::default(),
            beating: false,
            failures: 0,
            again: false,
        }
    }

    /// Whether it keeps what it owns while a rebalance runs.
    pub(super) fn is_cooperative(&self) -> bool {
        self.config.assignors.iter().all(|assignor| assignor.is_cooperative())
    }

    /// Whether the coordinator counts it as a member.
    pub(super) fn is_in(&self) -> bool {
        self.generation >= 0
    }

    /// What must be given up before it joins.
    pub(super) fn to_give_up(&self) -> BTreeSet<TopicPartition> {
        if !self.is_cooperative() {
            return self.owned.clone();
        }
        self.owned.iter().filter(|part| !self.topics.contains(&part.topic)).cloned().collect()
    }

    /// Joins, with what it owns now.
    pub(super) fn join(&mut self) -> JoinGroupRequest {
        self.phase = Phase::Joining;
        self.again = false;
        (self.counted, self.withholds, self.ask_again) = (None, false, None);
        let protocols = self.config.assignors.iter().map(|assignor| JoinGroupRequestProtocol {
            name: assignor.name().to_owned(),
            metadata: subscription::encode(*assignor, &self.topics, &self.owned, self.generation, self.sticky.as_ref()),
        });
        JoinGroupRequest {
            group_id: self.config.id.clone(),
            session_timeout_ms: millis(self.config.session_timeout),
            rebalance_timeout_ms: millis(self.config.max_poll_interval),
            member_id: self.id.clone(),
            group_instance_id: self.config.instance.clone(),
            protocol_type: CONSUMER.to_owned(),
            protocols: protocols.collect(),
            reason: None,
        }
    }

    pub(super) fn joined(&mut self, now: Instant, pause: Instant, response: &JoinGroupResponse) -> Verdict {
        if !matches!(self.phase, Phase::Joining) {
            return Verdict::Fine;
        }
        self.phase = Phase::Unjoined { from: now };
        if response.error_code == ErrorCode::MEMBER_ID_REQUIRED {
            probe!("member: it is given an id first (KIP-394)");
            self.id.clone_from(&response.member_id);
            return Verdict::Fine;
        }
        if response.error_code != ErrorCode::NONE {
            return self.refused(pause, response.error_code);
        }
        let Some(assignor) = response.protocol_name.as_deref().and_then(Assignor::named) else {
            return self.refused(pause, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        };
        self.failures = 0;
        (self.id, self.generation, self.protocol) = (response.member_id.clone(), response.generation_id, Some(assignor));
        self.heartbeat_at = now.after(self.config.heartbeat_interval);
        let members = response.members.iter().map(|member| {
            let described = subscription::decode(assignor, member.metadata.clone(), member.group_instance_id.clone());
            (member.member_id.clone(), described)
        });
        self.phase = Phase::Leading { assignor, members: members.collect(), assigned: response.skip_assignment };
        Verdict::Fine
    }

    /// The topics that someone in the group wants, if it is for this member to assign them.
    pub(super) fn topics_to_assign(&self) -> BTreeSet<Topic> {
        match &self.phase {
            Phase::Leading { members, .. } => members.values().flat_map(|member| member.topics.iter().cloned()).collect(),
            Phase::Out
            | Phase::Unjoined { .. }
            | Phase::Joining
            | Phase::Syncing
            | Phase::Given { .. }
            | Phase::Stable
            | Phase::Leaving { .. } => BTreeSet::new(),
        }
    }

    /// Asks for its assignment, and as the leader says everyone's. `counts`: the partitions of the topics to assign, as far as they exist.
    pub(super) fn sync(&mut self, counts: BTreeMap<Topic, u32>) -> SyncGroupRequest {
        let mut assignments = Vec::new();
        if let Phase::Leading { assignor, members, assigned } = &self.phase
            && !members.is_empty()
        {
            // What its predecessor withheld, who takes a static leader's place cannot know.
            self.withholds = assignor.is_cooperative();
            if !assigned {
                let owners = assignor.assign(&counts, members);
                let all: usize = counts.values().map(|count| *count as usize).sum();
                self.withholds &= owners.values().map(Vec::len).sum::<usize>() < all;
                let assignment = |(id, parts): (&MemberId, &Vec<_>)| SyncGroupRequestAssignment {
                    member_id: id.clone(),
                    assignment: subscription::encode_assignment(parts),
                };
                assignments = owners.iter().map(assignment).collect();
            }
            self.counted = Some(counts);
        }
        self.phase = Phase::Syncing;
        SyncGroupRequest {
            group_id: self.config.id.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.config.instance.clone(),
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name: self.protocol.map(|assignor| assignor.name().to_owned()),
            assignments,
        }
    }

    pub(super) fn synced(&mut self, pause: Instant, generation: i32, response: &SyncGroupResponse) -> Verdict {
        if !matches!(self.phase, Phase::Syncing) || generation != self.generation {
            return Verdict::Fine;
        }
        if response.error_code != ErrorCode::NONE {
            return self.refused(pause, response.error_code);
        }
        let Some(parts) = read_assignment(&response.assignment) else { return self.refused(pause, ErrorCode::INCONSISTENT_GROUP_PROTOCOL) };
        self.phase = Phase::Given { parts };
        Verdict::Fine
    }

    /// Takes what it was given. Answers what it must give up, and what is new to it. What another waits for makes it join again.
    pub(super) fn apply(&mut self, now: Instant) -> (BTreeSet<TopicPartition>, BTreeSet<TopicPartition>) {
        let Phase::Given { parts } = std::mem::replace(&mut self.phase, Phase::Stable) else {
            unreachable!("only what was given is applied")
        };
        let given_up: BTreeSet<TopicPartition> = self.owned.difference(&parts).cloned().collect();
        let added = parts.difference(&self.owned).cloned().collect();
        self.sticky = Some(Sticky { parts: parts.iter().cloned().collect(), generation: self.generation });
        self.owned = parts;
        self.ask_again = self.withholds.then(|| now.after(self.config.session_timeout));
        if std::mem::take(&mut self.again) {
            self.rejoin(now);
        }
        if self.is_cooperative() && !given_up.is_empty() {
            probe!("member: what it gave up makes it join again");
            self.rejoin(now);
        }
        (given_up, added)
    }

    /// It wants other topics than before.
    pub(super) fn subscribed(&mut self, now: Instant) {
        match self.phase {
            Phase::Out | Phase::Stable | Phase::Unjoined { .. } => self.phase = Phase::Unjoined { from: now },
            Phase::Joining | Phase::Leading { .. } | Phase::Syncing | Phase::Given { .. } => self.again = true,
            // It joins as soon as it has left.
            Phase::Leaving { .. } => {}
        }
    }

    /// It is the leader, and what it withheld from its new owner still waits, for longer than any member can be missing unnoticed. Whoever
    /// had it was to give it up and join again (KIP-429). A static member that has been replaced meanwhile has nothing to give up, and the
    /// coordinator hands it its assignment without a rebalance (KIP-345): nobody else would ever ask for another one.
    pub(super) fn has_waited_enough(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Stable) && self.ask_again.is_some_and(|at| at <= now)
    }

    /// Joins again from `from` on.
    pub(super) fn rejoin(&mut self, from: Instant) {
        if !matches!(self.phase, Phase::Out | Phase::Leaving { .. }) {
            self.phase = Phase::Unjoined { from };
        }
    }

    /// As the leader: whether topics have changed since it assigned them. A new assignment is needed then.
    pub(super) fn is_outdated(&self, count: impl Fn(&Topic) -> Option<u32>) -> bool {
        matches!(self.phase, Phase::Stable)
            && self.counted.as_ref().is_some_and(|counted| {
                counted.iter().any(|(topic, n)| count(topic).is_some_and(|now| now != *n))
                    || self.topics.iter().any(|topic| !counted.contains_key(topic) && count(topic).is_some())
            })
    }

    pub(super) fn heartbeat(&mut self) -> HeartbeatRequest {
        self.beating = true;
        HeartbeatRequest {
            group_id: self.config.id.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            group_instance_id: self.config.instance.clone(),
        }
    }

    pub(super) fn beaten(&mut self, now: Instant, pause: Instant, generation: i32, error: ErrorCode) -> Verdict {
        self.beating = false;
        self.heartbeat_at = now.after(self.config.heartbeat_interval);
        if error == ErrorCode::NONE || generation != self.generation {
            return Verdict::Fine;
        }
        if error == ErrorCode::REBALANCE_IN_PROGRESS {
            if matches!(self.phase, Phase::Stable | Phase::Given { .. }) {
                self.rejoin(now);
            }
            return Verdict::Fine;
        }
        if matches!(error, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS | ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE) {
            self.heartbeat_at = pause;
            return Verdict::Lookup;
        }
        self.refused(pause, error)
    }

    /// A request of the join was refused, or lost.
    pub(super) fn refused(&mut self, pause: Instant, error: ErrorCode) -> Verdict {
        self.failures += 1;
        self.rejoin(pause);
        match error {
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => Verdict::Fine,
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.id.clear();
                self.thrown_out()
            }
            ErrorCode::ILLEGAL_GENERATION => self.thrown_out(),
            _ if error.is_retriable() => Verdict::Lookup,
            _ => {
                self.thrown_out();
                self.phase = Phase::Out;
                Verdict::Refused(error)
            }
        }
    }

    fn thrown_out(&mut self) -> Verdict {
        probe!("member: thrown out of the group");
        self.generation = -1;
        self.sticky = None;
        Verdict::ThrownOut
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Asks to leave. A static member stays until its session ends, so that it keeps its partitions over a restart (KIP-345).
    pub(super) fn leave(&self) -> Option<LeaveGroupRequest> {
        if self.id.is_empty() || self.config.instance.is_some() {
            return None;
        }
        let member = MemberIdentity { member_id: self.id.clone(), group_instance_id: None, reason: None };
        Some(LeaveGroupRequest { group_id: self.config.id.clone(), member_id: self.id.clone(), members: vec![member] })
    }

    /// It is out of the group; it joins again if it wants topics.
    pub(super) fn left(&mut self, now: Instant) {
        self.id.clear();
        self.generation = -1;
        self.sticky = None;
        self.owned.clear();
        self.phase = if self.topics.is_empty() { Phase::Out } else { Phase::Unjoined { from: now } };
    }
}

fn read_assignment(bytes: &Bytes) -> Option<BTreeSet<TopicPartition>> {
    // A leader that assigned nothing may send nothing.
    if bytes.is_empty() { Some(BTreeSet::new()) } else { subscription::decode_assignment(bytes.clone()) }
}

fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
