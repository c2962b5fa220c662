//! Calls to peers: their making, their time-outs, and whom to fetch from.

use super::role::Role;
use super::round::Ask;
use super::{Action, Quorum, replies};
use crate::broker::io::{Lane, Peer};
use crate::client::io::Address;
use crate::id::{BrokerId, CallId, LeaderEpoch, PartitionIndex, Uuid};
use crate::time::Instant;
use crate::wire::Request;
use crate::wire::api::{begin_quorum_epoch as begin, end_quorum_epoch as end, vote};
use rand::Rng as _;
use std::time::Duration;

/// The first wait after a failure; it doubles up to `backoff_max`.
const RETRY_FIRST: Duration = Duration::from_millis(50);

/// What a call asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Vote { pre: bool },
    Begin,
    End,
}

/// A call that is outstanding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called {
    pub(super) to: BrokerId,
    pub(super) epoch: LeaderEpoch,
    pub(super) kind: Kind,
    /// It is given up then.
    pub(super) until: Instant,
}

/// When to fetch next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Not before.
    pub(super) next: Instant,
    /// Fetches that came to nothing, in a row.
    failed: u32,
    /// Whether the broker was told to wait, so that `deadline` must remind it.
    pub(super) asked: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, failed: 0, asked: false }
    }
}

impl Quorum {
    /// Asks whoever is due.
    pub(super) fn ask(&mut self, now: Instant) {
        let due = self.role.round().map(|round| round.due(now)).unwrap_or_default();
        for (id, tries) in due {
            let Some(voter) = self.voters().get(id) else { continue };
            let (to, address) = (voter.replica(), voter.address.clone());
            let (kind, body) = match &self.role {
                Role::Prospective(_) => (Kind::Vote { pre: true }, self.vote_request(to, true)),
                Role::Candidate(_) => (Kind::Vote { pre: false }, self.vote_request(to, false)),
                Role::Leader(_) => (Kind::Begin, self.begin_request(to)),
                Role::Resigned(resigned) => (Kind::End, self.end_request(&resigned.successors)),
                Role::Unattached(_) | Role::Follower(_) => continue,
            };
            let call = CallId(self.next_call);
            self.next_call += 1;
            let until = now.after(self.config.request_timeout);
            self.calls.insert(call, Called { to: id, epoch: self.election.epoch, kind, until });
            if let Some(round) = self.role.round() {
                round.set(id, Ask::Out { call, tries });
            }
            self.emit(Action::Call { call, to: Peer { id, address, lane: Lane::Quorum }, body });
        }
    }

    /// Gives up calls that take too long.
    pub(super) fn expire_calls(&mut self, now: Instant) {
        let late: Vec<CallId> = self.calls.iter().filter(|(_, called)| called.until <= now).map(|(call, _)| *call).collect();
        for call in late {
            let Some(called) = self.calls.remove(&call) else { continue };
            self.emit(Action::HangUp { call });
            self.ask_again(now, call, called.to);
        }
    }

    /// A call came to nothing.
    pub(super) fn ask_again(&mut self, now: Instant, call: CallId, to: BrokerId) {
        let Some(tries) = self.role.round().and_then(|round| round.tries(to, call)) else { return };
        let at = now.after(self.retry(tries));
        if let Some(round) = self.role.round() {
            round.set(to, Ask::Due { at, tries: tries + 1 });
        }
    }

    /// How long to wait after `tries` earlier failures: doubled each time, and by chance.
    pub(super) fn retry(&mut self, tries: u32) -> Duration {
        let doubled = RETRY_FIRST.saturating_mul(1 << tries.min(20)).min(self.config.backoff_max);
        doubled.mul_f64(self.rng.random_range(0.5..1.0))
    }

    fn vote_request(&self, to: (BrokerId, Uuid), pre: bool) -> Request {
        let partition = vote::PartitionData {
            partition_index: PartitionIndex(0),
            replica_epoch: self.election.epoch,
            replica_id: self.config.me,
            replica_directory_id: self.config.directory,
            voter_directory_id: to.1,
            last_offset_epoch: self.tail.epoch,
            last_offset: self.tail.end,
            pre_vote: pre,
        };
        Request::Vote(vote::VoteRequest {
            cluster_id: Some(self.config.cluster.clone()),
            voter_id: to.0,
            topics: vec![vote::TopicData { topic_name: replies::TOPIC.into(), partitions: vec![partition] }],
        })
    }

    fn begin_request(&self, to: (BrokerId, Uuid)) -> Request {
        let partition = begin::PartitionData {
            partition_index: PartitionIndex(0),
            voter_directory_id: to.1,
            leader_id: self.config.me,
            leader_epoch: self.election.epoch,
        };
        let Address { host, port } = self.config.address.clone();
        Request::BeginQuorumEpoch(begin::BeginQuorumEpochRequest {
            cluster_id: Some(self.config.cluster.clone()),
            voter_id: to.0,
            topics: vec![begin::TopicData { topic_name: replies::TOPIC.into(), partitions: vec![partition] }],
            leader_endpoints: vec![begin::LeaderEndpoint { name: self.config.listener.clone(), host, port }],
        })
    }

    fn end_request(&self, successors: &[(BrokerId, Uuid)]) -> Request {
        let candidate = |(id, directory): &(BrokerId, Uuid)| end::ReplicaInfo { candidate_id: *id, candidate_directory_id: *directory };
        let partition = end::PartitionData {
            partition_index: PartitionIndex(0),
            leader_id: self.config.me,
            leader_epoch: self.election.epoch,
            preferred_successors: successors.iter().map(|(id, _)| *id).collect(),
            preferred_candidates: successors.iter().map(candidate).collect(),
        };
        let Address { host, port } = self.config.address.clone();
        Request::EndQuorumEpoch(end::EndQuorumEpochRequest {
            cluster_id: Some(self.config.cluster.clone()),
            topics: vec![end::TopicData { topic_name: replies::TOPIC.into(), partitions: vec![partition] }],
            leader_endpoints: vec![end::LeaderEndpoint { name: self.config.listener.clone(), host, port }],
        })
    }

    /// Whom a node that does not lead should fetch from: the leader, or, while none is known, one of the voters and bootstrap servers by chance.
    /// `None` while there is nobody, while it is too early (`deadline` says when to ask again), and while an election is not yet durable.
    pub fn fetch_target(&mut self, now: Instant) -> Option<Peer> {
        if matches!(self.role, Role::Leader(_)) || self.saved < self.last_save {
            return None;
        }
        if now < self.pace.next {
            self.pace.asked = true;
            return None;
        }
        self.pace.asked = false;
        if let Some(known) = self.role.leader() {
            return Some(Peer { id: known.id, address: known.address.clone(), lane: Lane::Metadata });
        }
        let target = self.somebody()?;
        self.pace.next = now.after(self.retry(self.pace.failed));
        Some(target)
    }

    fn somebody(&mut self) -> Option<Peer> {
        let voters = self.voters().iter().filter(|voter| voter.id != self.config.me).map(|voter| (voter.id, voter.address.clone()));
        let mut peers: Vec<(BrokerId, Address)> = voters.collect();
        for address in &self.config.bootstrap {
            let mine = self.config.may_vote && *address == self.config.address;
            if !mine && peers.iter().all(|(_, other)| other != address) {
                peers.push((BrokerId(-1), address.clone()));
            }
        }
        if peers.is_empty() {
            return None;
        }
        let (id, address) = peers.swap_remove(self.rng.random_range(0..peers.len()));
        Some(Peer { id, address, lane: Lane::Metadata })
    }

    /// A fetch from `fetch_target` came to nothing, or to an error: the next one waits a little.
    pub fn fetch_failed(&mut self, now: Instant) {
        self.pace.next = self.pace.next.max(now.after(self.retry(self.pace.failed)));
        self.pace.failed = self.pace.failed.saturating_add(1);
    }

    /// Fetches get on.
    pub(super) fn fetch_went_well(&mut self, now: Instant) {
        self.pace = Pace::new(now);
    }
}
