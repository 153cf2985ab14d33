//! Atoms: interned (field, predicate) pairs, so that a leaf which many rules share is asked once a batch.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::predicate::Predicate;

/// Index of a field of a rule set.
pub(crate) type FieldId = u32;

/// Index of an atom of a rule set.
pub(crate) type AtomId = u32;

/// A field that rules ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    /// A Sigma field by name, without spaces.
    Named(Arc<str>),
    /// Every string, number and boolean of the raw record: what keywords search.
    Keywords,
}

/// One leaf: a field and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Atom {
    pub(crate) field: FieldId,
    pub(crate) predicate: Predicate,
}

/// The fields and atoms of a rule set, each once.
#[derive(Debug, Default)]
pub(crate) struct Atoms {
    fields: Vec<Field>,
    field_index: HashMap<Field, FieldId>,
    atoms: Vec<Atom>,
    atom_index: HashMap<Atom, AtomId>,
    required: Vec<Box<[String]>>,
}

impl Atoms {
    pub(crate) fn field(&mut self, field: Field) -> FieldId {
        let Self { fields, field_index, .. } = self;
        *field_index.entry(field).or_insert_with_key(|field| {
            fields.push(field.clone());
            fields.len() as FieldId - 1
        })
    }

    pub(crate) fn intern(&mut self, field: FieldId, predicate: Predicate) -> AtomId {
        let Self { atoms, atom_index, required, .. } = self;
        *atom_index.entry(Atom { field, predicate }).or_insert_with_key(|atom| {
            required.push(atom.predicate.required_literals().into());
            atoms.push(atom.clone());
            atoms.len() as AtomId - 1
        })
    }

    pub(crate) fn get(&self, atom: AtomId) -> &Atom {
        &self.atoms[atom as usize]
    }

    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Folded literals of which a matching value holds at least one; empty where nothing is known.
    pub(crate) fn required(&self, atom: AtomId) -> &[String] {
        &self.required[atom as usize]
    }

    /// Whether the scan of a batch finds every row of this atom, so that a row it did not find has no match.
    pub(crate) fn is_scanned(&self, atom: AtomId) -> bool {
        let exact = matches!(&self.get(atom).predicate, Predicate::Text(p) if p.is_equals());
        exact || !self.required(atom).is_empty()
    }
}
