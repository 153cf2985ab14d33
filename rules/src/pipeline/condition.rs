//! When a transformation applies: to which rules, items and field names.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;
use rsigma_parser::{ConditionExpr, LogSource, SigmaValue, parse_condition};
use serde_yaml_ng::Value as Yaml;

use super::attribute::AttributeTest;
use super::detection::{Content, Item, Value};
use super::keys::{Keys, regex};
use super::subject::{Subject, Tracking};
use super::text::Text;

/// Conditions linked to one.
#[derive(Debug, Clone)]
pub(super) enum Test<C> {
    Leaf(C),
    /// None is true.
    All(Vec<Test<C>>),
    Any(Vec<Test<C>>),
    Not(Box<Test<C>>),
}

impl<C> Test<C> {
    pub(super) fn holds<E>(&self, leaf: &mut dyn FnMut(&C) -> Result<bool, E>) -> Result<bool, E> {
        match self {
            Test::Leaf(condition) => leaf(condition),
            Test::Not(part) => part.holds(leaf).map(|holds| !holds),
            Test::All(parts) => {
                for part in parts {
                    if !part.holds(leaf)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Test::Any(parts) => {
                for part in parts {
                    if part.holds(leaf)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    fn holds_surely(&self, leaf: &mut dyn FnMut(&C) -> bool) -> bool {
        let outcome = self.holds(&mut |condition| Ok::<bool, std::convert::Infallible>(leaf(condition)));
        match outcome {
            Ok(holds) => holds,
            Err(never) => match never {},
        }
    }
}

/// The keys of one kind of conditions.
pub(super) struct Names {
    conditions: &'static str,
    operator: &'static str,
    negation: &'static str,
    /// pySigma's name, and the one in its documentation of old.
    expressions: [&'static str; 2],
}

pub(super) const RULE: Names = Names {
    conditions: "rule_conditions",
    operator: "rule_cond_op",
    negation: "rule_cond_not",
    expressions: ["rule_cond_expr", "rule_cond_expression"],
};
pub(super) const ITEM: Names = Names {
    conditions: "detection_item_conditions",
    operator: "detection_item_cond_op",
    negation: "detection_item_cond_not",
    expressions: ["detection_item_cond_expr", "detection_item_cond_expression"],
};
pub(super) const FIELD: Names = Names {
    conditions: "field_name_conditions",
    operator: "field_name_cond_op",
    negation: "field_name_cond_not",
    expressions: ["field_name_cond_expr", "field_name_cond_expression"],
};

/// Reads one kind of conditions of a transformation.
pub(super) fn read<C: Clone>(
    keys: &mut Keys<'_>,
    names: &Names,
    read_one: fn(&Yaml) -> Result<C, String>,
) -> Result<Test<C>, String> {
    let conditions = conditions(keys.get(names.conditions), names.conditions, read_one)?;
    let operator =
        keys.get(names.operator).map(|_| keys.choice(names.operator, &[("and", false), ("or", true)]));
    let operator = operator.transpose()?;
    let negated = keys.flag(names.negation)?;
    let [name, old] = names.expressions;
    let expression = match keys.optional_text(name)? {
        Some(text) => Some(text),
        None => keys.optional_text(old)?,
    };
    if conditions.is_empty() && (operator.is_some() || negated || expression.is_some()) {
        return Err(format!("there are no `{}` for its operator, negation or expression", names.conditions));
    }
    let test = match (expression, operator) {
        (Some(_), Some(_)) => {
            return Err(format!("`{name}` and `{}` exclude each other", names.operator));
        }
        (Some(text), None) => expression_of(&text, &conditions).map_err(|e| format!("`{name}`: {e}"))?,
        (None, operator) => {
            let leaves = conditions.into_iter().map(|(_, condition)| Test::Leaf(condition)).collect();
            if operator == Some(true) { Test::Any(leaves) } else { Test::All(leaves) }
        }
    };
    Ok(if negated { Test::Not(Box::new(test)) } else { test })
}

/// Conditions with their names; those of a list have none.
fn conditions<C>(
    value: Option<&Yaml>,
    key: &str,
    read_one: fn(&Yaml) -> Result<C, String>,
) -> Result<Vec<(Option<String>, C)>, String> {
    let place = |name: &str, problem: String| format!("`{key}`, {name}: {problem}");
    match value {
        None | Some(Yaml::Null) => Ok(Vec::new()),
        Some(Yaml::Sequence(list)) => {
            let one = |(i, condition)| {
                let read = read_one(condition).map_err(|e| place(&format!("condition {}", i + 1), e));
                read.map(|condition| (None, condition))
            };
            list.iter().enumerate().map(one).collect()
        }
        Some(Yaml::Mapping(map)) => {
            let one = |(name, condition): (&Yaml, &Yaml)| {
                let name = name.as_str().ok_or_else(|| format!("`{key}`: a name is no text"))?;
                let read = read_one(condition).map_err(|e| place(&format!("`{name}`"), e));
                read.map(|condition| (Some(name.to_owned()), condition))
            };
            map.iter().map(one).collect()
        }
        Some(_) => Err(format!("`{key}` must be a list, or a map of names to conditions")),
    }
}

fn expression_of<C: Clone>(text: &str, conditions: &[(Option<String>, C)]) -> Result<Test<C>, String> {
    if conditions.iter().any(|(name, _)| name.is_none()) {
        return Err("an expression needs named conditions: write them as a map".to_owned());
    }
    crate::document::check_condition_text(text).map_err(|e| e.to_string())?;
    let parsed = parse_condition(text).map_err(|_| format!("{text:?} cannot be read"))?;
    let mut used = BTreeSet::new();
    let test = build(&parsed, conditions, &mut used)?;
    let unused = conditions.iter().filter_map(|(name, _)| name.as_ref()).find(|name| !used.contains(*name));
    match unused {
        Some(name) => Err(format!("condition `{name}` is not in it")),
        None => Ok(test),
    }
}

fn build<C: Clone>(
    parsed: &ConditionExpr,
    conditions: &[(Option<String>, C)],
    used: &mut BTreeSet<String>,
) -> Result<Test<C>, String> {
    let mut all = |parts: &[ConditionExpr]| {
        parts.iter().map(|p| build(p, conditions, used)).collect::<Result<Vec<Test<C>>, String>>()
    };
    match parsed {
        ConditionExpr::And(parts) => all(parts).map(Test::All),
        ConditionExpr::Or(parts) => all(parts).map(Test::Any),
        ConditionExpr::Not(part) => build(part, conditions, used).map(|p| Test::Not(Box::new(p))),
        ConditionExpr::Identifier(name) => {
            used.insert(name.clone());
            let found = conditions.iter().find(|(given, _)| given.as_ref() == Some(name));
            let unknown = || format!("there is no condition `{name}`");
            found.map(|(_, condition)| Test::Leaf(condition.clone())).ok_or_else(unknown)
        }
        ConditionExpr::Selector { .. } => Err("only names, `and`, `or`, `not` and parentheses".to_owned()),
    }
}

/// A condition on a rule.
#[derive(Debug, Clone)]
pub(super) enum RuleCondition {
    Logsource(LogSource),
    ContainsItem(String, Value),
    ContainsField(String),
    Applied(Arc<str>),
    State(StateTest),
    IsRule,
    IsCorrelation,
    Attribute(AttributeTest),
    Tag(String),
}

impl RuleCondition {
    pub(super) fn read(value: &Yaml) -> Result<Self, String> {
        let mut keys = Keys::of("a condition", value)?;
        let condition = match keys.text("type")?.as_str() {
            "logsource" => RuleCondition::Logsource(read_logsource(&mut keys)?),
            "contains_detection_item" => {
                RuleCondition::ContainsItem(keys.text("field")?, read_value(keys.need("value")?)?)
            }
            "contains_field" => RuleCondition::ContainsField(keys.text("field")?),
            "processing_item_applied" => RuleCondition::Applied(keys.text("processing_item_id")?.into()),
            "processing_state" => RuleCondition::State(StateTest::read(&mut keys)?),
            "is_sigma_rule" => RuleCondition::IsRule,
            "is_sigma_correlation_rule" => RuleCondition::IsCorrelation,
            "rule_attribute" => RuleCondition::Attribute(AttributeTest::read(&mut keys)?),
            "tag" => RuleCondition::Tag(keys.text("tag")?),
            other => {
                return Err(unknown(
                    other,
                    "logsource, contains_detection_item, contains_field, processing_item_applied, \
                     processing_state, is_sigma_rule, is_sigma_correlation_rule, rule_attribute, tag",
                ));
            }
        };
        keys.finish()?;
        Ok(condition)
    }

    /// Whether it holds for a subject before step `step`.
    pub(super) fn holds(&self, subject: &Subject<'_>, step: usize) -> Result<bool, String> {
        Ok(match self {
            RuleCondition::Logsource(wanted) => {
                subject.logsources_at(step).into_iter().any(|logsource| covers(wanted, logsource))
            }
            RuleCondition::ContainsItem(field, value) => subject.any_item(&mut |item| {
                item.field.as_ref() == Some(field) && item.values.iter().any(|v| equal(v, value))
            }),
            RuleCondition::ContainsField(field) => {
                subject.any_item(&mut |item| item.field.as_ref() == Some(field))
            }
            RuleCondition::Applied(id) => subject.tracking.applied.contains(id),
            RuleCondition::State(test) => test.holds(&subject.tracking),
            RuleCondition::IsRule => !subject.is_correlation(),
            RuleCondition::IsCorrelation => subject.is_correlation(),
            RuleCondition::Attribute(test) => test.holds(subject)?,
            RuleCondition::Tag(tag) => subject.tags().contains(tag),
        })
    }
}

fn unknown(kind: &str, known: &str) -> String {
    format!("unknown condition type `{kind}` (known: {known})")
}

pub(super) fn read_logsource(keys: &mut Keys<'_>) -> Result<LogSource, String> {
    let logsource = LogSource {
        category: keys.optional_text("category")?,
        product: keys.optional_text("product")?,
        service: keys.optional_text("service")?,
        ..LogSource::default()
    };
    if logsource == LogSource::default() {
        return Err("one of `category`, `product` and `service` must be given".to_owned());
    }
    Ok(logsource)
}

fn covers(wanted: &LogSource, logsource: &LogSource) -> bool {
    let pairs = [
        (&wanted.category, &logsource.category),
        (&wanted.product, &logsource.product),
        (&wanted.service, &logsource.service),
    ];
    let is_same = |wanted: &String, given: &Option<String>| {
        given.as_ref().is_some_and(|given| given.trim().eq_ignore_ascii_case(wanted.trim()))
    };
    pairs.into_iter().all(|(wanted, given)| wanted.as_ref().is_none_or(|wanted| is_same(wanted, given)))
}

/// A value of a pipeline: text with wildcards, number, boolean or null.
pub(super) fn read_value(value: &Yaml) -> Result<Value, String> {
    let scalar = |value| Ok(Value::scalar(value));
    match value {
        Yaml::String(text) => Ok(Value::text(Text::parse(text))),
        Yaml::Bool(value) => scalar(SigmaValue::Bool(*value)),
        Yaml::Null => scalar(SigmaValue::Null),
        Yaml::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => scalar(SigmaValue::Integer(int)),
            (None, Some(float)) => scalar(SigmaValue::Float(float)),
            (None, None) => Err(format!("{number} is too large a number")),
        },
        _ => Err("a value must be a text, a number, a boolean or null".to_owned()),
    }
}

/// Whether two values are the same, case and wildcards included.
fn equal(a: &Value, b: &Value) -> bool {
    match (&a.content, &b.content) {
        (Content::Text(_), Content::Text(_)) => a.as_string().is_some() && a.as_string() == b.as_string(),
        (Content::Scalar(a), Content::Scalar(b)) => number(a).zip(number(b)).map_or(a == b, |(a, b)| a == b),
        _ => false,
    }
}

fn number(value: &SigmaValue) -> Option<f64> {
    match value {
        SigmaValue::Integer(int) => Some(*int as f64),
        SigmaValue::Float(float) => Some(*float),
        _ => None,
    }
}

/// A comparison with what `set_state` left.
#[derive(Debug, Clone)]
pub(super) struct StateTest {
    key: String,
    value: Scalar,
    operator: Operator,
}

/// A plain value of a document.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(super) enum Scalar {
    Text(String),
    Number(f64),
    Bool(bool),
}

impl Scalar {
    pub(super) fn read(value: &Yaml) -> Result<Self, String> {
        match value {
            Yaml::String(text) => Ok(Scalar::Text(text.clone())),
            Yaml::Bool(value) => Ok(Scalar::Bool(*value)),
            Yaml::Number(number) => number.as_f64().map(Scalar::Number).ok_or_else(|| "no number".to_owned()),
            _ => Err("the value must be a text, a number or a boolean".to_owned()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
    LessOrEqual,
    Less,
}

pub(super) const OPERATORS: [(&str, Operator); 6] = [
    ("eq", Operator::Equal),
    ("ne", Operator::NotEqual),
    ("gte", Operator::GreaterOrEqual),
    ("gt", Operator::Greater),
    ("lte", Operator::LessOrEqual),
    ("lt", Operator::Less),
];

impl Operator {
    /// Values that cannot be compared are only unequal.
    pub(super) fn compares<T: PartialOrd>(self, a: &T, b: &T) -> bool {
        match self {
            Operator::Equal => a == b,
            Operator::NotEqual => a != b,
            Operator::GreaterOrEqual => a >= b,
            Operator::Greater => a > b,
            Operator::LessOrEqual => a <= b,
            Operator::Less => a < b,
        }
    }
}

impl StateTest {
    fn read(keys: &mut Keys<'_>) -> Result<Self, String> {
        Ok(Self {
            key: keys.text("key")?,
            value: Scalar::read(keys.need("val")?)?,
            operator: keys.choice("op", &OPERATORS)?,
        })
    }

    fn holds(&self, tracking: &Tracking) -> bool {
        let Some(value) = tracking.state.get(&self.key) else { return false };
        let same_kind = std::mem::discriminant(value) == std::mem::discriminant(&self.value);
        if same_kind {
            self.operator.compares(value, &self.value)
        } else {
            self.operator == Operator::NotEqual
        }
    }
}

/// A condition on a detection item.
#[derive(Debug, Clone)]
pub(super) enum ItemCondition {
    Values { all: bool, test: ValueTest },
    Applied(Arc<str>),
    State(StateTest),
}

/// A question to a value.
#[derive(Debug, Clone)]
pub(super) enum ValueTest {
    Matches { pattern: Regex, negated: bool },
    Is(Value),
    HasWildcard,
    IsNull,
}

impl ItemCondition {
    pub(super) fn read(value: &Yaml) -> Result<Self, String> {
        let mut keys = Keys::of("a condition", value)?;
        let condition = match keys.text("type")?.as_str() {
            "match_string" => {
                let test =
                    ValueTest::Matches { pattern: keys.regex("pattern")?, negated: keys.flag("negate")? };
                of_values(&mut keys, test)?
            }
            "match_value" => {
                let test = ValueTest::Is(read_value(keys.need("value")?)?);
                of_values(&mut keys, test)?
            }
            "contains_wildcard" => of_values(&mut keys, ValueTest::HasWildcard)?,
            "is_null" => of_values(&mut keys, ValueTest::IsNull)?,
            "processing_item_applied" => ItemCondition::Applied(keys.text("processing_item_id")?.into()),
            "processing_state" => ItemCondition::State(StateTest::read(&mut keys)?),
            other => {
                return Err(unknown(
                    other,
                    "match_string, match_value, contains_wildcard, is_null, processing_item_applied, \
                     processing_state",
                ));
            }
        };
        keys.finish()?;
        Ok(condition)
    }

    pub(super) fn holds(&self, item: &Item, tracking: &Tracking) -> bool {
        match self {
            ItemCondition::Values { all: true, test } => item.values.iter().all(|value| test.holds(value)),
            ItemCondition::Values { all: false, test } => item.values.iter().any(|value| test.holds(value)),
            ItemCondition::Applied(id) => item.applied.contains(id),
            ItemCondition::State(test) => test.holds(tracking),
        }
    }
}

fn of_values(keys: &mut Keys<'_>, test: ValueTest) -> Result<ItemCondition, String> {
    keys.need("cond")?;
    Ok(ItemCondition::Values { all: keys.choice("cond", &[("any", false), ("all", true)])?, test })
}

impl ValueTest {
    fn holds(&self, value: &Value) -> bool {
        match self {
            ValueTest::Matches { pattern, negated } => {
                let text = value.as_string().map(Text::shown);
                // As Python's `match`: at the start. The leftmost match is there if any is.
                let matched = |text: String| pattern.find(&text).is_some_and(|m| m.start() == 0);
                text.is_some_and(matched) != *negated
            }
            ValueTest::Is(wanted) => equal(value, wanted),
            ValueTest::HasWildcard => value.as_string().is_some_and(Text::has_wildcard),
            ValueTest::IsNull => value.content == Content::Scalar(SigmaValue::Null),
        }
    }
}

/// A condition on a field name.
#[derive(Debug, Clone)]
pub(super) enum FieldCondition {
    /// Whether the name is in the list, or is not.
    Listed {
        names: Listed,
        included: bool,
    },
    Applied(Arc<str>),
    State(StateTest),
}

/// Field names by text or by pattern.
#[derive(Debug, Clone)]
pub(super) enum Listed {
    Names(BTreeSet<String>),
    Patterns(Vec<Regex>),
}

impl FieldCondition {
    pub(super) fn read(value: &Yaml) -> Result<Self, String> {
        let mut keys = Keys::of("a condition", value)?;
        let condition = match keys.text("type")?.as_str() {
            "include_fields" => FieldCondition::Listed { names: Listed::read(&mut keys)?, included: true },
            "exclude_fields" => FieldCondition::Listed { names: Listed::read(&mut keys)?, included: false },
            "processing_item_applied" => FieldCondition::Applied(keys.text("processing_item_id")?.into()),
            "processing_state" => FieldCondition::State(StateTest::read(&mut keys)?),
            other => {
                return Err(unknown(
                    other,
                    "include_fields, exclude_fields, processing_item_applied, processing_state",
                ));
            }
        };
        keys.finish()?;
        Ok(condition)
    }

    /// `marks` are those of the item whose field it is; a name that stands elsewhere has those of its name.
    fn holds(&self, field: Option<&str>, marks: Option<&BTreeSet<Arc<str>>>, tracking: &Tracking) -> bool {
        match self {
            FieldCondition::Listed { names, included } => {
                field.is_some_and(|field| names.contains(field)) == *included
            }
            FieldCondition::Applied(id) => match (marks, field) {
                (Some(marks), _) => marks.contains(id),
                (None, Some(field)) => tracking.was_renamed_by(field, id),
                (None, None) => false,
            },
            FieldCondition::State(test) => test.holds(tracking),
        }
    }
}

impl Test<FieldCondition> {
    /// Whether it holds for the field of an item.
    pub(super) fn holds_for_field(&self, item: &Item, tracking: &Tracking) -> bool {
        self.holds_surely(&mut |c| c.holds(item.field.as_deref(), Some(&item.applied), tracking))
    }

    /// Whether it holds for a name in a `fieldref`, a correlation or the list `fields`.
    pub(super) fn holds_for_name(&self, name: &str, tracking: &Tracking) -> bool {
        self.holds_surely(&mut |c| c.holds(Some(name), None, tracking))
    }

    /// Whether it holds for an item: its field, or a field that its values name.
    pub(super) fn holds_for_item(&self, item: &Item, tracking: &Tracking) -> bool {
        let names: Vec<String> = item.values.iter().filter_map(Value::field_ref).collect();
        self.holds_surely(&mut |c| {
            c.holds(item.field.as_deref(), Some(&item.applied), tracking)
                || names.iter().any(|name| c.holds(Some(name), None, tracking))
        })
    }
}

impl Test<ItemCondition> {
    pub(super) fn holds_for_item(&self, item: &Item, tracking: &Tracking) -> bool {
        self.holds_surely(&mut |c| c.holds(item, tracking))
    }
}

impl Listed {
    fn read(keys: &mut Keys<'_>) -> Result<Self, String> {
        let names = keys.texts("fields")?;
        Ok(match keys.choice("mode", &[("plain", false), ("re", true)])? {
            false => Listed::Names(names.into_iter().collect()),
            true => Listed::Patterns(names.iter().map(|name| regex(name)).collect::<Result<_, _>>()?),
        })
    }

    fn contains(&self, field: &str) -> bool {
        match self {
            Listed::Names(names) => names.contains(field),
            Listed::Patterns(patterns) => {
                patterns.iter().any(|p| p.find(field).is_some_and(|m| m.start() == 0))
            }
        }
    }
}
