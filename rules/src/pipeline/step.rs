//! One transformation of a pipeline with its conditions, and what it does to a rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use rsigma_parser::{ConditionExpr, DetectionItem, LogSource, SigmaValue, parse_field_spec};

use super::condition::{FieldCondition, ItemCondition, RuleCondition, Scalar, Test};
use super::detection::{Item, Link, Part, Section, Value};
use super::fields::{Renaming, unmapped};
use super::placeholder::{Filling, Handled, Placeholders, fill};
use super::subject::{Document, Subject, Tracking};
use super::text::{Piece, Text};
use super::values::{Extract, Hashes, ValueChange};
use crate::error::RuleError;

/// A transformation and when it applies.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Position among the steps of all pipelines, from 1.
    pub(super) number: usize,
    /// Name of the pipeline.
    pub(super) pipeline: Arc<str>,
    /// Where it stands and what it is, for messages.
    pub(super) label: String,
    pub(super) id: Option<Arc<str>>,
    pub(super) rules: Test<RuleCondition>,
    pub(super) items: Test<ItemCondition>,
    pub(super) fields: Test<FieldCondition>,
    pub(super) action: Action,
}

/// What a transformation does.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Rename(Renaming),
    DropItems,
    Hashes(Hashes),
    Extract(Extract),
    ChangeValues(ValueChange),
    FillFromLists(Handled),
    FillWithWildcard(Handled),
    AddCondition(AddedCondition),
    ChangeLogsource(LogSource),
    AddFields(Vec<String>),
    RemoveFields(Vec<String>),
    SetFields(Vec<String>),
    SetState(String, Scalar),
    SetAttribute(String, Scalar),
    FailRule(String),
    FailItem(String),
    FailUnmapped,
    Nest(Vec<Step>),
}

/// A condition that is added to rules.
#[derive(Debug, Clone)]
pub(super) struct AddedCondition {
    pub(super) name: Option<String>,
    pub(super) items: Vec<Item>,
    /// Whether `$category`, `$product` and `$service` in texts stand for the rule's logsource.
    pub(super) template: bool,
    pub(super) negated: bool,
}

/// What a run over one rule needs and leaves.
pub(super) struct Run<'a> {
    /// Values of placeholders, the first list that has a name wins.
    pub(super) lists: &'a [&'a Placeholders],
    /// By number of step: whether it did anything to any rule.
    pub(super) touched: &'a mut [bool],
}

/// Applies steps in order.
///
/// # Errors
/// Why the rule must be rejected.
pub(super) fn apply_all(
    steps: &[Step],
    subject: &mut Subject<'_>,
    run: &mut Run<'_>,
) -> Result<(), RuleError> {
    steps.iter().try_for_each(|step| step.apply(subject, run))
}

impl Step {
    /// The rejection of a rule by this step.
    pub(super) fn failed(&self, problem: String) -> RuleError {
        let (pipeline, transformation) = (self.pipeline.to_string(), self.label.clone());
        RuleError::Pipeline { pipeline, transformation, problem }
    }

    /// Whether it applies to an item, by the conditions for items and for field names.
    pub(super) fn holds_for_item(&self, item: &Item, tracking: &Tracking) -> bool {
        self.items.holds_for_item(item, tracking) && self.fields.holds_for_item(item, tracking)
    }

    fn apply(&self, subject: &mut Subject<'_>, run: &mut Run<'_>) -> Result<(), RuleError> {
        subject.tracking.spend(1)?;
        let holds = self.rules.holds(&mut |condition| condition.holds(subject, self.number));
        if !holds.map_err(|problem| self.failed(problem))? {
            return Ok(());
        }
        let is_for_rules_alone = matches!(self.action, Action::AddCondition(_));
        if !(is_for_rules_alone && subject.is_correlation()) {
            subject.tracking.applied.extend(self.id.clone());
        }
        if self.act(subject, run)?
            && let Some(touched) = run.touched.get_mut(self.number)
        {
            *touched = true;
        }
        Ok(())
    }

    /// Says whether it did anything.
    fn act(&self, subject: &mut Subject<'_>, run: &mut Run<'_>) -> Result<bool, RuleError> {
        match &self.action {
            Action::Rename(renaming) => renaming.apply(self, subject),
            Action::DropItems => self.for_items(subject, |_, _| Ok(Outcome::Dropped)),
            Action::Hashes(hashes) => self.for_items(subject, |item, _| {
                let split = hashes.apply(&item).map_err(|problem| self.failed(problem))?;
                Ok(split.map_or(Outcome::Kept(item), Outcome::Replaced))
            }),
            Action::Extract(extract) => self.for_items(subject, |item, _| {
                Ok(extract.apply(&item).map_or(Outcome::Kept(item), Outcome::Replaced))
            }),
            Action::ChangeValues(change) => self.for_items(subject, |mut item, tracking| {
                let changed = change.apply(&mut item).map_err(|problem| self.failed(problem))?;
                tracking.spend(item.size())?;
                Ok(Outcome::of(item, changed))
            }),
            Action::FillFromLists(handled) => self.fill(subject, handled, Filling::Strictly(run.lists)),
            Action::FillWithWildcard(handled) => self.fill(subject, handled, Filling::Wildcard),
            Action::AddCondition(added) => self.add_condition(added, subject),
            Action::ChangeLogsource(logsource) => Ok(self.change_logsource(logsource, subject)),
            Action::AddFields(fields) => {
                subject.fields_mut().extend(fields.iter().cloned());
                Ok(true)
            }
            Action::RemoveFields(fields) => {
                subject.fields_mut().retain(|field| !fields.contains(field));
                Ok(true)
            }
            Action::SetFields(fields) => {
                subject.fields_mut().clone_from(fields);
                Ok(true)
            }
            Action::SetState(key, value) => {
                subject.tracking.state.insert(key.clone(), value.clone());
                Ok(true)
            }
            Action::SetAttribute(name, value) => {
                subject.tracking.attributes.insert(name.clone(), value.clone());
                Ok(true)
            }
            Action::FailRule(message) => Err(self.failed(message.clone())),
            Action::FailItem(message) => self.for_items(subject, |_, _| Err(self.failed(message.clone()))),
            Action::FailUnmapped => match unmapped(subject) {
                fields if fields.is_empty() => Ok(true),
                fields => Err(self.failed(format!("fields without mapping: {}", fields.join(", ")))),
            },
            Action::Nest(steps) => apply_all(steps, subject, run).map(|()| true),
        }
    }

    fn for_items(
        &self,
        subject: &mut Subject<'_>,
        mut change: impl FnMut(Item, &mut Tracking) -> Result<Outcome, RuleError>,
    ) -> Result<bool, RuleError> {
        let mut touched = false;
        subject.rewrite(|item, tracking| {
            if !self.holds_for_item(&item, tracking) {
                return Ok(Some(Part::Item(item)));
            }
            let outcome = change(item, tracking)?;
            touched |= !matches!(outcome, Outcome::Kept(_));
            Ok(match outcome {
                Outcome::Kept(item) => Some(Part::Item(item)),
                Outcome::Changed(item) => Some(self.marked(Part::Item(item))),
                Outcome::Replaced(part) => Some(self.marked(part)),
                Outcome::Dropped => None,
            })
        })?;
        Ok(touched)
    }

    fn marked(&self, part: Part) -> Part {
        match part {
            Part::Item(mut item) => {
                item.applied.extend(self.id.clone());
                Part::Item(item)
            }
            Part::Group(link, parts) => {
                Part::Group(link, parts.into_iter().map(|part| self.marked(part)).collect())
            }
            opaque @ Part::Opaque(_) => opaque,
        }
    }

    fn fill(
        &self,
        subject: &mut Subject<'_>,
        handled: &Handled,
        filling: Filling<'_>,
    ) -> Result<bool, RuleError> {
        self.for_items(subject, |mut item, tracking| {
            let changed = fill(&mut item, handled, filling, tracking)?;
            Ok(Outcome::of(item, changed))
        })
    }

    fn add_condition(&self, added: &AddedCondition, subject: &mut Subject<'_>) -> Result<bool, RuleError> {
        let Document::Rule(rule) = &subject.document else { return Ok(false) };
        let mut items = added.items.clone();
        if added.template {
            let values = items.iter_mut().flat_map(|item| &mut item.values);
            values.into_iter().try_for_each(|value| self.fill_template(value, &rule.logsource))?;
        }
        for item in &mut items {
            subject.tracking.spend(item.size())?;
            item.applied.extend(self.id.clone());
        }
        let name = added.name.clone().unwrap_or_else(|| format!("pipeline: {}", self.pipeline));
        let part = Part::Group(Link::All, items.into_iter().map(Part::Item).collect());
        let condition = match added.negated {
            true => |name| ConditionExpr::Not(Box::new(name)),
            false => |name| name,
        };
        subject.sections.push(Section::added(&name, part, condition));
        Ok(true)
    }

    fn fill_template(&self, value: &mut Value, logsource: &LogSource) -> Result<(), RuleError> {
        let Some(text) = value.any_text() else { return Ok(()) };
        let mut filled = Text::default();
        for piece in text.pieces() {
            match piece {
                Piece::Plain(plain) => {
                    filled.push_plain(
                        &from_template(plain, logsource).map_err(|problem| self.failed(problem))?,
                    );
                }
                other => filled.push(other.clone()),
            }
        }
        *value = value.with_text(filled);
        Ok(())
    }

    fn change_logsource(&self, logsource: &LogSource, subject: &mut Subject<'_>) -> bool {
        let Document::Rule(rule) = &mut subject.document else { return false };
        rule.logsource = logsource.clone();
        subject.logsources.push(self.number, logsource.clone());
        true
    }

    /// Whether it is there to reject rules: that it rejects none is no oddity.
    pub(super) fn is_guard(&self) -> bool {
        matches!(self.action, Action::FailRule(_) | Action::FailItem(_) | Action::FailUnmapped)
    }
}

/// What became of an item.
enum Outcome {
    Kept(Item),
    Changed(Item),
    Replaced(Part),
    Dropped,
}

impl Outcome {
    fn of(item: Item, changed: bool) -> Self {
        if changed { Outcome::Changed(item) } else { Outcome::Kept(item) }
    }
}

/// Fills in `$category` and its kin, also as `${category}`. `$$` is a dollar sign; other names stay.
fn from_template(text: &str, logsource: &LogSource) -> Result<String, String> {
    let values: BTreeMap<&str, &Option<String>> = BTreeMap::from([
        ("category", &logsource.category),
        ("product", &logsource.product),
        ("service", &logsource.service),
    ]);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let found = values.iter().find_map(|(name, value)| Some((*name, *value, after(rest, name)?)));
        match found {
            Some((_, Some(value), tail)) => {
                out.push_str(value);
                rest = tail;
            }
            Some((name, None, _)) => {
                return Err(format!("`${name}` in a condition, but the rule's logsource has no {name}"));
            }
            None => out.push('$'),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The rest of a text that begins with a name of a template.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    if let Some(braced) = text.strip_prefix('{') {
        return braced.strip_prefix(name)?.strip_prefix('}');
    }
    let rest = text.strip_prefix(name)?;
    (!rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')).then_some(rest)
}

/// A detection key with its modifiers and values, as `add_condition` has them.
pub(super) fn read_condition_item(key: &str, values: Vec<SigmaValue>) -> Result<Item, String> {
    let field = parse_field_spec(key).map_err(|e| format!("`{key}`: {e}"))?;
    Ok(Item::read(&DetectionItem { field, values }))
}
