//! Response, end to end: what an attack leads to is done at providers (simulated ones), once, and taken back; whoever
//! subscribes hears of it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Running, Simulated, asterism, eventually, free_port, http, json_lines, ok, stderr};
use crate::scenario::case::Case;
use crate::scenario::way::{append, config};

/// A daemon with both providers, on the records of a case.
struct Site {
    scratch: tempfile::TempDir,
    api: u16,
    config: PathBuf,
    edr: Simulated,
    graph: Simulated,
}

impl Site {
    fn new(case: &Case) -> Self {
        Self::with(case, "[]")
    }

    /// With verbs that playbooks do.
    fn with(case: &Case, pulled: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, api) = (scratch.path(), free_port());
        let (edr, graph) = (Simulated::start("edr", dir), Simulated::start("graph", dir));
        let way = format!(
            "data_dir = {:?}\n[api]\nlisten = \"127.0.0.1:{api}\"\n[ingest]\nidle_partition_s = 600\n\
             [store]\ncheckpoint_s = 1\ncheckpoint_rows_max = 1\n\
             [respond]\nconnectors = [{{ file = \"microsoft_graph\", url = {:?}, token_file = {:?} }}]\npulled = {pulled}\n\
             [respond.edr]\nurl = {:?}\ntoken_file = {:?}\n",
            dir.join("data"),
            graph.url(),
            graph.token_file(),
            edr.url(),
            edr.token_file()
        );
        let config = config(case, dir, &way);
        (0..3).for_each(|third| append(case, &dir.join("data"), third));
        Self { api, config, edr, graph, scratch }
    }

    /// Sends incidents and actions to a subscriber.
    fn subscribe(&self, subscriber: &Subscriber) {
        let secret = self.scratch.path().join("soar.secret");
        std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let mut settings = std::fs::read_to_string(&self.config).unwrap();
        settings.push_str(&format!(
            "\n[forward]\nwebhooks = [{{ name = \"soar\", url = {:?}, secret_file = {secret:?}, \
             streams = [\"incidents\", \"actions\"], allow = [\"127.0.0.0/8\"] }}]\n",
            subscriber.url
        ));
        std::fs::write(&self.config, settings).unwrap();
    }

    fn start(&self) -> Running {
        Running::start(asterism().args(["run", "-c"]).arg(&self.config), self.scratch.path(), "daemon")
    }

    fn get(&self, path: &str) -> Option<Value> {
        let (status, body) =
            http(Method::GET, &format!("http://127.0.0.1:{}/api/v1/{path}", self.api), None)?;
        (status == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    fn decide(&self, id: &str, verdict: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}/api/v1/actions/{id}/{verdict}", self.api);
        let said = json!({"by": "anna", "comment": "spoke with the owner"}).to_string();
        eventually("the daemon answers", Duration::from_secs(20), || {
            http(Method::POST, &url, Some(said.clone()))
        })
    }

    /// Waiting actions, by verb.
    fn waiting(&self) -> Option<BTreeMap<String, String>> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let page = self.get("actions?state=awaiting_approval&limit=100")?;
        let actions = page["items"].as_array().unwrap().iter();
        Some(actions.map(|action| (text(&action["verb"]), text(&action["id"]))).collect())
    }

    fn comes_to(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), Duration::from_secs(60), || {
            (self.get(&format!("actions/{id}"))?["state"] == state).then_some(())
        });
    }

    /// The state of the one effect of a kind.
    fn effect(&self, kind: &str) -> Option<String> {
        let page = self.get("effects")?;
        let effects = page["items"].as_array().unwrap();
        let effect = effects.iter().find(|effect| effect["kind"] == kind)?;
        Some(effect["state"].as_str().unwrap().to_owned())
    }

    fn ends(&self, kind: &str) {
        eventually(&format!("{kind} is over"), Duration::from_secs(60), || {
            (self.effect(kind)? == "reverted").then_some(())
        });
    }

    /// The account's switch.
    fn is_enabled(&self) -> bool {
        let state = self.graph.state();
        let mut users = state["users"].as_object().unwrap().values();
        let mia = users.find(|user| user["userPrincipalName"] == "mia.lang@contoso.example").unwrap();
        mia["accountEnabled"].as_bool().unwrap()
    }

    /// The account's switch, the number of grants, where the message lies.
    fn world(&self) -> (bool, usize, String) {
        let state = self.graph.state();
        let of = |kind: &str| state[kind].as_object().unwrap().clone();
        let message = of("messages").into_values().next().unwrap();
        let location = message["latestDelivery"]["location"].as_str().unwrap().to_owned();
        (self.is_enabled(), of("grants").len(), location)
    }
}

/// Scenario: a phishing mail leads to a workstation and a mailbox. The policy lets the workstation be isolated; the account,
/// the message and the application's rights wait for a person, who approves, while the engine gets SIGKILL each time.
/// Guarantees: each is done exactly once and only when approved; undoing restores each as it was; closing the incident
/// releases the workstation; the audit chain holds.
#[test]
fn what_is_approved_is_done_once_through_kills_and_is_taken_back() {
    let verbs = ["user.disable", "app.revoke_grant", "email.soft_delete"];
    let site = Site::new(&Case::named("phishing_to_cloud_mailbox"));
    let mut daemon = site.start();
    let waiting = eventually("all three wait", Duration::from_secs(60), || {
        site.waiting().filter(|waiting| verbs.iter().all(|verb| waiting.contains_key(*verb)))
    });
    eventually("the workstation is isolated", Duration::from_secs(30), || {
        (site.effect("host.isolated")? == "active").then_some(())
    });
    let changes = || ["user", "revokeGrant", "softDelete"].map(|kind| site.graph.changes(kind));
    assert_eq!(changes(), [0, 0, 0], "nothing is done before it is approved");

    for verb in verbs {
        let (status, body) = site.decide(&waiting[verb], "approve");
        assert_eq!(status, 200, "{body}");
        daemon.kill_hard();
        daemon = site.start();
        site.comes_to(&waiting[verb], "succeeded");
    }
    assert_eq!(site.world(), (false, 0, "recoverableItems".to_owned()));
    assert_eq!(changes(), [1, 1, 1]);
    let (status, _) = site.decide(&waiting["user.disable"], "approve");
    assert_eq!(status, 409, "it does not wait any more");

    for (verb, kind) in verbs.into_iter().zip(["user.disabled", "app.grant_revoked", "email.deleted"]) {
        let (status, body) = site.decide(&waiting[verb], "undo");
        assert_eq!(status, 200, "{body}");
        daemon.kill_hard();
        daemon = site.start();
        site.ends(kind);
    }
    assert_eq!(site.world(), (true, 1, "inbox".to_owned()));
    assert_eq!(site.graph.changes("user"), 2);

    let incident = site.get(&format!("actions/{}", waiting["user.disable"])).unwrap()["incident"].clone();
    let server = format!("http://127.0.0.1:{}", site.api);
    ok(asterism().args(["incidents", "close", "--server", &server]).arg(incident.as_str().unwrap()));
    site.ends("host.isolated");
    assert_eq!(site.edr.isolations().len(), 1);
    daemon.stop();
    ok(asterism().args(["audit", "verify", "--data-dir"]).arg(site.scratch.path().join("data")));
}

/// Scenario: a playbook engine subscribes to incidents and actions by webhook; it fails now and then, and refuses one.
/// Guarantees: it gets every change, signed, in order and without a gap, whatever it answered before; what it refused is
/// named; a replay brings everything once more under the same ids.
#[test]
fn a_subscriber_gets_every_change_signed_and_in_order() {
    let subscriber = Subscriber::start();
    let site = Site::new(&Case::named("password_spray_then_success"));
    site.subscribe(&subscriber);
    let daemon = site.start();
    let action = eventually("an action waits", Duration::from_secs(60), || {
        site.waiting()?.remove("user.revoke_sessions")
    });
    site.decide(&action, "approve");
    site.comes_to(&action, "succeeded");
    let view = || site.get("deliveries")?["items"].as_array()?.first().cloned();
    let all_had = |view: &Value| view["cursor"] == view["head"];
    let had = eventually("everything is delivered", Duration::from_secs(60), || view().filter(all_had));
    let refused = had["undelivered"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "{had}");
    assert!(refused[0]["reason"].as_str().unwrap().contains("422"), "{had}");
    let taken = subscriber.taken();
    let sequences: Vec<&str> = taken.iter().map(|event| event["sequence"].as_str().unwrap()).collect();
    assert!(sequences.is_sorted() && sequences.len() > 5, "{sequences:?}");
    let of_action = |event: &&Value| event["subject"] == action.as_str();
    let states: Vec<String> = taken.iter().filter(of_action).map(|event| event["type"].to_string()).collect();
    assert_eq!(states.last().map(String::as_str), Some("\"asterism.action.succeeded\""), "{states:?}");
    assert!(taken.iter().all(|event| event["specversion"] == "1.0"));

    let url = format!("http://127.0.0.1:{}/api/v1/deliveries/soar/replay", site.api);
    let (status, body) = http(Method::POST, &url, Some(json!({"after": 0}).to_string())).unwrap();
    assert_eq!(status, 200, "{body}");
    let again = eventually("it is delivered again", Duration::from_secs(60), || {
        let all = subscriber.taken();
        (all.len() > taken.len() * 2).then(|| all[taken.len()..].to_vec())
    });
    let ids =
        |events: &[Value]| -> Vec<String> { events.iter().map(|event| event["id"].to_string()).collect() };
    let missed = ids(&again).into_iter().filter(|id| !ids(&taken).contains(id)).count();
    assert_eq!(missed, 1, "what was refused before, and nothing else, is new");
    daemon.stop();
}

/// Scenario: a playbook ends sessions. It sends its request, and the engine gets SIGKILL before it can say so; then it
/// comes with an old fence, as if it had slept.
/// Guarantees: the step that was on the wire is not given out again, a probe is; an old fence, a forged and a used token are
/// refused; tokens are nowhere but with whom they were given to; no provider is asked for what playbooks do.
#[test]
fn a_playbook_leases_steps_and_a_crash_repeats_none() {
    let site = Site::with(&Case::named("phishing_to_cloud_mailbox"), "[\"user.revoke_sessions\"]");
    let daemon = site.start();
    let url = |path: &str| format!("http://127.0.0.1:{}/api/v1/leases{path}", site.api);
    let lease = || -> Option<Value> {
        let said = json!({"verbs": ["user.revoke_sessions"], "wait_s": 1}).to_string();
        let (status, body) = http(Method::POST, &url(""), Some(said))?;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap().get("work").cloned()
    };
    let leased = || eventually("there is work", Duration::from_secs(60), lease);
    let callback = |work: &Value, what: &str, token: &Value, mut said: Value| {
        (said["fence"], said["token"]) = (work["fence"].clone(), token.clone());
        let path = format!("/{}/{what}", work["action"].as_str().unwrap());
        http(Method::POST, &url(&path), Some(said.to_string())).unwrap()
    };
    let report =
        |work: &Value, outcome: Value| callback(work, "report", &work["token"], json!({"outcome": outcome}));
    let probe = leased();
    assert_eq!((&probe["step"], &probe["in_doubt"]), (&json!("probe"), &json!(false)), "{probe}");
    assert_eq!(lease(), None, "one step at a time");
    let kept = callback(&probe, "heartbeat", &probe["token"], json!({}));
    assert_eq!(kept.0, 200, "{}", kept.1);
    let not_so = || json!({"kind": "probed", "holds": false});
    for what in ["heartbeat", "report"] {
        let said = if what == "report" { json!({"outcome": not_so()}) } else { json!({}) };
        let (status, body) = callback(&probe, what, &json!("forged"), said);
        assert!(status == 403 && body.contains("not that of its lease"), "{what}: {status} {body}");
    }
    assert_eq!(report(&probe, not_so()).0, 200);
    let (status, body) = report(&probe, not_so());
    assert!(status == 409 && body.contains("was used"), "{status} {body}");
    let dispatch = leased();
    assert_eq!(dispatch["step"], "dispatch");
    assert_eq!(report(&probe, not_so()).0, 409, "an old token");
    let mut old = dispatch.clone();
    old["fence"] = probe["fence"].clone();
    assert_eq!(report(&old, not_so()).0, 409, "an old fence");

    daemon.kill_hard();
    let daemon = site.start();
    let again = leased();
    assert_eq!((&again["step"], &again["in_doubt"]), (&json!("probe"), &json!(true)), "{again}");
    // Tokens are nowhere on disk: after a restart one of before is like any other that is not the lease's.
    let (status, body) = report(&dispatch, json!({"kind": "accepted", "provider_ref": "job-1"}));
    assert_eq!(status, 403, "{body}");
    assert_eq!(
        report(&again, json!({"kind": "probed", "holds": true, "evidence": "sessions are gone"})).0,
        200
    );
    site.comes_to(again["action"].as_str().unwrap(), "succeeded");
    assert_eq!(site.graph.changes("revokeSignInSessions"), 0);
    let log = std::fs::read_to_string(&daemon.log).unwrap();
    daemon.stop();
    let data = site.scratch.path().join("data");
    let audit = ok(asterism().args(["audit", "export", "--data-dir"]).arg(&data));
    let shown = format!("{log} {}", String::from_utf8_lossy(&audit.stdout));
    assert!(shown.contains(again["action"].as_str().unwrap()), "it tells of the action");
    for work in [&probe, &dispatch, &again] {
        let token = work["token"].as_str().unwrap();
        assert!(token.len() == 64 && !shown.contains(token), "a token is shown");
    }
}

/// Scenario: the identity provider's connector is to be left alone, during a migration. Somebody pauses it; the engine gets
/// SIGKILL.
/// Guarantees: nothing new is done through it, also after the kill; other connectors go on; what was done through it is
/// taken back; after a resume what waited is approved and done.
#[test]
fn a_paused_connector_does_nothing_new_through_a_kill_and_still_takes_back() {
    let site = Site::new(&Case::named("phishing_to_cloud_mailbox"));
    let daemon = site.start();
    let server = format!("http://127.0.0.1:{}", site.api);
    let actions = |args: &[&str]| {
        let output = asterism().arg("actions").args(args).args(["--server", &server]).output().unwrap();
        (output.status.success(), stderr(&output), json_lines(&output))
    };
    let waiting = eventually("accounts and messages wait", Duration::from_secs(60), || {
        let waiting = site.waiting()?;
        ["user.disable", "email.soft_delete"]
            .iter()
            .all(|verb| waiting.contains_key(*verb))
            .then_some(waiting)
    });
    eventually("the workstation is isolated", Duration::from_secs(30), || {
        (site.effect("host.isolated")? == "active").then_some(())
    });
    assert_eq!(site.decide(&waiting["user.disable"], "approve").0, 200);
    site.comes_to(&waiting["user.disable"], "succeeded");

    let (done, text, _) = actions(&["pause", "--connector", "microsoft_graf"]);
    assert!(!done && text.contains("no connector \"microsoft_graf\"") && text.contains("defender"), "{text}");
    let (done, text, _) = actions(&["pause", "--connector", "microsoft_graph", "--comment", "migration"]);
    assert!(done && text.contains("the connector microsoft_graph is paused"), "{text}");
    daemon.kill_hard();
    let daemon = site.start();
    let (status, body) = site.decide(&waiting["email.soft_delete"], "approve");
    assert!(status == 409 && body.contains("connector microsoft_graph is stopped"), "{status} {body}");
    let (_, _, connectors) = actions(&["connectors", "--json"]);
    let paused: Vec<(&str, bool)> = connectors
        .iter()
        .map(|view| (view["connector"].as_str().unwrap(), view["paused"].as_bool().unwrap()))
        .collect();
    assert_eq!(paused, [("defender", false), ("microsoft_graph", true)]);

    assert_eq!(site.decide(&waiting["user.disable"], "undo").0, 200);
    site.ends("user.disabled");
    assert!(site.is_enabled(), "what was done through it is taken back");
    let incident = site.get(&format!("actions/{}", waiting["user.disable"])).unwrap()["incident"].clone();
    let isolation = site.get("actions?verb=host.isolate&state=succeeded").unwrap()["items"][0].clone();
    assert_eq!(isolation["incident"], incident);
    assert_eq!(site.decide(isolation["id"].as_str().unwrap(), "undo").0, 200, "another connector goes on");
    site.ends("host.isolated");
    assert_eq!(site.graph.changes("softDelete"), 0);

    let (done, text, _) = actions(&["resume", "--connector", "microsoft_graph"]);
    assert!(done && text.contains("the connector microsoft_graph runs"), "{text}");
    assert_eq!(site.decide(&waiting["email.soft_delete"], "approve").0, 200);
    site.comes_to(&waiting["email.soft_delete"], "succeeded");
    daemon.stop();
    ok(asterism().args(["audit", "verify", "--data-dir"]).arg(site.scratch.path().join("data")));
}

/// Scenario: a subscriber says that it is gone (410), as one does that was taken down for an upgrade, and comes back.
/// Guarantees: nothing goes out to it until somebody resumes it, and that needs no restart; it misses nothing.
#[test]
fn a_subscriber_that_was_gone_is_resumed_without_a_restart() {
    let subscriber = Subscriber::answering(|n| if n == 0 { "410 Gone" } else { "200 OK" });
    let site = Site::new(&Case::named("password_spray_then_success"));
    site.subscribe(&subscriber);
    let daemon = site.start();
    let view = || site.get("deliveries")?["items"].as_array()?.first().cloned();
    eventually("it is known to be gone", Duration::from_secs(60), || {
        view().filter(|view| view["gone"] == true && view["sink"] == "soar")
    });
    assert_eq!(subscriber.taken(), [Value::Null; 0]);
    let server = format!("http://127.0.0.1:{}", site.api);
    let resume = |name: &str| {
        let output = asterism().args(["deliveries", "resume", name, "--server", &server]).output().unwrap();
        (output.status.success(), stderr(&output))
    };
    let (done, text) = resume("siem");
    assert!(!done && text.contains("no webhook \"siem\""), "{text}");
    let (done, text) = resume("soar");
    assert!(done && text.contains("soar is tried again"), "{text}");
    let had = eventually("everything is delivered", Duration::from_secs(90), || {
        view().filter(|view| view["cursor"] == view["head"] && view["gone"] == false)
    });
    assert_eq!(had["undelivered"], json!([]));
    let taken = subscriber.taken();
    let sequences: Vec<i64> =
        taken.iter().map(|event| event["sequence"].as_str().unwrap().parse().unwrap()).collect();
    assert!(!sequences.is_empty() && sequences.is_sorted(), "{sequences:?}");
    assert!(resume("soar").1.contains("soar was not gone"));
    daemon.stop();
}

/// Scenario: an account waits to be disabled, a workstation is isolated. A viewer, a responder and a stranger come with
/// tokens of their own; at last all of it turns out to be a mistake.
/// Guarantees: each does what the role may, under the name of the token; a dry run tells what would change and changes
/// nothing; a roll back takes back everything about the incident, and says what cannot be.
#[test]
fn people_decide_under_their_own_names_and_all_of_an_incident_is_taken_back() {
    let site = Site::new(&Case::named("phishing_to_cloud_mailbox"));
    let user = |name: &str, role: &str| {
        let file = site.scratch.path().join(name);
        std::fs::write(&file, format!("{name}-secret\n")).unwrap();
        format!("{{ name = {name:?}, role = {role:?}, token_file = {file:?} }}")
    };
    let users = format!("[api]\nusers = [{}, {}]\n", user("kim", "responder"), user("sam", "viewer"));
    let settings = std::fs::read_to_string(&site.config).unwrap().replace("[api]\n", &users);
    std::fs::write(&site.config, settings).unwrap();
    let daemon = site.start();
    let server = format!("http://127.0.0.1:{}", site.api);
    let run = |token: &str, args: &[&str]| {
        let output = asterism().args(args).args(["--server", &server, "--token", token]).output().unwrap();
        (output.status.code(), stderr(&output), json_lines(&output))
    };
    let of = |verb: &str, state: &str| {
        let (_, _, actions) = run("sam-secret", &["actions", "list", "--json", "--limit", "100"]);
        actions.into_iter().find(|action| action["verb"] == verb && action["state"] == state)
    };
    let find = |verb: &str, state: &str| {
        eventually(&format!("{verb} is {state}"), Duration::from_secs(60), || of(verb, state))
    };
    let action = find("user.disable", "awaiting_approval");
    let (id, incident) = (action["id"].as_str().unwrap(), action["incident"].as_str().unwrap());
    find("host.isolate", "succeeded");
    find("user.revoke_sessions", "succeeded");

    for (token, args, said) in [
        ("nobody", &["actions", "approve", id][..], "a bearer token is required"),
        ("sam-secret", &["actions", "approve", id], "the role viewer may not do that"),
        ("kim-secret", &["actions", "approve", id, "--by", "anna"], "kim's, who cannot speak for \"anna\""),
    ] {
        let (code, text, _) = run(token, args);
        assert!(code == Some(1) && text.contains(said), "{text}");
    }
    let (code, text, _) = run("kim-secret", &["actions", "approve", id, "--dry-run"]);
    assert!(code == Some(0) && text.contains("would be queued"), "{text}");
    assert!(of("user.disable", "awaiting_approval").is_some(), "a dry run changes nothing");
    let (code, text, _) = run("kim-secret", &["actions", "pause", "--comment", "wait"]);
    assert!(code == Some(0) && text.contains("the response is paused"), "{text}");
    daemon.kill_hard();
    let daemon = site.start();
    let refused = eventually("the daemon answers", Duration::from_secs(30), || {
        let (_, text, _) = run("kim-secret", &["actions", "approve", id]);
        text.contains("kill switch is on").then_some(text)
    });
    assert!(of("user.disable", "awaiting_approval").is_some(), "a pause outlives a kill: {refused}");
    assert_eq!(run("kim-secret", &["actions", "resume"]).0, Some(0));
    assert_eq!(run("kim-secret", &["actions", "approve", id]).0, Some(0));
    assert_eq!(find("user.disable", "succeeded")["approvals"][0]["by"], "kim");

    let (code, text, _) = run("kim-secret", &["actions", "rollback", incident, "--dry-run"]);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "host.release",
        "user.enable",
        "would be queued",
        "user.revoke_sessions is done and cannot be undone",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(of("host.release", "queued").is_none() && !site.is_enabled(), "a dry run changes nothing");
    let (code, text, _) = run("kim-secret", &["actions", "rollback", incident, "--comment", "a drill"]);
    assert!(code == Some(1) && text.contains("1 stay as they are"), "{text}");
    find("host.release", "succeeded");
    find("user.enable", "succeeded");
    assert!(site.is_enabled(), "the account is as it was");
    assert!(of("email.soft_delete", "awaiting_approval").is_none(), "what waited is cancelled");
    daemon.stop();
    ok(asterism().args(["audit", "verify", "--data-dir"]).arg(site.scratch.path().join("data")));
}

/// Takes webhooks.
struct Subscriber {
    url: String,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Subscriber {
    /// Every fifth answer is 503, and the seventh request is refused for good.
    fn start() -> Self {
        Self::answering(|n| match n {
            6 => "422 Unprocessable Content",
            n if n % 5 == 4 => "503 Service Unavailable",
            _ => "200 OK",
        })
    }

    /// What is answered to the nth request; what is answered with 200 is taken.
    fn answering(status: fn(usize) -> &'static str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}/hook", listener.local_addr().unwrap().port());
        let taken: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&taken);
        // It ends with the process.
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let (head, body) = request(&mut stream);
                assert!(head.contains("webhook-signature: v1,") && head.contains("webhook-id: "), "{head}");
                let status = status(n);
                if status == "200 OK" {
                    kept.lock().unwrap().push(serde_json::from_str(&body).unwrap());
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { url, taken }
    }

    fn taken(&self) -> Vec<Value> {
        self.taken.lock().unwrap().clone()
    }
}

/// The head and the body of a request.
fn request(stream: &mut std::net::TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8_192];
    loop {
        let n = stream.read(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if n == 0 || body.len() >= length.unwrap_or(0) {
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// Guarantees: several actions of one verb are decided on at once, each with its own outcome; of two verbs none is.
#[test]
fn several_actions_of_one_verb_are_decided_on_at_once() {
    let site = Site::new(&Case::named("business_email_compromise"));
    let daemon = site.start();
    let of = |verb: &str| -> Option<Vec<String>> {
        let page = site.get(&format!("actions?state=awaiting_approval&verb={verb}&limit=100"))?;
        let ids = page["items"].as_array().unwrap().iter();
        Some(ids.map(|action| action["id"].as_str().unwrap().to_owned()).collect())
    };
    let mails = eventually("four messages wait", Duration::from_secs(60), || {
        of("email.soft_delete").filter(|ids| ids.len() == 4)
    });
    let accounts = eventually("an account waits", Duration::from_secs(30), || {
        of("user.disable").filter(|ids| ids.len() == 1)
    });
    let server = format!("http://127.0.0.1:{}", site.api);
    let approve = |ids: &[String]| {
        asterism()
            .args(["actions", "approve", "--by", "anna", "--server", &server])
            .args(ids)
            .output()
            .unwrap()
    };
    let mixed = approve(&[mails[0].clone(), accounts[0].clone()]);
    assert!(!mixed.status.success());
    let said = String::from_utf8_lossy(&mixed.stderr).into_owned();
    assert!(said.contains("several verbs (email.soft_delete, user.disable)"), "{said}");
    assert_eq!(of("email.soft_delete").unwrap().len(), 4, "none was decided on");
    assert!(approve(&mails).status.success());
    mails.iter().for_each(|id| site.comes_to(id, "succeeded"));
    let again = approve(&mails[..2]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("it does not wait for approval") && said.contains("2 were refused"), "{said}");
    daemon.stop();
}
