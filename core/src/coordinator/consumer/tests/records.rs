//! What is written can be read, looks as Kafka's, and rebuilds the group in whatever order the cleaner left it.

use super::*;
use crate::coordinator::consumer::records::{decode, encode};
use crate::wire::records::coordinator::CoordinatorRecord;

fn bytes(change: Change) -> (Vec<u8>, Option<Vec<u8>>) {
    let (key, value) = encode("g".into(), change).encode();
    (key.to_vec(), value.map(|value| value.to_vec()))
}

fn back(change: Change) -> Option<(String, Change)> {
    let (key, value) = encode("g".into(), change).encode();
    decode(CoordinatorRecord::decode(key, value).expect("our own form").expect("a known kind"))
}

fn all() -> Vec<Change> {
    let id = || MemberId::new("m");
    let subscription = Subscription {
        instance: Some("i".into()),
        rack: Some("r".into()),
        client: Client { id: "c".into(), host: "/h".into() },
        topics: ["t".to_owned(), "u".to_owned()].into(),
        rebalance_ms: 9,
        assignor: Some("range".into()),
    };
    let holding = |index: i32, epoch: i32| Holding::from([(T, [(PartitionIndex(index), epoch)].into())]);
    let states = [Progress::Stable, Progress::Unrevoked, Progress::Unreleased, Progress::Unknown];
    let current = |progress| Current { epoch: 5, previous: 4, progress, assigned: holding(1, 5), revoking: holding(2, 3) };
    let mut all = vec![
        Change::Epoch(Some(Epoch { epoch: 3, metadata_hash: -7 })),
        Change::Topics(Some(())),
        Change::Member(id(), Some(subscription)),
        Change::Member(id(), Some(Subscription::default())),
        Change::AssignmentEpoch(Some(3)),
        Change::Target(id(), Some(owned(T, &[0, 4]))),
        Change::Target(id(), Some(Parts::new())),
        Change::Current(id(), Some(Current::default())),
    ];
    all.extend(states.map(|progress| Change::Current(id(), Some(current(progress)))));
    all.extend([Change::Epoch(None), Change::Topics(None), Change::Member(id(), None)]);
    all.extend([Change::AssignmentEpoch(None), Change::Target(id(), None), Change::Current(id(), None)]);
    all
}

#[test]
fn every_change_comes_back_as_it_was_written() {
    for change in all() {
        assert_eq!(back(change.clone()), Some(("g".to_owned(), change)));
    }
}

#[test]
fn records_have_kafkas_keys_and_forms() {
    let id = || MemberId::new("m");
    assert_eq!(bytes(Change::Epoch(None)), (b"\0\x03\0\x01g".to_vec(), None));
    assert_eq!(bytes(Change::Topics(None)), (b"\0\x04\0\x01g".to_vec(), None));
    assert_eq!(bytes(Change::Member(id(), None)), (b"\0\x05\0\x01g\0\x01m".to_vec(), None));
    assert_eq!(bytes(Change::AssignmentEpoch(None)), (b"\0\x06\0\x01g".to_vec(), None));
    assert_eq!(bytes(Change::Target(id(), None)), (b"\0\x07\0\x01g\0\x01m".to_vec(), None));
    assert_eq!(bytes(Change::Current(id(), None)), (b"\0\x08\0\x01g\0\x01m".to_vec(), None));
    let epoch = bytes(Change::Epoch(Some(Epoch { epoch: 2, metadata_hash: 0 }))).1;
    assert_eq!(epoch, Some(b"\0\0\0\0\0\x02\0".to_vec()));
    let assignment = bytes(Change::AssignmentEpoch(Some(2))).1;
    assert_eq!(assignment, Some(b"\0\0\0\0\0\x02\0".to_vec()));
    let member =
        Subscription { client: Client { id: "c".into(), host: "/h".into() }, topics: ["t".into()].into(), ..Subscription::default() };
    let member = bytes(Change::Member(id(), Some(Subscription { rebalance_ms: 7, ..member }))).1.expect("a value");
    assert_eq!(member[..16], *b"\0\0\0\0\x02c\x03/h\x02\x02t\0\0\0\0"[..].first_chunk::<16>().expect("sixteen"));
}

#[test]
fn holdings_of_older_versions_count_from_the_members_epoch() {
    let change = Change::Current(
        MemberId::new("m"),
        Some(Current { epoch: 6, assigned: Holding::from([(T, [(PartitionIndex(1), 2)].into())]), ..Current::default() }),
    );
    let CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, value) = encode("g".into(), change) else { panic!("of that kind") };
    let mut value = value.expect("no tombstone");
    value.assigned_partitions[0].assignment_epochs = None;
    let Some((_, Change::Current(_, Some(current)))) = decode(CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, Some(value)))
    else {
        panic!("a current assignment")
    };
    assert_eq!(current.given(T, PartitionIndex(1)), Some(6));
}

/// The group that the records rebuild, without what only a live one has.
fn rebuilt<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Group {
    let mut group = Group::default();
    changes.into_iter().for_each(|change| group.replay(change));
    group
}

pub(super) fn without_timers(group: &Group) -> Group {
    Group { sessions: Sessions::default(), revocations: Sessions::default(), topics_seen: None, ..group.clone() }
}

/// The last change of each key, in the order in which the cleaner leaves them.
pub(super) fn compacted(log: &[Change]) -> Vec<Change> {
    let key = |change: &Change| encode("g".into(), change.clone()).encode().0;
    let last: BTreeMap<_, usize> = log.iter().enumerate().map(|(at, change)| (key(change), at)).collect();
    log.iter().enumerate().filter(|(at, change)| last[&key(change)] == *at).map(|(_, change)| change.clone()).collect()
}

#[test]
fn the_log_rebuilds_the_group_compacted_or_not() {
    let mut table = Table::new();
    let mut a = Consumer::new("a", &["t"]).under("i");
    let (mut b, mut c) = (Consumer::new("b", &["t", "u"]), Consumer::new("c", &["t"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    settle(&mut table, &mut [&mut a, &mut b]);
    table.leave(&Leave { for_a_while: true, ..a.leave() }).expect("a static member");
    c.join(&mut table).expect("it is let in");
    table.leave(&b.leave()).expect("a member");
    c.tell(&mut table).expect("a member");
    let live = without_timers(&table.group);
    assert_eq!(rebuilt(&table.log), live);
    let short = compacted(&table.log);
    assert!(short.len() < table.log.len());
    assert_eq!(rebuilt(&short), live);
    let without_tombstones: Vec<Change> = short.into_iter().filter(|change| !change.is_tombstone()).collect();
    assert_eq!(rebuilt(&without_tombstones), live);
}

#[test]
fn a_loaded_group_takes_out_who_does_not_come_and_compares_its_topics() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    a.tell(&mut table).expect("it is told to give up three");
    table.group = rebuilt(&table.log);
    table.group.resume(table.now.at, &table.config);
    b.tell(&mut table).expect("a member");
    assert_eq!(table.group.epoch(), 2, "the topics are as they were");
    table.pass(44);
    assert_eq!(table.group.members().len(), 2);
    b.tell(&mut table).expect("a member");
    table.pass(1);
    assert_eq!(table.group.members().len(), 1);
    table.group = rebuilt(&table.log);
    table.grow("t", 7);
    b.tell(&mut table).expect("a member");
    assert_eq!(b.count(), 7);
}

#[test]
fn a_group_ends_with_a_tombstone_for_each_record() {
    let (mut table, mut a) = (Table::new(), Consumer::new("a", &["t"]));
    table.write(vec![Change::Topics(Some(()))]);
    a.join(&mut table).expect("it is let in");
    assert!(table.log.contains(&Change::Topics(None)), "what Kafka before 4.1 wrote of the topics goes with the first epoch");
    table.leave(&a.leave()).expect("a member");
    let end = table.group.tombstones();
    table.write(end);
    assert!(compacted(&table.log).iter().all(Change::is_tombstone));
    assert_eq!(without_timers(&table.group), Group::default());
}
