//! Values for placeholders.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_yaml_ng::Value as Yaml;

use super::PipelineError;
use super::detection::{Content, Item, Value};
use super::keys::{scalar_text, texts};
use super::subject::Tracking;
use super::text::{Piece, Text};
use crate::error::RuleError;

/// Lists of values by placeholder: what stands for `%name%` under the modifier `expand`.
///
/// A value is read like one of a rule: `*` and `?` are wildcards unless a backslash stands before them. In regular
/// expressions it is pasted as it is.
///
/// ```
/// let mut placeholders = rules::Placeholders::from_yaml("admins: [root, 'svc-*']").unwrap();
/// placeholders.insert_lines("scanners", "# inventory\n10.0.0.5\n10.0.0.6\n");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placeholders(BTreeMap<String, Vec<String>>);

impl Placeholders {
    /// Reads a map of names to lists: `name: [values]`, or `name: value`. Values are texts or numbers.
    ///
    /// # Errors
    /// What is no such map.
    pub fn from_yaml(text: &str) -> Result<Self, PipelineError> {
        let problem = |problem: String| PipelineError::Placeholders { problem };
        match super::document::yaml(text).map_err(problem)? {
            Yaml::Null => Ok(Self::default()),
            Yaml::Mapping(map) => Self::from_map(&map).map_err(problem),
            _ => Err(problem("must be a map of names to lists of values".to_owned())),
        }
    }

    pub(super) fn from_map(map: &serde_yaml_ng::Mapping) -> Result<Self, String> {
        let one = |(name, values): (&Yaml, &Yaml)| {
            let name = scalar_text(name).ok_or_else(|| format!("the name {name:?} is no text"))?;
            let values =
                texts(values).ok_or_else(|| format!("the values of `{name}` must be texts or numbers"))?;
            Ok((name, values))
        };
        map.iter().map(one).collect::<Result<_, String>>().map(Self)
    }

    /// Sets the values of a placeholder, in place of those that it had.
    pub fn insert(&mut self, name: impl Into<String>, values: impl IntoIterator<Item = String>) {
        self.0.insert(name.into(), values.into_iter().collect());
    }

    /// Sets the values of a placeholder from a text with one value a line. Blanks around a value, empty lines and
    /// lines that begin with `#` do not count.
    pub fn insert_lines(&mut self, name: impl Into<String>, text: &str) {
        let values = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        self.insert(name, values.map(str::to_owned));
    }

    /// Whether there are no lists.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn extend(&mut self, other: Placeholders) {
        self.0.extend(other.0);
    }

    /// The values of a placeholder, `None` where it has none.
    pub(super) fn get(&self, name: &str) -> Option<&[String]> {
        self.0.get(name).map(Vec::as_slice).filter(|values| !values.is_empty())
    }

    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        };
        for (name, values) in &self.0 {
            part(name);
            part(&values.len().to_string());
            values.iter().for_each(|value| part(value));
        }
    }
}

/// Which placeholders a transformation handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Handled {
    All,
    Only(Vec<String>),
    AllBut(Vec<String>),
}

impl Handled {
    fn has(&self, name: &str) -> bool {
        match self {
            Handled::All => true,
            Handled::Only(names) => names.iter().any(|n| n == name),
            Handled::AllBut(names) => !names.iter().any(|n| n == name),
        }
    }
}

/// Where values come from.
#[derive(Clone, Copy)]
pub(super) enum Filling<'a> {
    /// The lists; a placeholder in none of them is an error.
    Strictly(&'a [&'a Placeholders]),
    /// The lists; others stay for later.
    WherePossible(&'a [&'a Placeholders]),
    /// Anything fits.
    Wildcard,
}

/// A rule with more values would be one that no engine is made for.
const VALUES_MAX: usize = 1 << 17;

/// Fills the placeholders of an item. Says whether there was any to fill.
pub(super) fn fill(
    item: &mut Item,
    handled: &Handled,
    filling: Filling<'_>,
    tracking: &mut Tracking,
) -> Result<bool, RuleError> {
    let is_handled = |value: &Value| {
        let names = value.any_text().into_iter().flat_map(Text::pieces);
        names.into_iter().any(|p| matches!(p, Piece::Placeholder(name) if handled.has(name)))
    };
    if !item.values.iter().any(is_handled) {
        return Ok(false);
    }
    let mut values = Vec::new();
    let mut changed = false;
    for value in std::mem::take(&mut item.values) {
        let Some(text) = value.any_text().filter(|_| is_handled(&value)) else {
            values.push(value);
            continue;
        };
        let verbatim = matches!(value.content, Content::Verbatim(_));
        let filled = texts_of(text, verbatim, &item.key, handled, filling, tracking)?;
        changed |= filled.len() != 1 || filled.first() != Some(text);
        values.extend(filled.into_iter().map(|text| value.with_text(text)));
        if values.len() > VALUES_MAX {
            return Err(RuleError::Limit { what: "number of values of placeholders", limit: VALUES_MAX });
        }
    }
    item.values = values;
    Ok(changed)
}

/// Every combination of the values of the placeholders in a text.
fn texts_of(
    text: &Text,
    verbatim: bool,
    key: &str,
    handled: &Handled,
    filling: Filling<'_>,
    tracking: &mut Tracking,
) -> Result<Vec<Text>, RuleError> {
    let mut texts = vec![Text::default()];
    for piece in text.pieces() {
        let alternatives = match piece {
            Piece::Placeholder(name) if handled.has(name) => alternatives(name, verbatim, key, filling)?,
            other => {
                let mut alone = Text::default();
                alone.push(other.clone());
                vec![alone]
            }
        };
        let mut longer = Vec::new();
        for start in &texts {
            for end in &alternatives {
                tracking.spend(1 + start.size() + end.size())?;
                let mut joined = start.clone();
                joined.push_text(end);
                longer.push(joined);
            }
        }
        texts = longer;
    }
    Ok(texts)
}

fn alternatives(
    name: &Arc<str>,
    verbatim: bool,
    key: &str,
    filling: Filling<'_>,
) -> Result<Vec<Text>, RuleError> {
    let read = if verbatim { Text::verbatim } else { Text::parse };
    let piece = |piece: Piece| {
        let mut text = Text::default();
        text.push(piece);
        vec![text]
    };
    let lists = match filling {
        Filling::Wildcard if verbatim => return Ok(vec![Text::verbatim(".*")]),
        Filling::Wildcard => return Ok(piece(Piece::Star)),
        Filling::Strictly(lists) | Filling::WherePossible(lists) => lists,
    };
    match (lists.iter().find_map(|list| list.get(name)), filling) {
        (Some(values), _) => Ok(values.iter().map(|value| read(value)).collect()),
        (None, Filling::WherePossible(_)) => Ok(piece(Piece::Placeholder(Arc::clone(name)))),
        (None, _) => Err(RuleError::Placeholder { key: key.to_owned(), placeholder: name.to_string() }),
    }
}
