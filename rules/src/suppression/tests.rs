//! Suppression against a brute-force reading of the sorted alerts, in any order within the lateness, in any portions,
//! killed and restored; and the points that the module decides.

use std::collections::{BTreeMap, BTreeSet};

use event::{Alert, AlertId, Severity, TenantId, Time, Watermark};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{SUPPRESSION_HELD_MAX, SuppressionKey};
use crate::tests::{batch, small};
use crate::{
    CorrelationChange, Overlay, RuleLoader, RuleSet, Suppression, SuppressionChange, Suppressions, Windows,
};

const MANY: &str = "title: Many\nname: many\n\
    correlation: {type: event_count, rules: [b], group-by: [user, host], timespan: 5s, condition: {gte: 2}}\n";

fn load(terms: &str) -> RuleSet {
    let entry = |rule: &str| {
        format!(
            "- {{rule: {rule}, action: suppress, owner: o, reason: r, expires: 2099-01-01, fields: [user], {terms}}}\n"
        )
    };
    let overlay = format!("overlays:\n{}{}", entry("a"), entry("many"));
    let overlay = Overlay::parse("o.yml", &overlay).unwrap();
    let (set, report) =
        RuleSet::loader().overlay(overlay).load([("t.yml".to_owned(), small::of_kinds() + MANY)]);
    assert_eq!((report.rejected.len(), report.warnings.len(), report.suppressed.len()), (0, 0, 2));
    set
}

/// `v` is the severity, 1 to 5.
fn event(t: i64, user: &str, v: i64) -> Value {
    let mut event = small::event(t, "a", user);
    event["@uid"] = json!(format!("{t}-{user}-{v}"));
    event["v"] = json!(v);
    event
}

/// Alerts of events, with the severity that the event says.
fn alerts(set: &RuleSet, events: &[Value]) -> (Vec<Alert>, Vec<SuppressionKey>) {
    let evaluated = set.evaluate(&batch::of(events, &set.native_fields(), &[]));
    let mut alerts = evaluated.alerts;
    for alert in &mut alerts {
        let level = alert.event_uid.rsplit('-').next().unwrap();
        alert.severity = Severity::from_name(level).unwrap();
    }
    (alerts, evaluated.suppression_keys)
}

fn seconds(time: Time) -> i64 {
    time.0 / 1_000_000 - 1_700_000_000
}

fn at(seconds: i64) -> Watermark {
    Watermark(Time::from_secs(1_700_000_000 + seconds))
}

/// What stands after all changes: by alert, whether it passed or what suppresses it; and the rows.
#[derive(Default)]
struct Standing {
    alerts: BTreeMap<AlertId, (String, Option<AlertId>)>,
    rows: Vec<Suppression>,
    /// Running windows, by the first alert of each.
    running: BTreeMap<AlertId, Suppression>,
}

impl Standing {
    fn apply(&mut self, changes: Vec<SuppressionChange>) {
        for change in changes {
            match change {
                SuppressionChange::Passed(alert) => {
                    let before = self.alerts.insert(alert.id.clone(), (told(&alert), None));
                    assert!(before.is_none_or(|(_, by)| by.is_some()), "{} passed twice", alert.id);
                }
                SuppressionChange::Suppressed { by, alert } => {
                    let before = self.alerts.insert(alert.id.clone(), (told(&alert), Some(by)));
                    assert!(before.is_none_or(|(_, by)| by.is_some()), "{} was not taken back", alert.id);
                }
                SuppressionChange::Retracted { alert, .. } => {
                    assert!(self.alerts.remove(&alert).is_some(), "{alert} was never told");
                }
                SuppressionChange::Running { tenant, rule_id, key, windows } => {
                    let is_meant = |row: &Suppression| {
                        (&row.tenant, &row.rule_id, &row.key) == (&tenant, &rule_id, &key)
                    };
                    self.running.retain(|_, row| !is_meant(row));
                    assert!(windows.iter().all(is_meant));
                    self.running.extend(windows.into_iter().map(|row| (row.by.clone(), row)));
                }
                SuppressionChange::Closed(row) => {
                    self.running.remove(&row.by);
                    self.rows.push(row);
                }
            }
        }
    }

    /// What is told of running windows is all that there is of them.
    fn is_told_of(&self, suppressions: &Suppressions) -> bool {
        let running: BTreeSet<String> = suppressions.running().iter().map(shown).collect();
        running == self.running.values().map(shown).collect()
    }

    fn passed(&self) -> BTreeSet<String> {
        self.alerts.values().filter(|(_, by)| by.is_none()).map(|(told, _)| told.clone()).collect()
    }

    /// `suppressed < by` of each alert that does not stand.
    fn suppressed(&self) -> BTreeSet<String> {
        let by = |id: &AlertId| self.alerts[id].0.clone();
        self.alerts.values().filter_map(|(told, id)| Some(format!("{told} < {}", by(id.as_ref()?)))).collect()
    }

    /// `user from-to: first..last of count, n samples` of each row.
    fn rows(&self) -> BTreeSet<String> {
        self.rows.iter().map(shown).collect()
    }
}

fn told(alert: &Alert) -> String {
    if alert.event_uid.is_empty() { alert.id.to_string() } else { alert.event_uid.to_string() }
}

fn shown(row: &Suppression) -> String {
    let user = row.key.iter().find(|(name, _)| name.as_ref() == "user").map_or("", |(_, value)| value);
    let [start, end, first, last] = [row.window_start, row.window_end, row.first, row.last].map(seconds);
    format!("{user} {start}-{end}: {first}..{last} of {}, {} samples", row.count, row.samples.len())
}

fn set_of(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// One pass over events, then the end of time.
fn run(set: &RuleSet, events: &[Value]) -> Standing {
    let (mut suppressions, mut standing) = (Suppressions::default(), Standing::default());
    let (alerts, keys) = alerts(set, events);
    standing.apply(suppressions.observe(set, alerts, keys));
    let running = suppressions.running();
    assert!(standing.is_told_of(&suppressions));
    standing.apply(suppressions.advance(Watermark::END));
    assert_eq!(running, standing.rows, "what is running is what will be closed");
    assert!(standing.running.is_empty());
    assert_eq!((suppressions.keys(), suppressions.held()), (0, 0), "what is over is forgotten");
    standing
}

#[test]
fn a_fixed_window_ends_and_a_sliding_one_is_prolonged() {
    let events: Vec<Value> = [0, 6, 10, 11, 20, 22].iter().map(|t| event(*t, "u", 3)).collect();
    let fixed = run(&load("window: 10s"), &events);
    assert_eq!(fixed.passed(), set_of(&["0-u-3", "11-u-3", "22-u-3"]));
    assert_eq!(fixed.rows(), set_of(&["u 0-10: 6..10 of 2, 2 samples", "u 11-21: 20..20 of 1, 1 samples"]));
    let sliding = run(&load("window: 10s, kind: sliding"), &events);
    assert_eq!(sliding.passed(), set_of(&["0-u-3"]));
    assert_eq!(sliding.rows(), set_of(&["u 0-32: 6..22 of 5, 5 samples"]));
}

#[test]
fn a_running_window_is_told_while_it_runs() {
    let set = load("window: 90d");
    let (mut suppressions, mut standing) = (Suppressions::default(), Standing::default());
    let mut step = |events: &[Value], watermark: i64| {
        let (alerts, keys) = alerts(&set, events);
        standing.apply(suppressions.observe(&set, alerts, keys));
        standing.apply(suppressions.advance(at(watermark)));
        assert_eq!(standing.rows(), set_of(&[]), "it is far from over");
        standing.running.values().map(|row| (seconds(row.last), row.count)).collect::<Vec<_>>()
    };
    assert_eq!(step(&[event(0, "u", 3)], 1), [], "nothing is suppressed yet");
    assert_eq!(step(&[event(5, "u", 3)], 6), [(5, 1)]);
    assert_eq!(step(&[event(8, "u", 3), event(9, "u", 3)], 20), [(9, 3)]);
}

#[test]
fn keys_are_apart_and_read_without_case_and_no_value_is_no_key() {
    let set = load("window: 10s");
    let nobody = json!({"@t": 2, "@uid": "2--3", "kind": "a"});
    let empty = json!({"@t": 3, "@uid": "3--3", "kind": "a", "user": ""});
    let standing = run(&set, &[event(0, "u", 3), event(1, "U", 3), event(1, "w", 3), nobody, empty]);
    assert_eq!(standing.passed(), set_of(&["0-u-3", "1-w-3", "2--3", "3--3"]));
    assert_eq!(standing.suppressed(), set_of(&["1-U-3 < 0-u-3"]));
}

#[test]
fn a_higher_severity_breaks_through_and_begins_its_own_window() {
    let events = [event(0, "u", 3), event(5, "u", 2), event(6, "u", 4), event(9, "u", 3), event(15, "u", 4)];
    let standing = run(&load("window: 10s"), &events);
    assert_eq!(standing.passed(), set_of(&["0-u-3", "6-u-4"]));
    assert_eq!(standing.suppressed(), set_of(&["5-u-2 < 0-u-3", "9-u-3 < 6-u-4", "15-u-4 < 6-u-4"]));
}

#[test]
fn an_earlier_alert_takes_the_place_of_a_later_one() {
    let set = load("window: 10s");
    let (mut suppressions, mut standing) = (Suppressions::default(), Standing::default());
    let mut observe = |suppressions: &mut Suppressions, events: &[Value]| {
        let (alerts, keys) = alerts(&set, events);
        let changes = suppressions.observe(&set, alerts, keys);
        standing.apply(changes.clone());
        changes
    };
    observe(&mut suppressions, &[event(5, "u", 3), event(14, "u", 3)]);
    let changes = observe(&mut suppressions, &[event(0, "u", 3)]);
    let [
        SuppressionChange::Passed(first),
        SuppressionChange::Retracted { in_place, .. },
        SuppressionChange::Suppressed { by, .. },
        SuppressionChange::Passed(later),
        SuppressionChange::Running { windows, .. },
    ] = changes.as_slice()
    else {
        panic!("{changes:?}")
    };
    assert_eq!((in_place.as_ref(), by), (Some(&first.id), &first.id));
    assert_eq!(later.event_uid.as_ref(), "14-u-3");
    assert_eq!(windows.iter().map(shown).collect::<Vec<_>>(), ["u 0-10: 5..5 of 1, 1 samples"]);
    assert_eq!(suppressions.counts().retracted, 1);
    assert_eq!(standing.passed(), set_of(&["0-u-3", "14-u-3"]));
}

#[test]
fn of_two_deliveries_that_of_the_first_record_is_told() {
    let set = load("window: 10s");
    let (mut suppressions, mut standing) = (Suppressions::default(), Standing::default());
    let (alerts, keys) = alerts(&set, &[event(0, "u", 3)]);
    for offset in [7, 3, 5] {
        let mut again = alerts.clone();
        again[0].records[0].offset = offset;
        let changes = suppressions.observe(&set, again, keys.clone());
        let told: Vec<i64> = changes
            .iter()
            .filter_map(|change| match change {
                SuppressionChange::Passed(alert) => Some(alert.records[0].offset),
                _ => None,
            })
            .collect();
        assert_eq!(told, if offset == 5 { vec![] } else { vec![offset] });
        standing.apply(changes);
    }
    assert_eq!(standing.passed(), set_of(&["0-u-3"]));
    assert_eq!(suppressions.counts().duplicates, 2);
}

#[test]
fn tenants_share_no_window() {
    let set = load("window: 10s");
    let (mut suppressions, mut standing) = (Suppressions::default(), Standing::default());
    let (mut alerts, keys) = alerts(&set, &[event(0, "u", 3), event(1, "u", 3)]);
    alerts[1].tenant = TenantId::new("other");
    standing.apply(suppressions.observe(&set, alerts, keys));
    assert_eq!(standing.passed(), set_of(&["0-u-3", "1-u-3"]));
}

#[test]
fn late_alerts_are_counted_and_change_nothing_that_was_sealed() {
    let set = load("window: 10s");
    let (mut suppressions, mut standing) = (Suppressions::default(), Standing::default());
    for (events, watermark) in [(vec![event(5, "u", 3)], 8), (vec![event(2, "u", 3), event(7, "u", 3)], 9)] {
        let (alerts, keys) = alerts(&set, &events);
        standing.apply(suppressions.observe(&set, alerts, keys));
        standing.apply(suppressions.advance(at(watermark)));
    }
    assert_eq!(standing.passed(), set_of(&["2-u-3", "5-u-3"]));
    // Delivered again: the alert that passed, and one that did not.
    let (again, keys) = alerts(&set, &[event(5, "u", 3), event(7, "u", 3)]);
    assert_eq!(suppressions.observe(&set, again, keys), []);
    standing.apply(suppressions.advance(at(15)));
    assert_eq!(standing.rows(), set_of(&["u 5-15: 7..7 of 1, 1 samples"]));
    let counts = suppressions.counts();
    assert_eq!((counts.alerts, counts.late, counts.duplicates, counts.suppressed), (5, 4, 2, 1));
}

#[test]
fn a_late_alert_may_begin_a_window() {
    let set = load("window: 10s");
    let mut suppressions = Suppressions::default();
    suppressions.advance(at(8));
    let (late, keys) = alerts(&set, &[event(2, "u", 3), event(11, "u", 3), event(13, "u", 3)]);
    let mut standing = Standing::default();
    standing.apply(suppressions.observe(&set, late, keys));
    assert_eq!(standing.suppressed(), set_of(&["11-u-3 < 2-u-3"]));
}

#[test]
fn correlations_are_suppressed_by_their_group_and_taken_back_with_it() {
    let set = load("window: 1m");
    let b = |t: i64, host: &str| json!({"@t": t, "@uid": format!("{t}{host}"), "kind": "b", "user": "u", "host": host});
    let (mut windows, mut suppressions) = (Windows::default(), Suppressions::default());
    let mut standing = Standing::default();
    let mut step = |events: &[Value]| {
        let evaluated = set.evaluate(&batch::of(events, &set.native_fields(), &[]));
        assert_eq!(evaluated.alerts, [], "it only feeds");
        let changes = windows.observe(&set, evaluated.observations);
        standing.apply(suppressions.observe_correlations(&set, changes.clone()));
        (changes, standing.passed().len(), standing.suppressed().len())
    };
    // Two hosts are two groups, and one key.
    assert_eq!(step(&[b(10, "x"), b(12, "x")]).1, 1);
    let (_, passed, suppressed) = step(&[b(20, "y"), b(22, "y")]);
    assert_eq!((passed, suppressed), (1, 1));
    // The group on x now fires at 8, and not at 12.
    let (changes, passed, suppressed) = step(&[b(7, "x"), b(8, "x")]);
    assert!(matches!(changes[0], CorrelationChange::Retracted { .. }), "{changes:?}");
    assert_eq!((passed, suppressed), (1, 1));
    assert_eq!(suppressions.held(), 2);
    standing.apply(suppressions.advance(Watermark::END));
    assert_eq!(standing.rows(), set_of(&["u 8-68: 22..22 of 1, 1 samples"]));
}

#[test]
fn what_fired_and_was_taken_back_in_one_turn_was_never_told() {
    let set = load("window: 1m");
    let b = |t: i64| json!({"@t": t, "@uid": format!("{t}"), "kind": "b", "user": "u", "host": "x"});
    let mut windows = Windows::default();
    let mut observe = |events: &[Value]| {
        windows.observe(&set, set.evaluate(&batch::of(events, &set.native_fields(), &[])).observations)
    };
    let mut changes = observe(&[b(10), b(12)]);
    changes.extend(observe(&[b(7), b(8)]));
    assert_eq!(changes.len(), 3, "fired, taken back, fired");
    let told = Suppressions::default().observe_correlations(&set, changes);
    assert!(
        matches!(told.as_slice(), [SuppressionChange::Passed(alert)] if seconds(alert.time) == 8),
        "{told:?}"
    );
}

#[test]
fn a_rule_may_declare_it_and_an_overlay_wins() {
    let declared = "custom_attributes: {asterism.suppress: {fields: [user], window: 10s}}\n";
    let rule = small::of_kind("A", "a", "a", declared);
    let rule = rule.as_str();
    let load = |rule: &str, overlays: &[Overlay]| {
        overlays
            .iter()
            .cloned()
            .fold(RuleSet::loader(), RuleLoader::overlay)
            .load([("t.yml".to_owned(), rule.to_owned())])
    };
    let events = [event(0, "u", 3), event(5, "u", 3)];
    assert_eq!(run(&load(rule, &[]).0, &events).passed().len(), 1);
    let overlay = "overlays: [{rule: a, action: suppress, owner: o, reason: r, expires: 2099-01-01, \
                   fields: [user], window: 1s}]";
    let overlay = Overlay::parse("o.yml", overlay).unwrap();
    assert_eq!(run(&load(rule, &[overlay]).0, &events).passed().len(), 2);
    let (set, report) = load(&rule.replace("10s", "soon"), &[]);
    assert_eq!(run(&set, &events).passed().len(), 2);
    let odd = &report.warnings[0].2;
    assert!(odd.contains("its alerts are not suppressed") && odd.contains("soon"), "{odd}");
}

#[test]
fn too_many_keys_end_the_window_that_would_end_first() {
    let set = load("window: 10s");
    let mut suppressions = Suppressions::with_keys_max(2);
    let mut standing = Standing::default();
    let mut step = |suppressions: &mut Suppressions, events: &[Value], watermark: i64| {
        let (alerts, keys) = alerts(&set, events);
        standing.apply(suppressions.observe(&set, alerts, keys));
        standing.apply(suppressions.advance(at(watermark)));
        assert!(suppressions.keys() <= 2);
    };
    step(&mut suppressions, &[event(0, "u", 3), event(1, "u", 3), event(2, "v", 3)], 3);
    step(&mut suppressions, &[event(4, "w", 3)], 5);
    assert_eq!(suppressions.counts().evicted_keys, 1);
    // Its window was given up, so it passes again; that of `v` was not.
    step(&mut suppressions, &[event(6, "v", 3), event(7, "u", 3)], 8);
    assert_eq!(standing.passed(), set_of(&["0-u-3", "2-v-3", "4-w-3", "7-u-3"]));
    assert!(standing.rows().contains("u 0-10: 1..1 of 1, 1 samples"), "{:?}", standing.rows());
}

#[test]
fn a_flood_of_one_key_is_sealed_early_and_counted_once() {
    let set = load("window: 90d");
    let events: Vec<Value> = (0..SUPPRESSION_HELD_MAX as i64 + 50).map(|t| event(t, "u", 3)).collect();
    let (mut suppressions, mut standing) = (Suppressions::default(), Standing::default());
    let (alerts, keys) = alerts(&set, &events);
    standing.apply(suppressions.observe(&set, alerts, keys));
    assert_eq!((suppressions.held(), suppressions.counts().sealed_early), (SUPPRESSION_HELD_MAX, 50));
    standing.apply(suppressions.advance(Watermark::END));
    assert_eq!(standing.passed().len(), 1);
    assert_eq!(standing.rows[0].count, SUPPRESSION_HELD_MAX as u64 + 49);
    assert_eq!(suppressions.counts().suppressed, SUPPRESSION_HELD_MAX as u64 + 49);
}

#[test]
fn sealed_state_is_the_open_window_alone() {
    let set = load("window: 90d");
    let mut suppressions = Suppressions::default();
    let mut sizes = Vec::new();
    for portion in 0..4 {
        let events: Vec<Value> = (0..100).map(|t| event(portion * 100 + t, "u", 3)).collect();
        let (alerts, keys) = alerts(&set, &events);
        suppressions.observe(&set, alerts, keys);
        suppressions.advance(at(portion * 100 + 99));
        assert_eq!((suppressions.keys(), suppressions.held()), (1, 0));
        sizes.push(suppressions.snapshot().len());
    }
    assert!(sizes[3] < sizes[0] + 16 && sizes[3] < 2_000, "{sizes:?}");
}

#[test]
fn bytes_that_are_no_snapshot_are_refused() {
    for bytes in [&b""[..], b"astersu1", b"asterw01\xa0"] {
        let error = Suppressions::restore(&bytes.to_vec().into()).unwrap_err().to_string();
        assert!(error.starts_with("state of suppression: "), "{error}");
    }
}

/// What the module says, from scratch: passed, `suppressed < by`, and rows.
fn brute_force(events: &[Value], sliding: bool) -> [BTreeSet<String>; 3] {
    const SPAN: i64 = 10;
    let uid = |e: &Value| e["@uid"].as_str().unwrap().to_owned();
    let (mut passed, mut suppressed, mut rows) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for user in ["u", "w"] {
        let mut mine: Vec<(i64, i64, String)> = events
            .iter()
            .filter(|e| e["user"] == user)
            .map(|e| (e["@t"].as_i64().unwrap(), -e["v"].as_i64().unwrap(), uid(e)))
            .collect();
        mine.sort();
        mine.dedup();
        let mut next = 0;
        while next < mine.len() {
            let (start, severity, by) = mine[next].clone();
            passed.insert(by.clone());
            let (mut end, mut inside) = (start + SPAN, Vec::new());
            next += 1;
            while next < mine.len() && mine[next].0 <= end && mine[next].1 >= severity {
                if sliding {
                    end = mine[next].0 + SPAN;
                }
                suppressed.insert(format!("{} < {by}", mine[next].2));
                inside.push(mine[next].0);
                next += 1;
            }
            if let (Some(first), Some(last)) = (inside.first(), inside.last()) {
                let count = inside.len();
                rows.insert(format!(
                    "{user} {start}-{end}: {first}..{last} of {count}, {} samples",
                    count.min(10)
                ));
            }
        }
    }
    [passed, suppressed, rows]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_order_portions_duplicates_and_restarts_tell_what_brute_force_tells(
        events in prop::collection::vec((0..80_i64, 0..2_usize, 2..4_i64, 0..14_i64), 1..80),
        portions in prop::collection::vec(1..7_usize, 1..40),
        restart_at in 0..20_usize,
        sliding in any::<bool>(),
    ) {
        const LATENESS: i64 = 14;
        let set = load(if sliding { "window: 10s, kind: sliding" } else { "window: 10s" });
        let mut arrivals: Vec<(i64, Value)> =
            events.iter().map(|(t, user, v, delay)| (t + delay, event(*t, ["u", "w"][*user], *v))).collect();
        // Some arrive twice.
        let again: Vec<(i64, Value)> = arrivals.iter().step_by(5).cloned().collect();
        arrivals.extend(again);
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        let (mut suppressions, mut standing) = (Suppressions::default(), Standing::default());
        let mut rest = arrivals.as_slice();
        for (i, portion) in portions.iter().cycle().enumerate() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*portion).min(rest.len()));
            rest = later;
            let events: Vec<Value> = now.iter().map(|(_, e)| e.clone()).collect();
            let (alerts, keys) = alerts(&set, &events);
            let alerts = at_one_place(alerts);
            standing.apply(suppressions.observe(&set, alerts, keys));
            let arrived = now.last().map_or(0, |(arrival, _)| *arrival);
            // Nothing that still comes is older than this.
            standing.apply(suppressions.advance(at(arrived - LATENESS - 1)));
            prop_assert!(standing.is_told_of(&suppressions));
            if i == restart_at {
                let bytes = suppressions.snapshot();
                suppressions = Suppressions::restore(&bytes).unwrap();
                prop_assert_eq!(suppressions.snapshot(), bytes);
            }
        }
        standing.apply(suppressions.advance(Watermark::END));
        let events: Vec<Value> = arrivals.into_iter().map(|(_, e)| e).collect();
        let [passed, suppressed, rows] = brute_force(&events, sliding);
        prop_assert_eq!(standing.passed(), passed);
        prop_assert_eq!(standing.suppressed(), suppressed.clone());
        prop_assert_eq!(standing.rows(), rows);
        let counts = suppressions.counts();
        prop_assert_eq!((counts.late, counts.suppressed), (0, suppressed.len() as u64));
        prop_assert_eq!((suppressions.keys(), suppressions.held()), (0, 0));
    }
}

/// A record that is read again lies where it lay: the stand-in decoder counts offsets by batch.
fn at_one_place(mut alerts: Vec<Alert>) -> Vec<Alert> {
    alerts.iter_mut().flat_map(|alert| &mut alert.records).for_each(|record| record.offset = 0);
    alerts
}
