//! One quorum alone, whose peers, disk and log are the test.

use super::world::{address, ms, voter};
use crate::broker::io::Unreachable;
use crate::error::ErrorCode;
use crate::id::{BrokerId, CallId, ConnId, LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::quorum::{Action, Config, Election, Quorum, Replica, Tail, Voters};
use crate::request::Token;
use crate::rng::stream;
use crate::time::{Instant, Now, Timestamp};
use crate::wire::api::{begin_quorum_epoch as begin, end_quorum_epoch as end, vote};
use crate::wire::{Request, Response};
use std::time::Duration;

/// A quorum, and what it asked for and was not yet given.
pub(super) struct Solo {
    pub(super) q: Quorum,
    pub(super) now: Instant,
    pub(super) tail: Tail,
    pub(super) calls: Vec<(CallId, BrokerId, Request)>,
    pub(super) replies: Vec<Response>,
    pub(super) others: Vec<Action>,
    /// Elections on their way to the disk.
    pub(super) unsaved: Vec<(u64, Election)>,
}

pub(super) fn replica(id: i32) -> Replica {
    (BrokerId(id), Uuid([u8::try_from(id).expect("small"); 16]))
}

pub(super) fn voters(ids: &[i32]) -> Voters {
    ids.iter().map(|id| voter(replica(*id))).collect()
}

pub(super) fn tail(epoch: i32, end: i64) -> Tail {
    Tail { end: Offset(end), epoch: LeaderEpoch(epoch), durable: Offset(end) }
}

pub(super) fn election(epoch: i32, leader: Option<i32>, voted: Option<i32>) -> Election {
    Election { epoch: LeaderEpoch(epoch), leader: leader.map(BrokerId), voted: voted.map(replica) }
}

pub(super) const TOKEN: Token = Token { conn: ConnId(1), seq: 0 };

impl Solo {
    /// Node 1 of these voters, which has just been formatted.
    pub(super) fn fresh(ids: &[i32]) -> Self {
        Self::start(1, ids, election(0, None, None), tail(0, 0))
    }

    pub(super) fn start(me: i32, ids: &[i32], election: Election, tail: Tail) -> Self {
        let (me, directory) = replica(me);
        let config = Config {
            me,
            directory,
            cluster: "cluster".into(),
            address: address(me),
            listener: "CONTROLLER".into(),
            may_vote: true,
            bootstrap: Vec::new(),
            election_timeout: ms(1000),
            fetch_timeout: ms(2000),
            request_timeout: ms(2000),
            backoff_max: ms(1000),
        };
        let now = Instant(1_000_000_000);
        let q = Quorum::new(config, election, voters(ids), tail, now, stream(7, "quorum"));
        let mut solo = Self { q, now, tail, calls: Vec::new(), replies: Vec::new(), others: Vec::new(), unsaved: Vec::new() };
        solo.drain();
        solo
    }

    /// A leader of epoch 1 of these voters, elected by all of them, whose first record is appended and durable.
    pub(super) fn leading(ids: &[i32]) -> Self {
        let mut solo = Self::fresh(ids);
        solo.wait(ms(50));
        for _ in 0..2 {
            solo.save();
            solo.grant_all();
        }
        solo.save();
        assert!(solo.q.is_leader(), "{:?}", solo.q.role());
        solo.grows(1, 1);
        solo.others.clear();
        solo
    }

    pub(super) fn drain(&mut self) {
        while let Some(action) = self.q.poll() {
            match action {
                Action::Save { number, election } => self.unsaved.push((number, election)),
                Action::Call { call, to, body } => self.calls.push((call, to.id, body)),
                Action::Reply { body, .. } => self.replies.push(body),
                Action::HangUp { .. } | Action::Lead { .. } | Action::Follow { .. } | Action::High(_) | Action::Change { .. } => {
                    self.others.push(action);
                }
            }
        }
    }

    /// The disk is done with everything.
    pub(super) fn save(&mut self) {
        while let Some((number, _)) = self.unsaved.pop() {
            self.q.saved(self.now, number);
            self.unsaved.retain(|(other, _)| *other > number);
            self.drain();
        }
    }

    /// Time passes, with a tick whenever one is due.
    pub(super) fn wait(&mut self, by: Duration) {
        let end = self.now.after(by);
        while let Some(at) = self.q.deadline().filter(|at| *at <= end) {
            assert!(at >= self.now || at.0 == 0 || self.now.since(at) < ms(1), "a tick did nothing: {at:?} at {:?}", self.now);
            self.now = self.now.max(at);
            self.q.tick(self.now, self.tail);
            self.drain();
        }
        self.now = end;
        self.q.tick(self.now, self.tail);
        self.drain();
    }

    /// The log holds `end` records, the last of `epoch`, all of them durable.
    pub(super) fn grows(&mut self, epoch: i32, end: i64) {
        self.tail = tail(epoch, end);
        self.q.appended(self.now, self.tail);
        self.drain();
    }

    pub(super) fn fetched(&mut self, id: i32, offset: i64) {
        self.q.fetched(Now { at: self.now, wall: Timestamp(5) }, replica(id), Offset(offset));
        self.drain();
    }

    pub(super) fn answer(&mut self, call: CallId, outcome: Result<Response, Unreachable>) {
        self.q.answered(self.now, call, outcome, self.tail);
        self.drain();
    }

    /// Every peer that was asked for its vote gives it.
    pub(super) fn grant_all(&mut self) {
        for (call, _, body) in std::mem::take(&mut self.calls) {
            let Request::Vote(body) = body else { continue };
            let epoch = body.topics[0].partitions[0].replica_epoch;
            self.answer(call, Ok(voted(epoch, ErrorCode::NONE, true)));
        }
    }

    /// Asks for the vote of this node, as `id`, and tells whether it was given; `None` while the answer is held.
    pub(super) fn ask(&mut self, id: i32, epoch: i32, last: (i32, i64), pre: bool) -> Option<Result<bool, ErrorCode>> {
        let body = vote_request(replica(id), epoch, last, pre);
        self.ask_with(body)
    }

    pub(super) fn ask_with(&mut self, body: vote::VoteRequest) -> Option<Result<bool, ErrorCode>> {
        self.replies.clear();
        self.q.vote(self.now, TOKEN, body, self.tail);
        self.drain();
        self.vote_given()
    }

    pub(super) fn vote_given(&mut self) -> Option<Result<bool, ErrorCode>> {
        let Response::Vote(body) = self.replies.pop()? else { panic!("the answer is to another request") };
        let Some(topic) = body.topics.first() else { return Some(Err(body.error_code)) };
        let partition = &topic.partitions[0];
        Some(if partition.error_code.is_none() { Ok(partition.vote_granted) } else { Err(partition.error_code) })
    }

    /// Node `id` says that it leads `epoch`.
    pub(super) fn begins(&mut self, id: i32, epoch: i32) -> Response {
        let (to, me) = (self.q.config.me, self.q.config.directory);
        let partition = begin::PartitionData {
            partition_index: PartitionIndex(0),
            voter_directory_id: me,
            leader_id: BrokerId(id),
            leader_epoch: LeaderEpoch(epoch),
        };
        let body = begin::BeginQuorumEpochRequest {
            cluster_id: Some("cluster".into()),
            voter_id: to,
            topics: vec![begin::TopicData { topic_name: "__cluster_metadata".into(), partitions: vec![partition] }],
            leader_endpoints: Vec::new(),
        };
        self.q.begin_epoch(self.now, TOKEN, body, self.tail);
        self.drain();
        self.save();
        self.replies.pop().expect("an answer")
    }

    /// Node `id` says that it leads `epoch` no more.
    pub(super) fn ends(&mut self, id: i32, epoch: i32, successors: &[i32]) {
        let candidate = |id: &i32| end::ReplicaInfo { candidate_id: replica(*id).0, candidate_directory_id: replica(*id).1 };
        let partition = end::PartitionData {
            partition_index: PartitionIndex(0),
            leader_id: BrokerId(id),
            leader_epoch: LeaderEpoch(epoch),
            preferred_successors: Vec::new(),
            preferred_candidates: successors.iter().map(candidate).collect(),
        };
        let body = end::EndQuorumEpochRequest {
            cluster_id: None,
            topics: vec![end::TopicData { topic_name: "__cluster_metadata".into(), partitions: vec![partition] }],
            leader_endpoints: Vec::new(),
        };
        self.q.end_epoch(self.now, TOKEN, body, self.tail);
        self.drain();
        self.save();
    }

    /// Node 2 leads `epoch`, and answered a fetch just now.
    pub(super) fn follows_two(&mut self, epoch: i32) {
        self.begins(2, epoch);
        self.q.fetch_answered(self.now, LeaderEpoch(epoch));
        self.drain();
        self.others.clear();
    }

    /// Which highs were told.
    pub(super) fn highs(&mut self) -> Vec<i64> {
        let high = |action: &Action| if let Action::High(high) = action { Some(high.0) } else { None };
        let highs = self.others.iter().filter_map(high).collect();
        self.others.clear();
        highs
    }
}

pub(super) fn vote_request((replica_id, replica_directory_id): Replica, epoch: i32, last: (i32, i64), pre_vote: bool) -> vote::VoteRequest {
    let partition = vote::PartitionData {
        partition_index: PartitionIndex(0),
        replica_epoch: LeaderEpoch(epoch),
        replica_id,
        replica_directory_id,
        voter_directory_id: Uuid::ZERO,
        last_offset_epoch: LeaderEpoch(last.0),
        last_offset: Offset(last.1),
        pre_vote,
    };
    vote::VoteRequest {
        cluster_id: Some("cluster".into()),
        voter_id: BrokerId(-1),
        topics: vec![vote::TopicData { topic_name: "__cluster_metadata".into(), partitions: vec![partition] }],
    }
}

pub(super) fn voted(leader_epoch: LeaderEpoch, error_code: ErrorCode, vote_granted: bool) -> Response {
    let partition =
        vote::PartitionResult { partition_index: PartitionIndex(0), error_code, leader_id: BrokerId(-1), leader_epoch, vote_granted };
    Response::Vote(vote::VoteResponse {
        error_code: ErrorCode::NONE,
        topics: vec![vote::TopicResult { topic_name: "__cluster_metadata".into(), partitions: vec![partition] }],
        node_endpoints: Vec::new(),
    })
}
