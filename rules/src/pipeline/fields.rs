//! Transformations of field names: in items, in `fieldref` values, in correlations, and in the list `fields`.

use std::collections::BTreeMap;

use rsigma_parser::{CorrelationCondition, CorrelationRule};

use super::detection::{Content, Item, Link, Part};
use super::step::Step;
use super::subject::{Document, Subject, Tracking};
use super::text::Text;
use crate::error::RuleError;

/// How field names change.
#[derive(Debug, Clone)]
pub(super) enum Renaming {
    /// A name to one or several, all of which are searched. `None` stands for keywords.
    Names(BTreeMap<Option<String>, Vec<String>>),
    /// The first prefix that fits.
    Prefixes(Vec<(String, Vec<String>)>),
    Prefix(String),
    Suffix(String),
    /// Names of the map, else what the function makes of them.
    Function(Spelling, BTreeMap<String, Vec<String>>),
}

/// Another spelling of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Lower,
    Upper,
    /// The first letter of each word in upper case.
    Title,
    /// `processId` to `process_id`.
    Snake,
}

impl Spelling {
    pub(super) fn of(self, text: &str) -> String {
        match self {
            Spelling::Lower => text.to_lowercase(),
            Spelling::Upper => text.to_uppercase(),
            Spelling::Title => title(text),
            Spelling::Snake => snake(text),
        }
    }
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        in_word = c.is_alphabetic();
    }
    out
}

fn snake(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (i, c) in text.char_indices() {
        if i > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

impl Renaming {
    /// The new names of a field, `None` where it keeps its own.
    fn names(&self, field: Option<&str>) -> Option<Vec<String>> {
        match (self, field) {
            (Renaming::Names(map), _) => map.get(&field.map(str::to_owned)).cloned(),
            (_, None) => None,
            (Renaming::Prefixes(prefixes), Some(field)) => prefixes.iter().find_map(|(from, to)| {
                let rest = field.strip_prefix(from.as_str())?;
                Some(to.iter().map(|to| format!("{to}{rest}")).collect())
            }),
            (Renaming::Prefix(prefix), Some(field)) => Some(vec![format!("{prefix}{field}")]),
            (Renaming::Suffix(suffix), Some(field)) => Some(vec![format!("{field}{suffix}")]),
            (Renaming::Function(spelling, map), Some(field)) => {
                Some(map.get(field).cloned().unwrap_or_else(|| vec![spelling.of(field)]))
            }
        }
    }

    /// Renames the fields of a subject. Says whether there was any.
    pub(super) fn apply(&self, step: &Step, subject: &mut Subject<'_>) -> Result<bool, RuleError> {
        let mut touched = false;
        subject.rewrite(|item, tracking| {
            let (part, changed) = self.rename_item(step, item, tracking)?;
            touched |= changed;
            Ok(Some(part))
        })?;
        let fields = std::mem::take(subject.fields_mut());
        let mut renamed = Vec::new();
        for field in fields {
            renamed.extend(self.rename(step, &field, &mut subject.tracking)?.unwrap_or_else(|| vec![field]));
        }
        *subject.fields_mut() = renamed;
        if let Document::Correlation { rule, .. } = &mut subject.document {
            touched |= self.rename_correlation(step, rule, &mut subject.tracking)?;
        }
        Ok(touched)
    }

    /// The new names of a field that stands for itself; `None` where it keeps its own.
    fn rename(
        &self,
        step: &Step,
        field: &str,
        tracking: &mut Tracking,
    ) -> Result<Option<Vec<String>>, RuleError> {
        let names = self.names(Some(field)).filter(|_| step.fields.holds_for_name(field, tracking));
        if let Some(names) = &names {
            tracking.spend(names.iter().map(String::len).sum())?;
            tracking.rename(Some(field), names, step.id.as_ref());
        }
        Ok(names)
    }

    fn rename_item(
        &self,
        step: &Step,
        mut item: Item,
        tracking: &mut Tracking,
    ) -> Result<(Part, bool), RuleError> {
        if !step.holds_for_item(&item, tracking) {
            return Ok((Part::Item(item), false));
        }
        let mut changed = self.rename_references(step, &mut item, tracking)?;
        let field = item.field.clone();
        let names = self.names(field.as_deref()).filter(|_| step.fields.holds_for_field(&item, tracking));
        changed |= names.is_some();
        if changed {
            item.applied.extend(step.id.clone());
        }
        let Some(names) = names else { return Ok((Part::Item(item), changed)) };
        tracking.rename(field.as_deref(), &names, step.id.as_ref());
        if field.is_none() {
            search_anywhere(&mut item);
        }
        tracking.spend(names.len().saturating_mul(item.size()))?;
        let with = |name: &String| Part::Item(Item { field: Some(name.clone()), ..item.clone() });
        Ok(match names.as_slice() {
            [name] => (with(name), true),
            _ => (Part::Group(Link::Any, names.iter().map(with).collect()), true),
        })
    }

    fn rename_references(
        &self,
        step: &Step,
        item: &mut Item,
        tracking: &mut Tracking,
    ) -> Result<bool, RuleError> {
        let mut changed = false;
        let mut values = Vec::with_capacity(item.values.len());
        for value in std::mem::take(&mut item.values) {
            let names = match value.field_ref() {
                Some(field) => self.rename(step, &field, tracking)?,
                None => None,
            };
            changed |= names.is_some();
            match names {
                Some(names) => values.extend(names.iter().map(|n| value.with_text(Text::verbatim(n)))),
                None => values.push(value),
            }
        }
        item.values = values;
        Ok(changed)
    }

    /// The fields of a correlation, but not its aliases: those are names of its own.
    fn rename_correlation(
        &self,
        step: &Step,
        rule: &mut CorrelationRule,
        tracking: &mut Tracking,
    ) -> Result<bool, RuleError> {
        let mut changed = false;
        let is_alias = |rule: &CorrelationRule, name: &String| rule.aliases.iter().any(|a| a.alias == *name);
        let mut group_by = Vec::new();
        for name in rule.group_by.clone() {
            let names = if is_alias(rule, &name) { None } else { self.rename(step, &name, tracking)? };
            changed |= names.is_some();
            group_by.extend(names.unwrap_or_else(|| vec![name]));
        }
        rule.group_by = group_by;
        let condition = match rule.condition.clone() {
            CorrelationCondition::Threshold { predicates, field: Some(mut fields), percentile } => {
                for field in fields.iter_mut().filter(|field| !is_alias(rule, field)) {
                    changed |= self.rename_to_one(step, field, "condition field", tracking)?;
                }
                CorrelationCondition::Threshold { predicates, field: Some(fields), percentile }
            }
            other => other,
        };
        rule.condition = condition;
        for alias in &mut rule.aliases {
            for field in alias.mapping.values_mut() {
                changed |= self.rename_to_one(step, field, "alias", tracking)?;
            }
        }
        Ok(changed)
    }

    fn rename_to_one(
        &self,
        step: &Step,
        field: &mut String,
        place: &str,
        tracking: &mut Tracking,
    ) -> Result<bool, RuleError> {
        match self.rename(step, field, tracking)?.as_deref() {
            None => Ok(false),
            Some([name]) => {
                field.clone_from(name);
                Ok(true)
            }
            Some(names) => Err(step.failed(format!(
                "the {place} of a correlation is one field, but `{field}` becomes {}",
                names.join(", ")
            ))),
        }
    }
}

/// Keywords are found anywhere in a text, and so they are in the field that they are bound to.
fn search_anywhere(item: &mut Item) {
    for value in &mut item.values {
        if let Some(text) = value.as_string().cloned() {
            value.content = Content::Text(text.wrapped(true, true));
        }
    }
}

/// Whether the names of all fields come from a mapping; else those that do not.
pub(super) fn unmapped(subject: &Subject<'_>) -> Vec<String> {
    let mut odd = std::collections::BTreeSet::new();
    subject.any_item(&mut |item| {
        odd.extend(item.field.iter().filter(|field| !subject.tracking.mapped.contains(*field)).cloned());
        false
    });
    odd.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::detection::Value;

    #[test]
    fn spellings() {
        assert_eq!(Spelling::Snake.of("ParentProcessId"), "parent_process_id");
        assert_eq!(Spelling::Title.of("process name.x"), "Process Name.X");
        assert_eq!((Spelling::Upper.of("aé"), Spelling::Lower.of("AÉ")), ("AÉ".to_owned(), "aé".to_owned()));
    }

    #[test]
    fn values_keep_their_modifiers_when_a_reference_is_renamed() {
        use rsigma_parser::Modifier;
        let content = Content::Verbatim(Text::verbatim("A"));
        let value = Value { content, modifiers: vec![Modifier::FieldRef, Modifier::Contains] };
        assert_eq!(value.with_text(Text::verbatim("B")).field_ref().as_deref(), Some("B"));
    }
}
