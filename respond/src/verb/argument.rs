//! Arguments of verbs: which there are, what they may be, and both as JSON Schema.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Longer texts are no arguments.
const TEXT_CHARS_MAX: usize = 256;

/// An argument of a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument {
    /// Name.
    pub name: &'static str,
    /// What it is, for people.
    pub says: &'static str,
    /// What it may be.
    pub values: Values,
    /// Whether it tells effects on one target apart.
    pub is_scope: bool,
}

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One of these; the first where none is given.
    Choice(&'static [&'static str]),
    /// A text without control characters; it must be given.
    Text,
}

impl Argument {
    pub(super) const fn choice(
        name: &'static str,
        says: &'static str,
        values: &'static [&'static str],
    ) -> Self {
        Argument { name, says, values: Values::Choice(values), is_scope: false }
    }

    pub(super) const fn text(name: &'static str, says: &'static str) -> Self {
        Argument { name, says, values: Values::Text, is_scope: false }
    }

    pub(super) const fn scope(self) -> Self {
        Argument { is_scope: true, ..self }
    }

    /// The value as given, or the one that stands for none.
    fn complete(&self, verb: &str, given: Option<&String>) -> Result<String, String> {
        match (self.values, given) {
            (Values::Choice(values), None) => Ok(values[0].to_owned()),
            (Values::Choice(values), Some(value)) if values.contains(&value.as_str()) => Ok(value.clone()),
            (Values::Choice(values), Some(value)) => {
                Err(format!("{} is {value:?}, expected one of {}", self.name, values.join(", ")))
            }
            (Values::Text, None) => Err(format!("{verb} needs the argument {}: {}", self.name, self.says)),
            (Values::Text, Some(value)) => {
                let fits = !value.trim().is_empty()
                    && value.chars().count() <= TEXT_CHARS_MAX
                    && !value.chars().any(char::is_control);
                let problem = || {
                    format!(
                        "{} must have 1 to {TEXT_CHARS_MAX} characters, none of them a control",
                        self.name
                    )
                };
                fits.then(|| value.clone()).ok_or_else(problem)
            }
        }
    }
}

/// Checks arguments and fills in those that were not given.
pub(super) fn complete(
    verb: &str,
    known: &[Argument],
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    if let Some(unknown) = given.keys().find(|name| !known.iter().any(|a| a.name == *name)) {
        return Err(format!("{verb} has no argument {unknown:?}"));
    }
    known.iter().map(|a| Ok((a.name.to_owned(), a.complete(verb, given.get(a.name))?))).collect()
}

/// The arguments as a JSON Schema.
pub(super) fn schema(arguments: &[Argument]) -> Value {
    let property = |argument: &Argument| {
        let schema = match argument.values {
            Values::Choice(values) => json!({
                "type": "string", "description": argument.says, "enum": values, "default": values[0],
            }),
            Values::Text => json!({
                "type": "string", "description": argument.says, "minLength": 1, "maxLength": TEXT_CHARS_MAX,
                "pattern": "^\\P{Cc}*$",
            }),
        };
        (argument.name.to_owned(), schema)
    };
    let required: Vec<&str> = arguments.iter().filter(|a| a.values == Values::Text).map(|a| a.name).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": arguments.iter().map(property).collect::<serde_json::Map<_, _>>(),
        "required": required,
        "additionalProperties": false,
    })
}
