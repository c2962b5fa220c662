//! The verdict on a group: each partition's, the worst first, and what they come to together.

use super::cluster::{Cluster, Consumed, Group, Owner};
use super::judge::judge;
use super::window::{Commit, Window};
use super::{Status, TimeLag, lag};
use crate::client::TopicPartition;
use crate::time::Timestamp;
use std::cmp::Reverse;

/// How one partition of a group does.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionReport {
    /// Which.
    pub part: TopicPartition,
    /// The member that has it.
    pub owner: Option<Owner>,
    /// Its status; never that of a group.
    pub status: Status,
    /// The commits in its window, in order; none where nothing was committed.
    pub commits: Vec<Commit>,
    /// How many messages it is behind now; 0 where nothing was committed, as in Burrow.
    pub current_lag: u64,
    /// How far it is behind in time.
    pub time_lag: Option<TimeLag>,
    /// How much of the window is filled, from 0 to 1.
    pub complete: f32,
}

impl PartitionReport {
    /// The first commit in the window.
    #[must_use]
    pub fn start(&self) -> Option<Commit> {
        self.commits.first().copied()
    }

    /// The last commit.
    #[must_use]
    pub fn end(&self) -> Option<Commit> {
        self.commits.last().copied()
    }
}

/// How a group does.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupReport {
    /// The worst of its partitions' status, but `Err` for all that are worse than `Warn`.
    pub status: Status,
    /// The share of partitions whose window is full.
    pub complete: f32,
    /// All partitions, the worst first: by status, then by lag.
    pub partitions: Vec<PartitionReport>,
    /// The sum of all partitions' lags.
    pub total_lag: u64,
}

impl GroupReport {
    /// The partition with the largest lag.
    #[must_use]
    pub fn max_lag(&self) -> Option<&PartitionReport> {
        self.partitions.iter().min_by_key(|partition| Reverse(partition.current_lag))
    }

    /// The largest lag in time.
    #[must_use]
    pub fn max_time_lag(&self) -> Option<TimeLag> {
        self.partitions.iter().filter_map(|partition| partition.time_lag).max_by_key(|lag| lag.duration())
    }
}

impl Cluster {
    /// Judges a group that has committed; `None` for any other.
    #[must_use]
    pub fn report(&self, group: &str, now: Timestamp) -> Option<GroupReport> {
        self.live_group(group, now).map(|group| self.judge_group(group, now))
    }

    /// Judges a group that has never committed: it has the partitions that its members own, and nothing is known of their lag.
    #[must_use]
    pub fn silent_report(&self, group: &str, now: Timestamp) -> Option<GroupReport> {
        self.group(group).filter(|group| group.last_commit.is_none()).map(|group| self.judge_group(group, now))
    }

    fn judge_group(&self, group: &Group, now: Timestamp) -> GroupReport {
        let mut partitions = group.parts().map(|(part, consumed)| self.judge_partition(part, consumed, now)).collect::<Vec<_>>();
        // A stable sort: ties stay in the order of topics and partitions.
        partitions.sort_by_key(|partition| Reverse((partition.status, partition.current_lag)));
        let full = partitions.iter().filter(|partition| partition.complete >= 1.0).count();
        GroupReport {
            status: partitions.first().map_or(Status::Ok, |worst| worst.status.min(Status::Err)),
            complete: if partitions.is_empty() { 0.0 } else { full as f32 / partitions.len() as f32 },
            total_lag: partitions.iter().fold(0, |sum, partition| sum.saturating_add(partition.current_lag)),
            partitions,
        }
    }

    fn judge_partition(&self, part: TopicPartition, consumed: &Consumed, now: Timestamp) -> PartitionReport {
        let (commits, ends) = (consumed.commits(), self.recent_ends(&part));
        let complete = consumed.window.as_ref().map_or(0.0, Window::complete);
        let newest = commits.last().copied();
        let is_judged = newest.is_some() && complete >= self.settings().minimum_complete;
        PartitionReport {
            owner: consumed.owner.clone(),
            status: if is_judged { judge(commits, ends, now, self.settings().allowed_lag) } else { Status::Ok },
            commits: commits.to_vec(),
            current_lag: newest.zip(ends.last()).map_or(0, |(newest, end)| lag(*end, newest.offset)),
            time_lag: newest.and_then(|newest| self.time_lag(&part, newest.offset, now)),
            complete,
            part,
        }
    }
}
