//! What a node is told of the metadata quorum at its start: its own part, who votes at first, where to ask for the leader, and how patient to be.
//!
//! Source: Kafka's `QuorumConfig` and `KRaftConfigs`. What the log of the metadata says of the voters stands over this.

use super::broker::{BrokerConfig, number, text};
use super::{Endpoint, Properties};
use crate::client::io::Address;
use crate::id::{BrokerId, DirId, Uuid};
use crate::log::FoundDir;
use crate::log::snapshot::SnapshotId;
use crate::wire::records::control::{self, QuorumOf};
use crate::wire::records::raft::{self, KRaftVersionFeature, VotersRecordVoter};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// The folder of the metadata log.
pub const METADATA_FOLDER: &str = "__cluster_metadata-0";
/// The quorum's feature levels that klamm speaks: fixed voters, and voters that change (KIP-853).
pub const KRAFT_VERSIONS: KRaftVersionFeature = KRaftVersionFeature { min_supported_version: 0, max_supported_version: 1 };

/// `process.roles`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Roles {
    /// Holds topics and serves clients.
    pub broker: bool,
    /// May vote in the metadata quorum, and lead it.
    pub controller: bool,
}

impl Roles {
    /// As the property says; both where it is not set.
    #[must_use]
    pub fn of(fixed: &Properties) -> Self {
        let Some(roles) = fixed.get("process.roles").filter(|roles| !roles.trim().is_empty()) else {
            return Self { broker: true, controller: true };
        };
        let has = |role| roles.split(',').any(|part| part.trim() == role);
        Self { broker: has("broker"), controller: has("controller") }
    }
}

/// What a node is told of the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuorumConfig {
    /// `process.roles`
    pub roles: Roles,
    /// The log directory that has, or gets, the metadata log.
    pub dir: DirId,
    /// Its `directory.id`: with the node's id it names a voter.
    pub directory: Uuid,
    /// Who voted when the newest snapshot was made, or is to vote at first. No voters: this node does not know them, and asks `bootstrap`.
    pub initial: QuorumOf,
    /// Whom to ask for the leader: `controller.quorum.bootstrap.servers`, or the addresses in `controller.quorum.voters`.
    pub bootstrap: Vec<Address>,
    /// `controller.listener.names`: of a voter's endpoints the one with the first of these names is dialled.
    pub listeners: Vec<String>,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`
    pub election_backoff_max: Duration,
    /// `controller.quorum.fetch.timeout.ms`
    pub fetch_timeout: Duration,
    /// `controller.quorum.request.timeout.ms`
    pub request_timeout: Duration,
    /// `controller.quorum.fetch.max.bytes`
    pub fetch_max_bytes: i32,
    /// `controller.quorum.fetch.snapshot.max.bytes`
    pub fetch_snapshot_max_bytes: i32,
    /// What becomes of the metadata log.
    pub log: MetadataLog,
}

/// When the metadata log gets snapshots, and what of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MetadataLog {
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; `None` is never.
    pub snapshot_interval: Option<Duration>,
    /// `metadata.max.retention.bytes`; `None` is without bound.
    pub retention_bytes: Option<u64>,
    /// `metadata.max.retention.ms`; `None` is for ever.
    pub retention_ms: Option<i64>,
    /// `metadata.log.segment.bytes`; Kafka's `internal.metadata.log.segment.bytes`, for tests, takes its place and may be smaller.
    pub segment_bytes: u32,
    /// `metadata.log.segment.ms`
    pub segment_ms: i64,
}

impl MetadataLog {
    fn new(fixed: &Properties) -> Self {
        let for_tests = fixed.get("internal.metadata.log.segment.bytes").and_then(|text| text.trim().parse().ok());
        let usual = u32::try_from(number(fixed, "metadata.log.segment.bytes")).expect("the table bounds it");
        let interval = u64::try_from(number(fixed, "metadata.log.max.snapshot.interval.ms")).expect("the table bounds it");
        Self {
            snapshot_bytes: u64::try_from(number(fixed, "metadata.log.max.record.bytes.between.snapshots")).expect("the table bounds it"),
            snapshot_interval: (interval > 0).then(|| Duration::from_millis(interval)),
            retention_bytes: u64::try_from(number(fixed, "metadata.max.retention.bytes")).ok(),
            retention_ms: Some(number(fixed, "metadata.max.retention.ms")).filter(|ms| *ms >= 0),
            segment_bytes: for_tests.unwrap_or(usual),
            segment_ms: number(fixed, "metadata.log.segment.ms"),
        }
    }
}

impl QuorumConfig {
    /// For a node that is told `broker`. Its metadata log is in the directory where one was found, else it goes into `dir`.
    ///
    /// # Errors
    /// One line: a property makes no sense, or the newest snapshot of the metadata log is damaged.
    pub fn new(broker: &BrokerConfig, dir: DirId, found: &[FoundDir]) -> Result<Self, String> {
        let metadata = found.iter().find(|dir| dir.logs.iter().any(|log| log.name == METADATA_FOLDER));
        let dir = metadata.map_or(dir, |found| found.dir);
        let directory = broker.dirs.get(usize::from(dir.0)).map_or(Uuid::ZERO, |dir| dir.id);
        let saved = metadata.map_or(Ok(None), |dir| newest_quorum(&dir.saved))?.unwrap_or_default();
        let fixed = &broker.fixed;
        let roles = Roles::of(fixed);
        let voters = voters(&text(fixed, "controller.quorum.voters"))?;
        let servers = addresses(&text(fixed, "controller.quorum.bootstrap.servers"))?;
        let listeners = listener_names(fixed);
        let initial = if !saved.voters.is_empty() {
            saved
        } else if !voters.is_empty() {
            let name = listeners.first().map_or("", String::as_str);
            QuorumOf { version: 0, voters: voters.iter().map(|(id, address)| fixed_voter(*id, address, name)).collect() }
        } else if servers.is_empty() && roles.controller {
            QuorumOf { version: 1, voters: vec![voter(broker.id, directory, &broker.controllers)] }
        } else {
            QuorumOf::default()
        };
        let ms = |name: &str| Duration::from_millis(u64::try_from(number(fixed, name)).unwrap_or(0));
        let int = |name: &str| i32::try_from(number(fixed, name)).expect("the table makes it an INT");
        Ok(Self {
            roles,
            dir,
            directory,
            initial,
            bootstrap: if servers.is_empty() { voters.into_iter().map(|(_, address)| address).collect() } else { servers },
            listeners,
            election_timeout: ms("controller.quorum.election.timeout.ms"),
            election_backoff_max: ms("controller.quorum.election.backoff.max.ms"),
            fetch_timeout: ms("controller.quorum.fetch.timeout.ms"),
            request_timeout: ms("controller.quorum.request.timeout.ms"),
            fetch_max_bytes: int("controller.quorum.fetch.max.bytes"),
            fetch_snapshot_max_bytes: int("controller.quorum.fetch.snapshot.max.bytes"),
            log: MetadataLog::new(fixed),
        })
    }
}

/// A voter as a `VotersRecord` names it.
#[must_use]
pub fn voter(id: BrokerId, directory: Uuid, endpoints: &[Endpoint]) -> VotersRecordVoter {
    let endpoint = |e: &Endpoint| raft::Endpoint { name: e.name.clone(), host: e.host.clone(), port: e.port };
    VotersRecordVoter {
        voter_id: id,
        voter_directory_id: directory,
        endpoints: endpoints.iter().map(endpoint).collect(),
        k_raft_version_feature: KRAFT_VERSIONS,
    }
}

/// A voter of `controller.quorum.voters`: whatever directory it has.
fn fixed_voter(id: BrokerId, address: &Address, listener: &str) -> VotersRecordVoter {
    let endpoint = Endpoint { name: listener.to_owned(), host: address.host.clone(), port: address.port, security: 0 };
    voter(id, Uuid::ZERO, &[endpoint])
}

/// `controller.listener.names`, in capitals as all names of listeners; `CONTROLLER` where it is not set.
#[must_use]
pub fn listener_names(fixed: &Properties) -> Vec<String> {
    let names = fixed.get("controller.listener.names").map_or("CONTROLLER", String::as_str);
    names.split(',').map(|name| name.trim().to_ascii_uppercase()).filter(|name| !name.is_empty()).collect()
}

/// What the newest whole snapshot says of the quorum. An older one will do, for its voters are overtaken by those of the log.
fn newest_quorum(saved: &BTreeMap<String, Bytes>) -> Result<Option<QuorumOf>, String> {
    let mut damage = None;
    for (name, bytes) in saved.iter().rev().filter(|(name, _)| SnapshotId::of_file(name).is_some()) {
        match control::quorum_of(bytes) {
            Ok(quorum) => return Ok(Some(quorum)),
            Err(why) => drop(damage.get_or_insert_with(|| format!("the snapshot {name} is damaged: {why:?}"))),
        }
    }
    damage.map_or(Ok(None), Err)
}

/// Reads `controller.quorum.voters`: `id@host:port,...`
///
/// # Errors
/// One line, which names the part that is wrong.
pub fn voters(list: &str) -> Result<Vec<(BrokerId, Address)>, String> {
    let mut voters = Vec::<(BrokerId, Address)>::new();
    for part in parts(list) {
        let read = || {
            let (id, rest) = part.split_once('@')?;
            Some((BrokerId(id.parse().ok().filter(|id| *id >= 0)?), address(rest)?))
        };
        let (id, address) = read().ok_or_else(|| format!("`{part}` is not ID@HOST:PORT, like `1@localhost:9093`"))?;
        if voters.iter().any(|(other, _)| *other == id) {
            return Err(format!("`{part}`: node {id} is in the list twice"));
        }
        voters.push((id, address));
    }
    Ok(voters)
}

/// Reads `controller.quorum.bootstrap.servers`: `host:port,...`
///
/// # Errors
/// One line, which names the part that is wrong.
pub fn addresses(list: &str) -> Result<Vec<Address>, String> {
    parts(list).map(|part| address(part).ok_or_else(|| format!("`{part}` is not HOST:PORT, like `localhost:9093`"))).collect()
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Reads `host:port`, with an IPv6 address in brackets.
#[must_use]
pub fn address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    if host.is_empty() || host.contains(['/', ' ', '[', ']', '@']) {
        return None;
    }
    Some(Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogDir;
    use crate::id::LogId;
    use crate::log::FoundLog;
    use crate::store::StoreFault;
    use crate::time::Timestamp;

    const DIRECTORIES: [Uuid; 2] = [Uuid([1; 16]), Uuid([2; 16])];

    fn broker(fixed: &[(&str, &str)]) -> BrokerConfig {
        let fixed = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let dirs = DIRECTORIES.iter().map(|id| LogDir { path: "data".to_owned(), id: *id }).collect();
        BrokerConfig::new(BrokerId(3), "c", vec![], dirs, fixed).expect("valid")
    }

    fn found(dir: u16, saved: &[(&str, Bytes)]) -> FoundDir {
        let log = FoundLog { log: LogId(0), name: METADATA_FOLDER.to_owned(), topic: Uuid::ZERO, state: Err(StoreFault::Gone) };
        let saved = saved.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        FoundDir { dir: DirId(dir), id: DIRECTORIES[usize::from(dir)], clean: None, logs: vec![log], saved }
    }

    fn checkpoint(id: i32) -> Bytes {
        control::first_checkpoint(vec![voter(BrokerId(id), Uuid([9; 16]), &[])], Timestamp(1))
    }

    fn ids(config: &QuorumConfig) -> Vec<i32> {
        config.initial.voters.iter().map(|voter| voter.voter_id.0).collect()
    }

    #[test]
    fn without_any_key_a_node_is_its_own_quorum() {
        let config = QuorumConfig::new(&broker(&[]), DirId(0), &[]).expect("valid");
        assert_eq!(config.roles, Roles { broker: true, controller: true });
        assert_eq!((ids(&config), config.initial.voters[0].voter_directory_id), (vec![3], DIRECTORIES[0]));
        assert_eq!((config.election_timeout, config.fetch_timeout), (Duration::from_secs(1), Duration::from_secs(2)));
    }

    #[test]
    fn the_newest_snapshot_names_the_voters() {
        let saved = [
            ("bootstrap.checkpoint", checkpoint(7)),
            ("__cluster_metadata-0/00000000000000000000-0000000000.checkpoint", checkpoint(1)),
            ("__cluster_metadata-0/00000000000000000020-0000000003.checkpoint", checkpoint(2)),
            ("__cluster_metadata-0/quorum-state", Bytes::new()),
        ];
        let broker = broker(&[("controller.quorum.bootstrap.servers", "a:1,[::1]:2"), ("process.roles", "controller")]);
        let config = QuorumConfig::new(&broker, DirId(0), &[found(1, &saved)]).expect("valid");
        assert_eq!((ids(&config), config.initial.version), (vec![2], 1));
        assert_eq!((config.dir, config.directory), (DirId(1), DIRECTORIES[1]));
        assert_eq!(config.bootstrap.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "[::1]:2"]);
        assert_eq!(config.roles, Roles { broker: false, controller: true });
        let damaged = [(saved[2].0, saved[2].1.slice(..100))];
        assert!(QuorumConfig::new(&broker, DirId(0), &[found(1, &damaged)]).expect_err("cut").contains("damaged"));
    }

    #[test]
    fn who_has_no_snapshot_asks_the_bootstrap_servers() {
        let broker = broker(&[("controller.quorum.bootstrap.servers", "a:1"), ("process.roles", "broker")]);
        let config = QuorumConfig::new(&broker, DirId(0), &[]).expect("valid");
        assert_eq!((ids(&config), config.bootstrap.len()), (vec![], 1));
    }

    #[test]
    fn fixed_voters_have_no_directories() {
        let config = QuorumConfig::new(&broker(&[("controller.quorum.voters", "3@a:1, 4@b:2")]), DirId(0), &[]).expect("valid");
        assert_eq!((ids(&config), config.initial.version, config.bootstrap.len()), (vec![3, 4], 0, 2));
        assert_eq!(config.initial.voters[1].voter_directory_id, Uuid::ZERO);
        assert_eq!(config.initial.voters[1].endpoints[0].name, "CONTROLLER");
        for bad in ["3", "x@a:1", "3@a", "3@a:0", "-1@a:1", "3@a:1,3@b:1"] {
            assert!(voters(bad).is_err(), "{bad}");
        }
    }
}
