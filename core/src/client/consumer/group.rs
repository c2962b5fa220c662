//! The consumer's dealings with its group's coordinator: finds it, keeps the membership going, commits offsets and asks for committed ones.
//!
//! A rebalance never takes partitions from under an application that is busy with their records: it waits for the next `Poll`, at most for
//! `max.poll.interval.ms`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::member::{Member, Phase, Verdict};
use super::part::{Part, Place};
use super::{Consumer, Event, GroupConfig, Isolation, Note};
use crate::client::io::Address;
use crate::client::links::Peer;
use crate::client::producer::Token;
use crate::client::versions::{Api, Versions};
use crate::client::{Topic, TopicPartition};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex};
use crate::probe;
use crate::time::Instant;
use crate::wire::api::find_coordinator::FindCoordinatorRequest;
use crate::wire::api::offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse};
use crate::wire::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse};
use crate::wire::{Request, Response};

/// What the coordinator was asked.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Coordinator,
    Join,
    Sync { generation: i32 },
    Heartbeat { generation: i32 },
    Leave,
    Commit,
    Committed { parts: BTreeSet<TopicPartition> },
}

#[derive(Clone, Copy, Debug)]
enum Coordinator {
    Unknown { from: Instant, failures: u32 },
    Asked { failures: u32 },
    Known(BrokerId),
}

/// Offsets to be committed. The first of the queue is under way.
#[derive(Clone, Debug)]
struct Commit {
    /// `None`: an automatic one.
    token: Option<Token>,
    /// Asked for while the partitions were chosen by hand. What a member asked for does not outlive its membership.
    by_hand: bool,
    offsets: BTreeMap<TopicPartition, Offset>,
    from: Instant,
    until: Instant,
    failures: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    member: Member,
    coordinator: Coordinator,
    commits: VecDeque<Commit>,
    committing: bool,
    auto_at: Instant,
    /// The automatic commit before a rebalance is done, or under way.
    prepared: bool,
}

impl Group {
    pub(super) fn new(config: GroupConfig) -> Self {
        Self {
            member: Member::new(config),
            coordinator: Coordinator::Unknown { from: Instant::default(), failures: 0 },
            commits: VecDeque::new(),
            committing: false,
            auto_at: Instant::default(),
            prepared: false,
        }
    }

    pub(super) fn membership(&self) -> Option<(&str, i32)> {
        self.member.is_in().then_some((self.member.id.as_str(), self.member.generation))
    }

    /// Whether the application chooses its partitions itself. Who subscribed and was turned away is no member, and does not.
    fn by_hand(&self) -> bool {
        matches!(self.member.phase, Phase::Out) && self.member.topics.is_empty()
    }

    /// Whether nothing is left to be said to the coordinator.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.member.phase, Phase::Out) && self.commits.is_empty()
    }

    pub(super) fn deadlines(&self, busy: Option<Instant>, waiting: bool) -> impl Iterator<Item = (Instant, &'static str)> {
        let phase = match &self.member.phase {
            Phase::Unjoined { from } => Some((*from, "join the group again")),
            Phase::Leaving { until, .. } => Some((*until, "leave without an answer")),
            Phase::Stable => self.member.ask_again.map(|at| (at, "ask for what was withheld")),
            Phase::Out | Phase::Joining | Phase::Leading { .. } | Phase::Syncing | Phase::Given { .. } => None,
        };
        let coordinator = match self.coordinator {
            Coordinator::Unknown { from, .. } => Some((from, "look for the coordinator again")),
            Coordinator::Asked { .. } | Coordinator::Known(_) => None,
        };
        let beat = self.member.is_in().then_some((self.member.heartbeat_at, "heartbeat"));
        let auto = self.member.config.auto_commit.is_some() && !waiting_for_nothing(&self.member);
        let auto = auto.then_some((self.auto_at, "commit automatically"));
        let commit = self.commits.front().into_iter().flat_map(|c| [(c.from, "commit again"), (c.until, "give a commit up")]);
        let late =
            busy.filter(|_| !waiting).map(|since| (since.after(self.member.config.max_poll_interval), "the application takes too long"));
        phase.into_iter().chain(coordinator).chain(beat).chain(auto).chain(commit).chain(late)
    }

    /// Whether somebody waits for the coordinator.
    fn needs_coordinator(&self, parts: &BTreeMap<TopicPartition, Part>) -> bool {
        let placing = parts.values().any(|part| matches!(part.place, Place::Committed { .. }));
        placing || !self.commits.is_empty() || !matches!(self.member.phase, Phase::Out)
    }
}

/// A member without partitions has nothing to commit.
fn waiting_for_nothing(member: &Member) -> bool {
    matches!(member.phase, Phase::Leaving { .. })
}

impl Consumer {
    pub(super) fn subscribe(&mut self, now: Instant, topics: BTreeSet<Topic>) {
        let Some(group) = &mut self.group else {
            self.events.push_back(Event::Refused { error: ErrorCode::INVALID_GROUP_ID });
            return;
        };
        if topics.is_empty() {
            return self.leave(now);
        }
        group.member.topics.clone_from(&topics);
        if matches!(group.member.phase, Phase::Out) {
            // What was assigned by hand is not the group's.
            self.parts.clear();
        }
        group.member.subscribed(now);
        self.cluster.want_only(&topics);
    }

    /// Partitions are assigned by hand from now on.
    pub(super) fn forget_subscription(&mut self, now: Instant) {
        let Some(group) = &mut self.group else { return };
        if !matches!(group.member.phase, Phase::Out) {
            self.leave(now);
        }
    }

    /// Leaves for good.
    pub(super) fn leave(&mut self, now: Instant) {
        if let Some(group) = &mut self.group {
            group.member.topics.clear();
        }
        self.begin_leaving(now);
    }

    /// Commits if that is automatic, gives everything up, and leaves.
    fn begin_leaving(&mut self, now: Instant) {
        let until = now.after(self.config.common.request_timeout);
        self.commit_automatically(now);
        let Some(group) = &mut self.group else { return };
        if matches!(group.member.phase, Phase::Out) {
            return;
        }
        group.member.phase = Phase::Leaving { until, asked: false };
        let parts = std::mem::take(&mut group.member.owned);
        self.drop_parts(parts, |parts| Event::Revoked { parts });
    }

    fn drop_parts(&mut self, parts: BTreeSet<TopicPartition>, tell: impl Fn(BTreeSet<TopicPartition>) -> Event) {
        self.parts.retain(|part, _| !parts.contains(part));
        if !parts.is_empty() {
            self.events.push_back(tell(parts));
        }
    }

    pub(super) fn commit(&mut self, now: Instant, token: Token, offsets: Option<BTreeMap<TopicPartition, Offset>>) {
        let delivered = || self.parts.iter().filter_map(|(part, state)| Some((part.clone(), state.delivered?))).collect();
        let offsets = offsets.unwrap_or_else(delivered);
        let until = now.after(self.config.common.request_timeout * 2);
        match &mut self.group {
            None => self.events.push_back(Event::Committed { token, outcome: Err(ErrorCode::INVALID_GROUP_ID) }),
            Some(_) if offsets.is_empty() => self.events.push_back(Event::Committed { token, outcome: Ok(()) }),
            Some(group) => {
                let by_hand = group.by_hand();
                group.commits.push_back(Commit { token: Some(token), by_hand, offsets, from: now, until, failures: 0 });
            }
        }
    }

    /// Queues a commit of everything that the application is done with, if that is automatic.
    fn commit_automatically(&mut self, now: Instant) {
        let Some(group) = &mut self.group else { return };
        let Some(interval) = group.member.config.auto_commit else { return };
        group.auto_at = now.after(interval);
        let dirty = self.parts.iter().filter(|(_, state)| state.processed != state.committed);
        let offsets: BTreeMap<TopicPartition, Offset> = dirty.filter_map(|(part, state)| Some((part.clone(), state.processed?))).collect();
        // A newer one says more than an older one that has not been sent.
        let sent = usize::from(group.committing);
        let mut at = 0;
        group.commits.retain(|commit| {
            at += 1;
            at <= sent || commit.token.is_some()
        });
        if !offsets.is_empty() {
            let until = now.after(self.config.common.request_timeout);
            let by_hand = group.by_hand();
            group.commits.push_back(Commit { token: None, by_hand, offsets, from: now, until, failures: 0 });
        }
    }

    /// Everything there is to say to the coordinator now.
    pub(super) fn drive_group(&mut self, now: Instant) {
        let Some(group) = &mut self.group else { return };
        if let (Some(since), Phase::Stable | Phase::Unjoined { .. } | Phase::Given { .. }) = (self.busy, &group.member.phase)
            && group.member.is_in()
            && since.after(group.member.config.max_poll_interval) <= now
        {
            probe!("consumer: the application took too long, the group is left");
            self.leave_for_idleness(now);
        }
        let Some(group) = &mut self.group else { return };
        if group.auto_at <= now && matches!(group.member.phase, Phase::Out | Phase::Stable) && !self.parts.is_empty() {
            self.commit_automatically(now);
        }
        self.give_up_late(now);
        self.advance(now);
        let Some(group) = &mut self.group else { return };
        if !group.needs_coordinator(&self.parts) {
            return;
        }
        match group.coordinator {
            Coordinator::Known(broker) => self.talk(now, Peer::Coordinator(broker)),
            Coordinator::Unknown { from, failures } if from <= now => self.look_for_coordinator(now, failures),
            Coordinator::Unknown { .. } | Coordinator::Asked { .. } => {}
        }
    }

    fn leave_for_idleness(&mut self, now: Instant) {
        let Some(group) = &mut self.group else { return };
        let until = now.after(self.config.common.request_timeout);
        group.member.phase = Phase::Leaving { until, asked: false };
        let parts = std::mem::take(&mut group.member.owned);
        self.drop_parts(parts, |parts| Event::Lost { parts });
    }

    /// Ends what has waited too long for a coordinator.
    fn give_up_late(&mut self, now: Instant) {
        let Some(group) = &mut self.group else { return };
        while let Some(commit) = group.commits.front().filter(|commit| commit.until <= now && !group.committing) {
            if let Some(token) = commit.token {
                self.events.push_back(Event::Committed { token, outcome: Err(ErrorCode::REQUEST_TIMED_OUT) });
            }
            group.commits.pop_front();
        }
        if let Phase::Leaving { until, .. } = group.member.phase
            && until <= now
        {
            group.member.left(now);
        }
    }

    /// Steps of the membership that need no coordinator: taking what was given, giving up what must be.
    fn advance(&mut self, now: Instant) {
        let Some(group) = &mut self.group else { return };
        // An application that is busy with records keeps their partitions until it asks for more.
        if self.busy.is_some() {
            return;
        }
        if matches!(group.member.phase, Phase::Given { .. }) {
            let (given_up, added) = group.member.apply(now);
            group.prepared = false;
            if !given_up.is_empty() {
                self.commit_automatically(now);
            }
            self.drop_parts(given_up, |parts| Event::Revoked { parts });
            for part in &added {
                self.add_part(part.clone());
            }
            self.events.push_back(Event::Assigned { parts: added });
        }
    }

    fn look_for_coordinator(&mut self, now: Instant, failures: u32) {
        let Some(peer) = self.cluster.anyone(now) else { return };
        let Some(group) = &mut self.group else { return };
        let Some(Ok(version)) = self.cluster.ready(now, peer, Versions::FIND_COORDINATOR) else { return };
        let request = FindCoordinatorRequest { key: group.member.config.id.clone(), ..Default::default() };
        group.coordinator = Coordinator::Asked { failures };
        self.cluster.send(now, peer, version, Request::FindCoordinator(request), Duration::ZERO, Note::Group(Ask::Coordinator));
    }

    /// Sends what is due to the coordinator.
    fn talk(&mut self, now: Instant, peer: Peer) {
        self.send_commit(now, peer);
        self.ask_committed(now, peer);
        self.keep_membership(now, peer);
        self.beat(now, peer);
    }

    fn tell(&mut self, now: Instant, peer: Peer, api: Api, ask: Ask, extra: Duration, request: impl FnOnce(&mut Group) -> Request) -> bool {
        let Some(Ok(version)) = self.cluster.ready(now, peer, api) else { return false };
        let Some(group) = &mut self.group else { return false };
        let request = request(group);
        self.cluster.send(now, peer, version, request, extra, Note::Group(ask));
        true
    }

    fn send_commit(&mut self, now: Instant, peer: Peer) {
        let Some(group) = &self.group else { return };
        // Whoever is no member has nothing to say about the group's offsets. All of that ends at once: no input would come back to the rest.
        let is_void = |group: &Group| !group.committing && !group.member.is_in() && group.commits.front().is_some_and(|c| !c.by_hand);
        if is_void(group) {
            while self.group.as_ref().is_some_and(is_void) {
                self.commit_failed(ErrorCode::UNKNOWN_MEMBER_ID);
            }
            return self.send_commit(now, peer);
        }
        let Some(commit) = group.commits.front().filter(|commit| !group.committing && commit.from <= now) else { return };
        let by_hand = commit.by_hand;
        let request = commit_request(&group.member, by_hand, &commit.offsets);
        let sent = self.tell(now, peer, Versions::OFFSET_COMMIT, Ask::Commit, Duration::ZERO, |_| Request::OffsetCommit(request));
        if let Some(group) = &mut self.group {
            group.committing |= sent;
        }
    }

    fn commit_failed(&mut self, error: ErrorCode) {
        let Some(group) = &mut self.group else { return };
        group.committing = false;
        if let Some(Commit { token: Some(token), .. }) = group.commits.pop_front() {
            self.events.push_back(Event::Committed { token, outcome: Err(error) });
        }
    }

    fn commit_answered(&mut self, now: Instant, response: Option<&OffsetCommitResponse>) {
        let partitions = response.into_iter().flat_map(|response| &response.topics).flat_map(|topic| &topic.partitions);
        let error = partitions.map(|partition| partition.error_code).find(|error| *error != ErrorCode::NONE);
        let error = if response.is_none() { Some(ErrorCode::NETWORK_EXCEPTION) } else { error };
        let Some(group) = &mut self.group else { return };
        let Some(commit) = group.commits.front_mut().filter(|_| group.committing) else { return };
        group.committing = false;
        match error {
            None => {
                let commit = group.commits.pop_front().expect("it is the first");
                for (part, offset) in commit.offsets {
                    if let Some(state) = self.parts.get_mut(&part) {
                        state.committed = Some(offset);
                    }
                }
                if let Some(token) = commit.token {
                    self.events.push_back(Event::Committed { token, outcome: Ok(()) });
                }
            }
            Some(error) if error.is_retriable() => {
                commit.failures += 1;
                commit.from = now.after(self.config.common.retry_backoff.after(commit.failures, self.cluster.rng()));
                if error != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
                    self.lose_coordinator(now);
                }
            }
            Some(error) => {
                // The membership may be over: ask at once.
                group.member.heartbeat_at = now;
                self.commit_failed(error);
            }
        }
    }

    fn ask_committed(&mut self, now: Instant, peer: Peer) {
        let ripe = |state: &Part| matches!(state.place, Place::Committed { asked: false, from } if from <= now);
        let parts: BTreeSet<TopicPartition> = self.parts.iter().filter(|(_, state)| ripe(state)).map(|(part, _)| part.clone()).collect();
        // Offsets that are being committed must be seen by whoever asks for them.
        if parts.is_empty() || self.group.as_ref().is_some_and(|group| !group.commits.is_empty()) {
            return;
        }
        let mut topics: Vec<OffsetFetchRequestTopic> = Vec::new();
        for part in &parts {
            if topics.last().is_none_or(|topic| *topic.name != *part.topic) {
                topics.push(OffsetFetchRequestTopic { name: part.topic.to_string(), ..Default::default() });
            }
            topics.last_mut().expect("one was just pushed").partition_indexes.push(part.partition);
        }
        let require_stable = self.config.isolation == Isolation::ReadCommitted;
        let ask = Ask::Committed { parts: parts.clone() };
        let sent = self.tell(now, peer, Versions::OFFSET_FETCH, ask, Duration::ZERO, |group| {
            let group_id = group.member.config.id.clone();
            Request::OffsetFetch(OffsetFetchRequest { group_id, topics: Some(topics), require_stable, ..Default::default() })
        });
        for part in parts.iter().filter(|_| sent) {
            self.parts.get_mut(part).expect("it is assigned").place = Place::Committed { asked: true, from: now };
        }
    }

    fn committed_answered(&mut self, now: Instant, parts: BTreeSet<TopicPartition>, response: Option<&OffsetFetchResponse>) {
        let whole = response.map_or(ErrorCode::NETWORK_EXCEPTION, |response| response.error_code);
        let mut answers: BTreeMap<TopicPartition, (ErrorCode, Offset)> = BTreeMap::new();
        for topic in response.into_iter().flat_map(|response| &response.topics) {
            let part = |number: PartitionIndex| TopicPartition { topic: topic.name.as_str().into(), partition: number };
            answers.extend(topic.partitions.iter().map(|p| (part(p.partition_index), (p.error_code, p.committed_offset))));
        }
        for part in parts {
            let answer = answers.get(&part).copied().filter(|_| whole == ErrorCode::NONE);
            self.committed_one(now, &part, answer);
        }
        if matches!(whole, ErrorCode::NETWORK_EXCEPTION | ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE) {
            self.lose_coordinator(now);
        }
    }

    fn committed_one(&mut self, now: Instant, part: &TopicPartition, answer: Option<(ErrorCode, Offset)>) {
        let Some(state) = self.parts.get_mut(part) else { return };
        if !matches!(state.place, Place::Committed { asked: true, .. }) {
            return;
        }
        match answer {
            Some((ErrorCode::NONE, offset)) if offset >= Offset::ZERO => {
                state.go(Place::At { next: offset });
                state.committed = Some(offset);
            }
            Some((ErrorCode::NONE, _)) => self.reset(part),
            Some(_) | None => {
                let from = now.after(self.config.common.retry_backoff.after(1, self.cluster.rng()));
                state.place = Place::Committed { asked: false, from };
            }
        }
    }

    /// The steps of a rebalance that the coordinator must hear of.
    fn keep_membership(&mut self, now: Instant, peer: Peer) {
        let Some(group) = &mut self.group else { return };
        match &group.member.phase {
            Phase::Unjoined { from } if *from <= now => self.join(now, peer),
            Phase::Leading { .. } => self.assign_and_sync(now, peer),
            Phase::Leaving { asked: false, until } => {
                let until = *until;
                if group.committing || !group.commits.is_empty() {
                    return;
                }
                let Some(request) = group.member.leave() else { return group.member.left(now) };
                if self.tell(now, peer, Versions::LEAVE_GROUP, Ask::Leave, Duration::ZERO, |_| Request::LeaveGroup(request))
                    && let Some(group) = &mut self.group
                {
                    group.member.phase = Phase::Leaving { until, asked: true };
                }
            }
            Phase::Stable => {
                let metadata = self.cluster.metadata();
                let count = |topic: &Topic| metadata.topic(topic).map(|info| u32::try_from(info.partitions.len()).unwrap_or(u32::MAX));
                let outdated = group.member.is_outdated(count);
                if outdated {
                    probe!("member: the leader sees that topics have changed");
                }
                let waited = group.member.has_waited_enough(now);
                if waited {
                    probe!("member: the leader asks again for what it withheld");
                }
                if outdated || waited {
                    group.member.rejoin(now);
                    self.join(now, peer);
                }
            }
            Phase::Out | Phase::Unjoined { .. } | Phase::Joining | Phase::Syncing | Phase::Given { .. } | Phase::Leaving { .. } => {}
        }
    }

    /// Commits, gives up what must be given up, and joins.
    fn join(&mut self, now: Instant, peer: Peer) {
        let Some(group) = &mut self.group else { return };
        if self.busy.is_some() {
            return;
        }
        if !group.prepared && group.member.is_in() {
            group.prepared = true;
            self.commit_automatically(now);
            self.send_commit(now, peer);
        }
        let Some(group) = &mut self.group else { return };
        if group.member.is_in() && group.commits.iter().any(|commit| commit.token.is_none()) {
            return;
        }
        let given_up = group.member.to_give_up();
        group.member.owned.retain(|part| !given_up.contains(part));
        self.drop_parts(given_up, |parts| Event::Revoked { parts });
        let Some(group) = &mut self.group else { return };
        let (wait, phase) = (group.member.config.max_poll_interval, group.member.phase.clone());
        if !self.tell(now, peer, Versions::JOIN_GROUP, Ask::Join, wait, |group| Request::JoinGroup(group.member.join()))
            && let Some(group) = &mut self.group
        {
            group.member.phase = phase;
        }
    }

    /// The leader needs to know every topic that anyone wants; then it assigns. Others just ask.
    fn assign_and_sync(&mut self, now: Instant, peer: Peer) {
        let Some(group) = &self.group else { return };
        let wanted = group.member.topics_to_assign();
        let all: BTreeSet<Topic> = wanted.union(&group.member.topics).cloned().collect();
        let generation = group.member.generation;
        self.cluster.want_only(&all);
        let metadata = self.cluster.metadata();
        if wanted.iter().any(|topic| metadata.topic(topic).is_none() && metadata.trouble(topic).is_none()) {
            return;
        }
        let count = |topic: &Topic| Some((Topic::clone(topic), u32::try_from(metadata.topic(topic)?.partitions.len()).ok()?));
        let counts: BTreeMap<Topic, u32> = wanted.iter().filter_map(count).collect();
        let wait = group.member.config.max_poll_interval;
        self.tell(now, peer, Versions::SYNC_GROUP, Ask::Sync { generation }, wait, |group| Request::SyncGroup(group.member.sync(counts)));
    }

    fn beat(&mut self, now: Instant, peer: Peer) {
        let Some(group) = &self.group else { return };
        let member = &group.member;
        let lives = matches!(member.phase, Phase::Stable | Phase::Given { .. } | Phase::Unjoined { .. } | Phase::Leading { .. });
        if !member.is_in() || !lives || member.beating || member.heartbeat_at > now {
            return;
        }
        let ask = Ask::Heartbeat { generation: member.generation };
        self.tell(now, peer, Versions::HEARTBEAT, ask, Duration::ZERO, |group| Request::Heartbeat(group.member.heartbeat()));
    }

    pub(super) fn group_answered(&mut self, now: Instant, ask: Ask, response: Option<&Response>) {
        let Some(group) = &mut self.group else { return };
        let pause = now.after(self.config.common.retry_backoff.after(group.member.failures() + 1, self.cluster.rng()));
        let lost = ErrorCode::NETWORK_EXCEPTION;
        let verdict = match (ask, response) {
            (Ask::Coordinator, response) => return self.coordinator_answered(now, response),
            (Ask::Commit, Some(Response::OffsetCommit(response))) => return self.commit_answered(now, Some(response)),
            (Ask::Commit, _) => return self.commit_answered(now, None),
            (Ask::Committed { parts }, Some(Response::OffsetFetch(response))) => {
                return self.committed_answered(now, parts, Some(response));
            }
            (Ask::Committed { parts }, _) => return self.committed_answered(now, parts, None),
            (Ask::Leave, _) => {
                if matches!(group.member.phase, Phase::Leaving { .. }) {
                    group.member.left(now);
                }
                return;
            }
            (Ask::Join, Some(Response::JoinGroup(response))) => group.member.joined(now, pause, response),
            (Ask::Sync { generation }, Some(Response::SyncGroup(response))) => group.member.synced(pause, generation, response),
            (Ask::Join | Ask::Sync { .. }, _) => group.member.refused(pause, lost),
            (Ask::Heartbeat { generation }, Some(Response::Heartbeat(response))) => {
                group.member.beaten(now, pause, generation, response.error_code)
            }
            (Ask::Heartbeat { generation }, _) => group.member.beaten(now, pause, generation, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        };
        self.judge(now, verdict);
    }

    fn judge(&mut self, now: Instant, verdict: Verdict) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Lookup => self.lose_coordinator(now),
            Verdict::ThrownOut => self.lose_parts(),
            Verdict::Refused(error) => {
                self.lose_parts();
                self.events.push_back(Event::Refused { error });
            }
        }
    }

    fn lose_parts(&mut self) {
        let Some(group) = &mut self.group else { return };
        group.prepared = false;
        let parts = std::mem::take(&mut group.member.owned);
        self.drop_parts(parts, |parts| Event::Lost { parts });
    }

    fn coordinator_answered(&mut self, now: Instant, response: Option<&Response>) {
        let Some(group) = &mut self.group else { return };
        let Coordinator::Asked { failures } = group.coordinator else { return };
        match response {
            Some(Response::FindCoordinator(found)) if found.error_code == ErrorCode::NONE => {
                group.coordinator = Coordinator::Known(found.node_id);
                let port = u16::try_from(found.port).unwrap_or(0);
                let lost = self.cluster.set_address(now, Peer::Coordinator(found.node_id), Address { host: found.host.clone(), port });
                lost.into_iter().for_each(|outcome| self.outcome(now, outcome));
            }
            Some(Response::FindCoordinator(found)) if !found.error_code.is_retriable() => {
                let error = found.error_code;
                group.coordinator = Coordinator::Unknown { from: now.after(self.config.common.request_timeout), failures };
                group.member.phase = Phase::Out;
                self.judge(now, Verdict::Refused(error));
            }
            Some(_) | None => {
                let from = now.after(self.config.common.retry_backoff.after(failures + 1, self.cluster.rng()));
                group.coordinator = Coordinator::Unknown { from, failures: failures + 1 };
            }
        }
    }

    fn lose_coordinator(&mut self, now: Instant) {
        let Some(group) = &mut self.group else { return };
        if let Coordinator::Known(_) = group.coordinator {
            let from = now.after(self.config.common.retry_backoff.after(1, self.cluster.rng()));
            group.coordinator = Coordinator::Unknown { from, failures: 0 };
        }
    }
}

fn commit_request(member: &Member, by_hand: bool, offsets: &BTreeMap<TopicPartition, Offset>) -> OffsetCommitRequest {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for (part, offset) in offsets {
        if topics.last().is_none_or(|topic| *topic.name != *part.topic) {
            topics.push(OffsetCommitRequestTopic { name: part.topic.to_string(), ..Default::default() });
        }
        let partition = OffsetCommitRequestPartition {
            partition_index: part.partition,
            committed_offset: *offset,
            committed_leader_epoch: LeaderEpoch(-1),
            committed_metadata: Some(String::new()),
        };
        topics.last_mut().expect("one was just pushed").partitions.push(partition);
    }
    OffsetCommitRequest {
        group_id: member.config.id.clone(),
        generation_id_or_member_epoch: if by_hand { -1 } else { member.generation },
        member_id: if by_hand { String::new() } else { member.id.clone() },
        group_instance_id: member.config.instance.clone().filter(|_| !by_hand),
        topics,
        ..Default::default()
    }
}
