//! Many members, topics that change, lost answers, restarts: no partition is ever read by two, the log is the state, and in the end all is read.

use super::records::{compacted, without_timers};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    /// A heartbeat that says everything it has; the answer may be lost.
    Tell {
        who: usize,
        heard: bool,
    },
    /// A heartbeat that says nothing.
    Short(usize),
    /// Gives up, at last, what it was told to.
    GiveUp(usize),
    Subscribe(usize, Vec<usize>),
    Leave {
        who: usize,
        for_a_while: bool,
    },
    /// It is no more, and a new process begins.
    Crash(usize),
    Grow(usize, i32),
    Pass(u64),
    Restart {
        compact: bool,
    },
}

const TOPICS: [&str; 3] = ["t", "u", "v"];
const MEMBERS: usize = 5;

fn step() -> impl Strategy<Value = Step> {
    let who = 0..MEMBERS;
    let topics = proptest::collection::vec(0..TOPICS.len(), 0..3);
    prop_oneof![
        12 => (who.clone(), proptest::bool::weighted(0.8)).prop_map(|(who, heard)| Step::Tell { who, heard }),
        4 => who.clone().prop_map(Step::Short),
        8 => who.clone().prop_map(Step::GiveUp),
        2 => (who.clone(), topics).prop_map(|(who, topics)| Step::Subscribe(who, topics)),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, for_a_while)| Step::Leave { who, for_a_while }),
        1 => who.prop_map(Step::Crash),
        1 => (0..TOPICS.len(), 1..5_i32).prop_map(|(topic, by)| Step::Grow(topic, by)),
        3 => (0..25_u64).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(|compact| Step::Restart { compact }),
    ]
}

/// A client as it is: what it was told, and what it still reads.
#[derive(Clone, Debug)]
struct Client {
    consumer: Consumer,
    is_in: bool,
    /// What it is still to stop reading.
    reads: BTreeSet<(Uuid, PartitionIndex)>,
    /// When it knows by itself that its session is over, and stops.
    lives_until: Instant,
    lives: u32,
}

impl Client {
    fn stop(&mut self) {
        self.is_in = false;
        self.reads.clear();
        self.consumer.owned.clear();
    }
}

struct World {
    table: Table,
    clients: Vec<Client>,
}

fn flat(parts: &Parts) -> BTreeSet<(Uuid, PartitionIndex)> {
    parts.iter().flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index))).collect()
}

fn grouped(set: &BTreeSet<(Uuid, PartitionIndex)>) -> Parts {
    let mut parts = Parts::new();
    for (topic, index) in set {
        parts.entry(*topic).or_default().insert(*index);
    }
    parts
}

impl World {
    /// Of five members the first two are static, and two like `range`.
    fn new() -> Self {
        let mut table = Table::new();
        table.catalog.0.insert("v".into(), (Uuid([3; 16]), 3));
        let client = |at: usize| {
            let mut consumer = Consumer::new(&format!("m{at}-0"), &TOPICS[..=at % 3]);
            if at < 2 {
                consumer = consumer.under(&format!("i{at}"));
            }
            if at % 3 == 1 {
                consumer = consumer.would_like("range");
            }
            Client { consumer, is_in: false, reads: BTreeSet::new(), lives_until: Instant(0), lives: 0 }
        };
        Self { table, clients: (0..MEMBERS).map(client).collect() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Tell { who, heard } => self.tell(*who, *heard),
            Step::Short(who) if self.clients[*who].is_in => {
                let beat = self.clients[*who].consumer.short();
                self.send(*who, &beat, true);
            }
            Step::Short(_) => {}
            Step::GiveUp(who) => {
                let client = &mut self.clients[*who];
                client.reads = flat(&client.consumer.owned);
            }
            Step::Subscribe(who, topics) => {
                let client = &mut self.clients[*who];
                client.consumer.beat.topics = Some(topics.iter().map(|topic| TOPICS[*topic].to_owned()).collect());
                self.tell(*who, true);
            }
            Step::Leave { who, for_a_while } => self.leave(*who, *for_a_while),
            Step::Crash(who) => self.begin_anew(*who),
            Step::Grow(topic, by) => {
                let count = self.table.catalog.0[TOPICS[*topic]].1;
                self.table.grow(TOPICS[*topic], (count + by).min(12));
            }
            Step::Pass(seconds) => self.pass(*seconds),
            Step::Restart { compact } => {
                let log = if *compact { compacted(&self.table.log) } else { self.table.log.clone() };
                self.table.group = Group::default();
                log.iter().for_each(|change| self.table.group.replay(change));
                self.table.group.resume(self.table.now.at, &self.table.config);
            }
        }
        self.check();
    }

    /// A full heartbeat, or a join.
    fn tell(&mut self, who: usize, heard: bool) {
        let client = &mut self.clients[who];
        let beat = if client.is_in {
            Beat { epoch: client.consumer.epoch, owned: Some(grouped(&client.reads)), ..client.consumer.beat.clone() }
        } else {
            // Who joins has stopped reading first.
            client.stop();
            Beat { epoch: 0, owned: Some(Parts::new()), ..client.consumer.beat.clone() }
        };
        self.send(who, &beat, heard);
    }

    fn send(&mut self, who: usize, beat: &Beat, heard: bool) {
        let outcome = self.table.send(beat);
        if !heard {
            return;
        }
        let lives_until = self.table.now.at.after(self.table.config.consumer_session);
        let client = &mut self.clients[who];
        match outcome {
            Ok(beaten) => {
                client.is_in = true;
                client.lives_until = lives_until;
                client.consumer.hear(beaten);
                // What is new it reads at once; what it is to give up it goes on reading for a while.
                client.reads.extend(flat(&client.consumer.owned));
            }
            Err(refused) => {
                let fenced = [
                    ErrorCode::UNKNOWN_MEMBER_ID,
                    ErrorCode::FENCED_MEMBER_EPOCH,
                    ErrorCode::FENCED_INSTANCE_ID,
                    ErrorCode::UNRELEASED_INSTANCE_ID,
                ];
                assert!(fenced.contains(&refused.error), "{refused:?}");
                client.stop();
            }
        }
    }

    fn leave(&mut self, who: usize, for_a_while: bool) {
        let client = &mut self.clients[who];
        client.reads.clear();
        let is_static = client.consumer.beat.instance.is_some();
        let leave = Leave { for_a_while: for_a_while && is_static, ..client.consumer.leave() };
        // Whoever is not in any more hears so.
        let _ = self.table.leave(&leave);
        self.begin_anew(who);
    }

    fn begin_anew(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.lives += 1;
        client.consumer.beat.member = MemberId::new(&format!("m{who}-{}", client.lives));
        client.stop();
    }

    /// A client that was not answered for a session's time, or holds on for longer than it may, stops by itself.
    fn pass(&mut self, seconds: u64) {
        let end = self.table.now.at.after(Duration::from_secs(seconds));
        for client in &mut self.clients {
            let holds_on = client.reads != flat(&client.consumer.owned);
            if client.lives_until <= end || holds_on {
                client.stop();
            }
        }
        self.table.pass(seconds);
    }

    fn check(&self) {
        let mut readers: BTreeMap<(Uuid, PartitionIndex), usize> = BTreeMap::new();
        for (who, client) in self.clients.iter().enumerate() {
            for part in &client.reads {
                let other = readers.insert(*part, who);
                assert_eq!(other, None, "{part:?} is read by two: {other:?} and {who}");
            }
        }
    }

    fn check_replay(&self) {
        for log in [self.table.log.clone(), compacted(&self.table.log)] {
            let mut group = Group::default();
            log.iter().for_each(|change| group.replay(change));
            assert_eq!(group, without_timers(&self.table.group), "the log holds another group");
        }
    }

    /// Everybody lives and does as told.
    fn heal(&mut self) {
        self.pass(100);
        for _ in 0..10 {
            for who in 0..MEMBERS {
                self.step(&Step::Tell { who, heard: true });
                self.step(&Step::GiveUp(who));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_partition_is_read_by_two_and_in_the_end_all_that_is_wanted_is_read(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for some in steps.chunks(10) {
            some.iter().for_each(|step| world.step(step));
            world.check_replay();
        }
        world.heal();
        world.check_replay();
        let wanted: BTreeSet<String> = world.clients.iter().flat_map(|c| c.consumer.beat.topics.clone().unwrap_or_default()).collect();
        let expected: usize = wanted.iter().map(|topic| usize::try_from(world.table.catalog.0[topic].1).expect("a count")).sum();
        let read: usize = world.clients.iter().map(|client| client.reads.len()).sum();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(world.table.group.state(), State::Stable);
        for client in &world.clients {
            let topics = client.consumer.beat.topics.clone().unwrap_or_default();
            let names = client.reads.iter().map(|(topic, _)| world.table.catalog.by_id(*topic).expect("a topic").0.to_owned());
            prop_assert!(names.collect::<BTreeSet<_>>().is_subset(&topics), "it reads what it does not want");
        }
    }
}
