//! Decides which partition a record goes to. Knows no batches, queues or connections: the producer tells it what happened.
//!
//! One value serves one topic. A choice is made once per record and kept through retries.

use rand::Rng as _;

use crate::id::PartitionIndex;
use crate::rng::Rng;

/// Kafka's hash of a record key (murmur2, 32 bits, Kafka's own seed), as the bits of a Java `int`.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len()).expect("a key is shorter than 2 GiB");
    let mut h = SEED ^ length;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("chunks of four")).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a keyed record, the same in every client of the Java family. The sign bit is masked away, as Kafka does.
///
/// # Panics
/// If the topic has no partitions.
#[must_use]
pub fn by_key(key: &[u8], partitions: u32) -> PartitionIndex {
    index((murmur2(key) & 0x7fff_ffff) % partitions)
}

/// What a choice may look at: how many partitions the topic has, and which of them have a leader (ascending).
#[derive(Clone, Copy, Debug)]
pub struct Partitions<'a> {
    /// All partitions, from 0; not zero.
    pub count: u32,
    /// Those with a known leader.
    pub available: &'a [PartitionIndex],
}

impl Partitions<'_> {
    /// The `n`-th available partition, counting round and round; of all partitions where none is available.
    fn nth(&self, n: u32) -> PartitionIndex {
        match u32::try_from(self.available.len()).expect("fewer than 2^32 partitions") {
            0 => index(n % self.count),
            available => self.available[(n % available) as usize],
        }
    }

    fn random(&self, rng: &mut Rng) -> PartitionIndex {
        self.nth(rng.random::<u32>() >> 1)
    }
}

/// Deals records to the available partitions in turn, whatever their keys.
///
/// Java clients up to 3.x asked the partitioner again whenever a record opened a batch, and so skipped every second partition
/// (KAFKA-9965). Here a record is asked about once, as in 4.x.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoundRobin {
    next: u32,
}

impl RoundRobin {
    /// The partition of the next record.
    pub fn next(&mut self, partitions: Partitions<'_>) -> PartitionIndex {
        let chosen = partitions.nth(self.next & 0x7fff_ffff);
        self.next = self.next.wrapping_add(1);
        chosen
    }
}

/// Stays with one partition until a new batch must be opened there, then moves to another (KIP-480).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UniformSticky {
    current: Option<PartitionIndex>,
}

impl UniformSticky {
    /// The partition of the next record.
    pub fn current(&mut self, partitions: Partitions<'_>, rng: &mut Rng) -> PartitionIndex {
        match self.current {
            Some(current) => current,
            None => *self.current.insert(partitions.random(rng)),
        }
    }

    /// A new batch is about to be opened in `partition`: moves on, unless that has happened already, and answers the partition to
    /// use instead. With one available partition it stays.
    pub fn new_batch(&mut self, partition: PartitionIndex, partitions: Partitions<'_>, rng: &mut Rng) -> PartitionIndex {
        if let Some(current) = self.current.filter(|current| *current != partition) {
            return current;
        }
        let next = match partitions.available {
            [] => partitions.random(rng),
            [only] => *only,
            several => {
                let others: Vec<PartitionIndex> = several.iter().copied().filter(|p| *p != partition).collect();
                others[rng.random_range(0..others.len())]
            }
        };
        *self.current.insert(next)
    }
}

/// The built-in rule of Kafka 3.3 and newer (KIP-794): stays with one partition for about a batch's worth of bytes, then draws the next
/// one, shorter queues being likelier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BuiltIn {
    batch_size: u32,
    current: Option<(PartitionIndex, u32)>,
    load: Option<Load>,
}

/// Running sums of the weights: a draw below the last sum belongs to the first partition whose sum exceeds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Load {
    sums: Vec<(u32, PartitionIndex)>,
}

impl BuiltIn {
    /// A rule that moves on after `batch_size` bytes (Kafka's `batch.size`; zero counts as one).
    #[must_use]
    pub fn new(batch_size: u32) -> Self {
        Self { batch_size: batch_size.max(1), current: None, load: None }
    }

    /// The partition of the next record.
    pub fn current(&mut self, partitions: Partitions<'_>, rng: &mut Rng) -> PartitionIndex {
        if let Some((current, _)) = self.current {
            return current;
        }
        let next = self.draw(partitions, rng);
        self.current = Some((next, 0));
        next
    }

    /// A record of `bytes` went to the current partition. It moves on once a batch's worth went there and the batch at hand is full
    /// (`ready`), lest a split leave two small batches; at twice that it moves on in any case.
    pub fn appended(&mut self, bytes: u32, ready: bool, partitions: Partitions<'_>, rng: &mut Rng) {
        let Some((_, sent)) = &mut self.current else { return };
        *sent = sent.saturating_add(bytes);
        let enough = *sent >= self.batch_size && ready || *sent >= self.batch_size.saturating_mul(2);
        if enough {
            self.current = Some((self.draw(partitions, rng), 0));
        }
    }

    /// How many batches wait for each partition that may be chosen. Partitions without a leader are never among `queues`, those of slow
    /// brokers are left out as well (`partitioner.availability.timeout.ms`) and `excluded` says whether any was.
    pub fn observe(&mut self, queues: &[(PartitionIndex, u32)], excluded: bool) {
        let longest = queues.iter().map(|(_, queue)| *queue).max();
        let all_equal = queues.iter().all(|(_, queue)| Some(*queue) == longest);
        let Some(longest) = longest.filter(|_| excluded || (queues.len() >= 2 && !all_equal)) else {
            self.load = None;
            return;
        };
        let mut sum = 0;
        let sums = queues.iter().map(|(partition, queue)| {
            sum += longest + 1 - queue;
            (sum, *partition)
        });
        self.load = Some(Load { sums: sums.collect() });
    }

    fn draw(&self, partitions: Partitions<'_>, rng: &mut Rng) -> PartitionIndex {
        match &self.load {
            None => partitions.random(rng),
            Some(load) => load.at(rng.random_range(0..load.end())),
        }
    }
}

impl Load {
    fn end(&self) -> u32 {
        self.sums.last().expect("a load names at least one partition").0
    }

    fn at(&self, draw: u32) -> PartitionIndex {
        self.sums[self.sums.partition_point(|(sum, _)| *sum <= draw)].1
    }
}

fn index(partition: u32) -> PartitionIndex {
    PartitionIndex(i32::try_from(partition).expect("a partition number fits the wire's i32"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use std::collections::{BTreeMap, BTreeSet};

    fn ids(ids: &[i32]) -> Vec<PartitionIndex> {
        ids.iter().copied().map(PartitionIndex).collect()
    }

    /// Computed with Kafka's own client jar; the long ones are those of its `UtilsTest`.
    #[test]
    fn murmur2_agrees_with_kafka() {
        let vectors: [(&[u8], i32); 12] = [
            (b"", 275_646_681),
            (b"a", -1_563_381_124),
            (b"abc", 479_470_107),
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"key-0", 29_210_041),
            (b"key-1", 193_331_640),
            (b"kafka", -798_503_068),
            ("한글".as_bytes(), -1_593_753_763),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key).cast_signed(), hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn keys_land_where_kafka_puts_them() {
        let vectors: [(&str, [i32; 4]); 9] = [
            ("", [0, 3, 9, 31]),
            ("a", [1, 4, 4, 24]),
            ("abc", [0, 3, 3, 7]),
            ("21", [0, 0, 0, 40]),
            ("foobar", [0, 0, 6, 16]),
            ("key-0", [1, 1, 1, 41]),
            ("key-1", [0, 0, 0, 40]),
            ("kafka", [1, 4, 4, 30]),
            ("한글", [1, 1, 1, 35]),
        ];
        for (key, expected) in vectors {
            let got = [3, 6, 12, 50].map(|n| by_key(key.as_bytes(), n).0);
            assert_eq!(got, expected, "{key}");
        }
    }

    #[test]
    fn round_robin_skips_nothing_but_partitions_without_a_leader() {
        let mut rule = RoundRobin::default();
        let available = ids(&[0, 2, 3]);
        let partitions = Partitions { count: 4, available: &available };
        let dealt: Vec<i32> = (0..6).map(|_| rule.next(partitions).0).collect();
        assert_eq!(dealt, [0, 2, 3, 0, 2, 3]);
        let dealt: Vec<i32> = (0..4).map(|_| rule.next(Partitions { count: 4, available: &[] }).0).collect();
        assert_eq!(dealt, [2, 3, 0, 1], "with no leader at all it counts over all partitions");
    }

    #[test]
    fn round_robin_survives_the_end_of_its_counter() {
        let mut rule = RoundRobin { next: u32::MAX };
        let available = ids(&[0, 1]);
        let partitions = Partitions { count: 2, available: &available };
        assert_eq!([rule.next(partitions).0, rule.next(partitions).0], [1, 0]);
    }

    #[test]
    fn sticky_moves_on_with_a_new_batch_and_only_then() {
        let mut rng = stream(1, "test");
        let mut rule = UniformSticky::default();
        let available = ids(&[0, 1, 2]);
        let partitions = Partitions { count: 3, available: &available };
        let mut seen = BTreeSet::new();
        for _ in 0..50 {
            let before = rule.current(partitions, &mut rng);
            assert_eq!(rule.current(partitions, &mut rng), before);
            let after = rule.new_batch(before, partitions, &mut rng);
            assert_ne!(after, before);
            assert_eq!(rule.new_batch(before, partitions, &mut rng), after, "a second call about the old partition changes nothing");
            assert_eq!(rule.current(partitions, &mut rng), after);
            seen.insert(after);
        }
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn sticky_stays_where_there_is_no_other() {
        let mut rng = stream(1, "test");
        let mut rule = UniformSticky::default();
        let available = ids(&[2]);
        let partitions = Partitions { count: 3, available: &available };
        assert_eq!(rule.current(partitions, &mut rng).0, 2);
        assert_eq!(rule.new_batch(PartitionIndex(2), partitions, &mut rng).0, 2);
    }

    /// KIP-794's example: queues 0, 3 and 1 become weights 4, 1 and 3.
    #[test]
    fn shorter_queues_are_likelier() {
        let mut rule = BuiltIn::new(1);
        let queues = [(PartitionIndex(0), 0), (PartitionIndex(1), 3), (PartitionIndex(2), 1)];
        rule.observe(&queues, false);
        let load = rule.load.as_ref().expect("unequal queues are weighed");
        assert_eq!(load.end(), 8);
        let by_draw: Vec<i32> = (0..8).map(|draw| load.at(draw).0).collect();
        assert_eq!(by_draw, [0, 0, 0, 0, 1, 2, 2, 2]);

        let mut rng = stream(3, "test");
        let available = ids(&[0, 1, 2]);
        let mut counts = BTreeMap::new();
        for _ in 0..8000 {
            *counts.entry(rule.draw(Partitions { count: 3, available: &available }, &mut rng).0).or_insert(0) += 1;
        }
        assert!(
            (3700..4300).contains(&counts[&0]) && (800..1200).contains(&counts[&1]) && (2700..3300).contains(&counts[&2]),
            "{counts:?}"
        );
    }

    #[test]
    fn equal_queues_are_not_weighed_unless_one_was_excluded() {
        let mut rule = BuiltIn::new(1);
        let equal = [(PartitionIndex(0), 2), (PartitionIndex(1), 2)];
        rule.observe(&equal, false);
        assert_eq!(rule.load, None);
        rule.observe(&equal[..1], false);
        assert_eq!(rule.load, None, "one partition is no choice");
        rule.observe(&equal[1..], true);
        let available = ids(&[0, 1]);
        for seed in 0..20 {
            let mut rng = stream(seed, "test");
            assert_eq!(rule.draw(Partitions { count: 2, available: &available }, &mut rng).0, 1, "the slow broker's partition is avoided");
        }
        rule.observe(&[], true);
        assert_eq!(rule.load, None, "with every partition excluded the choice is uniform again");
    }

    #[test]
    fn built_in_moves_on_after_a_batch_worth_of_bytes() {
        let mut rng = stream(5, "test");
        let available: Vec<PartitionIndex> = (0..1000).map(PartitionIndex).collect();
        let partitions = Partitions { count: 1000, available: &available };
        let mut rule = BuiltIn::new(100);
        let first = rule.current(partitions, &mut rng);
        rule.appended(99, true, partitions, &mut rng);
        assert_eq!(rule.current(partitions, &mut rng), first);
        rule.appended(1, false, partitions, &mut rng);
        assert_eq!(rule.current(partitions, &mut rng), first, "an unfinished batch holds it");
        rule.appended(1, true, partitions, &mut rng);
        let second = rule.current(partitions, &mut rng);
        assert_ne!(second, first);
        rule.appended(150, false, partitions, &mut rng);
        assert_eq!(rule.current(partitions, &mut rng), second);
        rule.appended(50, false, partitions, &mut rng);
        assert_ne!(rule.current(partitions, &mut rng), second, "twice the size moves it in any case");
    }
}
