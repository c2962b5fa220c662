//! What clients did: each operation from its beginning to its end, in lanes, so that no two of one lane overlap.

use klamm_jepsen::history::{Action, History, Mop, Op, Process, Stage};
use std::collections::{BTreeMap, BTreeSet};

/// What a send or a poll touched of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub(super) key: u32,
    /// The first offset, −1 where it is not known.
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: usize,
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Deed {
    pub(super) lane: usize,
    pub(super) process: u32,
    pub(super) from: u64,
    /// When its end was heard of, if it was.
    pub(super) until: Option<u64>,
    /// Jepsen's name.
    pub(super) what: String,
    /// `None` if it never ended.
    pub(super) stage: Option<Stage>,
    pub(super) touched: Vec<Touched>,
    pub(super) text: String,
}

/// All operations of a run, and the names of their lanes.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    pub(super) lanes: Vec<String>,
    pub(super) all: Vec<Deed>,
}

impl Deeds {
    /// Of the history of clients, and of that of clients whose sends may be lost or doubled. `members` read in groups.
    pub(super) fn of(histories: &[History], members: &BTreeSet<Process>) -> Self {
        let mut deeds = Self::default();
        for (number, history) in histories.iter().enumerate() {
            let deeds_of = paired(history);
            let mut kinds: BTreeMap<u32, &'static str> = BTreeMap::new();
            for deed in &deeds_of {
                let kind = match deed.what.as_str() {
                    _ if members.contains(&Process::Client(deed.process)) => "group member",
                    "send" if number == 0 => "producer",
                    "send" => "producer, not acks=all",
                    _ if number == 0 => "reader",
                    _ => "reader of those",
                };
                kinds.entry(deed.process).or_insert(kind);
            }
            deeds.add(deeds_of, &kinds);
        }
        deeds.all.sort_by_key(|deed| deed.from);
        deeds
    }

    /// A process of which an outcome is unknown goes on as another one: whoever begins when another one has ended takes its lane.
    fn add(&mut self, deeds: Vec<Deed>, kinds: &BTreeMap<u32, &'static str>) {
        let mut spans: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for deed in &deeds {
            let span = spans.entry(deed.process).or_insert((deed.from, deed.from));
            span.1 = span.1.max(deed.until.unwrap_or(deed.from));
        }
        let mut by_time: Vec<(u64, u64, u32)> = spans.into_iter().map(|(process, (from, until))| (from, until, process)).collect();
        by_time.sort_unstable();
        let mut taken: BTreeMap<&str, Vec<(usize, u64)>> = BTreeMap::new();
        let mut lane_of: BTreeMap<u32, usize> = BTreeMap::new();
        for (from, until, process) in by_time {
            let kind = kinds[&process];
            let lanes = taken.entry(kind).or_default();
            let free = lanes.iter().position(|(_, busy)| *busy <= from);
            let at = free.unwrap_or_else(|| {
                self.lanes.push(format!("{kind} {}", lanes.len() + 1));
                lanes.push((self.lanes.len() - 1, 0));
                lanes.len() - 1
            });
            lanes[at].1 = until.max(from + 1);
            lane_of.insert(process, lanes[at].0);
        }
        self.all.extend(deeds.into_iter().map(|deed| Deed { lane: lane_of[&deed.process], ..deed }));
    }
}

fn paired(history: &History) -> Vec<Deed> {
    let (mut all, mut open): (Vec<Deed>, BTreeMap<u32, usize>) = (Vec::new(), BTreeMap::new());
    for op in history.ops() {
        let Process::Client(process) = op.process else { continue };
        if op.stage == Stage::Invoke {
            open.insert(process, all.len());
            all.push(begun(process, op));
        } else if let Some(at) = open.remove(&process) {
            all[at].end(op);
        }
    }
    all
}

fn begun(process: u32, op: &Op) -> Deed {
    let (touched, text) = touched_by(&op.action);
    Deed { lane: 0, process, from: op.time, until: None, what: op.action.name().to_owned(), stage: None, touched, text }
}

impl Deed {
    fn end(&mut self, op: &Op) {
        (self.until, self.stage) = (Some(op.time), Some(op.stage));
        (self.touched, self.text) = touched_by(&op.action);
        if let Some(error) = &op.error {
            self.text = format!("{}{}{error}", self.text, if self.text.is_empty() { "" } else { ": " });
        }
    }

    /// Whether it is a poll that brought nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.what == "poll" && self.touched.is_empty() && self.stage == Some(Stage::Ok)
    }
}

fn touched_by(action: &Action) -> (Vec<Touched>, String) {
    let keys = match action {
        Action::Assign { keys, .. } | Action::Subscribe { keys } => keys.iter().map(|key| key.0).collect(),
        Action::Micro { .. } | Action::Crash | Action::DebugTopicPartitions { .. } | Action::Other { .. } => Vec::new(),
    };
    let mut touched: Vec<Touched> = keys.into_iter().map(|key| Touched { key, first: -1, last: -1, count: 0 }).collect();
    let mut text = String::new();
    for mop in action.mops() {
        match mop {
            Mop::Send { key, offset, value } => {
                let at = offset.map_or(-1, |offset| offset.0);
                touched.push(Touched { key: key.0, first: at, last: at, count: 1 });
                text = format!("value {}", value.0);
            }
            Mop::Poll(Some(polled)) => {
                for (key, records) in polled {
                    let offset =
                        |record: Option<&klamm_jepsen::history::Record>| record.and_then(|record| record.offset).map_or(-1, |at| at.0);
                    touched.push(Touched {
                        key: key.0,
                        first: offset(records.first()),
                        last: offset(records.last()),
                        count: records.len(),
                    });
                }
            }
            Mop::Poll(None) => {}
        }
    }
    (touched, text)
}

#[cfg(test)]
mod tests {
    use super::Deeds;
    use klamm_jepsen::history::{Action, Completion, Key, Offset, Process, Recorder, Value};

    #[test]
    fn a_process_whose_outcome_is_unknown_hands_its_lane_on() {
        let mut recorder = Recorder::default();
        let [one, two, three] = [0, 1, 2].map(Process::Client);
        recorder.invoke(1, one, Action::send(Key(0), Value(1)));
        recorder.invoke(2, two, Action::send(Key(0), Value(2)));
        recorder.complete(3, one, Completion::info("timed out"));
        recorder.invoke(4, three, Action::send(Key(0), Value(3)));
        recorder.complete(5, three, Completion::ok(Action::sent(Key(0), Offset(7), Value(3))));
        let deeds = Deeds::of(&[recorder.finish()], &[].into());
        assert_eq!(deeds.lanes, ["producer 1", "producer 2"]);
        let lanes: Vec<(u32, usize)> = deeds.all.iter().map(|deed| (deed.process, deed.lane)).collect();
        assert_eq!(lanes, [(0, 0), (1, 1), (2, 0)]);
        assert_eq!((deeds.all[1].stage, deeds.all[1].until), (None, None), "it is still open");
        assert_eq!(deeds.all[2].touched[0].first, 7);
        assert_eq!(deeds.all[0].text, "value 1: timed out");
    }
}
