//! The life of a shard: elected, loaded, told how far its records are safe, looked at when something is due, lost. Never answers a request itself.

use super::consumers::tombstones;
use super::held::Body;
use super::kept::AnyGroup;
use super::records::{self, Event};
use super::shard::Shard;
use super::{Coordinator, Decision, Due, Mark, Slot, Topics};
use crate::error::ErrorCode;
use crate::id::{Offset, PartitionIndex};
use crate::probe;
use crate::time::Now;
use crate::wire::batch::Batch;
use crate::wire::record::Records;
use std::time::Duration;

/// Bytes that one batch's records may take when they are read back. What was written here is not compressed.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// A look for expired offsets reads every group.
const RETENTION_CHECK_MIN: Duration = Duration::from_millis(100);

/// Records of one append, where there may be many.
const EVENTS_MAX: usize = 1000;

/// A shard whose records are being read.
#[derive(Clone, Debug)]
pub(super) struct Loading {
    run: u64,
    end: Offset,
    shard: Box<Shard>,
    /// Topics that were deleted meanwhile.
    deleted: Vec<String>,
    /// Records that could not be read.
    broken: u64,
}

impl Coordinator {
    /// This broker leads a partition of `__consumer_offsets` now: its log lies in `start..end`, and is safe up to `high`.
    pub fn elected(&mut self, now: Now, partition: PartitionIndex, start: Offset, end: Offset, high: Offset) {
        self.lost(partition);
        self.next_run += 1;
        let mut shard = Box::<Shard>::default();
        shard.reached(high);
        let loading = Loading { run: self.next_run, end, shard, deleted: Vec::new(), broken: 0 };
        self.load(now, partition, loading, start);
    }

    fn load(&mut self, now: Now, partition: PartitionIndex, loading: Loading, from: Offset) {
        if from >= loading.end {
            return self.activate(now, partition, loading);
        }
        self.decisions.push_back(Decision::Load { partition, run: loading.run, from, until: loading.end });
        self.slots.insert(partition, Slot::Loading(loading));
    }

    /// Some batches were read, or none where nothing is left.
    pub fn loaded(&mut self, now: Now, partition: PartitionIndex, run: u64, batches: &[Batch]) {
        let Some(Slot::Loading(loading)) = self.slots.get_mut(&partition) else { return };
        if loading.run != run {
            return;
        }
        for batch in batches {
            loading.replay(batch);
        }
        let next = batches.last().map_or(loading.end, |batch| batch.header().next_offset());
        let Some(Slot::Loading(loading)) = self.slots.remove(&partition) else { unreachable!("looked at above") };
        self.load(now, partition, loading, next);
    }

    /// The log is read to its end: sessions begin, and requests are answered.
    fn activate(&mut self, now: Now, partition: PartitionIndex, loading: Loading) {
        let Loading { end, mut shard, deleted, broken, .. } = loading;
        if broken > 0 {
            self.decisions
                .push_back(Decision::Warn(format!("{broken} records of __consumer_offsets-{partition} cannot be read; they are skipped")));
        }
        shard.loaded_up_to(end);
        shard.next_expiry = now.at.after(self.config.retention_check);
        self.timers.insert((shard.next_expiry, Due::Expiry(partition)));
        let groups: Vec<String> = shard.groups.keys().cloned().collect();
        self.slots.insert(partition, Slot::Active(shard));
        for group in groups {
            self.resume(now, partition, &group);
        }
        for topic in deleted {
            self.forget_topic(now, partition, &topic);
        }
    }

    fn resume(&mut self, now: Now, partition: PartitionIndex, group: &str) {
        let Some(Slot::Active(shard)) = self.slots.get_mut(&partition) else { return };
        if let Some(AnyGroup::Consumer(consumers)) = shard.groups.get_mut(group).map(|kept| &mut kept.group) {
            consumers.resume(now.at, &self.config);
            return self.schedule(partition, group);
        }
        self.on_group(now, partition, group, |group, turn| group.resume(turn));
    }

    /// The append that `mark` names is in the log, and ends at `end`.
    pub fn placed(&mut self, partition: PartitionIndex, mark: Mark, end: Offset) {
        if let Some(Slot::Active(shard)) = self.slots.get_mut(&partition) {
            shard.placed(mark, end);
            self.release(partition);
        }
    }

    /// The high watermark has moved.
    pub fn high(&mut self, partition: PartitionIndex, high: Offset) {
        match self.slots.get_mut(&partition) {
            Some(Slot::Active(shard)) => {
                shard.reached(high);
                self.release(partition);
            }
            Some(Slot::Loading(loading)) => loading.shard.reached(high),
            None => {}
        }
    }

    fn release(&mut self, partition: PartitionIndex) {
        for held in self.shard_mut(partition).released() {
            self.met(held, partition);
        }
    }

    /// The leadership has ended, or an append is lost: what was computed from it is void. Everybody who waits looks for the coordinator again.
    pub fn lost(&mut self, partition: PartitionIndex) {
        // What is planned and not appended yet was planned against a state that is gone.
        self.decisions.retain(|decision| !matches!(decision, Decision::Append { partition: of, .. } if *of == partition));
        let Some(Slot::Active(shard)) = self.slots.remove(&partition) else { return };
        probe!("a coordinator's shard was dropped");
        self.timers.remove(&(shard.next_expiry, Due::Expiry(partition)));
        for (group, kept) in &shard.groups {
            if let Some(due) = kept.due {
                self.timers.remove(&(due, Due::Group(partition, group.clone())));
            }
            for (token, answer) in kept.group.waiting() {
                self.reply(token, Body::member(answer).into());
            }
        }
        for (_, held) in &shard.waits {
            self.spoil(*held, ErrorCode::NOT_COORDINATOR);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now, topics: &dyn Topics) {
        while let Some((at, _)) = self.timers.first()
            && *at <= now.at
        {
            let (at, due) = self.timers.pop_first().expect("looked at above");
            match due {
                Due::Group(partition, group) => {
                    let kept = self.shard_mut(partition).groups.get_mut(&group);
                    let Some(kept) = kept.filter(|kept| kept.due == Some(at)) else { continue };
                    kept.due = None;
                    match kept.group {
                        AnyGroup::Classic(_) => self.on_group(now, partition, &group, |group, turn| group.tick(turn)),
                        AnyGroup::Consumer(_) => self.remove_overdue(now, partition, &group, topics),
                    }
                }
                Due::Expiry(partition) => self.expire(now, partition),
                Due::Held(held) => self.timed_out(held),
            }
        }
    }

    /// Offsets that nobody can want go, and groups that have neither members nor offsets.
    fn expire(&mut self, now: Now, partition: PartitionIndex) {
        let mut events = Vec::new();
        for (group, kept) in &self.shard(partition).groups {
            let expired = kept.offsets.expired(&kept.group, self.config.retention, now.wall);
            let all_gone = expired.len() == kept.offsets.len();
            let tombstone = |(topic, partition)| Event::Offset { group: group.clone(), topic, partition, value: None };
            events.extend(expired.into_iter().map(tombstone));
            if all_gone && kept.group.is_idle() {
                probe!("a group that nobody needs was deleted");
                events.extend(tombstones(group, kept));
            }
        }
        for events in events.chunks(EVENTS_MAX) {
            self.write(now, partition, events);
        }
        let next = now.at.after(self.config.retention_check.max(RETENTION_CHECK_MIN));
        self.shard_mut(partition).next_expiry = next;
        self.timers.insert((next, Due::Expiry(partition)));
    }

    /// A topic is gone: so are all offsets of it.
    pub fn topic_deleted(&mut self, now: Now, topic: &str) {
        for partition in self.slots.keys().copied().collect::<Vec<_>>() {
            self.forget_topic(now, partition, topic);
        }
    }

    fn forget_topic(&mut self, now: Now, partition: PartitionIndex, topic: &str) {
        let shard = match self.slots.get_mut(&partition) {
            Some(Slot::Active(shard)) => shard,
            Some(Slot::Loading(loading)) => return loading.deleted.push(topic.to_owned()),
            None => return,
        };
        let mut events = Vec::new();
        for (group, kept) in &shard.groups {
            for partition in kept.offsets.partitions(topic) {
                events.push(Event::Offset { group: group.clone(), topic: topic.to_owned(), partition, value: None });
            }
        }
        for events in events.chunks(EVENTS_MAX) {
            self.write(now, partition, events);
        }
    }
}

impl Loading {
    fn replay(&mut self, batch: &Batch) {
        if batch.header().is_control() {
            return;
        }
        let Ok(records) = Records::of(batch, BATCH_BYTES_MAX) else { return self.broken += 1 };
        for record in records {
            match record.map(|record| records::decode(&record.payload)) {
                Ok(Ok(Some(event))) => self.shard.replay_loaded(&event),
                Ok(Ok(None)) => {}
                Ok(Err(_)) | Err(_) => self.broken += 1,
            }
        }
    }
}
