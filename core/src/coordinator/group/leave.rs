//! `LeaveGroup`: members go of their own will, or an operator removes static ones. Never waits.

use super::{Group, State, Turn};
use crate::error::ErrorCode;

impl Group {
    /// Takes members out: each is a member id, an instance id, or both. In order, the outcome for each.
    pub fn leave(&mut self, leavers: &[(String, Option<String>)], turn: &mut Turn<'_>) -> Vec<Result<(), ErrorCode>> {
        let outcomes: Vec<_> = leavers.iter().map(|(member, instance)| self.leave_one(member, instance.as_deref(), turn)).collect();
        if outcomes.iter().any(Result::is_ok) {
            match self.state {
                State::Stable(_) | State::Completing(_) => self.prepare_rebalance(turn),
                State::Preparing(_) => self.go_on_after_initial(turn),
                State::Empty => {}
            }
        }
        outcomes
    }

    fn leave_one(&mut self, member: &str, instance: Option<&str>, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        if member.is_empty() {
            // An operator removes a static member without knowing its id.
            let id = instance.and_then(|i| self.members.holder(i)).cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            self.remove_member(&id.0, turn);
            return Ok(());
        }
        if !self.pending.contains(member) {
            self.validate_member(member, instance)?;
        }
        self.remove_member(member, turn);
        Ok(())
    }
}
