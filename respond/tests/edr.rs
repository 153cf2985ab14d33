//! The whole way from an incident to an isolated machine, over HTTP, at the simulated EDR with its faults.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

mod support;

use std::time::Duration;

use event::{ActionState, EffectState, Entity, EntityType, Role};
use respond::{
    ActionChange, ApiConfig, AuditHead, Connector, ConnectorExecutor, DefenderExecutor, ExecuteError,
    Executor, Progress, Request, RespondError, ResponseRules, Verb, Work, drive,
};
use simulate::{EdrConfig, EdrMachine, EdrSimulator, Faults};
use support::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const HOST: &str = "ws-01.corp.example";
const TOKEN: &str = "very-secret-token";

/// An engine with the shipped rules against a simulated EDR.
struct Bench {
    edr: EdrSimulator,
    engine: Engine,
}

fn executor(url: &str) -> DefenderExecutor {
    let mut config = ApiConfig::new(url, TOKEN);
    config.request_timeout = Duration::from_secs(5);
    DefenderExecutor::new(config).unwrap()
}

fn device(name: &str) -> Entity {
    Entity::new(EntityType::Device, Role::Device, name).unwrap()
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
        let engine = Engine::new(ResponseRules::builtin_pack(), executor(&edr.url()));
        Bench { edr, engine }
    }

    fn machine(&self) -> EdrMachine {
        self.edr.machines().into_iter().find(|m| m.computer_dns_name == HOST).unwrap()
    }
}

#[tokio::test]
async fn an_incident_isolates_its_host_and_closing_it_releases_the_host() {
    let mut bench = Bench::new().await;
    bench.engine.see(&device("ws-01"));
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.isolate").state, ActionState::Succeeded);
    assert_eq!(bench.engine.effect().state, EffectState::Active);
    let machine = bench.machine();
    assert!(machine.isolated);
    assert_eq!((machine.isolate_requests, machine.isolations), (1, 1));
    assert!(!bench.edr.machines().iter().any(|m| m.computer_dns_name != HOST && m.isolate_requests > 0));

    bench.engine.see(&device("ws-01"));
    bench.engine.run().await;
    assert_eq!(bench.machine().isolate_requests, 1, "the same incident again does nothing");

    bench.engine.close(&device("ws-01"));
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.release").state, ActionState::Succeeded);
    assert_eq!(bench.engine.effect().state, EffectState::Reverted);
    assert!(!bench.machine().isolated);
    respond::audit::verify(&AuditHead::default(), &bench.engine.audit).unwrap();
    let text = serde_json::to_string(&bench.engine.audit).unwrap();
    assert!(!text.contains(TOKEN), "no secret in the audit chain");
    assert!(
        bench
            .engine
            .audit
            .iter()
            .any(|e| e.record.kind == "dispatch" && e.record.details.contains_key("request_hash"))
    );
}

#[tokio::test]
async fn an_effect_ends_when_its_time_is_over_and_by_undo() {
    let mut bench = Bench::new().await;
    bench.engine.see(&device(HOST));
    bench.engine.run().await;
    bench.engine.now = bench.engine.now.plus_micros(25 * 3_600_000_000);
    bench.engine.run().await;
    let changes = bench.engine.responder.tick(bench.engine.now);
    bench.engine.store(changes);
    bench.engine.run().await;
    assert_eq!(bench.engine.effect().state, EffectState::Reverted);
    assert_eq!(bench.engine.action("host.release").decision.rule, "ttl");

    let mut bench = Bench::new().await;
    bench.engine.see(&device(HOST));
    bench.engine.run().await;
    let id = bench.engine.action("host.isolate").id.clone();
    let changes = bench.engine.responder.undo(&id, "ann", "false alarm", bench.engine.now).unwrap();
    bench.engine.store(changes);
    bench.engine.run().await;
    assert!(!bench.machine().isolated);
    assert!(matches!(
        bench.engine.responder.undo(&id, "ann", "again", bench.engine.now),
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
        bench.engine.see(&device(HOST));
        bench.engine.run().await;
        let machine = bench.machine();
        assert_eq!(bench.engine.action("host.isolate").state, ActionState::Succeeded, "{faults:?}");
        assert_eq!((machine.isolate_requests, machine.isolations), (1, 1), "{faults:?}");
    }
}

#[tokio::test]
async fn a_kill_after_the_request_and_a_restart_isolate_once() {
    let mut bench = Bench::new().await;
    bench.engine.see(&device(HOST));
    bench.engine.die_after_dispatch().await;
    assert_eq!(bench.engine.action("host.isolate").state, ActionState::OutcomeUnknown);
    bench.engine.see(&device(HOST));
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.isolate").state, ActionState::Succeeded);
    assert_eq!(bench.machine().isolate_requests, 1);
}

#[tokio::test]
async fn an_offline_machine_waits_and_a_failing_one_is_reported() {
    let mut bench = Bench::new().await;
    bench.edr.set_online(HOST, false);
    bench.engine.see(&device(HOST));
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.isolate").state, ActionState::Accepted);
    bench.edr.set_online(HOST, true);
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.isolate").state, ActionState::Succeeded);

    let mut bench = Bench::new().await;
    bench.edr.set_faults(Faults { failing_actions: 1, ..Faults::default() });
    bench.engine.see(&device(HOST));
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.isolate").state, ActionState::Failed);
    assert_eq!(bench.engine.effect().state, EffectState::Absent);
    assert!(bench.engine.effect().holders.is_empty());
}

#[tokio::test]
async fn an_offline_machine_can_be_cancelled() {
    let mut bench = Bench::new().await;
    bench.edr.set_online(HOST, false);
    bench.engine.see(&device(HOST));
    bench.engine.run().await;
    let id = bench.engine.action("host.isolate").id.clone();
    let changes = bench.engine.responder.cancel(&id, "ann", "wrong host", bench.engine.now).unwrap();
    bench.engine.store(changes);
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.isolate").state, ActionState::Cancelled);
    bench.edr.set_online(HOST, true);
    assert!(!bench.machine().isolated);
}

#[tokio::test]
async fn an_unknown_machine_fails_and_a_foreign_isolation_is_left_alone() {
    let mut bench = Bench::new().await;
    bench.engine.see(&device("nobody-knows-me"));
    bench.engine.run().await;
    let action = bench.engine.action("host.isolate");
    assert_eq!(action.state, ActionState::Failed);
    assert!(action.history.last().unwrap().note.contains("no machine is known as nobody-knows-me"));

    let mut bench = Bench::new().await;
    let id = bench.machine().id;
    let admin = reqwest::Client::new().post(format!("{}/api/machines/{id}/isolate", bench.edr.url()));
    let admin = admin.bearer_auth(TOKEN).json(&serde_json::json!({"Comment": "by an administrator"}));
    assert_eq!(admin.send().await.unwrap().status(), 201);
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.engine.see(&device(HOST));
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.isolate").state, ActionState::NoOp);
    assert_eq!(bench.engine.effect().state, EffectState::Absent, "not ours to release later");
    assert_eq!(bench.machine().isolate_requests, 1);
}

/// One that does what a rule asks for, which is this verb.
async fn doing(verb: &str, more: &str) -> Bench {
    let rule = format!(
        "id: r\ntitle: T\nwhen: incident.confidence >= 80\ntarget: attacked_devices\naction: {verb}\n{more}"
    );
    let Bench { edr, .. } = Bench::new().await;
    let engine = Engine::new(vec![("r.yml".to_owned(), rule)], executor(&edr.url()));
    Bench { edr, engine }
}

#[tokio::test]
async fn what_may_run_is_restricted_and_set_free_again() {
    let mut bench = doing("host.restrict_apps", "ttl: 1h\n").await;
    // Isolation is another matter: it is neither in the way nor mistaken for the restriction.
    let isolate = format!("{}/api/machines/{HOST}/isolate", bench.edr.url());
    let admin = reqwest::Client::new().post(isolate).bearer_auth(TOKEN);
    admin.json(&serde_json::json!({"Comment": "by an administrator"})).send().await.unwrap();
    bench.engine.see(&device(HOST));
    bench.engine.run().await;
    assert_eq!(bench.engine.action("host.restrict_apps").state, ActionState::Succeeded);
    assert_eq!(bench.engine.effect().state, EffectState::Active);
    assert!(bench.machine().restricted);
    bench.engine.close(&device(HOST));
    bench.engine.run().await;
    assert_eq!(bench.engine.effect().state, EffectState::Reverted);
    let machine = bench.machine();
    assert!(!machine.restricted && machine.isolated);
    let count = |kind: &str| machine.done.get(kind).copied().unwrap_or_default();
    assert_eq!((count("RestrictCodeExecution"), count("UnrestrictCodeExecution")), (1, 1));
}

#[tokio::test]
async fn what_is_done_once_is_done_once_though_an_answer_was_lost() {
    for (verb, kind, more) in [
        ("host.scan", "RunAntiVirusScan", "args: {depth: full}\n"),
        ("host.collect_package", "CollectInvestigationPackage", ""),
    ] {
        for faults in [Faults::default(), Faults { server_errors: 1, lost_replies: 1, ..Faults::default() }] {
            let mut bench = doing(verb, more).await;
            bench.edr.set_faults(faults.clone());
            // What others did before is not what was asked for.
            let others = format!("{}/api/machines/{HOST}/collectInvestigationPackage", bench.edr.url());
            let admin = reqwest::Client::new().post(others).bearer_auth(TOKEN);
            admin.json(&serde_json::json!({"Comment": "by an administrator"})).send().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            let before = bench.machine().done.get(kind).copied().unwrap_or_default();
            bench.engine.see(&device(HOST));
            bench.engine.run().await;
            assert_eq!(bench.engine.action(verb).state, ActionState::Succeeded, "{verb} {faults:?}");
            assert_eq!(bench.machine().done.get(kind), Some(&(before + 1)), "{verb} {faults:?}");
        }
    }
}

#[tokio::test]
async fn a_device_is_offboarded_at_most_once() {
    let mut bench = Bench::new().await;
    let request = Request { verb: Verb::HostOffboard, ..work(&mut bench).request };
    let executor = executor(&bench.edr.url());
    assert!(!executor.probe(&request).await.unwrap().holds);
    let reference = executor.execute(&request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(executor.poll(&request, &reference).await.unwrap(), Progress::Done);
    let probe = executor.probe(&request).await.unwrap();
    assert!(probe.holds && probe.by_us == Some(true), "{probe:?}");
    assert_eq!(bench.machine().done.get("Offboard"), Some(&1));
    let other = Request { action: event::ActionId::new("another"), ..request };
    assert!(!executor.probe(&other).await.unwrap().holds, "that was for another action");
}

fn work(bench: &mut Bench) -> Work {
    bench.engine.see(&device(HOST));
    bench.engine.responder.next_work(bench.engine.now.plus_micros(1)).unwrap().work
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
    bench.engine.see(&device(HOST));
    let now = bench.engine.now.plus_micros(1);
    let mut full = async |_: Vec<ActionChange>| Err(RespondError::NotStored("disk full".into()));
    let error =
        drive(&mut bench.engine.responder, &bench.engine.worker, || now, &mut full).await.unwrap_err();
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

/// Isolation and release, with what the API says of requests under way.
const MACHINE_ACTIONS: &str = r#"
version: 1
provider: machine_actions
title: Machine actions
find:
  device:
    - get: /api/machines?$filter=computerDnsName eq '{odata(name)}'
      id: answer.value.map(machine, machine.id)
verbs:
  host.isolate:
    look: &actions /api/machineactions?$filter=machineId eq '{id}'
    holds: &isolated >-
      answer.value.filter(a, a.status == "Succeeded").size() > 0
      && answer.value.filter(a, a.status == "Succeeded")[0].type == "Isolate"
    send: {method: POST, path: "/api/machines/{id}/isolate", body: {Comment: "{comment}", IsolationType: Full}}
    reference: &reference answer.id
    poll: &poll
      get: /api/machineactions/{reference}
      done: answer.status == "Succeeded"
      failed: answer.status in ["Failed", "TimeOut"]
      cancelled: answer.status == "Cancelled"
    cancel: &cancel
      method: POST
      path: /api/machineactions/{reference}/cancel
      body: {Comment: "{comment}"}
      done: answer.status == "Cancelled"
  host.release:
    look: *actions
    holds: *isolated
    send: {method: POST, path: "/api/machines/{id}/unisolate", body: {Comment: "{comment}"}}
    reference: *reference
    poll: *poll
    cancel: *cancel
"#;

/// The same API by a file that says how to cancel, and requests that stay pending for so long.
async fn by_file(pending: Duration) -> Bench {
    let edr = EdrSimulator::start(EdrConfig {
        token: TOKEN.into(),
        machines: vec![HOST.into()],
        pending,
        running: Duration::from_millis(5),
        ..EdrConfig::default()
    });
    let edr = edr.await.unwrap();
    let connector = Connector::parse("machine_actions.yml", MACHINE_ACTIONS).unwrap();
    let mut api = ApiConfig::new(edr.url(), TOKEN);
    api.request_timeout = Duration::from_secs(5);
    let executor = ConnectorExecutor::new(connector, api).unwrap();
    assert!(executor.capability().verbs[&Verb::HostIsolate].cancellable);
    let engine = Engine::new(ResponseRules::builtin_pack(), executor);
    Bench { edr, engine }
}

/// Runs until the request is accepted, and cancels it.
async fn cancel_accepted(engine: &mut Engine) {
    engine.see(&device(HOST));
    while engine.action("host.isolate").state != ActionState::Accepted {
        engine.now = engine.now.plus_micros(1_000_000);
        let leased = engine.responder.next_work(engine.now).unwrap();
        engine.store(leased.changes);
        let report = engine.worker.perform(&leased.work).await;
        let changes = engine.responder.report(report, engine.now).unwrap();
        engine.store(changes);
    }
    let id = engine.action("host.isolate").id.clone();
    let changes = engine.responder.cancel(&id, "ann", "wrong host", engine.now).unwrap();
    engine.store(changes);
}

#[tokio::test]
async fn a_request_that_is_not_done_is_cancelled_at_the_provider() {
    for faults in [
        Faults::default(),
        // The answer to the cancel is lost: the next one is refused, and what became of it is asked for.
        Faults { lost_replies: 1, ..Faults::default() },
        Faults { server_errors: 1, ..Faults::default() },
    ] {
        let mut bench = by_file(Duration::from_secs(3_600)).await;
        cancel_accepted(&mut bench.engine).await;
        bench.edr.set_faults(faults.clone());
        bench.engine.run().await;
        assert_eq!(bench.engine.action("host.isolate").state, ActionState::Cancelled, "{faults:?}");
        assert_eq!(bench.engine.effect().state, EffectState::Absent);
        let machine = bench.machine();
        assert_eq!((machine.isolated, machine.isolate_requests), (false, 1), "{faults:?}");
    }
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_leaves_what_was_done() {
    let mut bench = by_file(Duration::ZERO).await;
    cancel_accepted(&mut bench.engine).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.engine.run().await;
    let action = bench.engine.action("host.isolate");
    assert_eq!(action.state, ActionState::Succeeded, "{action:?}");
    assert!(action.history.iter().any(|step| step.note == "too late to cancel"));
    assert!(bench.machine().isolated);
}

#[tokio::test]
async fn of_two_machines_of_one_name_neither_is_acted_on() {
    let edr = EdrSimulator::start(EdrConfig {
        token: TOKEN.into(),
        machines: vec!["ws-07.corp.example".into(), "ws-07.lab.example".into()],
        ..EdrConfig::default()
    });
    let edr = edr.await.unwrap();
    let mut engine = Engine::new(ResponseRules::builtin_pack(), executor(&edr.url()));
    engine.see(&device("ws-07"));
    engine.run().await;
    let action = engine.action("host.isolate");
    assert_eq!((action.state, action.attempts), (ActionState::Failed, 0));
    let note = &action.history.last().unwrap().note;
    assert_eq!(note, "2 machines match startswith(computerDnsName,'ws-07.'): not acting on any");
    assert!(edr.machines().iter().all(|machine| machine.isolate_requests == 0));
}
