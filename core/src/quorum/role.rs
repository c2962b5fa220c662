//! What a node is in the quorum, each state with its data.
//!
//! ```text
//!                     ┌────────── hears of a leader ──────────┐
//!   Unattached ─► Prospective ─► Candidate ─► Leader       Follower ─► Prospective   its leader is silent
//!        ▲             majority      majority    │ silent majority, stop
//!        └─ newer epoch ◄─ any      of votes     ▼
//!                                             Resigned ─► Prospective
//! ```
//! A node without a vote is `Unattached` or a `Follower`, and stands for nothing.

use super::lead::Leader;
use super::round::Round;
use crate::client::io::Address;
use crate::id::BrokerId;
use crate::time::Instant;

/// What this node is in the quorum, for views and metrics. A node without a vote is `Unattached` or a `Follower`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Knows no leader, and waits for one.
    Unattached,
    /// Asks whether it would be elected.
    Prospective,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Fetches from a leader.
    Follower,
    /// Led, and leads no more.
    Resigned,
}

/// A leader, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: BrokerId,
    pub(super) address: Address,
}

#[derive(Clone, Debug)]
pub(super) enum Role {
    Unattached(Unattached),
    Prospective(Prospective),
    Candidate(Candidate),
    Leader(Box<Leader>),
    Follower(Follower),
    Resigned(Resigned),
}

#[derive(Clone, Debug)]
pub(super) struct Unattached {
    /// A voter pre-votes then.
    pub(super) until: Instant,
    /// Elections lost in a row.
    pub(super) lost: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Prospective {
    pub(super) ballots: Round,
    /// Answers grow stale: then all are asked anew.
    pub(super) until: Instant,
    /// It goes on fetching from the leader that it doubts.
    pub(super) leader: Option<Known>,
    pub(super) lost: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) ballots: Round,
    pub(super) until: Instant,
    pub(super) lost: u32,
    /// Its own vote counts once this `Save` is durable.
    pub(super) own: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub(super) leader: Known,
    /// The leader counts as silent then.
    pub(super) until: Instant,
    /// Whether it has an answer of this leader, and no reason to doubt it since: then it refuses pre-votes (KIP-996).
    pub(super) hears: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Resigned {
    /// The voters that do not know yet.
    pub(super) telling: Round,
    /// Who should stand, the best first.
    pub(super) successors: Vec<super::voters::Replica>,
    /// A voter pre-votes then.
    pub(super) until: Instant,
}

impl Role {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Unattached(_) => State::Unattached,
            Self::Prospective(_) => State::Prospective,
            Self::Candidate(_) => State::Candidate,
            Self::Leader(_) => State::Leader,
            Self::Follower(_) => State::Follower,
            Self::Resigned(_) => State::Resigned,
        }
    }

    /// The other node that leads, if this one knows it and would fetch from it.
    pub(super) fn leader(&self) -> Option<&Known> {
        match self {
            Self::Follower(follower) => Some(&follower.leader),
            Self::Prospective(prospective) => prospective.leader.as_ref(),
            Self::Unattached(_) | Self::Candidate(_) | Self::Leader(_) | Self::Resigned(_) => None,
        }
    }

    /// Whom this role asks for something, and has not heard from.
    pub(super) fn round(&mut self) -> Option<&mut Round> {
        match self {
            Self::Prospective(prospective) => Some(&mut prospective.ballots),
            Self::Candidate(candidate) => Some(&mut candidate.ballots),
            Self::Leader(leader) => Some(&mut leader.telling),
            Self::Resigned(resigned) => Some(&mut resigned.telling),
            Self::Unattached(_) | Self::Follower(_) => None,
        }
    }

    /// When time alone changes this role. A leader has more to say about that.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Unattached(unattached) => Some(unattached.until),
            Self::Prospective(prospective) => Some(prospective.until),
            Self::Candidate(candidate) => Some(candidate.until),
            Self::Leader(_) => None,
            Self::Follower(follower) => Some(follower.until),
            Self::Resigned(resigned) => Some(resigned.until),
        }
    }
}
