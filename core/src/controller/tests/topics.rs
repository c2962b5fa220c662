use super::Bench;
use crate::error::ErrorCode as E;
use crate::id::{BrokerId, PartitionIndex, ProducerId, Uuid};
use crate::wire::api::create_partitions::{CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic};
use crate::wire::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
};
use crate::wire::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::wire::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions: partitions, replication_factor: factor, ..Default::default() }
}

fn assigned(name: &str, replicas: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(index, ids): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: PartitionIndex(*index),
        broker_ids: ids.iter().copied().map(BrokerId).collect(),
    };
    CreatableTopic { assignments: replicas.iter().map(assignment).collect(), ..topic(name, -1, -1) }
}

fn configured(name: &str, configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let config = |(name, value): &(&str, Option<&str>)| CreatableTopicConfig { name: (*name).to_owned(), value: value.map(str::to_owned) };
    CreatableTopic { configs: configs.iter().map(config).collect(), ..topic(name, 1, 1) }
}

fn create(bench: &mut Bench, topics: Vec<CreatableTopic>) -> Vec<CreatableTopicResult> {
    let request = CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: false };
    bench.run(|p| p.create_topics(&request)).topics
}

fn refusal(bench: &mut Bench, asked: CreatableTopic) -> (E, String) {
    let result = create(bench, vec![asked]).remove(0);
    (result.error_code, result.error_message.unwrap_or_default())
}

#[test]
fn a_topic_is_created_with_its_partitions_and_told_its_settings() {
    let mut bench = Bench::with(&[("log.retention.hours", "2"), ("num.partitions", "3")]);
    let result = create(
        &mut bench,
        vec![CreatableTopic { configs: configured("", &[("segment.bytes", Some(" 2000000 "))]).configs, ..topic("t", -1, -1) }],
    )
    .remove(0);
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (E::NONE, 3, 1));
    let settings = result.configs.expect("always told");
    assert_eq!(settings.len(), 33);
    let told = |name: &str| settings.iter().find(|c| c.name == name).map(|c| (c.value.clone().unwrap_or_default(), c.config_source));
    assert_eq!(told("segment.bytes"), Some((" 2000000 ".to_owned(), 1)));
    assert_eq!(told("retention.ms"), Some(("7200000".to_owned(), 4)));
    assert_eq!(told("cleanup.policy"), Some(("delete".to_owned(), 5)));
    let created = bench.controller.image().topic("t").expect("it is there");
    assert_eq!(created.id, result.topic_id);
    assert_eq!(created.partitions.len(), 3);
    assert!(created.partitions.values().all(|p| p.leader == Some(BrokerId(1)) && p.directories == [Uuid([7; 16])]));
    assert_eq!(bench.controller.image().topic_config("t", &bench.config).segment_bytes, 2_000_000);
}

#[test]
fn counts_are_judged_as_kafka_does() {
    let mut bench = Bench::new();
    let mut no = |partitions, factor| refusal(&mut bench, topic("v", partitions, factor));
    let factor_words = "Replication factor must be larger than 0, or -1 to use the default value.";
    assert_eq!(no(0, 1), (E::INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value.".to_owned()));
    assert_eq!(no(-2, 1).0, E::INVALID_PARTITIONS);
    assert_eq!(no(1, 0), (E::INVALID_REPLICATION_FACTOR, factor_words.to_owned()));
    assert_eq!(no(1, -2).0, E::INVALID_REPLICATION_FACTOR);
    assert_eq!(
        no(1, 2),
        (
            E::INVALID_REPLICATION_FACTOR,
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because only 1 broker(s) are \
             registered or some brokers have all their log directories cordoned."
                .to_owned()
        )
    );
    assert_eq!(no(20_000, 1), (E::POLICY_VIOLATION, "Excessively large number of partitions per request.".to_owned()));
}

#[test]
fn names_are_judged_before_anything_else() {
    let mut bench = Bench::new();
    assert_eq!(create(&mut bench, vec![topic("c.d", 1, 1)])[0].error_code, E::NONE);
    let mut no = |name: &str| refusal(&mut bench, topic(name, 0, 0));
    assert_eq!(no("c.d"), (E::TOPIC_ALREADY_EXISTS, "Topic 'c.d' already exists.".to_owned()));
    assert_eq!(no("c_d"), (E::INVALID_TOPIC_EXCEPTION, "Topic 'c_d' collides with existing topic: c.d".to_owned()));
    assert_eq!(no("."), (E::INVALID_TOPIC_EXCEPTION, "Topic name is invalid: '.' is not allowed".to_owned()));
    assert_eq!(no("__cluster_metadata"), (E::INVALID_REQUEST, "Creation of internal topic __cluster_metadata is prohibited.".to_owned()));
    let twice = create(&mut bench, vec![topic("x", 1, 1), topic("y", 1, 1), topic("x", 1, 1)]);
    let told: Vec<_> = twice.iter().map(|r| (r.name.as_str(), r.error_code)).collect();
    assert_eq!(told, [("y", E::NONE), ("x", E::INVALID_REQUEST)]);
}

#[test]
fn assignments_are_judged_as_kafka_does() {
    let mut bench = Bench::new();
    let mut no = |asked| refusal(&mut bench, asked);
    let bad = |words: &str| (E::INVALID_REPLICA_ASSIGNMENT, words.to_owned());
    assert_eq!(no(assigned("v", &[(0, &[1, 1])])), bad("The manual partition assignment includes the broker 1 more than once."));
    assert_eq!(
        no(assigned("v", &[(0, &[9])])),
        bad("The manual partition assignment includes broker 9, but no such broker is registered.")
    );
    assert_eq!(no(assigned("v", &[(1, &[1])])), bad("partitions should be a consecutive 0-based integer sequence"));
    assert_eq!(no(assigned("v", &[(0, &[])])), bad("The manual partition assignment includes an empty replica list."));
    assert_eq!(
        no(CreatableTopic { num_partitions: 1, ..assigned("v", &[(0, &[1])]) }),
        (E::INVALID_REQUEST, "A manual partition assignment was specified, but numPartitions was not set to -1.".to_owned())
    );
    assert_eq!(create(&mut bench, vec![assigned("v", &[(1, &[1]), (0, &[1])])])[0].num_partitions, 2);
}

#[test]
fn bad_settings_keep_a_topic_from_being_created() {
    let mut bench = Bench::new();
    let mut no = |configs| refusal(&mut bench, configured("v", configs));
    assert_eq!(no(&[("nope", Some("1"))]), (E::INVALID_CONFIG, "Unknown topic config name: nope".to_owned()));
    assert_eq!(no(&[("retention.ms", None)]), (E::INVALID_CONFIG, "Null value not supported for topic configs: retention.ms".to_owned()));
    assert_eq!(no(&[("retention.ms", Some("x"))]).0, E::INVALID_CONFIG);
    assert!(bench.controller.image().topic("v").is_none());
}

#[test]
fn validation_alone_changes_nothing() {
    let mut bench = Bench::new();
    let request = CreateTopicsRequest { topics: vec![topic("v", 2, 1)], timeout_ms: 1000, validate_only: true };
    let result = bench.run(|p| p.create_topics(&request)).topics.remove(0);
    assert_eq!((result.error_code, result.num_partitions), (E::NONE, 2));
    assert!(bench.controller.image().topic("v").is_none());
}

#[test]
fn plans_see_what_is_planned_and_brokers_only_what_is_committed() {
    let mut bench = Bench::new();
    let request = CreateTopicsRequest { topics: vec![topic("t", 1, 1)], timeout_ms: 1000, validate_only: false };
    let first = bench.planner().create_topics(&request);
    bench.propose(first.records);
    let second = bench.planner().create_topics(&request);
    assert_eq!(second.response.topics[0].error_code, E::TOPIC_ALREADY_EXISTS);
    assert!(bench.controller.image().topic("t").is_none());
    bench.commit();
    assert!(bench.controller.image().topic("t").is_some());
}

#[test]
fn topics_are_deleted_by_name_or_by_id() {
    let mut bench = Bench::new();
    let created = create(&mut bench, vec![configured("a", &[("retention.ms", Some("5"))]), topic("b", 1, 1)]);
    let by_id = |id| DeleteTopicState { name: None, topic_id: id };
    let unknown = Uuid([9; 16]);
    let topics = vec![
        by_id(created[1].topic_id),
        by_id(unknown),
        by_id(Uuid::ZERO),
        DeleteTopicState { name: Some("a".to_owned()), topic_id: unknown },
    ];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    let mut told: Vec<_> = bench.run(|p| p.delete_topics(6, &request)).responses.into_iter().map(|r| (r.name, r.error_code)).collect();
    told.sort();
    assert_eq!(
        told,
        [
            (None, E::INVALID_REQUEST),
            (None, E::UNKNOWN_TOPIC_ID),
            (Some("a".to_owned()), E::INVALID_REQUEST),
            (Some("b".to_owned()), E::NONE)
        ]
    );
    let names = |names: &[&str]| DeleteTopicsRequest { topic_names: names.iter().map(|n| (*n).to_owned()).collect(), ..Default::default() };
    assert_eq!(bench.run(|p| p.delete_topics(5, &names(&["a", "a"]))).responses[0].error_code, E::INVALID_REQUEST);
    assert_eq!(bench.run(|p| p.delete_topics(5, &names(&["a"]))).responses[0].error_code, E::NONE);
    assert_eq!(bench.run(|p| p.delete_topics(5, &names(&["a"]))).responses[0].error_code, E::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(bench.controller.image().topics().count(), 0);
    // A topic of that name that comes later starts from the defaults.
    assert_eq!(bench.controller.image().topic_config("a", &bench.config).retention_ms, Some(604_800_000));
}

#[test]
fn a_topic_that_is_asked_for_both_ways_stays() {
    let mut bench = Bench::new();
    let id = create(&mut bench, vec![topic("a", 1, 1)])[0].topic_id;
    let by_name = DeleteTopicState { name: Some("a".to_owned()), topic_id: Uuid::ZERO };
    let topics = vec![DeleteTopicState { name: None, topic_id: id }, by_name];
    let responses = bench.run(|p| p.delete_topics(6, &DeleteTopicsRequest { topics, ..Default::default() })).responses;
    assert_eq!(
        responses.iter().map(|r| (r.name.as_deref(), r.topic_id, r.error_code)).collect::<Vec<_>>(),
        [(Some("a"), id, E::INVALID_REQUEST)]
    );
    assert!(bench.controller.image().topic("a").is_some());
}

#[test]
fn a_broker_that_may_not_delete_says_so() {
    let mut bench = Bench::with(&[("delete.topic.enable", "false")]);
    let request = DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() };
    assert_eq!(bench.run(|p| p.delete_topics(2, &request)).responses[0].error_code, E::INVALID_REQUEST);
    assert_eq!(bench.run(|p| p.delete_topics(3, &request)).responses[0].error_code, E::TOPIC_DELETION_DISABLED);
}

#[test]
fn topics_grow_and_never_shrink() {
    let mut bench = Bench::new();
    create(&mut bench, vec![topic("a", 2, 1)]);
    let mut grow = |name: &str, count, assignments: Option<&[&[i32]]>| {
        let assignment = |ids: &&[i32]| CreatePartitionsAssignment { broker_ids: ids.iter().copied().map(BrokerId).collect() };
        let assignments = assignments.map(|all| all.iter().map(assignment).collect());
        let topics = vec![CreatePartitionsTopic { name: name.to_owned(), count, assignments }];
        let request = CreatePartitionsRequest { topics, ..Default::default() };
        let result = bench.run(|p| p.create_partitions(&request)).results.remove(0);
        (result.error_code, result.error_message.unwrap_or_default())
    };
    let no = |words: &str| (E::INVALID_PARTITIONS, words.to_owned());
    assert_eq!(grow("a", 2, None), no("Topic already has 2 partition(s)."));
    assert_eq!(grow("a", 1, None), no("The topic a currently has 2 partition(s); 1 would not be an increase."));
    assert_eq!(grow("a", -1, None), no("The topic a currently has 2 partition(s); -1 would not be an increase."));
    assert_eq!(grow("missing", 1, None).0, E::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(
        grow("a", 3, Some(&[&[1], &[1]])),
        (E::INVALID_REPLICA_ASSIGNMENT, "Attempted to add 1 additional partition(s), but only 2 assignment(s) were specified.".to_owned())
    );
    assert_eq!(grow("a", 3, Some(&[&[7]])).0, E::INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(grow("a", 200_000, None).0, E::POLICY_VIOLATION);
    assert_eq!(grow("a", 3, Some(&[&[1]])).0, E::NONE);
    assert_eq!(grow("a", 5, None).0, E::NONE);
    assert_eq!(bench.controller.image().topic("a").expect("it is there").partitions.len(), 5);
}

#[test]
fn a_leader_that_is_preferred_needs_no_election() {
    let mut bench = Bench::new();
    create(&mut bench, vec![topic("a", 1, 1)]);
    let asked = |topic: &str| TopicPartitions { topic: topic.to_owned(), partitions: vec![PartitionIndex(0)] };
    let request = ElectLeadersRequest { topic_partitions: Some(vec![asked("a"), asked("zz")]), ..Default::default() };
    let results = bench.run(|p| p.elect_leaders(&request)).replica_election_results;
    assert_eq!(results[0].partition_result[0].error_code, E::ELECTION_NOT_NEEDED);
    assert_eq!(results[1].partition_result[0].error_message.as_deref(), Some("No such topic as zz"));
    let all = ElectLeadersRequest { topic_partitions: None, election_type: 1, ..Default::default() };
    assert!(bench.run(|p| p.elect_leaders(&all)).replica_election_results[0].partition_result.is_empty());
}

#[test]
fn producer_ids_come_in_blocks_that_never_repeat() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(|p| p.producer_ids(BrokerId(1))), (ProducerId(0), ProducerId(1000)));
    assert_eq!(bench.run(|p| p.producer_ids(BrokerId(1))), (ProducerId(1000), ProducerId(2000)));
    assert_eq!(bench.controller.image().next_producer_id(), ProducerId(2000));
}
