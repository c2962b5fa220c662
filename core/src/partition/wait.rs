//! Answers parked on an offset. A watermark that moves releases, in one cut, all that waited for it.

use crate::id::Offset;
use std::collections::BTreeMap;

/// What waits for a watermark to reach an offset, in the order of offsets, then of arrival.
#[derive(Clone, Debug)]
pub struct Waits<T> {
    parked: BTreeMap<(Offset, u64), T>,
    arrivals: u64,
}

impl<T> Default for Waits<T> {
    fn default() -> Self {
        Self { parked: BTreeMap::new(), arrivals: 0 }
    }
}

impl<T> Waits<T> {
    /// Parks `what` until the watermark has reached `until`.
    pub fn park(&mut self, until: Offset, what: T) {
        self.parked.insert((until, self.arrivals), what);
        self.arrivals += 1;
    }

    /// Takes out everything that waited for `reached` or less, in order.
    pub fn release(&mut self, reached: Offset) -> Vec<T> {
        let rest = self.parked.split_off(&(reached.plus(1), 0));
        std::mem::replace(&mut self.parked, rest).into_values().collect()
    }

    /// Takes out everything: the watermark will not move any more.
    pub fn fail(&mut self) -> Vec<T> {
        std::mem::take(&mut self.parked).into_values().collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_releases_what_it_reached_in_order() {
        let mut waits = Waits::default();
        for (until, name) in [(20, "c"), (10, "a"), (10, "b"), (30, "d")] {
            waits.park(Offset(until), name);
        }
        assert_eq!(waits.release(Offset(9)), Vec::<&str>::new());
        assert_eq!(waits.release(Offset(20)), ["a", "b", "c"]);
        assert_eq!(waits.fail(), ["d"]);
    }
}
