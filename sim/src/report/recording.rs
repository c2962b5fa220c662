//! What is kept of a run while it goes: plain data, in the order in which it happened.

use super::messages::Messages;
use super::thin;
use crate::check::Oracle;
use crate::workload::Book;
use klamm_core::broker::View;
use klamm_core::broker::io::Level;
use klamm_core::controller::Image;
use klamm_core::controller::image::Partition as Decided;
use klamm_core::id::{BrokerId, Offset, PartitionIndex, Uuid};
use klamm_core::log::Log;
use klamm_core::partition::{Partition, PartitionId, Role};
use klamm_jepsen::history::{History, Process};
use std::collections::{BTreeMap, BTreeSet};

/// So many partitions are kept; topics that come and go make more of them.
const TRACKS_MAX: usize = 200;
/// So many points of one replica are kept; when there are more, every second one goes where nothing special happened.
const POINTS_MAX: usize = 100_000;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Down,
    Recovering,
    Up,
    Closing,
}

/// A node does something else from then on.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) at: u64,
    pub(super) node: u32,
    pub(super) state: State,
    pub(super) why: String,
}

/// A fault, or what it does, for a while.
#[derive(Clone, Debug)]
pub(super) struct Band {
    pub(super) from: u64,
    /// The same where it is a moment.
    pub(super) until: u64,
    pub(super) node: u32,
    /// The other end, of what is between two.
    pub(super) other: Option<u32>,
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// Something to read.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub(super) at: u64,
    pub(super) node: u32,
    pub(super) level: Level,
    pub(super) text: String,
}

/// What a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// Its node does not run.
    #[default]
    Absent,
    /// Its log is being opened, or is offline.
    Closed,
    Follows,
    Leads,
}

/// A replica, from then on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: u64,
    pub(super) part: Part,
    /// The leader epoch, −1 where there is none.
    pub(super) epoch: i32,
    /// Whom it follows, −1 for nobody.
    pub(super) leader: i32,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) durable: i64,
    pub(super) high: i64,
}

/// Who is in sync as its leader has it, from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InSync {
    pub(super) at: u64,
    pub(super) node: u32,
    pub(super) confirmed: BTreeSet<BrokerId>,
    pub(super) proposed: Option<BTreeSet<BrokerId>>,
}

/// A partition's past.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    pub(super) name: String,
    /// By node, in order of time.
    pub(super) replicas: BTreeMap<u32, Vec<Point>>,
    pub(super) in_sync: Vec<InSync>,
    /// What the controllers decided, when any node first knew it.
    pub(super) decided: Vec<(u64, Decided)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// The newest that was kept is of then.
    pub(super) now: u64,
    pub(super) turns: Vec<Turn>,
    pub(super) bands: Vec<Band>,
    pub(super) notes: Vec<Note>,
    pub(super) tracks: Vec<Track>,
    index: BTreeMap<PartitionId, usize>,
    applied: Offset,
    pub(super) messages: Messages,
    /// Of the clients, and of those whose sends may be lost or doubled.
    books: Vec<Book>,
    pub(super) histories: Vec<History>,
    /// What a client was the first to find wrong, and when: it does not end the run.
    pub(super) complaint: Option<(u64, String)>,
    pub(super) members: BTreeSet<Process>,
    /// Partitions that were too many.
    pub(super) tracks_left_out: BTreeSet<Uuid>,
}

impl Recording {
    /// The clients write their history into these.
    pub(crate) fn open_books(&mut self, books: [&Book; 2]) {
        self.books = books.into_iter().cloned().collect();
    }

    /// An event is over, and a client may have found something wrong.
    pub(crate) fn hear(&mut self, at: u64) {
        if self.complaint.is_none() {
            let first = self.books.iter().find_map(|book| book.borrow().violations.first().cloned());
            self.complaint = first.map(|what| (at, what));
        }
    }

    /// The histories are as they are now.
    pub(crate) fn keep_histories(&mut self) {
        let books = std::mem::take(&mut self.books);
        self.histories.extend(books.iter().map(|book| book.borrow().recorder.history().clone()));
        self.members.extend(books.iter().flat_map(|book| book.borrow().group_processes.clone()));
    }

    /// A node does something else.
    pub(crate) fn turn(&mut self, at: u64, node: u32, state: State, why: impl Into<String>) {
        self.now = self.now.max(at);
        self.turns.push(Turn { at, node, state, why: why.into() });
        if matches!(state, State::Down | State::Closing) {
            let known = self.tracks.iter_mut().filter_map(|track| track.replicas.get_mut(&node));
            for points in known.filter(|points| points.last().is_some_and(|last| last.part != Part::Absent)) {
                points.push(Point { at, epoch: -1, leader: -1, ..Point::default() });
            }
        }
    }

    /// Something strikes a node, or what is between it and another one.
    pub(crate) fn band(&mut self, (from, until): (u64, u64), (node, other): (u32, Option<u32>), name: &'static str, text: String) {
        self.now = self.now.max(from);
        self.bands.push(Band { from, until, node, other, name, text });
    }

    /// Somebody says something of a node.
    pub(crate) fn note(&mut self, at: u64, node: u32, level: Level, text: &str) {
        self.now = self.now.max(at);
        self.notes.push(Note { at, node, level, text: text.to_owned() });
    }

    /// An event of a node is over, and the oracle has seen it: what has changed there.
    pub(crate) fn look(&mut self, at: u64, node: u32, view: View<'_>, oracle: &Oracle) {
        self.now = self.now.max(at);
        for partition in view.touched() {
            let Some(track) = self.track(partition.id, || partition.folder()) else { continue };
            let point = point_of(at, view, partition);
            let points = track.replicas.entry(node).or_default();
            if points.last().is_none_or(|last| Point { at, ..*last } != point) {
                if points.len() == POINTS_MAX {
                    thin::halve(points);
                }
                points.push(point);
            }
            let Some(isr) = partition.leader().and_then(|leader| leader.isr()) else { continue };
            let is_known =
                |known: &InSync| known.node == node && known.confirmed == *isr.confirmed() && known.proposed.as_ref() == isr.proposed();
            if !track.in_sync.last().is_some_and(is_known) {
                track.in_sync.push(InSync { at, node, confirmed: isr.confirmed().clone(), proposed: isr.proposed().cloned() });
            }
        }
        if view.applied() > self.applied && view.applied() == oracle.applied() {
            self.applied = view.applied();
            self.decided(at, oracle.image());
        }
    }

    fn decided(&mut self, at: u64, image: &Image) {
        for topic in image.topics() {
            for (index, decided) in &topic.partitions {
                let id = PartitionId { topic: topic.id, index: *index };
                let Some(track) = self.track(id, || format!("{}-{index}", topic.name)) else { continue };
                if track.decided.last().is_none_or(|(_, last)| last != decided) {
                    track.decided.push((at, decided.clone()));
                }
            }
        }
    }

    fn track(&mut self, id: PartitionId, name: impl FnOnce() -> String) -> Option<&mut Track> {
        if let Some(known) = self.index.get(&id) {
            return Some(&mut self.tracks[*known]);
        }
        if self.tracks.len() == TRACKS_MAX {
            self.tracks_left_out.insert(id.topic);
            return None;
        }
        let name = name();
        // A topic that was deleted and made anew is another one.
        let before = self.tracks.iter().filter(|track| track.name.split(' ').next() == Some(&name)).count();
        let name = if before > 0 { format!("{name} (no. {})", before + 1) } else { name };
        self.index.insert(id, self.tracks.len());
        self.tracks.push(Track { name, ..Track::default() });
        self.tracks.last_mut()
    }

    /// The number of a partition that was seen.
    pub(super) fn number_of(&self, topic: Uuid, name: &str, index: PartitionIndex) -> Option<u16> {
        let number = if topic == Uuid::ZERO {
            let folder = format!("{name}-{index}");
            self.tracks.iter().rposition(|track| track.name == folder)
        } else {
            self.index.get(&PartitionId { topic, index }).copied()
        };
        number.and_then(|number| u16::try_from(number).ok())
    }
}

fn point_of(at: u64, view: View<'_>, partition: &Partition) -> Point {
    let (part, epoch, leader) = match &partition.role {
        Role::Opening | Role::Offline { .. } => (Part::Closed, -1, -1),
        Role::Leader(leader) => (Part::Leads, leader.epoch.0, view.id().0),
        Role::Follower(follower) => (Part::Follows, follower.epoch.0, follower.leader.map_or(-1, |leader| leader.0)),
    };
    let log = partition.open_log();
    let of = |offset: fn(&Log) -> Offset| log.map_or(0, |log| offset(log).0);
    let (start, end, durable) = (of(Log::start), of(Log::end), of(Log::durable));
    Point { at, part, epoch, leader, start, end, durable, high: if log.is_some() { partition.high().0 } else { 0 } }
}
