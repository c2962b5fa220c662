//! One test for each behaviour of a consumer group, in the words of the protocol.

mod random;
mod records;
mod statics;

use super::*;
use crate::coordinator::Client;
use crate::time::{Instant, Timestamp};
use std::time::Duration;

/// The topics that there are.
#[derive(Clone, Debug)]
struct Catalog(BTreeMap<String, (Uuid, i32)>);

impl Topics for Catalog {
    fn by_name(&self, name: &str) -> Option<(Uuid, i32)> {
        self.0.get(name).copied()
    }

    fn by_id(&self, id: Uuid) -> Option<(&str, i32)> {
        self.0.iter().find(|(_, (of, _))| *of == id).map(|(name, (_, n))| (name.as_str(), *n))
    }
}

const T: Uuid = Uuid([1; 16]);
const U: Uuid = Uuid([2; 16]);

/// A group, its clock and topics, and everything that was written.
#[derive(Clone)]
struct Table {
    group: Group,
    catalog: Catalog,
    topics_version: u64,
    config: GroupConfig,
    now: Now,
    log: Vec<Change>,
}

impl Table {
    /// Topics `t` of six partitions and `u` of two.
    fn new() -> Self {
        Self {
            group: Group::default(),
            catalog: Catalog([("t".to_owned(), (T, 6)), ("u".to_owned(), (U, 2))].into()),
            topics_version: 0,
            config: GroupConfig::default(),
            now: Now { at: Instant(0), wall: Timestamp(1_000_000) },
            log: Vec::new(),
        }
    }

    fn turn(&self) -> Turn<'_> {
        Turn { now: self.now, config: &self.config, topics: &self.catalog, topics_version: self.topics_version }
    }

    fn write(&mut self, changes: Vec<Change>) {
        for change in &changes {
            self.group.replay(change);
        }
        self.log.extend(changes);
        self.group.check();
    }

    fn send(&mut self, beat: &Beat) -> Result<Beaten, Refused> {
        let (changes, beaten) = self.group.plan_heartbeat(beat, self.turn())?;
        let has_moved = changes.iter().any(|change| matches!(change, Change::Current(..)));
        self.write(changes);
        let (config, catalog) = (self.config.clone(), self.catalog.clone());
        let turn = Turn { now: self.now, config: &config, topics: &catalog, topics_version: self.topics_version };
        self.group.beaten(&beaten.member, has_moved, turn);
        Ok(beaten)
    }

    fn leave(&mut self, leave: &Leave) -> Result<(), Refused> {
        let changes = self.group.plan_leave(leave, self.turn())?;
        self.write(changes);
        Ok(())
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.now.at.after(Duration::from_secs(seconds));
        while let Some(at) = self.group.deadline().filter(|at| *at <= end) {
            self.now.at = at.max(self.now.at);
            let over = self.group.overdue(self.now.at);
            let changes = self.group.plan_removal(&over, self.turn());
            self.write(changes);
        }
        self.now.at = end;
    }

    fn grow(&mut self, topic: &str, partitions: i32) {
        self.catalog.0.get_mut(topic).expect("a topic of the test").1 = partitions;
        self.topics_version += 1;
    }
}

/// A member's client: it does what it is told.
#[derive(Clone, Debug)]
struct Consumer {
    beat: Beat,
    epoch: i32,
    owned: Parts,
}

fn owned(topic: Uuid, indexes: &[i32]) -> Parts {
    if indexes.is_empty() { Parts::new() } else { Parts::from([(topic, indexes.iter().map(|i| PartitionIndex(*i)).collect())]) }
}

impl Consumer {
    fn new(id: &str, topics: &[&str]) -> Self {
        let beat = Beat {
            member: MemberId::new(id),
            epoch: 0,
            instance: None,
            rack: None,
            rebalance_ms: Some(60_000),
            topics: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
            assignor: None,
            owned: Some(Parts::new()),
            client: Client { id: "app".into(), host: "/10.0.0.1".into() },
        };
        Self { beat, epoch: 0, owned: Parts::new() }
    }

    fn under(mut self, instance: &str) -> Self {
        self.beat.instance = Some(instance.to_owned());
        self
    }

    fn would_like(mut self, assignor: &str) -> Self {
        self.beat.assignor = Some(assignor.to_owned());
        self
    }

    fn join(&mut self, table: &mut Table) -> Result<(), Refused> {
        (self.epoch, self.owned) = (0, Parts::new());
        let beaten = table.send(&Beat { epoch: 0, owned: Some(Parts::new()), ..self.beat.clone() })?;
        self.hear(beaten);
        Ok(())
    }

    /// A heartbeat that says what it has, and nothing else.
    fn tell(&mut self, table: &mut Table) -> Result<(), Refused> {
        let beaten = table.send(&Beat { owned: Some(self.owned.clone()), ..self.short() })?;
        self.hear(beaten);
        Ok(())
    }

    fn short(&self) -> Beat {
        Beat { epoch: self.epoch, rebalance_ms: None, topics: None, assignor: None, owned: None, ..self.beat.clone() }
    }

    fn hear(&mut self, beaten: Beaten) {
        self.epoch = beaten.epoch;
        if let Some(assignment) = beaten.assignment {
            self.owned = assignment;
        }
    }

    fn leave(&self) -> Leave {
        Leave { member: self.beat.member.clone(), instance: self.beat.instance.clone(), for_a_while: false }
    }

    fn count(&self) -> usize {
        self.owned.values().map(std::collections::BTreeSet::len).sum()
    }
}

/// Everybody tells what it has until nothing changes any more.
fn settle(table: &mut Table, consumers: &mut [&mut Consumer]) {
    for _ in 0..10 {
        let before = table.log.len();
        consumers.iter_mut().for_each(|consumer| consumer.tell(table).expect("a member in order"));
        if table.log.len() == before {
            return;
        }
    }
    panic!("the group does not settle");
}

fn error<T: std::fmt::Debug>(outcome: Result<T, Refused>) -> ErrorCode {
    outcome.expect_err("it must be refused").error
}

#[test]
fn one_member_joins_gets_all_and_leaves() {
    let (mut table, mut a) = (Table::new(), Consumer::new("a", &["t", "none"]));
    assert_eq!(table.group.state(), State::Empty);
    a.join(&mut table).expect("it is let in");
    assert_eq!((a.epoch, &a.owned), (1, &owned(T, &[0, 1, 2, 3, 4, 5])));
    assert_eq!((table.group.state(), table.group.epoch(), table.group.assignment_epoch()), (State::Stable, 1, 1));
    let quiet = table.send(&a.short()).expect("it lives");
    assert_eq!((quiet.epoch, quiet.assignment), (1, None), "nothing is new");
    table.leave(&a.leave()).expect("it is a member");
    assert_eq!((table.group.state(), table.group.epoch()), (State::Empty, 2));
    assert_eq!(error(a.tell(&mut table)), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_second_member_is_given_what_the_first_gives_up() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    assert_eq!((b.epoch, b.count(), table.group.state()), (2, 0, State::Reconciling));
    let had = a.owned.clone();
    a.tell(&mut table).expect("a member");
    assert_eq!((a.epoch, a.count()), (1, 3), "it is told to give up three, and stays in its epoch");
    b.tell(&mut table).expect("a member");
    assert_eq!(b.count(), 0, "they are not given up yet");
    assert_eq!(table.send(&Beat { owned: Some(had), ..a.short() }).map(|beaten| beaten.epoch), Ok(1), "it still has them");
    a.tell(&mut table).expect("a member");
    assert_eq!((a.epoch, a.count()), (2, 3));
    b.tell(&mut table).expect("a member");
    assert_eq!((b.epoch, b.count(), table.group.state()), (2, 3, State::Stable));
}

#[test]
fn the_place_of_a_member_that_left_is_filled_by_the_next_heartbeat() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    settle(&mut table, &mut [&mut a, &mut b]);
    table.leave(&a.leave()).expect("a member");
    assert_eq!(table.group.state(), State::Assigning);
    b.tell(&mut table).expect("a member");
    assert_eq!((b.epoch, b.count(), table.group.state()), (3, 6, State::Stable));
}

#[test]
fn uniform_moves_no_more_than_it_must() {
    let mut table = Table::new();
    let mut members: Vec<Consumer> = ["a", "b", "c"].iter().map(|id| Consumer::new(id, &["t"])).collect();
    members[0].join(&mut table).expect("it is let in");
    members[1].join(&mut table).expect("it is let in");
    settle(&mut table, &mut members.iter_mut().collect::<Vec<_>>()[..2]);
    let before = [members[0].owned.clone(), members[1].owned.clone()];
    members[2].join(&mut table).expect("it is let in");
    settle(&mut table, &mut members.iter_mut().collect::<Vec<_>>());
    assert!(members.iter().all(|member| member.count() == 2), "{members:?}");
    for (member, before) in members.iter().zip(before) {
        assert!(member.owned[&T].is_subset(&before[&T]), "each keeps two of its own");
    }
}

#[test]
fn range_splits_topics_of_one_size_alike() {
    let mut table = Table::new();
    table.grow("u", 6);
    let mut a = Consumer::new("a", &["t", "u"]).would_like("range");
    let mut b = Consumer::new("b", &["t", "u"]).would_like("range");
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    settle(&mut table, &mut [&mut a, &mut b]);
    assert_eq!((&a.owned[&T], &a.owned[&U]), (&owned(T, &[0, 1, 2])[&T], &owned(T, &[0, 1, 2])[&T]));
    assert_eq!((&b.owned[&T], &b.owned[&U]), (&owned(T, &[3, 4, 5])[&T], &owned(T, &[3, 4, 5])[&T]));
    assert_eq!(table.group.assignor(&table.config), Assignor::Range);
}

#[test]
fn the_assignor_that_most_would_like_is_taken() {
    let config = GroupConfig::default();
    let wish = |assignor: Option<&str>| Subscription { assignor: assignor.map(str::to_owned), ..Subscription::default() };
    let of = |wishes: &[Option<&str>]| preferred(wishes.iter().map(|w| wish(*w)).collect::<Vec<_>>().iter(), &config);
    assert_eq!(of(&[None, None]), Assignor::Uniform);
    assert_eq!(of(&[None, Some("range")]), Assignor::Range);
    assert_eq!(of(&[Some("uniform"), Some("range")]), Assignor::Uniform, "the order of the configuration decides");
    assert_eq!(of(&[Some("uniform"), Some("range"), Some("range")]), Assignor::Range);
    assert_eq!(of(&[Some("gone")]), Assignor::Uniform);
}

#[test]
fn each_member_reads_only_what_it_wants() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["u"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    settle(&mut table, &mut [&mut a, &mut b]);
    assert_eq!((&a.owned, &b.owned), (&owned(T, &[0, 1, 2, 3, 4, 5]), &owned(U, &[0, 1])));
    assert!(table.group.reads("t") && table.group.reads("u") && !table.group.reads("v"));
    b.beat.topics = Some(["t".to_owned()].into());
    let told = table.send(&Beat { topics: b.beat.topics.clone(), ..b.short() }).expect("a member");
    assert_eq!((told.epoch, table.group.epoch()), (b.epoch, 3), "what it reads no longer must be given up first");
    b.hear(told);
    settle(&mut table, &mut [&mut a, &mut b]);
    assert_eq!((a.count(), b.count(), table.group.reads("u")), (3, 3, false));
}

#[test]
fn topics_that_come_grow_and_go_begin_a_new_epoch() {
    let (mut table, mut a) = (Table::new(), Consumer::new("a", &["t", "v"]));
    a.join(&mut table).expect("it is let in");
    table.grow("u", 9);
    a.tell(&mut table).expect("a member");
    assert_eq!(table.group.epoch(), 1, "nobody reads it");
    table.grow("t", 8);
    a.tell(&mut table).expect("a member");
    assert_eq!((a.epoch, a.count()), (2, 8));
    table.catalog.0.insert("v".into(), (Uuid([3; 16]), 1));
    table.topics_version += 1;
    a.tell(&mut table).expect("a member");
    assert_eq!((a.epoch, a.count()), (3, 9));
    table.catalog.0.insert("t".into(), (Uuid([4; 16]), 8));
    table.topics_version += 1;
    settle(&mut table, &mut [&mut a]);
    assert_eq!((a.count(), a.owned.contains_key(&T), a.owned.contains_key(&Uuid([4; 16]))), (9, false, true), "another topic of that name");
    table.catalog.0.clear();
    table.topics_version += 1;
    settle(&mut table, &mut [&mut a]);
    assert_eq!(a.count(), 0);
}

#[test]
fn a_member_of_another_epoch_is_fenced() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    let early = Beat { epoch: 2, ..a.short() };
    assert_eq!(error(table.send(&early)), ErrorCode::FENCED_MEMBER_EPOCH);
    b.join(&mut table).expect("it is let in");
    settle(&mut table, &mut [&mut a, &mut b]);
    let behind = |owned: Option<Parts>| Beat { epoch: 1, owned, ..a.short() };
    assert_eq!(error(table.send(&behind(None))), ErrorCode::FENCED_MEMBER_EPOCH, "it does not say what it has");
    assert_eq!(error(table.send(&behind(Some(b.owned.clone())))), ErrorCode::FENCED_MEMBER_EPOCH, "it has what it was not given");
    assert_eq!(table.send(&behind(Some(a.owned.clone()))).map(|beaten| beaten.epoch), Ok(2), "an answer was lost");
    a.join(&mut table).expect("who was fenced comes back under its id");
    assert_eq!((a.epoch, a.count()), (2, 3));
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let (mut table, mut a) = (Table::new(), Consumer::new("a", &["t"]));
    table.send(&a.beat).expect("it is let in");
    a.join(&mut table).expect("it asks again");
    assert_eq!((a.epoch, a.count(), table.group.epoch(), table.group.members().len()), (1, 6, 1, 1));
    let full = Beat { epoch: 1, owned: Some(Parts::new()), ..a.beat.clone() };
    assert_eq!(table.send(&full).map(|beaten| beaten.assignment), Ok(Some(a.owned.clone())), "whoever says all is told all");
}

#[test]
fn a_full_group_takes_nobody_more() {
    let mut table = Table::new();
    table.config.consumer_max_size = 1;
    let (mut a, mut b) = (Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("there is room");
    assert_eq!(error(b.join(&mut table)), ErrorCode::GROUP_MAX_SIZE_REACHED);
    a.tell(&mut table).expect("who is in stays in");
}

#[test]
fn who_is_not_heard_of_is_taken_out() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    table.pass(30);
    b.join(&mut table).expect("it is let in");
    table.pass(14);
    assert_eq!(table.group.members().len(), 2);
    table.pass(1);
    assert_eq!((table.group.members().len(), table.group.state()), (1, State::Assigning));
    b.tell(&mut table).expect("a member");
    assert_eq!((b.count(), table.group.state()), (6, State::Stable));
    assert_eq!(error(a.tell(&mut table)), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn who_does_not_give_up_in_time_is_taken_out() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    let had = a.owned.clone();
    a.tell(&mut table).expect("it is told to give up");
    for _ in 0..5 {
        table.pass(11);
        table.send(&Beat { owned: Some(had.clone()), ..a.short() }).expect("it lives, and holds on");
        b.tell(&mut table).expect("a member");
    }
    table.pass(5);
    assert_eq!(error(a.tell(&mut table)), ErrorCode::UNKNOWN_MEMBER_ID);
    b.tell(&mut table).expect("a member");
    assert_eq!(b.count(), 6);
}

#[test]
fn who_gave_up_in_time_stays() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    a.join(&mut table).expect("it is let in");
    b.join(&mut table).expect("it is let in");
    settle(&mut table, &mut [&mut a, &mut b]);
    for _ in 0..5 {
        table.pass(30);
        settle(&mut table, &mut [&mut a, &mut b]);
    }
    assert_eq!(table.group.members().len(), 2);
}

#[test]
fn commits_are_taken_of_members_of_their_epoch_and_of_what_they_kept() {
    let (mut table, mut a, mut b) = (Table::new(), Consumer::new("a", &["t"]), Consumer::new("b", &["t"]));
    assert_eq!(table.group.validate_commit("", -1, 9), Ok(()), "an admin tool may write where nobody is");
    a.join(&mut table).expect("it is let in");
    assert_eq!(table.group.validate_commit("", -1, 9), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(table.group.validate_commit("a", 1, 8), Err(ErrorCode::UNSUPPORTED_VERSION));
    assert_eq!(table.group.validate_commit("a", 1, 9), Ok(()));
    assert_eq!(table.group.validate_commit("a", 2, 9), Err(ErrorCode::STALE_MEMBER_EPOCH));
    b.join(&mut table).expect("it is let in");
    settle(&mut table, &mut [&mut a, &mut b]);
    assert_eq!(a.epoch, 2);
    let kept = a.owned[&T].first().copied().expect("three of them");
    let lost = b.owned[&T].first().copied().expect("three of them");
    let commit = |epoch, index| table.group.validate_commit("a", epoch, 9).and_then(|()| table.group.may_commit_of("a", epoch, T, index));
    assert_eq!((commit(1, kept), commit(2, kept)), (Ok(()), Ok(())));
    assert_eq!(commit(1, lost), Err(ErrorCode::STALE_MEMBER_EPOCH), "it is another's by now");
    assert_eq!(commit(0, kept), Err(ErrorCode::STALE_MEMBER_EPOCH), "it was not its own then");
}

#[test]
fn offsets_are_told_to_members_of_their_epoch_and_to_tools() {
    let (mut table, mut a) = (Table::new(), Consumer::new("a", &["t"]));
    a.join(&mut table).expect("it is let in");
    assert_eq!(table.group.validate_fetch(None, -1), Ok(()));
    assert_eq!(table.group.validate_fetch(Some("a"), 1), Ok(()));
    assert_eq!(table.group.validate_fetch(Some("a"), 0), Err(ErrorCode::STALE_MEMBER_EPOCH));
    assert_eq!(table.group.validate_fetch(Some("b"), 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(table.group.validate_fetch(None, 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}
