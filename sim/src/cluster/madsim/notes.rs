//! What the nodes log, kept for the report.

use klamm::clock::Clock;
use klamm_core::broker::io::Level;
use madsim::plugin;
use madsim::task::NodeId;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, OnceLock};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// One line: when, who, how bad, what.
type Line = (u64, u32, Level, String);

/// Takes the lines of a run; clones take them together.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    clock: OnceLock<Clock>,
    nodes: Mutex<BTreeMap<NodeId, u32>>,
    lines: Mutex<Vec<Line>>,
}

impl Notes {
    /// The time by which lines are dated; nothing is logged before.
    pub(super) fn begin(&self, clock: Clock) {
        self.0.clock.set(clock).expect("a run begins once");
    }

    /// Lines of this machine are a node's.
    pub(super) fn know(&self, machine: NodeId, node: u32) {
        self.0.nodes.lock().expect("nothing panics holding it").insert(machine, node);
    }

    /// The lines so far.
    pub(super) fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.0.lines.lock().expect("nothing panics holding it"))
    }
}

impl Subscriber for Notes {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.is_event() && about.target().starts_with("klamm") && *about.level() <= tracing::Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let Some(clock) = self.0.clock.get() else { return };
        // Clients have nothing to say to an operator.
        let Some(node) = self.0.nodes.lock().expect("nothing panics holding it").get(&plugin::node()).copied() else { return };
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            _ => Level::Info,
        };
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lines.lock().expect("nothing panics holding it").push((clock.now().at.0, node, level, text.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message, and behind it the fields with their names.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let separator = if self.0.is_empty() { "" } else { " " };
        let written = if field.name() == "message" {
            write!(self.0, "{separator}{value:?}")
        } else {
            write!(self.0, "{separator}{}={value:?}", field.name())
        };
        written.expect("writing to memory does not fail");
    }
}
