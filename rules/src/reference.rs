//! The row-wise interpreter: obvious and slow. It explains single rows, and it is the oracle that the columnar
//! evaluation is tested against; the two share nothing between the reading of a cell and the regex engine.

use std::borrow::Cow;

use event::EventBatch;

use crate::atom::{AtomId, Atoms, FieldId};
use crate::evaluate::relation_holds;
use crate::field::{Cell, FieldReader};
use crate::node::Node;
use crate::predicate::Predicate;

/// Whether a condition holds for a row.
pub(crate) fn holds(node: &Node, atoms: &Atoms, batch: &EventBatch, row: usize) -> bool {
    let part = |n: &Node| holds(n, atoms, batch, row);
    match node {
        Node::And(parts) => parts.iter().all(part),
        Node::Or(parts) => parts.iter().any(part),
        Node::Not(inner) => !part(inner),
        Node::AtLeast(n, parts) => parts.iter().filter(|p| part(p)).count() >= *n,
        Node::Named(_, inner) => part(inner),
        Node::Atom(id) => atom_holds(*id, atoms, batch, row),
    }
}

/// Whether an atom holds for a row.
pub(crate) fn atom_holds(id: AtomId, atoms: &Atoms, batch: &EventBatch, row: usize) -> bool {
    let atom = atoms.get(id);
    let cell = cell(atom.field, atoms, batch, row);
    match &atom.predicate {
        Predicate::Null => matches!(cell, Cell::Absent | Cell::Null),
        Predicate::Exists => cell != Cell::Absent,
        Predicate::FieldRef { other, relation, cased } => {
            let others = values(self::cell(*other, atoms, batch, row));
            let holds =
                |value: &Cow<'_, str>| others.iter().any(|o| relation_holds(*relation, *cased, value, o));
            values(cell).iter().any(holds)
        }
        predicate => values(cell).iter().any(|value| predicate.matches_plainly(value)),
    }
}

/// What a row holds for a field.
pub(crate) fn cell<'a>(field: FieldId, atoms: &Atoms, batch: &'a EventBatch, row: usize) -> Cell<'a> {
    FieldReader::new(batch, &atoms.fields()[field as usize]).cell(row)
}

fn values(cell: Cell<'_>) -> Vec<Cow<'_, str>> {
    match cell {
        Cell::Absent | Cell::Null => Vec::new(),
        Cell::One(value) => vec![value],
        Cell::Many(values) => values,
    }
}
