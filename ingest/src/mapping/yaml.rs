//! A YAML value with its place in the document, so that every complaint says where.

use serde_yaml_ng::Value;

use crate::error::MappingError;

/// One value of the document.
#[derive(Clone)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    file: &'a str,
    place: String,
}

impl<'a> Node<'a> {
    pub(super) fn root(file: &'a str, value: &'a Value) -> Self {
        Self { value, file, place: String::new() }
    }

    pub(super) fn error(&self, problem: impl Into<String>) -> MappingError {
        let place = if self.place.is_empty() { "top".to_owned() } else { self.place.clone() };
        MappingError { file: self.file.to_owned(), place, problem: problem.into() }
    }

    fn below(&self, value: &'a Value, step: &str) -> Self {
        let place = match (self.place.is_empty(), step.starts_with('[')) {
            (true, _) => step.to_owned(),
            (false, true) => format!("{}{step}", self.place),
            (false, false) => format!("{}.{step}", self.place),
        };
        Self { value, file: self.file, place }
    }

    /// The same value, called by a name instead of its index.
    pub(super) fn called(mut self, list: &str, name: &str) -> Self {
        self.place = format!("{list}[{name}]");
        self
    }

    pub(super) fn entries(&self) -> Result<Vec<(String, Node<'a>)>, MappingError> {
        let Value::Mapping(mapping) = self.value else { return Err(self.error("expected a map")) };
        mapping
            .iter()
            .map(|(key, value)| {
                let key = scalar(key).ok_or_else(|| self.error("a key must be text or a number"))?;
                let node = self.below(value, &key);
                Ok((key, node))
            })
            .collect()
    }

    /// Refuses keys that are not in `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), MappingError> {
        for (key, _) in self.entries()? {
            if !known.contains(&key.as_str()) {
                return Err(self.error(format!("unknown key {key:?}; known are {}", known.join(", "))));
            }
        }
        Ok(())
    }

    /// A member of a map; absent and null are the same.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.value.as_mapping()?.get(key).filter(|v| !v.is_null())?;
        Some(self.below(value, key))
    }

    pub(super) fn need(&self, key: &str) -> Result<Node<'a>, MappingError> {
        self.get(key).ok_or_else(|| self.error(format!("key {key:?} is missing")))
    }

    pub(super) fn is_map(&self) -> bool {
        self.value.is_mapping()
    }

    /// The members of a list; a single value is a list of one.
    pub(super) fn items(&self) -> Vec<Node<'a>> {
        match self.value {
            Value::Sequence(items) => {
                items.iter().enumerate().map(|(i, v)| self.below(v, &format!("[{i}]"))).collect()
            }
            _ => vec![self.clone()],
        }
    }

    /// Text, or a number or boolean as text.
    pub(super) fn text(&self) -> Result<String, MappingError> {
        scalar(self.value).ok_or_else(|| self.error("expected text"))
    }

    pub(super) fn int(&self) -> Result<i64, MappingError> {
        self.value.as_i64().ok_or_else(|| self.error("expected an integer"))
    }

    /// Texts: a list of them, or one.
    pub(super) fn texts(&self) -> Result<Vec<String>, MappingError> {
        self.items().iter().map(Node::text).collect()
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}
