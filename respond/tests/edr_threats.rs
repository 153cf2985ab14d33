//! Files and indicators at the simulated Defender, with its faults.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use event::{
    Action, ActionId, ActionState, Alert, AlertId, AttackTag, Class, EffectState, Entity, EntityType,
    Incident, IncidentId, Role, Tactic, Target, TenantId,
};
use respond::{ApiConfig, DefenderExecutor, ExecuteError, Executor, Progress, Request, Verb};
use simulate::{EdrConfig, EdrFile, EdrIndicator, EdrMachine, EdrSimulator, Faults};
use support::Engine;
use support::incident::incident;

const TOKEN: &str = "very-secret-token";
const HOSTS: [&str; 2] = ["ws-01.corp.example", "ws-02.corp.example"];
const ADDRESS: &str = "203.0.113.9";
const SHA1: &str = "0123456789abcdef0123456789abcdef01234567";
const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const SIGNED_SHA256: &str = "1f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

async fn edr(pending: Duration) -> EdrSimulator {
    let config = EdrConfig {
        token: TOKEN.into(),
        machines: HOSTS.map(str::to_owned).into(),
        pending,
        running: Duration::from_millis(2),
        ..EdrConfig::default()
    };
    let edr = EdrSimulator::start(config).await.unwrap();
    edr.add_file(EdrFile { sha1: SHA1.into(), sha256: SHA256.into(), signer: String::new() });
    let signed =
        EdrFile { sha1: "f".repeat(40), sha256: SIGNED_SHA256.into(), signer: "Microsoft Windows".into() };
    edr.add_file(signed);
    edr
}

fn executor(edr: &EdrSimulator) -> DefenderExecutor {
    let mut config = ApiConfig::new(edr.url(), TOKEN);
    config.request_timeout = Duration::from_secs(5);
    DefenderExecutor::new(config).unwrap()
}

fn entity(entity_type: EntityType, value: &str) -> Entity {
    let role = if entity_type == EntityType::Device { Role::Device } else { Role::Target };
    Entity::new(entity_type, role, value).unwrap()
}

/// A request about this, with these devices beside it.
fn request(verb: Verb, about: Entity, devices: &[&str], args: &[(&str, &str)]) -> Request {
    let mut identifiers: Vec<Entity> =
        devices.iter().map(|name| entity(EntityType::Device, name)).chain([about.clone()]).collect();
    identifiers.sort();
    let args: BTreeMap<String, String> =
        args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request {
        action: ActionId::new("c-1"),
        tenant: TenantId::default(),
        verb,
        target: Target { entity: about, identifiers, label: None },
        args,
        incident: IncidentId::new("i-1"),
        title: "Beacon on ws-01".into(),
        comment: "asterism:c-1 incident i-1 rule r".into(),
        provider_ref: None,
        attempts: 1,
        in_doubt: false,
        kept: None,
    }
}

fn of_file(devices: &[&str], sha256: &str) -> Request {
    request(Verb::FileQuarantine, entity(EntityType::File, sha256), devices, &[])
}

/// Polls until it has ended.
async fn ended(executor: &DefenderExecutor, request: &Request, reference: &str) -> Progress {
    loop {
        match executor.poll(request, reference).await.unwrap() {
            Progress::Pending | Progress::Running => tokio::time::sleep(Duration::from_millis(2)).await,
            end => return end,
        }
    }
}

fn terminal<T: std::fmt::Debug>(outcome: Result<T, ExecuteError>) -> String {
    match outcome.unwrap_err() {
        ExecuteError::Terminal(text) => text,
        other => panic!("{other:?}"),
    }
}

fn quarantines(machines: &[EdrMachine]) -> Vec<u32> {
    machines.iter().map(|m| m.done.get("StopAndQuarantineFile").copied().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_file_is_quarantined_on_every_machine_that_has_it() {
    let edr = edr(Duration::from_millis(2)).await;
    let executor = executor(&edr);
    // Two names of one machine, one of another, one that nobody knows.
    let request = of_file(&["ws-01", HOSTS[0], HOSTS[1], "elsewhere"], SHA256);
    assert!(!executor.probe(&request).await.unwrap().holds);
    let reference = executor.execute(&request).await.unwrap();
    assert_eq!(ended(&executor, &request, &reference).await, Progress::Done);
    let probe = executor.verify(&request).await.unwrap();
    assert!(probe.holds && probe.by_us == Some(true), "{probe:?}");
    assert_eq!(probe.evidence, format!("file {SHA1} is quarantined on 2 of 2 machines"));
    assert_eq!(quarantines(&edr.machines()), [1, 1]);
    assert!(edr.machines().iter().all(|machine| machine.quarantined.contains(SHA1)));
    let again = Request { action: ActionId::new("c-2"), comment: "asterism:c-2".into(), ..request };
    assert!(!executor.probe(&again).await.unwrap().holds, "it may be back since");
}

#[tokio::test]
async fn what_was_lost_on_the_way_to_one_machine_is_made_up_for() {
    for faults in [
        Faults { lost_replies: 1, ..Faults::default() },
        Faults { server_errors: 1, ..Faults::default() },
        Faults { server_errors: 2, ..Faults::default() },
        Faults { too_many_requests: 1, retry_after_s: 7, ..Faults::default() },
    ] {
        let edr = edr(Duration::from_millis(2)).await;
        let rule =
            "id: q\ntitle: Q\nwhen: 'true'\ntarget: malicious_files\naction: file.quarantine\nttl: 24h\n";
        let mut engine = Engine::new(vec![("q.yml".into(), rule.into())], executor(&edr));
        engine.see_incident(about_file());
        edr.set_faults(faults.clone());
        engine.run().await;
        let action = engine.action("file.quarantine");
        assert_eq!(action.state, ActionState::Succeeded, "{faults:?} {:?}", action.history);
        assert_eq!(quarantines(&edr.machines()), [1, 1], "{faults:?}");
        assert_eq!(engine.effect().state, EffectState::Active);
    }
}

/// Alerts on both hosts about one file.
fn about_file() -> (Incident, Vec<Alert>) {
    let (incident, alerts) = incident(&entity(EntityType::File, SHA256), "Dropper");
    let on = |host: &str| Alert {
        id: AlertId::new(format!("a-{host}")),
        class: Class::from_name("file_activity").unwrap(),
        entities: vec![entity(EntityType::File, SHA256), entity(EntityType::Device, host)],
        ..alerts[0].clone()
    };
    (incident, HOSTS.map(on).into())
}

#[tokio::test]
async fn a_file_that_its_vendor_protects_or_nobody_knows_is_told() {
    let edr = edr(Duration::from_millis(2)).await;
    let executor = executor(&edr);
    let signed = of_file(&HOSTS, SIGNED_SHA256);
    let reference = executor.execute(&signed).await.unwrap();
    let end = ended(&executor, &signed, &reference).await;
    assert_eq!(end, Progress::Failed("machine action ended as Failed".into()));
    assert!(!executor.probe(&signed).await.unwrap().holds);

    let unknown = of_file(&HOSTS, &"0".repeat(63).replace('0', "ab")[..64]);
    assert!(terminal(executor.probe(&unknown).await).starts_with("no file is known as abab"));
    assert!(terminal(executor.probe(&of_file(&HOSTS, "evil.exe")).await).ends_with("known as evil.exe"));
    let nowhere = of_file(&["elsewhere"], SHA256);
    assert_eq!(terminal(executor.execute(&nowhere).await), "no machine is known that has the file");
    let many: Vec<String> = (0..9).map(|n| format!("many-{n}.corp.example")).collect();
    many.iter().for_each(|name| edr.set_online(name, true));
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = terminal(executor.execute(&of_file(&many, SHA256)).await);
    assert_eq!(refused, "9 machines have the file: block it by an indicator");
    assert_eq!(quarantines(&edr.machines()).iter().sum::<u32>(), 0);
}

#[tokio::test]
async fn a_quarantine_that_waits_for_its_machine_is_cancelled_at_the_vendor() {
    let edr = edr(Duration::from_millis(2)).await;
    HOSTS.iter().for_each(|host| edr.set_online(host, false));
    let executor = executor(&edr);
    assert!(executor.capability().verbs[&Verb::FileQuarantine].cancellable);
    let request = of_file(&HOSTS, SHA256);
    let reference = executor.execute(&request).await.unwrap();
    assert_eq!(executor.poll(&request, &reference).await.unwrap(), Progress::Pending);
    let probe = executor.probe(&Request { in_doubt: true, ..request.clone() }).await.unwrap();
    assert_eq!(probe.under_way.unwrap().provider_ref.len(), reference.len());
    assert!(executor.cancel(&request, &reference).await.unwrap());
    assert_eq!(executor.poll(&request, &reference).await.unwrap(), Progress::Cancelled);
    assert!(!executor.cancel(&request, &reference).await.unwrap(), "it has ended");
    HOSTS.iter().for_each(|host| edr.set_online(host, true));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(quarantines(&edr.machines()), [0, 0]);
}

fn only(edr: &EdrSimulator) -> EdrIndicator {
    let all = edr.indicators();
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

fn of_indicator(verb: Verb, entity_type: EntityType, value: &str, mode: &str) -> Request {
    let args: &[(&str, &str)] = if verb.applies() { &[("mode", mode), ("ttl", "24h")] } else { &[] };
    request(verb, entity(entity_type, value), &[], args)
}

#[tokio::test]
async fn whatever_can_be_an_indicator_is_blocked_and_set_free_again() {
    let edr = edr(Duration::from_millis(2)).await;
    let executor = executor(&edr);
    for (entity_type, value, kind) in [
        (EntityType::Ip, ADDRESS, "IpAddress"),
        (EntityType::Domain, "bad.example", "DomainName"),
        (EntityType::Url, "https://bad.example/o'neill?a=b&c=d", "Url"),
        (EntityType::File, SHA1, "FileSha1"),
        (EntityType::File, SHA256, "FileSha256"),
    ] {
        for (mode, action) in [("block", "Block"), ("warn", "Warn"), ("audit", "Audit")] {
            let block = of_indicator(Verb::IndicatorBlock, entity_type, value, mode);
            assert!(!executor.probe(&block).await.unwrap().holds, "{kind} {mode}");
            let reference = executor.execute(&block).await.unwrap();
            assert_eq!(executor.poll(&block, &reference).await.unwrap(), Progress::Done);
            let probe = executor.verify(&block).await.unwrap();
            assert!(probe.holds && probe.by_us == Some(true), "{probe:?}");
            let indicator = only(&edr);
            assert_eq!((&*indicator.indicator_type, &*indicator.action), (kind, action));
            assert_eq!(indicator.indicator_value, value);
            assert_eq!(
                (indicator.external_id.as_deref(), indicator.generate_alert),
                (Some("c-1"), mode == "audit")
            );
            let unblock = of_indicator(Verb::IndicatorUnblock, entity_type, value, mode);
            assert!(executor.probe(&unblock).await.unwrap().holds);
            executor.execute(&unblock).await.unwrap();
            assert!(!executor.verify(&unblock).await.unwrap().holds, "{kind} {mode}");
            assert_eq!(edr.indicators(), []);
        }
    }
}

#[tokio::test]
async fn an_indicator_ends_by_itself_should_nobody_end_it() {
    let edr = edr(Duration::from_millis(2)).await;
    executor(&edr)
        .execute(&of_indicator(Verb::IndicatorBlock, EntityType::Ip, ADDRESS, "block"))
        .await
        .unwrap();
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let end = only(&edr).expiration_time.unwrap();
    let after_s = end.micros() / 1_000_000 - i64::try_from(now_s).unwrap();
    assert!((89_990..=90_000).contains(&after_s), "an hour after the 24 h: {after_s}");
}

/// Somebody submits an indicator by hand.
async fn by_hand(edr: &EdrSimulator, action: &str) {
    let body = serde_json::json!({
        "indicatorValue": ADDRESS, "indicatorType": "IpAddress", "action": action, "title": "T", "generateAlert": true,
        "description": "a partner's gateway",
    });
    let admin = reqwest::Client::new().post(format!("{}/api/indicators", edr.url())).bearer_auth(TOKEN);
    assert!(admin.json(&body).send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn an_indicator_of_others_is_theirs() {
    let block = of_indicator(Verb::IndicatorBlock, EntityType::Ip, ADDRESS, "block");
    let unblock = of_indicator(Verb::IndicatorUnblock, EntityType::Ip, ADDRESS, "block");
    for action in ["Allowed", "Audit", "Warn"] {
        let edr = edr(Duration::from_millis(2)).await;
        by_hand(&edr, action).await;
        let executor = executor(&edr);
        assert!(!executor.probe(&block).await.unwrap().holds);
        let refused = terminal(executor.execute(&block).await);
        assert_eq!(refused, format!("an indicator of others says {action}: theirs to change"));
        assert_eq!((only(&edr).action.as_str(), only(&edr).submissions), (action, 1));
        assert_eq!(executor.probe(&unblock).await.unwrap().by_us, Some(false));
        assert_eq!(terminal(executor.execute(&unblock).await), "an indicator of others is theirs to delete");
    }
    let edr = edr(Duration::from_millis(2)).await;
    by_hand(&edr, "BlockAndRemediate").await;
    let probe = executor(&edr).probe(&block).await.unwrap();
    assert!(probe.holds && probe.by_us == Some(false), "nothing is left to do: {probe:?}");
}

/// An alert of a device that speaks with an address outside.
fn beacon() -> (Incident, Vec<Alert>) {
    let (incident, mut alerts) = incident(&entity(EntityType::Device, HOSTS[0]), "Beacon");
    alerts[0].class = Class::from_name("network_activity").unwrap();
    alerts[0].attack = vec![AttackTag::Tactic(Tactic::CommandAndControl)];
    alerts[0].entities.push(Entity::new(EntityType::Ip, Role::Destination, ADDRESS).unwrap());
    (incident, alerts)
}

/// People approve whatever waits for them.
fn approve_all(engine: &mut Engine) {
    let waits = |a: &&Action| a.state == ActionState::AwaitingApproval;
    let waiting: Vec<ActionId> = engine.responder.actions().filter(waits).map(|a| a.id.clone()).collect();
    for id in waiting {
        let changes = engine.responder.approve(&id, "ann", "", engine.now).unwrap();
        engine.store(changes);
    }
}

#[tokio::test]
async fn an_incident_blocks_its_address_once_and_closing_it_sets_it_free() {
    let rule =
        "id: b\ntitle: B\nwhen: 'true'\ntarget: contacted_addresses\naction: indicator.block\nttl: 24h\n";
    for faults in [
        Faults::default(),
        Faults { lost_replies: 1, ..Faults::default() },
        Faults { server_errors: 1, ..Faults::default() },
        Faults { server_errors: 2, ..Faults::default() },
        Faults { too_many_requests: 2, retry_after_s: 7, ..Faults::default() },
    ] {
        let edr = edr(Duration::from_millis(2)).await;
        let mut engine = Engine::new(vec![("b.yml".into(), rule.into())], executor(&edr));
        edr.set_faults(faults.clone());
        engine.see_incident(beacon());
        approve_all(&mut engine);
        engine.run().await;
        assert_eq!(engine.action("indicator.block").state, ActionState::Succeeded, "{faults:?}");
        assert_eq!(only(&edr).submissions, 1, "{faults:?}");
        edr.set_faults(faults.clone());
        engine.close(&entity(EntityType::Device, HOSTS[0]));
        engine.run().await;
        assert_eq!(engine.action("indicator.unblock").state, ActionState::Succeeded, "{faults:?}");
        assert_eq!(engine.effect().state, EffectState::Reverted, "{faults:?}");
        assert_eq!(edr.indicators(), [], "{faults:?}");
    }
}

#[tokio::test]
async fn a_kill_after_the_request_blocks_and_quarantines_once() {
    let rules = [
        ("indicator.block", "contacted_addresses", beacon()),
        ("file.quarantine", "malicious_files", about_file()),
    ];
    for (verb, target, incident) in rules {
        let edr = edr(Duration::from_millis(2)).await;
        let rule = format!("id: r\ntitle: R\nwhen: 'true'\ntarget: {target}\naction: {verb}\nttl: 24h\n");
        let mut engine = Engine::new(vec![("r.yml".into(), rule)], executor(&edr));
        engine.see(&entity(EntityType::Device, "elsewhere"));
        engine.see_incident(incident.clone());
        approve_all(&mut engine);
        engine.die_after_dispatch().await;
        engine.see_incident(incident);
        engine.run().await;
        assert_eq!(engine.action(verb).state, ActionState::Succeeded, "{verb}");
        assert!(quarantines(&edr.machines()).iter().all(|times| *times <= 1));
        assert!(edr.indicators().iter().all(|indicator| indicator.submissions == 1));
    }
}
