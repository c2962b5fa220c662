//! What is planned, and what of it is committed: two images over one log.
//!
//! ```text
//!   committed image ──► records in flight ──► planned image
//!   what brokers act on                       what plans are made from
//! ```
//!
//! Knows neither disks nor clients: whoever owns the log appends the batches, and says how far it is committed.

use super::image::{Change, Contradiction, Image};
use super::record::{self, Record};
use crate::id::Offset;
use crate::time::Timestamp;
use crate::wire::batch::Batch;
use std::collections::VecDeque;

/// One thing that waits to be committed; in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// Records that are in the log and not committed, or an answer that waits for those before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    id: CommitId,
    /// Committed when the log is committed up to here.
    end: Offset,
    records: Vec<Record>,
}

/// The state of a metadata log's leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Controller {
    committed: Image,
    planned: Image,
    /// Where the next record will stand.
    end: Offset,
    in_flight: VecDeque<InFlight>,
    next: u64,
    /// Whether plans are made here: while the log is only read, one image grows.
    is_active: bool,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which.
    pub id: CommitId,
    /// What its records changed, in order.
    pub changes: Vec<Change>,
}

impl Controller {
    /// The metadata that counts.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.committed
    }

    /// The metadata with what is planned: plans are made from it, so that two of them never clash.
    #[must_use]
    pub fn planned(&self) -> &Image {
        &self.planned
    }

    /// Where the next record will stand.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Whether everything planned is committed.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Takes in a batch of the log at the start, before anything is planned.
    ///
    /// # Errors
    /// What is wrong with the log, for the operator. The broker must not serve.
    pub fn load(&mut self, batch: &Batch) -> Result<Vec<Change>, String> {
        assert!(self.is_quiet(), "the log is loaded before anything is planned");
        let mut changes = Vec::new();
        for (offset, record) in record::read(batch)? {
            let change = self.committed.replay(&record).map_err(|Contradiction(why)| format!("at offset {offset}: {why}"))?;
            changes.push(change);
        }
        self.end = batch.header().next_offset();
        Ok(changes)
    }

    /// The log is loaded: plans may be made.
    pub fn loaded(&mut self) {
        self.planned = self.committed.clone();
        self.is_active = true;
    }

    /// Another controller is the active one from here on. What was planned and not committed may be in the log or not: whoever waits
    /// for it must be told that it failed. The log is read again from what is committed on.
    pub fn resign(&mut self) -> Vec<CommitId> {
        self.is_active = false;
        self.planned = Image::default();
        self.in_flight.drain(..).map(|waiting| waiting.id).collect()
    }

    /// The log has a batch up to `end` that is no plan's: the quorum's own.
    pub fn skip(&mut self, end: Offset) {
        assert!(end >= self.end, "the log does not get shorter under an active controller");
        self.end = end;
    }

    /// Takes a plan's records into the planned image. Returns what to wait for, and the batch to append at `end`.
    ///
    /// Without records there is nothing to append, but the answer still waits for what it was made from.
    ///
    /// # Panics
    /// If the records contradict the planned image: a plan is made from it, so that is our own bug.
    pub fn propose(&mut self, records: Vec<Record>, at: Timestamp) -> (CommitId, Option<Batch>) {
        assert!(self.is_active, "only the active controller plans");
        for record in &records {
            if let Err(Contradiction(why)) = self.planned.replay(record) {
                panic!("a plan contradicts the image it was made from: {why}");
            }
        }
        let batch = (!records.is_empty()).then(|| record::batch(&records, at));
        self.end = self.end.plus(i64::try_from(records.len()).expect("few records"));
        let id = CommitId(self.next);
        self.next += 1;
        self.in_flight.push_back(InFlight { id, end: self.end, records });
        (id, batch)
    }

    /// The log is committed up to `offset`: what became of the proposals up to there, in order.
    pub fn commit(&mut self, offset: Offset) -> Vec<Committed> {
        let mut done = Vec::new();
        while self.in_flight.front().is_some_and(|first| first.end <= offset) {
            let first = self.in_flight.pop_front().expect("looked at above");
            let replay = |record| self.committed.replay(record).expect("the planned image took it in the same order");
            done.push(Committed { id: first.id, changes: first.records.iter().map(replay).collect() });
        }
        done
    }

    /// What must hold after every step.
    pub fn check(&self) {
        assert!(self.in_flight.iter().zip(self.in_flight.iter().skip(1)).all(|(a, b)| a.id < b.id && a.end <= b.end));
        if self.is_quiet() && self.is_active {
            assert_eq!(self.committed.counts(), self.planned.counts(), "everything is committed, and the images differ");
        }
    }

    /// The same of every topic, partition and setting: for tests, since it reads all metadata.
    pub fn check_all(&self) {
        self.check();
        self.committed.check_all();
        self.planned.check_all();
        if self.is_quiet() && self.is_active {
            assert!(self.committed == self.planned, "everything is committed, and the images differ");
        }
    }
}
