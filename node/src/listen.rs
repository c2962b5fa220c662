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
    /// Whoever comes in here is let in above `max`, but is counted.
    protected: Option<ListenerId>,
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
    /// Clients must not keep brokers out: `protected` is where those come in, if clients have listeners beside it (Kafka's
    /// `ConnectionQuotas.protectedListener`). What one address may have holds there as well.
    pub(crate) fn new(max: usize, per_ip_max: usize, protected: Option<ListenerId>) -> Self {
        Self { max, per_ip_max, protected, open: Mutex::default(), next: Arc::default() }
    }

    /// Other doors of the same node, without bounds.
    pub(crate) fn unbounded(&self) -> Self {
        Self { next: Arc::clone(&self.next), ..Self::new(usize::MAX, usize::MAX, None) }
    }

    fn enter(&self, listener: ListenerId, ip: IpAddr) -> Option<Guest<'_>> {
        let mut open = self.open.lock().expect("nobody panics while holding it");
        let from_there = open.get(&ip).copied().unwrap_or(0);
        let is_full = open.values().sum::<usize>() >= self.max && self.protected != Some(listener);
        if is_full || from_there >= self.per_ip_max {
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
            let Some(_guest) = doors.enter(id, peer.ip()) else {
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
        let doors = Doors::new(3, 2, None);
        let enter = |ip| doors.enter(ListenerId(0), ip);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = enter(a);
        let _second = enter(a);
        assert!(enter(a).is_none(), "two from one address");
        let _third = enter(b);
        assert!(enter(b).is_none(), "three in all");
        drop(first);
        assert!(enter(b).is_some());
    }

    #[test]
    fn clients_do_not_keep_brokers_out() {
        let (clients, brokers) = (ListenerId(0), ListenerId(1));
        let doors = Doors::new(1, 2, Some(brokers));
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = doors.enter(clients, a);
        assert!(doors.enter(clients, b).is_none(), "one in all");
        let _second = doors.enter(brokers, b);
        let _third = doors.enter(brokers, b);
        assert!(_second.is_some() && _third.is_some());
        assert!(doors.enter(brokers, b).is_none(), "two from one address");
        drop(first);
        assert!(doors.enter(clients, a).is_none(), "brokers count");
    }
}
