//! What came out, in the form that goldens have.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::case::Case;
use crate::harness::{asterism, json_lines, ok};

/// Sealed incidents with their stories, and actions as they were decided.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    incidents: String,
    actions: String,
}

/// Goldens are rewritten, as snapshots are.
pub fn is_update() -> bool {
    std::env::var_os("INSTA_UPDATE").is_some_and(|v| v == "always")
}

fn path(case: &Case, what: &str) -> PathBuf {
    case.dir.join(format!("{what}.golden.json"))
}

impl Outcome {
    /// What a data directory holds.
    pub fn of(case: &Case, data_dir: &Path) -> Outcome {
        let (mut incidents, mut actions) = (Vec::new(), Vec::new());
        for tenant in case.tenants() {
            let ask = |words: &[&str]| {
                json_lines(&ok(asterism().args(words).args(["--tenant", tenant, "--data-dir"]).arg(data_dir)))
            };
            let all = ask(&["incidents", "list", "--json", "--limit", "1000"]);
            // A redirect tells by which detours an incident came about, not what it is.
            for incident in all.into_iter().filter(|i| i["status"] != "redirected") {
                let id = incident["id"].as_str().unwrap();
                let shown = ask(&["incidents", "show", "--json", id]);
                incidents.push(json!({"story": story(&shown[0]), "incident": incident}));
            }
            actions.extend(ask(&["actions", "list", "--json", "--limit", "1000"]).into_iter().map(decided));
        }
        incidents.sort_by_cached_key(|i| {
            let incident = &i["incident"];
            [&incident["tenant"], &incident["first_time"], &incident["id"]].map(Value::to_string)
        });
        actions.sort_by_cached_key(|a| {
            [&a["tenant"], &a["incident"], &a["verb"], &a["target"], &a["id"]].map(Value::to_string)
        });
        Outcome { incidents: pretty(&incidents), actions: pretty(&actions) }
    }

    /// The golden; empty where there is none yet.
    pub fn golden(case: &Case) -> Outcome {
        let read = |what| std::fs::read_to_string(path(case, what)).unwrap_or_default();
        Outcome { incidents: read("incidents"), actions: read("actions") }
    }

    /// How many actions of a verb the policy lets run by themselves.
    pub fn executed(&self, verb: &str) -> usize {
        let actions: Vec<Value> = serde_json::from_str(&self.actions).unwrap();
        let is_meant = |a: &&Value| a["verb"] == verb && a["decision"]["outcome"] == "execute";
        actions.iter().filter(is_meant).count()
    }

    pub fn write(&self, case: &Case) {
        std::fs::write(path(case, "incidents"), &self.incidents).unwrap();
        std::fs::write(path(case, "actions"), &self.actions).unwrap();
    }

    /// Panics where the two differ, with the first difference.
    pub fn expect(&self, golden: &Outcome, of: &str) {
        assert!(
            !self.incidents.contains("\"sealed\": false"),
            "{of}: not every incident is sealed\n{}",
            self.incidents
        );
        same(&self.incidents, &golden.incidents, &format!("{of}: incidents"));
        same(&self.actions, &golden.actions, &format!("{of}: actions"));
    }

    /// The same, with actions that have lost their ids.
    pub fn with_nameless_actions(mut self) -> Outcome {
        let is_id = |line: &&str| line.trim_start().starts_with("\"id\": \"c-");
        self.actions =
            self.actions.lines().filter(|line| !is_id(line)).map(|line| format!("{line}\n")).collect();
        self
    }
}

fn same(own: &str, expected: &str, what: &str) {
    let update = "INSTA_UPDATE=always takes what came out as the golden";
    assert!(own == expected, "{what} differ from the golden\n{}\n{update}", difference(expected, own));
}

/// One line an alert: time, severity, rule, id. For those who read a golden.
fn story(shown: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = shown["alerts"].as_array().unwrap();
    let line = |a: &Value| [&a["time"], &a["severity"], &a["rule"]["title"], &a["id"]].map(text).join("  ");
    alerts.iter().map(line).collect()
}

/// The action as it was decided: what an executor did since, and when (by the clock of the machine), is left out.
fn decided(mut action: Value) -> Value {
    const DECIDED: [&str; 4] = ["queued", "awaiting_approval", "suppressed", "simulated"];
    let fields = action.as_object_mut().unwrap();
    // An incident's title grows with its alerts; the action keeps the one of the moment.
    for passing in ["created_at", "expires_at", "attempts", "provider_ref", "title"] {
        fields.remove(passing);
    }
    let history = fields["history"].as_array_mut().unwrap();
    let is_decision = |t: &Value| DECIDED.contains(&t["to"].as_str().unwrap_or_default());
    let end = history.iter().position(is_decision).map_or(history.len(), |decided| decided + 1);
    history.truncate(end);
    let state = history.last().map(|t| t["to"].clone());
    for transition in history {
        transition.as_object_mut().unwrap().remove("at");
        known_then(&mut transition["note"]);
    }
    fields["state"] = state.unwrap_or_default();
    // What does not wait any more keeps the names that were known when it was decided.
    if fields["state"] != "awaiting_approval" {
        fields["target"].as_object_mut().unwrap().remove("identifiers");
    }
    fields["decision"]["reasons"].as_array_mut().unwrap().iter_mut().for_each(known_then);
    if let Some(undo) = fields.get_mut("undo").and_then(Value::as_object_mut) {
        undo.remove("pre_image");
    }
    action
}

/// How sure the engine was, and of how many domains, when it decided: that depends on how much had arrived.
fn known_then(reason: &mut Value) {
    let text = reason.as_str().unwrap_or_default();
    if let Some((risk, _)) = text.split_once(", confidence ").filter(|_| text.ends_with(": may run")) {
        *reason = format!("{risk}: may run").into();
    }
}

fn pretty(values: &[Value]) -> String {
    let values: Vec<Value> = values.iter().map(sorted).collect();
    let mut text = serde_json::to_string_pretty(&values).unwrap();
    text.push('\n');
    text
}

/// The same with its keys in order: taking one out of a map moves another.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<&String, &Value> = map.iter().collect();
            sorted.into_iter().map(|(key, value)| (key.clone(), self::sorted(value))).collect()
        }
        Value::Array(members) => members.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The first lines that differ, with some before.
fn difference(expected: &str, own: &str) -> String {
    let (expected, own): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), own.lines().collect());
    let first = expected.iter().zip(&own).take_while(|(a, b)| a == b).count();
    let from = first.saturating_sub(6);
    let part = |sign: &str, lines: &[&str]| {
        let some = lines.iter().skip(first).take(12);
        some.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    let before: String = expected[from..first].iter().map(|line| format!("  {line}\n")).collect();
    format!("line {}:\n{before}{}{}", first + 1, part("-", &expected), part("+", &own))
}
