use super::Bench;
use crate::controller::Controller;
use crate::id::{BrokerId, Uuid};
use crate::wire::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::wire::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use crate::wire::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::wire::api::incremental_alter_configs::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Create { names: Vec<u8>, partitions: i32, setting: Option<(u8, String)>, validate_only: bool },
    Delete { names: Vec<u8>, by_id: bool },
    Grow { names: Vec<u8>, count: i32 },
    Alter { broker: bool, name: u8, op: i8, setting: (u8, String) },
    ProducerIds,
    Commit { lag: u8 },
}

/// Names that exist, collide, or are wrong.
fn name(of: u8) -> String {
    ["a", "b.c", "b_c", "d", "__consumer_offsets", "not valid", ""][usize::from(of) % 7].to_owned()
}

fn key(of: u8, broker: bool) -> String {
    let topic = ["retention.ms", "cleanup.policy", "min.compaction.lag.ms", "max.compaction.lag.ms", "nope"];
    let server = [
        "log.retention.ms",
        "log.cleanup.policy",
        "log.cleaner.min.compaction.lag.ms",
        "log.cleaner.max.compaction.lag.ms",
        "num.partitions",
    ];
    let names = if broker { server } else { topic };
    names[usize::from(of) % 5].to_owned()
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof!["[0-9]{1,3}", Just("compact".to_owned()), Just("delete".to_owned()), Just(String::new()), Just("x".to_owned())]
}

fn step() -> impl Strategy<Value = Step> {
    let names = || prop::collection::vec(any::<u8>(), 1..4);
    prop_oneof![
        (names(), -1..4_i32, prop::option::of((any::<u8>(), value())), any::<bool>()).prop_map(|(names, partitions, setting, dry)| {
            Step::Create { names, partitions, setting, validate_only: dry && partitions == 3 }
        }),
        (names(), any::<bool>()).prop_map(|(names, by_id)| Step::Delete { names, by_id }),
        (names(), -1..7_i32).prop_map(|(names, count)| Step::Grow { names, count }),
        (any::<bool>(), any::<u8>(), 0..4_i8, (any::<u8>(), value())).prop_map(|(broker, name, op, setting)| Step::Alter {
            broker,
            name,
            op,
            setting
        }),
        Just(Step::ProducerIds),
        any::<u8>().prop_map(|lag| Step::Commit { lag }),
    ]
}

fn take(bench: &mut Bench, step: Step) {
    let records = match step {
        Step::Create { names, partitions, setting, validate_only } => {
            let configs: Vec<_> =
                setting.into_iter().map(|(of, value)| CreatableTopicConfig { name: key(of, false), value: Some(value) }).collect();
            let topic = |of: u8| CreatableTopic {
                name: name(of),
                num_partitions: partitions,
                replication_factor: 1,
                configs: configs.clone(),
                ..Default::default()
            };
            let request = CreateTopicsRequest { topics: names.into_iter().map(topic).collect(), timeout_ms: 0, validate_only };
            bench.planner().create_topics(&request).records
        }
        Step::Delete { names, by_id } => {
            let planned = bench.controller.planned();
            let topic = |of: u8| match planned.topic(&name(of)) {
                Some(topic) if by_id => DeleteTopicState { name: None, topic_id: topic.id },
                Some(_) | None => DeleteTopicState { name: Some(name(of)), topic_id: Uuid::ZERO },
            };
            let request = DeleteTopicsRequest { topics: names.into_iter().map(topic).collect(), ..Default::default() };
            bench.planner().delete_topics(6, &request).records
        }
        Step::Grow { names, count } => {
            let topic = |of: u8| CreatePartitionsTopic { name: name(of), count, assignments: None };
            let request = CreatePartitionsRequest { topics: names.into_iter().map(topic).collect(), ..Default::default() };
            bench.planner().create_partitions(&request).records
        }
        Step::Alter { broker, name: of, op, setting: (key_of, value) } => {
            let resource = AlterConfigsResource {
                resource_type: if broker { 4 } else { 2 },
                resource_name: if broker { ["", "1"][usize::from(of) % 2].to_owned() } else { name(of) },
                configs: vec![AlterableConfig { name: key(key_of, broker), config_operation: op, value: Some(value) }],
            };
            let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
            bench.planner().incremental_alter_configs(&request).records
        }
        Step::ProducerIds => bench.planner().producer_ids(BrokerId(1)).records,
        Step::Commit { lag } => {
            let upto = bench.controller.end().plus(-i64::from(lag % 4));
            bench.controller.commit(upto).expect("our own records");
            return;
        }
    };
    // Panics if the fold rejects what was planned.
    bench.propose(records);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is asked in whichever order: plans never contradict the image, and a replay of the log gives the same image.
    #[test]
    fn a_replay_of_the_log_is_the_image(steps in prop::collection::vec(step(), 1..40)) {
        let mut bench = Bench::new();
        for step in steps {
            take(&mut bench, step);
            bench.controller.check_all();
        }
        bench.commit();
        let mut again = Controller::default();
        for batch in &bench.log {
            again.take_in(batch).expect("a log that a controller wrote");
        }
        again.commit(again.end()).expect("a log that a controller wrote");
        prop_assert_eq!(again.image(), bench.controller.image());
        prop_assert_eq!(again.end(), bench.controller.end());
        super::comes_back(again.image());
        for topic in again.image().topics() {
            prop_assert!(topic.partitions.keys().enumerate().all(|(at, index)| i32::try_from(at) == Ok(index.0)), "partitions have a gap");
            // What was judged good once still means something: no setting is passed over.
            let own = again.image().properties(&crate::controller::image::Resource::topic(&topic.name));
            prop_assert!(own.iter().all(|(name, text)| crate::config::topic::key(name).is_some_and(|k| k.key.parse(text).is_ok())));
        }
    }
}
