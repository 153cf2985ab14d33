//! Our own packs: every rule is whole, and fires on what it should and on nothing else of its examples.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use event::AttackTag;
use serde::Deserialize;
use serde_json::Value;

use super::batch;
use crate::{RuleSet, explain};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Example {
    #[serde(rename = "match")]
    pub(super) matches: bool,
    pub(super) event: Value,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packs")
}

/// `<pack>/<stem>` of every file `packs/<pack>/<below><stem>.<extension>`.
fn stems(below: &str, extension: &str) -> BTreeSet<String> {
    let mut stems = BTreeSet::new();
    for pack in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_dir())
    {
        let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
        for path in std::fs::read_dir(pack.join(below)).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|e| e == extension) {
                stems.insert(format!("{name}/{}", path.file_stem().unwrap().to_str().unwrap()));
            }
        }
    }
    stems
}

/// The examples of a rule: events of a detection rule, sequences of a correlation rule.
pub(super) fn examples(rule_file: &str) -> PathBuf {
    let (pack, file) = rule_file.split_once('/').unwrap();
    folder().join(pack).join("examples").join(file).with_extension("ndjson")
}

/// An event as its mapping gives it to rules, where that is more than the names in the record: the one event of a
/// Google Workspace activity.
pub(super) fn mapped(event: &Value) -> Value {
    activity(event).unwrap_or_else(|| event.clone())
}

fn activity(record: &Value) -> Option<Value> {
    let event = record.pointer("/events/0")?;
    let mut fields = record.clone();
    fields["eventName"] = event["name"].clone();
    fields["eventType"] = event["type"].clone();
    fields["application"] = record["id"]["applicationName"].clone();
    for parameter in event["parameters"].as_array().into_iter().flatten() {
        let value =
            ["value", "intValue", "boolValue", "multiValue"].iter().find_map(|key| parameter.get(key));
        fields[parameter["name"].as_str()?] = value.cloned().unwrap_or_default();
    }
    Some(fields)
}

#[test]
fn every_rule_file_is_embedded_and_has_examples() {
    let documents = RuleSet::builtin_packs();
    let embedded: BTreeSet<String> =
        documents.iter().map(|(file, _)| file.strip_suffix(".yml").unwrap().to_owned()).collect();
    assert_eq!(embedded, stems("", "yml"));
    assert_eq!(embedded, stems("examples", "ndjson"));
}

#[test]
fn every_rule_is_whole() {
    let (set, report) = RuleSet::load(RuleSet::builtin_packs());
    assert!(report.rejected.is_empty() && report.warnings.is_empty(), "{report:?}");
    for (_, rule) in set.rules() {
        assert!(rule.logsource != event::Logsource::default(), "{}: no logsource", rule.reference.title);
    }
    for rule in set.rules().map(|(_, rule)| rule).chain(set.correlations()) {
        let title = &rule.reference.title;
        assert_eq!(rule.reference.author.as_deref(), Some("Asterism"), "{title}");
        assert!(rule.attack.iter().any(|t| matches!(t, AttackTag::Tactic(_))), "{title}: no tactic");
        assert!(rule.attack.iter().any(|t| matches!(t, AttackTag::Technique(_))), "{title}: no technique");
        assert!(!rule.falsepositives.is_empty() && rule.description.is_some(), "{title}");
        assert_eq!(rule.reference.id.as_bytes()[14], b'4', "{title}: the id is no UUID of version 4");
    }
}

#[test]
fn every_rule_fires_on_its_examples() {
    let (set, _) = RuleSet::load(RuleSet::builtin_packs());
    for (index, rule) in set.rules() {
        let stem = rule.file.as_ref();
        let text = std::fs::read_to_string(examples(stem)).unwrap();
        let examples: Vec<Example> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(examples.iter().any(|e| e.matches) && examples.iter().any(|e| !e.matches), "{stem}");
        let wanted = set.native_fields();
        let events: Vec<_> = examples.iter().map(|e| mapped(&e.event)).collect();
        let batch = batch::of(&events, &wanted, std::slice::from_ref(&rule.logsource));
        let matches = set.matches(&batch);
        for (row, example) in examples.iter().enumerate() {
            let matched = matches.contains(&(index, row));
            assert_eq!(
                matched,
                example.matches,
                "{stem}, line {}:\n{}",
                row + 1,
                explain(&set, &batch, row, index)
            );
        }
    }
}
