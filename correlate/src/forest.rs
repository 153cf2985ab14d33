//! The maximum-spanning forest of alerts: the strongest edges that connect what is connected at all.
//!
//! Edges are totally ordered (weight, then a tie-break made of both alerts' ids), so the forest is unique: the
//! same set of edges gives the same forest in any order, and `forest(A + B) = forest(forest(A) + B)`.
//!
//! It is kept as an index in which every vertex points to one of higher (random, content-derived) priority
//! and strengths rise towards the leaves: expected depth is logarithmic, so an edge costs O(log n) even where
//! the forest itself is one long chain. The edges behind the pointers are exactly those of the forest.
//! Every change can be taken back, which is how provisional work is undone.

use serde::{Deserialize, Serialize};

/// No vertex, no edge.
pub(crate) const NONE: u32 = u32::MAX;

/// The place of an edge in the total order: weight first, then a tie-break from content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Strength {
    pub(crate) weight: u32,
    pub(crate) tie: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Vertex {
    parent: u32,
    strength: Strength,
    /// The edge behind the pointer to `parent`.
    edge: u32,
    /// The next vertex of the same component, in a ring.
    next: u32,
    /// Vertices of the component, valid at its root.
    size: u32,
    priority: u64,
}

/// The forest over vertices `0..len`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Forest {
    vertices: Vec<Vertex>,
    /// Vertices as they were before each change since [`Forest::take_log`].
    log: Vec<(u32, Vertex)>,
}

/// What a piece of work changed, for undoing it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Log(Vec<(u32, Vertex)>);

impl Log {
    /// The vertices whose component or edges changed.
    pub(crate) fn touched(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().map(|(vertex, _)| *vertex)
    }
}

impl Forest {
    /// Adds a vertex alone; priorities should be well mixed and differ.
    pub(crate) fn add(&mut self, priority: u64) -> u32 {
        let vertex = self.vertices.len() as u32;
        let strength = Strength::default();
        self.vertices.push(Vertex { parent: NONE, strength, edge: NONE, next: vertex, size: 1, priority });
        vertex
    }

    /// The vertex that stands for the component.
    pub(crate) fn root(&self, mut v: u32) -> u32 {
        while self.vertices[v as usize].parent != NONE {
            v = self.vertices[v as usize].parent;
        }
        v
    }

    /// Vertices in the component.
    pub(crate) fn size(&self, v: u32) -> u32 {
        self.vertices[self.root(v) as usize].size
    }

    /// All vertices of the component.
    pub(crate) fn members(&self, v: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = Some(v);
        std::iter::from_fn(move || {
            let now = at?;
            let next = self.vertices[now as usize].next;
            at = (next != v).then_some(next);
            Some(now)
        })
    }

    /// The forest edges of the component, by their names.
    pub(crate) fn edges(&self, v: u32) -> impl Iterator<Item = u32> + '_ {
        self.members(v).map(|m| self.vertices[m as usize].edge).filter(|edge| *edge != NONE)
    }

    /// The edge behind the pointer of one vertex.
    pub(crate) fn edge_of(&self, v: u32) -> Option<u32> {
        Some(self.vertices[v as usize].edge).filter(|edge| *edge != NONE)
    }

    /// Whether an edge of this strength would change the forest.
    pub(crate) fn would_enter(&self, u: u32, v: u32, strength: Strength) -> bool {
        u != v && self.climb(u, strength) != self.climb(v, strength)
    }

    /// The highest vertex that `v` reaches over edges at least this strong.
    fn climb(&self, mut v: u32, strength: Strength) -> u32 {
        loop {
            let vertex = &self.vertices[v as usize];
            if vertex.parent == NONE || vertex.strength < strength {
                return v;
            }
            v = vertex.parent;
        }
    }

    fn change(&mut self, v: u32) -> &mut Vertex {
        self.log.push((v, self.vertices[v as usize]));
        &mut self.vertices[v as usize]
    }

    /// Inserts an edge; where it closes a circle, the weakest edge of the circle leaves.
    pub(crate) fn insert(&mut self, u: u32, v: u32, strength: Strength, edge: u32) {
        if !self.would_enter(u, v, strength) {
            return;
        }
        let (root_u, root_v) = (self.root(u), self.root(v));
        if root_u != root_v {
            self.join_rings(root_u, root_v);
        }
        self.hang(u, v, strength, edge);
    }

    fn join_rings(&mut self, root_u: u32, root_v: u32) {
        let size = self.vertices[root_u as usize].size + self.vertices[root_v as usize].size;
        let (next_u, next_v) = (self.vertices[root_u as usize].next, self.vertices[root_v as usize].next);
        // Whichever of the two becomes the root of both knows the size.
        for (root, next) in [(root_u, next_v), (root_v, next_u)] {
            let vertex = self.change(root);
            vertex.next = next;
            vertex.size = size;
        }
    }

    /// Makes the pointer for an edge; a weaker pointer it displaces is hung again further up, until one closes
    /// a circle of stronger ones and is dropped.
    fn hang(&mut self, mut u: u32, mut v: u32, mut strength: Strength, mut edge: u32) {
        loop {
            u = self.climb(u, strength);
            v = self.climb(v, strength);
            if u == v {
                return;
            }
            if self.vertices[u as usize].priority > self.vertices[v as usize].priority {
                std::mem::swap(&mut u, &mut v);
            }
            let vertex = self.change(u);
            std::mem::swap(&mut vertex.parent, &mut v);
            std::mem::swap(&mut vertex.strength, &mut strength);
            std::mem::swap(&mut vertex.edge, &mut edge);
            if v == NONE {
                return;
            }
        }
    }

    /// What changed since the last call.
    pub(crate) fn take_log(&mut self) -> Log {
        Log(std::mem::take(&mut self.log))
    }

    /// Takes back logged changes, latest log first, and drops the vertices from `len` on.
    pub(crate) fn undo(&mut self, log: &Log, len: usize) {
        for (v, before) in log.0.iter().rev() {
            self.vertices[*v as usize] = *before;
        }
        self.vertices.truncate(len);
    }

    /// The forest of the kept vertices, renamed by `new_name` (NONE for dropped ones; whole components are
    /// dropped or kept). `edge_name` renames edges.
    pub(crate) fn keep(&self, new_name: &[u32], edge_name: impl Fn(u32) -> u32) -> Forest {
        let name = |v: u32| if v == NONE { NONE } else { new_name[v as usize] };
        let kept = self.vertices.iter().enumerate().filter(|(v, _)| new_name[*v] != NONE);
        let renamed = kept.map(|(_, vertex)| Vertex {
            parent: name(vertex.parent),
            next: name(vertex.next),
            edge: if vertex.edge == NONE { NONE } else { edge_name(vertex.edge) },
            ..*vertex
        });
        Forest { vertices: renamed.collect(), log: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::fixed::mix;

    type Edge = (u32, u32, u32);

    const VERTICES: u32 = 24;

    fn strength(edge: Edge) -> Strength {
        let (low, high) = (edge.0.min(edge.1), edge.0.max(edge.1));
        Strength { weight: edge.2, tie: mix(u64::from(low) << 32 | u64::from(high)) }
    }

    fn forest() -> Forest {
        let mut forest = Forest::default();
        for v in 0..VERTICES {
            forest.add(mix(u64::from(v)));
        }
        forest
    }

    /// Names of the forest's edges are indexes into `all`.
    fn edges_of(forest: &Forest) -> BTreeSet<u32> {
        (0..VERTICES).flat_map(|v| forest.edges(v).collect::<Vec<_>>()).collect()
    }

    fn build(all: &[Edge], order: &[usize]) -> Forest {
        let mut forest = forest();
        order.iter().for_each(|&i| forest.insert(all[i].0, all[i].1, strength(all[i]), i as u32));
        forest
    }

    /// The textbook: strongest first, an edge enters if it connects two components (Kruskal 1956).
    fn kruskal(all: &[Edge]) -> (BTreeSet<u32>, Vec<u32>) {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(strength(all[i])), i));
        let mut group: Vec<u32> = (0..VERTICES).collect();
        let mut edges = BTreeSet::new();
        for i in order {
            let (a, b) = (group[all[i].0 as usize], group[all[i].1 as usize]);
            if a != b {
                edges.insert(i as u32);
                group.iter_mut().filter(|g| **g == b).for_each(|g| *g = a);
            }
        }
        (edges, group)
    }

    fn edges() -> impl Strategy<Value = Vec<Edge>> {
        let edge = (0..VERTICES, 0..VERTICES, 1..6_u32).prop_filter("no loops", |e| e.0 != e.1);
        proptest::collection::vec(edge, 0..80).prop_map(|mut edges| {
            // One weight a pair: the order over edges is total.
            let mut seen = BTreeSet::new();
            edges.retain(|e| seen.insert((e.0.min(e.1), e.0.max(e.1))));
            edges
        })
    }

    proptest! {
        #[test]
        fn any_order_and_duplicates_give_the_forest_of_kruskal(
            (all, order) in edges().prop_flat_map(|all| {
                let twice: Vec<usize> = (0..all.len()).chain(0..all.len()).collect();
                (Just(all), Just(twice).prop_shuffle())
            })
        ) {
            let built = build(&all, &order);
            let (expected, group) = kruskal(&all);
            prop_assert_eq!(edges_of(&built), expected);
            for u in 0..VERTICES {
                prop_assert_eq!(built.members(u).count() as u32, built.size(u));
                for v in 0..VERTICES {
                    prop_assert_eq!(built.root(u) == built.root(v), group[u as usize] == group[v as usize]);
                }
            }
        }

        #[test]
        fn forests_of_parts_make_the_forest_of_the_whole(all in edges(), cut in 0..80_usize) {
            let cut = cut.min(all.len());
            let parts: [Vec<usize>; 2] = [(0..cut).collect(), (cut..all.len()).collect()];
            let survivors: Vec<usize> =
                parts.iter().flat_map(|part| edges_of(&build(&all, part))).map(|i| i as usize).collect();
            let whole: Vec<usize> = (0..all.len()).collect();
            prop_assert_eq!(edges_of(&build(&all, &survivors)), edges_of(&build(&all, &whole)));
        }

        #[test]
        fn undoing_is_not_having_done(all in edges(), cut in 0..80_usize) {
            let cut = cut.min(all.len());
            let mut forest = build(&all, &(0..cut).collect::<Vec<_>>());
            drop(forest.take_log());
            let before = forest.vertices.clone();
            for (i, edge) in all.iter().enumerate().skip(cut) {
                forest.insert(edge.0, edge.1, strength(*edge), i as u32);
            }
            let log = forest.take_log();
            forest.undo(&log, VERTICES as usize);
            prop_assert_eq!(forest.vertices, before);
        }
    }

    #[test]
    fn a_long_chain_is_not_deep() {
        let mut forest = Forest::default();
        for v in 0..100_000_u32 {
            forest.add(mix(u64::from(v)));
            if v > 0 {
                forest.insert(v - 1, v, Strength { weight: 1_000, tie: mix(u64::from(v)) }, v);
            }
        }
        let depth = |mut v: u32| {
            let mut steps = 0;
            while forest.vertices[v as usize].parent != NONE {
                v = forest.vertices[v as usize].parent;
                steps += 1;
            }
            steps
        };
        let deepest = (0..100_000).map(depth).max();
        assert!(deepest < Some(120), "{deepest:?}");
    }
}
