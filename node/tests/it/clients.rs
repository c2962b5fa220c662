//! The core's client machines on real sockets, against a node on a real disk.

use super::node::{Folder, start, stop};
use bytes::Bytes;
use klamm::client::Client;
use klamm::client::admin::Admin;
use klamm::clock::Clock;
use klamm_core::client::TopicPartition;
use klamm_core::client::consumer::{self, Consumer, Reset};
use klamm_core::client::io::{Address, Common};
use klamm_core::client::producer::{self, NewRecord, Producer, Token};
use klamm_core::error::ErrorCode;
use klamm_core::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use klamm_core::wire::record::Payload;
use klamm_core::wire::{Request, Response};

pub(crate) fn address(text: &str) -> Address {
    let (host, port) = text.rsplit_once(':').expect("host:port");
    Address { host: host.to_owned(), port: port.parse().expect("a port") }
}

pub(crate) async fn create(broker: &Address, topic: &str) {
    let topic = CreatableTopic { name: topic.to_owned(), num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
    let answer = Admin::new(vec![broker.clone()]).ask(Request::CreateTopics(request), 7).await.expect("an answer");
    let Response::CreateTopics(answer) = answer else { panic!("another answer") };
    assert_eq!(answer.topics[0].error_code, ErrorCode::NONE);
}

pub(crate) async fn produce(broker: &Address, topic: &str, values: &[String]) {
    let mut client = Client::new(Producer::new(producer::Config::new(Common::new(vec![broker.clone()])), 1), Clock::new(), "test");
    for (token, value) in (0..).zip(values) {
        let payload = Payload { key: None, value: Some(Bytes::from(value.clone())), headers: Vec::new() };
        let record = NewRecord { token: Token(token), topic: topic.into(), partition: None, timestamp: None, payload };
        client.tell(producer::Command::Send(record));
    }
    let mut acknowledged = 0;
    while acknowledged < values.len() {
        let event = client.event().await;
        let producer::Event::Settled { records, outcome: Ok(_), .. } = event else { panic!("{event:?}") };
        acknowledged += records.len();
    }
}

async fn consume(broker: &Address, topic: &str, count: usize) -> Vec<String> {
    let config = consumer::Config { reset: Reset::Earliest, ..consumer::Config::new(Common::new(vec![broker.clone()])) };
    let mut client = Client::new(Consumer::new(config, 2), Clock::new(), "test");
    client.tell(consumer::Command::Assign { parts: [TopicPartition::new(topic, 0)].into() });
    let mut values = Vec::new();
    while values.len() < count {
        client.tell(consumer::Command::Poll { max_records: 100 });
        let event = client.event().await;
        let consumer::Event::Records { records } = event else { panic!("{event:?}") };
        let payloads = records.into_iter().flat_map(|(_, records)| records).map(|record| record.payload.value.expect("a value"));
        values.extend(payloads.map(|value| String::from_utf8(value.to_vec()).expect("text")));
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_read_before_and_after_a_restart() {
    let folder = Folder::new("roundtrip");
    let (node, at) = start(&folder, &["num.partitions=1"]).await;
    let broker = address(&at);
    create(&broker, "words").await;
    let values = (0..500).map(|n| format!("word {n}")).collect::<Vec<_>>();
    produce(&broker, "words", &values).await;
    assert_eq!(consume(&broker, "words", values.len()).await, values);
    stop(node).await;

    let (node, at) = start(&folder, &["num.partitions=1"]).await;
    let more = vec!["after the restart".to_owned()];
    produce(&address(&at), "words", &more).await;
    assert_eq!(consume(&address(&at), "words", values.len() + 1).await, [values, more].concat());
    stop(node).await;
}
