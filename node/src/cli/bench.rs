//! `klamm bench`: how fast a broker takes records, gives them, and passes them on.

use super::Failure;
use super::ask::{Bootstrap, accept, run};
use super::produce::{AcksArg, CompressionArg, seed, words};
use bytes::{Bytes, BytesMut};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use klamm::client::Client;
use klamm::client::admin::Admin;
use klamm::clock::Clock;
use klamm_core::client::TopicPartition;
use klamm_core::client::consumer::{self, Consumer, Reset};
use klamm_core::client::io::Common;
use klamm_core::client::producer::{self, NewRecord, Producer, Token};
use klamm_core::error::ErrorCode;
use klamm_core::time::{Instant, Timestamp};
use klamm_core::wire::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use klamm_core::wire::record::Payload;
use klamm_core::wire::{Request, Response};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Records taken at once.
const RECORDS_AT_ONCE: usize = 5000;

/// Measure a broker: any that speaks Kafka's protocol
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  klamm bench produce -n 1000000 -s 100      a million records of 100 bytes into the topic klamm-bench
  klamm bench consume -n 1000000             read them
  klamm bench e2e --rate 2000 --seconds 30   from the producer through the broker to the consumer
  klamm bench produce --record figures.jsonl append a line of JSON to a file

One client, which has a share in the figures: compare brokers, not clients.")]
pub(super) struct Bench {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// The topic; made if it is not there
    #[arg(short = 't', long, default_value = "klamm-bench", global = true)]
    topic: String,
    /// How many partitions it gets
    #[arg(short = 'P', long, default_value_t = 6, global = true)]
    partitions: i32,
    /// Append the figures to this file, as a line of JSON
    #[arg(long, value_name = "FILE", global = true)]
    record: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Args)]
struct Writing {
    /// Bytes of each record's value
    #[arg(short = 's', long, default_value_t = 1024)]
    size: usize,
    /// Who must have a record before it counts as written
    #[arg(long, default_value = "all", value_name = "WHO")]
    acks: AcksArg,
    /// How batches are compressed
    #[arg(short = 'z', long, default_value = "none", value_name = "CODEC")]
    compression: CompressionArg,
    /// How long a batch waits for more records, in ms
    #[arg(long, default_value_t = 5, value_name = "MS")]
    linger: u64,
    /// How large a batch grows, in bytes before compression
    #[arg(long, default_value_t = 128 << 10, value_name = "BYTES")]
    batch_size: usize,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write records as fast as the broker takes them
    Produce {
        /// How many records
        #[arg(short = 'n', long, default_value_t = 1_000_000)]
        count: u64,
        #[command(flatten)]
        writing: Writing,
    },
    /// Read records as fast as the broker gives them
    Consume {
        /// How many records
        #[arg(short = 'n', long, default_value_t = 1_000_000)]
        count: u64,
    },
    /// Write at a steady rate, read at once, and measure the time between
    E2e {
        /// Records a second
        #[arg(long, default_value_t = 2000)]
        rate: u64,
        /// For how long
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        #[command(flatten)]
        writing: Writing,
    },
}

/// What was measured. Times from the sending of a record to its acknowledgement (produce) or its arrival (e2e).
#[derive(Debug, Default)]
struct Figures {
    records: u64,
    bytes: u64,
    seconds: f64,
    latencies_us: Vec<u64>,
}

impl Figures {
    fn percentile(&self, share: f64) -> Option<f64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a list of measured times"
        )]
        let at = (self.latencies_us.len().checked_sub(1)? as f64 * share) as usize;
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
        Some(self.latencies_us[at] as f64 / 1000.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn json(&mut self, what: &str) -> serde_json::Value {
        self.latencies_us.sort_unstable();
        serde_json::json!({
            "bench": what,
            "version": env!("CARGO_PKG_VERSION"),
            "records": self.records,
            "seconds": self.seconds,
            "records_per_second": self.records as f64 / self.seconds,
            "megabytes_per_second": self.bytes as f64 / 1e6 / self.seconds,
            "p50_ms": self.percentile(0.5),
            "p99_ms": self.percentile(0.99),
            "p999_ms": self.percentile(0.999),
            "max_ms": self.percentile(1.0),
        })
    }
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Failure> {
        let admin = self.bootstrap.admin()?;
        let mut common = Common::new(self.bootstrap.addresses()?);
        common.client_id = "klamm-bench".to_owned();
        run(self.measure(admin, common))
    }

    async fn measure(self, mut admin: Admin, common: Common) -> Result<(), String> {
        self.make_topic(&mut admin).await?;
        let topic: Arc<str> = self.topic.as_str().into();
        let (name, mut figures) = match &self.what {
            What::Produce { count, writing } => ("produce", produce(writer(common, writing), &topic, *count, writing.size).await?),
            What::Consume { count } => ("consume", consume(self.reader(&mut admin, common, Reset::Earliest).await?, *count).await?),
            What::E2e { rate, seconds, writing } => {
                let reader = self.reader(&mut admin, common.clone(), Reset::Latest).await?;
                ("e2e", end_to_end(writer(common, writing), reader, &topic, *rate, *seconds, writing.size).await?)
            }
        };
        let line = figures.json(name);
        println!("{line}");
        let Some(path) = &self.record else { return Ok(()) };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .map_err(|e| format!("cannot append to {}: {e}; the figures are in the line above", path.display()))
    }

    async fn make_topic(&self, admin: &mut Admin) -> Result<(), String> {
        let topic = CreatableTopic {
            name: self.topic.clone(),
            num_partitions: self.partitions,
            replication_factor: -1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, validate_only: false };
        let Response::CreateTopics(response) = admin.ask(Request::CreateTopics(request), 7).await? else { return Ok(()) };
        let refused = response.topics.iter().find(|t| ![ErrorCode::NONE, ErrorCode::TOPIC_ALREADY_EXISTS].contains(&t.error_code));
        refused.map_or(Ok(()), |t| accept(&format!("cannot create `{}`", t.name), t.error_code, t.error_message.as_deref()))
    }

    async fn reader(&self, admin: &mut Admin, common: Common, reset: Reset) -> Result<Client<Consumer>, String> {
        let metadata = admin.metadata(Some(std::slice::from_ref(&self.topic))).await?;
        let partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
        let parts: BTreeSet<_> = partitions.map(|p| TopicPartition::new(self.topic.as_str(), p.partition_index.0)).collect();
        let config = consumer::Config { reset, ..consumer::Config::new(common) };
        let mut client = Client::new(Consumer::new(config, seed()), Clock::new(), "klamm-bench");
        client.tell(consumer::Command::Assign { parts });
        client.tell(consumer::Command::Poll { max_records: RECORDS_AT_ONCE });
        // Where "latest" is must be known before the first record is written.
        while client.machine().positions().any(|(_, at)| at.is_none()) {
            client.turn().await;
        }
        Ok(client)
    }
}

fn writer(common: Common, writing: &Writing) -> Client<Producer> {
    let config = producer::Config {
        acks: writing.acks.acks(),
        idempotent: matches!(writing.acks, AcksArg::All),
        linger: Duration::from_millis(writing.linger),
        batch_size: writing.batch_size,
        compression: writing.compression.codec(),
        ..producer::Config::new(common)
    };
    Client::new(Producer::new(config, seed()), Clock::new(), "klamm-bench")
}

fn progress(count: u64) -> ProgressBar {
    // Draws on a terminal only.
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} {eta}").expect("a valid template");
    ProgressBar::new(count).with_style(style)
}

/// A value of `size` bytes that begins with the time in microseconds.
fn value(size: usize, at: Instant) -> Bytes {
    let mut value = BytesMut::zeroed(size.max(8));
    value[..8].copy_from_slice(&(at.0 / 1000).to_be_bytes());
    value.freeze()
}

fn record(topic: &Arc<str>, token: u64, value: Bytes) -> producer::Command {
    let payload = Payload { key: None, value: Some(value), headers: Vec::new() };
    producer::Command::Send(NewRecord { token: Token(token), topic: topic.clone(), partition: None, timestamp: None::<Timestamp>, payload })
}

async fn produce(mut client: Client<Producer>, topic: &Arc<str>, count: u64, size: usize) -> Result<Figures, String> {
    let bar = progress(count);
    let start = client.now().at;
    let template = value(size, Instant(0));
    let mut figures = Figures { records: count, bytes: count * size as u64, ..Figures::default() };
    // When each record was sent, by token; a record is settled once.
    let mut sent_at = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let (mut sent, mut settled) = (0, 0);
    while settled < count {
        while sent < count && client.machine().room() > size + 256 {
            sent_at.push(client.now().at);
            client.tell(record(topic, sent, template.clone()));
            sent += 1;
            if sent == count {
                client.tell(producer::Command::Flush { token: Token(u64::MAX) });
            }
            // Until the topic's leaders are known, the machine looks at all records again with each new one.
            if settled == 0 {
                break;
            }
        }
        client.turn().await;
        let now = client.now().at;
        while let Some(event) = client.take_event() {
            match event {
                producer::Event::Settled { records, outcome: Ok(_), .. } => {
                    settled += records.len() as u64;
                    let took = |token: &Token| sent_at.get(usize::try_from(token.0).ok()?).map(|at| now.since(*at));
                    figures.latencies_us.extend(records.iter().filter_map(took).map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)));
                }
                producer::Event::Settled { part, outcome: Err(failure), .. } => return Err(format!("{part}: {}", words(failure.why))),
                producer::Event::Rejected { why, .. } => return Err(words(why)),
                producer::Event::Flushed { .. } => {}
            }
        }
        bar.set_position(settled);
    }
    bar.finish_and_clear();
    figures.seconds = client.now().at.since(start).as_secs_f64();
    Ok(figures)
}

async fn consume(mut client: Client<Consumer>, count: u64) -> Result<Figures, String> {
    let bar = progress(count);
    let start = client.now().at;
    let mut figures = Figures::default();
    while figures.records < count {
        let event = client.event().await;
        for record in values(event)? {
            figures.records += 1;
            figures.bytes += record.len() as u64;
        }
        client.tell(consumer::Command::Poll { max_records: RECORDS_AT_ONCE });
        bar.set_position(figures.records);
    }
    bar.finish_and_clear();
    figures.seconds = client.now().at.since(start).as_secs_f64();
    Ok(figures)
}

fn values(event: consumer::Event) -> Result<Vec<Bytes>, String> {
    match event {
        consumer::Event::Records { records } => {
            Ok(records.into_iter().flat_map(|(_, records)| records).map(|r| r.payload.value.unwrap_or_default()).collect())
        }
        consumer::Event::Refused { error } => Err(super::ask::refusal("refused", error, None)),
        consumer::Event::Corrupt { part, at } => {
            Err(format!("{part}: what stands at offset {at} cannot be read; measure on another topic with `-t NAME`"))
        }
        consumer::Event::NoPosition { .. }
        | consumer::Event::Assigned { .. }
        | consumer::Event::Revoked { .. }
        | consumer::Event::Lost { .. }
        | consumer::Event::Committed { .. }
        | consumer::Event::Closed => Ok(Vec::new()),
    }
}

/// One clock measures both ends: the producer's, whose time stands in each record.
async fn end_to_end(
    mut writer: Client<Producer>,
    mut reader: Client<Consumer>,
    topic: &Arc<str>,
    rate: u64,
    seconds: u64,
    size: usize,
) -> Result<Figures, String> {
    let count = rate * seconds;
    let bar = progress(count);
    let mut figures = Figures { records: count, bytes: count * size as u64, ..Figures::default() };
    let start = writer.now().at;
    let due = |sent: u64| start.after(Duration::from_nanos(sent.saturating_mul(1_000_000_000) / rate.max(1)));
    let mut sent = 0;
    while (figures.latencies_us.len() as u64) < count {
        let now = writer.now().at;
        while sent < count && due(sent) <= now {
            writer.tell(record(topic, sent, value(size, due(sent))));
            sent += 1;
        }
        let pause = if sent < count { due(sent).since(now) } else { Duration::from_millis(100) };
        tokio::select! {
            biased;
            event = reader.event() => {
                let now = writer.now().at.0 / 1000;
                let times = values(event)?.into_iter().filter_map(|value| Some(u64::from_be_bytes(value.get(..8)?.try_into().ok()?)));
                figures.latencies_us.extend(times.map(|at| now.saturating_sub(at)));
                reader.tell(consumer::Command::Poll { max_records: RECORDS_AT_ONCE });
                bar.set_position(figures.latencies_us.len() as u64);
            }
            () = writer.turn() => {}
            () = tokio::time::sleep(pause) => {}
        }
        while let Some(event) = writer.take_event() {
            match event {
                producer::Event::Settled { part, outcome: Err(failure), .. } => return Err(format!("{part}: {}", words(failure.why))),
                producer::Event::Rejected { why, .. } => return Err(words(why)),
                producer::Event::Settled { .. } | producer::Event::Flushed { .. } => {}
            }
        }
    }
    bar.finish_and_clear();
    figures.seconds = writer.now().at.since(start).as_secs_f64();
    Ok(figures)
}
