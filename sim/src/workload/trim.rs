//! An operator who deletes the oldest records (KIP-107), and says so first, so that nobody takes them for lost.

use super::line::{Line, is_elsewhere};
use super::solo::Task;
use super::{Book, place};
use klamm_core::error::ErrorCode;
use klamm_core::id::{Offset, PartitionIndex};
use klamm_core::rng::{self, Rng};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::api::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use klamm_core::wire::{Request, Response};
use klamm_jepsen::history::Key;
use rand::Rng as _;
use std::time::Duration;

/// Deletes records.
pub struct Trim {
    keys: Vec<Key>,
    every: Duration,
    book: Book,
    rng: Rng,
    next: Instant,
    asked: Option<(Key, i64)>,
}

impl Trim {
    /// Deletes records of `keys` about that often.
    #[must_use]
    pub fn new(keys: Vec<Key>, every: Duration, book: Book, seed: u64) -> Self {
        Self { keys, every, book, rng: rng::stream(seed, "trim actor"), next: Instant::default(), asked: None }
    }
}

impl Task for Trim {
    fn next(&self) -> Option<Instant> {
        Some(self.next).filter(|_| !self.book.borrow().draining)
    }

    fn ask(&mut self, now: Now, line: &mut Line) {
        self.next = now.at.after(self.every.mul_f64(self.rng.random_range(0.5..1.5)));
        let key = self.keys[self.rng.random_range(0..self.keys.len())];
        let Some(reached) = self.book.borrow().reached.get(&key).map(|reached| reached.0) else { return };
        let offset = self.rng.random_range(0..=reached + 1);
        self.book.borrow_mut().gone.ask(key, offset);
        self.asked = Some((key, offset));
        let (name, partition) = place(key);
        let partitions = vec![DeleteRecordsPartition { partition_index: PartitionIndex(partition), offset: Offset(offset) }];
        let topics = vec![DeleteRecordsTopic { name, partitions }];
        line.ask(now, 2, Request::DeleteRecords(DeleteRecordsRequest { topics, timeout_ms: 5_000 }));
    }

    fn hear(&mut self, now: Now, line: &mut Line, response: &Response) {
        let (Some((key, offset)), Response::DeleteRecords(response)) = (self.asked.take(), response) else { return };
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            let begins = answer.low_watermark.0;
            let what = match answer.error_code {
                ErrorCode::NONE if begins < offset => {
                    format!("{key:?}: records below {offset} were deleted, and the log begins at {begins}")
                }
                // All of them were acknowledged; a leader that has just been elected may not know it yet (KIP-207).
                ErrorCode::OFFSET_OUT_OF_RANGE if line.nodes() == 1 => {
                    format!("{key:?}: records below {offset} cannot be deleted, as if they were not there")
                }
                code if is_elsewhere(code) => return line.elsewhere(now),
                _ => continue,
            };
            self.book.borrow_mut().violations.push(what);
        }
    }

    fn lost(&mut self) {
        self.asked = None;
    }
}
