//! What changes rules while they are loaded, from the command line to the tables that hunters see.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{asterism, hunt, json_lines, ok, stderr};

const RULES: &str = "title: Tool run\nname: tool\nid: 0d7a3c55-52c1-4b1b-9d0e-6a7f2f1c5a01\nlogsource: {category: process_creation}\n\
                     level: high\ndetection: {s: {CommandLine|contains|expand: '%tools%'}, condition: s}\n";

const OVERLAY: &str = "overlays:\n- {rule: tool, action: except, owner: ada, reason: the backup runs it, \
                       expires: 2099-01-01, detection: {backup: {User: svc-backup}}, condition: backup}\n\
                       - {rule: tool, action: suppress, owner: ada, reason: one an hour is enough, \
                       expires: 2099-01-01, fields: [Computer], window: 1h}\n";

/// Renames the field that the rule asks for to the one that the records have.
const PIPELINE: &str =
    "name: names\ntransformations:\n- {id: line, type: field_name_mapping, mapping: {CommandLine: cmd}}\n";

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn event(minute: u32, user: &str, host: &str) -> String {
    let time = format!("2026-01-01T10:{minute:02}:00Z");
    json!({"time": time, "cmd": "psexec -s", "User": user, "Computer": host}).to_string()
}

struct Case {
    dir: tempfile::TempDir,
    rules: PathBuf,
    events: PathBuf,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = file(dir.path(), "rules.yml", RULES);
        let events = [
            event(1, "eve", "ws-1"),
            event(2, "eve", "ws-1"),
            event(3, "svc-backup", "ws-2"),
            event(4, "mallory", "ws-1"),
            event(5, "eve", "ws-3"),
        ];
        let events = file(dir.path(), "events.ndjson", &events.join("\n"));
        Self { dir, rules, events }
    }

    fn with(&self, name: &str, text: &str) -> PathBuf {
        file(self.dir.path(), name, text)
    }

    fn detect(&self, more: &[(&str, &Path)]) -> (Vec<Value>, String) {
        let mut command = asterism();
        command.args(["detect", "--source", "json", "--rules"]).arg(&self.rules);
        for (flag, path) in more {
            command.arg(flag).arg(path);
        }
        let output = ok(command.arg(&self.events));
        (json_lines(&output), stderr(&output))
    }
}

#[test]
fn placeholders_pipelines_and_overlays_change_what_rules_say() {
    let case = Case::new();
    let (alerts, said) = case.detect(&[]);
    assert!(
        alerts.is_empty() && said.contains("tools"),
        "a placeholder without values rejects the rule: {said}"
    );
    let tools = case.with("tools.txt", "psexec\nmimikatz\n");
    let names = case.with("names.yml", PIPELINE);
    let overlay = case.with("overlay.yml", OVERLAY);
    let placeholders = ("--placeholders", tools.as_path());
    assert!(case.detect(&[placeholders]).0.is_empty(), "the records have another name for the field");
    let pipeline = ("--pipeline", names.as_path());
    assert_eq!(case.detect(&[placeholders, pipeline]).0.len(), 5);
    let (alerts, said) = case.detect(&[placeholders, pipeline, ("--overlay", &overlay)]);
    let lines: Vec<i64> = alerts.iter().map(|a| a["line"].as_i64().unwrap()).collect();
    assert_eq!(lines, [1, 5], "one a host and hour, and none for the backup");
    assert!(said.contains("2 alerts") && said.contains("2 more were suppressed"), "{said}");
    assert!(said.contains("1 matches are hidden by an exception of ada: the backup runs it"), "{said}");
}

#[test]
fn what_was_suppressed_or_excepted_can_be_hunted() {
    let case = Case::new();
    let data = case.dir.path().join("data");
    let mut command = asterism();
    command.args(["replay", "--source", "json", "--rules"]).arg(&case.rules);
    command.arg("--placeholders").arg(case.with("tools.txt", "psexec\n"));
    command.arg("--pipeline").arg(case.with("names.yml", PIPELINE));
    command.arg("--overlay").arg(case.with("overlay.yml", OVERLAY));
    ok(command.arg("--data-dir").arg(&data).arg(&case.events));
    assert_eq!(hunt(&data, "SELECT count(*) AS n FROM alerts")[0]["n"], 2);
    let rows =
        hunt(&data, "SELECT rule_id, key, count, running, cardinality(samples) AS samples FROM suppressions");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["rule_id"], "0d7a3c55-52c1-4b1b-9d0e-6a7f2f1c5a01");
    assert_eq!((&rows[0]["count"], &rows[0]["samples"]), (&json!(2), &json!(2)));
    assert!(rows[0]["key"].as_str().unwrap().contains("ws-1"), "{rows:?}");
    assert_eq!(rows[0]["running"], false, "the records have ended");
    let hidden =
        hunt(&data, "SELECT exception_id, rule_id, owner, reason, count, time, end_time FROM exceptions");
    assert_eq!(hidden.len(), 1, "{hidden:?}");
    assert_eq!((&hidden[0]["count"], &hidden[0]["owner"]), (&json!(1), &json!("ada")));
    assert_eq!(hidden[0]["time"], hidden[0]["end_time"], "one event, at one time");
    assert!(hidden[0]["reason"] == "the backup runs it" && hidden[0]["rule_id"] == rows[0]["rule_id"]);
}

#[test]
fn a_mistake_in_an_overlay_is_refused_with_its_place() {
    let case = Case::new();
    let overlay = case.with("overlay.yml", "overlays:\n- {rule: tool, action: disable, owner: ada}\n");
    let output =
        asterism().args(["rules", "check"]).arg(&case.rules).arg("--overlay").arg(&overlay).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("overlay.yml") && said.contains("reason"), "{said}");
}
