//! The closed vocabulary between the broker and its driver.
//!
//! No effect depends on the completion of another: what must wait is held inside until its `Stored` arrives. So a driver may start each effect
//! as soon as it is polled, in order per connection and per log.

use crate::client::io::Address;
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

/// The batches of an answer to `Fetch`, for each partition in the answer's order; one that is damaged spoils its partition only.
pub type Fetched = Vec<Result<Vec<Batch>, BadBatch>>;

/// What the edge makes of an answer before the broker takes it: for `Fetch`, for each partition in the answer's order, its whole batches with their
/// checksums checked. A batch that is cut off at the end is left out: a limit on bytes may cut one.
///
/// # Panics
/// If records are still in files: an answer that came in has all of them in memory.
#[must_use]
pub fn fetched_of(body: &Response) -> Fetched {
    let Response::Fetch(fetch) = body else { return Vec::new() };
    let checked = |records: &Option<Records>| match records {
        Some(records) => Batch::all(&records.bytes().expect("an answer that came in is in memory")),
        None => Ok(Vec::new()),
    };
    fetch.responses.iter().flat_map(|topic| &topic.partitions).map(|partition| checked(&partition.records)).collect()
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
        /// For an answer to `Fetch`, for each partition in the answer's order: its whole batches, with their checksums checked. Empty for all others.
        batches: Fetched,
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

/// Another node, and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Its id; negative where only its address is known (`controller.quorum.bootstrap.servers`).
    pub id: BrokerId,
    /// Where it listens.
    pub address: Address,
    /// What a connection to it is for.
    pub lane: Lane,
}

/// Connections to one peer: what may wait long on one must not hold back what is urgent on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, and news of leaders, of the metadata quorum.
    Quorum,
    /// Fetches of the metadata log.
    Metadata,
    /// A broker's talk with the active controller: registration, heartbeats, ISR changes.
    Control,
    /// Fetches of partitions' logs.
    Replica,
    /// Requests that are forwarded for clients.
    Forward,
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

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "refuses connections",
            Self::TimedOut => "does not answer in time",
            Self::Lost => "closes its connections",
        })
    }
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
    /// Asks another node; the core owns the time-out. Calls to one peer arrive in the order in which they were made, and are answered in it.
    Call {
        /// Comes back with the answer.
        call: CallId,
        /// Whom, and by which of its connections.
        to: Peer,
        /// In the highest version that `ApiKey::versions` names, unless the peer is told to be older.
        version: i16,
        /// What.
        body: Request,
    },
    /// The core no longer waits for this call: the connection that it is outstanding on is closed, and what else waits there comes back as lost.
    HangUp {
        /// Which.
        call: CallId,
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
    /// It could not register in time. Everything is on disk, as with `Stopped`.
    Unregistered {
        /// What kept it from it, and what the operator can do.
        why: String,
    },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use crate::wire::api::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
    use crate::wire::api::vote::VoteResponse;
    use crate::wire::batch::Compression;
    use crate::wire::record::{BatchBuilder, Identity, Payload};
    use bytes::Bytes;

    fn batch(value: &'static str) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None, None);
        builder.push(Timestamp(1), &Payload { value: Some(Bytes::from_static(value.as_bytes())), ..Payload::default() });
        builder.finish(Identity::NONE)
    }

    fn bytes(batches: &[&Batch]) -> Vec<u8> {
        batches.iter().flat_map(|batch| batch.pieces()).flat_map(|piece| piece.to_vec()).collect()
    }

    fn topic(partitions: Vec<Option<Vec<u8>>>) -> FetchableTopicResponse {
        let data = |records: Option<Vec<u8>>| PartitionData { records: records.map(|r| Bytes::from(r).into()), ..PartitionData::default() };
        FetchableTopicResponse { partitions: partitions.into_iter().map(data).collect(), ..FetchableTopicResponse::default() }
    }

    #[test]
    fn each_partition_of_a_fetched_answer_has_its_whole_batches() {
        let (a, b) = (batch("a"), batch("b"));
        let mut cut = bytes(&[&a, &b]);
        cut.truncate(cut.len() - 1);
        let mut damaged = bytes(&[&a, &b]);
        *damaged.last_mut().expect("not empty") ^= 1;
        let topics = vec![topic(vec![Some(bytes(&[&a, &b])), None]), topic(vec![Some(damaged), Some(cut), Some(vec![])])];
        let fetched = fetched_of(&FetchResponse { responses: topics, ..FetchResponse::default() }.into());
        let [whole, null, damaged, cut, empty] = &fetched[..] else { panic!("five partitions: {fetched:?}") };
        assert_eq!(whole, &Ok(vec![a.clone(), b]));
        assert_eq!((null, empty), (&Ok(vec![]), &Ok(vec![])));
        assert!(matches!(damaged, Err(BadBatch::Crc { .. })), "{damaged:?}");
        assert_eq!(cut, &Ok(vec![a]));
    }

    #[test]
    fn other_answers_have_no_batches() {
        assert_eq!(fetched_of(&VoteResponse::default().into()), []);
    }
}
