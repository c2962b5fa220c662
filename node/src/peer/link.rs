//! One connection to a peer: makes it, writes calls in order, checks and hands back the answers. Ends when it breaks, is idle, or is let go of.

use super::{LinkId, News};
use crate::conn::write_memory;
use crate::frames::Frames;
use crate::net::{self, Reader, Writer};
use crate::pool::Pool;
use bytes::Bytes;
use klamm_core::broker::io::{Fetched, Unreachable, fetched_of};
use klamm_core::client::io::Address;
use klamm_core::id::{CallId, CorrelationId};
use klamm_core::wire::{ApiKey, Chunk, Request, RequestHeader, Response, decode_response, encode_request};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{debug, warn};

/// How long making a connection may take: long enough for one lost packet.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A connection without a call for so long is closed: before the peer closes it, whose `connections.max.idle.ms` is ten minutes by default.
const IDLE_MAX: Duration = Duration::from_mins(5);
/// How often a connection is looked at for idleness.
const LOOK: Duration = Duration::from_mins(1);
/// A longer answer is taken for a broken one.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Answers below this need no room: votes and heartbeats must not wait for large answers to be dealt with. And they are copied, so that a few
/// bytes do not keep all that came in with them.
const SMALL_BYTES: usize = 4 << 10;
/// Calls that are written together.
const ASKS_AT_ONCE: usize = 64;

/// A call to be written.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) call: CallId,
    pub(super) version: i16,
    pub(super) request: Box<Request>,
}

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
    Answer { call: CallId, response: Box<Response>, batches: Fetched, _room: Option<OwnedSemaphorePermit> },
    Ended { why: Unreachable },
}

/// A call that has no answer yet.
pub(super) struct Open {
    pub(super) call: CallId,
    pub(super) api: ApiKey,
    pub(super) version: i16,
}

/// Answers come in the order of their calls.
pub(super) type Opens = Mutex<VecDeque<Open>>;

/// Makes the connection and runs it to its end; says how that came, unless nobody holds the other end of `gone` any more.
pub(super) async fn run(
    way: Way,
    asks: mpsc::UnboundedReceiver<Ask>,
    gone: oneshot::Receiver<()>,
    news: mpsc::UnboundedSender<News>,
    room: Arc<Semaphore>,
) {
    let why = tokio::select! {
        biased;
        _ = gone => return,
        why = serve(&way, asks, &news, room) => why,
    };
    drop(news.send(News { link: way.link, what: What::Ended { why } }));
}

async fn serve(way: &Way, mut asks: mpsc::UnboundedReceiver<Ask>, news: &mpsc::UnboundedSender<News>, room: Arc<Semaphore>) -> Unreachable {
    if !way.pause.is_zero() {
        tokio::time::sleep(way.pause).await;
    }
    let (reader, writer) = match tokio::time::timeout(CONNECT_MAX, connect(&way.to)).await {
        Ok(Ok(halves)) => halves,
        Ok(Err(why)) => return why,
        Err(_) => return Unreachable::TimedOut,
    };
    debug!(to = %way.to, "connected");
    let (opens, moves) = (Opens::default(), AtomicU64::new(0));
    let tell = |what| drop(news.send(News { link: way.link, what }));
    // Both halves in one task: neither outlives the other.
    let broke = tokio::select! {
        biased;
        broke = write(writer, &way.client_id, &mut asks, &opens) => broke,
        broke = read(Frames::new(reader, &moves, Pool::default()), &opens, room, tell) => broke,
        () = idle(&opens, &moves, LOOK, IDLE_MAX) => return Unreachable::Lost,
    };
    match broke {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => warn!(to = %way.to, "closed: {error}"),
        Err(error) => debug!(to = %way.to, "closed: {error}"),
        Ok(()) => {}
    }
    Unreachable::Lost
}

/// Tries every address of the peer's name. It is refused only if every one refuses: one that is not reached may have somebody behind it.
async fn connect(to: &Address) -> Result<(Reader, Writer), Unreachable> {
    let addresses = net::resolve(&to.to_string()).await.map_err(|_| Unreachable::Lost)?;
    let mut failed = None;
    for address in addresses {
        let why = match net::connect(address).await {
            Ok(halves) => return Ok(halves),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Unreachable::Refused,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Unreachable::TimedOut,
            Err(_) => Unreachable::Lost,
        };
        failed = Some(failed.map_or(why, |before| if before == why { why } else { Unreachable::Lost }));
    }
    Err(failed.unwrap_or(Unreachable::Lost))
}

/// Ends well when nobody can ask any more.
async fn write(mut writer: Writer, client_id: &str, asks: &mut mpsc::UnboundedReceiver<Ask>, opens: &Opens) -> io::Result<()> {
    let mut batch = Vec::with_capacity(ASKS_AT_ONCE);
    let mut chunks = VecDeque::<Chunk>::new();
    while asks.recv_many(&mut batch, ASKS_AT_ONCE).await > 0 {
        for Ask { call, version, request } in batch.drain(..) {
            let api = request.api();
            opens.lock().expect("nobody panics while holding it").push_back(Open { call, api, version });
            let header = RequestHeader { api, version, correlation: correlation(call), client_id: Some(client_id.to_owned()) };
            chunks.extend(encode_request(&header, &request).chunks);
        }
        while !chunks.is_empty() {
            write_memory(&mut writer, &mut chunks).await?;
        }
        writer.flush().await?;
    }
    Ok(())
}

async fn read(mut frames: Frames<'_>, opens: &Opens, room: Arc<Semaphore>, tell: impl Fn(What)) -> io::Result<()> {
    loop {
        let length = frames.length().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Some(len) = usize::try_from(length).ok().filter(|len| *len <= FRAME_BYTES_MAX) else {
            return Err(malformed(format!("an answer of {length} bytes")));
        };
        let room = if len < SMALL_BYTES { None } else { Some(take(&room, len).await) };
        let frame = frames.body(len).await?;
        let open = opens.lock().expect("nobody panics while holding it").pop_front();
        let open = open.ok_or_else(|| malformed("an answer that nobody asked for".to_owned()))?;
        let (response, batches) = decode(&open, frame)?;
        tell(What::Answer { call: open.call, response: Box::new(response), batches, _room: room });
    }
}

/// Room for an answer of `len` bytes; one that is larger than all room is let in alone.
async fn take(room: &Arc<Semaphore>, len: usize) -> OwnedSemaphorePermit {
    let bytes = u32::try_from(len.min(super::ANSWERS_BYTES_MAX)).expect("the room is below 4 GiB");
    Arc::clone(room).acquire_many_owned(bytes).await.expect("the room is never closed")
}

/// An answer, and its batches where it has some: they are slices of the frame.
fn decode(open: &Open, frame: Bytes) -> io::Result<(Response, Fetched)> {
    let has_records = matches!(open.api, ApiKey::Fetch | ApiKey::FetchSnapshot);
    let frame = if has_records && frame.len() >= SMALL_BYTES { frame } else { Bytes::copy_from_slice(&frame) };
    let name = open.api.name();
    let (correlated, response) =
        decode_response(open.api, open.version, frame).map_err(|error| malformed(format!("an answer to {name}: {error}")))?;
    if correlated != correlation(open.call) {
        return Err(malformed(format!("an answer to {name} out of its order")));
    }
    let batches = fetched_of(&response);
    Ok((response, batches))
}

fn malformed(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Ends when there was no call for `most`; looks every `look`.
pub(super) async fn idle(opens: &Opens, moves: &AtomicU64, look: Duration, most: Duration) {
    let mut seen = moves.load(Ordering::Relaxed);
    let mut idle = Duration::ZERO;
    while idle < most {
        tokio::time::sleep(look).await;
        let moved = moves.load(Ordering::Relaxed);
        let is_idle = moved == seen && opens.lock().expect("nobody panics while holding it").is_empty();
        idle = if is_idle { idle + look } else { Duration::ZERO };
        seen = moved;
    }
}

/// The low 32 bits of a call's name.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
fn correlation(call: CallId) -> CorrelationId {
    CorrelationId(call.0 as i32)
}
