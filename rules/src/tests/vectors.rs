//! Published vectors: one rule, one event, one expectation each.

use serde::Deserialize;

use super::batch;
use crate::RuleSet;
use crate::tests::batch::data;

#[derive(Deserialize)]
struct Vector {
    id: String,
    rule: String,
    event: serde_json::Value,
    expect: bool,
    why: String,
}

#[test]
fn vectors_of_the_specification() {
    let Some(path) = data("../score/sigma_vectors.jsonl") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Vec<Vector> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(vectors.len() >= 90);
    let wrong: Vec<String> = vectors.iter().filter_map(failure).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}

fn failure(vector: &Vector) -> Option<String> {
    let (set, report) = RuleSet::load([(vector.id.clone(), vector.rule.clone())]);
    if let Some(rejected) = report.rejected.first() {
        return Some(format!("{}: rejected: {}", vector.id, rejected.reason));
    }
    let events = batch::of(std::slice::from_ref(&vector.event), &set.native_fields(), &[]);
    let matched = !set.matches(&events).is_empty();
    (matched != vector.expect).then(|| format!("{}: {} ({matched})", vector.id, vector.why))
}
