use proptest::prelude::*;

use super::*;
use crate::client::fake::{Fake, Faults, MS, Machine, World};
use crate::client::io::Address;

impl Machine for Consumer {
    type Command = Command;
    type Event = Event;
    fn handle(&mut self, now: Now, input: Input<Command>) {
        Consumer::handle(self, now, input);
    }
    fn poll(&mut self) -> Option<Effect<Event>> {
        Consumer::poll(self)
    }
    fn deadline(&self) -> Option<(Instant, &'static str)> {
        Consumer::deadline(self)
    }
}

fn config() -> Config {
    let bootstrap = vec![Address { host: "b".into(), port: 9001 }, Address { host: "b".into(), port: 9002 }];
    Config { reset: Reset::Earliest, ..Config::new(Common::new(bootstrap)) }
}

fn in_group(assignors: &[Assignor]) -> Config {
    let group = GroupConfig { assignors: assignors.to_vec(), ..GroupConfig::new("g") };
    Config { group: Some(group), ..config() }
}

fn world(configs: Vec<Config>, cluster: Fake) -> World<Consumer> {
    let machines = (0..).zip(configs).map(|(seed, config)| Consumer::new(config, seed)).collect();
    World::new(machines, cluster, 1)
}

fn part(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn assign(parts: &[(&str, i32)]) -> Command {
    Command::Assign { parts: parts.iter().map(|(t, p)| part(t, *p)).collect() }
}

fn subscribe(topics: &[&str]) -> Command {
    Command::Subscribe { topics: topics.iter().map(|t| Topic::from(*t)).collect() }
}

const POLL: Command = Command::Poll { max_records: 500 };

/// The values handed to one consumer so far, with their offsets, by partition.
fn read(world: &World<Consumer>, who: usize) -> BTreeMap<TopicPartition, Vec<(i64, String)>> {
    let mut read: BTreeMap<TopicPartition, Vec<(i64, String)>> = BTreeMap::new();
    for (_, event) in world.events.iter().filter(|(machine, _)| *machine == who) {
        let Event::Records { records } = event else { continue };
        for (part, records) in records {
            let value = |record: &Record| String::from_utf8(record.payload.value.clone().unwrap().to_vec()).unwrap();
            read.entry(part.clone()).or_default().extend(records.iter().map(|record| (record.offset.0, value(record))));
        }
    }
    read
}

fn values(world: &World<Consumer>, topic: &str, partition: i32) -> Vec<String> {
    read(world, 0).remove(&part(topic, partition)).unwrap_or_default().into_iter().map(|(_, value)| value).collect()
}

/// Polls one after the other until nothing comes for a second.
fn drain(world: &mut World<Consumer>, who: usize) {
    loop {
        let before = world.events.len();
        world.app_of(who, POLL);
        let records = |w: &World<Consumer>| w.events[before..].iter().any(|(m, e)| *m == who && matches!(e, Event::Records { .. }));
        if !world.run_until(1000, records) {
            return;
        }
    }
}

/// What a consumer owns by what it was told.
fn owned(world: &World<Consumer>, who: usize) -> BTreeSet<TopicPartition> {
    let mut owned = BTreeSet::new();
    for (_, event) in world.events.iter().filter(|(machine, _)| *machine == who) {
        match event {
            Event::Assigned { parts } => {
                assert!(owned.is_disjoint(parts), "assigned twice");
                owned.extend(parts.iter().cloned());
            }
            Event::Revoked { parts } | Event::Lost { parts } => {
                assert!(parts.is_subset(&owned), "{parts:?} taken from {owned:?}");
                owned.retain(|part| !parts.contains(part));
            }
            Event::Records { .. }
            | Event::Committed { .. }
            | Event::NoPosition { .. }
            | Event::Corrupt { .. }
            | Event::Refused { .. }
            | Event::Closed => {}
        }
    }
    owned
}

/// Every consumer polls every 100 ms for so long.
fn live(world: &mut World<Consumer>, ms: u64) {
    for _ in 0..ms / 100 {
        for who in 0..world.machines.len() {
            world.app_of(who, POLL);
        }
        world.run(100);
    }
}

#[test]
fn records_are_read_from_every_partition_in_order() {
    let mut cluster = Fake::new(2, &[("t", 2)]);
    cluster.write("t", 0, 1, &["a", "b"]);
    cluster.write("t", 1, 1, &["x"]);
    let mut world = world(vec![config()], cluster);
    world.app(assign(&[("t", 0), ("t", 1)]));
    drain(&mut world, 0);
    assert_eq!((values(&world, "t", 0), values(&world, "t", 1)), (vec!["a".into(), "b".into()], vec!["x".to_owned()]));
    world.cluster.write("t", 0, 2, &["c"]);
    drain(&mut world, 0);
    assert_eq!(values(&world, "t", 0), ["a", "b", "c"]);
    assert_eq!(world.machines[0].high(&part("t", 0)), Some(Offset(3)));
}

#[test]
fn nothing_is_handed_out_unasked_and_never_more_than_asked() {
    let mut cluster = Fake::new(1, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a", "b", "c"]);
    let mut world = world(vec![config()], cluster);
    world.app(assign(&[("t", 0)]));
    world.run(2000);
    assert!(read(&world, 0).is_empty());
    for n in 1..=3 {
        world.app(Command::Poll { max_records: 1 });
        world.run(10);
        assert_eq!(values(&world, "t", 0).len(), n);
    }
}

#[test]
fn resets_and_seeks_go_where_they_say() {
    let mut cluster = Fake::new(1, &[("t", 1)]);
    for (time, value) in [(10, "a"), (20, "b"), (30, "c")] {
        cluster.write("t", 0, time, &[value]);
    }
    let mut world = world(vec![Config { reset: Reset::Latest, ..config() }], cluster);
    world.app(assign(&[("t", 0)]));
    world.run(100);
    world.cluster.write("t", 0, 40, &["d"]);
    drain(&mut world, 0);
    assert_eq!(values(&world, "t", 0), ["d"], "latest");
    let seeks = [
        (Target::Offset(Offset(2)), 2),
        (Target::Earliest, 4),
        (Target::At(Timestamp(20)), 3),
        (Target::At(Timestamp(41)), 0),
        (Target::Latest, 0),
    ];
    for (to, expected) in seeks {
        let before = values(&world, "t", 0).len();
        world.app(Command::Seek { part: part("t", 0), to });
        drain(&mut world, 0);
        assert_eq!(values(&world, "t", 0).len() - before, expected, "{to:?}");
    }
}

#[test]
fn out_of_range_is_reset_or_told() {
    for (reset, expected) in [(Reset::Earliest, 1), (Reset::None, 0)] {
        let mut cluster = Fake::new(1, &[("t", 1)]);
        cluster.write("t", 0, 1, &["a"]);
        let mut world = world(vec![Config { reset, ..config() }], cluster);
        world.app(assign(&[("t", 0)]));
        world.app(Command::Seek { part: part("t", 0), to: Target::Offset(Offset(9)) });
        drain(&mut world, 0);
        assert_eq!(values(&world, "t", 0).len(), expected);
        let told = world.events.contains(&(0, Event::NoPosition { part: part("t", 0) }));
        assert_eq!(told, reset == Reset::None);
    }
}

#[test]
fn paused_partitions_rest() {
    let mut cluster = Fake::new(1, &[("t", 2)]);
    cluster.write("t", 0, 1, &["a"]);
    cluster.write("t", 1, 1, &["b"]);
    let mut world = world(vec![config()], cluster);
    world.app(assign(&[("t", 0), ("t", 1)]));
    world.app(Command::Pause { parts: [part("t", 0)].into() });
    drain(&mut world, 0);
    assert_eq!((values(&world, "t", 0).len(), values(&world, "t", 1).len()), (0, 1));
    world.app(Command::Resume { parts: [part("t", 0)].into() });
    drain(&mut world, 0);
    assert_eq!(values(&world, "t", 0), ["a"]);
}

#[test]
fn a_new_leader_is_found() {
    let mut cluster = Fake::new(2, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a"]);
    let mut world = world(vec![config()], cluster);
    world.app(assign(&[("t", 0)]));
    drain(&mut world, 0);
    world.cluster.elect("t", 0, 2);
    world.cluster.write("t", 0, 1, &["b"]);
    drain(&mut world, 0);
    world.cluster.elect("t", 0, 1);
    world.cluster.down(2);
    world.cut(2);
    world.cluster.write("t", 0, 1, &["c"]);
    drain(&mut world, 0);
    assert_eq!(values(&world, "t", 0), ["a", "b", "c"]);
}

#[test]
fn bytes_that_are_no_records_are_told_of() {
    let mut cluster = Fake::new(1, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a"]);
    let batch = cluster.log("t", 0).batches[0].clone();
    let bad = crate::wire::batch::build(*batch.header(), b"these are no records, whatever the checksum says");
    cluster.log("t", 0).batches.push(bad.stamp(Offset(1), crate::id::LeaderEpoch(0)));
    let mut world = world(vec![config()], cluster);
    world.app(assign(&[("t", 0)]));
    drain(&mut world, 0);
    assert!(world.events.contains(&(0, Event::Corrupt { part: part("t", 0), at: Offset(1) })), "{:?}", world.events);
    world.cluster.write("t", 0, 1, &["b"]);
    world.app(Command::Seek { part: part("t", 0), to: Target::Offset(Offset(2)) });
    drain(&mut world, 0);
    assert_eq!(values(&world, "t", 0).last().unwrap(), "b");
}

#[test]
fn a_batch_that_says_to_begin_where_none_can_is_told_of() {
    for wrong in [Offset(1 << 40), Offset(0)] {
        let mut cluster = Fake::new(1, &[("t", 1)]);
        ["a", "b", "c"].iter().for_each(|value| cluster.write("t", 0, 1, &[*value]));
        let batches = &mut cluster.log("t", 0).batches;
        batches[1] = batches[1].stamp(wrong, crate::id::LeaderEpoch(0));
        let mut world = world(vec![config()], cluster);
        world.app(assign(&[("t", 0)]));
        drain(&mut world, 0);
        assert!(world.events.iter().any(|(_, event)| matches!(event, Event::Corrupt { .. })), "{wrong}: {:?}", world.events);
    }
}

#[test]
fn a_single_member_is_given_everything_and_goes_on_where_it_left_off() {
    let mut cluster = Fake::new(2, &[("t", 3)]);
    cluster.group.coordinator = 2;
    cluster.write("t", 0, 1, &["a", "b"]);
    let mut one = world(vec![in_group(&[Assignor::Range]), in_group(&[Assignor::Range])], cluster);
    one.app(subscribe(&["t"]));
    drain(&mut one, 0);
    assert_eq!(owned(&one, 0).len(), 3);
    assert_eq!(values(&one, "t", 0), ["a", "b"]);
    one.app(Command::Close);
    assert!(one.run_until(5000, |w| w.events.contains(&(0, Event::Closed))));
    assert_eq!(one.cluster.group.offsets[&part("t", 0)], Offset(2), "committed on the way out");
    assert_eq!(one.cluster.group.size(), 0, "it has left");
    one.cluster.write("t", 0, 1, &["c"]);
    one.app_of(1, subscribe(&["t"]));
    drain(&mut one, 1);
    assert_eq!(read(&one, 1)[&part("t", 0)], [(2, "c".to_owned())]);
}

#[test]
fn commits_by_hand_are_told_of() {
    let mut config = in_group(&[Assignor::Range]);
    config.group.as_mut().unwrap().auto_commit = None;
    let mut cluster = Fake::new(1, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a", "b"]);
    let mut world = world(vec![config], cluster);
    world.app(subscribe(&["t"]));
    drain(&mut world, 0);
    world.app(Command::Commit { token: Token(1), offsets: None });
    world.app(Command::Commit { token: Token(2), offsets: Some([(part("t", 0), Offset(1))].into()) });
    world.run(100);
    assert!(world.events.contains(&(0, Event::Committed { token: Token(1), outcome: Ok(()) })));
    assert!(world.events.contains(&(0, Event::Committed { token: Token(2), outcome: Ok(()) })));
    assert_eq!(world.cluster.group.offsets[&part("t", 0)], Offset(1), "in the order in which they were asked for");
    world.cluster.group.forget();
    world.app(Command::Commit { token: Token(3), offsets: None });
    world.run(100);
    let refused = Event::Committed { token: Token(3), outcome: Err(ErrorCode::UNKNOWN_MEMBER_ID) };
    assert!(world.events.contains(&(0, refused)));
    live(&mut world, 2000);
    assert_eq!(owned(&world, 0).len(), 1, "it found out at once that it was thrown out, and joined again");
}

#[test]
fn members_share_and_rebalance_with_every_assignor() {
    for assignor in Assignor::ALL {
        let mut configs = vec![in_group(&[assignor]); 3];
        configs[2].group.as_mut().unwrap().instance = Some("static".into());
        let mut world = world(configs, Fake::new(2, &[("t", 6)]));
        for who in 0..3 {
            world.app_of(who, subscribe(&["t"]));
            live(&mut world, 8000);
        }
        let sizes: Vec<usize> = (0..3).map(|who| owned(&world, who).len()).collect();
        assert_eq!(sizes, [2, 2, 2], "{assignor:?}");
        world.app_of(0, Command::Close);
        live(&mut world, 8000);
        let mut all = owned(&world, 1);
        all.extend(owned(&world, 2));
        assert_eq!((owned(&world, 1).len(), owned(&world, 2).len(), all.len()), (3, 3, 6), "{assignor:?}");
        assert!(owned(&world, 0).is_empty());
    }
}

#[test]
fn cooperative_members_keep_what_does_not_move() {
    let mut world = world(vec![in_group(&[Assignor::CooperativeSticky]); 2], Fake::new(1, &[("t", 4)]));
    world.app_of(0, subscribe(&["t"]));
    live(&mut world, 3000);
    assert_eq!(owned(&world, 0).len(), 4);
    world.app_of(1, subscribe(&["t"]));
    live(&mut world, 10_000);
    assert_eq!((owned(&world, 0).len(), owned(&world, 1).len()), (2, 2));
    let lost: usize = world
        .events
        .iter()
        .filter_map(|(who, event)| if let (0, Event::Revoked { parts }) = (who, event) { Some(parts.len()) } else { None })
        .sum();
    assert_eq!(lost, 2, "only what the other got was given up");
}

#[test]
fn more_partitions_are_noticed_by_the_leader() {
    let mut config = in_group(&[Assignor::RoundRobin]);
    config.common.metadata_max_age = Duration::from_secs(10);
    let mut world = world(vec![config], Fake::new(1, &[("t", 1)]));
    world.app(subscribe(&["t"]));
    live(&mut world, 2000);
    world.cluster.grow("t");
    live(&mut world, 15_000);
    assert_eq!(owned(&world, 0).len(), 2);
}

#[test]
fn a_moved_coordinator_is_found_again() {
    let mut world = world(vec![in_group(&[Assignor::Range])], Fake::new(2, &[("t", 1)]));
    world.app(subscribe(&["t"]));
    live(&mut world, 2000);
    world.cluster.group.coordinator = 2;
    live(&mut world, 6000);
    assert_eq!(owned(&world, 0).len(), 1, "membership survives the move");
    let lost = world.events.iter().any(|(_, event)| matches!(event, Event::Lost { .. }));
    assert!(!lost);
    assert_eq!(world.cluster.group.generation, 1);
}

#[test]
fn who_keeps_records_too_long_is_out() {
    let mut config = in_group(&[Assignor::Range]);
    config.group.as_mut().unwrap().max_poll_interval = Duration::from_secs(10);
    let mut cluster = Fake::new(1, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a"]);
    let mut world = world(vec![config], cluster);
    world.app(subscribe(&["t"]));
    world.app(POLL);
    world.run(9000);
    assert_eq!(owned(&world, 0).len(), 1);
    world.run(2000);
    assert!(owned(&world, 0).is_empty());
    assert_eq!(world.cluster.group.size(), 0);
    live(&mut world, 5000);
    assert_eq!(owned(&world, 0).len(), 1, "the next poll brings it back");
    assert_eq!(values(&world, "t", 0), ["a", "a"], "what it was not done with was not committed");
}

#[test]
fn partitions_stay_while_the_application_is_busy_with_their_records() {
    let mut cluster = Fake::new(1, &[("t", 2)]);
    cluster.write("t", 0, 1, &["a"]);
    cluster.write("t", 1, 1, &["b"]);
    let mut world = world(vec![in_group(&[Assignor::Range]); 2], cluster);
    world.app_of(0, subscribe(&["t"]));
    world.app_of(0, POLL);
    world.run(3000);
    assert_eq!(read(&world, 0).len(), 2);
    world.app_of(1, subscribe(&["t"]));
    world.app_of(1, POLL);
    world.run(5000);
    assert_eq!((owned(&world, 0).len(), owned(&world, 1).len()), (2, 0), "the first one works on its records");
    world.app_of(0, POLL);
    world.run(5000);
    assert_eq!((owned(&world, 0).len(), owned(&world, 1).len()), (1, 1));
    assert!(read(&world, 1).is_empty(), "what the first one was done with was committed before it was given up");
}

/// A member that has read a record, and that nobody hears from now on; and how many milliseconds it waits for an answer.
fn unheard(config: Config) -> (World<Consumer>, u64) {
    let patience = u64::try_from(config.common.request_timeout.as_millis()).unwrap();
    let mut cluster = Fake::new(1, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a"]);
    let mut world = world(vec![config], cluster);
    world.app(subscribe(&["t"]));
    drain(&mut world, 0);
    world.faults = Faults { lost_request: 1000, ..Faults::default() };
    (world, patience)
}

#[test]
fn what_a_member_asked_to_commit_does_not_outlive_it() {
    let mut config = in_group(&[Assignor::Range]);
    config.group.as_mut().unwrap().auto_commit = None;
    let (mut world, patience) = unheard(config);
    world.app(Command::Commit { token: Token(1), offsets: None });
    world.app(subscribe(&[]));
    world.run(patience + 1);
    world.faults = Faults::default();
    world.cluster.group.forget();
    world.run(2 * patience);
    assert!(world.events.contains(&(0, Event::Committed { token: Token(1), outcome: Err(ErrorCode::UNKNOWN_MEMBER_ID) })));
    assert!(world.cluster.group.offsets.is_empty(), "an empty group takes what comes without a member");
}

/// Seed 2349: one commit ended with each step, and the last one had no deadline left that would have brought it another.
#[test]
fn closing_ends_whatever_is_left_to_commit() {
    let (mut world, patience) = unheard(in_group(&[Assignor::Range]));
    for token in 1..=3 {
        world.app(Command::Commit { token: Token(token), offsets: None });
        world.run(10);
    }
    world.app(Command::Close);
    world.run(patience + 1);
    world.faults = Faults::default();
    world.run(3 * patience);
    let told = |event: &Event| world.events.contains(&(0, event.clone()));
    for token in 1..=3 {
        assert!(told(&Event::Committed { token: Token(token), outcome: Err(ErrorCode::UNKNOWN_MEMBER_ID) }), "{token}");
    }
    assert!(told(&Event::Closed));
}

#[test]
fn leaving_and_assigning_by_hand() {
    let mut cluster = Fake::new(1, &[("t", 2)]);
    cluster.write("t", 0, 1, &["a"]);
    let mut world = world(vec![in_group(&[Assignor::Range])], cluster);
    world.app(subscribe(&["t"]));
    live(&mut world, 2000);
    world.app(subscribe(&[]));
    live(&mut world, 1000);
    assert!(owned(&world, 0).is_empty());
    assert_eq!(world.cluster.group.size(), 0);
    world.app(assign(&[("t", 0)]));
    world.cluster.write("t", 0, 1, &["b"]);
    live(&mut world, 1000);
    assert_eq!(values(&world, "t", 0), ["a", "b"], "by hand it goes on where the group left off");
    live(&mut world, 6000);
    assert_eq!(world.cluster.group.offsets[&part("t", 0)], Offset(2), "and commits for it");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is lost: each partition's records come in order, none left out.
    #[test]
    fn reading_skips_nothing(seed in any::<u64>(), lost_request in 0..150u32, lost_answer in 0..150u32, slow in 0..200u32, size in 1..40usize) {
        let mut config = config();
        config.partition_max_bytes = 150;
        let mut world = World::new(vec![Consumer::new(config, seed)], Fake::new(2, &[("t", 3)]), seed);
        world.cluster.names_leaders = seed % 2 == 0;
        world.faults = Faults { lost_request, lost_answer, slow };
        world.app(assign(&[("t", 0), ("t", 1), ("t", 2)]));
        for i in 0..60_i32 {
            world.cluster.write("t", i % 3, 1, &[&i.to_string(), "more"]);
            world.app(Command::Poll { max_records: size });
            world.run(20);
            if i % 20 == 10 {
                world.cluster.elect("t", 0, i / 20 % 2 + 1);
            }
        }
        world.faults = Faults::default();
        for _ in 0..4 {
            drain(&mut world, 0);
        }
        for p in 0..3 {
            let offsets: Vec<i64> = read(&world, 0)[&part("t", p)].iter().map(|(offset, _)| *offset).collect();
            prop_assert_eq!(offsets, (0..40).collect::<Vec<i64>>());
        }
    }

    /// Whatever is lost and whoever leaves: in the end each partition has one owner, and everything has been read by somebody.
    #[test]
    fn groups_come_to_rest(seed in any::<u64>(), lost_request in 0..100u32, lost_answer in 0..100u32, cooperative in any::<bool>(), leaver in 0..3usize) {
        let assignor = if cooperative { Assignor::CooperativeSticky } else { Assignor::Sticky };
        let machines = (0..3).map(|i| Consumer::new(in_group(&[assignor]), seed ^ i)).collect();
        let mut world = World::new(machines, Fake::new(2, &[("t", 5)]), seed);
        world.faults = Faults { lost_request, lost_answer, slow: 50 };
        for who in 0..3 {
            world.app_of(who, subscribe(&["t"]));
            world.cluster.write("t", who as i32, 1, &["a", "b"]);
            live(&mut world, 3000);
        }
        world.app_of(leaver, Command::Close);
        world.cluster.write("t", 4, 1, &["c"]);
        live(&mut world, 5000);
        world.faults = Faults::default();
        live(&mut world, 70_000);
        let stay: Vec<usize> = (0..3).filter(|who| *who != leaver).collect();
        let sizes: Vec<usize> = stay.iter().map(|who| owned(&world, *who).len()).collect();
        prop_assert!(sizes == [2, 3] || sizes == [3, 2], "{:?}", sizes);
        let mut all = owned(&world, stay[0]);
        all.extend(owned(&world, stay[1]));
        prop_assert_eq!(all.len(), 5);
        let mut seen: BTreeSet<(TopicPartition, i64)> = BTreeSet::new();
        for who in 0..3 {
            seen.extend(read(&world, who).into_iter().flat_map(|(part, list)| list.into_iter().map(move |(offset, _)| (part.clone(), offset))));
        }
        prop_assert_eq!(seen.len(), 7);
        for who in stay {
            prop_assert!(world.machines[who].deadline().is_some_and(|(at, _)| at.0 > world.at - 1000 * MS));
        }
    }
}

fn in_rack() -> Config {
    Config { rack: "r2".to_owned(), ..config() }
}

#[test]
fn a_consumer_reads_from_the_replica_that_its_leader_names() {
    let mut cluster = Fake::new(2, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a", "b"]);
    cluster.logs.get_mut(&part("t", 0)).unwrap().near = Some((2, 1));
    let leader = cluster.logs[&part("t", 0)].leader;
    assert_ne!(leader, 2);
    let mut world = world(vec![in_rack()], cluster);
    world.app(assign(&[("t", 0)]));
    drain(&mut world, 0);
    assert_eq!(values(&world, "t", 0), ["a", "b"]);
    let read_from = &world.cluster.logs[&part("t", 0)].read_from;
    assert_eq!(read_from.keys().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn without_a_rack_it_reads_from_the_leader() {
    let mut cluster = Fake::new(2, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a"]);
    cluster.logs.get_mut(&part("t", 0)).unwrap().near = Some((2, 1));
    let mut world = world(vec![config()], cluster);
    world.app(assign(&[("t", 0)]));
    drain(&mut world, 0);
    assert_eq!(world.cluster.logs[&part("t", 0)].read_from.keys().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_position_that_a_follower_does_not_hold_is_taken_to_the_leader_not_reset() {
    let mut cluster = Fake::new(2, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a"]);
    cluster.write("t", 0, 1, &["b"]);
    cluster.logs.get_mut(&part("t", 0)).unwrap().near = Some((2, 2));
    let mut world = world(vec![in_rack()], cluster);
    world.app(assign(&[("t", 0)]));
    drain(&mut world, 0);
    // The follower begins anew, and lacks what was read; its leader does not send anybody there any more when it hears of it.
    world.cluster.logs.get_mut(&part("t", 0)).unwrap().near = Some((2, 0));
    world.run(2_000);
    world.cluster.logs.get_mut(&part("t", 0)).unwrap().near = None;
    world.cluster.write("t", 0, 1, &["c"]);
    drain(&mut world, 0);
    assert_eq!(values(&world, "t", 0), ["a", "b", "c"], "nothing is read twice, nothing is passed over");
}

#[test]
fn a_replica_that_answers_no_longer_is_left_for_the_leader() {
    let mut cluster = Fake::new(2, &[("t", 1)]);
    cluster.write("t", 0, 1, &["a"]);
    cluster.logs.get_mut(&part("t", 0)).unwrap().near = Some((2, 1));
    let mut world = world(vec![in_rack()], cluster);
    world.app(assign(&[("t", 0)]));
    drain(&mut world, 0);
    world.cluster.logs.get_mut(&part("t", 0)).unwrap().near = None;
    world.cluster.write("t", 0, 1, &["b"]);
    drain(&mut world, 0);
    assert_eq!(values(&world, "t", 0), ["a", "b"]);
    assert!(world.cluster.logs[&part("t", 0)].read_from.contains_key(&1));
}

mod leader {
    //! The group's leader, without a network.

    use bytes::Bytes;

    use super::*;
    use crate::client::consumer::member::{Member, Phase, Verdict};
    use crate::client::consumer::subscription;
    use crate::wire::api::join_group::{JoinGroupResponse, JoinGroupResponseMember};
    use crate::wire::api::sync_group::SyncGroupResponse;

    fn at(seconds: u64) -> Instant {
        Instant::default().after(Duration::from_secs(seconds))
    }

    fn topics() -> BTreeSet<Topic> {
        [Topic::from("t")].into()
    }

    /// The leader `a` of a group with `b`, from the join on: each with the parts that it says it owns. It is given what it had.
    fn lead(member: &mut Member, a: &[i32], b: &[i32], skip_assignment: bool) -> BTreeMap<String, usize> {
        let described = |id: &str, owned: &[i32]| JoinGroupResponseMember {
            member_id: id.to_owned(),
            metadata: subscription::encode(
                Assignor::CooperativeSticky,
                &topics(),
                &owned.iter().map(|number| part("t", *number)).collect(),
                1,
                None,
            ),
            ..Default::default()
        };
        member.topics = topics();
        member.subscribed(at(0));
        member.join();
        let joined = JoinGroupResponse {
            generation_id: 2,
            protocol_name: Some("cooperative-sticky".into()),
            member_id: "a".into(),
            leader: "a".into(),
            members: vec![described("a", a), described("b", b)],
            skip_assignment,
            ..Default::default()
        };
        assert_eq!(member.joined(at(0), at(0), &joined), Verdict::Fine);
        assert_eq!(member.topics_to_assign(), topics());
        let sync = member.sync([(Topic::from("t"), 4)].into());
        let parts: Vec<TopicPartition> = a.iter().map(|number| part("t", *number)).collect();
        let synced = SyncGroupResponse { assignment: subscription::encode_assignment(&parts), ..Default::default() };
        assert_eq!(member.synced(at(0), 2, &synced), Verdict::Fine);
        member.owned = parts.into_iter().collect();
        member.apply(at(0));
        assert!(matches!(member.phase, Phase::Stable));
        let count = |given: &Bytes| subscription::decode_assignment(given.clone()).unwrap().len();
        sync.assignments.iter().map(|given| (given.member_id.clone(), count(&given.assignment))).collect()
    }

    fn cooperative() -> Member {
        Member::new(GroupConfig { assignors: vec![Assignor::CooperativeSticky], ..GroupConfig::new("g") })
    }

    #[test]
    fn asks_again_for_what_it_withheld_when_nobody_else_does() {
        let mut member = cooperative();
        let given = lead(&mut member, &[], &[0, 1, 2, 3], false);
        assert_eq!(given, [("a".to_owned(), 0), ("b".to_owned(), 2)].into(), "two are withheld until b has given them up");
        assert!(!member.has_waited_enough(at(44)), "b may still be there, busy with their records");
        assert!(member.has_waited_enough(at(45)));
        member.rejoin(at(45));
        member.join();
        assert!(!member.has_waited_enough(at(100)), "it has asked");
    }

    #[test]
    fn that_has_withheld_nothing_asks_for_nothing() {
        let mut member = cooperative();
        let given = lead(&mut member, &[0, 1], &[2, 3], false);
        assert_eq!(given, [("a".to_owned(), 2), ("b".to_owned(), 2)].into());
        assert!(!member.has_waited_enough(at(1000)));
    }

    #[test]
    fn in_the_place_of_another_process_assigns_nothing_watches_the_topics_and_asks_once_more() {
        let mut member = cooperative();
        let given = lead(&mut member, &[0, 1], &[2, 3], true);
        assert_eq!(given, BTreeMap::new(), "the group has its assignment (KIP-814)");
        assert!(!member.is_outdated(|_| Some(4)));
        assert!(member.is_outdated(|_| Some(5)), "the topic has grown");
        assert!(member.has_waited_enough(at(45)), "it cannot know what its predecessor withheld");
    }
}
