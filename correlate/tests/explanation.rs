//! Guarantees: what an explanation cites is what holds the incident together. Whoever vetoes the cited join splits the
//! incident into exactly the parts that the explanation names.

#![allow(clippy::unwrap_used)] // A panic is how a test's helper fails.

mod support;

use std::collections::BTreeSet;

use correlate::{AnalystInput, Correlator, Said};
use event::{Alert, AlertId, Explanation, Incident, Tactic, TenantId};
use proptest::prelude::*;
use support::{With, alert, at, correlator};

fn some_alerts() -> impl Strategy<Value = Vec<Alert>> {
    let one = (0..4_u32, 0..4_u32, 0..8_u32, 0..8_u32, 0..5_400_i64, 0..6_usize);
    proptest::collection::vec(one, 2..40).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(n, (host, user, session, mask, s, stage))| {
                let mut entities = vec![format!("device:h{host}.x.example")];
                if mask > 1 {
                    entities.push(format!("user:u{user}@x.example"));
                }
                if mask > 4 {
                    entities.push(format!("session:s{session}"));
                }
                let texts: Vec<&str> = entities.iter().map(String::as_str).collect();
                alert(&format!("a{n:02}"), &format!("r{}", n % 7), s, &texts).tactic(Tactic::ALL[2 + stage])
            })
            .collect()
    })
}

fn incidents(correlator: &Correlator) -> Vec<BTreeSet<AlertId>> {
    let all = correlator.incidents(&TenantId::default());
    all.into_iter().map(|incident| incident.alerts.into_iter().collect()).collect()
}

/// What is left of an incident when an analyst takes the weakest join of an explanation away.
fn without_weakest(correlator: &Correlator, explanation: &Explanation) -> Vec<BTreeSet<AlertId>> {
    let mut correlator = correlator.clone();
    let weakest = &explanation.path[explanation.weakest.unwrap()];
    let said = Said::Veto { a: weakest.a.clone(), b: weakest.b.clone() };
    let input = AnalystInput::new(TenantId::default(), at(0), "dana", said);
    correlator.apply(input).unwrap();
    incidents(&correlator)
}

fn check(
    correlator: &Correlator,
    incident: &Incident,
    a: &AlertId,
    b: &AlertId,
) -> Result<(), TestCaseError> {
    let explanation = correlator.explain(a, b).unwrap();
    let weight = |i: usize| explanation.path[i].weight_ppm;
    let weakest = explanation.weakest.unwrap();
    prop_assert!((0..explanation.path.len()).all(|i| weight(i) >= weight(weakest)));
    let ends = |join: &event::Join| [join.a.clone(), join.b.clone()];
    prop_assert!(
        ends(&explanation.path[0]).contains(a) && ends(explanation.path.last().unwrap()).contains(b)
    );

    let falling: BTreeSet<AlertId> = explanation.without_weakest.iter().cloned().collect();
    let all: BTreeSet<AlertId> = incident.alerts.iter().cloned().collect();
    let staying: BTreeSet<AlertId> = all.difference(&falling).cloned().collect();
    prop_assert!(!falling.is_empty() && falling.len() <= staying.len());
    prop_assert!(falling.contains(a) != falling.contains(b), "the weakest join stands between the two");
    let left = without_weakest(correlator, &explanation);
    prop_assert!(left.contains(&falling) && left.contains(&staying), "{:?} of {left:?}", explanation);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_cited_join_really_splits(alerts in some_alerts()) {
        let mut correlator = correlator();
        correlator.push(alerts);
        correlator.flush();
        for incident in correlator.incidents(&TenantId::default()) {
            let (first, last) = (incident.alerts.first().unwrap(), incident.alerts.last().unwrap());
            if first != last {
                check(&correlator, &incident, first, last)?;
            }
            let joins = correlator.explain_joins(&incident);
            prop_assert_eq!(joins.len(), incident.joins.len());
            for (explanation, join) in joins.iter().zip(&incident.joins) {
                prop_assert_eq!(&correlator.explain(&join.a, &join.b).unwrap(), explanation);
            }
        }
    }

    /// Whoever asks why two alerts are apart is never told that they are one incident, and the other way round.
    #[test]
    fn apart_is_apart(alerts in some_alerts()) {
        let mut correlator = correlator();
        correlator.push(alerts.clone());
        correlator.flush();
        let one = incidents(&correlator);
        for pair in alerts.windows(2) {
            let (a, b) = (&pair[0].id, &pair[1].id);
            let together = one.iter().any(|incident| incident.contains(a) && incident.contains(b));
            let explanation = correlator.explain(a, b).unwrap();
            prop_assert_eq!(explanation.path.is_empty(), !together);
            prop_assert_eq!(explanation.text.starts_with("Not one incident: "), !together);
        }
    }
}

#[test]
fn every_alert_says_why_it_is_where_it_is() {
    let mut correlator = correlator();
    correlator.push([
        alert("a1", "Script from browser", 0, &["session:s1", "user:alice@contoso.com"]),
        alert("a2", "LSASS memory read", 660, &["session:s1", "device:ws-01.contoso.com"]),
        alert("a3", "Odd service", 700, &["device:ws-01.contoso.com"]),
        alert("b1", "Odd sign-in", 9_000, &["user:alice@contoso.com"]),
        alert("c1", "Elsewhere", 0, &["user:zoe@contoso.com"]),
    ]);
    correlator.flush();
    let mut lines = Vec::new();
    for incident in correlator.incidents(&TenantId::default()) {
        for (alert, why) in correlator.why(&incident) {
            lines.extend(why.into_iter().map(|why| format!("{alert}: {why}")));
        }
    }
    insta::assert_snapshot!(lines.join("\n"));
}
