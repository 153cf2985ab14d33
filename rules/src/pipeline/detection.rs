//! The detections of a rule while pipelines work on them: a tree of items whose modifiers that are no more than
//! wildcards (`contains`, `startswith`, `endswith`) have become wildcards, as pySigma has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rsigma_parser::{
    ConditionExpr, Detection, DetectionItem, Detections, FieldSpec, Modifier, SigmaString, SigmaValue,
};

use super::text::Text;
use crate::compile::is_selected;
use crate::error::RuleError;
use crate::item;

/// A detection section with a condition of its own: of the rule, of a filter, or added by a pipeline. All hold.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// How an explanation names it; `None` for the rule's own.
    pub(crate) label: Option<Arc<str>>,
    pub(crate) named: BTreeMap<String, Part>,
    /// Detections of which nothing is left.
    dropped: BTreeSet<String>,
    conditions: Vec<ConditionExpr>,
    timeframe: Option<String>,
}

/// A detection or a part of one.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Item(Item),
    Group(Link, Vec<Part>),
    /// What no transformation looks into, and the compiler refuses.
    Opaque(Detection),
}

/// How the parts of a group belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    All,
    Any,
}

/// A field, or keywords, with values.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// As the rule has it, for messages.
    pub(crate) key: Arc<str>,
    pub(crate) field: Option<String>,
    /// All values must hold, not any.
    pub(crate) all: bool,
    /// `neq`
    pub(crate) negated: bool,
    pub(crate) values: Vec<Value>,
    /// Ids of the transformations that changed it.
    pub(crate) applied: BTreeSet<Arc<str>>,
}

/// A value with the modifiers that decide how it is read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) content: Content,
    pub(crate) modifiers: Vec<Modifier>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// With wildcards.
    Text(Text),
    /// Without: a regular expression, a field name, a network.
    Verbatim(Text),
    /// A number, a boolean, null.
    Scalar(SigmaValue),
}

impl Value {
    pub(crate) fn text(text: Text) -> Self {
        Self { content: Content::Text(text), modifiers: Vec::new() }
    }

    pub(crate) fn scalar(value: SigmaValue) -> Self {
        Self { content: Content::Scalar(value), modifiers: Vec::new() }
    }

    /// The text of a string; `None` for regular expressions, field names, numbers, and what stands for several strings
    /// (`windash`, `base64offset`).
    pub(crate) fn as_string(&self) -> Option<&Text> {
        match &self.content {
            Content::Text(text) if self.modifiers.iter().all(|m| *m == Modifier::Cased) => Some(text),
            _ => None,
        }
    }

    /// The same value with another text.
    pub(crate) fn with_text(&self, text: Text) -> Self {
        let content = match self.content {
            Content::Verbatim(_) => Content::Verbatim(text),
            _ => Content::Text(text),
        };
        Self { content, modifiers: self.modifiers.clone() }
    }

    /// The text, of whatever kind.
    pub(crate) fn any_text(&self) -> Option<&Text> {
        match &self.content {
            Content::Text(text) | Content::Verbatim(text) => Some(text),
            Content::Scalar(_) => None,
        }
    }

    /// The field that a `fieldref` names.
    pub(crate) fn field_ref(&self) -> Option<String> {
        match &self.content {
            Content::Verbatim(text) if self.modifiers.contains(&Modifier::FieldRef) => Some(text.raw()),
            _ => None,
        }
    }

    pub(crate) fn size(&self) -> usize {
        1 + self.any_text().map_or(0, Text::size)
    }

    fn read(value: &SigmaValue, modifiers: &[Modifier]) -> Self {
        let rest = |m: &&Modifier| !matches!(m, Modifier::All | Modifier::Neq | Modifier::Expand);
        let modifiers_left: Vec<Modifier> = modifiers.iter().filter(rest).copied().collect();
        let SigmaValue::String(text) = value else {
            return Self { content: Content::Scalar(value.clone()), modifiers: modifiers_left };
        };
        let expands = modifiers.contains(&Modifier::Expand);
        if modifiers_left.iter().any(is_verbatim) {
            let text = match expands {
                true => Text::with_placeholders(&text.original, Text::verbatim),
                false => Text::verbatim(&text.original),
            };
            return Self { content: Content::Verbatim(text), modifiers: modifiers_left };
        }
        let text = match expands {
            true => Text::with_placeholders(&text.original, Text::parse),
            false => Text::from_sigma(text),
        };
        Self { content: Content::Text(text), modifiers: modifiers_left }.encoded().with_wildcards()
    }

    /// The encoded text, where encodings make one of a plain text; a placeholder is encoded with its values.
    fn encoded(self) -> Self {
        let plain = match &self.content {
            Content::Text(text) if !text.has_wildcard() && text.placeholder().is_none() => text.raw(),
            _ => return self,
        };
        match item::encoded(&plain, &self.modifiers) {
            Some((text, left)) => {
                Self { content: Content::Text(Text::verbatim(&text)), modifiers: left.to_vec() }
            }
            None => self,
        }
    }

    /// `contains` and its kin as wildcards, where no modifier stands that must come before them.
    fn with_wildcards(self) -> Self {
        use Modifier::{Cased, Contains, EndsWith, StartsWith};
        let Content::Text(text) = self.content else { return self };
        if !self.modifiers.iter().all(|m| matches!(m, Contains | StartsWith | EndsWith | Cased)) {
            return Self { content: Content::Text(text), modifiers: self.modifiers };
        }
        let wrapped = self.modifiers.iter().fold(text, |text, modifier| match modifier {
            Contains => text.wrapped(true, true),
            StartsWith => text.wrapped(false, true),
            EndsWith => text.wrapped(true, false),
            _ => text,
        });
        let modifiers = self.modifiers.into_iter().filter(|m| *m == Cased).collect();
        Self { content: Content::Text(wrapped), modifiers }
    }

    fn write(&self, key: &str) -> Result<SigmaValue, RuleError> {
        if let Some(name) = self.any_text().and_then(Text::placeholder) {
            return Err(RuleError::Placeholder { key: key.to_owned(), placeholder: name.to_string() });
        }
        Ok(match &self.content {
            Content::Text(text) => SigmaValue::String(text.to_sigma()),
            Content::Verbatim(text) => SigmaValue::String(SigmaString::from_raw(&text.raw())),
            Content::Scalar(value) => value.clone(),
        })
    }
}

/// Modifiers whose values have no wildcards.
fn is_verbatim(modifier: &Modifier) -> bool {
    use Modifier::{Cidr, Day, Exists, FieldRef, Gt, Gte, Hour, Lt, Lte, Minute, Month, Re, Week, Year};
    matches!(
        modifier,
        Re | Cidr | Exists | FieldRef | Gt | Gte | Lt | Lte | Minute | Hour | Day | Week | Month | Year
    )
}

impl Item {
    pub(crate) fn read(item: &DetectionItem) -> Self {
        let modifiers = &item.field.modifiers;
        Self {
            key: item::key_of(item).into(),
            field: item.field.name.clone(),
            all: modifiers.contains(&Modifier::All),
            negated: modifiers.contains(&Modifier::Neq),
            values: item.values.iter().map(|value| Value::read(value, modifiers)).collect(),
            applied: BTreeSet::new(),
        }
    }

    /// One item, or a group where the values are of several kinds.
    fn write(&self) -> Result<Detection, RuleError> {
        let mut kinds: Vec<(&[Modifier], Vec<SigmaValue>)> = Vec::new();
        for value in &self.values {
            let written = value.write(&self.key)?;
            match kinds.iter_mut().find(|(modifiers, _)| *modifiers == value.modifiers) {
                Some((_, values)) => values.push(written),
                None => kinds.push((&value.modifiers, vec![written])),
            }
        }
        if kinds.is_empty() {
            kinds.push((&[], Vec::new()));
        }
        let mut parts: Vec<Detection> =
            kinds.into_iter().map(|(m, values)| Detection::AllOf(vec![self.of_kind(m, values)])).collect();
        Ok(match (parts.len(), self.link()) {
            (1, _) => parts.remove(0),
            (_, Link::All) => Detection::And(parts),
            (_, Link::Any) => Detection::AnyOf(parts),
        })
    }

    fn of_kind(&self, modifiers: &[Modifier], values: Vec<SigmaValue>) -> DetectionItem {
        let own = [(self.all, Modifier::All), (self.negated, Modifier::Neq)];
        let own = own.into_iter().filter_map(|(has, modifier)| has.then_some(modifier));
        let modifiers = modifiers.iter().copied().chain(own).collect();
        DetectionItem { field: FieldSpec::new(self.field.clone(), modifiers), values }
    }

    /// How items belong together that the values of this one are divided among.
    pub(crate) fn link(&self) -> Link {
        // Not any of them is: each of them not. Not all of them is: any of them not.
        if self.all == self.negated { Link::Any } else { Link::All }
    }

    pub(crate) fn size(&self) -> usize {
        self.field.as_ref().map_or(0, String::len) + self.values.iter().map(Value::size).sum::<usize>()
    }
}

impl Part {
    /// `owner` is the filter that it belongs to, if it is not the rule's own.
    fn read(detection: &Detection, owner: Option<&str>) -> Self {
        let all = |parts: &[Detection]| parts.iter().map(|part| Part::read(part, owner)).collect();
        let item = |item: &DetectionItem| {
            let mut read = Item::read(item);
            if let Some(owner) = owner {
                read.key = format!("{owner}: {}", read.key).into();
            }
            Part::Item(read)
        };
        match detection {
            Detection::AllOf(items) => Part::Group(Link::All, items.iter().map(item).collect()),
            Detection::AnyOf(parts) => Part::Group(Link::Any, all(parts)),
            Detection::And(parts) => Part::Group(Link::All, all(parts)),
            Detection::Keywords(values) => {
                let field = FieldSpec::new(None, Vec::new());
                item(&DetectionItem { field, values: values.clone() })
            }
            Detection::ArrayMatch { .. } | Detection::Conditional { .. } => Part::Opaque(detection.clone()),
        }
    }

    fn write(&self) -> Result<Detection, RuleError> {
        match self {
            Part::Item(item) => item.write(),
            Part::Opaque(detection) => Ok(detection.clone()),
            Part::Group(link, parts) => {
                let parts = parts.iter().map(Part::write).collect::<Result<Vec<_>, _>>()?;
                Ok(match link {
                    Link::All => Detection::And(parts),
                    Link::Any => Detection::AnyOf(parts),
                })
            }
        }
    }

    /// Whether `test` holds for any item.
    pub(crate) fn any_item(&self, test: &mut dyn FnMut(&Item) -> bool) -> bool {
        match self {
            Part::Item(item) => test(item),
            Part::Group(_, parts) => parts.iter().any(|part| part.any_item(test)),
            Part::Opaque(_) => false,
        }
    }

    /// The part with each item replaced by what `change` makes of it; `None` where nothing is left.
    fn rewritten(self, change: &mut Change<'_>) -> Result<Option<Part>, RuleError> {
        match self {
            Part::Item(item) => change(item),
            Part::Opaque(_) => Ok(Some(self)),
            Part::Group(link, parts) => {
                // Of a rule's mistake: the compiler says that the detection is empty.
                if parts.is_empty() {
                    return Ok(Some(Part::Group(link, parts)));
                }
                let mut left = Vec::new();
                for part in parts {
                    match part.rewritten(change)? {
                        Some(Part::Group(inner, parts)) if inner == link => left.extend(parts),
                        Some(part) => left.push(part),
                        None => {}
                    }
                }
                Ok((!left.is_empty()).then_some(Part::Group(link, left)))
            }
        }
    }

    fn depth(&self) -> usize {
        match self {
            Part::Group(_, parts) => 1 + parts.iter().map(Part::depth).max().unwrap_or_default(),
            _ => 1,
        }
    }
}

/// What a transformation makes of an item.
pub(crate) type Change<'a> = dyn FnMut(Item) -> Result<Option<Part>, RuleError> + 'a;

/// Groups within groups. A rule has three levels; a transformation adds two at most.
const DEPTH_MAX: usize = 64;

impl Section {
    pub(crate) fn read(detections: &Detections, label: Option<Arc<str>>) -> Self {
        let read = |(name, part): (&String, &Detection)| (name.clone(), Part::read(part, label.as_deref()));
        Self {
            named: detections.named.iter().map(read).collect(),
            label,
            dropped: BTreeSet::new(),
            conditions: detections.conditions.clone(),
            timeframe: detections.timeframe.clone(),
        }
    }

    /// A section of one detection that must hold, or must not.
    pub(crate) fn added(name: &str, part: Part, condition: fn(ConditionExpr) -> ConditionExpr) -> Self {
        Self {
            label: Some(name.into()),
            named: BTreeMap::from([(name.to_owned(), part)]),
            dropped: BTreeSet::new(),
            conditions: vec![condition(ConditionExpr::Identifier(name.to_owned()))],
            timeframe: None,
        }
    }

    /// Replaces each item by what `change` makes of it.
    pub(crate) fn rewrite(&mut self, change: &mut Change<'_>) -> Result<(), RuleError> {
        for (name, part) in std::mem::take(&mut self.named) {
            match part.rewritten(change)? {
                Some(part) if part.depth() > DEPTH_MAX => {
                    return Err(RuleError::Limit { what: "depth of a detection", limit: DEPTH_MAX });
                }
                Some(part) => {
                    self.named.insert(name, part);
                }
                None => {
                    self.dropped.insert(name);
                }
            }
        }
        Ok(())
    }

    /// The section for the compiler; `None` where pipelines left nothing of its condition.
    ///
    /// # Errors
    /// A placeholder without values, or a list of conditions of which one has nothing left.
    pub(crate) fn write(&self) -> Result<Option<Detections>, RuleError> {
        let conditions: Vec<ConditionExpr> = self.conditions.iter().filter_map(|c| self.pruned(c)).collect();
        if conditions.is_empty() && !self.conditions.is_empty() {
            return Ok(None);
        }
        if conditions.len() < self.conditions.len() {
            let problem = "pipelines dropped all that one condition of the list asks";
            return Err(RuleError::Condition(problem.to_owned()));
        }
        let named = self.named.iter().map(|(name, part)| Ok((name.clone(), part.write()?)));
        Ok(Some(Detections {
            named: named.collect::<Result<_, RuleError>>()?,
            condition_strings: conditions.iter().map(ToString::to_string).collect(),
            conditions,
            timeframe: self.timeframe.clone(),
        }))
    }

    /// The condition without the detections of which nothing is left: they ask nothing any more.
    fn pruned(&self, condition: &ConditionExpr) -> Option<ConditionExpr> {
        let all = |parts: &[ConditionExpr]| -> Option<Vec<ConditionExpr>> {
            let left: Vec<ConditionExpr> = parts.iter().filter_map(|p| self.pruned(p)).collect();
            (!left.is_empty()).then_some(left)
        };
        match condition {
            _ if self.dropped.is_empty() => Some(condition.clone()),
            ConditionExpr::And(parts) => all(parts).map(ConditionExpr::And),
            ConditionExpr::Or(parts) => all(parts).map(ConditionExpr::Or),
            ConditionExpr::Not(part) => self.pruned(part).map(|p| ConditionExpr::Not(Box::new(p))),
            ConditionExpr::Identifier(name) => (!self.dropped.contains(name)).then(|| condition.clone()),
            ConditionExpr::Selector { pattern, .. } => {
                let selected = |name: &String| is_selected(pattern, name);
                let emptied = self.dropped.iter().any(selected) && !self.named.keys().any(selected);
                (!emptied).then(|| condition.clone())
            }
        }
    }
}
