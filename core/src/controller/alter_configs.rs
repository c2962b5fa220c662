//! Plans IncrementalAlterConfigs and AlterConfigs: each resource is changed as a whole or not at all.
//!
//! Source: Kafka's `ConfigAdminManager` and `ConfigurationControlManager`; messages confirmed on 4.3.1.

use super::features::MIN_ISR;
use super::image::{Resource, ResourceKind};
use super::name;
use super::plan::{Plan, Planner, Refusal};
use super::record::Record;
use crate::config::{Key, Kind, Layers, Properties, Value, broker, dynamic, topic};
use crate::error::ErrorCode;
use crate::id::BrokerId;
use crate::wire::api::{alter_configs as whole, incremental_alter_configs as incremental};
use crate::wire::records::metadata::{ClearElrRecord, ConfigRecord};
use std::collections::{BTreeMap, BTreeSet};

/// What is done to one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Op {
    Set(String),
    Delete,
    Append(String),
    Subtract(String),
}

type Ops = BTreeMap<String, Op>;

impl Planner<'_> {
    /// Plans changes of single settings.
    pub fn incremental_alter_configs(
        &mut self,
        request: &incremental::IncrementalAlterConfigsRequest,
    ) -> Plan<incremental::IncrementalAlterConfigsResponse> {
        let named: Vec<(i8, &str)> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())).collect();
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for (asked, is_twice) in request.resources.iter().zip(repeated(&named)) {
            let planned = self.judge_resource(asked.resource_type, &asked.resource_name, is_twice).and_then(|resource| {
                let ops = read_ops(&asked.configs)?;
                self.change(&resource, &ops)
            });
            let (error_code, error_message) = keep(planned, &mut records);
            let (resource_type, resource_name) = (asked.resource_type, asked.resource_name.clone());
            responses.push(incremental::AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name });
        }
        if request.validate_only {
            records.clear();
        }
        Plan { records, response: incremental::IncrementalAlterConfigsResponse { responses, ..Default::default() } }
    }

    /// Plans the replacement of all settings of resources.
    pub fn alter_configs(&mut self, request: &whole::AlterConfigsRequest) -> Plan<whole::AlterConfigsResponse> {
        let named: Vec<(i8, &str)> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())).collect();
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for (asked, is_twice) in request.resources.iter().zip(repeated(&named)) {
            let planned = self.judge_resource(asked.resource_type, &asked.resource_name, is_twice).and_then(|resource| {
                let settings: Vec<(&str, Option<&str>)> = asked.configs.iter().map(|c| (c.name.as_str(), c.value.as_deref())).collect();
                self.replace(&resource, &settings)
            });
            let (error_code, error_message) = keep(planned, &mut records);
            let (resource_type, resource_name) = (asked.resource_type, asked.resource_name.clone());
            responses.push(whole::AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name });
        }
        if request.validate_only {
            records.clear();
        }
        Plan { records, response: whole::AlterConfigsResponse { responses, ..Default::default() } }
    }

    fn judge_resource(&self, kind: i8, name: &str, is_twice: bool) -> Result<Resource, Refusal> {
        if is_twice {
            return Err(invalid("Each resource must appear at most once."));
        }
        let Some(kind) = ResourceKind::of(kind) else {
            return Err(invalid(format!("Unknown resource type {kind}")));
        };
        match kind {
            ResourceKind::Topic => {}
            ResourceKind::Broker if name.is_empty() => {}
            ResourceKind::Broker => self.judge_broker(name)?,
            ResourceKind::BrokerLogger => return Err(invalid("klamm has no log levels that can be changed while it runs.")),
            ResourceKind::ClientMetrics => return Err(invalid("klamm takes no client metrics.")),
            ResourceKind::Group => return Err(invalid("klamm has no settings of single groups.")),
        }
        Ok(Resource { kind, name: name.to_owned() })
    }

    fn judge_broker(&self, name: &str) -> Result<(), Refusal> {
        match name.parse::<i32>() {
            Err(_) => Err(invalid(format!("Node id must be an integer, but it is: {name}"))),
            // In a cluster each broker judges its own before it forwards them; here anyone's come in that is known.
            Ok(id) if id != self.config.id.0 && !self.image.brokers().contains_key(&BrokerId(id)) => {
                Err(invalid(format!("Unexpected broker id, expected {}, but received {name}", self.config.id)))
            }
            Ok(_) => Ok(()),
        }
    }

    fn change(&self, resource: &Resource, ops: &Ops) -> Result<Vec<Record>, Refusal> {
        let before = self.image.properties(resource);
        let mut after = before.clone();
        for (name, op) in ops {
            let value = match op {
                Op::Set(value) => Some(value.clone()),
                Op::Delete => None,
                Op::Append(items) => Some(append(&list_now(resource, name, before, "APPEND")?, items)),
                Op::Subtract(items) => Some(subtract(&list_now(resource, name, before, "SUBTRACT")?, items)),
            };
            match value {
                Some(value) => drop(after.insert(name.clone(), value)),
                None => drop(after.remove(name)),
            }
        }
        self.settle(resource, &after)
    }

    fn replace(&self, resource: &Resource, settings: &[(&str, Option<&str>)]) -> Result<Vec<Record>, Refusal> {
        judge_names(settings.iter().map(|(name, _)| *name))?;
        judge_values(settings.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name))?;
        let own = settings.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.to_owned())));
        let after: Properties = own.collect();
        self.settle(resource, &after)
    }

    /// The records that make `after` the settings of `resource`.
    fn settle(&self, resource: &Resource, after: &Properties) -> Result<Vec<Record>, Refusal> {
        let before = self.image.properties(resource);
        self.judge_min_isr(resource, before, after)?;
        self.judge_settings_of(resource, after)?;
        let mut records = difference(resource, before, after);
        records.extend(self.void_elr(resource, after));
        Ok(records)
    }

    /// Under ELR all brokers go by one minimum: see `features.rs`.
    fn judge_min_isr(&self, resource: &Resource, before: &Properties, after: &Properties) -> Result<(), Refusal> {
        if !self.image.has_elr() || resource.kind != ResourceKind::Broker || before.get(MIN_ISR) == after.get(MIN_ISR) {
            return Ok(());
        }
        let words = if !resource.name.is_empty() {
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
        } else if !after.contains_key(MIN_ISR) {
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
        } else {
            return Ok(());
        };
        Err(Refusal::new(ErrorCode::INVALID_CONFIG, words))
    }

    /// KIP-966: with a lower minimum the high watermark moves again, without those that are eligible. They are no longer from here on.
    /// A higher one changes nothing for them, and leaves the partitions that nobody leads their way back.
    fn void_elr(&self, resource: &Resource, after: &Properties) -> Option<Record> {
        let before = self.image.properties(resource);
        if !self.image.has_elr() || before.get(MIN_ISR) == after.get(MIN_ISR) {
            return None;
        }
        let key = topic::key(MIN_ISR).expect("a name of our own table");
        let layers = self.image.layers(self.config);
        let none = Properties::new();
        let (was, is) = match resource.kind {
            ResourceKind::Topic => (key.effective(before, layers).0, key.effective(after, layers).0),
            ResourceKind::Broker if resource.name.is_empty() => {
                (key.effective(&none, layers).0, key.effective(&none, Layers { cluster: after, ..layers }).0)
            }
            ResourceKind::Broker | ResourceKind::BrokerLogger | ResourceKind::ClientMetrics | ResourceKind::Group => return None,
        };
        let is_lower = matches!((was, is), (Some(Value::Number(was)), Some(Value::Number(is))) if is < was);
        let topic_name = if resource.kind == ResourceKind::Topic { resource.name.clone() } else { String::new() };
        is_lower.then_some(Record::ClearElr(ClearElrRecord { topic_name }))
    }

    fn judge_settings_of(&self, resource: &Resource, after: &Properties) -> Result<(), Refusal> {
        match resource.kind {
            ResourceKind::Topic => self.judge_topic_settings(&resource.name, after),
            ResourceKind::Broker => self.judge_broker_settings(resource, after),
            ResourceKind::BrokerLogger | ResourceKind::ClientMetrics | ResourceKind::Group => Ok(()),
        }
    }

    fn judge_topic_settings(&self, topic: &str, after: &Properties) -> Result<(), Refusal> {
        if topic.is_empty() {
            return Err(invalid("Default topic resources are not allowed."));
        }
        name::validate(topic).map_err(|why| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why))?;
        topic::validate(after, self.image.layers(self.config)).map_err(|why| Refusal::new(ErrorCode::INVALID_CONFIG, why))?;
        if self.image.topic(topic).is_none() {
            let words = format!("The topic '{topic}' does not exist.");
            return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, words));
        }
        Ok(())
    }

    fn judge_broker_settings(&self, resource: &Resource, after: &Properties) -> Result<(), Refusal> {
        dynamic::validate(after).map_err(invalid)?;
        // The broker-wide defaults must go together too.
        let mut layers = self.image.layers(self.config);
        if resource.name.is_empty() {
            layers.cluster = after;
        } else {
            layers.broker = after;
        }
        topic::validate(&Properties::new(), layers).map_err(invalid)
    }
}

fn invalid(words: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::INVALID_REQUEST, words)
}

fn keep(planned: Result<Vec<Record>, Refusal>, records: &mut Vec<Record>) -> (ErrorCode, Option<String>) {
    match planned {
        Ok(more) => {
            records.extend(more);
            (ErrorCode::NONE, None)
        }
        Err(refusal) => (refusal.code, refusal.message),
    }
}

/// For each one whether it occurs more than once.
fn repeated(named: &[(i8, &str)]) -> Vec<bool> {
    let mut counts: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    named.iter().for_each(|one| *counts.entry(*one).or_default() += 1);
    named.iter().map(|one| counts[one] > 1).collect()
}

fn read_ops(configs: &[incremental::AlterableConfig]) -> Result<Ops, Refusal> {
    judge_names(configs.iter().map(|c| c.name.as_str()))?;
    judge_values(configs.iter().filter(|c| c.config_operation != 1 && c.value.is_none()).map(|c| c.name.as_str()))?;
    let mut ops = Ops::new();
    for config in configs {
        let value = config.value.clone().unwrap_or_default();
        let op = match config.config_operation {
            0 => Op::Set(value),
            1 => Op::Delete,
            2 => Op::Append(value),
            3 => Op::Subtract(value),
            other => return Err(invalid(format!("Unknown operations type {other}"))),
        };
        ops.insert(config.name.clone(), op);
    }
    Ok(ops)
}

fn judge_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(invalid("Error due to duplicate config keys"));
        }
    }
    Ok(())
}

fn judge_values<'a>(null: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let null: Vec<&str> = null.collect();
    if null.is_empty() { Ok(()) } else { Err(invalid(format!("Null value not supported for : {}", null.join(", ")))) }
}

/// The items of a list setting before it is changed: what was set, else its default.
fn list_now(resource: &Resource, name: &str, before: &Properties, op: &str) -> Result<Vec<String>, Refusal> {
    let (key, words): (Option<&Key>, String) = match resource.kind {
        ResourceKind::Broker => {
            let known = broker::key(name);
            let words = match known {
                Some(_) => format!("Config value {} is not allowed for config key: {name}", op.to_lowercase()),
                None => format!("Unknown config name: {name}"),
            };
            (known, words)
        }
        ResourceKind::Topic | ResourceKind::BrokerLogger | ResourceKind::ClientMetrics | ResourceKind::Group => {
            (topic::key(name).map(|k| &k.key), format!("Can't {op} to key {name} because its type is not LIST."))
        }
    };
    let Some(key) = key.filter(|key| key.kind == Kind::List) else {
        return Err(Refusal::new(ErrorCode::INVALID_CONFIG, words));
    };
    let text = before.get(name).map_or(key.default.unwrap_or_default(), String::as_str);
    Ok(text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

fn append(now: &[String], items: &str) -> String {
    let mut all = now.to_vec();
    for item in items.split(',') {
        if !all.iter().any(|one| one == item) {
            all.push(item.to_owned());
        }
    }
    all.join(",")
}

fn subtract(now: &[String], items: &str) -> String {
    let gone: BTreeSet<&str> = items.split(',').collect();
    now.iter().filter(|item| !gone.contains(item.as_str())).map(String::as_str).collect::<Vec<_>>().join(",")
}

fn difference(resource: &Resource, before: &Properties, after: &Properties) -> Vec<Record> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let record = |name: &String| {
        Record::Config(ConfigRecord {
            resource_type: resource.kind.wire(),
            resource_name: resource.name.clone(),
            name: name.clone(),
            value: after.get(name).cloned(),
        })
    };
    changed.map(record).collect()
}
