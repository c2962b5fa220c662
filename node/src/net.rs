//! The seam to the network: bind, accept, connect, read, write and flush, send a region of a file. One of the three files that know of madsim.
//!
//! Decides nothing. What differs: real sockets are split without a lock, write many pieces at once and send files by `sendfile`; under
//! `--cfg madsim` bytes leave on a flush only and a region is read piece by piece as the connection drains, so that truncation and deletion
//! under a sender are seen.

use bytes::BufMut;
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

/// A bound, listening socket.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// Binds `addr` and listens. Port 0 takes a free one.
///
/// # Errors
/// As the system says: address in use, not ours, not permitted.
pub async fn bind(addr: SocketAddr) -> io::Result<Listener> {
    Ok(Listener(TcpListener::bind(addr).await?))
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
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(split(stream))
}

impl Listener {
    /// The next connection and where it comes from.
    ///
    /// # Errors
    /// A connection that broke before it was taken, or no descriptors left: wait a little and go on.
    pub async fn accept(&self) -> io::Result<(Reader, Writer, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = split(stream);
        Ok((reader, writer, peer))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
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

#[cfg(not(madsim))]
use real::split;
#[cfg(not(madsim))]
pub use real::{Reader, Sendable, Writer};
#[cfg(madsim)]
use simulated::split;
#[cfg(madsim)]
pub use simulated::{Reader, Sendable, Writer, stop_tearing, tear_after};

#[cfg(not(madsim))]
mod real {
    use super::io;
    use crate::fs;
    use rustix::net::{SendAncillaryBuffer, SendFlags};
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use tokio::io::Interest;
    use tokio::net::TcpStream;
    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

    /// The receiving half of a connection.
    #[derive(Debug)]
    pub struct Reader(pub(super) OwnedReadHalf);

    /// The sending half of a connection. Dropping it closes the stream for the peer.
    #[derive(Debug)]
    pub struct Writer(OwnedWriteHalf);

    /// A file that a connection can send from: a real one has a descriptor.
    pub trait Sendable: fs::File + AsFd {}
    impl<F: fs::File + AsFd> Sendable for F {}

    pub(super) fn split(stream: TcpStream) -> (Reader, Writer) {
        let (reader, writer) = stream.into_split();
        (Reader(reader), Writer(writer))
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
                let sent =
                    socket.try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(socket.as_fd(), file.as_fd(), Some(&mut at), len)?));
                match sent {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(full) if full.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
                    done => return done,
                }
            }
        }
    }
}

#[cfg(madsim)]
mod simulated {
    use super::io;
    use crate::fs;
    use madsim::rand::{Rng as _, thread_rng};
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::io::IoSlice;
    use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
    use tokio::net::TcpStream;

    /// The receiving half of a connection.
    #[derive(Debug)]
    pub struct Reader(pub(super) ReadHalf<TcpStream>);

    /// The sending half of a connection.
    #[derive(Debug)]
    pub struct Writer(WriteHalf<TcpStream>);

    /// A file that a connection can send from.
    pub trait Sendable: fs::File {}
    impl<F: fs::File> Sendable for F {}

    /// How much of a region is read at a time.
    const PIECE_BYTES: usize = 16 << 10;
    /// One write in so many takes only a part, as a full socket does, and that part travels alone.
    const PARTIAL_ONE_IN: u32 = 8;

    // A run of the simulation has its thread to itself.
    thread_local! {
        static TEARS: RefCell<VecDeque<u64>> = const { RefCell::new(VecDeque::new()) };
        static TORN: Cell<u64> = const { Cell::new(0) };
    }

    /// Lets a connection of this run break on the way, whoever it belongs to: `bytes` more are written on all connections together (counted
    /// from the break before, if one is due), then the one whose turn it is breaks within what it was writing.
    pub fn tear_after(bytes: u64) {
        TEARS.with_borrow_mut(|tears| tears.push_back(bytes));
    }

    /// Forgets breaks that are due; says how many there have been.
    pub fn stop_tearing() -> u64 {
        TEARS.with_borrow_mut(VecDeque::clear);
        TORN.get()
    }

    /// How many of `len` bytes still leave, if the connection breaks within them.
    fn torn_within(len: usize) -> Option<usize> {
        TEARS.with_borrow_mut(|tears| {
            let left = tears.front_mut()?;
            if *left >= len as u64 {
                *left -= len as u64;
                return None;
            }
            let kept = *left as usize;
            tears.pop_front();
            TORN.set(TORN.get() + 1);
            Some(kept)
        })
    }

    pub(super) fn split(stream: TcpStream) -> (Reader, Writer) {
        let (reader, writer) = tokio::io::split(stream);
        (Reader(reader), Writer(writer))
    }

    impl Writer {
        /// Writes some of `pieces`; returns how many bytes.
        ///
        /// # Errors
        /// The connection broke.
        pub async fn write(&mut self, pieces: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
            let all: usize = pieces.iter().map(|piece| piece.len()).sum();
            let is_partial = all > 1 && thread_rng().gen_ratio(1, PARTIAL_ONE_IN);
            let taken = if is_partial { thread_rng().gen_range(1..all) } else { all };
            self.send(pieces, taken).await?;
            if is_partial {
                self.flush().await?;
            }
            Ok(taken)
        }

        /// Sends what was written.
        ///
        /// # Errors
        /// The connection broke.
        pub async fn flush(&mut self) -> io::Result<()> {
            self.0.flush().await
        }

        /// Sends up to `len` bytes of `file` from `position` on, read only now; returns how many went.
        ///
        /// # Errors
        /// `UnexpectedEof` if the file ends at or before `position`; what the disk says; else the connection broke.
        pub async fn send_file(&mut self, file: &impl Sendable, position: u64, len: usize) -> io::Result<usize> {
            let piece = file.read_at(position, len.min(PIECE_BYTES)).await?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.send(&[IoSlice::new(&piece)], piece.len()).await?;
            self.flush().await?;
            Ok(piece.len())
        }

        /// Writes the first `len` bytes of `pieces`, unless the connection breaks within them: then what is before the break still arrives.
        async fn send(&mut self, pieces: &[IoSlice<'_>], len: usize) -> io::Result<()> {
            let torn = torn_within(len);
            let mut left = torn.unwrap_or(len);
            for piece in pieces {
                let part = left.min(piece.len());
                self.0.write_all(&piece[..part]).await?;
                left -= part;
            }
            if torn.is_none() {
                return Ok(());
            }
            self.flush().await?;
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}
