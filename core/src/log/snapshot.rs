//! Snapshots of the metadata log (KIP-630): how they are named, and what a leader says to a replica whose log they have to stand in for.
//!
//! Source: Kafka's `Snapshots` and `ReplicatedLog.validateOffsetAndEpoch`.

use super::epochs::Epochs;
use crate::config::quorum::METADATA_FOLDER;
use crate::id::{LeaderEpoch, Offset};

/// How the files of snapshots end.
pub const CHECKPOINT: &str = ".checkpoint";

/// A snapshot, by what it stands for: the log below `end`, whose last record is of `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The offset behind the last record that it holds.
    pub end: Offset,
    /// That record's epoch.
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// The path of its file. Names are padded, so that their order is that of the snapshots.
    #[must_use]
    pub fn file(self) -> String {
        format!("{METADATA_FOLDER}/{:020}-{:010}{CHECKPOINT}", self.end.0, self.epoch.0)
    }

    /// The snapshot whose file has that path.
    #[must_use]
    pub fn of_file(path: &str) -> Option<Self> {
        let name = path.strip_prefix(METADATA_FOLDER)?.strip_prefix('/')?;
        let (end, epoch) = name.strip_suffix(CHECKPOINT)?.split_once('-')?;
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|c| c.is_ascii_digit());
        let named = digits(end, 20) && digits(epoch, 10);
        named.then_some(Self { end: Offset(end.parse().ok()?), epoch: LeaderEpoch(epoch.parse().ok()?) })
    }
}

/// Where a replica stands that has everything below an offset, the last record of some epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Its log is a part of the leader's.
    Sound,
    /// The leader's log ends that epoch, or the one before it, at `end`: the replica parts from it there, or before.
    Diverging {
        /// The largest epoch of the leader's that is not above the replica's.
        epoch: LeaderEpoch,
        /// Where it ends.
        end: Offset,
    },
    /// The log alone does not tell, or no longer has what follows: it begins with this snapshot.
    Behind(SnapshotId),
}

/// What a leader's log knows of a replica's. `kept` are the leader's snapshots, in order. An epoch of −1 is that of a log without records.
pub fn standing(
    (start, end): (Offset, Offset),
    epochs: &Epochs,
    kept: &mut dyn DoubleEndedIterator<Item = SnapshotId>,
    (offset, epoch): (Offset, LeaderEpoch),
) -> Standing {
    let earliest = kept.next();
    let latest = kept.next_back().or(earliest);
    if let (Some(earliest), Some(latest)) = (earliest, latest) {
        let is_between = offset == start && start > Offset::ZERO && epoch != earliest.epoch;
        // A snapshot is shorter than the log that it stands for: whoever has nothing begins with it in any case.
        if offset == Offset::ZERO || offset < start || is_between || epoch < earliest.epoch {
            return Standing::Behind(latest);
        }
    }
    if offset == Offset::ZERO && start == Offset::ZERO {
        return Standing::Sound;
    }
    // An epoch that only the snapshot below the log knows ends where the log's first one begins.
    let (known, at) = epochs.end_of(epoch, end);
    if known == epoch && at >= offset { Standing::Sound } else { Standing::Diverging { epoch: known, end: at } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(end: i64, epoch: i32) -> SnapshotId {
        SnapshotId { end: Offset(end), epoch: LeaderEpoch(epoch) }
    }

    fn told(log: (i64, i64), entries: &[(i32, i64)], kept: &[SnapshotId], (offset, epoch): (i64, i32)) -> Standing {
        let mut epochs = Epochs::default();
        entries.iter().for_each(|(epoch, start)| epochs.assign(LeaderEpoch(*epoch), Offset(*start)));
        standing((Offset(log.0), Offset(log.1)), &epochs, &mut kept.iter().copied(), (Offset(offset), LeaderEpoch(epoch)))
    }

    fn diverging(epoch: i32, end: i64) -> Standing {
        Standing::Diverging { epoch: LeaderEpoch(epoch), end: Offset(end) }
    }

    #[test]
    fn names_are_kafkas_and_read_back() {
        assert_eq!(id(7, 3).file(), "__cluster_metadata-0/00000000000000000007-0000000003.checkpoint");
        assert_eq!(SnapshotId::of_file(&id(7, 3).file()), Some(id(7, 3)));
        for other in ["__cluster_metadata-0/quorum-state", "__cluster_metadata-0/7-3.checkpoint", "bootstrap.checkpoint", "t-0/"] {
            assert_eq!(SnapshotId::of_file(other), None, "{other}");
        }
    }

    #[test]
    fn a_whole_log_answers_for_itself() {
        let entries = [(1, 0), (3, 10)];
        assert_eq!(told((0, 20), &entries, &[], (0, -1)), Standing::Sound);
        assert_eq!(told((0, 20), &entries, &[], (20, 3)), Standing::Sound);
        assert_eq!(told((0, 20), &entries, &[], (12, 2)), diverging(1, 10));
        assert_eq!(told((0, 20), &entries, &[], (21, 3)), diverging(3, 20));
        assert_eq!(told((0, 0), &[], &[], (0, -1)), Standing::Sound);
    }

    #[test]
    fn who_lacks_what_was_deleted_gets_the_latest_snapshot() {
        let (log, entries, kept) = ((100, 200), [(5, 100), (7, 150)], [id(100, 5), id(180, 7)]);
        let latest = Standing::Behind(id(180, 7));
        for behind in [(0, -1), (50, 4), (99, 5), (100, 4), (120, 4)] {
            assert_eq!(told(log, &entries, &kept, behind), latest, "{behind:?}");
        }
        for sound in [(100, 5), (150, 5), (180, 7), (200, 7)] {
            assert_eq!(told(log, &entries, &kept, sound), Standing::Sound, "{sound:?}");
        }
        assert_eq!(told(log, &entries, &kept, (160, 5)), diverging(5, 150));
    }

    #[test]
    fn the_epoch_of_a_snapshot_is_known_though_no_record_of_it_is_left() {
        let kept = [id(100, 5)];
        assert_eq!(told((100, 120), &[(7, 100)], &kept, (100, 5)), Standing::Sound);
        assert_eq!(told((100, 120), &[(7, 100)], &kept, (101, 5)), diverging(5, 100));
        assert_eq!(told((100, 100), &[], &kept, (100, 5)), Standing::Sound);
        assert_eq!(told((100, 100), &[], &kept, (0, -1)), Standing::Behind(id(100, 5)));
    }

    #[test]
    fn whoever_took_the_latest_snapshot_stands_well() {
        for (log, entries) in [((100, 120), vec![(5, 100)]), ((0, 120), vec![(4, 0), (5, 90)]), ((100, 100), vec![])] {
            assert_eq!(told(log, &entries, &[id(100, 5)], (100, 5)), Standing::Sound);
        }
    }
}
