//! Small stories: what joins, what does not, and what an analyst is told.

#![allow(clippy::unwrap_used)] // A panic is how a test's helper fails.

mod support;

use correlate::{AnalystInput, Correlator, Said};
use event::{Alert, AlertId, Domain, IncidentDelta, IncidentId, IncidentStatus, Severity, Tactic, TenantId};
use support::{With, alert, at, batch, correlator, groups, incidents_of, watermark};

fn tenant() -> TenantId {
    TenantId::default()
}

fn id(text: &str) -> AlertId {
    AlertId::new(text)
}

/// Mail to Alice, her browser starts a script, her cloud session is used from elsewhere.
fn attack() -> Vec<Alert> {
    vec![
        alert(
            "a1",
            "Phishing mail delivered",
            0,
            &["mailbox:alice@contoso.com", "message:m-1", "url:https://bad.example/x"],
        )
        .tactic(Tactic::InitialAccess)
        .domain(Domain::Email),
        alert(
            "a2",
            "Script from browser",
            240,
            &[
                "device:ws-01.contoso.com",
                "user:alice@contoso.com",
                "process:ws-01/1",
                "url:https://bad.example/x",
            ],
        )
        .tactic(Tactic::Execution)
        .grave(Severity::High),
        alert(
            "a3",
            "LSASS memory read",
            900,
            &["device:ws-01.contoso.com", "user:contoso\\alice", "process:ws-01/1"],
        )
        .tactic(Tactic::CredentialAccess)
        .grave(Severity::High),
        alert("a4", "Sign-in from a new country", 2_700, &["user:alice@contoso.com", "ip:203.0.113.9"])
            .tactic(Tactic::InitialAccess)
            .domain(Domain::Identity),
        alert("a5", "Inbox rule hides mail", 2_900, &["mailbox:alice@contoso.com", "ip:203.0.113.9"])
            .tactic(Tactic::Collection)
            .domain(Domain::App),
    ]
}

#[test]
fn an_attack_across_domains_is_one_incident() {
    let incidents = incidents_of(attack());
    assert_eq!(groups(&incidents), [["a1", "a2", "a3", "a4", "a5"]]);
    insta::assert_json_snapshot!(incidents[0]);
}

#[test]
fn people_are_told_why_and_what_if_not() {
    let mut correlator = correlator();
    let mut alerts = attack();
    alerts.push(alert(
        "b1",
        "Inbox rule hides mail",
        2_950,
        &["mailbox:carol@contoso.com", "ip:198.51.100.7"],
    ));
    alerts.push(alert("b2", "Odd service", 1_100, &["device:ws-01.contoso.com"]));
    correlator.push(alerts);
    correlator.flush();
    let text = |a: &str, b: &str| correlator.explain(&id(a), &id(b)).unwrap().text;
    insta::assert_snapshot!(
        [text("a1", "a5"), text("a2", "a3"), text("a5", "b1"), text("a1", "b1"), text("a1", "a1")].join("\n")
    );
    assert!(correlator.explain(&id("a1"), &id("unknown")).is_none());
}

/// What one incident of some alerts is called.
fn title(alerts: Vec<Alert>) -> String {
    let incidents = incidents_of(alerts);
    assert_eq!(incidents.len(), 1, "one incident");
    incidents[0].title.clone()
}

#[test]
fn a_story_of_one_rule_keeps_its_title() {
    let wrong = |id: &str, s: i64| {
        alert(id, "Wrong password.", s, &["device:ws-98.contoso.com", "user/target:zoe@contoso.com"])
            .tactic(Tactic::CredentialAccess)
    };
    assert_eq!(title(vec![wrong("a1", 0)]), "Wrong password on ws-98 for zoe@contoso.com");
    let context = alert("a3", "Logon", 7, &["device:ws-98.contoso.com", "user/target:zoe@contoso.com"]);
    let story = vec![wrong("a1", 0), wrong("a2", 5), context.grave(Severity::Informational)];
    assert_eq!(title(story), "Wrong password (x2) on ws-98 for zoe@contoso.com");
}

#[test]
fn victims_are_not_named_as_doers() {
    let locked = |id: &str, s: i64, user: &str| {
        alert(id, &format!("Lock {id}"), s, &["session:s1", &format!("user/target:{user}"), "ip:203.0.113.9"])
            .tactic(Tactic::CredentialAccess)
            .domain(Domain::Identity)
    };
    let spray = vec![locked("a1", 0, "petra@contoso.com"), locked("a2", 60, "xenia@contoso.com")];
    assert_eq!(
        title(spray),
        "Credential access against petra@contoso.com and xenia@contoso.com from 203.0.113.9"
    );

    let mail = |id: &str, s: i64, to: &str| {
        let (account, mailbox) = (format!("user/target:{to}"), format!("mailbox/recipient:{to}"));
        let sender = "mailbox/sender:eva@contoso.com";
        alert(
            id,
            "Mailbox of the organisation sends phishing",
            s,
            &[sender, &account, &mailbox, "message:m-1"],
        )
        .domain(Domain::Email)
    };
    assert_eq!(
        title(vec![mail("a1", 0, "femke@contoso.com"), mail("a2", 1, "stefan@contoso.com")]),
        "Mailbox of the organisation sends phishing (x2) by eva@contoso.com against femke@contoso.com and stefan@contoso.com"
    );
}

/// An alert of a process of one session, with tactics.
fn step(id: &str, rule: &str, s: i64, tactics: &[Tactic]) -> Alert {
    let on = ["device:ws-01.contoso.com", "user:alice@contoso.com", "session:s1"];
    tactics.iter().fold(alert(id, rule, s, &on), |alert, tactic| alert.tactic(*tactic))
}

#[test]
fn stages_are_told_in_order_each_alert_once() {
    use Tactic::{CredentialAccess, Discovery, Execution, Exfiltration, Impact, InitialAccess, Persistence};
    let incidents = incidents_of(vec![
        step("a0", "Backup deleted", 0, &[Impact]).grave(Severity::Informational),
        step("a2", "Odd sign-in.", 10, &[InitialAccess]),
        step("a1", "Script sign-in", 10, &[Execution, Discovery]),
        step("a3", "Secret read", 70, &[CredentialAccess]),
        step("a4", "Key added", 100_000, &[Persistence]).grave(Severity::High),
        step("a5", "Files taken", 100_060, &[Exfiltration]),
    ]);
    insta::assert_snapshot!(
        incidents
            .iter()
            .map(|i| format!("{}\n{}\n{:?}", i.title, i.summary, i.tactics))
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn stages_that_are_not_told_are_named() {
    let alerts: Vec<Alert> = Tactic::ALL
        .iter()
        .enumerate()
        .map(|(i, tactic)| step(&format!("a{i:02}"), &format!("Step {i}"), i as i64 * 10, &[*tactic]))
        .collect();
    let incidents = incidents_of(alerts);
    let text = &incidents[0].summary;
    assert!(
        text.contains("began with \"Step 0\" (reconnaissance). Resource development at 08:00:10"),
        "{text}"
    );
    assert!(text.contains("Then 7 more stages: credential access, discovery,"), "{text}");
    assert!(text.ends_with("exfiltration and impact. Affected: 1 device and 1 user."), "{text}");
}

#[test]
fn a_priority_is_the_sum_of_its_parts() {
    let incident = &incidents_of(attack())[0];
    let parts: Vec<String> =
        incident.priority.iter().map(|p| format!("{} {} {}", p.part, p.points, p.because)).collect();
    assert_eq!(incident.priority.iter().map(|p| p.points).sum::<u32>(), incident.score);
    insta::assert_snapshot!(parts.join("\n"));
}

#[test]
fn a_timeline_folds_repetitions_and_keeps_what_is_grave() {
    let noise = |n: i64| step(&format!("n{n:03}"), &format!("Noise {n}"), n * 10, &[]).grave(Severity::Low);
    let mut alerts: Vec<Alert> = (0..80).map(noise).collect();
    alerts.extend(
        (0..5).map(|n| step(&format!("r{n}"), "Password guessed.", 5 + n * 60, &[Tactic::Execution])),
    );
    alerts.push(step("z", "Ransom note", 790, &[Tactic::Impact]).grave(Severity::Critical));
    let incidents = incidents_of(alerts);
    let timeline = &incidents[0].timeline;
    assert_eq!((incidents.len(), timeline.len()), (1, 40));
    assert!(timeline.windows(2).all(|pair| pair[0].time <= pair[1].time));
    let told = |text: &str| timeline.iter().filter(|m| m.text.starts_with(text)).collect::<Vec<_>>();
    assert!(told("Password guessed on ws-01 by alice@contoso.com").iter().all(|m| m.alerts == 5));
    assert_eq!((told("Password guessed").len(), told("Ransom note").len()), (1, 1));
}

#[test]
fn what_is_affected_is_told_with_its_part() {
    let mut mail = alert(
        "a1",
        "Phishing mail delivered",
        0,
        &[
            "mailbox/sender:eve@bad.example",
            "mailbox:alice@contoso.com",
            "mailbox:bob@contoso.com",
            "message:m",
        ],
    );
    mail.domain = Domain::Email;
    let script = alert(
        "a2",
        "Script",
        60,
        &["message:m", "user:alice@contoso.com", "device:ws-01.contoso.com", "user/target:admin@contoso.com"],
    );
    let incident = &incidents_of(vec![mail, script])[0];
    let told: Vec<String> = incident
        .assets
        .iter()
        .map(|a| format!("{} {} {} {}", a.part.as_str(), a.entity_type, a.name, a.alerts))
        .collect();
    assert_eq!(
        told,
        [
            "target user admin@contoso.com 1",
            "target mailbox bob@contoso.com 1",
            "place device ws-01.contoso.com 1",
            "doer user alice@contoso.com 1"
        ]
    );
    assert_eq!(correlate::affected(&incident.blast_radius), "1 device, 2 users and 1 mailbox");
}

/// An id stands beside one name in one alert, and alone in another.
#[test]
fn ids_give_way_to_names_that_the_incident_knows() {
    let id = "user/related:5f2b1a60-8f5e-4a57-9f0c-3d1e1a2b3c4d";
    let both = alert("a1", "Odd sign-in", 0, &["session:s1", id, "user/related:alice@contoso.com"]);
    let alone = alert("a2", "Rights given", 60, &["session:s1", id]);
    let incidents = incidents_of(vec![both, alone.clone()]);
    assert_eq!(incidents[0].title, "Odd sign-in and 1 more alert involving alice@contoso.com");
    assert_eq!(incidents_of(vec![alone])[0].title, "Rights given involving account 5f2b1a60…");
}

/// Later proofs make the account one of several, and so nobody's; who reads of it still knows whose it was taken for.
#[test]
fn a_name_proved_when_an_alert_came_is_still_read() {
    let mut correlator = correlator();
    let prove = |s: i64, account: &str| {
        let proof = [("actor_user_account", account), ("actor_user_email", "alice@contoso.com")];
        batch("authentication", &[(s, &proof)])
    };
    correlator.observe(&prove(0, "CONTOSO\\alice"));
    correlator.observe(&prove(40, "CONTOSO\\al"));
    correlator.observe(&prove(50, "CONTOSO\\admin"));
    correlator.push([
        alert("a1", "Odd logon", 30, &["session:s1", "user:contoso\\alice"]),
        alert("a2", "Odd process", 60, &["session:s1", "user:contoso\\alice"]),
    ]);
    correlator.flush();
    let incident = &correlator.incidents(&tenant())[0];
    assert_eq!(incident.title, "Odd logon and 1 more alert by alice@contoso.com");
    assert_eq!((incident.assets.len(), &*incident.assets[0].name), (1, "alice@contoso.com"));
}

/// Nine alerts too slight to join anything stand nearer to the last one than the first does.
#[test]
fn a_pair_that_was_never_compared_is_said_to_be_so() {
    let host = "device:h1.contoso.com";
    let slight = |n: i64| {
        alert(&format!("b{n}"), &format!("Slight {n}"), 10 + n, &[host]).grave(Severity::Informational)
    };
    let mut correlator = correlator();
    correlator.push([alert("a", "First", 0, &[host]), alert("c", "Last", 30, &[host])]);
    correlator.push((0..9).map(slight));
    correlator.flush();
    insta::assert_snapshot!(correlator.explain(&id("a"), &id("c")).unwrap().text);
}

#[test]
fn a_repetition_that_was_not_compared_is_said_to_be_so() {
    let host = "device:h1.contoso.com";
    let noisy = |id: &str, s: i64| alert(id, "Noisy", s, &[host]).tactic(Tactic::Exfiltration);
    let mut correlator = correlator();
    correlator.push([
        noisy("a1", 0).grave(Severity::Informational),
        alert("b", "Other", 10, &[host]).tactic(Tactic::Execution),
        noisy("a2", 20),
    ]);
    correlator.flush();
    insta::assert_snapshot!(correlator.explain(&id("b"), &id("a2")).unwrap().text);
}

#[test]
fn the_smaller_side_of_a_join_falls_away() {
    let mut alerts: Vec<Alert> =
        (0..6).map(|n| step(&format!("a{n}"), &format!("Step {n}"), n, &[])).collect();
    alerts.push(alert("b", "Leaf", 1_200, &["user:alice@contoso.com"]));
    let mut correlator = correlator();
    correlator.push(alerts);
    correlator.flush();
    for (a, b) in [("a0", "b"), ("b", "a0")] {
        let explanation = correlator.explain(&id(a), &id(b)).unwrap();
        assert_eq!(explanation.without_weakest, [id("b")], "{}", explanation.text);
        assert!(
            explanation.text.ends_with("Without it 1 of 7 alerts falls away: \"Leaf\"."),
            "{}",
            explanation.text
        );
    }
}

#[test]
fn alerts_count_before_they_are_sealed() {
    let mut correlator = correlator();
    correlator.push(attack()[..2].to_vec());
    let deltas = correlator.advance(watermark(-100));
    assert_eq!(kinds(&deltas), ["created 2 open"]);
    correlator.push(attack()[2..3].to_vec());
    assert_eq!(kinds(&correlator.advance(watermark(-100))), ["updated 3 open"]);
    assert_eq!(kinds(&correlator.advance(watermark(300))), [""; 0], "the last alert is still open");
    assert_eq!(kinds(&correlator.advance(watermark(900))), ["sealed 3 sealed"]);
    assert_eq!(kinds(&correlator.advance(watermark(901))), [""; 0]);
}

fn kinds(deltas: &[IncidentDelta]) -> Vec<String> {
    let open = |sealed| if sealed { "sealed" } else { "open" };
    deltas
        .iter()
        .map(|d| format!("{} {} {}", d.kind(), d.incident().alerts.len(), open(d.incident().sealed)))
        .collect()
}

#[test]
fn a_late_alert_joins_both_sides_and_is_counted() {
    let mut correlator = correlator();
    correlator.push([
        alert("a", "r1", 0, &["session:s1", "user:u1@x.example"]),
        alert("c", "r3", 60, &["session:s2", "user:u2@x.example"]),
    ]);
    assert_eq!(correlator.advance(watermark(100)).len(), 2);
    correlator.push([alert("b", "r2", 30, &["session:s1", "session:s2"])]);
    let deltas = correlator.advance(watermark(100));
    assert_eq!(kinds(&deltas), ["updated 3 sealed", "merged 3 sealed"]);
    assert_eq!(correlator.stats().alerts_late_total, 1);
    let [(from, to)] = correlator.redirects(&tenant()).try_into().unwrap();
    assert_eq!(correlator.incident(&from).unwrap().id, to);
}

#[test]
fn aliases_join_and_lookalikes_do_not() {
    let one = || alert("a", "r1", 0, &["user:contoso\\alice", "device:ws-01"]);
    let other = || alert("b", "r2", 60, &["user:alice@contoso.com", "ip:203.0.113.5"]);
    assert_eq!(
        groups(&incidents_of(vec![one(), other()])).len(),
        2,
        "a name that looks alike proves nothing"
    );

    let proof = [("actor_user_account", "CONTOSO\\alice"), ("actor_user_email", "alice@contoso.com")];
    let joined = |proof_time: i64| {
        let mut correlator = correlator();
        correlator.observe(&batch("authentication", &[(proof_time, &proof)]));
        correlator.push([one(), other()]);
        correlator.flush();
        correlator.incidents(&tenant())
    };
    assert_eq!(groups(&joined(30)), [["a", "b"]]);
    assert_eq!(joined(30)[0].joins[0].reasons[0].kind, "alias");
    assert_eq!(groups(&joined(90)).len(), 2, "proved only after both");
}

#[test]
fn short_and_full_host_names_are_one_host_while_unique() {
    let alerts =
        || vec![alert("a", "r1", 0, &["device:ws-01.contoso.com"]), alert("b", "r2", 30, &["device:WS-01"])];
    assert_eq!(groups(&incidents_of(alerts())), [["a", "b"]]);
    let mut more = alerts();
    more.push(alert("c", "r3", -9_000, &["device:ws-01.other.example"]));
    assert_eq!(groups(&incidents_of(more)).len(), 3);
}

#[test]
fn a_mailbox_is_its_users() {
    let alerts = vec![
        alert("a", "r1", 0, &["mailbox:alice@contoso.com"]),
        alert("b", "r2", 600, &["user:alice@contoso.com", "device:ws-01"]),
    ];
    let incidents = incidents_of(alerts);
    assert_eq!(groups(&incidents), [["a", "b"]]);
    assert_eq!(incidents[0].joins[0].reasons[0].kind, "mailbox");
}

/// A late alert that is sealed at once takes provisional ones back. They are placed again as they were, and what is learnt
/// of the names that they asked for matters to them all the same.
#[test]
fn what_is_learnt_after_a_late_alert_still_matters() {
    let mut correlator = correlator();
    correlator.push([
        alert("first", "r0", 0, &["session:s0"]),
        alert("a", "r1", 200, &["user:contoso\\alice", "device:ws-01"]),
        alert("b", "r2", 260, &["user:alice@contoso.com", "ip:203.0.113.5"]),
    ]);
    correlator.advance(watermark(100));
    correlator.push([alert("late", "r3", 50, &["session:s1"])]);
    correlator.advance(watermark(100));
    let proof = [("actor_user_account", "CONTOSO\\alice"), ("actor_user_email", "alice@contoso.com")];
    correlator.observe(&batch("authentication", &[(150, &proof)]));
    correlator.flush();
    assert_eq!(groups(&correlator.incidents(&tenant()))[0], ["a", "b"]);
}

#[test]
fn tenants_never_meet() {
    let mut other = alert("b", "r2", 10, &["session:s1", "user:u@x.example"]);
    other.tenant = TenantId::new("other");
    let mut correlator = correlator();
    correlator.push([alert("a", "r1", 0, &["session:s1", "user:u@x.example"]), other]);
    correlator.flush();
    assert_eq!(correlator.incidents(&tenant()).len(), 1);
    assert_eq!(correlator.incidents(&TenantId::new("other")).len(), 1);
    assert!(correlator.explain(&id("a"), &id("b")).is_none());
}

/// An attack's process tree, and minutes later a diagnostics script of the same user on the same host.
#[test]
fn a_benign_burst_by_the_same_user_stays_apart() {
    let mut correlator = correlator();
    let start = |s: i64, child: &str, image: &str, parent: &str, parent_image: &str| {
        let columns = [
            ("device_hostname", "ws-01.contoso.com"),
            ("process_uid", child),
            ("process_file_path", image),
            ("process_parent_uid", parent),
            ("process_parent_path", parent_image),
        ];
        batch("process_activity", &[(s, &columns)])
    };
    correlator.observe(&start(
        0,
        "p-payload",
        "C:\\Temp\\update.exe",
        "p-explorer",
        "C:\\Windows\\explorer.exe",
    ));
    correlator.observe(&start(20, "p-shell", "C:\\Windows\\cmd.exe", "p-payload", "C:\\Temp\\update.exe"));
    correlator.observe(&start(
        300,
        "p-diag",
        "C:\\Windows\\cscript.exe",
        "p-explorer",
        "C:\\Windows\\explorer.exe",
    ));
    let on = |n: &str, rule: &str, s: i64, process: &str| {
        alert(
            n,
            rule,
            s,
            &["device:ws-01.contoso.com", "user:contoso\\pgustavo", &format!("process:{process}")],
        )
    };
    let mut alerts = vec![
        on("a1", "Payload from temp", 0, "p-payload"),
        on("a2", "Shell by payload", 20, "p-shell"),
        on("a3", "LSASS read", 200, "p-payload"),
    ];
    for n in 0..12 {
        let child = format!("p-child{n}");
        correlator.observe(&start(
            301 + n,
            &child,
            "C:\\Windows\\System32\\netsh.exe",
            "p-diag",
            "C:\\Windows\\cscript.exe",
        ));
        alerts.push(on(&format!("b{n:02}"), &format!("Recon tool {}", n % 4), 301 + n, &child));
    }
    correlator.push(alerts);
    correlator.flush();
    let groups = groups(&correlator.incidents(&tenant()));
    assert_eq!(groups.len(), 2, "{groups:?}");
    assert_eq!((groups[0].len(), &groups[1]), (12, &vec!["a1".to_owned(), "a2".to_owned(), "a3".to_owned()]));
}

#[test]
fn a_hub_joins_nothing_and_costs_little() {
    let mut correlator = correlator();
    correlator.push((0..2_000).map(|n| {
        let (host, user) = (format!("device:h{n}.x.example"), format!("user:u{n}@x.example"));
        alert(&format!("a{n:05}"), &format!("r{}", n % 50), n, &[&host, &user, "ip:203.0.113.1"])
    }));
    correlator.flush();
    let groups = groups(&correlator.incidents(&tenant()));
    // The first few cannot know yet that everybody comes from there.
    assert!(groups[0].len() <= 64, "{}", groups[0].len());
    assert!(groups.len() > 1_900, "{}", groups.len());
    let stats = correlator.stats();
    assert!(stats.pairs_scored_total < 2_000 * 12, "{stats:?}");
}

#[test]
fn a_storm_of_one_rule_is_one_work_item() {
    let mut correlator = correlator();
    correlator.push(
        (0..5_000)
            .map(|n| alert(&format!("a{n:05}"), "Port scan", n / 20, &["device:h1", "user:u1@x.example"])),
    );
    correlator.flush();
    assert_eq!(correlator.incidents(&tenant()).len(), 1);
    let stats = correlator.stats();
    assert_eq!(stats.alerts_folded_total, 4_999);
    assert!(stats.pairs_scored_total < 100, "{stats:?}");
}

/// Two pairs that one more alert would join.
fn two_incidents() -> (Correlator, IncidentId, IncidentId) {
    let mut correlator = correlator();
    correlator.push([
        alert("a1", "r1", 0, &["session:s1", "user:u1@x.example"]),
        alert("a2", "r2", 10, &["session:s1", "user:u1@x.example"]),
        alert("b1", "r3", 20, &["session:s2", "user:u2@x.example"]),
        alert("b2", "r4", 30, &["session:s2", "user:u2@x.example"]),
    ]);
    correlator.advance(watermark(40));
    let home = |alert: &str| correlator.incident_of(&id(alert)).unwrap();
    let (a, b) = (home("a1"), home("b1"));
    assert_ne!(a, b);
    (correlator, a, b)
}

fn bridge() -> Alert {
    alert("c1", "r5", 50, &["session:s1", "session:s2"])
}

fn say(correlator: &mut Correlator, said: Said) -> Vec<IncidentDelta> {
    correlator.apply(AnalystInput::new(tenant(), at(45), "dana", said)).unwrap().1
}

#[test]
fn a_closed_incident_takes_nothing_more() {
    let (mut correlator, a, _) = two_incidents();
    let deltas =
        say(&mut correlator, Said::SetStatus { incident: a.clone(), status: IncidentStatus::Closed });
    assert_eq!(deltas[0].incident().status, IncidentStatus::Closed);
    correlator.push([bridge()]);
    correlator.flush();
    assert_eq!(groups(&correlator.incidents(&tenant())), [vec!["b1", "b2", "c1"], vec!["a1", "a2"]]);
    assert_eq!(correlator.incident(&a).unwrap().alerts.len(), 2);
    let suggestions = correlator.suggestions(&tenant());
    assert_eq!(suggestions.len(), 1);
    assert_eq!(suggestions[0].because, "one of the incidents is closed");
    let text = correlator.explain(&id("a1"), &id("b1")).unwrap().text;
    assert!(text.contains("one of the incidents is closed"), "{text}");
}

#[test]
fn incidents_of_different_people_do_not_merge() {
    let (mut correlator, a, b) = two_incidents();
    say(&mut correlator, Said::Assign { incident: a, assignee: Some("dana".to_owned()) });
    say(&mut correlator, Said::Assign { incident: b.clone(), assignee: Some("erin".to_owned()) });
    correlator.push([bridge()]);
    correlator.flush();
    assert_eq!(correlator.incidents(&tenant()).len(), 2);
    say(&mut correlator, Said::Assign { incident: b, assignee: None });
    assert_eq!(groups(&correlator.incidents(&tenant())), [["a1", "a2", "b1", "b2", "c1"]]);
    assert_eq!(correlator.incidents(&tenant())[0].assignee.as_deref(), Some("dana"));
}

#[test]
fn incidents_of_different_classifications_do_not_merge() {
    let (mut correlator, a, b) = two_incidents();
    say(&mut correlator, Said::Classify { incident: a, classification: Some("true_positive".to_owned()) });
    say(&mut correlator, Said::Classify { incident: b, classification: Some("false_positive".to_owned()) });
    correlator.push([bridge()]);
    correlator.flush();
    assert_eq!(correlator.incidents(&tenant()).len(), 2);
}

#[test]
fn an_analyst_merges_and_splits() {
    let (mut correlator, a, b) = two_incidents();
    let deltas = say(&mut correlator, Said::Merge { into: a.clone(), from: b.clone() });
    assert_eq!(kinds(&deltas), ["updated 4 sealed", "merged 4 sealed"]);
    assert_eq!(correlator.incident(&b).unwrap().id, a, "the old id leads to the survivor");
    assert_eq!(correlator.incidents(&tenant())[0].joins.len(), 3);

    let leaving = vec![id("a2"), id("b2")];
    let deltas = say(&mut correlator, Said::Split { incident: a.clone(), leaving });
    assert_eq!(kinds(&deltas), ["updated 2 sealed", "split 2 sealed"]);
    assert_eq!(groups(&correlator.incidents(&tenant())), [["a1", "b1"], ["a2", "b2"]]);
    assert_eq!(correlator.incident(&a).unwrap().alerts[0], id("a1"), "the part of the root keeps the id");
}

#[test]
fn a_vetoed_join_does_not_come_back() {
    let (mut correlator, _, _) = two_incidents();
    say(&mut correlator, Said::Veto { a: id("a1"), b: id("a2") });
    correlator.push([alert("a3", "r6", 45, &["session:s1"])]);
    correlator.flush();
    let apart = correlator.incident_of(&id("a1")) != correlator.incident_of(&id("a2"));
    assert!(apart, "even over a third alert");
}

#[test]
fn recorded_inputs_replay_to_the_same_incidents() {
    let (mut live, a, b) = two_incidents();
    let mut recorded = Vec::new();
    let said = [
        Said::Assign { incident: a.clone(), assignee: Some("dana".to_owned()) },
        Said::Merge { into: a, from: b },
    ];
    for said in said {
        recorded.push(live.apply(AnalystInput::new(tenant(), at(45), "dana", said)).unwrap().0);
    }
    live.push([bridge()]);
    live.flush();
    let (mut replayed, _, _) = two_incidents();
    replayed.push([bridge()]);
    replayed.flush();
    for input in recorded {
        replayed.apply(input).unwrap();
    }
    assert_eq!(live.incidents(&tenant()), replayed.incidents(&tenant()));
    assert_eq!(live.incidents(&tenant())[0].assignee.as_deref(), Some("dana"));
}

#[test]
fn inputs_that_make_no_sense_are_refused() {
    let (mut correlator, a, _) = two_incidents();
    let mut refused = |said: Said| {
        correlator.apply(AnalystInput::new(tenant(), at(45), "dana", said)).unwrap_err().to_string()
    };
    let messages = [
        refused(Said::Assign { incident: IncidentId::new("i-none"), assignee: None }),
        refused(Said::SetStatus { incident: a.clone(), status: IncidentStatus::Redirected }),
        refused(Said::Split { incident: a.clone(), leaving: vec![id("a1"), id("b1")] }),
        refused(Said::Split { incident: a.clone(), leaving: vec![] }),
        refused(Said::Split { incident: a.clone(), leaving: vec![id("a1"), id("a2")] }),
        refused(Said::Merge { into: a.clone(), from: a.clone() }),
        refused(Said::Veto { a: id("a1"), b: id("none") }),
    ];
    insta::assert_snapshot!(messages.join("\n").replace(a.as_str(), "i-A"));
}

#[test]
fn a_snapshot_of_other_parameters_is_refused() {
    let (correlator, _, _) = two_incidents();
    let text = include_str!("../parameters.yml").replace("theta: 0.40", "theta: 0.45");
    let other = correlate::Parameters::parse(&text).unwrap();
    let error = Correlator::restore(other, &correlator.snapshot()).unwrap_err();
    assert!(error.to_string().contains("made with parameters"), "{error}");
    let whole: Vec<u8> = correlator.snapshot().iter().flatten().copied().collect();
    for bytes in [&b""[..], b"asterc03", b"asterc03\xff\xff\xff", &whole[..200]] {
        let bytes = &bytes.to_vec().into();
        let error = Correlator::restore(correlate::Parameters::builtin().unwrap(), bytes).unwrap_err();
        assert!(matches!(error, correlate::CorrelateError::Snapshot(_)), "{error}");
    }
}

#[test]
fn what_is_beyond_the_horizon_leaves_memory() {
    let mut correlator = correlator();
    let day = 86_400;
    for n in 0..40 {
        correlator.push([alert(&format!("a{n}"), "r", n * day, &["device:h1", "user:u1@x.example"])]);
        correlator.advance(watermark(n * day));
    }
    let stats = correlator.stats();
    assert!(stats.alerts <= 9 && stats.incidents <= 9, "{stats:?}");
    // Its host, its user, its rule and that rule's title, and the record of each alert.
    assert!(stats.entities <= 4 + stats.alerts + 1, "{stats:?}");
    assert_eq!(stats.alerts_total, 40);
}
