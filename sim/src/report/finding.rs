//! What was found first: when, of which partition and node, and what shows it.

use super::recording::Recording;
use super::sheet::Told;
use crate::workload::place;
use klamm_jepsen::history::{Key, Offset, Op, Value};

/// What a history shows that it may not: the smallest evidence.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// Of which partition.
    pub key: Option<Key>,
    /// The offsets concerned.
    pub offsets: Vec<Offset>,
    /// The values concerned.
    pub values: Vec<Value>,
    /// The entries of the history that show it.
    pub ops: Vec<Op>,
}

/// The first violation of a run.
#[derive(Debug)]
pub(super) struct Finding {
    /// When it was there to be seen.
    pub(super) at: u64,
    pub(super) what: String,
    /// The number of the partition concerned.
    pub(super) partition: Option<usize>,
    pub(super) node: Option<u32>,
}

impl Finding {
    pub(super) fn of(recording: &Recording, told: &Told) -> Option<Self> {
        // What the runner or the oracle found ended the run; a client may have found something before.
        if let Some((at, what)) = recording.complaint.clone() {
            return Some(Self { at, partition: track_in(recording, &what), node: number_behind(&what, "node "), what });
        }
        let what = told.violations.first()?.clone();
        let shown = told.witness.as_ref().and_then(|witness| witness.ops.iter().map(|op| op.time).max());
        let key = told.witness.as_ref().and_then(|witness| witness.key);
        let partition = key.and_then(|key| track_of_key(recording, key)).or_else(|| track_in(recording, &what));
        // A violation ends its run, but for those that only the whole history shows.
        Some(Self { at: shown.unwrap_or(recording.now.max(told.virtual_ns)), partition, node: number_behind(&what, "node "), what })
    }
}

/// The partition that stands for a key of the history.
pub(super) fn track_of_key(recording: &Recording, key: Key) -> Option<usize> {
    let (topic, partition) = place(key);
    let folder = format!("{topic}-{partition}");
    recording.tracks.iter().rposition(|track| track.name == folder)
}

/// The first partition that a text names, in whichever way.
fn track_in(recording: &Recording, text: &str) -> Option<usize> {
    let named = |number: &usize| place_of(text, recording.tracks[*number].name.split(' ').next().unwrap_or_default());
    let first =
        (0..recording.tracks.len()).filter(|number| named(number).is_some()).min_by_key(|number| (named(number), usize::MAX - number));
    let by_key = || track_of_key(recording, Key(number_behind(text, "Key(")?));
    let by_word = || {
        let words = [("idempotent producer", "sequences-0"), ("metadata", "__cluster_metadata-0"), ("quorum", "__cluster_metadata-0")];
        let (_, name) = words.iter().find(|(word, _)| text.contains(word))?;
        recording.tracks.iter().rposition(|track| track.name == *name)
    };
    first.or_else(by_key).or_else(by_word)
}

/// Where a name stands in a text as a word of its own.
fn place_of(text: &str, name: &str) -> Option<usize> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    let stands_alone = |at: &usize| {
        let (before, behind) = (text[..*at].chars().next_back(), text[at + name.len()..].chars().next());
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    };
    text.match_indices(name).map(|(at, _)| at).find(stands_alone)
}

/// Whether a text speaks of the partition of that name.
pub(super) fn names(text: &str, name: &str) -> bool {
    place_of(text, name).is_some()
}

fn number_behind(text: &str, word: &str) -> Option<u32> {
    let at = text.find(word)? + word.len();
    let digits: String = text[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{names, number_behind};

    #[test]
    fn a_name_is_a_word_of_its_own() {
        assert!(names("invariant: node 2: t1-0: the high watermark goes back", "t1-0"));
        assert!(!names("t1-01 and at1-0 and t1-0-x", "t1-0"));
        assert_eq!(number_behind("invariant: node 12: t1-0", "node "), Some(12));
        assert_eq!(number_behind("Key(3): a hole", "Key("), Some(3));
        assert_eq!(number_behind("no node there", "node "), None);
    }
}
