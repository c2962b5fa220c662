use super::*;
use proptest::prelude::*;

fn topics(list: &[(&str, u32)]) -> BTreeMap<Topic, u32> {
    list.iter().map(|(name, count)| (Topic::from(*name), *count)).collect()
}

fn wants(list: &[(&str, &[&str])]) -> BTreeMap<MemberId, Member> {
    let member = |topics: &[&str]| Member { topics: topics.iter().map(|t| Topic::from(*t)).collect(), generation: -1, ..Member::default() };
    list.iter().map(|(id, topics)| ((*id).to_owned(), member(topics))).collect()
}

fn parts(text: &str) -> Vec<TopicPartition> {
    let part = |text: &str| {
        let (topic, number) = text.rsplit_once('-').expect("topic-number");
        TopicPartition::new(topic, number.parse().expect("a number"))
    };
    text.split([',', ' ']).filter(|t| !t.is_empty()).map(part).collect()
}

fn sets(assignment: &Assignment) -> BTreeMap<&str, BTreeSet<TopicPartition>> {
    assignment.iter().map(|(id, parts)| (id.as_str(), parts.iter().cloned().collect())).collect()
}

fn expect(assignor: Assignor, topics: &BTreeMap<Topic, u32>, members: &BTreeMap<MemberId, Member>, expected: &[(&str, &str)]) {
    let expected: Assignment = expected.iter().map(|(id, text)| ((*id).to_owned(), parts(text))).collect();
    let got = assignor.assign(topics, members);
    assert_eq!(sets(&got), sets(&expected), "{}", assignor.name());
}

#[test]
fn two_topics_of_three_for_two_members() {
    let topics = topics(&[("t0", 3), ("t1", 3)]);
    let members = wants(&[("C0", &["t0", "t1"]), ("C1", &["t0", "t1"])]);
    expect(Assignor::Range, &topics, &members, &[("C0", "t0-0 t0-1 t1-0 t1-1"), ("C1", "t0-2 t1-2")]);
    for assignor in [Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky] {
        expect(assignor, &topics, &members, &[("C0", "t0-0 t0-2 t1-1"), ("C1", "t0-1 t1-0 t1-2")]);
    }
}

#[test]
fn seven_partitions_for_three_members() {
    let topics = topics(&[("t0", 7)]);
    let members = wants(&[("C0", &["t0"]), ("C1", &["t0"]), ("C2", &["t0"])]);
    expect(Assignor::Range, &topics, &members, &[("C0", "t0-0 t0-1 t0-2"), ("C1", "t0-3 t0-4"), ("C2", "t0-5 t0-6")]);
    for assignor in [Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky] {
        expect(assignor, &topics, &members, &[("C0", "t0-0 t0-3 t0-6"), ("C1", "t0-1 t0-4"), ("C2", "t0-2 t0-5")]);
    }
}

#[test]
fn mixed_subscriptions() {
    let topics = topics(&[("t0", 1), ("t1", 2), ("t2", 3)]);
    let members = wants(&[("C0", &["t0"]), ("C1", &["t0", "t1"]), ("C2", &["t0", "t1", "t2"])]);
    expect(Assignor::RoundRobin, &topics, &members, &[("C0", "t0-0"), ("C1", "t1-0"), ("C2", "t1-1 t2-0 t2-1 t2-2")]);
    for assignor in [Assignor::Sticky, Assignor::CooperativeSticky] {
        expect(assignor, &topics, &members, &[("C0", "t0-0"), ("C1", "t1-0 t1-1"), ("C2", "t2-0 t2-1 t2-2")]);
    }
}

#[test]
fn static_members_come_first_by_instance_id() {
    let topics = topics(&[("t0", 3)]);
    let mut members = wants(&[("m0", &["t0"]), ("m1", &["t0"]), ("m2", &["t0"])]);
    members.get_mut("m1").unwrap().instance = Some("z".into());
    members.get_mut("m2").unwrap().instance = Some("y".into());
    for assignor in [Assignor::Range, Assignor::RoundRobin] {
        expect(assignor, &topics, &members, &[("m2", "t0-0"), ("m1", "t0-1"), ("m0", "t0-2")]);
    }
}

#[test]
fn a_cooperative_move_takes_two_rebalances() {
    let topics = topics(&[("t0", 6)]);
    let mut members = wants(&[("C0", &["t0"]), ("C1", &["t0"]), ("C2", &["t0"])]);
    hold(&mut members, "C0", 1, "t0-0 t0-1 t0-2");
    hold(&mut members, "C1", 1, "t0-3 t0-4 t0-5");
    let first = [("C0", "t0-0 t0-1"), ("C1", "t0-3 t0-4"), ("C2", "")];
    expect(Assignor::CooperativeSticky, &topics, &members, &first);
    for (id, owned) in first {
        hold(&mut members, id, 2, owned);
    }
    expect(Assignor::CooperativeSticky, &topics, &members, &[("C0", "t0-0 t0-1"), ("C1", "t0-3 t0-4"), ("C2", "t0-2 t0-5")]);
}

fn hold(members: &mut BTreeMap<MemberId, Member>, id: &str, generation: i32, owned: &str) {
    let member = members.get_mut(id).expect("a member of the test");
    (member.generation, member.owned) = (generation, parts(owned));
}

#[test]
fn the_newest_generation_keeps_a_doubly_claimed_partition() {
    let topics = topics(&[("t0", 2)]);
    let mut members = wants(&[("C0", &["t0"]), ("C1", &["t0"])]);
    hold(&mut members, "C0", 5, "t0-0 t0-1");
    hold(&mut members, "C1", 6, "t0-0");
    expect(Assignor::Sticky, &topics, &members, &[("C0", "t0-1"), ("C1", "t0-0")]);
    // In one generation neither is believed: cooperatively nobody may have it until both have rejoined.
    hold(&mut members, "C0", 6, "t0-0");
    expect(Assignor::CooperativeSticky, &topics, &members, &[("C0", ""), ("C1", "t0-1")]);
}

#[test]
fn nobody_and_nothing_are_no_trouble() {
    for assignor in Assignor::ALL {
        assert!(assignor.assign(&topics(&[("t0", 3)]), &BTreeMap::new()).is_empty());
        expect(assignor, &topics(&[]), &wants(&[("C0", &["t0"]), ("C1", &[])]), &[("C0", ""), ("C1", "")]);
        expect(assignor, &topics(&[("t0", 1)]), &wants(&[("C0", &["t1"]), ("C1", &[])]), &[("C0", ""), ("C1", "")]);
    }
}

/// Random groups and what the assignors of Kafka 4.3.1 made of them, several rebalances in a row for the sticky ones. (The order of a
/// sticky member's list hangs on Java hash maps and is not compared.)
#[test]
fn kafka_assigns_the_same() {
    let mut cases = 0;
    for case in include_str!("kafka.txt").split("\n\n") {
        let mut lines = case.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let head = lines.next().expect("an assign line");
        let assignor = Assignor::named(head[1]).expect("a known assignor");
        let counts: Vec<(&str, u32)> = head[2..].iter().map(|t| t.split_once('=').unwrap()).map(|(t, n)| (t, n.parse().unwrap())).collect();
        let (mut members, mut expected) = (BTreeMap::new(), Assignment::new());
        for line in lines {
            if line[0] == "member" {
                members.insert(line[1].to_owned(), member_of(&line[2..]));
            } else {
                expected.insert(line[1].to_owned(), parts(line.get(2).copied().unwrap_or("")));
            }
        }
        let got = assignor.assign(&topics(&counts), &members);
        assert_eq!(sets(&got), sets(&expected), "\n{case}");
        cases += 1;
    }
    assert_eq!(cases, 160);
}

fn member_of(fields: &[&str]) -> Member {
    let value = |i: usize| fields[i].split_once('=').expect("name=value").1;
    Member {
        instance: Some(value(0)).filter(|id| !id.is_empty()).map(str::to_owned),
        generation: value(1).parse().expect("a generation"),
        topics: value(2).split(',').map(Topic::from).collect(),
        owned: parts(value(3)),
    }
}

prop_compose! {
    fn a_group()(
        counts in prop::collection::vec(1..8u32, 1..5),
        wanted in prop::collection::vec(1..16u8, 1..7),
        same in any::<bool>(),
    ) -> (BTreeMap<Topic, u32>, BTreeMap<MemberId, Member>) {
        let topics: BTreeMap<Topic, u32> = counts.iter().enumerate().map(|(i, n)| (Topic::from(format!("t{i}")), *n)).collect();
        let member = |mask: u8| {
            let chosen = topics.keys().enumerate().filter(|(i, _)| same || mask & (1 << i) != 0).map(|(_, t)| Topic::clone(t));
            Member { topics: chosen.collect(), generation: -1, ..Member::default() }
        };
        let members = wanted.iter().enumerate().map(|(i, mask)| (format!("m{i}"), member(*mask))).collect();
        (topics, members)
    }
}

/// Everything that somebody wants is assigned exactly once, and nobody gets what it does not want.
fn check_complete(topics: &BTreeMap<Topic, u32>, members: &BTreeMap<MemberId, Member>, assignment: &Assignment) {
    let mut given = BTreeSet::new();
    for (id, parts) in assignment {
        for part in parts {
            assert!(members[id].topics.contains(&part.topic), "{id} does not want {part}");
            assert!(given.insert(part.clone()), "{part} is given twice");
        }
    }
    let wanted = topics.iter().filter(|(topic, _)| members.values().any(|member| member.topics.contains(*topic)));
    assert_eq!(given.len(), wanted.map(|(_, count)| *count as usize).sum::<usize>());
}

/// No partition could go from someone to a subscriber who has at least two fewer.
fn check_balanced(members: &BTreeMap<MemberId, Member>, assignment: &Assignment) {
    for (rich, parts) in assignment {
        for (poor, theirs) in assignment {
            let movable = parts.iter().find(|part| members[poor].topics.contains(&part.topic));
            assert!(parts.len() <= theirs.len() + 1 || movable.is_none(), "{movable:?} could go from {rich} to {poor}: {assignment:?}");
        }
    }
}

fn after(members: &BTreeMap<MemberId, Member>, assignment: &Assignment, generation: i32) -> BTreeMap<MemberId, Member> {
    let mut next = members.clone();
    for (id, member) in &mut next {
        if let Some(owned) = assignment.get(id) {
            (member.owned, member.generation) = (owned.clone(), generation);
        }
    }
    next
}

proptest! {
    #[test]
    fn all_is_assigned_once_to_those_who_want_it((topics, members) in a_group()) {
        for assignor in Assignor::ALL {
            check_complete(&topics, &members, &assignor.assign(&topics, &members));
        }
    }

    #[test]
    fn sticky_balances_and_is_stable((topics, members) in a_group()) {
        for assignor in [Assignor::Sticky, Assignor::CooperativeSticky] {
            let first = assignor.assign(&topics, &members);
            check_balanced(&members, &first);
            let second = assignor.assign(&topics, &after(&members, &first, 1));
            prop_assert_eq!(sets(&first), sets(&second), "nothing changed, so nothing moves");
        }
    }

    #[test]
    fn a_leaver_moves_only_what_it_had((topics, members) in a_group(), leaver in 0..6usize) {
        prop_assume!(members.len() > 1 && members.values().all(|m| m.topics == members["m0"].topics));
        let first = Assignor::Sticky.assign(&topics, &members);
        let mut next = after(&members, &first, 1);
        next.remove(&format!("m{}", leaver % members.len()));
        let second = Assignor::Sticky.assign(&topics, &next);
        check_complete(&topics, &next, &second);
        check_balanced(&next, &second);
        for (id, had) in sets(&first).into_iter().filter(|(id, _)| next.contains_key(*id)) {
            prop_assert!(had.is_subset(&sets(&second)[id]), "{} lost something of {:?}", id, had);
        }
    }

    #[test]
    fn a_joiner_takes_no_more_than_its_share((topics, members) in a_group()) {
        prop_assume!(members.values().all(|m| m.topics == members["m0"].topics));
        let first = Assignor::Sticky.assign(&topics, &members);
        let mut next = after(&members, &first, 1);
        next.insert("z".to_owned(), Member { generation: -1, topics: members["m0"].topics.clone(), ..Member::default() });
        let second = Assignor::Sticky.assign(&topics, &next);
        check_balanced(&next, &second);
        let kept: usize = sets(&first).iter().map(|(id, had)| had.intersection(&sets(&second)[id]).count()).sum();
        let total: usize = first.values().map(Vec::len).sum();
        prop_assert_eq!(total - kept, second["z"].len(), "only what the joiner gets has moved");
    }

    /// However generations and claims are mixed up: never two owners, and after enough rebalances all is assigned and balanced.
    #[test]
    fn cooperative_rebalances_come_to_rest((topics, members) in a_group(), claims in prop::collection::vec((0..6usize, 0..4usize, 0..8i32, 0..4i32), 0..20)) {
        let mut group = members.clone();
        for (who, topic, number, generation) in claims {
            let member = group.get_mut(&format!("m{}", who % members.len())).unwrap();
            member.owned.push(TopicPartition::new(format!("t{topic}"), number));
            member.generation = generation;
        }
        for round in 5..15 {
            let got = Assignor::CooperativeSticky.assign(&topics, &group);
            let mut given = BTreeSet::new();
            prop_assert!(got.values().flatten().all(|part| given.insert(part.clone())), "a partition is given twice");
            let next = after(&group, &got, round);
            if sets(&got) == group.iter().map(|(id, m)| (id.as_str(), m.owned.iter().cloned().collect())).collect() {
                check_complete(&topics, &group, &got);
                return Ok(());
            }
            group = next;
        }
        prop_assert!(false, "ten rebalances were not enough: {:?}", group);
    }
}
