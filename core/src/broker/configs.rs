//! Admin requests about settings: changes become proposals to the controller; descriptions come from the image.
//!
//! Source: Kafka's `ConfigHelper`; what it shows was compared with a real 4.3.1 broker.

use super::{Broker, Token};
use crate::config::known::{self, Class};
use crate::config::topic::{self, TopicKey};
use crate::config::{Key, Kind, Source, Synonym, broker, dynamic};
use crate::controller::image::{Resource, ResourceKind};
use crate::controller::{Refusal, lists, name};
use crate::error::ErrorCode;
use crate::wire::api::alter_configs::AlterConfigsRequest;
use crate::wire::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use crate::wire::api::incremental_alter_configs::IncrementalAlterConfigsRequest;
use crate::wire::api::list_config_resources::ListConfigResourcesRequest;
use std::collections::BTreeMap;

type Described = Vec<DescribeConfigsResourceResult>;

impl Broker {
    pub(super) fn incremental_alter_configs(&mut self, token: Token, body: &IncrementalAlterConfigsRequest) {
        self.propose_reply(token, |planner| planner.incremental_alter_configs(body));
    }

    pub(super) fn alter_configs(&mut self, token: Token, body: &AlterConfigsRequest) {
        self.propose_reply(token, |planner| planner.alter_configs(body));
    }

    pub(super) fn list_config_resources(&mut self, token: Token, version: i16, body: &ListConfigResourcesRequest) {
        let response = lists::config_resources(self.image(), version, body);
        self.reply(token, response.into());
    }

    pub(super) fn describe_configs(&mut self, token: Token, body: &DescribeConfigsRequest) {
        let results = body.resources.iter().map(|asked| self.describe_resource(asked, body)).collect();
        self.reply(token, DescribeConfigsResponse { results, ..Default::default() }.into());
    }

    fn describe_resource(&self, asked: &DescribeConfigsResource, body: &DescribeConfigsRequest) -> DescribeConfigsResult {
        let wanted = |name: &str| match &asked.configuration_keys {
            Some(keys) if !keys.is_empty() => keys.iter().any(|key| key == name),
            Some(_) | None => true,
        };
        let described = match ResourceKind::of(asked.resource_type) {
            Some(ResourceKind::Topic) => self.describe_topic_settings(&asked.resource_name),
            Some(ResourceKind::Broker) if asked.resource_name.is_empty() => Ok(self.describe_all_brokers()),
            Some(ResourceKind::Broker) => self.describe_broker(&asked.resource_name),
            Some(ResourceKind::BrokerLogger) => Err(invalid("klamm has no log levels that can be changed while it runs.")),
            Some(ResourceKind::ClientMetrics) => Err(invalid("klamm takes no client metrics.")),
            Some(ResourceKind::Group) => Err(invalid("klamm has no settings of single groups.")),
            None => Err(invalid(format!("Unexpected resource type {} for resource {}", asked.resource_type, asked.resource_name))),
        };
        let mut result = DescribeConfigsResult {
            error_message: None,
            resource_type: asked.resource_type,
            resource_name: asked.resource_name.clone(),
            ..Default::default()
        };
        match described {
            Ok(configs) => result.configs = configs.into_iter().filter(|c| wanted(&c.name)).map(|c| trim(c, body)).collect(),
            Err(refusal) => (result.error_code, result.error_message) = (refusal.code, refusal.message),
        }
        result
    }

    fn describe_topic_settings(&self, topic: &str) -> Result<Described, Refusal> {
        name::validate(topic).map_err(|why| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
        if self.image().topic(topic).is_none() {
            return Err(Refusal::plain(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        }
        let own = self.image().properties(&Resource::topic(topic));
        let describe = |topic_key: &TopicKey| {
            let (value, _) = topic_key.effective(own, self.layers());
            let synonyms = topic_key.synonyms(own, self.layers());
            describe(&topic_key.key, value.map(|v| v.to_string()), false, synonyms)
        };
        let shown = |k: &&TopicKey| !k.is_internal || own.contains_key(k.key.name);
        Ok(topic::keys().iter().filter(shown).map(describe).collect())
    }

    /// What was set for all brokers while they ran.
    fn describe_all_brokers(&self) -> Described {
        let set = self.image().properties(&Resource::all_brokers());
        let entry = |(name, value): (&String, &String)| {
            let Some(key) = broker::key(name) else { return describe_unneeded(name, value, Source::Cluster) };
            let synonyms = self.layers().synonyms(name, &family(name)).into_iter().filter(|s| s.source == Source::Cluster).collect();
            describe(key, Some(value.clone()), false, synonyms)
        };
        set.iter().map(entry).collect()
    }

    fn describe_broker(&self, asked: &str) -> Result<Described, Refusal> {
        let me = self.config.broker.id;
        match asked.parse::<i32>() {
            Err(_) => return Err(invalid(format!("Broker id must be an integer, but it is: {asked}"))),
            Ok(id) if id != me.0 => {
                return Err(invalid(format!("Unexpected broker id, expected {me} or empty string, but received {asked}")));
            }
            Ok(_) => {}
        }
        let used = broker::keys().iter().map(|key| self.describe_broker_key(key));
        // What is set and klamm does not need is shown too: it is what the operator wrote.
        let mut unneeded = BTreeMap::new();
        for (source, properties) in self.layers().each() {
            for (name, value) in properties.iter().filter(|(name, _)| known::class(name) == Some(Class::Ignored)) {
                unneeded.entry(name).or_insert((value, source));
            }
        }
        let unneeded = unneeded.into_iter().map(|(name, (value, source))| describe_unneeded(name, value, source));
        Ok(used.chain(unneeded).collect())
    }

    fn describe_broker_key(&self, key: &Key) -> DescribeConfigsResourceResult {
        let (value, _) = self.layers().of(key);
        let value = if matches!(key.name, "node.id" | "broker.id") { Some(self.config.broker.id.to_string()) } else { value };
        let synonyms = self.layers().synonyms(key.name, &family(key.name));
        describe(key, value, !dynamic::is_dynamic(key.name), synonyms)
    }
}

/// A property that Kafka knows and klamm does not need.
fn describe_unneeded(name: &str, value: &str, source: Source) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        read_only: !dynamic::is_dynamic(name),
        config_source: source.wire(),
        config_type: Kind::String.wire(),
        documentation: Some("Known to Kafka, not needed by klamm.".to_owned()),
        ..Default::default()
    }
}

/// The broker properties that mean the same as `name` in other units, the strongest first.
fn family(name: &str) -> Vec<&'static Key> {
    // The scheduler's interval stands in for the other, and not the other way round.
    let of_topic = topic::keys().iter().find(|k| k.server.iter().any(|(server, _)| *server == name));
    match of_topic {
        Some(topic_key) if name != "log.flush.scheduler.interval.ms" => {
            topic_key.server.iter().filter_map(|(n, _)| broker::key(n)).collect()
        }
        Some(_) | None => broker::key(name).into_iter().collect(),
    }
}

fn describe(key: &Key, value: Option<String>, read_only: bool, synonyms: Vec<Synonym>) -> DescribeConfigsResourceResult {
    let source = synonyms.first().map_or(Source::Default, |s| s.source);
    let synonym = |s: Synonym| DescribeConfigsSynonym { name: s.name, value: s.value, source: s.source.wire() };
    DescribeConfigsResourceResult {
        name: key.name.to_owned(),
        value: value.filter(|_| !key.is_sensitive()),
        read_only,
        config_source: source.wire(),
        is_sensitive: key.is_sensitive(),
        synonyms: synonyms.into_iter().map(synonym).collect(),
        config_type: key.kind.wire(),
        documentation: Some(key.doc.to_owned()),
    }
}

/// Leaves out what was not asked for.
fn trim(mut config: DescribeConfigsResourceResult, body: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    if !body.include_synonyms {
        config.synonyms.clear();
    }
    if !body.include_documentation {
        config.documentation = None;
    }
    config
}

fn invalid(words: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::INVALID_REQUEST, words)
}
