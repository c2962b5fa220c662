//! What the simulator lets happen on the network of its run, beyond what madsim can do by itself: connections that break, links that swallow or
//! refuse, machines without power. A run has its thread to itself.

use madsim::task::NodeId;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// What becomes of a dial over a link that is cut. Of what stands already, one hears nothing, whoever dies at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// Nobody answers, as where packets are dropped.
    Swallows,
    /// It is refused, as by a firewall that says so: to whoever dials, like a machine on which nobody listens.
    Refuses,
}

#[derive(Default)]
struct Weather {
    /// The next breaks: each after so many bytes more.
    tears: VecDeque<u64>,
    torn: u64,
    barriers: BTreeMap<(NodeId, IpAddr), Barrier>,
    dark: BTreeSet<IpAddr>,
    losses: BTreeMap<IpAddr, u64>,
    /// Where somebody listened once.
    shut: BTreeSet<SocketAddr>,
}

thread_local! {
    static WEATHER: RefCell<Weather> = RefCell::default();
}

fn with<T>(look: impl FnOnce(&mut Weather) -> T) -> T {
    WEATHER.with_borrow_mut(look)
}

/// Lets a connection break on the way, whoever it belongs to: `bytes` more are written on all connections together (counted from the break before,
/// if one is due), then the one whose turn it is breaks within what it was writing.
pub fn tear_after(bytes: u64) {
    with(|weather| weather.tears.push_back(bytes));
}

/// Forgets breaks that are due; says how many there have been.
pub fn stop_tearing() -> u64 {
    with(|weather| {
        weather.tears.clear();
        weather.torn
    })
}

/// Puts something between a machine and an address, or takes it away.
pub fn bar(machine: NodeId, address: IpAddr, barrier: Option<Barrier>) {
    with(|weather| match barrier {
        Some(barrier) => drop(weather.barriers.insert((machine, address), barrier)),
        None => drop(weather.barriers.remove(&(machine, address))),
    });
}

/// The machine at `address` loses power: nothing comes from it any more, not even that its connections have ended.
pub fn darken(address: IpAddr) {
    with(|weather| {
        weather.dark.insert(address);
        *weather.losses.entry(address).or_default() += 1;
    });
}

/// The machine runs again, and knows nothing of connections that it had.
pub fn lighten(address: IpAddr) {
    with(|weather| weather.dark.remove(&address));
}

/// How many of `len` bytes still leave, if the connection breaks within them.
pub(super) fn torn_within(len: usize) -> Option<usize> {
    with(|weather| {
        let left = weather.tears.front_mut()?;
        if *left >= len as u64 {
            *left -= len as u64;
            return None;
        }
        let kept = *left as usize;
        weather.tears.pop_front();
        weather.torn += 1;
        Some(kept)
    })
}

pub(super) fn barrier(machine: NodeId, address: IpAddr) -> Option<Barrier> {
    with(|weather| weather.barriers.get(&(machine, address)).copied())
}

pub(super) fn is_dark(address: IpAddr) -> bool {
    with(|weather| weather.dark.contains(&address))
}

pub(super) fn losses(address: IpAddr) -> u64 {
    with(|weather| weather.losses.get(&address).copied().unwrap_or(0))
}

pub(super) fn open(at: SocketAddr) {
    with(|weather| weather.shut.remove(&at));
}

pub(super) fn shut(at: SocketAddr) {
    with(|weather| weather.shut.insert(at));
}

pub(super) fn is_shut(at: SocketAddr) -> bool {
    with(|weather| weather.shut.contains(&at))
}
