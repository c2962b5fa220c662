//! Sockets of madsim, in the weather that the simulator makes: what madsim's own network leaves out.

pub mod weather;

use super::Sockets;
use crate::fs;
use bytes::BufMut;
use madsim::plugin;
use madsim::rand::{Rng as _, thread_rng};
use madsim::task::NodeId;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use weather::Barrier;

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Reader(ReadHalf<TcpStream>, Arc<Wire>);

/// The sending half of a connection.
#[derive(Debug)]
pub struct Writer(WriteHalf<TcpStream>, Arc<Wire>);

/// A file that a connection can send from.
pub trait Sendable: fs::File {}
impl<F: fs::File> Sendable for F {}

/// How much of a region is read at a time.
const PIECE_BYTES: usize = 16 << 10;
/// One write in so many takes only a part, as a full socket does, and that part travels alone.
const PARTIAL_ONE_IN: u32 = 8;
/// A dial that nobody answers is sent again after this, then after twice as long, and so on: Linux's `tcp_syn_retries`.
const DIAL_AGAIN: Duration = Duration::from_secs(1);
const DIALS_MAX: u32 = 7;
/// How often one looks whether word can get through again.
const LOOK: Duration = Duration::from_millis(200);

/// A listener's place. madsim keeps a port for as long as a connection stands that came in there; a system refuses from the listener's end on.
#[derive(Debug)]
pub(super) struct Door(SocketAddr);

impl Door {
    pub(super) fn open(at: SocketAddr) -> Self {
        weather::open(at);
        Self(at)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        weather::shut(self.0);
    }
}

/// What a connection's ends know of what lies between them.
#[derive(Debug)]
struct Wire {
    here: NodeId,
    peer: IpAddr,
    /// How often the peer's machine had lost power when the connection was made.
    losses: u64,
    /// Something was sent that the peer's system has not confirmed.
    owed: AtomicBool,
}

impl Wire {
    fn of(stream: &TcpStream) -> Self {
        let peer = stream.peer_addr().expect("it is connected").ip();
        Self { here: plugin::node(), peer, losses: weather::losses(peer), owed: AtomicBool::new(false) }
    }

    /// No word of the peer's comes through.
    fn is_silent(&self) -> bool {
        weather::barrier(self.here, self.peer).is_some() || weather::is_dark(self.peer)
    }

    /// The peer's machine went dark without a word, and has forgotten this connection.
    fn is_forgotten(&self) -> bool {
        weather::losses(self.peer) > self.losses
    }

    /// The peer is gone. Returns when one would hear of it: never, if its machine lost power and nobody sends it anything.
    async fn end(&self) -> io::Result<()> {
        loop {
            if !self.is_silent() {
                if !self.is_forgotten() {
                    return Ok(());
                }
                if self.owed.load(Ordering::Relaxed) {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What was sent found nobody. The sender hears of it by itself only if there is somebody to tell it.
    fn undelivered(&self, error: io::Error) -> io::Result<()> {
        self.owed.store(true, Ordering::Relaxed);
        if self.is_silent() { Ok(()) } else { Err(error) }
    }
}

pub(super) async fn listen(addr: SocketAddr, _: Sockets) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

pub(super) async fn dial(addr: SocketAddr) -> io::Result<TcpStream> {
    let mut wait = DIAL_AGAIN;
    for _ in 0..DIALS_MAX {
        match weather::barrier(plugin::node(), addr.ip()) {
            Some(Barrier::Refuses) => return Err(io::ErrorKind::ConnectionRefused.into()),
            None if weather::is_shut(addr) => return Err(io::ErrorKind::ConnectionRefused.into()),
            None if !weather::is_dark(addr.ip()) => return TcpStream::connect(addr).await,
            Some(Barrier::Swallows) | None => tokio::time::sleep(wait).await,
        }
        wait *= 2;
    }
    Err(io::ErrorKind::TimedOut.into())
}

pub(super) fn split(stream: TcpStream) -> (Reader, Writer) {
    let wire = Arc::new(Wire::of(&stream));
    let (reader, writer) = tokio::io::split(stream);
    (Reader(reader, Arc::clone(&wire)), Writer(writer, wire))
}

impl Reader {
    /// Reads what is there into the spare room of `buf`, which must have some, at least one byte; 0 at the end of the stream.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn read(&mut self, buf: &mut impl BufMut) -> io::Result<usize> {
        let got = self.0.read_buf(buf).await?;
        if got == 0 {
            self.1.end().await?;
        }
        Ok(got)
    }
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
        match self.0.flush().await {
            Ok(()) => Ok(()),
            Err(error) => self.1.undelivered(error),
        }
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
        let torn = weather::torn_within(len);
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
