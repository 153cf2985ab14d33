//! Nodes without which a graph falls apart, and into what (articulation points: Hopcroft and Tarjan 1973).

use petgraph::graph::{NodeIndex, UnGraph};
use petgraph::visit::NodeIndexable;

/// A node whose loss leaves the counted nodes in several parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) node: NodeIndex,
    /// Counted nodes of each part that has any, largest first; at least two parts.
    pub(super) parts: Vec<u32>,
}

/// A step of the walk: a node and how many of its neighbours were looked at.
struct Step {
    node: NodeIndex,
    parent: Option<NodeIndex>,
    next: usize,
}

/// What the walk knows of a node.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// When it was reached, from 1; 0: not yet.
    order: u32,
    /// The earliest node that it or what hangs below it leads to.
    low: u32,
    /// Counted nodes below and at it.
    counted: u32,
}

/// The cuts of a graph, by node. Only nodes that `counts` names make up parts.
pub(super) fn cuts<N, E>(graph: &UnGraph<N, E>, counts: impl Fn(NodeIndex) -> bool) -> Vec<Cut> {
    let mut walk = Walk {
        neighbours: neighbours(graph),
        seen: vec![Seen::default(); graph.node_bound()],
        apart: vec![Vec::new(); graph.node_bound()],
        order: 0,
    };
    let mut cuts = Vec::new();
    for root in graph.node_indices() {
        if walk.seen[root.index()].order == 0 {
            let reached = walk.reach(root, &counts);
            let all = walk.seen[root.index()].counted;
            cuts.extend(reached.into_iter().filter_map(|node| walk.cut(node, all, counts(node))));
        }
    }
    cuts.sort_by_key(|cut| cut.node);
    cuts
}

fn neighbours<N, E>(graph: &UnGraph<N, E>) -> Vec<Vec<NodeIndex>> {
    let of = |node: NodeIndex| {
        let mut all: Vec<NodeIndex> = graph.neighbors(node).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    graph.node_indices().map(of).collect()
}

struct Walk {
    neighbours: Vec<Vec<NodeIndex>>,
    seen: Vec<Seen>,
    /// Counted nodes of each part that only hangs on to the rest by this node.
    apart: Vec<Vec<u32>>,
    order: u32,
}

impl Walk {
    /// Walks a component depth first, without recursion: components may be chains of thousands.
    fn reach(&mut self, root: NodeIndex, counts: &impl Fn(NodeIndex) -> bool) -> Vec<NodeIndex> {
        let mut reached = vec![root];
        let mut steps = vec![self.enter(root, None, counts)];
        while let Some(step) = steps.last_mut() {
            let (node, parent) = (step.node, step.parent);
            let Some(other) = self.neighbours[node.index()].get(step.next).copied() else {
                steps.pop();
                self.leave(node, parent);
                continue;
            };
            step.next += 1;
            if self.seen[other.index()].order == 0 {
                reached.push(other);
                steps.push(self.enter(other, Some(node), counts));
            } else if Some(other) != parent {
                let order = self.seen[other.index()].order;
                let seen = &mut self.seen[node.index()];
                seen.low = seen.low.min(order);
            }
        }
        reached
    }

    fn enter(
        &mut self,
        node: NodeIndex,
        parent: Option<NodeIndex>,
        counts: &impl Fn(NodeIndex) -> bool,
    ) -> Step {
        self.order += 1;
        self.seen[node.index()] =
            Seen { order: self.order, low: self.order, counted: u32::from(counts(node)) };
        Step { node, parent, next: 0 }
    }

    fn leave(&mut self, node: NodeIndex, parent: Option<NodeIndex>) {
        let Some(parent) = parent else { return };
        let below = self.seen[node.index()];
        let above = &mut self.seen[parent.index()];
        above.low = above.low.min(below.low);
        above.counted += below.counted;
        if below.low >= above.order {
            self.apart[parent.index()].push(below.counted);
        }
    }

    fn cut(&self, node: NodeIndex, all: u32, is_counted: bool) -> Option<Cut> {
        let mut parts = self.apart[node.index()].clone();
        let rest = all - parts.iter().sum::<u32>() - u32::from(is_counted);
        parts.push(rest);
        parts.retain(|part| *part > 0);
        parts.sort_unstable_by(|a, b| b.cmp(a));
        (parts.len() > 1).then_some(Cut { node, parts })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use petgraph::algo::articulation_points::articulation_points;
    use proptest::prelude::*;

    use super::*;

    /// The parts without a node, by walking what is left.
    fn by_hand(graph: &UnGraph<(), ()>, without: NodeIndex, counts: impl Fn(NodeIndex) -> bool) -> Vec<u32> {
        let mut seen = BTreeSet::from([without]);
        let mut component: BTreeSet<NodeIndex> = BTreeSet::new();
        let mut next = vec![without];
        while let Some(node) = next.pop() {
            component.insert(node);
            next.extend(graph.neighbors(node).filter(|n| !component.contains(n)));
        }
        let mut parts = Vec::new();
        for start in component {
            let mut part = 0;
            let mut next = vec![start];
            while let Some(node) = next.pop() {
                if seen.insert(node) {
                    part += u32::from(counts(node));
                    next.extend(graph.neighbors(node));
                }
            }
            parts.push(part);
        }
        parts.retain(|part| *part > 0);
        parts.sort_unstable_by(|a, b| b.cmp(a));
        parts
    }

    proptest! {
        #[test]
        fn cuts_are_what_removing_each_node_shows(edges in proptest::collection::vec((0..14_u32, 0..14_u32), 0..24)) {
            let mut graph = UnGraph::<(), ()>::new_undirected();
            for _ in 0..14 {
                graph.add_node(());
            }
            for (a, b) in edges.into_iter().filter(|(a, b)| a != b) {
                graph.add_edge(NodeIndex::new(a as usize), NodeIndex::new(b as usize), ());
            }
            for every in [1, 2] {
                let counts = |node: NodeIndex| node.index() % every == 0;
                let expected: Vec<Cut> = graph
                    .node_indices()
                    .map(|node| Cut { node, parts: by_hand(&graph, node, counts) })
                    .filter(|cut| cut.parts.len() > 1)
                    .collect();
                prop_assert_eq!(cuts(&graph, counts), expected);
            }
            let points: BTreeSet<NodeIndex> = articulation_points(&graph).into_iter().collect();
            let ours: BTreeSet<NodeIndex> = cuts(&graph, |_| true).into_iter().map(|cut| cut.node).collect();
            prop_assert_eq!(ours, points);
        }
    }
}
