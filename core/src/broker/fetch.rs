//! Fetch: bounds are taken once, with the data; the newest records come from memory, older ones as file regions; a fetch that finds too little waits.

use super::boot::METADATA;
use super::fetch_session::{Context, Want};
use super::source::Source;
use super::stored::Pending;
use super::{Broker, Timer, Token};
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset};
use crate::log::Log;
use crate::log::snapshot::{SnapshotId, Standing};
use crate::partition::{PartitionId, Role};
use crate::store::{Located, StoreFault, StoreOp, Stored};
use crate::time::Instant;
use crate::wire::api::fetch::{FetchRequest, FetchResponse, PartitionData};
use crate::wire::{Chunk, Records, Response};
use crate::{mutant, probe};
use std::time::Duration;

/// Bytes that one answer carries at most, whatever is asked: a client's has its own bound (`fetch.max.bytes`).
const ANSWER_BYTES_MAX: u64 = 55 * 1024 * 1024;

/// A broker or controller that fetches what it replicates.
#[derive(Clone, Copy, Debug)]
struct Replica {
    id: BrokerId,
    /// Its registration.
    epoch: i64,
}

impl Replica {
    fn of(version: i16, body: &FetchRequest) -> Option<Self> {
        let (id, epoch) =
            if version >= 15 { (body.replica_state.replica_id, body.replica_state.replica_epoch) } else { (body.replica_id, -1) };
        (id.0 >= 0).then_some(Self { id, epoch })
    }
}

/// A fetch under way.
#[derive(Clone, Debug)]
pub(super) struct Fetching {
    version: i16,
    context: Context,
    wants: Vec<Want>,
    committed: bool,
    /// The replica that fetches; `None` for a client.
    replica: Option<Replica>,
    /// Where a client stands that can be sent to another replica (`client.rack`); empty where it does not say.
    rack: Option<String>,
    /// It came in where the metadata quorum does.
    is_of_quorum: bool,
    min_bytes: u64,
    max_bytes: u64,
    deadline: Instant,
    /// Empty while it is parked; then one answer for each want.
    answers: Vec<PartitionData>,
    /// Locates that are not back.
    locating: usize,
}

/// What a want finds in its log.
enum Found {
    Error(ErrorCode),
    Diverging {
        epoch: LeaderEpoch,
        end: Offset,
    },
    /// Records of the metadata log that are gone: the snapshot has what they said.
    Snapshot(SnapshotId),
    /// Nothing to read yet.
    Empty,
    /// Another replica is nearer to the client.
    Nearer(BrokerId),
    /// At least so many bytes lie between the fetch offset and the high watermark.
    Some {
        bytes: u64,
    },
}

impl Broker {
    pub(super) fn fetch(&mut self, token: Token, version: i16, body: FetchRequest) {
        let is_of_quorum = self.is_of_quorum(token);
        let is_foreign = body.cluster_id.as_ref().is_some_and(|cluster| *cluster != self.config.broker.cluster);
        if is_of_quorum && is_foreign {
            probe!("a fetch comes from a node of another cluster");
            let error_code = ErrorCode::INCONSISTENT_CLUSTER_ID;
            return self.reply(token, Response::Fetch(FetchResponse { error_code, ..Default::default() }));
        }
        let max_wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0));
        let min_bytes = u64::try_from(body.min_bytes).unwrap_or(0);
        let committed = body.isolation_level == 1;
        let replica = Replica::of(version, &body);
        let of_clients = u64::try_from(self.config.broker.fetch_max_bytes).unwrap_or(0);
        let bound = if replica.is_some() { ANSWER_BYTES_MAX } else { of_clients.min(ANSWER_BYTES_MAX) };
        let max_bytes = u64::try_from(body.max_bytes).unwrap_or(0).min(bound);
        let rack = (version >= 11 && replica.is_none()).then(|| body.rack_id.clone());
        let (context, wants) = match self.sessions.open(version, body, replica.is_some(), self.now.at, &mut self.rng) {
            Ok(opened) => opened,
            Err(code) => {
                probe!("a fetch session is refused");
                return self.reply(token, Response::Fetch(FetchResponse { error_code: code, ..Default::default() }));
            }
        };
        let deadline = self.now.at.after(max_wait);
        let (answers, locating) = (Vec::new(), 0);
        let fetching =
            Fetching { version, context, wants, committed, replica, rack, is_of_quorum, min_bytes, max_bytes, deadline, answers, locating };
        self.fetching.insert(token, fetching);
        self.replica_has(token);
        if max_wait.is_zero() || self.has_enough(token) {
            return self.gather(token);
        }
        self.timers.insert((deadline, Timer::Fetch(token)));
        self.watch(token, true);
    }

    /// Whether a parked or new fetch may be answered: an error, or bytes enough.
    fn has_enough(&self, token: Token) -> bool {
        let Some(fetching) = self.fetching.get(&token) else { return false };
        let mut bytes = 0;
        for want in &fetching.wants {
            match self.find(fetching, want) {
                Found::Error(_) | Found::Diverging { .. } | Found::Snapshot(_) | Found::Nearer(_) => return true,
                Found::Empty if self.has_news(fetching, want) => return true,
                Found::Empty => {}
                Found::Some { bytes: more } => bytes += more.min(u64::from(want.max_bytes)),
            }
        }
        // A changed session has something to say even without records.
        bytes > 0 && bytes >= fetching.min_bytes || fetching.min_bytes == 0 || fetching.wants.is_empty()
    }

    fn find(&self, fetching: &Fetching, want: &Want) -> Found {
        let unknown = if fetching.version >= 13 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        let partition = match self.hosted(self.wanted(fetching, want), unknown) {
            Ok(partition) => partition,
            Err(code) => return Found::Error(code),
        };
        let id = partition.id;
        let source = match Source::of(partition, fetching.rack.is_some()) {
            Ok(source) => source,
            Err(code) => return Found::Error(code),
        };
        if let Err(code) = check_epoch(want.leader_epoch, source.epoch)
            && !(source.is_followers && mutant!(FollowerAnyEpoch))
        {
            if source.is_followers {
                probe!("a follower turns away a client of another epoch");
            }
            return Found::Error(code);
        }
        let preferred = |rack: &String| self.preferred(id, partition.leader()?, want, rack);
        if let Some(nearer) = fetching.rack.as_ref().and_then(preferred) {
            return Found::Nearer(nearer);
        }
        if id == METADATA
            && let Some(apart) = self.metadata_apart(want, source.log)
        {
            return apart;
        }
        // Also where the epochs differ: a cut would not lead a follower to what is there.
        if want.offset < source.log.start() {
            return Found::Error(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if let Some(diverging) = diverging(want, &source) {
            return diverging;
        }
        if want.offset > source.log.end() {
            if source.is_followers {
                probe!("a follower does not have yet what a client has read");
            }
            return Found::Error(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let until = fetching.until(&source);
        if want.offset >= until || fetching.replica.is_some_and(|replica| self.holds_back(partition, replica.id)) {
            return Found::Empty;
        }
        // What is no longer in memory is more than the memory holds: enough for any sensible minimum.
        let bytes = self.tails.read(source.log.id(), want.offset, until, u64::from(want.max_bytes)).map_or(u64::MAX >> 16, |f| f.bytes);
        Found::Some { bytes }
    }

    /// As `diverging`, of the metadata log: it may begin with a snapshot.
    fn metadata_apart(&self, want: &Want, log: &Log) -> Option<Found> {
        match self.metadata_standing(log, want.offset, want.last_fetched_epoch) {
            Standing::Sound => None,
            Standing::Diverging { epoch, end } => Some(Found::Diverging { epoch, end }),
            Standing::Behind(id) => Some(Found::Snapshot(id)),
        }
    }

    /// The partition that a want names.
    fn wanted(&self, fetching: &Fetching, want: &Want) -> Option<PartitionId> {
        let by_id = PartitionId { topic: want.topic_id, index: want.partition };
        let id = if fetching.version >= 13 { by_id } else { self.named(&want.topic, want.partition)? };
        // The metadata log is for replicas that come in by a listener of the quorum, which serves nothing else.
        let is_metadata = id.topic == METADATA.topic;
        if is_metadata != fetching.is_of_quorum || (is_metadata && fetching.replica.is_none()) {
            return None;
        }
        Some(id)
    }

    /// What a replica asks for tells what it has: everything below, durable.
    fn replica_has(&mut self, token: Token) {
        let Some(fetching) = self.fetching.get(&token) else { return };
        let Some(replica) = fetching.replica else { return };
        let now = self.now;
        let (mut newest, mut listener, mut has) = (None, None, Vec::new());
        for want in &fetching.wants {
            let Some(id) = self.wanted(fetching, want) else { continue };
            let found = self.find(fetching, want);
            if id == METADATA {
                newest = newest.max(Some(want.leader_epoch));
                let listens = matches!(found, Found::Diverging { .. } | Found::Snapshot(_));
                listener = listener.or(listens.then_some((replica.id, want.directory)));
            }
            let is_sound = match found {
                Found::Error(_) | Found::Snapshot(_) => false,
                // KAFKA-13141: it is about to cut what lies behind, so its offset says nothing of what it has.
                Found::Diverging { .. } => mutant!(DivergingMovesLeo),
                Found::Empty | Found::Some { .. } | Found::Nearer(_) => true,
            };
            if is_sound {
                has.push((id, want.start..want.offset, want.directory));
            }
        }
        if let Some(epoch) = newest {
            // Whoever asks in a newer epoch tells that there is one.
            self.tell_quorum(|quorum, _| {
                if epoch > quorum.epoch() {
                    quorum.heard(now.at, epoch, None, None)
                }
            });
        }
        if let Some(listener) = listener {
            self.tell_quorum(|quorum, _| quorum.listens(now.at, listener));
        }
        for (id, held, directory) in has {
            if id == METADATA {
                self.tell_quorum(|quorum, _| quorum.fetched(now, (replica.id, directory), held.end));
                continue;
            }
            let Some(leader) = self.partitions.get_mut(&id).and_then(|p| p.leader_mut()) else { continue };
            let end = leader.log.end();
            let Some(isr) = leader.isr_mut() else { continue };
            isr.fetched(now.at, replica.id, replica.epoch, held, end);
            self.look_at_deletions(|wanted| wanted == id);
            self.advance(id);
            self.look_at_joiners(id);
        }
    }

    /// Whether there is something to say though there are no records: a replica of the metadata log learns at once what is committed (KIP-1166), and so does
    /// any other that clients may be sent to read from (KAFKA-9731).
    fn has_news(&self, fetching: &Fetching, want: &Want) -> bool {
        let id = self.wanted(fetching, want);
        let told = match id {
            Some(id) if id == METADATA => Some(want.high),
            _ if self.config.broker.is_rack_aware && fetching.replica.is_some() => self.sessions.told_high(&fetching.context, want),
            _ => None,
        };
        let leader = id.and_then(|id| self.partitions.get(&id)?.leader());
        let is_news = told.zip(leader).is_some_and(|(told, leader)| told < leader.high());
        if is_news && id != Some(METADATA) {
            probe!("a replica that clients may read from is told at once what is committed");
        }
        is_news
    }

    /// Decides the bounds of every partition now, and asks the store for what is not in memory.
    fn gather(&mut self, token: Token) {
        self.watch(token, false);
        self.stirred.remove(&token);
        let Some(mut fetching) = self.fetching.remove(&token) else { return };
        self.timers.remove(&(fetching.deadline, Timer::Fetch(token)));
        let mut left = fetching.max_bytes;
        let (mut locates, mut first) = (Vec::new(), true);
        for (at, want) in fetching.wants.iter().enumerate() {
            let (mut answer, locate) = self.gather_one(&fetching, want, &mut left, first);
            first &= locate.is_none() && answer.records.as_ref().is_none_or(Records::is_empty);
            // Kafka lists aborted transactions only for those who asked for committed records.
            answer.aborted_transactions = fetching.committed.then(Vec::new);
            fetching.answers.push(answer);
            locates.extend(self.wanted(&fetching, want).zip(locate).map(|(id, op)| (at, id, op)));
        }
        fetching.locating = locates.len();
        self.fetching.insert(token, fetching);
        if locates.is_empty() {
            return self.finish_fetch(token);
        }
        for (at, partition, op) in locates {
            self.store(op, Pending::Locate { token, at, partition });
        }
    }

    fn gather_one(&self, fetching: &Fetching, want: &Want, left: &mut u64, first: bool) -> (PartitionData, Option<StoreOp>) {
        let mut answer = PartitionData { partition_index: want.partition, ..Default::default() };
        answer.records = Some(Records::default());
        let id = self.wanted(fetching, want);
        if id == Some(METADATA) {
            // As Kafka, in each answer: a voter is told by `BeginQuorumEpoch`; a node without a vote, which may know no more than the epoch, by nobody.
            self.name_leader(id, &mut answer);
        }
        let source = id.and_then(|id| self.partitions.get(&id)).and_then(|p| Source::of(p, fetching.rack.is_some()).ok());
        (answer.high_watermark, answer.last_stable_offset) = (Offset::UNKNOWN, Offset::UNKNOWN);
        let found = self.find(fetching, want);
        // As Kafka: an error says nothing about the log.
        if let (Some(source), false) = (source, matches!(found, Found::Error(_))) {
            (answer.high_watermark, answer.last_stable_offset) = (source.high, source.stable);
            answer.log_start_offset = source.log.start();
        }
        match found {
            Found::Error(code) => {
                answer.error_code = code;
                self.name_leader(id, &mut answer);
            }
            Found::Diverging { epoch, end } => {
                probe!("a fetch is told where its epoch diverged");
                answer.diverging_epoch.epoch = epoch;
                answer.diverging_epoch.end_offset = end;
            }
            Found::Nearer(replica) => {
                probe!("a client is sent to a replica in its rack");
                answer.preferred_read_replica = replica;
            }
            Found::Snapshot(id) => {
                probe!("a replica is told to take a snapshot");
                answer.snapshot_id.end_offset = id.end;
                answer.snapshot_id.epoch = id.epoch;
            }
            Found::Empty => {}
            Found::Some { .. } if *left == 0 && !first => {}
            Found::Some { .. } => {
                let source = source.expect("what has bytes is a source");
                return self.take(answer, want, &source, fetching.until(&source), left, first);
            }
        }
        (answer, None)
    }

    /// Takes records from memory, or says where the store shall look.
    fn take(
        &self,
        mut answer: PartitionData,
        want: &Want,
        source: &Source<'_>,
        until: Offset,
        left: &mut u64,
        first: bool,
    ) -> (PartitionData, Option<StoreOp>) {
        let (log, from) = (source.log.id(), want.offset);
        let limit = u64::from(want.max_bytes).min(*left);
        let Some(found) = self.tails.read(log, from, until, limit) else {
            *left -= limit;
            let max_bytes = u32::try_from(limit).unwrap_or(u32::MAX);
            return (answer, Some(StoreOp::Locate { log, from, until, max_bytes }));
        };
        // KIP-74: only the first partition may exceed the limit, by one batch, so that a consumer always gets on.
        if found.bytes > limit && !first {
            return (answer, None);
        }
        *left = left.saturating_sub(found.bytes);
        answer.records = Some(Records(found.pieces.into_iter().map(Chunk::Bytes).collect()));
        (answer, None)
    }

    /// The store has looked.
    pub(super) fn located(&mut self, token: Token, at: usize, outcome: Result<Stored, StoreFault>) {
        let Some(fetching) = self.fetching.get_mut(&token) else { return };
        fetching.locating -= 1;
        let answer = &mut fetching.answers[at];
        match outcome {
            Ok(Stored::Located(Some(located))) => answer.records = Some(of_region(located)),
            // Retention or a cut was faster than the look-up: the client asks again and is told.
            Ok(_) | Err(StoreFault::Gone) => probe!("a located range is gone"),
            Err(_) => answer.error_code = ErrorCode::KAFKA_STORAGE_ERROR,
        }
        if fetching.locating == 0 {
            self.finish_fetch(token);
        }
    }

    fn finish_fetch(&mut self, token: Token) {
        let Some(mut fetching) = self.fetching.remove(&token) else { return };
        if mutant!(FetchMixedState) {
            self.mix_state(&mut fetching);
        }
        self.count_served(&fetching);
        let Fetching { version, context, wants, answers, .. } = fetching;
        let mut response = self.sessions.answer(version, context, wants, answers);
        self.tell_endpoints(token, &mut response);
        self.reply(token, Response::Fetch(response));
    }

    fn count_served(&mut self, fetching: &Fetching) {
        let Some(replica) = fetching.replica else { return };
        for (want, answer) in fetching.wants.iter().zip(&fetching.answers) {
            let bytes = answer.records.as_ref().map_or(0, Records::len);
            if bytes > 0
                && let Some(id) = self.wanted(fetching, want)
            {
                self.served(id, replica.id, u64::try_from(bytes).unwrap_or(u64::MAX));
            }
        }
    }

    /// The historic bug: bounds taken later than the data.
    fn mix_state(&self, fetching: &mut Fetching) {
        let mut answers = std::mem::take(&mut fetching.answers);
        for (want, answer) in fetching.wants.iter().zip(&mut answers) {
            let id = self.wanted(fetching, want);
            if let Some(leader) = id.and_then(|id| self.partitions.get(&id)).and_then(|p| p.leader()) {
                answer.high_watermark = leader.high();
                answer.log_start_offset = leader.log.start();
            }
        }
        fetching.answers = answers;
    }

    /// Something has moved in a partition that this fetch watches, or it has waited as long as it may.
    pub(super) fn look_again(&mut self, token: Token) {
        self.stirred.insert(token);
    }

    /// Answers a fetch that waited, or has it wait on: what it watches may have another role by now.
    pub(super) fn look(&mut self, token: Token) {
        let has_waited = self.fetching.get(&token).is_some_and(|fetching| fetching.deadline <= self.now.at);
        if has_waited || self.has_enough(token) {
            self.gather(token);
        } else {
            self.watch(token, true);
        }
    }

    /// The connection is gone.
    pub(super) fn drop_fetch(&mut self, token: Token) {
        self.watch(token, false);
        let Some(fetching) = self.fetching.remove(&token) else { return };
        self.timers.remove(&(fetching.deadline, Timer::Fetch(token)));
    }

    fn watch(&mut self, token: Token, on: bool) {
        let Some(fetching) = self.fetching.get(&token) else { return };
        let ids: Vec<PartitionId> = fetching.wants.iter().filter_map(|want| self.wanted(fetching, want)).collect();
        let is_replica = fetching.replica.is_some();
        for id in ids {
            let watching = match self.partitions.get_mut(&id).map(|p| &mut p.role) {
                Some(Role::Leader(leader)) if is_replica => &mut leader.replica_fetches,
                Some(Role::Leader(leader)) => &mut leader.fetches,
                Some(Role::Follower(follower)) => &mut follower.fetches,
                Some(Role::Opening | Role::Offline { .. }) | None => continue,
            };
            if on {
                watching.insert(token);
            } else {
                watching.remove(&token);
            }
        }
    }
}

impl Fetching {
    /// Where the answer ends: clients see what is committed, replicas what is written.
    fn until(&self, source: &Source<'_>) -> Offset {
        if self.replica.is_some() || mutant!(ReadAboveHw) { source.log.written() } else { source.high }
    }
}

fn of_region(located: Located) -> Records {
    Records(vec![Chunk::Region(located.region)])
}

/// KIP-320: a client that knows another leader epoch than ours is told so. −1: it does not say; what is below is older than any.
pub(super) fn check_epoch(asked: LeaderEpoch, ours: LeaderEpoch) -> Result<(), ErrorCode> {
    if asked.0 == -1 || asked == ours || mutant!(FetchWithoutEpoch) {
        return Ok(());
    }
    Err(if asked < ours { ErrorCode::FENCED_LEADER_EPOCH } else { ErrorCode::UNKNOWN_LEADER_EPOCH })
}

/// KIP-595: the epoch of the last fetched record must end, in our log, no earlier than the fetch offset.
fn diverging(want: &Want, source: &Source<'_>) -> Option<Found> {
    if want.last_fetched_epoch.0 < 0 {
        return None;
    }
    // An epoch that never was here.
    if want.last_fetched_epoch > source.epoch {
        return Some(Found::Error(ErrorCode::OFFSET_OUT_OF_RANGE));
    }
    let (epoch, end) = source.log.epochs().end_of(want.last_fetched_epoch, source.log.end());
    if mutant!(EpochUnknownFallback) {
        return (end < want.offset).then_some(Found::Diverging { epoch: want.last_fetched_epoch, end });
    }
    (epoch < want.last_fetched_epoch || end < want.offset).then_some(Found::Diverging { epoch, end })
}
