//! The keys of a map in a pipeline document, each read once; what nobody read is a mistake.

use std::collections::BTreeMap;

use regex::Regex;
use serde_yaml_ng::{Mapping, Value as Yaml};

/// Why a part of a document cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// A mistake.
    Problem(String),
    /// Sound in pySigma, but it has no meaning where rules are evaluated.
    Refused { what: String, reason: &'static str },
}

impl From<String> for Fault {
    fn from(problem: String) -> Self {
        Fault::Problem(problem)
    }
}

/// A map whose keys are read one by one.
pub(super) struct Keys<'a> {
    map: &'a Mapping,
    known: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(what: &str, value: &'a Yaml) -> Result<Self, String> {
        let map = value.as_mapping().ok_or_else(|| format!("{what} must be a map"))?;
        Ok(Self { map, known: Vec::new() })
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Yaml> {
        self.known.push(key);
        self.map.get(key)
    }

    pub(super) fn need(&mut self, key: &'static str) -> Result<&'a Yaml, String> {
        self.get(key).ok_or_else(|| format!("`{key}` is missing"))
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<String, String> {
        let found = self.optional_text(key)?;
        found.ok_or_else(|| format!("`{key}` is missing"))
    }

    pub(super) fn optional_text(&mut self, key: &'static str) -> Result<Option<String>, String> {
        match self.get(key) {
            None | Some(Yaml::Null) => Ok(None),
            Some(value) => scalar_text(value).map(Some).ok_or_else(|| format!("`{key}` must be a text")),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| format!("`{key}` must be true or false")),
        }
    }

    /// A text or a list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<String>, String> {
        let value = self.need(key)?;
        texts(value).ok_or_else(|| format!("`{key}` must be a text or a list of texts"))
    }

    pub(super) fn optional_texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, String> {
        if self.map.contains_key(key) {
            return self.texts(key).map(Some);
        }
        self.known.push(key);
        Ok(None)
    }

    /// One of these texts; the first is the default.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<T, String> {
        let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let given = self.optional_text(key)?;
        let name = given.as_deref().unwrap_or(choices[0].0);
        let found = choices.iter().find(|(choice, _)| *choice == name);
        found.map(|(_, value)| *value).ok_or_else(|| format!("`{key}` is {name:?}; it can be {}", names()))
    }

    pub(super) fn regex(&mut self, key: &'static str) -> Result<Regex, String> {
        regex(&self.text(key)?)
    }

    /// A map of texts to one or several texts, in its order. A null key is `None`.
    pub(super) fn mapping(
        &mut self,
        key: &'static str,
    ) -> Result<Vec<(Option<String>, Vec<String>)>, String> {
        let map = self.need(key)?.as_mapping().ok_or_else(|| format!("`{key}` must be a map"))?;
        map.iter().map(|(from, to)| entry(key, from, to)).collect()
    }

    /// A map like [`Keys::mapping`], all of whose keys are texts.
    pub(super) fn text_mapping(
        &mut self,
        key: &'static str,
    ) -> Result<BTreeMap<String, Vec<String>>, String> {
        let named = |(from, to): (Option<String>, _)| {
            from.map(|from| (from, to)).ok_or_else(|| format!("`{key}`: a key is null"))
        };
        self.mapping(key)?.into_iter().map(named).collect()
    }

    /// Refuses keys that nobody asked for.
    pub(super) fn finish(self) -> Result<(), String> {
        let odd = self.map.keys().find(|key| !key.as_str().is_some_and(|key| self.known.contains(&key)));
        match odd {
            None => Ok(()),
            Some(key) => {
                let key = scalar_text(key).unwrap_or_else(|| format!("{key:?}"));
                Err(format!("unknown key `{key}` (known: {})", self.known.join(", ")))
            }
        }
    }
}

fn entry(key: &str, from: &Yaml, to: &Yaml) -> Result<(Option<String>, Vec<String>), String> {
    let from = match from {
        Yaml::Null => None,
        other => Some(scalar_text(other).ok_or_else(|| format!("`{key}`: a key is no text"))?),
    };
    let shown = from.as_deref().unwrap_or("null");
    match texts(to) {
        Some(to) if to.is_empty() => {
            Err(format!("`{key}`: the list of `{shown}` is empty; to remove items use drop_detection_item"))
        }
        Some(to) => Ok((from, to)),
        None => Err(format!("`{key}`: the value of `{shown}` must be a text or a list of texts")),
    }
}

pub(super) fn texts(value: &Yaml) -> Option<Vec<String>> {
    match value {
        Yaml::Sequence(members) => members.iter().map(scalar_text).collect(),
        single => scalar_text(single).map(|text| vec![text]),
    }
}

/// A text, or a number as text.
pub(super) fn scalar_text(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) => Some(text.clone()),
        Yaml::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// An expression of a pipeline. Python's look-around and back-references do not exist here: they can take
/// exponential time.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|e| {
        let last = e.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("regular expression {pattern:?}: {last}")
    })
}
