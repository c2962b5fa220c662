//! What clients saw of one group, and what none of them may see: two owners of a partition in one generation, a commit that was taken from a member
//! or generation that had been fenced, and a committed offset that no commit explains.
//!
//! Only what a coordinator says after it made it durable counts as known: an assignment, not a join.

use super::spans::Spans;
use klamm_core::client::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};

/// Not ended yet, or of unknown outcome: it may take effect at any time.
const OPEN: u64 = u64::MAX;

/// Who speaks for itself in the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Its member id.
    pub member: String,
    /// `group.instance.id`, of a static member.
    pub instance: Option<String>,
    /// Its generation.
    pub generation: i32,
    /// The process behind it, which the coordinator cannot see.
    pub process: u64,
}

/// What became of a part of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was taken.
    Taken,
    /// It had no effect.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Names a commit in its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitNo(usize);

#[derive(Clone, Debug)]
struct Commit {
    who: Who,
    /// Why it must be refused, if it must: known before it was sent.
    fenced: Option<String>,
    sent: u64,
}

/// What a commit says of one partition.
#[derive(Clone, Copy, Debug)]
struct Written {
    commit: CommitNo,
    offset: i64,
    sent: u64,
    /// When it had certainly taken effect.
    end: u64,
    taken: bool,
}

/// Who holds an instance.
#[derive(Clone, Debug)]
struct Holder {
    generation: i32,
    /// The member and the process.
    who: (String, u64),
    /// When it heard that.
    heard: u64,
}

/// What is known of one group.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Instances that once subscribed to something else than others of their group.
    pub changed: BTreeSet<String>,
    owners: BTreeMap<(i32, TopicPartition), String>,
    newest: i32,
    holders: BTreeMap<String, Holder>,
    /// Those whose instance another process has taken over.
    replaced: BTreeMap<(String, u64), String>,
    commits: Vec<Commit>,
    written: BTreeMap<TopicPartition, Vec<Written>>,
    processed: BTreeMap<TopicPartition, Spans>,
    /// A coordinator that was deposed and has not heard of it may still answer: what it shows was true once.
    pub may_be_behind: bool,
    /// An empty group that never had an offset is soon forgotten (Kafka's `cleanupGroupMetadata`): the next one of its name begins with generation 1.
    pub may_begin_anew: bool,
}

impl Ledger {
    /// A member was given its assignment, for which it asked at `sent`.
    ///
    /// # Errors
    /// Another one owns a part of it in the same generation.
    pub fn assigned(&mut self, now: u64, sent: u64, who: &Who, parts: impl IntoIterator<Item = TopicPartition>) -> Result<(), String> {
        // A static member keeps its partitions, and the generation, under a new member id.
        let owner = who.instance.clone().unwrap_or_else(|| who.member.clone());
        let parts: Vec<TopicPartition> = parts.into_iter().collect();
        if self.has_begun_anew(who.generation, &owner, &parts) {
            self.owners.clear();
            self.holders.clear();
            self.newest = 0;
        }
        self.newest = self.newest.max(who.generation);
        if let Some(instance) = &who.instance {
            self.hold(now, sent, instance, who);
        }
        for part in parts {
            let place = (who.generation, part);
            match self.owners.get(&place) {
                Some(other) if *other != owner => {
                    return Err(format!("{} is owned by {other} and by {owner} in generation {}", place.1, who.generation));
                }
                Some(_) => {}
                None => drop(self.owners.insert(place, owner.clone())),
            }
        }
        Ok(())
    }

    /// Whether a group of which no commit was ever taken is another one than before: its first generation is older than the last one, or has another owner.
    fn has_begun_anew(&self, generation: i32, owner: &str, parts: &[TopicPartition]) -> bool {
        let is_owned = |part: &TopicPartition| self.owners.get(&(generation, part.clone())).is_some_and(|other| other != owner);
        self.may_begin_anew && generation == 1 && self.taken() == 0 && (self.newest > 1 || parts.iter().any(is_owned))
    }

    /// A static member has its instance, unless what it was told may be older than what its successor was told: of an older generation, or asked for
    /// before the successor knew.
    fn hold(&mut self, now: u64, sent: u64, instance: &str, who: &Who) {
        let anew = Holder { generation: who.generation, who: (who.member.clone(), who.process), heard: now };
        let Some(holder) = self.holders.get_mut(instance) else { return drop(self.holders.insert(instance.to_owned(), anew)) };
        if holder.generation > anew.generation || (holder.who != anew.who && holder.heard > sent) {
            return;
        }
        let before = std::mem::replace(holder, anew).who;
        if before != holder.who {
            self.replaced.insert(before, who.member.clone());
        }
    }

    /// A commit is sent.
    pub fn commit(&mut self, now: u64, who: Who, offsets: impl IntoIterator<Item = (TopicPartition, i64)>) -> CommitNo {
        let no = CommitNo(self.commits.len());
        for (part, offset) in offsets {
            let written = Written { commit: no, offset, sent: now, end: OPEN, taken: false };
            self.written.entry(part).or_default().push(written);
        }
        let fenced = self.why_fenced(&who);
        self.commits.push(Commit { who, fenced, sent: now });
        no
    }

    fn why_fenced(&self, who: &Who) -> Option<String> {
        if who.generation < self.newest {
            return Some(format!("generation {} was complete", self.newest));
        }
        self.replaced.get(&(who.member.clone(), who.process)).map(|by| format!("{by} had taken its instance over"))
    }

    /// What became of it, on one partition.
    ///
    /// # Errors
    /// It was taken, and had to be refused.
    pub fn answered(&mut self, now: u64, no: CommitNo, part: &TopicPartition, fate: Fate) -> Result<(), String> {
        let all = self.written.entry(part.clone()).or_default();
        let Some(at) = all.iter().position(|written| written.commit == no) else { return Ok(()) };
        match fate {
            Fate::Refused => drop(all.remove(at)),
            Fate::Unknown => {}
            Fate::Taken => {
                (all[at].end, all[at].taken) = (all[at].end.min(now), true);
                let Commit { who, fenced, sent } = &self.commits[no.0];
                if let Some(why) = fenced {
                    return Err(format!("a commit to {part} by {who:?} sent at {sent} was taken, though {why} before"));
                }
            }
        }
        Ok(())
    }

    /// A fetch of committed offsets, sent at `sent`, was answered with this one; −1: nothing is committed.
    ///
    /// # Errors
    /// No commit explains it: those of that offset had been overwritten before the fetch was sent.
    pub fn fetched(&mut self, now: u64, sent: u64, part: &TopicPartition, offset: i64) -> Result<(), String> {
        let may_be_behind = self.may_be_behind;
        let all = self.written.entry(part.clone()).or_default();
        if may_be_behind {
            let is_known = offset < 0 || all.iter().any(|written| written.offset == offset && written.sent <= now);
            return if is_known { Ok(()) } else { Err(format!("offset {offset} is committed of {part}, and nobody committed it")) };
        }
        // The newest to begin of those that had certainly ended before: what ended before it began is gone.
        let floor = all.iter().filter(|written| written.end < sent).map(|written| written.sent).max();
        let gone = |written: &Written| floor.is_some_and(|floor| written.end < floor);
        if offset < 0 {
            return match floor {
                None => Ok(()),
                Some(_) => Err(format!("nothing is committed of {part}, though a commit had been taken")),
            };
        }
        let fitting = all.iter().enumerate().filter(|(_, written)| written.offset == offset && written.sent <= now && !gone(written));
        let fitting: Vec<usize> = fitting.map(|(at, _)| at).collect();
        match fitting.as_slice() {
            [] => {
                let newest = all.iter().filter(|written| Some(written.sent) == floor).map(|written| written.offset).next_back();
                Err(format!("offset {offset} is committed of {part}, which no commit explains; the last that was taken said {newest:?}"))
            }
            // What was seen has taken effect.
            [one] => {
                all[*one].end = all[*one].end.min(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A member has worked on these records.
    pub fn process(&mut self, part: &TopicPartition, offsets: impl IntoIterator<Item = i64>) {
        let spans = self.processed.entry(part.clone()).or_default();
        offsets.into_iter().for_each(|offset| spans.add(offset));
    }

    /// The first of `wanted` that no member has worked on.
    pub fn unprocessed(&self, part: &TopicPartition, wanted: impl IntoIterator<Item = i64>) -> Option<i64> {
        let spans = self.processed.get(part);
        wanted.into_iter().find(|offset| spans.is_none_or(|spans| !spans.holds(*offset)))
    }

    /// How many commits were taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.written.values().flatten().filter(|written| written.taken).count()
    }

    /// The newest generation known.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    fn who(member: &str, generation: i32) -> Who {
        Who { member: member.to_owned(), instance: None, generation, process: 0 }
    }

    #[test]
    fn a_partition_has_one_owner_in_a_generation() {
        let mut ledger = Ledger::default();
        ledger.assigned(1, 1, &who("a", 1), [part()]).unwrap();
        ledger.assigned(1, 1, &who("a", 1), [part()]).unwrap();
        ledger.assigned(1, 1, &who("b", 2), [part()]).unwrap();
        ledger.assigned(1, 1, &who("b", 1), [part()]).unwrap_err();
    }

    #[test]
    fn a_static_member_keeps_its_partitions_and_fences_its_predecessor() {
        let mut ledger = Ledger::default();
        let member = |id: &str| Who { instance: Some("i".to_owned()), ..who(id, 1) };
        ledger.assigned(1, 1, &member("a"), [part()]).unwrap();
        let before = ledger.commit(1, member("a"), [(part(), 5)]);
        ledger.assigned(1, 1, &member("b"), [part()]).unwrap();
        ledger.answered(2, before, &part(), Fate::Taken).unwrap();
        let after = ledger.commit(3, member("a"), [(part(), 6)]);
        ledger.answered(4, after, &part(), Fate::Taken).unwrap_err();
    }

    /// Seed 863.
    #[test]
    fn a_group_that_was_forgotten_begins_anew_unless_it_had_offsets() {
        let mut ledger = Ledger { may_begin_anew: true, ..Ledger::default() };
        ledger.assigned(1, 1, &who("a", 1), []).unwrap();
        ledger.assigned(1, 1, &who("a", 2), [part()]).unwrap();
        ledger.assigned(1, 1, &who("b", 1), [part()]).unwrap();
        ledger.assigned(1, 1, &who("c", 1), [part()]).unwrap();
        let no = ledger.commit(1, who("c", 1), [(part(), 5)]);
        ledger.answered(2, no, &part(), Fate::Taken).unwrap();
        ledger.assigned(1, 1, &who("d", 1), [part()]).unwrap_err();
    }

    #[test]
    fn what_a_predecessor_is_told_late_gives_it_nothing_back() {
        let mut ledger = Ledger::default();
        let member = |id: &str, generation| Who { instance: Some("i".to_owned()), ..who(id, generation) };
        ledger.assigned(1, 1, &member("a", 1), []).unwrap();
        ledger.assigned(1, 1, &member("b", 3), []).unwrap();
        ledger.assigned(1, 1, &member("a", 2), []).unwrap();
        let no = ledger.commit(1, member("b", 3), [(part(), 5)]);
        ledger.answered(2, no, &part(), Fate::Taken).unwrap();
    }

    /// Seed 395: within one generation.
    #[test]
    fn what_a_predecessor_asked_for_before_its_successor_came_gives_it_nothing_back() {
        let mut ledger = Ledger::default();
        let member = |id: &str| Who { instance: Some("i".to_owned()), ..who(id, 1) };
        ledger.assigned(5, 4, &member("b"), [part()]).unwrap();
        ledger.assigned(9, 3, &member("a"), [part()]).unwrap();
        let no = ledger.commit(10, member("b"), [(part(), 5)]);
        ledger.answered(11, no, &part(), Fate::Taken).unwrap();
    }

    #[test]
    fn two_processes_under_one_member_id_are_two() {
        let mut ledger = Ledger::default();
        let member = |process| Who { instance: Some("i".to_owned()), process, ..who("a", 1) };
        ledger.assigned(1, 1, &member(1), [part()]).unwrap();
        ledger.assigned(1, 1, &member(2), [part()]).unwrap();
        let after = ledger.commit(3, member(1), [(part(), 6)]);
        ledger.answered(4, after, &part(), Fate::Taken).unwrap_err();
    }

    #[test]
    fn a_commit_of_an_older_generation_is_refused() {
        let mut ledger = Ledger::default();
        ledger.assigned(1, 1, &who("a", 2), []).unwrap();
        let no = ledger.commit(1, who("b", 1), [(part(), 5)]);
        ledger.answered(2, no, &part(), Fate::Refused).unwrap();
        let no = ledger.commit(3, who("b", 1), [(part(), 5)]);
        ledger.answered(4, no, &part(), Fate::Taken).unwrap_err();
    }

    #[test]
    fn a_committed_offset_is_that_of_a_commit_that_was_not_overwritten() {
        let mut ledger = Ledger::default();
        ledger.fetched(1, 0, &part(), -1).unwrap();
        let first = ledger.commit(2, who("a", 1), [(part(), 5)]);
        // Under way: either may be seen.
        ledger.fetched(4, 3, &part(), -1).unwrap();
        ledger.fetched(6, 5, &part(), 5).unwrap();
        ledger.fetched(8, 7, &part(), -1).unwrap_err();
        ledger.answered(9, first, &part(), Fate::Taken).unwrap();
        let second = ledger.commit(10, who("a", 1), [(part(), 3)]);
        ledger.answered(11, second, &part(), Fate::Taken).unwrap();
        ledger.fetched(13, 12, &part(), 3).unwrap();
        ledger.fetched(13, 12, &part(), 5).unwrap_err();
        // Of unknown outcome: it may take effect at any time, until something begins after it was seen.
        ledger.commit(14, who("a", 1), [(part(), 9)]);
        ledger.fetched(16, 15, &part(), 3).unwrap();
        ledger.fetched(18, 17, &part(), 9).unwrap();
        ledger.fetched(20, 19, &part(), 3).unwrap_err();
        ledger.fetched(20, 19, &part(), 4).unwrap_err();
    }

    #[test]
    fn a_coordinator_that_is_behind_shows_what_was_committed_once() {
        let mut ledger = Ledger { may_be_behind: true, ..Ledger::default() };
        for (at, offset) in [(1, 5), (3, 7)] {
            let no = ledger.commit(at, who("a", 1), [(part(), offset)]);
            ledger.answered(at + 1, no, &part(), Fate::Taken).unwrap();
        }
        ledger.fetched(6, 5, &part(), 5).unwrap();
        ledger.fetched(6, 5, &part(), 6).unwrap_err();
        ledger.may_be_behind = false;
        ledger.fetched(8, 7, &part(), 5).unwrap_err();
    }

    #[test]
    fn what_nobody_worked_on_is_told() {
        let mut ledger = Ledger::default();
        ledger.process(&part(), [0, 1, 3]);
        assert_eq!(ledger.unprocessed(&part(), 0..2), None);
        assert_eq!(ledger.unprocessed(&part(), 0..5), Some(2));
        assert_eq!(ledger.unprocessed(&TopicPartition::new("t", 1), [7]), Some(7));
    }
}
