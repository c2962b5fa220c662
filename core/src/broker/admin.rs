//! The controller on this node: proposals go into the metadata log; what is committed is carried out, and only then answered.
//!
//! Which records a request needs is decided in `controller`. Here they are appended, and their changes become logs, settings and replies.

use super::boot::{METADATA, Phase};
use super::io::{Halt, Level};
use super::producer_ids::ProducerIds;
use super::stored::Pending;
use super::topics::Unmade;
use super::voids::{Then, Void};
use super::{Broker, ms};
use crate::config::{Layers, TopicConfig, broker};
use crate::controller::image::{Resource, ResourceKind};
use crate::controller::{Change, CommitId, Committed, Controller, Image, Plan, Planner, Record};
use crate::id::{DirId, LogId, Offset, Uuid};
use crate::log::FoundLog;
use crate::partition::{Loss, PartitionId, Role};
use crate::request::Token;
use crate::store::{StoreFault, StoreOp, Stored};
use crate::wire::Response;
use crate::{mutant, probe};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// The controller and what waits for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Admin {
    pub(super) controller: Controller,
    pub(super) committing: BTreeMap<CommitId, After>,
    making: Vec<Making>,
    /// Folders that are being deleted, and how many logs of each: a new log of that name waits.
    deleting: BTreeMap<String, u32>,
    /// Folders of logs that are gone, but whose high watermark a file still holds: a new log of that name waits.
    remembered: BTreeSet<String>,
    /// Partitions whose folder has not been given free yet.
    blocked: BTreeMap<String, PartitionId>,
    /// Partitions whose name a log has that is another topic's, or that have left one directory for another and are found nowhere: settled when this node
    /// has read its metadata.
    clashing: BTreeMap<String, PartitionId>,
    /// Logs of partitions of which several directories hold one, when the node starts.
    pub(super) doubles: BTreeMap<PartitionId, Vec<LogId>>,
    /// Topics that the log says were deleted: their logs may be left over from a crash.
    removed: BTreeSet<Uuid>,
    /// Folders of logs that no topic claims, and where they lie.
    strays: BTreeMap<String, DirId>,
    pub(super) ids: ProducerIds,
    /// Topics were asked for, and the answer is not back.
    pub(super) wants_topics: bool,
    pub(super) unmade: Unmade,
}

impl Admin {
    /// Whether logs are being deleted.
    pub(super) fn is_deleting(&self) -> bool {
        !self.deleting.is_empty()
    }
}

/// What follows when a proposal is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The answer, once the logs that the proposal asks for are there.
    Reply { token: Token, body: Box<Response> },
    /// Nobody waits.
    Nothing,
}

/// An answer that waits for logs to be made.
#[derive(Clone, Debug)]
struct Making {
    until: BTreeSet<PartitionId>,
    token: Token,
    body: Response,
}

impl Broker {
    /// The metadata that counts.
    pub(super) fn image(&self) -> &Image {
        self.admin.controller.image()
    }

    /// The metadata with what is planned.
    pub(super) fn planned(&self) -> &Image {
        self.admin.controller.planned()
    }

    /// The layers beneath each topic's settings.
    pub(super) fn layers(&self) -> Layers<'_> {
        self.image().layers(&self.config.broker)
    }

    pub(super) fn plan<R>(&mut self, make: impl FnOnce(&mut Planner<'_>) -> Plan<R>) -> Plan<R> {
        make(&mut Planner { image: self.admin.controller.planned(), config: &self.config.broker, rng: &mut self.rng })
    }

    /// Appends records, and does what follows when they are committed. Without records it follows when everything before is.
    pub(super) fn propose(&mut self, records: Vec<Record>, after: After) {
        let (id, batch) = self.admin.controller.propose(records, self.now.wall);
        self.admin.committing.insert(id, after);
        if let Some(batch) = batch {
            match self.append(METADATA, &batch) {
                Ok(placed) => assert_eq!(placed.next, self.admin.controller.end(), "the log and the controller count differently"),
                Err(code) => return self.halt(Halt::Metadata { why: format!("the metadata log takes no records: {code:?}") }),
            }
        }
        let Some(leader) = self.partitions.get(&METADATA).and_then(|p| p.leader()) else { return };
        let high = if mutant!(ActBeforeCommit) { leader.log.end() } else { leader.high() };
        self.metadata_high(high);
    }

    /// Plans, proposes, and answers when it is committed and carried out.
    pub(super) fn propose_reply<R: Into<Response>>(&mut self, token: Token, make: impl FnOnce(&mut Planner<'_>) -> Plan<R>) {
        let Plan { records, response } = self.plan(make);
        self.propose(records, After::Reply { token, body: Box::new(response.into()) });
    }

    /// Metadata records up to `high` are committed: carries out what they say, and answers who waited for them.
    pub(super) fn metadata_high(&mut self, high: Offset) {
        let Committed { changes, done, bytes } = match self.admin.controller.commit(high) {
            Ok(committed) => committed,
            Err(why) => return self.halt(Halt::Metadata { why }),
        };
        let until = self.carry_out_changes(&changes);
        for id in done {
            if let Some(after) = self.admin.committing.remove(&id) {
                if !self.admin.controller.is_active() {
                    probe!("another controller commits what a former one proposed");
                }
                self.follow(after, until.clone());
            }
        }
        if !changes.is_empty() {
            // Who is fenced is waited for no longer.
            self.look_at_deletions(|_| true);
            self.look_for_myself();
            self.look_at_fence();
            self.look_at_doubts();
            self.tell_who_leaves();
        }
        self.metadata_grew(bytes);
    }

    fn follow(&mut self, after: After, until: BTreeSet<PartitionId>) {
        match after {
            After::Reply { token, body } if until.is_empty() => self.reply(token, *body),
            After::Reply { token, body } => self.admin.making.push(Making { until, token, body: *body }),
            After::Nothing => {}
        }
    }

    fn take_up(&mut self, name: &Arc<str>, id: PartitionId, config: &Arc<TopicConfig>) {
        let folder = format!("{name}-{}", id.index);
        let found = self.found.remove(&folder).unwrap_or_default();
        let is_ours = |(_, found): &(DirId, FoundLog)| found.topic == id.topic || found.topic == Uuid::ZERO;
        let (mut ours, others): (Vec<_>, Vec<_>) = found.into_iter().partition(is_ours);
        let is_known = !ours.is_empty();
        match (ours.pop(), ours.first()) {
            (Some((dir, found)), None) => self.adopt_partition(name, id, config, dir, found),
            (Some(one), Some(_)) => {
                ours.push(one);
                self.lack_double(name, id, config, &ours);
            }
            (None, _) => {}
        }
        let mut is_clashing = false;
        for (dir, found) in others {
            if self.admin.removed.contains(&found.topic) {
                self.leave_stray(&folder, dir, &found);
            } else {
                // Which of both is the older is not yet known: this node may have lost the end of what it had read of the metadata.
                is_clashing = true;
                self.found.entry(folder.clone()).or_default().push((dir, found));
            }
        }
        if is_known {
            return;
        }
        if is_clashing {
            self.admin.clashing.insert(folder, id);
            return;
        }
        // What is created while this broker serves has no log anywhere yet.
        if self.phase < Phase::Running && self.miss_partition(name, id, config).is_some() {
            return;
        }
        // Whether its log is lost is known when the metadata say where it lies.
        if self.phase < Phase::Running && self.has_void(&folder, id.topic) {
            self.admin.clashing.insert(folder, id);
            return;
        }
        probe!("a partition in the metadata has no log at the start");
        self.make_partition(name, id, config);
    }

    /// Two logs of one replica, and nothing that tells which of them counts. (Kafka's `LogManager.loadLogs` does not start then.)
    fn lack_double(&mut self, name: &Arc<str>, id: PartitionId, config: &Arc<TopicConfig>, found: &[(DirId, FoundLog)]) {
        probe!("two logs of one replica are found at the start");
        let paths: Vec<&str> = found.iter().map(|(dir, _)| &*self.config.broker.dirs[usize::from(dir.0)].path).collect();
        let why = format!(
            "{} each hold a log of it. Leave the one with most records, move the others elsewhere, then start the node again",
            paths.join(" and ")
        );
        self.note(Level::Error, format!("{name}-{} is offline: {why}", id.index));
        self.admin.doubles.insert(id, found.iter().map(|(_, found)| found.log).collect());
        self.lack_partition(name, id, config, found[0].0, why, Loss::Directory);
    }

    /// The log of a replica was moved to another directory, and is not there. The controller takes it to lie where it was before, and counts on it.
    fn lack_moved(&mut self, name: &Arc<str>, id: PartitionId, config: &Arc<TopicConfig>, dir: DirId) {
        probe!("a replica has moved to a directory that is lost before the controller knew");
        let why = "it had moved to another log directory, which was replaced before the controller knew. It is filled anew as soon as another replica \
                   has all of it. If none has, put that directory back and start the node again, or delete the topic";
        self.note(Level::Error, format!("{name}-{} is offline: {why}", id.index));
        self.lack_partition(name, id, config, dir, why.to_owned(), Loss::Log);
    }

    /// This node has read as much of the metadata as any process before it: where a log's name belongs to another topic, that one is the newer.
    pub(super) fn settle_clashes(&mut self) {
        for (folder, id) in std::mem::take(&mut self.admin.clashing) {
            let Some(topic) = self.image().topic_by_id(id.topic) else { continue };
            if !self.is_mine(id) || self.partitions.contains_key(&id) {
                continue;
            }
            let name = topic.name.clone();
            let config = Arc::new(self.image().topic_config(&name, &self.config.broker));
            for (dir, found) in self.found.remove(&folder).unwrap_or_default() {
                self.leave_stray(&folder, dir, &found);
            }
            match self.left_behind(&folder, id.topic) {
                Some(dir) => self.lack_moved(&name, id, &config, dir),
                None => self.make_partition(&name, id, &config),
            }
        }
    }

    /// A log that no topic claims. If the metadata says that its topic was deleted, or that the replica has moved away, that is finished now; else it is
    /// left alone. (Kafka's `LogManager.isStrayReplica`.)
    pub(super) fn leave_stray(&mut self, folder: &str, dir: DirId, found: &FoundLog) {
        if self.admin.removed.contains(&found.topic) {
            probe!("the log of a deleted topic is found at the start");
            self.delete_log(folder.to_owned(), found.log);
        } else if self.has_moved_away(folder, found.topic) {
            probe!("the log of a replica that has moved away is found at the start");
            self.delete_log(folder.to_owned(), found.log);
        } else if self.was_forgotten(found.topic) {
            probe!("the log of a topic that was deleted below a snapshot is found at the start");
            self.delete_log(folder.to_owned(), found.log);
        } else {
            self.admin.strays.insert(folder.to_owned(), dir);
            let text = format!("the log {folder} (topic id {}) belongs to no topic; it is left alone", found.topic);
            self.note(Level::Warn, text);
        }
    }

    /// Whether the end of a topic may have been told below a snapshot. This node has read as much of the metadata as any process before it, so no
    /// record is yet to come that makes the topic. Without a snapshot every record was read, and none told of it.
    fn was_forgotten(&self, topic: Uuid) -> bool {
        self.phase == Phase::Running && self.snapshots.ids().next().is_some() && self.image().topic_by_id(topic).is_none()
    }

    /// Whether the topic has that partition, and this broker no replica of it.
    fn has_moved_away(&self, folder: &str, topic: Uuid) -> bool {
        let Some(topic) = self.image().topic_by_id(topic) else { return false };
        let decided = topic.partitions.iter().find(|(index, _)| format!("{}-{index}", topic.name) == folder);
        decided.is_some_and(|(_, decided)| !decided.replicas.contains(&self.config.broker.id))
    }

    /// Whether the metadata gives this broker a replica of it.
    fn is_mine(&self, id: PartitionId) -> bool {
        self.image().partition(id).is_some_and(|partition| partition.replicas.contains(&self.config.broker.id))
    }

    /// Makes a partition's log, or waits until an older log of that name is gone.
    pub(super) fn make_partition(&mut self, name: &Arc<str>, id: PartitionId, config: &Arc<TopicConfig>) {
        let folder = format!("{name}-{}", id.index);
        if self.admin.deleting.contains_key(&folder) {
            probe!("a topic is created again while its old log is being deleted");
            self.admin.blocked.insert(folder, id);
        } else if let Some(dir) = self.admin.strays.get(&folder).copied() {
            probe!("a partition's folder holds the log of another topic");
            let why = format!("{folder} holds a log that belongs to no topic. Move it elsewhere, then start the node again");
            self.note(Level::Error, format!("{folder} is offline: {why}"));
            self.lack_partition(name, id, config, dir, why, Loss::Directory);
        } else if self.is_remembered(&folder) {
            probe!("a new log waits until the files of offsets have forgotten an old one of its name");
            self.admin.remembered.insert(folder.clone());
            self.admin.blocked.insert(folder.clone(), id);
            self.forget_folder(&folder);
        } else if self.is_untold(&folder, id.topic) {
            probe!("a new log waits until the controller knows where the replica lies");
            self.admin.blocked.insert(folder, id);
        } else if self.void_elsewhere(&folder, id.topic) {
            probe!("a new log waits until those of its name in offline directories are void");
            self.admin.blocked.insert(folder.clone(), id);
            self.hold_folder(&folder);
            self.save_voids(Some(Then::Free { folder }));
        } else {
            self.create_partition(name, id, config);
        }
    }

    /// Names of old logs may have been forgotten: new logs get them.
    pub(super) fn free_names(&mut self) {
        let free: Vec<String> = self.admin.remembered.iter().filter(|folder| !self.is_remembered(folder)).cloned().collect();
        for folder in free {
            self.admin.remembered.remove(&folder);
            self.make_blocked(&folder);
        }
    }

    /// Deletes a log; its folder's name is free again when the store is done.
    pub(super) fn delete_log(&mut self, folder: String, log: LogId) {
        self.delete(folder, log, None);
    }

    pub(super) fn delete(&mut self, folder: String, log: LogId, void: Option<Void>) {
        self.hold_folder(&folder);
        self.store(StoreOp::Delete { log }, Pending::Delete { folder, void });
    }

    /// No new log gets that name until it is freed.
    pub(super) fn hold_folder(&mut self, folder: &str) {
        *self.admin.deleting.entry(folder.to_owned()).or_default() += 1;
    }

    /// Whether a log of that name is being deleted.
    pub(super) fn is_deleting(&self, folder: &str) -> bool {
        self.admin.deleting.contains_key(folder)
    }

    /// The store has deleted a log, or never will: its directory is offline.
    pub(super) fn log_deleted(&mut self, folder: &str, void: Option<&Void>, outcome: &Result<Stored, StoreFault>) {
        match void {
            Some(void) => self.void_deleted(void, !matches!(outcome, Err(StoreFault::Offline { .. }))),
            None => self.free_folder(folder),
        }
    }

    /// One thing less that holds a folder's name.
    pub(super) fn free_folder(&mut self, folder: &str) {
        let held = self.admin.deleting.get_mut(folder).expect("held before");
        *held -= 1;
        if *held == 0 {
            self.admin.deleting.remove(folder);
            self.make_blocked(folder);
        }
    }

    fn make_blocked(&mut self, folder: &str) {
        let Some(id) = self.admin.blocked.remove(folder) else { return };
        let Some(topic) = self.image().topic_by_id(id.topic) else { return };
        if !self.is_mine(id) {
            probe!("a replica moves away again before its folder is free");
            return self.partition_made(id);
        }
        let name = topic.name.clone();
        let config = Arc::new(self.image().topic_config(&name, &self.config.broker));
        self.make_partition(&name, id, &config);
    }

    /// A partition's log is there, or will not be: who waited for it is answered.
    pub(super) fn partition_made(&mut self, id: PartitionId) {
        for waiting in &mut self.admin.making {
            waiting.until.remove(&id);
        }
        while let Some(at) = self.admin.making.iter().position(|waiting| waiting.until.is_empty()) {
            let Making { token, body, .. } = self.admin.making.remove(at);
            self.reply(token, body);
        }
    }

    /// Carries out what was committed. Returns the partitions whose logs are being made.
    fn carry_out_changes(&mut self, changes: &[Change]) -> BTreeSet<PartitionId> {
        let mut until = BTreeSet::new();
        let mut config: Option<(Uuid, Arc<TopicConfig>)> = None;
        let is_of_topics =
            |c: &Change| matches!(c, Change::TopicCreated { .. } | Change::TopicDeleted { .. } | Change::PartitionCreated { .. });
        if changes.iter().any(is_of_topics) {
            self.groups.topics_changed();
        }
        for change in changes {
            match change {
                Change::PartitionCreated { topic, index } | Change::PartitionChanged { topic, index } => {
                    let known = config.take().filter(|(of, _)| of == topic).map(|(_, config)| config);
                    let Some(made) = self.place(PartitionId { topic: *topic, index: *index }, known, &mut until) else { continue };
                    config = Some((*topic, made));
                }
                Change::ElrCleared { .. } if mutant!(ElrClearedUntold) => {}
                Change::ElrCleared { partitions } => {
                    for (topic, index) in partitions {
                        self.place(PartitionId { topic: *topic, index: *index }, None, &mut until);
                    }
                }
                Change::TopicDeleted { topic, name } => {
                    if self.phase < Phase::Running {
                        self.admin.removed.insert(*topic);
                    }
                    self.forget_topic(*topic, name);
                    self.groups_forget(name);
                }
                Change::Configured { resource } => self.configured(resource),
                Change::TopicCreated { topic } => {
                    if let Some(name) = self.image().topic_by_id(*topic).map(|topic| topic.name.clone()) {
                        self.admin.unmade.forget(&name);
                    }
                }
                Change::Other => {}
            }
        }
        self.forget_voids();
        until
    }

    /// Makes, plays or removes a partition, as the metadata says. Returns its topic's configuration, for the next one.
    fn place(&mut self, id: PartitionId, config: Option<Arc<TopicConfig>>, until: &mut BTreeSet<PartitionId>) -> Option<Arc<TopicConfig>> {
        let name = self.image().topic_by_id(id.topic)?.name.clone();
        let config = config.unwrap_or_else(|| Arc::new(self.image().topic_config(&name, &self.config.broker)));
        match (self.is_mine(id), self.partitions.contains_key(&id)) {
            (true, true) => {
                // Who leads it counts members and minimum of the same moment.
                self.configure_partition(id, &config);
                self.play(id);
                self.look_at_place(id);
            }
            (true, false) => {
                self.take_up(&name, id, &config);
                // What clashes is settled only when this node serves, for which its own registration is answered first.
                let clashes = self.admin.clashing.values().any(|clashing| *clashing == id);
                if !clashes && self.partitions.get(&id).is_none_or(|p| matches!(p.role, Role::Opening)) {
                    until.insert(id);
                }
            }
            (false, true) => {
                probe!("a replica moves away");
                self.delete_partition(id);
            }
            (false, false) => {}
        }
        Some(config)
    }

    fn forget_topic(&mut self, topic: Uuid, name: &str) {
        let waiting: Vec<PartitionId> = self.admin.blocked.values().copied().filter(|id| id.topic == topic).collect();
        self.admin.blocked.retain(|_, id| id.topic != topic);
        waiting.into_iter().for_each(|id| self.partition_made(id));
        self.delete_topic(topic);
        // A replica that waited for its folder was known by its name alone.
        if self.names.get(name) == Some(&topic) {
            self.names.remove(name);
        }
    }

    fn configured(&mut self, resource: &Resource) {
        match resource.kind {
            ResourceKind::Topic => {
                let Some(topic) = self.image().topic(&resource.name) else { return };
                let id = topic.id;
                let config = Arc::new(self.image().topic_config(&resource.name, &self.config.broker));
                self.configure_topic(id, &config);
                self.elect_unclean_in(Duration::ZERO);
            }
            ResourceKind::Broker => {
                // What else is dynamic is read when it is needed.
                self.configure_throttles();
                let configs: Vec<(Uuid, Arc<TopicConfig>)> =
                    self.image().topics().map(|t| (t.id, Arc::new(self.image().topic_config(&t.name, &self.config.broker)))).collect();
                configs.iter().for_each(|(topic, config)| self.configure_topic(*topic, config));
                self.elect_unclean_in(Duration::ZERO);
            }
            ResourceKind::BrokerLogger | ResourceKind::ClientMetrics | ResourceKind::Group => {}
        }
    }

    /// What a property in milliseconds is now: dynamic, from the file, or by default.
    pub(super) fn property_ms(&self, name: &str) -> Duration {
        ms(self.property(name))
    }

    /// What a property is now: dynamic, from the file, or by default.
    pub(super) fn property<T: FromStr>(&self, name: &str) -> T {
        let key = broker::key(name).expect("a name of our own table");
        let (value, _) = self.layers().of(key);
        value.and_then(|text| text.parse().ok()).expect("it has a default of that type")
    }

    /// Where the committed metadata ends: the epoch of the finalized features.
    pub(super) fn metadata_epoch(&self) -> i64 {
        self.admin.controller.applied().0 - 1
    }

    /// What must hold of the metadata after every step.
    pub(super) fn check_metadata(&self) {
        self.admin.controller.check();
        self.check_snapshots();
    }

    /// The committed metadata and where it ends: nodes that have applied as much hold the same.
    #[must_use]
    pub fn committed_metadata(&self) -> (Offset, &Image) {
        (self.admin.controller.applied(), self.image())
    }
}
