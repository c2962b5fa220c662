//! The groups of one partition of `__consumer_offsets`: plan, replay, and what is safe. Never waits, and never sees a request.

use super::consumer::{self, Change};
use super::group::Group;
use super::kept::{AnyGroup, Kept};
use super::records::Event;
use crate::id::Offset;
use crate::time::{Instant, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The number of an append within one life of a shard, from 1. Safe when the high watermark has passed that append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u64);

impl Mark {
    /// What was in the log when the shard was loaded.
    pub const LOADED: Self = Self(0);
}

/// The state that one partition's records rebuild.
#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    pub(super) groups: BTreeMap<String, Kept>,
    /// The newest append that deleted a group.
    pub(super) vanished: Mark,
    planned: Mark,
    /// Appends that are not safe yet, with their ends; unknown until the log has placed them.
    flights: VecDeque<(Mark, Option<Offset>)>,
    high: Offset,
    /// Who waits, and for which mark. The number is the coordinator's.
    pub(super) waits: BTreeSet<(Mark, u64)>,
    /// When expired offsets are looked for, as it stands in the coordinator's timers.
    pub(super) next_expiry: Instant,
}

impl Shard {
    /// The group, made empty if it is not there.
    pub(super) fn group_or_new(&mut self, group: &str, now: Timestamp) -> &mut Kept {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), Kept::new(now));
        }
        self.groups.get_mut(group).expect("inserted above")
    }

    /// What an answer about this group must wait for; if there is no such group, the newest deletion.
    pub(super) fn touched(&self, group: &str) -> Mark {
        self.groups.get(group).map_or(self.vanished, |kept| kept.touched)
    }

    /// Whether the append is past the high watermark.
    pub(super) fn is_safe(&self, mark: Mark) -> bool {
        self.flights.front().is_none_or(|(first, _)| mark < *first)
    }

    /// Takes events over as if their records were read, and names the append that is to carry them.
    pub(super) fn replay_planned(&mut self, events: &[Event], now: Timestamp) -> Mark {
        self.planned = Mark(self.planned.0 + 1);
        self.flights.push_back((self.planned, None));
        for event in events {
            self.replay(event, now, self.planned);
        }
        self.planned
    }

    /// Takes over what a record of the log says.
    pub(super) fn replay_loaded(&mut self, event: &Event) {
        if let Event::Group { group, value: Some(snapshot) } = event {
            let kept = self.group_or_new(group, snapshot.since);
            kept.group = AnyGroup::Classic(Group::restore(snapshot));
            return;
        }
        let at = match event {
            Event::Offset { value: Some(committed), .. } => committed.at,
            Event::Offset { .. } | Event::Group { .. } | Event::Consumer { .. } => Timestamp::NONE,
        };
        self.replay(event, at, Mark::LOADED);
    }

    fn replay(&mut self, event: &Event, now: Timestamp, mark: Mark) {
        match event {
            // The plan has changed the group already: its waits and sessions are not in the record.
            Event::Group { group, value: Some(_) } => self.groups.get_mut(group).expect("it planned this").touched = mark,
            // A classic group's end does not end the consumer group that came after it.
            Event::Group { group, value: None } if self.consumer(group).is_some() => {}
            Event::Group { group, value: None } => self.remove_group(group, mark),
            Event::Consumer { group, change } => self.replay_consumer(group, change, now, mark),
            Event::Offset { group, topic, partition, value: Some(committed) } => {
                let kept = self.group_or_new(group, now);
                kept.offsets.set(topic, *partition, Some(committed.clone()));
                kept.touched = mark;
            }
            Event::Offset { group, topic, partition, value: None } => {
                let Some(kept) = self.groups.get_mut(group) else { return };
                kept.offsets.set(topic, *partition, None);
                kept.touched = mark;
            }
        }
    }

    fn consumer(&mut self, group: &str) -> Option<&mut consumer::Group> {
        match &mut self.groups.get_mut(group)?.group {
            AnyGroup::Consumer(group) => Some(group),
            AnyGroup::Classic(_) => None,
        }
    }

    fn replay_consumer(&mut self, group: &str, change: &Change, now: Timestamp, mark: Mark) {
        if change.is_tombstone() && self.consumer(group).is_none() {
            return;
        }
        let kept = self.group_or_new(group, now);
        kept.touched = mark;
        if kept.consumer().is_none() {
            kept.group = AnyGroup::Consumer(consumer::Group::default());
        }
        let AnyGroup::Consumer(state) = &mut kept.group else { unreachable!("made so above") };
        state.replay(change);
        if *change == Change::Epoch(None) {
            self.remove_group(group, mark);
        }
    }

    /// Offsets that outlive their group, as no coordinator should write it, stay as those of a group that only keeps offsets.
    fn remove_group(&mut self, group: &str, mark: Mark) {
        let Some(kept) = self.groups.get_mut(group) else { return };
        if kept.offsets.is_empty() {
            self.groups.remove(group);
            self.vanished = mark;
        } else {
            kept.group = AnyGroup::Classic(Group::new(Timestamp::NONE));
            kept.touched = mark;
        }
    }

    /// What was loaded is safe when the high watermark reaches `end`.
    pub(super) fn loaded_up_to(&mut self, end: Offset) {
        assert!(self.flights.is_empty(), "nothing is planned while the shard loads");
        self.flights.push_back((Mark::LOADED, Some(end)));
        self.land();
    }

    /// The log has placed the append: it ends at `end`.
    pub(super) fn placed(&mut self, mark: Mark, end: Offset) {
        let flight = self.flights.iter_mut().find(|(planned, _)| *planned == mark);
        flight.expect("a planned append is in flight").1 = Some(end);
        self.land();
    }

    /// The high watermark has moved.
    pub(super) fn reached(&mut self, high: Offset) {
        self.high = self.high.max(high);
        self.land();
    }

    fn land(&mut self) {
        while self.flights.front().is_some_and(|(_, end)| end.is_some_and(|end| end <= self.high)) {
            self.flights.pop_front();
        }
    }

    /// Who waits for nothing any more.
    pub(super) fn released(&mut self) -> Vec<u64> {
        let mut released = Vec::new();
        while let Some((mark, held)) = self.waits.first().copied()
            && self.is_safe(mark)
        {
            self.waits.pop_first();
            released.push(held);
        }
        released
    }
}
