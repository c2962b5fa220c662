//! Judges the keys that were given: unknown ones and those that must not be passed over become problems, those without use are named once.
//!
//! Which keys there are is core's table. Listeners that ask for TLS or SASL are refused beside `listeners`.

use super::given::Given;
use klamm_core::config::known::{self, Class};

/// What an operator may do about a refused key, where more can be said than "take it out".
const REMEDIES: &[(&str, &str)] = &[
    ("authorizer.class.name", "klamm does not serve authorization yet, so every client may do everything"),
    ("create.topic.policy.class.name", "klamm cannot load a policy class, so topics could be made that it would forbid"),
    ("alter.config.policy.class.name", "klamm cannot load a policy class, so settings could be made that it would forbid"),
    ("client.quota.callback.class", "klamm cannot load a quota class, so clients would not be held back"),
    ("principal.builder.class", "klamm does not serve authentication yet, so every client may do everything"),
    ("remote.log.storage.system.enable", "klamm has no tiered storage, so old segments would stay on this disk"),
];

/// Whether a `KLAMM_` variable of this key means something.
#[must_use]
pub fn is_known(key: &str) -> bool {
    known::class(key).is_some()
}

/// One line for each key that is unknown or must not be passed over.
pub(super) fn problems(given: &Given) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, value) in given.iter() {
        if known::class(key).is_none() {
            problems.push(unknown(given, key));
        } else if !known::is_allowed(key, value) {
            problems.push(refused(given, key));
        }
    }
    if given.get("log.durability") == Some("page-cache") {
        let flushes = ["log.flush.interval.messages", "log.flush.interval.ms"];
        for key in flushes.into_iter().filter(|key| given.get(key).is_some_and(|value| !value.is_empty() && value != "9223372036854775807"))
        {
            problems.push(format!(
                "{}: klamm syncs every append with `log.durability=fsync` and none with `page-cache`; use fsync, or take the key out",
                given.cite(key)
            ));
        }
    }
    problems
}

/// The keys that klamm accepts and does not need.
pub(super) fn unneeded(given: &Given) -> Vec<&str> {
    given.iter().map(|(key, _)| key).filter(|key| known::class(key) == Some(Class::Ignored)).collect()
}

fn refused(given: &Given, key: &str) -> String {
    let why = REMEDIES
        .iter()
        .find(|(name, _)| *name == key)
        .map_or("klamm does not serve this yet, and to be silent about it would weaken what it guards", |(_, why)| why);
    format!("{}: {why}; take the key out if that is acceptable", given.cite(key))
}

fn unknown(given: &Given, key: &str) -> String {
    let cited = given.cite(key);
    if key.starts_with("zookeeper.") {
        return format!("{cited}: there is no ZooKeeper here, as in Kafka 4; take it out and set `process.roles=broker,controller`");
    }
    let nearest = known::names().min_by_key(|name| distance(key, name)).expect("there are known keys");
    let near = distance(key, nearest) <= key.len().div_ceil(3);
    let remedy = if near { format!("did you mean `{nearest}`?") } else { "take it out".to_owned() };
    format!("{cited}: nobody knows this key; {remedy}")
}

/// Levenshtein's distance: insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row = (0..=b.len()).collect::<Vec<_>>();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
