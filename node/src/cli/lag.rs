//! `klamm lag`: watch how far consumers are behind, as Burrow does.

use super::Failure;
use super::logging::Logging;
use clap::{Args, Subcommand};
use klamm::clock::Clock;
use klamm::http;
use klamm::lag::{Config, monitor};
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// Watch how far consumers are behind, in any number of Kafka or klamm clusters
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  klamm lag serve --config burrow.toml

where burrow.toml is Burrow's file, or as little as
  [cluster.local]
  servers = [\"127.0.0.1:9092\"]

Then
  curl http://127.0.0.1:8000/v3/kafka/local/consumer             the groups, as Burrow answers
  curl http://127.0.0.1:8000/v3/kafka/local/consumer/GROUP/lag   one group
  curl http://127.0.0.1:8000/klamm/v1/lag                        all groups, the worst first, with lag in time
  curl http://127.0.0.1:8000/metrics                             for Prometheus")]
pub(super) struct Lag {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Watch, and answer over HTTP
    Serve {
        /// Burrow's configuration (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        logging: Logging,
    },
}

impl Lag {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Action::Serve { config: file, logging } = self.action;
        let cannot = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
        let text = std::fs::read_to_string(&file).map_err(|e| vec![cannot(&e)])?;
        let config = Config::parse(&text).map_err(|why| cannot(&why).lines().map(str::to_owned).collect::<Vec<_>>())?;
        logging.start()?;
        if !config.ignored.is_empty() {
            warn!("{}: without effect here: {}", file.display(), config.ignored.join(", "));
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| vec![format!("cannot start threads: {e}")])?;
        runtime.block_on(serve(config)).map_err(|e| vec![e])
    }
}

/// Serves until a signal.
async fn serve(config: Config) -> Result<(), String> {
    let signals = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
    let (mut term, mut int) = (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    let listen = config.listen.clone();
    let (monitor, watchers) = monitor(config, Clock::new());
    let mut addresses = Vec::new();
    for address in listen {
        let listener = TcpListener::bind(&address).await.map_err(|e| format!("cannot listen at {address}: {e}"))?;
        addresses.push(format!("http://{}", listener.local_addr().map_err(|e| e.to_string())?));
        tokio::spawn(http::serve(listener, monitor.clone()));
    }
    for watcher in watchers {
        tokio::spawn(watcher.run());
    }
    println!("klamm lag is ready: {}", addresses.join(", "));
    tokio::select! {
        biased;
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    info!("the lag monitor ends");
    Ok(())
}
