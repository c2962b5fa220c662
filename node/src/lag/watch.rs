//! Who looks at the clusters, and what all of them have seen.

use super::config::{Config, Watched};
use super::look::Looker;
use crate::clock::Clock;
use klamm_core::lag::Cluster;
use klamm_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tracing::{info, warn};

/// What has been seen of all clusters.
#[derive(Debug)]
pub struct Monitor {
    pub(super) config: Config,
    pub(super) host: String,
    clock: Clock,
    clusters: BTreeMap<String, Mutex<Seen>>,
}

/// What has been seen of one cluster.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) cluster: Cluster,
    /// When it was last seen whole.
    pub(super) looked: Option<Timestamp>,
    /// What went wrong when it was last looked at.
    pub(super) failed: Option<String>,
}

/// Looks at one cluster.
#[derive(Debug)]
pub struct Watcher {
    name: String,
    monitor: Arc<Monitor>,
    looker: Looker,
}

/// A monitor of the clusters in `config`, and for each of them who looks at it.
#[must_use]
pub fn monitor(config: Config, clock: Clock) -> (Arc<Monitor>, Vec<Watcher>) {
    let unseen = || Mutex::new(Seen { cluster: Cluster::new(config.settings.clone()), looked: None, failed: None });
    let clusters = config.clusters.keys().map(|name| (name.clone(), unseen())).collect();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let monitor = Arc::new(Monitor { config, host, clock, clusters });
    let watcher =
        |(name, watched): (&String, &Watched)| Watcher { name: name.clone(), monitor: monitor.clone(), looker: Looker::new(watched) };
    let watchers = monitor.config.clusters.iter().map(watcher).collect();
    (monitor, watchers)
}

impl Monitor {
    /// Whether each cluster has been seen whole at least once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.names().all(|name| self.seen(name).is_some_and(|seen| seen.looked.is_some()))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    pub(super) fn seen(&self, cluster: &str) -> Option<MutexGuard<'_, Seen>> {
        self.clusters.get(cluster).map(|seen| seen.lock().expect("nobody panics while holding it"))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().wall
    }
}

impl Watcher {
    /// Looks for ever, at the interval that is configured.
    pub async fn run(mut self) {
        let every = self.monitor.config.clusters[&self.name].offset_refresh;
        loop {
            let began = self.monitor.clock.now().at;
            self.look().await;
            self.monitor.clock.sleep_until(began.after(every)).await;
        }
    }

    /// Looks once.
    pub async fn look(&mut self) {
        let look = self.looker.look().await;
        let now = self.monitor.now();
        let failed = (!look.failures.is_empty()).then(|| look.failures.join("; "));
        let mut seen = self.monitor.seen(&self.name).expect("it is watched");
        seen.cluster.saw(now, &look.look);
        if failed.is_none() {
            seen.looked = Some(now);
        }
        let before = std::mem::replace(&mut seen.failed, failed.clone());
        drop(seen);
        // Once, and not every ten seconds.
        match (before, failed) {
            (None, Some(why)) => warn!("cluster `{}` is not seen whole: {why}", self.name),
            (Some(_), None) => info!("cluster `{}` is seen whole again", self.name),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}
