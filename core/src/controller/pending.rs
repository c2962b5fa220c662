//! The metadata log as this node holds it: what is committed, what is in the log and not committed, and, on the active controller, what is planned.
//!
//! ```text
//!   committed image ──► records in the log ──► planned image
//!   what brokers act on                        what the active controller makes plans from
//! ```
//!
//! Knows neither disks nor the quorum: whoever owns the log says what was appended, cut and committed.

use super::image::{Change, Contradiction, Image};
use super::record::{self, Record};
use crate::id::Offset;
use crate::mutant;
use crate::time::Timestamp;
use crate::wire::batch::{Batch, BatchHeader};
use std::collections::VecDeque;

/// One thing that waits to be committed; in order, and never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// A batch that is in the log and not committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Uncommitted {
    /// Where it begins.
    base: Offset,
    /// Committed when the log is committed up to here.
    end: Offset,
    size: Size,
    records: Vec<Record>,
}

/// A batch's bytes in the log, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Size {
    bytes: u32,
    time: Timestamp,
}

impl Size {
    fn of(header: &BatchHeader) -> Self {
        Self { bytes: header.bytes, time: header.max_timestamp }
    }
}

/// What only the active controller has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Active {
    planned: Image,
}

/// The metadata log's state on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Controller {
    committed: Image,
    /// The log is committed and replayed up to here.
    applied: Offset,
    /// The time of the last batch that was.
    applied_time: Timestamp,
    /// Whether that was a control batch.
    applied_control: bool,
    /// What a snapshot changed, of which nobody was told yet.
    untold: Vec<Change>,
    /// Where the log ends.
    end: Offset,
    uncommitted: VecDeque<Uncommitted>,
    active: Option<Active>,
    /// Who waits for the log to be committed up to where; what waited when this node ceased to lead goes on to wait.
    waiting: VecDeque<(CommitId, Offset)>,
    next: u64,
}

/// What a move of the high watermark brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// What the records changed, in order.
    pub changes: Vec<Change>,
    /// Proposals that are committed by it.
    pub done: Vec<CommitId>,
    /// How many bytes of the log that was.
    pub bytes: u64,
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
        self.active.as_ref().map_or(&self.committed, |active| &active.planned)
    }

    /// Where the next record will stand.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Up to where the image holds the log.
    #[must_use]
    pub fn applied(&self) -> Offset {
        self.applied
    }

    /// The time of the last batch below.
    #[must_use]
    pub fn applied_time(&self) -> Timestamp {
        self.applied_time
    }

    /// What a snapshot holds, and the end of the log below.
    #[must_use]
    pub fn snapshot(&self) -> (&Image, Offset) {
        match &self.active {
            Some(active) if mutant!(SnapshotAboveHigh) => (&active.planned, self.end),
            _ => (&self.committed, self.applied),
        }
    }

    /// Whether plans may be made here.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Takes in a batch that was appended to the log by a leader.
    ///
    /// # Errors
    /// What is wrong with it, for the operator: nothing can be decided with such a log.
    pub fn take_in(&mut self, batch: &Batch) -> Result<(), String> {
        let (base, end) = (batch.header().base_offset, batch.header().next_offset());
        assert!(base >= self.end, "a batch at {base} of a metadata log that ends at {}", self.end);
        let records = record::read(batch)?.into_iter().map(|(_, record)| record).collect();
        self.uncommitted.push_back(Uncommitted { base, end, size: Size::of(batch.header()), records });
        self.end = end;
        Ok(())
    }

    /// A control batch is in the log: it holds nothing for the image.
    pub fn pass(&mut self, header: &BatchHeader) {
        let (base, end) = (header.base_offset, header.next_offset());
        assert!(base >= self.end, "a control batch at {base} of a metadata log that ends at {}", self.end);
        self.uncommitted.push_back(Uncommitted { base, end, size: Size::of(header), records: Vec::new() });
        self.end = end;
    }

    /// The log was cut: nothing from `to` on counts. Returns the proposals that are lost for good: whoever leads does not have them.
    pub fn cut(&mut self, to: Offset) -> Vec<CommitId> {
        assert!(to >= self.applied, "committed metadata is cut at {to}, below {}", self.applied);
        assert!(!self.is_active(), "only the log of a follower is cut");
        while self.uncommitted.back().is_some_and(|last| last.end > to) {
            self.uncommitted.pop_back();
        }
        self.end = to;
        let lost = self.waiting.partition_point(|(_, end)| *end <= to);
        self.waiting.split_off(lost).into_iter().map(|(id, _)| id).collect()
    }

    /// A snapshot stands for the log below `end`, whose last batch has that time: the log begins there, without a record. What it changes is told
    /// with the next commit. Returns the proposals whose fate is unknown: a snapshot does not tell what it was made from.
    pub fn restore(&mut self, image: Image, end: Offset, time: Timestamp) -> Vec<CommitId> {
        assert!(end >= self.applied, "committed metadata goes back from {} to a snapshot at {end}", self.applied);
        assert!(!self.is_active(), "an active controller has all that is committed");
        self.untold.extend(self.committed.changes_to(&image));
        self.uncommitted.clear();
        (self.committed, self.applied, self.end) = (image, end, end);
        (self.applied_time, self.applied_control) = (time, false);
        std::mem::take(&mut self.waiting).into_iter().map(|(id, _)| id).collect()
    }

    /// This node leads the quorum, and everything that was in the log when it began is committed: plans may be made.
    pub fn activate(&mut self) {
        assert!(self.uncommitted.is_empty(), "the log is committed up to {} only", self.applied);
        self.active = Some(Active { planned: self.committed.clone() });
    }

    /// This node does not lead any more. The next leader has what was proposed, or cuts it: then its fate is told.
    pub fn deactivate(&mut self) {
        let Some(active) = self.active.take() else { return };
        if mutant!(RenounceNoSnapshot) && self.applied_control {
            self.committed = active.planned;
        }
    }

    /// Takes a plan's records into the planned image. Returns what to wait for, and the batch to append at `end`.
    ///
    /// Without records there is nothing to append, but the answer still waits for what it was made from.
    ///
    /// # Panics
    /// If the records contradict the planned image: a plan is made from it, so that is our own bug. If this is not the active controller.
    pub fn propose(&mut self, records: Vec<Record>, at: Timestamp) -> (CommitId, Option<Batch>) {
        let active = self.active.as_mut().expect("only the active controller proposes");
        for record in &records {
            if let Err(Contradiction(why)) = active.planned.replay(record) {
                panic!("a plan contradicts the image it was made from: {why}");
            }
        }
        let batch = (!records.is_empty()).then(|| record::batch(&records, at));
        let base = self.end;
        self.end = base.plus(i64::try_from(records.len()).expect("few records"));
        let id = CommitId(self.next);
        self.next += 1;
        self.waiting.push_back((id, self.end));
        if let Some(batch) = &batch {
            self.uncommitted.push_back(Uncommitted { base, end: self.end, size: Size::of(batch.header()), records });
        }
        (id, batch)
    }

    /// The log is committed up to `high`: replays what that covers.
    ///
    /// # Errors
    /// A record that does not fit what came before it: the log is not one that a controller wrote.
    pub fn commit(&mut self, high: Offset) -> Result<Committed, String> {
        let mut committed = Committed { changes: std::mem::take(&mut self.untold), ..Committed::default() };
        while self.uncommitted.front().is_some_and(|first| first.end <= high) {
            let first = self.uncommitted.pop_front().expect("looked at above");
            for (at, record) in (first.base.0..).zip(&first.records) {
                let change = self.committed.replay(record).map_err(|Contradiction(why)| format!("at offset {at}: {why}"))?;
                committed.changes.push(change);
            }
            committed.bytes += u64::from(first.size.bytes);
            (self.applied, self.applied_time, self.applied_control) = (first.end, first.size.time, first.records.is_empty());
        }
        while self.waiting.front().is_some_and(|(_, end)| *end <= self.applied) {
            committed.done.extend(self.waiting.pop_front().map(|(id, _)| id));
        }
        Ok(committed)
    }

    /// What must hold after every step.
    pub fn check(&self) {
        let ends = self.uncommitted.iter().map(|batch| batch.end);
        assert!(ends.clone().zip(ends.skip(1)).all(|(a, b)| a < b), "batches of the metadata log out of order");
        assert!(self.applied <= self.end, "metadata replayed up to {}, past the end {}", self.applied, self.end);
        let waits = || self.waiting.iter().map(|(_, end)| *end);
        assert!(
            waits().is_sorted() && waits().all(|end| end <= self.end),
            "a proposal waits past the end {} of the metadata log",
            self.end
        );
        if let Some(active) = &self.active
            && self.uncommitted.is_empty()
        {
            assert_eq!(self.committed.counts(), active.planned.counts(), "everything is committed, and the images differ");
        }
    }

    /// The same of every topic, partition and setting: for tests, since it reads all metadata.
    pub fn check_all(&self) {
        self.check();
        if let Some(active) = &self.active
            && self.uncommitted.is_empty()
        {
            assert!(self.committed == active.planned, "everything is committed, and the images differ");
        }
    }
}
