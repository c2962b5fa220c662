//! Range and round robin: assignors without a memory.

use std::collections::BTreeMap;

use super::{Assignment, Member, MemberId, Topic, in_order, nobody_has_anything, partition};

/// Topic by topic, each subscriber gets `n / m` neighbouring partitions, and the first `n mod m` one more.
pub(super) fn range(topics: &BTreeMap<Topic, u32>, members: &BTreeMap<MemberId, Member>) -> Assignment {
    let ordered = in_order(members);
    let mut assignment = nobody_has_anything(members);
    for (topic, count) in topics {
        let subscribers: Vec<&MemberId> = ordered.iter().filter(|(_, m)| m.topics.contains(topic)).map(|(id, _)| *id).collect();
        let Ok(several) = u32::try_from(subscribers.len()) else { continue };
        if several == 0 {
            continue;
        }
        let (each, extra) = (count / several, count % several);
        let mut from = 0;
        for (position, id) in (0..).zip(subscribers) {
            let until = from + each + u32::from(position < extra);
            let mine = assignment.get_mut(id).expect("every member has an entry");
            mine.extend((from..until).map(|number| partition(topic, number)));
            from = until;
        }
    }
    assignment
}

/// All partitions in order, dealt to the members in turn; a member that does not want the topic is passed over.
pub(super) fn round_robin(topics: &BTreeMap<Topic, u32>, members: &BTreeMap<MemberId, Member>) -> Assignment {
    let ordered = in_order(members);
    let mut assignment = nobody_has_anything(members);
    let mut turn = 0;
    for (topic, count) in topics {
        if !members.values().any(|member| member.topics.contains(topic)) {
            continue;
        }
        for number in 0..*count {
            while !ordered[turn].1.topics.contains(topic) {
                turn = (turn + 1) % ordered.len();
            }
            assignment.get_mut(ordered[turn].0).expect("every member has an entry").push(partition(topic, number));
            turn = (turn + 1) % ordered.len();
        }
    }
    assignment
}
