//! The closed vocabulary between the quorum and the broker around it.

use super::election::Election;
use super::voters::{Voter, Voters};
use crate::broker::io::Peer;
use crate::client::io::Address;
use crate::id::{BrokerId, CallId, LeaderEpoch, Offset, Uuid};
use crate::request::Token;
use crate::wire::{Request, Response};
use std::time::Duration;

/// Who this node is, and how patient. Names are those of Kafka's `controller.quorum.*`.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub me: BrokerId,
    /// Its metadata directory.
    pub directory: Uuid,
    /// The cluster's id, as requests name it.
    pub cluster: String,
    /// This node's controller listener; of no meaning without the controller role.
    pub address: Address,
    /// The name of the controllers' listener.
    pub listener: String,
    /// Whether this node has the controller role, and so may be a voter.
    pub may_vote: bool,
    /// `controller.quorum.bootstrap.servers`: whom to ask while no voter is known.
    pub bootstrap: Vec<Address>,
    /// `controller.quorum.election.timeout.ms`: how long an election may take, and how long a voter waits for one to end.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms`: how long a leader may be silent.
    pub fetch_timeout: Duration,
    /// `controller.quorum.request.timeout.ms`
    pub request_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`
    pub backoff_max: Duration,
}

/// What the metadata log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tail {
    /// The log end offset.
    pub end: Offset,
    /// The epoch of its last record (or of the snapshot below it); 0 while it is empty.
    pub epoch: LeaderEpoch,
    /// The durable end: at most `end`.
    pub durable: Offset,
}

/// Something to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make this durable, then call `saved(number)`. A newer one replaces an older one, so they must reach the disk in order.
    Save {
        /// Comes back.
        number: u64,
        /// What to write.
        election: Election,
    },
    /// Ask a peer; the answer comes back by `answered`. The quorum owns the time-out.
    Call {
        /// The quorum's own number, from 1: not one of the broker's, which keeps a map.
        call: CallId,
        /// Whom.
        to: Peer,
        /// What.
        body: Request,
    },
    /// Nobody waits for this call any more.
    HangUp {
        /// Which.
        call: CallId,
    },
    /// Answer a request.
    Reply {
        /// Which.
        token: Token,
        /// How.
        body: Response,
    },
    /// This node leads. Append a `LeaderChangeMessage` as control batch of this epoch now, before anything else of the epoch: the high watermark
    /// moves only from there on.
    Lead {
        /// The epoch of this leadership.
        epoch: LeaderEpoch,
        /// The voters that elected it.
        granting: Vec<Voter>,
    },
    /// This node does not lead (any more): it follows another leader, or waits for one. Once for each change of epoch or leader.
    Follow {
        /// The newest epoch.
        epoch: LeaderEpoch,
        /// Whom it follows, if that is known.
        leader: Option<BrokerId>,
    },
    /// Leader only: a majority of the voters has everything below it durable.
    High(Offset),
    /// Leader only (KIP-853): append a `VotersRecord` as control batch of this epoch now, and tell `voters_changed`.
    Change {
        /// The epoch of this leadership.
        epoch: LeaderEpoch,
        /// The voters from there on.
        voters: Voters,
    },
}
