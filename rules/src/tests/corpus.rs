//! The public rule set: every active rule loads, but for those with placeholders.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

use super::batch::{self, data};
use crate::{LoadReport, Pipeline, RuleError, RuleSet};

/// Files of the unpacked archive below the given folders, by path.
fn sigmahq(folders: &[&str]) -> Option<Vec<(String, String)>> {
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

/// The active rules, loaded once for all tests.
static LOADED: LazyLock<Option<(RuleSet, LoadReport)>> =
    LazyLock::new(|| sigmahq(&ACTIVE).map(RuleSet::load));

#[test]
fn every_active_rule_loads_but_for_placeholders() {
    let Some((set, report)) = LOADED.as_ref() else { return };
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
fn every_active_rule_passes_through_a_pipeline() {
    let Some(files) = sigmahq(&ACTIVE) else { return };
    let text = "transformations:\n- {id: m, type: field_name_mapping, mapping: {Image: [process.executable, exe]}}\n\
        - {type: wildcard_placeholders}\n\
        - {type: replace_string, skip_special: true, regex: '^C:', replacement: 'c:'}\n\
        - {type: field_name_prefix, prefix: win., rule_conditions: [{type: logsource, product: windows}],\n   \
           field_name_conditions: [{type: processing_item_applied, processing_item_id: m}], field_name_cond_not: true}\n";
    let (set, report) = RuleSet::loader().pipeline(Pipeline::parse("p.yml", text).unwrap()).load(files);
    // Only networks cannot be anything.
    let odd: Vec<String> =
        report.rejected.iter().map(ToString::to_string).filter(|r| !r.contains("CIDR")).collect();
    assert!(odd.is_empty() && report.warnings.is_empty(), "{}\n{:?}", odd.join("\n"), report.warnings);
    let fields = set.native_fields();
    assert!(fields.contains("win.CommandLine") && fields.contains("exe") && !fields.contains("Image"));
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

fn regression() -> Option<Vec<Value>> {
    let path = data("rules/sigma_regression.ndjson.zst")?;
    let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    Some(std::str::from_utf8(&text).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect())
}

#[test]
fn every_published_event_fires_its_rule() {
    let (Some((set, _)), Some(cases)) = (LOADED.as_ref(), regression()) else { return };
    let events: Vec<Value> = cases.iter().map(flat).collect();
    let batch = batch::of(&events, &set.native_fields(), &[]);
    let fired: BTreeSet<(&str, usize)> = set
        .matches(&batch)
        .into_iter()
        .map(|(rule, row)| (set.rule(rule).reference.id.as_ref(), row))
        .collect();
    let cases_fired: BTreeSet<&str> = (0..cases.len())
        .filter(|row| fired.contains(&(cases[*row]["rule_id"].as_str().unwrap(), *row)))
        .map(|row| cases[row]["case"].as_str().unwrap())
        .collect();
    let silent: Vec<&str> =
        cases.iter().filter_map(|c| c["case"].as_str()).filter(|c| !cases_fired.contains(c)).collect();
    assert!(silent.is_empty(), "{} of {}:\n{}", silent.len(), cases.len(), silent.join("\n"));
}

#[test]
fn the_columnar_engine_agrees_with_the_reference_on_real_events() {
    let (Some((set, _)), Some(cases)) = (LOADED.as_ref(), regression()) else { return };
    let events: Vec<Value> = cases.iter().step_by(17).map(flat).collect();
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
fn flat(event: &Value) -> Value {
    let mut out = serde_json::Map::new();
    for part in ["System", "EventData", "UserData"] {
        let fields = event["Event"][part].as_object().into_iter().flatten();
        out.extend(fields.map(|(k, v)| (k.clone(), v.clone())));
    }
    out.into()
}
