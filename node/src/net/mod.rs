//! The seam to the network: bind, accept, connect, read, write and flush, send a region of a file. One of the three seams that know of madsim.
//!
//! Decides nothing. What differs: real sockets are split without a lock, write many pieces at once and send files by `sendfile`; under
//! `--cfg madsim` bytes leave on a flush only and a region is read piece by piece as the connection drains, so that truncation and deletion
//! under a sender are seen.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod simulated;

#[cfg(not(madsim))]
use real as system;
#[cfg(madsim)]
use simulated as system;

use std::io;
use std::net::SocketAddr;
use system::{Door, split};
pub use system::{Reader, Sendable, Writer};
use tokio::net::TcpListener;

#[cfg(madsim)]
pub use simulated::weather;

/// A bound, listening socket.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    _door: Door,
}

/// What an operator may set of sockets. The simulator has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// What a connection's system may hold that is not sent (`socket.send.buffer.bytes`); `None`: as much as the system finds right.
    pub send_bytes: Option<u32>,
    /// The same of what has come and is not read (`socket.receive.buffer.bytes`).
    pub receive_bytes: Option<u32>,
    /// Connections that may wait to be accepted (`socket.listen.backlog.size`); the system may allow fewer.
    pub backlog: u32,
}

/// Binds `addr` and listens. Port 0 takes a free one.
///
/// # Errors
/// As the system says: address in use, not ours, not permitted.
pub async fn bind(addr: SocketAddr, sockets: Sockets) -> io::Result<Listener> {
    let listener = system::listen(addr, sockets).await?;
    let door = Door::open(listener.local_addr()?);
    Ok(Listener { listener, _door: door })
}

/// Resolves `host:port` to its addresses.
///
/// # Errors
/// The name is unknown.
pub async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host(address).await?.collect())
}

/// Opens a connection, with small writes sent at once.
///
/// # Errors
/// Refused, unreachable, or timed out by the system.
pub async fn connect(addr: SocketAddr) -> io::Result<(Reader, Writer)> {
    let stream = system::dial(addr).await?;
    stream.set_nodelay(true)?;
    Ok(split(stream))
}

impl Listener {
    /// The next connection and where it comes from.
    ///
    /// # Errors
    /// A connection that broke before it was taken, or no descriptors left: wait a little and go on.
    pub async fn accept(&self) -> io::Result<(Reader, Writer, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = split(stream);
        Ok((reader, writer, peer))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
