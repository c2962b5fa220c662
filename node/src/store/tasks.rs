//! Runs many futures under one waker, with no runtime: what the store needs of an executor, and no more.
//!
//! Everything here is polled by whoever polls the store, one at a time; the locks only make it `Send`.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How often one turn looks for tasks that were woken meanwhile.
const PASSES_PER_TURN: usize = 64;

/// Takes a lock that nobody holds across a panic or an await.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a lock of the store")
}

#[derive(Default)]
struct Inbox {
    born: Vec<Task>,
    woken: VecDeque<usize>,
    driver: Option<Waker>,
}

/// Starts tasks, from inside and outside of other tasks.
#[derive(Clone, Default)]
pub(crate) struct Spawner(Arc<Mutex<Inbox>>);

impl Spawner {
    /// Starts a task; it is first polled at the next turn.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let driver = {
            let mut inbox = lock(&self.0);
            inbox.born.push(Box::pin(task));
            inbox.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// Wakes one task.
struct Bell {
    slot: usize,
    /// Whether the slot is among the woken: however often it rings, the task is polled once.
    rung: AtomicBool,
    inbox: Arc<Mutex<Inbox>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if self.rung.swap(true, Ordering::Relaxed) {
            return;
        }
        let driver = {
            let mut inbox = lock(&self.inbox);
            inbox.woken.push_back(self.slot);
            inbox.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// The tasks themselves. A late wake of a slot that has a new tenant only polls that one once too often.
#[derive(Default)]
pub(crate) struct Tasks {
    spawner: Spawner,
    slots: Vec<Option<Task>>,
    bells: Vec<(Arc<Bell>, Waker)>,
    free: Vec<usize>,
}

impl Tasks {
    /// What starts tasks here.
    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// Polls what was started or woken; `cx` will be woken when there is more. Ends after a while even if tasks wake each other without end: what
    /// they wait for may want the thread (a runtime that doles out polls, for one).
    pub(crate) fn turn(&mut self, cx: &Context<'_>) {
        for _ in 0..PASSES_PER_TURN {
            let (born, woken) = {
                let mut inbox = lock(&self.spawner.0);
                if inbox.born.is_empty() && inbox.woken.is_empty() {
                    inbox.driver = Some(cx.waker().clone());
                    return;
                }
                (std::mem::take(&mut inbox.born), std::mem::take(&mut inbox.woken))
            };
            for slot in woken {
                self.poll(slot);
            }
            for task in born {
                let slot = self.place(task);
                self.poll(slot);
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Drops all tasks.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        let born = std::mem::take(&mut lock(&self.spawner.0).born);
        drop(born);
    }

    fn place(&mut self, task: Task) -> usize {
        if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(task);
            return slot;
        }
        let slot = self.slots.len();
        self.slots.push(Some(task));
        let bell = Arc::new(Bell { slot, rung: AtomicBool::new(false), inbox: Arc::clone(&self.spawner.0) });
        self.bells.push((Arc::clone(&bell), bell.into()));
        slot
    }

    fn poll(&mut self, slot: usize) {
        let (bell, waker) = &self.bells[slot];
        bell.rung.store(false, Ordering::Relaxed);
        let Some(task) = &mut self.slots[slot] else { return };
        if task.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            self.slots[slot] = None;
            self.free.push(slot);
        }
    }
}

/// Lets futures wait until a condition holds that others bring about.
#[derive(Default)]
pub(crate) struct Signal(Mutex<Vec<Waker>>);

impl Signal {
    /// Makes all who wait look again.
    pub(crate) fn ring(&self) {
        for waker in std::mem::take(&mut *lock(&self.0)) {
            waker.wake();
        }
    }

    /// Ends when `ready` says so; it is asked again after each `ring`.
    pub(crate) async fn until(&self, mut ready: impl FnMut() -> bool) {
        poll_fn(|cx| {
            if ready() {
                return Poll::Ready(());
            }
            let mut waiting = lock(&self.0);
            // One task may wait for several signals, and is polled for each.
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Runs all of `work`, at most `limit` at a time, and gives the results in the order of the work.
pub(crate) async fn at_most<T, W: Future<Output = T>>(limit: usize, work: impl IntoIterator<Item = W>) -> Vec<T> {
    let mut coming = work.into_iter().enumerate();
    let mut running: Vec<(usize, Pin<Box<W>>)> = Vec::new();
    let mut results: Vec<Option<T>> = Vec::new();
    poll_fn(|cx| {
        loop {
            while running.len() < limit
                && let Some((index, future)) = coming.next()
            {
                running.push((index, Box::pin(future)));
                results.push(None);
            }
            let before = running.len();
            running.retain_mut(|(index, future)| match future.as_mut().poll(cx) {
                Poll::Ready(result) => {
                    results[*index] = Some(result);
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() && before < limit {
                return Poll::Ready(());
            }
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    results.into_iter().map(|result| result.expect("all of the work has ended")).collect()
}
