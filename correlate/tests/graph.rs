//! The graph of an incident: relations, paths, what holds it together, bounds, and the formats it leaves in.

#![allow(clippy::unwrap_used)] // A panic is how a test's helper fails.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use correlate::{Correlator, graphml, stix};
use event::{
    Alert, AlertId, AttackTag, Class, Domain, IncidentGraph, IncidentId, Severity, Tactic, TenantId,
};
use serde_json::Value;
use support::{With, alert, batch, correlator, groups};

fn class(name: &str) -> Class {
    Class::from_name(name).unwrap()
}

fn of_class(mut alert: Alert, name: &str) -> Alert {
    alert.class = class(name);
    alert
}

fn technique(mut alert: Alert, id: &str) -> Alert {
    alert.attack.push(AttackTag::Technique(id.into()));
    alert
}

/// A mail, a click, a script and its child, a connection, a sign-in, a consent.
fn attack() -> Vec<Alert> {
    let mail = alert(
        "a1",
        "Phishing mail delivered",
        0,
        &[
            "mailbox/sender:eve@bad.example",
            "mailbox/recipient:alice@contoso.com",
            "message:m-1",
            "url:https://bad.example/x",
            "url:https://bad.example/a file",
        ],
    );
    let click = alert(
        "a2",
        "Link in mail clicked",
        60,
        &["user:alice@contoso.com", "message:m-1", "url:https://bad.example/x"],
    );
    let script = alert(
        "a3",
        "Script from browser",
        240,
        &[
            "device:ws-01.contoso.com",
            "user:alice@contoso.com",
            "process:p-shell",
            "process/parent:p-browser",
        ],
    );
    let child = alert(
        "a4",
        "Beacon",
        300,
        &["device:ws-01.contoso.com", "process/actor:p-child", "ip/destination:203.0.113.9"],
    );
    let sign_in = alert(
        "a5",
        "Sign-in from a new country",
        2_700,
        &["user/target:alice@contoso.com", "ip:203.0.113.9", "app/target:portal"],
    );
    let consent = alert(
        "a6",
        "Consent to an app",
        2_760,
        &["user:alice@contoso.com", "ip:203.0.113.9", "app/target:5f2b1a60-8f5e-4a57-9f0c-3d1e1a2b3c4d"],
    );
    let mut consent =
        of_class(consent, "user_access_management").domain(Domain::App).tactic(Tactic::Persistence);
    consent.evidence = vec![("app_name".into(), "Mail Sync <Pro>".into())];
    vec![
        of_class(mail, "email_activity").domain(Domain::Email).tactic(Tactic::InitialAccess),
        of_class(click, "email_url_activity").domain(Domain::Email).tactic(Tactic::Execution),
        technique(script.tactic(Tactic::Execution).grave(Severity::High), "T1059.001"),
        of_class(child, "network_activity").domain(Domain::Network).tactic(Tactic::CommandAndControl),
        of_class(sign_in, "authentication").domain(Domain::Identity).tactic(Tactic::InitialAccess),
        technique(consent, "T1528"),
    ]
}

fn attacked() -> (Correlator, IncidentId) {
    let mut correlator = correlator();
    let start = |s: i64, child: &str, image: &str, parent: &str| {
        let columns = [
            ("device_hostname", "ws-01.contoso.com"),
            ("process_uid", child),
            ("process_file_path", image),
            ("process_parent_uid", parent),
        ];
        batch("process_activity", &[(s, &columns)])
    };
    correlator.observe(&start(0, "p-shell", "C:\\Windows\\PowerShell.exe", "p-browser"));
    correlator.observe(&start(10, "p-child", "C:\\Temp\\up.exe", "p-shell"));
    correlator.push(attack());
    correlator.flush();
    assert_eq!(groups(&correlator.incidents(&TenantId::default())).len(), 1);
    let incident = correlator.incident_of(&AlertId::new("a1")).unwrap();
    (correlator, incident)
}

fn graph() -> IncidentGraph {
    let (correlator, incident) = attacked();
    correlator.graph(&incident, None).unwrap()
}

#[test]
fn the_graph_shows_who_did_what_to_whom() {
    let graph = graph();
    let labels: BTreeMap<&str, &str> = graph.nodes.iter().map(|n| (&*n.id, &*n.label)).collect();
    let between: Vec<String> = graph
        .edges
        .iter()
        .filter(|edge| !edge.from.starts_with("alert:") || edge.relation == "joined")
        .map(|edge| format!("{} | {} | {}", labels[&*edge.from], edge.relation, labels[&*edge.to]))
        .collect();
    insta::assert_snapshot!(between.join("\n"));
    let nodes: Vec<String> = graph
        .nodes
        .iter()
        .map(|n| format!("{} at {}/{} reaches {:?}", n.label, n.lane, n.column, n.reaches))
        .collect();
    insta::assert_snapshot!(nodes.join("\n"));
}

#[test]
fn paths_are_told_in_words() {
    let (correlator, incident) = attacked();
    let text = |a: &str, b: &str| {
        let graph = correlator.graph(&incident, Some((a, b))).unwrap();
        let path = graph.path.unwrap();
        assert_eq!(path.nodes.len(), path.edges.len() + 1);
        let known: BTreeSet<String> = graph.nodes.iter().map(|n| n.id.clone()).collect();
        assert!(path.nodes.iter().all(|node| known.contains(node)), "{path:?}");
        path.text
    };
    insta::assert_snapshot!(
        [
            text("eve@bad.example", "203.0.113.9"),
            text("up.exe", "Mail Sync <Pro>"),
            text("a1", "a6"),
            text("device:ws-01.contoso.com", "device:ws-01.contoso.com"),
        ]
        .join("\n")
    );
    let refused = |a: &str| correlator.graph(&incident, Some((a, "a1"))).unwrap_err().to_string();
    assert_eq!(refused("mallory"), "no alert or entity \"mallory\" in this incident");
    let both = refused("alice@contoso.com");
    assert_eq!(
        both,
        "\"alice@contoso.com\" names several: mailbox:alice@contoso.com, user:alice@contoso.com"
    );
    assert!(correlator.graph(&IncidentId::new("i-none"), None).is_err());
}

#[test]
fn a_cut_says_what_would_fall_apart() {
    let mut correlator = correlator();
    let on = |id: &str, rule: &str, s: i64, session: &str| alert(id, rule, s, &[session]);
    correlator.push([
        on("a1", "r1", 0, "session:s1"),
        on("a2", "r2", 10, "session:s1"),
        alert("b", "r3", 20, &["session:s1", "session:s2"]),
        on("c1", "r4", 30, "session:s2"),
        on("c2", "r5", 40, "session:s2"),
    ]);
    correlator.flush();
    let incident = correlator.incident_of(&AlertId::new("b")).unwrap();
    let graph = correlator.graph(&incident, None).unwrap();
    assert_eq!((&*graph.cuts[0].node, graph.cuts[0].parts.as_slice()), ("alert:b", &[2, 2][..]));
    assert!(graph.cuts.len() == 1, "the sessions are doubled by joins: {:?}", graph.cuts);
}

#[test]
fn the_graph_is_bounded_and_says_what_is_left_out() {
    let mut correlator = correlator();
    let file = |n: i64| format!("file:{:064x}", n + 1);
    correlator.push(
        (0..700).map(|n| alert(&format!("a{n}"), "r", n, &["device:h1", "user:u1@x.example", &file(n)])),
    );
    correlator.flush();
    let incident = correlator.incident_of(&AlertId::new("a0")).unwrap();
    let graph = correlator.graph(&incident, Some(("a699", &file(698)))).unwrap();
    assert_eq!((graph.nodes.len(), graph.nodes_omitted), (500, 700 + 702 - 500));
    assert_eq!(graph.omitted.iter().map(|o| o.nodes as usize).sum::<usize>(), graph.nodes_omitted);
    let told: Vec<String> = graph.omitted.iter().map(|o| format!("{} {}", o.label, o.kind)).collect();
    assert_eq!(told, ["entities: file file", "r alert"]);
    let known: BTreeSet<&str> = graph.nodes.iter().map(|n| n.id.as_str()).collect();
    assert!(graph.edges.iter().all(|e| known.contains(e.from.as_str()) && known.contains(e.to.as_str())));
    let path = graph.path.unwrap();
    assert!(path.nodes.iter().all(|node| known.contains(node.as_str())), "the path stays whole: {path:?}");
    let mut places = BTreeSet::new();
    assert!(graph.nodes.iter().all(|n| places.insert((n.lane, n.column))), "no two nodes in one place");
}

#[test]
fn graphml_holds_every_node_and_edge() {
    let graph = graph();
    let xml = graphml(&graph);
    assert_eq!(xml.matches("<node ").count(), graph.nodes.len());
    assert_eq!(xml.matches("<edge ").count(), graph.edges.len());
    assert!(xml.contains("Mail Sync &lt;Pro&gt;"), "{xml}");
    let (correlator, incident) = attacked();
    assert_eq!(xml, graphml(&correlator.graph(&incident, None).unwrap()));
    insta::assert_snapshot!(xml.lines().take(26).collect::<Vec<_>>().join("\n"));
}

/// What STIX 2.1 asks of every object that we write, by type.
fn required(kind: &str) -> &'static [&'static str] {
    match kind {
        "identity" | "infrastructure" | "attack-pattern" | "incident" => &["name", "created", "modified"],
        "grouping" => &["context", "object_refs", "created", "modified"],
        "observed-data" => {
            &["first_observed", "last_observed", "number_observed", "object_refs", "created", "modified"]
        }
        "relationship" => &["relationship_type", "source_ref", "target_ref", "created", "modified"],
        "sighting" => &["sighting_of_ref", "created", "modified"],
        "ipv4-addr" | "ipv6-addr" | "domain-name" | "url" | "email-addr" => &["value"],
        "user-account" | "file" | "process" => &[],
        "software" => &["name"],
        "email-message" => &["is_multipart"],
        other => panic!("{other} is not expected"),
    }
}

fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        match member {
            Value::String(id) if name.ends_with("_ref") => into.push(id),
            Value::Array(ids) if name.ends_with("_refs") => into.extend(ids.iter().filter_map(Value::as_str)),
            _ => {}
        }
    }
}

#[test]
fn the_stix_bundle_is_sound_and_the_same_every_time() {
    let (correlator, incident) = attacked();
    let bundle = || {
        let incident = correlator.incident(&incident).unwrap();
        stix(&incident, &attack(), &correlator.graph(&incident.id, None).unwrap())
    };
    let one = bundle();
    assert_eq!(one, bundle());
    assert!(one["type"] == "bundle" && one["id"].as_str().unwrap().starts_with("bundle--"));
    let objects = one["objects"].as_array().unwrap();
    let ids: BTreeSet<&str> = objects.iter().map(|o| o["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), objects.len(), "every id once");
    for object in objects {
        let kind = object["type"].as_str().unwrap();
        assert_eq!(object["spec_version"], "2.1", "{object}");
        let (of, uuid) = object["id"].as_str().unwrap().split_once("--").unwrap();
        assert!(of == kind && uuid.len() == 36, "{object}");
        required(kind).iter().for_each(|name| assert!(object.get(name).is_some(), "{name}: {object}"));
        let mut all = Vec::new();
        references(object, &mut all);
        assert!(all.iter().all(|id| ids.contains(id)), "{object}");
        let (created, modified) = (object["created"].as_str(), object["modified"].as_str());
        assert!(created.is_some() == modified.is_some() && created <= modified, "{object}");
    }
    // The ids that the standard's own derivation gives (uuid5 of {"value":"203.0.113.9"}, {"value":"https://bad.example/x"}).
    let urls: Vec<&str> =
        objects.iter().filter(|o| o["type"] == "url").map(|o| o["value"].as_str().unwrap()).collect();
    assert!(urls.contains(&"https://bad.example/a%20file"), "{urls:?}");
    for id in ["ipv4-addr--39090fdc-366e-571f-ab5b-d05e2918f88f", "url--b8c51958-cec7-5431-ba5d-6345cb51babd"]
    {
        assert!(ids.contains(id), "{id}");
    }
    let kinds: BTreeMap<&str, usize> = objects.iter().fold(BTreeMap::new(), |mut kinds, object| {
        *kinds.entry(object["type"].as_str().unwrap()).or_default() += 1;
        kinds
    });
    insta::assert_debug_snapshot!(kinds);
    if let Some(path) = std::env::var_os("ASTERISM_STIX_OUT") {
        std::fs::write(path, one.to_string()).unwrap();
    }
}
