//! `SyncGroup` and `Heartbeat`: members of a generation ask for their assignment, and show that they live. Never begins a rebalance.

use super::{Answer, Group, MemberId, State, Turn};
use crate::error::ErrorCode;
use crate::probe;
use crate::request::Token;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A request for an assignment; the leader's brings everybody's.
#[derive(Clone, Debug)]
pub struct Sync {
    /// Gets the answer, now or when the leader has synced.
    pub token: Token,
    /// Who asks.
    pub member: String,
    /// Its instance id, if it is static.
    pub instance: Option<String>,
    /// Of which generation.
    pub generation: i32,
    /// What kind of group it takes this for, from version 5 on.
    pub protocol_type: Option<String>,
    /// Which protocol it takes for chosen, from version 5 on.
    pub protocol: Option<String>,
    /// By member id; empty but for the leader.
    pub assignments: BTreeMap<String, Bytes>,
}

impl Group {
    /// Decides a request for an assignment.
    pub fn sync(&mut self, mut sync: Sync, turn: &mut Turn<'_>) {
        if let Err(error) = self.validate_sync(&sync) {
            return turn.out.answers.push((sync.token, Answer::Sync(Err(error))));
        }
        let (State::Completing(unsynced) | State::Stable(unsynced)) = &mut self.state else {
            unreachable!("validated: members have joined this generation");
        };
        unsynced.members.remove(sync.member.as_str());
        let before = self.members.change(&sync.member, |member| member.syncing.replace(sync.token));
        if let Some(token) = before.expect("validated above") {
            probe!("a member synced again while its sync waited");
            turn.out.answers.push((token, Answer::Sync(Err(ErrorCode::REBALANCE_IN_PROGRESS))));
        }
        match &self.state {
            State::Completing(unsynced) if self.is_leader(&sync.member) => {
                let unsynced = unsynced.clone();
                self.assign(&mut sync.assignments);
                self.enter(State::Stable(unsynced), turn.now);
                turn.out.store = true;
                let waiting = self.members.iter().filter(|(_, m)| m.syncing.is_some());
                for id in waiting.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                    self.answer_sync(&id, turn);
                }
            }
            State::Stable(_) => self.answer_sync(&MemberId::new(&sync.member), turn),
            State::Empty | State::Preparing(_) | State::Completing(_) => {}
        }
    }

    fn validate_sync(&self, sync: &Sync) -> Result<(), ErrorCode> {
        self.validate_member(&sync.member, sync.instance.as_deref())?;
        if sync.generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && is.is_some() && said != is;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match self.state {
            State::Preparing(_) => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::Completing(_) | State::Stable(_) => Ok(()),
        }
    }

    /// Whom the leader left out gets an empty assignment.
    fn assign(&mut self, assignments: &mut BTreeMap<String, Bytes>) {
        for id in self.members.ids() {
            let assignment = assignments.remove(&*id.0).unwrap_or_default();
            self.members.change(&id.0, |member| member.assignment = assignment);
        }
    }

    fn answer_sync(&mut self, id: &MemberId, turn: &mut Turn<'_>) {
        let token = self.members.change(&id.0, |member| member.syncing.take()).flatten().expect("its sync waits");
        let synced = self.synced(self.members.get(&id.0).expect("changed above"));
        turn.out.answers.push((token, Answer::Sync(Ok(synced))));
        // Its session may have ended unnoticed while it waited.
        self.extend_session(id, turn);
    }

    /// Decides a heartbeat.
    ///
    /// # Errors
    /// `RebalanceInProgress` asks the member to join again; all others say that it is no member of this generation.
    pub fn heartbeat(&mut self, member: &str, instance: Option<&str>, generation: i32, turn: &Turn<'_>) -> Result<(), ErrorCode> {
        self.validate_member(member, instance)?;
        if generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        self.extend_session(&MemberId::new(member), turn);
        match self.state {
            State::Preparing(_) => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::Completing(_) | State::Stable(_) => Ok(()),
        }
    }

    /// A commit keeps the session alive where it is not the sign that the member missed a rebalance.
    pub fn committed(&mut self, member: &str, turn: &Turn<'_>) {
        if matches!(self.state, State::Stable(_) | State::Preparing(_)) {
            self.extend_session(&MemberId::new(member), turn);
        }
    }
}
