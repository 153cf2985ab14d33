//! The public rule set: every active rule loads, but for those with placeholders.

use std::path::Path;

use super::batch::{self, data};
use crate::{RuleError, RuleSet};

/// Files of the unpacked archive below the given folders, by path.
pub(crate) fn sigmahq(folders: &[&str]) -> Option<Vec<(String, String)>> {
    let archive = data("rules/sigmahq_rules.tar.zst")?;
    let dir = tempfile::tempdir().unwrap();
    let decoder = zstd::Decoder::new(std::fs::File::open(archive).unwrap()).unwrap();
    tar::Archive::new(decoder).unpack(dir.path()).unwrap();
    let mut files = Vec::new();
    folders.iter().for_each(|folder| collect(&dir.path().join(folder), dir.path(), &mut files));
    files.sort();
    Some(files)
}

fn collect(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, root, files);
        } else if path.extension().is_some_and(|e| e == "yml") {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

const ACTIVE: [&str; 5] =
    ["rules", "rules-emerging-threats", "rules-threat-hunting", "rules-compliance", "rules-placeholder"];

#[test]
fn every_active_rule_loads_but_for_placeholders() {
    let Some(files) = sigmahq(&ACTIVE) else { return };
    let (set, report) = RuleSet::load(files);
    let odd: Vec<String> = report
        .rejected
        .iter()
        .filter(|r| !matches!(r.reason, RuleError::Placeholder { .. }))
        .map(ToString::to_string)
        .collect();
    assert!(odd.is_empty(), "{}", odd.join("\n"));
    assert!(report.loaded >= 3_700, "{}", report.loaded);
    assert!((1..=40).contains(&report.rejected.len()), "{}", report.rejected.len());
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert!(set.rules().all(|(_, rule)| rule.reference.author.is_some()));
    println!(
        "loaded {}, rejected {:?}, {} fields",
        report.loaded,
        report.rejected_by_code(),
        set.native_fields().len()
    );
}

#[test]
fn retired_rules_load_or_say_why() {
    let Some(files) = sigmahq(&["deprecated", "unsupported"]) else { return };
    let (_, report) = RuleSet::load(files);
    println!("loaded {}, rejected {:?}", report.loaded, report.rejected_by_code());
    assert!(report.loaded > 150, "{}", report.loaded);
    // Aggregations in conditions (`| count() > 5`), which correlations have replaced.
    assert!(report.rejected.iter().all(|r| !r.rule.is_empty()));
}

#[test]
fn the_columnar_engine_agrees_with_the_reference_on_real_events() {
    let (Some(files), Some(events)) = (sigmahq(&["rules"]), data("rules/sigma_regression.ndjson.zst")) else {
        return;
    };
    let (set, _) = RuleSet::load(files);
    let text = zstd::decode_all(std::fs::File::open(events).unwrap()).unwrap();
    let lines = std::str::from_utf8(&text).unwrap().lines().step_by(97);
    let events: Vec<serde_json::Value> = lines.map(|l| flat(&serde_json::from_str(l).unwrap())).collect();
    let batch = batch::of(&events, &set.native_fields(), &[]);
    let fast = set.matches(&batch);
    assert!(fast.len() > events.len());
    let mut slow = Vec::new();
    for row in 0..batch.len() {
        for (index, _) in set.rules() {
            let tree = &set.rules[index.0 as usize].tree;
            if crate::reference::holds(tree, &set.atoms, &batch, row) {
                slow.push((index, row));
            }
        }
    }
    assert_eq!(fast, slow);
}

/// The flat form of a nested Windows event.
pub(crate) fn flat(event: &serde_json::Value) -> serde_json::Value {
    let mut out = serde_json::Map::new();
    for part in ["System", "EventData", "UserData"] {
        let fields = event["Event"][part].as_object().into_iter().flatten();
        out.extend(fields.map(|(k, v)| (k.clone(), v.clone())));
    }
    out.into()
}
