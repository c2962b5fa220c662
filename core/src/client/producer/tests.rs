use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::client::fake::{Fake, Faults, MS, Machine, World};
use crate::client::io::Address;
use crate::wire::ApiKey;

impl Machine for Producer {
    type Command = Command;
    type Event = Event;
    fn handle(&mut self, now: Now, input: Input<Command>) {
        Producer::handle(self, now, input);
    }
    fn poll(&mut self) -> Option<Effect<Event>> {
        Producer::poll(self)
    }
    fn deadline(&self) -> Option<(Instant, &'static str)> {
        Producer::deadline(self)
    }
}

fn config(brokers: u16) -> Config {
    let bootstrap = (1..=brokers).map(|n| Address { host: "b".into(), port: 9000 + n }).collect();
    Config::new(Common::new(bootstrap))
}

fn world(config: Config, cluster: Fake) -> World<Producer> {
    World::new(vec![Producer::new(config, 1)], cluster, 1)
}

fn record(token: u64, topic: &str, partition: Option<i32>, value: &str) -> Command {
    let payload = Payload { key: None, value: Some(Bytes::copy_from_slice(value.as_bytes())), headers: vec![] };
    Command::Send(NewRecord {
        token: Token(token),
        topic: topic.into(),
        partition: partition.map(PartitionIndex),
        timestamp: None,
        payload,
    })
}

type Told = BTreeMap<u64, Result<(TopicPartition, Option<Offset>), (Why, bool)>>;

/// What was told of each record. No record may be told of twice.
fn told(world: &World<Producer>) -> Told {
    let mut told = Told::new();
    for (_, event) in &world.events {
        match event {
            Event::Settled { part, records, outcome } => {
                for (i, token) in (0..).zip(records) {
                    let outcome = outcome.map(|w| (part.clone(), w.base.map(|base| base.plus(i)))).map_err(|f| (f.why, f.maybe_written));
                    assert!(told.insert(token.0, outcome).is_none(), "{token:?} is told of twice");
                }
            }
            Event::Rejected { record, why } => assert!(told.insert(record.0, Err((*why, false))).is_none()),
            Event::Flushed { .. } => {}
        }
    }
    told
}

fn flush(world: &mut World<Producer>, ms: u64) {
    let before = flushed(world);
    world.app(Command::Flush { token: Token(0) });
    assert!(world.run_until(ms, |w| flushed(w) > before), "not flushed: {:?}", world.machines[0]);
}

fn flushed(world: &World<Producer>) -> usize {
    world.events.iter().filter(|(_, event)| matches!(event, Event::Flushed { .. })).count()
}

#[test]
fn records_arrive_in_order_and_are_told_of() {
    let mut world = world(config(2), Fake::new(2, &[("t", 2)]));
    for i in 0..100 {
        world.app(record(i, "t", Some((i % 2) as i32), &i.to_string()));
    }
    flush(&mut world, 1000);
    for partition in 0..2 {
        let expected: Vec<String> = (0..100).filter(|i| i % 2 == partition).map(|i| i.to_string()).collect();
        assert_eq!(world.cluster.values("t", partition), expected);
    }
    let told = told(&world);
    for i in 0..100_u64 {
        assert_eq!(told[&i], Ok((TopicPartition::new("t", (i % 2) as i32), Some(Offset((i / 2) as i64)))));
    }
    assert_eq!(world.machines[0].outstanding(), 0);
    let produced = world.seen.iter().filter(|(api, _)| *api == "Produce").count();
    assert!(produced <= 4, "a hundred small records need few requests, not {produced}");
}

#[test]
fn a_batch_lingers_for_company_but_not_longer() {
    let mut config = config(1);
    config.linger = Duration::from_millis(50);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.app(record(0, "t", None, "warm"));
    flush(&mut world, 1000);
    let from = world.at;
    world.app(record(1, "t", None, "a"));
    world.run(40);
    world.app(record(2, "t", None, "b"));
    assert!(world.run_until(100, |w| told(w).contains_key(&2)));
    assert_eq!((world.at - from) / MS, 50 + 2, "fifty to linger, and a round trip");
    assert_eq!(world.cluster.log("t", 0).batches.len(), 2);
}

#[test]
fn a_full_batch_does_not_linger() {
    let mut config = config(1);
    (config.linger, config.batch_size) = (Duration::from_secs(60), 500);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    for i in 0..9 {
        world.app(record(i, "t", None, &"x".repeat(120)));
    }
    world.run(1000);
    assert_eq!(told(&world).len(), 6, "two full batches went out, the third waits");
}

#[test]
fn a_lost_answer_is_no_duplicate() {
    let mut world = world(config(1), Fake::new(1, &[("t", 1)]));
    world.app(record(0, "t", None, "warm"));
    flush(&mut world, 1000);
    world.faults.lost_answer = 1000;
    world.app(record(1, "t", None, "once"));
    world.run(20);
    world.faults.lost_answer = 0;
    flush(&mut world, 5000);
    assert_eq!(world.cluster.values("t", 0), ["warm", "once"]);
    assert_eq!(told(&world)[&1], Ok((TopicPartition::new("t", 0), Some(Offset(1)))));
}

/// KIP-951: neither a back-off nor a question for metadata comes before the next attempt.
#[test]
fn a_leader_that_is_named_is_asked_at_once() {
    for names_leaders in [true, false] {
        let mut world = world(config(3), Fake::new(3, &[("t", 1)]));
        world.app(record(1, "t", None, "warm"));
        flush(&mut world, 1000);
        world.cluster.names_leaders = names_leaders;
        world.cluster.elect("t", 0, 2);
        world.app(record(2, "t", None, "a"));
        world.run(60);
        let expected = if names_leaders { vec!["warm", "a"] } else { vec!["warm"] };
        assert_eq!(world.cluster.values("t", 0), expected, "named: {names_leaders}");
        flush(&mut world, 1000);
        assert_eq!(world.cluster.values("t", 0), ["warm", "a"]);
    }
}

/// Metadata leave out a broker that is away, while calls to it are still open.
#[test]
fn a_leader_that_is_named_at_another_address_than_known_is_looked_for_in_metadata() {
    let mut world = world(config(2), Fake::new(2, &[("t", 2)]));
    for (token, partition) in [(1, 0), (2, 1)] {
        world.app(record(token, "t", Some(partition), "warm"));
    }
    flush(&mut world, 1000);
    let part = TopicPartition::new("t", 0);
    let cluster = &mut world.machines[0].cluster;
    let response = crate::wire::api::metadata::MetadataResponse {
        brokers: vec![crate::wire::api::metadata::MetadataResponseBroker {
            node_id: BrokerId(1),
            host: "b".into(),
            port: 9001,
            ..Default::default()
        }],
        ..Default::default()
    };
    cluster.learn_for_tests(&response);
    let moved = Address { host: "elsewhere".into(), port: 9002 };
    assert!(!cluster.told(&part, (BrokerId(2), crate::id::LeaderEpoch(7)), Some(moved)), "an open connection is not given up for it");
    assert!(!cluster.told(&part, (BrokerId(-1), crate::id::LeaderEpoch(8)), None));
}

#[test]
fn a_new_leader_is_found_and_order_kept() {
    let mut world = world(config(3), Fake::new(3, &[("t", 1)]));
    for i in 0..50 {
        world.app(record(i, "t", None, &i.to_string()));
        if i % 10 == 5 {
            world.run(7);
            world.cluster.elect("t", 0, (i / 10) as i32 % 3 + 1);
        }
    }
    flush(&mut world, 20_000);
    let expected: Vec<String> = (0..50).map(|i| i.to_string()).collect();
    assert_eq!(world.cluster.values("t", 0), expected);
}

#[test]
fn a_gap_in_the_sequences_is_closed_by_an_epoch_bump() {
    let mut config = config(1);
    (config.linger, config.batch_size) = (Duration::ZERO, 100);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.app(record(0, "t", None, "warm"));
    flush(&mut world, 1000);
    // The second of four batches is refused for good, which leaves a gap behind it.
    world.cluster.refuse.extend([ErrorCode::NONE, ErrorCode::MESSAGE_TOO_LARGE]);
    for i in 1..5 {
        world.app(record(i, "t", None, &i.to_string()));
    }
    flush(&mut world, 10_000);
    assert_eq!(world.cluster.values("t", 0), ["warm", "1", "3", "4"]);
    assert_eq!(told(&world)[&2], Err((Why::Refused(ErrorCode::MESSAGE_TOO_LARGE), false)));
    assert_eq!(told(&world)[&4], Ok((TopicPartition::new("t", 0), Some(Offset(3)))));
    let last = *world.cluster.log("t", 0).batches.last().unwrap().header();
    assert_eq!((last.producer_epoch, last.base_sequence.0), (ProducerEpoch(1), 1), "the third batch began the new epoch at zero");
    assert_eq!(world.cluster.ids_given, 1, "no new id was needed");
}

#[test]
fn other_partitions_move_to_the_new_epoch_when_they_are_idle() {
    let mut config = config(1);
    (config.linger, config.batch_size) = (Duration::ZERO, 100);
    let mut world = world(config, Fake::new(1, &[("t", 2)]));
    for i in 0..4 {
        world.app(record(i, "t", Some((i % 2) as i32), "warm"));
    }
    flush(&mut world, 1000);
    world.cluster.refuse.extend([ErrorCode::MESSAGE_TOO_LARGE]);
    for i in 4..7 {
        world.app(record(i, "t", Some(0), &i.to_string()));
    }
    flush(&mut world, 10_000);
    world.app(record(7, "t", Some(1), "7"));
    flush(&mut world, 1000);
    let last = *world.cluster.log("t", 1).batches.last().unwrap().header();
    assert_eq!((last.producer_epoch, last.base_sequence.0), (ProducerEpoch(1), 0));
    assert!(told(&world)[&7].is_ok());
}

#[test]
fn a_record_is_given_up_when_its_time_is_up() {
    let mut config = config(1);
    config.delivery_timeout = Duration::from_secs(3);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.cluster.down(1);
    world.app(record(1, "t", None, "a"));
    world.run(2900);
    assert_eq!(told(&world).len(), 0);
    world.run(200);
    assert_eq!(told(&world)[&1], Err((Why::TimedOut, false)));
    assert_eq!(world.machines[0].outstanding(), 0);
    world.cluster.up(1);
    world.app(record(2, "t", None, "b"));
    flush(&mut world, 5000);
    assert!(told(&world)[&2].is_ok());
}

#[test]
fn a_record_that_was_sent_and_never_answered_may_be_written() {
    let mut config = config(1);
    config.delivery_timeout = Duration::from_secs(3);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.app(record(0, "t", None, "warm"));
    flush(&mut world, 1000);
    world.faults.lost_answer = 1000;
    world.app(record(1, "t", None, "a"));
    world.run(5000);
    assert_eq!(told(&world)[&1], Err((Why::TimedOut, true)));
    assert_eq!(world.cluster.values("t", 0), ["warm", "a"]);
}

#[test]
fn a_refusal_tells_nothing_of_an_attempt_before_it_that_may_be_written() {
    for (before, maybe_written) in [(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, true), (ErrorCode::NOT_ENOUGH_REPLICAS, false)] {
        let mut world = world(config(1), Fake::new(1, &[("t", 1)]));
        world.cluster.refuse.extend([before, ErrorCode::INVALID_TIMESTAMP]);
        world.app(record(1, "t", None, "a"));
        flush(&mut world, 5000);
        assert_eq!(told(&world)[&1], Err((Why::Refused(ErrorCode::INVALID_TIMESTAMP), maybe_written)), "after {before:?}");
    }
}

#[test]
fn a_silent_broker_is_given_up_and_asked_again() {
    let mut config = config(1);
    config.common.request_timeout = Duration::from_secs(1);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.app(record(0, "t", None, "warm"));
    flush(&mut world, 1000);
    world.cluster.silent = true;
    world.app(record(1, "t", None, "a"));
    world.run(900);
    world.cluster.silent = false;
    flush(&mut world, 3000);
    assert_eq!(world.cluster.values("t", 0), ["warm", "a"]);
}

#[test]
fn buffer_size_and_record_size_are_bounded() {
    let mut config = config(1);
    (config.buffer_memory, config.max_request_size) = (2000, 1000);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.app(record(1, "t", None, &"x".repeat(1000)));
    for i in 2..6 {
        world.app(record(i, "t", None, &"x".repeat(500)));
    }
    let early = told(&world);
    assert_eq!(early[&1], Err((Why::TooLarge, false)));
    assert_eq!(early[&5], Err((Why::BufferFull, false)));
    flush(&mut world, 1000);
    assert_eq!(world.machines[0].room(), 2000);
    assert!((2..5).all(|i| told(&world)[&i].is_ok()));
}

#[test]
fn unknown_topics_wait_and_impossible_ones_fail() {
    let mut world = world(config(1), Fake::new(1, &[("t", 1)]));
    world.app(record(1, "later", None, "a"));
    world.app(record(2, "bad topic", None, "b"));
    world.app(record(3, "t", Some(1), "c"));
    world.run(1000);
    assert_eq!(told(&world), Told::from([(2, Err((Why::Refused(ErrorCode::INVALID_TOPIC_EXCEPTION), false)))]));
    world.cluster.grow("later");
    world.cluster.grow("t");
    flush(&mut world, 5000);
    assert!(told(&world)[&1].is_ok() && told(&world)[&3].is_ok());
}

#[test]
fn acks_zero_is_sent_once_and_told_at_once() {
    let mut config = config(1);
    (config.acks, config.idempotent) = (Acks::None, false);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.app(record(1, "t", None, "a"));
    flush(&mut world, 1000);
    assert_eq!(told(&world)[&1], Ok((TopicPartition::new("t", 0), None)));
    world.run(10);
    assert_eq!(world.cluster.values("t", 0), ["a"]);
}

#[test]
fn no_more_than_five_requests_are_in_flight() {
    let mut config = config(1);
    (config.linger, config.batch_size) = (Duration::ZERO, 1);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.app(record(0, "t", None, "warm"));
    flush(&mut world, 1000);
    let before = world.seen.len();
    world.cluster.silent = true;
    for i in 1..20 {
        world.app(record(i, "t", None, "x"));
    }
    world.run(10);
    assert_eq!(world.seen.len() - before, IN_FLIGHT_MAX);
}

#[test]
fn nothing_is_sent_so_far_behind_a_batch_in_doubt_that_a_broker_forgets_it() {
    const NO: ErrorCode = ErrorCode::NOT_ENOUGH_REPLICAS;
    const DOUBT: ErrorCode = ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND;
    let mut config = config(1);
    (config.linger, config.batch_size) = (Duration::ZERO, 1);
    let mut world = world(config, Fake::new(1, &[("t", 1)]));
    world.app(record(0, "t", None, "0"));
    flush(&mut world, 1000);
    // The first four are in doubt, the fifth is acknowledged; one of the four is then refused, so that it is asked for later than the others.
    world.cluster.refuse.extend([DOUBT, DOUBT, DOUBT, DOUBT, ErrorCode::NONE, NO, NO, NO, NO]);
    for i in 1..30 {
        world.app(record(i, "t", None, &i.to_string()));
    }
    flush(&mut world, 10_000);
    let expected: Vec<String> = (0..30).map(|i| i.to_string()).collect();
    assert_eq!(world.cluster.values("t", 0), expected);
    assert!(told(&world).values().all(Result::is_ok));
}

#[test]
fn an_old_broker_is_spoken_to_in_its_language() {
    let mut world = world(config(1), Fake::new(1, &[("t", 1)]));
    world.cluster.highest.extend([(ApiKey::Produce, 3), (ApiKey::Metadata, 4), (ApiKey::InitProducerId, 0)]);
    world.app(record(1, "t", None, "a"));
    flush(&mut world, 1000);
    assert!(world.seen.contains(&("Produce", 3)) && world.seen.contains(&("Metadata", 4)));
    assert_eq!(world.cluster.values("t", 0), ["a"]);
}

#[test]
fn closing_tells_of_everything_and_is_the_end() {
    let mut world = world(config(1), Fake::new(1, &[("t", 1)]));
    world.app(record(1, "t", None, "a"));
    world.app(Command::Close);
    assert_eq!(told(&world)[&1], Err((Why::Closed, false)));
    assert_eq!(world.machines[0].deadline(), None);
    world.app(record(2, "t", None, "b"));
    assert!(!told(&world).contains_key(&2));
}

#[test]
fn sticky_rules_use_all_partitions_and_few_at_a_time() {
    for partitioner in [Partitioner::BuiltIn, Partitioner::UniformSticky, Partitioner::RoundRobin, Partitioner::KeyHash] {
        let mut config = config(1);
        (config.partitioner, config.batch_size) = (partitioner, 400);
        let mut world = world(config, Fake::new(1, &[("t", 4)]));
        for i in 0..1200 {
            world.app(record(i, "t", None, &i.to_string()));
            world.run(1);
        }
        flush(&mut world, 2000);
        let sizes: Vec<usize> = (0..4).map(|p| world.cluster.values("t", p).len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 1200);
        assert!(sizes.iter().all(|n| (150..450).contains(n)), "{partitioner:?}: {sizes:?}");
    }
}

/// A broker's answer to a batch while its partition has too few replicas now and then.
fn answer() -> impl Strategy<Value = ErrorCode> {
    prop::sample::select(vec![ErrorCode::NONE, ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is lost: an idempotent producer's records stand once, in order, where it says they stand.
    #[test]
    fn idempotent_records_stand_once_and_in_order(
        seed in any::<u64>(),
        lost_request in 0..150u32, lost_answer in 0..150u32, slow in 0..200u32,
        batch_size in prop::sample::select(vec![1usize, 100, 300, 16_384]),
        elections in prop::collection::vec((0..60u64, 1..4i32), 0..4),
        answers in prop::collection::vec(answer(), 0..60),
        names_leaders in any::<bool>(),
    ) {
        let mut config = config(3);
        (config.batch_size, config.linger) = (batch_size, Duration::from_millis(2));
        let mut world = World::new(vec![Producer::new(config, seed)], Fake::new(3, &[("t", 2)]), seed);
        world.faults = Faults { lost_request, lost_answer, slow };
        world.cluster.refuse.extend(answers);
        world.cluster.names_leaders = names_leaders;
        for i in 0..60_u64 {
            world.app(record(i, "t", Some((i % 2) as i32), &i.to_string()));
            world.run(i % 5);
            for (_, leader) in elections.iter().filter(|(at, _)| *at == i) {
                world.cluster.elect("t", 0, *leader);
            }
        }
        world.run(1000);
        world.faults = Faults::default();
        flush(&mut world, 120_000);
        let told = told(&world);
        for partition in 0..2 {
            let values = world.cluster.values("t", partition);
            let mut last = None;
            for value in &values {
                let n: u64 = value.parse().unwrap();
                prop_assert!(last < Some(n), "{} after {:?} in {:?}", n, last, values);
                last = Some(n);
            }
            let unique: BTreeSet<&String> = values.iter().collect();
            prop_assert_eq!(unique.len(), values.len());
        }
        for i in 0..60 {
            let (part, offset) = told[&i].clone().expect("nothing is refused for good here");
            let values = world.cluster.values("t", part.partition.0);
            prop_assert_eq!(&values[usize::try_from(offset.unwrap().0).unwrap()], &i.to_string());
        }
    }

    /// Without idempotence there may be duplicates, but a record never overtakes another.
    #[test]
    fn plain_records_are_not_reordered(seed in any::<u64>(), lost_request in 0..100u32, lost_answer in 0..100u32) {
        let mut config = config(1);
        (config.idempotent, config.acks, config.batch_size, config.linger) = (false, Acks::Leader, 100, Duration::ZERO);
        let mut world = World::new(vec![Producer::new(config, seed)], Fake::new(1, &[("t", 1)]), seed);
        world.faults = Faults { lost_request, lost_answer, slow: 100 };
        for i in 0..40_u64 {
            world.app(record(i, "t", None, &format!("{i:02}")));
            world.run(i % 3);
        }
        flush(&mut world, 120_000);
        let mut firsts = Vec::new();
        for value in world.cluster.values("t", 0) {
            if !firsts.contains(&value) {
                firsts.push(value);
            }
        }
        prop_assert!(firsts.is_sorted(), "{:?}", firsts);
        prop_assert_eq!(firsts.len(), 40);
    }
}
