//! Accounts and sessions at the simulated Okta, by the shipped connector, with faults.
#![allow(clippy::unwrap_used)] // A fixture that cannot be made is a failed test.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use event::{ActionId, ActionState, EffectState, Entity, EntityType, IncidentId, Role, Target, TenantId};
use respond::{ApiConfig, Connector, ConnectorExecutor, ExecuteError, Executor, Progress, Request, Verb};
use simulate::{Faults, OktaConfig, OktaSimulator, OktaUser};
use support::Engine;

const TOKEN: &str = "very-secret-token";
const ACCESS_TOKEN: &str = "very-secret-access-token";
const USER: &str = "anna.bakker@halden.example";

/// Asks for the account of an alert to be disabled.
const RULE: &str = "id: disable\ntitle: Disable\nauthor: test\ndescription: test\nwhen: 'true'\n\
                    target: compromised_users\naction: user.disable\nttl: 24h\n";

async fn okta() -> OktaSimulator {
    let config = OktaConfig {
        token: TOKEN.into(),
        access_token: ACCESS_TOKEN.into(),
        users: vec![USER.into(), "carl.diaz@halden.example".into()],
        ..OktaConfig::default()
    };
    OktaSimulator::start(config).await.unwrap()
}

fn executor(okta: &OktaSimulator, token: &str, scheme: Option<&str>) -> ConnectorExecutor {
    let (file, text) = Connector::builtin().into_iter().find(|(file, _)| *file == "okta.yml").unwrap();
    let mut api = ApiConfig::new(okta.url(), token);
    api.scheme = scheme.map(str::to_owned);
    api.request_timeout = Duration::from_secs(5);
    ConnectorExecutor::new(Connector::parse(file, text).unwrap(), api).unwrap()
}

/// The connector without an engine.
struct Bench {
    okta: OktaSimulator,
    executor: ConnectorExecutor,
}

impl Bench {
    async fn new() -> Self {
        let okta = okta().await;
        let executor = executor(&okta, TOKEN, None);
        Bench { okta, executor }
    }

    /// Probe, execute, poll, verify: whether the effect holds after.
    async fn run(&self, request: &Request) -> bool {
        assert_ne!(self.executor.probe(request).await.unwrap().holds, request.verb.applies());
        let reference = self.executor.execute(request).await.unwrap();
        assert_eq!(self.executor.poll(request, &reference).await.unwrap(), Progress::Done);
        self.executor.verify(request).await.unwrap().holds
    }

    async fn refusal(&self, request: &Request) -> String {
        match self.executor.execute(request).await.unwrap_err() {
            ExecuteError::Terminal(text) => text,
            other => panic!("{other:?}"),
        }
    }
}

fn user(okta: &OktaSimulator, login: &str) -> OktaUser {
    okta.truth().users.into_values().find(|user| user.login == login).unwrap()
}

fn request(verb: Verb, names: &[&str]) -> Request {
    let mut identifiers: Vec<Entity> =
        names.iter().map(|name| Entity::new(EntityType::User, Role::Target, name).unwrap()).collect();
    let target = Target { entity: identifiers[0].clone(), identifiers: Vec::new(), label: None };
    identifiers.sort();
    Request {
        action: ActionId::new("c-1"),
        tenant: TenantId::default(),
        verb,
        target: Target { identifiers, ..target },
        args: verb.complete_args(&BTreeMap::new()).unwrap(),
        comment: "asterism:c-1 incident i-1 rule r".into(),
        provider_ref: None,
        incident: IncidentId::new("i-1"),
        title: "Credential theft on ws-01".into(),
        attempts: 0,
        in_doubt: false,
        kept: None,
    }
}

fn account() -> Entity {
    Entity::new(EntityType::User, Role::Actor, USER).unwrap()
}

async fn engine() -> (OktaSimulator, Engine) {
    let okta = okta().await;
    let engine = Engine::new(vec![("rule.yml".into(), RULE.into())], executor(&okta, TOKEN, None));
    (okta, engine)
}

#[tokio::test]
async fn an_incident_suspends_its_account_and_closing_it_ends_the_suspension() {
    let (okta, mut engine) = engine().await;
    engine.see(&account());
    engine.run().await;
    assert_eq!(engine.action("user.disable").state, ActionState::Succeeded);
    assert_eq!(user(&okta, USER).status, "SUSPENDED");
    assert_eq!(user(&okta, "carl.diaz@halden.example").status, "ACTIVE");
    engine.see(&account());
    engine.run().await;
    assert_eq!(okta.truth().changes["suspend"], 1, "the same incident again does nothing");
    engine.close(&account());
    engine.run().await;
    assert_eq!(engine.action("user.enable").state, ActionState::Succeeded);
    assert_eq!(engine.effect().state, EffectState::Reverted);
    assert_eq!(user(&okta, USER).status, "ACTIVE");
    assert!(!serde_json::to_string(&engine.audit).unwrap().contains(TOKEN));
}

#[tokio::test]
async fn a_lost_reply_a_server_error_and_a_kill_suspend_once() {
    for faults in [
        Faults { lost_replies: 1, ..Faults::default() },
        Faults { server_errors: 1, ..Faults::default() },
        Faults { server_errors: 2, ..Faults::default() },
        Faults { too_many_requests: 3, retry_after_s: 7, ..Faults::default() },
    ] {
        let (okta, mut engine) = engine().await;
        okta.set_faults(faults.clone());
        engine.see(&account());
        engine.run().await;
        assert_eq!(engine.action("user.disable").state, ActionState::Succeeded, "{faults:?}");
        assert_eq!(engine.effect().state, EffectState::Active, "{faults:?}");
        assert_eq!(okta.truth().changes["suspend"], 1, "{faults:?}");
    }
    let (okta, mut engine) = engine().await;
    engine.see(&account());
    engine.die_after_dispatch().await;
    engine.run().await;
    assert_eq!(engine.action("user.disable").state, ActionState::Succeeded);
    assert_eq!(okta.truth().changes["suspend"], 1);
}

#[tokio::test]
async fn what_an_administrator_did_stays() {
    let (okta, mut engine) = engine().await;
    okta.change_user(USER, |user| user.status = "SUSPENDED".into());
    engine.see(&account());
    engine.run().await;
    assert_eq!(engine.action("user.disable").state, ActionState::NoOp);
    assert_eq!(engine.effect().state, EffectState::Absent, "not ours to end later");

    let (okta, mut engine) = self::engine().await;
    engine.see(&account());
    engine.run().await;
    okta.change_user(USER, |user| user.status = "DEPROVISIONED".into());
    engine.close(&account());
    engine.run().await;
    assert_eq!(engine.action("user.enable").state, ActionState::NoOp);
    assert_eq!(user(&okta, USER).status, "DEPROVISIONED", "it was deactivated meanwhile");
}

#[tokio::test]
async fn an_account_is_found_by_login_or_address_and_of_two_neither_is_acted_on() {
    let bench = Bench::new().await;
    bench.okta.add_user("dee", "dee.evans@halden.example");
    for names in [&[USER][..], &["halden\\anna.bakker", USER], &["dee.evans@halden.example"]] {
        assert!(bench.run(&request(Verb::UserDisable, names)).await, "{names:?}");
        assert!(!bench.run(&request(Verb::UserEnable, names)).await, "{names:?}");
    }
    for name in ["nobody@halden.example", "me", "dee", "a\" or status eq \"active@x"] {
        let refusal = bench.refusal(&request(Verb::UserDisable, &[name])).await;
        assert!(refusal.starts_with("okta knows nothing as "), "{name} {refusal}");
    }
    bench.okta.add_user("shared-1", "desk@halden.example");
    bench.okta.add_user("shared-2", "desk@halden.example");
    let refusal = bench.refusal(&request(Verb::UserDisable, &["desk@halden.example"])).await;
    assert_eq!(refusal, "2 things are known as desk@halden.example: not acting on any");
    assert!(["shared-1", "shared-2"].iter().all(|login| user(&bench.okta, login).status == "ACTIVE"));
}

#[tokio::test]
async fn sessions_end_with_or_without_tokens() {
    let bench = Bench::new().await;
    let left = || {
        let user = user(&bench.okta, USER);
        (user.sessions, user.oauth_tokens, user.remembered_devices)
    };
    assert!(bench.run(&request(Verb::UserRequireReauth, &[USER])).await);
    assert_eq!(left(), (0, 3, 1));
    assert!(bench.run(&request(Verb::UserRevokeSessions, &[USER])).await);
    assert_eq!(left(), (0, 0, 0));
    let in_doubt = Request { in_doubt: true, ..request(Verb::UserRevokeSessions, &[USER]) };
    assert!(bench.run(&in_doubt).await, "ending them again harms nobody");
}

#[tokio::test]
async fn what_a_user_consented_to_is_taken_back_once() {
    for faults in [
        Faults::default(),
        Faults { lost_replies: 1, ..Faults::default() },
        Faults { server_errors: 2, ..Faults::default() },
    ] {
        let okta = okta().await;
        let rule = RULE.replace("user.disable\nttl: 24h\n", "user.revoke_grants\n");
        let mut engine = Engine::new(vec![("rule.yml".into(), rule)], executor(&okta, TOKEN, None));
        okta.set_faults(faults.clone());
        engine.see(&account());
        engine.run().await;
        assert_eq!(engine.action("user.revoke_grants").state, ActionState::Succeeded, "{faults:?}");
        assert_eq!(okta.truth().changes["revoke_grants"], 1, "{faults:?}");
        assert_eq!(user(&okta, USER).grants.len(), 0);
        assert_eq!(user(&okta, "carl.diaz@halden.example").grants.len(), 2, "not theirs");
    }
}

#[tokio::test]
async fn a_password_is_expired_once_and_only_of_an_active_account() {
    let bench = Bench::new().await;
    let reset = request(Verb::UserForcePasswordReset, &[USER]);
    assert!(bench.run(&reset).await);
    assert_eq!(user(&bench.okta, USER).status, "PASSWORD_EXPIRED");
    assert!(bench.executor.probe(&reset).await.unwrap().holds, "nothing is left to do");
    let refusal = bench.refusal(&request(Verb::UserDisable, &[USER])).await;
    assert_eq!(refusal, "400 E0000001: Api validation failed: Cannot suspend a user that is not active");
}

#[tokio::test]
async fn okta_says_when_to_come_again_and_what_was_answered_by_nothing_is_in_doubt() {
    let bench = Bench::new().await;
    let disable = request(Verb::UserDisable, &[USER]);
    bench.okta.set_faults(Faults { too_many_requests: 1, retry_after_s: 30, ..Faults::default() });
    let slow = bench.executor.execute(&disable).await.unwrap_err();
    let ExecuteError::Retryable { message, after_s: Some(after_s) } = slow else { panic!("{slow:?}") };
    assert!(message.starts_with("429 E0000047: "), "{message}");
    assert!((28..=30).contains(&after_s), "{after_s}");
    bench.okta.set_faults(Faults { lost_replies: 1, ..Faults::default() });
    let lost = bench.executor.execute(&disable).await.unwrap_err();
    assert!(matches!(lost, ExecuteError::OutcomeUnknown(_)), "{lost:?}");
    assert!(bench.executor.probe(&disable).await.unwrap().holds, "it was done");
}

#[tokio::test]
async fn a_token_goes_out_under_its_scheme_and_stands_nowhere() {
    let okta = okta().await;
    let disable = request(Verb::UserDisable, &[USER]);
    assert!(executor(&okta, ACCESS_TOKEN, Some("Bearer")).probe(&disable).await.is_ok());
    assert!(executor(&okta, TOKEN, Some("SSWS")).probe(&disable).await.is_ok());
    for (token, scheme) in [(TOKEN, Some("Bearer")), (ACCESS_TOKEN, None), ("another-secret", None)] {
        let executor = executor(&okta, token, scheme);
        let error = executor.probe(&disable).await.unwrap_err();
        assert_eq!(error, ExecuteError::Terminal("401 E0000011: Invalid token provided".into()));
        assert!(!format!("{executor:?}").contains("secret"));
    }
    let (file, text) = Connector::builtin()[0];
    let mut api = ApiConfig::new(okta.url(), TOKEN);
    api.scheme = Some("two words".into());
    assert!(ConnectorExecutor::new(Connector::parse(file, text).unwrap(), api).is_err());
}
