//! Accounts, mail and application rights at the simulated Graph, by the shipped connector, with faults.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{ActionId, Entity, EntityType, IncidentId, Role, Target, TenantId};
use respond::{ApiConfig, Connector, ConnectorExecutor, ExecuteError, Executor, Progress, Request, Verb};
use serde_json::Value;
use simulate::{Faults, GraphConfig, GraphSimulator};

const TOKEN: &str = "very-secret-token";
const USER: &str = "anna.bakker@halden.example";
const APP: &str = "768b1c17-7541-5caf-9380-466e7ce7dca1";
const MESSAGE: &str = "a9536bef-ee4a-56c9-b409-fae1f4c8077f";

struct Bench {
    graph: GraphSimulator,
    executor: ConnectorExecutor,
}

impl Bench {
    async fn new() -> Self {
        let config = GraphConfig { token: TOKEN.into(), users: vec![USER.into()], ..GraphConfig::default() };
        let graph = GraphSimulator::start(config).await.unwrap();
        graph.consent(APP, USER);
        graph.consent(APP, "carl.diaz@halden.example");
        graph.deliver(MESSAGE, USER);
        let mut api = ApiConfig::new(graph.url(), TOKEN);
        api.request_timeout = Duration::from_secs(5);
        let executor = ConnectorExecutor::new(connector(), api).unwrap();
        Bench { graph, executor }
    }

    fn user(&self) -> Value {
        let users = self.graph.truth().users;
        users.values().find(|user| user["userPrincipalName"] == USER).unwrap().clone()
    }

    /// Probe, execute, poll, verify; the state before, and whether the effect holds after.
    async fn run(&self, request: &Request) -> (Option<String>, bool) {
        let before = self.executor.probe(request).await.unwrap();
        let reference = self.executor.execute(request).await.unwrap();
        assert_eq!(self.executor.poll(request, &reference).await.unwrap(), Progress::Done);
        (before.pre_image, self.executor.verify(request).await.unwrap().holds)
    }
}

fn connector() -> Connector {
    let (file, text) =
        Connector::builtin().into_iter().find(|(file, _)| *file == "microsoft_graph.yml").unwrap();
    Connector::parse(file, text).unwrap()
}

fn entity(entity_type: EntityType, value: &str) -> Entity {
    Entity::new(entity_type, Role::Target, value).unwrap()
}

fn request(verb: Verb, names: &[(EntityType, &str)]) -> Request {
    let mut identifiers: Vec<Entity> = names.iter().map(|(t, value)| entity(*t, value)).collect();
    let target = Target { entity: identifiers[0].clone(), identifiers: Vec::new(), label: None };
    identifiers.sort();
    Request {
        action: ActionId::new("c-1"),
        tenant: TenantId::default(),
        verb,
        target: Target { identifiers, ..target },
        args: verb.complete_args(&BTreeMap::new()).unwrap(),
        incident: IncidentId::new("i-1"),
        title: "Credential theft on ws-01".into(),
        comment: "asterism:c-1 incident i-1 rule r".into(),
        provider_ref: None,
        attempts: 0,
        in_doubt: false,
        kept: None,
    }
}

fn of_user(verb: Verb) -> Request {
    request(verb, &[(EntityType::User, "halden\\anna.bakker"), (EntityType::User, USER)])
}

#[tokio::test]
async fn an_account_is_disabled_found_by_any_name_and_enabled_again() {
    let bench = Bench::new().await;
    let sid = bench.user()["onPremisesSecurityIdentifier"].as_str().unwrap().to_owned();
    let id = bench.user()["id"].as_str().unwrap().to_owned();
    for name in [USER, &sid, &id] {
        let by_name = |verb| request(verb, &[(EntityType::User, name)]);
        assert!(bench.run(&by_name(Verb::UserDisable)).await.1, "{name}");
        assert_eq!(bench.user()["accountEnabled"], false);
        assert!(!bench.run(&by_name(Verb::UserEnable)).await.1, "{name}");
        assert_eq!(bench.user()["accountEnabled"], true);
    }
    let nobody = request(Verb::UserDisable, &[(EntityType::User, "nobody@halden.example")]);
    let error = bench.executor.probe(&nobody).await.unwrap_err();
    assert_eq!(error.to_string(), "microsoft_graph knows nothing as nobody@halden.example");
}

#[tokio::test]
async fn sessions_are_revoked_and_risk_is_confirmed_and_dismissed() {
    let bench = Bench::new().await;
    let before = bench.user()["signInSessionsValidFromDateTime"].clone();
    assert!(bench.run(&of_user(Verb::UserRevokeSessions)).await.1);
    assert_ne!(bench.user()["signInSessionsValidFromDateTime"], before);
    assert!(bench.run(&of_user(Verb::UserMarkCompromised)).await.1);
    assert!(!bench.run(&of_user(Verb::UserDismissRisk)).await.1);
    assert_eq!(bench.graph.truth().changes["dismiss"], 1);
}

#[tokio::test]
async fn every_grant_of_an_application_goes_is_kept_and_comes_back() {
    let bench = Bench::new().await;
    let of_app = |verb| request(verb, &[(EntityType::App, APP), (EntityType::User, USER)]);
    let whole = |bench: &Bench| {
        let mut grants: Vec<String> = bench
            .graph
            .truth()
            .grants
            .into_values()
            .map(|mut grant| {
                grant.as_object_mut().unwrap().remove("id");
                grant.to_string()
            })
            .collect();
        grants.sort();
        grants
    };
    let before = whole(&bench);
    assert_eq!(before.len(), 2);
    let (kept, holds) = bench.run(&of_app(Verb::AppRevokeGrant)).await;
    assert!(holds && bench.graph.truth().grants.is_empty());
    let restore = Request { kept, ..of_app(Verb::AppRestoreGrant) };
    assert!(!bench.run(&restore).await.1);
    assert_eq!(whole(&bench), before);
}

#[tokio::test]
async fn grants_of_an_account_go_and_those_of_others_stay() {
    let bench = Bench::new().await;
    let revoke = of_user(Verb::UserRevokeGrants);
    assert!(!bench.executor.probe(&revoke).await.unwrap().holds);
    assert!(bench.run(&revoke).await.1);
    let left: Vec<Value> = bench.graph.truth().grants.into_values().collect();
    assert_eq!(left.len(), 1);
    assert_ne!(left[0]["principalId"], bench.user()["id"]);
}

#[tokio::test]
async fn rules_that_send_mail_on_are_switched_off_and_on_again_and_no_others() {
    let bench = Bench::new().await;
    let to = serde_json::json!([{"emailAddress": {"address": "eve@bad.example"}}]);
    let none = serde_json::json!([]);
    let on = [
        bench.graph.add_inbox_rule(USER, serde_json::json!({"forwardTo": to})),
        bench.graph.add_inbox_rule(USER, serde_json::json!({"redirectTo": to, "forwardTo": none})),
    ];
    bench.graph.add_inbox_rule(USER, serde_json::json!({"moveToFolder": "archive", "forwardTo": null}));
    bench.graph.add_inbox_rule("carl.diaz@halden.example", serde_json::json!({"forwardTo": to}));
    let off = |bench: &Bench| -> Vec<String> {
        let rules = bench.graph.truth().inbox_rules;
        rules.into_iter().filter(|(_, rule)| rule["isEnabled"] == false).map(|(id, _)| id).collect()
    };
    let of_mailbox = |verb| request(verb, &[(EntityType::Mailbox, USER)]);
    let (kept, holds) = bench.run(&of_mailbox(Verb::EmailDisableForwarding)).await;
    assert!(holds);
    assert_eq!(off(&bench), on);
    let restore = Request { kept, ..of_mailbox(Verb::EmailRestoreForwarding) };
    assert!(!bench.run(&restore).await.1);
    assert_eq!(off(&bench), [""; 0]);
}

#[tokio::test]
async fn a_message_is_deleted_in_every_mailbox_that_has_it_and_restored() {
    let bench = Bench::new().await;
    bench.graph.deliver(MESSAGE, "carl.diaz@halden.example");
    bench.graph.deliver("another-message", "carl.diaz@halden.example");
    let in_mailbox = |verb| request(verb, &[(EntityType::Message, MESSAGE), (EntityType::Mailbox, USER)]);
    let places = |bench: &Bench| {
        let messages = bench.graph.truth().messages;
        let place = |m: &Value| m["latestDelivery"]["location"].as_str().unwrap().to_owned();
        let of = |id: &str| {
            messages.values().filter(|m| m["networkMessageId"] == id).map(place).collect::<Vec<_>>()
        };
        [of(MESSAGE), of("another-message")].concat()
    };
    for (act, undo, place) in [
        (Verb::EmailSoftDelete, Verb::EmailRestore, "recoverableItems"),
        (Verb::EmailMove, Verb::EmailMoveBack, "junkFolder"),
    ] {
        assert!(bench.run(&in_mailbox(act)).await.1);
        assert_eq!(places(&bench), [place, place, "inbox"]);
        assert!(!bench.run(&in_mailbox(undo)).await.1);
        assert_eq!(places(&bench), ["inbox", "inbox", "inbox"]);
    }
}

#[tokio::test]
async fn what_was_answered_by_nothing_is_in_doubt_and_what_was_refused_is_not() {
    let bench = Bench::new().await;
    let disable = of_user(Verb::UserDisable);
    bench.graph.set_faults(Faults { lost_replies: 1, ..Faults::default() });
    let lost = bench.executor.execute(&disable).await.unwrap_err();
    assert!(matches!(lost, ExecuteError::OutcomeUnknown(_)), "{lost:?}");
    assert!(bench.executor.probe(&disable).await.unwrap().holds, "it was done");
    bench.graph.set_faults(Faults { server_errors: 1, ..Faults::default() });
    let broken = bench.executor.execute(&disable).await.unwrap_err();
    assert!(matches!(broken, ExecuteError::OutcomeUnknown(_)), "{broken:?}");
    bench.graph.set_faults(Faults { too_many_requests: 1, retry_after_s: 7, ..Faults::default() });
    let slow = bench.executor.execute(&disable).await.unwrap_err();
    assert!(matches!(slow, ExecuteError::Retryable { after_s: Some(7), .. }), "{slow:?}");
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_stands_nowhere() {
    let bench = Bench::new().await;
    let api = ApiConfig::new(bench.graph.url(), "another-secret");
    let executor: Arc<dyn Executor> = Arc::new(ConnectorExecutor::new(connector(), api).unwrap());
    let error = executor.probe(&of_user(Verb::UserDisable)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Terminal(_)), "{error:?}");
    assert!(!format!("{error:?} {bench:?}", bench = bench.executor).contains("secret"), "{error:?}");
}
