//! What is known of one replica: every batch that its log holds, as it was given to the store, and the log's watermarks.

use klamm_core::id::{LeaderEpoch, Offset};
use klamm_core::log::Log;
use klamm_core::quorum::Replica as Voter;
use klamm_core::wire::batch::Batch;
use klamm_core::wire::records::control::ControlRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

/// One batch of a log.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) next: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) crc: u32,
    /// Itself, where its records are looked at.
    pub(super) batch: Option<Batch>,
}

impl Held {
    /// Two batches that begin at the same offset are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.next, self.epoch, self.crc) == (other.next, other.epoch, other.crc)
    }
}

/// Batches, by their first offset.
pub(super) type Content = BTreeMap<Offset, Held>;

/// Voters of the metadata quorum.
pub(super) type Voters = BTreeSet<Voter>;

/// The voters that a batch of the metadata log names, if it does.
fn voters_of(batch: &Batch) -> Option<Voters> {
    let records = batch.header().is_control().then(|| ControlRecord::all(batch).ok()).flatten()?;
    let named = |record| if let ControlRecord::KRaftVoters(named) = record { Some(named) } else { None };
    let named = records.into_iter().find_map(named)?;
    Some(named.voters.iter().map(|voter| (voter.voter_id, voter.voter_directory_id)).collect())
}

/// One replica's log.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) content: Content,
    /// Who votes from which of them on. One that is not among the batches any more does not count.
    pub(super) voters: BTreeMap<Offset, Voters>,
    pub(super) start: Offset,
    /// What lies below was let go when the log began later. After a crash it may begin earlier again, since a deletion is durable only after its answer.
    pub(super) forgotten: Offset,
    pub(super) end: Offset,
    pub(super) durable: Offset,
    /// What its broker counted as committed in this life.
    pub(super) high: Offset,
    /// The log that it is to have no more: after a crash it may still be there, or a part of it.
    pub(super) former: Option<Box<Self>>,
    /// Up to where it was compared with what is committed.
    pub(super) compared: Offset,
}

impl Replica {
    pub(super) fn append(&mut self, batches: &[Batch], keep: bool) {
        for batch in batches {
            let header = batch.header();
            // What a crash has taken from behind the end is not there any more.
            self.content.split_off(&header.base_offset);
            let held = Held { next: header.next_offset(), epoch: header.leader_epoch, crc: header.crc, batch: keep.then(|| batch.clone()) };
            self.content.insert(header.base_offset, held);
            if keep {
                self.voters.split_off(&header.base_offset);
                self.voters.extend(voters_of(batch).map(|voters| (header.base_offset, voters)));
            }
        }
    }

    /// It is to be cut: from now on it promises no more.
    pub(super) fn cut(&mut self, to: Offset) {
        // A batch that is cut into goes whole.
        let within = self.content.range(..to).next_back().filter(|(_, last)| last.next > to);
        let to = within.map_or(to, |(base, _)| *base);
        self.durable = self.durable.min(to);
        self.compared = self.compared.min(to);
        self.forgotten = self.forgotten.min(to);
    }

    /// It is to begin anew, empty: from now on it promises no more.
    pub(super) fn restart(&mut self, at: Offset) {
        let former = Self { durable: Offset::ZERO, high: Offset::ZERO, compared: Offset::ZERO, former: None, ..std::mem::take(self) };
        *self = Self { start: at, end: at, durable: at, former: Some(Box::new(former)), ..Self::default() };
    }

    /// The log as its broker shows it. `may_lose`: what was durable need not be there.
    ///
    /// # Errors
    /// It holds something else than what was appended to it, or has lost what was durable.
    pub(super) fn see(&mut self, log: &Log, may_lose: bool) -> Result<(), String> {
        let (start, end) = (log.start(), log.end());
        let former = self.former.take().filter(|_| end != self.end);
        let is_partial = former.is_some();
        if let Some(former) = former {
            *self = *former;
        }
        if may_lose || is_partial {
            self.forgotten = self.forgotten.min(end);
        }
        while let Some((base, last)) = self.content.last_key_value().filter(|(_, last)| last.next > end) {
            let base = *base;
            // A start is kept on the disk beside the log: of a log that has lost everything it is left, though it may lie inside of a batch.
            if base < end && start < end {
                return Err(format!("{} ends at {end}, inside of the batch {base}..{}", log.name(), last.next));
            }
            self.content.pop_last();
        }
        while let Some(first) = self.content.first_entry().filter(|first| first.get().next <= start) {
            self.forgotten = self.forgotten.max(first.remove().next);
        }
        let reach = self.content.last_key_value().map_or(self.forgotten.max(start), |(_, last)| last.next);
        if reach != end {
            return Err(format!("{} ends at {end}, and what was appended to it ends at {reach}", log.name()));
        }
        if log.durable() < self.durable && !may_lose {
            return Err(format!("{} is durable up to {}, and was up to {}", log.name(), log.durable(), self.durable));
        }
        (self.start, self.end, self.durable) = (start, end, log.durable());
        self.compared = self.compared.min(end);
        Ok(())
    }

    /// Its broker counts everything below `high` as committed. A follower's copy may end below: what was not durable can still be taken back.
    ///
    /// # Errors
    /// It was more before, in the same life and of the same log.
    pub(super) fn reach(&mut self, high: Offset) -> Result<(), String> {
        if high < self.high.min(self.end) {
            return Err(format!("the high watermark goes back from {} to {high}", self.high));
        }
        self.high = high;
        Ok(())
    }

    /// Who votes by the batches that it holds of `range`, the newest last.
    pub(super) fn voters(&self, range: impl RangeBounds<Offset>) -> impl DoubleEndedIterator<Item = (Offset, &Voters)> {
        self.voters.range(range).map(|(at, voters)| (*at, voters)).filter(|(at, _)| self.content.contains_key(at))
    }

    /// From where on its content is known here.
    pub(super) fn known_from(&self) -> Offset {
        self.start.max(self.forgotten)
    }

    /// Whether it holds this batch.
    pub(super) fn holds(&self, base: Offset, other: &Held) -> bool {
        base < self.known_from() || self.content.get(&base).is_some_and(|held| held.is(other))
    }
}
