//! What holds for consumer groups (KIP-848), whose members do not choose their time-outs themselves. Names and rules are Kafka's.

use super::Properties;
use super::broker::{number, text};

/// The settings of consumer groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerGroups {
    /// `group.consumer.session.timeout.ms`
    pub session_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_ms: i32,
    /// `group.consumer.max.size`
    pub max_size: i32,
    /// `group.consumer.assignors`, not empty
    pub assignors: Vec<String>,
}

impl ConsumerGroups {
    /// Reads the settings.
    ///
    /// # Errors
    /// What does not fit together, in Kafka's words.
    pub(super) fn new(fixed: &Properties) -> Result<Self, String> {
        let session_ms = bounded(fixed, "session.timeout.ms")?;
        let heartbeat_ms = bounded(fixed, "heartbeat.interval.ms")?;
        if heartbeat_ms >= session_ms {
            return Err(format!("{} must be less than {}", full("heartbeat.interval.ms"), full("session.timeout.ms")));
        }
        let assignors: Vec<String> =
            text(fixed, &full("assignors")).split(',').map(str::to_owned).filter(|name| !name.is_empty()).collect();
        if assignors.is_empty() {
            return Err(format!("{} must not be empty", full("assignors")));
        }
        Ok(Self { session_ms, heartbeat_ms, max_size: int(fixed, "max.size"), assignors })
    }
}

fn full(name: &str) -> String {
    format!("group.consumer.{name}")
}

fn int(fixed: &Properties, name: &str) -> i32 {
    i32::try_from(number(fixed, &full(name))).expect("the key is of 32 bits")
}

/// The value of a key whose least and greatest value are keys, too.
fn bounded(fixed: &Properties, name: &str) -> Result<i32, String> {
    let (min, max) = (format!("min.{name}"), format!("max.{name}"));
    let (value, least, most) = (int(fixed, name), int(fixed, &min), int(fixed, &max));
    let must = |name: &str, relation: &str, other: &str| Err(format!("{} must be {relation} {}", full(name), full(other)));
    if most < least {
        return must(&max, "greater than or equal to", &min);
    }
    if value < least {
        return must(name, "greater than or equal to", &min);
    }
    if value > most {
        return must(name, "less than or equal to", &max);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<ConsumerGroups, String> {
        ConsumerGroups::new(&set.iter().map(|(name, value)| (full(name), (*value).to_owned())).collect())
    }

    #[test]
    fn the_defaults_are_kafkas() {
        let assignors = vec!["uniform".to_owned(), "range".to_owned()];
        assert_eq!(read(&[]), Ok(ConsumerGroups { session_ms: 45_000, heartbeat_ms: 5_000, max_size: i32::MAX, assignors }));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let words = |set: &[(&str, &str)]| read(set).expect_err("it does not fit");
        let too_short = words(&[("session.timeout.ms", "44999")]);
        assert_eq!(too_short, "group.consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms");
        let too_long = words(&[("session.timeout.ms", "60001")]);
        assert_eq!(too_long, "group.consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms");
        assert!(words(&[("min.session.timeout.ms", "70000")]).contains("max.session.timeout.ms must be greater"));
        let short = [("min.session.timeout.ms", "1"), ("session.timeout.ms", "5000")];
        assert!(words(&short).contains("heartbeat.interval.ms must be less than"));
        assert!(words(&[("assignors", "")]).contains("must not be empty"));
        let other = read(&[("assignors", "range"), ("min.session.timeout.ms", "6000"), ("session.timeout.ms", "6000")]).expect("it fits");
        assert_eq!((other.assignors, other.session_ms), (vec!["range".to_owned()], 6_000));
    }
}
