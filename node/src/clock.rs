//! The seam to time: one clock per node, so that the simulator can skew it. Nothing else in the node reads a clock.
//!
//! Decides nothing. Under `--cfg madsim` the standard clocks below are virtual.

use klamm_core::time::{Instant, Now, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A node's clock. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    start: std::time::Instant,
    skew: Skew,
}

/// How far a clock is off. The simulator keeps a clone and turns it while the node runs.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    wall_ms: Arc<AtomicI64>,
    drift_ppm: Arc<AtomicI64>,
}

impl Skew {
    /// Sets the wall clock `ms` ahead of (or behind) the true time.
    pub fn set_wall(&self, ms: i64) {
        self.wall_ms.store(ms, Ordering::Relaxed);
    }

    /// Lets the monotonic clock run faster by `ppm` millionths (slower if negative). Set before the node starts: a change on the way would
    /// turn monotonic time back.
    pub fn set_drift(&self, ppm: i64) {
        self.drift_ppm.store(ppm, Ordering::Relaxed);
    }
}

impl Clock {
    /// A clock that starts now and shows the true time.
    #[must_use]
    pub fn new() -> Self {
        Self::skewed(Skew::default())
    }

    /// A clock that starts now and is off by `skew`.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn skewed(skew: Skew) -> Self {
        Self { start: std::time::Instant::now(), skew }
    }

    /// The time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn now(&self) -> Now {
        let elapsed = i64::try_from(self.start.elapsed().as_nanos()).expect("a process runs for less than 292 years");
        let drift = self.skew.drift_ppm.load(Ordering::Relaxed);
        let at = if drift == 0 { elapsed } else { elapsed + elapsed / 1_000_000 * drift };
        let true_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        Now { at: Instant(u64::try_from(at).unwrap_or(0)), wall: Timestamp(true_ms + self.skew.wall_ms.load(Ordering::Relaxed)) }
    }

    /// Returns once this clock shows `at`.
    pub async fn sleep_until(&self, at: Instant) {
        loop {
            let left = at.since(self.now().at);
            if left.is_zero() {
                return;
            }
            // A drifting clock may still be short of `at` afterwards: look again.
            tokio::time::sleep(left.max(Duration::from_micros(1))).await;
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skewed_wall_clock_leaves_monotonic_time_alone() {
        let skew = Skew::default();
        let clock = Clock::skewed(skew.clone());
        let before = clock.now();
        skew.set_wall(-3_600_000);
        let after = clock.now();
        assert!(after.wall < before.wall);
        assert!(after.at >= before.at);
    }
}
