//! One connection of a client machine: makes it, writes requests in order, hands back the answers. Decides nothing, not even when to give up.

use crate::asks::{self, Ask, Opens};
use crate::frames::Frames;
use crate::net::{self, Reader, Writer};
use crate::pool::Pool;
use klamm_core::client::io::Address;
use klamm_core::id::{CallId, ConnId};
use klamm_core::wire::Response;
use std::io;
use std::sync::atomic::AtomicU64;
use tokio::sync::mpsc;

/// What a connection tells its driver.
#[derive(Debug)]
pub(super) enum News {
    Connected { conn: ConnId },
    Closed { conn: ConnId },
    Answer { call: CallId, response: Box<Response> },
}

/// Runs a connection until it breaks, or the driver lets go of `asks`.
pub(super) async fn run(
    conn: ConnId,
    to: Address,
    client_id: String,
    mut asks: mpsc::UnboundedReceiver<Ask>,
    news: mpsc::UnboundedSender<News>,
) {
    // The driver may close it before it stands.
    let connected = tokio::select! {
        biased;
        connected = connect(&to) => connected,
        None = asks.recv() => return,
    };
    if let Ok((reader, writer)) = connected {
        drop(news.send(News::Connected { conn }));
        let (opens, moves) = (Opens::default(), AtomicU64::new(0));
        let ended = tokio::select! {
            biased;
            ended = asks::write(writer, &client_id, &mut asks, &opens) => ended,
            ended = read(Frames::new(reader, &moves, Pool::default()), &opens, &news) => ended,
        };
        if ended.is_ok() {
            return;
        }
    }
    drop(news.send(News::Closed { conn }));
}

async fn connect(to: &Address) -> io::Result<(Reader, Writer)> {
    let mut failed = io::ErrorKind::AddrNotAvailable.into();
    for addr in net::resolve(&to.to_string()).await? {
        match net::connect(addr).await {
            Ok(halves) => return Ok(halves),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn read(mut frames: Frames<'_>, opens: &Opens, news: &mpsc::UnboundedSender<News>) -> io::Result<()> {
    loop {
        let len = asks::length(&mut frames).await?;
        let frame = frames.body(len).await?;
        let open = opens.next()?;
        let response = Box::new(open.decode(frame)?);
        if news.send(News::Answer { call: open.call, response }).is_err() {
            return Ok(());
        }
    }
}
