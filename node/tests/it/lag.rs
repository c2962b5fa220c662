//! The lag monitor against a node: a topic, a group that joins, commits and leaves, and what is answered over HTTP.

use super::clients::{address, create, produce};
use super::node::{Folder, start, stop};
use klamm::client::Client;
use klamm::clock::Clock;
use klamm::http;
use klamm::lag::{Config, Monitor, Watcher, monitor};
use klamm_core::client::TopicPartition;
use klamm_core::client::consumer::{self, Consumer, GroupConfig};
use klamm_core::client::io::Common;
use klamm_core::client::producer::Token;
use klamm_core::id::Offset;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A monitor that looks when it is told to, at its HTTP address.
struct Watch {
    monitor: Arc<Monitor>,
    watcher: Watcher,
    http: String,
}

impl Watch {
    async fn new(broker: &str) -> Self {
        let text = format!(
            "[cluster.local]\nservers = ['{broker}']\n[storage.x]\nintervals = 3\n[consumer.x]\ncluster = 'local'\ngroup-denylist = 'secret'"
        );
        let (monitor, mut watchers) = monitor(Config::parse(&text).expect("good"), Clock::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let http = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(http::serve(listener, monitor.clone()));
        Self { monitor, watcher: watchers.remove(0), http }
    }

    async fn look(&mut self) {
        self.watcher.look().await;
        assert!(self.monitor.is_ready());
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.http).await.expect("it listens");
        let question = format!("{method} {path} HTTP/1.1\r\nHost: lag\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await.expect("connected");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code"), body.to_owned())
    }

    async fn json(&self, path: &str) -> Value {
        let (code, body) = self.ask("GET", path).await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((code, &body["error"], &body["request"]["url"]), (200, &json!(false), &json!(path)));
        body
    }

    async fn has_metric(&self, line: &str) -> bool {
        self.ask("GET", "/metrics").await.1.lines().any(|shown| shown == line)
    }
}

type Member = Client<Consumer>;

/// A member of the group, once it has been given the topic's only partition.
async fn join(broker: &str, group: &str) -> Member {
    let group = GroupConfig { auto_commit: None, ..GroupConfig::new(group) };
    let config = consumer::Config { group: Some(group), ..consumer::Config::new(Common::new(vec![address(broker)])) };
    let mut member = Client::new(Consumer::new(config, 3), Clock::new(), "bill");
    member.tell(consumer::Command::Subscribe { topics: ["words".into()].into() });
    let event = member.event().await;
    assert!(matches!(&event, consumer::Event::Assigned { parts } if parts.len() == 1), "{event:?}");
    member
}

async fn commit(member: &mut Member, offset: i64) {
    let offsets = [(TopicPartition::new("words", 0), Offset(offset))].into();
    member.tell(consumer::Command::Commit { token: Token(1), offsets: Some(offsets) });
    let event = member.event().await;
    assert!(matches!(event, consumer::Event::Committed { outcome: Ok(()), .. }), "{event:?}");
}

async fn leave(mut member: Member) {
    member.tell(consumer::Command::Close);
    while !matches!(member.event().await, consumer::Event::Closed) {}
}

async fn produce_words(broker: &str, count: usize) {
    produce(&address(broker), "words", &(0..count).map(|n| format!("word {n}")).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_watched_from_joining_to_leaving() {
    let folder = Folder::new("lag");
    let (node, broker) = start(&folder, &["group.initial.rebalance.delay.ms=0"]).await;
    create(&address(&broker), "words").await;
    produce_words(&broker, 100).await;
    let mut watch = Watch::new(&broker).await;
    assert_eq!(watch.ask("GET", "/burrow/admin").await, (200, "GOOD".to_owned()));
    assert_eq!(watch.ask("GET", "/burrow/admin/ready").await, (503, "STARTING".to_owned()));

    // It joins, and has committed nothing yet: Burrow does not see it, klamm does.
    let mut member = join(&broker, "billing").await;
    let hidden = join(&broker, "secret").await;
    watch.look().await;
    assert_eq!(watch.ask("GET", "/burrow/admin/ready").await, (200, "READY".to_owned()));
    assert_eq!(watch.json("/v3/kafka").await["clusters"], json!(["local"]));
    assert!(watch.json("/v3/kafka/local/topic").await["topics"].as_array().expect("a list").contains(&json!("words")));
    assert_eq!(watch.json("/v3/kafka/local/topic/words").await["offsets"], json!([100]));
    assert_eq!(watch.json("/v3/kafka/local/consumer").await["consumers"], json!([]));
    let all = watch.json("/klamm/v1/lag").await;
    assert_eq!(all["clusters"][0]["failure"], Value::Null);
    let groups = all["groups"].as_array().expect("a list");
    assert_eq!(groups.len(), 1, "what is denied is not shown: {groups:?}");
    assert_eq!((&groups[0]["group"], &groups[0]["has_committed"]), (&json!("billing"), &json!(false)));
    assert_eq!((&groups[0]["partitions"][0]["client_id"], &groups[0]["partitions"][0]["lag"]), (&json!("bill"), &Value::Null));

    // It commits, again and again the same: it hangs.
    commit(&mut member, 40).await;
    for _ in 0..3 {
        watch.look().await;
    }
    let status = &watch.json("/v3/kafka/local/consumer/billing/lag").await["status"];
    let shown = ["cluster", "group", "status", "complete", "partition_count", "totallag"].map(|key| &status[key]);
    assert_eq!(shown, [&json!("local"), &json!("billing"), &json!("ERR"), &json!(1.0), &json!(1), &json!(60)]);
    let partition = &status["partitions"][0];
    assert_eq!((&partition["topic"], &partition["partition"], &partition["client_id"]), (&json!("words"), &json!(0), &json!("bill")));
    assert_eq!((&partition["end"]["offset"], &partition["end"]["lag"], &partition["current_lag"]), (&json!(40), &json!(60), &json!(60)));
    assert_eq!(&status["maxlag"], partition);
    assert_eq!(watch.json("/v3/kafka/local/consumer").await["consumers"], json!(["billing"]));
    assert_eq!(watch.json("/v3/kafka/local/topic/words/consumers").await["consumers"], json!(["billing"]));
    let detail = watch.json("/v3/kafka/local/consumer/billing").await;
    assert_eq!(detail["topics"]["words"][0]["offsets"].as_array().map(Vec::len), Some(3));
    assert!(watch.has_metric(r#"burrow_kafka_consumer_lag_total{cluster="local",consumer_group="billing"} 60"#).await);
    assert!(watch.has_metric(r#"burrow_kafka_consumer_status{cluster="local",consumer_group="billing"} 3"#).await);

    // It catches up, and leaves.
    commit(&mut member, 100).await;
    leave(member).await;
    leave(hidden).await;
    watch.look().await;
    let status = &watch.json("/v3/kafka/local/consumer/billing/status").await["status"];
    assert_eq!((&status["status"], &status["totallag"], &status["partitions"]), (&json!("OK"), &json!(0), &json!([])));
    assert_eq!(&status["maxlag"]["owner"], &json!(""));

    // It is deleted from the monitor, and seen again by the next look, as its offsets are still there.
    assert_eq!(watch.ask("DELETE", "/v3/kafka/local/consumer/billing").await.0, 200);
    let (code, body) = watch.ask("GET", "/v3/kafka/local/consumer/billing/lag").await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((code, &body["error"], &body["status"]["status"]), (404, &json!(false), &json!("NOTFOUND")));
    watch.look().await;
    assert_eq!(watch.json("/v3/kafka/local/consumer").await["consumers"], json!(["billing"]));
    assert_eq!(watch.ask("POST", "/v3/kafka").await.0, 404);
    assert_eq!(watch.ask("GET", "/v3/kafka/elsewhere/consumer").await.0, 404);
    stop(node).await;

    // The node is gone: what was seen stays, and it is told that nothing more is seen.
    watch.watcher.look().await;
    assert_eq!(watch.json("/v3/kafka/local/consumer").await["consumers"], json!(["billing"]));
    assert!(watch.json("/klamm/v1/lag").await["clusters"][0]["failure"].is_string());
    assert!(watch.has_metric(r#"klamm_lag_cluster_up{cluster="local"} 0"#).await);
}
