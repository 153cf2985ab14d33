//! Sigma filters: a condition that is added to rules of others. A rule with filters matches where its own condition
//! and every filter's condition hold, so a filter is written as `condition: not selection`.

use std::sync::Arc;

use event::Logsource;
use rsigma_parser::{Detections, FilterRule, FilterRuleTarget, SigmaRule};

use crate::atom::Atoms;
use crate::compile;
use crate::error::RuleError;
use crate::node::Node;
use crate::overlay::{Exception, OverlayEntry};
use crate::pipeline::{Rewriter, expands};
use crate::rule::{RuleInfo, logsource};

/// A filter, compiled. Its detections are its own: `them` and patterns never reach those of a rule.
#[derive(Debug)]
pub(crate) struct Filter {
    name: String,
    logsource: Logsource,
    target: FilterRuleTarget,
    body: Body,
    /// For an exception of an overlay: its entry.
    by: Option<Arc<OverlayEntry>>,
}

#[derive(Debug)]
enum Body {
    Compiled(Node),
    /// Pipelines rewrite it with each rule that it applies to.
    ToRewrite(Detections),
}

impl Filter {
    /// Reads a filter, and compiles it unless pipelines are to rewrite it.
    ///
    /// # Errors
    /// Why it must be rejected, also where it is still to be rewritten.
    pub(crate) fn new(
        filter: &FilterRule,
        rewriter: &Rewriter,
        atoms: &mut Atoms,
    ) -> Result<Self, RuleError> {
        let body = match (rewriter.has_steps(), expands(&filter.detection)) {
            (true, expands) => {
                // A mistake of its own must not cost the rules; whether placeholders get values, only they tell.
                if !expands {
                    compile::compile(&filter.detection, &mut Atoms::default())?;
                }
                Body::ToRewrite(filter.detection.clone())
            }
            (false, true) => Body::Compiled(compile::compile(&rewriter.filled(&filter.detection)?, atoms)?),
            (false, false) => Body::Compiled(compile::compile(&filter.detection, atoms)?),
        };
        let logsource = filter.logsource.as_ref().map(logsource).unwrap_or_default();
        Ok(Self {
            name: format!("filter: {}", filter.title),
            logsource,
            target: filter.rules.clone(),
            body,
            by: None,
        })
    }

    /// An exception of an overlay: a filter for one rule, whose condition says what does *not* match. It names fields as
    /// events have them: pipelines leave it alone.
    pub(crate) fn exception(exception: &Exception, atoms: &mut Atoms) -> Result<Self, RuleError> {
        let tree = Node::Not(Box::new(compile::compile(&exception.detection, atoms)?));
        let target = FilterRuleTarget::Specific(vec![exception.rule_id.to_string()]);
        let name = format!("except: {} {}", exception.by.file, exception.by.label());
        let (logsource, by) = (Logsource::default(), Some(Arc::clone(&exception.by)));
        Ok(Self { name, logsource, target, body: Body::Compiled(tree), by })
    }

    /// Whether it names the rule, by id or name, and every key of its logsource is the rule's.
    pub(crate) fn applies_to(&self, info: &RuleInfo, rule: &SigmaRule) -> bool {
        let is_named = |name: &String| {
            name.eq_ignore_ascii_case(&info.reference.id) || rule.name.as_ref().is_some_and(|n| n == name)
        };
        let is_target = match &self.target {
            FilterRuleTarget::Any => true,
            FilterRuleTarget::Specific(names) => names.iter().any(is_named),
        };
        is_target && self.logsource.covers(&info.logsource)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it adds to the condition of a rule, where it is compiled.
    pub(crate) fn part(&self) -> Option<Node> {
        match &self.body {
            Body::Compiled(tree) => Some(Node::Named(self.name.as_str().into(), Box::new(tree.clone()))),
            Body::ToRewrite(_) => None,
        }
    }

    /// Its name and detections, where they are to be rewritten with a rule.
    pub(crate) fn section(&self) -> Option<(&str, &Detections)> {
        match &self.body {
            Body::Compiled(_) => None,
            Body::ToRewrite(detections) => Some((&self.name, detections)),
        }
    }

    /// The entry of an overlay that it is an exception of.
    pub(crate) fn exception_by(&self) -> Option<&Arc<OverlayEntry>> {
        self.by.as_ref()
    }

    /// The rules that it names and that are none of `known` (ids in lower case, and names).
    pub(crate) fn unknown<'a>(&'a self, known: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'a str> {
        let names = match &self.target {
            FilterRuleTarget::Any => &[],
            FilterRuleTarget::Specific(names) => names.as_slice(),
        };
        names
            .iter()
            .map(String::as_str)
            .filter(move |name| !known(name) && !known(&name.to_ascii_lowercase()))
    }
}
