//! Fetch sessions (KIP-227): the broker remembers what a client asks for, and both sides say only what has changed.

use crate::error::ErrorCode;
use crate::id::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::probe;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::api::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use rand::Rng as _;
use std::collections::BTreeMap;
use std::time::Duration;

/// A session that was silent for so long gives its place to a new one (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICTION: Duration = Duration::from_secs(120);

/// One partition that a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Want {
    /// Empty from version 13 on.
    pub(super) topic: String,
    /// Zero before version 13.
    pub(super) topic_id: Uuid,
    pub(super) partition: PartitionIndex,
    pub(super) offset: Offset,
    /// Where the replica's log begins.
    pub(super) start: Offset,
    pub(super) max_bytes: u32,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) last_fetched_epoch: LeaderEpoch,
    /// The high watermark that the replica knows.
    pub(super) high: Offset,
    /// The replica's directory.
    pub(super) directory: Uuid,
}

/// How a fetch's answer is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// Everything is answered; no session.
    Sessionless,
    /// Everything is answered, and the client may go on with this session.
    New(i32),
    /// Only what changed is answered.
    Incremental(i32),
}

type Key = (Uuid, String, PartitionIndex);

#[derive(Clone, Debug)]
struct Cached {
    want: Want,
    high: Offset,
    start: Offset,
    failed: bool,
}

#[derive(Clone, Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    used: Instant,
    /// In the order in which they are served: who got records goes to the back, so that none starves.
    order: Vec<Key>,
    cached: BTreeMap<Key, Cached>,
}

/// All fetch sessions of a broker.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    limit: usize,
    sessions: BTreeMap<i32, Session>,
}

impl Sessions {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, sessions: BTreeMap::new() }
    }

    /// What a request wants, its session's memory included.
    pub(super) fn open(
        &mut self,
        version: i16,
        request: FetchRequest,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<(Context, Vec<Want>), ErrorCode> {
        let (id, epoch) = if version >= 7 { (request.session_id, request.session_epoch) } else { (0, -1) };
        if epoch > 0 {
            return self.go_on(version, id, epoch, &request, now);
        }
        if id != 0 {
            // A full request ends the session it names.
            self.sessions.remove(&id);
        }
        let wants = wants_of(&request);
        if epoch != 0 || id != 0 && epoch == -1 {
            return Ok((Context::Sessionless, wants));
        }
        Ok((self.begin(version, &wants, now, rng), wants))
    }

    fn begin(&mut self, version: i16, wants: &[Want], now: Instant, rng: &mut Rng) -> Context {
        if wants.is_empty() || !self.make_room(now) {
            return Context::Sessionless;
        }
        let id = loop {
            let id = rng.random_range(1..i32::MAX);
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session { epoch: 1, by_id: version >= 13, used: now, order: Vec::new(), cached: BTreeMap::new() };
        wants.iter().for_each(|want| session.put(want.clone()));
        self.sessions.insert(id, session);
        Context::New(id)
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.sessions.len() < self.limit {
            return true;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used).map(|(id, session)| (*id, session.used));
        let Some((id, used)) = oldest else { return false };
        if now.since(used) < EVICTION {
            probe!("no room for another fetch session");
            return false;
        }
        self.sessions.remove(&id);
        true
    }

    fn go_on(
        &mut self,
        version: i16,
        id: i32,
        epoch: i32,
        request: &FetchRequest,
        now: Instant,
    ) -> Result<(Context, Vec<Want>), ErrorCode> {
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != (version >= 13) {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.used = now;
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                session.forget(&(topic.topic_id, topic.topic.clone(), PartitionIndex(partition.0)));
            }
        }
        wants_of(request).into_iter().for_each(|want| session.put(want));
        let wants = session.order.iter().map(|key| session.cached[key].want.clone()).collect();
        if session.cached.is_empty() {
            self.sessions.remove(&id);
        }
        Ok((Context::Incremental(id), wants))
    }

    /// Writes the answer: all of it, or what the client does not know yet.
    pub(super) fn answer(&mut self, version: i16, context: Context, wants: Vec<Want>, answers: Vec<PartitionData>) -> FetchResponse {
        let session_id = match context {
            Context::Sessionless => 0,
            Context::New(id) | Context::Incremental(id) => id,
        };
        let mut session = self.sessions.get_mut(&session_id);
        let incremental = matches!(context, Context::Incremental(_));
        let mut response = FetchResponse { session_id, ..Default::default() };
        for (want, answer) in wants.into_iter().zip(answers) {
            let news = session.as_mut().is_none_or(|session| session.note(&want, &answer));
            if incremental && !news {
                continue;
            }
            push(&mut response.responses, version, want, answer);
        }
        response
    }
}

impl Session {
    fn put(&mut self, want: Want) {
        let key = key_of(&want);
        match self.cached.get_mut(&key) {
            Some(cached) => cached.want = want,
            None => {
                self.order.push(key.clone());
                // The first answer always says something, whatever the bounds are.
                self.cached.insert(key, Cached { want, high: Offset::UNKNOWN, start: Offset::UNKNOWN, failed: false });
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        if self.cached.remove(key).is_some() {
            self.order.retain(|other| other != key);
        }
    }

    /// Remembers what is said of a partition, and tells whether it is news.
    fn note(&mut self, want: &Want, answer: &PartitionData) -> bool {
        let key = key_of(want);
        let Some(cached) = self.cached.get_mut(&key) else { return true };
        let records = answer.records.as_ref().is_some_and(|records| !records.0.is_empty());
        let failed = answer.error_code != ErrorCode::NONE;
        let diverging = answer.diverging_epoch.epoch.0 >= 0;
        let moved = cached.high != answer.high_watermark || cached.start != answer.log_start_offset;
        let healed = cached.failed && !failed;
        (cached.high, cached.start, cached.failed) = (answer.high_watermark, answer.log_start_offset, failed);
        if records && let Some(at) = self.order.iter().position(|other| *other == key) {
            let key = self.order.remove(at);
            self.order.push(key);
        }
        let is_sent_on = answer.preferred_read_replica.0 >= 0;
        records || failed || diverging || moved || healed || is_sent_on
    }
}

fn key_of(want: &Want) -> Key {
    (want.topic_id, want.topic.clone(), want.partition)
}

fn wants_of(request: &FetchRequest) -> Vec<Want> {
    let mut wants = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            wants.push(Want {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                partition: partition.partition,
                offset: partition.fetch_offset,
                start: partition.log_start_offset,
                max_bytes: u32::try_from(partition.partition_max_bytes).unwrap_or(0),
                // Other requests have one value for "not said"; in a fetch every negative one means it.
                leader_epoch: partition.current_leader_epoch.max(LeaderEpoch(-1)),
                last_fetched_epoch: partition.last_fetched_epoch,
                high: partition.high_watermark,
                directory: partition.replica_directory_id,
            });
        }
    }
    wants
}

fn push(topics: &mut Vec<FetchableTopicResponse>, version: i16, want: Want, answer: PartitionData) {
    let same = |topic: &FetchableTopicResponse| if version >= 13 { topic.topic_id == want.topic_id } else { topic.topic == want.topic };
    match topics.last_mut().filter(|topic| same(topic)) {
        Some(topic) => topic.partitions.push(answer),
        None => topics.push(FetchableTopicResponse {
            topic: want.topic,
            topic_id: want.topic_id,
            partitions: vec![answer],
            ..Default::default()
        }),
    }
}
