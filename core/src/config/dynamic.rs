//! Which broker properties may change while the broker runs, and what is said to the others.
//!
//! Source: Kafka's `DynamicBrokerConfig` (KIP-226), less what klamm acts on only when it starts.

use super::known::{self, Class};
use super::topic::keys;
use super::{Properties, broker};

/// What else than the defaults of topics is read anew each time. The throttles are no properties of a file in Kafka; here they may be.
const OTHERS: &[&str] = &[
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "producer.id.expiration.ms",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

/// What may change in Kafka, all of it numbers, and means nothing here: tools set it together with what does, and one refusal would refuse it all.
const WITHOUT_EFFECT: &[&str] = &[
    "background.threads",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
];

/// Whether `name` may be set while the broker runs: the broker-wide defaults of topics, what else klamm reads anew each time, and what it does not need.
#[must_use]
pub fn is_dynamic(name: &str) -> bool {
    let is_topic_default = keys().iter().any(|k| k.server.first().is_some_and(|(first, _)| *first == name));
    let is_used = (is_topic_default || OTHERS.contains(&name)) && broker::key(name).is_some();
    is_used || (WITHOUT_EFFECT.contains(&name) && known::class(name) == Some(Class::Ignored))
}

/// Judges the dynamic properties that a broker, or all brokers, would have.
///
/// # Errors
/// What is wrong, in Kafka's words; answered as INVALID_REQUEST, as Kafka does (KAFKA-13609).
pub fn validate(properties: &Properties) -> Result<(), String> {
    let fixed: Vec<&str> = properties.keys().map(String::as_str).filter(|name| !is_dynamic(name)).collect();
    if !fixed.is_empty() {
        return Err(format!("Cannot update these configs dynamically: [{}]", fixed.join(", ")));
    }
    for (name, text) in properties {
        if let Some(key) = broker::key(name) {
            key.parse(text)?;
        } else if text.trim().parse::<f64>().is_err() {
            return Err(format!("Invalid value {text} for configuration {name}: Not a number"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_defaults_are_dynamic_in_their_finest_unit() {
        assert!(is_dynamic("log.retention.ms") && is_dynamic("message.max.bytes") && is_dynamic("producer.id.expiration.ms"));
        assert!(is_dynamic("leader.replication.throttled.rate"));
        assert!(!is_dynamic("log.retention.hours") && !is_dynamic("num.partitions") && !is_dynamic("foo"));
    }

    #[test]
    fn what_has_no_effect_may_be_set_beside_what_has() {
        assert!(WITHOUT_EFFECT.iter().all(|name| known::class(name) == Some(Class::Ignored)), "what is acted on is told so");
        let both = [("num.io.threads", "16"), ("log.retention.ms", "1000")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(validate(&Properties::from(both)), Ok(()));
        let word = [("num.io.threads".to_owned(), "many".to_owned())];
        assert_eq!(
            validate(&Properties::from(word)).expect_err("a number"),
            "Invalid value many for configuration num.io.threads: Not a number"
        );
    }

    #[test]
    fn refusals_are_kafkas() {
        let one = |name: &str, value: &str| validate(&Properties::from([(name.to_owned(), value.to_owned())]));
        assert_eq!(one("num.partitions", "3").expect_err("fixed"), "Cannot update these configs dynamically: [num.partitions]");
        assert_eq!(
            one("log.segment.bytes", "10").expect_err("too small"),
            "Invalid value 10 for configuration log.segment.bytes: Value must be at least 1048576"
        );
        assert_eq!(one("log.retention.ms", "-7"), Ok(()));
    }
}
