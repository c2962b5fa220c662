//! `klamm produce`: one record for each line of standard input.

use super::Failure;
use super::ask::{Bootstrap, run};
use bytes::{Buf as _, Bytes, BytesMut};
use clap::{Args, ValueEnum};
use klamm::client::Client;
use klamm::clock::Clock;
use klamm_core::client::io::Common;
use klamm_core::client::producer::{Acks, Command, Config, Event, NewRecord, Partitioner, Producer, Token, Why};
use klamm_core::id::PartitionIndex;
use klamm_core::wire::batch::Compression;
use klamm_core::wire::record::Payload;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How much of the input is read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that are read ahead.
const CHUNKS_AHEAD: usize = 4;

/// Write a record for each line of standard input
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  seq 5 | klamm produce words
  printf 'k1:one\\nk2:two\\n' | klamm produce words -k :
  klamm produce words --compression zstd --acks all < lines.txt

Ends well only if every record was acknowledged.")]
pub(super) struct Produce {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Who must have a record before it counts as written
    #[arg(long, default_value = "all", value_name = "WHO")]
    acks: AcksArg,
    /// How batches are compressed
    #[arg(short = 'z', long, default_value = "none", value_name = "CODEC")]
    compression: CompressionArg,
    /// How a record's partition is chosen
    #[arg(long, default_value = "built-in", value_name = "HOW")]
    partitioner: PartitionerArg,
    /// The partition, instead of choosing one
    #[arg(short = 'p', long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// What stands between key and value; without it lines have no keys
    #[arg(short = 'k', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// How long a batch waits for more records, in ms
    #[arg(long, default_value_t = 5, value_name = "MS")]
    linger: u64,
    /// How large a batch grows, in bytes before compression
    #[arg(long, default_value_t = 64 << 10, value_name = "BYTES")]
    batch_size: usize,
    /// The topic; made if it is not there and the broker allows it
    topic: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AcksArg {
    /// Every in-sync replica; no record is written twice
    All,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// Nobody
    #[value(name = "0")]
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CompressionArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PartitionerArg {
    /// By key; without one as many bytes to each (KIP-794)
    BuiltIn,
    /// By key; without one in turn
    KeyHash,
    /// One until its batch is full, then another, whatever the key
    UniformSticky,
    /// In turn, whatever the key
    RoundRobin,
}

impl AcksArg {
    pub(super) fn acks(self) -> Acks {
        match self {
            Self::All => Acks::All,
            Self::Leader => Acks::Leader,
            Self::None => Acks::None,
        }
    }
}

impl CompressionArg {
    pub(super) fn codec(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd,
        }
    }
}

impl PartitionerArg {
    pub(super) fn partitioner(self) -> Partitioner {
        match self {
            Self::BuiltIn => Partitioner::BuiltIn,
            Self::KeyHash => Partitioner::KeyHash,
            Self::UniformSticky => Partitioner::UniformSticky,
            Self::RoundRobin => Partitioner::RoundRobin,
        }
    }
}

/// A seed that nobody else has.
pub(super) fn seed() -> u64 {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("the system gives random bytes");
    u64::from_le_bytes(seed)
}

/// What became of the records so far.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    written: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl Tally {
    fn settled(&self) -> u64 {
        self.written + self.failed
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Settled { records, outcome: Ok(_), .. } => self.written += records.len() as u64,
            Event::Settled { part, records, outcome: Err(failure) } => self.fail(records.len(), &format!("{part}: {}", words(failure.why))),
            Event::Rejected { why, .. } => self.fail(1, &words(why)),
            Event::Flushed { .. } => {}
        }
    }

    fn fail(&mut self, count: usize, why: &str) {
        self.failed += count as u64;
        self.first_failure.get_or_insert_with(|| why.to_owned());
    }
}

/// Why a record was given up, and what may help.
pub(super) fn words(why: Why) -> String {
    match why {
        Why::TimedOut => "no broker took it in time; is one running there?".to_owned(),
        Why::BufferFull => "the buffer is full; send more slowly, or in smaller records".to_owned(),
        Why::TooLarge => "it is larger than a request may be; shorten the line".to_owned(),
        Why::Refused(code) => super::ask::refusal("refused", code, None),
        Why::Closed => "the producer was closed before it was sent; send it again".to_owned(),
    }
}

impl Produce {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut common = Common::new(self.bootstrap.addresses()?);
        common.client_id = "klamm-produce".to_owned();
        let config = Config {
            acks: self.acks.acks(),
            idempotent: matches!(self.acks, AcksArg::All),
            linger: Duration::from_millis(self.linger),
            batch_size: self.batch_size,
            compression: self.compression.codec(),
            partitioner: self.partitioner.partitioner(),
            ..Config::new(common)
        };
        run(self.produce(config))
    }

    async fn produce(self, config: Config) -> Result<(), String> {
        let mut client = Client::new(Producer::new(config, seed()), Clock::new(), "klamm-produce");
        let mut tally = Tally::default();
        let mut input = read_stdin();
        let topic: Arc<str> = self.topic.as_str().into();
        let mut rest = BytesMut::new();
        let mut open = true;
        while open {
            tokio::select! {
                biased;
                chunk = input.recv() => match chunk {
                    Some(chunk) => rest.extend_from_slice(&chunk?),
                    None => open = false,
                },
                () = client.turn() => {}
            }
            while let Some(line) = next_line(&mut rest, !open) {
                let record = self.record(&topic, Token(tally.sent), line);
                send(&mut client, &mut tally, record).await;
                tally.sent += 1;
                // Until the topic's leaders are known, the machine looks at all records again with each new one.
                while tally.settled() == 0 {
                    let event = client.event().await;
                    tally.take(event);
                }
            }
            take_events(&mut client, &mut tally);
        }
        client.tell(Command::Flush { token: Token(u64::MAX) });
        while tally.settled() < tally.sent {
            let event = client.event().await;
            tally.take(event);
        }
        match tally.first_failure {
            None => {
                eprintln!("wrote {} record(s) to {topic}", tally.written);
                Ok(())
            }
            Some(why) => Err(format!("{} of {} record(s) were not acknowledged; the first one: {why}", tally.failed, tally.sent)),
        }
    }

    fn record(&self, topic: &Arc<str>, token: Token, line: Bytes) -> NewRecord {
        let split = self.key_separator.as_ref().and_then(|between| Some((find(&line, between.as_bytes())?, between.len())));
        let (key, value) = match split {
            Some((at, width)) => (Some(line.slice(..at)), line.slice(at + width..)),
            None => (None, line),
        };
        let payload = Payload { key, value: Some(value), headers: Vec::new() };
        NewRecord { token, topic: topic.clone(), partition: self.partition.map(PartitionIndex), timestamp: None, payload }
    }
}

/// Waits for room, then sends.
async fn send(client: &mut Client<Producer>, tally: &mut Tally, record: NewRecord) {
    // What a record takes beside its bytes is less than this.
    const OVERHEAD: usize = 128;
    let size = record.payload.value.as_ref().map_or(0, Bytes::len) + record.payload.key.as_ref().map_or(0, Bytes::len) + OVERHEAD;
    while client.machine().room() < size && client.machine().outstanding() > 0 {
        client.turn().await;
        take_events(client, tally);
    }
    client.tell(Command::Send(record));
}

fn take_events(client: &mut Client<Producer>, tally: &mut Tally) {
    while let Some(event) = client.take_event() {
        tally.take(event);
    }
}

/// The next line without its end. What stands behind the last line break is a line once the input has ended.
fn next_line(rest: &mut BytesMut, ended: bool) -> Option<Bytes> {
    if let Some(at) = rest.iter().position(|b| *b == b'\n') {
        let line = rest.split_to(at).freeze();
        rest.advance(1);
        return Some(line);
    }
    (ended && !rest.is_empty()).then(|| rest.split().freeze())
}

fn find(line: &[u8], between: &[u8]) -> Option<usize> {
    line.windows(between.len().max(1)).position(|window| window == between)
}

/// Reads on a thread of its own, since a terminal or pipe may block for ever.
fn read_stdin() -> mpsc::Receiver<Result<Bytes, String>> {
    let (chunks, input) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let chunk = match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => Ok(Bytes::copy_from_slice(&buffer[..n])),
                Err(e) => Err(format!("cannot read standard input: {e}")),
            };
            if chunks.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_line_breaks_and_at_the_end() {
        let mut rest = BytesMut::from("one\n\ntwo");
        assert_eq!(next_line(&mut rest, false).as_deref(), Some(&b"one"[..]));
        assert_eq!(next_line(&mut rest, false).as_deref(), Some(&b""[..]));
        assert_eq!(next_line(&mut rest, false), None);
        assert_eq!(next_line(&mut rest, true).as_deref(), Some(&b"two"[..]));
        assert_eq!(next_line(&mut rest, true), None);
    }
}
