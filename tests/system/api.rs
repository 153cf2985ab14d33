//! The HTTP API as it answers, against the document that it publishes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::header::{ALLOW, CONTENT_TYPE, ETAG, HOST, IF_MATCH};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Running, asterism, free_port};
use crate::schema::faults;

/// A running server, and what it says of itself.
struct Api {
    base: String,
    http: reqwest::Client,
    document: Value,
    /// Operations that were called.
    called: BTreeSet<String>,
}

/// An answer that follows the document.
struct Answer {
    status: StatusCode,
    etag: Option<String>,
    body: Value,
}

impl Api {
    async fn of(port: u16) -> Self {
        let base = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let document = http.get(format!("{base}/api/v1/openapi.json")).send().await.unwrap();
        let document = document.json().await.unwrap();
        Self { base, http, document, called: BTreeSet::new() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Calls `path`, an instance of the documented `template`.
    async fn call(&mut self, method: Method, template: &str, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method.clone(), path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        self.send(method, template, request).await
    }

    async fn get(&mut self, template: &str, path: &str) -> Value {
        let answer = self.call(Method::GET, template, path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Sends, and holds status, media type and body against the document.
    async fn send(&mut self, method: Method, template: &str, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, etag) = (response.status(), header(&response, ETAG.as_str()));
        let media = header(&response, CONTENT_TYPE.as_str()).unwrap_or_default();
        let operation = &self.document["paths"][template][method.as_str().to_lowercase()];
        self.called.insert(operation["operationId"].as_str().expect(template).to_owned());
        let documented = &operation["responses"];
        let documented = match &documented[status.as_str()] {
            Value::Null if status.is_success() => panic!("{method} {template}: {status} is not documented"),
            Value::Null => &documented["default"],
            listed => listed,
        };
        let media = media.split(';').next().unwrap_or_default();
        let schema = &documented["content"][media]["schema"];
        assert!(schema.is_object(), "{method} {template} {status}: {media} is not documented");
        let text = response.text().await.unwrap();
        let body =
            if media.ends_with("json") { serde_json::from_str(&text).unwrap() } else { Value::String(text) };
        let faults = faults(&self.document, schema, &body);
        assert!(faults.is_empty(), "{method} {template} {status}:\n{}\n{body}", faults.join("\n"));
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(body["status"], status.as_u16(), "{body}");
        }
        Answer { status, etag, body }
    }

    /// A request that must fail with a problem document.
    async fn refused(&self, what: &str, request: RequestBuilder, status: u16) -> Response {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(
            header(&response, CONTENT_TYPE.as_str()).as_deref(),
            Some("application/problem+json"),
            "{what}"
        );
        response
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

fn first_id(page: &Value) -> String {
    page["items"][0]["id"].as_str().unwrap_or_else(|| panic!("an item in {page}")).to_owned()
}

/// The demo, once it has isolated a host: then there is something of everything.
async fn demo(dir: &std::path::Path) -> (Running, Api) {
    let port = free_port();
    let mut command = asterism();
    command.args(["demo", "--fresh", "--port", &port.to_string(), "--data-dir"]).arg(dir.join("demo"));
    let running = Running::start(&mut command, dir, "demo");
    let begun = Instant::now();
    let url = format!("http://127.0.0.1:{port}/api/v1/actions?verb=host.isolate&state=succeeded,partial");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        if let Ok(response) = http.get(&url).send().await {
            let page: Value = response.json().await.unwrap();
            if page["items"].as_array().is_some_and(|items| !items.is_empty()) {
                return (running, Api::of(port).await);
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(180), "no host is isolated: {}", running.text());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Guarantees: every operation answers as `/api/v1/openapi.json` says, field by field; every error is a problem
/// document; pages do not overlap; an edit of an outdated version is refused; the stream resumes.
#[tokio::test]
async fn the_api_answers_as_its_document_says() {
    let dir = tempfile::tempdir().unwrap();
    let (running, mut api) = demo(dir.path()).await;
    reads(&mut api).await;
    pages(&mut api).await;
    // Before the edits: an incident that is closed lets its effects go.
    decisions(&mut api).await;
    edits(&mut api).await;
    lifecycle(&mut api).await;
    ledger(&mut api).await;
    health(&mut api).await;
    errors(&api).await;
    stream(&mut api).await;
    let operations =
        api.document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap());
    let documented: BTreeSet<String> =
        operations.map(|(_, operation)| operation["operationId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(api.called, documented, "every operation was called");
    running.stop();
}

async fn reads(api: &mut Api) {
    let incidents =
        api.get("/api/v1/incidents", "/api/v1/incidents?status=new,in_progress&sort=recent").await;
    let incident = format!("/api/v1/incidents/{}", first_id(&incidents));
    api.get("/api/v1/incidents/{id}", &incident).await;
    api.get("/api/v1/incidents/{id}/alerts", &format!("{incident}/alerts")).await;
    graphs(api, &incident).await;
    // Risk is of sealed alerts: event time must have passed the first of them.
    let begun = Instant::now();
    let at_risk = loop {
        let at_risk = api.get("/api/v1/risk", "/api/v1/risk?type=user,device&level=low").await;
        if at_risk["items"].as_array().is_some_and(|items| !items.is_empty()) {
            break at_risk;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody is at risk: {at_risk}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let level = &at_risk["items"][0]["level"];
    assert!(level == "low" || level == "medium" || level == "high", "{at_risk}");
    api.get("/api/v1/incidents/{id}/explanation", &format!("{incident}/explanation")).await;
    let unknown = format!("{incident}/explanation?a=a-0&b=a-1");
    let unknown = api.call(Method::GET, "/api/v1/incidents/{id}/explanation", &unknown, None).await;
    assert!(unknown.status == 404 && unknown.body["detail"] == "no alert \"a-0\"", "{}", unknown.body);
    let query = "severity=high&domain=endpoint&since=2000-01-01T00:00:00Z&limit=200";
    let alerts = api.get("/api/v1/alerts", &format!("/api/v1/alerts?{query}")).await;
    api.get("/api/v1/alerts/{id}", &format!("/api/v1/alerts/{}", first_id(&alerts))).await;
    let actions = api.get("/api/v1/actions", "/api/v1/actions").await;
    api.get("/api/v1/actions/{id}", &format!("/api/v1/actions/{}", first_id(&actions))).await;
    let effects = api.get("/api/v1/effects", "/api/v1/effects").await;
    assert!(!effects["items"].as_array().unwrap().is_empty(), "the isolation is an effect");
    api.get("/api/v1/audit", "/api/v1/audit").await;
    let sql = json!({"sql": "SELECT id, title FROM alerts", "limit": 3});
    let answer = api.call(Method::POST, "/api/v1/hunt", "/api/v1/hunt", Some(sql)).await;
    assert_eq!(answer.body["rows"].as_array().unwrap().len(), 3, "{}", answer.body);
}

async fn graphs(api: &mut Api, incident: &str) {
    const GRAPH: &str = "/api/v1/incidents/{id}/graph";
    let graph = api.get(GRAPH, &format!("{incident}/graph")).await;
    let nodes = graph["nodes"].as_array().unwrap();
    let id = |node: &Value| {
        node["id"].as_str().unwrap().replace('#', "%23").replace('&', "%26").replace('+', "%2B")
    };
    let (a, b) = (id(&nodes[0]), id(nodes.last().unwrap()));
    let with_path = api.get(GRAPH, &format!("{incident}/graph?a={a}&b={b}")).await;
    assert!(with_path["path"]["text"].is_string(), "{with_path}");
    let unknown = api.call(Method::GET, GRAPH, &format!("{incident}/graph?a={a}&b=nobody"), None).await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    let stix = api.get(GRAPH, &format!("{incident}/graph?format=stix")).await;
    assert!(stix["type"] == "bundle" && stix["objects"].as_array().unwrap().len() > 3, "{stix}");
    let xml = api.get(GRAPH, &format!("{incident}/graph?format=graphml")).await;
    assert!(xml.as_str().unwrap().contains("<graphml"), "{xml}");
}

async fn pages(api: &mut Api) {
    let mut seen = BTreeSet::new();
    let mut path = "/api/v1/alerts?limit=3".to_owned();
    for _ in 0..3 {
        let page = api.get("/api/v1/alerts", &path).await;
        for alert in page["items"].as_array().unwrap() {
            assert!(seen.insert(alert["id"].as_str().unwrap().to_owned()), "{} twice", alert["id"]);
        }
        path = format!("/api/v1/alerts?limit=3&cursor={}", page["next"].as_str().unwrap());
    }
    assert_eq!(seen.len(), 9);
}

async fn edits(api: &mut Api) {
    const ONE: &str = "/api/v1/incidents/{id}";
    let incidents = api.get("/api/v1/incidents", "/api/v1/incidents").await;
    let most =
        incidents["items"].as_array().unwrap().iter().max_by_key(|i| i["alerts"].as_array().unwrap().len());
    let incident = most.unwrap();
    let path = format!("/api/v1/incidents/{}", incident["id"].as_str().unwrap());
    let outdated = || "\"0\"".to_owned();
    for (template, tail, method, body) in [
        (ONE, "", Method::PATCH, json!({"assignee": "anna"})),
        ("/api/v1/incidents/{id}/merge", "/merge", Method::POST, json!({"into": "i-0"})),
        ("/api/v1/incidents/{id}/split", "/split", Method::POST, json!({"alerts": []})),
        ("/api/v1/incidents/{id}/move", "/move", Method::POST, json!({"alerts": [], "to": "i-0"})),
        ("/api/v1/incidents/{id}/veto", "/veto", Method::POST, json!({"a": "a-0", "b": "a-1"})),
    ] {
        let request =
            api.request(method.clone(), &format!("{path}{tail}")).header(IF_MATCH, outdated()).json(&body);
        let answer = api.send(method, template, request).await;
        assert_eq!(answer.status, 412, "{tail}: {}", answer.body);
    }
    let patched =
        api.call(Method::PATCH, ONE, &path, Some(json!({"assignee": "anna", "status": "in_progress"}))).await;
    assert_eq!(
        (patched.status.as_u16(), &patched.body["assignee"]),
        (200, &json!("anna")),
        "{}",
        patched.body
    );
    assert_eq!(patched.etag, Some(format!("\"{}\"", patched.body["version"])));
    let only_by_merging = api.call(Method::PATCH, ONE, &path, Some(json!({"status": "redirected"}))).await;
    assert_eq!(only_by_merging.status, 400);
    let refused = api.call(Method::PATCH, ONE, &path, Some(json!({"classification": "foo"}))).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.body["detail"].as_str().unwrap().contains("true_positive, false_positive, benign"),
        "{}",
        refused.body
    );
    let audit = api.get("/api/v1/audit", "/api/v1/audit").await;
    let assigned =
        |entry: &&Value| entry["record"]["kind"] == "assign" && entry["record"]["subject"] == incident["id"];
    let entry =
        audit["items"].as_array().unwrap().iter().rev().find(assigned).expect("an entry of the chain");
    assert_eq!(entry["record"]["text"], "assigned to anna");
    let leaving = json!({"alerts": [incident["alerts"][0]]});
    let split =
        api.call(Method::POST, "/api/v1/incidents/{id}/split", &format!("{path}/split"), Some(leaving)).await;
    assert_eq!(split.status, 200, "{}", split.body);
    let alerts = api.get("/api/v1/incidents/{id}/alerts", &format!("{path}/alerts")).await;
    let left = incident["alerts"].as_array().unwrap().len() - 1;
    assert!(alerts["items"].as_array().unwrap().len() >= left.min(1), "{alerts}");
    let others = api.get("/api/v1/incidents", "/api/v1/incidents?status=new").await;
    let merge = json!({"into": split.body["id"], "by": "anna"});
    let other = format!("/api/v1/incidents/{}/merge", first_id(&others));
    let merged = api.call(Method::POST, "/api/v1/incidents/{id}/merge", &other, Some(merge)).await;
    assert!(matches!(merged.status.as_u16(), 200 | 409), "{}", merged.body);
}

/// Analysts take an incident apart, take that back, and follow or dismiss what is suggested.
async fn lifecycle(api: &mut Api) {
    const ONE: &str = "/api/v1/incidents/{id}";
    let incidents = api.get("/api/v1/incidents", "/api/v1/incidents?status=new&limit=1000").await;
    let incidents = incidents["items"].as_array().unwrap();
    let most = incidents.iter().max_by_key(|i| i["alerts"].as_array().unwrap().len()).unwrap();
    let alerts = most["alerts"].as_array().unwrap();
    assert!(alerts.len() > 2, "{most}");
    let path = format!("/api/v1/incidents/{}", most["id"].as_str().unwrap());
    let post = |tail: &str| format!("{path}{tail}");

    // One part is Anna's, the other Bert's; then the split is undone.
    let leaving = json!({"alerts": [alerts[alerts.len() - 1]], "by": "anna"});
    let split = api.call(Method::POST, "/api/v1/incidents/{id}/split", &post("/split"), Some(leaving)).await;
    assert_eq!(split.status, 200, "{}", split.body);
    let all = api.get("/api/v1/incidents", "/api/v1/incidents?limit=1000").await;
    let has_last = |i: &&Value| i["alerts"].as_array().unwrap().contains(&alerts[alerts.len() - 1]);
    let part =
        all["items"].as_array().unwrap().iter().find(has_last).unwrap()["id"].as_str().unwrap().to_owned();
    for (path, who) in [(path.clone(), "anna"), (format!("/api/v1/incidents/{part}"), "bert")] {
        let assigned = api.call(Method::PATCH, ONE, &path, Some(json!({"assignee": who}))).await;
        assert_eq!(assigned.status, 200, "{}", assigned.body);
    }
    let inputs = api.get("/api/v1/incidents/{id}/inputs", &post("/inputs")).await;
    let of_kind = |inputs: &Value, kind: &str| {
        let found = inputs["items"].as_array().unwrap().iter().rfind(|i| i["kind"] == kind);
        found.unwrap_or_else(|| panic!("{kind} in {inputs}"))["id"].as_str().unwrap().to_owned()
    };
    const UNDO: &str = "/api/v1/inputs/{id}/undo";
    let undo = |id: String| format!("/api/v1/inputs/{id}/undo");
    let id = of_kind(&inputs, "split_incident");
    let undone = api.call(Method::POST, UNDO, &undo(id.clone()), Some(json!({"by": "anna"}))).await;
    assert_eq!((undone.status.as_u16(), &undone.body["is_undone"]), (200, &json!(true)), "{}", undone.body);
    let again = api.call(Method::POST, UNDO, &undo(id), Some(json!({}))).await;
    assert_eq!(again.status, 409, "{}", again.body);

    // They would be one incident again, were they not in two hands.
    let about = format!("/api/v1/suggestions?incident={part}");
    let suggestions = api.get("/api/v1/suggestions", &about).await;
    assert_eq!(suggestions["items"][0]["guard"], "assignee", "{suggestions}");
    let suggestion = format!("/api/v1/suggestions/{}", first_id(&suggestions));
    let dismiss = format!("{suggestion}/dismiss");
    let dismissed =
        api.call(Method::POST, "/api/v1/suggestions/{id}/dismiss", &dismiss, Some(json!({}))).await;
    assert_eq!(dismissed.status, 200, "{}", dismissed.body);
    let gone = api.call(Method::POST, "/api/v1/suggestions/{id}/dismiss", &dismiss, Some(json!({}))).await;
    assert_eq!(gone.status, 404, "{}", gone.body);
    let inputs = api.get("/api/v1/incidents/{id}/inputs", &post("/inputs")).await;
    let undone = api.call(Method::POST, UNDO, &undo(of_kind(&inputs, "veto")), Some(json!({}))).await;
    assert_eq!(undone.status, 200, "{}", undone.body);
    let accept = format!("{suggestion}/accept");
    let nowhere = json!({"into": "i-0"});
    let refused = api.call(Method::POST, "/api/v1/suggestions/{id}/accept", &accept, Some(nowhere)).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let into = json!({"into": most["id"], "by": "anna"});
    let accepted = api.call(Method::POST, "/api/v1/suggestions/{id}/accept", &accept, Some(into)).await;
    assert_eq!((accepted.status.as_u16(), &accepted.body["id"]), (200, &most["id"]), "{}", accepted.body);
    assert_eq!(accepted.body["assignee"], "anna");
    let left = api.get("/api/v1/suggestions", &about).await;
    assert!(left["items"].as_array().unwrap().is_empty(), "{left}");

    // The last alert moves to another incident; both keep their ids.
    let open = api.get("/api/v1/incidents", "/api/v1/incidents?status=new,in_progress&limit=1000").await;
    let other = open["items"].as_array().unwrap().iter().find(|i| i["id"] != most["id"]).unwrap();
    let moving = json!({"alerts": [alerts[alerts.len() - 1]], "to": other["id"], "by": "anna"});
    let moved = api.call(Method::POST, "/api/v1/incidents/{id}/move", &post("/move"), Some(moving)).await;
    assert_eq!((moved.status.as_u16(), &moved.body["id"]), (200, &most["id"]), "{}", moved.body);
    let there = api.get(ONE, &format!("/api/v1/incidents/{}", other["id"].as_str().unwrap())).await;
    assert!(has_last(&&there), "{there}");
    let veto = json!({"a": alerts[0], "b": alerts[1], "by": "anna"});
    let vetoed = api.call(Method::POST, "/api/v1/incidents/{id}/veto", &post("/veto"), Some(veto)).await;
    assert_eq!(vetoed.status, 200, "{}", vetoed.body);
    let stranger = json!({"type": "user", "a": "nobody@example.org", "b": "noone@example.org"});
    let refused = api.call(Method::POST, "/api/v1/incidents/{id}/veto", &post("/veto"), Some(stranger)).await;
    assert_eq!(refused.status, 409, "{}", refused.body);

    api.get("/api/v1/campaigns", "/api/v1/campaigns?incident=i-0").await;
    let none = api.call(Method::GET, "/api/v1/campaigns/{id}", "/api/v1/campaigns/g-0", None).await;
    assert_eq!(none.status, 404, "{}", none.body);
}

/// The completeness ledger fills at checkpoints, and its pages follow each other.
async fn ledger(api: &mut Api) {
    let begun = Instant::now();
    let page = loop {
        let page = api.get("/api/v1/completeness", "/api/v1/completeness?limit=2&faulty=false").await;
        if page["items"].as_array().unwrap().len() == 2 {
            break page;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the ledger stays empty: {page}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let next = format!("/api/v1/completeness?limit=1&cursor={}", page["next"].as_str().unwrap());
    let following = api.get("/api/v1/completeness", &next).await;
    assert!(!page["items"].as_array().unwrap().contains(&following["items"][0]), "{page} {following}");
    assert!(page["items"][0]["evaluated"].as_u64().unwrap() > 0, "{page}");
}

async fn decisions(api: &mut Api) {
    let actions = api.get("/api/v1/actions", "/api/v1/actions?state=succeeded&verb=host.isolate").await;
    let action = format!("/api/v1/actions/{}", first_id(&actions));
    let said = || Some(json!({"by": "anna", "comment": "test"}));
    for verdict in ["approve", "reject", "cancel"] {
        let (template, path) = (format!("/api/v1/actions/{{id}}/{verdict}"), format!("{action}/{verdict}"));
        let answer = api.call(Method::POST, &template, &path, said()).await;
        assert_eq!(answer.status, 409, "{verdict}: {}", answer.body);
    }
    let verbs = api.get("/api/v1/verbs", "/api/v1/verbs").await;
    assert!(verbs["items"].as_array().unwrap().iter().any(|verb| verb["undo"] == "host.release"));
    let bulk = |ids: Value| Some(json!({"ids": ids, "verdict": "approve", "by": "anna"}));
    for (ids, status) in [(json!([first_id(&actions)]), 200), (json!([]), 422), (json!(["c-0"]), 404)] {
        let answer = api.call(Method::POST, "/api/v1/actions/bulk", "/api/v1/actions/bulk", bulk(ids)).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        if status == 200 {
            assert!(answer.body["items"][0]["problem"].is_string(), "{}", answer.body);
        }
    }
    let incident = actions["items"][0]["incident"].as_str().unwrap();
    let path = format!("/api/v1/incidents/{incident}/rollback");
    let playbook = "/api/v1/incidents/{id}/playbook";
    let planned = api.get(playbook, &playbook.replace("{id}", incident)).await;
    assert!(planned["type"] == "playbook" && planned["spec_version"] == "cacao-2.0", "{planned}");
    let rehearsed = format!("{path}?dry_run=true");
    let would = api.call(Method::POST, "/api/v1/incidents/{id}/rollback", &rehearsed, said()).await;
    assert!(would.status == 200 && !would.body["actions"].as_array().unwrap().is_empty(), "{}", would.body);
    let response = "/api/v1/response";
    assert_eq!(api.get(response, response).await, json!({"paused": false, "connectors_paused": []}));
    for (what, paused) in [("pause", true), ("resume", false)] {
        let path = format!("{response}/{what}");
        let answer = api.call(Method::POST, &path, &path, said()).await;
        assert_eq!(answer.body, json!({"paused": paused, "connectors_paused": []}));
    }
    let connectors = "/api/v1/connectors";
    assert!(api.get(connectors, connectors).await["items"].is_array());
    for what in ["pause", "resume"] {
        let (template, path) =
            (format!("{connectors}/{{name}}/{what}"), format!("{connectors}/nobody/{what}"));
        let answer = api.call(Method::POST, &template, &path, said()).await;
        assert!(
            answer.status == 404 && answer.body["detail"].as_str().unwrap().contains("nobody"),
            "{}",
            answer.body
        );
    }
    // Of several isolations of one host one holds the effect.
    let mut undone = Vec::new();
    for action in actions["items"].as_array().unwrap() {
        let path = format!("/api/v1/actions/{}/undo", action["id"].as_str().unwrap());
        undone.push(api.call(Method::POST, "/api/v1/actions/{id}/undo", &path, said()).await.status.as_u16());
    }
    assert!(undone.contains(&200) && undone.iter().all(|status| [200, 409].contains(status)), "{undone:?}");
    let rolled = api.call(Method::POST, "/api/v1/incidents/{id}/rollback", &path, said()).await;
    assert_eq!(rolled.status, 200, "{}", rolled.body);
}

async fn health(api: &mut Api) {
    let call = |verbs: Value, wait_s: u32| Some(json!({"verbs": verbs, "wait_s": wait_s}));
    let lease = "/api/v1/leases";
    for (body, status) in
        [(call(json!([]), 0), 200), (call(json!(["host.explode"]), 0), 422), (call(json!([]), 31), 422)]
    {
        assert_eq!(api.call(Method::POST, lease, lease, body).await.status.as_u16(), status);
    }
    for (what, body) in [
        ("heartbeat", json!({"fence": 1, "token": "t"})),
        ("report", json!({"fence": 1, "token": "t", "outcome": {"kind": "probed", "holds": false}})),
    ] {
        let (template, path) =
            (format!("/api/v1/leases/{{action}}/{what}"), format!("/api/v1/leases/c-0/{what}"));
        let mut without = body.clone();
        without.as_object_mut().unwrap().remove("token");
        let answer = api.call(Method::POST, &template, &path, Some(body)).await;
        assert_eq!(answer.status, 409, "{what}: {}", answer.body);
        let answer = api.call(Method::POST, &template, &path, Some(without)).await;
        assert!(
            answer.status == 422 && answer.body["detail"].as_str().unwrap().contains("token"),
            "{}",
            answer.body
        );
    }
    let deliveries = api.get("/api/v1/deliveries", "/api/v1/deliveries").await;
    assert_eq!(deliveries["items"], json!([]), "nobody has subscribed");
    let (template, path) = ("/api/v1/deliveries/{sink}/replay", "/api/v1/deliveries/nobody/replay");
    let answer = api.call(Method::POST, template, path, Some(json!({"after": 0}))).await;
    assert_eq!(answer.status, 404);
    let (template, path) = ("/api/v1/deliveries/{sink}/resume", "/api/v1/deliveries/nobody/resume");
    assert_eq!(api.call(Method::POST, template, path, None).await.status, 404);
    for path in ["/healthz", "/readyz", "/metrics"] {
        api.get(path, path).await;
    }
    let request = api.request(Method::POST, "/api/v1/ingest/auto").body("{\"some\":\"record\"}\n");
    let answer = api.send(Method::POST, "/api/v1/ingest/{source_kind}", request).await;
    assert_eq!((answer.status.as_u16(), &answer.body["accepted"]), (200, &json!(1)));
    let nothing = api.request(Method::POST, "/api/v1/ingest/auto").body("\n");
    let answer = api.send(Method::POST, "/api/v1/ingest/{source_kind}", nothing).await;
    assert_eq!(answer.body["first_offset"], Value::Null);
}

async fn errors(api: &Api) {
    let get = |path: &str| api.request(Method::GET, path);
    for path in [
        "/api/v1/incidents?limit=many",
        "/api/v1/incidents?severity=urgent",
        "/api/v1/incidents?status=new,open",
        "/api/v1/incidents?sort=size",
        "/api/v1/incidents?since=yesterday",
        "/api/v1/incidents?cursor=here",
        "/api/v1/incidents?limit=0",
        "/api/v1/incidents?limit=100000",
        "/api/v1/incidents?from=yesterday",
        "/api/v1/incidents/i-0?bogus=1",
        "/api/v1/alerts?domain=house",
        "/api/v1/actions?state=undecided",
        "/api/v1/audit?cursor=x",
        "/api/v1/stream?types=rumour",
    ] {
        let problem: Value = api.refused(path, get(path), 400).await.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap_or_default();
        let (_, parameter) = path.split_once('?').unwrap();
        let (name, _) = parameter.split_once('=').unwrap();
        assert!(detail.contains(name) && !detail.contains("deserialize"), "{path}: {problem}");
    }
    for path in
        ["/nowhere", "/api/v1/nowhere", "/api/v1/incidents/i-0", "/api/v1/alerts/a-0", "/api/v1/actions/c-0"]
    {
        api.refused(path, get(path), 404).await;
    }
    let response = api.refused("method", api.request(Method::DELETE, "/api/v1/incidents"), 405).await;
    assert!(header(&response, ALLOW.as_str()).is_some_and(|methods| methods.contains("GET")));
    let hunt = || api.request(Method::POST, "/api/v1/hunt");
    let as_json = |body: String| hunt().header(CONTENT_TYPE, "application/json").body(body);
    api.refused("no JSON", as_json("{\"sql\":".into()), 400).await;
    api.refused("no SQL", hunt().json(&json!({"sql": "SELEKT"})), 400).await;
    api.refused("no media type", hunt().body("SELECT 1"), 415).await;
    let field = hunt().json(&json!({"sql": "SELECT 1", "speed": "high"}));
    said(api.refused("a field too many", field, 422).await, "the body does not fit: speed: unknown field")
        .await;
    let large = as_json(format!("{{\"sql\":\"{}\"}}", "x".repeat(1 << 20)));
    said(api.refused("large", large, 413).await, "more than 1048576 bytes").await;
    for (timeout_s, says) in [(0, "timeout_s is 0"), (100_000, "1 to 100 seconds")] {
        let timeout = hunt().json(&json!({"sql": "SELECT 1", "timeout_s": timeout_s}));
        said(api.refused("time out of range", timeout, 400).await, says).await;
    }
    api.refused("foreign name", get("/api/v1/incidents").header(HOST, "evil.example"), 403).await;
    let ingest = |kind: &str| api.request(Method::POST, &format!("/api/v1/ingest/{kind}"));
    said(api.refused("source kind", ingest("none").body("{}"), 404).await, "known: auto, ").await;
    let zstd = ingest("auto").header("content-encoding", "zstd").body("{}");
    said(api.refused("encoding", zstd, 415).await, "gzip").await;
}

/// A problem whose detail has these words.
async fn said(response: Response, words: &str) {
    let problem: Value = response.json().await.unwrap();
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{words}: {problem}");
}

async fn stream(api: &mut Api) {
    api.called.insert("stream".to_owned());
    let first = events(api.request(Method::GET, "/api/v1/stream?after=0&types=alert,incident")).await;
    assert!(first.len() >= 2 && first.iter().all(|e| e.name.contains('.')), "{first:?}");
    let resume = api.request(Method::GET, "/api/v1/stream?types=alert,incident");
    let resumed = events(resume.header("last-event-id", first[0].id.to_string())).await;
    assert_eq!(resumed[0].id, first[1].id, "nothing is left out");
    let schema = |kind: &str| match kind.split('.').next() {
        Some("alert") => json!({"$ref": "#/components/schemas/Alert"}),
        _ => json!({"$ref": "#/components/schemas/Incident"}),
    };
    for event in first {
        let faults = faults(&api.document, &schema(&event.name), &serde_json::from_str(&event.data).unwrap());
        assert!(faults.is_empty(), "{}: {}", event.name, faults.join("\n"));
    }
    let beyond = api.request(Method::GET, "/api/v1/stream").header("last-event-id", "999999999999");
    let gap = &events(beyond).await[0];
    assert_eq!(gap.name, "gap", "a client of other data is told to read again");
    assert!(gap.data.contains("\"reason\"") && gap.data.contains("999999999999"), "{gap:?}");
    let bad = api.request(Method::GET, "/api/v1/stream").header("last-event-id", "x");
    api.refused("no id", bad, 400).await;
}

#[derive(Debug)]
struct StreamEvent {
    id: u64,
    name: String,
    data: String,
}

/// The first events of a stream: those that come in its first chunks.
async fn events(request: RequestBuilder) -> Vec<StreamEvent> {
    let mut response = request.send().await.unwrap();
    assert_eq!(header(&response, CONTENT_TYPE.as_str()).as_deref(), Some("text/event-stream"));
    let mut bytes = Vec::new();
    let ends = |bytes: &[u8]| bytes.windows(2).filter(|pair| pair == b"\n\n").count();
    while ends(&bytes) < 3 {
        let chunk = tokio::time::timeout(Duration::from_secs(5), response.chunk()).await;
        let Ok(Ok(Some(chunk))) = chunk else { break };
        bytes.extend_from_slice(&chunk);
    }
    // A chunk may end within an event, or within a character.
    let text = String::from_utf8_lossy(&bytes);
    let end = text.rfind("\n\n").expect("an event");
    text[..end].split("\n\n").filter_map(event_of).collect()
}

/// An event; comments that keep the connection alive are none.
fn event_of(block: &str) -> Option<StreamEvent> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(StreamEvent {
        id: field("id")?.parse().unwrap(),
        name: field("event")?.to_owned(),
        data: field("data")?.to_owned(),
    })
}
