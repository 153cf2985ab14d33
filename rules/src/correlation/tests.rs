//! Correlations against a brute-force reading of the same events, in any order within the lateness, in any portions,
//! killed and restored; and the points that the specification leaves open.

use std::collections::{BTreeMap, BTreeSet};

use event::{Alert, Shelf, Time, Watermark};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::timeline::TOLD_OF_VALUE;
use super::windows::Limits;
use super::{CorrelationExplainer, CorrelationExplanation, GroupOutcome};
use crate::tests::{batch, small};
use crate::{CorrelationChange, RuleSet, Windows};

fn correlation(title: &str, body: &str) -> String {
    format!(
        "---\ntitle: {title}\nname: {title}\nlevel: high\ncorrelation:\n  {}\n",
        body.trim().replace('\n', "\n  ")
    )
}

fn load(correlations: &[(&str, &str)]) -> RuleSet {
    let text =
        correlations.iter().fold(small::of_kinds(), |all, (title, body)| all + &correlation(title, body));
    let (set, report) = RuleSet::load([("t.yml".to_owned(), text)]);
    assert!(report.rejected.is_empty(), "{:?}", report.rejected);
    set
}

/// The alerts that stand after all changes.
#[derive(Default)]
struct Standing(BTreeMap<String, Alert>);

impl Standing {
    fn apply(&mut self, changes: Vec<CorrelationChange>) {
        for change in changes {
            match change {
                CorrelationChange::Fired(alert) => {
                    let before = self.0.insert(alert.id.to_string(), alert);
                    assert!(before.is_none(), "fired twice: {before:?}");
                }
                CorrelationChange::Retracted { alert, .. } => {
                    assert!(self.0.remove(alert.as_str()).is_some(), "{alert} was never fired");
                }
            }
        }
    }

    /// `title group seconds [first..] events` of each alert.
    fn told(&self) -> BTreeSet<String> {
        self.0.values().map(told).collect()
    }
}

fn seconds(time: Time) -> i64 {
    time.0 / 1_000_000 - 1_700_000_000
}

fn told(alert: &Alert) -> String {
    let evidence =
        |name: &str| alert.evidence.iter().find(|(n, _)| n.as_ref() == name).map_or("", |(_, v)| v);
    let first = Time::parse(evidence("first_time")).unwrap();
    format!(
        "{} {} at {} from {} of {}",
        alert.title,
        evidence("user"),
        seconds(alert.time),
        seconds(first),
        evidence("events")
    )
}

/// Runs events in one pass, sorted, with one advance at the end.
fn run(set: &RuleSet, events: &[Value]) -> BTreeSet<String> {
    let mut windows = Windows::default();
    let mut standing = Standing::default();
    standing.apply(windows.observe(set, observed(set, events)));
    standing.apply(windows.advance(set, &Watermark::END.into()));
    assert_eq!((windows.groups(), windows.events()), (0, 0), "what is over is forgotten");
    standing.told()
}

fn observed(set: &RuleSet, events: &[Value]) -> Vec<crate::Observation> {
    let logsource = event::Logsource { product: Some("test".into()), ..event::Logsource::default() };
    let batch = batch::of(events, &set.native_fields(), &[logsource]);
    set.evaluate(&batch).observations
}

fn event(t: i64, kind: &str, user: &str, v: i64) -> Value {
    let mut event = small::event(t, kind, user);
    event["@uid"] = json!(format!("{t}-{kind}-{user}-{v}"));
    event["v"] = json!(v);
    event
}

#[test]
fn what_is_over_the_bound_is_given_up_and_counted() {
    let set =
        load(&[("n", "type: event_count\nrules: [a]\ngroup-by: [user]\ntimespan: 9m\ncondition: {gte: 9}")]);
    let fill = |limits: Limits| {
        let mut windows = Windows::with_limits(limits);
        for t in 0..40 {
            let told =
                windows.observe(&set, observed(&set, &[event(t * 60, "a", &format!("u{}", t / 2), 0)]));
            assert_eq!(told, []);
        }
        (windows.groups(), windows.events(), windows.counts().evicted_groups)
    };
    assert_eq!(fill(Limits { groups: 100, events: 100 }), (20, 40, 0));
    assert_eq!(fill(Limits { groups: 3, events: 100 }), (3, 6, 17));
    assert_eq!(fill(Limits { groups: 100, events: 10 }), (5, 10, 15));
}

#[test]
fn a_flood_of_one_group_leaves_what_windows_to_come_may_need() {
    let values =
        "type: value_count\nrules: [a]\ngroup-by: [user]\ntimespan: 1h\ncondition: {field: v, gte: 3}";
    let set = load(&[("f", values)]);
    let mut windows = Windows::default();
    let mut standing = Standing::default();
    for t in 0..300 {
        let kind = ["a", "b", "a"][t as usize % 3];
        standing.apply(windows.observe(&set, observed(&set, &[event(t, kind, "u", t % 2)])));
        standing.apply(windows.advance(&set, &Watermark(Time::from_secs(1_700_000_000 + t)).into()));
        assert!(windows.events() <= 12, "{} at {t}", windows.events());
    }
    standing.apply(windows.observe(&set, observed(&set, &[event(300, "a", "u", 2)])));
    assert_eq!(standing.told(), BTreeSet::from(["f u at 300 from 294 of 5".to_owned()]));
}

fn tells(set: &RuleSet, events: &[Value], expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(run(set, events), expected);
}

#[test]
fn a_count_fires_when_it_is_reached_and_again_after_a_timespan() {
    let set =
        load(&[("n", "type: event_count\nrules: [a]\ngroup-by: [user]\ntimespan: 10s\ncondition: {gte: 3}")]);
    let at = |times: &[i64]| times.iter().map(|t| event(*t, "a", "u", 0)).collect::<Vec<_>>();
    tells(&set, &at(&[0, 4, 10]), &["n u at 10 from 0 of 3"]);
    tells(&set, &at(&[0, 4, 11]), &[]);
    tells(&set, &at(&[0, 1, 2, 3, 4, 12]), &["n u at 2 from 0 of 3"]);
    tells(&set, &at(&[0, 1, 2, 11, 12, 13]), &["n u at 2 from 0 of 3", "n u at 13 from 11 of 3"]);
}

#[test]
fn an_order_must_be_kept_and_one_time_counts_as_in_order() {
    let set = load(&[("o", "type: temporal_ordered\nrules: [a, b]\ngroup-by: [user]\ntimespan: 10s")]);
    tells(&set, &[event(1, "a", "u", 0), event(5, "b", "u", 0)], &["o u at 5 from 1 of 2"]);
    tells(&set, &[event(5, "a", "u", 0), event(5, "b", "u", 0)], &["o u at 5 from 5 of 2"]);
    tells(&set, &[event(5, "a", "u", 0), event(1, "b", "u", 0)], &[]);
    tells(&set, &[event(1, "a", "u", 0), event(5, "b", "w", 0)], &[]);
    tells(&set, &[event(1, "a", "U", 0), event(5, "b", "u", 0)], &["o u at 5 from 1 of 2"]);
}

#[test]
fn of_alternatives_one_must_be_in_order() {
    let either = "type: temporal_ordered\nrules: [a, b, c]\ngroup-by: [user]\ntimespan: 10s\ncondition: (a or b) and c";
    let set = load(&[("e", either)]);
    let at = |kinds: &[&str]| (0..).zip(kinds).map(|(t, k)| event(t, k, "u", 0)).collect::<Vec<_>>();
    tells(&set, &at(&["a", "c"]), &["e u at 1 from 0 of 2"]);
    // b before a: the list has a first, but the alternative of b alone is in order, as is that of a.
    tells(&set, &at(&["b", "a", "c"]), &["e u at 2 from 0 of 3"]);
    tells(&set, &at(&["c", "a", "b"]), &[]);
    tells(&set, &at(&["c", "b", "c"]), &["e u at 2 from 0 of 3"]);
}

#[test]
fn absence_is_known_when_the_window_is_over() {
    let body =
        "type: temporal\nrules: [a, b, c]\ngroup-by: [user]\ntimespan: 10s\ncondition: a and b and not c";
    let set = load(&[("x", body)]);
    tells(&set, &[event(1, "a", "u", 0), event(5, "b", "u", 0)], &["x u at 11 from 1 of 2"]);
    tells(&set, &[event(1, "a", "u", 0), event(5, "b", "u", 0), event(11, "c", "u", 0)], &[]);
    tells(
        &set,
        &[event(1, "a", "u", 0), event(5, "b", "u", 0), event(12, "c", "u", 0)],
        &["x u at 11 from 1 of 2"],
    );
}

#[test]
fn values_are_summed_averaged_and_ranked() {
    let of = |kind: &str, condition: &str| {
        let body = format!(
            "type: {kind}\nrules: [a]\ngroup-by: [user]\ntimespan: 1m\ncondition: {{field: v, {condition}}}"
        );
        load(&[("v", body.as_str())])
    };
    let values =
        |values: &[i64]| -> Vec<Value> { (0..).zip(values).map(|(t, v)| event(t, "a", "u", *v)).collect() };
    tells(&of("value_sum", "gt: 9"), &values(&[4, 5, 1]), &["v u at 2 from 0 of 3"]);
    tells(&of("value_avg", "gte: 5"), &values(&[4, 5, 6]), &["v u at 2 from 0 of 3"]);
    tells(&of("value_median", "gte: 5"), &values(&[1, 9, 2]), &["v u at 1 from 0 of 2"]);
    tells(&of("value_percentile", "percentile: 90, gt: 8"), &values(&[1, 9]), &["v u at 1 from 0 of 2"]);
    tells(&of("value_count", "gte: 3"), &values(&[1, 1, 2, 3]), &["v u at 3 from 0 of 4"]);
    tells(&of("value_sum", "gt: 2, lt: 5"), &values(&[9, 1]), &[]);
    tells(&of("value_sum", "gt: 2, lt: 5"), &values(&[1, 3]), &["v u at 1 from 0 of 2"]);
}

#[test]
fn aliases_and_chains_join_what_rules_call_by_other_names() {
    let many = "type: event_count\nrules: [a]\ngroup-by: [user]\ntimespan: 10s\ncondition: {gte: 2}";
    let then = "type: temporal_ordered\nrules: [many, b]\ngroup-by: [who]\ntimespan: 1m\n\
                aliases: {who: {many: user, b: account}}";
    let set = load(&[("many", many), ("then", then)]);
    let b = json!({"@t": 30, "@uid": "b", "kind": "b", "account": "u"});
    let events = [event(1, "a", "u", 0), event(2, "a", "u", 1), b];
    assert_eq!(run(&set, &events), BTreeSet::from(["then  at 30 from 2 of 2".to_owned()]));
}

#[test]
fn rules_that_are_watched_are_silent_unless_they_may_generate() {
    let body = |generate: bool| {
        format!("type: event_count\nrules: [a]\ntimespan: 10s\ncondition: {{gte: 2}}\ngenerate: {generate}")
    };
    for generate in [false, true] {
        let set = load(&[("n", body(generate).as_str())]);
        let batch = batch::of(&[event(1, "a", "u", 0), event(1, "b", "u", 0)], &set.native_fields(), &[]);
        let titles: Vec<String> = set.evaluate(&batch).alerts.iter().map(|a| a.title.to_string()).collect();
        assert_eq!(titles, if generate { vec!["A", "B"] } else { vec!["B"] });
    }
}

#[test]
fn an_informational_rule_that_is_watched_is_silent_in_any_case() {
    let rules = small::of_kinds().replacen("name: a\n", "name: a\nlevel: informational\n", 1);
    let watching = correlation("n", "type: temporal\nrules: [a, b]\ntimespan: 10s\ngenerate: true");
    let titles = |text: String| -> Vec<String> {
        let (set, _) = RuleSet::load([("t.yml".to_owned(), text)]);
        let batch = batch::of(&[event(1, "a", "u", 0), event(1, "b", "u", 0)], &set.native_fields(), &[]);
        set.evaluate(&batch).alerts.iter().map(|a| a.title.to_string()).collect()
    };
    assert_eq!(titles(rules.clone()), ["A", "B"]);
    assert_eq!(titles(rules + &watching), ["B"]);
}

#[test]
fn what_makes_no_sense_is_rejected_by_name() {
    let either = (0..11).map(|i| format!("(r{i} or s{i})")).collect::<Vec<_>>().join(" and ");
    let names = (0..11).map(|i| format!("r{i}, s{i}")).collect::<Vec<_>>().join(", ");
    let pairs = format!("type: temporal_ordered\nrules: [{names}]\ntimespan: 1m\ncondition: {either}");
    let cases = [
        ("circle", "type: temporal\nrules: [circle]\ntimespan: 1m"),
        ("unknown", "type: temporal\nrules: [a, nobody]\ntimespan: 1m"),
        ("twice", "type: temporal\nrules: [a, a]\ntimespan: 1m"),
        ("key", "type: temporal\nrules: [a]\ntimespan: 1m\ngroup_by: [user]"),
        ("field", "type: value_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 2}"),
        ("comparison", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {at_least: 2}"),
        ("high", "type: event_count\nrules: [a]\ntimespan: 1m\ncondition: {gte: 1000000}"),
        ("unnamed", "type: temporal\nrules: [a, b]\ntimespan: 1m\ncondition: a"),
        ("nothing", "type: temporal\nrules: [a]\ntimespan: 1m\ncondition: not a"),
        ("zero", "type: temporal\nrules: [a]\ntimespan: 0s"),
        ("pairs", pairs.as_str()),
        ("alias", "type: temporal\nrules: [a, b]\ngroup-by: [w]\naliases: {w: {a: user}}\ntimespan: 1m"),
    ];
    let text = cases.iter().fold(small::of_kinds(), |all, (title, body)| all + &correlation(title, body));
    let (_, report) = RuleSet::load([("t.yml".to_owned(), text)]);
    assert_eq!((report.loaded, report.rejected.len()), (3, cases.len()));
    let mut reasons: Vec<String> = report.rejected.iter().map(ToString::to_string).collect();
    reasons.sort();
    insta::assert_snapshot!(reasons.join("\n"));
}

fn explained(set: &RuleSet, title: &str, events: &[Value]) -> CorrelationExplanation {
    let id = set.correlations().find(|info| info.reference.title.as_ref() == title).unwrap();
    let mut explainer = CorrelationExplainer::new(set, &id.reference.id).unwrap();
    for event in events {
        explainer.observe(&batch::of(std::slice::from_ref(event), &set.native_fields(), &[]));
    }
    explainer.explain()
}

/// The nearest windows, by group: what each lacks.
fn missing(explanation: &CorrelationExplanation) -> Vec<String> {
    let of = |group: &GroupOutcome| {
        let key = group.key.first().map_or("", |(_, value)| value);
        Some(format!("{key}: {}", group.nearest.as_ref()?.missing.join("; ")))
    };
    explanation.groups.iter().filter_map(of).collect()
}

#[test]
fn an_explanation_says_what_was_seen_and_what_is_missing() {
    let many = "type: event_count\nrules: [a]\ngroup-by: [user]\ntimespan: 10s\ncondition: {gte: 3}";
    let then = "type: temporal_ordered\nrules: [many, b, c]\ngroup-by: [user]\ntimespan: 1m\n\
                condition: many and (b or c)";
    let gone = "type: temporal\nrules: [a, c]\ngroup-by: [user]\ntimespan: 10s\ncondition: a and not c";
    let high = "type: value_avg\nrules: [a]\ngroup-by: [user]\ntimespan: 10s\ncondition: {field: v, gt: 4}";
    let set = load(&[("many", many), ("then", then), ("gone", gone), ("high", high)]);
    let nobody = json!({"@t": 3, "@uid": "nobody", "kind": "a"});
    let few = [event(0, "a", "u", 1), event(4, "a", "u", 4), event(20, "a", "w", 0), nobody];
    let told = explained(&set, "many", &few);
    assert_eq!((told.members[0].matches, told.members[0].counted), (4, 3));
    assert_eq!(missing(&told), ["u: event_count must be >= 3", "w: event_count must be >= 3"]);
    let text = told.to_string();
    assert!(text.starts_with("many does not fire: event_count >= 3 within 10 s, by user\n"), "{text}");
    assert!(text.contains("user=u: nearest: 2023-11-14T22:13:20"), "{text}");
    assert!(text.contains("held 2 of a; event_count is 2; event_count must be >= 3"), "{text}");
    assert_eq!(
        missing(&explained(&set, "high", &few)),
        ["u: value_avg must be > 4", "w: value_avg must be > 4"]
    );
    // The inner correlation fires, and is an event of the outer one.
    let mut enough = few.to_vec();
    enough.extend([event(5, "a", "u", 0), event(2, "b", "u", 0)]);
    let told = explained(&set, "then", &enough);
    assert_eq!(missing(&told), ["u: not in this order: many, then b"]);
    let inner = told.members[0].inner.as_ref().unwrap();
    assert!(inner.fired() && !told.fired());
    assert_eq!(inner.groups[0].fired[0].held, [("a".into(), 3)]);
    enough.push(event(30, "c", "u", 0));
    let told = explained(&set, "then", &enough);
    assert!(
        told.fired() && told.to_string().starts_with("then fires: temporal_ordered within 60 s, by user\n")
    );
    let disturbed = [event(0, "a", "u", 0), event(5, "c", "u", 0)];
    assert_eq!(missing(&explained(&set, "gone", &disturbed)), ["u: there must be no event of c"]);
    assert!(explained(&set, "gone", &disturbed[..1]).fired());
    assert_eq!(
        missing(&explained(&set, "gone", &disturbed[1..])),
        ["u: no event of a; there must be no event of c"]
    );
}

/// Every kind of correlation over one small world of events.
fn every_kind() -> RuleSet {
    let grouped = |head: &str, rules: &str, condition: &str| {
        format!("type: {head}\nrules: {rules}\ngroup-by: [user]\ntimespan: 10s\n{condition}")
    };
    let bodies = [
        ("count", grouped("event_count", "[a, b]", "condition: {gte: 3}")),
        ("few", grouped("event_count", "[c]", "condition: {lt: 3, gt: 1}")),
        ("distinct", grouped("value_count", "[a]", "condition: {field: v, gte: 2}")),
        ("sum", grouped("value_sum", "[a, c]", "condition: {field: v, gt: 4}")),
        ("avg", grouped("value_avg", "[a]", "condition: {field: v, gte: 2}")),
        ("rank", grouped("value_percentile", "[a]", "condition: {field: v, percentile: 75, gte: 2}")),
        ("median", grouped("value_median", "[a, b]", "condition: {field: v, gt: 1}")),
        ("all", grouped("temporal", "[a, b, c]", "")),
        ("some", grouped("temporal", "[a, b, c]", "condition: (a or b) and c")),
        ("order", grouped("temporal_ordered", "[a, b, c]", "")),
        ("some_order", grouped("temporal_ordered", "[a, b, c]", "condition: (a or b) and c")),
        ("missing", grouped("temporal", "[a, b, c]", "condition: a and b and not c")),
        (
            "either_order",
            grouped("temporal_ordered", "[a, b, c]", "condition: not (not a or not b) or b and c"),
        ),
        ("order_missing", grouped("temporal_ordered", "[a, b, c]", "condition: a and b and not c")),
    ];
    let bodies: Vec<(&str, &str)> = bodies.iter().map(|(title, body)| (*title, body.as_str())).collect();
    load(&bodies)
}

/// What the document says, computed from scratch for every event.
fn brute_force(events: &[Value]) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for user in ["u", "w"] {
        for (title, members, judge, is_absence) in judges() {
            let mut mine: Vec<(i64, usize, u64, i64)> = events
                .iter()
                .filter(|e| e["user"] == user)
                .filter_map(|e| {
                    let member = members.iter().position(|m| e["kind"] == *m)?;
                    let hash = super::hash_of(&[e["@uid"].as_str().unwrap()]);
                    Some((e["@t"].as_i64().unwrap(), member, hash, e["v"].as_i64().unwrap()))
                })
                .collect();
            mine.sort_unstable();
            mine.dedup();
            let mut last: Option<i64> = None;
            for i in 0..mine.len() {
                let t = mine[i].0;
                let window: Vec<(i64, usize, u64, i64)> = if is_absence {
                    mine[i..].iter().filter(|e| e.0 <= t + 10).copied().collect()
                } else {
                    mine[..=i].iter().filter(|e| e.0 >= t - 10).copied().collect()
                };
                if last.is_some_and(|l| t <= l + 10) || !judge(&window) {
                    continue;
                }
                last = Some(t);
                let (at, from, count) = match title {
                    _ if is_absence => (t + 10, t, window.len()),
                    "order" => (t, chain_start(&window), 3),
                    "distinct" => {
                        let told = last_of_values(&window);
                        (t, told[0], told.len())
                    }
                    _ => (t, window[0].0, window.len()),
                };
                told.insert(format!("{title} {user} at {at} from {from} of {count}"));
            }
        }
    }
    told
}

type Window = [(i64, usize, u64, i64)];
type Judge = fn(&Window) -> bool;

fn judges() -> Vec<(&'static str, Vec<&'static str>, Judge, bool)> {
    vec![
        ("count", vec!["a", "b"], |w| w.len() >= 3, false),
        ("few", vec!["c"], |w| w.len() == 2, false),
        ("distinct", vec!["a"], |w| values(w).iter().collect::<BTreeSet<_>>().len() >= 2, false),
        ("sum", vec!["a", "c"], |w| values(w).iter().sum::<i64>() > 4, false),
        ("avg", vec!["a"], |w| values(w).iter().sum::<i64>() >= 2 * w.len() as i64, false),
        ("rank", vec!["a"], |w| values(w)[(w.len() * 75).div_ceil(100) - 1] >= 2, false),
        (
            "median",
            vec!["a", "b"],
            |w| {
                let v = values(w);
                v[(v.len() - 1) / 2] + v[v.len() / 2] > 2
            },
            false,
        ),
        ("all", vec!["a", "b", "c"], |w| has(w, 0) && has(w, 1) && has(w, 2), false),
        ("some", vec!["a", "b", "c"], |w| (has(w, 0) || has(w, 1)) && has(w, 2), false),
        ("order", vec!["a", "b", "c"], |w| in_order(w, &[0, 1, 2]), false),
        ("some_order", vec!["a", "b", "c"], |w| in_order(w, &[0, 2]) || in_order(w, &[1, 2]), false),
        ("missing", vec!["a", "b", "c"], |w| has(w, 0) && has(w, 1) && !has(w, 2), true),
        ("either_order", vec!["a", "b", "c"], |w| in_order(w, &[0, 1]) || in_order(w, &[1, 2]), false),
        ("order_missing", vec!["a", "b", "c"], |w| in_order(w, &[0, 1]) && !has(w, 2), true),
    ]
}

fn values(window: &Window) -> Vec<i64> {
    let mut values: Vec<i64> = window.iter().map(|e| e.3).collect();
    values.sort_unstable();
    values
}

fn has(window: &Window, member: usize) -> bool {
    window.iter().any(|e| e.1 == member)
}

/// Tries every choice.
fn in_order(window: &Window, members: &[usize]) -> bool {
    let Some((first, rest)) = members.split_first() else { return true };
    window.iter().enumerate().any(|(i, e)| e.1 == *first && in_order(&window[i + 1..], rest))
}

/// The start of the latest chain: c last, then the latest b before it, then the latest a before that.
fn chain_start(window: &Window) -> i64 {
    let mut end = window.len();
    let mut start = 0;
    for member in [2, 1, 0] {
        end = window[..end].iter().rposition(|e| e.1 == member).unwrap();
        start = window[end].0;
    }
    start
}

/// The times of events after which their value comes less than [`TOLD_OF_VALUE`] times more.
fn last_of_values(window: &Window) -> Vec<i64> {
    let later = |i: usize| window[i + 1..].iter().filter(|e| e.3 == window[i].3).count();
    let is_told = |i: &usize| later(*i) < TOLD_OF_VALUE as usize;
    (0..window.len()).filter(is_told).map(|i| window[i].0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn any_order_portions_duplicates_and_restarts_tell_what_brute_force_tells(
        events in prop::collection::vec((0..60_i64, 0..3_usize, 0..2_usize, 0..4_i64, 0..12_i64), 1..60),
        portions in prop::collection::vec(1..7_usize, 1..40),
        restart_at in 0..20_usize,
    ) {
        const LATENESS: i64 = 12;
        let set = every_kind();
        let mut arrivals: Vec<(i64, Value)> = events
            .iter()
            .map(|(t, kind, user, v, delay)| (t + delay, event(*t, ["a", "b", "c"][*kind], ["u", "w"][*user], *v)))
            .collect();
        // Some arrive twice.
        let again: Vec<(i64, Value)> = arrivals.iter().step_by(5).cloned().collect();
        arrivals.extend(again);
        arrivals.sort_by_key(|(arrival, _)| *arrival);
        let shelf = || Shelf::on(std::sync::Mutex::new(Vec::new()));
        let mut windows = Windows::on(shelf());
        let mut standing = Standing::default();
        let mut rest = arrivals.as_slice();
        for (i, portion) in portions.iter().cycle().enumerate() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*portion).min(rest.len()));
            rest = later;
            let events: Vec<Value> = now.iter().map(|(_, e)| e.clone()).collect();
            standing.apply(windows.observe(&set, observed(&set, &events)));
            // Nothing that still comes is older than this.
            let arrived = now.last().map_or(0, |(arrival, _)| *arrival);
            let sealed = Time::from_secs(1_700_000_000 + arrived - LATENESS - 1);
            standing.apply(windows.advance(&set, &Watermark(sealed).into()));
            if i == restart_at {
                let bytes = windows.snapshot();
                windows = Windows::restore(&set, &bytes, shelf()).unwrap();
                prop_assert_eq!(windows.snapshot(), bytes);
            }
        }
        standing.apply(windows.advance(&set, &Watermark::END.into()));
        let events: Vec<Value> = arrivals.into_iter().map(|(_, e)| e).collect();
        prop_assert_eq!(standing.told(), brute_force(&events));
        prop_assert_eq!(windows.counts().late, 0);
    }
}
