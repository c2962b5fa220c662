//! The keys in use: some hotter than others, each retired for a fresh one after its share of sends. Draws whole numbers only,
//! so that a seed means the same on every machine.

use rand::Rng;

use crate::history::{Key, Value};

#[derive(Clone, Debug)]
pub(super) struct KeyPool {
    active: Vec<Active>,
    fresh: u32,
    sends_max: i64,
}

#[derive(Clone, Debug)]
struct Active {
    key: Key,
    sent: i64,
    limit: Option<i64>,
}

impl KeyPool {
    pub(super) fn new(keys: usize, sends_max: i64) -> Self {
        assert!((1..=62).contains(&keys), "1 to 62 keys are in use at a time, not {keys}");
        assert!(sends_max > 0, "a key takes at least one send");
        let mut pool = Self { active: Vec::new(), fresh: 0, sends_max };
        for _ in 0..keys {
            let active = pool.fresh();
            pool.active.push(active);
        }
        pool
    }

    /// A key, each twice as likely as the one before it.
    pub(super) fn pick<R: Rng + ?Sized>(&self, rng: &mut R) -> Key {
        self.active[self.draw(rng)].key
    }

    /// A key and a value never sent to it before.
    pub(super) fn send<R: Rng + ?Sized>(&mut self, rng: &mut R) -> (Key, Value) {
        let at = self.draw(rng);
        let limit = *self.active[at].limit.get_or_insert_with(|| share(self.sends_max, rng));
        if self.active[at].sent >= limit {
            let fresh = self.fresh();
            self.active[at] = fresh;
        }
        let active = &mut self.active[at];
        active.sent += 1;
        (active.key, Value(active.sent))
    }

    fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> usize {
        let last = self.active.len() - 1;
        loop {
            let tails = rng.random::<u64>().trailing_zeros() as usize;
            if tails <= last {
                return last - tails;
            }
        }
    }

    fn fresh(&mut self) -> Active {
        let key = Key(self.fresh);
        self.fresh += 1;
        Active { key, sent: 0, limit: None }
    }
}

/// From 1 to `max`, each power of two as likely as the next.
fn share<R: Rng + ?Sized>(max: i64, rng: &mut R) -> i64 {
    let magnitude = rng.random_range(0..=max.ilog2());
    let low = 1_i64 << magnitude;
    rng.random_range(low..=max.min(2 * low - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn values_are_unique_and_keys_retire() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut pool = KeyPool::new(4, 16);
        let mut seen = BTreeSet::new();
        let mut sends: BTreeMap<Key, usize> = BTreeMap::new();
        for _ in 0..2000 {
            let (key, value) = pool.send(&mut rng);
            assert!(seen.insert((key, value)), "{key:?} {value:?} twice");
            *sends.entry(key).or_default() += 1;
        }
        assert!(sends.len() > 2000 / 16, "only {} keys", sends.len());
        assert!(sends.values().all(|n| *n <= 16));
    }

    #[test]
    fn later_keys_are_hotter() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let pool = KeyPool::new(4, 16);
        let mut picks = [0; 4];
        for _ in 0..8000 {
            picks[pool.pick(&mut rng).0 as usize] += 1;
        }
        for pair in picks.windows(2) {
            assert!(pair[1] > pair[0] * 3 / 2, "{picks:?}");
        }
    }
}
