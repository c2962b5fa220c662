//! Static members: they come back without a rebalance, and fence who they were.

use super::*;

fn fixed(member: &str, instance: &str) -> Join {
    Join { instance: Some(instance.to_owned()), ..consumer(member) }
}

/// A stable group of two static members, `a` leading.
fn pair() -> (Table, Vec<MemberId>) {
    let mut table = Table::new();
    let joins = [table.join(fixed("", "a")), table.join(fixed("", "b"))];
    table.pass(seconds(6));
    let ids: Vec<_> = joins.iter().map(|token| table.joined(*token).member).collect();
    table.settle(&ids);
    (table, ids)
}

#[test]
fn a_static_member_needs_no_second_step() {
    let (table, ids) = pair();
    assert!(ids[0].0.starts_with("a-"));
    assert!(table.group.is_leader(&ids[0].0));
}

#[test]
fn a_static_member_that_comes_back_unchanged_causes_no_rebalance() {
    let (mut table, ids) = pair();
    let back = table.join(fixed("", "b"));
    let joined = table.joined(back);
    assert_eq!((joined.generation, joined.skip_assignment, joined.leader), (1, false, ids[0].clone()));
    assert_ne!(joined.member, ids[1]);
    assert_eq!(table.state(), "Stable");
    assert_eq!(table.written.len(), 2, "its new id is written before it is told");
    let token = table.sync(&joined.member, 1, &[]);
    assert_eq!(table.synced(token), Ok(&b"m1"[..]), "its assignment is still there");
    let mut restored = Group::restore(table.written.last().unwrap());
    restored.check();
    std::mem::swap(&mut restored, &mut table.group);
    assert_eq!(table.group.validate_member(&joined.member.0, Some("b")), Ok(()));
}

#[test]
fn the_old_id_is_fenced_everywhere() {
    let (mut table, ids) = pair();
    table.join(fixed("", "b"));
    let old = &ids[1];
    assert_eq!(table.group.validate_commit(&old.0, Some("b"), 1), Err(ErrorCode::FENCED_INSTANCE_ID));
    assert_eq!(table.group.validate_commit(&old.0, None, 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    let beat = table.turn(|group, turn| group.heartbeat(&old.0, Some("b"), 1, turn));
    assert_eq!(beat, Err(ErrorCode::FENCED_INSTANCE_ID));
    assert_eq!(table.leave(&old.0, Some("b")), Err(ErrorCode::FENCED_INSTANCE_ID));
    let join = table.join(fixed(&old.0, "b"));
    assert_eq!(table.refused(join), (ErrorCode::FENCED_INSTANCE_ID, old.to_string()));
}

#[test]
fn a_leader_that_comes_back_is_told_not_to_assign() {
    let (mut table, ids) = pair();
    let back = table.join(fixed("", "a"));
    let joined = table.joined(back);
    assert!(joined.skip_assignment);
    assert_eq!((joined.leader, joined.members.len()), (joined.member, 2));
    // A client that knows no such flag hears of a leader that is gone, so that it does not assign.
    let old = table.join(Join { version: 8, ..fixed("", "a") });
    let joined = table.joined(old);
    assert!(!joined.skip_assignment && joined.members.is_empty());
    assert_ne!(joined.leader, joined.member);
    assert_ne!(joined.leader, ids[0]);
}

#[test]
fn a_static_member_that_changes_the_vote_causes_a_rebalance() {
    let (mut table, _) = pair();
    let back = table.join(Join { protocols: vec![protocol("sticky", "t")], ..fixed("", "b") });
    assert!(table.waits(back));
    assert_eq!(table.state(), "PreparingRebalance");
}

#[test]
fn who_waits_under_the_old_id_is_fenced_at_once() {
    let (mut table, ids) = pair();
    let waiting = table.join(fixed(&ids[0].0, "a"));
    let back = table.join(fixed("", "a"));
    assert_eq!(table.refused(waiting), (ErrorCode::FENCED_INSTANCE_ID, ids[0].to_string()));
    let other = table.join(fixed(&ids[1].0, "b"));
    assert_eq!((table.joined(back).generation, table.joined(other).generation), (2, 2));
    // In `CompletingRebalance` the leader may have assigned to the old id already, so all join again.
    let sync = table.sync(&ids[1], 2, &[]);
    let again = table.join(fixed("", "b"));
    assert_eq!(table.synced(sync), Err(ErrorCode::FENCED_INSTANCE_ID));
    assert!(table.waits(again));
    assert_eq!(table.state(), "PreparingRebalance");
}

#[test]
fn an_absent_static_member_keeps_its_place_until_its_session_ends() {
    let (mut table, ids) = pair();
    let joined = table.join(Join { session: seconds(1000), ..fixed(&ids[0].0, "a") });
    for _ in 0..7 {
        table.pass(seconds(9));
        let _ = table.turn(|group, turn| group.heartbeat(&ids[1].0, Some("b"), 1, turn));
    }
    assert_eq!(table.joined(joined).members.len(), 2, "the rebalance went on, and it is still a member");
    table.pass(seconds(60));
    assert!(table.group.members().holder("b").is_none());
}

#[test]
fn an_operator_removes_a_static_member_by_its_instance() {
    let (mut table, ids) = pair();
    assert_eq!(table.leave("", Some("nobody")), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(table.leave("", None), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(table.state(), "Stable");
    assert_eq!(table.leave("", Some("b")), Ok(()));
    assert_eq!(table.state(), "PreparingRebalance");
    assert!(table.group.members().get(&ids[1].0).is_none());
}

#[test]
fn a_generation_of_absent_static_members_stays_open() {
    let (mut table, ids) = pair();
    let patient = |id: &MemberId, instance| Join { session: seconds(300), ..fixed(&id.0, instance) };
    for (id, instance) in ids.iter().zip(["a", "b"]) {
        table.join(Join { protocols: vec![protocol("range", "u")], ..patient(id, instance) });
    }
    table.settle(&ids);
    // A dynamic member comes, and is gone before anybody else has joined.
    let first = table.join(consumer(""));
    let (_, pending) = table.refused(first);
    table.join(consumer(&pending));
    table.leave(&pending, None).unwrap();
    table.pass(seconds(61));
    assert_eq!(table.state(), "PreparingRebalance");
    assert_eq!(table.group.members().len(), 2);
    table.pass(seconds(300));
    assert_eq!(table.state(), "Empty");
}
