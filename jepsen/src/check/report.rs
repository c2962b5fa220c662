//! What a check found, in a form for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::Kind;
use super::consumed::Consumed;
use super::lag::Lag;
use crate::history::{Key, Offset, Value};

/// How many cases of one kind are shown; the others are only counted.
const SHOWN_MAX: usize = 16;

/// The judgement over a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing was found that the test does not allow.
    Valid,
    /// Something was found that the test does not allow.
    Invalid,
    /// Nothing was found, but nothing was observed either: no send and no poll ended well.
    Undecided,
}

/// One case of an anomaly: the smallest evidence that shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The values concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// The offsets concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<Offset>,
    /// The entries of the history that show it, by index.
    pub ops: Vec<u64>,
    /// What happened, in words.
    pub what: String,
}

/// All cases of one anomaly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// How many.
    pub count: usize,
    /// The first few.
    pub cases: Vec<Case>,
    /// Whether the test is valid in spite of them.
    pub allowed: bool,
}

/// A judged history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The judgement.
    pub verdict: Verdict,
    /// What was found, by anomaly, the allowed ones too.
    #[serde(serialize_with = "by_name")]
    pub found: BTreeMap<Kind, Found>,
    /// How many operations ended well, failed, and have an unknown outcome.
    pub ended: Ended,
    /// The longest that a poll is known to have lagged behind. Information only.
    pub worst_realtime_lag: Lag,
    /// How often subscribed processes consumed the same record. Information only.
    pub consume_counts: Consumed,
    /// Why outcomes are unknown, with how often. Information only.
    pub info_causes: BTreeMap<String, usize>,
}

/// How the sends, polls and transactions of a history ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Took effect.
    pub ok: usize,
    /// Had no effect.
    pub fail: usize,
    /// Unknown, those included that never ended.
    pub info: usize,
}

impl Report {
    /// The anomalies that make the history invalid.
    pub fn bad(&self) -> impl Iterator<Item = Kind> + '_ {
        self.found.iter().filter(|(_, found)| !found.allowed).map(|(kind, _)| *kind)
    }
}

/// Where checks put what they find.
#[derive(Default)]
pub(super) struct Findings {
    found: BTreeMap<Kind, Found>,
}

impl Findings {
    /// `case` is built only while it would be shown.
    pub(super) fn add(&mut self, kind: Kind, case: impl FnOnce() -> Case) {
        let found = self.found.entry(kind).or_insert_with(|| Found { count: 0, cases: Vec::new(), allowed: false });
        found.count += 1;
        if found.cases.len() < SHOWN_MAX {
            found.cases.push(case());
        }
    }

    pub(super) fn judged(mut self, allowed: impl Fn(Kind) -> bool) -> BTreeMap<Kind, Found> {
        for (kind, found) in &mut self.found {
            found.allowed = allowed(*kind);
        }
        self.found
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Undecided => "undecided",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.key {
            write!(f, "key {}: ", key.0)?;
        }
        write!(f, "{} (", self.what)?;
        for (nth, op) in self.ops.iter().enumerate() {
            write!(f, "{}{op}", if nth == 0 { "operations " } else { ", " })?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { ok, fail, info } = self.ended;
        writeln!(f, "{}: {ok} operations ok, {fail} failed, {info} unknown", self.verdict)?;
        for (kind, found) in &self.found {
            let allowed = if found.allowed { ", allowed" } else { "" };
            writeln!(f, "{kind}: {} found{allowed}", found.count)?;
            for case in &found.cases {
                writeln!(f, "  {case}")?;
            }
        }
        writeln!(f, "{}", self.worst_realtime_lag)?;
        write!(f, "{}", self.consume_counts)
    }
}

fn by_name<S: Serializer>(found: &BTreeMap<Kind, Found>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(found.iter().map(|(kind, found)| (kind.name(), found)))
}
