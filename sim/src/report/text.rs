//! The report as text: the same timeline, one line an event.

use super::sheet::Sheet;
use std::fmt::Write as _;

/// The whole report.
#[must_use]
pub fn text(sheet: &Sheet) -> String {
    let mut text = String::new();
    head(sheet, &mut text);
    if !sheet.story.is_empty() {
        text.push_str("\nHow it came about\n");
        for (at, node, kind, what) in &sheet.story {
            line(&mut text, *at, *node, kind, what);
        }
    }
    text.push_str("\nTimeline\n");
    let mut all: Vec<(u64, i64, &str, &str)> = Vec::new();
    all.extend(sheet.turns.iter().map(|(at, node, state, why)| (*at, i64::from(*node), *state, why.as_str())));
    // Of a fault there is a note; here is what only the network knows.
    let between = sheet.bands.iter().filter(|band| band.other.is_some());
    all.extend(between.map(|band| (band.from, i64::from(band.node), band.name, band.text.as_str())));
    all.extend(sheet.notes.iter().map(|(at, node, level, what)| (*at, i64::from(*node), *level, what.as_str())));
    let ends = sheet.deeds.iter().filter(|deed| deed.5 != "ok").map(|deed| (deed.2, -1, deed.5, deed.7.as_str()));
    all.extend(ends);
    all.sort_by_key(|(at, ..)| *at);
    for (at, node, kind, what) in all {
        line(&mut text, at, node, kind, what);
    }
    for what in &sheet.left_out {
        let _ = writeln!(text, "left out: {what}");
    }
    text
}

fn head(sheet: &Sheet, text: &mut String) {
    let verdict = if sheet.violations.is_empty() { "clean" } else { "violation" };
    let _ = writeln!(text, "seed {} tier {} verdict {verdict} trace {} events {}", sheet.seed, sheet.tier, sheet.trace, sheet.events);
    let _ = writeln!(text, "{:.3} virtual seconds on {} nodes", sheet.virtual_ns as f64 / 1e9, sheet.nodes.len());
    let _ = writeln!(text, "replay: {}   (commit {})", sheet.replay, sheet.commit);
    for violation in &sheet.violations {
        let _ = writeln!(text, "violation: {violation}");
    }
    if let Some(name) = sheet.found.as_ref().and_then(|found| found.partition).map(|number| &sheet.partitions[number].name) {
        let _ = writeln!(text, "partition concerned: {name}");
    }
}

fn line(text: &mut String, at: u64, node: i64, kind: &str, what: &str) {
    let node = match node {
        _ if node >= 0 => format!("node {node}"),
        _ if kind == "found" => String::new(),
        _ => "clients".to_owned(),
    };
    let _ = writeln!(text, "{:12.6}s {node:8} {kind:10} {what}", at as f64 / 1e9);
}
