//! An executor for one future on a slow disk: time passes when everything waits.

use klamm_core::rng::{Rng, stream};
use klamm_sim::disk::{Cost, Pace};
use rand::Rng as _;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// A clock whose disk operations end in a random order, syncs later than the rest.
#[derive(Clone)]
pub(crate) struct Slow(Arc<Mutex<Clock>>);

struct Clock {
    rng: Rng,
    now: u64,
    serial: u64,
    waiting: BTreeMap<(u64, u64), Option<Waker>>,
}

impl Slow {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Clock { rng: stream(seed, "pace"), now: 0, serial: 0, waiting: BTreeMap::new() })))
    }

    /// For a disk.
    pub(crate) fn pace(&self) -> Arc<dyn Pace> {
        Arc::new(self.clone())
    }

    /// Runs `work` to its end.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.run(work, u64::MAX).expect("work that has no deadline ends")
    }

    /// Runs `work` for at most so many disk completions; `None` where it has not ended then.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>, mut completions: u64) -> Option<T> {
        let mut work = pin!(work);
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Some(done);
            }
            if completions == 0 {
                return None;
            }
            completions -= 1;
            let first = {
                let mut clock = self.0.lock().expect("one thread");
                let ((at, _), waker) = clock.waiting.pop_first().expect("work that waits, waits for the disk");
                clock.now = at;
                waker
            };
            first.inspect(Waker::wake_by_ref);
        }
    }
}

impl Pace for Slow {
    fn pass(&self, cost: Cost) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let key = {
            let mut clock = self.0.lock().expect("one thread");
            let most = if matches!(cost, Cost::Sync(_)) { 1000 } else { 30 };
            clock.serial += 1;
            let key = (clock.now + clock.rng.random_range(1..=most), clock.serial);
            clock.waiting.insert(key, None);
            key
        };
        let slow = self.clone();
        Box::pin(poll_fn(move |cx| match slow.0.lock().expect("one thread").waiting.get_mut(&key) {
            Some(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }))
    }
}
