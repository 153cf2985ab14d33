//! ATT&CK tags in the spellings of products: `A, B`, `["T1003"]`, `T1003;T1059.001`, `Name (T1059)`, OCSF objects.

use event::AttackTag;
use serde_json::Value;

use super::{Draft, Fields};
use crate::decode::parse_text;

/// A hostile list must not grow an alert without bound.
const TAGS_MAX: usize = 100;

pub(super) fn read(fields: &Fields<'_, '_>, draft: &mut Draft) {
    for name in ["Tactics", "Techniques", "SubTechniques", "AttackTechniques", "Category", "Categories"] {
        match fields.value(name) {
            Some(value) => of_value(&value, &mut draft.tags),
            None => of_text(&fields.text(name).unwrap_or_default(), &mut draft.tags),
        }
    }
    if let Some(properties) = fields.value("ExtendedProperties") {
        for name in ["MitreTechniques", "Techniques", "Tactics"] {
            of_value(&properties[name], &mut draft.tags);
        }
    }
    draft.tags.sort();
    draft.tags.dedup();
}

/// Tags of a list, or of text that names several.
pub(super) fn of_text(text: &str, tags: &mut Vec<AttackTag>) {
    if let Some(value) = text.trim_start().starts_with(['[', '{']).then(|| parse_text(text)).flatten() {
        return of_value(&value, tags);
    }
    for part in text.split([',', ';']) {
        // `Command and Scripting Interpreter (T1059)`
        let inner = part.rsplit_once('(').map_or(part, |(_, rest)| rest.trim_end().trim_end_matches(')'));
        if tags.len() < TAGS_MAX {
            tags.extend(AttackTag::parse(inner.trim()));
        }
    }
}

fn of_value(value: &Value, tags: &mut Vec<AttackTag>) {
    match value {
        Value::String(text) => of_text(text, tags),
        Value::Array(members) => members.iter().take(TAGS_MAX).for_each(|member| of_value(member, tags)),
        Value::Object(_) => of_ocsf(value, tags),
        _ => {}
    }
}

/// An element of OCSF `attacks`.
pub(super) fn of_ocsf(attack: &Value, tags: &mut Vec<AttackTag>) {
    for object in ["tactic", "technique", "sub_technique"] {
        let uid = attack[object]["uid"].as_str().and_then(AttackTag::parse);
        let tag = uid.or_else(|| attack[object]["name"].as_str().and_then(AttackTag::parse));
        tags.extend(tag.filter(|_| tags.len() < TAGS_MAX));
    }
    for tactic in attack["tactics"].as_array().into_iter().flatten() {
        tags.extend(tactic["uid"].as_str().and_then(AttackTag::parse));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> Vec<String> {
        let mut tags = Vec::new();
        of_text(text, &mut tags);
        tags.iter()
            .map(|t| match t {
                AttackTag::Tactic(tactic) => tactic.to_string(),
                AttackTag::Technique(id) => id.to_string(),
            })
            .collect()
    }

    #[test]
    fn reads_every_spelling() {
        assert_eq!(tags("LateralMovement, Impact"), ["lateral_movement", "impact"]);
        assert_eq!(tags(r#"["T1003","T1059.001"]"#), ["T1003", "T1059.001"]);
        assert_eq!(tags("T1010;T1059.001"), ["T1010", "T1059.001"]);
        assert_eq!(tags(r#"["OS Credential Dumping (T1003)"]"#), ["T1003"]);
        assert_eq!(
            tags(r#"[{"tactic":{"name":"Execution"},"technique":{"uid":"T1059"}}]"#),
            ["execution", "T1059"]
        );
        assert_eq!(tags("Unknown"), [""; 0]);
    }
}
