//! A rule under the hands of pipelines, and what they remember about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rsigma_parser::{CorrelationRule, LogSource, SigmaRule};

use super::condition::Scalar;
use super::detection::{Change, Item, Section};
use crate::error::RuleError;

/// A rule, with its detections taken apart.
pub(super) struct Subject<'a> {
    pub(super) document: Document<'a>,
    /// The rule's own detections, those of its filters, and those that pipelines add. A correlation has none.
    pub(super) sections: Vec<Section>,
    pub(super) tracking: Tracking,
    pub(super) logsources: LogsourceHistory,
}

/// What is rewritten.
pub(super) enum Document<'a> {
    Rule(&'a mut SigmaRule),
    Correlation {
        rule: &'a mut CorrelationRule,
        /// The logsources of the rules that it watches, also through other correlations.
        watched: Vec<&'a LogsourceHistory>,
    },
}

/// The logsources that a rule had: each with the step that gave it, the first with 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogsourceHistory(Vec<(usize, LogSource)>);

impl LogsourceHistory {
    pub(super) fn starting(logsource: &LogSource) -> Self {
        Self(vec![(0, logsource.clone())])
    }

    pub(super) fn push(&mut self, step: usize, logsource: LogSource) {
        self.0.push((step, logsource));
    }

    /// The logsource before a step.
    fn at(&self, step: usize) -> Option<&LogSource> {
        self.0.iter().rev().find(|(since, _)| *since < step).map(|(_, logsource)| logsource)
    }
}

/// What pipelines remember of one rule.
#[derive(Default)]
pub(super) struct Tracking {
    /// Ids of the transformations that were applied to the rule.
    pub(super) applied: BTreeSet<Arc<str>>,
    /// Field names with the ids of the transformations that made them.
    renamed: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Field names that a mapping gave or took.
    pub(super) mapped: BTreeSet<String>,
    /// Of `set_state`.
    pub(super) state: BTreeMap<String, Scalar>,
    /// Of `set_custom_attribute`.
    pub(super) attributes: BTreeMap<String, Scalar>,
    work: usize,
}

/// Values visited and bytes made for one rule. A thousand transformations of the largest published rule stay below;
/// transformations that double a rule again and again do not.
const WORK_MAX: usize = 32 << 20;

impl Tracking {
    /// Counts values or bytes.
    ///
    /// # Errors
    /// The rule costs more than any sound rule does.
    pub(super) fn spend(&mut self, work: usize) -> Result<(), RuleError> {
        self.work = self.work.saturating_add(work);
        if self.work > WORK_MAX {
            return Err(RuleError::Limit { what: "work of pipelines on one rule in bytes", limit: WORK_MAX });
        }
        Ok(())
    }

    pub(super) fn was_renamed_by(&self, field: &str, id: &Arc<str>) -> bool {
        self.renamed.get(field).is_some_and(|ids| ids.contains(id))
    }

    /// Notes that a field got other names, which keep what was noted for it.
    pub(super) fn rename(&mut self, field: Option<&str>, names: &[String], id: Option<&Arc<str>>) {
        self.mapped.extend(field.map(str::to_owned));
        self.mapped.extend(names.iter().cloned());
        if field.is_some_and(|field| names == [field]) {
            return;
        }
        let mut ids = field.and_then(|field| self.renamed.remove(field)).unwrap_or_default();
        ids.extend(id.cloned());
        for name in names {
            self.renamed.insert(name.clone(), ids.clone());
        }
    }
}

impl Subject<'_> {
    pub(super) fn is_correlation(&self) -> bool {
        matches!(self.document, Document::Correlation { .. })
    }

    pub(super) fn tags(&self) -> &[String] {
        match &self.document {
            Document::Rule(rule) => &rule.tags,
            Document::Correlation { rule, .. } => &rule.tags,
        }
    }

    /// The list `fields`: what an analyst wants to see.
    pub(super) fn fields_mut(&mut self) -> &mut Vec<String> {
        match &mut self.document {
            Document::Rule(rule) => &mut rule.fields,
            Document::Correlation { rule, .. } => &mut rule.fields,
        }
    }

    /// The logsource of a rule, or those of all that a correlation watches, before a step.
    pub(super) fn logsources_at(&self, step: usize) -> Vec<&LogSource> {
        match &self.document {
            Document::Rule(rule) => vec![&rule.logsource],
            Document::Correlation { watched, .. } => watched.iter().filter_map(|h| h.at(step)).collect(),
        }
    }

    pub(super) fn any_item(&self, test: &mut dyn FnMut(&Item) -> bool) -> bool {
        self.sections.iter().flat_map(|s| s.named.values()).any(|part| part.any_item(test))
    }

    /// Replaces each item by what `change` makes of it.
    pub(super) fn rewrite(
        &mut self,
        mut change: impl FnMut(Item, &mut Tracking) -> Result<Option<super::detection::Part>, RuleError>,
    ) -> Result<(), RuleError> {
        let tracking = &mut self.tracking;
        let mut with_tracking = |item: Item| {
            tracking.spend(item.size())?;
            change(item, tracking)
        };
        let change: &mut Change<'_> = &mut with_tracking;
        self.sections.iter_mut().try_for_each(|section| section.rewrite(change))
    }
}
