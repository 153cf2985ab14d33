//! Guarantees: risk of users, devices and apps depends on the set of sealed alerts and on event time alone; it rises,
//! fades, and is told when it does.

#![allow(clippy::unwrap_used)] // A panic is how a test's helper fails.

mod support;

use correlate::{Correlator, Parameters};
use event::{Alert, EntityRisk, EntityType, RiskChange, RiskLevel, Severity, TenantId};
use proptest::prelude::*;
use support::{With, alert, batch, correlator, watermark};

const HOUR: i64 = 3_600;

fn risks(correlator: &Correlator) -> Vec<EntityRisk> {
    correlator.risks(&TenantId::default())
}

fn told(changes: &[RiskChange]) -> Vec<String> {
    let line = |change: &RiskChange| {
        let risk = change.risk();
        format!("{} {} {} {}", change.kind(), risk.name, risk.level.as_str(), risk.score)
    };
    changes.iter().map(line).collect()
}

#[test]
fn risk_rises_with_rules_and_fades_with_time() {
    let mut correlator = correlator();
    let on = |id: &str, rule: &str, s: i64| {
        alert(id, rule, s, &["user:alice@contoso.com", "device:ws-01.contoso.com"]).grave(Severity::Critical)
    };
    correlator.push([on("a1", "Credential theft", 0)]);
    correlator.advance(watermark(60));
    assert_eq!(
        told(&correlator.risk_changes()),
        ["raised alice@contoso.com medium 60", "raised ws-01.contoso.com medium 60"]
    );
    assert!(correlator.risk_changes().is_empty(), "nothing is told twice");
    correlator.push([on("a2", "Credential theft", 120)]);
    correlator.advance(watermark(180));
    assert!(risks(&correlator)[0].score <= 60, "one rule again is no more");
    correlator.push([on("a3", "Lateral movement", 240)]);
    correlator.advance(watermark(300));
    let both = correlator.risk_changes();
    assert_eq!(told(&both), ["raised alice@contoso.com high 84", "raised ws-01.contoso.com high 84"]);
    let rules: Vec<&str> = both[0].risk().raised_by.iter().map(|reason| &*reason.title).collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(both[0].risk().raised_by[0].incident.is_some());

    correlator.advance(watermark(24 * HOUR + 240));
    assert_eq!(
        told(&correlator.risk_changes()),
        ["lowered alice@contoso.com medium 51", "lowered ws-01.contoso.com medium 51"]
    );
    correlator.advance(watermark(20 * 24 * HOUR));
    assert_eq!(
        told(&correlator.risk_changes()),
        ["lowered alice@contoso.com none 0", "lowered ws-01.contoso.com none 0"]
    );
    assert!(risks(&correlator).is_empty() && correlator.stats().risk_entities == 0);
}

#[test]
fn what_is_provisional_raises_nothing() {
    let mut correlator = correlator();
    correlator.push([alert("a1", "r", 100, &["user:alice@contoso.com"]).grave(Severity::Critical)]);
    correlator.advance(watermark(50));
    assert!(correlator.risk_changes().is_empty());
    correlator.advance(watermark(100));
    assert_eq!(correlator.risk_changes().len(), 1);
}

#[test]
fn one_person_is_one_row_once_the_names_are_known() {
    let mut correlator = correlator();
    correlator.push([
        alert("a1", "r1", 0, &["user:contoso\\alice"]).grave(Severity::High),
        alert("a2", "r2", 10, &["user:alice@contoso.com"]).grave(Severity::High),
    ]);
    correlator.advance(watermark(20));
    assert_eq!(told(&correlator.risk_changes()).len(), 2);
    let proof = [("actor_user_account", "CONTOSO\\alice"), ("actor_user_email", "alice@contoso.com")];
    correlator.observe(&batch("authentication", &[(30, &proof)]));
    correlator.push([alert("a3", "r3", 40, &["user:contoso\\alice"]).grave(Severity::Low)]);
    correlator.advance(watermark(50));
    let changes = told(&correlator.risk_changes());
    assert_eq!(changes[1], "lowered contoso\\alice none 0", "{changes:?}");
    assert!(changes[0].starts_with("raised alice@contoso.com medium"), "{changes:?}");
    let rows = risks(&correlator);
    assert_eq!((rows.len(), rows[0].raised_by.len(), &*rows[0].aliases[0]), (1, 3, "contoso\\alice"));
}

#[test]
fn an_app_is_known_by_its_id_and_called_by_its_name() {
    let mut correlator = correlator();
    let mut consent =
        alert("a1", "r", 0, &["user:alice@contoso.com", "app:5f2b1a60-8f5e-4a57-9f0c-3d1e1a2b3c4d"]);
    consent.evidence = vec![("app_name".into(), "Mail Sync".into())];
    correlator.push([consent.grave(Severity::High)]);
    correlator.flush();
    let rows = risks(&correlator);
    let app = rows.iter().find(|row| row.entity_type == EntityType::App).unwrap();
    assert_eq!((&*app.name, &*app.aliases[0]), ("5f2b1a60-8f5e-4a57-9f0c-3d1e1a2b3c4d", "Mail Sync"));
}

#[test]
fn the_table_is_bounded_and_says_so() {
    let text = include_str!("../parameters.yml").replace("risk_entities: 100000", "risk_entities: 100");
    let mut correlator = Correlator::new(Parameters::parse(&text).unwrap());
    let user = |n: i64| format!("user:u{n}@x.example");
    correlator.push((0..1_000).map(|n| {
        let severity = if n == 7 { Severity::Critical } else { Severity::High };
        alert(&format!("a{n:04}"), &format!("r{n}"), n, &[&user(n)]).grave(severity)
    }));
    correlator.flush();
    let stats = correlator.stats();
    assert!(stats.risk_entities <= 125 && stats.risk_entities_evicted_total >= 875, "{stats:?}");
    assert_eq!(&*risks(&correlator)[0].name, "u7@x.example", "the highest risk stays");
}

fn some_alerts() -> impl Strategy<Value = Vec<Alert>> {
    let one = (0..4_u32, 0..3_u32, 0..20_u32, 0..100_i64, 0..5_usize);
    proptest::collection::vec(one, 1..60).prop_map(|all| {
        let severities =
            [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
        all.into_iter()
            .enumerate()
            .map(|(n, (user, host, rule, quarter, severity))| {
                let (user, host) = (format!("user:u{user}@x.example"), format!("device:h{host}.x.example"));
                alert(&format!("a{n:02}"), &format!("r{rule}"), quarter * 900, &[&user, &host])
                    .grave(severities[severity])
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// In any order, in any steps, restored in between, also where alerts are placed and not told yet: the same rows.
    #[test]
    fn risk_is_a_function_of_the_alerts(
        alerts in some_alerts(),
        step in 1..12_i64,
        kill in 0..30_usize,
        is_placed: bool,
    ) {
        let mut at_once = correlator();
        at_once.push(alerts.clone());
        at_once.advance(watermark(100 * 900));
        let mut live = correlator();
        // What comes with the step of the kill is sealed as it is placed.
        let stop = watermark(kill as i64 * step * 900).0;
        let (early, with_it): (Vec<Alert>, Vec<Alert>) =
            alerts.into_iter().rev().partition(|alert| !is_placed || alert.time <= stop);
        let mut with_it = Some(with_it);
        live.push(early);
        for (n, s) in (0..=100 * 900).step_by(step as usize * 900).enumerate() {
            live.advance(watermark(s));
            drop(live.risk_changes());
            if n == kill {
                live.push(with_it.take().into_iter().flatten());
                if is_placed {
                    live.place(watermark((s + step * 900).min(100 * 900)));
                }
                live = Correlator::restore(Parameters::builtin().unwrap(), &live.snapshot()).unwrap();
            }
        }
        live.advance(watermark(100 * 900));
        let rows = risks(&live);
        prop_assert_eq!(&rows, &risks(&at_once));
        for row in rows {
            prop_assert!(row.score <= 100 && row.level > RiskLevel::None && row.entity_type != EntityType::App);
        }
    }
}
