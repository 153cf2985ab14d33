use std::collections::BTreeSet;

use event::{Severity, Time};
use serde_json::{Value, json};

use crate::tests::small::event;
use crate::tests::{batch, small};
use crate::{ExceptionTallies, LoadReport, Overlay, RuleSet, Windows, explain};

const CORRELATIONS: &str = "
title: Spray
name: spray
level: high
correlation: {type: event_count, rules: [failed], group-by: [user], timespan: 10s, condition: {gte: 2}}
---
title: Spray, then logon
name: chain
correlation: {type: temporal_ordered, rules: [spray, logon], group-by: [user], timespan: 1m}
";

fn pack() -> String {
    let header = "id: 00000000-0000-0000-0000-00000000000A\nlevel: high\n\
                  tags: [attack.t1110, attack.credential-access]\nfalsepositives: [Typing]\n";
    let failed = small::of_kind("Logon failed", "failed", "a", header);
    failed + &small::of_kind("Logon", "logon", "b", "") + CORRELATIONS
}

const NOW: &str = "2026-06-01";

/// An entry with the keys that all have.
fn entry(rule: &str, action: &str, own: &str) -> String {
    format!("- {{rule: {rule}, action: {action}, owner: a@x.org, reason: noise, expires: 2027-01-01{own}}}\n")
}

fn overlay(entries: &[String]) -> Overlay {
    Overlay::parse("o.yml", &format!("overlays:\n{}", entries.concat())).unwrap()
}

fn load(entries: &[String]) -> (RuleSet, LoadReport) {
    load_at(entries, NOW)
}

fn load_at(entries: &[String], now: &str) -> (RuleSet, LoadReport) {
    let documents = [("pack.yml".to_owned(), pack())];
    RuleSet::loader().overlay(overlay(entries)).now(Time::parse(now).unwrap()).load(documents)
}

fn loaded(set: &RuleSet) -> BTreeSet<String> {
    let infos = set.rules().map(|(_, info)| info).chain(set.correlations());
    infos.map(|info| info.reference.title.to_string()).collect()
}

/// Titles of the alerts of detection rules, and of correlations.
fn alerts(set: &RuleSet, events: &[Value]) -> Vec<String> {
    let evaluated = set.evaluate(&batch::of(events, &set.native_fields(), &[]));
    let fired = Windows::default().observe(set, evaluated.observations);
    let fired = fired.into_iter().filter_map(|change| match change {
        crate::CorrelationChange::Fired(alert) => Some(alert),
        crate::CorrelationChange::Retracted { .. } => None,
    });
    evaluated.alerts.into_iter().chain(fired).map(|alert| alert.title.to_string()).collect()
}

#[test]
fn a_disabled_rule_takes_along_what_is_built_on_it() {
    let (set, report) = load(&[entry("00000000-0000-0000-0000-00000000000a", "disable", "")]);
    assert_eq!(loaded(&set), BTreeSet::from(["Logon".to_owned()]));
    assert_eq!(report.loaded, 1);
    assert_eq!(report.rejected, []);
    let told: Vec<String> = report.disabled.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    pack.yml: Logon failed: o.yml: entry 1: disable by a@x.org until 2027-01-01T00:00:00.000000Z: noise
    pack.yml: Spray: its rule failed is disabled
    pack.yml: Spray, then logon: its rule spray is disabled
    ");
}

#[test]
fn what_only_fed_a_disabled_correlation_stays_silent() {
    let events = [event(1, "a", "u"), event(2, "a", "u"), event(3, "b", "u")];
    let (set, _) = load(&[entry("chain", "disable", "")]);
    assert_eq!(alerts(&set, &events), Vec::<String>::new());
    let (set, _) = load(&[]);
    assert_eq!(alerts(&set, &events), ["Spray, then logon"]);
}

#[test]
fn an_exception_hides_events_from_the_rule_and_from_correlations() {
    let own = ", detection: {job: {user|startswith: SVC-}, late: {kind: z}}, condition: job OR late";
    let (set, report) = load(&[entry("failed", "except", own), entry("chain", "disable", "")]);
    assert_eq!((report.excepted.len(), report.rejected.len(), report.filters), (1, 0, 0));
    let batch = batch::of(&[event(1, "a", "svc-backup"), event(1, "a", "u")], &set.native_fields(), &[]);
    assert_eq!(set.matches(&batch).into_iter().map(|(_, row)| row).collect::<Vec<_>>(), [1]);
    assert_eq!(set.evaluate(&batch).observations.len(), 1);
    let rule = set.find("00000000-0000-0000-0000-00000000000a").unwrap();
    let explained = explain(&set, &batch, 0, rule);
    assert!(!explained.matched);
    assert!(
        explained.condition.parts.iter().any(|part| part.label == "except: o.yml entry 1" && !part.holds)
    );
}

#[test]
fn what_exceptions_hide_is_told_by_each() {
    let except = |user: &str| {
        entry("failed", "except", &format!(", detection: {{s: {{user|startswith: {user}}}}}, condition: s"))
    };
    let filter = "---\ntitle: F\nlogsource: {product: test}\n\
                  filter: {rules: [failed], s: {host: lab}, condition: not s}\n";
    let overlay = overlay(&[except("svc"), except("svc-b"), except("nobody")]);
    let documents = [("pack.yml".to_owned(), pack() + filter)];
    let (set, report) = RuleSet::loader().overlay(overlay).now(Time::parse(NOW).unwrap()).load(documents);
    assert_eq!((report.loaded, report.filters, set.rules().len()), (4, 1, 2));
    let in_lab = json!({"kind": "a", "user": "svc-b", "host": "lab"});
    let events =
        [event(1, "a", "svc-b"), event(1, "a", "svc"), event(1, "a", "u"), event(1, "b", "svc"), in_lab];
    let evaluated = set.evaluate(&batch::of(&events, &set.native_fields(), &[]));
    let told: Vec<(usize, usize)> = evaluated.excepted.iter().map(|e| (e.row, e.by.number)).collect();
    assert_eq!(told, [(0, 1), (0, 2), (1, 1)]);
    assert!(evaluated.excepted.iter().all(|e| set.rule(e.rule).reference.title.as_ref() == "Logon failed"));
    assert_eq!(evaluated.observations.len(), 2, "row 2 for one rule, row 3 for the other");
}

#[test]
fn what_each_exception_hides_is_counted_with_its_times() {
    let except = |user: &str| {
        entry("failed", "except", &format!(", detection: {{s: {{user|startswith: {user}}}}}, condition: s"))
    };
    let (set, _) = load(&[except("svc"), except("svc-b")]);
    let events =
        |times: &[(i64, &str)]| -> Vec<Value> { times.iter().map(|(t, u)| event(*t, "a", u)).collect() };
    let mut tallies = ExceptionTallies::default();
    for portion in [events(&[(5, "svc-b"), (3, "svc"), (4, "u")]), events(&[(9, "svc")])] {
        let batch = batch::of(&portion, &set.native_fields(), &[]);
        let mut own = ExceptionTallies::default();
        own.note(&set, &batch, &set.evaluate(&batch).excepted);
        tallies.merge(&own);
    }
    let seconds = |time: Time| time.0 / 1_000_000 - 1_700_000_000;
    let told = |tallies: &ExceptionTallies| -> BTreeSet<(u64, i64, i64)> {
        tallies.tallies().map(|t| (t.count, seconds(t.first), seconds(t.last))).collect()
    };
    assert_eq!(told(&tallies), BTreeSet::from([(1, 5, 5), (3, 3, 9)]));
    assert!(tallies.tallies().all(|t| t.rule_id.ends_with("00000a") && t.owner == "a@x.org"));
    assert_eq!((tallies.total(), ExceptionTallies::restore(&tallies.snapshot())), (4, Ok(tallies.clone())));
    // What is no longer excepted is forgotten.
    tallies.retain(&load(&[except("svc")]).0);
    assert_eq!(told(&tallies), BTreeSet::from([(3, 3, 9)]));
}

#[test]
fn an_exception_runs_out_for_the_events_that_are_taken_in_later() {
    let except = |user: &str, expires: &str| {
        let own = format!(", detection: {{s: {{user|startswith: {user}}}}}, condition: s");
        entry("failed", "except", &own).replace("2027-01-01", expires)
    };
    let chain = entry("chain", "disable", "");
    let (set, _) = load(&[except("svc", "2026-12-01"), except("svc-b", "2027-01-01"), chain]);
    assert_eq!(set.next_expiry(), Some(Time::parse("2026-12-01").unwrap()));
    let at = |time: &str, user: &str| {
        let mut event = event(1, "a", user);
        event["@ingested"] = time.into();
        event
    };
    let events = [
        at("2026-11-30T23:59:59Z", "svc"),
        at("2026-12-01T00:00:00Z", "svc"),
        // One exception of two is still in force.
        at("2026-12-01T00:00:00Z", "svc-b"),
        at("2027-01-01T00:00:00Z", "svc-b"),
        at("2027-01-01T00:00:00Z", "u"),
    ];
    let batch = batch::of(&events, &set.native_fields(), &[]);
    let rows: Vec<usize> = set.matches(&batch).into_iter().map(|(_, row)| row).collect();
    assert_eq!(rows, [1, 3, 4]);
    let evaluated = set.evaluate(&batch);
    assert_eq!(evaluated.observations.len(), 3, "correlations see them too");
    let hidden: Vec<(usize, usize)> = evaluated.excepted.iter().map(|e| (e.row, e.by.number)).collect();
    assert_eq!(hidden, [(0, 1), (2, 2)]);
}

#[test]
fn a_patch_changes_what_a_rule_says_of_itself() {
    let own = ", title: Failed, level: low, tags: {add: [attack.t1110.003], remove: [attack.t1110, attack.x]}, \
               falsepositives: {add: [Kiosks]}";
    let (set, report) = load(&[entry("failed", "patch", own), entry("spray", "patch", ", level: critical")]);
    let rule = set.rule(set.find("00000000-0000-0000-0000-00000000000a").unwrap());
    assert_eq!((rule.reference.title.as_ref(), rule.severity), ("Failed", Severity::Low));
    assert_eq!(rule.falsepositives, ["Typing", "Kiosks"]);
    insta::assert_debug_snapshot!(rule.attack, @r#"
    [
        Tactic(
            CredentialAccess,
        ),
        Technique(
            "T1110.003",
        ),
    ]
    "#);
    let spray = set.correlations().find(|info| info.reference.title.as_ref() == "Spray").unwrap();
    assert_eq!(spray.severity, Severity::Critical);
    assert_eq!(report.patched.len(), 2);
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].2.contains("attack.x"), "{:?}", report.warnings);
}

#[test]
fn later_patches_win_and_disabling_wins_over_all() {
    let patches = [entry("failed", "patch", ", level: low"), entry("failed", "patch", ", level: medium")];
    let (set, _) = load(&patches);
    let index = set.find("00000000-0000-0000-0000-00000000000a").unwrap();
    assert_eq!(set.rule(index).severity, Severity::Medium);
    let (set, report) = load(&[patches.concat(), entry("failed", "disable", "")]);
    assert_eq!(set.find("00000000-0000-0000-0000-00000000000a"), None);
    assert_eq!((report.patched.len(), report.disabled.len()), (0, 3));
}

#[test]
fn entries_expire_and_the_version_tells() {
    let entries = [entry("failed", "disable", "")];
    let (plain, _) = load(&[]);
    let (before, _) = load_at(&entries, "2026-12-31T23:59:59Z");
    let (after, report) = load_at(&entries, "2027-01-01");
    assert_ne!(before.version(), plain.version());
    assert_eq!(after.version(), plain.version());
    assert_eq!((loaded(&before).len(), loaded(&after).len()), (1, 4));
    assert_eq!(report.expired.len(), 1);
    let overlay = overlay(&entries);
    let expiry = Time::parse("2027-01-01").unwrap();
    assert_eq!(overlay.next_expiry(Time::parse(NOW).unwrap()), Some(expiry));
    assert_eq!(overlay.next_expiry(expiry), None);
}

#[test]
fn what_cannot_be_applied_is_named() {
    let (set, report) = load(&[
        entry("nobody", "disable", ""),
        entry("spray", "except", ", detection: {s: {user: x}}, condition: s"),
        entry("failed", "suppress", ", window: 1h"),
        entry("spray", "suppress", ", window: 1h, fields: [host]"),
        entry("logon", "suppress", ", window: 1h, fields: [user]"),
        entry("logon", "suppress", ", window: 2h, fields: [user]"),
    ]);
    assert_eq!(loaded(&set).len(), 4);
    assert_eq!(report.suppressed.len(), 1);
    let rejected = report.rejected.iter().map(ToString::to_string);
    let warnings = report.warnings.iter().map(|(file, rule, odd)| format!("{file}: {rule}: {odd}"));
    insta::assert_snapshot!(warnings.chain(rejected).collect::<Vec<_>>().join("\n"));
}

#[test]
fn mistakes_are_refused_with_their_place_and_a_remedy() {
    let common = "rule: r, owner: o, reason: x, expires: 2027-01-01";
    let except = |rest: &str| format!("overlays: [{{{common}, action: except, {rest}}}]");
    let one = |keys: &str| format!("overlays: [{{{keys}}}]");
    let cases = [
        "[".to_owned(),
        "- a".to_owned(),
        "rules: []".to_owned(),
        "overlays: x".to_owned(),
        one(""),
        one(&format!("{common}, action: delete")),
        one(&format!("{common}, action: disable, level: low")),
        one("rule: r, action: disable, owner: o, reason: ' ', expires: 2027-01-01"),
        one("rule: r, action: disable, reason: x, expires: 2027-01-01"),
        one("rule: r, action: disable, owner: o, reason: x, expires: never"),
        one("rule: r, action: disable, owner: o, reason: x, expires: '1798761600'"),
        one("rule: 7, action: disable, owner: o, reason: x, expires: 2027-01-01"),
        one(&format!("{common}, action: patch")),
        one(&format!("{common}, action: patch, level: loud")),
        one(&format!("{common}, action: patch, tags: [attack.t1110]")),
        one(&format!("{common}, action: patch, tags: {{ad: [attack.t1110]}}")),
        except("condition: s"),
        except("detection: {s: {user: x}}"),
        except("detection: {s: {user: x}}, condition: t"),
        except("detection: {s: {user|has: x}}, condition: s"),
        except("detection: {s: {user: [[x]]}}, condition: s"),
        except("detection: {s: {user: x}, condition: s}, condition: s"),
        one(&format!("{common}, action: suppress, fields: [a]")),
        one(&format!("{common}, action: suppress, fields: [a], window: 1y")),
        one(&format!("{common}, action: suppress, fields: [a], window: 1h, kind: tumbling")),
        one(&format!("{common}, action: suppress, fields: [' '], window: 1h")),
        format!("overlays: [{{{common}, action: disable}}, {{}}]"),
    ];
    let told = cases.iter().map(|text| Overlay::parse("o.yml", text).unwrap_err().to_string());
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
}
