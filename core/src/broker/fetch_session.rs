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

/// A session that was silent for so long gives its place to a new one (Kafka's `min.incremental.fetch.session.eviction.ms`). That of a client gives it to a
/// follower's at any time, as in Kafka.
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
    /// Its place in the session, if it comes from one.
    turn: u64,
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
    is_replicas: bool,
    used: Instant,
    /// In the order in which they are served: who got records goes to the back, so that none starves.
    cached: BTreeMap<u64, Cached>,
    turns: BTreeMap<Key, u64>,
    next_turn: u64,
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
        is_replicas: bool,
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
        let mut wants = wants_of(&request);
        if epoch != 0 || id != 0 && epoch == -1 {
            return Ok((Context::Sessionless, wants));
        }
        Ok((self.begin(version, is_replicas, &mut wants, now, rng), wants))
    }

    fn begin(&mut self, version: i16, is_replicas: bool, wants: &mut [Want], now: Instant, rng: &mut Rng) -> Context {
        if wants.is_empty() || !self.make_room(is_replicas, now) {
            return Context::Sessionless;
        }
        let id = loop {
            let id = rng.random_range(1..i32::MAX);
            if !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let (cached, turns) = (BTreeMap::new(), BTreeMap::new());
        let mut session = Session { epoch: 1, by_id: version >= 13, is_replicas, used: now, cached, turns, next_turn: 0 };
        wants.iter_mut().for_each(|want| want.turn = session.put(want.clone()));
        self.sessions.insert(id, session);
        Context::New(id)
    }

    fn make_room(&mut self, for_replica: bool, now: Instant) -> bool {
        if self.sessions.len() < self.limit {
            return true;
        }
        let is_silent = |session: &Session| now.since(session.used) >= EVICTION;
        let gives_way = self.sessions.iter().filter(|(_, session)| is_silent(session) || (for_replica && !session.is_replicas));
        let Some(id) = gives_way.min_by_key(|(_, session)| session.used).map(|(id, _)| *id) else {
            probe!("no room for another fetch session");
            return false;
        };
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
        for want in wants_of(request) {
            session.put(want);
        }
        let wants = session.cached.values().map(|cached| cached.want.clone()).collect();
        if session.cached.is_empty() {
            self.sessions.remove(&id);
        }
        Ok((Context::Incremental(id), wants))
    }

    /// The high watermark that was last told in answer to `want`, if its session remembers.
    pub(super) fn told_high(&self, context: &Context, want: &Want) -> Option<Offset> {
        let (Context::New(id) | Context::Incremental(id)) = context else { return None };
        Some(self.sessions.get(id)?.cached.get(&want.turn)?.high)
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
    /// What is wanted of a partition from now on. Answers its turn.
    fn put(&mut self, mut want: Want) -> u64 {
        let turn = *self.turns.entry(key_of(&want)).or_insert(self.next_turn);
        want.turn = turn;
        match self.cached.get_mut(&turn) {
            Some(cached) => cached.want = want,
            None => {
                self.next_turn += 1;
                // The first answer always says something, whatever the bounds are.
                self.cached.insert(turn, Cached { want, high: Offset::UNKNOWN, start: Offset::UNKNOWN, failed: false });
            }
        }
        turn
    }

    fn forget(&mut self, key: &Key) {
        if let Some(turn) = self.turns.remove(key) {
            self.cached.remove(&turn);
        }
    }

    fn go_to_the_back(&mut self, turn: u64) {
        let Some(mut cached) = self.cached.remove(&turn) else { return };
        let last = self.next_turn;
        self.next_turn += 1;
        cached.want.turn = last;
        self.turns.insert(key_of(&cached.want), last);
        self.cached.insert(last, cached);
    }

    /// Remembers what is said of a partition, and tells whether it is news.
    fn note(&mut self, want: &Want, answer: &PartitionData) -> bool {
        let Some(cached) = self.cached.get_mut(&want.turn) else { return true };
        let records = answer.records.as_ref().is_some_and(|records| !records.0.is_empty());
        let failed = answer.error_code != ErrorCode::NONE;
        let diverging = answer.diverging_epoch.epoch.0 >= 0;
        let moved = cached.high != answer.high_watermark || cached.start != answer.log_start_offset;
        let healed = cached.failed && !failed;
        (cached.high, cached.start, cached.failed) = (answer.high_watermark, answer.log_start_offset, failed);
        if records {
            self.go_to_the_back(want.turn);
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
                turn: 0,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use crate::wire::api::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
    use crate::wire::{Chunk, Records};
    use bytes::Bytes;

    const TOPIC: Uuid = Uuid([1; 16]);

    fn request(session_id: i32, session_epoch: i32, partitions: &[i32], forgotten: &[i32]) -> FetchRequest {
        let partition = |number: &i32| FetchPartition { partition: PartitionIndex(*number), ..Default::default() };
        let topic = FetchTopic { topic_id: TOPIC, partitions: partitions.iter().map(partition).collect(), ..Default::default() };
        let forgotten = ForgottenTopic {
            topic_id: TOPIC,
            partitions: forgotten.iter().map(|number| PartitionIndex(*number)).collect(),
            ..Default::default()
        };
        FetchRequest { session_id, session_epoch, topics: vec![topic], forgotten_topics_data: vec![forgotten], ..Default::default() }
    }

    fn numbers(wants: &[Want]) -> Vec<i32> {
        wants.iter().map(|want| want.partition.0).collect()
    }

    /// Answers of the wants, of which those of `full` have records; which partitions are told.
    fn answer(sessions: &mut Sessions, (context, wants): (Context, Vec<Want>), full: &[i32]) -> Vec<i32> {
        let records = |want: &Want| full.contains(&want.partition.0).then(|| Records(vec![Chunk::Bytes(Bytes::from_static(b"x"))]));
        let data = |want: &Want| PartitionData { partition_index: want.partition, records: records(want), ..Default::default() };
        let answers = wants.iter().map(data).collect();
        let response = sessions.answer(13, context, wants, answers);
        response.responses.iter().flat_map(|topic| &topic.partitions).map(|answer| answer.partition_index.0).collect()
    }

    #[test]
    fn a_clients_session_gives_way_to_a_followers_and_else_only_after_silence() {
        let mut sessions = Sessions::new(1);
        let mut rng = rng::stream(7, "fetch sessions");
        let mut begins = |is_replicas, at| {
            let now = Instant::default().after(Duration::from_secs(at));
            let (context, _) = sessions.open(15, request(0, 0, &[0], &[]), is_replicas, now, &mut rng).expect("nothing is refused");
            matches!(context, Context::New(_))
        };
        assert!(begins(false, 0));
        assert!(!begins(false, 119));
        assert!(begins(false, 120));
        assert!(begins(true, 121));
        assert!(!begins(false, 122) && !begins(true, 122));
        assert!(begins(false, 241));
    }

    #[test]
    fn who_got_records_is_served_last_and_only_news_are_told() {
        let mut sessions = Sessions::new(1);
        let mut rng = rng::stream(7, "fetch sessions");
        let mut open =
            |sessions: &mut Sessions, request| sessions.open(13, request, false, Instant::default(), &mut rng).expect("a session");
        let (context, wants) = open(&mut sessions, request(0, 0, &[0, 1, 2], &[]));
        let Context::New(id) = context else { panic!("{context:?}") };
        assert_eq!(numbers(&wants), [0, 1, 2]);
        assert_eq!(answer(&mut sessions, (context, wants), &[0]), [0, 1, 2], "the first answer tells all");
        let opened = open(&mut sessions, request(id, 1, &[], &[]));
        assert_eq!(numbers(&opened.1), [1, 2, 0]);
        assert_eq!(answer(&mut sessions, opened, &[1, 0]), [1, 0]);
        let opened = open(&mut sessions, request(id, 2, &[2], &[1]));
        assert_eq!(numbers(&opened.1), [2, 0], "it wants no more of 1, and what it says anew of 2 moves nothing");
        assert_eq!(answer(&mut sessions, opened, &[]), [0; 0]);
        let opened = open(&mut sessions, request(id, 3, &[1], &[]));
        assert_eq!(numbers(&opened.1), [2, 0, 1]);
        assert_eq!(answer(&mut sessions, opened, &[]), [1], "to a new one the first answer is news");
    }
}
