//! One log in memory: its segments, its queue of writes, and what is not yet durable.
//!
//! Three watermarks: accepted (the end of the queue) ≥ written (`Body::end`, readable) ≥ synced.

use super::dir::{Dir, Round};
use super::files::Kind;
use super::index::Tail;
use super::side::{self, Chore};
use super::swap::Compacted;
use super::tasks::{Signal, lock};
use super::{Shared, Slip, clean, shape, write};
use crate::fs::Fs;
use klamm_core::id::{LogId, Offset, Uuid};
use klamm_core::log::segments::Segment;
use klamm_core::store::StoreFault;
use klamm_core::wire::batch::Batch;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// One log.
pub(crate) struct Log<F: Fs> {
    pub(crate) id: LogId,
    pub(crate) dir: Arc<Dir<F>>,
    /// `topic-partition`
    pub(crate) folder: String,
    pub(crate) state: Mutex<State<F>>,
    /// Rung when a sync, a chore or a change of shape has ended.
    pub(crate) idle: Signal,
}

pub(crate) struct State<F: Fs> {
    queue: VecDeque<Job>,
    writing: bool,
    /// Small files of this log and segments to unlink, in order.
    pub(crate) chores: VecDeque<Chore>,
    pub(crate) chores_running: bool,
    /// Whether the folder is there.
    pub(crate) exists: bool,
    /// Whether its deletion has given the folder's name free.
    pub(crate) gone: bool,
    /// The log of the same name whose deletion was issued before this one was: its creation waits for that.
    pub(crate) predecessor: Option<Arc<Log<F>>>,
    /// Syncs asked for and not yet answered.
    pub(crate) syncs: usize,
    pub(crate) sync_slips: Vec<Slip>,
    /// Whether a round of group commit is syncing this log.
    pub(crate) in_round: bool,
    /// Sealed segments are being synced beside the rounds.
    pub(crate) is_sealing: bool,
    /// Whether files are being cut or scanned: reads wait.
    pub(crate) reshaping: bool,
    /// A cleaning that is under way.
    pub(crate) cleaning: Option<clean::Running>,
    /// Grows when a cleaned segment took the place of others: a read that saw both knows nothing.
    pub(crate) swaps: u64,
    /// Grows when files were cut, so that a read knows when it saw both sides of a cut.
    pub(crate) cuts: u64,
    /// The log start offset, as far as the store was told.
    pub(crate) start: Offset,
    /// Why writes are refused.
    pub(crate) fault: Option<StoreFault>,
    /// `None` while the log is not there, or damaged.
    pub(crate) body: Option<Body<F>>,
}

/// A log's segments.
pub(crate) struct Body<F: Fs> {
    /// All but the active one.
    pub(crate) sealed: BTreeMap<Offset, Segment>,
    /// Where appends go.
    pub(crate) active: Segment,
    /// The active segment's indexes.
    pub(crate) tail: Tail,
    /// The written end.
    pub(crate) end: Offset,
    /// Files with bytes that no sync has covered yet. Kept open while they are not too many: a reopened file may not tell of an earlier write's failure.
    pub(crate) dirty: BTreeMap<(Offset, Kind), Option<F::File>>,
    /// Whether the directory counts this log among those that keep dirty files open.
    pub(crate) pinned: bool,
    /// Whether names in the folder changed since its last sync.
    pub(crate) names_dirty: bool,
    /// What compaction has done to it; `None` where it has no gaps.
    pub(crate) compacted: Option<Compacted>,
}

/// A write that waits for its turn.
pub(crate) enum Job {
    Create { slip: Slip, topic: Uuid },
    Append(Append),
    Sync { slip: Slip },
    Roll { slip: Slip, at: Offset },
    Truncate { slip: Slip, to: Offset },
    Restart { slip: Slip, at: Offset },
    Discard { slip: Slip, start: Offset, below: Offset },
    Reopen { slip: Slip },
    Delete { slip: Slip },
    Chore(Chore),
    Clean { slip: Slip, order: clean::Order },
    Swap(Arc<clean::Swap>),
}

/// An append that waits for its turn.
pub(crate) struct Append {
    pub(crate) slip: Slip,
    pub(crate) at: Offset,
    pub(crate) batches: Vec<Batch>,
}

impl<F: Fs> Log<F> {
    pub(crate) fn new(id: LogId, dir: Arc<Dir<F>>, folder: String, body: Option<Body<F>>, fault: Option<StoreFault>) -> Self {
        let state = State {
            queue: VecDeque::new(),
            writing: false,
            chores: VecDeque::new(),
            chores_running: false,
            exists: body.is_some() || fault.is_some(),
            gone: false,
            predecessor: None,
            syncs: 0,
            sync_slips: Vec::new(),
            in_round: false,
            is_sealing: false,
            reshaping: false,
            cuts: 0,
            cleaning: None,
            swaps: 0,
            start: Offset::ZERO,
            fault,
            body,
        };
        Self { id, dir, folder, state: Mutex::new(state), idle: Signal::default() }
    }

    /// Waits until nothing but the caller works on the files: no sync, no chore and no cleaning is under way. A cleaning ends early.
    pub(crate) async fn alone(&self) {
        self.end_cleaning();
        self.idle
            .until(|| {
                let state = lock(&self.state);
                state.syncs == 0 && !state.chores_running && state.cleaning.is_none()
            })
            .await;
    }

    /// Has a cleaning end as soon as it can.
    pub(crate) fn end_cleaning(&self) {
        if let Some(running) = &mut lock(&self.state).cleaning {
            running.is_over = true;
        }
        self.idle.ring();
    }

    fn take_next(&self) -> Option<Next> {
        let mut state = lock(&self.state);
        let Some(job) = state.queue.pop_front() else {
            state.writing = false;
            return None;
        };
        let Job::Append(first) = job else { return Some(Next::Job(job)) };
        let mut run = vec![first];
        let mut pieces = run[0].batches.len();
        let mut bytes = run[0].slip.bytes;
        while let Some(Job::Append(next)) = state.queue.front()
            && pieces + next.batches.len() <= write::RUN_BATCHES
            && bytes + next.slip.bytes <= write::RUN_BYTES
        {
            (pieces, bytes) = (pieces + next.batches.len(), bytes + next.slip.bytes);
            let Some(Job::Append(next)) = state.queue.pop_front() else { unreachable!("looked at above") };
            run.push(next);
        }
        Some(Next::Run(run))
    }
}

enum Next {
    Run(Vec<Append>),
    Job(Job),
}

impl<F: Fs> State<F> {
    /// The fault of an operation on a log that has no body.
    pub(crate) fn refusal(&self) -> StoreFault {
        self.fault.clone().unwrap_or(StoreFault::Gone)
    }

    /// Where the segment begins that holds `offset`, or would.
    pub(crate) fn base_of(&self, offset: Offset) -> Offset {
        let Some(body) = &self.body else { return Offset::ZERO };
        if body.active.base <= offset {
            return body.active.base;
        }
        body.sealed.range(..=offset).next_back().map_or(offset, |(base, _)| *base)
    }

    /// Whether the segment that begins at `base` is there.
    pub(crate) fn holds(&self, base: Offset) -> bool {
        self.body.as_ref().is_some_and(|body| body.active.base == base || body.sealed.contains_key(&base))
    }

    /// What a sync that begins now must cover.
    pub(crate) fn begin_sync(&mut self) -> Option<Round<F>> {
        let body = self.body.as_mut()?;
        let active = body.active.base;
        let sealed = body.dirty.keys().any(|(base, _)| *base != active);
        let files = std::mem::take(&mut body.dirty);
        body.pinned = false;
        self.in_round = true;
        Some(Round { end: body.end, active, sealed, files, names: std::mem::take(&mut body.names_dirty) })
    }

    /// What must be synced before the recovery point may move to the active segment; `None` where nothing must.
    pub(crate) fn begin_sealed(&mut self) -> Option<Round<F>> {
        let body = self.body.as_mut()?;
        let active = body.active.base;
        // No file is synced twice at once: where the first sync fails, the second one finds nothing left to write, and succeeds.
        let (files, rest) = std::mem::take(&mut body.dirty).into_iter().partition(|((base, _), _)| *base != active);
        body.dirty = rest;
        let round = Round { end: active, active, sealed: true, files, names: body.names_dirty };
        self.is_sealing = !round.files.is_empty();
        self.is_sealing.then_some(round)
    }
}

/// Puts a write behind the others of its log.
pub(crate) fn enqueue<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, job: Job) {
    let start = {
        let mut state = lock(&log.state);
        state.queue.push_back(job);
        !std::mem::replace(&mut state.writing, true)
    };
    if start {
        let (shared, log) = (Arc::clone(shared), Arc::clone(log));
        let spawner = shared.spawner.clone();
        spawner.spawn(async move { drain(&shared, &log).await });
    }
}

/// Executes the log's writes, one after the other, until none is left.
async fn drain<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>) {
    while let Some(next) = log.take_next() {
        match next {
            Next::Run(run) => write::append(shared, log, run).await,
            Next::Job(job) => execute(shared, log, job).await,
        }
    }
}

async fn execute<F: Fs>(shared: &Arc<Shared<F>>, log: &Arc<Log<F>>, job: Job) {
    match job {
        Job::Append(append) => write::append(shared, log, vec![append]).await,
        Job::Sync { slip } => write::sync(shared, log, slip),
        Job::Roll { slip, at } => write::roll(shared, log, slip, at).await,
        Job::Create { slip, topic } => shape::create(shared, log, slip, topic).await,
        Job::Truncate { slip, to } => shape::truncate(shared, log, slip, to).await,
        Job::Restart { slip, at } => shape::restart(shared, log, slip, at).await,
        Job::Discard { slip, start, below } => shape::discard(shared, log, slip, start, below),
        Job::Reopen { slip } => shape::reopen(shared, log, slip).await,
        Job::Delete { slip } => shape::delete(shared, log, slip).await,
        Job::Chore(chore) => side::enqueue_for_log(shared, log, chore),
        Job::Clean { slip, order } => clean::clean(shared, log, slip, order),
        Job::Swap(swap) => clean::swap_in(shared, log, &swap).await,
    }
}
