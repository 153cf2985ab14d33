//! Suppression of a loaded rule, and the keys of its alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Alert, AlertId, EventBatch};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::spec::{SuppressionSpec, WindowKind};
use crate::atom::{Atoms, Field, FieldId};
use crate::correlation::{Correlations, Definition, group_of};
use crate::error::RuleError;
use crate::field::{Cell, RowReader};
use crate::fold::fold;
use crate::rule::{CompiledRule, RuleInfo};
use crate::set::RuleSet;

/// How alerts of a rule are suppressed; a snapshot keeps it beside the windows that it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) rule_id: Arc<str>,
    /// Of the values of a key.
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) span_us: i64,
    pub(crate) kind: WindowKind,
}

/// Suppression of a loaded rule.
#[derive(Debug)]
pub(crate) struct SuppressionRule {
    /// Names its state: the rule's id, and a hash of the terms. Other terms begin with no windows.
    pub(crate) key: Arc<str>,
    pub(crate) terms: Terms,
    source: Source,
}

/// Where the values of a key come from.
#[derive(Debug)]
enum Source {
    /// The event of the alert.
    Fields(Vec<FieldId>),
    /// Places in the group-by of a correlation, by index.
    Group(usize, Vec<usize>),
}

/// What suppression is told of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionKey {
    pub(crate) alert: AlertId,
    pub(crate) values: Vec<Arc<str>>,
}

/// Compiles suppressions, given by rule id; what cannot be compiled comes back with the reason.
pub(crate) fn compile(
    specs: &BTreeMap<Arc<str>, SuppressionSpec>,
    rules: &[CompiledRule],
    correlations: &Correlations,
    atoms: &mut Atoms,
) -> (HashMap<Arc<str>, SuppressionRule>, Vec<(RuleInfo, RuleError)>) {
    let (mut compiled, mut rejected) = (HashMap::new(), Vec::new());
    let mut take = |info: &RuleInfo, outcome: Result<SuppressionRule, RuleError>| match outcome {
        Ok(rule) => {
            compiled.insert(Arc::clone(&info.reference.id), rule);
        }
        Err(reason) => rejected.push((info.clone(), reason)),
    };
    for CompiledRule { info, .. } in rules {
        if let Some(spec) = specs.get(&info.reference.id) {
            take(info, SuppressionRule::of_rule(info, spec, atoms));
        }
    }
    for (index, definition) in correlations.definitions.iter().enumerate() {
        if let Some(spec) = specs.get(&definition.info.reference.id) {
            take(&definition.info, SuppressionRule::of_correlation(index, definition, spec));
        }
    }
    (compiled, rejected)
}

impl SuppressionRule {
    fn of_rule(info: &RuleInfo, spec: &SuppressionSpec, atoms: &mut Atoms) -> Result<Self, RuleError> {
        if spec.fields.is_empty() {
            return Err(RuleError::Document(
                "suppress: `fields` is missing; name what makes two alerts the same, such as [Computer, User]"
                    .to_owned(),
            ));
        }
        let fields = spec.fields.iter().map(|name| atoms.field(Field::Named(Arc::clone(name)))).collect();
        Ok(Self::new(info, spec, spec.fields.clone(), Source::Fields(fields)))
    }

    fn of_correlation(
        index: usize,
        definition: &Definition,
        spec: &SuppressionSpec,
    ) -> Result<Self, RuleError> {
        let group_by = &definition.group_by;
        let names = if spec.fields.is_empty() { group_by.clone() } else { spec.fields.clone() };
        let place = |name: &Arc<str>| {
            let place = group_by.iter().position(|group| group == name);
            place.ok_or_else(|| {
                let known = group_by.join(", ");
                RuleError::Document(format!("suppress: `{name}` is not in its `group-by` (known: {known})"))
            })
        };
        let places = names.iter().map(place).collect::<Result<_, _>>()?;
        Ok(Self::new(&definition.info, spec, names, Source::Group(index, places)))
    }

    fn new(info: &RuleInfo, spec: &SuppressionSpec, names: Vec<Arc<str>>, source: Source) -> Self {
        let rule_id = Arc::clone(&info.reference.id);
        let terms = Terms { rule_id, names, span_us: spec.span_us, kind: spec.kind };
        let hash = blake3::hash(format!("{terms:?}").as_bytes()).to_hex();
        Self { key: format!("{}@{}", terms.rule_id, &hash[..16]).into(), terms, source }
    }

    /// The fields that the decoder must extract.
    pub(crate) fn fields(&self) -> &[FieldId] {
        match &self.source {
            Source::Fields(fields) => fields,
            Source::Group(..) => &[],
        }
    }

    /// The key of an alert of a correlation; `None` for a detection rule, which reads it off the event.
    pub(crate) fn values_of_alert(&self, set: &RuleSet, alert: &Alert) -> Option<Vec<Arc<str>>> {
        let Source::Group(index, _) = &self.source else { return None };
        Some(self.values_of_group(&group_of(&set.correlations.definitions[*index], alert)))
    }

    /// The key among group-by values.
    pub(crate) fn values_of_group(&self, group: &[Arc<str>]) -> Vec<Arc<str>> {
        let Source::Group(_, places) = &self.source else { return Vec::new() };
        places.iter().filter_map(|place| group.get(*place).cloned()).collect()
    }
}

/// Reads the keys of alerts off the rows of a batch.
pub(crate) struct KeyReader<'a> {
    set: &'a RuleSet,
    cells: RowReader<'a>,
}

impl<'a> KeyReader<'a> {
    pub(crate) fn new(set: &'a RuleSet, batch: &'a EventBatch) -> Self {
        Self { set, cells: RowReader::new(&set.atoms, batch) }
    }

    /// The key of an alert; `None` where its rule suppresses nothing, or the row lacks a value.
    pub(crate) fn key(&mut self, alert: &Alert, row: usize) -> Option<SuppressionKey> {
        let rule = self.set.suppressions.get(&alert.rule.id)?;
        let values = rule.fields().iter().map(|field| self.value(*field, row)).collect::<Option<_>>()?;
        Some(SuppressionKey { alert: alert.id.clone(), values })
    }

    fn value(&mut self, field: FieldId, row: usize) -> Option<Arc<str>> {
        let value: Arc<str> = match self.cells.cell(field, row) {
            Cell::Absent | Cell::Null => return None,
            Cell::One(text) => fold(&text).as_ref().into(),
            Cell::Many(texts) => {
                let mut members: Vec<String> = texts.iter().map(|text| fold(text).into_owned()).collect();
                members.sort_unstable();
                members.dedup();
                members.join(", ").into()
            }
        };
        (!value.is_empty()).then_some(value)
    }
}
