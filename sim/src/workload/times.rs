//! Looks offsets up by time, and compares the answers with the times of all records that readers have seen.
//!
//! A leader that does not know yet that it is deposed knows nothing of what is committed since, and answers in good faith. So a node is first asked
//! where the log ends, and then for the time, in the epoch in which it told the end: what lies below was readable there.

use super::line::{Line, is_elsewhere};
use super::solo::Task;
use super::{Book, place};
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, LeaderEpoch, PartitionIndex};
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now, Timestamp};
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic};
use klamm_core::wire::{Request, Response};
use klamm_jepsen::history::Key;
use rand::Rng as _;
use std::time::Duration;

/// Of the largest time, as `ListOffsets` names it.
const YOUNGEST: i64 = -3;
/// The end, as `ListOffsets` names it.
const LATEST: i64 = -1;

/// What was asked, and which records were known then.
#[derive(Clone, Copy, Debug)]
struct Asked {
    key: Key,
    time: i64,
    /// The leader epoch in which the end was told; `None` while that is asked for.
    epoch: Option<LeaderEpoch>,
    /// Offsets below were readable before the question was sent, at whoever answers.
    known: i64,
}

/// Asks for offsets by time.
pub struct Times {
    keys: Vec<Key>,
    think: Duration,
    book: Book,
    rng: Rng,
    next: Instant,
    asked: Option<Asked>,
}

impl Times {
    /// Asks about `keys`, and pauses up to `think` between.
    #[must_use]
    pub fn new(keys: Vec<Key>, think: Duration, book: Book, seed: u64) -> Self {
        Self { keys, think, book, rng: rng::stream(seed, "times actor"), next: Instant::default(), asked: None }
    }

    /// A time near that of some record; newer ones are likelier, since what a crash cuts is new.
    fn choose(&mut self, key: Key) -> Option<(i64, i64)> {
        let book = self.book.borrow();
        let times = book.times.get(&key)?;
        let (last, _) = times.last_key_value()?;
        if self.rng.random_ratio(1, 8) {
            return Some((last + 1, YOUNGEST));
        }
        let back = if self.rng.random_bool(0.5) { self.rng.random_range(0..40) } else { self.rng.random_range(0..=*last) };
        let (_, time) = times.range((last - back).max(0)..).next()?;
        Some((last + 1, (time + self.rng.random_range(-1..=1)).max(0)))
    }

    /// Asks for the end, or, where it is known, for the time.
    fn look_up(&mut self, now: Now, line: &mut Line, asked: Asked) {
        self.asked = Some(asked);
        let (name, partition) = place(asked.key);
        let wanted = ListOffsetsPartition {
            partition_index: PartitionIndex(partition),
            current_leader_epoch: asked.epoch.unwrap_or(LeaderEpoch(-1)),
            timestamp: Timestamp(if asked.epoch.is_some() { asked.time } else { LATEST }),
            ..Default::default()
        };
        let topics = vec![ListOffsetsTopic { name, partitions: vec![wanted], ..Default::default() }];
        let request = ListOffsetsRequest { replica_id: BrokerId(-1), topics, ..Default::default() };
        line.ask(now, 7, Request::ListOffsets(request));
    }

    fn answered(&self, asked: Asked, answer: &ListOffsetsPartitionResponse) -> Result<(), String> {
        let Asked { key, time, known, .. } = asked;
        if answer.error_code != ErrorCode::NONE {
            return Ok(());
        }
        let book = self.book.borrow();
        let Some(times) = book.times.get(&key) else { return Ok(()) };
        let (found, at) = (answer.offset.0, answer.timestamp.0);
        if found >= 0
            && let Some(seen) = times.get(&found).filter(|seen| **seen != at)
        {
            return Err(format!("{key:?}: a look-up by time says that offset {found} is of {at}, and readers saw {seen}"));
        }
        if time == YOUNGEST {
            // None may be told while the youngest record is not readable yet.
            let younger = times.range(..known).rfind(|(offset, seen)| **seen > at && !book.may_be_gone(key, **offset));
            return match younger {
                Some((offset, seen)) if found >= 0 => {
                    Err(format!("{key:?}: offset {found} of {at} is told to be the youngest, and {offset} is of {seen}"))
                }
                Some(_) | None => Ok(()),
            };
        }
        if found >= 0 && at < time {
            return Err(format!("{key:?}: asked for the first record of {time} or later, offset {found} of {at} was told"));
        }
        let below = if found >= 0 { found } else { known };
        let earlier = times.range(..below).find(|(offset, seen)| **seen >= time && !book.may_be_gone(key, **offset));
        match earlier {
            // A look-up passes over batches by the times in their headers: where a bit of those rots, no checksum is looked at until the scrub comes by.
            Some(_) if book.rots => Ok(()),
            Some((offset, seen)) => {
                Err(format!("{key:?}: asked for the first record of {time} or later, {found} was told, and offset {offset} is of {seen}"))
            }
            None => Ok(()),
        }
    }
}

impl Task for Times {
    fn next(&self) -> Option<Instant> {
        Some(self.next)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(self.think.mul_f64(self.rng.random_range(0.1..1.0)));
        let key = self.keys[self.rng.random_range(0..self.keys.len())];
        let Some((known, time)) = self.choose(key) else { return };
        // Where there is one node only, it has led ever since.
        let known = if line.nodes() == 1 { known } else { 0 };
        self.look_up(now, line, Asked { key, time, epoch: None, known });
    }

    fn hear(&mut self, now: Now, line: &mut Line, response: &Response) {
        self.book.borrow_mut().gone.at(now.wall);
        let (Some(asked), Response::ListOffsets(response)) = (self.asked.take(), response) else { return };
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if is_elsewhere(answer.error_code) {
                return line.elsewhere(now);
            }
            if asked.epoch.is_none() {
                if answer.error_code == ErrorCode::NONE {
                    let known = asked.known.max(answer.offset.0);
                    self.look_up(now, line, Asked { epoch: Some(answer.leader_epoch), known, ..asked });
                }
                return;
            }
            if let Err(what) = self.answered(asked, answer) {
                self.book.borrow_mut().violations.push(what);
            }
        }
    }

    fn lost(&mut self) {
        self.asked = None;
    }
}
