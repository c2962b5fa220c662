//! Takes in connections, and keeps their number within bounds. Knows nothing of what they say.

use crate::conn::{self, Name, Shared};
use crate::fs::Fs;
use crate::net::{Listener, Sendable};
use klamm_core::id::{ConnId, ListenerId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{debug, warn};

/// How long to wait when the system has no descriptors left.
const BREATH: Duration = Duration::from_millis(100);
/// Addresses of which the log says at a time that they have too many connections.
const TOLD_MAX: usize = 100;

/// How many connections there are, from where, and how many there may be.
#[derive(Debug)]
pub(crate) struct Doors {
    max: usize,
    per_ip_max: usize,
    /// Whoever comes in here is let in above `max`, but is counted.
    protected: Option<ListenerId>,
    open: Mutex<Open>,
    /// No two connections of a node have the same name, whatever doors they come by.
    next: Arc<AtomicU64>,
}

/// Who is inside, and what the log was told.
#[derive(Debug, Default)]
struct Open {
    from: BTreeMap<IpAddr, usize>,
    /// Somebody was turned away since there were too many in all, and they have not halved since: who is about the bound goes to and fro across it.
    is_told: bool,
    /// The same of single addresses.
    told: BTreeSet<IpAddr>,
}

/// Why a connection was not let in.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    key: &'static str,
    max: usize,
    /// The log does not know of it yet.
    is_news: bool,
}

impl Open {
    fn total(&self) -> usize {
        self.from.values().sum()
    }
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

    fn enter(&self, listener: ListenerId, ip: IpAddr) -> Result<Guest<'_>, Refusal> {
        let mut open = self.open.lock().expect("nobody panics while holding it");
        if open.total() >= self.max && self.protected != Some(listener) {
            let is_news = !std::mem::replace(&mut open.is_told, true);
            return Err(Refusal { key: "max.connections", max: self.max, is_news });
        }
        let from_there = open.from.get(&ip).copied().unwrap_or(0);
        if from_there >= self.per_ip_max {
            let is_news = open.told.len() < TOLD_MAX && open.told.insert(ip);
            return Err(Refusal { key: "max.connections.per.ip", max: self.per_ip_max, is_news });
        }
        open.from.insert(ip, from_there + 1);
        Ok(Guest { doors: self, ip })
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut open = self.doors.open.lock().expect("nobody panics while holding it");
        let Some(count) = open.from.get_mut(&self.ip) else { unreachable!("a guest was counted") };
        *count -= 1;
        let left = *count;
        if left == 0 {
            open.from.remove(&self.ip);
        }
        if left <= self.doors.per_ip_max / 2 {
            open.told.remove(&self.ip);
        }
        open.is_told &= open.total() > self.doors.max / 2;
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
            let _guest = match doors.enter(id, peer.ip()) {
                Ok(guest) => guest,
                Err(Refusal { key, max, is_news: true }) => {
                    return warn!(%peer, "turned away, as others after it: `{key}={max}` is reached; raise it if so many are to come");
                }
                Err(Refusal { key, max, is_news: false }) => return debug!(%peer, "turned away: `{key}={max}` is reached"),
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
        assert!(enter(a).is_err(), "two from one address");
        let _third = enter(b);
        assert!(enter(b).is_err(), "three in all");
        drop(first);
        assert!(enter(b).is_ok());
    }

    #[test]
    fn clients_do_not_keep_brokers_out() {
        let (clients, brokers) = (ListenerId(0), ListenerId(1));
        let doors = Doors::new(1, 2, Some(brokers));
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = doors.enter(clients, a);
        assert!(doors.enter(clients, b).is_err(), "one in all");
        let _second = doors.enter(brokers, b);
        let _third = doors.enter(brokers, b);
        assert!(_second.is_ok() && _third.is_ok());
        assert!(doors.enter(brokers, b).is_err(), "two from one address");
        drop(first);
        assert!(doors.enter(clients, a).is_err(), "brokers count");
    }

    #[test]
    fn who_is_turned_away_is_said_once_until_half_are_gone() {
        let ip = |n| IpAddr::from([10, 0, 0, n]);
        let doors = Doors::new(4, 3, None);
        let enter = |n| doors.enter(ListenerId(0), ip(n));
        let refused = |key, max, is_news| Some(Refusal { key, max, is_news });
        let mut from_one: Vec<_> = (0..3).map(|_| enter(1).expect("room")).collect();
        assert_eq!(enter(1).err(), refused("max.connections.per.ip", 3, true));
        assert_eq!(enter(1).err(), refused("max.connections.per.ip", 3, false));
        let _other = enter(2).expect("room");
        assert_eq!(enter(3).err(), refused("max.connections", 4, true));
        drop(from_one.pop());
        let again = enter(3).expect("room");
        assert_eq!(enter(3).err(), refused("max.connections", 4, false));
        drop((from_one.pop(), again));
        from_one.extend((0..2).map(|_| enter(1).expect("room")));
        assert_eq!(enter(3).err(), refused("max.connections", 4, true));
    }

    #[test]
    fn what_the_log_was_told_is_bounded() {
        let doors = Doors::new(10, 0, None);
        let news = (0..200).filter(|n| doors.enter(ListenerId(0), IpAddr::from([10, 0, 0, *n])).is_err_and(|refusal| refusal.is_news));
        assert_eq!(news.count(), TOLD_MAX);
    }
}
