//! Strongly connected components of a graph in compact form, in linear time and without recursion (Tarjan). Knows nothing of
//! what nodes and edges mean.

use std::collections::{BTreeMap, VecDeque};

/// A directed graph whose edges carry a set of bits.
pub(super) struct Graph {
    /// The edges out of node n are `first[n]..first[n + 1]`.
    first: Vec<u32>,
    edges: Vec<(u32, u8)>,
}

impl Graph {
    pub(super) fn new(nodes: usize, list: &[(u32, u32, u8)]) -> Self {
        let mut first = vec![0_u32; nodes + 1];
        for (from, _, _) in list {
            first[*from as usize + 1] += 1;
        }
        for node in 0..nodes {
            first[node + 1] += first[node];
        }
        let mut next = first.clone();
        let mut edges = vec![(0, 0); list.len()];
        for (from, to, bits) in list {
            edges[next[*from as usize] as usize] = (*to, *bits);
            next[*from as usize] += 1;
        }
        Self { first, edges }
    }

    pub(super) fn nodes(&self) -> u32 {
        u32::try_from(self.first.len() - 1).expect("nodes are counted in 32 bits")
    }

    pub(super) fn out(&self, node: u32) -> &[(u32, u8)] {
        &self.edges[self.first[node as usize] as usize..self.first[node as usize + 1] as usize]
    }

    /// The components of more than one node, over the edges that share a bit with `mask`.
    pub(super) fn components(&self, mask: u8) -> Vec<Vec<u32>> {
        let nodes = self.nodes();
        let mut tarjan = Tarjan {
            graph: self,
            mask,
            state: vec![UNSEEN; nodes as usize],
            stack: Vec::new(),
            calls: Vec::new(),
            next: 1,
            found: Vec::new(),
        };
        for root in 0..nodes {
            tarjan.visit(root);
        }
        tarjan.found
    }

    /// The graph among `members` alone: its node i is `members[i]` here. `numbers` is scratch space, one entry for each node of
    /// this graph, all [`NOWHERE`] before and after.
    pub(super) fn select(&self, members: &[u32], numbers: &mut [u32]) -> Self {
        for (number, member) in (0..).zip(members) {
            numbers[*member as usize] = number;
        }
        let mut edges = Vec::new();
        for (number, member) in (0..).zip(members) {
            let inside = self.out(*member).iter().map(|(to, bits)| (number, numbers[*to as usize], *bits));
            edges.extend(inside.filter(|(_, to, _)| *to != NOWHERE));
        }
        for member in members {
            numbers[*member as usize] = NOWHERE;
        }
        Self::new(members.len(), &edges)
    }

    /// A shortest cycle through `start`: its nodes, and the bits of the edge out of each.
    pub(super) fn cycle(&self, start: u32, mask: u8) -> Option<Vec<(u32, u8)>> {
        let mut came = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for (to, bits) in self.out(node).iter().filter(|(_, bits)| bits & mask != 0) {
                if *to == start {
                    return Some(walk_back(&came, start, node, *bits));
                }
                came.entry(*to).or_insert_with(|| {
                    queue.push_back(*to);
                    (node, *bits)
                });
            }
        }
        None
    }
}

/// In the scratch space of [`Graph::select`]: not a member.
pub(super) const NOWHERE: u32 = u32::MAX;

fn walk_back(came: &BTreeMap<u32, (u32, u8)>, start: u32, last: u32, closing: u8) -> Vec<(u32, u8)> {
    let mut path = vec![(last, closing)];
    let mut node = last;
    while node != start {
        let (before, bits) = came[&node];
        path.push((before, bits));
        node = before;
    }
    path.reverse();
    path
}

const UNSEEN: u32 = 0;
/// The node's component is complete.
const CLOSED: u32 = u32::MAX;

struct Tarjan<'g> {
    graph: &'g Graph,
    mask: u8,
    /// Unseen, closed, or the lowest number known to be reachable.
    state: Vec<u32>,
    stack: Vec<u32>,
    /// The explicit call stack: node, its own number, the next edge to look at.
    calls: Vec<(u32, u32, u32)>,
    next: u32,
    found: Vec<Vec<u32>>,
}

impl Tarjan<'_> {
    fn visit(&mut self, root: u32) {
        if self.state[root as usize] != UNSEEN {
            return;
        }
        self.enter(root);
        while let Some((node, number, edge)) = self.calls.pop() {
            match self.graph.out(node).get(edge as usize) {
                Some((to, bits)) => {
                    self.calls.push((node, number, edge + 1));
                    if bits & self.mask != 0 {
                        self.follow(node, *to);
                    }
                }
                None => self.leave(node, number),
            }
        }
    }

    fn enter(&mut self, node: u32) {
        self.state[node as usize] = self.next;
        self.calls.push((node, self.next, 0));
        self.stack.push(node);
        self.next += 1;
    }

    fn follow(&mut self, node: u32, to: u32) {
        match self.state[to as usize] {
            UNSEEN => self.enter(to),
            CLOSED => {}
            low => self.lower(node, low),
        }
    }

    fn lower(&mut self, node: u32, low: u32) {
        let state = &mut self.state[node as usize];
        *state = low.min(*state);
    }

    fn leave(&mut self, node: u32, number: u32) {
        let low = self.state[node as usize];
        if let Some((parent, _, _)) = self.calls.last() {
            self.lower(*parent, low);
        }
        if low != number {
            return;
        }
        let from = self.stack.iter().rposition(|n| *n == node).expect("a node stays on the stack until its component is complete");
        let component = self.stack.split_off(from);
        for member in &component {
            self.state[*member as usize] = CLOSED;
        }
        if component.len() > 1 {
            self.found.push(component);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_and_cycles_of_a_small_graph() {
        // 0 → 1 → 2 → 0 by bit 1, but 2 → 0 only by bit 2; 3 → 4 → 3 by bit 1; 5 alone with an edge into 3.
        let graph = Graph::new(6, &[(0, 1, 1), (1, 2, 1), (2, 0, 2), (3, 4, 1), (4, 3, 1), (5, 3, 1)]);
        let sorted = |mut components: Vec<Vec<u32>>| {
            components.iter_mut().for_each(|c| c.sort_unstable());
            components.sort();
            components
        };
        assert_eq!(sorted(graph.components(3)), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(sorted(graph.components(1)), [vec![3, 4]]);
        assert_eq!(graph.cycle(1, 3), Some(vec![(1, 1), (2, 2), (0, 1)]));
        assert_eq!(graph.cycle(1, 1), None);
    }

    #[test]
    fn a_selection_keeps_the_edges_among_its_members() {
        let graph = Graph::new(5, &[(0, 1, 1), (1, 2, 1), (2, 0, 1), (4, 2, 1), (2, 4, 2)]);
        let mut numbers = vec![NOWHERE; 5];
        let part = graph.select(&[4, 2], &mut numbers);
        assert_eq!(part.cycle(0, 3), Some(vec![(0, 1), (1, 2)]));
        assert_eq!(numbers, [NOWHERE; 5]);
        assert_eq!(part.nodes(), 2);
    }

    #[test]
    fn a_long_path_needs_no_deep_stack() {
        let n = 200_000;
        let mut edges: Vec<(u32, u32, u8)> = (0..n - 1).map(|i| (i, i + 1, 1)).collect();
        edges.push((n - 1, 0, 1));
        let components = Graph::new(n as usize, &edges).components(1);
        assert_eq!(components.len(), 1);
        assert_eq!(components[0].len(), n as usize);
    }
}
