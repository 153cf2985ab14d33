//! Hosts, tags and indicators at the simulated Falcon, by the shipped connector, with faults.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

mod support;

use std::sync::Arc;
use std::time::Duration;

use event::{ActionId, ActionState, EffectState, Entity, EntityType, IncidentId, Role, Target, TenantId};
use respond::{
    ApiConfig, ClientCredentials, Connector, ConnectorExecutor, ExecuteError, Executor, Progress, Request,
    Verb,
};
use serde_json::json;
use simulate::{FalconConfig, FalconHost, FalconSimulator, Faults};
use support::Engine;

const HOST: &str = "ws-01.corp.example";
const SECRET: &str = "very-secret-client";
const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Asks for the isolation of a device with an alert on it.
const RULE: &str = "id: isolate\ntitle: Isolate\nauthor: test\ndescription: test\nwhen: 'true'\n\
                    target: attacked_devices\naction: host.isolate\nttl: 24h\n";

fn config() -> FalconConfig {
    FalconConfig {
        client_secret: SECRET.into(),
        hosts: vec![HOST.into(), "ws-02.corp.example".into()],
        pending: Duration::from_millis(5),
        ..FalconConfig::default()
    }
}

fn executor(falcon: &FalconSimulator, secret: &str) -> ConnectorExecutor {
    let (file, text) =
        Connector::builtin().into_iter().find(|(file, _)| *file == "crowdstrike_falcon.yml").unwrap();
    // What is simulated is seen at once.
    let text = text.replace("lag_s: 5", "lag_s: 0");
    let credentials = ClientCredentials {
        token_url: format!("{}/oauth2/token", falcon.url()),
        client_id: "asterism".into(),
        proof: secret.into(),
        scope: None,
    };
    let mut api = ApiConfig::new(falcon.url(), credentials);
    api.request_timeout = Duration::from_secs(5);
    ConnectorExecutor::new(Connector::parse(file, &text).unwrap(), api).unwrap()
}

/// The connector without an engine.
struct Bench {
    falcon: FalconSimulator,
    executor: ConnectorExecutor,
}

impl Bench {
    async fn new(config: FalconConfig) -> Self {
        let falcon = FalconSimulator::start(config).await.unwrap();
        let executor = executor(&falcon, SECRET);
        Bench { falcon, executor }
    }

    /// Polls until it is done.
    async fn done(&self, request: &Request, reference: &str) {
        while self.executor.poll(request, reference).await.unwrap() != Progress::Done {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Execute, poll, verify: whether the effect holds after.
    async fn run(&self, request: &Request) -> bool {
        let reference = self.executor.execute(request).await.unwrap();
        self.done(request, &reference).await;
        self.executor.verify(request).await.unwrap().holds
    }

    async fn refusal(&self, request: &Request) -> String {
        match self.executor.probe(request).await.unwrap_err() {
            ExecuteError::Terminal(text) => text,
            other => panic!("{other:?}"),
        }
    }
}

fn host(falcon: &FalconSimulator, name: &str) -> FalconHost {
    let hosts = falcon.truth().hosts.into_values();
    let is_it = |host: &FalconHost| {
        let domain = host.machine_domain.iter().map(|domain| format!(".{domain}")).collect::<String>();
        format!("{}{domain}", host.hostname).eq_ignore_ascii_case(name)
    };
    hosts.filter(is_it).max_by_key(|host| host.contain_requests).unwrap()
}

fn request(verb: Verb, names: &[(EntityType, &str)], args: &[(&str, &str)]) -> Request {
    let mut identifiers: Vec<Entity> =
        names.iter().map(|(t, value)| Entity::new(*t, Role::Target, value).unwrap()).collect();
    let target = Target { entity: identifiers[0].clone(), identifiers: Vec::new(), label: None };
    identifiers.sort();
    let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request {
        action: ActionId::new("c-1"),
        tenant: TenantId::default(),
        verb,
        target: Target { identifiers, ..target },
        args: verb.complete_args(&args).unwrap(),
        comment: "asterism:c-1 incident i-1 rule r".into(),
        provider_ref: None,
        incident: IncidentId::new("i-1"),
        title: "Credential theft on ws-01".into(),
        attempts: 0,
        in_doubt: false,
        kept: None,
    }
}

fn of_host(verb: Verb, names: &[&str]) -> Request {
    let names: Vec<(EntityType, &str)> = names.iter().map(|name| (EntityType::Device, *name)).collect();
    request(verb, &names, &[])
}

fn device() -> Entity {
    Entity::new(EntityType::Device, Role::Device, HOST).unwrap()
}

async fn engine() -> (FalconSimulator, Engine) {
    let falcon = FalconSimulator::start(config()).await.unwrap();
    let engine = Engine::new(vec![("rule.yml".into(), RULE.into())], executor(&falcon, SECRET));
    (falcon, engine)
}

#[tokio::test]
async fn an_incident_contains_its_host_and_closing_it_lifts_the_containment() {
    let (falcon, mut engine) = engine().await;
    engine.see(&device());
    engine.run().await;
    assert_eq!(engine.action("host.isolate").state, ActionState::Succeeded);
    let contained = host(&falcon, HOST);
    assert_eq!((contained.status.as_str(), contained.contain_requests), ("contained", 1));
    assert_eq!(host(&falcon, "ws-02.corp.example").contain_requests, 0);
    engine.see(&device());
    engine.run().await;
    assert_eq!(host(&falcon, HOST).contain_requests, 1, "the same incident again does nothing");
    engine.close(&device());
    engine.run().await;
    assert_eq!(engine.action("host.release").state, ActionState::Succeeded);
    assert_eq!(engine.effect().state, EffectState::Reverted);
    let free = host(&falcon, HOST);
    assert_eq!((free.status.as_str(), free.lift_requests), ("normal", 1));
    assert!(!serde_json::to_string(&engine.audit).unwrap().contains(SECRET));
}

#[tokio::test]
async fn a_lost_reply_and_server_errors_contain_once() {
    for faults in [
        Faults { lost_replies: 1, ..Faults::default() },
        Faults { server_errors: 1, ..Faults::default() },
        Faults { server_errors: 2, ..Faults::default() },
        Faults { server_errors: 3, lost_replies: 1, ..Faults::default() },
        Faults { too_many_requests: 3, retry_after_s: 7, ..Faults::default() },
    ] {
        let (falcon, mut engine) = engine().await;
        falcon.set_faults(faults.clone());
        engine.see(&device());
        engine.run().await;
        assert_eq!(engine.action("host.isolate").state, ActionState::Succeeded, "{faults:?}");
        let host = host(&falcon, HOST);
        assert_eq!((host.contain_requests, host.containments), (1, 1), "{faults:?}");
    }
}

#[tokio::test]
async fn a_kill_while_an_offline_host_waits_contains_it_once() {
    let (falcon, mut engine) = engine().await;
    let id = host(&falcon, HOST).device_id;
    falcon.change_host(&id, |host| host.online = false);
    engine.see(&device());
    engine.die_after_dispatch().await;
    assert_eq!(engine.action("host.isolate").state, ActionState::OutcomeUnknown);
    engine.run().await;
    assert_eq!(engine.action("host.isolate").state, ActionState::Running, "it waits for the host");
    falcon.change_host(&id, |host| host.online = true);
    engine.run().await;
    assert_eq!(engine.action("host.isolate").state, ActionState::Succeeded);
    assert_eq!(host(&falcon, HOST).contain_requests, 1);
}

#[tokio::test]
async fn what_others_contain_and_lift_is_left_to_them() {
    let (falcon, mut engine) = engine().await;
    let id = host(&falcon, HOST).device_id;
    let set = |status: &'static str| falcon.change_host(&id, |host| host.status = status.to_owned());
    falcon.change_host(&id, |host| host.online = false);
    set("containment_pending");
    engine.see(&device());
    engine.run().await;
    assert_eq!(
        engine.action("host.isolate").state,
        ActionState::Queued,
        "somebody else's request is under way"
    );
    falcon.change_host(&id, |host| host.online = true);
    engine.run().await;
    assert_eq!(engine.action("host.isolate").state, ActionState::NoOp);
    assert_eq!(engine.effect().state, EffectState::Absent, "not ours to lift later");
    assert_eq!(host(&falcon, HOST).contain_requests, 0);

    let (falcon, mut engine) = self::engine().await;
    engine.see(&device());
    engine.run().await;
    falcon.change_host(&id, |host| host.status = "normal".to_owned());
    engine.close(&device());
    engine.run().await;
    assert_eq!(engine.action("host.release").state, ActionState::NoOp);
    assert_eq!(host(&falcon, HOST).lift_requests, 0, "it was lifted by hand before");
}

#[tokio::test]
async fn what_is_still_to_be_contained_is_released_too() {
    let bench = Bench::new(config()).await;
    let id = host(&bench.falcon, HOST).device_id;
    bench.falcon.change_host(&id, |host| host.online = false);
    bench.executor.execute(&of_host(Verb::HostIsolate, &[HOST])).await.unwrap();
    let release = of_host(Verb::HostRelease, &[HOST]);
    assert!(bench.executor.probe(&release).await.unwrap().holds);
    let reference = bench.executor.execute(&release).await.unwrap();
    assert_eq!(bench.executor.poll(&release, &reference).await.unwrap(), Progress::Running);
    bench.falcon.change_host(&id, |host| host.online = true);
    bench.done(&release, &reference).await;
    assert_eq!(host(&bench.falcon, HOST).containments, 0);
}

#[tokio::test]
async fn a_host_is_found_by_any_of_its_names_and_by_no_others() {
    let bench = Bench::new(config()).await;
    let id = host(&bench.falcon, HOST).device_id;
    for names in
        [&[HOST][..], &["ws-01"], &[id.as_str()], &["ws-01", HOST, "s-1-5-21-7"], &["o'brien", "ws-01"]]
    {
        let probe = bench.executor.probe(&of_host(Verb::HostIsolate, names)).await;
        assert_eq!(probe.unwrap().evidence, "crowdstrike_falcon: status is normal", "{names:?}");
    }
    // A search for `ws` brings ws-01 and ws-02; one for ws-01 brings a host of another domain.
    for names in [&["ws"][..], &["nobody"], &["ws-01.lab.example", "ws-01"], &["x'+status:'normal"], &["*"]] {
        let refusal = bench.refusal(&of_host(Verb::HostIsolate, names)).await;
        assert!(refusal.starts_with("crowdstrike_falcon knows nothing as "), "{names:?} {refusal}");
    }
}

#[tokio::test]
async fn of_two_hosts_of_one_name_neither_is_acted_on() {
    let bench = Bench::new(config()).await;
    bench.falcon.install("ws-01.lab.example");
    let refusal = bench.refusal(&of_host(Verb::HostIsolate, &["ws-01"])).await;
    assert_eq!(refusal, "2 things are known as ws-01: not acting on any");
    assert!(
        bench.executor.probe(&of_host(Verb::HostIsolate, &["ws-01", HOST])).await.is_ok(),
        "its domain tells"
    );
    bench.falcon.install(HOST);
    let isolate = of_host(Verb::HostIsolate, &[HOST]);
    assert_eq!(bench.refusal(&isolate).await, format!("2 things are known as {HOST}: not acting on any"));
    assert!(bench.executor.execute(&isolate).await.is_err(), "found again before it is sent");
    assert!(bench.falcon.truth().hosts.values().all(|host| host.contain_requests == 0));
}

#[tokio::test]
async fn a_host_among_more_than_a_page_is_not_taken() {
    let bench = Bench::new(config()).await;
    for n in 0..120 {
        bench.falcon.install(&format!("srv-{n}"));
    }
    bench.falcon.install("srv");
    let refusal = bench.refusal(&of_host(Verb::HostIsolate, &["srv"])).await;
    assert_eq!(refusal, "100 things are known as srv: not acting on any");
}

#[tokio::test]
async fn an_error_beside_success_is_a_refusal_and_selective_isolation_is_not_promised() {
    let bench = Bench::new(config()).await;
    bench.falcon.set_faults(Faults { hidden_errors: 1, ..Faults::default() });
    let refused = bench.executor.execute(&of_host(Verb::HostIsolate, &[HOST])).await.unwrap_err();
    assert_eq!(refused, ExecuteError::Terminal("refused: injected, not done".into()));
    let selective =
        request(Verb::HostIsolate, &[(EntityType::Device, HOST)], &[("isolation_type", "selective")]);
    let refusal = bench.refusal(&selective).await;
    assert_eq!(refusal, "crowdstrike_falcon cannot host.isolate with isolation_type selective");
    assert!(bench.executor.execute(&selective).await.is_err());
    assert_eq!(host(&bench.falcon, HOST).contain_requests, 0);
}

#[tokio::test]
async fn a_tag_is_put_on_and_taken_off() {
    let bench = Bench::new(config()).await;
    let tag = |verb, tag| request(verb, &[(EntityType::Device, HOST)], &[("tag", tag)]);
    assert!(bench.run(&tag(Verb::HostTag, "under-attack")).await);
    assert!(!bench.executor.probe(&tag(Verb::HostTag, "another")).await.unwrap().holds);
    assert_eq!(
        host(&bench.falcon, HOST).tags.into_iter().collect::<Vec<_>>(),
        ["FalconGroupingTags/under-attack"]
    );
    assert!(!bench.run(&tag(Verb::HostUntag, "under-attack")).await);
    assert!(host(&bench.falcon, HOST).tags.is_empty());
    assert!(bench.refusal(&tag(Verb::HostTag, "two words")).await.contains("does host.tag only where"));
}

fn of_scan(depth: &str) -> Request {
    request(Verb::HostScan, &[(EntityType::Device, HOST)], &[("depth", depth)])
}

#[tokio::test]
async fn a_host_is_scanned_once_though_an_answer_was_lost() {
    for (depth, paths) in [("quick", 3), ("full", 1)] {
        let bench = Bench::new(config()).await;
        let scan = of_scan(depth);
        assert!(!bench.executor.probe(&scan).await.unwrap().holds);
        assert!(bench.run(&scan).await);
        let scans = bench.falcon.truth().scans;
        let done = scans.values().next().unwrap();
        assert_eq!(
            (scans.len(), done.description.as_str(), done.file_paths.len()),
            (1, "asterism-c-1", paths)
        );
        assert_eq!(done.hosts, [host(&bench.falcon, HOST).device_id]);
        let other = Request { action: ActionId::new("c-12"), ..scan };
        assert!(!bench.executor.probe(&other).await.unwrap().holds, "that was for another action");
    }
    for faults in [
        Faults { lost_replies: 1, ..Faults::default() },
        Faults { server_errors: 2, ..Faults::default() },
        Faults { too_many_requests: 2, retry_after_s: 7, ..Faults::default() },
    ] {
        let (falcon, mut engine) = scanning().await;
        falcon.set_faults(faults.clone());
        engine.see(&device());
        engine.run().await;
        assert_eq!(engine.action("host.scan").state, ActionState::Succeeded, "{faults:?}");
        assert_eq!(falcon.truth().changes["scan"], 1, "{faults:?}");
    }
}

async fn scanning() -> (FalconSimulator, Engine) {
    let falcon = FalconSimulator::start(config()).await.unwrap();
    let rule = "id: scan\ntitle: Scan\nwhen: 'true'\ntarget: attacked_devices\naction: host.scan\n";
    let engine = Engine::new(vec![("rule.yml".into(), rule.into())], executor(&falcon, SECRET));
    (falcon, engine)
}

#[tokio::test]
async fn a_scan_that_waits_for_its_host_is_cancelled_at_the_vendor() {
    let (falcon, mut engine) = scanning().await;
    assert!(executor(&falcon, SECRET).capability().verbs[&Verb::HostScan].cancellable);
    let id = host(&falcon, HOST).device_id;
    falcon.change_host(&id, |host| host.online = false);
    engine.see(&device());
    engine.run().await;
    let action = engine.action("host.scan").clone();
    assert_eq!(action.state, ActionState::Running);
    let changes = engine.responder.cancel(&action.id, "ann", "wrong host", engine.now).unwrap();
    engine.store(changes);
    engine.run().await;
    assert_eq!(engine.action("host.scan").state, ActionState::Cancelled);
    assert_eq!(falcon.truth().changes["cancel_scan"], 1);
    falcon.change_host(&id, |host| host.online = true);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(falcon.truth().scans.values().all(|scan| scan.status == "canceled"));
}

#[tokio::test]
async fn a_scan_that_is_over_cannot_be_cancelled_and_one_that_others_cancelled_is_not_ours_to_wait_for() {
    let bench = Bench::new(config()).await;
    let scan = of_scan("quick");
    let reference = bench.executor.execute(&scan).await.unwrap();
    bench.done(&scan, &reference).await;
    assert!(!bench.executor.cancel(&scan, &reference).await.unwrap());
    let id = host(&bench.falcon, HOST).device_id;
    bench.falcon.change_host(&id, |host| host.online = false);
    let reference = bench.executor.execute(&scan).await.unwrap();
    assert!(bench.executor.cancel(&scan, &reference).await.unwrap(), "as somebody in the console does");
    assert_eq!(bench.executor.poll(&scan, &reference).await.unwrap(), Progress::Cancelled);
}

fn of_file(verb: Verb, args: &[(&str, &str)]) -> Request {
    let names = [SHA256, "c:\\temp\\x.exe", "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"];
    request(verb, &names.map(|name| (EntityType::File, name)), args)
}

#[tokio::test]
async fn a_file_is_blocked_by_its_hash_and_allowed_again() {
    let bench = Bench::new(config()).await;
    let actions = || {
        let indicators = bench.falcon.truth().indicators.into_values();
        indicators.map(|i| format!("{} {} {}", i["type"], i["value"], i["action"])).collect::<Vec<_>>()
    };
    for (mode, action) in [("block", "prevent"), ("audit", "detect")] {
        let block = of_file(Verb::IndicatorBlock, &[("mode", mode)]);
        assert!(!bench.executor.probe(&block).await.unwrap().holds);
        assert!(bench.run(&block).await);
        assert_eq!(actions(), [format!("\"sha256\" \"{SHA256}\" \"{action}\"")]);
        assert!(!bench.run(&of_file(Verb::IndicatorUnblock, &[])).await);
        assert_eq!(actions(), [""; 0]);
    }
    let md5 = request(Verb::IndicatorBlock, &[(EntityType::File, "098f6bcd4621d373cade4e832627b4f6")], &[]);
    assert!(bench.run(&md5).await);
    assert!(actions()[0].starts_with("\"md5\""));

    let path = request(Verb::IndicatorBlock, &[(EntityType::File, "c:\\temp\\x.exe")], &[]);
    assert!(bench.refusal(&path).await.contains("knows nothing as"));
    for (unfit, says) in [
        (request(Verb::IndicatorBlock, &[(EntityType::Ip, "203.0.113.7")], &[]), "on ip"),
        (of_file(Verb::IndicatorBlock, &[("mode", "warn")]), "with mode warn"),
    ] {
        assert_eq!(bench.refusal(&unfit).await, format!("crowdstrike_falcon cannot indicator.block {says}"));
    }
}

#[tokio::test]
async fn an_indicator_of_somebody_else_is_neither_changed_nor_deleted() {
    let bench = Bench::new(config()).await;
    let block = of_file(Verb::IndicatorBlock, &[]);
    assert!(bench.run(&block).await);
    let again = bench.executor.execute(&block).await.unwrap_err();
    assert_eq!(again, ExecuteError::Terminal("400 duplicate combination of type and value".into()));

    let bench = Bench::new(config()).await;
    let token = reqwest::Client::new().post(format!("{}/oauth2/token", bench.falcon.url()));
    let form = format!("client_id=asterism&client_secret={SECRET}");
    let token =
        token.header("content-type", "application/x-www-form-urlencoded").body(form).send().await.unwrap();
    let token: serde_json::Value = token.json().await.unwrap();
    let theirs = json!({"type": "sha256", "value": SHA256, "action": "prevent", "severity": "high", "source": "kim",
                        "platforms": ["windows"], "applied_globally": true});
    let add = reqwest::Client::new().post(format!("{}/iocs/entities/indicators/v1", bench.falcon.url()));
    let add = add.bearer_auth(token["access_token"].as_str().unwrap()).json(&json!({"indicators": [theirs]}));
    assert_eq!(add.send().await.unwrap().status(), 201);
    assert!(bench.executor.probe(&block).await.unwrap().holds, "it is blocked already");
    let unblock = of_file(Verb::IndicatorUnblock, &[]);
    assert!(!bench.executor.probe(&unblock).await.unwrap().holds, "nothing of ours is there");
    assert!(bench.executor.execute(&unblock).await.is_err());
    assert_eq!(bench.falcon.truth().indicators.len(), 1);
}

#[tokio::test]
async fn a_token_serves_many_requests_and_is_renewed_before_its_end_and_after_a_401() {
    let tokens = |falcon: &FalconSimulator| falcon.truth().changes["token"];
    let bench = Bench::new(config()).await;
    bench.falcon.set_faults(Faults { latency_ms: 20, ..Faults::default() });
    let executor = Arc::new(bench.executor);
    let mut probes = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let executor = Arc::clone(&executor);
        probes.spawn(async move { executor.probe(&of_host(Verb::HostIsolate, &[HOST])).await.unwrap() });
    }
    probes.join_all().await;
    assert_eq!(tokens(&bench.falcon), 1);
    bench.falcon.revoke_tokens();
    executor.execute(&of_host(Verb::HostIsolate, &[HOST])).await.unwrap();
    assert_eq!((tokens(&bench.falcon), host(&bench.falcon, HOST).contain_requests), (2, 1));

    let bench = Bench::new(FalconConfig { token_life: Duration::from_secs(2), ..config() }).await;
    let isolate = of_host(Verb::HostIsolate, &[HOST]);
    bench.executor.probe(&isolate).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_850)).await;
    bench.executor.probe(&isolate).await.unwrap();
    assert_eq!(tokens(&bench.falcon), 2);

    let bench = Bench::new(FalconConfig { token_life: Duration::ZERO, ..config() }).await;
    assert_eq!(bench.refusal(&isolate).await, "401 access denied, invalid bearer token");
    assert_eq!(tokens(&bench.falcon), 2, "one renewal, no more");
}

#[tokio::test]
async fn falcon_says_when_to_come_again_and_a_wrong_secret_stands_nowhere() {
    let bench = Bench::new(config()).await;
    let isolate = of_host(Verb::HostIsolate, &[HOST]);
    bench.falcon.set_faults(Faults { too_many_requests: 1, retry_after_s: 30, ..Faults::default() });
    let slow = bench.executor.execute(&isolate).await.unwrap_err();
    let ExecuteError::Retryable { message, after_s: Some(after_s) } = slow else { panic!("{slow:?}") };
    assert_eq!(message, "429 API rate limit exceeded.");
    assert!((28..=30).contains(&after_s), "{after_s}");

    let wrong = executor(&bench.falcon, "another-secret");
    let error = wrong.probe(&isolate).await.unwrap_err();
    assert_eq!(error, ExecuteError::Terminal("token endpoint: 403".into()));
    assert!(!format!("{wrong:?}").contains("secret"));
    assert_eq!(bench.falcon.truth().changes.get("contain"), None);
}

#[test]
fn credentials_without_id_or_secret_or_with_a_wrong_address_are_refused() {
    let (file, text) = Connector::builtin()[0];
    for (token_url, client_id, secret) in [
        ("nonsense", "a", SECRET),
        ("ftp://host", "a", SECRET),
        ("http://host", "", SECRET),
        ("http://host", "a", ""),
    ] {
        let credentials = ClientCredentials {
            token_url: token_url.into(),
            client_id: client_id.into(),
            proof: secret.into(),
            scope: None,
        };
        let api = ApiConfig::new("http://host", credentials);
        assert!(!format!("{api:?}").contains(SECRET));
        let error = ConnectorExecutor::new(Connector::parse(file, text).unwrap(), api).unwrap_err();
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}
