//! Followers fetch: one fetch at a time from each leader, for all partitions that it leads. The next one leaves when everything that the last one
//! brought is durable here, since a fetch offset **is** the durable end (DESIGN: replication).
//!
//! What is said in a fetch session (KIP-227) is only what changed.

use super::boot::Phase;
use super::calls::{Asker, Fetched};
use super::io::{Lane, Peer, Unreachable};
use super::news::Trouble;
use super::range::Lost;
use super::{Broker, Timer, ms};
use crate::client::io::Address;
use crate::error::ErrorCode;
use crate::id::{BrokerId, LeaderEpoch, Offset, Uuid};
use crate::log::{Log, Ops};
use crate::partition::PartitionId;
use crate::time::Instant;
use crate::wire::Response;
use crate::wire::api::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData, ReplicaState};
use crate::wire::batch::Batch;
use crate::{mutant, probe};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long an answer may take beyond the wait.
const TIMEOUT: Duration = Duration::from_secs(5);
/// After a failure the leader, or the partition, is left alone for so long (`replica.fetch.backoff.ms` is a second; refusals are cheap here).
const BACKOFF: Duration = Duration::from_millis(100);
/// For how long a leader that nobody answers for is told to nobody. The controller finds out in a round trip; if it does not agree by then, it is right.
const DOUBT: Duration = Duration::from_secs(1);
/// For how long it is told to nobody while a lost connection is made anew. Clients lose theirs in the same moment, and ask at once who leads: told of
/// the old leader, some ask again only after seconds.
const DOUBT_OF_LOST: Duration = Duration::from_millis(200);

/// What was last said of a partition in the session.
type Told = (Offset, LeaderEpoch, LeaderEpoch, Offset);

/// Fetches from one leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetcher {
    /// What to fetch, and what the leader knows of it.
    wanted: BTreeMap<PartitionId, Option<Told>>,
    /// What the leader must be told to forget.
    forgotten: BTreeSet<PartitionId>,
    /// What was fetched and is not durable here.
    busy: BTreeSet<PartitionId>,
    session: i32,
    epoch: i32,
    is_open: bool,
    /// Not before.
    retry: Option<Instant>,
    /// The last fetch was answered.
    is_answered: bool,
    /// Since its connection was lost, or its door was found shut, the leader is in doubt, until then.
    doubted: Option<Instant>,
    is_refused: bool,
    /// Partitions that failed; they rest.
    resting: BTreeSet<PartitionId>,
    /// Partitions whose end the leader does not hold.
    pub(super) lost: Lost,
    pub(super) trouble: Trouble,
}

impl Fetcher {
    fn forget_session(&mut self) {
        (self.session, self.epoch) = (0, 0);
        self.forgotten.clear();
        self.wanted.values_mut().for_each(|told| *told = None);
    }

    /// What it waits for.
    pub(super) fn summary(&self) -> String {
        let Self { busy, is_open, retry, resting, lost, .. } = self;
        format!("an answer {is_open}, to rest {retry:?}, the disk {busy:?}, resting {resting:?}, {lost:?}")
    }

    /// What is fetched from this leader.
    pub(super) fn wanted(&self) -> impl Iterator<Item = PartitionId> {
        self.wanted.keys().copied()
    }

    /// A partition is not asked for now: the leader is told to forget it.
    pub(super) fn unsay(&mut self, id: PartitionId) {
        if let Some(told) = self.wanted.get_mut(&id)
            && told.take().is_some()
        {
            self.forgotten.insert(id);
        }
    }

    /// A partition is not asked for until the fetcher has rested.
    pub(super) fn let_rest(&mut self, id: PartitionId) {
        self.unsay(id);
        self.resting.insert(id);
    }
}

impl Broker {
    /// A partition follows `leader` from now on.
    pub(super) fn fetch_from(&mut self, leader: BrokerId, id: PartitionId) {
        let is_durable = |log: &Log| log.durable() >= log.end();
        let may_ask = self.partitions.get(&id).and_then(|p| p.open_log()).is_none_or(is_durable);
        let fetcher = self.fetchers.entry(leader).or_default();
        fetcher.wanted.insert(id, None);
        fetcher.resting.remove(&id);
        if !may_ask {
            probe!("a follower takes up another epoch before what it has is durable");
            fetcher.busy.insert(id);
        }
        self.fetch_next(leader);
    }

    /// A partition follows nobody any more.
    pub(super) fn fetch_no_more(&mut self, id: PartitionId) {
        let Some(leader) = self.partitions.get(&id).map(|_| ()).and_then(|()| self.fetcher_of(id)) else { return };
        let fetcher = self.fetchers.get_mut(&leader).expect("just found");
        if fetcher.wanted.remove(&id).flatten().is_some() {
            fetcher.forgotten.insert(id);
        }
        fetcher.resting.remove(&id);
        fetcher.busy.remove(&id);
        fetcher.lost.forget(&id);
        if fetcher.wanted.is_empty() {
            self.fetchers.remove(&leader);
            [Asker::Fetcher(leader), Asker::Begins(leader), Asker::Ends(leader)].into_iter().for_each(|asker| self.give_up(asker));
        } else {
            // The others may have waited for this one to be durable.
            self.fetch_next(leader);
        }
    }

    fn fetcher_of(&self, id: PartitionId) -> Option<BrokerId> {
        self.fetchers.iter().find(|(_, fetcher)| fetcher.wanted.contains_key(&id)).map(|(leader, _)| *leader)
    }

    /// A follower's log has become durable up to its end, or somewhere before.
    pub(super) fn follower_durable(&mut self, id: PartitionId) {
        let Some(follower) = self.partitions.get(&id).and_then(|p| p.follower()) else { return };
        if follower.log.durable() < follower.log.end() {
            return;
        }
        let leader = follower.leader;
        self.follow_start(id);
        let Some(fetcher) = leader.and_then(|leader| self.fetchers.get_mut(&leader)) else { return };
        if fetcher.busy.remove(&id)
            && fetcher.busy.is_empty()
            && let Some(leader) = leader
        {
            self.fetch_next(leader);
        }
    }

    /// Where brokers find a broker.
    pub(super) fn replica_peer(&self, id: BrokerId, lane: Lane) -> Option<Peer> {
        let broker = self.image().brokers().get(&id)?;
        let listener = &self.config.broker.inter_broker;
        let endpoint = broker.endpoints.iter().find(|(name, ..)| name == listener).or(broker.endpoints.first())?;
        Some(Peer { id, address: Address { host: endpoint.1.clone(), port: endpoint.2 }, lane })
    }

    /// Asks for what follows, if nothing is under way.
    pub(super) fn fetch_next(&mut self, leader: BrokerId) {
        let now = self.now.at;
        let Some(fetcher) = self.fetchers.get(&leader) else { return };
        let rests = fetcher.retry.is_some_and(|at| at > now) || self.phase == Phase::Stopping;
        if fetcher.is_open || rests || !fetcher.busy.is_empty() {
            return;
        }
        self.hold_back_followers(leader);
        // A fetch of nothing would be answered at once. The timer that ends their rest is set.
        if self.fetchers.get(&leader).is_some_and(|fetcher| fetcher.wanted().all(|id| fetcher.resting.contains(&id))) {
            return;
        }
        let (Some(peer), Some(broker_epoch)) = (self.replica_peer(leader, Lane::Replica), self.life.epoch) else {
            return self.fetch_later(leader);
        };
        let mut fetcher = self.fetchers.remove(&leader).expect("looked at above");
        let request = self.replica_request(&mut fetcher, broker_epoch);
        fetcher.is_open = true;
        self.fetchers.insert(leader, fetcher);
        self.call(peer, request.into(), Asker::Fetcher(leader), ms(self.config.broker.replica_fetch_wait_max_ms.into()) + TIMEOUT);
    }

    fn fetch_later(&mut self, leader: BrokerId) {
        let at = self.timer(BACKOFF, Timer::Fetcher(leader));
        if let Some(fetcher) = self.fetchers.get_mut(&leader) {
            fetcher.retry = Some(at);
        }
    }

    /// The time to rest is over.
    pub(super) fn fetcher_rested(&mut self, leader: BrokerId) {
        if let Some(fetcher) = self.fetchers.get_mut(&leader) {
            fetcher.retry = None;
            fetcher.resting.clear();
            self.fetch_next(leader);
        }
    }

    fn replica_request(&self, fetcher: &mut Fetcher, broker_epoch: i64) -> FetchRequest {
        let mut topics: BTreeMap<Uuid, Vec<FetchPartition>> = BTreeMap::new();
        for (id, told) in &mut fetcher.wanted {
            let Some(follower) = self.partitions.get(id).and_then(|p| p.follower()) else { continue };
            let log = &follower.log;
            let last = log.epochs().latest().unwrap_or(LeaderEpoch(-1));
            let now = (log.end(), follower.epoch, last, log.start());
            if *told == Some(now) || fetcher.resting.contains(id) || fetcher.lost.holds(id) {
                continue;
            }
            *told = Some(now);
            fetcher.forgotten.remove(id);
            topics.entry(id.topic).or_default().push(FetchPartition {
                partition: id.index,
                current_leader_epoch: follower.epoch,
                fetch_offset: log.end(),
                last_fetched_epoch: last,
                log_start_offset: log.start(),
                partition_max_bytes: self.config.broker.replica_fetch_max_bytes,
                ..Default::default()
            });
        }
        let mut forgotten: BTreeMap<Uuid, Vec<_>> = BTreeMap::new();
        for id in std::mem::take(&mut fetcher.forgotten) {
            forgotten.entry(id.topic).or_default().push(id.index);
        }
        FetchRequest {
            replica_state: ReplicaState { replica_id: self.config.broker.id, replica_epoch: broker_epoch },
            max_wait_ms: self.config.broker.replica_fetch_wait_max_ms,
            min_bytes: self.config.broker.replica_fetch_min_bytes,
            max_bytes: self.config.broker.replica_fetch_response_max_bytes,
            session_id: fetcher.session,
            session_epoch: fetcher.epoch,
            topics: topics.into_iter().map(|(topic_id, partitions)| FetchTopic { topic_id, partitions, ..Default::default() }).collect(),
            forgotten_topics_data: forgotten
                .into_iter()
                .map(|(topic_id, partitions)| ForgottenTopic { topic_id, partitions, ..Default::default() })
                .collect(),
            ..Default::default()
        }
    }

    /// A leader answered, or did not.
    pub(super) fn replicas_fetched(&mut self, leader: BrokerId, outcome: Result<Response, Unreachable>, fetched: Fetched) {
        let Some(fetcher) = self.fetchers.get_mut(&leader) else { return };
        fetcher.is_open = false;
        let response = match outcome {
            Ok(Response::Fetch(response)) if response.error_code == ErrorCode::NONE => response,
            Ok(Response::Fetch(_)) => {
                probe!("a leader does not know the fetch session");
                fetcher.forget_session();
                return self.fetch_later(leader);
            }
            Ok(_) => return self.fetch_failed(leader, None),
            Err(why) => return self.fetch_failed(leader, Some(why)),
        };
        (fetcher.is_answered, fetcher.is_refused) = (true, false);
        let was_doubted = fetcher.doubted.take().is_some();
        fetcher.session = response.session_id;
        fetcher.epoch = if response.session_id == 0 { 0 } else { next_epoch(fetcher.epoch) };
        let has_session = response.session_id != 0;
        if !has_session && mutant!(SessionlessForgotten) {
            fetcher.forget_session();
        }
        if was_doubted {
            self.look_at_doubts();
        }
        self.take_in_answer(leader, response, fetched);
        // What was let to rest is asked for anew, and may not have been asked for at all.
        let is_whole =
            self.fetchers.get(&leader).is_some_and(|fetcher| fetcher.resting.is_empty() && fetcher.wanted.values().all(Option::is_some));
        // What was asked tells which answers count; a leader without room for a session is told all of it again.
        if let Some(fetcher) = self.fetchers.get_mut(&leader).filter(|_| !has_session) {
            probe!("a follower fetches without a session");
            fetcher.forget_session();
        }
        self.tell_fetched(leader, is_whole);
        // Before the next fetch, which may wait long.
        self.ask_ends(leader);
        self.fetch_next(leader);
    }

    /// A connection that has just broken is made anew at once: whether that is refused tells if the leader's process is gone.
    fn fetch_failed(&mut self, leader: BrokerId, why: Option<Unreachable>) {
        let now = self.now.at;
        let Some(fetcher) = self.fetchers.get_mut(&leader) else { return };
        fetcher.forget_session();
        let was_answered = std::mem::take(&mut fetcher.is_answered);
        match why {
            Some(Unreachable::Refused) if !std::mem::replace(&mut fetcher.is_refused, true) => {
                probe!("a leader's door is shut, and it is told to nobody");
                fetcher.doubted = Some(now.after(DOUBT));
            }
            Some(Unreachable::Lost) if was_answered => {
                fetcher.doubted = Some(now.after(DOUBT_OF_LOST));
                return self.fetch_next(leader);
            }
            _ => {}
        }
        // What is no answer to a fetch at all is no better than none.
        self.tell_unreachable(leader, why.unwrap_or(Unreachable::Lost));
        self.fetch_later(leader);
    }

    /// Whether a leader is better not told to clients: they would wait for it, while another one is being elected.
    pub(super) fn is_doubted(&self, leader: BrokerId) -> bool {
        self.fetchers.get(&leader).and_then(|fetcher| fetcher.doubted).is_some_and(|until| self.now.at < until)
    }

    /// Whether any leader is in doubt.
    pub(super) fn doubts_any(&self) -> bool {
        self.fetchers.keys().any(|leader| self.is_doubted(*leader))
    }

    fn take_in_answer(&mut self, leader: BrokerId, response: FetchResponse, fetched: Fetched) {
        let mut fetched = fetched.into_iter();
        for topic in response.responses {
            for answer in topic.partitions {
                let batches = fetched.next().unwrap_or_else(|| Ok(Vec::new()));
                let id = PartitionId { topic: topic.topic_id, index: answer.partition_index };
                let batches = match batches {
                    Ok(batches) => batches,
                    Err(_) => {
                        probe!("a fetched batch is damaged");
                        self.tell_unfetched(leader, id, ErrorCode::CORRUPT_MESSAGE);
                        self.rest(leader, id);
                        continue;
                    }
                };
                self.take_in_partition(leader, id, &answer, &batches);
            }
        }
    }

    /// What a leader said of one partition.
    fn take_in_partition(&mut self, leader: BrokerId, id: PartitionId, answer: &PartitionData, batches: &[Batch]) {
        let Some(follower) = self.partitions.get(&id).and_then(|p| p.follower()) else { return };
        let told = self.fetchers.get(&leader).and_then(|fetcher| fetcher.wanted.get(&id)).copied().flatten();
        // An answer to a question that is no longer asked.
        if follower.leader != Some(leader) || told.is_none_or(|(end, epoch, ..)| (end, epoch) != (follower.log.end(), follower.epoch)) {
            return;
        }
        if answer.error_code == ErrorCode::OFFSET_OUT_OF_RANGE {
            return self.out_of_range(leader, id);
        }
        if answer.error_code != ErrorCode::NONE {
            self.tell_unfetched(leader, id, answer.error_code);
            return self.rest(leader, id);
        }
        if answer.diverging_epoch.epoch.0 >= 0 {
            // KAFKA-14704: what is about to be cut must not count as committed meanwhile, since clients read here. There other threads read between the
            // two steps; so that time passes here, the mutant cuts when it is told once more.
            let follower = self.partitions.get_mut(&id).and_then(|p| p.follower_mut()).expect("looked at above");
            if mutant!(HwBeforeTrunc) && follower.told_high(answer.high_watermark) {
                self.follower_moved(id);
                return self.rest(leader, id);
            }
            return self.cut_diverged(id, answer.diverging_epoch.epoch, answer.diverging_epoch.end_offset);
        }
        let (batches, others) = batches.split_at(follower.log.epochs().followed_by(batches, follower.epoch));
        let first = batches.first().filter(|first| follower.log.begins_within(first));
        if !others.is_empty() {
            probe!("a fetched batch names an epoch that cannot be");
            self.tell_unfetched(leader, id, ErrorCode::CORRUPT_MESSAGE);
            // What stands in front of it is sound, and may have no other copy.
            self.rest(leader, id);
        }
        if let Some(first) = first {
            return self.begin_with(id, first);
        }
        // A gap that stands before the first batch is one of the leader's log, which looks at that; any other may be a base offset that has rotted, since
        // no checksum covers it, unless there are gaps here too.
        for (at, batch) in batches.iter().enumerate() {
            let may_leave_gap = at == 0 || self.partitions.get(&id).and_then(|p| p.open_log()).is_some_and(Log::has_gaps);
            self.replicate(id, batch, may_leave_gap);
        }
        let bytes = batches.iter().flat_map(|batch| batch.pieces()).map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum();
        self.fetched_of_throttled(id, bytes);
        let Some(follower) = self.partitions.get_mut(&id).and_then(|p| p.follower_mut()) else { return };
        let is_news = follower.told_high(answer.high_watermark);
        follower.told_start(answer.log_start_offset);
        if follower.log.durable() < follower.log.end()
            && let Some(fetcher) = self.fetchers.get_mut(&leader)
        {
            fetcher.busy.insert(id);
        }
        self.follow_start(id);
        if is_news {
            self.follower_moved(id);
        }
    }

    /// Appends a leader's batch, if it follows; `may_leave_gap`: where compaction has taken away what stood between.
    pub(super) fn replicate(&mut self, id: PartitionId, batch: &Batch, may_leave_gap: bool) {
        let wall = self.now.wall;
        let Some(partition) = self.partitions.get_mut(&id) else { return };
        let (config, dir) = (partition.config.clone(), partition.dir);
        let Some(follower) = partition.follower_mut() else { return };
        let (base, end) = (batch.header().base_offset, follower.log.end());
        if base < end || (base > end && !may_leave_gap) {
            return;
        }
        let mut ops = Ops::default();
        follower.log.take_in(batch, &config, wall, &mut ops);
        let log = follower.log.id();
        self.tails.push(log, batch.clone());
        self.carry_out(id, dir, ops);
    }

    /// A partition that cannot be fetched now is asked for again later.
    pub(super) fn rest(&mut self, leader: BrokerId, id: PartitionId) {
        let Some(fetcher) = self.fetchers.get_mut(&leader) else { return };
        fetcher.let_rest(id);
        self.timer(BACKOFF, Timer::Fetcher(leader));
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::super::io::Effect;
    use super::*;
    use crate::id::PartitionIndex;
    use crate::log::Recovered;
    use crate::partition::Role;
    use crate::partition::follower::Follower;
    use crate::time::Timestamp;
    use crate::wire::api::fetch::{EpochEndOffset, FetchableTopicResponse};
    use crate::wire::batch::Compression;
    use crate::wire::record::{BatchBuilder, Identity, Payload};
    use std::sync::Arc;

    const LEADER: BrokerId = BrokerId(2);

    /// A broker with two partitions that follow a leader of whom it knows no address, so that each attempt to fetch ends in a rest.
    fn followers() -> (Broker, [PartitionId; 2]) {
        let mut broker = Broker::for_tests();
        let topic_config = Arc::new(broker.config.broker.topic_defaults());
        let ids = [0, 1].map(|index| PartitionId { topic: Uuid([9; 16]), index: PartitionIndex(index) });
        for id in ids {
            broker.create_partition(&"t".into(), id, &topic_config);
            broker.opened(id, Recovered::empty());
            let (log, high) = broker.step_down(id).expect("its log is open");
            broker.partitions.get_mut(&id).expect("made").role =
                Role::Follower(Box::new(Follower::new(LeaderEpoch(1), Some(LEADER), log, high)));
        }
        (broker, ids)
    }

    /// Whether it has tried to fetch since it was last asked.
    fn tried(broker: &mut Broker) -> bool {
        broker.fetchers.get_mut(&LEADER).expect("somebody follows").retry.take().is_some()
    }

    #[test]
    fn others_wait_for_a_partition_only_while_it_is_fetched() {
        let (mut broker, ids) = followers();
        ids.into_iter().for_each(|id| broker.fetch_from(LEADER, id));
        assert!(tried(&mut broker));
        broker.fetchers.get_mut(&LEADER).expect("somebody follows").busy.insert(ids[0]);
        broker.fetch_next(LEADER);
        assert!(!tried(&mut broker));
        broker.fetch_no_more(ids[0]);
        assert!(tried(&mut broker));
    }

    /// A batch of one record, as a leader in `epoch` wrote it.
    fn batch(base: i64, epoch: i32) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None, None);
        builder.push(Timestamp(1), &Payload { key: None, value: Some("x".into()), headers: Vec::new() });
        builder.finish(Identity::NONE).stamp(Offset(base), LeaderEpoch(epoch))
    }

    /// Asks the leader for a partition from its beginning, and takes in these batches as its answer, without a session.
    fn answered(broker: &mut Broker, id: PartitionId, batches: Vec<Batch>) {
        broker.fetch_from(LEADER, id);
        let fetcher = broker.fetchers.get_mut(&LEADER).expect("somebody follows");
        (fetcher.is_open, fetcher.retry) = (true, None);
        fetcher.wanted.insert(id, Some((Offset(0), LeaderEpoch(1), LeaderEpoch(-1), Offset(0))));
        let partition = PartitionData {
            partition_index: id.index,
            diverging_epoch: EpochEndOffset { epoch: LeaderEpoch(-1), end_offset: Offset(-1) },
            ..Default::default()
        };
        let topic = FetchableTopicResponse { topic_id: id.topic, partitions: vec![partition], ..Default::default() };
        let answer = FetchResponse { session_id: 0, responses: vec![topic], ..Default::default() };
        broker.replicas_fetched(LEADER, Ok(answer.into()), vec![Ok(batches)]);
    }

    #[test]
    fn a_leader_without_room_for_a_session_is_followed_all_the_same() {
        let (mut broker, [id, _]) = followers();
        answered(&mut broker, id, vec![batch(0, 1)]);
        assert_eq!(broker.partitions[&id].open_log().map(Log::end), Some(Offset(1)));
        assert_eq!(broker.fetchers[&LEADER].wanted[&id], None, "all is said again");
    }

    /// Compaction leaves gaps, and a base offset that has rotted looks like one.
    #[test]
    fn a_gap_is_taken_in_behind_another_or_where_the_leader_has_looked_at_it() {
        for (bases, end) in [([5, 6, 9], 10), ([0, 5, 6], 1), ([3, 9, 9], 10)] {
            let (mut broker, [id, _]) = followers();
            answered(&mut broker, id, bases.map(|base| batch(base, 1)).to_vec());
            assert_eq!(broker.partitions[&id].open_log().map(Log::end), Some(Offset(end)), "{bases:?}");
        }
    }

    /// Seed 4909: the bits of an epoch rot unseen by any checksum.
    #[test]
    fn a_batch_of_an_epoch_that_is_yet_to_come_or_over_is_not_taken_in() {
        for (epochs, taken) in [([0, 4096, 0], 1), ([1, 0, 1], 1), ([0, 1, 0], 2), ([2, 2, 2], 0)] {
            let (mut broker, [id, _]) = followers();
            answered(&mut broker, id, (0..).zip(epochs).map(|(base, epoch)| batch(base, epoch)).collect());
            assert_eq!(broker.partitions[&id].open_log().map(Log::end), Some(Offset(taken)), "{epochs:?}");
            assert!(broker.fetchers[&LEADER].resting.contains(&id), "it is asked for again");
        }
        let (mut broker, [id, _]) = followers();
        answered(&mut broker, id, vec![batch(0, 0), batch(1, 1), batch(2, 1)]);
        assert_eq!(broker.partitions[&id].open_log().map(Log::end), Some(Offset(3)));
    }

    /// A long poll that began without it says nothing of it.
    #[test]
    fn what_was_not_asked_for_is_not_taken_for_fetched() {
        let (mut broker, [bad, other]) = followers();
        answered(&mut broker, bad, vec![batch(0, 4096)]);
        let said = |broker: &mut Broker, what: &str| {
            let effects: Vec<Effect> = std::iter::from_fn(|| broker.poll()).collect();
            effects.iter().filter(|effect| matches!(effect, Effect::Note { text, .. } if text.contains(what))).count()
        };
        assert_eq!(said(&mut broker, "t-0 cannot be fetched from its leader, broker 2"), 1);
        let fetcher = broker.fetchers.get_mut(&LEADER).expect("somebody follows");
        fetcher.resting.clear();
        (fetcher.is_open, fetcher.retry) = (true, None);
        fetcher.wanted.insert(bad, None);
        fetcher.wanted.insert(other, Some((Offset(0), LeaderEpoch(1), LeaderEpoch(-1), Offset(0))));
        broker.replicas_fetched(LEADER, Ok(FetchResponse { session_id: 1, ..Default::default() }.into()), Vec::new());
        assert_eq!(said(&mut broker, "are fetched from broker 2 again"), 0);
    }

    #[test]
    fn whoever_follows_anew_asks_from_its_durable_end() {
        let (mut broker, [id, _]) = followers();
        broker.replicate(id, &batch(0, 1), false);
        broker.fetch_from(LEADER, id);
        assert!(!tried(&mut broker), "nothing of it is on the disk yet");
        broker.wrote(id, Offset(1));
        broker.synced(id, Offset(1));
        assert!(tried(&mut broker));
    }
}
