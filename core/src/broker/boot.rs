//! From recovered logs to a running broker: replay the metadata log, then take up the partitions it names.
//!
//! Connections are accepted meanwhile; their requests wait.

use super::io::Halt;
use super::life::EPOCH_FILE;
use super::quorum::ELECTION_FILE;
use super::stored::Pending;
use super::{Broker, RecoveredNode, Timer};
use crate::client::io::Address;
use crate::config::quorum::MetadataLog;
use crate::config::topic::{Cleanup, TimestampType};
use crate::config::{BrokerConfig, Durability, TopicConfig};
use crate::id::{Offset, PartitionIndex, Uuid};
use crate::partition::{METADATA_TOPIC, PartitionId};
use crate::probe;
use crate::quorum::{Election, Quorum, Voter, Voters};
use crate::store::{StoreFault, StoreOp, Stored};
use crate::wire::api::fetch::FetchRequest;
use crate::wire::records::raft::VotersRecordVoter;
use crate::wire::{ApiKey, Request};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The metadata log, by the topic id that Kafka gives it.
pub(super) const METADATA: PartitionId =
    PartitionId { topic: Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), index: PartitionIndex(0) };

/// Bytes of the metadata log replayed at a time.
const STEP_BYTES: u32 = 1 << 20;

/// How far a broker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    /// The metadata log is being made or read.
    Loading,
    /// The node looks for its place in the cluster: only other nodes are answered.
    Joining,
    /// Requests are decided.
    Running,
    /// What is outstanding is finished.
    Stopping,
}

impl Broker {
    /// Takes up, or makes, the metadata log.
    pub(super) fn boot(&mut self) {
        let topic: Arc<str> = METADATA_TOPIC.into();
        let config = Arc::new(metadata_config(&self.config.broker, &self.config.quorum.log));
        self.find_snapshots();
        match self.found.remove("__cluster_metadata-0").and_then(|mut found| found.pop()) {
            Some((dir, found)) => self.adopt_partition(&topic, METADATA, &config, dir, found),
            None => self.create_partition(&topic, METADATA, &config),
        }
    }

    /// The metadata log is open: at the start it is read, later it was cut.
    pub(super) fn metadata_opened(&mut self) {
        let log = self.partitions[&METADATA].open_log().expect("it has just been opened");
        let end = log.end();
        if self.phase == Phase::Loading {
            return self.load_metadata();
        }
        let at = self.now.at;
        let is_restoring = self.snapshots.restoring.is_some();
        if !is_restoring {
            let lost = self.admin.controller.cut(end);
            if !lost.is_empty() {
                probe!("another controller does not have what a former one proposed");
            }
            self.turn_away(lost);
        }
        let Some((epoch, leader)) = self.quorum.as_ref().map(|q| (q.epoch(), q.leader().map(|(id, _)| id))) else { return };
        let follower = self.partitions.get_mut(&METADATA).and_then(|p| p.follower_mut()).expect("it has just been opened");
        (follower.epoch, follower.leader) = (epoch, leader);
        if is_restoring {
            return self.metadata_restored(end);
        }
        self.tell_quorum(|quorum, tail| {
            quorum.appended(at, tail);
            quorum.truncated(at, end);
        });
    }

    pub(super) fn load_from(&mut self, from: Offset) {
        let log = self.partitions[&METADATA].open_log().expect("nothing cuts it before it is read");
        let (log, until) = (log.id(), log.end());
        if from >= until {
            return self.join();
        }
        self.store(StoreOp::Load { log, from, until, max_bytes: STEP_BYTES }, Pending::Metadata);
    }

    /// A part of the metadata log was read.
    pub(super) fn metadata_loaded(&mut self, outcome: Result<Stored, StoreFault>) {
        let batches = match outcome {
            Ok(Stored::Loaded(batches)) if !batches.is_empty() => batches,
            other => return self.halt(Halt::Metadata { why: format!("the metadata log cannot be read: {other:?}") }),
        };
        let next = batches.last().expect("not empty").header().next_offset();
        for batch in &batches {
            if let Err(why) = self.read_metadata(batch) {
                return self.halt(Halt::Metadata { why });
            }
        }
        self.load_from(next);
    }

    /// The metadata log is read: take part in the quorum. What of the log is committed, its leader will say.
    fn join(&mut self) {
        self.phase = Phase::Joining;
        let election = match self.saved.get(ELECTION_FILE).map(|bytes| Election::decode(&String::from_utf8_lossy(bytes))) {
            None => Election::default(),
            Some(Ok(election)) => election,
            Some(Err(bad)) => return self.halt(Halt::Metadata { why: format!("{ELECTION_FILE} cannot be read: {}", bad.why) }),
        };
        let voters = self.first_voters.take().unwrap_or_else(|| self.formatted_voters());
        let (tail, rng) = (self.metadata_tail(), self.rng.clone());
        self.quorum = Some(Quorum::new(self.quorum_config(), election, voters, tail, self.now.at, rng));
        for (at, voters) in std::mem::take(&mut self.log_voters) {
            let now = self.now.at;
            self.tell_quorum(|quorum, _| quorum.voters_changed(now, at, voters));
        }
        self.timer(self.lag_max() / 2, Timer::Laggards);
        self.timer(Duration::ZERO, Timer::Introduction);
        self.configure_throttles();
        self.withdraw_epoch();
        self.expect_registration();
        self.expect_controller();
        self.beat_now();
    }

    /// The voters that this node was told of when it was formatted, or by its configuration.
    fn formatted_voters(&self) -> Voters {
        self.config.quorum.initial.voters.iter().map(|voter| self.voter_of(voter)).collect()
    }

    pub(super) fn voter_of(&self, voter: &VotersRecordVoter) -> Voter {
        let listener = self.controller_listener();
        let endpoint = voter.endpoints.iter().find(|endpoint| endpoint.name == listener).or(voter.endpoints.first());
        // The only voter of a cluster of one has no listener for others.
        let nowhere = || Address { host: String::new(), port: 0 };
        let address = endpoint.map_or_else(nowhere, |e| Address { host: e.host.clone(), port: e.port });
        Voter { id: voter.voter_id, directory: voter.voter_directory_id, address }
    }

    /// The name of the listener by which controllers talk.
    pub(super) fn controller_listener(&self) -> &str {
        self.config.quorum.listeners.first().map_or("CONTROLLER", String::as_str)
    }

    fn quorum_config(&self) -> crate::quorum::Config {
        let (config, quorum) = (&self.config.broker, &self.config.quorum);
        let listener = self.controller_listener().to_owned();
        let mine = config.controllers.iter().find(|endpoint| endpoint.name == listener).or(config.controllers.first());
        let address = mine.map_or(Address { host: String::new(), port: 0 }, |e| Address { host: e.host.clone(), port: e.port });
        crate::quorum::Config {
            me: config.id,
            directory: quorum.directory,
            cluster: config.cluster.clone(),
            address,
            listener,
            may_vote: quorum.roles.controller,
            bootstrap: quorum.bootstrap.clone(),
            election_timeout: quorum.election_timeout,
            fetch_timeout: quorum.fetch_timeout,
            request_timeout: quorum.request_timeout,
            backoff_max: quorum.election_backoff_max,
        }
    }

    /// This broker's registration is committed and it is not fenced: decide the requests that waited.
    pub(super) fn serve(&mut self) {
        if self.phase != Phase::Joining {
            return;
        }
        self.phase = Phase::Running;
        self.settle_clashes();
        self.forget_voids();
        for (folder, found) in std::mem::take(&mut self.found) {
            found.into_iter().for_each(|(dir, found)| self.leave_stray(&folder, dir, &found));
        }
        self.timer(self.retention_check(), Timer::Retention);
        self.timer(self.clean_interval(), Timer::Clean);
        self.timer(self.property_ms("producer.id.expiration.check.interval.ms"), Timer::Producers);
        self.timer(Duration::ZERO, Timer::Space);
        self.forget_highs();
        self.checkpoint();
        self.scrub();
        // What was found at the start, or lies elsewhere than the controller knows.
        let ids: Vec<PartitionId> = self.partitions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.look_at_place(id));
        self.assign_replicas();
        let waiting: Vec<_> = self.conns.keys().copied().collect();
        self.to_pump.extend(waiting);
    }
}

/// What is decided before this node serves clients: what the nodes of a cluster ask each other.
pub(super) fn is_of_cluster(body: &Request) -> bool {
    let of_metadata = |fetch: &FetchRequest| fetch.topics.iter().all(|topic| topic.topic_id == METADATA.topic) && !fetch.topics.is_empty();
    if let Request::Fetch(fetch) = body {
        return of_metadata(fetch);
    }
    let is_of_quorum = matches!(
        body.api(),
        ApiKey::Vote
            | ApiKey::BeginQuorumEpoch
            | ApiKey::EndQuorumEpoch
            | ApiKey::DescribeQuorum
            | ApiKey::FetchSnapshot
            | ApiKey::AddRaftVoter
            | ApiKey::RemoveRaftVoter
            | ApiKey::UpdateRaftVoter
            | ApiKey::Envelope
            | ApiKey::ApiVersions
    );
    is_of_quorum || Broker::is_of_nodes(body)
}

/// The broker epoch that this process may present (KIP-966): of a broker that lost nothing when it ended. Under fsync no crash loses anything
/// that counts, and a directory that is missing now has it when it is back; in page-cache mode only a clean end of all directories loses nothing; and a
/// damaged log has lost something in any case.
pub(super) fn previous_epoch(config: &super::Config, saved: &BTreeMap<String, Bytes>, found: &RecoveredNode) -> Option<i64> {
    let text = String::from_utf8_lossy(saved.get(EPOCH_FILE)?).into_owned();
    let (epoch, durability) = text.trim().split_once(' ')?;
    let is_clean = found.dirs.len() == config.broker.dirs.len() && found.dirs.iter().all(|dir| dir.clean.is_some());
    let is_whole = found.dirs.iter().flat_map(|dir| &dir.logs).all(|log| log.state.is_ok());
    let is_safe = durability == format!("{:?}", Durability::Fsync) || is_clean;
    (is_safe && is_whole).then(|| epoch.parse().ok()).flatten()
}

/// What holds for the metadata log, whatever the broker's defaults for topics: only what a snapshot stands for is deleted, and nothing is changed.
fn metadata_config(broker: &BrokerConfig, log: &MetadataLog) -> TopicConfig {
    TopicConfig {
        cleanup: Cleanup::default(),
        compression: None,
        timestamp_type: TimestampType::Create,
        segment_bytes: log.segment_bytes,
        segment_ms: log.segment_ms,
        ..broker.topic_defaults()
    }
}

#[cfg(test)]
mod tests {
    use super::super::io::{Effect, Input};
    use super::*;
    use crate::config::quorum::METADATA_FOLDER;
    use crate::config::{Endpoint, LogDir, Properties};
    use crate::id::{BrokerId, DirId, LogId};
    use crate::log::{FoundDir, FoundLog};
    use crate::time::{Instant, Now};

    const DAMAGE: fn() -> StoreFault = || StoreFault::Damaged { at: Offset::ZERO, why: String::new() };

    /// What a broker of two directories may present that has found these, each closed cleanly or not, and its log in the first one open or not.
    fn presents(durability: Durability, found: &[bool], is_open: bool) -> Option<i64> {
        let endpoint = Endpoint { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092, security: 0 };
        let dirs = (1..=2).map(|n| LogDir { path: format!("/data{n}"), id: Uuid([n; 16]) }).collect();
        let broker = BrokerConfig::new(BrokerId(1), "c", vec![endpoint], dirs, Properties::new()).expect("valid");
        let dirs = (0..).zip(found).map(|(n, is_clean)| {
            let log = FoundLog { log: LogId(1), name: "t-0".to_owned(), topic: Uuid([9; 16]), state: Err(DAMAGE()) };
            let logs = (n == 0 && !is_open).then_some(log).into_iter().collect();
            FoundDir { dir: DirId(n), id: Uuid([n as u8 + 1; 16]), clean: is_clean.then(Bytes::new), logs, saved: BTreeMap::new() }
        });
        let found = RecoveredNode { dirs: dirs.collect(), offline: Vec::new() };
        let saved = BTreeMap::from([(EPOCH_FILE.to_owned(), Bytes::from(format!("5 {durability:?}\n")))]);
        previous_epoch(&super::super::Config::new(broker), &saved, &found)
    }

    #[test]
    fn a_node_whose_metadata_log_is_damaged_stops_and_takes_no_part_in_the_quorum() {
        let log = FoundLog { log: LogId(0), name: METADATA_FOLDER.to_owned(), topic: METADATA.topic, state: Err(DAMAGE()) };
        let dir = FoundDir { dir: DirId(0), id: Uuid([7; 16]), clean: None, logs: vec![log], saved: BTreeMap::new() };
        let mut broker = Broker::that_found(RecoveredNode { dirs: vec![dir], offline: Vec::new() });
        let Some(Effect::Halt { why: Halt::Metadata { why } }) = broker.poll() else { panic!("it goes on") };
        assert_eq!(why, "__cluster_metadata-0 is offline: it is damaged at offset 0: ");
        broker.handle(Now { at: Instant(1 << 40), ..Now::default() }, Input::Tick);
        assert!(broker.poll().is_none() && broker.deadline().is_none());
    }

    #[test]
    fn under_fsync_only_damage_is_a_loss() {
        for found in [&[true, true][..], &[false, false], &[true], &[false]] {
            assert_eq!(presents(Durability::Fsync, found, true), Some(5), "{found:?}");
            assert_eq!(presents(Durability::Fsync, found, false), None, "{found:?}");
        }
    }

    #[test]
    fn in_page_cache_mode_a_clean_end_of_all_directories_is_needed() {
        assert_eq!(presents(Durability::PageCache, &[true, true], true), Some(5));
        for found in [&[true, false][..], &[true], &[false, false]] {
            assert_eq!(presents(Durability::PageCache, found, true), None, "{found:?}");
        }
    }
}
