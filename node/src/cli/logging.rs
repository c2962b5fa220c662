//! Where log lines go: standard error, for people or as JSON.

use clap::{Args, ValueEnum};
use std::io::{self, IsTerminal as _};
use tracing_subscriber::EnvFilter;

/// How a log line looks.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Logging {
    /// How log lines look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, or a filter like klamm=debug [default: $RUST_LOG, or info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Logging {
    /// Starts logging.
    pub(super) fn start(&self) -> Result<(), super::Failure> {
        let filter = match &self.log_level {
            Some(level) => EnvFilter::try_new(level)
                .map_err(|e| vec![format!("`--log-level {level}`: {e}; want error, warn, info, debug or trace")])?,
            None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        };
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Text => lines.with_target(false).init(),
            LogFormat::Json => lines.json().flatten_event(true).init(),
        }
        Ok(())
    }
}
