//! One assigned partition of a consumer: where it reads, what is fetched and not yet handed on, and how far its application is.
//!
//! Never asks a broker for anything.

use std::collections::{BTreeSet, VecDeque};

use super::{Isolation, Target};
use crate::id::{BrokerId, Offset, ProducerId};
use crate::probe;
use crate::time::Instant;
use crate::wire::batch::Batch;
use crate::wire::record::{BadRecords, Record, Records};

/// Where to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where the group left off: its coordinator is asked.
    Committed { asked: bool, from: Instant },
    /// At what the leader must look up.
    Search { target: Target, asked: bool, from: Instant, failures: u32 },
    /// Behind what is fetched.
    At { next: Offset },
    /// Nobody knows, until the application seeks.
    Nowhere,
}

#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) place: Place,
    pub(super) paused: bool,
    /// Not to be fetched before, after an error.
    pub(super) resting: Instant,
    pub(super) failures: u32,
    /// Everything before this was handed to the application.
    pub(super) delivered: Option<Offset>,
    /// Everything before this the application is done with.
    pub(super) processed: Option<Offset>,
    /// What was last committed.
    pub(super) committed: Option<Offset>,
    /// The replica that the leader sent it to, and until when it reads there (KIP-392).
    pub(super) preferred: Option<(BrokerId, Instant)>,
    /// The end that consumers see, as last heard.
    pub(super) high: Option<Offset>,
    buffer: VecDeque<Batch>,
    /// Bytes in `buffer`.
    bytes: usize,
    reading: Option<(Batch, Records)>,
    /// Aborted transactions that begin further on, in order.
    aborted: VecDeque<(Offset, ProducerId)>,
    /// Producers whose open transaction will turn out aborted.
    doomed: BTreeSet<ProducerId>,
}

impl Part {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            paused: false,
            resting: Instant::default(),
            failures: 0,
            delivered: None,
            processed: None,
            committed: None,
            preferred: None,
            high: None,
            buffer: VecDeque::new(),
            bytes: 0,
            reading: None,
            aborted: VecDeque::new(),
            doomed: BTreeSet::new(),
        }
    }

    /// Reads from `place` on; what was fetched is dropped.
    pub(super) fn go(&mut self, place: Place) {
        self.buffer.clear();
        self.bytes = 0;
        self.reading = None;
        self.aborted.clear();
        self.doomed.clear();
        self.place = place;
        self.preferred = None;
        if let Place::At { next } = place {
            (self.delivered, self.processed) = (Some(next), Some(next));
        }
    }

    /// From where to fetch, if less than `enough` bytes wait.
    pub(super) fn wants(&self, now: Instant, enough: usize) -> Option<Offset> {
        let Place::At { next } = self.place else { return None };
        (!self.paused && self.resting <= now && self.bytes < enough).then_some(next)
    }

    /// Takes in what was fetched from `from` on. Ignored if that is not where it reads any more.
    pub(super) fn fetched(&mut self, from: Offset, batches: Vec<Batch>, aborted: Vec<(Offset, ProducerId)>) {
        if self.place != (Place::At { next: from }) {
            return;
        }
        self.failures = 0;
        self.aborted.extend(aborted);
        for batch in batches {
            // A leader may send the whole batch that holds the offset, but never one before it.
            if batch.header().next_offset() <= from {
                continue;
            }
            self.place = Place::At { next: batch.header().next_offset() };
            self.bytes += batch.header().bytes as usize;
            self.buffer.push_back(batch);
        }
    }

    pub(super) fn has_records(&self) -> bool {
        !self.paused && (self.reading.is_some() || !self.buffer.is_empty())
    }

    /// Hands on up to `max` records. Markers, and with read-committed records of aborted transactions, are passed over.
    pub(super) fn read(&mut self, max: usize, limit: usize, isolation: Isolation) -> Result<Vec<Record>, BadRecords> {
        let mut out = Vec::new();
        while out.len() < max {
            let Some((batch, records)) = &mut self.reading else {
                if !self.open_next(limit, isolation)? {
                    break;
                }
                continue;
            };
            let Some(record) = records.next() else {
                let end = batch.header().next_offset();
                self.reading = None;
                self.delivered = self.delivered.max(Some(end));
                continue;
            };
            let record = record?;
            if Some(record.offset) >= self.delivered {
                self.delivered = Some(record.offset.plus(1));
                out.push(record);
            }
        }
        // The position moves over what holds no records for us, so that it can be committed.
        if let Some((batch, records)) = &self.reading
            && records.is_done()
        {
            self.delivered = self.delivered.max(Some(batch.header().next_offset()));
            self.reading = None;
        }
        Ok(out)
    }

    /// Opens the next batch that holds records to be shown. Answers whether there was one, or one was passed over.
    fn open_next(&mut self, limit: usize, isolation: Isolation) -> Result<bool, BadRecords> {
        let Some(batch) = self.buffer.pop_front() else { return Ok(false) };
        let header = *batch.header();
        self.bytes -= header.bytes as usize;
        if isolation == Isolation::ReadCommitted && header.is_transactional() {
            while let Some((_, producer)) = self.aborted.front().filter(|(first, _)| *first <= header.last_offset()) {
                self.doomed.insert(*producer);
                self.aborted.pop_front();
            }
        }
        let doomed = header.is_transactional() && self.doomed.contains(&header.producer_id);
        if header.is_control() {
            // An abort marker ends the transaction; after a commit marker nothing of that producer was doomed.
            self.doomed.remove(&header.producer_id);
        }
        if header.is_control() || doomed {
            probe!("consumer: a batch is not shown");
            self.delivered = self.delivered.max(Some(header.next_offset()));
            return Ok(true);
        }
        self.reading = Some((batch.clone(), Records::of(&batch, limit)?));
        Ok(true)
    }
}
