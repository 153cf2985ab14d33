//! The columnar evaluation of a plan over a batch.
//!
//! First every field with scanned atoms is read once: its distinct values pass the field's scanner, which
//! yields the rows of every scanned atom that holds anywhere. Then the rules that such an atom wakes, and the
//! few that need no atom, are evaluated over sets of rows, cheap parts first; what was not scanned (numbers,
//! networks, some regular expressions, other fields) is asked of the surviving rows alone.

use std::cell::OnceCell;

use event::EventBatch;
use hashbrown::HashMap;

use crate::atom::{AtomId, Atoms, FieldId};
use crate::column::{FieldColumn, Value};
use crate::field::FieldReader;
use crate::fold::fold;
use crate::node::Node;
use crate::plan::{FieldScanner, Plan};
use crate::predicate::{Predicate, Relation};
use crate::rows::Rows;
use crate::rule::CompiledRule;
use crate::scan::Holding;

/// Rules and the rows they match: (rule index, row), by row, then rule.
pub(crate) fn matches(
    plan: &Plan,
    rules: &[CompiledRule],
    atoms: &Atoms,
    batch: &EventBatch,
) -> Vec<(u32, usize)> {
    if batch.is_empty() {
        return Vec::new();
    }
    let mut evaluation = Evaluation::new(atoms, batch);
    evaluation.scan(plan);
    let mut found = Vec::new();
    for rule in evaluation.woken(plan) {
        let rows = evaluation.rows(&rules[rule as usize].program, &Rows::all(batch.len()));
        found.extend(rows.iter().map(|row| (rule, row)));
    }
    found.sort_unstable_by_key(|(rule, row)| (*row, *rule));
    found
}

/// One batch under evaluation.
struct Evaluation<'a> {
    atoms: &'a Atoms,
    batch: &'a EventBatch,
    /// By field. Few of them are asked for: a cell is one word.
    columns: Vec<OnceCell<Box<FieldColumn<'a>>>>,
    /// Rows of each scanned atom that holds in any row.
    hits: HashMap<AtomId, Rows>,
}

impl<'a> Evaluation<'a> {
    fn new(atoms: &'a Atoms, batch: &'a EventBatch) -> Self {
        let columns = atoms.fields().iter().map(|_| OnceCell::new()).collect();
        Self { atoms, batch, columns, hits: HashMap::new() }
    }

    fn column(&self, field: FieldId) -> &FieldColumn<'a> {
        let reader = || FieldReader::new(self.batch, &self.atoms.fields()[field as usize]);
        self.columns[field as usize].get_or_init(|| Box::new(FieldColumn::new(&reader(), self.batch.len())))
    }

    fn scan(&mut self, plan: &Plan) {
        let mut hits = std::mem::take(&mut self.hits);
        let (mut holding, mut scratch) = (Holding::default(), FieldColumn::empty());
        for FieldScanner { field, scanner, filter, is_asked } in &plan.scanners {
            let name = &self.atoms.fields()[*field as usize];
            let reader = FieldReader::new(self.batch, name);
            // Most of the fields that rules name are in no row of a batch.
            if reader.is_absent() {
                continue;
            }
            // Rows that cannot hold what is scanned for need not be read.
            let rows = filter.as_ref().and_then(|filter| filter.rows(self.batch, name, &reader));
            let column = if rows.is_none() && *is_asked {
                self.column(*field)
            } else {
                scratch.fill(&reader, self.batch.len(), rows.as_ref());
                &scratch
            };
            for (code, value) in column.values().enumerate() {
                scanner.scan(self.atoms, &value, &mut holding);
                for atom in &holding.atoms {
                    let rows = hits.entry(*atom).or_insert_with(|| Rows::none(self.batch.len()));
                    column.rows_of(code).iter().for_each(|row| rows.insert(*row as usize));
                }
            }
        }
        self.hits = hits;
    }

    /// The rules to evaluate, each once.
    fn woken(&self, plan: &Plan) -> Vec<u32> {
        let by_atoms = self.hits.keys().filter_map(|atom| plan.woken.get(atom)).flatten();
        let mut rules: Vec<u32> = by_atoms.chain(&plan.always).copied().collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// The rows of `among` for which the condition holds.
    fn rows(&self, node: &Node, among: &Rows) -> Rows {
        match node {
            Node::And(parts) => {
                let mut left = among.clone();
                for part in parts {
                    if left.is_empty() {
                        break;
                    }
                    left = self.rows(part, &left);
                }
                left
            }
            Node::Or(parts) => {
                let mut found = Rows::none(among.len());
                let mut open = among.clone();
                for part in parts {
                    if open.is_empty() {
                        break;
                    }
                    found.unite(&self.rows(part, &open));
                    open.subtract(&found);
                }
                found
            }
            Node::Not(part) => {
                let mut rest = among.clone();
                rest.subtract(&self.rows(part, among));
                rest
            }
            Node::AtLeast(n, parts) => self.at_least(*n, parts, among),
            Node::Named(_, part) => self.rows(part, among),
            Node::Atom(atom) => self.atom(*atom, among),
        }
    }

    fn at_least(&self, n: usize, parts: &[Node], among: &Rows) -> Rows {
        let mut counts = vec![0; among.len()];
        for part in parts {
            self.rows(part, among).iter().for_each(|row| counts[row] += 1);
        }
        let mut found = Rows::none(among.len());
        counts.iter().enumerate().filter(|(_, count)| **count >= n).for_each(|(row, _)| found.insert(row));
        found
    }

    fn atom(&self, id: AtomId, among: &Rows) -> Rows {
        if let Some(rows) = self.hits.get(&id) {
            let mut rows = rows.clone();
            rows.intersect(among);
            return rows;
        }
        if self.atoms.is_scanned(id) {
            return Rows::none(among.len());
        }
        let atom = self.atoms.get(id);
        let column = self.column(atom.field);
        match &atom.predicate {
            Predicate::Null => intersection(column.null(), among),
            Predicate::Exists => intersection(column.present(), among),
            Predicate::FieldRef { other, relation, cased } => {
                self.field_ref(column, *other, (*relation, *cased), among)
            }
            predicate => column.select(among, |value| predicate.matches_value(value)),
        }
    }

    fn field_ref(
        &self,
        column: &FieldColumn<'a>,
        other: FieldId,
        (relation, cased): (Relation, bool),
        among: &Rows,
    ) -> Rows {
        let other = self.column(other);
        let text = |value: Value<'_>| if cased { value.raw().into_owned() } else { value.folded.to_owned() };
        let mut found = Rows::none(among.len());
        for row in among.iter() {
            let others: Vec<String> = other.codes(row).map(|c| text(other.value(c))).collect();
            let holds = |value: String| others.iter().any(|o| relation.holds(&value, o));
            if column.codes(row).any(|c| holds(text(column.value(c)))) {
                found.insert(row);
            }
        }
        found
    }
}

fn intersection(rows: &Rows, among: &Rows) -> Rows {
    let mut rows = rows.clone();
    rows.intersect(among);
    rows
}

/// One value against another, for the row-wise paths.
pub(crate) fn relation_holds(relation: Relation, cased: bool, value: &str, other: &str) -> bool {
    if cased { relation.holds(value, other) } else { relation.holds(&fold(value), &fold(other)) }
}
