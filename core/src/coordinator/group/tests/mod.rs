//! One test for each behaviour of a classic group, in the words of the protocol.

mod random;
mod rebalance;
mod statics;

use super::*;
use crate::coordinator::Client;
use crate::id::ConnId;
use crate::rng;
use std::collections::BTreeMap;
use std::time::Duration;

/// A group, its clock, and everything it answered and wrote.
struct Table {
    group: Group,
    config: GroupConfig,
    now: Now,
    rng: Rng,
    asked: u64,
    answers: BTreeMap<Token, Answer>,
    written: Vec<Snapshot>,
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

impl Table {
    fn new() -> Self {
        let now = Now { at: Instant(0), wall: Timestamp(1_000_000) };
        Self {
            group: Group::new(now.wall),
            config: GroupConfig::default(),
            now,
            rng: rng::stream(7, "groups"),
            asked: 0,
            answers: BTreeMap::new(),
            written: Vec::new(),
        }
    }

    fn token(&mut self) -> Token {
        self.asked += 1;
        Token { conn: ConnId(1), seq: self.asked }
    }

    fn turn<T>(&mut self, call: impl FnOnce(&mut Group, &mut Turn<'_>) -> T) -> T {
        let mut out = Outcome::default();
        let mut turn = Turn { now: self.now, config: &self.config, rng: &mut self.rng, out: &mut out };
        let result = call(&mut self.group, &mut turn);
        self.group.check();
        for (token, answer) in out.answers {
            assert!(self.answers.insert(token, answer).is_none(), "{token:?} was answered twice");
        }
        if out.store {
            self.written.push(self.group.snapshot());
        }
        result
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, by: Duration) {
        let end = self.now.at.after(by);
        while let Some(at) = self.group.deadline().filter(|at| *at <= end) {
            self.set_clock(at.max(self.now.at));
            self.turn(Group::tick);
        }
        self.set_clock(end);
    }

    fn set_clock(&mut self, at: Instant) {
        self.now.wall.0 += i64::try_from(at.since(self.now.at).as_millis()).unwrap();
        self.now.at = at;
    }

    fn join(&mut self, join: Join) -> Token {
        let token = self.token();
        self.turn(|group, turn| group.join(Join { token, ..join }, turn));
        token
    }

    fn sync(&mut self, member: &MemberId, generation: i32, assignments: &[(&MemberId, &'static str)]) -> Token {
        let token = self.token();
        let assignments = assignments.iter().map(|(id, a)| (id.to_string(), Bytes::from_static(a.as_bytes()))).collect();
        let member = member.to_string();
        let sync = Sync { token, member, instance: None, generation, protocol_type: None, protocol: None, assignments };
        self.turn(|group, turn| group.sync(sync, turn));
        token
    }

    fn heartbeat(&mut self, member: &MemberId, generation: i32) -> Result<(), ErrorCode> {
        self.turn(|group, turn| group.heartbeat(&member.0, None, generation, turn))
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        let leavers = [(member.to_owned(), instance.map(str::to_owned))];
        self.turn(|group, turn| group.leave(&leavers, turn)).remove(0)
    }

    fn waits(&self, token: Token) -> bool {
        !self.answers.contains_key(&token)
    }

    fn joined(&self, token: Token) -> Joined {
        match self.answers.get(&token) {
            Some(Answer::Join(Ok(joined))) => joined.clone(),
            other => panic!("{token:?} did not join: {other:?}"),
        }
    }

    fn refused(&self, token: Token) -> (ErrorCode, String) {
        match self.answers.get(&token) {
            Some(Answer::Join(Err(refused))) => (refused.error, refused.member.clone()),
            other => panic!("{token:?} was not refused: {other:?}"),
        }
    }

    fn synced(&self, token: Token) -> Result<&[u8], ErrorCode> {
        match self.answers.get(&token) {
            Some(Answer::Sync(outcome)) => outcome.as_ref().map(|synced| &*synced.assignment).map_err(|error| *error),
            other => panic!("{token:?} is no sync that was answered: {other:?}"),
        }
    }

    /// Joins by the two steps of KIP-394; the second one's token, and the id.
    fn arrive(&mut self) -> (Token, MemberId) {
        let first = self.join(consumer(""));
        let (error, id) = self.refused(first);
        assert_eq!(error, ErrorCode::MEMBER_ID_REQUIRED);
        (self.join(consumer(&id)), MemberId::new(&id))
    }

    /// A stable group of `count` members with assignments `m0`, `m1`, … and the ids in the order of their joins.
    fn stable(count: usize) -> (Self, Vec<MemberId>) {
        let mut table = Self::new();
        let joins: Vec<_> = (0..count).map(|_| table.arrive()).collect();
        table.pass(seconds(6));
        let ids: Vec<_> = joins.iter().map(|(_, id)| id.clone()).collect();
        table.settle(&ids);
        (table, ids)
    }

    /// Every member syncs, the leader with an assignment for each.
    fn settle(&mut self, ids: &[MemberId]) {
        const NAMES: [&str; 4] = ["m0", "m1", "m2", "m3"];
        let generation = self.group.generation();
        let assignments: Vec<_> = ids.iter().zip(NAMES).collect();
        for id in ids {
            let assignments = if self.group.is_leader(&id.0) { assignments.as_slice() } else { &[] };
            self.sync(id, generation, assignments);
        }
        assert_eq!(self.state(), "Stable");
    }

    fn state(&self) -> &'static str {
        self.group.state().name()
    }
}

/// A consumer's join with the id it has, session 10 s, rebalance time-out 60 s.
fn consumer(member: &str) -> Join {
    Join {
        token: Token { conn: ConnId(0), seq: 0 },
        version: 9,
        client: Client { id: "app".into(), host: "/10.0.0.1".into() },
        member: member.to_owned(),
        instance: None,
        session: seconds(10),
        rebalance: seconds(60),
        protocol_type: CONSUMER.to_owned(),
        protocols: vec![protocol("range", "t"), protocol("sticky", "t")],
    }
}

/// A protocol with a consumer's subscription to one topic.
fn protocol(name: &str, topic: &str) -> Protocol {
    let mut metadata = vec![0, 1, 0, 0, 0, 1, 0, u8::try_from(topic.len()).unwrap()];
    metadata.extend_from_slice(topic.as_bytes());
    Protocol { name: name.to_owned(), metadata: metadata.into() }
}

#[test]
fn a_dynamic_member_first_gets_an_id_and_comes_back_with_it() {
    let mut table = Table::new();
    let first = table.join(consumer(""));
    let (error, id) = table.refused(first);
    assert_eq!(error, ErrorCode::MEMBER_ID_REQUIRED);
    assert!(id.starts_with("app-") && id.len() == 4 + 36, "{id}");
    assert_eq!(table.state(), "Empty");
    let second = table.join(consumer(&id));
    assert!(table.waits(second));
    table.pass(seconds(3));
    assert_eq!(&*table.joined(second).member.0, id);
}

#[test]
fn an_old_client_gets_its_id_with_the_generation() {
    let mut table = Table::new();
    let token = table.join(Join { version: 3, ..consumer("") });
    table.pass(seconds(3));
    assert_eq!(table.joined(token).generation, 1);
}

#[test]
fn a_pending_member_that_never_comes_is_forgotten() {
    let mut table = Table::new();
    let first = table.join(consumer(""));
    let (_, id) = table.refused(first);
    assert!(!table.group.is_idle());
    table.pass(seconds(10));
    assert!(table.group.is_idle());
    let late = table.join(consumer(&id));
    assert_eq!(table.refused(late), (ErrorCode::UNKNOWN_MEMBER_ID, id));
}

#[test]
fn a_pending_member_can_leave() {
    let mut table = Table::new();
    let first = table.join(consumer(""));
    let (_, id) = table.refused(first);
    assert_eq!(table.leave(&id, None), Ok(()));
    assert!(table.group.is_idle());
}

#[test]
fn the_leader_learns_all_members_and_the_others_none() {
    let mut table = Table::new();
    let (a, first) = table.arrive();
    let (b, _) = table.arrive();
    table.pass(seconds(6));
    let (leader, follower) = (table.joined(a), table.joined(b));
    assert_eq!((leader.leader.clone(), follower.leader.clone()), (first.clone(), first));
    assert_eq!(leader.members.len(), 2);
    assert_eq!(leader.members[0].metadata, protocol("range", "t").metadata);
    assert!(follower.members.is_empty());
    assert_eq!((leader.generation, follower.generation), (1, 1));
    assert_eq!(leader.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(leader.protocol.as_deref(), Some("range"));
}

#[test]
fn the_assignment_comes_with_the_leaders_sync_and_is_written() {
    let (table, ids) = {
        let mut table = Table::new();
        let (_, a) = table.arrive();
        let (_, b) = table.arrive();
        table.pass(seconds(6));
        let follower = table.sync(&b, 1, &[]);
        assert!(table.waits(follower));
        assert_eq!(table.state(), "CompletingRebalance");
        let leader = table.sync(&a, 1, &[(&a, "p0"), (&b, "p1")]);
        assert_eq!(table.synced(leader), Ok(&b"p0"[..]));
        assert_eq!(table.synced(follower), Ok(&b"p1"[..]));
        (table, [a, b])
    };
    assert_eq!(table.state(), "Stable");
    let [written] = &table.written[..] else { panic!("one record, not {:?}", table.written) };
    assert_eq!((written.generation, written.protocol.as_deref(), written.leader.as_deref()), (1, Some("range"), Some(&*ids[0].0)));
    let b = written.members.iter().find(|m| *m.id == *ids[1].0).unwrap();
    assert_eq!((&*b.assignment, b.session_ms, b.rebalance_ms), (&b"p1"[..], 10_000, 60_000));
}

#[test]
fn whom_the_leader_forgets_gets_nothing() {
    let mut table = Table::new();
    let (_, a) = table.arrive();
    let (_, b) = table.arrive();
    table.pass(seconds(6));
    table.sync(&a, 1, &[(&a, "all")]);
    let b = table.sync(&b, 1, &[]);
    assert_eq!(table.synced(b), Ok(&b""[..]));
}

#[test]
fn a_sync_is_fenced_by_generation_member_and_protocol() {
    let (mut table, ids) = Table::stable(2);
    let old = table.sync(&ids[0], 0, &[]);
    assert_eq!(table.synced(old), Err(ErrorCode::ILLEGAL_GENERATION));
    let stranger = table.sync(&MemberId::new("nobody"), 1, &[]);
    assert_eq!(table.synced(stranger), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    for (protocol_type, protocol) in [(Some("connect"), None), (None, Some("sticky"))] {
        let token = table.token();
        let sync = Sync {
            token,
            member: ids[0].to_string(),
            instance: None,
            generation: 1,
            protocol_type: protocol_type.map(str::to_owned),
            protocol: protocol.map(str::to_owned),
            assignments: BTreeMap::new(),
        };
        table.turn(|group, turn| group.sync(sync, turn));
        assert_eq!(table.synced(token), Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    }
}

#[test]
fn a_sync_that_is_repeated_gets_the_same_assignment() {
    let (mut table, ids) = Table::stable(2);
    let again = table.sync(&ids[1], 1, &[]);
    assert_eq!(table.synced(again), Ok(&b"m1"[..]));
    assert_eq!(table.written.len(), 1);
}

#[test]
fn a_group_takes_only_its_own_kind_and_a_protocol_that_all_know() {
    let (mut table, _) = Table::stable(1);
    let connect = table.join(Join { protocol_type: "connect".into(), ..consumer("") });
    let stranger = table.join(Join { protocols: vec![protocol("mine", "t")], ..consumer("") });
    for token in [connect, stranger] {
        assert_eq!(table.refused(token).0, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    let mut empty = Table::new();
    for join in [Join { protocols: Vec::new(), ..consumer("") }, Join { protocol_type: String::new(), ..consumer("") }] {
        let token = empty.join(join);
        assert_eq!(empty.refused(token).0, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    assert_eq!(table.state(), "Stable");
}

#[test]
fn the_protocol_with_the_most_votes_among_those_that_all_know_wins() {
    let mut table = Table::new();
    let mut tokens = Vec::new();
    for names in [["a", "b", "c"], ["c", "b", "x"], ["c", "y", "b"]] {
        let protocols = names.iter().map(|n| protocol(n, "t")).collect();
        tokens.push(table.join(Join { version: 3, protocols, ..consumer("") }));
    }
    table.pass(seconds(20));
    // b and c are common; the first member votes for b, the others for c.
    assert_eq!(table.joined(tokens[0]).protocol.as_deref(), Some("c"));
}

#[test]
fn other_kinds_of_groups_are_opaque() {
    let mut table = Table::new();
    let opaque = Protocol { name: "default".into(), metadata: Bytes::from_static(b"\xff\xff not a subscription") };
    let token = table.join(Join { version: 3, protocol_type: "connect".into(), protocols: vec![opaque.clone()], ..consumer("") });
    table.pass(seconds(3));
    assert_eq!(table.joined(token).members[0].metadata, opaque.metadata);
    assert!(!table.group.reads("t"));
}

#[test]
fn a_group_of_consumers_reads_what_its_members_subscribed_to() {
    let (table, _) = Table::stable(2);
    assert!(table.group.reads("t") && !table.group.reads("other"));
    let garbage = Protocol { name: "range".into(), metadata: Bytes::from_static(b"\x00") };
    let mut unread = Table::new();
    unread.join(Join { version: 3, protocols: vec![garbage], ..consumer("") });
    unread.pass(seconds(3));
    assert!(unread.group.reads("whatever"), "nobody knows, so it may");
}

#[test]
fn a_commit_is_fenced_by_member_and_generation() {
    let (mut table, ids) = Table::stable(1);
    let commit = |table: &Table, member: &str, generation| table.group.validate_commit(member, None, generation);
    assert_eq!(commit(&table, &ids[0].0, 1), Ok(()));
    assert_eq!(commit(&table, &ids[0].0, 0), Err(ErrorCode::ILLEGAL_GENERATION));
    assert_eq!(commit(&table, "nobody", 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(commit(&table, "", -1), Err(ErrorCode::UNKNOWN_MEMBER_ID), "no bare commits while there are members");
    assert_eq!(table.group.validate_commit(&ids[0].0, Some("i"), 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));

    let again = table.join(consumer(&ids[0].0));
    assert_eq!(table.joined(again).generation, 2);
    assert_eq!(commit(&table, &ids[0].0, 2), Err(ErrorCode::REBALANCE_IN_PROGRESS), "it owns nothing yet");
    table.leave(&ids[0].0, None).unwrap();
    assert_eq!(commit(&table, "", -1), Ok(()), "an empty group takes bare commits");
    assert_eq!(commit(&table, &ids[0].0, 2), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn members_may_commit_the_old_generation_until_the_new_one_begins() {
    let (mut table, ids) = Table::stable(2);
    table.join(consumer(&ids[0].0));
    assert_eq!(table.state(), "PreparingRebalance");
    assert_eq!(table.group.validate_commit(&ids[1].0, None, 1), Ok(()));
}

#[test]
fn what_was_written_is_what_comes_back() {
    let (mut table, ids) = Table::stable(3);
    let mut restored = Group::restore(table.written.last().unwrap());
    assert_eq!(restored.snapshot(), table.group.snapshot());
    assert_eq!(restored.state().name(), "Stable");
    assert!(restored.reads("t"));
    std::mem::swap(&mut table.group, &mut restored);
    table.turn(Group::resume);
    assert_eq!(table.heartbeat(&ids[0], 1), Ok(()));
    table.pass(seconds(11));
    assert_eq!(table.state(), "Empty", "all sessions began again, and ended");
    assert_eq!(table.group.generation(), 2);
}

#[test]
fn age_counts_from_the_commit_or_from_when_the_group_became_empty() {
    let (mut table, ids) = Table::stable(1);
    assert_eq!(table.group.offsets_age(), Some(Age::OfCommit), "for topics it does not read");
    table.join(consumer(""));
    table.leave(&ids[0].0, None).unwrap();
    table.pass(seconds(100));
    assert_eq!(table.state(), "Empty");
    assert!(matches!(table.group.offsets_age(), Some(Age::Since(Timestamp(at))) if at > 1_000_000));
    assert_eq!(Group::new(Timestamp(5)).offsets_age(), Some(Age::OfCommit), "a group without a kind");
    table.arrive();
    assert_eq!(table.group.offsets_age(), None, "never during a rebalance");
}
