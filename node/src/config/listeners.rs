//! Reads `listeners` and what belongs to it: which socket serves whom, and what others are told to dial.
//!
//! Source: `kafka.server.KafkaConfig` and `SocketServerConfigs`. Only PLAINTEXT is served yet; any other protocol is refused, never ignored.

use super::given::Given;
use klamm_core::id::ListenerId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A named address: `NAME://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, in capitals.
    pub name: String,
    /// Empty: every interface (where we listen), or this machine's name (what others dial).
    pub host: String,
    /// 0: a free one.
    pub port: u16,
}

impl Endpoint {
    /// `host:port`, as a resolver wants it.
    #[must_use]
    pub fn address(&self) -> String {
        let host = if self.host.is_empty() { "0.0.0.0" } else { &self.host };
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, address) = text.split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || !name.chars().all(plain) || host.contains(['/', ' ', '[', ']']) {
            return None;
        }
        Some(Self { name: name.to_ascii_uppercase(), host: host.to_owned(), port: port.parse().ok()? })
    }
}

/// Who serves where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Where clients and brokers connect, in the order given.
    pub clients: Vec<Endpoint>,
    /// Where the quorum connects; empty if this node is no controller.
    pub controllers: Vec<Endpoint>,
    /// What clients and brokers are told to dial: by name one for each of `clients`, but for those that nobody is told.
    pub advertised: Vec<Endpoint>,
    /// What the quorum is told to dial: one for each of `controllers`.
    pub advertised_controllers: Vec<Endpoint>,
    /// The listener that brokers use among themselves.
    pub inter_broker: String,
}

impl Listeners {
    /// The listener of brokers, if clients have one beside it: `max.connections` does not close it (Kafka's `ConnectionQuotas.protectedListener`).
    #[must_use]
    pub fn protected(&self) -> Option<ListenerId> {
        let at = self.clients.iter().position(|endpoint| endpoint.name == self.inter_broker).filter(|_| self.clients.len() > 1)?;
        Some(ListenerId(u16::try_from(at).expect("few listeners")))
    }
}

/// Where a node listens if nothing says so: on this machine only, since nothing guards it.
pub const DEFAULT: &str = "PLAINTEXT://127.0.0.1:9092";

/// The same of a node that is a controller only.
const DEFAULT_CONTROLLER: &str = "CONTROLLER://127.0.0.1:9093";

/// Reads the keys around `listeners` for a node of these roles. Adds a line to `problems` for each thing that is wrong.
pub fn read(given: &Given, controller_role: bool, broker_role: bool, problems: &mut Vec<String>) -> Listeners {
    let controller_names = names(given.get("controller.listener.names").unwrap_or("CONTROLLER"));
    let default = || Endpoint::parse(if broker_role { DEFAULT } else { DEFAULT_CONTROLLER }).into_iter().collect();
    let all = endpoints(given, "listeners", problems).unwrap_or_else(default);
    check_distinct(&all, given, problems);
    // Of controllers elsewhere the first name is dialled, by whoever is told of a quorum.
    let has_quorum = ["controller.quorum.voters", "controller.quorum.bootstrap.servers"].iter().any(|key| given.get(key).is_some());
    let dialled = controller_names.first().filter(|_| has_quorum || !controller_role);
    check_protocols(given, &all, &controller_names, dialled, problems);
    let (controllers, clients): (Vec<_>, Vec<_>) = all.into_iter().partition(|e| controller_names.contains(&e.name));
    if broker_role && clients.is_empty() && problems.is_empty() {
        problems.push(format!("{} leaves no listener for clients: add one, like `{DEFAULT}`", given.cite("listeners")));
    }
    if problems.is_empty() {
        problems.extend(misfit(given, &clients, &controllers, controller_role, broker_role));
    }
    let told = endpoints(given, "advertised.listeners", problems);
    if let Some(told) = told.as_ref().filter(|_| broker_role && problems.is_empty()) {
        check_advertised(given, told, &clients, &controller_names, problems);
    }
    // As Kafka: what is not told is not dialled, but a controller's listener is told as it is.
    let is_told = |endpoint: &&Endpoint| told.as_ref().is_none_or(|told| told.iter().any(|t| t.name == endpoint.name));
    let open: Vec<Endpoint> = clients.iter().filter(is_told).cloned().collect();
    let told = told.as_deref().unwrap_or_default();
    let advertised = advertise(&open, told, given, problems);
    let advertised_controllers = advertise(&controllers, told, given, problems);
    let inter_broker = inter_broker(given, &advertised, problems);
    Listeners { clients, controllers, advertised, advertised_controllers, inter_broker }
}

/// What is wrong with where the quorum comes in, in a node of these roles.
fn misfit(given: &Given, clients: &[Endpoint], controllers: &[Endpoint], controller_role: bool, broker_role: bool) -> Option<String> {
    let (names, listeners) = (given.cite("controller.listener.names"), given.cite("listeners"));
    let is_set = |key| given.get(key).is_some_and(|value| !value.is_empty());
    let among_others = ["controller.quorum.bootstrap.servers", "controller.quorum.voters"].into_iter().any(is_set);
    if controller_role && controllers.is_empty() && (is_set("controller.listener.names") || among_others) {
        return Some(format!("{names} names no listener of {listeners}: a controller needs one for the quorum, like `CONTROLLER://:9093`"));
    }
    // As Kafka: each role has listeners of its own.
    if !controller_role && let Some(endpoint) = controllers.first() {
        return Some(format!("{listeners}: `{}` is a listener of controllers, which this node is not; take it out", endpoint.name));
    }
    if !broker_role && let Some(endpoint) = clients.first() {
        return Some(format!("{listeners}: `{}` is none of {names}, but this node is a controller only; take it out", endpoint.name));
    }
    None
}

fn names(text: &str) -> Vec<String> {
    text.split(',').map(|n| n.trim().to_ascii_uppercase()).filter(|n| !n.is_empty()).collect()
}

fn endpoints(given: &Given, key: &str, problems: &mut Vec<String>) -> Option<Vec<Endpoint>> {
    let text = given.get(key).filter(|t| !t.is_empty())?;
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        match Endpoint::parse(part) {
            Some(endpoint) => found.push(endpoint),
            None => problems.push(format!("{}: `{part}` is not NAME://host:port, like `PLAINTEXT://127.0.0.1:9092`", given.cite(key))),
        }
    }
    Some(found)
}

fn check_distinct(all: &[Endpoint], given: &Given, problems: &mut Vec<String>) {
    for (i, one) in all.iter().enumerate() {
        for other in &all[..i] {
            if one.name == other.name {
                problems.push(format!("{}: `{}` is there twice; give each listener a name of its own", given.cite("listeners"), one.name));
            }
            if one.port == other.port && one.port != 0 && one.host == other.host {
                problems.push(format!(
                    "{}: `{}` and `{}` want the same port; give one of them another",
                    given.cite("listeners"),
                    other.name,
                    one.name
                ));
            }
        }
    }
}

/// Every listener in use must be PLAINTEXT: to serve one without the TLS or SASL it asks for would open what the operator closed. So must those of
/// controllers elsewhere, which this node dials.
fn check_protocols(given: &Given, all: &[Endpoint], controllers: &[String], dialled: Option<&String>, problems: &mut Vec<String>) {
    let key = "listener.security.protocol.map";
    let mut map = BTreeMap::new();
    for part in given.get(key).unwrap_or("").split(',').map(str::trim).filter(|p| !p.is_empty()) {
        match part.split_once(':') {
            Some((name, protocol)) => drop(map.insert(name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase())),
            None => problems.push(format!("{}: `{part}` is not NAME:PROTOCOL, like `PLAINTEXT:PLAINTEXT`", given.cite(key))),
        }
    }
    let own = all.iter().map(|endpoint| &endpoint.name);
    let dialled = dialled.filter(|name| !all.iter().any(|endpoint| endpoint.name == **name));
    for name in own.chain(dialled).map(String::as_str) {
        match map.get(name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(protocol @ ("SSL" | "SASL_PLAINTEXT" | "SASL_SSL")) => problems.push(refused(given, all, name, protocol)),
            Some(other) => problems.push(format!("{}: `{other}` is no protocol; klamm serves PLAINTEXT", given.cite(key))),
            None if ["SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&name) => problems.push(refused(given, all, name, name)),
            None if name == "PLAINTEXT" || controllers.iter().any(|c| c == name) => {}
            None => problems.push(format!("listener `{name}` has no protocol: add `{key}={name}:PLAINTEXT`")),
        }
    }
}

fn refused(given: &Given, all: &[Endpoint], name: &str, protocol: &str) -> String {
    if !all.iter().any(|endpoint| endpoint.name == name) {
        return format!(
            "{}: the controllers' `{name}` asks for {protocol}, which klamm does not speak yet; make it PLAINTEXT if the network is trusted",
            given.cite("controller.listener.names")
        );
    }
    format!(
        "{}: listener `{name}` asks for {protocol}, which klamm does not serve yet; take it out, or make it PLAINTEXT if the network is trusted",
        given.cite("listeners")
    )
}

/// The names in `advertised.listeners`, beside those of controllers, must be some or all of those in `listeners` (`KafkaConfig.validateValues`).
fn check_advertised(given: &Given, told: &[Endpoint], clients: &[Endpoint], controllers: &[String], problems: &mut Vec<String>) {
    let (advertised, listeners) = (given.cite("advertised.listeners"), given.cite("listeners"));
    let mut seen = BTreeSet::new();
    for Endpoint { name, .. } in told.iter().filter(|endpoint| !controllers.contains(&endpoint.name)) {
        if !seen.insert(name) {
            problems.push(format!("{advertised}: `{name}` is there twice; take one out"));
        } else if !clients.iter().any(|endpoint| endpoint.name == *name) {
            problems.push(format!("{advertised}: `{name}` is none of {listeners}; name one of those, or take it out"));
        }
    }
    if seen.is_empty() {
        problems.push(format!("{advertised} names no listener of clients, so nobody would find this broker: add one of {listeners}"));
    }
}

fn advertise(bound: &[Endpoint], told: &[Endpoint], given: &Given, problems: &mut Vec<String>) -> Vec<Endpoint> {
    let told = bound.iter().map(|endpoint| told.iter().find(|t| t.name == endpoint.name).unwrap_or(endpoint).clone()).collect::<Vec<_>>();
    for endpoint in &told {
        if endpoint.host == "0.0.0.0" || endpoint.host == "::" {
            problems.push(format!(
                "{}: others cannot dial `{}`; set `advertised.listeners={}://HOST:{}` with a name or address that reaches this machine",
                given.cite(if given.get("advertised.listeners").is_some() { "advertised.listeners" } else { "listeners" }),
                endpoint.host,
                endpoint.name,
                endpoint.port,
            ));
        }
    }
    told
}

fn inter_broker(given: &Given, advertised: &[Endpoint], problems: &mut Vec<String>) -> String {
    for key in ["inter.broker.listener.name", "security.inter.broker.protocol"] {
        let Some(name) = given.get(key) else { continue };
        let name = name.to_ascii_uppercase();
        if !advertised.is_empty() && !advertised.iter().any(|e| e.name == name) {
            let among =
                if given.get("advertised.listeners").is_some_and(|told| !told.is_empty()) { "advertised.listeners" } else { "listeners" };
            problems.push(format!(
                "{} names no listener of {}: name one of those, or take the key out",
                given.cite(key),
                given.cite(among)
            ));
        }
        return name;
    }
    advertised.iter().find(|e| e.name == "PLAINTEXT").or(advertised.first()).map_or_else(|| "PLAINTEXT".to_owned(), |e| e.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[&str], controller: bool) -> (Listeners, Vec<String>) {
        let mut given = Given::default();
        for option in options {
            given.option(option).expect("key=value");
        }
        let mut problems = Vec::new();
        let listeners = read(&given, controller, true, &mut problems);
        (listeners, problems)
    }

    #[test]
    fn one_local_listener_is_the_default() {
        let (listeners, problems) = check(&[], true);
        assert_eq!(problems, [""; 0]);
        assert_eq!(listeners.clients[0].address(), "127.0.0.1:9092");
        assert_eq!(listeners.inter_broker, "PLAINTEXT");
    }

    #[test]
    fn a_combined_node_as_kafka_ships_it() {
        let (listeners, problems) = check(
            &[
                "listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
                "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
                "controller.listener.names=CONTROLLER",
                "inter.broker.listener.name=PLAINTEXT",
                "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
            ],
            true,
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(listeners.clients[0].address(), "0.0.0.0:9092");
        assert_eq!(listeners.controllers[0].port, 9093);
        assert_eq!(listeners.advertised, [Endpoint { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 }]);
    }

    #[test]
    fn each_role_has_listeners_of_its_own() {
        let read = |options: &[&str], controller, broker| {
            let mut given = Given::default();
            options.iter().for_each(|option| given.option(option).expect("key=value"));
            let mut problems = Vec::new();
            let listeners = read(&given, controller, broker, &mut problems);
            (listeners, problems)
        };
        let (listeners, problems) = read(&["listeners=CONTROLLER://127.0.0.1:9093", "controller.listener.names=CONTROLLER"], true, false);
        assert_eq!(problems, [""; 0]);
        assert_eq!((listeners.clients.len(), listeners.advertised_controllers.len()), (0, 1));
        let both = "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093";
        assert!(read(&[both], true, false).1[0].contains("`PLAINTEXT` is none of"));
        assert!(read(&[both], false, true).1[0].contains("`CONTROLLER` is a listener of controllers"));
        let quorum = "controller.quorum.bootstrap.servers=a:9093";
        assert!(read(&[quorum], true, true).1[0].contains("a controller needs one for the quorum"));
        assert_eq!(read(&[quorum], false, true).1, [""; 0]);
    }

    #[test]
    fn some_or_all_listeners_are_advertised_and_no_others() {
        let with = |more: &[&str]| {
            let listeners = "listeners=PLAINTEXT://127.0.0.1:9092,OWN://127.0.0.1:9094,CONTROLLER://127.0.0.1:9093";
            let protocols = "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OWN:PLAINTEXT,CONTROLLER:PLAINTEXT";
            check(&[&[listeners, protocols], more].concat(), true)
        };
        let (listeners, problems) = with(&["advertised.listeners=OWN://h:1"]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(listeners.advertised, [Endpoint { name: "OWN".into(), host: "h".into(), port: 1 }]);
        assert_eq!((listeners.clients.len(), listeners.advertised_controllers.len()), (2, 1));
        assert_eq!(listeners.inter_broker, "OWN");

        let only = |options: &[&str]| {
            let (_, problems) = with(options);
            assert_eq!(problems.len(), 1, "{problems:?}");
            problems[0].clone()
        };
        assert!(only(&["advertised.listeners=PLAINTEXT://h:1,OUTSIDE://h:2"]).contains("`OUTSIDE` is none of `listeners="));
        assert!(only(&["advertised.listeners=PLAINTEXT://h:1,PLAINTEXT://h:2"]).contains("twice"));
        assert!(only(&["advertised.listeners=CONTROLLER://h:1"]).contains("names no listener of clients"));
        let hidden = only(&["advertised.listeners=OWN://h:1", "inter.broker.listener.name=PLAINTEXT"]);
        assert!(hidden.contains("names no listener of `advertised.listeners="), "{hidden}");
    }

    #[test]
    fn ipv6_in_brackets() {
        assert_eq!(check(&["listeners=PLAINTEXT://[::1]:9092"], false).0.clients[0].address(), "[::1]:9092");
    }

    #[test]
    fn what_would_open_a_closed_door_is_refused() {
        for options in [
            &["listeners=SSL://127.0.0.1:9092"][..],
            &["listeners=CLIENTS://127.0.0.1:9092", "listener.security.protocol.map=CLIENTS:SASL_SSL"],
            &["listeners=CLIENTS://127.0.0.1:9092"],
            &["listeners=PLAINTEXT://0.0.0.0:9092"],
            &["listeners=127.0.0.1:9092"],
            &["listeners=PLAINTEXT://127.0.0.1:9092,A://127.0.0.1:9092", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,A:PLAINTEXT"],
            &["inter.broker.listener.name=OTHER"],
            &["listener.security.protocol.map=CONTROLLER:SSL,PLAINTEXT:PLAINTEXT"],
            &["controller.listener.names=QUORUM", "listener.security.protocol.map=QUORUM:SASL_SSL,PLAINTEXT:PLAINTEXT"],
            &["controller.listener.names=SSL"],
        ] {
            let (_, problems) = check(options, false);
            assert_eq!(problems.len(), 1, "{options:?}: {problems:?}");
        }
    }
}
