//! The disk's pace in madsim's time, and the place where a node crashes in the midst of its work.

use super::SharedTrace;
use super::host::News;
use crate::cluster::pace::Speed;
use crate::disk::{self, Cost};
use klamm::clock::Clock;
use klamm_core::rng::Rng;
use madsim::runtime::Handle;
use madsim::task::NodeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

/// The pace of a node's disk.
pub(super) struct Pace {
    /// Whose disk it is.
    number: u32,
    speed: Mutex<Speed>,
    /// The node dies with the operation that finds 0 here.
    crash: Mutex<Option<(u64, NodeId)>>,
    clock: Clock,
    log: SharedTrace,
    tell: mpsc::UnboundedSender<News>,
}

impl Pace {
    pub(super) fn new(number: u32, rng: Rng, clock: Clock, log: SharedTrace, tell: mpsc::UnboundedSender<News>) -> Self {
        Self { number, speed: Mutex::new(Speed::new(rng)), crash: Mutex::default(), clock, log, tell }
    }

    /// Makes every operation `factor` times as slow as usual.
    pub(super) fn slow_down(&self, factor: f64) {
        self.speed.lock().expect("nothing panics holding it").slow_down(factor);
    }

    /// Lets `node` die with a coming operation, after so many others.
    pub(super) fn arm(&self, after: u64, node: NodeId) {
        *self.crash.lock().expect("nothing panics holding it") = Some((after, node));
    }

    /// Forgets that a node was to die.
    pub(super) fn disarm(&self) {
        *self.crash.lock().expect("nothing panics holding it") = None;
    }

    /// No more faults.
    pub(super) fn calm(&self) {
        self.slow_down(1.0);
        self.disarm();
    }

    /// Counts an operation; the node that dies with it.
    fn victim(&self) -> Option<NodeId> {
        let mut crash = self.crash.lock().expect("nothing panics holding it");
        match crash.as_mut()? {
            (0, node) => {
                let node = *node;
                *crash = None;
                Some(node)
            }
            (left, _) => {
                *left -= 1;
                None
            }
        }
    }

    fn note(&self, cost: Cost) {
        let mut log = self.log.lock().expect("nothing panics holding it");
        log.trace.note(self.clock.now().at.0, self.number, "disk", &cost);
        log.counts.effects += 1;
    }
}

impl disk::Pace for Pace {
    fn pass(&self, cost: Cost) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.note(cost);
        if let Some(node) = self.victim() {
            // None of its tasks is polled any more: not even this one is, once it waits.
            Handle::current().kill(node);
            drop(self.tell.send(News::Crashed { node: self.number }));
            return Box::pin(std::future::pending());
        }
        let nanos = self.speed.lock().expect("nothing panics holding it").duration(cost);
        Box::pin(sleep(Duration::from_nanos(nanos)))
    }
}

/// Sleeps to the nanosecond: a sleep of madsim's lasts a millisecond at least, as tokio's does.
async fn sleep(duration: Duration) {
    const LEAST: Duration = Duration::from_millis(1);
    let mut sleep = Box::pin(tokio::time::sleep(duration));
    if let Some(too_long) = LEAST.checked_sub(duration) {
        let at = sleep.deadline() - too_long;
        sleep.as_mut().reset(at);
    }
    sleep.await;
}
