//! Static members (KIP-345 under KIP-848): they leave for a while, come back to their place, and fence who is not them.

use super::*;

fn away(consumer: &Consumer) -> Leave {
    Leave { for_a_while: true, ..consumer.leave() }
}

/// `a` under instance `i`, and `b`, with three partitions each.
fn pair() -> (Table, Consumer, Consumer) {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]).under("i"), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    settle(&mut table, &mut [&mut a, &mut b]);
    (table, a, b)
}

#[test]
fn who_comes_back_finds_its_partitions_and_nobody_else_notices() {
    let (mut table, a, mut b) = pair();
    let epoch = table.group.epoch();
    table.leave(&away(&a)).expect("a static member");
    b.tell(&mut table).expect("a member");
    assert_eq!((b.count(), table.group.epoch(), table.group.state()), (3, epoch, State::Reconciling));
    let mut again = Consumer::new("a2", &["t"]).under("i");
    again.join(&mut table).expect("its place is free");
    assert_eq!((again.epoch, &again.owned), (epoch, &a.owned));
    assert_eq!((table.group.epoch(), table.group.state(), table.group.members().len()), (epoch, State::Stable, 2));
    b.tell(&mut table).expect("a member");
    assert_eq!((b.epoch, b.count()), (epoch, 3));
}

#[test]
fn who_comes_back_under_the_same_id_or_wants_something_else_is_let_in_too() {
    let (mut table, mut a, mut b) = pair();
    table.leave(&away(&a)).expect("a static member");
    a.join(&mut table).expect("its place is free");
    assert_eq!((a.count(), table.group.members().len()), (3, 2));
    table.leave(&away(&a)).expect("a static member");
    let mut again = Consumer::new("a3", &["u"]).under("i");
    again.join(&mut table).expect("its place is free");
    settle(&mut table, &mut [&mut again, &mut b]);
    assert_eq!((&again.owned, b.count()), (&owned(U, &[0, 1]), 6));
}

#[test]
fn a_place_that_is_taken_is_not_given_away() {
    let (mut table, mut a, _) = pair();
    let mut other = Consumer::new("x", &["t"]).under("i");
    assert_eq!(error(other.join(&mut table)), ErrorCode::UNRELEASED_INSTANCE_ID);
    a.join(&mut table).expect("it is its own place");
    table.leave(&away(&a)).expect("a static member");
    other.join(&mut table).expect("its place is free");
    assert_eq!(error(a.tell(&mut table)), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(error(table.leave(&a.leave())), ErrorCode::FENCED_INSTANCE_ID);
    let unknown = Consumer::new("x", &["t"]).under("j");
    assert_eq!(error(table.send(&Beat { epoch: 1, ..unknown.beat.clone() })), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(error(table.leave(&unknown.leave())), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn who_does_not_come_back_in_its_session_is_taken_out() {
    let (mut table, a, mut b) = pair();
    table.pass(20);
    b.tell(&mut table).expect("a member");
    table.leave(&away(&a)).expect("a static member");
    table.pass(24);
    b.tell(&mut table).expect("a member");
    assert_eq!(b.count(), 3);
    table.pass(1);
    b.tell(&mut table).expect("a member");
    assert_eq!(b.count(), 6);
    let mut again = Consumer::new("a2", &["t"]).under("i");
    again.join(&mut table).expect("it is new");
    assert_eq!(again.count(), 0, "the other must give up first");
}

#[test]
fn who_leaves_for_good_frees_its_instance() {
    let (mut table, a, _) = pair();
    table.leave(&a.leave()).expect("a member");
    let mut other = Consumer::new("x", &["t"]).under("i");
    other.join(&mut table).expect("nobody holds the instance");
}

#[test]
fn what_it_was_to_give_up_is_free_when_it_leaves_for_a_while() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]).under("i"), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    a.tell(&mut table).expect("it is told to give up three");
    table.leave(&away(&a)).expect("a static member");
    b.tell(&mut table).expect("a member");
    assert_eq!(b.count(), 3);
    let mut again = Consumer::new("a2", &["t"]).under("i");
    again.join(&mut table).expect("its place is free");
    assert_eq!((again.count(), table.group.state()), (3, State::Stable));
}

#[test]
fn a_full_group_takes_back_its_own() {
    let (mut table, a, _) = pair();
    table.config.consumer_max_size = 2;
    table.leave(&away(&a)).expect("a static member");
    let mut again = Consumer::new("a2", &["t"]).under("i");
    again.join(&mut table).expect("it takes its own place");
}
