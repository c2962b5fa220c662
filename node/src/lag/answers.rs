//! What is answered, in Burrow's names (`core/internal/httpserver/structs.go`, `core/protocol`), and what klamm adds.

use klamm_core::lag::{Commit, GroupReport, Owner, PartitionReport, Status, TimeLag};
use serde::Serialize;
use std::collections::BTreeMap;

/// A body: what every answer has, around what this one has.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a, T> {
    pub(super) error: bool,
    pub(super) message: &'a str,
    #[serde(flatten)]
    pub(super) content: T,
    pub(super) request: Asked<'a>,
}

/// What was asked, and who answers.
#[derive(Debug, Serialize)]
pub(super) struct Asked<'a> {
    pub(super) url: &'a str,
    pub(super) host: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

#[derive(Debug, Serialize)]
pub(super) struct Clusters<'a> {
    pub(super) clusters: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Topics {
    pub(super) topics: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Offsets {
    pub(super) offsets: Vec<i64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Consumers {
    pub(super) consumers: Vec<String>,
}

/// A group's commits by topic; the index is the partition's.
#[derive(Debug, Serialize)]
pub(super) struct Detail {
    pub(super) topics: BTreeMap<String, Vec<PartitionDetail>>,
}

#[derive(Debug, Serialize)]
pub(super) struct PartitionDetail {
    /// As many as a window holds, the free ones first.
    pub(super) offsets: Vec<Option<ShownCommit>>,
    pub(super) owner: String,
    pub(super) client_id: String,
    #[serde(rename = "current-lag")]
    pub(super) current_lag: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Judged<'a> {
    pub(super) status: GroupStatus<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Module<T> {
    pub(super) module: T,
}

#[derive(Debug, Serialize)]
pub(super) struct Modules<'a> {
    pub(super) coordinator: &'a str,
    pub(super) modules: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ClusterModule {
    pub(super) class_name: &'static str,
    pub(super) servers: Vec<String>,
    pub(super) offset_refresh: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct StorageModule {
    pub(super) class_name: &'static str,
    pub(super) intervals: usize,
    pub(super) min_distance: u64,
    pub(super) expire_group: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct EvaluatorModule {
    pub(super) class_name: &'static str,
    pub(super) allowed_lag: u64,
    pub(super) minimum_complete: f32,
}

#[derive(Debug, Serialize)]
pub(super) struct GroupStatus<'a> {
    cluster: &'a str,
    group: &'a str,
    status: &'static str,
    complete: f32,
    partitions: Vec<PartitionStatus<'a>>,
    partition_count: usize,
    maxlag: Option<PartitionStatus<'a>>,
    totallag: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct PartitionStatus<'a> {
    topic: &'a str,
    partition: i32,
    owner: &'a str,
    client_id: &'a str,
    status: &'static str,
    start: Option<ShownCommit>,
    end: Option<ShownCommit>,
    current_lag: u64,
    complete: f32,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownCommit {
    offset: i64,
    timestamp: i64,
    #[serde(rename = "observedAt")]
    observed_at: i64,
    lag: Option<u64>,
}

/// All groups of all clusters: klamm's own.
#[derive(Debug, Serialize)]
pub(super) struct Everything {
    pub(super) clusters: Vec<ClusterSeen>,
    pub(super) groups: Vec<GroupSeen>,
}

#[derive(Debug, Serialize)]
pub(super) struct ClusterSeen {
    pub(super) cluster: String,
    /// How long ago it was last seen whole; null before.
    pub(super) seen_ms_ago: Option<i64>,
    /// What went wrong since.
    pub(super) failure: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct GroupSeen {
    pub(super) cluster: String,
    pub(super) group: String,
    status: &'static str,
    complete: f32,
    has_committed: bool,
    total_lag: u64,
    max_time_lag: Option<ShownTimeLag>,
    partitions: Vec<PartitionSeen>,
    #[serde(skip)]
    rank: (Status, u64),
}

#[derive(Debug, Serialize)]
struct PartitionSeen {
    topic: String,
    partition: i32,
    owner: String,
    client_id: String,
    status: &'static str,
    /// Null where nothing is committed.
    committed: Option<i64>,
    lag: Option<u64>,
    time_lag: Option<ShownTimeLag>,
    complete: f32,
}

#[derive(Debug, Serialize)]
struct ShownTimeLag {
    ms: u64,
    /// It is so much, or more.
    at_least: bool,
}

impl<'a> GroupStatus<'a> {
    /// A group's report; only of partitions that are not well, or of all.
    pub(super) fn new(cluster: &'a str, group: &'a str, report: &'a GroupReport, all: bool) -> Self {
        let shown = report.partitions.iter().filter(|partition| all || partition.status > Status::Ok);
        Self {
            cluster,
            group,
            status: report.status.name(),
            complete: report.complete,
            partitions: shown.map(PartitionStatus::new).collect(),
            partition_count: report.partitions.len(),
            maxlag: report.max_lag().map(PartitionStatus::new),
            totallag: report.total_lag,
        }
    }

    /// What is answered of a group that nobody knows.
    pub(super) fn not_found(cluster: &'a str, group: &'a str) -> Self {
        Self {
            cluster,
            group,
            status: Status::NotFound.name(),
            complete: 1.0,
            partitions: Vec::new(),
            partition_count: 0,
            maxlag: None,
            totallag: 0,
        }
    }
}

impl<'a> PartitionStatus<'a> {
    fn new(report: &'a PartitionReport) -> Self {
        Self {
            topic: &report.part.topic,
            partition: report.part.partition.0,
            owner: report.owner.as_ref().map_or("", |owner| &owner.host),
            client_id: report.owner.as_ref().map_or("", |owner| &owner.client_id),
            status: report.status.name(),
            start: report.start().map(ShownCommit::new),
            end: report.end().map(ShownCommit::new),
            current_lag: report.current_lag,
            complete: report.complete,
        }
    }
}

impl ShownCommit {
    pub(super) fn new(commit: Commit) -> Self {
        Self { offset: commit.offset.0, timestamp: commit.at.0, observed_at: commit.seen.0, lag: commit.lag }
    }
}

impl GroupSeen {
    pub(super) fn new(cluster: &str, group: &str, report: GroupReport, has_committed: bool) -> Self {
        Self {
            cluster: cluster.to_owned(),
            group: group.to_owned(),
            status: report.status.name(),
            complete: report.complete,
            has_committed,
            total_lag: report.total_lag,
            max_time_lag: report.max_time_lag().map(ShownTimeLag::new),
            rank: (report.status, report.total_lag),
            partitions: report.partitions.into_iter().map(PartitionSeen::new).collect(),
        }
    }

    /// The greater, the worse.
    pub(super) fn rank(&self) -> (Status, u64) {
        self.rank
    }
}

impl PartitionSeen {
    fn new(report: PartitionReport) -> Self {
        let end = report.end();
        let Owner { host, client_id } = report.owner.unwrap_or_default();
        Self {
            topic: report.part.topic.to_string(),
            partition: report.part.partition.0,
            owner: host,
            client_id,
            status: report.status.name(),
            committed: end.map(|commit| commit.offset.0),
            lag: end.map(|_| report.current_lag),
            time_lag: report.time_lag.map(ShownTimeLag::new),
            complete: report.complete,
        }
    }
}

impl ShownTimeLag {
    fn new(lag: TimeLag) -> Self {
        let ms = u64::try_from(lag.duration().as_millis()).unwrap_or(u64::MAX);
        Self { ms, at_least: matches!(lag, TimeLag::AtLeast(_)) }
    }
}
