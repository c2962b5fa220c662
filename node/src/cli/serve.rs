//! `klamm serve`: runs a node until it is told to stop.

use super::Failure;
use super::format::load;
use super::logging::Logging;
use clap::Args;
use klamm::client::admin::Admin;
use klamm::clock::Clock;
use klamm::config::Config;
use klamm::founding::{self, Founders};
use klamm::fs::Disk;
use klamm::identity::{self, Found, NamedDisk};
use klamm::store::Identity;
use klamm::{Node, Sizes, Stopped, World};
use klamm_core::client::io::Address;
use klamm_core::wire::Response;
use klamm_core::wire::api::describe_cluster::DescribeClusterRequest;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// Threads that may wait for the disk at once: enough to keep it busy, few enough to cost no memory.
const BLOCKING_THREADS: usize = 32;
/// How long to look for the cluster of a folder that is empty.
const LOOK_MAX: Duration = Duration::from_secs(3);
/// The newest version of `DescribeCluster` that is asked with, and its number for controllers (KIP-919).
const DESCRIBE_CLUSTER: i16 = 1;
const OF_CONTROLLERS: i8 = 2;

/// Run a node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  klamm serve                                          one node, data in ./klamm-data, clients at 127.0.0.1:9092
  klamm serve --data /srv/klamm -o log.retention.hours=24
  klamm serve server.properties                        as the file says; `klamm format` it first
  KLAMM_NUM_PARTITIONS=6 klamm serve                   a property from the environment

Properties have Kafka's names. The file is weakest, the environment is stronger, -o is strongest.
By default a node is reached from its own machine only, since nothing guards it yet; to open it:
  klamm serve -o listeners=PLAINTEXT://:9092 -o advertised.listeners=PLAINTEXT://HOST:9092")]
pub(super) struct Serve {
    /// Set a property
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Where data goes if there is no FILE [default: ./klamm-data]
    #[arg(long, value_name = "FOLDER", conflicts_with = "file")]
    data: Option<PathBuf>,
    #[command(flatten)]
    logging: Logging,
    /// Kafka's server.properties; its folders must be formatted
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let loaded = load(self.file.as_ref(), &self.options, |given| {
            if self.file.is_none() {
                let data = self.data.clone().unwrap_or_else(|| PathBuf::from("klamm-data"));
                given.fallback("log.dirs", data.display().to_string());
            }
        })?;
        self.logging.start()?;
        loaded.warnings.iter().for_each(|line| warn!("{line}"));
        let config = loaded.config;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers())
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()
            .map_err(|e| vec![format!("cannot start threads: {e}")])?;
        runtime.block_on(self.serve(&config)).map_err(|e| vec![e])
    }

    async fn serve(&self, config: &Config) -> Result<(), String> {
        let signals = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
        let (mut term, mut int) = (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
        let disks = disks_to_serve(config)?;
        let cluster = self.identity(config, &disks).await?.cluster;
        let mut node = Node::start(config, world(cluster.clone(), disks)).await?;
        println!("klamm is ready: {} (cluster {cluster}, node {})", node.addresses().join(", "), config.node);
        let mut asked = false;
        let stopped = loop {
            let signal = tokio::select! {
                biased;
                stopped = node.stopped() => break stopped,
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
            };
            if asked {
                return Err(format!("stopped at once by a second signal, {signal}: the next start scans the logs"));
            }
            info!("{signal}: finishing what is under way");
            asked = true;
            node.stop();
        };
        match stopped {
            Stopped::Clean => Ok(()),
            Stopped::Failed(why) => Err(why),
        }
    }

    async fn identity(&self, config: &Config, disks: &[NamedDisk<Disk>]) -> Result<Identity, String> {
        let identity = match (identity::read(disks).await?, &self.file) {
            (Found::Formatted(identity), _) => identity,
            (Found::Empty, Some(file)) => {
                let remedy = self.remedy(config, file, cluster_there_is(config).await);
                return Err(format!("{} is not formatted; {remedy}", config.log_dirs[0].display()));
            }
            (Found::Empty, None) => first_start(config, disks).await?,
        };
        if identity.node != config.node {
            let first = config.log_dirs[0].display();
            return Err(format!(
                "{first} belongs to node {}, but `node.id` is {}: correct `node.id`, or name another folder",
                identity.node, config.node
            ));
        }
        Ok(identity)
    }
}

impl Serve {
    /// How to format the folders, for the cluster that answers where the quorum should be, or for a new one.
    fn remedy(&self, config: &Config, file: &Path, there_is: Option<String>) -> String {
        let options: String = self.options.iter().map(|option| format!("-o '{option}' ")).collect();
        let line =
            |cluster: &str, founders: &str| format!("\n\n    klamm format --cluster-id {cluster} {founders}{options}{}\n", file.display());
        if let Some(cluster) = there_is {
            let founders = if config.roles.controller { "--no-initial-controllers " } else { "" };
            return format!(
                "its cluster is there; to join it, or to take the place of a node whose disk is gone, run{}",
                line(&cluster, founders)
            );
        }
        let new = identity::new_uuid().to_string();
        let fixed = config.given.get("controller.quorum.voters").is_some_and(|voters| !voters.is_empty());
        if fixed || !config.roles.controller {
            return format!("with the id of its cluster, which is the same on all nodes, run{}", line("ID", ""));
        }
        if founding::is_alone(config) {
            return format!("for a new cluster of this node run{}", line(&new, ""));
        }
        let own = config.controllers().into_iter().next().map(|e| Address { host: e.host, port: e.port });
        let own = own.map_or_else(String::new, |address| format!("{}@{address}:{}", config.node, identity::new_uuid()));
        let listed = format!("--initial-controllers {own},ID@HOST:PORT:DIRECTORY-ID,... ");
        format!(
            "for a new cluster, of which it is one of the first controllers, run on each of them, with the same list,{}\nand to join a cluster that there is{}",
            line(&new, &listed),
            line("ID", "--no-initial-controllers ")
        )
    }
}

/// The id of the cluster whose controllers answer at `controller.quorum.bootstrap.servers`.
async fn cluster_there_is(config: &Config) -> Option<String> {
    let ask = DescribeClusterRequest { endpoint_type: OF_CONTROLLERS, ..Default::default() };
    let mut quorum = Admin::new(founding::servers(config));
    let answer = tokio::time::timeout(LOOK_MAX, quorum.ask(ask.into(), DESCRIBE_CLUSTER)).await.ok()?.ok()?;
    if let Response::DescribeCluster(told) = answer { told.error_code.is_none().then_some(told.cluster_id) } else { None }
}

/// Threads for connections and decisions: a core is left to the store, which has a thread of its own. More threads than cores take each other's
/// work, and wake up for it in vain.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() - 1).max(1)
}

/// Formats empty folders as a cluster of one node.
async fn first_start(config: &Config, disks: &[NamedDisk<Disk>]) -> Result<Identity, String> {
    let plan = founding::plan(config, identity::new_uuid().to_string(), Founders::Unsaid, None, Clock::new().now().wall)?;
    for (path, _) in identity::format(&plan, disks).await? {
        println!("new cluster {} with its data in {}", plan.owner.cluster, path.display());
    }
    Ok(plan.owner)
}

/// The folders of `log.dirs`, made if need be. The node can do without all but the first.
fn disks_to_serve(config: &Config) -> Result<Vec<NamedDisk<Disk>>, String> {
    let open = |(at, dir): (usize, &PathBuf)| match Disk::new(dir) {
        Ok(disk) => Ok((dir.clone(), disk)),
        Err(_) if at > 0 => Ok((dir.clone(), Disk::as_is(dir))),
        Err(e) => {
            Err(format!("cannot make {}: {e}; it holds the metadata log: mend it, or put a good folder first in `log.dirs`", dir.display()))
        }
    };
    config.log_dirs.iter().enumerate().map(open).collect()
}

/// The folders of `log.dirs`, made if need be.
pub(super) fn disks(config: &Config) -> Result<Vec<NamedDisk<Disk>>, String> {
    let open = |dir: &PathBuf| {
        Disk::new(dir)
            .map(|disk| (dir.clone(), disk))
            .map_err(|e| format!("cannot make {}: {e}; name another folder in `log.dirs`, or let this user write there", dir.display()))
    };
    config.log_dirs.iter().map(open).collect()
}

pub(super) fn world(cluster: String, disks: Vec<NamedDisk<Disk>>) -> World<Disk> {
    let handle = tokio::runtime::Handle::current();
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("the system gives random bytes");
    World {
        disks: disks.into_iter().map(|(_, disk)| disk).collect(),
        cluster,
        clock: Clock::new(),
        seed: u64::from_le_bytes(seed),
        sizes: Sizes::default(),
        // The store writes into the page cache in place: a thread of its own keeps that from the tasks of the connections.
        run_store: Box::new(move |store| {
            let thread = std::thread::Builder::new().name("store".to_owned());
            thread.spawn(move || handle.block_on(store)).map(drop)
        }),
    }
}
