//! Burrow's HTTP API, version 3, and klamm's own page of all groups.

use super::answers::{
    Asked, Body, ClusterModule, ClusterSeen, Clusters, Consumers, Detail, EvaluatorModule, Everything, GroupSeen, GroupStatus, Judged,
    Module, Modules, Nothing, Offsets, PartitionDetail, ShownCommit, StorageModule, Topics,
};
use super::metrics;
use super::watch::Monitor;
use crate::http::{Answer, Method, Request, Site, StatusCode};
use klamm_core::lag::{Commit, Owner};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
/// What modules there are of Burrow's kinds is fixed here, but for clusters.
const MODULE: &str = "default";

impl Site for Monitor {
    fn answer(&self, request: &Request) -> Answer {
        let parts = request.parts.iter().map(String::as_str).collect::<Vec<_>>();
        match request.method {
            Method::GET => self.get(request, &parts),
            Method::DELETE => self.delete(request, &parts),
            _ => unknown(),
        }
    }

    fn allowed_origin(&self) -> Option<&str> {
        self.config.allowed_origin.as_deref()
    }
}

impl Monitor {
    fn get(&self, request: &Request, parts: &[&str]) -> Answer {
        match *parts {
            ["burrow", "admin"] => text(StatusCode::OK, "GOOD"),
            ["burrow", "admin", "ready"] if self.is_ready() => text(StatusCode::OK, "READY"),
            ["burrow", "admin", "ready"] => text(StatusCode::SERVICE_UNAVAILABLE, "STARTING"),
            ["metrics"] => Answer { status: StatusCode::OK, content_type: METRICS, body: metrics::text(self) },
            ["klamm", "v1", "lag"] => self.ok(request, "all groups returned", self.everything()),
            ["v3", "kafka"] => self.ok(request, "cluster list returned", Clusters { clusters: self.names().collect() }),
            ["v3", "kafka", cluster] | ["v3", "config", "cluster", cluster] => self.cluster(request, cluster),
            ["v3", "kafka", cluster, "topic"] => self.topics(request, cluster),
            ["v3", "kafka", cluster, "topic", topic] => self.topic(request, cluster, topic),
            ["v3", "kafka", cluster, "topic", topic, "consumers"] => self.consumers_of(request, cluster, topic),
            ["v3", "kafka", cluster, "consumer"] => self.consumers(request, cluster),
            ["v3", "kafka", cluster, "consumer", group] => self.detail(request, cluster, group),
            ["v3", "kafka", cluster, "consumer", group, "status"] => self.status(request, cluster, group, false),
            ["v3", "kafka", cluster, "consumer", group, "lag"] => self.status(request, cluster, group, true),
            ["v3", "config", "cluster"] => self.modules(request, "cluster", self.names().collect()),
            ["v3", "config", kind @ ("storage" | "evaluator")] => self.modules(request, kind, vec![MODULE]),
            ["v3", "config", kind @ ("consumer" | "notifier")] => self.modules(request, kind, Vec::new()),
            ["v3", "config", "storage", MODULE] => self.storage(request),
            ["v3", "config", "evaluator", MODULE] => self.evaluator(request),
            ["v3", "config", kind @ ("storage" | "evaluator" | "consumer" | "notifier"), _] => {
                self.not_found(request, &format!("{kind} module not found"))
            }
            _ => unknown(),
        }
    }

    fn delete(&self, request: &Request, parts: &[&str]) -> Answer {
        let (cluster, group, topic) = match *parts {
            ["v3", "kafka", cluster, "consumer", group] => (cluster, group, None),
            ["v3", "kafka", cluster, "consumer", group, "topic", topic] => (cluster, group, Some(topic)),
            _ => return unknown(),
        };
        if let Some(mut seen) = self.seen(cluster) {
            seen.cluster.forget_group(group, topic);
        }
        // As Burrow says, whether there was one or not.
        self.ok(request, "consumer group removed", Nothing {})
    }

    fn cluster(&self, request: &Request, cluster: &str) -> Answer {
        let Some(watched) = self.config.clusters.get(cluster) else { return self.not_found(request, "cluster module not found") };
        let module = ClusterModule {
            class_name: "kafka",
            servers: watched.servers.iter().map(ToString::to_string).collect(),
            offset_refresh: watched.offset_refresh.as_secs(),
        };
        self.ok(request, "cluster module detail returned", Module { module })
    }

    fn topics(&self, request: &Request, cluster: &str) -> Answer {
        let topics = self.seen(cluster).map(|seen| seen.cluster.topics().map(ToString::to_string).collect());
        match topics {
            Some(topics) => self.ok(request, "topic list returned", Topics { topics }),
            None => self.not_found(request, "cluster not found"),
        }
    }

    fn topic(&self, request: &Request, cluster: &str, topic: &str) -> Answer {
        let ends = self.seen(cluster).and_then(|seen| seen.cluster.ends(topic));
        match ends {
            Some(ends) => self.ok(request, "topic offsets returned", Offsets { offsets: ends.into_iter().map(|(_, end)| end.0).collect() }),
            None => self.not_found(request, "cluster or topic not found"),
        }
    }

    fn consumers_of(&self, request: &Request, cluster: &str, topic: &str) -> Answer {
        let consumers = self.seen(cluster).map(|seen| seen.cluster.groups_of(topic).map(str::to_owned).collect());
        match consumers {
            Some(consumers) => self.ok(request, "consumers of topic returned", Consumers { consumers }),
            None => self.not_found(request, "cluster not found"),
        }
    }

    fn consumers(&self, request: &Request, cluster: &str) -> Answer {
        let consumers = self.seen(cluster).map(|seen| seen.cluster.groups().map(str::to_owned).collect());
        match consumers {
            Some(consumers) => self.ok(request, "consumer list returned", Consumers { consumers }),
            None => self.not_found(request, "cluster not found"),
        }
    }

    fn detail(&self, request: &Request, cluster: &str, group: &str) -> Answer {
        let Some(report) = self.seen(cluster).and_then(|seen| seen.cluster.report(group, self.now())) else {
            return self.not_found(request, "cluster or consumer not found");
        };
        let mut partitions = report.partitions;
        partitions.sort_by(|a, b| a.part.cmp(&b.part));
        let mut topics = BTreeMap::<String, Vec<PartitionDetail>>::new();
        for partition in partitions {
            let Owner { host, client_id } = partition.owner.unwrap_or_default();
            let (offsets, current_lag) = (self.window(&partition.commits), partition.current_lag);
            let detail = PartitionDetail { offsets, owner: host, client_id, current_lag };
            topics.entry(partition.part.topic.to_string()).or_default().push(detail);
        }
        self.ok(request, "consumer detail returned", Detail { topics })
    }

    /// A window with its free places, which come first; without any commit there is no window.
    fn window(&self, commits: &[Commit]) -> Vec<Option<ShownCommit>> {
        let free = if commits.is_empty() { 0 } else { self.config.settings.intervals.saturating_sub(commits.len()) };
        let commits = commits.iter().map(|commit| Some(ShownCommit::new(*commit)));
        std::iter::repeat_with(|| None).take(free).chain(commits).collect()
    }

    fn status(&self, request: &Request, cluster: &str, group: &str, all: bool) -> Answer {
        let report = self.seen(cluster).and_then(|seen| seen.cluster.report(group, self.now()));
        let (status, judged) = match &report {
            Some(report) => (StatusCode::OK, GroupStatus::new(cluster, group, report, all)),
            None => (StatusCode::NOT_FOUND, GroupStatus::not_found(cluster, group)),
        };
        self.json(request, status, false, "consumer status returned", Judged { status: judged })
    }

    fn modules(&self, request: &Request, coordinator: &str, modules: Vec<&str>) -> Answer {
        self.ok(request, "module list returned", Modules { coordinator, modules })
    }

    fn storage(&self, request: &Request) -> Answer {
        let settings = &self.config.settings;
        let module = StorageModule {
            class_name: "inmemory",
            intervals: settings.intervals,
            min_distance: settings.min_distance.as_secs(),
            expire_group: settings.expire.as_secs(),
        };
        self.ok(request, "storage module detail returned", Module { module })
    }

    fn evaluator(&self, request: &Request) -> Answer {
        let settings = &self.config.settings;
        let module =
            EvaluatorModule { class_name: "caching", allowed_lag: settings.allowed_lag, minimum_complete: settings.minimum_complete };
        self.ok(request, "evaluator module detail returned", Module { module })
    }

    /// All groups, those that never committed too, the worst first.
    fn everything(&self) -> Everything {
        let now = self.now();
        let (mut clusters, mut groups) = (Vec::new(), Vec::new());
        for name in self.names() {
            let seen = self.seen(name).expect("it is one of its names");
            clusters.push(ClusterSeen {
                cluster: name.to_owned(),
                seen_ms_ago: seen.looked.map(|looked| now.0.saturating_sub(looked.0).max(0)),
                failure: seen.failed.clone(),
            });
            let committed = seen.cluster.groups().filter_map(|group| Some((group, seen.cluster.report(group, now)?, true)));
            let silent = seen.cluster.silent_groups().filter_map(|group| Some((group, seen.cluster.silent_report(group, now)?, false)));
            groups.extend(committed.chain(silent).map(|(group, report, has)| GroupSeen::new(name, group, report, has)));
        }
        groups.sort_by_key(|group| Reverse(group.rank()));
        Everything { clusters, groups }
    }

    fn ok(&self, request: &Request, message: &str, content: impl Serialize) -> Answer {
        self.json(request, StatusCode::OK, false, message, content)
    }

    fn not_found(&self, request: &Request, message: &str) -> Answer {
        self.json(request, StatusCode::NOT_FOUND, true, message, Nothing {})
    }

    fn json(&self, request: &Request, status: StatusCode, error: bool, message: &str, content: impl Serialize) -> Answer {
        let request = Asked { url: &request.path, host: &self.host };
        let body = serde_json::to_string(&Body { error, message, content, request }).expect("names and numbers can be written");
        Answer { status, content_type: JSON, body }
    }
}

fn text(status: StatusCode, body: &str) -> Answer {
    Answer { status, content_type: TEXT, body: body.to_owned() }
}

fn unknown() -> Answer {
    let body = r#"{"error":true,"message":"invalid request type","result":{}}"#.to_owned();
    Answer { status: StatusCode::NOT_FOUND, content_type: JSON, body }
}
