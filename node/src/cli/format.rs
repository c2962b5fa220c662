//! `klamm format`: gives log directories their identity, before the first start.

use super::Failure;
use clap::Args;
use klamm::clock::Clock;
use klamm::config::given::Given;
use klamm::config::{self, judge};
use klamm::founding::{self, Founders};
use klamm::identity::{self, Plan};
use std::path::PathBuf;

/// Prepare the folders of `log.dirs` for a node's first start
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  klamm format server.properties                     a cluster of this one node; prints its new id
  klamm format --cluster-id ID server.properties     with an id that you chose
  klamm format --ignore-formatted server.properties  only folders that are new, as after a disk was replaced

  klamm format --cluster-id ID --initial-controllers 1@a:9093:DIR1,2@b:9093:DIR2,3@c:9093:DIR3 server.properties
                                                     one of three controllers; the same line on each, which find their own part
  klamm format --cluster-id ID --no-initial-controllers server.properties
                                                     a node that joins a cluster

A folder gets a new directory id each time it is formatted: a wiped disk must not be taken for the one it was.")]
pub(super) struct Format {
    /// The cluster's id, the same on all of its nodes [default: a new one]
    #[arg(long, value_name = "ID")]
    cluster_id: Option<String>,
    /// The cluster's first controllers, the same list on all of its nodes: id@host:port:directory-id,...
    #[arg(long, value_name = "LIST", conflicts_with_all = ["standalone", "no_initial_controllers"])]
    initial_controllers: Option<String>,
    /// This node is the first and only controller, which it is anyway where no property names another
    #[arg(long, conflicts_with = "no_initial_controllers")]
    standalone: bool,
    /// There is a quorum already, or will be: this node finds it by `controller.quorum.bootstrap.servers`
    #[arg(long)]
    no_initial_controllers: bool,
    /// Leave folders alone that are formatted already
    #[arg(long)]
    ignore_formatted: bool,
    /// Set a property over the file's
    #[arg(short = 'o', value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Kafka's server.properties
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Format {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = load(Some(&self.file), &self.options, |_| {})?.config;
        let founders = self.founders().map_err(|e| vec![format!("--initial-controllers: {e}")])?;
        let cluster = self.cluster_id.clone().unwrap_or_else(|| identity::new_uuid().to_string());
        if cluster.is_empty() || cluster.contains(char::is_whitespace) {
            return Err(vec![format!("`--cluster-id {cluster}`: want an id without blanks, like {}", identity::new_uuid())]);
        }
        let disks = super::serve::disks(&config).map_err(|e| vec![e])?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| vec![format!("cannot start a thread: {e}")])?;
        let known = runtime.block_on(identity::directory_id(&disks[usize::from(config.metadata_dir.0)])).map_err(|e| vec![e])?;
        let plan = founding::plan(&config, cluster, founders, known, Clock::new().now().wall).map_err(|e| vec![e])?;
        let plan = Plan { ignore_formatted: self.ignore_formatted, ..plan };
        let done = runtime.block_on(identity::format(&plan, &disks)).map_err(|e| vec![e])?;
        println!("cluster id {}, node id {}", plan.owner.cluster, plan.owner.node);
        for (path, id) in &done {
            println!("formatted {} with directory id {id}", path.display());
        }
        if done.is_empty() {
            println!("every folder was formatted already");
        }
        Ok(())
    }

    fn founders(&self) -> Result<Founders, String> {
        Ok(match &self.initial_controllers {
            Some(list) => Founders::Listed(identity::voters(list)?),
            None if self.standalone => Founders::Standalone,
            None if self.no_initial_controllers => Founders::Elsewhere,
            None => Founders::Unsaid,
        })
    }
}

/// Reads file, environment and options, in this order of precedence; `fallbacks` come last.
pub(super) fn load(file: Option<&PathBuf>, options: &[String], fallbacks: impl FnOnce(&mut Given)) -> Result<config::Loaded, Failure> {
    let mut given = Given::default();
    if let Some(file) = file {
        given.file(file).map_err(|e| vec![e])?;
    }
    let unknown = given.environment(std::env::vars(), judge::is_known);
    for option in options {
        given.option(option).map_err(|e| vec![e])?;
    }
    fallbacks(&mut given);
    let mut loaded = config::read(given)?;
    if !unknown.is_empty() {
        loaded.warnings.push(format!("environment variables that name no key: {}", unknown.join(", ")));
    }
    Ok(loaded)
}
