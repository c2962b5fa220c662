//! When a rebalance begins, waits, and ends.

use super::*;

#[test]
fn the_first_rebalance_waits_for_more_members_but_not_for_ever() {
    let mut table = Table::new();
    let (a, _) = table.arrive();
    table.pass(seconds(2));
    assert!(table.waits(a));
    let (b, _) = table.arrive();
    table.pass(seconds(2));
    assert!(table.waits(a) && table.waits(b), "prolonged by three seconds, for somebody came");
    table.pass(seconds(2));
    assert_eq!(table.joined(a).members.len(), 2);
}

#[test]
fn the_first_delay_ends_with_the_rebalance_time_out() {
    let mut table = Table::new();
    let short = |version| Join { version, rebalance: seconds(7), ..consumer("") };
    let first = table.join(short(3));
    for _ in 0..6 {
        table.pass(seconds(1));
        table.join(short(3));
    }
    assert!(table.waits(first));
    table.pass(seconds(1));
    assert_eq!(table.joined(first).members.len(), 7);
}

#[test]
fn no_delay_is_one_too() {
    let mut table = Table::new();
    table.config.initial_delay = Duration::ZERO;
    let (a, _) = table.arrive();
    table.pass(Duration::ZERO);
    assert_eq!(table.joined(a).generation, 1);
}

#[test]
fn a_newcomer_makes_everybody_join_again() {
    let (mut table, ids) = Table::stable(1);
    let (newcomer, id) = table.arrive();
    assert_eq!(table.state(), "PreparingRebalance");
    assert_eq!(table.heartbeat(&ids[0], 1), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    assert!(table.waits(newcomer));
    let old = table.join(consumer(&ids[0].0));
    assert_eq!((table.joined(old).generation, table.joined(newcomer).generation), (2, 2));
    assert_eq!(table.joined(newcomer).member, id);
    assert_eq!(table.heartbeat(&ids[0], 1), Err(ErrorCode::ILLEGAL_GENERATION));
    assert_eq!(table.heartbeat(&ids[0], 2), Ok(()), "heartbeats count before the sync");
}

#[test]
fn who_does_not_join_in_time_is_out() {
    let (mut table, ids) = Table::stable(2);
    let joined = table.join(Join { protocols: vec![protocol("range", "u")], ..consumer(&ids[1].0) });
    for _ in 0..14 {
        table.pass(seconds(4));
        assert_eq!(table.heartbeat(&ids[0], 1), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    }
    assert!(table.waits(joined), "it lives, so the rebalance waits for it");
    table.pass(seconds(4));
    let joined = table.joined(joined);
    assert_eq!((joined.members.len(), joined.leader), (1, ids[1].clone()), "the lead went on");
    assert_eq!(table.heartbeat(&ids[0], 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn a_member_that_falls_silent_is_removed() {
    let (mut table, ids) = Table::stable(2);
    table.pass(seconds(6));
    table.heartbeat(&ids[1], 1).unwrap();
    table.pass(seconds(5));
    assert_eq!(table.heartbeat(&ids[0], 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(table.heartbeat(&ids[1], 1), Err(ErrorCode::REBALANCE_IN_PROGRESS));
}

#[test]
fn a_member_whose_join_waits_needs_no_heartbeat() {
    let (mut table, ids) = Table::stable(2);
    let waiting = table.join(consumer(&ids[0].0));
    for _ in 0..5 {
        table.pass(seconds(9));
        let _ = table.heartbeat(&ids[1], 1);
    }
    let other = table.join(consumer(&ids[1].0));
    assert_eq!(table.joined(waiting).generation, 2);
    assert_eq!(table.joined(other).generation, 2);
}

#[test]
fn a_new_member_that_vanishes_in_a_long_join_is_given_up() {
    let (mut table, ids) = Table::stable(1);
    let patient = |member: &str| Join { rebalance: seconds(3600), session: seconds(1700), ..consumer(member) };
    let again = table.join(patient(&ids[0].0));
    assert_eq!(table.joined(again).generation, 2);
    table.settle(&ids);
    let ghost = table.join(Join { version: 3, ..patient("") });
    table.pass(seconds(299));
    assert!(table.waits(ghost));
    table.pass(seconds(1));
    assert_eq!(table.refused(ghost), (ErrorCode::UNKNOWN_MEMBER_ID, String::new()));
}

#[test]
fn who_never_syncs_is_removed_and_the_others_join_again() {
    let (mut table, ids) = Table::stable(2);
    for id in &ids {
        table.join(consumer(&id.0));
    }
    let leader = table.sync(&ids[0], 2, &[(&ids[0], "x"), (&ids[1], "y")]);
    assert_eq!(table.synced(leader), Ok(&b"x"[..]));
    for _ in 0..14 {
        table.pass(seconds(4));
        assert_eq!(table.heartbeat(&ids[0], 2), Ok(()));
        assert_eq!(table.heartbeat(&ids[1], 2), Ok(()));
    }
    table.pass(seconds(4));
    assert_eq!(table.heartbeat(&ids[1], 2), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(table.heartbeat(&ids[0], 2), Err(ErrorCode::REBALANCE_IN_PROGRESS));
}

#[test]
fn a_change_while_syncs_wait_sends_them_back_to_join() {
    let (mut table, ids) = Table::stable(2);
    for id in &ids {
        table.join(consumer(&id.0));
    }
    let waiting = table.sync(&ids[1], 2, &[]);
    table.arrive();
    assert_eq!(table.synced(waiting), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    let late = table.sync(&ids[0], 2, &[(&ids[0], "x")]);
    assert_eq!(table.synced(late), Err(ErrorCode::REBALANCE_IN_PROGRESS));
}

#[test]
fn a_follower_that_joins_unchanged_disturbs_nobody() {
    let (mut table, ids) = Table::stable(2);
    let again = table.join(consumer(&ids[1].0));
    let joined = table.joined(again);
    assert_eq!((joined.generation, joined.members.len()), (1, 0));
    assert_eq!(table.state(), "Stable");
    let changed = Join { protocols: vec![protocol("range", "other")], ..consumer(&ids[1].0) };
    let changed = table.join(changed);
    assert!(table.waits(changed));
    assert_eq!(table.state(), "PreparingRebalance");
}

#[test]
fn a_leader_that_joins_again_wants_a_rebalance() {
    let (mut table, ids) = Table::stable(2);
    let again = table.join(consumer(&ids[0].0));
    assert!(table.waits(again));
    assert_eq!(table.state(), "PreparingRebalance");
}

#[test]
fn a_join_whose_answer_was_lost_is_answered_again() {
    let (mut table, ids) = Table::stable(2);
    for id in &ids {
        table.join(consumer(&id.0));
    }
    let leader = table.join(consumer(&ids[0].0));
    let follower = table.join(consumer(&ids[1].0));
    assert_eq!((table.joined(leader).generation, table.joined(leader).members.len()), (2, 2));
    assert_eq!((table.joined(follower).generation, table.joined(follower).members.len()), (2, 0));
}

#[test]
fn a_second_join_of_a_waiting_member_takes_the_firsts_place() {
    let (mut table, ids) = Table::stable(2);
    let first = table.join(consumer(&ids[0].0));
    let second = table.join(consumer(&ids[0].0));
    assert_eq!(table.refused(first).0, ErrorCode::REBALANCE_IN_PROGRESS);
    table.join(consumer(&ids[1].0));
    assert_eq!(table.joined(second).generation, 2);
}

#[test]
fn leaving_rebalances_the_others_and_the_last_one_empties_the_group() {
    let (mut table, ids) = Table::stable(2);
    assert_eq!(table.leave(&ids[0].0, None), Ok(()));
    assert_eq!(table.leave(&ids[0].0, None), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    let alone = table.join(consumer(&ids[1].0));
    assert_eq!(table.joined(alone).leader, ids[1]);
    table.settle(&ids[1..]);
    assert_eq!(table.leave(&ids[1].0, None), Ok(()));
    assert_eq!(table.state(), "Empty");
    let empty = table.written.last().unwrap();
    assert_eq!((empty.generation, empty.protocol.as_deref(), empty.leader.as_deref()), (3, None, None));
    assert_eq!((empty.members.len(), &*empty.protocol_type), (0, "consumer"));
}

#[test]
fn a_pending_member_holds_the_rebalance_open() {
    let (mut table, ids) = Table::stable(1);
    let first = table.join(consumer(""));
    let (_, pending) = table.refused(first);
    let again = table.join(consumer(&ids[0].0));
    assert!(table.waits(again));
    let came = table.join(consumer(&pending));
    assert_eq!(table.joined(again).members.len(), 2);
    assert_eq!(table.joined(came).generation, 2);
}

#[test]
fn the_group_takes_no_more_than_its_limit() {
    let (mut table, ids) = Table::stable(2);
    table.config.max_size = 2;
    let third = table.join(consumer(""));
    assert_eq!(table.refused(third), (ErrorCode::GROUP_MAX_SIZE_REACHED, String::new()));
    table.config.max_size = 1;
    let first = table.join(consumer(&ids[0].0));
    let last = table.join(consumer(&ids[1].0));
    assert_eq!(table.refused(last).0, ErrorCode::GROUP_MAX_SIZE_REACHED, "the limit was lowered: the last one to come back goes");
    assert_eq!(table.joined(first).members.len(), 1);
}

#[test]
fn a_group_loaded_over_its_limit_rebalances() {
    let (mut table, _) = Table::stable(3);
    table.config.max_size = 2;
    table.group = Group::restore(table.written.last().unwrap());
    table.turn(Group::resume);
    assert_eq!(table.state(), "PreparingRebalance");
}
