//! How members go: by their own will, for a while, or because they are not heard of. Plans only.

use super::assign::metadata_hash;
use super::heartbeat::removal;
use super::member::{AWAY, Current, Holding};
use super::{Change, Epoch, Group, Refused, Turn, topics_of};
use crate::coordinator::group::MemberId;
use crate::error::ErrorCode;
use crate::probe;

/// A member says that it goes.
#[derive(Clone, Debug)]
pub struct Leave {
    /// Who.
    pub member: MemberId,
    /// Its instance id, if it is static.
    pub instance: Option<String>,
    /// It is static and means to come back: what it holds is kept for it until its session ends.
    pub for_a_while: bool,
}

impl Group {
    /// What a leave changes.
    ///
    /// # Errors
    /// `UnknownMemberId`, or `FencedInstanceId` where another holds the instance.
    pub fn plan_leave(&self, leave: &Leave, turn: Turn<'_>) -> Result<Vec<Change>, Refused> {
        if let Some(instance) = leave.instance.as_deref() {
            let unknown = || Refused::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Instance id {instance} is unknown."));
            let holder = self.statics.get(instance).ok_or_else(unknown)?;
            self.validate_instance(holder, &leave.member, instance)?;
        }
        let unknown = || Refused::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Member {} is not a member of the group.", leave.member));
        let member = self.members.get(&leave.member).ok_or_else(unknown)?;
        if !leave.for_a_while {
            return Ok(self.plan_removal(std::slice::from_ref(&leave.member), turn));
        }
        probe!("a static consumer left for a while");
        let current = Current { epoch: AWAY, revoking: Holding::new(), ..member.current.clone() };
        Ok(vec![Change::Current(leave.member.clone(), Some(current))])
    }

    /// Takes members out. Targets are computed anew when the next one is heard of.
    #[must_use]
    pub fn plan_removal(&self, gone: &[MemberId], turn: Turn<'_>) -> Vec<Change> {
        if gone.is_empty() {
            return Vec::new();
        }
        let mut changes: Vec<Change> = gone.iter().flat_map(removal).collect();
        let left = self.subscriptions(None, None).filter(|(id, _)| !gone.contains(id));
        let metadata_hash = metadata_hash(topics_of(left), turn.topics);
        let epoch = self.epoch.epoch.saturating_add(1);
        changes.push(Change::Epoch(Some(Epoch { epoch, metadata_hash })));
        changes
    }
}
