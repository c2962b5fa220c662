//! `klamm group`: list, describe with lag, reset offsets.

use super::Failure;
use super::ask::{Bootstrap, accept, run, table};
use super::time;
use clap::{Args, Subcommand};
use klamm::client::admin::{Admin, unexpected};
use klamm_core::client::TopicPartition;
use klamm_core::client::io::Address;
use klamm_core::error::ErrorCode;
use klamm_core::id::{Offset, PartitionIndex};
use klamm_core::time::Timestamp;
use klamm_core::wire::api::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use klamm_core::wire::api::list_groups::ListGroupsRequest;
use klamm_core::wire::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use klamm_core::wire::api::offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use klamm_core::wire::api::offset_fetch::OffsetFetchRequest;
use klamm_core::wire::records::consumer::ConsumerProtocolAssignment;
use klamm_core::wire::{Request, Response};
use std::collections::BTreeMap;

/// List and describe consumer groups, and move their offsets
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  klamm group list
  klamm group describe billing
  klamm group reset billing words --to earliest
  klamm group reset billing words:3 --to 1200 --dry-run
  klamm group reset billing words --to 2026-11-23T08:00:00Z

A group can be reset while it has no members.")]
pub(super) struct Group {
    #[command(flatten)]
    bootstrap: Bootstrap,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List groups
    List,
    /// Show a group's members, offsets and lag
    Describe {
        /// Which
        group: String,
    },
    /// Let a group go on from another place
    Reset {
        /// Which group
        group: String,
        /// Which topic, or one partition of it as TOPIC:PARTITION
        #[arg(value_name = "TOPIC")]
        place: String,
        /// earliest, latest, an offset, or a time like 2026-11-23T08:00:00Z
        #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
        to: String,
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

impl Group {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut admin = self.bootstrap.admin()?;
        run(async move {
            match self.action {
                Action::List => list(&mut admin).await,
                Action::Describe { group } => describe(&mut admin, &group).await,
                Action::Reset { group, place, to, dry_run } => reset(&mut admin, &group, &place, &to, dry_run).await,
            }
        })
    }
}

async fn list(admin: &mut Admin) -> Result<(), String> {
    let brokers = admin.metadata(Some(&[])).await?.brokers;
    let mut rows = vec![["GROUP", "STATE", "TYPE"].map(str::to_owned).to_vec()];
    for broker in brokers {
        let at = Address { host: broker.host, port: u16::try_from(broker.port).unwrap_or(0) };
        let response = admin.ask_at(&at, Request::ListGroups(ListGroupsRequest::default()), 5).await?;
        let Response::ListGroups(response) = response else { return Err(unexpected(&response)) };
        accept(&format!("{at}: cannot list groups"), response.error_code, None)?;
        rows.extend(response.groups.into_iter().map(|g| vec![g.group_id, g.group_state, g.protocol_type]));
    }
    rows[1..].sort();
    if rows.len() == 1 {
        println!("no groups yet; `klamm consume TOPIC --group NAME` makes one")
    } else {
        table(&rows)
    }
    Ok(())
}

/// A group's committed offsets.
async fn committed(admin: &mut Admin, at: &Address, group: &str) -> Result<BTreeMap<TopicPartition, Offset>, String> {
    let request = OffsetFetchRequest { group_id: group.to_owned(), topics: None, ..OffsetFetchRequest::default() };
    let response = admin.ask_at(at, Request::OffsetFetch(request), 7).await?;
    let Response::OffsetFetch(response) = response else { return Err(unexpected(&response)) };
    accept(&format!("offsets of `{group}`"), response.error_code, None)?;
    let all = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (&topic.name, p)));
    Ok(all
        .filter(|(_, p)| p.committed_offset.0 >= 0)
        .map(|(name, p)| (TopicPartition::new(name.as_str(), p.partition_index.0), p.committed_offset))
        .collect())
}

/// The offset of each partition at `time`, which may be one of Kafka's special ones. Asks each partition's leader.
async fn offsets_at(admin: &mut Admin, parts: &[TopicPartition], time: Timestamp) -> Result<BTreeMap<TopicPartition, Offset>, String> {
    let mut names = parts.iter().map(|part| part.topic.to_string()).collect::<Vec<_>>();
    names.dedup();
    let metadata = admin.metadata(Some(&names)).await?;
    let mut found = BTreeMap::new();
    for part in parts {
        let topic = metadata.topics.iter().find(|topic| topic.name.as_deref() == Some(&part.topic));
        let partition = topic.and_then(|topic| topic.partitions.iter().find(|p| p.partition_index == part.partition));
        let leader = partition.and_then(|p| metadata.brokers.iter().find(|broker| broker.node_id == p.leader_id));
        let Some(leader) = leader else {
            return Err(format!("{part} has no leader now, or does not exist; `klamm topic describe {}` shows it", part.topic));
        };
        let at = Address { host: leader.host.clone(), port: u16::try_from(leader.port).unwrap_or(0) };
        let partitions = vec![ListOffsetsPartition { partition_index: part.partition, timestamp: time, ..ListOffsetsPartition::default() }];
        let topics = vec![ListOffsetsTopic { name: part.topic.to_string(), partitions }];
        let request = ListOffsetsRequest { replica_id: klamm_core::id::BrokerId(-1), topics, ..ListOffsetsRequest::default() };
        let response = admin.ask_at(&at, Request::ListOffsets(request), 7).await?;
        let Response::ListOffsets(response) = response else { return Err(unexpected(&response)) };
        for answer in response.topics.iter().flat_map(|topic| &topic.partitions) {
            accept(&part.to_string(), answer.error_code, None)?;
            found.insert(part.clone(), answer.offset);
        }
    }
    Ok(found)
}

async fn group(admin: &mut Admin, at: &Address, name: &str) -> Result<DescribedGroup, String> {
    let request = DescribeGroupsRequest { groups: vec![name.to_owned()], include_authorized_operations: false };
    let response = admin.ask_at(at, Request::DescribeGroups(request), 6).await?;
    let Response::DescribeGroups(response) = response else { return Err(unexpected(&response)) };
    let group = response.groups.into_iter().next().ok_or_else(|| format!("the broker says nothing of `{name}`"))?;
    accept(&format!("`{name}`"), group.error_code, group.error_message.as_deref())?;
    Ok(group)
}

async fn describe(admin: &mut Admin, name: &str) -> Result<(), String> {
    let at = admin.coordinator(name).await?;
    let group = group(admin, &at, name).await?;
    let committed = committed(admin, &at, name).await?;
    let mut owners = BTreeMap::new();
    for member in &group.members {
        // Of another protocol than consumers', or of a member that has none yet.
        let Ok(assignment) = ConsumerProtocolAssignment::decode(member.member_assignment.clone()) else { continue };
        let who = format!("{} {}", member.member_id, member.client_host);
        for topic in &assignment.assigned_partitions {
            owners.extend(topic.partitions.iter().map(|p| (TopicPartition::new(topic.topic.as_str(), p.0), who.clone())));
        }
    }
    let parts = committed.keys().chain(owners.keys()).cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let ends = offsets_at(admin, &parts, Timestamp(-1)).await?;
    println!(
        "{name}: {}, {} member(s), assignor {}, coordinator {at}",
        group.group_state,
        group.members.len(),
        if group.protocol_data.is_empty() { "-" } else { &group.protocol_data }
    );
    let mut rows = vec![["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"].map(str::to_owned).to_vec()];
    let mut total = 0;
    for part in parts {
        let end = ends.get(&part).copied().unwrap_or(Offset::UNKNOWN);
        let lag = committed.get(&part).map(|at| end.since(*at).max(0));
        total += lag.unwrap_or(0);
        let or_dash = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
        let owner = owners.get(&part).cloned().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            part.topic.to_string(),
            part.partition.to_string(),
            or_dash(committed.get(&part).map(|o| o.0)),
            end.to_string(),
            or_dash(lag),
            owner,
        ]);
    }
    table(&rows);
    println!("lag in all: {total}");
    Ok(())
}

/// The partitions that `TOPIC` or `TOPIC:PARTITION` names.
async fn partitions(admin: &mut Admin, place: &str) -> Result<Vec<TopicPartition>, String> {
    if let Some((topic, partition)) = place.rsplit_once(':') {
        let partition = partition.parse().map_err(|_| format!("`{place}`: want TOPIC or TOPIC:PARTITION"))?;
        return Ok(vec![TopicPartition::new(topic, partition)]);
    }
    let metadata = admin.metadata(Some(&[place.to_owned()])).await?;
    let mut parts = Vec::new();
    for topic in &metadata.topics {
        accept(&format!("`{place}`"), topic.error_code, None)?;
        parts.extend(topic.partitions.iter().map(|p| TopicPartition::new(place, p.partition_index.0)));
    }
    parts.sort();
    Ok(parts)
}

async fn reset(admin: &mut Admin, name: &str, place: &str, to: &str, dry_run: bool) -> Result<(), String> {
    let at = admin.coordinator(name).await?;
    let parts = partitions(admin, place).await?;
    let (starts, ends) = (offsets_at(admin, &parts, Timestamp(-2)).await?, offsets_at(admin, &parts, Timestamp(-1)).await?);
    let wanted: BTreeMap<TopicPartition, Offset> = match to {
        "earliest" => starts,
        "latest" => ends,
        _ => match (to.parse::<i64>(), time::parse(to)) {
            // Within what there is, as Kafka's own tool does.
            (Ok(offset), _) => parts.iter().map(|part| (part.clone(), Offset(offset).clamp(starts[part], ends[part]))).collect(),
            (_, Some(time)) => {
                let found = offsets_at(admin, &parts, time).await?;
                // No record is that young: go on with what comes.
                found.into_iter().map(|(part, offset)| if offset.0 < 0 { (part.clone(), ends[&part]) } else { (part, offset) }).collect()
            }
            (_, None) => return Err(format!("`--to {to}`: want earliest, latest, an offset, or a time like 2026-11-23T08:00:00Z")),
        },
    };
    if !dry_run {
        commit(admin, &at, name, &wanted).await?;
    }
    let mut rows = vec![["TOPIC", "PARTITION", if dry_run { "WOULD GO ON AT" } else { "GOES ON AT" }].map(str::to_owned).to_vec()];
    rows.extend(wanted.iter().map(|(part, offset)| vec![part.topic.to_string(), part.partition.to_string(), offset.to_string()]));
    table(&rows);
    Ok(())
}

/// Commits as administrators do: without being a member, which only an empty group allows.
async fn commit(admin: &mut Admin, at: &Address, group: &str, offsets: &BTreeMap<TopicPartition, Offset>) -> Result<(), String> {
    let mut topics = BTreeMap::<String, Vec<(PartitionIndex, Offset)>>::new();
    for (part, offset) in offsets {
        topics.entry(part.topic.to_string()).or_default().push((part.partition, *offset));
    }
    let partition = |(partition_index, committed_offset)| OffsetCommitRequestPartition {
        partition_index,
        committed_offset,
        ..OffsetCommitRequestPartition::default()
    };
    let topics = topics.into_iter().map(|(name, parts)| OffsetCommitRequestTopic {
        name,
        partitions: parts.into_iter().map(partition).collect(),
        ..OffsetCommitRequestTopic::default()
    });
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        topics: topics.collect(),
        ..OffsetCommitRequest::default()
    };
    let response = admin.ask_at(at, Request::OffsetCommit(request), 8).await?;
    let Response::OffsetCommit(response) = response else { return Err(unexpected(&response)) };
    for answer in response.topics.iter().flat_map(|topic| &topic.partitions).filter(|answer| answer.error_code != ErrorCode::NONE) {
        accept(&format!("cannot reset `{group}`"), answer.error_code, None)?;
    }
    Ok(())
}
