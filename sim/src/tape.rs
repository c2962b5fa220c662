//! The tape of a run on the mesh: its plan, and what chance decided. It is a file that can be read and edited, and is replayed after the code has changed:
//! what it does not say is drawn from the seed, and counted.

use crate::chance::{Chance, Decisions};
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A run as it was, or as it is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tape {
    /// Why it is kept.
    #[serde(default)]
    pub about: String,
    /// The guard that was taken away, if one was.
    #[serde(default)]
    pub mutant: Option<String>,
    /// The rule that it broke, without what differs from run to run.
    #[serde(default)]
    pub breaks: Option<String>,
    /// Knobs, clients and faults.
    pub plan: Plan,
    /// By the first word of a matter's name, what is decided wherever nothing is written.
    #[serde(default)]
    pub usual: BTreeMap<String, u64>,
    /// By matter, what was decided, in order.
    #[serde(default)]
    pub decisions: Decisions,
}

impl Tape {
    /// A tape on which nothing is written but the plan.
    #[must_use]
    pub fn of(plan: Plan, mutant: Option<String>) -> Self {
        Self { about: String::new(), mutant, breaks: None, plan, usual: BTreeMap::new(), decisions: Decisions::new() }
    }

    /// What chance decides when it is replayed; what that was can be asked for in the end.
    #[must_use]
    pub fn chance(&self) -> Chance {
        Chance::of_tape(self.plan.seed, self.decisions.clone(), self.usual.clone())
    }

    /// The same with everything written down that a replay decided, but for what is as usual.
    #[must_use]
    pub fn with(self, decisions: Decisions) -> Self {
        let is_usual = |name: &str| name.split(' ').next().is_some_and(|kind| self.usual.contains_key(kind));
        let decisions = decisions.into_iter().filter(|(name, _)| !is_usual(name)).collect();
        Self { decisions, ..self }
    }

    /// The file's text: JSON, a fault a line, the decisions of a matter in one.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        write_value(&mut text, &serde_json::to_value(self).expect("a tape has only string keys"), 0);
        text.push('\n');
        text
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn decode(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("this is no tape: {error}"))
    }
}

fn write_value(text: &mut String, value: &Value, depth: usize) {
    let is_deep = |value: &Value| matches!(value, Value::Object(_) | Value::Array(_));
    let begin = |text: &mut String, at: usize| text.push_str(&format!("{}\n{}", if at > 0 { "," } else { "" }, "  ".repeat(depth + 1)));
    let end = |text: &mut String, last: char| text.push_str(&format!("\n{}{last}", "  ".repeat(depth)));
    match value {
        Value::Object(fields) if !fields.is_empty() && depth < 2 => {
            text.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                begin(text, at);
                text.push_str(&format!("{}: ", Value::String(name.clone())));
                write_value(text, value, depth + 1);
            }
            end(text, '}');
        }
        Value::Array(items) if items.iter().any(is_deep) && depth < 4 => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                begin(text, at);
                text.push_str(&item.to_string());
            }
            end(text, ']');
        }
        Value::Object(_) | Value::Array(_) | Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {
            text.push_str(&value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Recorder;
    use crate::run;

    #[test]
    fn a_tape_is_read_as_it_was_written() {
        for seed in 0..200 {
            let mut tape = Tape::of(Plan::general(seed).on(seed as u32 % 5), Some("vote-forgotten".to_owned()));
            tape.usual.insert("delay".to_owned(), 1_000);
            tape.decisions.insert("door node-1".to_owned(), vec![Some(3), None]);
            let text = tape.encode();
            assert_eq!(Tape::decode(&text).as_ref(), Ok(&tape), "{text}");
            let faults = text.lines().filter(|line| line.trim_start().starts_with('[')).count();
            assert!(faults >= tape.plan.faults.len(), "one a line:\n{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let text = Tape::of(Plan::general(1), None).encode().replace("\"segment_bytes\"", "\"segment_byte\"");
        let error = Tape::decode(&text).expect_err("a field of no plan");
        assert!(error.contains("segment_byte") && error.contains("line"), "{error}");
    }

    #[test]
    fn a_replay_decides_the_same() {
        let plan = Plan { load: 3_000_000_000, ..Plan::general(5) };
        let replay = |tape: &Tape| {
            let chance = tape.chance();
            (run::run_by(tape.plan.clone(), &chance, &Recorder::default()).trace, chance)
        };
        let tape = Tape::of(plan.clone(), None);
        let (trace, drawn) = replay(&tape);
        assert_eq!(trace, run::run(plan).trace);
        let (again, written) = replay(&tape.with(drawn.decisions()));
        assert_eq!((again, written.missing()), (trace, 0));
        assert_eq!(written.decisions(), drawn.decisions());
    }
}
