//! `klamm dev`: a cluster of several nodes in one process, to try things out on one machine.

use super::Failure;
use super::logging::Logging;
use super::serve::{disks, world};
use clap::Args;
use klamm::clock::Clock;
use klamm::config::given::Given;
use klamm::config::{self, Config};
use klamm::founding::{self, Founders};
use klamm::identity::{self, Found, Voter};
use klamm::store::Identity;
use klamm::{Node, Stopped};
use klamm_core::client::io::Address;
use klamm_core::id::BrokerId;
use std::future::poll_fn;
use std::path::PathBuf;
use std::task::Poll;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// Controllers' ports begin so far above those of clients.
const CONTROLLERS_ABOVE: u16 = 100;
/// More nodes than this belong on more machines, and would meet the controllers' ports.
const NODES_MAX: i64 = 50;

/// Run a cluster of several nodes in this process, to try things out
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  klamm dev                              three nodes, data in ./klamm-dev, clients at 127.0.0.1:9092, 9093 and 9094
  klamm dev --brokers 5 --port 19092 --dir /tmp/cluster
  klamm dev -o log.durability=page-cache

The first three nodes are the controllers too (the first, of fewer nodes); they meet at ports from PORT+100 on.
Ctrl-C stops all nodes; the next start goes on with their data.")]
pub(super) struct Dev {
    /// How many nodes
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(i32).range(1..=NODES_MAX))]
    brokers: i32,
    /// Where data goes: a folder for each node
    #[arg(long, value_name = "FOLDER", default_value = "klamm-dev")]
    dir: PathBuf,
    /// The first node's port; the others follow
    #[arg(long, value_name = "PORT", default_value = "9092", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    port: u16,
    /// Set a property of all nodes
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    options: Vec<String>,
    #[command(flatten)]
    logging: Logging,
}

impl Dev {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let configs = (1..=self.brokers).map(|node| self.config(node)).collect::<Result<Vec<_>, _>>()?;
        self.logging.start()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| vec![format!("cannot start threads: {e}")])?;
        runtime.block_on(self.serve(&configs)).map_err(|e| vec![e])
    }

    fn controllers(&self) -> i32 {
        if self.brokers < 3 { 1 } else { 3 }
    }

    fn address(&self, node: i32, above: u16) -> String {
        format!("127.0.0.1:{}", i32::from(self.port) + i32::from(above) + node - 1)
    }

    fn addresses(&self, nodes: i32, above: u16) -> String {
        (1..=nodes).map(|node| self.address(node, above)).collect::<Vec<_>>().join(",")
    }

    fn config(&self, node: i32) -> Result<Config, Failure> {
        let is_controller = node <= self.controllers();
        let mut listeners = format!("PLAINTEXT://{}", self.address(node, 0));
        if is_controller {
            listeners += &format!(",CONTROLLER://{}", self.address(node, CONTROLLERS_ABOVE));
        }
        let replicas = self.brokers.min(3).to_string();
        let min_isr = if self.brokers < 3 { "1" } else { "2" }.to_owned();
        let mut given = Given::default();
        for (key, value) in [
            ("default.replication.factor", replicas.clone()),
            ("min.insync.replicas", min_isr.clone()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("transaction.state.log.replication.factor", replicas),
            ("transaction.state.log.min.isr", min_isr),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ] {
            given.option(&format!("{key}={value}")).expect("it has an equals sign");
        }
        for option in &self.options {
            given.option(option).map_err(|e| vec![e])?;
        }
        for (key, value) in [
            ("process.roles", if is_controller { "broker,controller" } else { "broker" }.to_owned()),
            ("node.id", node.to_string()),
            ("listeners", listeners),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.bootstrap.servers", self.addresses(self.controllers(), CONTROLLERS_ABOVE)),
            ("log.dirs", self.dir.join(format!("n{node}")).display().to_string()),
        ] {
            given.option(&format!("{key}={value}")).expect("it has an equals sign");
        }
        Ok(config::read(given)?.config)
    }

    async fn serve(&self, configs: &[Config]) -> Result<(), String> {
        let signals = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
        let (mut term, mut int) = (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
        let cluster = self.identity(configs).await?;
        let mut nodes = Vec::new();
        for config in configs {
            match Node::start(config, world(cluster.clone(), disks(config)?)).await {
                Ok(node) => nodes.push(node),
                Err(why) => {
                    drop(stop(nodes).await);
                    return Err(format!("node {}: {why}", config.node));
                }
            }
        }
        let servers = self.addresses(self.brokers, 0);
        println!("klamm is ready: {} nodes, bootstrap servers {servers} (cluster {cluster})", nodes.len());
        let ended = tokio::select! {
            biased;
            ended = first_to_end(&mut nodes) => Some(ended),
            _ = term.recv() => None,
            _ = int.recv() => None,
        };
        info!("all nodes finish what is under way");
        let asked = tokio::select! {
            biased;
            stopped = stop(nodes) => stopped,
            _ = term.recv() => Err("stopped at once by a second signal: the next start scans the logs".to_owned()),
            _ = int.recv() => Err("stopped at once by a second signal: the next start scans the logs".to_owned()),
        };
        ended.map_or(asked, Err)
    }

    /// The cluster that the folders belong to; formats them at the first start.
    async fn identity(&self, configs: &[Config]) -> Result<String, String> {
        let mut known = Vec::new();
        for config in configs {
            match identity::read(&disks(config)?).await? {
                Found::Formatted(Identity { cluster, .. }) => known.push(cluster),
                Found::Empty => {}
            }
        }
        let dir = self.dir.display();
        let has_more = self.dir.join(format!("n{}", self.brokers + 1)).exists();
        match known.first() {
            None => self.format(configs).await,
            Some(cluster) if known.len() == configs.len() && !has_more && known.iter().all(|other| other == cluster) => Ok(cluster.clone()),
            Some(_) => Err(format!("{dir} was made for another number of nodes: take another --dir, or the same --brokers as before")),
        }
    }

    async fn format(&self, configs: &[Config]) -> Result<String, String> {
        let cluster = identity::new_uuid().to_string();
        let voter = |node| Voter {
            node: BrokerId(node),
            address: Address { host: "127.0.0.1".to_owned(), port: self.port + CONTROLLERS_ABOVE + u16::try_from(node - 1).expect("few") },
            dir: identity::new_uuid(),
        };
        let voters: Vec<Voter> = (1..=self.controllers()).map(voter).collect();
        let now = Clock::new().now().wall;
        for config in configs {
            let plan = founding::plan(config, cluster.clone(), Founders::Listed(voters.clone()), None, now)?;
            identity::format(&plan, &disks(config)?).await?;
        }
        println!("new cluster {cluster} of {} nodes with its data in {}", self.brokers, self.dir.display());
        Ok(cluster)
    }
}

/// Waits until a node ends by itself; says why.
async fn first_to_end(nodes: &mut [Node]) -> String {
    let mut waiting: Vec<_> = nodes.iter_mut().map(|node| Box::pin(node.stopped())).collect();
    poll_fn(|cx| {
        for (at, wait) in waiting.iter_mut().enumerate() {
            if let Poll::Ready(stopped) = wait.as_mut().poll(cx) {
                return Poll::Ready(format!("node {}: {}", at + 1, words(stopped)));
            }
        }
        Poll::Pending
    })
    .await
}

/// Stops all nodes; fails with the first that did not end well.
async fn stop(nodes: Vec<Node>) -> Result<(), String> {
    nodes.iter().for_each(Node::stop);
    let mut outcome = Ok(());
    for (at, mut node) in nodes.into_iter().enumerate() {
        match node.stopped().await {
            Stopped::Clean => {}
            failed @ Stopped::Failed(_) => outcome = outcome.and(Err(format!("node {}: {}", at + 1, words(failed)))),
        }
    }
    outcome
}

fn words(stopped: Stopped) -> String {
    match stopped {
        Stopped::Clean => "it ended, but nobody asked it to".to_owned(),
        Stopped::Failed(why) => why,
    }
}
