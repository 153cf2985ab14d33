//! YAML to the entries of an overlay.

use std::sync::Arc;

use event::Time;
use rsigma_parser::Detections;
use serde::de::DeserializeOwned;
use serde_yaml_ng::{Mapping, Value};

use super::{Change, Edit, Entry, OverlayEntry, OverlayError, Patch};
use crate::atom::Atoms;
use crate::compile;
use crate::document;
use crate::suppression::SuppressionSpec;

/// A thousand entries of a page each.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Each entry is looked for among all rules.
const ENTRIES_MAX: usize = 10_000;

/// Keys of every entry.
const COMMON: [&str; 5] = ["rule", "action", "owner", "reason", "expires"];

const PATCH: [&str; 6] = ["title", "description", "level", "tags", "falsepositives", "references"];
const EXCEPT: [&str; 2] = ["detection", "condition"];
const SUPPRESS: [&str; 3] = ["fields", "window", "kind"];

/// Every action with the keys of its own.
const ACTIONS: [(&str, &[&str]); 4] =
    [("disable", &[]), ("patch", &PATCH), ("except", &EXCEPT), ("suppress", &SUPPRESS)];

pub(super) fn read(file: &str, text: &str) -> Result<Vec<Entry>, OverlayError> {
    let refuse = |entry, problem| OverlayError { file: file.to_owned(), entry, problem };
    let entries = listed(text).map_err(|problem| refuse(None, problem))?;
    let file: Arc<str> = file.into();
    let read = |(number, value): (usize, &Value)| {
        read_entry(&file, number, value).map_err(|problem| refuse(Some(number), problem))
    };
    (1..).zip(&entries).map(read).collect()
}

fn listed(text: &str) -> Result<Vec<Value>, String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("has {} bytes; an overlay may have {FILE_BYTES_MAX}", text.len()));
    }
    let value: Value = serde_yaml_ng::from_str(text).map_err(|e| format!("not valid YAML: {e}"))?;
    let map = value.as_mapping().ok_or("is no map; write `overlays:` and a list of entries")?;
    document::known_keys("the file", map, &["overlays"]).map_err(|e| e.to_string())?;
    let entries: Vec<Value> = match map.get("overlays") {
        Some(Value::Sequence(entries)) => entries.clone(),
        // Every entry may be commented out.
        Some(Value::Null) => Vec::new(),
        _ => return Err("`overlays` must be a list of entries".to_owned()),
    };
    if entries.len() > ENTRIES_MAX {
        return Err(format!("has {} entries; an overlay may have {ENTRIES_MAX}", entries.len()));
    }
    Ok(entries)
}

fn read_entry(file: &Arc<str>, number: usize, value: &Value) -> Result<Entry, String> {
    let map = value.as_mapping().ok_or("is no map of `rule`, `action`, `owner`, `reason`, `expires`")?;
    let written = text(map, "action")?;
    let names = || ACTIONS.map(|(name, _)| name).join(", ");
    let (action, own) = ACTIONS
        .into_iter()
        .find(|(name, _)| *name == written)
        .ok_or_else(|| format!("unknown action `{written}` (known: {})", names()))?;
    document::known_keys(&format!("`{action}`"), map, &[&COMMON, own].concat()).map_err(|e| e.to_string())?;
    let canonical = serde_yaml_ng::to_string(value).map_err(|e| e.to_string())?;
    let hash = blake3::hash(canonical.as_bytes());
    let about = OverlayEntry {
        id: hash.to_hex()[..16].into(),
        file: Arc::clone(file),
        number,
        rule: text(map, "rule")?,
        action,
        owner: text(map, "owner")?,
        reason: text(map, "reason")?,
        expires: expiry(&text(map, "expires")?)?,
    };
    let change = match action {
        "disable" => Change::Disable,
        "patch" => Change::Patch(Box::new(patch(map)?)),
        "except" => Change::Except(Arc::new(exception(map)?)),
        _ => Change::Suppress(suppression(map)?),
    };
    Ok(Entry { about: Arc::new(about), change, hash: *hash.as_bytes() })
}

fn optional<T: DeserializeOwned>(map: &Mapping, key: &str) -> Result<Option<T>, String> {
    let read = |value: &Value| serde_yaml_ng::from_value(value.clone()).map_err(|e| format!("`{key}`: {e}"));
    map.get(key).map(read).transpose()
}

/// A required text that says something.
fn text(map: &Mapping, key: &str) -> Result<String, String> {
    let text: Option<String> = optional(map, key)?;
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    text.ok_or_else(|| format!("required key `{key}` is missing or empty"))
}

fn expiry(text: &str) -> Result<Time, String> {
    let is_dated = text.len() >= 10 && text.as_bytes()[4] == b'-';
    let time = Time::parse(text).ok().filter(|_| is_dated);
    time.ok_or_else(|| {
        format!("`expires`: {text:?} is neither a date (2027-01-01) nor an RFC 3339 time before 2100")
    })
}

fn patch(map: &Mapping) -> Result<Patch, String> {
    let edit = |key: &str| match optional::<Edit>(map, key) {
        Ok(edit) => Ok(edit.unwrap_or_default()),
        Err(problem) => Err(format!("{problem}; write `{key}: {{add: [..], remove: [..]}}`")),
    };
    let patch = Patch {
        title: optional(map, "title")?,
        description: optional(map, "description")?,
        level: optional(map, "level")?,
        tags: edit("tags")?,
        falsepositives: edit("falsepositives")?,
        references: edit("references")?,
    };
    if patch == Patch::default() {
        return Err(format!("`patch` changes nothing; give it one of {}", PATCH.join(", ")));
    }
    if patch.title.as_ref().is_some_and(|title| title.trim().is_empty()) {
        return Err("`title` is empty".to_owned());
    }
    Ok(patch)
}

fn suppression(map: &Mapping) -> Result<SuppressionSpec, String> {
    let own: Mapping = map
        .iter()
        .filter(|(key, _)| key.as_str().is_some_and(|key| SUPPRESS.contains(&key)))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    serde_yaml_ng::from_value(Value::Mapping(own)).map_err(|e| format!("`suppress`: {e}"))
}

/// Selections and their condition, read by the same path as those of a rule, and compiled once to see that they can be.
fn exception(map: &Mapping) -> Result<Detections, String> {
    let mut section: Mapping = optional(map, "detection")?
        .ok_or("required key `detection` is missing; it is a map of selections")?;
    for key in ["condition", "timeframe"] {
        if section.contains_key(key) {
            return Err(format!("`detection` holds selections only; `{key}` does not belong in it"));
        }
    }
    let condition = map.get("condition").filter(|c| c.is_string() || c.is_sequence());
    let condition = condition.ok_or("required key `condition` is missing; it names the selections")?;
    section.insert("condition".into(), condition.clone());
    let logsource = Mapping::from_iter([("category".into(), "overlay".into())]);
    let rule = Mapping::from_iter([
        ("title".into(), "exception".into()),
        ("logsource".into(), Value::Mapping(logsource)),
        ("detection".into(), Value::Mapping(section)),
    ]);
    let rule = serde_yaml_ng::to_string(&rule).map_err(|e| e.to_string())?;
    let read = document::read(&rule).pop().ok_or("`detection` is empty")?;
    let parsed = read.outcome.map_err(|e| e.to_string())?;
    let rule = parsed.rules.into_iter().next().ok_or("`detection` is empty")?;
    compile::compile(&rule.detection, &mut Atoms::default()).map_err(|e| e.to_string())?;
    Ok(rule.detection)
}
