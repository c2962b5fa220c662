//! One question at a time to a cluster, as administrators ask: finds a broker that answers, speaks the newest version both know.
//!
//! Not a machine of the core: it has one connection a broker, waits for each answer, and retries only what is retriable by its nature.

use crate::conn::write_memory;
use crate::frames::Frames;
use crate::net::{self, Reader, Writer};
use crate::pool::Pool;
use klamm_core::client::io::Address;
use klamm_core::error::ErrorCode;
use klamm_core::id::CorrelationId;
use klamm_core::wire::api::api_versions::ApiVersionsRequest;
use klamm_core::wire::api::find_coordinator::FindCoordinatorRequest;
use klamm_core::wire::api::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use klamm_core::wire::{ApiKey, Chunk, Request, RequestHeader, Response, decode_response, encode_request};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How long a broker may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often a coordinator is looked for that is just being made.
const COORDINATOR_TRIES: u32 = 50;
/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks the brokers of one cluster.
#[derive(Debug)]
pub struct Admin {
    bootstrap: Vec<Address>,
    lines: BTreeMap<Address, Line>,
}

/// One connection, on which one question is under way at most.
#[derive(Debug)]
struct Line {
    reader: Option<Reader>,
    writer: Writer,
    next: i32,
    /// Of each API, what the broker speaks.
    versions: BTreeMap<i16, (i16, i16)>,
}

impl Admin {
    /// Asks whichever of `bootstrap` answers.
    #[must_use]
    pub fn new(bootstrap: Vec<Address>) -> Self {
        Self { bootstrap, lines: BTreeMap::new() }
    }

    /// Asks any broker, in version `most` at most.
    ///
    /// # Errors
    /// One line: nobody can be reached, or the one that was does not answer this.
    pub async fn ask(&mut self, request: Request, most: i16) -> Result<Response, String> {
        let mut failed = Vec::new();
        for address in self.bootstrap.clone() {
            match self.ask_at(&address, request.clone(), most).await {
                Ok(response) => return Ok(response),
                Err(why) => failed.push(why),
            }
        }
        Err(failed.join("; "))
    }

    /// Asks one broker, in version `most` at most.
    ///
    /// # Errors
    /// One line: it cannot be reached, or does not answer this.
    pub async fn ask_at(&mut self, address: &Address, request: Request, most: i16) -> Result<Response, String> {
        let version = self.version_at(address, request.api(), most).await?;
        let line = self.lines.remove(address).expect("it has just said what it speaks");
        let (line, response) = line.ask(version, request).await.map_err(|why| format!("{address}: {why}"))?;
        self.lines.insert(address.clone(), line);
        Ok(response)
    }

    /// The version, `most` at most, in which one broker would be asked.
    ///
    /// # Errors
    /// One line: it cannot be reached, or does not answer this.
    pub async fn version_at(&mut self, address: &Address, api: ApiKey, most: i16) -> Result<i16, String> {
        let cannot = |why: String| format!("{address}: {why}");
        if !self.lines.contains_key(address) {
            let line = Line::open(address).await.map_err(cannot)?;
            self.lines.insert(address.clone(), line);
        }
        let version = self.lines[address].version(api, most);
        version.ok_or_else(|| cannot(format!("it does not speak {}; ask a newer broker", api.name())))
    }

    /// What the cluster says of `topics`; of all where `None`. Creates none.
    ///
    /// # Errors
    /// One line.
    pub async fn metadata(&mut self, topics: Option<&[String]>) -> Result<MetadataResponse, String> {
        let named = |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() };
        let topics = topics.map(|topics| topics.iter().map(named).collect());
        let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
        let response = self.ask(Request::Metadata(request), 12).await?;
        if let Response::Metadata(response) = response { Ok(response) } else { Err(unexpected(&response)) }
    }

    /// Where the group's coordinator listens.
    ///
    /// # Errors
    /// One line: there is none, even after a while.
    pub async fn coordinator(&mut self, group: &str) -> Result<Address, String> {
        for _ in 0..COORDINATOR_TRIES {
            let request = FindCoordinatorRequest { key: group.to_owned(), ..FindCoordinatorRequest::default() };
            let Response::FindCoordinator(found) = self.ask(Request::FindCoordinator(request), 3).await? else { continue };
            match found.error_code {
                ErrorCode::NONE => return Ok(Address { host: found.host, port: u16::try_from(found.port).unwrap_or(0) }),
                code if code.is_retriable() => tokio::time::sleep(PAUSE).await,
                code => return Err(format!("no coordinator for group `{group}`: {}", code.name())),
            }
        }
        Err(format!("no coordinator for group `{group}` yet; try again"))
    }
}

/// Words for an answer to another question than the one that was asked.
#[must_use]
pub fn unexpected(response: &Response) -> String {
    format!("the broker answered {} to another question", response.api().name())
}

impl Line {
    async fn open(address: &Address) -> Result<Self, String> {
        let resolved = net::resolve(&address.to_string()).await.map_err(|e| e.to_string())?;
        let mut failed = "the name has no address".to_owned();
        for addr in resolved {
            match net::connect(addr).await {
                Ok((reader, writer)) => return Self { reader: Some(reader), writer, next: 0, versions: BTreeMap::new() }.introduce().await,
                Err(e) => failed = format!("{e}; is a broker running there?"),
            }
        }
        Err(failed)
    }

    async fn introduce(self) -> Result<Self, String> {
        let hello = ApiVersionsRequest { client_software_name: "klamm".into(), client_software_version: env!("CARGO_PKG_VERSION").into() };
        let (mut line, response) = self.ask(3, Request::ApiVersions(hello)).await?;
        let Response::ApiVersions(spoken) = response else { return Err(unexpected(&response)) };
        line.versions = spoken.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(line)
    }

    fn version(&self, api: ApiKey, most: i16) -> Option<i16> {
        let (least, newest) = *self.versions.get(&api.number())?;
        let version = most.min(newest).min(*api.versions().end());
        (version >= least && version >= *api.versions().start()).then_some(version)
    }

    /// Asks, and gives the line back with the answer: one that failed is not to be used again.
    async fn ask(mut self, version: i16, request: Request) -> Result<(Self, Response), String> {
        let answer = tokio::time::timeout(ANSWER_MAX, self.exchange(version, request)).await;
        let response = answer.map_err(|_| format!("no answer within {} s; its log may say why", ANSWER_MAX.as_secs()))??;
        Ok((self, response))
    }

    async fn exchange(&mut self, version: i16, request: Request) -> Result<Response, String> {
        let api = request.api();
        self.next += 1;
        let header = RequestHeader { api, version, correlation: CorrelationId(self.next), client_id: Some("klamm".to_owned()) };
        let mut chunks: VecDeque<Chunk> = encode_request(&header, &request).chunks.into();
        while !chunks.is_empty() {
            write_memory(&mut self.writer, &mut chunks).await.map_err(|e| e.to_string())?;
        }
        self.writer.flush().await.map_err(|e| e.to_string())?;
        let frame = self.read().await.map_err(|e| format!("{e} (it closed the connection upon {} version {version})", api.name()))?;
        let (_, response) = decode_response(api, version, frame).map_err(|e| format!("its answer is malformed: {e}"))?;
        Ok(response)
    }

    async fn read(&mut self) -> std::io::Result<bytes::Bytes> {
        let moves = AtomicU64::new(0);
        let mut frames = Frames::new(self.reader.take().expect("given back below"), &moves, Pool::default());
        let len = frames.length().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let frame = frames.body(usize::try_from(len).map_err(|_| std::io::ErrorKind::InvalidData)?).await?;
        self.reader = Some(frames.into_reader());
        Ok(frame)
    }
}
