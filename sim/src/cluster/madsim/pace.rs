//! The disk's pace in madsim's time, and the place where a node crashes in the midst of its work.

use super::SharedTrace;
use super::host::{self, News};
use crate::chance::Chance;
use crate::cluster::pace::Speed;
use crate::disk::{self, Cost};
use klamm::clock::Clock;
use klamm::net::weather;
use madsim::runtime::Handle;
use madsim::task::NodeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

/// A death in the midst of work.
struct Crash {
    /// The operation that finds 0 here is the last.
    after: u64,
    machine: NodeId,
    /// The machine loses power; otherwise it is the process that dies.
    power: bool,
}

/// The pace of a node's disk.
pub(super) struct Pace {
    /// Whose disk it is.
    number: u32,
    speed: Mutex<Speed>,
    crash: Mutex<Option<Crash>>,
    clock: Clock,
    log: SharedTrace,
    tell: mpsc::UnboundedSender<News>,
}

impl Pace {
    pub(super) fn new(number: u32, chance: Chance, clock: Clock, log: SharedTrace, tell: mpsc::UnboundedSender<News>) -> Self {
        Self { number, speed: Mutex::new(Speed::new(chance, number)), crash: Mutex::default(), clock, log, tell }
    }

    /// Makes every operation `factor` times as slow as usual.
    pub(super) fn slow_down(&self, factor: f64) {
        self.speed.lock().expect("nothing panics holding it").slow_down(factor);
    }

    /// Lets the node on `machine` die with a coming operation, after so many others; with `power`, the machine loses it.
    pub(super) fn arm(&self, after: u64, machine: NodeId, power: bool) {
        *self.crash.lock().expect("nothing panics holding it") = Some(Crash { after, machine, power });
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

    /// Counts an operation; the death that comes with it.
    fn due(&self) -> Option<Crash> {
        let mut crash = self.crash.lock().expect("nothing panics holding it");
        let left = &mut crash.as_mut()?.after;
        if *left == 0 {
            return crash.take();
        }
        *left -= 1;
        None
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
        if let Some(Crash { machine, power, .. }) = self.due() {
            if power {
                weather::darken(host::ip(self.number));
            }
            // None of its tasks is polled any more: not even this one is, once it waits.
            Handle::current().kill(machine);
            drop(self.tell.send(News::Crashed { node: self.number, power }));
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
