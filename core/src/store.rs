//! What the core asks of a store, and what it hears back: the closed vocabulary between decisions and files.
//!
//! The store's contract, tested by one suite against the real disk and the faulty one:
//!
//! - Writes of one log (`Create`, `Append`, `Roll`, `Truncate`, `Restart`, `Discard`, `Delete`) complete in issue order. An append that is done is readable.
//! - Syncs of one log complete in issue order; each covers the appends issued before it. A sync that is done survives power loss.
//!   A sync in flight holds back no append: `accepted ≥ written ≥ synced` are three watermarks.
//! - `Truncate`, `Restart` and `Discard` are barriers for writes. Reads (`Locate`, `Load`, `FindTime`) overtake writes, and see at least what was done when they were issued.
//! - After an append has failed every later append of that log fails with the same fault, until `Reopen`.
//! - A log has gaps where compaction took batches away: `Clean` makes them, and an `Append` whose batches leave some out. Where there are none, a gap is damage.
//! - `Clean` works beside everything else; what cuts, discards or closes a log ends it early. Each of its steps leaves the old segments or the new ones, whole.
//! - A failed sync is never retried: the whole log directory goes offline, and everything outstanding there fails.

use crate::id::Uuid;
use crate::id::{DirId, LeaderEpoch, LogId, Offset};
use crate::log::Recovered;
use crate::log::clean::Terms;
use crate::log::segments::Segment;
use crate::time::Timestamp;
use crate::wire::batch::Batch;
use bytes::Bytes;

/// A slice of a segment file. Plain data: who sends it resolves the file, and closes the connection if the file is gone or too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    /// Whose log.
    pub log: LogId,
    /// The base offset of the segment.
    pub segment: Offset,
    /// Which of its files: cleaning replaces them. Counted since the store was opened.
    pub version: u32,
    /// The first byte in the segment's file.
    pub position: u64,
    /// How many bytes.
    pub len: u32,
}

/// One operation. Names are relative to a log directory and never contain `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StoreOp {
    /// Makes the folder `name` (Kafka's `topic-partition`) with an empty segment at offset 0, durably.
    Create {
        /// Its handle from now on.
        log: LogId,
        /// Where.
        dir: DirId,
        /// `topic-partition`
        name: String,
        /// Goes to `partition.metadata`.
        topic: Uuid,
    },
    /// Durably removes the log: the folder is renamed at once and unlinked later. Regions that were located stay readable for a while.
    Delete {
        /// Which.
        log: LogId,
    },
    /// Writes stamped batches behind the log's end.
    Append {
        /// Which.
        log: LogId,
        /// The base offset of the first batch: must be the log's end.
        at: Offset,
        /// In order, each beginning where the one before ended; later, where the leader's log has a gap.
        batches: Vec<Batch>,
    },
    /// Seals the active segment and begins the next at `at`. The sealed one is synced before the recovery point passes it.
    Roll {
        /// Which.
        log: LogId,
        /// The new segment's base offset: the log's end.
        at: Offset,
    },
    /// Makes all appends issued before durable.
    Sync {
        /// Which.
        log: LogId,
    },
    /// Cuts the log so that it ends at `to`, durably.
    Truncate {
        /// Which.
        log: LogId,
        /// The new end; if it lies inside of a batch, that batch goes whole.
        to: Offset,
    },
    /// Drops everything that the log holds, so that it begins and ends at `at`, durably: no record, no leader epoch, no producer. A log that is
    /// `Damaged` takes it as well, and is whole again; so does one that a full disk has closed.
    Restart {
        /// Which.
        log: LogId,
        /// Its only offset.
        at: Offset,
    },
    /// Moves the log start up, and unlinks the segments that end at or below `below`; never the active one.
    Discard {
        /// Which.
        log: LogId,
        /// The log start offset.
        start: Offset,
        /// At most `start`.
        below: Offset,
    },
    /// Reduces sealed segments to the newest record of each key, and joins small ones. Offsets stay. What is not known to be durable stays as it is.
    Clean {
        /// Which.
        log: LogId,
        /// From here on nothing was ever cleaned: the keys of what stands here tell what may go.
        dirty: Offset,
        /// Exclusive, the base offset of a segment: nothing at or above is looked at.
        until: Offset,
        /// What else decides.
        terms: Box<Terms>,
    },
    /// Closes the log and recovers it from its files, as at start.
    Reopen {
        /// Which.
        log: LogId,
    },
    /// Finds the bytes of whole batches from the one that holds `from` up to `until`, within one segment.
    Locate {
        /// Which.
        log: LogId,
        /// An offset within the log.
        from: Offset,
        /// Exclusive: high watermark, last stable offset or log end.
        until: Offset,
        /// At most so many bytes, but one whole batch in any case.
        max_bytes: u32,
    },
    /// Reads and checks whole batches, from the one that holds `from`.
    Load {
        /// Which.
        log: LogId,
        /// An offset within the log.
        from: Offset,
        /// Exclusive.
        until: Offset,
        /// At most so many bytes, but one whole batch in any case.
        max_bytes: u32,
    },
    /// Finds the first record whose time is at or after `time`.
    FindTime {
        /// Which.
        log: LogId,
        /// The time asked for.
        time: Timestamp,
        /// The log start offset: only records from there on count.
        from: Offset,
        /// Exclusive: only records below count.
        until: Offset,
    },
    /// Replaces a small file, atomically and durably.
    Save {
        /// Where.
        dir: DirId,
        /// Relative path.
        name: String,
        /// The whole new content.
        bytes: Bytes,
    },
    /// Removes a small file, if it is there.
    Remove {
        /// Where.
        dir: DirId,
        /// Relative path.
        name: String,
    },
    /// Reads a part of a small file.
    Read {
        /// Where.
        dir: DirId,
        /// Relative path.
        name: String,
        /// The first byte.
        from: u64,
        /// At most so many bytes.
        max_bytes: u32,
    },
    /// How large the directory's file system is, and how many bytes of it are free.
    Space {
        /// Which.
        dir: DirId,
    },
}

/// How an operation ended well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// `Create`, `Delete`, `Roll`, `Discard`, `Save`, `Remove`: nothing more to say.
    Done,
    /// `Append`: written up to here, readable.
    Appended {
        /// The written end.
        end: Offset,
    },
    /// `Sync`: survives power loss up to here.
    Synced {
        /// The synced end.
        end: Offset,
    },
    /// `Truncate`, `Restart`, `Reopen`: the log as it is now.
    Reopened(Box<Recovered>),
    /// `Clean`
    Cleaned(Box<Cleaned>),
    /// `Locate`: `None` where nothing lies between `from` and `until`.
    Located(Option<Located>),
    /// `Load`: batches in order.
    Loaded(Vec<Batch>),
    /// `FindTime`: `None` where no record is that young.
    Found(Option<FoundTime>),
    /// `Read`
    Read {
        /// How long the file is.
        size: u64,
        /// Its bytes; none at or behind its end.
        bytes: Bytes,
    },
    /// `Space`
    Space {
        /// All its bytes.
        total: u64,
        /// Free bytes.
        free: u64,
    },
}

/// Whole batches of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Located {
    /// Where they are.
    pub region: Region,
    /// The base offset of the first batch: at or below what was asked for.
    pub first: Offset,
    /// The offset behind the last batch.
    pub next: Offset,
}

/// A log that was cleaned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cleaned {
    /// Below here no key has a newer record below here: what is dirty begins here now. Where it was, if the cleaning ended early.
    pub dirty: Offset,
    /// Exclusive: the base offset of the first segment that is as it was.
    pub until: Offset,
    /// The segments below that.
    pub segments: Vec<Segment>,
    /// Whether it has gaps now.
    pub has_gaps: bool,
    /// Bytes that were read and written.
    pub bytes: u64,
    /// Why it ended early; what was done stays done.
    pub fault: Option<StoreFault>,
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FoundTime {
    /// Its offset.
    pub offset: Offset,
    /// Its time.
    pub time: Timestamp,
    /// The leader epoch of its batch.
    pub epoch: LeaderEpoch,
}

/// How an operation ended badly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StoreFault {
    /// The log directory is offline: this operation, everything outstanding there, and everything to come there fails.
    Offline {
        /// Which directory.
        dir: DirId,
        /// What happened, for the operator.
        why: String,
    },
    /// A bad batch below the recovery point: this log is offline, and nothing of it was cut.
    Damaged {
        /// Where the damage begins.
        at: Offset,
        /// What is wrong, for the operator.
        why: String,
    },
    /// The disk is full: what was half written was cut back. Appends and `Truncate` of this log fail until `Reopen`; one that could not be made is unknown.
    Full,
    /// An append of this log failed before; it wants `Reopen`.
    Closed,
    /// No such log (deleted meanwhile), an offset outside of it, or no such small file.
    Gone,
}
