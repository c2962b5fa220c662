use super::Bench;
use crate::error::ErrorCode as E;
use crate::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::wire::api::{alter_configs as whole, incremental_alter_configs as incremental};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn bench() -> Bench {
    let mut bench = Bench::new();
    let topics = vec![CreatableTopic { name: "a".to_owned(), num_partitions: 1, replication_factor: 1, ..Default::default() }];
    bench.run(|p| p.create_topics(&CreateTopicsRequest { topics, timeout_ms: 0, validate_only: false }));
    bench
}

fn alter_all(bench: &mut Bench, kind: i8, name: &str, ops: &[(&str, i8, Option<&str>)]) -> (E, String) {
    let config = |(name, op, value): &(&str, i8, Option<&str>)| incremental::AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *op,
        value: value.map(str::to_owned),
    };
    let resource = incremental::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: ops.iter().map(config).collect(),
    };
    let request = incremental::IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = bench.run(|p| p.incremental_alter_configs(&request)).responses.remove(0);
    (response.error_code, response.error_message.unwrap_or_default())
}

fn alter(bench: &mut Bench, kind: i8, resource: &str, op: i8, name: &str, value: Option<&str>) -> (E, String) {
    alter_all(bench, kind, resource, &[(name, op, value)])
}

fn set(bench: &mut Bench, kind: i8, resource: &str, name: &str, value: &str) -> (E, String) {
    alter(bench, kind, resource, 0, name, Some(value))
}

fn effective(bench: &Bench, name: &str) -> String {
    let image = bench.controller.image();
    let own = image.properties(&super::super::image::Resource::topic("a"));
    let key = crate::config::topic::key(name).expect("a key");
    key.effective(own, image.layers(&bench.config)).0.expect("a default").to_string()
}

#[test]
fn topic_settings_are_refused_in_kafkas_words() {
    let mut bench = bench();
    let no = |bench: &mut Bench, topic: &str, name: &str, value: &str| set(bench, TOPIC, topic, name, value);
    assert_eq!(no(&mut bench, "a", "nope", "1"), (E::INVALID_CONFIG, "Unknown topic config name: nope".to_owned()));
    assert_eq!(
        no(&mut bench, "missing", "retention.ms", "1"),
        (E::UNKNOWN_TOPIC_OR_PARTITION, "The topic 'missing' does not exist.".to_owned())
    );
    assert_eq!(no(&mut bench, "missing", "nope", "1").0, E::INVALID_CONFIG);
    assert_eq!(no(&mut bench, "bad name", "retention.ms", "1").0, E::INVALID_TOPIC_EXCEPTION);
    assert_eq!(no(&mut bench, "", "retention.ms", "1"), (E::INVALID_REQUEST, "Default topic resources are not allowed.".to_owned()));
    assert_eq!(
        alter(&mut bench, TOPIC, "a", 0, "retention.ms", None),
        (E::INVALID_REQUEST, "Null value not supported for : retention.ms".to_owned())
    );
    assert_eq!(set(&mut bench, 3, "a", "x", "1"), (E::INVALID_REQUEST, "Unknown resource type 3".to_owned()));
    assert_eq!(
        alter_all(&mut bench, TOPIC, "a", &[("retention.ms", 0, Some("1")), ("retention.ms", 1, None)]),
        (E::INVALID_REQUEST, "Error due to duplicate config keys".to_owned())
    );
    assert_eq!(alter(&mut bench, TOPIC, "a", 7, "retention.ms", Some("1")).0, E::INVALID_REQUEST);
    assert_eq!(alter(&mut bench, TOPIC, "a", 1, "nope", None).0, E::NONE);
}

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    let mut bench = bench();
    assert_eq!(alter(&mut bench, TOPIC, "a", 2, "cleanup.policy", Some("compact,delete")).0, E::NONE);
    assert_eq!(effective(&bench, "cleanup.policy"), "delete,compact");
    assert_eq!(alter(&mut bench, TOPIC, "a", 3, "cleanup.policy", Some("delete")).0, E::NONE);
    assert_eq!(effective(&bench, "cleanup.policy"), "compact");
    assert_eq!(
        alter(&mut bench, TOPIC, "a", 2, "retention.ms", Some("1")),
        (E::INVALID_CONFIG, "Can't APPEND to key retention.ms because its type is not LIST.".to_owned())
    );
    assert_eq!(
        alter(&mut bench, BROKER, "1", 2, "log.retention.ms", Some("5")),
        (E::INVALID_CONFIG, "Config value append is not allowed for config key: log.retention.ms".to_owned())
    );
    assert_eq!(alter(&mut bench, BROKER, "1", 2, "zzz", Some("5")), (E::INVALID_CONFIG, "Unknown config name: zzz".to_owned()));
    assert_eq!(alter(&mut bench, TOPIC, "a", 1, "cleanup.policy", None).0, E::NONE);
    assert_eq!(effective(&bench, "cleanup.policy"), "delete");
}

#[test]
fn one_bad_setting_keeps_its_resource_as_it_was() {
    let mut bench = bench();
    assert_eq!(alter_all(&mut bench, TOPIC, "a", &[("segment.ms", 0, Some("5")), ("retention.ms", 0, Some("x"))]).0, E::INVALID_CONFIG);
    assert_eq!(effective(&bench, "segment.ms"), "604800000");
}

#[test]
fn broker_settings_reach_topics_that_set_nothing() {
    let mut bench = bench();
    assert_eq!(set(&mut bench, BROKER, "", "log.retention.ms", "7").0, E::NONE);
    assert_eq!(effective(&bench, "retention.ms"), "7");
    assert_eq!(set(&mut bench, BROKER, "1", "log.retention.ms", "8").0, E::NONE);
    assert_eq!(effective(&bench, "retention.ms"), "8");
    assert_eq!(set(&mut bench, TOPIC, "a", "retention.ms", "9").0, E::NONE);
    assert_eq!(effective(&bench, "retention.ms"), "9");
}

#[test]
fn broker_settings_are_refused_in_kafkas_words() {
    let mut bench = bench();
    assert_eq!(
        set(&mut bench, BROKER, "1", "num.partitions", "3"),
        (E::INVALID_REQUEST, "Cannot update these configs dynamically: [num.partitions]".to_owned())
    );
    assert_eq!(
        set(&mut bench, BROKER, "1", "log.retention.ms", "abc"),
        (E::INVALID_REQUEST, "Invalid value abc for configuration log.retention.ms: Not a number of type LONG".to_owned())
    );
    assert_eq!(
        set(&mut bench, BROKER, "2", "log.retention.ms", "5"),
        (E::INVALID_REQUEST, "Unexpected broker id, expected 1, but received 2".to_owned())
    );
    assert_eq!(set(&mut bench, BROKER, "x", "log.retention.ms", "5").0, E::INVALID_REQUEST);
    assert_eq!(set(&mut bench, BROKER, "", "log.cleaner.min.compaction.lag.ms", "5").0, E::NONE);
    assert_eq!(set(&mut bench, BROKER, "", "log.cleaner.max.compaction.lag.ms", "4").0, E::INVALID_REQUEST);
}

#[test]
fn the_older_api_replaces_all_settings() {
    let mut bench = bench();
    assert_eq!(set(&mut bench, TOPIC, "a", "segment.ms", "5").0, E::NONE);
    let mut replace = |settings: &[(&str, Option<&str>)], validate_only| {
        let config =
            |(name, value): &(&str, Option<&str>)| whole::AlterableConfig { name: (*name).to_owned(), value: value.map(str::to_owned) };
        let configs = settings.iter().map(config).collect();
        let resources = vec![whole::AlterConfigsResource { resource_type: TOPIC, resource_name: "a".to_owned(), configs }];
        bench.run(|p| p.alter_configs(&whole::AlterConfigsRequest { resources, validate_only })).responses.remove(0).error_code
    };
    assert_eq!(replace(&[("retention.ms", None)], false), E::INVALID_REQUEST);
    assert_eq!(replace(&[("retention.ms", Some("7"))], true), E::NONE);
    assert_eq!(replace(&[("retention.ms", Some("6"))], false), E::NONE);
    assert_eq!((effective(&bench, "retention.ms").as_str(), effective(&bench, "segment.ms").as_str()), ("6", "604800000"));
}
