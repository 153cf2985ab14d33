//! Where reading goes on: the next offset of each topic-partition.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The next offset to read, by topic and partition.
pub type Positions = BTreeMap<(Arc<str>, i32), i64>;

/// The stored form: a list of `[topic, partition, next_offset]`, since JSON keys cannot be pairs.
pub(crate) fn to_json(positions: &Positions) -> Result<String, serde_json::Error> {
    let list: Vec<(&str, i32, i64)> =
        positions.iter().map(|((topic, p), next)| (topic.as_ref(), *p, *next)).collect();
    serde_json::to_string(&list)
}

pub(crate) fn from_json(json: &str) -> Result<Positions, serde_json::Error> {
    let list: Vec<(Arc<str>, i32, i64)> = serde_json::from_str(json)?;
    Ok(list.into_iter().map(|(topic, p, next)| ((topic, p), next)).collect())
}
