//! What is on its way between nodes. It arrives in any order; what is late and what is held up are the same.

use super::node::{Asked, Entry, Node};
use crate::model::canon::{self, Digest};
use klamm_core::client::io::Address;
use klamm_core::id::{BrokerId, CallId, ConnId, LeaderEpoch, Offset};
use klamm_core::request::Token;
use klamm_core::wire::{Request, Response};
use std::hash::Hash as _;
use std::sync::Arc;

/// A call of a node's in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) call: CallId,
    /// Whether a vote is asked for, not a pre-vote.
    pub(super) votes: bool,
}

impl Caller {
    /// As the name of the request, where it is dealt with.
    pub(super) fn token(self) -> Token {
        let seq = (self.node as u64) << 56 | self.life << 40 | u64::from(self.votes) << 39 | self.call.0;
        Token { conn: ConnId(self.node as u64), seq }
    }

    pub(super) fn of(seq: u64) -> Self {
        let node = usize::try_from(seq >> 56).expect("few nodes");
        Self { node, life: (seq >> 40) & 0xffff, call: CallId(seq & 0x7f_ffff_ffff), votes: seq >> 39 & 1 == 1 }
    }

    /// Which of the open calls of its node this is; none if nobody waits for it any more.
    pub(super) fn rank(self, nodes: &[Arc<Node>]) -> Option<usize> {
        let node = &nodes[self.node];
        if node.life == self.life { node.rank(self.call) } else { None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Refused,
    Diverging { epoch: LeaderEpoch, end: Offset },
    Records { entries: Vec<Entry>, high: Option<Offset> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Body {
    Ask(Request),
    Answer(Response),
    Fetch {
        asked: Asked,
        /// Nobody waits for the answer.
        is_stale: bool,
    },
    Fetched {
        epoch: LeaderEpoch,
        leader: Option<(BrokerId, Address)>,
        outcome: Outcome,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Of asks and answers.
    pub(super) caller: Option<Caller>,
    pub(super) body: Body,
    digest: u128,
}

impl Message {
    pub(super) fn new(from: usize, to: usize, caller: Option<Caller>, body: Body) -> Self {
        let digest = canon::digest(&(from, to, &body));
        Self { from, to, caller, body, digest }
    }

    /// What matters of it.
    pub(super) fn key(&self, nodes: &[Arc<Node>]) -> u128 {
        let mut digest = Digest::default();
        digest.wide(self.digest);
        self.caller.map(|caller| caller.rank(nodes)).hash(&mut digest);
        digest.end()
    }

    /// In words.
    pub(super) fn tell(&self) -> String {
        let what = match &self.body {
            Body::Ask(Request::Vote(body)) => body.topics.first().and_then(|topic| topic.partitions.first()).map(|ask| {
                let what = if ask.pre_vote { "pre-vote" } else { "vote" };
                format!("{what} in epoch {}? its log ends at {} in epoch {}", ask.replica_epoch, ask.last_offset, ask.last_offset_epoch)
            }),
            Body::Ask(body) => Some(format!("{:?}", body.api())),
            Body::Answer(Response::Vote(body)) => body.topics.first().and_then(|topic| topic.partitions.first()).map(|answer| {
                format!(
                    "granted {}, epoch {}, leader {}, {:?}",
                    answer.vote_granted, answer.leader_epoch, answer.leader_id, answer.error_code
                )
            }),
            Body::Answer(body) => Some(format!("answer of {:?}", body.api())),
            Body::Fetch { asked: Asked { epoch, offset, last_epoch, .. }, .. } => {
                Some(format!("fetch in epoch {epoch} from {offset}, the last record of epoch {last_epoch}"))
            }
            Body::Fetched { epoch, outcome, .. } => Some(format!("fetched in epoch {epoch}: {outcome:?}")),
        };
        format!("{} -> {}: {}", self.from + 1, self.to + 1, what.unwrap_or_default())
    }
}
