//! `klamm topic`: create, list, describe, grow, delete, configure.

use super::Failure;
use super::ask::{Bootstrap, accept, run, table};
use clap::{Args, Subcommand};
use klamm::client::admin::{Admin, unexpected};
use klamm_core::error::ErrorCode;
use klamm_core::id::Uuid;
use klamm_core::wire::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use klamm_core::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use klamm_core::wire::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use klamm_core::wire::api::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult};
use klamm_core::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use klamm_core::wire::{Request, Response};

/// `ConfigResource.Type.TOPIC`
const TOPIC: i8 = 2;
/// `ConfigSource` of a value that the topic itself has.
const DYNAMIC_TOPIC: i8 = 1;
/// How long a broker may take to have it done everywhere.
const TIMEOUT_MS: i32 = 30_000;

/// Create, list, describe, grow, delete and configure topics
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  klamm topic create words -P 6
  klamm topic create prices -P 3 -c cleanup.policy=compact -c retention.ms=86400000
  klamm topic list
  klamm topic describe words
  klamm topic grow words -P 12
  klamm topic configure words --set retention.ms=3600000 --unset cleanup.policy
  klamm topic delete words")]
pub(super) struct Topic {
    #[command(flatten)]
    bootstrap: Bootstrap,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a topic
    Create {
        /// Its name
        name: String,
        /// How many partitions [default: the broker's num.partitions]
        #[arg(short = 'P', long, value_name = "COUNT", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
        partitions: i32,
        /// How many replicas each has [default: the broker's default.replication.factor]
        #[arg(short = 'R', long, value_name = "COUNT", default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
        replicas: i16,
        /// A setting of its own
        #[arg(short = 'c', long = "config", value_name = "KEY=VALUE")]
        configs: Vec<String>,
    },
    /// List topics
    List {
        /// Also those that brokers keep for themselves
        #[arg(long)]
        internal: bool,
    },
    /// Show a topic's partitions and settings
    Describe {
        /// Which
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// All settings, not only the topic's own
        #[arg(long)]
        all: bool,
    },
    /// Add partitions; a topic cannot lose any
    Grow {
        /// Which
        name: String,
        /// How many there shall be then
        #[arg(short = 'P', long, value_name = "COUNT")]
        partitions: i32,
    },
    /// Delete topics with all of their records
    Delete {
        /// Which
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Change a topic's settings
    Configure {
        /// Which
        name: String,
        /// Give it a value of its own
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Let the broker's default count again
        #[arg(long, value_name = "KEY")]
        unset: Vec<String>,
    },
}

impl Topic {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut admin = self.bootstrap.admin()?;
        run(async move {
            match self.action {
                Action::Create { name, partitions, replicas, configs } => create(&mut admin, name, partitions, replicas, &configs).await,
                Action::List { internal } => list(&mut admin, internal).await,
                Action::Describe { names, all } => describe(&mut admin, &names, all).await,
                Action::Grow { name, partitions } => grow(&mut admin, name, partitions).await,
                Action::Delete { names } => delete(&mut admin, names).await,
                Action::Configure { name, set, unset } => configure(&mut admin, name, &set, unset).await,
            }
        })
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`: write KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

async fn create(admin: &mut Admin, name: String, num_partitions: i32, replication_factor: i16, configs: &[String]) -> Result<(), String> {
    let configs = configs.iter().map(|text| pair(text).map(|(name, value)| CreatableTopicConfig { name, value: Some(value) }));
    let topic = CreatableTopic {
        name,
        num_partitions,
        replication_factor,
        configs: configs.collect::<Result<_, _>>()?,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, validate_only: false };
    let response = admin.ask(Request::CreateTopics(request), 7).await?;
    let Response::CreateTopics(response) = response else { return Err(unexpected(&response)) };
    for topic in response.topics {
        accept(&format!("cannot create `{}`", topic.name), topic.error_code, topic.error_message.as_deref())?;
        println!("created {} with {} partition(s), {} replica(s) each", topic.name, topic.num_partitions, topic.replication_factor);
    }
    Ok(())
}

async fn list(admin: &mut Admin, internal: bool) -> Result<(), String> {
    let metadata = admin.metadata(None).await?;
    let mut rows = vec![["TOPIC", "PARTITIONS", "REPLICAS"].map(str::to_owned).to_vec()];
    for topic in metadata.topics.iter().filter(|topic| internal || !topic.is_internal) {
        let replicas = topic.partitions.first().map_or(0, |p| p.replica_nodes.len());
        rows.push(vec![topic.name.clone().unwrap_or_default(), topic.partitions.len().to_string(), replicas.to_string()]);
    }
    if rows.len() == 1 {
        println!("no topics yet; make one with `klamm topic create NAME`");
    } else {
        rows[1..].sort();
        table(&rows);
    }
    Ok(())
}

async fn describe(admin: &mut Admin, names: &[String], all: bool) -> Result<(), String> {
    let metadata = admin.metadata(Some(names)).await?;
    for topic in &metadata.topics {
        let name = topic.name.clone().unwrap_or_default();
        accept(&format!("`{name}`"), topic.error_code, None)?;
        let id = if topic.topic_id == Uuid::ZERO { String::new() } else { format!(", id {}", topic.topic_id) };
        println!("{name}: {} partition(s){id}", topic.partitions.len());
        let mut rows = vec![["PARTITION", "LEADER", "REPLICAS", "IN SYNC"].map(str::to_owned).to_vec()];
        let ids = |ids: &[klamm_core::id::BrokerId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        for p in &topic.partitions {
            let leader = if p.error_code == ErrorCode::NONE { p.leader_id.to_string() } else { p.error_code.name().to_owned() };
            rows.push(vec![p.partition_index.to_string(), leader, ids(&p.replica_nodes), ids(&p.isr_nodes)]);
        }
        rows[1..].sort_by_key(|row| row[0].parse::<i32>().unwrap_or(0));
        table(&rows);
        let settings = settings(admin, &name).await?;
        let shown = settings.iter().filter(|s| all || s.config_source == DYNAMIC_TOPIC).collect::<Vec<_>>();
        if !shown.is_empty() {
            println!("settings:");
            shown.iter().for_each(|s| println!("  {}={}", s.name, s.value.as_deref().unwrap_or("")));
        }
    }
    Ok(())
}

async fn settings(admin: &mut Admin, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, String> {
    let resource = DescribeConfigsResource { resource_type: TOPIC, resource_name: name.to_owned(), configuration_keys: None };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let response = admin.ask(Request::DescribeConfigs(request), 4).await?;
    let Response::DescribeConfigs(response) = response else { return Err(unexpected(&response)) };
    let mut settings = Vec::new();
    for result in response.results {
        accept(&format!("settings of `{name}`"), result.error_code, result.error_message.as_deref())?;
        settings.extend(result.configs);
    }
    Ok(settings)
}

async fn grow(admin: &mut Admin, name: String, count: i32) -> Result<(), String> {
    let topic = CreatePartitionsTopic { name, count, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, validate_only: false };
    let response = admin.ask(Request::CreatePartitions(request), 3).await?;
    let Response::CreatePartitions(response) = response else { return Err(unexpected(&response)) };
    for result in response.results {
        accept(&format!("cannot grow `{}`", result.name), result.error_code, result.error_message.as_deref())?;
        println!("{} has {count} partitions", result.name);
    }
    Ok(())
}

async fn delete(admin: &mut Admin, names: Vec<String>) -> Result<(), String> {
    let topics = names.iter().map(|name| DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO }).collect();
    // Each version reads one of the two lists.
    let request = DeleteTopicsRequest { topics, topic_names: names, timeout_ms: TIMEOUT_MS };
    let response = admin.ask(Request::DeleteTopics(request), 6).await?;
    let Response::DeleteTopics(response) = response else { return Err(unexpected(&response)) };
    let mut refused = Vec::new();
    for result in response.responses {
        let name = result.name.unwrap_or_default();
        match accept(&format!("cannot delete `{name}`"), result.error_code, result.error_message.as_deref()) {
            Ok(()) => println!("deleted {name}"),
            Err(why) => refused.push(why),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.join("\n")) }
}

async fn configure(admin: &mut Admin, name: String, set: &[String], unset: Vec<String>) -> Result<(), String> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    if set.is_empty() && unset.is_empty() {
        return Err(format!(
            "nothing to change: use `--set KEY=VALUE` or `--unset KEY`; `klamm topic describe {name} --all` shows the keys"
        ));
    }
    let mut configs = Vec::new();
    for text in set {
        let (name, value) = pair(text)?;
        configs.push(AlterableConfig { name, config_operation: SET, value: Some(value) });
    }
    configs.extend(unset.into_iter().map(|name| AlterableConfig { name, config_operation: DELETE, value: None }));
    let resource = AlterConfigsResource { resource_type: TOPIC, resource_name: name, configs };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = admin.ask(Request::IncrementalAlterConfigs(request), 1).await?;
    let Response::IncrementalAlterConfigs(response) = response else { return Err(unexpected(&response)) };
    for result in response.responses {
        accept(&format!("cannot configure `{}`", result.resource_name), result.error_code, result.error_message.as_deref())?;
        println!("configured {}", result.resource_name);
    }
    Ok(())
}
