//! Real sockets.

use super::Sockets;
use crate::fs;
use bytes::BufMut;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Reader(OwnedReadHalf);

/// The sending half of a connection. Dropping it closes the stream for the peer.
#[derive(Debug)]
pub struct Writer(OwnedWriteHalf);

/// A file that a connection can send from: a real one has a descriptor.
pub trait Sendable: fs::File + AsFd {}
impl<F: fs::File + AsFd> Sendable for F {}

/// The system itself knows who listens.
#[derive(Debug)]
pub(super) struct Door;

impl Door {
    pub(super) fn open(_: SocketAddr) -> Self {
        Self
    }
}

#[expect(clippy::unused_async, reason = "the simulated one waits")]
pub(super) async fn listen(addr: SocketAddr, sockets: Sockets) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // The port of a process that has just ended can be had at once.
    socket.set_reuseaddr(true)?;
    // Connections inherit both, and agree on a window while they are made: later would be too late.
    if let Some(bytes) = sockets.send_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = sockets.receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(addr)?;
    socket.listen(sockets.backlog)
}

pub(super) async fn dial(addr: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(addr).await
}

pub(super) fn split(stream: TcpStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    (Reader(reader), Writer(writer))
}

impl Reader {
    /// Reads what is there into the spare room of `buf`, which must have some, at least one byte; 0 at the end of the stream.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn read(&mut self, buf: &mut impl BufMut) -> io::Result<usize> {
        self.0.read_buf(buf).await
    }
}

impl Writer {
    /// Writes some of `pieces`, as much as the socket takes; returns how many bytes. With `more` the system may wait for what follows
    /// before it sends a packet.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn write(&mut self, pieces: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let socket: &TcpStream = self.0.as_ref();
        let flags = if more { SendFlags::MORE | SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL };
        loop {
            // Most writes find room: only a full socket costs a wait.
            let send = || Ok(rustix::net::sendmsg(socket.as_fd(), pieces, &mut SendAncillaryBuffer::default(), flags)?);
            match socket.try_io(Interest::WRITABLE, send) {
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
                done => return done,
            }
        }
    }

    /// Sends what was written. Real sockets have sent it already.
    ///
    /// # Errors
    /// The connection broke.
    #[expect(clippy::unused_async, reason = "the simulated one waits")]
    pub async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Sends up to `len` bytes of `file` from `position` on, without copying them through the process; returns how many went.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends at or before `position`; else the connection broke.
    pub async fn send_file(&mut self, file: &impl Sendable, position: u64, len: usize) -> io::Result<usize> {
        let socket: &TcpStream = self.0.as_ref();
        loop {
            let mut at = position;
            let sent = socket.try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(socket.as_fd(), file.as_fd(), Some(&mut at), len)?));
            match sent {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::{socket_recv_buffer_size, socket_send_buffer_size};
    use std::time::Duration;

    async fn bound(sockets: Sockets) -> (super::super::Listener, SocketAddr) {
        let listener = super::super::bind(([127, 0, 0, 1], 0).into(), sockets).await.expect("a free port");
        let at = listener.local_addr().expect("bound");
        (listener, at)
    }

    #[tokio::test]
    async fn connections_have_the_buffers_that_were_set() {
        let sizes = async |send_bytes, receive_bytes| {
            let (listener, at) = bound(Sockets { send_bytes, receive_bytes, backlog: 5 }).await;
            let _client = TcpStream::connect(at).await.expect("it listens");
            let (reader, writer, _) = listener.accept().await.expect("a connection");
            let (reader, writer): (&TcpStream, &TcpStream) = (reader.0.as_ref(), writer.0.as_ref());
            (socket_send_buffer_size(writer).expect("a socket"), socket_recv_buffer_size(reader).expect("a socket"))
        };
        let (send, receive) = sizes(Some(20_000), Some(30_000)).await;
        // Linux doubles them, for its own use.
        assert!([20_000, 40_000].contains(&send) && [30_000, 60_000].contains(&receive), "{send} {receive}");
        let (send, receive) = sizes(None, None).await;
        assert!(send > 40_000 && receive > 60_000, "{send} {receive}");
    }

    #[tokio::test]
    async fn no_more_connections_wait_than_the_backlog_lets() {
        let (_listener, at) = bound(Sockets { send_bytes: None, receive_bytes: None, backlog: 2 }).await;
        let dial = || tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(at));
        let mut waiting = Vec::new();
        while let Ok(stream) = dial().await {
            waiting.push(stream);
            assert!(waiting.len() < 10, "so many wait");
        }
        assert!(!waiting.is_empty());
    }
}
