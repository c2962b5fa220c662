//! Which layer decides: a topic's own setting, the broker's dynamic one, the cluster's dynamic default, the broker's file, or Kafka's default.
//!
//! Source: KIP-226; Kafka's `KafkaConfigSchema` and `ConfigHelper`.

use super::Properties;
use super::key::Key;

/// Where a value comes from, as DescribeConfigs tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Set for this topic.
    Topic,
    /// Set for this broker while it ran.
    Broker,
    /// Set for all brokers while they ran.
    Cluster,
    /// Set in the broker's own file.
    Static,
    /// Set by nobody.
    Default,
}

impl Source {
    /// Its number in DescribeConfigs and CreateTopics (`DescribeConfigsResponse.ConfigSource`).
    #[must_use]
    pub fn wire(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::Broker => 2,
            Self::Cluster => 3,
            Self::Static => 4,
            Self::Default => 5,
        }
    }
}

/// One of the settings that bear on a key, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The name under which it was set.
    pub name: String,
    /// As it was set; `None` where it must not be shown.
    pub value: Option<String>,
    /// By whom.
    pub source: Source,
}

/// The layers beneath a topic, the strongest first.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Set for this broker while it ran.
    pub broker: &'a Properties,
    /// Set for all brokers while they ran.
    pub cluster: &'a Properties,
    /// Set in its file.
    pub fixed: &'a Properties,
}

impl<'a> Layers<'a> {
    /// The layers and what they are, the strongest first.
    pub fn each(&self) -> impl Iterator<Item = (Source, &'a Properties)> + use<'a> {
        [(Source::Broker, self.broker), (Source::Cluster, self.cluster), (Source::Static, self.fixed)].into_iter()
    }

    /// The value of a broker property and where it comes from. What does not parse any more is passed over.
    #[must_use]
    pub fn of(&self, key: &Key) -> (Option<String>, Source) {
        for (source, properties) in self.each() {
            if let Some(value) = properties.get(key.name).and_then(|text| key.parse(text).ok()) {
                return (Some(value.to_string()), source);
            }
        }
        (key.default_value().map(|value| value.to_string()), Source::Default)
    }

    /// What bears on the broker property `name`, as Kafka lists it: `family` are the names that mean the same in other units, the strongest first;
    /// the list begins at `name`.
    #[must_use]
    pub fn synonyms(&self, name: &str, family: &[&Key]) -> Vec<Synonym> {
        let mut found = Vec::new();
        for (source, properties) in self.each() {
            for key in family {
                if let Some(value) = properties.get(key.name) {
                    found.push(synonym(key, Some(value.clone()), source));
                }
            }
        }
        for key in family {
            if let Some(value) = key.default {
                found.push(synonym(key, Some(value.to_owned()), Source::Default));
            }
        }
        // Kafka drops what stands before the asked name, so that a broker that sets only hours shows no synonym of the milliseconds.
        let first = found.iter().position(|s| s.name == name).unwrap_or(found.len());
        found.split_off(first)
    }
}

fn synonym(key: &Key, value: Option<String>, source: Source) -> Synonym {
    Synonym { name: key.name.to_owned(), value: value.filter(|_| !key.is_sensitive()), source }
}
