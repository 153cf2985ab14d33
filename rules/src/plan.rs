//! What to do with a batch of a given set of logsources: its rules, their scanners, what wakes each rule.

use std::collections::BTreeMap;

use event::Logsource;
use hashbrown::{HashMap, HashSet};

use crate::atom::{AtomId, Atoms, FieldId};
use crate::predicate::Predicate;
use crate::rule::CompiledRule;
use crate::scan::Scanner;
use crate::written_filter::WrittenFilter;

/// The rules of one set of logsources, ready to evaluate. Made once a set, then shared.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// One scanner for each field with scanned atoms.
    pub(crate) scanners: Vec<FieldScanner>,
    /// Rules (indexes of the rule set, ascending) that one of their atoms wakes.
    pub(crate) woken: HashMap<AtomId, Vec<u32>>,
    /// Rules that every batch asks, ascending.
    pub(crate) always: Vec<u32>,
    /// Rules whose logsource is among those of the events, ascending.
    pub(crate) applied: Vec<u32>,
}

/// How the scanned atoms of a field are found.
#[derive(Debug)]
pub(crate) struct FieldScanner {
    pub(crate) field: FieldId,
    pub(crate) scanner: Scanner,
    /// Which rows the scanner must look at; without it, at all.
    pub(crate) filter: Option<WrittenFilter>,
    /// Whether rules ask the field for more than is scanned for, so that its column is of use after the scan.
    pub(crate) is_asked: bool,
}

impl Plan {
    /// The plan for events with these logsources; an empty set is not gated.
    pub(crate) fn new(rules: &[CompiledRule], atoms: &Atoms, logsources: &[Logsource]) -> Self {
        let mut plan = Self::default();
        let mut scanned: BTreeMap<FieldId, Vec<AtomId>> = BTreeMap::new();
        let mut asked: HashSet<FieldId> = HashSet::new();
        for (index, rule) in rules.iter().enumerate() {
            if !applies(&rule.info.logsource, logsources) {
                continue;
            }
            plan.applied.push(index as u32);
            rule.tree.for_each_atom(&mut |id| {
                let atom = atoms.get(id);
                if atoms.is_scanned(id) {
                    scanned.entry(atom.field).or_default().push(id);
                } else {
                    asked.insert(atom.field);
                }
                if let Predicate::FieldRef { other, .. } = &atom.predicate {
                    asked.insert(*other);
                }
            });
            match &rule.triggers {
                Some(triggers) => {
                    triggers.iter().for_each(|t| plan.woken.entry(*t).or_default().push(index as u32))
                }
                None => plan.always.push(index as u32),
            }
        }
        for (field, mut ids) in scanned {
            ids.sort_unstable();
            ids.dedup();
            let filter = WrittenFilter::new(atoms, &atoms.fields()[field as usize], &ids);
            let (scanner, is_asked) = (Scanner::new(atoms, &ids), asked.contains(&field));
            plan.scanners.push(FieldScanner { field, scanner, filter, is_asked });
        }
        plan
    }
}

/// Whether a rule applies to events with this set of logsources.
pub(crate) fn applies(rule: &Logsource, event: &[Logsource]) -> bool {
    event.is_empty() || event.iter().any(|e| rule.covers(e))
}
