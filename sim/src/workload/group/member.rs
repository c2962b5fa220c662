//! A member of a group: the core's consumer machine, and on top of it an application that works, commits, dawdles, hangs, crashes, leaves and comes back.

use super::ledger::Ledger;
use super::tap::Tap;
use crate::cluster::client::{Actor, FromClient, ToClient};
use crate::workload::{Book, decode, key_of, keys_of};
use klamm_core::client::consumer::{Command, Config, Consumer, Event, GroupConfig, Reset};
use klamm_core::client::io::{Common, Effect, Input};
use klamm_core::client::producer::Token;
use klamm_core::client::{Topic, TopicPartition};
use klamm_core::error::ErrorCode;
use klamm_core::id::{CallId, ConnId, Offset};
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::record::Record;
use klamm_jepsen::history::{self, Action, Completion, Key, Polled, Process};
use rand::Rng as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// While it winds up, an application commits so often what it has worked on.
const LAST_COMMITS: Duration = Duration::from_millis(500);
/// And takes so many records at once.
const LAST_RECORDS: usize = 500;
/// A member that was turned away comes back after this.
const TURNED_AWAY: Duration = Duration::from_secs(1);

/// How a member behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// What its machine has in common with others.
    pub common: Common,
    /// Its `client.rack`, or nothing.
    pub rack: String,
    /// How it takes part.
    pub group: GroupConfig,
    /// The topics it reads.
    pub topics: BTreeSet<Topic>,
    /// `max.poll.records`
    pub max_records: usize,
    /// It works on what it was given up to so long.
    pub think: Duration,
    /// It does something odd about so often.
    pub mood: Duration,
    /// It begins then.
    pub begins: Instant,
}

/// A running process.
struct Here {
    machine: Consumer,
    /// It works on records, or just dawdles, until then.
    busy: Option<Instant>,
    mood: Instant,
    commits: Instant,
    /// Nothing of it runs until then; what comes meanwhile waits.
    hangs: Option<Instant>,
    waiting: VecDeque<ToClient>,
    conns: BTreeSet<ConnId>,
    closing: bool,
    /// It left a topic out when it last subscribed.
    is_partial: bool,
}

enum Life {
    Here(Box<Here>),
    Away {
        until: Instant,
    },
    /// Another one has its place.
    Gone,
}

/// A member of a group.
pub struct MemberActor {
    options: Options,
    book: Book,
    seed: u64,
    rng: Rng,
    life: Life,
    lives: u64,
    tap: Tap,
    process: Process,
    is_polling: bool,
    /// Changes of its assignment since its last poll ended.
    changes: Vec<Vec<Key>>,
    /// What each of its partitions must go on with.
    next: BTreeMap<TopicPartition, i64>,
    out: VecDeque<FromClient>,
}

/// Something odd that an application does.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Crash,
    Leave,
    Hang,
    Dawdle,
    CommitLower,
    SubscribeAnew,
}

impl MemberActor {
    /// A member that has not begun.
    #[must_use]
    pub fn new(options: Options, book: Book, seed: u64) -> Self {
        let process = book.borrow_mut().process();
        book.borrow_mut().groups.entry(options.group.id.clone()).or_default();
        book.borrow_mut().group_processes.insert(process);
        Self {
            rng: rng::stream(seed, "member actor"),
            life: Life::Away { until: options.begins },
            options,
            book,
            seed,
            lives: 0,
            tap: Tap::default(),
            process,
            is_polling: false,
            changes: Vec::new(),
            next: BTreeMap::new(),
            out: VecDeque::new(),
        }
    }

    fn is_draining(&self) -> bool {
        self.book.borrow().draining
    }

    fn pause(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.random_range(0.0..1.0))
    }

    // --- lives ----------------------------------------------------------------------------------------------------------------------------

    fn begin(&mut self, now: Now) {
        self.lives += 1;
        if self.lives > 1 {
            self.process = self.book.borrow_mut().process();
            self.book.borrow_mut().group_processes.insert(self.process);
        }
        self.next.clear();
        self.changes.clear();
        self.tap = Tap::of((self.seed << 16).wrapping_add(self.lives));
        let config = Config {
            group: Some(self.options.group.clone()),
            reset: Reset::Earliest,
            fetch_max_wait: Duration::from_millis(300),
            rack: self.options.rack.clone(),
            ..Config::new(self.options.common.clone())
        };
        let machine = Consumer::new(config, self.seed.wrapping_add(self.lives));
        let mood = now.at.after(self.options.mood.mul_f64(self.rng.random_range(0.5..1.5)));
        self.life = Life::Here(Box::new(Here {
            machine,
            busy: None,
            mood,
            commits: now.at,
            hangs: None,
            waiting: VecDeque::new(),
            conns: BTreeSet::new(),
            closing: false,
            is_partial: false,
        }));
        self.subscribe(now, self.options.topics.clone());
        self.ask(now);
    }

    fn subscribe(&mut self, now: Now, topics: BTreeSet<Topic>) {
        let keys = keys_of(&topics);
        let action = Action::Subscribe { keys };
        {
            let mut book = self.book.borrow_mut();
            book.recorder.invoke(now.at.0, self.process, action.clone());
            book.recorder.complete(now.at.0, self.process, Completion::ok(action));
        }
        self.command(now, Command::Subscribe { topics });
    }

    /// The process ends, without a word to anyone.
    fn crash(&mut self, now: Now, away: Duration) {
        let Life::Here(here) = std::mem::replace(&mut self.life, Life::Away { until: now.at.after(away) }) else { return };
        let mut book = self.book.borrow_mut();
        if std::mem::take(&mut self.is_polling) {
            book.recorder.complete(now.at.0, self.process, Completion::info("the consumer crashed"));
        } else {
            book.recorder.invoke(now.at.0, self.process, Action::Crash);
            book.recorder.complete(now.at.0, self.process, Completion::info("the consumer crashed"));
        }
        self.out.extend(here.conns.into_iter().map(|conn| FromClient::Close { conn }));
    }

    fn close(&mut self, now: Now) {
        let Life::Here(here) = &mut self.life else { return };
        (here.closing, here.busy) = (true, None);
        self.end_poll(now, Polled::new());
        self.command(now, Command::Close);
    }

    // --- the machine ----------------------------------------------------------------------------------------------------------------------

    fn command(&mut self, now: Now, command: Command) {
        self.input(now, Input::App(command));
    }

    fn input(&mut self, now: Now, input: Input<Command>) {
        let Life::Here(here) = &mut self.life else { return };
        here.machine.handle(now, input);
        self.drain(now);
    }

    fn drain(&mut self, now: Now) {
        while let Life::Here(here) = &mut self.life
            && let Some(effect) = here.machine.poll()
        {
            match effect {
                Effect::Connect { conn, to } => {
                    let conn = outer(self.lives, conn);
                    here.conns.insert(conn);
                    self.out.push_back(FromClient::Connect { conn, to });
                }
                Effect::Send { conn, call, version, request, answered } => {
                    let (conn, call) = (outer(self.lives, conn), CallId(self.lives << 32 | call.0));
                    self.book.borrow_mut().with_group(&self.options.group.id, |ledger| {
                        self.tap.sent(now.at.0, call, &request, ledger);
                        Ok(())
                    });
                    self.out.push_back(FromClient::Send { conn, call, version, request, answered });
                }
                Effect::Close { conn, .. } => {
                    let conn = outer(self.lives, conn);
                    here.conns.remove(&conn);
                    self.out.push_back(FromClient::Close { conn });
                }
                Effect::Event(event) => self.told(now, event),
            }
        }
    }

    fn told(&mut self, now: Now, event: Event) {
        match event {
            Event::Records { records } => self.work(now, records),
            Event::Assigned { parts } | Event::Revoked { parts } | Event::Lost { parts } => {
                self.next.retain(|part, _| !parts.contains(part));
                let keys: Vec<Key> = parts.iter().filter_map(key_of).collect();
                if !keys.is_empty() {
                    self.changes.push(keys);
                }
            }
            // It goes on from what was committed; by then another replica may lead.
            Event::Corrupt { .. } if self.book.borrow().rots => self.crash(now, TURNED_AWAY),
            Event::Corrupt { part, at } => self.violation(format!("a member was sent what cannot be read, at {at} of {part}")),
            Event::Refused { error } => self.refused(now, error),
            Event::Closed => {
                let away = self.pause(3 * TURNED_AWAY);
                self.life = Life::Away { until: now.at.after(away) };
            }
            Event::Committed { .. } | Event::NoPosition { .. } => {}
        }
    }

    /// Fenced by a successor under the same instance, or turned away for now.
    fn refused(&mut self, now: Now, error: ErrorCode) {
        let is_last = self.is_draining() && error == ErrorCode::FENCED_INSTANCE_ID;
        let away = TURNED_AWAY + self.pause(5 * TURNED_AWAY);
        self.crash(now, away);
        if is_last {
            self.life = Life::Gone;
        }
    }

    // --- the application ------------------------------------------------------------------------------------------------------------------

    fn ask(&mut self, now: Now) {
        let Life::Here(here) = &mut self.life else { return };
        here.busy = None;
        if !std::mem::replace(&mut self.is_polling, true) {
            self.book.borrow_mut().recorder.invoke(now.at.0, self.process, Action::poll());
        }
        let max_records = if self.is_draining() { LAST_RECORDS } else { self.options.max_records };
        self.command(now, Command::Poll { max_records });
    }

    fn work(&mut self, now: Now, records: Vec<(TopicPartition, Vec<Record>)>) {
        let mut polled = Polled::new();
        for (part, records) in records {
            self.check(&part, &records);
            let offsets = records.iter().map(|record| record.offset.0);
            self.book.borrow_mut().with_group(&self.options.group.id, |ledger| {
                ledger.process(&part, offsets);
                Ok(())
            });
            let Some(key) = key_of(&part) else { continue };
            let seen = records.iter().filter_map(|record| {
                let value = record.payload.value.as_deref().and_then(decode)?;
                Some(history::Record::at(history::Offset(record.offset.0), value))
            });
            polled.insert(key, seen.collect());
        }
        self.end_poll(now, polled);
        let think = if self.is_draining() { Duration::from_millis(1) } else { self.pause(self.options.think) };
        let commits = self.is_draining() || self.rng.random_ratio(1, 3);
        if let Life::Here(here) = &mut self.life {
            here.busy = Some(now.at.after(think));
        }
        if commits {
            self.command(now, Command::Commit { token: Token(0), offsets: None });
        }
    }

    /// Records go on where those before ended, and hold what somebody wrote.
    fn check(&mut self, part: &TopicPartition, records: &[Record]) {
        for record in records {
            let at = record.offset.0;
            if let Some(next) = self.next.insert(part.clone(), at + 1).filter(|next| *next != at) {
                match key_of(part).filter(|key| next < at && self.book.borrow().may_be_gone(*key, at - 1)) {
                    // It lost its place there, as by a rebalance.
                    Some(key) => self.changes.push(vec![key]),
                    None => self.violation(format!("a member was to go on at {next} of {part}, and was given {at}")),
                }
            }
            if record.payload.value.as_deref().and_then(decode).is_none() {
                self.violation(format!("a member was given what nobody wrote, at {at} of {part}"));
            }
        }
    }

    fn end_poll(&mut self, now: Now, polled: Polled) {
        if !std::mem::take(&mut self.is_polling) {
            return;
        }
        let changes = std::mem::take(&mut self.changes);
        let completion = changes.into_iter().fold(Completion::ok(Action::polled(polled)), Completion::rebalanced);
        self.book.borrow_mut().recorder.complete(now.at.0, self.process, completion);
    }

    fn violation(&self, what: String) {
        let group = &self.options.group.id;
        self.book.borrow_mut().violations.push(format!("group {group}: {what}"));
    }

    // --- moods ----------------------------------------------------------------------------------------------------------------------------

    fn mood(&mut self, now: Now) {
        let mood =
            [Mood::Crash, Mood::Leave, Mood::Hang, Mood::Dawdle, Mood::CommitLower, Mood::SubscribeAnew][self.rng.random_range(0..6)];
        let group = &self.options.group;
        let long = group.session_timeout.mul_f64(self.rng.random_range(0.3..2.5));
        let busy = group.max_poll_interval.mul_f64(self.rng.random_range(0.3..1.6));
        match mood {
            Mood::Crash => self.crash(now, long),
            Mood::Leave => self.close(now),
            Mood::Hang => {
                if let Life::Here(here) = &mut self.life {
                    here.hangs = Some(now.at.after(long));
                }
            }
            // Only who has records keeps them too long.
            Mood::Dawdle => {
                if let Life::Here(here) = &mut self.life
                    && here.busy.is_some()
                {
                    here.busy = Some(now.at.after(busy));
                }
            }
            Mood::CommitLower => self.commit_lower(now),
            Mood::SubscribeAnew => self.subscribe_anew(now),
        }
    }

    /// Some way back, as an application does that wants to read again.
    fn commit_lower(&mut self, now: Now) {
        let back = self.rng.random_range(0..8);
        let offsets: BTreeMap<TopicPartition, Offset> =
            self.next.iter().map(|(part, next)| (part.clone(), Offset((next - back).max(0)))).collect();
        if !offsets.is_empty() {
            self.command(now, Command::Commit { token: Token(1), offsets: Some(offsets) });
        }
    }

    /// All its topics, or all but one.
    fn subscribe_anew(&mut self, now: Now) {
        let mut topics = self.options.topics.clone();
        if topics.len() > 1 && self.rng.random_bool(0.5) && !self.is_draining() {
            let left_out = self.rng.random_range(0..topics.len());
            let left_out = topics.iter().nth(left_out).cloned();
            topics.retain(|topic| Some(topic) != left_out.as_ref());
        }
        self.end_poll(now, Polled::new());
        let is_partial = topics != self.options.topics;
        if let Life::Here(here) = &mut self.life {
            here.is_partial = is_partial;
        }
        if let Some(instance) = self.options.group.instance.clone().filter(|_| is_partial) {
            self.book.borrow_mut().groups.entry(self.options.group.id.clone()).or_default().changed.insert(instance);
        }
        self.subscribe(now, topics);
        let is_busy = matches!(&self.life, Life::Here(here) if here.busy.is_some());
        if !is_busy {
            self.ask(now);
        }
    }

    /// What is due by now.
    fn tick(&mut self, now: Now) {
        match &mut self.life {
            Life::Gone => {}
            Life::Away { until } => {
                if *until <= now.at || self.book.borrow().draining {
                    self.begin(now);
                }
            }
            Life::Here(here) if here.closing => self.input(now, Input::Tick),
            Life::Here(here) => {
                let (mood, commits, busy) = (here.mood <= now.at, here.commits <= now.at, here.busy.is_some_and(|at| at <= now.at));
                if commits {
                    here.commits = now.at.after(LAST_COMMITS);
                }
                if mood {
                    here.mood = now.at.after(self.options.mood.mul_f64(self.rng.random_range(0.5..1.5)));
                }
                self.input(now, Input::Tick);
                if busy {
                    self.ask(now);
                }
                if mood && !self.is_draining() {
                    self.mood(now);
                }
                if commits && self.is_draining() {
                    self.wind_up(now);
                }
            }
        }
    }

    /// No topic stays left out when the others wind up too.
    fn wind_up(&mut self, now: Now) {
        if matches!(&self.life, Life::Here(here) if here.is_partial) {
            self.subscribe_anew(now);
        }
        self.command(now, Command::Commit { token: Token(2), offsets: None });
    }

    fn take(&mut self, now: Now, input: ToClient) {
        let Life::Here(here) = &mut self.life else {
            return self.tick(now);
        };
        match input {
            ToClient::Tick => self.tick(now),
            ToClient::Connected { conn } => {
                if let Some(conn) = inner(self.lives, conn) {
                    self.input(now, Input::Connected { conn });
                }
            }
            ToClient::Closed { conn } => {
                here.conns.remove(&conn);
                if let Some(conn) = inner(self.lives, conn) {
                    self.input(now, Input::Closed { conn });
                }
            }
            ToClient::Answer { call, response } => {
                if call.0 >> 32 != self.lives {
                    return;
                }
                let listen = |ledger: &mut Ledger| self.tap.heard(now.at.0, call, &response, ledger);
                self.book.borrow_mut().with_group(&self.options.group.id, listen);
                self.input(now, Input::Answer { call: CallId(call.0 & 0xffff_ffff), response });
            }
        }
    }
}

/// A connection's name outside: no life uses that of another.
fn outer(life: u64, conn: ConnId) -> ConnId {
    ConnId(life << 32 | conn.0)
}

/// A connection's name as the machine of this life knows it.
fn inner(life: u64, conn: ConnId) -> Option<ConnId> {
    (conn.0 >> 32 == life).then_some(ConnId(conn.0 & 0xffff_ffff))
}

impl Actor for MemberActor {
    fn handle(&mut self, now: Now, input: ToClient) {
        self.book.borrow_mut().gone.at(now.wall);
        if let Life::Here(here) = &mut self.life
            && let Some(until) = here.hangs
        {
            here.waiting.push_back(input);
            if now.at < until {
                return;
            }
            here.hangs = None;
            while let Life::Here(here) = &mut self.life
                && let Some(input) = here.waiting.pop_front()
            {
                self.take(now, input);
            }
            return;
        }
        self.take(now, input);
    }

    fn poll(&mut self) -> Option<FromClient> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.life {
            Life::Gone => None,
            Life::Away { until } => Some(*until),
            Life::Here(here) => {
                if here.hangs.is_some() {
                    return here.hangs;
                }
                let machine = here.machine.deadline().map(|(at, _)| at);
                if here.closing {
                    return machine;
                }
                machine.into_iter().chain(here.busy).chain([here.mood]).chain(self.is_draining().then_some(here.commits)).min()
            }
        }
    }
}
