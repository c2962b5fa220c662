//! Calls between nodes of the mesh: one connection for each peer and lane, as the node's own driver has them. To the network such a connection is
//! like any client's, so that the same cuts, delays and resets hit it.

use super::client::ClientId;
use super::link::{BackToClient, LinkId, ToNode};
use super::mesh::{Mesh, Step};
use klamm_core::broker::io::{Input, Lane, Peer, Unreachable, fetched_of};
use klamm_core::id::{BrokerId, CallId, ConnId};
use klamm_core::wire::{Request, Response};
use std::collections::{BTreeMap, VecDeque};

/// The numbers of nodes in their part as clients begin here.
const FIRST: u32 = 10_000;

/// A node in its part as a client of others.
pub(super) fn as_client(node: u32) -> ClientId {
    ClientId(FIRST + node)
}

/// The node behind a client's number, if it is one.
pub(crate) fn node_of(client: ClientId) -> Option<u32> {
    client.0.checked_sub(FIRST)
}

/// A node's connection to a peer.
#[derive(Debug)]
struct Connection {
    peer: Peer,
    link: LinkId,
    is_made: bool,
    /// In the order in which they were made, and are answered.
    outstanding: VecDeque<CallId>,
}

/// One node's connections to others, by its own names for them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    next: u64,
    connections: BTreeMap<ConnId, Connection>,
}

impl Peers {
    /// The connection to a peer for that.
    pub(super) fn link_to(&self, peer: BrokerId, lane: Lane) -> Option<LinkId> {
        let is_meant = |connection: &&Connection| connection.peer.id == peer && connection.peer.lane == lane;
        self.connections.values().find(is_meant).map(|connection| connection.link)
    }

    /// The process is gone, and with it its side of all connections.
    pub(super) fn drain(&mut self) -> Vec<LinkId> {
        std::mem::take(&mut self.connections).into_values().map(|connection| connection.link).collect()
    }
}

impl Mesh {
    /// A node asks another one.
    pub(super) fn call(&mut self, node: u32, call: CallId, to: Peer, version: i16, body: Request) {
        let conn = self.connection_to(node, to);
        let connection = self.peers_of(node).connections.get_mut(&conn).expect("just found or made");
        connection.outstanding.push_back(call);
        let link = connection.link;
        self.send(link, call, version, body, true);
    }

    fn connection_to(&mut self, node: u32, peer: Peer) -> ConnId {
        let peers = self.peers_of(node);
        if let Some((conn, _)) = peers.connections.iter().find(|(_, connection)| connection.peer == peer) {
            return *conn;
        }
        let conn = ConnId(peers.next);
        peers.next += 1;
        let link = self.make_link(as_client(node), conn, &peer.address, Some(peer.lane));
        let connection = Connection { peer, link, is_made: false, outstanding: VecDeque::new() };
        self.peers_of(node).connections.insert(conn, connection);
        conn
    }

    /// A node gives up the connection that a call hangs on.
    pub(super) fn hang_up(&mut self, node: u32, call: CallId) {
        let peers = self.peers_of(node);
        let Some((conn, _)) = peers.connections.iter().find(|(_, connection)| connection.outstanding.contains(&call)) else { return };
        let conn = *conn;
        let connection = peers.connections.remove(&conn).expect("just found");
        self.send_to_node(connection.link, ToNode::Close);
        let lost: Vec<CallId> = connection.outstanding.into_iter().filter(|other| *other != call).collect();
        self.lose_later(node, lost);
    }

    /// Something comes back on a connection of a node to a peer.
    pub(super) fn back_to_node(&mut self, node: u32, conn: ConnId, what: BackToClient) -> Step {
        match what {
            BackToClient::Connected => {
                if let Some(connection) = self.peers_of(node).connections.get_mut(&conn) {
                    connection.is_made = true;
                }
                Step::Event
            }
            BackToClient::Response { body, .. } => {
                let Some(connection) = self.peers_of(node).connections.get_mut(&conn) else { return Step::Event };
                let Some(call) = connection.outstanding.pop_front() else { return Step::Event };
                self.answer_node(node, call, Ok(*body))
            }
            BackToClient::Closed => self.lost(node, conn),
        }
    }

    fn lost(&mut self, node: u32, conn: ConnId) -> Step {
        let Some(connection) = self.peers_of(node).connections.remove(&conn) else { return Step::Event };
        let why = if connection.is_made { Unreachable::Lost } else { Unreachable::Refused };
        let mut step = Step::Event;
        for call in connection.outstanding {
            match self.answer_node(node, call, Err(why)) {
                halted @ Step::Halted(..) => step = halted,
                Step::Event | Step::Due(_) | Step::Opened(_) | Step::Idle => {}
            }
        }
        step
    }

    pub(super) fn answer_node(&mut self, node: u32, call: CallId, outcome: Result<Response, Unreachable>) -> Step {
        let batches = outcome.as_ref().map(fetched_of).unwrap_or_default();
        self.input(node, Input::Answer { call, outcome, batches })
    }
}
