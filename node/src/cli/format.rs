//! `klamm format`: gives log directories their identity, before the first start.

use super::Failure;
use clap::Args;
use klamm::config::given::Given;
use klamm::config::{self, Config, judge};
use klamm::identity::{self, Plan, Voter};
use klamm::store::Identity;
use klamm_core::id::Uuid;
use std::path::PathBuf;

/// Prepare the folders of `log.dirs` for a node's first start
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  klamm format server.properties                     a cluster of this one node; prints its new id
  klamm format --cluster-id ID server.properties     with an id that you chose
  klamm format --ignore-formatted server.properties  only folders that are new, as after a disk was replaced

A folder gets a new directory id each time it is formatted: a wiped disk must not be taken for the one it was.")]
pub(super) struct Format {
    /// The cluster's id, the same on all of its nodes [default: a new one]
    #[arg(long, value_name = "ID")]
    cluster_id: Option<String>,
    /// The cluster's first controllers, the same list on all of its nodes: id@host:port:directory-id,...
    #[arg(long, value_name = "LIST", conflicts_with = "standalone")]
    initial_controllers: Option<String>,
    /// This node is the only controller, which it is anyway without a list
    #[arg(long)]
    standalone: bool,
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
        let voters = self
            .initial_controllers
            .as_deref()
            .map(identity::voters)
            .transpose()
            .map_err(|e| vec![format!("--initial-controllers: {e}")])?;
        let first_dir = check(&config, voters.as_deref()).map_err(|e| vec![e])?;
        let cluster = self.cluster_id.clone().unwrap_or_else(|| identity::new_uuid().to_string());
        if cluster.is_empty() || cluster.contains(char::is_whitespace) {
            return Err(vec![format!("`--cluster-id {cluster}`: want an id without blanks, like {}", identity::new_uuid())]);
        }
        let owner = Identity { cluster, node: config.node };
        let plan = Plan { owner, first_dir, ignore_formatted: self.ignore_formatted };
        let disks = super::serve::disks(&config).map_err(|e| vec![e])?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| vec![format!("cannot start a thread: {e}")])?;
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
}

/// The id that the list of first controllers gives this node's metadata folder.
fn check(config: &Config, voters: Option<&[Voter]>) -> Result<Option<Uuid>, String> {
    let Some(voters) = voters else { return Ok(None) };
    if voters.len() > 1 {
        return Err(format!("--initial-controllers names {} controllers; klamm runs clusters of one node yet", voters.len()));
    }
    let own = voters.iter().find(|voter| voter.node == config.node);
    match own {
        Some(voter) => Ok(Some(voter.dir)),
        None if config.controller => {
            Err(format!("--initial-controllers does not name this node, {}, which has the role `controller`", config.node))
        }
        None => Ok(None),
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
