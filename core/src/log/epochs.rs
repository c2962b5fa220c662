//! Which leader epoch began where (Kafka's `LeaderEpochFileCache`, KIP-101, KIP-279), and the text of `leader-epoch-checkpoint`.

use crate::id::{LeaderEpoch, Offset};
use crate::mutant;
use crate::wire::batch::{Batch, BatchHeader};
use std::fmt::Write as _;

/// Start offsets by epoch: both strictly rising.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epochs(Vec<(LeaderEpoch, Offset)>);

impl Epochs {
    /// Notes that `epoch` appended at `start`. Nothing happens where the epoch is already known or older.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.latest().is_some_and(|latest| epoch <= latest) {
            return;
        }
        // An epoch that began at or behind this offset has no record left below it: it is as if it never wrote.
        self.0.retain(|(_, at)| *at < start);
        self.0.push((epoch, start));
    }

    /// The newest epoch that has written.
    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|(epoch, _)| *epoch)
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.0
    }

    /// The largest known epoch at or below `asked`, and where it ended (`OffsetForLeaderEpoch`). An epoch before all that is known ended where that
    /// begins: what a follower has of it beyond was never committed, or is deleted here (Kafka's `LeaderEpochFileCache.endOffsetFor`).
    #[must_use]
    pub fn end_of(&self, asked: LeaderEpoch, log_end: Offset) -> (LeaderEpoch, Offset) {
        let next = self.0.partition_point(|(epoch, _)| *epoch <= asked);
        let known = next.checked_sub(1).map_or(asked, |at| self.0[at].0);
        (known, self.0.get(next).map_or(log_end, |(_, start)| *start))
    }

    /// The epoch whose record stands at `offset`; `None` below the first entry.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let next = self.0.partition_point(|(_, start)| *start <= offset);
        Some(self.0.get(next.checked_sub(1)?)?.0)
    }

    /// Whether the batch, read back from this log, was written in the epoch that it names. No checksum covers that, since leaders write it anew.
    #[must_use]
    pub fn explain(&self, header: &BatchHeader) -> bool {
        self.at(header.base_offset).is_none_or(|epoch| epoch == header.leader_epoch) || mutant!(RottenEpochTaken)
    }

    /// How many of the `batches` that a leader in epoch `current` sent may follow, from the first one on: none is of an epoch before the one that stands
    /// in front of it, nor of one that is yet to come (KAFKA-18723).
    #[must_use]
    pub fn followed_by(&self, batches: &[Batch], current: LeaderEpoch) -> usize {
        let mut last = self.latest().unwrap_or(LeaderEpoch(-1));
        let may_follow = |named: &LeaderEpoch| {
            let may = (last..=current).contains(named) || mutant!(RottenEpochTaken);
            last = *named;
            may
        };
        batches.iter().map(|batch| batch.header().leader_epoch).take_while(may_follow).count()
    }

    /// Forgets what began at or behind `end`.
    pub fn cut_end(&mut self, end: Offset) {
        self.0.retain(|(_, start)| *start < end);
    }

    /// Moves the beginning to `start`: the epoch that holds `start` begins there, older ones are forgotten.
    pub fn cut_start(&mut self, start: Offset) {
        let keep = self.0.partition_point(|(_, at)| *at <= start).saturating_sub(1);
        self.0.drain(..keep);
        if let Some(first) = self.0.first_mut() {
            first.1 = first.1.max(start);
        }
    }

    /// The file's text: version, count, one `epoch offset` a line.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("0\n{}\n", self.0.len());
        for (epoch, start) in &self.0 {
            writeln!(text, "{epoch} {start}").expect("a string takes everything");
        }
        text
    }

    /// Reads the file's text; `None` where it is not of that form, or does not rise.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut entries: Vec<(LeaderEpoch, Offset)> = Vec::new();
        for line in lines {
            let (epoch, start) = line.split_once(' ')?;
            let entry = (LeaderEpoch(epoch.parse().ok()?), Offset(start.parse().ok()?));
            if entries.last().is_some_and(|last| last.0 >= entry.0 || last.1 >= entry.1) {
                return None;
            }
            entries.push(entry);
        }
        (entries.len() == count).then_some(Self(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Epochs {
        let mut epochs = Epochs::default();
        for (epoch, start) in [(1, 0), (3, 10), (4, 20)] {
            epochs.assign(LeaderEpoch(epoch), Offset(start));
        }
        epochs
    }

    #[test]
    fn an_epoch_that_wrote_nothing_is_forgotten_by_the_next() {
        let mut epochs = three();
        epochs.assign(LeaderEpoch(5), Offset(20));
        assert_eq!(epochs.entries().last(), Some(&(LeaderEpoch(5), Offset(20))));
        assert_eq!(epochs.entries().len(), 3);
        epochs.assign(LeaderEpoch(2), Offset(99));
        assert_eq!(epochs.latest(), Some(LeaderEpoch(5)), "an old epoch changes nothing");
    }

    #[test]
    fn an_unknown_epoch_is_answered_by_the_largest_below() {
        let (epochs, end) = (three(), Offset(30));
        assert_eq!(epochs.end_of(LeaderEpoch(0), end), (LeaderEpoch(0), Offset(0)));
        assert_eq!(Epochs::default().end_of(LeaderEpoch(3), end), (LeaderEpoch(3), end));
        assert_eq!(epochs.end_of(LeaderEpoch(2), end), (LeaderEpoch(1), Offset(10)));
        assert_eq!(epochs.end_of(LeaderEpoch(3), end), (LeaderEpoch(3), Offset(20)));
        assert_eq!(epochs.end_of(LeaderEpoch(9), end), (LeaderEpoch(4), end));
        assert_eq!(epochs.at(Offset(19)), Some(LeaderEpoch(3)));
    }

    #[test]
    fn cuts_keep_what_still_holds_records() {
        let mut epochs = three();
        epochs.cut_end(Offset(20));
        assert_eq!(epochs.latest(), Some(LeaderEpoch(3)));
        epochs.cut_start(Offset(12));
        assert_eq!(epochs.entries(), [(LeaderEpoch(3), Offset(12))]);
    }

    #[test]
    fn the_checkpoint_reads_back_and_refuses_nonsense() {
        assert_eq!(Epochs::decode(&three().encode()), Some(three()));
        for text in ["", "1\n0\n", "0\n2\n1 0\n", "0\n2\n2 0\n1 5\n", "0\n1\n1 x\n"] {
            assert_eq!(Epochs::decode(text), None, "{text:?}");
        }
    }
}
