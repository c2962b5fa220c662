//! One connection to a peer: makes it, writes calls in order, checks and hands back the answers. Ends when it breaks, is idle, or is let go of.

use super::{LinkId, News};
use crate::asks::{self, Ask, Opens};
use crate::frames::Frames;
use crate::net::{self, Reader, Writer};
use crate::pool::Pool;
use bytes::Bytes;
use klamm_core::broker::io::{Fetched, Unreachable, fetched_of};
use klamm_core::client::io::Address;
use klamm_core::id::CallId;
use klamm_core::wire::{ApiKey, Response};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{debug, warn};

/// How long making a connection may take: long enough for one lost packet.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A connection without a call for so long is closed: before the peer closes it, whose `connections.max.idle.ms` is ten minutes by default.
const IDLE_MAX: Duration = Duration::from_mins(5);
/// How often a connection is looked at for idleness.
const LOOK: Duration = Duration::from_mins(1);
/// Answers below this need no room: votes and heartbeats must not wait for large answers to be dealt with. And they are copied, so that a few
/// bytes do not keep all that came in with them.
const SMALL_BYTES: usize = 4 << 10;
/// A connection to be made.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) link: LinkId,
    pub(super) to: Address,
    pub(super) client_id: String,
    /// Not before this time has passed.
    pub(super) pause: Duration,
}

/// What has happened on a connection.
#[derive(Debug)]
pub(super) enum What {
    Made,
    Answer { call: CallId, response: Box<Response>, batches: Fetched, _room: Option<OwnedSemaphorePermit> },
    Ended { why: Unreachable, words: String },
}

/// Makes the connection and runs it to its end; says how that came, unless nobody holds the other end of `gone` any more.
pub(super) async fn run(
    way: Way,
    asks: mpsc::UnboundedReceiver<Ask>,
    gone: oneshot::Receiver<()>,
    news: mpsc::UnboundedSender<News>,
    room: Arc<Semaphore>,
) {
    let (why, words) = tokio::select! {
        biased;
        _ = gone => return,
        end = serve(&way, asks, &news, room) => end,
    };
    drop(news.send(News { link: way.link, what: What::Ended { why, words } }));
}

/// How a connection came to its end, for the core and in words.
type End = (Unreachable, String);

async fn serve(way: &Way, mut asks: mpsc::UnboundedReceiver<Ask>, news: &mpsc::UnboundedSender<News>, room: Arc<Semaphore>) -> End {
    if !way.pause.is_zero() {
        tokio::time::sleep(way.pause).await;
    }
    let (reader, writer) = match tokio::time::timeout(CONNECT_MAX, connect(&way.to)).await {
        Ok(Ok(halves)) => halves,
        Ok(Err(end)) => return end,
        Err(_) => return (Unreachable::TimedOut, format!("no word within {CONNECT_MAX:?}")),
    };
    debug!(to = %way.to, "connected");
    let (opens, moves) = (Opens::default(), AtomicU64::new(0));
    let tell = |what| drop(news.send(News { link: way.link, what }));
    tell(What::Made);
    // Both halves in one task: neither outlives the other.
    let broke = tokio::select! {
        biased;
        broke = asks::write(writer, &way.client_id, &mut asks, &opens) => broke,
        broke = read(Frames::new(reader, &moves, Pool::default()), &opens, room, tell) => broke,
        () = idle(&opens, &moves, LOOK, IDLE_MAX) => return (Unreachable::Lost, "it was idle".to_owned()),
    };
    let words = match broke {
        Ok(()) => String::new(),
        Err(error) => {
            if error.kind() == io::ErrorKind::InvalidData {
                warn!(to = %way.to, "closed: {error}");
            } else {
                debug!(to = %way.to, "closed: {error}");
            }
            format!("the connection broke before anything was answered: {error}")
        }
    };
    (Unreachable::Lost, words)
}

/// Tries every address of the peer's name. It is refused only if every one refuses: one that is not reached may have somebody behind it.
async fn connect(to: &Address) -> Result<(Reader, Writer), End> {
    let addresses =
        net::resolve(&to.to_string()).await.map_err(|error| (Unreachable::Lost, format!("its name means nothing here: {error}")))?;
    let mut failed: Option<End> = None;
    for address in addresses {
        let error = match net::connect(address).await {
            Ok(halves) => return Ok(halves),
            Err(error) => error,
        };
        let why = if error.kind() == io::ErrorKind::ConnectionRefused {
            Unreachable::Refused
        } else if error.kind() == io::ErrorKind::TimedOut {
            Unreachable::TimedOut
        } else {
            Unreachable::Lost
        };
        let is_other = failed.is_some_and(|(before, _)| before != why);
        failed = Some((if is_other { Unreachable::Lost } else { why }, error.to_string()));
    }
    Err(failed.unwrap_or_else(|| (Unreachable::Lost, "its name has no address".to_owned())))
}

async fn read(mut frames: Frames<'_>, opens: &Opens, room: Arc<Semaphore>, tell: impl Fn(What)) -> io::Result<()> {
    loop {
        let len = asks::length(&mut frames).await?;
        let room = if len < SMALL_BYTES { None } else { Some(take(&room, len).await) };
        let frame = frames.body(len).await?;
        let open = opens.next()?;
        let has_records = matches!(open.api, ApiKey::Fetch | ApiKey::FetchSnapshot);
        let frame = if has_records && frame.len() >= SMALL_BYTES { frame } else { Bytes::copy_from_slice(&frame) };
        let response = open.decode(frame)?;
        // Batches are slices of the frame.
        let batches = fetched_of(&response);
        tell(What::Answer { call: open.call, response: Box::new(response), batches, _room: room });
    }
}

/// Room for an answer of `len` bytes; one that is larger than all room is let in alone.
async fn take(room: &Arc<Semaphore>, len: usize) -> OwnedSemaphorePermit {
    let bytes = u32::try_from(len.min(super::ANSWERS_BYTES_MAX)).expect("the room is below 4 GiB");
    Arc::clone(room).acquire_many_owned(bytes).await.expect("the room is never closed")
}

/// Ends when there was no call for `most`; looks every `look`.
pub(super) async fn idle(opens: &Opens, moves: &AtomicU64, look: Duration, most: Duration) {
    let mut seen = moves.load(Ordering::Relaxed);
    let mut idle = Duration::ZERO;
    while idle < most {
        tokio::time::sleep(look).await;
        let moved = moves.load(Ordering::Relaxed);
        let is_idle = moved == seen && opens.is_empty();
        idle = if is_idle { idle + look } else { Duration::ZERO };
        seen = moved;
    }
}
