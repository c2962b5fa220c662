//! A plan: the records that carry out a request, and its answer. Pure: made from an image, never changing it.
//!
//! The answer may be sent only when the records are committed, and with them everything that the image showed.

use super::image::Image;
use super::record::Record;
use crate::config::BrokerConfig;
use crate::error::ErrorCode;
use crate::rng::Rng;

/// Records to append in one batch, and the answer that they allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<R> {
    /// All or nothing; empty where nothing has to change.
    pub records: Vec<Record>,
    /// To be sent when the records are committed.
    pub response: R,
}

/// What plans are made from.
#[derive(Debug)]
pub struct Planner<'a> {
    /// The metadata, with what is planned but not committed yet.
    pub image: &'a Image,
    /// The controller's own configuration: its defaults are those of new topics.
    pub config: &'a BrokerConfig,
    /// For identities and placement.
    pub rng: &'a mut Rng,
}

/// An ordinary "no" of an admin request: an error code, and the words that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is.
    pub code: ErrorCode,
    /// In Kafka's words; `None` where Kafka sends null.
    pub message: Option<String>,
}

impl Refusal {
    /// With words.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    /// With the words that Kafka sends when it has nothing more to say.
    #[must_use]
    pub fn plain(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

/// The error code and words of an outcome.
#[must_use]
pub fn outcome(result: Result<(), Refusal>) -> (ErrorCode, Option<String>) {
    match result {
        Ok(()) => (ErrorCode::NONE, None),
        Err(refusal) => (refusal.code, refusal.message),
    }
}
