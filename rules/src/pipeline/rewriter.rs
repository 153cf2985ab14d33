//! All pipelines of a rule set, over its rules.

use std::sync::Arc;

use rsigma_parser::{CorrelationRule, Detection, Detections, Modifier, SigmaRule};

use super::Pipeline;
use super::detection;
use super::placeholder::{Filling, Handled, Placeholders, fill};
use super::step::{Action, Run, Step, apply_all};
use super::subject::{Document, LogsourceHistory, Subject, Tracking};
use crate::error::RuleError;

/// Detections with a condition of their own, as the compiler takes them.
pub(crate) struct Section {
    /// How an explanation names it; `None` for the rule's own.
    pub(crate) label: Option<Arc<str>>,
    pub(crate) detections: Detections,
}

/// Applies pipelines, and knows which of their transformations did anything.
#[derive(Debug, Default)]
pub(crate) struct Rewriter {
    steps: Vec<Step>,
    vars: Placeholders,
    lists: Placeholders,
    touched: Vec<bool>,
    /// `None` without pipelines and lists.
    fingerprint: Option<[u8; 32]>,
}

impl Rewriter {
    pub(crate) fn new(mut pipelines: Vec<Pipeline>, lists: Placeholders) -> Self {
        pipelines.sort_by_key(|pipeline| pipeline.priority);
        let fingerprint =
            (!pipelines.is_empty() || !lists.is_empty()).then(|| fingerprint(&pipelines, &lists));
        let mut vars = Placeholders::default();
        let mut steps = Vec::new();
        for pipeline in pipelines {
            vars.extend(pipeline.vars);
            steps.extend(pipeline.steps);
        }
        let mut next = 1;
        steps.iter_mut().for_each(|step| number(step, &mut next));
        Self { steps, vars, lists, touched: vec![false; next], fingerprint }
    }

    /// A hash of the pipelines, in their order, and of the lists; `None` where there are neither.
    pub(crate) fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint
    }

    /// Whether rules are rewritten, and not only their placeholders filled.
    pub(crate) fn has_steps(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Rewrites a rule with the filters that apply to it. The rule keeps the detections that it had; the ones to
    /// compile are returned.
    ///
    /// # Errors
    /// Why the rule must be rejected.
    pub(crate) fn rule<'f>(
        &mut self,
        rule: &mut SigmaRule,
        filters: impl Iterator<Item = (&'f str, &'f Detections)>,
    ) -> Result<(Vec<Section>, LogsourceHistory), RuleError> {
        if !self.has_steps() && !expands(&rule.detection) {
            let section = Section { label: None, detections: rule.detection.clone() };
            return Ok((vec![section], LogsourceHistory::default()));
        }
        let own = std::iter::once(detection::Section::read(&rule.detection, None));
        let filters = filters.map(|(name, d)| detection::Section::read(d, Some(name.into())));
        let mut subject = Subject {
            sections: own.chain(filters).collect(),
            logsources: LogsourceHistory::starting(&rule.logsource),
            document: Document::Rule(rule),
            tracking: Tracking::default(),
        };
        self.run(&mut subject)?;
        Ok((written(&subject.sections)?, subject.logsources))
    }

    /// Rewrites a correlation. `watched` are the logsources of the rules that it watches.
    ///
    /// # Errors
    /// Why it must be rejected.
    pub(crate) fn correlation(
        &mut self,
        rule: &mut CorrelationRule,
        watched: Vec<&LogsourceHistory>,
    ) -> Result<(), RuleError> {
        let mut subject = Subject {
            document: Document::Correlation { rule, watched },
            sections: Vec::new(),
            tracking: Tracking::default(),
            logsources: LogsourceHistory::default(),
        };
        self.run(&mut subject)
    }

    /// Detections with their placeholders filled from the lists alone.
    ///
    /// # Errors
    /// A placeholder that has no values.
    pub(crate) fn filled(&self, detections: &Detections) -> Result<Detections, RuleError> {
        filled(detections, Filling::WherePossible(&[&self.lists]))
    }

    fn run(&mut self, subject: &mut Subject<'_>) -> Result<(), RuleError> {
        let lists = [&self.vars, &self.lists];
        apply_all(&self.steps, subject, &mut Run { lists: &lists, touched: &mut self.touched })?;
        subject.rewrite(|mut item, tracking| {
            fill(&mut item, &Handled::All, Filling::WherePossible(&[&self.lists]), tracking)?;
            Ok(Some(detection::Part::Item(item)))
        })
    }

    /// Transformations that did nothing to any rule: their pipelines and what they are. Of a nest that never applied
    /// the transformations in it are not named.
    pub(crate) fn idle(&self) -> Vec<(String, String)> {
        let mut idle = Vec::new();
        self.steps.iter().for_each(|step| self.collect_idle(step, &mut idle));
        idle
    }

    fn collect_idle(&self, step: &Step, idle: &mut Vec<(String, String)>) {
        match &step.action {
            _ if step.is_guard() => {}
            _ if !self.touched[step.number] => idle.push((step.pipeline.to_string(), step.label.clone())),
            Action::Nest(steps) => steps.iter().for_each(|step| self.collect_idle(step, idle)),
            _ => {}
        }
    }
}

fn filled(detections: &Detections, filling: Filling<'_>) -> Result<Detections, RuleError> {
    let mut section = detection::Section::read(detections, None);
    let mut tracking = Tracking::default();
    section.rewrite(&mut |mut item| {
        fill(&mut item, &Handled::All, filling, &mut tracking)?;
        Ok(Some(detection::Part::Item(item)))
    })?;
    section.write().map(|written| written.unwrap_or_else(|| detections.clone()))
}

fn written(sections: &[detection::Section]) -> Result<Vec<Section>, RuleError> {
    let mut out = Vec::new();
    for section in sections {
        if let Some(detections) = section.write()? {
            out.push(Section { label: section.label.clone(), detections });
        }
    }
    match out.is_empty() {
        true => Err(RuleError::Condition("pipelines dropped all that it asks".to_owned())),
        false => Ok(out),
    }
}

fn number(step: &mut Step, next: &mut usize) {
    step.number = *next;
    *next += 1;
    if let Action::Nest(steps) = &mut step.action {
        steps.iter_mut().for_each(|step| number(step, next));
    }
}

fn fingerprint(pipelines: &[Pipeline], lists: &Placeholders) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(pipelines.len() as u64).to_le_bytes());
    pipelines.iter().for_each(|pipeline| {
        hasher.update(&pipeline.hash);
    });
    lists.hash_into(&mut hasher);
    *hasher.finalize().as_bytes()
}

/// Whether a rule has values with placeholders.
pub(crate) fn expands(detections: &Detections) -> bool {
    fn visit(detection: &Detection) -> bool {
        match detection {
            Detection::AllOf(items) => items.iter().any(|item| item.field.has_modifier(Modifier::Expand)),
            Detection::AnyOf(parts) | Detection::And(parts) => parts.iter().any(visit),
            Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => false,
        }
    }
    detections.named.values().any(visit)
}
