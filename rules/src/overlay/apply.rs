//! Overlays applied to parsed rules, before anything is compiled.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use event::Time;
use rsigma_parser::{Detections, Level, SigmaRule};

use super::{Change, Edit, Entry, Overlay, OverlayEntry, Patch};
use crate::correlation::Pending;
use crate::error::RuleError;
use crate::report::{Disabled, DisabledBy, LoadReport, Overlaid, Rejected};
use crate::rule::RuleInfo;
use crate::suppression::SuppressionSpec;

/// The [`Patched`] of a rule of either kind: the parser has two types with the same parts.
macro_rules! patched {
    ($rule:expr) => {
        Patched {
            title: &mut $rule.title,
            description: &mut $rule.description,
            level: &mut $rule.level,
            tags: &mut $rule.tags,
            falsepositives: &mut $rule.falsepositives,
            references: &mut $rule.references,
        }
    };
}

/// The parsed rules of a set, and the report on them.
pub(crate) struct Targets<'a> {
    pub(crate) rules: &'a mut Vec<(RuleInfo, SigmaRule)>,
    pub(crate) correlations: &'a mut Vec<Pending>,
    pub(crate) report: &'a mut LoadReport,
}

/// What remains to be done when rules are compiled.
#[derive(Default)]
pub(crate) struct Applied {
    pub(crate) exceptions: Vec<Exception>,
    /// By rule id.
    pub(crate) suppressions: BTreeMap<Arc<str>, SuppressionSpec>,
    /// Correlations that are not loaded: what they watch stays as silent as it was.
    pub(crate) disabled: Vec<Pending>,
    /// Ids and names of all that is not loaded.
    pub(crate) disabled_names: HashSet<String>,
    /// Of the entries that are in force and name a rule.
    pub(crate) hashes: Vec<[u8; 32]>,
}

/// Events of a rule that make no match.
pub(crate) struct Exception {
    pub(crate) by: Arc<OverlayEntry>,
    pub(crate) rule_id: Arc<str>,
    pub(crate) detection: Arc<Detections>,
}

/// Applies the entries that have not expired at `now`.
pub(crate) fn apply(overlays: &[Overlay], now: Time, mut targets: Targets<'_>) -> Applied {
    let mut applied = Applied::default();
    let mut entries = Vec::new();
    for entry in overlays.iter().flat_map(|overlay| &overlay.entries) {
        if entry.about.expires <= now {
            targets.report.expired.push(Arc::clone(&entry.about));
        } else if targets.has(&entry.about.rule) {
            applied.hashes.push(entry.hash);
            entries.push(entry);
        } else {
            targets.warn(entry, format!("there is no rule `{}`", entry.about.rule));
        }
    }
    let (disabling, changing): (Vec<&Entry>, Vec<&Entry>) =
        entries.into_iter().partition(|entry| entry.change == Change::Disable);
    disabling.into_iter().for_each(|entry| targets.disable(entry, &mut applied));
    targets.disable_dependents(&mut applied);
    changing.into_iter().for_each(|entry| targets.change(entry, &mut applied));
    applied
}

fn is_named(target: &str, info: &RuleInfo, name: Option<&String>) -> bool {
    info.reference.id.eq_ignore_ascii_case(target) || name.is_some_and(|name| name == target)
}

fn names_of(info: &RuleInfo, name: Option<&String>) -> impl Iterator<Item = String> {
    [Some(info.reference.id.to_string()), name.cloned()].into_iter().flatten()
}

impl Targets<'_> {
    fn has(&self, target: &str) -> bool {
        self.rules.iter().any(|(info, rule)| is_named(target, info, rule.name.as_ref()))
            || self.correlations.iter().any(|p| is_named(target, &p.info, p.rule.name.as_ref()))
    }

    fn disable(&mut self, entry: &Entry, applied: &mut Applied) {
        let target = entry.about.rule.as_str();
        let by = || DisabledBy::Overlay(Arc::clone(&entry.about));
        let named = |(info, rule): &mut (RuleInfo, SigmaRule)| is_named(target, info, rule.name.as_ref());
        for (info, rule) in self.rules.extract_if(.., named) {
            applied.disabled_names.extend(names_of(&info, rule.name.as_ref()));
            self.report.disabled.push(Disabled::new(&info, by()));
        }
        let named = |p: &mut Pending| is_named(target, &p.info, p.rule.name.as_ref());
        for pending in self.correlations.extract_if(.., named) {
            applied.disabled_names.extend(names_of(&pending.info, pending.rule.name.as_ref()));
            self.report.disabled.push(Disabled::new(&pending.info, by()));
            applied.disabled.push(pending);
        }
    }

    /// Disables what watches a disabled rule, and what watches that.
    fn disable_dependents(&mut self, applied: &mut Applied) {
        if applied.disabled_names.is_empty() {
            return;
        }
        loop {
            let there = self.names();
            let is_gone = |name: &&String| {
                let lower = name.to_ascii_lowercase();
                let among = |names: &HashSet<String>| names.contains(*name) || names.contains(&lower);
                among(&applied.disabled_names) && !among(&there)
            };
            let base_of = |pending: &Pending| pending.rule.rules.iter().find(is_gone).cloned();
            let found = self.correlations.iter().enumerate().find_map(|(i, p)| Some((i, base_of(p)?)));
            let Some((index, base)) = found else { return };
            let pending = self.correlations.remove(index);
            applied.disabled_names.extend(names_of(&pending.info, pending.rule.name.as_ref()));
            self.report.disabled.push(Disabled::new(&pending.info, DisabledBy::Base(base)));
            applied.disabled.push(pending);
        }
    }

    /// Ids and names of all that is still to be loaded.
    fn names(&self) -> HashSet<String> {
        let rules = self.rules.iter().flat_map(|(info, rule)| names_of(info, rule.name.as_ref()));
        let correlations = self.correlations.iter().flat_map(|p| names_of(&p.info, p.rule.name.as_ref()));
        rules.chain(correlations).collect()
    }

    fn change(&mut self, entry: &Entry, applied: &mut Applied) {
        match &entry.change {
            Change::Disable => {}
            Change::Patch(patch) => self.patch(entry, patch),
            Change::Except(detection) => self.except(entry, detection, applied),
            Change::Suppress(spec) => self.suppress(entry, spec, applied),
        }
    }

    fn patch(&mut self, entry: &Entry, patch: &Patch) {
        let target = entry.about.rule.as_str();
        let mut missing = Vec::new();
        for (info, rule) in self.rules.iter_mut().filter(|(i, r)| is_named(target, i, r.name.as_ref())) {
            missing.extend(patch.apply(patched!(rule)));
            *info = RuleInfo::of_rule(Arc::clone(&info.reference.id), &info.file, rule);
            self.report.patched.push(Overlaid::new(info, &entry.about));
        }
        let named = |p: &&mut Pending| is_named(target, &p.info, p.rule.name.as_ref());
        for Pending { info, rule } in self.correlations.iter_mut().filter(named) {
            missing.extend(patch.apply(patched!(rule)));
            *info = RuleInfo::of_correlation(Arc::clone(&info.reference.id), &info.file, rule);
            self.report.patched.push(Overlaid::new(info, &entry.about));
        }
        for text in missing {
            self.warn(entry, format!("the rule has no `{text}` that could be removed"));
        }
    }

    fn except(&mut self, entry: &Entry, detection: &Arc<Detections>, applied: &mut Applied) {
        let target = entry.about.rule.as_str();
        for (info, _) in self.rules.iter().filter(|(i, r)| is_named(target, i, r.name.as_ref())) {
            applied.exceptions.push(Exception {
                by: Arc::clone(&entry.about),
                rule_id: Arc::clone(&info.reference.id),
                detection: Arc::clone(detection),
            });
            self.report.excepted.push(Overlaid::new(info, &entry.about));
        }
        if self.correlations.iter().any(|p| is_named(target, &p.info, p.rule.name.as_ref())) {
            let problem =
                format!("`{target}` is a correlation; make the exception to the rules that it watches");
            self.reject(entry, problem);
        }
    }

    fn suppress(&mut self, entry: &Entry, spec: &SuppressionSpec, applied: &mut Applied) {
        let target = entry.about.rule.as_str();
        let rules = self.rules.iter().map(|(info, rule)| (info, rule.name.as_ref()));
        let correlations = self.correlations.iter().map(|p| (&p.info, p.rule.name.as_ref()));
        let mut twice = Vec::new();
        for (info, _) in rules.chain(correlations).filter(|(info, name)| is_named(target, info, *name)) {
            let id = &info.reference.id;
            if applied.suppressions.contains_key(id) {
                twice.push(format!(
                    "alerts of `{target}` are suppressed by an earlier entry; keep one of them"
                ));
                continue;
            }
            applied.suppressions.insert(Arc::clone(id), spec.clone());
            self.report.suppressed.push(Overlaid::new(info, &entry.about));
        }
        twice.into_iter().for_each(|problem| self.reject(entry, problem));
    }

    fn warn(&mut self, entry: &Entry, odd: String) {
        self.report.warnings.push((entry.about.file.to_string(), entry.about.label(), odd));
    }

    fn reject(&mut self, entry: &Entry, problem: String) {
        let (file, reason) = (entry.about.file.to_string(), RuleError::Document(problem));
        self.report.rejected.push(Rejected { file, rule: entry.about.label(), reason });
    }
}

/// What a patch may change, of either kind of rule.
struct Patched<'a> {
    title: &'a mut String,
    description: &'a mut Option<String>,
    level: &'a mut Option<Level>,
    tags: &'a mut Vec<String>,
    falsepositives: &'a mut Vec<String>,
    references: &'a mut Vec<String>,
}

impl Patch {
    /// Changes a rule; what should have been removed and was not there.
    fn apply(&self, rule: Patched<'_>) -> Vec<String> {
        if let Some(title) = &self.title {
            title.trim().clone_into(rule.title);
        }
        if self.description.is_some() {
            rule.description.clone_from(&self.description);
        }
        if self.level.is_some() {
            *rule.level = self.level;
        }
        let edits = [
            (&self.tags, rule.tags),
            (&self.falsepositives, rule.falsepositives),
            (&self.references, rule.references),
        ];
        edits.into_iter().flat_map(|(edit, list)| edit.apply(list)).collect()
    }
}

impl Edit {
    fn apply(&self, list: &mut Vec<String>) -> Vec<String> {
        let missing = self.remove.iter().filter(|text| !list.contains(text)).cloned().collect();
        list.retain(|text| !self.remove.contains(text));
        for text in &self.add {
            if !list.contains(text) {
                list.push(text.clone());
            }
        }
        missing
    }
}
