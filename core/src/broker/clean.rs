//! The cleaner: of the logs that are due, one at a time, the one with the largest dirty share. Each replica cleans its own log, and no other waits for that.
//!
//! Only what is committed, sealed and old enough is cleaned (`log::clean`). Of `__consumer_offsets` and the metadata log nothing is. After a cleaning the
//! cleaner rests until what it has read and written fits `log.cleaner.io.max.bytes.per.second`. Source: Kafka's `LogCleaner`, `LogCleanerManager`.

use super::boot::Phase;
use super::stored::Pending;
use super::{Broker, Timer};
use crate::id::Offset;
use crate::log::clean::Dirt;
use crate::partition::{Owner, Partition, PartitionId};
use crate::probe;
use crate::store::{Cleaned, StoreFault, StoreOp, Stored};
use std::collections::BTreeSet;
use std::time::Duration;

/// However slow the disk is said to be, the cleaner goes on after this.
const REST_MAX: Duration = Duration::from_secs(3600);

/// What the cleaner is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Cleaner {
    /// The store is cleaning a log.
    is_running: bool,
    /// It rests, so as not to take too much of the disk.
    is_resting: bool,
    /// Logs that could not be cleaned to any avail, until the cleaner looks at all of them anew.
    failed: BTreeSet<PartitionId>,
}

impl Broker {
    /// It is time to look at all logs.
    pub(super) fn clean(&mut self) {
        self.timer(self.clean_interval(), Timer::Clean);
        self.cleaner.failed.clear();
        self.clean_dirtiest();
    }

    pub(super) fn clean_interval(&self) -> Duration {
        self.property_ms("log.cleaner.backoff.ms").max(Duration::from_millis(1))
    }

    /// The cleaner has rested.
    pub(super) fn clean_on(&mut self) {
        self.cleaner.is_resting = false;
        self.clean_dirtiest();
    }

    fn clean_dirtiest(&mut self) {
        let is_busy = self.cleaner.is_running || self.cleaner.is_resting;
        if is_busy || self.phase != Phase::Running || !self.property::<bool>("log.cleaner.enable") {
            return;
        }
        let Some((id, dirt)) = self.dirtiest() else { return };
        let key_bytes = self.property("log.cleaner.dedupe.buffer.size");
        let partition = &self.partitions[&id];
        let Some(log) = partition.open_log() else { return };
        let terms = Box::new(log.terms(&partition.config, self.now.wall, key_bytes));
        let (life, op) = (partition.life, StoreOp::Clean { log: log.id(), dirty: dirt.from, until: dirt.until, terms });
        probe!("a log is cleaned");
        self.cleaner.is_running = true;
        self.store(op, Pending::Clean { partition: id, life, dirty: dirt.from });
    }

    fn dirtiest(&self) -> Option<(PartitionId, Dirt)> {
        let candidates = self.partitions.values().filter(|partition| self.may_clean(partition));
        let due = candidates.filter_map(|partition| {
            let log = partition.open_log()?;
            let limit = partition.leader().map_or(partition.high(), |leader| leader.stable());
            let dirt = log.dirt(limit, &partition.config, self.now.wall)?;
            dirt.is_due(&partition.config).then_some((partition.id, dirt))
        });
        due.max_by_key(|(_, dirt)| dirt.ppm())
    }

    /// A copy takes room until it is swapped in: of what the reserve is for nothing may be taken.
    fn may_clean(&self, partition: &Partition) -> bool {
        let is_cleaned = partition.owner == Owner::Clients && partition.config.cleanup.compact;
        if !is_cleaned || self.cleaner.failed.contains(&partition.id) || partition.holds_damage() {
            return false;
        }
        let largest = partition.open_log().and_then(|log| log.segments().all().iter().map(|segment| segment.bytes).max());
        let needed = self.config.reserve_bytes.saturating_add(largest.unwrap_or(0).max(partition.config.segment_bytes.into()));
        self.free_bytes(partition.dir).is_none_or(|free| free >= needed)
    }

    /// The store has cleaned a log from `dirty` on, or could not.
    pub(super) fn log_cleaned(&mut self, id: PartitionId, dirty: Offset, is_current: bool, outcome: Result<Stored, StoreFault>) {
        self.cleaner.is_running = false;
        let cleaned = match outcome {
            Ok(Stored::Cleaned(cleaned)) => Some(cleaned),
            Ok(_) | Err(_) => None,
        };
        if self.phase != Phase::Running {
            return;
        }
        if cleaned.as_ref().is_none_or(|cleaned| cleaned.fault.is_some() || cleaned.dirty <= dirty) {
            self.cleaner.failed.insert(id);
        }
        let bytes = cleaned.as_ref().map_or(0, |cleaned| cleaned.bytes);
        if let Some(cleaned) = cleaned.filter(|_| is_current) {
            self.take_over_cleaned(id, &cleaned);
        }
        self.cleaner.is_resting = true;
        let rate: f64 = self.property("log.cleaner.io.max.bytes.per.second");
        let rest = Duration::try_from_secs_f64(bytes as f64 / rate.max(1.0)).unwrap_or(REST_MAX);
        self.timer(rest.min(REST_MAX), Timer::CleanOn);
    }

    fn take_over_cleaned(&mut self, id: PartitionId, cleaned: &Cleaned) {
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let dir = partition.dir;
        let Some(log) = partition.open_log_mut() else { return };
        let snapshots = log.take_over_cleaned(cleaned);
        for name in snapshots {
            self.store(StoreOp::Remove { dir, name }, Pending::Small { dir });
        }
        if let Some(StoreFault::Damaged { at, why }) = &cleaned.fault {
            self.found_damaged(id, *at, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::io::{Effect, Input};
    use super::*;
    use crate::config::Properties;
    use crate::config::layers::Layers;
    use crate::config::{TopicConfig, topic};
    use crate::id::{DirId, PartitionIndex, Ticket, Uuid};
    use crate::log::Recovered;
    use crate::log::segments::Segment;
    use crate::time::{Instant, Now, Timestamp};
    use std::sync::Arc;

    const ID: PartitionId = PartitionId { topic: Uuid([9; 16]), index: PartitionIndex(0) };

    fn config(policy: &str) -> Arc<TopicConfig> {
        let none = Properties::new();
        let own = Properties::from([("cleanup.policy".to_owned(), policy.to_owned())]);
        assert_eq!(topic::validate(&own, Layers { broker: &none, cluster: &none, fixed: &none }), Ok(()));
        Arc::new(TopicConfig::new(&own, Layers { broker: &none, cluster: &none, fixed: &none }))
    }

    fn segment(base: i64, bytes: u64) -> Segment {
        Segment { bytes, max_timestamp: Timestamp(1), first_timestamp: Timestamp(1), ..Segment::empty(Offset(base)) }
    }

    /// A broker with a log of four segments of a hundred bytes, all of it committed, of which it is a follower.
    fn follower(policy: &str, high: i64) -> Broker {
        let mut broker = Broker::for_tests();
        broker.config.broker.fixed.insert("log.cleaner.enable".to_owned(), "true".to_owned());
        broker.phase = Phase::Running;
        broker.create_partition(&"t".into(), ID, &config(policy));
        let partition = broker.partitions.get_mut(&ID).expect("made");
        partition.high = Offset(high);
        let segments = [0, 10, 20, 30].map(|base| segment(base, 100)).to_vec();
        broker.opened(ID, Recovered { end: Offset(40), segments, ..Recovered::empty() });
        ops(&mut broker);
        broker
    }

    fn ops(broker: &mut Broker) -> Vec<(Ticket, StoreOp)> {
        let stores = |effect| if let Effect::Store { ticket, op } = effect { Some((ticket, op)) } else { None };
        std::iter::from_fn(|| broker.poll()).filter_map(stores).collect()
    }

    fn begun(broker: &mut Broker) -> Option<(Ticket, Offset, Offset)> {
        broker.clean_dirtiest();
        let clean = |(ticket, op)| if let StoreOp::Clean { dirty, until, .. } = op { Some((ticket, dirty, until)) } else { None };
        ops(broker).into_iter().find_map(clean)
    }

    fn done(dirty: i64, bytes: u64, fault: Option<StoreFault>) -> Result<Stored, StoreFault> {
        let segments = vec![segment(0, 50)];
        Ok(Stored::Cleaned(Box::new(Cleaned { dirty: Offset(dirty), until: Offset(30), segments, has_gaps: true, bytes, fault })))
    }

    #[test]
    fn a_compacted_log_is_cleaned_as_far_as_it_is_committed() {
        for (policy, high, until) in [("compact", 40, 30), ("compact", 29, 20), ("compact,delete", 35, 30)] {
            let cleaning = begun(&mut follower(policy, high)).map(|(_, dirty, until)| (dirty, until));
            assert_eq!(cleaning, Some((Offset(0), Offset(until))), "{policy} {high}");
        }
        assert_eq!(begun(&mut follower("delete", 40)), None);
        assert_eq!(begun(&mut follower("compact", 9)), None);
    }

    #[test]
    fn one_at_a_time_and_what_was_cleaned_is_not_dirty_any_more() {
        let mut broker = follower("compact", 40);
        let (ticket, ..) = begun(&mut broker).expect("it is due");
        assert_eq!(begun(&mut broker), None);
        broker.handle(Now::default(), Input::Stored { ticket, outcome: done(30, 0, None) });
        let log = broker.partitions[&ID].open_log().expect("it is open");
        assert_eq!(log.segments().all().iter().map(|segment| (segment.base.0, segment.bytes)).collect::<Vec<_>>(), [(0, 50), (30, 100)]);
        assert!(log.has_gaps());
        broker.clean_on();
        assert_eq!(begun(&mut broker), None);
    }

    #[test]
    fn the_cleaner_rests_by_its_rate_and_after_a_failure_waits_for_the_next_look() {
        let mut broker = follower("compact", 40);
        let rate = ("log.cleaner.io.max.bytes.per.second".to_owned(), "100".to_owned());
        broker.config.broker.fixed.extend([rate]);
        let (ticket, ..) = begun(&mut broker).expect("it is due");
        broker.handle(Now::default(), Input::Stored { ticket, outcome: done(0, 300, Some(StoreFault::Full)) });
        let rests = broker.timers.iter().find(|(_, timer)| *timer == Timer::CleanOn).map(|(at, _)| *at);
        assert_eq!(rests, Some(Instant::default().after(Duration::from_secs(3))));
        broker.clean_on();
        assert_eq!(begun(&mut broker), None, "it would fail again");
        broker.cleaner.failed.clear();
        assert_eq!(begun(&mut broker).map(|(_, dirty, _)| dirty), Some(Offset(0)));
    }

    #[test]
    fn nothing_is_taken_of_the_reserve() {
        let mut broker = follower("compact", 40);
        broker.space(DirId(0), broker.config.reserve_bytes + 1000);
        assert_eq!(begun(&mut broker), None);
        broker.space(DirId(0), 1 << 40);
        assert!(begun(&mut broker).is_some());
    }
}
