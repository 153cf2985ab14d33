//! What evidence is worth: who fades into the background and who does not, and what joins nothing by itself.
#![allow(clippy::unwrap_used)]

mod support;

use event::{Alert, AttackTag, Severity, TenantId};
use support::{With as _, alert, batch, correlator, groups, incidents_of};

/// How many incidents some alerts make.
fn count(alerts: Vec<Alert>) -> usize {
    incidents_of(alerts).len()
}

/// Scenario: an attacker uses one account and one address to start a service on ever more hosts.
/// Guarantees: what its own alerts meet does not make account, address or rule common; all are one incident.
#[test]
fn an_attacker_who_goes_on_does_not_fade() {
    let step = |n: i64| {
        let device = format!("device:srv-{n}.contoso.com");
        alert(
            &format!("a{n:02}"),
            "Remote service started",
            n * 60,
            &[&device, "user:eve@contoso.com", "ip:203.0.113.5"],
        )
    };
    assert_eq!(count((0..40).map(step).collect()), 1);
}

/// Scenario: a scanner's account and address alert on ever more hosts, with nothing else in common.
/// Guarantees: it loses its weight; the hosts do not become one incident.
#[test]
fn a_hub_fades() {
    let scan = |n: i64| {
        let device = format!("device:srv-{n}.contoso.com");
        alert(&format!("a{n:02}"), &format!("Rule {n}"), n * 600, &[&device, "user:scan@contoso.com"])
    };
    let incidents = incidents_of((0..40).map(scan).collect());
    assert!(incidents.len() > 25, "{:?}", groups(&incidents));
}

/// Scenario: a scanner's account and address, at all hosts in turn, set off one rule twice a second.
/// Guarantees: account, address and rule corroborate each other only so long; then all of them fade, and what is left of the
/// storm joins nothing, two hours of it as little as one.
#[test]
fn a_storm_that_corroborates_itself_fades() {
    let scan = |n: i64| {
        let device = format!("device:ws-{}.contoso.com", n % 300);
        let entities = [&*device, "user:scan@contoso.com", "ip:203.0.113.77"];
        let mut alert = alert(&format!("a{n:05}"), "Port scan", n / 2, &entities);
        alert.records.clear();
        alert
    };
    let largest = |alerts: i64| incidents_of((0..alerts).map(scan).collect())[0].alerts.len();
    let most = largest(3_000);
    assert!(most < 200, "{most} alerts in one incident");
    assert_eq!(largest(6_000), most);
}

/// An alert of a correlation rule: one record for each user it names.
fn broad(id: &str, s: i64, users: &[String]) -> Alert {
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut alert = alert(id, "Passwords of many accounts are tried", s, &names);
    let record = alert.records[0].clone();
    alert.records =
        (0..users.len() as i64).map(|n| event::RecordRef { offset: n, ..record.clone() }).collect();
    alert
}

#[test]
fn an_alert_about_many_users_joins_none_of_them() {
    let users: Vec<String> = (0..20).map(|n| format!("user/target:u{n}@contoso.com")).collect();
    let other = || alert("b", "Inbox rule hides mail", 600, &["user:u3@contoso.com"]);
    assert_eq!(count(vec![broad("a", 0, &users), other()]), 2);
    assert_eq!(count(vec![broad("a", 0, &users[3..4]), other()]), 1, "of one user it says all");
}

/// Scenario: the same, with each account by its id and its address, as sign-ins name them; which belong together is known.
/// Guarantees: each counts as one account all the same, so that one of twenty joins nothing.
#[test]
fn an_alert_about_many_users_by_two_names_each_joins_none_of_them() {
    let named: Vec<[String; 2]> = (0..20)
        .map(|n| [format!("u{n}@contoso.com"), format!("00000000-0000-4000-8000-0000000000{n:02}")])
        .collect();
    let columns: Vec<[(&str, &str); 3]> = named
        .iter()
        .map(|[email, id]| [("user_email", email.as_str()), ("user_uid", id.as_str()), ("status_id", "2")])
        .collect();
    let rows: Vec<(i64, &[(&str, &str)])> =
        columns.iter().enumerate().map(|(i, columns)| (i as i64, columns.as_slice())).collect();
    let users: Vec<String> = named.iter().flatten().rev().map(|name| format!("user/target:{name}")).collect();
    let mut correlator = correlator();
    correlator.observe(&batch("authentication", &rows));
    correlator
        .push([broad("a", 60, &users), alert("b", "Inbox rule hides mail", 600, &["user:u3@contoso.com"])]);
    correlator.flush();
    assert_eq!(correlator.incidents(&TenantId::default()).len(), 2);
}

#[test]
fn users_that_one_alert_names_are_not_one_user() {
    let users = ["user/target:a@contoso.com".to_owned(), "user/target:b@contoso.com".to_owned()];
    let later = 36_000;
    let one = alert("b", "Inbox rule hides mail", later, &["user:a@contoso.com"]);
    let other = alert("c", "Mail is read through an API", later + 60, &["user:b@contoso.com"]);
    assert_eq!(count(vec![broad("a", 0, &users), one, other]), 3);
}

#[test]
fn a_title_is_common_whatever_its_detector() {
    let scan = |n: i64, title: &str| {
        let device = format!("device:ws-{n}.contoso.com");
        let mut alert = alert(&format!("a{n:02}"), &format!("detector {n}"), n, &[&device]);
        alert.rule.title = title.into();
        alert
    };
    let mut alerts: Vec<Alert> = (0..30).map(|n| scan(n, "Port scan")).collect();
    let apart = count(alerts.clone());
    let mut last = alert("b", "detector 30", 3_000, &["user:u@contoso.com"]);
    last.rule.title = "Port scan".into();
    alerts.push(last.clone());
    alerts.push(alert("c", "Inbox rule hides mail", 3_600, &["user:u@contoso.com"]));
    assert_eq!(count(alerts.clone()), apart + 2);
    alerts[30].rule.title = "Token of another device".into();
    assert_eq!(count(alerts), apart + 1, "a title of its own is telling");
}

#[test]
fn lesser_alerts_join_by_a_device_at_one_moment_alone() {
    let on = |id: &str, s: i64| {
        alert(id, &format!("Rule {id}"), s, &["device:web.contoso.com"]).grave(Severity::Low)
    };
    assert_eq!(count(vec![on("a", 0), on("b", 1)]), 1);
    assert_eq!(count(vec![on("a", 0), on("b", 60)]), 2);
}

#[test]
fn a_bare_name_elsewhere_may_be_somebody_else() {
    let on = |id: &str, s: i64, user: &str| {
        let device = format!("device:ws-{id}.contoso.com");
        alert(id, &format!("Rule {id}"), s, &[&device, &format!("user:{user}")])
    };
    assert_eq!(count(vec![on("a", 0, "admin"), on("b", 60, "admin")]), 2);
    assert_eq!(count(vec![on("a", 0, "admin@contoso.com"), on("b", 60, "admin@contoso.com")]), 1);
}

/// Scenario: one address signs in to, or fails to, sixty accounts; twenty minutes later it is in two alerts.
/// Guarantees: an address that many people use joins nothing; one that guesses their passwords does.
#[test]
fn failed_sign_ins_make_no_address_common() {
    let incidents = |status: &str| {
        let users: Vec<String> = (0..60).map(|n| format!("u{n}@contoso.com")).collect();
        let columns: Vec<[(&str, &str); 3]> = users
            .iter()
            .map(|user| {
                [("user_email", user.as_str()), ("src_endpoint_ip", "203.0.113.9"), ("status_id", status)]
            })
            .collect();
        let rows: Vec<(i64, &[(&str, &str)])> =
            columns.iter().enumerate().map(|(i, columns)| (i as i64, columns.as_slice())).collect();
        let mut correlator = correlator();
        correlator.observe(&batch("authentication", &rows));
        correlator.push([
            alert("a", "Consent to an application", 1_800, &["ip:203.0.113.9", "session:s1"]),
            alert("b", "Files are taken by a script", 1_830, &["ip:203.0.113.9", "session:s2"]),
        ]);
        correlator.flush();
        correlator.incidents(&TenantId::default()).len()
    };
    assert_eq!((incidents("1"), incidents("2")), (2, 1));
}

/// Scenario: sixty colleagues write to one mailbox; half an hour later it is in two alerts.
/// Guarantees: whoever writes to a mailbox does not use it, and does not make it common.
#[test]
fn letters_make_no_mailbox_common() {
    let users: Vec<String> = (0..60).map(|n| format!("u{n}@contoso.com")).collect();
    let columns: Vec<[(&str, &str); 3]> = users
        .iter()
        .map(|user| {
            [
                ("actor_user_email", user.as_str()),
                ("email_from", user.as_str()),
                ("email_delivered_to", "alice@contoso.com"),
            ]
        })
        .collect();
    let rows: Vec<(i64, &[(&str, &str)])> =
        columns.iter().enumerate().map(|(i, columns)| (i as i64, columns.as_slice())).collect();
    let mut correlator = correlator();
    correlator.observe(&batch("email_activity", &rows));
    correlator.push([
        alert("a", "Inbox rule hides mail", 1_800, &["mailbox/owner:alice@contoso.com", "session:s1"]),
        alert("b", "Mail is read through an API", 1_830, &["mailbox/owner:alice@contoso.com", "session:s2"]),
    ]);
    correlator.flush();
    assert_eq!(correlator.incidents(&TenantId::default()).len(), 1);
}

/// Scenario: one address tries the passwords of many accounts, and ten minutes later locks one that nothing else names.
/// Guarantees: both rules tell of guessed passwords, which counts as one rule does; two others would not join.
#[test]
fn rules_of_guessed_passwords_are_one_rule() {
    let alerts = |technique: &str| {
        let tagged = |mut alert: Alert| {
            alert.attack.push(AttackTag::Technique(technique.into()));
            alert
        };
        let many = ["user/target:a@contoso.com", "ip:203.0.113.9"];
        let one = ["user/target:b@contoso.com", "ip:203.0.113.9"];
        vec![
            tagged(alert("a", "Passwords of many accounts are tried", 0, &many)),
            tagged(alert("b", "Account locked", 600, &one).grave(Severity::Low)),
        ]
    };
    assert_eq!(count(alerts("T1110.003")), 1);
    assert_eq!(count(alerts("T1059.001")), 2);
}
