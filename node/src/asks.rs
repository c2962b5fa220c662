//! The asking side of a connection, to a peer as to a broker: writes requests in the order they are given, and tells what each answer answers.
//!
//! Decides nothing: who asks says what may be asked, how long an answer may take, and what follows from it.

use crate::conn::write_memory;
use crate::frames::Frames;
use crate::net::Writer;
use bytes::Bytes;
use klamm_core::id::{CallId, CorrelationId};
use klamm_core::wire::{ApiKey, Chunk, Request, RequestHeader, Response, decode_response, encode_request};
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::mpsc;

/// A longer answer is taken for a broken one.
const FRAME_BYTES_MAX: usize = 1 << 30;
/// Requests that are written together.
const AT_ONCE: usize = 64;

/// A request to be written.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) call: CallId,
    pub(crate) version: i16,
    pub(crate) request: Box<Request>,
    /// Whether an answer will come: none does to a Produce request with acks=0.
    pub(crate) answered: bool,
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) call: CallId,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
}

/// Answers come in the order of their requests.
#[derive(Debug, Default)]
pub(crate) struct Opens(Mutex<VecDeque<Open>>);

impl Opens {
    /// A request is about to be written.
    pub(crate) fn push(&self, open: Open) {
        self.lock().push_back(open);
    }

    /// Whether nothing is waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The request that the next answer is for.
    pub(crate) fn next(&self) -> io::Result<Open> {
        self.lock().pop_front().ok_or_else(|| malformed("an answer that nobody asked for".to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Open>> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

impl Open {
    /// What its answer says.
    pub(crate) fn decode(&self, frame: Bytes) -> io::Result<Response> {
        let name = self.api.name();
        let (correlated, response) =
            decode_response(self.api, self.version, frame).map_err(|error| malformed(format!("an answer to {name}: {error}")))?;
        if correlated != correlation(self.call) {
            return Err(malformed(format!("an answer to {name} out of its order")));
        }
        Ok(response)
    }
}

/// Writes what is asked, until nobody can ask any more.
pub(crate) async fn write(mut writer: Writer, client_id: &str, asks: &mut mpsc::UnboundedReceiver<Ask>, opens: &Opens) -> io::Result<()> {
    let mut batch = Vec::with_capacity(AT_ONCE);
    let mut chunks = VecDeque::<Chunk>::new();
    while asks.recv_many(&mut batch, AT_ONCE).await > 0 {
        for Ask { call, version, request, answered } in batch.drain(..) {
            let api = request.api();
            if answered {
                opens.push(Open { call, api, version });
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

/// The length of the next answer; its body is not there yet.
pub(crate) async fn length(frames: &mut Frames<'_>) -> io::Result<usize> {
    let length = frames.length().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let fits = usize::try_from(length).ok().filter(|len| *len <= FRAME_BYTES_MAX);
    fits.ok_or_else(|| malformed(format!("an answer of {length} bytes")))
}

fn malformed(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The low 32 bits of a call's name.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
fn correlation(call: CallId) -> CorrelationId {
    CorrelationId(call.0 as i32)
}
