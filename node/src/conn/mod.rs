//! One client connection: cuts frames, decodes, checks batches, hands requests to the core, and sends the answers that come back.
//!
//! Decides nothing about a request. Closes the connection itself where the peer breaks the wire, stalls within a frame, or is idle for too long;
//! each reason is logged.

mod flow;
mod send;

use crate::driver::{Event, Out};
use crate::frames::Frames;
use crate::fs::Fs;
use crate::net::{Reader, Sendable, Writer};
use crate::pool::Pool;
use crate::store::Files;
use bytes::Bytes;
pub(crate) use flow::Budget;
use flow::Flow;
use klamm_core::broker::io::{Input, batches_of};
use klamm_core::error::ErrorCode;
use klamm_core::id::{ConnId, ListenerId};
use klamm_core::wire::api::api_versions::{ApiVersion, ApiVersionsResponse};
use klamm_core::wire::{ApiKey, Chunk, Refused, RequestHeader, Response, decode_request, encode_response};
use send::Sender;
pub(crate) use send::write_memory;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{debug, warn};

/// How often a connection is looked at for stalling.
const LOOK: Duration = Duration::from_secs(15);
/// How long a peer may pause within a frame.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Answers taken from the core at once.
const ANSWERS_AT_ONCE: usize = 64;

/// What all connections of a node share.
pub(crate) struct Shared<F: Fs> {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) files: Files<F>,
    pub(crate) budget: Budget,
    pub(crate) pool: Pool,
    /// Places to wait for the disk while sending: the other threads that may wait are for the store.
    pub(crate) cold: Arc<Semaphore>,
    pub(crate) frame_bytes_max: usize,
    pub(crate) idle_max: Option<Duration>,
    /// Dropped with the last connection and listener.
    pub(crate) _leave: mpsc::Sender<()>,
}

/// Who a connection is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) conn: ConnId,
    pub(crate) listener: ListenerId,
    pub(crate) peer: SocketAddr,
}

/// Why a connection ended: words for the log, and whether an operator should see them.
struct End {
    why: Cow<'static, str>,
    fault: bool,
}

impl End {
    fn quiet(why: impl Into<Cow<'static, str>>) -> Self {
        Self { why: why.into(), fault: false }
    }

    fn fault(why: impl Into<Cow<'static, str>>) -> Self {
        Self { why: why.into(), fault: true }
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::quiet(error.to_string())
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve<F: Fs<File: Sendable>>(shared: &Shared<F>, name: Name, reader: Reader, writer: Writer) {
    let (out, answers) = mpsc::unbounded_channel();
    // The driver alone keeps the channel open: when it lets go, the last answers leave and the connection ends.
    let aside = out.downgrade();
    let Name { conn, listener, peer } = name;
    if shared.events.send(Event::Opened { conn, listener, peer, out }).await.is_err() {
        return;
    }
    debug!(%conn, %peer, "connected");
    let flow = Flow::new(shared.budget.clone());
    // Both halves in one task: neither outlives the other, and a wake-up serves both.
    let end = tokio::select! {
        biased;
        end = answer(&flow, Sender::new(writer, shared.files.clone(), Arc::clone(&shared.cold)), answers) => end,
        end = ask(shared, &flow, conn, Frames::new(reader, flow.moves(), shared.pool.clone()), &aside) => end,
        end = watch(&flow, shared.idle_max) => end,
    };
    if end.fault {
        warn!(%conn, %peer, "closed: {}", end.why);
    } else {
        debug!(%conn, %peer, "closed: {}", end.why);
    }
    drop(shared.events.send(Event::Input(Input::Closed { conn })).await);
}

/// The writing half: sends answers in the order they come.
async fn answer<F: Fs<File: Sendable>>(flow: &Flow, mut sender: Sender<F>, mut answers: mpsc::UnboundedReceiver<Out>) -> End {
    let mut batch = Vec::with_capacity(ANSWERS_AT_ONCE);
    let mut chunks = VecDeque::new();
    loop {
        if answers.recv_many(&mut batch, ANSWERS_AT_ONCE).await == 0 {
            return End::quiet("the node stops");
        }
        let mut answered = 0;
        let mut close = None;
        for out in batch.drain(..) {
            match out {
                Out::Reply { correlation, version, body } => {
                    chunks.extend(encode_response(correlation, version, &body).chunks);
                    answered += 1;
                }
                Out::Done => answered += 1,
                Out::Aside { frame } => chunks.push_back(Chunk::Bytes(frame)),
                Out::Mute { muted } => flow.mute(muted),
                Out::Close { why } => close = Some(why),
            }
        }
        if let Err(error) = sender.send(&mut chunks, flow).await {
            return End::quiet(format!("sending: {error}"));
        }
        flow.answered(answered);
        if let Some(why) = close {
            return End::quiet(why);
        }
    }
}

/// The reading half: hands on requests in the order of their bytes.
async fn ask<F: Fs>(shared: &Shared<F>, flow: &Flow, conn: ConnId, mut frames: Frames<'_>, aside: &mpsc::WeakUnboundedSender<Out>) -> End {
    loop {
        let length = match frames.length().await {
            Ok(Some(length)) => length,
            Ok(None) => return End::quiet("by the peer"),
            Err(error) => return error.into(),
        };
        let Some(len) = usize::try_from(length).ok().filter(|len| *len <= shared.frame_bytes_max) else {
            return End::fault(format!("a frame of {length} bytes; `socket.request.max.bytes` is {}", shared.frame_bytes_max));
        };
        let api = match frames.peek(len).await {
            Ok(first) => first.and_then(|first| ApiKey::from_number(i16::from_be_bytes(first))),
            Err(error) => return error.into(),
        };
        let bytes = flow.admit(api, len).await;
        flow.set_within(true);
        let frame = match frames.body(len).await {
            Ok(frame) => frame,
            Err(error) => return error.into(),
        };
        flow.set_within(false);
        if let Err(end) = hand_on(shared, flow, conn, api, frame, bytes, aside).await {
            return end;
        }
    }
}

async fn hand_on<F: Fs>(
    shared: &Shared<F>,
    flow: &Flow,
    conn: ConnId,
    api: Option<ApiKey>,
    frame: Bytes,
    bytes: OwnedSemaphorePermit,
    aside: &mpsc::WeakUnboundedSender<Out>,
) -> Result<(), End> {
    // Only Produce keeps slices of what was received, and not for long. Whatever else keeps some must not keep the whole buffer with it.
    let is_produce = api == Some(ApiKey::Produce);
    let frame = if is_produce { frame } else { Bytes::copy_from_slice(&frame) };
    let (header, body) = match decode_request(frame) {
        Ok(request) => request,
        Err(Refused::UnsupportedVersion(header)) if header.api == ApiKey::ApiVersions => {
            flow.quiet().await;
            if let Some(out) = aside.upgrade() {
                drop(out.send(Out::Aside { frame: unsupported(&header) }));
            }
            return Ok(());
        }
        Err(refused) => return Err(End::fault(refused.to_string())),
    };
    let batches = batches_of(&body);
    flow.take_place(bytes, is_produce).await;
    let input = Input::Request { conn, header, body, batches };
    shared.events.send(Event::Input(input)).await.map_err(|_| End::quiet("the node stops"))
}

/// KIP-511: a client that asks in a version from the future is told, in version 0, which ones there are.
fn unsupported(header: &RequestHeader) -> Bytes {
    let versions = ApiKey::ApiVersions.versions();
    let known = ApiVersion { api_key: ApiKey::ApiVersions.number(), min_version: *versions.start(), max_version: *versions.end() };
    let body = ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION, api_keys: vec![known], ..ApiVersionsResponse::default() };
    encode_response(header.correlation, 0, &Response::ApiVersions(body)).bytes().expect("it refers to no file")
}

/// Ends when the connection is idle for too long, or stalls within a frame, which keeps a part of everybody's memory.
async fn watch(flow: &Flow, idle_max: Option<Duration>) -> End {
    let pause = idle_max.map_or(LOOK, |idle| idle.min(LOOK));
    let mut seen = flow.moves().load(Ordering::Relaxed);
    let mut idle = Duration::ZERO;
    loop {
        tokio::time::sleep(pause).await;
        let moves = flow.moves().load(Ordering::Relaxed);
        idle = if moves == seen { idle + pause } else { Duration::ZERO };
        seen = moves;
        if flow.is_within() && idle >= STALL_MAX {
            return End::fault("stalled within a frame");
        }
        if idle_max.is_some_and(|max| idle >= max) {
            return End::quiet("idle for longer than `connections.max.idle.ms`");
        }
    }
}
