//! Writes answers: what is in memory by as few writes as possible, what is in files without copying it.

use super::flow::Flow;
use crate::fs::{File, Fs};
use crate::net::{Sendable, Writer};
use crate::store::Files;
use bytes::{Buf as _, Bytes};
use klamm_core::probe;
use klamm_core::store::Region;
use klamm_core::wire::Chunk;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Pieces that one write takes.
const PIECES_PER_WRITE: usize = 64;
/// How much of a file is sent before others get their turn.
const TURN_BYTES: usize = 512 << 10;

/// The sending side of a connection.
pub(crate) struct Sender<F: Fs> {
    writer: Writer,
    files: Files<F>,
    cold: Arc<Semaphore>,
}

impl<F: Fs<File: Sendable>> Sender<F> {
    /// `cold` is a place for each connection that may wait for the disk at the same time.
    pub(crate) fn new(writer: Writer, files: Files<F>, cold: Arc<Semaphore>) -> Self {
        Self { writer, files, cold }
    }

    /// Sends all of `chunks`; empties it.
    ///
    /// # Errors
    /// The connection broke, or a file was gone or shorter than promised: then the peer cannot tell where the answer ends, so close.
    pub(crate) async fn send(&mut self, chunks: &mut VecDeque<Chunk>, flow: &Flow) -> io::Result<()> {
        while let Some(first) = chunks.front() {
            if let Chunk::Region(region) = *first {
                chunks.pop_front();
                self.send_region(region, flow).await?;
            } else {
                write_memory(&mut self.writer, chunks).await?;
                flow.moved();
            }
        }
        self.writer.flush().await
    }

    async fn send_region(&mut self, region: Region, flow: &Flow) -> io::Result<()> {
        let file = self.files.resolve(&region).await?;
        let mut at = region.position;
        let end = region.position + u64::from(region.len);
        // Each part is looked at once, however many sends the socket makes of it.
        let mut seen = at;
        while at < end {
            if at == seen {
                seen = end.min(at + TURN_BYTES as u64);
                warm(&self.cold, &file, at, part(at, seen)).await?;
            }
            at += self.writer.send_file(&file, at, part(at, seen)).await? as u64;
            flow.moved();
            if at < end {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// `sendfile` waits for the disk on the thread of its caller, which many connections share.
async fn warm(cold: &Semaphore, file: &impl File, at: u64, len: usize) -> io::Result<()> {
    if file.is_warm(at, len) {
        return Ok(());
    }
    probe!("a region that is sent is not in memory");
    let _place = cold.acquire().await;
    file.warm(at, len).await
}

fn part(from: u64, to: u64) -> usize {
    usize::try_from(to - from).expect("no more than a turn")
}

/// Writes some of what is in memory at the front of `chunks`, which must not be a region.
pub(crate) async fn write_memory(writer: &mut Writer, chunks: &mut VecDeque<Chunk>) -> io::Result<()> {
    let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
    let pieces = chunks.iter().map_while(in_memory).zip(&mut slices);
    let count = pieces.map(|(bytes, slice)| *slice = IoSlice::new(bytes)).count();
    let mut sent = writer.write(&slices[..count], chunks.len() > count).await?;
    while sent > 0 {
        let Some(Chunk::Bytes(bytes)) = chunks.front_mut() else { unreachable!("only memory was written") };
        let taken = sent.min(bytes.len());
        bytes.advance(taken);
        sent -= taken;
        if bytes.is_empty() {
            chunks.pop_front();
        }
    }
    Ok(())
}

fn in_memory(chunk: &Chunk) -> Option<&Bytes> {
    match chunk {
        Chunk::Bytes(bytes) => Some(bytes),
        Chunk::Region(_) => None,
    }
}
