//! Virtual time for the mesh: one queue of what is to come, and disks whose operations end there.

use crate::chance::{Chance, Matter};
use crate::disk::{Cost, Pace};
use rand::Rng as _;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// What is to come, in order of time, then of its making.
#[derive(Debug)]
pub struct Timeline<E> {
    now: u64,
    made: u64,
    /// When, which in the order of their making, and its place.
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
}

impl<E> Default for Timeline<E> {
    fn default() -> Self {
        Self { now: 0, made: 0, order: BinaryHeap::new(), events: Vec::new(), free: Vec::new() }
    }
}

impl<E> Timeline<E> {
    /// Nanoseconds since the run began.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets `event` come at `at`, or at once if that has passed.
    pub fn at(&mut self, at: u64, event: E) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[place] = Some(event);
        self.order.push(Reverse((at.max(self.now), self.made, place)));
        self.made += 1;
    }

    /// Lets `event` come in `delay` nanoseconds.
    pub fn after(&mut self, delay: u64, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// Whether nothing is to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Goes on to the next event that comes no later than `until`.
    pub fn next(&mut self, until: u64) -> Option<E> {
        let Reverse((at, _, place)) = *self.order.peek()?;
        if at > until {
            return None;
        }
        self.order.pop();
        self.now = at;
        self.free.push(place);
        Some(self.events[place].take().expect("an event that is to come has its place to itself"))
    }
}

#[derive(Debug, Default)]
struct Pacer {
    next: u64,
    /// Begun since the mesh last looked, with their durations.
    begun: Vec<(u64, u64)>,
    done: BTreeSet<u64>,
    wakers: BTreeMap<u64, Waker>,
}

/// The pace of one node's disk.
#[derive(Clone, Debug)]
pub struct DiskPace {
    shared: Arc<Mutex<Pacer>>,
    speed: Arc<Mutex<Speed>>,
}

/// How long a disk takes for what it does.
#[derive(Debug)]
pub(super) struct Speed {
    chance: Chance,
    node: u32,
    factor: f64,
}

impl Speed {
    /// Of the disks of a node.
    pub(super) fn new(chance: Chance, node: u32) -> Self {
        Self { chance, node, factor: 1.0 }
    }

    /// Makes every operation `factor` times as slow as usual.
    pub(super) fn slow_down(&mut self, factor: f64) {
        self.factor = factor;
    }

    /// How long the next operation takes, in ns.
    pub(super) fn duration(&self, cost: Cost) -> u64 {
        let (operation, base, bytes_per_us) = match cost {
            Cost::Meta => ("look", 5_000, None),
            Cost::Read(bytes) => ("read", 20_000, Some((bytes, 500))),
            Cost::Write(bytes) => ("write", 5_000, Some((bytes, 1_000))),
            Cost::Sync(bytes) => ("sync", 600_000, Some((bytes, 200))),
        };
        let transfer = bytes_per_us.map_or(0, |(bytes, rate)| bytes * 1_000 / rate);
        let millionths = self.chance.decide(Matter::Pace { node: self.node, operation }, |rng| {
            let jitter = rng.random_range(500_000..2_000_000);
            // One in a hundred hits a bad moment.
            if rng.random_ratio(1, 100) { 20 * jitter } else { jitter }
        });
        ((base + transfer) as f64 * millionths as f64 / 1e6 * self.factor) as u64
    }
}

impl DiskPace {
    /// A disk of a node.
    #[must_use]
    pub fn new(chance: Chance, node: u32) -> Self {
        Self { shared: Arc::default(), speed: Arc::new(Mutex::new(Speed::new(chance, node))) }
    }

    /// Makes every operation `factor` times as slow as usual.
    pub fn slow_down(&self, factor: f64) {
        self.speed.lock().expect("nothing panics holding it").slow_down(factor);
    }

    fn shared(&self) -> MutexGuard<'_, Pacer> {
        self.shared.lock().expect("nothing panics holding it")
    }

    /// Operations begun since the last call: number and duration in ns. `finish` each when its time has come.
    pub fn begun(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.shared().begun)
    }

    /// An operation's time has come.
    pub fn finish(&self, number: u64) {
        let waker = {
            let mut shared = self.shared();
            shared.done.insert(number);
            shared.wakers.remove(&number)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Pass {
    shared: Arc<Mutex<Pacer>>,
    number: u64,
}

impl Future for Pass {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock().expect("nothing panics holding it");
        if shared.done.remove(&self.number) {
            return Poll::Ready(());
        }
        shared.wakers.insert(self.number, cx.waker().clone());
        Poll::Pending
    }
}

impl Pace for DiskPace {
    fn pass(&self, cost: Cost) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let duration = self.speed.lock().expect("nothing panics holding it").duration(cost);
        let mut shared = self.shared();
        let number = shared.next;
        shared.next += 1;
        shared.begun.push((number, duration));
        Box::pin(Pass { shared: self.shared.clone(), number })
    }
}
