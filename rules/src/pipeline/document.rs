//! YAML text to a pipeline.

use std::sync::Arc;

use serde_yaml_ng::Value as Yaml;

use super::keys::{Fault, Keys};
use super::placeholder::Placeholders;
use super::transformation::read_all;
use super::{Pipeline, PipelineError};

/// The largest published pipeline has 60 kB.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A YAML document of bounded size.
pub(super) fn yaml(text: &str) -> Result<Yaml, String> {
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("the text exceeds {FILE_BYTES_MAX} bytes"));
    }
    serde_yaml_ng::from_str(text).map_err(|e| format!("not valid YAML: {e}"))
}

pub(super) fn read(file: &str, text: &str) -> Result<Pipeline, PipelineError> {
    let whole = |problem: String| PipelineError::Document { file: file.to_owned(), problem };
    let document = yaml(text).map_err(whole)?;
    let mut keys = Keys::of("a pipeline", &document).map_err(whole)?;
    for (key, reason) in CONVERSION {
        if keys.get(key).is_some_and(|value| !is_empty(value)) {
            let (file, place, what) = (file.to_owned(), String::new(), format!("`{key}`"));
            return Err(PipelineError::Refused { file, place, what, reason });
        }
    }
    let name = keys.optional_text("name").map_err(whole)?;
    let name: Arc<str> = name.unwrap_or_else(|| file.to_owned()).into();
    let priority = priority(&mut keys).map_err(whole)?;
    let vars = vars(&mut keys).map_err(|e| whole(format!("`vars`: {e}")))?;
    // Names the converters that may use the pipeline; here are none.
    keys.get("allowed_backends");
    let steps = read_all(keys.get("transformations").unwrap_or(&Yaml::Null), &name, "", 0);
    let steps = steps.map_err(|(place, fault)| placed(file, place, fault))?;
    keys.finish().map_err(whole)?;
    let hash = *blake3::hash(text.as_bytes()).as_bytes();
    Ok(Pipeline { name, priority, vars, steps, hash })
}

/// Parts of a pipeline that work on what a converter writes.
const CONVERSION: [(&str, &str); 2] = [
    ("postprocessing", "it changes queries, but rules are evaluated and not made into queries; remove it"),
    (
        "finalizers",
        "they put queries together, but rules are evaluated and not made into queries; remove them",
    ),
];

fn is_empty(value: &Yaml) -> bool {
    match value {
        Yaml::Null => true,
        Yaml::Sequence(list) => list.is_empty(),
        Yaml::Mapping(map) => map.is_empty(),
        _ => false,
    }
}

fn priority(keys: &mut Keys<'_>) -> Result<i64, String> {
    match keys.get("priority") {
        None | Some(Yaml::Null) => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| "`priority` must be a whole number".to_owned()),
    }
}

fn vars(keys: &mut Keys<'_>) -> Result<Placeholders, String> {
    match keys.get("vars") {
        None | Some(Yaml::Null) => Ok(Placeholders::default()),
        Some(Yaml::Mapping(map)) => Placeholders::from_map(map),
        Some(_) => Err("must be a map of names to lists of values".to_owned()),
    }
}

fn placed(file: &str, place: String, fault: Fault) -> PipelineError {
    let file = file.to_owned();
    match fault {
        Fault::Problem(problem) if place.is_empty() => PipelineError::Document { file, problem },
        Fault::Problem(problem) => PipelineError::Transformation { file, place, problem },
        Fault::Refused { what, reason } => PipelineError::Refused { file, place, what, reason },
    }
}
