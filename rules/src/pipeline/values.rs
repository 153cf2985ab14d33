//! Transformations of values. Those of strings leave alone what is no string: numbers, regular expressions, and texts
//! that stand for several (`windash`, `base64offset`).

use std::collections::BTreeMap;

use regex::Regex;
use rsigma_parser::{Modifier, SigmaValue};

use super::detection::{Content, Item, Link, Part, Value};
use super::fields::Spelling;
use super::replace::Replace;
use super::text::{Piece, Text};

/// A change of single values.
#[derive(Debug, Clone)]
pub(super) enum ValueChange {
    Replace(Replace),
    /// Strings, as they are shown, to others.
    Map(BTreeMap<String, Vec<String>>),
    Regex(RegexCase),
    Set(Value),
    ToText,
    ToNumber,
    Spell(Spelling),
}

/// How a regular expression made of a string treats case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RegexCase {
    Kept,
    IgnoredByFlag,
    IgnoredByBrackets,
}

impl ValueChange {
    /// Changes the values of an item. Says whether there was any to change.
    pub(super) fn apply(&self, item: &mut Item) -> Result<bool, String> {
        let mut changed = false;
        let mut values = Vec::with_capacity(item.values.len());
        for value in std::mem::take(&mut item.values) {
            match self.of(&value)? {
                Some(others) => {
                    changed = true;
                    values.extend(others);
                }
                None => values.push(value),
            }
        }
        item.values = values;
        Ok(changed)
    }

    /// What stands for a value, `None` where it stays.
    fn of(&self, value: &Value) -> Result<Option<Vec<Value>>, String> {
        let number = match &value.content {
            Content::Scalar(number @ (SigmaValue::Integer(_) | SigmaValue::Float(_)))
                if value.modifiers.is_empty() =>
            {
                Some(number.to_string())
            }
            _ => None,
        };
        if let ValueChange::Set(fixed) = self {
            return Ok(Some(vec![fixed.clone()]));
        }
        if let (Some(number), ValueChange::Replace(replace)) = (&number, self) {
            return replace.of(&Text::verbatim(number)).map(|text| Some(vec![Value::text(text)]));
        }
        if let (Some(number), ValueChange::ToText) = (&number, self) {
            return Ok(Some(vec![Value::text(Text::verbatim(number))]));
        }
        match value.as_string() {
            Some(text) => self.of_string(value, text),
            None => Ok(None),
        }
    }

    fn of_string(&self, value: &Value, text: &Text) -> Result<Option<Vec<Value>>, String> {
        let one = |text: Text| Ok(Some(vec![value.with_text(text)]));
        match self {
            ValueChange::Replace(replace) => one(replace.of(text)?),
            ValueChange::Map(map) => {
                let to = map.get(&text.shown());
                Ok(to.map(|to| to.iter().map(|t| value.with_text(Text::parse(t))).collect()))
            }
            ValueChange::Spell(spelling) => one(text.map_plain(|plain| Text::verbatim(&spelling.of(plain)))),
            ValueChange::ToNumber => number_of(text).map(|number| Some(vec![Value::scalar(number)])),
            // An empty expression would match everything.
            ValueChange::Regex(_) if text.is_empty() => Ok(None),
            ValueChange::Regex(case) => case.expression(text).map(|value| Some(vec![value])),
            ValueChange::Set(_) | ValueChange::ToText => Ok(None),
        }
    }
}

fn number_of(text: &Text) -> Result<SigmaValue, String> {
    let shown = text.shown();
    let int = shown.parse().map(SigmaValue::Integer);
    int.or_else(|_| shown.parse().map(SigmaValue::Float))
        .map_err(|_| format!("the value {shown:?} is no number"))
}

impl RegexCase {
    /// The expression matches the whole value, newlines included, as the string did: `re` by itself searches.
    fn expression(self, text: &Text) -> Result<Value, String> {
        let mut source = String::from("(?s)^");
        for piece in text.pieces() {
            match piece {
                Piece::Plain(plain) if self == RegexCase::IgnoredByBrackets => {
                    plain.chars().for_each(|c| push_both_cases(c, &mut source));
                }
                Piece::Plain(plain) => source.push_str(&regex::escape(plain)),
                Piece::Star => source.push_str(".*"),
                Piece::One => source.push('.'),
                Piece::Placeholder(name) => {
                    return Err(format!(
                        "placeholder %{name}% must be filled before it is made an expression"
                    ));
                }
            }
        }
        source.push('$');
        let flag = (self == RegexCase::IgnoredByFlag).then_some(Modifier::IgnoreCase);
        let modifiers = std::iter::once(Modifier::Re).chain(flag).collect();
        Ok(Value { content: Content::Verbatim(Text::verbatim(&source)), modifiers })
    }
}

fn push_both_cases(c: char, out: &mut String) {
    if c.is_alphabetic() {
        out.push('[');
        out.extend(c.to_lowercase());
        out.extend(c.to_uppercase());
        out.push(']');
    } else {
        out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }
}

/// `hashes_fields`: one field of several hashes (`MD5=..`) to a field for each kind of hash.
#[derive(Debug, Clone)]
pub(super) struct Hashes {
    /// In upper case.
    pub(super) algorithms: Vec<String>,
    pub(super) prefix: String,
    pub(super) drop_algorithm: bool,
    pub(super) fields: Vec<String>,
}

impl Hashes {
    /// The items of the hashes, `None` where the item is of another field or has other values than strings. Values
    /// of other kinds of hashes stay in the field they are in.
    pub(super) fn apply(&self, item: &Item) -> Result<Option<Part>, String> {
        let is_meant = item.field.as_ref().is_some_and(|field| self.fields.contains(field));
        if !is_meant || item.values.is_empty() || !item.values.iter().all(|v| v.as_string().is_some()) {
            return Ok(None);
        }
        let mut by_field: Vec<(String, Vec<Value>)> = Vec::new();
        let mut others = Vec::new();
        for value in &item.values {
            match value.as_string().and_then(|text| self.hash(&text.shown())) {
                None => others.push(value.clone()),
                Some((field, hash)) => {
                    let hash = Value::text(Text::verbatim(&hash));
                    match by_field.iter_mut().find(|(name, _)| *name == field) {
                        Some((_, values)) => values.push(hash),
                        None => by_field.push((field, vec![hash])),
                    }
                }
            }
        }
        if by_field.is_empty() {
            return Err(format!("`{}` has no hash of {}", item.key, self.algorithms.join(", ")));
        }
        by_field.extend(item.field.clone().filter(|_| !others.is_empty()).map(|field| (field, others)));
        let of_field = |(field, values)| Part::Item(Item { field: Some(field), values, ..item.clone() });
        Ok(Some(Part::Group(item.link(), by_field.into_iter().map(of_field).collect())))
    }

    /// Field and value of a hash: `SHA1=..`, `SHA1|..`, or a text as long as a hash of the kind.
    fn hash(&self, text: &str) -> Option<(String, String)> {
        let wildcards = ['*', '?'];
        let separator = if text.contains('|') { '|' } else { '=' };
        let (algorithm, hash) = match text.split(separator).collect::<Vec<_>>().as_slice() {
            [algorithm, hash] => {
                (algorithm.trim_start_matches('*').to_uppercase(), hash.trim_matches(wildcards))
            }
            parts => {
                let hash = parts.first().copied().unwrap_or_default().trim_matches(wildcards);
                (algorithm_of(hash)?.to_owned(), hash)
            }
        };
        let field =
            if self.drop_algorithm { self.prefix.clone() } else { format!("{}{algorithm}", self.prefix) };
        self.algorithms.contains(&algorithm).then(|| (field, hash.to_owned()))
    }
}

fn algorithm_of(hash: &str) -> Option<&'static str> {
    match hash.len() {
        32 => Some("MD5"),
        40 => Some("SHA1"),
        64 => Some("SHA256"),
        128 => Some("SHA512"),
        _ => None,
    }
}

/// `extract_fields`: a field for each named group of an expression.
#[derive(Debug, Clone)]
pub(super) struct Extract {
    pub(super) pattern: Regex,
    pub(super) prefix: Option<String>,
    /// Keep values that do not match in the field they are in.
    pub(super) preserve_unmatched: bool,
}

impl Extract {
    /// The items of the groups, `None` where no value matches, or not all are strings.
    pub(super) fn apply(&self, item: &Item) -> Option<Part> {
        let texts: Option<Vec<&Text>> = item.values.iter().map(Value::as_string).collect();
        let mut parts = Vec::new();
        let mut matched = false;
        for (text, value) in texts?.into_iter().zip(&item.values) {
            let groups = self.groups(&text.shown(), item);
            matched |= groups.is_some();
            match groups {
                Some(part) => parts.push(part),
                None if self.preserve_unmatched => {
                    parts.push(Part::Item(Item { values: vec![value.clone()], ..item.clone() }));
                }
                None => {}
            }
        }
        matched.then(|| Part::Group(item.link(), parts))
    }

    fn groups(&self, text: &str, item: &Item) -> Option<Part> {
        let captures = self.pattern.captures(text).filter(|c| c.get(0).is_some_and(|m| m.start() == 0))?;
        let mut parts = Vec::new();
        for name in self.pattern.capture_names().flatten() {
            let Some(found) = captures.name(name).map(|m| m.as_str()).filter(|text| !text.is_empty()) else {
                continue;
            };
            let field =
                self.prefix.as_ref().map_or_else(|| name.to_owned(), |prefix| format!("{prefix}.{name}"));
            let values = vec![typed(found)];
            parts.push(Part::Item(Item { field: Some(field), values, all: false, ..item.clone() }));
        }
        // Not all of them: any of them not.
        let link = if item.negated { Link::Any } else { Link::All };
        (!parts.is_empty()).then_some(Part::Group(link, parts))
    }
}

/// Numbers as numbers, unless zeros lead; `null` and `none` as null.
fn typed(text: &str) -> Value {
    if matches!(text.to_ascii_lowercase().as_str(), "null" | "none") {
        return Value::scalar(SigmaValue::Null);
    }
    let number =
        || text.parse().map(SigmaValue::Integer).or_else(|_| text.parse().map(SigmaValue::Float)).ok();
    let keeps_zeros = text != "0" && text.starts_with('0');
    number().filter(|_| !keeps_zeros).map_or_else(|| Value::text(Text::verbatim(text)), Value::scalar)
}
