//! Connections between clients and nodes: what is sent one way arrives in that order, late, or not at all.

use super::client::ClientId;
use crate::chance::Message;
use klamm_core::broker::io::{Lane, batches_of};
use klamm_core::id::{CallId, ConnId, CorrelationId, ListenerId};
use klamm_core::store::Region;
use klamm_core::wire::batch::{BadBatch, Batch};
use klamm_core::wire::{
    ApiKey, Chunk, Records, Request, RequestHeader, Response, decode_request, decode_response, encode_request, encode_response,
};
use std::collections::{BTreeMap, VecDeque};

/// A connection's name in the mesh; the node's broker knows it by the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What a client awaits by a correlation id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) call: CallId,
    pub(super) api: ApiKey,
    pub(super) version: i16,
}

/// An answer on its way out of a node; it leaves when its regions are read and those before it have left.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) correlation: CorrelationId,
    pub(super) body: Response,
    /// The read it waits for.
    pub(super) read: Option<u64>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: ClientId,
    /// The client's own name for it.
    pub(super) local: ConnId,
    pub(super) node: u32,
    /// For what, where the client is a node.
    pub(super) lane: Option<Lane>,
    /// Where it comes in.
    pub(super) listener: ListenerId,
    /// Nothing sent earlier may arrive later.
    pub(super) last_to_node: u64,
    pub(super) last_to_client: u64,
    /// Nothing comes out of it at either end before.
    pub(super) stalled_until: u64,
    /// The node has accepted it, and neither side has ended it.
    pub(super) open: bool,
    pub(super) awaited: BTreeMap<CorrelationId, Awaited>,
    pub(super) outgoing: VecDeque<Outgoing>,
}

/// What travels to a node.
#[derive(Debug)]
pub(super) enum ToNode {
    Connect,
    Request { header: RequestHeader, body: Box<Request>, batches: Vec<Result<Batch, BadBatch>> },
    Close,
}

impl ToNode {
    /// What it is, as far as its way is concerned.
    pub(super) fn message(&self) -> Message {
        match self {
            Self::Connect => Message::Connect,
            Self::Request { header, .. } => Message::Api(header.api),
            Self::Close => Message::Close,
        }
    }
}

/// What travels to a client.
#[derive(Debug)]
pub(super) enum BackToClient {
    Connected,
    Response { correlation: CorrelationId, body: Box<Response> },
    Closed,
}

/// Makes a request ready for its way; with `bytes`, through the codec and back.
pub(super) fn departing(header: RequestHeader, body: Request, bytes: bool) -> ToNode {
    let (header, body) = if bytes {
        let frame = encode_request(&header, &body).bytes().expect("clients send no regions");
        decode_request(frame.slice(4..)).expect("what we encode, we decode")
    } else {
        (header, body)
    };
    let batches = batches_of(&body);
    ToNode::Request { header, body: Box::new(body), batches }
}

/// The same for an answer without regions.
pub(super) fn answering(awaited: &Awaited, correlation: CorrelationId, body: Response, bytes: bool) -> Response {
    if !bytes {
        return body;
    }
    let frame = encode_response(correlation, awaited.version, &body).bytes().expect("regions were read before");
    let (read, body) = decode_response(awaited.api, awaited.version, frame.slice(4..)).expect("what we encode, we decode");
    assert_eq!(read, correlation);
    body
}

fn records_of(body: &mut Response) -> Vec<&mut Records> {
    let Response::Fetch(fetch) = body else { return Vec::new() };
    fetch.responses.iter_mut().flat_map(|topic| &mut topic.partitions).filter_map(|partition| partition.records.as_mut()).collect()
}

/// The file regions that an answer names, in order.
pub(super) fn regions_of(body: &mut Response) -> Vec<Region> {
    let region = |chunk: &Chunk| match chunk {
        Chunk::Region(region) => Some(*region),
        Chunk::Bytes(_) => None,
    };
    records_of(body).into_iter().flat_map(|records| records.0.iter().filter_map(region).collect::<Vec<_>>()).collect()
}

/// Puts the bytes of its regions into an answer.
pub(super) fn fill(body: &mut Response, mut bytes: bytes::Bytes) {
    for records in records_of(body) {
        for chunk in &mut records.0 {
            if let Chunk::Region(region) = chunk {
                *chunk = Chunk::Bytes(bytes.split_to(region.len as usize));
            }
        }
        // Consumers read one run of bytes.
        if let Some(whole) = records.bytes() {
            *records = Records(vec![Chunk::Bytes(whole)]);
        }
    }
}
