//! The boolean tree of a rule over atoms.

use std::sync::Arc;

use crate::atom::{AtomId, Atoms};

/// A condition over atoms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// At least so many of the nodes: `2 of selection_*`.
    AtLeast(usize, Vec<Node>),
    /// A detection, by the rule's name for it.
    Named(Arc<str>, Box<Node>),
    Atom(AtomId),
}

impl Node {
    /// The conjunction; one part stands for itself.
    pub(crate) fn and(mut parts: Vec<Node>) -> Node {
        if parts.len() == 1 { parts.remove(0) } else { Node::And(parts) }
    }

    /// The disjunction; one part stands for itself.
    pub(crate) fn or(mut parts: Vec<Node>) -> Node {
        if parts.len() == 1 { parts.remove(0) } else { Node::Or(parts) }
    }

    /// The same condition in the order that decides soonest: cheap parts first, names dropped.
    pub(crate) fn optimised(&self, atoms: &Atoms) -> Node {
        let sorted = |parts: &[Node]| {
            let mut parts: Vec<Node> = parts.iter().map(|p| p.optimised(atoms)).collect();
            parts.sort_by_key(|p| p.cost(atoms));
            parts
        };
        match self {
            Node::And(parts) => Node::And(sorted(parts)),
            Node::Or(parts) => Node::Or(sorted(parts)),
            Node::AtLeast(n, parts) => Node::AtLeast(*n, sorted(parts)),
            Node::Not(part) => Node::Not(Box::new(part.optimised(atoms))),
            Node::Named(_, part) => part.optimised(atoms),
            Node::Atom(atom) => Node::Atom(*atom),
        }
    }

    fn cost(&self, atoms: &Atoms) -> u32 {
        match self {
            Node::And(parts) | Node::Or(parts) | Node::AtLeast(_, parts) => {
                parts.iter().map(|p| p.cost(atoms)).fold(0, u32::saturating_add)
            }
            Node::Not(part) | Node::Named(_, part) => part.cost(atoms).saturating_add(1),
            Node::Atom(atom) if atoms.is_scanned(*atom) => 1,
            Node::Atom(atom) => atoms.get(*atom).predicate.cost(),
        }
    }

    /// Scanned atoms of which at least one must have a row for the condition to have one; `None` where no such
    /// set is known. The smallest set of a conjunction is taken: it wakes the rule least often.
    pub(crate) fn triggers(&self, atoms: &Atoms) -> Option<Vec<AtomId>> {
        match self {
            Node::And(parts) => parts.iter().filter_map(|p| p.triggers(atoms)).min_by_key(Vec::len),
            Node::Or(parts) | Node::AtLeast(_, parts) => {
                let all: Option<Vec<Vec<AtomId>>> = parts.iter().map(|p| p.triggers(atoms)).collect();
                all.map(|lists| lists.concat())
            }
            Node::Not(_) => None,
            Node::Named(_, part) => part.triggers(atoms),
            Node::Atom(atom) => atoms.is_scanned(*atom).then(|| vec![*atom]),
        }
    }

    /// Calls `f` with every atom.
    pub(crate) fn for_each_atom(&self, f: &mut impl FnMut(AtomId)) {
        match self {
            Node::And(parts) | Node::Or(parts) | Node::AtLeast(_, parts) => {
                parts.iter().for_each(|p| p.for_each_atom(f));
            }
            Node::Not(part) | Node::Named(_, part) => part.for_each_atom(f),
            Node::Atom(atom) => f(*atom),
        }
    }
}
