//! What the shipped response rules ask for, story by story, and what the policy makes of it.

use std::convert::Infallible;

use event::{
    Action, Alert, AttackTag, Class, Domain, Entity, EntityType, Incident, RiskClass, Role, Severity,
};

use crate::testing::{alert, incident};
use crate::*;

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// An alert of a class that names these.
fn naming(class: &str, tag: &str, entities: &[(EntityType, Role, &str)]) -> Alert {
    let entity = |(t, role, value): &(EntityType, Role, &str)| Entity::new(*t, *role, value).unwrap();
    let entities: Vec<Entity> = entities.iter().map(entity).collect();
    let id = format!("{class} {tag} {entities:?}");
    Alert { class: Class::from_name(class).unwrap(), entities, ..alert(&id, tag, &[]) }
}

/// What is asked for in an incident of these alerts, as `verb target risk state`, where a change is made to it.
fn asked_in(policy: Policy, alerts: &[Alert], change: impl FnOnce(&mut Incident)) -> Vec<String> {
    let (rules, report) = ResponseRules::load(ResponseRules::builtin_pack());
    assert_eq!(report.rejected, []);
    let mut responder = Responder::new(rules, policy).unwrap();
    let mut incident = incident(alerts);
    change(&mut incident);
    let Ok(changes) =
        responder.on_incident(&incident, || Ok::<_, Infallible>(alerts.to_vec()), event::Time::from_secs(1));
    assert_eq!(responder.rule_faults().count(), 0);
    let line = |a: &Action| format!("{} {} {:?} {}", a.verb, a.target.entity.value, a.risk, a.state.as_str());
    changes.iter().map(|change| line(&change.action)).collect()
}

fn full() -> Policy {
    Policy { automation: Automation::Full, ..Policy::default() }
}

fn asked(alerts: &[Alert]) -> Vec<String> {
    asked_in(full(), alerts, |_| {})
}

const ON_WS: (EntityType, Role, &str) = (EntityType::Device, Role::Device, "ws-01");

fn beacon(tag: &str) -> Alert {
    let to = [
        ON_WS,
        (EntityType::Ip, Role::Destination, "203.0.113.9"),
        (EntityType::Domain, Role::Destination, "cdn.bad.example"),
    ];
    naming("network_activity", tag, &to)
}

#[test]
fn what_controls_a_device_is_blocked_after_approval() {
    let expected = [
        "indicator.block 203.0.113.9 R3 awaiting_approval",
        "indicator.block cdn.bad.example R3 awaiting_approval",
    ];
    assert_eq!(asked(&[beacon("attack.command-and-control")]), expected);
    assert_eq!(asked(&[beacon("attack.exfiltration")]), expected);
    assert_eq!(asked(&[beacon("attack.discovery")]), [""; 0], "looking around is no reason");
    let mild = Alert { severity: Severity::Medium, ..beacon("attack.command-and-control") };
    assert_eq!(asked(&[mild]), [""; 0]);
}

#[test]
fn one_domain_alone_blocks_and_quarantines_nothing() {
    let alerts = [beacon("attack.command-and-control"), dropped(SHA256, "attack.persistence")];
    let one = |incident: &mut Incident| incident.domains = vec![Domain::Endpoint];
    assert_eq!(asked_in(full(), &alerts, one), [""; 0]);
}

#[test]
fn an_address_of_our_own_is_never_blocked() {
    let inside = naming(
        "network_activity",
        "attack.command-and-control",
        &[ON_WS, (EntityType::Ip, Role::Destination, "10.0.0.9")],
    );
    assert_eq!(asked(&[inside]), [""; 0]);
}

fn dropped(name: &str, tag: &str) -> Alert {
    naming("file_activity", tag, &[ON_WS, (EntityType::File, Role::Target, name)])
}

#[test]
fn a_file_is_quarantined_after_approval_where_its_hash_is_known() {
    let quarantine = format!("file.quarantine {SHA256} R2 awaiting_approval");
    assert_eq!(asked(&[dropped(SHA256, "attack.persistence")]), [quarantine]);
    assert_eq!(asked(&[dropped("c:\\users\\public\\a.exe", "attack.persistence")]), [""; 0]);
    let several = [dropped(SHA256, "attack.persistence"), dropped(SHA256, "attack.execution")];
    let files = asked(&several).into_iter().filter(|line| line.starts_with("file.")).count();
    assert_eq!(files, 1, "one file, however many alerts");
}

fn encrypting(tag: &str) -> Alert {
    naming("file_activity", tag, &[ON_WS, (EntityType::Process, Role::Actor, "ws-01/4711-1700000000")])
}

#[test]
fn what_encrypts_is_ended_at_once_and_what_only_runs_is_not() {
    let critical = |incident: &mut Incident| incident.severity = Severity::Critical;
    let lines = asked_in(full(), &[encrypting("attack.impact")], critical);
    assert_eq!(lines, ["process.kill ws-01/4711-1700000000 R2 queued"]);
    assert_eq!(asked_in(full(), &[encrypting("attack.persistence")], critical), [""; 0]);
    assert_eq!(asked(&[encrypting("attack.impact")]), [""; 0], "high is not critical");
    let recommending = asked_in(Policy::default(), &[encrypting("attack.impact")], critical);
    assert_eq!(recommending, ["process.kill ws-01/4711-1700000000 R2 awaiting_approval"]);
}

fn in_session(class: &str, tag: &str) -> Alert {
    naming(
        class,
        tag,
        &[(EntityType::Session, Role::Session, "s-1"), (EntityType::User, Role::Actor, "role/deploy")],
    )
}

#[test]
fn a_session_in_which_more_was_done_than_signing_in_is_ended() {
    let session = |alerts: &[Alert]| -> Vec<String> {
        asked(alerts).into_iter().filter(|line| line.starts_with("session.")).collect()
    };
    let abused =
        [in_session("api_activity", "attack.persistence"), in_session("api_activity", "attack.exfiltration")];
    assert_eq!(session(&abused), ["session.revoke s-1 R1 queued"]);
    assert_eq!(session(&abused[..1]), [""; 0], "once may be a mistake");
    let signing_in = [
        in_session("authentication", "attack.initial-access"),
        in_session("api_activity", "attack.discovery"),
    ];
    assert_eq!(session(&signing_in), [""; 0]);
}

#[test]
fn forwarding_of_a_mailbox_ends_after_approval() {
    let mut rule = naming(
        "email_activity",
        "attack.collection",
        &[
            (EntityType::Mailbox, Role::Target, "ann@x.example"),
            (EntityType::User, Role::Actor, "eve@x.example"),
        ],
    );
    rule.domain = Domain::Email;
    let reading = rule.clone();
    rule.attack.extend(AttackTag::parse("attack.t1114.003"));
    let of_mailbox = |alert: &Alert| -> Vec<String> {
        asked(std::slice::from_ref(alert)).into_iter().filter(|line| line.starts_with("email.")).collect()
    };
    assert_eq!(of_mailbox(&rule), ["email.disable_forwarding ann@x.example R2 awaiting_approval"]);
    let mild = Alert { severity: Severity::Low, ..rule };
    assert_eq!(of_mailbox(&mild), [""; 0]);
    assert_eq!(of_mailbox(&reading), [""; 0], "who reads mail has made no rule");
}

#[test]
fn every_shipped_rule_that_is_dangerous_asks_a_person() {
    let (rules, _) = ResponseRules::load(ResponseRules::builtin_pack());
    for rule in rules.rules() {
        let by_itself = rule.automation.is_none_or(|most| most > Automation::ApproveAll);
        assert!(!by_itself || rule.verb.risk() <= RiskClass::R2, "{} runs by itself", rule.id);
        let is_bounded = rule.ttl.is_some() || !rule.verb.holds();
        assert!(is_bounded, "{}: an effect without an end of its own", rule.id);
    }
    let verbs: std::collections::BTreeSet<Verb> = rules.rules().map(|rule| rule.verb).collect();
    assert!(verbs.len() >= 9, "{verbs:?}");
}
