//! What a report holds: thinned to what a page can carry, with words for what was left out. Times are nanoseconds of the run.

use super::deeds::{Deed, Deeds};
use super::finding::{Finding, Witness, track_of_key};
use super::messages::{End, Message};
use super::recording::{Band, Part, Point, Recording, State, Track};
use super::story::{Line, story};
use super::thin;
use klamm_core::broker::io::Level;
use klamm_core::id::BrokerId;
use klamm_jepsen::history::{History, Key, Mop, Stage};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// So many points of each replica of the partition concerned, and of any other one.
const POINTS_MAX: (usize, usize) = (3_000, 400);
/// So many operations of clients.
const DEEDS_MAX: usize = 20_000;
/// So many messages.
const MESSAGES_MAX: usize = 25_000;
/// So many notes.
const NOTES_MAX: usize = 10_000;
/// Around what was found everything is dense for so long before it, in ns.
const NEAR: u64 = 2_000_000_000;

/// What is told of a run beside what was recorded.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The seed.
    pub seed: u64,
    /// On which tier.
    pub tier: &'static str,
    /// How many nodes there are.
    pub nodes: u32,
    /// The command that runs it again.
    pub replay: String,
    /// Of which commit.
    pub commit: String,
    /// Everything that was decided before.
    pub plan: String,
    /// What was found; the first is explained.
    pub violations: Vec<String>,
    /// What shows the first violation, where the history does.
    pub witness: Option<Witness>,
    /// The trace hash, and how many events it holds.
    pub trace: (u64, u64),
    /// Virtual nanoseconds.
    pub virtual_ns: u64,
    /// By fault: how often it was planned, and how often it bit.
    pub faults: BTreeMap<&'static str, (u64, u64)>,
    /// What clients did, where it was not recorded.
    pub history: History,
    /// What nodes said, where it was not recorded.
    pub notes: Vec<(u64, u32, Level, String)>,
    /// Messages around then are shown too.
    pub look_at: Option<u64>,
}

/// When, which node (−1: none), of what kind, what.
type StoryLine = (u64, i64, &'static str, String);
/// When, role, leader epoch, whom it follows, log start, log end, durable end, high watermark.
type PointLine = (u64, u8, i32, i32, i64, i64, i64, i64);
/// When, leader (−1: nobody), leader epoch, ISR, ELR, replicas.
type DecidedLine = (u64, i32, i32, Vec<i32>, Vec<i32>, Vec<i32>);
/// When, whose view it is, ISR, what it asks for.
type InSyncLine = (u64, u32, Vec<i32>, Option<Vec<i32>>);
/// Lane, process, from, until (−1: never), what, stage, key and first and last offset and count of each partition, more words.
type DeedLine = (usize, u32, u64, i64, String, &'static str, Vec<(u32, i64, i64, usize)>, String);
/// Sent, taken in (−1: never), from and to (negative: a client), number of its API, whether it answers, partitions and what it says of them, more words.
type MessageLine = (u64, i64, i64, i64, usize, u8, Vec<(u16, String)>, String);

/// A report.
#[derive(Debug, Serialize)]
pub struct Sheet {
    pub(super) seed: u64,
    pub(super) tier: &'static str,
    pub(super) replay: String,
    pub(super) commit: String,
    pub(super) plan: String,
    pub(super) trace: String,
    pub(super) events: u64,
    pub(super) virtual_ns: u64,
    pub(super) faults: BTreeMap<&'static str, (u64, u64)>,
    pub(super) violations: Vec<String>,
    pub(super) found: Option<FoundSheet>,
    pub(super) story: Vec<StoryLine>,
    pub(super) nodes: Vec<u32>,
    /// When, which node, what it does, why.
    pub(super) turns: Vec<(u64, u32, &'static str, String)>,
    pub(super) bands: Vec<BandSheet>,
    /// When, who, how bad, what.
    pub(super) notes: Vec<(u64, u32, &'static str, String)>,
    pub(super) partitions: Vec<PartitionSheet>,
    /// By key of the history, the number of its partition.
    pub(super) keys: BTreeMap<u32, usize>,
    /// Names of the clients' lanes.
    pub(super) lanes: Vec<String>,
    pub(super) deeds: Vec<DeedLine>,
    pub(super) apis: Vec<&'static str>,
    pub(super) messages: Vec<MessageLine>,
    /// What is not shown, in words.
    pub(super) left_out: Vec<String>,
}

/// The first violation.
#[derive(Debug, Serialize)]
pub(super) struct FoundSheet {
    pub(super) at: u64,
    pub(super) what: String,
    pub(super) partition: Option<usize>,
    pub(super) node: Option<u32>,
    /// The offsets that show it.
    pub(super) offsets: Vec<i64>,
}

/// A fault, or what it does.
#[derive(Debug, Serialize)]
pub(super) struct BandSheet {
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) node: u32,
    pub(super) other: Option<u32>,
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// A partition.
#[derive(Debug, Serialize)]
pub(super) struct PartitionSheet {
    pub(super) name: String,
    pub(super) replicas: BTreeMap<u32, Vec<PointLine>>,
    pub(super) decided: Vec<DecidedLine>,
    pub(super) in_sync: Vec<InSyncLine>,
}

impl Sheet {
    pub(super) fn of(recording: Recording, told: Told) -> Self {
        let mut left_out = Vec::new();
        let found = Finding::of(&recording, &told);
        let histories = if recording.histories.is_empty() { vec![told.history.clone()] } else { recording.histories.clone() };
        let deeds = Deeds::of(&histories, &recording.members);
        let story = found.as_ref().map(|found| story(&recording, found, told.witness.as_ref())).unwrap_or_default();
        let focus = found.as_ref().map_or(told.virtual_ns, |found| found.at);
        let (from, partition) = (focus.saturating_sub(NEAR), found.as_ref().and_then(|found| found.partition));
        let mut points_left_out = 0;
        let partitions = recording.tracks.iter().enumerate().map(|(number, track)| {
            let max = if Some(number) == partition { POINTS_MAX.0 } else { POINTS_MAX.1 };
            let (sheet, without) = partition_sheet(track, max, (from, focus));
            points_left_out += without;
            sheet
        });
        let partitions = partitions.collect();
        say(&mut left_out, points_left_out, "points of curves between which they only go on");
        say(&mut left_out, recording.tracks_left_out.len(), "topics, since they were too many");
        let keys = histories.iter().flat_map(History::ops).flat_map(|op| op.action.mops().to_vec());
        let keys = keys.filter_map(|mop| if let Mop::Send { key, .. } = mop { Some(key) } else { None }).collect::<BTreeSet<Key>>();
        let keys = keys.into_iter().filter_map(|key| Some((key.0, track_of_key(&recording, key)?))).collect();
        let (all_deeds, without) = deed_lines(&deeds.all, focus);
        say(&mut left_out, without, "operations of clients: polls that brought nothing, and those furthest from the violation");
        let moments: Vec<u64> = [Some(focus), told.look_at].into_iter().flatten().collect();
        let (apis, messages, without) = message_lines(&recording.messages.kept, &moments);
        let forgotten = recording.messages.forgotten as usize;
        say(
            &mut left_out,
            without + forgotten,
            "messages: the commonest ones furthest from the violation; `--look-at SECONDS` shows those of another moment",
        );
        let mut notes: Vec<_> = if recording.notes.is_empty() {
            told.notes.iter().map(|(at, node, level, text)| (*at, *node, level_name(*level), text.clone())).collect()
        } else {
            recording.notes.iter().map(|note| (note.at, note.node, level_name(note.level), note.text.clone())).collect()
        };
        let without = notes.len().saturating_sub(NOTES_MAX);
        notes.drain(..without);
        say(&mut left_out, without, "of the oldest notes");
        Self {
            seed: told.seed,
            tier: told.tier,
            replay: told.replay,
            commit: told.commit,
            plan: told.plan,
            trace: format!("{:016x}", told.trace.0),
            events: told.trace.1,
            virtual_ns: told.virtual_ns.max(recording.now),
            faults: told.faults,
            found: found.map(|found| FoundSheet {
                at: found.at,
                what: found.what,
                partition: found.partition,
                node: found.node,
                offsets: told.witness.iter().flat_map(|witness| witness.offsets.iter().map(|offset| offset.0)).collect(),
            }),
            violations: told.violations,
            story: story.into_iter().map(|Line { at, node, kind, text, .. }| (at, node.map_or(-1, i64::from), kind, text)).collect(),
            nodes: (1..=told.nodes).collect(),
            turns: recording.turns.into_iter().map(|turn| (turn.at, turn.node, state_name(turn.state), turn.why)).collect(),
            bands: recording
                .bands
                .into_iter()
                .map(|Band { from, until, node, other, name, text }| BandSheet { from, until, node, other, name, text })
                .collect(),
            notes,
            partitions,
            keys,
            lanes: deeds.lanes,
            deeds: all_deeds,
            apis,
            messages,
            left_out,
        }
    }
}

fn say(left_out: &mut Vec<String>, count: usize, what: &str) {
    if count > 0 {
        left_out.push(format!("{count} {what}"));
    }
}

pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Down => "down",
        State::Recovering => "recovering",
        State::Up => "up",
        State::Closing => "closing",
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn partition_sheet(track: &Track, max: usize, near: (u64, u64)) -> (PartitionSheet, usize) {
    let numbers = |ids: &mut dyn Iterator<Item = &BrokerId>| ids.map(|id| id.0).collect::<Vec<i32>>();
    let mut without = 0;
    let replicas = track.replicas.iter().map(|(node, points)| {
        let kept = thin::thinned(points, max, near);
        without += points.len() - kept.len();
        (*node, kept.iter().map(point_line).collect())
    });
    let replicas = replicas.collect();
    let decided = track.decided.iter().map(|(at, decided)| {
        let leader = decided.leader.map_or(-1, |leader| leader.0);
        let [isr, elr, all] = [&decided.isr, &decided.elr, &decided.replicas].map(|ids| numbers(&mut ids.iter()));
        (*at, leader, decided.leader_epoch.0, isr, elr, all)
    });
    let in_sync = track.in_sync.iter().map(|known| {
        let proposed = known.proposed.as_ref().map(|proposed| numbers(&mut proposed.iter()));
        (known.at, known.node, numbers(&mut known.confirmed.iter()), proposed)
    });
    (PartitionSheet { name: track.name.clone(), replicas, decided: decided.collect(), in_sync: in_sync.collect() }, without)
}

fn point_line(point: &Point) -> PointLine {
    let part = match point.part {
        Part::Absent => 0,
        Part::Closed => 1,
        Part::Follows => 2,
        Part::Leads => 3,
    };
    (point.at, part, point.epoch, point.leader, point.start, point.end, point.durable, point.high)
}

fn deed_lines(deeds: &[Deed], focus: u64) -> (Vec<DeedLine>, usize) {
    let mut kept: Vec<&Deed> = deeds.iter().filter(|deed| !deed.is_empty()).collect();
    if kept.len() > DEEDS_MAX {
        kept.sort_by_key(|deed| (deed.stage == Some(Stage::Ok), deed.from.abs_diff(focus)));
        kept.truncate(DEEDS_MAX);
        kept.sort_by_key(|deed| deed.from);
    }
    let line = |deed: &&Deed| -> DeedLine {
        let touched = deed.touched.iter().map(|touched| (touched.key, touched.first, touched.last, touched.count)).collect();
        let until = deed.until.map_or(-1, |until| until as i64);
        let stage = deed.stage.map_or("open", Stage::name);
        (deed.lane, deed.process, deed.from, until, deed.what.clone(), stage, touched, deed.text.clone())
    };
    (kept.iter().map(line).collect(), deeds.len() - kept.len())
}

/// Rare ones all over the run; of the common ones those nearest to one of the moments, and those between nodes first.
fn message_lines(messages: &VecDeque<Message>, moments: &[u64]) -> (Vec<&'static str>, Vec<MessageLine>, usize) {
    let mut kept: Vec<&Message> = messages.iter().collect();
    if kept.len() > MESSAGES_MAX {
        let distance = |message: &Message| moments.iter().map(|moment| message.sent.abs_diff(*moment)).min().unwrap_or(message.sent);
        let is_common = |message: &Message| ["Fetch", "Produce", "BrokerHeartbeat", "Metadata", "Heartbeat"].contains(&message.api);
        let is_of_client = |message: &Message| matches!((message.from, message.to), (End::Client(_), _) | (_, End::Client(_)));
        kept.sort_by_key(|message| {
            let is_rare = !is_common(message) && !is_of_client(message);
            (if is_rare { 0 } else { distance(message) << u32::from(is_of_client(message)) }, message.sent)
        });
        kept.truncate(MESSAGES_MAX);
        kept.sort_by_key(|message| message.sent);
    }
    let names: BTreeSet<&'static str> = kept.iter().map(|message| message.api).collect();
    let names: Vec<&'static str> = names.into_iter().collect();
    let end = |end: End| match end {
        End::Node(node) => i64::from(node),
        End::Client(client) => -i64::from(client),
    };
    let line = |message: &&Message| -> MessageLine {
        let api = names.iter().position(|name| *name == message.api).expect("all names are listed");
        let came = message.came.map_or(-1, |came| came as i64);
        let (from, to) = (end(message.from), end(message.to));
        (message.sent, came, from, to, api, u8::from(message.is_answer), message.parts.clone(), message.text.clone())
    };
    let lines = kept.iter().map(line).collect();
    (names, lines, messages.len() - kept.len())
}
