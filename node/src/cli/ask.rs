//! What the commands that ask a cluster have in common: whom to ask, and how a refusal reads.

use super::Failure;
use clap::Args;
use klamm::client::admin::Admin;
use klamm_core::client::io::Address;
use klamm_core::error::ErrorCode;
use std::future::Future;

#[derive(Debug, Args)]
pub(super) struct Bootstrap {
    /// Brokers to ask first: host:port,...
    #[arg(short = 'b', long = "bootstrap", value_name = "BROKERS", default_value = "127.0.0.1:9092")]
    brokers: String,
}

impl Bootstrap {
    pub(super) fn addresses(&self) -> Result<Vec<Address>, Failure> {
        let parse = |part: &str| {
            let (host, port) = part.rsplit_once(':').unwrap_or((part, "9092"));
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = port.parse().map_err(|_| vec![format!("`-b {part}`: want HOST:PORT, like localhost:9092")])?;
            Ok(Address { host, port })
        };
        self.brokers.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
    }

    pub(super) fn admin(&self) -> Result<Admin, Failure> {
        Ok(Admin::new(self.addresses()?))
    }
}

/// Runs `work` on this thread, and its connections on another: work that never pauses must not hold them up.
pub(super) fn run(work: impl Future<Output = Result<(), String>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|e| vec![format!("cannot start a thread: {e}")])?;
    runtime.block_on(work).map_err(|e| vec![e])
}

/// What a broker refused, in its own words where it gave some, and what may be done about it.
pub(super) fn refusal(what: &str, code: ErrorCode, message: Option<&str>) -> String {
    let words = message.filter(|words| !words.is_empty()).unwrap_or_else(|| code.message());
    let remedy = match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => "; `klamm topic list` shows which there are",
        ErrorCode::TOPIC_ALREADY_EXISTS => "; `klamm topic describe` shows it, `klamm topic grow` adds partitions",
        ErrorCode::INVALID_REPLICATION_FACTOR => "; use `-R` with no more than there are brokers",
        ErrorCode::GROUP_ID_NOT_FOUND => "; `klamm group list` shows which there are",
        ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::GROUP_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => {
            "; ask whoever administers the cluster for the right"
        }
        ErrorCode::KAFKA_STORAGE_ERROR => "; the broker's log says what is wrong with its disk",
        code if code.is_retriable() => "; try again in a moment",
        ErrorCode::NON_EMPTY_GROUP | ErrorCode::UNKNOWN_MEMBER_ID => "; stop the group's consumers first",
        _ => "",
    };
    format!("{what}: {words} ({}){remedy}", code.name())
}

/// `Err` with the refusal unless `code` is none.
pub(super) fn accept(what: &str, code: ErrorCode, message: Option<&str>) -> Result<(), String> {
    if code.is_none() { Ok(()) } else { Err(refusal(what, code, message)) }
}

/// Prints rows in columns; the first row is the heading.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    for row in rows {
        let line = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>().join("  ");
        println!("{}", line.trim_end());
    }
}
