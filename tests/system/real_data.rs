//! Public attack emulations through the whole path.

use std::path::Path;

use serde_json::Value;

use crate::harness::{alerts_of, asterism, data, hunt, incidents, json_lines, ok, sigma_rules, stderr};

fn replay(files: &[std::path::PathBuf], rules: &Path, data_dir: &Path) -> String {
    let mut command = asterism();
    command
        .args(["replay", "--rules", "builtin", "--rules"])
        .arg(rules)
        .arg("--data-dir")
        .arg(data_dir)
        .args(files);
    stderr(&ok(&mut command))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Scenario: an OTRF campaign (payload, discovery, LSASS dump) among 53,698 records of one host, with a burst of
/// Windows network diagnostics by the same user minutes later.
/// Guarantees: one incident holds the payload's process tree and the access to LSASS, stages in order.
#[test]
fn the_lsass_campaign_is_one_incident() {
    let Some(data) = data("the_lsass_campaign_is_one_incident") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let rules = sigma_rules(&data, &scratch.path().join("sigma"));
    let data_dir = scratch.path().join("case");
    let file =
        data.join("endpoint/otrf_LSASS_campaign_01_metasploit_logonpasswords_lsass_memory_dump.ndjson.zst");
    let summary = replay(std::slice::from_ref(&file), &rules, &data_dir);
    assert!(summary.contains("53698 records read, 53698 events"), "{summary}");

    let incidents = incidents(&data_dir);
    let attack: Vec<&Value> = incidents
        .iter()
        .filter(|incident| {
            let alerts = alerts_of(&data_dir, incident);
            let text = Value::Array(alerts).to_string().to_lowercase();
            text.contains("winx64_payload.exe") && text.contains("lsass.exe")
        })
        .collect();
    assert_eq!(attack.len(), 1, "one incident holds payload and LSASS access: {summary}");
    let attack = attack[0];
    let tactics = texts(&attack["tactics"]);
    assert!(tactics.contains(&"credential_access"), "{tactics:?}");
    let entities = attack["entities"].to_string().to_lowercase();
    assert!(entities.contains("mkt01"), "{entities}");
    let alerts = alerts_of(&data_dir, attack);
    let times: Vec<&str> = alerts.iter().filter_map(|a| a["time"].as_str()).collect();
    assert!(times.is_sorted(), "the kill chain is in order of event time");
    let first_payload = alerts.iter().position(|a| a.to_string().contains("winx64_payload")).unwrap();
    let reads_lsass = |a: &&Value| a["rule"]["title"].as_str().is_some_and(|title| title.contains("LSASS"));
    let first_lsass = alerts.iter().position(|a| reads_lsass(&a)).unwrap();
    assert!(first_payload <= first_lsass, "the payload runs before LSASS is read");
    assert!(alerts.iter().all(|a| a["rule"]["author"].is_string()), "every alert carries its rule's author");

    // Replaying the same file again changes nothing.
    let before = (incidents.len(), count(&data_dir));
    replay(std::slice::from_ref(&file), &rules, &data_dir);
    assert_eq!(before, (crate::harness::incidents(&data_dir).len(), count(&data_dir)));
}

/// Rows of the lake that came from records, over the classes of Windows logs.
fn count(data_dir: &Path) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM process_activity) + (SELECT count(*) FROM registry_value_activity) AS n";
    hunt(data_dir, sql)[0]["n"].as_i64().unwrap()
}

/// Scenario: AD FS key theft, forged token, application credential and grant, mailbox read through Graph: five
/// files of four products.
/// Guarantees: one incident spans endpoint or identity and the applications.
#[test]
fn golden_saml_is_one_cross_domain_incident() {
    let Some(data) = data("golden_saml_is_one_cross_domain_incident") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let rules = sigma_rules(&data, &scratch.path().join("sigma"));
    let data_dir = scratch.path().join("case");
    let name = |domain: &str, part: &str| {
        data.join(domain).join(format!("otrf_GoldenSAMLADFSMailAccess_{part}.ndjson.zst"))
    };
    let files = [
        name("endpoint", "WindowsEvents"),
        name("endpoint", "Microsoft365DefenderEvents"),
        name("identity", "AADAuditEvents"),
        name("app", "OfficeActivityEvents"),
    ];
    let summary = replay(&files, &rules, &data_dir);
    let incidents = incidents(&data_dir);
    let spans = |incident: &Value| texts(&incident["domains"]).len();
    let widest =
        incidents.iter().max_by_key(|i| spans(i)).unwrap_or_else(|| panic!("no incident: {summary}"));
    let domains = texts(&widest["domains"]);
    assert!(
        domains.contains(&"identity") && domains.contains(&"app") && domains.contains(&"endpoint"),
        "{domains:?}: {summary}"
    );
}

/// Scenario: 189 XDR alerts of 8 simulated attacks, over email, endpoint, identity and cloud.
/// Guarantees: every alert is in exactly one incident, in input order; the grouping agrees with the published one.
#[test]
fn xdr_alerts_group_as_published() {
    let Some(data) = data("xdr_alerts_group_as_published") else { return };
    let alerts = data.join("alerts/xdr_alerts.ndjson.zst");
    let out = json_lines(&ok(asterism().args(["correlate", "--explain", "--source", "auto"]).arg(&alerts)));
    let truth: std::collections::BTreeMap<String, String> =
        crate::harness::lines(&data.join("groundtruth/xdr_alert_to_incident.ndjson.zst"))
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|row| (row["alert_id"].as_str().unwrap().to_owned(), row["incident"].to_string()))
            .collect();
    let grouped: std::collections::BTreeMap<String, String> = out
        .iter()
        .map(|row| {
            (row["alert_id"].as_str().unwrap().to_owned(), row["incident"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(grouped.len(), out.len(), "an alert is written once");
    assert!(truth.keys().all(|id| grouped.contains_key(id)), "no alert is left out");
    assert!(out.iter().all(|row| row["why"].is_array()));
    let score = simulate::Score::of(&truth, &grouped);
    println!(
        "xdr_alerts: B-cubed F1 {:.4}, over-merged {:.4}, {} groups",
        score.b3_f1(),
        score.over_merge,
        score.groups
    );
    assert!(score.b3_f1() >= 0.90, "B-cubed F1 {:.4}", score.b3_f1());
}
