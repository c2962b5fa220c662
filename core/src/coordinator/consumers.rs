//! Requests of the consumer group protocol (KIP-848): heartbeat and describe. Translates, finds the group, and says what must be safe; the group decides.

use super::admin::ALL_OPERATIONS;
use super::consumer::{self, Beat, Beaten, Change, Leave, Member, Parts, Refused, parts};
use super::group::MemberId;
use super::held::Body;
use super::kept::{AnyGroup, Kept};
use super::records::Event;
use super::{Caller, Coordinator, Mark, Slot, Topics};
use crate::error::ErrorCode;
use crate::id::{PartitionIndex, Uuid};
use crate::probe;
use crate::time::Now;
use crate::wire::api::consumer_group_describe as describe;
use crate::wire::api::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use rand::Rng as _;

/// Member epochs that are no epochs.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_A_WHILE: i32 = -2;
/// From this version on members make their ids themselves.
const VERSION_OF_OWN_IDS: i16 = 1;
/// `MemberType` of a member that speaks this protocol.
const CONSUMER_MEMBER: i8 = 1;

impl Coordinator {
    /// `ConsumerGroupHeartbeat`
    pub fn consumer_heartbeat(&mut self, now: Now, caller: Caller, body: ConsumerGroupHeartbeatRequest, topics: &dyn Topics) {
        let token = caller.token;
        let outcome = self.validate_beat(caller.version, &body).and_then(|at| match body.member_epoch {
            LEAVE | LEAVE_FOR_A_WHILE => self.leave_consumers(now, at, body, topics).map(|answer| (at, answer)),
            _ => self.beat(now, at, caller, body, topics).map(|answer| (at, answer)),
        });
        match outcome {
            // It may show what another request has planned, and so waits for the newest append that touched the group.
            Ok((at, (group, answer))) => {
                let touched = self.shard(at).touched(&group);
                self.hold(now, token, Body::Beat(answer), [(at, touched)]);
            }
            Err(Refused { error: error_code, words }) => {
                let answer = ConsumerGroupHeartbeatResponse { error_code, error_message: Some(words), ..Default::default() };
                self.reply(token, answer.into());
            }
        }
    }

    /// Kafka's `throwIfConsumerGroupHeartbeatRequestIsInvalid`, and whether the group can answer.
    fn validate_beat(&self, version: i16, body: &ConsumerGroupHeartbeatRequest) -> Result<PartitionIndex, Refused> {
        validate(version, body)?;
        if let Some(name) = body.server_assignor.as_deref()
            && !self.config.assignors.iter().any(|assignor| assignor.name() == name)
        {
            let names: Vec<&str> = self.config.assignors.iter().map(|assignor| assignor.name()).collect();
            let words = format!("ServerAssignor {name} is not supported. Supported assignors: {}.", names.join(", "));
            return Err(Refused::new(ErrorCode::UNSUPPORTED_ASSIGNOR, words));
        }
        self.ready(&body.group_id).map_err(|error| Refused::new(error, error.message()))
    }

    fn beat(
        &mut self,
        now: Now,
        at: PartitionIndex,
        caller: Caller,
        body: ConsumerGroupHeartbeatRequest,
        topics: &dyn Topics,
    ) -> Result<(String, ConsumerGroupHeartbeatResponse), Refused> {
        let group_id = body.group_id.clone();
        let beat = self.read_beat(caller, body);
        let turn = consumer::Turn { now, config: &self.config, topics, topics_version: self.topics_version };
        let mut events = Vec::new();
        let (changes, beaten) = match self.kept(at, &group_id) {
            Some(Kept { group: AnyGroup::Consumer(group), .. }) => group.plan_heartbeat(&beat, turn)?,
            Some(kept) if beat.epoch == JOIN && kept.group.is_empty() => {
                probe!("a group without members became a consumer group");
                events.push(Event::Group { group: group_id.clone(), value: None });
                consumer::Group::default().plan_heartbeat(&beat, turn)?
            }
            None if beat.epoch == JOIN => consumer::Group::default().plan_heartbeat(&beat, turn)?,
            Some(_) => return Err(is_no_consumer_group(&group_id)),
            None => return Err(is_not_there(&group_id)),
        };
        let has_moved = changes.iter().any(|change| matches!(change, Change::Current(..)));
        events.extend(consumer_events(&group_id, changes));
        self.write(now, at, &events);
        let turn = (now, topics);
        self.on_consumers(turn, at, &group_id, |group, turn| group.beaten(&beaten.member, has_moved, turn));
        Ok((group_id, self.told(beaten)))
    }

    fn leave_consumers(
        &mut self,
        now: Now,
        at: PartitionIndex,
        body: ConsumerGroupHeartbeatRequest,
        topics: &dyn Topics,
    ) -> Result<(String, ConsumerGroupHeartbeatResponse), Refused> {
        let ConsumerGroupHeartbeatRequest { group_id, member_id, member_epoch, instance_id, .. } = body;
        let turn = consumer::Turn { now, config: &self.config, topics, topics_version: self.topics_version };
        let leave = Leave { member: MemberId::new(&member_id), instance: instance_id, for_a_while: member_epoch == LEAVE_FOR_A_WHILE };
        let changes = match self.kept(at, &group_id) {
            Some(Kept { group: AnyGroup::Consumer(group), .. }) => group.plan_leave(&leave, turn)?,
            Some(_) => return Err(is_no_consumer_group(&group_id)),
            None => return Err(is_not_there(&group_id)),
        };
        self.write(now, at, &consumer_events(&group_id, changes));
        self.on_consumers((now, topics), at, &group_id, |_, _| ());
        let answer = ConsumerGroupHeartbeatResponse { member_id: Some(member_id), member_epoch, ..Default::default() };
        Ok((group_id, answer))
    }

    /// Takes out the members whose sessions are over, or who did not give up in time what they had to.
    pub(super) fn remove_overdue(&mut self, now: Now, at: PartitionIndex, group: &str, topics: &dyn Topics) {
        let changes = self.on_consumers((now, topics), at, group, |group, turn| {
            let over = group.overdue(now.at);
            group.plan_removal(&over, turn)
        });
        self.write(now, at, &consumer_events(group, changes));
        self.on_consumers((now, topics), at, group, |_, _| ());
    }

    /// Calls a consumer group that is there; what it needs of time is noted.
    fn on_consumers<T>(
        &mut self,
        (now, topics): (Now, &dyn Topics),
        at: PartitionIndex,
        id: &str,
        call: impl FnOnce(&mut consumer::Group, consumer::Turn<'_>) -> T,
    ) -> T {
        let Some(Slot::Active(shard)) = self.slots.get_mut(&at) else { unreachable!("asked only after `ready`") };
        let kept = shard.groups.get_mut(id).expect("the caller found it");
        let AnyGroup::Consumer(group) = &mut kept.group else { unreachable!("the caller found a consumer group") };
        let turn = consumer::Turn { now, config: &self.config, topics, topics_version: self.topics_version };
        let result = call(group, turn);
        group.check();
        self.schedule(at, id);
        result
    }

    /// Topics have come, gone or grown: each group looks at its own when it next hears of a member.
    pub fn topics_changed(&mut self) {
        self.topics_version += 1;
    }

    fn read_beat(&mut self, caller: Caller, body: ConsumerGroupHeartbeatRequest) -> Beat {
        // Kafka gives such a member a random id in its own text form.
        let id = if body.member_id.is_empty() { Uuid(self.rng.random()).to_string() } else { body.member_id };
        Beat {
            member: MemberId::new(&id),
            epoch: body.member_epoch,
            instance: body.instance_id,
            rack: body.rack_id,
            rebalance_ms: Some(body.rebalance_timeout_ms).filter(|ms| *ms != -1),
            topics: body.subscribed_topic_names.map(|names| names.into_iter().collect()),
            assignor: body.server_assignor,
            owned: body.topic_partitions.map(read_parts),
            client: caller.client,
        }
    }

    fn told(&self, beaten: Beaten) -> ConsumerGroupHeartbeatResponse {
        let topic = |(topic_id, partitions): (Uuid, std::collections::BTreeSet<PartitionIndex>)| TopicPartitions {
            topic_id,
            partitions: partitions.into_iter().collect(),
        };
        let assignment = |parts: Parts| Assignment { topic_partitions: parts.into_iter().map(topic).collect() };
        ConsumerGroupHeartbeatResponse {
            member_id: Some(beaten.member.to_string()),
            member_epoch: beaten.epoch,
            heartbeat_interval_ms: self.config.consumer_heartbeat_ms,
            assignment: beaten.assignment.map(assignment),
            ..Default::default()
        }
    }

    /// `ConsumerGroupDescribe`
    pub fn describe_consumers(&mut self, now: Now, caller: &Caller, body: describe::ConsumerGroupDescribeRequest, topics: &dyn Topics) {
        let mut needs: Vec<(PartitionIndex, Mark)> = Vec::new();
        let mut groups = Vec::new();
        for group_id in body.group_ids {
            let found = self.ready(&group_id);
            needs.extend(found.ok().map(|at| (at, self.shard(at).touched(&group_id))));
            let described = match found.map(|at| self.kept(at, &group_id)) {
                Ok(Some(Kept { group: AnyGroup::Consumer(group), .. })) => Ok(self.describe_one(group, topics)),
                Ok(Some(_)) => Err(is_no_consumer_group(&group_id)),
                Ok(None) => Err(is_not_there(&group_id)),
                Err(error) => Err(Refused::new(error, error.message())),
            };
            groups.push(match described {
                Ok(group) if body.include_authorized_operations => {
                    describe::DescribedGroup { group_id, authorized_operations: ALL_OPERATIONS, ..group }
                }
                Ok(group) => describe::DescribedGroup { group_id, ..group },
                Err(Refused { error: error_code, words }) => {
                    describe::DescribedGroup { group_id, error_code, error_message: Some(words), ..Default::default() }
                }
            });
        }
        let answer = describe::ConsumerGroupDescribeResponse { groups, ..Default::default() };
        self.hold(now, caller.token, Body::DescribeConsumers(answer), needs);
    }

    fn describe_one(&self, group: &consumer::Group, topics: &dyn Topics) -> describe::DescribedGroup {
        let member = |(id, member): (&MemberId, &Member)| {
            let subscription = &member.subscription;
            describe::Member {
                member_id: id.to_string(),
                instance_id: subscription.instance.clone(),
                rack_id: subscription.rack.clone(),
                member_epoch: member.current.epoch,
                client_id: subscription.client.id.clone(),
                client_host: subscription.client.host.clone(),
                subscribed_topic_names: subscription.topics.iter().cloned().collect(),
                subscribed_topic_regex: None,
                assignment: described(&parts(&member.current.assigned), topics),
                target_assignment: group.target(&id.0).map_or_else(Default::default, |target| described(target, topics)),
                member_type: CONSUMER_MEMBER,
            }
        };
        describe::DescribedGroup {
            group_state: group.state().name().to_owned(),
            group_epoch: group.epoch(),
            assignment_epoch: group.assignment_epoch(),
            assignor_name: group.assignor(&self.config).name().to_owned(),
            members: group.members().iter().map(member).collect(),
            ..Default::default()
        }
    }
}

/// The changes of a group, as events.
pub(super) fn consumer_events(group: &str, changes: Vec<Change>) -> Vec<Event> {
    changes.into_iter().map(|change| Event::Consumer { group: group.to_owned(), change }).collect()
}

/// The records that end a group without members.
pub(super) fn tombstones(group: &str, kept: &Kept) -> Vec<Event> {
    match &kept.group {
        AnyGroup::Classic(_) => vec![Event::Group { group: group.to_owned(), value: None }],
        AnyGroup::Consumer(consumers) => consumer_events(group, consumers.tombstones()),
    }
}

fn validate(version: i16, body: &ConsumerGroupHeartbeatRequest) -> Result<(), Refused> {
    let invalid = |words: &str| Err(Refused::new(ErrorCode::INVALID_REQUEST, words));
    let is_empty = |text: &Option<String>| text.as_deref().is_some_and(|text| text.trim().is_empty());
    let epoch = body.member_epoch;
    if body.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&body.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&body.rack_id) {
        return invalid("RackId can't be empty.");
    }
    if (version >= VERSION_OF_OWN_IDS || epoch != JOIN) && body.member_id.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if epoch < LEAVE_FOR_A_WHILE {
        return invalid("MemberEpoch is invalid.");
    }
    if epoch == LEAVE_FOR_A_WHILE && body.instance_id.is_none() {
        return invalid("InstanceId can't be null.");
    }
    // An empty expression is that of a member that subscribes by names.
    if body.subscribed_topic_regex.as_deref().is_some_and(|regex| !regex.is_empty()) {
        return invalid("SubscribedTopicRegex is not supported yet.");
    }
    if epoch != JOIN {
        return Ok(());
    }
    if body.rebalance_timeout_ms == -1 {
        return invalid("RebalanceTimeoutMs must be provided in first request.");
    }
    if body.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return invalid("TopicPartitions must be empty when (re-)joining.");
    }
    if body.subscribed_topic_names.is_none() {
        return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
    }
    Ok(())
}

fn is_no_consumer_group(group: &str) -> Refused {
    Refused::new(ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {group} is not a consumer group."))
}

fn is_not_there(group: &str) -> Refused {
    Refused::new(ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {group} not found."))
}

fn read_parts(topics: Vec<TopicPartitions>) -> Parts {
    let mut parts = Parts::new();
    for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        parts.entry(topic.topic_id).or_default().extend(topic.partitions);
    }
    parts
}

/// Partitions with the names of their topics. What is of a topic that is gone is left out, as Kafka does.
fn described(parts: &Parts, topics: &dyn Topics) -> describe::Assignment {
    let topic = |(id, indexes): (&Uuid, &std::collections::BTreeSet<PartitionIndex>)| {
        let (name, _) = topics.by_id(*id)?;
        let partitions = indexes.iter().copied().collect();
        Some(describe::TopicPartitions { topic_id: *id, topic_name: name.to_owned(), partitions })
    };
    describe::Assignment { topic_partitions: parts.iter().filter_map(topic).collect() }
}
