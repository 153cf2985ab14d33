//! Guarantees: an alert on one event and an alert on another meet over the joins of plain events, whichever came first;
//! what is outside the window, on another device, of another user or shared by many does not join.

#![allow(clippy::unwrap_used)] // A panic is how a test's helper fails.

mod support;

use std::sync::Mutex;

use correlate::{Correlator, EventJoins, Parameters};
use event::{Alert, AlertId, EventBatch, Incident, Shelf, TenantId};
use support::{With, alert, correlator, event, groups, rows, watermark};

/// One event of a join.
#[derive(Debug, Clone)]
struct Event {
    class: &'static str,
    s: i64,
    columns: Vec<(&'static str, &'static str)>,
}

impl Event {
    fn new(class: &'static str, s: i64, columns: &[(&'static str, &'static str)]) -> Self {
        Self { class, s, columns: columns.to_vec() }
    }

    /// The same with another value of a column.
    fn but(&self, column: &'static str, value: &'static str) -> Self {
        let mut other = self.clone();
        let known = other.columns.iter_mut().find(|(name, _)| *name == column);
        known.unwrap_or_else(|| panic!("{column} is not set")).1 = value;
        other
    }

    fn at(&self, s: i64) -> Self {
        Self { s, ..self.clone() }
    }

    fn batch(&self, offset: i64) -> EventBatch {
        event(self.class, offset, self.s, &self.columns)
    }
}

/// A join by example.
struct Example {
    name: &'static str,
    first: Event,
    second: Event,
    /// Columns of the second event with values that must not join.
    others: &'static [(&'static str, &'static str)],
    /// Seconds by which the second may come after the first, and before it.
    window: (i64, i64),
    told: &'static str,
}

fn examples() -> Vec<Example> {
    vec![
        Example {
            name: "click_to_browser",
            first: Event::new(
                "email_url_activity",
                0,
                &[
                    ("actor_user_email", "alice@contoso.com"),
                    ("url_url_string", "https://pay.evil.example/a?b=c"),
                    ("url_domain", "pay.evil.example"),
                    ("message_uid", "m-1"),
                ],
            ),
            second: Event::new(
                "network_activity",
                40,
                &[
                    ("actor_user_email", "alice@contoso.com"),
                    ("actor_process_name", "msedge.exe"),
                    ("actor_process_uid", "ws-7/edge"),
                    ("device_hostname", "ws-7.contoso.com"),
                    ("dst_endpoint_hostname", "PAY.evil.example"),
                ],
            ),
            others: &[
                ("actor_user_email", "bob@contoso.com"),
                ("actor_user_email", "alice@fabrikam.com"),
                ("actor_process_name", "updater.exe"),
                ("dst_endpoint_hostname", "evil.example"),
            ],
            window: (600, 10),
            told: "alice@contoso.com clicked https://pay.evil.example/a?b=c at 2026-03-02 08:00:00 UTC; msedge.exe on \
                   ws-7.contoso.com connected to PAY.evil.example 40 s later",
        },
        Example {
            name: "download_to_execution",
            first: Event::new(
                "file_activity",
                0,
                &[
                    ("device_hostname", "ws-7.contoso.com"),
                    ("actor_process_name", "chrome.exe"),
                    ("file_path", "C:\\Users\\alice\\Downloads\\Invoice.exe"),
                ],
            ),
            second: Event::new(
                "process_activity",
                3_600,
                &[
                    ("device_hostname", "ws-7.contoso.com"),
                    ("process_uid", "ws-7/invoice"),
                    ("process_file_path", "c:\\users\\ALICE\\downloads\\invoice.exe"),
                ],
            ),
            others: &[
                ("device_hostname", "ws-8.contoso.com"),
                ("device_hostname", "ws-7.fabrikam.com"),
                ("process_file_path", "c:\\users\\alice\\downloads\\other.exe"),
            ],
            window: (86_400, 10),
            told: "chrome.exe on ws-7.contoso.com saved C:\\Users\\alice\\Downloads\\Invoice.exe at 2026-03-02 08:00:00 UTC; \
                   c:\\users\\ALICE\\downloads\\invoice.exe ran on ws-7.contoso.com 60 min later",
        },
        Example {
            name: "attachment_to_file",
            first: Event::new(
                "email_file_activity",
                0,
                &[
                    ("email_delivered_to", "alice@contoso.com"),
                    ("email_from", "billing@evil.example"),
                    ("file_name", "Invoice.docm"),
                    ("file_hash_sha256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
                ],
            ),
            second: Event::new(
                "file_activity",
                7_200,
                &[
                    ("device_hostname", "ws-7.contoso.com"),
                    ("actor_user_email", "Alice@Contoso.com"),
                    ("actor_process_name", "outlook.exe"),
                    ("file_path", "C:\\Users\\alice\\Invoice.docm"),
                    ("file_hash_sha256", "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"),
                ],
            ),
            others: &[
                ("actor_user_email", "bob@contoso.com"),
                ("file_hash_sha256", "0000000000000000000000000000000000000000000000000000000000000001"),
            ],
            window: (7 * 86_400, 10),
            told: "billing@evil.example sent alice@contoso.com the attachment Invoice.docm at 2026-03-02 08:00:00 UTC; \
                   outlook.exe on ws-7.contoso.com saved it as C:\\Users\\alice\\Invoice.docm 2 h later",
        },
        Example {
            name: "signin_to_connection",
            first: Event::new(
                "authentication",
                0,
                &[
                    ("user_email", "alice@contoso.com"),
                    ("src_endpoint_ip", "203.0.113.77"),
                    ("risk_level", "high"),
                ],
            ),
            second: Event::new(
                "network_activity",
                -600,
                &[
                    ("device_hostname", "ws-7.contoso.com"),
                    ("actor_process_name", "rundll32.exe"),
                    ("src_endpoint_ip", "10.0.0.7"),
                    ("dst_endpoint_ip", "203.0.113.77"),
                ],
            ),
            others: &[("dst_endpoint_ip", "203.0.113.78"), ("dst_endpoint_ip", "10.0.0.7")],
            window: (1_800, 1_800),
            told: "rundll32.exe on ws-7.contoso.com had a connection between 10.0.0.7 and 203.0.113.77 at 2026-03-02 07:50:00 \
                   UTC; a risky sign-in of alice@contoso.com came from 203.0.113.77 10 min later",
        },
        Example {
            name: "session_to_new_address",
            first: Event::new(
                "authentication",
                0,
                &[
                    ("user_email", "alice@contoso.com"),
                    ("src_endpoint_ip", "198.51.100.4"),
                    ("session_uid", "0b1c8a4e-session"),
                ],
            ),
            second: Event::new(
                "api_activity",
                5_000,
                &[
                    ("src_endpoint_ip", "203.0.113.77"),
                    ("session_uid", "0b1c8a4e-session"),
                    ("api_operation", "MailItemsAccessed"),
                ],
            ),
            others: &[("src_endpoint_ip", "198.51.100.4"), ("session_uid", "ffffffff-session")],
            window: (86_400, 10),
            told: "alice@contoso.com signed in from 198.51.100.4 at 2026-03-02 08:00:00 UTC; the session was used from \
                   203.0.113.77 for MailItemsAccessed 83 min later",
        },
        Example {
            name: "consent_to_mail_read",
            first: Event::new(
                "user_access_management",
                0,
                &[
                    ("event_code", "Consent to application"),
                    ("actor_user_email", "alice@contoso.com"),
                    ("resource_name", "Mail Archive Pro"),
                    ("resource_uid", "7d3c1f00-app"),
                ],
            ),
            second: Event::new(
                "api_activity",
                3 * 3_600,
                &[
                    ("api_operation", "MailItemsAccessed"),
                    ("app_uid", "7d3c1f00-app"),
                    ("mailbox", "alice@contoso.com"),
                ],
            ),
            others: &[
                ("app_uid", "7d3c1f01-app"),
                ("mailbox", "bob@contoso.com"),
                ("api_operation", "Set-Mailbox"),
            ],
            window: (7 * 86_400, 10),
            told: "alice@contoso.com gave Mail Archive Pro rights at 2026-03-02 08:00:00 UTC; the application used \
                   MailItemsAccessed on the mailbox alice@contoso.com 3 h later",
        },
        Example {
            name: "logon_to_execution",
            first: Event::new(
                "authentication",
                0,
                &[
                    ("device_hostname", "srv-1.contoso.com"),
                    ("user_account", "CONTOSO\\admin1"),
                    ("src_endpoint_ip", "10.0.0.7"),
                    ("logon_id", "0x5f3a1"),
                    ("logon_type_id", "3"),
                    ("status_id", "1"),
                ],
            ),
            second: Event::new(
                "process_activity",
                90,
                &[
                    ("device_hostname", "srv-1.contoso.com"),
                    ("process_uid", "srv-1/cmd"),
                    ("process_name", "cmd.exe"),
                    ("process_session_uid", "390049"),
                ],
            ),
            others: &[
                ("device_hostname", "srv-2.contoso.com"),
                ("process_session_uid", "390050"),
                ("process_session_uid", "0x3e7"),
            ],
            window: (7_200, 10),
            told: "CONTOSO\\admin1 logged on to srv-1.contoso.com from 10.0.0.7 at 2026-03-02 08:00:00 UTC; cmd.exe ran in \
                   that session 90 s later",
        },
        Example {
            name: "rule_to_forwarding",
            first: Event::new(
                "api_activity",
                0,
                &[
                    ("api_operation", "New-InboxRule"),
                    ("actor_user_email", "alice@contoso.com"),
                    ("mailbox", "alice@contoso.com"),
                    ("target_recipient", "smtp:archive@evil.example"),
                ],
            ),
            second: Event::new(
                "email_activity",
                86_400,
                &[
                    ("email_from", "alice@contoso.com"),
                    ("email_delivered_to", "archive@evil.example"),
                    ("email_subject", "FW: Invoice"),
                ],
            ),
            others: &[("email_from", "bob@contoso.com"), ("email_delivered_to", "friend@evil.example")],
            window: (7 * 86_400, 10),
            told: "alice@contoso.com made a rule that sends mail of alice@contoso.com to smtp:archive@evil.example at \
                   2026-03-02 08:00:00 UTC; alice@contoso.com sent \"FW: Invoice\" to archive@evil.example 24 h later",
        },
    ]
}

/// Alerts on the two events that name nothing in common, and all that is said of them.
fn incidents_of(events: &[&Event], alerts: &[(i64, i64)]) -> Vec<Incident> {
    let mut correlator = correlator();
    for (offset, event) in (1..).zip(events) {
        correlator.observe(&event.batch(offset));
    }
    correlator.push(alerts.iter().map(|(offset, s)| on(*offset, *s)));
    correlator.flush();
    correlator.incidents(&TenantId::default())
}

/// An alert on a record that shares nothing with any other.
fn on(offset: i64, s: i64) -> Alert {
    alert(&format!("a{offset}"), &format!("rule {offset}"), s, &[&format!("app:app-{offset}")]).on(offset)
}

#[test]
fn each_join_brings_two_alerts_together() {
    for Example { name, first, second, told, .. } in examples() {
        for events in [[&first, &second], [&second, &first]] {
            let (one, other) = if events[0].class == first.class && events[0].s == first.s {
                ((1, first.s), (2, second.s))
            } else {
                ((2, first.s), (1, second.s))
            };
            let incidents = incidents_of(&events, &[one, other]);
            assert_eq!(incidents.len(), 1, "{name}");
            let reason = &incidents[0].joins[0].reasons[0];
            assert_eq!((reason.kind.as_str(), &*reason.value), ("event_join", told), "{name}");
        }
    }
}

#[test]
fn without_the_plain_event_they_stay_apart() {
    for Example { name, first, second, .. } in examples() {
        for events in [[&first], [&second]] {
            let incidents = incidents_of(&events, &[(1, first.s), (2, second.s)]);
            assert_eq!(incidents.len(), 2, "{name}");
        }
    }
}

#[test]
fn near_misses_do_not_join() {
    for Example { name, first, second, others, window, .. } in examples() {
        let apart = |second: &Event, why: &str| {
            let mut joins = EventJoins::new(Parameters::builtin().unwrap());
            let mut pairs = joins.observe(&first.batch(1));
            pairs.extend(joins.observe(&second.batch(2)));
            let is_proved = incidents_of(&[&first, second], &[(1, first.s), (2, first.s)]).len() == 1;
            assert!(pairs.is_empty() || !is_proved, "{name}: {why}");
        };
        for (column, value) in others {
            apart(&second.but(column, value), &format!("{column} = {value}"));
        }
        apart(&second.at(window.0 + 1), "after the window");
        apart(&second.at(-window.1 - 1), "before the window");
        for s in [window.0, -window.1] {
            let mut joins = EventJoins::new(Parameters::builtin().unwrap());
            assert!(joins.observe(&first.batch(1)).is_empty());
            let pairs = joins.observe(&second.at(s).batch(2));
            assert_eq!(pairs.len(), 1, "{name} at {s}");
            assert_eq!((&*pairs[0].join, pairs[0].first.offset, pairs[0].second.offset), (name, 1, 2));
        }
    }
}

fn example(name: &str) -> Example {
    examples().into_iter().find(|example| example.name == name).unwrap()
}

#[test]
fn an_address_that_many_share_joins_nothing() {
    let Example { first, second, .. } = example("signin_to_connection");
    let run = |devices: i64| {
        let mut correlator = correlator();
        // What everybody has from everywhere, an hour before.
        for n in 0..devices {
            let host = format!("h{n}.contoso.com");
            let columns = [("device_hostname", &*host), ("dst_endpoint_ip", "203.0.113.77")];
            correlator.observe(&event("network_activity", 100 + n, -5_400, &columns));
        }
        correlator.observe(&first.batch(1));
        correlator.observe(&second.batch(2));
        correlator.push([on(1, first.s), on(2, second.s)]);
        correlator.flush();
        correlator.incidents(&TenantId::default()).len()
    };
    assert_eq!((run(1), run(60)), (1, 2));
}

#[test]
fn an_event_with_a_crowd_on_the_other_side_is_a_hub() {
    let Example { first, second, .. } = example("logon_to_execution");
    let run = |programs: i64| {
        let mut correlator = correlator();
        correlator.observe(&first.batch(1));
        for n in 0..programs {
            let uid: &'static str = format!("srv-1/p{n}").leak();
            correlator.observe(&second.but("process_uid", uid).at(30).batch(100 + n));
        }
        correlator.observe(&second.batch(2));
        correlator.push([on(1, first.s), on(2, second.s)]);
        correlator.flush();
        correlator.incidents(&TenantId::default()).len()
    };
    assert_eq!((run(4), run(80)), (1, 2));
}

#[test]
fn names_that_look_alike_must_be_proved() {
    let Example { first, second, .. } = example("click_to_browser");
    let mut sysmon = second.but("actor_user_email", "");
    sysmon.columns.retain(|(column, _)| *column != "actor_user_email");
    sysmon.columns.push(("actor_user_account", "CONTOSO\\alice"));
    assert_eq!(
        incidents_of(&[&first, &sysmon], &[(1, 0), (2, 40)]).len(),
        2,
        "nobody said that they are one"
    );
    let proof = Event::new(
        "authentication",
        -60,
        &[("actor_user_account", "CONTOSO\\alice"), ("actor_user_email", "alice@contoso.com")],
    );
    assert_eq!(incidents_of(&[&first, &sysmon, &proof], &[(1, 0), (2, 40)]).len(), 1);
}

/// A mail, a click, a browser, what it saved, what ran: alerts on the mail and on what the program started.
fn phish() -> (Vec<EventBatch>, Vec<Alert>) {
    let Example { first: click, second: visit, .. } = example("click_to_browser");
    let Example { first: saved, second: run, .. } = example("download_to_execution");
    let mut saved = saved.but("actor_process_name", "msedge.exe").at(45);
    saved.columns.push(("actor_process_uid", "ws-7/edge"));
    let child = Event::new(
        "process_activity",
        200,
        &[
            ("device_hostname", "ws-7.contoso.com"),
            ("process_uid", "ws-7/whoami"),
            ("process_file_path", "C:\\Windows\\System32\\whoami.exe"),
            ("process_parent_uid", "ws-7/invoice"),
            ("process_parent_path", "C:\\Users\\alice\\Downloads\\Invoice.exe"),
        ],
    );
    let events = [click, visit, saved, run.at(120), child];
    let batches = (1..).zip(&events).map(|(offset, event)| event.batch(offset)).collect();
    let alerts = vec![
        alert("mail", "Mail with a bad link", -300, &["message:m-1", "mailbox:alice@contoso.com"]),
        alert("recon", "Recon", 200, &["process:ws-7/whoami", "device:ws-7.contoso.com"]),
    ];
    (batches, alerts)
}

fn phished() -> Correlator {
    let (batches, alerts) = phish();
    let mut correlator = correlator();
    batches.iter().for_each(|batch| correlator.observe(batch));
    correlator.push(alerts);
    correlator.flush();
    correlator
}

#[test]
fn pairs_lead_on_from_one_to_the_next() {
    let correlator = phished();
    assert_eq!(groups(&correlator.incidents(&TenantId::default())), [["mail", "recon"]]);
    let explanation = correlator.explain(&AlertId::new("mail"), &AlertId::new("recon")).unwrap();
    insta::assert_snapshot!(explanation.text);
    // Each of the plain events is needed.
    let (batches, alerts) = phish();
    for left_out in 0..4 {
        let mut correlator = support::correlator();
        let others = batches.iter().enumerate().filter(|(i, _)| *i != left_out);
        others.for_each(|(_, batch)| correlator.observe(batch));
        correlator.push(alerts.clone());
        correlator.flush();
        assert_eq!(correlator.incidents(&TenantId::default()).len(), 2, "without event {left_out}");
    }
}

#[test]
fn the_graph_shows_the_plain_events() {
    let correlator = phished();
    let incident = correlator.incident_of(&AlertId::new("mail")).unwrap();
    let graph = correlator.graph(&incident, None).unwrap();
    let edges: Vec<String> =
        graph.edges.iter().map(|e| format!("{} -{}-> {}", e.from, e.relation, e.to)).collect();
    let events: Vec<String> = graph
        .nodes
        .iter()
        .filter(|node| node.kind == "event")
        .map(|node| format!("{}: {}", node.id, node.label))
        .collect();
    insta::assert_snapshot!([events, edges].concat().join("\n"));
}

#[test]
fn what_nobody_asked_for_in_a_long_time_joins_as_before() {
    let nothing = rows("process_activity", 17_000);
    for Example { name, first, second, .. } in examples() {
        // What is of the latest time is about to be asked for.
        let later = 40 * 3_600;
        let run = |between: usize, shelf: Shelf| {
            let mut joins = EventJoins::new(Parameters::builtin().unwrap()).on(shelf.clone());
            let mut pairs = joins.observe(&first.batch(1));
            pairs.extend(joins.observe(&first.at(first.s + later).batch(4)));
            (0..between).for_each(|_| pairs.extend(joins.observe(&nothing)));
            let shelved = shelf.used();
            pairs.extend(joins.observe(&second.batch(2)));
            pairs.extend(joins.observe(&second.at(second.s + 1).batch(3)));
            (pairs, shelved)
        };
        let (pairs, _) = run(0, Shelf::in_memory());
        assert!(!pairs.is_empty(), "{name}");
        assert_eq!(run(3, Shelf::in_memory()), (pairs.clone(), 0), "{name}");
        let (same, shelved) = run(3, Shelf::on(Mutex::new(Vec::new())));
        assert!(same == pairs && shelved > 0, "{name}: {shelved} bytes on the shelf");
    }
}

#[test]
fn tenants_share_no_event() {
    for Example { name, first, second, .. } in examples() {
        let mut joins = EventJoins::new(Parameters::builtin().unwrap());
        let mut other = second.batch(2);
        std::sync::Arc::make_mut(&mut other.meta).tenant = TenantId::new("other");
        assert!(joins.observe(&first.batch(1)).is_empty());
        assert!(joins.observe(&other).is_empty(), "{name}");
        assert_eq!(joins.observe(&second.batch(3)).len(), 1, "{name}");
    }
}

#[test]
fn events_wait_no_longer_than_their_window_and_lateness() {
    let Example { first, second, .. } = example("download_to_execution");
    let mut joins = EventJoins::new(Parameters::builtin().unwrap());
    joins.observe(&first.batch(1));
    joins.observe(&second.batch(2));
    assert_eq!(joins.rows(), 2);
    // The start waits for downloads that come up to ten seconds after it, the download for a day; both by the slice.
    joins.advance(&watermark(second.s + 1_300).into());
    assert_eq!(joins.rows(), 1);
    assert_eq!(joins.observe(&second.at(5_000).batch(3)).len(), 1);
    joins.advance(&watermark(first.s + 28 * 3_600).into());
    assert_eq!(joins.rows(), 0);
}

#[test]
fn a_full_table_forgets_the_oldest_and_counts() {
    let text = include_str!("../parameters.yml").replace("join_rows: 1000000", "join_rows: 10");
    let text = text.replace("join_links: 500000", "join_links: 20");
    let mut correlator = Correlator::new(Parameters::parse(&text).unwrap());
    let Example { first, second, .. } = example("click_to_browser");
    for n in 0..40 {
        correlator.observe(&first.at(n * 100).batch(2 * n));
        correlator.observe(&second.at(n * 100 + 40).batch(2 * n + 1));
    }
    let stats = correlator.stats();
    assert!(stats.join_rows <= 10 && stats.join_rows_evicted_total >= 70, "{stats:?}");
    assert_eq!(stats.join_rows_total, 80);
    assert!(stats.join_links <= 20, "{stats:?}");
    assert!(stats.join_pairs_total >= 40, "{stats:?}");
    correlator.advance(watermark(4_000));
    correlator.observe(&first.at(3_000).batch(200));
    assert_eq!(correlator.stats().join_rows_late_total, 1);
}

#[test]
fn a_storm_of_repetitions_stays_cheap() {
    let mut correlator = correlator();
    let one = |n: i64| {
        alert(&format!("a{n:05}"), "Port scan", n / 20, &["device:h1", "user:u1@x.example"]).on(10_000 + n)
    };
    correlator.push((0..5_000).map(one));
    correlator.flush();
    let stats = correlator.stats();
    assert_eq!((stats.incidents, stats.alerts_folded_total), (1, 4_999));
    assert!(stats.pairs_scored_total < 100, "{stats:?}");
}
