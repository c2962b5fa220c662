//! A snapshot on its way from the leader of the metadata quorum to a replica that lacks what the leader's log begins with (KIP-630): asked for in
//! pieces, stored whole, and only then in the log's place. A crash before leaves what was, since nothing of it is on the disk.

use super::boot::{METADATA, Phase};
use super::calls::Asker;
use super::io::{Level, Unreachable};
use super::snapshots::Kept;
use super::stored::Pending;
use super::{Broker, Token};
use crate::client::io::Address;
use crate::controller::snapshot::{self, Contents};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, PartitionIndex};
use crate::log::Log;
use crate::log::snapshot::{SnapshotId, Standing, standing};
use crate::partition::METADATA_TOPIC;
use crate::quorum::State;
use crate::store::{StoreFault, StoreOp, Stored};
use crate::wire::Response;
use crate::wire::api::fetch_snapshot::{
    self as api, FetchSnapshotRequest, FetchSnapshotResponse, NodeEndpoint, PartitionSnapshot, PartitionSnapshotResult, TopicSnapshot,
    TopicSnapshotResult,
};
use crate::{mutant, probe};
use bytes::BytesMut;

/// A snapshot larger than this is not taken: it is held in memory until it is whole.
const SNAPSHOT_BYTES_MAX: i64 = 1 << 30;
/// One answer carries at most so many bytes, whatever is asked.
const PIECE_BYTES_MAX: i32 = 8 << 20;

/// A snapshot that comes from the leader of an epoch.
#[derive(Clone, Debug)]
pub(super) struct Receiving {
    id: SnapshotId,
    epoch: LeaderEpoch,
    /// As the first piece told.
    size: Option<i64>,
    bytes: BytesMut,
    /// It is whole, and on its way to the disk.
    is_whole: bool,
}

impl Receiving {
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Takes in a piece. Returns whether that was the last one.
    fn take(&mut self, piece: &PartitionSnapshotResult) -> Result<bool, &'static str> {
        let bytes = piece.unaligned_records.bytes().ok_or("it refers to a file")?;
        let told = SnapshotId { end: piece.snapshot_id.end_offset, epoch: piece.snapshot_id.epoch };
        if told != self.id {
            return Err("it is of another snapshot");
        }
        if usize::try_from(piece.position) != Ok(self.bytes.len()) {
            return Err("it is not what follows");
        }
        if !(1..=SNAPSHOT_BYTES_MAX).contains(&piece.size) || self.size.is_some_and(|size| size != piece.size) {
            return Err("its size is wrong");
        }
        let size = usize::try_from(piece.size).expect("judged above");
        if bytes.is_empty() || self.bytes.len() + bytes.len() > size {
            return Err("it is empty, or goes beyond the end");
        }
        self.size = Some(piece.size);
        self.bytes.extend_from_slice(&bytes);
        Ok(self.bytes.len() == size)
    }
}

impl Broker {
    // --- taking one -----------------------------------------------------------------------------------------------------------------------

    /// The leader answers a fetch with a snapshot: it stands for what its log no longer has.
    pub(super) fn told_snapshot(&mut self, epoch: LeaderEpoch, id: SnapshotId) {
        let applied = self.admin.controller.applied();
        if id.end <= applied {
            let text = format!("a snapshot that ends at {} is offered, where {applied} is reached", id.end);
            self.note(Level::Warn, text);
            return self.snapshot_failed();
        }
        self.snapshots.receiving = Some(Receiving { id, epoch, size: None, bytes: BytesMut::new(), is_whole: false });
    }

    /// Asks for the next piece, if there is one to ask for. Says whether a fetch has to wait.
    pub(super) fn fetch_snapshot_piece(&mut self) -> bool {
        let Some(receiving) = &self.snapshots.receiving else { return false };
        if receiving.is_whole {
            return true;
        }
        let (id, position) = (receiving.id, receiving.bytes.len() as i64);
        let at = self.now.at;
        let Some(quorum) = &mut self.quorum else { return true };
        let (epoch, Some(to)) = (quorum.epoch(), quorum.fetch_target(at)) else { return true };
        if epoch != receiving.epoch {
            self.snapshots.receiving = None;
            return false;
        }
        let partition = PartitionSnapshot {
            partition: METADATA.index,
            current_leader_epoch: epoch,
            snapshot_id: api::SnapshotId { end_offset: id.end, epoch: id.epoch },
            position,
            replica_directory_id: self.config.quorum.directory,
        };
        let request = FetchSnapshotRequest {
            cluster_id: Some(self.config.broker.cluster.clone()),
            replica_id: self.config.broker.id,
            max_bytes: self.config.quorum.fetch_snapshot_max_bytes,
            topics: vec![TopicSnapshot { name: METADATA_TOPIC.to_owned(), partitions: vec![partition] }],
        };
        self.metadata_fetch_open = true;
        self.metadata_asked = Some((epoch, to.id));
        self.call(to, request.into(), Asker::Snapshot, self.config.quorum.request_timeout);
        true
    }

    /// A piece came, or did not.
    pub(super) fn snapshot_fetched(&mut self, outcome: Result<Response, Unreachable>) {
        self.metadata_fetch_open = false;
        let at = self.now.at;
        let response = match outcome {
            Ok(Response::FetchSnapshot(response)) if response.error_code == ErrorCode::NONE => response,
            Ok(_) => return self.snapshot_failed(),
            Err(why) => return self.metadata_unreachable(why),
        };
        let Some(piece) = response.topics.first().and_then(|topic| topic.partitions.first()) else { return self.snapshot_failed() };
        let told = &piece.current_leader;
        let leader = (told.leader_id.0 >= 0).then_some(told.leader_id);
        let endpoint = response.node_endpoints.iter().find(|node| Some(node.node_id) == leader);
        let address = endpoint.map(|node| Address { host: node.host.clone(), port: node.port });
        if piece.error_code != ErrorCode::NONE {
            probe!("a piece of a snapshot is refused");
            self.snapshot_failed();
            return self.tell_leader(told.leader_epoch, leader, address);
        }
        let Some(epoch) = self.asked_who_leads() else { return self.snapshot_failed() };
        self.tell_quorum(|quorum, _| quorum.fetch_answered(at, epoch));
        self.heard_controller(epoch);
        let Some(receiving) = &mut self.snapshots.receiving else { return };
        match receiving.take(piece) {
            Ok(true) => self.snapshot_whole(),
            Ok(false) => {}
            Err(why) => {
                let text = format!("a piece of the snapshot {} is no good: {why}", receiving.id.file());
                self.note(Level::Warn, text);
                self.snapshot_failed();
            }
        }
    }

    /// Begins anew with a fetch: the leader may have another one by now.
    fn snapshot_failed(&mut self) {
        self.snapshots.receiving = None;
        let at = self.now.at;
        self.tell_quorum(|quorum, _| quorum.fetch_failed(at));
    }

    fn snapshot_whole(&mut self) {
        let Some(receiving) = &mut self.snapshots.receiving else { return };
        receiving.is_whole = true;
        let (id, epoch, bytes) = (receiving.id, receiving.epoch, std::mem::take(&mut receiving.bytes).freeze());
        match snapshot::decode(&bytes) {
            Ok(contents) => {
                let kept = Kept::new(&bytes, contents.time);
                let op = StoreOp::Save { dir: self.config.quorum.dir, name: id.file(), bytes };
                self.store(op, Pending::Arrived { id, epoch, kept, contents: Box::new(contents) });
            }
            Err(why) => {
                probe!("a fetched snapshot is damaged");
                self.note(Level::Warn, format!("the leader's snapshot {} is damaged: {why}", id.file()));
                self.snapshot_failed();
            }
        }
    }

    /// The snapshot is on the disk. It takes the log's place, unless this node has meanwhile become something else than the follower that asked for it.
    pub(super) fn snapshot_arrived(&mut self, id: SnapshotId, epoch: LeaderEpoch, arrived: Result<(Kept, Box<Contents>), StoreFault>) {
        let Ok((kept, contents)) = arrived else { return self.snapshot_failed() };
        self.snapshots.keep(id, kept);
        self.snapshots.receiving.take_if(|receiving| receiving.is_whole && receiving.id == id);
        let follows = self.quorum.as_ref().is_some_and(|quorum| quorum.role() == State::Follower && quorum.epoch() == epoch);
        let is_open = self.partitions.get(&METADATA).and_then(|p| p.follower()).is_some();
        if !follows || !is_open || id.end <= self.admin.controller.applied() || self.phase == Phase::Stopping {
            // What it holds is committed all the same: a start may begin with it.
            return probe!("a snapshot came too late to be of use");
        }
        self.snapshots.restoring = Some((id, contents));
        if mutant!(SnapshotKeepsLog) {
            return self.metadata_restored(id.end);
        }
        self.restart(METADATA, id.end);
    }

    /// The log is empty behind the snapshot: the node goes on from there.
    pub(super) fn metadata_restored(&mut self, end: Offset) {
        probe!("a replica begins anew with its leader's snapshot");
        let at = self.now.at;
        let voters = self.restore();
        self.tell_quorum(|quorum, tail| quorum.restored(at, end, voters, tail));
        self.metadata_high(end);
    }

    // --- giving one -----------------------------------------------------------------------------------------------------------------------

    /// What the log of a replica that fetches is to this leader's.
    pub(super) fn metadata_standing(&self, log: &Log, offset: Offset, epoch: LeaderEpoch) -> Standing {
        let bounds = (log.start(), log.end());
        standing(bounds, log.epochs(), &mut self.snapshots.ids(), (offset, epoch))
    }

    pub(super) fn fetch_snapshot(&mut self, token: Token, body: &FetchSnapshotRequest) {
        if body.cluster_id.as_ref().is_some_and(|cluster| *cluster != self.config.broker.cluster) {
            let refused = FetchSnapshotResponse { error_code: ErrorCode::INCONSISTENT_CLUSTER_ID, ..Default::default() };
            return self.reply(token, refused.into());
        }
        let [TopicSnapshot { name, partitions }] = &body.topics[..] else { return self.refuse_snapshots(token) };
        let [asked] = &partitions[..] else { return self.refuse_snapshots(token) };
        if let Err(code) = self.judge_piece(name, asked) {
            return self.reply_piece(token, asked.partition, |piece| piece.error_code = code);
        }
        let id = SnapshotId { end: asked.snapshot_id.end_offset, epoch: asked.snapshot_id.epoch };
        let (at, replica) = (self.now.at, (body.replica_id, asked.replica_directory_id));
        if replica.0.0 >= 0 {
            self.tell_quorum(|quorum, _| quorum.listens(at, replica));
        }
        let Ok(from) = u64::try_from(asked.position) else {
            return self.reply_piece(token, asked.partition, |piece| piece.error_code = ErrorCode::POSITION_OUT_OF_RANGE);
        };
        self.snapshots.lease(id, at);
        let max_bytes = body.max_bytes.clamp(1, PIECE_BYTES_MAX).unsigned_abs();
        let op = StoreOp::Read { dir: self.config.quorum.dir, name: id.file(), from, max_bytes };
        self.store(op, Pending::Piece { token, id, from });
    }

    fn refuse_snapshots(&mut self, token: Token) {
        self.reply(token, FetchSnapshotResponse { error_code: ErrorCode::INVALID_REQUEST, ..Default::default() }.into());
    }

    fn judge_piece(&self, name: &str, asked: &PartitionSnapshot) -> Result<(), ErrorCode> {
        if name != METADATA_TOPIC || asked.partition != METADATA.index {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let quorum = self.quorum.as_ref().ok_or(ErrorCode::NOT_LEADER_OR_FOLLOWER)?;
        super::fetch::check_epoch(asked.current_leader_epoch, quorum.epoch())?;
        if !quorum.is_leader() {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        let id = SnapshotId { end: asked.snapshot_id.end_offset, epoch: asked.snapshot_id.epoch };
        if self.snapshots.has(id) { Ok(()) } else { Err(ErrorCode::SNAPSHOT_NOT_FOUND) }
    }

    /// The store has read a piece for a replica.
    pub(super) fn piece_read(&mut self, token: Token, id: SnapshotId, from: u64, outcome: Result<Stored, StoreFault>) {
        self.reply_piece(token, METADATA.index, |piece| {
            piece.snapshot_id = api::SnapshotId { end_offset: id.end, epoch: id.epoch };
            match outcome {
                Ok(Stored::Read { size, bytes }) if from < size => {
                    piece.size = i64::try_from(size).expect("a file");
                    piece.position = i64::try_from(from).expect("within the file");
                    piece.unaligned_records = bytes.into();
                }
                Ok(_) => piece.error_code = ErrorCode::POSITION_OUT_OF_RANGE,
                Err(StoreFault::Gone) => piece.error_code = ErrorCode::SNAPSHOT_NOT_FOUND,
                Err(_) => piece.error_code = ErrorCode::KAFKA_STORAGE_ERROR,
            }
        });
    }

    /// One piece, or why there is none; with an error goes what this node knows of the leader.
    fn reply_piece(&mut self, token: Token, index: PartitionIndex, fill: impl FnOnce(&mut PartitionSnapshotResult)) {
        let mut piece = PartitionSnapshotResult { index, ..Default::default() };
        fill(&mut piece);
        let mut response = FetchSnapshotResponse::default();
        if let Some(quorum) = self.quorum.as_ref().filter(|_| piece.error_code != ErrorCode::NONE) {
            let leader = quorum.leader();
            piece.current_leader.leader_epoch = quorum.epoch();
            piece.current_leader.leader_id = leader.as_ref().map_or(BrokerId(-1), |(id, _)| *id);
            let endpoint = |(id, address): (BrokerId, Address)| NodeEndpoint { node_id: id, host: address.host, port: address.port };
            response.node_endpoints.extend(leader.map(endpoint));
        } else {
            piece.current_leader = api::LeaderIdAndEpoch { leader_id: BrokerId(-1), leader_epoch: LeaderEpoch(-1) };
        }
        response.topics.push(TopicSnapshotResult { name: METADATA_TOPIC.to_owned(), partitions: vec![piece] });
        self.reply(token, response.into());
    }
}
