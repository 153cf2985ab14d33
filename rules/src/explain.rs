//! Why a rule did or did not match a row.

use std::fmt;
use std::sync::Arc;

use event::EventBatch;

use crate::atom::{AtomId, Atoms, Field, FieldId};
use crate::field::Cell;
use crate::node::Node;
use crate::plan::applies;
use crate::predicate::Predicate;
use crate::reference;
use crate::set::{RuleIndex, RuleSet};

/// The outcome of a rule on a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleExplanation {
    /// Title of the rule.
    pub rule: Arc<str>,
    /// Whether the rule's logsource is among those of the event; if not, its condition is not asked.
    pub applies: bool,
    /// Whether the rule matches: it applies and its condition holds.
    pub matched: bool,
    /// The condition with the outcome of every part.
    pub condition: ConditionOutcome,
}

/// One part of a condition and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionOutcome {
    /// What the part says: `and`, `not`, the name of a detection, or the leaf itself.
    pub label: String,
    /// Whether it holds.
    pub holds: bool,
    /// For a leaf: what the row has in its field; `None` where it has nothing.
    pub value: Option<String>,
    /// The parts it is made of.
    pub parts: Vec<ConditionOutcome>,
}

/// Explains the outcome of a rule on a row of a batch.
pub fn explain(set: &RuleSet, batch: &EventBatch, row: usize, rule: RuleIndex) -> RuleExplanation {
    let compiled = &set.rules[rule.0 as usize];
    let applies = applies(&compiled.info.logsource, &batch.meta.logsources);
    let condition = outcome(&compiled.tree, &set.atoms, batch, row);
    let rule = Arc::clone(&compiled.info.reference.title);
    RuleExplanation { rule, applies, matched: applies && condition.holds, condition }
}

fn outcome(node: &Node, atoms: &Atoms, batch: &EventBatch, row: usize) -> ConditionOutcome {
    let parts = |nodes: &[Node]| nodes.iter().map(|n| outcome(n, atoms, batch, row)).collect();
    let (label, parts): (String, Vec<ConditionOutcome>) = match node {
        Node::And(nodes) => ("and".to_owned(), parts(nodes)),
        Node::Or(nodes) => ("or".to_owned(), parts(nodes)),
        Node::AtLeast(n, nodes) => (format!("at least {n} of"), parts(nodes)),
        Node::Not(inner) => ("not".to_owned(), parts(std::slice::from_ref(inner))),
        Node::Named(name, inner) => (name.to_string(), parts(std::slice::from_ref(inner))),
        Node::Atom(id) => return leaf(*id, atoms, batch, row),
    };
    ConditionOutcome { label, holds: reference::holds(node, atoms, batch, row), value: None, parts }
}

fn leaf(id: AtomId, atoms: &Atoms, batch: &EventBatch, row: usize) -> ConditionOutcome {
    let atom = atoms.get(id);
    let name = field_name(atoms, atom.field);
    let label = match &atom.predicate {
        Predicate::FieldRef { other, relation, .. } => {
            format!("{name} {relation:?} {}", field_name(atoms, *other))
        }
        predicate => format!("{name} {predicate}"),
    };
    let value = match &atoms.fields()[atom.field as usize] {
        Field::Keywords => None,
        Field::Named(_) => shown(&reference::cell(atom.field, atoms, batch, row)),
    };
    ConditionOutcome { label, holds: reference::atom_holds(id, atoms, batch, row), value, parts: Vec::new() }
}

fn field_name(atoms: &Atoms, field: FieldId) -> &str {
    match &atoms.fields()[field as usize] {
        Field::Named(name) => name,
        Field::Keywords => "any text of the record",
    }
}

fn shown(cell: &Cell<'_>) -> Option<String> {
    match cell {
        Cell::Absent => None,
        Cell::Null => Some("null".to_owned()),
        Cell::One(value) => Some(format!("{value:?}")),
        Cell::Many(values) => Some(format!("{values:?}")),
    }
}

impl fmt::Display for RuleExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.applies, self.matched) {
            (false, _) => "does not apply: its logsource is not among those of the event",
            (true, true) => "matches",
            (true, false) => "does not match",
        };
        writeln!(f, "{} {verdict}", self.rule)?;
        self.condition.write(f, 1)
    }
}

impl ConditionOutcome {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let mark = if self.holds { "yes" } else { "no " };
        write!(f, "{:indent$}{mark} {}", "", self.label, indent = depth * 2)?;
        match (&self.value, self.parts.is_empty()) {
            (Some(value), _) => writeln!(f, "  (is {value})")?,
            (None, true) => writeln!(f, "  (absent)")?,
            (None, false) => writeln!(f)?,
        }
        self.parts.iter().try_for_each(|part| part.write(f, depth + 1))
    }
}
