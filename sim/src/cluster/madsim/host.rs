//! A node under test as a machine of madsim: what survives its deaths, and what it starts with in each life.

use super::pace::Pace;
use crate::disk::Disk;
use crate::plan::Plan;
use crate::stage;
use klamm::clock::{Clock, Skew};
use klamm::config::given::Given;
use klamm::config::{self, Config};
use klamm::{Node, Sizes, Stopped, World};
use klamm_core::client::io::Address;
use madsim::net::NetSim;
use madsim::runtime::Handle;
use madsim::task::NodeId;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// What the runner hears of a node.
#[derive(Debug)]
pub(super) enum News {
    /// The disk operation has come with which it was to crash; it does nothing any more.
    Crashed { node: u32, power: bool },
    /// A life ended by itself: as the node was told, or with these words.
    Ended { node: u32, life: u64, outcome: Result<(), String> },
}

/// Where clients and brokers reach a node.
pub(super) fn address(node: u32) -> Address {
    Address { host: name(node), port: 9092 }
}

fn name(node: u32) -> String {
    format!("node-{node}")
}

pub(super) fn ip(node: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(node).expect("few nodes")))
}

/// The machine.
pub(super) struct Host {
    number: u32,
    config: Config,
    sizes: Sizes,
    seed: u64,
    disk: Mutex<Disk>,
    pace: Arc<Pace>,
    skew: Skew,
    wall_ms: AtomicI64,
    lives: AtomicU64,
    /// The last life that was asked to stop.
    stop: watch::Sender<u64>,
    tell: mpsc::UnboundedSender<News>,
}

impl Host {
    pub(super) fn new(plan: &Plan, number: u32, disk: Disk, pace: Arc<Pace>, tell: mpsc::UnboundedSender<News>) -> Self {
        let sizes = Sizes { tail_bytes: plan.tail_bytes, reserve_bytes: stage::RESERVE_BYTES, store: stage::store_options(plan) };
        Self {
            number,
            config: configure(plan, number),
            sizes,
            seed: stage::seed_of(plan, number),
            disk: Mutex::new(disk),
            pace,
            skew: Skew::default(),
            wall_ms: AtomicI64::new(0),
            lives: AtomicU64::new(1),
            stop: watch::Sender::new(0),
            tell,
        }
    }

    /// Its disk, in the life that is under way or comes next.
    pub(super) fn disk(&self) -> Disk {
        self.disk.lock().expect("nothing panics holding it").clone()
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Lives begun.
    pub(super) fn lives(&self) -> u64 {
        self.lives.load(Ordering::Relaxed)
    }

    /// Counts one life more; returns its number.
    pub(super) fn next_life(&self) -> u64 {
        self.lives.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What the life that has ended left unsynced is at chance's mercy, if power was lost.
    pub(super) fn crash(&self, power: bool) {
        let mut disk = self.disk.lock().expect("nothing panics holding it");
        *disk = disk.crash(power);
    }

    /// Asks the node to stop cleanly, if it still lives this life.
    pub(super) fn stop(&self, life: u64) {
        self.stop.send_replace(life);
    }

    /// Moves the wall clock by so many ms.
    pub(super) fn jump_clock(&self, by: i64) {
        self.skew.set_wall(self.wall_ms.fetch_add(by, Ordering::Relaxed) + by);
    }

    /// One life.
    async fn live(&self) {
        let life = self.lives();
        let outcome = self.serve(life).await;
        drop(self.tell.send(News::Ended { node: self.number, life, outcome }));
    }

    async fn serve(&self, life: u64) -> Result<(), String> {
        let world = World {
            disks: vec![self.disk()],
            cluster: stage::CLUSTER.to_owned(),
            clock: Clock::skewed(self.skew.clone()),
            seed: self.seed.wrapping_add(life),
            sizes: self.sizes,
            run_store: Box::new(|store| {
                tokio::spawn(store);
                Ok(())
            }),
        };
        let mut stop = self.stop.subscribe();
        let mut node = Node::start(&self.config, world).await?;
        let stopped = tokio::select! {
            biased;
            stopped = node.stopped() => stopped,
            _ = stop.wait_for(|asked| *asked == life) => {
                node.stop();
                node.stopped().await
            }
        };
        match stopped {
            Stopped::Clean => Ok(()),
            Stopped::Failed(why) => Err(why),
        }
    }
}

/// Makes the machine, and starts its first life.
pub(super) fn build(madsim: &Handle, host: &Arc<Host>) -> NodeId {
    let (name, ip) = (name(host.number), ip(host.number));
    NetSim::current().add_dns_record(&name, ip);
    let host = Arc::clone(host);
    let live = move || {
        let host = Arc::clone(&host);
        async move { host.live().await }
    };
    madsim.create_node().name(name).ip(ip).init(live).build().id()
}

fn configure(plan: &Plan, node: u32) -> Config {
    let mut given = Given::default();
    let host = name(node);
    let quorum = if plan.nodes == 1 { String::new() } else { format!(",CONTROLLER://{host}:9093") };
    let own = [
        ("node.id", node.to_string()),
        ("process.roles", "broker,controller".to_owned()),
        ("log.dirs", "data".to_owned()),
        ("listeners", format!("PLAINTEXT://{host}:9092{quorum}")),
    ];
    let of_plan = stage::properties(plan, node);
    for (key, value) in own.into_iter().chain(of_plan) {
        given.option(&format!("{key}={value}")).expect("it has an equals sign");
    }
    config::read(given).unwrap_or_else(|problems| panic!("properties of ours: {problems:?}")).config
}
