//! A whole node over real sockets and a real disk: what the wire sees at its edges, start and stop.

use bytes::{BufMut as _, BytesMut};
use klamm::clock::Clock;
use klamm::config::given::Given;
use klamm::config::{self, Config};
use klamm::fs::Disk;
use klamm::identity::{self, Plan};
use klamm::store::{CLEAN_FILE, Identity};
use klamm::{Node, Stopped, StoreTask, World};
use klamm_core::error::ErrorCode;
use klamm_core::id::{BrokerId, CorrelationId, DirId};
use klamm_core::wire::api::api_versions::ApiVersionsRequest;
use klamm_core::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use klamm_core::wire::api::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest};
use klamm_core::wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use klamm_core::wire::api::list_offsets::ListOffsetsRequest;
use klamm_core::wire::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use klamm_core::wire::{ApiKey, Request, RequestHeader, Response, decode_response, encode_request};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A folder that is gone with this.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("klamm-node-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn config(dirs: &[PathBuf], options: &[&str]) -> Config {
    let mut given = Given::default();
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    given.option(&format!("log.dirs={}", dirs.join(","))).expect("key=value");
    given.option("listeners=PLAINTEXT://127.0.0.1:0").expect("key=value");
    for option in options {
        given.option(option).expect("key=value");
    }
    config::read(given).expect("a valid configuration").config
}

/// Starts a node in `folder`, which is formatted the first time. Says where clients connect.
pub(crate) async fn start(folder: &Folder, options: &[&str]) -> (Node, String) {
    let node = launch(folder, options).await;
    let address = at(&node, "PLAINTEXT");
    (node, address)
}

/// Where the listener of this name is.
fn at(node: &Node, listener: &str) -> String {
    let prefix = format!("{listener}://");
    node.addresses().iter().find_map(|address| address.strip_prefix(&prefix)).expect("it listens there").to_owned()
}

async fn launch(folder: &Folder, options: &[&str]) -> Node {
    launch_in(&[folder.path().to_owned()], options).await.expect("it starts")
}

/// The same with several log directories; those that are no folders are left as they are.
pub(crate) async fn start_in(dirs: &[PathBuf], options: &[&str]) -> Result<(Node, String), String> {
    let node = launch_in(dirs, options).await?;
    let address = at(&node, "PLAINTEXT");
    Ok((node, address))
}

async fn launch_in(dirs: &[PathBuf], options: &[&str]) -> Result<Node, String> {
    let config = config(dirs, options);
    let disks = || dirs.iter().map(|dir| Disk::new(dir).unwrap_or_else(|_| Disk::as_is(dir)));
    let owner = Identity { cluster: "a-cluster".to_owned(), node: BrokerId(1) };
    let plan = Plan { owner, metadata_dir: DirId(0), metadata_id: None, checkpoint: None, ignore_formatted: true };
    let named: Vec<_> = dirs.iter().cloned().zip(disks()).filter(|(dir, _)| dir.is_dir()).collect();
    identity::format(&plan, &named).await.expect("it can be formatted");
    let world = World {
        disks: disks().collect(),
        cluster: "a-cluster".to_owned(),
        clock: Clock::new(),
        seed: 7,
        sizes: klamm::Sizes::default(),
        run_store: Box::new(|store: StoreTask| {
            tokio::spawn(store);
            Ok(())
        }),
    };
    Node::start(&config, world).await
}

/// Asks one question over a connection of its own.
pub(crate) async fn ask(address: &str, version: i16, body: Request) -> Response {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(&question(1, version, &body)).await.expect("connected");
    let answer = frame(&mut stream).await.expect("an answer");
    decode_response(body.api(), version, answer).expect("of that version").1
}

pub(crate) async fn stop(mut node: Node) {
    node.stop();
    assert_eq!(node.stopped().await, Stopped::Clean);
}

async fn frame(stream: &mut TcpStream) -> Option<bytes::Bytes> {
    let len = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(len).expect("a length")];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame.into())
}

/// Any good question.
fn hello(correlation: i32) -> Vec<u8> {
    question(correlation, 4, &ListOffsetsRequest::default().into())
}

fn question(correlation: i32, version: i16, body: &Request) -> Vec<u8> {
    let header = RequestHeader { api: body.api(), version, correlation: CorrelationId(correlation), client_id: None };
    encode_request(&header, body).bytes().expect("in memory").to_vec()
}

/// A request of version 99, which nobody knows.
fn hello_from_the_future() -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_i32(11);
    bytes.put_i16(ApiKey::ApiVersions.number());
    bytes.put_i16(99);
    bytes.put_i32(5);
    bytes.put_i16(-1);
    bytes.put_u8(0);
    bytes.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_from_the_future_is_told_what_there_is_and_stays_connected() {
    let folder = Folder::new("future");
    let (node, address) = start(&folder, &[]).await;
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    stream.write_all(&hello_from_the_future()).await.expect("connected");
    let answer = frame(&mut stream).await.expect("an answer");
    let (correlation, Response::ApiVersions(told)) = decode_response(ApiKey::ApiVersions, 0, answer).expect("version 0") else {
        panic!("another answer")
    };
    assert_eq!(correlation, CorrelationId(5));
    assert_eq!(told.error_code, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(told.api_keys.iter().map(|api| api.api_key).collect::<Vec<_>>(), [ApiKey::ApiVersions.number()]);

    stream.write_all(&hello(6)).await.expect("still connected");
    let answer = frame(&mut stream).await.expect("an answer");
    let (correlation, _) = decode_response(ApiKey::ListOffsets, 4, answer).expect("version 4");
    assert_eq!(correlation, CorrelationId(6));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_the_wire_is_hung_up_on_and_nobody_else() {
    let folder = Folder::new("broken");
    let (node, address) = start(&folder, &["socket.request.max.bytes=1000"]).await;
    let mut good = TcpStream::connect(&address).await.expect("it listens");
    let frame_of = |len: i32, body: &[u8]| [&len.to_be_bytes()[..], body].concat();
    for bytes in [
        frame_of(-1, &[]),
        frame_of(1001, &[]),
        frame_of(i32::MAX, &[]),
        frame_of(0, &[]),
        frame_of(3, &[0, 3, 0]),
        // Metadata, version 1, with a list of two thousand million topics.
        frame_of(15, &[0, 3, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0]),
        // An API that nobody knows.
        frame_of(10, &[0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
    ] {
        let mut bad = TcpStream::connect(&address).await.expect("it listens");
        bad.write_all(&bytes).await.expect("connected");
        assert!(frame(&mut bad).await.is_none(), "{bytes:?} was answered");
    }
    good.write_all(&hello(1)).await.expect("connected");
    assert!(frame(&mut good).await.is_some(), "others are served");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed_are_turned_away() {
    let folder = Folder::new("doors");
    let (node, address) = start(&folder, &["max.connections=1"]).await;
    let mut first = TcpStream::connect(&address).await.expect("it listens");
    first.write_all(&hello(1)).await.expect("connected");
    assert!(frame(&mut first).await.is_some());
    let mut second = TcpStream::connect(&address).await.expect("the system takes it");
    // The write may meet a connection that is closed already.
    drop(second.write_all(&hello(1)).await);
    assert!(frame(&mut second).await.is_none());
    stop(node).await;
}

const FETCH: i16 = 11;
const PRODUCE: i16 = 9;

/// A request of so many bytes and a few more.
fn produce(bytes: usize) -> Request {
    let records = bytes::Bytes::from(vec![0; bytes]);
    let data = PartitionProduceData { records: Some(records.into()), ..PartitionProduceData::default() };
    let topic = TopicProduceData { name: "t".to_owned(), partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() }.into()
}

/// A fetch from the end of an empty log.
fn fetch(max_wait_ms: i32) -> Request {
    let topic = FetchTopic { topic: "t".to_owned(), partitions: vec![FetchPartition::default()], ..FetchTopic::default() };
    FetchRequest { max_wait_ms, min_bytes: 1, max_bytes: 1, topics: vec![topic], ..FetchRequest::default() }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_that_hold_all_memory_do_not_keep_out_a_fetch() {
    let folder = Folder::new("memory");
    let (node, address) = start(&folder, &["queued.max.request.bytes=65536"]).await;
    let topic = CreatableTopic { name: "t".to_owned(), num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
    let created = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
    ask(&address, 4, created.into()).await;
    let is_served = |answer| matches!(answer, Response::Fetch(told) if told.responses[0].partitions[0].error_code.is_none());
    while !is_served(ask(&address, FETCH, fetch(0)).await) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // They wait for what stands before them on the connection, as others do for a follower.
    let mut producer = TcpStream::connect(&address).await.expect("it listens");
    producer.write_all(&question(1, FETCH, &fetch(60_000))).await.expect("connected");
    for _ in 0..2 {
        producer.write_all(&question(2, PRODUCE, &produce(60_000))).await.expect("connected");
    }
    // Until the node has read so far there is room.
    let mut tries = 0;
    loop {
        let mut other = TcpStream::connect(&address).await.expect("it listens");
        other.write_all(&question(1, 0, &ApiVersionsRequest::default().into())).await.expect("connected");
        if tokio::time::timeout(Duration::from_millis(500), frame(&mut other)).await.is_err() {
            break;
        }
        tries += 1;
        assert!(tries < 1000, "there is room left: this proves nothing");
    }

    let answer = tokio::time::timeout(Duration::from_secs(10), ask(&address, FETCH, fetch(0))).await;
    assert!(matches!(answer.expect("a follower is heard"), Response::Fetch(_)));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_fill_the_listener_of_brokers() {
    let folder = Folder::new("brokers");
    let listeners = "listeners=CLIENTS://127.0.0.1:0,BROKERS://127.0.0.1:0";
    let protocols = "listener.security.protocol.map=CLIENTS:PLAINTEXT,BROKERS:PLAINTEXT";
    let node = launch(&folder, &[listeners, protocols, "inter.broker.listener.name=brokers", "max.connections=0"]).await;
    let mut client = TcpStream::connect(at(&node, "CLIENTS")).await.expect("the system takes it");
    drop(client.write_all(&hello(1)).await);
    assert!(frame(&mut client).await.is_none(), "turned away");
    let mut broker = TcpStream::connect(at(&node, "BROKERS")).await.expect("it listens");
    broker.write_all(&hello(1)).await.expect("connected");
    assert!(frame(&mut broker).await.is_some());
    stop(node).await;
}

/// The brokers that clients of a listener are told.
async fn brokers(address: &str) -> Vec<DescribeClusterBroker> {
    let question = DescribeClusterRequest { endpoint_type: 1, ..DescribeClusterRequest::default() };
    let Response::DescribeCluster(told) = ask(address, 1, question.into()).await else { panic!("another answer") };
    assert_eq!(told.error_code, ErrorCode::NONE);
    told.brokers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_not_advertised_is_open_and_told_to_nobody() {
    for of_quorum in ["", ",CONTROLLER://127.0.0.1:0"] {
        let folder = Folder::new("unadvertised");
        let listeners = format!("listeners=HIDDEN://127.0.0.1:0,PLAINTEXT://127.0.0.1:0{of_quorum}");
        let protocols = "listener.security.protocol.map=HIDDEN:PLAINTEXT,PLAINTEXT:PLAINTEXT";
        let node = launch(&folder, &[&listeners, protocols, "advertised.listeners=PLAINTEXT://localhost:0"]).await;
        // It is there once it has registered.
        let port = loop {
            if let [broker] = &brokers(&at(&node, "PLAINTEXT")).await[..] {
                break broker.port;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(at(&node, "PLAINTEXT").ends_with(&format!(":{port}")), "{port}");
        assert_eq!(brokers(&at(&node, "HIDDEN")).await, []);
        stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_leaves_its_mark_and_the_next_start_takes_it() {
    let folder = Folder::new("clean");
    let mark = folder.path().join(CLEAN_FILE);
    let (node, address) = start(&folder, &[]).await;
    assert!(!mark.exists());
    let mut idle = TcpStream::connect(&address).await.expect("it listens");
    stop(node).await;
    assert!(std::fs::read_to_string(&mark).expect("the mark").contains("\"durability\":\"fsync\""));
    assert!(frame(&mut idle).await.is_none(), "an idle connection is closed");
    let (node, _) = start(&folder, &[]).await;
    assert!(!mark.exists(), "a mark must not outlive a crash");
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quorum_has_a_listener_of_its_own_which_clients_do_not_fill() {
    let folder = Folder::new("listeners");
    let both = ["listeners=CONTROLLER://127.0.0.1:0,PLAINTEXT://127.0.0.1:0", "max.connections=0"];
    let node = launch(&folder, &both).await;
    assert_eq!(node.addresses().len(), 2);
    let mut client = TcpStream::connect(at(&node, "PLAINTEXT")).await.expect("the system takes it");
    drop(client.write_all(&hello(1)).await);
    assert!(frame(&mut client).await.is_none(), "turned away");
    let mut quorum = TcpStream::connect(at(&node, "CONTROLLER")).await.expect("it listens");
    quorum.write_all(&hello_from_the_future()).await.expect("connected");
    assert!(frame(&mut quorum).await.is_some());
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_a_controller_only_has_no_listener_for_clients() {
    let folder = Folder::new("controller");
    let node = launch(&folder, &["process.roles=controller", "listeners=CONTROLLER://127.0.0.1:0"]).await;
    let [address] = node.addresses() else { panic!("one listener: {:?}", node.addresses()) };
    assert!(address.starts_with("CONTROLLER://"));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_finds_no_controller_in_time_ends_cleanly_and_says_so() {
    let folder = Folder::new("unregistered");
    let quorum = ["process.roles=broker", "controller.listener.names=CONTROLLER", "controller.quorum.voters=2@127.0.0.1:1"];
    let options = quorum.into_iter().chain(["initial.broker.registration.timeout.ms=300"]);
    let mut node = launch(&folder, &options.collect::<Vec<_>>()).await;
    let Stopped::Failed(why) = node.stopped().await else { panic!("it ends as if all were well") };
    assert!(why.contains("initial.broker.registration.timeout.ms=300: no active controller was found"), "{why}");
    assert!(folder.path().join(CLEAN_FILE).exists(), "nothing was lost");
}
