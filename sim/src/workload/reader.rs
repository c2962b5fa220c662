//! Readers that speak the wire by themselves, so that no verdict depends on the client machines: each polls its keys from the beginning, in order,
//! and checks what a client can check of every answer.

use super::nearby::{Nearby, Racks};
use super::{Book, decode, place};
use crate::cluster::client::{Actor, FromClient, ToClient};
use klamm_core::client::io::Address;
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, CallId, ConnId, LeaderEpoch, Offset, PartitionIndex};
use klamm_core::time::{Instant, Now, Timestamp};
use klamm_core::wire::api::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic};
use klamm_core::wire::api::metadata::MetadataResponse;
use klamm_core::wire::batch::Batch;
use klamm_core::wire::record::Records;
use klamm_core::wire::{Request, Response};
use klamm_jepsen::history::{self, Action, Completion, Key, Polled, Process, Record};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const VERSION: i16 = 12;
/// In this one nobody but the leader answers (KIP-392 came with 11).
const OF_LEADERS: i16 = 10;
const TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF: Duration = Duration::from_millis(200);

/// How a reader behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it reads: from the first of these that leads all its keys.
    pub from: Vec<Address>,
    /// What it reads.
    pub keys: Vec<Key>,
    /// It waits so long between polls.
    pub think: Duration,
    /// `max.wait.ms` of its fetches.
    pub max_wait: Duration,
    /// It stops when it has reached the end of every key; before that, it goes on for ever.
    pub until_end: bool,
    /// Records may be deleted under it.
    pub retention: bool,
    /// Followers may answer, too (KIP-392). One that has been filled anew may have less than the reader has seen.
    pub from_followers: bool,
    /// It stands in a rack, reads one key, and goes where the leader sends it.
    pub racks: Option<Racks>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle { until: Instant },
    Connecting { since: Instant },
    Ready { from: Instant },
    Asked { call: CallId, since: Instant },
    Finished,
}

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    next: i64,
    high: i64,
    start: i64,
    /// The end was seen since the run is draining.
    ended: bool,
}

/// A reader.
pub struct ReaderActor {
    options: Options,
    book: Book,
    process: Process,
    state: State,
    conn: ConnId,
    calls: u64,
    /// Which address it speaks to.
    at: usize,
    /// Whom it reads from, if it stands in a rack.
    nearby: Option<Nearby>,
    positions: BTreeMap<Key, Position>,
    /// Keys whose position is no longer in the log: where it begins must be asked.
    lost: BTreeSet<Key>,
    started: bool,
    /// What it asked for last are records.
    is_polling: bool,
    out: VecDeque<FromClient>,
}

impl ReaderActor {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(options: Options, book: Book) -> Self {
        let positions = options.keys.iter().map(|key| (*key, Position::default())).collect();
        let process = book.borrow_mut().process();
        let state = State::Idle { until: Instant::default() };
        let nearby = options.racks.clone().map(|racks| Nearby::new(racks, options.keys[0]));
        Self {
            options,
            book,
            process,
            state,
            conn: ConnId(0),
            calls: 0,
            at: 0,
            nearby,
            positions,
            lost: BTreeSet::new(),
            started: false,
            is_polling: false,
            out: VecDeque::new(),
        }
    }

    fn begin(&mut self, now: Now) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.assign(now, Action::Assign { keys: self.options.keys.clone(), seek_to_beginning: true });
    }

    fn connect(&mut self, now: Now) {
        self.conn = ConnId(self.conn.0 + 1);
        if self.options.from.len() > 1 {
            // Another leader, or the same in a new life, may not know yet how much is committed; it never knows less than what it showed.
            self.positions.values_mut().for_each(|position| position.high = 0);
        } else {
            // After a crash a log may begin earlier again: whoever is out of range now is told so anew.
            self.lost.clear();
        }
        self.state = State::Connecting { since: now.at };
        self.out.push_back(FromClient::Connect { conn: self.conn, to: self.options.from[self.at].clone() });
    }

    fn ask(&mut self, now: Now) {
        if self.nearby.as_mut().is_some_and(|nearby| nearby.ends_lease(now.at)) {
            return self.go_where_it_reads(now);
        }
        self.calls += 1;
        let call = CallId(self.calls);
        self.state = State::Asked { call, since: now.at };
        self.is_polling = false;
        if let Some(nearby) = self.nearby.as_ref().filter(|nearby| nearby.is_lost()) {
            let request = Box::new(Request::Metadata(nearby.question()));
            return self.out.push_back(FromClient::Send { conn: self.conn, call, version: 9, request, answered: true });
        }
        self.is_polling = self.lost.is_empty();
        if !self.lost.is_empty() {
            let request = Box::new(Request::ListOffsets(starts_wanted(&self.lost)));
            return self.out.push_back(FromClient::Send { conn: self.conn, call, version: 7, request, answered: true });
        }
        self.book.borrow_mut().recorder.invoke(now.at.0, self.process, Action::poll());
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (key, position) in &self.positions {
            let (topic, partition) = place(*key);
            if topics.last().is_none_or(|last| last.topic != topic) {
                topics.push(FetchTopic { topic, ..Default::default() });
            }
            topics.last_mut().expect("pushed above").partitions.push(FetchPartition {
                partition: PartitionIndex(partition),
                current_leader_epoch: self.epoch(),
                fetch_offset: Offset(position.next),
                partition_max_bytes: 1 << 20,
                ..Default::default()
            });
        }
        let request = FetchRequest {
            replica_id: BrokerId(-1),
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).expect("a short wait"),
            min_bytes: 1,
            max_bytes: 50 << 20,
            session_epoch: -1,
            topics,
            rack_id: self.nearby.as_ref().map(|nearby| nearby.rack().to_owned()).unwrap_or_default(),
            ..Default::default()
        };
        let request = Box::new(Request::Fetch(request));
        let version = if self.options.from_followers || self.nearby.is_some() { VERSION } else { OF_LEADERS };
        self.out.push_back(FromClient::Send { conn: self.conn, call, version, request, answered: true });
    }

    fn give_up(&mut self, now: Now, why: &str) {
        if matches!(self.state, State::Asked { .. }) && self.is_polling {
            self.book.borrow_mut().recorder.complete(now.at.0, self.process, Completion::fail(why));
        }
        self.out.push_back(FromClient::Close { conn: self.conn });
        let next = (self.at + 1) % self.options.from.len();
        self.at = match &mut self.nearby {
            Some(nearby) => {
                nearby.failed();
                nearby.address().unwrap_or(next)
            }
            None => next,
        };
        self.state = State::Idle { until: now.at.after(BACKOFF) };
    }

    /// Goes on at whom it reads from in its rack, on another connection if that is another node.
    fn go_where_it_reads(&mut self, now: Now) {
        match self.nearby.as_ref().and_then(Nearby::address) {
            Some(at) if at == self.at => self.state = State::Ready { from: now.at },
            Some(at) => {
                self.out.push_back(FromClient::Close { conn: self.conn });
                self.at = at;
                self.state = State::Idle { until: now.at };
            }
            None => self.give_up(now, "nobody leads"),
        }
    }

    /// A node told who leads.
    fn found_leader(&mut self, now: Now, response: &MetadataResponse) {
        self.state = State::Ready { from: now.at };
        if let Some(nearby) = &mut self.nearby {
            nearby.told(response);
        }
        self.go_where_it_reads(now);
    }

    /// The leader epoch that it names in a fetch.
    fn epoch(&self) -> LeaderEpoch {
        self.nearby.as_ref().map_or(LeaderEpoch(-1), Nearby::epoch)
    }

    fn is_at_replica(&self) -> bool {
        self.nearby.as_ref().is_some_and(Nearby::is_at_replica)
    }

    /// The leader says that a replica is nearer.
    fn sent_to(&mut self, now: Now, replica: BrokerId) {
        let sent = self.nearby.as_mut().map_or(Err("it stands in no rack".to_owned()), |nearby| nearby.sent_to(now.at, replica));
        match sent {
            Ok(()) => self.go_where_it_reads(now),
            Err(what) => self.violation(format!("{:?}: {what}", self.options.keys)),
        }
    }

    fn answered(&mut self, now: Now, response: FetchResponse) {
        let mut polled = Polled::new();
        let (mut elsewhere, mut nearer) = (false, None);
        for topic in response.responses {
            for partition in topic.partitions {
                let Some(key) = self.key_of(&topic.topic, partition.partition_index) else { continue };
                elsewhere |= partition.error_code != ErrorCode::NONE && self.options.from.len() > 1;
                nearer = nearer.or(Some(partition.preferred_read_replica).filter(|replica| replica.0 >= 0));
                let records = self.read(key, &partition);
                if !records.is_empty() {
                    polled.insert(key, records);
                }
            }
        }
        self.book.borrow_mut().recorder.complete(now.at.0, self.process, Completion::ok(Action::polled(polled)));
        if elsewhere {
            // The poll has ended already.
            self.state = State::Ready { from: now.at };
            return self.give_up(now, "another node leads");
        }
        if let Some(replica) = nearer {
            self.state = State::Ready { from: now.at };
            return self.sent_to(now, replica);
        }
        let ended = self.positions.values().all(|position| position.ended);
        self.state =
            if self.options.until_end && ended { State::Finished } else { State::Ready { from: now.at.after(self.options.think) } };
    }

    /// Goes on where the logs begin now. In the history it lets go of those keys, and takes them again.
    fn found_starts(&mut self, now: Now, response: &ListOffsetsResponse) {
        let mut found = BTreeSet::new();
        for topic in &response.topics {
            for answer in topic.partitions.iter().filter(|answer| answer.error_code == ErrorCode::NONE) {
                let Some(key) = self.key_of(&topic.name, answer.partition_index) else { continue };
                let position = self.positions.get_mut(&key).expect("one of its keys");
                if self.options.from.len() > 1 && answer.offset.0 <= position.next {
                    // A deletion is not replicated at once: where another node leads now, the log begins earlier again.
                    self.lost.remove(&key);
                    continue;
                }
                let (from, start) = (std::mem::replace(&mut position.next, answer.offset.0), answer.offset.0);
                if start < from || !self.book.borrow().may_be_gone(key, start - 1) {
                    self.violation(format!("{key:?}: offset {from} is out of range of a log that begins at {start}"));
                }
                found.insert(key);
            }
        }
        if !found.is_empty() {
            let kept = self.options.keys.iter().copied().filter(|key| !found.contains(key)).collect();
            for keys in [kept, self.options.keys.clone()] {
                self.assign(now, Action::Assign { keys, seek_to_beginning: false });
            }
        }
        self.lost.retain(|key| !found.contains(key));
        if !self.lost.is_empty() && self.options.from.len() > 1 {
            return self.give_up(now, "another node leads");
        }
        self.state = State::Ready { from: now.at.after(self.options.think) };
    }

    fn assign(&self, now: Now, action: Action) {
        let mut book = self.book.borrow_mut();
        book.recorder.invoke(now.at.0, self.process, action.clone());
        book.recorder.complete(now.at.0, self.process, Completion::ok(action));
    }

    fn key_of(&self, topic: &str, partition: PartitionIndex) -> Option<Key> {
        self.options.keys.iter().copied().find(|key| place(*key) == (topic.to_owned(), partition.0))
    }

    /// Takes in one partition's answer, and checks it.
    fn read(&mut self, key: Key, answer: &PartitionData) -> Vec<Record> {
        let mut position = self.positions[&key];
        let records = match answer.error_code {
            ErrorCode::NONE => self.decoded(key, position.next, answer),
            // A follower lags, or fills its log anew: its leader is asked.
            ErrorCode::OFFSET_OUT_OF_RANGE if self.is_at_replica() => Vec::new(),
            ErrorCode::OFFSET_OUT_OF_RANGE if self.options.retention => {
                self.lost.insert(key);
                Vec::new()
            }
            ErrorCode::OFFSET_OUT_OF_RANGE if self.options.from_followers && self.options.from.len() > 1 => Vec::new(),
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                self.violation(format!(
                    "{key:?}: offset {} is out of range, the log is {}..{}",
                    position.next, answer.log_start_offset, answer.high_watermark
                ));
                Vec::new()
            }
            _ => Vec::new(),
        };
        if self.options.until_end {
            let text = format!("at {} of {}..{}: {:?}", position.next, answer.log_start_offset, answer.high_watermark, answer.error_code);
            let mut book = self.book.borrow_mut();
            book.last_seen.insert(key, text);
            book.in_the_end.entry(key).or_default().extend(records.iter().map(offset_of));
        }
        if answer.error_code == ErrorCode::NONE {
            let (high, start) = (answer.high_watermark.0, answer.log_start_offset.0);
            // A deletion is not durable when it is answered, as in Kafka: after a crash a log may begin earlier again.
            // A follower may have given up its copy, and fill it anew.
            let is_behind = self.is_at_replica() || self.options.from_followers && self.options.from.len() > 1;
            let is_sent_on = answer.preferred_read_replica.0 >= 0;
            if (high < position.high && !is_behind) || (start < position.start && !self.options.retention) {
                self.violation(format!("{key:?}: bounds went back from {}..{} to {start}..{high}", position.start, position.high));
            }
            // Nothing is compacted and no transaction leaves markers: offsets have no holes.
            if let Some((_, hole)) = (position.next..).zip(records.iter().map(offset_of)).find(|(next, offset)| next != offset) {
                self.violation(format!("{key:?}: read on at {} and found a hole before offset {hole}", position.next));
            }
            if let Some(last) = records.last() {
                position.next = offset_of(last) + 1;
                if position.next > high {
                    self.violation(format!("{key:?}: read offset {} at or above the high watermark {high}", offset_of(last)));
                }
            } else if position.next < high && !is_sent_on && answer.records.as_ref().is_none_or(klamm_core::wire::Records::is_empty) {
                self.violation(format!("{key:?}: an empty answer at {} below the high watermark {high} it names", position.next));
            }
            if let Some(first) = records.first()
                && offset_of(first) < start
            {
                self.violation(format!("{key:?}: a record at {} below the log start {start} that comes with it", offset_of(first)));
            }
            if start > position.start && !self.book.borrow().may_be_gone(key, start - 1) {
                self.violation(format!("{key:?}: the log begins at {start}, and nothing allowed to delete the record before"));
            }
            // Who reads from a follower may see less of what was deleted.
            if self.options.until_end && self.nearby.is_none() {
                self.book.borrow_mut().gone.begins(key, start);
            }
            (position.high, position.start) = (high, start);
            let book = self.book.borrow();
            let reached = book.reached.get(&key).map_or(0, |offset| offset.0 + 1);
            position.ended = book.draining && position.next >= high.max(reached);
        }
        self.positions.insert(key, position);
        records
    }

    fn decoded(&self, key: Key, from: i64, answer: &PartitionData) -> Vec<Record> {
        let Some(bytes) = answer.records.as_ref().and_then(|records| records.bytes()) else { return Vec::new() };
        let batches = match Batch::all(&bytes) {
            // No checksum covers where a batch stands, but in a log of which nothing was deleted each begins where the one before ends.
            Ok(batches) if self.book.borrow().rots && !follow_each_other(from, &batches) => return Vec::new(),
            Ok(batches) => batches,
            // It is asked for again, until another replica leads.
            Err(_) if self.book.borrow().rots => return Vec::new(),
            Err(bad) => {
                self.violation(format!("{key:?}: a consumer was sent a damaged batch: {bad:?}"));
                return Vec::new();
            }
        };
        // Who named an epoch is answered in that one, and nothing newer is in a log then. No checksum covers the epoch.
        let newer = batches.iter().find(|batch| self.epoch().0 >= 0 && batch.header().leader_epoch > self.epoch());
        if let Some(batch) = newer.filter(|_| !self.book.borrow().rots) {
            let (named, epoch) = (self.epoch(), batch.header().leader_epoch);
            self.violation(format!("{key:?}: asked in epoch {named}, and was sent a batch of epoch {epoch}"));
        }
        let mut found = Vec::new();
        let mut times = BTreeMap::new();
        for record in batches.iter().flat_map(|batch| Records::of(batch, 16 << 20).into_iter().flatten()) {
            match record {
                Ok(record) if record.offset.0 < from => {}
                Ok(record) => match record.payload.value.as_deref().and_then(decode) {
                    Some(value) => {
                        times.insert(record.offset.0, record.timestamp.0);
                        found.push(Record::at(history::Offset(record.offset.0), value));
                    }
                    None => self.violation(format!("{key:?}: offset {} holds what nobody wrote", record.offset)),
                },
                Err(bad) => self.violation(format!("{key:?}: a record cannot be read: {bad:?}")),
            }
        }
        self.book.borrow_mut().times.entry(key).or_default().extend(times);
        found
    }

    fn violation(&self, what: String) {
        self.book.borrow_mut().violations.push(what);
    }
}

fn follow_each_other(from: i64, batches: &[Batch]) -> bool {
    let bounds: Vec<(i64, i64)> = batches.iter().map(|batch| (batch.header().base_offset.0, batch.header().next_offset().0)).collect();
    bounds.first().is_none_or(|(base, next)| (*base..*next).contains(&from)) && bounds.windows(2).all(|pair| pair[0].1 == pair[1].0)
}

fn starts_wanted(keys: &BTreeSet<Key>) -> ListOffsetsRequest {
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for key in keys {
        let (name, partition) = place(*key);
        if topics.last().is_none_or(|last| last.name != name) {
            topics.push(ListOffsetsTopic { name, ..Default::default() });
        }
        let wanted = ListOffsetsPartition { partition_index: PartitionIndex(partition), timestamp: Timestamp(-2), ..Default::default() };
        topics.last_mut().expect("pushed above").partitions.push(wanted);
    }
    ListOffsetsRequest { replica_id: BrokerId(-1), topics, ..Default::default() }
}

fn offset_of(record: &Record) -> i64 {
    record.offset.expect("a polled record has its offset").0
}

impl Actor for ReaderActor {
    fn handle(&mut self, now: Now, input: ToClient) {
        self.book.borrow_mut().gone.at(now.wall);
        self.begin(now);
        match (self.state, input) {
            (State::Idle { until }, ToClient::Tick) if until <= now.at => self.connect(now),
            (State::Connecting { .. }, ToClient::Connected { conn }) if conn == self.conn => self.ask(now),
            (State::Ready { from }, ToClient::Tick) if from <= now.at => self.ask(now),
            (State::Connecting { .. } | State::Ready { .. } | State::Asked { .. }, ToClient::Closed { conn }) if conn == self.conn => {
                self.give_up(now, "the connection was lost");
            }
            (State::Connecting { since } | State::Asked { since, .. }, ToClient::Tick) if since.after(TIMEOUT) <= now.at => {
                self.give_up(now, "timed out");
            }
            (State::Asked { call, .. }, ToClient::Answer { call: answered, response }) if call == answered => {
                if let Response::ListOffsets(response) = *response {
                    self.found_starts(now, &response);
                } else if let Response::Metadata(response) = *response {
                    self.found_leader(now, &response);
                } else if let Response::Fetch(response) = *response {
                    self.answered(now, response);
                } else {
                    self.give_up(now, "an answer to something else");
                }
                if self.state == State::Finished {
                    self.book.borrow_mut().finished += 1;
                    self.out.push_back(FromClient::Close { conn: self.conn });
                }
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<FromClient> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle { until } => Some(until),
            State::Ready { from } => Some(from),
            State::Connecting { since } | State::Asked { since, .. } => Some(since.after(TIMEOUT)),
            State::Finished => None,
        }
    }
}
