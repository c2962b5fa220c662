//! What a simulated client is to the mesh: any machine that takes inputs, gives effects and names a deadline.

use klamm_core::client::io::Address;
use klamm_core::id::{CallId, ConnId};
use klamm_core::time::{Instant, Now};
use klamm_core::wire::{Request, Response};

/// One client of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// Something that happened to a client.
#[derive(Clone, Debug)]
pub enum ToClient {
    /// Its deadline has come, or it has just begun.
    Tick,
    /// A connection stands.
    Connected {
        /// Which, by the client's own name.
        conn: ConnId,
    },
    /// A connection is gone, or was never made.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// An answer.
    Answer {
        /// To which call.
        call: CallId,
        /// What it says.
        response: Box<Response>,
    },
}

/// Something a client does.
#[derive(Clone, Debug)]
pub enum FromClient {
    /// Connects.
    Connect {
        /// By this name.
        conn: ConnId,
        /// To whom.
        to: Address,
    },
    /// Sends a request.
    Send {
        /// On which connection.
        conn: ConnId,
        /// Comes back with the answer.
        call: CallId,
        /// In which version.
        version: i16,
        /// What.
        request: Box<Request>,
        /// Whether an answer will come.
        answered: bool,
    },
    /// Closes a connection.
    Close {
        /// Which.
        conn: ConnId,
    },
}

/// A client machine with the application on top of it.
pub trait Actor {
    /// Takes in what happened.
    fn handle(&mut self, now: Now, input: ToClient);
    /// The next thing to do.
    fn poll(&mut self) -> Option<FromClient>;
    /// When to tick it.
    fn deadline(&self) -> Option<Instant>;
}
