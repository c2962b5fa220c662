//! The closed vocabulary between the broker and its driver.
//!
//! No effect depends on the completion of another: what must wait is held inside until its `Stored` arrives. So a driver may start each effect
//! as soon as it is polled, in order per connection and per log.

use crate::id::{BrokerId, CallId, ConnId, CorrelationId, ListenerId, Ticket};
use crate::store::{StoreFault, StoreOp, Stored};
use crate::wire::batch::{BadBatch, Batch};
use crate::wire::{Records, Request, RequestHeader, Response, structure};
use std::net::SocketAddr;

/// What the edge makes of a request before the broker decides it: for `Produce` one checked batch for each partition, for all others nothing.
#[must_use]
pub fn batches_of(body: &Request) -> Vec<Result<Batch, BadBatch>> {
    let Request::Produce(produce) = body else { return Vec::new() };
    let checked = |records: &Option<Records>| match records.as_ref().and_then(Records::bytes) {
        Some(bytes) if !bytes.is_empty() => Batch::produced(&bytes).and_then(structure::checked),
        // KIP-98: a produce request holds exactly one batch for each partition.
        Some(_) | None => Err(BadBatch::NotOne),
    };
    produce.topic_data.iter().flat_map(|topic| &topic.partition_data).map(|partition| checked(&partition.records)).collect()
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The instant that `deadline()` named has come, or the driver felt like it.
    Tick,
    /// A client connected.
    Opened {
        /// Its name from now on.
        conn: ConnId,
        /// Where it came in.
        listener: ListenerId,
        /// From where.
        peer: SocketAddr,
    },
    /// A request came in, decoded; inputs of one connection arrive in the order of its bytes.
    Request {
        /// By which connection.
        conn: ConnId,
        /// Who asks what, in which version.
        header: RequestHeader,
        /// What is asked.
        body: Request,
        /// For `Produce` one entry for each partition in the request's order: its batch, with its checksum checked. Empty for all others.
        batches: Vec<Result<Batch, BadBatch>>,
    },
    /// The connection is gone. Nothing is answered there any more.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Another broker answered a call, or did not.
    Answer {
        /// Which call.
        call: CallId,
        /// What came of it.
        outcome: Result<Response, Unreachable>,
    },
    /// The store is done with an operation.
    Stored {
        /// Which.
        ticket: Ticket,
        /// How it ended.
        outcome: Result<Stored, StoreFault>,
    },
    /// The operator wants the node to stop: finish what is outstanding, then `Halt::Stopped`.
    Stop,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreachable {
    /// Nobody listens there: the process is gone.
    Refused,
    /// No answer in time: nothing is known.
    TimedOut,
    /// The connection broke: nothing is known.
    Lost,
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Sends an answer. Answers of a connection come in the order of its requests.
    Reply {
        /// To whom.
        conn: ConnId,
        /// Which request it answers.
        correlation: CorrelationId,
        /// The version it was asked in.
        version: i16,
        /// The answer; may hold file regions.
        body: Response,
    },
    /// A request that wants no answer (acks=0) is dealt with: its place is free.
    Done {
        /// Whose.
        conn: ConnId,
        /// Which request.
        correlation: CorrelationId,
    },
    /// Stop reading from this connection.
    Mute {
        /// Which.
        conn: ConnId,
    },
    /// Read from it again.
    Unmute {
        /// Which.
        conn: ConnId,
    },
    /// Asks another broker; the core owns the time-out.
    Call {
        /// Comes back with the answer.
        call: CallId,
        /// Whom.
        to: BrokerId,
        /// What.
        body: Request,
    },
    /// Asks the store.
    Store {
        /// Comes back with the outcome.
        ticket: Ticket,
        /// What.
        op: StoreOp,
    },
    /// Closes a connection.
    Close {
        /// Which.
        conn: ConnId,
        /// For the log.
        why: &'static str,
    },
    /// Something the operator should read in the log.
    Note {
        /// How bad it is.
        level: Level,
        /// One sentence.
        text: String,
    },
    /// Stop the process now.
    Halt {
        /// Why.
        why: Halt,
    },
}

/// How bad something is, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A milestone.
    Info,
    /// Worth a look.
    Warn,
    /// Something is lost or offline.
    Error,
}

/// Why a broker stops itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Halt {
    /// It was asked to, and everything is on disk: the store may mark a clean shutdown.
    Stopped,
    /// The log directory with the metadata log, or the last one, is offline.
    DirsOffline {
        /// What happened.
        why: String,
    },
    /// The metadata log cannot be read.
    Metadata {
        /// What is wrong.
        why: String,
    },
}
