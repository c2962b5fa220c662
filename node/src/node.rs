//! One node, put together: store, core, driver, listeners. Knows the order in which they start and stop, and decides nothing else.

use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::conn::{Budget, Shared};
use crate::driver::{Driver, EVENTS_MAX, Inbox, StoreDone};
use crate::founding;
use crate::fs::Fs;
use crate::listen::{Doors, accept};
use crate::net::{self, Listener, Sendable};
use crate::peer::Peers;
use crate::pool::Pool;
use crate::store::{self, OpenError, Store};
use bytes::Bytes;
use klamm_core::broker::io::Halt;
use klamm_core::broker::{self, Broker, RecoveredNode};
use klamm_core::id::{DirId, ListenerId, Offset, Ticket, Uuid};
use klamm_core::log::FoundLog;
use klamm_core::store::StoreOp;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::info;

/// How long connections may take to send their last answers when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// What requests of the quorum in work may hold together.
const QUORUM_HELD_BYTES: usize = 16 << 20;
/// Connections that may wait for the disk at once, to send what is not in memory. A part of the threads that may wait, so that syncs find one.
const COLD_READS_MAX: usize = 8;

/// Operations given to the store before it works on them.
const OPS_AT_ONCE: usize = 256;

/// The store's work, to be driven to its end by someone.
pub type StoreTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Sizes that no property of Kafka's names. The simulator makes them small, so that their limits are met.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of the newest batches held in memory, for all logs together.
    pub tail_bytes: u64,
    /// Below so many free bytes a log directory takes no more records of clients.
    pub reserve_bytes: u64,
    /// How the store works.
    pub store: store::Options,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { tail_bytes: broker::TAIL_BYTES_DEFAULT, reserve_bytes: broker::RESERVE_BYTES_DEFAULT, store: store::Options::default() }
    }
}

/// What a node lives in.
pub struct World<F> {
    /// One for each of `log.dirs`, in their order.
    pub disks: Vec<F>,
    /// The cluster's id, as `klamm format` wrote it.
    pub cluster: String,
    /// The node's time.
    pub clock: Clock,
    /// Feeds all of the core's chance.
    pub seed: u64,
    /// What it holds in memory and on its disks.
    pub sizes: Sizes,
    /// Drives the store, on a thread of its own or as a task.
    pub run_store: Box<dyn FnOnce(StoreTask) -> std::io::Result<()> + Send>,
}

/// How a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// As it was told to: everything is on disk, and the next start need not scan.
    Clean,
    /// It stopped itself.
    Failed(String),
}

/// A running node. Dropping it does not stop it.
#[derive(Debug)]
pub struct Node {
    addresses: Vec<String>,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<Stopped>,
    last: Option<Stopped>,
}

impl Node {
    /// Recovers the logs, then opens the listeners: a port that takes connections is served.
    ///
    /// # Errors
    /// One line: an address that cannot be bound, a directory that cannot be used.
    pub async fn start<F: Fs<File: Sendable>>(config: &Config, world: World<F>) -> Result<Self, String> {
        let (store, recovered) = open(config, &world.cluster, world.disks, world.sizes.store).await?;
        let (listeners, addresses) = bind(config).await?;
        let ports = listeners.iter().map(|l| l.local_addr().map(|a| a.port())).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        let told = config.broker(&world.cluster, &directory_ids(config, &recovered), &ports)?;
        let Sizes { tail_bytes: tail_bytes_max, reserve_bytes, store: _ } = world.sizes;
        let told = broker::Config { tail_bytes_max, reserve_bytes, ..broker::Config::of(told, config.metadata_dir, &recovered.dirs)? };
        let remedy = metadata_remedy(config, &world.cluster, told.quorum.dir);
        let broker = Broker::new(told, world.seed, recovered);

        let (events, from_conns) = mpsc::channel(EVENTS_MAX);
        let (to_store, ops) = mpsc::unbounded_channel();
        let (done, stored) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let files = store.files();
        let (close_cleanly, cleanly) = oneshot::channel();
        let (closed, store_closed) = oneshot::channel();
        let end = StoreEnd { mark: clean_mark(config), cleanly, closed };
        (world.run_store)(Box::pin(keep_store(store, ops, done, end))).map_err(|e| format!("cannot start the store: {e}"))?;

        let (news, from_peers) = mpsc::unbounded_channel();
        let inbox = Inbox { _events: events.clone(), events: from_conns, stored, news: from_peers, stop: stopping.clone() };
        let (leave, all_left) = mpsc::channel(1);
        let (pool, cold) = (Pool::default(), Arc::new(Semaphore::new(COLD_READS_MAX)));
        let shared = |held_bytes_max| {
            Arc::new(Shared {
                events: events.clone(),
                files: files.clone(),
                budget: Budget::new(held_bytes_max),
                pool: pool.clone(),
                cold: Arc::clone(&cold),
                frame_bytes_max: config.frame_bytes_max,
                idle_max: config.idle_max,
                _leave: leave.clone(),
            })
        };
        // The quorum has memory and doors of its own: however many clients come, it must be heard.
        let (of_clients, of_quorum) = (shared(config.held_bytes_max), shared(QUORUM_HELD_BYTES));
        let doors = Arc::new(Doors::new(config.connections_max, config.connections_per_ip_max, config.listeners.protected()));
        let side_doors = Arc::new(doors.unbounded());
        for (index, listener) in listeners.into_iter().enumerate() {
            let id = ListenerId(u16::try_from(index).expect("few listeners"));
            let is_client = index < config.listeners.clients.len();
            let (shared, doors) = if is_client { (&of_clients, &doors) } else { (&of_quorum, &side_doors) };
            tokio::spawn(accept(listener, id, Arc::clone(shared), Arc::clone(doors), stopping.clone()));
        }
        drop((of_clients, of_quorum, leave, events));
        let mut driver = Driver::new(broker, world.clock, Peers::new(config.node, news), to_store);
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move {
            let halt = driver.run(inbox).await;
            if matches!(halt, Halt::Stopped | Halt::Unregistered { .. }) {
                let _ = close_cleanly.send(());
            }
            // Lets go of connections and store: each finishes what it has.
            drop(driver);
            drop(end.send(wind_up(halt, &remedy, all_left, store_closed).await));
        });
        Ok(Self { addresses, stop, ended, last: None })
    }

    /// Where it listens: for clients first, then for the quorum.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Asks the node to finish what is under way and stop.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns once the node has ended, by itself or because it was asked to.
    pub async fn stopped(&mut self) -> Stopped {
        if self.last.is_none() {
            let lost = |_| Stopped::Failed("the node's own task ended: this is a bug".to_owned());
            self.last = Some((&mut self.ended).await.unwrap_or_else(lost));
        }
        self.last.clone().expect("set above")
    }
}

/// Opens the log directories. The node does without those whose disks fail, but not without the first, which holds the metadata log; and a folder
/// that is another's, in use, or not formatted is a mistake that only the operator can mend.
async fn open<F: Fs>(config: &Config, cluster: &str, disks: Vec<F>, options: store::Options) -> Result<(Store<F>, RecoveredNode), String> {
    let disks = disks.into_iter().enumerate().map(|(index, disk)| (DirId(u16::try_from(index).expect("few directories")), disk));
    let identity = store::Identity { cluster: cluster.to_owned(), node: config.node };
    let opened = store::open(disks.collect(), &identity, options).await;
    let mut recovered = RecoveredNode::default();
    for ((id, dir), path) in opened.dirs.into_iter().zip(&config.log_dirs) {
        match dir {
            Ok(dir) => {
                // A folder that was just formatted holds the first snapshot of the metadata log, and nothing that could be torn.
                let is_new = |log: &FoundLog| log.state.as_ref().is_ok_and(|found| found.end == Offset::ZERO);
                if dir.clean.is_none() && !dir.logs.iter().all(is_new) {
                    info!("{} was not closed cleanly: its logs were scanned", path.display());
                }
                recovered.dirs.push(dir);
            }
            Err(OpenError::Disk(why)) if id != config.metadata_dir => recovered.offline.push((id, why)),
            Err(why) => return Err(format!("cannot use {}: {why}{}", path.display(), remedy(&why))),
        }
    }
    Ok((opened.store, recovered))
}

/// What the operator can do about a folder that stops the start.
fn remedy(why: &OpenError) -> &'static str {
    match why {
        OpenError::Locked => "; stop that process, or give this node folders of its own in `log.dirs`",
        OpenError::Unformatted => "; is its disk mounted? `klamm format --ignore-formatted FILE` prepares a new one",
        OpenError::Foreign(_) => "; give each node folders of its own in `log.dirs`",
        OpenError::Disk(_) => {
            "; it holds the metadata log, without which nothing can be served: mend the disk, or put a good folder first in `log.dirs`"
        }
    }
}

/// The id of each directory in the order of `log.dirs`; zero where it could not be read.
fn directory_ids(config: &Config, recovered: &RecoveredNode) -> Vec<Uuid> {
    let mut ids = vec![Uuid::ZERO; config.log_dirs.len()];
    recovered.dirs.iter().for_each(|dir| ids[usize::from(dir.dir.0)] = dir.id);
    ids
}

/// Binds the listeners, those of clients first; says where they listen.
async fn bind(config: &Config) -> Result<(Vec<Listener>, Vec<String>), String> {
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for endpoint in config.listeners.clients.iter().chain(&config.listeners.controllers) {
        let cannot = |e: std::io::Error| {
            let remedy = if e.kind() == std::io::ErrorKind::AddrInUse {
                "stop what listens there, or give `listeners` another port"
            } else {
                "`listeners` must name an address of this machine, and a port that this user may have"
            };
            format!("cannot listen at {}://{}: {e}; {remedy}", endpoint.name, endpoint.address())
        };
        let at = net::resolve(&endpoint.address()).await.map_err(cannot)?;
        let at = at.first().ok_or_else(|| cannot(std::io::ErrorKind::AddrNotAvailable.into()))?;
        let listener = net::bind(*at, config.sockets).await.map_err(cannot)?;
        addresses.push(format!("{}://{}", endpoint.name, listener.local_addr().map_err(cannot)?));
        listeners.push(listener);
    }
    Ok((listeners, addresses))
}

/// After the core's halt: waits until the last answers have left and the store is closed.
async fn wind_up(
    halt: Halt,
    remedy: &str,
    mut all_left: mpsc::Receiver<()>,
    store_closed: oneshot::Receiver<Result<(), String>>,
) -> Stopped {
    drop(tokio::time::timeout(FAREWELL, all_left.recv()).await);
    match halt {
        Halt::Stopped => closed(store_closed).await.map_or_else(Stopped::Failed, |()| Stopped::Clean),
        Halt::Unregistered { why } => {
            Stopped::Failed(closed(store_closed).await.err().map_or(why.clone(), |also| format!("{why}; {also}")))
        }
        Halt::DirsOffline { why } => {
            Stopped::Failed(format!("{why}; nothing can be served without that log directory: mend its disk, then start again"))
        }
        Halt::Metadata { why } => Stopped::Failed(format!("{why}; {remedy}")),
    }
}

/// Waits until the store is closed.
async fn closed(store_closed: oneshot::Receiver<Result<(), String>>) -> Result<(), String> {
    store_closed.await.unwrap_or_else(|_| Err("the store's task ended: this is a bug".to_owned()))
}

/// What the operator can do where the metadata log cannot be used: mend it, or have others tell what was in it, as where its disk is lost.
fn metadata_remedy(config: &Config, cluster: &str, dir: DirId) -> String {
    let mend = format!("nothing was cut: look at the disk of {}, then start again", config.log_dirs[usize::from(dir.0)].display());
    let has_fixed_voters = config.given.get("controller.quorum.voters").is_some_and(|voters| !voters.is_empty());
    if founding::is_alone(config) && !has_fixed_voters {
        return format!("{mend}. No other node has the metadata: if it cannot be mended, only a backup helps");
    }
    let founders = if config.roles.controller && !has_fixed_voters { "--no-initial-controllers " } else { "" };
    let line = format!("klamm format --ignore-formatted --cluster-id {cluster} {founders}FILE");
    format!("{mend}. If it cannot be mended, empty that folder, and format it anew, as where the disk is lost:\n\n    {line}\n")
}

/// How the store's task ends.
struct StoreEnd {
    /// What goes into the mark of a clean shutdown.
    mark: Bytes,
    /// Sent before the driver lets go, if the end is a clean one.
    cleanly: oneshot::Receiver<()>,
    closed: oneshot::Sender<Result<(), String>>,
}

/// Kafka's `.kafka_cleanshutdown`, with the durability that the logs were written under: a crash disqualifies a replica or does not, by that.
fn clean_mark(config: &Config) -> Bytes {
    let durability = match config.durability {
        Durability::Fsync => "fsync",
        Durability::PageCache => "page-cache",
    };
    format!("{{\"version\":0,\"brokerEpoch\":-1,\"durability\":\"{durability}\"}}").into()
}

/// Hands operations to the store and its outcomes back, until the driver is gone; then closes it.
async fn keep_store<F: Fs>(
    mut store: Store<F>,
    mut ops: mpsc::UnboundedReceiver<(Ticket, StoreOp)>,
    done: mpsc::UnboundedSender<StoreDone>,
    mut end: StoreEnd,
) {
    let mut taken = Vec::with_capacity(OPS_AT_ONCE);
    poll_fn(|cx| {
        loop {
            // Operations first: what comes together is written together.
            let more = ops.poll_recv_many(cx, &mut taken, OPS_AT_ONCE);
            taken.drain(..).for_each(|(ticket, op)| store.submit(ticket, op));
            while let Poll::Ready(outcome) = store.poll(cx) {
                drop(done.send(outcome));
            }
            match more {
                Poll::Ready(0) => return Poll::Ready(()),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    // Only a halt as asked leaves the mark of a clean end.
    if end.cleanly.try_recv() != Ok(()) {
        return;
    }
    let outcomes = store.close(end.mark).await;
    let fault = outcomes
        .into_iter()
        .find_map(|(dir, outcome)| outcome.err().map(|fault| format!("log directory {dir} was not closed cleanly: {fault:?}")));
    drop(end.closed.send(fault.map_or(Ok(()), Err)));
}
