//! Kafka's configuration: which keys there are, which are refused, and what the node itself needs of them.
//!
//! Precedence: file, then environment, then `-o`. A known key that klamm does not need is named once in the log; one whose silence would weaken
//! safety or security is refused; one that nobody knows is an error. Never decides what a topic's or group's settings mean: core does.

pub mod given;
pub mod judge;
pub mod listeners;
pub mod properties;
mod take;

use crate::identity;
use crate::net::Sockets;
use given::Given;
pub use klamm_core::config::broker::Durability;
use klamm_core::config::{BrokerConfig, Endpoint, LogDir, Properties, Roles, Valid, broker, quorum};
use klamm_core::id::{BrokerId, DirId, Uuid};
use listeners::Listeners;
use std::path::{Path, PathBuf};
use std::time::Duration;
use take::Taker;

/// Everything the node reads of its configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `node.id`
    pub node: BrokerId,
    /// `process.roles`
    pub roles: Roles,
    /// `listeners` and what belongs to it.
    pub listeners: Listeners,
    /// `log.dirs`
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`, by its place in `log.dirs`
    pub metadata_dir: DirId,
    /// `log.durability`
    pub durability: Durability,
    /// `socket.request.max.bytes`: a longer frame closes its connection.
    pub frame_bytes_max: usize,
    /// `queued.max.request.bytes`: what all requests in work may hold together. A single larger one is let in alone.
    pub held_bytes_max: usize,
    /// `socket.send.buffer.bytes`, `socket.receive.buffer.bytes`, `socket.listen.backlog.size`
    pub sockets: Sockets,
    /// `max.connections`
    pub connections_max: usize,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: usize,
    /// `connections.max.idle.ms`; `None`: never closed for idleness.
    pub idle_max: Option<Duration>,
    /// `broker.rack`
    pub rack: Option<String>,
    /// Everything that was given, for the core and for `DescribeConfigs`.
    pub given: Given,
}

/// A configuration, and what the log should say about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One line each.
    pub warnings: Vec<String>,
}

/// The memory that requests in work may hold together, unless `queued.max.request.bytes` says otherwise.
const HELD_BYTES_DEFAULT: i64 = 48 << 20;

/// Connections that may wait to be accepted, unless `socket.listen.backlog.size` says otherwise.
const BACKLOG_DEFAULT: i64 = 1024;

impl Config {
    /// What the core is told: this configuration for a node that was formatted as `cluster` with these directory ids, and whose listeners, those of
    /// clients before those of the quorum, have these ports (those that were asked for, or the ones that port 0 became).
    ///
    /// # Errors
    /// One line, in Kafka's words: it names key and value.
    pub fn broker(&self, cluster: &str, dirs: &[Uuid], ports: &[u16]) -> Result<BrokerConfig, String> {
        let mut ports = ports.iter();
        let Listeners { clients, controllers, advertised, advertised_controllers, inter_broker } = &self.listeners;
        let mut told = |bound: &[listeners::Endpoint], advertised: &[listeners::Endpoint]| {
            let named = |endpoint: &listeners::Endpoint| advertised.iter().find(|told| told.name == endpoint.name).cloned();
            bound.iter().zip(ports.by_ref()).map(|(e, port)| told(&named(e).unwrap_or(e.clone()), *port)).collect()
        };
        let (endpoints, controllers) = (told(clients, advertised), told(controllers, advertised_controllers));
        let names = clients.iter().map(|endpoint| &endpoint.name);
        let unadvertised = names.filter(|name| !advertised.iter().any(|told| told.name == **name)).cloned().collect();
        let dirs = self.log_dirs.iter().zip(dirs).map(|(path, id)| LogDir { path: absolute(path), id: *id });
        let fixed: Properties = self.given.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let config = BrokerConfig::new(self.node, cluster, endpoints, dirs.collect(), fixed)?;
        Ok(BrokerConfig { controllers, unadvertised, inter_broker: inter_broker.clone(), ..config })
    }

    /// Where the quorum is told to dial this node.
    #[must_use]
    pub fn controllers(&self) -> Vec<Endpoint> {
        self.listeners.advertised_controllers.iter().map(|endpoint| told(endpoint, endpoint.port)).collect()
    }
}

/// What others are told of a listener that is bound to `port`.
fn told(endpoint: &listeners::Endpoint, port: u16) -> Endpoint {
    Endpoint {
        name: endpoint.name.clone(),
        host: if endpoint.host.is_empty() { identity::host_name() } else { endpoint.host.clone() },
        port: if endpoint.port == 0 { port } else { endpoint.port },
        security: 0,
    }
}

/// As an operator finds it from any folder.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Checks every key, and reads what the node needs.
///
/// # Errors
/// One line for each problem: key, value, origin, and what would be right.
pub fn read(given: Given) -> Result<Loaded, Vec<String>> {
    let mut problems = judge::problems(&given);
    if !problems.is_empty() {
        return Err(problems);
    }
    let config = take(&given, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let unneeded = judge::unneeded(&given);
    let mut warnings = Vec::new();
    if !unneeded.is_empty() {
        warnings.push(format!("klamm knows these keys and needs none of them: {}", unneeded.join(", ")));
    }
    Ok(Loaded { config: Config { given, ..config }, warnings })
}

/// Every key that klamm acts upon has a type and a range in core's table.
fn check_values(given: &Given, problems: &mut Vec<String>) {
    for (name, value) in given.iter() {
        let Some(key) = broker::key(name) else { continue };
        let Err(wrong) = key.parse(value) else { continue };
        // Kafka's words begin with the value and the name, which the citation has said.
        let why = wrong.split_once(&format!(" for configuration {name}: ")).map_or(wrong.as_str(), |(_, why)| why);
        let remedy = match (key.default, key.valid) {
            (Some(default), _) => format!("; the default is `{default}`"),
            // Kafka's words have named them.
            (None, Valid::Words(_)) => String::new(),
            (None, Valid::Any | Valid::AtLeast(_) | Valid::Between(..) | Valid::BetweenOr(..) | Valid::Throttled) => {
                format!("; want {}", key.kind.example())
            }
        };
        problems.push(format!("{}: {why}{remedy}", given.cite(name)));
    }
}

fn take(given: &Given, problems: &mut Vec<String>) -> Config {
    check_values(given, problems);
    let mut t = Taker { given, problems };
    let roles = t.list("process.roles", "broker,controller");
    let roles = Roles { broker: roles.iter().any(|r| r == "broker"), controller: roles.iter().any(|r| r == "controller") };
    let node = t.number(if given.get("node.id").is_none() { "broker.id" } else { "node.id" }, 1, 0, i64::from(i32::MAX));
    let dirs = t.list(if given.get("log.dirs").is_some() { "log.dirs" } else { "log.dir" }, "/tmp/kafka-logs");
    if dirs.is_empty() {
        t.wrong("log.dirs", "want at least one folder");
    }
    let metadata_dir = metadata_dir(&mut t, &dirs);
    check_quorum(&mut t, roles, node);
    let idle = t.number("connections.max.idle.ms", 600_000, -1, i64::MAX);
    let held = t.number("queued.max.request.bytes", HELD_BYTES_DEFAULT, -1, i64::MAX);
    Config {
        node: BrokerId(i32::try_from(node).unwrap_or(0)),
        roles,
        metadata_dir,
        durability: t.choice("log.durability", &[("fsync", Durability::Fsync), ("page-cache", Durability::PageCache)]),
        frame_bytes_max: t.size("socket.request.max.bytes", 104_857_600, 1),
        held_bytes_max: usize::try_from(if held < 1 { HELD_BYTES_DEFAULT } else { held }).unwrap_or(usize::MAX),
        sockets: sockets(&mut t),
        connections_max: t.size("max.connections", i64::from(i32::MAX), 0),
        connections_per_ip_max: t.size("max.connections.per.ip", i64::from(i32::MAX), 0),
        idle_max: u64::try_from(idle).ok().map(Duration::from_millis),
        rack: given.get("broker.rack").filter(|r| !r.is_empty()).map(str::to_owned),
        listeners: listeners::read(given, roles.controller, roles.broker, t.problems),
        log_dirs: dirs.into_iter().map(PathBuf::from).collect(),
        given: Given::default(),
    }
}

/// `-1` leaves a buffer to the system, which fits it to each connection.
fn sockets(t: &mut Taker<'_>) -> Sockets {
    let mut bytes = |key| u32::try_from(t.number(key, -1, -1, i64::from(i32::MAX))).ok();
    let (send_bytes, receive_bytes) = (bytes("socket.send.buffer.bytes"), bytes("socket.receive.buffer.bytes"));
    let backlog = t.size("socket.listen.backlog.size", BACKLOG_DEFAULT, 1);
    Sockets { send_bytes, receive_bytes, backlog: u32::try_from(backlog).expect("an `int` of Kafka's") }
}

/// The metadata log lies in the first of `log.dirs`, unless the operator chose another.
fn metadata_dir(t: &mut Taker<'_>, dirs: &[String]) -> DirId {
    let Some(own) = t.given.get("metadata.log.dir").filter(|dir| !dir.is_empty()) else { return DirId(0) };
    let at = dirs.iter().position(|dir| dir == own);
    if at.is_none() {
        t.wrong("metadata.log.dir", "want one of the folders of `log.dirs`; klamm keeps the metadata log in no folder of its own");
    }
    DirId(at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0))
}

/// Who else is in the quorum, and whether this node can be.
fn check_quorum(t: &mut Taker<'_>, roles: Roles, node: i64) {
    const VOTERS: &str = "controller.quorum.voters";
    const SERVERS: &str = "controller.quorum.bootstrap.servers";
    let voters = quorum::voters(t.given.get(VOTERS).unwrap_or_default());
    let servers = quorum::addresses(t.given.get(SERVERS).unwrap_or_default());
    match (&voters, &servers) {
        (Err(why), _) => t.wrong(VOTERS, why),
        (_, Err(why)) => t.wrong(SERVERS, why),
        (Ok(voters), Ok(servers)) => {
            let is_named = voters.iter().any(|(id, _)| i64::from(id.0) == node);
            // As Kafka: fixed voters are the controllers, no more and no fewer.
            if !voters.is_empty() && is_named != roles.controller {
                let has = if roles.controller { "has the role `controller` and must be" } else { "is no controller and must not be" };
                t.wrong(VOTERS, &format!("node {node} {has} in it"));
            }
            if !roles.controller && voters.is_empty() && servers.is_empty() {
                t.wrong("process.roles", &format!("a broker alone has to find its controllers: set `{SERVERS}=HOST:PORT,...`"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(options: &[&str]) -> Result<Loaded, Vec<String>> {
        let mut given = Given::default();
        for option in options {
            given.option(option).expect("key=value");
        }
        read(given)
    }

    fn problem(options: &[&str]) -> String {
        let problems = load(options).expect_err("something is wrong with it");
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.into_iter().next().expect("counted")
    }

    #[test]
    fn the_defaults_are_a_safe_single_node() {
        let loaded = load(&["log.dirs=/data/a, /data/b"]).expect("valid");
        assert_eq!(loaded.warnings, [""; 0]);
        assert_eq!(loaded.config.durability, Durability::Fsync);
        assert_eq!(loaded.config.log_dirs, [PathBuf::from("/data/a"), PathBuf::from("/data/b")]);
        assert_eq!(loaded.config.node, BrokerId(1));
        assert_eq!(loaded.config.idle_max, Some(Duration::from_mins(10)));
    }

    #[test]
    fn a_bad_value_names_key_value_and_remedy() {
        assert_eq!(problem(&["node.id=seven"]), "`node.id=seven` (option -o): Not a number of type INT; want a whole number, like 1");
        assert_eq!(
            problem(&["log.durability=maybe"]),
            "`log.durability=maybe` (option -o): String must be one of: fsync, page-cache; the default is `fsync`"
        );
        assert_eq!(problem(&["num.partitions=0"]), "`num.partitions=0` (option -o): Value must be at least 1; the default is `1`");
        assert_eq!(problem(&["process.roles=leader"]), "`process.roles=leader` (option -o): String must be one of: broker, controller");
    }

    #[test]
    fn who_is_in_the_quorum_is_judged_before_the_start() {
        let controller = ["listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"];
        let with = |more: &[&'static str]| [&controller[..], more].concat();
        assert!(problem(&with(&["controller.quorum.voters=1@a"])).contains("is not ID@HOST:PORT"));
        assert!(problem(&with(&["controller.quorum.voters=2@a:1"])).ends_with("must be in it"));
        assert!(problem(&["process.roles=broker", "controller.quorum.voters=1@a:1"]).ends_with("must not be in it"));
        assert!(problem(&with(&["controller.quorum.bootstrap.servers=a"])).contains("is not HOST:PORT"));
        assert!(problem(&["process.roles=broker"]).contains("has to find its controllers"));
        let loaded = load(&with(&["node.id=2", "controller.quorum.voters=1@a:1,2@b:2", "log.dirs=/a,/b", "metadata.log.dir=/b"]));
        assert_eq!(loaded.expect("valid").config.metadata_dir, DirId(1));
        assert!(problem(&["metadata.log.dir=/elsewhere"]).contains("one of the folders"));
    }

    #[test]
    fn the_listeners_of_the_quorum_follow_those_of_clients() {
        let listeners = "listeners=CONTROLLER://127.0.0.1:0,OWN://127.0.0.1:0,PLAINTEXT://127.0.0.1:0";
        let protocols = "listener.security.protocol.map=OWN:PLAINTEXT,PLAINTEXT:PLAINTEXT";
        let loaded = load(&[listeners, protocols, "advertised.listeners=CONTROLLER://c:5,PLAINTEXT://h:0"]);
        let told = loaded.expect("valid").config.broker("c", &[Uuid::ZERO], &[7, 8, 9]).expect("valid");
        assert_eq!((told.endpoints[1].name.as_str(), told.endpoints[1].host.as_str(), told.endpoints[1].port), ("PLAINTEXT", "h", 8));
        assert_eq!(told.advertised().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>(), ["PLAINTEXT"]);
        assert_eq!((told.controllers[0].host.as_str(), told.controllers[0].port), ("c", 5));
        assert_eq!(told.inter_broker, "PLAINTEXT");
    }

    #[test]
    fn what_sockets_hold_is_the_systems_to_say_unless_it_is_set() {
        let sockets = |options: &[&str]| load(options).expect("valid").config.sockets;
        assert_eq!(sockets(&[]), Sockets { send_bytes: None, receive_bytes: None, backlog: 1024 });
        let set = sockets(&["socket.send.buffer.bytes=5", "socket.receive.buffer.bytes=-1", "socket.listen.backlog.size=7"]);
        assert_eq!(set, Sockets { send_bytes: Some(5), receive_bytes: None, backlog: 7 });
        assert!(problem(&["socket.send.buffer.bytes=-2"]).contains("from -1"));
    }

    #[test]
    fn an_unknown_key_names_its_neighbour() {
        assert_eq!(problem(&["num.partitons=3"]), "`num.partitons=3` (option -o): nobody knows this key; did you mean `num.partitions`?");
        assert!(problem(&["zookeeper.connect=localhost:2181"]).contains("ZooKeeper"));
    }

    #[test]
    fn silence_never_weakens_security() {
        assert!(
            problem(&["authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"])
                .contains("every client may do everything")
        );
        assert!(problem(&["log.durability=page-cache", "log.flush.interval.messages=1"]).contains("log.durability=fsync"));
        assert!(load(&["log.flush.interval.messages=1"]).is_ok());
    }

    #[test]
    fn a_known_key_without_use_is_named_once() {
        let loaded = load(&["num.network.threads=3", "num.io.threads=8"]).expect("valid");
        assert_eq!(loaded.warnings, ["klamm knows these keys and needs none of them: num.io.threads, num.network.threads"]);
    }
}
