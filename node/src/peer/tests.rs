//! Calls against a peer of which the test plays the other side, over loopback.

use super::*;
use bytes::Bytes;
use klamm_core::broker::io::{Fetched, Lane};
use klamm_core::client::io::Address;
use klamm_core::time::Timestamp;
use klamm_core::wire::api::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use klamm_core::wire::api::vote::{VoteRequest, VoteResponse};
use klamm_core::wire::batch::{BadBatch, Compression};
use klamm_core::wire::record::{BatchBuilder, Identity, Payload};
use klamm_core::wire::{ApiKey, RequestHeader, Response, decode_request, encode_response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const VOTE: i16 = 1;
const FETCH: i16 = 17;
/// Longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The calling side.
struct Caller {
    peers: Peers,
    news: mpsc::UnboundedReceiver<News>,
    now: Instant,
}

type Outcome = (u64, Result<Response, Unreachable>, Fetched);

impl Caller {
    fn new() -> Self {
        let (teller, news) = mpsc::unbounded_channel();
        Self { peers: Peers::new(BrokerId(1), teller), news, now: Instant(0) }
    }

    fn vote(&mut self, call: u64, to: &Peer) {
        self.peers.call(self.now, CallId(call), to.clone(), VOTE, VoteRequest::default().into());
    }

    fn fetch(&mut self, call: u64, to: &Peer) {
        self.peers.call(self.now, CallId(call), to.clone(), FETCH, FetchRequest::default().into());
    }

    async fn answer(&mut self) -> Outcome {
        loop {
            match self.peers.answer() {
                Some(Input::Answer { call, outcome, batches }) => return (call.0, outcome, batches),
                Some(other) => panic!("no answer: {other:?}"),
                None => {}
            }
            let news = tokio::time::timeout(PATIENCE, self.news.recv()).await.expect("news in time");
            self.peers.news(self.now, news.expect("the caller itself holds a sender"));
        }
    }

    async fn answers<const N: usize>(&mut self) -> [(u64, Result<(), Unreachable>); N] {
        let mut got = Vec::new();
        for _ in 0..N {
            let (call, outcome, _) = self.answer().await;
            got.push((call, outcome.map(drop)));
        }
        got.try_into().expect("counted")
    }
}

async fn listen() -> (TcpListener, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, Peer { id: BrokerId(2), address: Address { host: "127.0.0.1".to_owned(), port }, lane: Lane::Quorum })
}

async fn accept(listener: &TcpListener) -> TcpStream {
    tokio::time::timeout(PATIENCE, listener.accept()).await.expect("a connection in time").expect("a connection").0
}

async fn request(stream: &mut TcpStream) -> RequestHeader {
    let len = stream.read_i32().await.expect("a request");
    let mut frame = vec![0; usize::try_from(len).expect("a length")];
    stream.read_exact(&mut frame).await.expect("a request");
    decode_request(frame.into()).expect("a request of ours").0
}

async fn reply(stream: &mut TcpStream, to: &RequestHeader, body: Response) {
    let bytes = encode_response(to.correlation, to.version, &body).bytes().expect("in memory");
    stream.write_all(&bytes).await.expect("connected");
}

fn voted() -> Response {
    VoteResponse::default().into()
}

fn batch(bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None, None);
    builder.push(Timestamp(1), &Payload { value: Some(Bytes::from(vec![7; bytes])), ..Payload::default() });
    builder.finish(Identity::NONE).pieces().flat_map(|piece| piece.to_vec()).collect()
}

fn fetched(partitions: Vec<Vec<u8>>) -> Response {
    let data = |records: Vec<u8>| PartitionData { records: Some(Bytes::from(records).into()), ..PartitionData::default() };
    let topic = FetchableTopicResponse { partitions: partitions.into_iter().map(data).collect(), ..FetchableTopicResponse::default() };
    FetchResponse { responses: vec![topic], ..FetchResponse::default() }.into()
}

#[tokio::test]
async fn calls_are_written_before_the_first_is_answered_and_answered_in_order() {
    let (listener, peer) = listen().await;
    let mut caller = Caller::new();
    for call in 1..=3 {
        caller.vote(call, &peer);
    }
    let mut stream = accept(&listener).await;
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(request(&mut stream).await);
    }
    assert_eq!(asked[0].client_id.as_deref(), Some("klamm-node-1"));
    assert_eq!((asked[0].api, asked[0].version), (ApiKey::Vote, VOTE));
    for header in &asked {
        reply(&mut stream, header, voted()).await;
    }
    assert_eq!(caller.answers().await, [(1, Ok(())), (2, Ok(())), (3, Ok(()))]);
    // The connection is kept.
    caller.vote(4, &peer);
    let header = request(&mut stream).await;
    reply(&mut stream, &header, voted()).await;
    assert_eq!(caller.answers().await, [(4, Ok(()))]);
}

#[tokio::test]
async fn lanes_have_connections_of_their_own() {
    let (listener, peer) = listen().await;
    let mut caller = Caller::new();
    caller.vote(1, &peer);
    let mut first = accept(&listener).await;
    request(&mut first).await;
    caller.vote(2, &Peer { lane: Lane::Control, ..peer });
    let mut second = accept(&listener).await;
    let header = request(&mut second).await;
    reply(&mut second, &header, voted()).await;
    assert_eq!(caller.answers().await, [(2, Ok(()))], "the other lane does not wait");
}

#[tokio::test]
async fn nobody_there_is_refused_and_tried_again_later() {
    let (listener, peer) = listen().await;
    drop(listener);
    let mut caller = Caller::new();
    caller.vote(1, &peer);
    caller.vote(2, &peer);
    assert_eq!(caller.answers().await, [(1, Err(Unreachable::Refused)), (2, Err(Unreachable::Refused))]);
    let failures = &caller.peers.failures[&peer];
    assert_eq!((failures.count, failures.until), (1, caller.now.after(PAUSE_FIRST)));
    for _ in 0..9 {
        caller.peers.failed(caller.now, peer.clone(), "");
    }
    assert_eq!(caller.peers.failures[&peer].until, caller.now.after(PAUSE_MOST));

    let listener = TcpListener::bind(peer.address.to_string()).await.expect("its old port");
    caller.vote(3, &peer);
    let mut stream = accept(&listener).await;
    let header = request(&mut stream).await;
    reply(&mut stream, &header, voted()).await;
    assert_eq!(caller.answers().await, [(3, Ok(()))]);
    assert!(caller.peers.failures.is_empty(), "who answers begins anew");
}

/// What the log is told, line by line.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().expect("nobody panics"))).expect("text")
    }
}

#[tokio::test]
async fn the_log_says_once_that_a_peer_is_not_reached_and_once_that_it_answers() {
    let lines = Lines::default();
    let writer = lines.clone();
    let _log = tracing::subscriber::set_default(tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish());
    let (listener, peer) = listen().await;
    drop(listener);
    let mut caller = Caller::new();
    for (call, lane) in [(1, Lane::Quorum), (2, Lane::Quorum), (3, Lane::Control)] {
        caller.vote(call, &Peer { lane, ..peer.clone() });
        assert_eq!(caller.answers().await, [(call, Err(Unreachable::Refused))]);
    }
    let said = lines.take();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&format!("WARN klamm::peer: cannot reach node 2 at {}: Connection refused", peer.address)), "{said}");

    let listener = TcpListener::bind(peer.address.to_string()).await.expect("its old port");
    caller.vote(4, &peer);
    let mut stream = accept(&listener).await;
    let header = request(&mut stream).await;
    reply(&mut stream, &header, voted()).await;
    assert_eq!(caller.answers().await, [(4, Ok(()))]);
    let said = lines.take();
    assert!(said.lines().count() == 1 && said.contains("INFO klamm::peer: node 2 at 127.0.0.1") && said.contains("answers"), "{said}");
}

/// What a call asked for may be void before a healthy peer can accept.
#[tokio::test]
async fn who_had_no_time_to_accept_is_not_said_to_be_out_of_reach() {
    let lines = Lines::default();
    let writer = lines.clone();
    let _log = tracing::subscriber::set_default(tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish());
    let (_listener, peer) = listen().await;
    let mut caller = Caller::new();
    caller.vote(1, &peer);
    caller.peers.hang_up(caller.now.after(Duration::from_millis(5)), CallId(1));
    assert_eq!(lines.take(), "");
    caller.vote(2, &peer);
    caller.peers.hang_up(caller.now.after(SOON), CallId(2));
    assert!(lines.take().contains("no connection was made in time"));
}

#[tokio::test]
async fn a_name_that_means_nothing_is_said() {
    let lines = Lines::default();
    let writer = lines.clone();
    let _log = tracing::subscriber::set_default(tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish());
    let address = Address { host: "no.such.host.invalid".to_owned(), port: 1 };
    let peer = Peer { id: BrokerId(-2), address, lane: Lane::Quorum };
    let mut caller = Caller::new();
    caller.vote(1, &peer);
    // Some resolvers take longer than a connection may.
    assert!(matches!(caller.answers().await, [(1, Err(Unreachable::Lost | Unreachable::TimedOut))]));
    let said = lines.take();
    assert!(said.contains("cannot reach no.such.host.invalid:1: "), "{said}");
}

#[tokio::test]
async fn a_connection_that_breaks_loses_all_its_calls_in_order() {
    let (listener, peer) = listen().await;
    let mut caller = Caller::new();
    for call in 1..=3 {
        caller.vote(call, &peer);
    }
    let mut stream = accept(&listener).await;
    let header = request(&mut stream).await;
    reply(&mut stream, &header, voted()).await;
    assert_eq!(caller.answers().await, [(1, Ok(()))]);
    drop(stream);
    assert_eq!(caller.answers().await, [(2, Err(Unreachable::Lost)), (3, Err(Unreachable::Lost))]);
    caller.vote(4, &peer);
    let mut stream = accept(&listener).await;
    let header = request(&mut stream).await;
    reply(&mut stream, &header, voted()).await;
    assert_eq!(caller.answers().await, [(4, Ok(()))]);
}

#[tokio::test]
async fn hanging_up_closes_the_connection_and_loses_the_others() {
    let (listener, peer) = listen().await;
    let mut caller = Caller::new();
    for call in 1..=3 {
        caller.vote(call, &peer);
    }
    let mut stream = accept(&listener).await;
    let late = request(&mut stream).await;
    caller.peers.hang_up(caller.now, CallId(2));
    assert_eq!(caller.answers().await, [(1, Err(Unreachable::Lost)), (3, Err(Unreachable::Lost))]);
    caller.peers.hang_up(caller.now, CallId(2));
    caller.vote(4, &peer);
    let mut again = accept(&listener).await;
    // What is answered late, on the old connection, is heard by nobody.
    let bytes = encode_response(late.correlation, late.version, &voted()).bytes().expect("in memory");
    drop(stream.write_all(&bytes).await);
    let header = request(&mut again).await;
    reply(&mut again, &header, voted()).await;
    assert_eq!(caller.answers().await, [(4, Ok(()))]);
    assert!(caller.peers.answer().is_none());
    assert!(caller.peers.calls.is_empty());
}

#[tokio::test]
async fn a_peer_that_reads_nothing_can_be_hung_up_on() {
    let (listener, peer) = listen().await;
    let mut caller = Caller::new();
    let topic = "x".repeat(20_000);
    let forgotten = klamm_core::wire::api::fetch::ForgottenTopic { topic, ..Default::default() };
    let big = FetchRequest { forgotten_topics_data: vec![forgotten; 1000], ..FetchRequest::default() };
    caller.peers.call(caller.now, CallId(1), peer.clone(), 12, big.into());
    caller.vote(2, &peer);
    let mut stream = accept(&listener).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    caller.peers.hang_up(caller.now, CallId(1));
    assert_eq!(caller.answers().await, [(2, Err(Unreachable::Lost))]);
    let mut rest = Vec::new();
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it was closed"));
}

#[tokio::test]
async fn fetched_batches_are_checked_and_slices_of_what_was_read() {
    let (listener, peer) = listen().await;
    let mut caller = Caller::new();
    caller.fetch(1, &peer);
    let mut stream = accept(&listener).await;
    let header = request(&mut stream).await;
    let mut damaged = batch(100);
    *damaged.last_mut().expect("not empty") ^= 1;
    reply(&mut stream, &header, fetched(vec![batch(200_000), damaged])).await;
    let (call, outcome, batches) = caller.answer().await;
    assert_eq!(call, 1);
    let [Ok(whole), Err(BadBatch::Crc { .. })] = &batches[..] else { panic!("{batches:?}") };
    let Ok(Response::Fetch(answer)) = outcome else { panic!("another answer") };
    let records = answer.responses[0].partitions[0].records.as_ref().and_then(klamm_core::wire::Records::bytes).expect("in memory");
    let piece = whole[0].pieces().next().expect("a body");
    assert_eq!(piece.as_ptr(), records.as_ptr(), "not copied");
}

#[tokio::test]
async fn what_is_no_answer_breaks_the_connection() {
    let vote = |correlation: i32| {
        let header =
            RequestHeader { api: ApiKey::Vote, version: VOTE, correlation: klamm_core::id::CorrelationId(correlation), client_id: None };
        encode_response(header.correlation, header.version, &voted()).bytes().expect("in memory").to_vec()
    };
    let cut = vote(1)[4..].len() as i32 - 1;
    for (bad, kept) in [
        (vec![0xff; 4], 0),
        (i32::MAX.to_be_bytes().to_vec(), 0),
        (vec![0; 4], 0),
        ([&cut.to_be_bytes()[..], &vote(1)[4..vote(1).len() - 1]].concat(), 0),
        (vote(99), 0),
        ([vote(1), vote(2), vote(3)].concat(), 2),
    ] {
        let (listener, peer) = listen().await;
        let mut caller = Caller::new();
        caller.vote(1, &peer);
        caller.vote(2, &peer);
        let mut stream = accept(&listener).await;
        for _ in 0..2 {
            request(&mut stream).await;
        }
        stream.write_all(&bad).await.expect("connected");
        let want = |call: u64| (call, if call <= kept { Ok(()) } else { Err(Unreachable::Lost) });
        assert_eq!(caller.answers().await, [want(1), want(2)], "{bad:?}");
        let mut rest = Vec::new();
        drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it was closed"));
    }
}

/// The system completes so many connections as the listener's queue takes; of more it hears nothing.
#[tokio::test]
async fn whoever_does_not_answer_the_dial_in_time_is_not_refused() {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let peer = Peer { id: BrokerId(2), address: Address { host: "127.0.0.1".to_owned(), port }, lane: Lane::Control };
    let dial = || tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(("127.0.0.1", port)));
    let mut queued = Vec::new();
    while let Ok(stream) = dial().await {
        queued.push(stream);
    }
    let mut caller = Caller::new();
    caller.vote(1, &peer);
    assert_eq!(caller.answers().await, [(1, Err(Unreachable::TimedOut))]);
    assert_eq!(caller.peers.failures[&peer].count, 1);
    assert!(caller.peers.unreached.contains_key(&peer.address));
    // Whoever asks may not wait for so long.
    caller.peers.unreached.clear();
    caller.vote(2, &peer);
    caller.peers.hang_up(caller.now.after(SOON), CallId(2));
    assert!(caller.peers.unreached.contains_key(&peer.address));
}

#[tokio::test]
async fn a_connection_is_idle_when_nothing_waits_on_it() {
    let (look, most) = (Duration::from_millis(2), Duration::from_millis(10));
    let opens = crate::asks::Opens::default();
    let moves = std::sync::atomic::AtomicU64::new(0);
    tokio::time::timeout(PATIENCE, link::idle(&opens, &moves, look, most)).await.expect("idle");
    opens.push(crate::asks::Open { call: CallId(1), api: ApiKey::Vote, version: VOTE });
    let waits = tokio::time::timeout(most * 10, link::idle(&opens, &moves, look, most)).await;
    assert!(waits.is_err(), "a call that may wait long, as a fetch");
}

#[tokio::test]
async fn calls_without_end_close_the_connection() {
    let (listener, peer) = listen().await;
    let mut caller = Caller::new();
    for call in 0..=CALLS_MAX as u64 {
        caller.vote(call, &peer);
    }
    for call in 0..CALLS_MAX as u64 {
        let (got, outcome, _) = caller.answer().await;
        assert_eq!((got, outcome.map(drop)), (call, Err(Unreachable::Lost)));
    }
    assert_eq!(caller.peers.links.len(), 1);
    drop(listener);
}
