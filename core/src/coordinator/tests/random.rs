//! Commits, members, crashes and lost leaderships at random: what was accepted is there, and the log rebuilds the state.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Commit(usize),
    MemberCommit(usize),
    Join(usize),
    Sync(usize),
    Delete(usize),
    Fetch(usize),
    Safe(i32),
    Pass(u16),
    Crash { keep_unsafe: bool },
    Lost(i32),
    Refused(usize),
}

const GROUPS: [&str; 4] = ["a", "b", "c", "d"];

fn step() -> impl Strategy<Value = Step> {
    let group = 0..GROUPS.len();
    prop_oneof![
        6 => group.clone().prop_map(Step::Commit),
        4 => group.clone().prop_map(Step::MemberCommit),
        4 => group.clone().prop_map(Step::Join),
        4 => group.clone().prop_map(Step::Sync),
        1 => group.clone().prop_map(Step::Delete),
        4 => group.clone().prop_map(Step::Fetch),
        8 => (0..3).prop_map(Step::Safe),
        2 => (0..9000u16).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(|keep_unsafe| Step::Crash { keep_unsafe }),
        1 => (0..3).prop_map(Step::Lost),
        1 => group.prop_map(Step::Refused),
    ]
}

/// What is known of one group's offset of t-0.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The place in `asked` of the newest that was accepted: nothing before it may be seen any more.
    accepted: Option<usize>,
    /// Commits and deletions asked for, not answered. A deletion is −1.
    asked: Vec<(Token, i64)>,
    member: String,
    generation: i32,
    join: Option<Token>,
}

struct World {
    bench: Bench,
    groups: Vec<Known>,
    next: i64,
    /// With the place of the newest accepted offset when each was asked.
    fetches: Vec<(Token, usize, Option<usize>)>,
}

impl World {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.safe_at_once = false;
        Self { bench, groups: vec![Known::default(); GROUPS.len()], next: 0, fetches: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Commit(group) => self.commit(group, "", -1),
            Step::MemberCommit(group) => {
                let Known { member, generation, .. } = self.groups[group].clone();
                self.commit(group, &member, generation);
            }
            Step::Join(group) => self.join(group),
            Step::Sync(group) => {
                let Known { member, generation, .. } = self.groups[group].clone();
                self.bench.sync(GROUPS[group], &member, generation);
            }
            Step::Delete(group) => {
                let token = self.bench.delete(GROUPS[group]);
                self.groups[group].asked.push((token, -1));
            }
            Step::Fetch(group) => {
                let token = self.bench.fetch(GROUPS[group]);
                let accepted = self.groups[group].accepted;
                self.fetches.push((token, group, accepted));
            }
            Step::Safe(at) => self.bench.make_safe(PartitionIndex(at)),
            Step::Pass(ms) => self.bench.pass(Duration::from_millis(ms.into())),
            Step::Crash { keep_unsafe } => {
                // Connections break with the process: nobody hears what was not said.
                self.groups.iter_mut().for_each(|known| known.join = None);
                self.bench.crash(keep_unsafe);
            }
            Step::Lost(at) => self.bench.elect(PartitionIndex(at)),
            Step::Refused(group) => {
                self.bench.refusing = true;
                self.commit(group, "", -1);
                self.bench.refusing = false;
            }
        }
        self.hear();
        self.check_replay();
    }

    fn commit(&mut self, group: usize, member: &str, generation: i32) {
        let offset = self.next;
        self.next += 1;
        let body = Bench::commit_request(GROUPS[group], member, generation, offset);
        let token = self.bench.ask(9, |coordinator, now, caller, catalog| coordinator.commit(now, &caller, &body, catalog));
        self.groups[group].asked.push((token, offset));
    }

    fn join(&mut self, group: usize) {
        if self.groups[group].join.is_none_or(|token| !self.bench.waits(token)) {
            let member = self.groups[group].member.clone();
            self.groups[group].join = Some(self.bench.join(GROUPS[group], &member));
        }
    }

    fn hear(&mut self) {
        for known in &mut self.groups {
            if let Some(Response::JoinGroup(body)) = known.join.and_then(|token| self.bench.answers.get(&token)) {
                known.member.clone_from(&body.member_id);
                known.generation = body.generation_id;
                known.join = None;
            }
            // In the order of their plans: what was accepted later counts more.
            for (place, (token, _)) in known.asked.iter().enumerate() {
                let accepted = match self.bench.answers.get(token) {
                    Some(Response::OffsetCommit(body)) => body.topics[0].partitions[0].error_code == ErrorCode::NONE,
                    Some(Response::DeleteGroups(body)) => body.results[0].error_code == ErrorCode::NONE,
                    _ => false,
                };
                if accepted {
                    known.accepted = Some(place);
                }
            }
        }
        for (token, group, accepted) in std::mem::take(&mut self.fetches) {
            if self.bench.waits(token) {
                self.fetches.push((token, group, accepted));
                continue;
            }
            if let Ok(offset) = self.bench.fetched(token) {
                self.check_seen(group, offset, accepted);
            }
        }
    }

    /// What is fetched was asked for, and nothing that was accepted before the fetch is behind it.
    fn check_seen(&self, group: usize, offset: i64, accepted: Option<usize>) {
        let known = &self.groups[group];
        let mut allowed = known.asked.iter().skip(accepted.unwrap_or(0)).map(|(_, offset)| *offset);
        let fresh = accepted.is_none() && offset == -1;
        assert!(fresh || allowed.any(|allowed| allowed == offset), "group {group} shows {offset}: {known:?}");
    }

    /// A coordinator that reads the log now has the same groups and offsets.
    fn check_replay(&mut self) {
        for at in (0..3).map(PartitionIndex) {
            let log = &self.bench.logs[&at];
            let mut reader = Coordinator::new(self.bench.coordinator.config.clone(), 0);
            reader.elected(self.bench.now, at, Offset::ZERO, log.end(), log.high);
            while let Some(decision) = reader.poll() {
                if let Decision::Load { partition, run, .. } = decision {
                    reader.loaded(self.bench.now, partition, run, &log.batches);
                }
            }
            let (live, read) = (self.bench.coordinator.shard(at), reader.shard(at));
            assert!(live.groups.keys().eq(read.groups.keys()), "the log holds other groups");
            for (kept, read) in live.groups.values().zip(read.groups.values()) {
                assert_eq!(kept.offsets, read.offsets, "the log holds other offsets");
                let (group, read) = (kept.classic().expect("all are classic"), read.classic().expect("all are classic"));
                if matches!(group.state(), group::State::Empty | group::State::Stable(_)) {
                    assert_eq!(group.snapshot(), read.snapshot(), "the log holds another group");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_accepted_is_never_lost(steps in proptest::collection::vec(step(), 1..100)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.bench.make_all_safe();
        world.hear();
        for (group, name) in GROUPS.iter().enumerate() {
            let offset = world.bench.offset(name);
            let accepted = world.groups[group].accepted;
            world.check_seen(group, offset.expect("everything is safe, and nothing loads"), accepted);
        }
        world.bench.pass(Duration::from_secs(6));
        prop_assert!(world.bench.coordinator.held.is_empty());
    }
}
