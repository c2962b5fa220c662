//! How much of a connection may be under way at once. Shared by its reading and its writing half.
//!
//! Three bounds: requests of one connection (the window), bytes of all connections together (the budget), and the core's own word (mute). A
//! place is given back when the answer has left, so a peer that does not read stops being read from.
//!
//! What is produced waits for its followers while it holds its part of the budget (Kafka gives that back once it is appended). So what followers
//! ask has a reserve: else all might be held by those who wait for a fetch that is never read.

use klamm_core::wire::ApiKey;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Places in a connection's window. As many Produce requests overlap in the core.
const WINDOW: u32 = 64;
/// Places that a request takes which is not Produce: it does not overlap with others, and its answer may be large.
const WIDE: u32 = 16;
/// What a request costs beyond the bytes of its frame.
const OVERHEAD_BYTES: usize = 512;
/// What the questions of followers may hold together where the budget is spent. Clients ask the same, and are not told from followers before they are
/// read: so it has room for the long waits of some twenty thousand of them.
const RESERVE_BYTES: u32 = 16 << 20;
/// A longer question waits with everything else, so that it holds up no other: that of a follower of all partitions that a broker may have is shorter.
const QUESTION_BYTES_MAX: u32 = 1 << 20;

/// Bytes that all requests under way may hold together. A clone shares the bound.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    max: u32,
    reserve: Arc<Semaphore>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let max = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self { bytes: Arc::new(Semaphore::new(max as usize)), max, reserve: Arc::new(Semaphore::new(RESERVE_BYTES as usize)) }
    }

    /// Waits until there is room for a frame of `len` bytes. One that is larger than the whole budget is let in alone.
    async fn take(&self, api: Option<ApiKey>, len: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(len + OVERHEAD_BYTES).unwrap_or(u32::MAX);
        let (from, most) = if is_of_followers(api) && bytes <= QUESTION_BYTES_MAX {
            // While others wait, nothing is left for this: it passes nobody.
            if let Ok(permit) = Arc::clone(&self.bytes).try_acquire_many_owned(bytes) {
                return permit;
            }
            (&self.reserve, RESERVE_BYTES)
        } else {
            (&self.bytes, self.max)
        };
        Arc::clone(from).acquire_many_owned(bytes.min(most)).await.expect("the budget is never closed")
    }
}

/// Whether a follower asks this, by a listener that clients come in by as well.
fn is_of_followers(api: Option<ApiKey>) -> bool {
    matches!(api, Some(ApiKey::Fetch | ApiKey::ListOffsets))
}

/// One request's place.
#[derive(Debug)]
struct Place {
    width: u32,
    _bytes: OwnedSemaphorePermit,
}

/// The state of one connection that both halves see.
#[derive(Debug)]
pub(crate) struct Flow {
    budget: Budget,
    window: Semaphore,
    under_way: Mutex<VecDeque<Place>>,
    muted: AtomicBool,
    unmuted: Notify,
    moved: AtomicU64,
    within: AtomicBool,
}

impl Flow {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            budget,
            window: Semaphore::new(WINDOW as usize),
            under_way: Mutex::default(),
            muted: AtomicBool::new(false),
            unmuted: Notify::new(),
            moved: AtomicU64::new(0),
            within: AtomicBool::new(false),
        }
    }

    /// Waits until a frame of `len` bytes may be read.
    pub(crate) async fn admit(&self, api: Option<ApiKey>, len: usize) -> OwnedSemaphorePermit {
        while self.muted.load(Ordering::Acquire) {
            self.unmuted.notified().await;
        }
        self.budget.take(api, len).await
    }

    /// Waits until a request may be handed on that is read, and takes its place.
    pub(crate) async fn take_place(&self, bytes: OwnedSemaphorePermit, is_produce: bool) {
        let width = if is_produce { 1 } else { WIDE };
        self.window.acquire_many(width).await.expect("the window is never closed").forget();
        self.queue().push_back(Place { width, _bytes: bytes });
    }

    /// The oldest `count` requests are answered, and their answers have left.
    pub(crate) fn answered(&self, count: usize) {
        let width: u32 = self.queue().drain(..count).map(|place| place.width).sum();
        self.window.add_permits(width as usize);
    }

    /// Waits until everything that was handed on has been answered.
    pub(crate) async fn quiet(&self) {
        drop(self.window.acquire_many(WINDOW).await);
    }

    pub(crate) fn mute(&self, muted: bool) {
        self.muted.store(muted, Ordering::Release);
        if !muted {
            self.unmuted.notify_one();
        }
    }

    /// Bytes went in or out.
    pub(crate) fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    /// How often bytes went in or out.
    pub(crate) fn moves(&self) -> &AtomicU64 {
        &self.moved
    }

    /// A frame is being read that holds part of the budget, or no longer.
    pub(crate) fn set_within(&self, within: bool) {
        self.within.store(within, Ordering::Relaxed);
    }

    pub(crate) fn is_within(&self) -> bool {
        self.within.load(Ordering::Relaxed)
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Place>> {
        self.under_way.lock().expect("nobody panics while holding it")
    }
}
