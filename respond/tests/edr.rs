//! The whole way from an incident to an isolated machine, over HTTP, at the simulated EDR with its faults.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use event::{
    Action, ActionState, Alert, AlertId, AttackTag, Class, Domain, Effect, EffectState, Entity, EntityType,
    Incident, IncidentId, IncidentStatus, RecordRef, Role, RuleRef, Severity, Tactic, TenantId, Time,
};
use respond::{
    ActionChange, ApiConfig, AuditEntry, AuditHead, Automation, DefenderExecutor, ExecuteError, Executor,
    Policy, Reply, RespondError, Responder, ResponseRules, Step, Work, Worker, drive,
};
use simulate::{EdrConfig, EdrMachine, EdrSimulator, Faults};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const HOST: &str = "ws-01.corp.example";
const TOKEN: &str = "very-secret-token";

fn incident(host: &str) -> (Incident, Vec<Alert>) {
    let device = Entity::new(EntityType::Device, Role::Device, host).unwrap();
    let alert = Alert {
        id: AlertId::new("a-1"),
        tenant: TenantId::default(),
        time: Time::from_secs(1_700_000_000),
        end_time: Time::from_secs(1_700_000_000),
        rule: RuleRef { id: "lsass".into(), title: "LSASS access".into(), author: None },
        title: "LSASS access".into(),
        severity: Severity::High,
        domain: Domain::Endpoint,
        product: "Sysmon".into(),
        source: "windows_event".into(),
        class: Class::PROCESS_ACTIVITY,
        event_uid: "1".into(),
        attack: vec![AttackTag::Tactic(Tactic::CredentialAccess)],
        entities: vec![device.clone()],
        records: vec![RecordRef { topic: "t".into(), partition: 0, offset: 0 }],
        evidence: Vec::new(),
    };
    let incident = Incident {
        id: IncidentId::new("i-1"),
        tenant: TenantId::default(),
        version: 1,
        status: IncidentStatus::New,
        redirect_to: None,
        title: "Credential theft".into(),
        summary: String::new(),
        severity: Severity::High,
        score: 80,
        confidence: 90,
        domains: vec![Domain::Email, Domain::Endpoint],
        tactics: vec![Tactic::CredentialAccess],
        techniques: vec!["T1003.001".into()],
        first_time: alert.time,
        last_time: alert.time,
        alerts: vec![alert.id.clone()],
        entities: vec![(device, 1)],
        joins: Vec::new(),
        sealed: false,
        assignee: None,
        classification: None,
        priority: Vec::new(),
        assets: Vec::new(),
        blast_radius: Default::default(),
        timeline: Vec::new(),
        links: Vec::new(),
    };
    (incident, vec![alert])
}

/// A responder with its storage, driven against a simulated EDR with a clock that only goes when told.
struct Bench {
    edr: EdrSimulator,
    responder: Responder,
    worker: Worker,
    now: Time,
    actions: BTreeMap<String, Action>,
    effects: BTreeMap<String, Effect>,
    audit: Vec<AuditEntry>,
}

fn new_responder() -> Responder {
    let (rules, report) = ResponseRules::load(ResponseRules::builtin_pack());
    assert_eq!(report.rejected, []);
    Responder::new(rules, Policy { automation: Automation::Full, ..Policy::default() }).unwrap()
}

fn executor(url: &str) -> DefenderExecutor {
    let mut config = ApiConfig::new(url, TOKEN);
    config.request_timeout = Duration::from_secs(5);
    DefenderExecutor::new(config).unwrap()
}

impl Bench {
    async fn new() -> Self {
        let edr = EdrSimulator::start(EdrConfig {
            token: TOKEN.into(),
            machines: vec![HOST.into(), "ws-02.corp.example".into()],
            pending: Duration::from_millis(5),
            running: Duration::from_millis(5),
            ..EdrConfig::default()
        });
        let edr = edr.await.unwrap();
        let worker = Worker::new([Arc::new(executor(&edr.url())) as Arc<dyn Executor>]);
        Bench {
            responder: new_responder(),
            worker,
            edr,
            now: Time::from_secs(1_700_000_000),
            actions: BTreeMap::new(),
            effects: BTreeMap::new(),
            audit: Vec::new(),
        }
    }

    fn store(&mut self, changes: Vec<ActionChange>) {
        for change in changes {
            self.actions.insert(change.action.id.to_string(), change.action);
            if let Some(effect) = change.effect {
                self.effects.insert(effect.id.to_string(), effect);
            }
            self.audit.push(change.audit);
        }
    }

    fn see(&mut self, host: &str) {
        let (incident, alerts) = incident(host);
        let Ok(changes) = self.responder.on_incident(&incident, || Ok::<_, Infallible>(alerts), self.now);
        self.store(changes);
    }

    /// Lets everything run that can, through pauses and retries, for half an hour of its clock.
    async fn run(&mut self) {
        for _ in 0..180 {
            self.now = self.now.plus_micros(10_000_000);
            let changes = self.responder.tick(self.now);
            self.store(changes);
            loop {
                let (mut stored, now) = (Vec::new(), self.now);
                let mut persist = async |changes: Vec<ActionChange>| {
                    stored.extend(changes);
                    Ok(())
                };
                let more = drive(&mut self.responder, &self.worker, || now, &mut persist).await.unwrap();
                self.store(stored);
                if !more {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(6)).await;
            }
            if self.actions.values().all(|a| a.state.is_final()) {
                return;
            }
        }
    }

    /// What is left after a kill: storage and the EDR.
    fn crash(&mut self) {
        let last = self.audit.last();
        let head = last
            .map_or_else(AuditHead::default, |e| AuditHead { sequence: e.sequence, hash: e.hash.clone() });
        self.responder = new_responder();
        let (actions, effects) = (self.actions.values().cloned(), self.effects.values().cloned());
        let changes = self.responder.restore(actions, effects, head, self.now);
        self.store(changes);
    }

    fn action(&self, verb: &str) -> &Action {
        let mut found = self.actions.values().filter(|a| a.verb == verb);
        let action = found.next().unwrap();
        assert!(found.next().is_none(), "more than one {verb}");
        action
    }

    fn effect(&self) -> &Effect {
        assert_eq!(self.effects.len(), 1);
        self.effects.values().next().unwrap()
    }

    fn machine(&self) -> EdrMachine {
        self.edr.machines().into_iter().find(|m| m.computer_dns_name == HOST).unwrap()
    }
}

#[tokio::test]
async fn an_incident_isolates_its_host_and_closing_it_releases_the_host() {
    let mut bench = Bench::new().await;
    bench.see("ws-01");
    bench.run().await;
    assert_eq!(bench.action("host.isolate").state, ActionState::Succeeded);
    assert_eq!(bench.effect().state, EffectState::Active);
    let machine = bench.machine();
    assert!(machine.isolated);
    assert_eq!((machine.isolate_requests, machine.isolations), (1, 1));
    assert!(!bench.edr.machines().iter().any(|m| m.computer_dns_name != HOST && m.isolate_requests > 0));

    bench.see("ws-01");
    bench.run().await;
    assert_eq!(bench.machine().isolate_requests, 1, "the same incident again does nothing");

    let (mut closed, _) = incident("ws-01");
    closed.status = IncidentStatus::Closed;
    let Ok(changes) = bench.responder.on_incident(&closed, || Ok::<_, Infallible>(Vec::new()), bench.now);
    bench.store(changes);
    bench.run().await;
    assert_eq!(bench.action("host.release").state, ActionState::Succeeded);
    assert_eq!(bench.effect().state, EffectState::Reverted);
    assert!(!bench.machine().isolated);
    respond::audit::verify(&AuditHead::default(), &bench.audit).unwrap();
    let text = serde_json::to_string(&bench.audit).unwrap();
    assert!(!text.contains(TOKEN), "no secret in the audit chain");
    assert!(
        bench
            .audit
            .iter()
            .any(|e| e.record.kind == "dispatch" && e.record.details.contains_key("request_hash"))
    );
}

#[tokio::test]
async fn an_effect_ends_when_its_time_is_over_and_by_undo() {
    let mut bench = Bench::new().await;
    bench.see(HOST);
    bench.run().await;
    bench.now = bench.now.plus_micros(25 * 3_600_000_000);
    bench.run().await;
    let changes = bench.responder.tick(bench.now);
    bench.store(changes);
    bench.run().await;
    assert_eq!(bench.effect().state, EffectState::Reverted);
    assert_eq!(bench.action("host.release").decision.rule, "ttl");

    let mut bench = Bench::new().await;
    bench.see(HOST);
    bench.run().await;
    let id = bench.action("host.isolate").id.clone();
    let changes = bench.responder.undo(&id, "ann", "false alarm", bench.now).unwrap();
    bench.store(changes);
    bench.run().await;
    assert!(!bench.machine().isolated);
    assert!(matches!(
        bench.responder.undo(&id, "ann", "again", bench.now),
        Err(RespondError::Conflict { .. })
    ));
}

#[tokio::test]
async fn a_lost_reply_and_server_errors_isolate_once() {
    for faults in [
        Faults { lost_replies: 1, ..Faults::default() },
        Faults { server_errors: 1, ..Faults::default() },
        Faults { server_errors: 2, ..Faults::default() },
        Faults { server_errors: 3, lost_replies: 1, ..Faults::default() },
        Faults { too_many_requests: 3, retry_after_s: 7, ..Faults::default() },
    ] {
        let mut bench = Bench::new().await;
        bench.edr.set_faults(faults.clone());
        bench.see(HOST);
        bench.run().await;
        let machine = bench.machine();
        assert_eq!(bench.action("host.isolate").state, ActionState::Succeeded, "{faults:?}");
        assert_eq!((machine.isolate_requests, machine.isolations), (1, 1), "{faults:?}");
    }
}

#[tokio::test]
async fn a_kill_after_the_request_and_a_restart_isolate_once() {
    let mut bench = Bench::new().await;
    bench.see(HOST);
    loop {
        bench.now = bench.now.plus_micros(1_000_000);
        let leased = bench.responder.next_work(bench.now).unwrap();
        bench.store(leased.changes);
        let report = bench.worker.perform(&leased.work).await;
        if leased.work.step == Step::Dispatch {
            assert!(matches!(report.outcome, Ok(Reply::Accepted { .. })));
            break;
        }
        let changes = bench.responder.report(report, bench.now).unwrap();
        bench.store(changes);
    }
    bench.crash();
    assert_eq!(bench.action("host.isolate").state, ActionState::OutcomeUnknown);
    bench.see(HOST);
    bench.run().await;
    assert_eq!(bench.action("host.isolate").state, ActionState::Succeeded);
    assert_eq!(bench.machine().isolate_requests, 1);
}

#[tokio::test]
async fn an_offline_machine_waits_and_a_failing_one_is_reported() {
    let mut bench = Bench::new().await;
    bench.edr.set_online(HOST, false);
    bench.see(HOST);
    bench.run().await;
    assert_eq!(bench.action("host.isolate").state, ActionState::Accepted);
    bench.edr.set_online(HOST, true);
    bench.run().await;
    assert_eq!(bench.action("host.isolate").state, ActionState::Succeeded);

    let mut bench = Bench::new().await;
    bench.edr.set_faults(Faults { failing_actions: 1, ..Faults::default() });
    bench.see(HOST);
    bench.run().await;
    assert_eq!(bench.action("host.isolate").state, ActionState::Failed);
    assert_eq!(bench.effect().state, EffectState::Absent);
    assert!(bench.effect().holders.is_empty());
}

#[tokio::test]
async fn an_offline_machine_can_be_cancelled() {
    let mut bench = Bench::new().await;
    bench.edr.set_online(HOST, false);
    bench.see(HOST);
    bench.run().await;
    let id = bench.action("host.isolate").id.clone();
    let changes = bench.responder.cancel(&id, "ann", "wrong host", bench.now).unwrap();
    bench.store(changes);
    bench.run().await;
    assert_eq!(bench.action("host.isolate").state, ActionState::Cancelled);
    bench.edr.set_online(HOST, true);
    assert!(!bench.machine().isolated);
}

#[tokio::test]
async fn an_unknown_machine_fails_and_a_foreign_isolation_is_left_alone() {
    let mut bench = Bench::new().await;
    bench.see("nobody-knows-me");
    bench.run().await;
    let action = bench.action("host.isolate");
    assert_eq!(action.state, ActionState::Failed);
    assert!(action.history.last().unwrap().note.contains("no machine is known as nobody-knows-me"));

    let mut bench = Bench::new().await;
    let id = bench.machine().id;
    let admin = reqwest::Client::new().post(format!("{}/api/machines/{id}/isolate", bench.edr.url()));
    let admin = admin.bearer_auth(TOKEN).json(&serde_json::json!({"Comment": "by an administrator"}));
    assert_eq!(admin.send().await.unwrap().status(), 201);
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.see(HOST);
    bench.run().await;
    assert_eq!(bench.action("host.isolate").state, ActionState::NoOp);
    assert_eq!(bench.effect().state, EffectState::Absent, "not ours to release later");
    assert_eq!(bench.machine().isolate_requests, 1);
}

fn work(bench: &mut Bench) -> Work {
    bench.see(HOST);
    bench.responder.next_work(bench.now.plus_micros(1)).unwrap().work
}

#[tokio::test]
async fn hostile_answers_are_bounded_and_the_token_is_never_shown() {
    let mut bench = Bench::new().await;
    let request = work(&mut bench).request;
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{{{",
        b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\ncontent-length: 0\r\n\r\n",
        b"\x00\xff\xfe garbage",
        b"",
    ];
    for answer in answers {
        let url = serve(answer.to_vec()).await;
        let error = executor(&url).probe(&request).await.unwrap_err();
        assert!(!error.to_string().contains(TOKEN), "{error}");
        let dispatched = executor(&url).execute(&request).await.unwrap_err();
        assert!(!dispatched.to_string().contains(TOKEN), "{dispatched}");
    }
    let mut huge = b"HTTP/1.1 200 OK\r\n\r\n{\"value\":[".to_vec();
    huge.resize(6 << 20, b' ');
    let error = executor(&serve(huge).await).probe(&request).await.unwrap_err();
    assert!(error.to_string().contains("over"), "{error}");

    let nobody = executor("http://127.0.0.1:1");
    assert!(
        matches!(nobody.execute(&request).await, Err(ExecuteError::Retryable { .. })),
        "certainly not sent"
    );
    assert!(!format!("{nobody:?} {:?}", ApiConfig::new("x", TOKEN)).contains(TOKEN));
}

#[tokio::test]
async fn a_wrong_token_is_terminal_and_bad_settings_are_refused() {
    let mut bench = Bench::new().await;
    let request = work(&mut bench).request;
    let wrong = DefenderExecutor::new(ApiConfig::new(bench.edr.url(), "other")).unwrap();
    assert!(
        matches!(wrong.probe(&request).await, Err(ExecuteError::Terminal(text)) if text.starts_with("401 "))
    );
    for (url, token) in [("nonsense", "t"), ("ftp://host", "t"), ("http://host", ""), ("http://host", "a b")]
    {
        assert!(DefenderExecutor::new(ApiConfig::new(url, token)).is_err(), "{url} {token:?}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_stored_stops_before_anything_is_sent() {
    let mut bench = Bench::new().await;
    bench.see(HOST);
    let now = bench.now.plus_micros(1);
    let mut full = async |_: Vec<ActionChange>| Err(RespondError::NotStored("disk full".into()));
    let error = drive(&mut bench.responder, &bench.worker, || now, &mut full).await.unwrap_err();
    assert!(matches!(error, RespondError::NotStored(_)));
    assert_eq!(bench.machine().isolate_requests, 0);
}

/// A server that gives every connection the same bytes and closes it.
async fn serve(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _read = socket.read(&mut request).await;
            let _written = socket.write_all(&answer).await;
        }
    });
    format!("http://{address}")
}
