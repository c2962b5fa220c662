//! Which member of a group has which partition.

use klamm_core::client::TopicPartition;
use klamm_core::lag::Owner;
use klamm_core::wire::api::describe_groups;
use klamm_core::wire::records::consumer::ConsumerProtocolAssignment;
use std::collections::BTreeMap;

/// Who owns what.
pub(super) type Owners = BTreeMap<TopicPartition, Owner>;

/// The owners in a group of the classic protocol. The assignment is the members' own affair; what cannot be read owns nothing.
pub(super) fn classic(group: &describe_groups::DescribedGroup) -> Owners {
    let mut owners = Owners::new();
    for member in &group.members {
        let Ok(assignment) = ConsumerProtocolAssignment::decode(member.member_assignment.clone()) else { continue };
        let owner = Owner { host: member.client_host.clone(), client_id: member.client_id.clone() };
        for topic in &assignment.assigned_partitions {
            owners.extend(topic.partitions.iter().map(|p| (TopicPartition::new(topic.topic.as_str(), p.0), owner.clone())));
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_that_cannot_be_read_owns_nothing() {
        let member = describe_groups::DescribedGroupMember { member_assignment: vec![9; 3].into(), ..Default::default() };
        assert_eq!(classic(&describe_groups::DescribedGroup { members: vec![member], ..Default::default() }), Owners::new());
    }
}
