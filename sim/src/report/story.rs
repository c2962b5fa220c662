//! The shortest history that lets one understand what was found: what became of the partition concerned, who died meanwhile, and the operations that show it.

use super::finding::{self, Finding, Witness};
use super::messages::End;
use super::recording::{Band, Part, Point, Recording, State, Track};
use super::thin;
use klamm_core::controller::image::Partition as Decided;
use klamm_core::id::BrokerId;
use klamm_jepsen::history::Stage;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// So many lines lead to what was found, beside those that show it.
const BEFORE_MAX: usize = 40;
/// So many acknowledgements are told where nothing says which of them matter.
const ACKNOWLEDGED_SHOWN: usize = 4;

/// So many lines behind an acknowledgement of what is lost.
const BEHIND_LOSS: usize = 8;

/// One line of it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: u64,
    pub(super) node: Option<u32>,
    /// Of what it speaks.
    pub(super) kind: &'static str,
    pub(super) text: String,
    /// It stays, however many others there are.
    stays: bool,
}

impl Line {
    fn new(at: u64, node: Option<u32>, kind: &'static str, text: impl Into<String>) -> Self {
        Self { at, node, kind, text: text.into(), stays: false }
    }

    fn staying(self) -> Self {
        Self { stays: true, ..self }
    }
}

/// All lines, in order of time.
pub(super) fn story(recording: &Recording, finding: &Finding, witness: Option<&Witness>) -> Vec<Line> {
    let track = finding.partition.map(|number| &recording.tracks[number]);
    let mut lines = Vec::new();
    if let Some(track) = track {
        lines.extend(decisions(track));
        track.replicas.iter().for_each(|(node, points)| lines.extend(turns_of_replica(*node, points)));
        let name = track.name.split(' ').next().unwrap_or_default();
        let notes = recording.notes.iter().filter(|note| finding::names(&note.text, name));
        lines.extend(notes.map(|note| Line::new(note.at, Some(note.node), "note", note.text.clone())));
    }
    let nodes: BTreeSet<u32> = track.map(|track| track.replicas.keys().copied().collect()).unwrap_or_default();
    let concerns = |node: u32| nodes.is_empty() || nodes.contains(&node);
    let turns = recording.turns.iter().filter(|turn| concerns(turn.node));
    lines.extend(turns.map(|turn| Line::new(turn.at, Some(turn.node), "node", if turn.state == State::Up { "is up" } else { &turn.why })));
    // That a node is paused the fault says, too.
    let bands = recording.bands.iter().filter(|band| concerns(band.node) && band.name != "paused");
    lines.extend(bands.map(|band| Line::new(band.from, Some(band.node), "fault", struck(band))));
    lines.extend(witness.into_iter().flat_map(told_by_clients));
    let is_shown = witness.is_some_and(|witness| !witness.ops.is_empty());
    if let Some(number) = finding.partition.filter(|_| !is_shown) {
        lines.extend(acknowledged(recording, number, finding.at));
    }
    lines.retain(|line| line.at <= finding.at);
    lines.sort_by_key(|line| line.at);
    keep_behind_loss(&mut lines);
    let others = lines.iter().filter(|line| !line.stays).count();
    let mut to_skip = others.saturating_sub(BEFORE_MAX);
    lines.retain(|line| {
        let skips = to_skip > 0 && !line.stays;
        to_skip -= usize::from(skips);
        !skips
    });
    lines.extend(track.into_iter().flat_map(|track| stands(track, finding.at)));
    lines.push(Line::new(finding.at, finding.node, "found", finding.what.clone()).staying());
    lines
}

/// What follows an acknowledgement of what is lost now tells how it was lost.
fn keep_behind_loss(lines: &mut [Line]) {
    let Some(lost) = lines.iter().rposition(|line| line.kind == "loss" && line.stays) else { return };
    let matters = |line: &&mut Line| !line.stays && line.kind != "fault" && line.kind != "note";
    lines[lost..].iter_mut().filter(matters).take(BEHIND_LOSS).for_each(|line| line.stays = true);
}

fn struck(band: &Band) -> String {
    match band.other {
        Some(other) => format!("{} with node {other} for {:.3} s: {}", band.name, (band.until - band.from) as f64 / 1e9, band.text),
        None => band.text.clone(),
    }
}

/// What the controllers decided of the partition, as changes.
fn decisions(track: &Track) -> Vec<Line> {
    let before = std::iter::once(None).chain(track.decided.iter().map(|(_, decided)| Some(decided)));
    let with_last = track.decided.iter().zip(before);
    with_last.map(|((at, decided), before)| Line::new(*at, None, "decided", change(before, decided))).collect()
}

fn ids<'a>(all: impl IntoIterator<Item = &'a BrokerId>) -> String {
    let all: Vec<String> = all.into_iter().map(ToString::to_string).collect();
    if all.is_empty() { "nobody".to_owned() } else { all.join(",") }
}

fn change(before: Option<&Decided>, now: &Decided) -> String {
    let mut text = format!("the controller decides (partition epoch {}):", now.partition_epoch);
    let differs = |of: fn(&Decided) -> &Vec<BrokerId>| before.is_none_or(|before| of(before) != of(now));
    if before.is_none_or(|before| (before.leader, before.leader_epoch) != (now.leader, now.leader_epoch)) {
        let leader = now.leader.map_or("nobody leads".to_owned(), |leader| format!("node {leader} leads"));
        let _ = write!(text, " {leader} in epoch {}{};", now.leader_epoch, if now.is_recovering { ", elected uncleanly" } else { "" });
    }
    if differs(|decided| &decided.isr) {
        let _ = write!(text, " ISR {};", ids(&now.isr));
    }
    if before.map_or(!now.elr.is_empty(), |before| before.elr != now.elr) {
        let _ = write!(text, " ELR {};", ids(&now.elr));
    }
    if differs(|decided| &decided.replicas) {
        let _ = write!(text, " replicas {};", ids(&now.replicas));
    }
    if before.is_some_and(|before| before.directories != now.directories) {
        text.push_str(" other directories;");
    }
    text.trim_end_matches([';', ':']).to_owned()
}

/// Where a replica changes its role, its node dies, or its log or its high watermark falls back.
fn turns_of_replica(node: u32, points: &[Point]) -> Vec<Line> {
    let mut lines = Vec::new();
    // What it was last while its log was open.
    let mut last: Option<Point> = None;
    for pair in points.windows(2) {
        let [before, now] = [pair[0], pair[1]];
        if is_open(&before) {
            last = Some(before);
        }
        if thin::is_turn(&before, &now) {
            lines.extend(turn(last.as_ref(), &before, &now).map(|(kind, text)| Line::new(now.at, Some(node), kind, text)));
        }
    }
    lines
}

fn is_open(point: &Point) -> bool {
    matches!(point.part, Part::Follows | Part::Leads)
}

fn bounds(point: &Point) -> String {
    format!("log {}..{}, high watermark {}", point.start, point.end, point.high)
}

fn does(point: &Point) -> String {
    match point.part {
        Part::Absent | Part::Closed => "its log is not open".to_owned(),
        Part::Leads => format!("leads in epoch {}", point.epoch),
        Part::Follows if point.leader < 0 => format!("follows nobody in epoch {}", point.epoch),
        Part::Follows => format!("follows node {} in epoch {}", point.leader, point.epoch),
    }
}

/// One turn in words, if it says anything; `last` is what the replica was when its log was last open.
fn turn(last: Option<&Point>, before: &Point, now: &Point) -> Option<(&'static str, String)> {
    let is_same = (before.part, before.epoch, before.leader) == (now.part, now.epoch, now.leader);
    match now.part {
        Part::Absent if is_open(before) => Some(("replica", format!("leaves off: it {}, {}", does(before), bounds(before)))),
        Part::Absent | Part::Closed => None,
        Part::Follows | Part::Leads => {
            let text = match last.filter(|last| now.end < last.end) {
                Some(last) => format!("its log ends at {}, and ended at {} before", now.end, last.end),
                None if now.high < before.high && is_same => format!("its high watermark falls from {} to {}", before.high, now.high),
                None if is_same => return None,
                None => return Some(("replica", format!("{}: {}", does(now), bounds(now)))),
            };
            Some(("loss", format!("{text}: {}, {}", does(now), bounds(now))))
        }
    }
}

/// Where all replicas stand then.
fn stands(track: &Track, at: u64) -> Vec<Line> {
    let of = |(node, points): (&u32, &Vec<Point>)| {
        let point = points[..points.partition_point(|point| point.at <= at)].last()?;
        let text = match point.part {
            Part::Absent => "is down".to_owned(),
            Part::Closed => does(point),
            Part::Follows | Part::Leads => format!("{}: {}, durable up to {}", does(point), bounds(point), point.durable),
        };
        Some(Line::new(at, Some(*node), "stands", text))
    };
    track.replicas.iter().filter_map(of).map(Line::staying).collect()
}

/// The operations that show it.
fn told_by_clients(witness: &Witness) -> Vec<Line> {
    let lines = witness.ops.iter().map(|op| {
        let stage = match op.stage {
            Stage::Invoke => "begins",
            Stage::Ok => "ends well",
            Stage::Fail => "fails",
            Stage::Info => "ends, and nobody knows how",
        };
        let mops: Vec<String> = op.action.mops().iter().map(|mop| shown(mop, witness)).collect();
        let why = op.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        let text = format!("operation {} of {}: {} {}{stage}{why}", op.index, op.process, op.action.name(), mops.concat());
        Line::new(op.time, None, "client", text).staying()
    });
    lines.collect()
}

/// Of a poll only the records concerned.
fn shown(mop: &klamm_jepsen::history::Mop, witness: &Witness) -> String {
    use klamm_jepsen::history::Mop;
    match mop {
        Mop::Send { key, offset, value } => {
            let at = offset.map(|offset| format!(" at offset {}", offset.0)).unwrap_or_default();
            format!("value {} of key {}{at} ", value.0, key.0)
        }
        Mop::Poll(None) => String::new(),
        Mop::Poll(Some(polled)) => {
            let mut text = String::new();
            for (key, records) in polled.iter().filter(|(key, _)| witness.key.is_none_or(|meant| meant == **key)) {
                let is_meant = |record: &&klamm_jepsen::history::Record| {
                    witness.values.contains(&record.value) || record.offset.is_some_and(|offset| witness.offsets.contains(&offset))
                };
                let meant: Vec<String> = records.iter().filter(is_meant).take(8).map(record_words).collect();
                let ends = [records.first(), records.last()].map(|record| record.map(record_words).unwrap_or_default());
                let _ = write!(text, "of key {}: {} records, {} to {}", key.0, records.len(), ends[0], ends[1]);
                let _ = write!(text, "{}; ", if meant.is_empty() { String::new() } else { format!(", among them {}", meant.join(", ")) });
            }
            text
        }
    }
}

fn record_words(record: &klamm_jepsen::history::Record) -> String {
    format!("value {}{}", record.value.0, record.offset.map(|offset| format!(" at {}", offset.0)).unwrap_or_default())
}

/// The last acknowledgements of the partition, and the last ones of what its leader does not hold any more.
fn acknowledged(recording: &Recording, number: usize, until: u64) -> Vec<Line> {
    let track = &recording.tracks[number];
    let end = track.replicas.values().filter_map(|points| points[..points.partition_point(|point| point.at <= until)].last());
    let end = end.map(|point| point.end).max().unwrap_or(0);
    let mut all: Vec<(i64, Line)> = Vec::new();
    for message in recording.messages.kept.iter().filter(|message| message.is_answer && message.api == "Produce" && message.sent <= until) {
        let part = message.parts.iter().find(|(part, _)| usize::from(*part) == number);
        let (Some((_, text)), End::Node(node)) = (part, message.from) else { continue };
        let Some(offset) = text.strip_prefix("at ").and_then(|offset| offset.parse::<i64>().ok()).filter(|offset| *offset >= 0) else {
            continue;
        };
        let is_lost = if offset >= end { ", and no replica that runs holds it now" } else { "" };
        let text = format!("acknowledges to client {} what it wrote at offset {offset}{is_lost}", number_of(message.to));
        all.push((offset, Line::new(message.sent, Some(node), if offset >= end { "loss" } else { "client" }, text).staying()));
    }
    let last = |all: Vec<Line>| all[all.len().saturating_sub(ACKNOWLEDGED_SHOWN)..].to_vec();
    let (lost, held): (Vec<_>, Vec<_>) = all.into_iter().partition(|(offset, _)| *offset >= end);
    let [lost, held] = [lost, held].map(|all| last(all.into_iter().map(|(_, line)| line).collect()));
    lost.into_iter().chain(held).collect()
}

fn number_of(end: End) -> u32 {
    match end {
        End::Node(number) | End::Client(number) => number,
    }
}
