//! The metadata log on this node: led or followed as the quorum decides, fetched, cut, and replayed as far as it is committed.
//!
//! Who leads and what is committed is decided in `quorum`; what the records mean, in `controller`.

use super::Broker;
use super::boot::{METADATA, Phase};
use super::calls::{Asker, Fetched};
use super::io::{Halt, Level, Unreachable};
use super::stored::Pending;
use crate::client::io::Address;
use crate::error::ErrorCode;
use crate::id::{BrokerId, CallId, LeaderEpoch, Offset, Uuid};
use crate::log::Ops;
use crate::partition::Role;
use crate::partition::follower::Follower;
use crate::partition::leader::{Commit, Leader};
use crate::quorum::{Action, Quorum, Tail};
use crate::store::StoreOp;
use crate::wire::Response;
use crate::wire::api::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData, ReplicaState, SnapshotId};
use crate::wire::batch::{Batch, BatchHeader};
use crate::wire::records::control::ControlRecord;
use crate::wire::records::raft::{LeaderChangeMessage, Voter as VoterName};
use crate::{mutant, probe};
use std::time::Duration;

/// Kafka's file of the newest election, in the metadata log's folder.
pub(super) const ELECTION_FILE: &str = "__cluster_metadata-0/quorum-state";
/// A fetch of the metadata log waits so long for news (Kafka's `raft.MAX_FETCH_WAIT_MS`).
const FETCH_WAIT: Duration = Duration::from_millis(500);

impl Broker {
    /// What the metadata log holds.
    pub(super) fn metadata_tail(&self) -> Tail {
        let log = self.partitions.get(&METADATA).and_then(|p| p.open_log());
        log.map_or_else(Tail::default, |log| Tail {
            end: log.end(),
            epoch: self.metadata_epoch_of(log).unwrap_or(LeaderEpoch(0)),
            durable: log.durable(),
        })
    }

    /// Tells the quorum something, if there is one already.
    pub(super) fn tell_quorum(&mut self, tell: impl FnOnce(&mut Quorum, Tail)) {
        // While the log is being cut there is nothing true to say of it; the quorum is told when it is open again.
        if self.partitions.get(&METADATA).is_none_or(|p| p.open_log().is_none()) {
            return;
        }
        let tail = self.metadata_tail();
        if let Some(quorum) = &mut self.quorum {
            tell(quorum, tail);
        }
    }

    /// Does what the quorum wants done; says whether there was anything.
    pub(super) fn carry_out_quorum(&mut self) -> bool {
        let at = self.now.at;
        if self.quorum.as_ref().and_then(Quorum::deadline).is_some_and(|due| due <= at) {
            self.tell_quorum(|quorum, tail| quorum.tick(at, tail));
        }
        let mut any = false;
        while let Some(action) = self.quorum.as_mut().and_then(Quorum::poll) {
            any = true;
            match action {
                Action::Save { number, election } => {
                    let (name, bytes) = (ELECTION_FILE.to_owned(), election.encode().into());
                    self.store(StoreOp::Save { dir: self.config.quorum.dir, name, bytes }, Pending::Election { number });
                }
                Action::Call { call, to, body } => self.call(to, body, Asker::Quorum(call), self.config.quorum.request_timeout),
                Action::HangUp { call } => self.give_up(Asker::Quorum(call)),
                Action::Reply { token, body } => self.reply(token, body),
                Action::Lead { epoch, granting } => self.lead_metadata(epoch, granting.iter().map(|voter| voter.replica()).collect()),
                Action::Follow { epoch, leader } => self.follow_metadata(epoch, leader),
                Action::High(high) => self.metadata_committed(high),
                Action::Change { epoch, voters } => self.change_voters(epoch, &voters),
            }
        }
        self.fetch_metadata();
        any
    }

    pub(super) fn quorum_answered(&mut self, call: CallId, outcome: Result<Response, Unreachable>) {
        let at = self.now.at;
        self.tell_quorum(|quorum, tail| quorum.answered(at, call, outcome, tail));
    }

    // --- leading --------------------------------------------------------------------------------------------------------------------------

    fn lead_metadata(&mut self, epoch: LeaderEpoch, granting: Vec<(BrokerId, Uuid)>) {
        probe!("this node leads the metadata quorum");
        self.is_controller_itself(epoch);
        let Some((log, high)) = self.step_down(METADATA) else { return };
        let partition = self.partitions.get_mut(&METADATA).expect("its log was just taken");
        partition.role = Role::Leader(Box::new(Leader::new(epoch, log, high, Commit::Quorum)));
        let voters: Vec<_> =
            self.quorum.as_ref().map(|quorum| quorum.voters().iter().map(|voter| voter.replica()).collect()).unwrap_or_default();
        let names = |of: Vec<(BrokerId, Uuid)>| {
            of.into_iter().map(|(voter_id, voter_directory_id)| VoterName { voter_id, voter_directory_id }).collect()
        };
        self.append_control(ControlRecord::LeaderChange(LeaderChangeMessage {
            // Kafka's `DumpLogSegments` reads this record as version 0, whatever it says; the directory ids of version 1 are in `KRaftVoters`.
            version: 0,
            leader_id: self.config.broker.id,
            voters: names(voters),
            granting_voters: names(granting),
        }));
    }

    fn change_voters(&mut self, epoch: LeaderEpoch, voters: &crate::quorum::Voters) {
        let leads = self.partitions.get(&METADATA).and_then(|p| p.leader()).is_some_and(|leader| leader.epoch == epoch);
        if leads {
            let record = voters.to_record(self.controller_listener());
            self.append_control(ControlRecord::KRaftVoters(record));
        }
    }

    fn append_control(&mut self, record: ControlRecord) {
        let batch = ControlRecord::batch(std::slice::from_ref(&record), Offset::ZERO, LeaderEpoch(-1), self.now.wall);
        match self.append(METADATA, &batch) {
            Ok(placed) => self.take_in_control(batch.stamp(placed.base, LeaderEpoch(-1)).header(), &[record]),
            Err(code) => self.halt(Halt::Metadata { why: format!("the metadata log takes no records: {code:?}") }),
        }
    }

    fn take_in_control(&mut self, header: &BatchHeader, records: &[ControlRecord]) {
        self.admin.controller.pass(header);
        let (at, base) = (self.now.at, header.base_offset);
        for record in records {
            if let ControlRecord::KRaftVoters(voters) = record {
                let known = crate::quorum::Voters::from_record(voters, self.controller_listener());
                if self.quorum.is_none() {
                    self.log_voters.extend(known.map(|voters| (base, voters)));
                } else if let Some(voters) = known {
                    self.tell_quorum(|quorum, _| quorum.voters_changed(at, base, voters));
                }
            }
        }
    }

    /// The quorum has committed up to `high`; this node leads it.
    fn metadata_committed(&mut self, high: Offset) {
        let Some(leader) = self.partitions.get_mut(&METADATA).and_then(|p| p.leader_mut()) else { return };
        let epoch_start = leader.epoch_start;
        if leader.advance_to(high).is_none() {
            return;
        }
        let fetches: Vec<_> = leader.fetches.iter().chain(&leader.replica_fetches).copied().collect();
        self.metadata_high(high);
        // Everything that earlier leaders left is committed with this leader's first record: from here on the image is the truth.
        if high > epoch_start && !self.admin.controller.is_active() && self.admin.controller.applied() == self.admin.controller.end() {
            self.activate();
        }
        fetches.into_iter().for_each(|token| self.look_again(token));
    }

    // --- following ------------------------------------------------------------------------------------------------------------------------

    fn follow_metadata(&mut self, epoch: LeaderEpoch, leader: Option<BrokerId>) {
        self.deactivate();
        let Some((log, high)) = self.step_down(METADATA) else { return };
        let partition = self.partitions.get_mut(&METADATA).expect("its log was just taken");
        partition.role = Role::Follower(Box::new(Follower::new(epoch, leader, log, high)));
        self.give_up(Asker::Metadata);
        self.give_up(Asker::Snapshot);
        self.metadata_fetch_open = false;
        // Another leader may not have this snapshot. One that is whole goes on to the disk.
        self.snapshots.receiving.take_if(|receiving| !receiving.is_whole());
        if leader.is_some() {
            // A new controller learns of a broker's death by the connection on which it was heard: it hears every one at once.
            self.beat_now();
        }
    }

    /// Asks for what follows, once everything fetched before is durable.
    pub(super) fn fetch_metadata(&mut self) {
        if self.metadata_fetch_open || self.phase == Phase::Stopping || self.quorum.as_ref().is_none_or(Quorum::is_leader) {
            return;
        }
        let Some(follower) = self.partitions.get(&METADATA).and_then(|p| p.follower()) else { return };
        if follower.log.durable() < follower.log.end() || self.fetch_snapshot_piece() {
            return;
        }
        let at = self.now.at;
        let Some(quorum) = &mut self.quorum else { return };
        let (epoch, Some(to)) = (quorum.epoch(), quorum.fetch_target(at)) else { return };
        if to.id == self.config.broker.id {
            return;
        }
        let request = self.metadata_request(epoch);
        self.metadata_fetch_open = true;
        self.metadata_asked = Some((epoch, to.id));
        self.call(to, request.into(), Asker::Metadata, self.config.quorum.request_timeout + FETCH_WAIT);
    }

    fn metadata_request(&self, epoch: LeaderEpoch) -> FetchRequest {
        let follower = self.partitions[&METADATA].follower().expect("looked at by the caller");
        let partition = FetchPartition {
            partition: METADATA.index,
            current_leader_epoch: epoch,
            fetch_offset: follower.log.end(),
            last_fetched_epoch: self.metadata_epoch_of(&follower.log).unwrap_or(LeaderEpoch(-1)),
            log_start_offset: follower.log.start(),
            partition_max_bytes: self.config.quorum.fetch_max_bytes,
            replica_directory_id: self.config.quorum.directory,
            high_watermark: follower.high(),
        };
        FetchRequest {
            cluster_id: Some(self.config.broker.cluster.clone()),
            replica_state: ReplicaState { replica_id: self.config.broker.id, replica_epoch: -1 },
            max_wait_ms: i32::try_from(FETCH_WAIT.as_millis()).expect("half a second"),
            min_bytes: 1,
            max_bytes: self.config.quorum.fetch_max_bytes,
            session_epoch: -1,
            topics: vec![FetchTopic { topic_id: METADATA.topic, partitions: vec![partition], ..Default::default() }],
            ..Default::default()
        }
    }

    pub(super) fn metadata_fetched(&mut self, outcome: Result<Response, Unreachable>, fetched: Fetched) {
        self.metadata_fetch_open = false;
        let at = self.now.at;
        let response = match outcome {
            Ok(Response::Fetch(response)) if response.error_code == ErrorCode::NONE => response,
            Err(why) => return self.metadata_unreachable(why),
            Ok(_) => return self.tell_quorum(|quorum, _| quorum.fetch_failed(at)),
        };
        let Some(partition) = response.responses.first().and_then(|topic| topic.partitions.first()) else {
            return self.tell_quorum(|quorum, _| quorum.fetch_failed(at));
        };
        if partition.error_code != ErrorCode::NONE {
            self.tell_quorum(|quorum, _| quorum.fetch_failed(at));
            return self.fetch_told(&response, partition);
        }
        self.fetch_told(&response, partition);
        let Some(epoch) = self.asked_who_leads() else { return self.tell_quorum(|quorum, _| quorum.fetch_failed(at)) };
        self.tell_quorum(|quorum, _| quorum.fetch_answered(at, epoch));
        self.heard_controller(epoch);
        if partition.diverging_epoch.epoch.0 >= 0 {
            let (epoch, end) = (partition.diverging_epoch.epoch, partition.diverging_epoch.end_offset);
            return self.cut_diverged(METADATA, epoch, end);
        }
        if partition.snapshot_id.epoch.0 >= 0 {
            let SnapshotId { end_offset: end, epoch: last } = partition.snapshot_id;
            return self.told_snapshot(epoch, crate::log::snapshot::SnapshotId { end, epoch: last });
        }
        self.take_in_metadata(partition.high_watermark, fetched);
    }

    /// The epoch in which the last question was asked, if whom it went to is still the leader of that epoch: an answer counts only then.
    pub(super) fn asked_who_leads(&self) -> Option<LeaderEpoch> {
        let (epoch, asked) = self.metadata_asked?;
        let quorum = self.quorum.as_ref()?;
        let leads = quorum.epoch() == epoch && quorum.leader().is_some_and(|(id, _)| id == asked);
        leads.then_some(epoch)
    }

    /// A question about the metadata log has no answer.
    pub(super) fn metadata_unreachable(&mut self, why: Unreachable) {
        let (at, asked) = (self.now.at, self.metadata_asked.map(|(_, id)| id));
        self.tell_quorum(|quorum, _| {
            quorum.fetch_failed(at);
            // Nobody listens where the leader did: its process is gone.
            if let Some(gone) = asked.filter(|_| why == Unreachable::Refused) {
                quorum.gone(at, gone);
            }
        });
    }

    fn fetch_told(&mut self, response: &FetchResponse, partition: &PartitionData) {
        let told = &partition.current_leader;
        let leader = (told.leader_id.0 >= 0).then_some(told.leader_id);
        let endpoint = response.node_endpoints.iter().find(|node| Some(node.node_id) == leader);
        let address = endpoint.and_then(|node| Some(Address { host: node.host.clone(), port: u16::try_from(node.port).ok()? }));
        self.tell_leader(told.leader_epoch, leader, address);
    }

    /// An answer may tell a newer epoch, or who leads.
    pub(super) fn tell_leader(&mut self, epoch: LeaderEpoch, leader: Option<BrokerId>, address: Option<Address>) {
        let at = self.now.at;
        if epoch.0 >= 0 {
            self.tell_quorum(|quorum, _| quorum.heard(at, epoch, leader, address));
        }
    }

    fn take_in_metadata(&mut self, high: Offset, fetched: Fetched) {
        let at = self.now.at;
        let may_follow = |batches: &Vec<Batch>| {
            let (epoch, follower) = self.asked_who_leads().zip(self.partitions.get(&METADATA)?.follower())?;
            Some(follower.log.epochs().followed_by(batches, epoch) == batches.len())
        };
        let batches =
            fetched.into_iter().next().unwrap_or_else(|| Ok(Vec::new())).ok().filter(|batches| may_follow(batches) != Some(false));
        let Some(batches) = batches else {
            probe!("a fetched batch of the metadata log is damaged");
            self.tell_bad_metadata();
            return self.tell_quorum(|quorum, _| quorum.fetch_failed(at));
        };
        for batch in &batches {
            if let Err(why) = self.take_in_batch(METADATA, batch) {
                return self.halt(Halt::Metadata { why });
            }
        }
        self.tell_quorum(|quorum, tail| quorum.appended(at, tail));
        let Some(follower) = self.partitions.get_mut(&METADATA).and_then(|p| p.follower_mut()) else { return };
        follower.told_high(high);
        let (high, end) = (follower.high(), follower.log.end());
        self.tell_quorum(|quorum, _| quorum.committed(at, high));
        self.metadata_high(if mutant!(ActBeforeCommit) { end } else { high });
    }

    /// What follows in the leader's metadata log cannot be taken in. It is asked for again, and said once.
    fn tell_bad_metadata(&mut self) {
        let (Some(follower), Some((_, leader))) = (self.partitions.get(&METADATA).and_then(|p| p.follower()), self.metadata_asked) else {
            return;
        };
        let end = follower.log.end();
        if self.bad_metadata.replace(end) != Some(end) {
            let text = format!(
                "the metadata log cannot be fetched from offset {end}: what node {leader} sends is damaged. It is asked again; \
                 if that does not pass, stop node {leader}, so that another controller leads"
            );
            self.note(Level::Error, text);
        }
    }

    /// A batch of the metadata log, as its leader stamped it: goes to the log, and to those who read it.
    fn take_in_batch(&mut self, id: crate::partition::PartitionId, batch: &Batch) -> Result<(), String> {
        let (config, wall) = (self.partitions[&id].config.clone(), self.now.wall);
        let partition = self.partitions.get_mut(&id).expect("looked at above");
        let dir = partition.dir;
        let Some(follower) = partition.follower_mut() else { return Ok(()) };
        if batch.header().base_offset != follower.log.end() {
            return Ok(());
        }
        let mut ops = Ops::default();
        follower.log.take_in(batch, &config, wall, &mut ops);
        self.carry_out(id, dir, ops);
        self.read_metadata(batch)
    }

    /// Reads a batch of the metadata log that is in the log now.
    pub(super) fn read_metadata(&mut self, batch: &Batch) -> Result<(), String> {
        let header = batch.header();
        if !header.is_control() {
            return self.admin.controller.take_in(batch);
        }
        let records = ControlRecord::all(batch).map_err(|why| format!("the control batch at offset {}: {why:?}", header.base_offset))?;
        self.take_in_control(header, &records);
        Ok(())
    }
}
