//! Members at random: whatever they do, a group keeps its promises, and its records rebuild it.

use super::*;
use proptest::prelude::*;

/// What one of five clients, or time, does next.
#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Change(usize, u8),
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    Forget(usize),
    Pass(u16),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..5usize;
    prop_oneof![
        6 => who.clone().prop_map(Step::Join),
        1 => (who.clone(), 0..3u8).prop_map(|(who, topic)| Step::Change(who, topic)),
        6 => who.clone().prop_map(Step::Sync),
        2 => who.clone().prop_map(Step::Heartbeat),
        1 => who.clone().prop_map(Step::Leave),
        1 => who.prop_map(Step::Forget),
        3 => (0..9000u16).prop_map(Step::Pass),
        1 => Just(Step::Crash),
    ]
}

/// What a client knows. Clients 3 and 4 are static.
#[derive(Clone, Debug, Default)]
struct Known {
    member: String,
    generation: i32,
    topic: u8,
    leads: Vec<MemberId>,
    join: Option<Token>,
    sync: Option<Token>,
}

struct World {
    table: Table,
    clients: Vec<Known>,
    /// Who was given a part, by generation and part: assignments are member ids, so a part has one owner.
    owners: BTreeMap<i32, BTreeMap<String, usize>>,
    newest: i32,
}

impl World {
    fn new() -> Self {
        Self { table: Table::new(), clients: vec![Known::default(); 5], owners: BTreeMap::new(), newest: 0 }
    }

    fn instance(who: usize) -> Option<String> {
        (who >= 3).then(|| format!("i{who}"))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join(who) => self.join(who),
            Step::Change(who, topic) => self.clients[who].topic = topic,
            Step::Sync(who) => self.sync(who),
            Step::Heartbeat(who) => {
                let Known { member, generation, .. } = self.clients[who].clone();
                let instance = Self::instance(who);
                let _ = self.table.turn(|group, turn| group.heartbeat(&member, instance.as_deref(), generation, turn));
            }
            Step::Leave(who) => {
                let member = self.clients[who].member.clone();
                let _ = self.table.leave(&member, Self::instance(who).as_deref());
            }
            Step::Forget(who) => self.clients[who] = Known { topic: self.clients[who].topic, ..Known::default() },
            Step::Pass(ms) => self.table.pass(Duration::from_millis(ms.into())),
            Step::Crash => self.crash(),
        }
        self.hear();
        self.check_records();
    }

    fn join(&mut self, who: usize) {
        let known = &self.clients[who];
        if known.join.is_some_and(|token| self.table.waits(token)) {
            return;
        }
        let topic = ["t", "u", "v"][usize::from(known.topic)];
        let protocols = vec![protocol("range", topic), protocol("sticky", topic)];
        let join = Join { instance: Self::instance(who), protocols, rebalance: seconds(20), ..consumer(&known.member.clone()) };
        self.clients[who].join = Some(self.table.join(join));
    }

    fn sync(&mut self, who: usize) {
        let known = self.clients[who].clone();
        let token = self.table.token();
        let assignments = known.leads.iter().map(|id| (id.to_string(), Bytes::copy_from_slice(id.0.as_bytes()))).collect();
        let (member, instance) = (known.member, Self::instance(who));
        let sync = Sync { token, member, instance, generation: known.generation, protocol_type: None, protocol: None, assignments };
        self.table.turn(|group, turn| group.sync(sync, turn));
        self.clients[who].sync = Some(token);
    }

    /// Clients read their answers.
    fn hear(&mut self) {
        for who in 0..self.clients.len() {
            let known = &mut self.clients[who];
            let take = |token: &mut Option<Token>| {
                let answer = self.table.answers.get(token.as_ref()?)?;
                *token = None;
                Some(answer.clone())
            };
            match take(&mut known.join) {
                Some(Answer::Join(Ok(joined))) => {
                    assert!(joined.generation >= known.generation, "a client saw the generation go back");
                    assert!(joined.leader == joined.member || joined.members.is_empty(), "only the leader learns the members");
                    known.member = joined.member.to_string();
                    known.generation = joined.generation;
                    known.leads = if joined.skip_assignment { Vec::new() } else { joined.members.into_iter().map(|m| m.id).collect() };
                }
                Some(Answer::Join(Err(refused))) if refused.error != ErrorCode::REBALANCE_IN_PROGRESS => {
                    known.member = if refused.error == ErrorCode::MEMBER_ID_REQUIRED { refused.member } else { String::new() };
                    known.generation = 0;
                }
                Some(Answer::Join(Err(_)) | Answer::Sync(_)) | None => {}
            }
            if let Some(Answer::Sync(Ok(synced))) = take(&mut known.sync)
                && !synced.assignment.is_empty()
            {
                let part = String::from_utf8(synced.assignment.to_vec()).unwrap();
                let owner = self.owners.entry(known.generation).or_default().entry(part).or_insert(who);
                assert_eq!(*owner, who, "two owners of one part in generation {}", known.generation);
            }
        }
    }

    /// What is written is what a reader of the log would rebuild.
    fn check_records(&mut self) {
        let group = &self.table.group;
        let Some(last) = self.table.written.last() else { return };
        assert!(self.table.written.windows(2).all(|pair| pair[0].generation <= pair[1].generation), "a written generation went back");
        if matches!(group.state(), State::Empty | State::Stable(_)) {
            assert_eq!(Group::restore(last).snapshot(), group.snapshot(), "the log says something else than the group");
        }
        assert!(group.generation() >= last.generation);
        self.newest = self.newest.max(last.generation);
    }

    /// The coordinator is gone: what was written comes back, what waited is answered.
    fn crash(&mut self) {
        for (token, answer) in self.table.group.waiting() {
            assert!(self.table.answers.insert(token, answer).is_none());
        }
        self.table.group = self.table.written.last().map_or_else(|| Group::new(self.table.now.wall), Group::restore);
        self.table.turn(Group::resume);
        for known in &mut self.clients {
            // A client whose generation never was is told so by its next request.
            known.generation = known.generation.min(self.newest);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_group_keeps_its_promises(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        // Once everybody is quiet the group empties itself, and nothing waits for ever.
        world.table.pass(seconds(2000));
        world.hear();
        prop_assert!(world.table.group.is_idle());
        prop_assert!(world.clients.iter().all(|known| known.join.is_none() && known.sync.is_none()));
    }

    #[test]
    fn members_that_go_on_become_a_stable_generation(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        for _ in 0..80 {
            for who in 0..5 {
                world.step(&Step::Heartbeat(who));
                let known = world.clients[who].clone();
                let group = &world.table.group;
                let stale = group.validate_commit(&known.member, World::instance(who).as_deref(), known.generation).is_err();
                if matches!(group.state(), State::Preparing(_) | State::Empty) || (stale && !matches!(group.state(), State::Completing(_))) {
                    world.step(&Step::Join(who));
                } else if known.sync.is_none() {
                    world.step(&Step::Sync(who));
                }
            }
            world.step(&Step::Pass(700));
        }
        prop_assert_eq!(world.table.state(), "Stable");
        prop_assert_eq!(world.table.group.members().len(), 5);
    }
}
