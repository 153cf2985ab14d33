//! What the commands say about rules: which nothing feeds, and why one fired or did not.

use std::path::Path;

use serde_json::json;

use crate::harness::{asterism, ok, stdout};

const RULES: &str = "title: Shell\nname: shell\nid: 0d7a3c55-52c1-4b1b-9d0e-6a7f2f1c5b01\nlevel: low\n\
                     logsource: {product: windows, category: process_creation}\n\
                     detection: {s: {Image|endswith: '\\cmd.exe'}, f: {User: root}, condition: s and not f}\n---\n\
                     title: Kettle boils\nname: kettle\nid: 0d7a3c55-52c1-4b1b-9d0e-6a7f2f1c5b02\nlevel: low\n\
                     logsource: {product: kettle}\ndetection: {s: {state: boils}, condition: s}\n---\n\
                     title: Shell, then tea\nid: 1e7a3c55-52c1-4b1b-9d0e-6a7f2f1c5b03\n\
                     correlation: {type: temporal_ordered, rules: [shell, kettle], group-by: [User], timespan: 1h}\n---\n\
                     title: Tea again\nid: 1e7a3c55-52c1-4b1b-9d0e-6a7f2f1c5b04\n\
                     correlation: {type: event_count, rules: [kettle], timespan: 1h, condition: {gte: 2}}\n";

fn rules(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("rules.yml");
    std::fs::write(&path, RULES).unwrap();
    path
}

#[test]
fn rules_that_nothing_feeds_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = stdout(&ok(asterism().args(["rules", "check"]).arg(rules(dir.path()))));
    let unfed: Vec<&str> = said.lines().filter(|line| line.starts_with("unfed")).collect();
    assert_eq!(unfed.len(), 3, "{said}");
    assert!(unfed[0].ends_with("Kettle boils: no source kind has product=kettle"), "{said}");
    assert!(unfed[1..].iter().all(|line| line.ends_with("it watches Kettle boils")), "{said}");
    let fed = said.lines().find(|line| line.contains("category=process_creation")).unwrap();
    assert!(fed.contains("windows_event"), "{fed}");
    assert_eq!(said.lines().filter(|line| line.starts_with("state")).count(), 2, "{said}");
}

#[test]
fn a_rule_and_a_correlation_rule_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let rules = rules(dir.path());
    let events = [
        json!({"time": "2026-01-01T10:00:00Z", "Image": "C:\\cmd.exe", "User": "eve"}),
        json!({"time": "2026-01-01T10:10:00Z", "state": "boils", "User": "mallory"}),
        json!({"time": "2026-01-01T10:20:00Z", "Image": "C:\\cmd.exe", "User": "root"}),
    ];
    let file = dir.path().join("events.ndjson");
    std::fs::write(&file, events.map(|event| event.to_string()).join("\n")).unwrap();
    let explain = |rule: &str| {
        let mut command = asterism();
        command.args(["rules", "explain", "--source", "json", "--rule", rule, "--rules"]).arg(&rules);
        stdout(&ok(command.arg(&file)))
    };
    let leaf = explain("0d7a3c55-52c1-4b1b-9d0e-6a7f2f1c5b01");
    assert!(leaf.contains("events.ndjson line 1: Shell matches\n"), "{leaf}");
    assert!(leaf.contains("yes Image is '*\\cmd.exe'  (is \"C:\\\\cmd.exe\")"), "{leaf}");
    assert!(leaf.contains("events.ndjson line 3: Shell does not match\n"), "{leaf}");
    let chain = explain("1e7a3c55-52c1-4b1b-9d0e-6a7f2f1c5b03");
    assert!(
        chain.starts_with("Shell, then tea does not fire: temporal_ordered within 3600 s, by User\n"),
        "{chain}"
    );
    assert!(chain.contains("yes shell: 1 matches") && chain.contains("events.ndjson line 1)"), "{chain}");
    assert!(chain.contains("no  User=eve: nearest: ") && chain.contains("no event of kettle"), "{chain}");
    assert!(chain.contains("no  User=mallory: nearest: ") && chain.contains("no event of shell"), "{chain}");
}
