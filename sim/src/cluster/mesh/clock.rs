//! The clocks of a node, which may be wrong: the wall clock jumps, and both run too fast or too slow.

use klamm_core::time::{Instant, Now, Timestamp};

/// The wall clock when a run begins: 2026-01-01T00:00:00Z.
const WALL_START_MS: i64 = 1_767_225_600_000;
const MILLION: u64 = 1_000_000;

/// What a node reads off its clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// At that time of the mesh …
    since: u64,
    /// … it read this, in ns.
    read: u64,
    /// Nanoseconds that it counts in a million.
    rate: u64,
    skew_ms: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { since: 0, read: 0, rate: MILLION, skew_ms: 0 }
    }
}

impl Clock {
    fn at(&self, now: u64) -> u64 {
        let passed = u128::from(now - self.since) * u128::from(self.rate) / u128::from(MILLION);
        self.read + u64::try_from(passed).expect("a run is short")
    }

    /// When, in the mesh's time, it reads `at` or more.
    pub(super) fn when(&self, at: u64) -> u64 {
        let ahead = u128::from(at.saturating_sub(self.read)) * u128::from(MILLION);
        self.since.saturating_add(u64::try_from(ahead.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX))
    }

    /// What it shows.
    pub(super) fn now(&self, now: u64) -> Now {
        let at = self.at(now);
        Now { at: Instant(at), wall: Timestamp(WALL_START_MS + (at / 1_000_000) as i64 + self.skew_ms) }
    }

    /// The wall clock jumps.
    pub(super) fn jump(&mut self, by_ms: i64) {
        self.skew_ms += by_ms;
    }

    /// From now on it counts so many millionths too much.
    pub(super) fn drift(&mut self, now: u64, millionths: i64) {
        *self = Self { since: now, read: self.at(now), rate: MILLION.saturating_add_signed(millionths).max(1), skew_ms: self.skew_ms };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_drifts_never_goes_back_and_reaches_what_is_waited_for() {
        let mut clock = Clock::default();
        let mut last = 0;
        for (now, by) in [(1_000, 50_000), (5_001, -50_000), (9_007, 0), (11_111, 3)] {
            clock.drift(now, by);
            assert!(clock.at(now) >= last);
            for ahead in [0, 1, 7, 999, 1_000_003] {
                let at = clock.at(now) + ahead;
                let when = clock.when(at);
                assert!(clock.at(when) >= at && (when == now || clock.at(when - 1) < at), "{at} at {when}");
            }
            last = clock.at(now);
        }
    }
}
