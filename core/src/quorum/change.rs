//! Changes of the voters, one at a time (KIP-853).

use super::role::Role;
use super::{Action, Quorum, Tail, Voter, Voters};
use crate::client::io::Address;
use crate::error::ErrorCode;
use crate::id::{LeaderEpoch, Offset, Uuid};
use crate::request::Token;
use crate::time::Instant;
use crate::wire::Response;
use crate::wire::api::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use crate::wire::api::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use crate::wire::api::update_raft_voter::{CurrentLeader, UpdateRaftVoterRequest, UpdateRaftVoterResponse};
use crate::{mutant, probe};
use std::time::Duration;

/// A replica that had all of the log within this time may become a voter, as in Kafka.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(3600);

/// The change under way, as its leader knows it.
#[derive(Clone, Debug)]
pub(super) enum Change {
    None,
    /// Asked of the broker by `Action::Change`.
    Appending(Option<Waiter>),
    /// In the log; somebody waits until it is committed.
    Appended {
        at: Offset,
        waiter: Waiter,
    },
}

/// Who is answered when the change is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    token: Token,
    asked: Asked,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Add { until_committed: bool },
    Remove,
}

impl Quorum {
    /// An operator adds a voter.
    pub fn add_voter(&mut self, now: Instant, token: Token, body: AddRaftVoterRequest, tail: Tail) {
        self.see(now, tail);
        let asked = Asked::Add { until_committed: body.ack_when_committed };
        match self.judge_add(now, &body) {
            Ok(voters) => {
                let patience = Duration::from_millis(u64::try_from(body.timeout_ms).unwrap_or(0));
                self.change(voters, Some(Waiter { token, asked, until: now.after(patience) }));
            }
            Err(error) => self.emit(Action::Reply { token, body: answer(asked, error) }),
        }
        self.advance(now);
    }

    fn judge_add(&self, now: Instant, body: &AddRaftVoterRequest) -> Result<Voters, ErrorCode> {
        self.check_leader(body.cluster_id.as_deref(), self.election.epoch)?;
        let address = self.endpoint(body.listeners.iter().map(|it| (it.name.as_str(), it.host.as_str(), it.port)));
        if body.voter_id.0 < 0 || body.voter_directory_id == Uuid::ZERO {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let voter = Voter { id: body.voter_id, directory: body.voter_directory_id, address: address? };
        self.check_free()?;
        if self.voters().get(voter.id).is_some() {
            return Err(ErrorCode::DUPLICATE_VOTER);
        }
        // A voter that lags would hold the high watermark back, or leave it without a spare.
        let Role::Leader(leader) = &self.role else { return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
        let caught_up = leader.progress(&voter).and_then(|progress| progress.caught_up);
        if caught_up.is_none_or(|then| now.since(then.at) >= CAUGHT_UP_WITHIN) {
            probe!("a replica is to vote that lags");
            return Err(ErrorCode::REQUEST_TIMED_OUT);
        }
        Ok(self.voters().with(voter))
    }

    /// An operator removes a voter.
    pub fn remove_voter(&mut self, now: Instant, token: Token, body: RemoveRaftVoterRequest, tail: Tail) {
        self.see(now, tail);
        match self.judge_remove(&body) {
            Ok(voters) => {
                let until = now.after(self.config.request_timeout);
                self.change(voters, Some(Waiter { token, asked: Asked::Remove, until }));
            }
            Err(error) => self.emit(Action::Reply { token, body: answer(Asked::Remove, error) }),
        }
        self.advance(now);
    }

    fn judge_remove(&self, body: &RemoveRaftVoterRequest) -> Result<Voters, ErrorCode> {
        self.check_leader(body.cluster_id.as_deref(), self.election.epoch)?;
        if body.voter_id.0 < 0 || body.voter_directory_id == Uuid::ZERO {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_free()?;
        // Without the last voter nobody could ever commit anything, not even its removal.
        if !self.voters().contains((body.voter_id, body.voter_directory_id)) || self.voters().len() == 1 {
            return Err(ErrorCode::VOTER_NOT_FOUND);
        }
        Ok(self.voters().without(body.voter_id))
    }

    /// A voter tells its endpoint. It is answered at once, as in Kafka.
    pub fn update_voter(&mut self, now: Instant, token: Token, body: UpdateRaftVoterRequest, tail: Tail) {
        self.see(now, tail);
        let error = match self.judge_update(&body) {
            Ok(voters) => {
                self.change(voters, None);
                ErrorCode::NONE
            }
            Err(error) => error,
        };
        let body = self.updated(error);
        self.emit(Action::Reply { token, body });
        self.advance(now);
    }

    fn judge_update(&self, body: &UpdateRaftVoterRequest) -> Result<Voters, ErrorCode> {
        self.check_leader(body.cluster_id.as_deref(), body.current_leader_epoch)?;
        let address = self.endpoint(body.listeners.iter().map(|it| (it.name.as_str(), it.host.as_str(), it.port)))?;
        let range = &body.k_raft_version_feature;
        // The quorum is at kraft.version 1 wherever its voters can be changed.
        if body.voter_id.0 < 0 || body.voter_directory_id == Uuid::ZERO || !(0..=1).contains(&range.min_supported_version) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if range.max_supported_version < 1 {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_free()?;
        if !self.voters().contains((body.voter_id, body.voter_directory_id)) {
            return Err(ErrorCode::VOTER_NOT_FOUND);
        }
        Ok(self.voters().with(Voter { id: body.voter_id, directory: body.voter_directory_id, address }))
    }

    fn updated(&self, error_code: ErrorCode) -> Response {
        let news = self.news();
        let current_leader = news.leader.map_or_else(CurrentLeader::default, |known| CurrentLeader {
            leader_id: known.id,
            leader_epoch: news.epoch,
            host: known.address.host,
            port: i32::from(known.address.port),
        });
        Response::UpdateRaftVoter(UpdateRaftVoterResponse { throttle_time_ms: 0, error_code, current_leader })
    }

    fn check_leader(&self, cluster: Option<&str>, epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        if !self.is_my_cluster(cluster) {
            return Err(ErrorCode::INCONSISTENT_CLUSTER_ID);
        }
        if epoch < self.election.epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if epoch > self.election.epoch {
            return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
        }
        if self.is_leader() { Ok(()) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }

    fn endpoint<'a>(&self, mut listeners: impl Iterator<Item = (&'a str, &'a str, u16)>) -> Result<Address, ErrorCode> {
        let found = listeners.find(|(name, _, _)| *name == self.config.listener);
        found.map(|(_, host, port)| Address { host: host.into(), port }).ok_or(ErrorCode::INVALID_REQUEST)
    }

    /// Whether the voters may change now.
    fn check_free(&self) -> Result<(), ErrorCode> {
        let Role::Leader(leader) = &self.role else { return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) };
        // Two changes at once could leave two majorities without a common voter; so could a change that an older leader left uncommitted, which
        // is why something of this epoch must be committed first.
        let busy = !matches!(leader.change, Change::None);
        let is_free = !busy && leader.high.is_some_and(|high| self.voters_at() < high);
        if !is_free && !mutant!(TwoChangesAtOnce) {
            probe!("voters are asked to change while they do");
            return Err(ErrorCode::REQUEST_TIMED_OUT);
        }
        // Voters without directories are those of `controller.quorum.voters`: kraft.version 0, which cannot change.
        if self.voters().iter().any(|voter| voter.directory == Uuid::ZERO) {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        Ok(())
    }

    fn change(&mut self, voters: Voters, waiter: Option<Waiter>) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.change = Change::Appending(waiter);
        let epoch = self.election.epoch;
        self.emit(Action::Change { epoch, voters });
    }

    /// A voters record is in the log.
    pub(super) fn change_appended(&mut self, now: Instant, at: Offset) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Change::Appending(waiter) = leader.change else { return };
        match waiter {
            Some(waiter) if waiter.asked == (Asked::Add { until_committed: false }) => {
                leader.change = Change::None;
                self.finish(waiter, ErrorCode::NONE);
            }
            Some(waiter) => leader.change = Change::Appended { at, waiter },
            None => leader.change = Change::None,
        }
        self.turn_change(now);
    }

    /// Answers whoever waits for a change that is committed, or takes too long.
    pub(super) fn turn_change(&mut self, now: Instant) {
        let Role::Leader(leader) = &mut self.role else { return };
        match leader.change {
            Change::Appended { at, waiter } if leader.high > Some(at) => {
                leader.change = Change::None;
                self.finish(waiter, ErrorCode::NONE);
            }
            Change::Appended { waiter, .. } if waiter.until <= now => {
                // It may be committed later, which nobody is told. No other change begins before.
                probe!("a change of the voters was not committed in time");
                leader.change = Change::None;
                self.finish(waiter, ErrorCode::REQUEST_TIMED_OUT);
            }
            Change::None | Change::Appending(_) | Change::Appended { .. } => {}
        }
    }

    /// This node leads no more: what becomes of the change is for others to see.
    pub(super) fn give_up_change(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let waiter = match std::mem::replace(&mut leader.change, Change::None) {
            Change::None => None,
            Change::Appending(waiter) => waiter,
            Change::Appended { waiter, .. } => Some(waiter),
        };
        if let Some(waiter) = waiter {
            probe!("a leader leads no more before the voters have changed");
            self.finish(waiter, ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
    }

    pub(super) fn change_deadline(&self) -> Option<Instant> {
        let Role::Leader(leader) = &self.role else { return None };
        match &leader.change {
            Change::Appended { waiter, .. } => Some(waiter.until),
            Change::None | Change::Appending(_) => None,
        }
    }

    fn finish(&mut self, waiter: Waiter, error: ErrorCode) {
        self.emit(Action::Reply { token: waiter.token, body: answer(waiter.asked, error) });
    }
}

fn answer(asked: Asked, error_code: ErrorCode) -> Response {
    let error_message = (!error_code.is_none()).then(|| error_code.message().to_string());
    match asked {
        Asked::Add { .. } => Response::AddRaftVoter(AddRaftVoterResponse { throttle_time_ms: 0, error_code, error_message }),
        Asked::Remove => Response::RemoveRaftVoter(RemoveRaftVoterResponse { throttle_time_ms: 0, error_code, error_message }),
    }
}
