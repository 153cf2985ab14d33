//! The pack of correlation rules: each fires on the sequences that it should, and on none that lacks the decisive thing.
//! The format of the sequences is described in `packs/README.md`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::LazyLock;

use event::{Severity, Watermark};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::batch;
use super::pack::{Example, examples, mapped};
use crate::correlation::Source;
use crate::{CorrelationChange, RuleSet, Windows};

const PACK: &str = "correlations";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    #[serde(rename = "match")]
    matches: bool,
    events: Vec<Step>,
}

/// One or more like events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at: String,
    rule: String,
    #[serde(default = "once")]
    times: i64,
    #[serde(default = "at_once")]
    every: String,
    #[serde(default)]
    set: Map<String, Value>,
}

fn once() -> i64 {
    1
}

fn at_once() -> String {
    "0s".to_owned()
}

/// The OCSF columns that correlation rules group by: pack, column, and where its mapping takes it from.
/// `every_column_is_taken_as_its_mapping_takes_it` holds it against the mappings.
const COLUMNS: &[(&str, &str, &[&str])] = &[
    ("email", "actor_user_email", &["AccountUpn", "SenderFromAddress"]),
    ("email", "user_email", &["RecipientEmailAddress"]),
    ("entra", "actor_user_email", &["InitiatedBy.user.userPrincipalName"]),
    (
        "entra",
        "user_email",
        &["UserPrincipalName", "userPrincipalName", "TargetResources.type=User.userPrincipalName"],
    ),
    ("entra", "user_uid", &["UserId", "ServicePrincipalId"]),
    ("entra", "entity_uid", &["TargetResources.0.id"]),
    ("entra", "src_endpoint_ip", &["IPAddress"]),
    ("entra", "src_endpoint_location_country", &["LocationDetails.countryOrRegion", "Location"]),
    ("google_workspace", "actor_user_email", &["actor.email"]),
    ("google_workspace", "user_email", &["USER_EMAIL"]),
    ("google_workspace", "src_endpoint_ip", &["ipAddress"]),
    ("m365", "actor_user_email", &["UserId"]),
    ("m365", "src_endpoint_ip", &["ClientIP"]),
    ("m365", "file_size", &["FileSizeBytes"]),
    ("defender_identity", "actor_user_email", &["AccountUpn"]),
    ("okta", "actor_user_email", &["actor.alternateId"]),
    ("okta", "user_email", &["target.type=User.alternateId", "actor.alternateId"]),
    ("okta", "src_endpoint_ip", &["client.ipAddress"]),
    ("okta", "src_endpoint_location_country", &["client.geographicalContext.country"]),
    ("windows", "device_hostname", &["Hostname"]),
    ("windows", "user_name", &["TargetUserName"]),
    ("windows", "actor_user_name", &["SubjectUserName"]),
    ("windows", "src_endpoint_ip", &["IpAddress"]),
];

/// The documents of the packs by the name of their rule.
static BY_NAME: LazyLock<HashMap<String, (String, String)>> = LazyLock::new(|| {
    let named = |(file, text): (String, String)| {
        let name = document(&text).get("name")?.as_str()?.to_owned();
        Some((name, (file, text)))
    };
    RuleSet::builtin_packs().into_iter().filter_map(named).collect()
});

fn document(text: &str) -> serde_yaml_ng::Value {
    serde_yaml_ng::from_str(text).unwrap()
}

fn stem(file: &str) -> &str {
    file.rsplit('/').next().unwrap().strip_suffix(".yml").unwrap()
}

/// The documents of a correlation rule and of all that it watches.
fn with_watched(name: &str) -> BTreeMap<String, String> {
    let mut documents = BTreeMap::new();
    let mut wanted = vec![name.to_owned()];
    while let Some(name) = wanted.pop() {
        let (file, text) = BY_NAME.get(&name).unwrap_or_else(|| panic!("there is no rule `{name}`"));
        if let Some(rules) = document(text).get("correlation").map(|c| c["rules"].clone()) {
            wanted.extend(rules.as_sequence().unwrap().iter().map(|r| r.as_str().unwrap().to_owned()));
        }
        documents.insert(file.clone(), text.clone());
    }
    documents
}

fn seconds(text: &str) -> i64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => panic!("`{text}` is no time like 90s, 5m, 2h or 1d"),
    };
    number.parse::<i64>().unwrap() * unit
}

/// The first example that its rule matches.
fn first_match(file: &str) -> Value {
    let text = std::fs::read_to_string(examples(file)).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Example>(line).unwrap());
    lines.find(|example| example.matches).unwrap().event
}

/// The events of a step, as rules see them.
fn events(step: &Step, id: &str) -> Vec<Value> {
    let (file, _) = BY_NAME.get(&step.rule).unwrap_or_else(|| panic!("{id}: no rule `{}`", step.rule));
    let pack = file.split('/').next().unwrap();
    let record = mapped(&first_match(file));
    let event = |n: i64| {
        let mut event = record.clone();
        for (name, value) in &step.set {
            set(&mut event, name, numbered(value, n));
        }
        for (_, column, paths) in COLUMNS.iter().filter(|(p, _, _)| *p == pack) {
            let value = paths.iter().find_map(|path| at_path(&event, path));
            if let (None, Some(value)) = (event.get(*column), value) {
                event[*column] = value;
            }
        }
        event["@t"] = json!(seconds(&step.at) + (n - 1) * seconds(&step.every));
        event["@uid"] = json!(format!("{id}/{n}"));
        event
    };
    (1..=step.times).map(event).collect()
}

fn numbered(value: &Value, n: i64) -> Value {
    value.as_str().map_or_else(|| value.clone(), |text| json!(text.replace("{n}", &n.to_string())))
}

/// A dotted name sets within an object that is there, else it is one name.
fn set(event: &mut Value, name: &str, value: Value) {
    match name.split_once('.') {
        Some((head, rest)) if event.get(head).is_some_and(Value::is_object) => {
            set(&mut event[head], rest, value);
        }
        _ => event[name] = value,
    }
}

/// A value by the steps that mappings know: names, positions, `key=value` members; objects may stand as text.
fn at_path(value: &Value, path: &str) -> Option<Value> {
    let mut value = value.clone();
    for step in path.split('.') {
        if let Some(text) = value.as_str() {
            value = serde_json::from_str(text).ok()?;
        }
        value = match (&value, step.split_once('=')) {
            (Value::Array(members), Some((key, wanted))) => {
                members.iter().find(|member| member[key] == wanted)?.clone()
            }
            (Value::Array(members), None) => members.get(step.parse::<usize>().ok()?)?.clone(),
            _ => value.get(step)?.clone(),
        };
    }
    Some(value).filter(|value| !value.is_null() && value != "")
}

/// Whether the rule of that id has fired when all is over.
fn fires(set: &RuleSet, id: &str, case: &Case, place: &str) -> bool {
    let wanted = set.native_fields();
    let mut observations = Vec::new();
    for (number, step) in case.events.iter().enumerate() {
        let base = base_rule(set, &step.rule);
        let logsource = set.rule(base).logsource.clone();
        let events = events(step, &format!("{place}/{number}"));
        let batch = batch::of(&events, &wanted, &[logsource]);
        let matches = set.matches(&batch);
        for (row, event) in events.iter().enumerate() {
            assert!(matches.contains(&(base, row)), "{place}: no match of {}: {event}", step.rule);
        }
        observations.extend(set.evaluate(&batch).observations);
    }
    let mut windows = Windows::default();
    let mut standing = BTreeSet::new();
    let mut changes = windows.observe(set, observations);
    changes.extend(windows.advance(set, &Watermark::END.into()));
    for change in changes {
        match change {
            CorrelationChange::Fired(alert) if alert.rule.id.as_ref() == id => {
                standing.insert(alert.id.to_string());
            }
            CorrelationChange::Fired(_) => {}
            CorrelationChange::Retracted { alert, .. } => {
                standing.remove(alert.as_str());
            }
        }
    }
    !standing.is_empty()
}

fn base_rule(set: &RuleSet, name: &str) -> crate::RuleIndex {
    let (file, _) = BY_NAME.get(name).unwrap_or_else(|| panic!("there is no rule `{name}`"));
    let found = set.rules().find(|(_, rule)| rule.file.as_ref() == file);
    found.unwrap_or_else(|| panic!("`{name}` is not watched")).0
}

fn pack() -> Vec<(String, String)> {
    let documents = RuleSet::builtin_packs();
    documents.into_iter().filter(|(file, _)| file.starts_with(&format!("{PACK}/"))).collect()
}

#[test]
fn every_correlation_fires_on_its_sequences() {
    let mut wrong = Vec::new();
    for (file, text) in pack() {
        let name = document(&text)["name"].as_str().unwrap().to_owned();
        assert_eq!(name, stem(&file), "a correlation rule is named as its file");
        let (set, report) = RuleSet::load(with_watched(&name));
        assert!(report.rejected.is_empty() && report.warnings.is_empty(), "{report:?}");
        let id = document(&text)["id"].as_str().unwrap().to_owned();
        let lines = std::fs::read_to_string(examples(&file)).unwrap();
        let cases: Vec<Case> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(cases.iter().any(|c| c.matches) && cases.iter().any(|c| !c.matches), "{name}: both kinds");
        for case in &cases {
            let place = format!("{name}, {}", case.case);
            if fires(&set, &id, case, &place) != case.matches {
                wrong.push(place);
            }
        }
    }
    assert!(wrong.is_empty(), "not as their `match` says:\n{}", wrong.join("\n"));
}

#[test]
fn only_informational_rules_are_silenced() {
    let (set, _) = RuleSet::load(RuleSet::builtin_packs());
    for (index, rule) in set.rules() {
        let silent = set.correlations.is_silent(Source::Rule(index.0), rule.severity);
        assert!(!silent || rule.severity == Severity::Informational, "{} makes no alert", rule.file);
    }
    for (index, rule) in (0..).zip(set.correlations()) {
        let silent = set.correlations.is_silent(Source::Correlation(index), rule.severity);
        assert!(!silent || rule.severity == Severity::Informational, "{} makes no alert", rule.file);
    }
}

#[test]
fn building_blocks_are_loaded_where_they_are_watched() {
    let block = |name: &str| {
        let text = format!(
            "title: {name}\nname: {name}\nlevel: informational\nlogsource: {{product: test}}\n\
             detection: {{s: {{a: b}}, condition: s}}\n"
        );
        (format!("{name}.yml"), text)
    };
    let watching = |name: &str, watched: &str| {
        let text = format!(
            "title: {name}\nname: {name}\ncorrelation:\n  type: event_count\n  rules: [{watched}]\n  \
             timespan: 1h\n  condition: {{gte: 100}}\n"
        );
        (format!("{name}.yml"), text)
    };
    let packs = vec![block("watched"), block("idle"), watching("many", "watched")];
    let files = |others: &[(String, String)]| -> Vec<String> {
        crate::pack::beside(packs.clone(), others).into_iter().map(|(file, _)| file).collect()
    };
    assert_eq!(files(&[]), ["watched.yml", "many.yml"]);
    assert_eq!(files(&[watching("own", "idle")]), ["watched.yml", "idle.yml", "many.yml"]);
    let all = RuleSet::builtin_packs();
    assert_eq!(RuleSet::builtin_packs_beside(&[]), all, "no block of the packs is idle");
    let (set, report) = RuleSet::load(RuleSet::builtin_packs_beside(&[]));
    assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    for (index, rule) in set.rules().filter(|(_, rule)| rule.severity == Severity::Informational) {
        let silent = set.correlations.is_silent(Source::Rule(index.0), rule.severity);
        assert!(silent, "{} would alert on every event", rule.file);
    }
}

#[test]
fn every_column_is_taken_as_its_mapping_takes_it() {
    let mappings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingest/mappings");
    for (pack, column, paths) in COLUMNS {
        let files: &[&str] = match *pack {
            "entra" => &["entra_signin.yml", "entra_audit.yml"],
            "email" | "defender_identity" => &["defender_xdr.yml"],
            "google_workspace" => &["google_workspace.yml"],
            "m365" => &["m365_audit.yml"],
            "okta" => &["okta_system_log.yml"],
            _ => &["windows_event.yml"],
        };
        let text: String =
            files.iter().map(|file| std::fs::read_to_string(mappings.join(file)).unwrap()).collect();
        for path in *paths {
            let last = path.rsplit('.').next().unwrap();
            let renamed = taken(&text, column).into_iter().flat_map(|name| taken(&text, name));
            let found = taken(&text, column).into_iter().chain(renamed).any(|from| from.contains(last));
            assert!(found, "{pack}: no mapping takes {column} from {path}");
        }
    }
}

/// What stands behind `name:` in the lines of a mapping.
fn taken<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let key = format!("{name}:");
    text.lines().filter_map(|line| line.split_once(&key)).map(|(_, rest)| rest.trim()).collect()
}
