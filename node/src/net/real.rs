//! Real sockets.

use crate::fs;
use bytes::BufMut;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

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
