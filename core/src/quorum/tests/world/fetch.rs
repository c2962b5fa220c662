//! How records get from a leader to the others, as the broker does it.

use super::log::{Entry, Value, offset, place};
use super::{Event, Message, World, ms};
use crate::client::io::Address;
use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::quorum::Replica;

/// Most records in one answer.
const MOST: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Fetch {
    number: u64,
    replica: Replica,
    epoch: LeaderEpoch,
    from: Offset,
    last_epoch: LeaderEpoch,
}

#[derive(Clone, Debug)]
pub(super) struct Fetched {
    number: u64,
    epoch: LeaderEpoch,
    leader: Option<(BrokerId, Address)>,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    Refused,
    Diverging { epoch: LeaderEpoch, end: Offset },
    Records { entries: Vec<Entry>, high: Option<Offset> },
}

/// A fetch that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    number: u64,
    to: usize,
}

/// A fetch that waits for records.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    from: usize,
    fetch: Fetch,
    high: Option<Offset>,
}

impl World {
    /// Fetches, if nothing is under way and everything is durable: the offset asked for tells what is.
    pub(super) fn fetch(&mut self, i: usize) {
        let now = self.now;
        let node = &mut self.nodes[i];
        if node.waiting.is_some() || node.disk.durable < node.disk.log.len() {
            return;
        }
        let Some(quorum) = &mut node.quorum else { return };
        let Some(target) = quorum.fetch_target(now) else { return };
        let (epoch, last_epoch, from) = (quorum.epoch(), node.disk.last_epoch(), offset(node.disk.log.len()));
        self.seq += 1;
        let fetch = Fetch { number: self.seq, replica: node.replica, epoch, from, last_epoch };
        let to = self.index_of(&target.address);
        let node = &mut self.nodes[i];
        node.waiting = Some(Waiting { number: fetch.number, to });
        self.after(ms(150), i, Event::FetchLate(fetch.number));
        self.tells(i, Some(epoch));
        self.send(i, to, Message::Fetch(fetch));
    }

    pub(super) fn fetch_late(&mut self, i: usize, number: u64) {
        let Some(waiting) = self.nodes[i].waiting.take_if(|waiting| waiting.number == number) else { return };
        // A dead process refuses its connections, which a real broker learns sooner.
        let gone = self.nodes[waiting.to].quorum.is_none();
        let id = self.id(waiting.to);
        self.with(i, |quorum, now, _| {
            quorum.fetch_failed(now.at);
            if gone {
                quorum.gone(now.at, id);
            }
        });
    }

    pub(super) fn serve_fetch(&mut self, i: usize, from: usize, fetch: Fetch) {
        self.with(i, |quorum, now, _| {
            if fetch.epoch > quorum.epoch() {
                quorum.heard(now.at, fetch.epoch, None, None);
            }
        });
        if !self.quorum(i).is_leader() || fetch.epoch != self.quorum(i).epoch() {
            return self.answer_fetch(i, from, fetch.number, Outcome::Refused);
        }
        let disk = &self.nodes[i].disk;
        let (epoch, end) = disk.end_of(fetch.last_epoch);
        if epoch != fetch.last_epoch || offset(end) < fetch.from {
            return self.answer_fetch(i, from, fetch.number, Outcome::Diverging { epoch, end: offset(end) });
        }
        let (replica, at) = (fetch.replica, fetch.from);
        self.with(i, |quorum, now, _| quorum.fetched(now, replica, at));
        // The high watermark may have moved, and more: look again at what is to be answered.
        let high = self.quorum(i).high();
        let number = fetch.number;
        self.nodes[i].parked.push(Parked { from, fetch, high });
        self.after(ms(60), i, Event::Unpark(number));
        self.unpark(i, None);
    }

    /// Answers parked fetches that have something to hear, or whose patience is over.
    pub(super) fn unpark(&mut self, i: usize, late: Option<u64>) {
        let Some(quorum) = &self.nodes[i].quorum else { return };
        let (leads, epoch, high) = (quorum.is_leader(), quorum.epoch(), quorum.high());
        let parked = std::mem::take(&mut self.nodes[i].parked);
        for Parked { from, fetch, high: told } in parked {
            let disk = &self.nodes[i].disk;
            if !leads || epoch != fetch.epoch {
                self.answer_fetch(i, from, fetch.number, Outcome::Refused);
            } else if disk.log.len() > place(fetch.from) || high != told || late == Some(fetch.number) {
                let entries = disk.log[place(fetch.from)..].iter().take(MOST).cloned().collect();
                self.answer_fetch(i, from, fetch.number, Outcome::Records { entries, high });
            } else {
                self.nodes[i].parked.push(Parked { from, fetch, high: told });
            }
        }
    }

    fn answer_fetch(&mut self, i: usize, to: usize, number: u64, outcome: Outcome) {
        let (epoch, leader) = (self.quorum(i).epoch(), self.quorum(i).leader());
        self.send(i, to, Message::Fetched(Fetched { number, epoch, leader, outcome }));
    }

    pub(super) fn take_fetched(&mut self, i: usize, from: usize, fetched: Fetched) {
        let Fetched { number, epoch, leader, outcome } = fetched;
        if !matches!(&self.nodes[i].waiting, Some(waiting) if waiting.number == number) {
            return;
        }
        let (id, refused) = (self.id(from), matches!(outcome, Outcome::Refused));
        let follows = self.with(i, |quorum, now, _| {
            // Before the news: if they name a leader, it is asked at once.
            if refused {
                quorum.fetch_failed(now.at);
            }
            quorum.heard(now.at, epoch, leader.as_ref().map(|(id, _)| *id), leader.map(|(_, address)| address));
            let follows = !quorum.is_leader() && quorum.epoch() == epoch && quorum.leader().is_some_and(|(leader, _)| leader == id);
            if follows && !refused {
                quorum.fetch_answered(now.at, epoch);
            }
            follows
        });
        match outcome {
            _ if follows != Some(true) => {}
            Outcome::Refused => {}
            Outcome::Diverging { epoch, end } => self.cut_to(i, epoch, end),
            Outcome::Records { entries, high } => self.take_records(i, entries, high),
        }
        // Not before: what is asked next depends on what this answer brought.
        self.nodes[i].waiting = None;
        self.drain(i);
    }

    fn cut_to(&mut self, i: usize, epoch: LeaderEpoch, end: Offset) {
        let node = &mut self.nodes[i];
        let (_, mine) = node.disk.end_of(epoch);
        let to = mine.min(place(end));
        assert!(offset(to) >= node.high, "{i} must cut to {to}, but {} is committed", node.high);
        node.disk.cut(to);
        self.seen.truncations += 1;
        self.note(|| format!("{i} cuts to {to}"));
        self.with(i, |quorum, now, disk| {
            quorum.appended(now.at, disk.tail());
            quorum.truncated(now.at, disk.tail().end);
        });
    }

    fn take_records(&mut self, i: usize, entries: Vec<Entry>, high: Option<Offset>) {
        if !entries.is_empty() {
            let text = entries.iter().any(|entry| matches!(entry.value, Value::Voters(_)));
            self.note(|| format!("{i} appends {} records, voters among them: {text}", entries.len()));
            self.append(i, entries);
        }
        let node = &mut self.nodes[i];
        let reached = high.unwrap_or_default().min(offset(node.disk.log.len()));
        node.high = node.high.max(reached);
        self.with(i, |quorum, now, _| quorum.committed(now.at, reached));
    }
}
