//! Takes in connections, and keeps their number within bounds. Knows nothing of what they say.

use crate::conn::{self, Name, Shared};
use crate::fs::Fs;
use crate::net::{Listener, Sendable};
use klamm_core::id::{ConnId, ListenerId};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{debug, warn};

/// How long to wait when the system has no descriptors left.
const BREATH: Duration = Duration::from_millis(100);

/// How many connections there are, from where, and how many there may be.
#[derive(Debug)]
pub(crate) struct Doors {
    max: usize,
    per_ip_max: usize,
    open: Mutex<BTreeMap<IpAddr, usize>>,
    /// No two connections of a node have the same name, whatever doors they come by.
    next: Arc<AtomicU64>,
}

/// One connection that was let in; its place is free again when this is dropped.
struct Guest<'a> {
    doors: &'a Doors,
    ip: IpAddr,
}

impl Doors {
    pub(crate) fn new(max: usize, per_ip_max: usize) -> Self {
        Self { max, per_ip_max, open: Mutex::default(), next: Arc::default() }
    }

    /// Other doors of the same node, without bounds.
    pub(crate) fn unbounded(&self) -> Self {
        Self { next: Arc::clone(&self.next), ..Self::new(usize::MAX, usize::MAX) }
    }

    fn enter(&self, ip: IpAddr) -> Option<Guest<'_>> {
        let mut open = self.open.lock().expect("nobody panics while holding it");
        let from_there = open.get(&ip).copied().unwrap_or(0);
        if open.values().sum::<usize>() >= self.max || from_there >= self.per_ip_max {
            return None;
        }
        open.insert(ip, from_there + 1);
        Some(Guest { doors: self, ip })
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut open = self.doors.open.lock().expect("nobody panics while holding it");
        let Some(count) = open.get_mut(&self.ip) else { unreachable!("a guest was counted") };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.ip);
        }
    }
}

/// Accepts connections of one listener until the node stops.
pub(crate) async fn accept<F: Fs<File: Sendable>>(
    listener: Listener,
    id: ListenerId,
    shared: Arc<Shared<F>>,
    doors: Arc<Doors>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let (reader, writer, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                warn!("cannot take in a connection: {error}");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (shared, doors) = (Arc::clone(&shared), Arc::clone(&doors));
        tokio::spawn(async move {
            let Some(_guest) = doors.enter(peer.ip()) else {
                debug!(%peer, "turned away: `max.connections` or `max.connections.per.ip` is reached");
                return;
            };
            let conn = ConnId(doors.next.fetch_add(1, Ordering::Relaxed));
            conn::serve(&shared, Name { conn, listener: id, peer }, reader, writer).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_count_in_all_and_for_each_address() {
        let doors = Doors::new(3, 2);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = doors.enter(a);
        let _second = doors.enter(a);
        assert!(doors.enter(a).is_none(), "two from one address");
        let _third = doors.enter(b);
        assert!(doors.enter(b).is_none(), "three in all");
        drop(first);
        assert!(doors.enter(b).is_some());
    }
}
