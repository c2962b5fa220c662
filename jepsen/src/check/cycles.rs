//! Cycles among operations, named as Elle names them: G0 by write edges, G1c by read edges too, with process order or real
//! time. Kafka promises nothing about anti-dependencies, so there are no rw edges.

use std::collections::BTreeMap;

use super::index::{Done, Event, Index};
use super::orders::Orders;
use super::report::{Case, Findings};
use super::scc::{Graph, NOWHERE};
use super::{Kind, Options};
use crate::history::Stage;

const WW: u8 = 1;
const WR: u8 = 2;
const PROCESS: u8 = 4;
const REALTIME: u8 = 8;
const ANY: u8 = WW | WR | PROCESS | REALTIME;

pub(super) fn check(index: &Index<'_>, orders: &Orders, options: &Options, findings: &mut Findings) {
    if index.done.is_empty() {
        return;
    }
    let mut edges = Vec::new();
    let nodes = realtime_edges(index, &mut edges);
    if options.process_edges {
        process_edges(index, &mut edges);
    }
    if options.ww_deps {
        ww_edges(index, orders, &mut edges);
    }
    let ordered = edges.len();
    // Real time relates most readers to their writers already. Their edges only matter for the names of cycles.
    wr_edges(index, |writer, reader| !(writer.stage == Stage::Ok && writer.op < reader.invoked), &mut edges);
    let related = edges.iter().any(|(_, to, _)| (*to as usize) < index.done.len());
    if !related {
        findings.add(Kind::EmptyTransactionGraph, || Case {
            what: "no operation follows from, or comes after, another".to_owned(),
            ..Case::default()
        });
        return;
    }
    if Graph::new(nodes, &edges).components(ANY).is_empty() {
        return;
    }
    edges.truncate(ordered);
    wr_edges(index, |_, _| true, &mut edges);
    let graph = Graph::new(nodes, &edges);
    let mut numbers = vec![NOWHERE; nodes];
    for members in graph.components(ANY) {
        let part = Part { index, graph: graph.select(&members, &mut numbers), members };
        part.name(findings);
    }
}

/// Edges from the sender of a value to all who read it, where `keep` says so.
fn wr_edges(index: &Index<'_>, keep: impl Fn(&Done, &Done) -> bool, edges: &mut Vec<(u32, u32, u8)>) {
    for (reader, done) in index.done.iter().enumerate() {
        let mut last = None;
        for read in index.runs_of(done).iter().flat_map(|run| index.reads_of(run)) {
            let writer = index.values[read.value].writer.filter(|writer| *writer != reader && last != Some(*writer));
            last = writer.or(last);
            if let Some(writer) = writer.filter(|writer| keep(&index.done[*writer], done)) {
                edges.push((node(writer), node(reader), WR));
            }
        }
    }
}

fn ww_edges(index: &Index<'_>, orders: &Orders, edges: &mut Vec<(u32, u32, u8)>) {
    for (value, info) in index.values.iter().enumerate() {
        let Some(before) = orders.index_of(value).and_then(|at| at.checked_sub(1)) else { continue };
        let earlier = index.values[orders.chosen(info.key, before)].writer;
        if let (Some(from), Some(to)) = (earlier, info.writer)
            && from != to
        {
            edges.push((node(from), node(to), WW));
        }
    }
}

fn process_edges(index: &Index<'_>, edges: &mut Vec<(u32, u32, u8)>) {
    let mut last = BTreeMap::new();
    for (id, done) in index.done.iter().enumerate().filter(|(_, done)| done.stage == Stage::Ok) {
        if let Some(before) = last.insert(done.process, id) {
            edges.push((node(before), node(id), PROCESS));
        }
    }
}

/// Nodes are the operations, then one *barrier* for each that ended well. A barrier is reached from all that ended well up to
/// it, and leads to all that begin before the next: real-time order in linear size.
fn realtime_edges(index: &Index<'_>, edges: &mut Vec<(u32, u32, u8)>) -> usize {
    let mut nodes = index.done.len();
    let mut barrier: Option<u32> = None;
    for event in &index.events {
        match event {
            Event::Begin(id) => edges.extend(barrier.map(|barrier| (barrier, node(*id), REALTIME))),
            // Nothing is known to come after an operation that failed or may never have happened.
            Event::End(id) if index.done[*id].stage == Stage::Ok => {
                let next = node(nodes);
                nodes += 1;
                edges.push((node(*id), next, REALTIME));
                edges.extend(barrier.map(|barrier| (barrier, next, REALTIME)));
                barrier = Some(next);
            }
            Event::End(_) | Event::Assigned | Event::Other => {}
        }
    }
    nodes
}

/// A part of the graph in which every node reaches every other.
struct Part<'i, 'h> {
    index: &'i Index<'h>,
    graph: Graph,
    /// Which node of the whole graph each of its nodes is.
    members: Vec<u32>,
}

impl Part<'_, '_> {
    /// Reports each anomaly that this part holds and that no worse one implies.
    fn name(&self, findings: &mut Findings) {
        if self.found(Kind::G0, WW, findings) {
            return;
        }
        let circular = self.found(Kind::G1c, WW | WR, findings);
        let ordered =
            self.found(Kind::G0Process, WW | PROCESS, findings) || self.found(Kind::G0Realtime, WW | PROCESS | REALTIME, findings);
        if !circular && !ordered && !self.found(Kind::G1cProcess, WW | WR | PROCESS, findings) {
            self.found(Kind::G1cRealtime, ANY, findings);
        }
    }

    fn found(&self, kind: Kind, mask: u8, findings: &mut Findings) -> bool {
        let components = self.graph.components(mask);
        let Some(smallest) = components.iter().min_by_key(|component| component.len()) else { return false };
        findings.add(kind, || self.evidence(smallest, mask));
        true
    }

    fn evidence(&self, component: &[u32], mask: u8) -> Case {
        let mut numbers = vec![NOWHERE; self.members.len()];
        let graph = self.graph.select(component, &mut numbers);
        let tries = (0..graph.nodes()).take(STARTS_MAX);
        let cycle = tries.filter_map(|start| graph.cycle(start, mask)).min_by_key(Vec::len).expect("a component is a cycle and more");
        let ops = cycle.iter().filter_map(|(node, bits)| {
            let node = self.members[component[*node as usize] as usize];
            Some((self.index.op_index(self.index.done.get(node as usize)?), bits & mask))
        });
        let mut ops: Vec<(u64, u8)> = ops.collect();
        let first = ops.iter().enumerate().min_by_key(|(_, step)| **step).map_or(0, |(at, _)| at);
        ops.rotate_left(first);
        let steps: String = ops.iter().map(|(op, bits)| format!("{op} {} ", edge_name(*bits))).collect();
        Case { what: format!("{steps}{}", ops[0].0), ops: ops.into_iter().map(|(op, _)| op).collect(), ..Case::default() }
    }
}

/// From how many nodes a short cycle is looked for.
const STARTS_MAX: usize = 8;

fn edge_name(bits: u8) -> &'static str {
    match bits {
        WW => "is followed in the log by",
        WR => "is read by",
        PROCESS => "precedes in its process",
        _ => "ends before the beginning of",
    }
}

fn node(id: usize) -> u32 {
    u32::try_from(id).expect("a history has fewer than 2^31 operations")
}
