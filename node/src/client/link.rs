//! One connection of a client machine: makes it, writes requests in order, hands back the answers. Decides nothing, not even when to give up.

use crate::conn::write_memory;
use crate::frames::Frames;
use crate::net::{self, Reader, Writer};
use crate::pool::Pool;
use klamm_core::client::io::Address;
use klamm_core::id::{CallId, ConnId, CorrelationId};
use klamm_core::wire::{ApiKey, Chunk, Request, RequestHeader, Response, decode_response, encode_request};
use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use tokio::sync::mpsc;

/// A longer answer is taken for a broken one.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Requests that are written together.
const ASKS_AT_ONCE: usize = 64;

/// A request to be written.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) call: CallId,
    pub(super) version: i16,
    pub(super) request: Box<Request>,
    pub(super) answered: bool,
}

/// What a connection tells its driver.
#[derive(Debug)]
pub(super) enum News {
    Connected { conn: ConnId },
    Closed { conn: ConnId },
    Answer { call: CallId, response: Box<Response> },
}

/// A request that has no answer yet.
struct Open {
    call: CallId,
    api: ApiKey,
    version: i16,
}

/// Answers come in the order of their requests.
type Opens = Mutex<VecDeque<Open>>;

/// Runs a connection until it breaks, or the driver lets go of `asks`.
pub(super) async fn run(
    conn: ConnId,
    to: Address,
    client_id: String,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    news: mpsc::UnboundedSender<News>,
) {
    // The driver may close it before it stands.
    let connected = tokio::select! {
        biased;
        connected = connect(&to) => connected,
        None = asks.recv() => return,
    };
    if let Ok((reader, writer)) = connected {
        drop(news.send(News::Connected { conn }));
        let (opens, moves) = (Opens::default(), AtomicU64::new(0));
        let ended = tokio::select! {
            biased;
            ended = write(writer, &client_id, &mut asks, &opens) => ended,
            ended = read(Frames::new(reader, &moves, Pool::default()), &opens, &news) => ended,
        };
        if ended.is_ok() {
            return;
        }
    }
    drop(news.send(News::Closed { conn }));
}

async fn connect(to: &Address) -> io::Result<(Reader, Writer)> {
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for addr in net::resolve(&to.to_string()).await? {
        match net::connect(addr).await {
            Ok(halves) => return Ok(halves),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Ends well when the driver lets go.
async fn write(mut writer: Writer, client_id: &str, asks: &mut mpsc::UnboundedReceiver<Ask>, opens: &Opens) -> io::Result<()> {
    let mut batch = Vec::with_capacity(ASKS_AT_ONCE);
    let mut chunks = VecDeque::<Chunk>::new();
    while asks.recv_many(&mut batch, ASKS_AT_ONCE).await > 0 {
        for Ask { call, version, request, answered } in batch.drain(..) {
            let api = request.api();
            if answered {
                opens.lock().expect("nobody panics while holding it").push_back(Open { call, api, version });
            }
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

async fn read(mut frames: Frames<'_>, opens: &Opens, news: &mpsc::UnboundedSender<News>) -> io::Result<()> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    loop {
        let length = frames.length().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let len = usize::try_from(length).ok().filter(|len| *len <= FRAME_BYTES_MAX).ok_or_else(malformed)?;
        let frame = frames.body(len).await?;
        let Open { call, api, version } = opens.lock().expect("nobody panics while holding it").pop_front().ok_or_else(malformed)?;
        let (correlated, response) = decode_response(api, version, frame).map_err(|_| malformed())?;
        if correlated != correlation(call) {
            return Err(malformed());
        }
        if news.send(News::Answer { call, response: Box::new(response) }).is_err() {
            return Ok(());
        }
    }
}

/// The low 32 bits of a call's name.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
fn correlation(call: CallId) -> CorrelationId {
    CorrelationId(call.0 as i32)
}
